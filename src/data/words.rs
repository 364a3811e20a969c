//! Common words for the two labels and the two splits, in any case. The lists are ours, from layouts and tables of
//! data sets in the field (MVTec AD, VisA, elpv, exports of labelling tools).

/// Words for images without a defect.
pub const NORMAL: [&str; 12] = [
    "normal",
    "normals",
    "good",
    "ok",
    "negative",
    "no_defect",
    "non_defective",
    "nondefective",
    "defect_free",
    "0",
    "0.0",
    "false",
];

/// Words for images with a defect.
pub const DEFECT: [&str; 15] = [
    "defect",
    "defects",
    "defective",
    "bad",
    "ng",
    "not_ok",
    "nok",
    "positive",
    "abnormal",
    "anomaly",
    "anomalies",
    "anomalous",
    "1",
    "1.0",
    "true",
];

/// Words for training images.
pub const TRAIN: [&str; 2] = ["train", "training"];

/// Words for validation images, in order of preference: if there is a set for validation, a test set is reserved for
/// the final evaluation.
pub const VALIDATION: [&str; 6] = ["validation", "valid", "val", "dev", "test", "testing"];

/// Folders next to the image folders whose content is not to be classified, such as masks.
pub const BESIDE: [&str; 6] = ["ground_truth", "masks", "mask", "annotations", "labels", "meta"];

/// Whether a word means a defect; `None` if it is not a label.
pub fn is_defect(word: &str) -> Option<bool> {
    match (rank(word, &NORMAL), rank(word, &DEFECT)) {
        (Some(_), _) => Some(false),
        (_, Some(_)) => Some(true),
        _ => None,
    }
}

/// Whether a word means training images (true) or validation images; `None` if it is not a split.
pub fn is_train(word: &str) -> Option<bool> {
    match (rank(word, &TRAIN), rank(word, &VALIDATION)) {
        (Some(_), _) => Some(true),
        (_, Some(_)) => Some(false),
        _ => None,
    }
}

/// Position of a word in a list, ignoring case; `-` and spaces count as `_`.
pub fn rank(word: &str, list: &[&str]) -> Option<usize> {
    let word = word.trim().to_lowercase().replace(['-', ' '], "_");
    list.iter().position(|known| *known == word)
}

/// Whether a name is litter of other programs: a name that begins with a dot, or one that macOS, Windows, Linux or
/// a network storage uses, such as `Thumbs.db` and `lost+found`.
pub fn is_litter(name: &str) -> bool {
    name.starts_with('.')
        || ["__MACOSX", "@eaDir", "#recycle", "Thumbs.db", "desktop.ini", "lost+found"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_known_in_any_case() {
        for (word, expected) in [
            ("Normal", Some(false)),
            ("OK", Some(false)),
            ("False", Some(false)),
            ("defect-free", Some(false)),
            ("NG", Some(true)),
            ("Anomaly", Some(true)),
            (" 1.0", Some(true)),
            ("crack", None),
            ("", None),
        ] {
            assert_eq!(is_defect(word), expected, "{word}");
        }
        assert_eq!(
            [is_train("Train"), is_train("VAL"), is_train("holdout")],
            [Some(true), Some(false), None]
        );
        assert!(NORMAL.iter().all(|word| rank(word, &DEFECT).is_none()));
        assert!(rank("validation", &VALIDATION) < rank("test", &VALIDATION));
        assert!(is_litter("._a.png") && is_litter("@eaDir") && !is_litter("a._png"));
    }

    #[test]
    fn every_word_has_its_meaning() {
        for word in
            "normal normals good ok negative no_defect non_defective nondefective defect_free 0 0.0 false"
                .split(' ')
        {
            assert_eq!(is_defect(word), Some(false), "{word}");
        }
        let defects = "defect defects defective bad ng not_ok nok positive abnormal anomaly anomalies anomalous 1 1.0 true";
        for word in defects.split(' ') {
            assert_eq!(is_defect(&word.to_uppercase().replace('_', " ")), Some(true), "{word}");
        }
        assert_eq!(["train", "training"].map(is_train), [Some(true); 2]);
        let scored = ["validation", "valid", "val", "dev", "test", "testing"];
        assert_eq!(scored.map(is_train), [Some(false); 6]);
        assert_eq!(scored.map(|word| rank(word, &VALIDATION)), [0, 1, 2, 3, 4, 5].map(Some));
        assert_eq!(BESIDE, ["ground_truth", "masks", "mask", "annotations", "labels", "meta"]);
        for litter in
            [".DS_Store", "__MACOSX", "@eaDir", "#recycle", "Thumbs.db", "desktop.ini", "lost+found"]
        {
            assert!(is_litter(litter), "{litter}");
        }
    }
}
