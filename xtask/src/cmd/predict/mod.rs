//! `cargo xtask predict`: applies a bundle to images without labels.

mod page;
mod rows;
mod unusual;
mod worst;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use skewbench::{
    augment::ViewRecipe,
    bundle::Bundle,
    data::{Dataset, Image, SampleBits, Share, files::Files, folder, foreign, table},
    durable,
    named::counted,
    seed::Seed,
};

use crate::support::notes;

use self::{
    rows::{Row, Rows},
    unusual::Unusual,
    worst::{ScoredImage, Worst},
};

/// Number of images that are decoded and scored at once. Ours.
const BATCH: usize = 32;

/// Score images that have no labels, and show the worst.
///
/// Writes `predictions.csv` (path, logit, probability, flagged, why skipped), one row per image as soon as it is
/// scored, and `triage.html`: the most suspicious images, the worst first. Stop it at any moment and run the same
/// command: finished rows are kept. An image that cannot be read is skipped, and its row says why.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask predict pipes.skewbench my-pipes/new --out predictions
  cargo xtask predict pipes.skewbench frames.csv --out predictions --rate 0.5%")]
pub struct Arguments {
    /// Bundle to use, written by `bundle`
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,

    /// A folder, whose images are found at any depth, or a table with a column of paths
    #[arg(value_name = "FOLDER|CSV")]
    images: PathBuf,

    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Share of images with a defect, for which probabilities are calibrated [default: the bundle's]
    #[arg(long, value_name = "SHARE")]
    rate: Option<Share>,

    /// Largest number of images on the triage page
    #[arg(long, default_value_t = 300, value_name = "N")]
    most: usize,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let bundle = Bundle::open(&arguments.bundle)?;
    let files = open(&arguments.images, bundle.manifest.sample_bits)?;
    let rate = match arguments.rate {
        Some(rate) => rate.fraction().context("--rate needs a percentage")?,
        None => bundle.manifest.rate,
    };
    std::fs::create_dir_all(&arguments.out)
        .with_context(|| format!("{}: cannot be made", arguments.out.display()))?;
    let mut rows = Rows::open(&arguments.out, &bundle.digest, rate)?;
    let left: Vec<usize> = (0..files.len()).filter(|&index| !rows.has(files.name(index))).collect();
    println!(
        "{}, {} of them scored earlier; {}, {}",
        counted(files.len(), "image", "images"),
        files.len() - left.len(),
        foreign::escape_message(&bundle.manifest.title()),
        foreign::escape_name(&bundle.manifest.cell)
    );
    let unusual = score(&bundle, &files, &left, rate, &mut rows)?;
    finish(arguments, &bundle, &files, rate, &rows)?;
    for note in unusual.notes() {
        println!("note: {note}");
    }
    Ok(())
}

/// Opens the images to score; `bits` of 16-bit samples are significant, as in training.
fn open(images: &Path, bits: Option<u8>) -> Result<Files> {
    ensure!(images.exists(), "{}: no such folder or table", images.display());
    let files = if images.is_dir() { folder::unlabelled(images)? } else { table::unlabelled(images)? };
    ensure!(!files.is_empty(), "{}: no images", images.display());
    let bits = bits.map(|bits| bits.to_string().parse::<SampleBits>()).transpose()?;
    files.set_sample_bits(bits.unwrap_or(SampleBits::ALL));
    Ok(files)
}

/// Scores the remaining images, batch by batch, and counts those that are unlike the detector's own.
fn score(bundle: &Bundle, files: &Files, left: &[usize], rate: f64, rows: &mut Rows) -> Result<Unusual> {
    let bar = ProgressBar::new(left.len() as u64).with_style(ProgressStyle::with_template(
        "predicting {wide_bar} {pos}/{len} images  {per_sec}  {eta_precise} left",
    )?);
    let begun = Instant::now();
    let mut unusual = Unusual::new(bundle);
    for batch in left.chunks(BATCH) {
        let opened: Vec<Result<(Image, [usize; 2])>> =
            batch.par_iter().map(|&index| picture(files, index, bundle.manifest.side)).collect();
        let sound: Vec<Image> =
            opened.iter().filter_map(|of| of.as_ref().ok().map(|(image, _)| image.clone())).collect();
        let mut seen = if sound.is_empty() { Vec::new() } else { bundle.score(&sound, false)? }.into_iter();
        for (&index, opened) in batch.iter().zip(opened) {
            let path = files.name(index).to_owned();
            rows.push(match opened {
                Err(error) => Row { path, score: None, skipped: format!("{error:#}") },
                Ok((image, size)) => {
                    unusual.count(&path, size, &image);
                    let logit = seen.next().context("a picture without a score")?.logit;
                    let probability = bundle.manifest.calibration.probability(logit, rate);
                    let flagged = logit > bundle.manifest.threshold.logit;
                    Row { path, score: Some((logit, probability, flagged)), skipped: String::new() }
                }
            })?;
        }
        rows.flush()?;
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    if !left.is_empty() {
        println!("{:.0} images a second", left.len() as f64 / begun.elapsed().as_secs_f64());
    }
    Ok(unusual)
}

/// Returns an image as the network sees it, and its original size.
fn picture(files: &Files, index: usize, side: usize) -> Result<(Image, [usize; 2])> {
    let image = files.open(index)?;
    // The view of a whole image has no random part.
    let view = ViewRecipe::full_frame(side).draw(image.width, image.height, &mut Seed::root(0).stream());
    Ok((view.apply(&image), [image.width, image.height]))
}

/// Writes the page, and prints a summary.
fn finish(arguments: &Arguments, bundle: &Bundle, files: &Files, rate: f64, rows: &Rows) -> Result<()> {
    let found = rows.summary()?;
    let worst = Worst::from_rows(rows, arguments.most)?;
    let shown = worst.page_images(bundle, files)?;
    let page = arguments.out.join("triage.html");
    let text = page::render(&bundle.manifest, rate, &found, &shown).into_string();
    durable::write_whole(&page, text.as_bytes())?;
    println!(
        "{} scored, {} flagged, {} skipped\npredictions {}\ntriage      {}",
        found.scored,
        found.flagged,
        found.skipped,
        rows.path().display(),
        page.display()
    );
    if let Some(doubt) = bundle.manifest.threshold.doubt(found.flagged, found.scored) {
        println!("note: {doubt}");
    }
    for limit in notes::merge(&bundle.manifest.limits) {
        println!("note: {}", foreign::escape_message(&limit));
    }
    Ok(())
}

/// Describes an image on the page.
fn worth(worth: &ScoredImage) -> String {
    format!("logit {:.2}, probability {:.1} %", worth.logit, 100.0 * worth.probability)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_as_in_training() {
        let folder = tempfile::tempdir().unwrap();
        let error = open(folder.path(), None).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("no images")));
        let error = open(&folder.path().join("nwe"), None).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.ends_with("nwe: no such folder or table")));
        image::RgbImage::new(2, 2).save(folder.path().join("a.png")).unwrap();
        let found = |bits| open(folder.path(), bits).unwrap().sample_bits();
        assert_eq!(found(Some(12)), "12".parse::<SampleBits>().unwrap());
        assert_ne!(found(Some(12)), SampleBits::ALL);
        assert_eq!(found(None), SampleBits::ALL);
    }

    /// The picture is wider than high; as in training, all of it is squeezed into a square.
    #[test]
    fn a_picture_has_the_size_that_it_came_with() {
        let folder = tempfile::tempdir().unwrap();
        image::RgbImage::new(48, 20).save(folder.path().join("a.png")).unwrap();
        std::fs::write(folder.path().join("t.csv"), "path\na.png\n").unwrap();
        for images in [folder.path().to_owned(), folder.path().join("t.csv")] {
            let files = open(&images, Some(12)).unwrap();
            assert_eq!(files.sample_bits(), "12".parse::<SampleBits>().unwrap());
            let (seen, size) = picture(&files, 0, 16).unwrap();
            assert_eq!(((seen.width, seen.height), size), ((16, 16), [48, 20]));
        }
    }
}
