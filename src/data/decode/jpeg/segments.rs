//! Markers and segments of a file.

use super::bits::end_of_scan;

pub const END_OF_IMAGE: u8 = 0xd9;
pub const START_OF_SCAN: u8 = 0xda;

/// Returns the big-endian number in the first two bytes.
///
/// # Panics
/// If there are fewer than two.
pub fn number(bytes: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// Iterates over the markers of a file, each with the bytes of its segment. Segments are walked rather than searched,
/// since an embedded thumbnail has markers of its own.
pub struct Segments<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Why the iteration ended.
    end: Option<End>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum End {
    /// The end-of-image marker.
    Image,
    /// The end of the file.
    File,
    /// Something other than a marker.
    Foreign,
}

impl<'a> Segments<'a> {
    /// Starts after the marker that a file begins with.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 2, end: None }
    }

    /// Returns why the iteration ended; `None` before that.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    fn stop<T>(&mut self, end: End) -> Option<T> {
        self.end = Some(end);
        None
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.end.is_some() {
            return None;
        }
        loop {
            let Some(&[first, marker]) = self.bytes.get(self.position..self.position + 2) else {
                return self.stop(End::File);
            };
            match (first, marker) {
                (0xff, END_OF_IMAGE) => return self.stop(End::Image),
                // Fill byte, or a marker without a segment (restart, temporary).
                (0xff, 0xff) => self.position += 1,
                (0xff, 0x01 | 0xd0..=0xd8) => self.position += 2,
                (0xff, _) => break,
                _ => return self.stop(End::Foreign),
            }
        }
        let (marker, start) = (self.bytes[self.position + 1], self.position + 4);
        let Some(length) = self.bytes.get(start - 2..start) else { return self.stop(End::File) };
        self.position += 2 + number(length);
        let segment = self.bytes.get(start..self.position).unwrap_or_default();
        if marker == START_OF_SCAN {
            self.position = end_of_scan(self.bytes, self.position).at;
        }
        Some((marker, segment))
    }
}
