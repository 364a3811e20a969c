//! Typed axes of a measurement, parsed once from a record and used by everything above it.

use anyhow::{Context, Result, ensure};

use crate::{
    backbone,
    data::Share,
    method,
    results::{Classifier, record::CellAxes},
    study::Study,
};

/// The axes of a cell without its seed. The order of fields is the order of rows in tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Axes {
    /// The study, with whatever it varies besides the other axes.
    pub study: Study,
    /// `None` for floors, which are not trained by any method.
    pub method: Option<method::Name>,
    /// `None` for the floor of pixels, which has no network.
    pub backbone: Option<backbone::Name>,
    /// Share of defects in the training subset.
    pub share: Share,
}

/// What is scored: a classifier of a cell on validation images with one share of defects. It has one score per seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scored {
    /// The cell that the classifier belongs to.
    pub cell: Axes,
    /// Which classifier of that cell.
    pub classifier: Classifier,
    /// Share of defects in validation; natural if all validation images are used.
    pub validation: Share,
}

/// Method in the records of cells that were not trained.
const NOBODY: &str = "none";
/// Backbone in the records of cells without a network.
const PIXELS: &str = "pixels";

impl Axes {
    /// Axes of a cell of Table 1.
    pub const fn table_1(method: method::Name, backbone: backbone::Name, share: Share) -> Self {
        Self { study: Study::Table1, method: Some(method), backbone: Some(backbone), share }
    }

    /// Axes of the cell that a run trains at a share: in Table 1, or in the extension if the paper does not have that
    /// share.
    pub fn trained(method: method::Name, backbone: backbone::Name, share: Share) -> Self {
        let study = if Share::STUDY.contains(&share) { Study::Table1 } else { Study::Extension };
        Self::table_1(method, backbone, share).in_study(study)
    }

    /// Axes of the floor of random weights.
    pub const fn random_weights(backbone: backbone::Name, share: Share) -> Self {
        Self { study: Study::RandomWeights, method: None, backbone: Some(backbone), share }
    }

    /// Axes of the floor of weights from a file.
    pub const fn given_weights(backbone: backbone::Name, share: Share) -> Self {
        Self { study: Study::GivenWeights, method: None, backbone: Some(backbone), share }
    }

    /// Axes of the floor of pixels.
    pub const fn pixels(share: Share) -> Self {
        Self { study: Study::Pixels, method: None, backbone: None, share }
    }

    /// Whether it is an arm: a method trained by its own recipe, at one of the paper's shares or another.
    pub const fn is_an_arm(&self) -> bool {
        matches!(self.study, Study::Table1 | Study::Extension)
    }

    /// Whether it can be recommended: an arm, or an encoder fine-tuned with labels.
    pub const fn is_a_candidate(&self) -> bool {
        self.is_an_arm() || matches!(self.study, Study::FineTuned)
    }

    /// Whether it is a floor: nothing was trained, and every method must beat it.
    pub const fn is_floor(&self) -> bool {
        self.study.is_floor()
    }

    /// Parses the axes of a record.
    ///
    /// # Errors
    /// If this build does not have its study, method or backbone, or if its share is invalid.
    pub fn from_record(cell: &CellAxes) -> Result<Self> {
        let known = || -> Result<Self> {
            Ok(Self {
                study: Study::read(&cell.study, cell.variant.as_deref())?,
                method: optional(&cell.method, NOBODY)?,
                backbone: optional(&cell.backbone, PIXELS)?,
                share: Share::from_fraction(cell.train_share)?,
            })
        };
        let axes = known().with_context(|| format!("cell '{}'", cell.id))?;
        ensure!(axes.is_floor() == axes.method.is_none(), "cell '{}': only floors have no method", cell.id);
        Ok(axes)
    }

    /// Returns the same axes in another study.
    #[must_use]
    pub const fn in_study(self, study: Study) -> Self {
        Self { study, ..self }
    }

    /// Returns the classifier in training of the cell, on all validation images: what the paper scores.
    pub const fn in_training(self) -> Scored {
        Scored { cell: self, classifier: Classifier::InTraining, validation: Share::NATURAL }
    }

    /// Returns the converged probe of the cell, on all validation images.
    pub const fn converged(self) -> Scored {
        Scored { cell: self, classifier: Classifier::Converged, validation: Share::NATURAL }
    }

    /// Returns the cell's name on command lines and in files, without the seed: `table1/simclr-resnet18-share05`.
    ///
    /// Only for arms and floors: other studies vary more than the name states.
    pub fn stem(self) -> String {
        format!("{}/{}-{}-{}", self.study.id(), self.method_id(), self.backbone_id(), self.share.id())
    }

    /// Returns the method as records spell it.
    pub fn method_id(self) -> &'static str {
        self.method.map_or(NOBODY, method::Name::id)
    }

    /// Returns the backbone as records spell it.
    pub fn backbone_id(self) -> &'static str {
        self.backbone.map_or(PIXELS, backbone::Name::id)
    }
}

impl Scored {
    /// Returns the same classifier on validation images with another share of defects.
    #[must_use]
    pub const fn on(self, validation: Share) -> Self {
        Self { validation, ..self }
    }
}

fn optional<T: std::str::FromStr<Err = anyhow::Error>>(text: &str, none: &str) -> Result<Option<T>> {
    if text == none { Ok(None) } else { text.parse().map(Some) }
}

/// Formats a share: `5 %`, `0.5 %`, `natural`.
pub fn percent(share: Share) -> String {
    share.in_percent().map_or_else(|| "natural".to_owned(), |percent| format!("{percent} %"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::example;

    #[test]
    fn axes_are_read_from_records() {
        let cell = example::record().cell;
        let expected = Axes::table_1(method::Name::SimClr, backbone::Name::ResNet18, Share::percent(5));
        assert_eq!(Axes::from_record(&cell).unwrap(), expected);
        assert_eq!(format!("{}-seed0", expected.stem()), cell.id);
        let floor = CellAxes {
            study: "pixels".into(),
            method: "none".into(),
            backbone: "pixels".into(),
            train_share: None,
            ..cell.clone()
        };
        let axes = Axes::from_record(&floor).unwrap();
        assert_eq!((axes.method, axes.backbone, axes.share), (None, None, Share::NATURAL));
        assert_eq!((axes.method_id(), axes.backbone_id()), ("none", "pixels"));
        assert_eq!(
            (axes, axes.stem().as_str()),
            (Axes::pixels(Share::NATURAL), "pixels/none-pixels-natural")
        );
        assert_eq!((percent(axes.share), percent(expected.share)), ("natural".into(), "5 %".into()));

        for (other, expected) in [
            (CellAxes { method: "moco".into(), ..cell.clone() }, "no method called 'moco'"),
            (CellAxes { backbone: "vgg".into(), ..cell.clone() }, "no backbone called 'vgg'"),
            (CellAxes { train_share: Some(1.5), ..cell.clone() }, "found 1.5"),
            (CellAxes { method: "none".into(), ..cell.clone() }, "only floors have no method"),
        ] {
            let error = format!("{:#}", Axes::from_record(&other).unwrap_err());
            assert!(error.contains(expected) && error.contains(&cell.id), "{error}");
        }
    }

    /// Each constructor puts its cell into the right study; stem and kind follow from it.
    #[test]
    fn cells_are_built_where_they_belong() {
        use backbone::Name::{ResNet18, ViTTiny};
        use method::Name::{Dino, Mae};
        let stems = [
            (Axes::trained(Dino, ViTTiny, Share::percent(15)), "table1/dino-vit_tiny-share15"),
            (Axes::trained(Mae, ViTTiny, Share::percent(30)), "extension/mae-vit_tiny-share30"),
            (Axes::trained(Mae, ViTTiny, Share::NATURAL), "extension/mae-vit_tiny-natural"),
            (Axes::random_weights(ViTTiny, Share::percent(2)), "random_weights/none-vit_tiny-share02"),
            (Axes::given_weights(ResNet18, Share::percent(1)), "given_weights/none-resnet18-share01"),
            (Axes::pixels(Share::percent(5)), "pixels/none-pixels-share05"),
            (
                Axes::table_1(Dino, ResNet18, Share::percent(5)).in_study(Study::FineTuned),
                "fine_tuned/dino-resnet18-share05",
            ),
            (
                Axes::table_1(Dino, ResNet18, Share::percent(5)).in_study(Study::SizeMatched),
                "size_matched/dino-resnet18-share05",
            ),
        ];
        let kinds = |cell: &Axes| (cell.is_an_arm(), cell.is_a_candidate(), cell.is_floor());
        let (arm, candidate, floor, neither) =
            ((true, true, false), (false, true, false), (false, false, true), (false, false, false));
        let expected = [arm, arm, arm, floor, floor, floor, candidate, neither];
        for ((cell, stem), expected) in stems.iter().zip(expected) {
            assert_eq!((cell.stem().as_str(), kinds(cell)), (*stem, expected));
        }
    }

    #[test]
    fn what_is_scored_is_a_classifier_on_images_with_a_share() {
        let cell = Axes::table_1(method::Name::Byol, backbone::Name::ResNet18, Share::percent(2));
        let (training, converged) = (cell.in_training(), cell.converged());
        assert_eq!(
            (training.classifier, converged.classifier),
            (Classifier::InTraining, Classifier::Converged)
        );
        assert_eq!((training.validation, converged.validation), (Share::NATURAL, Share::NATURAL));
        let fewer = converged.on(Share::percent(15));
        assert_eq!((fewer.validation, fewer.cell.share), (Share::percent(15), Share::percent(2)));
        assert_eq!((fewer.cell, fewer.classifier), (cell, Classifier::Converged));
        let half = Share::from_fraction(Some(0.005)).unwrap();
        assert_eq!([percent(half), percent(Share::percent(45))], ["0.5 %", "45 %"]);
    }

    /// A floor has no method, whatever else is right about it.
    #[test]
    fn floors_with_a_method_are_refused() {
        for study in ["random_weights", "given_weights", "pixels"] {
            let cell = CellAxes { study: study.into(), id: "a/b".into(), ..example::record().cell };
            let error = Axes::from_record(&cell).unwrap_err().to_string();
            assert_eq!(error, "cell 'a/b': only floors have no method", "{study}");
        }
    }

    #[test]
    fn a_study_that_is_not_known_is_named_with_its_cell() {
        for (study, variant, expected) in [
            ("table9", None, "no study called 'table9'"),
            ("table1", Some("side128"), "study 'table1' has no variant 'side128'"),
            ("table2", None, "expected 'side' and a number, found ''"),
        ] {
            let cell = CellAxes {
                study: study.into(),
                variant: variant.map(str::to_owned),
                id: "a/b".into(),
                ..example::record().cell
            };
            let error = format!("{:#}", Axes::from_record(&cell).unwrap_err());
            assert_eq!(error, format!("cell 'a/b': {expected}"));
        }
    }
}
