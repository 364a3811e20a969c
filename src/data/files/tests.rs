use std::fs;

use image::RgbImage;
use tempfile::TempDir;

use super::*;

#[test]
fn a_file_that_cannot_be_read_any_more_is_unread_not_an_error() {
    let folder = TempDir::new().unwrap();
    for name in ["a.png", "b.png"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    let names = Listing::of_normals(&["a.png", "b.png", "none.png"]);
    let files = Files::new(names, &[folder.path().to_owned()], None, String::new()).unwrap();
    assert_eq!(files.contents(&[0, 1, 2]), [Content::Unread, Content::Unread, Content::Missing]);
    fs::remove_file(folder.path().join("b.png")).unwrap();
    let contents = files.read_contents(&[0, 1, 2]);
    assert!(matches!(contents[..], [Content::Bytes(_), Content::Unread, Content::Missing]), "{contents:?}");
}

#[test]
fn roots_are_searched_in_order_and_remembered() {
    let folder = TempDir::new().unwrap();
    let roots = ["first", "second"].map(|name| folder.path().join(name));
    for (width, root) in roots.iter().enumerate() {
        fs::create_dir(root).unwrap();
        RgbImage::new(1 + width as u32, 1).save(root.join("both.png")).unwrap();
    }
    RgbImage::new(7, 1).save(roots[1].join("late.png")).unwrap();
    let names = Listing::of_normals(&["both.png", "late.png", "none.png"]);
    let files = Files::new(names, &roots, Some(Path::new("/data/t.csv")), String::new()).unwrap();

    assert_eq!(files.open(0).unwrap().width, 1);
    assert_eq!(files.header(1).unwrap().width, 7);
    assert_eq!(files.location(1), format!("{} (t.csv row 3)", roots[1].join("late.png").display()));
    assert_eq!(files.found.iter().map(|root| root.load(Relaxed)).collect::<Vec<_>>(), [1, 2, 0]);

    let expected =
        format!("none.png (t.csv row 4): no such file in {}, {}", roots[0].display(), roots[1].display());
    assert_eq!(files.open(2).unwrap_err().to_string(), expected);
    assert_eq!(files.location(2), "none.png (t.csv row 4)");

    // A folder named like an image is found, but is none.
    fs::create_dir(roots[1].join("none.png")).unwrap();
    let error = format!("{:#}", files.open(2).unwrap_err());
    let place = roots[1].join("none.png").display().to_string();
    let start = format!("(t.csv row 4): cannot read image {place}: expected a regular file, found a folder");
    assert!(error.starts_with(&start), "{error}");

    // The location is remembered: a file that disappears later is reported missing there, not looked for
    // elsewhere.
    fs::remove_file(roots[0].join("both.png")).unwrap();
    let error = format!("{:#}", files.open(0).unwrap_err());
    assert!(error.starts_with("(t.csv row 2): cannot read image"), "{error}");
}

#[test]
fn folders_must_exist() {
    let error =
        Files::new(Listing::of_normals(&["a"]), &["/nowhere".into()], None, String::new()).err().unwrap();
    assert_eq!(error.to_string(), "/nowhere: no such image folder");
    assert!(Files::new(Listing::of_normals(&["a"]), &[], None, String::new()).is_err());
}

fn text_files(folder: &TempDir, names: &[&str]) -> Files {
    for name in names {
        fs::write(folder.path().join(name), name).unwrap();
    }
    Files::new(
        Listing::of_normals(names),
        &[folder.path().to_owned()],
        Some(Path::new("/d/t.csv")),
        "of the table".to_owned(),
    )
    .unwrap()
}

#[test]
fn a_selection_keeps_what_is_known_of_its_files() {
    let folder = TempDir::new().unwrap();
    let mut files = text_files(&folder, &["a.png", "b.png", "c.png", "d.png"]);
    files.group_by(|name| Ok(name[..1].to_uppercase())).unwrap();
    files.set_sample_bits("14".parse().unwrap());
    files.set_sample_bits("10".parse().unwrap());
    assert_eq!(files.sample_bits().bits(), 14, "the first call counts");
    files.read_contents(&[1, 2]);
    let known = files.file_digest(2).unwrap();
    files.cannot_read(3, "torn".to_owned());
    files.remember(0, known);
    let chosen = files.select(&[3, 0, 2]).unwrap();
    assert_eq!((0..3).map(|index| chosen.name(index)).collect::<Vec<_>>(), ["d.png", "a.png", "c.png"]);
    assert_eq!((0..3).map(|index| chosen.group(index).unwrap()).collect::<Vec<_>>(), ["D", "A", "C"]);
    assert_eq!(chosen.sample_bits().bits(), 14);
    assert_eq!(chosen.unreadable(), BTreeMap::from([(0, "torn".to_owned())]));
    assert_eq!([0, 1, 2].map(|index| chosen.file_digest(index)), [None, Some(known), Some(known)]);
    assert_eq!(chosen.used_digests(&[0, 1, 2]), [None, None, Some(known.digest)]);
    assert_eq!(
        files.used_digests(&[2, 0, 1]),
        [Some(known.digest), None, files.file_digest(1).map(|known| known.digest)]
    );
    files.confirm(&[0, 3]);
    assert_eq!(files.used_digests(&[0, 3]), [Some(known.digest), None]);
    assert!(chosen.location(2).ends_with("c.png (t.csv row 4)"), "{}", chosen.location(2));
    assert_eq!((chosen.len(), chosen.is_empty(), files.select(&[]).unwrap().is_empty()), (3, false, true));
    assert_eq!(files.name_index().find("c.png"), Some(2));
}

#[test]
fn groups_are_part_of_the_identity() {
    let folder = TempDir::new().unwrap();
    let grouped = |group: fn(&str) -> Result<String>| {
        let mut files = text_files(&folder, &["a1.png", "a2.png", "b1.png"]);
        files
            .group_by(group)
            .map(|()| (files.digest(), [0, 1, 2].map(|index| files.group(index).unwrap().to_owned())))
    };
    assert_eq!(text_files(&folder, &["a1.png"]).digest(), "of the table");
    let (letters, groups) = grouped(|name| Ok(name[..1].to_owned())).unwrap();
    assert_eq!(groups, ["a", "a", "b"]);
    let (numbers, groups) = grouped(|name| Ok(name[1..2].to_owned())).unwrap();
    assert_eq!(groups, ["1", "2", "1"]);
    assert!(letters != numbers && letters != "of the table");
    assert_eq!(grouped(|name| Ok(name[..1].to_owned())).unwrap().0, letters);
    // Groups x, xy, y and groups xx, y, y are spelt by the same letters.
    let spelt = |groups: [&'static str; 3]| {
        let mut files = text_files(&folder, &["a1.png", "a2.png", "b1.png"]);
        let of = |name: &str| match name {
            "a1.png" => groups[0],
            "a2.png" => groups[1],
            _ => groups[2],
        };
        files.group_by(|name| Ok(of(name).to_owned())).unwrap();
        files.digest()
    };
    assert_ne!(spelt(["x", "xy", "y"]), spelt(["xx", "y", "y"]));
    let error = grouped(|name| if name == "b1.png" { bail!("none in {name}") } else { Ok("x".to_owned()) });
    assert_eq!(error.unwrap_err().to_string(), "none in b1.png");
}

#[test]
fn the_first_location_is_kept() {
    let mut found = Locations::unknown(3);
    assert!(found.insert(1, 0, None) && found.insert(2, 4, None));
    assert!(!found.insert(1, 3, None), "it was found before");
    assert_eq!(found.at, [0, 1, 5]);
    assert_eq!([0, 1, 3, 4, 5].map(|number| found.is_in(number)), [true, false, false, true, false]);
    let folder = TempDir::new().unwrap();
    let most = |archives: usize| {
        let files = text_files(&folder, &["a.png", "b.png", "c.png"]);
        let archives = vec![PathBuf::from("x.zip"); archives];
        files
            .with_locations(Locations { archives, ..Locations::unknown(3) })
            .map(drop)
            .map_err(|error| error.to_string())
    };
    assert_eq!(most(253), Ok(()));
    assert_eq!(most(254), Err("expected at most 254 image folders and archives, found 255".to_owned()));
    let roots = vec![folder.path().to_owned(); 255];
    let many = Files::new(Listing::of_normals(&["a"]), &roots, None, String::new()).err().unwrap();
    assert_eq!(many.to_string(), "expected 1 to 254 image folders, found 255");
}

/// The first file alone is in an archive: what follows it has no place there, in a selection of any order.
#[test]
fn a_selection_of_files_in_and_beside_archives_finds_them_all() {
    let folder = TempDir::new().unwrap();
    let archive = folder.path().join("some.zip");
    let mut zip = zip::ZipWriter::new(fs::File::create(&archive).unwrap());
    zip.start_file("a.png", zip::write::SimpleFileOptions::default()).unwrap();
    std::io::Write::write_all(&mut zip, b"in the archive").unwrap();
    zip.finish().unwrap();
    let files = text_files(&folder, &["a.png", "b.png", "c.png", "d.png"]);
    let mut found = Locations { archives: vec![archive.clone()], ..Locations::unknown(4) };
    packed::list(&archive, &mut |_, packed| found.insert(0, 1, Some(packed))).unwrap();
    let files = files.with_locations(found).unwrap();
    for chosen in [&[0, 1, 2, 3][..], &[3, 0, 1], &[2, 1, 0], &[1, 3]] {
        let selected = files.select(chosen).unwrap();
        let bytes = (0..chosen.len()).map(|place| selected.bytes(place).unwrap());
        let found: Vec<(PathBuf, Vec<u8>)> = bytes.map(|(path, bytes)| (path, bytes.unwrap())).collect();
        let expected = chosen.iter().map(|&index| match index {
            0 => (archive.join("a.png"), b"in the archive".to_vec()),
            index => (folder.path().join(files.name(index)), files.name(index).as_bytes().to_vec()),
        });
        assert_eq!(found, expected.collect::<Vec<_>>(), "{chosen:?}");
    }
}

/// Headers, and the number of significant bits if it is requested, are the same for plain files and for members of
/// archives.
#[test]
fn headers_are_those_of_the_file_wherever_it_lies() {
    let pixels = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pixels");
    let names = ["png-grey16-of-10.png", "jpeg-orientation6.jpg"];
    let folder = TempDir::new().unwrap();
    let archive = folder.path().join("all.zip");
    let mut zip = zip::ZipWriter::new(fs::File::create(&archive).unwrap());
    for name in names {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut zip, &fs::read(pixels.join(name)).unwrap()).unwrap();
    }
    zip.finish().unwrap();
    let listing = || Listing::of_normals(&names);
    let mut found = Locations { archives: vec![archive.clone()], ..Locations::unknown(2) };
    packed::list(&archive, &mut |name, packed| found.insert(usize::from(name == names[1]), 1, Some(packed)))
        .unwrap();
    let zipped = Files::new(listing(), &[folder.path().to_owned()], None, String::new())
        .unwrap()
        .with_locations(found)
        .unwrap();
    let alone = Files::new(listing(), &[pixels], None, String::new()).unwrap();
    for files in [&zipped, &alone] {
        let deep = Header { width: 29, height: 23, turned: false, sixteen: true };
        let turned = Header { width: 23, height: 29, turned: true, sixteen: false };
        assert_eq!(files.header_and_sample_bits(0).unwrap(), (deep, Some("10".parse().unwrap())));
        assert_eq!(files.header_and_sample_bits(1).unwrap(), (turned, None));
        assert_eq!([0, 1].map(|index| files.header(index).unwrap()), [deep, turned]);
        assert_eq!(files.used_digests(&[0, 1]), [None, None], "a look is no use");
    }
    assert_eq!(zipped.read_contents(&[0, 1]), alone.read_contents(&[0, 1]));
    assert_eq!(zipped.open(1).unwrap(), alone.open(1).unwrap());
    assert_eq!(zipped.location(1), archive.join(names[1]).display().to_string());
}

#[test]
fn archives_that_are_gone_and_members_that_are_no_pictures_are_named() {
    let folder = TempDir::new().unwrap();
    let archive = folder.path().join("all.zip");
    let mut zip = zip::ZipWriter::new(fs::File::create(&archive).unwrap());
    for (name, content) in [("a.png", &b"no picture"[..]), ("b.png", b"")] {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut zip, content).unwrap();
    }
    zip.finish().unwrap();
    let mut found = Locations { archives: vec![archive.clone()], ..Locations::unknown(2) };
    let note = &mut |name: &str, packed| found.insert(usize::from(name == "b.png"), 1, Some(packed));
    packed::list(&archive, note).unwrap();
    let listing = Listing::of_normals(&["a.png", "b.png"]);
    let roots = [folder.path().to_owned()];
    let files = Files::new(listing, &roots, Some(Path::new("/d/t.csv")), String::new()).unwrap();
    let files = files.with_locations(found).unwrap();
    let error = |index| {
        let [head, deep] = [files.header(index), files.header_and_sample_bits(index).map(|found| found.0)]
            .map(|result| format!("{:#}", result.unwrap_err()));
        assert_eq!(head, deep);
        head
    };
    let [first, second] = ["a.png", "b.png"].map(|name| archive.join(name).display().to_string());
    let none = "expected BMP, JPEG, PNG, PNM, TIFF or WebP, found none of them";
    assert_eq!(error(0), format!("(t.csv row 2): cannot decode image {first}: {none}"));
    assert_eq!(error(1), format!("(t.csv row 3): cannot decode image {second}: the file has 0 bytes"));
    let opened = format!("{:#}", files.open(1).unwrap_err());
    assert_eq!(opened, error(1));
    assert!(matches!(files.contents(&[1, 0])[..], [Content::Bytes(_), Content::Unread]));

    fs::remove_file(&archive).unwrap();
    let files = files.select(&[1, 0]).unwrap();
    assert_eq!(files.contents(&[1]), [Content::Missing]);
    for (index, row, place) in [(0, 3, &second), (1, 2, &first)] {
        let expected = format!("(t.csv row {row}): cannot read image {place}: ");
        for found in [files.header(index).map(drop), files.open(index).map(drop)] {
            let found = format!("{:#}", found.unwrap_err());
            assert!(found.starts_with(&expected), "{found}");
        }
    }
}

#[test]
fn a_data_set_of_one_file_is_not_empty() {
    let folder = TempDir::new().unwrap();
    for names in [&[][..], &["a.png"], &["a.png", "b.png"]] {
        let files = text_files(&folder, names);
        assert_eq!((files.len(), files.is_empty()), (names.len(), names.is_empty()), "{names:?}");
    }
}

/// Any of the folders may be the one that is misspelt; a file is no folder.
#[test]
fn every_folder_must_exist() {
    let root = TempDir::new().unwrap();
    let [here, there, gone, file] = ["here", "there", "gone", "file"].map(|name| root.path().join(name));
    [&here, &there].into_iter().for_each(|folder| fs::create_dir(folder).unwrap());
    fs::write(&file, "").unwrap();
    let of = |roots: &[&PathBuf]| {
        let roots: Vec<PathBuf> = roots.iter().map(|root| (*root).clone()).collect();
        let files = Files::new(Listing::of_normals(&["a"]), &roots, None, String::new());
        files.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(of(&[&here, &there]), Ok(()));
    for (roots, wrong) in [
        ([&gone, &here, &there], &gone),
        ([&here, &gone, &there], &gone),
        ([&here, &there, &gone], &gone),
        ([&here, &there, &file], &file),
        ([&here, &file, &gone], &file),
    ] {
        assert_eq!(of(&roots), Err(format!("{}: no such image folder", wrong.display())));
    }
}

/// Groups of a table give way to those of `--group-by`.
#[test]
fn a_rule_replaces_the_groups_of_a_table() {
    let folder = TempDir::new().unwrap();
    let files = |groups: Option<[&str; 3]>| {
        let names = ["a1.png", "a2.png", "b1.png"];
        let mut listing = Listing::of_normals(&names);
        if let Some(groups) = groups {
            listing.set_groups(&groups.map(str::to_owned));
        }
        let mut files = Files::new(listing, &[folder.path().to_owned()], None, "d".to_owned()).unwrap();
        files.group_by(|name| Ok(name[..1].to_owned())).unwrap();
        files
    };
    let (grouped, plain) = (files(Some(["x", "y", "y"])), files(None));
    for files in [&grouped, &plain] {
        assert_eq!([0, 1, 2].map(|index| files.group(index)), [Some("a"), Some("a"), Some("b")]);
        let chosen = files.select(&[2, 0]).unwrap();
        assert_eq!([0, 1].map(|index| chosen.group(index)), [Some("b"), Some("a")]);
    }
    assert_eq!(grouped.digest(), plain.digest());
    assert_eq!(grouped.select(&[1]).unwrap().digest(), plain.select(&[1]).unwrap().digest());
}
