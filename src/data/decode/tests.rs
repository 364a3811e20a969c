use std::{fs, io::Cursor, path::PathBuf};

use image::{DynamicImage, GrayImage, ImageBuffer, Rgb, RgbImage, Rgba, RgbaImage};
use tempfile::TempDir;

use super::*;
use crate::seed::{Seed, Stream};

fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn whole_image(bytes: &[u8]) -> Result<Image> {
    from_bytes(bytes, SampleBits::ALL).map(|(image, ..)| image)
}

fn size(path: &Path) -> (usize, usize) {
    let head = read_header(path).unwrap();
    (head.width, head.height)
}

fn frame() -> RgbImage {
    RgbImage::from_fn(32, 24, |x, y| Rgb([8 * x as u8, 10 * y as u8, (x * y % 251) as u8]))
}

fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// Checks that both readers reject a file and name it, and returns the message.
fn complaint(error: Error, name: &str) -> String {
    assert!(error.to_string().ends_with(name), "{error}");
    format!("{:#}", error.source().map_or(error.to_string(), ToString::to_string))
}

#[test]
fn png_pixels_come_out_as_they_went_in() {
    let folder = TempDir::new().unwrap();
    let path = write(&folder, "frame.png", &encode(&frame().into(), ImageFormat::Png));
    let image = decode(&path).unwrap();
    assert_eq!(image, Image::new(32, 24, frame().into_raw()));
    assert_eq!(size(&path), (32, 24));
}

#[test]
fn jpeg_is_known_by_content_under_any_name() {
    let folder = TempDir::new().unwrap();
    let smooth = RgbImage::from_fn(32, 24, |x, _| Rgb([4 * x as u8, 100, 200]));
    let path = write(&folder, "frame.png", &encode(&smooth.clone().into(), ImageFormat::Jpeg));
    let image = decode(&path).unwrap();
    assert_eq!((image.width, image.height), (32, 24));
    let worst = image.pixels.iter().zip(smooth.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst < Some(16), "JPEG error {worst:?}");
    assert_eq!(size(&path), (32, 24));
}

#[test]
fn grey_alpha_and_16_bit_become_rgb() {
    let folder = TempDir::new().unwrap();
    let images: [(DynamicImage, [u8; 3]); 4] = [
        (GrayImage::from_pixel(2, 2, image::Luma([77])).into(), [77; 3]),
        (RgbaImage::from_pixel(2, 2, Rgba([1, 2, 3, 0])).into(), [1, 2, 3]),
        // 257 v is the 16-bit value of 8-bit v: 65,535 = 257 * 255.
        (ImageBuffer::from_pixel(2, 2, image::Luma([257_u16 * 99])).into(), [99; 3]),
        (ImageBuffer::from_pixel(2, 2, Rgb([257_u16, 257 * 128, 257 * 255])).into(), [1, 128, 255]),
    ];
    for (i, (source, expected)) in images.into_iter().enumerate() {
        let path = write(&folder, &format!("{i}.png"), &encode(&source, ImageFormat::Png));
        assert_eq!(decode(&path).unwrap().pixels, expected.repeat(4), "{i}");
    }
}

const FORMATS: [ImageFormat; 6] = [
    ImageFormat::Bmp,
    ImageFormat::Jpeg,
    ImageFormat::Png,
    ImageFormat::Pnm,
    ImageFormat::Tiff,
    ImageFormat::WebP,
];

#[test]
fn every_torn_file_is_called_truncated() {
    for format in FORMATS {
        let whole = encode(&frame().into(), format);
        assert!(whole_image(&whole).is_ok());
        // With fewer than 8 bytes (12 for WebP), the format itself cannot be recognised.
        for length in if format == ImageFormat::WebP { 12 } else { 8 }..whole.len() {
            let error = whole_image(&whole[..length]).unwrap_err().to_string();
            let expected = format!("truncated: the file ends after {length} bytes, before the image does");
            assert_eq!(error, expected, "{format:?} cut at {length} of {}", whole.len());
        }
    }
    // A download that reserved its full size and stopped half way: in formats without checksums or markers, this is a
    // valid picture with a black part.
    for format in [ImageFormat::Png, ImageFormat::Jpeg] {
        let mut hollow = encode(&frame().into(), format);
        let half = hollow.len() / 2;
        hollow[half..].fill(0);
        assert!(whole_image(&hollow).is_err(), "{format:?}");
    }
}

/// No fixture made by Pillow decodes when it is truncated, unless the missing end holds no pixels.
#[test]
fn torn_files_of_every_kind_are_no_pictures() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pixels");
    let list = fs::read_to_string(folder.join("list.txt")).unwrap();
    for name in list.lines().filter_map(|line| line.split(' ').next()) {
        let whole = fs::read(folder.join(name)).unwrap();
        let pixels = whole_image(&whole).unwrap();
        for length in (0..whole.len()).step_by(7) {
            if let Ok(torn) = whole_image(&whole[..length]) {
                assert_eq!(torn, pixels, "{name} cut at {length} of {}", whole.len());
                let may_end = ["tif", "bmp", "pbm", "pgm", "ppm"].iter().any(|end| name.ends_with(end));
                assert!(may_end, "{name} cut at {length}");
            }
        }
    }
}

#[test]
fn what_is_not_read_is_refused_with_a_reason() {
    let mut tiff = encode(&GrayImage::new(2, 2).into(), ImageFormat::Tiff);
    // The entry of tag 339 (sample format), with one short number.
    let entry = tiff.windows(4).position(|bytes| bytes == [0x53, 0x01, 3, 0]).unwrap();
    for (format, reason) in
        [(3, "floating-point samples in TIFF are not read"), (2, "signed samples in TIFF")]
    {
        tiff[entry + 8] = format;
        let error = whole_image(&tiff).unwrap_err().to_string();
        assert!(error.starts_with(reason), "{error}");
    }
}

#[test]
fn a_restart_is_not_the_end_of_the_image() {
    // Blocks between restarts are coded independently, so a block repeated is an image of two blocks.
    let block = GrayImage::from_fn(8, 8, |x, y| image::Luma([(20 * x + 3 * y) as u8]));
    let mut bytes = encode(&block.into(), ImageFormat::Jpeg);
    let single = whole_image(&bytes).unwrap();
    let find = |marker: u8| bytes.windows(2).position(|pair| pair == [0xff, marker]).unwrap();
    let (frame, scan, end) = (find(0xc0), find(0xda), bytes.len() - 2);
    bytes[frame + 8] = 16;
    let data = bytes[scan + 2 + usize::from(bytes[scan + 3])..end].to_vec();
    bytes.splice(end..end, [&[0xff, 0xd0][..], &data].concat());
    bytes.splice(scan..scan, [0xff, 0xdd, 0, 4, 0, 1]);

    let double = whole_image(&bytes).unwrap();
    assert_eq!((double.width, double.height), (16, 8));
    for (pair, row) in double.pixels.chunks(48).zip(single.pixels.chunks(24)) {
        assert_eq!(pair, row.repeat(2));
    }
    for length in 8..bytes.len() {
        let error = whole_image(&bytes[..length]).unwrap_err().to_string();
        assert!(error.starts_with("truncated: "), "cut at {length} of {}: {error}", bytes.len());
    }
}

#[test]
fn the_end_of_a_thumbnail_is_not_the_end_of_the_image() {
    let mut bytes = encode(&frame().into(), ImageFormat::Jpeg);
    // An application segment of 6 bytes, including its length, that contains a complete tiny "image".
    bytes.splice(2..2, [0xff, 0xe1, 0, 6, 0xff, 0xd8, 0xff, 0xd9]);
    assert!(whole_image(&bytes).is_ok());
    assert!(whole_image(&bytes[..bytes.len() - 2]).unwrap_err().to_string().starts_with("truncated"));
}

#[test]
fn heads_of_every_format_say_how_large_and_how_deep() {
    for format in FORMATS {
        let of =
            |image: DynamicImage| read_header_from_bytes(&encode(&image, format), Path::new("x")).unwrap();
        let expected = Header { width: 32, height: 24, turned: false, sixteen: false };
        assert_eq!(of(frame().into()), expected, "{format:?}");
        if let ImageFormat::Png | ImageFormat::Tiff = format {
            let deep: ImageBuffer<Rgb<u16>, _> = ImageBuffer::new(32, 24);
            assert_eq!(of(deep.into()), Header { sixteen: true, ..expected }, "{format:?}");
        }
    }
}

/// If the header understates the size of compressed rows, only the decoder detects that they are truncated.
#[test]
fn what_the_decoder_finds_torn_is_called_truncated() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pixels");
    let mut bytes = fs::read(folder.join("bmp-rle8.bmp")).unwrap();
    bytes[34..38].copy_from_slice(&1_u32.to_le_bytes());
    assert!(whole_image(&bytes).is_ok());
    bytes.truncate(bytes.len() - 40);
    let error = whole_image(&bytes).unwrap_err().to_string();
    assert_eq!(error, torn(&bytes));
    // A damaged file is not reported as truncated.
    let mut bytes = fs::read(folder.join("tiff-grey-deflate.tif")).unwrap();
    let page = tiff::tests::strip(&bytes);
    bytes[page].fill(0xff);
    let error = format!("{:#}", whole_image(&bytes).unwrap_err());
    assert!(!error.contains("truncated"), "{error}");
}

#[test]
fn data_behind_the_image_does_no_harm() {
    for format in FORMATS {
        let mut bytes = encode(&frame().into(), format);
        bytes.extend_from_slice(b"\n\n");
        assert!(whole_image(&bytes).is_ok(), "{format:?}");
    }
}

#[test]
fn errors_name_the_file_and_what_is_wrong() {
    let folder = TempDir::new().unwrap();
    let mut corrupt = encode(&frame().into(), ImageFormat::Png);
    corrupt[60] ^= 0xff;
    for (name, bytes, expected) in [
        ("empty.png", &b""[..], "the file has 0 bytes"),
        (
            "text.png",
            b"not an image at all",
            "expected BMP, JPEG, PNG, PNM, TIFF or WebP, found none of them",
        ),
        ("letter.png", b"x", "expected BMP, JPEG, PNG, PNM, TIFF or WebP, found none of them"),
        ("moving.jpg", b"GIF89a..............", "expected BMP, JPEG, PNG, PNM, TIFF or WebP, found Gif"),
    ] {
        let path = write(&folder, name, bytes);
        assert_eq!(complaint(decode(&path).unwrap_err(), name), expected);
        assert_eq!(complaint(read_header(&path).unwrap_err(), name), expected);
    }
    let path = write(&folder, "corrupt.png", &corrupt);
    let found = complaint(decode(&path).unwrap_err(), "corrupt.png");
    assert!(found.starts_with("Format error decoding Png"), "{found}");

    let missing = folder.path().join("missing.png");
    for error in [decode(&missing).unwrap_err(), read_header(&missing).unwrap_err()] {
        assert!(error.to_string().starts_with("cannot read image"), "{error}");
        assert!(error.to_string().ends_with("missing.png"), "{error}");
    }
}

/// Builds a chunk of a PNG.
pub(super) fn chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut checksum = flate2::Crc::new();
    checksum.update(kind);
    checksum.update(content);
    let length = (content.len() as u32).to_be_bytes();
    [&length[..], kind, content, &checksum.sum().to_be_bytes()].concat()
}

/// Builds a black grey PNG of 64 x 64 pixels that has `rows` rows, with another chunk before them.
pub(super) fn png_of(rows: usize, before: &[u8]) -> Vec<u8> {
    let head = [&64_u32.to_be_bytes()[..], &64_u32.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    let data = chunk(b"IDAT", &packed(&vec![0; 65 * rows]));
    [&b"\x89PNG\r\n\x1a\n"[..], &chunk(b"IHDR", &head), before, &data, &chunk(b"IEND", b"")].concat()
}

pub(super) fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, bytes).unwrap();
    packed.finish().unwrap()
}

#[test]
fn a_png_of_fewer_rows_is_refused_and_a_profile_is_not_unpacked_without_end() {
    assert!(whole_image(&png_of(64, b"")).is_ok());
    for rows in [0, 1, 32, 63] {
        let error = whole_image(&png_of(rows, b"")).unwrap_err().to_string();
        assert!(error.contains("does not have enough data for image"), "{rows} rows: {error}");
    }
    // 40 MB of zeros: more than the decoder may use besides pixels.
    let profile = chunk(b"iCCP", &[&b"x\0\0"[..], &packed(&vec![0; 40 << 20])].concat());
    assert!(profile.len() < 1 << 20);
    let image = whole_image(&png_of(64, &profile)).unwrap();
    assert_eq!(image, whole_image(&png_of(64, b"")).unwrap());
}

#[test]
fn jpeg_in_tiff_is_read_over_too() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pixels");
    for name in ["tiff-jpeg.tif", "tiff-jpeg-grey.tif"] {
        let mut bytes = fs::read(folder.join(name)).unwrap();
        assert!(whole_image(&bytes).is_ok());
        let begin = bytes.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap() + 14;
        let end = begin + bytes[begin..].windows(2).position(|pair| pair == [0xff, 0xd9]).unwrap();
        bytes[(begin + end) / 2..end].fill(0);
        let error = whole_image(&bytes).unwrap_err().to_string();
        assert!(error.starts_with("damaged: scan 1 should have"), "{error}");
    }
}

#[test]
fn what_takes_too_much_memory_is_refused_by_its_head() {
    let bytes = encode(&frame().into(), ImageFormat::Jpeg);
    let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    let mut large = bytes.clone();
    large[frame + 5..frame + 9].fill(0xff);
    let error = whole_image(&large).unwrap_err().to_string();
    assert!(error.starts_with("too large: 65535 x 65535 pixels of this kind take "), "{error}");
    // A PNG's chunks have checksums.
    let head = [&[0, 1, 0, 0, 0, 1, 0, 0][..], &[16, 6, 0, 0, 0]].concat();
    let large =
        [&b"\x89PNG\r\n\x1a\n"[..], &chunk(b"IHDR", &head), &chunk(b"IDAT", &[]), &chunk(b"IEND", b"")];
    let error = whole_image(&large.concat()).unwrap_err().to_string();
    assert!(error.starts_with("too large: 65536 x 65536 pixels of this kind take "), "{error}");
}

/// Damage of every kind, to every kind of file: decoding ends quickly, without a panic, and a picture has the size
/// stated in its header.
#[test]
fn no_damage_breaks_a_reader() {
    const EACH: usize = 30;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pixels");
    let list = fs::read_to_string(folder.join("list.txt")).unwrap();
    let files = list.lines().filter_map(|line| line.split(' ').next());
    let files: Vec<Vec<u8>> = files.map(|name| fs::read(folder.join(name)).unwrap()).collect();
    let mut dice = Seed::root(28).stream();
    let (mut pictures, mut refused) = (0, 0);
    for (number, whole) in files.iter().enumerate() {
        for _ in 0..EACH {
            let mut bytes = whole.clone();
            for _ in 0..=dice.below(3) {
                damage(&mut bytes, &files[(number + 7) % files.len()], &mut dice);
            }
            // `seen` would catch panics, so it is not used here.
            match from_bytes(&bytes, SampleBits::ALL) {
                Ok((image, head, _)) => {
                    pictures += 1;
                    assert_eq!((image.width, image.height), (head.width, head.height));
                }
                Err(error) => {
                    refused += 1;
                    assert!(!format!("{error:#}").is_empty());
                }
            }
        }
    }
    assert!(pictures > 100 && refused > 100, "{pictures} pictures, {refused} refused");
}

/// Changes a bit, a range of bytes, a length, or the end of the file.
fn damage(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Stream) {
    if bytes.is_empty() {
        return;
    }
    // Headers are short and especially vulnerable.
    let most = if dice.coin(0.5) { bytes.len().min(64) } else { bytes.len() };
    let at = dice.below(most);
    let end = (at + 1 + dice.below(40)).min(bytes.len());
    match dice.below(7) {
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => bytes[at..end].fill(0),
        2 => bytes[at..end].fill(0xff),
        3 => bytes[at..end].iter_mut().for_each(|byte| *byte = dice.below(256) as u8),
        4 => drop(bytes.drain(at..end)),
        5 => bytes.truncate(at),
        _ => bytes.splice(at..end, other.iter().copied().skip(at).take(64)).for_each(drop),
    }
}

/// A bitmap of OS/2: 2 x 2 pixels of 24 bits, in rows of 8 bytes from the bottom, blue first.
#[test]
fn bitmaps_of_os_2_are_read_to_their_end() {
    let head = [&b"BM"[..], &42_u32.to_le_bytes(), &[0; 4], &26_u32.to_le_bytes()].concat();
    let about = [&12_u32.to_le_bytes()[..], &[2, 0, 2, 0, 1, 0, 24, 0]].concat();
    let rows = [[1, 2, 3, 4, 5, 6, 0, 0], [7, 8, 9, 10, 11, 12, 0, 0]].concat();
    let bytes = [head, about, rows].concat();
    assert_eq!(bytes.len(), 42);
    assert_eq!(whole_image(&bytes).unwrap().pixels, [9, 8, 7, 12, 11, 10, 3, 2, 1, 6, 5, 4]);
    for length in [41, 34, 27, 20] {
        assert_eq!(whole_image(&bytes[..length]).unwrap_err().to_string(), torn(&bytes[..length]));
    }
}

/// The memory of real files, in bytes per pixel.
#[test]
fn the_room_of_every_kind_of_file_is_known_from_its_head() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pixels");
    for (name, given, beside, wide, turned) in [
        ("png-rgb.png", 3, 0, false, false),
        ("png-grey-alpha16.png", 4, 0, true, false),
        ("png-orientation6.png", 3, 0, false, true),
        ("jpeg-2x2.jpg", 3, 0, false, false),
        ("bmp-rgb24.bmp", 3, 0, false, false),
        ("webp-lossy.webp", 3, 7, false, false),
        ("webp-orientation6.webp", 3, 7, false, true),
        ("tiff-1.tif", 3, 3, false, false),
        ("tiff-rgb-none.tif", 3, 9, false, false),
        ("tiff-cmyk.tif", 3, 12, false, false),
        ("tiff-grey16.tif", 6, 4, true, false),
        ("tiff-rgb16.tif", 6, 12, true, false),
        ("tiff-orientation6.tif", 3, 9, false, true),
    ] {
        let bytes = fs::read(folder.join(name)).unwrap();
        let seen = see(Cursor::new(&bytes), format_of(&bytes).unwrap()).unwrap();
        let room = seen.room;
        assert_eq!(
            (room.given, room.beside, room.wide, room.turned),
            (given, beside, wide, turned),
            "{name}"
        );
        assert_eq!((room.width, room.height), (29, 23), "{name}: as stored");
        let (width, height) = if turned { (23, 29) } else { (29, 23) };
        let sixteen = wide;
        assert_eq!(seen.head(), Header { width, height, turned, sixteen }, "{name}");
    }
}

/// PNM states its own maximum, so the data set's number of significant bits does not apply.
#[test]
fn samples_with_a_maximum_of_their_own_are_scaled_by_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pixels");
    for name in ["pnm-p5-of-4095.pgm", "pnm-p6-16.ppm"] {
        let path = folder.join(name);
        let bytes = fs::read(&path).unwrap();
        let with = |bits: &str| decode_bytes(&bytes, &path, bits.parse().unwrap()).unwrap();
        assert_eq!(with("10"), with("16"), "{name}");
        assert_eq!((read_header(&path).unwrap().sixteen, bits_in_use(&path).unwrap()), (false, None));
    }
    let path = folder.join("png-grey16.png");
    let error = decode_bytes(&fs::read(&path).unwrap(), &path, "10".parse().unwrap()).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot decode image {}", path.display()));
    assert!(format!("{error:#}").contains(", but 10 bits, up to 1023, are assumed"), "{error:#}");
}

#[test]
fn formats_are_known_by_their_first_bytes() {
    for (start, format) in [
        (&b"II+\0"[..], Some(ImageFormat::Tiff)),
        (b"MM\0+", Some(ImageFormat::Tiff)),
        (b"II*\0", Some(ImageFormat::Tiff)),
        (b"MM\0*", Some(ImageFormat::Tiff)),
        (b"BM", Some(ImageFormat::Bmp)),
        (b"\xff\xd8\xff", Some(ImageFormat::Jpeg)),
        (b"P5", Some(ImageFormat::Pnm)),
        (b"II+", None),
        (b"", None),
    ] {
        assert_eq!(format_of(start), format, "{start:?}");
    }
    assert_eq!(EXTENSIONS, ["bmp", "jpeg", "jpg", "pbm", "pgm", "png", "ppm", "tif", "tiff", "webp"]);
}

/// The number of significant bits that a file states is used, unless its samples exceed it.
#[test]
fn stated_bits_are_believed_while_samples_fit() {
    let deep = |largest: u16, stated: &[u8]| {
        let picture: ImageBuffer<image::Luma<u16>, _> =
            ImageBuffer::from_fn(4, 2, |x, _| image::Luma([if x == 2 { largest } else { 3 }]));
        // Colour states three numbers, grey one.
        let coloured = |grey: &image::Luma<u16>| Rgb([grey.0[0], 1, 2]);
        let picture: DynamicImage = match stated.len() {
            3 => ImageBuffer::from_fn(4, 2, |x, y| coloured(picture.get_pixel(x, y))).into(),
            _ => DynamicImage::from(picture),
        };
        let mut bytes = encode(&picture, ImageFormat::Png);
        if !stated.is_empty() {
            bytes.splice(33..33, chunk(b"sBIT", stated));
        }
        bits_in_bytes(&bytes, Path::new("x")).unwrap().bits()
    };
    assert_eq!([900, 1024, 4095, 5000, 60_000].map(|largest| deep(largest, &[])), [10, 12, 12, 14, 16]);
    assert_eq!([8, 10, 11, 13, 16].map(|stated| deep(200, &[stated])), [10, 10, 12, 14, 16]);
    assert_eq!((deep(1023, &[10]), deep(1024, &[10]), deep(900, &[0])), (10, 16, 10));
    // The largest of the channels' numbers, whichever it is; what no sample can have is ignored.
    let several = [&[13, 10, 9][..], &[9, 10, 13], &[9, 13, 10]].map(|stated| deep(4000, stated));
    assert_eq!(several, [14; 3]);
    assert_eq!((deep(200, &[17]), deep(5000, &[9, 12, 11])), (10, 16));
}

/// The bits in use are those of all samples, so the whole file is read.
#[test]
fn bits_in_use_of_a_torn_file_are_not_known() {
    let pixels = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pixels");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("torn.png");
    let bytes = fs::read(pixels.join("png-grey16-of-12.png")).unwrap();
    let length = bytes.len() - 20;
    fs::write(&path, &bytes[..length]).unwrap();
    assert!(read_header(&path).unwrap().sixteen);
    let expected = format!(
        "cannot decode image {}: truncated: the file ends after {length} bytes, before the image does",
        path.display()
    );
    assert_eq!(format!("{:#}", bits_in_use(&path).unwrap_err()), expected);
    assert_eq!(format!("{:#}", bits_in_bytes(&bytes[..length], &path).unwrap_err()), expected);
    assert_eq!(bits_in_bytes(&bytes, &path).unwrap().bits(), 12);
    let missing = folder.path().join("none.png");
    let error = format!("{:#}", bits_in_use(&missing).unwrap_err());
    assert!(error.starts_with(&format!("cannot read image {}: ", missing.display())), "{error}");
}
