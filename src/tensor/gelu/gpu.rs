//! GELU by `gelu.cu`: kernel launches for the forward and the backward pass.

use candle_core::{CudaDevice, CudaStorage, DType, Result, Shape, Tensor};
use cudarc::driver::CudaView;
use half::bf16;

use crate::tensor::{
    gpu::launch::{
        Element, Module, aligned, constant, device, grid_stride, launch, unsupported_dtype, view, with_views,
    },
    graph::{
        chain::apply,
        operation::{Gradients, OnGpu, Operation},
    },
};

// Must equal the constant in gelu.cu.
const THREADS: usize = 256;

fn module(device: &CudaDevice) -> Module<'_> {
    let ptx = include_str!(concat!(env!("OUT_DIR"), "/gelu.ptx"));
    Module { name: "skewbench_gelu", ptx, device }
}

/// Like [`crate::tensor::gelu()`].
pub fn gelu(input: &Tensor) -> Result<Tensor> {
    let input = aligned(input)?;
    match input.dtype() {
        DType::F32 => apply(&[&input], Gelu::<f32>::default()),
        DType::BF16 => apply(&[&input], Gelu::<bf16>::default()),
        other => unsupported_dtype("gelu", other),
    }
}

#[derive(Default)]
struct Gelu<T>(std::marker::PhantomData<T>);

impl<T: Element + Send + Sync> Operation for Gelu<T> {
    const NAME: &'static str = "gelu";

    fn on_gpu(&self, arguments: &[OnGpu]) -> Result<(CudaStorage, Shape)> {
        let (x, layout) = arguments[0];
        let module = module(device(x));
        let (x, count) = (view::<T>(x, layout)?, layout.shape().elem_count() as i64);
        let blocks = grid_stride(count as usize, THREADS);
        // SAFETY: gelu of gelu.cu reads and writes `count` numbers.
        let y = unsafe {
            let mut y = module.alloc::<T>(count as usize)?;
            launch!(module, format!("gelu_{}", T::NAME), blocks, &x, &count, &mut y);
            y
        };
        Ok((CudaStorage::wrap_cuda_slice(y, module.device.clone()), layout.shape().clone()))
    }

    fn backward(&self, arguments: &[&Tensor], _: &Tensor, slope: &Tensor) -> Result<Gradients> {
        let x = arguments[0];
        let module = module(x.device().as_cuda_device()?);
        let count = x.elem_count() as i64;
        let by_x = with_views([x, slope], |[x, slope]: &[CudaView<T>; 2]| {
            let blocks = grid_stride(count as usize, THREADS);
            // SAFETY: gelu_gradient of gelu.cu reads `count` numbers of both, and writes as many.
            unsafe {
                let mut by_x = module.alloc::<T>(count as usize)?;
                launch!(module, format!("gelu_gradient_{}", T::NAME), blocks, x, slope, &count, &mut by_x);
                Ok(by_x)
            }
        })?;
        Ok(vec![Some(constant(by_x, module.device, x.shape()))])
    }
}
