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
/// A head's numbers are widened once, and only results are rounded. The backward pass recomputes the probabilities:
/// in cache that takes no longer than reading them from memory.
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

    /// Returns how many numbers one head's keys or values have.
    fn head(self) -> usize {
        self.tokens * self.head_width()
    }

    /// Returns how many numbers one head's queries or outputs have.
    fn asking(self) -> usize {
        self.queries * self.head_width()
    }

    /// Copies and widens one head's part of rows that begin `stride` numbers apart.
    fn widen<N: Number>(self, numbers: &[N], stride: usize, wide: &mut [N::Sum]) {
        let width = self.head_width();
        vectorised(
            #[inline(always)]
            || {
                for (wide, numbers) in wide.chunks_exact_mut(width).zip(numbers.chunks(stride)) {
                    wide.iter_mut().zip(numbers).for_each(|(wide, x)| *wide = x.widen());
                }
            },
        );
    }
}

/// Rounds one head's numbers and writes them to their places.
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
            head.read(sizes, joined, pair);
            narrow(head.attend(sizes), out);
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
                head.read(sizes, joined, pair);
                let (image, head_of) = (pair / sizes.heads, pair % sizes.heads);
                let first = image * sizes.queries * sizes.width + head_of * sizes.head_width();
                head.read_gradient(sizes, &gradient[first..]);
                for (found, made) in head.backward(sizes).into_iter().zip(made) {
                    if let Some(made) = made {
                        narrow(found, made);
                    }
                }
            };
            pairs.into_par_iter().enumerate().for_each_init(Head::default, work);
            Ok(())
        })?;
        Ok(constant(by_joined, joined.shape()))
    }
}

/// One head's numbers, widened: queries, keys and values, the output's gradient, and buffers for results.
struct Head<N: Number> {
    parts: Vec<N::Sum>,
    gradient: Vec<N::Sum>,
    probabilities: Vec<N::Sum>,
    by_scores: Vec<N::Sum>,
    /// The output, or gradients with respect to queries, keys and values.
    made: Vec<N::Sum>,
}

impl<N: Number> Default for Head<N> {
    fn default() -> Self {
        Self {
            parts: Vec::new(),
            gradient: Vec::new(),
            probabilities: Vec::new(),
            by_scores: Vec::new(),
            made: Vec::new(),
        }
    }
}

impl<N: Number<Sum: Exponential>> Head<N> {
    /// Reads the queries, keys and values of a pair of an image and a head from the joined rows of all images.
    fn read(&mut self, sizes: Sizes, joined: &[N], pair: usize) {
        let image = sizes.tokens * 3 * sizes.width;
        let joined = &joined[pair / sizes.heads * image..][..image];
        // SAFETY: `widen` writes every number.
        unsafe { resize_unwritten(&mut self.parts, 3 * sizes.head()) };
        for (part, wide) in self.parts.chunks_exact_mut(sizes.head().max(1)).enumerate() {
            let first = part * sizes.width + pair % sizes.heads * sizes.head_width();
            sizes.widen(&joined[first..], 3 * sizes.width, wide);
        }
    }

    /// Reads the gradient with respect to the output of a head.
    fn read_gradient(&mut self, sizes: Sizes, gradient: &[N]) {
        // SAFETY: `widen` writes every number.
        unsafe { resize_unwritten(&mut self.gradient, sizes.asking()) };
        sizes.widen(gradient, sizes.width, &mut self.gradient);
    }

    /// Returns the queries of the tokens that attend, and the keys and values of all.
    fn parts(&self, sizes: Sizes) -> [Matrix<'_, N::Sum>; 3] {
        let head = sizes.head();
        [(0, sizes.queries), (1, sizes.tokens), (2, sizes.tokens)].map(|(part, rows)| {
            let numbers = &self.parts[part * head..][..rows * sizes.head_width()];
            Matrix::new(numbers, rows, sizes.head_width())
        })
    }

    /// Computes the softmax of the scores, each row padded with zeros.
    fn find_probabilities(&mut self, sizes: Sizes) {
        let (tokens, asking, row) = (sizes.tokens, sizes.queries, sizes.row());
        let mut probabilities = std::mem::take(&mut self.probabilities);
        // SAFETY: the product writes the scores, and `softmax` the padding behind them.
        unsafe { resize_unwritten(&mut probabilities, asking * row) };
        let [queries, keys, _] = self.parts(sizes);
        let scores = Output::part(&mut probabilities, asking, tokens, row);
        multiply_into(scores, queries, keys.transposed(), Write::Replace);
        let scale = sizes.scale::<N::Sum>();
        vectorised(
            #[inline(always)]
            || {
                for row in probabilities.chunks_exact_mut(row) {
                    softmax(row, tokens, scale);
                }
            },
        );
        self.probabilities = probabilities;
    }

    /// Computes the output.
    fn attend(&mut self, sizes: Sizes) -> &[N::Sum] {
        self.find_probabilities(sizes);
        let mut made = std::mem::take(&mut self.made);
        // SAFETY: the product writes every number.
        unsafe { resize_unwritten(&mut made, sizes.asking()) };
        let [_, _, values] = self.parts(sizes);
        let probabilities = Matrix::part(&self.probabilities, sizes.queries, sizes.tokens, sizes.row());
        multiply(&mut made, probabilities, values, Write::Replace);
        self.made = made;
        &self.made
    }

    /// Computes gradients with respect to queries, keys and values.
    fn backward(&mut self, sizes: Sizes) -> [&[N::Sum]; 3] {
        self.find_probabilities(sizes);
        let Sizes { tokens, queries: asking, .. } = sizes;
        let (row, width, head) = (sizes.row(), sizes.head_width(), sizes.head());
        let (mut by_scores, mut made) = (std::mem::take(&mut self.by_scores), std::mem::take(&mut self.made));
        by_scores.resize(asking * row, N::Sum::ZERO);
        // SAFETY: products write every number.
        unsafe { resize_unwritten(&mut made, 3 * head) };
        let [queries, keys, values] = self.parts(sizes);
        let (by_queries, rest) = made.split_at_mut(head);
        let (by_keys, by_values) = rest.split_at_mut(head);
        let by_out = Matrix::new(&self.gradient, asking, width);
        let probabilities = Matrix::part(&self.probabilities, asking, tokens, row);
        multiply(by_values, probabilities.transposed(), by_out, Write::Replace);
        let product = Output::part(&mut by_scores, asking, tokens, row);
        multiply_into(product, by_out, values.transposed(), Write::Replace);
        let scale = sizes.scale::<N::Sum>();
        vectorised(
            #[inline(always)]
            || {
                let rows = by_scores.chunks_exact_mut(row).zip(self.probabilities.chunks_exact(row));
                rows.for_each(
                    #[inline(always)]
                    |(by_scores, probabilities)| softmax_gradient(by_scores, probabilities, scale),
                );
            },
        );
        let slopes = Matrix::part(&by_scores, asking, tokens, row);
        // Queries of tokens that do not attend change nothing.
        let (by_asking, by_others) = by_queries.split_at_mut(sizes.asking());
        multiply(by_asking, slopes, keys, Write::Replace);
        by_others.fill(N::Sum::ZERO);
        multiply(by_keys, slopes.transposed(), queries, Write::Replace);
        (self.by_scores, self.made) = (by_scores, made);
        [0, 1, 2].map(|part| &self.made[part * head..][..head])
    }
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
