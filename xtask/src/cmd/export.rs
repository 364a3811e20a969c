//! `cargo xtask export`: a trained encoder in the form that torchvision or timm load.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, Result, ensure};
use skewbench::{
    augment::Normalisation,
    backbone::Parameters,
    durable,
    results::{Folder, Part, beside},
};

use crate::support::likely;

/// Write the encoder of a finished cell as safetensors under torchvision's or timm's names.
///
/// Heads are left out: load with `num_classes=0` (timm) or `fc = Identity()` (torchvision). Notes in the file's
/// header state the network: attention heads are not visible in tensor shapes.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cargo xtask export results/local/small-synthetic table1/simclr-resnet18-share45-seed0 simclr.safetensors
  cargo xtask reproduce --init simclr.safetensors --only resnet18")]
pub struct Arguments {
    /// Results folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// Name of a cell, as in the folder
    #[arg(value_name = "CELL")]
    cell: String,

    /// File to write
    #[arg(value_name = "FILE")]
    to: PathBuf,

    /// Overwrite an existing file
    #[arg(long)]
    overwrite: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let folder = Folder::existing(&arguments.folder)?;
    let (at, record) = likely::find_finished(&folder, &arguments.cell)?;
    let weights = folder.weights_path(&record.cell.id);
    ensure!(
        weights.exists(),
        "{}: no weights beside the record; it was made with --no-weights, or before weights were stored",
        weights.display()
    );
    let bytes = beside::read(&at, &record, Part::Weights)?;
    let parameters = Parameters::parse(&bytes).with_context(|| weights.display().to_string())?.encoder();
    ensure!(!parameters.all().is_empty(), "{}: holds no encoder", weights.display());

    let setting = |name: &str| record.settings.text(name);
    // Older records do not state it; everything used this normalisation then.
    let normalisation = record.settings.normalisation().unwrap_or(Normalisation::SEWER_ML);
    let mut notes = BTreeMap::from([
        ("backbone".to_owned(), record.cell.backbone.clone()),
        ("method".to_owned(), record.cell.method.clone()),
        ("cell".to_owned(), record.cell.id.clone()),
        ("fingerprint".to_owned(), record.fingerprint.clone()),
        ("scale".to_owned(), record.settings.scale.clone()),
        ("input_side".to_owned(), setting("side").context("the record names no side")?),
    ]);
    notes.extend(normalisation.notes());
    // Records of schema 1 have `attention_heads`, `vit` and `resnet_width`, later ones `vit.heads` and so on.
    let size = |name: &&String| ["vit", "resnet", "attention_heads"].iter().any(|of| name.starts_with(of));
    let sizes = record.settings.values.keys().filter(size);
    let sizes = sizes.filter_map(|name| Some((name.clone(), setting(name)?)));
    let notes: BTreeMap<String, String> = notes.into_iter().chain(sizes).collect();
    let write = if arguments.overwrite { durable::write_whole } else { durable::write_new };
    write(&arguments.to, &parameters.to_safetensors(&notes)?)?;

    println!("{}: {} tensors of {}", arguments.to.display(), parameters.all().len(), record.cell.id);
    for (name, value) in &notes {
        println!("  {name} = {value}");
    }
    if record.beside.is_empty() {
        println!(
            "note: the record is too old to have digests, so these weights cannot be checked against it"
        );
    }
    if let Some(line) = other_heads(&notes) {
        println!("{line}");
    }
    Ok(())
}

/// Returns the option that timm needs if the number of heads is not timm's own. Shapes are the same for any number
/// of heads, so timm would load the file and compute something else.
fn other_heads(notes: &BTreeMap<String, String>) -> Option<String> {
    let heads = notes.get("vit.heads").or_else(|| notes.get("attention_heads"));
    let heads = heads.filter(|heads| *heads != "3")?;
    Some(format!("timm's vit_tiny has 3 attention heads: create it with num_heads={heads}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;
    use skewbench::{
        backbone::Name::ResNet18,
        data::Share,
        experiment::{self, Cell, Init, Plan, Scale, Study},
        method::Name::SimClr,
        results::Record,
        seed::Seed,
    };

    use super::*;
    use crate::support::{committed, print::captured};

    /// Writes the weights of a ResNet-18 of width 5 to a folder of results; returns its record, not yet written.
    fn trained(root: &Path) -> (Folder, Record) {
        let folder = Folder::open(root).unwrap();
        let mut record = committed::record("table1", "simclr", 0);
        let share = Share::percent(45);
        let cell = Cell { study: Study::Table1, method: SimClr, backbone: ResNet18, share, seed: 0 };
        let plan = Plan::new(Scale { resnet_width: 5, ..Scale::small() });
        let model = experiment::build(&cell, &plan, 1.0, Seed::root(3)).unwrap();
        let weights = folder.write_weights(&record.cell.id, model.parameters(), &BTreeMap::new()).unwrap();
        record.beside = [("weights".to_owned(), weights)].into();
        (folder, record)
    }

    /// A record of another side and normalisation than usual: both are noted in the file, which is used as it says.
    #[test]
    fn an_encoder_says_how_its_images_are_made() {
        let root = tempfile::tempdir().unwrap();
        let (folder, mut record) = trained(root.path());
        for (name, value) in [
            ("side", json!(96)),
            ("view1.side", json!(48)),
            ("resnet.width", json!(5)),
            ("normalisation.mean", json!([0.485, 0.456, 0.406])),
            ("normalisation.deviation", json!([0.229, 0.224, 0.225])),
        ] {
            record.settings.values.insert(name.to_owned(), value);
        }
        folder.write(&record).unwrap();
        let to = root.path().join("x.safetensors");
        let arguments = Arguments {
            folder: root.path().to_owned(),
            cell: record.cell.id.clone(),
            to: to.clone(),
            overwrite: false,
        };
        let told = captured::output(|| run(&arguments).unwrap());
        for note in ["input_side = 96", "resnet.width = 5", "backbone = resnet18", "method = simclr"] {
            assert!(told.contains(&format!("\n  {note}\n")), "{note}: {told}");
        }
        let read = Init::new(&to, None).unwrap();
        assert_eq!((read.normalisation, read.normalisation_from_header), (Normalisation::IMAGENET, true));
        assert!(run(&arguments).is_err(), "nothing is overwritten");
    }

    #[test]
    fn heads_that_timm_would_not_expect_are_told() {
        let told = |notes: &[(&str, &str)]| {
            other_heads(&notes.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
        };
        let expected = Some("timm's vit_tiny has 3 attention heads: create it with num_heads=2".to_owned());
        assert_eq!(told(&[("vit.heads", "2"), ("vit.depth", "3")]), expected);
        assert_eq!(told(&[("attention_heads", "2")]), expected, "of old records");
        assert_eq!(told(&[("vit.heads", "3")]), None);
        assert_eq!(told(&[("vit.depth", "2")]), None);
    }

    /// Records of schema 1 have other names for the sizes of a network, and state no normalisation.
    #[test]
    fn an_old_record_tells_the_sizes_of_its_network_too() {
        let root = tempfile::tempdir().unwrap();
        let (folder, mut record) = trained(root.path());
        let values = [
            ("side", json!(96)),
            ("attention_heads", json!(2)),
            ("resnet_width", json!(5)),
            ("vit", json!("patch 16")),
            ("epochs", json!(7)),
            ("heads", json!(9)),
        ];
        record.settings.values = values.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
        folder.write(&record).unwrap();
        let to = root.path().join("x.safetensors");
        let arguments = Arguments {
            folder: root.path().to_owned(),
            cell: record.cell.id.clone(),
            to: to.clone(),
            overwrite: false,
        };
        let told = captured::output(|| run(&arguments).unwrap());
        let mut notes = Normalisation::SEWER_ML.notes();
        for (name, value) in [
            ("backbone", "resnet18"),
            ("method", "simclr"),
            ("cell", record.cell.id.as_str()),
            ("fingerprint", record.fingerprint.as_str()),
            ("scale", record.settings.scale.as_str()),
            ("input_side", "96"),
            ("attention_heads", "2"),
            ("resnet_width", "5"),
            ("vit", "patch 16"),
        ] {
            notes.insert(name.to_owned(), value.to_owned());
        }
        let lines: String = notes.iter().map(|(name, value)| format!("  {name} = {value}\n")).collect();
        let heads = "timm's vit_tiny has 3 attention heads: create it with num_heads=2\n";
        assert_eq!(told.split_once('\n').unwrap().1, format!("{lines}{heads}"));
    }
}
