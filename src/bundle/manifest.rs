//! The manifest: a bundle's description of itself.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::{Calibration, Threshold};
use crate::{
    backbone::{self, Architecture, Stem, VitSize},
    method,
    results::record::{Counts, Provenance, Record},
};

/// Version of the bundle format that this program writes and reads.
pub const VERSION: u32 = 2;

/// Everything in a bundle except the parameters of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format, [`VERSION`].
    pub version: u32,
    /// Name of the cell.
    pub cell: String,
    /// Fingerprint of its record.
    pub fingerprint: String,
    /// Method of pretraining.
    pub method: String,
    /// Backbone of the encoder.
    pub backbone: String,
    /// Name of its scorer, a column of the logits: `converged` for the probe.
    pub scorer: String,
    /// Sizes of the encoder, under the names of settings.
    pub sizes: serde_json::Map<String, serde_json::Value>,
    /// Side of the square to which pictures are resized (bicubic, ignoring the aspect ratio), in pixels.
    pub side: usize,
    /// Subtracted from each channel of values in 0..1.
    pub mean: [f32; 3],
    /// Divides each channel after subtraction.
    pub deviation: [f32; 3],
    /// Number of significant bits in 16-bit samples; `None` if all are significant.
    pub sample_bits: Option<u8>,
    /// Width and height of most pictures in training; `None` for drawn data.
    pub usual_size: Option<[usize; 2]>,
    /// Data set that it was trained on.
    pub source: String,
    /// Numbers of training images.
    pub train: Counts,
    /// Numbers of validation images, which threshold and calibration were fitted on.
    pub validation: Counts,
    /// AUROC of the scorer on these validation images.
    pub auroc: f64,
    /// Classes of defects, if the data have them.
    pub classes: Vec<String>,
    /// Rate of defects assumed for probabilities by default.
    pub rate: f64,
    /// Conversion from logits to probabilities.
    pub calibration: Calibration,
    /// Threshold above which an image is flagged.
    pub threshold: Threshold,
    /// Limitations that users must be aware of.
    pub limits: Vec<String>,
    /// Code and machine that trained it.
    pub provenance: Provenance,
}

impl Manifest {
    /// Builds the manifest of a finished cell with the named scorer.
    ///
    /// # Errors
    /// If the record does not state the size of its network, or has no score of the scorer.
    pub fn from_record(
        (record, scorer): (&Record, &str),
        usual_size: Option<[usize; 2]>,
        rate: f64,
        calibration: Calibration,
        threshold: Threshold,
    ) -> Result<Self> {
        let values = &record.settings.values;
        let number = |name: &str| values.get(name).and_then(serde_json::Value::as_u64);
        let normalisation = record.settings.normalisation();
        let normalisation = normalisation.context("the record does not state its normalisation of pixels")?;
        let natural = record
            .scores
            .iter()
            .find(|score| score.classifier == scorer && score.validation_share.is_none())
            .with_context(|| format!("the record has no score of {scorer}"))?;
        let sizes = values.iter().filter(|(name, _)| name.starts_with("vit.") || name.starts_with("resnet."));
        let manifest = Self {
            version: VERSION,
            cell: record.cell.id.clone(),
            fingerprint: record.fingerprint.clone(),
            method: record.cell.method.clone(),
            backbone: record.cell.backbone.clone(),
            scorer: scorer.to_owned(),
            sizes: sizes.map(|(name, value)| (name.clone(), value.clone())).collect(),
            side: number("side").context("the record does not state its side")? as usize,
            mean: normalisation.mean,
            deviation: normalisation.std,
            sample_bits: number("sample_bits").map(|bits| bits as u8),
            usual_size,
            source: record.data.source.clone(),
            train: record.data.train,
            validation: record.data.validation,
            auroc: natural.auroc,
            classes: natural.recall_by_class.keys().cloned().collect(),
            rate,
            calibration,
            threshold,
            limits: record.data.limits.clone(),
            provenance: record.provenance.clone(),
        };
        manifest.architecture()?;
        Ok(manifest)
    }

    /// Returns a title for display: `SimCLR on ResNet-18`.
    pub fn title(&self) -> String {
        let method = match self.method.parse::<method::Name>() {
            Ok(method) => method.label(),
            Err(_) if self.cell.starts_with("given_weights/") => "given weights",
            Err(_) => "random weights",
        };
        let backbone = self.backbone.parse::<backbone::Name>();
        format!("{method} on {}", backbone.map_or(self.backbone.as_str(), |known| known.label()))
    }

    /// Returns the encoder's sizes.
    ///
    /// # Errors
    /// If one is missing.
    pub fn architecture(&self) -> Result<Architecture> {
        let size = |name: &str| -> Result<usize> {
            let value = self.sizes.get(name).and_then(serde_json::Value::as_u64);
            Ok(value.with_context(|| format!("no size '{name}' in the manifest: an early version of skewbench made this bundle; make it again"))?
                as usize)
        };
        // Sizes of the other backbone are not used.
        let (mut resnet_width, mut resnet_stem) = (64, Stem::ImageNet);
        let mut vit = VitSize { patch: 16, width: 192, depth: 12, heads: 3 };
        let name: backbone::Name = self.backbone.parse()?;
        match name {
            backbone::Name::ResNet18 => {
                resnet_width = size("resnet.width")?;
                resnet_stem = match self.sizes.get("resnet.stem").and_then(|stem| stem.as_str()) {
                    Some("imagenet") => Stem::ImageNet,
                    Some("small") => Stem::Small,
                    other => bail!("expected a stem of imagenet or small, found {other:?}"),
                };
            }
            backbone::Name::ViTTiny => {
                vit = VitSize {
                    patch: size("vit.patch")?,
                    width: size("vit.width")?,
                    depth: size("vit.depth")?,
                    heads: size("vit.heads")?,
                };
            }
            // It has only one size.
            backbone::Name::MobileNetV2 => {}
        }
        Ok(Architecture { name, resnet_width, resnet_stem, vit, side: self.side })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::results::{example, record as results};

    /// Manifest of an untrained cell.
    pub fn example(architecture: &Architecture) -> Manifest {
        let calibration = Calibration { slope: 1.0, intercept: 0.0, error: 0.0 };
        let rates = [0.0, 0.0, 1.0];
        let threshold = Threshold {
            logit: 0.0,
            chosen: "own".to_owned(),
            false_positive_rate: rates,
            true_positive_rate: rates,
        };
        let mut record = example::record();
        record.cell.backbone = architecture.name.to_string();
        let stem = if architecture.resnet_stem == Stem::Small { "small" } else { "imagenet" };
        let VitSize { patch, width, depth, heads } = architecture.vit;
        let values = &mut record.settings.values;
        values.insert("resnet.stem".to_owned(), stem.into());
        for (name, value) in [
            ("side", architecture.side),
            ("resnet.width", architecture.resnet_width),
            ("vit.patch", patch),
            ("vit.width", width),
            ("vit.depth", depth),
            ("vit.heads", heads),
        ] {
            values.insert(name.to_owned(), value.into());
        }
        for name in ["normalisation.mean", "normalisation.deviation"] {
            values.insert(name.to_owned(), vec![0.5, 0.4, 0.3].into());
        }
        record.scores.push(example::score("converged", None));
        Manifest::from_record((&record, "converged"), None, 0.1, calibration, threshold).unwrap()
    }

    #[test]
    fn what_it_says_of_itself_is_read_back() {
        let vit = VitSize { patch: 8, width: 24, depth: 1, heads: 3 };
        let (name, resnet_stem) = (backbone::Name::ResNet18, Stem::Small);
        let architecture = Architecture { name, side: 64, resnet_width: 8, resnet_stem, vit };
        let manifest = example(&architecture);
        assert!(manifest.title().ends_with(" on ResNet-18"), "{}", manifest.title());
        // Taken from the record.
        assert_eq!((manifest.train.normals, manifest.train.defects), (95, 5));
        assert_eq!((manifest.validation.normals, manifest.validation.defects), (50, 50));
        assert_eq!((manifest.rate, manifest.auroc, manifest.source.as_str()), (0.1, 0.5, "synthetic"));
        let frozen =
            Manifest { method: "none".into(), cell: "given_weights/none-x".into(), ..manifest.clone() };
        assert_eq!(frozen.title(), "given weights on ResNet-18");
        let text = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
        let read = manifest.architecture().unwrap();
        assert_eq!((read.resnet_width, read.resnet_stem, read.side), (8, Stem::Small, 64));
        let nothing = Manifest { sizes: serde_json::Map::new(), ..manifest };
        let error = nothing.architecture().unwrap_err().to_string();
        assert!(error.contains("no size 'resnet.width'"), "{error}");
    }
    /// A record in which every value that a manifest takes is different.
    fn record() -> Record {
        let mut record = example::record();
        record.cell.id = "table1/byol-vit_tiny-share05-seed3".to_owned();
        record.fingerprint = "fingerprint".to_owned();
        (record.cell.method, record.cell.backbone) = ("byol".to_owned(), "vit_tiny".to_owned());
        record.data.source = "a folder".to_owned();
        record.data.train = Counts { normals: 901, defects: 102 };
        record.data.validation = Counts { normals: 503, defects: 504 };
        record.data.limits = vec!["a limit".to_owned(), "another".to_owned()];
        record.provenance.revision = "a revision".to_owned();
        let values = &mut record.settings.values;
        let sizes =
            [("vit.patch", 8), ("vit.width", 24), ("vit.depth", 2), ("vit.heads", 3), ("resnet.width", 16)];
        for (name, value) in
            sizes.into_iter().chain([("side", 32), ("sample_bits", 12), ("heads.hidden", 99)])
        {
            values.insert(name.to_owned(), value.into());
        }
        values.insert("normalisation.mean".to_owned(), vec![0.5, 0.25, 0.125].into());
        values.insert("normalisation.deviation".to_owned(), vec![1.0, 2.0, 0.75].into());
        let score = |classifier, share, auroc| results::Score { auroc, ..example::score(classifier, share) };
        record.scores = vec![
            score("converged", Some(0.05), 0.61),
            score("normals_patchcore", None, 0.62),
            score("converged", None, 0.63),
            score("in_training", None, 0.64),
        ];
        record.scores[2].recall_by_class =
            [("roots", [1, 2]), ("crack", [3, 4])].map(|(name, of)| (name.into(), of)).into();
        record
    }

    fn threshold() -> Threshold {
        Threshold {
            logit: 1.5,
            chosen: "misses=5%".to_owned(),
            false_positive_rate: [0.1, 0.05, 0.2],
            true_positive_rate: [0.9, 0.8, 0.95],
        }
    }

    #[test]
    fn every_entry_is_the_records_own() {
        let (record, calibration) = (record(), Calibration { slope: 2.0, intercept: -0.5, error: 0.03 });
        let size = Some([720, 576]);
        let found =
            Manifest::from_record((&record, "converged"), size, 0.02, calibration, threshold()).unwrap();
        let sizes =
            [("resnet.width", 16), ("vit.depth", 2), ("vit.heads", 3), ("vit.patch", 8), ("vit.width", 24)];
        let expected = Manifest {
            version: 2,
            cell: "table1/byol-vit_tiny-share05-seed3".to_owned(),
            fingerprint: "fingerprint".to_owned(),
            method: "byol".to_owned(),
            backbone: "vit_tiny".to_owned(),
            scorer: "converged".to_owned(),
            sizes: sizes.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect(),
            side: 32,
            mean: [0.5, 0.25, 0.125],
            deviation: [1.0, 2.0, 0.75],
            sample_bits: Some(12),
            usual_size: size,
            source: "a folder".to_owned(),
            train: Counts { normals: 901, defects: 102 },
            validation: Counts { normals: 503, defects: 504 },
            auroc: 0.63,
            classes: vec!["crack".to_owned(), "roots".to_owned()],
            rate: 0.02,
            calibration,
            threshold: threshold(),
            limits: vec!["a limit".to_owned(), "another".to_owned()],
            provenance: Provenance { revision: "a revision".to_owned(), ..example::record().provenance },
        };
        assert_eq!(found, expected);
        assert_eq!(found.title(), "BYOL on ViT-Tiny");
        let vit = VitSize { patch: 8, width: 24, depth: 2, heads: 3 };
        let read = found.architecture().unwrap();
        assert_eq!((read.name, read.vit, read.side), (backbone::Name::ViTTiny, vit, 32));
        // Another scorer has another score.
        let other =
            Manifest::from_record((&record, "normals_patchcore"), None, 0.02, calibration, threshold())
                .unwrap();
        assert_eq!((other.scorer.as_str(), other.auroc, other.classes.len()), ("normals_patchcore", 0.62, 0));
    }

    #[test]
    fn what_a_record_does_not_state_is_named() {
        let calibration = Calibration { slope: 2.0, intercept: -0.5, error: 0.03 };
        let error = |record: &Record, scorer| {
            let made = Manifest::from_record((record, scorer), None, 0.02, calibration, threshold());
            made.unwrap_err().to_string()
        };
        let without = |name: &str| {
            let mut record = record();
            record.settings.values.remove(name);
            record
        };
        assert_eq!(error(&record(), "neighbours"), "the record has no score of neighbours");
        assert_eq!(error(&without("side"), "converged"), "the record does not state its side");
        let normalisation = error(&without("normalisation.mean"), "converged");
        assert_eq!(normalisation, "the record does not state its normalisation of pixels");
        for size in ["vit.patch", "vit.width", "vit.depth", "vit.heads"] {
            let said = error(&without(size), "converged");
            assert_eq!(
                said,
                format!(
                    "no size '{size}' in the manifest: an early version of skewbench made this bundle; make it again"
                )
            );
        }
        let mut other = record();
        other.cell.backbone = "resnet18".to_owned();
        assert_eq!(error(&other, "converged"), "expected a stem of imagenet or small, found None");
    }

    #[test]
    fn a_network_without_a_method_has_a_title_too() {
        let manifest = example(&Architecture {
            name: backbone::Name::ViTTiny,
            side: 32,
            resnet_width: 8,
            resnet_stem: Stem::ImageNet,
            vit: VitSize { patch: 8, width: 24, depth: 1, heads: 3 },
        });
        let title = |method: &str, cell: &str, backbone: &str| {
            let [method, cell, backbone] = [method, cell, backbone].map(str::to_owned);
            Manifest { method, cell, backbone, ..manifest.clone() }.title()
        };
        assert_eq!(title("none", "random_weights/none-resnet18", "resnet18"), "random weights on ResNet-18");
        assert_eq!(title("none", "given_weights/none-x", "mobilenet_v2"), "given weights on MobileNetV2");
        assert_eq!(title("mae", "given_weights/none-x", "of tomorrow"), "MAE on of tomorrow");
    }
}
