//! The report as a reader sees it: its tables from committed records, in a real browser, and from damaged or mixed
//! folders.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use skewbench::{
    analysis::{
        Axes, Measure, Scored,
        frame::FrameBuilder,
        reading::{self, Reading},
    },
    backbone,
    claims::{self, Evidence},
    data::Share,
    method,
    report::{self, Page, figure::Theme, markdown},
    results::{Classifier, Metric},
    seed::Seed,
    study::{Ablation, Study},
};

use crate::{check, skip::Tool};

/// Committed records that these tests read: they are never changed.
const COMMITTED: &str = "results/2026-11-25-small-ablations";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(folders: &[&str]) -> Reading {
    reading::read(&folders.iter().map(|folder| root().join(folder)).collect::<Vec<_>>())
}

#[test]
fn claims_and_tables_of_committed_records() {
    let page = Page::new(read(&[COMMITTED]), None);
    let tables = markdown::tables(&page);
    let mut text: String = tables.into_iter().map(|(name, table)| format!("# {name}\n\n{table}\n")).collect();
    text.push_str("# evidence of the paper's own numbers\n\n");
    let paper = claims::paper();
    for claim in claims::all() {
        let finding = claim.judge(&paper);
        text.push_str(&format!("{}: {}\n", claim.id, finding.verdict.id()));
        finding.evidence.iter().take(3).for_each(|line| text.push_str(&format!("  {line}\n")));
        finding.missing.iter().take(1).for_each(|line| text.push_str(&format!("  not measured: {line}\n")));
    }
    check::assert_text("page", &text);
}

/// Tables and figures in documents equal the output of the command beside them.
#[test]
fn documents_say_what_records_say() {
    let documents =
        ["README.md", "results/README.md"].map(|name| (name, fs::read_to_string(root().join(name)).unwrap()));
    let mark = "<!-- begin card: ";
    let command = documents[0].1.split(mark).nth(1).expect(mark).split(" -->").next().unwrap();
    let folders: Vec<&str> = command.split(' ').filter(|word| word.starts_with("results/20")).collect();
    assert!(!folders.is_empty(), "no results folder in '{command}'");
    let page = Page::new(read(&folders), None);
    let tables = markdown::tables(&page);
    for ((name, document), places) in documents.iter().zip([1, 3]) {
        assert_eq!(
            document.matches(&format!(": {command} -->")).count(),
            places,
            "one command fills all places"
        );
        assert!(command.contains(&format!("--splice {name}")), "{command}");
        assert!(markdown::splice(document, &tables).unwrap() == *document, "{name} is behind: run {command}");
    }
    let folder = command.split("--figures ").nth(1).expect("where figures are").split(' ').next().unwrap();
    for theme in Theme::ALL {
        for (name, picture) in page.pictures(theme) {
            let file = format!("{folder}/{name}-{theme}.svg");
            assert!(documents[0].1.contains(&file), "README.md does not show {file}");
            let written = fs::read_to_string(root().join(&file)).unwrap_or_default();
            assert!(written == picture, "{file} is behind: run {command}");
        }
    }
}

/// Returns every trained cell, with two seeds and all measurements that claims ask for, under their names.
fn full_frame() -> FrameBuilder {
    let mut rows = FrameBuilder::default();
    let mut stream = Seed::root(0).stream();
    let mut add = |at: Scored| {
        for seed in 0..2 {
            rows.begin("full", at, Some(seed));
            for metric in Metric::ALL {
                rows.number(metric, Some(0.5 + 0.05 * stream.normal()));
            }
            for measure in Measure::KNOWN {
                rows.number(measure, Some(100.0 + stream.normal()));
            }
        }
    };
    let natural = |study| {
        Axes::table_1(method::Name::Supervised, backbone::Name::ResNet18, Share::NATURAL).in_study(study)
    };
    for backbone in backbone::Name::STUDY {
        for method in method::Name::PAPER.into_iter().filter(|method| method.undefined_on(backbone).is_none())
        {
            for share in Share::STUDY {
                let cell = Axes::table_1(method, backbone, share);
                let ablations = Ablation::ALL.map(|ablation| cell.in_study(Study::Ablation(ablation)));
                for cell in ablations.into_iter().chain([cell]) {
                    // The classifiers that claims ask for.
                    for classifier in
                        [Classifier::InTraining, Classifier::InTrainingAugmented, Classifier::Converged]
                    {
                        for validation in Share::STUDY.into_iter().chain([Share::NATURAL]) {
                            add(Scored { cell, classifier, validation });
                        }
                    }
                }
            }
        }
        for side in Study::SIDES {
            let cell = natural(Study::Table2 { side });
            let cell = Axes { backbone: Some(backbone), ..cell };
            add(cell.in_training());
            add(cell.converged());
        }
    }
    for (jitter, crop) in [(100, 500), (800, 80)] {
        let cell = natural(Study::Figure3 { jitter, crop });
        add(cell.in_training());
        add(cell.converged());
    }
    rows
}

/// A claim that misspells a measurement would always be `not measured`.
#[test]
fn every_claim_can_be_decided_on_a_full_frame() {
    let evidence = Evidence::measured("full", &full_frame().frame());
    let judged = |claim: &'static claims::Claim| {
        claim.judge_all(&evidence).into_iter().map(move |(yardstick, finding)| (claim.id, yardstick, finding))
    };
    for (claim, yardstick, finding) in claims::all().into_iter().flat_map(judged) {
        // Impossible printed numbers are only looked for in the paper.
        let missing =
            finding.missing.iter().filter(|missing| !missing.contains("the paper's own numbers only"));
        assert_eq!(missing.collect::<Vec<_>>(), [&""; 0], "{claim} by {yardstick}");
        assert!(
            finding.missing.len() == 1 || !finding.evidence.is_empty(),
            "{claim} by {yardstick}: nothing was compared"
        );
    }
}

/// The names that claims, tables and figures ask for exist in records.
#[test]
fn every_known_measure_is_in_committed_records() {
    let measures = read(&["results/2026-11-25-small-study"]).frame.measures();
    // Groups of images exist only in users' data; no committed record has any.
    let known = Measure::KNOWN.into_iter().filter(|measure| *measure != Measure::AUROC_ERROR);
    // The committed study is older than these scores.
    let newer = [Metric::TprAtFpr5, Metric::FprAtTpr95];
    let scores = Metric::ALL.into_iter().filter(|metric| !newer.contains(metric));
    let asked = known.chain(scores.map(Measure::from));
    let absent: Vec<Measure> = asked.filter(|measure| !measures.contains(measure)).collect();
    assert_eq!(absent, []);
}

/// SimSiam is a file, a variant and its recipe lines: a page from its records shows it wherever methods are shown.
#[test]
fn another_method_is_in_table_ranking_figures_and_explorer() {
    // Records of a run in which only the method's name is SimSiam's.
    let folder = tempfile::tempdir().unwrap();
    let study = root().join("results/2026-11-25-small-study");
    let files = ["table1", "random_weights"].map(|name| fs::read_dir(study.join(name)).unwrap());
    for entry in files.into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_some_and(|end| end == "json") && name.contains("resnet18") {
            fs::copy(&path, folder.path().join(&name)).unwrap();
            if let Some(rest) = name.strip_prefix("simclr") {
                let text = fs::read_to_string(&path).unwrap().replace("\"simclr\"", "\"simsiam\"");
                let text = text.replace("table1/simclr-", "table1/simsiam-");
                fs::write(folder.path().join(format!("simsiam{rest}")), text).unwrap();
            }
        }
    }
    let reading = reading::read(&[folder.path().to_owned()]);
    let own = reading.records.iter().filter(|filed| filed.cell.method == Some(method::Name::SimSiam)).count();
    assert_eq!(own, 15, "five shares, three seeds: {:?}", reading.problems);
    let page = Page::new(reading, None);
    let html = page.html();
    let section = |id: &str| {
        let begin = html.find(&format!("<section id=\"{id}\"")).unwrap_or_else(|| panic!("no section {id}"));
        &html[begin..begin + html[begin..].find("</section>").unwrap()]
    };
    let simsiam = method::Name::SimSiam;
    for id in ["decision", "table1", "ranking", "explorer", "imbalance", "label_free", "protocol", "sources"]
    {
        assert!(section(id).contains(simsiam.label()), "{id} shows no SimSiam");
    }
    for id in ["decision", "ranking", "label_free"] {
        assert!(
            section(id).contains(&format!("d=\"{}\"", simsiam.marker())),
            "{id} has no marker of SimSiam's"
        );
    }
    for id in ["decision", "table1", "ranking", "label_free", "protocol"] {
        assert!(section(id).contains(simsiam.colour()), "{id} has nothing in SimSiam's colour");
    }
    assert!(section("explorer").contains("\"method\":\"SimSiam\""), "the explorer's data");
    // The paper has no number for it, and claims about the paper's methods exclude it.
    let rows = section("table1").split("SimSiam").nth(1).unwrap();
    assert!(rows.split("</tr>").next().unwrap().contains("<td>ours</td>"), "one row, ours");
    for (name, table) in markdown::tables(&page) {
        assert_eq!(table.contains("| SimSiam |"), ["table1", "auroc"].contains(&name), "{name}");
    }
    assert!(!section("verdicts").contains("simsiam"));
}

/// A run at the natural share, or at any other share that the paper lacks, is shown wherever the paper's shares
/// would be.
#[test]
fn a_share_that_the_paper_lacks_is_on_the_whole_page() {
    let page = Page::new(read(&["results/2026-11-24-elpv/extension"]), None);
    let [card] = page.cards() else { panic!("one share, one card") };
    assert!(card.sentence().starts_with("At the data's own share of defects: "), "{}", card.sentence());
    let html = page.html();
    let section = |id: &str| {
        let begin = html.find(&format!("<section id=\"{id}\"")).unwrap_or_else(|| panic!("no section {id}"));
        &html[begin..begin + html[begin..].find("</section>").unwrap()]
    };
    assert!(html.find("id=\"decision\"") < html.find("id=\"verdicts\""), "the card comes first");
    for id in ["decision", "table1", "ranking", "explorer", "sources"] {
        assert!(section(id).contains(method::Name::SimClr.label()), "{id} shows no SimCLR");
    }
    for id in ["table1", "ranking", "explorer"] {
        assert!(section(id).contains("natural"), "{id} does not name the share");
    }
    assert!(section("explorer").contains("\"train\":\"natural\""), "the explorer's data");
    for text in ["no trained models", "one seed per cell", "no true and false positive rates"] {
        assert!(!html.contains(text), "the page says '{text}'");
    }
    for (name, table) in markdown::tables(&page) {
        assert_eq!(table.contains(" natural |"), ["table1", "auroc"].contains(&name), "{name}: {table}");
    }
}

/// Copies some committed records to a new folder, each changed by `change`.
fn copied(change: impl Fn(&str, &mut Value) -> Option<String>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (study, name) in [
        ("table1", "mae-vit_tiny-share45-seed0"),
        ("table1", "simclr-resnet18-share45-seed0"),
        ("table1", "simclr-resnet18-share45-seed1"),
        ("table1", "supervised-resnet18-share45-seed0"),
    ] {
        let text =
            fs::read_to_string(root().join(COMMITTED).join(study).join(format!("{name}.json"))).unwrap();
        let mut record: Value = serde_json::from_str(&text).unwrap();
        // The committed records are by several revisions, which the page would report.
        record["provenance"]["revision"] = "one".into();
        let text = change(name, &mut record).unwrap_or_else(|| record.to_string());
        fs::create_dir_all(folder.path().join(study)).unwrap();
        fs::write(folder.path().join(study).join(format!("{name}.json")), text).unwrap();
    }
    folder
}

/// Returns the problems reported for a folder in which the record of `simclr-resnet18-share45-seed1` is changed;
/// the page must render.
fn told_of(change: impl Fn(&mut Value) -> Option<String>) -> (Reading, String) {
    let folder = copied(|name, record| if name.ends_with("seed1") { change(record) } else { None });
    let read = || reading::read(&[folder.path().to_owned()]);
    let html = Page::new(read(), None).html();
    assert!(html.ends_with("</html>") && html.contains("id=\"verdicts\""), "a page");
    let reading = read();
    let told = reading.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    for problem in &reading.problems {
        // Escaped for HTML.
        let what = problem.description.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        assert!(html.contains(&what.replace('"', "&quot;")), "not on the page: {problem}");
    }
    (reading, told)
}

#[test]
fn a_folder_in_order_lacks_cells_only() {
    let (reading, told) = told_of(|_| None);
    assert_eq!(reading.records.len(), 4);
    assert!(told.lines().all(|line| line.starts_with("missing: ")), "{told}");
}

#[test]
fn a_torn_record_is_named_and_left_out() {
    let (reading, told) = told_of(|record| {
        let text = record.to_string();
        Some(text[..text.len() / 2].to_owned())
    });
    assert_eq!(reading.records.len(), 3);
    assert!(told.contains("not read: ") && told.contains("simclr-resnet18-share45-seed1.json"), "{told}");
}

#[test]
fn a_record_of_another_schema_is_named_and_left_out() {
    let (reading, told) = told_of(|record| {
        record["schema"] = json!(99);
        None
    });
    assert_eq!(reading.records.len(), 3);
    assert!(told.contains("not read: ") && told.contains("99"), "{told}");
}

#[test]
fn a_score_that_is_no_number_is_named_and_not_averaged() {
    let (reading, told) = told_of(|record| {
        record["scores"][0]["f1"] = Value::Null;
        None
    });
    assert_eq!(reading.records.len(), 3);
    assert!(told.contains("not a number: "), "{told}");
}

#[test]
fn another_scale_recipe_or_data_set_is_kept_apart() {
    for (field, name, value) in [
        ("settings", "scale", json!("fixture")),
        ("settings", "recipe", json!("reference")),
        ("data", "source", json!("elpv")),
        ("data", "train_digest", json!("0".repeat(64))),
    ] {
        let (reading, told) = told_of(|record| {
            record[field][name] = value.clone();
            None
        });
        assert_eq!(reading.records.len(), 4, "{name}");
        assert!(told.contains("mixed: "), "{name}: {told}");
        let settings = reading.frame.settings();
        assert_eq!(settings.len(), 2, "{name}: {settings:?}");
    }
}

/// Returns two data sets of one source, the second in a folder of its own.
fn of_two_data_sets() -> (Reading, [tempfile::TempDir; 2]) {
    let first = copied(|_, record| {
        record["data"]["source"] = json!("folder");
        None
    });
    let second = copied(|name, record| {
        record["data"]["source"] = json!("folder");
        record["data"]["train_digest"] = json!("0".repeat(64));
        record["data"]["train"]["normals"] = json!(4321);
        // The first data set stays larger.
        name.ends_with("seed1").then(String::new)
    });
    let folders = [first, second];
    let reading = reading::read(&folders.each_ref().map(|folder| folder.path().to_owned()));
    (reading, folders)
}

#[test]
fn two_data_sets_are_two_parts_of_a_page() {
    let (reading, folders) = of_two_data_sets();
    let settings: Vec<String> =
        report::setting_summaries(&reading).into_iter().map(|known| known.setting).collect();
    let [larger, smaller] = &settings[..] else { panic!("{settings:?}") };
    assert!(smaller.contains("data 00000000 ") && !larger.contains("data 00000000 "), "{settings:?}");
    let other = Page::new(reading.in_settings(|name| name == smaller), None);
    let page = Page::new(reading, None).with_others(vec![other]);
    assert!(page.left_out().is_empty());
    let html = page.html();
    for (number, folder) in (1..).zip(&folders) {
        assert!(html.contains(&format!("Part {number} of 2: {}", settings[number - 1])), "part {number}");
        assert!(
            html.contains(&format!("<td class=\"value\">{}</td>", folder.path().display())),
            "its folder"
        );
    }
    assert!(html.contains("4321 normal images"), "how many images the second has");
    let ids: Vec<&str> = html.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let mut once = ids.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), ids.len(), "an id stands twice");
    for target in html.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(ids.contains(&target), "nothing is called {target}");
    }
    for id in ["decision", "decision-2", "table1-2", "explorer-data", "explorer-data-2"] {
        assert!(ids.contains(&id), "{id} in {ids:?}");
    }
}

#[test]
fn a_data_set_that_is_not_shown_is_named_with_the_command_that_shows_it() {
    let (reading, folders) = of_two_data_sets();
    let page = Page::new(reading, None);
    let [left_out] = page.left_out() else { panic!("one other setting") };
    assert_eq!((left_out.records, left_out.train.normals), (3, 4321));
    let html = page.html();
    assert!(html.contains("Not on this page: 3 records of other settings."), "the page says so");
    let place = folders[1].path().display();
    let command = format!("cargo xtask report '{place}' --setting '{}'", left_out.setting);
    assert_eq!(left_out.how_to_show(), command);
    assert!(html.contains(&format!("<code>{command}</code>")), "{command}");
}

#[test]
fn one_cell_twice_is_named() {
    let (reading, told) = told_of(|record| {
        record["cell"]["id"] = json!("table1/simclr-resnet18-share45-seed0");
        record["cell"]["seed"] = json!(0);
        None
    });
    assert_eq!(reading.records.len(), 3);
    assert!(told.contains("repeated: "), "{told}");
}

#[test]
fn folders_without_records_leave_the_papers_numbers() {
    let empty = tempfile::tempdir().unwrap();
    let folders = [empty.path().to_owned(), empty.path().join("nowhere")];
    let reading = reading::read(&folders);
    assert_eq!(reading.problems.len(), 2, "{:?}", reading.problems);
    assert!(Page::new(reading, None).html().contains("only the paper's own numbers"));
}

/// A browser that renders without a window, if one is installed.
fn browser() -> Option<PathBuf> {
    Tool::Browser.find("the page was not opened in a browser")
}

/// Returns what a browser makes of a page: its elements after scripts have run, and the messages on its console.
fn shown(browser: &Path, page: &Path, query: &str) -> (String, Vec<String>) {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--virtual-time-budget=3000",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--dump-dom".to_owned(), format!("file://{}{query}", page.display())])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let complaints = String::from_utf8_lossy(&output.stderr);
    let complaints = complaints.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect();
    (String::from_utf8(output.stdout).unwrap(), complaints)
}

fn choice(elements: &str) -> &str {
    let text = elements.split("id=\"choice\"").nth(1).expect("the explorer's sentence");
    text.split('>').nth(1).unwrap().split('<').next().unwrap()
}

/// Each part has an explorer of its own, for its own records.
#[test]
fn every_part_of_a_page_has_its_own_explorer() {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("report.html");
    let other = Page::new(read(&["results/2026-11-24-elpv/extension"]), None);
    let page = Page::new(read(&["results/2026-11-25-small-45-percent"]), None).with_others(vec![other]);
    fs::write(&place, page.html()).unwrap();
    let (elements, complaints) = shown(&browser, &place, "");
    assert_eq!(complaints, [""; 0], "console");
    let second = elements.split("id=\"choice-2\"").nth(1).expect("the second explorer's sentence");
    let second = second.split('>').nth(1).unwrap().split('<').next().unwrap();
    assert!(second.starts_with("At 1.0 % defects: ") && second != choice(&elements), "{second}");
}

#[test]
fn a_browser_shows_the_page_and_its_explorer_answers() {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    fs::write(&page, Page::new(read(&["results/2026-11-25-small-45-percent"]), None).html()).unwrap();

    let (elements, complaints) = shown(&browser, &page, "");
    assert_eq!(complaints, [""; 0], "console");
    assert!(choice(&elements).starts_with("At 1.0 % defects: "), "{}", choice(&elements));
    assert!(elements.matches("<svg").count() >= 4, "{} figures", elements.matches("<svg").count());

    // Another site: by hand, one defect in 500 images, each miss 2,000 and each alarm 3, so flagging nothing costs
    // 4,000.
    let (elements, complaints) = shown(&browser, &page, "?defects=0.002&miss=2000&alarm=3");
    assert_eq!(complaints, [""; 0], "console");
    assert!(choice(&elements).starts_with("At 0.20 % defects: "), "{}", choice(&elements));
    let (elements, _) = shown(&browser, &page, "?defects=0.002&miss=1&alarm=3");
    assert!(choice(&elements).contains("Not inspecting at all would cost 2."), "{}", choice(&elements));
}

/// Every figure and every table has a button that saves it: here the saved files are shown on the page instead.
#[test]
fn figures_and_tables_are_saved_at_one_click() {
    const CLICK: &str = "<pre id=\"saved\"></pre><script>
        URL.createObjectURL = (blob) => { blob.text().then((text) => { document.getElementById('saved').textContent += text + '\\f'; }); return '#'; };
        HTMLAnchorElement.prototype.click = () => {};
        document.querySelectorAll('button.save').forEach((button) => button.click());</script></body>";
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("report.html");
    let page = Page::new(read(&["results/2026-11-25-small-ablations"]), None).html();
    fs::write(&place, page.replace("</body>", CLICK)).unwrap();
    let (elements, complaints) = shown(&browser, &place, "");
    assert_eq!(complaints, [""; 0], "console");
    let (page, saved) = elements.split_once("<pre id=\"saved\">").unwrap();
    let saved = saved.split("</pre>").next().unwrap().replace("&lt;", "<").replace("&gt;", ">");
    let files: Vec<&str> = saved.split('\u{c}').filter(|file| !file.trim().is_empty()).collect();
    let (figures, tables): (Vec<&str>, Vec<&str>) = files.iter().partition(|file| file.starts_with("<svg"));
    assert_eq!(figures.len(), page.matches("<figure").count(), "figures");
    assert_eq!(tables.len(), page.matches("<table").count(), "tables");
    for figure in figures {
        let is_whole = figure.ends_with("</svg>") && figure.contains("xmlns=\"http://www.w3.org/2000/svg\"");
        assert!(is_whole && !figure.contains("var(--") && !figure.contains("class=\"save"), "{figure}");
    }
    let own = tables.iter().find(|table| table.starts_with("Method,Backbone,Whose,")).expect("Table 1");
    let columns = |line: &str| line.matches(',').count();
    assert!(own.lines().next().unwrap().contains("45 %,\"45 %, 95 %\""), "{own}");
    assert!(
        own.lines().count() > 10 && own.lines().nth(1).unwrap().starts_with("Supervised,ResNet-18,paper,"),
        "{own}"
    );
    assert!(
        own.lines().skip(2).any(|line| line.starts_with("Supervised,ResNet-18,ours,")),
        "spans are filled: {own}"
    );
    assert!(own.lines().skip(1).all(|line| columns(line) >= columns(own.lines().nth(1).unwrap())), "{own}");
}

#[test]
fn the_cheapest_threshold_costs_no_more_than_any_other() {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    fs::write(&page, Page::new(read(&["results/2026-11-25-small-study"]), None).html()).unwrap();
    let cost = |query: &str| -> f64 {
        let (elements, complaints) = shown(&browser, &page, query);
        assert_eq!(complaints, [""; 0], "console");
        let words = choice(&elements).split("lowest expected cost, ").nth(1).expect("a cost");
        words.split(' ').next().unwrap().replace(',', "").parse().unwrap()
    };
    // By hand: 200 defects in 1,000 images; missing all costs 4,000, flagging all 800, and both are thresholds.
    let (own, cheapest) =
        (cost("?defects=0.2&miss=20&alarm=1"), cost("?defects=0.2&miss=20&alarm=1&threshold=cheapest"));
    assert!(cheapest <= own && cheapest <= 800.0, "cheapest {cheapest}, own {own}");
    assert!(cheapest > 0.0 && own > 800.0, "cheapest {cheapest}, own {own}: nothing was chosen");
    // One defect in 1,000 images, a miss as cheap as an alarm: flagging nothing costs 1.
    assert!(cost("?defects=0.001&miss=1&alarm=1&threshold=cheapest") <= 1.0);
}
