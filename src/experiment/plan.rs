//! What all cells of a run share, and what a cell makes of it: its recipe, sizes, views, and all of them by name.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use candle_core::{DType, Device};

use super::{Ablation, Augmentation, Cell, Recipe, Scale, Study, cell, recipe};
use crate::{
    augment::{Framing, Jitter, Normalisation, ViewRecipe},
    backbone,
    data::OnBadImage,
    method::{
        dino::Distillation,
        mae::{Reconstruction, Supervision},
    },
    results::record::Settings,
};

/// What all cells of a run share.
pub struct Plan {
    pub scale: Scale,
    /// Whose hyper-parameters.
    pub recipe: recipe::Name,
    /// Instead of the views of each method's recipe.
    pub augmentation: Option<Augmentation>,
    /// Weights that every encoder begins with.
    pub init: Option<Init>,
    pub on_bad_image: OnBadImage,
    pub device: Device,
    /// Whether training flows in bf16 ([`crate::tensor::graph::precision`]); evaluation is f32 always.
    pub mixed_precision: bool,
}

/// A file of encoder weights under torchvision's or timm's names.
#[derive(Clone, Debug)]
pub struct Init {
    pub path: PathBuf,
    /// BLAKE3 of the file.
    pub digest: String,
}

impl Init {
    /// Reads the file once, for its digest.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn new(path: &Path) -> Result<Self> {
        let bytes =
            std::fs::read(path).with_context(|| format!("{}: cannot read the weights", path.display()))?;
        Ok(Self { path: path.to_owned(), digest: blake3::hash(&bytes).to_hex().to_string() })
    }
}

impl Plan {
    /// The usual plan of a scale: the released recipe at `full`, ours below, on the CPU.
    pub fn new(scale: Scale) -> Self {
        let recipe = if scale.name == "full" { recipe::Name::AsReleased } else { recipe::Name::Short };
        let on_bad_image = OnBadImage::Fail;
        Self {
            scale,
            recipe,
            augmentation: None,
            init: None,
            on_bad_image,
            device: Device::Cpu,
            mixed_precision: false,
        }
    }

    /// The recipe of a cell in this run, with what its ablation changes.
    pub fn recipe(&self, cell: &Cell) -> Recipe {
        let mut recipe = Recipe::of(self.recipe, cell.method, cell.backbone);
        recipe.augmentation = self.augmentation.unwrap_or(recipe.augmentation);
        match cell.study {
            Study::Table1 | Study::Extension | Study::SizeMatched => {}
            Study::RandomWeights | Study::Pixels => {}
            Study::Table2 { .. } => recipe.augmentation = Augmentation::None,
            Study::Figure3 { .. } => recipe.augmentation = Augmentation::Paper,
            Study::Ablation(Ablation::MaeTwoPredictions) => mae(&mut recipe, Supervision::TwoPredictions),
            Study::Ablation(Ablation::MaeCrossedViews) => mae(&mut recipe, Supervision::CrossedViews),
            Study::Ablation(Ablation::MaeAsReleased) => mae(&mut recipe, Supervision::AsReleased),
            Study::Ablation(ablation @ (Ablation::DinoPlainHead | Ablation::DinoHeadNorm)) => {
                let head_norm = ablation == Ablation::DinoHeadNorm;
                let constants = Recipe::distillation(self.recipe, cell.backbone);
                recipe.objective = Arc::new(Distillation { head_norm, ..constants });
            }
            Study::Ablation(Ablation::AugmentedValidation) => recipe.augmented_validation = true,
            Study::Ablation(Ablation::ProbeUnderLars) => {
                let released = Recipe::of(recipe::Name::AsReleased, cell.method, cell.backbone);
                recipe.probe_rule = released.probe_rule;
            }
            Study::Ablation(Ablation::ProbeAsReleased) => {
                let released = Recipe::of(recipe::Name::AsReleased, cell.method, cell.backbone);
                recipe.probe_rule = released.probe_rule;
                recipe.probe_learning_rate = released.probe_learning_rate;
            }
        }
        recipe
    }

    /// Type of the numbers that flow in training.
    pub(super) fn numbers(&self) -> DType {
        if self.mixed_precision { DType::BF16 } else { DType::F32 }
    }

    /// How large everything is in a cell.
    pub fn scale_of(&self, cell: &Cell) -> Scale {
        let mut scale = self.scale.clone();
        match cell.study {
            Study::Table2 { side } => scale.side = scale.side_like(usize::from(side)),
            Study::RandomWeights | Study::Pixels => scale.epochs = 0,
            _ => {}
        }
        scale
    }

    /// Side of drawn pictures that a cell learns from: those of Table 2 are drawn once, for its largest side.
    pub fn drawn_side(&self, cell: &Cell) -> usize {
        match cell.study {
            Study::Table2 { .. } => {
                cell::SIDES.map(|side| self.scale.side_like(side.into())).into_iter().max()
            }
            _ => None,
        }
        .unwrap_or(self.scale.side)
    }

    /// Part of the training set that is used at all.
    pub(super) fn training_sample(&self, cell: &Cell) -> (usize, usize) {
        match cell.study {
            // The paper: "25 % of the dataset"; whether validation was cut too it does not say, and here it is not.
            Study::Figure3 { .. } => (1, 4),
            _ => self.scale.sample,
        }
    }

    /// Views of a training image.
    pub(super) fn views(&self, cell: &Cell) -> Vec<ViewRecipe> {
        let mut views = self.recipe(cell).views(cell.method, self.scale_of(cell).side);
        if let Study::Figure3 { jitter, crop } = cell.study {
            let [strength, smallest] = [jitter, crop].map(|thousandths| f64::from(thousandths) / 1e3);
            for view in &mut views {
                let [brightness, contrast, saturation] = [strength; 3];
                view.jitter = Jitter { brightness, contrast, saturation, hue: strength / 2.0, ..view.jitter };
                if let Framing::Random { scale: (least, _), .. } = &mut view.framing {
                    *least = smallest;
                }
            }
        }
        views
    }
}

/// MAE with other predictions supervised; all else as in the recipe.
fn mae(recipe: &mut Recipe, supervision: Supervision) {
    recipe.objective = Arc::new(Reconstruction {
        visible: 0.25,
        normalise_pixels: true,
        encoder_heads: recipe.objective.attention_heads(),
        supervision,
    });
}

/// Every choice behind a cell's numbers, by name.
pub fn settings(cell: &Cell, plan: &Plan) -> Settings {
    let (scale, recipe) = (&plan.scale_of(cell), plan.recipe(cell));
    let untrained = matches!(cell.study, Study::RandomWeights | Study::Pixels);
    let mut values = BTreeMap::new();
    let mut set = |name: &str, value: String| values.insert(name.to_owned(), value);
    set("side", scale.side.to_string());
    set("epochs", scale.epochs.to_string());
    set("batch_size", scale.batch_size.to_string());
    match cell.backbone {
        _ if cell.study == Study::Pixels => {}
        backbone::Name::ResNet18 => {
            set("resnet_width", scale.resnet_width.to_string());
            set("resnet_stem", format!("{:?}", scale.resnet_stem));
        }
        backbone::Name::ViTTiny => {
            set("vit", format!("{:?}", scale.vit));
            let heads = recipe.objective.attention_heads().unwrap_or(scale.vit.heads);
            set("attention_heads", heads.to_string());
        }
    }
    set("sample", format!("{}/{}", scale.sample.0, scale.sample.1));
    set(
        "label_free",
        format!("{} images ranked, {:?} images and views", scale.rank_images, scale.view_sample),
    );
    if !untrained {
        set("objective", format!("{:?}", recipe.objective));
        set("optimisation", format!("{:?}", recipe.optimisation(scale)));
    }
    if plan.training_sample(cell) != scale.sample {
        set("training_sample", format!("{:?}", plan.training_sample(cell)));
    }
    set("views", format!("{:?}", plan.views(cell)));
    set("normalisation", format!("{:?}", Normalisation::SEWER_ML));
    set("converged_probe", format!("{:?}", recipe.converged_probe));
    if !cell.method.is_supervised() {
        set("online_probe", format!("{:?} at {}", recipe.probe_rule, recipe.probe_rate(scale)));
        set("heads", format!("{:?}", scale.heads));
    }
    if recipe.augmented_validation {
        set("in_training_validation", "augmented".to_owned());
    }
    if let Some(Init { path, digest }) = &plan.init {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        set("init", format!("{name} {digest}"));
    }
    if plan.on_bad_image == OnBadImage::Skip {
        set("on_bad_image", "skip".to_owned());
    }
    if plan.mixed_precision {
        set("precision", "bf16 with f32 weights".to_owned());
    }
    Settings { scale: scale.name.clone(), recipe: recipe.name.id().to_owned(), values }
}
