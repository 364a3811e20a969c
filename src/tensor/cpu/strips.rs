//! Products with a right matrix that lies packed in strips of 16 columns, so that nothing is packed at each
//! call.
//!
//! A strip is (steps x 16) numbers in a row: all rows of 16 neighbouring columns, zeros where the matrix has
//! fewer. The kernel for AVX-512 keeps up to 14 rows of two strips in registers; elsewhere, and in double
//! precision, `gemm` multiplies. Knows nothing about tensors or of what the matrices are.

use super::{
    matrix::{Matrix, Output, Write, multiply_into},
    storage::Real,
};

/// Columns of a strip.
pub const STRIP: usize = 16;

/// `out = left [first | second]` (added to `out` if `add`) on this thread. `out` has at most two strips'
/// columns; `second` is empty where it has no more than one strip's.
///
/// # Panics
/// If shapes do not fit.
pub fn multiply_strips<T: Real>(out: Output<T>, left: Matrix<T>, first: &[T], second: &[T], add: bool) {
    let strips = if second.is_empty() { 1 } else { 2 };
    assert!(out.rows == left.rows && out.columns <= strips * STRIP, "shape of a product with strips");
    assert!(out.columns > (strips - 1) * STRIP, "a strip without columns");
    assert_eq!(first.len(), left.columns * STRIP, "numbers of a strip");
    assert!(second.is_empty() || second.len() == first.len(), "numbers of the second strip");
    #[cfg(target_arch = "x86_64")]
    if wide::multiply(&out, left, first, second, add) {
        return;
    }
    let write = if add { Write::Add } else { Write::Replace };
    let (steps, columns) = (left.columns, out.columns);
    let (head, tail) = out.split(columns.min(STRIP));
    multiply_into(head, left, Matrix::part(first, steps, columns.min(STRIP), STRIP), write);
    if let Some(tail) = tail {
        let right = Matrix::part(second, steps, tail.columns, STRIP);
        multiply_into(tail, left, right, write);
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::{any::TypeId, arch::x86_64::*, mem::transmute, slice::from_raw_parts};

    use super::{Matrix, Output, Real, STRIP};

    /// Rows of the kernel: 28 of 32 registers hold sums, two the strips' numbers.
    const ROWS: usize = 14;

    /// Multiplies and says so, or does nothing where the machine or the element type is another.
    pub fn multiply<T: Real>(out: &Output<T>, left: Matrix<T>, first: &[T], second: &[T], add: bool) -> bool {
        if TypeId::of::<T>() != TypeId::of::<f32>() || !is_x86_feature_detected!("avx512f") {
            return false;
        }
        let (left_start, row_stride, step_stride) = left.raw();
        let (out_start, out_stride) = out.raw();
        let mask = |columns: usize| ((1_u32 << columns.min(STRIP)) - 1) as u16;
        let masks = [mask(out.columns), mask(out.columns.saturating_sub(STRIP))];
        let second = if second.is_empty() { first } else { second };
        // At most ROWS at a time, all about equally many.
        let (rows, pieces) = (left.rows, left.rows.div_ceil(ROWS));
        for piece in 0..pieces {
            let (start, end) = (piece * rows / pieces, (piece + 1) * rows / pieces);
            // SAFETY: T is f32 and the machine has AVX-512. The caller checked that strips hold as many rows
            // as the left matrix has columns; the matrices guarantee what lies behind their pointers, and
            // masked lanes are not touched.
            unsafe {
                let block = Block {
                    left: left_start.add(start * row_stride).cast(),
                    row_stride,
                    step_stride,
                    right: [first, second]
                        .map(|strip| from_raw_parts(strip.as_ptr().cast::<[f32; STRIP]>(), left.columns)),
                    out: out_start.add(start * out_stride).cast(),
                    out_stride,
                    masks,
                    add,
                };
                match end - start {
                    1 => block.multiply::<1>(),
                    2 => block.multiply::<2>(),
                    3 => block.multiply::<3>(),
                    4 => block.multiply::<4>(),
                    5 => block.multiply::<5>(),
                    6 => block.multiply::<6>(),
                    7 => block.multiply::<7>(),
                    8 => block.multiply::<8>(),
                    9 => block.multiply::<9>(),
                    10 => block.multiply::<10>(),
                    11 => block.multiply::<11>(),
                    12 => block.multiply::<12>(),
                    13 => block.multiply::<13>(),
                    _ => block.multiply::<14>(),
                }
            }
        }
        true
    }

    /// Some rows of a product with two strips.
    struct Block<'a> {
        left: *const f32,
        row_stride: usize,
        step_stride: usize,
        right: [&'a [[f32; STRIP]]; 2],
        out: *mut f32,
        out_stride: usize,
        masks: [__mmask16; 2],
        add: bool,
    }

    impl Block<'_> {
        /// # Safety
        /// Behind the pointers lie `R` rows of as many numbers as strips have rows (left) and `R` rows with
        /// the columns of the masks (out), which nobody else uses now.
        #[target_feature(enable = "avx512f")]
        unsafe fn multiply<const R: usize>(&self) {
            let mut sums = [[_mm512_setzero_ps(); 2]; R];
            // SAFETY: by the caller.
            unsafe {
                let mut left = self.left;
                // References, not pointers: builds with assertions check every pointer that is read.
                for (&first, &second) in self.right[0].iter().zip(self.right[1]) {
                    let right: [__m512; 2] = transmute([first, second]);
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let x = _mm512_set1_ps(*left.add(row * self.row_stride));
                        sums[0] = _mm512_fmadd_ps(x, right[0], sums[0]);
                        sums[1] = _mm512_fmadd_ps(x, right[1], sums[1]);
                    }
                    left = left.wrapping_add(self.step_stride);
                }
                for (row, sums) in sums.iter().enumerate() {
                    for (strip, &sum) in sums.iter().enumerate() {
                        let (out, mask) = (
                            self.out.add(row * self.out_stride).wrapping_add(strip * STRIP),
                            self.masks[strip],
                        );
                        let before =
                            if self.add { _mm512_maskz_loadu_ps(mask, out) } else { _mm512_setzero_ps() };
                        _mm512_mask_storeu_ps(out, mask, _mm512_add_ps(before, sum));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    /// Sums in f64, in the order of the definition.
    fn plain(left: &[f64], strips: &[f64], steps: usize, row: usize, column: usize) -> f64 {
        let strip = &strips[column / STRIP * steps * STRIP..];
        (0..steps).map(|step| left[row * steps + step] * strip[step * STRIP + column % STRIP]).sum()
    }

    fn check<T: Real>(rows: usize, columns: usize, transposed: bool, tolerance: f64) {
        let steps = 37;
        let mut stream = Seed::root(0).child("strips").stream();
        let mut numbers = |count: usize| -> Vec<f64> { (0..count).map(|_| stream.normal()).collect() };
        let (left, strips) = (numbers(rows * steps), numbers(2 * steps * STRIP));
        let (first, second) = strips.split_at(steps * STRIP);
        let of = |numbers: &[f64]| -> Vec<T> { numbers.iter().map(|&x| T::from_f64(x)).collect() };
        let stored: Vec<T> = if transposed {
            (0..rows * steps).map(|i| T::from_f64(left[i % rows * steps + i / rows])).collect()
        } else {
            of(&left)
        };
        let matrix = match transposed {
            true => Matrix::new(&stored, steps, rows).transposed(),
            false => Matrix::new(&stored, rows, steps),
        };
        let second = if columns > STRIP { of(second) } else { Vec::new() };
        let stride = columns + 3;
        let mut out = vec![T::from_f64(7.0); rows * stride];
        for (add, times) in [(false, 1.0), (true, 2.0)] {
            multiply_strips(Output::part(&mut out, rows, columns, stride), matrix, &of(first), &second, add);
            for (place, found) in out.iter().enumerate() {
                let (row, column) = (place / stride, place % stride);
                let expected =
                    if column < columns { times * plain(&left, &strips, steps, row, column) } else { 7.0 };
                assert!((found.to_f64() - expected).abs() < tolerance, "{row}, {column}: {found} {expected}");
            }
        }
    }

    #[test]
    fn products_are_those_of_the_definition() {
        for rows in [1, 2, 13, 14, 15, 29, 40] {
            for columns in [1, 15, 16, 17, 32] {
                for transposed in [false, true] {
                    check::<f32>(rows, columns, transposed, 2e-5);
                    check::<f64>(rows, columns, transposed, 1e-12);
                }
            }
        }
    }
}
