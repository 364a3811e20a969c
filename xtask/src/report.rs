//! `report`: one page of HTML from results folders.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use skewbench::{analysis::reading, report::Page};

#[derive(clap::Args)]
pub struct Arguments {
    /// Results folders; without any, the page shows the paper's own numbers
    folders: Vec<PathBuf>,
    /// The page
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    write(&arguments.folders, &arguments.out)
}

/// Writes the page of these folders, and says where.
pub fn write(folders: &[PathBuf], out: &Path) -> Result<()> {
    let reading = reading::read(folders);
    for problem in reading.problems.iter().take(10) {
        eprintln!("{problem}");
    }
    let (records, problems) = (reading.records.len(), reading.problems.len());
    let page = Page::new(reading, None).html();
    std::fs::write(out, page).with_context(|| format!("{}: cannot be written", out.display()))?;
    println!("report  {} ({records} records, {problems} things to know)", out.display());
    Ok(())
}
