//! Matrix products over borrowed numbers, on one thread or on a fixed partition.
//!
//! In f32 every number of a product is computed by chains of fused multiply-adds over [`STEPS`] steps at a time,
//! whatever the machine and however the product is split ([`packed`](super::packed)). f64, which is used to check
//! gradients, is left to faer. Independent of tensors.

use std::any::TypeId;

use rayon::prelude::*;

use super::{
    library::{self, Piece, multiply_piece},
    operands::{Matrix, Output, Pointer, Write},
    packed::Packed,
    storage::Real,
};

/// Largest number of rows or columns in one piece of [`multiply_parallel`].
const PIECE: usize = 256;

/// `out = left right` (or as `write` says) on this thread; `out` is row-major.
pub fn multiply<T: Real>(out: &mut [T], left: Matrix<T>, right: Matrix<T>, write: Write<T>) {
    multiply_into(Output::new(out, left.rows, right.columns), left, right, write);
}

/// Like [`multiply`], into part of a larger matrix.
pub fn multiply_into<T: Real>(out: Output<T>, left: Matrix<T>, right: Matrix<T>, write: Write<T>) {
    assert_eq!((out.rows, out.columns), (left.rows, right.columns), "shape of a product");
    if let Some((left, right, write)) = as_f32(left, right, write) {
        let (start, stride) = out.raw_parts();
        return each_step(left, right, write, |packed, write| {
            let (blocks, pairs) = packed.pieces();
            // SAFETY: `out` is a mutable borrow, consumed here, and as large as the product.
            unsafe { packed.multiply((start.cast(), stride), 0..blocks, 0..pairs, write) }
        });
    }
    library::multiply(out, left, right, write);
}

/// Like [`multiply`], shared among rayon's threads in pieces that depend only on the shape.
pub fn multiply_parallel<T: Real>(out: &mut [T], left: Matrix<T>, right: Matrix<T>, write: Write<T>) {
    assert_eq!(out.len(), left.rows * right.columns, "{} x {} product", left.rows, right.columns);
    let (rows, columns) = (left.rows, right.columns);
    let pointer = Pointer(out.as_mut_ptr());
    if let Some((left, right, write)) = as_f32(left, right, write) {
        let start = Pointer(out.as_mut_ptr().cast::<f32>());
        return each_step(left, right, write, |packed, write| {
            // SAFETY: `out` is borrowed mutably for the call.
            unsafe { multiply_packed(packed, start, columns, write) }
        });
    }
    // At least four equal pieces along the longer side, or a multiple, so that two or four threads finish together.
    // Kernels take four rows and whole vectors of columns at a time.
    let side = |length: usize, longest: bool, unit| {
        let pieces = length.div_ceil(PIECE);
        let pieces = if longest { pieces.next_multiple_of(4) } else { pieces };
        length.div_ceil(pieces.max(1)).next_multiple_of(unit)
    };
    let (tall, wide) = (side(rows, rows >= columns, 4), side(columns, columns > rows, 16));
    let across = columns.div_ceil(wide);
    (0..rows.div_ceil(tall) * across).into_par_iter().for_each(|index| {
        let (row, column) = (index / across * tall, index % across * wide);
        let piece = Piece { row, rows: tall.min(rows - row), column, columns: wide.min(columns - column) };
        // SAFETY: `out` is borrowed mutably for the call and pieces do not overlap.
        unsafe { multiply_piece(pointer, columns, piece, left, right, write) }
    });
}

/// The factors of a product in f32, and how it is written.
type Single<'a> = (Matrix<'a, f32>, Matrix<'a, f32>, Write<'a, f32>);

/// Returns the arguments as f32, if `T` is f32 and the product is not empty.
fn as_f32<'a, T: Real>(left: Matrix<'a, T>, right: Matrix<'a, T>, write: Write<'a, T>) -> Option<Single<'a>> {
    if TypeId::of::<T>() != TypeId::of::<f32>() || left.rows * left.columns * right.columns == 0 {
        return None;
    }
    // SAFETY: T is f32.
    let numbers =
        |values: &'a [T]| unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<f32>(), values.len()) };
    let single = |matrix: Matrix<'a, T>| matrix.map(numbers);
    let write = match write {
        Write::Replace => Write::Replace,
        Write::Add => Write::Add,
        Write::WithRow(row) => Write::WithRow(numbers(row)),
    };
    Some((single(left), single(right), write))
}

/// Steps that are packed and summed at once (ours; bounds memory and rounding errors).
const STEPS: usize = 768;

/// Packs the factors [`STEPS`] steps at a time, and calls `body` with them and with how to write their product.
fn each_step<'a>(
    left: Matrix<'a, f32>,
    right: Matrix<'a, f32>,
    write: Write<'a, f32>,
    body: impl Fn(&Packed, Write<f32>),
) {
    assert_eq!(left.columns, right.rows, "inner lengths of a matrix product");
    if let Write::WithRow(row) = write {
        assert_eq!(row.len(), right.columns, "row added to a product");
    }
    for start in (0..left.columns).step_by(STEPS) {
        let steps = start..left.columns.min(start + STEPS);
        let packed =
            Packed::new(left.transposed().rows_within(steps.clone()).transposed(), right.rows_within(steps));
        body(&packed, if start == 0 { write } else { Write::Add });
    }
}

/// Blocks of rows, and pairs of strips, in one task (ours): a second-level cache holds what the task reads.
const TASK: (usize, usize) = (18, 8);

/// Computes a product on rayon's threads.
///
/// # Safety
/// `out` points to as many numbers as the product has; no other code may access them during the call.
unsafe fn multiply_packed(packed: &Packed, out: Pointer<f32>, columns: usize, write: Write<f32>) {
    let (blocks, pairs) = packed.pieces();
    // At least four equal pieces along the longer side, or a multiple, so that two or four threads finish together.
    let side = |count: usize, most: usize, longest: bool| {
        let pieces = count.div_ceil(most);
        count.div_ceil(if longest { pieces.next_multiple_of(4) } else { pieces }.max(1)).max(1)
    };
    let (tall, wide) = (side(blocks, TASK.0, blocks >= pairs), side(pairs, TASK.1, pairs > blocks));
    let across = pairs.div_ceil(wide);
    (0..blocks.div_ceil(tall) * across).into_par_iter().for_each(|index| {
        let (block, pair) = (index / across * tall, index % across * wide);
        let (blocks, pairs) = (block..blocks.min(block + tall), pair..pairs.min(pair + wide));
        // SAFETY: guaranteed by the caller, and pieces do not overlap.
        unsafe { packed.multiply((out.start(), columns), blocks, pairs, write) };
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_bands_and_rows_by_hand() {
        // Left is columns 1 and 2 of a 2 x 3 matrix, right a 2 x 1 column; the product goes to the second
        // band of a 2 x 3 output, and 10 is added.
        let left = Matrix::part(&[0.0, 1.0, 2.0, 0.0, 3.0, 4.0][1..], 2, 2, 3);
        let right = Matrix::new(&[5.0, 6.0], 2, 1);
        let mut out = [-1.0; 6];
        let band = Output::new(&mut out, 2, 3).bands(1).nth(1).expect("three bands");
        multiply_into(band, left, right, Write::WithRow(&[10.0]));
        assert_eq!(out, [-1.0, 27.0, -1.0, -1.0, 49.0, -1.0]);
        multiply(&mut out[..4], left.transposed(), left, Write::Add);
        assert_eq!(out, [9.0, 41.0, 13.0, 19.0, 49.0, -1.0]);
    }
    /// Whole numbers from -3 to 3: their products and sums are exact.
    fn whole<T: Real>(name: &str, count: usize) -> Vec<T> {
        let mut stream = crate::seed::Seed::root(2).child(name).stream();
        (0..count).map(|_| T::from_f64(stream.below(7) as f64 - 3.0)).collect()
    }

    /// Checks products against their definition, with either factor row-major or column-major.
    fn check<T: Real>(rows: usize, steps: usize, columns: usize) {
        let (left, right): (Vec<T>, Vec<T>) = (whole("left", rows * steps), whole("right", steps * columns));
        let turned = |matrix: &[T], down: usize, across: usize| -> Vec<T> {
            (0..down * across).map(|at| matrix[at % down * across + at / down]).collect()
        };
        let (left_turned, right_turned) = (turned(&left, rows, steps), turned(&right, steps, columns));
        let lefts = [Matrix::new(&left, rows, steps), Matrix::new(&left_turned, steps, rows).transposed()];
        let rights =
            [Matrix::new(&right, steps, columns), Matrix::new(&right_turned, columns, steps).transposed()];
        let added: Vec<T> = (0..columns).map(|column| T::from_f64(column as f64 + 1.0)).collect();
        let sums: Vec<f64> = (0..rows * columns)
            .map(|at| {
                let (row, column) = (at / columns, at % columns);
                (0..steps)
                    .map(|step| left[row * steps + step].to_f64() * right[step * columns + column].to_f64())
                    .sum()
            })
            .collect();
        for (left, right) in lefts.into_iter().flat_map(|left| rights.map(|right| (left, right))) {
            for write in [Write::Replace, Write::Add, Write::WithRow(&added)] {
                let expected = sums.iter().enumerate().map(|(at, sum)| match write {
                    Write::Replace => *sum,
                    Write::Add => sum + 7.0,
                    Write::WithRow(row) => sum + row[at % columns].to_f64(),
                });
                let expected: Vec<f64> = expected.collect();
                for product in [multiply::<T>, multiply_parallel::<T>] {
                    let mut out = vec![T::from_f64(7.0); rows * columns];
                    product(&mut out, left, right, write);
                    let found: Vec<f64> = out.iter().map(|x| x.to_f64()).collect();
                    assert!(found == expected, "{rows} x {steps} by {steps} x {columns}, {write:?}");
                }
            }
        }
    }

    #[test]
    fn products_of_many_steps_are_exact_sums() {
        for (rows, steps, columns) in [(5, 2000, 3), (31, 1537, 70), (1, 768, 17), (2, 769, 1)] {
            check::<f32>(rows, steps, columns);
            check::<f64>(rows, steps, columns);
        }
    }

    #[test]
    fn an_empty_product_is_zero_or_what_is_added() {
        let (left, right) = (Matrix::<f32>::new(&[], 2, 0), Matrix::new(&[], 0, 2));
        for (write, expected) in [
            (Write::Replace, [0.0; 4]),
            (Write::Add, [7.0; 4]),
            (Write::WithRow(&[1.0, 2.0]), [1.0, 2.0, 1.0, 2.0]),
        ] {
            for product in [multiply::<f32>, multiply_parallel::<f32>] {
                let mut out = [7.0; 4];
                product(&mut out, left, right, write);
                assert_eq!(out, expected, "{write:?}");
            }
        }
    }

    /// Both sides are so large that their columns are packed by several threads, the last strip not full.
    #[test]
    fn large_factors_are_packed_whole() {
        check::<f32>(85, 770, 97);
    }

    /// Products that are shared in several pieces down and across.
    #[test]
    fn products_of_many_rows_and_columns_are_exact_sums() {
        for (rows, steps, columns) in [(310, 2, 530), (530, 3, 310), (300, 1, 300)] {
            check::<f32>(rows, steps, columns);
            check::<f64>(rows, steps, columns);
        }
    }
}
