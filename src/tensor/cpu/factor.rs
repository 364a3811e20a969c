//! Products of numbers in their stored type with weights in the type of sums: f32 and f64 by [`matrix`], bf16 by
//! [`pairs`].
//!
//! Independent of tensors.

use half::bf16;

use super::{
    matrix,
    operands::{Matrix, Output, Write},
    pairs::{self, Left, Strips},
    storage::{Number, Real},
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

    /// Prepares weights for products; they are rounded to the number type.
    fn ready(weights: Matrix<'_, Self::Sum>) -> Self::Right<'_>;

    /// `out = left right`, or as `write` says, rounded; `left` and `out` are row-major.
    fn multiply(
        out: &mut [Self],
        left: &[Self],
        right: &Self::Right<'_>,
        write: Write<Self::Sum>,
        threads: Threads,
    );

    /// Like [`Self::multiply`], not rounded.
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

    fn ready(weights: Matrix<'_, T>) -> Matrix<'_, T> {
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

/// Steps of a product of two matrices that are packed at once (ours; bounds memory).
const STEPS: usize = 1024;

impl Factor for bf16 {
    type Right<'a> = Strips;

    fn ready(weights: Matrix<'_, f32>) -> Strips {
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
            let left = Left::of_steps(left, steps, columns.0, columns.0);
            let right = Strips::of_steps(right, steps, columns.1, columns.1);
            let write = if add || index > 0 { Write::Add } else { Write::Replace };
            multiply_packed(out, &left, &right, write, threads);
        }
    }

    fn narrow_all(numbers: Vec<f32>) -> Vec<Self> {
        numbers.into_iter().map(Self::narrow).collect()
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
    let left = Left::of_rows(left, out.len() / columns.max(1), steps, steps);
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
