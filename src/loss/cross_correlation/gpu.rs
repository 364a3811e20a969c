//! Barlow Twins' loss by `barlow_twins.cu` and Candle's matrix products (cuBLAS).

use std::sync::OnceLock;

use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp2, DType, Error, Layout, Result, Shape, Tensor,
};
use half::bf16;

use crate::tensor::gpu::launch::{
    Element, Module, config, constant, device, is_taken, launch, no_forward_pass, no_gpu, not_a_type, view,
    with_view,
};

// As in barlow_twins.cu.
const ACROSS: usize = 16;
const THREADS: usize = 512;
/// Blocks that add up the squares of correlations, whatever the card. Ours.
const PARTIALS: usize = 512;

/// Whether [`barlow_twins`] takes this view.
pub fn has_barlow_twins(view: &Tensor) -> bool {
    is_taken(view)
}

/// As [`crate::loss::cross_correlation::barlow_twins`], which has checked shapes: total, part on the diagonal, part beside
/// it; f32.
pub fn barlow_twins(first: &Tensor, second: &Tensor, off_diagonal_weight: f64) -> Result<[Tensor; 3]> {
    let (first, second) = (first.contiguous()?, second.contiguous()?);
    let weight = off_diagonal_weight as f32;
    let terms = match first.dtype() {
        DType::F32 => first.apply_op2(&second, BarlowTwins::<f32>::new(weight))?,
        DType::BF16 => first.apply_op2(&second, BarlowTwins::<bf16>::new(weight))?,
        other => {
            return Err(Error::Msg(format!("barlow_twins: numbers are {other:?}, expected f32 or bf16")));
        }
    };
    // Only the total has a gradient: the parts are for curves.
    Ok([terms.get(0)?, terms.detach().get(1)?, terms.detach().get(2)?])
}

struct BarlowTwins<T> {
    weight: f32,
    saved: OnceLock<Saved>,
    numbers: std::marker::PhantomData<T>,
}

/// What the backward pass needs of the forward pass: constants.
struct Saved {
    /// Views with standardised columns, (images, width).
    views: [Tensor; 2],
    correlations: Correlations,
    /// One over the deviation of each column of each view, (2, width).
    inverse: Tensor,
    /// Correlation of each column with itself, (width).
    diagonal: Tensor,
}

/// Products of standardised views, not divided by the number of images: whichever are smaller.
enum Correlations {
    /// first^T second, (width, width).
    OfColumns(Tensor),
    /// first first^T and second second^T, (images, images).
    OfImages([Tensor; 2]),
}

impl Correlations {
    fn new([first, second]: &[Tensor; 2]) -> Result<Self> {
        let (images, width) = first.dims2()?;
        if images < width {
            Ok(Self::OfImages([first.matmul(&first.t()?)?, second.matmul(&second.t()?)?]))
        } else {
            Ok(Self::OfColumns(first.t()?.matmul(second)?))
        }
    }

    /// Two matrices whose inner product is the sum of all squared correlations of columns.
    fn pair(&self) -> [&Tensor; 2] {
        match self {
            Self::OfColumns(both) => [both, both],
            Self::OfImages([first, second]) => [first, second],
        }
    }

    /// (2, images, width): half of the slope of that sum with respect to either view.
    fn slopes(&self, [first, second]: &[Tensor; 2]) -> Result<Tensor> {
        let slopes = match self {
            Self::OfColumns(both) => [second.matmul(&both.t()?)?, first.matmul(both)?],
            Self::OfImages([firsts, seconds]) => [seconds.matmul(first)?, firsts.matmul(second)?],
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
}

fn module(device: &CudaDevice) -> Module<'_> {
    let ptx = include_str!(concat!(env!("OUT_DIR"), "/barlow_twins.ptx"));
    Module { name: "skewbench_barlow_twins", ptx, device }
}

impl<T: Element + Send + Sync> CustomOp2 for BarlowTwins<T> {
    fn name(&self) -> &'static str {
        "barlow-twins"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        no_gpu("barlow_twins")
    }

    fn cuda_fwd(
        &self,
        first: &CudaStorage,
        first_layout: &Layout,
        second: &CudaStorage,
        second_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let module = module(device(first));
        let shape = first_layout.shape().dims2()?;
        let (images, width) = (shape.0 as i32, shape.1 as i32);
        let (first, second) = (view::<T>(first, first_layout)?, view::<T>(second, second_layout)?);

        let mut views = [module.room::<T>(shape.0 * shape.1)?, module.room::<T>(shape.0 * shape.1)?];
        let mut inverse = module.room::<f32>(2 * shape.1)?;
        let mut diagonal = module.room::<f32>(shape.1)?;
        let [first_view, second_view] = &mut views;
        let columns = config([shape.1.div_ceil(ACROSS), 1, 1], THREADS, 0);
        launch!(
            module,
            Self::kernel("standardise"),
            columns,
            &first,
            &second,
            &images,
            &width,
            first_view,
            second_view,
            &mut inverse,
            &mut diagonal,
        );
        let views = views.map(|view| constant(view, module.device, shape));
        let correlations = Correlations::new(&views)?;

        let [left, right] = correlations.pair();
        let count = left.elem_count() as i64;
        let mut partial = module.room::<f32>(PARTIALS)?;
        with_view::<T, _>(left, |left| {
            with_view::<T, _>(right, |right| {
                launch!(
                    module,
                    Self::kernel("inner_product"),
                    config([PARTIALS, 1, 1], THREADS, 0),
                    left,
                    right,
                    &count,
                    &mut partial,
                );
                Ok(())
            })
        })?;
        let (partials, scale) = (PARTIALS as i32, 1.0 / (images as f32 * images as f32));
        let mut loss = module.room::<f32>(3)?;
        launch!(
            module,
            "barlow_twins_loss",
            config([1, 1, 1], THREADS, 0),
            &diagonal,
            &partial,
            &width,
            &partials,
            &scale,
            &self.weight,
            &mut loss,
        );
        let inverse = constant(inverse, module.device, (2, shape.1));
        let diagonal = constant(diagonal, module.device, shape.1);
        // An operation is applied once; were it twice, the numbers would be the same.
        let _ = self.saved.set(Saved { views, correlations, inverse, diagonal });
        Ok((CudaStorage::wrap_cuda_slice(loss, module.device.clone()), Shape::from(3)))
    }

    fn bwd(
        &self,
        first: &Tensor,
        _: &Tensor,
        _: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(saved) = self.saved.get() else {
            return Err(Error::Msg(
                "barlow_twins: expected a forward pass before the backward pass".to_owned(),
            )
            .bt());
        };
        let module = module(first.device().as_cuda_device()?);
        let shape = first.dims2()?;
        let (images, width) = (shape.0 as i32, shape.1 as i32);
        let factor = 2.0 * self.weight / (images as f32 * images as f32);
        let slopes = saved.correlations.slopes(&saved.views)?;
        let mut gradient = module.room::<f32>(2 * shape.0 * shape.1)?;
        let columns = config([shape.1.div_ceil(ACROSS), 2, 1], THREADS, 0);
        let [a, b] = &saved.views;
        // The first of three upstream numbers is the total's.
        let total = upstream.narrow(0, 0, 1)?;
        with_view::<T, _>(a, |a| {
            with_view::<T, _>(b, |b| {
                with_view::<T, _>(&slopes, |slopes| {
                    with_view::<f32, _>(&saved.inverse, |inverse| {
                        with_view::<f32, _>(&saved.diagonal, |diagonal| {
                            with_view::<f32, _>(&total, |total| {
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
                                    &images,
                                    &width,
                                    &factor,
                                    &self.weight,
                                    &mut gradient,
                                );
                                Ok(())
                            })
                        })
                    })
                })
            })
        })?;
        let both = constant(gradient, module.device, (2, shape.0, shape.1)).to_dtype(first.dtype())?;
        Ok((Some(both.get(0)?), Some(both.get(1)?)))
    }
}
