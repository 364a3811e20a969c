//! The page of a very large number of records.

use std::{fs, path::Path};

use skewbench::results;

/// Minimum number of records.
const RECORDS: usize = 10_000;
/// The study whose records are copied.
const STUDY: &str = "results/2026-11-29-small-study";

/// Copies committed records many times, with other seeds each time, and returns the arguments for their page.
pub fn command(folder: &Path) -> Vec<String> {
    let (study, out) = (Path::new(env!("CARGO_MANIFEST_DIR")).join(STUDY), folder.join("records"));
    let records: Vec<_> =
        results::files(&study).unwrap().iter().map(|file| results::read(file).unwrap()).collect();
    let seeds = 1 + records.iter().map(|record| record.cell.seed).max().unwrap();
    let mut written = 0;
    for again in (0..).take_while(|again| again * records.len() < RECORDS) {
        for record in &records {
            let mut record = record.clone();
            let own = format!("-seed{}", record.cell.seed);
            record.cell.seed += again as u64 * seeds;
            record.cell.id = record.cell.id.replace(&own, &format!("-seed{}", record.cell.seed));
            let path = out.join(format!("{}.json", record.cell.id));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, serde_json::to_string_pretty(&record).unwrap()).unwrap();
            written += 1;
        }
    }
    assert!(written >= RECORDS);
    let page = folder.join("page.html").display().to_string();
    ["report", &out.display().to_string(), "--out", &page].map(str::to_owned).to_vec()
}
