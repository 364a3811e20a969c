//! Losses, forward and backward, at the sizes of the paper's heads.

use candle_core::{DType, Device, Result, Tensor, Var};
use criterion::Criterion;
use skewbench::{
    loss::{
        contrastive::nt_xent, cross_correlation::barlow_twins, distillation::dino,
        regression::cosine_distance,
    },
    seed::Seed,
};

/// Returns the rows (256 images, width) of a view.
fn view(name: &str, width: usize) -> Var {
    let mut stream = Seed::root(0).child(name).stream();
    let values: Vec<f32> = (0..256 * width).map(|_| stream.normal() as f32).collect();
    Var::from_vec(values, (256, width), &Device::Cpu).expect("as many numbers as places")
}

pub fn losses(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("loss");
    group.sample_size(10);
    let mut run = |name: &str, width: usize, loss: &dyn Fn(&Tensor, &Tensor) -> Result<Tensor>| {
        let (first, second) = (view("first", width), view("second", width));
        group.bench_function(format!("{name}, 256 images of {width}"), |bencher| {
            bencher.iter(|| loss(&first, &second).and_then(|loss| loss.backward()).expect("shapes fit"));
        });
    };
    run("nt_xent", 256, &|first, second| nt_xent(first, second, 0.2));
    for width in [256, 8_192] {
        run("barlow_twins", width, &|first, second| Ok(barlow_twins(first, second, 0.0051)?.total));
    }
    run("byol", 256, &|first, second| cosine_distance(first, &second.detach()));
    let centre = Tensor::zeros((1, 8_192), DType::F32, &Device::Cpu).expect("zeros");
    run("dino", 8_192, &|first, second| {
        let teacher = [first.detach(), second.detach()];
        Ok(dino(&[first.clone(), second.clone()], &teacher, &centre, 0.1, 0.04)?.total)
    });
    group.finish();
}
