//! What all cells of a run share, and what each cell makes of it: its recipe, sizes and views.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use candle_core::{DType, Device};

use super::{Ablation, Augmentation, Cell, Recipe, Scale, Study, cell, recipe, settings};
use crate::{
    augment::{Framing, Jitter, ViewRecipe},
    data::{OnBadImage, SampleBits},
    method::{
        Objective,
        dino::Distillation,
        mae::{Reconstruction, Supervision},
    },
    results::record::Settings,
};

/// What all cells of a run share.
pub struct Plan {
    /// How large everything is.
    pub scale: Scale,
    /// Whose hyper-parameters.
    pub recipe: recipe::Name,
    /// Instead of the views of each method's recipe.
    pub augmentation: Option<Augmentation>,
    /// Weights that every trained encoder begins with; floors keep their random ones.
    pub init: Option<Init>,
    /// What happens at an image that cannot be read.
    pub on_bad_image: OnBadImage,
    /// How many bits of 16-bit samples are in use; none where the data say so themselves.
    pub sample_bits: Option<SampleBits>,
    /// Where it is trained.
    pub device: Device,
    /// Whether training flows in bf16 ([`crate::tensor::graph::precision`]); evaluation is f32 always.
    pub mixed_precision: bool,
}

/// A file of encoder weights under torchvision's or timm's names.
#[derive(Clone, Debug)]
pub struct Init {
    /// The file.
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

    /// Name of the file, without the folder that it lies in.
    pub fn name(&self) -> String {
        self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
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
            sample_bits: None,
            device: Device::Cpu,
            mixed_precision: false,
        }
    }

    /// The recipe of a cell in this run, with what its ablation or its trial changes.
    pub fn recipe(&self, cell: &Cell) -> Recipe {
        let mut recipe = Recipe::of(self.recipe, cell.method, cell.backbone);
        recipe.augmentation = self.augmentation.unwrap_or(recipe.augmentation);
        match cell.study {
            Study::Table1 | Study::Extension | Study::SizeMatched => {}
            Study::RandomWeights | Study::Pixels => {}
            Study::Table2 { .. } => recipe.augmentation = Augmentation::None,
            Study::Figure3 { .. } => recipe.augmentation = Augmentation::Paper,
            Study::Ablation(Ablation::MaeTwoPredictions) => {
                recipe.objective = self.mae(cell, Supervision::TwoPredictions);
            }
            Study::Ablation(Ablation::MaeCrossedViews) => {
                recipe.objective = self.mae(cell, Supervision::CrossedViews);
            }
            Study::Ablation(Ablation::MaeAsReleased) => {
                recipe.objective = self.mae(cell, Supervision::AsReleased);
            }
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
            Study::Tuning { trial } => recipe = Recipe::trial(cell.method, cell.backbone, trial),
        }
        recipe
    }

    /// MAE with other predictions supervised; all else as in the recipe.
    fn mae(&self, cell: &Cell, supervision: Supervision) -> Arc<dyn Objective> {
        Arc::new(Reconstruction { supervision, ..Recipe::reconstruction(self.recipe, cell.backbone) })
    }

    /// Weights that the cell's encoder begins with; none where they are random, as a floor's always are.
    pub fn init_of(&self, cell: &Cell) -> Option<&Init> {
        self.init.as_ref().filter(|_| !cell.is_floor())
    }

    /// Every choice behind a cell's numbers, by name.
    pub fn settings(&self, cell: &Cell) -> Settings {
        settings::of(cell, self, &self.scale_of(cell), &self.recipe(cell), &self.views(cell))
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
    pub fn views(&self, cell: &Cell) -> Vec<ViewRecipe> {
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
