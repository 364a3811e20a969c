//! Evaluation of as many images as Sewer-ML's validation split has, with 512 features each: its stages, one by one.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Write},
    path::Path,
};

use skewbench::{
    candle_core::{Device, Tensor},
    data::{ClassSet, Labels, Share, imbalance::Pool},
    evaluate::{
        detection::{Detection, false_positive_rate_at, operating_points, true_positive_rate_at},
        detectors,
        importance::{f2_ciw_multilabel_of_detector, f2_ciw_oracle},
        probe::{Options, Probe, Weighting},
    },
    label_free::{LabelFreeMetrics, Rows},
    report::images::auroc_difference,
    seed::Seed,
};

use super::tables;

/// Features per image: ResNet-18's.
const WIDTH: usize = 512;
/// File of the features, below the folder: little-endian f32, row by row.
const FILE: &str = "features.f32";

fn labels() -> Vec<Labels> {
    let [_, validation] = tables::labels();
    validation
}

fn defects(labels: &[Labels]) -> Vec<bool> {
    labels.iter().map(|labels| labels.defect).collect()
}

/// Writes normal numbers whose spread falls by eight octaves over the columns; the first sixteen columns depend on
/// the label.
pub fn write(folder: &Path) -> String {
    let mut stream = Seed::root(1).stream();
    let mut file = BufWriter::new(File::create(folder.join(FILE)).unwrap());
    for labels in labels() {
        for column in 0..WIDTH {
            let told = if labels.defect && column < 16 { 0.4 } else { 0.0 };
            let value = (stream.normal() + told) * (-8.0 * column as f64 / WIDTH as f64).exp2();
            file.write_all(&(value as f32).to_le_bytes()).unwrap();
        }
    }
    file.flush().unwrap();
    "266 MB are the features alone".to_owned()
}

fn read(folder: &Path) -> Vec<f32> {
    let mut file = BufReader::new(File::open(folder.join(FILE)).unwrap());
    let mut values = Vec::with_capacity(labels().len() * WIDTH);
    let mut bytes = [0; 4];
    while values.len() < values.capacity() {
        file.read_exact(&mut bytes).unwrap();
        values.push(f32::from_le_bytes(bytes));
    }
    values
}

/// Options as in the recipes.
const OPTIONS: Options = Options { c: 0.1, weighting: Weighting::Balanced, standardise: true };

pub fn probe(folder: &Path) -> String {
    let (values, defects) = (read(folder), defects(&labels()));
    let features = Tensor::from_vec(values, (defects.len(), WIDTH), &Device::Cpu).unwrap();
    let (probe, c) = Probe::cross_validated(&features, &defects, None, OPTIONS).unwrap();
    let logits = probe.logits(&features).unwrap();
    let found = Detection::new(&logits, &defects).unwrap();
    format!("C {c}, {} steps, bias {:e}, AUROC {:.6}", probe.convergence.steps, probe.bias, found.auroc)
}

pub fn label_free(folder: &Path) -> String {
    let values = read(folder);
    let found = LabelFreeMetrics::compute(Rows::new(&values, WIDTH).unwrap(), &Seed::root(0)).unwrap();
    format!("RankMe {}, self-cluster {:e}", found.rankme, found.self_cluster)
}

/// Returns two slightly different logits of each image.
fn logits(labels: &[Labels]) -> [Vec<f64>; 2] {
    let mut stream = Seed::root(2).stream();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for labels in labels {
        let shown = stream.normal() + if labels.defect { 1.0 } else { -1.0 };
        first.push(shown);
        second.push(shown + 0.3 * stream.normal());
    }
    [first, second]
}

pub fn scores(_: &Path) -> String {
    let labels = labels();
    let [logits, _] = logits(&labels);
    let pool = Pool::new(&labels, &Seed::root(0));
    let mut areas = Vec::new();
    for share in [Share::NATURAL].into_iter().chain(Share::STUDY) {
        let subset = pool.subset(share).unwrap();
        let logits: Vec<f64> = subset.indices.iter().map(|&index| logits[index]).collect();
        let chosen: Vec<Labels> = subset.indices.iter().map(|&index| labels[index]).collect();
        let (truth, flagged) =
            (defects(&chosen), logits.iter().map(|logit| *logit > 0.0).collect::<Vec<_>>());
        let classes: Vec<ClassSet> = chosen.iter().map(|labels| labels.classes).collect();
        let found = Detection::new(&logits, &truth).unwrap();
        let rates =
            [true_positive_rate_at(&logits, &truth, 0.05), false_positive_rate_at(&logits, &truth, 0.95)];
        let f2 = [f2_ciw_oracle(&flagged, &classes), f2_ciw_multilabel_of_detector(&flagged, &classes)];
        assert!(rates.iter().all(Result::is_ok) && f2.iter().all(Result::is_ok));
        operating_points(&logits, &truth).unwrap();
        areas.push(format!("{:.4}", found.auroc));
    }
    format!("AUROC {}", areas.join(", "))
}

pub fn bootstrap(_: &Path) -> String {
    let labels = labels();
    let positions: Vec<f64> = (0..labels.len()).map(|position| position as f64).collect();
    let truth: Vec<f64> = defects(&labels).into_iter().map(|defect| f64::from(u8::from(defect))).collect();
    let columns = logits(&labels).map(|logits| {
        [("position", positions.clone()), ("defect", truth.clone()), ("converged", logits)]
            .map(|(name, values)| (name.to_owned(), values))
    });
    let found = auroc_difference(&columns[0], &columns[1]).unwrap();
    format!("{:.6} ({:.6} to {:.6})", found.estimate, found.low, found.high)
}

pub fn normals(folder: &Path) -> String {
    let (values, defects) = (read(folder), defects(&labels()));
    // Half of them, so that the stage takes minutes: the cost of distances is the number of images times that of
    // normal ones.
    let values = &values[..values.len() / 2 / WIDTH * WIDTH];
    let normals: Vec<usize> = (0..values.len() / WIDTH).filter(|&place| !defects[place]).collect();
    let found = detectors::detect_by_features(values, &normals, values, WIDTH).unwrap();
    let sums = found.iter().map(|found| format!("{} {:e}", found.name, found.logits.iter().sum::<f64>()));
    sums.collect::<Vec<_>>().join(", ")
}
