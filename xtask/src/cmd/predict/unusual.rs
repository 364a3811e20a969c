//! Images unlike those that the detector was made with: of another size, or grey instead of coloured.

use skewbench::{
    bundle::Bundle,
    data::{Image, foreign},
    named::counted,
};

/// Largest difference between the channels of a grey image, of 255 levels. Ours: JPEG rounds each channel.
const GREY: u8 = 8;

/// Counts images unlike those that the detector was made with.
pub struct Unusual {
    /// Width and height of most training images, if they are known.
    usual_size: Option<[usize; 2]>,
    /// Whether the bundle's own pictures are grey; `None` if some are, or there are none.
    usually_grey: Option<bool>,
    /// The first image of another size, and how many there are.
    sizes: Option<(String, usize)>,
    /// The first image that is grey where none was, or coloured where all were grey, and how many there are.
    colours: Option<(String, usize)>,
}

impl Unusual {
    pub fn new(bundle: &Bundle) -> Self {
        let grey = bundle.pictures().iter().filter(|picture| is_grey(picture)).count();
        let usually_grey = match (grey, bundle.pictures().len()) {
            (_, 0) => None,
            (0, _) => Some(false),
            (grey, all) => (grey == all).then_some(true),
        };
        Self { usual_size: bundle.manifest.usual_size, usually_grey, sizes: None, colours: None }
    }

    /// Counts an image by its original size and its picture.
    pub fn count(&mut self, path: &str, size: [usize; 2], picture: &Image) {
        let add =
            |others: &mut Option<(String, usize)>| others.get_or_insert_with(|| (path.to_owned(), 0)).1 += 1;
        if self.usual_size.is_some_and(|usual| usual != size) {
            add(&mut self.sizes);
        }
        if self.usually_grey.is_some_and(|usual| usual != is_grey(picture)) {
            add(&mut self.colours);
        }
    }

    /// Returns a sentence for each way in which images differ.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let (Some([width, height]), Some((example, count))) = (self.usual_size, &self.sizes) {
            notes.push(format!(
                "{} not {width} x {height} like most training images, for example {}; the scores there may be less \
                 reliable",
                counted(*count, "image is", "images are"),
                foreign::escape_name(example)
            ));
        }
        if let (Some(grey), Some((example, count))) = (self.usually_grey, &self.colours) {
            let [found, usual] = if grey { ["coloured", "grey"] } else { ["grey", "coloured"] };
            notes.push(format!(
                "{} {found}, for example {}; the detector's own pictures are {usual}, so the scores there may be less \
                 reliable",
                counted(*count, "image is", "images are"),
                foreign::escape_name(example)
            ));
        }
        notes
    }
}

fn is_grey(picture: &Image) -> bool {
    let (pixels, _) = picture.pixels.as_chunks::<3>();
    pixels.iter().all(|[red, green, blue]| {
        let (least, most) = (*red.min(green).min(blue), *red.max(green).max(blue));
        most - least <= GREY
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual(usual_size: Option<[usize; 2]>, usually_grey: Option<bool>) -> Unusual {
        Unusual { usual_size, usually_grey, sizes: None, colours: None }
    }

    /// Two pixels; the second has these channels.
    fn picture(last: [u8; 3]) -> Image {
        Image::new(2, 1, [[7; 3], last].concat())
    }

    #[test]
    fn a_picture_is_grey_if_no_pixel_has_a_colour() {
        assert!(is_grey(&picture([200, 208, 203])));
        for coloured in [[200, 209, 200], [209, 200, 200], [200, 200, 209]] {
            assert!(!is_grey(&picture(coloured)), "{coloured:?}");
        }
    }

    #[test]
    fn what_differs_is_counted_and_the_first_is_named() {
        let (grey, coloured) = (picture([90; 3]), picture([90, 0, 90]));
        let mut unusual = usual(Some([64, 48]), Some(true));
        for (path, size, picture) in [
            ("a", [64, 48], &grey),
            ("b", [48, 64], &coloured),
            ("c", [64, 48], &coloured),
            ("d", [9, 9], &grey),
        ] {
            unusual.count(path, size, picture);
        }
        let end = "the scores there may be less reliable";
        let sizes = format!("2 images are not 64 x 48 like most training images, for example b; {end}");
        let colours = "2 images are coloured, for example b; the detector's own pictures are grey, so ";
        assert_eq!(unusual.notes(), [sizes, format!("{colours}{end}")]);

        let mut other = usual(None, Some(false));
        other.count("x", [1, 1], &coloured);
        assert!(other.notes().is_empty());
        other.count("y", [1, 1], &grey);
        let expected = "1 image is grey, for example y; the detector's own pictures are coloured, so ";
        assert_eq!(other.notes(), [format!("{expected}{end}")]);

        let mut unknown = usual(None, None);
        unknown.count("x", [1, 1], &grey);
        assert!(unknown.notes().is_empty());
    }
}
