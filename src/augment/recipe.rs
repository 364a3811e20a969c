//! Named recipes: which views of an image each method is trained on, as published.
//!
//! Steps are applied in the order crop, jitter, flip, grey, blur, solarise, whatever the source's own
//! place for the flip: mirroring commutes, byte for byte, with every step after the crop.
//!
//! Sources: torchvision 0.29 for the meaning of every number; lightly e8d317fc, solo-learn 9187ea39,
//! barlowtwins 8e8d284c, dino 7c446df5, mae efb2a806 for the numbers. Knows nothing of losses.

use super::{
    draw::{Adjustment, Drawn},
    resize::{CropBox, Filter},
};
use crate::{
    augment::crop::{RATIO, draw_crop},
    seed::Stream,
};

/// The views that are made of each image, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Name in records and reports.
    pub name: &'static str,
    pub views: Vec<ViewRecipe>,
}

/// Distribution of one view. Probabilities of 0 switch a step off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ViewRecipe {
    /// Width and height of the view in pixels.
    pub side: usize,
    pub filter: Filter,
    pub framing: Framing,
    pub jitter: Jitter,
    pub flip: f64,
    pub grey: f64,
    pub blur: Blur,
    pub solarise: f64,
}

/// Which part of the image a view shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Framing {
    /// All of it, squeezed into a square.
    Whole,
    /// A random crop: share of the area, and width / height.
    Random { scale: (f64, f64), ratio: (f64, f64) },
}

/// Colour jitter: with `probability`, all adjustments of non-zero strength, in random order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jitter {
    pub probability: f64,
    /// The factor is uniform in [max(0, 1 - strength), 1 + strength]; likewise the next two.
    pub brightness: f64,
    pub contrast: f64,
    pub saturation: f64,
    /// The turn is uniform in [-strength, strength], in circles; at most 1/2.
    pub hue: f64,
}

/// Blur: with `probability`, of a standard deviation uniform in `sigma`, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blur {
    pub probability: f64,
    pub sigma: (f64, f64),
}

impl Recipe {
    /// Otero & Mateus' two views. Crop and jitter: their section on augmentation. Bicubic, jitter on
    /// every view, flip, and no grey, blur or solarise: their released code.
    pub fn paper(side: usize) -> Self {
        let jitter =
            Jitter { probability: 1.0, brightness: 0.275, contrast: 0.275, saturation: 0.275, hue: 0.1375 };
        let view = ViewRecipe { jitter, ..ViewRecipe::cropped(side, (0.395, 1.0)) };
        Self { name: "paper", views: vec![view; 2] }
    }

    /// One deterministic view for scoring: the whole image, bicubic, not flipped, its aspect distorted
    /// as in the authors' test job and in Sewer-ML's baselines.
    pub fn evaluation(side: usize) -> Self {
        Self { name: "evaluation", views: vec![ViewRecipe::whole(side)] }
    }

    /// Nothing but the resize, "no augmentation" by the words of the paper's Table 2.
    pub fn none(side: usize) -> Self {
        Self { name: "none", ..Self::evaluation(side) }
    }

    /// Resize and flip: "no augmentation" as the authors' released code ran it for Table 2.
    pub fn flip(side: usize) -> Self {
        Self { name: "flip", views: vec![ViewRecipe { flip: 0.5, ..ViewRecipe::whole(side) }] }
    }

    /// SimCLR's two views. `strength` is 1 for ImageNet (lightly, solo-learn), 0.5 in lightly's recipes
    /// for small data sets; it scales the jitter only. Bilinear as in lightly (solo-learn: bicubic).
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

    /// BYOL's two views: the first always blurred, the second seldom, but sometimes solarised.
    /// Source: BYOL, appendix B, as in solo-learn and lightly; bicubic as in solo-learn.
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

    /// The first view alone, for methods that see each image once.
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
    /// The whole image, bicubic, and nothing else.
    pub fn whole(side: usize) -> Self {
        Self {
            side,
            filter: Filter::Bicubic,
            framing: Framing::Whole,
            jitter: Jitter { probability: 0.0, brightness: 0.0, contrast: 0.0, saturation: 0.0, hue: 0.0 },
            flip: 0.0,
            grey: 0.0,
            blur: Blur { probability: 0.0, sigma: BLUR_SIGMA },
            solarise: 0.0,
        }
    }

    /// A bicubic random crop of `scale` of the area, flipped half the time, and nothing else.
    pub fn cropped(side: usize, scale: (f64, f64)) -> Self {
        Self { framing: Framing::Random { scale, ratio: RATIO }, flip: 0.5, ..Self::whole(side) }
    }

    /// Draws a view of an image of `width` x `height` pixels.
    pub fn draw(&self, width: usize, height: usize, stream: &mut Stream) -> Drawn {
        let crop = match self.framing {
            Framing::Whole => CropBox::whole(width, height),
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
    /// Adjustments in the order of application; none when the coin says so.
    fn draw(&self, stream: &mut Stream) -> Vec<Adjustment> {
        let mut adjustments = Vec::new();
        if !stream.coin(self.probability) {
            return adjustments;
        }
        let mut factor = |strength: f64| stream.uniform((1.0 - strength).max(0.0), 1.0 + strength);
        // torchvision leaves an adjustment of strength 0 out, which matters for hue: its way through
        // 8-bit HSV is not exact.
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

/// Standard deviation of the blur, in pixels. Source: lightly, solo-learn, barlowtwins, dino alike.
const BLUR_SIGMA: (f64, f64) = (0.1, 2.0);

/// The pair that BYOL introduced: blur 1.0 and 0.1, solarise 0 and 0.2.
fn asymmetric_pair(side: usize, scale: (f64, f64)) -> [ViewRecipe; 2] {
    let view = ViewRecipe::byol_like(side, scale);
    [
        ViewRecipe { blur: Blur { probability: 1.0, sigma: BLUR_SIGMA }, ..view },
        ViewRecipe { blur: Blur { probability: 0.1, sigma: BLUR_SIGMA }, solarise: 0.2, ..view },
    ]
}
