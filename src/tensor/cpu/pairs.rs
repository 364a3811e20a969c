//! Products of bf16 numbers, added in f32.
//!
//! Steps of a product are processed in pairs, as by the instruction `vdpbf16ps`: sum = a b + (a' b' + sum) with a',
//! b' of the odd step, products exact and each addition rounded once. Machines without it do the same by fused
//! multiply-adds (with AVX2 about as fast as in f32) and get equal bits, except for factors and sums below 2^-126,
//! which the instruction treats as zeros.
//!
//! The right matrix is packed in strips of 16 columns. Independent of tensors.

use std::{borrow::Cow, ops::Range};

use half::bf16;
use rayon::prelude::*;

use super::{
    groups::fill_groups,
    operands::{Matrix, Output, Write},
    storage::{Number, unwritten},
    strips::{STRIP, rows_of_blocks},
    turn::into_strip,
    vector::vectorised,
};

/// Largest number of rows of a block.
const ROWS: usize = 14;
/// Blocks of rows, and pairs of strips, in one task (ours): a second-level cache holds what the task reads.
const TASK_BLOCKS: usize = 18;
const TASK_STRIPS: usize = 8;
/// Number of words from which on packing is parallelised (ours).
const MANY: usize = 1 << 16;

/// Two steps' numbers of one row or column; the first in the low half.
type Word = u32;

fn word<N: Number<Sum = f32>>(first: N, second: N) -> Word {
    let bits = |x: N| Word::from(bf16::narrow(x.widen()).to_bits());
    bits(first) | bits(second) << 16
}

/// Writes the words of a row's numbers; if their count is odd, the last has a zero.
fn fill_words<N: Number<Sum = f32>>(row: &[N], words: &mut [Word]) {
    let (whole, rest) = row.as_chunks::<2>();
    vectorised(
        #[inline(always)]
        || {
            for (word_of, &[first, second]) in words.iter_mut().zip(whole) {
                *word_of = word(first, second);
            }
        },
    );
    if let ([.., last], [rest]) = (words, rest) {
        *last = word(*rest, N::ZERO);
    }
}

/// A right matrix (steps x columns), rounded to bf16 and packed, with zeros beyond its steps. Words beyond its
/// columns are arbitrary: products with them are not written.
pub struct Strips {
    words: Vec<Word>,
    pairs: usize,
    pub steps: usize,
    pub columns: usize,
}

impl Strips {
    /// Packs a matrix whose rows or columns are contiguous.
    ///
    /// # Panics
    /// If neither rows nor columns are contiguous.
    pub fn new<N: Number<Sum = f32>>(matrix: Matrix<N>) -> Self {
        match (matrix.as_rows(), matrix.transposed().as_rows()) {
            (Some((numbers, stride)), _) => Self::from_steps(numbers, matrix.rows, matrix.columns, stride),
            (None, Some((numbers, stride))) => {
                Self::from_columns(numbers, matrix.columns, matrix.rows, stride)
            }
            (None, None) => panic!("neither rows nor columns are contiguous"),
        }
    }

    /// Packs rows of `columns` numbers, which begin `stride` numbers apart; one row is one step.
    ///
    /// # Panics
    /// If there are fewer numbers.
    pub fn from_steps<N: Number<Sum = f32>>(
        numbers: &[N],
        steps: usize,
        columns: usize,
        stride: usize,
    ) -> Self {
        let groups = columns.div_ceil(STRIP);
        let words = pack_steps(numbers, steps, stride, groups, |strip| {
            strip * STRIP..columns.min((strip + 1) * STRIP)
        });
        Self { words, pairs: steps.div_ceil(2), steps, columns }
    }

    /// Packs rows of `steps` numbers, which begin `stride` numbers apart; one row is one column of the matrix.
    ///
    /// # Panics
    /// If there are fewer numbers.
    pub fn from_columns<N: Number<Sum = f32>>(
        numbers: &[N],
        columns: usize,
        steps: usize,
        stride: usize,
    ) -> Self {
        assert!(columns == 0 || (columns - 1) * stride + steps <= numbers.len(), "numbers of a matrix");
        let (pairs, strips) = (steps.div_ceil(2), columns.div_ceil(STRIP));
        // SAFETY: the words of columns are written, and no others are used.
        let mut words = unsafe { unwritten::<Word>(strips * pairs * STRIP) };
        let turn = |(strip, words): (usize, &mut [Word])| {
            let (words, _) = words.as_chunks_mut::<STRIP>();
            let count = STRIP.min(columns - strip * STRIP);
            let mut rows = vec![0; count * pairs];
            for (column, row) in rows.chunks_exact_mut(pairs.max(1)).enumerate() {
                fill_words(&numbers[(strip * STRIP + column) * stride..][..steps], row);
            }
            into_strip(&rows, count, pairs, words);
        };
        let size = (pairs * STRIP).max(1);
        match words.len() >= MANY {
            true => words.par_chunks_mut(size).enumerate().for_each(turn),
            false => words.chunks_mut(size).enumerate().for_each(turn),
        }
        Self { words, pairs, steps, columns }
    }

    fn strip(&self, index: usize) -> &[[Word; STRIP]] {
        self.words[index * self.pairs * STRIP..][..self.pairs * STRIP].as_chunks().0
    }
}

/// Packs `count` groups of the columns of rows that begin `stride` numbers apart; one row is one step.
fn pack_steps<N: Number<Sum = f32>>(
    numbers: &[N],
    steps: usize,
    stride: usize,
    count: usize,
    group: impl Fn(usize) -> Range<usize>,
) -> Vec<Word> {
    let pairs = steps.div_ceil(2);
    let groups: Vec<Range<usize>> = (0..count).map(group).collect();
    fill_groups(
        pairs,
        &groups,
        #[inline(always)]
        |pair, columns, words| {
            let upper = &numbers[2 * pair * stride..];
            let lower = numbers.get((2 * pair + 1) * stride..).filter(|_| 2 * pair + 1 < steps);
            interleave(upper, lower.unwrap_or(&[]), columns, words);
        },
    )
}

/// Writes the words of some columns from two steps' numbers; `second` is empty if there is no second step.
#[inline(always)]
fn interleave<N: Number<Sum = f32>>(
    first: &[N],
    second: &[N],
    columns: &Range<usize>,
    words: &mut [Word; STRIP],
) {
    let sixteen =
        |numbers: &'_ [N]| numbers.get(columns.start..).and_then(<[N]>::first_chunk::<STRIP>).copied();
    if let (Some(first), Some(second)) = (sixteen(first), sixteen(second)) {
        // Numbers beyond the group's columns are harmless: products with them are not written.
        for lane in 0..STRIP {
            words[lane] = word(first[lane], second[lane]);
        }
        return;
    }
    for (words, column) in words.iter_mut().zip(columns.clone()) {
        *words = word(first[column], second.get(column).copied().unwrap_or(N::ZERO));
    }
}

/// A left matrix (rows x steps), by pairs of steps.
pub enum Left<'a> {
    /// An even number of steps in rows that begin `stride` numbers apart.
    Rows { numbers: Cow<'a, [bf16]>, rows: usize, steps: usize, stride: usize },
    /// Packed by blocks of rows: for each pair of steps the words of a block's rows, in a slot of sixteen.
    Blocks { words: Vec<Word>, rows: usize, pairs: usize },
}

impl<'a> Left<'a> {
    /// Takes rows of `steps` numbers, which begin `stride` numbers apart; copies them, each with a zero at the end, if
    /// the number of steps is odd.
    ///
    /// # Panics
    /// If there are fewer numbers.
    pub fn from_rows(numbers: &'a [bf16], rows: usize, steps: usize, stride: usize) -> Self {
        assert!(rows == 0 || (rows - 1) * stride + steps <= numbers.len(), "numbers of a matrix");
        if steps.is_multiple_of(2) {
            return Self::Rows { numbers: Cow::Borrowed(numbers), rows, steps, stride };
        }
        // SAFETY: every row is written whole.
        let mut padded = unsafe { unwritten(rows * (steps + 1)) };
        for (row, padded) in padded.chunks_exact_mut(steps + 1).enumerate() {
            padded[..steps].copy_from_slice(&numbers[row * stride..][..steps]);
            padded[steps] = bf16::ZERO;
        }
        Self::Rows { numbers: Cow::Owned(padded), rows, steps: steps + 1, stride: steps + 1 }
    }

    /// Packs the transpose: `steps` rows of `rows` numbers, which begin `stride` numbers apart.
    ///
    /// # Panics
    /// If there are fewer numbers.
    pub fn from_steps(numbers: &[bf16], steps: usize, rows: usize, stride: usize) -> Self {
        let blocks = rows.div_ceil(rows_of_blocks());
        let words = pack_steps(numbers, steps, stride, blocks, |block| {
            let (start, end) = block_rows(block, rows);
            start..end
        });
        Self::Blocks { words, rows, pairs: steps.div_ceil(2) }
    }

    fn rows(&self) -> usize {
        match *self {
            Self::Rows { rows, .. } | Self::Blocks { rows, .. } => rows,
        }
    }

    fn pairs(&self) -> usize {
        match *self {
            Self::Rows { steps, .. } => steps / 2,
            Self::Blocks { pairs, .. } => pairs,
        }
    }

    /// Returns a pointer to the first number of a block whose first row is `row`, and the strides of rows and of
    /// pairs, in numbers.
    fn block(&self, block: usize, row: usize) -> (*const bf16, usize, usize) {
        match self {
            Self::Rows { numbers, stride, .. } => (numbers[row * stride..].as_ptr(), *stride, 2),
            Self::Blocks { words, pairs, .. } => {
                (words[block * pairs * STRIP..].as_ptr().cast(), 2, 2 * STRIP)
            }
        }
    }
}

/// Returns the rows of a block: at most [`ROWS`], all blocks about equally many.
fn block_rows(block: usize, rows: usize) -> (usize, usize) {
    let blocks = rows.div_ceil(rows_of_blocks());
    (block * rows / blocks, (block + 1) * rows / blocks)
}

/// `out = left right` (or as `write` says) on this thread.
///
/// # Panics
/// If shapes do not fit each other.
pub fn multiply<N: Number<Sum = f32>>(out: Output<N>, left: &Left, right: &Strips, write: Write<f32>) {
    assert_eq!((out.rows, out.columns), (left.rows(), right.columns), "shape of a product");
    let (start, stride) = out.raw_parts();
    let product = Product::new(start, stride, left, right, write);
    // SAFETY: `out` is a mutable borrow, consumed here, and as large as the product.
    unsafe { product.piece(0..left.rows().div_ceil(rows_of_blocks()), 0..right.columns.div_ceil(2 * STRIP)) }
}

/// Like [`multiply`], into contiguous rows, shared among rayon's threads.
///
/// # Panics
/// If shapes do not fit each other.
pub fn multiply_parallel<N: Number<Sum = f32>>(
    out: &mut [N],
    left: &Left,
    right: &Strips,
    write: Write<f32>,
) {
    assert_eq!(out.len(), left.rows() * right.columns, "{} x {} product", left.rows(), right.columns);
    let product = Product::new(out.as_mut_ptr(), right.columns, left, right, write);
    let (blocks, strips) = (left.rows().div_ceil(rows_of_blocks()), right.columns.div_ceil(2 * STRIP));
    // At least four equal pieces, so that two or four threads finish together.
    let side = |count: usize, most: usize, longest: bool| {
        let pieces = count.div_ceil(most);
        count.div_ceil(if longest { pieces.next_multiple_of(4) } else { pieces }.max(1)).max(1)
    };
    let (tall, wide) =
        (side(blocks, TASK_BLOCKS, blocks >= strips), side(strips, TASK_STRIPS, strips > blocks));
    let across = strips.div_ceil(wide);
    (0..blocks.div_ceil(tall) * across).into_par_iter().for_each(|index| {
        let (block, strip) = (index / across * tall, index % across * wide);
        // SAFETY: `out` is borrowed mutably for the call and pieces do not overlap.
        unsafe { product.piece(block..blocks.min(block + tall), strip..strips.min(strip + wide)) }
    });
}

/// A product and its destination.
struct Product<'a, N> {
    out: *mut N,
    stride: usize,
    left: &'a Left<'a>,
    right: &'a Strips,
    write: Write<'a, f32>,
}

// SAFETY: whoever shares a product writes disjoint pieces, as `piece` requires.
unsafe impl<N: Number> Sync for Product<'_, N> {}

impl<'a, N: Number<Sum = f32>> Product<'a, N> {
    fn new(out: *mut N, stride: usize, left: &'a Left, right: &'a Strips, write: Write<'a, f32>) -> Self {
        assert_eq!(left.pairs(), right.pairs, "inner lengths of a product");
        if let Write::WithRow(row) = write {
            assert_eq!(row.len(), right.columns, "row added to a product");
        }
        Self { out, stride, left, right, write }
    }

    /// Computes some blocks of rows for some pairs of strips.
    ///
    /// # Safety
    /// `out` points to rows of the product, `stride` apart; no other code may access the numbers of these blocks
    /// and pairs during the call.
    unsafe fn piece(&self, blocks: Range<usize>, strips: Range<usize>) {
        let Self { left, right, .. } = *self;
        let mut sums = [[[0.0; STRIP]; 2]; ROWS];
        for pair in strips {
            let first = right.strip(2 * pair);
            let columns = (right.columns - 2 * pair * STRIP).min(2 * STRIP);
            let second = if columns > STRIP { right.strip(2 * pair + 1) } else { &[] };
            for block in blocks.clone() {
                let (start, end) = block_rows(block, left.rows());
                let (numbers, row_stride, pair_stride) = left.block(block, start);
                let task = Block { left: numbers, row_stride, pair_stride, right: [first, second] };
                // SAFETY: the left matrix has these rows, with as many pairs as strips have words.
                unsafe { task.multiply(&mut sums[..end - start]) };
                // SAFETY: guaranteed by the caller.
                unsafe { self.store(&sums[..end - start], start, 2 * pair * STRIP, columns) };
            }
        }
    }

    /// Writes the sums of some rows and columns.
    ///
    /// # Safety
    /// As for [`Self::piece`].
    unsafe fn store(&self, sums: &[[[f32; STRIP]; 2]], first: usize, column: usize, columns: usize) {
        let added = match self.write {
            Write::WithRow(row) => &row[column..][..columns],
            _ => &[],
        };
        vectorised(
            #[inline(always)]
            || {
                for (row, sums) in sums.iter().enumerate() {
                    // SAFETY: the row and the columns exist; the rest is guaranteed by the caller.
                    let out = unsafe {
                        std::slice::from_raw_parts_mut(
                            self.out.add((first + row) * self.stride + column),
                            columns,
                        )
                    };
                    let sums = sums.as_flattened();
                    match self.write {
                        Write::Replace => {
                            out.iter_mut().zip(sums).for_each(|(out, &sum)| *out = N::narrow(sum));
                        }
                        Write::Add => out
                            .iter_mut()
                            .zip(sums)
                            .for_each(|(out, &sum)| *out = N::narrow(out.widen() + sum)),
                        Write::WithRow(_) => out
                            .iter_mut()
                            .zip(sums.iter().zip(added))
                            .for_each(|(out, (&sum, &added))| *out = N::narrow(sum + added)),
                    }
                }
            },
        );
    }
}

/// Some rows of a left matrix and one or two strips.
struct Block<'a> {
    left: *const bf16,
    row_stride: usize,
    pair_stride: usize,
    /// The second is empty if there is only one.
    right: [&'a [[Word; STRIP]]; 2],
}

impl Block<'_> {
    /// Fills the sums of each row.
    ///
    /// # Safety
    /// `left` points to as many rows as there are sums, with as many pairs as strips have words.
    unsafe fn multiply(&self, sums: &mut [[[f32; STRIP]; 2]]) {
        #[cfg(target_arch = "x86_64")]
        if native::is_available() {
            // SAFETY: the machine has the instructions; the rest is guaranteed by the caller.
            return unsafe { native::multiply(self, sums) };
        }
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the machine has both; the rest is guaranteed by the caller.
            return unsafe { avx2::multiply(self, sums) };
        }
        // SAFETY: guaranteed by the caller.
        unsafe { self.multiply_plain(sums) }
    }

    /// The kernels' twin, in plain loops.
    ///
    /// # Safety
    /// As for [`Self::multiply`].
    unsafe fn multiply_plain(&self, sums: &mut [[[f32; STRIP]; 2]]) {
        vectorised(
            #[inline(always)]
            || {
                for (row, sums) in sums.iter_mut().enumerate() {
                    for (strip, sums) in self.right.iter().zip(sums) {
                        let mut left = self.left.wrapping_add(row * self.row_stride);
                        let mut lanes = [0.0_f32; STRIP];
                        for words in *strip {
                            // SAFETY: guaranteed by the caller.
                            let x = unsafe { left.cast::<Word>().read_unaligned() };
                            let (even, odd) = halves(x);
                            for (sum, &word) in lanes.iter_mut().zip(words) {
                                let (even_word, odd_word) = halves(word);
                                *sum = even.mul_add(even_word, odd.mul_add(odd_word, *sum));
                            }
                            left = left.wrapping_add(self.pair_stride);
                        }
                        *sums = lanes;
                    }
                }
            },
        );
    }
}

/// Splits a word into its two numbers.
#[inline(always)]
fn halves(word: Word) -> (f32, f32) {
    (f32::from_bits(word << 16), f32::from_bits(word & 0xffff_0000))
}

#[cfg(target_arch = "x86_64")]
mod native {
    use std::{arch::x86_64::*, mem::transmute};

    use half::bf16;

    use super::{
        super::broadcast::{Rows, broadcast_512, each_row, for_rows},
        Block, STRIP, Word,
    };

    /// Returns whether the machine has the instructions of [`multiply`].
    pub fn is_available() -> bool {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
    }

    /// # Safety
    /// As for [`Block::multiply`], on a machine that has the instructions.
    pub unsafe fn multiply(block: &Block, sums: &mut [[[f32; STRIP]; 2]]) {
        // SAFETY: guaranteed by the caller.
        unsafe { for_rows!(sums.len(), rows(block, sums), 1 2 3 4 5 6 7 8 9 10 11 12 13 14) }
    }

    /// # Safety
    /// As for [`multiply`], with `R` rows.
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn rows<const R: usize>(block: &Block, out: &mut [[[f32; STRIP]; 2]]) {
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        let [first, second] = block.right;
        let second = if second.is_empty() { first } else { second };
        let mut left = Rows::new(block.left.cast(), block.row_stride * size_of::<bf16>());
        // References, not pointers: builds with assertions check every pointer that is read.
        for (first, second) in first.iter().zip(second) {
            // SAFETY: sixteen words have the size of as many pairs of bf16.
            let right: [__m512bh; 2] =
                unsafe { [first, second].map(|words| transmute::<[Word; STRIP], __m512bh>(*words)) };
            each_row!(R, |row| {
                // SAFETY: guaranteed by the caller; a register holds as many pairs of bf16 as f32.
                let x: __m512bh = unsafe { transmute(broadcast_512(&left, row)) };
                sums[row][0] = _mm512_dpbf16_ps(sums[row][0], x, right[0]);
                sums[row][1] = _mm512_dpbf16_ps(sums[row][1], x, right[1]);
            });
            left.advance(block.pair_stride * size_of::<bf16>());
        }
        for (out, sums) in out.iter_mut().zip(&sums) {
            for (out, sum) in out.iter_mut().zip(sums) {
                // SAFETY: the destination holds sixteen numbers.
                unsafe { _mm512_storeu_ps(out.as_mut_ptr(), *sum) };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::{arch::x86_64::*, mem::transmute};

    use half::bf16;

    use super::{
        super::broadcast::{Rows, broadcast_256, each_row, for_rows},
        Block, STRIP, Word,
    };

    /// Rows of the kernel: eight of 16 registers hold sums, six a strip's and a row's numbers.
    const ROWS: usize = 4;

    /// # Safety
    /// As for [`Block::multiply`], on a machine with AVX2 and FMA.
    pub unsafe fn multiply(block: &Block, sums: &mut [[[f32; STRIP]; 2]]) {
        let (count, pieces) = (sums.len(), sums.len().div_ceil(ROWS));
        for strip in 0..block.right.iter().filter(|strip| !strip.is_empty()).count() {
            for piece in 0..pieces {
                let (start, end) = (piece * count / pieces, (piece + 1) * count / pieces);
                let left = block.left.wrapping_add(start * block.row_stride);
                let (block, sums) = (Block { left, ..*block }, &mut sums[start..end]);
                // SAFETY: guaranteed by the caller.
                unsafe { for_rows!(sums.len(), rows(&block, strip, sums), 1 2 3 4) }
            }
        }
    }

    /// Fills the sums of one strip.
    ///
    /// # Safety
    /// As for [`multiply`], with `R` rows.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn rows<const R: usize>(block: &Block, strip: usize, out: &mut [[[f32; STRIP]; 2]]) {
        let upper = _mm256_set1_epi32(0xffff_0000_u32.cast_signed());
        let even = |words: __m256i| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(words));
        let odd = |words: __m256i| _mm256_castsi256_ps(_mm256_and_si256(words, upper));
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        let mut left = Rows::new(block.left.cast(), block.row_stride * size_of::<bf16>());
        for words in block.right[strip] {
            // SAFETY: both types are sixteen words.
            let words: [__m256i; 2] = unsafe { transmute::<[Word; STRIP], [__m256i; 2]>(*words) };
            let (even_right, odd_right) = (words.map(even), words.map(odd));
            each_row!(R, |row| {
                // SAFETY: guaranteed by the caller.
                let x = _mm256_castps_si256(unsafe { broadcast_256(&left, row) });
                let (even_left, odd_left) = (even(x), odd(x));
                for (half, sum) in sums[row].iter_mut().enumerate() {
                    let of_odd = _mm256_fmadd_ps(odd_left, odd_right[half], *sum);
                    *sum = _mm256_fmadd_ps(even_left, even_right[half], of_odd);
                }
            });
            left.advance(block.pair_stride * size_of::<bf16>());
        }
        for (out, sums) in out.iter_mut().zip(&sums) {
            // SAFETY: both types are sixteen f32.
            out[strip] = unsafe { transmute::<[__m256; 2], [f32; STRIP]>(*sums) };
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::seed::Seed;

    fn numbers(name: &str, count: usize) -> Vec<bf16> {
        let mut stream = Seed::root(0).child(name).stream();
        (0..count).map(|_| bf16::narrow(stream.normal() as f32)).collect()
    }

    /// The sum by definition: pairs of steps in order, the odd step first.
    fn definition(steps: usize, left: impl Fn(usize) -> bf16, right: impl Fn(usize) -> bf16) -> f32 {
        let at = |number: &dyn Fn(usize) -> bf16, step| if step < steps { number(step).widen() } else { 0.0 };
        (0..steps.div_ceil(2)).fold(0.0, |sum: f32, pair| {
            let odd = at(&left, 2 * pair + 1).mul_add(at(&right, 2 * pair + 1), sum);
            at(&left, 2 * pair).mul_add(at(&right, 2 * pair), odd)
        })
    }

    #[rstest]
    fn products_are_those_of_the_definition_to_the_bit(
        #[values(1, 2, 13, 14, 15, 29, 300)] rows: usize,
        #[values(1, 15, 16, 17, 32, 33)] columns: usize,
        #[values(1, 2, 7, 38)] steps: usize,
    ) {
        let (left, right) = (numbers("left", rows * steps), numbers("right", steps * columns));
        let turned = |matrix: &[bf16], down: usize, across: usize| -> Vec<bf16> {
            (0..down * across).map(|i| matrix[i % down * across + i / down]).collect()
        };
        let added: Vec<f32> = (0..columns).map(|column| column as f32).collect();
        let (left_turned, right_turned) = (turned(&left, rows, steps), turned(&right, steps, columns));
        for transposed in [false, true] {
            let left_packed = match transposed {
                false => Left::from_rows(&left, rows, steps, steps),
                true => Left::from_steps(&left_turned, steps, rows, rows),
            };
            let right_packed = match transposed {
                false => Strips::new(Matrix::new(&right, steps, columns)),
                true => Strips::new(Matrix::new(&right_turned, columns, steps).transposed()),
            };
            let mut out = vec![0.0_f32; rows * columns];
            multiply_parallel(&mut out, &left_packed, &right_packed, Write::Replace);
            let mut rounded = vec![bf16::ZERO; rows * (columns + 3)];
            let part = Output::part(&mut rounded, rows, columns, columns + 3);
            multiply(part, &left_packed, &right_packed, Write::WithRow(&added));
            for (place, &found) in out.iter().enumerate() {
                let (row, column) = (place / columns, place % columns);
                let expected =
                    definition(steps, |step| left[row * steps + step], |step| right[step * columns + column]);
                assert_eq!(found.to_bits(), expected.to_bits(), "{row}, {column}");
                let found = rounded[row * (columns + 3) + column];
                assert_eq!(found, bf16::narrow(expected + added[column]), "{row}, {column}");
            }
            multiply_parallel(&mut out, &left_packed, &right_packed, Write::Add);
            let first = definition(steps, |step| left[step], |step| right[step * columns]);
            assert_eq!(out[0], first + first);
        }
    }

    /// So many words that several threads pack them, and so many columns that these are shared in pieces.
    #[test]
    fn many_columns_are_packed_and_multiplied_whole() {
        let (rows, steps, columns) = (3, 433, 301);
        let (left, right) = (numbers("left", rows * steps), numbers("right", steps * columns));
        let turned: Vec<bf16> =
            (0..columns * steps).map(|at| right[at % steps * columns + at / steps]).collect();
        assert!(columns.div_ceil(STRIP) * steps.div_ceil(2) * STRIP >= MANY);
        let strips = [
            Strips::new(Matrix::new(&right, steps, columns)),
            Strips::new(Matrix::new(&turned, columns, steps).transposed()),
        ];
        for strips in &strips {
            let mut out = vec![0.0_f32; rows * columns];
            multiply_parallel(&mut out, &Left::from_rows(&left, rows, steps, steps), strips, Write::Replace);
            for (place, found) in out.iter().enumerate() {
                let (row, column) = (place / columns, place % columns);
                let expected =
                    definition(steps, |step| left[row * steps + step], |step| right[step * columns + column]);
                assert_eq!(found.to_bits(), expected.to_bits(), "{row}, {column}");
            }
        }
    }

    /// A row's sums of two strips.
    type Pair = [[f32; STRIP]; 2];

    #[test]
    fn all_kernels_give_the_same_bits() {
        let (left, right) = (numbers("left", 14 * 38), numbers("right", 38 * 32));
        let right = Strips::from_steps(&right, 38, 32, 32);
        for (rows, strips) in [(14, 2), (12, 2), (5, 1), (1, 2)] {
            let block = Block {
                left: left.as_ptr(),
                row_stride: 38,
                pair_stride: 2,
                right: [right.strip(0), if strips == 2 { right.strip(1) } else { &[] }],
            };
            let sums_of = |multiply: &dyn Fn(&mut [Pair])| {
                let mut sums = [[[0.0; STRIP]; 2]; ROWS];
                multiply(&mut sums[..rows]);
                sums.map(|sums| sums[..strips].concat())
            };
            // SAFETY: there are fourteen rows of nineteen pairs, and kernels are called only if the machine supports
            // them.
            unsafe {
                let plain = sums_of(&|sums| block.multiply_plain(sums));
                assert_eq!(sums_of(&|sums| block.multiply(sums)), plain);
                #[cfg(target_arch = "x86_64")]
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    assert_eq!(sums_of(&|sums| avx2::multiply(&block, sums)), plain);
                }
            }
        }
    }

    #[test]
    fn rounding_is_that_of_half() {
        let mut stream = Seed::root(0).child("bits").stream();
        let special = [0.0, -0.0, f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1e-40];
        for x in special.into_iter().chain((0..100_000).map(|_| f32::from_bits(stream.below(1 << 32) as u32)))
        {
            let (found, expected) = (bf16::narrow(x), bf16::from_f32(x));
            assert_eq!(found.to_bits(), expected.to_bits(), "{x:e}");
            assert!(x.is_nan() || found.widen().to_bits() == expected.to_f32().to_bits());
        }
    }
}
