//! Ablations: each changes one detail to that of the authors' released code.
//!
//! Their MAE step appears to supervise two predictions per batch, and to compare with pixels of another view: each
//! change alone, and both. Their DINO has no batch normalisation in its head on ResNet-18: without and with it.
//! Their validation during training uses training's augmentation. Under LARS their online probe hardly moves after
//! warm-up: the rule alone at our learning rate, and with theirs. The counterpart of all but DINO's is the cell of
//! Table 1 with the same method, backbone and share. At fixture scale these cells only show that numbers change;
//! the effect of an ablation needs longer runs.

use rstest::rstest;
use skewbench::{
    backbone::Name::{ResNet18, ViTTiny},
    data::Share,
    experiment::{Ablation, Cell, Study},
    method::Name::{Dino, Mae, SimClr, Supervised},
};

use crate::check::check;

#[rstest]
#[case::mae_two_predictions__mae_vit_tiny(Ablation::MaeTwoPredictions, Mae, ViTTiny)]
#[case::mae_crossed_views__mae_vit_tiny(Ablation::MaeCrossedViews, Mae, ViTTiny)]
#[case::mae_as_released__mae_vit_tiny(Ablation::MaeAsReleased, Mae, ViTTiny)]
#[case::dino_plain_head__dino_resnet18(Ablation::DinoPlainHead, Dino, ResNet18)]
#[case::dino_head_norm__dino_resnet18(Ablation::DinoHeadNorm, Dino, ResNet18)]
#[case::augmented_validation__supervised_resnet18(Ablation::AugmentedValidation, Supervised, ResNet18)]
#[case::augmented_validation__simclr_resnet18(Ablation::AugmentedValidation, SimClr, ResNet18)]
#[case::probe_under_lars__simclr_resnet18(Ablation::ProbeUnderLars, SimClr, ResNet18)]
#[case::probe_as_released__simclr_resnet18(Ablation::ProbeAsReleased, SimClr, ResNet18)]
#[expect(non_snake_case, reason = "two underscores part study and cell")]
fn cell(
    #[case] ablation: Ablation,
    #[case] method: skewbench::method::Name,
    #[case] backbone: skewbench::backbone::Name,
) {
    check(&Cell { study: Study::Ablation(ablation), method, backbone, share: Share::percent(45), seed: 0 });
}
