//! `gpu operations`: every operation and two losses on a GPU against the CPU's, in f32 and in mixed precision: values, and
//! gradients by every argument. What the GPU computed can be kept for `fixtures/torch/gpu_operations.py`, which holds it to PyTorch.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use skewbench::backbone::{Parameter, Role};
use skewbench::{
    candle_core::{DType, Device, Result as Outcome, Tensor, Var, safetensors},
    loss::{contrastive::nt_xent, cross_correlation::barlow_twins},
    seed::Seed,
    tensor::{
        Geometry, Move, attention, batch_norm, batch_norm::Then, convolution, gelu, global_mean, layer_norm,
        linear, max_pool, move_averages, pick_rows, pooling::Pool, widen,
    },
    train::optimiser::{Group, Optimiser, Rule, Trust},
};

use super::{Sizes, cases::Cases};

/// Largest difference, relative to the largest number of the CPU's. Ours: f32 sums in another order; of bf16 one rounding.
const BOUND: f64 = 2e-5;
const MIXED_BOUND: f64 = 1.5e-2;

/// Shapes of arguments, the first of which flows, and the operation.
struct Case {
    name: &'static str,
    shapes: Vec<Vec<usize>>,
    operation: fn(&[Tensor]) -> Outcome<Tensor>,
}

fn cases() -> Vec<Case> {
    let case = |name, shapes: &[&[usize]], operation| Case {
        name,
        shapes: shapes.iter().map(|shape| shape.to_vec()).collect(),
        operation,
    };
    vec![
        case("convolution 3 x 3", &[&[4, 14, 13, 64], &[128, 64, 3, 3]], |x| {
            convolution(&x[0], &x[1], Geometry { stride: 1, padding: 1 })
        }),
        case("convolution 3 x 3, stride 2", &[&[4, 14, 14, 64], &[128, 64, 3, 3]], |x| {
            convolution(&x[0], &x[1], Geometry { stride: 2, padding: 1 })
        }),
        case("convolution 1 x 1, stride 2", &[&[4, 14, 14, 64], &[128, 64, 1, 1]], |x| {
            convolution(&x[0], &x[1], Geometry { stride: 2, padding: 0 })
        }),
        case("convolution 7 x 7, stride 2, of images", &[&[4, 64, 64, 3], &[64, 3, 7, 7]], |x| {
            convolution(&x[0], &x[1], Geometry { stride: 2, padding: 3 })
        }),
        case("batch norm", &[&[8, 9, 7, 64], &[64], &[64]], |x| {
            Ok(batch_norm(&x[0], &x[1], &x[2], None, Then { residual: None, relu: true })?.0)
        }),
        case("batch norm, odd", &[&[50, 37], &[37], &[37]], |x| {
            Ok(batch_norm(&x[0], &x[1], &x[2], None, Then::default())?.0)
        }),
        // Without ReLU: of three million numbers some lie so near zero that rounding decides on their gradient.
        case("batch norm of many rows", &[&[16, 56, 56, 64], &[64], &[64]], |x| {
            let then = Then { residual: Some(&x[0]), relu: false };
            Ok(batch_norm(&x[0], &x[1], &x[2], None, then)?.0)
        }),
        case("layer norm", &[&[3, 197, 192], &[192], &[192]], |x| layer_norm(&x[0], &x[1], &x[2], 1e-6)),
        case("linear", &[&[3, 197, 192], &[576, 192], &[576]], |x| linear(&x[0], &x[1], Some(&x[2]))),
        case("linear without bias", &[&[70, 256], &[512, 256]], |x| linear(&x[0], &x[1], None)),
        case("linear to one", &[&[32, 512], &[1, 512], &[1]], |x| linear(&x[0], &x[1], Some(&x[2]))),
        case("attention of 197 tokens", &[&[2, 197, 576]], |x| attention(&x[0], 3)),
        case("attention of narrow heads", &[&[2, 50, 576]], |x| attention(&x[0], 12)),
        case("attention of heads of 32", &[&[2, 50, 576]], |x| attention(&x[0], 6)),
        case("attention of heads of 48", &[&[2, 50, 576]], |x| attention(&x[0], 4)),
        // As MAE picks: rows that nobody picks, that one does, and that many do.
        case("pick rows", &[&[7, 192]], |x| {
            pick_rows(&widen(&x[0])?, &[5, 0, 6, 6, 3, 6, 0, 6, 6])?.to_dtype(x[0].dtype())
        }),
        case("gelu", &[&[3, 197, 768]], |x| gelu(&x[0])),
        case("max pool", &[&[4, 15, 14, 64]], |x| max_pool(&x[0], Pool { kernel: 3, stride: 2, padding: 1 })),
        case("global mean", &[&[4, 7, 7, 512]], |x| global_mean(&x[0])),
        case("nt-xent", &[&[192, 128]], |x| {
            let views = x[0].chunk(2, 0)?;
            nt_xent(&views[0], &views[1], 0.2)?.to_dtype(x[0].dtype())
        }),
        case("barlow twins", &[&[192, 256]], |x| {
            let views = x[0].chunk(2, 0)?;
            barlow_twins(&views[0], &views[1], 0.0051)?.total.to_dtype(x[0].dtype())
        }),
    ]
}

pub fn run(arguments: &Sizes) -> Result<()> {
    let gpu = arguments.device()?;
    let mut found = Cases::new(arguments);
    let judged =
        |apart: Result<f64>, bound: f64| apart.map(|apart| json!({ "apart": apart, "equal": apart < bound }));
    let mut kept = HashMap::new();
    for case in cases() {
        for (name, numbers, bound) in [("f32", DType::F32, BOUND), ("bf16", DType::BF16, MIXED_BOUND)] {
            let label = format!("{} {name}", case.name);
            let apart = differentiate(&case, numbers, &gpu).and_then(|there| {
                there.keep(&label, &mut kept)?;
                relative(&there.results, &differentiate(&case, numbers, &Device::Cpu)?.results)
            });
            found.take(&label, judged(apart, bound))?;
        }
    }
    if let Some(file) = &arguments.keep {
        safetensors::save(&kept, file).with_context(|| format!("{}: cannot be written", file.display()))?;
    }
    let rules = [
        ("AdamW", Rule::ADAMW),
        ("SGD", Rule::Sgd { momentum: 0.9 }),
        ("LARS", Rule::Lars { momentum: 0.9, trust: Trust::NormOfSum { coefficient: 1e-3 } }),
        (
            "LARS, clipped",
            Rule::Lars { momentum: 0.9, trust: Trust::SumOfNorms { coefficient: 0.02, clip: true } },
        ),
    ];
    for (name, rule) in rules {
        found.take(name, judged(updates_apart(rule, &gpu), BOUND))?;
    }
    found.take("moving averages", judged(averages_apart(&gpu), BOUND))?;
    found.end("not as on the CPU, or failed")
}

fn normal(name: &str, shape: &[usize]) -> Result<Tensor> {
    let mut stream = Seed::root(0).child("operations").child(name).stream();
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| stream.normal() as f32).collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

fn home(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?)
}

/// The largest difference of numbers, relative to the largest number.
fn relative(found: &[Tensor], expected: &[Tensor]) -> Result<f64> {
    let mut furthest = 0.0_f64;
    for (found, expected) in found.iter().zip(expected) {
        let largest = |tensor: &Tensor| tensor.abs()?.flatten_all()?.max(0)?.to_scalar::<f64>();
        ensure!(found.dims() == expected.dims(), "{:?}, expected {:?}", found.dims(), expected.dims());
        let apart = largest(&(found - expected)?)? / largest(expected)?;
        ensure!(apart.is_finite(), "a number that is not finite");
        furthest = furthest.max(apart);
    }
    Ok(furthest)
}

/// What went into a case, and what came of it, on the CPU.
struct Found {
    arguments: Vec<Tensor>,
    slope: Tensor,
    /// Value, then gradients, in f64.
    results: Vec<Tensor>,
}

impl Found {
    /// Under the case's name, in f32, which holds bf16's numbers exactly.
    fn keep(&self, label: &str, kept: &mut HashMap<String, Tensor>) -> Result<()> {
        let mut keep = |name: String, tensor: &Tensor| -> Result<()> {
            let tensor = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()?;
            kept.insert(format!("{label}/{name}"), tensor);
            Ok(())
        };
        keep("slope".to_owned(), &self.slope)?;
        for (place, argument) in self.arguments.iter().enumerate() {
            keep(format!("argument {place}"), argument)?;
        }
        for (place, result) in self.results.iter().enumerate() {
            keep(format!("result {place}"), result)?;
        }
        Ok(())
    }
}

/// Value and gradients on `device`.
fn differentiate(case: &Case, numbers: DType, device: &Device) -> Result<Found> {
    let mut variables = Vec::new();
    for (place, shape) in case.shapes.iter().enumerate() {
        let values = normal(&format!("{} {place}", case.name), shape)?;
        // Both devices get what the type leaves of the numbers that flow.
        let values = if place == 0 { values.to_dtype(numbers)? } else { values };
        variables.push(Var::from_tensor(&values.to_device(device)?)?);
    }
    let arguments: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    let value = (case.operation)(&arguments)?;
    ensure!(value.dtype() == numbers, "numbers are {:?}, expected {numbers:?}", value.dtype());
    let slope = normal("slope", value.dims())?.to_dtype(numbers)?.to_device(device)?;
    // Not `sum_all`: Candle cannot sum a number without dimensions on a GPU.
    let gradients = (widen(&value)? * widen(&slope)?)?.flatten_all()?.sum(0)?.backward()?;
    let mut results = vec![home(&value)?];
    for variable in &variables {
        results.push(home(gradients.get(variable).context("no gradient")?)?);
    }
    Ok(Found { arguments: arguments.iter().map(Tensor::detach).collect(), slope, results })
}

/// Weights after three updates of variables that are larger and smaller than a kernel's piece.
fn updates_apart(rule: Rule, gpu: &Device) -> Result<f64> {
    let after = |device: &Device| -> Result<Vec<Tensor>> {
        let mut parameters = Vec::new();
        for (place, shape) in [vec![70, 200], vec![3], vec![64, 64]].iter().enumerate() {
            let name = format!("weight {place}");
            let variable = Var::from_tensor(&normal(&name, shape)?.to_device(device)?)?;
            parameters.push(Parameter { name, variable, kind: Role::Weight });
        }
        let group = Group { clip: Some(1.0), ..Group::uniform(&parameters, 0.1, 0.01) };
        let mut optimiser = Optimiser::new(rule, vec![group])?;
        for step in 0..3 {
            let mut loss = Tensor::zeros((), DType::F32, device)?;
            for parameter in &parameters {
                let slope = normal(&format!("{} {step}", parameter.name), parameter.variable.dims())?;
                let slope = slope.to_device(device)?;
                loss = (loss + (parameter.variable.as_tensor() * slope)?.sum_all()?)?;
            }
            optimiser.step(&loss.backward()?, |base| base)?;
        }
        parameters.iter().map(|parameter| home(&parameter.variable)).collect()
    };
    relative(&after(gpu)?, &after(&Device::Cpu)?)
}

fn averages_apart(gpu: &Device) -> Result<f64> {
    let after = |device: &Device| -> Result<Vec<Tensor>> {
        let variable = |name: &str, shape: &[usize]| -> Result<Var> {
            Ok(Var::from_tensor(&normal(name, shape)?.to_device(device)?)?)
        };
        let pair = |name: &str, shape: &[usize]| -> Result<(Var, Var)> {
            Ok((variable(&format!("average {name}"), shape)?, variable(name, shape)?))
        };
        let pairs = [pair("large", &[70, 200])?, pair("small", &[3])?];
        // The parts need not make one, as of batch normalisation's variances.
        let moves = pairs.iter().map(|(average, value)| Move { average, value, keep: 0.996, take: 0.0041 });
        move_averages(&moves.collect::<Vec<_>>())?;
        pairs.iter().map(|(average, _)| home(average)).collect()
    };
    relative(&after(gpu)?, &after(&Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rehearsal_runs_every_case_and_differs_from_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("operations.json");
        run(&Sizes { small: true, rehearse: true, out: Some(out.clone()), keep: None }).unwrap();
        let results: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
        assert_eq!(results.len(), 2 * cases().len() + 5);
        assert!(results.iter().all(|result| result["apart"] == json!(0.0)), "the CPU differs from itself");
    }
}
