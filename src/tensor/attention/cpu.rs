//! Attention on the CPU. One task handles one image and head.

use candle_core::{CpuStorage, DType, Layout, Result, Shape, Tensor, backend::BackendStorage, bail};
use half::bf16;
use rayon::prelude::*;

use crate::tensor::{
    cpu::{
        exponential::Exponential,
        lanes::{LANES, sum},
        matrix::{multiply, multiply_into},
        operands::{Matrix, Output, Write},
        storage::{Number, Real, constant, resize_unwritten, unsupported, unwritten, values, with_values},
        vector::vectorised,
    },
    graph::{
        chain::apply,
        operation::{Gradients, OnCpu, Operation},
    },
};

/// Like [`crate::tensor::attention()`]; only the first `queries` tokens attend, to all tokens.
pub fn attention(joined: &Tensor, heads: usize, queries: usize) -> Result<Tensor> {
    apply(&[&joined.contiguous()?], Attention { heads, queries })
}

/// Attention as an operation.
///
/// A head's numbers are widened once if they are bf16, and only results are rounded. The backward pass recomputes the
/// probabilities: in cache that takes no longer than reading them from memory.
struct Attention {
    heads: usize,
    queries: usize,
}

/// Sizes of an input.
#[derive(Clone, Copy)]
struct Sizes {
    tokens: usize,
    /// How many tokens attend.
    queries: usize,
    width: usize,
    heads: usize,
}

impl Sizes {
    fn head_width(self) -> usize {
        self.width / self.heads
    }

    /// Returns the row length of the probabilities P, padded to whole vectors.
    fn row(self) -> usize {
        self.tokens.next_multiple_of(LANES)
    }

    fn scale<T: Real>(self) -> T {
        T::from_f64(1.0 / (self.head_width() as f64).sqrt())
    }

    /// Returns the joined rows of an image, of a pair of an image and a head.
    fn of_image<N>(self, joined: &[N], pair: usize) -> &[N] {
        let image = self.tokens * 3 * self.width;
        &joined[pair / self.heads * image..][..image]
    }

    /// Returns the queries of the tokens that attend, and the keys and values of all.
    fn parts<'a, N: Number>(
        self,
        image: &'a [N],
        head: usize,
        wide: &'a mut [Vec<N::Sum>; 3],
    ) -> [Matrix<'a, N::Sum>; 3] {
        let [queries, keys, values] = wide;
        let parts = [(0, self.queries, queries), (1, self.tokens, keys), (2, self.tokens, values)];
        parts.map(|(part, rows, wide)| {
            let first = part * self.width + head * self.head_width();
            read(&image[first..], (rows, self.head_width()), 3 * self.width, wide)
        })
    }
}

/// Describes `rows` rows of `columns` numbers, `stride` apart, as numbers of the type of sums: where they are if they
/// have that type, else copied to `wide`.
fn read<'a, N: Number>(
    numbers: &'a [N],
    (rows, columns): (usize, usize),
    stride: usize,
    wide: &'a mut Vec<N::Sum>,
) -> Matrix<'a, N::Sum> {
    if let Some(numbers) = N::as_sums(numbers) {
        return Matrix::part(numbers, rows, columns, stride);
    }
    // SAFETY: every number is written.
    unsafe { resize_unwritten(wide, rows * columns) };
    vectorised(
        #[inline(always)]
        || {
            for (wide, numbers) in wide.chunks_exact_mut(columns.max(1)).zip(numbers.chunks(stride)) {
                wide.iter_mut().zip(numbers).for_each(|(wide, x)| *wide = x.widen());
            }
        },
    );
    Matrix::new(wide, rows, columns)
}

/// `out = left right`, each number rounded once; `wide` is used if `out` is not of the type of sums.
fn multiply_and_round<N: Number>(
    out: Output<N>,
    left: Matrix<N::Sum>,
    right: Matrix<N::Sum>,
    wide: &mut Vec<N::Sum>,
) {
    match N::output_of_sums(out) {
        Ok(out) => multiply_into(out, left, right, Write::Replace),
        Err(out) => {
            // SAFETY: the product writes every number.
            unsafe { resize_unwritten(wide, out.rows * out.columns) };
            multiply(wide, left, right, Write::Replace);
            narrow(wide, out);
        }
    }
}

/// Rounds numbers and writes them to their places.
fn narrow<N: Number>(wide: &[N::Sum], mut out: Output<N>) {
    let width = out.columns;
    vectorised(
        #[inline(always)]
        || {
            out.each_row(
                #[inline(always)]
                |row, out| {
                    out.iter_mut().zip(&wide[row * width..]).for_each(|(out, &x)| *out = N::narrow(x));
                },
            );
        },
    );
}

impl Attention {
    fn sizes(&self, shape: &Shape) -> Result<Sizes> {
        let (_, tokens, joined) = shape.dims3()?;
        let heads = self.heads;
        if heads == 0 || joined == 0 || !joined.is_multiple_of(3 * heads) {
            bail!("attention: expected three times a multiple of {heads} heads, found {shape:?}")
        }
        if self.queries > tokens {
            bail!("attention: {} of {tokens} tokens attend", self.queries)
        }
        Ok(Sizes { tokens, queries: self.queries, width: joined / 3, heads })
    }

    fn forward<N>(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)>
    where
        N: Number<Sum: Exponential>,
    {
        let sizes = self.sizes(layout.shape())?;
        let joined = values::<N>(storage, layout)?;
        let batch = layout.dims()[0];
        // SAFETY: every pair of an image and a head writes its band of columns, and the bands cover all columns.
        let mut out = unsafe { unwritten(batch * sizes.queries * sizes.width) };
        let pairs: Vec<(usize, Output<N>)> = out
            .chunks_mut((sizes.queries * sizes.width).max(1))
            .flat_map(|image| Output::new(image, sizes.queries, sizes.width).bands(sizes.head_width()))
            .enumerate()
            .collect();
        pairs.into_par_iter().for_each_init(Head::default, |head, (pair, out)| {
            head.attend(sizes, sizes.of_image(joined, pair), pair % sizes.heads, out);
        });
        Ok((N::to_cpu_storage_owned(out), (batch, sizes.queries, sizes.width).into()))
    }

    fn gradient<N>(&self, joined: &Tensor, gradient: &Tensor) -> Result<Tensor>
    where
        N: Number<Sum: Exponential>,
    {
        let sizes = self.sizes(joined.shape())?;
        // SAFETY: every pair writes its bands of columns: those of queries, keys and values.
        let mut by_joined = unsafe { unwritten(joined.elem_count()) };
        let image = sizes.tokens * sizes.width;
        with_values::<N, _, _>([joined, gradient], |[joined, gradient]| {
            let mut pairs = Vec::with_capacity(joined.len() / (3 * image).max(1) * sizes.heads);
            for by_image in by_joined.chunks_mut((3 * image).max(1)) {
                let bands = Output::new(by_image, sizes.tokens, 3 * sizes.width);
                let mut bands: Vec<_> = bands.bands(sizes.head_width()).map(Some).collect();
                for head in 0..sizes.heads {
                    pairs.push([0, 1, 2].map(|part| bands[part * sizes.heads + head].take()));
                }
            }
            let work = |head: &mut Head<N>, (pair, made): (usize, [Option<Output<N>>; 3])| {
                let (image, index) = (pair / sizes.heads, pair % sizes.heads);
                let gradient = &gradient[image * sizes.queries * sizes.width + index * sizes.head_width()..];
                head.backward(sizes, sizes.of_image(joined, pair), index, gradient, made);
            };
            pairs.into_par_iter().enumerate().for_each_init(Head::default, work);
            Ok(())
        })?;
        Ok(constant(by_joined, joined.shape()))
    }
}

/// Buffers for one head at a time.
struct Head<N: Number> {
    /// Queries, keys and values, widened.
    parts: [Vec<N::Sum>; 3],
    /// The output's gradient, widened.
    gradient: Vec<N::Sum>,
    probabilities: Vec<N::Sum>,
    by_scores: Vec<N::Sum>,
    /// A result that is to be rounded.
    made: Vec<N::Sum>,
}

impl<N: Number> Default for Head<N> {
    fn default() -> Self {
        Self {
            parts: Default::default(),
            gradient: Vec::new(),
            probabilities: Vec::new(),
            by_scores: Vec::new(),
            made: Vec::new(),
        }
    }
}

impl<N: Number<Sum: Exponential>> Head<N> {
    /// Computes the output of head `index` of an image with the joined rows `image`.
    fn attend(&mut self, sizes: Sizes, image: &[N], index: usize, out: Output<N>) {
        let [queries, keys, values] = sizes.parts(image, index, &mut self.parts);
        find_probabilities(&mut self.probabilities, sizes, queries, keys);
        let probabilities = Matrix::part(&self.probabilities, sizes.queries, sizes.tokens, sizes.row());
        multiply_and_round(out, probabilities, values, &mut self.made);
    }

    /// Computes gradients with respect to a head's queries, keys and values. `gradient` begins with the head's part of
    /// the first row of the output's gradient.
    fn backward(
        &mut self,
        sizes: Sizes,
        image: &[N],
        index: usize,
        gradient: &[N],
        made: [Option<Output<N>>; 3],
    ) {
        let [by_queries, by_keys, by_values] = made.map(|made| made.expect("a band for each part"));
        let Sizes { tokens, queries: asking, .. } = sizes;
        let row = sizes.row();
        let [queries, keys, values] = sizes.parts(image, index, &mut self.parts);
        let by_out = read(gradient, (asking, sizes.head_width()), sizes.width, &mut self.gradient);
        find_probabilities(&mut self.probabilities, sizes, queries, keys);
        let probabilities = Matrix::part(&self.probabilities, asking, tokens, row);
        multiply_and_round(by_values, probabilities.transposed(), by_out, &mut self.made);
        self.by_scores.resize(asking * row, N::Sum::ZERO);
        let product = Output::part(&mut self.by_scores, asking, tokens, row);
        multiply_into(product, by_out, values.transposed(), Write::Replace);
        let scale = sizes.scale::<N::Sum>();
        vectorised(
            #[inline(always)]
            || {
                let rows = self.by_scores.chunks_exact_mut(row).zip(self.probabilities.chunks_exact(row));
                rows.for_each(
                    #[inline(always)]
                    |(by_scores, probabilities)| softmax_gradient(by_scores, probabilities, scale),
                );
            },
        );
        let slopes = Matrix::part(&self.by_scores, asking, tokens, row);
        multiply_and_round(by_keys, slopes.transposed(), queries, &mut self.made);
        let (by_asking, by_others) = by_queries.split_rows(asking);
        multiply_and_round(by_asking, slopes, keys, &mut self.made);
        // Queries of tokens that do not attend change nothing.
        if let Some(mut by_others) = by_others {
            by_others.each_row(
                #[inline(always)]
                |_, out| out.fill(N::ZERO),
            );
        }
    }
}

/// Computes the softmax of the scores, each row padded with zeros.
fn find_probabilities<T: Exponential>(
    probabilities: &mut Vec<T>,
    sizes: Sizes,
    queries: Matrix<T>,
    keys: Matrix<T>,
) {
    let row = sizes.row();
    // SAFETY: the product writes the scores, and `softmax` the padding behind them.
    unsafe { resize_unwritten(probabilities, sizes.queries * row) };
    let scores = Output::part(probabilities, sizes.queries, sizes.tokens, row);
    multiply_into(scores, queries, keys.transposed(), Write::Replace);
    let scale = sizes.scale::<T>();
    vectorised(
        #[inline(always)]
        || {
            for row in probabilities.chunks_exact_mut(row) {
                softmax(row, sizes.tokens, scale);
            }
        },
    );
}

/// Replaces a row of gradients with respect to probabilities, padded with zeros, by those with respect to scores:
/// dS = P (dP - sum of P dP) scale.
#[inline(always)]
fn softmax_gradient<T: Real>(row: &mut [T], probabilities: &[T], scale: T) {
    let sum = sum(
        [&*row, probabilities],
        #[inline(always)]
        |[by, probability]| by * probability,
    );
    for (by, &probability) in row.iter_mut().zip(probabilities) {
        *by = probability * (*by - sum) * scale;
    }
}

/// Replaces the first `length` of a row's scores by softmax(scale scores), the rest by zeros.
#[inline(always)]
fn softmax<T: Exponential>(row: &mut [T], length: usize, scale: T) {
    let first = row[0];
    row[length..].fill(first);
    let (chunks, _) = row.as_chunks_mut::<LANES>();
    let mut largest = [first; LANES];
    for chunk in &*chunks {
        for (largest, &x) in largest.iter_mut().zip(chunk) {
            *largest = if x > *largest { x } else { *largest };
        }
    }
    let largest = largest.into_iter().fold(first, |most, x| if x > most { x } else { most });
    for chunk in &mut *chunks {
        for x in chunk {
            *x = T::exponential((*x - largest) * scale, T::zero());
        }
    }
    row[length..].fill(T::zero());
    let (chunks, _) = row.as_chunks_mut::<LANES>();
    let mut sums = [T::zero(); LANES];
    for chunk in &*chunks {
        for (sum, &x) in sums.iter_mut().zip(chunk) {
            *sum += x;
        }
    }
    let share = T::one() / sums.into_iter().fold(T::zero(), |sum, x| sum + x);
    for chunk in chunks {
        for x in chunk {
            *x *= share;
        }
    }
}

impl Operation for Attention {
    const NAME: &'static str = "attention";

    fn on_cpu(&self, arguments: &[OnCpu]) -> Result<(CpuStorage, Shape)> {
        let (storage, layout) = arguments[0];
        match storage.dtype() {
            DType::BF16 => self.forward::<bf16>(storage, layout),
            DType::F32 => self.forward::<f32>(storage, layout),
            DType::F64 => self.forward::<f64>(storage, layout),
            other => unsupported(Self::NAME, other),
        }
    }

    fn backward(&self, arguments: &[&Tensor], _: &Tensor, gradient: &Tensor) -> Result<Gradients> {
        let by = match gradient.dtype() {
            DType::BF16 => self.gradient::<bf16>(arguments[0], gradient)?,
            DType::F32 => self.gradient::<f32>(arguments[0], gradient)?,
            DType::F64 => self.gradient::<f64>(arguments[0], gradient)?,
            other => return unsupported(Self::NAME, other),
        };
        Ok(vec![Some(by)])
    }
}
