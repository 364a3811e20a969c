//! `gpu losses`: NT-Xent and Barlow Twins on a GPU, forward and backward: equal to the CPU's twin, and how long they take.
//!
//! The same cases, in the same order, are PyTorch's in `fixtures/torch/gpu_losses.py`.

use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use skewbench::{
    analysis::ratio::median,
    candle_core::{DType, Device, Tensor, Var},
    loss::{contrastive::nt_xent, cross_correlation::barlow_twins},
    seed::Seed,
};

use super::{Sizes, cases::Cases};

const TEMPERATURE: f64 = 0.2;
const WEIGHT: f64 = 0.0051;
const NT_XENT: [Size; 6] = [(512, 128), (512, 256), (2_048, 128), (2_048, 256), (8_192, 128), (8_192, 256)];
const BARLOW_TWINS: [Size; 4] = [(256, 2_048), (256, 8_192), (2_048, 2_048), (2_048, 8_192)];
const SMALL: [Size; 2] = [(33, 64), (96, 200)];
/// Rows of a view up to which the twin runs on the CPU, whose matrices are rows x rows in f64; larger cases are timed only.
const LARGEST_TWIN: usize = 2_048;
/// Timed blocks, and seconds each takes at least. Ours.
const BLOCKS: usize = 5;
const BLOCK_SECONDS: f64 = 0.2;

/// Rows of one view, and width.
type Size = (usize, usize);
type Loss = fn(&Tensor, &Tensor) -> skewbench::candle_core::Result<Tensor>;

pub fn run(arguments: &Sizes) -> Result<()> {
    let gpu = arguments.device()?;
    let losses: [(&str, Loss, &[Size]); 2] = [
        ("nt_xent", |a, b| nt_xent(a, b, TEMPERATURE), if arguments.small { &SMALL } else { &NT_XENT }),
        (
            "barlow_twins",
            |a, b| Ok(barlow_twins(a, b, WEIGHT)?.total),
            if arguments.small { &SMALL } else { &BARLOW_TWINS },
        ),
    ];
    let mut cases = Cases::new(arguments);
    for (name, loss, sizes) in losses {
        for &size in sizes {
            for (numbers, dtype) in [("f32", DType::F32), ("bf16", DType::BF16)] {
                let label = format!("{name} {} x {} {numbers}", size.0, size.1);
                cases.take(&label, case(name, loss, size, dtype, &gpu, arguments.small))?;
            }
        }
    }
    cases.end("not equal to the CPU's twin, or failed")
}

fn case(
    name: &str,
    loss: Loss,
    (rows, width): Size,
    dtype: DType,
    gpu: &Device,
    small: bool,
) -> Result<Value> {
    let [first, second] = [0, 1].map(|view| views(rows, width, view, dtype));
    let (first, second) = (first?, second?);
    let [on_gpu, other] = [&first, &second].map(|view| Var::from_tensor(&view.to_device(gpu)?));
    let (on_gpu, other) = (on_gpu?, other?);
    let step = || -> Result<(Tensor, Tensor)> {
        let total = loss(&on_gpu, &other)?;
        let gradient = total.backward()?.get(&on_gpu).context("no gradient")?.clone();
        Ok((total, gradient))
    };
    let found = step()?;
    let (operations, bytes) = floor(name, (rows, width), dtype);
    let mut case = json!({ "operations": operations, "bytes": bytes });
    if rows <= LARGEST_TWIN {
        let apart = apart(loss, &first, &second, &found)?;
        // Of bf16: eight bits of each similarity, weight and correlation.
        let bound = if dtype == DType::F32 { 1e-5 } else { 1e-2 };
        case["apart"] = json!(apart);
        case["equal"] = json!(apart.iter().all(|&apart| apart < bound));
    }
    if !small {
        let seconds = timed(gpu, || step().map(drop))?;
        case["median"] = json!(median(&seconds));
        case["seconds"] = json!(seconds);
    }
    Ok(case)
}

/// Multiplications and additions of the products forward and backward, and bytes of all views read in both and of gradients written.
fn floor(name: &str, (rows, width): Size, dtype: DType) -> (f64, f64) {
    let (n, d) = (rows as f64, width as f64);
    let products = match name {
        // Similarities of 2 N rows, the same again, and their weights times the rows.
        "nt_xent" => 3.0 * (2.0 * n) * (2.0 * n) * d,
        // The matrix of correlations, and that times either view.
        _ => 3.0 * n * d * d,
    };
    (2.0 * products, 3.0 * 2.0 * n * d * dtype.size_in_bytes() as f64)
}

/// Value and gradient less the twin's, relative to the value and to the gradient's largest number.
fn apart(loss: Loss, first: &Tensor, second: &Tensor, found: &(Tensor, Tensor)) -> Result<[f64; 2]> {
    let first = Var::from_tensor(&first.to_dtype(DType::F64)?)?;
    let total = loss(&first, &second.to_dtype(DType::F64)?)?;
    let gradient = total.backward()?.get(&first).context("no gradient")?.clone();
    let home = |tensor: &Tensor| tensor.to_dtype(DType::F64)?.to_device(&Device::Cpu);
    let largest = |tensor: &Tensor| tensor.abs()?.max_all()?.to_scalar::<f64>();
    let value = total.to_scalar::<f64>()?;
    Ok([
        (home(&found.0)?.to_scalar::<f64>()? - value).abs() / value.abs(),
        largest(&(home(&found.1)? - &gradient)?)? / largest(&gradient)?,
    ])
}

/// Normal numbers on the CPU, as the kernel gets them.
fn views(rows: usize, width: usize, view: usize, dtype: DType) -> Result<Tensor> {
    let mut stream = Seed::root(0).child("gpu").index(rows).index(width).index(view).stream();
    let values: Vec<f32> = (0..rows * width).map(|_| stream.normal() as f32).collect();
    Ok(Tensor::from_vec(values, (rows, width), &Device::Cpu)?.to_dtype(dtype)?)
}

/// Seconds of one call, block by block.
fn timed(gpu: &Device, mut call: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    let mut block = |calls: usize| -> Result<f64> {
        gpu.synchronize()?;
        let start = Instant::now();
        for _ in 0..calls {
            call()?;
        }
        gpu.synchronize()?;
        Ok(start.elapsed().as_secs_f64() / calls as f64)
    };
    block(3)?;
    let calls = (BLOCK_SECONDS / block(3)?).ceil() as usize;
    (0..BLOCKS).map(|_| block(calls.clamp(3, 10_000))).collect()
}
