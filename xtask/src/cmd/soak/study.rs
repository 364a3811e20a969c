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
        let said = fs::File::create(said).with_context(|| format!("{}: cannot be made", said.display()))?;
        self.add_to(&mut program)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .context("the program does not start")
    }

    /// Adds the arguments of this study to a command.
    fn add_to<'a>(&self, program: &'a mut Command) -> &'a mut Command {
        let study = ["--study", "table1,floors,fine_tuned", "--shares", "natural"];
        let sizes = ["--side", "32", "--width", "8", "--batch-size", "8"];
        program
            .arg("reproduce")
            .args([&study[..], &sizes].concat())
            .args(["--epochs", &self.epochs.to_string(), "--seeds", &self.seeds.to_string()])
            .args(self.only.map(|only| ["--only", only]).into_iter().flatten())
            .arg("--data")
            .arg(format!("folder={}", self.pictures.display()))
            .arg("--out")
            .arg(self.out)
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
pub fn last_lines(said: &Path) -> String {
    let text = fs::read_to_string(said).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" / ")
}

/// Returns BLAKE3 digests of a study's results, by file: of the bytes of weights, logits and detectors, and of
/// what each record computed, without times.
pub fn result_digests(out: &Path) -> Result<BTreeMap<String, String>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_study_is_asked_for_with_its_flags() {
        let study =
            |only| Study { pictures: Path::new("/p"), out: Path::new("/o"), only, epochs: 3, seeds: 2 };
        let words = |only| {
            let mut command = Command::new("x");
            study(only).add_to(&mut command);
            command.get_args().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        let begin = "reproduce --study table1,floors,fine_tuned --shares natural --side 32 --width 8 --batch-size 8 --epochs 3 \
                     --seeds 2";
        assert_eq!(words(None), format!("{begin} --data folder=/p --out /o"));
        assert_eq!(words(Some("byol")), format!("{begin} --only byol --data folder=/p --out /o"));
    }

    #[test]
    fn pictures_are_written_below_their_labels() {
        let folder = tempfile::tempdir().unwrap();
        draw(folder.path()).unwrap();
        let drawn = data::synthetic::source(Seed::root(0), 60, 1, 32).train;
        let found = files(folder.path()).unwrap();
        assert_eq!(found.len(), 60);
        for (index, labels) in drawn.labels().iter().enumerate() {
            let name = format!("{}/{index:03}.png", if labels.defect { "defect" } else { "normal" });
            let (_, path) = found.iter().find(|(known, _)| *known == name).expect(&name);
            let read = image::open(path).unwrap().into_rgb8();
            assert!(read.into_raw() == drawn.open(index).unwrap().pixels, "{name}");
        }
    }

    #[test]
    fn the_end_of_what_was_said_is_five_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, expected) in
            [("a\nb\n", "a / b"), ("1\n2\n3\n4\n5\n6\n7\n", "3 / 4 / 5 / 6 / 7"), ("", "")]
        {
            fs::write(file.path(), text).unwrap();
            assert_eq!(last_lines(file.path()), expected);
        }
        assert_eq!(last_lines(Path::new("/nowhere")), "");
    }
}
