//! What every cell is, before anything is trained: settings and training images.
//!
//! One table of all cells, in milliseconds: an error of wiring (a wrong share, a grid's axis swapped, a
//! view's size, a recipe's number) shows as the lines that it moves. So by default only some cells train.

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
    // Values of each setting, numbered in the order in which cells come.
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut lines = String::new();
    for cell in cells().into_iter().filter(|cell| cell.undefined().is_none()) {
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
    check::text("identity", &(text + &lines));
}
