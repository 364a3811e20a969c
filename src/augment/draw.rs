//! One drawn view: plain data, and its application to an image.
//!
//! Drawing and applying are apart so that the same draws can be applied elsewhere, and so that a view
//! can be recorded and repeated. Knows nothing about the distributions that it was drawn from.

use super::{
    blur::gaussian_blur,
    color,
    resize::{CropBox, Filter, resize},
};
use crate::data::Image;

/// Everything that was random about one view.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// Width and height of the view in pixels.
    pub side: usize,
    /// Kernel that the crop is resized with.
    pub filter: Filter,
    /// Part of the image that the view shows, in pixels of the image.
    pub crop: CropBox,
    /// Colour adjustments in the order of application.
    pub jitter: Vec<Adjustment>,
    /// Mirrored left to right.
    pub flip: bool,
    /// Colours replaced by their luma.
    pub grey: bool,
    /// Standard deviation in pixels, where the view is blurred.
    pub blur: Option<f64>,
    /// Bytes of 128 and more inverted.
    pub solarise: bool,
}

/// One step of colour jitter, with its factor (1 changes nothing) or its turn in circles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Adjustment {
    /// Factor of every value, at least 0.
    Brightness(f64),
    /// Factor of the distance to the mean luma, at least 0.
    Contrast(f64),
    /// Factor of the distance to the pixel's own luma, at least 0.
    Saturation(f64),
    /// Turn of the hue in circles, -1/2..1/2.
    Hue(f64),
}

impl Drawn {
    /// Makes the view: crop, jitter, flip, grey, blur, solarise.
    ///
    /// # Panics
    /// If the crop reaches beyond `image`, which then is not the size it was drawn for.
    pub fn apply(&self, image: &Image) -> Image {
        let mut view = resize(image, self.crop, self.side, self.side, self.filter);
        for adjustment in &self.jitter {
            adjustment.apply(&mut view);
        }
        if self.flip {
            flip(&mut view);
        }
        if self.grey {
            color::greyscale(&mut view);
        }
        if let Some(sigma) = self.blur {
            gaussian_blur(&mut view, sigma);
        }
        if self.solarise {
            color::solarise(&mut view);
        }
        view
    }
}

impl Adjustment {
    /// Changes the image in place.
    pub fn apply(self, image: &mut Image) {
        match self {
            Self::Brightness(factor) => color::brightness(image, factor),
            Self::Contrast(factor) => color::contrast(image, factor),
            Self::Saturation(factor) => color::saturation(image, factor),
            Self::Hue(turn) => color::hue(image, turn),
        }
    }
}

/// Mirrors left to right, in place.
pub fn flip(image: &mut Image) {
    for row in image.pixels.chunks_exact_mut(3 * image.width) {
        row.as_chunks_mut::<3>().0.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blurred_edges_are_solarised_and_grey_pixels_stay_grey() {
        // Black beside white. Solarised first, all of it would be black, and nothing left to blur.
        let pixels = (0..16 * 16).flat_map(|place| [if place % 16 < 8 { 0 } else { 255 }; 3]).collect();
        let image = Image::new(16, 16, pixels);
        let whole = CropBox { left: 0, top: 0, width: 16, height: 16 };
        let drawn = Drawn {
            side: 16,
            filter: Filter::Bicubic,
            crop: whole,
            jitter: Vec::new(),
            flip: false,
            grey: false,
            blur: Some(2.0),
            solarise: true,
        };
        let row: Vec<u8> = drawn.apply(&image).pixels[..3 * 16].iter().copied().step_by(3).collect();
        assert_eq!((row[0], row[15]), (0, 0), "{row:?}");
        assert!(row.iter().any(|&value| value > 60), "an edge between them: {row:?}");

        // Red is turned to another hue before colours are lost, so grey is that hue's: afterwards it could not turn.
        let red = Image::new(1, 1, vec![255, 0, 0]);
        let crop = CropBox { left: 0, top: 0, width: 1, height: 1 };
        let one = Drawn { side: 1, crop, blur: None, solarise: false, grey: true, ..drawn };
        let grey = |jitter| Drawn { jitter, ..one.clone() }.apply(&red).pixels[0];
        let (before, turned) = (grey(Vec::new()), grey(vec![Adjustment::Hue(1.0 / 3.0)]));
        assert_eq!((before, turned), (76, 150), "lumas of red and of green");
    }
}
