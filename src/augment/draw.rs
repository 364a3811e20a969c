//! One drawn view: plain data, and its application to an image.
//!
//! Drawing and applying are separate so that the same draws can be applied on other devices, and so that a view can
//! be recorded and repeated. Independent of the distributions that views are drawn from.

use super::{
    blur::gaussian_blur,
    color,
    resize::{CropBox, Filter, resize},
};
use crate::data::Image;

/// Everything that is random about one view.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// Width and height of the view, in pixels.
    pub side: usize,
    /// Resampling kernel of the crop.
    pub filter: Filter,
    /// The part of the image that the view shows, in pixels of the image.
    pub crop: CropBox,
    /// Colour adjustments in the order of application.
    pub jitter: Vec<Adjustment>,
    /// Whether the view is mirrored left to right.
    pub flip: bool,
    /// Whether colours are replaced by their luma.
    pub grey: bool,
    /// Standard deviation of the blur, in pixels; `None` without blur.
    pub blur: Option<f64>,
    /// Whether bytes of 128 and more are inverted.
    pub solarise: bool,
}

/// One step of colour jitter, with its factor (1 changes nothing) or its rotation of the hue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Adjustment {
    /// Factor of every value, at least 0.
    Brightness(f64),
    /// Factor applied to the distance from the mean luma, at least 0.
    Contrast(f64),
    /// Factor applied to the distance from the pixel's own luma, at least 0.
    Saturation(f64),
    /// Rotation of the hue as a fraction of the circle, -1/2..1/2.
    Hue(f64),
}

impl Drawn {
    /// Applies the draws to an image: crop, jitter, flip, grey, blur, solarise.
    ///
    /// # Panics
    /// If the crop reaches beyond `image`, which then has another size than the image the view was drawn for.
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
    /// Adjusts the image in place.
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
        // Black beside white. If solarised before it is blurred, the image would be black, with no edge to blur.
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

        // Jitter rotates the hue of red before colours are dropped, so the grey is that of the new hue.
        let red = Image::new(1, 1, vec![255, 0, 0]);
        let crop = CropBox { left: 0, top: 0, width: 1, height: 1 };
        let one = Drawn { side: 1, crop, blur: None, solarise: false, grey: true, ..drawn };
        let grey = |jitter| Drawn { jitter, ..one.clone() }.apply(&red).pixels[0];
        let (before, turned) = (grey(Vec::new()), grey(vec![Adjustment::Hue(1.0 / 3.0)]));
        assert_eq!((before, turned), (76, 150), "lumas of red and of green");
    }
    /// A pattern without symmetry, larger than the view.
    fn pattern() -> Image {
        Image::new(12, 10, (0..12 * 10 * 3).map(|n: usize| (n * n * 7 % 251) as u8).collect())
    }

    fn plain() -> Drawn {
        Drawn {
            side: 6,
            filter: Filter::Bilinear,
            crop: CropBox { left: 3, top: 1, width: 8, height: 7 },
            jitter: Vec::new(),
            flip: false,
            grey: false,
            blur: None,
            solarise: false,
        }
    }

    #[test]
    fn a_view_takes_every_step_that_was_drawn() {
        let image = pattern();
        let cropped = resize(&image, plain().crop, 6, 6, Filter::Bilinear);
        let by_hand = |step: &dyn Fn(&mut Image)| {
            let mut view = cropped.clone();
            step(&mut view);
            view
        };
        let jitter = vec![
            Adjustment::Contrast(0.5),
            Adjustment::Brightness(1.25),
            Adjustment::Saturation(0.75),
            Adjustment::Hue(0.1),
        ];
        let jittered = |view: &mut Image| {
            color::contrast(view, 0.5);
            color::brightness(view, 1.25);
            color::saturation(view, 0.75);
            color::hue(view, 0.1);
        };
        let views = [
            (plain(), cropped.clone()),
            (
                Drawn { filter: Filter::Bicubic, ..plain() },
                resize(&image, plain().crop, 6, 6, Filter::Bicubic),
            ),
            (Drawn { jitter: jitter.clone(), ..plain() }, by_hand(&jittered)),
            (Drawn { flip: true, ..plain() }, by_hand(&flip)),
            (Drawn { grey: true, ..plain() }, by_hand(&color::greyscale)),
            (Drawn { blur: Some(1.5), ..plain() }, by_hand(&|view| gaussian_blur(view, 1.5))),
            (Drawn { solarise: true, ..plain() }, by_hand(&color::solarise)),
            (
                Drawn { jitter, flip: true, grey: true, blur: Some(1.5), solarise: true, ..plain() },
                by_hand(&|view| {
                    jittered(view);
                    flip(view);
                    color::greyscale(view);
                    gaussian_blur(view, 1.5);
                    color::solarise(view);
                }),
            ),
        ];
        for (place, (drawn, expected)) in views.iter().enumerate() {
            assert!(drawn.apply(&image) == *expected, "{drawn:?}");
            let others = views.iter().enumerate().filter(|(other, _)| *other != place);
            assert!(
                others.into_iter().all(|(_, (_, other))| other != expected),
                "{drawn:?} shows as something else"
            );
        }
    }
}
