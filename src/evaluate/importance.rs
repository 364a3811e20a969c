//! F2_CIW: how well defects are found, class by class, weighted by the cost of each class. Independent of logits
//! and networks.
//!
//! F2_CIW = sum_c w_c F2_c / sum_c w_c,   F2 = 5 P R / (4 P + R)
//!
//! over the 17 classes and their class-importance weights w (Haurum and Moeslund, "Sewer-ML", CVPR 2021, equations
//! 4 and 5). The score is defined for multi-label classifiers. For binary detectors there are two readings here,
//! which differ widely and must never be compared: [`f2_ciw_oracle`], which the paper's authors compute, and
//! [`f2_ciw_multilabel_of_detector`], which follows the reference definition.

use anyhow::{Result, ensure};

use crate::data::{ClassSet, DefectClass};

/// F2_CIW and its components.
#[derive(Clone, Debug, PartialEq)]
pub struct Importance {
    /// 0 to 1. A class without images scores 0 and still counts.
    pub f2_ciw: f64,
    /// In column order.
    pub classes: [ClassCounts; DefectClass::COUNT],
}

/// Image counts of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCounts {
    /// Images that show the class.
    pub support: u64,
    /// Images predicted to show it.
    pub predicted: u64,
    /// Images that show the class and are predicted to.
    pub correct: u64,
}

impl ClassCounts {
    /// correct / support; 0 for an empty class.
    pub fn recall(&self) -> f64 {
        self.correct as f64 / self.support.max(1) as f64
    }

    /// correct / predicted; 0 where nothing is predicted.
    pub fn precision(&self) -> f64 {
        self.correct as f64 / self.predicted.max(1) as f64
    }

    /// 5 P R / (4 P + R); 0 where P and R are 0.
    pub fn f2(&self) -> f64 {
        let (p, r) = (self.precision(), self.recall());
        if self.correct == 0 { 0.0 } else { 5.0 * p * r / (4.0 * p + r) }
    }
}

/// The reference score: predicted classes against true classes, image by image. A class is predicted if its
/// probability is at least one half. Normal images lower the score through false alarms only.
///
/// # Errors
/// If the lengths differ.
pub fn f2_ciw_multilabel(predicted: &[ClassSet], truth: &[ClassSet]) -> Result<Importance> {
    ensure!(
        predicted.len() == truth.len(),
        "{} predictions for {} images, expected one each",
        predicted.len(),
        truth.len()
    );
    let mut classes = [ClassCounts::default(); DefectClass::COUNT];
    for (predicted, truth) in predicted.iter().zip(truth) {
        for class in DefectClass::ALL {
            let (predicted, truth) = (predicted.contains(class), truth.contains(class));
            let counts = &mut classes[class as usize];
            counts.support += u64::from(truth);
            counts.predicted += u64::from(predicted);
            counts.correct += u64::from(predicted && truth);
        }
    }
    Ok(Importance::of(classes))
}

/// The reference score of a binary detector: a flagged image counts as predicted to show every class.
///
/// Strictly, F2_CIW needs a classifier behind the detector: a flag alone only says "some class". This reading assumes
/// nothing more. Precision is low by construction, so the score stays far below 1 even for a perfect detector, and it
/// drops further as defects get rarer.
///
/// # Errors
/// If the lengths differ.
pub fn f2_ciw_multilabel_of_detector(flagged: &[bool], truth: &[ClassSet]) -> Result<Importance> {
    let every = ClassSet::from_iter(DefectClass::ALL);
    let predicted: Vec<_> = flagged.iter().map(|&flag| if flag { every } else { ClassSet::EMPTY }).collect();
    f2_ciw_multilabel(&predicted, truth)
}

/// The score that the paper's authors compute for binary detectors: a flagged image counts as predicted
/// to show exactly its true classes, as if an oracle had typed it.
///
/// Precision is then 1, so F2_c = 5 R_c / (4 + R_c): a weighted recall under another name. False alarms
/// do not lower it, flagging everything gives 1, and the share of normal images cannot move it.
///
/// # Errors
/// If the lengths differ.
pub fn f2_ciw_oracle(flagged: &[bool], truth: &[ClassSet]) -> Result<Importance> {
    ensure!(
        flagged.len() == truth.len(),
        "{} predictions for {} images, expected one each",
        flagged.len(),
        truth.len()
    );
    let typed = |(&flag, &truth): (&bool, &ClassSet)| if flag { truth } else { ClassSet::EMPTY };
    let predicted: Vec<_> = flagged.iter().zip(truth).map(typed).collect();
    f2_ciw_multilabel(&predicted, truth)
}

impl Importance {
    fn of(classes: [ClassCounts; DefectClass::COUNT]) -> Self {
        let (mut sum, mut weights) = (0.0, 0.0);
        for (class, counts) in DefectClass::ALL.into_iter().zip(&classes) {
            sum += class.importance() * counts.f2();
            weights += class.importance();
        }
        Self { f2_ciw: sum / weights, classes }
    }
}

#[cfg(test)]
mod tests {
    use DefectClass::*;

    use super::*;

    const SUM: f64 = 6.7024;

    fn sets(sets: &[&[DefectClass]]) -> Vec<ClassSet> {
        sets.iter().map(|set| set.iter().copied().collect()).collect()
    }

    fn close(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "{found} is not {expected} (+- {tolerance})");
    }

    #[test]
    fn hand_worked_multilabel() {
        // RB: P = 1/2, R = 1/1, F2 = 2.5 / 3. OS: P = 1, R = 1/2, F2 = 2.5 / 4.5. RO: predicted but never present: 0.
        // OK: present but never predicted: 0. The other classes are empty: they score 0, but count in the denominator.
        let truth = sets(&[&[RB, OS], &[OS], &[OK], &[]]);
        let predicted = sets(&[&[RB, OS], &[], &[RO], &[RB]]);
        let score = f2_ciw_multilabel(&predicted, &truth).unwrap();
        close(score.f2_ciw, (1.0 * 2.5 / 3.0 + 0.9009 * 2.5 / 4.5) / SUM, 1e-15);
        let counts = score.classes[OS as usize];
        assert_eq!(counts, ClassCounts { support: 2, predicted: 1, correct: 1 });
        assert_eq!((counts.precision(), counts.recall()), (1.0, 0.5));
        assert_eq!(score.classes[RO as usize].f2(), 0.0);
    }

    #[test]
    fn hand_worked_oracle() {
        // RB: R = 1, F2 = 1. OS: R = 1/2, F2 = 2.5 / 4.5. The false alarm on the normal image is free.
        let truth = sets(&[&[RB, OS], &[OS], &[OK], &[]]);
        let score = f2_ciw_oracle(&[true, false, false, true], &truth).unwrap();
        close(score.f2_ciw, (1.0 + 0.9009 * 2.5 / 4.5) / SUM, 1e-15);
        assert_eq!(score.classes[OK as usize], ClassCounts { support: 1, predicted: 0, correct: 0 });
    }

    #[test]
    fn flagging_everything_is_perfect_to_the_oracle_only() {
        let truth: Vec<ClassSet> = DefectClass::ALL
            .iter()
            .map(|&class| ClassSet::EMPTY.with(class))
            .chain([ClassSet::EMPTY])
            .collect();
        let flags = vec![true; truth.len()];
        close(f2_ciw_oracle(&flags, &truth).unwrap().f2_ciw, 1.0, 1e-15);
        // Each class: P = 1/18, R = 1, F2 = 5 / 22.
        close(f2_ciw_multilabel_of_detector(&flags, &truth).unwrap().f2_ciw, 5.0 / 22.0, 1e-15);
    }

    #[test]
    fn neither_reading_of_the_paper_is_the_other() {
        // A detector that finds 89.5 % of every class and flags 8.3 % of the 68,681 normal images of the validation
        // split, whose 61,365 defective images are reduced to a share. The expected values were computed when both
        // readings were compared with the paper. Counts are scaled by 1000, so that rounding costs no digits at 1 %.
        const NORMALS: f64 = 68_681_000.0;
        let counts = |share: f64, reading: fn(f64, f64) -> f64| {
            let defects = NORMALS * share / (1.0 - share);
            let flagged = 0.895 * defects + 0.083 * NORMALS;
            let classes = DefectClass::ALL.map(|class| {
                let support = f64::from(class.validation_images()) / 61_365.0 * defects;
                ClassCounts {
                    support: support.round() as u64,
                    predicted: reading(flagged, 0.895 * support).round() as u64,
                    correct: (0.895 * support).round() as u64,
                }
            });
            100.0 * Importance::of(classes).f2_ciw
        };
        let reference = [6.1, 10.1, 16.9, 24.5, 29.2];
        for (share, expected) in [0.01, 0.02, 0.05, 0.15, 0.45].into_iter().zip(reference) {
            close(counts(share, |flagged, _| flagged), expected, 0.2);
            close(counts(share, |_, correct| correct), 91.5, 0.2);
        }
    }

    #[test]
    fn lengths_must_agree() {
        let error = f2_ciw_oracle(&[true], &[]).unwrap_err().to_string();
        assert!(error.contains("1 predictions for 0 images"), "{error}");
        assert!(f2_ciw_multilabel_of_detector(&[true], &[]).is_err());
        let two = sets(&[&[RB], &[]]);
        for error in [
            f2_ciw_oracle(&[true], &two),
            f2_ciw_multilabel(&two[..1], &two),
            f2_ciw_multilabel_of_detector(&[true], &two),
        ] {
            assert_eq!(error.unwrap_err().to_string(), "1 predictions for 2 images, expected one each");
        }
    }
}
