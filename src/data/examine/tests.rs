//! Small data sets of a few pictures, and the reports about them.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use image::{GrayImage, ImageBuffer, Luma, RgbImage};

use super::*;
use crate::{
    data::{ClassSet, Image, Labels, Source, listing::Listing, synthetic},
    seed::Seed,
};

const NORMAL: Labels = Labels { defect: false, classes: ClassSet::EMPTY, stratum: 0 };

/// Distinct random pictures.
fn drawn(count: usize) -> Vec<Image> {
    let source = synthetic::source(Seed::root(3), count, 2, 64);
    (0..count).map(|index| source.train.open(index).unwrap()).collect()
}

fn files(root: &Path, split: &str, pictures: &[Image]) -> Box<Files> {
    let mut listing = Listing::default();
    for (index, Image { width, height, pixels }) in pictures.iter().enumerate() {
        let name = format!("{split}{index}.png");
        let picture = RgbImage::from_raw(*width as u32, *height as u32, pixels.clone()).unwrap();
        picture.save(root.join(&name)).unwrap();
        listing.push(&name, NORMAL, None);
    }
    let files = Files::new(listing, &[root.to_owned()], None, String::new()).unwrap();
    files.examine(&(0..pictures.len()).collect::<Vec<_>>(), &|| ());
    Box::new(files)
}

fn source(root: &Path, train: &[Image], validation: &[Image]) -> Source {
    let (limits, understood, left_out, leaks) = Default::default();
    Source {
        name: "folder".to_owned(),
        train: files(root, "train", train),
        validation: files(root, "validation", validation),
        has_classes: false,
        limits,
        interpretation: understood,
        left_out,
        leaks,
    }
}

/// Leaks map each validation image to its training image: one with equal bytes, one with all but one value equal.
#[test]
fn leaks_name_validation_images_by_the_training_images_that_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = drawn(6);
    let mut nearly = pictures[2].clone();
    nearly.pixels[0] ^= 1;
    let validation = [&pictures[4], &pictures[5], &pictures[1], &nearly].map(Image::clone);
    let leaks = Leaks::find(&source(folder.path(), &pictures[..4], &validation));
    assert_eq!((leaks.equal.clone(), leaks.near.clone()), ([(2, 1)].into(), [(3, 2)].into()));
    let lines = leaks.lines(4);
    let such = |of: [usize; 2]| format!("validation{}.png, which is {}", of[0], folder.path().display());
    for ((line, of), how) in lines.iter().zip([[2, 1], [3, 2]]).zip(["has the same bytes", "is nearly equal"])
    {
        assert!(line.starts_with(&format!("1 of 4 validation images {how}")), "{line}");
        assert!(line.contains(&such(of)) && line.contains(&format!("train{}.png", of[1])), "{line}");
    }
    assert_eq!(lines.len(), 2, "{lines:?}");
}

/// A network sees the whole picture resized to a square, so the shorter side is enlarged most.
#[test]
fn small_and_empty_pictures_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let patterned = |width: usize, height: usize| {
        Image::new(width, height, (0..width * height * 3).map(|n| (n * 31 % 251) as u8).collect())
    };
    let narrow = [patterned(20, 90), patterned(64, 64), patterned(90, 20)];
    let flat = [patterned(64, 64), Image::new(64, 64, vec![9; 64 * 64 * 3])];
    let lines = source(folder.path(), &narrow, &flat).examination_warnings(64);
    for (what, first) in [
        ("2 of 3 training images are enlarged more than twice to reach 64 px", "train0.png"),
        ("1 of 2 validation images are of one colour throughout", "validation1.png"),
    ] {
        let line = lines.iter().find(|line| line.starts_with(what)).unwrap_or_else(|| panic!("{lines:?}"));
        assert!(line.ends_with(first), "{line}");
    }
}

/// What cannot be read is neither counted nor taken for a neighbour of what can.
#[test]
fn warnings_count_the_pictures_that_could_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut listing = Listing::default();
    for (index, side) in [0, 64, 50, 0, 64, 20].into_iter().enumerate() {
        let name = format!("{index}.png");
        let colour = |x: u32, y: u32| if side == 64 { [7, 8, 9] } else { [x as u8, y as u8, (x * y) as u8] };
        match side {
            0 => std::fs::write(folder.path().join(&name), "torn").unwrap(),
            side => RgbImage::from_fn(side, side, |x, y| image::Rgb(colour(x, y)))
                .save(folder.path().join(&name))
                .unwrap(),
        }
        listing.push(&name, Labels { defect: index % 2 == 0, ..NORMAL }, None);
    }
    let train = Files::new(listing, &[folder.path().to_owned()], None, String::new()).unwrap();
    train.examine(&[0, 1, 2, 3, 4, 5], &|| ());
    assert_eq!(train.unreadable().into_keys().collect::<Vec<_>>(), [0, 3]);
    let lines = of_files(Box::new(train), files(folder.path(), "v", &drawn(1))).examination_warnings(64);
    let place = |index: usize| folder.path().join(format!("{index}.png")).display().to_string();
    let told: Vec<&String> = lines.iter().filter(|line| line.contains(", the first is ")).collect();
    assert_eq!(
        told,
        [
            &format!("2 of 4 training images are of one colour throughout, the first is {}", place(1)),
            &format!(
                "1 of 4 training images are enlarged more than twice to reach 64 px, the first is {}",
                place(5)
            ),
        ]
    );
}

/// Progress is reported for every file, including files that were examined before.
#[test]
fn every_file_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path(), "train", &drawn(5));
    for indices in [&[0, 1, 2, 3, 4][..], &[2, 3]] {
        let done = AtomicUsize::new(0);
        files.examine(indices, &|| {
            done.fetch_add(1, Relaxed);
        });
        assert_eq!(done.into_inner(), indices.len());
    }
}

/// The sketch of a picture with 16-bit samples is valid only for the scale at which it was computed.
#[test]
fn a_sketch_is_of_samples_as_they_are_scaled() {
    let folder = tempfile::tempdir().unwrap();
    let sketched = |deep: bool| {
        let name = if deep { "deep.png" } else { "plain.png" };
        let path = folder.path().join(name);
        match deep {
            true => ImageBuffer::from_fn(40, 40, |x, y| Luma([(x * y) as u16])).save(path).unwrap(),
            false => GrayImage::from_fn(40, 40, |x, y| Luma([(x * y / 8) as u8])).save(path).unwrap(),
        }
        let with = |bits: &str| {
            let mut listing = Listing::default();
            listing.push(name, NORMAL, None);
            let files = Files::new(listing, &[folder.path().to_owned()], None, String::new()).unwrap();
            files.set_sample_bits(bits.parse().unwrap());
            files
        };
        let first = with("12");
        first.examine(&[0], &|| ());
        let known = first.file_digest(0).unwrap();
        let later = |bits| {
            let files = with(bits);
            files.remember(0, known);
            files.sketch(0).map(|sketch| sketch.bits)
        };
        [later("12"), later("16")]
    };
    assert_eq!(sketched(true), [Some(12), None]);
    assert_eq!(sketched(false), [Some(0), Some(0)], "8 bits are not scaled");
}

/// Sketches of files of every format, with 12 of 16 bits in use.
#[test]
fn a_sketch_says_what_the_file_is() {
    let names = [
        ("bmp-rgb24.bmp", 29, 23, Format::Bmp, Pixels::Colour, false, 0),
        ("jpeg-size17x9.jpg", 17, 9, Format::Jpeg, Pixels::Colour, false, 0),
        ("jpeg-grey-1x1.jpg", 29, 23, Format::Jpeg, Pixels::Grey, false, 0),
        ("png-orientation6.png", 23, 29, Format::Png, Pixels::Colour, true, 0),
        ("png-grey16-of-12.png", 29, 23, Format::Png, Pixels::Grey, false, 12),
        ("pnm-p5-of-4095.pgm", 29, 23, Format::Pnm, Pixels::Grey, false, 0),
        ("tiff-grey16-of-12.tif", 29, 23, Format::Tiff, Pixels::Grey, false, 12),
        ("tiff-orientation3.tif", 29, 23, Format::Tiff, Pixels::Colour, true, 0),
        ("webp-lossless.webp", 29, 23, Format::WebP, Pixels::Colour, false, 0),
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pixels");
    let files =
        Files::new(Listing::of_normals(&names.map(|row| row.0)), &[root], None, String::new()).unwrap();
    files.set_sample_bits("12".parse().unwrap());
    files.examine(&(0..names.len()).collect::<Vec<_>>(), &|| ());
    for (index, (name, width, height, format, pixels, turned, bits)) in names.into_iter().enumerate() {
        let hash = sketch::hash(&files.open(index).unwrap());
        let expected = Sketch { hash, width, height, format, pixels, turned, bits };
        assert_eq!(files.sketch(index), Some(expected), "{name}");
    }
    assert!(files.unreadable().is_empty());
}

/// Files with these bytes, labels and groups, whose digests are already known.
fn texts(root: &Path, rows: &[(&str, &str, bool, &str)]) -> Box<Files> {
    let mut listing = Listing::default();
    for &(name, text, defect, _) in rows {
        std::fs::write(root.join(name), text).unwrap();
        listing.push(name, Labels { defect, ..NORMAL }, None);
    }
    let groups: Vec<String> = rows.iter().map(|row| row.3.to_owned()).collect();
    if groups.iter().any(|group| !group.is_empty()) {
        listing.set_groups(&groups);
    }
    let files = Files::new(listing, &[root.to_owned()], None, String::new()).unwrap();
    files.read_contents(&(0..rows.len()).collect::<Vec<_>>());
    Box::new(files)
}

fn of_files(train: Box<Files>, validation: Box<Files>) -> Source {
    let (limits, understood, left_out, leaks) = Default::default();
    Source {
        name: "folder".to_owned(),
        train,
        validation,
        has_classes: false,
        limits,
        interpretation: understood,
        left_out,
        leaks,
    }
}

#[test]
fn groups_and_labels_on_both_sides_are_leaks() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let train =
        texts(root, &[("a", "one", false, "g1"), ("b", "one", true, "g2"), ("c", "two", false, "g3")]);
    let validation =
        texts(root, &[("d", "two", true, "g3"), ("e", "new", false, "g4"), ("f", "one", true, "g1")]);
    let leaks = Leaks::find(&of_files(train, validation));
    assert_eq!(leaks.equal, [(0, 2), (2, 1)].into());
    assert_eq!(leaks.groups, ["g1", "g3"].map(str::to_owned).into());
    let mut both = leaks.both_labels.clone();
    both.sort();
    let place = |name: &str| root.join(name).display().to_string();
    assert_eq!(both, [["a", "b"], ["c", "d"]].map(|pair| pair.map(place)));
    assert!(leaks.near.is_empty() && !leaks.is_empty());
    let [c, d] = ["c", "d"].map(place);
    let equal = format!(
        "2 of 3 validation images have the same bytes as a training image, such as {d}, which is {c}: scores on them \
         measure memorisation"
    );
    assert_eq!(leaks.lines(3)[0], equal);
    let alone = texts(root, &[("g", "other", false, "")]);
    let none = Leaks::find(&of_files(texts(root, &[("h", "others", true, "")]), alone));
    assert!(none.is_empty() && none.lines(1).is_empty());
    assert!(Leaks::find(&synthetic::source(Seed::root(1), 2, 2, 32)).is_empty());
}

#[test]
fn every_kind_of_leak_has_its_line_and_is_one() {
    let only = |change: fn(&mut Leaks)| {
        let mut leaks = Leaks::default();
        change(&mut leaks);
        assert!(!leaks.is_empty());
        leaks.lines(9).concat()
    };
    assert_eq!(
        only(|leaks| leaks.equal = [(4, 1), (5, 1)].into()),
        "2 of 9 validation images have the same bytes as a training image: scores on them measure memorisation"
    );
    assert_eq!(
        only(|leaks| leaks.near = [(4, 1)].into()),
        "1 of 9 validation images is nearly equal to a training image of the same label: scores on them measure memorisation"
    );
    assert_eq!(
        only(|leaks| leaks.near = [(4, 1), (7, 1)].into()),
        "2 of 9 validation images are nearly equal to a training image of the same label: scores on them measure memorisation"
    );
    assert_eq!(
        only(|leaks| leaks.groups = ["p7", "p3"].map(str::to_owned).into()),
        "2 groups have images on both sides of the split, the first is p3: scores do not show how well a model does on new groups"
    );
    assert_eq!(
        only(|leaks| leaks.both_labels = vec![["a", "b"], ["c", "d"], ["e", "f"]]
            .into_iter()
            .map(|pair| pair.map(str::to_owned))
            .collect()),
        "3 images have both labels, such as a and b"
    );
}

/// Four pictures of each label, each label with two sizes and with one format of its own.
#[test]
fn what_gives_labels_away_is_said_in_per_cent() {
    let folder = tempfile::tempdir().unwrap();
    let picture = |name: &str, width: u32, height: u32| {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 7 + y) as u8, (y * 5) as u8, x as u8]))
            .save(folder.path().join(name))
            .unwrap();
    };
    let normals = [("0.png", 64, 64), ("1.png", 64, 64), ("2.png", 64, 64), ("3.png", 90, 70)];
    let defects = [("4.bmp", 80, 72), ("5.bmp", 80, 72), ("6.bmp", 80, 72), ("7.bmp", 64, 64)];
    let mut listing = Listing::default();
    for (rows, defect) in [(normals, false), (defects, true)] {
        for (name, width, height) in rows {
            picture(name, width, height);
            listing.push(name, Labels { defect, ..NORMAL }, None);
        }
    }
    let train = Files::new(listing, &[folder.path().to_owned()], None, String::new()).unwrap();
    train.examine(&[0, 1, 2, 3, 4, 5, 6, 7], &|| ());
    let lines = of_files(Box::new(train), files(folder.path(), "v", &drawn(1))).examination_warnings(64);
    let line = |what: &str, share: u32, defects: &str, normals: &str| {
        format!(
            "the {what} of a file alone predicts {share} % of training images' labels (50 % is chance; {defects} for defects, \
             {normals} for normal images): a network learns that instead of the defect"
        )
    };
    // The mean of (3 + 1/2) / 4 for normal images and 3 / 4 for defects is 81 %.
    assert_eq!(lines, [line("size", 81, "80 x 72", "64 x 64"), line("format", 100, "bmp", "png")]);

    let mut listing = Listing::default();
    for index in 0..6 {
        let name = format!("deep{index}.png");
        let path = folder.path().join(&name);
        match index < 3 {
            true => {
                ImageBuffer::from_fn(64, 64, |x, y| Luma([(x * y * 16 + index) as u16])).save(path).unwrap()
            }
            false => RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8, y as u8, index as u8]))
                .save(path)
                .unwrap(),
        }
        listing.push(&name, Labels { defect: index < 3, ..NORMAL }, None);
    }
    let train = Files::new(listing, &[folder.path().to_owned()], None, String::new()).unwrap();
    train.examine(&[0, 1, 2, 3, 4, 5], &|| ());
    let lines = of_files(Box::new(train), files(folder.path(), "v", &drawn(1))).examination_warnings(64);
    assert_eq!(
        lines,
        [line("kind of pixels", 100, "grey", "colour"), line("depth of samples", 100, "16 bits", "8 bits")]
    );
}

#[test]
fn a_unit_is_a_group_with_all_that_is_like_one_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let groups = ["p", "q", "p", "r", "s", "t", "q", "u"];
    let names = ["0", "1", "2", "3", "4", "5", "6", "7"];
    let rows: Vec<(&str, &str, bool, &str)> =
        (0..8).map(|index| (names[index], names[index], index < 3, groups[index])).collect();
    let files = texts(folder.path(), &rows);
    let twins = Twins { equal: vec![(0, 3)], near: vec![(3, 5)] };
    assert_eq!((twins.units(&files), twins.images()), (vec![0, 1, 0, 0, 4, 0, 1, 7], 3));
    let chained = Twins { equal: vec![(6, 7), (4, 6)], near: vec![(4, 5)] };
    assert_eq!((chained.units(&files), chained.images()), (vec![0, 1, 0, 3, 1, 1, 1, 1], 4));
    let said = |train: &[usize], validation: &[usize]| {
        twins.ensure_enough(&files, [train, validation]).map_err(|error| error.to_string())
    };
    assert_eq!(said(&[0, 1, 3], &[2, 1, 4]), Ok(()));
    assert_eq!(said(&[], &[0]), Err("8 images are too few: no image is left to train on".to_owned()));
    let few = |left: &str, what: &str| {
        Err(format!(
            "groups and images that are alike are kept whole, which leaves {left} to {what} on: give smaller groups, more of them, or a split of your own"
        ))
    };
    assert_eq!(said(&[0, 1, 3], &[2, 4, 5]), few("1 defect and 2 normal images", "validate"));
    assert_eq!(said(&[0, 1, 2], &[0, 1, 4]), few("3 defects and 0 normal images", "train"));
    let alone = texts(folder.path(), &[("8", "8", true, ""), ("9", "9", false, "")]);
    let none = Twins { equal: Vec::new(), near: Vec::new() };
    assert!(none.ensure_enough(&alone, [&[0], &[1]]).is_ok(), "without groups one of each will do");
    assert_eq!(
        none.ensure_enough(&alone, [&[0], &[]]).unwrap_err().to_string(),
        "2 images are too few: no image is left to validate on"
    );
}

/// The first of equal files stands for all of them: it alone is compared with other pictures.
#[test]
fn copies_are_paired_with_the_first_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = drawn(3);
    let mut nearly = pictures[1].clone();
    nearly.pixels[0] ^= 1;
    let all =
        [&pictures[0], &pictures[1], &pictures[0], &nearly, &pictures[1], &pictures[0]].map(Image::clone);
    let twins = Twins::find(&files(folder.path(), "x", &all));
    assert_eq!(twins.equal, [(0, 2), (1, 4), (0, 5)]);
    assert_eq!((&twins.near[..], twins.images()), (&[(1, 3)][..], 6));
}

/// Pairs of equal hashes are confirmed by the pictures themselves; a picture that cannot be read any more confirms
/// nothing.
#[test]
fn a_file_that_is_gone_is_like_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = drawn(2);
    let mut nearly = pictures[1].clone();
    nearly.pixels[0] ^= 1;
    let [first, second] = ["x", "y"].map(|split| {
        files(folder.path(), split, &[pictures[0].clone(), pictures[1].clone(), nearly.clone()])
    });
    assert_eq!(near_pairs(&first, &first), [(1, 2)]);
    assert_eq!(near_pairs(&first, &second), [(0, 0), (1, 1), (1, 2), (2, 1), (2, 2)]);
    std::fs::remove_file(folder.path().join("y1.png")).unwrap();
    assert_eq!(near_pairs(&first, &second), [(0, 0), (1, 2), (2, 2)]);
    std::fs::remove_file(folder.path().join("x2.png")).unwrap();
    assert_eq!(near_pairs(&first, &second), [(0, 0), (1, 2)]);
    assert!(near_pairs(&first, &first).is_empty());
}

#[test]
fn nothing_is_said_of_files_that_drawn_pictures_do_not_have() {
    let drawn = synthetic::source(Seed::root(3), 3, 2, 32);
    assert!(drawn.examination_warnings(224).is_empty());
    let drawn = drawn.with_sample_bits(Some("12".parse().unwrap()));
    assert!(drawn.interpretation.is_empty() && drawn.sample_bits().is_none());
}

/// Defects that are small beside the picture would be taken for copies, so pictures of two labels are never paired.
#[test]
fn pictures_of_two_labels_are_not_near() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = drawn(2);
    let mut listing = Listing::default();
    for (index, defect) in [false, true, false, true].into_iter().enumerate() {
        let Image { width, height, mut pixels } = pictures[0].clone();
        pixels[3 * index] ^= 1;
        let name = format!("{index}.png");
        let picture = RgbImage::from_raw(width as u32, height as u32, pixels).unwrap();
        picture.save(folder.path().join(&name)).unwrap();
        listing.push(&name, Labels { defect, ..NORMAL }, None);
    }
    let files = Files::new(listing, &[folder.path().to_owned()], None, String::new()).unwrap();
    files.examine(&[0, 1, 2, 3], &|| ());
    assert_eq!(near_pairs(&files, &files), [(0, 2), (1, 3)]);
    let twins = Twins::find(&files);
    assert_eq!((twins.equal.len(), twins.near), (0, vec![(0, 2), (1, 3)]));
}

/// Both sides of a pair may already belong to other units: all of these become one.
#[test]
fn units_that_meet_become_one() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["0", "1", "2", "3", "4", "5", "6"];
    let of = |groups: [&str; 7], equal: &[(usize, usize)], near: &[(usize, usize)]| {
        let rows: Vec<(&str, &str, bool, &str)> =
            names.into_iter().zip(groups).map(|(name, group)| (name, name, false, group)).collect();
        Twins { equal: equal.to_vec(), near: near.to_vec() }.units(&texts(folder.path(), &rows))
    };
    let none = [""; 7];
    assert_eq!(of(none, &[(0, 4), (1, 3)], &[(3, 4)]), [0, 0, 2, 0, 0, 5, 6]);
    assert_eq!(of(none, &[(1, 4), (0, 3)], &[(3, 4)]), [0, 0, 2, 0, 0, 5, 6]);
    assert_eq!(of(none, &[(2, 6), (1, 5), (0, 4)], &[(4, 5), (5, 6)]), [0, 0, 0, 3, 0, 0, 0]);
    // Groups of 1, 3, 6 and of 0, 5: the pair of 3 and 5 joins them, the pair of 2 and 4 stays apart.
    let groups = ["b", "a", "c", "a", "d", "b", "a"];
    assert_eq!(of(groups, &[(2, 4)], &[(3, 5)]), [0, 0, 2, 0, 2, 0, 0]);
}

/// What an earlier run knew of a file is kept as long as its bytes and the number of bits in use are the same.
#[test]
fn a_file_is_examined_again_once_it_differs() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    for name in ["same.png", "other.png"] {
        RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8, y as u8, (x * y) as u8]))
            .save(place(name))
            .unwrap();
    }
    ImageBuffer::from_fn(20, 10, |x, y| Luma([(x * y) as u16])).save(place("deep.png")).unwrap();
    let with = |bits: &str| {
        let listing = Listing::of_normals(&["same.png", "other.png", "deep.png"]);
        let files = Files::new(listing, &[folder.path().to_owned()], None, String::new()).unwrap();
        files.set_sample_bits(bits.parse().unwrap());
        files
    };
    let earlier = with("12");
    earlier.examine(&[0, 1, 2], &|| ());
    // A mark in the sketches shows which of them are taken over.
    let known = [0, 1, 2].map(|index| {
        let mut known = earlier.file_digest(index).unwrap();
        known.sketch.as_mut().unwrap().hash = [index as u8; HASH];
        known
    });
    RgbImage::from_fn(50, 35, |x, y| image::Rgb([y as u8, 7, x as u8])).save(place("other.png")).unwrap();
    for bits in ["12", "14"] {
        let later = with(bits);
        (0..3).for_each(|index| later.remember(index, known[index]));
        later.examine(&[0, 1, 2], &|| ());
        let [same, other, deep] = [0, 1, 2].map(|index| later.sketch(index).unwrap());
        assert_eq!(Some(same), known[0].sketch, "{bits}: neither bytes nor bits have changed");
        assert_eq!((other.width, other.height, other.hash == [1; HASH]), (50, 35, false), "{bits}");
        assert_eq!(
            later.file_digest(1).unwrap().digest,
            *blake3::hash(&std::fs::read(place("other.png")).unwrap()).as_bytes().first_chunk().unwrap()
        );
        assert_eq!((deep.bits.to_string().as_str(), deep.hash == [2; HASH]), (bits, bits == "12"));
        assert!(later.unreadable().is_empty());
    }
}

/// Exactly half of the side is not less than half of it.
#[test]
fn pictures_are_small_below_half_of_the_side() {
    let folder = tempfile::tempdir().unwrap();
    let patterned = |width: usize, height: usize| {
        Image::new(width, height, (0..width * height * 3).map(|n| (n * 31 % 251) as u8).collect())
    };
    let pictures = [patterned(32, 90), patterned(90, 32), patterned(31, 90), patterned(70, 33)];
    let source = source(folder.path(), &pictures, &pictures[..2]);
    for (side, expected) in
        [(62, None), (63, Some("1 of 4")), (64, Some("1 of 4")), (65, Some("3 of 4")), (67, Some("4 of 4"))]
    {
        let lines = source.examination_warnings(side);
        let told = lines.iter().find(|line| line.contains(" training images are enlarged"));
        let expected = expected
            .map(|count| format!("{count} training images are enlarged more than twice to reach {side} px"));
        assert_eq!(told.map(|line| line.split(", the first").next().unwrap().to_owned()), expected);
        assert_eq!(
            lines.iter().any(|line| line.contains("2 of 2 validation images are enlarged")),
            side > 64,
            "{side}"
        );
    }
}

/// Half of the defects are in a format of their own: (1 + 1/2) / 2 is exactly the share from which it is said.
/// One alone tells nothing about others.
#[test]
fn what_gives_three_quarters_of_the_labels_away_is_said() {
    for (own, expected) in
        [(2, Some("the format of a file alone predicts 75 % of training images' labels ")), (1, None)]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut listing = Listing::default();
        for index in 0..8_u32 {
            let defect = index < 4;
            let name = format!("{index}.{}", if index < own { "bmp" } else { "png" });
            RgbImage::from_fn(64, 64, |x, y| image::Rgb([(x * (index + 1)) as u8, y as u8, (x * y) as u8]))
                .save(folder.path().join(&name))
                .unwrap();
            listing.push(&name, Labels { defect, ..NORMAL }, None);
        }
        let train = Files::new(listing, &[folder.path().to_owned()], None, String::new()).unwrap();
        train.examine(&[0, 1, 2, 3, 4, 5, 6, 7], &|| ());
        let lines = of_files(Box::new(train), files(folder.path(), "v", &drawn(1))).examination_warnings(64);
        assert_eq!(lines.len(), usize::from(expected.is_some()), "{lines:?}");
        assert!(lines.iter().all(|line| line.starts_with(expected.unwrap_or(""))), "{lines:?}");
    }
}
