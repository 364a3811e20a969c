//! Kernels against their twins on a real GPU; skipped aloud where there is none.

use candle_core::{DType, Device, Result, Tensor, Var};
use rstest::rstest;

use super::{contrastive, cross_correlation};
use crate::tensor::check::normal;

fn gpu() -> Option<Device> {
    // A driver's stub, or no card, is an error.
    let device = Device::new_cuda(0).ok();
    if device.is_none() {
        eprintln!("SKIPPED: no GPU, so no kernel ran");
    }
    device
}

/// Value and gradients of a loss of two views, on `device` and in `dtype`, as f64 on the CPU.
fn run(
    loss: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
    views: &[Tensor; 2],
    device: &Device,
    dtype: DType,
) -> Result<[Tensor; 3]> {
    let [first, second] =
        views.clone().map(|view| Var::from_tensor(&view.to_device(device)?.to_dtype(dtype)?));
    let (first, second) = (first?, second?);
    let total = loss(&first, &second)?;
    let gradients = (&total * 1.7)?.backward()?;
    let home = |tensor: &Tensor| tensor.to_dtype(DType::F64)?.to_device(&Device::Cpu);
    Ok([home(&total)?, home(gradients.get(&first).unwrap())?, home(gradients.get(&second).unwrap())?])
}

fn assert_equal(
    loss: impl Fn(&Tensor, &Tensor) -> Result<Tensor> + Copy,
    shape: [usize; 2],
    dtype: DType,
) -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let views = [normal("first", &shape, DType::F32)?, normal("second", &shape, DType::F32)?];
    // The twin gets what the kernel gets.
    let [first, second] = views.map(|view| view.to_dtype(dtype));
    let views = [first?, second?];
    let found = run(loss, &views, &gpu, dtype)?;
    let expected = run(loss, &views, &Device::Cpu, DType::F64)?;
    let bound = if dtype == DType::BF16 { 1e-2 } else { 1e-5 };
    for (found, expected) in found.iter().zip(&expected) {
        let apart = (found - expected)?.abs()?.max_all()?.to_scalar::<f64>()?;
        let largest = expected.abs()?.max_all()?.to_scalar::<f64>()?.max(1e-3);
        assert!(apart < bound * largest, "{apart:e} apart, of {largest:e} at most");
    }
    Ok(())
}

#[rstest]
fn nt_xent_is_its_twin(
    #[values([1, 5], [33, 64], [512, 128], [300, 200], [2_048, 256])] shape: [usize; 2],
    #[values(DType::F32, DType::BF16)] dtype: DType,
) -> Result<()> {
    assert_equal(|a, b| contrastive::nt_xent(a, b, 0.2), shape, dtype)
}

#[rstest]
fn barlow_twins_is_its_twin(
    #[values([3, 4], [5, 19], [70, 33], [256, 2_048], [300, 256])] shape: [usize; 2],
    #[values(DType::F32, DType::BF16)] dtype: DType,
) -> Result<()> {
    assert_equal(|a, b| Ok(cross_correlation::barlow_twins(a, b, 0.05)?.total), shape, dtype)
}
