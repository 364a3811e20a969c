//! Checks that the coded data of a JPEG contain as many blocks as the header states.
//!
//! Decoders produce pictures even from torn and damaged files, where missing blocks are grey or arbitrary. Here,
//! every code is parsed without computing pixels. A file is rejected, like by `djpeg -strict`, if blocks are missing
//! or bytes are left over, if a coefficient is larger than 8-bit samples allow, or if a block has more than 64
//! coefficients.
//!
//! Unsupported kinds (arithmetic coding, 12 bits, frames of several sizes) are reported separately. The decoders do
//! not support them either. But a damaged header may look like one of these kinds to this check and not to a decoder,
//! or the reverse.

use std::{fmt, sync::Arc};

use anyhow::{Result, bail, ensure};

use super::{
    bits::{Bits, Huffman, end_of_scan, is_restart},
    blocks::{Band, Fault, Sizes, read_ac, read_dc},
    segments::{END_OF_IMAGE, START_OF_SCAN, number},
    standard,
};

/// Cameras pad the last scan to whole words, with zeros or arbitrary bytes.
const FILLED_UP: usize = 3;

/// More scans than any picture has: three components sent bit by bit would need 150.
const MOST_SCANS: usize = 256;

/// A defect of a scan.
#[derive(Debug)]
struct Torn {
    scan: usize,
    found: usize,
    expected: usize,
    what: What,
}

#[derive(Debug)]
enum What {
    Fault(Fault),
    /// Another marker instead of the expected restart.
    Restart,
    /// Bytes that belong to no block.
    Left(usize),
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { scan, found, expected, what } = self;
        write!(f, "damaged: scan {scan} should have {expected} blocks, and after {found} of them ")?;
        match what {
            What::Fault(Fault::Short) => write!(f, "its data end")?,
            What::Fault(Fault::Code) => write!(f, "there are bits that are not a Huffman code")?,
            What::Fault(Fault::Long) => write!(f, "there is a block of more than 64 coefficients")?,
            What::Fault(Fault::Value) => write!(f, "there is an impossible value")?,
            What::Fault(Fault::Run) => write!(f, "there are too many empty blocks")?,
            What::Restart => write!(f, "an unexpected restart follows")?,
            What::Left(bytes) => write!(f, "{bytes} bytes are left over")?,
        }
        f.write_str(ADVICE)
    }
}

impl std::error::Error for Torn {}

/// Advice appended to error messages.
const ADVICE: &str = "; get the file again, or leave such files out (--on-bad-image skip)";

/// Error for a file that a decoder can read but [`check`] does not support.
pub const UNCHECKED: &str = "damaged: its header describes a kind of JPEG whose coded data cannot be checked; get the file again, save it anew, or leave such files out (--on-bad-image skip)";

/// A component (colour channel) of a picture.
struct Component {
    name: u8,
    /// Sampling factors: number of its blocks across and down in a unit (MCU) of an interleaved scan.
    across: usize,
    down: usize,
    /// Numbers of its block columns and rows, without padding to whole units.
    columns: usize,
    rows: usize,
    steps: usize,
    /// Number of bits of each coefficient that are still missing; `None` before its first scan.
    low: [Option<u8>; 64],
    /// Bit set of the nonzero coefficients of each block; empty before a progressive scan of AC coefficients.
    known: Vec<u64>,
}

struct Frame {
    progressive: bool,
    /// Numbers of unit (MCU) columns and rows of an interleaved scan.
    columns: usize,
    rows: usize,
    components: Vec<Component>,
}

/// The header of a scan.
struct Scan {
    /// Index of each component, with the indices of its Huffman tables for DC and AC coefficients.
    parts: Vec<(usize, usize, usize)>,
    from: usize,
    to: usize,
    high: u8,
    low: u8,
}

struct Walk {
    steps: [[u16; 64]; 4],
    /// Huffman tables for first (DC) and for other (AC) coefficients.
    tables: Tables,
    /// Number of units between restarts; 0 if there are no restarts.
    restart: usize,
    frame: Option<Frame>,
    scans: usize,
    bits: Bits,
}

/// Parses all coded data of a file. Returns whether this kind of data is supported.
///
/// # Errors
/// If the data do not match the picture described by the header.
pub fn check(bytes: &[u8]) -> Result<bool> {
    read(&mut Walk::new(), bytes)
}

/// Like [`check`], for pictures whose tables are stored separately, as in TIFF.
///
/// # Errors
/// Those of [`check`].
pub fn check_with(tables: &[u8], bytes: &[u8]) -> Result<bool> {
    let mut walk = Walk::new();
    read(&mut walk, tables)?;
    read(&mut walk, bytes)
}

fn read(walk: &mut Walk, bytes: &[u8]) -> Result<bool> {
    let mut at = 2;
    loop {
        let (marker, segment) = match bytes.get(at..) {
            // Fill bytes, and markers without a segment.
            Some([0xff, 0xff, ..]) => {
                at += 1;
                continue;
            }
            Some([0xff, 0x01 | 0xd0..=0xd8, ..]) => {
                at += 2;
                continue;
            }
            Some([0xff, END_OF_IMAGE, ..]) => return walk.ensure_all(),
            Some([0xff, marker, rest @ ..]) if rest.len() >= 2 => (*marker, rest.get(2..number(rest))),
            // The previous segment has too few or too many bytes. The usual decoder would search for the next marker.
            Some([0..=0xfe, ..]) if walk.scans == 0 => {
                bail!("damaged: expected a segment at byte {at}, found none{ADVICE}")
            }
            _ => return walk.ensure_none(at),
        };
        let Some(segment) = segment else { return walk.ensure_none(at) };
        let behind = at + 4 + segment.len();
        match marker {
            0xc0..=0xc2 => match Frame::read(marker == 0xc2, segment) {
                Some(_) if walk.frame.is_some() => bail!("damaged: two pictures in one{ADVICE}"),
                Some(frame) => walk.frame = Some(frame),
                None => return walk.ensure_none(at),
            },
            0xc4 => walk.huffman(segment)?,
            0xdb => walk.quantisation(segment)?,
            0xdd => walk.restart = if segment.len() < 2 { 0 } else { number(segment) },
            START_OF_SCAN => walk.scan(segment, bytes, behind)?,
            // A repetition of the height, and segments that do not affect coded data: applications, comments, and
            // undefined ones.
            0xdc | 0xe0..=0xef | 0xfe | 0x02..=0xbf | 0xf0..=0xfd => {}
            _ => return walk.ensure_none(at),
        }
        at = if marker == START_OF_SCAN { end_of_scan(bytes, behind).at } else { behind };
    }
}

impl Frame {
    /// Parses the segment of a frame; `None` if this kind is not supported.
    fn read(progressive: bool, segment: &[u8]) -> Option<Self> {
        let &[8, y1, y0, x1, x0, count, ref parts @ ..] = segment else { return None };
        let (height, width) = (number(&[y1, y0]), number(&[x1, x0]));
        let (parts, []) = parts.as_chunks::<3>() else { return None };
        let sampling = |factors: u8| (usize::from(factors >> 4), usize::from(factors & 15));
        let fits = |&(across, down): &(usize, usize)| (1..=4).contains(&across) && (1..=4).contains(&down);
        let samplings: Vec<(usize, usize)> = parts.iter().map(|part| sampling(part[1])).collect();
        let right = parts.len() == usize::from(count) && (1..=4).contains(&count);
        if !right || width == 0 || height == 0 || !samplings.iter().all(fits) {
            return None;
        }
        let most_across = samplings.iter().map(|sampling| sampling.0).max()?;
        let most_down = samplings.iter().map(|sampling| sampling.1).max()?;
        let components = parts.iter().zip(&samplings).map(|(part, &(across, down))| Component {
            name: part[0],
            across,
            down,
            columns: (width * across).div_ceil(8 * most_across),
            rows: (height * down).div_ceil(8 * most_down),
            steps: usize::from(part[2] & 3),
            low: [None; 64],
            known: Vec::new(),
        });
        let (columns, rows) = (width.div_ceil(8 * most_across), height.div_ceil(8 * most_down));
        Some(Self { progressive, columns, rows, components: components.collect() })
    }

    /// Parses the segment of a scan.
    fn scan(&self, segment: &[u8]) -> Option<Scan> {
        let (&count, rest) = segment.split_first()?;
        let (parts, last) = rest.split_at_checked(2 * usize::from(count))?;
        let &[from, to, bits, ..] = last else { return None };
        let parts = parts.as_chunks::<2>().0.iter().map(|&[name, tables]| {
            let place = self.components.iter().position(|component| component.name == name)?;
            Some((place, usize::from(tables >> 4 & 3), usize::from(tables & 3)))
        });
        let parts = parts.collect::<Option<Vec<_>>>().filter(|parts| !parts.is_empty())?;
        // Some sequential files have zeros in these bytes.
        let (from, to, high, low) = match self.progressive {
            true => (usize::from(from), usize::from(to), bits >> 4, bits & 15),
            false => (0, 63, 0, 0),
        };
        let first_alone = from > 0 && parts.len() == 1 || from == 0 && (to == 0 || !self.progressive);
        let fits = from <= to && to < 64 && low < 14 && first_alone && (high == 0 || high == low + 1);
        fits.then_some(Scan { parts, from, to, high, low })
    }
}

impl Walk {
    fn new() -> Self {
        let (steps, tables) = ([[0; 64]; 4], standard::tables());
        Self { steps, tables, restart: 0, frame: None, scans: 0, bits: Bits::default() }
    }

    fn quantisation(&mut self, mut segment: &[u8]) -> Result<()> {
        while let Some((&kind, rest)) = segment.split_first() {
            let bytes = if kind >> 4 == 0 { 64 } else { 128 };
            let Some((values, rest)) = rest.split_at_checked(bytes) else {
                bail!("damaged: a table of quantisation steps is cut{ADVICE}")
            };
            let wide = values.as_chunks::<2>().0;
            self.steps[usize::from(kind & 3)] = std::array::from_fn(|place| match bytes {
                64 => u16::from(values[place]),
                _ => u16::from_be_bytes(wide[place]),
            });
            segment = rest;
        }
        Ok(())
    }

    fn huffman(&mut self, mut segment: &[u8]) -> Result<()> {
        while let Some((&kind, rest)) = segment.split_first() {
            let counts: Option<(&[u8; 16], &[u8])> = rest.split_first_chunk();
            let table = counts.and_then(|(counts, symbols)| {
                let length = counts.iter().map(|&count| usize::from(count)).sum();
                Some((Huffman::new(counts, symbols)?, symbols.get(length..)?))
            });
            let (Some((mut table, rest)), true) = (table, kind & 0xef < 4) else {
                bail!("damaged: a Huffman table is invalid{ADVICE}")
            };
            table.prepare();
            self.tables[usize::from(kind >> 4)][usize::from(kind & 3)] = Some(Arc::new(table));
            segment = rest;
        }
        Ok(())
    }

    /// Parses a scan whose data begin at `at`.
    fn scan(&mut self, segment: &[u8], bytes: &[u8], at: usize) -> Result<()> {
        self.scans += 1;
        ensure!(self.scans <= MOST_SCANS, "damaged: more than {MOST_SCANS} scans{ADVICE}");
        let Some(frame) = &mut self.frame else { return Ok(()) };
        let Some(scan) = frame.scan(segment) else {
            bail!("damaged: scan {} does not belong to this picture{ADVICE}", self.scans)
        };
        frame.note(&scan, self.scans)?;
        let units = match scan.parts[..] {
            [(place, ..)] => frame.components[place].columns * frame.components[place].rows,
            _ => frame.columns * frame.rows,
        };
        let steps = |part: &(usize, usize, usize)| &self.steps[frame.components[part.0].steps];
        let sizes: Vec<Sizes> = scan.parts.iter().map(|part| Sizes::new(steps(part), scan.low)).collect();
        let mut reading = Reading { frame, scan, tables: &self.tables, sizes, bits: &mut self.bits };
        let unit: usize = reading.scan.parts.iter().map(|part| reading.blocks(part.0)).sum();
        let (scan, expected) = (self.scans, unit * units);
        let torn = |done: usize, what| Torn { scan, found: unit * done, expected, what };
        let every = if self.restart == 0 { units } else { self.restart };
        let (mut at, mut done) = (at, 0);
        for part in 0.. {
            let stopped = reading.bits.fill(bytes, at);
            let end = units.min(done + every);
            reading.units(&mut done, end).map_err(|fault| torn(done, What::Fault(fault)))?;
            let left = reading.bits.left();
            let restart = stopped.marker.filter(|&marker| is_restart(marker));
            ensure!(left == 0 || restart.is_none() && left <= FILLED_UP, torn(done, What::Left(left)));
            at = stopped.behind;
            match restart {
                // Some programs write a restart after the last unit, too.
                Some(_) if done == units => match end_of_scan(bytes, at).at - at {
                    0 => return Ok(()),
                    left => bail!(torn(done, What::Left(left))),
                },
                Some(marker) if usize::from(marker & 7) == part % 8 => {}
                Some(_) => bail!(torn(done, What::Restart)),
                None if done == units => return Ok(()),
                None => bail!(torn(done, What::Fault(Fault::Short))),
            }
        }
        Ok(())
    }

    /// Handles a position that is neither another scan nor the end of the picture.
    ///
    /// # Errors
    /// If there was a scan before. Otherwise the file is of an unsupported kind.
    fn ensure_none(&self, at: usize) -> Result<bool> {
        let scans = self.scans;
        ensure!(
            scans == 0,
            "damaged: expected another scan or the end of the image at byte {at}, after scan {scans}, found \
             neither{ADVICE}"
        );
        Ok(false)
    }

    /// Checks that the scans read so far complete the picture.
    ///
    /// # Errors
    /// If scans are missing.
    fn ensure_all(&self) -> Result<bool> {
        let Some(frame) = &self.frame else { return Ok(false) };
        for component in &frame.components {
            let lacks = component.low[0].is_none() || component.low.iter().any(|low| low.unwrap_or(0) > 0);
            ensure!(
                !lacks,
                "damaged: the image ends after {} scans, before it is complete{ADVICE}",
                self.scans
            );
        }
        Ok(true)
    }
}

impl Component {
    /// Number of its blocks in a unit (MCU) of an interleaved scan.
    fn blocks(&self) -> usize {
        self.across * self.down
    }
}

impl Frame {
    /// Notes which bits of the coefficients a scan contains.
    ///
    /// # Errors
    /// If these are not the bits that should follow.
    fn note(&mut self, scan: &Scan, number: usize) -> Result<()> {
        for part in &scan.parts {
            for low in &mut self.components[part.0].low[scan.from..=scan.to] {
                let follows = if scan.high == 0 { low.is_none() } else { *low == Some(scan.high) };
                ensure!(
                    follows || !self.progressive,
                    "damaged: scan {number} does not continue the scans before it{ADVICE}"
                );
                *low = Some(scan.low);
            }
        }
        Ok(())
    }
}

type Tables = [[Option<Arc<Huffman>>; 4]; 2];

/// Returns a table that a scan needs.
fn table(tables: &Tables, kind: usize, number: usize) -> Result<&Huffman, Fault> {
    tables[kind][number].as_deref().ok_or(Fault::Code)
}

/// A scan that is being parsed.
struct Reading<'a> {
    frame: &'a mut Frame,
    scan: Scan,
    tables: &'a Tables,
    /// Sizes for each of the scan's components.
    sizes: Vec<Sizes>,
    bits: &'a mut Bits,
}

impl Reading<'_> {
    /// Number of blocks of a component in a unit of this scan.
    fn blocks(&self, place: usize) -> usize {
        if self.scan.parts.len() == 1 { 1 } else { self.frame.components[place].blocks() }
    }

    /// Parses units up to `end`, all of those between two restarts; `done` counts them.
    fn units(&mut self, done: &mut usize, end: usize) -> Result<(), Fault> {
        match (self.frame.progressive, self.scan.from, self.scan.high) {
            (true, 0, 1..) => self.first_bits(done, end),
            (true, 1.., _) => self.band(done, end),
            _ => self.whole(done, end),
        }
    }

    /// Parses whole blocks; in a progressive scan, only the first (DC) coefficient of each.
    fn whole(&mut self, done: &mut usize, end: usize) -> Result<(), Fault> {
        let mut parts = Vec::new();
        for (&(place, of_first, of_others), sizes) in self.scan.parts.iter().zip(&self.sizes) {
            let of_first = table(self.tables, 0, of_first)?;
            let of_others =
                (!self.frame.progressive).then(|| table(self.tables, 1, of_others)).transpose()?;
            parts.push((self.blocks(place), of_first, of_others, sizes, 0));
        }
        while *done < end {
            for (blocks, table, rest, sizes, value) in &mut parts {
                for _ in 0..*blocks {
                    read_dc(self.bits, table, sizes, value)?;
                    if let Some(table) = rest {
                        read_ac(self.bits, table, sizes)?;
                    }
                    if self.bits.is_overrun() {
                        return Err(Fault::Short);
                    }
                }
            }
            *done += 1;
        }
        Ok(())
    }

    /// Parses one more bit of each first (DC) coefficient.
    fn first_bits(&mut self, done: &mut usize, end: usize) -> Result<(), Fault> {
        let unit = self.scan.parts.iter().map(|part| self.blocks(part.0)).sum();
        while *done < end {
            self.bits.skip(unit);
            if self.bits.is_overrun() {
                return Err(Fault::Short);
            }
            *done += 1;
        }
        Ok(())
    }

    /// Parses the AC coefficients of the only component in a progressive scan.
    fn band(&mut self, done: &mut usize, end: usize) -> Result<(), Fault> {
        let (place, _, number) = self.scan.parts[0];
        let table = table(self.tables, 1, number)?;
        let band = Band { table, sizes: &self.sizes[0], from: self.scan.from, to: self.scan.to };
        let component = &mut self.frame.components[place];
        component.known.resize(component.columns * component.rows, 0);
        let mut empty = 0;
        while *done < end {
            let known = &mut component.known[*done];
            if empty > 0 {
                if self.scan.high > 0 {
                    self.bits.skip(band.corrections(*known, band.from));
                }
            } else if self.scan.high == 0 {
                empty = band.begin(self.bits, known)?;
            } else {
                empty = band.refine(self.bits, known)?;
            }
            if self.bits.is_overrun() {
                return Err(Fault::Short);
            }
            empty = usize::saturating_sub(empty, 1);
            *done += 1;
        }
        if empty > 0 { Err(Fault::Run) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_told_in_words() {
        for (what, words) in [
            (What::Fault(Fault::Short), "its data end"),
            (What::Fault(Fault::Code), "there are bits that are not a Huffman code"),
            (What::Fault(Fault::Long), "there is a block of more than 64 coefficients"),
            (What::Fault(Fault::Value), "there is an impossible value"),
            (What::Fault(Fault::Run), "there are too many empty blocks"),
            (What::Restart, "an unexpected restart follows"),
            (What::Left(7), "7 bytes are left over"),
        ] {
            let expected = format!(
                "damaged: scan 3 should have 12 blocks, and after 5 of them {words}; get the file again, or leave such files \
                 out (--on-bad-image skip)"
            );
            assert_eq!(Torn { scan: 3, found: 5, expected: 12, what }.to_string(), expected);
        }
    }

    /// Luma of 2 x 2, chroma of 1 x 1, on 50 x 33 pixels: units of 16 x 16, and blocks of 8 x 8 without padding.
    #[test]
    fn a_frame_has_the_blocks_of_its_sampling() {
        let segment = [8, 0, 33, 0, 50, 3, 9, 0x22, 1, 8, 0x11, 2, 7, 0x12, 3];
        let frame = Frame::read(false, &segment).unwrap();
        assert_eq!((frame.progressive, frame.columns, frame.rows), (false, 4, 3));
        let of = |component: &Component| {
            (component.name, component.columns, component.rows, component.steps, component.blocks())
        };
        assert_eq!(
            frame.components.iter().map(of).collect::<Vec<_>>(),
            [(9, 7, 5, 1, 4), (8, 4, 3, 2, 1), (7, 4, 5, 3, 2)]
        );
        assert!(Frame::read(true, &segment).unwrap().progressive);
        for (place, value) in [(0, 12), (2, 0), (4, 0), (5, 2), (5, 4), (7, 0x50), (7, 0x02), (10, 0x15)] {
            let mut other = segment;
            other[place] = value;
            assert!(Frame::read(false, &other).is_none(), "{value} at {place}");
        }
        assert!(Frame::read(false, &segment[..14]).is_none());
    }

    /// Names of components with their tables, then the first and last coefficient, and the bits.
    #[test]
    fn a_scan_is_of_components_of_the_frame() {
        let segment = [8, 0, 33, 0, 50, 3, 9, 0x22, 1, 8, 0x11, 2, 7, 0x12, 3];
        let [sequential, progressive] =
            [false, true].map(|progressive| Frame::read(progressive, &segment).unwrap());
        let of = |scan: Scan| (scan.parts, (scan.from, scan.to), (scan.high, scan.low));
        let two = sequential.scan(&[2, 7, 0x10, 9, 0x23, 5, 6, 0x77]).map(of);
        assert_eq!(
            two,
            Some((vec![(2, 1, 0), (0, 2, 3)], (0, 63), (0, 0))),
            "sequential files may state anything"
        );
        let alone = progressive.scan(&[1, 8, 0x01, 1, 5, 0x21]).map(of);
        assert_eq!(alone, Some((vec![(1, 0, 1)], (1, 5), (2, 1))));
        assert_eq!(progressive.scan(&[2, 8, 0, 9, 0, 0, 0, 0x01]).map(of).unwrap().2, (0, 1));
        for (segment, why) in [
            (&[1, 6, 0, 0, 0, 0][..], "no such component"),
            (&[0, 0, 0, 0], "no component"),
            (&[2, 8, 0, 9, 0, 1, 5, 0], "others than the first of several components"),
            (&[1, 8, 0, 0, 5, 0], "the first with others"),
            (&[1, 8, 0, 6, 5, 0], "the last before the first"),
            (&[1, 8, 0, 1, 64, 0], "more than 64"),
            (&[1, 8, 0, 1, 5, 0x0e], "too many bits left"),
            (&[1, 8, 0, 1, 5, 0x31], "more than one bit more"),
            (&[2, 8, 0, 9], "cut"),
            (&[], "empty"),
        ] {
            assert!(progressive.scan(segment).is_none(), "{why}");
        }
    }
}
