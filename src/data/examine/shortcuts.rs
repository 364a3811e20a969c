//! Shortcuts: properties of files that predict the label without the picture's content, and pictures without
//! information.

use std::collections::BTreeMap;

use super::{Pixels, Sketch};
use crate::data::{Dataset, Source, files::Files};

/// Balanced accuracy from which a property of files counts as a shortcut; 0.5 is chance. Ours.
const SHORTCUT: f64 = 0.75;

impl Source {
    /// Returns warnings from examining every file, one per line: properties of files that predict the labels,
    /// pictures of a single colour, and pictures whose shorter side is less than half of `side` pixels.
    pub fn examination_warnings(&self, side: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let splits = [("training", &self.train), ("validation", &self.validation)];
        for (split, dataset) in splits {
            let Some(files) = dataset.files() else { continue };
            let sketches: Vec<(usize, Sketch)> =
                (0..files.len()).filter_map(|index| Some((index, files.sketch(index)?))).collect();
            if split == "training" {
                lines.extend(shortcuts(files, &sketches));
            }
            let mut tell = |what: &str, found: Vec<usize>| {
                if let [first, ..] = found[..] {
                    let (count, all, place) = (found.len(), sketches.len(), dataset.location(first));
                    lines.push(format!("{count} of {all} {split} images {what}, the first is {place}"));
                }
            };
            let such = |wanted: &dyn Fn(&Sketch) -> bool| -> Vec<usize> {
                sketches.iter().filter(|(_, sketch)| wanted(sketch)).map(|(index, _)| *index).collect()
            };
            tell("are of one colour throughout", such(&|sketch| sketch.pixels == Pixels::Constant));
            let small = |sketch: &Sketch| 2 * (sketch.width.min(sketch.height) as usize) < side;
            tell(&format!("are enlarged more than twice to reach {side} px"), such(&small));
        }
        lines
    }
}

/// Formats one property of a file.
type Property = fn(&Sketch) -> String;

/// Warnings about properties that predict the labels.
fn shortcuts(files: &Files, sketches: &[(usize, Sketch)]) -> Vec<String> {
    let properties: [(&str, Property); 4] = [
        ("size", |sketch| format!("{} x {}", sketch.width, sketch.height)),
        ("format", |sketch| sketch.format.to_string()),
        ("kind of pixels", |sketch| sketch.pixels.to_string()),
        ("depth of samples", |sketch| if sketch.bits == 0 { "8 bits" } else { "16 bits" }.to_owned()),
    ];
    let lines = properties.into_iter().filter_map(|(name, of)| {
        let values: Vec<(String, bool)> =
            sketches.iter().map(|(index, sketch)| (of(sketch), files.labels()[*index].defect)).collect();
        let accuracy = accuracy(&values)?;
        (accuracy >= SHORTCUT).then(|| {
            let [normals, defects] = [false, true].map(|label| most(&values, label));
            format!(
                "the {name} of a file alone predicts {:.0} % of training images' labels (50 % is chance; {defects} for \
                 defects, {normals} for normal images): a network learns that instead of the defect",
                100.0 * accuracy
            )
        })
    });
    lines.collect()
}

/// The most frequent value among images with a label.
fn most(values: &[(String, bool)], label: bool) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    values
        .iter()
        .filter(|value| value.1 == label)
        .for_each(|value| *counts.entry(&value.0).or_default() += 1);
    counts.into_iter().max_by_key(|(_, count)| *count).map_or_else(String::new, |(value, _)| value.to_owned())
}

/// Leave-one-out balanced accuracy of predicting an image's label from the other images with the same value: the mean
/// over both labels, so 0.5 is chance. A unique value counts half. `None` with fewer than two images of either label.
fn accuracy(values: &[(String, bool)]) -> Option<f64> {
    let mut counts: BTreeMap<&str, [f64; 2]> = BTreeMap::new();
    let mut totals = [0.0; 2];
    for (value, label) in values {
        counts.entry(value).or_default()[usize::from(*label)] += 1.0;
        totals[usize::from(*label)] += 1.0;
    }
    if totals.iter().any(|total| *total < 2.0) {
        return None;
    }
    let mut told = [0.0; 2];
    for count in counts.values() {
        for label in [0, 1] {
            let own = (count[label] - 1.0) / (totals[label] - 1.0);
            let other = count[1 - label] / totals[1 - label];
            told[label] += count[label]
                * if own > other {
                    1.0
                } else if own == other {
                    0.5
                } else {
                    0.0
                };
        }
    }
    Some((told[0] / totals[0] + told[1] / totals[1]) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[(&str, bool)]) -> Option<f64> {
        accuracy(&values.iter().map(|&(value, label)| (value.to_owned(), label)).collect::<Vec<_>>())
    }

    #[test]
    fn labels_are_told_by_what_others_of_the_same_value_have() {
        let (normal, defect) = (false, true);
        assert_eq!(of(&[("png", normal), ("png", normal), ("jpeg", defect), ("jpeg", defect)]), Some(1.0));
        assert_eq!(of(&[("png", normal), ("png", normal), ("png", defect), ("png", defect)]), Some(0.5));
        // All values differ, so they predict nothing about a new image.
        assert_eq!(of(&[("1", normal), ("2", normal), ("3", defect), ("4", defect)]), Some(0.5));
        assert_eq!(of(&[("1", normal), ("2", normal), ("3", defect)]), None);
    }
}
