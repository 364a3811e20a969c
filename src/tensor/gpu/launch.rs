//! Running our own kernels on a GPU: modules, launches, and conversions between tensors and their numbers.
//!
//! Everything is launched on the device's own stream without waiting. `benchmarks/kernels/` runs the kernels'
//! source without a GPU. Independent of what is computed.

use candle_core::{
    CudaDevice, CudaStorage, DType, Error, Layout, Result, Shape, Storage, Tensor, WithDType,
    backend::BackendStorage,
    cuda_backend::{CudaDType, WrapErr},
    op::BackpropOp,
};
use cudarc::driver::{
    CudaFunction, CudaSlice, CudaView, DeviceRepr, LaunchConfig,
    sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
};

/// Number of blocks that the rows of a sum are split among, equal on every card, so that sums are added in the same
/// order (ours).
pub(crate) const PARTS: usize = 128;
/// Largest number of blocks of a kernel with a grid-stride loop (ours: eight for each multiprocessor of an H100).
const BLOCKS: usize = 1_056;
/// Number of threads of a warp.
pub(crate) const LANES: usize = 32;
/// Dynamic shared memory that a kernel may use without a request, in bytes.
const SHARED_UNASKED: u32 = 48 * 1024;

/// Number types for which the kernels are compiled.
pub(crate) trait Element: WithDType + CudaDType + DeviceRepr {
    /// Suffix of kernel names.
    const NAME: &'static str;
    /// Numbers in a word of 32 bits.
    const IN_WORD: usize;
}

impl Element for f32 {
    const NAME: &'static str = "f32";
    const IN_WORD: usize = 1;
}

impl Element for half::bf16 {
    const NAME: &'static str = "bf16";
    const IN_WORD: usize = 2;
}

/// A compiled kernel file on a device.
pub(crate) struct Module<'a> {
    pub name: &'static str,
    pub ptx: &'static str,
    pub device: &'a CudaDevice,
}

impl Module<'_> {
    /// Returns the kernel `name`, allowed to use `shared` bytes of dynamic shared memory.
    pub fn kernel(&self, name: &str, shared: u32) -> Result<CudaFunction> {
        let kernel = self.device.get_or_load_custom_func(name, self.name, self.ptx)?.into_cuda_function();
        if shared > SHARED_UNASKED {
            kernel.set_attribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared as i32).w()?;
        }
        Ok(kernel)
    }

    /// Allocates memory for numbers.
    ///
    /// # Safety
    /// Work on the device's stream must write every number before any is read.
    pub unsafe fn alloc<T: DeviceRepr>(&self, count: usize) -> Result<CudaSlice<T>> {
        // SAFETY: guaranteed by the caller.
        unsafe { self.device.alloc::<T>(count) }
    }
}

/// `kernel<<<blocks, threads, shared>>>(arguments)` on the device's stream.
///
/// # Safety
/// It expands to an unsafe call. The caller guarantees that the arguments have the order and types of the kernel's
/// source, that buffers have the sizes that it reads and writes, and that it was written for these blocks and
/// threads.
macro_rules! launch {
    ($module:expr, $name:expr, $config:expr, $($argument:expr),+ $(,)?) => {{
        let config: cudarc::driver::LaunchConfig = $config;
        let kernel = $module.kernel(&$name, config.shared_mem_bytes)?;
        let stream = $module.device.cuda_stream();
        let mut builder = stream.launch_builder(&kernel);
        $(cudarc::driver::PushKernelArg::arg(&mut builder, $argument);)+
        builder.launch(config).map_err(candle_core::cuda_backend::CudaError::from)?;
    }};
}
pub(crate) use launch;

pub(crate) fn config(blocks: [usize; 3], threads: usize, shared_bytes: usize) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (blocks[0] as u32, blocks[1] as u32, blocks[2] as u32),
        block_dim: (threads as u32, 1, 1),
        shared_mem_bytes: shared_bytes as u32,
    }
}

/// Returns the launch configuration of a kernel with a grid-stride loop over `count` numbers: one thread per
/// number, but at most [`BLOCKS`] blocks.
pub(crate) fn grid_stride(count: usize, threads: usize) -> LaunchConfig {
    config([count.div_ceil(threads).clamp(1, BLOCKS), 1, 1], threads, 0)
}

/// Returns the numbers of a contiguous tensor on a GPU.
pub(crate) fn view<'a, T: Element>(storage: &'a CudaStorage, layout: &Layout) -> Result<CudaView<'a, T>> {
    let (start, end) = layout.contiguous_offsets().ok_or_else(|| {
        Error::Msg(format!("expected contiguous numbers, found strides {:?}", layout.stride())).bt()
    })?;
    Ok(storage.as_cuda_slice::<T>()?.slice(start..end))
}

/// Returns the tensor contiguous and at an address divisible by sixteen, because kernels read sixteen bytes at
/// once. Copies it only if necessary.
pub(crate) fn aligned(tensor: &Tensor) -> Result<Tensor> {
    let start = tensor.layout().start_offset() * tensor.dtype().size_in_bytes();
    if start.is_multiple_of(16) { tensor.contiguous() } else { tensor.force_contiguous() }
}

/// Calls `body` with the numbers of tensors on a GPU, which are first [`aligned`] if necessary.
pub(crate) fn with_views<T: Element, R, const N: usize>(
    tensors: [&Tensor; N],
    body: impl FnOnce(&[CudaView<T>; N]) -> Result<R>,
) -> Result<R> {
    let tensors = tensors.iter().map(|tensor| aligned(&tensor.detach())).collect::<Result<Vec<_>>>()?;
    let held: Vec<_> = tensors.iter().map(Tensor::storage_and_layout).collect();
    let views = held.iter().map(|(storage, layout)| match &**storage {
        Storage::Cuda(storage) => view(storage, layout),
        _ => Err(Error::Msg("expected a tensor on a GPU".to_owned()).bt()),
    });
    let Ok(views) = <[CudaView<T>; N]>::try_from(views.collect::<Result<Vec<_>>>()?) else {
        unreachable!("as many as tensors")
    };
    body(&views)
}

/// Wraps freshly computed numbers; for automatic differentiation the tensor is a constant.
pub(crate) fn constant<T: Element>(
    numbers: CudaSlice<T>,
    device: &CudaDevice,
    shape: impl Into<Shape>,
) -> Tensor {
    let storage = CudaStorage::wrap_cuda_slice(numbers, device.clone());
    Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
}

/// Returns whether kernels support these numbers.
pub(crate) fn fits_kernels(tensor: &Tensor) -> bool {
    tensor.device().is_cuda() && matches!(tensor.dtype(), DType::F32 | DType::BF16)
}

/// Returns the error for element types for which kernels are not compiled.
pub(crate) fn unsupported_dtype<T>(name: &str, dtype: DType) -> Result<T> {
    Err(Error::Msg(format!("{name}: numbers are {dtype:?}, expected f32 or bf16")).bt())
}

/// Returns the error for a backward pass without the results of a forward pass.
pub(crate) fn no_forward_pass<T>(name: &str) -> Result<T> {
    Err(Error::Msg(format!("{name}: expected a forward pass before the backward pass")).bt())
}

pub(crate) fn device(storage: &CudaStorage) -> &CudaDevice {
    BackendStorage::device(storage)
}
