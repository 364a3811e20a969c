//! Products with a right matrix packed in strips of 16 columns.
//!
//! A strip is a sequence of (steps x 16) numbers: all rows of 16 neighbouring columns. Numbers beyond the matrix's
//! last column are arbitrary. In f32 every number of a product is one chain of fused multiply-adds, step by step,
//! so that kernels for AVX-512, for AVX2 and plain loops give equal bits; f64 is left to faer. Independent of
//! tensors and of what the matrices are.

use std::{any::TypeId, ops::Range};

use super::{
    library,
    operands::{Matrix, Output, Write},
    storage::Real,
    vector::vectorised,
};

/// Columns of a strip.
pub const STRIP: usize = 16;

/// Returns the largest number of rows that packed blocks of a left matrix should have on this machine: those that the
/// kernel handles at once, or twice as many. At most 14.
pub fn rows_of_blocks() -> usize {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        return avx512::ROWS;
    }
    12
}

/// `out = left [first | second]`, or as `write` says, on this thread. `out` has at most two strips' columns; `second`
/// is empty if `out` has at most one strip's.
///
/// # Panics
/// If shapes do not fit each other.
pub fn multiply_strips<T: Real>(out: Output<T>, left: Matrix<T>, first: &[T], second: &[T], write: Write<T>) {
    let strips = if second.is_empty() { 1 } else { 2 };
    assert!(out.rows == left.rows && out.columns <= strips * STRIP, "shape of a product with strips");
    assert!(out.columns > (strips - 1) * STRIP, "a strip without columns");
    assert_eq!(first.len(), left.columns * STRIP, "numbers of a strip");
    assert!(second.is_empty() || second.len() == first.len(), "numbers of the second strip");
    if let Write::WithRow(row) = write {
        assert_eq!(row.len(), out.columns, "row added to a product");
    }
    if TypeId::of::<T>() == TypeId::of::<f32>() {
        let (left_start, row_stride, step_stride) = left.raw_parts();
        let (out_start, out_stride) = out.raw_parts();
        // SAFETY: T is f32, and strips are whole.
        let right = [first, second].map(|strip| unsafe {
            std::slice::from_raw_parts(strip.as_ptr().cast::<[f32; STRIP]>(), strip.len() / STRIP)
        });
        let task = Task {
            left: left_start.cast(),
            row_stride,
            step_stride,
            right,
            out: out_start.cast(),
            out_stride,
            columns: out.columns,
            added: match write {
                Write::Replace => None,
                Write::Add => Some((out_start.cast_const().cast(), out_stride)),
                Write::WithRow(row) => Some((row.as_ptr().cast(), 0)),
            },
        };
        // SAFETY: strips hold as many rows as the left matrix has columns, the matrices guarantee the memory behind
        // their pointers, and `out` is a mutable borrow, consumed here.
        return unsafe { task.multiply(left.rows) };
    }
    let (steps, columns) = (left.columns, out.columns);
    let (head, tail) = out.split(columns.min(STRIP));
    let part = |range: Range<usize>| match write {
        Write::WithRow(row) => Write::WithRow(&row[range]),
        whole => whole,
    };
    let right = Matrix::part(first, steps, columns.min(STRIP), STRIP);
    library::multiply(head, left, right, part(0..columns.min(STRIP)));
    if let Some(tail) = tail {
        let right = Matrix::part(second, steps, tail.columns, STRIP);
        library::multiply(tail, left, right, part(STRIP..columns));
    }
}

/// Rows of a left matrix, one or two strips, and the destination of their product.
#[derive(Clone, Copy)]
struct Task<'a> {
    left: *const f32,
    row_stride: usize,
    step_stride: usize,
    /// The second is empty if there is only one.
    right: [&'a [[f32; STRIP]]; 2],
    out: *mut f32,
    out_stride: usize,
    columns: usize,
    /// What is added to the product, and how many numbers apart its rows begin.
    added: Option<(*const f32, usize)>,
}

impl Task<'_> {
    /// # Safety
    /// `left` points to `rows` rows with as many numbers as strips have rows; `out` points to `rows` rows of
    /// `columns` numbers, which no other code may access during the call.
    unsafe fn multiply(&self, rows: usize) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the machine has AVX-512; the rest is guaranteed by the caller.
            return unsafe { avx512::multiply(self, rows) };
        }
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the machine has both; the rest is guaranteed by the caller.
            return unsafe { avx2::multiply(self, rows) };
        }
        // SAFETY: guaranteed by the caller.
        unsafe { self.multiply_plain(rows) }
    }

    /// Returns one piece of the rows, and how many rows it has. Pieces have about equally many rows, at most
    /// `most`.
    fn piece(&self, index: usize, rows: usize, most: usize) -> (Self, usize) {
        let pieces = rows.div_ceil(most);
        let (start, end) = (index * rows / pieces, (index + 1) * rows / pieces);
        let left = self.left.wrapping_add(start * self.row_stride);
        let out = self.out.wrapping_add(start * self.out_stride);
        let added = self.added.map(|(added, stride)| (added.wrapping_add(start * stride), stride));
        (Self { left, out, added, ..*self }, end - start)
    }

    /// The kernels' twin, in plain loops.
    ///
    /// # Safety
    /// As for [`Self::multiply`].
    unsafe fn multiply_plain(&self, rows: usize) {
        vectorised(
            #[inline(always)]
            || {
                for row in 0..rows {
                    for (index, strip) in self.right.iter().enumerate().take(self.columns.div_ceil(STRIP)) {
                        let mut left = self.left.wrapping_add(row * self.row_stride);
                        let mut sums = [0.0_f32; STRIP];
                        for right in *strip {
                            // SAFETY: guaranteed by the caller.
                            let x = unsafe { *left };
                            for (sum, &right) in sums.iter_mut().zip(right) {
                                *sum = x.mul_add(right, *sum);
                            }
                            left = left.wrapping_add(self.step_stride);
                        }
                        // SAFETY: guaranteed by the caller.
                        unsafe { self.store(row, index, &sums) };
                    }
                }
            },
        );
    }

    /// Writes a row's sums of a strip.
    ///
    /// # Safety
    /// As for [`Self::multiply`].
    #[inline(always)]
    unsafe fn store(&self, row: usize, strip: usize, sums: &[f32; STRIP]) {
        let out = self.out.wrapping_add(row * self.out_stride + strip * STRIP);
        let added = self.added(row, strip);
        for (column, &sum) in sums.iter().enumerate().take(self.columns - strip * STRIP) {
            // SAFETY: guaranteed by the caller.
            unsafe { *out.add(column) = added.map_or(sum, |added| *added.add(column) + sum) };
        }
    }

    /// Returns where the numbers begin that are added to a row's sums of a strip.
    #[inline(always)]
    fn added(&self, row: usize, strip: usize) -> Option<*const f32> {
        self.added.map(|(added, stride)| added.wrapping_add(row * stride + strip * STRIP))
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::{arch::x86_64::*, mem::transmute};

    use super::{
        super::broadcast::{Rows, broadcast_512, each_row, for_rows},
        STRIP, Task,
    };

    /// Rows of the kernel: 28 of 32 registers hold sums, two the strips' numbers.
    pub const ROWS: usize = 14;

    /// # Safety
    /// As for [`Task::multiply`], on a machine with AVX-512.
    pub unsafe fn multiply(task: &Task, rows: usize) {
        for piece in 0..rows.div_ceil(ROWS) {
            let (task, rows) = task.piece(piece, rows, ROWS);
            // SAFETY: guaranteed by the caller.
            unsafe { for_rows!(rows, block(&task), 1 2 3 4 5 6 7 8 9 10 11 12 13 14) }
        }
    }

    /// # Safety
    /// As for [`multiply`], with `R` rows.
    #[target_feature(enable = "avx512f")]
    unsafe fn block<const R: usize>(task: &Task) {
        let [first, second] = task.right;
        let second = if second.is_empty() { first } else { second };
        let mask = |columns: usize| ((1_u32 << columns.min(STRIP)) - 1) as u16;
        let masks = [mask(task.columns), mask(task.columns.saturating_sub(STRIP))];
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        // SAFETY: guaranteed by the caller; masked lanes are not accessed.
        unsafe {
            let mut left = Rows::new(task.left.cast(), task.row_stride * size_of::<f32>());
            // References, not pointers: builds with assertions check every pointer that is read.
            for (first, second) in first.iter().zip(second) {
                let right: [__m512; 2] =
                    [first, second].map(|strip| transmute::<[f32; STRIP], __m512>(*strip));
                each_row!(R, |row| {
                    let x = broadcast_512(&left, row);
                    sums[row][0] = _mm512_fmadd_ps(x, right[0], sums[row][0]);
                    sums[row][1] = _mm512_fmadd_ps(x, right[1], sums[row][1]);
                });
                left.advance(task.step_stride * size_of::<f32>());
            }
            // Sums stay in registers only if the compiler knows every row that is asked for.
            each_row!(R, |row| {
                for (strip, &sum) in sums[row].iter().enumerate() {
                    let (out, mask) =
                        (task.out.add(row * task.out_stride).wrapping_add(strip * STRIP), masks[strip]);
                    let sum = match task.added(row, strip) {
                        Some(added) => _mm512_add_ps(_mm512_maskz_loadu_ps(mask, added), sum),
                        None => sum,
                    };
                    _mm512_mask_storeu_ps(out, mask, sum);
                }
            });
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::{arch::x86_64::*, mem::transmute};

    use super::{
        super::broadcast::{Rows, broadcast_256, each_row, for_rows},
        STRIP, Task,
    };

    /// Rows of the kernel: twelve of 16 registers hold sums, two a strip's numbers.
    const ROWS: usize = 6;

    /// Processes one strip after the other: a strip fits into a first-level cache, two often do not.
    ///
    /// # Safety
    /// As for [`Task::multiply`], on a machine with AVX2 and FMA.
    pub unsafe fn multiply(task: &Task, rows: usize) {
        for strip in 0..task.columns.div_ceil(STRIP) {
            for piece in 0..rows.div_ceil(ROWS) {
                let (task, rows) = task.piece(piece, rows, ROWS);
                // SAFETY: guaranteed by the caller.
                unsafe { for_rows!(rows, block(&task, strip), 1 2 3 4 5 6) }
            }
        }
    }

    /// # Safety
    /// As for [`multiply`], with `R` rows.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn block<const R: usize>(task: &Task, strip: usize) {
        let out = |row: usize| task.out.wrapping_add(row * task.out_stride + strip * STRIP);
        let left = |row: usize| task.left.wrapping_add(row * task.row_stride);
        each_row!(R, |row| { _mm_prefetch::<_MM_HINT_T0>(out(row).cast()) });
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        // SAFETY: guaranteed by the caller; both types are sixteen f32.
        unsafe {
            let mut rows = Rows::new(left(0).cast(), task.row_stride * size_of::<f32>());
            macro_rules! step {
                ($right:expr) => {
                    let right: [__m256; 2] = transmute($right);
                    each_row!(R, |row| {
                        let x = broadcast_256(&rows, row);
                        sums[row][0] = _mm256_fmadd_ps(x, right[0], sums[row][0]);
                        sums[row][1] = _mm256_fmadd_ps(x, right[1], sums[row][1]);
                    });
                    rows.advance(task.step_stride * size_of::<f32>());
                };
            }
            for (index, right) in task.right[strip].chunks(STRIP).enumerate() {
                if task.step_stride == 1 {
                    // Rows that follow are probably next; machines foresee only a few runs at a time.
                    each_row!(R, |row| {
                        _mm_prefetch::<_MM_HINT_T0>(left(R + row).wrapping_add(index * STRIP).cast());
                    });
                }
                let (fours, rest) = right.as_chunks::<4>();
                for right in fours {
                    step!(right[0]);
                    step!(right[1]);
                    step!(right[2]);
                    step!(right[3]);
                }
                for right in rest {
                    step!(*right);
                }
            }
            if task.columns < (strip + 1) * STRIP {
                each_row!(R, |row| {
                    task.store(row, strip, &transmute::<[__m256; 2], [f32; STRIP]>(sums[row]));
                });
                return;
            }
            each_row!(R, |row| {
                let (first, second) = (out(row), out(row).wrapping_add(STRIP / 2));
                let mut sums = sums[row];
                if let Some(added) = task.added(row, strip) {
                    sums[0] = _mm256_add_ps(_mm256_loadu_ps(added), sums[0]);
                    sums[1] = _mm256_add_ps(_mm256_loadu_ps(added.wrapping_add(STRIP / 2)), sums[1]);
                }
                _mm256_storeu_ps(first, sums[0]);
                _mm256_storeu_ps(second, sums[1]);
            });
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
        let row: Vec<T> = (0..columns).map(|column| T::from_f64(column as f64)).collect();
        let writes = [(Write::Replace, 1.0, 0.0), (Write::Add, 2.0, 0.0), (Write::WithRow(&row), 1.0, 1.0)];
        for (write, times, of_row) in writes {
            multiply_strips(
                Output::part(&mut out, rows, columns, stride),
                matrix,
                &of(first),
                &second,
                write,
            );
            for (place, found) in out.iter().enumerate() {
                let (row, column) = (place / stride, place % stride);
                let expected = match column < columns {
                    true => times * plain(&left, &strips, steps, row, column) + of_row * column as f64,
                    false => 7.0,
                };
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

    #[test]
    fn all_kernels_give_the_same_bits() {
        let mut stream = Seed::root(0).child("kernels").stream();
        let mut numbers = |count: usize| -> Vec<f32> { (0..count).map(|_| stream.normal() as f32).collect() };
        let (steps, rows) = (37, 31);
        let (left, strips) = (numbers(rows * steps), numbers(2 * steps * STRIP));
        let (strips, _) = strips.as_chunks::<STRIP>();
        for columns in [5, 16, 17, 32] {
            // The output itself, or a row.
            for added in [None, Some(columns), Some(0)] {
                let run = |multiply: &dyn Fn(&Task)| {
                    let mut out = vec![0.5_f32; rows * columns];
                    let out_start = out.as_mut_ptr();
                    multiply(&Task {
                        left: left.as_ptr(),
                        row_stride: steps,
                        step_stride: 1,
                        right: [&strips[..steps], if columns > STRIP { &strips[steps..] } else { &[] }],
                        out: out_start,
                        out_stride: columns,
                        columns,
                        added: added.map(|stride| match stride {
                            0 => (left.as_ptr(), 0),
                            stride => (out_start.cast_const(), stride),
                        }),
                    });
                    out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
                };
                // SAFETY: the numbers exist, and kernels are called only if the machine supports them.
                unsafe {
                    let plain = run(&|task| task.multiply_plain(rows));
                    assert_eq!(run(&|task| task.multiply(rows)), plain);
                    #[cfg(target_arch = "x86_64")]
                    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                        assert_eq!(run(&|task| avx2::multiply(task, rows)), plain);
                    }
                }
            }
        }
    }
}
