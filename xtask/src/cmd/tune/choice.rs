//! The results of trials, pair by pair: from records alone, so that several processes on one folder choose alike.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use anyhow::Result;
use skewbench::{
    analysis::{FiledRecord, reading},
    backbone,
    experiment::{Cell, Study, recipe::search},
    method,
    results::{
        Classifier, Metric, provenance,
        record::{Trial, TunedPair},
    },
};

use super::Arguments;
use crate::{asked::Run, support::table};

/// Method, backbone, trial.
pub type Finalist = (method::Name, backbone::Name, u16);

pub fn finalist(cell: &Cell) -> Finalist {
    (cell.method, cell.backbone, super::trial(cell))
}

/// AUROC by trial and seed.
type Scores = BTreeMap<u16, BTreeMap<u64, f64>>;

/// Returns all pairs with trials in the folder, limited to the requested numbers of trials and seeds: at this
/// share, on the images of this run and with this code.
///
/// # Errors
/// If the run has no images.
pub fn pairs(asked: &Arguments, run: &Run) -> Result<Vec<TunedPair>> {
    let (_, source) = run.sources.for_cell(&run.cells[0], &run.plan)?;
    let (train, validation) = (source.train.digest(), source.validation.digest());
    let epochs = run.plan.scale.epochs.to_string();
    let comparable = |filed: &&FiledRecord| {
        let (data, made) = (&filed.record.data, &filed.record.provenance);
        (&data.train_digest, &data.validation_digest) == (&train, &validation)
            && made.code.as_deref() == Some(provenance::CODE_DIGEST)
            && filed.record.settings.text("epochs").as_ref() == Some(&epochs)
            && filed.cell.share == asked.share
            && filed.record.cell.seed < asked.seeds
    };
    let mut scores: BTreeMap<(method::Name, backbone::Name), Scores> = BTreeMap::new();
    for filed in reading::read(std::slice::from_ref(&asked.out)).records.iter().filter(comparable) {
        let auroc = table::all_images(&filed.record, Classifier::Converged, Metric::Auroc);
        let axes = (filed.cell.study, filed.cell.method, filed.cell.backbone, auroc);
        if let (Study::Tuning { trial }, Some(method), Some(backbone), Some(auroc)) = axes
            && trial < asked.trials
        {
            let trials = scores.entry((method, backbone)).or_default();
            trials.entry(trial).or_default().insert(filed.record.cell.seed, auroc);
        }
    }
    Ok(scores
        .into_iter()
        .filter_map(|((method, backbone), scores)| tuned(method, backbone, scores))
        .collect())
}

/// Summarises the scores of a pair. The chosen trial is the best of those with all seeds; the first, if several
/// are equal.
fn tuned(method: method::Name, backbone: backbone::Name, scores: Scores) -> Option<TunedPair> {
    let seeds: BTreeSet<u64> = scores.values().flat_map(BTreeMap::keys).copied().collect();
    let trial = |(trial, auroc): (u16, BTreeMap<u64, f64>)| {
        let point = search::point(method, backbone, trial);
        Trial {
            trial,
            learning_rate: point.learning_rate,
            weight_decay: point.weight_decay,
            views: point.augmentation.id().to_owned(),
            constant: point.constant,
            auroc,
        }
    };
    let mut pair = TunedPair {
        method: method.id().to_owned(),
        backbone: backbone.id().to_owned(),
        constant: search::constant(method).map(|constant| constant.name.to_owned()),
        seeds: seeds.into_iter().collect(),
        chosen: 0,
        trials: scores.into_iter().map(trial).collect(),
    };
    pair.chosen = sorted(&pair).first().filter(|best| pair.mean(best.trial).is_some())?.trial;
    Some(pair)
}

/// Returns the trials, best first: those with all seeds by their mean, then the others by the mean of their own
/// seeds; equal ones by number.
fn sorted(pair: &TunedPair) -> Vec<&Trial> {
    let own = |trial: &Trial| trial.auroc.values().sum::<f64>() / trial.auroc.len().max(1) as f64;
    let mut trials: Vec<&Trial> = pair.trials.iter().collect();
    trials.sort_by(|a, b| {
        let all = [a, b].map(|trial| pair.mean(trial.trial));
        all[1].is_some().cmp(&all[0].is_some()).then(own(b).total_cmp(&own(a))).then(a.trial.cmp(&b.trial))
    });
    trials
}

/// Returns the best `count` trials of each pair by seed 0, and trial 0 for comparison.
pub fn finalists(pairs: &[TunedPair], count: usize) -> BTreeSet<Finalist> {
    let mut finalists = BTreeSet::new();
    for pair in pairs {
        let (Ok(method), Ok(backbone)) = (pair.method.parse(), pair.backbone.parse()) else { continue };
        // By seed 0 alone: records of an interrupted second stage must not change the finalists.
        let mut by_first: Vec<(u16, f64)> =
            pair.trials.iter().filter_map(|trial| Some((trial.trial, *trial.auroc.get(&0)?))).collect();
        by_first.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let best = by_first.into_iter().take(count).map(|(trial, _)| trial);
        finalists.extend(best.chain([0]).map(|trial| (method, backbone, trial)));
    }
    finalists
}

/// Returns the trials of each pair, best first, and the choice, as text.
pub fn text(pairs: &[TunedPair]) -> String {
    let mut text = String::new();
    for pair in pairs {
        // Writing text to memory cannot fail.
        let _ = trials(pair, &mut text);
    }
    let _ = writeln!(
        text,
        "\n{:<24} {:>6} {:>9} {:>9} {:>9} {:>9}  views, constant",
        "chosen", "trial", "before", "after", "rate", "decay"
    );
    for pair in pairs {
        let Some(chosen) = pair.trials.iter().find(|trial| trial.trial == pair.chosen) else { continue };
        let [before, after] = [0, pair.chosen].map(|trial| score(pair.mean(trial)));
        let own = pair.constant.as_deref().zip(chosen.constant);
        let own = own.map_or_else(String::new, |(name, value)| format!(", {name} {value}"));
        let _ = writeln!(
            text,
            "{:<24} {:>6} {before:>9} {after:>9} {:>9.1e} {:>9.1e}  {}{own}",
            name(pair),
            chosen.trial,
            chosen.learning_rate,
            chosen.weight_decay,
            chosen.views
        );
    }
    text + "\nAUROC of the converged probe, mean over the same seeds before (trial 0, the unchanged recipe) and after. \
            The best of\nseveral looks slightly too good on the images that it was chosen on: its true value is seen in \
            a study on other images.\n"
}

/// Writes one line per trial, `*` before the chosen one; a mean if all seeds were trained.
fn trials(pair: &TunedPair, text: &mut String) -> std::fmt::Result {
    let own = pair.constant.as_deref().unwrap_or("-");
    writeln!(text, "\n{}", name(pair))?;
    write!(text, "  {:>5} {:>9} {:>9} {:>9} {own:>20}", "trial", "rate", "decay", "views")?;
    pair.seeds.iter().try_for_each(|seed| write!(text, " {:>7}", format!("seed {seed}")))?;
    writeln!(text, " {:>7}", "mean")?;
    for trial in sorted(pair) {
        let mark = if trial.trial == pair.chosen { '*' } else { ' ' };
        let constant = trial.constant.map_or_else(|| "-".to_owned(), |value| value.to_string());
        write!(
            text,
            "{mark} {:>5} {:>9.1e} {:>9.1e} {:>9} {constant:>20}",
            trial.trial, trial.learning_rate, trial.weight_decay, trial.views
        )?;
        for seed in &pair.seeds {
            write!(text, " {:>7}", score(trial.auroc.get(seed).copied()))?;
        }
        writeln!(text, " {:>7}", score(pair.mean(trial.trial)))?;
    }
    Ok(())
}

fn name(pair: &TunedPair) -> String {
    format!("{}-{}", pair.method, pair.backbone)
}

fn score(auroc: Option<f64>) -> String {
    auroc.map_or_else(|| "-".to_owned(), |auroc| format!("{auroc:.3}"))
}

#[cfg(test)]
mod tests {
    use skewbench::results::{Folder, Record};

    use super::*;
    use crate::support::alone::Standalone;
    use crate::support::committed;

    /// A pair whose trials, numbered from 0, have these scores by seed.
    fn pair(scores: &[&[f64]]) -> Option<TunedPair> {
        let of = |scores: &&[f64]| (0..).zip(scores.iter().copied()).collect::<BTreeMap<u64, f64>>();
        tuned(method::Name::SimClr, backbone::Name::ResNet18, (0..).zip(scores.iter().map(of)).collect())
    }

    #[test]
    fn the_best_over_all_seeds_is_chosen() {
        // Trial 2 is best with seed 0 but not over both; trial 3 was trained once.
        let pair = pair(&[&[0.70, 0.72], &[0.75, 0.79], &[0.80, 0.70], &[0.78]]).unwrap();
        assert_eq!((pair.chosen, &pair.seeds[..]), (1, &[0, 1][..]));
        assert_eq!(sorted(&pair).iter().map(|trial| trial.trial).collect::<Vec<_>>(), [1, 2, 0, 3]);
        assert_eq!(pair.mean(3), None);
        let told = text(&[pair]);
        assert!(told.contains("\n*     1 ") && told.contains(" 0.750   0.790   0.770\n"), "{told}");
        let chosen = told.lines().find(|line| line.starts_with("simclr-resnet18  ")).unwrap();
        assert!(chosen.contains("     1     0.710     0.770 "), "before and after: {chosen}");
    }

    #[test]
    fn of_equal_trials_the_first_is_chosen_and_of_none_none() {
        assert_eq!(pair(&[&[0.7], &[0.7]]).unwrap().chosen, 0);
        assert_eq!(pair(&[&[0.6, 0.8], &[0.8, 0.6]]).unwrap().chosen, 0);
        assert!(pair(&[]).is_none());
    }

    #[test]
    fn finalists_are_the_best_of_seed_0_and_trial_0() {
        // Records of an unfinished second stage change nothing.
        for second in [&[0.9][..], &[0.9, 0.1]] {
            let pair = pair(&[&[0.5], &[0.7], second, &[0.8]]).unwrap();
            let trials: Vec<u16> = finalists(&[pair], 2).into_iter().map(|(_, _, trial)| trial).collect();
            assert_eq!(trials, [0, 2, 3]);
        }
    }

    /// Of equal scores the trial with the lower number goes on, so that all processes choose alike.
    #[test]
    fn of_equal_trials_the_first_are_finalists() {
        let pair = pair(&[&[0.5], &[0.7], &[0.8], &[0.7], &[0.7]]).unwrap();
        let trials: Vec<u16> = finalists(&[pair], 3).into_iter().map(|(_, _, trial)| trial).collect();
        assert_eq!(trials, [0, 1, 2, 3]);
    }

    fn asked(flags: &str) -> Arguments {
        <Standalone<Arguments> as clap::Parser>::parse_from(flags.split_whitespace()).arguments
    }

    /// A change that makes a record incomparable.
    type Change = fn(&mut Record);

    /// A record of a trial of this run, with an AUROC of its converged probe.
    fn record(run: &Run, trial: u16, seed: u64, auroc: f64) -> Record {
        let mut record = committed::record("tuning", "supervised", seed);
        let (_, source) = run.sources.for_cell(&run.cells[0], &run.plan).unwrap();
        record.cell.variant = Some(format!("trial{trial:02}"));
        record.cell.id = format!("tuning/supervised-resnet18-trial{trial:02}-share15-seed{seed}");
        record.cell.train_share = Some(0.15);
        record.data.train_digest = source.train.digest();
        record.data.validation_digest = source.validation.digest();
        record.provenance.code = Some(provenance::CODE_DIGEST.to_owned());
        record.settings.values.insert("epochs".to_owned(), 7.into());
        let of_all = |score: &&mut skewbench::results::record::Score| score.validation_share.is_none();
        record.scores.iter_mut().filter(of_all).for_each(|score| score.auroc = auroc);
        record
    }

    /// Returns the trials found in a folder, with their seeds: two comparable records, and one changed by `more`.
    fn found(more: impl FnOnce(&mut Record), (trial, seed): (u16, u64)) -> Vec<(u16, Vec<u64>)> {
        let root = tempfile::tempdir().unwrap();
        let asked = asked(&format!(
            "--images 60 --epochs 7 --trials 3 --finalists 1 --only supervised-resnet18 --out {}",
            root.path().display()
        ));
        let run = asked.open().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let mut other = record(&run, trial, seed, 0.9);
        more(&mut other);
        for record in [record(&run, 0, 0, 0.7), record(&run, 1, 0, 0.8), other] {
            folder.write(&record).unwrap();
        }
        let [pair] = &pairs(&asked, &run).unwrap()[..] else { panic!("one pair") };
        assert_eq!((pair.method.as_str(), pair.trials[1].auroc[&0]), ("supervised", 0.8));
        pair.trials.iter().map(|trial| (trial.trial, trial.auroc.keys().copied().collect())).collect()
    }

    /// Trials with other images, code, epochs or share are ignored, and so are trials that were not requested.
    #[test]
    fn only_trials_that_can_be_compared_are() {
        let two = vec![(0, vec![0]), (1, vec![0])];
        assert_eq!(found(|_| (), (2, 0)), [&two[..], &[(2, vec![0])]].concat(), "a third trial");
        assert_eq!(found(|_| (), (1, 1)), [(0, vec![0]), (1, vec![0, 1])], "a second seed");
        assert_eq!(found(|_| (), (3, 0)), two, "--trials 3 are 0, 1 and 2");
        assert_eq!(found(|_| (), (2, 2)), two, "two seeds are 0 and 1");
        let others: [(&str, Change); 5] = [
            ("training images", |record| record.data.train_digest.push('x')),
            ("validation images", |record| record.data.validation_digest.push('x')),
            ("code", |record| record.provenance.code = Some("0".repeat(64))),
            ("epochs", |record| drop(record.settings.values.insert("epochs".to_owned(), 8.into()))),
            ("share", |record| {
                record.cell.train_share = Some(0.45);
                record.cell.id = record.cell.id.replace("share15", "share45");
            }),
        ];
        for (what, more) in others {
            assert_eq!(found(more, (2, 0)), two, "{what}");
        }
    }

    #[test]
    fn trials_are_asked_for_seed_by_seed() {
        let asked =
            asked("--trials 3 --finalists 2 --seeds 2 --share 5% --only simclr-resnet,byol-vit --images 100");
        let cells: Vec<String> = asked.cells().unwrap().iter().map(Cell::id).collect();
        let of = |seed: u64, trial: u16| {
            ["byol-vit_tiny", "simclr-resnet18"]
                .map(|pair| format!("tuning/{pair}-trial{trial:02}-share05-seed{seed}"))
        };
        let expected = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)].map(|(seed, trial)| of(seed, trial));
        for (found, mut expected) in cells.chunks(2).zip(expected) {
            let mut found = found.to_vec();
            found.sort();
            expected.sort();
            assert_eq!(found, expected);
        }
        assert_eq!(cells.len(), 12);
        // Three tenths as many validation images; otherwise the plan of small scale.
        let run = asked.open().unwrap();
        assert_eq!(run.plan.scale.synthetic_images, (100, 30));
        assert_eq!(run.plan.scale.epochs, skewbench::experiment::Scale::small().epochs);
    }

    /// The whole text of a pair whose numbers are all different, written by hand.
    #[test]
    fn trials_and_the_choice_are_told_with_every_number_in_its_column() {
        let trial = |trial, numbers: [f64; 2], views: &str, constant, auroc: &[f64]| Trial {
            trial,
            learning_rate: numbers[0],
            weight_decay: numbers[1],
            views: views.to_owned(),
            constant,
            auroc: (0..).zip(auroc.iter().copied()).collect(),
        };
        let pair = TunedPair {
            method: "simclr".to_owned(),
            backbone: "resnet18".to_owned(),
            constant: Some("temperature".to_owned()),
            seeds: vec![0, 1],
            chosen: 2,
            trials: vec![
                trial(0, [0.001, 0.02], "paper", Some(0.5), &[0.7, 0.72]),
                trial(1, [0.003, 0.04], "flip", Some(0.25), &[0.9]),
                trial(2, [0.005, 0.06], "none", Some(0.125), &[0.8, 0.84]),
            ],
        };
        let told = text(&[pair]);
        let rows: Vec<String> =
            told.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let expected = [
            "",
            "simclr-resnet18",
            "trial rate decay views temperature seed 0 seed 1 mean",
            "* 2 5.0e-3 6.0e-2 none 0.125 0.800 0.840 0.820",
            "0 1.0e-3 2.0e-2 paper 0.5 0.700 0.720 0.710",
            "1 3.0e-3 4.0e-2 flip 0.25 0.900 - -",
            "",
            "chosen trial before after rate decay views, constant",
            "simclr-resnet18 2 0.710 0.820 5.0e-3 6.0e-2 none, temperature 0.125",
            "",
            "AUROC of the converged probe, mean over the same seeds before (trial 0, the unchanged recipe) and after. The best of",
        ];
        assert_eq!(rows[..expected.len()], expected);
    }

    /// The first trial was trained once: the seeds are those of all trials.
    #[test]
    fn seeds_are_those_of_any_trial() {
        let pair = pair(&[&[0.9], &[0.75, 0.79], &[0.8, 0.7]]).unwrap();
        assert_eq!((pair.chosen, &pair.seeds[..], pair.mean(0)), (1, &[0, 1][..], None));
    }

    /// Trial 0 failed: there is nothing to compare with.
    #[test]
    fn without_the_unchanged_recipe_there_is_no_before() {
        let scores = [(1, [0.80, 0.84]), (2, [0.70, 0.72])];
        let of = |(trial, [first, second]): (u16, [f64; 2])| (trial, [(0, first), (1, second)].into());
        let pair = tuned(method::Name::SimClr, backbone::Name::ResNet18, scores.map(of).into());
        let told = text(&[pair.unwrap()]);
        let line = told.lines().find(|line| line.starts_with("simclr-resnet18 ")).unwrap();
        let words: Vec<&str> = line.split_whitespace().take(4).collect();
        assert_eq!(words, ["simclr-resnet18", "1", "-", "0.820"], "{told}");
    }
}
