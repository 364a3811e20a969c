//! The axes of what was measured, typed: read once from a record, and used by everything above it.

use anyhow::{Context, Result, ensure};

use crate::{
    backbone,
    data::Share,
    method,
    results::{Classifier, record::CellAxes},
    study::Study,
};

/// What cells share that differ in their seed only. In tables they stand in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Axes {
    /// With what it varies besides.
    pub study: Study,
    /// None of the floors, which nobody trained.
    pub method: Option<method::Name>,
    /// None where there is no network, but pixels.
    pub backbone: Option<backbone::Name>,
    /// Of defects in training.
    pub share: Share,
}

/// What is scored: a classifier on validation images of a share. One score a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scored {
    /// Whose model.
    pub cell: Axes,
    /// Which of its classifiers.
    pub classifier: Classifier,
    /// Of defects in validation; the data's own for all validation images.
    pub validation: Share,
}

/// In records, for a cell that nobody trained.
const NOBODY: &str = "none";
/// In records, for a cell without a network.
const PIXELS: &str = "pixels";

impl Axes {
    /// A cell of Table 1.
    pub const fn table_1(method: method::Name, backbone: backbone::Name, share: Share) -> Self {
        Self { study: Study::Table1, method: Some(method), backbone: Some(backbone), share }
    }

    /// The cell of a method and backbone that a run trains at a share: of Table 1, or of an extension where the paper does
    /// not have that share.
    pub fn trained(method: method::Name, backbone: backbone::Name, share: Share) -> Self {
        let study = if Share::STUDY.contains(&share) { Study::Table1 } else { Study::Extension };
        Self::table_1(method, backbone, share).in_study(study)
    }

    /// The floor of random weights.
    pub const fn random_weights(backbone: backbone::Name, share: Share) -> Self {
        Self { study: Study::RandomWeights, method: None, backbone: Some(backbone), share }
    }

    /// The floor of weights from a file.
    pub const fn given_weights(backbone: backbone::Name, share: Share) -> Self {
        Self { study: Study::GivenWeights, method: None, backbone: Some(backbone), share }
    }

    /// The floor of pixels.
    pub const fn pixels(share: Share) -> Self {
        Self { study: Study::Pixels, method: None, backbone: None, share }
    }

    /// Whether a method was trained as its recipe says, at one of the paper's shares or another: what there is to choose
    /// between.
    pub const fn is_an_arm(&self) -> bool {
        matches!(self.study, Study::Table1 | Study::Extension)
    }

    /// Whether it is something to choose: an arm, or one that labels have fine-tuned.
    pub const fn is_a_candidate(&self) -> bool {
        self.is_an_arm() || matches!(self.study, Study::FineTuned)
    }

    /// Whether nothing was trained: what must be beaten.
    pub const fn is_floor(&self) -> bool {
        self.study.is_floor()
    }

    /// The axes of a record.
    ///
    /// # Errors
    /// If this build does not know its study, method or backbone, or its share is none.
    pub fn of(cell: &CellAxes) -> Result<Self> {
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

    /// The same cell in another study.
    #[must_use]
    pub const fn in_study(self, study: Study) -> Self {
        Self { study, ..self }
    }

    /// Its classifier in training, on all validation images: what the paper scores.
    pub const fn in_training(self) -> Scored {
        Scored { cell: self, classifier: Classifier::InTraining, validation: Share::NATURAL }
    }

    /// Its converged probe, on all validation images.
    pub const fn converged(self) -> Scored {
        Scored { cell: self, classifier: Classifier::Converged, validation: Share::NATURAL }
    }

    /// Its name on command lines and in files, without the seed: `table1/simclr-resnet18-share05`. Of arms and floors only:
    /// other studies vary more.
    pub fn stem(self) -> String {
        format!("{}/{}-{}-{}", self.study.id(), self.method_id(), self.backbone_id(), self.share.id())
    }

    /// The method as records spell it.
    pub fn method_id(self) -> &'static str {
        self.method.map_or(NOBODY, method::Name::id)
    }

    /// The backbone as records spell it.
    pub fn backbone_id(self) -> &'static str {
        self.backbone.map_or(PIXELS, backbone::Name::id)
    }
}

impl Scored {
    /// The same on validation images of a share.
    #[must_use]
    pub const fn on(self, validation: Share) -> Self {
        Self { validation, ..self }
    }
}

fn optional<T: std::str::FromStr<Err = anyhow::Error>>(text: &str, none: &str) -> Result<Option<T>> {
    if text == none { Ok(None) } else { text.parse().map(Some) }
}

/// `5 %`, `0.5 %`, `natural`.
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
        assert_eq!(Axes::of(&cell).unwrap(), expected);
        assert_eq!(format!("{}-seed0", expected.stem()), cell.id);
        let floor = CellAxes {
            study: "pixels".into(),
            method: "none".into(),
            backbone: "pixels".into(),
            train_share: None,
            ..cell.clone()
        };
        let axes = Axes::of(&floor).unwrap();
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
            let error = format!("{:#}", Axes::of(&other).unwrap_err());
            assert!(error.contains(expected) && error.contains(&cell.id), "{error}");
        }
    }
}
