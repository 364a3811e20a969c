//! Linear maps of bf16 rows by cuBLAS: products on tensor cores with f32 sums; the bias is added before rounding, and
//! gradients by weight and bias are f32.

use std::{cell::RefCell, collections::HashMap, ffi::c_void};

use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp2, CustomOp3, DType, DeviceLocation, Error, Layout, Result,
    Shape, Tensor, backend::BackendDevice, bail,
};
use cudarc::{
    cublas::{result::gemm_ex, sys},
    cublaslt::{CudaBlasLT, Matmul, MatmulConfig},
    driver::{CudaSlice, CudaView, DevicePtr, DevicePtrMut},
};
use half::bf16;

use crate::tensor::{
    gpu::launch::{LANES, Module, PARTS, config, constant, device, launch, no_gpu, view, with_view},
    graph::{
        chain::{apply2, apply3},
        gradients::hand_over,
    },
};

// As in linear.cu.
const THREADS: usize = 256;

/// Sizes that tensor cores multiply without padding are multiples of this: sixteen bytes.
const WHOLE: usize = 8;

/// Whether [`linear`] takes these: bf16 rows and a weight of whole sizes.
pub fn is_taken(input: &Tensor, weight: &Tensor) -> bool {
    input.dtype() == DType::BF16 && weight.dims().iter().all(|size| size.is_multiple_of(WHOLE))
}

/// As [`crate::tensor::linear()`], of what [`is_taken`].
pub fn linear(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let rounded = |tensor: &Tensor| tensor.detach().to_dtype(DType::BF16)?.contiguous();
    let operation = Linear { weight: rounded(weight)?, bias: bias.map(rounded).transpose()? };
    let input = input.contiguous()?;
    match bias {
        Some(bias) => apply3(&input, weight, bias, operation),
        None => apply2(&input, weight, operation),
    }
}

/// The map with its weight (out, in) and bias (out) in bf16; as arguments they are f32.
struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

thread_local! {
    /// Handles with their workspaces, one a device: a device's stream belongs to the thread.
    static LIGHT: RefCell<HashMap<DeviceLocation, CudaBlasLT>> = RefCell::new(HashMap::new());
}

fn module(device: &CudaDevice) -> Module<'_> {
    let ptx = include_str!(concat!(env!("OUT_DIR"), "/linear.ptx"));
    Module { name: "skewbench_linear", ptx, device }
}

/// A product as cuBLAS sees it: matrices lie column by column, out (m, n) = left (m, k) right (k, n).
struct Product {
    sizes: [usize; 3],
    /// Whether the left factor lies row by row, and whether the right one does.
    transposed: [bool; 2],
}

impl Product {
    fn leading(&self) -> [usize; 2] {
        let [m, n, k] = self.sizes;
        [if self.transposed[0] { k } else { m }, if self.transposed[1] { n } else { k }]
    }

    /// Rounded to bf16, after the bias (m) was added to every column.
    fn rounded(
        &self,
        device: &CudaDevice,
        left: &CudaView<bf16>,
        right: &CudaView<bf16>,
        bias: Option<&CudaView<bf16>>,
        out: &mut CudaSlice<bf16>,
    ) -> Result<()> {
        let [m, n, k] = self.sizes.map(|size| size as u64);
        let [lda, ldb] = self.leading().map(|size| size as i64);
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
            // SAFETY: buffers have the sizes that the product says.
            unsafe { handle.matmul(config, left, right, out, bias, None) }.map_err(failed)
        })
    }

    /// Not rounded.
    fn wide(
        &self,
        device: &CudaDevice,
        left: &CudaView<bf16>,
        right: &CudaView<bf16>,
        out: &mut CudaSlice<f32>,
    ) -> Result<()> {
        let [m, n, k] = self.sizes.map(|size| size as i32);
        let [lda, ldb] = self.leading().map(|size| size as i32);
        let [transa, transb] = self.transposed.map(|transposed| match transposed {
            true => sys::cublasOperation_t::CUBLAS_OP_T,
            false => sys::cublasOperation_t::CUBLAS_OP_N,
        });
        let (one, zero) = (1_f32, 0_f32);
        let scalar = |value: &f32| std::ptr::from_ref(value).cast::<c_void>();
        let stream = device.cuda_stream();
        let ((left, _left), (right, _right)) = (left.device_ptr(&stream), right.device_ptr(&stream));
        let (out, _out) = out.device_ptr_mut(&stream);
        // SAFETY: buffers have the sizes and types that are said here; the handle works on the device's stream.
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

/// Gradients by input, weight and bias.
type Gradients = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

impl Linear {
    fn forward(&self, input: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let memory = Module { name: "", ptx: "", device: device(input) };
        let (outputs, inputs) = self.weight.dims2()?;
        let mut shape = layout.dims().to_vec();
        let bias_fits = self.bias.as_ref().is_none_or(|bias| bias.dims() == [outputs]);
        if shape.pop() != Some(inputs) || !bias_fits {
            bail!("linear: weight {:?} and its bias do not fit an input of {:?}", self.weight, layout.shape())
        }
        let rows = shape.iter().product::<usize>();
        shape.push(outputs);
        let x = view::<bf16>(input, layout)?;
        let mut y = memory.room::<bf16>(rows * outputs)?;
        // y^T = W x^T: row by row, W is (in, out) column by column, and x (in, rows).
        let product = Product { sizes: [outputs, rows, inputs], transposed: [true, false] };
        with_view::<bf16, _>(&self.weight, |weight| match &self.bias {
            Some(bias) => with_view::<bf16, _>(bias, |bias| {
                product.rounded(memory.device, weight, &x, Some(bias), &mut y)
            }),
            None => product.rounded(memory.device, weight, &x, None, &mut y),
        })?;
        Ok((CudaStorage::wrap_cuda_slice(y, memory.device.clone()), shape.into()))
    }

    fn backward(
        &self,
        input: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        slope: &Tensor,
    ) -> Result<Gradients> {
        let module = module(input.device().as_cuda_device()?);
        let (outputs, inputs) = self.weight.dims2()?;
        let rows = input.elem_count() / inputs;
        with_view::<bf16, _>(slope, |slope| {
            let by_input = input.track_op().then(|| -> Result<Tensor> {
                let mut by = module.room::<bf16>(rows * inputs)?;
                // dx^T = W^T dy^T.
                let product = Product { sizes: [inputs, rows, outputs], transposed: [false, false] };
                with_view::<bf16, _>(&self.weight, |weight| {
                    product.rounded(module.device, weight, slope, None, &mut by)
                })?;
                Ok(constant(by, module.device, input.shape()))
            });
            let by_weight = weight.track_op().then(|| -> Result<Tensor> {
                let mut by = module.room::<f32>(outputs * inputs)?;
                // dW^T = x^T dy.
                let product = Product { sizes: [inputs, outputs, rows], transposed: [false, true] };
                with_view::<bf16, _>(input, |x| product.wide(module.device, x, slope, &mut by))?;
                Ok(constant(by, module.device, weight.shape()))
            });
            let by_bias = bias.map(|bias| -> Result<Tensor> {
                let mut partial = module.room::<f32>(PARTS * outputs)?;
                let mut sums = module.room::<f32>(outputs)?;
                let (rows, width, parts) = (rows as i32, outputs as i32, PARTS as i32);
                let columns = config([outputs.div_ceil(LANES), PARTS, 1], THREADS, 0);
                launch!(module, "column_sums_bf16", columns, slope, &rows, &width, &mut partial);
                let columns = config([outputs.div_ceil(THREADS), 1, 1], THREADS, 0);
                launch!(module, "sums_together", columns, &partial, &width, &parts, &mut sums);
                Ok(constant(sums, module.device, bias.shape()))
            });
            Ok((by_input.transpose()?, by_weight.transpose()?, by_bias.transpose()?))
        })
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        no_gpu("linear")
    }

    fn cuda_fwd(
        &self,
        input: &CudaStorage,
        layout: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.forward(input, layout)
    }

    fn bwd(
        &self,
        input: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        slope: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (by_input, by_weight, _) = self.backward(input, weight, None, slope)?;
        Ok((by_input, hand_over(weight, by_weight)?))
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear with bias"
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
        no_gpu("linear")
    }

    fn cuda_fwd(
        &self,
        input: &CudaStorage,
        layout: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.forward(input, layout)
    }

    fn bwd(
        &self,
        input: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        slope: &Tensor,
    ) -> Result<Gradients> {
        let (by_input, by_weight, by_bias) = self.backward(input, weight, Some(bias), slope)?;
        Ok((by_input, hand_over(weight, by_weight)?, hand_over(bias, by_bias)?))
    }
}
