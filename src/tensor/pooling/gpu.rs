//! Maximum over windows by `pooling.cu`: kernel launches for the forward and the backward pass.

use std::sync::OnceLock;

use candle_core::{CudaDevice, CudaStorage, DType, Result, Shape, Tensor};
use cudarc::driver::{CudaSlice, CudaView, DeviceRepr};
use half::bf16;

use super::window::Pool;
use crate::tensor::{
    gpu::launch::{
        Element, Module, aligned, constant, device, grid_stride, launch, no_forward_pass, unsupported_dtype,
        view, with_views,
    },
    graph::{
        chain::apply,
        operation::{Gradients, OnGpu, Operation},
    },
};

// Must equal the constant in pooling.cu.
const THREADS: usize = 256;

fn module(device: &CudaDevice) -> Module<'_> {
    let ptx = include_str!(concat!(env!("OUT_DIR"), "/pooling.ptx"));
    Module { name: "skewbench_pooling", ptx, device }
}

/// The structure `Pool` of `pooling.cu`: batch, height, width and channels of images, height and width of the
/// output, then kernel, stride and padding.
#[derive(Clone, Copy)]
#[repr(C)]
struct Windows([i32; 9]);

// SAFETY: plain numbers with the layout of the kernel's structure.
unsafe impl DeviceRepr for Windows {}

/// Like [`crate::tensor::max_pool`].
pub fn max_pool(images: &Tensor, pool: Pool) -> Result<Tensor> {
    let images = aligned(images)?;
    let (batch, height, width, channels) = images.dims4()?;
    let (down, across) = pool.output(height, width)?;
    let Pool { kernel, stride, padding } = pool;
    let sizes = [batch, height, width, channels, down, across, kernel, stride, padding];
    let windows = Windows(sizes.map(|size| size as i32));
    match images.dtype() {
        DType::F32 => apply(&[&images], MaxPool::<f32>::new(windows)),
        DType::BF16 => apply(&[&images], MaxPool::<bf16>::new(windows)),
        other => unsupported_dtype("max pool", other),
    }
}

struct MaxPool<T> {
    windows: Windows,
    winners: OnceLock<CudaSlice<u8>>,
    numbers: std::marker::PhantomData<T>,
}

impl<T> MaxPool<T> {
    fn new(windows: Windows) -> Self {
        Self { windows, winners: OnceLock::new(), numbers: std::marker::PhantomData }
    }
}

impl<T: Element + Send + Sync> Operation for MaxPool<T> {
    const NAME: &'static str = "max pool";

    fn on_gpu(&self, arguments: &[OnGpu]) -> Result<(CudaStorage, Shape)> {
        let (images, layout) = arguments[0];
        let module = module(device(images));
        let images = view::<T>(images, layout)?;
        let [batch, _, _, channels, down, across, ..] = self.windows.0.map(|size| size as usize);
        let count = batch * down * across * channels;
        let blocks = grid_stride(count, THREADS);
        let name = format!("max_pool_{}", T::NAME);
        // SAFETY: max_pool of pooling.cu reads images of the windows' sizes, and writes a maximum and a winner for
        // each of the `count` numbers of the output.
        let (out, winners) = unsafe {
            let (mut out, mut winners) = (module.alloc::<T>(count)?, module.alloc::<u8>(count)?);
            launch!(module, name, blocks, &images, &self.windows, &mut out, &mut winners);
            (out, winners)
        };
        let _ = self.winners.set(winners);
        let storage = CudaStorage::wrap_cuda_slice(out, module.device.clone());
        Ok((storage, (batch, down, across, channels).into()))
    }

    fn backward(&self, arguments: &[&Tensor], _: &Tensor, slope: &Tensor) -> Result<Gradients> {
        let Some(winners) = self.winners.get() else { return no_forward_pass(Self::NAME) };
        let images = arguments[0];
        let module = module(images.device().as_cuda_device()?);
        let by_images = with_views([slope], |[slope]: &[CudaView<T>; 1]| {
            let blocks = grid_stride(images.elem_count(), THREADS);
            let name = format!("max_pool_gradient_{}", T::NAME);
            // SAFETY: max_pool_gradient of pooling.cu reads as many slopes as winners, and writes every number of
            // images of the windows' sizes.
            unsafe {
                let mut by_images = module.alloc::<T>(images.elem_count())?;
                launch!(module, name, blocks, slope, winners, &self.windows, &mut by_images);
                Ok(by_images)
            }
        })?;
        Ok(vec![Some(constant(by_images, module.device, images.shape()))])
    }
}
