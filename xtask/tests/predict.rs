//! From a results folder to a detector on images without labels.

// Tests may fail by unwrapping; clippy.toml's exception for tests does not cover their helpers.
#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::BTreeMap, fs, path::Path};

use skewbench::{
    backbone::Parameters,
    bundle::{Bundle, Manifest, Threshold},
    results::{Detector, Folder, Part, beside},
};
use support::{SMALL, camera, error, folder, skewbench, succeeds};
use tempfile::TempDir;

/// Trains a cell with this backbone on the images in `data`; returns the results folder.
fn trained(root: &Path, backbone: &str) -> String {
    let out = root.join("results").to_string_lossy().into_owned();
    let own = ["reproduce", "--study", "table1", "--only", backbone, "--shares", "natural", "--epochs", "2"];
    let data = folder(&camera(root, "data", 0));
    succeeds(&skewbench(&[&own[..], &SMALL, &["--data", &data, "--out", &out]].concat()));
    out
}

/// Returns the logit of each path in a table with these columns.
fn logits(table: &Path, column: &str) -> BTreeMap<String, f64> {
    let mut reader = csv::Reader::from_path(table).unwrap();
    let header = reader.headers().unwrap().clone();
    let place = |name: &str| header.iter().position(|known| known == name).unwrap();
    let (path, logit) = (place("path"), place(column));
    let rows = reader.records().map(Result::unwrap).filter(|row| !row[logit].is_empty());
    rows.map(|row| (row[path].to_owned(), row[logit].parse().unwrap())).collect()
}

/// Checks the summary of 36 images and a torn one.
fn tells_what_it_did(told: &str, out: &str, manifest: &Manifest, flags: &BTreeMap<String, f64>) {
    let flagged = flags.values().filter(|flag| **flag > 0.5).count();
    let own = format!("37 images, 0 of them scored earlier; {}, {}\n", manifest.title(), manifest.cell);
    assert!(told.starts_with(&own), "{told}");
    let summary = format!(
        "36 scored, {flagged} flagged, 1 skipped\npredictions {out}/predictions.csv\ntriage      {out}/triage.html\n"
    );
    assert!(told.contains(&summary), "{told}");
    assert!(!manifest.limits.is_empty());
    // Notes that differ only in a share are joined.
    for limit in manifest.limits.iter().filter(|limit| !limit.starts_with("no scores at validation share ")) {
        assert!(told.contains(&format!("note: {limit}\n")), "{limit}: {told}");
    }
}

#[test]
fn a_bundle_gives_the_logits_of_its_record_and_goes_on_where_it_stopped() {
    for backbone in ["supervised-resnet18", "supervised-vit_tiny"] {
        let root = TempDir::new().unwrap();
        let results = trained(root.path(), backbone);
        let path = |name: &str| root.path().join(name).to_string_lossy().into_owned();
        let (bundle, data, out) = (path("x.skewbench"), path("data"), path("out"));
        succeeds(&skewbench(&[
            "bundle",
            &results,
            "--best",
            &bundle,
            "--flag-at",
            "misses=50%",
            "--rate",
            "5%",
        ]));
        fs::write(root.path().join("data/torn.png"), b"no image").unwrap();
        fs::write(root.path().join("data/notes.txt"), b"no image either").unwrap();
        let predict = || skewbench(&["predict", &bundle, &data, "--out", &out]);
        let first = predict();
        succeeds(&first);
        let told = String::from_utf8_lossy(&first.stdout).into_owned();

        let table = root.path().join("out/predictions.csv");
        let found = logits(&table, "logit");
        assert_eq!(found.len(), 36);
        let cell = format!("extension/{backbone}-natural-seed0.logits.csv");
        let expected = logits(&Path::new(&results).join(cell), "converged");
        assert_eq!(expected.len(), 9);
        for (path, expected) in expected {
            let apart = (found[&path] - expected).abs() / expected.abs().max(1.0);
            assert!(apart < 1e-5, "{path}: {} and {expected}", found[&path]);
        }
        // Probabilities are calibrated for the requested rate, and flags follow the threshold.
        let manifest = Bundle::open(Path::new(&bundle)).unwrap().manifest;
        assert_eq!((manifest.rate, manifest.threshold.chosen.as_str()), (0.05, "misses=50%"));
        let (slope, intercept) = (manifest.calibration.slope, manifest.calibration.intercept);
        let [probabilities, flags] = ["probability", "flagged"].map(|column| logits(&table, column));
        tells_what_it_did(&told, &out, &manifest, &flags);
        for (path, logit) in &found {
            let odds = slope * logit + intercept + (0.05_f64 / 0.95).ln();
            let apart = (probabilities[path] - 1.0 / (1.0 + (-odds).exp())).abs();
            assert!(apart < 1e-9, "{path}: {}", probabilities[path]);
            assert_eq!(flags[path] > 0.5, *logit > manifest.threshold.logit, "{path}");
        }
        let text = fs::read_to_string(&table).unwrap();
        assert!(text.contains("torn.png,,,,") && text.contains("expected BMP, JPEG"), "{text}");
        assert!(!text.contains("notes.txt"));
        let page = fs::read_to_string(root.path().join("out/triage.html")).unwrap();
        assert_eq!(page.matches("<li ").count(), 36);
        assert!(page.contains("class=\"heat\""), "no map");
        assert_eq!(page.contains("class activation map"), backbone.ends_with("resnet18"));
        assert_eq!(page.contains("to the class token"), backbone.ends_with("vit_tiny"));

        // Half of the table is lost: the same command completes it, and scores no image twice.
        fs::write(&table, &text[..text.len() / 2]).unwrap();
        let output = predict();
        succeeds(&output);
        assert!(String::from_utf8_lossy(&output.stdout).contains("of them scored earlier"));
        let again = logits(&table, "logit");
        assert!(again.len() == 36 && again.iter().all(|(path, logit)| (found[path] - logit).abs() < 1e-5));
        succeeds(&skewbench(&["predict", &bundle, &data, "--out", &out, "--most", "5"]));
        let page = fs::read_to_string(root.path().join("out/triage.html")).unwrap();
        assert_eq!(page.matches("<li ").count(), 5);
        let message = error(&skewbench(&["predict", &bundle, &data, "--out", &out, "--rate", "1%"]));
        assert!(message.contains("predictions of another bundle or rate"), "{message}");
        rates_and_tables_can_be_asked_for(root.path(), &bundle, &manifest, &found);
        other_sizes_are_told(root.path(), &bundle);
        nothing_can_be_read(root.path(), &bundle);
        images_unlike_validation_are_doubted(root.path(), &results, &bundle, &manifest);
    }
}

/// A detector that flags everything, although it flagged 30 % of validation's defects, and images of which eight can be
/// read: those that cannot be read say nothing about it.
fn images_unlike_validation_are_doubted(root: &Path, results: &str, bundle: &str, manifest: &Manifest) {
    let folder = Folder::open(Path::new(results)).unwrap();
    let (at, record) = folder.finished(&manifest.cell).unwrap();
    let encoder = Parameters::parse(&beside::read(&at, &record, Part::Weights).unwrap()).unwrap().encoder();
    let threshold = Threshold {
        logit: -1e9,
        false_positive_rate: [0.125, 0.05, 0.2],
        true_positive_rate: [0.25, 0.2, 0.4],
        ..manifest.threshold.clone()
    };
    let other = Manifest { threshold, ..manifest.clone() };
    let path = |name: &str| root.join(name).to_string_lossy().into_owned();
    Bundle::write(Path::new(&path("other")), &other, &encoder, Detector::read(&at, &record).unwrap())
        .unwrap();
    for number in 0..48 {
        let file = root.join(format!("strange/{number:02}.png"));
        support::draw(&file, number % 2 == 0, number);
        if number >= 8 {
            fs::write(file, b"no image").unwrap();
        }
    }
    let told = |bundle: &str, out: &str| {
        let output = skewbench(&["predict", bundle, &path("strange"), "--out", &path(out)]);
        succeeds(&output);
        let page = fs::read_to_string(root.join(out).join("triage.html")).unwrap();
        (String::from_utf8_lossy(&output.stdout).into_owned(), page)
    };
    let doubt = "100.0 % of these images are flagged, more than if every one had a defect: of validation's defects it was \
                 25.0 %. The images differ from those that the detector was made with, so its rates and probabilities do \
                 not hold here";
    let (said, page) = told(&path("other"), "strange-out");
    assert!(said.contains("\n8 scored, 8 flagged, 40 skipped\n"), "{said}");
    assert!(said.contains(&format!("\nnote: {doubt}\n")) && page.contains(&format!("{doubt}.")), "{said}");
    let (said, page) = told(bundle, "usual-out");
    assert!(!said.contains("of these images are flagged") && !page.contains(doubt), "{said}");
}

/// Scores the images of a table for another site: the second cannot be read, and one is deleted later. `known`: logits
/// of the same images in another run.
fn rates_and_tables_can_be_asked_for(
    root: &Path,
    bundle: &str,
    manifest: &Manifest,
    known: &BTreeMap<String, f64>,
) {
    let path = |name: &str| root.join(name).to_string_lossy().into_owned();
    let rows = "path\ndata/normal/0002.png\ndata/torn.png\ndata/normal/0001.png\ndata/defect/0000.png\ndata/defect/0003.png\n";
    fs::write(path("new.csv"), rows).unwrap();
    let (table, out) = (path("new.csv"), path("rated"));
    let predict = |rate: &str| skewbench(&["predict", bundle, &table, "--out", &out, "--rate", rate]);
    let message = error(&predict("natural"));
    assert!(message.contains("--rate needs a percentage"), "{message}");
    let first = predict("20%");
    succeeds(&first);
    let told = String::from_utf8_lossy(&first.stdout).into_owned();
    assert!(told.starts_with("5 images, 0 of them scored earlier; "), "{told}");
    let rows = Path::new(&out).join("predictions.csv");
    let [found, probabilities] = ["logit", "probability"].map(|column| logits(&rows, column));
    let (slope, intercept) = (manifest.calibration.slope, manifest.calibration.intercept);
    for (path, logit) in &found {
        let expected = known[path.strip_prefix("data/").unwrap()];
        assert!((logit - expected).abs() < 1e-5 * expected.abs().max(1.0), "{path}: {logit}, {expected}");
        let odds = slope * logit + intercept + (0.2_f64 / 0.8).ln();
        let apart = (probabilities[path] - 1.0 / (1.0 + (-odds).exp())).abs();
        assert!(apart < 1e-9, "{path}: {}", probabilities[path]);
    }
    assert_eq!(found.len(), 4);
    let page = || fs::read_to_string(Path::new(&out).join("triage.html")).unwrap();
    assert!(page().contains("for a site where 20.0\u{a0}% of images have a defect"));
    assert!(page().contains("1 image could not be read") && page().matches("<li ").count() == 4);

    // An image that is gone stays in the table, but is not on the page.
    let gone = root.join("data/normal/0001.png");
    let bytes = fs::read(&gone).unwrap();
    fs::remove_file(&gone).unwrap();
    let again = predict("20%");
    succeeds(&again);
    let told = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(told.starts_with("5 images, 5 of them scored earlier; "), "{told}");
    assert!(told.contains("\n4 scored, ") && told.contains(" flagged, 1 skipped\n"), "{told}");
    assert!(!told.contains("images a second") && page().matches("<li ").count() == 3, "{told}");
    fs::write(gone, bytes).unwrap();
}

/// A folder of which no image can be read still has its table and its page; the results folder must be one.
fn nothing_can_be_read(root: &Path, bundle: &str) {
    let path = |name: &str| root.join(name).to_string_lossy().into_owned();
    fs::create_dir(root.join("bad")).unwrap();
    for number in 0..3 {
        fs::write(root.join(format!("bad/{number}.png")), b"no image").unwrap();
    }
    let output = skewbench(&["predict", bundle, &path("bad"), "--out", &path("bad-out")]);
    succeeds(&output);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("\n0 scored, 0 flagged, 3 skipped\n"), "{told}");
    let page = fs::read_to_string(root.join("bad-out/triage.html")).unwrap();
    assert!(page.contains("3 images could not be read") && !page.contains("<li tabindex"), "{page}");
    let message = error(&skewbench(&["predict", bundle, &path("bad"), "--out", &path("bad/0.png")]));
    assert!(message.contains("bad/0.png: cannot be made: "), "{message}");
}

/// Images of other sizes than in training look different to the network: they are counted, and one is named.
fn other_sizes_are_told(root: &Path, bundle: &str) {
    let path = |name: &str| root.join(name).to_string_lossy().into_owned();
    let new = root.join("new");
    support::draw(&new.join("as-before.png"), false, 7);
    let predict = |out: &str| {
        let output = skewbench(&["predict", bundle, &path("new"), "--out", &path(out)]);
        succeeds(&output);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let told = predict("first");
    assert!(
        !told.contains("like most training images") && !told.contains("the detector's own pictures"),
        "{told}"
    );
    for name in ["wide.png", "wider.png"] {
        image::RgbImage::new(48, 32).save(new.join(name)).unwrap();
    }
    let told = predict("second");
    let expected = "note: 2 images are not 32 x 32 like most training images, for example wide.png;";
    assert!(told.contains(expected), "{told}");
    // They are black, and all images of the detector have colours.
    let expected = "note: 2 images are grey, for example wide.png; the detector's own pictures are coloured, so the scores \
                    there may be less reliable\n";
    assert!(told.contains(expected), "{told}");
}

/// Scorers fitted on normal images only: the record's logits, and a map of the patches that are far from normal
/// ones.
#[test]
fn scorers_of_normal_images_are_bundled_too() {
    let root = TempDir::new().unwrap();
    let results = trained(root.path(), "supervised-resnet18");
    let path = |name: &str| root.path().join(name).to_string_lossy().into_owned();
    for (scorer, column, says) in [
        ("mahalanobis", "normals_mahalanobis", "This detector has no heat map."),
        ("patchcore", "normals_patchcore", "the farthest decides"),
    ] {
        let (bundle, out) = (path(scorer), path(&format!("{scorer}-out")));
        let made = skewbench(&["bundle", &results, "--best", &bundle, "--scorer", scorer]);
        succeeds(&made);
        assert!(String::from_utf8_lossy(&made.stdout).contains("from those of normal images"));
        succeeds(&skewbench(&["predict", &bundle, &path("data"), "--out", &out]));
        let found = logits(&Path::new(&out).join("predictions.csv"), "logit");
        let table = Path::new(&results).join("extension/supervised-resnet18-natural-seed0.logits.csv");
        let expected = logits(&table, column);
        assert_eq!(expected.len(), 9);
        for (path, expected) in expected {
            let apart = (found[&path] - expected).abs() / expected.abs().max(1.0);
            assert!(apart < 1e-5, "{scorer}, {path}: {} and {expected}", found[&path]);
        }
        let page = fs::read_to_string(Path::new(&out).join("triage.html")).unwrap();
        assert!(page.contains(says), "{scorer}");
        assert_eq!(page.contains("class=\"heat\""), scorer == "patchcore");
        let message = error(&skewbench(&["onnx", &bundle, &path("x.onnx")]));
        assert!(message.contains("only probes can be written as ONNX"), "{message}");
    }
}

#[test]
fn a_bundle_becomes_onnx() {
    let root = TempDir::new().unwrap();
    let results = trained(root.path(), "supervised-resnet18");
    let path = |name: &str| root.path().join(name).to_string_lossy().into_owned();
    let (bundle, to) = (path("x.skewbench"), path("x.onnx"));
    let made = skewbench(&["bundle", &results, "--best", &bundle]);
    succeeds(&made);
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    let bytes = fs::metadata(&bundle).unwrap().len();
    // At width w, 2724 w^2 in convolutions, 147 w in the stem, 150 w in norms; here 8, and a probe of 64 features.
    assert!(said.contains("  176 777 parameters, "), "{said}");
    assert!(said.contains(" ms for a single image, ") && said.contains("one thread"), "{said}");
    // In batches of 64 an image takes no longer than alone, but for disturbances.
    let before = |text: &str| {
        said.split(text).next().and_then(|text| text.rsplit(' ').next()?.parse::<f64>().ok()).unwrap()
    };
    let (alone, together) = (before(" ms for a single"), before(" ms per image"));
    assert!(together > 0.0 && together < 8.0 * alone, "{alone} ms alone, {together} ms each in batches");

    let output = skewbench(&["onnx", &bundle, &to]);
    succeeds(&output);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let written = fs::read(&to).unwrap();
    let manifest = Bundle::open(Path::new(&bundle)).unwrap().manifest;
    let expected = format!(
        "{to}: {}, extension/supervised-resnet18-natural-seed0, {:.1} MB, ONNX opset 17\n  takes pictures: bytes (batch, 32, 32, \
         3), RGB, squeezed bicubic\n  gives logit and probability: (batch) each; probabilities are for 33.3 % defects; flag \
         above logit {:.4}\n",
        manifest.title(),
        written.len() as f64 / 1e6,
        manifest.threshold.logit
    );
    assert_eq!(said, expected);
    assert!(written.len() as f64 / bytes as f64 > 0.9, "{} of {bytes} bytes", written.len());
    // The file may be overwritten, but never the bundle, whatever path names it.
    succeeds(&skewbench(&["onnx", &bundle, &to]));
    assert_eq!(fs::read(&to).unwrap(), written);
    fs::create_dir(root.path().join("f")).unwrap();
    for same in [bundle.clone(), path("f/../x.skewbench")] {
        let message = error(&skewbench(&["onnx", &bundle, &same]));
        assert!(message.contains("is the bundle itself"), "{message}");
    }
    let message = error(&skewbench(&["onnx", &bundle, &path("x.onnx/y.onnx")]));
    assert!(message.contains("y.onnx: cannot be written"), "{message}");
    let message = error(&skewbench(&["onnx", &bundle, &path("f")]));
    assert!(message.contains("f: cannot be written"), "{message}");

    let mut torn = fs::read(&bundle).unwrap();
    torn.truncate(torn.len() - 7);
    fs::write(&bundle, torn).unwrap();
    let message = error(&skewbench(&["onnx", &bundle, &path("new.onnx")]));
    assert!(message.contains("cannot be trusted") && !root.path().join("new.onnx").exists(), "{message}");
}

#[test]
fn a_bundle_that_cannot_be_relied_on_is_refused() {
    let root = TempDir::new().unwrap();
    let results = trained(root.path(), "supervised-resnet18");
    let path = |name: &str| root.path().join(name).to_string_lossy().into_owned();
    let (bundle, data, out) = (path("x.skewbench"), path("data"), path("out"));
    let cell = "extension/supervised-resnet18-natural-seed0";
    succeeds(&skewbench(&["bundle", &results, cell, &bundle]));
    let whole = fs::read(&bundle).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&bundle, bytes).unwrap();
        error(&skewbench(&["predict", &bundle, &data, "--out", &out]))
    };
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(refused(&flipped).contains("it was edited or damaged"));
    assert!(refused(&whole[..whole.len() / 2]).contains("or an incomplete one"));
    let version = br#"\"version\":2"#;
    let place = whole.windows(version.len()).position(|window| window == version).unwrap();
    let mut newer = whole.clone();
    newer[place + version.len() - 1] = b'9';
    assert!(refused(&newer).contains("a bundle of version 9, this program reads 2"), "{}", refused(&newer));
    assert!(
        refused(&fs::read(Path::new(&results).join(format!("{cell}.safetensors"))).unwrap())
            .contains("without a manifest")
    );

    fs::write(&bundle, &whole).unwrap();
    fs::create_dir(root.path().join("empty")).unwrap();
    let message = error(&skewbench(&["predict", &bundle, &path("empty"), "--out", &out]));
    assert!(message.contains("empty: no images"), "{message}");
    fs::remove_file(Path::new(&results).join(format!("{cell}.detector.safetensors"))).unwrap();
    let message = error(&skewbench(&["bundle", &results, cell, &bundle]));
    assert!(message.contains("x.skewbench: already exists; --overwrite replaces it"), "{message}");
    assert_eq!(fs::read(&bundle).unwrap(), whole);
    let message = error(&skewbench(&["bundle", &results, cell, &bundle, "--overwrite"]));
    assert!(message.contains("trained with --no-weights"), "{message}");
}
