//! Weights files as users have them, each built here.

mod torch;

use std::{collections::BTreeMap, path::Path};

use candle_core::{DType, Device, Error, Result, Tensor};
use rstest::rstest;

use self::torch::{torch, zip};
use super::Weights;
use crate::{
    backbone::{Architecture, Name, Parameters, Stem, VitSize},
    seed::Seed,
};

type Tensors = BTreeMap<String, Tensor>;

/// ResNet-18 of `width` channels, or a ViT of 2 blocks for images of `side` pixels, with patches of 8.
fn encoder(name: Name, width: usize, side: usize, seed: u64) -> Parameters {
    let vit = VitSize { patch: 8, width, depth: 2, heads: 2 };
    let architecture = Architecture { name, resnet_width: width, resnet_stem: Stem::ImageNet, vit, side };
    let mut parameters = Parameters::default();
    architecture.build(&mut parameters.builder("", Seed::root(seed), DType::F32, &Device::Cpu)).unwrap();
    parameters
}

fn resnet(seed: u64) -> Parameters {
    encoder(Name::ResNet18, 4, 32, seed)
}

fn vit(seed: u64) -> Parameters {
    encoder(Name::ViTTiny, 8, 32, seed)
}

/// The tensors of an encoder, with names mapped by `rename`.
fn tensors(encoder: &Parameters, rename: impl Fn(&str) -> String) -> Tensors {
    encoder.all().iter().map(|entry| (rename(&entry.name), entry.variable.as_detached_tensor())).collect()
}

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap()
}

fn safetensors(tensors: &Tensors) -> Vec<u8> {
    safetensors::serialize(tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)), None).unwrap()
}

fn read(bytes: &[u8]) -> Result<Weights> {
    Weights::read(Path::new("init.safetensors"), bytes)
}

/// Fills an encoder from `tensors`, checks that its values equal those of `source`, and returns the report.
fn fills(tensors: &Tensors, into: &Parameters, source: &Parameters) -> String {
    let told = read(&safetensors(tensors)).unwrap().fill(into).unwrap().join("\n");
    assert_eq!(values(into), values(source), "{told}");
    told
}

fn values(encoder: &Parameters) -> Vec<Vec<f32>> {
    encoder.all().iter().map(|entry| entry.variable.flatten_all().unwrap().to_vec1().unwrap()).collect()
}

/// Checks that filling fails with a one-line error and overwrites nothing, and returns the error.
fn refuses(tensors: &Tensors, into: &Parameters) -> String {
    let before = values(into);
    let error = read(&safetensors(tensors)).and_then(|weights| weights.fill(into)).unwrap_err();
    assert_eq!(values(into), before);
    line(&error)
}

fn line(error: &Error) -> String {
    let text = error.to_string();
    assert!(text.contains("init."), "names no file: {text}");
    text
}

#[rstest]
#[case::plain("", "all 100 tensors of the encoder found")]
#[case::parallel("module.", "under the prefix 'module.', which is stripped")]
#[case::lightning(
    "state_dict.model.backbone.",
    "under the prefix 'state_dict.model.backbone.', which is stripped"
)]
#[case::solo_learn(
    "module.student.encoder.",
    "under the prefix 'module.student.encoder.', which is stripped"
)]
#[case::unknown("my_net.trunk.", "under the prefix 'my_net.trunk.', which is stripped")]
fn prefixes_are_stripped(#[case] prefix: &str, #[case] expected: &str) {
    for build in [resnet, vit] {
        let source = build(1);
        let told = fills(&tensors(&source, |name| format!("{prefix}{name}")), &build(2), &source);
        let expected = expected.replace("100", &source.all().len().to_string());
        assert!(told.starts_with("all ") && told.contains(&expected) && !told.contains("ignored"), "{told}");
    }
}

#[rstest]
#[case::torchvision(["0", "1", "4", "5", "6", "7"], "downsample", "as lightly writes them")]
#[case::lightly(["0", "1", "2", "3", "4", "5"], "shortcut", "numbers of lightly's layers")]
#[case::lightly_named(["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"], "shortcut", "lightly's names")]
fn names_of_lightly_are_read(#[case] stages: [&str; 6], #[case] shortcut: &str, #[case] expected: &str) {
    let source = resnet(1);
    let names = ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"];
    let rename = |name: &str| {
        let (first, rest) = name.split_once('.').unwrap();
        let place = names.iter().position(|name| *name == first).unwrap();
        format!("backbone.{}.{}", stages[place], rest.replace("downsample", shortcut))
    };
    let mut file = tensors(&source, rename);
    file.insert("projection_head.layers.0.weight".to_owned(), ones(&[8, 32]));
    let told = fills(&file, &resnet(2), &source);
    assert!(
        told.contains(expected) && told.contains("ignored, not part of the encoder: projection_head"),
        "{told}"
    );
}

#[test]
fn heads_and_counters_are_ignored_and_named() {
    let source = resnet(1);
    let mut file = tensors(&source, |name| format!("module.backbone.{name}"));
    for name in ["fc.weight", "fc.bias"] {
        file.insert(format!("module.backbone.{name}"), ones(&[3]));
    }
    for name in ["module.projector.0.weight", "module.prototypes.weight", "queue"] {
        file.insert(name.to_owned(), ones(&[2, 2]));
    }
    let count = Tensor::new(7_i64, &Device::Cpu).unwrap();
    file.insert("module.backbone.bn1.num_batches_tracked".to_owned(), count);
    let told = fills(&file, &resnet(2), &source);
    let expected = "ignored, not part of the encoder: module.backbone.fc (2 tensors), module.projector, \
                    module.prototypes, num_batches_tracked, queue";
    assert!(told.ends_with(expected), "{told}");
}

#[rstest]
#[case::moco("module.encoder_q.", "module.encoder_k.", "the one trained by gradients")]
#[case::solo_learn("backbone.", "momentum_backbone.", "the one trained by gradients")]
#[case::lightly("backbone.", "backbone_momentum.", "the one trained by gradients")]
#[case::byol("online_network.", "target_network.", "the one trained by gradients")]
#[case::dino("teacher.backbone.", "student.module.backbone.", "the teacher or moving average")]
#[case::lightly_dino("teacher_backbone.", "student_backbone.", "the teacher or moving average")]
#[case::timm("state_dict_ema.", "state_dict.", "the teacher or moving average")]
fn of_several_encoders_the_one_that_is_scored_is_taken(
    #[case] taken: &str,
    #[case] other: &str,
    #[case] why: &str,
) {
    let source = vit(1);
    let mut file = tensors(&source, |name| format!("{taken}{name}"));
    file.extend(tensors(&vit(3), |name| format!("{other}{name}")));
    let told = fills(&file, &vit(2), &source);
    let expected = format!("of several encoders, '{taken}' is used, {why}");
    assert!(told.contains(&expected) && told.contains(&format!("not '{other}'")), "{told}");
    let ignored = format!("encoder: {} ({} tensors)", other.trim_end_matches('.'), source.all().len());
    assert!(told.contains(&ignored), "{told}");
}

#[test]
fn two_encoders_that_differ_are_not_chosen_between() {
    let file = |second: &Parameters| {
        let mut file = tensors(&resnet(1), |name| format!("net_a.{name}"));
        file.extend(tensors(second, |name| format!("net_b.{name}")));
        file
    };
    let error = refuses(&file(&resnet(3)), &resnet(2));
    assert!(error.contains("two encoders that differ, under 'net_a.' and 'net_b.'"), "{error}");
    fills(&file(&resnet(1)), &resnet(2), &resnet(1));
}

/// sin(0.3 row + 0.2 column) on 14 x 14 patches. Expected values: PyTorch 2.15's `interpolate(mode="bicubic",
/// antialias=True)`, which timm's `resample_abs_pos_embed` calls; Pillow's bicubic `resize` agrees to 1e-6.
#[rstest]
#[case(6, [0.352_744_97, 0.716_109_8, 0.950_974_93], -0.146_006_27, -1.164_121_6)]
#[case(20, [-0.029_987_26, 0.076_010_41, 0.230_602_89], 0.245_201_23, -12.562_324)]
fn positions_of_another_grid_are_resampled_as_in_timm(
    #[case] side: usize,
    #[case] first: [f32; 3],
    #[case] last: f32,
    #[case] sum: f32,
) {
    let wave = |place: u16| (0.3 * f32::from(place / 14) + 0.2 * f32::from(place % 14)).sin();
    let row = |value: f32| [value; 8];
    let values: Vec<f32> = std::iter::once(5.0).chain((0..196).map(wave)).flat_map(row).collect();
    let source = encoder(Name::ViTTiny, 8, 14 * 8, 1);
    let mut file = tensors(&source, str::to_owned);
    file.insert("pos_embed".to_owned(), Tensor::from_vec(values, (1, 197, 8), &Device::Cpu).unwrap());
    let into = encoder(Name::ViTTiny, 8, side * 8, 2);
    let told = read(&safetensors(&file)).unwrap().fill(&into).unwrap().join("\n");
    assert!(told.contains(&format!("resampled from 14 x 14 patches to {side} x {side}, bicubic")), "{told}");
    let moved = into.get("pos_embed").unwrap().variable.squeeze(0).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!((moved.len(), moved[0].as_slice()), (1 + side * side, [5.0; 8].as_slice()));
    for channel in [0, 7] {
        let found: Vec<f32> = moved[1..].iter().map(|row| row[channel]).collect();
        let near =
            |found: f32, expected: f32| assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
        found.iter().zip(first).for_each(|(&found, expected)| near(found, expected));
        near(found[side * side - 1], last);
        assert!((found.iter().sum::<f32>() - sum).abs() < 1e-4);
    }
}

#[test]
fn half_precision_is_read_and_said() {
    let source = resnet(1);
    let half = |tensor: Tensor| tensor.to_dtype(DType::F16).unwrap();
    let file: Tensors = tensors(&source, str::to_owned).into_iter().map(|(k, v)| (k, half(v))).collect();
    let told = read(&safetensors(&file)).unwrap().fill(&resnet(2)).unwrap();
    assert!(told[1].ends_with("tensors of f16 read as f32"), "{told:?}");
}

#[rstest]
#[case::nan(
    "layer2.0.conv1.weight",
    f32::NAN,
    "numbers of tensor 'layer2.0.conv1.weight' are NaN or infinite"
)]
#[case::infinite("bn1.bias", f32::INFINITY, "4 of 4 numbers of tensor 'bn1.bias' are NaN or infinite")]
#[case::variance("bn1.running_var", -1.0, "tensor 'bn1.running_var' has negative variances")]
fn numbers_that_cannot_be_weights_are_refused(
    #[case] name: &str,
    #[case] value: f32,
    #[case] expected: &str,
) {
    let mut file = tensors(&resnet(1), str::to_owned);
    let bad = Tensor::full(value, file[name].shape(), &Device::Cpu).unwrap();
    file.insert(name.to_owned(), bad);
    let error = refuses(&file, &resnet(2));
    assert!(error.contains(expected), "{error}");
}

/// Whatever type the file has them in; a number that f32 cannot hold is infinite, too.
#[rstest]
#[case(DType::F16, f64::INFINITY)]
#[case(DType::BF16, f64::NAN)]
#[case(DType::F64, f64::NEG_INFINITY)]
#[case(DType::F64, 1e300)]
fn numbers_of_other_types_are_finite_too(#[case] dtype: DType, #[case] number: f64) {
    let mut file = tensors(&resnet(1), str::to_owned);
    let numbers = Tensor::new(&[0.5, 1.0, number, 0.25], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    file.insert("bn1.bias".to_owned(), numbers);
    let error = refuses(&file, &resnet(2));
    assert!(error.contains("1 of 4 numbers of tensor 'bn1.bias' are NaN or infinite"), "{error}");
    let numbers = Tensor::new(&[0.5, 1.0, -0.5, 0.25], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    file.insert("bn1.running_var".to_owned(), numbers);
    file.insert("bn1.bias".to_owned(), ones(&[4]));
    let error = refuses(&file, &resnet(2));
    assert!(error.contains("tensor 'bn1.running_var' has negative variances"), "{error}");
}

#[test]
fn another_size_or_network_says_what_to_do() {
    let named = |encoder: &Parameters| tensors(encoder, |name| format!("module.{name}"));
    let add = |name: &str, shape: &[usize]| {
        let mut file = named(&resnet(1));
        file.insert(name.to_owned(), ones(shape));
        file
    };
    let mut without = named(&resnet(1));
    without.remove("module.layer3.1.bn2.weight");
    let foreign = Tensors::from([("vit.layer.0.attention.attention.query.weight".to_owned(), ones(&[8, 8]))]);
    let cases = [
        (
            named(&encoder(Name::ResNet18, 8, 32, 1)),
            resnet(2),
            "tensor 'module.conv1.weight' is 8 x 3 x 7 x 7 in the file, expected 4 x 3 x 7 x 7: these are the weights of a \
          ResNet-18 of width 8; pass --width 8",
        ),
        (
            named(&encoder(Name::ViTTiny, 16, 32, 1)),
            vit(2),
            "these are the weights of a ViT with patches of 8 px, width 16 and 2 blocks; no flag builds it; this scale has a \
          ViT with patches of 8 px, width 8 and 2 blocks",
        ),
        (named(&vit(1)), resnet(2), "pass --only vit_tiny"),
        (named(&resnet(1)), vit(2), "these are the weights of a ResNet-18 of width 4; pass --only resnet18"),
        (
            without,
            resnet(2),
            "no tensor 'module.layer3.1.bn2.weight'; the file has 99 of the encoder's 100 names",
        ),
        (
            add("module.layer1.2.conv1.weight", &[4, 4, 3, 3]),
            resnet(2),
            "'module.layer1.2.conv1.weight' is a part of",
        ),
        (
            add("module.layer1.0.conv3.weight", &[4, 4, 3, 3]),
            resnet(2),
            "'module.layer1.0.conv3.weight' is a part of",
        ),
        (foreign, vit(2), "the names of Hugging Face's transformers"),
    ];
    for (file, into, expected) in cases {
        let error = refuses(&file, &into);
        assert!(error.contains(expected), "found: {error}\nexpected: {expected}");
    }
}

fn mobilenet(seed: u64) -> Parameters {
    encoder(Name::MobileNetV2, 4, 32, seed)
}

/// The network is recognised by its names, whatever their prefix.
#[test]
fn a_file_says_which_network_it_is_of() {
    for (build, expected) in [
        (resnet as fn(u64) -> Parameters, Name::ResNet18),
        (vit, Name::ViTTiny),
        (mobilenet, Name::MobileNetV2),
    ] {
        let source = build(1);
        for prefix in ["", "module.net."] {
            let mut file = tensors(&source, |name| format!("{prefix}{name}"));
            assert_eq!(read(&safetensors(&file)).unwrap().network().unwrap(), expected, "{prefix}");
            file.insert(format!("{prefix}classifier.1.weight"), ones(&[2, 2]));
            let told = fills(&file, &build(2), &source);
            assert!(
                told.contains(&format!("ignored, not part of the encoder: {prefix}classifier")),
                "{told}"
            );
        }
    }
    let neither = read(&safetensors(&Tensors::from([("x".to_owned(), ones(&[1]))]))).unwrap();
    assert!(line(&neither.network().unwrap_err()).contains("neither a ResNet or MobileNetV2"));
    let error = refuses(&tensors(&mobilenet(1), str::to_owned), &resnet(2));
    assert!(error.contains("it cannot be trained here; --frozen instead of --init"), "{error}");
}

#[test]
fn what_is_no_file_of_weights_is_named() {
    let whole = safetensors(&tensors(&resnet(1), str::to_owned));
    let torn = format!("truncated: {} bytes, expected {}", whole.len() - 1, whole.len());
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 44586000\n";
    let zip = zip(&[("archive/data.pkl", b"\x80\x02}.")]);
    // A zip file ends in a record of 22 bytes and a comment of at most 65,535.
    let ending = |behind: usize| [b"PK\x03\x04PK\x05\x06", &vec![0; behind - 4][..]].concat();
    let (long, too_long) = (ending(22 + 65_535), ending(23 + 65_535));
    let cases: [(&[u8], &str); 13] = [
        (b"", "an empty file"),
        (pointer, "a Git LFS pointer, not the weights of 44586000 bytes: run `git lfs pull`"),
        (b"\n<!DOCTYPE html><html>", "a web page, not weights"),
        (&whole[..whole.len() - 1], &torn),
        (&whole[..100], "truncated: the file ends in its header, after 100 bytes"),
        (&[0; 4096], "truncated or not safetensors"),
        (b"weights", "truncated or not safetensors"),
        (
            b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}",
            "format before 1.6: truncated: it ends within its list of tensors; copy or download it again; this",
        ),
        (b"\x80\x04K\x01.", "a pickle, but not a PyTorch checkpoint; this converts it to safetensors"),
        (&zip[..zip.len() - 30], "truncated: a PyTorch checkpoint without its end"),
        (b"PK\x03\x04PK\x05\x06", "not read ("),
        (&long, "without a dictionary of plain tensors"),
        (&too_long, "truncated: a PyTorch checkpoint without its end"),
    ];
    for (bytes, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("init.pth");
        std::fs::write(&path, bytes).unwrap();
        let error = line(&Weights::read(&path, bytes).unwrap_err());
        assert!(error.contains(expected), "found: {error}\nexpected: {expected}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[rstest]
#[case::plain(&[""])]
#[case::within(&["state_dict"])]
#[case::teacher(&["student", "teacher"])]
#[case::average(&["model", "model_ema"])]
fn checkpoints_of_torch_are_read(#[case] keys: &[&str]) {
    let encoders: Vec<Parameters> = (0..keys.len() as u64).map(|seed| resnet(10 + seed)).collect();
    let bytes = torch(&keys.iter().copied().zip(&encoders).collect::<Vec<_>>());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("init.pth");
    std::fs::write(&path, &bytes).unwrap();
    let into = resnet(2);
    let told = Weights::read(&path, &bytes).unwrap().fill(&into).unwrap().join("\n");
    assert_eq!(values(&into), values(encoders.last().unwrap()), "{told}");
}

#[test]
fn checkpoints_without_plain_tensors_say_how_to_convert() {
    // {'epoch': 1}
    let bytes = zip(&[("archive/data.pkl", b"\x80\x02}X\x05\x00\x00\x00epochK\x01s.")]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("init.pth");
    std::fs::write(&path, &bytes).unwrap();
    let error = line(&Weights::read(&path, &bytes).unwrap_err());
    assert!(
        error.contains("without a dictionary of plain tensors; this converts it to safetensors: python3"),
        "{error}"
    );
    assert!(error.contains("init.safetensors')\""), "{error}");
}

/// All keys under which programs commonly keep an encoder.
#[rstest]
fn dictionaries_under_known_keys_are_read(
    #[values(
        "state_dict",
        "model",
        "teacher",
        "student",
        "state_dict_ema",
        "model_ema",
        "model_state_dict",
        "model_state",
        "net",
        "network",
        "encoder",
        "backbone"
    )]
    key: &str,
) {
    let source = vit(1);
    let bytes = torch(&[(key, &source)]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("init.pth");
    std::fs::write(&path, &bytes).unwrap();
    let into = vit(2);
    let told = Weights::read(&path, &bytes).unwrap().fill(&into).unwrap().join("\n");
    assert_eq!(values(&into), values(&source));
    assert!(told.contains(&format!("under the prefix '{key}.', which is stripped")), "{told}");
}

#[test]
fn what_was_converted_is_counted_by_type() {
    let source = vit(1);
    let mut file = tensors(&source, |name| format!("x.{name}"));
    for (name, dtype) in [
        ("x.norm.weight", DType::F64),
        ("x.norm.bias", DType::F16),
        ("x.blocks.0.norm1.weight", DType::F16),
        ("x.blocks.0.norm1.bias", DType::BF16),
        ("x.blocks.1.norm1.weight", DType::F16),
    ] {
        let converted = file[name].to_dtype(dtype).unwrap();
        file.insert(name.to_owned(), converted);
    }
    file.insert("other.0.weight".to_owned(), ones(&[2]));
    let told = read(&safetensors(&file)).unwrap().fill(&vit(2)).unwrap();
    let expected = [
        "all 30 tensors of the encoder found under the prefix 'x.', which is stripped",
        "1 tensors of bf16 read as f32",
        "3 tensors of f16 read as f32",
        "1 tensors of f64 read as f32",
        "ignored, not part of the encoder: other",
    ];
    assert_eq!(told, expected);
}

#[test]
fn integers_are_no_weights_and_an_empty_file_has_none() {
    let mut file = tensors(&resnet(1), str::to_owned);
    file.insert("bn1.bias".to_owned(), Tensor::new(&[1_i64, 2, 3, 4], &Device::Cpu).unwrap());
    let error = refuses(&file, &resnet(2));
    assert!(error.ends_with("tensor 'bn1.bias' is of i64, expected floating-point numbers"), "{error}");
    file.insert(
        "bn1.bias".to_owned(),
        Tensor::new(&[1.0, f32::NAN, 3.0, f32::INFINITY], &Device::Cpu).unwrap(),
    );
    let error = refuses(&file, &resnet(2));
    assert!(error.contains("2 of 4 numbers of tensor 'bn1.bias' are NaN or infinite"), "{error}");
    let error = line(&read(&safetensors(&Tensors::new())).unwrap_err());
    assert!(error.ends_with("it contains no tensors"), "{error}");
    let error = refuses(&Tensors::from([("x".to_owned(), ones(&[1]))]), &vit(2));
    assert!(error.contains("no tensor has a name of this encoder: neither timm's names"), "{error}");
}

/// A file with a header of 640 bytes begins like a pickle: 0x80, 0x02.
#[test]
fn a_safetensors_header_may_begin_like_a_pickle() {
    let tensors = Tensors::from([("x".to_owned(), ones(&[2, 3]))]);
    let of = |length: usize| {
        let notes = BTreeMap::from([("about".to_owned(), "a".repeat(length))]);
        crate::backbone::safe::serialise(&tensors, &notes).unwrap()
    };
    let bytes = (0..640).map(of).find(|bytes| bytes[..2] == [0x80, 0x02]).unwrap();
    let read = read(&bytes).unwrap();
    assert!(read.note("about").unwrap().starts_with("aaa") && read.note("x").is_none());
}

/// Distillation tokens, register tokens and others that our encoder lacks.
#[rstest]
fn another_network_s_tokens_are_not_ignored(
    #[values("dist_token", "reg_token", "register_tokens", "norm_pre.weight", "rope.freqs")] name: &str,
) {
    let mut file = tensors(&vit(1), |of| format!("module.{of}"));
    file.insert(format!("module.{name}"), ones(&[1, 1, 8]));
    let error = refuses(&file, &vit(2));
    assert!(
        error.contains(&format!("'module.{name}' is a part of the file's encoder, but not of this one")),
        "{error}"
    );
}

#[rstest]
#[case::moving_average("net.", "ema.", "the one trained by gradients")]
#[case::key("query_encoder.", "key_encoder.", "the one trained by gradients")]
#[case::letters("enc_q.", "enc_k.", "the one trained by gradients")]
#[case::momentum("base.", "base_m.", "the one trained by gradients")]
#[case::timm("model_ema.", "model.", "the teacher or moving average, which its method evaluates")]
fn copies_are_known_by_their_names(#[case] taken: &str, #[case] other: &str, #[case] why: &str) {
    let source = vit(1);
    let mut file = tensors(&source, |name| format!("{taken}{name}"));
    file.extend(tensors(&vit(3), |name| format!("{other}{name}")));
    let told = fills(&file, &vit(2), &source);
    assert!(
        told.contains(&format!("of several encoders, '{taken}' is used, {why}; not '{other}'")),
        "{told}"
    );
}

#[test]
fn of_two_copies_that_agree_the_first_is_taken() {
    let source = vit(1);
    let mut file = tensors(&source, |name| format!("student.{name}"));
    file.extend(tensors(&source, |name| format!("ema.{name}")));
    let told = fills(&file, &vit(2), &source);
    let expected =
        "of several encoders, 'ema.' is used, the closest to one trained by gradients; not 'student.'";
    assert!(told.contains(expected), "{told}");
}

/// Every encoder of the same rank is compared with the one that is taken, number by number and type by type.
#[test]
fn a_third_encoder_must_agree_too() {
    let with = |third: Tensors| {
        let mut file = tensors(&vit(1), |name| format!("net_a.{name}"));
        file.extend(tensors(&vit(1), |name| format!("net_b.{name}")));
        file.extend(third);
        file
    };
    let named = |encoder: &Parameters| tensors(encoder, |name| format!("net_c.{name}"));
    let told = fills(&with(named(&vit(1))), &vit(2), &vit(1));
    assert!(
        told.contains("'net_a.' is used, the one trained by gradients; not 'net_b.', 'net_c.'"),
        "{told}"
    );
    let differ = "two encoders that differ, under 'net_a.' and 'net_c.'; it is unclear which is meant: save one of them \
                  in a file of its own";
    let mut wider = named(&vit(1));
    let bias = wider["net_c.blocks.1.mlp.fc1.bias"].to_dtype(DType::F64).unwrap();
    wider.insert("net_c.blocks.1.mlp.fc1.bias".to_owned(), bias);
    for third in [named(&vit(3)), wider] {
        let error = refuses(&with(third), &vit(2));
        assert!(error.contains(differ), "{error}");
    }
    // An encoder of another rank may differ: a student beside two teachers that agree.
    let mut file = tensors(&vit(1), |name| format!("teacher.{name}"));
    file.extend(tensors(&vit(1), |name| format!("x.teacher.{name}")));
    file.extend(tensors(&vit(3), |name| format!("student.{name}")));
    let told = fills(&file, &vit(2), &vit(1));
    assert!(
        told.contains("'teacher.' is used, the teacher or moving average, which its method evaluates; not"),
        "{told}"
    );
}

#[test]
fn a_file_of_an_old_pytorch_is_read() {
    let file = include_bytes!("../../../fixtures/torch/legacy.pt");
    let weights = read(file).unwrap();
    let found: Vec<(&str, &[usize])> =
        weights.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.dims())).collect();
    let expected: [(&str, &[usize]); 6] = [
        ("0.weight", &[3, 2, 3, 3]),
        ("1.bias", &[3]),
        ("1.num_batches_tracked", &[]),
        ("1.running_mean", &[3]),
        ("1.running_var", &[3]),
        ("1.weight", &[3]),
    ];
    assert_eq!(found, expected);
    assert_eq!(weights.tensors["1.running_var"].to_vec1::<f32>().unwrap(), [0.5, 1.5, 2.5]);
    assert_eq!(weights.note("format"), None);
    let error = line(&read(&file[..file.len() - 1]).unwrap_err());
    let expected = "init.safetensors: PyTorch's format before 1.6: truncated: it ends within its data; copy or download \
                    it again; ";
    assert!(error.starts_with(expected), "{error}");
}

/// Copies may lie beside the parts of an encoder without a prefix, or among them.
#[rstest]
#[case::beside("momentum.")]
#[case::among("blocks.ema.")]
fn an_encoder_without_a_prefix_may_have_a_copy(#[case] other: &str) {
    let source = vit(1);
    let mut file = tensors(&source, str::to_owned);
    file.extend(tensors(&vit(3), |name| format!("{other}{name}")));
    let told = fills(&file, &vit(2), &source);
    let count = source.all().len();
    let expected = format!(
        "all {count} tensors of the encoder found\nof several encoders, no prefix is used, the one trained by \
         gradients; not '{other}'\nignored, not part of the encoder: {} ({count} tensors)",
        other.trim_end_matches('.')
    );
    assert_eq!(told, expected);
}

#[test]
fn a_single_bad_number_is_counted() {
    let mut file = tensors(&resnet(1), str::to_owned);
    let shape = file["layer1.0.conv1.weight"].dims().to_vec();
    let mut numbers = vec![0.5_f32; shape.iter().product()];
    numbers[77] = f32::NEG_INFINITY;
    let tensor = Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap();
    file.insert("layer1.0.conv1.weight".to_owned(), tensor);
    let error = refuses(&file, &resnet(2));
    let expected = "init.safetensors: 1 of 144 numbers of tensor 'layer1.0.conv1.weight' are NaN or infinite: training \
                    diverged, or the file is damaged; take an earlier checkpoint";
    assert_eq!(error, expected);
}
