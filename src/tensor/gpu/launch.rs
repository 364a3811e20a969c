//! Running kernels of our own on a GPU: modules, launches, and the way between tensors and their numbers.
//!
//! Everything is launched on the device's own stream and waits for nothing. `benchmarks/kernels/` runs the text of kernels
//! without a GPU. Knows nothing about what is computed.

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

/// Blocks that share the rows of sums over rows, whatever the card, so that sums are added in one order. Ours.
pub(crate) const PARTS: usize = 128;
/// Blocks of kernels that go through all numbers. Ours: eight for each multiprocessor of an H100.
const BLOCKS: usize = 1_056;
/// Threads of a warp.
pub(crate) const LANES: usize = 32;
/// Dynamic shared memory that a kernel gets without asking, in bytes.
const SHARED_UNASKED: u32 = 48 * 1024;

/// Numbers that the kernels are compiled for.
pub(crate) trait Element: WithDType + CudaDType + DeviceRepr {
    /// Suffix of a kernel's name.
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

/// A compiled file of kernels on a device.
pub(crate) struct Module<'a> {
    pub name: &'static str,
    pub ptx: &'static str,
    pub device: &'a CudaDevice,
}

impl Module<'_> {
    /// The kernel `name`, allowed to use `shared` bytes of dynamic shared memory.
    pub fn kernel(&self, name: &str, shared: u32) -> Result<CudaFunction> {
        let kernel = self.device.get_or_load_custom_func(name, self.name, self.ptx)?.into_cuda_function();
        if shared > SHARED_UNASKED {
            kernel.set_attribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared as i32).w()?;
        }
        Ok(kernel)
    }

    /// Room for numbers.
    ///
    /// # Safety
    /// The caller has every number written, by what goes to the device's stream, before any is read.
    pub unsafe fn room<T: DeviceRepr>(&self, count: usize) -> Result<CudaSlice<T>> {
        // SAFETY: by the caller.
        unsafe { self.device.alloc::<T>(count) }
    }
}

/// `kernel<<<blocks, threads, shared>>>(arguments)` on the device's stream.
///
/// # Safety
/// It expands to an unsafe call: the caller says that arguments are those of the kernel's text, in its order and of its types,
/// that buffers have the sizes that the text reads and writes, and that blocks and threads are what it was written for.
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

/// For a kernel that goes through `count` numbers in steps of all its threads: a thread for each, but not more than [`BLOCKS`].
pub(crate) fn through(count: usize, threads: usize) -> LaunchConfig {
    config([count.div_ceil(threads).clamp(1, BLOCKS), 1, 1], threads, 0)
}

/// The numbers of a contiguous tensor on a GPU.
pub(crate) fn view<'a, T: Element>(storage: &'a CudaStorage, layout: &Layout) -> Result<CudaView<'a, T>> {
    let (start, end) = layout.contiguous_offsets().ok_or_else(|| {
        Error::Msg(format!("expected contiguous numbers, found strides {:?}", layout.stride())).bt()
    })?;
    Ok(storage.as_cuda_slice::<T>()?.slice(start..end))
}

/// The numbers in order, from an address that sixteen bytes divide: kernels read as many at a time. Copied only where they are not.
pub(crate) fn aligned(tensor: &Tensor) -> Result<Tensor> {
    let start = tensor.layout().start_offset() * tensor.dtype().size_in_bytes();
    if start.is_multiple_of(16) { tensor.contiguous() } else { tensor.force_contiguous() }
}

/// Calls `body` with the numbers of tensors on a GPU, [`aligned`] first.
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

/// Wraps freshly computed numbers; the tensor is a constant to automatic differentiation.
pub(crate) fn constant<T: Element>(
    numbers: CudaSlice<T>,
    device: &CudaDevice,
    shape: impl Into<Shape>,
) -> Tensor {
    let storage = CudaStorage::wrap_cuda_slice(numbers, device.clone());
    Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
}

/// Whether kernels take these numbers as they are.
pub(crate) fn is_taken(tensor: &Tensor) -> bool {
    tensor.device().is_cuda() && matches!(tensor.dtype(), DType::F32 | DType::BF16)
}

/// The error for element types that kernels are not compiled for.
pub(crate) fn not_a_type<T>(name: &str, dtype: DType) -> Result<T> {
    Err(Error::Msg(format!("{name}: numbers are {dtype:?}, expected f32 or bf16")).bt())
}

/// The error for a backward pass without what the forward pass keeps.
pub(crate) fn no_forward_pass<T>(name: &str) -> Result<T> {
    Err(Error::Msg(format!("{name}: expected a forward pass before the backward pass")).bt())
}

pub(crate) fn device(storage: &CudaStorage) -> &CudaDevice {
    BackendStorage::device(storage)
}
