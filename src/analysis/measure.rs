//! Measures: the values that a row of the long table holds besides its axes, such as scores and label-free metrics.
//!
//! A measure cannot be misspelt: it is one of the constants here, a [`Metric`], or read from a table.

use std::{borrow::Cow, fmt};

use crate::results::Metric;

/// The name of a measure.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Measure(Cow<'static, str>);

impl Measure {
    /// Number of normal validation images that a score is computed on.
    pub const NORMALS: Self = Self(Cow::Borrowed("normals"));
    /// Number of validation images with a defect that a score is computed on.
    pub const DEFECTS: Self = Self(Cow::Borrowed("defects"));
    /// Standard error of AUROC over groups of validation images.
    pub const AUROC_ERROR: Self = Self(Cow::Borrowed("auroc_error"));
    /// Seconds of training per epoch.
    pub const EPOCH_SECONDS: Self = Self(Cow::Borrowed("cost.epoch_seconds"));
    /// Seconds of training.
    pub const TRAIN_SECONDS: Self = Self(Cow::Borrowed("cost.train_seconds"));
    /// Seconds of everything after training.
    pub const EVALUATE_SECONDS: Self = Self(Cow::Borrowed("cost.evaluate_seconds"));
    /// Source images per second of training.
    pub const IMAGES_PER_SECOND: Self = Self(Cow::Borrowed("cost.images_per_second"));
    /// RankMe as the authors computed it: on mini-batches of backbone features, in the last epoch.
    pub const RANKME_RELEASED: Self = Self(Cow::Borrowed("monitor.rankme_released"));
    /// RankMe as its own paper defines it: on embeddings of many images, in the last epoch.
    pub const RANKME: Self = Self(Cow::Borrowed("monitor.rankme"));
    /// RankMe of features divided by its maximum.
    pub const RANKME_NORMALISED: Self = Self(Cow::Borrowed("features.rankme_normalised"));

    /// Every constant: the measures that claims, tables and figures use besides scores.
    pub const KNOWN: [Self; 10] = [
        Self::NORMALS,
        Self::DEFECTS,
        Self::AUROC_ERROR,
        Self::EPOCH_SECONDS,
        Self::TRAIN_SECONDS,
        Self::EVALUATE_SECONDS,
        Self::IMAGES_PER_SECOND,
        Self::RANKME_RELEASED,
        Self::RANKME,
        Self::RANKME_NORMALISED,
    ];

    /// Accepts any name, for code that fills or reads a table.
    pub(super) fn named(name: String) -> Self {
        Self(Cow::Owned(name))
    }

    /// Returns the unique spelling: a score's field in records, or a dotted name such as `features.rankme`.
    pub fn id(&self) -> &str {
        &self.0
    }

    /// Whether it is measured without labels and could select models: a metric of features, embeddings or views, or a
    /// rank in the last epoch.
    pub fn is_label_free(&self) -> bool {
        let name = self.id();
        let part = ["features.", "embeddings.", "views."].iter().any(|part| name.starts_with(part));
        // The number of images and views and the maximum of a rank say nothing about features.
        let size = ["images", "bound", "views.views"].iter().any(|size| name.contains(size));
        (part || name.starts_with(Self::RANKME.id())) && !size
    }

    /// Whether it may rank the models of one method and backbone. There the maximum is a constant, so the normalised
    /// form of a measure ranks models exactly as the measure does and is left out.
    pub fn is_label_free_within(&self) -> bool {
        self.is_label_free() && !self.id().ends_with("_normalised") && !self.id().ends_with(".rows")
    }

    /// Whether it is divided by its maximum.
    pub fn is_normalised(&self) -> bool {
        self.id().ends_with("_normalised")
    }
}

impl From<Metric> for Measure {
    fn from(metric: Metric) -> Self {
        Self(Cow::Borrowed(metric.id()))
    }
}

impl From<&Measure> for Measure {
    fn from(measure: &Measure) -> Self {
        measure.clone()
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.id())
    }
}

/// A measure of any name, for tests that fill a table.
#[cfg(test)]
pub(crate) fn of_name(name: &str) -> Measure {
    Measure::named(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_no_label_free_measures() {
        let is = |name: &str| {
            let measure = Measure::named(name.to_owned());
            (measure.is_label_free(), measure.is_label_free_within())
        };
        assert_eq!(is("features.alpha_req"), (true, true));
        assert_eq!(is("monitor.rankme_released"), (true, true));
        assert_eq!(is("features.rankme_normalised"), (true, false));
        assert_eq!(is("features.rows"), (true, false));
        assert_eq!([is("embeddings.rankme"), is("views.lidar"), is("monitor.rankme")], [(true, true); 3]);
        assert_eq!([is("views.lidar_normalised"), is("embeddings.rows")], [(true, false); 2]);
        let sizes = ["monitor.rankme_bound", "features.rankme_bound", "views.images", "views.views"];
        let others = ["f1", "monitor.features_mean", "first_monitor.rankme", "loss"];
        for name in sizes.into_iter().chain(others) {
            assert_eq!(is(name), (false, false), "{name}");
        }
    }

    /// Constants have the names under which records' values are stored in the table.
    #[test]
    fn known_measures_have_the_names_that_readers_fill() {
        let ids: Vec<&str> = Measure::KNOWN.iter().map(Measure::id).collect();
        assert_eq!(
            ids,
            [
                "normals",
                "defects",
                "auroc_error",
                "cost.epoch_seconds",
                "cost.train_seconds",
                "cost.evaluate_seconds",
                "cost.images_per_second",
                "monitor.rankme_released",
                "monitor.rankme",
                "features.rankme_normalised",
            ]
        );
        assert_eq!(Measure::from(Metric::F2Oracle).id(), "f2_ciw_oracle");
        assert_eq!(format!("{:>9}|{:<9}|", Measure::NORMALS, Measure::DEFECTS), "  normals|defects  |");
        let normalised: Vec<bool> = Measure::KNOWN.iter().map(Measure::is_normalised).collect();
        assert_eq!(normalised, [[false; 9].as_slice(), &[true]].concat());
    }
}
