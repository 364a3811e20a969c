//! Damage as done by disks, networks, editors and malice.

use skewbench::seed::Stream;

/// Numbers that commonly break sizes and counts.
const NUMBERS: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 32,
    i64::MAX as u64,
    u64::MAX - 7,
    u64::MAX,
];

/// Words that commonly break parsers of text.
const WORDS: [&[u8]; 16] = [
    b"null",
    b"-1",
    b"1e999",
    b"NaN",
    b"\0",
    b"\"",
    b"\n",
    b"\r\n",
    b",",
    b";",
    b"'=1",
    b"[[[[[[[[",
    b"{}",
    b"\xff\xfe",
    b"\xc3\x28",
    b"/../",
];

/// Applies one to four damages to a file; pieces may come from another one.
pub fn damaged(bytes: &[u8], other: &[u8], dice: &mut Stream) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=dice.below(4) {
        damage(&mut bytes, other, dice);
    }
    bytes
}

/// Returns a random range within `length` bytes, short ones as often as long ones.
fn piece(length: usize, dice: &mut Stream) -> std::ops::Range<usize> {
    let begin = dice.below(length + 1);
    let most = 1 << dice.below(12);
    begin..length.min(begin + 1 + dice.below(most))
}

fn damage(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Stream) {
    let place = dice.below(bytes.len() + 1);
    let part = piece(bytes.len(), dice);
    match dice.below(11) {
        0 => bytes.truncate(place),
        1 | 2 => {
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << dice.below(8);
            }
        }
        3 => {
            if let Some(byte) = bytes.get_mut(place) {
                *byte = dice.below(256) as u8;
            }
        }
        4 => drop(bytes.drain(part)),
        5 => {
            let copy = bytes[part].to_vec();
            bytes.splice(place..place, copy);
        }
        6 => bytes[part].fill(0),
        7 => {
            let from = piece(other.len(), dice);
            bytes.splice(part, other[from].iter().copied());
        }
        8 => {
            let number = NUMBERS[dice.below(NUMBERS.len())].to_le_bytes();
            let mut number = number[..1 << dice.below(4)].to_vec();
            if dice.coin(0.5) {
                number.reverse();
            }
            let end = bytes.len().min(place + number.len());
            bytes.splice(place..end, number);
        }
        9 => {
            let word = WORDS[dice.below(WORDS.len())];
            let end = bytes.len().min(place + if dice.coin(0.5) { word.len() } else { 0 });
            bytes.splice(place..end, word.iter().copied());
        }
        _ => other_digits(bytes, place, dice),
    }
}

/// Changes some digits after `place`: JSON headers and cells of tables have many.
fn other_digits(bytes: &mut Vec<u8>, place: usize, dice: &mut Stream) {
    let Some(begin) = bytes[place..].iter().position(u8::is_ascii_digit).map(|at| place + at) else { return };
    let count = bytes[begin..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let digits: Vec<u8> = (0..1 + dice.below(count + 3)).map(|_| b'0' + dice.below(10) as u8).collect();
    bytes.splice(begin..begin + count, digits);
}
