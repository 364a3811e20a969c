//! Yardsticks: the score by which a claim is judged, and whether at every share or on average over shares.
//!
//! The paper's sentences refer to F1 of the classifier in training, which varies over seeds nearly as much as between
//! methods. Claims that compare scores are therefore also judged by AUROC of the converged probe. Since one reversed
//! share among five refutes the strict sentence, they are also judged on average over shares.

use crate::{
    analysis::{Measure, Scored},
    named::named,
    results::{Classifier, Metric},
};

named! {
    /// A way to judge a claim. The first is the paper's own.
    pub enum Yardstick: "yardstick" {
        /// The score that the paper uses, at every share.
        Paper = "paper",
        /// The score that the paper uses, on average over shares.
        PaperAverage = "paper_average",
        /// AUROC of the converged probe, at every share.
        Auroc = "auroc",
        /// AUROC of the converged probe, on average over shares.
        AurocAverage = "auroc_average",
    }
}

impl Yardstick {
    /// Yardstick of claims that do not compare scores.
    pub const PAPER_ONLY: [Self; 1] = [Self::Paper];
    /// Yardsticks of claims about one share.
    pub const SCORES: [Self; 2] = [Self::Paper, Self::Auroc];
    /// Returns the label used in tables.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Paper => "the paper's score, every share",
            Self::PaperAverage => "the paper's score, average over shares",
            Self::Auroc => "AUROC of the converged probe, every share",
            Self::AurocAverage => "AUROC of the converged probe, average over shares",
        }
    }

    /// Whether scores are averaged over shares before they are compared.
    pub const fn averages(self) -> bool {
        matches!(self, Self::PaperAverage | Self::AurocAverage)
    }

    /// Whether it uses AUROC instead of the paper's score.
    pub const fn is_auroc(self) -> bool {
        matches!(self, Self::Auroc | Self::AurocAverage)
    }

    /// Returns the score used in place of the paper's.
    pub fn measure(self, papers: impl Into<Measure>) -> Measure {
        if self.is_auroc() { Metric::Auroc.into() } else { papers.into() }
    }

    /// Returns what is scored in place of the paper's classifier in training.
    pub fn at(self, papers: Scored) -> Scored {
        if self.is_auroc() { Scored { classifier: Classifier::Converged, ..papers } } else { papers }
    }
}
