//! Between tensors and slices. Knows nothing about what is computed.

use candle_core::{
    CpuStorage, DType, Error, Layout, Result, Shape, Storage, Tensor, WithDType, op::BackpropOp,
};
use half::bf16;

/// The element types that operations compute in: `f32` to train, `f64` to check gradients.
pub trait Real: Number<Sum = Self> + faer::traits::ComplexField {}

impl Real for f32 {}
impl Real for f64 {}

/// The element types that numbers lie in memory as: bf16 is computed with in f32.
pub trait Number: WithDType + Plain + Default {
    /// What sums are of.
    type Sum: Real;

    const ZERO: Self;

    /// The same number.
    fn widen(self) -> Self::Sum;

    /// The nearest number; of two, the even one.
    fn narrow(number: Self::Sum) -> Self;
}

/// Types of which every pattern of bits is a value.
///
/// # Safety
/// That is so.
pub unsafe trait Plain: Copy + Send + Sync {
    /// What tests fill unwritten room with: not-a-number, where there is one.
    const UNWRITTEN: Self;
}

// SAFETY: each pattern is a number, or not-a-number.
unsafe impl Plain for f32 {
    const UNWRITTEN: Self = Self::NAN;
}

// SAFETY: as above.
unsafe impl Plain for f64 {
    const UNWRITTEN: Self = Self::NAN;
}

// SAFETY: as above.
unsafe impl Plain for bf16 {
    const UNWRITTEN: Self = Self::NAN;
}

// SAFETY: each pattern is a number.
unsafe impl Plain for u32 {
    const UNWRITTEN: Self = Self::MAX;
}

/// Numbers that are summed as they lie.
macro_rules! sums_are_of_itself {
    ($($number:ty)*) => {
        $(impl Number for $number {
            type Sum = Self;
            const ZERO: Self = 0.0;

            #[inline(always)]
            fn widen(self) -> Self {
                self
            }

            #[inline(always)]
            fn narrow(number: Self) -> Self {
                number
            }
        })*
    };
}

sums_are_of_itself!(f32 f64);

// Plain arithmetic, so that loops over it become vector code; the bits are those of `half`.
impl Number for bf16 {
    type Sum = f32;
    const ZERO: Self = Self::ZERO;

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    #[expect(clippy::eq_op, reason = "not-a-number")]
    fn narrow(number: f32) -> Self {
        let bits = number.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        let quiet = bits >> 16 | 0x40;
        Self::from_bits(if number != number { quiet } else { rounded } as u16)
    }
}

/// The numbers of a contiguous tensor in main memory.
pub fn values<'a, T: Number>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let (start, end) = layout.contiguous_offsets().ok_or_else(|| {
        Error::Msg(format!("expected contiguous numbers, found strides {:?}", layout.stride())).bt()
    })?;
    Ok(&T::cpu_storage_as_slice(storage)?[start..end])
}

/// Calls `body` with the numbers of `tensors`, made contiguous first where they are not.
pub fn with_values<T: Number, R, const N: usize>(
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
pub fn constant<T: Number>(values: Vec<T>, shape: impl Into<Shape>) -> Tensor {
    Tensor::from_storage(Storage::Cpu(T::to_cpu_storage_owned(values)), shape, BackpropOp::none(), false)
}

/// Room for numbers: as `vec![zero; count]`, without a pass over memory. Tests get not-a-number instead, so
/// that one which is read before it was written is seen.
///
/// # Safety
/// The caller writes every number before any is read: what lies there is whatever the memory held.
pub unsafe fn unwritten<T: Plain>(count: usize) -> Vec<T> {
    if cfg!(test) || !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        return vec![T::UNWRITTEN; count];
    }
    let mut numbers = Vec::with_capacity(count);
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    // SAFETY: the room holds `count` numbers, and every pattern of bits is a number. A vector's numbers
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
pub unsafe fn make_room<T: Plain>(numbers: &mut Vec<T>, count: usize) {
    if numbers.len() < count {
        // SAFETY: by the caller.
        *numbers = unsafe { unwritten(count) };
    }
    numbers.truncate(count);
}

/// The error for element types that operations are not written for.
pub fn unsupported<R>(operation: &str, found: DType) -> Result<R> {
    Err(Error::Msg(format!("{operation}: expected bf16, f32 or f64, found {found:?}")).bt())
}
