//! Records and the paper's numbers as one HTML page: no network access, no other files.
//!
//! All statements come from [`crate::claims`] and [`crate::analysis`]; this layer only displays them. Figures are
//! SVG written here ([`figure`]): text stays text, colours follow the page's theme, and one drawing serves screen,
//! print and telephone, which the available plotting libraries do not offer. Independent of training.

mod decision;
mod explorer;
pub mod figure;
mod findings;
pub mod images;
pub mod markdown;
mod parts;
mod pictures;
mod scores;
mod sources;

use std::collections::BTreeSet;

use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use images::ImageDifference;
pub use parts::{MOST_PARTS, SettingSummary, setting_summaries};
pub use pictures::{Example, Examples};

use self::figure::{Theme, picture};
use crate::{
    analysis::{Axes, FiledRecord, Reading, Scored, cell::percent, intervals::mean},
    backbone,
    claims::{self, Card, Claim, Evidence, Finding, Yardstick, decision::RecordedCommand, evidence::MARGIN},
    data::Share,
    method,
    results::Metric,
    study::Study,
};

/// The content of a page.
pub struct Page {
    reading: Reading,
    /// The setting that figures show: the one with the most rows.
    setting: Option<String>,
    judged: Vec<(&'static Claim, Vec<Judged>)>,
    bodies: Vec<Evidence>,
    cards: Vec<Card>,
    made: Vec<RecordedCommand>,
    examples: Option<Examples>,
    on_images: Vec<ImageDifference>,
    /// Summary of the setting.
    contents: Option<SettingSummary>,
    /// Pages of other settings, shown below.
    others: Vec<Page>,
    /// Settings that are not shown on the page.
    left_out: Vec<SettingSummary>,
    /// Index among the parts of a page; 0 is the first.
    number: usize,
}

/// Returns the largest setting of a reading that does not consist only of trials, which choose a recipe's numbers
/// and are not results.
pub fn main_setting(reading: &Reading) -> Option<String> {
    let shown = |contents: &SettingSummary| !contents.is_tuning;
    setting_summaries(reading).into_iter().find(shown).map(|contents| contents.setting)
}

/// The findings of a claim on one body of numbers, by each of its yardsticks, the paper's own first.
type Judged = Vec<(Yardstick, Finding)>;

/// Returns the training share of figures that show only one: the paper's largest, or the largest that was trained.
pub fn main_share(reading: &Reading) -> Option<Share> {
    const PAPERS: Share = Share::percent(45);
    let setting = main_setting(reading)?;
    let shares = trained_shares(&reading.frame.setting(&setting).axes());
    if shares.contains(&PAPERS) { Some(PAPERS) } else { shares.last().copied() }
}

/// Names a training share: `5 % defects`, `the data's own share`.
fn share_in_words(share: Share) -> String {
    match share {
        Share::NATURAL => "the data's own share".to_owned(),
        share => format!("{} defects", percent(share)),
    }
}

/// Returns the training shares of arms, in order.
fn trained_shares(axes: &BTreeSet<Scored>) -> Vec<Share> {
    let arms = axes.iter().filter(|at| at.cell.is_an_arm());
    arms.map(|at| at.cell.share).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Anchor, title and content.
type Section = (&'static str, &'static str, Markup);

impl Page {
    /// Judges all claims on the paper's numbers and on the largest setting. The page mentions other settings;
    /// [`Self::with_others`] shows them too.
    pub fn new(reading: Reading, examples: Option<Examples>) -> Self {
        Self::new_with_margin(MARGIN, reading, examples)
    }

    /// Like [`Self::new`], but scores that differ by less than `margin` count as the same.
    pub fn new_with_margin(margin: f64, reading: Reading, examples: Option<Examples>) -> Self {
        let setting = main_setting(&reading);
        let (shown, left_out): (Vec<SettingSummary>, Vec<SettingSummary>) = setting_summaries(&reading)
            .into_iter()
            .partition(|known| Some(&known.setting) == setting.as_ref());
        let contents = shown.into_iter().next();
        let mut bodies = vec![claims::paper().with_margin(margin)];
        if let Some(setting) = &setting {
            let measured = Evidence::measured(setting, &reading.frame.setting(setting));
            bodies.push(measured.with_margin(margin));
        }
        let judged = claims::all()
            .into_iter()
            .map(|claim| (claim, bodies.iter().map(|evidence| claim.judge_all(evidence)).collect()))
            .collect();
        let cards = bodies.get(1).map_or_else(Vec::new, claims::decision::cards);
        let (made, on_images, others) = Default::default();
        Self {
            reading,
            setting,
            judged,
            bodies,
            cards,
            made,
            examples,
            on_images,
            contents,
            others,
            left_out,
            number: 0,
        }
    }

    /// Adds the pages of other settings, each in a part of its own below this one.
    #[must_use]
    pub fn with_others(self, others: Vec<Self>) -> Self {
        let shown: BTreeSet<&str> = others.iter().filter_map(Self::setting).collect();
        let left_out = self.left_out.into_iter().filter(|known| !shown.contains(&*known.setting)).collect();
        let others = (1..).zip(others).map(|(number, page)| Self { number, ..page }).collect();
        Self { others, left_out, ..self }
    }

    /// Returns this page and those of other settings that it shows, in order.
    pub fn parts(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.others)
    }

    /// Returns what was read, of all settings.
    pub fn reading(&self) -> &Reading {
        &self.reading
    }

    /// Returns the settings whose records are not on the page, the largest first.
    pub fn left_out(&self) -> &[SettingSummary] {
        &self.left_out
    }

    /// Returns the summary of the page's setting; `None` if there are no records.
    pub fn contents(&self) -> Option<&SettingSummary> {
        self.contents.as_ref()
    }

    /// Returns an anchor of this part: those of the first part have plain names.
    fn id(&self, name: &str) -> String {
        if self.number == 0 { name.to_owned() } else { format!("{name}-{}", self.number + 1) }
    }

    /// Adds the commands that made the records, so that cards can suggest the next one.
    #[must_use]
    pub fn with_commands(self, made: Vec<RecordedCommand>) -> Self {
        Self { made, ..self }
    }

    /// Returns the card of each training share of the largest setting; empty if there are no records.
    pub fn cards(&self) -> &[Card] {
        &self.cards
    }

    /// Returns the name of the largest setting.
    pub fn setting(&self) -> Option<&str> {
        self.setting.as_deref()
    }

    /// Adds how far test images change differences between models.
    #[must_use]
    pub fn with_images(self, on_images: Vec<ImageDifference>) -> Self {
        Self { on_images, ..self }
    }

    /// Returns whether the largest setting follows the paper's protocol on the paper's data.
    fn is_the_papers(&self) -> bool {
        let mut records = self.records().filter(|filed| filed.cell.study == Study::Table1).peekable();
        records.peek().is_some()
            && records.all(|filed| {
                (filed.record.settings.scale.as_str(), filed.record.data.source.as_str())
                    == ("full", "sewer-ml")
            })
    }

    /// Returns the methods that tables and figures show: the paper's, and any others in the records.
    fn methods(&self) -> Vec<method::Name> {
        let measured = |method: method::Name| self.records().any(|filed| filed.cell.method == Some(method));
        method::Name::ALL.into_iter().filter(|method| method.is_from_paper() || measured(*method)).collect()
    }

    /// Returns those of [`Self::methods`] that learn without labels.
    fn self_supervised(&self) -> Vec<method::Name> {
        self.methods().into_iter().filter(|method| !method.is_supervised()).collect()
    }

    /// Returns the training shares that were trained, in order.
    fn shares(&self) -> Vec<Share> {
        self.ours().map_or_else(Vec::new, |ours| trained_shares(&ours.frame().axes()))
    }

    /// Returns [`Self::shares`] and the paper's: the columns of tables with the paper's numbers.
    fn shares_and_the_papers(&self) -> Vec<Share> {
        let all = Share::STUDY.into_iter().chain(self.shares());
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Returns a training share as 0..1; for the natural share the one counted in the records, `None` without
    /// records.
    fn fraction(&self, share: Share) -> Option<f64> {
        let count = |filed: &FiledRecord| {
            let train = filed.record.data.train;
            train.defects as f64 / (train.normals + train.defects) as f64
        };
        let here = |filed: &&FiledRecord| filed.cell.is_an_arm() && filed.cell.share == share;
        let counted = || mean(&self.records().filter(here).map(count).collect::<Vec<_>>());
        share.fraction().or_else(|| Some(counted()).filter(|fraction| fraction.is_finite()))
    }

    /// Returns the methods that were trained at a share, on a backbone, in order.
    fn trained_on(&self, backbone: backbone::Name, share: Share) -> Vec<method::Name> {
        let Some(ours) = self.ours() else { return Vec::new() };
        let axes = ours.frame().axes();
        let is_there =
            |method: &method::Name| axes.iter().any(|at| at.cell == Axes::trained(*method, backbone, share));
        self.methods().into_iter().filter(is_there).collect()
    }

    /// Returns the records of the largest setting.
    fn records(&self) -> impl Iterator<Item = &FiledRecord> {
        let wanted = self.setting.as_deref();
        self.reading.records.iter().filter(move |filed| Some(filed.setting.as_str()) == wanted)
    }

    fn paper(&self) -> &Evidence {
        &self.bodies[0]
    }

    fn ours(&self) -> Option<&Evidence> {
        self.bodies.get(1)
    }

    /// Returns figures for documents, by name: AUROC by training share, as SVG.
    pub fn pictures(&self, theme: Theme) -> Vec<(&'static str, String)> {
        let Some(ours) = self.ours() else { return Vec::new() };
        let plots = scores::by_share(self, ours, Metric::Auroc);
        let drawings: Vec<_> =
            plots.iter().map(|(backbone, plot)| (backbone.label().to_owned(), plot.drawing())).collect();
        let about =
            format!("AUROC of the converged probe by training share, {}; bars: 95 % over seeds", ours.name);
        if drawings.is_empty() { Vec::new() } else { vec![("auroc", picture(&about, &drawings, theme))] }
    }

    /// Returns the page as HTML.
    pub fn html(&self) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { "skewbench: which self-supervised method when defects are rare" }
                    style { (PreEscaped(include_str!("style.css"))) }
                }
                (self.body())
            }
        };
        page.into_string()
    }

    fn sections(&self) -> Vec<Section> {
        vec![
            ("decision", "Which method to take", decision::section(self)),
            ("ranking", "Which method is best, and how sure", scores::ranking(self)),
            ("explorer", "Your own site", explorer::section(self)),
            ("verdicts", "What the paper claims, and what holds", findings::verdicts(self)),
            ("table1", "Scores of all methods, beside the paper's", scores::table_1(self)),
            ("imbalance", "Rare defects in validation", scores::imbalance(self)),
            ("label_free", "Metrics that need no labels", scores::label_free(self)),
            ("budgets", "How many labels are needed", scores::budgets(self)),
            ("labels", "Fine-tuning, and other ways to use labels", scores::labels(self)),
            ("normals", "Detectors fitted on normal images only", scores::normals(self)),
            ("unseen", "Kinds of defects not seen in training", scores::unseen(self)),
            ("pointing", "Where a detector looks", scores::pointing(self)),
            ("protocol", "Image size, augmentation, and the released code", scores::protocol(self)),
            ("pictures", "Example images", pictures::section(self.examples.as_ref())),
            ("sources", "Cost and provenance", sources::section(self)),
        ]
    }

    fn body(&self) -> Markup {
        let several = !self.others.is_empty();
        let parts: Vec<(&Self, Vec<Section>)> = self.parts().map(|part| (part, part.sections())).collect();
        html! {
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    div.head {
                        h1 { "When defects are rare: which method to use, and how far to trust the number" }
                        button type="button" id="theme" aria-pressed="false" { "Dark" }
                    }
                    @if !several { (self.banner()) }
                    (parts::overview(self))
                    (self.problems())
                    @if !several { (self.navigation(&parts[0].1)) }
                }
                main id="main" {
                    @for (part, sections) in &parts {
                        @if several { div.part id=(part.id("part")) {
                            h2 { "Part " (part.number + 1) " of " (parts.len()) ": " (part.setting().unwrap_or("no records")) }
                            (part.banner())
                            (part.navigation(sections))
                        } }
                        @for (id, title, body) in sections {
                            section id=(part.id(id)) aria-labelledby=(part.id(&format!("{id}-title"))) {
                                h2 id=(part.id(&format!("{id}-title"))) { (title) }
                                (body)
                            }
                        }
                    }
                }
                footer {
                    p { "Paper: Otero, Mateus and Balestriero, \u{201c}Anomaly Detection In The Wild: Can SSL Handle Strong \
                         Distribution Imbalances?\u{201d}, 2024. Its numbers are shown as printed; all others were measured \
                         by skewbench." }
                }
                script { (PreEscaped(include_str!("script.js"))) }
                script { (PreEscaped(include_str!("save.js"))) }
            }
        }
    }

    /// Returns links to the sections of this part.
    fn navigation(&self, sections: &[Section]) -> Markup {
        let label = if self.number == 0 {
            "Sections".to_owned()
        } else {
            format!("Sections of part {}", self.number + 1)
        };
        html! {
            nav aria-label=(label) {
                ol { @for (id, title, _) in sections { li { a href={ "#" (self.id(id)) } { (title) } } } }
            }
        }
    }

    fn banner(&self) -> Markup {
        let Some(setting) = &self.setting else {
            return html! { p.banner role="note" { "No records could be read, so the page shows only the paper's own numbers." } };
        };
        html! {
            p.banner role="note" {
                "Setting of these records: " strong { (setting) } ". "
                @if self.is_the_papers() {
                    "They follow the paper's protocol on the paper's data."
                } @else {
                    "They do not reproduce the paper: data, image sizes and training differ from the paper's. They show how \
                     methods compare in this setting, and whether the paper's statements hold here; they say nothing about Sewer-ML."
                }
            }
            @if let Some(progress) = self.progress() { p.banner role="status" { (progress) } }
        }
    }

    /// Says how far the run has come, if some of its cells are unfinished.
    fn progress(&self) -> Option<String> {
        let asked: BTreeSet<&String> = self.made.iter().flat_map(|made| &made.cells).collect();
        let finished: BTreeSet<&String> = self.records().map(|filed| &filed.record.cell.id).collect();
        let missing: Vec<&str> =
            asked.iter().filter(|cell| !finished.contains(*cell)).map(|cell| cell.as_str()).collect();
        let first = *missing.first()?;
        let are = if missing.len() > 1 { "are" } else { "is" };
        let rest = if missing.len() > 1 { format!(" and {} more", missing.len() - 1) } else { String::new() };
        Some(format!(
            "{} of {} trainings are finished; {first}{rest} {are} still missing. While the run continues, this page is \
             rewritten from time to time: reload it. If the run has stopped, run the same command again to resume it.",
            asked.len() - missing.len(),
            asked.len()
        ))
    }

    /// Lists the problems with records of all parts.
    fn problems(&self) -> Markup {
        let problems = &self.reading.problems;
        html! {
            @if !problems.is_empty() {
                details.banner {
                    summary {
                        @if problems.len() == 1 { "1 thing" } @else { (problems.len()) " things" } " to know about these records"
                    }
                    ul { @for problem in problems.iter().take(50) { li { (problem) } } }
                    @if problems.len() > 50 { p { "and " (problems.len() - 50) " more" } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
