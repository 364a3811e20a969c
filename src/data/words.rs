//! Words that people use for the two labels and the two splits, in any case of letters. Lists are ours, from layouts and
//! tables of data sets in the field (MVTec AD, VisA, elpv, exports of labelling tools).

/// Of images without a defect.
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

/// Of images with one.
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

/// Of images to train on.
pub const TRAIN: [&str; 2] = ["train", "training"];

/// Of images to score on, those to prefer where there are several first: what is called a test is kept for the end where
/// something else is there to choose on.
pub const VALIDATION: [&str; 6] = ["validation", "valid", "val", "dev", "test", "testing"];

/// Of folders beside those with images that hold no images to be classified.
pub const BESIDE: [&str; 6] = ["ground_truth", "masks", "mask", "annotations", "labels", "meta"];

/// Whether a word means a defect; none where it means neither.
pub fn defect(word: &str) -> Option<bool> {
    match (rank(word, &NORMAL), rank(word, &DEFECT)) {
        (Some(_), _) => Some(false),
        (_, Some(_)) => Some(true),
        _ => None,
    }
}

/// Whether a word means images to train on (true) or to score on; none where it means neither.
pub fn train(word: &str) -> Option<bool> {
    match (rank(word, &TRAIN), rank(word, &VALIDATION)) {
        (Some(_), _) => Some(true),
        (_, Some(_)) => Some(false),
        _ => None,
    }
}

/// Place of a word in a list, in any case of letters and with `-` or a space for `_`.
pub fn rank(word: &str, list: &[&str]) -> Option<usize> {
    let word = word.trim().to_lowercase().replace(['-', ' '], "_");
    list.iter().position(|known| *known == word)
}

/// What programs leave beside images: thumbnails, previews, copies of an editor, folders that begin with a dot.
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
            assert_eq!(defect(word), expected, "{word}");
        }
        assert_eq!([train("Train"), train("VAL"), train("holdout")], [Some(true), Some(false), None]);
        assert!(NORMAL.iter().all(|word| rank(word, &DEFECT).is_none()));
        assert!(rank("validation", &VALIDATION) < rank("test", &VALIDATION));
        assert!(is_litter("._a.png") && is_litter("@eaDir") && !is_litter("a._png"));
    }
}
