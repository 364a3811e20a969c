//! Scorers of images after training: the converged probe, or a detector fitted on normal images only. A scorer
//! contains no image, and gives the same scores as when it was fitted.
//!
//! Records also contain scores of neighbour distances and PaDiM. These detectors are not kept: the features that they
//! compare with are larger than the encoder.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};

use super::{
    normals::{Cloud, Rows},
    patches::{PatchCore, describe_patches},
};
use crate::backbone::{Backbone, Mode};
use crate::tensor::without_gradients;

/// A scorer with its fitted numbers.
pub enum Scorer {
    /// A weighted sum of features.
    Probe {
        /// One weight per feature.
        weights: Vec<f64>,
        /// Added to the sum.
        bias: f64,
    },
    /// Distance of features from those of normal images.
    Mahalanobis {
        /// Distribution of the normal images' features.
        cloud: Cloud,
        /// The distance at which the logit is 0.
        usual: f64,
    },
    /// Distance of an image's most unusual patch from patches of normal images.
    PatchCore {
        /// The bank of patches.
        core: PatchCore,
        /// The distance at which the logit is 0.
        usual: f64,
    },
}

/// A scorer's result for one image.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredImage {
    /// Above 0, the image is flagged.
    pub logit: f64,
    /// Scores of the places of the feature map, row by row. For a probe: each place's contribution; their mean is the
    /// logit. For PatchCore: each place's distance from patches of normal images; the largest decides. Empty if not
    /// requested or not available.
    pub places: Vec<Vec<f64>>,
}

impl Scorer {
    /// Names of all scorers, as in the columns of logits.
    pub const NAMES: [&'static str; 3] = ["converged", "normals_mahalanobis", "normals_patchcore"];

    /// Returns a readable description of the scorer with that name; `None` if there is none.
    pub fn label(name: &str) -> Option<&'static str> {
        let labels = [
            "a probe on its features",
            "how far its features lie from those of normal images (Mahalanobis distance)",
            "the patch that lies farthest from those of normal images (PatchCore)",
        ];
        let place = Self::NAMES.iter().position(|known| *known == name)?;
        Some(labels[place])
    }

    /// Returns its name, one of [`Self::NAMES`].
    pub fn name(&self) -> &'static str {
        let [probe, mahalanobis, patchcore] = Self::NAMES;
        match self {
            Self::Probe { .. } => probe,
            Self::Mahalanobis { .. } => mahalanobis,
            Self::PatchCore { .. } => patchcore,
        }
    }

    /// Returns the number of features it takes; `None` if it takes feature maps.
    pub fn width(&self) -> Option<usize> {
        match self {
            Self::Probe { weights, .. } => Some(weights.len()),
            Self::Mahalanobis { cloud, .. } => Some(cloud.width()),
            Self::PatchCore { .. } => None,
        }
    }

    /// Returns how many numbers were fitted.
    pub fn fitted_count(&self) -> usize {
        match self {
            Self::Probe { weights, .. } => weights.len() + 1,
            // A covariance is symmetric, so only its lower triangle counts.
            Self::Mahalanobis { cloud, .. } => cloud.width() * (cloud.width() + 3) / 2 + 1,
            Self::PatchCore { core, .. } => core.rows().len() + 1,
        }
    }

    /// Scores normalised images (batch, height, width, 3); scores their places too, if requested and available.
    ///
    /// # Errors
    /// If the encoder's features have another width, or it lacks the kind that is needed.
    pub fn score(
        &self,
        encoder: &dyn Backbone,
        images: &Tensor,
        with_places: bool,
    ) -> Result<Vec<ScoredImage>> {
        match self {
            Self::Probe { weights, bias } => probe((weights, *bias), encoder, images, with_places),
            Self::Mahalanobis { cloud, usual } => {
                let features = without_gradients(|| encoder.embed(images, Mode::Evaluate))?;
                let rows = Rows::new(&numbers(&features)?, encoder.width())?;
                let seen = |distance| ScoredImage { logit: distance - usual, places: Vec::new() };
                Ok(cloud.distances(&rows)?.into_iter().map(seen).collect())
            }
            Self::PatchCore { core, usual } => {
                let middle = encoder.intermediate_maps(images)?;
                let middle = middle.context("this encoder has no middle features")?;
                let [fine, coarse] = middle.map(|maps| maps.detach().to_device(&Device::Cpu));
                let (fine, coarse) = (fine?, coarse?);
                let columns = fine.dims4()?.2;
                let seen = |patches| {
                    let places = if with_places { core.map(&patches) } else { Vec::new() };
                    let places = places.chunks_exact(columns).map(<[f64]>::to_vec).collect();
                    ScoredImage { logit: core.distance(&patches) - usual, places }
                };
                Ok(describe_patches(&fine, &coarse)?.into_iter().map(seen).collect())
            }
        }
    }

    /// Returns the fitted numbers as named tensors, for a file.
    ///
    /// # Errors
    /// If a tensor cannot be created.
    pub fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        let row = |values: &[f64]| Tensor::from_slice(values, values.len(), &Device::Cpu);
        let named: Vec<(&str, Tensor)> = match self {
            Self::Probe { weights, bias } => vec![("weight", row(weights)?), ("bias", row(&[*bias])?)],
            Self::Mahalanobis { cloud, usual } => vec![
                ("mean", row(cloud.mean())?),
                ("covariance", row(&cloud.lower())?),
                ("usual", row(&[*usual])?),
            ],
            Self::PatchCore { core, usual } => {
                let (rows, width) = (core.rows(), core.width());
                let bank = Tensor::from_slice(rows, (rows.len() / width, width), &Device::Cpu)?;
                vec![("bank", bank), ("usual", row(&[*usual])?)]
            }
        };
        Ok(named.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect())
    }

    /// Restores a scorer from the result of [`Self::tensors`].
    ///
    /// # Errors
    /// If a tensor is missing or has another shape, or no scorer has that name.
    pub fn from_tensors(name: &str, tensors: &BTreeMap<String, Tensor>) -> Result<Self> {
        let tensor = |part: &str| tensors.get(part).with_context(|| format!("no tensor '{name}.{part}'"));
        let row = |part: &str| -> Result<Vec<f64>> {
            Ok(tensor(part)?.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?)
        };
        let one = |part: &str| match row(part)?[..] {
            [value] => Ok(value),
            ref values => bail!("'{name}.{part}' has {} numbers, expected one", values.len()),
        };
        let [probe, mahalanobis, patchcore] = Self::NAMES;
        if name == probe {
            Ok(Self::Probe { weights: row("weight")?, bias: one("bias")? })
        } else if name == mahalanobis {
            let cloud = Cloud::from_parts(row("mean")?, &row("covariance")?)?;
            Ok(Self::Mahalanobis { cloud, usual: one("usual")? })
        } else if name == patchcore {
            let rows = tensor("bank")?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
            let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
            ensure!(rows.first().is_some_and(|row| !row.is_empty()), "'{name}.bank' is empty");
            Ok(Self::PatchCore { core: PatchCore::from_bank(&rows), usual: one("usual")? })
        } else {
            bail!("no scorer '{name}'; there is {}", Self::NAMES.join(", "))
        }
    }
}

fn probe(
    (weights, bias): (&[f64], f64),
    encoder: &dyn Backbone,
    images: &Tensor,
    with_places: bool,
) -> Result<Vec<ScoredImage>> {
    let places = if with_places { encoder.feature_map(images)? } else { None };
    let features = match &places {
        Some(places) => places.mean((1, 2))?,
        None => without_gradients(|| encoder.embed(images, Mode::Evaluate))?,
    };
    let score = |features: &[f32]| -> f64 {
        let products = features.iter().zip(weights).map(|(x, w)| f64::from(*x) * w);
        products.sum::<f64>() + bias
    };
    let width = weights.len();
    let mut seen: Vec<ScoredImage> = numbers(&features)?
        .chunks_exact(width)
        .map(|row| ScoredImage { logit: score(row), places: Vec::new() })
        .collect();
    if let Some(places) = places {
        let (_, rows, columns, _) = places.dims4()?;
        let scores: Vec<f64> = numbers(&places)?.chunks_exact(width).map(score).collect();
        for (seen, scores) in seen.iter_mut().zip(scores.chunks_exact(rows * columns)) {
            seen.places = scores.chunks_exact(columns).map(<[f64]>::to_vec).collect();
            // Average the numbers that are shown, so that they agree with the logit exactly.
            seen.logit = scores.iter().sum::<f64>() / scores.len() as f64;
        }
    }
    Ok(seen)
}

fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.detach().flatten_all()?.to_vec1::<f32>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backbone::{Architecture, Name, Parameters, Stem, VitSize},
        evaluate::detectors,
        seed::Seed,
    };

    fn encoder(name: Name) -> Box<dyn Backbone> {
        let vit = VitSize { patch: 8, width: 24, depth: 2, heads: 3 };
        let architecture = Architecture { name, side: 32, resnet_width: 8, resnet_stem: Stem::Small, vit };
        let mut parameters = Parameters::default();
        architecture.build(&mut parameters.builder("", Seed::root(3), DType::F32, &Device::Cpu)).unwrap()
    }

    fn images(count: usize) -> Tensor {
        let mut stream = Seed::root(7).stream();
        let values = (0..count * 32 * 32 * 3).map(|_| stream.normal() as f32).collect::<Vec<f32>>();
        Tensor::from_vec(values, (count, 32, 32, 3), &Device::Cpu).unwrap()
    }

    /// All scorers, fitted on twelve images.
    fn all(encoder: &dyn Backbone) -> Vec<Scorer> {
        let images = images(12);
        let mut stream = Seed::root(1).stream();
        let weights = (0..encoder.width()).map(|_| stream.normal()).collect();
        let features = numbers(&encoder.embed(&images, Mode::Evaluate).unwrap()).unwrap();
        let rows = Rows::new(&features, encoder.width()).unwrap();
        let mut scorers = vec![
            Scorer::Probe { weights, bias: 0.25 },
            Scorer::Mahalanobis { cloud: Cloud::fit(&rows).unwrap(), usual: 3.0 },
        ];
        if let Some([fine, coarse]) = encoder.intermediate_maps(&images).unwrap() {
            let patches = describe_patches(&fine.detach(), &coarse.detach()).unwrap();
            scorers.push(Scorer::PatchCore {
                core: PatchCore::fit(&patches, &Seed::root(0)).unwrap(),
                usual: 2.0,
            });
        }
        scorers
    }

    #[test]
    fn what_is_read_back_scores_the_same_to_the_bit() {
        for (name, count) in [(Name::ResNet18, 3), (Name::ViTTiny, 2)] {
            let encoder = encoder(name);
            let scorers = all(&*encoder);
            assert_eq!(scorers.len(), count);
            for scorer in scorers {
                let tensors = scorer.tensors().unwrap();
                let again = Scorer::from_tensors(scorer.name(), &tensors).unwrap();
                let others = images(15);
                let of = |scorer: &Scorer| scorer.score(&*encoder, &others, true).unwrap();
                assert_eq!(of(&scorer), of(&again), "{name} {}", scorer.name());
                let stored: usize = tensors.values().map(Tensor::elem_count).sum();
                assert_eq!(scorer.fitted_count(), stored, "{}", scorer.name());
                for part in tensors.keys() {
                    let mut fewer = tensors.clone();
                    fewer.remove(part);
                    let error = Scorer::from_tensors(scorer.name(), &fewer).err().unwrap().to_string();
                    assert!(error.contains(&format!("{}.{part}", scorer.name())), "{error}");
                }
            }
        }
        assert!(Scorer::from_tensors("x", &BTreeMap::new()).is_err());
    }

    /// A probe's place scores average to its logit; PatchCore's farthest place decides.
    #[test]
    fn places_explain_the_logit() {
        let encoder = encoder(Name::ResNet18);
        let others = images(15);
        for scorer in all(&*encoder) {
            let (plain, mapped) = (
                scorer.score(&*encoder, &others, false).unwrap(),
                scorer.score(&*encoder, &others, true).unwrap(),
            );
            for (plain, mapped) in plain.iter().zip(&mapped) {
                let near = |a: f64, b: f64| (a - b).abs() < 1e-5 * b.abs().max(1.0);
                assert!(plain.places.is_empty() && near(plain.logit, mapped.logit));
                let values: Vec<f64> = mapped.places.iter().flatten().copied().collect();
                match &scorer {
                    Scorer::Probe { .. } => {
                        assert_eq!(values.iter().sum::<f64>() / values.len() as f64, mapped.logit);
                    }
                    Scorer::Mahalanobis { .. } => assert!(values.is_empty()),
                    Scorer::PatchCore { usual, .. } => {
                        let farthest = values.iter().copied().fold(0.0, f64::max);
                        assert!(values.len() > 4 && mapped.logit + usual <= farthest);
                    }
                }
            }
        }
    }

    /// A kept scorer gives the same score as the record.
    #[test]
    fn they_are_what_records_score() {
        let encoder = encoder(Name::ResNet18);
        let images = images(12);
        let features = numbers(&encoder.embed(&images, Mode::Evaluate).unwrap()).unwrap();
        let places: Vec<usize> = (0..12).collect();
        let detected = detectors::detect_by_features(&features, &places, &features, encoder.width()).unwrap();
        let kept: Vec<(&Scorer, &detectors::DetectorOutput)> =
            detected.iter().filter_map(|one| Some((one.scorer.as_ref()?, one))).collect();
        let [(scorer, detected)] = kept[..] else { panic!("{} scorers are kept", kept.len()) };
        assert_eq!(scorer.name(), detected.name);
        let seen = scorer.score(&*encoder, &images, false).unwrap();
        assert_eq!(seen.into_iter().map(|seen| seen.logit).collect::<Vec<f64>>(), detected.logits);
    }

    #[test]
    fn scorers_have_their_names_labels_and_widths() {
        let encoder = encoder(Name::ResNet18);
        let told: Vec<_> = all(&*encoder)
            .iter()
            .map(|scorer| (scorer.name(), Scorer::label(scorer.name()).unwrap(), scorer.width()))
            .collect();
        let width = encoder.width();
        assert_eq!(
            told,
            [
                ("converged", "a probe on its features", Some(width)),
                (
                    "normals_mahalanobis",
                    "how far its features lie from those of normal images (Mahalanobis distance)",
                    Some(width)
                ),
                (
                    "normals_patchcore",
                    "the patch that lies farthest from those of normal images (PatchCore)",
                    None
                ),
            ]
        );
        assert_eq!(Scorer::label("in_training"), None);
    }

    /// Logits by hand from features: the probe's weights and bias, or distance minus threshold.
    #[test]
    fn a_scorer_scores_features_by_its_own_numbers() {
        let encoder = encoder(Name::ViTTiny);
        let others = images(4);
        let features = numbers(&encoder.embed(&others, Mode::Evaluate).unwrap()).unwrap();
        let width = encoder.width();
        for scorer in all(&*encoder) {
            let seen = scorer.score(&*encoder, &others, false).unwrap();
            let expected: Vec<f64> = match &scorer {
                Scorer::Probe { weights, bias } => features
                    .chunks_exact(width)
                    .map(|row| row.iter().zip(weights).map(|(x, w)| f64::from(*x) * w).sum::<f64>() + bias)
                    .collect(),
                Scorer::Mahalanobis { cloud, usual } => {
                    let rows = Rows::new(&features, width).unwrap();
                    cloud.distances(&rows).unwrap().iter().map(|distance| distance - usual).collect()
                }
                Scorer::PatchCore { .. } => panic!("a transformer has no middle features"),
            };
            let found: Vec<f64> = seen.iter().map(|seen| seen.logit).collect();
            assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?} {expected:?}");
        }
        let core = PatchCore::from_bank(&[&[0.0, 1.0], &[2.0, 3.0]]);
        let error = Scorer::PatchCore { core, usual: 0.0 }.score(&*encoder, &others, false).unwrap_err();
        assert_eq!(error.to_string(), "this encoder has no middle features");
    }

    #[test]
    fn numbers_that_are_no_scorer_are_refused() {
        let row = |values: &[f64]| Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap();
        let read = |name: &str, parts: &[(&str, Tensor)]| {
            let parts = parts.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect();
            Scorer::from_tensors(name, &parts)
        };
        let error = |name: &str, parts: &[(&str, Tensor)]| read(name, parts).err().unwrap().to_string();
        let two = row(&[1.0, 2.0]);
        assert_eq!(
            error("converged", &[("weight", two.clone()), ("bias", two.clone())]),
            "'converged.bias' has 2 numbers, expected one"
        );
        assert_eq!(
            error(
                "normals_mahalanobis",
                &[("mean", two.clone()), ("covariance", two.clone()), ("usual", row(&[1.0]))]
            ),
            "a covariance of 2 features has 3 numbers, found 2"
        );
        assert_eq!(
            error("x", &[]),
            "no scorer 'x'; there is converged, normals_mahalanobis, normals_patchcore"
        );
        for shape in [(0, 3), (2, 0)] {
            let bank = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
            let empty = error("normals_patchcore", &[("bank", bank), ("usual", row(&[1.0]))]);
            assert_eq!(empty, "'normals_patchcore.bank' is empty");
        }
        let known = read("converged", &[("weight", row(&[3.0, -1.5])), ("bias", row(&[0.75]))]).unwrap();
        assert!(matches!(known, Scorer::Probe { weights, bias } if weights == [3.0, -1.5] && bias == 0.75));
    }
}
