//! What a reader of files must do with any bytes: finish, without a panic, and be right about what it accepts.
//!
//! There is one function per reader: it reads the bytes as a file, checks accepted content a second time, and
//! returns whether it accepted the bytes. `benchmarks/cells/readers` calls these functions with damaged files in
//! every test run, cargo-fuzz with whatever it generates.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors, View};
use skewbench::{
    backbone::{Architecture, Name, Parameters, Stem, VitSize, import::Weights, safe::serialise},
    bundle::Bundle,
    candle_core::{DType, Device, Tensor, safetensors::load_buffer},
    data::{SampleBits, Source, annotations::Annotations, decode, foreign, store, table},
    results,
    seed::Seed,
    train::checkpoint::State,
};
use tempfile::TempDir;

/// A reader, and the folder of its files.
pub struct Reader {
    pub name: &'static str,
    /// Returns whether the bytes are accepted.
    pub read: fn(&[u8]) -> bool,
}

pub const READERS: [Reader; 7] = [
    Reader { name: "tables", read: tables },
    Reader { name: "images", read: images },
    Reader { name: "records", read: records },
    Reader { name: "checkpoints", read: checkpoints },
    Reader { name: "weights", read: weights },
    Reader { name: "bundles", read: bundles },
    Reader { name: "stores", read: stores },
];

thread_local! {
    static FOLDER: TempDir = TempDir::new().unwrap();
}

/// Writes these bytes to a file that only this thread uses.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = FOLDER.with(|folder| folder.path().join(name));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

/// Tables of images. Line numbers must increase; an accepted table that is written and read again must be the same.
pub fn tables(bytes: &[u8]) -> bool {
    let path = file("table.csv", bytes);
    // Also read as a table of a known form, whose errors are reported too.
    let _ = Annotations::read(&path).and_then(|table| {
        let mut last = 1;
        table.for_each_row(&["path", "label"], &["class", "split", "group"], |row| {
            assert!(row.line() > last, "line {} after {last}", row.line());
            last = row.line();
            row.filled(0).and(row.flag(1)).and(row.text(2)).map(drop)
        })
    });
    let Ok(source) = table::source(&path) else { return false };
    let rows = rows_of(&source);
    let again = file("again.csv", &written(&rows, path.parent().unwrap()));
    let again = table::source(&again).unwrap_or_else(|error| panic!("written anew it is refused: {error:#}"));
    assert_eq!(rows_of(&again), rows);
    true
}

/// Split, name, label, class and group.
type Row = (&'static str, String, bool, String, Option<String>);

fn rows_of(source: &Source) -> Vec<Row> {
    let mut rows = Vec::new();
    for (split, images) in [("train", &source.train), ("validation", &source.validation)] {
        for (index, labels) in images.labels().iter().enumerate() {
            let class = images.class_name(index).unwrap_or_default().to_owned();
            let group = images.group(index).map(str::to_owned);
            rows.push((split, images.name(index), labels.defect, class, group));
        }
    }
    rows
}

fn written(rows: &[Row], folder: &Path) -> Vec<u8> {
    let has_groups = rows.iter().any(|row| row.4.is_some());
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = ["split", "path", "label", "class", "group"];
    let fields = if has_groups { 5 } else { 4 };
    writer.write_record(&header[..fields]).unwrap();
    for (split, name, defect, class, group) in rows {
        let path = folder.join(name).to_str().unwrap().to_owned();
        let group = foreign::escape_cell(group.as_deref().unwrap_or_default());
        let row =
            [*split, path.as_str(), if *defect { "1" } else { "0" }, &foreign::escape_cell(class), &group];
        writer.write_record(&row[..fields]).unwrap();
    }
    writer.into_inner().unwrap()
}

/// Images. Reading only the header must agree; truncated anywhere, an image is refused, or has the same pixels.
pub fn images(bytes: &[u8]) -> bool {
    let path = Path::new("picture");
    let see = |bytes: &[u8]| decode::decode_with_header(bytes, path, SampleBits::ALL);
    let head_alone = decode::read_header_from_bytes(bytes, path);
    let Ok((image, head, _)) = see(bytes) else { return false };
    assert_eq!(head_alone.unwrap(), head);
    assert_eq!((head.width, head.height), (image.width, image.height));
    if head.sixteen {
        decode::bits_in_bytes(bytes, path).unwrap();
    }
    // For large images this would take minutes.
    if image.pixels.len() < 1 << 18 {
        for eighths in 1..=8 {
            let length = (bytes.len() * eighths / 8).saturating_sub(1);
            if let Ok((cut, ..)) = see(&bytes[..length]) {
                assert!(cut == image, "other pixels after {length} of {} bytes", bytes.len());
            }
        }
    }
    true
}

/// Records. An accepted record is written as text that reads as the same record, and that is written identically
/// again.
pub fn records(bytes: &[u8]) -> bool {
    let Ok(record) = results::read(&file("record.json", bytes)) else { return false };
    let text = serde_json::to_string_pretty(&record).unwrap();
    let again = results::read(&file("again.json", text.as_bytes()))
        .unwrap_or_else(|error| panic!("written anew it is refused: {error:#}"));
    assert_eq!(serde_json::to_string_pretty(&again).unwrap(), text);
    assert!(again == record, "it reads as another record");
    true
}

/// Checkpoints: unchanged, and with a corrected digest, so that the content behind it is read too. An accepted one
/// is written back identically.
pub fn checkpoints(bytes: &[u8]) -> bool {
    let read = |bytes: &[u8]| State::read(&file("state.checkpoint", bytes)).ok();
    if let Some(sealed) = sealed(bytes)
        && let Some((state, _)) = read(&sealed)
    {
        let _ = (state.position(), state.images(), state.numbers_under("curve_monitor"));
    }
    let Some((state, notes)) = read(bytes) else { return false };
    let written = state.to_safetensors(&notes).unwrap();
    let (again, _) = read(&written).expect("what was written is read");
    assert_eq!(again.to_safetensors(&notes).unwrap(), written);
    state.position().is_ok() && state.images().is_ok()
}

/// Returns tensors and notes of a file, sealed again by `seal`; `None` if it is not safetensors.
fn resealed(
    bytes: &[u8],
    seal: impl Fn(&BTreeMap<String, Tensor>, &mut BTreeMap<String, String>) -> Option<()>,
) -> Option<Vec<u8>> {
    let (_, head) = SafeTensors::read_metadata(bytes).ok()?;
    let tensors: BTreeMap<_, _> = load_buffer(bytes, &Device::Cpu).ok()?.into_iter().collect();
    let mut notes = head.metadata().clone().unwrap_or_default().into_iter().collect();
    seal(&tensors, &mut notes)?;
    serialise(&tensors, &notes).ok()
}

/// Returns a checkpoint of these tensors, whatever digest they state.
pub fn sealed(bytes: &[u8]) -> Option<Vec<u8>> {
    resealed(bytes, |tensors, notes| {
        let mut hasher = blake3::Hasher::new();
        for (name, tensor) in tensors {
            hasher.update(format!("{name} {:?} {:?}\n", tensor.dtype(), tensor.dims()).as_bytes());
            hasher.update(&View::data(tensor));
        }
        notes.insert("checkpoint_format".to_owned(), "1".to_owned());
        notes.insert("checkpoint_digest".to_owned(), hasher.finalize().to_hex().to_string());
        Some(())
    })
}

/// The smallest encoder for weights: 4 patches of 4 x 4 pixels, one block of width 4.
pub const SMALL: Architecture = Architecture {
    name: Name::ViTTiny,
    resnet_width: 8,
    resnet_stem: Stem::Small,
    vit: VitSize { patch: 4, width: 4, depth: 1, heads: 1 },
    side: 8,
};

/// Returns the variables of [`SMALL`].
pub fn small() -> Parameters {
    let mut parameters = Parameters::default();
    SMALL.build(&mut parameters.builder("", Seed::root(0), DType::F32, &Device::Cpu)).unwrap();
    parameters
}

/// Weights of other libraries, as `--init` takes them: an encoder is either filled completely with finite numbers
/// of the file, or not changed.
pub fn weights(bytes: &[u8]) -> bool {
    let path = file("weights", bytes);
    let Ok(weights) = Weights::read(&path, bytes) else { return false };
    let _ = weights.network();
    let encoder = small();
    let values = |parameters: &Parameters| parameters.to_safetensors(&BTreeMap::new()).unwrap();
    let before = values(&encoder);
    if weights.fill(&encoder).is_err() {
        assert!(values(&encoder) == before, "refused, and yet taken over");
        return false;
    }
    let tensors = SafeTensors::deserialize(bytes);
    for parameter in encoder.all() {
        let filled = parameter.variable.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).unwrap();
        assert!(filled.iter().all(|value| value.is_finite()), "{} is not finite", parameter.name);
        let Ok(tensors) = &tensors else { continue };
        let bytes: Vec<u8> = filled.iter().flat_map(|value| value.to_le_bytes()).collect();
        let all = tensors.iter();
        let mut named = all
            .filter(|(name, tensor)| name.ends_with(&parameter.name) && tensor.dtype() == Dtype::F32)
            .peekable();
        // Position embeddings of another grid are resampled.
        let is_copied = parameter.name != "pos_embed" && named.peek().is_some();
        assert!(!is_copied || named.any(|(_, tensor)| tensor.data() == bytes), "{}", parameter.name);
    }
    true
}

/// Returns a bundle of these tensors with a manifest changed by `edit`, whatever digest it states: a digest detects
/// damage, but not malice.
pub fn sealed_bundle(bytes: &[u8], edit: impl Fn(&str) -> String) -> Option<Vec<u8>> {
    resealed(bytes, |tensors, notes| {
        let mut hasher = blake3::Hasher::new();
        let manifest = notes.get_mut("skewbench_bundle")?;
        *manifest = edit(manifest);
        hasher.update(manifest.as_bytes());
        for (name, tensor) in tensors {
            let bytes = View::data(tensor);
            hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
        }
        notes.insert("skewbench_digest".to_owned(), hasher.finalize().to_hex().to_string());
        Some(())
    })
}

/// Detectors in one file, unchanged and with a corrected digest. An accepted one is refused when a bit of its
/// numbers is changed; with a changed header it is refused, or gives the same scores for its images.
pub fn bundles(bytes: &[u8]) -> bool {
    let open = |bytes: &[u8]| Bundle::open(&file("detector.skewbench", bytes)).ok();
    let says = |bundle: &Bundle| bundle.score(bundle.pictures(), false).unwrap();
    if let Some(bundle) = sealed_bundle(bytes, str::to_owned).and_then(|sealed| open(&sealed)) {
        assert_eq!(says(&bundle).len(), bundle.pictures().len());
    }
    let Some(bundle) = open(bytes) else { return false };
    let expected = says(&bundle);
    let head = bytes.first_chunk::<8>().map(|length| 8 + u64::from_le_bytes(*length) as usize).unwrap();
    for part in 0..16 {
        let mut changed = bytes.to_vec();
        let (begin, end) = if part < 8 { (head, bytes.len()) } else { (8, head) };
        let place = begin + (end - begin - 1) * (part % 8) / 7;
        changed[place] ^= 1 << (part % 8);
        if let Some(other) = open(&changed) {
            assert!(part >= 8, "byte {place} of its numbers was changed, and it was not noticed");
            assert!(
                says(&other) == expected,
                "byte {place} of its head was changed, and it says something else"
            );
        }
    }
    true
}

/// Separators between the three files of a store that are joined into one.
pub const BETWEEN: [&str; 2] = ["\n==== images.csv\n", "\n==== images-00000.safetensors\n"];

/// Packed stores: list, images and shard one after the other, separated by [`BETWEEN`]. In an accepted store each
/// image has the digest that the list states, or is refused.
pub fn stores(bytes: &[u8]) -> bool {
    let (about, rest) = halves(bytes, BETWEEN[0]);
    let (list, shard) = halves(rest, BETWEEN[1]);
    let folder = file("store/store.csv", about).parent().unwrap().to_owned();
    file("store/images.csv", list);
    file("store/images-00000.safetensors", shard);
    let Ok(source) = store::open(&folder) else { return false };
    let are_pixels = store::shorter_side(&folder).unwrap().is_some();
    let mut rows = csv::Reader::from_reader(list);
    let mut digests = rows.records().map(|row| row.unwrap()[7].to_owned());
    let mut is_whole = true;
    for images in [&source.train, &source.validation] {
        for index in 0..images.labels().len() {
            let digest = digests.next().expect("a row for each image");
            let Ok(image) = images.open(index) else {
                is_whole = false;
                continue;
            };
            assert_eq!(image.pixels.len(), image.width * image.height * 3);
            let found = blake3::hash(&image.pixels).to_hex();
            assert!(
                !are_pixels || found[..32] == digest.to_ascii_lowercase(),
                "image {index} has other pixels"
            );
        }
    }
    assert_eq!(digests.next(), None, "images for all rows");
    is_whole
}

/// Returns the parts before and after a mark; everything, and nothing, if there is no mark.
fn halves<'a>(bytes: &'a [u8], mark: &str) -> (&'a [u8], &'a [u8]) {
    let at = bytes.windows(mark.len()).position(|window| window == mark.as_bytes());
    at.map_or((bytes, &[]), |at| (&bytes[..at], &bytes[at + mark.len()..]))
}
