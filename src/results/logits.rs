//! Logits of each classifier on each validation image, as a CSV beside the record: for intervals that pair models
//! on the same images, and for other thresholds than the record's.

use std::path::Path;

use anyhow::{Context, Result};

use super::{
    Record,
    beside::{self, Part},
};
use crate::data::{Dataset, Labels, foreign, stratify};

/// Logits of validation images; an image is called a defect if its logit is above 0.
pub struct Logits {
    /// The images, in the order of the logits.
    pub images: Vec<ValidationImage>,
    /// Name of each classifier, as in scores, and its logits of all images.
    pub classifiers: Vec<(String, Vec<f64>)>,
}

/// A validation image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationImage {
    /// Position in the validation set.
    pub position: usize,
    /// Its path below the data's folder, or its position if it is synthetic.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its class in the data's own words, if they name one.
    pub kind: Option<String>,
    /// The group that it belongs to, such as its pipe.
    pub group: Option<String>,
}

impl ValidationImage {
    /// Describes the image of `dataset` at `position`.
    pub fn from_dataset(dataset: &dyn Dataset, position: usize) -> Self {
        Self {
            position,
            name: dataset.name(position),
            labels: dataset.labels()[position],
            kind: dataset.class_name(position).map(str::to_owned),
            group: dataset.group(position).map(str::to_owned),
        }
    }

    /// Returns the only class that the image shows; `None` for a normal image, for one with several classes, and if
    /// the data name none.
    pub fn sole_class(&self) -> Option<String> {
        let mut codes = self.labels.classes.iter();
        let sewer = codes.next().filter(|_| codes.next().is_none()).map(|class| class.code().to_owned());
        self.kind.clone().or(sewer).filter(|_| self.labels.defect)
    }

    fn classes(&self) -> String {
        let codes = || self.labels.classes.iter().map(|class| class.code()).collect::<Vec<_>>().join("+");
        self.kind.clone().unwrap_or_else(codes)
    }
}

/// Columns that are not numeric.
const TEXT: [&str; 2] = ["path", "classes"];
/// The column of groups, present only if images have groups.
const GROUP: &str = "group";

impl Logits {
    /// Columns `position`, `path`, `defect` (0 or 1), `classes` (codes joined by `+`, or the data's own word),
    /// `group` if there are groups, then one per classifier. Each number has the shortest decimals that reproduce
    /// it at its own precision, so that order and sign are exact.
    pub(super) fn csv(&self) -> Result<Vec<u8>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let names = self.classifiers.iter().map(|(name, _)| name.as_str());
        let grouped = self.images.iter().any(|image| image.group.is_some());
        let group = grouped.then_some(GROUP);
        writer
            .write_record(["position", "path", "defect", "classes"].into_iter().chain(group).chain(names))?;
        for (row, image) in self.images.iter().enumerate() {
            let defect = u8::from(image.labels.defect).to_string();
            let text = |text: &str| foreign::escape_cell(text).into_owned();
            let own = [image.position.to_string(), text(&image.name), defect, text(&image.classes())];
            let own =
                own.into_iter().chain(grouped.then(|| text(image.group.as_deref().unwrap_or_default())));
            let logits = self.classifiers.iter().map(|(_, logits)| decimal(logits[row]));
            writer.write_record(own.into_iter().chain(logits))?;
        }
        Ok(writer.into_inner()?)
    }
}

/// Reads the columns of the logits of the record in the file `at`, by name: `defect`, `group` (a number for each
/// group) if images have one, and one per classifier.
///
/// # Errors
/// If they are missing, do not belong to this record, or have other columns.
pub fn read(at: &Path, record: &Record) -> Result<Vec<(String, Vec<f64>)>> {
    let bytes = beside::read(at, record, Part::Logits)?;
    parse(&bytes).with_context(|| format!("{}: not a file of logits", Part::Logits.path_beside(at).display()))
}

fn parse(bytes: &[u8]) -> Result<Vec<(String, Vec<f64>)>> {
    let mut reader = csv::Reader::from_reader(bytes);
    let mut columns: Vec<(String, Vec<f64>)> =
        reader.headers()?.iter().map(|name| (name.to_owned(), Vec::new())).collect();
    let mut groups = Vec::new();
    for row in reader.records() {
        for ((name, column), cell) in columns.iter_mut().zip(&row?) {
            if name == GROUP {
                groups.push(foreign::unescape_cell(cell).to_owned());
            } else if !TEXT.contains(&name.as_str()) {
                column.push(
                    cell.parse()
                        .with_context(|| format!("column '{name}': expected a number, found '{cell}'"))?,
                );
            }
        }
    }
    columns.retain(|(name, _)| !TEXT.contains(&name.as_str()));
    if let Some((_, column)) = columns.iter_mut().find(|(name, _)| name == GROUP) {
        column.extend(stratify::numbered(&groups).0.into_iter().map(f64::from));
    }
    Ok(columns)
}

/// A number that is exactly an f32 is written as one, with half the digits.
fn decimal(value: f64) -> String {
    let single = value as f32;
    if f64::from(single) == value { single.to_string() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{ClassSet, DefectClass};

    #[test]
    fn names_that_look_like_formulas_are_read_back() {
        let labels = Labels { defect: true, classes: ClassSet::EMPTY, stratum: 0 };
        let image = |position: usize, group: &str| ValidationImage {
            position,
            name: "=1+1.png".into(),
            labels,
            kind: Some("@crack".into()),
            group: Some(group.into()),
        };
        let images = vec![image(0, "-a"), image(1, "b"), image(2, "-a")];
        let logits = Logits { images, classifiers: vec![("converged".into(), vec![-1.0, -2.0, 3.0])] };
        let bytes = logits.csv().unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.ends_with("\n2,'=1+1.png,1,'@crack,'-a,3\n"), "{text}");
        let column =
            |name: &str| parse(&bytes).unwrap().into_iter().find(|(known, _)| known == name).unwrap().1;
        assert_eq!((column("converged"), column("group")), (vec![-1.0, -2.0, 3.0], vec![0.0, 1.0, 0.0]));
    }

    #[test]
    fn logits_are_written_shortly_and_read_back() {
        let image = |position, labels, group: &str| {
            let (name, group) = (format!("{position}, b.png"), Some(group.to_owned()));
            ValidationImage { position, name, labels, kind: None, group }
        };
        let labels = |defect, classes| Labels { defect, classes, stratum: 0 };
        let both = ClassSet::EMPTY.with(DefectClass::ALL[0]).with(DefectClass::ALL[3]);
        let single = vec![f64::from(0.1_f32), -3.5];
        let double = vec![1.0 / 3.0, -1e-9];
        let logits = Logits {
            images: vec![image(4, labels(false, ClassSet::EMPTY), "p2"), image(7, labels(true, both), "p1")],
            classifiers: vec![("in_training".into(), single), ("converged".into(), double.clone())],
        };
        let csv = logits.csv().unwrap();
        let codes = format!("{}+{}", DefectClass::ALL[0].code(), DefectClass::ALL[3].code());
        assert_eq!(
            std::str::from_utf8(&csv).unwrap(),
            format!(
                "position,path,defect,classes,group,in_training,converged\n4,\"4, b.png\",0,,p2,0.1,0.3333333333333333\n\
                 7,\"7, b.png\",1,{codes},p1,-3.5,-0.000000001\n"
            )
        );
        let columns = parse(&csv).unwrap();
        assert_eq!(columns[2], ("group".into(), vec![1.0, 0.0]));
        assert_eq!(columns[3], ("in_training".into(), vec![0.1, -3.5]));
        assert_eq!(columns[4], ("converged".into(), double));
    }

    /// Two images with everything that a data set can state about them.
    struct Told;

    impl Dataset for Told {
        fn labels(&self) -> &[Labels] {
            const LABELS: [Labels; 2] = [
                Labels { defect: false, classes: ClassSet::EMPTY, stratum: 0 },
                Labels { defect: true, classes: ClassSet::EMPTY, stratum: 9 },
            ];
            &LABELS
        }

        fn open(&self, _index: usize) -> Result<crate::data::Image> {
            anyhow::bail!("no picture")
        }

        fn location(&self, index: usize) -> String {
            format!("row {index}")
        }

        fn digest(&self) -> String {
            String::new()
        }

        fn name(&self, index: usize) -> String {
            format!("{index}.png")
        }

        fn class_name(&self, index: usize) -> Option<&str> {
            ["normal", "crack"].get(index).copied()
        }

        fn group(&self, index: usize) -> Option<&str> {
            ["pipe 7", "pipe 8"].get(index).copied()
        }
    }

    #[test]
    fn an_image_is_described_as_its_data_do() {
        let expected = ValidationImage {
            position: 1,
            name: "1.png".to_owned(),
            labels: Labels { defect: true, classes: ClassSet::EMPTY, stratum: 9 },
            kind: Some("crack".to_owned()),
            group: Some("pipe 8".to_owned()),
        };
        assert_eq!(ValidationImage::from_dataset(&Told, 1), expected);
        assert_eq!(ValidationImage::from_dataset(&Told, 1).sole_class().as_deref(), Some("crack"));
        assert_eq!(
            ValidationImage::from_dataset(&Told, 0).sole_class(),
            None,
            "a normal image has no class of defects"
        );
    }

    #[test]
    fn only_one_class_is_the_class_of_an_image() {
        let [first, second] = [DefectClass::ALL[2], DefectClass::ALL[5]];
        let of = |classes: &[DefectClass], kind: Option<&str>| {
            let classes = classes.iter().copied().collect();
            let labels = Labels { defect: true, classes, stratum: 0 };
            let kind = kind.map(str::to_owned);
            ValidationImage { position: 0, name: String::new(), labels, kind, group: None }.sole_class()
        };
        assert_eq!(of(&[first], None).as_deref(), Some(first.code()));
        assert_eq!(of(&[first, second], None), None);
        assert_eq!(of(&[], None), None);
        assert_eq!(of(&[first], Some("crack")).as_deref(), Some("crack"), "the data's own word comes first");
    }

    /// Without groups there is no group column; logits are read back from the file beside the record.
    #[test]
    fn logits_are_read_from_beside_their_record() {
        use crate::results::{Folder, example};
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let image = |position: usize, defect: bool| ValidationImage {
            position,
            name: format!("{position}.png"),
            labels: Labels { defect, classes: ClassSet::EMPTY, stratum: 0 },
            kind: None,
            group: None,
        };
        let logits = Logits {
            images: vec![image(3, true), image(5, false), image(8, true)],
            classifiers: vec![
                ("a".to_owned(), vec![1.5, -2.0, 0.25]),
                ("b".to_owned(), vec![4.0, 5.0, -6.5]),
            ],
        };
        let mut record = example::record();
        let stated = folder.write_logits(&record.cell.id, &logits).unwrap();
        assert_eq!(stated.rows, Some(3));
        record.beside.insert("logits".to_owned(), stated);
        let at = folder.record_path(&record.cell.id);
        let expected = [
            ("position", vec![3.0, 5.0, 8.0]),
            ("defect", vec![1.0, 0.0, 1.0]),
            ("a", vec![1.5, -2.0, 0.25]),
            ("b", vec![4.0, 5.0, -6.5]),
        ];
        assert_eq!(read(&at, &record).unwrap(), expected.map(|(name, column)| (name.to_owned(), column)));
        // Numbers that were edited afterwards are refused, although the file can be parsed.
        let file = Part::Logits.path_beside(&at);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("-6.5", "-7.5")).unwrap();
        let error = format!("{:#}", read(&at, &record).unwrap_err());
        assert!(error.contains("does not belong to its record"), "{error}");
        let error = format!("{:#}", parse(b"defect,a\n1,x\n").unwrap_err());
        assert!(error.starts_with("column 'a': expected a number, found 'x'"), "{error}");
    }

    /// An old record states no file: what lies beside it is still no table of logits unless it can be read as one.
    #[test]
    fn what_is_no_table_of_logits_is_named() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().join("x.json");
        let record = crate::results::example::record();
        let file = Part::Logits.path_beside(&at);
        std::fs::write(&file, "position,path,defect,classes,a\n0,x.png,1,,0.5\n1,y.png,no,,0.5\n").unwrap();
        let error = format!("{:#}", read(&at, &record).unwrap_err());
        let expected = format!(
            "{}: not a file of logits: column 'defect': expected a number, found 'no'",
            file.display()
        );
        assert!(error.starts_with(&expected), "{error}");
    }

    /// Groups are whole names, however long, and numbered in one order whichever comes first.
    #[test]
    fn groups_that_begin_alike_are_different_groups() {
        let text = "position,group,a\n0,a long pipe number 2,0.5\n1,a long pipe number 10,1\n2,a long pipe number 2,2\n3,,3\n";
        let columns = parse(text.as_bytes()).unwrap();
        assert_eq!(columns[1], ("group".to_owned(), vec![2.0, 1.0, 2.0, 0.0]));
        assert_eq!(columns[2], ("a".to_owned(), vec![0.5, 1.0, 2.0, 3.0]));
    }
}
