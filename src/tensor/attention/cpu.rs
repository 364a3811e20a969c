//! Attention on the CPU. One task handles one image and head.

use std::sync::OnceLock;

use candle_core::{CpuStorage, DType, Layout, Result, Shape, Tensor, backend::BackendStorage, bail};
use half::bf16;
use rayon::prelude::*;

use crate::tensor::{
    cpu::{
        exponential::Exponential,
        matrix::{Matrix, Output, Write, multiply_into},
        pairs::{self, Left, Strips},
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

struct Attention<N> {
    heads: usize,
    /// P of every image and head, where a backward pass may want it.
    kept: Option<OnceLock<Vec<N>>>,
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

    /// Queries, keys and values of one head, from one image's joined rows; each begins there, and rows lie three widths
    /// apart.
    fn parts<N>(self, joined: &[N], head: usize) -> [&[N]; 3] {
        [0, 1, 2].map(|part| &joined[part * self.width + head * self.head_width()..])
    }
}

/// Products of one image and head, of numbers as they lie.
trait Heads: Number<Sum: Exponential> {
    /// P, and P V into `out`.
    fn forward(
        sizes: Sizes,
        parts: [&[Self]; 3],
        scratch: &mut Vec<Self::Sum>,
        probabilities: &mut [Self],
        out: Output<Self>,
    );

    /// dQ, dK and dV from P and the output with its gradient, whose rows lie a width apart.
    fn backward(
        sizes: Sizes,
        parts: [&[Self]; 3],
        probabilities: &[Self],
        outputs: [&[Self]; 2],
        scratch: &mut Scratch<Self>,
        made: [Output<Self>; 3],
    );
}

/// Room for dP, and for dS where that is rounded.
struct Scratch<N: Number> {
    sums: Vec<N::Sum>,
    rounded: Vec<N>,
}

impl<N: Heads> Attention<N> {
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
        let size = sizes.tokens * sizes.row();
        let work = |(pair, out): (usize, Output<N>), scratch: &mut Vec<N::Sum>, probabilities: &mut [N]| {
            let image = sizes.tokens * 3 * sizes.width;
            let joined = &joined[pair / sizes.heads * image..][..image];
            N::forward(sizes, sizes.parts(joined, pair % sizes.heads), scratch, probabilities, out);
        };
        match &self.kept {
            Some(kept) => {
                // SAFETY: `Heads::forward` writes whole rows.
                let mut probabilities = unsafe { unwritten(pairs.len() * size) };
                let parts: Vec<&mut [N]> = probabilities.chunks_mut(size.max(1)).collect();
                pairs
                    .into_par_iter()
                    .zip(parts)
                    .for_each_init(Vec::new, |scratch, (pair, part)| work(pair, scratch, part));
                // The operation is made for one application; a second forward pass would find the same.
                let _ = kept.set(probabilities);
            }
            None => {
                // SAFETY: as above.
                let room = || (Vec::new(), unsafe { unwritten(size) });
                pairs.into_par_iter().for_each_init(room, |(scratch, part), pair| work(pair, scratch, part));
            }
        }
        Ok((N::to_cpu_storage_owned(out), (batch, sizes.tokens, sizes.width).into()))
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
        with_values::<N, _, _>([joined, output, gradient], |[joined, out, gradient]| {
            let mut pairs = Vec::with_capacity(probabilities.len() / size.max(1));
            for by_image in by_joined.chunks_mut((3 * image).max(1)) {
                let bands = Output::new(by_image, sizes.tokens, 3 * sizes.width);
                let mut bands: Vec<_> = bands.bands(sizes.head_width()).map(Some).collect();
                for head in 0..sizes.heads {
                    pairs.push([0, 1, 2].map(|part| bands[part * sizes.heads + head].take()));
                }
            }
            let work = |scratch: &mut Scratch<N>, (pair, made): (usize, [Option<Output<N>>; 3])| {
                let [Some(by_queries), Some(by_keys), Some(by_values)] = made else { return };
                let (index, head) = (pair / sizes.heads, pair % sizes.heads);
                let first = index * image + head * sizes.head_width();
                N::backward(
                    sizes,
                    sizes.parts(&joined[3 * index * image..][..3 * image], head),
                    &probabilities[pair * size..][..size],
                    [&out[first..], &gradient[first..]],
                    scratch,
                    [by_queries, by_keys, by_values],
                );
            };
            pairs
                .into_par_iter()
                .enumerate()
                .for_each_init(|| Scratch { sums: Vec::new(), rounded: Vec::new() }, work);
            Ok(())
        })?;
        Ok(constant(by_joined, joined.shape()))
    }
}

impl<T: Exponential> Heads for T {
    fn forward(sizes: Sizes, parts: [&[T]; 3], _: &mut Vec<T>, probabilities: &mut [T], out: Output<T>) {
        let (tokens, row) = (sizes.tokens, sizes.row());
        let [queries, keys, values] =
            parts.map(|part| Matrix::part(part, tokens, sizes.head_width(), 3 * sizes.width));
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

    fn backward(
        sizes: Sizes,
        parts: [&[T]; 3],
        probabilities: &[T],
        [out, gradient]: [&[T]; 2],
        scratch: &mut Scratch<T>,
        [by_queries, by_keys, by_values]: [Output<T>; 3],
    ) {
        let (tokens, row, width) = (sizes.tokens, sizes.row(), sizes.head_width());
        let [queries, keys, values] = parts.map(|part| Matrix::part(part, tokens, width, 3 * sizes.width));
        let by_out = Matrix::part(gradient, tokens, width, sizes.width);
        let kept = Matrix::part(probabilities, tokens, tokens, row);
        multiply_into(by_values, kept.transposed(), by_out, Write::Replace);
        scratch.sums.resize(tokens * row, T::zero());
        let product = Output::part(&mut scratch.sums, tokens, tokens, row);
        multiply_into(product, by_out, values.transposed(), Write::Replace);
        let scale = sizes.scale::<T>();
        vectorised(
            #[inline(always)]
            || {
                let rows = scratch.sums.chunks_exact_mut(row).zip(probabilities.chunks_exact(row));
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
        let by_scores = Matrix::part(&scratch.sums, tokens, tokens, row);
        multiply_into(by_queries, by_scores, keys, Write::Replace);
        multiply_into(by_keys, by_scores.transposed(), queries, Write::Replace);
    }
}

// As the kernels for a GPU: P and dS are rounded before they are multiplied. D is summed over P and dP: with the output,
// which is rounded, rows of dS would not sum to zero.
impl Heads for bf16 {
    fn forward(
        sizes: Sizes,
        [queries, keys, values]: [&[Self]; 3],
        scratch: &mut Vec<f32>,
        probabilities: &mut [Self],
        out: Output<Self>,
    ) {
        let (tokens, row, width, apart) = (sizes.tokens, sizes.row(), sizes.head_width(), 3 * sizes.width);
        // SAFETY: the product writes what is read but for the padding, which `softmax` fills.
        unsafe { make_room(scratch, tokens * row) };
        pairs::multiply(
            Output::part(scratch, tokens, tokens, row),
            &Left::of_rows(queries, tokens, width, apart),
            &Strips::of_columns(keys, tokens, width, apart),
            Write::Replace,
        );
        let scale = sizes.scale::<f32>();
        vectorised(
            #[inline(always)]
            || {
                let rows = scratch.chunks_exact_mut(row).zip(probabilities.chunks_exact_mut(row));
                for (scores, probabilities) in rows {
                    softmax(scores, tokens, scale);
                    probabilities.iter_mut().zip(scores).for_each(|(p, score)| *p = Self::narrow(*score));
                }
            },
        );
        let left = Left::of_rows(probabilities, tokens, tokens.next_multiple_of(2), row);
        let right = Strips::of_steps(values, tokens, width, apart);
        pairs::multiply(out, &left, &right, Write::Replace);
    }

    fn backward(
        sizes: Sizes,
        [queries, keys, values]: [&[Self]; 3],
        probabilities: &[Self],
        [_, gradient]: [&[Self]; 2],
        Scratch { sums, rounded }: &mut Scratch<Self>,
        [by_queries, by_keys, by_values]: [Output<Self>; 3],
    ) {
        let (tokens, row, width, apart) = (sizes.tokens, sizes.row(), sizes.head_width(), 3 * sizes.width);
        let replace = Write::Replace;
        let by_out = Strips::of_steps(gradient, tokens, width, sizes.width);
        pairs::multiply(by_values, &Left::of_steps(probabilities, tokens, tokens, row), &by_out, replace);
        // SAFETY: the product writes all but the padding, which is filled.
        unsafe { make_room(sums, tokens * row) };
        sums.chunks_exact_mut(row).for_each(|row| row[tokens..].fill(0.0));
        rounded.resize(tokens * row, Self::ZERO);
        pairs::multiply(
            Output::part(sums, tokens, tokens, row),
            &Left::of_rows(gradient, tokens, width, sizes.width),
            &Strips::of_columns(values, tokens, width, apart),
            replace,
        );
        let scale = sizes.scale::<f32>();
        vectorised(
            #[inline(always)]
            || {
                let products = sums.chunks_exact(row).zip(probabilities.chunks_exact(row));
                for (by_scores, (products, probabilities)) in rounded.chunks_exact_mut(row).zip(products) {
                    let sum = products_sum(products, probabilities);
                    let numbers = products.iter().zip(probabilities);
                    for (by_score, (&product, &probability)) in by_scores.iter_mut().zip(numbers) {
                        *by_score = Self::narrow(probability.widen() * (product - sum) * scale);
                    }
                }
            },
        );
        let left = Left::of_rows(rounded, tokens, tokens.next_multiple_of(2), row);
        pairs::multiply(by_queries, &left, &Strips::of_steps(keys, tokens, width, apart), replace);
        let left = Left::of_steps(rounded, tokens, tokens, row);
        pairs::multiply(by_keys, &left, &Strips::of_steps(queries, tokens, width, apart), replace);
    }
}

/// Sum of products times probabilities over whole vectors.
#[inline(always)]
fn products_sum(products: &[f32], probabilities: &[bf16]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (products, _) = products.as_chunks::<LANES>();
    let (probabilities, _) = probabilities.as_chunks::<LANES>();
    for (products, probabilities) in products.iter().zip(probabilities) {
        for lane in 0..LANES {
            sums[lane] += products[lane] * probabilities[lane].widen();
        }
    }
    sums.into_iter().fold(0.0, |sum, x| sum + x)
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

impl<N: Heads> Operation for Attention<N> {
    const NAME: &'static str = "attention";

    fn on_cpu(&self, arguments: &[OnCpu]) -> Result<(CpuStorage, Shape)> {
        let (storage, layout) = arguments[0];
        if storage.dtype() != N::DTYPE {
            return unsupported(Self::NAME, storage.dtype());
        }
        self.forward(storage, layout)
    }

    fn backward(&self, arguments: &[&Tensor], output: &Tensor, gradient: &Tensor) -> Result<Gradients> {
        Ok(vec![Some(self.gradient(arguments[0], output, gradient)?)])
    }
}
