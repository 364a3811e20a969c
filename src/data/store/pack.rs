//! Packing: reads every image once, shard by shard, on all cores.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use safetensors::{Dtype, tensor::TensorView};

use super::{
    About, COLUMNS, Digest, Form, IMAGES, SHARD, SPLITS, STORE, Shard, digest, hex, name, shard_path,
};
use crate::{
    data::{Dataset, Image, OnBadImage, SampleBits, Source, foreign},
    durable::write_whole,
    named::counted,
};

/// Key of the note in a shard that identifies what the shard belongs to.
const NOTE: &str = "skewbench_store";

/// What to pack, and where.
pub struct Packing<'a> {
    /// A source of image files.
    pub source: &'a Source,
    /// Folder of the store, to be created or continued.
    pub folder: &'a Path,
    /// Form of the images in the store.
    pub form: Form,
    /// Shrinks an image, as [`Form::Pixels`] requires.
    pub shrink: &'a (dyn Fn(Image) -> Image + Sync),
    /// Policy for examined images that cannot be read.
    pub on_bad_image: OnBadImage,
}

/// Result of packing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackingReport {
    /// Number of images in the store.
    pub images: usize,
    /// Number of these that an earlier run had packed.
    pub earlier: usize,
    /// Number of images that could not be read.
    pub left_out: usize,
    /// Total number of bytes in shards.
    pub bytes: u64,
}

impl Packing<'_> {
    /// Packs what is not packed yet; `done` is called once per image, from many threads.
    ///
    /// Packing can be interrupted at any time: complete shards are kept, and the same call continues after them.
    ///
    /// # Errors
    /// If the store is complete already, shards of another store are in the folder, an image cannot be read, or a
    /// file cannot be written.
    pub fn pack(&self, done: &(dyn Fn() + Sync)) -> Result<PackingReport> {
        let folder = self.folder;
        ensure!(
            !folder.join(STORE).exists(),
            "{}: this folder already holds a complete store; remove it, or choose another folder",
            folder.display()
        );
        fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
        let (order, left_out) = self.order()?;
        let (mut digests, mut packed) = (Vec::new(), PackingReport { left_out, ..PackingReport::default() });
        let identity = self.identity(&order);
        for (number, images) in order.chunks(SHARD).enumerate() {
            let path = shard_path(folder, number);
            let note = format!("{identity} shard {number}");
            let found = if path.exists() {
                packed.earlier += images.len();
                let found = whole(&path, &note, images.len())?;
                images.iter().for_each(|_| done());
                found
            } else {
                self.shard(&path, &note, images, done)?
            };
            packed.bytes += fs::metadata(&path)?.len();
            digests.extend(found);
        }
        packed.images = digests.len();
        self.finish(&order, &digests, left_out)?;
        Ok(packed)
    }

    /// Split and position of each image, and the number of images left out.
    fn order(&self) -> Result<(Vec<(usize, usize)>, usize)> {
        let (mut order, mut left_out) = (Vec::new(), 0);
        for (split, dataset) in self.splits().into_iter().enumerate() {
            let files = dataset.files().context(
                "drawn images cannot be packed, and need not be: skewbench draws them at any size",
            )?;
            let unreadable = files.unreadable();
            if let (OnBadImage::Fail, Some((_, reason))) = (self.on_bad_image, unreadable.iter().next()) {
                bail!(
                    "{} cannot be read; --on-bad-image skip leaves such images out. The first: {reason}",
                    counted(unreadable.len(), "image", "images")
                )
            }
            left_out += unreadable.len();
            let sound = (0..files.len()).filter(|index| !unreadable.contains_key(index));
            order.extend(sound.map(|index| (split, index)));
        }
        Ok((order, left_out))
    }

    fn splits(&self) -> [&dyn Dataset; 2] {
        [&*self.source.train, &*self.source.validation]
    }

    /// Identifies the store: other labels, another side or other images left out give another identity.
    fn identity(&self, order: &[(usize, usize)]) -> String {
        let mut hasher = blake3::Hasher::new();
        for dataset in self.splits() {
            hasher.update(dataset.digest().as_bytes());
        }
        for (split, index) in order {
            hasher.update(&(*split as u64).to_le_bytes()).update(&(*index as u64).to_le_bytes());
        }
        let bits = self.bits();
        format!(
            "version {} of {} {} bits {bits}",
            super::VERSION,
            hasher.finalize().to_hex(),
            self.form.text()
        )
    }

    fn bits(&self) -> SampleBits {
        self.source.sample_bits().unwrap_or(SampleBits::ALL)
    }

    /// Reads and writes the images of a shard.
    fn shard(
        &self,
        path: &Path,
        note: &str,
        images: &[(usize, usize)],
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<Digest>> {
        let splits = self.splits();
        let read = |&(split, index): &(usize, usize)| -> Result<Bytes> {
            let bytes = match self.form {
                Form::Pixels(_) => {
                    let Image { width, height, pixels } = (self.shrink)(splits[split].open(index)?);
                    (vec![height, width, 3], pixels)
                }
                Form::Files => {
                    let files = splits[split].files().context("no files")?;
                    let bytes = files.bytes(index)?.1?;
                    (vec![bytes.len()], bytes)
                }
            };
            done();
            Ok(bytes)
        };
        let read = images.par_iter().map(read).collect::<Result<Vec<Bytes>>>()?;
        let digests = read.par_iter().map(|of| digest(&of.1)).collect();
        let named = read.iter().enumerate().map(|(place, (shape, bytes))| {
            Ok((name(place), TensorView::new(Dtype::U8, shape.clone(), bytes)?))
        });
        let named = named.collect::<Result<Vec<_>>>()?;
        // A single note, since several would be written in random order.
        let notes = HashMap::from([(NOTE.to_owned(), note.to_owned())]);
        write_whole(path, &safetensors::serialize(named, Some(notes))?)?;
        Ok(digests)
    }

    /// Writes the list of images, and then the file that marks the store as complete.
    fn finish(&self, order: &[(usize, usize)], digests: &[Digest], left_out: usize) -> Result<()> {
        let splits = self.splits();
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(COLUMNS)?;
        for (&(split, index), digest) in order.iter().zip(digests) {
            let (dataset, labels) = (splits[split], splits[split].labels()[index]);
            writer.write_record([
                SPLITS[split],
                &foreign::escape_cell(&dataset.name(index)),
                if labels.defect { "1" } else { "0" },
                &labels.classes.bits().to_string(),
                &labels.stratum.to_string(),
                &foreign::escape_cell(dataset.class_name(index).unwrap_or_default()),
                &foreign::escape_cell(dataset.group(index).unwrap_or_default()),
                &hex(*digest),
            ])?;
        }
        let list = writer.into_inner()?;
        write_whole(&self.folder.join(IMAGES), &list)?;
        let mut limits = self.source.limits.clone();
        if let Form::Pixels(side) = self.form {
            limits.push(format!(
                "images whose shorter side was longer than {side} pixels were shrunk to that once (bicubic, as in \
                 Pillow); views are cut out of the shrunk images"
            ));
        }
        if left_out > 0 {
            limits.push(format!(
                "{} unreadable and left out when the store was packed",
                counted(left_out, "image was", "images were")
            ));
        }
        let about = About {
            form: self.form,
            name: self.source.name.clone(),
            has_classes: self.source.has_classes,
            sample_bits: self.bits(),
            limits,
            understood: self.source.interpretation.clone(),
            images: blake3::hash(&list).to_hex().to_string(),
        };
        write_whole(&self.folder.join(STORE), &about.bytes()?)
    }
}

/// Digests of the images in a shard that an earlier run wrote.
fn whole(path: &Path, note: &str, images: usize) -> Result<Vec<Digest>> {
    let shard = Shard::open(path)?;
    let (_, head) = safetensors::SafeTensors::read_metadata(&shard.map)?;
    let found: BTreeMap<&String, &String> = head.metadata().iter().flatten().collect();
    ensure!(
        found.get(&NOTE.to_owned()).is_some_and(|found| *found == note) && shard.images.len() == images,
        "{}: this shard was packed from other images, with other labels or at another side; remove the folder, or \
         choose another",
        path.display()
    );
    Ok((0..images).into_par_iter().map(|place| digest(shard.image(place).0)).collect())
}

/// Shape and bytes of an image in a shard.
type Bytes = (Vec<usize>, Vec<u8>);
