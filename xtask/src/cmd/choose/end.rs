//! The result of the choice: a table, a sentence, and a comparison of the chosen arm with floors and supervised
//! training.

use anyhow::{Result, bail};
use skewbench::{
    analysis::{
        Scored,
        elimination::{Elimination, End, FIRST},
        intervals::{Interval, mean},
        reading,
    },
    claims::Evidence,
    method,
    named::counted,
    results::{Metric, Record},
    study::Study,
};

use super::{Arguments, clock::Clock, in_words};

/// Prints the whole result.
///
/// # Errors
/// If no training fits into the time.
pub fn print(
    elimination: &Elimination,
    records: &[Record],
    clock: &Clock,
    arguments: &Arguments,
) -> Result<()> {
    let refused = clock.refused().map(|refused| refused.in_words()).unwrap_or_default();
    let Some(pick) = elimination.pick() else {
        let trained = records.iter().filter(|record| !record.curve.is_empty()).count();
        if trained == 0 {
            bail!("no training fits into --hours: {refused}")
        }
        println!(
            "\nNothing can be said yet: {} finished, and the first comparison needs {FIRST} seeds of every arm \
             ({refused}). Run the same command again to resume.",
            counted(trained, "training is", "trainings are")
        );
        return Ok(());
    };
    table(elimination, &pick);
    println!("\n{}", sentence(elimination, &pick, arguments, &refused));
    print_open_arms(elimination, &pick);
    compare_with_baselines(&pick, records);
    Ok(())
}

/// Prints one line per arm.
fn table(elimination: &Elimination, pick: &Scored) {
    println!(
        "\n{:<26} {:>5} {:>7} {:>15} {:>14}  standing",
        "arm", "seeds", "AUROC", "lowest, highest", "above leader"
    );
    let Some(last) = elimination.looks().last() else { return };
    let now = last.contest.0.iter().map(|arm| (last.seeds, arm));
    let now = now.filter(|(_, arm)| elimination.dropped().all(|dropped| dropped.scored != arm.scored));
    let before = elimination.looks().iter().rev();
    let before = before.flat_map(|look| look.dropped.iter().map(|arm| (look.seeds, arm)));
    for (seeds, arm) in now.chain(before) {
        let scores = elimination.scores(&arm.scored);
        let low = scores.iter().copied().fold(f64::INFINITY, f64::min);
        let high = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let leads = arm.scored == last.contest.leader().scored;
        let is_open = last.open.iter().any(|open| open.scored == arm.scored);
        let standing = match (is_open, arm.may_be_best) {
            _ if leads => "leads".to_owned(),
            (true, _) => "open".to_owned(),
            (false, true) => format!("near the leader: dropped after {seeds} seeds"),
            (false, false) => format!("beaten: dropped after {seeds} seeds"),
        };
        let chosen = if arm.scored == *pick && !leads { ", the best guess" } else { "" };
        let above = if leads { "-".to_owned() } else { format!("at most {:+.3}", arm.above_leader) };
        println!(
            "{:<26} {seeds:>5} {:>7.3} {:>15} {above:>14}  {standing}{chosen}",
            in_words(&arm.scored),
            arm.mean,
            format!("{low:.3}, {high:.3}"),
        );
    }
}

fn sentence(elimination: &Elimination, pick: &Scored, arguments: &Arguments, refused: &str) -> String {
    let (name, margin) = (in_words(pick), arguments.margin);
    let arms = elimination.looks().first().map_or(0, |look| look.contest.0.len());
    let cost =
        format!("after {} of the whole grid's {} trainings", elimination.trainings(), arms * arguments.seeds);
    match elimination.end() {
        Some(End::Decided) => format!("Decided {cost}: {name} is the best, every other arm is below it."),
        Some(End::Equivalent) => {
            format!("Settled {cost}: take {name}. No other arm is above it by more than {margin}.")
        }
        Some(End::Seeds) => format!(
            "Not decided {cost}, with --seeds {} used up. The best guess, by the median of its seeds, is {name}.",
            arguments.seeds
        ),
        None => format!(
            "Not decided {cost}, with --hours used up ({refused}). The best guess, by the median of its seeds, is \
             {name}. Run the same command again to resume."
        ),
    }
}

/// Prints what remains open, and what would decide it.
fn print_open_arms(elimination: &Elimination, pick: &Scored) {
    let Some(look) = elimination.looks().last() else { return };
    let leader = look.contest.leader();
    if *pick != leader.scored {
        println!(
            "{} has the highest mean; one collapsed seed changes a mean, but not a median.",
            in_words(&leader.scored)
        );
    }
    for arm in &look.open {
        let seeds = match elimination.seeds_to_settle(arm) {
            Some(seeds) => format!("about {seeds:.0} seeds of both would settle it"),
            None => "more seeds cannot settle it, because both are equal; a larger --margin can".to_owned(),
        };
        println!(
            "Open: {} may be above {} by {:.3}; {seeds}.",
            in_words(&arm.scored),
            in_words(&leader.scored),
            arm.above_leader
        );
    }
}

/// Compares the chosen arm with floors, supervised training and, if the arm is supervised, the best one that is
/// not.
fn compare_with_baselines(pick: &Scored, records: &[Record]) {
    let named = records.iter().map(|record| (record.cell.id.clone(), record.clone()));
    let reading = reading::from_memory(named.collect());
    let evidence = Evidence::measured("choice", &reading.frame);
    let score = |at: &Scored| mean(&evidence.scores(Metric::Auroc, at));
    let mut scored: Vec<Scored> =
        reading.frame.axes().into_iter().filter(|at| *at == at.cell.converged()).collect();
    scored.retain(|at| at != pick);
    scored.sort_by(|first, second| score(second).total_cmp(&score(first)));
    let is_supervised = |at: &Scored| at.cell.method.is_some_and(method::Name::is_supervised);
    let is_floor = |at: &Scored| at.cell.is_floor();
    // The arm was chosen among so many by the same scores.
    let arms = 1 + scored.iter().filter(|at| !is_floor(at)).count();
    println!(
        "\n{} (AUROC {:.3}) beside others; differences with 95 % intervals, corrected for having chosen one of {arms} \
         (Bonferroni):",
        in_words(pick),
        score(pick)
    );
    let compare = |at: &Scored| compare(&evidence, pick, at, arms);
    for at in scored.iter().filter(|at| is_floor(at) || is_supervised(at)) {
        compare(at);
    }
    if is_supervised(pick) {
        if let Some(best) = scored.iter().find(|at| !is_floor(at) && !is_supervised(at)) {
            println!(
                "It is supervised, so it learns from labels. The best of the self-supervised methods is"
            );
            compare(best);
        }
    } else if !scored.iter().any(is_supervised) {
        println!("  supervised training was left out by --only");
    }
}

fn compare(evidence: &Evidence, pick: &Scored, other: &Scored, arms: usize) {
    /// Chance of an error at each end of an interval.
    const TAIL: f64 = 0.025;
    let name = match other.cell.study {
        Study::Pixels => "pixels".to_owned(),
        Study::GivenWeights => format!("given weights, frozen, of {}", other.cell.backbone_id()),
        Study::RandomWeights => format!("random weights of {}", other.cell.backbone_id()),
        _ => in_words(other),
    };
    let score = mean(&evidence.scores(Metric::Auroc, other));
    let told = match evidence.difference(Metric::Auroc, pick, other) {
        Ok(contrast) => {
            let (estimate, reach) =
                (contrast.value.estimate, contrast.error.tail_quantile(TAIL / arms as f64));
            let corrected = Interval { estimate, low: estimate - reach, high: estimate + reach };
            placed(&format!("{name} ({score:.3})"), corrected)
        }
        Err(_) => format!("the spread of {name} ({score:.3}) over seeds is unknown"),
    };
    println!("  {told}");
}

/// Says whether the pick is above another model, from the interval of their difference.
fn placed(other: &str, difference: Interval) -> String {
    let Interval { estimate, low, high } = difference;
    let (verdict, doubt) = match (low > 0.0, high < 0.0) {
        (true, _) => ("above", ""),
        (_, true) => ("BELOW", ""),
        _ => ("NOT ABOVE", ", as far as these seeds tell"),
    };
    format!("{verdict} {other}{doubt}: {estimate:+.3} ({low:+.3} to {high:+.3})")
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use skewbench::{
        analysis::{Axes, elimination::Rule},
        backbone::Name::ResNet18,
        data::Share,
        method::Name::{Byol, SimClr},
    };

    use super::*;
    use crate::support::alone::Standalone;

    fn at(method: method::Name) -> Scored {
        Axes::table_1(method, ResNet18, Share::percent(45)).converged()
    }

    /// Returns the final message for two seeds of SimCLR, then of BYOL, with at most `most` seeds.
    fn told(most: usize, scores: [[f64; 2]; 2]) -> String {
        let rule = Rule::new(2, most, 0.02).unwrap();
        let mut race = Elimination::new(&[at(SimClr), at(Byol)], rule);
        let [[a, b], [c, d]] = scores;
        race.judge_scores(&[a, c, b, d]).unwrap();
        let seeds = most.to_string();
        let arguments = Standalone::<Arguments>::parse_from(["--seeds", &seeds]).arguments;
        sentence(&race, &race.pick().unwrap(), &arguments, "it takes 2 h")
    }

    /// The interval decides, not the estimate.
    #[test]
    fn above_and_below_are_said_of_intervals() {
        for (low, estimate, high, expected) in [
            (0.001, 0.02, 0.039, "above it: +0.020 (+0.001 to +0.039)"),
            (-0.001, 0.02, 0.041, "NOT ABOVE it, as far as these seeds tell: +0.020 (-0.001 to +0.041)"),
            (-0.041, -0.02, 0.001, "NOT ABOVE it, as far as these seeds tell: -0.020 (-0.041 to +0.001)"),
            (-0.039, -0.02, -0.001, "BELOW it: -0.020 (-0.039 to -0.001)"),
        ] {
            assert_eq!(placed("it", Interval { estimate, low, high }), expected);
        }
    }

    #[test]
    fn how_a_choice_ended_is_said() {
        let apart = [[0.9, 0.901], [0.5, 0.501]];
        let expected = "Decided after 4 of the whole grid's 10 trainings: simclr on resnet18 is the best, every \
                        other arm is below it.";
        assert_eq!(told(5, apart), expected);
        let alike = [[0.9, 0.901], [0.9002, 0.9012]];
        let expected = "Settled after 4 of the whole grid's 10 trainings: take byol on resnet18. No other arm is \
                        above it by more than 0.02.";
        assert_eq!(told(5, alike), expected);
        let open = [[0.7, 0.9], [0.6, 0.8]];
        let said = told(2, open);
        assert!(
            said.starts_with("Not decided after 4 of the whole grid's 4 trainings, with --seeds 2 used up.")
        );
        assert!(said.ends_with("by the median of its seeds, is simclr on resnet18."), "{said}");
        let said = told(5, open);
        assert!(
            said.contains("with --hours used up (it takes 2 h)") && said.contains("is simclr on resnet18."),
            "{said}"
        );
    }

    use skewbench::method::Name::{BarlowTwins, Supervised};

    use crate::support::{committed, print::captured};

    /// Three arms: one is beaten in the first look; the others are still open after the second, when no seeds are
    /// left.
    fn race() -> Elimination {
        let rule = Rule::new(3, 3, 0.02).unwrap();
        let mut race = Elimination::new(&[at(SimClr), at(Byol), at(BarlowTwins)], rule);
        race.judge_scores(&[0.900, 0.400, 0.850, 0.902, 0.402, 0.910]).unwrap();
        assert_eq!(race.looks()[0].dropped.len(), 1, "{:?}", race.looks());
        race.judge_scores(&[0.901, 0.860]).unwrap();
        race
    }

    #[test]
    fn every_arm_is_in_the_table_with_its_seeds_and_scores() {
        let race = race();
        let told = captured::output(|| table(&race, &race.pick().unwrap()));
        let lines: Vec<Vec<&str>> = told.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1].join(" "), "arm seeds AUROC lowest, highest above leader standing");
        let row = |name: &str| {
            let line =
                lines.iter().find(|line| line.first() == Some(&name)).unwrap_or_else(|| panic!("{told}"));
            line[3..].join(" ")
        };
        assert_eq!(row("simclr"), "3 0.901 0.900, 0.902 - leads");
        let last = race.looks().last().unwrap();
        let other = last.contest.0.iter().find(|arm| arm.scored == at(BarlowTwins)).unwrap();
        let begin = format!("3 0.873 0.850, 0.910 at most {:+.3} ", other.above_leader);
        assert!(row("barlow_twins").starts_with(&begin), "{told}");
        let beaten = &race.looks()[0].dropped[0];
        let expected =
            format!("2 0.401 0.400, 0.402 at most {:+.3} beaten: dropped after 2 seeds", beaten.above_leader);
        assert_eq!(row("byol"), expected);
        assert_eq!(lines.len(), 2 + 3, "each arm once: {told}");
    }

    /// One seed collapsed, so the median prefers another arm than the mean.
    #[test]
    fn what_is_open_is_told_with_what_would_settle_it() {
        let rule = Rule::new(2, 3, 0.02).unwrap();
        let mut race = Elimination::new(&[at(SimClr), at(Byol)], rule);
        race.judge_scores(&[0.90, 0.80, 0.30, 0.70]).unwrap();
        race.judge_scores(&[0.92, 0.78]).unwrap();
        let pick = race.pick().unwrap();
        assert_eq!((pick, race.looks()[1].contest.leader().scored), (at(SimClr), at(Byol)));
        let told = captured::output(|| print_open_arms(&race, &pick));
        let arm = &race.looks()[1].open[0];
        let seeds = race.seeds_to_settle(arm).unwrap();
        let expected = format!(
            "byol on resnet18 has the highest mean; one collapsed seed changes a mean, but not a median.\n\
             Open: simclr on resnet18 may be above byol on resnet18 by {:.3}; about {seeds:.0} seeds of both would \
             settle it.\n",
            arm.above_leader
        );
        assert_eq!(told, expected);
        let told = captured::output(|| table(&race, &pick));
        let line = told.lines().find(|line| line.starts_with("simclr")).unwrap();
        assert!(line.ends_with("  open, the best guess"), "{told}");
    }

    /// An arm may be the best and yet be dropped, if it cannot be better by more than the margin; and two arms without
    /// any difference cannot be told apart by more seeds, unless a difference may be ignored.
    #[test]
    fn arms_near_the_leader_are_dropped_or_cannot_be_settled() {
        let mut race = Elimination::new(&[at(SimClr), at(Byol)], Rule::new(2, 5, 0.02).unwrap());
        race.judge_scores(&[0.900, 0.9004, 0.902, 0.9024]).unwrap();
        let told = captured::output(|| table(&race, &race.pick().unwrap()));
        let words = |name: &str| {
            let line = told.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{told}"));
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let above = race.looks()[0].dropped[0].above_leader;
        let expected = format!(
            "simclr on resnet18 2 0.901 0.900, 0.902 at most {above:+.3} near the leader: dropped after 2 seeds"
        );
        assert_eq!(words("simclr"), expected);
        assert!(words("byol").ends_with(" - leads"), "{told}");

        let mut race = Elimination::new(&[at(SimClr), at(Byol)], Rule::new(2, 2, 0.0).unwrap());
        race.judge_scores(&[0.75, 0.875, 0.875, 0.75]).unwrap();
        let look = race.looks().last().unwrap();
        let told = captured::output(|| print_open_arms(&race, &look.contest.leader().scored));
        let [open] = &look.open[..] else { panic!("{look:?}") };
        let expected = format!(
            "Open: {} may be above {} by {:.3}; more seeds cannot settle it, because both are equal; a larger \
             --margin can.\n",
            in_words(&open.scored),
            in_words(&look.contest.leader().scored),
            open.above_leader
        );
        assert_eq!(told, expected);
    }

    /// Records of three methods and a floor, two seeds each.
    fn records(methods: &[(&str, &str, f64)]) -> Vec<Record> {
        let mut records = Vec::new();
        for (study, method, auroc) in methods {
            for seed in 0..2 {
                let mut record = committed::record(study, method, seed);
                record.scores.iter_mut().for_each(|score| score.auroc = auroc + 0.002 * seed as f64 - 0.001);
                records.push(record);
            }
        }
        records
    }

    #[test]
    fn the_chosen_arm_stands_beside_floors_and_supervised_training() {
        let all = [
            ("table1", "simclr", 0.8),
            ("table1", "byol", 0.7),
            ("table1", "supervised", 0.9),
            ("random_weights", "none", 0.5),
        ];
        let told = |pick, records: &[Record]| captured::output(|| compare_with_baselines(&at(pick), records));
        let simclr = told(SimClr, &records(&all));
        let lines: Vec<&str> = simclr.lines().collect();
        assert_eq!(
            lines[1],
            "simclr on resnet18 (AUROC 0.800) beside others; differences with 95 % intervals, corrected for having \
             chosen one of 3 (Bonferroni):"
        );
        assert!(lines[2].starts_with("  BELOW supervised on resnet18 (0.900): -0.100 (-0.1"), "{simclr}");
        assert!(lines[3].starts_with("  above random weights of resnet18 (0.500): +0.300 (+0.2"), "{simclr}");
        assert_eq!(lines.len(), 4, "other methods are in the table: {simclr}");
        let supervised = told(Supervised, &records(&all));
        let lines: Vec<&str> = supervised.lines().collect();
        assert!(lines[2].starts_with("  above random weights of resnet18 (0.500): +0.400"), "{supervised}");
        assert_eq!(
            lines[3],
            "It is supervised, so it learns from labels. The best of the self-supervised methods is"
        );
        assert!(lines[4].starts_with("  above simclr on resnet18 (0.800): +0.100"), "{supervised}");
        let alone = told(SimClr, &records(&all[..2]));
        assert!(alone.ends_with("\n  supervised training was left out by --only\n"), "{alone}");
        let equal = [("table1", "simclr", 0.8), ("table1", "supervised", 0.8)];
        let equal = told(SimClr, &records(&equal));
        assert!(
            equal.contains(
                "  NOT ABOVE supervised on resnet18 (0.800), as far as these seeds tell: +0.000 (-0.0"
            ),
            "{equal}"
        );
    }

    /// A floor above every method that learns without labels is still a floor; given weights have a name of their own.
    #[test]
    fn floors_are_told_by_their_kind_and_never_as_a_method() {
        let all = [
            ("table1", "simclr", 0.6),
            ("table1", "byol", 0.7),
            ("table1", "supervised", 0.9),
            ("random_weights", "none", 0.8),
            ("given_weights", "none", 0.75),
        ];
        let told = captured::output(|| compare_with_baselines(&at(Supervised), &records(&all)));
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines[2].starts_with("  above random weights of resnet18 (0.800): +0.100"), "{told}");
        assert!(lines[3].starts_with("  above given weights, frozen, of resnet18 (0.750): +0.150"), "{told}");
        assert!(lines[5].starts_with("  above byol on resnet18 (0.700): +0.200"), "{told}");
        assert_eq!(lines.len(), 6, "{told}");
        // With one seed there is no interval.
        let one: Vec<Record> = records(&all).into_iter().filter(|record| record.cell.seed == 0).collect();
        let told = captured::output(|| compare_with_baselines(&at(SimClr), &one));
        assert!(
            told.contains("\n  the spread of supervised on resnet18 (0.899) over seeds is unknown\n"),
            "{told}"
        );
    }

    /// Either the first training does not fit, or it did and the next one does not.
    #[test]
    fn a_choice_without_a_comparison_says_what_did_not_fit() {
        use skewbench::results::Folder;

        use crate::asked::{Lists, Request};
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let flags = "--study table1 --only simclr-resnet18 --shares 45% --quick";
        let run = Standalone::<Request>::parse_from(flags.split(' '))
            .arguments
            .run(Lists::Read(root.path()))
            .unwrap();
        let resolved = run.resolve().unwrap();
        let mut record = committed::record("table1", "simclr", 0);
        (record.cost.train_seconds, record.cost.evaluate_seconds) = (7_000.0, 200.0);
        folder.write(&record).unwrap();
        let clock = Clock::new(Some(0.5), &folder, &run, 3);
        assert!(!clock.admits(&resolved[1]));
        let arguments = Standalone::<Arguments>::parse_from(["--seeds", "3"]).arguments;
        let race = Elimination::new(&[at(SimClr), at(Byol)], Rule::new(2, 3, 0.02).unwrap());
        let refused =
            "table1/simclr-resnet18-share45-seed1 takes about 2 h 00 min, but only 30 min of 30 min are left";
        let error = print(&race, &[], &clock, &arguments).unwrap_err().to_string();
        assert_eq!(error, format!("no training fits into --hours: {refused}"));
        let told = captured::output(|| print(&race, &[record], &clock, &arguments).unwrap());
        let expected = format!(
            "\nNothing can be said yet: 1 training is finished, and the first comparison needs 2 seeds of every arm \
             ({refused}). Run the same command again to resume.\n"
        );
        assert_eq!(told, expected);
    }

    /// Dropped in the last look, so both its contest and its list of dropped arms have it.
    #[test]
    fn an_arm_that_is_dropped_last_has_one_row() {
        let mut race =
            Elimination::new(&[at(SimClr), at(Byol), at(BarlowTwins)], Rule::new(3, 5, 0.02).unwrap());
        race.judge_scores(&[0.900, 0.400, 0.300, 0.902, 0.402, 0.303]).unwrap();
        assert_eq!((race.looks().len(), race.looks()[0].dropped.len()), (1, 2), "{:?}", race.looks());
        let told = captured::output(|| table(&race, &race.pick().unwrap()));
        let names: Vec<&str> = told.lines().skip(2).map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!((names[0], names.len()), ("simclr", 3), "{told}");
        for beaten in ["byol", "barlow_twins"] {
            assert_eq!(names.iter().filter(|name| **name == beaten).count(), 1, "{told}");
        }
    }

    /// Two arms are open; what would settle them differs.
    #[test]
    fn every_open_arm_is_told_with_its_own_number_of_seeds() {
        let mut race =
            Elimination::new(&[at(SimClr), at(Byol), at(BarlowTwins)], Rule::new(3, 2, 0.02).unwrap());
        race.judge_scores(&[0.70, 0.63, 0.40, 0.90, 0.79, 0.81]).unwrap();
        let look = race.looks().last().unwrap();
        let seeds: Vec<String> =
            look.open.iter().map(|arm| format!("{:.0}", race.seeds_to_settle(arm).unwrap())).collect();
        assert!(seeds.len() == 2 && seeds[0] != seeds[1], "{seeds:?}");
        let told = captured::output(|| print_open_arms(&race, &look.contest.leader().scored));
        let expected: String = look
            .open
            .iter()
            .zip(&seeds)
            .map(|(arm, seeds)| {
                format!(
                    "Open: {} may be above simclr on resnet18 by {:.3}; about {seeds} seeds of both would settle it.\n",
                    in_words(&arm.scored),
                    arm.above_leader
                )
            })
            .collect();
        assert_eq!(told, expected);
    }

    /// One of three was chosen, so each end of an interval has a third of the usual chance of an error.
    #[test]
    fn intervals_are_those_of_a_choice_among_so_many() {
        let all = records(&[
            ("table1", "simclr", 0.8),
            ("table1", "byol", 0.7),
            ("table1", "supervised", 0.75),
            ("random_weights", "none", 0.5),
        ]);
        let named = all.iter().map(|record| (record.cell.id.clone(), record.clone()));
        let reading = reading::from_memory(named.collect());
        let evidence = Evidence::measured("choice", &reading.frame);
        let contrast = evidence.difference(Metric::Auroc, &at(SimClr), &at(Supervised)).unwrap();
        let line = |tail: f64| {
            let (estimate, reach) = (contrast.value.estimate, contrast.error.tail_quantile(tail));
            let (low, high) = (estimate - reach, estimate + reach);
            format!("\n  above supervised on resnet18 (0.750): {estimate:+.3} ({low:+.3} to {high:+.3})\n")
        };
        let (corrected, plain) = (line(0.025 / 3.0), line(0.025));
        assert_ne!(corrected, plain);
        let told = captured::output(|| compare_with_baselines(&at(SimClr), &all));
        assert!(told.contains(&corrected), "{told}, expected {corrected}");
    }
}
