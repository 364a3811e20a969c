//! Rounds of a choice: the wanted cells are trained, then compared, and the result is printed.

use anyhow::{Context, Result, bail, ensure};
use skewbench::{
    analysis::{
        Scored,
        elimination::{Elimination, End, Look},
    },
    experiment::{Cell, Resolved},
    named::counted,
    results::{Classifier, Folder, Metric, Record, provenance, record},
};

use super::{Run, clock::Clock, in_words, scored};
use crate::{
    cmd::reproduce,
    support::{program, pulse::duration, table},
    training::{Cells, Keep},
};

/// Everything that rounds need.
pub struct Rounds<'a> {
    pub resolved: &'a [Resolved<'a>],
    pub folder: &'a Folder,
    pub keep: Keep<'a>,
    pub clock: &'a Clock<'a>,
    pub run: &'a Run,
    /// The callback of [`Cells::trained`].
    pub trained: &'a dyn Fn() -> Result<()>,
}

impl Rounds<'_> {
    /// # Errors
    /// If the folder holds other experiments under the same names, or records that cannot be read: every further
    /// decision depends on them.
    pub fn ensure_readable(&self) -> Result<()> {
        let all: Vec<&Resolved> = self.resolved.iter().collect();
        match &self.cells(&all, &|_| true).ensure_ours()?[..] {
            [] => Ok(()),
            [failure, ..] => bail!("{}\nmove the file away to compute the cell again", failure.reason),
        }
    }

    /// Scores the floors.
    pub fn floors(&self, floors: &[Cell]) -> Result<Vec<Record>> {
        let wanted: Vec<&Resolved> = floors.iter().map(|cell| self.find(cell)).collect::<Result<_>>()?;
        self.note(&wanted, 1)?;
        println!("\nfloors");
        self.all_of(&wanted, &|_| true)
    }

    /// Runs round after round until the choice is made, or the time is up. Adds all records to `records`.
    pub fn race(&self, mut elimination: Elimination, records: &mut Vec<Record>) -> Result<Elimination> {
        let mut begun: Vec<&Resolved> = self.resolved.iter().filter(|known| known.cell.is_floor()).collect();
        loop {
            let wanted = elimination.pending();
            if wanted.is_empty() {
                return Ok(elimination);
            }
            let wanted: Vec<&Resolved> =
                wanted.iter().map(|(at, seed)| self.find_arm(at, *seed)).collect::<Result<_>>()?;
            begun.extend(&wanted);
            self.note(&begun, 0)?;
            self.announce(&elimination, &wanted);
            let found = self.all_of(&wanted, &|resolved| self.clock.admits(resolved))?;
            let scores: Vec<f64> = found.iter().map(auroc).collect::<Result<_>>()?;
            records.extend(found);
            if scores.len() < wanted.len() {
                return Ok(elimination);
            }
            print_round(elimination.judge_scores(&scores)?);
        }
    }

    /// Trains cells, and returns their records in order, without those that may not start.
    fn all_of(&self, wanted: &[&Resolved], may_begin: &dyn Fn(&Resolved) -> bool) -> Result<Vec<Record>> {
        let (records, failed) = self.cells(wanted, may_begin).train(Vec::new())?;
        ensure!(
            failed.is_empty(),
            "{} of {} trainings failed; the others are finished, and the same command tries these again:\n  {}",
            failed.len(),
            wanted.len(),
            failed.iter().map(|failure| failure.reason.as_str()).collect::<Vec<_>>().join("\n  ")
        );
        Ok(records)
    }

    fn cells<'b>(
        &'b self,
        wanted: &'b [&'b Resolved<'b>],
        may_begin: &'b dyn Fn(&Resolved) -> bool,
    ) -> Cells<'b> {
        let Self { folder, keep, trained, .. } = *self;
        Cells { resolved: wanted, folder, keep, may_begin, trained }
    }

    /// Notes for `status` what has been requested so far.
    fn note(&self, cells: &[&Resolved], times: usize) -> Result<()> {
        let asked = record::Run {
            command: program::command(),
            provenance: provenance::collect(&self.run.plan.device),
            times,
            cells: cells.iter().map(|cell| (cell.cell.id(), cell.image_passes())).collect(),
        };
        reproduce::note_run(self.folder, asked)
    }

    fn announce(&self, elimination: &Elimination, wanted: &[&Resolved]) {
        let (round, after) = (elimination.looks().len() + 1, elimination.max_remaining() - wanted.len());
        // The pace is known once every arm has a finished seed.
        let each = wanted.iter().map(|cell| self.clock.mean_seconds(&cell.cell));
        let pace = each.sum::<Option<f64>>().map(|sum| sum / wanted.len() as f64);
        let time = |trainings: usize| {
            pace.map_or_else(String::new, |pace| format!(", about {}", duration(pace * trainings as f64)))
        };
        let rest = match after {
            0 => "the last".to_owned(),
            after => format!("at most {after} after it{}", time(after)),
        };
        println!(
            "\nround {round}: {}{}; {rest}",
            counted(wanted.len(), "training", "trainings"),
            time(wanted.len())
        );
    }

    fn find_arm(&self, at: &Scored, seed: u64) -> Result<&Resolved<'_>> {
        let cell = self
            .resolved
            .iter()
            .find(|known| known.cell.seed == seed && !known.cell.is_floor() && scored(&known.cell) == *at);
        cell.with_context(|| format!("seed {seed} of {} was not resolved", in_words(at)))
    }

    fn find(&self, cell: &Cell) -> Result<&Resolved<'_>> {
        let found = self.resolved.iter().find(|known| known.cell == *cell);
        found.with_context(|| format!("{cell} was not resolved"))
    }
}

/// Returns the score by which arms are judged.
///
/// # Errors
/// If a record lacks it.
fn auroc(record: &Record) -> Result<f64> {
    let found = table::all_images(record, Classifier::Converged, Metric::Auroc);
    found.filter(|score| score.is_finite()).with_context(|| {
        format!("cell {}: its converged probe has no AUROC on all validation images", record.cell.id)
    })
}

/// Prints the leader after a round, and which arms were dropped and why.
fn print_round(look: &Look) {
    let leader = look.contest.leader();
    println!("after {} seeds: {} leads with AUROC {:.3}", look.seeds, in_words(&leader.scored), leader.mean);
    for arm in &look.dropped {
        let (lag, most) = (leader.mean - arm.mean, arm.above_leader);
        let why = match (arm.may_be_best, most < 0.0) {
            (true, _) => format!("above the leader by {:.3} at most", most.max(0.0)),
            (false, true) => format!("below the leader by {:.3} at least", -most),
            (false, false) => "below another arm by more than the spread over seeds".to_owned(),
        };
        println!("  dropped  {:<26} AUROC {:.3}, {lag:.3} less: {why}", in_words(&arm.scored), arm.mean);
    }
    for arm in &look.open {
        let lag = leader.mean - arm.mean;
        println!(
            "  open     {:<26} AUROC {:.3}, {lag:.3} less: may be above the leader by up to {:.3}",
            in_words(&arm.scored),
            arm.mean,
            arm.above_leader
        );
    }
    if look.end == Some(End::Seeds) {
        println!("  no seeds are left");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::alone::Standalone;
    use crate::support::committed;

    /// Only AUROC of the converged probe on all validation images counts.
    #[test]
    fn arms_are_judged_by_the_converged_probe_on_all_images() {
        let mut record = committed::record("table1", "simclr", 0);
        for score in &mut record.scores {
            let own = score.classifier == "converged" && score.validation_share.is_none();
            (score.auroc, score.f1) = (if own { 0.875 } else { 0.25 }, 0.5);
        }
        assert_eq!(auroc(&record).unwrap(), 0.875);
        let natural =
            |score: &record::Score| score.validation_share.is_some() || score.classifier != "converged";
        record.scores.retain(natural);
        let error = auroc(&record).unwrap_err().to_string();
        assert!(error.contains("its converged probe has no AUROC on all validation images"), "{error}");
    }

    /// Computed by hand: lags are the leader's mean minus the arms' means.
    #[test]
    fn a_round_says_who_leads_and_why_arms_are_dropped() {
        use skewbench::{
            analysis::{
                Axes,
                best::{Arm, Contest},
            },
            backbone::Name::ResNet18,
            data::Share,
            method::Name::{self, BarlowTwins, Byol, Dino, SimClr, Supervised},
        };

        use crate::support::print::captured;
        let arm = |method: Name, mean: f64, may_be_best: bool, above_leader: f64| {
            let at = Axes::table_1(method, ResNet18, Share::percent(45)).converged();
            Arm { scored: at, mean, seeds: 4, may_be_best, above_leader, may_lose: 0.5 }
        };
        let leader = arm(SimClr, 0.9, true, 0.0);
        let dropped = vec![
            arm(Byol, 0.8, true, 0.015),
            arm(BarlowTwins, 0.7, false, -0.125),
            arm(Dino, 0.6, false, 0.25),
        ];
        let open = vec![arm(Supervised, 0.875, true, 0.0625)];
        let contest = Contest([&[leader][..], &open, &dropped].concat());
        let look = Look { seeds: 4, contest, dropped, open, end: None };
        let told = captured::output(|| print_round(&look));
        let lines: Vec<String> =
            told.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let expected = [
            "after 4 seeds: simclr on resnet18 leads with AUROC 0.900",
            "dropped byol on resnet18 AUROC 0.800, 0.100 less: above the leader by 0.015 at most",
            "dropped barlow_twins on resnet18 AUROC 0.700, 0.200 less: below the leader by 0.125 at least",
            "dropped dino on resnet18 AUROC 0.600, 0.300 less: below another arm by more than the spread over seeds",
            "open supervised on resnet18 AUROC 0.875, 0.025 less: may be above the leader by up to 0.062",
        ];
        assert_eq!(lines, expected);
        for (end, left) in [(End::Seeds, false), (End::Equivalent, true), (End::Decided, true)] {
            let ended = captured::output(|| print_round(&Look { end: Some(end), ..look.clone() }));
            assert_eq!(
                ended,
                format!("{told}{}", if left { "" } else { "  no seeds are left\n" }),
                "{end:?}"
            );
        }
    }

    /// Two arms with two seeds at first, at most three: four trainings, then two.
    #[test]
    fn a_round_is_announced_with_its_trainings_and_their_time() {
        use clap::Parser;
        use skewbench::analysis::elimination::Rule;

        use crate::{
            asked::{Lists, Request},
            support::print::captured,
        };
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let flags = "--study table1 --only simclr-resnet18,byol-resnet18 --shares 45% --seeds 3 --quick";
        let run = Standalone::<Request>::parse_from(flags.split(' '))
            .arguments
            .run(Lists::Read(root.path()))
            .unwrap();
        let resolved = run.resolve().unwrap();
        let clock = Clock::new(None, &folder, &run, 3);
        let keep = Keep { weights: false, tensorboard: None };
        let rounds = Rounds {
            resolved: &resolved,
            folder: &folder,
            keep,
            clock: &clock,
            run: &run,
            trained: &|| Ok(()),
        };
        let arms: Vec<Scored> =
            resolved.iter().filter(|cell| cell.cell.seed == 0).map(|cell| scored(&cell.cell)).collect();
        let mut elimination = Elimination::new(&arms, Rule::new(2, 3, 0.02).unwrap());
        let announced = |elimination: &Elimination| {
            let wanted = elimination.pending();
            let wanted: Vec<&Resolved> =
                wanted.iter().map(|(at, seed)| rounds.find_arm(at, *seed).unwrap()).collect();
            for ((at, seed), found) in elimination.pending().iter().zip(&wanted) {
                assert_eq!((scored(&found.cell), found.cell.seed), (*at, *seed));
            }
            captured::output(|| rounds.announce(elimination, &wanted))
        };
        assert_eq!(announced(&elimination), "\nround 1: 4 trainings; at most 2 after it\n");
        // 650 and 1,750 seconds: 20 minutes on average.
        for (method, seconds) in [("simclr", 600.0), ("byol", 1_700.0)] {
            let mut record = committed::record("table1", method, 0);
            (record.cost.train_seconds, record.cost.evaluate_seconds) = (seconds, 50.0);
            folder.write(&record).unwrap();
        }
        assert_eq!(
            announced(&elimination),
            "\nround 1: 4 trainings, about 1 h 20 min; at most 2 after it, about 40 min\n"
        );
        elimination.judge_scores(&[0.7, 0.6, 0.9, 0.8]).unwrap();
        assert_eq!(announced(&elimination), "\nround 2: 2 trainings, about 40 min; the last\n");
    }
}
