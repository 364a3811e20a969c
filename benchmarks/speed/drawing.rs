//! Drawing synthetic pipes, on one core.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use skewbench::{data::synthetic, seed::Seed};

const IMAGES: usize = 64;

pub fn pipes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("draw");
    group.sample_size(20).throughput(Throughput::Elements(IMAGES as u64));
    for side in [64, 224] {
        let source = synthetic::source(Seed::root(0), IMAGES, 0, side);
        group.bench_function(format!("{IMAGES} pipes of {side} px"), |bencher| {
            bencher.iter(|| {
                for index in 0..IMAGES {
                    black_box(source.train.open(index).expect("drawn images cannot be torn"));
                }
            });
        });
    }
    group.finish();
}
