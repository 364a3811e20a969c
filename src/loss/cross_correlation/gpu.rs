//! Barlow Twins' loss by `barlow_twins.cu` and Candle's matrix products (cuBLAS).

use std::sync::OnceLock;

use candle_core::{CudaDevice, CudaStorage, DType, Result, Shape, Tensor};
use cudarc::driver::{CudaSlice, CudaView};
use half::bf16;

use crate::tensor::{
    gpu::launch::{
        Element, Module, config, constant, device, fits_kernels, launch, no_forward_pass, unsupported_dtype,
        view, with_views,
    },
    graph::operation::{Gradients, OnGpu, Operation, node},
};

// Must equal the constants in barlow_twins.cu.
const ACROSS: usize = 16;
const THREADS: usize = 512;
/// Number of blocks that add up the squares of correlations, equal on every card (ours).
const PARTIALS: usize = 512;

/// Returns whether [`barlow_twins`] supports this view.
pub fn supports(view: &Tensor) -> bool {
    fits_kernels(view)
}

/// Like [`crate::loss::cross_correlation::barlow_twins`], which has checked shapes: total, part on the diagonal,
/// part off the diagonal; f32.
pub fn barlow_twins(first: &Tensor, second: &Tensor, off_diagonal_weight: f64) -> Result<[Tensor; 3]> {
    let (first, second) = (first.contiguous()?, second.contiguous()?);
    let weight = off_diagonal_weight as f32;
    let terms = match first.dtype() {
        DType::F32 => node(&[&first, &second], BarlowTwins::<f32>::new(weight))?,
        DType::BF16 => node(&[&first, &second], BarlowTwins::<bf16>::new(weight))?,
        other => return unsupported_dtype("barlow_twins", other),
    };
    // Only the total has a gradient: the parts are only logged.
    Ok([terms.get(0)?, terms.detach().get(1)?, terms.detach().get(2)?])
}

struct BarlowTwins<T> {
    weight: f32,
    saved: OnceLock<Saved>,
    numbers: std::marker::PhantomData<T>,
}

/// Results of the forward pass that the backward pass needs: constants.
struct Saved {
    /// Views with standardised columns, (images, width).
    views: [Tensor; 2],
    correlations: Correlations,
    /// Reciprocal standard deviation of each column of each view, (2, width).
    inverse: Tensor,
    /// Correlation of each column with the same column of the other view, (width).
    diagonal: Tensor,
}

/// Products of standardised views, not divided by the number of images, in the form that is smaller.
enum Correlations {
    /// first^T second, (width, width).
    BetweenColumns(Tensor),
    /// first first^T and second second^T, (images, images).
    BetweenImages([Tensor; 2]),
}

impl Correlations {
    fn new([first, second]: &[Tensor; 2]) -> Result<Self> {
        let (images, width) = first.dims2()?;
        if images < width {
            Ok(Self::BetweenImages([first.matmul(&first.t()?)?, second.matmul(&second.t()?)?]))
        } else {
            Ok(Self::BetweenColumns(first.t()?.matmul(second)?))
        }
    }

    /// Returns two matrices whose inner product is the sum of all squared correlations of columns.
    fn pair(&self) -> [&Tensor; 2] {
        match self {
            Self::BetweenColumns(both) => [both, both],
            Self::BetweenImages([first, second]) => [first, second],
        }
    }

    /// Returns half of the gradient of that sum with respect to each view, (2, images, width).
    fn slopes(&self, [first, second]: &[Tensor; 2]) -> Result<Tensor> {
        let slopes = match self {
            Self::BetweenColumns(both) => [second.matmul(&both.t()?)?, first.matmul(both)?],
            Self::BetweenImages([firsts, seconds]) => [seconds.matmul(first)?, firsts.matmul(second)?],
        };
        Tensor::stack(&slopes, 0)
    }
}

impl<T: Element> BarlowTwins<T> {
    fn new(weight: f32) -> Self {
        Self { weight, saved: OnceLock::new(), numbers: std::marker::PhantomData }
    }

    fn kernel(name: &str) -> String {
        format!("barlow_twins_{name}_{}", T::NAME)
    }

    /// Returns standardised columns of both views (images, width) and their correlations.
    fn standardise(
        module: &Module,
        [first, second]: [&CudaView<T>; 2],
        (images, width): (usize, usize),
    ) -> Result<Saved> {
        let columns = config([width.div_ceil(ACROSS), 1, 1], THREADS, 0);
        let (images_, width_) = (images as i32, width as i32);
        // SAFETY: barlow_twins_standardise of barlow_twins.cu writes both views, and for each column two inverse
        // deviations and a correlation.
        let (views, inverse, diagonal) = unsafe {
            let mut left = module.alloc::<T>(images * width)?;
            let mut right = module.alloc::<T>(images * width)?;
            let (mut inverse, mut diagonal) = (module.alloc::<f32>(2 * width)?, module.alloc::<f32>(width)?);
            launch!(
                module,
                Self::kernel("standardise"),
                columns,
                first,
                second,
                &images_,
                &width_,
                &mut left,
                &mut right,
                &mut inverse,
                &mut diagonal,
            );
            ([left, right], inverse, diagonal)
        };
        let views = views.map(|view| constant(view, module.device, (images, width)));
        Ok(Saved {
            correlations: Correlations::new(&views)?,
            views,
            inverse: constant(inverse, module.device, (2, width)),
            diagonal: constant(diagonal, module.device, width),
        })
    }

    /// Returns the total, the part on the diagonal, and the part off the diagonal.
    fn terms(&self, module: &Module, saved: &Saved) -> Result<CudaSlice<f32>> {
        let (images, width) = saved.views[0].dims2()?;
        let count = saved.correlations.pair()[0].elem_count() as i64;
        let (width, partials) = (width as i32, PARTIALS as i32);
        let scale = 1.0 / (images as f32 * images as f32);
        let (parts, one) = (config([PARTIALS, 1, 1], THREADS, 0), config([1, 1, 1], THREADS, 0));
        with_views(saved.correlations.pair(), |[left, right]: &[CudaView<T>; 2]| {
            with_views([&saved.diagonal], |[diagonal]: &[CudaView<f32>; 1]| {
                // SAFETY: barlow_twins_inner_product of barlow_twins.cu reads `count` numbers of both, and writes a
                // sum for each block; barlow_twins_loss reads these and the `width` numbers of the diagonal, and
                // writes three numbers.
                unsafe {
                    let mut partial = module.alloc::<f32>(PARTIALS)?;
                    launch!(module, Self::kernel("inner_product"), parts, left, right, &count, &mut partial);
                    let mut terms = module.alloc::<f32>(3)?;
                    launch!(
                        module,
                        "barlow_twins_loss",
                        one,
                        diagonal,
                        &partial,
                        &width,
                        &partials,
                        &scale,
                        &self.weight,
                        &mut terms,
                    );
                    Ok(terms)
                }
            })
        })
    }
}

fn module(device: &CudaDevice) -> Module<'_> {
    let ptx = include_str!(concat!(env!("OUT_DIR"), "/barlow_twins.ptx"));
    Module { name: "skewbench_barlow_twins", ptx, device }
}

impl<T: Element + Send + Sync> Operation for BarlowTwins<T> {
    const NAME: &'static str = "barlow_twins";

    fn on_gpu(&self, arguments: &[OnGpu]) -> Result<(CudaStorage, Shape)> {
        let ((first, first_layout), (second, second_layout)) = (arguments[0], arguments[1]);
        let module = module(device(first));
        let (first, second) = (view::<T>(first, first_layout)?, view::<T>(second, second_layout)?);
        let saved = Self::standardise(&module, [&first, &second], first_layout.shape().dims2()?)?;
        let terms = self.terms(&module, &saved)?;
        // An operation is applied once; a second forward pass would compute the same numbers.
        let _ = self.saved.set(saved);
        Ok((CudaStorage::wrap_cuda_slice(terms, module.device.clone()), Shape::from(3)))
    }

    fn backward(&self, arguments: &[&Tensor], _: &Tensor, upstream: &Tensor) -> Result<Gradients> {
        let Some(saved) = self.saved.get() else { return no_forward_pass(Self::NAME) };
        let first = arguments[0];
        let module = module(first.device().as_cuda_device()?);
        let (images, width) = first.dims2()?;
        let (images_, width_) = (images as i32, width as i32);
        let factor = 2.0 * self.weight / (images as f32 * images as f32);
        let slopes = saved.correlations.slopes(&saved.views)?;
        let columns = config([width.div_ceil(ACROSS), 2, 1], THREADS, 0);
        let [a, b] = &saved.views;
        // The first of three upstream gradients is the total's.
        let total = upstream.narrow(0, 0, 1)?;
        let gradient = with_views([a, b, &slopes], |[a, b, slopes]: &[CudaView<T>; 3]| {
            with_views(
                [&saved.inverse, &saved.diagonal, &total],
                |[inverse, diagonal, total]: &[CudaView<f32>; 3]| {
                    // SAFETY: barlow_twins_backward of barlow_twins.cu writes as many numbers as two views have. It
                    // reads as many of both and of slopes, three numbers for each column, and one in total.
                    unsafe {
                        let mut gradient = module.alloc::<f32>(2 * images * width)?;
                        launch!(
                            module,
                            Self::kernel("backward"),
                            columns,
                            a,
                            b,
                            slopes,
                            inverse,
                            diagonal,
                            total,
                            &images_,
                            &width_,
                            &factor,
                            &self.weight,
                            &mut gradient,
                        );
                        Ok(gradient)
                    }
                },
            )
        })?;
        let both = constant(gradient, module.device, (2, images, width)).to_dtype(first.dtype())?;
        Ok(vec![Some(both.get(0)?), Some(both.get(1)?)])
    }
}
