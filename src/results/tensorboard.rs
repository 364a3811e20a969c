//! Event files for TensorBoard: scalars only.
//!
//! A file is a list of records: length (u64), masked CRC-32C of its bytes, data, masked CRC-32C of the data;
//! little-endian. Data is a protocol-buffer `Event`: 1 wall time (double), 2 step (varint), 3 file version
//! (string), 5 summary; a summary is a list of 1: { 1: tag (string), 2: simple value (float) }. Source:
//! TensorFlow's `record_writer`, `event.proto` and `summary.proto`. Written here because the crates for it bring
//! protocol-buffer compilers or image codecs for a task of a hundred lines.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use anyhow::{Context, Result};

/// An event file of one cell.
pub struct EventFile {
    file: File,
}

impl EventFile {
    /// Creates a new file in `folder`, which TensorBoard shows as the run's name. `now`: seconds since 1970. A
    /// process that resumes a cell creates a file of its own; TensorBoard joins them.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn new(folder: &Path, now: f64) -> Result<Self> {
        let name = format!("events.out.tfevents.{:010}.{}.skewbench", now as u64, std::process::id());
        let path = folder.join(name);
        let make = || -> Result<Self> {
            fs::create_dir_all(folder)?;
            let mut file = Self { file: File::create(&path)? };
            file.add(&[double(1, now), bytes(3, b"brain.Event:2")].concat())?;
            Ok(file)
        };
        make().with_context(|| format!("{}: cannot write events", path.display()))
    }

    /// Adds scalars of one step.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn scalars<'a>(
        &mut self,
        now: f64,
        step: usize,
        scalars: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Result<()> {
        let value = |(tag, value): (&str, f64)| {
            // Field 2, a 32-bit value.
            let simple = [&[2 << 3 | 5][..], &(value as f32).to_le_bytes()].concat();
            bytes(1, &[bytes(1, tag.as_bytes()), simple].concat())
        };
        let summary: Vec<u8> = scalars.into_iter().flat_map(value).collect();
        self.add(&[double(1, now), [vec![2 << 3], varint(step as u64)].concat(), bytes(5, &summary)].concat())
            .context("cannot write events for TensorBoard")
    }

    /// Appends one record in one write, so that a killed process leaves complete records only.
    fn add(&mut self, data: &[u8]) -> std::io::Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let record = [&length[..], &masked(&length), data, &masked(data)].concat();
        self.file.write_all(&record)
    }
}

fn double(field: u8, value: f64) -> Vec<u8> {
    [&[field << 3 | 1][..], &value.to_le_bytes()].concat()
}

fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    [&[field << 3 | 2][..], &varint(value.len() as u64), value].concat()
}

/// Encodes seven bits per byte, lowest first, the eighth set if more follow.
fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// TensorFlow's masked checksum.
fn masked(data: &[u8]) -> [u8; 4] {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// CRC-32C (Castagnoli), bit by bit, because files are small.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        // The check value of CRC-32C, and two vectors of RFC 3720, appendix B.4.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn a_file_is_what_python_writes() {
        // Written by the Python package tensorboard 2.21.0 (`RecordWriter`, and its protocol buffers of `Event`).
        let expected = concat!(
            "1800000000000000a37f4b220900002040fc54d9411a0d627261696e2e4576656e743a322b353110",
            "33000000000000000ca720560900005040fc54d94110ac022a250a0b0a046c6f7373150000003f0a",
            "160a0f6d6f6e69746f72732f72616e6b6d6515000000c0e7c764a6",
        );
        let folder = tempfile::tempdir().unwrap();
        let mut file = EventFile::new(folder.path(), 1_700_000_000.5).unwrap();
        file.scalars(1_700_000_001.25, 300, [("loss", 0.5), ("monitors/rankme", -2.0)]).unwrap();
        drop(file);
        let path = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        assert!(path.to_str().unwrap().contains("events.out.tfevents.1700000000."));
        let found: String = fs::read(path).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = EventFile::new(&file.path().join("run"), 12.0).err().unwrap().to_string();
        let begin = format!("{}/run/events.out.tfevents.0000000012.", file.path().display());
        assert!(error.starts_with(&begin) && error.ends_with(".skewbench: cannot write events"), "{error}");
    }

    /// A summary of more than 127 bytes has a length of two bytes.
    #[test]
    fn long_names_have_long_lengths() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = EventFile::new(folder.path(), 1.0).unwrap();
        let name = "n".repeat(200);
        file.scalars(2.0, 0, [(name.as_str(), 0.5)]).unwrap();
        let path = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let found = fs::read(path).unwrap();
        // Behind the first record of 16 + 24 bytes, a length and its checksum; time and step take 9 + 2 bytes.
        let data = &found[40 + 12 + 11..];
        // A value: the name with two bytes of length and its key, then a key and four bytes.
        let value = 3 + 200 + 5;
        let low = |length: usize| [(length & 127) as u8 | 128, (length >> 7) as u8];
        assert_eq!(data[..3], [&[5 << 3 | 2][..], &low(value + 3)].concat());
        assert_eq!(data[3..6], [&[1 << 3 | 2][..], &low(value)].concat());
        assert_eq!(data[6..9], [&[1 << 3 | 2][..], &low(200)].concat());
        assert_eq!(&data[9..209], name.as_bytes());
        assert_eq!(data[209..214], [&[2 << 3 | 5][..], &0.5_f32.to_le_bytes()].concat());
        assert_eq!(data.len(), 214 + 4, "and a checksum");
    }

    /// Seven bits per byte, the lowest first; 150 is the example of the protocol buffers' own description.
    #[test]
    fn numbers_take_as_many_bytes_as_they_need() {
        for (number, expected) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (150, &[0x96, 0x01]),
            (16_383, &[0xff, 0x7f]),
            (16_384, &[0x80, 0x80, 0x01]),
            (1_000_000, &[0xc0, 0x84, 0x3d]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            assert_eq!(varint(number), expected, "{number}");
        }
        // The step of a long training stands behind the time: 16 + 24 bytes of the first record, a length and its
        // checksum, and a double with its key.
        let folder = tempfile::tempdir().unwrap();
        EventFile::new(folder.path(), 1.0).unwrap().scalars(2.0, 1_000_000, [("a", 0.5)]).unwrap();
        let path = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        assert_eq!(fs::read(path).unwrap()[40 + 12 + 9..][..4], [2 << 3, 0xc0, 0x84, 0x3d]);
    }
}
