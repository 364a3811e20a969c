//! The card in words: a recommendation in one sentence, then the evidence for it.
//!
//! Every score has an interval, or a statement that there is none.

use super::{BeatsFloors, Card, Lead, NextAction, Standing, Step, Unlabelled};
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
            let others = contest.candidates().filter(|arm| arm.scored.cell != pick.cell);
            let others = others.filter(|arm| (arm.may_lose <= self.margin) == safe);
            others.map(|arm| self::name(&arm.scored.cell)).collect()
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
        let free = if self.worth == BeatsFloors::NotShown {
            "; not shown to beat features that need no training"
        } else {
            ""
        };
        let unlabelled = match (self.pick(), &self.unlabelled) {
            (Some(pick), Some(best)) if best.auroc.estimate > pick.auroc.estimate => {
                "; without any label of a defect, AUROC was higher"
            }
            _ => "",
        };
        sure + free + unlabelled
    }

    /// Names of the other arms that may be the best.
    fn rivals(&self) -> Vec<String> {
        let pick = self.pick().map(|pick| pick.cell);
        let candidates = self.contest.iter().flat_map(|contest| contest.candidates());
        candidates
            .map(|arm| arm.scored.cell)
            .filter(|cell| Some(*cell) != pick)
            .map(|cell| name(&cell))
            .collect()
    }

    /// Returns the evidence for the recommendation, one sentence each.
    pub fn evidence(&self) -> Vec<String> {
        let Some(pick) = self.pick() else { return Vec::new() };
        let mut lines = Vec::new();
        let open = self.contest.iter().find(|contest| contest.candidates().count() > 1);
        if let Some(arm) = open.and_then(|contest| contest.0.iter().find(|arm| arm.scored.cell == pick.cell))
        {
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
        let known = self.leads.iter().all(|lead| lead.difference.low.is_finite());
        let how = match self.arms.len() {
            _ if !known => " (no interval: the spread over seeds is unknown)".to_owned(),
            1 => " (95 %)".to_owned(),
            count => format!(" (95 %, corrected for having chosen one of {count}: Bonferroni)"),
        };
        (!led.is_empty()).then(|| format!("It is {}{how}.", list(&led)))
    }

    /// What can be achieved before any defect is labelled.
    fn without_labels(&self) -> Option<String> {
        let Unlabelled { scored: at, auroc, among: of } = self.unlabelled.as_ref()?;
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
            BeatsFloors::Shown(cell) if cell != pick.cell => Some(format!(
                "It is not shown to be above all features that need no training; {} is.",
                name(&cell)
            )),
            // The recommendation already says that no arm beats the floors.
            BeatsFloors::NotShown | BeatsFloors::Shown(_) | BeatsFloors::Unknown => None,
        }
    }

    /// Warns that features without training may be as good.
    fn is_not_worth_it(&self) -> Option<String> {
        let floors = self.floors.iter().filter(|_| self.worth == BeatsFloors::NotShown);
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
            NextAction::Nothing => None,
            NextAction::Settled => Some("Settled: no more seeds are needed to choose.".to_owned()),
            NextAction::First(step) if self.arms.iter().all(|arm| arm.seeds < 2) => Some(format!(
                "One seed does not show how much another would differ. Run it with --seeds {}: {}.",
                step.seeds,
                trainings(step)
            )),
            NextAction::First(step) => Some(format!(
                "The seeds show no spread, so it is unknown how much another would differ. Run it with --seeds {}: {}.",
                step.seeds,
                trainings(step)
            )),
            NextAction::Seeds(step) => {
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
            NextAction::Beyond(seeds) => Some(format!(
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
    let Interval { estimate, low, high } = lead.difference;
    let (side, value) = match estimate >= 0.0 {
        true => ("above", lead.difference),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::best::{Arm, Contest},
        backbone::Name::{MobileNetV2, ResNet18, ViTTiny},
        claims::decision::ImageUncertainty,
        method::Name::{Byol, Dino, Mae, SimClr, Supervised},
    };

    const FIVE: Share = Share::percent(5);

    fn interval(estimate: f64, half: f64) -> Interval {
        Interval { estimate, low: estimate - half, high: estimate + half }
    }

    fn standing(cell: Axes, auroc: Interval, seeds: usize, seconds: f64) -> Standing {
        let average_precision = Some(interval(auroc.estimate - 0.3, 0.04));
        Standing { cell, auroc, average_precision, seeds, seconds: Some(seconds) }
    }

    /// A card of these arms: cell, AUROC, whether it may be best, and what may be lost by it; the first is the
    /// cheapest. How far an arm may be above the leader lies on the other side of the margin, as no sentence tells it.
    fn card(arms: &[(Axes, f64, bool, f64)]) -> Card {
        let arm = |&(cell, mean, may_be_best, may_lose): &(Axes, f64, bool, f64)| Arm {
            scored: cell.converged(),
            mean,
            seeds: 3,
            may_be_best,
            above_leader: 0.04 - may_lose,
            may_lose,
        };
        let stand = |(place, (cell, mean, ..)): (usize, &(Axes, f64, bool, f64))| {
            standing(*cell, interval(*mean, 0.03), 3 + place, 10.0 + place as f64)
        };
        Card {
            share: FIVE,
            margin: 0.02,
            arms: arms.iter().enumerate().map(stand).collect(),
            floors: Vec::new(),
            contest: (!arms.is_empty()).then(|| Contest(arms.iter().map(arm).collect())),
            leads: Vec::new(),
            worth: BeatsFloors::Unknown,
            images: None,
            unlabelled: None,
            next: NextAction::Nothing,
            missing: Vec::new(),
        }
    }

    fn at(method: crate::method::Name) -> Axes {
        Axes::table_1(method, ResNet18, FIVE)
    }

    #[test]
    fn every_way_a_choice_can_end_is_said() {
        let score = "(AUROC 0.801 [0.771, 0.831], average precision 0.501 [0.461, 0.541], 3 seeds)";
        let byol = (at(Byol), 0.801, true, 0.01);
        for (others, choice, sure) in [
            (
                vec![(at(SimClr), 0.7, false, 0.2)],
                format!("take BYOL on ResNet-18 {score}; the other is worse."),
                "settled, all others are worse",
            ),
            (
                vec![(at(SimClr), 0.7, false, 0.2), (at(Dino), 0.6, false, 0.3)],
                format!("take BYOL on ResNet-18 {score}; all 2 others are worse."),
                "settled, all others are worse",
            ),
            (
                vec![(at(SimClr), 0.8, true, 0.015)],
                format!(
                    "take the cheapest, BYOL on ResNet-18 {score}. SimCLR on ResNet-18 is the same within 0.02."
                ),
                "settled, no other is better by more than 0.02",
            ),
            (
                vec![
                    (at(SimClr), 0.79, true, 0.05),
                    (at(Supervised), 0.78, true, 0.06),
                    (at(Dino), 0.6, false, 0.3),
                ],
                format!(
                    "take BYOL on ResNet-18 {score}. SimCLR on ResNet-18 and supervised training on ResNet-18 cannot be told \
                     apart from it; all others are worse."
                ),
                "settled, no other is better by more than 0.02",
            ),
            (
                vec![
                    (at(SimClr), 0.8, true, 0.02),
                    (at(Dino), 0.79, true, 0.021),
                    (at(Supervised), 0.6, false, 0.3),
                ],
                format!(
                    "take the cheapest, BYOL on ResNet-18 {score}. SimCLR on ResNet-18 is the same within 0.02; DINO on ResNet-18 \
                     cannot be told apart from it; all others are worse."
                ),
                "settled, no other is better by more than 0.02",
            ),
        ] {
            let card = card(&[vec![byol], others].concat());
            assert_eq!(card.sentence(), format!("At 5 % defects: {choice}"));
            assert_eq!(card.how_sure(), sure, "{choice}");
        }
        let open = card(&[
            (at(Byol), 0.801, true, 0.03),
            (at(SimClr), 0.8, true, 0.04),
            (at(Dino), 0.7, true, 0.05),
        ]);
        assert_eq!(
            open.sentence(),
            format!(
                "At 5 % defects: BYOL on ResNet-18 leads {score}. SimCLR on ResNet-18 and DINO on ResNet-18 cannot be told apart \
                 from it."
            )
        );
        assert_eq!(open.how_sure(), "undecided: SimCLR on ResNet-18 and DINO on ResNet-18 may be as good");
    }

    #[test]
    fn without_a_contest_the_highest_is_named_and_nothing_is_chosen() {
        let mut card = card(&[(at(Byol), 0.801, true, 0.0), (at(SimClr), 0.7, true, 0.0)]);
        card.contest = None;
        card.arms[0].auroc = Interval::unknown(0.801);
        card.arms[0].average_precision = None;
        assert_eq!(
            card.sentence(),
            "At 5 % defects: nothing can be chosen yet. BYOL on ResNet-18 has the highest AUROC of 2 (AUROC 0.801, 3 seeds \
             without spread: no interval)."
        );
        assert_eq!(card.how_sure(), "unknown, too few seeds");
        card.arms.truncate(1);
        card.arms[0].seeds = 1;
        assert_eq!(
            card.sentence(),
            "At 5 % defects: only BYOL on ResNet-18 was trained (AUROC 0.801, one seed: no interval), so there is nothing to \
             choose between."
        );
        assert_eq!(card.how_sure(), "nothing to compare with");
        card.arms[0].auroc = interval(0.801, 0.01);
        assert!(
            card.sentence().contains("(AUROC 0.801 [0.791, 0.811], one seed, its spread from other arms)")
        );
        card.arms.clear();
        card.worth = BeatsFloors::NotShown;
        assert_eq!(card.how_sure(), "nothing was trained");
    }

    /// If no arm is shown to beat all floors, the sentence names the highest floor, and the table states it, too.
    #[test]
    fn what_costs_nothing_is_named_where_it_is_not_beaten() {
        let mut card = card(&[(at(Byol), 0.801, true, 0.01), (at(SimClr), 0.7, false, 0.2)]);
        card.floors = vec![
            standing(Axes::random_weights(ResNet18, FIVE), interval(0.74, 0.02), 3, 1.0),
            standing(Axes::pixels(FIVE), interval(0.72, 0.0), 1, 1.0),
        ];
        card.worth = BeatsFloors::NotShown;
        let warning = "No trained model is shown to beat features that need no training: random weights on ResNet-18 reach \
                       AUROC 0.740 [0.720, 0.760].";
        assert!(card.sentence().ends_with(&format!("the other is worse. {warning}")), "{}", card.sentence());
        assert_eq!(
            card.how_sure(),
            "settled, all others are worse; not shown to beat features that need no training"
        );
        card.floors.remove(0);
        assert!(card.sentence().ends_with("raw pixels have AUROC 0.720, the same for every seed."));
        card.worth = BeatsFloors::Unknown;
        assert!(card.sentence().ends_with("the other is worse."));
    }

    #[test]
    fn the_evidence_is_told_in_order() {
        let mut card = card(&[(at(Byol), 0.801, true, 0.0149), (at(SimClr), 0.8, true, 0.03)]);
        card.leads = vec![
            Lead { over: Axes::random_weights(ResNet18, FIVE), difference: interval(0.11, 0.02) },
            Lead { over: Axes::given_weights(MobileNetV2, FIVE), difference: interval(-0.07, 0.01) },
            Lead { over: Axes::pixels(FIVE), difference: interval(0.25, 0.03) },
        ];
        card.worth = BeatsFloors::Shown(at(SimClr));
        card.unlabelled = Some(Unlabelled {
            scored: crate::analysis::Scored {
                classifier: Classifier::NormalsPatchCore,
                ..Axes::pixels(FIVE).converged()
            },
            auroc: interval(0.612, 0.0),
            among: 7,
        });
        card.images = Some(ImageUncertainty { defects: 41.0, normals: 62.0, error: 0.0234, grouped: false });
        assert_eq!(
            card.evidence(),
            [
                "Another method may really be better by up to 0.015 AUROC (95 %), no more than the 0.02 that count as the same.",
                "It is 0.110 [0.090, 0.130] above random weights on ResNet-18, 0.070 [0.060, 0.080] below given weights, frozen, on \
                 MobileNetV2 and 0.250 [0.220, 0.280] above raw pixels (95 %, corrected for having chosen one of 2: Bonferroni).",
                "It is not shown to be above all features that need no training; SimCLR on ResNet-18 is.",
                "Without any label of a defect, the PatchCore distance from normal images in the features of raw pixels reaches \
                 AUROC 0.612, the same for every seed (the best of 7 such detectors).",
                "Other validation images would also change its AUROC, by about 0.023 (standard error, 41 defects and 62 normal \
                 images); the intervals here are over seeds alone."
            ]
        );
        // Of a detector that needs no defect label, the glance says more if it is above the trained arm.
        assert!(!card.how_sure().contains("label"), "{}", card.how_sure());
        card.unlabelled.as_mut().unwrap().auroc.estimate = 0.802;
        assert!(
            card.how_sure().ends_with("; without any label of a defect, AUROC was higher"),
            "{}",
            card.how_sure()
        );
        card.leads[2].difference = Interval::unknown(0.25);
        let led = card.led().unwrap();
        assert!(
            led.ends_with("and 0.250 above raw pixels (no interval: the spread over seeds is unknown)."),
            "{led}"
        );
        card.leads.remove(2);
        card.arms.truncate(1);
        assert!(card.led().unwrap().ends_with("on MobileNetV2 (95 %)."));
        card.leads.clear();
        assert_eq!(card.led(), None);
    }

    #[test]
    fn the_next_step_is_said() {
        let step = |chance| Step {
            seeds: 6,
            cells: vec![(at(Byol), 3), (at(SimClr), 5)],
            chance,
            minutes: Some(7.5),
        };
        let said = |next: NextAction, seeds: usize| {
            let mut card = card(&[(at(Byol), 0.8, true, 0.0), (at(SimClr), 0.7, true, 0.0)]);
            card.arms.iter_mut().for_each(|arm| arm.seeds = seeds);
            card.next = next;
            card.what_next()
        };
        for (next, seeds, expected) in [
            (NextAction::Settled, 3, "Settled: no more seeds are needed to choose."),
            (
                NextAction::First(step(None)),
                1,
                "One seed does not show how much another would differ. Run it with --seeds 6: 4 more trainings, about 8 minutes.",
            ),
            (
                NextAction::First(step(None)),
                2,
                "The seeds show no spread, so it is unknown how much another would differ. Run it with --seeds 6: 4 more \
                 trainings, about 8 minutes.",
            ),
            (
                NextAction::Seeds(step(Some(0.857))),
                3,
                "To settle it, train 6 seeds of 2 arms: 4 more trainings, about 8 minutes, which would settle it with a chance of \
                 86 %.",
            ),
            (
                NextAction::Seeds(step(None)),
                3,
                "To settle it, train 6 seeds of 2 arms: 4 more trainings, about 8 minutes.",
            ),
            (
                NextAction::Beyond(30),
                3,
                "Even 30 seeds of each would probably not settle it: scores differ more between seeds than between methods.",
            ),
        ] {
            assert_eq!(said(next, seeds).as_deref(), Some(expected));
        }
        assert_eq!(said(NextAction::Nothing, 3), None);
        // One of the arms has more than one seed, so it is not for want of seeds alone.
        let mut uneven = card(&[(at(Byol), 0.8, true, 0.0), (at(SimClr), 0.7, true, 0.0)]);
        (uneven.arms[0].seeds, uneven.arms[1].seeds) = (1, 4);
        uneven.next = NextAction::First(step(None));
        assert!(uneven.what_next().unwrap().starts_with("The seeds show no spread, so it is unknown"));
        let mut card = card(&[]);
        assert_eq!(card.what_is_missing(), None);
        card.missing = vec!["this".to_owned(), "that".to_owned()];
        assert_eq!(card.what_is_missing().as_deref(), Some("Missing: this; that."));
    }

    #[test]
    fn cells_and_lists_have_plain_names() {
        let tuned = |method| Axes::table_1(method, ViTTiny, FIVE).in_study(Study::FineTuned);
        for (cell, expected) in [
            (at(Byol), "BYOL on ResNet-18"),
            (Axes::table_1(Mae, ViTTiny, FIVE), "MAE on ViT-Tiny"),
            (at(Supervised), "supervised training on ResNet-18"),
            (tuned(Dino), "DINO, fine-tuned, on ViT-Tiny"),
            (Axes::random_weights(ViTTiny, FIVE), "random weights on ViT-Tiny"),
            (Axes::given_weights(ResNet18, FIVE), "given weights, frozen, on ResNet-18"),
            (Axes::pixels(FIVE), "raw pixels"),
        ] {
            assert_eq!(name(&cell), expected);
        }
        assert_eq!(short_name(&tuned(Dino)), "dino-vit_tiny");
        let words =
            |count: usize| ["a", "b", "c"][..count].iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!([0, 1, 2, 3].map(|count| list(&words(count))), ["", "a", "a and b", "a, b and c"]);
        assert_eq!((capital("raw pixels"), capital("")), ("Raw pixels".to_owned(), String::new()));
        assert_eq!(place(Share::NATURAL), "At the data's own share of defects");
        // Ends of an interval are possible scores.
        assert_eq!(number(&Interval { estimate: 0.99, low: 0.95, high: 1.03 }), "0.990 [0.950, 1.000]");
        assert_eq!(number(&Interval { estimate: 0.02, low: -0.01, high: 0.05 }), "0.020 [0.000, 0.050]");
    }

    /// Which arms count as the same follows from the card's own margin, which the sentence states.
    #[test]
    fn the_same_is_what_the_cards_own_margin_says() {
        let of = |margin: f64| {
            let arms =
                [(at(Byol), 0.80, true, 0.03), (at(SimClr), 0.79, true, 0.04), (at(Dino), 0.78, true, 0.06)];
            let card = Card { margin, ..card(&arms) };
            let sentence = card.sentence();
            (
                sentence.split("3 seeds)").nth(1).unwrap().to_owned(),
                card.how_sure(),
                card.evidence()[0].clone(),
            )
        };
        let may = |beside: &str| {
            format!(
                "Another method may really be better by up to 0.030 AUROC (95 %), {beside} that count as the same."
            )
        };
        assert_eq!(
            of(0.05),
            (
                ". SimCLR on ResNet-18 is the same within 0.05; DINO on ResNet-18 cannot be told apart from it.".to_owned(),
                "settled, no other is better by more than 0.05".to_owned(),
                may("no more than the 0.05")
            )
        );
        assert_eq!(
            of(0.01),
            (
                ". SimCLR on ResNet-18 and DINO on ResNet-18 cannot be told apart from it.".to_owned(),
                "undecided: SimCLR on ResNet-18 and DINO on ResNet-18 may be as good".to_owned(),
                may("more than the 0.01")
            )
        );
    }

    /// However many arms may be as good, all are named, in both texts.
    #[test]
    fn all_rivals_are_named() {
        let names = [Byol, SimClr, Dino, Supervised];
        let arms: Vec<_> = names.into_iter().map(|method| (at(method), 0.8, true, 0.03)).collect();
        let card = card(&[&arms[..], &[(Axes::table_1(Mae, ViTTiny, FIVE), 0.79, true, 0.05)]].concat());
        let rivals =
            "SimCLR on ResNet-18, DINO on ResNet-18, supervised training on ResNet-18 and MAE on ViT-Tiny";
        assert_eq!(card.how_sure(), format!("undecided: {rivals} may be as good"));
        let sentence = card.sentence();
        assert!(sentence.ends_with(&format!(". {rivals} cannot be told apart from it.")), "{sentence}");
    }
}
