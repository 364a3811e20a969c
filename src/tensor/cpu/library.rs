//! Products by faer: in f64, which is used to check gradients, and empty ones. Plain operands.

use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};

use super::{
    operands::{Matrix, Output, Pointer, Write},
    storage::Real,
};

/// `out = left right`, or as `write` says, on this thread.
pub fn multiply<T: Real>(out: Output<T>, left: Matrix<T>, right: Matrix<T>, write: Write<T>) {
    assert_eq!((out.rows, out.columns), (left.rows, right.columns), "shape of a product");
    let whole = Piece { row: 0, rows: left.rows, column: 0, columns: right.columns };
    let (start, row_stride) = out.raw_parts();
    // SAFETY: `out` is a mutable borrow, consumed here, and as large as the product.
    unsafe { multiply_piece(Pointer(start), row_stride, whole, left, right, write) }
}

/// A rectangle of a product.
#[derive(Clone, Copy)]
pub struct Piece {
    pub row: usize,
    pub rows: usize,
    pub column: usize,
    pub columns: usize,
}

/// Computes one rectangle of `left right` into the row-major `out`, whose rows start `row_stride` apart.
///
/// # Safety
/// `out` points to `left.rows` rows of `right.columns` numbers; no other code may access the numbers of the piece
/// during the call.
pub unsafe fn multiply_piece<T: Real>(
    out: Pointer<T>,
    row_stride: usize,
    piece: Piece,
    left: Matrix<T>,
    right: Matrix<T>,
    write: Write<T>,
) {
    assert_eq!(left.columns, right.rows, "inner lengths of a matrix product");
    assert!(piece.row + piece.rows <= left.rows && piece.column + piece.columns <= right.columns);
    // SAFETY: the piece is inside `out`.
    let start = unsafe { out.0.add(piece.row * row_stride + piece.column) };
    if let Write::WithRow(added) = write {
        assert_eq!(added.len(), right.columns, "row added to a product");
        let added = &added[piece.column..][..piece.columns];
        for row in 0..piece.rows {
            // SAFETY: the row is inside the piece.
            unsafe { std::slice::from_raw_parts_mut(start.add(row * row_stride), piece.columns) }
                .copy_from_slice(added);
        }
    }
    let ((left_start, left_rows, left_columns), (right_start, right_rows, right_columns)) =
        (left.raw_parts(), right.raw_parts());
    // SAFETY: the constructors of the matrices checked that they lie within their numbers; the piece is inside
    // them.
    let (out, left, right) = unsafe {
        (
            MatMut::from_raw_parts_mut(start, piece.rows, piece.columns, row_stride as isize, 1),
            MatRef::from_raw_parts(
                left_start.add(piece.row * left_rows),
                piece.rows,
                left.columns,
                left_rows as isize,
                left_columns as isize,
            ),
            MatRef::from_raw_parts(
                right_start.add(piece.column * right_columns),
                right.rows,
                piece.columns,
                right_rows as isize,
                right_columns as isize,
            ),
        )
    };
    let accumulation = if write == Write::Replace { Accum::Replace } else { Accum::Add };
    // The caller distributes pieces among threads.
    matmul(out, accumulation, left, right, T::from_f64(1.0), Par::Seq);
}
