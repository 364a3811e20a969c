//! Both sides of an f32 product, packed in the order in which kernels read them: the right side in strips, and the
//! left side too if its rows are not contiguous and the product has many columns. Independent of threads and of how a product is split.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    groups::fill_groups,
    operands::{Matrix, Output, Write},
    storage::unwritten,
    strips::{STRIP, multiply_strips, rows_of_blocks},
    turn::into_strip,
};

/// Number of elements from which on packing is parallelised (ours).
const MANY: usize = 1 << 16;

/// Number of columns of a product up to which its left side is not packed (ours).
const FEW: usize = 4 * STRIP;

/// A product's two sides.
pub struct Packed<'a> {
    left: Left<'a>,
    rows: usize,
    steps: usize,
    columns: usize,
    /// A strip for every 16 columns.
    right: Vec<f32>,
}

enum Left<'a> {
    /// Read where it is: its rows are contiguous, or so few columns are made of it that packing takes longer.
    Where(Matrix<'a, f32>),
    /// Sixteen numbers for every block of rows and step; only as many are used as the block has rows.
    Blocks(Vec<f32>),
}

impl<'a> Packed<'a> {
    /// Packs the sides as needed; each must have contiguous rows or contiguous columns.
    pub fn new(left: Matrix<'a, f32>, right: Matrix<'a, f32>) -> Self {
        let (rows, steps, columns) = (left.rows, left.columns, right.columns);
        let strips =
            pack(right, columns.div_ceil(STRIP), |strip| strip * STRIP..columns.min((strip + 1) * STRIP));
        let left = match columns <= FEW || left.as_rows().is_some() {
            true => Left::Where(left),
            false => Left::Blocks(pack(left.transposed(), rows.div_ceil(rows_of_blocks()), |block| {
                block_rows(block, rows)
            })),
        };
        Self { left, rows, steps, columns, right: strips }
    }

    /// Returns the number of blocks of rows and the number of pairs of strips.
    pub fn pieces(&self) -> (usize, usize) {
        (self.rows.div_ceil(rows_of_blocks()), self.columns.div_ceil(2 * STRIP))
    }

    /// Computes some blocks of rows for some pairs of strips, and writes them as `write` says.
    ///
    /// # Safety
    /// `out` points to rows of the product, `stride` apart; no other code may access the numbers of these blocks
    /// and pairs during the call.
    pub unsafe fn multiply(
        &self,
        (out, stride): (*mut f32, usize),
        blocks: Range<usize>,
        pairs: Range<usize>,
        write: Write<f32>,
    ) {
        for pair in pairs {
            let column = pair * 2 * STRIP;
            let columns = (self.columns - column).min(2 * STRIP);
            let strip = self.steps * STRIP;
            let (first, rest) = self.right[2 * pair * strip..].split_at(strip);
            let second = if columns > STRIP { &rest[..strip] } else { &[] };
            let write = match write {
                Write::WithRow(row) => Write::WithRow(&row[column..][..columns]),
                whole => whole,
            };
            let product = |rows: Range<usize>, left: Matrix<f32>| {
                // SAFETY: the rows and columns exist; the rest is guaranteed by the caller.
                let out = unsafe {
                    Output::from_raw(out.add(rows.start * stride + column), rows.len(), columns, stride)
                };
                multiply_strips(out, left, first, second, write);
            };
            match &self.left {
                Left::Where(left) => {
                    let (start, end) = (
                        block_rows(blocks.start, self.rows).start,
                        block_rows(blocks.end - 1, self.rows).end,
                    );
                    product(start..end, left.rows_within(start..end));
                }
                Left::Blocks(numbers) => {
                    for block in blocks.clone() {
                        let rows = block_rows(block, self.rows);
                        let numbers = &numbers[block * strip..][..strip];
                        let left = Matrix::part(numbers, self.steps, rows.len(), STRIP).transposed();
                        product(rows, left);
                    }
                }
            }
        }
    }
}

/// Returns the rows of a block; all blocks have about equally many.
fn block_rows(block: usize, rows: usize) -> Range<usize> {
    let blocks = rows.div_ceil(rows_of_blocks());
    block * rows / blocks..(block + 1) * rows / blocks
}

/// Packs `count` groups of a matrix's columns, at most sixteen columns each.
fn pack(matrix: Matrix<f32>, count: usize, group: impl Fn(usize) -> Range<usize>) -> Vec<f32> {
    let groups: Vec<Range<usize>> = (0..count).map(group).collect();
    let Some((numbers, stride)) = matrix.as_rows() else {
        return pack_columns(matrix, &groups);
    };
    fill_groups(
        matrix.rows,
        &groups,
        #[inline(always)]
        |row, columns, room| {
            let numbers = &numbers[row * stride + columns.start..];
            match numbers.first_chunk() {
                // Numbers beyond the group's columns are harmless: products with them are not written.
                Some(numbers) => *room = *numbers,
                None => room[..columns.len()].copy_from_slice(&numbers[..columns.len()]),
            }
        },
    )
}

/// Like [`pack`], for contiguous columns.
fn pack_columns(matrix: Matrix<f32>, groups: &[Range<usize>]) -> Vec<f32> {
    let (numbers, stride) = matrix.transposed().as_rows().expect("contiguous rows or columns");
    let size = matrix.rows * STRIP;
    // SAFETY: the columns are written, and nothing else of the memory is used.
    let mut packed = unsafe { unwritten(groups.len() * size) };
    let one = |(columns, packed): (&Range<usize>, &mut [f32])| {
        let (packed, _) = packed.as_chunks_mut::<STRIP>();
        into_strip(&numbers[columns.start * stride..], columns.len(), stride, packed);
    };
    match packed.len() >= MANY {
        true => groups.par_iter().zip(packed.par_chunks_mut(size)).for_each(one),
        false => groups.iter().zip(packed.chunks_mut(size.max(1))).for_each(one),
    }
    packed
}
