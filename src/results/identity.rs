//! Compares identities: whether two results are of the same experiment, and what differs otherwise.

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
    pub fn of(record: &Record) -> Option<Self> {
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
                let [there, asked] = [there, asked].map(provenance::short);
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
    /// If it does not; names what differs.
    pub fn ensure_of(&self, asked: &Identity, content: Option<&str>) -> Result<()> {
        let Some(there) = Identity::of(self) else {
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
            provenance::short(&self.fingerprint),
            provenance::short(&expected)
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
        let there = Identity::of(&record).unwrap();
        record.fingerprint = there.fingerprint(Some("a"));
        record.ensure_of(&there, Some("a")).unwrap();

        let mut asked = there.clone();
        asked.settings.values.insert("epochs".into(), json!(6));
        asked.settings.values.remove("optimisation.rule");
        asked.code = "another".into();
        asked.device = "cuda".into();
        let error = record.ensure_of(&asked, Some("b")).unwrap_err().to_string();
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
        let error = record.ensure_of(&there, Some("a")).unwrap_err().to_string();
        assert!(error.contains("changed by hand"), "{error}");
        record.provenance.code = None;
        let error = record.ensure_of(&there, Some("a")).unwrap_err().to_string();
        assert!(error.contains("earlier version"), "{error}");
    }

    #[test]
    fn everything_moves_the_fingerprint() {
        let identity = Identity::of(&example::record()).unwrap();
        let mut others = vec![identity.clone(); 7];
        others[0].cell.push('x');
        others[1].settings.scale.push('x');
        others[2].settings.values.insert("side".into(), json!(64));
        others[3].train_digest.push('x');
        others[4].validation_digest.push('x');
        others[5].code.push('x');
        others[6].device.push('x');
        let mut all: Vec<String> = others.iter().map(|other| other.fingerprint(None)).collect();
        all.extend([
            identity.fingerprint(None),
            identity.fingerprint(Some("x")),
            identity.fingerprint(Some("y")),
        ]);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 10);
        // A number and its text are different settings.
        let mut text = identity.clone();
        text.settings.values.insert("side".into(), json!("64"));
        assert_ne!(text.fingerprint(None), others[2].fingerprint(None));
    }
}
