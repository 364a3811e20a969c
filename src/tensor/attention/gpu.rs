//! Attention by `attention.cu`: kernel launches for the forward and the backward pass.

use std::sync::OnceLock;

use candle_core::{CudaDevice, CudaStorage, DType, Result, Shape, Tensor};
use cudarc::driver::{CudaSlice, CudaView};
use half::bf16;

use crate::tensor::{
    gpu::launch::{Module, aligned, config, constant, device, launch, no_forward_pass, view, with_views},
    graph::{
        chain::apply,
        operation::{Gradients, OnGpu, Operation},
    },
};

// Must equal the constants in attention.cu.
const WARPS: usize = 4;
const THREADS: usize = 32 * WARPS;
const GROUP: usize = 32;
const PADDING: usize = 4;
/// Head widths for which kernels are compiled.
const WIDTHS: [usize; 4] = [16, 32, 48, 64];
/// Largest shared memory of a block on an H100, in bytes: enough for 768 tokens with heads of width 64.
const MOST_SHARED: usize = 227 * 1024;

/// Returns whether [`attention`] supports these joined queries, keys and values: bf16 on a GPU, with supported
/// numbers of heads and tokens.
pub fn supports(joined: &Tensor, heads: usize) -> bool {
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

/// Like [`crate::tensor::attention()`], for supported arguments.
pub fn attention(joined: &Tensor, heads: usize) -> Result<Tensor> {
    apply(&[&aligned(joined)?], Attention { heads, log_sum_exp: OnceLock::new() })
}

struct Attention {
    heads: usize,
    /// (images x heads, tokens).
    log_sum_exp: OnceLock<Tensor>,
}

/// Sizes of an input, and the factor by which scores are multiplied.
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

/// Returns the inner product of output and slope for each head and token, (images x heads, tokens).
fn dots(
    module: &Module,
    [out, slope]: [&CudaView<bf16>; 2],
    &Sizes { images, tokens, width, .. }: &Sizes,
    heads: usize,
) -> Result<CudaSlice<f32>> {
    let count = images * heads * tokens;
    let blocks = config([count.div_ceil(WARPS), 1, 1], THREADS, 0);
    let (count_, words) = (count as i32, (width / 2) as i32);
    let (tokens, heads) = (tokens as i32, heads as i32);
    // SAFETY: attention_dots of attention.cu reads `count` times `width` numbers of both, and writes `count` sums.
    unsafe {
        let mut dots = module.alloc::<f32>(count)?;
        launch!(module, "attention_dots", blocks, out, slope, &count_, &tokens, &heads, &words, &mut dots);
        Ok(dots)
    }
}

impl Operation for Attention {
    const NAME: &'static str = "attention";

    fn on_gpu(&self, arguments: &[OnGpu]) -> Result<(CudaStorage, Shape)> {
        let (joined, layout) = arguments[0];
        let module = module(device(joined));
        let Sizes { images, tokens, width, scale } = self.sizes(layout.shape())?;
        let joined = view::<bf16>(joined, layout)?;
        let pairs = images * self.heads;
        let (tokens_, heads) = (tokens as i32, self.heads as i32);
        let blocks = config([pairs, 1, 1], THREADS, forward_shared(tokens, width));
        let name = format!("attention_forward_{width}");
        // SAFETY: attention_forward of attention.cu, compiled for this width, writes the output of each pair of an
        // image and a head, and a number for each of its tokens.
        let (out, log_sum_exp) = unsafe {
            let mut out = module.alloc::<bf16>(pairs * tokens * width)?;
            let mut log_sum_exp = module.alloc::<f32>(pairs * tokens)?;
            launch!(module, name, blocks, &joined, &tokens_, &heads, &scale, &mut out, &mut log_sum_exp);
            (out, log_sum_exp)
        };
        // An operation is applied once; a second forward pass would compute the same numbers.
        let _ = self.log_sum_exp.set(constant(log_sum_exp, module.device, (pairs, tokens)));
        let shape = (images, tokens, self.heads * width);
        Ok((CudaStorage::wrap_cuda_slice(out, module.device.clone()), shape.into()))
    }

    fn reads_result(&self) -> bool {
        true
    }

    fn backward(&self, arguments: &[&Tensor], out: &Tensor, slope: &Tensor) -> Result<Gradients> {
        let Some(log_sum_exp) = self.log_sum_exp.get() else { return no_forward_pass(Self::NAME) };
        let joined = arguments[0];
        let module = module(joined.device().as_cuda_device()?);
        let (sizes, count) = (self.sizes(joined.shape())?, joined.elem_count());
        let (tokens, heads, scale) = (sizes.tokens as i32, self.heads as i32, sizes.scale);
        let shared = backward_shared(sizes.tokens, sizes.width);
        let blocks = config([sizes.images * self.heads, 2, 1], THREADS, shared);
        let name = format!("attention_backward_{}", sizes.width);
        let by_joined = with_views([joined, out, slope], |[joined, out, slope]| {
            with_views([log_sum_exp], |[log_sum_exp]: &[CudaView<f32>; 1]| {
                let dots = dots(&module, [out, slope], &sizes, self.heads)?;
                // SAFETY: attention_backward of attention.cu, compiled for this width, writes every gradient of the
                // joined input. It reads as many inputs, the slopes of the output, and two numbers for each token
                // and head.
                unsafe {
                    let mut by_joined = module.alloc::<bf16>(count)?;
                    launch!(
                        module,
                        name,
                        blocks,
                        joined,
                        slope,
                        log_sum_exp,
                        &dots,
                        &tokens,
                        &heads,
                        &scale,
                        &mut by_joined,
                    );
                    Ok(by_joined)
                }
            })
        })?;
        Ok(vec![Some(constant(by_joined, module.device, joined.shape()))])
    }
}
