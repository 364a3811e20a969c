//! Sheets of small pictures with captions, for people to look at.
//!
//! [`grid`] lays out any captioned rows; [`draw`] is the sheet of the synthetic classes, each defect beside the
//! same pipe without it. Captions use a 5 x 7 bitmap font drawn for this file (capitals only). Independent of
//! files: the caller writes the image.

use rayon::prelude::*;
use skewbench::{
    data::{
        ClassSet, DefectClass, Image,
        synthetic::{self, Scene},
    },
    seed::Seed,
};

/// One line of a sheet: a caption (wrapped at spaces, and broken at `\n`) and its images.
pub struct Line {
    pub caption: String,
    /// Images of equal size.
    pub images: Vec<Image>,
}

/// Number of pairs (with and without the defect) per class, and number of scenes from which they are chosen.
const PAIRS: usize = 5;
const CANDIDATES: usize = 15;

/// Pixels between images.
const GAP: usize = 4;
const PAPER: [u8; 3] = [24, 24, 26];
const INK: [u8; 3] = [232, 230, 222];

/// Draws the 17 classes and normal pipes at `side` x `side` pixels per image: from obvious on the left to barely
/// visible on the right, each defect followed by the same pipe without it.
pub fn draw(side: usize, seed: Seed) -> Image {
    let mut rows: Vec<Line> =
        DefectClass::ALL.into_par_iter().map(|class| class_row(class, side, seed)).collect();
    let normals = (0..2 * PAIRS).into_par_iter().map(|i| {
        let scene = Scene::sample(seed.child("normal").index(i), ClassSet::EMPTY);
        synthetic::draw(&scene, side)
    });
    rows.push(Line { caption: "NORMAL\nno defect".into(), images: normals.collect() });
    let headings: Vec<_> = (0..PAIRS)
        .flat_map(|i| {
            [
                if i == 0 {
                    "plain"
                } else if i + 1 == PAIRS {
                    "hidden"
                } else {
                    ""
                },
                "without",
            ]
        })
        .collect();
    grid(&headings, &rows)
}

fn class_row(class: DefectClass, side: usize, seed: Seed) -> Line {
    let severity = |seed: &Seed| Scene::severity(*seed, class);
    let mut seeds: Vec<_> = (0..CANDIDATES).map(|i| seed.child(class.code()).index(i)).collect();
    seeds.sort_by(|a, b| severity(b).total_cmp(&severity(a)));
    let classes = ClassSet::EMPTY.with(class);
    let images = seeds.into_iter().step_by(CANDIDATES / PAIRS).flat_map(|seed| {
        [Scene::sample(seed, classes), Scene::without_defects(seed, classes)]
            .map(|scene| synthetic::draw(&scene, side))
    });
    Line { caption: format!("{}\n{}", class.code(), class.meaning()), images: images.collect() }
}

/// Lays out `rows` under `headings`, one heading per column; there may be fewer headings than columns.
///
/// # Panics
/// If there is no image at all.
pub fn grid(headings: &[&str], rows: &[Line]) -> Image {
    let first = rows.iter().flat_map(|row| &row.images).next().expect("a contact sheet needs a picture");
    let (width, height) = (first.width, first.height);
    let size = (height / 48).max(1);
    let columns = rows.iter().map(|row| row.images.len()).max().unwrap_or(0);
    let captions: Vec<_> = rows.iter().map(|row| wrap(&row.caption)).collect();
    let longest = captions.iter().flatten().map(|line| line.len()).max().unwrap_or(0);
    let left = GAP + longest * ADVANCE * size + GAP;
    let top = if headings.is_empty() { GAP } else { LEADING * size + 2 * GAP };
    let mut sheet = Sheet::new(left + columns * (width + GAP), top + rows.len() * (height + GAP));
    for (column, heading) in headings.iter().enumerate() {
        sheet.write(heading, left + column * (width + GAP), GAP, size);
    }
    for (i, (row, caption)) in rows.iter().zip(&captions).enumerate() {
        let y = top + i * (height + GAP);
        for (line, text) in caption.iter().enumerate() {
            sheet.write(text, GAP, y + line * LEADING * size, size);
        }
        for (column, image) in row.images.iter().enumerate() {
            sheet.paste(image, left + column * (width + GAP), y);
        }
    }
    sheet.0
}

/// Wraps a caption into lines of at most 14 characters; a longer word gets a line of its own.
fn wrap(caption: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in caption.split('\n') {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.len() + 1 + word.len() > 14 {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

struct Sheet(Image);

impl Sheet {
    fn new(width: usize, height: usize) -> Self {
        Self(Image::new(width, height, PAPER.repeat(width * height)))
    }

    /// Sets a pixel; pixels outside the sheet are ignored.
    fn set(&mut self, x: usize, y: usize, colour: &[u8]) {
        if x < self.0.width && y < self.0.height {
            let at = 3 * (y * self.0.width + x);
            self.0.pixels[at..at + 3].copy_from_slice(colour);
        }
    }

    fn paste(&mut self, image: &Image, left: usize, top: usize) {
        for (i, pixel) in image.pixels.chunks_exact(3).enumerate() {
            self.set(left + i % image.width, top + i / image.width, pixel);
        }
    }

    /// Writes `text` with dots of `size` x `size` pixels.
    fn write(&mut self, text: &str, left: usize, top: usize, size: usize) {
        for (i, character) in text.chars().enumerate() {
            for (row, dots) in glyph(character).split(' ').enumerate() {
                for (column, _) in dots.bytes().enumerate().filter(|&(_, dot)| dot == b'#') {
                    for dot in 0..size * size {
                        let x = left + (i * ADVANCE + column) * size + dot % size;
                        self.set(x, top + row * size + dot / size, &INK);
                    }
                }
            }
        }
    }
}

/// Distance from one character, and from one line, to the next, in dots.
const ADVANCE: usize = 6;
const LEADING: usize = 9;

/// Returns the seven rows of a character; lower-case letters are shown as capitals, unknown characters as a box.
#[rustfmt::skip]
fn glyph(character: char) -> &'static str {
    match character.to_ascii_uppercase() {
        'A' => ".###. #...# #...# ##### #...# #...# #...#",
        'B' => "####. #...# #...# ####. #...# #...# ####.",
        'C' => ".###. #...# #.... #.... #.... #...# .###.",
        'D' => "####. #...# #...# #...# #...# #...# ####.",
        'E' => "##### #.... #.... ####. #.... #.... #####",
        'F' => "##### #.... #.... ####. #.... #.... #....",
        'G' => ".###. #...# #.... #.### #...# #...# .###.",
        'H' => "#...# #...# #...# ##### #...# #...# #...#",
        'I' => ".###. ..#.. ..#.. ..#.. ..#.. ..#.. .###.",
        'J' => "..### ...#. ...#. ...#. ...#. #..#. .##..",
        'K' => "#...# #..#. #.#.. ##... #.#.. #..#. #...#",
        'L' => "#.... #.... #.... #.... #.... #.... #####",
        'M' => "#...# ##.## #.#.# #.#.# #...# #...# #...#",
        'N' => "#...# ##..# #.#.# #.#.# #..## #...# #...#",
        'O' => ".###. #...# #...# #...# #...# #...# .###.",
        'P' => "####. #...# #...# ####. #.... #.... #....",
        'Q' => ".###. #...# #...# #...# #.#.# #..#. .##.#",
        'R' => "####. #...# #...# ####. #.#.. #..#. #...#",
        'S' => ".#### #.... #.... .###. ....# ....# ####.",
        'T' => "##### ..#.. ..#.. ..#.. ..#.. ..#.. ..#..",
        'U' => "#...# #...# #...# #...# #...# #...# .###.",
        'V' => "#...# #...# #...# #...# .#.#. .#.#. ..#..",
        'W' => "#...# #...# #...# #.#.# #.#.# ##.## #...#",
        'X' => "#...# #...# .#.#. ..#.. .#.#. #...# #...#",
        'Y' => "#...# #...# .#.#. ..#.. ..#.. ..#.. ..#..",
        'Z' => "##### ....# ...#. ..#.. .#... #.... #####",
        '0' => ".###. #...# #..## #.#.# ##..# #...# .###.",
        '1' => "..#.. .##.. ..#.. ..#.. ..#.. ..#.. .###.",
        '2' => ".###. #...# ....# ..##. .#... #.... #####",
        '3' => ".###. #...# ....# ..##. ....# #...# .###.",
        '4' => "...#. ..##. .#.#. #..#. ##### ...#. ...#.",
        '5' => "##### #.... ####. ....# ....# #...# .###.",
        '6' => "..##. .#... #.... ####. #...# #...# .###.",
        '7' => "##### ....# ...#. ..#.. ..#.. .#... .#...",
        '8' => ".###. #...# #...# .###. #...# #...# .###.",
        '9' => ".###. #...# #...# .#### ....# ...#. .##..",
        ' ' => "..... ..... ..... ..... ..... ..... .....",
        '.' => "..... ..... ..... ..... ..... .##.. .##..",
        ',' => "..... ..... ..... ..... .##.. .##.. .#...",
        ':' => "..... .##.. .##.. ..... .##.. .##.. .....",
        '-' => "..... ..... ..... .###. ..... ..... .....",
        '+' => "..... ..#.. ..#.. ##### ..#.. ..#.. .....",
        '=' => "..... ..... ##### ..... ##### ..... .....",
        '_' => "..... ..... ..... ..... ..... ..... #####",
        '/' => "....# ....# ...#. ..#.. .#... #.... #....",
        '%' => "##..# ##..# ...#. ..#.. .#... #..## #..##",
        '(' => "...#. ..#.. .#... .#... .#... ..#.. ...#.",
        ')' => ".#... ..#.. ...#. ...#. ...#. ..#.. .#...",
        _   => "##### #...# #...# #...# #...# #...# #####",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_and_captions_land_where_the_layout_says() {
        let tile = |value| Image::new(2, 2, vec![value; 12]);
        let row = |caption: &str, value| Line {
            caption: caption.into(),
            images: vec![tile(value), tile(value + 1)],
        };
        let sheet = grid(&[], &[row("I", 7), row("I", 9)]);
        // Left margin: gap, one character, gap. Then two tiles of 2 and a gap after each.
        let left = GAP + ADVANCE + GAP;
        assert_eq!((sheet.width, sheet.height), (left + 2 * (2 + GAP), GAP + 2 * (2 + GAP)));
        let at = |x: usize, y: usize| &sheet.pixels[3 * (y * sheet.width + x)..][..3];
        assert_eq!(at(left, GAP), [7; 3]);
        assert_eq!(at(left + 2 + GAP, GAP + 2 + GAP), [10; 3]);
        assert_eq!(at(GAP + 1, GAP), INK, "the serif of the I");
        assert_eq!(at(GAP, GAP), PAPER);
    }

    /// The longest row and the longest caption set the width, whichever rows they are in.
    #[test]
    fn rows_may_differ_in_length() {
        let tile = |value| Image::new(2, 2, vec![value; 12]);
        let row = |caption: &str, values: &[u8]| Line {
            caption: caption.into(),
            images: values.iter().map(|&value| tile(value)).collect(),
        };
        let sheet = grid(&["A"], &[row("I", &[7]), row("II\nI", &[9, 11, 13])]);
        let (left, top) = (GAP + 2 * ADVANCE + GAP, LEADING + 2 * GAP);
        assert_eq!((sheet.width, sheet.height), (left + 3 * (2 + GAP), top + 2 * (2 + GAP)));
        let at = |x: usize, y: usize| &sheet.pixels[3 * (y * sheet.width + x)..][..3];
        assert_eq!(at(left, top), [7; 3]);
        assert_eq!(at(left + 2 + GAP, top), PAPER, "the first row has one picture");
        assert_eq!(at(left + 2 * (2 + GAP) + 1, top + 2 + GAP + 1), [13; 3]);
    }

    /// Images of 96 pixels get dots of two by two pixels, and a heading above each column.
    #[test]
    fn large_pictures_have_large_letters_and_headings() {
        let images = vec![Image::new(96, 96, vec![7; 3 * 96 * 96]); 2];
        let sheet = grid(&["", "I"], &[Line { caption: "I".into(), images }]);
        let (left, top) = (GAP + ADVANCE * 2 + GAP, LEADING * 2 + 2 * GAP);
        assert_eq!((sheet.width, sheet.height), (left + 2 * (96 + GAP), top + 96 + GAP));
        let at = |x: usize, y: usize| &sheet.pixels[3 * (y * sheet.width + x)..][..3];
        let dots = |x: usize, y: usize| -> Vec<String> {
            let dot = |row: usize, column: usize| {
                let square = [(0, 0), (0, 1), (1, 0), (1, 1)];
                let ink = square.map(|(down, right)| at(x + 2 * column + right, y + 2 * row + down) == INK);
                assert!(ink == [true; 4] || ink == [false; 4], "a dot is a square: {ink:?}");
                if ink[0] { '#' } else { '.' }
            };
            (0..7).map(|row| (0..5).map(|column| dot(row, column)).collect()).collect()
        };
        assert_eq!(dots(GAP, top).join(" "), glyph('I'), "the caption");
        assert_eq!(dots(left + 96 + GAP, GAP).join(" "), glyph('I'), "the heading of the second column");
        assert_eq!(at(left + 96 + GAP + 95, top + 95), [7; 3]);
    }

    #[test]
    fn captions_break_at_spaces() {
        assert_eq!(wrap("RB\ncracks, breaks and collapses"), ["RB", "cracks, breaks", "and collapses"]);
    }

    #[test]
    fn every_character_of_the_captions_has_a_glyph_of_five_by_seven() {
        let captions: String =
            DefectClass::ALL.iter().flat_map(|class| [class.code(), class.meaning()]).collect();
        let box_glyph = glyph('\u{1}');
        for character in captions.chars().chain("NORMAL 0123456789".chars()) {
            let rows: Vec<_> = glyph(character).split(' ').collect();
            assert!(rows.len() == 7 && rows.iter().all(|row| row.len() == 5), "{character:?}");
            assert_ne!(glyph(character), box_glyph, "{character:?}");
        }
    }

    /// Five pairs of each class, the most obvious at the left, each defect beside the same pipe without it.
    #[test]
    fn a_class_is_shown_from_obvious_to_hidden_beside_sound_pipes() {
        let (class, seed) = (DefectClass::ALL[2], Seed::root(5));
        let row = class_row(class, 32, seed);
        assert_eq!(row.caption, format!("{}\n{}", class.code(), class.meaning()));
        let mut known: Vec<(f32, Seed)> = (0..15)
            .map(|number| {
                let seed = seed.child(class.code()).index(number);
                (Scene::severity(seed, class), seed)
            })
            .collect();
        known.sort_by(|a, b| b.0.total_cmp(&a.0));
        assert!(known[0].0 > known[12].0);
        assert_eq!(row.images.len(), 10);
        for (pair, place) in row.images.chunks(2).zip([0, 3, 6, 9, 12]) {
            let classes = ClassSet::EMPTY.with(class);
            let (_, seed) = known[place];
            let drawn = [Scene::sample(seed, classes), Scene::without_defects(seed, classes)];
            for (found, scene) in pair.iter().zip(drawn) {
                assert!(found.pixels == synthetic::draw(&scene, 32).pixels, "place {place}");
            }
            assert!(pair[0].pixels != pair[1].pixels, "the defect can be seen");
        }
    }

    /// A row for each class, in order, and a row of different normal pipes.
    #[test]
    fn a_sheet_has_every_class_and_normal_pipes() {
        let seed = Seed::root(5);
        let sheet = draw(32, seed);
        let captions: Vec<String> =
            DefectClass::ALL.iter().map(|class| format!("{}\n{}", class.code(), class.meaning())).collect();
        let longest = captions.iter().flat_map(|caption| wrap(caption)).map(|line| line.len()).max().unwrap();
        let (left, top) = (GAP + longest * ADVANCE + GAP, LEADING + 2 * GAP);
        assert_eq!((sheet.width, sheet.height), (left + 10 * (32 + GAP), top + 18 * (32 + GAP)));
        let tile = |column: usize, row: usize| -> Vec<u8> {
            let (x, y) = (left + column * (32 + GAP), top + row * (32 + GAP));
            (0..32)
                .flat_map(|line| sheet.pixels[3 * ((y + line) * sheet.width + x)..][..96].to_vec())
                .collect()
        };
        for (row, class) in DefectClass::ALL.into_iter().enumerate().step_by(8) {
            for (column, image) in class_row(class, 32, seed).images.iter().enumerate() {
                assert!(tile(column, row) == image.pixels, "{column} of {}", class.code());
            }
        }
        for column in 0..10 {
            let scene = Scene::sample(seed.child("normal").index(column), ClassSet::EMPTY);
            assert!(tile(column, 17) == synthetic::draw(&scene, 32).pixels, "normal pipe {column}");
        }
        // Headings mark the left end, the right end, and every second column, which is without a defect.
        let ink = |column: usize| {
            let x = left + column * (32 + GAP);
            (0..LEADING)
                .any(|y| (x..x + 32).any(|x| sheet.pixels[3 * ((GAP + y) * sheet.width + x)..][..3] == INK))
        };
        assert!(ink(0) && ink(1) && ink(3) && ink(8) && ink(9));
    }

    #[test]
    fn no_two_characters_look_alike() {
        let characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:-+=_/%()";
        let glyphs: std::collections::BTreeSet<&str> = characters.chars().map(glyph).collect();
        assert_eq!(glyphs.len(), characters.len());
        // These letters are their own mirror images.
        for character in "AHIMOTUVWXY".chars() {
            for row in glyph(character).split(' ') {
                assert_eq!(row.chars().rev().collect::<String>(), row, "{character}");
            }
        }
    }

    /// The first defect of a row is plain, the last one hidden, and each has its pipe without it at its right.
    #[test]
    fn every_heading_is_above_its_own_column() {
        let seed = Seed::root(7);
        let mut rows: Vec<Line> =
            DefectClass::ALL.into_iter().map(|class| class_row(class, 32, seed)).collect();
        let normal = |i| synthetic::draw(&Scene::sample(seed.child("normal").index(i), ClassSet::EMPTY), 32);
        rows.push(Line { caption: "NORMAL\nno defect".into(), images: (0..10).map(normal).collect() });
        let headings = ["plain", "without", "", "without", "", "without", "", "without", "hidden", "without"];
        let (found, expected) = (draw(32, seed), grid(&headings, &rows));
        assert_eq!((found.width, found.height), (expected.width, expected.height));
        assert!(found.pixels == expected.pixels);
    }

    /// At twice the size, letters are twelve pixels apart and lines eighteen, in captions as in headings.
    #[test]
    fn large_letters_and_lines_do_not_overlap() {
        let images = vec![Image::new(96, 96, vec![7; 3 * 96 * 96]); 2];
        let sheet = grid(&["", "HE"], &[Line { caption: "IT\nLOW".into(), images }]);
        let (left, top) = (GAP + 3 * 12 + GAP, 18 + 2 * GAP);
        assert_eq!((sheet.width, sheet.height), (left + 2 * (96 + GAP), top + 96 + GAP));
        let dots = |x: usize, y: usize| -> String {
            let at = |x: usize, y: usize| sheet.pixels[3 * (y * sheet.width + x)..][..3] == INK;
            let row = |row: usize| (0..5).map(move |column| at(x + 2 * column + 1, y + 2 * row + 1));
            let text = |ink: bool| if ink { '#' } else { '.' };
            (0..7).map(|line| row(line).map(text).collect::<String>()).collect::<Vec<_>>().join(" ")
        };
        let second = left + 96 + GAP;
        for (letter, x, y) in [
            ('I', GAP, top),
            ('T', GAP + 12, top),
            ('L', GAP, top + 18),
            ('O', GAP + 12, top + 18),
            ('W', GAP + 24, top + 18),
            ('H', second, GAP),
            ('E', second + 12, GAP),
        ] {
            assert_eq!(dots(x, y), glyph(letter), "{letter}");
        }
    }
}
