//! Tests of the verdicts: simulated studies in which the truth is known, and how often a verdict is wrong.
//!
//! Scores are drawn, not trained ([`simulated`]), and pass through the product's own code: records, reading,
//! claims. Without a planted effect all cells are equal, and a verdict that says otherwise is due to chance. With a
//! planted effect, the part of studies that detect it is the power. By default some studies of each scenario are
//! judged; `SKEWBENCH_TESTS=all` judges hundreds and compares the table in `snapshots/judge.snap`, which the page
//! shows.

mod simulated;

use std::{collections::BTreeMap, fmt::Write as _};

use rayon::prelude::*;
use simulated::{EFFECT, Scenario, Simulated, Truth};
use skewbench::{
    analysis::Reading,
    backbone::Name::ResNet18,
    claims::{self, Claim, Evidence, Outlook, Verdict, Yardstick},
    data::Share,
    experiment::Cell,
    method::Name::{Byol, Dino, Mae, SimClr, Supervised},
};

use crate::check;

/// Claims that do not depend on seeds: arithmetic on printed numbers or on one model's rates.
const NOT_STATISTICAL: [&str; 2] = ["decline_is_arithmetic", "dino_at_1_percent_is_one_model"];

/// Claims that there is no effect, which are true if nothing is planted.
const OF_NOTHING: [&str; 7] = [
    "f2_stays_stable",
    "f2_stable_because_of_weighted_loss",
    "recall_stays_strong",
    "rankme_does_not_correlate",
    "rankme_does_not_correlate_within",
    "rankme_as_defined_does_not_correlate",
    "no_label_free_metric_correlates",
];

/// Claims that take thousands of resamples to judge: simulated with fewer studies.
const EXPENSIVE: [&str; 5] = [
    "rankme_does_not_correlate",
    "rankme_does_not_correlate_within",
    "rankme_as_defined_does_not_correlate",
    "no_label_free_metric_correlates",
    "rankme_differs_by_method",
];

/// The truth without any planted effect.
const NULL: Truth = |_| 0.0;

/// Claims that are true with a planted effect, and that effect.
const PLANTED: [(&[&str], Truth); 2] = [
    (&["joint_embedding_beats_mae", "mae_weakest_everywhere", "supervised_beats_all"], |cell| {
        match cell.method {
            Supervised => 1.0,
            Mae => -1.0,
            _ => 0.0,
        }
    }),
    (&["simclr_best_from_5", "byol_best_at_1", "dino_fails_on_resnet_only"], |cell| {
        let rare = cell.share < Share::percent(3);
        match cell.method {
            SimClr if !rare => 1.0,
            Byol if cell.share == Share::percent(1) => 2.0,
            Dino if rare && cell.backbone == ResNet18 => -2.0,
            _ => 0.0,
        }
    }),
];

/// Verdicts of studies by claim and yardstick.
type Counts = BTreeMap<(&'static str, Yardstick), [usize; 4]>;

fn evidence(reading: &Reading) -> Evidence {
    let settings = reading.frame.settings();
    let setting = &settings[0].0;
    Evidence::measured(setting, &reading.frame.setting(setting))
}

/// Returns every verdict over a number of studies; expensive claims use a tenth as many.
fn verdicts(simulated: Simulated, studies: usize, wanted: impl Fn(&Claim) -> bool + Sync) -> Counts {
    let judge = |number: usize| {
        let evidence = evidence(&simulated.read(number));
        let mut counts = Counts::new();
        for claim in claims::all().into_iter().filter(|claim| wanted(claim)) {
            if NOT_STATISTICAL.contains(&claim.id)
                || EXPENSIVE.contains(&claim.id) && !number.is_multiple_of(10)
            {
                continue;
            }
            for &yardstick in claim.yardsticks {
                let verdict = claim.judge_by(&evidence, yardstick).verdict;
                counts.entry((claim.id, yardstick)).or_default()[verdict as usize] += 1;
            }
        }
        counts
    };
    (0..studies).into_par_iter().map(judge).reduce(Counts::new, |mut all, counts| {
        for (key, counts) in counts {
            let sum = all.entry(key).or_default();
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        all
    })
}

/// Returns how many of these verdicts, without a planted effect, claim more than is true.
fn wrong(claim: &str, counts: [usize; 4]) -> usize {
    let [holds, fails, ..] = counts;
    match claim {
        claim if OF_NOTHING.contains(&claim) => fails,
        // If all sides score alike, the fastest one is the best trade-off, which is not 224.
        "best_trade_at_224" => holds,
        _ => holds + fails,
    }
}

/// Returns the largest number of wrong verdicts expected at a rate of one in twenty, exceeded in one of a thousand
/// tests.
fn bound(studies: usize) -> usize {
    let expected = 0.05 * studies as f64;
    (expected + 3.3 * (expected * 0.95).sqrt()).ceil() as usize
}

fn studies() -> usize {
    if check::everything() { 200 } else { 8 }
}

#[test]
fn verdicts_of_chance_are_seldom() {
    let mut rates: BTreeMap<(&str, Yardstick, u64), Vec<f64>> = BTreeMap::new();
    let mut sums: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for seeds in [1, 2, 3, 5] {
        for scenario in Scenario::ALL {
            // With one seed nothing is decided, in a single study as in hundreds.
            let studies = if seeds == 1 { 1 } else { studies() };
            if !check::everything() && ![1, 3].contains(&seeds) {
                continue;
            }
            let simulated = Simulated { scenario, truth: NULL, effect: EFFECT, seeds };
            for ((claim, yardstick), counts) in verdicts(simulated, studies, |_| true) {
                let (wrong, judged) = (wrong(claim, counts), counts.iter().sum::<usize>());
                assert!(
                    wrong <= bound(judged),
                    "{claim} by {yardstick}, {seeds} seeds, {}: {wrong} of {judged} verdicts are wrong",
                    scenario.id()
                );
                if seeds == 1 && !EXPENSIVE.contains(&claim) {
                    assert_eq!(counts[Verdict::Undecided as usize], judged, "{claim}: one seed says nothing");
                }
                rates.entry((claim, yardstick, seeds)).or_default().push(wrong as f64 / judged as f64);
                if seeds > 1 {
                    let sum = sums.entry(claim).or_default();
                    *sum = (sum.0 + wrong, sum.1 + judged);
                }
            }
        }
    }
    // Few studies per kind of noise allow only a loose bound; all kinds together allow a tighter one.
    for (claim, (wrong, judged)) in sums {
        assert!(
            wrong <= bound(judged),
            "{claim}: {wrong} of {judged} verdicts are wrong over all kinds of noise"
        );
    }
    let rate = mean(rates.iter().filter(|((.., seeds), _)| *seeds > 1).flat_map(|(_, rates)| rates));
    assert!(rate <= 0.05, "{rate} of all verdicts are wrong");
    if check::everything() {
        check::assert_text("judge", &table(&rates));
    }
}

fn mean<'a>(numbers: impl Iterator<Item = &'a f64>) -> f64 {
    let numbers: Vec<f64> = numbers.copied().collect();
    skewbench::analysis::intervals::mean(&numbers)
}

/// Formats wrong verdicts by scenario, and power, one line each.
fn table(rates: &BTreeMap<(&str, Yardstick, u64), Vec<f64>>) -> String {
    let heads = Scenario::ALL.map(Scenario::id).join(", ");
    let mut text = format!("wrong verdicts with nothing planted; claim, yardstick, seeds: {heads}\n");
    for ((claim, yardstick, seeds), rates) in rates.iter().filter(|((.., seeds), _)| *seeds > 1) {
        let rates: Vec<String> = rates.iter().map(|rate| format!("{rate:.3}")).collect();
        writeln!(text, "{claim}, {yardstick}, {seeds}: {}", rates.join(", ")).unwrap();
    }
    writeln!(
        text,
        "power with an effect planted ({} of F1, {} of AUROC), spread by share and method; claim, yardstick: 2, 3, 5 seeds",
        EFFECT[0], EFFECT[1]
    )
    .unwrap();
    for ((claim, yardstick), powers) in powers() {
        let powers: Vec<String> = powers.iter().map(|power| format!("{power:.2}")).collect();
        writeln!(text, "{claim}, {yardstick}: {}", powers.join(", ")).unwrap();
    }
    text
}

/// Returns the parts of studies with a planted effect that detect it, by number of seeds.
fn powers() -> BTreeMap<(&'static str, Yardstick), Vec<f64>> {
    let mut powers: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for (planted, truth) in PLANTED {
        for seeds in [2, 3, 5] {
            let scenario = Scenario::ByShareAndMethod;
            let simulated = Simulated { scenario, truth, effect: EFFECT, seeds };
            let counts = verdicts(simulated, studies(), |claim| planted.contains(&claim.id));
            for (key, counts) in counts {
                let judged = counts.iter().sum::<usize>();
                // A true claim fails only by chance.
                assert!(counts[1] <= bound(judged), "{key:?} fails");
                powers.entry(key).or_default().push(counts[0] as f64 / judged as f64);
            }
        }
    }
    powers
}

/// If every difference is exactly the margin, the sides are not the same: the verdict "the same" is wrong.
#[test]
fn differences_as_large_as_the_margin_are_seldom_called_the_same() {
    let margin = claims::evidence::MARGIN;
    let truth: Truth = |cell: &Cell| match cell.method {
        Supervised => 1.0,
        Mae => -1.0,
        _ => 0.0,
    };
    let compared = ["joint_embedding_beats_mae", "mae_weakest_everywhere", "supervised_beats_all"];
    for scenario in [Scenario::ByShareAndMethod, Scenario::HeavyTails] {
        let simulated = Simulated { scenario, truth, effect: [margin; 2], seeds: 5 };
        for ((claim, yardstick), counts) in
            verdicts(simulated, studies(), |claim| compared.contains(&claim.id))
        {
            let (wrong, judged) = (counts[Verdict::Same as usize] + counts[1], counts.iter().sum());
            assert!(wrong <= bound(judged), "{claim} by {yardstick}: {wrong} of {judged} are wrong");
        }
    }
}

/// A plan states how many seeds would decide with a probability of 80 %: most studies that get them are decided.
/// They are fewer than four in five, since the true difference is often smaller than the estimate.
#[test]
fn plans_keep_most_of_what_they_promise() {
    let (mut promised, mut kept) = (0_u32, 0_u32);
    for (planted, truth) in PLANTED {
        let few = Simulated { scenario: Scenario::ByShareAndMethod, truth, effect: EFFECT, seeds: 3 };
        let asked = |claim: &&Claim| planted.contains(&claim.id);
        for number in 0..3 * studies() {
            let before = evidence(&few.read(number));
            for claim in claims::all().into_iter().filter(asked) {
                for &yardstick in claim.yardsticks.iter().filter(|yardstick| yardstick.is_auroc()) {
                    let outlook = claim.judge_by(&before, yardstick).outlook(&before);
                    let Some(Outlook { plan: Some(plan), .. }) = outlook else { continue };
                    // The first three seeds are the same.
                    let more = Simulated { seeds: plan.seeds as u64, ..few };
                    let after = claim.judge_by(&evidence(&more.read(number)), yardstick);
                    promised += 1;
                    kept += u32::from(after.verdict != Verdict::Undecided);
                }
            }
        }
    }
    let part = f64::from(kept) / f64::from(promised);
    println!("{kept} of {promised} plans decided: {:.0} %", 100.0 * part);
    assert!(promised > 10 && part > 0.6, "{kept} of {promised}");
}
