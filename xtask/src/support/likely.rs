//! Suggestions for misspelt names.

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::{Result, bail};
use skewbench::results::{Folder, Record};

/// Smallest similarity to the typed text for a suggestion (Jaro and Winkler's measure, 0 to 1; ours).
const LIKE: f64 = 0.8;

/// Returns the known name most similar to what was typed, if one is similar enough.
pub fn closest_name<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let likeness = |name: &str| strsim::jaro_winkler(&typed, &name.to_lowercase());
    let liked =
        known.into_iter().map(|name| (name, likeness(name))).filter(|(_, likeness)| *likeness >= LIKE);
    liked.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(name, _)| name)
}

/// Explains that no cell's name contains one of these texts, with suggestions and the words that names consist of.
pub fn no_cell(typed: &[String], cells: &[String]) -> String {
    let words = |cell: &String| -> Vec<String> { cell.split(['/', '-']).map(str::to_owned).collect() };
    let words: BTreeSet<String> = cells.iter().flat_map(words).collect();
    // A text with a hyphen is meant as the name of a whole cell.
    let closest = |typed: &String| match typed.contains('-') {
        true => closest_name(typed, cells.iter().map(String::as_str)),
        false => closest_name(typed, words.iter().map(String::as_str)),
    };
    let meant: Vec<&str> = typed.iter().filter_map(closest).collect();
    let suggestion =
        if meant.is_empty() { String::new() } else { format!(" Did you mean '{}'?", meant.join("' or '")) };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    format!(
        "no cell's name contains '{}'.{suggestion} Cells here have names like '{}', made of these words: {}",
        typed.join("' or '"),
        cells.first().map_or("", |cell| cell),
        words.join(", ")
    )
}

/// Returns the record of a finished cell, and its file.
///
/// # Errors
/// If no cell has that name, with suggestions; or if its record cannot be read.
pub fn find_finished(folder: &Folder, typed: &str) -> Result<(PathBuf, Record)> {
    const SHOWN: usize = 5;
    let cell = typed.strip_suffix(".json").unwrap_or(typed);
    if folder.find(cell)?.is_some() {
        return folder.finished(cell);
    }
    let cells: Vec<String> = folder.records()?.into_iter().map(|record| record.cell.id).collect();
    let having: Vec<&str> = cells.iter().map(String::as_str).filter(|known| known.contains(cell)).collect();
    if having.is_empty() {
        bail!("{}", no_cell(&[cell.to_owned()], &cells));
    }
    let more = having.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    let shown = having.into_iter().take(SHOWN).collect::<Vec<_>>().join("\n  ");
    bail!("no finished cell is called '{cell}'; give the whole name of one of these:\n  {shown}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_word_is_suggested() {
        let cells =
            ["table1/simclr-resnet18-share45-seed0", "pixels/none-pixels-share45-seed0"].map(str::to_owned);
        let told = no_cell(&["simclrr".to_owned()], &cells);
        assert!(told.starts_with("no cell's name contains 'simclrr'. Did you mean 'simclr'?"), "{told}");
        assert!(told.contains("like 'table1/simclr-resnet18-share45-seed0'"), "{told}");
        assert!(!no_cell(&["zzz".to_owned()], &cells).contains("Did you mean"));
        let told = no_cell(&["table1/simclr-resnet18-share45-seed1".to_owned()], &cells);
        assert!(told.contains("Did you mean 'table1/simclr-resnet18-share45-seed0'?"), "{told}");
        assert_eq!(closest_name("ResNet", ["resnet18", "vit_tiny"]), Some("resnet18"));
    }

    #[test]
    fn a_cell_is_found_by_its_whole_name_and_others_are_named() {
        use crate::support::committed;
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        for seed in 0..7 {
            folder.write(&committed::record("table1", "simclr", seed)).unwrap();
        }
        let whole = "table1/simclr-resnet18-share45-seed3";
        for typed in [whole.to_owned(), format!("{whole}.json")] {
            let (at, record) = find_finished(&folder, &typed).unwrap();
            assert_eq!((at, record.cell.seed), (folder.record_path(whole), 3));
        }
        let told = find_finished(&folder, "simclr").map(drop).unwrap_err().to_string();
        assert!(told.starts_with("no finished cell is called 'simclr'"), "{told}");
        assert!(told.matches("\n  table1/").count() == 5 && told.ends_with("\n  and 2 more"), "{told}");
        let told = find_finished(&folder, "byol").map(drop).unwrap_err().to_string();
        assert!(told.starts_with("no cell's name contains 'byol'"), "{told}");
    }

    /// Of several that are similar the most similar is meant, of several texts each has its own suggestion.
    #[test]
    fn the_most_similar_name_is_meant() {
        assert_eq!(closest_name("simcl", ["simsiam", "simclr", "simclr2"]), Some("simclr"));
        assert_eq!(closest_name("resnet19", ["resnet", "resnet18", "resnet50"]), Some("resnet18"));
        assert_eq!(closest_name("zzz", ["simclr"]), None);
        let cells = ["b/byol-resnet18", "a/simclr-vit_tiny"].map(str::to_owned);
        let typed = ["biol", "zzz", "vit_tini"].map(str::to_owned);
        let expected = "no cell's name contains 'biol' or 'zzz' or 'vit_tini'. Did you mean 'byol' or 'vit_tiny'? Cells here have \
                        names like 'b/byol-resnet18', made of these words: a, b, byol, resnet18, simclr, vit_tiny";
        assert_eq!(no_cell(&typed, &cells), expected);
    }

    #[test]
    fn few_cells_are_all_named() {
        use crate::support::committed;
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        for seed in 0..5 {
            folder.write(&committed::record("table1", "simclr", seed)).unwrap();
        }
        folder.write(&committed::record("table1", "byol", 0)).unwrap();
        let told = find_finished(&folder, "simclr-resnet18").map(drop).unwrap_err().to_string();
        let names: String =
            (0..5).map(|seed| format!("\n  table1/simclr-resnet18-share45-seed{seed}")).collect();
        let expected = format!(
            "no finished cell is called 'simclr-resnet18'; give the whole name of one of these:{names}"
        );
        assert_eq!(told, expected);
    }
}
