//! Convolution on the CPU: which way a shape goes, and its place in automatic differentiation.

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, backend::BackendStorage};

use super::{
    geometry::Geometry,
    products,
    weights::Order,
    winograd::{self, Filters},
};
use crate::tensor::{
    cpu::{
        patches::Windows,
        storage::{Real, constant, unsupported, unwritten, values, with_values},
    },
    graph::{chain::apply2, gradients::hand_over},
};

/// As [`crate::tensor::convolution()`].
pub fn convolution(images: &Tensor, weights: &Tensor, geometry: Geometry) -> Result<Tensor> {
    apply2(&images.contiguous()?, &weights.contiguous()?, Convolution(geometry))
}

struct Convolution(Geometry);

impl Convolution {
    fn forward<T: Real>(
        &self,
        images: (&CpuStorage, &Layout),
        weights: (&CpuStorage, &Layout),
    ) -> Result<(CpuStorage, Shape)> {
        let (windows, axes) = self.0.plan(images.1.shape(), weights.1.shape())?;
        let (images, weights) = (values::<T>(images.0, images.1)?, values::<T>(weights.0, weights.1)?);
        let (down, across) = windows.output();
        let mut out = unwritten(windows.pixels() * axes.outputs);
        if winograd::fits(&windows, axes.outputs) {
            let filters = Filters::new(weights, axes.outputs, axes.inputs);
            winograd::forward(&windows, images, filters, &mut out);
        } else {
            products::forward(&windows, images, &axes.pack(weights, Order::OutputFirst), &mut out);
        }
        Ok((T::to_cpu_storage_owned(out), (windows.batch, down, across, axes.outputs).into()))
    }

    fn backward<T: Real>(
        &self,
        images: &Tensor,
        weights: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Tensor)> {
        let (windows, axes) = self.0.plan(images.shape(), weights.shape())?;
        let wanted = images.track_op();
        let (by_images, by_weights) = with_values::<T, _>(images, |x| {
            with_values::<T, _>(weights, |w| {
                with_values::<T, _>(gradient, |dy| {
                    if winograd::fits(&windows, axes.outputs) {
                        let by_images = wanted.then(|| {
                            let filters = Filters::adjoint(w, axes.outputs, axes.inputs);
                            let mut by_images = unwritten(x.len());
                            let mirrored = mirrored(&windows, axes.outputs);
                            winograd::forward(&mirrored, dy, filters, &mut by_images);
                            by_images
                        });
                        return Ok((by_images, winograd::weights_gradient(&windows, x, dy, axes.outputs)));
                    }
                    if windows.stride > 1 || !wanted {
                        let packed = wanted.then(|| axes.pack(w, Order::OutputFirst));
                        return Ok(products::backward(&windows, x, dy, packed.as_deref(), axes));
                    }
                    let packed = axes.pack(w, Order::MirroredTapFirst);
                    let mirrored = mirrored(&windows, axes.outputs);
                    let (by_images, by_weights) =
                        products::backward_stride_one(&mirrored, x, dy, &packed, axes);
                    Ok((Some(by_images), by_weights))
                })
            })
        })?;
        Ok((by_images.map(|x| constant(x, images.shape())), constant(by_weights, weights.shape())))
    }
}

/// Of a stride-1 convolution: the windows of the output's gradient, one for each input pixel.
fn mirrored(windows: &Windows, outputs: usize) -> Windows {
    let (height, width) = windows.output();
    let (rows, columns) = windows.kernel;
    let padding = (rows - 1 - windows.padding.0, columns - 1 - windows.padding.1);
    Windows { height, width, channels: outputs, padding, ..*windows }
}

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "convolution"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        match s1 {
            CpuStorage::F32(_) => self.forward::<f32>((s1, l1), (s2, l2)),
            CpuStorage::F64(_) => self.forward::<f64>((s1, l1), (s2, l2)),
            _ => unsupported(self.name(), s1.dtype()),
        }
    }

    fn bwd(
        &self,
        images: &Tensor,
        weights: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (by_images, by_weights) = match images.dtype() {
            DType::F32 => self.backward::<f32>(images, weights, gradient)?,
            DType::F64 => self.backward::<f64>(images, weights, gradient)?,
            other => return unsupported(self.name(), other),
        };
        Ok((by_images, hand_over(weights, Some(by_weights))?))
    }
}
