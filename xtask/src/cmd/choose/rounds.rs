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
            let wanted = elimination.wanted();
            if wanted.is_empty() {
                return Ok(elimination);
            }
            let wanted: Vec<&Resolved> =
                wanted.iter().map(|(at, seed)| self.of(at, *seed)).collect::<Result<_>>()?;
            begun.extend(&wanted);
            self.note(&begun, 0)?;
            self.announce(&elimination, &wanted);
            let found = self.all_of(&wanted, &|resolved| self.clock.admits(resolved))?;
            let scores: Vec<f64> = found.iter().map(auroc).collect::<Result<_>>()?;
            records.extend(found);
            if scores.len() < wanted.len() {
                return Ok(elimination);
            }
            tell(elimination.look(&scores)?);
        }
    }

    /// Returns the records of cells, in their order, without those that may not start.
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
        let (round, after) = (elimination.looks().len() + 1, elimination.most_left() - wanted.len());
        // Known once every arm has a finished seed.
        let each = wanted.iter().map(|cell| self.clock.known(&cell.cell));
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

    fn of(&self, at: &Scored, seed: u64) -> Result<&Resolved<'_>> {
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
fn tell(look: &Look) {
    let leader = look.contest.leader();
    println!("after {} seeds: {} leads with AUROC {:.3}", look.seeds, in_words(&leader.at), leader.mean);
    for arm in &look.dropped {
        let (lag, most) = (leader.mean - arm.mean, arm.above_leader);
        let why = match (arm.may_be_best, most < 0.0) {
            (true, _) => format!("above the leader by {:.3} at most", most.max(0.0)),
            (false, true) => format!("below the leader by {:.3} at least", -most),
            (false, false) => "below another arm by more than the spread over seeds".to_owned(),
        };
        println!("  dropped  {:<26} AUROC {:.3}, {lag:.3} less: {why}", in_words(&arm.at), arm.mean);
    }
    for arm in &look.open {
        let lag = leader.mean - arm.mean;
        println!(
            "  open     {:<26} AUROC {:.3}, {lag:.3} less: may be above the leader by up to {:.3}",
            in_words(&arm.at),
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
}
