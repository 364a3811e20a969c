//! Updates of one variable in one launch, in place: f32 only. Formulas: `train/optimiser/update.rs`, `tensor/average.rs`.

use candle_core::{CudaDevice, DType, Result, Tensor};

use super::{Module, config, launch, with_view};

const THREADS: usize = 256;
/// Blocks of kernels that go through all numbers. Ours: eight for each multiprocessor of an H100.
const BLOCKS: usize = 1_056;

/// Whether an update of these takes one launch: contiguous, f32, on a GPU.
pub fn is_taken(tensors: &[&Tensor]) -> bool {
    tensors
        .iter()
        .all(|tensor| tensor.device().is_cuda() && tensor.dtype() == DType::F32 && tensor.is_contiguous())
}

fn module(device: &CudaDevice) -> Module<'_> {
    let ptx = include_str!(concat!(env!("OUT_DIR"), "/updates.ptx"));
    Module { name: "skewbench_updates", ptx, device }
}

/// Constants of momentum's update, in the kernel's order.
pub struct Momentum {
    pub gradient_scale: f64,
    pub weight_scale: f64,
    pub momentum: f64,
    pub rate: f64,
}

/// Constants of AdamW's update, in the kernel's order.
pub struct AdamW {
    pub gradient_scale: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub keep: f64,
    pub size: f64,
    pub root: f64,
    pub epsilon: f64,
}

// Kernels write through views that are lent for reading. On the host nothing of the numbers is seen, and on the device launches
// of one stream follow one another.

/// Moves `p` and its `velocity`.
pub fn momentum(p: &Tensor, velocity: &Tensor, g: &Tensor, constants: &Momentum) -> Result<()> {
    let module = module(p.device().as_cuda_device()?);
    let count = p.elem_count() as i64;
    let Momentum { gradient_scale, weight_scale, momentum, rate } = *constants;
    let [a, b, c, d] = [gradient_scale, weight_scale, momentum, rate].map(|constant| constant as f32);
    with_view::<f32, _>(p, |p| {
        with_view::<f32, _>(velocity, |velocity| {
            with_view::<f32, _>(g, |g| {
                let blocks = config([BLOCKS, 1, 1], THREADS, 0);
                launch!(module, "update_momentum", blocks, p, velocity, g, &count, &a, &b, &c, &d);
                Ok(())
            })
        })
    })
}

/// Moves `p` and the averages of its gradient and of the gradient's square.
pub fn adamw(p: &Tensor, first: &Tensor, second: &Tensor, g: &Tensor, constants: &AdamW) -> Result<()> {
    let module = module(p.device().as_cuda_device()?);
    let count = p.elem_count() as i64;
    let AdamW { gradient_scale, beta1, beta2, keep, size, root, epsilon } = *constants;
    let all = [gradient_scale, beta1, 1.0 - beta1, beta2, 1.0 - beta2, keep, size, root, epsilon];
    let [scale, beta1, rest1, beta2, rest2, keep, size, root, epsilon] = all.map(|constant| constant as f32);
    with_view::<f32, _>(p, |p| {
        with_view::<f32, _>(first, |first| {
            with_view::<f32, _>(second, |second| {
                with_view::<f32, _>(g, |g| {
                    let blocks = config([BLOCKS, 1, 1], THREADS, 0);
                    launch!(
                        module,
                        "update_adamw",
                        blocks,
                        p,
                        first,
                        second,
                        g,
                        &count,
                        &scale,
                        &beta1,
                        &rest1,
                        &beta2,
                        &rest2,
                        &keep,
                        &size,
                        &root,
                        &epsilon,
                    );
                    Ok(())
                })
            })
        })
    })
}

/// Moves `average` towards `value`, keeping `momentum` of itself.
pub fn move_average(average: &Tensor, value: &Tensor, momentum: f64) -> Result<()> {
    let module = module(average.device().as_cuda_device()?);
    let count = average.elem_count() as i64;
    let [momentum, rest] = [momentum, 1.0 - momentum].map(|constant| constant as f32);
    with_view::<f32, _>(average, |average| {
        with_view::<f32, _>(value, |value| {
            let blocks = config([BLOCKS, 1, 1], THREADS, 0);
            launch!(module, "move_average", blocks, average, value, &count, &momentum, &rest);
            Ok(())
        })
    })
}
