//! Table 2, Figure 3, ablations and floors: what is not a method's merit. Nothing here is judged.

use maud::{Markup, html};

use super::{METHODS, at};
use crate::{
    analysis::{
        Interval,
        intervals::{mean, of_seeds},
    },
    claims::{Evidence, evidence::BACKBONES},
    report::{
        Page,
        figure::{
            colour,
            heatmap::Heatmap,
            plot::{Axis, Row, intervals},
        },
    },
};

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
