//! The result of the choice: a table, a sentence, and a comparison of the chosen arm with floors and supervised
//! training.

use anyhow::{Result, bail};
use skewbench::{
    analysis::{
        Scored,
        elimination::{Elimination, End, FIRST},
        intervals::mean,
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
             ({refused}). \
             Run the same command again to resume.",
            counted(trained, "training is", "trainings are")
        );
        return Ok(());
    };
    table(elimination, &pick);
    println!("\n{}", sentence(elimination, &pick, arguments, &refused));
    open(elimination, &pick);
    beside(&pick, records);
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
    let now = now.filter(|(_, arm)| elimination.dropped().all(|dropped| dropped.at != arm.at));
    let before = elimination.looks().iter().rev();
    let before = before.flat_map(|look| look.dropped.iter().map(|arm| (look.seeds, arm)));
    for (seeds, arm) in now.chain(before) {
        let scores = elimination.scores(&arm.at);
        let low = scores.iter().copied().fold(f64::INFINITY, f64::min);
        let high = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let leads = arm.at == last.contest.leader().at;
        let is_open = last.open.iter().any(|open| open.at == arm.at);
        let standing = match (is_open, arm.may_be_best) {
            _ if leads => "leads".to_owned(),
            (true, _) => "open".to_owned(),
            (false, true) => format!("near the leader: dropped after {seeds} seeds"),
            (false, false) => format!("beaten: dropped after {seeds} seeds"),
        };
        let chosen = if arm.at == *pick && !leads { ", the best guess" } else { "" };
        let above = if leads { "-".to_owned() } else { format!("at most {:+.3}", arm.above_leader) };
        println!(
            "{:<26} {seeds:>5} {:>7.3} {:>15} {above:>14}  {standing}{chosen}",
            in_words(&arm.at),
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
fn open(elimination: &Elimination, pick: &Scored) {
    let Some(look) = elimination.looks().last() else { return };
    let leader = look.contest.leader();
    if *pick != leader.at {
        println!(
            "{} has the highest mean; one collapsed seed changes a mean, but not a median.",
            in_words(&leader.at)
        );
    }
    for arm in &look.open {
        let seeds = match elimination.seeds_to_settle(arm) {
            Some(seeds) => format!("about {seeds:.0} seeds of both would settle it"),
            None => "more seeds cannot settle it, because both are equal; a larger --margin can".to_owned(),
        };
        println!(
            "Open: {} may be above {} by {:.3}; {seeds}.",
            in_words(&arm.at),
            in_words(&leader.at),
            arm.above_leader
        );
    }
}

/// Compares the chosen arm with floors, supervised training and, if the arm is supervised, the best one that is
/// not.
fn beside(pick: &Scored, records: &[Record]) {
    let named = records.iter().map(|record| (record.cell.id.clone(), record.clone()));
    let reading = reading::of(named.collect());
    let evidence = Evidence::measured("choice", &reading.frame);
    let score = |at: &Scored| mean(&evidence.seeds(Metric::Auroc, at));
    let mut scored: Vec<Scored> =
        reading.frame.axes().into_iter().filter(|at| *at == at.cell.converged()).collect();
    scored.retain(|at| at != pick);
    scored.sort_by(|first, second| score(second).total_cmp(&score(first)));
    let is_supervised = |at: &Scored| at.cell.method.is_some_and(method::Name::is_supervised);
    let is_floor = |at: &Scored| at.cell.is_floor();
    println!(
        "\n{} (AUROC {:.3}) beside others; differences with their intervals at 95 %:",
        in_words(pick),
        score(pick)
    );
    for at in scored.iter().filter(|at| is_floor(at) || is_supervised(at)) {
        compare(&evidence, pick, at);
    }
    if is_supervised(pick) {
        if let Some(best) = scored.iter().find(|at| !is_floor(at) && !is_supervised(at)) {
            println!(
                "It is supervised, so it learns from labels. The best of the self-supervised methods is"
            );
            compare(&evidence, pick, best);
        }
    } else if !scored.iter().any(is_supervised) {
        println!("  supervised training was left out by --only");
    }
}

fn compare(evidence: &Evidence, pick: &Scored, other: &Scored) {
    let name = match other.cell.study {
        Study::Pixels => "pixels".to_owned(),
        Study::GivenWeights => format!("given weights, frozen, of {}", other.cell.backbone_id()),
        Study::RandomWeights => format!("random weights of {}", other.cell.backbone_id()),
        _ => in_words(other),
    };
    let score = mean(&evidence.seeds(Metric::Auroc, other));
    let told = match evidence.above(Metric::Auroc, pick, other) {
        Ok(contrast) => {
            let value = contrast.value;
            let (verdict, doubt) = match (value.low > 0.0, value.high < 0.0) {
                (true, _) => ("above", ""),
                (_, true) => ("BELOW", ""),
                _ => ("NOT ABOVE", ", as far as these seeds tell"),
            };
            format!(
                "{verdict} {name} ({score:.3}){doubt}: {:+.3} ({:+.3} to {:+.3})",
                value.estimate, value.low, value.high
            )
        }
        Err(_) => format!("the spread of {name} ({score:.3}) over seeds is unknown"),
    };
    println!("  {told}");
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
    use crate::cmd::choose::tests::Command;

    fn at(method: method::Name) -> Scored {
        Axes::table_1(method, ResNet18, Share::percent(45)).converged()
    }

    /// Returns the final message for two seeds of SimCLR, then of BYOL, with at most `most` seeds.
    fn told(most: usize, scores: [[f64; 2]; 2]) -> String {
        let rule = Rule::new(2, most, 0.02).unwrap();
        let mut race = Elimination::new(&[at(SimClr), at(Byol)], rule);
        let [[a, b], [c, d]] = scores;
        race.look(&[a, c, b, d]).unwrap();
        let seeds = most.to_string();
        let arguments = Command::parse_from(["--seeds", &seeds]).arguments;
        sentence(&race, &race.pick().unwrap(), &arguments, "it takes 2 h")
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
}
