use std::{fs, sync::atomic::AtomicUsize};

use tempfile::TempDir;

use super::*;
use crate::data::{OnBadImage, folder};

/// Pictures of several sizes below `train` and `validation`, with two classes of defects; if `torn`, one file is
/// truncated.
fn pictures(root: &Path, count: u32, torn: bool) {
    for (split, label, count) in [
        ("train", "normal", count),
        ("train", "defect/crack", 3),
        ("train", "defect/hole", 2),
        ("validation", "normal", 3),
        ("validation", "defect/crack", 2),
    ] {
        let folder = root.join(split).join(label);
        fs::create_dir_all(&folder).unwrap();
        for number in 0..count {
            let place = number + label.len() as u32 * 7 + split.len() as u32 * 131;
            let pixel = |x: u32, y: u32| {
                let value = |channel: u32| (x * 31 + y * 17 + place * 97 + channel * (x + place) * 53) as u8;
                image::Rgb([value(0), value(1), value(2)])
            };
            image::RgbImage::from_fn(20 + number % 5, 16 + place % 3, pixel)
                .save(folder.join(format!("{number:04}.png")))
                .unwrap();
        }
    }
    if torn {
        fs::write(root.join("train/normal/0001.png"), b"no picture").unwrap();
    }
}

/// Keeps every second pixel of every second row.
fn halved(image: Image) -> Image {
    let (width, height) = (image.width / 2, image.height / 2);
    let pixels = (0..width * height).flat_map(|at| {
        let from = (at / width * 2 * image.width + at % width * 2) * 3;
        image.pixels[from..from + 3].to_vec()
    });
    Image::new(width, height, pixels.collect())
}

fn pack(source: &Source, to: &Path, form: Form, on_bad_image: OnBadImage) -> Result<Packed> {
    let shrink = |image| if form == Form::Files { image } else { halved(image) };
    Packing { source, folder: to, form, shrink: &shrink, on_bad_image }.pack(&|| {})
}

/// The examined source, so that unreadable files are known.
fn source(root: &Path) -> Source {
    let source = folder::source(root).unwrap();
    for files in [source.train.files().unwrap(), source.validation.files().unwrap()] {
        files.examine(&(0..files.len()).collect::<Vec<_>>(), &|| {});
    }
    source
}

#[test]
fn a_store_gives_what_its_files_give() {
    let root = TempDir::new().unwrap();
    pictures(root.path(), 4, false);
    let files = source(root.path());
    let mut digests = Vec::new();
    for form in [Form::Pixels(8), Form::Files] {
        let to = root.path().join(form.text());
        let packed = pack(&files, &to, form, OnBadImage::Fail).unwrap();
        assert_eq!((packed.images, packed.earlier, packed.left_out), (14, 0, 0));
        let store = open(&to).unwrap();
        assert_eq!((&store.name, store.has_classes), (&files.name, files.has_classes));
        for (stored, found) in [(&store.train, &files.train), (&store.validation, &files.validation)] {
            assert_eq!(stored.labels(), found.labels());
            for index in 0..stored.labels().len() {
                let expected = found.open(index).unwrap();
                let expected = if form == Form::Files { expected } else { halved(expected) };
                assert_eq!(stored.open(index).unwrap(), expected, "{form:?} {index}");
                let head = stored.head(index).unwrap();
                assert_eq!((head.width, head.height), (expected.width, expected.height));
                assert_eq!(stored.name(index), found.name(index));
                assert_eq!(
                    (stored.group(index), stored.kind(index)),
                    (found.group(index), found.kind(index))
                );
            }
            assert!(stored.place(0).contains("images-00000.safetensors"), "{}", stored.place(0));
            digests.push(stored.digest());
        }
        assert_eq!(
            store.limits.iter().any(|limit| limit.contains("longer than 8 pixels")),
            form != Form::Files
        );
        let error = pack(&files, &to, form, OnBadImage::Fail).unwrap_err().to_string();
        assert!(error.contains("already holds a complete store"), "{error}");
    }
    let distinct: std::collections::BTreeSet<&String> = digests.iter().collect();
    assert_eq!(distinct.len(), 4, "other pixels are other data");
}

/// Several shards: packing is interrupted after each, and continues to identical bytes.
#[test]
fn packing_goes_on_where_it_was_stopped() {
    let root = TempDir::new().unwrap();
    let data = root.path().join("data");
    pictures(&data, 2 * SHARD as u32 + 5, true);
    let files = source(&data);
    let error = pack(&files, &root.path().join("no"), Form::Files, OnBadImage::Fail).unwrap_err().to_string();
    assert!(
        error.contains("1 image cannot be read; --on-bad-image skip") && error.contains("0001.png"),
        "{error}"
    );

    let whole = root.path().join("whole");
    let packed = pack(&files, &whole, Form::Pixels(8), OnBadImage::Skip).unwrap();
    assert_eq!((packed.images, packed.left_out), (2 * SHARD + 14, 1));
    let names = || {
        let entries = fs::read_dir(&whole).unwrap().map(|entry| entry.unwrap().file_name());
        entries.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(names().len(), 5, "{:?}", names());
    let part = root.path().join("part");
    for kept in 0..3 {
        fs::create_dir(&part).unwrap();
        for number in 0..kept {
            fs::copy(shard_path(&whole, number), shard_path(&part, number)).unwrap();
        }
        let calls = AtomicUsize::new(0);
        let count = || {
            calls.fetch_add(1, Relaxed);
        };
        let packing = Packing {
            source: &files,
            folder: &part,
            form: Form::Pixels(8),
            shrink: &halved,
            on_bad_image: OnBadImage::Skip,
        };
        let packed = packing.pack(&count).unwrap();
        assert_eq!((packed.earlier, calls.load(Relaxed)), (kept * SHARD, packed.images));
        for name in names() {
            assert!(fs::read(whole.join(&name)).unwrap() == fs::read(part.join(&name)).unwrap(), "{name:?}");
        }
        fs::remove_dir_all(&part).unwrap();
    }
    let store = open(&whole).unwrap();
    assert!(
        store
            .limits
            .iter()
            .any(|limit| limit.starts_with("1 image was unreadable and left out when the store was packed"))
    );
    assert_eq!(store.train.name(1), "train/normal/0002.png", "none stands where the torn one stood");
    assert_eq!(store.train.open(SHARD + 3).unwrap(), halved(files.train.open(SHARD + 4).unwrap()));

    // Shards of another store.
    fs::create_dir(&part).unwrap();
    fs::copy(shard_path(&whole, 0), shard_path(&part, 0)).unwrap();
    let error = pack(&files, &part, Form::Files, OnBadImage::Skip).unwrap_err().to_string();
    assert!(error.contains("this shard was packed from other images"), "{error}");
}

#[test]
fn what_was_damaged_is_named() {
    let root = TempDir::new().unwrap();
    pictures(root.path(), 4, false);
    let files = source(root.path());
    let to = root.path().join("store");
    let opened = || open(&to).map(|_| ()).map_err(|error| format!("{error:#}"));
    assert!(opened().unwrap_err().contains("`data pack` creates one"));
    pack(&files, &to, Form::Pixels(8), OnBadImage::Fail).unwrap();
    opened().unwrap();

    let shard = shard_path(&to, 0);
    let whole = fs::read(&shard).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&shard, &flipped).unwrap();
    let store = open(&to).unwrap();
    let last = store.validation.labels().len() - 1;
    let error = format!("{:#}", store.validation.open(last).unwrap_err());
    assert!(error.contains("its bytes differ from those that were packed"), "{error}");
    assert!(store.validation.open(0).is_ok(), "others are whole");
    drop(store);
    for length in [0, 7, 100, whole.len() - 1] {
        fs::write(&shard, &whole[..length]).unwrap();
        let error = opened().unwrap_err();
        assert!(error.contains("images-00000.safetensors: not a complete shard of a store"), "{error}");
    }
    // A complete store of fewer images.
    let fewer = root.path().join("fewer");
    fs::remove_file(root.path().join("train/normal/0003.png")).unwrap();
    pack(&source(root.path()), &fewer, Form::Pixels(8), OnBadImage::Fail).unwrap();
    fs::copy(shard_path(&fewer, 0), &shard).unwrap();
    assert!(opened().unwrap_err().contains("13 images, expected 14; pack the store again"));
    fs::remove_file(&shard).unwrap();
    assert!(opened().unwrap_err().contains("images-00000.safetensors"));
    fs::write(&shard, &whole).unwrap();

    let list = fs::read_to_string(to.join(IMAGES)).unwrap();
    fs::write(to.join(IMAGES), list.replacen(",0,", ",1,", 1)).unwrap();
    assert!(opened().unwrap_err().contains("images.csv: differs from the list that was packed"));
    fs::write(to.join(IMAGES), &list).unwrap();
    let about = fs::read_to_string(to.join(STORE)).unwrap();
    fs::write(to.join(STORE), about.replacen("version,1", "version,9", 1)).unwrap();
    let error = opened().unwrap_err();
    assert!(error.contains("a store of version 9, this program reads 1: pack it again"), "{error}");
}
