//! Each method's own standard on small backbones, as published by a library together with a result.
//!
//! ResNet-18: solo-learn 9187ea39, `scripts/pretrain/imagenet-100/*.yaml` (400 epochs, batch 256, warm-up 10
//! epochs, LARS with coefficient 0.02 and clipping). ViT: no recipe for SimCLR, BYOL or Barlow Twins on ViT-Tiny
//! has been published; these are stable-pretraining 9aa93f8b's for ViT-S/16 on Imagenette (200 epochs). DINO is
//! solo-learn's on ViT-Tiny, MAE mae-lite f3090d4c's. Supervised: the Sewer-ML authors' SGD on ResNet-18 (a cosine
//! schedule here, steps there), the released AdamW on ViT. Views are each method's own. Left out: schedules of
//! weight decay, and local views of DINO.

use std::sync::Arc;

use super::{Augmentation, Name, Recipe, as_released};
use crate::{
    backbone,
    method::{
        self, Objective,
        barlow_twins::Decorrelation,
        byol::Bootstrap,
        dino::{Distillation, TeacherTemperature},
        mae::{Reconstruction, Supervision},
        simclr::Contrast,
        teacher::Momentum,
    },
    train::{
        Decayed,
        optimiser::{Rule, Trust},
    },
};

/// solo-learn's LARS for small data sets.
const LARS: Rule = Rule::Lars { momentum: 0.9, trust: Trust::SumOfNorms { coefficient: 0.02, clip: true } };
/// AdamW of MAE and of stable-pretraining's transformers.
const ADAMW_095: Rule = Rule::AdamW { beta1: 0.9, beta2: 0.95, epsilon: 1e-8 };

pub const DINO: Distillation = Distillation {
    momentum: Momentum { start: 0.9995, end: 1.0 },
    student_temperature: 0.1,
    teacher_temperature: TeacherTemperature { start: 0.04, end: 0.07, warm_up: 50.0 / 400.0 },
    centre_momentum: 0.9,
    head_norm: false,
    frozen_epochs: 1,
};

pub const MAE: Reconstruction = Reconstruction {
    visible: 0.25,
    normalise_pixels: true,
    encoder_heads: Some(12),
    supervision: Supervision::All,
};

pub fn recipe(method: method::Name, backbone: backbone::Name) -> Recipe {
    let vit = backbone == backbone::Name::ViTTiny;
    // The probe of a reference uses AdamW, not LARS: ours, because LARS would hardly train it.
    let base = Recipe {
        name: Name::Reference,
        augmentation: Augmentation::Original,
        warm_up: 10.0 / 400.0,
        warm_up_start: 3e-5,
        decayed: Decayed::Weights,
        probe_rule: Rule::ADAMW,
        ..as_released::recipe(method)
    };
    let with = |objective: Arc<dyn Objective>, rule, learning_rate, weight_decay| Recipe {
        objective,
        rule,
        learning_rate,
        weight_decay,
        ..base.clone()
    };
    // The sources of these have a single parameter group, so biases and norms decay too.
    let decays_everything = Recipe { decayed: Decayed::Everything, ..base.clone() };
    match method {
        method::Name::Supervised if vit => decays_everything,
        method::Name::Supervised => Recipe {
            rule: Rule::Sgd { momentum: 0.9 },
            learning_rate: 0.1,
            weight_decay: 1e-4,
            ..decays_everything
        },
        method::Name::SimClr => with(Arc::new(Contrast { temperature: 0.2 }), LARS, 0.3, 1e-4),
        method::Name::Byol => {
            let objective = Bootstrap { momentum: Momentum { start: 0.99, end: 1.0 } };
            with(Arc::new(objective), LARS, 0.5, 1e-6)
        }
        method::Name::BarlowTwins => {
            let objective = Arc::new(Decorrelation { off_diagonal_weight: 0.0051, scale: 0.1 });
            // stable-pretraining notes that the LARS recipe collapses on its ViT.
            if vit { with(objective, ADAMW_095, 5e-4, 0.05) } else { with(objective, LARS, 0.3, 1e-4) }
        }
        method::Name::Dino if vit => Recipe {
            warm_up_start: 1e-5,
            clip: None,
            decayed: Decayed::Everything,
            ..with(Arc::new(DINO), Rule::ADAMW, 5e-3, 1e-4)
        },
        method::Name::Dino => Recipe { clip: None, ..with(Arc::new(DINO), LARS, 0.3, 1e-6) },
        method::Name::Mae => Recipe {
            warm_up: 40.0 / 400.0,
            warm_up_start: 0.0,
            ..with(Arc::new(MAE), ADAMW_095, 1.5e-4, 0.05)
        },
        // Chen and He 2021, as in `as_released.rs`.
        method::Name::SimSiam => Recipe {
            name: Name::Reference,
            augmentation: Augmentation::Original,
            ..as_released::recipe(method)
        },
    }
}
