//! What defines every cell before anything is trained: settings and training images.
//!
//! One table of all cells, computed in milliseconds: a wiring error (a wrong share, swapped axes of a grid, a wrong
//! view size or recipe number) changes lines of it. Therefore only some cells need to be trained by default.

use std::{collections::BTreeMap, fmt::Write as _};

use skewbench::experiment::Resolver;

use crate::{
    check,
    identity::{cells, counts, digest},
};

#[test]
fn identities_of_all_cells() {
    let (plan, source) = check::fixture();
    let mut resolver = Resolver::new(&plan, source);
    // Values of each setting, numbered in order of first appearance.
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut lines = String::new();
    for cell in cells().into_iter().filter(|cell| cell.undefined_reason().is_none()) {
        let resolved = resolver.resolve(&cell).unwrap();
        let mut images = blake3::Hasher::new();
        for &index in &resolved.subset.indices {
            images.update(&(index as u64).to_le_bytes());
        }
        let images = images.finalize().to_hex().to_string();
        let trained_on = counts(resolved.subset.normals, resolved.subset.defects);
        write!(lines, "{cell}: {} | {trained_on}, {} |", digest(&resolved.identity), &images[..16]).unwrap();
        let (passes, evaluated) = (resolved.image_passes(), resolved.evaluation_passes());
        write!(lines, " {passes} images trained on, {evaluated} evaluated |").unwrap();
        for (name, value) in &resolved.identity.settings.values {
            let value = value.to_string();
            let values = known.entry(name.clone()).or_default();
            let number = values.iter().position(|known| *known == value).unwrap_or_else(|| {
                values.push(value);
                values.len() - 1
            });
            write!(lines, " {name} {number}").unwrap();
        }
        lines.push('\n');
    }
    let mut text = String::from("# values of settings\n\n");
    for (name, values) in &known {
        for (number, value) in values.iter().enumerate() {
            writeln!(text, "{name} {number} = {value}").unwrap();
        }
    }
    text.push_str("\n# cells: identity | training images, digest of which | passes | settings\n\n");
    check::assert_text("identity", &(text + &lines));
}
