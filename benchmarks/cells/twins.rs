//! Compares operations, losses and the optimiser with those of candle-nn, an independent implementation: values and
//! gradients in double precision.
//!
//! Candle-nn is not used in training; it is only a plain twin here.

use candle_nn::{
    BatchNorm, Conv2d, Conv2dConfig, Linear, Module, Optimizer, ParamsAdamW,
    loss::{binary_cross_entropy_with_logit, cross_entropy},
    ops::{layer_norm_slow, softmax},
};
use skewbench::{
    backbone::{Parameter, Role},
    candle_core::{DType, Device, Result, Tensor, Var},
    loss::{classification::binary_cross_entropy, contrastive::nt_xent},
    seed::Seed,
    tensor::{
        attention::attention,
        batch_norm::{EPSILON, Epilogue, batch_norm},
        convolution::{Geometry, convolution},
        layer_norm::layer_norm,
        linear::linear,
    },
    train::optimiser::{Group, Optimiser, Rule},
};

fn normal(name: &str, shape: &[usize]) -> Var {
    let mut stream = Seed::root(0).child(name).stream();
    let values: Vec<f64> = (0..shape.iter().product()).map(|_: usize| stream.normal()).collect();
    Var::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn largest(tensor: &Tensor) -> f64 {
    tensor.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

/// Asserts that both functions give the same numbers, and the same gradients of a random weighting of them, to
/// 1e-9.
fn agree(
    arguments: &[&Var],
    ours: impl Fn(&[Tensor]) -> Result<Tensor>,
    theirs: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let tensors: Vec<Tensor> = arguments.iter().map(|argument| argument.as_tensor().clone()).collect();
    let (ours, theirs) = (ours(&tensors).unwrap(), theirs(&tensors).unwrap());
    assert_eq!(ours.dims(), theirs.dims());
    let apart = largest(&(&ours - &theirs).unwrap().reshape(((), 1)).unwrap());
    assert!(apart < 1e-9, "values are {apart:e} apart");
    let weights = normal("weights", ours.dims());
    let gradients = [&ours, &theirs]
        .map(|output| (output * weights.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap());
    for (place, argument) in arguments.iter().enumerate() {
        let [ours, theirs] = [0, 1].map(|side| gradients[side].get(argument).expect("a gradient"));
        let apart = largest(&(ours - theirs).unwrap());
        assert!(apart < 1e-9, "gradients of argument {place} are {apart:e} apart");
    }
}

#[test]
fn layers() {
    let (rows, weight, bias) = (normal("rows", &[7, 5]), normal("weight", &[3, 5]), normal("bias", &[3]));
    agree(
        &[&rows, &weight, &bias],
        |x| linear(&x[0], &x[1], Some(&x[2])),
        |x| Linear::new(x[1].clone(), Some(x[2].clone())).forward(&x[0]),
    );
    let (scale, shift) = (normal("scale", &[5]), normal("shift", &[5]));
    agree(
        &[&rows, &scale, &shift],
        |x| layer_norm(&x[0], &x[1], &x[2], 1e-5),
        |x| layer_norm_slow(&x[0], &x[1], &x[2], 1e-5),
    );
    agree(
        &[&rows, &scale, &shift],
        |x| Ok(batch_norm(&x[0], &x[1], &x[2], None, Epilogue::default())?.0),
        |x| {
            let moments = [0.0, 1.0].map(|value| Tensor::full(value, 5, &Device::Cpu).unwrap());
            let [mean, variance] = moments;
            BatchNorm::new(5, mean, variance, x[1].clone(), x[2].clone(), EPSILON)?.forward_train(&x[0])
        },
    );
}

#[test]
fn convolutions() {
    for (kernel, stride, padding) in [(3, 1, 1), (3, 2, 1), (1, 2, 0)] {
        // Odd sides: at a stride of 2 and an even side, Candle's gradient is one pixel short.
        let images = normal("images", &[2, 9, 7, 4]);
        let weights = normal("weights of a kernel", &[6, 4, kernel, kernel]);
        agree(
            &[&images, &weights],
            |x| convolution(&x[0], &x[1], Geometry { stride, padding }),
            |x| {
                let config = Conv2dConfig { padding, stride, ..Conv2dConfig::default() };
                // Candle has channels first, ours channels last.
                let output = Conv2d::new(x[1].clone(), None, config).forward(&x[0].permute((0, 3, 1, 2))?)?;
                output.permute((0, 2, 3, 1))?.contiguous()
            },
        );
    }
}

#[test]
fn attention_is_a_softmax_of_products() {
    const HEADS: usize = 2;
    let joined = normal("queries, keys and values", &[2, 5, 3 * 8]);
    agree(
        &[&joined],
        |x| attention(&x[0], HEADS),
        |x| {
            let split = x[0].reshape((2, 5, 3, HEADS, 4))?.permute((2, 0, 3, 1, 4))?;
            let part = |place: usize| split.narrow(0, place, 1)?.squeeze(0)?.contiguous();
            let (queries, keys, values) = (part(0)?, part(1)?, part(2)?);
            let products = (queries.matmul(&keys.t()?.contiguous()?)? / 4_f64.sqrt())?;
            let mixed = softmax(&products, 3)?.matmul(&values)?;
            mixed.transpose(1, 2)?.contiguous()?.reshape((2, 5, 8))
        },
    );
}

#[test]
fn losses() {
    let logits = normal("logits", &[12]);
    let defects: Vec<f64> = (0..12).map(|image| f64::from(u8::from(image % 5 == 0))).collect();
    let defects = Tensor::new(defects, &Device::Cpu).unwrap();
    agree(
        &[&logits],
        |x| binary_cross_entropy(&x[0], &defects, 1.0),
        |x| binary_cross_entropy_with_logit(&x[0], &defects),
    );

    // NT-Xent is a cross-entropy: which of all other projections of the batch belongs to the same image?
    const IMAGES: usize = 4;
    let (first, second) = (normal("first", &[IMAGES, 6]), normal("second", &[IMAGES, 6]));
    agree(
        &[&first, &second],
        |x| nt_xent(&x[0], &x[1], 0.2),
        |x| {
            let all = Tensor::cat(&[&x[0], &x[1]], 0)?;
            let all = all.broadcast_div(&all.sqr()?.sum_keepdim(1)?.sqrt()?)?;
            let similarities = (all.matmul(&all.t()?.contiguous()?)? / 0.2)?;
            let itself = (Tensor::eye(2 * IMAGES, DType::F64, &Device::Cpu)? * -1e9)?;
            let partner: Vec<u32> =
                (0..2 * IMAGES).map(|row| ((row + IMAGES) % (2 * IMAGES)) as u32).collect();
            cross_entropy(&(similarities + itself)?, &Tensor::new(partner, &Device::Cpu)?)
        },
    );
}

#[test]
fn adamw_steps() {
    let start = normal("weight", &[3, 4]);
    let target = normal("target", &[3, 4]);
    // A `Var` made from a `Var` would share its data.
    let copies = [0, 1].map(|_| Var::from_tensor(&start.copy().unwrap()).unwrap());
    let loss = |variable: &Var| (variable.as_tensor() - target.as_tensor())?.powf(4.0)?.sum_all();
    let parameter = Parameter { name: "weight".to_owned(), variable: copies[0].clone(), kind: Role::Weight };
    let mut ours = Optimiser::new(Rule::ADAMW, vec![Group::uniform([&parameter], 1e-2, 0.1)]).unwrap();
    let settings = ParamsAdamW { lr: 1e-2, weight_decay: 0.1, ..ParamsAdamW::default() };
    let mut theirs = candle_nn::AdamW::new(vec![copies[1].clone()], settings).unwrap();
    for step in 0..5 {
        ours.step(&loss(&copies[0]).unwrap().backward().unwrap(), |rate| rate).unwrap();
        theirs.step(&loss(&copies[1]).unwrap().backward().unwrap()).unwrap();
        let apart = largest(&(copies[0].as_tensor() - copies[1].as_tensor()).unwrap());
        assert!(apart < 1e-12, "step {step}: {apart:e} apart");
    }
    assert!(largest(&(copies[0].as_tensor() - start.as_tensor()).unwrap()) > 0.04, "nothing moved");
}
