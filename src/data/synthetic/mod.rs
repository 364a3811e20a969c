//! A sewer that is drawn, not filmed: unlimited labelled pictures from a seed, at any resolution.
//!
//! Labels follow the statistics of Sewer-ML ([`frequencies`]); a scene is drawn from the seed
//! ([`scene`], [`defects`]), traced as a robot's camera would see it ([`render`]) and recorded as its
//! recorder would ([`finish`]). Bit-identical on every machine: IEEE-exact operations and `libm`
//! alone. Knows nothing of Sewer-ML's pictures: none were seen in making it.

mod camera;
mod defects;
mod finish;
mod floor;
mod frequencies;
mod material;
mod noise;
mod opening;
mod patch;
mod pipe;
mod render;
mod scene;
mod solid;
mod stroke;

use anyhow::Result;
pub use scene::Scene;

use super::{ClassSet, Dataset, Image, Labels, Source};
use crate::seed::Seed;
use frequencies::Frequencies;
use scene::Draws;

/// Changes whenever any picture or label would.
const VERSION: &str = "synthetic 1";

/// Share of images with a defect in Sewer-ML's splits (Table 2: 487,309 of 1,040,129; 61,365 of 130,046).
const TRAIN_DEFECT_SHARE: f64 = 0.4685;
const VALIDATION_DEFECT_SHARE: f64 = 0.4719;

/// The drawn data: `side` x `side` pixels, reproducible from `seed`.
///
/// A longer split begins with the images of a shorter one.
pub fn source(seed: Seed, train_images: usize, validation_images: usize, side: usize) -> Source {
    let train = Synthetic::new("train", seed, train_images, side, TRAIN_DEFECT_SHARE);
    let validation = Synthetic::new("validation", seed, validation_images, side, VALIDATION_DEFECT_SHARE);
    Source {
        name: "synthetic".into(),
        train: Box::new(train),
        validation: Box::new(validation),
        has_classes: true,
        limits: vec![
            "pictures are drawn by a program, not filmed: no Sewer-ML image is in them, and scores on them \
             say nothing about scores on Sewer-ML"
                .into(),
            "class frequencies are those of Sewer-ML's training split, but classes occur independently of each \
             other and every image is its own pipe: there are no videos"
                .into(),
        ],
    }
}

/// Draws `scene` on `side` x `side` pixels.
pub fn draw(scene: &Scene, side: usize) -> Image {
    let light = render::trace(scene, side);
    Image::new(side, side, scene.finish.develop(&light, side))
}

struct Synthetic {
    split: &'static str,
    seed: Seed,
    side: usize,
    labels: Vec<Labels>,
    digest: String,
}

impl Synthetic {
    fn new(split: &'static str, seed: Seed, images: usize, side: usize, defect_share: f64) -> Self {
        let seed = seed.child("synthetic").child(split);
        let frequencies = Frequencies::published();
        let labels = (0..images)
            .map(|index| {
                let mut draws = Draws::new(seed.index(index).child("labels"));
                let defect = draws.coin(defect_share);
                let classes = if defect { frequencies.draw(&mut draws) } else { ClassSet::EMPTY };
                Labels { defect, classes, stratum: classes.bits() }
            })
            .collect();
        // The seed is private to its module; a number drawn from it stands for it.
        let fingerprint = seed.child("digest").stream().unit().to_bits();
        let identity = format!("{VERSION}/{split}/{fingerprint:016x}/{images}/{side}");
        Self { split, seed, side, labels, digest: blake3::hash(identity.as_bytes()).to_hex().to_string() }
    }
}

impl Dataset for Synthetic {
    fn labels(&self) -> &[Labels] {
        &self.labels
    }

    fn open(&self, index: usize) -> Result<Image> {
        let labels = self.labels.get(index).ok_or_else(|| {
            let n = self.labels.len();
            anyhow::anyhow!("synthetic {}: no image {index}: there are {n}; ask for more images", self.split)
        })?;
        let scene = Scene::sample(self.seed.index(index), labels.classes);
        Ok(draw(&scene, self.side))
    }

    fn place(&self, index: usize) -> String {
        let codes: Vec<_> = self.labels[index].classes.iter().map(|class| class.code()).collect();
        let shows = if codes.is_empty() { "normal".to_string() } else { codes.join("+") };
        format!("synthetic {} image {index} ({shows})", self.split)
    }

    fn digest(&self) -> String {
        self.digest.clone()
    }
}
