//! What all cells of a run share, and how each cell's recipe, sizes and views follow from it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use candle_core::{DType, Device};

use super::{Ablation, Augmentation, Cell, Recipe, Remedy, Resolved, Scale, Study, cell, recipe, settings};
use crate::{
    augment::{Framing, Jitter, Normalisation, ViewRecipe},
    backbone::{self, import::Weights},
    data::{
        OnBadImage, SampleBits,
        regular::{self, SizeLimit},
    },
    loader::Sampling,
    method::{
        Objective,
        dino::Distillation,
        mae::{Reconstruction, Supervision},
        supervised::{Classification, RarityHandling},
    },
    results::record::Settings,
};

/// What all cells of a run have in common.
pub struct Plan {
    /// The size of everything.
    pub scale: Scale,
    /// The source of hyper-parameters.
    pub recipe: recipe::Name,
    /// Replaces the views of each method's recipe, if given.
    pub augmentation: Option<Augmentation>,
    /// Initial weights of every trained encoder; floors keep their own.
    pub init: Option<Init>,
    /// Weights that are scored unchanged, in a floor of their own.
    pub frozen: Option<Init>,
    /// Provides the encoders that fine-tuning starts from; `None` if there are none.
    pub pretrained: Option<Arc<dyn Pretrained>>,
    /// What happens at an image that cannot be read.
    pub on_bad_image: OnBadImage,
    /// Number of bits in use of 16-bit samples; `None` if the data determine it.
    pub sample_bits: Option<SampleBits>,
    /// Device of the computation.
    pub device: Device,
    /// Whether training activations are bf16 ([`crate::tensor::graph::precision`]); evaluation is always f32.
    pub mixed_precision: bool,
}

/// A source of pretrained encoders for fine-tuning.
pub trait Pretrained: Send + Sync {
    /// Loads the encoder that this cell has trained.
    ///
    /// # Errors
    /// If it does not exist, or belongs to another experiment.
    fn encoder(&self, cell: &Resolved) -> Result<Weights>;
}

/// A file of encoder weights, as read by [`Weights`].
#[derive(Clone, Debug)]
pub struct Init {
    /// The file.
    pub path: PathBuf,
    /// BLAKE3 of the file.
    pub digest: String,
    /// The weights in the file.
    pub weights: Weights,
    /// Pixel normalisation with which the weights were trained.
    pub normalisation: Normalisation,
    /// Whether the normalisation comes from the header of the file, and not from the caller or the default.
    pub normalisation_from_header: bool,
}

impl Init {
    /// Reads the file once. The normalisation is `asked` if given, otherwise that of the file's header, otherwise
    /// the one used for all training here.
    ///
    /// # Errors
    /// If the file cannot be read, or contains no weights; says what it contains instead.
    pub fn new(path: &Path, asked: Option<Normalisation>) -> Result<Self> {
        let bytes = regular::read(path, SizeLimit::WEIGHTS)
            .with_context(|| format!("{}: cannot read the weights", path.display()))?;
        let weights = Weights::read(path, &bytes)?;
        let noted = Normalisation::from_notes(|name| weights.note(name))
            .with_context(|| format!("{}: its header", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            digest: blake3::hash(&bytes).to_hex().to_string(),
            weights,
            normalisation: asked.or(noted).unwrap_or(Normalisation::SEWER_ML),
            normalisation_from_header: asked.is_none() && noted.is_some(),
        })
    }

    /// Returns the encoder that the weights belong to.
    ///
    /// # Errors
    /// If it is not one that is implemented here.
    pub fn network(&self) -> Result<backbone::Name> {
        Ok(self.weights.network()?)
    }

    /// Returns the name of the file without its folder.
    pub fn name(&self) -> String {
        self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }
}

impl Plan {
    /// Returns the default plan of a scale: the released recipe at `full`, ours below, on the CPU.
    pub fn new(scale: Scale) -> Self {
        let recipe = if scale.name == "full" { recipe::Name::AsReleased } else { recipe::Name::Short };
        let on_bad_image = OnBadImage::Fail;
        Self {
            scale,
            recipe,
            augmentation: None,
            init: None,
            frozen: None,
            pretrained: None,
            on_bad_image,
            sample_bits: None,
            device: Device::Cpu,
            mixed_precision: false,
        }
    }

    /// Returns a cell's recipe in this run, with the changes of its ablation or trial.
    pub fn recipe(&self, cell: &Cell) -> Recipe {
        let mut recipe = Recipe::for_method(self.recipe, cell.trained_by(), cell.backbone);
        recipe.augmentation = self.augmentation.unwrap_or(recipe.augmentation);
        match cell.study {
            Study::Table1 | Study::Extension | Study::SizeMatched | Study::Unseen { .. } => {}
            Study::RandomWeights | Study::GivenWeights | Study::Pixels => {}
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
                let released = Recipe::for_method(recipe::Name::AsReleased, cell.method, cell.backbone);
                recipe.probe_rule = released.probe_rule;
            }
            Study::Ablation(Ablation::ProbeAsReleased) => {
                let released = Recipe::for_method(recipe::Name::AsReleased, cell.method, cell.backbone);
                recipe.probe_rule = released.probe_rule;
                recipe.probe_learning_rate = released.probe_learning_rate;
            }
            Study::FineTuned | Study::LabelBudget { .. } if cell.pretraining_cell().is_some() => {
                recipe.learning_rate *= FINE_TUNING;
            }
            Study::FineTuned | Study::LabelBudget { .. } => {}
            Study::Remedy(remedy) => answer(&mut recipe, remedy),
            Study::Tuning { trial } => recipe = Recipe::trial(cell.method, cell.backbone, trial),
        }
        recipe
    }

    /// Returns MAE's objective with another choice of supervised predictions; the rest is as in the recipe.
    fn mae(&self, cell: &Cell, supervision: Supervision) -> Arc<dyn Objective> {
        Arc::new(Reconstruction { supervision, ..Recipe::reconstruction(self.recipe, cell.backbone) })
    }

    /// Returns the initial weights of the cell's encoder; `None` if they are random, as they always are in the
    /// random-weights floor.
    pub fn init_of(&self, cell: &Cell) -> Option<&Init> {
        match cell.study {
            // Its pretraining cell has already used them.
            _ if cell.pretraining_cell().is_some() => None,
            Study::GivenWeights => self.frozen.as_ref(),
            study if study.is_floor() => None,
            _ => self.init.as_ref(),
        }
    }

    /// Returns the pixel normalisation of a cell: that of the weights from which its encoder descends.
    pub fn normalisation(&self, cell: &Cell) -> Normalisation {
        let first = cell.pretraining_cell().unwrap_or(*cell);
        self.init_of(&first).map_or(Normalisation::SEWER_ML, |init| init.normalisation)
    }

    /// Returns every choice that affects a cell's numbers on the source called `source`, by name.
    pub fn settings(&self, cell: &Cell, source: &str) -> Settings {
        settings::of_cell(cell, self, source)
    }

    /// Returns the number type of training activations.
    pub(super) fn training_dtype(&self) -> DType {
        if self.mixed_precision { DType::BF16 } else { DType::F32 }
    }

    /// Returns the sizes of a cell.
    pub fn scale_of(&self, cell: &Cell) -> Scale {
        let mut scale = self.scale.clone();
        match cell.study {
            Study::Table2 { side } => scale.side = scale.side_like(usize::from(side)),
            study if study.is_floor() => scale.epochs = 0,
            // With another number of attention heads, the pretrained weights would compute another function.
            _ if cell.pretraining_cell().is_some() => {
                let pretraining = Recipe::for_method(self.recipe, cell.method, cell.backbone);
                scale.vit.heads = pretraining.objective.attention_heads().unwrap_or(scale.vit.heads);
            }
            _ => {}
        }
        scale
    }

    /// Returns the side of the synthetic images that a cell uses: those of Table 2 are generated once, at its largest
    /// side.
    pub fn drawn_side(&self, cell: &Cell) -> usize {
        match cell.study {
            Study::Table2 { .. } => {
                cell::SIDES.map(|side| self.scale.side_like(side.into())).into_iter().max()
            }
            _ => None,
        }
        .unwrap_or(self.scale.side)
    }

    /// Returns the part of the training set of the source called `source` that is used.
    pub(super) fn training_sample(&self, cell: &Cell, source: &str) -> (usize, usize) {
        match cell.study {
            // The paper: "25 % of the dataset". It does not say whether validation was cut too; here it is not.
            Study::Figure3 { .. } => (1, 4),
            _ => self.scale.sample_of(source),
        }
    }

    /// Returns the view recipes of a training image.
    pub fn views(&self, cell: &Cell) -> Vec<ViewRecipe> {
        let mut views = self.recipe(cell).views(cell.trained_by(), self.scale_of(cell).side);
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

/// Learning rate of fine-tuning divided by that of supervised training from scratch. Ours: all else is as in
/// supervised training.
const FINE_TUNING: f64 = 0.1;

/// Applies `remedy` to the recipe of supervised training.
fn answer(recipe: &mut Recipe, remedy: Remedy) {
    let answer = match remedy {
        Remedy::Unweighted => RarityHandling::Nothing,
        Remedy::FocalLoss => RarityHandling::FOCAL,
        Remedy::LogitAdjustment => RarityHandling::LogitAdjustment,
        Remedy::Oversampling => {
            recipe.sampling = Sampling::Balanced;
            RarityHandling::Nothing
        }
    };
    recipe.objective = Arc::new(Classification { rarity: answer });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        data::{Share, synthetic},
        method,
        seed::Seed,
    };

    /// A backbone without a backward pass can only be a floor of given weights.
    #[test]
    fn what_is_not_trained_has_no_other_cell() {
        let (method, share, seed) = (method::Name::Supervised, Share::NATURAL, 0);
        let backbone = backbone::Name::MobileNetV2;
        let cell = |study| Cell { study, method, backbone, share, seed };
        assert_eq!(cell(Study::GivenWeights).undefined_reason(), None);
        for study in [Study::Extension, Study::RandomWeights, Study::FineTuned] {
            let reason = cell(study).undefined_reason().expect("a reason");
            assert!(reason.contains("forward only"), "{study:?}: {reason}");
        }
        assert_eq!(cell::frozen(backbone, &[share], 0), [cell(Study::GivenWeights)]);
        assert_eq!(cell::frozen(backbone, &[share], 1), []);
    }

    /// Initial weights are used in trained cells and in the floor of given weights, and in no other floor.
    #[test]
    fn given_weights_fill_no_floor_but_their_own() {
        let mut plan = Plan::new(Scale::fixture());
        let (method, backbone, share, seed) =
            (method::Name::Supervised, backbone::Name::ResNet18, Share::NATURAL, 0);
        let cell = |study| Cell { study, method, backbone, share, seed };
        let source = synthetic::source(Seed::root(0), 60, 40, plan.scale.side);
        let given = cell(Study::GivenWeights);
        let error = format!("{:#}", plan.resolve(&given, &source).map(drop).unwrap_err());
        assert!(
            error.ends_with(
                "this cell scores given weights, but none were given: name their file with --frozen FILE"
            ),
            "{error}"
        );

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("encoder.safetensors");
        let encoder =
            super::super::resolve::build(&cell(Study::RandomWeights), &plan, 1.0, Seed::root(9)).unwrap();
        std::fs::write(&path, encoder.parameters().to_safetensors(&Normalisation::IMAGENET.notes()).unwrap())
            .unwrap();
        plan.init = Some(Init::new(&path, None).unwrap());
        plan.frozen.clone_from(&plan.init);
        let first = |method: &dyn method::Method| {
            let weights = &method.parameters().get("conv1.weight").unwrap().variable;
            weights.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        for (study, filled) in
            [(Study::RandomWeights, false), (Study::GivenWeights, true), (Study::Extension, true)]
        {
            let resolved = plan.resolve(&cell(study), &source).unwrap();
            let built = resolved.build(Seed::root(0)).unwrap();
            assert_eq!(first(&*built) == first(&*encoder), filled, "{study:?}");
            let built = super::super::resolve::build(&cell(study), &plan, 1.0, Seed::root(0)).unwrap();
            assert_eq!(first(&*built) == first(&*encoder), filled, "{study:?} without data");
            assert_eq!(resolved.weight_notes.is_empty(), !filled, "{study:?}");
            let settings = &resolved.identity.settings.values;
            assert_eq!(settings.contains_key("init.blake3"), filled, "{study:?}");
            let used = if filled { Normalisation::IMAGENET } else { Normalisation::SEWER_ML };
            assert_eq!(resolved.normalisation, used, "{study:?}");
            assert_eq!(settings["normalisation.mean"][0], if filled { 0.485 } else { 0.523 }, "{study:?}");
        }
        let resolved = plan.resolve(&given, &source).unwrap();
        assert_eq!((resolved.scale.epochs, given.method()), (0, "none"));
        assert_eq!(given.id(), "given_weights/none-resnet18-natural-seed0");
        // A fine-tuned cell descends from the file through its pretraining cell.
        let tuned = Cell { method: method::Name::SimClr, ..cell(Study::FineTuned) };
        assert_eq!(plan.normalisation(&tuned), Normalisation::IMAGENET);
        let asked = Init::new(&path, Some(Normalisation::SEWER_ML)).unwrap();
        assert_eq!((asked.normalisation, asked.normalisation_from_header), (Normalisation::SEWER_ML, false));
        // Without `init`, weights that are only scored change no other cell.
        plan.init = None;
        assert_eq!(plan.normalisation(&given), Normalisation::IMAGENET);
        assert_eq!(plan.normalisation(&tuned), Normalisation::SEWER_ML);
    }

    /// The authors' MAE has twelve attention heads, and so have the cells fine-tuned from it; all others have three.
    #[test]
    fn what_is_fine_tuned_keeps_its_heads() {
        let plan = Plan { recipe: recipe::Name::AsReleased, ..Plan::new(Scale::full()) };
        let heads = |study, method| {
            let (backbone, share, seed) = (backbone::Name::ViTTiny, Share::percent(5), 0);
            let cell = Cell { study, method, backbone, share, seed };
            let settings = plan.settings(&cell, "synthetic").values;
            (plan.scale_of(&cell).vit.heads, settings["vit.heads"].as_u64())
        };
        assert_eq!(heads(Study::Table1, method::Name::Mae).1, Some(12));
        for study in [Study::FineTuned, Study::LabelBudget { defects: 5 }] {
            assert_eq!(heads(study, method::Name::Mae), (12, Some(12)), "{study:?}");
            assert_eq!(heads(study, method::Name::SimClr), (3, Some(3)), "{study:?}");
        }
        assert_eq!(heads(Study::Table1, method::Name::Supervised), (3, Some(3)));
    }
}
