//! Progressive files that are written bit by bit, and fixtures of which one part is changed.

use std::{fs, ops::Range, path::Path};

use super::{Segments, coded::check, read};

/// What the check says about a file, without its advice.
fn complaint(bytes: &[u8]) -> String {
    let said = |is_checked| if is_checked { "nothing" } else { "not looked at" }.to_owned();
    check(bytes).map_or_else(|error| error.to_string().split("; get").next().unwrap_or("").to_owned(), said)
}

/// Bytes of these digits, filled up with ones; a byte of ones is escaped.
fn packed(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(|digit| *digit != b' ').collect();
    let byte =
        |eight: &[u8]| (0..8).fold(0_u8, |byte, place| byte << 1 | u8::from(eight.get(place) != Some(&b'0')));
    let escaped = |byte: u8| std::iter::once(byte).chain((byte == 0xff).then_some(0));
    digits.chunks(8).map(byte).flat_map(escaped).collect()
}

fn segment(marker: u8, content: &[u8]) -> Vec<u8> {
    [&[0xff, marker][..], &(content.len() as u16 + 2).to_be_bytes(), content].concat()
}

/// First and last coefficient of a scan, its bits before and behind (as in the file), and its digits; `/` is a
/// restart.
type Scan<'a> = (u8, u8, u8, &'a str);

/// A grey file of one row of blocks. A first (DC) coefficient of zero has the code `0`. Codes of the others have four
/// digits: the n-th symbol has the code n.
fn file(blocks: u16, interval: u16, scans: &[Scan]) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8];
    bytes.extend(segment(0xdb, &[&[0][..], &[1; 64]].concat()));
    bytes.extend(segment(0xc2, &[&[8, 0, 8][..], &(8 * blocks).to_be_bytes(), &[1, 1, 0x11, 0]].concat()));
    bytes.extend(segment(0xdd, &interval.to_be_bytes()));
    bytes.extend(segment(0xc4, &[&[0, 1][..], &[0; 15], &[0]].concat()));
    let symbols = [0x00, 0x01, 0x02, 0x11, 0xf0, 0xe1, 0x20, 0xf1, 0x10, 0x30];
    bytes.extend(segment(0xc4, &[&[0x10, 0, 0, 0, 10][..], &[0; 12], &symbols].concat()));
    for &(from, to, bits, digits) in scans {
        bytes.extend(segment(0xda, &[1, 1, 0, from, to, bits]));
        for (number, part) in (0..).zip(digits.split('/')) {
            if number > 0 {
                bytes.extend([0xff, 0xd0 + (number - 1) % 8]);
            }
            bytes.extend(packed(part));
        }
    }
    [bytes, vec![0xff, 0xd9]].concat()
}

const DC: &str = "0000000000";

/// A scan of three blocks, which follows one of their first coefficients: its digits, with restarts after every second
/// block or without; expected is what is said after the number of blocks.
#[test]
fn runs_of_empty_blocks_end_with_the_blocks_or_before_a_restart() {
    let (code, short) = ("there are bits that are not a Huffman code", "its data end");
    let many = "there are too many empty blocks";
    for (interval, digits, told) in [
        // Three at once; two and one; one, and two whose last one has a coefficient before it.
        (0, "1000 1", None),
        (0, "1000 0 0000", None),
        (0, "0000 0001 1 1000 0", None),
        (0, "0000 1000 1", Some((3, many))),
        (0, "1001 000", Some((3, many))),
        (0, "0001 1 1000 1 0000", None),
        (0, "0000 0001 1 1000 1", Some((3, many))),
        (0, "1000 0", Some((2, code))),
        (0, "0000 0000", Some((2, short))),
        (0, "", Some((0, short))),
        (2, "1000 0/0000", None),
        (2, "0000 0000/0000", None),
        (2, "1000 1/0000", Some((2, many))),
        (2, "1000 0/1000 0", Some((3, many))),
        (2, "0000/1000 0", Some((1, code))),
        (2, "0000 0000", Some((2, short))),
    ] {
        let first = if interval == 0 { "000" } else { "00/0" };
        let found = complaint(&file(3, interval, &[(0, 0, 0, first), (1, 5, 0, digits)]));
        let expected = told.map_or("nothing".to_owned(), |(blocks, what)| {
            format!("damaged: scan 2 should have 3 blocks, and after {blocks} of them {what}")
        });
        assert_eq!(found, expected, "{digits}, restarts {interval}");
    }
}

/// Nine of ten blocks have a coefficient whose last bit comes in the third scan, behind a run of ten empty blocks.
#[test]
fn bits_of_known_coefficients_are_counted_also_in_empty_blocks() {
    let known = format!("0000{}", "0001 1 0000".repeat(9));
    for (digits, told) in [
        ("1001 010 111111111", None),
        ("1001 010 1", Some((2, "its data end"))),
        ("1001 011 111111111", Some((10, "there are too many empty blocks"))),
        ("1001 001 1111 1111 0000 1", None),
        ("1001 000 1111111 1000 0 11", None),
        ("1001 000 1111111 0000 1 1000 0 1", Some((10, "there are too many empty blocks"))),
    ] {
        let found = complaint(&file(10, 0, &[(0, 0, 0, DC), (1, 5, 0x01, &known), (1, 5, 0x10, digits)]));
        let expected = told.map_or("nothing".to_owned(), |(blocks, what)| {
            format!("damaged: scan 3 should have 10 blocks, and after {blocks} of them {what}")
        });
        assert_eq!(found, expected, "{digits}");
    }
}

#[test]
fn each_first_coefficient_has_one_bit_more_in_a_later_scan() {
    for (digits, told) in [
        ("0101 0101 01", "nothing"),
        ("0101 0101", "damaged: scan 2 should have 10 blocks, and after 8 of them its data end"),
        ("", "damaged: scan 2 should have 10 blocks, and after 0 of them its data end"),
    ] {
        assert_eq!(complaint(&file(10, 0, &[(0, 0, 0x01, DC), (0, 0, 0x10, digits)])), told, "{digits}");
    }
}

/// Scans behind the one of first coefficients, and what is said about them.
#[test]
fn a_scan_has_the_bits_that_should_follow() {
    let none = "1000 1";
    let again = |scan: usize| format!("damaged: scan {scan} does not continue the scans before it");
    let ends = |scans: usize| format!("damaged: the image ends after {scans} scans, before it is complete");
    for (scans, told) in [
        (&[(1, 5, 0x02, none), (1, 5, 0x21, none), (1, 5, 0x10, none)][..], "nothing".to_owned()),
        (&[(1, 5, 0x02, none), (1, 5, 0x21, none)], ends(3)),
        (&[(1, 5, 0x01, none)], ends(2)),
        (&[(1, 5, 0x10, none)], again(2)),
        (&[(0, 0, 0x00, "000")], again(2)),
        (&[(1, 5, 0x00, none), (1, 5, 0x00, none)], again(3)),
        (&[(1, 5, 0x02, none), (1, 5, 0x10, none)], again(3)),
        (&[(1, 3, 0x01, none), (1, 5, 0x10, none)], again(3)),
        (&[(1, 3, 0x01, none), (3, 5, 0x01, none)], again(3)),
        (&[(1, 3, 0x01, none), (4, 5, 0x00, none), (2, 3, 0x10, none)], ends(4)),
        (&[(1, 3, 0x01, none), (4, 5, 0x00, none), (1, 3, 0x10, none)], "nothing".to_owned()),
    ] {
        let all = [&[(0, 0, 0, "000")][..], scans].concat();
        assert_eq!(complaint(&file(3, 0, &all)), told, "{scans:?}");
    }
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pixels").join(name)).unwrap()
}

/// The places of the segments of a file.
fn places(bytes: &[u8]) -> Vec<(u8, Range<usize>)> {
    let begin = |segment: &[u8]| segment.as_ptr() as usize - bytes.as_ptr() as usize;
    Segments::of(bytes).map(|(marker, of)| (marker, begin(of)..begin(of) + of.len())).collect()
}

/// The last bytes of a scan are missing, and all other scans are whole.
#[test]
fn a_tear_in_any_scan_is_seen() {
    let mut torn = 0;
    for name in [
        "jpeg-2x2-progressive.jpg",
        "jpeg-1x1-script-full.jpg",
        "jpeg-2x2-script-full.jpg",
        "jpeg-1x2-scans.jpg",
        "jpeg-grey-progressive.jpg",
        "jpeg-2x2-script-spectral.jpg",
    ] {
        let bytes = fixture(name);
        let scans = places(&bytes).into_iter().filter(|(marker, _)| *marker == 0xda);
        for (number, (_, head)) in (1..).zip(scans) {
            let end = super::bits::end_of_scan(&bytes, head.end).at;
            for lost in [2, (end - head.end) / 2, end - head.end].into_iter().filter(|lost| *lost > 1) {
                let other = [&bytes[..end - lost], &bytes[end..]].concat();
                let told = complaint(&other);
                assert!(
                    told.starts_with(&format!("damaged: scan {number} should have ")),
                    "{name}, scan {number} without {lost} bytes: {told}"
                );
                torn += 1;
            }
        }
    }
    assert!(torn > 80, "{torn}");
}

/// Tables have numbers from 0 to 3, of which programs use the first two: here they are 3 and 2.
#[test]
fn tables_may_have_any_of_four_numbers() {
    for name in ["jpeg-2x2-progressive.jpg", "jpeg-1x1-script-full.jpg", "jpeg-2x2.jpg"] {
        let bytes = fixture(name);
        let mut other = bytes.clone();
        for (marker, place) in places(&bytes) {
            let part = &mut other[place];
            match marker {
                0xc4 => {
                    let mut at = 0;
                    while at < part.len() {
                        part[at] ^= 3;
                        at +=
                            17 + part[at + 1..at + 17].iter().map(|&count| usize::from(count)).sum::<usize>();
                    }
                }
                0xdb => part.iter_mut().step_by(65).for_each(|kind| *kind ^= 3),
                0xc0 | 0xc2 => part.iter_mut().skip(8).step_by(3).for_each(|table| *table ^= 3),
                0xda => {
                    let count = usize::from(part[0]);
                    part[1..=2 * count].iter_mut().skip(1).step_by(2).for_each(|tables| *tables ^= 0x33);
                }
                _ => {}
            }
        }
        assert_ne!(other, bytes);
        assert_eq!(complaint(&other), "nothing", "{name}");
        assert_eq!(read(&other).unwrap(), read(&bytes).unwrap(), "{name}");
    }
}

/// A sequential picture may repeat its scan; a file of endless scans is refused.
#[test]
fn there_are_at_most_256_scans() {
    let bytes = fixture("jpeg-size8x8.jpg");
    let (_, head) = places(&bytes).into_iter().find(|(marker, _)| *marker == 0xda).unwrap();
    let (begin, end) = (head.start - 4, bytes.len() - 2);
    for (times, told) in [(256, "nothing"), (257, "damaged: more than 256 scans")] {
        let other = [&bytes[..begin], &bytes[begin..end].repeat(times), &bytes[end..]].concat();
        assert_eq!(complaint(&other), told, "{times}");
    }
}
