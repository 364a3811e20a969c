//! Measured rates: committed files below `results/`.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
use serde_json::Value;
use skewbench::{
    analysis::ratio::median,
    backbone,
    data::regular::{self, Most},
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
            let text = regular::read_text(&checkout.join(name), Most::DOCUMENT)
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
}
