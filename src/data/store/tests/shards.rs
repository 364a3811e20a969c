//! Stores of more than one shard, images larger than a block of the digest, and classes of normal images.

use super::*;

/// Training and validation images that all differ in size or pixels, and a source of them.
fn many(root: &Path, counts: [usize; 2]) -> (Vec<Image>, Source) {
    let picture = |number: usize| {
        let (width, height) = (1 + number % 7, 1 + number % 5);
        Image::new(
            width,
            height,
            (0..3 * width * height).map(|n| (n * 37 + number + number / 256) as u8).collect(),
        )
    };
    let pictures: Vec<Image> = (0..counts[0] + counts[1]).map(picture).collect();
    let files = |split: &str, pictures: &[Image]| {
        let mut listing = Listing::default();
        for (index, Image { width, height, pixels }) in pictures.iter().enumerate() {
            let name = format!("{split}{index}.ppm");
            let head = format!("P6 {width} {height} 255\n");
            fs::write(root.join(&name), [head.as_bytes(), pixels].concat()).unwrap();
            let defect = index % 3 == 1;
            listing.push(&name, Labels { defect, classes: ClassSet::EMPTY, stratum: 0 }, None);
        }
        let digest = listing.digest();
        Box::new(crate::data::files::Files::new(listing, &[root.to_owned()], None, digest).unwrap())
    };
    let (train, validation) = pictures.split_at(counts[0]);
    let source = Source { train: files("t", train), validation: files("v", validation), ..three(root, "16") };
    (pictures, source)
}

/// Validation images begin in the second of three shards. Sides, pixels and place are those of each image.
#[test]
fn every_image_of_several_shards_is_told_where_it_lies() {
    let root = TempDir::new().unwrap();
    let counts = [SHARD + 2, SHARD + 1];
    let (pictures, files) = many(root.path(), counts);
    let to = root.path().join("store");
    let packing = Packing {
        source: &files,
        folder: &to,
        form: Form::Pixels(8),
        shrink: &|image| image,
        on_bad_image: OnBadImage::Fail,
    };
    assert_eq!(packing.pack(&|| {}).unwrap().images, 1_027);
    let place =
        |number: usize| to.join(format!("images-0000{}.safetensors", number / 512)).display().to_string();
    let store = open(&to).unwrap();
    for (stored, split, first) in [(&store.train, "t", 0), (&store.validation, "v", counts[0])] {
        for index in 0..stored.labels().len() {
            let (number, name) = (first + index, format!("{split}{index}.ppm"));
            let expected = &pictures[number];
            let head = stored.header(index).unwrap();
            assert_eq!((head.width, head.height), (expected.width, expected.height), "{name}");
            assert_eq!(stored.open(index).unwrap(), *expected, "{name}");
            assert_eq!(stored.location(index), format!("{name} (packed in {})", place(number)));
            assert_eq!((stored.name(index), stored.labels()[index].defect), (name, index % 3 == 1));
        }
    }
    assert_eq!([&store.train, &store.validation].map(|split| split.labels().len()), counts);
    drop(store);

    // The last byte of the second shard, and the last one of the third.
    for (shard, index) in [(1, 509), (2, 512)] {
        let path = shard_path(&to, shard);
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 4;
        fs::write(&path, &flipped).unwrap();
        let store = open(&to).unwrap();
        let error = store.validation.open(index).unwrap_err().to_string();
        let why = "its bytes differ from those that were packed; pack the store again";
        assert_eq!(error, format!("v{index}.ppm (packed in {}): {why}", place(512 * shard)));
        assert!(store.validation.open(index - 1).is_ok() && store.train.open(index).is_ok());
        drop(store);
        fs::write(&path, &whole).unwrap();
    }
}

/// Wherever a large image is damaged, and however often it is asked for.
#[test]
fn damage_anywhere_in_a_large_image_is_refused_each_time() {
    let root = TempDir::new().unwrap();
    let files = three(root.path(), "12");
    let to = root.path().join("store");
    let large = |image: Image| {
        let own = image.pixels.iter().map(|&byte| usize::from(byte)).sum::<usize>();
        Image::new(300, 210, (0..3 * 300 * 210).map(|n| (n / 7 + n % 91 + own) as u8).collect())
    };
    let on_bad_image = OnBadImage::Fail;
    Packing { source: &files, folder: &to, form: Form::Pixels(210), shrink: &large, on_bad_image }
        .pack(&|| {})
        .unwrap();
    let path = shard_path(&to, 0);
    let whole = fs::read(&path).unwrap();
    let (head, about) = SafeTensors::read_metadata(&whole).unwrap();
    let (begin, end) = about.info("001").unwrap().data_offsets;
    assert_eq!(end - begin, 189_000);
    for place in [0, 65_535, 65_536, 131_072, 170_001, 188_999] {
        let mut flipped = whole.clone();
        flipped[8 + head + begin + place] ^= 0x10;
        fs::write(&path, &flipped).unwrap();
        let store = open(&to).unwrap();
        for time in 0..3 {
            for error in [store.train.open(1).map(drop), store.train.header(1).map(drop)] {
                let error = error.unwrap_err().to_string();
                assert!(
                    error.ends_with("its bytes differ from those that were packed; pack the store again"),
                    "{error}"
                );
            }
            for other in [&store.train, &store.validation] {
                assert!(other.open(0).is_ok(), "byte {place}, time {time}");
            }
        }
        drop(store);
        fs::write(&path, &whole).unwrap();
    }
}

/// Normal images may have classes, too: those of a table, or folders below that of normal images.
#[test]
fn classes_of_normal_images_are_packed() {
    let root = TempDir::new().unwrap();
    let data = root.path().join("data");
    for name in [
        "train/normal/b.png",
        "train/normal/wet/a.png",
        "train/defect/crack/c.png",
        "validation/normal/dry/d.png",
        "validation/defect/e.png",
    ] {
        let path = data.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    let to = root.path().join("store");
    pack(&folder::source(&data).unwrap(), &to, Form::Files, OnBadImage::Fail).unwrap();
    let store = open(&to).unwrap();
    let of = |split: &dyn Dataset| {
        let one = |index| (split.name(index), split.class_name(index).map(str::to_owned));
        (0..split.labels().len()).map(one).collect::<Vec<_>>()
    };
    let row = |name: &str, class: Option<&str>| (name.to_owned(), class.map(str::to_owned));
    assert_eq!(
        of(&*store.train),
        [
            row("train/normal/b.png", None),
            row("train/normal/wet/a.png", Some("wet")),
            row("train/defect/crack/c.png", Some("crack"))
        ]
    );
    assert_eq!(
        of(&*store.validation),
        [row("validation/normal/dry/d.png", Some("dry")), row("validation/defect/e.png", None)]
    );
}
