//! The settings that a page shows, each in a part of its own, and those that it leaves out.

use std::{collections::BTreeSet, path::PathBuf};

use maud::{Markup, html};

use super::Page;
use crate::{
    analysis::{FiledRecord, Reading, setting::short_digest},
    results::record::Counts,
    study::Study,
};

/// Largest number of settings that one page shows, the largest first. Ours: each has every section, which may take
/// a megabyte.
pub const MOST_PARTS: usize = 6;

/// Summary of a setting: what distinguishes its records from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingSummary {
    /// Name of the setting.
    pub setting: String,
    /// Number of its records.
    pub records: usize,
    /// Results folders that contain them.
    pub folders: BTreeSet<PathBuf>,
    /// The largest training set of any of them.
    pub train: Counts,
    /// The largest validation set.
    pub validation: Counts,
    /// First letters of the digests of training and validation labels.
    pub digests: [String; 2],
    /// Whether it consists only of trials, which choose a recipe's numbers and are not results.
    pub is_tuning: bool,
}

impl SettingSummary {
    pub(super) fn of(setting: String, records: &[&FiledRecord], is_tuning: bool) -> Self {
        let size = |counts: &Counts| counts.normals + counts.defects;
        let most = |of: fn(&FiledRecord) -> Counts| {
            let none = Counts { normals: 0, defects: 0 };
            records.iter().map(|filed| of(filed)).max_by_key(size).unwrap_or(none)
        };
        // The images of Table 2 are drawn for its largest side.
        let own = records.iter().find(|filed| !matches!(filed.cell.study, Study::Table2 { .. }));
        let digests = own.or(records.first()).map_or_else(Default::default, |filed| {
            let data = &filed.record.data;
            [&data.train_digest, &data.validation_digest].map(|digest| short_digest(digest).to_owned())
        });
        Self {
            setting,
            records: records.len(),
            folders: records.iter().map(|filed| filed.folder.clone()).collect(),
            train: most(|filed| filed.record.data.train),
            validation: most(|filed| filed.record.data.validation),
            digests,
            is_tuning,
        }
    }

    /// `2 records of small scale, short recipe, elpv: at most 90 images to train on ...`.
    pub fn sentence(&self) -> String {
        let [train, validation] = &self.digests;
        format!(
            "{} of {}: at most {} to train on (labels {train}), {} to score on (labels {validation}); from {}",
            records(self.records),
            self.setting,
            images(self.train),
            images(self.validation),
            self.places()
        )
    }

    /// Returns the shell command that shows a setting that was left out, or why there is none.
    pub fn how_to_show(&self) -> String {
        if self.is_tuning {
            return "these are trials of `tune`, which choose a recipe's numbers and are never shown"
                .to_owned();
        }
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
        let folders: Vec<String> =
            self.folders.iter().map(|folder| quoted(&folder.display().to_string())).collect();
        format!("cargo xtask report {} --setting {}", folders.join(" "), quoted(&self.setting))
    }

    fn places(&self) -> String {
        let places: Vec<String> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
        places.join(", ")
    }
}

/// Returns the summaries of all settings of a reading, the largest first.
pub fn setting_summaries(reading: &Reading) -> Vec<SettingSummary> {
    let of = |(setting, _): (String, usize)| {
        let records: Vec<&FiledRecord> =
            reading.records.iter().filter(|filed| filed.setting == setting).collect();
        let axes = reading.frame.setting(&setting).axes();
        SettingSummary::of(
            setting,
            &records,
            axes.iter().all(|at| matches!(at.cell.study, Study::Tuning { .. })),
        )
    };
    reading.frame.settings().into_iter().map(of).collect()
}

fn records(count: usize) -> String {
    if count == 1 { "1 record".to_owned() } else { format!("{count} records") }
}

fn images(counts: Counts) -> String {
    format!("{} normal images and {} defects", counts.normals, counts.defects)
}

/// The top of a page with several settings: what its parts show, and what it leaves out; empty for a single
/// setting.
pub(super) fn overview(page: &Page) -> Markup {
    let parts: Vec<&Page> = page.parts().collect();
    html! {
        @if parts.len() > 1 {
            p.banner role="note" {
                "These records belong to " (parts.len()) " settings. Each setting has its own part of this page, the largest first. Scores of different settings are not compared."
            }
            div.wide { table {
                caption { "Contents of the parts, by their largest records" }
                thead { tr {
                    th scope="col" { "Part" } th.number scope="col" { "Records" } th scope="col" { "Trained on, at most" }
                    th scope="col" { "Scored on" } th scope="col" { "Labels" } th scope="col" { "Folders" }
                } }
                tbody { @for part in parts { @if let Some(contents) = &part.contents { tr {
                    th scope="row" { a href={ "#" (part.id("part")) } { (contents.setting) } }
                    td.number { (contents.records) } td { (images(contents.train)) } td { (images(contents.validation)) }
                    td { (contents.digests.join(" ")) } td.value { (contents.places()) }
                } } } }
            } }
        }
        @if !page.left_out().is_empty() {
            p.banner role="note" {
                strong { "Not on this page: " (records(page.left_out().iter().map(|contents| contents.records).sum())) " of other settings." }
            }
            ul { @for contents in page.left_out() { li { (contents.sentence()) br; code { (contents.how_to_show()) } } } }
        }
    }
}
