//! Table 1: methods and backbones, each trained at five shares of defects.
//!
//! The paper prints F1, F2_CIW and F1_Normal of 11 method-backbone pairs x 5 training shares, on a validation set
//! of natural share; Figures 2, 4 and 5 score the same models at five validation shares. Known problems: its F2_CIW
//! of DINO at 1 % cannot come from the same predictions as its F1, and the MAE rows of Figure 2 (captioned
//! ResNet-18) fit no column of Table 1. MAE on ResNet-18 is a dash in the table and not defined here: its cells
//! assert that, with the reason. At fixture scale these cells only show that numbers change, not that methods
//! learn.

use rstest::rstest;
use skewbench::{
    backbone,
    data::Share,
    experiment::{Cell, Study},
    method,
};

use crate::check::check;

#[rstest]
fn cell(
    #[values(
        /// supervised
        method::Name::Supervised,
        /// byol
        method::Name::Byol,
        /// barlow_twins
        method::Name::BarlowTwins,
        /// dino
        method::Name::Dino,
        /// mae
        method::Name::Mae,
        /// simclr
        method::Name::SimClr
    )]
    method: method::Name,
    #[values(
        /// resnet18
        backbone::Name::ResNet18,
        /// vit_tiny
        backbone::Name::ViTTiny
    )]
    backbone: backbone::Name,
    #[values(
        /// share01
        Share::percent(1),
        /// share02
        Share::percent(2),
        /// share05
        Share::percent(5),
        /// share15
        Share::percent(15),
        /// share45
        Share::percent(45)
    )]
    share: Share,
    #[values(
        /// seed0
        0
    )]
    seed: u64,
) {
    check(&Cell { study: Study::Table1, method, backbone, share, seed });
}
