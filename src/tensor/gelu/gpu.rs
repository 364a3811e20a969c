//! GELU by `gelu.cu`: what is launched, and its place in automatic differentiation.

use candle_core::{CpuStorage, CudaDevice, CudaStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};
use half::bf16;

use crate::tensor::{
    gpu::launch::{
        Element, Module, aligned, constant, device, launch, no_gpu, not_a_type, through, view, with_view,
    },
    graph::chain::apply1,
};

// As in gelu.cu.
const THREADS: usize = 256;

fn module(device: &CudaDevice) -> Module<'_> {
    let ptx = include_str!(concat!(env!("OUT_DIR"), "/gelu.ptx"));
    Module { name: "skewbench_gelu", ptx, device }
}

/// As [`crate::tensor::gelu()`].
pub fn gelu(input: &Tensor) -> Result<Tensor> {
    let input = aligned(input)?;
    match input.dtype() {
        DType::F32 => apply1(&input, Gelu::<f32>::default()),
        DType::BF16 => apply1(&input, Gelu::<bf16>::default()),
        other => not_a_type("gelu", other),
    }
}

#[derive(Default)]
struct Gelu<T>(std::marker::PhantomData<T>);

impl<T: Element> CustomOp1 for Gelu<T> {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        no_gpu("gelu")
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let module = module(device(x));
        let (x, count) = (view::<T>(x, layout)?, layout.shape().elem_count() as i64);
        let mut y = module.room::<T>(count as usize)?;
        let blocks = through(count as usize, THREADS);
        launch!(module, format!("gelu_{}", T::NAME), blocks, &x, &count, &mut y);
        Ok((CudaStorage::wrap_cuda_slice(y, module.device.clone()), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, slope: &Tensor) -> Result<Option<Tensor>> {
        let module = module(x.device().as_cuda_device()?);
        let count = x.elem_count() as i64;
        let mut by_x = module.room::<T>(x.elem_count())?;
        with_view::<T, _>(x, |x| {
            with_view::<T, _>(slope, |slope| {
                let blocks = through(count as usize, THREADS);
                launch!(module, format!("gelu_gradient_{}", T::NAME), blocks, x, slope, &count, &mut by_x);
                Ok(())
            })
        })?;
        Ok(Some(constant(by_x, module.device, x.shape())))
    }
}
