//! Matrix products over borrowed numbers, on one thread or on a fixed partition.
//!
//! The only place that hands pointers to `gemm`. Knows nothing of tensors.

use gemm::Parallelism;
use rayon::prelude::*;

use super::storage::Real;

/// A read-only matrix of any strides.
#[derive(Clone, Copy)]
pub struct Matrix<'a, T> {
    values: &'a [T],
    pub rows: usize,
    pub columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Wraps numbers in row-major order.
    ///
    /// # Panics
    /// If there are not `rows * columns` numbers.
    pub fn new(values: &'a [T], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "{rows} x {columns} matrix");
        Self { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The same numbers with rows and columns exchanged.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// Whether a product replaces what its output holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    Replace,
    Add,
}

/// Largest number of rows or columns in one piece of [`multiply_parallel`].
const PIECE: usize = 256;

/// `out = left right` (or `out += left right`) on this thread; `out` is row-major.
pub fn multiply<T: Real>(out: &mut [T], left: Matrix<T>, right: Matrix<T>, write: Write) {
    assert_eq!(out.len(), left.rows * right.columns, "{} x {} product", left.rows, right.columns);
    let whole = Piece { row: 0, rows: left.rows, column: 0, columns: right.columns };
    // SAFETY: `out` is borrowed mutably for the call and as large as the product.
    unsafe { multiply_piece(Pointer(out.as_mut_ptr()), whole, left, right, write) }
}

/// As [`multiply`], shared among rayon's threads in pieces that depend on the shape only.
pub fn multiply_parallel<T: Real>(out: &mut [T], left: Matrix<T>, right: Matrix<T>, write: Write) {
    assert_eq!(out.len(), left.rows * right.columns, "{} x {} product", left.rows, right.columns);
    let (rows, columns) = (left.rows, right.columns);
    let pointer = Pointer(out.as_mut_ptr());
    // At least four pieces along the longer side, so that two to four threads share small products.
    let side = |length: usize, longest: bool| {
        let pieces = if longest { length.div_ceil(PIECE).max(4) } else { length.div_ceil(PIECE) };
        length.div_ceil(pieces).next_multiple_of(16)
    };
    let (tall, wide) = (side(rows, rows >= columns), side(columns, columns > rows));
    let across = columns.div_ceil(wide);
    (0..rows.div_ceil(tall) * across).into_par_iter().for_each(|index| {
        let (row, column) = (index / across * tall, index % across * wide);
        let piece = Piece { row, rows: tall.min(rows - row), column, columns: wide.min(columns - column) };
        // SAFETY: `out` is borrowed mutably for the call and pieces do not overlap.
        unsafe { multiply_piece(pointer, piece, left, right, write) }
    });
}

/// A rectangle of a product.
#[derive(Clone, Copy)]
struct Piece {
    row: usize,
    rows: usize,
    column: usize,
    columns: usize,
}

/// The start of an output that tasks write disjoint parts of.
#[derive(Clone, Copy)]
struct Pointer<T>(*mut T);

// SAFETY: whoever shares a pointer writes disjoint pieces, as `multiply_piece` demands.
unsafe impl<T> Send for Pointer<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Pointer<T> {}

/// Computes one rectangle of `left right` into the row-major `out`.
///
/// # Safety
/// `out` points to `left.rows * right.columns` numbers, of which nobody else uses the piece's now.
unsafe fn multiply_piece<T: Real>(
    out: Pointer<T>,
    piece: Piece,
    left: Matrix<T>,
    right: Matrix<T>,
    write: Write,
) {
    assert_eq!(left.columns, right.rows, "inner lengths of a matrix product");
    assert!(piece.row + piece.rows <= left.rows && piece.column + piece.columns <= right.columns);
    // SAFETY: `Matrix::new` checked that its numbers fill rows x columns, and the piece is inside both.
    unsafe {
        gemm::gemm(
            piece.rows,
            piece.columns,
            left.columns,
            out.0.add(piece.row * right.columns + piece.column),
            1,
            right.columns as isize,
            write == Write::Add,
            left.values.as_ptr().add(piece.row * left.row_stride),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr().add(piece.column * right.column_stride),
            right.column_stride as isize,
            right.row_stride as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
