//! Claims: the paper's sentences as predicates with a verdict: holds, fails, the same, undecided.
//!
//! A claim is judged on one [`Evidence`]: the paper's own printed numbers, or records of one setting. The same
//! predicate judges both, and each claim that compares scores is judged by several [`Yardstick`]s. The spread over
//! seeds comes from [`crate::analysis::noise`], cell by cell. If records differ by chance alone, a verdict is wrong
//! in at most 5 % of studies, however seeds spread (`benchmarks/cells/judge` measures how often):
//!
//! - *holds*, if every comparison in the claim is beyond what new seeds do;
//! - *fails*, if one of them is significantly reversed;
//! - *the same*, if all of them are within a margin of 0, so that the choice makes no difference;
//! - *undecided* otherwise, together with what would decide it ([`Outlook`]); also if nothing was measured or the
//!   spread over seeds is unknown, as with a single run per cell.
//!
//! The paper has one run per cell. Its seeds are assumed to spread by [`evidence::ASSUMED_DEVIATION`], which is ours.
//! Independent of files and of how verdicts are displayed.

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
use judging::OpenComparisons;

/// Verdict on a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Every comparison is beyond what new seeds do.
    Holds,
    /// One comparison is significantly reversed.
    Fails,
    /// All comparisons are within the margin.
    Same,
    /// There are too few seeds, or it was never measured.
    Undecided,
}

impl Verdict {
    /// All verdicts.
    pub const ALL: [Self; 4] = [Self::Holds, Self::Fails, Self::Same, Self::Undecided];

    /// Returns the spelling used in tables and in the report.
    pub fn id(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Same => "the same",
            Self::Undecided => "undecided",
        }
    }
}

/// A claim: a sentence that can be true or false.
pub struct Claim {
    /// Its name in tables and on command lines.
    pub id: &'static str,
    /// Section of the paper; `ours` for questions of ours.
    pub section: &'static str,
    /// The sentence as quoted from the paper.
    pub quote: &'static str,
    /// The condition under which it is true, in words.
    pub predicate: &'static str,
    /// Remarks beyond numbers: contradictions, arithmetic, other readings.
    pub note: &'static str,
    /// The ways to judge it, the paper's own first.
    pub yardsticks: &'static [Yardstick],
    judge: fn(&Evidence, Yardstick) -> Finding,
}

/// A verdict with its reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The verdict.
    pub verdict: Verdict,
    /// The numbers behind the verdict, one per line, the most important first.
    pub evidence: Vec<String>,
    /// What would be needed but was not measured.
    pub missing: Vec<String>,
    /// Comparisons that do not settle the claim.
    open: Option<OpenComparisons>,
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

    /// Judges the claim by all its yardsticks, the paper's own first; for the paper's numbers, only by those that it
    /// prints.
    pub fn judge_all(&self, evidence: &Evidence) -> Vec<(Yardstick, Finding)> {
        let known = |yardstick: &&Yardstick| evidence.name != PAPER || !yardstick.is_auroc();
        let yardsticks = self.yardsticks.iter().filter(known);
        yardsticks.map(|&yardstick| (yardstick, self.judge_by(evidence, yardstick))).collect()
    }
}

impl Finding {
    /// Returns what an undecided claim could have shown, and what would decide it; `None` for other verdicts, or if
    /// comparisons are missing or there are none. Takes a few milliseconds.
    pub fn outlook(&self, evidence: &Evidence) -> Option<Outlook> {
        Outlook::of(evidence, self.open.as_ref()?)
    }

    /// Undecided, because nothing was measured.
    fn unmeasured(what: impl Into<String>) -> Self {
        Self { missing: vec![what.into()], ..Self::new(Verdict::Undecided, Vec::new()) }
    }

    /// A verdict with its numbers, without missing comparisons.
    fn new(verdict: Verdict, evidence: Vec<String>) -> Self {
        Self { verdict, evidence, missing: Vec::new(), open: None }
    }
}

/// Name of the evidence from the paper's own numbers.
pub const PAPER: &str = "paper";

/// Returns the paper's own printed numbers as evidence.
pub fn paper() -> Evidence {
    Evidence::assumed(PAPER, &published::frame(), evidence::ASSUMED_DEVIATION)
}

/// Returns every claim, in the order of the paper.
pub fn all() -> Vec<&'static Claim> {
    [&methods::CLAIMS[..], &imbalance::CLAIMS, &label_free::CLAIMS, &protocol::CLAIMS]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests;
