use super::*;
use crate::support::alone::Standalone;

/// Committed records of drawn images and of photographs.
fn reading() -> Reading {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results");
    reading::read(&["2026-11-25-small-ablations", "2026-11-24-elpv"].map(|name| root.join(name)))
}

#[test]
fn a_page_shows_every_data_set() {
    let reading = reading();
    let records = reading.records.len();
    let page = page(reading, MARGIN);
    let sources: Vec<bool> = ["synthetic", "elpv"]
        .map(|name| page.parts().filter_map(Page::setting).any(|setting| setting.contains(name)))
        .to_vec();
    assert_eq!(sources, [true, true]);
    let shown: usize = page.parts().filter_map(Page::contents).map(|contents| contents.records).sum();
    let left_out: usize = page.left_out().iter().map(|contents| contents.records).sum();
    assert_eq!(shown + left_out, records, "every record is shown or named");
    for part in page.parts() {
        let folders = &part.contents().unwrap().folders;
        assert_eq!(folders.len(), 1, "commands are those of the part's own folder: {folders:?}");
    }
}

/// The next step of each part is a command with the flags and the folder of its own run.
#[test]
fn a_part_has_the_commands_of_its_own_records() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results");
    let names = ["2026-11-28-small-mixed-precision", "2026-11-29-elpv-choose"];
    let page = page(reading::read(&names.map(|name| root.join(name))), MARGIN);
    let commands: Vec<Vec<RecordedCommand>> = page.parts().map(made).collect();
    let of =
        |made: &[RecordedCommand]| made.iter().map(|made| made.command.clone()).collect::<Vec<_>>().concat();
    let flags = ["--mixed-precision", "--data elpv"];
    for (flag, other) in [(flags[0], flags[1]), (flags[1], flags[0])] {
        let own = commands.iter().position(|made| of(made).contains(flag)).unwrap();
        assert!(!of(&commands[own]).contains(other));
        let part = page.parts().nth(own).unwrap();
        let lines = card::lines(part.cards(), part.setting(), &commands[own]);
        let Decision(told) = decision(&page);
        let text = told.join("\n");
        assert!(!lines.is_empty() && text.contains(&lines.join("\n")), "{flag}: {text}");
    }
}

#[test]
fn a_setting_is_asked_for_by_a_part_of_its_name() {
    let photographs = select_setting(reading(), ", elpv").unwrap();
    assert!(!photographs.records.is_empty());
    assert!(photographs.records.iter().all(|filed| filed.record.data.source == "elpv"));
    let error = select_setting(reading(), "nowhere").err().unwrap().to_string();
    assert!(error.contains("found 'nowhere'") && error.contains("recipe, elpv"), "{error}");
}

/// Draws images, and writes the record of a method at 45 % whose probe has `logit` of each image's index.
fn kept(root: &Path, method: &str, logit: &dyn Fn(usize) -> f64) -> results::Record {
    kept_seed(root, (method, 0), logit)
}

fn kept_seed(root: &Path, (method, seed): (&str, u64), logit: &dyn Fn(usize) -> f64) -> results::Record {
    kept_cell(root, (method, "resnet18", seed), logit)
}

fn kept_cell(
    root: &Path,
    (method, backbone, seed): (&str, &str, u64),
    logit: &dyn Fn(usize) -> f64,
) -> results::Record {
    use skewbench::results::{Folder, Logits, logits::ValidationImage};
    let folder = Folder::open(root).unwrap();
    let drawn = drawn();
    let images: Vec<ValidationImage> =
        (0..60).rev().map(|place| ValidationImage::from_dataset(&*drawn, place)).collect();
    let converged = (0..60).rev().map(logit).collect();
    let logits = Logits { images, classifiers: vec![("converged".to_owned(), converged)] };
    let mut record = crate::support::committed::record("table1", method, seed);
    record.cell.id = record.cell.id.replace("resnet18", backbone);
    backbone.clone_into(&mut record.cell.backbone);
    record.beside.insert("logits".into(), folder.write_logits(&record.cell.id, &logits).unwrap());
    record.settings.values.insert("side".to_owned(), 32.into());
    (record.data.validation.normals, record.data.validation.defects) = (30, 30);
    record.data.validation_digest = drawn.digest();
    folder.write(&record).unwrap();
    record
}

fn drawn() -> Box<dyn Dataset> {
    data::synthetic::source(Seed::root(SYNTHETIC_SEED), 1, 60, 32).validation
}

/// The largest logits come first, separately for defects and normal images.
#[test]
fn pictures_are_picked_by_label_and_logit() {
    let root = tempfile::tempdir().unwrap();
    let labels: Vec<bool> = drawn().labels().iter().map(|labels| labels.defect).collect();
    // Every fifth defect is missed and every fifth normal image is flagged; all logits differ.
    let logit = |place: usize| {
        let called = labels[place] != place.is_multiple_of(5);
        (1.0 + place as f64) * if called { 1.0 } else { -1.0 }
    };
    let mut record = kept(root.path(), "simclr", &logit);
    let found = examples(&reading::read(&[root.path().to_owned()])).expect("pictures");
    let expected = |defect: bool, called: bool| {
        let of = (0..60).filter(|&place| labels[place] == defect && (logit(place) > 0.0) == called);
        let mut of: Vec<f64> = of.map(logit).collect();
        of.sort_by(|a, b| b.abs().total_cmp(&a.abs()));
        of.truncate(PICTURES);
        of
    };
    let told = |list: &[Example]| list.iter().map(|example| example.logit).collect::<Vec<_>>();
    assert_eq!(told(&found.hits), expected(true, true));
    assert_eq!(told(&found.misses), expected(true, false));
    assert_eq!(told(&found.false_alarms), expected(false, true));
    assert_eq!(told(&found.passed), expected(false, false));
    assert!(found.hits.iter().all(|example| example.shows != "normal"));
    assert!(found.false_alarms.iter().all(|example| example.shows == "normal"));
    // Images that are not the record's would be worse than none.
    record.data.validation_digest = "0".repeat(64);
    let folder = results::Folder::open(root.path()).unwrap();
    std::fs::remove_file(folder.record_path(&record.cell.id)).unwrap();
    folder.write(&record).unwrap();
    assert!(examples(&reading::read(&[root.path().to_owned()])).is_none());
}

/// One model separates perfectly, the other ranks in exactly the reverse order: their AUROCs differ by 1 - 0,
/// whatever images are drawn.
#[test]
fn models_are_compared_with_the_supervised_one_on_the_same_images() {
    let root = tempfile::tempdir().unwrap();
    let labels: Vec<bool> = drawn().labels().iter().map(|labels| labels.defect).collect();
    let right = |place: usize| if labels[place] { 1.0 + place as f64 } else { -1.0 - place as f64 };
    kept(root.path(), "simclr", &right);
    let found = || on_images(&reading::read(&[root.path().to_owned()]));
    assert!(found().is_empty(), "there is no supervised one");
    kept(root.path(), "supervised", &|place| -right(place));
    let found = found();
    let [one] = &found[..] else { panic!("{} comparisons", found.len()) };
    assert_eq!((one.method, one.backbone), (method::Name::SimClr, backbone::Name::ResNet18));
    assert_eq!(one.share, data::Share::percent(45));
    let difference = one.difference;
    assert_eq!([difference.low, difference.estimate, difference.high], [1.0; 3]);
    // Another seed's model is no counterpart of the supervised one; two models of the first seed are.
    kept_seed(root.path(), ("byol", 1), &right);
    assert_eq!(on_images(&reading::read(&[root.path().to_owned()])).len(), 1);
    kept(root.path(), "dino", &|place| -right(place));
    let found = on_images(&reading::read(&[root.path().to_owned()]));
    let mut told: Vec<_> = found.iter().map(|one| (one.difference.estimate, one.method)).collect();
    told.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert_eq!(told, [(0.0, method::Name::Dino), (1.0, method::Name::SimClr)]);
}

/// What lies beside a record of the same cell is reported once, if it belongs to another record; a missing file is
/// not reported.
#[test]
fn logits_of_another_record_are_left_out_and_told_once() {
    use crate::support::print::captured;
    let root = tempfile::tempdir().unwrap();
    let record = kept(root.path(), "simclr", &|place| place as f64);
    let folder = results::Folder::open(root.path()).unwrap();
    let read = || reading::read(&[root.path().to_owned()]);
    let file = Part::Logits.path_beside(&folder.record_path(&record.cell.id));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("1,", "0,", 1)).unwrap();
    let (reading, mut found) = (read(), Vec::new());
    let told = captured::errors(|| found.extend((0..3).map(|_| columns(&reading.records[0]).is_some())));
    assert_eq!(found, [false; 3]);
    assert!(told.starts_with("left out: ") && told.contains("simclr-resnet18-share45-seed0"), "{told}");
    assert_eq!(told.matches("left out: ").count(), 1, "{told}");
    std::fs::remove_file(&file).unwrap();
    let other = kept(root.path(), "byol", &|place| place as f64);
    std::fs::remove_file(Part::Logits.path_beside(&folder.record_path(&other.cell.id))).unwrap();
    let reading = read();
    assert_eq!(captured::errors(|| assert!(reading.records.iter().all(|one| columns(one).is_none()))), "");
}

/// Every flag of the command together: a setting, a margin, the page, figures and two documents.
#[test]
fn a_report_does_all_that_its_flags_ask_for() {
    use clap::Parser;

    use crate::support::print::captured;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results");
    let folders = ["2026-11-25-small-ablations", "2026-11-24-elpv"];
    let folders = folders.map(|name| results.join(name).display().to_string());
    let (out, figures, documents) = (path("x.html"), path("f"), ["a.md", "b.md"].map(path));
    for document in &documents {
        std::fs::write(document, "<!-- begin card: c -->\nold\n<!-- end card -->\n").unwrap();
    }
    let [first, second] = &documents;
    let flags = ["--setting", ", elpv", "--margin", "0.125", "--out", &out, "--figures", &figures];
    let flags = [&[folders[0].as_str(), &folders[1]][..], &flags, &["--splice", first, "--splice", second]];
    let arguments = Standalone::<Arguments>::parse_from(flags.concat()).arguments;
    let told = captured::output(|| run(&arguments).unwrap());
    let expected = page(select_setting(reading(), ", elpv").unwrap(), 0.125);
    assert!(std::fs::read_to_string(&out).unwrap() == expected.html());
    let mut lines: Vec<String> = Vec::new();
    for theme in Theme::ALL {
        for (name, svg) in expected.pictures(theme) {
            let file = format!("{figures}/{name}-{theme}.svg");
            assert!(std::fs::read_to_string(&file).unwrap() == svg, "{file}");
            lines.push(format!("figure  {file}"));
        }
    }
    let of = expected.setting().filter(|_| expected.parts().count() > 1);
    let of = of.map_or_else(String::new, |of| format!(" (of {of} alone)"));
    for document in &documents {
        let text = std::fs::read_to_string(document).unwrap();
        assert!(text.contains(&expected.cards()[0].sentence()) && !text.contains("old"), "{text}");
        lines.push(format!("tables  {document}{of}"));
    }
    let found: Vec<&str> =
        told.lines().filter(|line| line.starts_with("figure  ") || line.starts_with("tables  ")).collect();
    assert_eq!(found, lines);
    let conclusion = captured::output(|| decision(&expected).print());
    assert!(told.starts_with(&format!("report  {out} (")) && told.ends_with(&conclusion), "{told}");
}

/// Eight data sets: six parts, the others are named with the flag that shows them.
#[test]
fn settings_beyond_the_last_part_are_named() {
    use skewbench::results::Folder;

    use crate::support::print::captured;
    let root = tempfile::tempdir().unwrap();
    for set in 0..=MOST_PARTS + 1 {
        let folder = Folder::open(&root.path().join(format!("folder{set}"))).unwrap();
        // The first data sets have more records.
        for seed in 0..=(MOST_PARTS + 1 - set) as u64 {
            let mut record = crate::support::committed::record("table1", "simclr", seed);
            record.data.train_digest = format!("{set}{}", &record.data.train_digest[1..]);
            record.data.validation_digest = format!("{set}{}", &record.data.validation_digest[1..]);
            folder.write(&record).unwrap();
        }
    }
    let folders = (0..=MOST_PARTS + 1).map(|set| root.path().join(format!("folder{set}")));
    let page = page(reading::read(&folders.collect::<Vec<_>>()), MARGIN);
    let out = root.path().join("x.html");
    let told = captured::output(|| drop(write_page(&page, &out).unwrap()));
    let left: Vec<usize> = page.left_out().iter().map(|contents| contents.records).collect();
    assert_eq!((left, page.parts().count()), (vec![2, 1], MOST_PARTS));
    let expected: Vec<String> = page
        .left_out()
        .iter()
        .flat_map(|left| {
            let shown = format!("          {}", program::as_typed(&left.how_to_show()));
            assert!(shown.contains("--setting "), "{shown}");
            [format!("        not on the page: {}", left.sentence()), shown]
        })
        .collect();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[2 + MOST_PARTS..], expected, "{told}");
}

/// Tables in a document are those of the first part, which the output says.
#[test]
fn tables_of_one_part_say_of_which() {
    use crate::support::print::captured;
    let page = page(reading(), MARGIN);
    let folder = tempfile::tempdir().unwrap();
    let document = folder.path().join("x.md");
    std::fs::write(&document, "<!-- begin card: c -->\n<!-- end card -->\n").unwrap();
    let told = captured::output(|| splice(&page, &document).unwrap());
    assert_eq!(told, format!("tables  {} (of {} alone)\n", document.display(), page.setting().unwrap()));
    let error = splice(&page, Path::new("/nowhere/x.md")).unwrap_err().to_string();
    assert_eq!(error, "/nowhere/x.md: cannot be read");
}

#[test]
fn margins_figures_and_tables_are_those_that_were_asked_for() {
    let page = page(reading(), 0.125);
    assert!(page.html().contains("known to be smaller than 0.125."), "the margin");
    let folder = tempfile::tempdir().unwrap();
    figures(&page, &folder.path().join("new")).unwrap();
    for theme in ["light", "dark"] {
        let file = folder.path().join(format!("new/auroc-{theme}.svg"));
        let svg = std::fs::read_to_string(file).unwrap();
        let expected = page.pictures(theme.parse().unwrap());
        assert!(svg.starts_with("<svg ") && svg == expected[0].1, "{theme}");
    }
    let document = folder.path().join("x.md");
    std::fs::write(&document, "a\n<!-- begin card: c -->\nold\n<!-- end card -->\nb\n").unwrap();
    splice(&page, &document).unwrap();
    let text = std::fs::read_to_string(&document).unwrap();
    assert!(text.contains(&page.cards()[0].sentence()) && !text.contains("old"), "{text}");
    std::fs::write(&document, "no place").unwrap();
    assert!(format!("{:#}", splice(&page, &document).unwrap_err()).contains("x.md"), "the file is named");
}

/// If one setting's name contains another's, a whole name selects only the setting of that name.
#[test]
fn a_whole_name_of_a_setting_is_that_setting_alone() {
    let all = reading();
    let names: Vec<String> = setting_summaries(&all).into_iter().map(|contents| contents.setting).collect();
    let name = &names[0];
    let chosen = select_setting(reading(), name).unwrap();
    assert!(chosen.records.iter().all(|filed| filed.setting == *name));
    let expected = all.records.iter().filter(|filed| filed.setting == *name).count();
    assert_eq!(chosen.records.len(), expected);
    let some = select_setting(reading(), &name[..name.len() - 1]).unwrap();
    assert!(some.records.len() >= expected);
    assert_eq!(chosen.problems.len(), all.problems.len(), "what cannot be read is told in any case");
}

#[test]
fn a_page_is_written_and_its_parts_are_told() {
    use crate::support::print::captured;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("x.html");
    let page = page(reading(), MARGIN);
    let mut decision = Decision(Vec::new());
    let told = captured::output(|| decision = write_page(&page, &out).unwrap());
    assert_eq!(std::fs::read_to_string(&out).unwrap(), page.html());
    let problems = page.reading().problems.len();
    let noted = match problems {
        0 => String::new(),
        1 => ", 1 thing to know about them".to_owned(),
        _ => format!(", {problems} things to know about them"),
    };
    let first = format!("report  {} ({} records{noted})", out.display(), page.reading().records.len());
    let mut expected = vec![first];
    let parts: Vec<_> = page.parts().filter_map(Page::contents).collect();
    assert!(parts.len() > 1);
    expected.push(
        "        records of several settings, each in its own part; scores of different settings are not compared:"
            .to_owned(),
    );
    expected.extend(
        (1..).zip(&parts).map(|(number, part)| format!("        part {number}: {}", part.sentence())),
    );
    for contents in page.left_out() {
        expected.push(format!("        not on the page: {}", contents.sentence()));
        expected.push(format!("          {}", program::as_typed(&contents.how_to_show())));
    }
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
    // All parts' cards are printed, one below the other.
    let text = captured::output(|| decision.print());
    let heads: Vec<&str> = text.lines().filter(|line| line.starts_with("What to take (")).collect();
    let cards = page.parts().filter(|part| !part.cards().is_empty()).count();
    assert!(cards > 0 && heads.len() == cards, "{text}");
    assert_eq!(captured::output(|| Decision(Vec::new()).print()), "");
}

#[test]
fn what_cannot_be_shown_is_refused() {
    use clap::Parser;
    let error =
        |flags: &[&str]| run(&Standalone::<Arguments>::parse_from(flags).arguments).unwrap_err().to_string();
    assert_eq!(error(&["/nowhere"]), "/nowhere: no such folder");
    for margin in ["--margin=-0.1", "--margin=inf", "--margin=NaN"] {
        assert!(
            error(&[margin]).starts_with("--margin must be a difference of scores, 0 or more"),
            "{margin}"
        );
    }
}

/// BYOL's record comes first in the folder, but images are those of SimCLR on ResNet-18, if its record exists.
#[test]
fn pictures_are_those_of_simclr_with_the_first_seed() {
    let root = tempfile::tempdir().unwrap();
    for method in ["byol", "simclr", "supervised"] {
        kept(root.path(), method, &|place| place as f64 - 30.0);
    }
    let found = examples(&reading::read(&[root.path().to_owned()])).unwrap();
    assert_eq!(found.cell, "table1/simclr-resnet18-share45-seed0");
    let folder = results::Folder::open(root.path()).unwrap();
    std::fs::remove_file(folder.record_path(&found.cell)).unwrap();
    let found = examples(&reading::read(&[root.path().to_owned()])).unwrap();
    assert_eq!(found.cell, "table1/byol-resnet18-share45-seed0", "otherwise of the first that has any");
}

/// An example is the data set's image, byte for byte, with its classes and logit.
#[test]
fn an_example_is_its_picture_with_its_classes() {
    let drawn = drawn();
    let labels = drawn.labels();
    let defect = labels.iter().position(|labels| labels.classes.iter().count() > 0 && labels.defect).unwrap();
    let normal = labels.iter().position(|labels| !labels.defect).unwrap();
    let shown = example(&*drawn, defect, 1.5).unwrap();
    let codes: Vec<&str> = labels[defect].classes.iter().map(|class| class.code()).collect();
    assert_eq!((shown.shows, shown.logit), (codes.join("+"), 1.5));
    let png = STANDARD.decode(shown.uri.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
    let found = image::load_from_memory(&png).unwrap().into_rgb8();
    assert!(found.into_raw() == drawn.open(defect).unwrap().pixels);
    assert_eq!(example(&*drawn, normal, -1.0).unwrap().shows, "normal");
}

/// The supervised model on ViT ranks perfectly, that on ResNet-18 in reverse order, as does SimCLR on ViT.
#[test]
fn models_are_compared_with_the_supervised_one_on_their_own_backbone() {
    let root = tempfile::tempdir().unwrap();
    let labels: Vec<bool> = drawn().labels().iter().map(|labels| labels.defect).collect();
    let right = |place: usize| if labels[place] { 1.0 + place as f64 } else { -1.0 - place as f64 };
    let wrong = |place: usize| -right(place);
    kept_cell(root.path(), ("supervised", "vit_tiny", 0), &right);
    kept_cell(root.path(), ("supervised", "resnet18", 0), &wrong);
    kept_cell(root.path(), ("simclr", "vit_tiny", 0), &wrong);
    kept_cell(root.path(), ("byol", "resnet18", 0), &right);
    let found = on_images(&reading::read(&[root.path().to_owned()]));
    let told: Vec<_> = found.iter().map(|one| (one.method, one.backbone, one.difference.estimate)).collect();
    let expected = [
        (method::Name::Byol, backbone::Name::ResNet18, 1.0),
        (method::Name::SimClr, backbone::Name::ViTTiny, -1.0),
    ];
    assert_eq!(told, expected);
}

/// The page that a run writes, at its end or meanwhile, is that of `report` without flags. This test's own program
/// does not know the verb, so the page is written by this process.
#[test]
fn the_page_of_a_run_decides_by_the_usual_margin() {
    use crate::support::print::captured;
    let folder = tempfile::tempdir().unwrap();
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/2026-11-25-small-ablations");
    let html = |margin| page(reading::read(std::slice::from_ref(&results)), margin).html();
    let expected = html(0.02);
    assert!(expected != html(0.0), "the margin is on the page");
    let [last, meanwhile] = ["last.html", "meanwhile.html"].map(|name| folder.path().join(name));
    let told = captured::output(|| write(std::slice::from_ref(&results), &last).unwrap().print());
    assert!(told.starts_with(&format!("report  {} (", last.display())), "{told}");
    renew(&results, &meanwhile).unwrap();
    for path in [last, meanwhile] {
        assert!(std::fs::read_to_string(&path).unwrap() == expected, "{}", path.display());
    }
}

/// Two folders of one setting, made by two commands.
#[test]
fn a_page_of_several_folders_has_the_commands_of_all() {
    use skewbench::{candle_core::Device, results::provenance, results::record::Run};
    let root = tempfile::tempdir().unwrap();
    let folders = [("a", 0), ("b", 1)].map(|(name, seed)| {
        let path = root.path().join(name);
        let folder = results::Folder::open(&path).unwrap();
        let record = crate::support::committed::record("table1", "simclr", seed);
        folder.write(&record).unwrap();
        let provenance = provenance::collect(&Device::Cpu);
        let command = format!("skewbench reproduce --out {name}");
        folder.note_run(Run { command, provenance, times: 1, cells: vec![(record.cell.id, 7)] }).unwrap();
        path
    });
    let page = page(reading::read(&folders), MARGIN);
    assert_eq!(page.parts().count(), 1);
    let told: Vec<(String, Vec<String>)> =
        made(&page).into_iter().map(|made| (made.command, made.cells)).collect();
    let cell = |seed: u64| vec![format!("table1/simclr-resnet18-share45-seed{seed}")];
    let expected = [("a", cell(0)), ("b", cell(1))]
        .map(|(name, cells)| (format!("skewbench reproduce --out {name}"), cells));
    assert_eq!(told, expected);
}

/// The name of one setting begins like that of the other.
#[test]
fn a_whole_name_does_not_take_longer_names_along() {
    let root = tempfile::tempdir().unwrap();
    let folder = results::Folder::open(root.path()).unwrap();
    for (seed, source) in [(0, "folder"), (1, "folder2"), (2, "folder2")] {
        let mut record = crate::support::committed::record("table1", "simclr", seed);
        source.clone_into(&mut record.data.source);
        folder.write(&record).unwrap();
    }
    let read = || reading::read(&[root.path().to_owned()]);
    let names: BTreeSet<String> = read().records.iter().map(|filed| filed.setting.clone()).collect();
    let [short, long] = &names.iter().collect::<Vec<_>>()[..] else { panic!("{names:?}") };
    assert!(long.contains(short.as_str()), "{names:?}");
    let count = |text: &str| select_setting(read(), text).unwrap().records.len();
    assert_eq!([count(short), count(long), count("folder"), count(&short[1..])], [1, 2, 3, 3]);
}
