//! NT-Xent by `nt_xent.cu`: kernel launches for the forward and the backward pass, and their sizes.

use std::sync::OnceLock;

use candle_core::{CudaDevice, CudaStorage, DType, Result, Shape, Tensor};
use cudarc::driver::{CudaSlice, CudaView};
use half::bf16;

use crate::tensor::{
    gpu::launch::{
        Element, Module, config, constant, device, fits_kernels, launch, no_forward_pass, unsupported_dtype,
        view, with_views,
    },
    graph::operation::{Gradients, OnGpu, Operation, node},
};

/// Largest supported width: 128 + 64 such rows fit into a multiprocessor's shared memory, 195 KiB in f32.
const WIDEST: usize = 256;

// Must equal the constants in nt_xent.cu.
const WARPS: usize = 4;
const THREADS: usize = 32 * WARPS;
const ROWS: usize = 32 * WARPS;
const COLUMNS: usize = 64;
const BAND: usize = 128;
const STEP: usize = 8;
const PADDING: usize = 4;

/// Number of blocks that a pass should have: if it has fewer blocks of rows, its columns are split into parts. Two
/// for each multiprocessor of an H100, but the same on every card, so that sums are added in the same order (ours).
const ENOUGH_BLOCKS: usize = 264;

/// Returns whether [`nt_xent`] supports this view.
pub fn supports(view: &Tensor) -> bool {
    fits_kernels(view) && view.dims().get(1).is_some_and(|&width| width <= WIDEST)
}

/// Like [`crate::loss::contrastive::nt_xent`], which has checked shapes and temperature; the result is f32.
pub fn nt_xent(first: &Tensor, second: &Tensor, temperature: f64) -> Result<Tensor> {
    let (first, second) = (first.contiguous()?, second.contiguous()?);
    match first.dtype() {
        DType::F32 => node(&[&first, &second], NtXent::<f32>::new(temperature)),
        DType::BF16 => node(&[&first, &second], NtXent::<bf16>::new(temperature)),
        other => unsupported_dtype("nt_xent", other),
    }
}

struct NtXent<T: Element> {
    inverse_temperature: f32,
    saved: OnceLock<Saved<T>>,
}

/// Results of the forward pass that the backward pass needs.
struct Saved<T: Element> {
    sizes: Sizes,
    /// (rows, padded), normalised to length 1.
    z: CudaSlice<T>,
    /// (rows).
    inverse_length: CudaSlice<f32>,
    /// (rows).
    log_sum_exp: CudaSlice<f32>,
}

/// Sizes in the form that kernels take.
#[derive(Clone, Copy)]
struct Sizes {
    rows: i32,
    width: i32,
    /// Stored width: a multiple of the word size.
    padded: i32,
    words: i32,
    /// Columns in one of the `parts`.
    part_columns: i32,
    parts: i32,
}

impl Sizes {
    fn new<T: Element>(rows: usize, width: usize) -> Self {
        let words = width.div_ceil(STEP * T::IN_WORD) * STEP;
        let padded = words * T::IN_WORD;
        let tiles = rows.div_ceil(COLUMNS);
        let wanted = ENOUGH_BLOCKS.div_ceil(rows.div_ceil(ROWS) * padded.div_ceil(BAND)).clamp(1, tiles);
        let each = tiles.div_ceil(wanted) * COLUMNS;
        let [rows_, width, padded, words] = [rows, width, padded, words].map(|size| size as i32);
        Self {
            rows: rows_,
            width,
            padded,
            words,
            part_columns: each as i32,
            parts: rows.div_ceil(each) as i32,
        }
    }

    fn row_blocks(&self) -> usize {
        (self.rows as usize).div_ceil(ROWS)
    }

    /// Returns the number of stored elements of all rows.
    fn stored(&self) -> usize {
        self.rows as usize * self.padded as usize
    }

    /// Returns the grid with one warp per row.
    fn by_warps(&self) -> [usize; 3] {
        [(self.rows as usize).div_ceil(WARPS), 1, 1]
    }

    fn shared_bytes(&self) -> usize {
        4 * (ROWS + COLUMNS) * (self.words as usize + PADDING)
    }
}

impl<T: Element> NtXent<T> {
    fn new(temperature: f64) -> Self {
        Self { inverse_temperature: (1.0 / temperature) as f32, saved: OnceLock::new() }
    }

    /// Returns the rows of both views in stored width, scaled to length 1; and the reciprocal of each original
    /// length.
    fn normalise(
        module: &Module,
        sizes: &Sizes,
        [first, second]: [&CudaView<T>; 2],
    ) -> Result<(CudaSlice<T>, CudaSlice<f32>)> {
        let Sizes { rows, width, padded, .. } = sizes;
        let name = format!("nt_xent_normalise_{}", T::NAME);
        let blocks = config(sizes.by_warps(), THREADS, 0);
        // SAFETY: nt_xent_normalise of nt_xent.cu reads `rows / 2` rows of `width` in each view, and writes (rows,
        // padded) numbers and an inverse length for each row.
        unsafe {
            let mut z = module.alloc::<T>(sizes.stored())?;
            let mut inverse_length = module.alloc::<f32>(*rows as usize)?;
            launch!(module, name, blocks, first, second, rows, width, padded, &mut z, &mut inverse_length);
            Ok((z, inverse_length))
        }
    }

    /// Returns the logarithm of each row's sum of exponentials, and the loss.
    fn loss(
        &self,
        module: &Module,
        sizes: &Sizes,
        z: &CudaSlice<T>,
    ) -> Result<(CudaSlice<f32>, CudaSlice<f32>)> {
        let Sizes { rows, words, part_columns: each, parts, .. } = sizes;
        let (count, all_parts) = (*rows as usize, (parts * rows) as usize);
        let name = format!("nt_xent_forward_{}", T::NAME);
        let blocks = config([sizes.row_blocks(), *parts as usize, 1], THREADS, sizes.shared_bytes());
        let one = config([1, 1, 1], 1024, 0);
        // SAFETY: nt_xent_forward of nt_xent.cu writes a largest similarity and a sum for each part and row, and
        // each row's similarity to its other view. From these, nt_xent_loss writes a logarithm for each row, and
        // the loss.
        unsafe {
            let (mut maximum, mut sum) = (module.alloc::<f32>(all_parts)?, module.alloc::<f32>(all_parts)?);
            let mut positive = module.alloc::<f32>(count)?;
            launch!(
                module,
                name,
                blocks,
                z,
                rows,
                words,
                each,
                &self.inverse_temperature,
                &mut maximum,
                &mut sum,
                &mut positive,
            );
            let (mut log_sum_exp, mut loss) = (module.alloc::<f32>(count)?, module.alloc::<f32>(1)?);
            launch!(
                module,
                "nt_xent_loss",
                one,
                &maximum,
                &sum,
                &positive,
                rows,
                parts,
                &mut log_sum_exp,
                &mut loss,
            );
            Ok((log_sum_exp, loss))
        }
    }
}

fn module(device: &CudaDevice) -> Module<'_> {
    let ptx = include_str!(concat!(env!("OUT_DIR"), "/nt_xent.ptx"));
    Module { name: "skewbench_nt_xent", ptx, device }
}

impl<T: Element + Send + Sync> Operation for NtXent<T> {
    const NAME: &'static str = "nt_xent";

    fn on_gpu(&self, arguments: &[OnGpu]) -> Result<(CudaStorage, Shape)> {
        let ((first, first_layout), (second, second_layout)) = (arguments[0], arguments[1]);
        let module = module(device(first));
        let (images, width) = first_layout.shape().dims2()?;
        let (first, second) = (view::<T>(first, first_layout)?, view::<T>(second, second_layout)?);
        let sizes = Sizes::new::<T>(2 * images, width);
        let (z, inverse_length) = Self::normalise(&module, &sizes, [&first, &second])?;
        let (log_sum_exp, loss) = self.loss(&module, &sizes, &z)?;
        // An operation is applied once; a second forward pass would compute the same numbers.
        let _ = self.saved.set(Saved { sizes, z, inverse_length, log_sum_exp });
        Ok((CudaStorage::wrap_cuda_slice(loss, module.device.clone()), Shape::from(())))
    }

    fn backward(&self, arguments: &[&Tensor], _: &Tensor, upstream: &Tensor) -> Result<Gradients> {
        let Some(Saved { sizes, z, inverse_length, log_sum_exp }) = self.saved.get() else {
            return no_forward_pass(Self::NAME);
        };
        let first = arguments[0];
        let module = module(first.device().as_cuda_device()?);
        let Sizes { rows, width, padded, words, part_columns: each, parts } = sizes;
        let over = &self.inverse_temperature;
        let blocks = [sizes.row_blocks(), *parts as usize, (*padded as usize).div_ceil(BAND)];
        let blocks = config(blocks, THREADS, sizes.shared_bytes());
        let by_warps = config(sizes.by_warps(), THREADS, 0);
        let gradient = with_views([upstream], |[upstream]: &[CudaView<f32>; 1]| {
            // SAFETY: nt_xent_backward of nt_xent.cu reads what the forward pass saved, with the same sizes, and
            // writes (parts, rows, padded) numbers, from which nt_xent_gradient computes (rows, width).
            unsafe {
                let mut partial = module.alloc::<f32>(*parts as usize * sizes.stored())?;
                let name = format!("nt_xent_backward_{}", T::NAME);
                launch!(module, name, blocks, z, log_sum_exp, rows, words, each, over, &mut partial);
                let mut gradient = module.alloc::<f32>((rows * width) as usize)?;
                let name = format!("nt_xent_gradient_{}", T::NAME);
                launch!(
                    module,
                    name,
                    by_warps,
                    &partial,
                    z,
                    inverse_length,
                    upstream,
                    rows,
                    width,
                    padded,
                    parts,
                    over,
                    &mut gradient,
                );
                Ok(gradient)
            }
        })?;
        let images = *rows as usize / 2;
        let both =
            constant(gradient, module.device, (2 * images, *width as usize)).to_dtype(first.dtype())?;
        Ok(vec![Some(both.narrow(0, 0, images)?), Some(both.narrow(0, images, images)?)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_gradients_stay_few_and_every_column_has_its_part() {
        for rows in [2, 64, 130, 1_024, 4_096, 16_384, 65_536] {
            for width in [5, 128, 256] {
                let sizes = Sizes::new::<f32>(rows, width);
                assert!(
                    sizes.part_columns * sizes.parts >= rows as i32
                        && sizes.part_columns * (sizes.parts - 1) < rows as i32
                );
                let blocks = sizes.row_blocks() * sizes.parts as usize;
                assert!(blocks <= 2 * ENOUGH_BLOCKS.max(sizes.row_blocks()), "{rows} rows: {blocks} blocks");
                assert!(sizes.shared_bytes() <= 227 * 1024, "more than an H100 has");
            }
        }
        let halves = Sizes::new::<bf16>(10, 17);
        assert_eq!((halves.words, halves.padded), (16, 32));
    }
}
