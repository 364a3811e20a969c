//! Drawn views as `gpu/views.cu` reads them: plain numbers, and how much room a batch of them needs.

use super::{
    blur,
    draw::{Adjustment, Drawn},
    resize::Filter,
};

/// Most adjustments of a view: one of each kind.
const MOST_ADJUSTMENTS: usize = 4;

/// `View` of `views.cu`, field by field.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct View {
    source: u64,
    width: i32,
    left: i32,
    top: i32,
    crop_width: i32,
    crop_height: i32,
    bicubic: i32,
    flip: i32,
    grey: i32,
    solarise: i32,
    adjustments: i32,
    kinds: [i32; MOST_ADJUSTMENTS],
    factors: [f32; MOST_ADJUSTMENTS],
    blur: i32,
    radius: i32,
    full: u32,
    edge: u32,
}

/// Views of one side, and what the kernel needs to make them.
#[derive(Clone, Debug)]
pub struct Batch {
    /// In the order in which the batch shows them.
    pub views: Vec<View>,
    /// Width and height of every view in pixels.
    pub side: usize,
    /// Most input pixels of one output pixel, along either axis.
    pub taps: usize,
    /// Bytes of scratch memory that a view needs.
    pub scratch: usize,
}

impl View {
    /// A view of an image that is `width` pixels wide and whose bytes begin at `source`.
    fn new(drawn: &Drawn, source: usize, width: usize) -> Self {
        assert!(drawn.jitter.len() <= MOST_ADJUSTMENTS, "{} adjustments", drawn.jitter.len());
        let (mut kinds, mut factors) = ([0; MOST_ADJUSTMENTS], [0.0; MOST_ADJUSTMENTS]);
        for (place, adjustment) in drawn.jitter.iter().enumerate() {
            (kinds[place], factors[place]) = match *adjustment {
                Adjustment::Brightness(factor) => (0, factor as f32),
                Adjustment::Contrast(factor) => (1, factor as f32),
                Adjustment::Saturation(factor) => (2, factor as f32),
                // Steps as `color::hue` takes them.
                Adjustment::Hue(turn) => (3, f32::from((turn * 255.0) as i32 as u8)),
            };
        }
        let kernel = drawn.blur.and_then(blur::Kernel::of);
        let crop = drawn.crop;
        let [width, left, top, crop_width, crop_height] =
            [width, crop.left, crop.top, crop.width, crop.height].map(|size| size as i32);
        Self {
            source: source as u64,
            width,
            left,
            top,
            crop_width,
            crop_height,
            bicubic: i32::from(drawn.filter == Filter::Bicubic),
            flip: i32::from(drawn.flip),
            grey: i32::from(drawn.grey),
            solarise: i32::from(drawn.solarise),
            adjustments: drawn.jitter.len() as i32,
            kinds,
            factors,
            blur: i32::from(kernel.is_some()),
            radius: kernel.as_ref().map_or(0, |kernel| kernel.radius as i32),
            full: kernel.as_ref().map_or(0, |kernel| kernel.full),
            edge: kernel.as_ref().map_or(0, |kernel| kernel.edge),
        }
    }

    /// As it lies in memory.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.source.to_ne_bytes().to_vec();
        let before = [self.width, self.left, self.top, self.crop_width, self.crop_height];
        let switches = [self.bicubic, self.flip, self.grey, self.solarise, self.adjustments];
        let integers = before.into_iter().chain(switches).chain(self.kinds);
        integers.for_each(|number| bytes.extend(number.to_ne_bytes()));
        self.factors.iter().for_each(|number| bytes.extend(number.to_ne_bytes()));
        [self.blur, self.radius].iter().for_each(|number| bytes.extend(number.to_ne_bytes()));
        [self.full, self.edge].iter().for_each(|number| bytes.extend(number.to_ne_bytes()));
        bytes
    }
}

impl Batch {
    /// Views of images, each with where its image's bytes begin and how wide it is.
    ///
    /// # Panics
    /// Without views, or if their sides differ.
    pub fn new(views: &[(Drawn, usize, usize)]) -> Self {
        let side = views[0].0.side;
        let (mut taps, mut scratch) = (0, 0);
        for (drawn, ..) in views {
            assert_eq!(drawn.side, side, "all views have one side");
            let (width, height) = (drawn.crop.width, drawn.crop.height);
            taps = taps.max(drawn.filter.most_taps(width.max(height), side));
            scratch = scratch.max(3 * side * width.max(height));
        }
        let views = views.iter().map(|(drawn, source, width)| View::new(drawn, *source, *width)).collect();
        Self { views, side, taps, scratch }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_as_long_as_its_bytes() {
        let drawn =
            super::super::ViewSet::simclr(32, 1.0).draw(40, 30, &mut crate::seed::Seed::root(1).stream());
        let batch = Batch::new(&[(drawn[0].clone(), 0, 40)]);
        assert_eq!(batch.views[0].bytes().len(), size_of::<View>());
    }
}
