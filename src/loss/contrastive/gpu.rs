//! NT-Xent by `nt_xent.cu`: what is launched, with which sizes, and its place in automatic differentiation.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CudaStorage, CustomOp2, DType, Error, Layout, Result, Shape, Tensor};
use cudarc::driver::CudaSlice;
use half::bf16;

use crate::tensor::gpu::launch::{
    Element, Module, config, constant, device, is_taken, launch, no_forward_pass, no_gpu, not_a_type, view,
    with_view,
};

/// Widest rows: 128 of them and 64 more lie in a multiprocessor's shared memory, 195 KiB in f32.
const WIDEST: usize = 256;

// As in nt_xent.cu.
const WARPS: usize = 4;
const THREADS: usize = 32 * WARPS;
const ROWS: usize = 32 * WARPS;
const COLUMNS: usize = 64;
const BAND: usize = 128;
const STEP: usize = 8;
const PADDING: usize = 4;

/// Blocks that a pass is cut into where it has fewer rows: two for each multiprocessor of an H100, but the same on every card,
/// so that sums are added in one order. Ours.
const ENOUGH_BLOCKS: usize = 264;

/// Whether [`nt_xent`] takes this view.
pub fn has_nt_xent(view: &Tensor) -> bool {
    is_taken(view) && view.dims().get(1).is_some_and(|&width| width <= WIDEST)
}

/// As [`crate::loss::contrastive::nt_xent`], which has checked shapes and temperature; the result is f32.
pub fn nt_xent(first: &Tensor, second: &Tensor, temperature: f64) -> Result<Tensor> {
    let (first, second) = (first.contiguous()?, second.contiguous()?);
    match first.dtype() {
        DType::F32 => first.apply_op2(&second, NtXent::<f32>::new(temperature)),
        DType::BF16 => first.apply_op2(&second, NtXent::<bf16>::new(temperature)),
        other => Err(Error::Msg(format!("nt_xent: numbers are {other:?}, expected f32 or bf16"))),
    }
}

struct NtXent<T: Element> {
    inverse_temperature: f32,
    saved: OnceLock<Saved<T>>,
}

/// What the backward pass needs of the forward pass.
struct Saved<T: Element> {
    sizes: Sizes,
    /// (rows, padded), of length 1.
    z: CudaSlice<T>,
    /// (rows).
    inverse_length: CudaSlice<f32>,
    /// (rows).
    log_sum_exp: CudaSlice<f32>,
}

/// Sizes as kernels want them.
#[derive(Clone, Copy)]
struct Sizes {
    rows: i32,
    width: i32,
    /// Width as it is stored: whole steps of words.
    padded: i32,
    words: i32,
    /// Columns that one part has, and parts.
    each: i32,
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
        Self { rows: rows_, width, padded, words, each: each as i32, parts: rows.div_ceil(each) as i32 }
    }

    fn row_blocks(&self) -> usize {
        (self.rows as usize).div_ceil(ROWS)
    }

    /// A warp a row.
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
}

fn module(device: &candle_core::CudaDevice) -> Module<'_> {
    let ptx = include_str!(concat!(env!("OUT_DIR"), "/nt_xent.ptx"));
    Module { name: "skewbench_nt_xent", ptx, device }
}

impl<T: Element + Send + Sync> CustomOp2 for NtXent<T> {
    fn name(&self) -> &'static str {
        "nt-xent"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        no_gpu("nt_xent")
    }

    fn cuda_fwd(
        &self,
        first: &CudaStorage,
        first_layout: &Layout,
        second: &CudaStorage,
        second_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let module = module(device(first));
        let (images, width) = first_layout.shape().dims2()?;
        let (first, second) = (view::<T>(first, first_layout)?, view::<T>(second, second_layout)?);
        let sizes = Sizes::new::<T>(2 * images, width);
        let Sizes { rows, width, padded, words, each, parts } = sizes;
        let (count, all_parts) = (rows as usize, (parts * rows) as usize);

        let mut z = module.room::<T>(count * padded as usize)?;
        let mut inverse_length = module.room::<f32>(count)?;
        launch!(
            module,
            format!("nt_xent_normalise_{}", T::NAME),
            config(sizes.by_warps(), THREADS, 0),
            &first,
            &second,
            &rows,
            &width,
            &padded,
            &mut z,
            &mut inverse_length,
        );
        let mut maximum = module.room::<f32>(all_parts)?;
        let mut sum = module.room::<f32>(all_parts)?;
        let mut positive = module.room::<f32>(count)?;
        let blocks = [sizes.row_blocks(), parts as usize, 1];
        launch!(
            module,
            format!("nt_xent_forward_{}", T::NAME),
            config(blocks, THREADS, sizes.shared_bytes()),
            &z,
            &rows,
            &words,
            &each,
            &self.inverse_temperature,
            &mut maximum,
            &mut sum,
            &mut positive,
        );
        let mut log_sum_exp = module.room::<f32>(count)?;
        let mut loss = module.room::<f32>(1)?;
        launch!(
            module,
            "nt_xent_loss",
            config([1, 1, 1], 1024, 0),
            &maximum,
            &sum,
            &positive,
            &rows,
            &parts,
            &mut log_sum_exp,
            &mut loss,
        );
        // An operation is applied once; were it twice, the numbers would be the same.
        let _ = self.saved.set(Saved { sizes, z, inverse_length, log_sum_exp });
        Ok((CudaStorage::wrap_cuda_slice(loss, module.device.clone()), Shape::from(())))
    }

    fn bwd(
        &self,
        first: &Tensor,
        _: &Tensor,
        _: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(Saved { sizes, z, inverse_length, log_sum_exp }) = self.saved.get() else {
            return Err(
                Error::Msg("nt_xent: expected a forward pass before the backward pass".to_owned()).bt()
            );
        };
        let module = module(first.device().as_cuda_device()?);
        let Sizes { rows, width, padded, words, each, parts } = *sizes;
        let mut partial = module.room::<f32>((parts * rows) as usize * padded as usize)?;
        let blocks = [sizes.row_blocks(), parts as usize, (padded as usize).div_ceil(BAND)];
        launch!(
            module,
            format!("nt_xent_backward_{}", T::NAME),
            config(blocks, THREADS, sizes.shared_bytes()),
            z,
            log_sum_exp,
            &rows,
            &words,
            &each,
            &self.inverse_temperature,
            &mut partial,
        );
        let mut gradient = module.room::<f32>((rows * width) as usize)?;
        with_view::<f32, _>(upstream, |upstream| {
            launch!(
                module,
                format!("nt_xent_gradient_{}", T::NAME),
                config(sizes.by_warps(), THREADS, 0),
                &partial,
                z,
                inverse_length,
                upstream,
                &rows,
                &width,
                &padded,
                &parts,
                &self.inverse_temperature,
                &mut gradient,
            );
            Ok(())
        })?;
        let images = rows as usize / 2;
        let both = constant(gradient, module.device, (2 * images, width as usize)).to_dtype(first.dtype())?;
        Ok((Some(both.narrow(0, 0, images)?), Some(both.narrow(0, images, images)?)))
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
                    sizes.each * sizes.parts >= rows as i32 && sizes.each * (sizes.parts - 1) < rows as i32
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
