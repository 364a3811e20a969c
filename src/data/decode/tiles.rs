//! TIFF whose pixels are in tiles rather than strips. Tiles at the right and lower edge extend beyond the picture.

use std::path::Path;

use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};
use rstest::rstest;

use super::{SampleBits, decode_bytes, read_header_from_bytes, tests::packed, tiff};

const WIDTH: usize = 70;
/// Three tiles across, two down.
const TILE: [usize; 2] = [32, 16];

/// A kind of file; `planes` means that each sample has tiles of its own.
#[derive(Clone, Copy)]
struct Kind {
    height: usize,
    little: bool,
    bits: usize,
    samples: usize,
    photometric: u16,
    compression: u16,
    planes: bool,
}

/// Grey of 8 bits, uncompressed.
const GREY: Kind =
    Kind { height: 21, little: true, bits: 8, samples: 1, photometric: 1, compression: 1, planes: false };
const PALETTE: u16 = 3;

impl Kind {
    /// A sample of the picture, or what is outside of it.
    fn sample(&self, x: usize, y: usize, channel: usize) -> u16 {
        let value =
            if x < WIDTH && y < self.height { 7 * x + 29 * y + 83 * channel + x * y / 5 } else { 90 + x };
        (value % 241 % (1 << self.bits.min(8))) as u16 * if self.bits == 16 { 257 } else { 1 }
    }

    fn two(&self, number: u16) -> [u8; 2] {
        if self.little { number.to_le_bytes() } else { number.to_be_bytes() }
    }

    fn four(&self, number: u32) -> [u8; 4] {
        if self.little { number.to_le_bytes() } else { number.to_be_bytes() }
    }

    /// The rows of a tile with these samples of each pixel, each beginning with a new byte.
    fn tile(&self, left: usize, top: usize, channels: &[usize]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for y in top..top + TILE[1] {
            let samples = (left..left + TILE[0]).flat_map(|x| channels.iter().map(move |&c| (x, c)));
            let samples: Vec<u16> = samples.map(|(x, channel)| self.sample(x, y, channel)).collect();
            match self.bits {
                16 => samples.iter().for_each(|&sample| bytes.extend(self.two(sample))),
                bits => bytes.extend(samples.chunks(8 / bits).map(|several| {
                    several.iter().fold(0, |byte: u32, &sample| byte << bits | u32::from(sample)) as u8
                })),
            }
        }
        bytes
    }

    fn tiles(&self) -> Vec<Vec<u8>> {
        let all: Vec<usize> = (0..self.samples).collect();
        let planes: Vec<&[usize]> = if self.planes { all.chunks(1).collect() } else { vec![&all[..]] };
        let corners = (0..self.height).step_by(TILE[1]);
        let corners = corners.flat_map(|top| (0..WIDTH).step_by(TILE[0]).map(move |left| (left, top)));
        let corners: Vec<(usize, usize)> = corners.collect();
        planes
            .iter()
            .flat_map(|plane| corners.iter().map(move |&(left, top)| self.tile(left, top, plane)))
            .collect()
    }

    /// The colours of the palette: that of a number in each channel.
    fn colour(number: usize, channel: usize) -> u8 {
        (number * [3, 5, 11][channel] + 40 * channel) as u8
    }

    /// A file with these tiles, one behind the other in reverse.
    fn file(&self, tiles: &[Vec<u8>]) -> Vec<u8> {
        let short = |value: usize| vec![value as u32];
        let colours = 1 << self.bits.min(8);
        let map = (0..3).flat_map(|channel| (0..colours).map(move |number| (number, channel)));
        let map = map.map(|(number, channel)| 257 * u32::from(Self::colour(number, channel))).collect();
        let mut fields: Vec<(u16, u16, Vec<u32>)> = vec![
            (256, 3, short(WIDTH)),
            (257, 3, short(self.height)),
            (258, 3, vec![self.bits as u32; self.samples]),
            (259, 3, short(self.compression.into())),
            (262, 3, short(self.photometric.into())),
            (277, 3, short(self.samples)),
            (284, 3, short(if self.planes { 2 } else { 1 })),
            (320, 3, map),
            (322, 3, short(TILE[0])),
            (323, 3, short(TILE[1])),
            (324, 4, vec![0; tiles.len()]),
            (325, 4, tiles.iter().map(|tile| tile.len() as u32).collect()),
        ];
        fields.retain(|(tag, ..)| *tag != 320 || self.photometric == PALETTE);
        let begin = 8 + 2 + 12 * fields.len() + 4;
        let of_values = |(_, kind, values): &(u16, u16, Vec<u32>)| match (kind, values.len()) {
            (3, 0..=2) | (_, 1) => 0,
            (3, count) => 2 * count,
            (_, count) => 4 * count,
        };
        let mut place = begin + fields.iter().map(of_values).sum::<usize>();
        let mut data = Vec::new();
        for (number, tile) in tiles.iter().enumerate().rev() {
            fields.iter_mut().find(|(tag, ..)| *tag == 324).unwrap().2[number] = place as u32;
            place += tile.len();
            data.extend(tile);
        }
        let start = if self.little { b"II" } else { b"MM" };
        let mut file = [&start[..], &self.two(42), &self.four(8), &self.two(fields.len() as u16)].concat();
        let mut behind = Vec::new();
        for (tag, kind, values) in &fields {
            let one = |&value: &u32| match kind {
                3 => self.two(value as u16).to_vec(),
                _ => self.four(value).to_vec(),
            };
            let mut field: Vec<u8> = values.iter().flat_map(one).collect();
            if field.len() > 4 {
                let at = self.four((begin + behind.len()) as u32).to_vec();
                behind.extend(std::mem::replace(&mut field, at));
            }
            field.resize(4, 0);
            file.extend(
                [&self.two(*tag)[..], &self.two(*kind), &self.four(values.len() as u32), &field].concat(),
            );
        }
        [file, vec![0; 4], behind, data].concat()
    }

    /// The picture as RGB.
    fn expected(&self) -> Vec<u8> {
        let pixels = (0..self.height).flat_map(|y| (0..WIDTH).map(move |x| (x, y)));
        let largest = (1_usize << self.bits) - 1;
        let channel_of = |x, y, channel| {
            let sample = usize::from(self.sample(x, y, if self.samples == 1 { 0 } else { channel }));
            if self.photometric == PALETTE {
                return Self::colour(sample, channel);
            }
            (sample * 255 / largest) as u8
        };
        pixels.flat_map(|(x, y)| [0, 1, 2].map(|channel| channel_of(x, y, channel))).collect()
    }
}

fn pixels(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    decode_bytes(bytes, Path::new("tiled.tif"), SampleBits::ALL).map(|image| image.pixels)
}

#[rstest]
#[case::grey(GREY)]
#[case::grey_big_endian(Kind { little: false, ..GREY })]
#[case::grey_16(Kind { bits: 16, ..GREY })]
#[case::grey_16_big_endian(Kind { bits: 16, little: false, ..GREY })]
#[case::grey_4(Kind { bits: 4, ..GREY })]
#[case::grey_2(Kind { bits: 2, ..GREY })]
#[case::grey_1(Kind { bits: 1, ..GREY })]
#[case::colour(Kind { samples: 3, photometric: 2, ..GREY })]
#[case::colour_16(Kind { samples: 3, photometric: 2, bits: 16, ..GREY })]
#[case::colour_in_planes(Kind { samples: 3, photometric: 2, planes: true, height: 32, ..GREY })]
#[case::colour_compressed(Kind { samples: 3, photometric: 2, compression: 8, ..GREY })]
#[case::palette(Kind { photometric: PALETTE, ..GREY })]
#[case::palette_big_endian(Kind { photometric: PALETTE, little: false, ..GREY })]
#[case::palette_4(Kind { photometric: PALETTE, bits: 4, ..GREY })]
fn tiles_are_put_together(#[case] kind: Kind) {
    let tiles = kind.tiles().into_iter();
    let tiles: Vec<Vec<u8>> =
        tiles.map(|tile| if kind.compression == 8 { packed(&tile) } else { tile }).collect();
    assert_eq!(tiles.len(), if kind.planes { 18 } else { 6 });
    let bytes = kind.file(&tiles);
    let head = read_header_from_bytes(&bytes, Path::new("x")).unwrap();
    assert_eq!((head.width, head.height, head.sixteen), (WIDTH, kind.height, kind.bits == 16));
    let found = pixels(&bytes).unwrap();
    let wrong = found.iter().zip(&kind.expected()).position(|(found, expected)| found != expected);
    assert_eq!((found.len(), wrong), (3 * WIDTH * kind.height, None));
}

/// The first tile is the last in the file.
#[test]
fn a_file_that_lacks_a_part_of_a_tile_is_not_complete() {
    let bytes = GREY.file(&GREY.tiles());
    assert!(tiff::is_complete(&bytes));
    for cut in [1, 100, 512, 513, 3000] {
        let torn = &bytes[..bytes.len() - cut];
        assert!(!tiff::is_complete(torn), "{cut}");
        let error = format!("{:#}", pixels(torn).unwrap_err());
        let expected = format!("truncated: the file ends after {} bytes, before the image does", torn.len());
        assert_eq!(error, format!("cannot decode image tiled.tif: {expected}"));
    }
}

/// Every tile is a JPEG of its own, and every one is checked.
#[test]
fn a_damaged_jpeg_in_any_tile_is_seen() {
    let kind = Kind { compression: 7, ..GREY };
    let encoded = |tile: Vec<u8>| {
        let (mut bytes, [width, height]) = (Vec::new(), TILE.map(|side| side as u32));
        let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 100);
        encoder.encode(&tile, width, height, ExtendedColorType::L8).unwrap();
        bytes
    };
    let tiles: Vec<Vec<u8>> = kind.tiles().into_iter().map(encoded).collect();
    let found = pixels(&kind.file(&tiles)).unwrap();
    let apart = found.iter().zip(kind.expected()).map(|(a, b)| a.abs_diff(b)).max();
    assert!(apart <= Some(4), "{apart:?}");
    for number in 0..tiles.len() {
        let mut damaged = tiles.clone();
        let (half, end) = (tiles[number].len() * 3 / 4, tiles[number].len() - 2);
        damaged[number][half..end].fill(0);
        let error = format!("{:#}", pixels(&kind.file(&damaged)).unwrap_err());
        let expected = "cannot decode image tiled.tif: damaged: scan 1 should have 8 blocks, and after ";
        assert!(error.starts_with(expected), "{number}: {error}");
    }
}
