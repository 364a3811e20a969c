//! Examination of every image before training, with its progress; the results are stored in the results folder.

use std::{
    io::IsTerminal as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use skewbench::{data::files::Files, results::Folder};

/// How often results are written, so that a stopped examination need not start again. Ours.
const KEPT_EVERY: Duration = Duration::from_secs(30);
/// Number of files between two checks of the clock.
const CHUNK: usize = 512;

/// Examines all images that are not known yet.
///
/// # Errors
/// If the results cannot be written to the folder.
pub fn files(all: &[&Files], folder: Option<&Path>) -> Result<()> {
    let open: Vec<Vec<usize>> = all
        .iter()
        .map(|files| (0..files.len()).filter(|&index| files.sketch(index).is_none()).collect())
        .collect();
    let count: usize = open.iter().map(Vec::len).sum();
    let bar = ProgressBar::new(count as u64).with_style(ProgressStyle::with_template(
        "examining {wide_bar} {pos}/{len} images  {per_sec}  {eta_precise} left",
    )?);
    let (begun, mut kept) = (Instant::now(), Instant::now());
    let plain = !std::io::stderr().is_terminal();
    for (files, open) in all.iter().zip(&open) {
        for chunk in open.chunks(CHUNK) {
            files.examine(chunk, &|| bar.inc(1));
            if let Some(folder) = folder.filter(|_| kept.elapsed() > KEPT_EVERY) {
                if plain {
                    let (done, pace) =
                        (bar.position(), bar.position() as f64 / begun.elapsed().as_secs_f64());
                    eprintln!(
                        "examining images: {done} of {count}, {pace:.0} per second; about {:.0} s left",
                        (count as f64 - done as f64) / pace
                    );
                }
                Folder::open(folder)?.write_known(files)?;
                kept = Instant::now();
            }
        }
    }
    bar.finish_and_clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use skewbench::data;

    use super::*;
    use crate::support::committed;

    #[test]
    fn every_image_is_known_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        committed::pictures(folder.path(), [3, 2]);
        let opened = data::folder::open(folder.path()).unwrap();
        let all = opened.files();
        let known = || -> Vec<bool> {
            all.iter().flat_map(|files| (0..files.len()).map(|index| files.sketch(index).is_some())).collect()
        };
        assert_eq!(known(), [false; 5]);
        files(&all, None).unwrap();
        assert_eq!(known(), [true; 5]);
    }

    /// More pictures than are looked at between two glances at the clock, in both parts of a split.
    #[test]
    fn every_chunk_of_every_part_is_examined() {
        let folder = tempfile::tempdir().unwrap();
        for (split, counts) in [("train", [CHUNK + 9, 2]), ("validation", [3, 4])] {
            for (kind, count) in ["normal", "defect"].into_iter().zip(counts) {
                let into = folder.path().join(split).join(kind);
                std::fs::create_dir_all(&into).unwrap();
                for number in 0..count {
                    let shade = image::Rgb([number as u8, (number >> 8) as u8, kind.len() as u8]);
                    image::RgbImage::from_pixel(8, 8, shade)
                        .save(into.join(format!("{number:04}.png")))
                        .unwrap();
                }
            }
        }
        let opened = data::folder::open(folder.path()).unwrap();
        let all = opened.files();
        let lengths: Vec<usize> = all.iter().map(|files| files.len()).collect();
        assert_eq!(lengths, [CHUNK + 11, 7]);
        files(&all, Some(folder.path())).unwrap();
        for files in &all {
            assert!(
                (0..files.len())
                    .all(|index| files.sketch(index).is_some() && files.file_digest(index).is_some())
            );
        }
        assert!(!folder.path().join("images-looked-at").exists());
    }
}
