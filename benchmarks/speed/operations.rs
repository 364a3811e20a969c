//! Operations at the shapes of ResNet-18 on 32 images of 64 x 64 pixels and of ViT-Tiny/16 on 16 images of
//! 224 x 224, forward and backward.

use candle_core::{DType, Device, Result, Tensor, Var};
use criterion::{BenchmarkId, Criterion, Throughput};
use skewbench::{
    seed::Seed,
    tensor::{
        Geometry, attention,
        batch_norm::{self, Epilogue},
        convolution, gelu, layer_norm, linear,
        pooling::{self, Pool},
    },
};

const BATCH: usize = 32;

/// Name, input side, input and output channels, kernel and stride.
const CONVOLUTIONS: [(&str, usize, usize, usize, usize, usize); 6] = [
    ("stem", 64, 3, 64, 7, 2),
    ("layer1", 16, 64, 64, 3, 1),
    ("layer2", 8, 128, 128, 3, 1),
    ("layer3", 4, 256, 256, 3, 1),
    ("layer3.first", 8, 128, 256, 3, 2),
    ("layer4", 2, 512, 512, 3, 1),
];

type Function = fn(&Tensor, &Tensor, Geometry) -> Result<Tensor>;

pub fn convolutions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("convolution");
    group.sample_size(10);
    for (name, side, inputs, outputs, kernel, stride) in CONVOLUTIONS {
        let images = normal(&[BATCH, side, side, inputs]);
        let weights = normal(&[outputs, inputs, kernel, kernel]);
        let geometry = Geometry { stride, padding: kernel / 2 };
        let across = side / stride;
        let products = BATCH * across * across * outputs * inputs * kernel * kernel;
        let ways: [(&str, Function); 2] = [("ours", convolution), ("plain", convolution::convolution_plain)];
        for (way, function) in ways {
            group.throughput(Throughput::Elements(2 * products as u64));
            group.bench_function(BenchmarkId::new(format!("forward/{way}"), name), |bencher| {
                let (images, weights) = (images.as_detached_tensor(), weights.as_detached_tensor());
                bencher.iter(|| function(&images, &weights, geometry).expect("shapes fit"));
            });
            group.throughput(Throughput::Elements(6 * products as u64));
            group.bench_function(BenchmarkId::new(format!("both/{way}"), name), |bencher| {
                bencher.iter(|| {
                    let output = function(&images, &weights, geometry).expect("shapes fit");
                    output.backward().expect("a gradient")
                });
            });
        }
    }
}

pub fn batch_norms(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch norm, residual, relu");
    group.sample_size(10);
    for (side, channels) in [(32, 64), (16, 64), (4, 256)] {
        let shape = [BATCH, side, side, channels];
        let (input, residual) = (normal(&shape), normal(&shape));
        let (weight, bias) = (normal(&[channels]), normal(&[channels]));
        let then = Epilogue { residual: Some(&residual), relu: true };
        group.throughput(Throughput::Elements(input.elem_count() as u64));
        for (way, function) in [
            ("ours", batch_norm::batch_norm as fn(&Tensor, &Tensor, &Tensor, _, Epilogue) -> Result<_>),
            ("plain", batch_norm::batch_norm_plain),
        ] {
            group.bench_function(BenchmarkId::new(way, format!("{side} x {side} x {channels}")), |bencher| {
                bencher.iter(|| {
                    let (output, _) = function(&input, &weight, &bias, None, then).expect("shapes fit");
                    output.backward().expect("a gradient")
                });
            });
        }
    }
}

pub fn pools(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("max pool");
    group.sample_size(10);
    let images = normal(&[BATCH, 32, 32, 64]);
    let pool = Pool { kernel: 3, stride: 2, padding: 1 };
    group.throughput(Throughput::Elements(images.elem_count() as u64));
    for (way, function) in [
        ("ours", pooling::max_pool as fn(&Tensor, Pool) -> Result<Tensor>),
        ("plain", pooling::max_pool_plain),
    ] {
        group.bench_function(way, |bencher| {
            bencher.iter(|| function(&images, pool).expect("shapes fit").backward().expect("a gradient"));
        });
    }
}

type Made<'a> = &'a dyn Fn() -> Result<Tensor>;

/// Images, tokens per image, and numbers per token.
const TOKENS: [usize; 3] = [16, 197, 192];

pub fn tokens(criterion: &mut Criterion) {
    let [batch, tokens, width] = TOKENS;
    let input = normal(&TOKENS);
    let (weight, bias) = (normal(&[width]), normal(&[width]));
    let hidden = normal(&[batch, tokens, 4 * width]);
    let joined = normal(&[batch, tokens, 3 * width]);
    let ways: [(&str, usize, Made); 6] = [
        ("layer norm/ours", input.elem_count(), &|| layer_norm(&input, &weight, &bias, 1e-6)),
        ("layer norm/plain", input.elem_count(), &|| {
            layer_norm::layer_norm_plain(&input, &weight, &bias, 1e-6)
        }),
        ("gelu/ours", hidden.elem_count(), &|| gelu(&hidden)),
        ("gelu/plain", hidden.elem_count(), &|| gelu::gelu_plain(&hidden)),
        // Two products forward and four backward.
        ("attention/ours", 12 * batch * tokens * tokens * width, &|| attention(&joined, 3)),
        ("attention/plain", 12 * batch * tokens * tokens * width, &|| attention::attention_plain(&joined, 3)),
    ];
    let mut group = criterion.benchmark_group("tokens");
    group.sample_size(10);
    for (name, elements, function) in ways {
        group.throughput(Throughput::Elements(elements as u64));
        group.bench_function(format!("forward/{name}"), |bencher| {
            bencher.iter(|| function().expect("shapes fit"));
        });
        group.bench_function(format!("both/{name}"), |bencher| {
            bencher.iter(|| function().expect("shapes fit").backward().expect("a gradient"));
        });
    }
}

type Map = fn(&Tensor, &Tensor, Option<&Tensor>) -> Result<Tensor>;

pub fn linear_maps(criterion: &mut Criterion) {
    let [batch, tokens, width] = TOKENS;
    let mut group = criterion.benchmark_group("linear");
    group.sample_size(10);
    for (name, inputs, outputs) in [
        ("qkv", width, 3 * width),
        ("proj", width, width),
        ("fc1", width, 4 * width),
        ("fc2", 4 * width, width),
    ] {
        let input = normal(&[batch, tokens, inputs]);
        let (weight, bias) = (normal(&[outputs, inputs]), normal(&[outputs]));
        let products = batch * tokens * inputs * outputs;
        for (way, function) in [("ours", linear as Map), ("plain", linear::linear_plain)] {
            group.throughput(Throughput::Elements(2 * products as u64));
            group.bench_function(BenchmarkId::new(format!("forward/{way}"), name), |bencher| {
                bencher.iter(|| function(&input, &weight, Some(&bias)).expect("shapes fit"));
            });
            group.throughput(Throughput::Elements(6 * products as u64));
            group.bench_function(BenchmarkId::new(format!("both/{way}"), name), |bencher| {
                bencher.iter(|| {
                    let output = function(&input, &weight, Some(&bias)).expect("shapes fit");
                    output.backward().expect("a gradient")
                });
            });
        }
    }
}

/// Returns normal numbers as a variable.
fn normal(shape: &[usize]) -> Var {
    let mut stream = Seed::root(0).child("speed").stream();
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| stream.normal()).collect();
    let tensor = Tensor::from_vec(values, shape, &Device::Cpu).expect("as many numbers as the shape says");
    Var::from_tensor(&tensor.to_dtype(DType::F32).expect("f32 exists")).expect("a variable")
}
