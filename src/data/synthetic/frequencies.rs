//! Frequencies of the classes and of their combinations: the statistics of Sewer-ML's training split.
//!
//! Classes are drawn independently, and the draw is repeated until at least one class occurs. With p_c = f_c q, where
//! q = 1 - prod_c (1 - p_c) is the probability that at least one occurs, the share of defective images with class c
//! is p_c / q = f_c, as published; the mean number of classes is then sum_c f_c = 2.05.

use super::draws::Draws;
use crate::data::{ClassSet, DefectClass};

/// Images with any defect in the training split (Sewer-ML, Table 7).
const DEFECTIVE_TRAIN_IMAGES: f64 = 487_309.0;

/// Probabilities with which classes are drawn.
#[derive(Clone, Debug)]
pub struct Frequencies([f64; DefectClass::COUNT]);

impl Frequencies {
    /// Returns the probabilities that reproduce the published shares.
    pub fn published() -> Self {
        let shares = DefectClass::ALL.map(|class| f64::from(class.train_images()) / DEFECTIVE_TRAIN_IMAGES);
        // q solves q = 1 - prod (1 - f q): for larger q the right side is smaller than q, for smaller q it is larger.
        let (mut low, mut high) = (1e-3, 1.0);
        for _ in 0..60 {
            let q = 0.5 * (low + high);
            let none: f64 = shares.iter().map(|f| 1.0 - f * q).product();
            if 1.0 - none > q { low = q } else { high = q }
        }
        Self(shares.map(|f| f * low))
    }

    /// Draws the classes of one defective image: at least one.
    pub fn draw(&self, draws: &mut Draws) -> ClassSet {
        loop {
            let classes: ClassSet = DefectClass::ALL
                .into_iter()
                .zip(self.0)
                .filter(|&(_, p)| draws.coin(p))
                .map(|(c, _)| c)
                .collect();
            if !classes.is_empty() {
                return classes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn classes_come_up_as_often_as_published() {
        let frequencies = Frequencies::published();
        let mut draws = Draws::new(Seed::root(3));
        let n = 20_000;
        let mut counts = [0_usize; DefectClass::COUNT];
        for _ in 0..n {
            for class in frequencies.draw(&mut draws).iter() {
                counts[class as usize] += 1;
            }
        }
        // 2.04: mean number of classes of a defective validation image, from the counts of Table 7.
        let mean = counts.iter().sum::<usize>() as f64 / n as f64;
        assert!((mean - 2.04).abs() < 0.05, "{mean} classes an image");
        for class in DefectClass::ALL {
            let share = f64::from(class.train_images()) / DEFECTIVE_TRAIN_IMAGES;
            let drawn = counts[class as usize] as f64 / n as f64;
            let error = (share * (1.0 - share) / n as f64).sqrt();
            assert!((drawn - share).abs() < 4.5 * error, "{}: {drawn} for {share}", class.code());
        }
    }
}
