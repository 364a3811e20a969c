//! Whether the coded data of a JPEG hold as many blocks as its head says.
//!
//! Decoders make pictures of torn and damaged files: blocks that lack are grey, or go on as they like. Here every code is
//! read, none is made a pixel of, and where blocks lack or bytes are left over the file is refused, as `djpeg -strict`
//! does; and where a coefficient is larger than eight bits a sample can give, or a block longer than a block.
//!
//! What is not read (arithmetic coding, 12 bits, frames of several sizes) is left to the decoder, which says so.

use std::{fmt, sync::Arc};

use anyhow::{Result, bail, ensure};

use super::{
    bits::{Bits, Huffman, end_of_scan, is_restart},
    blocks::{Band, Fault, Sizes, first, others},
    segments::{END_OF_IMAGE, START_OF_SCAN, number},
    standard,
};

/// Cameras fill the last scan up to whole words of theirs, with zeros or whatever was there.
const FILLED_UP: usize = 3;

/// More scans than any picture has: three components with all bits one by one would need 150.
const MOST_SCANS: usize = 256;

/// What a scan lacks.
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
    /// Another marker than the restart that should follow.
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
            What::Fault(Fault::Code) => write!(f, "come bits that are no code")?,
            What::Fault(Fault::Long) => write!(f, "comes a block of more than 64 coefficients")?,
            What::Fault(Fault::Value) => write!(f, "comes a value that no picture has")?,
            What::Fault(Fault::Run) => write!(f, "come more empty ones than there is room for")?,
            What::Restart => write!(f, "another restart comes than should")?,
            What::Left(bytes) => write!(f, "{bytes} bytes are left over")?,
        }
        f.write_str(ADVICE)
    }
}

impl std::error::Error for Torn {}

/// What to do, behind what is wrong.
const ADVICE: &str = "; get the file again, or leave such files out (--on-bad-image skip)";

/// One colour of a picture.
struct Component {
    name: u8,
    /// Blocks of it in a unit of several components.
    across: usize,
    down: usize,
    /// Its blocks, without those that fill up units.
    columns: usize,
    rows: usize,
    steps: usize,
    /// How many bits of each coefficient are still to come; none where no scan had it.
    low: [Option<u8>; 64],
    /// For each block which coefficients are not zero, once a progressive scan had others than the first.
    known: Vec<u64>,
}

struct Frame {
    progressive: bool,
    /// Units of all components.
    columns: usize,
    rows: usize,
    components: Vec<Component>,
}

/// A scan's own head.
struct Scan {
    /// Components by their position, with the numbers of their two tables.
    parts: Vec<(usize, usize, usize)>,
    from: usize,
    to: usize,
    high: u8,
    low: u8,
}

struct Walk {
    steps: [[u16; 64]; 4],
    /// Of first coefficients, and of others.
    tables: Tables,
    /// Units between restarts; 0 where there are none.
    restart: usize,
    frame: Option<Frame>,
    scans: usize,
    bits: Bits,
}

/// Reads over all coded data of a file.
///
/// # Errors
/// If they are not those of the picture that the head describes.
pub fn check(bytes: &[u8]) -> Result<()> {
    read(&mut Walk::new(), bytes)
}

/// As [`check`], of pictures that share the tables of another file.
///
/// # Errors
/// As there.
pub fn check_with(tables: &[u8], bytes: &[u8]) -> Result<()> {
    let mut walk = Walk::new();
    read(&mut walk, tables)?;
    read(&mut walk, bytes)
}

fn read(walk: &mut Walk, bytes: &[u8]) -> Result<()> {
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
            // Further segments of applications, comments, and the height once more.
            0xdc | 0xe0..=0xef | 0xfe => {}
            _ => return walk.ensure_none(at),
        }
        at = if marker == START_OF_SCAN { end_of_scan(bytes, behind).at } else { behind };
    }
}

impl Frame {
    /// What a frame's segment says; none if that is nothing that is read.
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

    /// What a scan's segment says.
    fn scan(&self, segment: &[u8]) -> Option<Scan> {
        let (&count, rest) = segment.split_first()?;
        let (parts, last) = rest.split_at_checked(2 * usize::from(count))?;
        let &[from, to, bits, ..] = last else { return None };
        let parts = parts.as_chunks::<2>().0.iter().map(|&[name, tables]| {
            let place = self.components.iter().position(|component| component.name == name)?;
            Some((place, usize::from(tables >> 4 & 3), usize::from(tables & 3)))
        });
        let parts = parts.collect::<Option<Vec<_>>>().filter(|parts| !parts.is_empty())?;
        // Some sequential files have nothing in these bytes.
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

    /// Reads over a scan whose data begin at `at`.
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
                // Some write a restart behind the last unit, too.
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

    /// At a place where no further scan follows, nor the end of the picture.
    ///
    /// # Errors
    /// If there was a scan before. If not, this is a kind of file that the decoder knows, or says that it does not.
    fn ensure_none(&self, at: usize) -> Result<()> {
        let scans = self.scans;
        ensure!(
            scans == 0,
            "damaged: behind scan {scans}, at byte {at}, comes neither another one nor the end{ADVICE}"
        );
        Ok(())
    }

    /// # Errors
    /// If scans lack.
    fn ensure_all(&self) -> Result<()> {
        let Some(frame) = &self.frame else { return Ok(()) };
        for component in &frame.components {
            let lacks = component.low[0].is_none() || component.low.iter().any(|low| low.unwrap_or(0) > 0);
            ensure!(
                !lacks,
                "damaged: after {} scans the picture ends, before all its bits are there{ADVICE}",
                self.scans
            );
        }
        Ok(())
    }
}

impl Component {
    /// Blocks of it in a unit of several components.
    fn blocks(&self) -> usize {
        self.across * self.down
    }
}

impl Frame {
    /// Notes which bits a scan brings.
    ///
    /// # Errors
    /// If they are not those that come next.
    fn note(&mut self, scan: &Scan, number: usize) -> Result<()> {
        for part in &scan.parts {
            for low in &mut self.components[part.0].low[scan.from..=scan.to] {
                let follows = if scan.high == 0 { low.is_none() } else { *low == Some(scan.high) };
                ensure!(
                    follows || !self.progressive,
                    "damaged: scan {number} is not the one that should follow{ADVICE}"
                );
                *low = Some(scan.low);
            }
        }
        Ok(())
    }
}

type Tables = [[Option<Arc<Huffman>>; 4]; 2];

/// A table that a scan needs.
fn table(tables: &Tables, kind: usize, number: usize) -> Result<&Huffman, Fault> {
    tables[kind][number].as_deref().ok_or(Fault::Code)
}

/// A scan that is read over.
struct Reading<'a> {
    frame: &'a mut Frame,
    scan: Scan,
    tables: &'a Tables,
    /// Of each of the scan's components.
    sizes: Vec<Sizes>,
    bits: &'a mut Bits,
}

impl Reading<'_> {
    /// Blocks of a component in a unit of this scan.
    fn blocks(&self, place: usize) -> usize {
        if self.scan.parts.len() == 1 { 1 } else { self.frame.components[place].blocks() }
    }

    /// Reads over units up to `end`, all of those between two restarts; `done` counts them.
    fn units(&mut self, done: &mut usize, end: usize) -> Result<(), Fault> {
        match (self.frame.progressive, self.scan.from, self.scan.high) {
            (true, 0, 1..) => self.first_bits(done, end),
            (true, 1.., _) => self.band(done, end),
            _ => self.whole(done, end),
        }
    }

    /// Whole blocks; of a progressive scan the first coefficient of each.
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
                    first(self.bits, table, sizes, value)?;
                    if let Some(table) = rest {
                        others(self.bits, table, sizes)?;
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

    /// One more bit of each first coefficient.
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

    /// Other coefficients of a progressive scan's only component.
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
