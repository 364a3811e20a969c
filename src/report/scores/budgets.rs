//! How many labels are needed: probes on frozen features, fine-tuning and training from scratch with few labels.

mod overtakes;

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use self::overtakes::overtakes;
use super::{backbone_label, cell, method_label};
use crate::{
    analysis::{
        Axes, FiledRecord, Interval,
        intervals::{Uncertainty, interval_over_seeds, mean},
    },
    backbone,
    data::Share,
    method::Name::Supervised,
    report::{
        Page,
        figure::plot::{Plot, PlotAxis, Series, what_bars_are},
        main_share, share_in_words,
    },
    results::{Classifier, record::Record},
    study::Study,
};

/// AUROC by labelled defects, seed by seed.
type Curve = BTreeMap<usize, BTreeMap<u64, f64>>;

/// AUROC by labelled defects: figures, where training from scratch overtakes, and the numbers with their intervals
/// over seeds.
pub fn budgets(page: &Page) -> Markup {
    let Some(share) = main_share(&page.reading) else { return html! { p { "No records." } } };
    let curves = Curves::of(page, share);
    if curves.probes.is_empty() && curves.trained.is_empty() {
        return html! { p { "Not measured in these records. To measure it: " code { "cargo xtask reproduce --study table1,label_budgets" } "." } };
    }
    html! {
        p {
            "AUROC when only some training images are labelled: k defects, and normal images in proportion (training images at " (share_in_words(share)) "). \
             Probes are fitted on frozen features: pretraining used all images and no labels, and labels are drawn five times per model. Only supervised \
             features were trained on all labels: their curve does not show what few labels give. " em { "From scratch" } " and " em { "fine-tuned" }
            " train all weights on these labels, for as many steps as training on all labels takes (" code { "--study table1,label_budgets" } "). The \
             horizontal line is the best detector that needs no labelled defect. Bars are 95 % intervals over seeds."
        }
        @for sentence in curves.sentences() { p { (sentence) } }
        @for (title, tuned) in [("Probes on frozen features", false), ("All weights trained", true)] {
            div.figures.two { @for backbone in backbone::Name::STUDY { (curves.figure(title, backbone, tuned, &curves.axis(tuned))) } }
        }
        (table("AUROC of the probe by labelled defects", &curves.probes, false))
        (table("AUROC of nearest neighbours by labelled defects", &curves.neighbours, false))
        (table("AUROC with all weights trained, by labelled defects", &curves.trained, true))
    }
}

/// All measurements with few labels at a share.
struct Curves {
    /// Probes on frozen features, of arms and floors.
    probes: BTreeMap<Axes, Curve>,
    /// Neighbours' votes on frozen features.
    neighbours: BTreeMap<Axes, Curve>,
    /// All weights trained: fine-tuned weights under the method that pretrained them, weights trained from scratch
    /// under supervised training.
    trained: BTreeMap<Axes, Curve>,
    /// AUROC of the best detector fitted without defects on each backbone.
    without: BTreeMap<backbone::Name, f64>,
}

impl Curves {
    fn of(page: &Page, share: Share) -> Self {
        let (mut probes, mut neighbours, mut trained): (
            BTreeMap<Axes, Curve>,
            BTreeMap<_, Curve>,
            BTreeMap<_, Curve>,
        ) = Default::default();
        let mut detectors: BTreeMap<(backbone::Name, Axes, Classifier), Vec<f64>> = BTreeMap::new();
        for FiledRecord { cell: at, record, .. } in page.records().filter(|filed| filed.cell.share == share) {
            let seed = record.cell.seed;
            let plain = Axes::trained(
                at.method.unwrap_or(Supervised),
                at.backbone.unwrap_or(backbone::Name::ResNet18),
                share,
            );
            if at.is_an_arm() || at.is_floor() {
                for budget in &record.label_budgets {
                    let add = |curves: &mut BTreeMap<Axes, Curve>, draws: &[f64]| {
                        if !draws.is_empty() {
                            let curve = curves.entry(*at).or_default();
                            curve.entry(budget.defects).or_default().insert(seed, mean(draws));
                        }
                    };
                    add(&mut probes, &budget.auroc);
                    add(&mut neighbours, &budget.neighbours_auroc);
                }
                if let (Some(auroc), Some(curve)) = (auroc(record, Classifier::Converged), probes.get_mut(at))
                {
                    curve.entry(record.data.train.defects).or_default().insert(seed, auroc);
                }
                if let (Some(backbone), false) = (at.backbone, at.method == Some(Supervised)) {
                    for classifier in Classifier::NORMALS_ONLY {
                        detectors
                            .entry((backbone, *at, classifier))
                            .or_default()
                            .extend(auroc(record, classifier));
                    }
                }
            }
            let all = at.study == Study::FineTuned || at.is_an_arm() && at.method == Some(Supervised);
            if let (true, Some(auroc)) =
                (all || matches!(at.study, Study::LabelBudget { .. }), auroc(record, Classifier::InTraining))
            {
                let curve = trained.entry(plain).or_default();
                curve.entry(record.data.train.defects).or_default().insert(seed, auroc);
            }
        }
        // A single point, with all labels, is not a curve.
        trained.retain(|_, curve| curve.len() > 1);
        let mut without: BTreeMap<backbone::Name, f64> = BTreeMap::new();
        for ((backbone, ..), seeds) in detectors.iter().filter(|(_, seeds)| !seeds.is_empty()) {
            let best = without.entry(*backbone).or_insert(0.0);
            *best = best.max(mean(seeds));
        }
        Self { probes, neighbours, trained, without }
    }

    /// States where supervised training from scratch overtakes probes on features that were pretrained without
    /// labels.
    fn sentences(&self) -> Vec<String> {
        let pretrained = self.probes.iter().filter(|(at, _)| at.is_an_arm() && at.method != Some(Supervised));
        let sentence = |(at, probe): (&Axes, &Curve)| {
            let scratch = self.trained.get(&Axes::trained(Supervised, at.backbone?, at.share))?;
            let name = format!("the probe on {}, {}", method_label(at.method), backbone_label(at.backbone));
            Some(overtakes(scratch, probe)?.sentence(&name))
        };
        pretrained.filter_map(sentence).collect()
    }

    /// Returns the AUROC axis of both backbones: their figures are side by side.
    fn axis(&self, tuned: bool) -> PlotAxis {
        let scratch = self.trained.iter().filter(|(at, _)| !tuned && at.method == Some(Supervised));
        let curves = if tuned { &self.trained } else { &self.probes };
        let seeds = curves.iter().chain(scratch).flat_map(|(_, curve)| curve.values());
        let values = seeds.flat_map(|seeds| {
            let interval = over(seeds);
            ends(interval).into_iter().chain([interval.estimate]).filter(|value| value.is_finite())
        });
        let values = values.chain(self.without.values().copied()).map(|value| value.clamp(0.0, 1.0));
        PlotAxis::spanning("AUROC", values, 2)
    }

    fn figure(&self, title: &str, backbone: backbone::Name, tuned: bool, y: &PlotAxis) -> Markup {
        let place = |count: usize| (count as f64).log10();
        let curves = if tuned { &self.trained } else { &self.probes };
        let here = |at: &Axes| at.backbone == Some(backbone);
        let scratch =
            self.trained.iter().filter(|(at, _)| here(at) && !tuned && at.method == Some(Supervised));
        let mut series: Vec<Series> = curves
            .iter()
            .filter(|(at, _)| here(at))
            .map(|(at, curve)| (label(at, tuned), at.method.is_none(), at, curve))
            .chain(scratch.map(|(at, curve)| (label(at, true), true, at, curve)))
            .map(|(name, dashed, at, curve)| Series {
                method: at.method,
                name,
                points: curve.iter().map(|(count, seeds)| (place(*count), over(seeds).estimate)).collect(),
                bars: curve.iter().map(|(count, seeds)| (place(*count), ends(over(seeds)))).collect(),
                joined: true,
                dashed,
            })
            .collect();
        if series.is_empty() {
            return html! {};
        }
        let counts: BTreeSet<usize> =
            curves.iter().filter(|(at, _)| here(at)).flat_map(|(_, curve)| curve.keys().copied()).collect();
        if let (Some(&level), Some(first), Some(last)) =
            (self.without.get(&backbone), counts.first(), counts.last())
        {
            series.push(Series {
                method: None,
                name: "no labelled defect".to_owned(),
                points: vec![(place(*first), level), (place(*last), level)],
                bars: Vec::new(),
                joined: true,
                dashed: true,
            });
        }
        let marks = marks(&counts.iter().map(|&count| (place(count), count.to_string())).collect::<Vec<_>>());
        let x = PlotAxis::spanning("labelled defects", counts.iter().map(|&count| place(count)), 0);
        Plot {
            caption: format!("{title}, {} ({})", backbone.label(), what_bars_are(&series)),
            x: PlotAxis { marks, ..x },
            y: y.clone(),
            series,
            legend: true,
        }
        .draw()
    }
}

/// Returns the marks of an axis without those whose text would run into the next one's.
fn marks(all: &[(f64, String)]) -> Vec<(f64, String)> {
    let [(first, _), .., (last, _)] = all else { return all.to_vec() };
    let apart = 0.06 * (last - first);
    let next = all.iter().skip(1).map(|(place, _)| *place).chain([f64::INFINITY]);
    let fits = |((place, _), next): &(&(f64, String), f64)| next - place >= apart;
    all.iter().zip(next).filter(fits).map(|(mark, _)| mark.clone()).collect()
}

/// Returns the AUROC on all validation images.
fn auroc(record: &Record, classifier: Classifier) -> Option<f64> {
    let of = |score: &&crate::results::record::Score| {
        score.classifier == classifier.id() && score.validation_share.is_none()
    };
    record.scores.iter().find(of).map(|score| score.auroc)
}

fn over(seeds: &BTreeMap<u64, f64>) -> Interval {
    let values: Vec<f64> = seeds.values().copied().collect();
    interval_over_seeds(&values, Uncertainty::pooled([&values[..]]))
}

/// Returns the ends of an interval, within what an AUROC can be. Those of an unknown interval stay infinite: it is not
/// drawn.
fn ends(interval: Interval) -> [f64; 2] {
    [interval.low, interval.high].map(|end| if end.is_finite() { end.clamp(0.0, 1.0) } else { end })
}

fn label(at: &Axes, trained: bool) -> String {
    match (at.backbone, at.method) {
        (None, _) => "raw pixels".to_owned(),
        (_, None) if at.study == Study::GivenWeights => "given weights, frozen".to_owned(),
        (_, None) => "random weights".to_owned(),
        (_, Some(Supervised)) if trained => "from scratch".to_owned(),
        (_, Some(Supervised)) => "Supervised (all labels)".to_owned(),
        (_, method) if trained => format!("{}, fine-tuned", method_label(method)),
        (_, method) => method_label(method).to_owned(),
    }
}

fn table(caption: &str, curves: &BTreeMap<Axes, Curve>, trained: bool) -> Markup {
    let counts: BTreeSet<usize> = curves.values().flat_map(|curve| curve.keys().copied()).collect();
    if counts.is_empty() {
        return html! {};
    }
    html! { details { summary { (caption) } div.wide { table {
        caption { (caption) }
        thead { tr {
            th scope="col" { "Method" } th scope="col" { "Backbone" }
            @for count in &counts { th.number scope="col" { (count) } }
        } }
        tbody { @for (at, curve) in curves { tr {
            th scope="row" { (label(at, trained)) } td { (backbone_label(at.backbone)) }
            @for count in &counts { td.number { (cell(curve.get(count).map(over))) } }
        } } }
    } } } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::reading,
        results::{example, record::Budget},
    };

    /// Marks that are close together, such as those of 500 and of all 615 defects, would overlap: only the last is
    /// kept.
    #[test]
    fn marks_do_not_run_into_each_other() {
        let of = |places: &[f64]| {
            marks(&places.iter().map(|place| (*place, format!("{place}"))).collect::<Vec<_>>())
        };
        let kept = |places: &[f64]| of(places).into_iter().map(|(place, _)| place).collect::<Vec<_>>();
        assert_eq!(kept(&[0.0, 0.5, 0.93, 0.95, 1.0]), [0.0, 0.5, 1.0]);
        assert_eq!(kept(&[0.0, 0.94, 1.0]), [0.0, 0.94, 1.0]);
        assert_eq!(of(&[2.0]), [(2.0, "2".to_owned())]);
        assert_eq!(kept(&[]), [0.0; 0]);
    }

    #[test]
    fn curves_of_records_stand_on_the_page() {
        let record =
            |study: &str, variant: Option<&str>, method: &str, defects: usize, seed: u64, auroc: f64| {
                let mut record = example::record();
                (record.cell.study, record.cell.method) = (study.to_owned(), method.to_owned());
                record.cell.variant = variant.map(str::to_owned);
                record.cell.seed = seed;
                let variant = variant.map(|variant| format!("-{variant}")).unwrap_or_default();
                record.cell.id = format!("{study}/{method}-resnet18{variant}-share05-seed{seed}");
                record.data.train.defects = defects;
                for classifier in ["in_training", "converged", "normals_padim"] {
                    record
                        .scores
                        .push(crate::results::record::Score { auroc, ..example::score(classifier, None) });
                }
                if study == "table1" {
                    let budget = |defects: usize, auroc: f64| Budget {
                        defects,
                        normals: 2 * defects,
                        auroc: vec![auroc; 5],
                        average_precision: vec![auroc; 5],
                        neighbours_auroc: vec![auroc - 0.1; 5],
                    };
                    record.label_budgets = vec![budget(5, 0.65), budget(20, 0.66)];
                }
                (record.cell.id.clone(), record)
            };
        let mut records = Vec::new();
        for seed in 0..2 {
            records.push(record("table1", None, "simclr", 80, seed, 0.7));
            records.push(record("table1", None, "supervised", 80, seed, 0.8));
            for (variant, defects, auroc) in [("defects0005", 5, 0.55), ("defects0020", 20, 0.6)] {
                records.push(record("label_budget", Some(variant), "supervised", defects, seed, auroc));
                records.push(record("label_budget", Some(variant), "simclr", defects, seed, auroc + 0.1));
            }
        }
        let page = Page::new(reading::from_memory(records), None);
        let text = budgets(&page).into_string();
        // The difference is -0.06 at 20 and 0.1 at 80: 20 x 4^(0.06 / 0.16).
        let expected = "Supervised training from scratch overtakes the probe on SimCLR, ResNet-18 at about 34 labelled defects";
        assert!(text.contains(expected), "{text}");
        for part in
            ["SimCLR, fine-tuned", "from scratch", "no labelled defect", "AUROC of nearest neighbours"]
        {
            assert!(text.contains(part), "no {part}");
        }
        assert!(
            budgets(&Page::new(reading::from_memory(Vec::new()), None)).into_string().contains("No records")
        );
    }

    #[test]
    fn the_line_without_defects_is_the_best_detector_of_its_backbone() {
        let mut record = example::record();
        for (classifier, auroc) in [("normals_neighbours", 0.9), ("normals_padim", 0.6), ("converged", 0.95)]
        {
            record.scores.push(crate::results::record::Score { auroc, ..example::score(classifier, None) });
        }
        let page = Page::new(reading::from_memory(vec![(record.cell.id.clone(), record)]), None);
        let found = Curves::of(&page, Share::percent(5)).without;
        assert_eq!(found, BTreeMap::from([(backbone::Name::ResNet18, 0.9)]));
    }

    /// Each floor has a mean of its own over its seeds: the line is the highest of these means, not one over all floors.
    /// Detectors on the features of supervised training, and of pixels, do not count.
    #[test]
    fn the_line_is_the_best_mean_of_any_model() {
        let of = |study: &str, method: &str, backbone: &str, seed: u64, [padim, core]: [f64; 2]| {
            let mut record = example::record();
            (record.cell.study, record.cell.method) = (study.to_owned(), method.to_owned());
            (record.cell.backbone, record.cell.seed) = (backbone.to_owned(), seed);
            record.cell.id = format!("{study}/{method}-{backbone}-{seed}");
            for (classifier, auroc) in [("normals_padim", padim), ("normals_patchcore", core)] {
                let score = example::score(classifier, None);
                record.scores.push(crate::results::record::Score { auroc, ..score });
            }
            (record.cell.id.clone(), record)
        };
        let page = Page::new(
            reading::from_memory(vec![
                of("random_weights", "none", "resnet18", 0, [0.4, 0.5]),
                of("random_weights", "none", "resnet18", 1, [0.6, 0.8]),
                of("given_weights", "none", "resnet18", 0, [0.7, 0.3]),
                of("table1", "supervised", "resnet18", 0, [0.99, 0.98]),
                of("pixels", "none", "pixels", 0, [0.97, 0.96]),
                of("table1", "byol", "vit_tiny", 0, [0.2, 0.1]),
            ]),
            None,
        );
        let found = Curves::of(&page, Share::percent(5)).without;
        let told: Vec<(backbone::Name, f64)> = found.into_iter().collect();
        let [(backbone::Name::ResNet18, first), (backbone::Name::ViTTiny, second)] = told[..] else {
            panic!("{told:?}")
        };
        assert!((first - 0.7).abs() < 1e-12 && (second - 0.2).abs() < 1e-12, "{told:?}");
    }
}
