//! The card in words: a recommendation in one sentence, then the evidence for it.
//!
//! Every score has an interval, or a statement that there is none.

use super::{Card, Lead, Next, Standing, Step, Unlabelled, Worth};
use crate::{
    analysis::{Axes, Interval, cell::percent},
    data::Share,
    results::Classifier,
    study::Study,
};

impl Card {
    /// Returns the recommendation, with a warning if training is not shown to beat the floors.
    pub fn sentence(&self) -> String {
        let free = self.is_not_worth_it().map_or_else(String::new, |free| format!(" {free}"));
        self.choice() + &free
    }

    fn choice(&self) -> String {
        let place = place(self.share);
        let Some(pick) = self.pick() else {
            return format!("{place}: no trained model has an AUROC, so there is nothing to choose between.");
        };
        let (name, score, count) = (name(&pick.cell), score(pick), self.arms.len());
        if count == 1 {
            return format!(
                "{place}: only {name} was trained ({score}), so there is nothing to choose between."
            );
        }
        let Some(contest) = &self.contest else {
            return format!(
                "{place}: nothing can be chosen yet. {} has the highest AUROC of {count} ({score}).",
                capital(&name)
            );
        };
        let worse = match count - contest.candidates().count() {
            0 => String::new(),
            1 if count == 2 => "; the other is worse".to_owned(),
            _ if contest.candidates().count() == 1 => format!("; all {} others are worse", count - 1),
            _ => "; all others are worse".to_owned(),
        };
        let others = |safe: bool| -> Vec<String> {
            let others = contest.candidates().filter(|arm| arm.at.cell != pick.cell);
            let others = others.filter(|arm| (arm.may_lose <= self.margin) == safe);
            others.map(|arm| self::name(&arm.at.cell)).collect()
        };
        let (safe, open) = (others(true), others(false));
        let are = |others: &[String]| if others.len() == 1 { "is" } else { "are" };
        let same = format!("{} {} the same within {}", capital(&list(&safe)), are(&safe), self.margin);
        let close = format!("{} cannot be told apart from it", capital(&list(&open)));
        match (contest.is_settled(self.margin), safe.is_empty(), open.is_empty()) {
            (true, true, true) => format!("{place}: take {name} ({score}){worse}."),
            (true, true, false) => format!("{place}: take {name} ({score}). {close}{worse}."),
            (true, false, true) => format!("{place}: take the cheapest, {name} ({score}). {same}{worse}."),
            (true, false, false) => {
                format!("{place}: take the cheapest, {name} ({score}). {same}; {close}{worse}.")
            }
            (false, ..) => format!("{place}: {name} leads ({score}). {close}{worse}."),
        }
    }

    /// Returns how certain the choice is, in a few words for a table.
    pub fn how_sure(&self) -> String {
        let sure = match &self.contest {
            _ if self.arms.is_empty() => return "nothing was trained".to_owned(),
            _ if self.arms.len() == 1 => "nothing to compare with".to_owned(),
            None => "unknown, too few seeds".to_owned(),
            Some(contest) if !contest.is_settled(self.margin) => {
                format!("undecided: {} may be as good", list(&self.rivals()))
            }
            Some(contest) if contest.candidates().count() == 1 => "settled, all others are worse".to_owned(),
            Some(_) => format!("settled, no other is better by more than {}", self.margin),
        };
        let free = if self.worth == Worth::NotShown {
            "; not shown to beat features that need no training"
        } else {
            ""
        };
        sure + free
    }

    /// Names of the other arms that may be the best.
    fn rivals(&self) -> Vec<String> {
        let pick = self.pick().map(|pick| pick.cell);
        let candidates = self.contest.iter().flat_map(|contest| contest.candidates());
        candidates.map(|arm| arm.at.cell).filter(|cell| Some(*cell) != pick).map(|cell| name(&cell)).collect()
    }

    /// Returns the evidence for the recommendation, one sentence each.
    pub fn evidence(&self) -> Vec<String> {
        let Some(pick) = self.pick() else { return Vec::new() };
        let mut lines = Vec::new();
        let open = self.contest.iter().find(|contest| contest.candidates().count() > 1);
        if let Some(arm) = open.and_then(|contest| contest.0.iter().find(|arm| arm.at.cell == pick.cell)) {
            let beside = if arm.may_lose <= self.margin { "no more than" } else { "more than" };
            lines.push(format!(
                "Another method may really be better by up to {:.3} AUROC (95 %), {beside} the {} that count as the same.",
                arm.may_lose, self.margin
            ));
        }
        lines.extend(self.led());
        lines.extend(self.worth(pick));
        lines.extend(self.without_labels());
        if let Some(images) = self.images {
            let (what, over) = if images.grouped { ("groups of ", " over groups") } else { ("", "") };
            lines.push(format!(
                "Other {what}validation images would also change its AUROC, by about {:.3} (standard error{over}, \
                 {:.0} defects and {:.0} normal images); the intervals here are over seeds alone.",
                images.error, images.defects, images.normals
            ));
        }
        lines
    }

    /// Leads of the chosen arm over floors and over supervised training.
    fn led(&self) -> Option<String> {
        let led: Vec<String> = self.leads.iter().map(above).collect();
        let known = self.leads.iter().all(|lead| lead.by.low.is_finite());
        let how = match self.arms.len() {
            _ if !known => " (no interval: the spread over seeds is unknown)".to_owned(),
            1 => " (95 %)".to_owned(),
            count => format!(" (95 %, corrected for having chosen one of {count}: Bonferroni)"),
        };
        (!led.is_empty()).then(|| format!("It is {}{how}.", list(&led)))
    }

    /// What can be achieved before any defect is labelled.
    fn without_labels(&self) -> Option<String> {
        let Unlabelled { at, auroc, of } = self.unlabelled.as_ref()?;
        let distance = match at.classifier {
            Classifier::NormalsMahalanobis => "Mahalanobis distance",
            Classifier::NormalsPatchCore => "PatchCore distance",
            Classifier::NormalsPadim => "PaDiM distance",
            _ => "distance to the nearest neighbours",
        };
        Some(format!(
            "Without any label of a defect, the {distance} from normal images in the features of {} reaches AUROC {} (the best \
             of {of} such detectors).",
            name(&at.cell),
            match at.cell.study {
                study if study.is_without_seeds() =>
                    format!("{:.3}, the same for every seed", auroc.estimate),
                _ => number(auroc),
            }
        ))
    }

    fn worth(&self, pick: &Standing) -> Option<String> {
        match self.worth {
            Worth::Shown(cell) if cell != pick.cell => Some(format!(
                "It is not shown to be above all features that need no training; {} is.",
                name(&cell)
            )),
            // The recommendation already says that no arm beats the floors.
            Worth::NotShown | Worth::Shown(_) | Worth::Unknown => None,
        }
    }

    /// Warns that features without training may be as good.
    fn is_not_worth_it(&self) -> Option<String> {
        let floors = self.floors.iter().filter(|_| self.worth == Worth::NotShown);
        let best = floors.max_by(|a, b| a.auroc.estimate.total_cmp(&b.auroc.estimate))?;
        Some(format!(
            "No trained model is shown to beat features that need no training: {} {} AUROC {}.",
            name(&best.cell),
            if best.cell.study == Study::Pixels { "have" } else { "reach" },
            floor(best)
        ))
    }

    /// Returns what to run next, in words; [`Card::commands`] returns the shell commands.
    pub fn what_next(&self) -> Option<String> {
        match &self.next {
            Next::Nothing => None,
            Next::Settled => Some("Settled: no more seeds are needed to choose.".to_owned()),
            Next::First(step) if self.arms.iter().all(|arm| arm.seeds < 2) => Some(format!(
                "One seed does not show how much another would differ. Run it with --seeds {}: {}.",
                step.seeds,
                trainings(step)
            )),
            Next::First(step) => Some(format!(
                "The seeds show no spread, so it is unknown how much another would differ. Run it with --seeds {}: {}.",
                step.seeds,
                trainings(step)
            )),
            Next::Seeds(step) => {
                let chance = step.chance.map_or_else(String::new, |chance| {
                    format!(", which would settle it with a chance of {:.0} %", 100.0 * chance)
                });
                Some(format!(
                    "To settle it, train {} seeds of {} arms: {}{chance}.",
                    step.seeds,
                    step.cells.len(),
                    trainings(step)
                ))
            }
            Next::Beyond(seeds) => Some(format!(
                "Even {seeds} seeds of each would probably not settle it: scores differ more between seeds than \
                 between methods."
            )),
        }
    }

    /// Returns what is missing, in one sentence; `None` if nothing is.
    pub fn what_is_missing(&self) -> Option<String> {
        (!self.missing.is_empty()).then(|| format!("Missing: {}.", self.missing.join("; ")))
    }
}

/// Starts a sentence: `At 5 % defects`.
fn place(share: Share) -> String {
    match share {
        Share::NATURAL => "At the data's own share of defects".to_owned(),
        share => format!("At {} defects", percent(share)),
    }
}

/// Names a cell: `BYOL on ResNet-18`, `supervised training on ResNet-18`, `random weights on ResNet-18`, `given
/// weights, frozen, on ResNet-18`, `raw pixels`.
pub fn name(cell: &Axes) -> String {
    let what = match cell.method {
        None if cell.study == Study::GivenWeights => "given weights, frozen,",
        None => "random weights",
        Some(method) if method.is_supervised() => "supervised training",
        Some(method) => method.label(),
    };
    let tuned = if cell.study == Study::FineTuned { ", fine-tuned," } else { "" };
    match cell.backbone {
        Some(backbone) => format!("{what}{tuned} on {}", backbone.label()),
        None => "raw pixels".to_owned(),
    }
}

/// Capitalises the first letter.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Spells a cell as on command lines: `byol-resnet18`.
pub(super) fn short_name(cell: &Axes) -> String {
    format!("{}-{}", cell.method_id(), cell.backbone_id())
}

/// Joins words: `a`, `a and b`, `a, b and c`.
pub(super) fn list(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Formats a value: `0.801 [0.772, 0.830]`, or the number alone.
fn number(value: &Interval) -> String {
    let Interval { estimate, low, high } = value;
    if low.is_finite() {
        format!("{estimate:.3} [{:.3}, {:.3}]", low.max(0.0), high.min(1.0))
    } else {
        format!("{estimate:.3}")
    }
}

/// Formats a score: `AUROC 0.801 [0.772, 0.830], average precision 0.521 [0.480, 0.562], 5 seeds`.
fn score(arm: &Standing) -> String {
    let precision = arm.average_precision.as_ref();
    let precision =
        precision.map_or_else(String::new, |value| format!(", average precision {}", number(value)));
    format!("AUROC {}{precision}, {}", number(&arm.auroc), seeds(arm))
}

fn seeds(arm: &Standing) -> String {
    let known = arm.auroc.low.is_finite();
    match arm.seeds {
        1 if known => "one seed, its spread from other arms".to_owned(),
        1 => "one seed: no interval".to_owned(),
        seeds if known => format!("{seeds} seeds"),
        seeds => format!("{seeds} seeds without spread: no interval"),
    }
}

fn floor(floor: &Standing) -> String {
    match floor.cell.study {
        study if study.is_without_seeds() => format!("{:.3}, the same for every seed", floor.auroc.estimate),
        _ => number(&floor.auroc),
    }
}

/// Formats a lead: `0.050 [0.020, 0.080] above raw pixels`, or below.
fn above(lead: &Lead) -> String {
    let Interval { estimate, low, high } = lead.by;
    let (side, value) = match estimate >= 0.0 {
        true => ("above", lead.by),
        false => ("below", Interval { estimate: -estimate, low: -high, high: -low }),
    };
    let ends =
        if low.is_finite() { format!(" [{:.3}, {:.3}]", value.low, value.high) } else { String::new() };
    format!("{:.3}{ends} {side} {}", value.estimate, name(&lead.over))
}

/// Formats a step: `9 more trainings, about 12 minutes`.
pub(super) fn trainings(step: &Step) -> String {
    let minutes = match step.minutes {
        None => String::new(),
        Some(minutes) if minutes <= 1.0 => ", about a minute".to_owned(),
        Some(minutes) if minutes < 120.0 => format!(", about {:.0} minutes", minutes.ceil()),
        Some(minutes) => format!(", about {:.1} hours", minutes / 60.0),
    };
    let more = if step.trainings() == 1 {
        "one more training".to_owned()
    } else {
        format!("{} more trainings", step.trainings())
    };
    format!("{more}{minutes}")
}
