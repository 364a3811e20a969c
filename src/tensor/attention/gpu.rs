//! Attention by `attention.cu`: what is launched, and its place in automatic differentiation.

use std::sync::OnceLock;

use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail,
};
use half::bf16;

use crate::tensor::{
    gpu::launch::{Module, aligned, config, constant, device, launch, no_gpu, view, with_view},
    graph::chain::apply1,
};

// As in attention.cu.
const WARPS: usize = 4;
const THREADS: usize = 32 * WARPS;
const GROUP: usize = 32;
const PADDING: usize = 4;
/// Widths of a head that kernels are made for.
const WIDTHS: [usize; 4] = [16, 32, 48, 64];
/// Shared memory that a block may have on an H100, in bytes; 768 tokens of 64 numbers take as much.
const MOST_SHARED: usize = 227 * 1024;

/// Whether [`attention`] takes these joined queries, keys and values: bf16 on a GPU, with heads and tokens that fit.
pub fn is_taken(joined: &Tensor, heads: usize) -> bool {
    let &[_, tokens, joined_width] = joined.dims() else { return false };
    let width = joined_width / (3 * heads).max(1);
    joined.device().is_cuda()
        && joined.dtype() == DType::BF16
        && 3 * heads * width == joined_width
        && WIDTHS.contains(&width)
        && backward_shared(tokens, width) <= MOST_SHARED
}

fn padded(tokens: usize) -> usize {
    tokens.next_multiple_of(GROUP)
}

fn forward_shared(tokens: usize, width: usize) -> usize {
    4 * 2 * padded(tokens) * (width / 2 + PADDING)
}

fn backward_shared(tokens: usize, width: usize) -> usize {
    4 * 2 * padded(tokens) * (width / 2 + PADDING + 1)
}

/// As [`crate::tensor::attention()`], of what [`is_taken`].
pub fn attention(joined: &Tensor, heads: usize) -> Result<Tensor> {
    apply1(&aligned(joined)?, Attention { heads, log_sum_exp: OnceLock::new() })
}

struct Attention {
    heads: usize,
    /// (images x heads, tokens).
    log_sum_exp: OnceLock<Tensor>,
}

/// Sizes of one application, and what the scores are multiplied by.
struct Sizes {
    images: usize,
    tokens: usize,
    width: usize,
    scale: f32,
}

impl Attention {
    fn sizes(&self, joined: &Shape) -> Result<Sizes> {
        let (images, tokens, joined) = joined.dims3()?;
        let width = joined / (3 * self.heads);
        Ok(Sizes { images, tokens, width, scale: (1.0 / (width as f64).sqrt()) as f32 })
    }
}

fn module(device: &CudaDevice) -> Module<'_> {
    let ptx = include_str!(concat!(env!("OUT_DIR"), "/attention.ptx"));
    Module { name: "skewbench_attention", ptx, device }
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        no_gpu("attention")
    }

    fn cuda_fwd(&self, joined: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let module = module(device(joined));
        let Sizes { images, tokens, width, scale } = self.sizes(layout.shape())?;
        let joined = view::<bf16>(joined, layout)?;
        let pairs = images * self.heads;
        let (tokens_, heads) = (tokens as i32, self.heads as i32);
        let mut out = module.room::<bf16>(pairs * tokens * width)?;
        let mut log_sum_exp = module.room::<f32>(pairs * tokens)?;
        launch!(
            module,
            format!("attention_forward_{width}"),
            config([pairs, 1, 1], THREADS, forward_shared(tokens, width)),
            &joined,
            &tokens_,
            &heads,
            &scale,
            &mut out,
            &mut log_sum_exp,
        );
        // An operation is applied once; were it twice, the numbers would be the same.
        let _ = self.log_sum_exp.set(constant(log_sum_exp, module.device, (pairs, tokens)));
        let shape = (images, tokens, self.heads * width);
        Ok((CudaStorage::wrap_cuda_slice(out, module.device.clone()), shape.into()))
    }

    fn bwd(&self, joined: &Tensor, out: &Tensor, slope: &Tensor) -> Result<Option<Tensor>> {
        let Some(log_sum_exp) = self.log_sum_exp.get() else { bail!("attention: backward before forward") };
        let module = module(joined.device().as_cuda_device()?);
        let Sizes { images, tokens, width, scale } = self.sizes(joined.shape())?;
        let pairs = images * self.heads;
        let mut dots = module.room::<f32>(pairs * tokens)?;
        let mut by_joined = module.room::<bf16>(joined.elem_count())?;
        let (tokens_, heads) = (tokens as i32, self.heads as i32);
        let (count, words) = ((pairs * tokens) as i32, (width / 2) as i32);
        with_view::<bf16, _>(slope, |slope| {
            with_view::<bf16, _>(out, |out| {
                launch!(
                    module,
                    "attention_dots",
                    config([(pairs * tokens).div_ceil(WARPS), 1, 1], THREADS, 0),
                    out,
                    slope,
                    &count,
                    &tokens_,
                    &heads,
                    &words,
                    &mut dots,
                );
                Ok(())
            })?;
            with_view::<bf16, _>(joined, |joined| {
                with_view::<f32, _>(log_sum_exp, |log_sum_exp| {
                    launch!(
                        module,
                        format!("attention_backward_{width}"),
                        config([pairs, 2, 1], THREADS, backward_shared(tokens, width)),
                        joined,
                        slope,
                        log_sum_exp,
                        &dots,
                        &tokens_,
                        &heads,
                        &scale,
                        &mut by_joined,
                    );
                    Ok(())
                })
            })
        })?;
        Ok(Some(constant(by_joined, module.device, joined.shape())))
    }
}
