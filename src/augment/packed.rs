//! Drawn views packed as plain numbers in the layout of `gpu/views.cu`, with the memory that a batch of them needs.

use super::{
    blur,
    draw::{Adjustment, Drawn},
    resize::Filter,
};

/// Maximum number of adjustments of a view: one of each kind.
const MAX_ADJUSTMENTS: usize = 4;

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
    kinds: [i32; MAX_ADJUSTMENTS],
    factors: [f32; MAX_ADJUSTMENTS],
    blur: i32,
    radius: i32,
    full: u32,
    edge: u32,
}

/// Views of equal size, and what the kernel needs to make them.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Views in the order of the batch.
    pub views: Vec<View>,
    /// Width and height of every view, in pixels.
    pub side: usize,
    /// Maximum number of input pixels per output pixel, along either axis.
    pub taps: usize,
    /// Bytes of scratch memory per view.
    pub scratch: usize,
}

impl View {
    /// Packs a view of an image that is `width` pixels wide and whose bytes begin at offset `source`.
    fn new(drawn: &Drawn, source: usize, width: usize) -> Self {
        assert!(drawn.jitter.len() <= MAX_ADJUSTMENTS, "{} adjustments", drawn.jitter.len());
        let (mut kinds, mut factors) = ([0; MAX_ADJUSTMENTS], [0.0; MAX_ADJUSTMENTS]);
        for (place, adjustment) in drawn.jitter.iter().enumerate() {
            (kinds[place], factors[place]) = match *adjustment {
                Adjustment::Brightness(factor) => (0, factor as f32),
                Adjustment::Contrast(factor) => (1, factor as f32),
                Adjustment::Saturation(factor) => (2, factor as f32),
                // The same steps as in `color::hue`.
                Adjustment::Hue(turn) => (3, f32::from((turn * 255.0) as i32 as u8)),
            };
        }
        let kernel = drawn.blur.and_then(blur::Kernel::from_sigma);
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

    /// Returns its representation in memory.
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
    /// Packs views, each given with the offset of its image's bytes and the width of its image.
    ///
    /// # Panics
    /// If there are no views, or their sides differ.
    pub fn new(views: &[(Drawn, usize, usize)]) -> Self {
        let side = views[0].0.side;
        let (mut taps, mut scratch) = (0, 0);
        for (drawn, ..) in views {
            assert_eq!(drawn.side, side, "all views have one side");
            let (width, height) = (drawn.crop.width, drawn.crop.height);
            taps = taps.max(drawn.filter.max_taps(width.max(height), side));
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

    #[test]
    fn room_is_for_the_longer_side_of_the_largest_crop() {
        let mut drawn =
            super::super::ViewSet::simclr(32, 1.0).draw(400, 30, &mut crate::seed::Seed::root(1).stream());
        let view = &mut drawn[0];
        (view.crop.left, view.crop.top, view.crop.width, view.crop.height) = (0, 0, 320, 20);
        view.filter = Filter::Bicubic;
        let batch = Batch::new(&[(view.clone(), 0, 400)]);
        // Ten input pixels for each output pixel: a bicubic kernel is 4 x 10 wide, and one more. Scratch memory: 32
        // rows of 320 pixels of three colours.
        assert_eq!((batch.taps, batch.scratch), (41, 3 * 32 * 320));
    }
    /// The numbers after `source`, in the order of `views.cu`'s `View`: integers, four factors, integers.
    fn read(view: &View) -> (u64, Vec<i32>, Vec<f32>, Vec<i32>) {
        let bytes = view.bytes();
        let (source, rest) = bytes.split_first_chunk::<8>().unwrap();
        let words = rest.as_chunks::<4>().0;
        let integers =
            |words: &[[u8; 4]]| words.iter().map(|word| i32::from_ne_bytes(*word)).collect::<Vec<_>>();
        let factors = words[14..18].iter().map(|word| f32::from_ne_bytes(*word)).collect();
        (u64::from_ne_bytes(*source), integers(&words[..14]), factors, integers(&words[18..]))
    }

    #[test]
    fn bytes_are_the_fields_in_the_kernels_order() {
        let all = Drawn {
            side: 32,
            filter: Filter::Bicubic,
            crop: super::super::resize::CropBox { left: 3, top: 5, width: 11, height: 13 },
            jitter: vec![Adjustment::Contrast(0.5), Adjustment::Hue(0.25), Adjustment::Brightness(1.5)],
            flip: true,
            grey: false,
            blur: Some(2.0),
            solarise: true,
        };
        let none = Drawn {
            filter: Filter::Bilinear,
            jitter: vec![Adjustment::Saturation(0.75), Adjustment::Hue(-0.1)],
            flip: false,
            grey: true,
            blur: None,
            solarise: false,
            ..all.clone()
        };
        let batch = Batch::new(&[(all, 77, 400), (none, 88, 500)]);
        // The hue turns by 63 of 255 steps, or back by 25, stored as 256 - 25. A box of radius 1.375 gives each of
        // three pixels the weight 2^24 / 3.75, and half of the rest to the next pixel on either side.
        let before = |width: i32| vec![width, 3, 5, 11, 13];
        assert_eq!(
            read(&batch.views[0]),
            (
                77,
                [before(400), vec![1, 1, 0, 1, 3], vec![1, 3, 0, 0]].concat(),
                vec![0.5, 63.0, 1.5, 0.0],
                vec![1, 1, 4_473_924, 1_677_722]
            )
        );
        assert_eq!(
            read(&batch.views[1]),
            (
                88,
                [before(500), vec![0, 0, 1, 0, 2], vec![2, 3, 0, 0]].concat(),
                vec![0.75, 231.0, 0.0, 0.0],
                vec![0; 4]
            )
        );
    }

    #[test]
    fn room_is_that_of_the_largest_of_all_views() {
        let drawn = super::super::ViewSet::mae(32).draw(400, 300, &mut crate::seed::Seed::root(1).stream());
        let of = |filter, width, height| {
            let mut view = Drawn { filter, ..drawn[0].clone() };
            (view.crop.left, view.crop.top, view.crop.width, view.crop.height) = (0, 0, width, height);
            (view, 0, 400)
        };
        let (wide, tall) = (of(Filter::Bicubic, 64, 32), of(Filter::Bilinear, 32, 96));
        for views in [[wide.clone(), tall.clone()], [tall, wide]] {
            let batch = Batch::new(&views);
            // Bicubic from 64 to 32 pixels: 2 x 2 x 2 + 1 = 9 taps; bilinear from 96 to 32 pixels: 2 x 1 x 3 + 1 = 7.
            assert_eq!((batch.side, batch.taps, batch.scratch), (32, 9, 3 * 32 * 96));
        }
    }

    #[test]
    fn room_is_for_the_longer_side_of_upright_crops_too() {
        let mut drawn =
            super::super::ViewSet::mae(32).draw(40, 400, &mut crate::seed::Seed::root(1).stream());
        let view = &mut drawn[0];
        (view.crop.left, view.crop.top, view.crop.width, view.crop.height) = (0, 0, 20, 320);
        let batch = Batch::new(&[(view.clone(), 0, 40)]);
        assert_eq!((batch.taps, batch.scratch), (41, 3 * 32 * 320));
    }
}
