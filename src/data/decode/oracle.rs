//! Compares every kind of file with Pillow's output (`fixtures/pixels`, made by the script there).

use std::{collections::BTreeMap, fs, path::PathBuf};

use super::{SampleBits, bits_in_use, decode_bytes, read_header};

/// Largest allowed difference of a byte for each kind of file; kinds are prefixes of names, and the longest match
/// counts.
///
/// JPEG decoders may differ in rounding (by 1, for grey and for images without chroma) and in chroma upsampling (by 2
/// to 4). For BMP with 5 bits per channel, we round when expanding to 8 bits, and Pillow truncates.
const DIFFERENCES: [(&str, u8); 5] =
    [("bmp-5", 1), ("jpeg-", 4), ("jpeg-cmyk", 1), ("jpeg-grey", 1), ("tiff-jpeg", 1)];

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/pixels").join(name)
}

fn allowed(name: &str) -> u8 {
    let fits = DIFFERENCES.iter().filter(|(kind, _)| name.starts_with(kind));
    fits.max_by_key(|(kind, _)| kind.len()).map_or(0, |&(_, difference)| difference)
}

#[test]
fn pixels_are_pillows() {
    let list = fs::read_to_string(fixture("list.txt")).unwrap();
    let mut worst: BTreeMap<&str, u8> = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in list.lines() {
        let [name, width, height, bits] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let path = fixture(name);
        let bits: SampleBits = bits.parse().unwrap();
        let expected = fs::read(fixture(&format!("{name}.rgb"))).unwrap();
        let size = (width.parse().unwrap(), height.parse().unwrap());
        let image = match decode_bytes(&fs::read(&path).unwrap(), &path, bits) {
            Ok(image) => image,
            Err(error) => {
                wrong.push(format!("{name}: {error:#}"));
                continue;
            }
        };
        let head = read_header(&path).unwrap();
        if (image.width, image.height) != size || (head.width, head.height) != size {
            wrong.push(format!("{name}: {} x {}, not {width} x {height}", image.width, image.height));
            continue;
        }
        if head.sixteen && bits_in_use(&path).unwrap() != Some(bits) {
            wrong.push(format!("{name}: {:?}, not {bits} bits in use", bits_in_use(&path).unwrap()));
        }
        let differences = image.pixels.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b));
        let largest = differences.max().unwrap_or(0);
        if largest > allowed(name) {
            wrong.push(format!("{name}: off by {largest}, allowed {}", allowed(name)));
        }
        let kind = DIFFERENCES.iter().map(|(kind, _)| *kind).filter(|kind| name.starts_with(kind)).max();
        let worst = worst.entry(kind.unwrap_or("exact")).or_default();
        *worst = largest.max(*worst);
    }
    let (count, files) = (wrong.len(), list.lines().count());
    let wrong = wrong.join("; ");
    assert_eq!(count, 0, "of {files} files: {wrong}; largest differences: {worst:?}");
}
