//! Layer normalisation by `layer_norm.cu`: kernel launches for the forward and the backward pass. Weights and
//! statistics are f32.

use std::sync::OnceLock;

use candle_core::{CudaDevice, CudaStorage, DType, Result, Shape, Tensor, bail};
use cudarc::driver::{CudaSlice, CudaView, LaunchConfig};
use half::bf16;

use crate::tensor::{
    gpu::launch::{
        Element, LANES, Module, PARTS, config, constant, device, launch, no_forward_pass, unsupported_dtype,
        view, with_views,
    },
    graph::{
        chain::apply,
        operation::{Gradients, OnGpu, Operation},
    },
};

// Must equal the constants in layer_norm.cu.
const THREADS: usize = 256;
const WARPS: usize = 8;

fn module(device: &CudaDevice) -> Module<'_> {
    let ptx = include_str!(concat!(env!("OUT_DIR"), "/layer_norm.ptx"));
    Module { name: "skewbench_layer_norm", ptx, device }
}

/// Like [`crate::tensor::layer_norm()`].
pub fn layer_norm(input: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    let (input, weight, bias) = (input.contiguous()?, weight.contiguous()?, bias.contiguous()?);
    match input.dtype() {
        DType::F32 => apply(&[&input, &weight, &bias], LayerNorm::<f32>::new(epsilon)),
        DType::BF16 => apply(&[&input, &weight, &bias], LayerNorm::<bf16>::new(epsilon)),
        other => unsupported_dtype("layer norm", other),
    }
}

struct LayerNorm<T> {
    epsilon: f32,
    /// Mean and reciprocal of the deviation, (rows) each.
    saved: OnceLock<[Tensor; 2]>,
    numbers: std::marker::PhantomData<T>,
}

impl<T: Element> LayerNorm<T> {
    fn new(epsilon: f64) -> Self {
        Self { epsilon: epsilon as f32, saved: OnceLock::new(), numbers: std::marker::PhantomData }
    }

    /// Returns the gradient with respect to rows (rows, width) `x`.
    fn by_x(
        module: &Module,
        [x, slope]: &[CudaView<T>; 2],
        [weight, mean, inverse]: &[CudaView<f32>; 3],
        (rows, width): (usize, usize),
    ) -> Result<CudaSlice<T>> {
        let (rows_, width_) = (rows as i32, width as i32);
        let name = format!("layer_norm_gradient_{}", T::NAME);
        // SAFETY: layer_norm_gradient of layer_norm.cu writes (rows, width) numbers. It reads as many of `x` and of
        // the slope, `width` weights, and a mean and an inverse deviation for each row.
        unsafe {
            let mut by_x = module.alloc::<T>(rows * width)?;
            launch!(
                module,
                name,
                warp_per_row(rows),
                x,
                slope,
                weight,
                mean,
                inverse,
                &rows_,
                &width_,
                &mut by_x,
            );
            Ok(by_x)
        }
    }

    /// Returns gradients with respect to weight, then to bias: (2, width).
    fn by_affine(
        module: &Module,
        [x, slope]: &[CudaView<T>; 2],
        [_, mean, inverse]: &[CudaView<f32>; 3],
        (rows, width): (usize, usize),
    ) -> Result<CudaSlice<f32>> {
        let (rows, width_, parts) = (rows as i32, width as i32, PARTS as i32);
        let columns = config([width.div_ceil(LANES), PARTS, 1], THREADS, 0);
        let all = config([width.div_ceil(THREADS), 2, 1], THREADS, 0);
        let name = format!("layer_norm_sums_{}", T::NAME);
        // SAFETY: layer_norm_sums of layer_norm.cu writes (parts, 2, width) sums, with as many parts as the grid's
        // second size, `PARTS`; layer_norm_together adds them up to (2, width).
        unsafe {
            let mut partial = module.alloc::<f32>(2 * PARTS * width)?;
            launch!(module, name, columns, x, slope, mean, inverse, &rows, &width_, &mut partial);
            let mut sums = module.alloc::<f32>(2 * width)?;
            launch!(module, "layer_norm_together", all, &partial, &width_, &parts, &mut sums);
            Ok(sums)
        }
    }
}

/// Returns the launch configuration with one warp per row.
fn warp_per_row(rows: usize) -> LaunchConfig {
    config([rows.div_ceil(WARPS), 1, 1], THREADS, 0)
}

impl<T: Element + Send + Sync> Operation for LayerNorm<T> {
    const NAME: &'static str = "layer norm";

    fn on_gpu(&self, arguments: &[OnGpu]) -> Result<(CudaStorage, Shape)> {
        let ((x, layout), (weight, weight_layout), (bias, bias_layout)) =
            (arguments[0], arguments[1], arguments[2]);
        let module = module(device(x));
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
        let (rows_, width) = (rows as i32, width as i32);
        let name = format!("layer_norm_{}", T::NAME);
        // SAFETY: layer_norm of layer_norm.cu writes `count` numbers, and a mean and an inverse deviation for each
        // row.
        let (y, saved) = unsafe {
            let mut y = module.alloc::<T>(count)?;
            let (mut mean, mut inverse) = (module.alloc::<f32>(rows)?, module.alloc::<f32>(rows)?);
            launch!(
                module,
                name,
                warp_per_row(rows),
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
            (y, [mean, inverse])
        };
        let _ = self.saved.set(saved.map(|numbers| constant(numbers, module.device, rows)));
        Ok((CudaStorage::wrap_cuda_slice(y, module.device.clone()), layout.shape().clone()))
    }

    fn backward(&self, arguments: &[&Tensor], _: &Tensor, slope: &Tensor) -> Result<Gradients> {
        let Some([mean, inverse]) = self.saved.get() else { return no_forward_pass(Self::NAME) };
        let (x, weight, bias) = (arguments[0], arguments[1], arguments[2]);
        let module = module(x.device().as_cuda_device()?);
        let width = weight.elem_count();
        let sizes = (x.elem_count() / width, width);
        let (by_x, sums) = with_views([x, slope], |rows| {
            with_views([weight, mean, inverse], |constants| {
                let by_x = Self::by_x(&module, rows, constants, sizes)?;
                Ok((by_x, Self::by_affine(&module, rows, constants, sizes)?))
            })
        })?;
        let sums = constant(sums, module.device, (2, width));
        Ok(vec![
            Some(constant(by_x, module.device, x.shape())),
            Some(sums.get(0)?.reshape(weight.shape())?),
            Some(sums.get(1)?.reshape(bias.shape())?),
        ])
    }
}
