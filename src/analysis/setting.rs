//! Settings: which records may be compared with each other, and how one setting differs from another.
//!
//! A setting is named by scale, recipe and data source, and by its precision if that is mixed. If records with the
//! same name differ in data, image side or epochs, the difference becomes part of the name. If folders hold the same
//! cell with the same labels but different image files, each folder is a setting of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::Axes;
use crate::{
    results::{Record, record::Settings},
    study::Study,
};

/// A record with its axes and its results folder.
pub(super) type Placed<'a> = (&'a Path, &'a Axes, &'a Record);

/// The short part of a setting, which is always part of its name.
fn name(record: &Record) -> String {
    let Settings { scale, recipe, .. } = &record.settings;
    format!("{scale} scale, {recipe} recipe, {}", record.data.source)
}

/// Returns the first characters of a digest: enough to distinguish two data sets.
pub fn short_digest(digest: &str) -> &str {
    digest.get(..8).unwrap_or(digest)
}

/// The other parts of a setting; a part is `None` if the record's study varies it, or if it concerns training and
/// nothing was trained.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Detail {
    mixed_precision: Option<bool>,
    data: Option<String>,
    side: Option<String>,
    epochs: Option<String>,
}

impl Detail {
    fn of(cell: &Axes, record: &Record) -> Self {
        let value = |name: &str| record.settings.text(name).unwrap_or_else(|| "?".to_owned());
        let [train, validation] =
            [&record.data.train_digest, &record.data.validation_digest].map(|digest| short_digest(digest));
        let data = format!("data {train} {validation}, sample {}", value("sample"));
        // Table 2 varies the side and draws its synthetic images for the largest one; floors are not trained.
        let varies_side = matches!(cell.study, Study::Table2 { .. });
        let varies_data = varies_side && record.data.source == "synthetic";
        let is_floor = cell.study.is_floor();
        Self {
            mixed_precision: (!is_floor).then(|| record.settings.mixed_precision()),
            data: (!varies_data).then_some(data),
            side: (!varies_side).then(|| format!("{} px", value("side"))),
            epochs: (!varies_side && !is_floor).then(|| format!("{} epochs", value("epochs"))),
        }
    }

    fn parts(&self) -> [Option<&str>; 3] {
        [&self.data, &self.side, &self.epochs].map(Option::as_deref)
    }

    fn is_whole(&self) -> bool {
        self.mixed_precision.is_some() && self.parts().iter().all(Option::is_some)
    }

    /// Whether both agree in every part that both state.
    fn fits(&self, other: &Self) -> bool {
        let [own, others] = [self, other].map(|detail| detail.mixed_precision);
        (own.is_none() || others.is_none() || own == others)
            && self.parts().into_iter().zip(other.parts()).all(|(a, b)| a.is_none() || b.is_none() || a == b)
    }

    /// The text in a setting's name: mixed precision, and the parts in which `others` differ.
    fn text(&self, others: &BTreeSet<&Self>) -> String {
        let differs = |place: usize| {
            others.iter().filter_map(|other| other.parts()[place]).collect::<BTreeSet<_>>().len() > 1
        };
        let mixed = (self.mixed_precision == Some(true)).then_some("mixed precision");
        let parts = self.parts().into_iter().enumerate().filter(|(place, _)| differs(*place));
        mixed.into_iter().chain(parts.filter_map(|(_, part)| part)).map(|part| format!(", {part}")).collect()
    }
}

/// Returns the setting of each record, in the given order.
pub(super) fn names(found: &[Placed]) -> Vec<String> {
    let stated: Vec<(String, Detail)> =
        found.iter().map(|(_, cell, record)| (name(record), Detail::of(cell, record))).collect();
    let belongs = belongs(found, &stated);
    let mut details: BTreeMap<&str, BTreeSet<&Detail>> = BTreeMap::new();
    for (name, detail) in &belongs {
        details.entry(name).or_default().insert(detail);
    }
    let other_images = of_other_images(found, &belongs);
    let named = |(own, (folder, ..)): (&(String, Detail), &Placed)| {
        let (name, detail) = own;
        let detail = detail.text(&details[name.as_str()]);
        let images = match other_images.contains(own) {
            true => format!(", images of {}", folder.display()),
            false => String::new(),
        };
        format!("{name}{detail}{images}")
    };
    belongs.iter().zip(found).map(named).collect()
}

/// Completes each incomplete detail from the only complete one that fits it: in its own folder or, if none fits there,
/// in all folders. If several fit, it stays incomplete.
fn belongs(found: &[Placed], stated: &[(String, Detail)]) -> Vec<(String, Detail)> {
    let mut whole: BTreeMap<(Option<&Path>, &str), BTreeSet<&Detail>> = BTreeMap::new();
    for ((name, detail), (folder, ..)) in
        stated.iter().zip(found).filter(|((_, detail), _)| detail.is_whole())
    {
        for place in [Some(*folder), None] {
            whole.entry((place, name)).or_default().insert(detail);
        }
    }
    let fitting = |place: Option<&Path>, (name, detail): &(String, Detail)| -> Vec<&Detail> {
        let known = whole.get(&(place, name.as_str())).into_iter().flatten();
        known.copied().filter(|known| known.fits(detail)).collect()
    };
    let completed = |(own, (folder, ..)): (&(String, Detail), &Placed)| {
        let here = fitting(Some(*folder), own);
        match if here.is_empty() { fitting(None, own) } else { here }[..] {
            [only] => (own.0.clone(), only.clone()),
            _ => own.clone(),
        }
    };
    stated.iter().zip(found).map(completed).collect()
}

/// Settings in which two folders hold the same cell with the same labels but different image files.
fn of_other_images<'a>(found: &[Placed], settings: &'a [(String, Detail)]) -> BTreeSet<&'a (String, Detail)> {
    let mut contents: BTreeMap<_, BTreeMap<&Path, &str>> = BTreeMap::new();
    for ((folder, _, record), setting) in found.iter().zip(settings) {
        if let Some(content) = &record.data.content {
            contents.entry((setting, &record.cell.id)).or_default().insert(folder, content);
        }
    }
    let differ = |folders: &BTreeMap<&Path, &str>| folders.values().collect::<BTreeSet<_>>().len() > 1;
    contents.iter().filter(|(_, folders)| differ(folders)).map(|((setting, _), _)| *setting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::example;

    /// A record of a cell with this data, side and epochs.
    fn record(id: &str, study: &str, data: &str, numbers: (u64, u64)) -> Record {
        let mut record = example::record();
        record.cell.id = id.to_owned();
        record.cell.study = study.to_owned();
        record.data.source = "folder".to_owned();
        record.data.train_digest = data.repeat(16);
        record.settings.values.insert("side".to_owned(), numbers.0.into());
        record.settings.values.insert("epochs".to_owned(), numbers.1.into());
        if study == "random_weights" {
            record.cell.method = "none".to_owned();
        }
        record
    }

    fn settings(records: &[(&str, Record)]) -> Vec<String> {
        let axes: Vec<Axes> =
            records.iter().map(|(_, record)| Axes::from_record(&record.cell).unwrap()).collect();
        let records = records.iter().zip(&axes);
        let placed: Vec<Placed> =
            records.map(|((folder, record), axes)| (Path::new(*folder), axes, record)).collect();
        names(&placed)
    }

    #[test]
    fn floors_are_with_the_arms_of_their_data() {
        let of = |data: &str| {
            let arm = record("table1/a", "table1", data, (64, 5));
            [arm, record("random_weights/a", "random_weights", data, (64, 0))]
        };
        let [[arm_a, floor_a], [arm_b, floor_b]] = [of("a1b2"), of("c3d4")];
        let alone = settings(&[("a", arm_a.clone()), ("a", floor_a.clone())]);
        assert_eq!(alone, ["small scale, short recipe, folder"; 2]);
        assert!(!alone[0].contains("data"), "one data set needs no more words: {alone:?}");
        let both = settings(&[("a", arm_a), ("a", floor_a), ("b", arm_b), ("b", floor_b)]);
        assert_eq!((&both[0], &both[2]), (&both[1], &both[3]), "floors beside their arms");
        assert!(both[0].contains("data a1b2a1b2 ") && both[2].contains("data c3d4c3d4 "), "{both:?}");
        assert!(!both[0].contains("64 px"), "what all have tells nothing apart: {both:?}");
    }

    /// Floors train nothing, so they state no precision: they share the setting of the arms in their folder.
    #[test]
    fn floors_are_with_the_arms_of_their_folder_whatever_its_precision() {
        let of = |precision: &str| {
            let mut arm = record("table1/a", "table1", "a1b2", (64, 5));
            arm.settings.values.insert("precision".to_owned(), precision.into());
            [arm, record("random_weights/a", "random_weights", "a1b2", (64, 0))]
        };
        let [[arm_full, floor_full], [arm_mixed, floor_mixed]] = [of("f32"), of("bf16 with f32 weights")];
        let alone = settings(&[("b", arm_mixed.clone()), ("b", floor_mixed.clone())]);
        assert_eq!(alone, ["small scale, short recipe, folder, mixed precision"; 2]);
        let both = [("a", arm_full), ("a", floor_full), ("b", arm_mixed), ("b", floor_mixed)];
        let both = settings(&both);
        assert_eq!(both[..2], ["small scale, short recipe, folder"; 2]);
        assert_eq!(both[2..], ["small scale, short recipe, folder, mixed precision"; 2]);
    }

    #[test]
    fn what_fits_two_settings_is_in_neither() {
        let arm = |epochs| record(&format!("table1/{epochs}"), "table1", "a1b2", (64, epochs));
        let floor = record("random_weights/a", "random_weights", "a1b2", (64, 0));
        let found = settings(&[("a", arm(5)), ("a", arm(9)), ("a", floor)]);
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 3, "{found:?}");
        assert!(found[0].ends_with(", folder, 5 epochs") && found[2].ends_with(", folder"), "{found:?}");
    }

    #[test]
    fn the_same_labels_of_other_images_are_kept_apart_by_their_folders() {
        let with = |content: &str| {
            let mut record = record("table1/a", "table1", "a1b2", (64, 5));
            record.data.content = Some(content.to_owned());
            record
        };
        let same = settings(&[("x", with("1")), ("y", with("1"))]);
        assert_eq!(same[0], same[1]);
        let others = settings(&[("x", with("1")), ("y", with("2"))]);
        assert!(others[0].ends_with(", images of x") && others[1].ends_with(", images of y"), "{others:?}");
    }

    /// Table 2 varies the side and draws its images for the largest one, yet it belongs to the setting of the arms.
    /// Image files do not depend on the side, so different files are a different setting.
    #[test]
    fn table_2_is_with_the_arms_though_its_pictures_are_drawn_larger() {
        let of = |source: &str| {
            let mut arm = record("table1/a", "table1", "a1b2", (64, 5));
            let mut sized = record("table2/a", "table2", "c3d4", (128, 5));
            sized.cell.variant = Some("side128".to_owned());
            for record in [&mut arm, &mut sized] {
                record.data.source = source.to_owned();
            }
            settings(&[("a", arm), ("a", sized)])
        };
        let drawn = of("synthetic");
        assert_eq!(drawn[0], drawn[1]);
        let files = of("folder");
        assert_ne!(files[0], files[1]);
        // Arms with different sides, epochs or samples are separate settings, and the name states the difference.
        for (name, other, expected) in
            [("side", 96, "96 px"), ("epochs", 7, "7 epochs"), ("sample", 3, "sample 3")]
        {
            let mut second = record("table1/b", "table1", "a1b2", (64, 5));
            second.settings.values.insert(name.to_owned(), other.into());
            let found = settings(&[("a", record("table1/a", "table1", "a1b2", (64, 5))), ("a", second)]);
            assert!(found[0] != found[1] && found[1].contains(expected), "{name}: {found:?}");
        }
    }

    /// Each part of the detail tells settings apart, in this order: training and validation labels, sample, side,
    /// epochs.
    #[test]
    fn settings_that_differ_in_all_their_parts_state_all_of_them() {
        let of = |id: &str, train: &str, validation: &str, sample: &str, numbers: (u64, u64)| {
            let mut record = record(id, "table1", train, numbers);
            record.data.validation_digest = validation.repeat(3);
            record.settings.values.insert("sample".to_owned(), sample.into());
            record
        };
        let first = of("table1/a", "a1b2", "e5f6", "all", (64, 5));
        let second = of("table1/b", "c3d4", "0789", "half", (96, 7));
        let both = settings(&[("x", first.clone()), ("x", second)]);
        assert_eq!(
            both,
            [
                "small scale, short recipe, folder, data a1b2a1b2 e5f6e5f6, sample all, 64 px, 5 epochs",
                "small scale, short recipe, folder, data c3d4c3d4 07890789, sample half, 96 px, 7 epochs"
            ]
        );
        let third = of("table1/b", "a1b2", "0789", "all", (64, 5));
        let labels = settings(&[("x", first), ("x", third)]);
        assert_eq!(labels[0], "small scale, short recipe, folder, data a1b2a1b2 e5f6e5f6, sample all");
        assert_ne!(labels[0], labels[1], "validation labels alone are another setting");
    }

    #[test]
    fn a_name_says_scale_recipe_and_data() {
        let mut record = example::record();
        (record.settings.scale, record.settings.recipe) = ("full".to_owned(), "released".to_owned());
        record.data.source = "csv".to_owned();
        assert_eq!(name(&record), "full scale, released recipe, csv");
        assert_eq!([short_digest("0123456789"), short_digest("0123")], ["01234567", "0123"]);
    }

    /// A floor that lies in a folder of its own belongs to the only arms with its data, and is named after them; arms of
    /// other precision are not Table 2's.
    #[test]
    fn what_is_incomplete_is_completed_from_other_folders_and_its_own_precision() {
        let arm = |data: &str, epochs: u64| record("table1/a", "table1", data, (64, epochs));
        let floor = record("random_weights/a", "random_weights", "c3d4", (64, 0));
        let found = settings(&[("x", arm("a1b2", 5)), ("y", arm("c3d4", 9)), ("z", floor)]);
        assert_eq!(found[2], found[1]);
        assert!(found[2].ends_with(", 9 epochs") && found[2].contains("data c3d4c3d4"), "{found:?}");
        let with = |precision: &str, mut record: Record| {
            record.settings.values.insert("precision".to_owned(), precision.into());
            record
        };
        let mut sized = with("bf16 with f32 weights", record("table2/a", "table2", "a1b2", (128, 3)));
        sized.cell.variant = Some("side128".to_owned());
        let mut other = with("bf16 with f32 weights", arm("a1b2", 9));
        other.cell.id = "table1/b".to_owned();
        let found = settings(&[("x", with("f32", arm("a1b2", 5))), ("x", other), ("x", sized)]);
        assert_eq!(found[0], "small scale, short recipe, folder, 5 epochs");
        assert_eq!(found[1..], ["small scale, short recipe, folder, mixed precision, 9 epochs"; 2]);
    }

    /// Other cells may have other images, in one folder as in two; the cell that both folders hold has the same.
    #[test]
    fn images_are_compared_cell_by_cell() {
        let with = |id: &str, content: &str| {
            let mut record = record(id, "table1", "a1b2", (64, 5));
            record.data.content = Some(content.to_owned());
            record
        };
        let found = settings(&[
            ("x", with("table1/a", "1")),
            ("x", with("table1/b", "2")),
            ("y", with("table1/b", "2")),
            ("y", with("table1/c", "3")),
        ]);
        assert_eq!(found, ["small scale, short recipe, folder"; 4]);
    }
}
