use std::{fs, path::Path};

use image::{Rgb, codecs::jpeg::JpegEncoder};

use super::{coded::check, segments::number, *};

fn encoded(width: u32, height: u32, quality: u8) -> Vec<u8> {
    // Waves, and noise in every block.
    let picture = RgbImage::from_fn(width, height, |x, y| {
        let noise = (x * 7919 + y * 104_729) % 31;
        Rgb([(4 * x + noise) as u8, (3 * y + 2 * noise) as u8, (x * y / 16 + noise) as u8])
    });
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(&picture).unwrap();
    bytes
}

/// Files of every supported kind, with their names.
fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pixels");
    let list = fs::read_to_string(folder.join("list.txt")).unwrap();
    let names = list.lines().filter_map(|line| line.split(' ').next()).filter(|name| name.ends_with(".jpg"));
    names.map(|name| (name.to_owned(), fs::read(folder.join(name)).unwrap())).collect()
}

fn progressive() -> Vec<(String, Vec<u8>)> {
    fixtures()
        .into_iter()
        .filter(|(name, _)| name.contains("progressive") || name.contains("script"))
        .collect()
}

/// Position where the coded data of the first scan begin.
fn data(bytes: &[u8]) -> usize {
    let scan = bytes.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
    scan + 2 + number(&bytes[scan + 2..])
}

fn complaint(bytes: &[u8]) -> String {
    let said = |is_checked| if is_checked { "nothing" } else { "not looked at" }.to_owned();
    check(bytes).map_or_else(|error| error.to_string(), said)
}

#[test]
fn sound_files_pass() {
    let files = fixtures();
    assert!(files.len() > 60 && progressive().len() > 15, "{}", files.len());
    for (name, bytes) in files {
        assert_eq!(complaint(&bytes), "nothing", "{name}");
        let end = bytes.len() - 2;
        for (what, around) in [
            ("data behind it", [&bytes, &b"more"[..]].concat()),
            ("another file behind it", [&bytes[..], &bytes].concat()),
            ("fill bytes", [&bytes[..end], &[0xff; 5], &[0xd9]].concat()),
            ("filled up to whole words", [&bytes[..end], &[0, 0, 0xff, 0xd9]].concat()),
        ] {
            assert_eq!(complaint(&around), "nothing", "{name}, {what}");
        }
    }
    for side in 1..70 {
        for (width, height) in [(side, 1), (side, side), (70 - side, side)] {
            let bytes = encoded(width, height, (side + 30) as u8);
            assert_eq!(complaint(&bytes), "nothing", "{width} x {height}");
        }
    }
    for quality in 1..=100 {
        assert_eq!(complaint(&encoded(33, 17, quality)), "nothing", "quality {quality}");
    }
}

#[test]
fn frames_of_motion_jpeg_pass_without_tables() {
    let bytes = encoded(40, 24, 75);
    let mut bare = [&bytes[..2], b"\xff\xe0\0\x10AVI1\0\0\0\0\0\0\0\0\0\0"].concat();
    let mut tables = 0;
    for (marker, segment) in Segments::of(&bytes) {
        match marker {
            0xc4 => tables += 1,
            0xe0 => {}
            _ => {
                bare.extend([0xff, marker]);
                bare.extend(((segment.len() + 2) as u16).to_be_bytes());
                bare.extend(segment);
            }
        }
    }
    assert!(tables > 0, "the encoder wrote tables");
    bare.extend(&bytes[data(&bytes)..]);
    assert_eq!(complaint(&bare), "nothing");
    assert_eq!(read(&bare).unwrap(), read(&bytes).unwrap());
    bare.drain(bare.len() - 40..bare.len() - 2);
    assert!(complaint(&bare).contains("should have"), "{}", complaint(&bare));
}

/// A file that is truncated anywhere, with an end marker that makes decoders consider it complete.
#[test]
fn a_cut_that_has_an_end_is_seen() {
    let baseline = ("baseline".to_owned(), encoded(96, 64, 85));
    for (name, bytes) in [baseline].into_iter().chain(fixtures()) {
        // A prime step, so that positions differ between files.
        let step = if bytes.len() > 4000 { 89 } else { 19 };
        // The last bytes may belong to the last block or to padding.
        for length in (data(&bytes)..bytes.len() - 6).step_by(step) {
            let cut = [&bytes[..length], &[0xff, 0xd9]].concat();
            let told = complaint(&cut);
            // Scans may be missing: a file that ends between two scans is complete.
            let is_marker = |at: usize| bytes[at] == 0xff && bytes[at + 1] != 0;
            if name.contains("spectral") && (is_marker(length) || is_marker(length - 1)) {
                continue;
            }
            assert!(told.starts_with("damaged: "), "{name} cut at {length} of {}: {told}", bytes.len());
            assert!(told.ends_with("(--on-bad-image skip)"), "{told}");
        }
    }
}

#[test]
fn zeros_and_noise_are_seen() {
    let mut files = vec![("baseline 60".to_owned(), encoded(256, 192, 60))];
    files.push(("baseline 90".to_owned(), encoded(256, 192, 90)));
    files.extend(progressive());
    let [mut tried, mut halves, mut zeros, mut noise, mut holes] = [0; 5];
    for (_, bytes) in &files {
        let (begin, end) = (data(bytes), bytes.len() - 2);
        let mut half = bytes.clone();
        half[bytes.len() / 2..end].fill(0);
        halves += usize::from(check(&half).is_ok());
        let sector = (end - begin) / 8;
        for at in (begin..end - sector).step_by(sector / 4 + 1) {
            tried += 1;
            let mut damaged = bytes.clone();
            damaged[at..at + sector].fill(0);
            zeros += usize::from(check(&damaged).is_ok());
            let random = |place: usize| (place.wrapping_mul(place).wrapping_mul(2_654_435_761) >> 7) as u8;
            (at..at + sector).for_each(|place| damaged[place] = random(place));
            noise += usize::from(check(&damaged).is_ok());
            damaged.drain(at..at + sector);
            holes += usize::from(check(&damaged).is_ok());
        }
    }
    assert!(tried > 500, "{tried}");
    assert_eq!((halves, zeros), (0, 0), "of {} and {tried}", files.len());
    // Noise may happen to have the right number of blocks.
    assert!(noise + holes < tried / 100, "{noise} and {holes} of {tried}");
}

/// Changed bits inside a number alter a pixel but no code; most other changes are detected.
#[test]
fn many_changed_bits_are_seen() {
    let bytes = encoded(256, 192, 75);
    let (mut tried, mut seen) = (0, 0);
    for at in (data(&bytes)..bytes.len() - 200).step_by(37) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        tried += 1;
        seen += usize::from(check(&damaged).is_err());
    }
    assert!(tried > 300 && 4 * seen > tried, "{seen} of {tried}");
}

#[test]
fn a_head_of_another_picture_is_seen() {
    let bytes = encoded(64, 48, 80);
    let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    // Height and width, and the sampling of a component.
    for (place, value, told) in [
        (frame + 6, 40, "bytes are left over"),
        (frame + 6, 56, "its data end"),
        (frame + 8, 56, "bytes are left over"),
        (frame + 8, 72, "its data end"),
        (frame + 11, 0x22, "after"),
    ] {
        let mut damaged = bytes.clone();
        assert_ne!(damaged[place], value);
        damaged[place] = value;
        assert!(complaint(&damaged).contains(told), "{}", complaint(&damaged));
    }
    let mut two = bytes.clone();
    let segment = bytes[frame..frame + 2 + number(&bytes[frame + 2..])].to_vec();
    two.splice(frame..frame, segment);
    assert!(complaint(&two).starts_with("damaged: two pictures"), "{}", complaint(&two));
}

/// The usual decoder searches for the next marker, and continues with the tables that it has.
#[test]
fn a_segment_that_lost_bytes_is_seen() {
    let bytes = encoded(64, 48, 80);
    let place = |marker: u8| bytes.windows(2).position(|pair| pair == [0xff, marker]).unwrap();
    for marker in [0xc4, 0xdb] {
        let mut shorter = bytes.clone();
        shorter.drain(place(marker) + 20..place(marker) + 25);
        assert!(read(&shorter).is_err(), "{marker:x}");
        let mut longer = bytes.clone();
        let end = place(marker) + 2 + number(&bytes[place(marker) + 2..]);
        longer.splice(end..end, [7; 5]);
        assert!(complaint(&longer).contains("expected a segment at byte"), "{}", complaint(&longer));
    }
    // A damaged sample precision, which a decoder may not check.
    let mut twelve = bytes.clone();
    twelve[place(0xc0) + 4] = 12;
    assert_eq!(complaint(&twelve), "not looked at");
    assert!(read(&twelve).is_err());
    // A segment of an unknown kind does not describe the picture.
    let mut unknown = bytes.clone();
    unknown.splice(2..2, [0xff, 0xf1, 0, 4, 1, 2]);
    assert_eq!(complaint(&unknown), "nothing");
    assert_eq!(read(&unknown).unwrap(), read(&bytes).unwrap());
}

#[test]
fn restarts_come_in_turn() {
    for (name, bytes) in fixtures().into_iter().filter(|(name, _)| name.contains("restart")) {
        let begin = data(&bytes);
        let is_restart = |pair: &[u8]| pair[0] == 0xff && bits::is_restart(pair[1]);
        let restarts: Vec<usize> = bytes
            .windows(2)
            .enumerate()
            .skip(begin)
            .filter(|(_, pair)| is_restart(pair))
            .map(|(at, _)| at)
            .collect();
        assert!(!restarts.is_empty(), "{name}");
        for at in restarts {
            let mut other = bytes.clone();
            other[at + 1] ^= 3;
            assert!(
                complaint(&other).contains("an unexpected restart follows"),
                "{name}: {}",
                complaint(&other)
            );
            let mut none = bytes.clone();
            none.drain(at..at + 2);
            assert!(complaint(&none).starts_with("damaged: "), "{name}");
        }
    }
}

#[test]
fn scans_that_lack_are_seen() {
    for (name, bytes) in progressive() {
        let scans: Vec<usize> = bytes
            .windows(2)
            .enumerate()
            .filter(|(_, pair)| *pair == [0xff, 0xda])
            .map(|(at, _)| at)
            .collect();
        let (Some(last), Some(before)) = (scans.last(), scans.iter().rev().nth(1)) else { panic!("{name}") };
        // Without its last scan, a picture coded bit by bit lacks the last bits of some coefficients.
        let shorter = [&bytes[..*last], &[0xff, 0xd9]].concat();
        if !name.contains("spectral") {
            assert!(complaint(&shorter).contains("before it is complete"), "{name}: {}", complaint(&shorter));
        }
        // The scan before cannot be missing either: the last one continues where it ended, or tables are missing.
        let other = [&bytes[..*before], &bytes[*last..]].concat();
        if !name.contains("spectral") {
            assert!(complaint(&other).starts_with("damaged: "), "{name}: {}", complaint(&other));
        }
    }
}

/// Besides its output, decoding takes two bytes per coefficient for progressive files, and four bytes per sample (two
/// of them for its coefficient) for files that jpeg-decoder reads.
#[test]
fn heads_say_what_decoding_takes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pixels");
    for (name, given, beside) in [
        ("jpeg-2x2.jpg", 3, 0),
        ("jpeg-2x2-progressive.jpg", 3, 6),
        ("jpeg-2x2-scans.jpg", 3, 12),
        ("jpeg-grey-1x1.jpg", 1, 0),
        ("jpeg-grey-progressive.jpg", 1, 2),
        ("jpeg-cmyk-progressive.jpg", 3, 8),
    ] {
        let room = head(&fs::read(folder.join(name)).unwrap()).unwrap().room();
        assert_eq!((room.given, room.beside), (given, beside), "{name}");
    }
}

#[test]
fn a_file_without_a_picture_is_not_looked_at() {
    assert_eq!(complaint(&[0xff, 0xd8, 0xff, 0xd9]), "not looked at");
    assert!(read(&[0xff, 0xd8, 0xff, 0xd9]).is_err());
    assert!(head(&[0xff, 0xd8, 0xff, 0xd9]).is_err());
}

/// Up to three bytes between the last block and the end are a camera's padding; more are damage.
#[test]
fn three_bytes_fill_up_and_four_are_left_over() {
    let bytes = encoded(64, 48, 80);
    let end = bytes.len() - 2;
    for (count, told) in [(1, "nothing"), (3, "nothing")] {
        let filled = [&bytes[..end], &vec![0x55; count], &bytes[end..]].concat();
        assert_eq!(complaint(&filled), told, "{count}");
    }
    let filled = [&bytes[..end], &[0x55; 4], &bytes[end..]].concat();
    let blocks = 3 * 8 * 6;
    let told = format!(
        "damaged: scan 1 should have {blocks} blocks, and after {blocks} of them 4 bytes are left over; get the file again, \
         or leave such files out (--on-bad-image skip)"
    );
    assert_eq!(complaint(&filled), told);
}

/// A part that ends before its restart has lost its place: what is left over there is no padding.
#[test]
fn nothing_is_left_over_before_a_restart() {
    let (name, bytes) = fixtures().into_iter().find(|(name, _)| name.contains("restart")).unwrap();
    let is_restart = |pair: &[u8]| pair[0] == 0xff && bits::is_restart(pair[1]);
    let at = data(&bytes) + bytes[data(&bytes)..].windows(2).position(is_restart).unwrap();
    for count in [1, 3, 4] {
        let longer = [&bytes[..at], &vec![0x55; count], &bytes[at..]].concat();
        let told = complaint(&longer);
        assert!(told.starts_with("damaged: scan 1 should have "), "{name}: {told}");
        assert!(told.contains(&format!(" {count} bytes are left over")), "{name}: {told}");
    }
}

/// The header has size and number of components of the frame, and the first of two EXIF segments.
#[test]
fn a_head_is_that_of_the_frame() {
    let mut bytes = encoded(40, 24, 75);
    let exif = |byte| [&[0xff, 0xe1, 0, 10][..], b"Exif\0\0", &[byte, byte]].concat();
    bytes.splice(2..2, [exif(7), exif(8)].concat());
    let found = head(&bytes).unwrap();
    assert_eq!((found.width, found.height, found.components), (40, 24, 3));
    assert_eq!(found.exif, Some(vec![7, 7]));
    assert!(found.usual && !found.keeps);
    // Sampling factors of luma and of two chroma components, the horizontal ones in the upper four bits.
    for (sampling, is_usual) in [
        (&[0x22, 0x11, 0x11][..], true),
        (&[0x41, 0x21, 0x11], true),
        (&[0x22, 0x22, 0x22], true),
        (&[0x31, 0x11, 0x11], false),
        (&[0x11, 0x21, 0x11], false),
        (&[0x11, 0x12, 0x11], false),
        (&[0x21, 0x11, 0x12], false),
        (&[0x31], true),
        (&[], true),
        (&[0x22, 0x01], false),
    ] {
        assert_eq!(is_usually_sampled(sampling), is_usual, "{sampling:x?}");
    }
}

#[test]
fn tables_and_scans_that_do_not_belong_are_seen() {
    let bytes = encoded(64, 48, 80);
    let place = |marker: u8| bytes.windows(2).position(|pair| pair == [0xff, marker]).unwrap();
    // The name of the first component of the scan.
    let mut other = bytes.clone();
    other[place(0xda) + 5] = 77;
    assert!(
        complaint(&other).starts_with("damaged: scan 1 does not belong to this picture"),
        "{}",
        complaint(&other)
    );
    // A table with 63 of 64 steps, a table with three codes of one bit, and tables of nonexistent kinds.
    for (segment, told) in [
        ([&[0xff, 0xdb, 0, 66, 0][..], &[1; 63]].concat(), "damaged: a table of quantisation steps is cut"),
        (
            [&[0xff, 0xc4, 0, 22, 0, 3][..], &[0; 15], &[1, 2, 3]].concat(),
            "damaged: a Huffman table is invalid",
        ),
        ([&[0xff, 0xc4, 0, 20, 0x20, 1][..], &[0; 15], &[1]].concat(), "damaged: a Huffman table is invalid"),
        ([&[0xff, 0xc4, 0, 20, 0x04, 1][..], &[0; 15], &[1]].concat(), "damaged: a Huffman table is invalid"),
    ] {
        let mut with = bytes.clone();
        with.splice(2..2, segment);
        assert!(complaint(&with).starts_with(told), "{}", complaint(&with));
    }
    let wide = [&[0xff, 0xdb, 0, 131, 0x12][..], &[1; 128]].concat();
    let mut with = bytes.clone();
    with.splice(2..2, wide);
    assert_eq!(complaint(&with), "nothing", "steps of two bytes, for no component");
}

/// Some programs write a restart behind the last block, or state an interval in one byte.
#[test]
fn a_restart_at_the_end_needs_nothing_behind_it() {
    let bytes = encoded(64, 48, 80);
    let end = bytes.len() - 2;
    let with = |behind: &[u8]| complaint(&[&bytes[..end], &[0xff, 0xd0], behind, &bytes[end..]].concat());
    assert_eq!(with(&[]), "nothing");
    let blocks = 3 * 8 * 6;
    let told = format!(
        "damaged: scan 1 should have {blocks} blocks, and after {blocks} of them 2 bytes are left over"
    );
    assert!(with(&[1, 2]).starts_with(&told), "{}", with(&[1, 2]));
    for interval in [&[0xff, 0xdd, 0, 3, 9][..], &[0xff, 0xdd, 0, 2], &[0xff, 0xdd, 0, 4, 0, 0]] {
        let mut stated = bytes.clone();
        stated.splice(2..2, interval.iter().copied());
        assert_eq!(complaint(&stated), "nothing", "{interval:?}");
    }
    let mut other = bytes;
    other.splice(2..2, [0xff, 0xdd, 0, 4, 0, 7]);
    assert!(complaint(&other).contains("and after 21 of them "), "{}", complaint(&other));
}

#[test]
fn a_scan_that_states_too_little_or_comes_before_the_picture_is_seen() {
    let bytes = encoded(64, 48, 80);
    let scan = bytes.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
    // Four components in a segment that has room for three and the band.
    let mut cut = bytes.clone();
    cut[scan + 4] = 4;
    assert!(
        complaint(&cut).starts_with("damaged: scan 1 does not belong to this picture"),
        "{}",
        complaint(&cut)
    );
    let early = [&bytes[..2], &bytes[scan..]].concat();
    assert_eq!(complaint(&early), "not looked at");
    // Two codes of one bit leave no code of twelve bits.
    let mut full = bytes.clone();
    let counts = [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    full.splice(2..2, [&[0xff, 0xc4, 0, 22, 0][..], &counts, &[1, 2, 3]].concat());
    assert!(complaint(&full).starts_with("damaged: a Huffman table is invalid"), "{}", complaint(&full));
}

/// Any number of fill bytes may precede a marker; what follows the first scan is no head.
#[test]
fn a_head_lies_before_the_scan_and_behind_fill_bytes() {
    let bytes = encoded(40, 24, 75);
    for count in 1..5 {
        let mut filled = bytes.clone();
        filled.splice(2..2, vec![0xff; count]);
        let found = head(&filled).unwrap();
        assert_eq!((found.width, found.height), (40, 24), "{count}");
        assert!(is_complete(&filled) && !is_complete(&filled[..filled.len() - 2]), "{count}");
    }
    let scan = bytes.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
    let late = [&bytes[..2], &bytes[scan..bytes.len() - 2], &bytes[2..]].concat();
    let error = head(&late).err().unwrap().to_string();
    assert_eq!(error, "expected the image's size in the JPEG header, found none");
    // The last interval of restarts counts.
    let mut stated = bytes;
    stated.splice(2..2, [0xff, 0xdd, 0, 4, 0, 7, 0xff, 0xdd, 0, 4, 0, 0]);
    assert_eq!(complaint(&stated), "nothing");
}

/// Replaces all segments of a kind by one with these bytes.
fn with_one(bytes: &[u8], marker: u8, segment: &[u8]) -> Vec<u8> {
    let place = |bytes: &[u8]| bytes.windows(2).position(|pair| pair == [0xff, marker]);
    let mut other = bytes.to_vec();
    let first = place(&other).unwrap();
    while let Some(at) = place(&other) {
        let length = number(&other[at + 2..]);
        other.drain(at..at + 2 + length);
    }
    let length = (segment.len() as u16 + 2).to_be_bytes();
    other.splice(first..first, [&[0xff, marker][..], &length, segment].concat());
    other
}

fn segments(bytes: &[u8], wanted: u8) -> Vec<&[u8]> {
    Segments::of(bytes).filter(|(marker, _)| *marker == wanted).map(|(_, segment)| segment).collect()
}

/// Cameras write all Huffman tables into one segment. These are not the standard ones.
#[test]
fn every_huffman_table_of_a_segment_counts() {
    for wanted in ["jpeg-2x2-optimised.jpg", "jpeg-1x1-optimised.jpg"] {
        let (name, bytes) = fixtures().into_iter().find(|(name, _)| name == wanted).unwrap();
        let tables = segments(&bytes, 0xc4);
        assert_eq!(tables.len(), 4, "{name}");
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
            let one = with_one(&bytes, 0xc4, &order.map(|place| tables[place]).concat());
            assert_eq!(complaint(&one), "nothing", "{name}, {order:?}");
            assert_eq!(read(&one).unwrap(), read(&bytes).unwrap(), "{name}, {order:?}");
        }
    }
}

/// One segment may hold several tables, of one or two bytes a step (high byte first).
#[test]
fn every_table_of_a_segment_counts_also_behind_one_of_two_bytes() {
    let bytes = encoded(64, 48, 80);
    let tables = segments(&bytes, 0xdb);
    let [luma, chroma] = tables[..] else { panic!("{} tables", tables.len()) };
    assert_eq!((luma.len(), chroma.len(), luma[0], chroma[0]), (65, 65, 0, 1));
    let wide = |table: &[u8], times: u16| {
        let steps = table[1..].iter().flat_map(|&step| (times * u16::from(step)).to_be_bytes());
        std::iter::once(0x10 | table[0]).chain(steps).collect::<Vec<u8>>()
    };
    for sound in [[wide(luma, 1), chroma.to_vec()], [wide(chroma, 1), luma.to_vec()]] {
        let other = with_one(&bytes, 0xdb, &sound.concat());
        assert_eq!(complaint(&other), "nothing");
        assert_eq!(read(&other).unwrap(), read(&bytes).unwrap());
    }
    let coarse = [&[0][..], &[255; 64]].concat();
    for damaged in
        [[wide(chroma, 1), coarse.clone()], [coarse, wide(chroma, 1)], [wide(luma, 99), chroma.to_vec()]]
    {
        let told = complaint(&with_one(&bytes, 0xdb, &damaged.concat()));
        assert!(told.contains("there is an impossible value"), "{told}");
    }
}

/// Positions of the markers that begin scans.
fn scans(bytes: &[u8]) -> Vec<usize> {
    (0..bytes.len() - 1).filter(|&at| bytes[at..at + 2] == [0xff, 0xda]).collect()
}

/// A restart interval holds from where it is stated, also between two scans.
#[test]
fn an_interval_stated_between_scans_holds_for_the_next_one() {
    let files: Vec<_> = fixtures()
        .into_iter()
        .filter(|(name, _)| name.ends_with("-scans.jpg") && !name.contains("size"))
        .collect();
    assert!(files.len() > 10);
    for (name, bytes) in files {
        let at = scans(&bytes)[1];
        for (interval, told) in [(1, "damaged: scan 2 should have"), (0, "nothing")] {
            let mut stated = bytes.clone();
            stated.splice(at..at, [0xff, 0xdd, 0, 4, 0, interval]);
            let found = complaint(&stated);
            assert!(found.starts_with(told), "{name}, {interval}: {found}");
        }
    }
}

/// Each component has a scan of its own: without the last one, or the one before, a colour is missing.
#[test]
fn a_picture_without_the_scan_of_a_colour_is_not_complete() {
    let files: Vec<_> = fixtures().into_iter().filter(|(name, _)| name.ends_with("-scans.jpg")).collect();
    assert!(files.len() > 10);
    for (name, bytes) in files {
        let [_, second, third] = scans(&bytes)[..] else { panic!("{name}") };
        let told = complaint(&[&bytes[..third], &[0xff, 0xd9]].concat());
        let expected = "damaged: the image ends after 2 scans, before it is complete";
        assert!(told.starts_with(expected), "{name}: {told}");
        let told = complaint(&[&bytes[..second], &bytes[third..]].concat());
        assert!(told.starts_with("damaged: "), "{name}: {told}");
    }
}

/// A marker 0 with an empty segment stops the check, while the second decoder skips it: the file is refused.
#[test]
fn what_a_decoder_reads_but_the_check_does_not_is_refused() {
    let (_, bytes) = fixtures().into_iter().find(|(name, _)| name == "jpeg-2x2-scans.jpg").unwrap();
    let mut strange = bytes.clone();
    strange.splice(2..2, [0xff, 0, 0, 2]);
    assert_eq!(complaint(&strange), "not looked at");
    assert!(!is_usual(&strange));
    assert_eq!(read_unusual(&strange).unwrap(), read(&bytes).unwrap(), "the decoder finds nothing wrong");
    assert_eq!(read(&strange).unwrap_err().to_string(), coded::UNCHECKED);
}
