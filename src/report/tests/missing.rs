//! What each section says where nothing of its kind was measured.

use super::{told::plain_text, *};

/// Returns the text of a section.
fn section(page: &Page, wanted: &str) -> String {
    let sections = page.sections();
    let (.., body) = sections.into_iter().find(|(id, ..)| *id == wanted).expect(wanted);
    plain_text(&body.into_string())
}

#[test]
fn without_records_every_section_says_so() {
    let page = page(Vec::new());
    for (id, expected) in [
        (
            "decision",
            "Nothing was measured, so there is nothing to choose from: cargo xtask reproduce trains the models to choose from.",
        ),
        ("ranking", "No records."),
        (
            "explorer",
            "Not measured: these records have no true and false positive rates of a converged probe.",
        ),
        ("label_free", "No records."),
        ("budgets", "No records."),
        ("labels", "No records."),
        ("normals", "No records."),
        (
            "unseen",
            "Not measured in these records. To measure it: cargo xtask reproduce --study table1,unseen.",
        ),
        ("pointing", "No records."),
        (
            "pictures",
            "No example images: they are shown only for drawn images, and only if the logits are stored beside the records.",
        ),
    ] {
        assert_eq!(section(&page, id), expected, "{id}");
    }
    assert!(section(&page, "protocol").ends_with("\nNo records."));
    assert!(
        section(&page, "sources").starts_with("Cost\nThese records have no trained models.\nProvenance\n")
    );
    let verdicts = section(&page, "verdicts");
    assert!(!verdicts.contains("On our measurements") && !verdicts.contains("Ours:"), "{verdicts}");
    let table = section(&page, "table1");
    let is_ours = |line: &str| line.starts_with("ours") || line.contains("| ours |");
    assert!(!table.lines().any(is_ours) && !table.contains("Our scores"), "{table}");
    let banner = plain_text(&page.banner().into_string());
    assert_eq!(banner, "No records could be read, so the page shows only the paper's own numbers.");
}

/// One model with nothing but scores of the classifier in training.
fn single() -> Page {
    let mut record = record("table1", None, "simclr", 0, &[("in_training", scored(0.5, 0.5))]);
    record.data.source = "folder".to_owned();
    page(vec![record])
}

#[test]
fn without_a_converged_probe_nothing_can_be_chosen() {
    let page = single();
    let decision = section(&page, "decision");
    let lines: Vec<&str> = decision.lines().collect();
    let expected = [
        "The answer at a glance: AUROC of the converged probe, with 95 % intervals over seeds",
        "Defects in training | Best so far | AUROC | Random weights | No defect labelled | How sure",
        "[href #card-share05]5\u{a0}% | \u{2013} | \u{2013} | \u{2013} | \u{2013} | nothing was trained",
        "[id card-share05]",
        "Trained at 5 % defects",
        "At 5\u{a0}% defects: no trained model has an AUROC, so there is nothing to choose between.",
        "Missing: SimCLR on ResNet-18 has no AUROC of a converged probe; raw pixels not scored (--study floors --shares 5%).",
    ];
    assert_eq!(lines[..lines.len() - 1], expected);
}

#[test]
fn a_single_record_has_no_more_sections_than_it_measured() {
    let page = single();
    for (id, expected) in [
        (
            "ranking",
            "There is one seed per cell, so the spread over seeds is unknown and no ranking is given. --seeds 3 trains three seeds.",
        ),
        (
            "explorer",
            "Not measured: these records have no true and false positive rates of a converged probe.",
        ),
        (
            "budgets",
            "Not measured in these records. To measure it: cargo xtask reproduce --study table1,label_budgets.",
        ),
        (
            "labels",
            "Fine-tuning\n\
             Not measured in these records. To measure it: cargo xtask reproduce --study table1,fine_tuned.\n\
             Other ways for supervised training to deal with rare defects\n\
             Not measured in these records. To measure it: cargo xtask reproduce --study table1,remedies.",
        ),
        (
            "unseen",
            "Not measured in these records. To measure it: cargo xtask reproduce --study table1,unseen.",
        ),
        ("pointing", "Not measured in these records: they do not say where in the images the defects are."),
    ] {
        assert_eq!(section(&page, id), expected, "{id}");
    }
}

#[test]
fn tables_and_figures_that_were_not_measured_are_named() {
    let page = single();
    let protocol = section(&page, "protocol");
    let (_, below) = protocol.split_once("Figure 3: augmentation\n").unwrap();
    assert_eq!(
        below,
        "Not measured in these records. To measure it (35 cells): cargo xtask reproduce --study figure3.\n\
         The released code against a corrected version\n\
         Not measured in these records. To measure it: cargo xtask reproduce --study table1,ablations --shares 45%.\n\
         What a method must beat\n\
         Not measured in these records: AUROC of the converged probe minus that of random weights on the same backbone, by share \
         of defects in training.\n\
         Compared with raw pixels\n\
         Not measured in these records: AUROC of the converged probe minus that of raw pixels of the small image, by share of \
         defects in training."
    );
    let normals = section(&page, "normals");
    let detectors = ["5 nearest normal images", "Mahalanobis distance", "PatchCore", "PaDiM"];
    let missing: Vec<&str> = normals.lines().skip(1).collect();
    assert_eq!(missing.len(), 4, "{normals}");
    for (line, detector) in missing.iter().zip(detectors) {
        let begins = line.starts_with("Not measured in these records: AUROC of ");
        assert!(begins && line.contains(detector), "{detector}: {line}");
    }
}

#[test]
fn metrics_and_scores_that_were_not_measured_have_dashes_or_no_table() {
    let page = single();
    let label_free = scores::label_free(&page).into_string();
    assert!(label_free.contains("<p>No label-free metrics in these records, or too few models.</p>"));
    let dash = "\u{2013}".to_owned();
    let rows_of = |name: &str| [vec![name.to_owned()], vec![dash.clone(); 4]].concat();
    assert_eq!(
        rows(&label_free, "RankMe and F1: 95 % intervals"),
        ["RankMe as released", "RankMe as defined", "RankMe of features divided by its maximum"].map(rows_of)
    );
    // Only tables of what was scored are opened.
    let table = section(&page, "table1");
    for absent in ["TPR at 5 % FPR", "FPR at 95 % TPR", "nearest neighbours"] {
        assert!(!table.contains(absent), "{absent}: {table}");
    }
    assert!(table.contains(
        "Not measured in these records: AUROC of the converged probe by share of defects in training."
    ));
    assert!(
        section(&page, "sources").starts_with("Cost\n1 model, 0.0 hours of training and evaluation in all.")
    );
}
