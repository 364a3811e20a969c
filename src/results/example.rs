//! A record for unit tests.

use std::collections::BTreeMap;

use super::record::{CellAxes, Cost, Counts, Data, ProbeFit, Provenance, Record, SCHEMA, Score, Settings};

/// A record of one cell, without a curve or scores.
pub fn record() -> Record {
    Record {
        schema: SCHEMA,
        cell: CellAxes {
            id: "table1/simclr-resnet18-share05-seed0".into(),
            study: "table1".into(),
            method: "simclr".into(),
            backbone: "resnet18".into(),
            variant: None,
            train_share: Some(0.05),
            seed: 0,
        },
        fingerprint: "0123456789abcdef".into(),
        settings: Settings { scale: "small".into(), recipe: "short".into(), values: BTreeMap::new() },
        data: Data {
            source: "synthetic".into(),
            content: None,
            train_digest: String::new(),
            validation_digest: String::new(),
            train: Counts { normals: 95, defects: 5 },
            validation: Counts { normals: 50, defects: 50 },
            skipped: Vec::new(),
            limits: Vec::new(),
        },
        curve: Vec::new(),
        probe: ProbeFit { c: None, iterations: 7, gradient: 1e-12 },
        label_free: BTreeMap::new(),
        scores: Vec::new(),
        label_budgets: Vec::new(),
        pointing: None,
        pointing_patches: None,
        beside: BTreeMap::new(),
        cost: Cost {
            train_seconds: 1.0,
            evaluate_seconds: 0.5,
            images_per_second: 100.0,
            parts: BTreeMap::new(),
            resumed: 0,
        },
        provenance: Provenance {
            started_unix: 0,
            revision: "unknown".into(),
            code: Some("0123456789abcdef".into()),
            skewbench: "0.1.0".into(),
            crates: BTreeMap::new(),
            device: "cpu".into(),
            cpu: "unknown".into(),
            threads: 2,
            system: "linux x86_64".into(),
        },
    }
}

/// A score with round numbers.
pub fn score(classifier: &str, validation_share: Option<f64>) -> Score {
    Score {
        classifier: classifier.to_owned(),
        validation_share,
        normals: 50,
        defects: 50,
        f1: 0.5,
        f1_normal: 0.5,
        precision: 0.5,
        recall: 0.5,
        true_positive_rate: 0.5,
        false_positive_rate: 0.5,
        auroc: 0.5,
        auroc_error: None,
        tpr_at_fpr_5: None,
        fpr_at_tpr_95: None,
        recall_by_class: BTreeMap::new(),
        auroc_by_class: BTreeMap::new(),
        average_precision: 0.5,
        f2_ciw_oracle: None,
        f2_ciw_multilabel: None,
        operating_points: Vec::new(),
    }
}
