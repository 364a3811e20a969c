//! Coded data of a scan: its end, its bits, and the Huffman codes in them.

/// The end of coded data: its position, and the marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Position of the first byte that is no longer data.
    pub at: usize,
    /// The marker at that position; `None` at the end of the file.
    pub marker: Option<u8>,
    /// Position after the marker.
    pub behind: usize,
}

/// Whether at least one of eight bytes is 0xff.
fn has_marker_byte(eight: [u8; 8]) -> bool {
    // The usual trick to find a zero byte, applied to the inverted bytes.
    let inverse = !u64::from_ne_bytes(eight);
    inverse.wrapping_sub(0x0101_0101_0101_0101) & !inverse & 0x8080_8080_8080_8080 != 0
}

/// Finds the first marker from `at` on, or the end of the file. Calls `data` with the data before it, piece by piece;
/// the zero byte that escapes 0xff is omitted.
fn stop(bytes: &[u8], mut at: usize, mut data: impl FnMut(&[u8])) -> Stop {
    loop {
        let start = at;
        while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            if has_marker_byte(*eight) {
                break;
            }
            at += 8;
        }
        at += bytes[at.min(bytes.len())..].iter().take_while(|&&byte| byte != 0xff).count();
        data(&bytes[start.min(bytes.len())..at.min(bytes.len())]);
        let fill = bytes[at.min(bytes.len())..].iter().take_while(|&&byte| byte == 0xff).count();
        match bytes.get(at + fill) {
            Some(0) => data(&[0xff]),
            marker => {
                let behind = (at + fill + 1).min(bytes.len());
                return Stop { at: at.min(bytes.len()), marker: marker.copied(), behind };
            }
        }
        at += fill + 1;
    }
}

/// Whether a marker is a restart, which does not end a scan.
pub fn is_restart(marker: u8) -> bool {
    (0xd0..=0xd7).contains(&marker)
}

/// Returns the end of a scan's coded data, which begin at `at`.
pub fn end_of_scan(bytes: &[u8], at: usize) -> Stop {
    let mut stopped = stop(bytes, at, |_| {});
    while stopped.marker.is_some_and(is_restart) {
        stopped = stop(bytes, stopped.behind, |_| {});
    }
    stopped
}

/// Reader of the bits between two restarts.
#[derive(Default)]
pub struct Bits {
    /// Data without escape bytes, padded with zeros.
    data: Vec<u8>,
    /// Number of bits in the data.
    end: usize,
    /// Number of bytes that were moved into `ahead`.
    taken: usize,
    /// The next bits, from the highest one.
    ahead: u64,
    /// Number of valid bits in `ahead`.
    have: usize,
}

impl Bits {
    /// Loads the data that begin at `at`, and returns what ends them.
    pub fn fill(&mut self, bytes: &[u8], at: usize) -> Stop {
        self.data.clear();
        let stopped = stop(bytes, at, |part| self.data.extend_from_slice(part));
        self.end = 8 * self.data.len();
        self.data.extend([0; 8]);
        (self.taken, self.ahead, self.have) = (0, 0, 0);
        stopped
    }

    /// Ensures 32 valid bits, enough for the longest code and the longest number after it. Past the end, bits are zero.
    #[inline(always)]
    fn load(&mut self) {
        if self.have < 32 {
            let eight = self.data.get(self.taken..).and_then(|rest| rest.first_chunk());
            self.ahead |= eight.map_or(0, |eight| u64::from_be_bytes(*eight)) >> self.have;
            let whole = (63 - self.have) / 8;
            self.taken += whole;
            self.have += 8 * whole;
        }
    }

    #[inline(always)]
    fn pass(&mut self, bits: usize) {
        self.ahead <<= bits;
        self.have -= bits;
    }

    /// Skips this many bits.
    pub fn skip(&mut self, bits: usize) {
        let place = self.place() + bits;
        (self.taken, self.ahead, self.have) = (place / 8, 0, 0);
        self.load();
        self.pass(place % 8);
    }

    /// Reads the next bits as a number; at most 16.
    #[inline(always)]
    pub fn number(&mut self, bits: usize) -> u32 {
        self.load();
        let number = self.ahead >> 1 >> (63 - bits);
        self.pass(bits);
        number as u32
    }

    /// Reads the next symbol; `None` if the bits are not a code.
    #[inline(always)]
    pub fn symbol(&mut self, table: &Huffman) -> Option<u8> {
        self.load();
        let code = table.look(self.ahead)?;
        self.pass(usize::from(code.length));
        Some(code.symbol)
    }

    /// Like [`Self::symbol`], and skips the number that follows: the symbol's lower four bits are its length in bits.
    #[inline(always)]
    pub fn symbol_and_number(&mut self, table: &Huffman) -> Option<u8> {
        self.load();
        let code = table.look(self.ahead)?;
        self.pass(usize::from(code.length + (code.symbol & 15)));
        Some(code.symbol)
    }

    /// Looks up the coefficients that are complete within the next few bits; [`Self::skip_coefficients`] skips them.
    #[inline(always)]
    pub fn peek_coefficients(&mut self, table: &Huffman) -> Coefficients {
        self.load();
        table.several[(self.ahead >> (64 - QUICK)) as usize]
    }

    /// Skips the bits that [`Self::peek_coefficients`] has looked up.
    #[inline(always)]
    pub fn skip_coefficients(&mut self, several: Coefficients) {
        self.pass(usize::from(several.bits));
    }

    /// Number of bits that were read.
    #[inline(always)]
    fn place(&self) -> usize {
        8 * self.taken - self.have
    }

    /// Whether more bits were read than exist.
    #[inline(always)]
    pub fn is_overrun(&self) -> bool {
        self.place() > self.end
    }

    /// Returns the number of whole bytes that were not read.
    pub fn left(&self) -> usize {
        self.end.saturating_sub(self.place()) / 8
    }
}

/// Maximum length of codes, in bits, that are looked up in one step; longer codes are rare.
const QUICK: usize = 11;

#[derive(Clone, Copy, Default)]
struct Code {
    symbol: u8,
    /// Length of the code in bits; 0 if there is none.
    length: u8,
}

/// Consecutive coefficients within a few bits.
#[derive(Clone, Copy, Default)]
pub struct Coefficients {
    /// Total number of bits; 0 if not even one coefficient is complete.
    pub bits: u8,
    /// Number of positions in the block that they fill.
    pub places: u8,
    /// Number of bits of the largest number.
    pub most: u8,
    /// Whether an end-of-block code follows them, which `bits` includes.
    pub ends: bool,
}

/// A Huffman table.
pub struct Huffman {
    /// Codes of at most [`QUICK`] bits, indexed by the first [`QUICK`] bits.
    quick: Box<[Code; 1 << QUICK]>,
    /// Sequential coefficients that are complete within the first [`QUICK`] bits, indexed by these bits.
    several: Box<[Coefficients; 1 << QUICK]>,
    /// For each length in bits, the exclusive upper bound of the codes, left-aligned to 16 bits.
    ends: [u32; 17],
    /// For each length, the offset from a code to the index of its symbol.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Huffman {
    /// Builds the table from the number of codes of 1 to 16 bits; `None` if there are too many codes for their
    /// lengths, or too few symbols.
    pub fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let (quick, several) =
            (Box::new([Code::default(); 1 << QUICK]), Box::new([Coefficients::default(); 1 << QUICK]));
        let mut table = Self { quick, several, ends: [0; 17], offsets: [0; 17], symbols: Vec::new() };
        let mut code = 0_u32;
        for (length, &count) in (1..).zip(counts) {
            let place = table.symbols.len();
            table.offsets[length] = place as i32 - code as i32;
            table.symbols.extend_from_slice(symbols.get(place..place + usize::from(count))?);
            for &symbol in &table.symbols[place..] {
                if length <= QUICK {
                    let first = (code as usize) << (QUICK - length);
                    let codes = table.quick.get_mut(first..first + (1 << (QUICK - length)))?;
                    codes.fill(Code { symbol, length: length as u8 });
                }
                code += 1;
            }
            if code > 1 << length {
                return None;
            }
            table.ends[length] = code << (16 - length);
            code <<= 1;
        }
        Some(table)
    }

    /// Fills the table used by [`Bits::peek_coefficients`].
    pub fn prepare(&mut self) {
        for (first, several) in self.several.iter_mut().enumerate() {
            let mut ahead = (first as u64) << (64 - QUICK);
            while !several.ends {
                let Code { symbol, length } = self.quick[(ahead >> (64 - QUICK)) as usize];
                let (run, size) = (symbol >> 4, symbol & 15);
                let bits = length + size;
                let ends = symbol == 0;
                if length == 0 || usize::from(several.bits + bits) > QUICK || size == 0 && !ends {
                    break;
                }
                ahead <<= bits;
                several.bits += bits;
                several.places += if ends { 0 } else { run + 1 };
                several.most = several.most.max(size);
                several.ends = ends;
            }
        }
    }

    /// The code at the beginning of these bits.
    #[inline(always)]
    fn look(&self, bits: u64) -> Option<Code> {
        let code = self.quick[(bits >> (64 - QUICK)) as usize];
        if code.length > 0 { Some(code) } else { self.look_long((bits >> 48) as u16) }
    }

    #[cold]
    fn look_long(&self, bits: u16) -> Option<Code> {
        let length = (QUICK + 1..=16).find(|&length| u32::from(bits) < self.ends[length])?;
        let place = i32::from(bits >> (16 - length)) + self.offsets[length];
        let symbol = *self.symbols.get(usize::try_from(place).ok()?)?;
        Some(Code { symbol, length: length as u8 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_read_from_the_highest_without_escapes() {
        let mut bits = Bits::default();
        let stop = bits.fill(&[0b1010_0110, 0xff, 0x00, 0x80, 0xff, 0xd9], 0);
        assert_eq!(stop, Stop { at: 4, marker: Some(0xd9), behind: 6 });
        assert_eq!([3, 5, 8].map(|count| bits.number(count)), [0b101, 0b110, 0xff]);
        assert_eq!((bits.left(), bits.is_overrun()), (1, false));
        assert_eq!(bits.number(1), 1);
        bits.skip(7);
        assert_eq!((bits.left(), bits.is_overrun()), (0, false));
        // Past the end, zeros are read, and the overrun is detected.
        assert_eq!([16; 8].map(|count| bits.number(count)), [0; 8]);
        assert!(bits.is_overrun());
        // Refilling discards the previous data.
        let stop = bits.fill(&[7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0xff, 0xff, 0xd0], 1);
        assert_eq!(stop, Stop { at: 11, marker: Some(0xd0), behind: 14 });
        assert_eq!([16, 16, 16, 16, 8, 8].map(|count| bits.number(count)), [0, 0, 0, 0, 0, 9]);
        assert_eq!((bits.left(), bits.is_overrun()), (0, false));
    }

    /// Symbols 7 (`0`), 8 (`10`) and 9 (`110`).
    #[test]
    fn codes_are_in_order_of_their_lengths() {
        let counts = |counts: [u8; 3]| std::array::from_fn(|place| counts.get(place).copied().unwrap_or(0));
        let table = Huffman::new(&counts([1, 1, 1]), &[7, 8, 9]).unwrap();
        let mut bits = Bits::default();
        bits.fill(&[0b1101_0010, 0b1110_0000], 0);
        let read: Vec<Option<u8>> = (0..5).map(|_| bits.symbol(&table)).collect();
        assert_eq!(read, [Some(9), Some(8), Some(7), Some(8), None]);
        assert!(Huffman::new(&counts([3, 0, 0]), &[7, 8, 9]).is_none(), "two codes have one bit");
        assert!(Huffman::new(&counts([1, 1, 1]), &[7, 8]).is_none(), "a symbol lacks");
    }

    #[test]
    fn a_marker_byte_is_found_in_each_of_eight_places() {
        for place in 0..8 {
            for byte in 0..=u8::MAX {
                for others in [0x00, 0x01, 0x7f, 0x80, 0xfe] {
                    let mut eight = [others; 8];
                    eight[place] = byte;
                    assert_eq!(has_marker_byte(eight), byte == 0xff, "{byte:x} at {place} among {others:x}");
                }
            }
        }
        // Data of every length before a marker, and before an escape.
        for length in 0..20 {
            for (behind, marker) in [(&[0xff, 0xd9][..], Some(0xd9)), (&[0xff], None), (&[], None)] {
                let bytes =
                    [&vec![0x11; length][..], &[0xff, 0][..], &vec![0x22; 19 - length], behind].concat();
                let mut data = Vec::new();
                let found = stop(&bytes, 0, |part| data.extend_from_slice(part));
                let behind = bytes.len();
                assert_eq!(found, Stop { at: 21, marker, behind }, "{length}");
                assert_eq!(data, [vec![0x11; length], vec![0xff], vec![0x22; 19 - length]].concat());
            }
        }
    }

    /// One code of one bit, two of twelve bits and three of sixteen: the longer ones are not in the quick table.
    #[test]
    fn codes_of_more_than_eleven_bits_are_read_with_the_number_behind_them() {
        let mut counts = [0; 16];
        (counts[0], counts[11], counts[15]) = (1, 2, 3);
        let symbols = [0x05, 0x13, 0x24, 0x30, 0x4f, 0x51];
        let mut table = Huffman::new(&counts, &symbols).unwrap();
        table.prepare();
        // 2,048 and 2,049 in twelve bits; 32,800 to 32,802 in sixteen; 32,803 is no code.
        for (code, symbol) in [
            ("1000 0000 0000", Some(0x13_u8)),
            ("1000 0000 0001", Some(0x24)),
            ("1000 0000 0010 0000", Some(0x30)),
            ("1000 0000 0010 0001", Some(0x4f)),
            ("1000 0000 0010 0010", Some(0x51)),
            ("1000 0000 0010 0011", None),
            ("0", Some(0x05)),
        ] {
            let digits: Vec<u8> =
                code.bytes().filter(|digit| *digit != b' ').map(|digit| digit - b'0').collect();
            // The code begins at the sixth bit; a number of the symbol's length follows, and then 101.
            let behind = usize::from(symbol.unwrap_or(0) & 15);
            let all = [&[0; 5][..], &digits, &vec![0; behind], &[1, 0, 1]].concat();
            let mut bytes = vec![0_u8; 8];
            all.iter().enumerate().for_each(|(place, digit)| bytes[place / 8] |= digit << (7 - place % 8));
            for with_number in [false, true] {
                let mut bits = Bits::default();
                bits.fill(&bytes, 0);
                bits.skip(5);
                assert_eq!(bits.peek_coefficients(&table).bits == 0, symbol != Some(0x05), "{code}");
                let found = if with_number { bits.symbol_and_number(&table) } else { bits.symbol(&table) };
                assert_eq!(found, symbol, "{code}");
                if symbol.is_some() {
                    bits.skip(if with_number { 0 } else { behind });
                    assert_eq!(bits.number(3), 0b101, "{code}");
                }
            }
        }
    }

    /// The standard reserves the code of ones alone, but files that use it exist.
    #[test]
    fn a_table_may_use_every_code() {
        // One code of each length from 1 to 15, and two of 16: a zero behind more and more ones, and sixteen ones.
        let mut counts = [1; 16];
        counts[15] = 2;
        let symbols: Vec<u8> = (0x41..0x53).collect();
        let table = Huffman::new(&counts, &symbols[..17]).unwrap();
        for (ones, &symbol) in symbols[..17].iter().enumerate() {
            let code = u64::from(!(0xffff_u32 >> ones) as u16);
            let found = table.look(code << 48).map(|code| (code.symbol, usize::from(code.length)));
            assert_eq!(found, Some((symbol, 16.min(ones + 1))), "{ones} ones");
        }
        counts[15] = 3;
        assert!(Huffman::new(&counts, &symbols).is_none(), "one code too many");
        let both =
            Huffman::new(&std::array::from_fn(|place| if place == 0 { 2 } else { 0 }), &[7, 8]).unwrap();
        assert_eq!([0, 1 << 63].map(|bits| both.look(bits).map(|code| code.symbol)), [Some(7), Some(8)]);
    }
}
