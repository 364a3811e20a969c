//! Tolerant snapshots: each field has its own bound, stored beside the value.
//!
//! A snapshot has one line per field, `name = value (bound)`. It matches if names, order and bounds are equal and
//! every value is within its bound of the stored one; so a drift within bounds leaves the file unchanged, and
//! loosening a bound is itself a change that a reviewer sees.

use std::fmt;

use insta::{
    Snapshot,
    comparator::Comparator,
    internals::{SnapshotContents, TextSnapshotContents},
};

/// How far a value may be from the stored one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// Equal text: counts, digests. If these change, the code changed, not the machine.
    Exact,
    /// |new - old| <= bound.
    Absolute(f64),
    /// |new - old| <= bound |old|.
    Relative(f64),
}

/// The content of a snapshot, in a fixed order.
#[derive(Default)]
pub struct Fields(Vec<Field>);

struct Field {
    name: String,
    value: String,
    bound: Bound,
}

impl Fields {
    pub fn exact(&mut self, name: &str, value: impl fmt::Display) {
        self.0.push(Field { name: name.to_owned(), value: value.to_string(), bound: Bound::Exact });
    }

    pub fn number(&mut self, name: &str, value: f64, bound: Bound) {
        self.0.push(Field { name: name.to_owned(), value: value.to_string(), bound });
    }

    /// Parses the output of [`fmt::Display`]; `None` if a line has another form.
    fn parse(text: &str) -> Option<Self> {
        text.lines().map(Field::parse).collect::<Option<_>>().map(Self)
    }

    /// Returns the names of the fields of `new` that do not match those stored; empty if all do.
    fn differences(stored: &Self, new: &Self) -> Vec<String> {
        if stored.0.len() != new.0.len() {
            return vec![format!("{} fields, stored {}", new.0.len(), stored.0.len())];
        }
        stored
            .0
            .iter()
            .zip(&new.0)
            .filter(|(old, new)| !old.matches(new))
            .map(|(_, new)| new.name.clone())
            .collect()
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for field in &self.0 {
            writeln!(formatter, "{} = {} ({})", field.name, field.value, field.bound)?;
        }
        Ok(())
    }
}

impl Field {
    fn parse(line: &str) -> Option<Self> {
        let (name, rest) = line.split_once(" = ")?;
        let (value, bound) = rest.strip_suffix(')')?.rsplit_once(" (")?;
        Some(Self { name: name.to_owned(), value: value.to_owned(), bound: Bound::parse(bound)? })
    }

    fn matches(&self, new: &Self) -> bool {
        if self.name != new.name || self.bound != new.bound {
            return false;
        }
        let allowed = match self.bound {
            Bound::Exact => return self.value == new.value,
            Bound::Absolute(bound) => Some(bound),
            Bound::Relative(bound) => self.value.parse::<f64>().ok().map(|value| bound * value.abs()),
        };
        match (self.value.parse::<f64>(), new.value.parse::<f64>(), allowed) {
            (Ok(old), Ok(new), Some(allowed)) => (new - old).abs() <= allowed,
            _ => false,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => write!(formatter, "exact"),
            Self::Absolute(bound) => write!(formatter, "within {bound:e}"),
            Self::Relative(bound) => write!(formatter, "relative {bound:e}"),
        }
    }
}

impl Bound {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            None => (text == "exact").then_some(Self::Exact),
            Some(("within", bound)) => bound.parse().ok().map(Self::Absolute),
            Some(("relative", bound)) => bound.parse().ok().map(Self::Relative),
            Some(_) => None,
        }
    }
}

/// Compares snapshots written by [`Fields`].
#[derive(Clone)]
pub struct WithinBounds;

impl Comparator for WithinBounds {
    fn matches(&self, reference: &Snapshot, test: &Snapshot) -> bool {
        let fields = |snapshot: &Snapshot| match snapshot.contents() {
            SnapshotContents::Text(text) => Fields::parse(&normalised(text)),
            _ => None,
        };
        match (fields(reference), fields(test)) {
            (Some(stored), Some(new)) => Fields::differences(&stored, &new).is_empty(),
            _ => false,
        }
    }

    fn dyn_clone(&self) -> Box<dyn Comparator> {
        Box::new(self.clone())
    }
}

fn normalised(text: &TextSnapshotContents) -> String {
    text.to_string()
}

#[test]
fn values_match_within_their_bounds_only() {
    let fields = |loss: f64, images: usize, bound| {
        let mut fields = Fields::default();
        fields.exact("images", images);
        fields.number("loss", loss, bound);
        Fields::parse(&fields.to_string()).expect("a snapshot reads back")
    };
    let stored = fields(2.0, 5, Bound::Relative(1e-3));
    let differences = |new| Fields::differences(&stored, &new);
    assert!(differences(fields(2.001_9, 5, Bound::Relative(1e-3))).is_empty());
    assert_eq!(differences(fields(2.002_1, 5, Bound::Relative(1e-3))), ["loss"]);
    assert_eq!(differences(fields(f64::NAN, 5, Bound::Relative(1e-3))), ["loss"]);
    assert_eq!(differences(fields(2.0, 6, Bound::Relative(1e-3))), ["images"]);
    assert_eq!(differences(fields(2.0, 5, Bound::Relative(1e-2))), ["loss"], "a loosened bound shows");
}
