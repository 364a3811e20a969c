//! PyTorch's side of a race: scripts of `fixtures/torch`, embedded in the program, which may run without a
//! checkout.

use std::fs;

use anyhow::{Context, Result};
use tempfile::TempDir;

/// The Python packages that the scripts need, in pip's format.
pub const REQUIREMENTS: &str = include_str!("../../../../fixtures/torch/requirements.txt");

/// Scripts and the modules that they import.
const SCRIPTS: [(&str, &str); 4] = [
    ("race.py", include_str!("../../../../fixtures/torch/race.py")),
    ("race_loader.py", include_str!("../../../../fixtures/torch/race_loader.py")),
    ("race_pillow.py", include_str!("../../../../fixtures/torch/race_pillow.py")),
    ("methods.py", include_str!("../../../../fixtures/torch/methods.py")),
];

/// Writes the scripts to a temporary folder, which is deleted when the returned value is dropped.
///
/// # Errors
/// If the system's temporary folder cannot be written.
pub fn unpack() -> Result<TempDir> {
    let folder = tempfile::tempdir().context("no temporary folder for PyTorch's scripts")?;
    for (name, text) in SCRIPTS {
        let path = folder.path().join(name);
        fs::write(&path, text).with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn scripts_import_nothing_of_their_folder_that_is_left_behind() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/torch");
        for (name, text) in SCRIPTS {
            let imports = text.lines().filter_map(|line| {
                line.strip_prefix("import ").or_else(|| line.strip_prefix("from "))?.split([' ', '.']).next()
            });
            for import in imports.map(|import| format!("{import}.py")) {
                let inside = SCRIPTS.iter().any(|(script, _)| *script == import);
                assert!(inside || !folder.join(&import).exists(), "{name} imports {import}");
            }
        }
        assert!(SCRIPTS[0].1.contains("\nimport methods\n"), "race.py imports none of its folder's files");
    }
}
