//! `--data`: the source of images that a command uses.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, Result, bail, ensure};
use skewbench::{
    data::{
        self, OnLeak, SampleBits, Source,
        cached::Cached,
        elpv::install,
        examine::Leaks,
        groups::{self, GroupBy},
        package, store,
        whole::Opened,
    },
    experiment::Scale,
    results::Folder,
    seed::Seed,
};

use super::examine;

/// Root of the stream that the synthetic sewer is drawn from: the same images for every cell. Ours.
pub const SYNTHETIC_SEED: u64 = 0;

/// The same for tuning: no study is scored on these images. Ours.
const TUNING_SEED: u64 = 1;

/// Bytes of training images that are kept in memory. Ours: a quarter of a small laptop's.
pub const CACHED_BYTES: usize = 1 << 30;

/// What images are used for: choices must not be scored on the images that they were based on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To train and score on.
    Study,
    /// To tune on: drawn from another seed, or only training images.
    Tuning,
}

/// How files are read, and whether they are examined first.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Number of bits in use of 16-bit samples; by default determined from some files.
    pub sample_bits: Option<SampleBits>,
    /// Which images belong together.
    pub group_by: Option<GroupBy>,
    /// What happens if a split has leaks.
    pub on_leak: OnLeak,
    /// Results folder whose lists contain what earlier processes found.
    pub known: Option<PathBuf>,
    /// Whether every image is examined, and the lists are stored in that folder.
    pub examine: bool,
}

/// The source of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    Synthetic,
    Elpv,
    SewerMl(PathBuf),
    Folder(PathBuf),
    Csv(PathBuf),
    Packed(PathBuf),
}

impl Choice {
    pub const HELP: &'static str = "\
Where images come from:
  synthetic      sewer pipes drawn by skewbench itself; no files needed
  elpv           solar-cell photographs; fetch them once with `cargo xtask data elpv`
  sewer-ml=DIR   Sewer-ML: DIR holds SewerML_Train.csv, SewerML_Val.csv (or a folder
                 in it does) and the frames, in folders or still in their zips
  folder=DIR     your own: DIR/normal and DIR/defect (good, bad, OK, NG ...),
                 or both under DIR/train and DIR/validation (val, test ...),
                 or MVTec AD's or VisA's layout; doctor says how it is read
  csv=FILE       your own: columns path,label and optionally class,split,group
  packed=DIR     a store that `data pack` made from one of these";

    /// Returns the name in records.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Synthetic => "synthetic",
            Self::Elpv => "elpv",
            Self::SewerMl(_) => "sewer-ml",
            Self::Folder(_) => "folder",
            Self::Csv(_) => "csv",
            Self::Packed(_) => "packed",
        }
    }

    /// Reads annotations; images are opened later, one by one, and cached while memory lasts. Images without a
    /// split are all examined first, because those that are alike must stay on one side.
    pub fn open(&self, scale: &Scale, purpose: Purpose, reading: &Reading) -> Result<Source> {
        let source = match (self, self.opened()?) {
            // A packed store is read at the speed of memory already.
            (Self::Packed(folder), _) => return packed(folder, scale.side, purpose, reading),
            (_, Some(opened)) => read(opened, scale.side, purpose, reading)?,
            (_, None) => drawn(scale, purpose),
        };
        Ok(Source {
            train: Box::new(Cached::new(source.train, CACHED_BYTES)),
            validation: Box::new(Cached::new(source.validation, CACHED_BYTES / 4)),
            ..source
        })
    }

    /// Opens data on disk; `None` if images are drawn.
    fn opened(&self) -> Result<Option<Opened>> {
        Ok(Some(match self {
            Self::Synthetic | Self::Packed(_) => return Ok(None),
            Self::Elpv => data::elpv::open(&install::folder_in(&package::cache_folder()?))
                .context("fetch the photographs once with `cargo xtask data elpv`")?,
            Self::SewerMl(folder) => Opened::Split(data::sewer_ml::open(folder)?),
            Self::Folder(folder) => data::folder::open(folder)?,
            Self::Csv(file) => data::table::open(file)?,
        }))
    }
}

/// Opens files with a split, and what is known about them.
fn read(mut opened: Opened, side: usize, purpose: Purpose, reading: &Reading) -> Result<Source> {
    let grouped = |opened: &Opened| opened.files().iter().any(|files| files.group(0).is_some());
    if let Some(rule) = &reading.group_by {
        ensure!(!grouped(&opened), "the table has a column of groups: leave out --group-by, or the column");
        opened.group_by(rule)?;
    }
    let opened = opened.with_sample_bits(reading.sample_bits);
    if let Some(folder) = reading.known.as_deref().filter(|folder| folder.is_dir()) {
        Folder::open(folder)?.remember_images(&opened.files());
    }
    let examined = reading.examine || matches!(opened, Opened::Unsplit(_));
    if examined {
        examine::files(&opened.files(), reading.known.as_deref().filter(|_| reading.examine))?;
    }
    let names = opened.files();
    let names = names.iter().flat_map(|files| (0..files.len()).map(|index| files.name(index)));
    let suggestion = if grouped(&opened) { None } else { groups::suggestion(names) };
    let mut source = opened.split()?;
    source.interpretation.extend(suggestion);
    if purpose == Purpose::Tuning {
        source = source.within_training()?;
    }
    if examined {
        source.leaks = Leaks::find(&source).lines(source.validation.labels().len());
        source.limits.extend(source.examination_warnings(side));
    }
    if reading.on_leak == OnLeak::Accept {
        let leaks = std::mem::take(&mut source.leaks);
        source.limits.extend(leaks.into_iter().map(|leak| format!("accepted: {leak}")));
    }
    Ok(source)
}

/// Opens a packed store, which was examined, split and grouped when it was packed.
fn packed(folder: &Path, side: usize, purpose: Purpose, reading: &Reading) -> Result<Source> {
    ensure!(
        reading.group_by.is_none() && reading.sample_bits.is_none(),
        "--group-by and --sample-bits were fixed when the store was packed: pack it again with these flags"
    );
    ensure!(
        purpose == Purpose::Study,
        "`tune` cannot use a packed store: name the data that it was packed from"
    );
    if let Some(packed) = store::shorter_side(folder)? {
        ensure!(
            packed >= side,
            "{}: packed at a shorter side of {packed} pixels, but {side} are requested: pack it again with \
             --side {side} or more",
            folder.display()
        );
    }
    store::open(folder)
}

/// Returns the drawn sewer.
fn drawn(scale: &Scale, purpose: Purpose) -> Source {
    let (train, validation) = scale.synthetic_images;
    let of = |seed| data::synthetic::source(Seed::root(seed), train, validation, scale.side);
    match purpose {
        Purpose::Study => of(SYNTHETIC_SEED),
        Purpose::Tuning => {
            let mut source = of(TUNING_SEED);
            source.limits.push(format!(
                "drawn from seed {TUNING_SEED} for tuning only; studies are scored on images of seed {SYNTHETIC_SEED}"
            ));
            source
        }
    }
}

impl FromStr for Choice {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, place) = match text.split_once('=') {
            Some((name, place)) => (name, Some(PathBuf::from(place))),
            None => (text, None),
        };
        Ok(match (name, place) {
            ("synthetic", None) => Self::Synthetic,
            ("elpv", None) => Self::Elpv,
            ("sewer-ml", Some(folder)) => Self::SewerMl(folder),
            ("folder", Some(folder)) => Self::Folder(folder),
            ("csv", Some(file)) => Self::Csv(file),
            ("packed", Some(folder)) => Self::Packed(folder),
            ("synthetic" | "elpv", Some(_)) => bail!("'{name}' takes no path, found '{text}'"),
            ("sewer-ml" | "folder" | "packed", None) => bail!("'{name}' needs a folder: {name}=DIR"),
            ("csv", None) => bail!("'csv' needs a file: csv=FILE"),
            _ if Path::new(text).is_dir() => bail!("to read a folder of images, write folder={text}"),
            _ if Path::new(text).is_file() => bail!("to read a table of images, write csv={text}"),
            _ => bail!(
                "no data called '{text}'; known: synthetic, elpv, sewer-ml=DIR, folder=DIR, csv=FILE, packed=DIR"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_spelt_as_its_help_says() {
        for (text, expected) in [
            ("synthetic", Choice::Synthetic),
            ("elpv", Choice::Elpv),
            ("sewer-ml=/d", Choice::SewerMl("/d".into())),
            ("folder=a=b", Choice::Folder("a=b".into())),
            ("csv=x.csv", Choice::Csv("x.csv".into())),
            ("packed=/s", Choice::Packed("/s".into())),
        ] {
            assert_eq!(text.parse::<Choice>().unwrap(), expected);
            assert_eq!(text.split('=').next(), Some(expected.name()), "records spell it alike");
            assert!(Choice::HELP.contains(&format!("\n  {}", expected.name())), "{text}");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.csv");
        std::fs::write(&file, "").unwrap();
        let [folder, file] = [folder.path(), &file].map(|path| path.display().to_string());
        for (text, told) in [
            ("synthetic=/d", "'synthetic' takes no path".to_owned()),
            ("elpv=/d", "'elpv' takes no path".to_owned()),
            ("folder", "'folder' needs a folder: folder=DIR".to_owned()),
            ("sewer-ml", "'sewer-ml' needs a folder".to_owned()),
            ("packed", "'packed' needs a folder".to_owned()),
            ("csv", "'csv' needs a file: csv=FILE".to_owned()),
            (&folder, format!("write folder={folder}")),
            (&file, format!("write csv={file}")),
            ("mnist", "no data called 'mnist'".to_owned()),
        ] {
            let error = text.parse::<Choice>().unwrap_err().to_string();
            assert!(error.contains(&told), "{text}: {error}");
        }
    }

    /// Tuning uses different images from studies, of the same number and size.
    #[test]
    fn drawn_pictures_to_choose_on_are_others() {
        let scale = Scale { synthetic_images: (30, 20), side: 32, ..Scale::small() };
        let [study, tuning] = [Purpose::Study, Purpose::Tuning]
            .map(|purpose| Choice::Synthetic.open(&scale, purpose, &Reading::default()).unwrap());
        for source in [&study, &tuning] {
            assert_eq!((source.train.labels().len(), source.validation.labels().len()), (30, 20));
        }
        assert_ne!(study.train.digest(), tuning.train.digest());
        let drawn = |seed| data::synthetic::source(Seed::root(seed), 30, 20, 32).validation.digest();
        assert_eq!([study.validation.digest(), tuning.validation.digest()], [drawn(0), drawn(1)]);
        let told = |source: &Source| source.limits.iter().any(|limit| limit.starts_with("drawn from seed 1"));
        assert_eq!((told(&study), told(&tuning)), (false, true));
    }

    #[test]
    fn what_was_settled_in_packing_is_not_asked_again() {
        let store = Choice::Packed("/nowhere".into());
        let error = |purpose, reading: &Reading| {
            store.open(&Scale::small(), purpose, reading).map(drop).unwrap_err().to_string()
        };
        let bits = Reading { sample_bits: Some(SampleBits::ALL), ..Reading::default() };
        assert!(error(Purpose::Study, &bits).contains("were fixed when the store was packed"));
        let grouped = Reading { group_by: Some("parent".parse().unwrap()), ..Reading::default() };
        assert!(error(Purpose::Study, &grouped).contains("were fixed when the store was packed"));
        assert!(error(Purpose::Tuning, &Reading::default()).contains("`tune` cannot use a packed store"));
    }

    /// Twenty-four normal images and twelve defects, a quarter of each for validation.
    #[test]
    fn files_are_examined_split_and_grouped_as_asked() {
        let folder = tempfile::tempdir().unwrap();
        let data = super::super::committed::pictures(folder.path(), [24, 12]);
        let choice: Choice = data.parse().unwrap();
        let open = |purpose, reading: &Reading| choice.open(&Scale::small(), purpose, reading).unwrap();
        let counts = |source: &Source| (source.train.labels().len(), source.validation.labels().len());
        let study = open(Purpose::Study, &Reading::default());
        assert_eq!(counts(&study), (27, 9));
        // Tuning uses only the training images: of 18 normal images and 9 defects, a quarter of each is held out.
        let tuning = open(Purpose::Tuning, &Reading::default());
        let (train, held_out) = counts(&tuning);
        assert!(train + held_out == 27 && (5..=9).contains(&held_out), "{train} {held_out}");
        let all: std::collections::BTreeSet<String> = [&tuning.train, &tuning.validation]
            .iter()
            .flat_map(|dataset| {
                (0..dataset.labels().len()).map(|index| dataset.files().unwrap().name(index).to_owned())
            })
            .collect();
        let validation = study.validation.files().unwrap();
        assert!(
            (0..9).all(|index| !all.contains(validation.name(index))),
            "studies are scored on none of them"
        );
        assert!(tuning.limits.iter().any(|limit| limit.starts_with("a part of the training images alone")));
        let grouped = Reading { group_by: Some("parent".parse().unwrap()), ..Reading::default() };
        let error = choice
            .open(&Scale::small(), Purpose::Study, &grouped)
            .map(|source| source.train.group(0).map(str::to_owned));
        assert!(error.is_err() || error.unwrap().is_some(), "groups are taken, or refused by name");
    }

    /// What an earlier process found in its results folder is known again, and Sewer-ML is looked for where it is said
    /// to be.
    #[test]
    fn what_is_known_of_files_is_taken_from_the_results_folder() {
        let root = tempfile::tempdir().unwrap();
        let data = super::super::committed::pictures(&root.path().join("data"), [24, 12]);
        let choice: Choice = data.parse().unwrap();
        let known = root.path().join("out");
        std::fs::create_dir(&known).unwrap();
        let open = |examine| {
            let reading = Reading { known: Some(known.clone()), examine, ..Reading::default() };
            choice.open(&Scale::small(), Purpose::Study, &reading).unwrap()
        };
        let first = open(true);
        Folder::open(&known).unwrap().write_images(&first).unwrap();
        // Of other bytes, size and time, nothing is known; of all others everything is, although nobody looks at them.
        let again = data::folder::open(&root.path().join("data")).unwrap();
        Folder::open(&known).unwrap().remember_images(&again.files());
        let sketches = |files: &data::files::Files| {
            (0..files.len()).filter(|&index| files.sketch(index).is_some()).count()
        };
        assert_eq!(again.files().iter().map(|files| sketches(files)).sum::<usize>(), 36);
        let second = open(false);
        let count = |source: &Source| {
            [&source.train, &source.validation].map(|dataset| sketches(dataset.files().unwrap()))
        };
        assert_eq!((count(&first), count(&second)), ([27, 9], [27, 9]));
        assert_eq!(first.train.digest(), second.train.digest(), "split alike");

        let nowhere = Choice::SewerMl(root.path().join("nowhere"));
        let error = format!(
            "{:#}",
            nowhere.open(&Scale::small(), Purpose::Study, &Reading::default()).map(drop).unwrap_err()
        );
        assert!(error.contains("nowhere"), "{error}");
    }

    /// Of Sewer-ML's own split, training images come from the training table.
    #[test]
    fn sewer_ml_is_opened_with_its_own_split() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/sewer_ml");
        let choice = Choice::SewerMl(folder.clone());
        let source = choice.open(&Scale::small(), Purpose::Study, &Reading::default()).unwrap();
        for (dataset, table) in
            [(&source.train, "SewerML_Train.csv"), (&source.validation, "SewerML_Val.csv")]
        {
            let rows = std::fs::read_to_string(folder.join(table)).unwrap().lines().count() - 1;
            assert_eq!(dataset.labels().len(), rows, "{table}");
            assert!(dataset.location(0).contains(table), "{}", dataset.location(0));
        }
        assert_ne!(source.train.labels().len(), source.validation.labels().len());
    }

    /// A picture on both sides of a given split is a leak of a study; tuning sees the training side alone.
    #[test]
    fn tuning_does_not_mind_what_is_in_validation() {
        let root = tempfile::tempdir().unwrap();
        // The numbers of pictures begin anew, so those of validation are copies.
        for (split, counts) in [("train", [12, 8]), ("validation", [3, 2])] {
            super::super::committed::pictures(&root.path().join(split), counts);
        }
        let choice = Choice::Folder(root.path().to_owned());
        let leaks = |purpose, on_leak| {
            let reading = Reading { examine: true, on_leak, ..Reading::default() };
            let source = choice.open(&Scale::small(), purpose, &reading).unwrap();
            let accepted = source.limits.iter().filter(|limit| limit.starts_with("accepted: ")).count();
            (source.leaks.len(), accepted)
        };
        let (found, accepted) = leaks(Purpose::Study, OnLeak::Stop);
        assert!(found > 0 && accepted == 0);
        assert_eq!(leaks(Purpose::Study, OnLeak::Accept), (0, found));
        assert_eq!(leaks(Purpose::Tuning, OnLeak::Stop), (0, 0));
    }

    /// Pictures of 32 pixels are enlarged 2.1 times to reach 68.
    #[test]
    fn what_an_examination_finds_is_a_limit_of_the_data() {
        let root = tempfile::tempdir().unwrap();
        let choice: Choice = super::super::committed::pictures(root.path(), [24, 12]).parse().unwrap();
        let limits = |side| {
            let scale = Scale { side, ..Scale::small() };
            choice.open(&scale, Purpose::Study, &Reading::default()).unwrap().limits.join("\n")
        };
        let told = limits(68);
        for split in ["27 of 27 training", "9 of 9 validation"] {
            let expected = format!("{split} images are enlarged more than twice to reach 68 px");
            assert!(told.contains(&expected), "{told}");
        }
        assert!(!limits(64).contains("enlarged"));
    }

    /// A column of groups is the user's own word.
    #[test]
    fn groups_of_a_table_are_not_found_again_by_names() {
        let root = tempfile::tempdir().unwrap();
        super::super::committed::pictures(root.path(), [24, 12]);
        let rows: String = (0..36)
            .map(|number| {
                let kind = if number < 24 { "normal" } else { "defect" };
                format!("{kind}/{number:03}.png,{kind},pipe{}\n", number / 3)
            })
            .collect();
        std::fs::write(root.path().join("t.csv"), format!("path,label,group\n{rows}")).unwrap();
        let choice = Choice::Csv(root.path().join("t.csv"));
        let open = |group_by: Option<&str>| {
            let group_by = group_by.map(|rule| rule.parse().unwrap());
            choice.open(&Scale::small(), Purpose::Study, &Reading { group_by, ..Reading::default() })
        };
        assert!(open(None).unwrap().train.group(0).is_some_and(|group| group.starts_with("pipe")));
        let error = open(Some("([0-9])")).map(drop).unwrap_err().to_string();
        assert_eq!(error, "the table has a column of groups: leave out --group-by, or the column");
    }

    /// In a given split groups are suggested by the names on both sides: most of these are in validation.
    #[test]
    fn groups_are_suggested_by_all_names() {
        let root = tempfile::tempdir().unwrap();
        for (split, kind, names) in [
            ("train", "normal", ["a", "b"]),
            ("train", "defect", ["c", "d"]),
            ("validation", "normal", ["p1_1", "p1_2"]),
            ("validation", "defect", ["p2_1", "p2_2"]),
        ] {
            let folder = root.path().join(split).join(kind);
            std::fs::create_dir_all(&folder).unwrap();
            for name in names {
                image::RgbImage::new(8, 8).save(folder.join(format!("{name}.png"))).unwrap();
            }
        }
        let source = Choice::Folder(root.path().to_owned())
            .open(&Scale::small(), Purpose::Study, &Reading::default())
            .unwrap();
        let told = source.interpretation.join("\n");
        assert!(told.contains("names suggest 2 groups, such as p1 with 2 images"), "{told}");
    }

    /// A given split is not examined unless that is asked for, but what the results folder knows of it is known.
    #[test]
    fn a_split_that_is_not_examined_is_known_from_the_results_folder() {
        let root = tempfile::tempdir().unwrap();
        for (split, counts) in [("train", [5, 4]), ("validation", [3, 2])] {
            super::super::committed::pictures(&root.path().join("data").join(split), counts);
        }
        let choice = Choice::Folder(root.path().join("data"));
        let known = root.path().join("out");
        let count = |examine: bool, known: Option<&Path>| {
            let reading = Reading { known: known.map(Path::to_owned), examine, ..Reading::default() };
            let source = choice.open(&Scale::small(), Purpose::Study, &reading).unwrap();
            let counts = [&source.train, &source.validation].map(|dataset| {
                let files = dataset.files().unwrap();
                (0..files.len()).filter(|&index| files.sketch(index).is_some()).count()
            });
            (counts, source)
        };
        assert_eq!(count(false, Some(&known)).0, [0, 0], "there is no such folder yet");
        let (counts, source) = count(true, Some(&known));
        assert_eq!(counts, [9, 5]);
        Folder::open(&known).unwrap().write_images(&source).unwrap();
        assert_eq!(count(false, Some(&known)).0, [9, 5]);
        assert_eq!(count(false, None).0, [0, 0]);
    }

    /// Leaks that are accepted hide no other limit: pictures of 32 pixels are enlarged to 68.
    #[test]
    fn limits_are_told_beside_accepted_leaks() {
        let root = tempfile::tempdir().unwrap();
        for (split, counts) in [("train", [12, 8]), ("validation", [3, 2])] {
            super::super::committed::pictures(&root.path().join(split), counts);
        }
        let choice = Choice::Folder(root.path().to_owned());
        let scale = Scale { side: 68, ..Scale::small() };
        for on_leak in [OnLeak::Accept, OnLeak::Stop] {
            let reading = Reading { examine: true, on_leak, ..Reading::default() };
            let source = choice.open(&scale, Purpose::Study, &reading).unwrap();
            let told = source.limits.join("\n");
            assert!(told.contains("20 of 20 training images are enlarged more than twice"), "{told}");
            assert_eq!(told.contains("accepted: "), source.leaks.is_empty(), "{told}");
            assert_eq!(source.leaks.is_empty(), on_leak == OnLeak::Accept);
        }
    }
}
