//! Linear maps of bf16 rows by cuBLAS: products on tensor cores with f32 sums; the bias is added before rounding,
//! and gradients with respect to weight and bias are f32.

use std::{cell::RefCell, collections::HashMap, ffi::c_void};

use candle_core::{
    CudaDevice, CudaStorage, DType, DeviceLocation, Error, Result, Shape, Tensor, backend::BackendDevice,
    bail,
};
use cudarc::{
    cublas::{result::gemm_ex, sys},
    cublaslt::{CudaBlasLT, Matmul, MatmulConfig},
    driver::{CudaSlice, CudaView, DevicePtr, DevicePtrMut},
};
use half::bf16;

use crate::tensor::{
    gpu::launch::{LANES, Module, PARTS, config, constant, device, launch, view, with_views},
    graph::{
        chain::apply,
        gradients::hand_over,
        operation::{Gradients, OnGpu, Operation},
    },
};

// Must equal the constant in linear.cu.
const THREADS: usize = 256;

/// Sizes must be multiples of this (sixteen bytes), so that tensor cores multiply without padding.
const SIZE_MULTIPLE: usize = 8;

/// Returns whether [`linear`] supports these arguments: bf16 rows, and sizes that are multiples of eight.
pub fn supports(input: &Tensor, weight: &Tensor) -> bool {
    input.dtype() == DType::BF16 && weight.dims().iter().all(|size| size.is_multiple_of(SIZE_MULTIPLE))
}

/// Like [`crate::tensor::linear()`], for supported arguments.
pub fn linear(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let rounded = |tensor: &Tensor| tensor.detach().to_dtype(DType::BF16)?.contiguous();
    let operation = Linear { weight: rounded(weight)?, bias: bias.map(rounded).transpose()? };
    let input = input.contiguous()?;
    match bias {
        Some(bias) => apply(&[&input, weight, bias], operation),
        None => apply(&[&input, weight], operation),
    }
}

/// A linear map with bf16 copies of its weight (out, in) and bias (out). As arguments of the operation they are
/// f32.
struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

thread_local! {
    /// Handles with their workspaces, one per device and thread: a device's stream belongs to the thread.
    static LIGHT: RefCell<HashMap<DeviceLocation, CudaBlasLT>> = RefCell::new(HashMap::new());
}

fn module(device: &CudaDevice) -> Module<'_> {
    let ptx = include_str!(concat!(env!("OUT_DIR"), "/linear.ptx"));
    Module { name: "skewbench_linear", ptx, device }
}

/// A product as cuBLAS sees it: matrices are column-major, out (m, n) = left (m, k) right (k, n).
struct Product {
    sizes: [usize; 3],
    /// Whether the left and the right factor are row-major instead.
    transposed: [bool; 2],
}

impl Product {
    fn leading_dimensions(&self) -> [usize; 2] {
        let [m, n, k] = self.sizes;
        [if self.transposed[0] { k } else { m }, if self.transposed[1] { n } else { k }]
    }

    /// Computes the product, adds the bias (m) to every column, and rounds to bf16.
    fn multiply_rounded(
        &self,
        device: &CudaDevice,
        left: &CudaView<bf16>,
        right: &CudaView<bf16>,
        bias: Option<&CudaView<bf16>>,
        out: &mut CudaSlice<bf16>,
    ) -> Result<()> {
        let [m, n, k] = self.sizes.map(|size| size as u64);
        let [lda, ldb] = self.leading_dimensions().map(|size| size as i64);
        let [transa, transb] = self.transposed;
        let config = MatmulConfig {
            transa,
            transb,
            transc: false,
            m,
            n,
            k,
            alpha: 1.0,
            lda,
            ldb,
            beta: 0.0,
            ldc: m as i64,
            stride_a: None,
            stride_b: None,
            stride_c: None,
            stride_bias: None,
            batch_size: None,
        };
        LIGHT.with_borrow_mut(|known| {
            let place = known.entry(device.location());
            let handle = match place {
                std::collections::hash_map::Entry::Occupied(place) => place.into_mut(),
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(CudaBlasLT::new(device.cuda_stream()).map_err(failed)?)
                }
            };
            // SAFETY: buffers have the product's sizes.
            unsafe { handle.matmul(config, left, right, out, bias, None) }.map_err(failed)
        })
    }

    /// Computes the product without rounding.
    fn multiply_f32(
        &self,
        device: &CudaDevice,
        left: &CudaView<bf16>,
        right: &CudaView<bf16>,
        out: &mut CudaSlice<f32>,
    ) -> Result<()> {
        let [m, n, k] = self.sizes.map(|size| size as i32);
        let [lda, ldb] = self.leading_dimensions().map(|size| size as i32);
        let [transa, transb] = self.transposed.map(|transposed| match transposed {
            true => sys::cublasOperation_t::CUBLAS_OP_T,
            false => sys::cublasOperation_t::CUBLAS_OP_N,
        });
        let (one, zero) = (1_f32, 0_f32);
        let scalar = |value: &f32| std::ptr::from_ref(value).cast::<c_void>();
        let stream = device.cuda_stream();
        let ((left, _left), (right, _right)) = (left.device_ptr(&stream), right.device_ptr(&stream));
        let (out, _out) = out.device_ptr_mut(&stream);
        // SAFETY: buffers have the sizes and types that are passed here; the handle uses the device's stream.
        unsafe {
            gemm_ex(
                *device.cublas_handle().handle(),
                transa,
                transb,
                m,
                n,
                k,
                scalar(&one),
                left as *const c_void,
                sys::cudaDataType_t::CUDA_R_16BF,
                lda,
                right as *const c_void,
                sys::cudaDataType_t::CUDA_R_16BF,
                ldb,
                scalar(&zero),
                out as *mut c_void,
                sys::cudaDataType_t::CUDA_R_32F,
                m,
                sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .map_err(failed)
    }
}

fn failed(error: impl std::fmt::Debug) -> Error {
    Error::Msg(format!("linear: cuBLAS says {error:?}")).bt()
}

impl Linear {
    /// Returns dx, computed as dx^T = W^T dy^T from a slope dy (rows, out).
    fn by_input(&self, module: &Module, slope: &CudaView<bf16>, rows: usize) -> Result<CudaSlice<bf16>> {
        let (outputs, inputs) = self.weight.dims2()?;
        let product = Product { sizes: [inputs, rows, outputs], transposed: [false, false] };
        // SAFETY: the product writes every number.
        let mut by = unsafe { module.alloc::<bf16>(rows * inputs)? };
        with_views([&self.weight], |[weight]| {
            product.multiply_rounded(module.device, weight, slope, None, &mut by)
        })?;
        Ok(by)
    }

    /// Returns dW, computed as dW^T = x^T dy from a slope dy (rows, out).
    fn by_weight(
        &self,
        module: &Module,
        x: &CudaView<bf16>,
        slope: &CudaView<bf16>,
        rows: usize,
    ) -> Result<CudaSlice<f32>> {
        let (outputs, inputs) = self.weight.dims2()?;
        let product = Product { sizes: [inputs, outputs, rows], transposed: [false, true] };
        // SAFETY: the product writes every number.
        let mut by = unsafe { module.alloc::<f32>(outputs * inputs)? };
        product.multiply_f32(module.device, x, slope, &mut by)?;
        Ok(by)
    }

    /// Returns sums of the columns of a slope (rows, out).
    fn by_bias(&self, module: &Module, slope: &CudaView<bf16>, rows: usize) -> Result<CudaSlice<f32>> {
        let (outputs, _) = self.weight.dims2()?;
        let (rows, width, parts) = (rows as i32, outputs as i32, PARTS as i32);
        let columns = config([outputs.div_ceil(LANES), PARTS, 1], THREADS, 0);
        let all = config([outputs.div_ceil(THREADS), 1, 1], THREADS, 0);
        // SAFETY: column_sums of linear.cu writes (parts, width) sums, with as many parts as the grid's second
        // size; sums_together adds them up to (width).
        unsafe {
            let mut partial = module.alloc::<f32>(PARTS * outputs)?;
            launch!(module, "column_sums_bf16", columns, slope, &rows, &width, &mut partial);
            let mut sums = module.alloc::<f32>(outputs)?;
            launch!(module, "sums_together", all, &partial, &width, &parts, &mut sums);
            Ok(sums)
        }
    }
}

impl Operation for Linear {
    const NAME: &'static str = "linear";

    fn on_gpu(&self, arguments: &[OnGpu]) -> Result<(CudaStorage, Shape)> {
        let (input, layout) = arguments[0];
        let module = module(device(input));
        let (outputs, inputs) = self.weight.dims2()?;
        let mut shape = layout.dims().to_vec();
        let bias_fits = self.bias.as_ref().is_none_or(|bias| bias.dims() == [outputs]);
        if shape.pop() != Some(inputs) || !bias_fits {
            bail!(
                "linear: weight {:?} and its bias do not fit an input of {:?}",
                self.weight.shape(),
                layout.shape()
            )
        }
        let rows = shape.iter().product::<usize>();
        shape.push(outputs);
        let x = view::<bf16>(input, layout)?;
        // SAFETY: the product writes every number.
        let mut y = unsafe { module.alloc::<bf16>(rows * outputs)? };
        // y^T = W x^T. To the column-major cuBLAS, row-major W is (in, out) and x is (in, rows).
        let product = Product { sizes: [outputs, rows, inputs], transposed: [true, false] };
        with_views([&self.weight], |[weight]| match &self.bias {
            Some(bias) => with_views([bias], |[bias]| {
                product.multiply_rounded(module.device, weight, &x, Some(bias), &mut y)
            }),
            None => product.multiply_rounded(module.device, weight, &x, None, &mut y),
        })?;
        Ok((CudaStorage::wrap_cuda_slice(y, module.device.clone()), shape.into()))
    }

    fn backward(&self, arguments: &[&Tensor], _: &Tensor, slope: &Tensor) -> Result<Gradients> {
        let (input, weight) = (arguments[0], arguments[1]);
        let module = module(input.device().as_cuda_device()?);
        let rows = input.elem_count() / self.weight.dim(1)?;
        let mut by = with_views([input, slope], |[x, slope]| {
            let by_input = match input.track_op() {
                true => Some(constant(self.by_input(&module, slope, rows)?, module.device, input.shape())),
                false => None,
            };
            let by_weight = match weight.track_op() {
                true => {
                    Some(constant(self.by_weight(&module, x, slope, rows)?, module.device, weight.shape()))
                }
                false => None,
            };
            let by_bias = match arguments.get(2) {
                Some(bias) => {
                    Some(constant(self.by_bias(&module, slope, rows)?, module.device, bias.shape()))
                }
                None => None,
            };
            Ok([by_input, by_weight, by_bias])
        })?;
        let [by_input, rest @ ..] = &mut by;
        let rest = arguments[1..].iter().zip(rest).map(|(of, by)| hand_over(of, by.take()));
        std::iter::once(Ok(by_input.take())).chain(rest).collect()
    }
}
