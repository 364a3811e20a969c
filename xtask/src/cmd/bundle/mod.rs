//! `cargo xtask bundle`: a detector in one file, out of a results folder.

mod cost;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use skewbench::{
    analysis::reading,
    backbone::Parameters,
    bundle::{Bundle, Calibration, FlagAt, Manifest, Threshold},
    claims::decision,
    data::Share,
    evaluate::scorer::Scorer,
    report,
    results::{Detector, Folder, Part, Record, beside, logits},
};

use self::cost::Cost;
use crate::support::likely;

/// Write a finished cell as a detector: a single file for `predict`.
///
/// It holds the encoder, a scorer (the converged probe, unless --scorer is given), the preprocessing, a threshold,
/// a calibration of probabilities, provenance, and eight validation images with their expected logits, which are
/// checked whenever the file is opened. Cells that were trained with --no-weights cannot be bundled.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bundle results/local/small-folder --best pipes.skewbench
  cargo xtask bundle results/local/small-folder extension/simclr-resnet18-natural-seed0 pipes.skewbench \\
      --flag-at misses=5% --rate 1%
  cargo xtask bundle results/local/small-folder --best pipes.skewbench --scorer patchcore")]
pub struct Arguments {
    /// Results folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// Name of a cell, unless --best, and the file to write
    #[arg(value_name = "CELL FILE", num_args = 1..=2, required = true)]
    rest: Vec<String>,

    /// Take the model that the decision card recommends, at the largest training share or the one that --share names
    #[arg(long)]
    best: bool,

    /// Training share of the card that --best reads, such as `natural` or `5%`
    #[arg(long, value_name = "SHARE", requires = "best")]
    share: Option<Share>,

    /// How images are scored: by the converged probe; or, fitted on normal images only, by the Mahalanobis distance
    /// of features, or by the patch farthest from a bank of patches (ResNet-18)
    #[arg(long, value_enum, default_value_t, value_name = "NAME")]
    scorer: Scored,

    #[arg(long, default_value = "own", value_name = "HOW", long_help = FlagAt::HELP)]
    flag_at: FlagAt,

    /// Share of images with a defect where the detector will be used; probabilities are calibrated for it
    /// [default: as in validation]
    #[arg(long, value_name = "SHARE")]
    rate: Option<Share>,

    /// Overwrite an existing file
    #[arg(long)]
    overwrite: bool,
}

/// Scorers by their names on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, clap::ValueEnum)]
enum Scored {
    #[default]
    Probe,
    Mahalanobis,
    #[value(name = "patchcore")]
    PatchCore,
}

impl Scored {
    /// Returns the scorer's column of logits.
    fn column(self) -> &'static str {
        Scorer::NAMES[self as usize]
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let folder = Folder::existing(&arguments.folder)?;
    let (cell, to) = match (&arguments.rest[..], arguments.best) {
        ([to], true) => (best(&arguments.folder, &folder, arguments.share)?, to),
        ([cell, to], false) => (cell.clone(), to),
        (_, true) => bail!("--best chooses the cell: give only the file to write"),
        (_, false) => bail!("expected a cell and the file to write; --best takes the card's cell"),
    };
    let (_, record) = likely::find_finished(&folder, &cell)?;
    ensure!(arguments.overwrite || !Path::new(to).exists(), "{to}: already exists; --overwrite replaces it");
    let manifest = write(arguments, &folder, &record, Path::new(to))?;
    let bytes = std::fs::metadata(to)?.len() as usize;
    // Open it once as a check: a bundle that fails its own check is useless.
    let bundle = Bundle::open(Path::new(to))?;
    println!("{to}: {}, {cell}", manifest.title());
    say(&manifest);
    println!("  {}", Cost::measure(&bundle, bytes)?);
    Ok(())
}

fn write(arguments: &Arguments, folder: &Folder, record: &Record, to: &Path) -> Result<Manifest> {
    let cell = &record.cell.id;
    ensure!(
        record.cell.backbone != "pixels",
        "{cell}: raw pixels have no network, so they cannot be made into a detector; a cell of random_weights/ can, for \
         example with --scorer mahalanobis"
    );
    let (weights, detector) = (folder.weights_path(cell), folder.detector_path(cell));
    for path in [&weights, &detector] {
        ensure!(
            path.is_file(),
            "{}: missing; the cell was trained with --no-weights, or before detectors were stored. Move its record \
             away and train it again",
            path.display()
        );
    }
    let at = folder.record_path(cell);
    let encoder = Parameters::parse(&beside::read(&at, record, Part::Weights)?)
        .with_context(|| weights.display().to_string())?
        .encoder();
    let detector = Detector::read(&at, record)?;
    let columns = logits::read(&at, record)?;
    let (rate, calibration, threshold) = calibrate(arguments, &columns)?;
    let scorer = arguments.scorer.column();
    let manifest =
        Manifest::from_record((record, scorer), detector.usual_size, rate, calibration, threshold)?;
    Bundle::write(to, &manifest, &encoder, detector)?;
    Ok(manifest)
}

/// Returns the share of defects to calibrate for, the calibration and the threshold, from the logits of the validation
/// images.
fn calibrate(arguments: &Arguments, columns: &[(String, Vec<f64>)]) -> Result<(f64, Calibration, Threshold)> {
    let column = |name: &str| columns.iter().find(|(known, _)| known == name).map(|(_, column)| column);
    let scorer = arguments.scorer.column();
    let scored = column(scorer).with_context(|| format!("the logits have no column '{scorer}'"))?;
    let defects = column("defect").context("the logits have no column 'defect'")?;
    let defects: Vec<bool> = defects.iter().map(|defect| *defect > 0.5).collect();
    let groups = column("group").map(|groups| groups.iter().map(|group| *group as u32).collect::<Vec<u32>>());
    let found = defects.iter().filter(|defect| **defect).count() as f64 / defects.len() as f64;
    let rate = arguments.rate.and_then(Share::fraction).unwrap_or(found);
    let calibration = Calibration::fit(scored, &defects, groups.as_deref(), rate)?;
    let threshold = Threshold::choose(arguments.flag_at, scored, &defects, &calibration, rate)?;
    Ok((rate, calibration, threshold))
}

/// Returns the cell that the card recommends: the lowest seed whose weights exist.
fn best(path: &Path, folder: &Folder, share: Option<Share>) -> Result<String> {
    let reading = reading::read(&[path.to_owned()]);
    let setting = report::main_setting(&reading)
        .context("no records to choose from; `cargo xtask reproduce` or `choose` makes them")?;
    let share = share
        .or(report::main_share(&reading))
        .context("no models in this folder; `cargo xtask reproduce` or `choose` trains them")?;
    let cards =
        decision::cards(&skewbench::claims::Evidence::measured(&setting, &reading.frame.setting(&setting)));
    let card = cards.iter().find(|card| card.share == share).with_context(|| {
        let shares: Vec<String> = cards.iter().map(|card| card.share.to_string()).collect();
        format!("no models were trained at {share}; expected --share to be one of {}", shares.join(", "))
    })?;
    println!("{}", card.sentence());
    let pick =
        card.pick().context("no trained model there has an AUROC, so --best cannot choose: name a cell")?;
    let mut cells: Vec<(u64, &str)> = reading
        .records
        .iter()
        .filter(|filed| filed.setting == setting && filed.cell == pick.cell)
        .map(|filed| (filed.record.cell.seed, filed.record.cell.id.as_str()))
        .collect();
    cells.sort_unstable();
    let kept = cells.iter().find(|(_, cell)| folder.detector_path(cell).is_file()).or(cells.first());
    Ok(kept.context("its record is missing")?.1.to_owned())
}

/// Prints a summary of the detector.
fn say(manifest: &Manifest) {
    let Manifest { train, validation, calibration, threshold, .. } = manifest;
    let percent = |part: f64| format!("{:.1} %", 100.0 * part);
    let rate =
        |[part, low, high]: [f64; 3]| format!("{} ({} to {})", percent(part), percent(low), percent(high));
    println!("  scores by {}", Scorer::label(&manifest.scorer).unwrap_or(&manifest.scorer));
    println!(
        "  trained on {} normal images and {} defects of {}; AUROC {:.3} on {} normal images and {} defects",
        train.normals, train.defects, manifest.source, manifest.auroc, validation.normals, validation.defects
    );
    println!(
        "  flags images above logit {:.4} ({}): of these validation images {} of the normal ones and {} of the defects",
        threshold.logit,
        threshold.chosen,
        rate(threshold.false_positive_rate),
        rate(threshold.true_positive_rate)
    );
    let [alarms, hits] = [threshold.false_positive_rate, threshold.true_positive_rate].map(|[part, ..]| part);
    let (found, in_vain) = (1e3 * manifest.rate * hits, 1e3 * (1.0 - manifest.rate) * alarms);
    println!(
        "  of 1 000 images with {} defects it would flag {:.0}, {found:.1} of them defects",
        percent(manifest.rate),
        found + in_vain
    );
    println!(
        "  probabilities are calibrated for {} defects (expected calibration error {:.3}, cross-validated)",
        percent(manifest.rate),
        calibration.error
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::alone::Standalone;
    use crate::support::committed;

    /// The arm that the card recommends at the largest share, unless another share is requested; its lowest seed
    /// that has a detector.
    #[test]
    fn the_best_is_the_cards_with_a_detector() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        for (share, better, worse) in [(45_u8, "simclr", "byol"), (5, "byol", "simclr")] {
            for (method, auroc) in [(better, 0.9), (worse, 0.6)] {
                for seed in 0..3 {
                    let mut record = committed::record("table1", method, seed);
                    record.cell.train_share = Some(f64::from(share) / 100.0);
                    record.cell.id = format!("table1/{method}-resnet18-share{share:02}-seed{seed}");
                    for score in &mut record.scores {
                        score.auroc = auroc + 0.001 * seed as f64;
                    }
                    folder.write(&record).unwrap();
                }
            }
        }
        let take = |share| best(root.path(), &folder, share);
        let first = "table1/simclr-resnet18-share45-seed0";
        assert_eq!(take(None).unwrap(), first, "no seed has a detector: the first");
        for seed in [1, 2] {
            let cell = format!("table1/simclr-resnet18-share45-seed{seed}");
            std::fs::write(folder.detector_path(&cell), "").unwrap();
        }
        assert_eq!(take(None).unwrap(), "table1/simclr-resnet18-share45-seed1");
        assert_eq!(take(Some(Share::percent(5))).unwrap(), "table1/byol-resnet18-share05-seed0");
        let error = take(Some(Share::percent(1))).unwrap_err().to_string();
        assert!(error.contains("no models were trained at 1%; expected --share to be one of"), "{error}");
    }

    /// Models of another setting are other models, even if their cells have the same names.
    #[test]
    fn the_best_is_of_the_setting_with_most_records() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        for seed in 0..4 {
            let mut record = committed::record("table1", "simclr", seed);
            if seed == 0 {
                record.data.source = "folder".to_owned();
            }
            folder.write(&record).unwrap();
            std::fs::write(folder.detector_path(&record.cell.id), "").unwrap();
        }
        let mut found = String::new();
        let told = captured::output(|| found = best(root.path(), &folder, None).unwrap());
        assert_eq!(found, "table1/simclr-resnet18-share45-seed1");
        assert_eq!(told.lines().count(), 1, "the card's sentence: {told}");
    }

    #[test]
    fn without_a_model_there_is_no_best() {
        let error = |records: &[Record]| {
            let root = tempfile::tempdir().unwrap();
            let folder = Folder::open(root.path()).unwrap();
            records.iter().for_each(|record| drop(folder.write(record).unwrap()));
            let mut error = String::new();
            captured::output(|| error = best(root.path(), &folder, None).unwrap_err().to_string());
            error
        };
        assert!(error(&[]).starts_with("no records to choose from; "), "{}", error(&[]));
        let floor = committed::record("random_weights", "none", 0);
        let told = error(&[floor]);
        assert!(told.starts_with("no models in this folder; "), "{told}");
    }

    use clap::Parser;

    use crate::support::print::captured;

    fn arguments(line: &str) -> Arguments {
        Standalone::<Arguments>::parse_from(line.split_whitespace()).arguments
    }

    #[test]
    fn a_cell_or_the_best_is_asked_for_not_both() {
        let root = tempfile::tempdir().unwrap();
        Folder::open(root.path()).unwrap().write(&committed::record("table1", "simclr", 0)).unwrap();
        let error = |line: &str| {
            run(&arguments(&format!("{} {line}", root.path().display()))).unwrap_err().to_string()
        };
        assert_eq!(error("cell file --best"), "--best chooses the cell: give only the file to write");
        assert!(error("file").starts_with("expected a cell and the file to write"));
        let error = error("table1/simclr-resnet18-share45-seed0 file");
        assert!(
            error.contains("seed0.safetensors: missing; the cell was trained with --no-weights"),
            "{error}"
        );
    }

    /// Sixteen normal images and four defects with overlapping logits; each scorer has its own logits.
    #[test]
    fn logits_of_the_asked_scorer_are_calibrated_for_the_asked_rate() {
        let defects: Vec<f64> = (0..20).map(|image| f64::from(u8::from(image % 5 == 0))).collect();
        let logits = |strength: f64| -> Vec<f64> {
            (0..20).map(|image| strength * defects[image] + ((image * 7) % 11) as f64 / 4.0 - 1.0).collect()
        };
        let groups: Vec<f64> = (0..20).map(|image| f64::from(image / 2)).collect();
        let [probe, distance] = [logits(1.5), logits(0.5)];
        let columns = |with_groups: bool| {
            let mut columns = vec![
                ("converged".to_owned(), probe.clone()),
                ("normals_mahalanobis".to_owned(), distance.clone()),
                ("defect".to_owned(), defects.clone()),
            ];
            columns.extend(with_groups.then(|| ("group".to_owned(), groups.clone())));
            columns
        };
        let labels: Vec<bool> = defects.iter().map(|&defect| defect > 0.5).collect();
        let all: Vec<u32> = groups.iter().map(|&group| group as u32).collect();
        for (flags, logits, rate, at) in [
            ("", &probe, 0.2, "own"),
            ("--rate 5%", &probe, 0.05, "own"),
            ("--rate 5% --flag-at costs=20:3", &probe, 0.05, "costs=20:3"),
            ("--scorer mahalanobis --flag-at misses=25%", &distance, 0.2, "misses=25%"),
        ] {
            for with_groups in [false, true] {
                let found = calibrate(&arguments(&format!("d c f {flags}")), &columns(with_groups)).unwrap();
                let groups = with_groups.then_some(&all[..]);
                let calibration = Calibration::fit(logits, &labels, groups, rate).unwrap();
                let threshold =
                    Threshold::choose(at.parse().unwrap(), logits, &labels, &calibration, rate).unwrap();
                assert!((found.0 - rate).abs() < 1e-12, "{flags}: {}", found.0);
                let told = |of: &Calibration| [of.slope, of.intercept, of.error];
                assert_eq!(told(&found.1), told(&calibration), "{flags}");
                assert_eq!((found.2.logit, &found.2.chosen), (threshold.logit, &threshold.chosen), "{flags}");
            }
        }
        let [alone, grouped] = [None, Some(&all[..])]
            .map(|groups| Calibration::fit(&probe, &labels, groups, 0.2).unwrap().error);
        assert_ne!(alone, grouped, "groups matter here");
        let error = calibrate(&arguments("d c f --scorer patchcore"), &columns(false)).map(drop).unwrap_err();
        assert_eq!(error.to_string(), "the logits have no column 'normals_patchcore'");
    }

    #[test]
    fn a_detector_is_summed_up_with_its_own_numbers() {
        let mut record = committed::record("table1", "simclr", 0);
        (record.data.train.normals, record.data.train.defects) = (1_001, 1_002);
        (record.data.validation.normals, record.data.validation.defects) = (1_003, 1_004);
        let calibration = Calibration { slope: 1.0, intercept: 0.0, error: 0.0634 };
        let threshold = Threshold {
            logit: 0.12341,
            chosen: "misses=5%".to_owned(),
            false_positive_rate: [0.1, 0.05, 0.2],
            true_positive_rate: [0.7, 0.6, 0.8],
        };
        let manifest =
            Manifest::from_record((&record, "converged"), None, 0.025, calibration, threshold).unwrap();
        let manifest = Manifest { auroc: 0.8762, ..manifest };
        let scorer = Scorer::label("converged").unwrap();
        let expected = format!(
            "  scores by {scorer}\n  \
             trained on 1001 normal images and 1002 defects of synthetic; AUROC 0.876 on 1003 normal images and 1004 defects\n  \
             flags images above logit 0.1234 (misses=5%): of these validation images 10.0 % (5.0 % to 20.0 %) of the normal \
             ones and 70.0 % (60.0 % to 80.0 %) of the defects\n  \
             of 1 000 images with 2.5 % defects it would flag 115, 17.5 of them defects\n  \
             probabilities are calibrated for 2.5 % defects (expected calibration error 0.063, cross-validated)\n"
        );
        let told = captured::output(|| say(&manifest));
        assert_eq!(told, expected);
    }

    /// With or without --best, a file of that name is somebody's.
    #[test]
    fn a_file_is_replaced_only_if_that_is_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        for share in [45_u8, 5] {
            let mut record = committed::record("table1", "simclr", 0);
            record.cell.train_share = Some(f64::from(share) / 100.0);
            record.cell.id = format!("table1/simclr-resnet18-share{share:02}-seed0");
            folder.write(&record).unwrap();
        }
        let to = root.path().join("x.skewbench").display().to_string();
        std::fs::write(&to, "mine").unwrap();
        let error = |line: &str| {
            let mut error = String::new();
            let line = format!("{} {line}", root.path().display());
            captured::output(|| error = run(&arguments(&line)).unwrap_err().to_string());
            assert_eq!(std::fs::read_to_string(&to).unwrap(), "mine", "{line}");
            error
        };
        let cell = "table1/simclr-resnet18-share45-seed0";
        let kept = format!("{to}: already exists; --overwrite replaces it");
        for line in [format!("{cell} {to}"), format!("--best {to}"), format!("--best --share 5% {to}")] {
            assert_eq!(error(&line), kept, "{line}");
        }
        for (flags, share) in [("--best", "45"), ("--best --share 5%", "05"), ("--best --share 45%", "45")] {
            let found = error(&format!("{flags} --overwrite {to}"));
            let expected = format!("simclr-resnet18-share{share}-seed0.safetensors: missing; ");
            assert!(found.contains(&expected), "{flags}: {found}");
        }
    }
}
