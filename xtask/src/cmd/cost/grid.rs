//! The cells of the paper's Table 1 and their image counts, from Sewer-ML's published numbers: no data are opened.

use anyhow::Result;
use skewbench::{
    backbone,
    data::{ClassSet, Labels, Share, imbalance::Pool},
    experiment::{Scale, cell},
    method,
    seed::Seed,
};

/// Normal images and defects of the training and of the validation split (Sewer-ML, Tables 2 and 7).
const TRAIN: [usize; 2] = [552_820, 487_309];
const VALIDATION: [usize; 2] = [68_681, 61_365];

/// One seed of the grid.
pub struct Grid {
    pub arms: Vec<Arm>,
}

/// Cells of one method on one backbone, all shares together.
pub struct Arm {
    pub method: method::Name,
    pub backbone: backbone::Name,
    pub cells: usize,
    /// Images used in training, and images evaluated.
    pub train: usize,
    pub evaluate: usize,
}

impl Grid {
    /// Builds the grid for the paper's sample of Sewer-ML at its scale.
    pub fn of_the_paper() -> Result<Self> {
        let scale = Scale::full();
        let (part, of) = scale.sewer_ml_sample;
        let [normals, defects] = TRAIN.map(|images| images * part / of);
        let validation: usize = VALIDATION.iter().map(|images| images * part / of).sum();
        let label = |defect| Labels { defect, classes: ClassSet::EMPTY, stratum: 0 };
        let labels = [vec![label(false); normals], vec![label(true); defects]].concat();
        let pool = Pool::new(&labels, &Seed::root(0));
        let mut arms: Vec<Arm> = Vec::new();
        for cell in
            cell::paper_methods(&Share::STUDY, 0).into_iter().filter(|cell| cell.undefined_reason().is_none())
        {
            let training = pool.subset(cell.share)?.indices.len();
            let (method, backbone) = (cell.method, cell.backbone);
            let known = arms.iter().position(|arm| (arm.method, arm.backbone) == (method, backbone));
            let place = known.unwrap_or_else(|| {
                arms.push(Arm { method, backbone, cells: 0, train: 0, evaluate: 0 });
                arms.len() - 1
            });
            let arm = &mut arms[place];
            arm.cells += 1;
            arm.train += scale.image_passes(training);
            arm.evaluate += scale.evaluation_passes(training, validation);
        }
        Ok(Self { arms })
    }

    pub fn cells(&self) -> usize {
        self.arms.iter().map(|arm| arm.cells).sum()
    }

    pub fn train(&self) -> usize {
        self.arms.iter().map(|arm| arm.train).sum()
    }

    pub fn evaluate(&self) -> usize {
        self.arms.iter().map(|arm| arm.evaluate).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_are_the_papers_counts() {
        let grid = Grid::of_the_paper().unwrap();
        assert_eq!((grid.cells(), grid.arms.len()), (55, 11));
        // By hand: 276,410 normal images beside floor(276,410 p / (1 - p)) defects, whole batches of 256, 45 epochs.
        let images = [(1, 99), (2, 98), (5, 95), (15, 85), (45, 55)]
            .map(|(part, rest)| 276_410 + 276_410 * part / rest);
        let expected: usize = images.iter().map(|images| 45 * (images / 256) * 256).sum();
        assert!(grid.arms.iter().all(|arm| arm.train == expected));
        // All images once, 25,600 after each epoch, 65,022 for validation, ten views of a thousand images.
        let expected: usize = images.iter().map(|images| images + 45 * 25_600 + 65_022 + 10_000).sum();
        assert_eq!(grid.arms[0].evaluate, expected);
    }
}
