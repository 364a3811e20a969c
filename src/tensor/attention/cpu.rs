//! Attention on the CPU. One task handles one image and head.

use std::sync::OnceLock;

use candle_core::{CpuStorage, DType, Layout, Result, Shape, Tensor, backend::BackendStorage, bail};
use rayon::prelude::*;

use crate::tensor::{
    cpu::{
        exponential::Exponential,
        matrix::{Matrix, Output, Write, multiply_into},
        storage::{Real, constant, unsupported, unwritten, values, with_values},
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
        DType::F32 => apply(&[&joined], Attention::<f32> { heads, kept: tracked.then(OnceLock::new) }),
        DType::F64 => apply(&[&joined], Attention::<f64> { heads, kept: tracked.then(OnceLock::new) }),
        other => unsupported("attention", other),
    }
}

struct Attention<T> {
    heads: usize,
    /// P of every image and head, where a backward pass may want it.
    kept: Option<OnceLock<Vec<T>>>,
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

    /// Queries, keys and values of one head, from one image's joined rows.
    fn parts<T>(self, joined: &[T], head: usize) -> [Matrix<'_, T>; 3] {
        [0, 1, 2].map(|part| {
            let first = part * self.width + head * self.head_width();
            Matrix::part(&joined[first..], self.tokens, self.head_width(), 3 * self.width)
        })
    }
}

impl<T: Exponential> Attention<T> {
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
        let joined = values::<T>(storage, layout)?;
        // SAFETY: every pair writes its band of columns, and bands are all columns.
        let mut out = unsafe { unwritten(batch * sizes.tokens * sizes.width) };
        let pairs: Vec<(usize, Output<T>)> = out
            .chunks_mut((sizes.tokens * sizes.width).max(1))
            .flat_map(|image| Output::new(image, sizes.tokens, sizes.width).bands(sizes.head_width()))
            .enumerate()
            .collect();
        let size = sizes.tokens * sizes.row();
        let work = |(pair, out): (usize, Output<T>), probabilities: &mut [T]| {
            let image = sizes.tokens * 3 * sizes.width;
            let joined = &joined[pair / sizes.heads * image..][..image];
            forward_pair(sizes, sizes.parts(joined, pair % sizes.heads), probabilities, out);
        };
        match &self.kept {
            Some(kept) => {
                // SAFETY: `forward_pair` writes scores, then whole rows.
                let mut probabilities = unsafe { unwritten(pairs.len() * size) };
                let parts: Vec<&mut [T]> = probabilities.chunks_mut(size.max(1)).collect();
                pairs.into_par_iter().zip(parts).for_each(|(pair, part)| work(pair, part));
                // The operation is made for one application; a second forward pass would find the same.
                let _ = kept.set(probabilities);
            }
            None => {
                // SAFETY: as above.
                let room = || unsafe { unwritten(size) };
                pairs.into_par_iter().for_each_init(room, |part, pair| work(pair, part));
            }
        }
        Ok((T::to_cpu_storage_owned(out), (batch, sizes.tokens, sizes.width).into()))
    }

    fn gradient(&self, joined: &Tensor, output: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let (_, sizes) = self.sizes(joined.shape())?;
        let Some(probabilities) = self.kept.as_ref().and_then(OnceLock::get) else {
            bail!("attention: backward before forward, or of a constant")
        };
        // SAFETY: every pair writes its bands of columns: queries', keys' and values'.
        let mut by_joined = unsafe { unwritten(joined.elem_count()) };
        let size = sizes.tokens * sizes.row();
        let image = sizes.tokens * sizes.width;
        with_values::<T, _, _>([joined, output, gradient], |[joined, out, gradient]| {
            let mut pairs = Vec::with_capacity(probabilities.len() / size.max(1));
            for by_image in by_joined.chunks_mut((3 * image).max(1)) {
                let bands = Output::new(by_image, sizes.tokens, 3 * sizes.width);
                let mut bands: Vec<_> = bands.bands(sizes.head_width()).map(Some).collect();
                for head in 0..sizes.heads {
                    pairs.push([0, 1, 2].map(|part| bands[part * sizes.heads + head].take()));
                }
            }
            let work = |scratch: &mut Vec<T>, (pair, made): (usize, [Option<Output<T>>; 3])| {
                let [Some(by_queries), Some(by_keys), Some(by_values)] = made else { return };
                let (index, head) = (pair / sizes.heads, pair % sizes.heads);
                let first = index * image + head * sizes.head_width();
                backward_pair(
                    sizes,
                    sizes.parts(&joined[3 * index * image..][..3 * image], head),
                    &probabilities[pair * size..][..size],
                    [&out[first..], &gradient[first..]],
                    scratch,
                    [by_queries, by_keys, by_values],
                );
            };
            pairs.into_par_iter().enumerate().for_each_init(|| vec![T::zero(); size], work);
            Ok(())
        })?;
        Ok(constant(by_joined, joined.shape()))
    }
}

fn forward_pair<T: Exponential>(
    sizes: Sizes,
    [queries, keys, values]: [Matrix<T>; 3],
    probabilities: &mut [T],
    out: Output<T>,
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
    multiply_into(out, Matrix::part(probabilities, tokens, tokens, row), values, Write::Replace);
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

fn backward_pair<T: Exponential>(
    sizes: Sizes,
    [queries, keys, values]: [Matrix<T>; 3],
    probabilities: &[T],
    [out, gradient]: [&[T]; 2],
    by_scores: &mut [T],
    [by_queries, by_keys, by_values]: [Output<T>; 3],
) {
    let (tokens, row, width) = (sizes.tokens, sizes.row(), sizes.head_width());
    let by_out = Matrix::part(gradient, tokens, width, sizes.width);
    let kept = Matrix::part(probabilities, tokens, tokens, row);
    multiply_into(by_values, kept.transposed(), by_out, Write::Replace);
    let product = Output::part(by_scores, tokens, tokens, row);
    multiply_into(product, by_out, values.transposed(), Write::Replace);
    let scale = sizes.scale::<T>();
    vectorised(
        #[inline(always)]
        || {
            let rows = by_scores.chunks_exact_mut(row).zip(probabilities.chunks_exact(row));
            for (index, (by_scores, probabilities)) in rows.enumerate() {
                let first = index * sizes.width;
                let terms = out[first..][..width].iter().zip(&gradient[first..][..width]);
                let sum = terms.fold(T::zero(), |sum, (&out, &gradient)| sum + out * gradient);
                for (by_score, &probability) in by_scores.iter_mut().zip(probabilities) {
                    *by_score = probability * (*by_score - sum) * scale;
                }
            }
        },
    );
    let by_scores = Matrix::part(by_scores, tokens, tokens, row);
    multiply_into(by_queries, by_scores, keys, Write::Replace);
    multiply_into(by_keys, by_scores.transposed(), queries, Write::Replace);
}

impl<T: Exponential> Operation for Attention<T> {
    const NAME: &'static str = "attention";

    fn on_cpu(&self, arguments: &[OnCpu]) -> Result<(CpuStorage, Shape)> {
        let (storage, layout) = arguments[0];
        if storage.dtype() != T::DTYPE {
            return unsupported(Self::NAME, storage.dtype());
        }
        self.forward(storage, layout)
    }

    fn backward(&self, arguments: &[&Tensor], output: &Tensor, gradient: &Tensor) -> Result<Gradients> {
        Ok(vec![Some(self.gradient(arguments[0], output, gradient)?)])
    }
}
