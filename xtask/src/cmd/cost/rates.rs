//! Measured rates: committed files below `results/`.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
use serde_json::Value;
use skewbench::{
    analysis::ratio::median,
    backbone,
    data::regular::{self, SizeLimit},
    method,
};

/// Training steps of all pairs at 224 px.
pub const STEPS: &str = "results/2026-11-28-race-2-cores/race.json";
/// Decoding and two views.
pub const LOADER: &str = "results/2026-11-29-loader/race.json";
/// Stages with a million images and ten thousand records.
pub const SCALE: &str = "results/2026-11-29-scale/timings.json";

/// All measured rates.
pub struct Rates {
    /// CPU on which the training steps were measured.
    pub cpu: String,
    pub threads: f64,
    /// Seconds per source image on all of these threads.
    steps: BTreeMap<(method::Name, backbone::Name), f64>,
    /// Seconds per source image on one thread, by the name of a case.
    loading: Vec<(String, f64)>,
    /// Measurements of each stage.
    stages: BTreeMap<String, Stage>,
}

/// One stage at scale.
pub struct Stage {
    pub seconds: f64,
    pub processor: f64,
    /// Peak memory, MiB.
    pub peak: f64,
}

impl Rates {
    /// Reads all files.
    ///
    /// # Errors
    /// If one is missing, or lacks what is needed.
    pub fn read(checkout: &Path) -> Result<Self> {
        let read = |name: &str| -> Result<Value> {
            let text = regular::read_text(&checkout.join(name), SizeLimit::DOCUMENT)
                .with_context(|| format!("{name}: measured rates cannot be read"))?;
            serde_json::from_str(&text).with_context(|| name.to_owned())
        };
        let (race, loader, scale) = (read(STEPS)?, read(LOADER)?, read(SCALE)?);
        let mut steps = BTreeMap::new();
        for (name, seconds) in cases(&race).context(STEPS)? {
            if let Some((pair, images)) = pair(&name) {
                steps.insert(pair, seconds / images);
            }
        }
        let stages = scale["stages"].as_array().with_context(|| format!("{SCALE}: no stages"))?;
        let stage = |stage: &Value| -> Option<(String, Stage)> {
            let number = |name: &str| stage[name].as_f64();
            let (seconds, processor) = (number("seconds")?, number("processor_seconds")?);
            Some((
                stage["stage"].as_str()?.to_owned(),
                Stage { seconds, processor, peak: number("peak_mib")? },
            ))
        };
        Ok(Self {
            cpu: race["provenance"]["cpu"].as_str().unwrap_or("unknown").to_owned(),
            threads: race["threads"].as_f64().with_context(|| format!("{STEPS}: no threads"))?,
            steps,
            loading: cases(&loader).context(LOADER)?,
            stages: stages.iter().filter_map(stage).collect(),
        })
    }

    /// Returns the seconds of a training step per source image.
    pub fn step(&self, method: method::Name, backbone: backbone::Name) -> Result<f64> {
        let step = self.steps.get(&(method, backbone)).copied();
        step.with_context(|| format!("{STEPS}: no case of {method} on {backbone} at 224 px"))
    }

    /// Returns the seconds that one thread takes to load two views of an image at 224 px from `kind`.
    pub fn load(&self, kind: &str) -> Result<f64> {
        let case = self.loading.iter().find(|(name, _)| name.starts_with(kind) && name.ends_with("224 px"));
        case.map(|(_, seconds)| *seconds).with_context(|| format!("{LOADER}: no case of {kind} at 224 px"))
    }

    pub fn stage(&self, name: &str) -> Result<&Stage> {
        self.stages.get(name).with_context(|| format!("{SCALE}: no stage {name}"))
    }
}

/// Returns the cases of a race with the median of our seconds.
fn cases(race: &Value) -> Result<Vec<(String, f64)>> {
    let cases = race["cases"].as_array().context("no cases")?;
    let of = |case: &Value| -> Result<(String, f64)> {
        let name = case["case"].as_str().context("a case without a name")?.to_owned();
        let ours: Option<Vec<f64>> =
            case["seconds"]["ours"].as_array().map(|ours| ours.iter().filter_map(Value::as_f64).collect());
        let ours = ours.filter(|ours| !ours.is_empty()).with_context(|| format!("{name}: no seconds"))?;
        Ok((name, median(&ours)))
    };
    cases.iter().map(of).collect()
}

/// Parses `simclr-resnet18-8x224px` into the pair and the images per step; `None` at another size.
fn pair(name: &str) -> Option<((method::Name, backbone::Name), f64)> {
    let (pair, size) = name.rsplit_once('-')?;
    let images = size.strip_suffix("x224px")?.parse().ok()?;
    let (method, backbone) = pair.split_once('-')?;
    Some(((method.parse().ok()?, backbone.parse().ok()?), images))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_read_by_their_names() {
        let expected = ((method::Name::BarlowTwins, backbone::Name::ViTTiny), 8.0);
        assert_eq!(pair("barlow_twins-vit_tiny-8x224px"), Some(expected));
        assert_eq!(pair("barlow_twins-vit_tiny-16x64px"), None);
        assert_eq!(pair("jpeg 720x576, two views of 224 px"), None);
    }

    /// Files of a checkout with numbers that are easy to tell apart.
    #[test]
    fn rates_are_read_from_their_own_files_and_places() {
        use serde_json::json;
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, value: &Value| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, value.to_string()).unwrap();
        };
        let case = |name: &str, ours: &[f64]| json!({ "case": name, "seconds": { "ours": ours, "pytorch": [99.0] } });
        write(
            STEPS,
            &json!({
                "threads": 3, "provenance": { "cpu": "a processor" },
                "cases": [case("simclr-resnet18-8x224px", &[5.0, 1.0, 4.0]), case("simclr-resnet18-16x64px", &[7.0])],
            }),
        );
        write(
            LOADER,
            &json!({ "cases": [
            case("png 720x576, two views of 64 px", &[0.5]),
            case("png 720x576, two views of 224 px", &[0.25]),
            case("jpeg 720x576, two views of 224 px", &[0.125]),
        ] }),
        );
        write(
            SCALE,
            &json!({ "stages": [
            { "stage": "probe", "seconds": 1.0, "processor_seconds": 2.0, "peak_mib": 3.0 },
            { "stage": "page", "seconds": 4.0, "processor_seconds": 5.0, "peak_mib": 6.0 },
        ] }),
        );
        let rates = Rates::read(root.path()).unwrap();
        assert_eq!((rates.cpu.as_str(), rates.threads), ("a processor", 3.0));
        // The median of a step of eight images.
        assert_eq!(rates.step(method::Name::SimClr, backbone::Name::ResNet18).unwrap(), 0.5);
        assert_eq!((rates.load("png").unwrap(), rates.load("jpeg").unwrap()), (0.25, 0.125));
        let page = rates.stage("page").unwrap();
        assert_eq!((page.seconds, page.processor, page.peak), (4.0, 5.0, 6.0));
        let missing = |error: Option<anyhow::Error>| error.unwrap().to_string();
        let step = rates.step(method::Name::Byol, backbone::Name::ResNet18);
        assert_eq!(missing(step.err()), format!("{STEPS}: no case of byol on resnet18 at 224 px"));
        assert_eq!(missing(rates.load("packed").err()), format!("{LOADER}: no case of packed at 224 px"));
        assert_eq!(missing(rates.stage("doctor").err()), format!("{SCALE}: no stage doctor"));
    }

    /// Each file that is missing or lacks something is named, and so is what it lacks.
    #[test]
    fn what_is_missing_in_a_file_of_rates_is_named() {
        use serde_json::json;
        let case = |seconds: Value| json!({ "case": "png, 224 px", "seconds": { "ours": seconds } });
        let race = |cases: Value| json!({ "threads": 2, "cases": cases });
        let scale = json!({ "stages": [] });
        let error = |files: [Option<&Value>; 3]| {
            let root = tempfile::tempdir().unwrap();
            for (name, value) in [STEPS, LOADER, SCALE].into_iter().zip(files) {
                let path = root.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                value.iter().for_each(|value| std::fs::write(&path, value.to_string()).unwrap());
            }
            format!("{:#}", Rates::read(root.path()).err().unwrap())
        };
        let sound = race(json!([case(json!([1.0]))]));
        let expected = format!("{LOADER}: measured rates cannot be read: ");
        assert!(error([Some(&sound), None, Some(&scale)]).starts_with(&expected));
        let numbers = error([Some(&sound), Some(&sound), Some(&json!([1, 2]))]);
        assert_eq!(numbers, format!("{SCALE}: no stages"));
        let threads = json!({ "cases": [] });
        assert_eq!(error([Some(&threads), Some(&sound), Some(&scale)]), format!("{STEPS}: no threads"));
        for (cases, what) in [
            (json!(3), "no cases"),
            (json!([case(json!([]))]), "png, 224 px: no seconds"),
            (json!([case(json!("1"))]), "png, 224 px: no seconds"),
            (json!([{ "seconds": { "ours": [1.0] } }]), "a case without a name"),
        ] {
            assert_eq!(
                error([Some(&race(cases.clone())), Some(&sound), Some(&scale)]),
                format!("{STEPS}: {what}")
            );
            assert_eq!(error([Some(&sound), Some(&race(cases)), Some(&scale)]), format!("{LOADER}: {what}"));
        }
    }
}
