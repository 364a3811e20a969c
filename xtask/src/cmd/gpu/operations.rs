//! `gpu operations`: compares every operation and update on a GPU with the CPU, in f32 and in mixed precision:
//! values, and gradients with respect to every argument. The GPU's results can be stored for
//! `fixtures/torch/gpu_operations.py`, which compares them with PyTorch.

use anyhow::Result;
use checks::{
    compare::compare,
    inputs::Precision,
    operations::{self, Case},
    pytorch::OperationFile,
    updates::UPDATES,
};
use serde_json::Value;
use skewbench::candle_core::Device;

use super::{Sizes, cases::Cases};

/// Largest size of a case, in numbers, that compute-sanitizer runs.
const SMALL: usize = 1_000_000;
/// Bound for updates, relative to the largest number: f32 sums in another order.
const UPDATES_BOUND: f64 = 2e-5;

pub fn run(arguments: &Sizes) -> Result<()> {
    let gpu = arguments.device()?;
    let mut found = Cases::new(arguments);
    let mut kept = OperationFile::default();
    for case in listed(arguments.small) {
        for precision in Precision::ON_A_GPU {
            let label = format!("{} {}", case.name(), precision.id());
            found.take(
                &label,
                compared(&case, precision, &gpu, arguments.keep.is_some().then_some(&mut kept)),
            )?;
        }
    }
    if let Some(file) = &arguments.keep {
        kept.write(file)?;
    }
    for (name, update) in UPDATES {
        let apart = update.updated_variables(&gpu).and_then(|there| {
            Ok(compare(&there, &update.updated_variables(&Device::Cpu)?, UPDATES_BOUND)?.to_json())
        });
        found.take(name, apart)?;
    }
    found.end("not as on the CPU, or failed")
}

fn listed(small: bool) -> Vec<Case> {
    operations::cases().into_iter().filter(|case| !small || case.size() <= SMALL).collect()
}

fn compared(
    case: &Case,
    precision: Precision,
    gpu: &Device,
    kept: Option<&mut OperationFile>,
) -> Result<Value> {
    let there = case.compute(precision, gpu)?;
    if let Some(kept) = kept {
        kept.take(case, precision, &there)?;
    }
    let here = case.compute(precision, &Device::Cpu)?;
    Ok(compare(&there.results, &here.results, case.bound(precision))?.to_json())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rehearsal_runs_every_case_and_differs_from_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [out, keep] = ["operations.json", "kept"].map(|name| folder.path().join(name));
        run(&Sizes { small: true, rehearse: true, out: Some(out.clone()), keep: Some(keep.clone()) })
            .unwrap();
        let results: Vec<Value> = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
        assert_eq!(results.len(), 2 * listed(true).len() + UPDATES.len());
        assert!(results.iter().all(|result| result["apart"] == json!(0.0)), "the CPU differs from itself");
        // The file that PyTorch's script reads: a header with the cases, and their tensors.
        let kept = std::fs::read(&keep).unwrap();
        let length = u64::from_le_bytes(kept[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&kept[8..8 + length]).unwrap();
        let cases: Vec<Value> =
            serde_json::from_str(header["__metadata__"]["cases"].as_str().unwrap()).unwrap();
        assert_eq!(cases.len(), 2 * listed(true).len());
        for case in &cases {
            let value = format!(
                "{}/result by {}",
                case["case"].as_str().unwrap(),
                case["arguments"][0]["name"].as_str().unwrap()
            );
            assert!(header[&value]["shape"].is_array(), "{value}");
        }
    }
}
