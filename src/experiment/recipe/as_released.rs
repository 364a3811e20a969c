//! The hyper-parameters that the paper's authors used, read from their public code: 45 epochs, warm-up for 10 of
//! them, one online probe whose learning rate starts where the backbone's does. One detail is not taken over: the
//! step of MAE that supervises two predictions per batch, which is an ablation here.

use std::sync::Arc;

use super::{Augmentation, CONVERGED_PROBE, LARS, Name, Recipe};
use crate::{
    loader::Sampling,
    method::{
        self, Objective,
        barlow_twins::Decorrelation,
        byol::Bootstrap,
        dino::{Distillation, TeacherTemperature},
        mae::{Reconstruction, Supervision},
        simclr::Contrast,
        simsiam::StopGradient,
        supervised::Classification,
        teacher::Momentum,
    },
    train::{Decayed, optimiser::Rule},
};

/// The teacher's momentum in BYOL and DINO.
const MOMENTUM: Momentum = Momentum { start: 0.996, end: 0.999 };

pub const DINO: Distillation = Distillation {
    momentum: MOMENTUM,
    student_temperature: 0.1,
    teacher_temperature: TeacherTemperature { start: 0.04, end: 0.07, warm_up: 15.0 / 45.0 },
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

pub fn recipe(method: method::Name) -> Recipe {
    // Supervised, DINO and MAE: AdamW, weight decay on everything, probe 1e-3.
    let adamw = |objective: Arc<dyn Objective>, learning_rate, weight_decay, warm_up_start| Recipe {
        name: Name::AsReleased,
        objective,
        rule: Rule::ADAMW,
        learning_rate,
        weight_decay,
        decayed: Decayed::Everything,
        clip: None,
        warm_up_start,
        warm_up: 10.0 / 45.0,
        probe_rule: Rule::ADAMW,
        probe_learning_rate: 1e-3,
        augmentation: Augmentation::Paper,
        sampling: Sampling::Each,
        augmented_validation: false,
        converged_probe: CONVERGED_PROBE,
    };
    // SimCLR, BYOL and Barlow Twins: LARS, also for the probe's weight, which therefore hardly moves after warm-up.
    let lars = |objective: Arc<dyn Objective>, learning_rate, weight_decay, warm_up_start| Recipe {
        rule: LARS,
        decayed: Decayed::Weights,
        probe_rule: LARS,
        ..adamw(objective, learning_rate, weight_decay, warm_up_start)
    };
    match method {
        method::Name::Supervised => adamw(Arc::new(Classification::default()), 5e-4, 1e-4, 3e-5),
        method::Name::SimClr => lars(Arc::new(Contrast { temperature: 0.2 }), 0.3, 1e-6, 0.15),
        method::Name::Byol => lars(Arc::new(Bootstrap { momentum: MOMENTUM }), 0.2, 1.5e-6, 0.1),
        method::Name::BarlowTwins => {
            let objective = Decorrelation { off_diagonal_weight: 0.0051, scale: 0.024 };
            lars(Arc::new(objective), 0.2, 1.5e-6, 0.1)
        }
        method::Name::Dino => Recipe { clip: Some(1.0), ..adamw(Arc::new(DINO), 5e-4, 1e-4, 3e-5) },
        method::Name::Mae => adamw(Arc::new(MAE), 1e-3, 0.05, 5e-4),
        // Their code has no SimSiam: these are its own paper's numbers (Chen and He 2021, section 4: `Baseline
        // settings`; the released code decays every parameter).
        method::Name::SimSiam => {
            let base = adamw(Arc::new(StopGradient), 0.05, 1e-4, 0.05);
            Recipe { rule: Rule::Sgd { momentum: 0.9 }, warm_up: 0.0, ..base }
        }
    }
}
