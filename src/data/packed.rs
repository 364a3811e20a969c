//! Image files inside zip archives, read without unpacking.
//!
//! Only the location of each file is kept, in 24 bytes and without its name, so that a million files need little
//! memory. Archives are listed one at a time, and every read opens the archive anew, so threads share nothing. Stored
//! and deflated files in archives of any size are supported; encrypted ones are not.

use std::{
    io::{BufReader, Error, ErrorKind, Read, Result as IoResult, Seek, SeekFrom},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use flate2::{Crc, read::DeflateDecoder};
use zip::ZipArchive;

use super::{
    content::Stamp,
    regular::{self, IMAGE_BYTES},
};

/// Location of a file's bytes in an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveMember {
    /// Offset of its header in the archive, in bytes.
    header: u64,
    /// Number of bytes in the archive.
    compressed: u32,
    /// Number of bytes when unpacked.
    bytes: u32,
    /// Checksum (CRC-32) of the unpacked bytes.
    checksum: u32,
}

/// Calls `found` with the last component of each file's name in an archive and its location; `found` returns whether
/// the file is wanted.
///
/// # Errors
/// If the archive cannot be read or is truncated, or a wanted file is encrypted.
pub fn list(archive: &Path, found: &mut dyn FnMut(&str, ArchiveMember) -> bool) -> Result<()> {
    let mut encrypted = None;
    let mut read = || -> Result<()> {
        let zip = ZipArchive::new(BufReader::new(regular::open(archive)?))?;
        for number in 0..zip.len() {
            let entry = zip.by_index_data(number)?;
            let name = entry.name_raw().rsplit(|&byte| byte == b'/' || byte == b'\\').next();
            let name = name.and_then(|name| std::str::from_utf8(name).ok());
            let sizes = (u32::try_from(entry.compressed_size()), u32::try_from(entry.size()));
            // No image is as large as four gigabytes.
            let (Some(name), (Ok(compressed), Ok(bytes))) = (name, sizes) else { continue };
            let packed =
                ArchiveMember { header: entry.header_start(), compressed, bytes, checksum: entry.crc32() };
            if entry.is_file() && found(name, packed) && entry.encrypted() {
                encrypted = Some(name.to_owned());
                break;
            }
        }
        Ok(())
    };
    read().with_context(|| {
        format!(
            "{}: cannot be read as a zip archive; download it again, or extract what can be had from it and move it away",
            archive.display()
        )
    })?;
    if let Some(name) = encrypted {
        bail!("{}: {name} in it is encrypted; extract the archive with its password", archive.display())
    }
    Ok(())
}

/// Returns the size of a file in an archive, and the archive's modification time.
///
/// # Errors
/// If the archive no longer exists.
pub fn stamp(archive: &Path, packed: ArchiveMember) -> IoResult<Stamp> {
    Ok(Stamp::for_archive_member(&std::fs::metadata(archive)?, packed.bytes.into()))
}

/// Reads the bytes of a file, with its stamp.
///
/// # Errors
/// If the archive cannot be read or has changed since it was listed, or the file in it is damaged, encrypted, or
/// compressed with an unsupported method.
pub fn read(archive: &Path, packed: ArchiveMember) -> IoResult<(Vec<u8>, Stamp)> {
    let invalid = |what: String| Error::new(ErrorKind::InvalidData, what);
    if u64::from(packed.bytes) > IMAGE_BYTES {
        let (found, most) = (packed.bytes >> 20, IMAGE_BYTES >> 20);
        return Err(invalid(format!("too large: it unpacks to {found} MiB, an image may have {most} MiB")));
    }
    let mut file = regular::open(archive)?;
    let stamp = Stamp::for_archive_member(&file.metadata()?, packed.bytes.into());
    // APPNOTE.TXT, 4.3.7: the file's local header has a name and an extra field of variable length.
    let mut header = [0; 30];
    file.seek(SeekFrom::Start(packed.header))?;
    file.read_exact(&mut header)?;
    let number = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    if !header.starts_with(b"PK\x03\x04") {
        let at = packed.header;
        return Err(invalid(format!(
            "expected a file at byte {at} of the archive, found none: the archive has changed; start again"
        )));
    }
    if number(6) & 1 == 1 {
        return Err(invalid("it is encrypted; extract the archive with its password".to_owned()));
    }
    file.seek_relative(i64::from(number(26)) + i64::from(number(28)))?;
    let stored = file.take(packed.compressed.into());
    // Reading one more byte than expected reveals that there are too many.
    let most = u64::from(packed.bytes) + 1;
    let mut bytes = Vec::with_capacity(packed.bytes as usize);
    match number(8) {
        0 => stored.take(most).read_to_end(&mut bytes)?,
        8 => DeflateDecoder::new(stored).take(most).read_to_end(&mut bytes)?,
        method => {
            return Err(invalid(format!(
                "expected a file that is stored (0) or deflated (8) in the archive, found method {method}; extract it"
            )));
        }
    };
    let mut checksum = Crc::new();
    checksum.update(&bytes);
    if (bytes.len(), checksum.sum()) != (packed.bytes as usize, packed.checksum) {
        return Err(invalid(format!(
            "damaged in the archive: expected {} bytes of checksum {:08x}, found {} of {:08x}",
            packed.bytes,
            packed.checksum,
            bytes.len(),
            checksum.sum()
        )));
    }
    Ok((bytes, stamp))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    /// An archive made by Python's zipfile: `a/1.png` stored, `2.png` deflated.
    fn archive() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/archives/two.zip")
    }

    fn listed(path: &Path) -> Result<Vec<(String, ArchiveMember)>> {
        let mut found = Vec::new();
        list(path, &mut |name, packed| {
            found.push((name.to_owned(), packed));
            true
        })?;
        Ok(found)
    }

    #[test]
    fn stored_and_deflated_files_are_read_whole() {
        let found = listed(&archive()).unwrap();
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["1.png", "2.png"]);
        let read = |place: usize| read(&archive(), found[place].1).unwrap().0;
        assert_eq!((read(0), read(1)), (b"stored as it is".to_vec(), b"deflated ".repeat(50)));
        assert!(found[1].1.compressed < found[1].1.bytes, "it is deflated");
        assert_eq!(stamp(&archive(), found[1].1).unwrap().bytes, 450);
    }

    #[test]
    fn damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("torn.zip");
        let bytes = fs::read(archive()).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 30]).unwrap();
        let error = format!("{:#}", listed(&path).unwrap_err());
        assert!(error.contains("torn.zip: cannot be read as a zip archive; download it again"), "{error}");

        let found = listed(&archive()).unwrap();
        let mut damaged = bytes.clone();
        let at = bytes.windows(6).position(|six| six == b"stored").unwrap();
        damaged[at] = b'S';
        fs::write(&path, &damaged).unwrap();
        let error = read(&path, found[0].1).unwrap_err().to_string();
        assert!(error.starts_with("damaged in the archive: expected 15 bytes of checksum "), "{error}");
        fs::write(&path, vec![0; 200]).unwrap();
        let error = read(&path, found[1].1).unwrap_err().to_string();
        assert!(error.starts_with("expected a file at byte "), "{error}");
        let large = ArchiveMember { bytes: (IMAGE_BYTES + (3 << 20)) as u32, ..found[0].1 };
        let error = read(&archive(), large).unwrap_err().to_string();
        assert_eq!(error, "too large: it unpacks to 1027 MiB, an image may have 1024 MiB");
        // The method and bit 0 of the flags, in the file's own header alone.
        for (at, value, told) in
            [(8, 12, "found method 12; extract it"), (6, 1, "it is encrypted; extract the archive")]
        {
            let mut other = bytes.clone();
            other[found[0].1.header as usize + at] |= value;
            fs::write(&path, &other).unwrap();
            let error = read(&path, found[0].1).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        // Bit 0 of the flags, in the local header and in the central directory.
        for (at, _) in bytes.windows(4).enumerate().filter(|(_, four)| *four == b"PK\x01\x02") {
            damaged[at + 8] |= 1;
        }
        fs::write(&path, &damaged).unwrap();
        let error = format!("{:#}", listed(&path).unwrap_err());
        assert!(
            error.ends_with("1.png in it is encrypted; extract the archive with its password"),
            "{error}"
        );
    }

    /// A local header as defined by APPNOTE.TXT, with a name of two bytes and an extra field of five, after nine
    /// unrelated bytes.
    #[test]
    fn data_begin_behind_name_and_extra_field() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zip");
        let mut header = [0; 30];
        header[..4].copy_from_slice(b"PK\x03\x04");
        (header[26], header[28]) = (2, 5);
        let content = b"seven b";
        fs::write(&path, [&b"something"[..], &header, b"nm", b"extra", content, b"behind"].concat()).unwrap();
        let mut checksum = Crc::new();
        checksum.update(content);
        let packed = ArchiveMember { header: 9, compressed: 7, bytes: 7, checksum: checksum.sum() };
        let (bytes, found) = read(&path, packed).unwrap();
        assert_eq!((bytes.as_slice(), found), (&content[..], stamp(&path, packed).unwrap()));
        assert_eq!(found.bytes, 7);
        let error = |packed| read(&path, packed).unwrap_err().to_string();
        let sum = checksum.sum();
        let other = error(ArchiveMember { checksum: 0xabc, ..packed });
        assert_eq!(
            other,
            format!("damaged in the archive: expected 7 bytes of checksum 00000abc, found 7 of {sum:08x}")
        );
        let fewer = error(ArchiveMember { bytes: 6, compressed: 9, ..packed });
        assert!(fewer.starts_with(&format!(
            "damaged in the archive: expected 6 bytes of checksum {sum:08x}, found 7 of"
        )));
        let elsewhere = error(ArchiveMember { header: 8, ..packed });
        assert_eq!(
            elsewhere,
            "expected a file at byte 8 of the archive, found none: the archive has changed; start again"
        );
        fs::remove_file(&path).unwrap();
        assert_eq!(stamp(&path, packed).unwrap_err().kind(), ErrorKind::NotFound);
    }

    /// Encryption is an error only for wanted files, and folders are not listed.
    #[test]
    fn all_files_of_an_archive_are_listed_by_their_last_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zip");
        let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
        let stored =
            zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        zip.add_directory("deep", stored).unwrap();
        for (name, content) in [("deep/er/b.png", "bb"), ("a\\c.png", "ccc"), ("d.png", "")] {
            zip.start_file(name, stored).unwrap();
            std::io::Write::write_all(&mut zip, content.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        let found = listed(&path).unwrap();
        let read: Vec<(&str, Vec<u8>)> =
            found.iter().map(|(name, packed)| (name.as_str(), read(&path, *packed).unwrap().0)).collect();
        assert_eq!(read, [("b.png", b"bb".to_vec()), ("c.png", b"ccc".to_vec()), ("d.png", Vec::new())]);

        let mut bytes = fs::read(&path).unwrap();
        let central = bytes.windows(4).enumerate().filter(|(_, four)| *four == b"PK\x01\x02");
        let second = central.map(|(at, _)| at).nth(2).unwrap();
        bytes[second + 8] |= 1;
        fs::write(&path, bytes).unwrap();
        let mut names = Vec::new();
        let mut unwanted = |name: &str, _| {
            names.push(name.to_owned());
            name != "c.png"
        };
        list(&path, &mut unwanted).unwrap();
        assert_eq!(names, ["b.png", "c.png", "d.png"]);
        let error = listed(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("a.zip: c.png in it is encrypted; extract the archive with its password"),
            "{error}"
        );
    }

    /// An archive that became shorter or was damaged after it had been listed.
    #[test]
    fn members_that_end_too_soon_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("torn.zip");
        let bytes = fs::read(archive()).unwrap();
        let found = listed(&archive()).unwrap();
        let (stored, deflated) = (found[0].1, found[1].1);
        let at = bytes.windows(6).position(|six| six == b"stored").unwrap();
        fs::write(&path, &bytes[..at + 6]).unwrap();
        let error = read(&path, stored).unwrap_err().to_string();
        let mut checksum = Crc::new();
        checksum.update(b"stored");
        let told = format!("found 6 of {:08x}", checksum.sum());
        assert!(
            error.starts_with("damaged in the archive: expected 15 bytes of ") && error.ends_with(&told),
            "{error}"
        );
        fs::write(&path, &bytes[..deflated.header as usize + 29]).unwrap();
        assert_eq!(read(&path, deflated).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        // A last block of the kind that deflate leaves undefined, in place of the first byte of the data.
        let mut damaged = bytes;
        let header = deflated.header as usize;
        let lengths = [26, 28].map(|at| usize::from(damaged[header + at]));
        damaged[header + 30 + lengths[0] + lengths[1]] = 0b111;
        fs::write(&path, &damaged).unwrap();
        assert!(read(&path, deflated).is_err());
        assert!(read(&path, stored).is_ok(), "the other one is whole");
    }
}
