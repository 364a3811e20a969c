//! Checks that files are complete and that onnxruntime reproduces the bundle's scores (fixtures/onnxruntime).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use candle_core::{Device, Tensor};
use rstest::rstest;
use sha2::{Digest, Sha256};

use super::{
    super::tests::example,
    messages::{Constant, INT64},
    *,
};
use crate::{backbone::Stem, bundle::Calibration, data::Image, evaluate::normals::Cloud, seed::Seed};

const SIDE: usize = 48;

/// A detector in which every parameter has an effect: with initial values, normalisation layers change nothing and
/// the class token is nearly 0.
fn shaken(backbone: Name, stem: Stem) -> Bundle {
    let mut bundle = example(backbone, stem, SIDE);
    bundle.manifest.calibration = Calibration { slope: 0.2, intercept: 0.5, error: 0.0 };
    // Depthwise kernels are initialised so small that, without batch statistics, all activations would vanish.
    for kernels in bundle.parameters.all().iter().filter(|entry| entry.variable.dims().ends_with(&[1, 3, 3]))
    {
        let factor = 2.0 * (kernels.variable.dims()[0] as f64).sqrt();
        let larger = (kernels.variable.as_detached_tensor() * factor).unwrap();
        kernels.variable.set(&larger).unwrap();
    }
    for parameter in bundle.parameters.all().iter().filter(|parameter| {
        parameter.variable.rank() == 1 || ["cls_token", "pos_embed"].contains(&parameter.name.as_str())
    }) {
        let mut stream = Seed::root(5).child(&parameter.name).stream();
        let old = parameter.variable.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let variance = parameter.name.ends_with("running_var");
        let new = old.into_iter().map(|old| match variance {
            true => stream.uniform(0.5, 4.0) as f32,
            false => old + 0.1 * stream.normal() as f32,
        });
        let new =
            Tensor::from_vec(new.collect::<Vec<f32>>(), parameter.variable.shape(), &Device::Cpu).unwrap();
        parameter.variable.set(&new).unwrap();
    }
    bundle
}

/// Noise that gets brighter from picture to picture; `fixtures/onnxruntime/make.py` generates the same.
fn pictures() -> Vec<Image> {
    let numbers = SIDE * SIDE * 3;
    let byte = |n: usize| ((((n as u64 * 2_654_435_761) >> 13) & 127) + 16 * (n / numbers) as u64) as u8;
    let picture = |index: usize| (index * numbers..(index + 1) * numbers).map(byte).collect();
    (0..8).map(|index| Image::new(SIDE, SIDE, picture(index))).collect()
}

fn read(path: &Path) -> Model {
    Model::decode(fs::read(path).unwrap().as_slice()).unwrap()
}

#[rstest]
#[case::resnet18(Name::ResNet18, Stem::ImageNet)]
#[case::small_stem(Name::ResNet18, Stem::Small)]
#[case::vit_tiny(Name::ViTTiny, Stem::ImageNet)]
#[case::mobilenet(Name::MobileNetV2, Stem::ImageNet)]
fn everything_that_a_node_reads_is_there(#[case] backbone: Name, #[case] stem: Stem) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    let bundle = example(backbone, stem, SIDE);
    write(&bundle, &path).unwrap();
    let model = read(&path);
    assert_eq!((model.ir_version, model.opset_import[0].version), (8, 17));
    let graph = model.graph.unwrap();
    let mut known: BTreeSet<String> = graph.input.iter().map(|input| input.name.clone()).collect();
    let mut add = |name: &str| assert!(known.insert(name.to_owned()), "{name} is there twice");
    for Constant { name, dims, data_type, raw_data } in &graph.initializer {
        add(name);
        let width = if *data_type == INT64 { 8 } else { 4 };
        assert_eq!(dims.iter().product::<i64>() * width, raw_data.len() as i64, "{name}");
    }
    let mut read = BTreeSet::new();
    for node in &graph.node {
        for input in &node.input {
            assert!(known.contains(input), "{} reads {input}", node.name);
            read.insert(input.clone());
        }
        for output in &node.output {
            assert!(known.insert(output.clone()), "{output} is there twice");
        }
    }
    let ends = |name: &String| ["logit", "probability"].contains(&name.as_str());
    let unread: Vec<&String> = known.difference(&read).filter(|name| !ends(name)).collect();
    assert!(known.contains("logit") && known.contains("probability") && unread.is_empty(), "{unread:?}");
    // Constants with torchvision's or timm's names equal the encoder's parameters.
    for constant in &graph.initializer {
        let Some(parameter) = bundle.parameters.get(&constant.name) else { continue };
        let numbers = parameter.variable.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        assert_eq!(constant.raw_data, bytes, "{}", constant.name);
    }
    let notes: BTreeMap<&str, &str> =
        model.metadata_props.iter().map(|note| (note.key.as_str(), note.value.as_str())).collect();
    assert_eq!((notes["side"], notes["rate"], notes["threshold"]), ("48", "0.1", "0"));
    assert_eq!(notes["fingerprint"], bundle.manifest.fingerprint);
}

/// A graph that ignores a parameter of the encoder would be another network.
#[test]
fn parameters_are_neither_missing_nor_left_over() {
    let mut bundle = example(Name::ResNet18, Stem::Small, SIDE);
    let mut sizes = bundle.manifest.sizes.clone();
    sizes.insert("resnet.stem".to_owned(), "large".into());
    let error = |bundle: &Bundle| format!("{:#}", model(bundle).unwrap_err());
    bundle.manifest.backbone = "vit_tiny".to_owned();
    assert!(error(&bundle).contains("the encoder has no parameter 'patch_embed.proj.weight'"));
    bundle.manifest.backbone = "resnet18".to_owned();
    let dtype = candle_core::DType::F32;
    let mut builder = bundle.parameters.builder("", Seed::root(0), dtype, &Device::Cpu);
    crate::backbone::layers::BatchNorm::new(&mut builder.scope("extra"), 2, true).unwrap();
    assert!(error(&bundle).contains("leaves out parameter 'extra.weight'"), "{}", error(&bundle));
    bundle.manifest.sizes = sizes;
    assert!(error(&bundle).contains("stem of imagenet or small"));
}

#[rstest]
#[case::resnet18("resnet18", Name::ResNet18, Stem::ImageNet)]
#[case::small_stem("resnet18_small_stem", Name::ResNet18, Stem::Small)]
#[case::vit_tiny("vit_tiny", Name::ViTTiny, Stem::ImageNet)]
#[case::mobilenet("mobilenet_v2", Name::MobileNetV2, Stem::ImageNet)]
fn onnxruntime_computes_the_same(#[case] name: &str, #[case] backbone: Name, #[case] stem: Stem) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/onnxruntime");
    let bundle = shaken(backbone, stem);
    let bytes = model(&bundle).unwrap().encode_to_vec();
    if std::env::var_os("SKEWBENCH_FIXTURES").is_some_and(|value| value == "write") {
        return fs::write(folder.join(format!("{name}.onnx")), bytes).unwrap();
    }
    let expected = fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
    let digest = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(expected[name]["sha256"], digest, "onnxruntime saw another file: see its README");
    let seen = bundle.score(&pictures(), false).unwrap();
    let number = |what: &str, index: usize| expected[name][what][index].as_f64().unwrap();
    let spread = (number("logit", 0) - number("logit", 7)).abs();
    assert!(spread > 0.05, "pictures make no difference: {spread}");
    for (index, seen) in seen.iter().enumerate() {
        let (logit, probability) = (number("logit", index), number("probability", index));
        assert!((seen.logit - logit).abs() < 1e-4 * logit.abs().max(1.0), "{} and {logit}", seen.logit);
        let ours = bundle.manifest.calibration.probability(seen.logit, bundle.manifest.rate);
        assert!((ours - probability).abs() < 1e-4, "{ours} and {probability}");
    }
}

/// Information outside the graph is in the notes, each under its own name.
#[test]
fn notes_say_what_the_graph_does_not() {
    let mut bundle = example(Name::ResNet18, Stem::Small, SIDE);
    bundle.digest = "0a1b".to_owned();
    let manifest = &mut bundle.manifest;
    (manifest.sample_bits, manifest.rate, manifest.threshold.logit) = (Some(12), 0.02, -1.5);
    manifest.threshold.chosen = "misses=5%".to_owned();
    manifest.classes = vec!["crack".to_owned(), "roots".to_owned()];
    manifest.limits = vec!["a limit".to_owned()];
    let found = notes(&bundle).unwrap();
    let note = |key: &str| {
        let note = found.iter().find(|note| note.key == key).unwrap_or_else(|| panic!("no note '{key}'"));
        note.value.as_str()
    };
    for (key, value) in [
        ("sample_bits", "12"),
        ("rate", "0.02"),
        ("threshold", "-1.5"),
        ("threshold_chosen", "misses=5%"),
        ("classes", r#"["crack","roots"]"#),
        ("limits", r#"["a limit"]"#),
        ("side", "48"),
        ("method", "simclr"),
        ("backbone", "resnet18"),
        ("bundle", "0a1b"),
    ] {
        assert_eq!(note(key), value, "{key}");
    }
    bundle.manifest.sample_bits = None;
    assert!(notes(&bundle).unwrap().iter().all(|note| note.key != "sample_bits"), "pictures of 8 bits");
}

/// Pixels are divided by 255, then each channel's mean is subtracted, then the result is divided by its deviation.
#[test]
fn constants_of_the_graph_are_the_manifests() {
    let mut bundle = example(Name::ResNet18, Stem::Small, SIDE);
    let manifest = &mut bundle.manifest;
    (manifest.mean, manifest.deviation) = ([0.5, 0.25, 0.125], [1.0, 2.0, 0.75]);
    (manifest.calibration, manifest.rate) = (Calibration { slope: 3.0, intercept: 0.5, error: 0.0 }, 0.25);
    let model = model(&bundle).unwrap();
    let graph = model.graph.unwrap();
    let constant = |name: &str| {
        let found = graph.initializer.iter().find(|constant| constant.name == name).unwrap();
        found.raw_data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<_>>()
    };
    let node = |name: &str| graph.node.iter().find(|node| node.name == name).unwrap();
    for (name, operator, values) in [
        ("scaled", "Div", [255.0; 3]),
        ("centred", "Sub", [0.5, 0.25, 0.125]),
        ("normalised", "Div", [1.0, 2.0, 0.75]),
    ] {
        assert_eq!(
            (node(name).op_type.as_str(), constant(&node(name).input[1])),
            (operator, values.to_vec())
        );
    }
    assert_eq!(node("centred").input[0], "scaled");
    assert_eq!(node("normalised").input[0], "centred");
    // One defect to three normal images.
    assert_eq!(constant("calibration.slope"), [3.0]);
    assert!((constant("calibration.intercept")[0] - (0.5 - 3_f32.ln())).abs() < 1e-6);
    assert_eq!(constant("probe.bias"), [0.3]);
    let Scorer::Probe { weights, .. } = bundle.scorer() else { panic!("a probe") };
    assert_eq!(constant("probe.weight"), weights.iter().map(|&weight| weight as f32).collect::<Vec<_>>());
    let notes: BTreeMap<String, String> =
        model.metadata_props.into_iter().map(|note| (note.key, note.value)).collect();
    assert_eq!(
        (notes["cell"].as_str(), notes["fingerprint"].as_str()),
        (bundle.manifest.cell.as_str(), "0123456789abcdef")
    );
    assert_eq!(notes["resize"], "bicubic, both sides to `side`, as Pillow");
}

/// Only a probe, a weighted sum of features, can be exported as a graph.
#[test]
fn other_scorers_are_not_written() {
    let mut bundle = example(Name::ResNet18, Stem::Small, SIDE);
    let cloud = Cloud::from_parts(vec![0.0, 1.0], &[1.0, 0.5, 2.0]).unwrap();
    bundle.scorer = Scorer::Mahalanobis { cloud, usual: 1.0 };
    let error = model(&bundle).unwrap_err().to_string();
    let expected = "it scores by normals_mahalanobis, and only probes can be written as ONNX: bundle the cell with --scorer probe";
    assert_eq!(error, expected);
}
