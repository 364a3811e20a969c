//! The decision card: which method to choose at each share, given the records.
//!
//! At each training share, all arms (method and backbone) are ranked by AUROC of the converged probe. The card names
//! the best, every other arm that cannot be distinguished from it ([`Contest`]), its advantage over floors and over
//! supervised training, and the seeds that would settle what is open (`next`). `words` formats it; `commands`
//! says how to continue.
//!
//! Intervals are over seeds. Intervals of leads are corrected for choosing one arm among all (Bonferroni), whichever
//! is chosen. The effect of other validation images is stated separately ([`ImageUncertainty`]). Independent of the
//! paper: no share, method or data set is special.

mod commands;
mod next;
mod words;

pub use commands::RecordedCommand;
pub use next::{NextAction, Step};

use std::collections::BTreeSet;

use super::{Evidence, judging::TAIL};
use crate::{
    analysis::{
        Axes, Interval, Measure, Scored,
        best::{ALPHA, Contest},
        intervals::mean,
        noise::Weighed,
        test_images::auroc_error,
    },
    backbone,
    data::Share,
    method::Name::Supervised,
    results::{Classifier, Metric},
    study::Study,
};

/// The decision card of one training share.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// Share of defects in training.
    pub share: Share,
    /// AUROCs that differ by less are considered equal.
    pub margin: f64,
    /// Arms, sorted by AUROC in descending order.
    pub arms: Vec<Standing>,
    /// Floors.
    pub floors: Vec<Standing>,
    /// Comparison of the arms; `None` if the spread over seeds is unknown or nothing was trained.
    pub contest: Option<Contest>,
    /// Leads of the chosen arm over random and given weights, raw pixels, and supervised training of its backbone, if
    /// they were scored.
    pub leads: Vec<Lead>,
    /// Whether training beats the floors.
    pub worth: BeatsFloors,
    /// The effect of other validation images; `None` if records do not state their number.
    pub images: Option<ImageUncertainty>,
    /// The best detector that used no label in pretraining or afterwards; `None` if none was scored.
    pub unlabelled: Option<Unlabelled>,
    /// What to run next.
    pub next: NextAction,
    /// What is needed but was not measured, in words.
    pub missing: Vec<String>,
}

/// Results of one arm or floor.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The arm or floor.
    pub cell: Axes,
    /// AUROC of the converged probe on all validation images; the ends are infinite if the spread over seeds is
    /// unknown.
    pub auroc: Interval,
    /// Average precision, with its interval; `None` if records have none.
    pub average_precision: Option<Interval>,
    /// Number of seeds that have an AUROC.
    pub seeds: usize,
    /// Seconds for training and scoring one seed; `None` if records do not state them.
    pub seconds: Option<f64>,
}

/// A detector fitted to normal images alone, on the features of an arm or a floor.
#[derive(Clone, Debug, PartialEq)]
pub struct Unlabelled {
    /// The cell of the features, and the kind of distance.
    pub scored: Scored,
    /// AUROC on all validation images; the ends are infinite if the spread over seeds is unknown.
    pub auroc: Interval,
    /// Number of such detectors among which it is the best.
    pub among: usize,
}

/// Lead of an arm over a reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Lead {
    /// The reference.
    pub over: Axes,
    /// Difference in AUROC with its 95 % interval, corrected for choosing one arm among all; infinite ends if
    /// unknown.
    pub difference: Interval,
}

/// Whether some arm beats every floor that was scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeatsFloors {
    /// No floor was scored, or the spread over seeds is unknown.
    Unknown,
    /// The chosen arm if it beats all of them, otherwise the first that does, in the order of AUROC.
    Shown(Axes),
    /// No arm beats all of them.
    NotShown,
}

/// Uncertainty of AUROC due to the choice of validation images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageUncertainty {
    /// Validation images with a defect.
    pub defects: f64,
    /// Validation images without a defect.
    pub normals: f64,
    /// Standard error of AUROC over images (Hanley and McNeil 1982), or over groups (Obuchowski 1997).
    pub error: f64,
    /// Whether the error is over groups of images.
    pub grouped: bool,
}

/// Returns one card for each training share at which an arm or a floor was scored.
pub fn cards(evidence: &Evidence) -> Vec<Card> {
    let at = evidence.frame().filter_axes(|at| at.cell.is_a_candidate() || at.cell.is_floor()).axes();
    let cells: BTreeSet<Axes> = at.into_iter().map(|at| at.cell).collect();
    let shares: BTreeSet<Share> = cells.iter().map(|cell| cell.share).collect();
    shares.into_iter().map(|share| Card::of(evidence, share, &cells)).collect()
}

impl Card {
    fn of(evidence: &Evidence, share: Share, cells: &BTreeSet<Axes>) -> Self {
        let standings = |wanted: fn(&Axes) -> bool| -> Vec<Standing> {
            let here = cells.iter().filter(|cell| cell.share == share && wanted(cell));
            here.filter_map(|cell| Standing::of(evidence, *cell)).collect()
        };
        let mut arms = standings(Axes::is_a_candidate);
        arms.sort_by(|a, b| b.auroc.estimate.total_cmp(&a.auroc.estimate));
        let floors = standings(Axes::is_floor);
        let entries: Vec<_> =
            arms.iter().map(|arm| (arm.cell.converged(), arm.auroc.estimate, arm.seeds)).collect();
        let contest = Contest::compare(evidence.noise(), &auroc(), &entries, ALPHA);
        let next = NextAction::of(evidence, &arms, contest.as_ref());
        let mut card = Self {
            share,
            margin: evidence.margin(),
            arms,
            floors,
            contest,
            leads: Vec::new(),
            worth: BeatsFloors::Unknown,
            images: None,
            unlabelled: None,
            next,
            missing: Vec::new(),
        };
        card.worth = worth(evidence, &card);
        card.leads = card.leads(evidence);
        card.images = card.pick().and_then(|pick| ImageUncertainty::of(evidence, pick));
        card.unlabelled = card.unlabelled(evidence);
        card.missing = card.missing(evidence, cells);
        card
    }

    fn unlabelled(&self, evidence: &Evidence) -> Option<Unlabelled> {
        // Supervised training and fine-tuning have used every label.
        let cells = self.arms.iter().chain(&self.floors).map(|standing| standing.cell);
        let cells = cells.filter(|cell| cell.method != Some(Supervised) && cell.study != Study::FineTuned);
        let detectors = cells.flat_map(|cell| {
            Classifier::NORMALS_ONLY.map(|classifier| Scored { cell, classifier, validation: Share::NATURAL })
        });
        let scored: Vec<(Scored, Interval)> =
            detectors.filter_map(|at| Some((at, evidence.interval(Metric::Auroc, &at)?))).collect();
        let of = scored.len();
        let best = scored.into_iter().max_by(|a, b| a.1.estimate.total_cmp(&b.1.estimate));
        best.map(|(at, auroc)| Unlabelled { scored: at, auroc, among: of })
    }

    /// Returns the arm to choose: the cheapest of those that may be the best and lose no more than the margin; if
    /// there is none, the one with the highest AUROC.
    pub fn pick(&self) -> Option<&Standing> {
        let Some(contest) = &self.contest else { return self.arms.first() };
        let safe = contest.safe_within(self.margin).filter_map(|arm| self.standing(&arm.scored.cell));
        let seconds = |arm: &&Standing| arm.seconds.unwrap_or(f64::INFINITY);
        safe.min_by(|a, b| seconds(a).total_cmp(&seconds(b))).or(self.arms.first())
    }

    /// Returns the results of an arm or floor.
    fn standing(&self, cell: &Axes) -> Option<&Standing> {
        self.arms.iter().chain(&self.floors).find(|standing| standing.cell == *cell)
    }

    fn leads(&self, evidence: &Evidence) -> Vec<Lead> {
        let Some(pick) = self.pick() else { return Vec::new() };
        let backbone = pick.cell.backbone;
        let random = backbone.map(|backbone| Axes::random_weights(backbone, self.share));
        // Given weights of any network count: whoever has them needs no training.
        let given = backbone::Name::ALL.map(|backbone| Axes::given_weights(backbone, self.share));
        let labelled = backbone.map(|backbone| Axes::trained(Supervised, backbone, self.share));
        let references = random.into_iter().chain(given).chain([Axes::pixels(self.share)]).chain(labelled);
        let others = references.filter(|over| *over != pick.cell);
        let others = others.filter_map(|over| self.standing(&over));
        others.map(|over| lead(evidence, pick, over, self.arms.len())).collect()
    }

    /// What other shares or a full run would have but this share lacks.
    fn missing(&self, evidence: &Evidence, cells: &BTreeSet<Axes>) -> Vec<String> {
        let mut missing = Vec::new();
        let here = |cell: &Axes| {
            cells.iter().any(|known| words::name(known) == words::name(cell) && known.share == self.share)
        };
        let elsewhere: BTreeSet<String> =
            cells.iter().filter(|cell| cell.is_a_candidate() && !here(cell)).map(words::name).collect();
        missing.extend(elsewhere.into_iter().map(|name| format!("{name} was trained at other shares only")));
        for cell in cells.iter().filter(|cell| cell.share == self.share) {
            let rows = evidence.frame().filter_axes(|at| *at == cell.converged()).height();
            let seeds = evidence.scores(Metric::Auroc, &cell.converged()).len();
            let name = words::name(cell);
            match seeds {
                0 => missing.push(format!("{name} has no AUROC of a converged probe")),
                seeds if seeds < rows => {
                    missing.push(format!("{name} has an AUROC of {seeds} seeds in {rows}"));
                }
                _ => {}
            }
        }
        let pick = self.pick().map(|pick| pick.cell);
        let own =
            pick.and_then(|cell| cell.backbone).map(|backbone| Axes::random_weights(backbone, self.share));
        let floors = own.into_iter().chain([Axes::pixels(self.share)]).filter(|floor| !cells.contains(floor));
        let floors: Vec<String> = floors.map(|floor| words::name(&floor)).collect();
        if !floors.is_empty() {
            let flags = format!("--study floors --shares {}", self.share);
            missing.push(format!("{} not scored ({flags})", words::list(&floors)));
        }
        if let Some(backbone) = pick.and_then(|cell| cell.backbone)
            && !cells.contains(&Axes::trained(Supervised, backbone, self.share))
        {
            missing.push(format!("supervised training on {} not run", backbone.label()));
        }
        if pick.is_some() && self.images.is_none() {
            missing.push("numbers of validation images not recorded".to_owned());
        }
        missing
    }
}

impl Standing {
    /// `None` if it has no AUROC.
    fn of(evidence: &Evidence, cell: Axes) -> Option<Self> {
        let at = cell.converged();
        Some(Self {
            cell,
            auroc: evidence.interval(Metric::Auroc, &at)?,
            average_precision: evidence.interval(Metric::AveragePrecision, &at),
            seeds: evidence.scores(Metric::Auroc, &at).len(),
            seconds: evidence.seconds(&cell),
        })
    }
}

impl ImageUncertainty {
    fn of(evidence: &Evidence, arm: &Standing) -> Option<Self> {
        let count = |measure: Measure| {
            let counts = evidence.scores(measure, &arm.cell.converged());
            (!counts.is_empty()).then(|| mean(&counts))
        };
        let (defects, normals) = (count(Measure::DEFECTS)?, count(Measure::NORMALS)?);
        let squares: Vec<f64> = evidence
            .scores(Measure::AUROC_ERROR, &arm.cell.converged())
            .into_iter()
            .map(|error| error.powi(2))
            .collect();
        let (grouped, error) = match squares.is_empty() {
            true => (false, auroc_error(arm.auroc.estimate, defects, normals)?),
            false => (true, mean(&squares).sqrt()),
        };
        Some(Self { defects, normals, error, grouped })
    }
}

fn auroc() -> Measure {
    Metric::Auroc.into()
}

/// Lead of one of `arms` arms over a reference. Each end has an error level of 2.5 % divided by their number
/// (Bonferroni), since the arm was chosen among them by the same scores.
fn lead(evidence: &Evidence, arm: &Standing, over: &Standing, arms: usize) -> Lead {
    let weigh = |weight, standing: &Standing| Weighed {
        weight,
        scored: standing.cell.converged(),
        seeds: standing.seeds,
    };
    let estimate = arm.auroc.estimate - over.auroc.estimate;
    let by = match evidence.noise().standard_error(&auroc(), &[weigh(1.0, arm), weigh(-1.0, over)]) {
        None => Interval::unknown(estimate),
        Some(error) => {
            let reach = error.tail_quantile(TAIL / arms.max(1) as f64);
            Interval { estimate, low: estimate - reach, high: estimate + reach }
        }
    };
    Lead { over: over.cell, difference: by }
}

fn worth(evidence: &Evidence, card: &Card) -> BeatsFloors {
    let (arms, floors) = (&card.arms, &card.floors);
    let leads = |arm: &Standing| -> Vec<Lead> {
        floors.iter().map(|floor| lead(evidence, arm, floor, arms.len())).collect()
    };
    let known = |arm: &Standing| leads(arm).iter().all(|lead| lead.difference.low.is_finite());
    if floors.is_empty() || arms.is_empty() || !arms.iter().all(known) {
        return BeatsFloors::Unknown;
    }
    let above = |arm: &&Standing| leads(arm).iter().all(|lead| lead.difference.low > 0.0);
    let mut pick_first = card.pick().into_iter().chain(arms);
    pick_first.find(above).map_or(BeatsFloors::NotShown, |arm| BeatsFloors::Shown(arm.cell))
}

#[cfg(test)]
mod tests;
