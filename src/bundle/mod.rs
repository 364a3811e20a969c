//! A detector in one file: encoder, scorer, preprocessing, threshold, calibration, provenance, and pictures with the
//! logits that they must give.
//!
//! The file is in safetensors format. Tensors of the encoder have their own names below `encoder.`; those of the
//! scorer and `examples.pictures` are named as in [`Detector`]. Everything else is JSON in the header ([`Manifest`]),
//! with a digest of the whole content. Independent of folders of results, and of what is predicted.

mod calibration;
mod manifest;
pub mod onnx;
mod threshold;

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, bail, ensure};
pub use calibration::Calibration;
use candle_core::{DType, Device, Tensor};
pub use manifest::{Manifest, VERSION};
pub use threshold::{FlagAt, Threshold};

use crate::{
    augment::{Normalisation, to_normalised},
    backbone::{Architecture, Backbone, Parameters, safe::serialise},
    data::{
        Image,
        regular::{self, SizeLimit},
    },
    durable,
    evaluate::scorer::{ScoredImage, Scorer},
    results::{Detector, detector::RawTensor},
    seed::Seed,
};

/// Largest allowed difference of a logit from the stored one, relative to its size if that is above 1. Ours: other
/// processors add in another order.
pub const TOLERANCE: f64 = 1e-3;
/// Key of the manifest in the header.
const MANIFEST: &str = "skewbench_bundle";
const DIGEST: &str = "skewbench_digest";

/// A detector that reproduced its stored logits.
pub struct Bundle {
    /// Everything except the parameters of the network.
    pub manifest: Manifest,
    /// Digest of the whole file.
    pub digest: String,
    scorer: Scorer,
    pictures: Vec<Image>,
    /// Logits that the pictures must give.
    logits: Vec<f64>,
    encoder: Box<dyn Backbone>,
    /// Parameters of the encoder.
    parameters: Parameters,
}

impl Bundle {
    /// Writes a bundle of these parts to `path`, with only the scorer that the manifest names.
    ///
    /// # Errors
    /// If the detector has no such scorer, or the file cannot be written.
    pub fn write(
        path: &Path,
        manifest: &Manifest,
        encoder: &Parameters,
        mut detector: Detector,
    ) -> Result<()> {
        detector.scorers.retain(|(scorer, _)| scorer.name() == manifest.scorer);
        ensure!(
            !detector.scorers.is_empty(),
            "this cell has no {}: it needs an encoder with middle features, or more normal images",
            manifest.scorer
        );
        let mut tensors = detector.tensors()?;
        for parameter in encoder.all() {
            let numbers = RawTensor::from_tensor(&parameter.variable.to_dtype(DType::F32)?)?;
            tensors.push((format!("encoder.{}", parameter.name), numbers));
        }
        let text = serde_json::to_string(manifest)?;
        let parts: BTreeMap<String, &[u8]> =
            tensors.iter().map(|(name, numbers)| (name.clone(), numbers.bytes.as_slice())).collect();
        let notes = [(DIGEST, digest(&text, &parts)), (MANIFEST, text)];
        let notes = notes.into_iter().map(|(name, note)| (name.to_owned(), note)).collect();
        let bytes = serialise(tensors, &notes)?;
        durable::write_whole(path, &bytes)
    }

    /// Opens a bundle, and checks it by scoring its own pictures.
    ///
    /// # Errors
    /// If it is torn, edited, of another version, or does not reproduce its stored logits.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = regular::read(path, SizeLimit::WEIGHTS).with_context(|| {
            format!("{}: cannot be read; name a file that `cargo xtask bundle` wrote", path.display())
        })?;
        Self::parse(&bytes).with_context(|| format!("{}: this bundle cannot be trusted", path.display()))
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let (_, head) = safetensors::SafeTensors::read_metadata(bytes).context(
            "not a bundle that `cargo xtask bundle` wrote, or an incomplete one: copy it again, or make it again",
        )?;
        let notes = head.metadata().clone().unwrap_or_default();
        let Some(text) = notes.get(MANIFEST) else {
            bail!(
                "safetensors without a manifest: weights alone are not a detector; `bundle` makes one from a results folder"
            )
        };
        let version: serde_json::Value = serde_json::from_str(text).context("its manifest is damaged")?;
        ensure!(
            version["version"] == VERSION,
            "a bundle of version {}, this program reads {VERSION}: use the program that made it, or make it again",
            version["version"]
        );
        let file = safetensors::SafeTensors::deserialize(bytes).context("truncated: copy it again")?;
        let parts: BTreeMap<String, &[u8]> =
            file.iter().map(|(name, tensor)| (name.to_owned(), tensor.data())).collect();
        let found = digest(text, &parts);
        ensure!(
            notes.get(DIGEST) == Some(&found),
            "its content has changed since it was written (digest {found}): it was edited or damaged; make it again"
        );
        let manifest: Manifest = serde_json::from_str(text).context("its manifest has an unknown format")?;
        let tensors: BTreeMap<String, Tensor> =
            candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?.into_iter().collect();
        let Detector { scorers, pictures, .. } = Detector::from_tensors(&tensors)?;
        let [(scorer, logits)] = <[_; 1]>::try_from(scorers).ok().context("it has several scorers")?;
        ensure!(
            scorer.name() == manifest.scorer,
            "it scores by {}, its manifest says {}",
            scorer.name(),
            manifest.scorer
        );
        let (encoder, parameters) = build(&manifest.architecture()?, &tensors)?;
        if let Some(width) = scorer.width() {
            let given = encoder.width();
            ensure!(given == width, "the encoder gives {given} features, the scorer takes {width}");
        }
        let bundle = Self { manifest, digest: found, scorer, pictures, logits, encoder, parameters };
        bundle.check()?;
        Ok(bundle)
    }

    /// Checks that every stored picture gives its stored logit.
    ///
    /// # Errors
    /// If one does not.
    fn check(&self) -> Result<()> {
        let seen = self.score(&self.pictures, false)?;
        for (place, (seen, expected)) in seen.iter().zip(&self.logits).enumerate() {
            let apart = (seen.logit - expected).abs();
            if apart.is_nan() || apart > TOLERANCE * expected.abs().max(1.0) {
                bail!(
                    "its test picture {} has logit {} here instead of {expected}: this machine or program computes \
                     something else, so predictions would differ",
                    place + 1,
                    seen.logit
                )
            }
        }
        Ok(())
    }

    /// Scores pictures of the network's size, with the contributions of places if requested and available.
    ///
    /// # Errors
    /// If a picture has another size.
    pub fn score(&self, pictures: &[Image], with_places: bool) -> Result<Vec<ScoredImage>> {
        let side = self.manifest.side;
        let normalisation = self.normalisation();
        // Checked before memory is allocated: a manifest may state any size.
        for Image { width, height, .. } in pictures {
            ensure!(
                (*width, *height) == (side, side),
                "a picture of {width} x {height}, expected {side} x {side}"
            );
        }
        let mut values = vec![0.0; pictures.len() * side * side * 3];
        for (picture, out) in pictures.iter().zip(values.chunks_exact_mut(side * side * 3)) {
            to_normalised(picture, &normalisation, out);
        }
        let images = Tensor::from_vec(values, (pictures.len(), side, side, 3), &Device::Cpu)?;
        self.scorer.score(&*self.encoder, &images, with_places)
    }

    /// Returns the number of trained or fitted parameters of encoder and scorer.
    pub fn parameters(&self) -> usize {
        self.parameters.trainable_count() + self.scorer.fitted_count()
    }

    /// Returns the scorer.
    pub fn scorer(&self) -> &Scorer {
        &self.scorer
    }

    /// Returns the pictures for its self-check, which have the network's size.
    pub fn pictures(&self) -> &[Image] {
        &self.pictures
    }

    fn normalisation(&self) -> Normalisation {
        Normalisation { mean: self.manifest.mean, std: self.manifest.deviation }
    }
}

/// Builds the encoder with these weights.
fn build(
    architecture: &Architecture,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<(Box<dyn Backbone>, Parameters)> {
    let held = tensors.iter().filter(|(name, _)| name.starts_with("encoder."));
    let held: usize = held.map(|(_, tensor)| tensor.elem_count()).sum();
    ensure!(
        architecture.min_parameters() <= held,
        "its manifest describes an encoder with more than the {held} parameters in the file"
    );
    let mut parameters = Parameters::default();
    // Initial values; all are overwritten below.
    let encoder = architecture.build(&mut parameters.builder("", Seed::root(0), DType::F32, &Device::Cpu))?;
    parameters.set(|name| tensors.get(&format!("encoder.{name}"))).context("its encoder")?;
    Ok((encoder, parameters))
}

/// BLAKE3 of the manifest and of all named tensors.
fn digest(manifest: &str, parts: &BTreeMap<String, &[u8]>) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(manifest.as_bytes());
    for (name, bytes) in parts {
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backbone::{Name, Stem, VitSize},
        data::synthetic,
    };

    /// An untrained detector.
    pub fn example(name: Name, resnet_stem: Stem, side: usize) -> Bundle {
        let vit = VitSize { patch: 8, width: 24, depth: 2, heads: 3 };
        let architecture = Architecture { name, side, resnet_width: 8, resnet_stem, vit };
        let mut parameters = Parameters::default();
        let encoder =
            architecture.build(&mut parameters.builder("", Seed::root(3), DType::F32, &Device::Cpu)).unwrap();
        let mut stream = Seed::root(1).stream();
        let weights = (0..encoder.width()).map(|_| stream.normal()).collect();
        let manifest = manifest::tests::example(&architecture);
        let (scorer, pictures) = (Scorer::Probe { weights, bias: 0.3 }, Vec::new());
        Bundle { manifest, digest: String::new(), scorer, pictures, logits: Vec::new(), encoder, parameters }
    }

    /// The contributions of places add up to the logit, to single precision.
    #[test]
    fn the_mean_over_places_is_the_logit() {
        let source = synthetic::source(Seed::root(0), 4, 2, 64);
        let pictures: Vec<Image> = (0..4).map(|index| source.train.open(index).unwrap()).collect();
        let bundle = example(Name::ResNet18, Stem::ImageNet, 64);
        let (plain, mapped) =
            (bundle.score(&pictures, false).unwrap(), bundle.score(&pictures, true).unwrap());
        for (plain, mapped) in plain.iter().zip(&mapped) {
            assert!(plain.places.is_empty() && mapped.places.len() == 2 && mapped.places[0].len() == 2);
            let mean = mapped.places.iter().flatten().sum::<f64>() / 4.0;
            assert_eq!(mean, mapped.logit);
            assert!(
                (plain.logit - mean).abs() < 1e-5 * plain.logit.abs().max(1.0),
                "{} and {mean}",
                plain.logit
            );
        }
        assert!(bundle.score(&[Image::new(1, 1, vec![0; 3])], false).is_err(), "another size");
    }

    /// Opening a bundle requires every stored picture to give its stored logit.
    #[test]
    fn every_picture_of_its_own_must_have_its_logit() {
        let source = synthetic::source(Seed::root(0), 4, 2, 64);
        let mut bundle = example(Name::ResNet18, Stem::ImageNet, 64);
        bundle.pictures = (0..3).map(|index| source.train.open(index).unwrap()).collect();
        bundle.logits =
            bundle.score(&bundle.pictures, false).unwrap().iter().map(|seen| seen.logit).collect();
        bundle.check().unwrap();
        for place in 0..3 {
            let own = bundle.logits[place];
            for other in [own + 3.0 * TOLERANCE * own.abs().max(1.0), f64::NAN] {
                bundle.logits[place] = other;
                let error = bundle.check().unwrap_err().to_string();
                assert!(error.starts_with(&format!("its test picture {} has", place + 1)), "{error}");
            }
            bundle.logits[place] = own;
        }
    }

    /// Logits may differ in their last digits, relative to their size.
    #[test]
    fn large_logits_may_differ_more() {
        let source = synthetic::source(Seed::root(0), 4, 2, 64);
        let mut bundle = example(Name::ResNet18, Stem::ImageNet, 64);
        let Scorer::Probe { bias, .. } = &mut bundle.scorer else { panic!("a probe") };
        *bias = 100.0;
        bundle.pictures = vec![source.train.open(0).unwrap()];
        let own = bundle.score(&bundle.pictures, false).unwrap()[0].logit;
        assert!(own > 50.0, "{own}");
        for (factor, passes) in [(-0.9, true), (0.9, true), (-1.1, false), (1.1, false)] {
            bundle.logits = vec![own / (1.0 + factor * TOLERANCE)];
            assert_eq!(bundle.check().is_ok(), passes, "{factor}");
        }
    }

    #[test]
    fn a_bundle_scores_its_pictures_when_it_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("detector.bundle");
        let source = synthetic::source(Seed::root(0), 4, 2, 64);
        let picture = source.train.open(0).unwrap();
        let logit = example(Name::ResNet18, Stem::ImageNet, 64)
            .score(std::slice::from_ref(&picture), false)
            .unwrap()[0]
            .logit;
        for (logit, opens) in [(logit, true), (logit + 1.0, false)] {
            let Bundle { manifest, scorer, parameters, .. } = example(Name::ResNet18, Stem::ImageNet, 64);
            let manifest = Manifest { scorer: scorer.name().to_owned(), ..manifest };
            let scorers = vec![(scorer, vec![logit])];
            let detector = Detector { scorers, pictures: vec![picture.clone()], usual_size: None };
            Bundle::write(&path, &manifest, &parameters, detector).unwrap();
            let said = Bundle::open(&path).err().map(|error| format!("{error:#}"));
            assert_eq!(said.is_none(), opens, "{said:?}");
            assert!(said.is_none_or(|said| said.contains("its test picture 1 has logit ")));
        }
    }

    /// Every change of manifest, names or bytes changes the digest, and so does moving bytes between a name and its
    /// data.
    #[test]
    fn a_digest_is_of_names_and_bytes() {
        let of = |manifest: &str, parts: &[(&str, &[u8])]| {
            digest(manifest, &parts.iter().map(|&(name, bytes)| (name.to_owned(), bytes)).collect())
        };
        let all = [
            of("m", &[("a", b"12"), ("b", b"3")]),
            of("n", &[("a", b"12"), ("b", b"3")]),
            of("m", &[("a", b"12"), ("c", b"3")]),
            of("m", &[("a", b"13"), ("b", b"3")]),
            of("m", &[("a", b"1"), ("b", b"23")]),
            of("m", &[("a", b"12b"), ("", b"3")]),
            of("m", &[("a", b"12")]),
            of("ma", &[("", b"12"), ("b", b"3")]),
        ];
        assert_eq!(BTreeMap::from(all.clone().map(|digest| (digest, ()))).len(), all.len(), "{all:?}");
    }
    /// (byte / 255 - mean) / deviation, with means and deviations of each channel.
    #[test]
    fn pictures_are_normalised_as_the_manifest_says() {
        let source = synthetic::source(Seed::root(2), 4, 2, 32);
        let picture = source.train.open(1).unwrap();
        let mut bundle = example(Name::ResNet18, Stem::Small, 32);
        let (mean, deviation) = ([0.5, 0.25, 0.125], [0.5, 2.0, 0.25]);
        (bundle.manifest.mean, bundle.manifest.deviation) = (mean, deviation);
        let values: Vec<f32> = (0..32 * 32 * 3)
            .map(|n: usize| (f32::from(picture.pixels[n]) / 255.0 - mean[n % 3]) / deviation[n % 3])
            .collect();
        let images = Tensor::from_vec(values, (1, 32, 32, 3), &Device::Cpu).unwrap();
        let expected = bundle.scorer.score(&*bundle.encoder, &images, false).unwrap()[0].logit;
        let found = bundle.score(&[picture], false).unwrap()[0].logit;
        assert!((found - expected).abs() < 1e-9 * expected.abs().max(1.0), "{found}, expected {expected}");
    }

    /// The bytes of a bundle whose picture gives its stored logit.
    fn written() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("detector.bundle");
        let picture = synthetic::source(Seed::root(0), 4, 2, 32).train.open(0).unwrap();
        let bundle = example(Name::ResNet18, Stem::Small, 32);
        let logit = bundle.score(std::slice::from_ref(&picture), false).unwrap()[0].logit;
        let Bundle { manifest, scorer, parameters, .. } = bundle;
        let scorers = vec![(scorer, vec![logit])];
        Bundle::write(
            &path,
            &manifest,
            &parameters,
            Detector { scorers, pictures: vec![picture], usual_size: None },
        )
        .unwrap();
        std::fs::read(path).unwrap()
    }

    /// The bytes of a bundle with a changed manifest and changed tensors, and the digest that belongs to them.
    fn changed(
        manifest: impl Fn(&mut serde_json::Value),
        tensors: impl Fn(&mut BTreeMap<String, Tensor>),
    ) -> Vec<u8> {
        let bytes = written();
        let (_, head) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let mut json = serde_json::from_str(&head.metadata().clone().unwrap()[MANIFEST]).unwrap();
        manifest(&mut json);
        let mut all: BTreeMap<String, Tensor> =
            candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap().into_iter().collect();
        tensors(&mut all);
        let text = json.to_string();
        let plain = safetensors::serialize(all.iter(), None).unwrap();
        let file = safetensors::SafeTensors::deserialize(&plain).unwrap();
        let parts = file.iter().map(|(name, tensor)| (name.to_owned(), tensor.data())).collect();
        let notes = [(DIGEST, digest(&text, &parts)), (MANIFEST, text)];
        let notes = notes.into_iter().map(|(name, note)| (name.to_owned(), note)).collect();
        serialise(all.iter(), &notes).unwrap()
    }

    #[test]
    fn what_is_no_whole_bundle_is_refused() {
        let error = |bytes: &[u8]| format!("{:#}", Bundle::parse(bytes).err().unwrap());
        let starts = |bytes: &[u8], expected: &str| {
            let error = error(bytes);
            assert!(error.starts_with(expected), "found: {error}\nexpected: {expected}");
        };
        let same = changed(|_| (), |_| ());
        assert!(Bundle::parse(&same).is_ok());
        let (_, head) = safetensors::SafeTensors::read_metadata(&same).unwrap();
        assert_eq!(Bundle::parse(&same).unwrap().digest, head.metadata().clone().unwrap()[DIGEST]);
        starts(b"weights", "not a bundle that `cargo xtask bundle` wrote, or an incomplete one");
        starts(&same[..same.len() - 1], "not a bundle that `cargo xtask bundle` wrote, or an incomplete one");
        let weights =
            example(Name::ResNet18, Stem::Small, 32).parameters.to_safetensors(&BTreeMap::new()).unwrap();
        starts(&weights, "safetensors without a manifest: weights alone are not a detector");
        starts(
            &changed(|manifest| manifest["version"] = 1.into(), |_| ()),
            "a bundle of version 1, this program reads 2: use the program that made it",
        );
        starts(
            &changed(|manifest| manifest["more"] = 1.into(), |_| ()),
            "its manifest has an unknown format: unknown field `more`",
        );
        starts(
            &changed(|manifest| manifest["scorer"] = "normals_patchcore".into(), |_| ()),
            "it scores by converged, its manifest says normals_patchcore",
        );
        starts(
            &changed(|manifest| manifest["sizes"]["resnet.width"] = 1_000_000.into(), |_| ()),
            "its manifest describes an encoder with more than the ",
        );
        let shorter = |tensors: &mut BTreeMap<String, Tensor>| {
            let weights = tensors["converged.weight"].narrow(0, 0, 3).unwrap();
            tensors.insert("converged.weight".to_owned(), weights);
        };
        starts(&changed(|_| (), shorter), "the encoder gives 64 features, the scorer takes 3");
        let without = |tensors: &mut BTreeMap<String, Tensor>| drop(tensors.remove("encoder.bn1.weight"));
        starts(&changed(|_| (), without), "its encoder: no tensor named 'bn1.weight'");
        // One bit of the last number.
        let mut edited = same;
        *edited.last_mut().unwrap() ^= 1;
        starts(&edited, "its content has changed since it was written (digest ");
    }

    #[test]
    fn a_scorer_that_was_not_fitted_cannot_be_bundled() {
        let folder = tempfile::tempdir().unwrap();
        let Bundle { manifest, scorer, parameters, .. } = example(Name::ResNet18, Stem::Small, 32);
        let manifest = Manifest { scorer: "normals_patchcore".to_owned(), ..manifest };
        let detector =
            Detector { scorers: vec![(scorer, Vec::new())], pictures: Vec::new(), usual_size: None };
        let error = Bundle::write(&folder.path().join("x"), &manifest, &parameters, detector).unwrap_err();
        let expected = "this cell has no normals_patchcore: it needs an encoder with middle features, or more normal images";
        assert_eq!(error.to_string(), expected);
        assert!(!folder.path().join("x").exists());
    }

    /// By hand for width 8: convolutions of 3 x 3 and of the shortcuts, and two numbers for each normalised channel.
    #[test]
    fn parameters_of_encoder_and_scorer_are_counted() {
        let bundle = example(Name::ResNet18, Stem::Small, 32);
        let stage = |inputs: usize, outputs: usize| {
            let shortcut = if inputs == outputs { 0 } else { inputs * outputs + 2 * outputs };
            9 * outputs * (inputs + 3 * outputs) + 8 * outputs + shortcut
        };
        let encoder = 9 * 3 * 8 + 16 + stage(8, 8) + stage(8, 16) + stage(16, 32) + stage(32, 64);
        assert_eq!(bundle.parameters(), encoder + 64 + 1);
        assert!(matches!(bundle.scorer(), Scorer::Probe { bias, .. } if *bias == 0.3));
        assert!(bundle.pictures().is_empty());
    }
    #[test]
    fn a_file_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("detector.bundle");
        let error = format!("{:#}", Bundle::open(&path).err().unwrap());
        let expected =
            format!("{}: cannot be read; name a file that `cargo xtask bundle` wrote", path.display());
        assert!(error.starts_with(&expected), "{error}");
        std::fs::write(&path, b"weights").unwrap();
        let error = format!("{:#}", Bundle::open(&path).err().unwrap());
        let expected = format!("{}: this bundle cannot be trusted: not a bundle that", path.display());
        assert!(error.starts_with(&expected), "{error}");
    }

    /// The digest is right, so the program that wrote them is another or has a fault.
    #[test]
    fn bundles_of_other_parts_are_refused() {
        let error = |bytes: &[u8]| format!("{:#}", Bundle::parse(bytes).err().unwrap());
        let starts = |bytes: &[u8], expected: &str| {
            let error = error(bytes);
            assert!(error.starts_with(expected), "found: {error}\nexpected: {expected}");
        };
        let bytes = written();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.iter().map(|(name, tensor)| (name.to_owned(), tensor));
        let notes = [(MANIFEST.to_owned(), "{\"version\": 2".to_owned())].into();
        let torn = safetensors::serialize(tensors, Some(notes)).unwrap();
        starts(&torn, "its manifest is damaged: EOF while parsing an object");
        let of_tomorrow = changed(|manifest| manifest["backbone"] = "of_tomorrow".into(), |_| ());
        assert!(error(&of_tomorrow).contains("of_tomorrow"), "{}", error(&of_tomorrow));
        starts(
            &changed(|manifest| manifest["sizes"] = serde_json::json!({}), |_| ()),
            "no size 'resnet.width' in the manifest: an early version of skewbench made this bundle",
        );
        let double = |tensors: &mut BTreeMap<String, Tensor>| {
            let logits = tensors["converged.examples"].clone();
            let bank = Tensor::new(&[[1.0_f32, 2.0, 3.0], [4.0, 5.0, 7.0]], &Device::Cpu).unwrap();
            let usual = Tensor::new(&[0.5_f64], &Device::Cpu).unwrap();
            tensors.extend(
                [("examples", logits), ("bank", bank), ("usual", usual)]
                    .map(|(part, tensor)| (format!("normals_patchcore.{part}"), tensor)),
            );
        };
        starts(&changed(|_| (), double), "it has several scorers");
        let blind = |tensors: &mut BTreeMap<String, Tensor>| drop(tensors.remove("examples.pictures"));
        starts(&changed(|_| (), blind), "no tensor 'examples.pictures'");
        let narrow = |tensors: &mut BTreeMap<String, Tensor>| {
            let pictures = tensors["examples.pictures"].narrow(2, 0, 31).unwrap().contiguous().unwrap();
            tensors.insert("examples.pictures".to_owned(), pictures);
        };
        starts(&changed(|_| (), narrow), "a picture of 31 x 32, expected 32 x 32");
    }
}
