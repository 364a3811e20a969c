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
    let others =
        others.map(|contents| part(reading.in_settings(|name| name == contents.setting), margin)).collect();
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
    let folders = page.contents().map(|contents| contents.folders.iter().cloned().collect::<Vec<_>>());
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
mod tests;
