//! Rows scaled to length 1 on the CPU, parallelised over rows. The backward pass recomputes the lengths, so that
//! only the rows themselves are kept.

use candle_core::{CpuStorage, D, DType, Layout, Result, Shape, Tensor, WithDType, backend::BackendStorage};
use half::bf16;
use rayon::prelude::*;

use super::SMALLEST_NORM;
use crate::tensor::{
    cpu::{
        lanes::sum,
        storage::{Number, Real, constant, unsupported, unwritten, values, with_values},
        vector::vectorised,
    },
    graph::{
        chain::apply,
        gradients::hand_over,
        operation::{Gradients, OnCpu, Operation},
    },
};

/// Like [`crate::tensor::unit_rows()`].
pub fn unit_rows(rows: &Tensor) -> Result<Tensor> {
    apply(&[&rows.contiguous()?], UnitRows)
}

/// Approximate number of elements that one task processes (ours).
const PIECE: usize = 16_384;

/// Returns the number of elements in the rows of one task.
fn piece(width: usize) -> usize {
    (PIECE / width.max(1)).max(1) * width.max(1)
}

/// Returns a row's squared length.
#[inline(always)]
fn squared<N: Number>(row: &[N]) -> N::Sum {
    sum(
        [row],
        #[inline(always)]
        |[x]| x.widen() * x.widen(),
    )
}

/// Returns the length, but at least [`SMALLEST_NORM`], from its square; computed in double precision and rounded to
/// `T`.
#[inline(always)]
fn length<T: Real>(squared: T) -> T {
    T::from_f64(squared.to_f64().max(SMALLEST_NORM * SMALLEST_NORM).sqrt())
}

struct UnitRows;

impl UnitRows {
    fn forward<N: Number>(storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = layout.shape().dim(D::Minus1)?;
        let rows = values::<N>(storage, layout)?;
        // SAFETY: rows are whole, and the loop writes every one.
        let mut out = unsafe { unwritten(rows.len()) };
        out.par_chunks_mut(piece(width)).zip(rows.par_chunks(piece(width))).for_each(|(out, rows)| {
            vectorised(
                #[inline(always)]
                || {
                    for (out, row) in out.chunks_exact_mut(width).zip(rows.chunks_exact(width)) {
                        let length = length(squared(row));
                        out.iter_mut().zip(row).for_each(|(out, &x)| *out = N::narrow(x.widen() / length));
                    }
                },
            );
        });
        Ok((N::to_cpu_storage_owned(out), layout.shape().clone()))
    }

    fn gradient<N: Number>(rows: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let width = rows.dim(D::Minus1)?;
        // SAFETY: as above.
        let mut out: Vec<N> = unsafe { unwritten(rows.elem_count()) };
        with_values::<N, _, _>([rows, gradient], |[rows, gradient]| {
            let given = rows.par_chunks(piece(width)).zip(gradient.par_chunks(piece(width)));
            out.par_chunks_mut(piece(width)).zip(given).for_each(|(out, (rows, gradient))| {
                vectorised(
                    #[inline(always)]
                    || {
                        let given = rows.chunks_exact(width).zip(gradient.chunks_exact(width));
                        for (dx, (x, dy)) in out.chunks_exact_mut(width).zip(given) {
                            backward_row(x, dy, dx);
                        }
                    },
                );
            });
            Ok(())
        })?;
        Ok(constant(out, rows.shape()))
    }
}

#[inline(always)]
fn backward_row<N: Number>(x: &[N], dy: &[N], dx: &mut [N]) {
    let squared = squared(x);
    let length = length(squared);
    let share = match squared.to_f64() > SMALLEST_NORM * SMALLEST_NORM {
        true => {
            let product = sum(
                [x, dy],
                #[inline(always)]
                |[x, dy]| x.widen() * dy.widen(),
            );
            product / squared
        }
        false => N::Sum::ZERO,
    };
    for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
        *dx = N::narrow((dy.widen() - x.widen() * share) / length);
    }
}

impl Operation for UnitRows {
    const NAME: &'static str = "unit rows";

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
        Ok(vec![hand_over(arguments[0], Some(by))?])
    }
}
