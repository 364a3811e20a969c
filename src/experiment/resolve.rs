//! Resolving a cell: decides its images, views, recipe, sizes, initial weights, settings and identity.
//!
//! All cells of a run are resolved before the first is trained, so that every problem that could stop one (a share
//! with too few defects, a side that is not a multiple of the patch size, weights that do not fit the backbone,
//! missing files) is found at once, and not after hours.

mod images;

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device};

use self::images::{Images, PoolKey, SubsetKey, TrainingPool};
use super::{
    Cell, Init, Plan, Pretrained, Recipe, Scale, Study, recipe,
    subsets::{ValidationSubsets, labels_of},
};
use crate::{
    augment::{Normalisation, ViewRecipe},
    backbone::Architecture,
    data::{
        Dataset, OnBadImage, Source, Subset,
        content::{Content, Digest},
        files::Files,
    },
    loader::Loader,
    loss::classification::balancing_weight,
    method::{Foundation, Method, untrained::Untrained},
    results::{provenance, record::Identity},
    seed::Seed,
};

/// A cell with everything decided, ready to be trained.
pub struct Resolved<'a> {
    /// The cell.
    pub cell: Cell,
    /// Its data.
    pub source: &'a Source,
    /// The sizes of everything in it.
    pub scale: Scale,
    /// Its hyper-parameters, including the changes of its ablation.
    pub recipe: Recipe,
    /// View recipes of a training image, one per view.
    pub views: Vec<ViewRecipe>,
    /// Training images.
    pub subset: Arc<Subset>,
    /// How often an epoch repeats the images: more than once if a label budget leaves few.
    pub repeats: usize,
    /// Positions of validation images, ascending.
    pub validation: Arc<Vec<usize>>,
    /// Weight of a defect in losses on labels: normals / defects of the training set.
    pub defect_weight: f64,
    /// Initial weights of the encoder; `None` if they are random.
    pub init: Option<Init>,
    /// Normalisation of pixels.
    pub normalisation: Normalisation,
    /// The cell that pretrained the encoder, and where its result is; `None` without pretraining.
    pub pretraining: Option<Pretraining<'a>>,
    /// What was stripped from the initial weights, ignored or resampled, one line each.
    pub weight_notes: Arc<Vec<String>>,
    /// Names of images of either split that are known to be unreadable, and are used by no cell.
    pub left_out: Arc<Vec<String>>,
    /// What happens at an image that cannot be read.
    pub on_bad_image: OnBadImage,
    /// Device of the computation.
    pub device: Device,
    /// Number type of training activations; evaluation is always f32.
    pub training_dtype: DType,
    /// Everything that determines its numbers, except the content of image files.
    pub identity: Identity,
}

/// A cell, and the source of the encoder that it has trained.
pub type Pretraining<'a> = (Box<Resolved<'a>>, Arc<dyn Pretrained>);

impl Plan {
    /// Decides everything about a cell, without training it.
    ///
    /// # Errors
    /// Names the cell and what would stop it.
    pub fn resolve<'a>(&self, cell: &Cell, source: &'a Source) -> Result<Resolved<'a>> {
        Resolver::new(self, source).resolve(cell)
    }
}

/// Resolves cells of one plan on one source; what cells share is computed once.
pub struct Resolver<'p, 'a> {
    plan: &'p Plan,
    source: &'a Source,
    validation: Option<Arc<Vec<usize>>>,
    pools: BTreeMap<PoolKey, Arc<TrainingPool>>,
    subsets: BTreeMap<SubsetKey, Arc<Subset>>,
    /// Kinds of models that were built once as a check, with notes about their initial weights.
    built: BTreeMap<Kind, Arc<Vec<String>>>,
    /// Training and validation images that are known to be unreadable, with the reason.
    unreadable: [BTreeMap<usize, String>; 2],
    /// Names of those that are left out.
    left_out: Arc<Vec<String>>,
}

/// Models of one kind differ only in their data.
type Kind = (Option<Study>, crate::method::Name, crate::backbone::Name);

impl<'p, 'a> Resolver<'p, 'a> {
    /// Returns a resolver that has resolved no cell yet.
    pub fn new(plan: &'p Plan, source: &'a Source) -> Self {
        let (ordered, subsets, built) = Default::default();
        let unreadable = |dataset: &dyn Dataset| dataset.files().map(Files::unreadable).unwrap_or_default();
        let unreadable = [unreadable(&*source.train), unreadable(&*source.validation)];
        let mut left_out = Vec::new();
        if plan.on_bad_image == OnBadImage::Skip {
            let splits = [&source.train, &source.validation].into_iter().zip(&unreadable);
            left_out
                .extend(splits.flat_map(|(dataset, bad)| bad.keys().map(|&index| dataset.location(index))));
        }
        let left_out = Arc::new(left_out);
        Self { plan, source, validation: None, pools: ordered, subsets, built, unreadable, left_out }
    }

    /// Like [`Plan::resolve`].
    ///
    /// # Errors
    /// As for [`Plan::resolve`].
    pub fn resolve(&mut self, cell: &Cell) -> Result<Resolved<'a>> {
        self.decide(cell).with_context(|| format!("cell {cell}"))
    }

    fn decide(&mut self, cell: &Cell) -> Result<Resolved<'a>> {
        if let Some(reason) = cell.undefined_reason() {
            bail!("{reason}")
        }
        let (plan, source) = (self.plan, self.source);
        ensure!(
            !matches!(cell.study, Study::Tuning { .. }) || plan.recipe == recipe::Name::Short,
            "expected the recipe `short`, the only one with a search space, found {}",
            plan.recipe
        );
        ensure!(
            cell.study != Study::GivenWeights || plan.init_of(cell).is_some(),
            "this cell scores given weights, but none were given: name their file with --frozen FILE"
        );
        let (scale, recipe, views) = (plan.scale_of(cell), plan.recipe(cell), plan.views(cell));
        let images = self.images(cell)?;
        let pretraining = self.pretraining(cell)?;
        let identity = self.identity(cell, &images, pretraining.as_ref());
        let Images { subset, repeats, validation, .. } = images;
        let mut resolved = Resolved {
            cell: *cell,
            source,
            scale,
            recipe,
            views,
            defect_weight: balancing_weight(subset.normals, subset.defects)?,
            subset,
            repeats,
            validation,
            init: plan.init_of(cell).cloned(),
            normalisation: plan.normalisation(cell),
            pretraining,
            weight_notes: Arc::default(),
            left_out: self.left_out.clone(),
            on_bad_image: plan.on_bad_image,
            device: plan.device.clone(),
            training_dtype: plan.training_dtype(),
            identity,
        };
        resolved.weight_notes = self.ensure_buildable(&resolved)?;
        Ok(resolved)
    }

    /// Returns everything that determines the cell's numbers, except the content of image files.
    fn identity(&self, cell: &Cell, images: &Images, pretraining: Option<&Pretraining>) -> Identity {
        let (plan, source) = (self.plan, self.source);
        let mut settings = plan.settings(cell, &source.name);
        if let Some(bits) = source.sample_bits() {
            settings.values.insert("sample_bits".to_owned(), bits.bits().into());
        }
        if !self.left_out.is_empty() {
            // Subsets are drawn from the images that remain, so which ones are left out affects the numbers.
            let positions =
                format!("{:?}", self.unreadable.each_ref().map(|bad| bad.keys().collect::<Vec<_>>()));
            let digest = blake3::hash(positions.as_bytes()).to_hex();
            let left_out =
                format!("{} unreadable images, {}", self.left_out.len(), provenance::digest_prefix(&digest));
            settings.values.insert("left_out".to_owned(), left_out.into());
        }
        if let Some(class) = &images.class {
            settings.values.insert("unseen.class".to_owned(), class.name().into());
        }
        if let Some((pretraining, _)) = pretraining {
            settings.values.insert("pretraining.cell".to_owned(), pretraining.cell.id().into());
            // Without the code, which is already part of this identity.
            let fingerprint = pretraining.identity.without_code().fingerprint(None);
            settings.values.insert("pretraining.fingerprint".to_owned(), fingerprint.into());
        }
        Identity {
            cell: cell.id(),
            settings,
            train_digest: source.train.digest(),
            validation_digest: source.validation.digest(),
            code: provenance::CODE_DIGEST.to_owned(),
            device: provenance::device_name(&plan.device).to_owned(),
        }
    }

    /// Returns the pretraining cell and the source of its encoder, if the cell has one.
    fn pretraining(&mut self, cell: &Cell) -> Result<Option<Pretraining<'a>>> {
        let Some(before) = cell.pretraining_cell() else { return Ok(None) };
        let Some(pretrained) = self.plan.pretrained.clone() else {
            bail!("it is fine-tuned from {before}, but no results folder with that cell was given")
        };
        Ok(Some((Box::new(self.decide(&before)?), pretrained)))
    }

    /// Builds a model of the cell's kind once, and returns notes about its initial weights.
    ///
    /// # Errors
    /// If such a model cannot be built, or the initial weights do not fit it.
    fn ensure_buildable(&mut self, resolved: &Resolved) -> Result<Arc<Vec<String>>> {
        let cell = &resolved.cell;
        let study = match cell.study {
            // They differ from each other only in images, views or constants.
            Study::Table1 | Study::Extension | Study::SizeMatched | Study::Unseen { .. } => None,
            Study::Figure3 { .. } | Study::Tuning { .. } => None,
            study => Some(study),
        };
        let kind = (study, cell.method, cell.backbone);
        if let Some(understood) = self.built.get(&kind) {
            return Ok(understood.clone());
        }
        let Resolved { cell, scale, recipe, init, defect_weight, device, .. } = resolved;
        let (_, understood) = model(cell, scale, recipe, init.as_ref(), (*defect_weight, None, device))?;
        Ok(self.built.entry(kind).or_insert(Arc::new(understood)).clone())
    }
}

/// Builds the untrained model of a cell. `defect_weight`: normals/defects of its training set.
///
/// # Errors
/// If the cell is not defined, sizes do not fit each other, or the plan's initial weights do not fit the backbone.
pub fn build(cell: &Cell, plan: &Plan, defect_weight: f64, seed: Seed) -> Result<Box<dyn Method>> {
    let (scale, recipe) = (plan.scale_of(cell), plan.recipe(cell));
    let (method, _) =
        model(cell, &scale, &recipe, plan.init_of(cell), (defect_weight, Some(seed), &plan.device))?;
    Ok(method)
}

/// Builds the untrained model, and returns notes about its initial weights.
fn model(
    cell: &Cell,
    scale: &Scale,
    recipe: &Recipe,
    init: Option<&Init>,
    (defect_weight, seed, device): (f64, Option<Seed>, &Device),
) -> Result<(Box<dyn Method>, Vec<String>)> {
    let &Scale { resnet_width, resnet_stem, vit, side, heads, .. } = scale;
    let architecture = Architecture { name: cell.backbone, resnet_width, resnet_stem, vit, side };
    let foundation = Foundation { architecture, heads, defect_weight, seed, dtype: DType::F32, device };
    let built = match cell.study {
        Study::Pixels => return Ok((Box::new(Untrained::pixels()), Vec::new())),
        Study::RandomWeights | Study::GivenWeights => {
            Untrained::weights(&foundation).map(|floor| Box::new(floor) as Box<dyn Method>)
        }
        _ => recipe.objective.build(&foundation),
    };
    let method =
        built.with_context(|| format!("cannot build {} for images of {side} px (--side)", cell.backbone))?;
    let understood = match init {
        Some(init) => {
            let flag = if cell.study == Study::GivenWeights { "--frozen" } else { "--init" };
            init.weights.fill(&method.parameters().encoder()).context(flag)?
        }
        None => Vec::new(),
    };
    Ok((method, understood))
}

impl Resolved<'_> {
    /// Builds the untrained model.
    ///
    /// # Errors
    /// As [`build`].
    pub fn build(&self, seed: Seed) -> Result<Box<dyn Method>> {
        let Self { cell, scale, recipe, init, defect_weight, device, .. } = self;
        let (method, _) = model(cell, scale, recipe, init.as_ref(), (*defect_weight, Some(seed), device))?;
        Ok(method)
    }

    /// Overwrites the encoder of `method` with the pretrained one, if the cell has one.
    ///
    /// # Errors
    /// If the pretrained encoder is missing, of another experiment, or does not fit.
    pub(super) fn begin_with_pretrained(&self, method: &dyn Method) -> Result<()> {
        let Some((pretraining, kept)) = &self.pretraining else { return Ok(()) };
        let weights = kept.encoder(pretraining)?;
        weights.fill(&method.parameters().encoder())?;
        Ok(())
    }

    /// Returns a loader of training images in f32, with the training views.
    pub(super) fn loader(&self) -> Loader<'_> {
        Loader {
            dataset: &*self.source.train,
            indices: &self.subset.indices,
            views: &self.views,
            normalisation: &self.normalisation,
            sampling: self.recipe.sampling,
            repeats: self.repeats,
            batch_size: self.scale.batch_size,
            on_bad_image: self.on_bad_image,
            device: &self.device,
            dtype: DType::F32,
            seed: self.seed().child("training"),
        }
    }

    /// Returns `count` of the training images, evenly spaced, or all if there are fewer.
    pub(super) fn evenly(&self, count: usize) -> Vec<usize> {
        let all = &self.subset.indices;
        let count = count.min(all.len());
        (0..count).map(|place| all[place * all.len() / count]).collect()
    }

    /// Returns the root of all random streams of the cell.
    pub(super) fn seed(&self) -> Seed {
        Seed::root(self.cell.seed)
    }

    /// Returns how many source images training uses, all epochs together.
    pub fn image_passes(&self) -> usize {
        self.scale.image_passes(self.subset.indices.len() * self.repeats)
    }

    /// Returns how many images pass through the encoder for evaluation, including monitors
    /// ([`Scale::evaluation_passes`]).
    pub fn evaluation_passes(&self) -> usize {
        self.scale.evaluation_passes(self.subset.indices.len(), self.validation.len())
    }

    /// Returns the validation shares with too few defects, one line each.
    pub fn shares_without_scores(&self) -> Vec<String> {
        let labels = labels_of(&*self.source.validation, &self.validation);
        ValidationSubsets::new(&labels)
            .map_or_else(|error| vec![format!("{error:#}")], |subsets| subsets.missing)
    }

    /// Returns the positions of training images, then of validation images, each with their data set.
    fn splits(&self) -> [(&dyn Dataset, &[usize]); 2] {
        [(&*self.source.train, &self.subset.indices), (&*self.source.validation, &self.validation)]
    }

    /// Returns BLAKE3 of the bytes of all image files that the cell uses, in which missing or unreadable files are
    /// marked as such; `None` if images are synthetic. Reads files whose bytes are not known yet.
    pub fn content(&self) -> Option<String> {
        let mut hasher = blake3::Hasher::new();
        for (dataset, indices) in self.splits() {
            for content in dataset.files()?.read_contents(indices) {
                match content {
                    Content::Bytes(digest) => hasher.update(&[1]).update(&digest),
                    Content::Missing | Content::Unread => hasher.update(&[0]),
                };
            }
        }
        Some(hasher.finalize().to_hex().to_string())
    }

    /// Returns digests of the files that training has used so far, zeros for others; empty if images are synthetic.
    pub(super) fn used_digests(&self) -> Vec<u8> {
        let used = self
            .splits()
            .into_iter()
            .filter_map(|(dataset, indices)| Some(dataset.files()?.used_digests(indices)));
        used.flatten().flat_map(Option::unwrap_or_default).collect()
    }

    /// Checks that no file that training has used has changed.
    ///
    /// # Errors
    /// If one changed since `before`, an earlier result of [`Self::used_digests`].
    pub(super) fn ensure_unchanged(&self, before: &[u8]) -> Result<()> {
        let mut before = before.chunks_exact(size_of::<Digest>());
        for (dataset, indices) in self.splits() {
            let Some(files) = dataset.files() else { return Ok(()) };
            let wanted =
                indices.iter().zip(before.by_ref()).filter(|(_, digest)| *digest != Digest::default());
            let (indices, digests): (Vec<usize>, Vec<&[u8]>) =
                wanted.map(|(&index, digest)| (index, digest)).unzip();
            let now = files.read_contents(&indices);
            let changed = (0..indices.len())
                .filter(|&place| !matches!(now[place], Content::Bytes(digest) if digest == digests[place]));
            let changed: Vec<usize> = changed.map(|place| indices[place]).collect();
            if let Some(&first) = changed.first() {
                bail!(
                    "images have changed since training began: {} of the {} files used so far, the first is {}",
                    changed.len(),
                    indices.len(),
                    dataset.location(first)
                )
            }
            files.confirm(&indices);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use image::{ImageBuffer, Luma};

    use super::*;
    use crate::{
        data::{Share, folder},
        experiment::cell,
        method::Name::Supervised,
    };

    /// Resolves a folder of 16-bit images whose largest sample is `largest`.
    fn identity(largest: u16) -> Identity {
        let folder = tempfile::tempdir().unwrap();
        for label in ["normal", "defect"] {
            std::fs::create_dir(folder.path().join(label)).unwrap();
            for number in 0..20 {
                let image = ImageBuffer::from_pixel(32, 32, Luma([largest - number]));
                image.save(folder.path().join(format!("{label}/{number:02}.png"))).unwrap();
            }
        }
        let source = folder::source(folder.path()).unwrap().with_sample_bits(None);
        let plan = Plan::new(Scale::fixture());
        let cell = cell::floors(&[Share::NATURAL], 0)[0];
        plan.resolve(&cell, &source).unwrap().identity
    }

    /// Returns how many training and validation images a cell has under the paper's sample, and what its settings
    /// state.
    fn sampled(source: &str, study: Study) -> ([usize; 2], [Option<String>; 2]) {
        let mut plan = Plan::new(Scale::fixture());
        plan.scale.sewer_ml_sample = Scale::full().sewer_ml_sample;
        let mut data = crate::data::synthetic::source(Seed::root(0), 80, 60, plan.scale.side);
        data.name = source.to_owned();
        let cell = Cell { study, ..cell::floors(&[Share::NATURAL], 0)[0] };
        let resolved = plan.resolve(&cell, &data).unwrap();
        let settings = &resolved.identity.settings;
        let said = ["sample", "training_sample"].map(|name| settings.text(name));
        ([resolved.subset.indices.len(), resolved.validation.len()], said)
    }

    /// The settings state what is really used: half of Sewer-ML, all of any other data.
    #[test]
    fn the_papers_sample_halves_sewer_ml_and_nothing_else() {
        let floor = Study::RandomWeights;
        let ([training, validation], said) = sampled("folder", floor);
        assert_eq!(([training, validation], said), ([80, 60], [Some("1/1".to_owned()), None]));
        // Normal images and defects are halved separately, each rounded down.
        let ([training, validation], said) = sampled("sewer-ml", floor);
        assert!((39..=40).contains(&training) && (29..=30).contains(&validation), "{training}, {validation}");
        assert_eq!(said, [Some("1/2".to_owned()), None]);
        let quarter = Study::Figure3 { jitter: 100, crop: 500 };
        let ([training, validation], said) = sampled("folder", quarter);
        assert!((19..=20).contains(&training) && validation == 60, "{training}, {validation}");
        assert_eq!(said, [Some("1/1".to_owned()), Some("1/4".to_owned())]);
    }

    /// Floors are not trained, but their loader's stream still depends on the seed.
    #[test]
    fn each_seed_has_views_of_its_own() {
        let plan = Plan::new(Scale::fixture());
        let data = crate::data::synthetic::source(Seed::root(0), 80, 60, plan.scale.side);
        let stream = |seed| {
            let cell = cell::floors(&[Share::NATURAL], seed)[0];
            plan.resolve(&cell, &data).unwrap().loader().seed.stream().below(1 << 40)
        };
        assert_eq!(stream(1), stream(1));
        assert_ne!(stream(0), stream(1));
    }

    #[test]
    fn each_seed_has_few_labels_of_its_own() {
        let plan = Plan::new(Scale::fixture());
        let data = crate::data::synthetic::source(Seed::root(0), 80, 60, plan.scale.side);
        let rows = |seed: u64, study: Study| {
            let cell = Cell { study, seed, method: Supervised, ..cell::floors(&[Share::NATURAL], 0)[0] };
            plan.resolve(&cell, &data).unwrap().subset.indices.clone()
        };
        let few = Study::LabelBudget { defects: 5 };
        assert_eq!(rows(1, few), rows(1, few));
        assert_ne!(rows(0, few), rows(1, few));
        assert_eq!(
            rows(0, Study::Extension),
            rows(1, Study::Extension),
            "all labels are the same for every seed"
        );
    }

    #[test]
    fn bits_in_use_are_a_setting_where_they_are_not_all() {
        let [few, all] = [identity(4000), identity(60_000)];
        assert_eq!(few.settings.values["sample_bits"], 12);
        let mut settings = all.settings;
        assert!(!settings.values.contains_key("sample_bits"));
        settings.values.insert("sample_bits".to_owned(), 12.into());
        assert_eq!(settings, few.settings, "nothing else differs");
    }

    /// A sample of the training images is evenly spaced: every twentieth of eighty.
    #[test]
    fn some_images_are_spread_over_all() {
        let plan = Plan::new(Scale::fixture());
        let data = crate::data::synthetic::source(Seed::root(0), 80, 60, plan.scale.side);
        let resolved = plan.resolve(&cell::floors(&[Share::NATURAL], 0)[0], &data).unwrap();
        let all = &resolved.subset.indices;
        assert_eq!(resolved.evenly(4), [0, 20, 40, 60].map(|place| all[place]));
        assert_eq!(resolved.evenly(3), [0, 26, 53].map(|place| all[place]));
        assert_eq!(resolved.evenly(80), **all);
        assert_eq!(resolved.evenly(81), **all);
    }

    /// Every method starts from the same random weights as the floor with its seed, so that differences come from
    /// training.
    #[test]
    fn methods_begin_where_the_floor_stands() {
        let plan = Plan::new(Scale::fixture());
        let encoder = |cell: &Cell, seed: u64| {
            let method = build(cell, &plan, 3.0, Seed::root(seed)).unwrap();
            let of = |parameter: &crate::backbone::Parameter| {
                let values = parameter.variable.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                (parameter.name.clone(), values)
            };
            method.parameters().encoder().all().iter().map(of).collect::<Vec<_>>()
        };
        let cells = cell::paper_methods(&[Share::percent(5)], 0);
        for floor in cell::floors(&[Share::percent(5)], 0).iter().skip(1) {
            let expected = encoder(floor, 4);
            assert_ne!(encoder(floor, 5), expected, "another seed");
            let same = cells.iter().filter(|cell| cell.backbone == floor.backbone);
            // MAE initialises its encoder in its own way.
            for cell in same.filter(|cell| cell.method != crate::method::Name::Mae) {
                assert!(encoder(cell, 4) == expected, "{cell}");
            }
        }
    }
}
