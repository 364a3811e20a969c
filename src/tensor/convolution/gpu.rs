//! Convolution on a GPU by cuDNN, channels last: the forward pass, and gradients with respect to images and
//! weights. f32 is multiplied as f32; bf16 on tensor cores with f32 sums.
//!
//! The algorithm is the first one in a fixed list that cuDNN offers for a shape; it is not chosen by timing.
//! Gradient algorithms, except the last of each list, add in the same order every time. Descriptors and algorithms
//! are cached for each shape. [`gpu::notes`] reports shapes that cuDNN refuses.

use std::{cell::RefCell, collections::HashMap, marker::PhantomData, rc::Rc, sync::Arc};

use candle_core::{CudaDevice, CudaStorage, DType, DeviceLocation, Error, Result, Shape, Tensor};
use cudarc::{
    cudnn::{
        ConvBackwardData, ConvBackwardFilter, ConvDescriptor, ConvForward, Cudnn, CudnnDataType, CudnnError,
        FilterDescriptor, TensorDescriptor, sys,
    },
    driver::{CudaSlice, CudaView},
};
use half::bf16;

use super::geometry::Geometry;
use crate::tensor::{
    gpu::{
        self,
        launch::{Element, Module, constant, device, unsupported_dtype, view, with_views},
    },
    graph::{
        chain::apply,
        gradients::hand_over,
        operation::{Gradients, OnGpu, Operation},
    },
};

// Algorithms designed for channels last come first.
const FORWARD: [sys::cudnnConvolutionFwdAlgo_t; 2] = [
    sys::cudnnConvolutionFwdAlgo_t::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
    sys::cudnnConvolutionFwdAlgo_t::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM,
];
const BY_IMAGES: [sys::cudnnConvolutionBwdDataAlgo_t; 2] = [
    sys::cudnnConvolutionBwdDataAlgo_t::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1,
    sys::cudnnConvolutionBwdDataAlgo_t::CUDNN_CONVOLUTION_BWD_DATA_ALGO_0,
];
const BY_WEIGHTS: [sys::cudnnConvolutionBwdFilterAlgo_t; 2] = [
    sys::cudnnConvolutionBwdFilterAlgo_t::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1,
    sys::cudnnConvolutionBwdFilterAlgo_t::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0,
];

/// Returns the first algorithm that cuDNN offers.
fn choose<A: Copy>(
    algorithms: [A; 2],
    bytes: impl Fn(A) -> std::result::Result<usize, CudnnError>,
) -> Chosen<A> {
    let [first, second] = algorithms.map(|algorithm| bytes(algorithm).map(|bytes| (algorithm, bytes)));
    first.or(second)
}

/// Like [`crate::tensor::convolution()`]; `None` if cuDNN refuses the shape.
pub fn convolution(images: &Tensor, weights: &Tensor, geometry: Geometry) -> Result<Option<Tensor>> {
    match images.dtype() {
        DType::F32 => CudnnConvolution::<f32>::apply(images, weights, geometry),
        DType::BF16 => CudnnConvolution::<bf16>::apply(images, weights, geometry),
        other => unsupported_dtype("convolution", other),
    }
}

/// A convolution with a copy of its weights in cuDNN's layout and the type of the images. As an argument of the
/// operation, weights are f32 in torchvision's layout.
struct CudnnConvolution<T> {
    geometry: Geometry,
    weights: Tensor,
    numbers: PhantomData<T>,
}

impl<T: CudnnNumber + Send + Sync + 'static> CudnnConvolution<T> {
    fn apply(images: &Tensor, weights: &Tensor, geometry: Geometry) -> Result<Option<Tensor>> {
        // (out, in, height, width) to cuDNN's (out, height, width, in), in the number type of the activations.
        let cudnn_weights = weights.detach().permute((0, 2, 3, 1))?.to_dtype(images.dtype())?.contiguous()?;
        let sizes = Sizes::new(images.shape(), cudnn_weights.shape(), geometry)?;
        let plan = plan::<T>(images.device().as_cuda_device()?, &sizes)?;
        if let Some(error) = plan.error(images.track_op()) {
            if !is_refusal(error) {
                return Err(failed(error));
            }
            gpu::note(format!(
                "convolution: cuDNN refuses {sizes:?} in {:?}; it went the slow way",
                T::DTYPE
            ));
            return Ok(None);
        }
        let operation = Self { geometry, weights: cudnn_weights, numbers: PhantomData };
        apply(&[&images.contiguous()?, weights], operation).map(Some)
    }
}

/// Number types that cuDNN multiplies, with the math mode of each.
trait CudnnNumber: Element + CudnnDataType {
    const MATH: sys::cudnnMathType_t;
    const ONE: Self;
    const ZERO: Self;
}

impl CudnnNumber for f32 {
    const MATH: sys::cudnnMathType_t = sys::cudnnMathType_t::CUDNN_FMA_MATH;
    const ONE: Self = 1.0;
    const ZERO: Self = 0.0;
}

impl CudnnNumber for bf16 {
    const MATH: sys::cudnnMathType_t = sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH;
    const ONE: Self = Self::ONE;
    const ZERO: Self = Self::ZERO;
}

/// The key of a cached plan: images (batch, height, width, in), weights (out, height, width, in), output (batch,
/// height, width, out), stride and padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sizes {
    images: [usize; 4],
    weights: [usize; 4],
    output: [usize; 4],
    stride: usize,
    padding: usize,
}

impl Sizes {
    fn new(images: &Shape, weights: &Shape, geometry: Geometry) -> Result<Self> {
        let (batch, height, width, channels) = images.dims4()?;
        let (outputs, rows, columns, inputs) = weights.dims4()?;
        // The same check of shapes as on the CPU, which takes weights in PyTorch's order.
        geometry.plan(images, &Shape::from((outputs, inputs, rows, columns)))?;
        let Geometry { stride, padding } = geometry;
        let out = |size: usize, kernel: usize| (size + 2 * padding - kernel) / stride + 1;
        Ok(Self {
            images: [batch, height, width, channels],
            weights: [outputs, rows, columns, inputs],
            output: [batch, out(height, rows), out(width, columns), outputs],
            stride,
            padding,
        })
    }
}

/// A shape as described to cuDNN.
struct Descriptors<T: CudnnNumber> {
    images: TensorDescriptor<T>,
    weights: FilterDescriptor<T>,
    output: TensorDescriptor<T>,
    /// Sums are f32.
    convolution: ConvDescriptor<f32>,
}

impl<T: CudnnNumber> Descriptors<T> {
    fn new(cudnn: &Arc<Cudnn>, sizes: &Sizes) -> std::result::Result<Self, CudnnError> {
        const NHWC: sys::cudnnTensorFormat_t = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
        // cuDNN takes sizes in the order batch, channels, height, width, whatever the memory layout.
        let named = |[batch, height, width, channels]: [usize; 4]| {
            [batch, channels, height, width].map(|size| size as i32)
        };
        let both = |size: usize| [size as i32; 2];
        let mut convolution = cudnn.create_conv2d::<f32>(
            both(sizes.padding),
            both(sizes.stride),
            [1, 1],
            sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
        )?;
        convolution.set_math_type(T::MATH)?;
        Ok(Self {
            images: cudnn.create_4d_tensor(NHWC, named(sizes.images))?,
            weights: cudnn.create_4d_filter(NHWC, named(sizes.weights))?,
            output: cudnn.create_4d_tensor(NHWC, named(sizes.output))?,
            convolution,
        })
    }

    fn forward(&self) -> ConvForward<'_, T, f32, T> {
        ConvForward { conv: &self.convolution, x: &self.images, w: &self.weights, y: &self.output }
    }

    fn by_images(&self) -> ConvBackwardData<'_, T, f32, T> {
        ConvBackwardData { conv: &self.convolution, dx: &self.images, w: &self.weights, dy: &self.output }
    }

    fn by_weights(&self) -> ConvBackwardFilter<'_, T, f32, T> {
        ConvBackwardFilter { conv: &self.convolution, x: &self.images, dw: &self.weights, dy: &self.output }
    }
}

/// An algorithm and the size of its workspace in bytes, or the reason why cuDNN offers none.
type Chosen<A> = std::result::Result<(A, usize), CudnnError>;

/// Descriptors and algorithms for one shape.
struct Plan<T: CudnnNumber> {
    descriptors: Descriptors<T>,
    forward: Chosen<sys::cudnnConvolutionFwdAlgo_t>,
    by_images: Chosen<sys::cudnnConvolutionBwdDataAlgo_t>,
    by_weights: Chosen<sys::cudnnConvolutionBwdFilterAlgo_t>,
}

impl<T: CudnnNumber> Plan<T> {
    fn new(cudnn: &Arc<Cudnn>, sizes: &Sizes) -> std::result::Result<Self, CudnnError> {
        let descriptors = Descriptors::new(cudnn, sizes)?;
        let (forward, by_images, by_weights) =
            (descriptors.forward(), descriptors.by_images(), descriptors.by_weights());
        Ok(Self {
            forward: choose(FORWARD, |algorithm| forward.get_workspace_size(algorithm)),
            by_images: choose(BY_IMAGES, |algorithm| by_images.get_workspace_size(algorithm)),
            by_weights: choose(BY_WEIGHTS, |algorithm| by_weights.get_workspace_size(algorithm)),
            descriptors,
        })
    }

    /// Returns why a pass is unavailable, if one is. Without `by_images`, the gradient with respect to images is
    /// not needed.
    fn error(&self, by_images: bool) -> Option<CudnnError> {
        let by_images = if by_images { self.by_images.err() } else { None };
        self.forward.err().or(self.by_weights.err()).or(by_images)
    }
}

/// Returns whether an error means that cuDNN has no algorithm (status 3000 to 3999), not that something failed.
fn is_refusal(error: CudnnError) -> bool {
    error.0 as u32 / 1000 == 3
}

type Plans = HashMap<(Sizes, DType), Rc<dyn std::any::Any>>;

thread_local! {
    /// This thread's handle and plans for each device; per thread, because a device's stream belongs to the thread.
    static CUDNN: RefCell<HashMap<DeviceLocation, (Arc<Cudnn>, Plans)>> = RefCell::new(HashMap::new());
}

fn failed(error: CudnnError) -> Error {
    Error::Msg(format!("convolution: cuDNN says {error:?}")).bt()
}

fn plan<T: CudnnNumber + 'static>(device: &CudaDevice, sizes: &Sizes) -> Result<Rc<Plan<T>>> {
    CUDNN.with_borrow_mut(|known| {
        let location = candle_core::backend::BackendDevice::location(device);
        if let std::collections::hash_map::Entry::Vacant(place) = known.entry(location) {
            place.insert((Cudnn::new(device.cuda_stream()).map_err(failed)?, Plans::new()));
        }
        let (cudnn, plans) = known.get_mut(&location).expect("inserted above");
        let key = (*sizes, T::DTYPE);
        if let Some(plan) = plans.get(&key).and_then(|plan| plan.clone().downcast::<Plan<T>>().ok()) {
            return Ok(plan);
        }
        let plan = Rc::new(Plan::<T>::new(cudnn, sizes).map_err(failed)?);
        plans.insert(key, plan.clone());
        Ok(plan)
    })
}

/// Allocates an algorithm's workspace from the device's pool, which reuses memory.
fn workspace(memory: &Module, bytes: usize) -> Result<Option<CudaSlice<u8>>> {
    // SAFETY: cuDNN reads only numbers that it has written there.
    (bytes > 0).then(|| unsafe { memory.alloc::<u8>(bytes) }).transpose()
}

fn memory(device: &CudaDevice) -> Module<'_> {
    Module { name: "", ptx: "", device }
}

impl<T: CudnnNumber> Plan<T> {
    /// Returns the gradient with respect to images, (batch, height, width, in).
    fn by_images(
        &self,
        memory: &Module,
        sizes: &Sizes,
        [weights, slope]: [&CudaView<T>; 2],
    ) -> Result<CudaSlice<T>> {
        let backward = self.descriptors.by_images();
        let (algorithm, bytes) = self.by_images.map_err(failed)?;
        let mut workspace = workspace(memory, bytes)?;
        // SAFETY: cuDNN writes every number, since the second scale is 0; buffers have the sizes and types of the
        // descriptors.
        unsafe {
            let mut gradient = memory.alloc::<T>(sizes.images.iter().product())?;
            let scale = (T::ONE, T::ZERO);
            backward
                .launch(algorithm, workspace.as_mut(), scale, &mut gradient, weights, slope)
                .map_err(failed)?;
            Ok(gradient)
        }
    }

    /// Returns the gradient with respect to weights, (out, height, width, in).
    fn by_weights(
        &self,
        memory: &Module,
        sizes: &Sizes,
        [images, slope]: [&CudaView<T>; 2],
    ) -> Result<CudaSlice<T>> {
        let backward = self.descriptors.by_weights();
        let (algorithm, bytes) = self.by_weights.map_err(failed)?;
        let mut workspace = workspace(memory, bytes)?;
        // SAFETY: as above.
        unsafe {
            let mut gradient = memory.alloc::<T>(sizes.weights.iter().product())?;
            let scale = (T::ONE, T::ZERO);
            backward
                .launch(algorithm, workspace.as_mut(), scale, images, &mut gradient, slope)
                .map_err(failed)?;
            Ok(gradient)
        }
    }
}

impl<T: CudnnNumber + Send + Sync + 'static> Operation for CudnnConvolution<T> {
    const NAME: &'static str = "convolution";

    fn on_gpu(&self, arguments: &[OnGpu]) -> Result<(CudaStorage, Shape)> {
        let (images, images_layout) = arguments[0];
        let memory = memory(device(images));
        let sizes = Sizes::new(images_layout.shape(), self.weights.shape(), self.geometry)?;
        let plan = plan::<T>(memory.device, &sizes)?;
        let images = view::<T>(images, images_layout)?;
        let forward = plan.descriptors.forward();
        let (algorithm, bytes) = plan.forward.map_err(failed)?;
        let mut workspace = workspace(&memory, bytes)?;
        let output = with_views([&self.weights], |[weights]| {
            // SAFETY: cuDNN writes every number, since the second scale is 0; buffers have the sizes and types of
            // the descriptors.
            unsafe {
                let mut output = memory.alloc::<T>(sizes.output.iter().product())?;
                let scale = (T::ONE, T::ZERO);
                forward
                    .launch(algorithm, workspace.as_mut(), scale, &images, weights, &mut output)
                    .map_err(failed)?;
                Ok(output)
            }
        })?;
        Ok((CudaStorage::wrap_cuda_slice(output, memory.device.clone()), Shape::from(sizes.output.to_vec())))
    }

    fn backward(&self, arguments: &[&Tensor], _: &Tensor, slope: &Tensor) -> Result<Gradients> {
        let (images, weights) = (arguments[0], arguments[1]);
        let memory = memory(images.device().as_cuda_device()?);
        let sizes = Sizes::new(images.shape(), self.weights.shape(), self.geometry)?;
        let plan = plan::<T>(memory.device, &sizes)?;
        with_views([images, &self.weights, slope], |[x, w, slope]| {
            let by_images = match images.track_op() {
                true => {
                    let gradient = plan.by_images(&memory, &sizes, [w, slope])?;
                    Some(constant(gradient, memory.device, images.shape()))
                }
                false => None,
            };
            let by_weights = match weights.track_op() {
                true => {
                    let gradient = plan.by_weights(&memory, &sizes, [x, slope])?;
                    let gradient = constant(gradient, memory.device, self.weights.shape());
                    Some(gradient.permute((0, 3, 1, 2))?.to_dtype(weights.dtype())?.contiguous()?)
                }
                false => None,
            };
            Ok(vec![by_images, hand_over(weights, by_weights)?])
        })
    }
}
