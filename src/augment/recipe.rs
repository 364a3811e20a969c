//! Named recipes for views: those published with each method, the paper's, and those for evaluation.
//!
//! Steps are always applied in the order crop, jitter, flip, grey, blur, solarise. Sources that flip at another place
//! give the same views, because flipping commutes, byte for byte, with every step after the crop.
//!
//! Sources: torchvision 0.29 for the meaning of every number; lightly e8d317fc, solo-learn 9187ea39,
//! barlowtwins 8e8d284c, dino 7c446df5, mae efb2a806 for the numbers.

use super::{
    crop::{RATIO, draw_crop},
    draw::{Adjustment, Drawn},
    resize::{CropBox, Filter},
};
use crate::seed::Stream;

/// The views made of each image, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewSet {
    /// Name in records and reports.
    pub name: &'static str,
    /// One distribution for each view of an image.
    pub views: Vec<ViewRecipe>,
}

/// Distribution of one view. Probabilities of 0 switch a step off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ViewRecipe {
    /// Width and height of the view in pixels.
    pub side: usize,
    /// Kernel that the crop is resized with.
    pub filter: Filter,
    /// The part of the image that is shown.
    pub framing: Framing,
    /// Colour jitter.
    pub jitter: Jitter,
    /// Probability of mirroring left to right.
    pub flip: f64,
    /// Probability of dropping colour.
    pub grey: f64,
    /// Gaussian blur.
    pub blur: Blur,
    /// Probability of inverting bytes of 128 and more.
    pub solarise: f64,
}

/// Which part of the image a view shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Framing {
    /// The whole image, resized to a square.
    FullFrame,
    /// A random crop.
    Random {
        /// Smallest and largest share of the image's area, 0..1.
        scale: (f64, f64),
        /// Smallest and largest width / height.
        ratio: (f64, f64),
    },
}

/// Colour jitter: with `probability`, all adjustments of non-zero strength, in random order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jitter {
    /// Probability that anything is adjusted, 0..1.
    pub probability: f64,
    /// The brightness factor is uniform in [max(0, 1 - strength), 1 + strength]; likewise for the next two.
    pub brightness: f64,
    /// Strength of contrast, as for brightness.
    pub contrast: f64,
    /// Strength of saturation, as for brightness.
    pub saturation: f64,
    /// The hue's rotation is uniform in [-strength, strength], in fractions of the circle; at most 1/2.
    pub hue: f64,
}

/// Blur: with `probability`, the standard deviation is uniform in `sigma`, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blur {
    /// Probability of blurring a view, 0..1.
    pub probability: f64,
    /// Smallest and largest standard deviation, in pixels.
    pub sigma: (f64, f64),
}

impl ViewSet {
    /// The paper's two views.
    ///
    /// Crop and jitter are from its section on augmentation. Bicubic resampling, jitter on every view, flip, and the
    /// absence of grey, blur and solarise are from its authors' released code.
    pub fn paper(side: usize) -> Self {
        let jitter =
            Jitter { probability: 1.0, brightness: 0.275, contrast: 0.275, saturation: 0.275, hue: 0.1375 };
        let view = ViewRecipe { jitter, ..ViewRecipe::cropped(side, (0.395, 1.0)) };
        Self { name: "paper", views: vec![view; 2] }
    }

    /// One deterministic view for scoring: the whole image, bicubic, without flip. The aspect ratio is not kept, as
    /// in the authors' test code and in Sewer-ML's baselines.
    pub fn evaluation(side: usize) -> Self {
        Self { name: "evaluation", views: vec![ViewRecipe::full_frame(side)] }
    }

    /// Resize only: "no augmentation" according to the paper's Table 2.
    pub fn none(side: usize) -> Self {
        Self { name: "none", ..Self::evaluation(side) }
    }

    /// Resize and flip: "no augmentation" as the authors' released code runs it for Table 2.
    pub fn flip(side: usize) -> Self {
        Self { name: "flip", views: vec![ViewRecipe { flip: 0.5, ..ViewRecipe::full_frame(side) }] }
    }

    /// SimCLR's two views.
    ///
    /// `strength` scales the jitter only; it is 1 for ImageNet (lightly, solo-learn) and 0.5 in lightly's recipes for
    /// small data sets. Resampling is bilinear as in lightly (solo-learn: bicubic).
    pub fn simclr(side: usize, strength: f64) -> Self {
        let view = ViewRecipe {
            filter: Filter::Bilinear,
            jitter: Jitter {
                probability: 0.8,
                brightness: 0.8 * strength,
                contrast: 0.8 * strength,
                saturation: 0.8 * strength,
                hue: 0.2 * strength,
            },
            grey: 0.2,
            blur: Blur { probability: 0.5, sigma: BLUR_SIGMA },
            ..ViewRecipe::cropped(side, (0.08, 1.0))
        };
        Self { name: "simclr", views: vec![view; 2] }
    }

    /// BYOL's two views: the first is always blurred, the second rarely, but sometimes solarised.
    /// Source: solo-learn's and lightly's BYOL recipes; bicubic as in solo-learn (lightly: bilinear).
    pub fn byol(side: usize) -> Self {
        Self { name: "byol", views: asymmetric_pair(side, (0.08, 1.0)).into() }
    }

    /// Barlow Twins' two views, which are BYOL's. Source: barlowtwins, `main.py`.
    pub fn barlow_twins(side: usize) -> Self {
        Self { name: "barlow_twins", ..Self::byol(side) }
    }

    /// DINO's two global views of `side` pixels, then `local_views` of `local_side` pixels (ImageNet:
    /// 224, 96, 8; the paper's authors: no local views). Source: dino, `main_dino.py`.
    pub fn dino(side: usize, local_side: usize, local_views: usize) -> Self {
        let mut views = Vec::from(asymmetric_pair(side, (0.4, 1.0)));
        let local = ViewRecipe {
            blur: Blur { probability: 0.5, sigma: BLUR_SIGMA },
            ..ViewRecipe::byol_like(local_side, (0.05, 0.4))
        };
        views.resize(2 + local_views, local);
        Self { name: "dino", views }
    }

    /// MAE's single view: crop and flip. Source: mae, `main_pretrain.py`.
    pub fn mae(side: usize) -> Self {
        Self { name: "mae", views: vec![ViewRecipe::cropped(side, (0.2, 1.0))] }
    }

    /// Keeps the first view only, for methods that see each image once.
    #[must_use]
    pub fn first_view(mut self) -> Self {
        self.views.truncate(1);
        self
    }

    /// Draws every view for an image of `width` x `height` pixels.
    pub fn draw(&self, width: usize, height: usize, stream: &mut Stream) -> Vec<Drawn> {
        self.views.iter().map(|view| view.draw(width, height, stream)).collect()
    }
}

impl ViewRecipe {
    /// The whole image, bicubic, without further steps.
    pub fn full_frame(side: usize) -> Self {
        Self {
            side,
            filter: Filter::Bicubic,
            framing: Framing::FullFrame,
            jitter: Jitter { probability: 0.0, brightness: 0.0, contrast: 0.0, saturation: 0.0, hue: 0.0 },
            flip: 0.0,
            grey: 0.0,
            blur: Blur { probability: 0.0, sigma: BLUR_SIGMA },
            solarise: 0.0,
        }
    }

    /// A bicubic random crop of `scale` of the area, flipped half of the time, without further steps.
    pub fn cropped(side: usize, scale: (f64, f64)) -> Self {
        Self { framing: Framing::Random { scale, ratio: RATIO }, flip: 0.5, ..Self::full_frame(side) }
    }

    /// Draws a view of an image of `width` x `height` pixels.
    pub fn draw(&self, width: usize, height: usize, stream: &mut Stream) -> Drawn {
        let crop = match self.framing {
            Framing::FullFrame => CropBox::full_frame(width, height),
            Framing::Random { scale, ratio } => draw_crop(width, height, scale, ratio, stream),
        };
        Drawn {
            side: self.side,
            filter: self.filter,
            crop,
            jitter: self.jitter.draw(stream),
            flip: stream.coin(self.flip),
            grey: stream.coin(self.grey),
            blur: self.blur.draw(stream),
            solarise: stream.coin(self.solarise),
        }
    }

    /// BYOL's and DINO's jitter and grey. Source: barlowtwins, `main.py`; dino, `main_dino.py`.
    fn byol_like(side: usize, scale: (f64, f64)) -> Self {
        Self {
            jitter: Jitter { probability: 0.8, brightness: 0.4, contrast: 0.4, saturation: 0.2, hue: 0.1 },
            grey: 0.2,
            ..Self::cropped(side, scale)
        }
    }
}

impl Jitter {
    /// Draws adjustments in the order of application; empty with probability 1 - `probability`.
    fn draw(&self, stream: &mut Stream) -> Vec<Adjustment> {
        let mut adjustments = Vec::new();
        if !stream.coin(self.probability) {
            return adjustments;
        }
        let mut factor = |strength: f64| stream.uniform((1.0 - strength).max(0.0), 1.0 + strength);
        // torchvision skips an adjustment of strength 0. This matters for hue, whose conversion through 8-bit HSV is
        // not exact.
        if self.brightness > 0.0 {
            adjustments.push(Adjustment::Brightness(factor(self.brightness)));
        }
        if self.contrast > 0.0 {
            adjustments.push(Adjustment::Contrast(factor(self.contrast)));
        }
        if self.saturation > 0.0 {
            adjustments.push(Adjustment::Saturation(factor(self.saturation)));
        }
        if self.hue > 0.0 {
            adjustments.push(Adjustment::Hue(stream.uniform(-self.hue, self.hue)));
        }
        stream.shuffle(&mut adjustments);
        adjustments
    }
}

impl Blur {
    fn draw(&self, stream: &mut Stream) -> Option<f64> {
        stream.coin(self.probability).then(|| stream.uniform(self.sigma.0, self.sigma.1))
    }
}

/// Standard deviation of the blur, in pixels. The same in lightly, solo-learn, barlowtwins and dino.
const BLUR_SIGMA: (f64, f64) = (0.1, 2.0);

/// The asymmetric pair introduced by BYOL: probabilities of blur 1.0 and 0.1, of solarisation 0 and 0.2.
fn asymmetric_pair(side: usize, scale: (f64, f64)) -> [ViewRecipe; 2] {
    let view = ViewRecipe::byol_like(side, scale);
    [
        ViewRecipe { blur: Blur { probability: 1.0, sigma: BLUR_SIGMA }, ..view },
        ViewRecipe { blur: Blur { probability: 0.1, sigma: BLUR_SIGMA }, solarise: 0.2, ..view },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{data::Image, seed::Seed};

    fn all() -> [ViewSet; 9] {
        [
            ViewSet::paper(224),
            ViewSet::evaluation(224),
            ViewSet::none(224),
            ViewSet::flip(224),
            ViewSet::simclr(224, 1.0),
            ViewSet::byol(224),
            ViewSet::barlow_twins(224),
            ViewSet::dino(224, 96, 8),
            ViewSet::mae(224),
        ]
    }

    fn draws(view: &ViewRecipe, count: usize) -> Vec<Drawn> {
        let seed = Seed::root(11).child("draws");
        (0..count).map(|index| view.draw(720, 576, &mut seed.index(index).stream())).collect()
    }

    #[test]
    fn one_stream_gives_one_view() {
        for recipe in all() {
            let seed = Seed::root(12).child(recipe.name);
            let first = recipe.draw(352, 288, &mut seed.stream());
            assert_eq!(first, recipe.draw(352, 288, &mut seed.stream()), "{}", recipe.name);
            assert_eq!(first.len(), recipe.views.len());
        }
        let paper = ViewSet::paper(224).draw(352, 288, &mut Seed::root(12).stream());
        assert_ne!(paper[0], paper[1], "two views of a pair are drawn apart");
    }

    #[test]
    fn adjustments_obey_their_ranges() {
        for recipe in all() {
            for view in &recipe.views {
                let range = |strength: f64| (1.0 - strength).max(0.0)..=1.0 + strength;
                for drawn in draws(view, 500) {
                    for adjustment in drawn.jitter {
                        let inside = match adjustment {
                            Adjustment::Brightness(f) => range(view.jitter.brightness).contains(&f),
                            Adjustment::Contrast(f) => range(view.jitter.contrast).contains(&f),
                            Adjustment::Saturation(f) => range(view.jitter.saturation).contains(&f),
                            Adjustment::Hue(turn) => turn.abs() <= view.jitter.hue,
                        };
                        assert!(inside, "{}: {adjustment:?}", recipe.name);
                    }
                    if let Some(sigma) = drawn.blur {
                        assert!((0.1..2.0).contains(&sigma), "{}: sigma {sigma}", recipe.name);
                    }
                }
            }
        }
    }

    #[test]
    fn steps_come_as_often_as_stated() {
        let count = 4000;
        for recipe in all() {
            for view in &recipe.views {
                let drawn = draws(view, count);
                let share = |happens: fn(&Drawn) -> bool| {
                    drawn.iter().filter(|drawn| happens(drawn)).count() as f64 / count as f64
                };
                for (step, stated, seen) in [
                    ("jitter", view.jitter.probability, share(|drawn| !drawn.jitter.is_empty())),
                    ("flip", view.flip, share(|drawn| drawn.flip)),
                    ("grey", view.grey, share(|drawn| drawn.grey)),
                    ("blur", view.blur.probability, share(|drawn| drawn.blur.is_some())),
                    ("solarise", view.solarise, share(|drawn| drawn.solarise)),
                ] {
                    // Five standard errors of a proportion; steps with probability 0 or 1 are exact.
                    let error = 5.0 * (stated * (1.0 - stated) / count as f64).sqrt();
                    assert!((seen - stated).abs() <= error, "{} {step}: {seen}", recipe.name);
                }
            }
        }
    }

    #[test]
    fn blur_and_solarisation_are_those_of_each_view() {
        // BYOL, table 6; Barlow Twins, appendix A; DINO's `main_dino.py`: blur and solarisation of the first and
        // second view.
        let rates = |view: &ViewRecipe| (view.blur.probability, view.solarise);
        let pair = [(1.0, 0.0), (0.1, 0.2)];
        for set in [ViewSet::byol(224), ViewSet::barlow_twins(224), ViewSet::dino(224, 96, 8)] {
            assert_eq!(set.views[..2].iter().map(rates).collect::<Vec<_>>(), pair, "{}", set.name);
            assert!(set.views[2..].iter().all(|local| rates(local) == (0.5, 0.0)), "{}", set.name);
        }
        // SimCLR's two views are alike; the other recipes neither blur nor solarise.
        assert!(ViewSet::simclr(224, 1.0).views.iter().all(|view| rates(view) == (0.5, 0.0)));
        for set in [ViewSet::paper(224), ViewSet::flip(224), ViewSet::none(224), ViewSet::mae(224)] {
            assert!(set.views.iter().all(|view| rates(view) == (0.0, 0.0)), "{}", set.name);
        }
    }

    /// Area of the crop, probability of jitter, its strengths, and probability of grey, as papers and code print them.
    /// Sources: SimCLR, appendix A; BYOL, table 6; DINO, `main_dino.py`; MAE, `main_pretrain.py`; the paper's section
    /// on augmentation.
    #[test]
    fn crops_and_colours_are_those_of_the_sources() {
        let simclr = |strength: f64| [0.8, 0.8, 0.8, 0.2].map(|most| most * strength);
        let (byol, none) = ([0.4, 0.4, 0.2, 0.1], [0.0; 4]);
        let of_paper = [0.275, 0.275, 0.275, 0.1375];
        for (set, number, crop, jittered, jitter, grey) in [
            (ViewSet::paper(224), 2, (0.395, 1.0), 1.0, of_paper, 0.0),
            (ViewSet::simclr(224, 1.0), 2, (0.08, 1.0), 0.8, simclr(1.0), 0.2),
            (ViewSet::simclr(224, 0.5), 2, (0.08, 1.0), 0.8, simclr(0.5), 0.2),
            (ViewSet::byol(224), 2, (0.08, 1.0), 0.8, byol, 0.2),
            (ViewSet::barlow_twins(224), 2, (0.08, 1.0), 0.8, byol, 0.2),
            (ViewSet::dino(224, 96, 0), 2, (0.4, 1.0), 0.8, byol, 0.2),
            (ViewSet::mae(224), 1, (0.2, 1.0), 0.0, none, 0.0),
        ] {
            assert_eq!(set.views.len(), number, "{}", set.name);
            for view in set.views {
                let framing = Framing::Random { scale: crop, ratio: (3.0 / 4.0, 4.0 / 3.0) };
                assert_eq!((view.side, view.framing, view.flip), (224, framing, 0.5), "{}", set.name);
                let Jitter { probability, brightness, contrast, saturation, hue } = view.jitter;
                let found = (probability, [brightness, contrast, saturation, hue], view.grey);
                assert_eq!(found, (jittered, jitter, grey), "{}", set.name);
            }
        }
        let local = ViewSet::dino(224, 96, 1).views[2];
        assert_eq!((local.side, local.flip, local.grey), (96, 0.5, 0.2));
        assert_eq!(local.framing, Framing::Random { scale: (0.05, 0.4), ratio: (3.0 / 4.0, 4.0 / 3.0) });
        for whole in [ViewSet::evaluation(224), ViewSet::none(224), ViewSet::flip(224)] {
            assert!(whole.views.len() == 1 && whole.views[0].framing == Framing::FullFrame, "{}", whole.name);
        }
        let filters = [ViewSet::simclr(224, 1.0), ViewSet::byol(224), ViewSet::mae(224), ViewSet::paper(224)]
            .map(|set| set.views[0].filter);
        assert_eq!(filters, [Filter::Bilinear, Filter::Bicubic, Filter::Bicubic, Filter::Bicubic]);
    }

    #[test]
    fn all_orders_of_jitter_are_equally_likely() {
        let view = ViewSet::paper(224).views[0];
        let mut counts = std::collections::BTreeMap::new();
        for drawn in draws(&view, 24 * 400) {
            let order: Vec<_> = drawn.jitter.iter().map(std::mem::discriminant).collect();
            *counts.entry(format!("{order:?}")).or_insert(0.0) += 1.0;
        }
        assert_eq!(counts.len(), 24);
        // Chi-squared with 23 degrees of freedom exceeds 58.6 for one in 16,000 seeds.
        let statistic: f64 = counts.values().map(|count: &f64| (count - 400.0).powi(2) / 400.0).sum();
        assert!(statistic < 58.6, "{statistic}");
    }

    #[test]
    fn views_have_their_size_and_the_whole_image_is_scored() {
        let image = Image::new(72, 58, (0..72 * 58 * 3).map(|n| (n * 7 % 256) as u8).collect());
        for recipe in all() {
            let drawn = recipe.draw(72, 58, &mut Seed::root(13).stream());
            for (drawn, recipe) in drawn.iter().zip(&recipe.views) {
                let view = drawn.apply(&image);
                assert_eq!((view.width, view.height), (recipe.side, recipe.side));
            }
        }
        let scored = ViewSet::evaluation(32).draw(72, 58, &mut Seed::root(13).stream());
        assert_eq!(scored[0].crop, CropBox::full_frame(72, 58));
        assert!(!scored[0].flip && scored[0].jitter.is_empty());
        assert_eq!(ViewSet::dino(224, 96, 8).views.len(), 10);
        assert_eq!(ViewSet::paper(224).first_view().views.len(), 1);
    }

    #[test]
    fn adjustments_go_both_ways() {
        let jitter = Jitter { probability: 1.0, brightness: 0.8, contrast: 0.4, saturation: 0.2, hue: 0.1 };
        let mut stream = Seed::root(8).stream();
        let mut found = [(f64::INFINITY, f64::NEG_INFINITY); 4];
        for adjustment in (0..2000).flat_map(|_| jitter.draw(&mut stream)) {
            let (kind, x) = match adjustment {
                Adjustment::Brightness(x) => (0, x),
                Adjustment::Contrast(x) => (1, x),
                Adjustment::Saturation(x) => (2, x),
                Adjustment::Hue(x) => (3, x),
            };
            found[kind] = (found[kind].0.min(x), found[kind].1.max(x));
        }
        // Source: torchvision's ColorJitter. 2,000 draws come within 2 % of either end.
        for ((least, most), (low, high)) in
            found.into_iter().zip([(0.2, 1.8), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1)])
        {
            let near = 0.02 * (high - low);
            assert!(low <= least && least < low + near, "{least} for {low}");
            assert!(high - near < most && most <= high, "{most} for {high}");
        }
    }

    /// As in torchvision, a factor is never negative: strengths above 1 draw from 0 up to 1 + strength.
    #[test]
    fn factors_of_strong_jitter_begin_at_zero() {
        let jitter = Jitter { probability: 1.0, brightness: 1.5, contrast: 2.0, saturation: 3.0, hue: 0.0 };
        let mut stream = Seed::root(9).stream();
        let mut found = [(f64::INFINITY, f64::NEG_INFINITY); 3];
        for _ in 0..2000 {
            let drawn = jitter.draw(&mut stream);
            assert_eq!(drawn.len(), 3, "a strength of 0 is skipped");
            for adjustment in drawn {
                let (kind, x) = match adjustment {
                    Adjustment::Brightness(x) => (0, x),
                    Adjustment::Contrast(x) => (1, x),
                    Adjustment::Saturation(x) => (2, x),
                    Adjustment::Hue(_) => panic!("no hue was asked for"),
                };
                found[kind] = (found[kind].0.min(x), found[kind].1.max(x));
            }
        }
        for ((least, most), high) in found.into_iter().zip([2.5, 3.0, 4.0]) {
            assert!((0.0..0.02 * high).contains(&least), "{least} of {high}");
            assert!((0.98 * high..=high).contains(&most), "{most} of {high}");
        }
    }

    #[test]
    fn flips_blurs_and_kernels_of_every_view() {
        for set in all() {
            let flip = if ["evaluation", "none"].contains(&set.name) { 0.0 } else { 0.5 };
            let filter = if set.name == "simclr" { Filter::Bilinear } else { Filter::Bicubic };
            for (place, view) in set.views.iter().enumerate() {
                let found = (view.flip, view.filter, view.blur.sigma);
                assert_eq!(found, (flip, filter, (0.1, 2.0)), "view {place} of {}", set.name);
            }
        }
        let names = all().map(|set| set.name);
        let expected =
            ["paper", "evaluation", "none", "flip", "simclr", "byol", "barlow_twins", "dino", "mae"];
        assert_eq!(names, expected);
        // DINO's first views are global, the others local.
        let sides: Vec<usize> = ViewSet::dino(224, 96, 3).views.iter().map(|view| view.side).collect();
        assert_eq!(sides, [224, 224, 96, 96, 96]);
        // Of a pair, the first is kept.
        let (kept, both) = (ViewSet::byol(32).first_view(), ViewSet::byol(32));
        assert_eq!((kept.views.as_slice(), kept.name), (&both.views[..1], "byol"));
    }
}
