//! Between tensors and slices. Knows nothing about what is computed.

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

/// Calls `body` with the numbers of `tensors`, made contiguous first where they are not.
pub fn with_values<T: Real, R, const N: usize>(
    tensors: [&Tensor; N],
    body: impl FnOnce([&[T]; N]) -> Result<R>,
) -> Result<R> {
    let tensors = tensors.iter().map(|tensor| tensor.detach().contiguous()).collect::<Result<Vec<_>>>()?;
    let held: Vec<_> = tensors.iter().map(Tensor::storage_and_layout).collect();
    let mut numbers = [&[][..]; N];
    for (numbers, (storage, layout)) in numbers.iter_mut().zip(&held) {
        *numbers = match &**storage {
            Storage::Cpu(storage) => values(storage, layout)?,
            _ => return Err(Error::Msg("expected a tensor in main memory".to_owned()).bt()),
        };
    }
    body(numbers)
}

/// Wraps freshly computed numbers; the tensor is a constant to automatic differentiation.
pub fn constant<T: Real>(values: Vec<T>, shape: impl Into<Shape>) -> Tensor {
    Tensor::from_storage(Storage::Cpu(T::to_cpu_storage_owned(values)), shape, BackpropOp::none(), false)
}

/// Room for numbers: as `vec![zero; count]`, without a pass over memory. Tests get not-a-number instead, so
/// that one which is read before it was written is seen.
///
/// # Safety
/// The caller writes every number before any is read: what lies there is whatever the memory held.
pub unsafe fn unwritten<T: Real>(count: usize) -> Vec<T> {
    if cfg!(test) || !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        return vec![T::from_f64(f64::NAN); count];
    }
    let mut numbers = Vec::with_capacity(count);
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    // SAFETY: the room holds `count` numbers, and every pattern of bits is an f32 or f64. A vector's numbers
    // must be initialised: to the compiler the assembly may have written them, so whatever lies in memory is
    // what it wrote, and nothing is assumed of a slice of them before the caller writes there.
    unsafe {
        std::arch::asm!("/* {} */", in(reg) numbers.as_mut_ptr(), options(nostack, preserves_flags));
        numbers.set_len(count);
    }
    numbers
}

/// Makes `numbers` `count` long.
///
/// # Safety
/// As [`unwritten`].
pub unsafe fn make_room<T: Real>(numbers: &mut Vec<T>, count: usize) {
    if numbers.len() < count {
        // SAFETY: by the caller.
        *numbers = unsafe { unwritten(count) };
    }
    numbers.truncate(count);
}

/// The error for element types that operations are not written for.
pub fn unsupported<R>(operation: &str, found: DType) -> Result<R> {
    Err(Error::Msg(format!("{operation}: expected f32 or f64, found {found:?}")).bt())
}
