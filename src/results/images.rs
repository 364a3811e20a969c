//! Which image is which: the files of a split and what is known of their bytes, as a CSV in the results folder.
//!
//! `images-<split>-<digest>.csv` has a row for each image of the split, in the order that logits and records
//! count positions in. The digest in its name is that of names and labels, so that two data sets in one folder
//! have a file each. Sizes and times of change say at the next start whether a file must be read again to know
//! its content.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::{Folder, provenance::short};
use crate::data::{
    Dataset,
    content::{Digest, Known, Stamp},
    files::Files,
};

const COLUMNS: [&str; 6] = ["position", "path", "defect", "bytes", "modified", "blake3_16"];

impl Folder {
    /// File that lists the images of a split (`train` or `validation`).
    pub fn images(&self, split: &str, dataset: &dyn Dataset) -> PathBuf {
        self.root.join(format!("images-{split}-{}.csv", short(&dataset.digest())))
    }

    /// Writes the list, with what is known now; nothing where images are drawn.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_images(&self, split: &str, dataset: &dyn Dataset) -> Result<()> {
        let Some(files) = dataset.files() else { return Ok(()) };
        let path = self.images(split, dataset);
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(COLUMNS)?;
        for (index, labels) in dataset.labels().iter().enumerate() {
            let known = files.known(index);
            let known = match known {
                Some(Known { stamp: Stamp { bytes, modified }, digest }) => {
                    [bytes.to_string(), modified.to_string(), hex(digest)]
                }
                None => Default::default(),
            };
            let (position, defect) = (index.to_string(), u8::from(labels.defect).to_string());
            let [bytes, modified, digest] = &known;
            writer.write_record([&position, files.name(index), &defect, bytes, modified, digest])?;
        }
        let name = path.file_name().context("the path has no file name")?.to_string_lossy().into_owned();
        self.write_file(&name, &writer.into_inner()?)
    }

    /// Takes over what earlier processes knew of the files of a split; a torn list is as good as none.
    pub fn remember_images(&self, split: &str, dataset: &dyn Dataset) {
        if let Some(files) = dataset.files() {
            // What is not remembered is read again: slower, never wrong.
            let _ = remember(&self.images(split, dataset), files, dataset.labels().len());
        }
    }
}

fn remember(path: &std::path::Path, files: &Files, count: usize) -> Result<()> {
    let mut known = Vec::new();
    for (index, row) in csv::Reader::from_path(path)?.records().enumerate() {
        let row = row?;
        ensure!(index < count && row.get(1) == Some(files.name(index)), "another list");
        let [bytes, modified, digest] = [3, 4, 5].map(|column| row.get(column).unwrap_or_default());
        if !digest.is_empty() {
            let stamp = Stamp { bytes: bytes.parse()?, modified: modified.parse()? };
            known.push((index, Known { stamp, digest: unhex(digest)? }));
        }
    }
    known.into_iter().for_each(|(index, known)| files.remember(index, known));
    Ok(())
}

fn hex(digest: Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Result<Digest> {
    ensure!(text.len() == 32 && text.is_ascii(), "a digest has 32 digits, found '{text}'");
    let mut digest = [0; 16];
    for (byte, place) in digest.iter_mut().zip((0..32).step_by(2)) {
        *byte = u8::from_str_radix(&text[place..place + 2], 16)?;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::{self, content::Content};

    #[test]
    fn a_list_that_was_written_spares_the_next_process_the_reading() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        for (folder, name, bytes) in
            [("normal", "a.png", "1"), ("normal", "b, \"c\".png", "22"), ("defect", "d.png", "333")]
        {
            for part in ["train", "validation"] {
                let folder = data.join(part).join(folder);
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(name), bytes).unwrap();
            }
        }
        let results = Folder::open(&root.path().join("results")).unwrap();
        let open = || data::folder::source(&data).unwrap().train;
        let first = open();
        results.remember_images("train", &*first);
        let contents = first.files().unwrap().read(&[0, 1]);
        results.write_images("train", &*first).unwrap();

        let second = open();
        results.remember_images("train", &*second);
        let files = second.files().unwrap();
        assert_eq!(files.look(&[0, 1, 2]), [contents[0], contents[1], Content::Unread]);
        assert_eq!(files.used(&[0]), [None], "known is not used");
        assert!(matches!(contents[0], Content::Bytes(digest) if unhex(&hex(digest)).unwrap() == digest));

        // Half a list: what stands in it is not believed.
        let path = results.images("train", &*second);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("normal/a.png", "normal/x.png")).unwrap();
        let third = open();
        results.remember_images("train", &*third);
        assert_eq!(third.files().unwrap().look(&[0]), [Content::Unread]);
    }
}
