//! Which method is first, and how likely. Self-supervised methods only.

use maud::{Markup, html};

use super::SHARES;
use crate::{
    analysis::{
        Axes, Scored,
        cell::percent,
        comparison::{Comparison, holm, ranks},
    },
    backbone,
    claims::Evidence,
    data::Share,
    method,
    report::{
        Page,
        figure::{
            heatmap::Heatmap,
            plot::{NamedInterval, Plot, PlotAxis, Series, intervals},
        },
    },
    results::Metric,
    seed::Seed,
};

/// How likely each method is first, by share: F1, ours.
pub fn ranking(page: &Page) -> Markup {
    let Some(ours) = page.ours() else { return html! { p { "No records." } } };
    let spreads = spreads(ours);
    if spreads.is_empty() {
        return html! {
            p { "One seed a cell: nothing is known of how far another seed would lie, so no ranking is given. " code { "--seeds 3" } " trains three." }
            (lines(page, ours))
            (on_images(page))
        };
    }
    html! {
        p {
            "Chance that a method has the highest F1 of the self-supervised ones, if every cell were trained with new seeds: means are drawn \
             about those found, by the spread of seeds at each training share (" (spreads.join(", ")) ")."
        }
        div.figures { @for backbone in backbone::Name::ALL { (chances(page, ours, backbone)) } }
        (lines(page, ours))
        (comparisons(page, ours))
        (on_images(page))
    }
}

/// The spread of F1 over seeds by training share, in words, where it is known.
fn spreads(ours: &Evidence) -> Vec<String> {
    let any = Axes::table_1(method::Name::Supervised, backbone::Name::ResNet18, Share::NATURAL);
    let spread = |share| {
        let spread = ours.spread(Metric::F1, &Axes { share, ..any }.in_training())?;
        Some(format!("{}: {:.3}", percent(share), spread.deviation))
    };
    SHARES.into_iter().filter_map(spread).collect()
}

fn at(method: method::Name, backbone: backbone::Name, share: Share) -> Scored {
    Axes::table_1(method, backbone, share).in_training()
}

/// Who is first on a backbone, share by share; nothing where fewer than two methods were trained at all shares.
fn chances(page: &Page, ours: &Evidence, backbone: backbone::Name) -> Markup {
    let trained = |method: &method::Name| {
        SHARES.iter().all(|&share| !ours.seeds(Metric::F1, &at(*method, backbone, share)).is_empty())
    };
    let methods: Vec<method::Name> = page.self_supervised().into_iter().filter(trained).collect();
    if methods.len() < 2 {
        return html! {};
    }
    let first = |share: Share| -> Vec<Option<f64>> {
        let cells: Vec<Scored> = methods.iter().map(|&method| at(method, backbone, share)).collect();
        let seeds: Vec<Vec<f64>> = cells.iter().map(|cell| ours.seeds(Metric::F1, cell)).collect();
        let groups: Vec<&[f64]> = seeds.iter().map(Vec::as_slice).collect();
        match ours.spread(Metric::F1, &cells[0]) {
            Some(spread) => {
                ranks(&groups, spread, 2_000, Seed::root(0)).into_iter().map(|ranks| Some(ranks[0])).collect()
            }
            None => vec![None; methods.len()],
        }
    };
    let columns = SHARES.map(first);
    Heatmap {
        caption: format!("Chance of the highest F1 on {}", backbone.label()),
        row_axis: "method".into(),
        column_axis: "defects in training".into(),
        rows: methods.iter().map(|method| (Some(*method), method.label().to_owned())).collect(),
        columns: SHARES.map(percent).into(),
        cells: (0..methods.len()).map(|row| columns.iter().map(|column| column[row]).collect()).collect(),
        range: (0.0, 1.0),
        percent_decimals: 0,
    }
    .draw()
}

/// Differences of single models on the same test images, where logits lie beside records.
fn on_images(page: &Page) -> Markup {
    let rows: Vec<NamedInterval> = page
        .on_images
        .iter()
        .map(|found| NamedInterval {
            method: Some(found.method),
            name: format!("{}, {}", found.method.label(), found.backbone.label()),
            value: found.difference,
        })
        .collect();
    if rows.is_empty() {
        return html! {};
    }
    let ends = rows.iter().flat_map(|row| [row.value.low, row.value.high]).chain([0.0]).collect::<Vec<_>>();
    html! {
        p { "Other test images would move scores too, without any new seed: one model each at 45 %, seed 0, drawn again 400 times from the same images for both models." }
        (intervals("AUROC less supervised training's on the same test images (converged probe, 95 %)", &PlotAxis::about("difference of AUROC", ends, 2), Some(0.0), &rows))
    }
}

/// A method beside supervised training at one share.
type Compared = (method::Name, Share, Comparison);

/// Every self-supervised method beside supervised training: by how much, in deviations of a seed, and how often a run of
/// it is above. One correction for all of a backbone.
fn comparisons(page: &Page, ours: &Evidence) -> Markup {
    html! {
        details {
            summary { "Each method beside supervised training" }
            @for backbone in backbone::Name::ALL { (compared_table(backbone, &compared(page, ours, backbone))) }
        }
    }
}

fn compared(page: &Page, ours: &Evidence, backbone: backbone::Name) -> Vec<Compared> {
    let methods = page.self_supervised().into_iter();
    let pairs = methods.flat_map(|method| SHARES.map(|share| (method, share)));
    let compared = pairs.filter_map(|(method, share)| {
        let cells = [method, method::Name::Supervised].map(|method| at(method, backbone, share));
        let [own, supervised] = cells.map(|cell| ours.seeds(Metric::F1, &cell));
        let spread = ours.spread(Metric::F1, &cells[0])?;
        let both = !own.is_empty() && !supervised.is_empty();
        both.then(|| (method, share, Comparison::of(&own, &supervised, spread)))
    });
    compared.collect()
}

fn compared_table(backbone: backbone::Name, rows: &[Compared]) -> Markup {
    let corrected = holm(&rows.iter().map(|row| row.2.p_value).collect::<Vec<_>>());
    html! { div.wide { table {
        caption { "F1 less supervised F1, " (backbone.label()) "; p of no difference, corrected for all of the table (Holm)" }
        thead { tr { th scope="col" { "Method" } th.number scope="col" { "Defects in training" } th.number scope="col" { "Difference" }
            th.number scope="col" { "In deviations of a seed" } th.number scope="col" { "Chance that a run is above" } th.number scope="col" { "p" } } }
        tbody { @for ((method, share, compared), p) in rows.iter().zip(corrected) { tr {
            th scope="row" { span.dot style={ "background:" (method.colour()) } {} (method.label()) }
            td.number { (percent(*share)) }
            td.number { (format!("{:+.3}", compared.difference.estimate)) " " span.interval { (format!("{:+.3} to {:+.3}", compared.difference.low, compared.difference.high)) } }
            td.number { (format!("{:+.1}", compared.effect)) } td.number { (format!("{:.0} %", 100.0 * compared.improvement)) }
            td.number { (if p < 0.001 { "< 0.001".to_owned() } else { format!("{p:.3}") }) }
        } } }
    } } }
}

/// AUROC and F1 against the training share.
fn lines(page: &Page, ours: &Evidence) -> Markup {
    html! { div.figures.two { @for backbone in backbone::Name::ALL {
        (line(page, ours, backbone, Metric::F1)) (line(page, ours, backbone, Metric::Auroc))
    } } }
}

fn line(page: &Page, ours: &Evidence, backbone: backbone::Name, metric: Metric) -> Markup {
    let point = |method, share: Share| {
        Some((share.fraction()?.log10(), ours.mean(metric, &at(method, backbone, share))?))
    };
    let series: Vec<Series> = page
        .methods()
        .into_iter()
        .map(|method| Series {
            method: Some(method),
            name: method.label().to_owned(),
            points: SHARES.into_iter().filter_map(|share| point(method, share)).collect(),
            joined: true,
            dashed: false,
        })
        .filter(|series| !series.points.is_empty())
        .collect();
    let values =
        series.iter().flat_map(|series| series.points.iter().map(|point| point.1)).collect::<Vec<_>>();
    let mark = |share: Share| Some((share.fraction()?.log10(), percent(share)));
    Plot {
        caption: format!("{} by training share, {}", metric.label(), backbone.label()),
        x: PlotAxis {
            label: "defects in training, logarithmic".into(),
            low: -2.1,
            high: -0.25,
            decimals: 1,
            marks: SHARES.into_iter().filter_map(mark).collect(),
        },
        y: PlotAxis::about(metric.label(), values, 2),
        series,
        legend: true,
    }
    .draw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::{Reading, frame::FrameBuilder},
        method::Name,
    };

    #[test]
    fn every_method_has_its_chance() {
        // Deviations of 0.007 (one degree each, pooled) between means 0.1 apart: the order is certain.
        let order = [Name::Byol, Name::BarlowTwins, Name::Dino, Name::Mae, Name::SimClr];
        for best in 0..order.len() {
            let mut frame = FrameBuilder::default();
            for share in SHARES {
                for (place, method) in order.into_iter().enumerate() {
                    for seed in 0..2 {
                        frame.begin("test", at(method, backbone::Name::ViTTiny, share), Some(seed));
                        let middle = if place == best { 0.9 } else { 0.1 * place as f64 };
                        frame.number(Metric::F1, Some(middle + 0.01 * seed as f64));
                    }
                }
            }
            let reading = Reading { frame: frame.frame(), records: Vec::new(), problems: Vec::new() };
            let page = Page::new(reading, None);
            let drawn = chances(&page, page.ours().unwrap(), backbone::Name::ViTTiny).into_string();
            let text = |begin: &str| drawn.split('>').any(|part| part.split('<').next() == Some(begin));
            for method in order {
                assert!(text(method.label()), "{} has no row: {drawn}", method.label());
            }
            // One row of certain wins, four of none.
            assert_eq!(
                drawn.matches(">100<").count(),
                SHARES.len(),
                "{} is best: {drawn}",
                order[best].label()
            );
            assert_eq!(drawn.matches(">0<").count(), 4 * SHARES.len());
        }
    }
}
