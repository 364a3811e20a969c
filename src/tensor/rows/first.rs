//! The first tokens of each image. Candle would add their gradient to zeros as large as all tokens. Independent of what
//! tokens are.

use candle_core::{
    CpuStorage, CudaStorage, Layout, Result, Shape, Tensor,
    backend::{BackendDevice, BackendStorage},
    bail,
};

use crate::tensor::graph::{
    chain::apply,
    operation::{Gradients, OnCpu, OnGpu, Operation},
};

/// Returns the first `count` of the `tokens` (batch, tokens, width) of each image: (batch, count, width).
///
/// # Errors
/// If there are fewer tokens.
pub fn first_tokens(tokens: &Tensor, count: usize) -> Result<Tensor> {
    apply(&[&tokens.contiguous()?], FirstTokens { count, among: tokens.dim(1)? })
}

struct FirstTokens {
    count: usize,
    among: usize,
}

impl FirstTokens {
    fn forward<S>(&self, arguments: &[(&S, &Layout)]) -> Result<(S, Shape)>
    where
        S: BackendStorage<Device: BackendDevice<Storage = S>>,
    {
        let &[(storage, layout)] = arguments else { bail!("first tokens of {} arguments", arguments.len()) };
        if self.count > self.among {
            bail!("first tokens: {} of {:?}", self.count, layout.shape())
        }
        let first = layout.narrow(1, 0, self.count)?;
        let shape = first.shape().clone();
        // SAFETY: the next line writes every number.
        let mut copy = unsafe { storage.device().alloc_uninit(&shape, storage.dtype())? };
        storage.copy_strided_src(&mut copy, 0, &first)?;
        Ok((copy, shape))
    }
}

impl Operation for FirstTokens {
    const NAME: &'static str = "first tokens";

    fn on_cpu(&self, arguments: &[OnCpu]) -> Result<(CpuStorage, Shape)> {
        self.forward(arguments)
    }

    fn on_gpu(&self, arguments: &[OnGpu]) -> Result<(CudaStorage, Shape)> {
        self.forward(arguments)
    }

    fn reads(&self, _: usize) -> bool {
        false
    }

    fn backward(&self, _: &[&Tensor], _: &Tensor, gradient: &Tensor) -> Result<Gradients> {
        let (batch, _, width) = gradient.dims3()?;
        let gradient = gradient.detach();
        let others = (batch, self.among - self.count, width);
        let others = Tensor::zeros(others, gradient.dtype(), gradient.device())?;
        Ok(vec![Some(Tensor::cat(&[&gradient, &others], 1)?)])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn the_other_tokens_get_no_gradient() -> Result<()> {
        let tokens = Var::new(&[[[1_f32, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]], &Device::Cpu)?;
        let first = first_tokens(&tokens, 1)?;
        assert_eq!(first.to_vec3::<f32>()?, [[[1.0, 2.0]], [[5.0, 6.0]]]);
        let slope = Tensor::new(&[[[10_f32, 20.0]], [[30.0, 40.0]]], &Device::Cpu)?;
        let gradient = (first * slope)?.sum_all()?.backward()?.remove(&tokens).expect("a gradient");
        let expected = [[[10.0, 20.0], [0.0, 0.0]], [[30.0, 40.0], [0.0, 0.0]]];
        assert_eq!(gradient.to_vec3::<f32>()?, expected);
        let both = first_tokens(&tokens, 2)?;
        let gradient = (&both * &both)?.sum_all()?.backward()?.remove(&tokens).expect("a gradient");
        assert_eq!(gradient.to_vec3::<f32>()?, (tokens.as_tensor() * 2.0)?.to_vec3::<f32>()?);
        let error = first_tokens(&tokens, 3).unwrap_err().to_string();
        assert!(error.contains("first tokens: 3 of [2, 2, 2]"), "{error}");
        Ok(())
    }
}
