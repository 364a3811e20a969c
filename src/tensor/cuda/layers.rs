//! Batch normalisation, layer normalisation, GELU and pooling by kernels of our own: what is launched, and its place in automatic
//! differentiation. Weights and statistics are f32; numbers f32 or bf16.

use std::sync::{Arc, OnceLock};

use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp1, CustomOp2, CustomOp3, DType, Error, Layout, Result,
    Shape, Tensor, bail,
};
use cudarc::driver::{CudaSlice, DeviceRepr, LaunchConfig};
use half::bf16;

use super::{
    Element, LANES, Module, PARTS, aligned, config, constant, device, launch, no_gpu, through, view,
    with_view,
};
use crate::tensor::{
    batch_norm::{EPSILON, Statistics, Then},
    chain::{apply1, apply2, apply3, join},
    pooling::Pool,
};

// As in batch_norm.cu and transformer.cu.
const BATCH_NORM_THREADS: usize = 512;
const TRANSFORMER_THREADS: usize = 256;
const TRANSFORMER_WARPS: usize = 8;

fn module<'a>(name: &'static str, device: &'a CudaDevice) -> Module<'a> {
    let ptx = match name {
        "batch_norm" => include_str!(concat!(env!("OUT_DIR"), "/batch_norm.ptx")),
        "pooling" => include_str!(concat!(env!("OUT_DIR"), "/pooling.ptx")),
        _ => include_str!(concat!(env!("OUT_DIR"), "/transformer.ptx")),
    };
    Module { name, ptx, device }
}

pub(super) fn transformer(device: &CudaDevice) -> Module<'_> {
    module("transformer", device)
}

fn not_a_type<T>(name: &str, dtype: DType) -> Result<T> {
    Err(Error::Msg(format!("{name}: numbers are {dtype:?}, expected f32 or bf16")).bt())
}

fn no_forward_pass<T>(name: &str) -> Result<T> {
    Err(Error::Msg(format!("{name}: expected a forward pass before the backward pass")).bt())
}

/// As [`crate::tensor::gelu`].
pub fn gelu(input: &Tensor) -> Result<Tensor> {
    let input = aligned(input)?;
    match input.dtype() {
        DType::F32 => apply1(&input, Gelu::<f32>::default()),
        DType::BF16 => apply1(&input, Gelu::<bf16>::default()),
        other => not_a_type("gelu", other),
    }
}

#[derive(Default)]
struct Gelu<T>(std::marker::PhantomData<T>);

impl<T: Element> CustomOp1 for Gelu<T> {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        no_gpu("gelu")
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let module = module("transformer", device(x));
        let (x, count) = (view::<T>(x, layout)?, layout.shape().elem_count() as i64);
        let mut y = module.room::<T>(count as usize)?;
        let blocks = through(count as usize, TRANSFORMER_THREADS);
        launch!(module, format!("gelu_{}", T::NAME), blocks, &x, &count, &mut y);
        Ok((CudaStorage::wrap_cuda_slice(y, module.device.clone()), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, slope: &Tensor) -> Result<Option<Tensor>> {
        let module = module("transformer", x.device().as_cuda_device()?);
        let count = x.elem_count() as i64;
        let mut by_x = module.room::<T>(x.elem_count())?;
        with_view::<T, _>(x, |x| {
            with_view::<T, _>(slope, |slope| {
                let blocks = through(count as usize, TRANSFORMER_THREADS);
                launch!(module, format!("gelu_gradient_{}", T::NAME), blocks, x, slope, &count, &mut by_x);
                Ok(())
            })
        })?;
        Ok(Some(constant(by_x, module.device, x.shape())))
    }
}

/// `Pool` of `pooling.cu`: batch, height, width and channels of images, height and width of the output, then the window.
#[derive(Clone, Copy)]
#[repr(C)]
struct Windows([i32; 9]);

// SAFETY: plain numbers, laid out as the kernel's structure.
unsafe impl DeviceRepr for Windows {}

/// As [`crate::tensor::max_pool`], whose output is `down` x `across`.
pub fn max_pool(images: &Tensor, pool: Pool, (down, across): (usize, usize)) -> Result<Tensor> {
    let images = aligned(images)?;
    let (batch, height, width, channels) = images.dims4()?;
    let Pool { kernel, stride, padding } = pool;
    let sizes = [batch, height, width, channels, down, across, kernel, stride, padding];
    let windows = Windows(sizes.map(|size| size as i32));
    match images.dtype() {
        DType::F32 => apply1(&images, MaxPool::<f32>::new(windows)),
        DType::BF16 => apply1(&images, MaxPool::<bf16>::new(windows)),
        other => not_a_type("max pool", other),
    }
}

struct MaxPool<T> {
    windows: Windows,
    winners: OnceLock<CudaSlice<u8>>,
    numbers: std::marker::PhantomData<T>,
}

impl<T> MaxPool<T> {
    fn new(windows: Windows) -> Self {
        Self { windows, winners: OnceLock::new(), numbers: std::marker::PhantomData }
    }
}

impl<T: Element> CustomOp1 for MaxPool<T> {
    fn name(&self) -> &'static str {
        "max pool"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        no_gpu("max pool")
    }

    fn cuda_fwd(&self, images: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let module = module("pooling", device(images));
        let images = view::<T>(images, layout)?;
        let [batch, _, _, channels, down, across, ..] = self.windows.0.map(|size| size as usize);
        let count = batch * down * across * channels;
        let (mut out, mut winners) = (module.room::<T>(count)?, module.room::<u8>(count)?);
        let blocks = through(count, TRANSFORMER_THREADS);
        launch!(
            module,
            format!("max_pool_{}", T::NAME),
            blocks,
            &images,
            &self.windows,
            &mut out,
            &mut winners
        );
        let _ = self.winners.set(winners);
        let storage = CudaStorage::wrap_cuda_slice(out, module.device.clone());
        Ok((storage, (batch, down, across, channels).into()))
    }

    fn bwd(&self, images: &Tensor, _: &Tensor, slope: &Tensor) -> Result<Option<Tensor>> {
        let Some(winners) = self.winners.get() else { return no_forward_pass("max pool") };
        let module = module("pooling", images.device().as_cuda_device()?);
        let mut by_images = module.room::<T>(images.elem_count())?;
        with_view::<T, _>(slope, |slope| {
            let blocks = through(images.elem_count(), TRANSFORMER_THREADS);
            let name = format!("max_pool_gradient_{}", T::NAME);
            launch!(module, name, blocks, slope, winners, &self.windows, &mut by_images);
            Ok(())
        })?;
        Ok(Some(constant(by_images, module.device, images.shape())))
    }
}

/// As [`crate::tensor::layer_norm`].
pub fn layer_norm(input: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    let (input, weight, bias) = (input.contiguous()?, weight.contiguous()?, bias.contiguous()?);
    match input.dtype() {
        DType::F32 => apply3(&input, &weight, &bias, LayerNorm::<f32>::new(epsilon)),
        DType::BF16 => apply3(&input, &weight, &bias, LayerNorm::<bf16>::new(epsilon)),
        other => not_a_type("layer norm", other),
    }
}

struct LayerNorm<T> {
    epsilon: f32,
    /// Mean and one over the deviation, (rows) each.
    saved: OnceLock<[Tensor; 2]>,
    numbers: std::marker::PhantomData<T>,
}

impl<T> LayerNorm<T> {
    fn new(epsilon: f64) -> Self {
        Self { epsilon: epsilon as f32, saved: OnceLock::new(), numbers: std::marker::PhantomData }
    }
}

impl<T: Element> CustomOp3 for LayerNorm<T> {
    fn name(&self) -> &'static str {
        "layer-norm"
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
        no_gpu("layer norm")
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let module = module("transformer", device(x));
        let (count, width) = (layout.shape().elem_count(), weight_layout.shape().elem_count());
        if width == 0
            || layout.shape().dims().last() != Some(&width)
            || bias_layout.shape().elem_count() != width
        {
            bail!("layer norm: rows of {:?} by weights of {width}", layout.shape())
        }
        let rows = count / width;
        let x = view::<T>(x, layout)?;
        let (weight, bias) = (view::<f32>(weight, weight_layout)?, view::<f32>(bias, bias_layout)?);
        let mut y = module.room::<T>(count)?;
        let (mut mean, mut inverse) = (module.room::<f32>(rows)?, module.room::<f32>(rows)?);
        let lines = config([rows.div_ceil(TRANSFORMER_WARPS), 1, 1], TRANSFORMER_THREADS, 0);
        let (rows_, width) = (rows as i32, width as i32);
        launch!(
            module,
            format!("layer_norm_{}", T::NAME),
            lines,
            &x,
            &weight,
            &bias,
            &self.epsilon,
            &rows_,
            &width,
            &mut y,
            &mut mean,
            &mut inverse,
        );
        let _ = self.saved.set([mean, inverse].map(|numbers| constant(numbers, module.device, rows)));
        Ok((CudaStorage::wrap_cuda_slice(y, module.device.clone()), layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        slope: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some([mean, inverse]) = self.saved.get() else { return no_forward_pass("layer norm") };
        let module = module("transformer", x.device().as_cuda_device()?);
        let width = weight.elem_count();
        let rows = x.elem_count() / width;
        let mut by_x = module.room::<T>(rows * width)?;
        let mut partial = module.room::<f32>(2 * PARTS * width)?;
        let mut sums = module.room::<f32>(2 * width)?;
        let (rows_, width_, parts) = (rows as i32, width as i32, PARTS as i32);
        with_view::<T, _>(x, |x| {
            with_view::<T, _>(slope, |slope| {
                with_view::<f32, _>(weight, |weight| {
                    with_view::<f32, _>(mean, |mean| {
                        with_view::<f32, _>(inverse, |inverse| {
                            let lines =
                                config([rows.div_ceil(TRANSFORMER_WARPS), 1, 1], TRANSFORMER_THREADS, 0);
                            launch!(
                                module,
                                format!("layer_norm_gradient_{}", T::NAME),
                                lines,
                                x,
                                slope,
                                weight,
                                mean,
                                inverse,
                                &rows_,
                                &width_,
                                &mut by_x,
                            );
                            let columns = config([width.div_ceil(LANES), PARTS, 1], TRANSFORMER_THREADS, 0);
                            launch!(
                                module,
                                format!("layer_norm_sums_{}", T::NAME),
                                columns,
                                x,
                                slope,
                                mean,
                                inverse,
                                &rows_,
                                &width_,
                                &mut partial,
                            );
                            Ok(())
                        })
                    })
                })
            })
        })?;
        let columns = config([width.div_ceil(TRANSFORMER_THREADS), 2, 1], TRANSFORMER_THREADS, 0);
        launch!(module, "layer_norm_together", columns, &partial, &width_, &parts, &mut sums);
        let sums = constant(sums, module.device, (2, width));
        Ok((
            Some(constant(by_x, module.device, x.shape())),
            Some(sums.get(0)?.reshape(weight.shape())?),
            Some(sums.get(1)?.reshape(bias.shape())?),
        ))
    }
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
    let parts = count / together / (BATCH_NORM_THREADS * LEAST_OF_A_THREAD);
    let parts = parts.clamp(1, MOST_PARTS);
    let across = (channels / together).div_ceil(BATCH_NORM_THREADS);
    (config([across, parts, 1], BATCH_NORM_THREADS, 0), parts)
}

/// As [`crate::tensor::batch_norm`], which has checked shapes.
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
        let module = module("batch_norm", device(x));
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
                let all = config([channels.div_ceil(LANES), 1, 1], BATCH_NORM_THREADS, 0);
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
        let blocks = through(count, BATCH_NORM_THREADS);
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
        let module = module("batch_norm", x.device().as_cuda_device()?);
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
                                let all = config([channels.div_ceil(LANES), 1, 1], BATCH_NORM_THREADS, 0);
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
                                let blocks = through(count, BATCH_NORM_THREADS);
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
