//! Draws the frames under `fixtures/sewer_ml` and `fixtures/folder`, and compares them with the files.
//!
//! Synthetic images in the published format: a pipe mouth as a dark ring on noise, with a bright arc on it for a
//! defect. `SKEWBENCH_FIXTURES=write cargo test --test cells frames` writes them again.

use std::{env, fs, io::Cursor, path::Path};

use image::{ImageFormat, Rgb, RgbImage};
use skewbench::{
    data::{ClassSet, DefectClass, decode::decode},
    seed::Seed,
};

const HEADER: &str = "Filename,WaterLevel,VA,RB,OB,PF,DE,FS,IS,RO,IN,AF,BE,FO,GR,PH,PB,OS,OP,OK,ND,Defect";

/// Numbered images of each split; every third from 2 on (and 40) is a defect, those in `WATER` are normal with VA =
/// 1.
const TRAIN: std::ops::RangeInclusive<usize> = 1..=28;
const VALIDATION: std::ops::RangeInclusive<usize> = 29..=40;
const TEST: std::ops::RangeInclusive<usize> = 41..=42;
const WATER: [usize; 3] = [1, 12, 31];

fn is_defect(number: usize) -> bool {
    number % 3 == 2 || number == 40
}

fn classes(number: usize) -> ClassSet {
    let class = |step: usize| DefectClass::ALL[number * step % DefectClass::COUNT];
    match (is_defect(number), number % 2) {
        (false, _) => ClassSet::EMPTY,
        (true, 0) => ClassSet::from_iter([class(5)]),
        (true, _) => ClassSet::from_iter([class(5), class(7)]),
    }
}

fn row(number: usize) -> String {
    let classes = classes(number);
    let flag = |set: bool| u8::from(set).to_string();
    let water = WATER.contains(&number);
    let codes: Vec<String> = DefectClass::ALL.iter().map(|&class| flag(classes.contains(class))).collect();
    let (nothing, defect) = (!water && classes.is_empty(), !classes.is_empty());
    format!(
        "{number:08}.png,{},{},{},{},{}\n",
        10 * (number % 4),
        flag(water),
        codes.join(","),
        flag(nothing),
        flag(defect)
    )
}

fn frame(number: usize, defect: bool) -> RgbImage {
    let mut noise = Seed::root(number as u64).child("fixture").stream();
    let tint = [0; 3].map(|_: u8| noise.uniform(-25.0, 25.0));
    RgbImage::from_fn(32, 24, |x, y| {
        let (dx, dy) = (f64::from(x) - 15.5, f64::from(y) - 11.5);
        let radius = (dx * dx + dy * dy).sqrt();
        let ring = if (radius - 8.0).abs() < 2.0 { -60.0 } else { 0.0 };
        let arc = if defect && (radius - 10.0).abs() < 1.5 && dx > 3.0 { 110.0 } else { 0.0 };
        // Sparse noise: noise in every pixel would not compress.
        let grain = if noise.coin(0.1) { 8.0 } else { 0.0 };
        Rgb([0, 1, 2].map(|c| ([133.0, 115.0, 88.0][c] + tint[c] + ring + arc + grain) as u8))
    })
}

/// Compares a frame with its file, or writes it.
fn compare_or_write(path: &Path, frame: &RgbImage, format: ImageFormat) {
    if env::var_os("SKEWBENCH_FIXTURES").is_some_and(|value| value == "write") {
        let mut bytes = Cursor::new(Vec::new());
        frame.write_to(&mut bytes, format).unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes.into_inner()).unwrap();
    }
    let bytes = fs::read(path).unwrap();
    assert_eq!(image::guess_format(&bytes).unwrap(), format, "{}", path.display());
    let found = decode(path).unwrap();
    let error: f64 =
        found.pixels.iter().zip(frame.as_raw()).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>()
            / found.pixels.len() as f64;
    // PNG is lossless; the loss of JPEG depends on the encoder's release.
    let limit = if format == ImageFormat::Png { 0.0 } else { 12.0 };
    assert!(error <= limit, "{}: mean difference {error}", path.display());
}

fn settle_text(path: &Path, text: &str) {
    if env::var_os("SKEWBENCH_FIXTURES").is_some_and(|value| value == "write") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap(), text, "{}", path.display());
}

#[test]
fn sewer_ml_frames_are_as_drawn() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sewer_ml");
    for (name, numbers) in [("SewerML_Train.csv", TRAIN), ("SewerML_Val.csv", VALIDATION)] {
        settle_text(&folder.join(name), &format!("{HEADER}\n{}", numbers.map(row).collect::<String>()));
    }
    let names: String = TEST.map(|number| format!("{number:08}.png\n")).collect();
    settle_text(&folder.join("SewerML_Test.csv"), &format!("Filename\n{names}"));

    for number in *TRAIN.start()..=*VALIDATION.end() {
        // The published names end in .png; a copy re-encoded to save space keeps them.
        let format = if number % 5 == 0 { ImageFormat::Jpeg } else { ImageFormat::Png };
        let root = if number > 34 { "valid00" } else { "images" };
        let path = folder.join(root).join(format!("{number:08}.png"));
        compare_or_write(&path, &frame(number, is_defect(number)), format);
    }
}

#[test]
fn folder_frames_are_as_drawn() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/folder");
    for (label, defect) in [("normal", false), ("defect", true)] {
        for (number, name, format) in
            [(1, "1.png", ImageFormat::Png), (2, "2.jpg", ImageFormat::Jpeg), (3, "3.png", ImageFormat::Png)]
        {
            let number = 100 + 10 * usize::from(defect) + number;
            compare_or_write(&folder.join(label).join(name), &frame(number, defect), format);
        }
    }
    settle_text(
        &folder.join("images.csv"),
        "path,label,class,split\n\
         normal/1.png,normal,plain,train\n\
         normal/2.jpg,0,dark,train\n\
         normal/3.png,normal,plain,validation\n\
         defect/1.png,defect,crack,train\n\
         defect/2.jpg,1,dark,train\n\
         defect/3.png,defect,crack,validation\n",
    );
}
