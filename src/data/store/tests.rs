use std::{fs, sync::atomic::AtomicUsize};

use tempfile::TempDir;

use super::*;
use crate::data::{OnBadImage, folder};

#[cfg(test)]
mod shards;

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

fn pack(source: &Source, to: &Path, form: Form, on_bad_image: OnBadImage) -> Result<PackingReport> {
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
                let head = stored.header(index).unwrap();
                assert_eq!((head.width, head.height), (expected.width, expected.height));
                assert_eq!(stored.name(index), found.name(index));
                assert_eq!(
                    (stored.group(index), stored.class_name(index)),
                    (found.group(index), found.class_name(index))
                );
            }
            assert!(stored.location(0).contains("images-00000.safetensors"), "{}", stored.location(0));
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
    let bytes = (0..3).map(|number| fs::metadata(shard_path(&whole, number)).unwrap().len()).sum::<u64>();
    assert_eq!(packed.bytes, bytes);
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
        assert_eq!((packed.images, packed.left_out, packed.bytes), (2 * SHARD + 14, 1, bytes), "{kept}");
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

/// A training split of a deep picture and a normal one, and a validation split of one; all columns differ.
fn three(root: &Path, bits: &str) -> Source {
    let pixels = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pixels");
    for (from, to) in
        [("png-grey16-of-12.png", "a.png"), ("png-rgb.png", "=b.png"), ("png-grey8.png", "c.png")]
    {
        fs::copy(pixels.join(from), root.join(to)).unwrap();
    }
    let files = |rows: &[(&str, bool, u32, u32)], kinds: &[&str], groups: &[&str]| {
        let mut listing = Listing::default();
        for &(name, defect, bits, stratum) in rows {
            let classes = ClassSet::from_bits(bits).unwrap();
            listing.push(name, Labels { defect, classes, stratum }, None);
        }
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        listing.set_kinds(owned(kinds));
        listing.set_groups(&owned(groups));
        let digest = listing.digest();
        let files = crate::data::files::Files::new(listing, &[root.to_owned()], None, digest).unwrap();
        files.set_sample_bits(bits.parse().unwrap());
        Box::new(files)
    };
    Source {
        name: "sewer-ml".to_owned(),
        train: files(
            &[("a.png", true, 65_600, 2), ("=b.png", false, 0, 0)],
            &["", "", "crack"],
            &["p2", "p1"],
        ),
        validation: files(&[("c.png", true, 8, 1)], &["", "hole"], &["@q"]),
        has_classes: true,
        limits: vec!["one, two".to_owned()],
        interpretation: vec!["12 bits".to_owned()],
        left_out: Vec::new(),
        leaks: Vec::new(),
    }
}

#[test]
fn a_store_is_two_tables_and_shards() {
    let root = TempDir::new().unwrap();
    let files = three(root.path(), "12");
    let to = root.path().join("store");
    let packed = pack(&files, &to, Form::Files, OnBadImage::Fail).unwrap();
    let bytes = fs::metadata(shard_path(&to, 0)).unwrap().len();
    assert_eq!(packed, PackingReport { images: 3, earlier: 0, left_out: 0, bytes });
    let of = |name: &str| blake3::hash(&fs::read(root.path().join(name)).unwrap()).to_hex()[..32].to_owned();
    let list = format!(
        "split,path,label,classes,stratum,class,group,digest\n\
         train,a.png,1,65600,2,crack,p2,{}\n\
         train,'=b.png,0,0,0,,p1,{}\n\
         validation,c.png,1,8,1,hole,'@q,{}\n",
        of("a.png"),
        of("=b.png"),
        of("c.png")
    );
    assert_eq!(fs::read_to_string(to.join("images.csv")).unwrap(), list);
    let about = format!(
        "version,1\nform,files\nname,sewer-ml\nhas_classes,1\nsample_bits,12\nimages,{}\nlimit,\"one, two\"\n\
         understood,12 bits\n",
        blake3::hash(list.as_bytes()).to_hex()
    );
    assert_eq!(fs::read_to_string(to.join("store.csv")).unwrap(), about);

    let store = open(&to).unwrap();
    assert_eq!((store.name.as_str(), store.has_classes), ("sewer-ml", true));
    assert_eq!((&store.limits, &store.interpretation), (&files.limits, &files.interpretation));
    for (stored, found) in [(&store.train, &files.train), (&store.validation, &files.validation)] {
        assert_eq!(stored.labels(), found.labels());
        for index in 0..found.labels().len() {
            assert_eq!(stored.name(index), found.name(index));
            assert_eq!(
                (stored.class_name(index), stored.group(index)),
                (found.class_name(index), found.group(index))
            );
            assert_eq!(stored.open(index).unwrap(), found.open(index).unwrap(), "with 12 of 16 bits");
            assert_eq!(stored.header(index).unwrap(), found.header(index).unwrap());
        }
    }
    let shard = to.join("images-00000.safetensors").display().to_string();
    assert_eq!(store.validation.location(0), format!("c.png (packed in {shard})"));
    assert!(store.train.files().is_none() && store.train.digest() != store.validation.digest());
    assert_eq!(shorter_side(&to).unwrap(), None);
}

#[test]
fn pixels_are_packed_at_a_side_that_is_told() {
    let root = TempDir::new().unwrap();
    let files = three(root.path(), "12");
    let to = root.path().join("store");
    pack(&files, &to, Form::Pixels(11), OnBadImage::Fail).unwrap();
    let about = fs::read_to_string(to.join(STORE)).unwrap();
    assert!(about.contains("form,pixels 11\n") && about.contains("sample_bits,12\n"), "{about}");
    assert_eq!(shorter_side(&to).unwrap(), Some(11));
    let store = open(&to).unwrap();
    let shrunk = "images whose shorter side was longer than 11 pixels were shrunk to that once (bicubic, as in Pillow); views \
                  are cut out of the shrunk images";
    assert_eq!(store.limits, ["one, two", shrunk]);
    assert_eq!(
        store.train.header(0).unwrap(),
        Header { width: 14, height: 11, turned: false, sixteen: false }
    );
    // Shards of the same pictures with other bits in use, and of other labels.
    fs::remove_file(to.join(STORE)).unwrap();
    let refused = |source: &Source, form| pack(source, &to, form, OnBadImage::Fail).unwrap_err().to_string();
    let mut other = three(root.path(), "12");
    std::mem::swap(&mut other.train, &mut other.validation);
    // Of other groups on one side alone.
    let [mut of_train, mut of_validation] = [(); 2].map(|()| three(root.path(), "12"));
    for dataset in [&mut of_train.train, &mut of_validation.validation] {
        dataset.files_mut().unwrap().group_by(|name| Ok(format!("of {name}"))).unwrap();
    }
    // The note of this shard, but fewer images.
    let shard = fs::read(shard_path(&to, 0)).unwrap();
    let note = SafeTensors::read_metadata(&shard).unwrap().1.metadata().clone();
    assert!(note.is_some());
    let one = safetensors::tensor::TensorView::new(safetensors::Dtype::U8, vec![1, 1, 3], b"rgb").unwrap();
    let two = safetensors::serialize([("000", one.clone()), ("001", one)], note).unwrap();
    fs::write(shard_path(&to, 0), two).unwrap();
    let fewer = refused(&files, Form::Pixels(11));
    fs::write(shard_path(&to, 0), shard).unwrap();
    for error in [
        fewer,
        refused(&of_train, Form::Pixels(11)),
        refused(&of_validation, Form::Pixels(11)),
        refused(&three(root.path(), "16"), Form::Pixels(11)),
        refused(&other, Form::Pixels(11)),
        refused(&files, Form::Pixels(12)),
    ] {
        assert!(
            error.ends_with("this shard was packed from other images, with other labels or at another side; remove the folder, or choose another"),
            "{error}"
        );
    }
    assert_eq!(pack(&files, &to, Form::Pixels(11), OnBadImage::Fail).unwrap().earlier, 3);
}

#[test]
fn lists_of_other_programs_are_refused() {
    let head = COLUMNS.join(",");
    let row = |split: &str, label: u32, classes: u32, digest: &str| {
        format!("{split},a.png,{label},{classes},0,,,{digest}\n")
    };
    let sum = "00ff10a1".repeat(4);
    let complaint = |text: String| format!("{:#}", read_list(text.as_bytes()).err().unwrap());
    for (text, expected) in [
        (
            format!("split,path\n{}", "train,a\n"),
            "expected the columns split,path,label,classes,stratum,class,group,digest",
        ),
        (
            format!("{head}\n{}", row("test", 0, 0, &sum)),
            "expected a split of train or validation, found 'test'",
        ),
        (
            format!("{head}\n{}{}", row("validation", 0, 0, &sum), row("train", 0, 0, &sum)),
            "expected all training images before the validation images",
        ),
        (
            format!("{head}\n{}{}", row("train", 1, 1, &sum), row("train", 2, 0, &sum)),
            "row 3: expected a label of 0 or 1, found '2'",
        ),
        (
            format!("{head}\n{}", row("train", 1, 131_072, &sum)),
            "row 2: expected the bits of a set of classes, found 131072",
        ),
        (
            format!("{head}\n{}", row("train", 1, 1, "abc")),
            "row 2: expected a digest of 32 digits, found 'abc'",
        ),
    ] {
        assert_eq!(complaint(text), expected);
    }
    let digest = unhex(&sum).unwrap();
    assert_eq!((digest[..4].to_vec(), hex(digest)), (vec![0x00, 0xff, 0x10, 0xa1], sum.clone()));
    assert!(unhex(&"g".repeat(32)).is_err());
    for form in [Form::Files, Form::Pixels(37)] {
        assert_eq!(Form::of_text(&form.text()).unwrap(), form);
    }
    let error = Form::of_text("pictures").unwrap_err().to_string();
    assert_eq!(error, "expected 'pixels SIDE' or 'files', found 'pictures'");
    assert!(Form::of_text("files 3").is_err() && Form::of_text("pixels").is_err());
}

#[test]
fn what_is_drawn_or_on_both_sides_makes_no_store() {
    let root = TempDir::new().unwrap();
    let drawn = crate::data::synthetic::source(crate::seed::Seed::root(1), 3, 2, 32);
    let error = pack(&drawn, &root.path().join("no"), Form::Files, OnBadImage::Fail).unwrap_err().to_string();
    assert_eq!(error, "drawn images cannot be packed, and need not be: skewbench draws them at any size");
    let mut files = three(root.path(), "12");
    files.validation = three(root.path(), "12").train;
    let to = root.path().join("both");
    pack(&files, &to, Form::Files, OnBadImage::Fail).unwrap();
    assert_eq!(open(&to).err().unwrap().to_string(), "a.png is both a training and a validation image");
}

#[test]
fn tables_that_do_not_belong_to_a_store_are_named() {
    let root = TempDir::new().unwrap();
    let to = root.path().join("store");
    pack(&three(root.path(), "12"), &to, Form::Files, OnBadImage::Fail).unwrap();
    let [list, about] = [IMAGES, STORE].map(|name| fs::read_to_string(to.join(name)).unwrap());
    let error = || format!("{:#}", open(&to).err().unwrap());
    let place = |name: &str| to.join(name).display().to_string();
    let expected = |why: &str| {
        format!(
            "{}: not a complete store; `data pack` creates one, or continues one that was interrupted: {why}",
            place(STORE)
        )
    };
    let line = |start: &str| about.lines().find(|line| line.starts_with(start)).unwrap();
    for (from, to_line, why) in [
        ("version", None, "no row 'version'"),
        ("form", None, "no row 'form'"),
        ("form", Some("form,pixels x"), "invalid digit found in string"),
        ("name", None, "no row 'name'"),
        ("has_classes", None, "no row 'has_classes'"),
        ("sample_bits", None, "no row 'sample_bits'"),
        ("sample_bits", Some("sample_bits,11"), "expected 10, 12, 14 or 16 bits, found '11'"),
        ("images", None, "no row 'images'"),
    ] {
        let whole = format!("{}\n", line(from));
        let other = to_line.map_or(String::new(), |line| format!("{line}\n"));
        fs::write(to.join(STORE), about.replacen(&whole, &other, 1)).unwrap();
        assert_eq!(error(), expected(why), "{from} {to_line:?}");
    }
    fs::write(to.join(STORE), "version\nname\n").unwrap();
    assert_eq!(error(), expected("a row has no value"));

    // A list that was changed together with its digest.
    let other = list.replacen("train,a.png,1,", "train,a.png,7,", 1);
    fs::write(to.join(IMAGES), &other).unwrap();
    let digest = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
    fs::write(to.join(STORE), about.replace(&digest(&list), &digest(&other))).unwrap();
    assert_eq!(error(), format!("{}: row 2: expected a label of 0 or 1, found '7'", place(IMAGES)));
    fs::remove_file(to.join(IMAGES)).unwrap();
    assert!(error().starts_with(&format!("{}: cannot be read: ", place(IMAGES))), "{}", error());
}

/// A shard of tensors that are not bytes of images.
#[test]
fn shards_of_other_tensors_are_refused() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("other.safetensors");
    let complaint = |kind, shape: &[usize]| {
        let bytes = [0; 24];
        let of = |shape: &[usize], kind| {
            let width = if kind == safetensors::Dtype::F32 { 4 } else { 1 };
            let held = &bytes[..width * shape.iter().product::<usize>()];
            safetensors::tensor::TensorView::new(kind, shape.to_vec(), held).unwrap()
        };
        let all = [("000", of(&[1, 2, 3], safetensors::Dtype::U8)), ("001", of(shape, kind))];
        fs::write(&path, safetensors::serialize(all, None).unwrap()).unwrap();
        Shard::open(&path).map(|shard| shard.images.len()).map_err(|error| format!("{error:#}"))
    };
    let refused =
        |why: &str| Err(format!("{}: not a complete shard of a store; pack it again: {why}", path.display()));
    assert_eq!(complaint(safetensors::Dtype::U8, &[2, 1, 3]), Ok(2));
    assert_eq!(complaint(safetensors::Dtype::U8, &[7]), Ok(2));
    assert_eq!(
        complaint(safetensors::Dtype::U8, &[2, 3, 4]),
        refused("image 1 has the unexpected shape [2, 3, 4]")
    );
    assert_eq!(
        complaint(safetensors::Dtype::U8, &[2, 3]),
        refused("image 1 has the unexpected shape [2, 3]")
    );
    assert_eq!(complaint(safetensors::Dtype::F32, &[2, 1, 3]), refused("image 1 holds no bytes"));
    // Numbers with a gap: bytes behind it belong to no image.
    let one = safetensors::tensor::TensorView::new(safetensors::Dtype::U8, vec![4], b"four").unwrap();
    let apart = [("000", one.clone()), ("002", one)];
    fs::write(&path, safetensors::serialize(apart, None).unwrap()).unwrap();
    let error = Shard::open(&path).map(drop).map_err(|error| format!("{error:#}"));
    let why = "its length does not match its header";
    assert_eq!(
        error,
        Err(format!("{}: not a complete shard of a store; pack it again: {why}", path.display()))
    );
}

/// Files that are no pictures, in both splits. Without an examination they are packed as they are.
#[test]
fn bad_images_of_both_splits_are_left_out_or_named_where_they_lie() {
    let root = TempDir::new().unwrap();
    let data = root.path().join("data");
    pictures(&data, 4, true);
    fs::write(data.join("validation/defect/crack/0001.png"), b"torn").unwrap();
    let unseen = folder::source(&data).unwrap();
    let [examined, to] = ["examined", "unseen"].map(|name| root.path().join(name));
    let calls = AtomicUsize::new(0);
    let packing = |source: &Source, folder: &Path, on_bad_image| {
        let count = || {
            calls.fetch_add(1, Relaxed);
        };
        Packing { source, folder, form: Form::Files, shrink: &|image| image, on_bad_image }.pack(&count)
    };
    let packed = packing(&unseen, &to, OnBadImage::Fail).unwrap();
    assert_eq!((packed.images, packed.left_out, calls.load(Relaxed)), (14, 0, 14));
    let store = open(&to).unwrap();
    let shard = shard_path(&to, 0).display().to_string();
    for (split, name) in
        [(&store.train, "train/normal/0001.png"), (&store.validation, "validation/defect/crack/0001.png")]
    {
        let index = (0..split.labels().len()).find(|&index| split.name(index) == name).unwrap();
        let none = format!(
            "cannot decode image {name}: expected BMP, JPEG, PNG, PNM, TIFF or WebP, found none of them"
        );
        let error = format!("{:#}", split.open(index).unwrap_err());
        assert_eq!(error, format!("{name} (packed in {shard}): {none}"));
        assert_eq!(format!("{:#}", split.header(index).unwrap_err()), none);
        assert!(split.open(0).is_ok() && split.header(0).is_ok());
    }
    let packed = packing(&source(&data), &examined, OnBadImage::Skip).unwrap();
    assert_eq!((packed.images, packed.left_out, calls.load(Relaxed)), (12, 2, 26));
    let limits = open(&examined).unwrap().limits;
    let last = limits.last().unwrap();
    assert_eq!(last, "2 images were unreadable and left out when the store was packed");
}

#[test]
fn what_cannot_be_packed_leaves_no_store() {
    let root = TempDir::new().unwrap();
    let data = root.path().join("data");
    pictures(&data, 4, false);
    let files = folder::source(&data).unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    let below = root.path().join("file/store");
    let error = pack(&files, &below, Form::Files, OnBadImage::Fail).unwrap_err().to_string();
    assert_eq!(error, format!("{}: cannot be made", below.display()));
    let gone = data.join("validation/normal/0002.png");
    fs::remove_file(&gone).unwrap();
    for form in [Form::Files, Form::Pixels(8)] {
        let to = root.path().join(form.text());
        let error = format!("{:#}", pack(&files, &to, form, OnBadImage::Fail).unwrap_err());
        assert!(error.starts_with("validation/normal/0002.png: no such file in "), "{error}");
        assert!(!to.join(STORE).exists() && !shard_path(&to, 0).exists());
    }
}

/// As many images are left, but others: shards of the interrupted run would hold the wrong ones.
#[test]
fn other_images_left_out_make_another_store() {
    let root = TempDir::new().unwrap();
    let (data, to) = (root.path().join("data"), root.path().join("store"));
    pictures(&data, 4, true);
    assert_eq!(pack(&source(&data), &to, Form::Files, OnBadImage::Skip).unwrap().images, 13);
    fs::remove_file(to.join(STORE)).unwrap();
    fs::rename(data.join("train/normal/0002.png"), data.join("train/normal/0001.png")).unwrap();
    fs::write(data.join("train/normal/0002.png"), b"no picture").unwrap();
    let error = pack(&source(&data), &to, Form::Files, OnBadImage::Skip).unwrap_err().to_string();
    assert!(error.contains("this shard was packed from other images"), "{error}");
}
