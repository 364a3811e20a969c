//! By which score a claim is judged, and whether at every share or on average over shares.
//!
//! The paper's sentences are about F1 of a classifier in training, whose seeds spread nearly as far as methods do. So a
//! claim that compares scores is also judged by the area under the ROC curve of the converged probe, and, since one
//! reversed share among five refutes the strict sentence, also on average over its shares.

use crate::{
    analysis::{Measure, Scored},
    named::named,
    results::{Classifier, Metric},
};

named! {
    /// A way to judge a claim. The first is the paper's own.
    pub enum Yardstick: "yardstick" {
        /// The score that the paper names, at every share.
        Paper = "paper",
        /// The same, on average over shares.
        PaperAverage = "paper_average",
        /// AUROC of the converged probe, at every share.
        Auroc = "auroc",
        /// The same, on average over shares.
        AurocAverage = "auroc_average",
    }
}

impl Yardstick {
    /// Of claims that do not compare scores.
    pub const PAPER_ONLY: [Self; 1] = [Self::Paper];
    /// Of claims about one share.
    pub const SCORES: [Self; 2] = [Self::Paper, Self::Auroc];
    /// As tables print it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Paper => "the paper's score, every share",
            Self::PaperAverage => "the paper's score, average over shares",
            Self::Auroc => "AUROC of the converged probe, every share",
            Self::AurocAverage => "AUROC of the converged probe, average over shares",
        }
    }

    /// Whether shares are averaged before anything is compared.
    pub const fn averages(self) -> bool {
        matches!(self, Self::PaperAverage | Self::AurocAverage)
    }

    /// Whether it goes by AUROC instead of the paper's score.
    pub const fn is_auroc(self) -> bool {
        matches!(self, Self::Auroc | Self::AurocAverage)
    }

    /// The score that stands for the paper's.
    pub fn measure(self, papers: impl Into<Measure>) -> Measure {
        if self.is_auroc() { Metric::Auroc.into() } else { papers.into() }
    }

    /// What is scored, where the paper scores its classifier in training.
    pub fn at(self, papers: Scored) -> Scored {
        if self.is_auroc() { Scored { classifier: Classifier::Converged, ..papers } } else { papers }
    }
}
