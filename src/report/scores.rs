//! Tables and figures of scores, ours beside the paper's where it prints them.

use maud::{Markup, html};

use super::{
    Page,
    figure::{
        colour,
        heatmap::Heatmap,
        plot::{Axis, Plot, Row, Series, intervals},
    },
};
use crate::{
    analysis::{
        Interval,
        comparison::ranks,
        intervals::{mean, of_seeds},
    },
    claims::{
        self, Evidence,
        evidence::{At, BACKBONES, SELF_SUPERVISED, SHARES},
    },
    results::Record,
    seed::Seed,
};

const METHODS: [&str; 6] = [
    "supervised",
    SELF_SUPERVISED[0],
    SELF_SUPERVISED[1],
    SELF_SUPERVISED[2],
    SELF_SUPERVISED[3],
    SELF_SUPERVISED[4],
];

fn percent(share: f64) -> String {
    format!("{} %", (share * 1e4).round() / 100.0)
}

fn at<'a>(method: &'a str, backbone: &'a str, train: f64, validation: Option<f64>) -> At<'a> {
    At { method, backbone, train, validation }
}

fn interval(evidence: &Evidence, metric: &str, cell: &At) -> Option<Interval> {
    let seeds = evidence.seeds(metric, cell);
    (!seeds.is_empty()).then(|| of_seeds(&seeds, evidence.spread(metric, cell.validation)))
}

/// `0.742`, and below it the interval where there is one.
fn cell(interval: Option<Interval>) -> Markup {
    html! {
        @match interval {
            None => "\u{2013}",
            Some(interval) => {
                (format!("{:.3}", interval.estimate))
                @if interval.low.is_finite() {
                    " " span.interval { (format!("{:.3}\u{2013}{:.3}", interval.low.max(0.0), interval.high.min(1.0))) }
                }
            }
        }
    }
}

/// Table 1 of the paper and ours, three scores.
pub fn table_1(page: &Page) -> Markup {
    html! {
        p {
            "Scores on all validation images of the classifier in training, as in the paper. "
            @if page.ours().is_some() { "Ours below the paper's; intervals of 95 % over seeds where more than one was trained, with the spread of \
                seeds pooled over all cells." }
        }
        @for (metric, title) in [("f1", "F1"), ("f2_ciw_oracle", "F2_CIW, oracle-typed"), ("f1_normal", "F1_Normal")] {
            details open[metric == "f1"] {
                summary { (title) }
                div.wide { table {
                    caption { (title) " by method, backbone and share of defects in training" }
                    thead { tr {
                        th scope="col" { "Method" } th scope="col" { "Backbone" } th scope="col" { "Whose" }
                        @for share in SHARES { th.number scope="col" { (percent(share)) } }
                    } }
                    tbody {
                        @for backbone in BACKBONES { @for method in METHODS {
                            @if (method, backbone) == ("mae", "resnet18") {
                                tr { th scope="row" { "MAE" } td { "ResNet-18" } td colspan="6" { "not defined: MAE masks patches of a transformer" } }
                            } @else {
                                @for (place, body) in page.bodies.iter().enumerate() {
                                    tr.first[place == 0] {
                                        @if place == 0 {
                                            th scope="row" rowspan=(page.bodies.len()) { span.dot style={ "background:" (colour::of(method)) } {} (colour::label(method)) }
                                            td rowspan=(page.bodies.len()) { (colour::label(backbone)) }
                                        }
                                        td { (if place == 0 { "paper" } else { "ours" }) }
                                        @for share in SHARES {
                                            td.number {
                                                @let cell_at = at(method, backbone, share, None);
                                                // The paper's interval would be our assumption's, not its own.
                                                @if place == 0 { (cell(body.seeds(metric, &cell_at).first().map(|&estimate| Interval { estimate, low: f64::NEG_INFINITY, high: f64::INFINITY }))) }
                                                @else { (cell(interval(body, metric, &cell_at))) }
                                            }
                                        }
                                    }
                                }
                            }
                        } }
                    }
                } }
            }
        }
    }
}

/// How likely each method is first, by share: F1, ours.
pub fn ranking(page: &Page) -> Markup {
    let Some(ours) = page.ours() else { return html! { p { "No records." } } };
    let Some(spread) = ours.spread("f1", None) else {
        return html! {
            p { "One seed a cell: nothing is known of how far another seed would lie, so no ranking is given. " code { "--seeds 3" } " trains three." }
            (lines(ours))
        };
    };
    html! {
        p {
            "Chance that a method has the highest F1 of the self-supervised ones, if every cell were trained with new seeds: means are drawn \
             about those found, by the spread of seeds (" (format!("{:.3}", spread.deviation)) " over all cells)."
        }
        div.figures { @for backbone in BACKBONES {
            @let methods: Vec<&str> = SELF_SUPERVISED.into_iter().filter(|method| SHARES.iter().all(|&share| !ours.seeds("f1", &at(method, backbone, share, None)).is_empty())).collect();
            @if methods.len() > 1 {
                @let chances: Vec<Vec<f64>> = SHARES.iter().map(|&share| {
                    let seeds: Vec<Vec<f64>> = methods.iter().map(|method| ours.seeds("f1", &at(method, backbone, share, None))).collect();
                    let groups: Vec<&[f64]> = seeds.iter().map(Vec::as_slice).collect();
                    ranks(&groups, spread, 2_000, Seed::root(0)).into_iter().map(|ranks| ranks[0]).collect()
                }).collect();
                (Heatmap {
                    caption: format!("Chance of the highest F1 on {}", colour::label(backbone)),
                    row_axis: "method".into(),
                    column_axis: "defects in training".into(),
                    rows: methods.iter().map(|method| ((*method).to_owned(), colour::label(method).to_owned())).collect(),
                    columns: SHARES.map(percent).into(),
                    cells: (0..methods.len()).map(|method| chances.iter().map(|chances| Some(chances[method])).collect()).collect(),
                    range: (0.0, 1.0),
                    percent_decimals: 0,
                }.draw())
            }
        } }
        (lines(ours))
    }
}

/// AUROC and F1 against the training share.
fn lines(ours: &Evidence) -> Markup {
    let plot = |backbone: &str, metric: &str, label: &str| {
        let series: Vec<Series> = METHODS
            .into_iter()
            .map(|method| Series {
                method: method.to_owned(),
                name: colour::label(method).to_owned(),
                points: SHARES
                    .iter()
                    .filter_map(|&share| {
                        let seeds = ours.seeds(metric, &at(method, backbone, share, None));
                        (!seeds.is_empty()).then(|| (share.log10(), mean(&seeds)))
                    })
                    .collect(),
                joined: true,
                dashed: false,
            })
            .filter(|series| !series.points.is_empty())
            .collect();
        let values =
            series.iter().flat_map(|series| series.points.iter().map(|point| point.1)).collect::<Vec<_>>();
        Plot {
            caption: format!("{label} by training share, {}", colour::label(backbone)),
            x: Axis {
                label: "defects in training, logarithmic".into(),
                low: -2.1,
                high: -0.25,
                decimals: 1,
                marks: SHARES.map(|share| (share.log10(), percent(share))).into(),
            },
            y: Axis::about(label, values, 2),
            series,
            legend: true,
        }
        .draw()
    };
    html! { div.figures.two { @for backbone in BACKBONES { (plot(backbone, "f1", "F1")) (plot(backbone, "auroc", "AUROC")) } } }
}

/// Figures 2, 4 and 5.
pub fn imbalance(page: &Page) -> Markup {
    let map =
        |body: &Evidence, whose: &str, backbone: Option<&str>, metric: &str, title: &str| -> Option<Markup> {
            let mut rows = Vec::new();
            let mut cells = Vec::new();
            for method in METHODS {
                for backbone in
                    BACKBONES.into_iter().filter(|known| backbone.is_none_or(|wanted| wanted == *known))
                {
                    for train in SHARES {
                        let row: Vec<Option<f64>> = SHARES
                            .iter()
                            .map(|&share| {
                                let seeds = body.seeds(metric, &at(method, backbone, train, Some(share)));
                                (!seeds.is_empty()).then(|| mean(&seeds))
                            })
                            .collect();
                        if row.iter().any(Option::is_some) {
                            rows.push((
                                method.to_owned(),
                                format!("{} {}", colour::label(method), percent(train)),
                            ));
                            cells.push(row);
                        }
                    }
                }
            }
            let place = backbone.map_or(String::new(), |backbone| format!(", {}", colour::label(backbone)));
            (!rows.is_empty()).then(|| {
                Heatmap {
                    caption: format!("{title}, {whose}{place}"),
                    row_axis: "method and defects in training".into(),
                    column_axis: "defects in validation".into(),
                    rows,
                    columns: SHARES.map(percent).into(),
                    cells,
                    range: (0.0, 1.0),
                    percent_decimals: 1,
                }
                .draw()
            })
        };
    const FIGURE_2: [(&str, &str); 3] =
        [("f1", "F1"), ("f2_ciw_oracle", "F2_CIW"), ("f1_normal", "F1_Normal")];
    const FIGURE_5: [(&str, &str); 3] =
        [("precision", "Precision"), ("recall", "Recall"), ("auroc", "AUROC")];
    html! {
        p {
            "The same model, scored with more and more normal images beside the same kind of defects (Figures 2, 4 and 5). F1 and precision must \
             fall: with a true positive rate T and a false positive rate F, F1 = 2pT / (pT + (1 \u{2212} p)F + p) at a share p of defects. Recall, AUROC \
             and the oracle-typed F2_CIW do not depend on p; what they move is chance."
        }
        h3 { "As printed: Figure 2" }
        div.figures { @for (metric, title) in FIGURE_2 { @if let Some(figure) = map(page.paper(), "the paper", None, metric, title) { (figure) } } }
        @if let Some(ours) = page.ours() {
            @for backbone in BACKBONES {
                h3 { "Ours, " (colour::label(backbone)) }
                div.figures { @for (metric, title) in FIGURE_2.into_iter().chain(FIGURE_5) {
                    @if let Some(figure) = map(ours, "ours", Some(backbone), metric, title) { (figure) }
                } }
            }
        }
    }
}

/// Figures 6 and 7, and which label-free metric orders models as F1 does.
pub fn label_free(page: &Page) -> Markup {
    let Some(ours) = page.ours() else { return html! { p { "No records." } } };
    let records: Vec<&Record> = page.records().filter(|record| record.cell.study == "table1").collect();
    let mut board: Vec<Row> = claims::label_free::metrics(ours)
        .into_iter()
        .filter_map(|metric| {
            let found = claims::label_free::correlation(ours, &metric, true)?;
            Some(Row {
                method: String::new(),
                name: metric.replace('_', " ").replace('.', ": "),
                value: found.value.estimate,
                low: found.value.low,
                high: found.value.high,
            })
        })
        .collect();
    board.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
    let axis = Axis {
        label: "Spearman's correlation with F1, within method and backbone".into(),
        low: -1.0,
        high: 1.0,
        decimals: 1,
        marks: Vec::new(),
    };
    html! {
        p {
            "RankMe needs no labels; the paper found that it does not follow F1. Here every label-free metric of every trained model, against \
             its F1: pooled as in Figure 7, and, what a practitioner needs, within one method on one backbone."
        }
        @if board.is_empty() { p { "No label-free metrics in these records, or too few models." } }
        @else { (intervals("Which label-free metric orders models as F1 does (95 % intervals, resampled models)", &axis, Some(0.0), &board)) }
        div.figures.two {
            (scatter(ours, "monitor.rankme_released", "Figure 7: RankMe as released (mini-batches of features) against F1"))
            (scatter(ours, "features.rankme_normalised", "RankMe of features over its bound, against F1"))
            @for backbone in BACKBONES {
                (curves(&records, backbone, "rankme_released", "RankMe as released"))
                (curves(&records, backbone, "features_unit_deviation", "Spread of directions"))
            }
        }
    }
}

fn scatter(ours: &Evidence, metric: &str, caption: &str) -> Markup {
    let mut series = Vec::new();
    for method in METHODS {
        for backbone in BACKBONES {
            let points: Vec<(f64, f64)> = SHARES
                .iter()
                .flat_map(|&share| {
                    let cell = at(method, backbone, share, None);
                    ours.seeds(metric, &cell).into_iter().zip(ours.seeds("f1", &cell)).collect::<Vec<_>>()
                })
                .collect();
            if !points.is_empty() {
                let name = format!(
                    "{}, {}",
                    colour::label(method),
                    if backbone == "resnet18" { "R-18" } else { "ViT" }
                );
                series.push(Series {
                    method: method.into(),
                    name,
                    points,
                    joined: false,
                    dashed: backbone == "vit_tiny",
                });
            }
        }
    }
    let all = || series.iter().flat_map(|series| series.points.iter());
    Plot {
        caption: caption.to_owned(),
        x: Axis::about(
            "metric (filled: ResNet-18, hollow: ViT-Tiny)",
            all().map(|point| point.0),
            if metric.contains("normalised") { 2 } else { 0 },
        ),
        y: Axis::about("F1", all().map(|point| point.1), 2),
        series,
        legend: true,
    }
    .draw()
}

/// Figure 6: a monitor by epoch, at 45 % and the first seed.
fn curves(records: &[&Record], backbone: &str, monitor: &str, label: &str) -> Markup {
    let wanted = |record: &&&Record| {
        record.cell.backbone == backbone
            && record.cell.seed == 0
            && record.cell.train_share.is_some_and(|share| (share - 0.45).abs() < 1e-9)
    };
    let mut series: Vec<Series> = Vec::new();
    for method in METHODS {
        for record in records.iter().filter(wanted).filter(|record| record.cell.method == method) {
            let points = record
                .curve
                .iter()
                .filter_map(|epoch| Some((epoch.epoch as f64, *epoch.monitors.get(monitor)?)))
                .collect();
            series.push(Series {
                method: method.into(),
                name: colour::label(method).into(),
                points,
                joined: true,
                dashed: false,
            });
        }
    }
    series.retain(|series| !series.points.is_empty());
    if series.is_empty() {
        return html! {};
    }
    let values: Vec<(f64, f64)> = series.iter().flat_map(|series| series.points.clone()).collect();
    Plot {
        caption: format!("Figure 6: {label} by epoch, {} at 45 %, seed 0", colour::label(backbone)),
        x: Axis::about("epoch", values.iter().map(|point| point.0), 0),
        y: Axis::about(
            label,
            values.iter().map(|point| point.1),
            if monitor.contains("rankme") { 0 } else { 2 },
        ),
        series,
        legend: true,
    }
    .draw()
}

/// Table 2, Figure 3, ablations and floors.
pub fn protocol(page: &Page) -> Markup {
    html! {
        (table_2(page))
        @if let Some(ours) = page.ours() { (figure_3(ours)) (ablations(ours)) (floors(ours)) }
        @else { p { "No records." } }
    }
}

fn table_2(page: &Page) -> Markup {
    const SIDES: [&str; 5] = ["side064", "side128", "side224", "side384", "side512"];
    let value = |body: &Evidence, backbone: &str, side: &str, metric: &str| {
        let rows =
            body.study("table2").of("backbone", backbone).of("variant", side).at("validation_share", None);
        let seeds: Vec<f64> = rows.points(metric).into_iter().map(|point| point.value).collect();
        (!seeds.is_empty()).then(|| mean(&seeds))
    };
    html! {
        h3 { "Table 2: image size" }
        div.wide { table {
            caption { "Supervised training without augmentation: F1 (seconds an epoch). Ours at sides in the same proportion to its own." }
            thead { tr { th scope="col" { "Backbone" } th scope="col" { "Whose" } @for side in SIDES { th.number scope="col" { (side.trim_start_matches("side0").trim_start_matches("side")) " px" } } } }
            tbody { @for backbone in BACKBONES { @for (place, body) in page.bodies.iter().enumerate() { tr {
                th scope="row" { (colour::label(backbone)) }
                td { (if place == 0 { "paper" } else { "ours" }) }
                @for side in SIDES { td.number {
                    @match value(body, backbone, side, "f1") {
                        None => "\u{2013}",
                        Some(f1) => {
                            (format!("{f1:.3}"))
                            @if let Some(seconds) = value(body, backbone, side, "cost.epoch_seconds") { " " span.interval { (format!("{seconds:.0} s")) } }
                        }
                    }
                } }
            } } } }
        } }
    }
}

fn figure_3(ours: &Evidence) -> Markup {
    let rows = ours.study("figure3").at("validation_share", None);
    let variants = rows.distinct("variant");
    let split = |variant: &String| {
        variant
            .strip_prefix("jitter")?
            .split_once("-crop")
            .map(|(jitter, crop)| (jitter.to_owned(), crop.to_owned()))
    };
    let mut jitters: Vec<String> = variants.iter().filter_map(split).map(|pair| pair.0).collect();
    let mut crops: Vec<String> = variants.iter().filter_map(split).map(|pair| pair.1).collect();
    jitters.dedup();
    crops.sort();
    crops.dedup();
    if variants.is_empty() {
        return html! { h3 { "Figure 3: augmentation" } p { "Not measured here: " code { "--study figure3" } " trains its 35 cells." } };
    }
    let cells: Vec<Vec<Option<f64>>> = crops
        .iter()
        .map(|crop| {
            jitters
                .iter()
                .map(|jitter| {
                    let cell = rows.of("variant", &format!("jitter{jitter}-crop{crop}"));
                    let seeds: Vec<f64> = cell.points("f1").into_iter().map(|point| point.value).collect();
                    (!seeds.is_empty()).then(|| mean(&seeds))
                })
                .collect()
        })
        .collect();
    let all: Vec<f64> = cells.iter().flatten().flatten().copied().collect();
    let axis = Axis::about("", all, 2);
    let decimal = |thousandths: &String| format!("{}", thousandths.parse::<f64>().unwrap_or(f64::NAN) / 1e3);
    html! {
        h3 { "Figure 3: augmentation" }
        (Heatmap {
            caption: "F1 of supervised ResNet-18 on a quarter of the data; the paper's figure is a picture".into(),
            row_axis: "smallest part of the image that a crop shows".into(),
            column_axis: "strength of the colour jitter".into(),
            rows: crops.iter().map(|crop| (String::new(), decimal(crop))).collect(),
            columns: jitters.iter().map(decimal).collect(),
            cells,
            range: (axis.low, axis.high),
            percent_decimals: 1,
        }.draw())
    }
}

fn ablations(ours: &Evidence) -> Markup {
    const STUDIES: [(&str, &str, &str); 7] = [
        ("mae_two_predictions", "table1", "MAE, two predictions a batch"),
        ("mae_crossed_views", "table1", "MAE, pixels of another view"),
        ("mae_as_released", "table1", "MAE, both, as released"),
        ("dino_plain_head", "dino_head_norm", "DINO, head without batch normalisation"),
        ("augmented_validation", "table1", "validation on augmented images"),
        ("probe_under_lars", "table1", "online probe under LARS"),
        ("probe_as_released", "table1", "online probe under LARS, released rate"),
    ];
    let mut rows = Vec::new();
    for (study, sound, name) in STUDIES {
        for method in METHODS {
            for backbone in BACKBONES {
                let cell = at(method, backbone, 0.45, None);
                let runs = [study, sound].map(|study| ours.runs_of(study, "f1", &cell));
                if runs.iter().any(Vec::is_empty) {
                    continue;
                }
                let paired = ours.paired("", [&runs[0], &runs[1]], ours.spread("f1", None));
                let difference = paired.map_or_else(
                    |_| {
                        let scores = runs.map(|runs| runs.into_iter().map(|run| run.1).collect::<Vec<_>>());
                        let estimate = mean(&scores[0]) - mean(&scores[1]);
                        Interval { estimate, low: f64::NEG_INFINITY, high: f64::INFINITY }
                    },
                    |contrast| contrast.value,
                );
                let name = if name.starts_with(colour::label(method)) {
                    name.to_owned()
                } else {
                    format!("{}: {name}", colour::label(method))
                };
                rows.push(Row {
                    method: method.into(),
                    name,
                    value: difference.estimate,
                    low: difference.low,
                    high: difference.high,
                });
            }
        }
    }
    html! {
        h3 { "As released against sound" }
        @if rows.is_empty() { p { "Not measured here: " code { "--study ablations" } "." } }
        @else {
            @let ends = rows.iter().flat_map(|row| [row.value, row.low, row.high]).chain([0.0]).collect::<Vec<_>>();
            (intervals("What each thing that the released code does costs in F1, at 45 % defects; runs of one seed are paired", &Axis::about("F1 as released less F1 soundly", ends, 2), Some(0.0), &rows))
        }
    }
}

fn floors(ours: &Evidence) -> Markup {
    let mut rows = Vec::new();
    for (study, backbone, name) in [
        ("pixels", "pixels", "pixels of the small image"),
        ("random_weights", "resnet18", "ResNet-18, random weights"),
        ("random_weights", "vit_tiny", "ViT-Tiny, random weights"),
    ] {
        let table = ours.floor(study, backbone);
        if !table.is_empty() {
            let interval = of_seeds(&table, None);
            rows.push(Row {
                method: "none".into(),
                name: name.into(),
                value: interval.estimate,
                low: interval.low,
                high: interval.high,
            });
        }
    }
    for backbone in BACKBONES {
        for method in METHODS {
            let seeds = ours.converged("auroc", &at(method, backbone, 0.45, None));
            if !seeds.is_empty() {
                let interval = of_seeds(&seeds, None);
                let name = format!("{}, {}", colour::label(method), colour::label(backbone));
                rows.push(Row {
                    method: method.into(),
                    name,
                    value: interval.estimate,
                    low: interval.low,
                    high: interval.high,
                });
            }
        }
    }
    let ends: Vec<f64> = rows
        .iter()
        .flat_map(|row| [row.value, row.low.max(row.value - 0.2), row.high.min(row.value + 0.2)])
        .collect();
    html! {
        h3 { "What a method must beat" }
        @if rows.is_empty() { p { "Not measured here." } }
        @else { (intervals("AUROC of the converged probe at 45 % defects, floors first", &Axis::about("AUROC", ends, 2), None, &rows)) }
    }
}
