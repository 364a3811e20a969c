//! Selection of rows by `rows.cu`, and its gradient.

use candle_core::{CudaDevice, CudaStorage, DType, Result, Shape, Tensor, cuda_backend::WrapErr};
use cudarc::driver::CudaView;

use super::members::members;
use crate::tensor::{
    gpu::launch::{LANES, Module, config, constant, device, grid_stride, launch, view, with_views},
    graph::operation::{Gradients, OnGpu, Operation, node},
};

// Must equal the constant in rows.cu.
const THREADS: usize = 256;
/// Largest number of blocks along the grid's second direction.
const MOST_ROWS: usize = 65_535;

/// Returns whether [`pick_rows`] supports these rows.
pub fn supports(rows: &Tensor) -> bool {
    rows.device().is_cuda() && rows.dtype() == DType::F32 && rows.dims()[0] <= MOST_ROWS
}

/// Like [`crate::tensor::pick_rows`], which has checked the picks.
pub fn pick_rows(rows: &Tensor, picks: &[u32]) -> Result<Tensor> {
    node(&[&rows.contiguous()?], PickRows { picks: picks.to_vec() })
}

struct PickRows {
    picks: Vec<u32>,
}

fn module(device: &CudaDevice) -> Module<'_> {
    let ptx = include_str!(concat!(env!("OUT_DIR"), "/rows.ptx"));
    Module { name: "skewbench_rows", ptx, device }
}

impl Operation for PickRows {
    const NAME: &'static str = "pick rows";

    fn on_gpu(&self, arguments: &[OnGpu]) -> Result<(CudaStorage, Shape)> {
        let (rows, layout) = arguments[0];
        let module = module(device(rows));
        let (_, width) = layout.shape().dims2()?;
        let rows = view::<f32>(rows, layout)?;
        let picks = module.device.cuda_stream().clone_htod(&self.picks).w()?;
        let (count, width_) = (self.picks.len() as i64, width as i32);
        let blocks = grid_stride(self.picks.len() * width, THREADS);
        // SAFETY: pick_rows of rows.cu writes `count` rows of `width`, and all picked rows exist.
        let out = unsafe {
            let mut out = module.alloc::<f32>(self.picks.len() * width)?;
            launch!(module, "pick_rows", blocks, &rows, &picks, &count, &width_, &mut out);
            out
        };
        let storage = CudaStorage::wrap_cuda_slice(out, module.device.clone());
        Ok((storage, (self.picks.len(), width).into()))
    }

    fn backward(&self, arguments: &[&Tensor], _: &Tensor, slope: &Tensor) -> Result<Gradients> {
        let rows = arguments[0];
        let module = module(rows.device().as_cuda_device()?);
        let (count, width) = rows.dims2()?;
        let (starts, members) = members(&self.picks, count);
        let stream = module.device.cuda_stream();
        let (starts, members) = (stream.clone_htod(&starts).w()?, stream.clone_htod(&members).w()?);
        let width_ = width as i32;
        let by_rows = with_views([slope], |[slope]: &[CudaView<f32>; 1]| {
            let blocks = config([width.div_ceil(LANES), count, 1], THREADS, 0);
            // SAFETY: pick_rows_gradient of rows.cu writes `count` rows of `width`, and all members are rows of the
            // slope.
            unsafe {
                let mut by_rows = module.alloc::<f32>(count * width)?;
                launch!(
                    module,
                    "pick_rows_gradient",
                    blocks,
                    slope,
                    &starts,
                    &members,
                    &width_,
                    &mut by_rows
                );
                Ok(by_rows)
            }
        })?;
        Ok(vec![Some(constant(by_rows, module.device, rows.shape()))])
    }
}
