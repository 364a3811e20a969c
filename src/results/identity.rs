//! Compares identities: whether two results are from the same experiment, and otherwise what differs.

use anyhow::{Result, bail, ensure};

use super::{
    provenance,
    record::{Identity, Record, SCHEMA, Settings},
};
use crate::augment::Normalisation;

impl Settings {
    /// Returns a setting as text, whichever schema wrote it; `None` if there is no such setting.
    pub fn text(&self, name: &str) -> Option<String> {
        self.values.get(name).map(plain)
    }

    /// Returns the pixel normalisation; `None` if not stated, as in records of schema 1.
    pub fn normalisation(&self) -> Option<Normalisation> {
        let triple = |name: &str| -> Option<[f32; 3]> {
            let list = self.values.get(name)?.as_array()?;
            let list: Option<Vec<f32>> = list.iter().map(|value| Some(value.as_f64()? as f32)).collect();
            list?.try_into().ok()
        };
        Some(Normalisation { mean: triple("normalisation.mean")?, std: triple("normalisation.deviation")? })
    }

    /// Returns whether training used mixed precision (bf16).
    pub fn mixed_precision(&self) -> bool {
        self.text("precision").is_some_and(|precision| precision != "f32")
    }

    /// Lists how `asked` differs from these settings, one line each: `epochs: 5 stored, 6 requested`.
    pub fn differences(&self, asked: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut compare = |name: &str, there: Option<String>, asked: Option<String>| {
            if there != asked {
                let [there, asked] =
                    [there, asked].map(|value| value.unwrap_or_else(|| "nothing".to_owned()));
                lines.push(format!("{name}: {there} stored, {asked} requested"));
            }
        };
        compare("scale", Some(self.scale.clone()), Some(asked.scale.clone()));
        compare("recipe", Some(self.recipe.clone()), Some(asked.recipe.clone()));
        let more = asked.values.keys().filter(|name| !self.values.contains_key(*name));
        for name in self.values.keys().chain(more) {
            compare(name, self.text(name), asked.text(name));
        }
        lines
    }
}

/// Returns a JSON value as text, without the quotes of a string.
fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Identity {
    /// Returns this identity without its code, for comparisons that state the code elsewhere.
    #[must_use]
    pub fn without_code(&self) -> Self {
        Self { code: String::new(), ..self.clone() }
    }

    /// Returns BLAKE3 of the identity, and of the `content` of the image files if there are any.
    pub fn fingerprint(&self, content: Option<&str>) -> String {
        let Self {
            cell,
            settings: Settings { scale, recipe, values },
            train_digest,
            validation_digest,
            code,
            device,
        } = self;
        let mut hasher = blake3::Hasher::new();
        let mut add = |name: &str, value: &str| {
            // Lengths first, so that different lists of texts cannot give the same bytes.
            for text in [name, value] {
                hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
            }
        };
        add("schema", &SCHEMA.to_string());
        add("cell", cell);
        add("scale", scale);
        add("recipe", recipe);
        values.iter().for_each(|(name, value)| add(name, &value.to_string()));
        add("train", train_digest);
        add("validation", validation_digest);
        add("content", content.unwrap_or("none"));
        add("code", code);
        add("device", device);
        hasher.finalize().to_hex().to_string()
    }

    /// Returns the identity of a finished record; `None` for schema 1, which does not state its code.
    pub fn from_record(record: &Record) -> Option<Self> {
        Some(Self {
            cell: record.cell.id.clone(),
            settings: record.settings.clone(),
            train_digest: record.data.train_digest.clone(),
            validation_digest: record.data.validation_digest.clone(),
            code: record.provenance.code.clone()?,
            device: record.provenance.device.clone(),
        })
    }

    /// Lists how `asked` differs from this identity, one line each; empty if both are the same experiment.
    pub fn differences(&self, asked: &Self) -> Vec<String> {
        let mut lines = self.settings.differences(&asked.settings);
        let mut compare = |what: &str, there: &str, asked: &str| {
            if there != asked {
                let [there, asked] = [there, asked].map(provenance::digest_prefix);
                lines.push(format!("{what}: {there} stored, {asked} requested"));
            }
        };
        compare("cell", &self.cell, &asked.cell);
        compare("device", &self.device, &asked.device);
        compare("names and labels of training images", &self.train_digest, &asked.train_digest);
        compare("names and labels of validation images", &self.validation_digest, &asked.validation_digest);
        compare("code that computes numbers", &self.code, &asked.code);
        lines
    }
}

impl Record {
    /// Checks that this record belongs to `asked` with image files of this `content`.
    ///
    /// # Errors
    /// If it does not; the error names what differs.
    pub fn ensure_belongs_to(&self, asked: &Identity, content: Option<&str>) -> Result<()> {
        let Some(there) = Identity::from_record(self) else {
            bail!(
                "made by an earlier version of skewbench, whose records (schema {}) do not say which code made them",
                self.schema
            )
        };
        let mut differences = there.differences(asked);
        if self.data.content.as_deref() != content {
            differences
                .push("content of the image files: their names are the same, their bytes are not".to_owned());
        }
        ensure!(differences.is_empty(), "{}", differences.join("; "));
        let expected = asked.fingerprint(content);
        ensure!(
            self.fingerprint == expected,
            "its fingerprint {} does not match its content, {}: the file was changed by hand",
            provenance::digest_prefix(&self.fingerprint),
            provenance::digest_prefix(&expected)
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::results::example;

    #[test]
    fn what_differs_is_told_by_name() {
        let mut record = example::record();
        record.settings.values.insert("epochs".into(), json!(5));
        record.settings.values.insert("optimisation.rule".into(), json!("adamw"));
        record.data.content = Some("a".into());
        let there = Identity::from_record(&record).unwrap();
        record.fingerprint = there.fingerprint(Some("a"));
        record.ensure_belongs_to(&there, Some("a")).unwrap();

        let mut asked = there.clone();
        asked.settings.values.insert("epochs".into(), json!(6));
        asked.settings.values.remove("optimisation.rule");
        asked.code = "another".into();
        asked.device = "cuda".into();
        let error = record.ensure_belongs_to(&asked, Some("b")).unwrap_err().to_string();
        for expected in [
            "epochs: 5 stored, 6 requested",
            "optimisation.rule: adamw stored, nothing requested",
            "device: cpu stored, cuda requested",
            "code that computes numbers",
            "content of the image files",
        ] {
            assert!(error.contains(expected), "{expected}: {error}");
        }
        assert!(!error.contains("scale"), "{error}");

        record.fingerprint = "0123".into();
        let error = record.ensure_belongs_to(&there, Some("a")).unwrap_err().to_string();
        assert!(error.contains("changed by hand"), "{error}");
        record.provenance.code = None;
        let error = record.ensure_belongs_to(&there, Some("a")).unwrap_err().to_string();
        assert!(error.contains("earlier version"), "{error}");
    }

    #[test]
    fn everything_moves_the_fingerprint() {
        let identity = Identity::from_record(&example::record()).unwrap();
        let mut others = vec![identity.clone(); 8];
        others[0].cell.push('x');
        others[1].settings.scale.push('x');
        others[2].settings.values.insert("side".into(), json!(64));
        others[3].train_digest.push('x');
        others[4].validation_digest.push('x');
        others[5].code.push('x');
        others[6].device.push('x');
        others[7].settings.recipe.push('x');
        let mut all: Vec<String> = others.iter().map(|other| other.fingerprint(None)).collect();
        all.extend([
            identity.fingerprint(None),
            identity.fingerprint(Some("x")),
            identity.fingerprint(Some("y")),
        ]);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 11);
        // A number and its text are different settings.
        let mut text = identity.clone();
        text.settings.values.insert("side".into(), json!("64"));
        assert_ne!(text.fingerprint(None), others[2].fingerprint(None));
    }

    /// All that may differ, in order: what is stored first, then what is requested; digests by their beginning.
    #[test]
    fn differences_are_listed_with_what_is_stored_first() {
        let identity = |text: &str, number: u64, more: &[(&str, serde_json::Value)]| {
            let digest = |part: &str| format!("{text}-{part}-{}", "0".repeat(20));
            let mut values: std::collections::BTreeMap<String, serde_json::Value> =
                [("side".to_owned(), json!(number)), ("views".to_owned(), json!("whole"))].into();
            values.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
            Identity {
                cell: format!("{text}/cell"),
                settings: Settings { scale: format!("{text}-s"), recipe: format!("{text}-r"), values },
                train_digest: digest("train"),
                validation_digest: digest("valid"),
                code: digest("code"),
                device: format!("{text}-d"),
            }
        };
        let (there, asked) =
            (identity("a", 64, &[("clip", json!(0.5))]), identity("b", 96, &[("epochs", json!([1, 2]))]));
        assert_eq!(
            there.differences(&asked),
            [
                "scale: a-s stored, b-s requested",
                "recipe: a-r stored, b-r requested",
                "clip: 0.5 stored, nothing requested",
                "side: 64 stored, 96 requested",
                "epochs: nothing stored, [1,2] requested",
                "cell: a/cell stored, b/cell requested",
                "device: a-d stored, b-d requested",
                "names and labels of training images: a-train-0000 stored, b-train-0000 requested",
                "names and labels of validation images: a-valid-0000 stored, b-valid-0000 requested",
                "code that computes numbers: a-code-00000 stored, b-code-00000 requested",
            ]
        );
        assert_eq!(there.differences(&there), [""; 0]);
        let (a, b) = (there.without_code(), asked.without_code());
        assert!(a.differences(&b).len() == 9 && a.code.is_empty() && a.cell == there.cell);
    }

    /// An identity is read from these fields of a record.
    #[test]
    fn a_record_has_the_identity_that_it_states() {
        let mut record = example::record();
        (record.data.train_digest, record.data.validation_digest) = ("train".into(), "validation".into());
        (record.provenance.device, record.provenance.code) = ("cuda".into(), Some("code".into()));
        record.settings.values.insert("side".into(), json!(64));
        assert_eq!(
            Identity::from_record(&record),
            Some(Identity {
                cell: "table1/simclr-resnet18-share05-seed0".into(),
                settings: record.settings.clone(),
                train_digest: "train".into(),
                validation_digest: "validation".into(),
                code: "code".into(),
                device: "cuda".into(),
            })
        );
    }

    #[test]
    fn settings_are_read_by_name() {
        let mut settings = example::record().settings;
        assert!(settings.normalisation().is_none() && !settings.mixed_precision());
        for (name, value) in [
            ("normalisation.mean", json!([0.1, 0.2, 0.3])),
            ("normalisation.deviation", json!([0.4, 0.5, 0.6])),
            ("precision", json!("f32")),
            ("epochs", json!(5)),
            ("views", json!("whole")),
        ] {
            settings.values.insert(name.to_owned(), value);
        }
        let found = settings.normalisation().unwrap();
        assert_eq!((found.mean, found.std), ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]));
        let texts = ["epochs", "views", "nothing"].map(|name| settings.text(name));
        assert_eq!(texts, [Some("5".to_owned()), Some("whole".to_owned()), None]);
        assert!(!settings.mixed_precision());
        settings.values.insert("precision".to_owned(), json!("bf16 with f32 weights"));
        assert!(settings.mixed_precision());
        settings.values.insert("normalisation.mean".to_owned(), json!([0.1, 0.2]));
        assert!(settings.normalisation().is_none());
    }

    /// Lengths separate adjacent texts: none can move from one part to the next.
    #[test]
    fn a_fingerprint_knows_which_part_is_which() {
        let identity = Identity::from_record(&example::record()).unwrap();
        let of = |change: fn(&mut Identity)| {
            let mut other = identity.clone();
            change(&mut other);
            other.fingerprint(None)
        };
        let all = [
            of(|other| (other.train_digest, other.validation_digest) = ("x".into(), "y".into())),
            of(|other| (other.train_digest, other.validation_digest) = ("y".into(), "x".into())),
            of(|other| (other.train_digest, other.validation_digest) = ("xy".into(), String::new())),
            of(|other| (other.settings.scale, other.settings.recipe) = ("x".into(), "y".into())),
            of(|other| (other.settings.scale, other.settings.recipe) = ("y".into(), "x".into())),
            of(|other| (other.code, other.device) = ("x".into(), "y".into())),
            of(|other| (other.code, other.device) = ("y".into(), "x".into())),
        ];
        let distinct: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert!(all.iter().all(|digest| digest.len() == 64));
    }

    /// Texts that begin alike for longer than a message shows are still different.
    #[test]
    fn differences_beyond_what_is_shown_are_listed() {
        let mut record = example::record();
        let begin = "0123456789ab".repeat(2);
        (record.data.train_digest, record.data.validation_digest) =
            (begin.clone() + "t0", begin.clone() + "v0");
        record.provenance.code = Some(begin.clone() + "c0");
        record.provenance.device = begin.clone() + "d0";
        record.settings.values.insert("views".into(), json!(begin.clone() + "0"));
        let there = Identity::from_record(&record).unwrap();
        record.fingerprint = there.fingerprint(None);
        let shown = "0123456789ab stored, 0123456789ab requested";
        type Change = fn(&mut Identity);
        let changes: [(Change, String); 6] = [
            (
                |asked| asked.cell = asked.cell.replace("seed0", "seed1"),
                "cell: table1/simcl stored, table1/simcl requested".into(),
            ),
            (|asked| asked.device.push('x'), format!("device: {shown}")),
            (|asked| asked.train_digest.push('x'), format!("names and labels of training images: {shown}")),
            (
                |asked| asked.validation_digest.push('x'),
                format!("names and labels of validation images: {shown}"),
            ),
            (|asked| asked.code.push('x'), format!("code that computes numbers: {shown}")),
            (
                |asked| {
                    drop(asked.settings.values.insert("views".into(), json!("0123456789ab0123456789ab1")))
                },
                format!("views: {begin}0 stored, {begin}1 requested"),
            ),
        ];
        for (change, expected) in changes {
            let mut asked = there.clone();
            change(&mut asked);
            assert_eq!(there.differences(&asked), [expected.as_str()]);
            assert_eq!(record.ensure_belongs_to(&asked, None).unwrap_err().to_string(), expected);
        }
        // Neither is content that only one of both states.
        record.ensure_belongs_to(&there, None).unwrap();
        let content = "content of the image files: their names are the same, their bytes are not";
        assert_eq!(record.ensure_belongs_to(&there, Some("a")).unwrap_err().to_string(), content);
        record.data.content = Some("a".into());
        assert_eq!(record.ensure_belongs_to(&there, None).unwrap_err().to_string(), content);
    }
}
