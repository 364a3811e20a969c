//! Rows picked by `rows.cu`, and their gradient.

use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp1, DType, Layout, Result, Shape, Tensor,
    cuda_backend::WrapErr,
};

use super::members::members;
use crate::tensor::gpu::launch::{
    LANES, Module, config, constant, device, launch, no_gpu, through, view, with_view,
};

// As in rows.cu.
const THREADS: usize = 256;
/// Blocks along the grid's second direction.
const MOST_ROWS: usize = 65_535;

/// Whether [`pick_rows`] takes these rows.
pub fn is_taken(rows: &Tensor) -> bool {
    rows.device().is_cuda() && rows.dtype() == DType::F32 && rows.dims()[0] <= MOST_ROWS
}

/// As [`crate::tensor::pick_rows`], which has checked the picks.
pub fn pick_rows(rows: &Tensor, picks: &[u32]) -> Result<Tensor> {
    rows.contiguous()?.apply_op1(PickRows { picks: picks.to_vec() })
}

struct PickRows {
    picks: Vec<u32>,
}

fn module(device: &CudaDevice) -> Module<'_> {
    let ptx = include_str!(concat!(env!("OUT_DIR"), "/rows.ptx"));
    Module { name: "skewbench_rows", ptx, device }
}

impl CustomOp1 for PickRows {
    fn name(&self) -> &'static str {
        "pick rows"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        no_gpu("pick rows")
    }

    fn cuda_fwd(&self, rows: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let module = module(device(rows));
        let (_, width) = layout.shape().dims2()?;
        let rows = view::<f32>(rows, layout)?;
        let picks = module.device.cuda_stream().clone_htod(&self.picks).w()?;
        let mut out = module.room::<f32>(self.picks.len() * width)?;
        let (count, width_) = (self.picks.len() as i64, width as i32);
        let blocks = through(count as usize * width, THREADS);
        launch!(module, "pick_rows", blocks, &rows, &picks, &count, &width_, &mut out);
        let storage = CudaStorage::wrap_cuda_slice(out, module.device.clone());
        Ok((storage, (self.picks.len(), width).into()))
    }

    fn bwd(&self, rows: &Tensor, _: &Tensor, slope: &Tensor) -> Result<Option<Tensor>> {
        let module = module(rows.device().as_cuda_device()?);
        let (count, width) = rows.dims2()?;
        let (starts, members) = members(&self.picks, count);
        let stream = module.device.cuda_stream();
        let (starts, members) = (stream.clone_htod(&starts).w()?, stream.clone_htod(&members).w()?);
        let mut by_rows = module.room::<f32>(count * width)?;
        let width_ = width as i32;
        with_view::<f32, _>(slope, |slope| {
            let blocks = config([width.div_ceil(LANES), count, 1], THREADS, 0);
            launch!(module, "pick_rows_gradient", blocks, slope, &starts, &members, &width_, &mut by_rows);
            Ok(())
        })?;
        Ok(Some(constant(by_rows, module.device, rows.shape())))
    }
}
