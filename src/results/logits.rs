//! What each classifier says of each validation image, as a CSV beside the record: for intervals that pair
//! models on the same images, and for thresholds other than the record's.

use std::path::Path;

use anyhow::{Context, Result};

use crate::data::Labels;

/// Logits of validation images; a defect is called where the logit is above 0.
pub struct Logits {
    /// Position in the validation set, and what is known of the image.
    pub images: Vec<(usize, Labels)>,
    /// Name of the classifier, as in scores, and its logit of every image.
    pub classifiers: Vec<(String, Vec<f64>)>,
}

impl Logits {
    /// Columns `position`, `defect` (0 or 1), `classes` (codes joined by `+`), then one a classifier: the
    /// shortest decimals of each number at its own precision, so that order and sign are exact.
    pub(super) fn write(&self, to: impl std::io::Write) -> Result<()> {
        let mut writer = csv::Writer::from_writer(to);
        let names = self.classifiers.iter().map(|(name, _)| name.as_str());
        writer.write_record(["position", "defect", "classes"].into_iter().chain(names))?;
        for (row, (position, labels)) in self.images.iter().enumerate() {
            let classes: Vec<_> = labels.classes.iter().map(|class| class.code()).collect();
            let own = [position.to_string(), u8::from(labels.defect).to_string(), classes.join("+")];
            let logits = self.classifiers.iter().map(|(_, logits)| decimal(logits[row]));
            writer.write_record(own.into_iter().chain(logits))?;
        }
        writer.flush()?;
        Ok(())
    }
}

/// Reads the columns of a file of logits by name: `defect` and one a classifier.
///
/// # Errors
/// If it is torn, or has other columns.
pub fn read(path: &Path) -> Result<Vec<(String, Vec<f64>)>> {
    let read = || -> Result<_> {
        let mut reader = csv::Reader::from_path(path)?;
        let mut columns: Vec<(String, Vec<f64>)> =
            reader.headers()?.iter().map(|name| (name.to_owned(), Vec::new())).collect();
        for row in reader.records() {
            for ((name, column), cell) in columns.iter_mut().zip(&row?) {
                if name != "classes" {
                    column.push(cell.parse().with_context(|| format!("'{cell}' in column '{name}'"))?);
                }
            }
        }
        columns.retain(|(name, _)| name != "classes");
        Ok(columns)
    };
    read().with_context(|| format!("{}: not a file of logits", path.display()))
}

/// A number that is one of 32 bits is written as such: half the digits.
fn decimal(value: f64) -> String {
    let single = value as f32;
    if f64::from(single) == value { single.to_string() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{ClassSet, DefectClass};

    #[test]
    fn logits_are_written_shortly_and_read_back() {
        let labels = |defect, classes| Labels { defect, classes, stratum: 0 };
        let both = ClassSet::EMPTY.with(DefectClass::ALL[0]).with(DefectClass::ALL[3]);
        let single = vec![f64::from(0.1_f32), -3.5];
        let double = vec![1.0 / 3.0, -1e-9];
        let logits = Logits {
            images: vec![(4, labels(false, ClassSet::EMPTY)), (7, labels(true, both))],
            classifiers: vec![("in_training".into(), single), ("converged".into(), double.clone())],
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.logits.csv");
        logits.write(std::fs::File::create(&path).unwrap()).unwrap();
        let codes = format!("{}+{}", DefectClass::ALL[0].code(), DefectClass::ALL[3].code());
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            format!(
                "position,defect,classes,in_training,converged\n4,0,,0.1,0.3333333333333333\n\
                 7,1,{codes},-3.5,-0.000000001\n"
            )
        );
        let columns = read(&path).unwrap();
        assert_eq!(columns[2], ("in_training".into(), vec![0.1, -3.5]));
        assert_eq!(columns[3], ("converged".into(), double));
    }
}
