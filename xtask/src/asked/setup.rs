//! The flags that every training command has: which data, and how to train.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail, ensure};
use skewbench::{
    augment::Normalisation,
    backbone,
    data::{OnBadImage, OnLeak, SampleBits, groups::GroupBy},
    experiment::{Augmentation, Cell, Init, Plan, Scale, recipe},
};

use super::{Run, Sources};
use crate::{
    support::source::{Choice, Purpose, Reading},
    training::StoredEncoders,
};

/// Data, sizes, recipe and device.
#[derive(Clone, clap::Args)]
pub struct Setup {
    #[arg(long, default_value = "synthetic", value_name = "SOURCE", long_help = Choice::HELP)]
    pub data: Choice,

    /// The paper's protocol (224 px, 45 epochs, its released hyper-parameters) instead of small scale. Of Sewer-ML it
    /// takes half, as the paper does; other data is used whole
    #[arg(long)]
    pub full: bool,

    /// A first look in minutes: smaller images, networks and data, and with `reproduce` two seeds at 45 and 5 % defects
    /// unless asked otherwise. Training is too short to choose a method by its scores
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,

    /// What to do about an image that is missing or damaged: stop and name it, or leave it out and count it
    #[arg(long, default_value = "fail", value_name = "fail|skip")]
    pub on_bad_image: OnBadImage,

    #[arg(long, value_name = "parent|name|PATTERN", long_help = GroupBy::HELP)]
    pub group_by: Option<GroupBy>,

    /// What to do about images or groups on both sides of the split and equal images under both labels: stop and say
    /// what they are, or continue and note it in the records and on the page
    #[arg(long, default_value = "stop", value_name = "stop|accept")]
    pub on_leak: OnLeak,

    /// How many bits of 16-bit samples are in use [default: the fewest that hold those of 256 training images]
    #[arg(long, value_name = "10|12|14|16")]
    pub sample_bits: Option<SampleBits>,

    /// Side of the network's input, pixels
    #[arg(long, value_name = "PIXELS", allow_negative_numbers = true)]
    pub side: Option<usize>,

    /// Passes over the training set; 0 scores the untrained network
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub epochs: Option<usize>,

    /// Images per training step, before augmentation into views
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub batch_size: Option<usize>,

    /// Source of the hyper-parameters [default: short at small scale, as_released with --full]
    #[arg(long, value_name = "short|reference|as_released")]
    pub recipe: Option<recipe::Name>,

    /// Encoder weights to start training from: safetensors, or .pth of plain tensors, with torchvision's
    /// or timm's names; name prefixes are stripped and heads are ignored
    #[arg(long, value_name = "FILE")]
    pub init: Option<PathBuf>,

    /// Pretrained encoder weights to score without training, beside the models that are trained
    ///
    /// Shows how good these features are without any training, in a row of their own. Unlike --init they do not
    /// change what is trained, so a single command trains from random weights and compares with them. Takes the
    /// same files as --init, and a MobileNetV2 with torchvision's names, such as `data mobilenet` fetches; the
    /// network is recognised from the file
    #[arg(long, value_name = "FILE")]
    pub frozen: Option<PathBuf>,

    #[arg(long, value_name = "sewer-ml|imagenet|MEAN/DEVIATION", long_help = Normalisation::HELP)]
    pub normalisation: Option<Normalisation>,

    /// Views of a training image [default: those of each method's recipe]
    #[arg(long, value_name = "paper|original|flip|none")]
    pub augmentation: Option<Augmentation>,

    /// Train on the first NVIDIA GPU; needs a build with the feature `cuda`. It has not run on a GPU yet
    #[arg(long)]
    pub gpu: bool,

    /// Train in bf16 with weights, sums and losses in f32: for a GPU, and for a CPU with AVX-512 BF16 (`lscpu`
    /// says avx512_bf16)
    #[arg(long)]
    pub mixed_precision: bool,

    /// Channels of ResNet-18's first stage; 64 is the real network
    #[arg(long, value_name = "CHANNELS", allow_negative_numbers = true)]
    pub width: Option<usize>,
}

/// What happens to the lists of images in the results folder.
#[derive(Clone, Copy)]
pub enum Lists<'a> {
    /// Images that the folder's lists do not know are examined, and the lists are updated.
    Kept(&'a Path),
    /// The lists are only read. Images are examined only if they have no split.
    Read(&'a Path),
}

impl Setup {
    /// Opens the data for these cells of [`Self::plan`]; undefined cells are kept separate.
    ///
    /// # Errors
    /// If flags contradict each other, or the data cannot be read.
    pub fn run(&self, mut plan: Plan, cells: Vec<Cell>, lists: Lists) -> Result<Run> {
        let (Lists::Kept(out) | Lists::Read(out)) = lists;
        plan.pretrained = Some(Arc::new(StoredEncoders(out.to_owned())));
        ensure!(
            self.init.is_none() || self.epochs != Some(0) || cells.iter().all(Cell::is_floor),
            "--epochs 0 with --init would show the file's weights under the names of methods; --frozen scores them \
             under their own"
        );
        let (cells, undefined): (Vec<Cell>, Vec<Cell>) =
            cells.into_iter().partition(|cell| cell.undefined_reason().is_none());
        let (known, examine) = match lists {
            Lists::Kept(folder) => (folder, true),
            Lists::Read(folder) => (folder, false),
        };
        let reading = Reading {
            sample_bits: self.sample_bits,
            group_by: self.group_by.clone(),
            on_leak: self.on_leak,
            known: Some(known.to_owned()),
            examine,
        };
        let sources = Sources::open(&self.data, Purpose::Study, &cells, &plan, &reading)?;
        Ok(Run { plan, cells, undefined, sources, skip_unreachable: false })
    }

    /// Returns the requested results folder, or the default for this scale and data.
    pub fn out(&self, asked: Option<&Path>) -> PathBuf {
        let scale = self.base();
        let own = || PathBuf::from("results/local").join(format!("{}-{}", scale.name, self.data.name()));
        asked.map_or_else(own, Path::to_owned)
    }

    /// Returns the plan that all cells share, with its weight files read.
    ///
    /// # Errors
    /// If flags contradict each other, or a weight file cannot be read.
    pub fn plan(&self) -> Result<Plan> {
        let mut plan = Plan::new(self.scale()?);
        if self.gpu {
            plan.device = skewbench::tensor::gpu::open()?;
        }
        plan.mixed_precision = self.mixed_precision;
        plan.augmentation = self.augmentation;
        plan.on_bad_image = self.on_bad_image;
        plan.sample_bits = self.sample_bits;
        plan.recipe = self.recipe.unwrap_or(plan.recipe);
        ensure!(
            self.normalisation.is_none() || self.init.is_some() != self.frozen.is_some(),
            "--normalisation applies to the weights of one file: give either --init or --frozen with it"
        );
        let read = |file: &Option<PathBuf>, flag: &'static str| {
            file.as_deref().map(|path| Init::new(path, self.normalisation).context(flag)).transpose()
        };
        plan.init = read(&self.init, "--init")?;
        let network = plan.init.as_ref().and_then(|init| init.network().ok());
        if let Some(network) = network.filter(|network| network.why_untrainable().is_some()) {
            bail!(
                "--init: these are weights of a {}, which is not trained here; --frozen FILE scores them \
                 unchanged, beside what is trained",
                network.label()
            )
        }
        plan.frozen = read(&self.frozen, "--frozen")?;
        Ok(plan)
    }

    /// Returns the encoder of the `--frozen` weights; `None` without such weights.
    ///
    /// # Errors
    /// If the weights belong to an unknown network.
    pub fn frozen(plan: &Plan) -> Result<Option<backbone::Name>> {
        plan.frozen.as_ref().map(Init::network).transpose().context("--frozen")
    }

    /// Returns the scale before flags change it.
    fn base(&self) -> Scale {
        match (self.full, self.quick) {
            (true, _) => Scale::full(),
            (_, true) => Scale::quick(),
            _ => Scale::small(),
        }
    }

    fn scale(&self) -> Result<Scale> {
        let mut scale = self.base();
        let positive = |name: &str, value: usize| {
            ensure!(value > 0, "--{name} must be at least 1");
            Ok(value)
        };
        if let Some(side) = self.side {
            ensure!(
                side >= 32,
                "--side must be at least 32 pixels, found {side}: the network halves it five times"
            );
            scale.side = side;
        }
        if let Some(epochs) = self.epochs {
            scale.epochs = epochs;
        }
        if let Some(batch_size) = self.batch_size {
            ensure!(batch_size >= 2, "--batch-size must be at least 2: batch statistics need two images");
            scale.batch_size = batch_size;
        }
        if let Some(width) = self.width {
            scale.resnet_width = positive("width", width)?;
        }
        Ok(scale)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::support::alone::Standalone;

    fn setup(flags: &str) -> Setup {
        Standalone::<Setup>::parse_from(flags.split_whitespace()).arguments
    }

    /// Returns the parts of a plan that flags can change, as text.
    fn told(flags: &str) -> [String; 10] {
        let plan = setup(flags).plan().unwrap();
        let Scale { name, side, epochs, batch_size, resnet_width, .. } = &plan.scale;
        [
            name.clone(),
            side.to_string(),
            epochs.to_string(),
            batch_size.to_string(),
            resnet_width.to_string(),
            plan.recipe.to_string(),
            plan.augmentation.map_or("own".to_owned(), |views| views.to_string()),
            plan.on_bad_image.to_string(),
            plan.sample_bits.map_or("all".to_owned(), |bits| bits.to_string()),
            plan.mixed_precision.to_string(),
        ]
    }

    #[test]
    fn every_flag_changes_its_own_part_of_the_plan() {
        assert_eq!(told("")[5..], ["short", "own", "fail", "all", "false"]);
        for (flags, place, expected) in [
            ("--side 96", 1, "96"),
            ("--epochs 9", 2, "9"),
            ("--epochs 0", 2, "0"),
            ("--batch-size 24", 3, "24"),
            ("--width 20", 4, "20"),
            ("--recipe reference", 5, "reference"),
            ("--augmentation flip", 6, "flip"),
            ("--on-bad-image skip", 7, "skip"),
            ("--sample-bits 12", 8, "12"),
            ("--mixed-precision", 9, "true"),
        ] {
            for scale in ["", "--quick", "--full"] {
                let mut changed = told(scale);
                changed[place] = expected.to_owned();
                assert_eq!(told(&format!("{flags} {scale}")), changed, "{flags} {scale}");
            }
        }
    }

    /// The paper's protocol: 224 pixels, 45 epochs, batches of 256, a full-width ResNet-18, the paper's recipe.
    #[test]
    fn full_is_the_papers_and_quick_is_smaller() {
        assert_eq!(told("--full")[..6], ["full", "224", "45", "256", "64", "as_released"]);
        assert_eq!(told("--full --recipe short --side 64")[..6], ["full", "64", "45", "256", "64", "short"]);
        let [quick, small] =
            [told("--quick"), told("")].map(|told| [1, 2, 3].map(|place| told[place].clone()));
        let number = |text: &String| text.parse::<usize>().unwrap();
        assert!(quick.iter().zip(&small).all(|(quick, small)| number(quick) < number(small)), "{quick:?}");
        assert!(Standalone::<Setup>::try_parse_from(["--quick", "--full"]).is_err());
    }

    #[test]
    fn results_go_where_they_are_asked_to_or_are_called_after_scale_and_data() {
        let out = |flags: &str, asked: Option<&str>| setup(flags).out(asked.map(Path::new));
        assert_eq!(out("", None), Path::new("results/local/small-synthetic"));
        assert_eq!(out("--quick --data elpv", None), Path::new("results/local/quick-elpv"));
        assert_eq!(out("--full --data sewer-ml=/d", None), Path::new("results/local/full-sewer-ml"));
        assert_eq!(out("--full", Some("x")), Path::new("x"));
    }

    #[test]
    fn sizes_that_cannot_be_are_refused_by_name() {
        for (flags, expected) in [
            ("--side 31", "--side must be at least 32 pixels, found 31"),
            ("--batch-size 1", "--batch-size must be at least 2"),
            ("--width 0", "--width must be at least 1"),
            ("--normalisation imagenet", "give either --init or --frozen with it"),
            ("--init /nowhere/x.pth", "--init"),
            ("--frozen /nowhere/x.pth", "--frozen"),
        ] {
            let error = format!("{:#}", setup(flags).plan().map(drop).unwrap_err());
            assert!(error.contains(expected), "{flags}: {error}");
        }
        assert!(setup("--side 32 --batch-size 2 --width 1").plan().is_ok());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_gpu_that_is_asked_for_is_opened() {
        assert!(setup("--gpu").plan().is_err(), "this build has none");
    }

    /// A network that has no backward pass is not a start, and is known by the names of its tensors.
    #[test]
    fn weights_that_cannot_be_trained_are_only_scored() {
        use skewbench::{backbone::Name, experiment::Study};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        let cell = Cell {
            study: Study::GivenWeights,
            method: skewbench::method::Name::Supervised,
            backbone: Name::MobileNetV2,
            share: skewbench::data::Share::NATURAL,
            seed: 0,
        };
        let plan = Plan::new(Scale::small());
        let encoder =
            skewbench::experiment::build(&cell, &plan, 1.0, skewbench::seed::Seed::root(0)).unwrap();
        std::fs::write(&path, encoder.parameters().to_safetensors(&Normalisation::IMAGENET.notes()).unwrap())
            .unwrap();
        let path = path.display();
        let error = setup(&format!("--init {path}")).plan().map(drop).unwrap_err().to_string();
        let expected = format!(
            "--init: these are weights of a {}, which is not trained here; --frozen FILE scores them unchanged, beside what \
             is trained",
            Name::MobileNetV2.label()
        );
        assert_eq!(error, expected);
        let plan = setup(&format!("--frozen {path}")).plan().unwrap();
        assert_eq!(Setup::frozen(&plan).unwrap(), Some(Name::MobileNetV2));
        assert_eq!(plan.frozen.unwrap().normalisation, Normalisation::IMAGENET);
        let given =
            setup(&format!("--frozen {path} --normalisation sewer-ml")).plan().unwrap().frozen.unwrap();
        assert_eq!((given.normalisation, given.normalisation_from_header), (Normalisation::SEWER_ML, false));
    }

    /// One normalisation cannot be that of two files.
    #[test]
    fn a_normalisation_is_of_one_file() {
        for files in ["--init /nowhere/a.pth --frozen /nowhere/b.pth", ""] {
            let error = setup(&format!("--normalisation imagenet {files}")).plan().map(drop).unwrap_err();
            let expected =
                "--normalisation applies to the weights of one file: give either --init or --frozen with it";
            assert_eq!(error.to_string(), expected, "{files}");
        }
    }
}
