//! Forward and backward pass of an encoder in training, in views per second; without head, loss or optimiser.

use candle_core::{DType, Device, Tensor};
use criterion::{Criterion, Throughput};
use skewbench::{
    backbone::{Backbone, Mode, Parameters, ResNet, Stem, Vit, VitSize, vit::VitInitialisation},
    seed::Seed,
    tensor::backward,
};

pub fn resnet(criterion: &mut Criterion) {
    for (batch, side) in [(32, 64), (16, 224)] {
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("", Seed::root(0), DType::F32, &Device::Cpu);
        let resnet = ResNet::new(&mut builder, 64, Stem::ImageNet).expect("names are free");
        step(criterion, "resnet18", &resnet, batch, side);
    }
}

pub fn vit(criterion: &mut Criterion) {
    for (patch, batch, side) in [(8, 32, 64), (16, 16, 224)] {
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("", Seed::root(0), DType::F32, &Device::Cpu);
        let size = VitSize { patch, ..VitSize::TINY };
        let vit =
            Vit::new(&mut builder, size, side, VitInitialisation::TIMM).expect("patches fill the images");
        step(criterion, &format!("vit_tiny/{patch}"), &vit, batch, side);
    }
}

fn step(criterion: &mut Criterion, name: &str, backbone: &dyn Backbone, batch: usize, side: usize) {
    let mut group = criterion.benchmark_group("step");
    group.sample_size(10).throughput(Throughput::Elements(batch as u64));
    let mut stream = Seed::root(0).child("images").stream();
    let images: Vec<f32> = (0..batch * side * side * 3).map(|_| stream.unit() as f32).collect();
    let images =
        Tensor::from_vec(images, (batch, side, side, 3), &Device::Cpu).expect("as many numbers as pixels");
    group.bench_function(format!("{name}, {batch} views of {side} px"), |bencher| {
        bencher.iter(|| {
            let features = backbone.embed(&images, Mode::Train).expect("shapes fit");
            features.sqr().and_then(|x| backward(&x.sum_all()?)).expect("gradients")
        });
    });
}
