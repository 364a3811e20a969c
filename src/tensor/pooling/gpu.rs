//! Maximum over windows by `pooling.cu`: what is launched, and its place in automatic differentiation.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CudaDevice, CudaStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};
use cudarc::driver::{CudaSlice, DeviceRepr};
use half::bf16;

use super::window::Pool;
use crate::tensor::{
    gpu::launch::{
        Element, Module, aligned, constant, device, launch, no_forward_pass, no_gpu, not_a_type, through,
        view, with_view,
    },
    graph::chain::apply1,
};

// As in pooling.cu.
const THREADS: usize = 256;

fn module(device: &CudaDevice) -> Module<'_> {
    let ptx = include_str!(concat!(env!("OUT_DIR"), "/pooling.ptx"));
    Module { name: "skewbench_pooling", ptx, device }
}

/// `Pool` of `pooling.cu`: batch, height, width and channels of images, height and width of the output, then the window.
#[derive(Clone, Copy)]
#[repr(C)]
struct Windows([i32; 9]);

// SAFETY: plain numbers, laid out as the kernel's structure.
unsafe impl DeviceRepr for Windows {}

/// As [`crate::tensor::max_pool`].
pub fn max_pool(images: &Tensor, pool: Pool) -> Result<Tensor> {
    let images = aligned(images)?;
    let (batch, height, width, channels) = images.dims4()?;
    let (down, across) = pool.output(height, width)?;
    let Pool { kernel, stride, padding } = pool;
    let sizes = [batch, height, width, channels, down, across, kernel, stride, padding];
    let windows = Windows(sizes.map(|size| size as i32));
    match images.dtype() {
        DType::F32 => apply1(&images, MaxPool::<f32>::new(windows)),
        DType::BF16 => apply1(&images, MaxPool::<bf16>::new(windows)),
        other => not_a_type("max pool", other),
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

impl<T: Element> CustomOp1 for MaxPool<T> {
    fn name(&self) -> &'static str {
        "max pool"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        no_gpu("max pool")
    }

    fn cuda_fwd(&self, images: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let module = module(device(images));
        let images = view::<T>(images, layout)?;
        let [batch, _, _, channels, down, across, ..] = self.windows.0.map(|size| size as usize);
        let count = batch * down * across * channels;
        let (mut out, mut winners) = (module.room::<T>(count)?, module.room::<u8>(count)?);
        let blocks = through(count, THREADS);
        launch!(
            module,
            format!("max_pool_{}", T::NAME),
            blocks,
            &images,
            &self.windows,
            &mut out,
            &mut winners
        );
        let _ = self.winners.set(winners);
        let storage = CudaStorage::wrap_cuda_slice(out, module.device.clone());
        Ok((storage, (batch, down, across, channels).into()))
    }

    fn bwd(&self, images: &Tensor, _: &Tensor, slope: &Tensor) -> Result<Option<Tensor>> {
        let Some(winners) = self.winners.get() else { return no_forward_pass("max pool") };
        let module = module(images.device().as_cuda_device()?);
        let mut by_images = module.room::<T>(images.elem_count())?;
        with_view::<T, _>(slope, |slope| {
            let blocks = through(images.elem_count(), THREADS);
            let name = format!("max_pool_gradient_{}", T::NAME);
            launch!(module, name, blocks, slope, winners, &self.windows, &mut by_images);
            Ok(())
        })?;
        Ok(Some(constant(by_images, module.device, images.shape())))
    }
}
