//! Parses the coefficients of blocks in coded data without decoding them.
//!
//! Follows ITU-T T.81: sequential blocks F.2.2, progressive ones G.2.

use super::bits::{Bits, Huffman};

/// Evidence that coded data are damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The data end inside a block.
    Short,
    /// The bits are not a code.
    Code,
    /// A block has more than 64 coefficients.
    Long,
    /// A coefficient is larger than 8-bit samples allow.
    Value,
    /// A run of empty blocks extends beyond the end of the data between two restarts.
    Run,
}

/// Coefficients of 8-bit samples are at most 1,024 in absolute value; more than twice that, plus one step, is damage.
const LARGEST: i64 = 2048;

/// Maximum sizes of a component's coefficients in a scan.
pub struct Sizes {
    /// Quantisation step of the first (DC) coefficient, shifted left by the number of bits that later scans add.
    step: i64,
    /// Maximum number of bits of each coefficient, in coding order (zigzag); the first one is not used.
    most: [u8; 64],
    /// Minimum of these over all coefficients but the first.
    least: u8,
}

impl Sizes {
    /// Computes the sizes from quantisation steps in coding order, with `low` bits left to later scans. A step of 0
    /// means unknown.
    pub fn new(steps: &[u16; 64], low: u8) -> Self {
        let most = steps.map(|step| {
            let step = i64::from(step);
            let fits = |bits: &u8| step << low << (bits - 1) <= LARGEST + step;
            // One bit is always possible, since a step may exceed the whole range.
            if step == 0 { 15 } else { (1..=15).take_while(fits).last().unwrap_or(1) }
        });
        let least = most[1..].iter().copied().min().unwrap_or(0);
        Self { step: i64::from(steps[0]) << low, most, least }
    }

    fn first(&self, value: i32) -> Result<(), Fault> {
        let largest = LARGEST + self.step;
        if (i64::from(value) * self.step).abs() > largest { Err(Fault::Value) } else { Ok(()) }
    }
}

/// Reads a first (DC) coefficient, coded as the difference from the previous one, which is kept in `value`.
#[inline]
pub fn read_dc(bits: &mut Bits, table: &Huffman, sizes: &Sizes, value: &mut i32) -> Result<(), Fault> {
    let size = bits.symbol(table).ok_or(Fault::Code)?;
    if size > 15 {
        return Err(Fault::Code);
    }
    let size = usize::from(size);
    let number = bits.number(size) as i32;
    // A number whose highest bit is 0 is negative: 2^size - 1 is subtracted.
    let lowest = (1 << size) - 1;
    *value += number - (lowest & ((2 * number - lowest - 1) >> 31));
    sizes.first(*value)
}

/// Reads the other (AC) coefficients of a sequential block.
#[inline]
pub fn read_ac(bits: &mut Bits, table: &Huffman, sizes: &Sizes) -> Result<(), Fault> {
    let mut place = 1;
    while place < 64 {
        let several = bits.peek_coefficients(table);
        let next = place + usize::from(several.places);
        // Coefficients missing from this block must not be read from the next one.
        if several.bits > 0 && several.most <= sizes.least && next < 64 {
            bits.skip_coefficients(several);
            if several.ends {
                return Ok(());
            }
            place = next;
            continue;
        }
        let symbol = bits.symbol_and_number(table).ok_or(Fault::Code)?;
        let (run, size) = (usize::from(symbol >> 4), symbol & 15);
        if size == 0 {
            match run {
                0 => return Ok(()),
                15 => place += 16,
                _ => return Err(Fault::Code),
            }
            continue;
        }
        place += run;
        if size > *sizes.most.get(place).ok_or(Fault::Long)? {
            return Err(Fault::Value);
        }
        place += 1;
    }
    if place > 64 { Err(Fault::Long) } else { Ok(()) }
}

/// A spectral band: the AC coefficients of a progressive scan.
pub struct Band<'a> {
    pub table: &'a Huffman,
    pub sizes: &'a Sizes,
    /// Index of the first coefficient; `to` is the last.
    pub from: usize,
    pub to: usize,
}

/// Number of blocks that a symbol without a value leaves empty, including the current one.
fn empty(bits: &mut Bits, run: usize) -> usize {
    (1 << run) + bits.number(run) as usize
}

impl Band<'_> {
    /// Reads the first bits of a block's coefficients, and sets the bits of nonzero coefficients in `known`.
    ///
    /// Returns the number of blocks that are empty from there on, including the rest of this one; 0 if this block is
    /// complete.
    #[inline]
    pub fn begin(&self, bits: &mut Bits, known: &mut u64) -> Result<usize, Fault> {
        let mut place = self.from;
        while place <= self.to {
            let symbol = bits.symbol_and_number(self.table).ok_or(Fault::Code)?;
            let (run, size) = (usize::from(symbol >> 4), symbol & 15);
            match (run, size) {
                (15, 0) => place += 16,
                (run, 0) => return Ok(empty(bits, run)),
                (run, size) => {
                    place += run;
                    if place > self.to {
                        return Err(Fault::Long);
                    }
                    if size > self.sizes.most[place] {
                        return Err(Fault::Value);
                    }
                    *known |= 1 << place;
                    place += 1;
                }
            }
        }
        if place > self.to + 1 { Err(Fault::Long) } else { Ok(0) }
    }

    /// Reads one more bit of a block's known coefficients, and the new nonzero ones. Returns the same as
    /// [`Self::begin`].
    #[inline]
    pub fn refine(&self, bits: &mut Bits, known: &mut u64) -> Result<usize, Fault> {
        let mut place = self.from;
        while place <= self.to {
            let symbol = bits.symbol(self.table).ok_or(Fault::Code)?;
            let (run, size) = (usize::from(symbol >> 4), symbol & 15);
            let fresh = match (run, size) {
                (15, 0) => false,
                (run, 0) => {
                    let blocks = empty(bits, run);
                    bits.skip(self.corrections(*known, place));
                    return Ok(blocks);
                }
                // The bit is a sign; the value of a new coefficient is one in the bit of this scan.
                (_, 1) => {
                    bits.skip(1);
                    true
                }
                _ => return Err(Fault::Code),
            };
            // One bit for each known coefficient, up to the zero that follows the run of zeros.
            let (mut zeros, mut corrections) = (run, 0);
            while place <= self.to {
                if *known >> place & 1 == 1 {
                    corrections += 1;
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                place += 1;
            }
            bits.skip(corrections);
            if fresh {
                if place > self.to {
                    return Err(Fault::Long);
                }
                *known |= 1 << place;
            }
            place += 1;
        }
        Ok(0)
    }

    /// Returns the number of known coefficients from `place` on: each has one bit in a block that is otherwise empty.
    pub fn corrections(&self, known: u64, place: usize) -> usize {
        let band = (u64::MAX >> (63 - self.to)) & (u64::MAX << place);
        (known & band).count_ones() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest number of n bits is 2^(n - 1), so step x 2^(n - 1) may be at most 2,048 plus one step.
    #[test]
    fn a_coefficient_is_no_larger_than_a_picture_gives() {
        for (step, low, bits) in [
            (1, 0, 12),
            (16, 0, 8),
            (255, 0, 4),
            (60_000, 0, 1),
            (1, 1, 11),
            (1, 13, 1),
            // A step beyond the whole range, with one bit left to a later scan; and an unknown step.
            (60_000, 1, 1),
            (0, 0, 15),
        ] {
            let mut steps = [1; 64];
            steps[5] = step;
            let sizes = Sizes::new(&steps, low);
            assert_eq!(sizes.most[5], bits, "{step}, {low}");
            let others = Sizes::new(&[1; 64], low).most[1];
            assert_eq!(sizes.least, bits.min(others));
        }
        let sizes = Sizes::new(&[10; 64], 1);
        // 20 x 103 is 2,060, and 2,068 are allowed.
        for (value, fits) in [(103, true), (-103, true), (104, false), (-104, false)] {
            assert_eq!(sizes.first(value).is_ok(), fits, "{value}");
        }
    }

    /// These bits, then the end of the image.
    fn bits_of(text: &str) -> Bits {
        let digits: Vec<u8> = text.bytes().filter(|digit| *digit != b' ').collect();
        let mut bytes = Vec::new();
        for eight in digits.chunks(8) {
            let ones = eight.iter().enumerate().filter(|(_, digit)| **digit == b'1');
            let byte = ones.map(|(place, _)| 0x80 >> place).sum::<u8>();
            bytes.push(byte);
            bytes.extend((byte == 0xff).then_some(0));
        }
        bytes.extend([0xff, 0xd9]);
        let mut bits = Bits::default();
        bits.fill(&bytes, 0);
        bits
    }

    /// Codes of four bits: the n-th symbol has the code n. Its upper half is a run of zeros, its lower half the number
    /// of bits that follow.
    fn table(is_prepared: bool) -> Huffman {
        let mut counts = [0; 16];
        counts[3] = 10;
        let mut table =
            Huffman::new(&counts, &[0x00, 0x01, 0x02, 0x11, 0xf0, 0xe1, 0x20, 0xf1, 0x10, 0x12]).unwrap();
        if is_prepared {
            table.prepare();
        }
        table
    }

    /// Steps of 1 (12 bits), but of 4,000 (one bit) at this place.
    fn sizes(place: usize) -> Sizes {
        let mut steps = [1; 64];
        steps[place] = 4000;
        Sizes::new(&steps, 0)
    }

    /// What follows the block (`1011`, or the next block's bits) is not read.
    #[test]
    fn a_sequential_block_ends_with_its_code_or_its_last_coefficient() {
        let full = "0001 1".repeat(63);
        for (text, large, found) in [
            ("0001 1 0010 10 0000 1011", 0, Ok(0b1011)),
            (format!("{full} 1011").as_str(), 0, Ok(0b1011)),
            (format!("{full} 0000 1011").as_str(), 0, Ok(0)),
            (format!("{full} 0001 1 1011").as_str(), 0, Ok(1)),
            ("0100 0100 0100 0101 1 0000 1011", 0, Ok(0)),
            ("0100 0100 0100 0101 1 1011", 0, Ok(0b1011)),
            ("0100 0100 0100 0111 1 1011", 0, Err(Fault::Long)),
            ("0100 0100 0100 0100 1011", 0, Err(Fault::Long)),
            ("0001 1 1000 0000", 0, Err(Fault::Code)),
            ("0001 1 1010 0000", 0, Err(Fault::Code)),
            ("0001 1 0010 10 0000 1011", 2, Err(Fault::Value)),
            ("0010 10 0001 1 0000 1011", 2, Ok(0b1011)),
            ("0011 1 0001 1 1001 10 0000 1011", 5, Err(Fault::Value)),
            ("0011 1 0001 1 1001 10 0000 1011", 4, Ok(0b1011)),
        ] {
            for is_prepared in [false, true] {
                let mut bits = bits_of(text);
                let read = read_ac(&mut bits, &table(is_prepared), &sizes(large));
                assert_eq!(read.map(|()| bits.number(4)), found, "{text}, {is_prepared}");
            }
        }
    }

    /// Bits, the last of the band's coefficients, the place of few bits; then the number of empty blocks, and the set
    /// of coefficients. `1011` follows.
    #[test]
    fn a_band_begins_with_runs_numbers_and_empty_blocks() {
        for (text, to, large, found) in [
            ("0001 1 0011 1 0110 10", 5, 0, Ok((6, 0b1010))),
            ("0001 1 0001 0 0001 1 0001 0 0001 1", 5, 0, Ok((0, 0b11_1110))),
            ("0000", 5, 0, Ok((1, 0))),
            ("1000 1", 5, 0, Ok((3, 0))),
            ("0100", 16, 0, Ok((0, 0))),
            ("0100", 15, 0, Err(Fault::Long)),
            ("0100", 5, 0, Err(Fault::Long)),
            ("0011 1 0011 1 0001 1", 5, 0, Ok((0, 0b11_0100))),
            ("0011 1 0011 1 0011 1", 5, 0, Err(Fault::Long)),
            ("1010", 5, 0, Err(Fault::Code)),
            ("0011 1 0010 10 0000", 5, 3, Err(Fault::Value)),
            ("0011 1 0010 10 0000", 5, 2, Ok((1, 0b1100))),
        ] {
            let (table, sizes) = (table(true), sizes(large));
            let band = Band { table: &table, sizes: &sizes, from: 1, to };
            let (mut bits, mut known) = (bits_of(&format!("{text} 1011")), 0);
            let read = band.begin(&mut bits, &mut known).map(|empty| (empty, known));
            assert_eq!(read, found, "{text} up to {to}");
            assert!(read.is_err() || bits.number(4) == 0b1011, "{text} up to {to}: other bits were read");
        }
    }

    /// The second and fourth coefficient of a band of five are known: each has one bit where it is passed.
    #[test]
    fn a_refined_band_has_a_bit_for_each_known_coefficient() {
        for (text, found) in [
            ("0011 1 0 0110 11 1", Ok((7, 0b1_1100))),
            ("0001 1 0001 0 1 0000 1", Ok((1, 0b1_1110))),
            ("0000 01", Ok((1, 0b1_0100))),
            ("0100 01", Ok((0, 0b1_0100))),
            ("0001 1 0001 1 0 0001 0 1", Ok((0, 0b11_1110))),
            ("0101 1 11", Err(Fault::Long)),
            ("0010 1", Err(Fault::Code)),
            // Read as a new coefficient of one bit, this would be sound.
            ("0010 1 0000 1", Err(Fault::Code)),
            ("1010", Err(Fault::Code)),
        ] {
            let (table, sizes) = (table(true), sizes(0));
            let band = Band { table: &table, sizes: &sizes, from: 1, to: 5 };
            let (mut bits, mut known) = (bits_of(&format!("{text} 1011")), 0b1_0100);
            let read = band.refine(&mut bits, &mut known).map(|empty| (empty, known));
            assert_eq!(read, found, "{text}");
            assert!(read.is_err() || bits.number(4) == 0b1011, "{text}: other bits were read");
        }
    }

    #[test]
    fn corrections_are_counted_inside_the_band() {
        let (table, sizes) = (table(false), sizes(0));
        for (to, place, count) in [(5, 1, 5), (5, 3, 3), (5, 5, 1), (63, 1, 63), (63, 60, 4), (9, 2, 8)] {
            let band = Band { table: &table, sizes: &sizes, from: 1, to };
            assert_eq!(band.corrections(u64::MAX, place), count, "{place} to {to}");
            assert_eq!(band.corrections(0, place), 0);
        }
        let band = Band { table: &table, sizes: &sizes, from: 1, to: 5 };
        assert_eq!(band.corrections(0b110_1011, 2), 2, "neither the first two nor the sixth");
    }
}
