//! Label-free metrics: of one mini-batch, as in every training step, and of a whole split.

use std::hint::black_box;

use criterion::Criterion;
use skewbench::{
    label_free::{LabelFreeMetrics, Rows, rankme_released, spectrum::Spectrum, spread},
    seed::Seed,
};

pub fn metrics(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("label_free");
    group.sample_size(10);
    for width in [192, 512] {
        let mut stream = Seed::root(0).stream();
        let values: Vec<f32> = (0..25_600 * width)
            .map(|place| (stream.normal() * (-8.0 * (place % width) as f64 / width as f64).exp2()) as f32)
            .collect();
        let batch = Rows::new(&values[..256 * width], width).expect("finite");
        group.bench_function(format!("rankme of 256 x {width}"), |bencher| {
            bencher.iter(|| rankme_released(black_box(batch)));
        });
        group.bench_function(format!("spread of 256 x {width}"), |bencher| {
            bencher.iter(|| spread(black_box(batch)));
        });
        let rows = Rows::new(&values, width).expect("finite");
        group.bench_function(format!("spectrum of 25600 x {width}"), |bencher| {
            bencher.iter(|| Spectrum::from_rows(black_box(rows)).expect("converges"));
        });
        group.bench_function(format!("all of 25600 x {width}"), |bencher| {
            bencher.iter(|| LabelFreeMetrics::compute(black_box(rows), &Seed::root(0)).expect("converges"));
        });
    }
    group.finish();
}
