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
    pub fn scored(self, papers: Scored) -> Scored {
        if self.is_auroc() { Scored { classifier: Classifier::Converged, ..papers } } else { papers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::Axes, backbone::Name::ResNet18, data::Share, method::Name::Byol};

    /// For each yardstick: its name, whether it averages, and the score and classifier that it uses in place of recall
    /// of the classifier in training.
    #[test]
    fn yardsticks_differ_in_score_and_in_averaging() {
        let at = Axes::table_1(Byol, ResNet18, Share::percent(5)).in_training().on(Share::percent(2));
        let told: Vec<_> = Yardstick::ALL
            .iter()
            .map(|yardstick| {
                let found = yardstick.scored(at);
                assert_eq!((found.cell, found.validation), (at.cell, at.validation));
                let measure = yardstick.measure(Metric::Recall);
                (yardstick.id(), yardstick.averages(), measure.id().to_owned(), found.classifier.id())
            })
            .collect();
        let expected = [
            ("paper", false, "recall", "in_training"),
            ("paper_average", true, "recall", "in_training"),
            ("auroc", false, "auroc", "converged"),
            ("auroc_average", true, "auroc", "converged"),
        ];
        let expected = expected.map(|(id, averages, measure, at)| (id, averages, measure.to_owned(), at));
        assert_eq!(told, expected);
        assert_eq!(Yardstick::SCORES.map(Yardstick::id), ["paper", "auroc"]);
        assert_eq!(Yardstick::PAPER_ONLY.map(Yardstick::id), ["paper"]);
    }

    #[test]
    fn labels_say_the_score_and_the_shares() {
        let labels = Yardstick::ALL.map(Yardstick::label);
        assert_eq!(
            labels,
            [
                "the paper's score, every share",
                "the paper's score, average over shares",
                "AUROC of the converged probe, every share",
                "AUROC of the converged probe, average over shares"
            ]
        );
    }
}
