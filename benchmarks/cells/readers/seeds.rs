//! The files of `benchmarks/fuzz/corpus`: small sound files of each kind, and ones that once caused errors. None
//! are by others. `SKEWBENCH_FIXTURES=write cargo test --workspace --test cells readers` writes them again.

use std::{collections::BTreeMap, env, fs, io::Cursor, io::Write as _, path::Path};

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use skewbench::{
    augment::{Normalisation, to_normalised},
    backbone::Parameters,
    bundle::{Bundle, Calibration, Manifest, Threshold},
    candle_core::{DType, Device, Tensor},
    data::{Image, OnBadImage, folder, store},
    evaluate::scorer::Scorer,
    results::{self, Detector, Record},
    seed::Seed,
};

use super::{corpus, targets};

/// Name and bytes.
type Files = Vec<(&'static str, Vec<u8>)>;

/// A fuzzer's file that was added by hand need not be listed here; every file listed here must exist.
#[test]
fn the_corpus_is_as_written() {
    let write = env::var_os("SKEWBENCH_FIXTURES").is_some_and(|value| value == "write");
    for (reader, files) in [
        ("tables", tables()),
        ("images", images()),
        ("records", records()),
        ("checkpoints", checkpoints()),
        ("weights", weights()),
        ("bundles", bundles()),
        ("stores", stores()),
    ] {
        let folder = corpus().join(reader);
        for (name, bytes) in files {
            let path = folder.join(name);
            if write {
                fs::create_dir_all(&folder).unwrap();
                fs::write(&path, &bytes).unwrap();
            }
            let found = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            // A bundle contains logits, whose last digits may differ on another processor.
            let same =
                if reader == "bundles" { found.len().abs_diff(bytes.len()) < 64 } else { found == bytes };
            assert!(
                same,
                "{}: not what its line makes; SKEWBENCH_FIXTURES=write writes it again",
                path.display()
            );
        }
    }
}

fn tables() -> Files {
    let plain = "path,label\n1.png,0\n2.png,1\n3.png,0\n4.png,1\n5.png,0\n6.png,1\n7.png,0\n8.png,1\n";
    let utf_16 = |text: &str| -> Vec<u8> {
        [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect()
    };
    let split = "path,label,class,split,group\na/1.png,0,,train,p 1\na/2.png,1,crack,train,p 1\n\
                 b/1.png,0,,validation,p 2\nb/2.png,1,hole,validation,p 2\nb/3.png,0,,test,p 3\n";
    let of_spreadsheets = "\u{feff}Image_Path;Label;kind\r\n'=1+1.png;Normal;\r\n-2.png;NG;'@a\r\n.\\3.png;ok;\"x;\ny\"\r\n\
                           4.png;bad;\r\n5.png;good;\r\n6.png;defect;'+b\r\n";
    let mut odd = utf_16(plain);
    odd.pop();
    vec![
        ("whole-plain.csv", plain.into()),
        ("whole-utf-16.csv", utf_16(plain)),
        ("whole-split-and-groups.csv", split.into()),
        ("whole-of-spreadsheets.csv", of_spreadsheets.into()),
        (
            "whole-of-pandas.csv",
            format!("Unnamed: 0,{}", plain.replace('\n', "\n7,").trim_end_matches("7,")).into(),
        ),
        ("bad-utf-16-of-odd-length.csv", odd),
        ("bad-nothing.csv", Vec::new()),
        ("bad-only-a-header.csv", "path,label\n".into()),
        ("bad-names-that-are-orders.csv", "path,label\n\u{1b}]0;x\u{7}.png,\u{1b}[2J\n".into()),
        ("bad-one-file-twice.csv", "path,label\na.png,0\nb.png,1\n./a.png,1\n".into()),
        ("bad-a-field-too-few.csv", "path,label,class\na.png,0,x\nb.png,1\n".into()),
        ("bad-no-text.csv", b"path,label\n\xc3\x28.png,0\n2.png,1\n".to_vec()),
        ("bad-open-quotation.csv", "path,label\n\"1.png,0\n2.png,1\n".into()),
    ]
}

fn images() -> Files {
    let picture = RgbImage::from_fn(20, 12, |x, y| {
        let noise = (x * 7919 + y * 104_729) % 31;
        Rgb([(9 * x + noise) as u8, (11 * y + 2 * noise) as u8, (x * y + noise) as u8])
    });
    let encoded = |picture: DynamicImage, format| {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    let colour = |format| encoded(picture.clone().into(), format);
    let (png, jpeg, bmp) = (colour(ImageFormat::Png), colour(ImageFormat::Jpeg), colour(ImageFormat::Bmp));
    let cut = |bytes: &[u8]| bytes[..bytes.len() * 2 / 3].to_vec();
    let mut zeros = jpeg.clone();
    let half = jpeg.len() * 4 / 5;
    zeros[half..jpeg.len() - 2].fill(0);
    let mut huge = bmp.clone();
    huge[18..22].copy_from_slice(&60_000_u32.to_le_bytes());
    huge[22..26].copy_from_slice(&60_000_u32.to_le_bytes());
    vec![
        ("whole.png", png.clone()),
        ("whole.jpg", jpeg.clone()),
        ("whole.bmp", bmp.clone()),
        ("whole.tif", colour(ImageFormat::Tiff)),
        ("whole.ppm", colour(ImageFormat::Pnm)),
        ("whole.webp", colour(ImageFormat::WebP)),
        (
            "whole-16-bits.png",
            encoded(DynamicImage::from(picture.clone()).to_luma16().into(), ImageFormat::Png),
        ),
        ("whole-profile-of-zeros.png", with_profile(&png)),
        ("bad-cut-with-an-end.jpg", [cut(&jpeg), vec![0xff, 0xd9]].concat()),
        ("bad-zeros.jpg", zeros),
        ("bad-cut.png", cut(&png)),
        ("bad-cut.bmp", cut(&bmp)),
        ("bad-cut.tif", cut(&colour(ImageFormat::Tiff))),
        ("bad-cut.ppm", cut(&colour(ImageFormat::Pnm))),
        ("bad-cut.webp", cut(&colour(ImageFormat::WebP))),
        ("bad-huge.bmp", huge),
        ("bad-nothing", Vec::new()),
        ("bad-page.html", b"<!doctype html><title>404</title>".to_vec()),
    ]
}

/// Returns a PNG with a compressed colour profile of 2 MB.
fn with_profile(png: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![0; 2_000_000]).unwrap();
    let content = [b"iCCPzeros\0\0".as_slice(), &packed.finish().unwrap()].concat();
    let mut crc = flate2::Crc::new();
    crc.update(&content);
    let chunk = [&(content.len() as u32 - 4).to_be_bytes()[..], &content, &crc.sum().to_be_bytes()].concat();
    // After the signature and the first chunk.
    [&png[..33], &chunk, &png[33..]].concat()
}

/// Returns a small record of this repository.
fn record() -> Record {
    let path = "results/2026-11-29-small-study/table1/supervised-vit_tiny-share15-seed0.json";
    let mut record = results::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    record.curve.truncate(1);
    record.label_free.clear();
    record.scores.retain(|score| score.classifier == "converged" && score.validation_share.is_none());
    for score in &mut record.scores {
        score.operating_points.truncate(1);
        score.recall_by_class = score.recall_by_class.clone().into_iter().take(2).collect();
        score.auroc_by_class = score.auroc_by_class.clone().into_iter().take(2).collect();
    }
    record.label_budgets.clear();
    record.settings.values.retain(|name, _| name.starts_with("vit.") || name.starts_with("normalisation."));
    record.provenance.crates.clear();
    record
}

fn records() -> Files {
    let text = serde_json::to_string_pretty(&record()).unwrap();
    let other = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1).into_bytes()
    };
    vec![
        ("whole.json", text.clone().into()),
        ("whole-in-one-line.json", serde_json::to_string(&record()).unwrap().into()),
        ("bad-torn.json", text[..text.len() / 2].into()),
        ("bad-of-a-later-schema.json", other("\"schema\": 2", "\"schema\": 99")),
        ("bad-further-field.json", other("\"schema\": 2", "\"schema\": 2, \"extra\": 1")),
        ("bad-number-too-large.json", other("\"seed\": 0", "\"seed\": 1e999")),
        ("bad-of-others.json", "{\"accuracy\": 0.9}".into()),
        ("bad-nested.json", [vec![b'['; 1500], vec![b']'; 1500]].concat()),
        ("bad-zeros.json", vec![0; 4096]),
        ("bad-nothing.json", Vec::new()),
    ]
}

fn plain(tensors: &BTreeMap<String, Tensor>) -> Vec<u8> {
    safetensors::serialize(tensors, None).unwrap()
}

fn checkpoints() -> Files {
    let whole_numbers = |values: &[i64]| Tensor::new(values, &Device::Cpu).unwrap();
    let numbers = |values: &[f64]| Tensor::new(values, &Device::Cpu).unwrap();
    let entries = [
        ("tally/step", whole_numbers(&[2])),
        ("tally/images", whole_numbers(&[17])),
        ("tally/loss", numbers(&[0.7])),
        ("tally/probe_loss", numbers(&[-0.0])),
        ("tally/skipped", whole_numbers(&[3, 70_000])),
        ("monitor_sum/a", numbers(&[0.5])),
        ("monitor_count/a", whole_numbers(&[5])),
        ("curve/images", whole_numbers(&[64, 64])),
        ("curve/loss", numbers(&[1.0 / 3.0, 0.25])),
        ("curve/learning_rate", numbers(&[1e-300, 1e-3])),
        ("curve/probe_loss", numbers(&[f64::NAN, 0.5])),
        ("curve_monitor/rankme", numbers(&[0.1 + 0.2, 1.0])),
        ("model/weight", Tensor::new(&[[1.5_f32, -2.0], [3.0, f32::NAN]], &Device::Cpu).unwrap()),
    ];
    let tensors: BTreeMap<String, Tensor> =
        entries.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
    let whole = targets::sealed(&plain(&tensors)).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut shorter = tensors.clone();
    shorter.insert("curve/images".to_owned(), whole_numbers(&[64]));
    let mut negative = tensors.clone();
    negative.insert("tally/images".to_owned(), whole_numbers(&[-1]));
    let mut other_type = tensors.clone();
    other_type.insert("tally/step".to_owned(), numbers(&[2.0]));
    let note = |bytes: &[u8], from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        [&bytes[..at], to, &bytes[at + from.len()..]].concat()
    };
    vec![
        ("whole.checkpoint", whole.clone()),
        ("bad-torn.checkpoint", whole[..whole.len() - 20].to_vec()),
        ("bad-one-bit.checkpoint", flipped),
        (
            "bad-of-a-later-format.checkpoint",
            note(&whole, b"\"checkpoint_format\":\"1\"", b"\"checkpoint_format\":\"9\""),
        ),
        ("bad-columns-differ.checkpoint", targets::sealed(&plain(&shorter)).unwrap()),
        ("bad-negative-count.checkpoint", targets::sealed(&plain(&negative)).unwrap()),
        ("bad-other-type.checkpoint", targets::sealed(&plain(&other_type)).unwrap()),
        ("bad-weights-alone.checkpoint", plain(&tensors)),
        ("bad-nothing.checkpoint", Vec::new()),
    ]
}

fn tensors_of(encoder: &Parameters, name: impl Fn(&str) -> String) -> BTreeMap<String, Tensor> {
    let tensor = |entry: &skewbench::backbone::Parameter| {
        (name(&entry.name), entry.variable.as_detached_tensor().copy().unwrap())
    };
    encoder.all().iter().map(tensor).collect()
}

fn weights() -> Files {
    let encoder = targets::small();
    let tensors = tensors_of(&encoder, str::to_owned);
    let whole = plain(&tensors);
    let head = 8 + u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    let mut not_finite = whole.clone();
    not_finite[head..head + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let half: BTreeMap<_, _> =
        tensors.iter().map(|(name, tensor)| (name.clone(), tensor.to_dtype(DType::BF16).unwrap())).collect();
    let torch = torch(&tensors);
    vec![
        ("whole.safetensors", whole.clone()),
        ("whole-prefix.safetensors", plain(&tensors_of(&encoder, |name| format!("module.{name}")))),
        ("whole-half.safetensors", plain(&half)),
        ("whole.pth", torch.clone()),
        ("bad-torn.safetensors", whole[..whole.len() - 9].to_vec()),
        ("bad-torn-head.safetensors", whole[..head / 2].to_vec()),
        ("bad-length-of-head.safetensors", [&u64::MAX.to_le_bytes(), &whole[8..]].concat()),
        ("bad-not-finite.safetensors", not_finite),
        ("bad-torn.pth", torch[..torch.len() / 2].to_vec()),
        ("bad-code.pth", zip(&[("archive/data.pkl", b"\x80\x02cos\nsystem\n(X\x04\0\0\0trueetR.".to_vec())])),
        ("bad-pickle", b"\x80\x02}q\0X\x01\0\0\0aq\x01K\x01s.".to_vec()),
        (
            "bad-pointer-of-git-lfs",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n".to_vec(),
        ),
        ("bad-page.html", b"<!DOCTYPE html><title>404</title>".to_vec()),
        ("bad-nothing", Vec::new()),
    ]
}

/// Returns a dictionary of tensors as written by `torch.save`.
fn torch(tensors: &BTreeMap<String, Tensor>) -> Vec<u8> {
    let text = |text: &str| [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let number = |number: usize| [b"J".as_slice(), &(number as u32).to_le_bytes()].concat();
    let tuple = |numbers: &[usize]| {
        [&b"("[..], &numbers.iter().flat_map(|&n| number(n)).collect::<Vec<_>>(), b"t"].concat()
    };
    let mut pickle = b"\x80\x02ccollections\nOrderedDict\n)R(".to_vec();
    let mut files = Vec::new();
    for (name, tensor) in tensors {
        let key = files.len().to_string();
        pickle.extend(text(name));
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        pickle
            .extend([text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text(&key), text("cpu")].concat());
        pickle.extend([number(tensor.elem_count()), b"tQ".to_vec(), number(0)].concat());
        pickle.extend([tuple(tensor.dims()), tuple(tensor.stride()), b"\x89".to_vec()].concat());
        pickle.extend(b"ccollections\nOrderedDict\n)RtR");
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        files.push((format!("archive/data/{key}"), values.iter().flat_map(|v| v.to_le_bytes()).collect()));
    }
    pickle.extend(b"u.");
    files.insert(0, ("archive/data.pkl".to_owned(), pickle));
    zip(&files)
}

fn zip<S: AsRef<str>>(files: &[(S, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in files {
        writer.start_file(name.as_ref(), options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn bundles() -> Files {
    let mut parameters = Parameters::default();
    let mut builder = parameters.builder("", Seed::root(0), DType::F32, &Device::Cpu);
    let encoder = targets::SMALL.build(&mut builder).unwrap();
    let scorer = Scorer::Probe { weights: vec![0.5, -1.0, 2.0, 0.25], bias: 0.125 };
    let side = targets::SMALL.side;
    let picture = Image::new(side, side, (0..side * side * 3).map(|at| (at * 37 % 251) as u8).collect());
    let normalisation = Normalisation { mean: [0.5; 3], std: [0.25; 3] };
    let mut values = vec![0.0; side * side * 3];
    to_normalised(&picture, &normalisation, &mut values);
    let values = Tensor::from_vec(values, (1, side, side, 3), &Device::Cpu).unwrap();
    let seen = scorer.score(&*encoder, &values, false).unwrap();

    let mut record = record();
    record.settings.values.clear();
    let size = targets::SMALL.vit;
    for (name, value) in [
        ("side", side),
        ("vit.patch", size.patch),
        ("vit.width", size.width),
        ("vit.depth", size.depth),
        ("vit.heads", size.heads),
    ] {
        record.settings.values.insert(name.to_owned(), value.into());
    }
    record.settings.values.insert("normalisation.mean".to_owned(), vec![0.5; 3].into());
    record.settings.values.insert("normalisation.deviation".to_owned(), vec![0.25; 3].into());
    let calibration = Calibration { slope: 1.0, intercept: 0.0, error: 0.0 };
    let threshold = Threshold {
        logit: 0.0,
        chosen: "own".to_owned(),
        false_positive_rate: [0.0, 0.0, 1.0],
        true_positive_rate: [0.0, 0.0, 1.0],
    };
    let manifest = Manifest::from_record((&record, "converged"), None, 0.1, calibration, threshold).unwrap();
    let detector =
        Detector { scorers: vec![(scorer, vec![seen[0].logit])], pictures: vec![picture], usual_size: None };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("detector.skewbench");
    Bundle::write(&path, &manifest, &parameters, detector).unwrap();
    let whole = fs::read(path).unwrap();
    let edited = |from: &str, to: &str| {
        let at = whole.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        [&whole[..at], to.as_bytes(), &whole[at + from.len()..]].concat()
    };
    let of_malice = |from: &str, to: &str| {
        let edit = |manifest: &str| {
            assert!(manifest.contains(from), "{manifest}");
            manifest.replacen(from, to, 1)
        };
        targets::sealed_bundle(&whole, edit).unwrap()
    };
    let mut other_number = whole.clone();
    *other_number.last_mut().unwrap() ^= 0x10;
    vec![
        ("whole.skewbench", whole.clone()),
        ("bad-other-threshold.skewbench", edited("\\\"logit\\\":0.0", "\\\"logit\\\":9.0")),
        ("bad-of-a-later-version.skewbench", edited("\\\"version\\\":2", "\\\"version\\\":9")),
        ("bad-other-number.skewbench", other_number),
        ("bad-of-many-blocks.skewbench", of_malice("\"vit.depth\":1", "\"vit.depth\":1000000000")),
        ("bad-of-wide-blocks.skewbench", of_malice("\"vit.width\":4", "\"vit.width\":400000000")),
        ("bad-of-no-width.skewbench", of_malice("\"vit.width\":4", "\"vit.width\":0")),
        ("bad-of-a-large-side.skewbench", of_malice("\"side\":8", "\"side\":8000000000")),
        (
            "bad-of-another-network.skewbench",
            of_malice(
                "\"backbone\":\"vit_tiny\"",
                "\"backbone\":\"resnet18\",\"sizes\":{\"resnet.width\":0,\"resnet.stem\":\"small\"}",
            ),
        ),
        ("bad-torn.skewbench", whole[..whole.len() / 2].to_vec()),
        ("bad-weights-alone.skewbench", plain(&tensors_of(&parameters, str::to_owned))),
    ]
}

fn stores() -> Files {
    let root = tempfile::tempdir().unwrap();
    for (split, label, number) in [
        ("train", "normal", 1),
        ("train", "normal", 2),
        ("train", "defect/crack", 3),
        ("validation", "normal", 4),
        ("validation", "defect/crack", 5),
    ] {
        let below = root.path().join("pictures").join(split).join(label);
        fs::create_dir_all(&below).unwrap();
        let pixel =
            |x: u32, y: u32| Rgb([(x * 31 + number * 7) as u8, (y * 17) as u8, (x * y + number) as u8]);
        RgbImage::from_fn(6 + number % 2, 5, pixel).save(below.join(format!("{number}.png"))).unwrap();
    }
    let source = folder::source(&root.path().join("pictures")).unwrap();
    for files in [source.train.files().unwrap(), source.validation.files().unwrap()] {
        files.examine(&(0..files.len()).collect::<Vec<_>>(), &|| {});
    }
    let packed = |form, name: &str| -> [Vec<u8>; 3] {
        let to = root.path().join(name);
        let shrink = |image| image;
        let (source, on_bad_image) = (&source, OnBadImage::Fail);
        store::Packing { source, folder: &to, form, shrink: &shrink, on_bad_image }.pack(&|| {}).unwrap();
        ["store.csv", "images.csv", "images-00000.safetensors"].map(|name| fs::read(to.join(name)).unwrap())
    };
    let joined = |[about, list, shard]: &[Vec<u8>; 3]| {
        [about.as_slice(), targets::BETWEEN[0].as_bytes(), list, targets::BETWEEN[1].as_bytes(), shard]
            .concat()
    };
    let whole = packed(store::Form::Pixels(5), "pixels");
    let changed = |file: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let mut parts = whole.clone();
        change(&mut parts[file]);
        joined(&parts)
    };
    let other_label = changed(1, &|list| {
        let text = String::from_utf8(list.clone()).unwrap();
        *list = text.replacen(",0,", ",1,", 1).into_bytes();
    });
    vec![
        ("whole-pixels", joined(&whole)),
        ("whole-files", joined(&packed(store::Form::Files, "files"))),
        ("bad-other-pixel", changed(2, &|shard| *shard.last_mut().unwrap() ^= 1)),
        ("bad-torn-shard", changed(2, &|shard| shard.truncate(shard.len() - 1))),
        ("bad-other-label", other_label),
        ("bad-nothing", Vec::new()),
    ]
}
