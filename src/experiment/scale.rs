//! Four scales of the same code: the sizes of data, network and training. What is trained, and how, is part of the
//! recipe.

use crate::{
    backbone::{
        Stem, VitSize,
        heads::{DecoderSize, Heads},
    },
    data::sewer_ml,
};

/// Sizes of data, images, network and training.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    /// Name in records; nothing measured below `full` is called a reproduction of the paper.
    pub name: String,
    /// Side of the square network input, pixels.
    pub side: usize,
    /// Numbers of images drawn for training and validation if the data are synthetic.
    pub synthetic_images: (usize, usize),
    /// Channels of ResNet-18's first stage: 64 in the real network.
    pub resnet_width: usize,
    /// ResNet-18's first layers.
    pub resnet_stem: Stem,
    /// Sizes of ViT-Tiny.
    pub vit: VitSize,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images per batch, before views.
    pub batch_size: usize,
    /// Sizes of projectors, predictors and decoders.
    pub heads: Heads,
    /// Number of training images whose embeddings' rank is computed after each epoch (RankMe's paper: 25,600).
    pub rank_images: usize,
    /// Number of images, and of views of each, that LiDAR and alignment compare.
    pub view_sample: (usize, usize),
    /// Part of Sewer-ML's training and validation sets that is used, numerator and denominator; for any source use
    /// [`Self::sample_of`].
    pub sewer_ml_sample: (usize, usize),
}

impl Scale {
    /// For tests: takes seconds on the CPU; enough to show that numbers change, not to learn much. All sizes are ours.
    pub fn fixture() -> Self {
        Self {
            name: "fixture".to_owned(),
            side: 32,
            // A share of 1 % needs two defects, so 198 normal images, in both splits.
            synthetic_images: (450, 420),
            resnet_width: 8,
            resnet_stem: Stem::ImageNet,
            vit: VitSize { patch: 8, width: 24, depth: 2, heads: 3 },
            epochs: 2,
            batch_size: 32,
            heads: Heads {
                hidden: 64,
                output: 32,
                prototypes: 64,
                decoder: DecoderSize { width: 16, depth: 1, heads: 2 },
            },
            rank_images: 128,
            view_sample: (32, 4),
            sewer_ml_sample: (1, 1),
        }
    }

    /// `cargo xtask reproduce --quick`: a first look in minutes, on a CPU. All sizes are ours; a tenth of the
    /// training of [`Self::small`], so methods have learnt little and intervals are wide.
    pub fn quick() -> Self {
        Self {
            name: "quick".to_owned(),
            side: 48,
            synthetic_images: (1_500, 800),
            resnet_width: 12,
            vit: VitSize { patch: 8, width: 36, depth: 3, heads: 3 },
            epochs: 3,
            batch_size: 32,
            heads: Heads { hidden: 128, output: 64, prototypes: 256, ..Self::small().heads },
            rank_images: 256,
            view_sample: (50, 6),
            ..Self::small()
        }
    }

    /// The default of `cargo xtask reproduce`: a laptop's CPU, synthetic data. All sizes are ours, chosen so that
    /// methods differ visibly and beat their floors.
    pub fn small() -> Self {
        Self {
            name: "small".to_owned(),
            side: 64,
            // More images rather than more epochs: SimCLR on ResNet-18 at 45 % (data of another seed, seeds 0 to 2)
            // had AUROC 0.68, 0.80 and 0.74 after 10 epochs of 2,000 images, and 0.80, 0.79 and 0.74 after 4 of
            // 6,000.
            synthetic_images: (5_000, 1_500),
            resnet_width: 16,
            resnet_stem: Stem::ImageNet,
            vit: VitSize { patch: 8, width: 48, depth: 4, heads: 3 },
            epochs: 5,
            batch_size: 64,
            heads: Heads {
                hidden: 256,
                output: 64,
                prototypes: 512,
                decoder: DecoderSize { width: 32, depth: 1, heads: 2 },
            },
            rank_images: 512,
            view_sample: (100, 10),
            sewer_ml_sample: (1, 1),
        }
    }

    /// Returns the side that corresponds at this scale to `side` pixels at the paper's 224, rounded up to whole
    /// patches; at least two patches. At the paper's scale it is `side`.
    pub fn side_like(&self, side: usize) -> usize {
        let (patch, paper) = (self.vit.patch, 224);
        (self.side * side).div_ceil(paper * patch).max(2) * patch
    }

    /// Returns the part of the training and validation sets of the source called `source` that is used, numerator
    /// and denominator. The paper takes a sample of Sewer-ML, which has many frames; other data are used
    /// completely.
    pub fn sample_of(&self, source: &str) -> (usize, usize) {
        if source == sewer_ml::NAME { self.sewer_ml_sample } else { (1, 1) }
    }

    /// Returns how many images all epochs use together, for a number of training images.
    pub fn image_passes(&self, images: usize) -> usize {
        // An epoch drops a last, smaller batch; fewer images than a batch make one batch.
        self.epochs * if images < self.batch_size { images } else { images - images % self.batch_size }
    }

    /// Returns how many images pass through the encoder for evaluation, including monitors: some training images
    /// after each epoch, all training and validation images once, then the views that label-free metrics compare.
    pub fn evaluation_passes(&self, training: usize, validation: usize) -> usize {
        let (images, views) = self.view_sample;
        self.epochs * self.rank_images.min(training) + training + validation + images.min(training) * views
    }

    /// The paper's protocol (its released code): 224 px, 45 epochs, a 50 % sample of Sewer-ML.
    pub fn full() -> Self {
        Self {
            name: "full".to_owned(),
            side: 224,
            // Ours: as many as the released 50 % sample of Sewer-ML. All of them are used.
            synthetic_images: (520_064, 65_023),
            resnet_width: 64,
            resnet_stem: Stem::ImageNet,
            vit: VitSize::TINY,
            epochs: 45,
            batch_size: 256,
            heads: Heads {
                hidden: 2_048,
                output: 256,
                prototypes: 8_192,
                decoder: DecoderSize { width: 192, depth: 12, heads: 12 },
            },
            rank_images: 25_600,
            view_sample: (1_000, 10),
            sewer_ml_sample: (1, 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_sample_is_of_sewer_ml_alone() {
        assert_eq!(Scale::full().sample_of(sewer_ml::NAME), (1, 2));
        assert_eq!(Scale::small().sample_of(sewer_ml::NAME), (1, 1));
        for other in ["synthetic", "elpv", "folder", "csv"] {
            assert_eq!(Scale::full().sample_of(other), (1, 1), "{other}");
        }
    }

    #[test]
    fn sides_are_those_of_the_paper_at_its_scale_and_in_proportion_below() {
        let sides = |scale: Scale| [64, 128, 224, 384, 512].map(|side| scale.side_like(side));
        assert_eq!(sides(Scale::full()), [64, 128, 224, 384, 512]);
        // 64 x 64 / 224 = 18.3, in patches of 8: 24; and so on.
        assert_eq!(sides(Scale::small()), [24, 40, 64, 112, 152]);
        assert_eq!(sides(Scale::fixture()), [16, 24, 32, 56, 80]);
    }

    /// What the paper's authors ran: 45 epochs of batches of 256 at 224 pixels; torchvision's ResNet-18 and timm's
    /// ViT-Tiny; heads of 2,048 hidden and 256 outputs, DINO's 8,192 prototypes, MAE's decoder as large as the encoder.
    #[test]
    fn full_scale_is_the_papers() {
        let full = Scale::full();
        assert_eq!((full.side, full.epochs, full.batch_size), (224, 45, 256));
        assert_eq!((full.resnet_width, full.resnet_stem), (64, Stem::ImageNet));
        let VitSize { patch, width, depth, heads } = full.vit;
        assert_eq!((patch, width, depth, heads), (16, 192, 12, 3));
        let Heads { hidden, output, prototypes, decoder } = full.heads;
        assert_eq!((hidden, output, prototypes), (2_048, 256, 8_192));
        assert_eq!((decoder.width, decoder.depth, decoder.heads), (192, 12, 12));
        assert_eq!(full.rank_images, 25_600, "as in RankMe's paper");
    }

    /// By hand: 100 images make three batches of 32 per epoch, 20 images one batch of all. Evaluation ranks all 100
    /// images (at most 128) after each of 2 epochs, then uses all 100 and 40 once, then 4 views of 32.
    #[test]
    fn images_of_a_cell_are_counted() {
        let scale = Scale::fixture();
        assert_eq!([100, 96, 95, 32, 20].map(|images| scale.image_passes(images)), [192, 192, 128, 64, 40]);
        assert_eq!(scale.evaluation_passes(100, 40), 2 * 100 + 100 + 40 + 32 * 4);
        assert_eq!(scale.evaluation_passes(200, 40), 2 * 128 + 200 + 40 + 32 * 4);
        assert_eq!(scale.evaluation_passes(20, 40), 2 * 20 + 20 + 40 + 20 * 4);
    }
}
