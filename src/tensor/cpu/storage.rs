//! Conversions between tensors and slices. Independent of what is computed.

use candle_core::{
    CpuStorage, DType, Error, Layout, Result, Shape, Storage, Tensor, WithDType, op::BackpropOp,
};
use half::bf16;

use super::operands::Output;

/// Element types that operations compute in: `f32` to train, `f64` to check gradients.
pub trait Real: Number<Sum = Self> + faer::traits::ComplexField {}

impl Real for f32 {}
impl Real for f64 {}

/// Element types in which numbers are stored; bf16 is widened to f32 for arithmetic.
pub trait Number: WithDType + Plain + Default {
    /// Type of sums.
    type Sum: Real;

    const ZERO: Self;

    /// Converts to the type of sums, exactly.
    fn widen(self) -> Self::Sum;

    /// Rounds to the nearest number, ties to even.
    fn narrow(number: Self::Sum) -> Self;

    /// Returns the numbers as they are, if they have the type of sums.
    fn as_sums(numbers: &[Self]) -> Option<&[Self::Sum]>;

    /// Returns the output as it is, if it has the type of sums.
    ///
    /// # Errors
    /// The output, if it has another type.
    fn output_of_sums(out: Output<Self>) -> std::result::Result<Output<Self::Sum>, Output<Self>>;
}

/// Types for which every bit pattern is a valid value.
///
/// # Safety
/// Every bit pattern must be a valid value.
pub unsafe trait Plain: Copy + Send + Sync {
    /// The value with which tests fill unwritten memory: NaN, if the type has one.
    const UNWRITTEN: Self;
}

// SAFETY: each pattern is a number or NaN.
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

// SAFETY: as above.
unsafe impl Plain for u8 {
    const UNWRITTEN: Self = Self::MAX;
}

/// Implements number types whose sums have the same type.
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

            fn as_sums(numbers: &[Self]) -> Option<&[Self]> {
                Some(numbers)
            }

            fn output_of_sums(out: Output<Self>) -> std::result::Result<Output<Self>, Output<Self>> {
                Ok(out)
            }
        })*
    };
}

sums_are_of_itself!(f32 f64);

// Plain arithmetic, so that loops over it become vector code; results are bit-identical to those of `half`.
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

    fn as_sums(_: &[Self]) -> Option<&[f32]> {
        None
    }

    fn output_of_sums(out: Output<Self>) -> std::result::Result<Output<f32>, Output<Self>> {
        Err(out)
    }
}

/// Returns the numbers of a contiguous tensor in main memory.
pub fn values<'a, T: Number>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let (start, end) = layout.contiguous_offsets().ok_or_else(|| {
        Error::Msg(format!("expected contiguous numbers, found strides {:?}", layout.stride())).bt()
    })?;
    Ok(&T::cpu_storage_as_slice(storage)?[start..end])
}

/// Calls `body` with the numbers of `tensors`, which are first made contiguous if necessary.
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

/// Wraps freshly computed numbers; for automatic differentiation the tensor is a constant.
pub fn constant<T: Number>(values: Vec<T>, shape: impl Into<Shape>) -> Tensor {
    Tensor::from_storage(Storage::Cpu(T::to_cpu_storage_owned(values)), shape, BackpropOp::none(), false)
}

/// Allocates memory for numbers: like `vec![zero; count]`, without a pass over memory. In tests it is filled with
/// NaN, which reveals numbers that are read before they are written.
///
/// # Safety
/// The caller writes every number before any is read: until then the content is arbitrary.
pub unsafe fn unwritten<T: Plain>(count: usize) -> Vec<T> {
    if cfg!(test) || !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        return vec![T::UNWRITTEN; count];
    }
    let mut numbers = Vec::with_capacity(count);
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    // SAFETY: the memory holds `count` numbers, and every bit pattern is a number. A vector's numbers must be
    // initialised: as far as the compiler knows, the assembly may have written them, so it assumes nothing about
    // the content before the caller writes there.
    unsafe {
        std::arch::asm!("/* {} */", in(reg) numbers.as_mut_ptr(), options(nostack, preserves_flags));
        numbers.set_len(count);
    }
    numbers
}

/// Sets the length of `numbers` to `count`; the content is arbitrary.
///
/// # Safety
/// As for [`unwritten`].
pub unsafe fn resize_unwritten<T: Plain>(numbers: &mut Vec<T>, count: usize) {
    if numbers.len() < count {
        // SAFETY: guaranteed by the caller.
        *numbers = unsafe { unwritten(count) };
    }
    numbers.truncate(count);
}

/// Returns the error for element types that operations do not support.
pub fn unsupported<R>(operation: &str, found: DType) -> Result<R> {
    Err(Error::Msg(format!("{operation}: expected bf16, f32 or f64, found {found:?}")).bt())
}
