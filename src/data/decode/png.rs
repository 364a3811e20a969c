//! Chunks of a PNG: those that its decoder does not give.

use std::io::{Read, Seek, SeekFrom};

/// The first chunk of a kind, wherever it stands; none if there is none or the file is damaged.
pub fn chunk<R: Read + Seek>(mut reader: R, kind: [u8; 4]) -> Option<Vec<u8>> {
    reader.seek(SeekFrom::Start(8)).ok()?;
    loop {
        let mut head = [0; 8];
        reader.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        if head[4..] == kind {
            let mut content = Vec::new();
            reader.take(u64::from(length)).read_to_end(&mut content).ok()?;
            return Some(content);
        }
        // Behind the content stands a checksum.
        reader.seek_relative(i64::from(length) + 4).ok()?;
    }
}
