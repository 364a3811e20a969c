//! Packed stores: the images of a source in a few large files, which can be read at the speed of memory.
//!
//! Images are in shards of [`SHARD`] images. A shard is a safetensors file with one tensor of bytes per image: its
//! pixels (height, width, 3), decoded and shrunk once, or the unchanged bytes of its file. `images.csv` has one row
//! per image, in the order of the shards, with labels and a digest; `store.csv` describes the store and is written
//! last. Shards are memory-mapped, so all processes share the system's page cache. The digest of an image is verified
//! when it is first read.

mod pack;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use anyhow::{Context, Result, bail, ensure};
use memmap2::Mmap;
pub use pack::{Packing, PackingReport};
use rayon::prelude::*;
use safetensors::SafeTensors;

use super::{
    ClassSet, Dataset, Header, Image, Labels, SampleBits, Source, decode, foreign,
    listing::Listing,
    names::ensure_apart,
    regular::{self, SizeLimit},
};

/// Version of the store format that this program writes and reads.
pub const VERSION: u32 = 1;
/// Images per shard: about 100 MB with 224 x 280 pixels. Ours.
pub const SHARD: usize = 512;
/// The file that marks a complete store.
pub const STORE: &str = "store.csv";
const IMAGES: &str = "images.csv";
/// Columns of the list of images.
const COLUMNS: [&str; 8] = ["split", "path", "label", "classes", "stratum", "class", "group", "digest"];
/// Names of the splits in that list, in its order.
const SPLITS: [&str; 2] = ["train", "validation"];

/// Form of the images in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Pixels; the shorter side was shrunk to this number of pixels if it was longer.
    Pixels(usize),
    /// Unchanged bytes of files.
    Files,
}

impl Form {
    /// Text for messages and for `store.csv`.
    fn text(self) -> String {
        match self {
            Self::Pixels(side) => format!("pixels {side}"),
            Self::Files => "files".to_owned(),
        }
    }

    fn of_text(text: &str) -> Result<Self> {
        match text.split_once(' ') {
            Some(("pixels", side)) => Ok(Self::Pixels(side.parse()?)),
            None if text == "files" => Ok(Self::Files),
            _ => bail!("expected 'pixels SIDE' or 'files', found '{text}'"),
        }
    }
}

/// The first 128 bits of a BLAKE3.
type Digest = [u8; 16];

fn digest(bytes: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    digest
}

/// Path of shard `number`.
fn shard_path(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("images-{number:05}.safetensors"))
}

/// Name of an image in its shard; names sort in the order of positions.
fn name(place: usize) -> String {
    format!("{place:03}")
}

/// A memory-mapped shard, with the locations of its images.
struct Shard {
    map: Mmap,
    /// For each image: offset, number of bytes, and height and width of pixels.
    images: Vec<(usize, usize, [usize; 2])>,
}

impl Shard {
    fn open(path: &Path) -> Result<Self> {
        let read = || -> Result<Self> {
            let file = regular::open(path)?;
            // SAFETY: a complete store is not modified. Truncating a shard while it is read would end this process,
            // and changed bytes would not match their digest.
            let map = unsafe { Mmap::map(&file)? };
            let (header, head) = SafeTensors::read_metadata(&map)?;
            let mut images = Vec::new();
            while let Some(info) = head.info(&name(images.len())) {
                let (begin, end) = info.data_offsets;
                let size = match info.shape[..] {
                    [height, width, 3] => [height, width],
                    [_] => [0; 2],
                    _ => bail!("image {} has the unexpected shape {:?}", images.len(), info.shape),
                };
                ensure!(
                    info.shape.iter().product::<usize>() == end - begin,
                    "image {} holds no bytes",
                    images.len()
                );
                images.push((8 + header + begin, end - begin, size));
            }
            ensure!(
                map.len() == 8 + header + images.iter().map(|(_, bytes, _)| bytes).sum::<usize>(),
                "its length does not match its header"
            );
            Ok(Self { map, images })
        };
        read().with_context(|| format!("{}: not a complete shard of a store; pack it again", path.display()))
    }

    /// Returns the bytes of an image, with height and width of pixels.
    fn image(&self, place: usize) -> (&[u8], [usize; 2]) {
        let (begin, bytes, size) = self.images[place];
        (&self.map[begin..begin + bytes], size)
    }
}

/// One split of a store.
pub struct Store {
    folder: PathBuf,
    form: Form,
    sample_bits: SampleBits,
    listing: Listing,
    shards: Arc<Vec<Shard>>,
    /// Number of the split's first image among all images of the store.
    first: usize,
    digests: Vec<Digest>,
    /// Whether each image's digest has been verified.
    checked: Vec<AtomicBool>,
    digest: String,
}

impl Store {
    /// Returns the stored bytes of an image, with height and width of pixels.
    fn bytes(&self, index: usize) -> Result<(&[u8], [usize; 2])> {
        let number = self.first + index;
        let (bytes, size) = self.shards[number / SHARD].image(number % SHARD);
        if !self.checked[index].load(Relaxed) {
            ensure!(
                digest(bytes) == self.digests[index],
                "{}: its bytes differ from those that were packed; pack the store again",
                self.location(index)
            );
            self.checked[index].store(true, Relaxed);
        }
        Ok((bytes, size))
    }
}

impl Dataset for Store {
    fn labels(&self) -> &[Labels] {
        self.listing.labels()
    }

    fn open(&self, index: usize) -> Result<Image> {
        let (bytes, [height, width]) = self.bytes(index)?;
        match self.form {
            Form::Pixels(_) => Ok(Image::new(width, height, bytes.to_vec())),
            Form::Files => decode::decode_bytes(bytes, Path::new(self.listing.name(index)), self.sample_bits)
                .with_context(|| self.location(index)),
        }
    }

    fn header(&self, index: usize) -> Result<Header> {
        let (bytes, [height, width]) = self.bytes(index)?;
        match self.form {
            Form::Pixels(_) => Ok(Header { width, height, turned: false, sixteen: false }),
            Form::Files => decode::read_header_from_bytes(bytes, Path::new(self.listing.name(index))),
        }
    }

    fn location(&self, index: usize) -> String {
        let shard = shard_path(&self.folder, (self.first + index) / SHARD);
        format!("{} (packed in {})", self.listing.name(index), shard.display())
    }

    fn digest(&self) -> String {
        self.digest.clone()
    }

    fn name(&self, index: usize) -> String {
        self.listing.name(index).to_owned()
    }

    fn group(&self, index: usize) -> Option<&str> {
        self.listing.group(index)
    }

    fn class_name(&self, index: usize) -> Option<&str> {
        self.listing.class_name(index)
    }
}

/// Opens a store.
///
/// # Errors
/// If it is incomplete, of another version, or the list or a shard differs from what was packed.
pub fn open(folder: &Path) -> Result<Source> {
    let about = About::read(folder)?;
    let list = regular::read(&folder.join(IMAGES), SizeLimit::TABLE)
        .with_context(|| format!("{}: cannot be read", folder.join(IMAGES).display()))?;
    let found = blake3::hash(&list).to_hex().to_string();
    ensure!(
        found == about.images,
        "{}: differs from the list that was packed; pack the store again",
        folder.join(IMAGES).display()
    );
    let [train, validation] =
        read_list(&list).with_context(|| format!("{}", folder.join(IMAGES).display()))?;
    let count = train.listing.len() + validation.listing.len();
    let paths: Vec<PathBuf> = (0..count.div_ceil(SHARD)).map(|number| shard_path(folder, number)).collect();
    let shards = paths.par_iter().map(|path| Shard::open(path)).collect::<Result<Vec<Shard>>>()?;
    for (number, shard) in shards.iter().enumerate() {
        let (held, expected) = (shard.images.len(), SHARD.min(count - number * SHARD));
        ensure!(
            held == expected,
            "{}: {held} images, expected {expected}; pack the store again",
            shard_path(folder, number).display()
        );
    }
    ensure_apart(&train.listing, &validation.listing)?;
    let shards = Arc::new(shards);
    let part = |rows: List, first| rows.into_store(folder, &about, shards.clone(), first);
    let first = train.listing.len();
    let (train, validation) = (part(train, 0), part(validation, first));
    Ok(Source {
        name: about.name,
        train: Box::new(train),
        validation: Box::new(validation),
        has_classes: about.has_classes,
        limits: about.limits,
        interpretation: about.understood,
        left_out: Vec::new(),
        leaks: Vec::new(),
    })
}

/// Returns the shorter side of a store's images; `None` if they were not shrunk.
///
/// # Errors
/// Those of [`open`] that concern `store.csv`.
pub fn shorter_side(folder: &Path) -> Result<Option<usize>> {
    Ok(match About::read(folder)?.form {
        Form::Pixels(side) => Some(side),
        Form::Files => None,
    })
}

/// Description of a store.
struct About {
    form: Form,
    name: String,
    has_classes: bool,
    sample_bits: SampleBits,
    limits: Vec<String>,
    understood: Vec<String>,
    /// Digest of the list of images.
    images: String,
}

impl About {
    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(STORE);
        let read = || -> Result<Self> {
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(regular::open(&path)?);
            let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for row in reader.records() {
                let row = row?;
                let (Some(name), Some(value)) = (row.get(0), row.get(1)) else { bail!("a row has no value") };
                rows.entry(name.to_owned()).or_default().push(value.to_owned());
            }
            let one = |name: &str| -> Result<&str> {
                rows.get(name)
                    .and_then(|values| values.first())
                    .map(String::as_str)
                    .with_context(|| format!("no row '{name}'"))
            };
            let version = one("version")?;
            ensure!(
                version == VERSION.to_string(),
                "a store of version {version}, this program reads {VERSION}: pack it again"
            );
            Ok(Self {
                form: Form::of_text(one("form")?)?,
                name: one("name")?.to_owned(),
                has_classes: one("has_classes")? == "1",
                sample_bits: one("sample_bits")?.parse()?,
                limits: rows.get("limit").cloned().unwrap_or_default(),
                understood: rows.get("understood").cloned().unwrap_or_default(),
                images: one("images")?.to_owned(),
            })
        };
        read().with_context(|| {
            format!(
                "{}: not a complete store; `data pack` creates one, or continues one that was interrupted",
                path.display()
            )
        })
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let (version, bits) = (VERSION.to_string(), self.sample_bits.to_string());
        for (name, value) in [
            ("version", version.as_str()),
            ("form", &self.form.text()),
            ("name", &self.name),
            ("has_classes", if self.has_classes { "1" } else { "0" }),
            ("sample_bits", &bits),
            ("images", &self.images),
        ] {
            writer.write_record([name, value])?;
        }
        for (name, values) in [("limit", &self.limits), ("understood", &self.understood)] {
            values.iter().try_for_each(|value| writer.write_record([name, value.as_str()]))?;
        }
        Ok(writer.into_inner()?)
    }
}

/// Rows of one split.
#[derive(Default)]
struct List {
    listing: Listing,
    groups: Vec<String>,
    kinds: BTreeMap<u32, String>,
    digests: Vec<Digest>,
}

impl List {
    fn push(&mut self, row: &csv::StringRecord) -> Result<()> {
        let defect = match &row[2] {
            "0" => false,
            "1" => true,
            other => bail!("expected a label of 0 or 1, found '{other}'"),
        };
        let (classes, stratum) = (ClassSet::from_bits(row[3].parse()?), row[4].parse()?);
        let classes =
            classes.with_context(|| format!("expected the bits of a set of classes, found {}", &row[3]))?;
        self.listing.push(foreign::unescape_cell(&row[1]), Labels { defect, classes, stratum }, None);
        if !row[5].is_empty() {
            self.kinds.insert(stratum, foreign::unescape_cell(&row[5]).to_owned());
        }
        self.groups.push(foreign::unescape_cell(&row[6]).to_owned());
        self.digests.push(unhex(&row[7])?);
        Ok(())
    }

    fn into_store(mut self, folder: &Path, about: &About, shards: Arc<Vec<Shard>>, first: usize) -> Store {
        if self.groups.iter().any(|group| !group.is_empty()) {
            self.listing.set_groups(&self.groups);
        }
        if let Some(last) = self.kinds.keys().next_back() {
            let names = (0..=*last).map(|stratum| self.kinds.get(&stratum).cloned().unwrap_or_default());
            self.listing.set_kinds(names.collect());
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.listing.digest().as_bytes()).update(about.form.text().as_bytes());
        hasher.update(about.sample_bits.to_string().as_bytes());
        self.digests.iter().for_each(|digest| {
            hasher.update(digest);
        });
        Store {
            folder: folder.to_owned(),
            form: about.form,
            sample_bits: about.sample_bits,
            checked: self.digests.iter().map(|_| AtomicBool::new(false)).collect(),
            listing: self.listing,
            shards,
            first,
            digests: self.digests,
            digest: hasher.finalize().to_hex().to_string(),
        }
    }
}

/// Reads both splits from a list.
fn read_list(list: &[u8]) -> Result<[List; 2]> {
    let mut reader = csv::Reader::from_reader(list);
    ensure!(reader.headers()?.iter().eq(COLUMNS), "expected the columns {}", COLUMNS.join(","));
    let mut lists = <[List; 2]>::default();
    for row in reader.records() {
        let row = row?;
        let split = SPLITS.iter().position(|split| *split == &row[0]);
        let split = split
            .with_context(|| format!("expected a split of {}, found '{}'", SPLITS.join(" or "), &row[0]))?;
        ensure!(
            split == 1 || lists[1].listing.is_empty(),
            "expected all training images before the validation images"
        );
        let line = row.position().map_or(0, csv::Position::line);
        lists[split].push(&row).with_context(|| format!("row {line}"))?;
    }
    Ok(lists)
}

fn hex(digest: Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Result<Digest> {
    let mut digest = Digest::default();
    ensure!(text.len() == 32 && text.is_ascii(), "expected a digest of 32 digits, found '{text}'");
    for (place, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16)?;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests;
