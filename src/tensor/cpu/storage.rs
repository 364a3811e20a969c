//! Between tensors and slices. Knows nothing of what is computed.

use candle_core::{
    CpuStorage, DType, Error, Layout, Result, Shape, Storage, Tensor, WithDType, op::BackpropOp,
};

/// The element types that operations are written for: `f32` to train, `f64` to check gradients.
pub trait Real: WithDType + Default + faer::traits::ComplexField {}

impl Real for f32 {}
impl Real for f64 {}

/// The numbers of a contiguous tensor in main memory.
pub fn values<'a, T: Real>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let (start, end) = layout.contiguous_offsets().ok_or_else(|| {
        Error::Msg(format!("expected contiguous numbers, found strides {:?}", layout.stride())).bt()
    })?;
    Ok(&T::cpu_storage_as_slice(storage)?[start..end])
}

/// Calls `body` with the numbers of `tensor`, made contiguous first where they are not.
pub fn with_values<T: Real, R>(tensor: &Tensor, body: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let tensor = tensor.detach().contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => body(values(storage, layout)?),
        _ => Err(Error::Msg("expected a tensor in main memory".to_owned()).bt()),
    }
}

/// Wraps freshly computed numbers; the tensor is a constant to automatic differentiation.
pub fn constant<T: Real>(values: Vec<T>, shape: impl Into<Shape>) -> Tensor {
    Tensor::from_storage(Storage::Cpu(T::to_cpu_storage_owned(values)), shape, BackpropOp::none(), false)
}

/// Room for numbers of which the caller writes every one before any is read: as `vec![zero; count]`, without a pass
/// over memory. Tests get not-a-number instead, so that one which is read before is seen.
pub fn unwritten<T: Real>(count: usize) -> Vec<T> {
    if cfg!(test) || !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        return vec![T::from_f64(f64::NAN); count];
    }
    let mut numbers = Vec::with_capacity(count);
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    // SAFETY: the room holds `count` numbers, and every pattern of bits is one. To the compiler the assembly may
    // have written there, so whatever lies in memory is what it wrote.
    unsafe {
        std::arch::asm!("/* {} */", in(reg) numbers.as_mut_ptr(), options(nostack, preserves_flags));
        numbers.set_len(count);
    }
    numbers
}

/// Makes `numbers` `count` long, for a caller that then writes every one, as with [`unwritten`].
pub fn make_room<T: Real>(numbers: &mut Vec<T>, count: usize) {
    if numbers.len() < count {
        *numbers = unwritten(count);
    }
    numbers.truncate(count);
}

/// The error for element types that operations are not written for.
pub fn unsupported<R>(operation: &str, found: DType) -> Result<R> {
    Err(Error::Msg(format!("{operation}: expected f32 or f64, found {found:?}")).bt())
}
