//! What the paper says, sentence by sentence, as predicates with a verdict: holds, fails, undecided.
//!
//! A claim is judged on one [`Evidence`]: the paper's own printed numbers, or records of one setting. The same
//! predicate judges both. How far seeds spread is [`crate::analysis::noise`]'s, share by share. Where cells of one share
//! spread alike, a verdict is wrong for a claim that chance alone made at most one time in twenty
//! (`benchmarks/cells/judge.rs` measures how often, under that assumption):
//!
//! - *holds*, where every comparison that the claim makes is above what new seeds do (each at 97.5 %, one side; all of
//!   them must pass, so none needs a correction);
//! - *fails*, where one of them is significantly the other way, after Holm's correction;
//! - *undecided* otherwise, and where nothing was measured or nothing is known of seeds: one run a cell says little.
//!
//! The paper has one run a cell. Its seeds are taken to spread by [`evidence::ASSUMED_DEVIATION`], which is ours.
//! Knows nothing of files or of how verdicts are shown.

pub mod evidence;
mod imbalance;
pub mod label_free;
mod methods;
mod protocol;

pub use evidence::Evidence;

use crate::analysis::published;

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Every comparison is beyond what new seeds do.
    Holds,
    /// One is significantly the other way.
    Fails,
    /// Too few seeds, or never measured.
    Undecided,
}

impl Verdict {
    /// The one spelling used in tables and in the report.
    pub fn id(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
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
    judge: fn(&Evidence) -> Finding,
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
}

impl Claim {
    /// Judges the claim on what was measured.
    pub fn judge(&self, evidence: &Evidence) -> Finding {
        (self.judge)(evidence)
    }
}

impl Finding {
    /// Nothing to judge on.
    fn unmeasured(what: impl Into<String>) -> Self {
        Self { verdict: Verdict::Undecided, evidence: Vec::new(), missing: vec![what.into()] }
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
