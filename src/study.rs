//! Studies: the table or figure of the paper, or the question of ours, that a cell belongs to. Independent of
//! methods.

use anyhow::{Context, Result, bail, ensure};

use crate::named::named;

/// The table or figure of the paper, or the question of ours, that a cell belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Study {
    /// Table 1: methods and backbones, trained at five defect shares. Its models, scored at five
    /// validation shares, also make Figures 2, 4 and 5; its curves Figures 6 and 7.
    Table1,
    /// Table 2: supervised, images only resized, to a side that corresponds to `side` pixels at the paper's 224.
    Table2 {
        /// Side at the paper's scale, pixels: one of [`Self::SIDES`].
        side: u16,
    },
    /// Figure 3: supervised, on a quarter of the training images, with the paper's views except for these two, in
    /// thousandths: strength of the colour jitter (hue: half of it) and smallest part of the area that a crop
    /// shows.
    Figure3 {
        /// Strength of the colour jitter, thousandths.
        jitter: u16,
        /// Smallest part of the area, thousandths.
        crop: u16,
    },
    /// Ours: training shares that the paper does not have, including the data's own.
    Extension,
    /// Ours: training sets of equal size at all five shares. In the paper's, 45 % has 1.8 times as many images, and
    /// so steps, as 1 %.
    SizeMatched,
    /// Ours: a floor, the backbone with random weights. The cell's method has no meaning.
    RandomWeights,
    /// Ours: a floor, the backbone with unchanged weights from a file (`--frozen`). The cell's method has no
    /// meaning.
    GivenWeights,
    /// Ours: a floor, the pixels of the downscaled image. The cell's method and backbone have no meaning.
    Pixels,
    /// Ours: one detail as in the authors' released code, where ours differs.
    Ablation(Ablation),
    /// Ours: the encoder that the cell's method has pretrained, in the cell of Table 1 or of the extension with the
    /// same axes; all of its weights are then trained on labels.
    FineTuned,
    /// Ours: all weights are trained on the labels of a few defects, and of normal images in proportion. They start
    /// from those that the cell's method has pretrained on all images, or from random ones for supervised training.
    LabelBudget {
        /// Labelled defects: one of [`Self::BUDGETS`].
        defects: u16,
    },
    /// Ours: one class of defects is left out of training, and validation has only defects of that class.
    Unseen {
        /// Rank of the class by its number of training images, 0 the most frequent.
        rank: u8,
    },
    /// Ours: supervised training that handles rare defects other than by weighting them.
    Remedy(Remedy),
    /// Ours: a numbered point of the search space from which a recipe's numbers are chosen, on images of its own.
    /// Not a result: the best of several is biased upwards on the images that it was chosen on.
    Tuning {
        /// 0 is the unchanged recipe; the others are drawn at random.
        trial: u16,
    },
}

named! {
    /// The detail that an ablation changes.
    pub enum Ablation: "ablation" {
        /// MAE's step supervises two predictions per batch.
        MaeTwoPredictions = "mae_two_predictions",
        /// MAE's step compares predictions with the pixels of another view.
        MaeCrossedViews = "mae_crossed_views",
        /// Both.
        MaeAsReleased = "mae_as_released",
        /// DINO's head has no batch normalisation on ResNet-18. To be compared with [`Self::DinoHeadNorm`], since
        /// recipes differ in which of the two they use.
        DinoPlainHead = "dino_plain_head",
        /// DINO's head has batch normalisation on ResNet-18: as in lightly, not as released.
        DinoHeadNorm = "dino_head_norm",
        /// The classifier in training is scored on augmented validation images.
        AugmentedValidation = "augmented_validation",
        /// The online probe takes LARS steps, at our learning rate.
        ProbeUnderLars = "probe_under_lars",
        /// The online probe takes LARS steps, at the released learning rate.
        ProbeAsReleased = "probe_as_released",
    }
}

named! {
    /// How supervised training handles rare defects; Table 1's weights them by normals/defects.
    pub enum Remedy: "remedy" {
        /// Not at all: every image has the same weight.
        Unweighted = "unweighted",
        /// Lin et al., "Focal loss for dense object detection", 2017: easy images have less weight.
        FocalLoss = "focal_loss",
        /// Half of the images of an epoch have a defect, repeated as often as needed.
        Oversampling = "oversampling",
        /// Menon et al., "Long-tail learning via logit adjustment", 2021: training adds the log odds of the labels
        /// to the logits.
        LogitAdjustment = "logit_adjustment",
    }
}

impl Study {
    /// Sides of Table 2, pixels.
    pub const SIDES: [u16; 5] = [64, 128, 224, 384, 512];
    /// Ranks of the classes that are left out, one per cell. Ours.
    pub const UNSEEN: [u8; 3] = [0, 1, 2];
    /// Numbers of labelled defects of the label budgets. Ours.
    pub const BUDGETS: [u16; 3] = [5, 20, 100];

    /// Name in records and on command lines.
    pub fn id(self) -> &'static str {
        match self {
            Self::Table1 => "table1",
            Self::Table2 { .. } => "table2",
            Self::Figure3 { .. } => "figure3",
            Self::Extension => "extension",
            Self::SizeMatched => "size_matched",
            Self::RandomWeights => "random_weights",
            Self::GivenWeights => "given_weights",
            Self::Pixels => "pixels",
            Self::Ablation(ablation) => ablation.id(),
            Self::FineTuned => "fine_tuned",
            Self::LabelBudget { .. } => "label_budget",
            Self::Unseen { .. } => "unseen",
            Self::Remedy(_) => "remedy",
            Self::Tuning { .. } => "tuning",
        }
    }

    /// Returns whether the study is a floor: features that are scored without training and must be beaten.
    pub const fn is_floor(self) -> bool {
        matches!(self, Self::RandomWeights | Self::GivenWeights | Self::Pixels)
    }

    /// Returns whether nothing in the study's cells is random, so that another seed changes no score.
    pub const fn is_without_seeds(self) -> bool {
        matches!(self, Self::GivenWeights | Self::Pixels)
    }

    /// Returns what a study varies besides method, backbone, share and seed: `side224`, `jitter0275-crop0395`,
    /// `focal_loss`.
    pub fn variant(self) -> Option<String> {
        match self {
            Self::Table2 { side } => Some(format!("side{side:03}")),
            Self::Figure3 { jitter, crop } => Some(format!("jitter{jitter:04}-crop{crop:04}")),
            Self::Unseen { rank } => Some(format!("class{rank:02}")),
            Self::LabelBudget { defects } => Some(format!("defects{defects:04}")),
            Self::Remedy(remedy) => Some(remedy.id().to_owned()),
            Self::Tuning { trial } => Some(format!("trial{trial:02}")),
            _ => None,
        }
    }

    /// Parses the study of a record from its name and its variant.
    ///
    /// # Errors
    /// If no study has that name, or it has no such variant.
    pub fn read(id: &str, variant: Option<&str>) -> Result<Self> {
        let study = match id {
            "table1" => Self::Table1,
            "table2" => Self::Table2 { side: number(variant, "side")? },
            "figure3" => {
                let (jitter, crop) = variant.and_then(|text| text.split_once('-')).unzip();
                Self::Figure3 { jitter: number(jitter, "jitter")?, crop: number(crop, "crop")? }
            }
            "extension" => Self::Extension,
            "size_matched" => Self::SizeMatched,
            "random_weights" => Self::RandomWeights,
            "given_weights" => Self::GivenWeights,
            "pixels" => Self::Pixels,
            "fine_tuned" => Self::FineTuned,
            "unseen" => {
                let rank = number(variant, "class")?;
                Self::Unseen { rank: rank.try_into().context("no class has such a rank")? }
            }
            "label_budget" => Self::LabelBudget { defects: number(variant, "defects")? },
            "remedy" => {
                Self::Remedy(variant.context("the record of a remedy does not name the remedy")?.parse()?)
            }
            "tuning" => Self::Tuning { trial: number(variant, "trial")? },
            _ => match id.parse() {
                Ok(ablation) => Self::Ablation(ablation),
                Err(_) => bail!("no study called '{id}'"),
            },
        };
        ensure!(
            study.variant().as_deref() == variant,
            "study '{id}' has no variant '{}'",
            variant.unwrap_or_default()
        );
        Ok(study)
    }
}

/// Parses the number after a name: 224 of `side224`.
fn number(text: Option<&str>, name: &str) -> Result<u16> {
    let digits = text.and_then(|text| text.strip_prefix(name));
    let digits = digits
        .with_context(|| format!("expected '{name}' and a number, found '{}'", text.unwrap_or_default()))?;
    digits.parse().with_context(|| format!("'{digits}' is not a valid number after '{name}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn studies_are_read_as_written() {
        let mut studies = vec![
            Study::Table1,
            Study::Table2 { side: 64 },
            Study::Figure3 { jitter: 275, crop: 395 },
            Study::Extension,
            Study::SizeMatched,
            Study::RandomWeights,
            Study::GivenWeights,
            Study::Pixels,
            Study::FineTuned,
            Study::LabelBudget { defects: 20 },
            Study::Unseen { rank: 2 },
            Study::Tuning { trial: 3 },
            Study::Tuning { trial: 100 },
        ];
        studies.extend(Ablation::ALL.map(Study::Ablation));
        studies.extend(Remedy::ALL.map(Study::Remedy));
        for study in studies {
            assert_eq!(Study::read(study.id(), study.variant().as_deref()).unwrap(), study);
        }
        for (id, variant, expected) in [
            ("table3", None, "no study called 'table3'"),
            ("table1", Some("side064"), "study 'table1' has no variant 'side064'"),
            ("table2", None, "expected 'side' and a number, found ''"),
            ("figure3", Some("jitter0275-crop"), "'' is not a valid number after 'crop'"),
            ("remedy", None, "the record of a remedy does not name the remedy"),
            ("remedy", Some("prayer"), "no remedy called 'prayer'"),
            ("tuning", Some("trial3"), "study 'tuning' has no variant 'trial3'"),
        ] {
            let error = format!("{:#}", Study::read(id, variant).unwrap_err());
            assert!(error.starts_with(expected), "{error}");
        }
    }

    /// The names of studies and variants in records and file names, which must not change.
    #[test]
    fn studies_have_these_names() {
        let named = |study: Study| (study.id(), study.variant().unwrap_or_default());
        for (study, id, variant) in [
            (Study::Table1, "table1", ""),
            (Study::Table2 { side: 64 }, "table2", "side064"),
            (Study::Table2 { side: 384 }, "table2", "side384"),
            (Study::Figure3 { jitter: 275, crop: 80 }, "figure3", "jitter0275-crop0080"),
            (Study::Extension, "extension", ""),
            (Study::SizeMatched, "size_matched", ""),
            (Study::RandomWeights, "random_weights", ""),
            (Study::GivenWeights, "given_weights", ""),
            (Study::Pixels, "pixels", ""),
            (Study::Ablation(Ablation::MaeTwoPredictions), "mae_two_predictions", ""),
            (Study::Ablation(Ablation::MaeCrossedViews), "mae_crossed_views", ""),
            (Study::Ablation(Ablation::MaeAsReleased), "mae_as_released", ""),
            (Study::Ablation(Ablation::DinoPlainHead), "dino_plain_head", ""),
            (Study::Ablation(Ablation::DinoHeadNorm), "dino_head_norm", ""),
            (Study::Ablation(Ablation::AugmentedValidation), "augmented_validation", ""),
            (Study::Ablation(Ablation::ProbeUnderLars), "probe_under_lars", ""),
            (Study::Ablation(Ablation::ProbeAsReleased), "probe_as_released", ""),
            (Study::FineTuned, "fine_tuned", ""),
            (Study::LabelBudget { defects: 20 }, "label_budget", "defects0020"),
            (Study::Unseen { rank: 1 }, "unseen", "class01"),
            (Study::Remedy(Remedy::Unweighted), "remedy", "unweighted"),
            (Study::Remedy(Remedy::FocalLoss), "remedy", "focal_loss"),
            (Study::Remedy(Remedy::Oversampling), "remedy", "oversampling"),
            (Study::Remedy(Remedy::LogitAdjustment), "remedy", "logit_adjustment"),
            (Study::Tuning { trial: 7 }, "tuning", "trial07"),
        ] {
            assert_eq!(named(study), (id, variant.to_owned()));
        }
        assert_eq!(Study::SIDES, [64, 128, 224, 384, 512]);
        assert_eq!((Study::UNSEEN, Study::BUDGETS), ([0, 1, 2], [5, 20, 100]));
    }

    #[test]
    fn floors_are_not_trained_and_two_of_them_have_no_seeds() {
        let kinds = |study: Study| (study.is_floor(), study.is_without_seeds());
        assert_eq!(kinds(Study::RandomWeights), (true, false));
        assert_eq!([Study::GivenWeights, Study::Pixels].map(kinds), [(true, true); 2]);
        let others = [
            Study::Table1,
            Study::Table2 { side: 64 },
            Study::Figure3 { jitter: 275, crop: 80 },
            Study::Extension,
            Study::SizeMatched,
            Study::FineTuned,
            Study::LabelBudget { defects: 5 },
            Study::Unseen { rank: 0 },
            Study::Tuning { trial: 0 },
        ];
        let others = others.into_iter().chain(Ablation::ALL.map(Study::Ablation));
        assert!(others.chain(Remedy::ALL.map(Study::Remedy)).all(|study| kinds(study) == (false, false)));
    }

    #[test]
    fn a_variant_of_another_width_or_size_is_no_variant() {
        for (id, variant, expected) in [
            ("figure3", "crop0275-jitter0395", "expected 'jitter' and a number, found 'crop0275'"),
            ("unseen", "class300", "no class has such a rank"),
            ("unseen", "class3", "study 'unseen' has no variant 'class3'"),
            ("label_budget", "defects20", "study 'label_budget' has no variant 'defects20'"),
            ("table2", "side99999", "'99999' is not a valid number after 'side'"),
            ("fine_tuned", "x", "study 'fine_tuned' has no variant 'x'"),
        ] {
            let error = format!("{:#}", Study::read(id, Some(variant)).unwrap_err());
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
