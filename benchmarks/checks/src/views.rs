//! Drawn views of images, for which kernels must give the same bytes as the CPU (and the CPU the same as Pillow:
//! `fixtures/pillow`).

use skewbench::{
    augment::{Drawn, Normalisation, ViewSet, to_normalised},
    data::Image,
    seed::Seed,
};

/// Sides of views: larger and smaller than the images, and odd.
pub const SIDES: [usize; 3] = [16, 37, 64];
/// Width and height of the images.
const SIZES: [(usize, usize); 4] = [(72, 58), (40, 90), (64, 64), (30, 25)];
pub const NORMALISATION: Normalisation = Normalisation::SEWER_ML;

/// Images, and views drawn from them.
pub struct Views {
    pub side: usize,
    pub images: Vec<Image>,
    /// Index of an image, and a view of it.
    pub drawn: Vec<(usize, Drawn)>,
}

impl Views {
    /// Draws views of `side` pixels, by every recipe.
    pub fn draw(side: usize) -> Self {
        let seed = Seed::root(0).child("views").index(side);
        let images: Vec<Image> = (0..SIZES.len()).map(|place| image(seed, place)).collect();
        let recipes = [
            ViewSet::simclr(side, 1.0),
            ViewSet::byol(side),
            ViewSet::paper(side),
            ViewSet::mae(side),
            ViewSet::evaluation(side),
        ];
        let mut drawn = Vec::new();
        for (place, image) in images.iter().enumerate() {
            for recipe in &recipes {
                let mut stream = seed.index(place).child(recipe.name).stream();
                let views = recipe.draw(image.width, image.height, &mut stream);
                drawn.extend(views.into_iter().map(|view| (place, view)));
            }
        }
        Self { side, images, drawn }
    }

    /// Returns all views as computed by the CPU, (views, side, side, 3), normalised.
    pub fn expected(&self) -> Vec<f32> {
        let mut expected = vec![0.0; self.drawn.len() * 3 * self.side * self.side];
        let each = expected.chunks_exact_mut(3 * self.side * self.side);
        for ((place, view), numbers) in self.drawn.iter().zip(each) {
            to_normalised(&view.apply(&self.images[*place]), &NORMALISATION, numbers);
        }
        expected
    }
}

/// Returns a smooth image with noise: every adjustment, and clipping at both ends, affects it.
fn image(seed: Seed, place: usize) -> Image {
    let (width, height) = SIZES[place];
    let mut stream = seed.child("image").index(place).stream();
    let pixels = (0..3 * width * height).map(|n| {
        let x = 127.0 + 90.0 * ((n / 3) as f64 * 0.05 + (n % 3) as f64).sin() + 40.0 * stream.normal();
        x.clamp(0.0, 255.0) as u8
    });
    Image::new(width, height, pixels.collect())
}
