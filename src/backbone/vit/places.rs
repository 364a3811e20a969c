//! Attributes a ViT's class token to patches.
//!
//! The class token c is the sum of its initial value and of what the attention and the perceptron of each block add
//! to it. An attention term is itself a sum over the attended tokens t, each of which adds
//!
//! sum over heads h of  p_ht V_ht W_h,
//!
//! with the class token's attention p, the values V, and W_h, the part of the projection that belongs to head h. So
//! each patch contributes a term to c, and the final normalisation is linear once its standard deviation is fixed
//! (Gandelsman, Efros and Steinhardt, "Interpreting CLIP's image representation via text-based decomposition", 2024).
//! Everything else (the initial value, perceptrons, the class token's attention to itself) belongs to no patch and is
//! distributed evenly. What a patch contributes through other patches is credited to those.

use candle_core::{D, Result, Tensor};

use super::{TransformerBlock, Vit};

impl Vit {
    /// Features of every patch (batch, rows, columns, width), whose mean is the feature vector of the image.
    pub(super) fn patch_features(&self, images: &Tensor) -> Result<Tensor> {
        let (batch, height, width, _) = images.dims4()?;
        let (rows, columns) = (height / self.size.patch, width / self.size.patch);
        let mut tokens = self.embed_patches(images, None)?.detach();
        let mut parts = tokens.narrow(1, 1, rows * columns)?.zeros_like()?;
        for block in &self.blocks {
            parts = (parts + block.contributions(&tokens)?.narrow(1, 1, rows * columns)?)?;
            tokens = block.forward(&tokens)?.detach();
        }
        let class = tokens.narrow(1, 0, 1)?;
        let rest = (&class - parts.sum_keepdim(1)?)?;
        // Multiplied by the number of patches, so that the mean over patches is the sum of all parts.
        let parts = (parts * (rows * columns) as f64)?.broadcast_add(&rest)?;
        self.norm.forward_with_variance_of(&parts, &class)?.reshape((batch, rows, columns, self.size.width))
    }
}

impl TransformerBlock {
    /// Returns what each token contributes to the class token through attention (batch, tokens, width). The
    /// contributions sum to the attention output of the class token, without the projection's bias.
    fn contributions(&self, tokens: &Tensor) -> Result<Tensor> {
        let joined = self.qkv.forward(&self.norm1.forward(tokens)?)?;
        let (batch, count, width) = joined.dims3()?;
        let (width, heads) = (width / 3, self.heads);
        let split = joined.reshape((batch, count, 3, heads, width / heads))?.permute((2, 0, 3, 1, 4))?;
        let part = |index: usize| split.get(index)?.contiguous();
        let (first, keys, values) = (part(0)?.narrow(2, 0, 1)?.contiguous()?, part(1)?, part(2)?);
        let scores = (first.matmul(&keys.t()?)? / ((width / heads) as f64).sqrt())?;
        let scores = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        let attention = scores.broadcast_div(&scores.sum_keepdim(D::Minus1)?)?;
        let weighted = values.broadcast_mul(&attention.transpose(2, 3)?)?;
        self.proj.forward_without_bias(&weighted.transpose(1, 2)?.reshape((batch, count, width))?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use checks::{distance, normal};

    use super::super::{VitInitialisation, VitSize};
    use super::*;
    use crate::{
        backbone::{Backbone, Mode, Parameters},
        seed::Seed,
        tensor::attention,
    };

    fn vit(depth: usize) -> Vit {
        let mut parameters = Parameters::default();
        let size = VitSize { patch: 4, width: 12, depth, heads: 3 };
        let vit = Vit::new(
            &mut parameters.builder("", Seed::root(0), DType::F64, &Device::Cpu),
            size,
            16,
            VitInitialisation::MAE,
        );
        // With initial weights the class token's attention would be nearly uniform.
        for (number, parameter) in parameters.all().iter().enumerate() {
            let variable = &parameter.variable;
            let moved = normal(&format!("moved {number}"), variable.dims(), DType::F64).unwrap();
            variable
                .set(&(variable.as_detached_tensor() + (moved.as_detached_tensor() * 0.2).unwrap()).unwrap())
                .unwrap();
        }
        vit.unwrap()
    }

    #[test]
    fn the_mean_over_patches_is_the_feature_vector() -> Result<()> {
        let images = normal("images", &[3, 16, 12, 3], DType::F64)?.as_detached_tensor();
        for depth in [0, 1, 3] {
            let vit = vit(depth);
            let places = vit.feature_map(&images)?.unwrap();
            assert_eq!(places.dims(), [3, 4, 3, 12]);
            let features = vit.embed(&images, Mode::Evaluate)?;
            assert!(distance(&places.mean((1, 2))?, &features)? < 1e-11, "depth {depth}");
        }
        Ok(())
    }

    /// The features of two patches differ by the difference of their contributions to the class token, summed over
    /// all blocks.
    #[test]
    fn patches_differ_by_what_they_tell_in_all_blocks() -> Result<()> {
        let images = normal("images", &[2, 16, 12, 3], DType::F64)?.as_detached_tensor();
        for depth in [1, 2] {
            let vit = vit(depth);
            let mut tokens = vit.embed_patches(&images, None)?;
            let mut told = tokens.zeros_like()?;
            for block in &vit.blocks {
                told = (told + block.contributions(&tokens)?)?;
                tokens = block.forward(&tokens)?;
            }
            // The final normalisation is linear here, so what is common to all patches cancels in a difference.
            let class = tokens.narrow(1, 0, 1)?;
            let line = |patch: usize| -> Result<Tensor> {
                vit.norm.forward_with_variance_of(&(told.narrow(1, 1 + patch, 1)? * 12.0)?, &class)
            };
            let places = vit.patch_features(&images)?.reshape((2, 12, 12))?;
            for (one, other) in [(0, 1), (3, 11)] {
                let found = (places.narrow(1, one, 1)? - places.narrow(1, other, 1)?)?;
                let expected = (line(one)? - line(other)?)?;
                assert!(distance(&found, &expected)? < 1e-11, "depth {depth}");
                assert!(distance(&found, &found.zeros_like()?)? > 1e-3, "they do differ");
            }
        }
        Ok(())
    }

    /// In a single block, patches reach the class token through attention alone: their contributions sum to the
    /// attention output, and exchanging two patches exchanges their contributions.
    #[test]
    fn a_patch_moves_its_own_part() -> Result<()> {
        let vit = vit(1);
        let tokens = normal("tokens", &[1, 17, 12], DType::F64)?.as_detached_tensor();
        let block = &vit.blocks[0];
        let told = block.contributions(&tokens)?;
        let sum = block
            .proj
            .forward_without_bias(&attention(&block.join(&tokens)?, block.heads)?.narrow(1, 0, 1)?)?;
        assert!(distance(&told.sum_keepdim(1)?, &sum)? < 1e-12, "all parts are what attention gives");
        // Exchanging patches exchanges their parts.
        let mut order: Vec<u32> = (0..17).collect();
        order.swap(3, 9);
        let order = Tensor::new(order, &Device::Cpu)?;
        let exchanged = block.contributions(&tokens.index_select(&order, 1)?)?;
        assert!(distance(&exchanged, &told.index_select(&order, 1)?)? < 1e-12);
        Ok(())
    }
}
