//! What the paper says, sentence by sentence, as predicates with a verdict: holds, fails, the same, undecided.
//!
//! A claim is judged on one [`Evidence`]: the paper's own printed numbers, or records of one setting. The same
//! predicate judges both, and each claim that compares scores is judged by several [`Yardstick`]s. How far seeds spread
//! is [`crate::analysis::noise`]'s, cell by cell. A verdict is wrong at most one time in twenty where chance alone made
//! the records, however seeds spread (`benchmarks/cells/judge` measures how often):
//!
//! - *holds*, where every comparison that the claim makes is above what new seeds do;
//! - *fails*, where one of them is significantly the other way;
//! - *the same*, where all of them are within a margin of 0: whoever must choose loses nothing either way;
//! - *undecided* otherwise, with what would decide it ([`Outlook`]), and where nothing was measured or nothing is known
//!   of seeds: one run a cell says little.
//!
//! The paper has one run a cell. Its seeds are taken to spread by [`evidence::ASSUMED_DEVIATION`], which is ours.
//! Knows nothing about files or of how verdicts are shown.

mod contrast;
pub mod decision;
pub mod evidence;
mod imbalance;
mod judging;
pub mod label_free;
mod methods;
mod outlook;
mod protocol;
mod yardstick;

pub use decision::Card;
pub use evidence::Evidence;
pub use outlook::{Outlook, Plan};
pub use yardstick::Yardstick;

use crate::analysis::published;
use judging::Open;

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Every comparison is beyond what new seeds do.
    Holds,
    /// One is significantly the other way.
    Fails,
    /// All comparisons are within the margin.
    Same,
    /// Too few seeds, or never measured.
    Undecided,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Holds, Self::Fails, Self::Same, Self::Undecided];

    /// The one spelling used in tables and in the report.
    pub fn id(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Same => "the same",
            Self::Undecided => "undecided",
        }
    }
}

/// A sentence that can be true or false.
pub struct Claim {
    /// Name in tables and on command lines.
    pub id: &'static str,
    /// Where the paper says it; `ours` for a question of ours.
    pub section: &'static str,
    /// The paper's words.
    pub quote: &'static str,
    /// What would make it true, in words.
    pub predicate: &'static str,
    /// What is known about it besides numbers: contradictions, arithmetic, other readings.
    pub note: &'static str,
    /// How it can be judged, the paper's own way first.
    pub yardsticks: &'static [Yardstick],
    judge: fn(&Evidence, Yardstick) -> Finding,
}

/// A verdict and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What became of the claim.
    pub verdict: Verdict,
    /// Numbers behind the verdict, one a line, the weightiest first.
    pub evidence: Vec<String>,
    /// What would be needed and is not there.
    pub missing: Vec<String>,
    /// Comparisons that do not decide.
    open: Option<Open>,
}

impl Claim {
    /// Judges the claim as the paper means it.
    pub fn judge(&self, evidence: &Evidence) -> Finding {
        self.judge_by(evidence, Yardstick::Paper)
    }

    /// Judges the claim by one of its yardsticks.
    pub fn judge_by(&self, evidence: &Evidence, yardstick: Yardstick) -> Finding {
        (self.judge)(evidence, yardstick)
    }

    /// Judges the claim in every way, the paper's own first. The paper prints no score of a converged probe.
    pub fn judge_all(&self, evidence: &Evidence) -> Vec<(Yardstick, Finding)> {
        let known = |yardstick: &&Yardstick| evidence.name != PAPER || !yardstick.is_auroc();
        let yardsticks = self.yardsticks.iter().filter(known);
        yardsticks.map(|&yardstick| (yardstick, self.judge_by(evidence, yardstick))).collect()
    }
}

impl Finding {
    /// What an undecided claim could have shown, and what would decide it; none of others, where comparisons are
    /// missing, and where there are none. Takes some milliseconds.
    pub fn outlook(&self, evidence: &Evidence) -> Option<Outlook> {
        Outlook::of(evidence, self.open.as_ref()?)
    }

    /// Nothing to judge on.
    fn unmeasured(what: impl Into<String>) -> Self {
        Self { missing: vec![what.into()], ..Self::of(Verdict::Undecided, Vec::new()) }
    }

    /// A verdict with the numbers behind it, nothing missing.
    fn of(verdict: Verdict, evidence: Vec<String>) -> Self {
        Self { verdict, evidence, missing: Vec::new(), open: None }
    }
}

/// Name of the evidence that is the paper's own numbers.
pub const PAPER: &str = "paper";

/// The paper's own printed numbers.
pub fn paper() -> Evidence {
    Evidence::assumed(PAPER, &published::frame(), evidence::ASSUMED_DEVIATION)
}

/// Every claim, in the order of the paper.
pub fn all() -> Vec<&'static Claim> {
    [&methods::CLAIMS[..], &imbalance::CLAIMS, &label_free::CLAIMS, &protocol::CLAIMS]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests;
