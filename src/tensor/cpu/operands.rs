//! The operands and the output of a product: borrowed numbers in rows, columns, or parts of either. Independent of
//! how products are computed.

use std::{marker::PhantomData, ops::Range};

/// A read-only matrix with any strides.
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
    /// If there are fewer numbers, or rows overlap.
    pub fn part(values: &'a [T], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(
            columns <= row_stride && (rows == 0 || (rows - 1) * row_stride + columns <= values.len()),
            "{rows} x {columns} matrix, rows {row_stride} apart, in {} numbers",
            values.len()
        );
        Self { values, rows, columns, row_stride, column_stride: 1 }
    }

    /// Returns the transpose, of the same numbers.
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

    /// Returns the numbers and the row stride, if rows are contiguous.
    pub fn as_rows(&self) -> Option<(&'a [T], usize)> {
        (self.column_stride == 1).then_some((self.values, self.row_stride))
    }

    /// Returns some of the rows.
    ///
    /// # Panics
    /// If there are fewer rows.
    #[must_use]
    pub fn rows_within(self, rows: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "{rows:?} of {} rows", self.rows);
        let start = (rows.start * self.row_stride).min(self.values.len());
        Self { values: &self.values[start..], rows: rows.len(), ..self }
    }

    /// Returns a matrix of the same shape and strides, with its numbers replaced by as many of another type.
    pub fn map<U>(self, numbers: impl Fn(&'a [T]) -> &'a [U]) -> Matrix<'a, U> {
        let values = numbers(self.values);
        assert_eq!(values.len(), self.values.len(), "as many numbers");
        let Self { rows, columns, row_stride, column_stride, .. } = self;
        Matrix { values, rows, columns, row_stride, column_stride }
    }

    /// Returns a pointer to the first number, the row stride and the column stride.
    pub fn raw_parts(&self) -> (*const T, usize, usize) {
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

    /// Describes rows that start `row_stride` numbers apart.
    ///
    /// # Safety
    /// As long as the output exists, `start` points to `rows` rows of `columns` numbers that no other code
    /// accesses.
    pub unsafe fn from_raw(start: *mut T, rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { start: Pointer(start), rows, columns, row_stride, borrowed: PhantomData }
    }

    /// Returns a pointer to the first number, and the row stride; the numbers are borrowed as long as the output
    /// exists.
    pub fn raw_parts(&self) -> (*mut T, usize) {
        (self.start.0, self.row_stride)
    }

    /// Calls `write` with every row's index and its columns. It must carry `#[inline(always)]`, as for
    /// `vectorised`.
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

    /// Splits into the first `columns` columns, and the others if there are any.
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

    /// Splits into the first `rows` rows, and the others if there are any.
    ///
    /// # Panics
    /// If there are fewer rows.
    pub fn split_rows(self, rows: usize) -> (Self, Option<Self>) {
        assert!(rows <= self.rows, "{rows} of {} rows", self.rows);
        let Self { start, columns, row_stride, borrowed, .. } = self;
        let rest = self.rows - rows;
        let tail = (rest > 0).then(|| {
            // SAFETY: the row exists; both parts share none.
            let start = Pointer(unsafe { start.0.add(rows * row_stride) });
            Self { start, rows: rest, columns, row_stride, borrowed }
        });
        (Self { start, rows, columns, row_stride, borrowed }, tail)
    }

    /// Splits the columns into bands of `width`, to be written independently.
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

/// How a product writes to its output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Write<'a, T> {
    Replace,
    Add,
    /// Replaces the output by the product with this row added to each of its rows.
    WithRow(&'a [T]),
}

/// The start of an output of which tasks write disjoint parts.
#[derive(Clone, Copy)]
pub struct Pointer<T>(pub *mut T);

impl<T> Pointer<T> {
    /// Returns the pointer. A method, so that a closure captures the whole `Pointer`, which may be shared, not its
    /// field.
    pub fn start(self) -> *mut T {
        self.0
    }
}

// SAFETY: whoever shares a pointer writes disjoint pieces, as [`multiply_piece`](super::library::multiply_piece)
// requires.
unsafe impl<T: Send> Send for Pointer<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Pointer<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "2 x 2 matrix, rows 3 apart, in 4 numbers")]
    fn a_part_beyond_its_numbers_is_refused() {
        Matrix::part(&[0.0; 4], 2, 2, 3);
    }
    #[test]
    #[should_panic(expected = "2 x 3 matrix")]
    fn a_matrix_has_as_many_numbers_as_places() {
        Matrix::new(&[0.0; 7], 2, 3);
    }

    #[test]
    #[should_panic(expected = "1..4 of 3 rows")]
    fn rows_beyond_the_last_are_refused() {
        let numbers = [0.0; 6];
        let _ = Matrix::new(&numbers, 3, 2).rows_within(1..4);
    }

    #[test]
    #[should_panic(expected = "2 x 2 matrix, rows 3 apart, in 5 numbers")]
    fn an_output_has_whole_rows() {
        let _ = Output::part(&mut [0.0; 5], 2, 2, 3);
    }

    #[test]
    #[should_panic(expected = "4 of 3 columns")]
    fn an_output_is_split_within_its_columns() {
        let _ = Output::new(&mut [0.0; 6], 2, 3).split(4);
    }

    #[test]
    #[should_panic(expected = "3 of 2 rows")]
    fn an_output_is_split_within_its_rows() {
        let _ = Output::new(&mut [0.0; 6], 2, 3).split_rows(3);
    }

    #[test]
    #[should_panic(expected = "bands of 2 in 3 columns")]
    fn bands_fill_the_columns() {
        let _ = Output::new(&mut [0.0; 6], 2, 3).bands(2);
    }

    #[test]
    fn outputs_are_split_and_written_by_rows() {
        let mut numbers = [0; 8];
        let (mut head, tail) = Output::part(&mut numbers, 2, 3, 4).split(2);
        head.each_row(|row, out| out.fill(1 + row));
        tail.expect("a third column").each_row(|row, out| out.fill(7 + row));
        assert_eq!(numbers, [1, 1, 7, 0, 2, 2, 8, 0]);
        assert!(Output::new(&mut numbers, 2, 4).split(4).1.is_none());
        let (mut head, tail) = Output::part(&mut numbers, 2, 3, 4).split_rows(1);
        head.each_row(|row, out| out.fill(3 + row));
        tail.expect("a second row").each_row(|row, out| out.fill(5 + row));
        assert_eq!(numbers, [3, 3, 3, 0, 5, 5, 5, 0]);
        assert!(Output::new(&mut numbers, 2, 4).split_rows(2).1.is_none());
        // The middle row of a matrix, then transposed.
        let numbers = [1, 2, 3, 4, 5, 6];
        let middle = Matrix::new(&numbers, 3, 2).rows_within(1..2);
        assert_eq!((middle.rows, middle.columns, middle.as_rows().unwrap().0[0]), (1, 2, 3));
        assert!(middle.transposed().as_rows().is_none());
    }
}
