//! `report`: one page of HTML from results folders.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use skewbench::{
    analysis::{Axes, FiledRecord, Reading, reading},
    backbone,
    claims::{decision::RecordedCommand, evidence::MARGIN},
    data::{
        self, Dataset, foreign,
        regular::{self, SizeLimit},
    },
    durable, method,
    named::counted,
    report::{
        Example, Examples, ImageDifference, MOST_PARTS, Page, figure::Theme, images, main_setting,
        main_share, markdown, setting_summaries,
    },
    results::{self, Part},
    seed::Seed,
};

use crate::support::{card, command, program, source::SYNTHETIC_SEED};

/// Number of images of each kind on the page.
const PICTURES: usize = 8;

#[derive(clap::Args)]
pub struct Arguments {
    /// Results folders; without any, the page shows the paper's own numbers
    folders: Vec<PathBuf>,
    /// Show only the setting of this name, or all settings whose names contain this text
    #[arg(long, value_name = "TEXT")]
    setting: Option<String>,
    /// Scores that differ by less count as the same
    #[arg(long, value_name = "SCORE", default_value_t = MARGIN)]
    margin: f64,
    /// HTML file to write
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
    /// Also insert the page's tables into this Markdown file at its markers: `<!-- begin verdicts: this command
    /// -->` ... `<!-- end verdicts -->`, and likewise `card`, `auroc`, `table1`. May be given several times
    #[arg(long, value_name = "FILE")]
    splice: Vec<PathBuf>,
    /// Also write figures for documents to this folder, as SVG, light and dark
    #[arg(long, value_name = "DIR")]
    figures: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    for folder in &arguments.folders {
        ensure!(folder.exists(), "{}: no such folder", folder.display());
    }
    let reading = reading::read(&arguments.folders);
    let reading = match &arguments.setting {
        Some(text) => select_setting(reading, text)?,
        None => reading,
    };
    ensure!(
        arguments.margin.is_finite() && arguments.margin >= 0.0,
        "--margin must be a difference of scores, 0 or more, found {}",
        arguments.margin
    );
    let page = page(reading, arguments.margin);
    let card = write_page(&page, &arguments.out)?;
    if let Some(folder) = &arguments.figures {
        figures(&page, folder)?;
    }
    for document in &arguments.splice {
        splice(&page, document)?;
    }
    card.print();
    Ok(())
}

/// Inserts a page's tables into a document.
fn splice(page: &Page, document: &Path) -> Result<()> {
    let text = regular::read_text(document, SizeLimit::DOCUMENT)
        .with_context(|| format!("{}: cannot be read", document.display()))?;
    let spliced =
        markdown::splice(&text, &markdown::tables(page)).with_context(|| document.display().to_string())?;
    durable::write_whole(document, spliced.as_bytes())?;
    let of = page.setting().filter(|_| page.parts().count() > 1);
    let of = of.map_or_else(String::new, |of| format!(" (of {of} alone)"));
    println!("tables  {}{of}", document.display());
    Ok(())
}

/// Writes a page's figures for documents, one file for each theme.
fn figures(page: &Page, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    for theme in Theme::ALL {
        for (name, svg) in page.pictures(theme) {
            let file = folder.join(format!("{name}-{theme}.svg"));
            durable::write_whole(&file, svg.as_bytes())?;
            println!("figure  {}", file.display());
        }
    }
    Ok(())
}

/// Returns the records of one setting by its name, or of all whose names contain a text.
fn select_setting(reading: Reading, text: &str) -> Result<Reading> {
    let known: Vec<String> =
        setting_summaries(&reading).into_iter().map(|contents| contents.setting).collect();
    let is_name = known.iter().any(|name| name == text);
    let chosen = reading.in_settings(|name| if is_name { name == text } else { name.contains(text) });
    ensure!(
        !chosen.records.is_empty(),
        "--setting: expected a text that is in the name of a setting, found '{text}'; settings are:\n  {}",
        known.join("\n  ")
    );
    Ok(Reading { problems: reading.problems, ..chosen })
}

/// The page's conclusion, which the terminal shows last.
#[must_use]
pub struct Decision(Vec<String>);

impl Decision {
    pub fn print(&self) {
        if !self.0.is_empty() {
            println!("\n{}", self.0.join("\n"));
        }
    }
}

/// Writes the page of these folders, and prints its path.
pub fn write(folders: &[PathBuf], out: &Path) -> Result<Decision> {
    write_page(&page(reading::read(folders), MARGIN), out)
}

/// Writes the page of a folder without output. It does so in a separate process, because the memory for a page of
/// many records would otherwise stay with a process that runs for hours; if none can be started, in this one.
pub fn renew(folder: &Path, out: &Path) -> Result<()> {
    let program = std::env::current_exe();
    let apart = program.and_then(|program| {
        let mut command = Command::new(program);
        command.arg("report").arg(folder).arg("--out").arg(out);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
    });
    match apart {
        // If a signal ended the child, this process gets the signal too, and writes the page when it stops.
        Ok(ended) if ended.success() || ended.code().is_none() => Ok(()),
        _ => durable::write_whole(out, page(reading::read(&[folder.to_owned()]), MARGIN).html().as_bytes()),
    }
}

/// Returns the page of all settings that do not consist only of trials, at most [`MOST_PARTS`] of them.
fn page(reading: Reading, margin: f64) -> Page {
    let shown = setting_summaries(&reading).into_iter().filter(|contents| !contents.is_tuning);
    let others = shown.take(MOST_PARTS).skip(1);
    let others = others
        .map(|contents| part(reading.in_settings(|name| name == contents.setting), margin))
        .collect();
    part(reading, margin).with_others(others)
}

/// Returns the page of the largest setting.
fn part(reading: Reading, margin: f64) -> Page {
    let (examples, on_images) = (examples(&reading), on_images(&reading));
    let page = Page::new_with_margin(margin, reading, examples).with_images(on_images);
    let made = made(&page);
    page.with_commands(made)
}

/// Returns the commands that made a page's records.
fn made(page: &Page) -> Vec<RecordedCommand> {
    let folders =
        page.contents().map(|contents| contents.folders.iter().cloned().collect::<Vec<_>>());
    command::reproduce_commands(&folders.unwrap_or_default())
}

/// Writes a page, and prints its path, its parts and what it leaves out.
fn write_page(page: &Page, out: &Path) -> Result<Decision> {
    durable::write_whole(out, page.html().as_bytes())?;
    let (records, problems) = (page.reading().records.len(), page.reading().problems.len());
    let noted = match problems {
        0 => String::new(),
        1 => ", 1 thing to know about them".to_owned(),
        _ => format!(", {problems} things to know about them"),
    };
    println!("report  {} ({}{noted})", out.display(), counted(records, "record", "records"));
    if page.parts().count() > 1 {
        println!(
            "        records of several settings, each in its own part; scores of different settings are not compared:"
        );
        for (number, contents) in (1..).zip(page.parts().filter_map(Page::contents)) {
            println!("        part {number}: {}", foreign::escape_message(&contents.sentence()));
        }
    }
    for contents in page.left_out() {
        println!("        not on the page: {}", foreign::escape_message(&contents.sentence()));
        println!("          {}", foreign::escape_message(&program::as_typed(&contents.how_to_show())));
    }
    Ok(decision(page))
}

/// Returns the answers of all parts, each with the commands that made its own records.
fn decision(page: &Page) -> Decision {
    let lines = |part: &Page| card::lines(part.cards(), part.setting(), &made(part));
    let parts: Vec<Vec<String>> = page.parts().map(lines).filter(|lines| !lines.is_empty()).collect();
    Decision(parts.join(&String::new()))
}

/// Returns records of the setting that the page shows: models of different settings are not compared.
fn main_records(reading: &Reading) -> impl Iterator<Item = &FiledRecord> {
    let setting = main_setting(reading);
    reading.records.iter().filter(move |filed| Some(&filed.setting) == setting.as_ref())
}

/// Compares every method's model at the main share and seed 0 with the supervised one, if both have logits of the
/// same images. Without any the page is still valid.
fn on_images(reading: &Reading) -> Vec<ImageDifference> {
    let Some(share) = main_share(reading) else { return Vec::new() };
    let of_cell = |method: method::Name, backbone: backbone::Name| {
        let cell = Axes::trained(method, backbone, share);
        columns(main_records(reading).find(|filed| filed.cell == cell && filed.record.cell.seed == 0)?)
    };
    let mut found = Vec::new();
    for backbone in backbone::Name::STUDY {
        let Some(supervised) = of_cell(method::Name::Supervised, backbone) else { continue };
        for method in method::Name::ALL.into_iter().filter(|method| !method.is_supervised()) {
            let difference =
                of_cell(method, backbone).and_then(|own| images::auroc_difference(&own, &supervised).ok());
            found.extend(difference.map(|difference| ImageDifference {
                method,
                backbone,
                share,
                difference,
            }));
        }
    }
    found
}

/// Returns hits and misses of one model on drawn images: SimCLR on ResNet-18 at the main share if its logits exist,
/// otherwise the first model that has any. Without any the page is still valid.
fn examples(reading: &Reading) -> Option<Examples> {
    let wanted = Axes::trained(method::Name::SimClr, backbone::Name::ResNet18, main_share(reading)?);
    let mut records: Vec<&FiledRecord> =
        main_records(reading).filter(|filed| Part::Logits.path_beside(&filed.file).exists()).collect();
    records.sort_by_key(|filed| (filed.cell, filed.record.cell.seed) != (wanted, 0));
    records.iter().find_map(|filed| examples_of(filed).ok().flatten())
}

/// Returns the logits of a record; `None`, with a message, if they are missing or belong to another record.
fn columns(filed: &FiledRecord) -> Option<Vec<(String, Vec<f64>)>> {
    match results::logits::read(&filed.file, &filed.record) {
        Ok(columns) => Some(columns),
        Err(error) => {
            // Each file is reported once, however many figures and pages need it.
            static TOLD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
            let file = Part::Logits.path_beside(&filed.file);
            if file.exists() && TOLD.lock().is_ok_and(|mut told| told.insert(file)) {
                eprintln!("left out: {error:#}");
            }
            None
        }
    }
}

fn examples_of(filed: &FiledRecord) -> Result<Option<Examples>> {
    let record = &filed.record;
    let side = record.settings.text("side").and_then(|side| side.parse().ok());
    let (Some(side), "synthetic") = (side, record.data.source.as_str()) else { return Ok(None) };
    let count = record.data.validation.normals + record.data.validation.defects;
    let drawn = data::synthetic::source(Seed::root(SYNTHETIC_SEED), 1, count, side).validation;
    // Images that are not the record's would be worse than none.
    if drawn.digest() != record.data.validation_digest {
        return Ok(None);
    }
    let Some(columns) = columns(filed) else { return Ok(None) };
    let column =
        |name: &str| columns.iter().find(|(known, _)| known == name).map(|(_, values)| values.as_slice());
    let (Some(positions), Some(converged)) = (column("position"), column("converged")) else {
        return Ok(None);
    };
    let mut images: Vec<(usize, f64)> =
        positions.iter().zip(converged).map(|(&position, &logit)| (position as usize, logit)).collect();
    images.sort_by(|a, b| b.1.total_cmp(&a.1));
    let pick = |defect: bool, highest: bool| -> Result<Vec<Example>> {
        let called = move |logit: f64| (logit > 0.0) == highest;
        let chosen = images.iter().filter(|(place, logit)| {
            drawn.labels().get(*place).is_some_and(|labels| labels.defect == defect) && called(*logit)
        });
        let chosen: Vec<_> =
            if highest { chosen.take(PICTURES).collect() } else { chosen.rev().take(PICTURES).collect() };
        chosen.into_iter().map(|&(place, logit)| example(&*drawn, place, logit)).collect()
    };
    Ok(Some(Examples {
        cell: record.cell.id.clone(),
        hits: pick(true, true)?,
        misses: pick(true, false)?,
        false_alarms: pick(false, true)?,
        passed: pick(false, false)?,
    }))
}

fn example(drawn: &dyn Dataset, place: usize, logit: f64) -> Result<Example> {
    let picture = drawn.open(place)?;
    let (width, height) = (picture.width as u32, picture.height as u32);
    let picture =
        image::RgbImage::from_raw(width, height, picture.pixels).context("pixels fill the picture")?;
    let mut png = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png)?;
    let labels = drawn.labels()[place];
    let codes: Vec<&str> = labels.classes.iter().map(|class| class.code()).collect();
    Ok(Example {
        uri: format!("data:image/png;base64,{}", STANDARD.encode(png.into_inner())),
        shows: if labels.defect { codes.join("+") } else { "normal".to_owned() },
        logit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::alone::Standalone;

    /// Committed records of drawn images and of photographs.
    fn reading() -> Reading {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results");
        reading::read(&["2026-11-25-small-ablations", "2026-11-24-elpv"].map(|name| root.join(name)))
    }

    #[test]
    fn a_page_shows_every_data_set() {
        let reading = reading();
        let records = reading.records.len();
        let page = page(reading, MARGIN);
        let sources: Vec<bool> = ["synthetic", "elpv"]
            .map(|name| page.parts().filter_map(Page::setting).any(|setting| setting.contains(name)))
            .to_vec();
        assert_eq!(sources, [true, true]);
        let shown: usize =
            page.parts().filter_map(Page::contents).map(|contents| contents.records).sum();
        let left_out: usize = page.left_out().iter().map(|contents| contents.records).sum();
        assert_eq!(shown + left_out, records, "every record is shown or named");
        for part in page.parts() {
            let folders = &part.contents().unwrap().folders;
            assert_eq!(folders.len(), 1, "commands are those of the part's own folder: {folders:?}");
        }
    }

    /// The next step of each part is a command with the flags and the folder of its own run.
    #[test]
    fn a_part_has_the_commands_of_its_own_records() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results");
        let names = ["2026-11-28-small-mixed-precision", "2026-11-29-elpv-choose"];
        let page = page(reading::read(&names.map(|name| root.join(name))), MARGIN);
        let commands: Vec<Vec<RecordedCommand>> = page.parts().map(made).collect();
        let of = |made: &[RecordedCommand]| {
            made.iter().map(|made| made.command.clone()).collect::<Vec<_>>().concat()
        };
        let flags = ["--mixed-precision", "--data elpv"];
        for (flag, other) in [(flags[0], flags[1]), (flags[1], flags[0])] {
            let own = commands.iter().position(|made| of(made).contains(flag)).unwrap();
            assert!(!of(&commands[own]).contains(other));
            let part = page.parts().nth(own).unwrap();
            let lines = card::lines(part.cards(), part.setting(), &commands[own]);
            let Decision(told) = decision(&page);
            let text = told.join("\n");
            assert!(!lines.is_empty() && text.contains(&lines.join("\n")), "{flag}: {text}");
        }
    }

    #[test]
    fn a_setting_is_asked_for_by_a_part_of_its_name() {
        let photographs = select_setting(reading(), ", elpv").unwrap();
        assert!(!photographs.records.is_empty());
        assert!(photographs.records.iter().all(|filed| filed.record.data.source == "elpv"));
        let error = select_setting(reading(), "nowhere").err().unwrap().to_string();
        assert!(error.contains("found 'nowhere'") && error.contains("recipe, elpv"), "{error}");
    }

    /// Draws images, and writes the record of a method at 45 % whose probe has `logit` of each image's index.
    fn kept(root: &Path, method: &str, logit: &dyn Fn(usize) -> f64) -> results::Record {
        use skewbench::results::{Folder, Logits, logits::ValidationImage};
        let folder = Folder::open(root).unwrap();
        let drawn = drawn();
        let images: Vec<ValidationImage> =
            (0..60).rev().map(|place| ValidationImage::from_dataset(&*drawn, place)).collect();
        let converged = (0..60).rev().map(logit).collect();
        let logits = Logits { images, classifiers: vec![("converged".to_owned(), converged)] };
        let mut record = crate::support::committed::record("table1", method, 0);
        record.beside.insert("logits".into(), folder.write_logits(&record.cell.id, &logits).unwrap());
        record.settings.values.insert("side".to_owned(), 32.into());
        (record.data.validation.normals, record.data.validation.defects) = (30, 30);
        record.data.validation_digest = drawn.digest();
        folder.write(&record).unwrap();
        record
    }

    fn drawn() -> Box<dyn Dataset> {
        data::synthetic::source(Seed::root(SYNTHETIC_SEED), 1, 60, 32).validation
    }

    /// The largest logits come first, separately for defects and normal images.
    #[test]
    fn pictures_are_picked_by_label_and_logit() {
        let root = tempfile::tempdir().unwrap();
        let labels: Vec<bool> = drawn().labels().iter().map(|labels| labels.defect).collect();
        // Every fifth defect is missed and every fifth normal image is flagged; all logits differ.
        let logit = |place: usize| {
            let called = labels[place] != place.is_multiple_of(5);
            (1.0 + place as f64) * if called { 1.0 } else { -1.0 }
        };
        let mut record = kept(root.path(), "simclr", &logit);
        let found = examples(&reading::read(&[root.path().to_owned()])).expect("pictures");
        let expected = |defect: bool, called: bool| {
            let of = (0..60).filter(|&place| labels[place] == defect && (logit(place) > 0.0) == called);
            let mut of: Vec<f64> = of.map(logit).collect();
            of.sort_by(|a, b| b.abs().total_cmp(&a.abs()));
            of.truncate(PICTURES);
            of
        };
        let told = |list: &[Example]| list.iter().map(|example| example.logit).collect::<Vec<_>>();
        assert_eq!(told(&found.hits), expected(true, true));
        assert_eq!(told(&found.misses), expected(true, false));
        assert_eq!(told(&found.false_alarms), expected(false, true));
        assert_eq!(told(&found.passed), expected(false, false));
        assert!(found.hits.iter().all(|example| example.shows != "normal"));
        assert!(found.false_alarms.iter().all(|example| example.shows == "normal"));
        // Images that are not the record's would be worse than none.
        record.data.validation_digest = "0".repeat(64);
        let folder = results::Folder::open(root.path()).unwrap();
        std::fs::remove_file(folder.record_path(&record.cell.id)).unwrap();
        folder.write(&record).unwrap();
        assert!(examples(&reading::read(&[root.path().to_owned()])).is_none());
    }

    /// One model separates perfectly, the other ranks in exactly the reverse order: their AUROCs differ by 1 - 0,
    /// whatever images are drawn.
    #[test]
    fn models_are_compared_with_the_supervised_one_on_the_same_images() {
        let root = tempfile::tempdir().unwrap();
        let labels: Vec<bool> = drawn().labels().iter().map(|labels| labels.defect).collect();
        let right = |place: usize| if labels[place] { 1.0 + place as f64 } else { -1.0 - place as f64 };
        kept(root.path(), "simclr", &right);
        let found = || on_images(&reading::read(&[root.path().to_owned()]));
        assert!(found().is_empty(), "there is no supervised one");
        kept(root.path(), "supervised", &|place| -right(place));
        let found = found();
        let [one] = &found[..] else { panic!("{} comparisons", found.len()) };
        assert_eq!((one.method, one.backbone), (method::Name::SimClr, backbone::Name::ResNet18));
        assert_eq!(one.share, data::Share::percent(45));
        let difference = one.difference;
        assert_eq!([difference.low, difference.estimate, difference.high], [1.0; 3]);
    }

    #[test]
    fn margins_figures_and_tables_are_those_that_were_asked_for() {
        let page = page(reading(), 0.125);
        assert!(page.html().contains("known to be smaller than 0.125."), "the margin");
        let folder = tempfile::tempdir().unwrap();
        figures(&page, &folder.path().join("new")).unwrap();
        for theme in ["light", "dark"] {
            let file = folder.path().join(format!("new/auroc-{theme}.svg"));
            let svg = std::fs::read_to_string(file).unwrap();
            let expected = page.pictures(theme.parse().unwrap());
            assert!(svg.starts_with("<svg ") && svg == expected[0].1, "{theme}");
        }
        let document = folder.path().join("x.md");
        std::fs::write(&document, "a\n<!-- begin card: c -->\nold\n<!-- end card -->\nb\n").unwrap();
        splice(&page, &document).unwrap();
        let text = std::fs::read_to_string(&document).unwrap();
        assert!(text.contains(&page.cards()[0].sentence()) && !text.contains("old"), "{text}");
        std::fs::write(&document, "no place").unwrap();
        assert!(format!("{:#}", splice(&page, &document).unwrap_err()).contains("x.md"), "the file is named");
    }

    /// If one setting's name contains another's, a whole name selects only the setting of that name.
    #[test]
    fn a_whole_name_of_a_setting_is_that_setting_alone() {
        let all = reading();
        let names: Vec<String> =
            setting_summaries(&all).into_iter().map(|contents| contents.setting).collect();
        let name = &names[0];
        let chosen = select_setting(reading(), name).unwrap();
        assert!(chosen.records.iter().all(|filed| filed.setting == *name));
        let expected = all.records.iter().filter(|filed| filed.setting == *name).count();
        assert_eq!(chosen.records.len(), expected);
        let some = select_setting(reading(), &name[..name.len() - 1]).unwrap();
        assert!(some.records.len() >= expected);
        assert_eq!(chosen.problems.len(), all.problems.len(), "what cannot be read is told in any case");
    }

    #[test]
    fn a_page_is_written_and_its_parts_are_told() {
        use crate::support::print::captured;
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("x.html");
        let page = page(reading(), MARGIN);
        let mut decision = Decision(Vec::new());
        let told = captured::output(|| decision = write_page(&page, &out).unwrap());
        assert_eq!(std::fs::read_to_string(&out).unwrap(), page.html());
        let problems = page.reading().problems.len();
        let noted = match problems {
            0 => String::new(),
            1 => ", 1 thing to know about them".to_owned(),
            _ => format!(", {problems} things to know about them"),
        };
        let first = format!("report  {} ({} records{noted})", out.display(), page.reading().records.len());
        let mut expected = vec![first];
        let parts: Vec<_> = page.parts().filter_map(Page::contents).collect();
        assert!(parts.len() > 1);
        expected.push(
            "        records of several settings, each in its own part; scores of different settings are not compared:"
                .to_owned(),
        );
        expected.extend(
            (1..).zip(&parts).map(|(number, part)| format!("        part {number}: {}", part.sentence())),
        );
        for contents in page.left_out() {
            expected.push(format!("        not on the page: {}", contents.sentence()));
            expected.push(format!("          {}", program::as_typed(&contents.how_to_show())));
        }
        assert_eq!(told.lines().collect::<Vec<_>>(), expected);
        // All parts' cards are printed, one below the other.
        let text = captured::output(|| decision.print());
        let heads: Vec<&str> = text.lines().filter(|line| line.starts_with("What to take (")).collect();
        let cards = page.parts().filter(|part| !part.cards().is_empty()).count();
        assert!(cards > 0 && heads.len() == cards, "{text}");
        assert_eq!(captured::output(|| Decision(Vec::new()).print()), "");
    }

    #[test]
    fn what_cannot_be_shown_is_refused() {
        use clap::Parser;
        let error = |flags: &[&str]| {
            run(&Standalone::<Arguments>::parse_from(flags).arguments).unwrap_err().to_string()
        };
        assert_eq!(error(&["/nowhere"]), "/nowhere: no such folder");
        for margin in ["--margin=-0.1", "--margin=inf", "--margin=NaN"] {
            assert!(
                error(&[margin]).starts_with("--margin must be a difference of scores, 0 or more"),
                "{margin}"
            );
        }
    }

    /// BYOL's record comes first in the folder, but images are those of SimCLR on ResNet-18, if its record exists.
    #[test]
    fn pictures_are_those_of_simclr_with_the_first_seed() {
        let root = tempfile::tempdir().unwrap();
        for method in ["byol", "simclr", "supervised"] {
            kept(root.path(), method, &|place| place as f64 - 30.0);
        }
        let found = examples(&reading::read(&[root.path().to_owned()])).unwrap();
        assert_eq!(found.cell, "table1/simclr-resnet18-share45-seed0");
        let folder = results::Folder::open(root.path()).unwrap();
        std::fs::remove_file(folder.record_path(&found.cell)).unwrap();
        let found = examples(&reading::read(&[root.path().to_owned()])).unwrap();
        assert_eq!(found.cell, "table1/byol-resnet18-share45-seed0", "otherwise of the first that has any");
    }

    /// An example is the data set's image, byte for byte, with its classes and logit.
    #[test]
    fn an_example_is_its_picture_with_its_classes() {
        let drawn = drawn();
        let labels = drawn.labels();
        let defect =
            labels.iter().position(|labels| labels.classes.iter().count() > 0 && labels.defect).unwrap();
        let normal = labels.iter().position(|labels| !labels.defect).unwrap();
        let shown = example(&*drawn, defect, 1.5).unwrap();
        let codes: Vec<&str> = labels[defect].classes.iter().map(|class| class.code()).collect();
        assert_eq!((shown.shows, shown.logit), (codes.join("+"), 1.5));
        let png = STANDARD.decode(shown.uri.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        let found = image::load_from_memory(&png).unwrap().into_rgb8();
        assert!(found.into_raw() == drawn.open(defect).unwrap().pixels);
        assert_eq!(example(&*drawn, normal, -1.0).unwrap().shows, "normal");
    }
}
