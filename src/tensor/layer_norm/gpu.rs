//! Layer normalisation by `layer_norm.cu`: what is launched, and its place in automatic differentiation. Weights and
//! statistics are f32.

use std::sync::OnceLock;

use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp3, DType, Layout, Result, Shape, Tensor, bail,
};
use half::bf16;

use crate::tensor::{
    gpu::launch::{
        Element, LANES, Module, PARTS, config, constant, device, launch, no_forward_pass, no_gpu, not_a_type,
        view, with_view,
    },
    graph::chain::apply3,
};

// As in layer_norm.cu.
const THREADS: usize = 256;
const WARPS: usize = 8;

fn module(device: &CudaDevice) -> Module<'_> {
    let ptx = include_str!(concat!(env!("OUT_DIR"), "/layer_norm.ptx"));
    Module { name: "skewbench_layer_norm", ptx, device }
}

/// As [`crate::tensor::layer_norm()`].
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
        let mut y = module.room::<T>(count)?;
        let (mut mean, mut inverse) = (module.room::<f32>(rows)?, module.room::<f32>(rows)?);
        let lines = config([rows.div_ceil(WARPS), 1, 1], THREADS, 0);
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
        let module = module(x.device().as_cuda_device()?);
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
                            let lines = config([rows.div_ceil(WARPS), 1, 1], THREADS, 0);
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
                            let columns = config([width.div_ceil(LANES), PARTS, 1], THREADS, 0);
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
        let columns = config([width.div_ceil(THREADS), 2, 1], THREADS, 0);
        launch!(module, "layer_norm_together", columns, &partial, &width_, &parts, &mut sums);
        let sums = constant(sums, module.device, (2, width));
        Ok((
            Some(constant(by_x, module.device, x.shape())),
            Some(sums.get(0)?.reshape(weight.shape())?),
            Some(sums.get(1)?.reshape(bias.shape())?),
        ))
    }
}
