//! Products of numbers in their stored type with weights in the type of sums: f32 and f64 by [`matrix`], bf16 by
//! [`pairs`].
//!
//! Independent of tensors.

use half::bf16;
use rayon::prelude::*;

use super::{
    matrix,
    operands::{Matrix, Output, Write},
    pairs::{self, Left, Strips},
    storage::{Number, Real, unwritten},
    vector::vectorised,
};

/// Whether rayon's threads share a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    One,
    All,
}

/// Number types of a product's left side.
pub trait Factor: Number {
    /// Weights prepared for products.
    type Right<'a>: Sync;

    /// Prepares weights for products; they are rounded to `Self`.
    fn prepare(weights: Matrix<'_, Self::Sum>) -> Self::Right<'_>;

    /// `out = left right`, or as `write` says, rounded; `left` and `out` are row-major.
    fn multiply(
        out: &mut [Self],
        left: &[Self],
        right: &Self::Right<'_>,
        write: Write<Self::Sum>,
        threads: Threads,
    );

    /// Like [`Self::multiply`], but not rounded.
    fn multiply_wide(out: &mut [Self::Sum], left: &[Self], right: &Self::Right<'_>, threads: Threads);

    /// `out = left^T right`, added to `out` if `add`; all are row-major, `columns` are those of left and right.
    fn multiply_transposed(
        out: &mut [Self::Sum],
        left: &[Self],
        right: &[Self],
        columns: (usize, usize),
        add: bool,
        threads: Threads,
    );

    /// Returns all of `numbers`, rounded.
    fn narrow_all(numbers: Vec<Self::Sum>) -> Vec<Self>;
}

impl<T: Real> Factor for T {
    type Right<'a> = Matrix<'a, T>;

    fn prepare(weights: Matrix<'_, T>) -> Matrix<'_, T> {
        weights
    }

    fn multiply(out: &mut [T], left: &[T], right: &Matrix<T>, write: Write<T>, threads: Threads) {
        let left = Matrix::new(left, out.len() / right.columns.max(1), right.rows);
        match threads {
            Threads::One => matrix::multiply(out, left, *right, write),
            Threads::All => matrix::multiply_parallel(out, left, *right, write),
        }
    }

    fn multiply_wide(out: &mut [T], left: &[T], right: &Matrix<T>, threads: Threads) {
        Self::multiply(out, left, right, Write::Replace, threads);
    }

    fn multiply_transposed(
        out: &mut [T],
        left: &[T],
        right: &[T],
        columns: (usize, usize),
        add: bool,
        threads: Threads,
    ) {
        let steps = left.len() / columns.0.max(1);
        let left = Matrix::new(left, steps, columns.0).transposed();
        let right = Matrix::new(right, steps, columns.1);
        let write = if add { Write::Add } else { Write::Replace };
        match threads {
            Threads::One => matrix::multiply(out, left, right, write),
            Threads::All => matrix::multiply_parallel(out, left, right, write),
        }
    }

    fn narrow_all(numbers: Vec<T>) -> Vec<T> {
        numbers
    }
}

/// Number of elements that one thread rounds at a time (ours).
const PIECE: usize = 1 << 16;
/// Steps of a product of two matrices that are packed at once (ours; bounds memory).
const STEPS: usize = 1024;

impl Factor for bf16 {
    type Right<'a> = Strips;

    fn prepare(weights: Matrix<'_, f32>) -> Strips {
        Strips::new(weights)
    }

    fn multiply(out: &mut [Self], left: &[Self], right: &Strips, write: Write<f32>, threads: Threads) {
        multiply_as(out, left, right, write, threads);
    }

    fn multiply_wide(out: &mut [f32], left: &[Self], right: &Strips, threads: Threads) {
        multiply_as(out, left, right, Write::Replace, threads);
    }

    fn multiply_transposed(
        out: &mut [f32],
        left: &[Self],
        right: &[Self],
        columns: (usize, usize),
        add: bool,
        threads: Threads,
    ) {
        if left.is_empty() && !add {
            out.fill(0.0);
        }
        let pieces = left.chunks((STEPS * columns.0).max(1)).zip(right.chunks((STEPS * columns.1).max(1)));
        for (index, (left, right)) in pieces.enumerate() {
            let steps = left.len() / columns.0;
            let left = Left::from_steps(left, steps, columns.0, columns.0);
            let right = Strips::from_steps(right, steps, columns.1, columns.1);
            let write = if add || index > 0 { Write::Add } else { Write::Replace };
            multiply_packed(out, &left, &right, write, threads);
        }
    }

    fn narrow_all(numbers: Vec<f32>) -> Vec<Self> {
        // SAFETY: every number is written.
        let mut narrow: Vec<Self> = unsafe { unwritten(numbers.len()) };
        narrow.par_chunks_mut(PIECE).zip(numbers.par_chunks(PIECE)).for_each(|(narrow, numbers)| {
            vectorised(
                #[inline(always)]
                || narrow.iter_mut().zip(numbers).for_each(|(narrow, &x)| *narrow = Self::narrow(x)),
            );
        });
        narrow
    }
}

fn multiply_as<N: Number<Sum = f32>>(
    out: &mut [N],
    left: &[bf16],
    right: &Strips,
    write: Write<f32>,
    threads: Threads,
) {
    let (steps, columns) = (right.steps, right.columns);
    let left = Left::from_rows(left, out.len() / columns.max(1), steps, steps);
    multiply_packed(out, &left, right, write, threads);
}

fn multiply_packed<N: Number<Sum = f32>>(
    out: &mut [N],
    left: &Left,
    right: &Strips,
    write: Write<f32>,
    threads: Threads,
) {
    match threads {
        Threads::One => {
            let rows = out.len() / right.columns.max(1);
            pairs::multiply(Output::new(out, rows, right.columns), left, right, write);
        }
        Threads::All => pairs::multiply_parallel(out, left, right, write),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::WithDType;

    use super::*;
    use crate::seed::Seed;

    /// Whole numbers from -3 to 3, which are exact in bf16 too; so are their sums in f32.
    fn whole<N: Number>(name: &str, count: usize) -> Vec<N> {
        let mut stream = Seed::root(2).child(name).stream();
        let number = |x: f64| N::narrow(N::Sum::from_f64(x));
        (0..count).map(|_| number(stream.below(7) as f64 - 3.0)).collect()
    }

    fn wide<N: Number>(numbers: &[N]) -> Vec<f64> {
        numbers.iter().map(|x| x.widen().to_f64()).collect()
    }

    /// Checks `left^T right` against its definition.
    fn transposed<N: Factor>(steps: usize) {
        let (rows, columns) = (5, 19);
        let (left, right): (Vec<N>, Vec<N>) = (whole("left", steps * rows), whole("right", steps * columns));
        let (x, y) = (wide(&left), wide(&right));
        for (add, threads) in
            [(false, Threads::One), (true, Threads::One), (false, Threads::All), (true, Threads::All)]
        {
            let mut out = vec![N::Sum::from_f64(9.0); rows * columns];
            N::multiply_transposed(&mut out, &left, &right, (rows, columns), add, threads);
            for (at, found) in out.iter().enumerate() {
                let (row, column) = (at / columns, at % columns);
                let sum: f64 = (0..steps).map(|step| x[step * rows + row] * y[step * columns + column]).sum();
                let expected = if add { sum + 9.0 } else { sum };
                assert_eq!(
                    found.to_f64(),
                    expected,
                    "{steps} steps, add {add}, {threads:?}: {row}, {column}"
                );
            }
        }
    }

    #[test]
    fn transposed_products_are_sums_over_all_steps() {
        for steps in [0, 1, 1023, 1025, 2500] {
            transposed::<f32>(steps);
            transposed::<f64>(steps);
            transposed::<bf16>(steps);
        }
    }

    /// Checks a product with an added row, and one that is not rounded.
    fn plain<N: Factor>() {
        let (rows, steps, columns) = (33, 47, 18);
        let left: Vec<N> = whole("left", rows * steps);
        let weights: Vec<N::Sum> = whole("weights", steps * columns);
        let added: Vec<N::Sum> = whole("added", columns);
        let ready = N::prepare(Matrix::new(&weights, steps, columns));
        let (x, y) = (wide(&left), wide(&weights));
        for threads in [Threads::One, Threads::All] {
            let mut out = vec![N::ZERO; rows * columns];
            N::multiply(&mut out, &left, &ready, Write::WithRow(&added), threads);
            let mut exact = vec![N::Sum::from_f64(9.0); rows * columns];
            N::multiply_wide(&mut exact, &left, &ready, threads);
            for (at, (found, exact)) in out.iter().zip(&exact).enumerate() {
                let (row, column) = (at / columns, at % columns);
                let sum: f64 =
                    (0..steps).map(|step| x[row * steps + step] * y[step * columns + column]).sum();
                assert_eq!(exact.to_f64(), sum, "{row}, {column}");
                let expected = N::narrow(N::Sum::from_f64(sum + added[column].to_f64()));
                assert_eq!(found.widen().to_f64(), expected.widen().to_f64(), "{row}, {column}");
            }
        }
    }

    #[test]
    fn products_are_rounded_once_and_wide_ones_not() {
        plain::<f32>();
        plain::<f64>();
        plain::<bf16>();
        // Between 256 and 512 bf16 has only even numbers: 257 is halfway between 2 * 128 and 2 * 129, and is
        // rounded to the even significand, 256.
        assert_eq!(wide(&bf16::narrow_all(vec![257.0, 259.0, 1.5])), [256.0, 260.0, 1.5]);
        assert_eq!(f32::narrow_all(vec![257.0, 1.5]), [257.0, 1.5]);
    }
}
