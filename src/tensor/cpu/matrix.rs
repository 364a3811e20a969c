//! Matrix products over borrowed numbers, on one thread or on a fixed partition.
//!
//! In f32 every number is a chain of fused multiply-adds over [`STEPS`] steps at a time, whatever the machine and however
//! the product is cut ([`packed`](super::packed)). f64, which checks gradients, goes to faer. Knows nothing about tensors.

use std::{any::TypeId, marker::PhantomData, ops::Range};

use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use rayon::prelude::*;

use super::{packed::Packed, storage::Real};

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

    /// Wraps part of a larger row-major matrix whose rows start `row_stride` numbers apart.
    ///
    /// # Panics
    /// If there are fewer numbers than that takes, or rows overlap.
    pub fn part(values: &'a [T], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(
            columns <= row_stride && (rows == 0 || (rows - 1) * row_stride + columns <= values.len()),
            "{rows} x {columns} matrix, rows {row_stride} apart, in {} numbers",
            values.len()
        );
        Self { values, rows, columns, row_stride, column_stride: 1 }
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

    /// The numbers, from the first on, and the distance of rows, where columns are neighbours.
    pub fn as_rows(&self) -> Option<(&'a [T], usize)> {
        (self.column_stride == 1).then_some((self.values, self.row_stride))
    }

    /// Some of the rows.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use]
    pub fn rows_within(self, rows: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "{rows:?} of {} rows", self.rows);
        let start = (rows.start * self.row_stride).min(self.values.len());
        Self { values: &self.values[start..], rows: rows.len(), ..self }
    }

    /// First number, distance of rows, distance of columns.
    pub fn raw(&self) -> (*const T, usize, usize) {
        (self.values.as_ptr(), self.row_stride, self.column_stride)
    }
}

/// A matrix to write to: contiguous rows, or a band of the columns of such a matrix.
pub struct Output<'a, T> {
    start: Pointer<T>,
    pub rows: usize,
    pub columns: usize,
    row_stride: usize,
    borrowed: PhantomData<&'a mut [T]>,
}

impl<'a, T> Output<'a, T> {
    /// Wraps numbers in row-major order.
    ///
    /// # Panics
    /// If there are not `rows * columns` numbers.
    pub fn new(values: &'a mut [T], rows: usize, columns: usize) -> Self {
        Self::part(values, rows, columns, columns)
    }

    /// Wraps the first `columns` columns of rows that start `row_stride` numbers apart.
    ///
    /// # Panics
    /// If there are not `rows * row_stride` numbers, or rows overlap.
    pub fn part(values: &'a mut [T], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(
            columns <= row_stride && values.len() == rows * row_stride,
            "{rows} x {columns} matrix, rows {row_stride} apart, in {} numbers",
            values.len()
        );
        Self { start: Pointer(values.as_mut_ptr()), rows, columns, row_stride, borrowed: PhantomData }
    }

    /// Rows that start `row_stride` numbers apart.
    ///
    /// # Safety
    /// As long as the output lives, `start` points to `rows` rows of `columns` numbers that nobody else uses.
    pub unsafe fn at(start: *mut T, rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { start: Pointer(start), rows, columns, row_stride, borrowed: PhantomData }
    }

    /// First number and distance of rows; what lies there is borrowed as long as the output is.
    pub fn raw(&self) -> (*mut T, usize) {
        (self.start.0, self.row_stride)
    }

    /// Calls `write` with every row's number and its columns. It must carry `#[inline(always)]`, as for `vectorised`.
    #[inline(always)]
    pub fn each_row(&mut self, write: impl Fn(usize, &mut [T])) {
        for row in 0..self.rows {
            // SAFETY: the row is borrowed with the output.
            let out = unsafe {
                std::slice::from_raw_parts_mut(self.start.0.add(row * self.row_stride), self.columns)
            };
            write(row, out);
        }
    }

    /// The first `columns` columns, and the others where there are any.
    ///
    /// # Panics
    /// If there are fewer columns.
    pub fn split(self, columns: usize) -> (Self, Option<Self>) {
        assert!(columns <= self.columns, "{columns} of {} columns", self.columns);
        let Self { start, rows, row_stride, borrowed, .. } = self;
        let rest = self.columns - columns;
        let tail = (rest > 0).then(|| {
            // SAFETY: the column exists in the first row; both parts share none.
            let start = Pointer(unsafe { start.0.add(columns) });
            Self { start, rows, columns: rest, row_stride, borrowed }
        });
        (Self { start, rows, columns, row_stride, borrowed }, tail)
    }

    /// Cuts the columns into bands of `width`, to be written independently.
    ///
    /// # Panics
    /// If `width` does not divide the columns.
    pub fn bands(self, width: usize) -> impl Iterator<Item = Self> {
        assert!(
            width > 0 && self.columns.is_multiple_of(width),
            "bands of {width} in {} columns",
            self.columns
        );
        (0..self.columns / width).map(move |band| {
            // SAFETY: the band's first number lies in the first row; bands share no column.
            let start = Pointer(unsafe { self.start.0.add(band * width) });
            Self {
                start,
                rows: self.rows,
                columns: width,
                row_stride: self.row_stride,
                borrowed: PhantomData,
            }
        })
    }
}

/// What a product does to its output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Write<'a, T> {
    Replace,
    Add,
    /// Replaces it by the product with this row added to each of its rows.
    WithRow(&'a [T]),
}

/// Largest number of rows or columns in one piece of [`multiply_parallel`].
const PIECE: usize = 256;

/// `out = left right` (or what `write` says) on this thread; `out` is row-major.
pub fn multiply<T: Real>(out: &mut [T], left: Matrix<T>, right: Matrix<T>, write: Write<T>) {
    multiply_into(Output::new(out, left.rows, right.columns), left, right, write);
}

/// As [`multiply`], into part of a larger matrix.
pub fn multiply_into<T: Real>(out: Output<T>, left: Matrix<T>, right: Matrix<T>, write: Write<T>) {
    assert_eq!((out.rows, out.columns), (left.rows, right.columns), "shape of a product");
    if let Some((left, right, write)) = as_single(left, right, write) {
        let (start, stride) = out.raw();
        return each_step(left, right, write, |packed, write| {
            let (blocks, pairs) = packed.pieces();
            let start = Pointer(start.cast());
            // SAFETY: `out` is a mutable borrow, consumed here, and as large as the product.
            unsafe {
                begin(start, stride, (left.rows, right.columns), write);
                packed.multiply((start.0, stride), 0..blocks, 0..pairs, write != Write::Replace);
            }
        });
    }
    let whole = Piece { row: 0, rows: left.rows, column: 0, columns: right.columns };
    // SAFETY: `out` is a mutable borrow, consumed here, and as large as the product.
    unsafe { multiply_piece(out.start, out.row_stride, whole, left, right, write) }
}

/// As [`multiply`], shared among rayon's threads in pieces that depend on the shape only.
pub fn multiply_parallel<T: Real>(out: &mut [T], left: Matrix<T>, right: Matrix<T>, write: Write<T>) {
    assert_eq!(out.len(), left.rows * right.columns, "{} x {} product", left.rows, right.columns);
    let (rows, columns) = (left.rows, right.columns);
    let pointer = Pointer(out.as_mut_ptr());
    if let Some((left, right, write)) = as_single(left, right, write) {
        let start = Pointer(out.as_mut_ptr().cast::<f32>());
        return each_step(left, right, write, |packed, write| {
            // SAFETY: `out` is borrowed mutably for the call.
            unsafe { share(packed, start, (rows, columns), write) }
        });
    }
    // Four equal pieces along the longer side, or a multiple, so that two or four threads end together.
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

/// The sides and the writing of a product in f32.
type Single<'a> = (Matrix<'a, f32>, Matrix<'a, f32>, Write<'a, f32>);

/// The same, if it is one in f32 and something is to be done.
fn as_single<'a, T: Real>(
    left: Matrix<'a, T>,
    right: Matrix<'a, T>,
    write: Write<'a, T>,
) -> Option<Single<'a>> {
    if TypeId::of::<T>() != TypeId::of::<f32>() || left.rows * left.columns * right.columns == 0 {
        return None;
    }
    // SAFETY: T is f32.
    let numbers =
        |values: &'a [T]| unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<f32>(), values.len()) };
    let single = |matrix: Matrix<'a, T>| Matrix {
        values: numbers(matrix.values),
        rows: matrix.rows,
        columns: matrix.columns,
        row_stride: matrix.row_stride,
        column_stride: matrix.column_stride,
    };
    let write = match write {
        Write::Replace => Write::Replace,
        Write::Add => Write::Add,
        Write::WithRow(row) => Write::WithRow(numbers(row)),
    };
    Some((single(left), single(right), write))
}

/// Steps that are packed, and added up, at a time (ours; bounds memory and rounding).
const STEPS: usize = 768;

/// Calls `body` with the sides' steps, some at a time, and what to do with the output.
fn each_step<'a>(
    left: Matrix<'a, f32>,
    right: Matrix<'a, f32>,
    write: Write<'a, f32>,
    body: impl Fn(&Packed, Write<f32>),
) {
    assert_eq!(left.columns, right.rows, "inner lengths of a matrix product");
    for start in (0..left.columns).step_by(STEPS) {
        let steps = start..left.columns.min(start + STEPS);
        let packed =
            Packed::new(left.transposed().rows_within(steps.clone()).transposed(), right.rows_within(steps));
        body(&packed, if start == 0 { write } else { Write::Add });
    }
}

/// Writes the row that is added to a product.
///
/// # Safety
/// `out` points to these rows and columns, which nobody else uses now.
unsafe fn begin(out: Pointer<f32>, stride: usize, (rows, columns): (usize, usize), write: Write<f32>) {
    let Write::WithRow(added) = write else { return };
    assert_eq!(added.len(), columns, "row added to a product");
    for row in 0..rows {
        // SAFETY: by the caller.
        unsafe { std::slice::from_raw_parts_mut(out.0.add(row * stride), columns) }.copy_from_slice(added);
    }
}

/// Blocks of rows, and pairs of strips, in one task (ours): a second-level cache holds what it reads.
const TASK: (usize, usize) = (18, 8);

/// A product on rayon's threads.
///
/// # Safety
/// `out` points to as many numbers as the product has, which nobody else uses now.
unsafe fn share(packed: &Packed, out: Pointer<f32>, shape: (usize, usize), write: Write<f32>) {
    let (blocks, pairs) = packed.pieces();
    // Four equal pieces along the longer side, or a multiple, so that two or four threads end together.
    let side = |count: usize, most: usize, longest: bool| {
        let pieces = count.div_ceil(most);
        count.div_ceil(if longest { pieces.next_multiple_of(4) } else { pieces }.max(1)).max(1)
    };
    let (tall, wide) = (side(blocks, TASK.0, blocks >= pairs), side(pairs, TASK.1, pairs > blocks));
    let across = pairs.div_ceil(wide);
    // SAFETY: by the caller.
    unsafe { begin(out, shape.1, shape, write) };
    (0..blocks.div_ceil(tall) * across).into_par_iter().for_each(|index| {
        let (block, pair) = (index / across * tall, index % across * wide);
        let (blocks, pairs) = (block..blocks.min(block + tall), pair..pairs.min(pair + wide));
        // SAFETY: by the caller, and pieces do not overlap.
        unsafe { packed.multiply((out.start(), shape.1), blocks, pairs, write != Write::Replace) };
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

impl<T> Pointer<T> {
    /// A closure that calls this takes the pointer as it is, which may be shared, and not its field.
    fn start(self) -> *mut T {
        self.0
    }
}

// SAFETY: whoever shares a pointer writes disjoint pieces, as `multiply_piece` demands.
unsafe impl<T: Send> Send for Pointer<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Pointer<T> {}

/// Computes one rectangle of `left right` into the row-major `out`, whose rows start `row_stride` apart.
///
/// # Safety
/// `out` points to `left.rows` rows of `right.columns` numbers, of which nobody else uses the piece's now.
unsafe fn multiply_piece<T: Real>(
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
    // SAFETY: whoever made the matrices checked that they lie within their numbers; the piece is inside them.
    let (out, left, right) = unsafe {
        (
            MatMut::from_raw_parts_mut(start, piece.rows, piece.columns, row_stride as isize, 1),
            MatRef::from_raw_parts(
                left.values.as_ptr().add(piece.row * left.row_stride),
                piece.rows,
                left.columns,
                left.row_stride as isize,
                left.column_stride as isize,
            ),
            MatRef::from_raw_parts(
                right.values.as_ptr().add(piece.column * right.column_stride),
                right.rows,
                piece.columns,
                right.row_stride as isize,
                right.column_stride as isize,
            ),
        )
    };
    let accumulation = if write == Write::Replace { Accum::Replace } else { Accum::Add };
    // Pieces are shared among threads by the caller.
    matmul(out, accumulation, left, right, T::from_f64(1.0), Par::Seq);
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

    #[test]
    #[should_panic(expected = "2 x 2 matrix, rows 3 apart, in 4 numbers")]
    fn a_part_beyond_its_numbers_is_refused() {
        Matrix::part(&[0.0; 4], 2, 2, 3);
    }
}
