//! Exports a detector to ONNX (onnx.ai), for programs that do not use skewbench.
//!
//! The input `pictures` is bytes (batch, side, side, 3), red, green, blue, resized bicubically to the side as
//! `predict` does; the outputs `logit` and `probability` have shape (batch). Normalisation, encoder, probe and
//! calibration are part of the graph; threshold, rate and classes are in the file's notes. Encoders are in
//! `resnet.rs`, `vit.rs` and `mobilenet.rs`; constants have torchvision's or timm's names. Everything is in single
//! precision, which every runtime supports; a probe in double precision would not bring the logits of real bundles
//! closer to those of `predict`.

mod graph;
mod messages;
mod mobilenet;
mod resnet;
#[cfg(test)]
mod tests;
mod vit;

use std::path::Path;

use anyhow::{Result, bail};
use prost::Message;

use self::{
    graph::{Graph, int, ints},
    messages::{Dimension, FLOAT, Kind, Model, Note, Opset, Shape, TensorKind, UINT8, Value},
};
use super::Bundle;
use crate::{backbone::Name, durable, evaluate::scorer::Scorer};

/// Version of the operator set: the first with layer normalisation.
pub const OPSET: i64 = 17;
/// Version of the file format that belongs to it.
const IR: i64 = 8;

/// Writes a detector to `path`.
///
/// # Errors
/// If the encoder contradicts its manifest, or the file cannot be written.
pub fn write(bundle: &Bundle, path: &Path) -> Result<()> {
    durable::write_whole(path, &model(bundle)?.encode_to_vec())
}

fn model(bundle: &Bundle) -> Result<Model> {
    let Scorer::Probe { weights, bias } = bundle.scorer() else {
        bail!(
            "it scores by {}, and only probes can be written as ONNX: bundle the cell with --scorer probe",
            bundle.scorer().name()
        )
    };
    let side = bundle.manifest.side;
    let architecture = bundle.manifest.architecture()?;
    let mut graph = Graph::new(&bundle.parameters);
    let images = normalised(&mut graph, bundle);
    let features = match architecture.name {
        Name::ResNet18 => resnet::features(&mut graph, architecture.resnet_stem, &images)?,
        Name::ViTTiny => vit::features(&mut graph, architecture.vit, side, &images)?,
        Name::MobileNetV2 => mobilenet::features(&mut graph, &images)?,
    };
    graph.ensure_all_were_read()?;
    classify(&mut graph, bundle, (weights, *bias), &features);
    let batch = || Dimension { value: None, name: Some("batch".to_owned()) };
    let fixed = |value: usize| Dimension { value: Some(value as i64), name: None };
    let pictures = vec![batch(), fixed(side), fixed(side), fixed(3)];
    Ok(Model {
        ir_version: IR,
        producer_name: "skewbench".to_owned(),
        doc_string: "Bytes of pictures to the logit and the probability of a defect.".to_owned(),
        graph: Some(messages::Graph {
            node: graph.nodes,
            name: bundle.manifest.backbone.clone(),
            initializer: graph.constants,
            input: vec![value("pictures", UINT8, pictures)],
            output: vec![value("logit", FLOAT, vec![batch()]), value("probability", FLOAT, vec![batch()])],
        }),
        opset_import: vec![Opset { domain: String::new(), version: OPSET }],
        metadata_props: notes(bundle)?,
    })
}

/// Adds the normalisation of pictures, with channels first: the same steps as [`crate::augment::to_normalised`].
fn normalised(graph: &mut Graph, bundle: &Bundle) -> String {
    let (mean, deviation) = (bundle.manifest.mean, bundle.manifest.deviation);
    let mut images = graph.add("Cast", "pictures.float", &["pictures"], vec![int("to", i64::from(FLOAT))]);
    for (operator, name, values) in
        [("Div", "scaled", &[255.0; 3]), ("Sub", "centred", &mean), ("Div", "normalised", &deviation)]
    {
        let constant = graph.floats(&format!("{name}.by"), &[3], values);
        images = graph.add(operator, name, &[&images, &constant], Vec::new());
    }
    graph.add("Transpose", "images", &[&images], vec![ints("perm", &[0, 3, 1, 2])])
}

/// Adds probe and calibration: features to `logit` and `probability`.
fn classify(graph: &mut Graph, bundle: &Bundle, (weights, bias): (&[f64], f64), features: &str) {
    let (calibration, rate) = (bundle.manifest.calibration, bundle.manifest.rate);
    let weights: Vec<f32> = weights.iter().map(|&weight| weight as f32).collect();
    let weights = graph.floats("probe.weight", &[weights.len(), 1], &weights);
    let bias = graph.floats("probe.bias", &[1], &[bias as f32]);
    let sums = graph.add("MatMul", "probe.product", &[features, &weights], Vec::new());
    let rows = graph.add("Add", "probe", &[&sums, &bias], Vec::new());
    let axis = graph.integers("probe.axis", &[1]);
    let logit = graph.add("Squeeze", "logit", &[&rows, &axis], Vec::new());
    let slope = graph.floats("calibration.slope", &[], &[calibration.slope as f32]);
    let intercept = calibration.log_odds(0.0, rate) as f32;
    let intercept = graph.floats("calibration.intercept", &[], &[intercept]);
    let odds = graph.add("Mul", "calibration.scaled", &[&logit, &slope], Vec::new());
    let odds = graph.add("Add", "calibration", &[&odds, &intercept], Vec::new());
    graph.add("Sigmoid", "probability", &[&odds], Vec::new());
}

/// Notes that a user needs besides the graph. Lists are JSON.
fn notes(bundle: &Bundle) -> Result<Vec<Note>> {
    let manifest = &bundle.manifest;
    let mut notes = vec![
        ("threshold", manifest.threshold.logit.to_string()),
        ("threshold_chosen", manifest.threshold.chosen.clone()),
        ("rate", manifest.rate.to_string()),
        ("classes", serde_json::to_string(&manifest.classes)?),
        ("side", manifest.side.to_string()),
        ("resize", "bicubic, both sides to `side`, as Pillow".to_owned()),
        ("method", manifest.method.clone()),
        ("backbone", manifest.backbone.clone()),
        ("cell", manifest.cell.clone()),
        ("fingerprint", manifest.fingerprint.clone()),
        ("bundle", bundle.digest.clone()),
        ("limits", serde_json::to_string(&manifest.limits)?),
    ];
    // Significant bits of 16-bit samples; a reader that ignores them would make pictures too dark.
    notes.extend(manifest.sample_bits.map(|bits| ("sample_bits", bits.to_string())));
    Ok(notes.into_iter().map(|(key, value)| Note { key: key.to_owned(), value }).collect())
}

/// Declares an input or output of the graph.
fn value(name: &str, elem_type: i32, dim: Vec<Dimension>) -> Value {
    let tensor = TensorKind { elem_type, shape: Some(Shape { dim }) };
    Value { name: name.to_owned(), kind: Some(Kind { tensor: Some(tensor) }) }
}
