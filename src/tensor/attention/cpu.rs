//! Attention on the CPU. One task handles one image and head.

use std::sync::OnceLock;

use candle_core::{CpuStorage, DType, Layout, Result, Shape, Tensor, backend::BackendStorage, bail};
use half::bf16;
use rayon::prelude::*;

use crate::tensor::{
    cpu::{
        exponential::Exponential,
        matrix::{Matrix, Output, Write, multiply, multiply_into},
        storage::{Number, Real, constant, make_room, unsupported, unwritten, values, with_values},
        vector::vectorised,
    },
    graph::{
        chain::apply,
        operation::{Gradients, OnCpu, Operation},
    },
};

/// As [`crate::tensor::attention()`].
pub fn attention(joined: &Tensor, heads: usize) -> Result<Tensor> {
    let joined = joined.contiguous()?;
    let tracked = joined.track_op();
    match joined.dtype() {
        DType::BF16 => apply(&[&joined], Attention::<bf16> { heads, kept: tracked.then(OnceLock::new) }),
        DType::F32 => apply(&[&joined], Attention::<f32> { heads, kept: tracked.then(OnceLock::new) }),
        DType::F64 => apply(&[&joined], Attention::<f64> { heads, kept: tracked.then(OnceLock::new) }),
        other => unsupported("attention", other),
    }
}

/// Numbers of a head are widened once, and only what comes out is rounded.
struct Attention<N: Number> {
    heads: usize,
    /// Of every image and head, where a backward pass may want it.
    kept: Option<OnceLock<Kept<N::Sum>>>,
}

/// What a backward pass needs of a forward pass.
struct Kept<T> {
    probabilities: Vec<T>,
    /// The output before it was rounded, head by head.
    outputs: Vec<T>,
}

/// Sizes of one application.
#[derive(Clone, Copy)]
struct Sizes {
    tokens: usize,
    width: usize,
    heads: usize,
}

/// Numbers that are worked on together.
const LANES: usize = 16;

impl Sizes {
    fn head_width(self) -> usize {
        self.width / self.heads
    }

    /// Rows of P are padded with zeros to whole vectors.
    fn row(self) -> usize {
        self.tokens.next_multiple_of(LANES)
    }

    fn scale<T: Real>(self) -> T {
        T::from_f64(1.0 / (self.head_width() as f64).sqrt())
    }

    /// Numbers of one head's queries, keys, values or outputs.
    fn head(self) -> usize {
        self.tokens * self.head_width()
    }

    /// One head's part of rows that lie `stride` numbers apart, widened.
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

/// Rounds one head's numbers to where they belong.
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

impl<N: Number<Sum: Exponential>> Attention<N> {
    fn sizes(&self, shape: &Shape) -> Result<(usize, Sizes)> {
        let (batch, tokens, joined) = shape.dims3()?;
        let heads = self.heads;
        if heads == 0 || joined == 0 || !joined.is_multiple_of(3 * heads) {
            bail!("attention: expected three times a multiple of {heads} heads, found {shape:?}")
        }
        Ok((batch, Sizes { tokens, width: joined / 3, heads }))
    }

    fn forward(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, sizes) = self.sizes(layout.shape())?;
        let joined = values::<N>(storage, layout)?;
        // SAFETY: every pair writes its band of columns, and bands are all columns.
        let mut out = unsafe { unwritten(batch * sizes.tokens * sizes.width) };
        let pairs: Vec<(usize, Output<N>)> = out
            .chunks_mut((sizes.tokens * sizes.width).max(1))
            .flat_map(|image| Output::new(image, sizes.tokens, sizes.width).bands(sizes.head_width()))
            .enumerate()
            .collect();
        let (size, head) = (sizes.tokens * sizes.row(), sizes.head());
        let work = |(pair, out), wide: &mut Wide<N>, probabilities: &mut [N::Sum], output: &mut [N::Sum]| {
            wide.read(sizes, joined, pair);
            forward_pair(sizes, wide.parts(sizes), probabilities, output);
            narrow(output, out);
        };
        match &self.kept {
            Some(kept) => {
                // SAFETY: `forward_pair` writes scores, then whole rows, and all of a head's output.
                let (mut probabilities, mut outputs) =
                    unsafe { (unwritten(pairs.len() * size), unwritten(pairs.len() * head)) };
                let parts: Vec<_> =
                    probabilities.chunks_mut(size.max(1)).zip(outputs.chunks_mut(head.max(1))).collect();
                pairs
                    .into_par_iter()
                    .zip(parts)
                    .for_each_init(Wide::default, |wide, (pair, (part, output))| {
                        work(pair, wide, part, output)
                    });
                // The operation is made for one application; a second forward pass would find the same.
                let _ = kept.set(Kept { probabilities, outputs });
            }
            None => {
                // SAFETY: as above.
                let room = || unsafe { (Wide::default(), unwritten(size), unwritten(head)) };
                pairs.into_par_iter().for_each_init(room, |(wide, part, output), pair| {
                    work(pair, wide, part, output);
                });
            }
        }
        Ok((N::to_cpu_storage_owned(out), (batch, sizes.tokens, sizes.width).into()))
    }

    fn gradient(&self, joined: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let (_, sizes) = self.sizes(joined.shape())?;
        let Some(kept) = self.kept.as_ref().and_then(OnceLock::get) else {
            bail!("attention: backward before forward, or of a constant")
        };
        // SAFETY: every pair writes its bands of columns: queries', keys' and values'.
        let mut by_joined = unsafe { unwritten(joined.elem_count()) };
        let (size, head) = (sizes.tokens * sizes.row(), sizes.head());
        let image = sizes.tokens * sizes.width;
        with_values::<N, _, _>([joined, gradient], |[joined, gradient]| {
            let mut pairs = Vec::with_capacity(kept.probabilities.len() / size.max(1));
            for by_image in by_joined.chunks_mut((3 * image).max(1)) {
                let bands = Output::new(by_image, sizes.tokens, 3 * sizes.width);
                let mut bands: Vec<_> = bands.bands(sizes.head_width()).map(Some).collect();
                for head in 0..sizes.heads {
                    pairs.push([0, 1, 2].map(|part| bands[part * sizes.heads + head].take()));
                }
            }
            let work = |wide: &mut Wide<N>, (pair, made): (usize, [Option<Output<N>>; 3])| {
                wide.read(sizes, joined, pair);
                let first = pair / sizes.heads * image + pair % sizes.heads * sizes.head_width();
                wide.read_gradient(sizes, &gradient[first..]);
                let found = wide.backward_pair(
                    sizes,
                    &kept.probabilities[pair * size..][..size],
                    &kept.outputs[pair * head..][..head],
                );
                for (found, made) in found.into_iter().zip(made) {
                    if let Some(made) = made {
                        narrow(found, made);
                    }
                }
            };
            pairs.into_par_iter().enumerate().for_each_init(Wide::default, work);
            Ok(())
        })?;
        Ok(constant(by_joined, joined.shape()))
    }
}

/// One head's numbers, widened: queries, keys and values, the output's gradient, and room for what is made of them.
struct Wide<N: Number> {
    parts: Vec<N::Sum>,
    gradient: Vec<N::Sum>,
    by_scores: Vec<N::Sum>,
    made: Vec<N::Sum>,
}

impl<N: Number> Default for Wide<N> {
    fn default() -> Self {
        Self { parts: Vec::new(), gradient: Vec::new(), by_scores: Vec::new(), made: Vec::new() }
    }
}

impl<N: Number<Sum: Exponential>> Wide<N> {
    /// Reads the queries, keys and values of a pair of an image and a head from all joined rows.
    fn read(&mut self, sizes: Sizes, joined: &[N], pair: usize) {
        let image = sizes.tokens * 3 * sizes.width;
        let joined = &joined[pair / sizes.heads * image..][..image];
        // SAFETY: `widen` writes every number.
        unsafe { make_room(&mut self.parts, 3 * sizes.head()) };
        for (part, wide) in self.parts.chunks_exact_mut(sizes.head().max(1)).enumerate() {
            let first = part * sizes.width + pair % sizes.heads * sizes.head_width();
            sizes.widen(&joined[first..], 3 * sizes.width, wide);
        }
    }

    /// Reads the gradient by the output of a head.
    fn read_gradient(&mut self, sizes: Sizes, gradient: &[N]) {
        // SAFETY: `widen` writes every number.
        unsafe { make_room(&mut self.gradient, sizes.head()) };
        sizes.widen(gradient, sizes.width, &mut self.gradient);
    }

    fn parts(&self, sizes: Sizes) -> [Matrix<'_, N::Sum>; 3] {
        let head = sizes.head();
        [0, 1, 2]
            .map(|part| Matrix::new(&self.parts[part * head..][..head], sizes.tokens, sizes.head_width()))
    }

    /// Gradients by queries, keys and values.
    fn backward_pair(&mut self, sizes: Sizes, probabilities: &[N::Sum], out: &[N::Sum]) -> [&[N::Sum]; 3] {
        let (tokens, row, width, head) = (sizes.tokens, sizes.row(), sizes.head_width(), sizes.head());
        let (mut by_scores, mut made) = (std::mem::take(&mut self.by_scores), std::mem::take(&mut self.made));
        by_scores.resize(tokens * row, N::Sum::ZERO);
        // SAFETY: products write every number.
        unsafe { make_room(&mut made, 3 * head) };
        let [queries, keys, values] = self.parts(sizes);
        let (by_queries, rest) = made.split_at_mut(head);
        let (by_keys, by_values) = rest.split_at_mut(head);
        let by_out = Matrix::new(&self.gradient, tokens, width);
        let kept = Matrix::part(probabilities, tokens, tokens, row);
        multiply(by_values, kept.transposed(), by_out, Write::Replace);
        let product = Output::part(&mut by_scores, tokens, tokens, row);
        multiply_into(product, by_out, values.transposed(), Write::Replace);
        let scale = sizes.scale::<N::Sum>();
        vectorised(
            #[inline(always)]
            || {
                let rows = by_scores.chunks_exact_mut(row).zip(probabilities.chunks_exact(row));
                let sums = out.chunks_exact(width).zip(self.gradient.chunks_exact(width));
                for ((by_scores, probabilities), (out, gradient)) in rows.zip(sums) {
                    let terms = out.iter().zip(gradient);
                    let sum = terms.fold(N::Sum::ZERO, |sum, (&out, &gradient)| sum + out * gradient);
                    for (by_score, &probability) in by_scores.iter_mut().zip(probabilities) {
                        *by_score = probability * (*by_score - sum) * scale;
                    }
                }
            },
        );
        let slopes = Matrix::part(&by_scores, tokens, tokens, row);
        multiply(by_queries, slopes, keys, Write::Replace);
        multiply(by_keys, slopes.transposed(), queries, Write::Replace);
        (self.by_scores, self.made) = (by_scores, made);
        [0, 1, 2].map(|part| &self.made[part * head..][..head])
    }
}

fn forward_pair<T: Exponential>(
    sizes: Sizes,
    [queries, keys, values]: [Matrix<T>; 3],
    probabilities: &mut [T],
    out: &mut [T],
) {
    let (tokens, row) = (sizes.tokens, sizes.row());
    let scores = Output::part(probabilities, tokens, tokens, row);
    multiply_into(scores, queries, keys.transposed(), Write::Replace);
    let scale = sizes.scale::<T>();
    vectorised(
        #[inline(always)]
        || {
            for row in probabilities.chunks_exact_mut(row) {
                softmax(row, tokens, scale);
            }
        },
    );
    multiply(out, Matrix::part(probabilities, tokens, tokens, row), values, Write::Replace);
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

impl<N: Number<Sum: Exponential>> Operation for Attention<N> {
    const NAME: &'static str = "attention";

    fn on_cpu(&self, arguments: &[OnCpu]) -> Result<(CpuStorage, Shape)> {
        let (storage, layout) = arguments[0];
        if storage.dtype() != N::DTYPE {
            return unsupported(Self::NAME, storage.dtype());
        }
        self.forward(storage, layout)
    }

    fn backward(&self, arguments: &[&Tensor], _: &Tensor, gradient: &Tensor) -> Result<Gradients> {
        Ok(vec![Some(self.gradient(arguments[0], gradient)?)])
    }
}
