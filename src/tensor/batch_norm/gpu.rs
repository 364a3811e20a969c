//! Batch normalisation by `batch_norm.cu`: kernel launches for the forward and the backward pass. Weights and
//! statistics are f32.

use std::sync::{Arc, OnceLock};

use candle_core::{CudaDevice, CudaStorage, DType, Result, Shape, Tensor};
use cudarc::driver::{CudaSlice, CudaView, LaunchConfig};
use half::bf16;

use super::statistics::{EPSILON, Epilogue, Statistics};
use crate::tensor::{
    gpu::launch::{
        Element, LANES, Module, aligned, config, constant, device, grid_stride, launch, no_forward_pass,
        unsupported_dtype, view, with_views,
    },
    graph::{
        chain::apply,
        operation::{Gradients, OnGpu, Operation},
        pair::join,
    },
};

// Must equal the constant in batch_norm.cu.
const THREADS: usize = 512;

fn module(device: &CudaDevice) -> Module<'_> {
    let ptx = include_str!(concat!(env!("OUT_DIR"), "/batch_norm.ptx"));
    Module { name: "skewbench_batch_norm", ptx, device }
}

/// Largest number of parts that the rows of a sum are split into: two for each multiprocessor of an H100 (ours).
const MOST_PARTS: usize = 264;
/// Smallest number of elements per thread of a part; those that are read together, sixteen bytes, count as one (ours).
const LEAST_OF_A_THREAD: usize = 8;

/// Returns the launch configuration of sums over rows, and the number of parts that the rows are split into.
///
/// `count` is the number of elements of all rows. Parts depend only on type and shape, so that every card adds in
/// the same order.
fn sums_over_rows<T: Element>(count: usize, channels: usize) -> (LaunchConfig, usize) {
    let wide = 16 / size_of::<T>();
    let together = if channels.is_multiple_of(wide) { wide } else { 1 };
    let parts = count / together / (THREADS * LEAST_OF_A_THREAD);
    let parts = parts.clamp(1, MOST_PARTS);
    let across = (channels / together).div_ceil(THREADS);
    (config([across, parts, 1], THREADS, 0), parts)
}

/// Like [`crate::tensor::batch_norm()`], which has checked the input and the given statistics.
pub fn batch_norm(
    input: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    given: Option<Statistics>,
    then: Epilogue,
) -> Result<(Tensor, Statistics)> {
    let input = aligned(input)?;
    let affine = join(weight, bias)?;
    let residual = then.residual.map(aligned).transpose()?;
    let used = Arc::new(OnceLock::new());
    let given = given.map(|given| Used::from_statistics(&given)).transpose()?;
    let output = match input.dtype() {
        DType::F32 => {
            BatchNorm::<f32>::new(then.relu, given, &used).apply(&input, &affine, residual.as_ref())?
        }
        DType::BF16 => {
            BatchNorm::<bf16>::new(then.relu, given, &used).apply(&input, &affine, residual.as_ref())?
        }
        other => return unsupported_dtype("batch norm", other),
    };
    let Some(Used { mean, variance, .. }) = used.get() else { return no_forward_pass("batch norm") };
    Ok((output, Statistics { mean: mean.clone(), variance: variance.clone() }))
}

/// Statistics of each channel, and the reciprocal of the deviation: (channels) each, f32.
#[derive(Clone)]
struct Used {
    mean: Tensor,
    variance: Tensor,
    inverse: Tensor,
}

impl Used {
    fn from_statistics(Statistics { mean, variance }: &Statistics) -> Result<Self> {
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
            Some(residual) => apply(&[input, affine, residual], self),
            None => apply(&[input, affine], self),
        }
    }

    /// Computes statistics of the rows (rows, channels) of `x`.
    fn measure(module: &Module, x: &CudaView<T>, (rows, channels): (usize, usize)) -> Result<Used> {
        let (columns, parts) = sums_over_rows::<T>(rows * channels, channels);
        let (rows, channels_, parts_) = (rows as i32, channels as i32, parts as i32);
        let name = format!("batch_norm_statistics_{}", T::NAME);
        // SAFETY: batch_norm_statistics of batch_norm.cu writes two sums for each part and channel, and for each
        // channel the number that differences are taken from; batch_norm_moments writes a mean, a variance and an
        // inverse deviation for each channel.
        let found = unsafe {
            let mut partial = module.alloc::<f32>((2 * parts + 1) * channels)?;
            launch!(module, name, columns, x, &rows, &channels_, &mut partial);
            let (mut mean, mut variance) = (module.alloc::<f32>(channels)?, module.alloc::<f32>(channels)?);
            let mut inverse = module.alloc::<f32>(channels)?;
            launch!(
                module,
                "batch_norm_moments",
                by_channels(channels),
                &partial,
                &rows,
                &channels_,
                &parts_,
                &mut mean,
                &mut variance,
                &mut inverse,
            );
            [mean, variance, inverse]
        };
        let [mean, variance, inverse] = found.map(|numbers| constant(numbers, module.device, channels));
        Ok(Used { mean, variance, inverse })
    }

    /// Computes the output of rows (rows, channels).
    fn normalise(
        &self,
        module: &Module,
        (x, residual): (&CudaView<T>, Option<&CudaView<T>>),
        affine: &CudaView<f32>,
        [mean, inverse]: &[CudaView<f32>; 2],
        (rows, channels): (usize, usize),
    ) -> Result<CudaSlice<T>> {
        let count = rows * channels;
        let (rows, channels_, relu) = (rows as i32, channels as i32, i32::from(self.relu));
        let (weight, bias) = (affine.slice(..channels), affine.slice(channels..));
        let blocks = grid_stride(count, THREADS);
        let name = format!("batch_norm_apply_{}", T::NAME);
        // SAFETY: batch_norm_apply of batch_norm.cu writes (rows, channels) numbers. It reads as many of `x` and,
        // unless it is null, of the residual, and four constants for each channel.
        unsafe {
            let mut y = module.alloc::<T>(count)?;
            match residual {
                Some(residual) => launch!(
                    module, name, blocks, x, residual, &weight, &bias, mean, inverse, &rows, &channels_,
                    &relu, &mut y,
                ),
                None => launch!(
                    module, name, blocks, x, &NULL, &weight, &bias, mean, inverse, &rows, &channels_, &relu,
                    &mut y,
                ),
            }
            Ok(y)
        }
    }

    /// Returns gradients (2, channels) with respect to weight, then to bias, from rows (rows, channels).
    fn by_affine(
        &self,
        module: &Module,
        [x, y, slope]: &[CudaView<T>; 3],
        [_, mean, inverse]: &[CudaView<f32>; 3],
        (rows, channels): (usize, usize),
    ) -> Result<CudaSlice<f32>> {
        let (columns, parts) = sums_over_rows::<T>(rows * channels, channels);
        let (rows, channels_, parts_, relu) =
            (rows as i32, channels as i32, parts as i32, i32::from(self.relu));
        let name = format!("batch_norm_slopes_{}", T::NAME);
        // SAFETY: batch_norm_slopes of batch_norm.cu writes two sums for each part and channel; batch_norm_sums
        // adds them up to two gradients for each channel, with respect to bias first.
        unsafe {
            let mut partial = module.alloc::<f32>(2 * parts * channels)?;
            launch!(
                module,
                name,
                columns,
                x,
                y,
                slope,
                mean,
                inverse,
                &rows,
                &channels_,
                &relu,
                &mut partial
            );
            let mut sums = module.alloc::<f32>(2 * channels)?;
            {
                let (mut of_weight, mut of_bias) = sums.split_at_mut(channels);
                launch!(
                    module,
                    "batch_norm_sums",
                    by_channels(channels),
                    &partial,
                    &channels_,
                    &parts_,
                    &mut of_bias,
                    &mut of_weight,
                );
            }
            Ok(sums)
        }
    }

    /// Returns gradients with respect to `x` and, if there is one, to the residual, (rows, channels) each.
    fn by_x(
        &self,
        module: &Module,
        [x, y, slope]: &[CudaView<T>; 3],
        [affine, mean, inverse]: &[CudaView<f32>; 3],
        by_affine: &CudaSlice<f32>,
        (rows, channels): (usize, usize),
        has_residual: bool,
    ) -> Result<(CudaSlice<T>, Option<CudaSlice<T>>)> {
        let count = rows * channels;
        let (rows, channels_) = (rows as i32, channels as i32);
        let (relu, own) = (i32::from(self.relu), i32::from(self.given.is_none()));
        let (of_weight, of_bias) = (by_affine.slice(..channels), by_affine.slice(channels..));
        let weight = affine.slice(..channels);
        let blocks = grid_stride(count, THREADS);
        let name = format!("batch_norm_gradient_{}", T::NAME);
        // SAFETY: batch_norm_gradient of batch_norm.cu writes (rows, channels) numbers, and as many with respect to
        // the residual unless that pointer is null.
        unsafe {
            let mut by_x = module.alloc::<T>(count)?;
            let mut by_residual = has_residual.then(|| module.alloc::<T>(count)).transpose()?;
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
                    module, name, blocks, x, y, slope, &weight, mean, inverse, &of_bias, &of_weight, &rows,
                    &channels_, &relu, &own, &mut by_x, &NULL,
                ),
            }
            Ok((by_x, by_residual))
        }
    }
}

fn by_channels(channels: usize) -> LaunchConfig {
    config([channels.div_ceil(LANES), 1, 1], THREADS, 0)
}

/// A null pointer, as a kernel's argument.
const NULL: u64 = 0;

impl<T: Element + Send + Sync> Operation for BatchNorm<T> {
    const NAME: &'static str = "batch norm";

    /// Arguments are the input, weight and bias as one matrix (2, channels), and the residual if there is one.
    fn on_gpu(&self, arguments: &[OnGpu]) -> Result<(CudaStorage, Shape)> {
        let ((x, layout), (affine, affine_layout)) = (arguments[0], arguments[1]);
        let module = module(device(x));
        let (_, channels) = affine_layout.shape().dims2()?;
        let sizes = (layout.shape().elem_count() / channels, channels);
        let x = view::<T>(x, layout)?;
        let used = match &self.given {
            Some(given) => given.clone(),
            None => Self::measure(&module, &x, sizes)?,
        };
        let affine = view::<f32>(affine, affine_layout)?;
        let residual = arguments.get(2).map(|(residual, layout)| view::<T>(residual, layout)).transpose()?;
        let y = with_views([&used.mean, &used.inverse], |constants| {
            self.normalise(&module, (&x, residual.as_ref()), &affine, constants, sizes)
        })?;
        let _ = self.used.set(used);
        Ok((CudaStorage::wrap_cuda_slice(y, module.device.clone()), layout.shape().clone()))
    }

    fn reads(&self, argument: usize) -> bool {
        argument != 2
    }

    fn reads_result(&self) -> bool {
        true
    }

    fn backward(&self, arguments: &[&Tensor], y: &Tensor, slope: &Tensor) -> Result<Gradients> {
        let Some(used) = self.used.get() else { return no_forward_pass(Self::NAME) };
        let (x, affine, has_residual) = (arguments[0], arguments[1], arguments.len() > 2);
        let module = module(x.device().as_cuda_device()?);
        let (_, channels) = affine.dims2()?;
        let sizes = (x.elem_count() / channels, channels);
        let ((by_x, by_residual), by_affine) = with_views([x, y, slope], |rows| {
            with_views([affine, &used.mean, &used.inverse], |constants| {
                let by_affine = self.by_affine(&module, rows, constants, sizes)?;
                Ok((self.by_x(&module, rows, constants, &by_affine, sizes, has_residual)?, by_affine))
            })
        })?;
        let by_x = constant(by_x, module.device, x.shape());
        let mut by = vec![Some(by_x), Some(constant(by_affine, module.device, (2, channels)))];
        by.extend(by_residual.map(|by| Some(constant(by, module.device, x.shape()))));
        Ok(by)
    }
}
