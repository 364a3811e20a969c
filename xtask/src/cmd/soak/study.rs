//! A small study on drawn images, and its results.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use skewbench::{data, results, seed::Seed};

/// Cells of all kinds, each trained in about a second: 22 per seed, and raw pixels once.
pub struct Study<'a> {
    /// Images, as drawn by [`draw`].
    pub pictures: &'a Path,
    /// Results folder.
    pub out: &'a Path,
    /// As in `reproduce --only`; `None` for all.
    pub only: Option<&'a str>,
    pub epochs: usize,
    pub seeds: usize,
}

impl Study<'_> {
    /// Starts `program`, or the command that runs it, on this study; its error output goes to `said`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&self, mut program: Command, said: &Path) -> Result<Child> {
        let study = ["--study", "table1,floors,fine_tuned", "--shares", "natural"];
        let sizes = ["--side", "32", "--width", "8", "--batch-size", "8"];
        let said = fs::File::create(said).with_context(|| format!("{}: cannot be made", said.display()))?;
        program
            .arg("reproduce")
            .args([&study[..], &sizes].concat())
            .args(["--epochs", &self.epochs.to_string(), "--seeds", &self.seeds.to_string()])
            .args(self.only.map(|only| ["--only", only]).into_iter().flatten())
            .arg("--data")
            .arg(format!("folder={}", self.pictures.display()))
            .arg("--out")
            .arg(self.out)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .context("the program does not start")
    }
}

/// Writes some drawn images as files, which are faster to read than to draw.
pub fn draw(folder: &Path) -> Result<()> {
    let drawn = data::synthetic::source(Seed::root(0), 60, 1, 32).train;
    for (index, labels) in drawn.labels().iter().enumerate() {
        let picture = drawn.open(index)?;
        let below = folder.join(if labels.defect { "defect" } else { "normal" });
        fs::create_dir_all(&below)?;
        let (width, height) = (picture.width as u32, picture.height as u32);
        let picture =
            image::RgbImage::from_raw(width, height, picture.pixels).context("pixels fill the picture")?;
        picture.save(below.join(format!("{index:03}.png")))?;
    }
    Ok(())
}

/// Returns the last lines of a process's output.
pub fn end_of(said: &Path) -> String {
    let text = fs::read_to_string(said).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" / ")
}

/// Returns the results of a study, by file: bytes of weights, logits and detectors, and records without times.
pub fn what_is_in(out: &Path) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for (name, path) in files(out)? {
        let computed = [".safetensors", ".logits.csv"].iter().any(|ending| name.ends_with(ending));
        if computed {
            found.insert(name, blake3::hash(&fs::read(&path)?).to_hex().to_string());
        } else if name.ends_with(".json") && name != "environment.json" {
            let record = results::read(&path)?;
            let said = format!(
                "{} {:?} {:?} {:?} {:?}",
                record.fingerprint, record.scores, record.label_free, record.label_budgets, record.probe
            );
            found.insert(name, blake3::hash(said.as_bytes()).to_hex().to_string());
        }
    }
    Ok(found)
}

/// Returns every file below a folder, with its path relative to the folder.
pub fn files(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(name) = path.strip_prefix(root) {
                found.push((name.to_string_lossy().into_owned(), path.clone()));
            }
        }
    }
    Ok(found)
}
