//! Numbers that a record has lost: JSON has no NaN or infinity, so such a number is written as null.

use std::path::Path;

use serde_json::Value;

/// Fields where null is valid: the natural share, no probe beside a supervised head, no Sewer-ML classes.
const NULLABLE: [&str; 5] =
    ["train_share", "validation_share", "probe_loss", "f2_ciw_oracle", "f2_ciw_multilabel"];

/// Parts of a record that hold measurements: any other null below them was a number that is not finite.
const MEASURED: [&str; 5] = ["curve", "probe", "label_free", "scores", "cost"];

/// Returns the names of numbers that are null in a record's file though they must be finite; empty if the file is
/// not JSON.
pub fn lost_numbers(file: &Path) -> Vec<String> {
    let text = super::json_text(file).unwrap_or_default();
    let Ok(record) = serde_json::from_str::<Value>(&text) else { return Vec::new() };
    let mut lost = Vec::new();
    for part in MEASURED {
        look(part, record.get(part).unwrap_or(&Value::Bool(false)), &mut lost);
    }
    lost.dedup();
    lost
}

fn look(name: &str, value: &Value, lost: &mut Vec<String>) {
    match value {
        Value::Null if !NULLABLE.contains(&name) => lost.push(name.to_owned()),
        Value::Array(values) => values.iter().for_each(|value| look(name, value, lost)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| look(name, value, lost)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_must_be_a_number_is_lost() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lost = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            lost_numbers(file.path())
        };
        assert_eq!(
            lost(r#"{"scores": [{"f1": null, "f2_ciw_oracle": null, "validation_share": null}]}"#),
            ["f1"]
        );
        assert_eq!(lost(r#"{"curve": [{"monitors": {"rankme": null}, "probe_loss": null}]}"#), ["rankme"]);
        assert_eq!(
            lost(r#"{"cell": {"train_share": null}, "settings": {"values": {"clip": null}}}"#),
            [""; 0]
        );
        assert_eq!(lost("{"), [""; 0]);
    }

    /// Every part that holds measurements is searched, in order; fields that may be null are not lost numbers.
    #[test]
    fn every_part_with_measurements_is_looked_through() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = r#"{
            "cost": {"train_seconds": null, "parts": {"probe": null}},
            "scores": [{"auroc": null}, {"auroc": null, "recall": 1, "f2_ciw_multilabel": null}],
            "label_free": {"views": {"lidar": null}},
            "probe": {"gradient": null},
            "curve": [{"loss": null, "probe_loss": null}, {"loss": 1, "seconds": null}],
            "data": {"content": null},
            "cell": {"train_share": null}
        }"#;
        std::fs::write(file.path(), text).unwrap();
        let lost = lost_numbers(file.path());
        let expected = ["loss", "seconds", "gradient", "lidar", "auroc", "probe", "train_seconds"];
        assert_eq!(lost, expected);
        assert!(lost_numbers(Path::new("/nowhere/at/all.json")).is_empty());
    }
}
