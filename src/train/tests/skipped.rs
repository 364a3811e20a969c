//! Training on images of which some cannot be read.

use super::*;
use crate::data::{Dataset, Image, Labels};

/// Images that cannot be opened at some places.
struct Torn(Box<dyn Dataset>, [usize; 2]);

impl Dataset for Torn {
    fn labels(&self) -> &[Labels] {
        self.0.labels()
    }

    fn open(&self, index: usize) -> Result<Image> {
        ensure!(!self.1.contains(&index), "image {index} is torn");
        self.0.open(index)
    }

    fn location(&self, index: usize) -> String {
        self.0.location(index)
    }

    fn digest(&self) -> String {
        self.0.digest()
    }
}

/// Only images that were read count, in steps, states and epochs; those that were not are listed once.
#[test]
fn images_that_are_skipped_do_not_count() {
    let (source, views) = (synthetic::source(Seed::root(4), 12, 4, 8), [ViewRecipe::full_frame(8)]);
    let indices: Vec<usize> = (0..12).collect();
    let torn = Torn(source.train, [9, 2]);
    let again = synthetic::source(Seed::root(4), 12, 4, 8);
    let plain = by_fours(&again, &indices, &views);
    let loader = Loader { dataset: &torn, on_bad_image: OnBadImage::Skip, ..plain };
    let (mut steps, mut states) = (Vec::new(), Vec::new());
    let listen = |progress: Progress| {
        if let Progress::Step { images, state, .. } = progress {
            steps.push(images);
            states.push(state()?.images()?);
        }
        Ok(())
    };
    let trained = pretrain(&Falling::new(), None, &loader, &loader, &even(2), None, listen).unwrap();
    assert_eq!((steps.len(), trained.skipped), (6, vec![2, 9]));
    let sums: Vec<usize> = (1..=6).map(|count| steps[..count].iter().sum()).collect();
    assert_eq!((states, sums[2], sums[5]), (sums.clone(), 10, 20));
    assert_eq!(trained.curve.iter().map(|epoch| epoch.images).collect::<Vec<_>>(), [10, 10]);
}
