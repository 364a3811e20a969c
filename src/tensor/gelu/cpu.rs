//! GELU on the CPU. For f32, C(-|x|) = e^(-x^2 / 2) R(t) with t = 1 / (1 + 0.3 |x|) and R a polynomial of
//! degree 8 fitted by us on |x| < 14.5 for the least relative error (6e-8 before rounding). For f64: libm's.

use candle_core::{CpuStorage, DType, Layout, Result, Shape, Tensor, backend::BackendStorage};
use half::bf16;
use rayon::prelude::*;

use crate::tensor::{
    cpu::{
        exponential::Exponential,
        storage::{Number, constant, unsupported, unwritten, values, with_values},
        vector::vectorised,
    },
    graph::{
        chain::apply,
        operation::{Gradients, OnCpu, Operation},
    },
};

/// Like [`crate::tensor::gelu()`].
pub fn gelu(input: &Tensor) -> Result<Tensor> {
    apply(&[&input.contiguous()?], Gelu)
}

/// Element types that [`gelu`] supports.
pub trait Normal: Exponential {
    /// Returns the standard normal distribution function C(x) and density D(x).
    fn distribution_and_density(self) -> (Self, Self);
}

/// Coefficients of R, constant first.
const R: [f32; 9] = [
    7.372_338e-6,
    0.119_484_21,
    0.121_945_254,
    0.094_585_9,
    0.142_765_18,
    -0.076_839_5,
    0.228_951_62,
    -0.169_307_38,
    0.038_407_374,
];
/// Beyond this, in f32, the tail is negligible.
const FAR: f32 = 14.5;
/// 1 / sqrt(2 pi).
const DENSITY_AT_ZERO: f64 = 0.398_942_280_401_432_7;

impl Normal for f32 {
    #[inline(always)]
    fn distribution_and_density(self) -> (Self, Self) {
        // x^2 = high^2 + (x - high)(x + high), the first term exact: for large |x|, a rounded square would make the
        // exponential inaccurate.
        let size = if self.abs() < FAR { self.abs() } else { FAR };
        let high = Self::from_bits(size.to_bits() & 0xffff_f000);
        let e = Self::exponential(-0.5 * (high * high), -0.5 * ((size - high) * (size + high)));
        let t = 1.0 / (1.0 + 0.3 * size);
        let mut r = R[8];
        r = r * t + R[7];
        r = r * t + R[6];
        r = r * t + R[5];
        r = r * t + R[4];
        r = r * t + R[3];
        r = r * t + R[2];
        r = r * t + R[1];
        r = r * t + R[0];
        let tail = r * e;
        (if self < 0.0 { tail } else { 1.0 - tail }, DENSITY_AT_ZERO as Self * e)
    }
}

impl Normal for f64 {
    #[inline(always)]
    fn distribution_and_density(self) -> (Self, Self) {
        let tail = 0.5 * libm::erfc(-self * std::f64::consts::FRAC_1_SQRT_2);
        (tail, DENSITY_AT_ZERO * libm::exp(-0.5 * self * self))
    }
}

/// Number of elements that one task processes: pieces of f32 fit into a first-level cache (ours).
const PIECE: usize = 8192;

/// Returns GELU of all numbers.
pub fn gelu_slice<N: Number<Sum: Normal>>(input: &[N]) -> Vec<N> {
    // SAFETY: the loop writes every number.
    let mut out = unsafe { unwritten(input.len()) };
    out.par_chunks_mut(PIECE).zip(input.par_chunks(PIECE)).for_each(|(out, input)| {
        vectorised(
            #[inline(always)]
            || {
                for (y, &x) in out.iter_mut().zip(input) {
                    let x = x.widen();
                    *y = N::narrow(x * x.distribution_and_density().0);
                }
            },
        );
    });
    out
}

/// Returns GELU of all numbers, and replaces the `gradient` with respect to it by the gradient with respect to
/// `input`.
pub fn gelu_and_gradient<N: Number<Sum: Normal>>(input: &[N], gradient: &mut [N]) -> Vec<N> {
    // SAFETY: as above.
    let mut out = unsafe { unwritten(input.len()) };
    let given = input.par_chunks(PIECE).zip(gradient.par_chunks_mut(PIECE));
    out.par_chunks_mut(PIECE).zip(given).for_each(|(out, (input, gradient))| {
        vectorised(
            #[inline(always)]
            || {
                for ((y, &x), by) in out.iter_mut().zip(input).zip(gradient.iter_mut()) {
                    let x = x.widen();
                    let (distribution, density) = x.distribution_and_density();
                    *y = N::narrow(x * distribution);
                    *by = N::narrow(by.widen() * (distribution + x * density));
                }
            },
        );
    });
    out
}

struct Gelu;

impl Gelu {
    fn forward<N: Number<Sum: Normal>>(storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let out = gelu_slice(values::<N>(storage, layout)?);
        Ok((N::to_cpu_storage_owned(out), layout.shape().clone()))
    }

    fn gradient<N: Number<Sum: Normal>>(input: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        // SAFETY: as above.
        let mut out = unsafe { unwritten(input.elem_count()) };
        with_values::<N, _, _>([input, gradient], |[input, gradient]| {
            let given = input.par_chunks(PIECE).zip(gradient.par_chunks(PIECE));
            out.par_chunks_mut(PIECE).zip(given).for_each(|(out, (input, gradient))| {
                vectorised(
                    #[inline(always)]
                    || {
                        for ((dx, &x), &dy) in out.iter_mut().zip(input).zip(gradient) {
                            let x = x.widen();
                            let (distribution, density) = x.distribution_and_density();
                            *dx = N::narrow(dy.widen() * (distribution + x * density));
                        }
                    },
                );
            });
            Ok(())
        })?;
        Ok(constant(out, input.shape()))
    }
}

impl Operation for Gelu {
    const NAME: &'static str = "gelu";

    fn on_cpu(&self, arguments: &[OnCpu]) -> Result<(CpuStorage, Shape)> {
        let (storage, layout) = arguments[0];
        match storage {
            CpuStorage::BF16(_) => Self::forward::<bf16>(storage, layout),
            CpuStorage::F32(_) => Self::forward::<f32>(storage, layout),
            CpuStorage::F64(_) => Self::forward::<f64>(storage, layout),
            _ => unsupported(Self::NAME, storage.dtype()),
        }
    }

    fn backward(&self, arguments: &[&Tensor], _: &Tensor, gradient: &Tensor) -> Result<Gradients> {
        let by = match gradient.dtype() {
            DType::BF16 => Self::gradient::<bf16>(arguments[0], gradient)?,
            DType::F32 => Self::gradient::<f32>(arguments[0], gradient)?,
            DType::F64 => Self::gradient::<f64>(arguments[0], gradient)?,
            other => return unsupported(Self::NAME, other),
        };
        Ok(vec![Some(by)])
    }
}
