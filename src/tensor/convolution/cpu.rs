//! Convolution on the CPU: the choice of the algorithm by shape, and the backward pass.

use candle_core::{CpuStorage, DType, Result, Shape, Tensor, backend::BackendStorage};
use half::bf16;

use super::{
    geometry::Geometry,
    products,
    weights::Order,
    winograd::{self, Filters},
};
use crate::tensor::{
    cpu::{
        factor::Factor,
        patches::Windows,
        storage::{constant, unsupported, unwritten, values, with_values},
    },
    graph::{
        chain::apply,
        gradients::hand_over,
        operation::{Gradients, OnCpu, Operation},
    },
};

/// Like [`crate::tensor::convolution()`].
pub fn convolution(images: &Tensor, weights: &Tensor, geometry: Geometry) -> Result<Tensor> {
    apply(&[&images.contiguous()?, &weights.contiguous()?], Convolution(geometry))
}

struct Convolution(Geometry);

impl Convolution {
    fn forward<N: Factor>(&self, arguments: &[OnCpu]) -> Result<(CpuStorage, Shape)> {
        let (images, weights) = (arguments[0], arguments[1]);
        let (windows, axes) = self.0.plan(images.1.shape(), weights.1.shape())?;
        let (images, weights) = (values::<N>(images.0, images.1)?, values::<N::Sum>(weights.0, weights.1)?);
        let (down, across) = windows.output_size();
        // SAFETY: both algorithms write every pixel's channels.
        let mut out = unsafe { unwritten(windows.pixels() * axes.outputs) };
        if winograd::supports(&windows, axes.outputs) {
            let filters = Filters::new(weights, axes.outputs, axes.inputs);
            winograd::forward(&windows, images, filters, &mut out);
        } else {
            products::forward(&windows, images, &axes.pack(weights, Order::OutputFirst), &mut out);
        }
        Ok((N::to_cpu_storage_owned(out), (windows.batch, down, across, axes.outputs).into()))
    }

    fn gradients<N: Factor>(
        &self,
        images: &Tensor,
        weights: &Tensor,
        gradient: &Tensor,
    ) -> Result<Gradients> {
        let (windows, axes) = self.0.plan(images.shape(), weights.shape())?;
        let wanted = images.track_op();
        let backward = |x: &[N], w: &[N::Sum], dy: &[N]| {
            if winograd::supports(&windows, axes.outputs) {
                let by_images = wanted.then(|| {
                    let filters = Filters::adjoint(w, axes.outputs, axes.inputs);
                    // SAFETY: the mirrored convolution writes every pixel's channels.
                    let mut by_images: Vec<N> = unsafe { unwritten(x.len()) };
                    winograd::forward(&mirrored(&windows, axes.outputs), dy, filters, &mut by_images);
                    by_images
                });
                return (by_images, winograd::weights_gradient(&windows, x, dy, axes.outputs));
            }
            if windows.stride > 1 || !wanted {
                let packed = wanted.then(|| axes.pack(w, Order::OutputFirst));
                return products::backward(&windows, x, dy, packed.as_deref(), axes);
            }
            let packed = axes.pack(w, Order::MirroredTapFirst);
            let mirrored = mirrored(&windows, axes.outputs);
            let (by_images, by_weights) = products::backward_stride_one(&mirrored, x, dy, &packed, axes);
            (Some(by_images), by_weights)
        };
        let (by_images, by_weights) = with_values::<N, _, _>([images, gradient], |[x, dy]| {
            with_values::<N::Sum, _, _>([weights], |[w]| Ok(backward(x, w, dy)))
        })?;
        let by_images = by_images.map(|x| constant(x, images.shape()));
        Ok(vec![by_images, hand_over(weights, Some(constant(by_weights, weights.shape())))?])
    }
}

/// Returns, for a stride-1 convolution, the windows of the output's gradient, one for each input pixel.
fn mirrored(windows: &Windows, outputs: usize) -> Windows {
    let (height, width) = windows.output_size();
    let (rows, columns) = windows.kernel;
    let padding = (rows - 1 - windows.padding.0, columns - 1 - windows.padding.1);
    Windows { height, width, channels: outputs, padding, ..*windows }
}

impl Operation for Convolution {
    const NAME: &'static str = "convolution";

    fn on_cpu(&self, arguments: &[OnCpu]) -> Result<(CpuStorage, Shape)> {
        match arguments[0].0 {
            CpuStorage::BF16(_) => self.forward::<bf16>(arguments),
            CpuStorage::F32(_) => self.forward::<f32>(arguments),
            CpuStorage::F64(_) => self.forward::<f64>(arguments),
            other => unsupported(Self::NAME, other.dtype()),
        }
    }

    fn backward(&self, arguments: &[&Tensor], _: &Tensor, gradient: &Tensor) -> Result<Gradients> {
        match gradient.dtype() {
            DType::BF16 => self.gradients::<bf16>(arguments[0], arguments[1], gradient),
            DType::F32 => self.gradients::<f32>(arguments[0], arguments[1], gradient),
            DType::F64 => self.gradients::<f64>(arguments[0], arguments[1], gradient),
            other => unsupported(Self::NAME, other),
        }
    }
}
