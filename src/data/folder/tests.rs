use tempfile::TempDir;

use super::*;
use crate::data::Dataset;

fn folder_with(names: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in names {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }
    folder
}

fn places(folder: &TempDir, dataset: &dyn Dataset) -> Vec<String> {
    let prefix = format!("{}/", folder.path().display());
    (0..dataset.labels().len()).map(|index| dataset.location(index).replace(&prefix, "")).collect()
}

#[test]
fn the_fixture_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/folder");
    let source = source(&folder).unwrap();
    assert_eq!((source.train.labels().len(), source.validation.labels().len()), (4, 2));
    for dataset in [&source.train, &source.validation] {
        for index in 0..dataset.labels().len() {
            assert_eq!(dataset.open(index).unwrap().width, 32);
            assert_eq!(dataset.labels()[index].defect, dataset.location(index).contains("/defect/"));
        }
    }
}

#[test]
fn images_are_found_at_any_depth_and_sorted() {
    let folder = folder_with(&[
        "train/normal/b.png",
        "train/normal/a.JPG",
        "train/normal/deep/er/c.jpeg",
        "train/normal/notes.txt",
        "train/defect/crack/1.png",
        "train/defect/hole/1.png",
        "validation/normal/z.png",
        "validation/defect/hole/9.png",
        "read me.md",
    ]);
    let source = source(folder.path()).unwrap();
    assert_eq!(
        places(&folder, &*source.train),
        [
            "train/normal/a.JPG",
            "train/normal/b.png",
            "train/normal/deep/er/c.jpeg",
            "train/defect/crack/1.png",
            "train/defect/hole/1.png"
        ]
    );
    let labels: Vec<(bool, u32)> = source.train.labels().iter().map(|l| (l.defect, l.stratum)).collect();
    // Strata in alphabetical order: none, crack, deep, hole.
    assert_eq!(labels, [(false, 0), (false, 0), (false, 2), (true, 1), (true, 3)]);
    assert_eq!(
        places(&folder, &*source.validation),
        ["validation/normal/z.png", "validation/defect/hole/9.png"]
    );
    assert_eq!(
        source.interpretation.last().unwrap(),
        "not images by their names, left out: train/normal/notes.txt"
    );
    // Empty files are detected when they are opened.
    let error = format!("{:#}", source.train.open(0).unwrap_err());
    assert!(error.ends_with("a.JPG: the file has 0 bytes"), "{error}");
}

#[test]
fn layouts_of_the_field_are_understood() {
    for names in [
        ["train/good/a.png", "train/bad/b.png", "val/good/c.png", "val/bad/d.png"],
        ["Train/OK/a.png", "Train/NG/b.png", "Test/OK/c.png", "Test/NG/d.png"],
        ["training/Normal/a.png", "training/Anomaly/b.png", "valid/Normal/c.png", "valid/Anomaly/d.png"],
    ] {
        let folder = folder_with(&names);
        let source = source(folder.path()).unwrap();
        assert_eq!(places(&folder, &*source.train), names[..2]);
        assert_eq!(places(&folder, &*source.validation), names[2..]);
        let defects: Vec<bool> = source.train.labels().iter().map(|labels| labels.defect).collect();
        assert_eq!(defects, [false, true], "{:?}", source.interpretation);
    }
    let test_kept = folder_with(&[
        "train/ok/a.png",
        "train/ng/b.png",
        "val/ok/c.png",
        "val/ng/d.png",
        "test/ok/e.png",
        "test/ng/f.png",
    ]);
    let source = source(test_kept.path()).unwrap();
    assert_eq!(places(&test_kept, &*source.validation), ["val/ok/c.png", "val/ng/d.png"]);
    assert!(source.interpretation.contains(&"test/ is not used: val/ is the validation split".to_owned()));
}

#[test]
fn mvtec_is_pooled_and_its_masks_are_left_out() {
    let mut names: Vec<String> = (0..12).map(|i| format!("train/good/{i:02}.png")).collect();
    names.extend((0..4).map(|i| format!("test/good/{i}.png")));
    names.extend(
        ["hole", "crack"].iter().flat_map(|kind| (0..4).map(move |i| format!("test/{kind}/{i}.png"))),
    );
    names.extend((0..4).map(|i| format!("ground_truth/hole/{i}_mask.png")));
    let folder = folder_with(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let source = source(folder.path()).unwrap();
    let all = [places(&folder, &*source.train), places(&folder, &*source.validation)].concat();
    assert_eq!(all.len(), 24);
    assert!(all.iter().all(|name| !name.starts_with("ground_truth")));
    let defects = |dataset: &dyn Dataset| dataset.labels().iter().filter(|labels| labels.defect).count();
    assert_eq!((defects(&*source.train), defects(&*source.validation)), (6, 2));
    assert!(
        source.interpretation.iter().any(|line| line.contains("as in MVTec AD")),
        "{:?}",
        source.interpretation
    );
    assert!(source.limits.iter().any(|limit| limit == stratify::SPLIT_LIMIT));
}

#[test]
fn visa_and_kinds_of_defects_are_understood() {
    let folder =
        folder_with(&["Data/Images/Normal/1.png", "Data/Images/Anomaly/2.png", "Data/Masks/Anomaly/2.png"]);
    let complaint = format!("{:#}", source(folder.path()).err().unwrap());
    assert!(complaint.contains("2 images are too few: no image is left to train on"), "{complaint}");
    let mut names: Vec<String> = (0..8).map(|i| format!("normal/{i}.png")).collect();
    names.extend(["hole", "crack"].iter().flat_map(|kind| (0..4).map(move |i| format!("{kind}/{i}.png"))));
    let folder = folder_with(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let source = source(folder.path()).unwrap();
    assert_eq!(source.train.labels().iter().filter(|labels| labels.defect).count(), 6);
    assert!(
        source.interpretation.contains(&"kinds of defects: crack/, hole/".to_owned()),
        "{:?}",
        source.interpretation
    );
}

#[test]
fn litter_is_counted_and_what_lies_beside_is_named() {
    let mut names: Vec<String> =
        (0..4).flat_map(|i| [format!("normal/{i}.png"), format!("defect/{i}.png")]).collect();
    names.extend(
        ["normal/._0.png", "normal/.ipynb_checkpoints/0.png", "defect/@eaDir/x/0.jpg", "crack/9.png"]
            .map(str::to_owned),
    );
    let folder = folder_with(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let found = source(folder.path()).unwrap();
    assert_eq!(found.train.labels().len() + found.validation.labels().len(), 8);
    let told = found.interpretation.join("\n");
    assert!(told.contains("beside these folders, left out: crack/"), "{told}");
    assert!(told.contains("left behind by programs, left out: ") && told.contains(" and 2 more"), "{told}");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(".", folder.path().join("normal/all")).unwrap();
        let complaint = format!("{:#}", source(folder.path()).err().unwrap());
        assert!(complaint.contains("normal/all: a link that leads back"), "{complaint}");
    }
}

#[test]
fn bad_folders_are_refused() {
    let complaint = |folder: &Path| format!("{:#}", source(folder).err().unwrap());
    assert_eq!(complaint(Path::new("/nowhere")), "/nowhere: no such folder");
    for (names, expected) in [
        (&["normal/a.png"][..], ": only normal images; expected a folder of defects beside them"),
        (
            &["crack/a.png", "hole/b.png"],
            "expected a folder of normal images (one of normal, normals, good, ok)",
        ),
        (&["train/normal/a.png"], "found train/ but none of validation/, valid/, val/, dev/, test/, testing"),
        (&["test/normal/a.png"], "found test/ but no train/"),
        (&["normal/a.txt", "defect/b.txt"], ": no images in its folders"),
    ] {
        let folder = folder_with(names);
        let complaint = complaint(folder.path());
        assert!(complaint.contains(expected), "{complaint}");
    }
}

/// If folders are kinds of defects, or are inside the folder of defects, an image's kind is the name of its
/// folder.
#[test]
fn kinds_are_named_after_their_folders() {
    for names in [
        ["train/normal/a.png", "train/defect/crack/b.png", "test/normal/c.png", "test/defect/hole/d.png"],
        ["train/good/a.png", "train/crack/b.png", "test/good/c.png", "test/hole/d.png"],
    ] {
        let folder = folder_with(&names);
        let source = source(folder.path()).unwrap();
        let kinds = |dataset: &dyn Dataset| {
            (0..2).map(|index| dataset.class_name(index).map(str::to_owned)).collect::<Vec<_>>()
        };
        let found = [kinds(&*source.train), kinds(&*source.validation)];
        let expected = ["crack", "hole"].map(|kind| vec![None, Some(kind.to_owned())]);
        assert_eq!(found, expected, "{names:?}");
        assert!(source.train.labels()[1].defect && !source.train.labels()[0].defect);
    }
}

#[test]
fn two_folders_to_train_on_are_one_too_many() {
    let names = ["train/normal/a.png", "training/normal/b.png", "val/normal/c.png"];
    let error = format!("{:#}", source(folder_with(&names).path()).err().unwrap());
    assert!(error.contains("expected one folder to train on, found train, training"), "{error}");
}

/// For prediction, images are listed at any depth, sorted by name in byte order; folder names are not labels.
#[test]
fn a_folder_without_labels_is_listed_whole() {
    let folder = folder_with(&["defect/b.png", "a.JPG", "deep/er/c.jpeg", "notes.txt", "._x.png", "Z.png"]);
    let files = unlabelled(folder.path()).unwrap();
    let names: Vec<&str> = (0..files.len()).map(|index| files.name(index)).collect();
    assert_eq!(names, ["Z.png", "a.JPG", "deep/er/c.jpeg", "defect/b.png"]);
    assert!(files.labels().iter().all(|labels| !labels.defect));
}

/// All messages and all omitted files of a folder with a split, two folders to score on, and litter.
#[test]
fn all_that_is_not_used_is_said_and_listed_with_its_reason() {
    let folder = folder_with(&[
        "train/ok/b.png",
        "train/ok/a.txt",
        "train/bad/hole/c.png",
        "train/bad/.d.png",
        "train/masks/e.png",
        "train/crack/f.png",
        "val/good/g.png",
        "val/ng/h.webp",
        "test/ok/i.png",
        "docs/j.png",
        "Thumbs.db",
    ]);
    let source = source(folder.path()).unwrap();
    assert_eq!(places(&folder, &*source.train), ["train/ok/b.png", "train/bad/hole/c.png"]);
    assert_eq!(places(&folder, &*source.validation), ["val/good/g.png", "val/ng/h.webp"]);
    assert_eq!(
        source.interpretation,
        [
            "test/ is not used: val/ is the validation split",
            "normal: train/ok/; defect: train/bad/",
            "normal: val/good/; defect: val/ng/",
            "trained on train/, scored on val/",
            "beside these folders, left out: docs/ and 2 more",
            "left behind by programs, left out: Thumbs.db and 1 more",
            "not images by their names, left out: train/ok/a.txt",
        ]
    );
    let beside = "a folder beside those of the labels";
    let litter = "left behind by a program";
    let expected = [
        ["Thumbs.db", litter],
        ["docs/", beside],
        ["train/bad/.d.png", litter],
        ["train/crack/", beside],
        ["train/masks/", beside],
        ["train/ok/a.txt", "not an image by its name"],
    ];
    assert_eq!(source.left_out, expected.map(|pair| pair.map(str::to_owned)));
    assert_eq!((source.name.as_str(), source.has_classes), ("folder", false));
    assert_eq!(source.limits, ["labels without defect classes: F2_CIW is not defined"]);
    assert!(source.leaks.is_empty());
    assert_ne!(source.train.digest(), source.validation.digest());
}

#[test]
fn an_image_is_known_by_any_of_its_extensions() {
    for name in [
        "a.bmp", "a.jpeg", "a.jpg", "a.pbm", "a.pgm", "a.png", "a.ppm", "a.tif", "a.tiff", "a.webp",
        "b.c.TIFF",
    ] {
        assert!(is_image(name), "{name}");
    }
    for name in ["a.gif", "png", "a.png.txt", "a.pn", ".png", "a.npy", "a."] {
        assert!(!is_image(name), "{name}");
    }
}

#[test]
fn layouts_with_one_fault_are_named() {
    for (names, expected) in [
        (
            &["train/a/1.png", "train/b/1.png", "val/ok/1.png"][..],
            "train/: expected a folder of normal images (one of normal, normals, good, ok) beside the defects, found a/, b/; rename it",
        ),
        (
            &["1.png"],
            ": expected a folder of normal images (one of normal, normals, good, ok) beside the defects, found no folder; rename it",
        ),
        (
            &["train/ok/1.png", "train/ng/1.png"],
            ": found train/ but none of validation/, valid/, val/, dev/, test/, testing; rename the folder of images to score on, or put normal/ and defect/ side by side for a random split",
        ),
        (
            &["ok/1.png", "masks/1.png"],
            ": only normal images; expected a folder of defects beside them (one of defect, defects, defective, bad, or one for each kind)",
        ),
    ] {
        let folder = folder_with(names);
        let found = source(folder.path()).err().unwrap().to_string();
        assert!(found.ends_with(expected), "{found}");
    }
    // Pooled as in MVTec AD, but with no defect to score on either.
    let pooled = folder_with(&["train/ok/1.png", "test/good/2.png", "test/good/3.png"]);
    let found = open(pooled.path()).err().unwrap().to_string();
    let expected = "only normal images; expected a folder of defects beside them (one of defect, defects, defective, \
                    bad, or one for each kind)";
    assert_eq!(found, format!("{}: {expected}", pooled.path().display()));
    let empty = folder_with(&["train/ok/1.png", "train/ng/2.png", "val/ok/notes.txt"]);
    let found = format!("{:#}", source(empty.path()).err().unwrap());
    assert_eq!(found, format!("{}: no validation images", empty.path().display()));
}

#[test]
fn visa_lies_below_data_unless_the_folder_is_one_itself() {
    let images = ["Data/Images/Normal/1.png", "Data/Images/Anomaly/2.png"];
    let folder = folder_with(&images);
    let Opened::Unsplit(whole) = open(folder.path()).unwrap() else { panic!("no split") };
    assert_eq!(
        whole.interpretation,
        ["VisA's layout: images are those below Data/Images", "normal: Normal/; defect: Anomaly/"]
    );
    assert_eq!(
        (0..2).map(|index| whole.files.name(index)).collect::<Vec<_>>(),
        ["Normal/1.png", "Anomaly/2.png"]
    );
    let both = folder_with(&[&images[..], &["ok/3.png", "bad/4.png"]].concat());
    let Opened::Unsplit(whole) = open(both.path()).unwrap() else { panic!("no split") };
    assert_eq!((0..2).map(|index| whole.files.name(index)).collect::<Vec<_>>(), ["ok/3.png", "bad/4.png"]);
    assert_eq!(whole.interpretation, ["normal: ok/; defect: bad/", "beside these folders, left out: Data/"]);
}

#[test]
fn what_cannot_be_listed_is_named() {
    let root = TempDir::new().unwrap();
    let error = |path: &Path| format!("{:#}", unlabelled(path).err().unwrap());
    let missing = root.path().join("none");
    let expected = format!("{}: this link or folder cannot be opened: ", missing.display());
    assert!(error(&missing).starts_with(&expected), "{}", error(&missing));
    let file = root.path().join("a.png");
    fs::write(&file, "").unwrap();
    assert!(error(&file).starts_with(&format!("cannot list {}: ", file.display())), "{}", error(&file));
}

/// Names of files are bytes on Linux alone.
#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_not_utf_8_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let root = folder_with(&["normal/a.png", "defect/b.png"]);
    let name = root.path().join("defect").join(std::ffi::OsStr::from_bytes(b"c\xff.png"));
    fs::write(&name, "").unwrap();
    let error = source(root.path()).err().unwrap().to_string();
    assert_eq!(error, format!("{}: the name is not UTF-8", name.display()));
}

/// A loop leads to a folder above; two ways to one folder are none.
#[cfg(unix)]
#[test]
fn a_folder_may_be_linked_more_than_once_but_not_into_itself() {
    let root = folder_with(&["defect/deep/b.png", "elsewhere/c.png", "normal/p1/a.png"]);
    let link = |to: &str, at: &str| {
        std::os::unix::fs::symlink(root.path().join(to), root.path().join(at)).unwrap();
    };
    link("elsewhere", "normal/p2");
    link("elsewhere", "normal/p3");
    link("normal/p1", "normal/p4");
    let Opened::Unsplit(found) = open(root.path()).unwrap() else { panic!("it has no split") };
    let expected =
        ["normal/p1/a.png", "normal/p2/c.png", "normal/p3/c.png", "normal/p4/a.png", "defect/deep/b.png"];
    assert_eq!((0..5).map(|index| found.files.name(index)).collect::<Vec<_>>(), expected);
    link("defect", "defect/deep/back");
    let error = open(root.path()).err().unwrap().to_string();
    let expected = "defect/deep/back: a link that leads back to a folder above it; remove it";
    assert!(error.ends_with(expected), "{error}");
}

/// If folders are kinds of defects, those that programs leave behind are none of them.
#[test]
fn litter_is_no_kind_of_defect() {
    let list = |files: &Files| (0..files.len()).map(|index| files.name(index).to_owned()).collect::<Vec<_>>();
    let litter = |names: [&str; 3]| names.map(|name| [name, "left behind by a program"].map(str::to_owned));
    let folder = folder_with(&[
        "good/a.png",
        "hole/c.png",
        "crack/b.png",
        "__MACOSX/d.png",
        ".cache/e.png",
        "lost+found/f.png",
    ]);
    let Opened::Unsplit(whole) = open(folder.path()).unwrap() else { panic!("no split") };
    assert_eq!(list(&whole.files), ["good/a.png", "crack/b.png", "hole/c.png"]);
    assert_eq!(
        whole.interpretation,
        ["kinds of defects: crack/, hole/", "left behind by programs, left out: .cache and 2 more"]
    );
    assert_eq!(whole.left_out, litter([".cache", "__MACOSX", "lost+found"]));
    let folder = folder_with(&[
        "train/good/1.png",
        "train/crack/2.png",
        "train/__MACOSX/3.png",
        "val/good/4.png",
        "val/crack/5.png",
        "val/.cache/6.png",
        "@eaDir/7.png",
    ]);
    let Opened::Split(source) = open(folder.path()).unwrap() else { panic!("a split") };
    assert_eq!(list(source.train.files().unwrap()), ["train/good/1.png", "train/crack/2.png"]);
    assert_eq!(list(source.validation.files().unwrap()), ["val/good/4.png", "val/crack/5.png"]);
    assert_eq!(
        source.interpretation,
        [
            "kinds of defects: train/crack/",
            "kinds of defects: val/crack/",
            "trained on train/, scored on val/",
            "left behind by programs, left out: @eaDir and 2 more",
        ]
    );
    assert_eq!(source.left_out, litter(["@eaDir", "train/__MACOSX", "val/.cache"]));
}
