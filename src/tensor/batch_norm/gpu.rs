//! Batch normalisation by `batch_norm.cu`: what is launched, and its place in automatic differentiation. Weights and
//! statistics are f32.

use std::sync::{Arc, OnceLock};

use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor,
};
use cudarc::driver::LaunchConfig;
use half::bf16;

use super::statistics::{EPSILON, Statistics, Then};
use crate::tensor::{
    gpu::launch::{
        Element, LANES, Module, aligned, config, constant, device, launch, no_forward_pass, no_gpu,
        not_a_type, through, view, with_view,
    },
    graph::chain::{apply2, apply3, join},
};

// As in batch_norm.cu.
const THREADS: usize = 512;

fn module(device: &CudaDevice) -> Module<'_> {
    let ptx = include_str!(concat!(env!("OUT_DIR"), "/batch_norm.ptx"));
    Module { name: "skewbench_batch_norm", ptx, device }
}

/// Parts that share the rows of batch normalisation's sums at most, two for each multiprocessor of an H100, and numbers that a
/// thread of one has at least, sixteen bytes counted as one. Ours.
const MOST_PARTS: usize = 264;
const LEAST_OF_A_THREAD: usize = 8;

/// Blocks for sums over the rows of `count` numbers, and how many of them share the rows: by shape alone, so that sums are added in
/// one order on every card.
fn sums_over_rows<T: Element>(count: usize, channels: usize) -> (LaunchConfig, usize) {
    let wide = 16 / size_of::<T>();
    let together = if channels.is_multiple_of(wide) { wide } else { 1 };
    let parts = count / together / (THREADS * LEAST_OF_A_THREAD);
    let parts = parts.clamp(1, MOST_PARTS);
    let across = (channels / together).div_ceil(THREADS);
    (config([across, parts, 1], THREADS, 0), parts)
}

/// As [`crate::tensor::batch_norm()`], which has checked shapes.
pub fn batch_norm(
    input: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    given: Option<Statistics>,
    then: Then,
) -> Result<(Tensor, Statistics)> {
    let input = aligned(input)?;
    let affine = join(weight, bias)?;
    let residual = then.residual.map(aligned).transpose()?;
    let used = Arc::new(OnceLock::new());
    let given = given.map(|given| Used::of(&given)).transpose()?;
    let output = match input.dtype() {
        DType::F32 => {
            BatchNorm::<f32>::new(then.relu, given, &used).apply(&input, &affine, residual.as_ref())?
        }
        DType::BF16 => {
            BatchNorm::<bf16>::new(then.relu, given, &used).apply(&input, &affine, residual.as_ref())?
        }
        other => return not_a_type("batch norm", other),
    };
    let Some(Used { mean, variance, .. }) = used.get() else { return no_forward_pass("batch norm") };
    Ok((output, Statistics { mean: mean.clone(), variance: variance.clone() }))
}

/// Statistics of each channel, and one over the deviation: (channels) each, f32.
#[derive(Clone)]
struct Used {
    mean: Tensor,
    variance: Tensor,
    inverse: Tensor,
}

impl Used {
    fn of(Statistics { mean, variance }: &Statistics) -> Result<Self> {
        let (mean, variance) = (mean.to_dtype(DType::F32)?, variance.to_dtype(DType::F32)?);
        let inverse = (&variance + EPSILON)?.sqrt()?.recip()?;
        Ok(Self { mean, variance, inverse })
    }
}

struct BatchNorm<T> {
    relu: bool,
    given: Option<Used>,
    used: Arc<OnceLock<Used>>,
    numbers: std::marker::PhantomData<T>,
}

impl<T: Element + Send + Sync> BatchNorm<T> {
    fn new(relu: bool, given: Option<Used>, used: &Arc<OnceLock<Used>>) -> Self {
        Self { relu, given, used: used.clone(), numbers: std::marker::PhantomData }
    }

    fn apply(self, input: &Tensor, affine: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        match residual {
            Some(residual) => apply3(input, affine, residual, self),
            None => apply2(input, affine, self),
        }
    }

    fn forward(
        &self,
        (x, layout): (&CudaStorage, &Layout),
        (affine, affine_layout): (&CudaStorage, &Layout),
        residual: Option<(&CudaStorage, &Layout)>,
    ) -> Result<(CudaStorage, Shape)> {
        let module = module(device(x));
        let (_, channels) = affine_layout.shape().dims2()?;
        let count = layout.shape().elem_count();
        let (rows, channels_, relu) = ((count / channels) as i32, channels as i32, i32::from(self.relu));
        let x = view::<T>(x, layout)?;
        let used = match &self.given {
            Some(given) => given.clone(),
            None => {
                let (columns, parts) = sums_over_rows::<T>(count, channels);
                // Two sums of each part and channel, and what differences were taken from.
                let mut partial = module.room::<f32>((2 * parts + 1) * channels)?;
                launch!(
                    module,
                    format!("batch_norm_statistics_{}", T::NAME),
                    columns,
                    &x,
                    &rows,
                    &channels_,
                    &mut partial
                );
                let mut found = [
                    module.room::<f32>(channels)?,
                    module.room::<f32>(channels)?,
                    module.room::<f32>(channels)?,
                ];
                let [mean, variance, inverse] = &mut found;
                let all = config([channels.div_ceil(LANES), 1, 1], THREADS, 0);
                let parts = parts as i32;
                launch!(
                    module,
                    "batch_norm_moments",
                    all,
                    &partial,
                    &rows,
                    &channels_,
                    &parts,
                    mean,
                    variance,
                    inverse
                );
                let [mean, variance, inverse] =
                    found.map(|numbers| constant(numbers, module.device, channels));
                Used { mean, variance, inverse }
            }
        };
        let affine = view::<f32>(affine, affine_layout)?;
        let (weight, bias) = (affine.slice(..channels), affine.slice(channels..));
        let mut y = module.room::<T>(count)?;
        let blocks = through(count, THREADS);
        let name = format!("batch_norm_apply_{}", T::NAME);
        with_view::<f32, _>(&used.mean, |mean| {
            with_view::<f32, _>(&used.inverse, |inverse| {
                match residual {
                    Some((residual, layout)) => {
                        let residual = view::<T>(residual, layout)?;
                        launch!(
                            module, name, blocks, &x, &residual, &weight, &bias, mean, inverse, &rows,
                            &channels_, &relu, &mut y,
                        );
                    }
                    None => launch!(
                        module, name, blocks, &x, &NULL, &weight, &bias, mean, inverse, &rows, &channels_,
                        &relu, &mut y,
                    ),
                }
                Ok(())
            })
        })?;
        let _ = self.used.set(used);
        Ok((CudaStorage::wrap_cuda_slice(y, module.device.clone()), layout.shape().clone()))
    }

    /// Gradients by input, affine, and where there is one the residual.
    fn backward(
        &self,
        x: &Tensor,
        affine: &Tensor,
        y: &Tensor,
        slope: &Tensor,
        has_residual: bool,
    ) -> Result<[Option<Tensor>; 3]> {
        let Some(used) = self.used.get() else { return no_forward_pass("batch norm") };
        let module = module(x.device().as_cuda_device()?);
        let (_, channels) = affine.dims2()?;
        let count = x.elem_count();
        let (columns, parts) = sums_over_rows::<T>(count, channels);
        let (rows, channels_, parts_) = ((count / channels) as i32, channels as i32, parts as i32);
        let (relu, own) = (i32::from(self.relu), i32::from(self.given.is_none()));
        let mut partial = module.room::<f32>(2 * parts * channels)?;
        let mut by_affine = module.room::<f32>(2 * channels)?;
        let mut by_x = module.room::<T>(count)?;
        let mut by_residual = has_residual.then(|| module.room::<T>(count)).transpose()?;
        with_view::<T, _>(x, |x| {
            with_view::<T, _>(y, |y| {
                with_view::<T, _>(slope, |slope| {
                    with_view::<f32, _>(affine, |affine| {
                        with_view::<f32, _>(&used.mean, |mean| {
                            with_view::<f32, _>(&used.inverse, |inverse| {
                                launch!(
                                    module,
                                    format!("batch_norm_slopes_{}", T::NAME),
                                    columns,
                                    x,
                                    y,
                                    slope,
                                    mean,
                                    inverse,
                                    &rows,
                                    &channels_,
                                    &relu,
                                    &mut partial,
                                );
                                let all = config([channels.div_ceil(LANES), 1, 1], THREADS, 0);
                                {
                                    let (mut of_weight, mut of_bias) = by_affine.split_at_mut(channels);
                                    launch!(
                                        module,
                                        "batch_norm_sums",
                                        all,
                                        &partial,
                                        &channels_,
                                        &parts_,
                                        &mut of_bias,
                                        &mut of_weight,
                                    );
                                }
                                let (of_weight, of_bias) =
                                    (by_affine.slice(..channels), by_affine.slice(channels..));
                                let weight = affine.slice(..channels);
                                let blocks = through(count, THREADS);
                                let name = format!("batch_norm_gradient_{}", T::NAME);
                                match &mut by_residual {
                                    Some(by_residual) => launch!(
                                        module,
                                        name,
                                        blocks,
                                        x,
                                        y,
                                        slope,
                                        &weight,
                                        mean,
                                        inverse,
                                        &of_bias,
                                        &of_weight,
                                        &rows,
                                        &channels_,
                                        &relu,
                                        &own,
                                        &mut by_x,
                                        by_residual,
                                    ),
                                    None => launch!(
                                        module, name, blocks, x, y, slope, &weight, mean, inverse, &of_bias,
                                        &of_weight, &rows, &channels_, &relu, &own, &mut by_x, &NULL,
                                    ),
                                }
                                Ok(())
                            })
                        })
                    })
                })
            })
        })?;
        let by_residual = by_residual.map(|numbers| constant(numbers, module.device, x.shape()));
        Ok([
            Some(constant(by_x, module.device, x.shape())),
            Some(constant(by_affine, module.device, (2, channels))),
            by_residual,
        ])
    }
}

/// A pointer to nothing, as a kernel's argument.
const NULL: u64 = 0;

impl<T: Element + Send + Sync> CustomOp2 for BatchNorm<T> {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        no_gpu("batch norm")
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        layout: &Layout,
        affine: &CudaStorage,
        affine_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.forward((x, layout), (affine, affine_layout), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        affine: &Tensor,
        y: &Tensor,
        slope: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [by_x, by_affine, _] = self.backward(x, affine, y, slope, false)?;
        Ok((by_x, by_affine))
    }
}

impl<T: Element + Send + Sync> CustomOp3 for BatchNorm<T> {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        no_gpu("batch norm")
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        layout: &Layout,
        affine: &CudaStorage,
        affine_layout: &Layout,
        residual: &CudaStorage,
        residual_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.forward((x, layout), (affine, affine_layout), Some((residual, residual_layout)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        affine: &Tensor,
        _: &Tensor,
        y: &Tensor,
        slope: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [by_x, by_affine, by_residual] = self.backward(x, affine, y, slope, true)?;
        Ok((by_x, by_affine, by_residual))
    }
}
