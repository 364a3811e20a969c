//! Which method ranks first, and with what probability: by AUROC and average precision of the converged probe.
//! Probabilities are among self-supervised methods only.

use maud::{Markup, html};

use super::{by_share, difference};
use crate::{
    analysis::{
        Axes, Interval, Measure, Scored,
        best::{chances_of_first, mean_ranks},
        cell::percent,
        comparison::{Comparison, holm},
        noise::Weighed,
    },
    backbone,
    claims::Evidence,
    data::Share,
    method,
    report::{
        Page,
        figure::{
            heatmap::Heatmap,
            plot::{NamedInterval, PlotAxis, intervals},
        },
        share_in_words,
    },
    results::Metric,
    seed::Seed,
};

/// Scores that methods are ranked by.
const RANKED: [Metric; 2] = [Metric::Auroc, Metric::AveragePrecision];

/// Shows the probability that each method ranks first, by share, in our measurements.
pub fn ranking(page: &Page) -> Markup {
    let Some(ours) = page.ours() else { return html! { p { "No records." } } };
    let arms = ours.frame().axes().into_iter().filter(|at| at.cell.is_an_arm());
    let known = arms.map(|at| at.cell.converged()).any(|at| ours.spread(Metric::Auroc, &at).is_some());
    let backbones = backbone::Name::STUDY.into_iter();
    let pairs =
        RANKED.into_iter().flat_map(|metric| backbones.clone().map(move |backbone| (metric, backbone)));
    let figures: Vec<Markup> =
        pairs.filter_map(|(metric, backbone)| chances(page, ours, backbone, metric)).collect();
    html! {
        @if known && figures.is_empty() {
            p { "No share has two self-supervised methods on one backbone, so there is nothing to rank. The card above compares everything that was trained." }
        } @else if known {
            p {
                "How often each self-supervised method would have the highest score on its backbone if the whole study were repeated with new \
                 seeds. The chances come from means drawn around the measured ones, each with its own cell's spread over seeds. Scores are of the \
                 converged probe on all validation images."
            }
            div.figures.two { @for figure in &figures { (figure) } }
        } @else {
            p { "There is one seed per cell, so the spread over seeds is unknown and no ranking is given. " code { "--seeds 3" } " trains three seeds." }
        }
        div.figures.two { @for (_, plot) in by_share(page, ours, Metric::AveragePrecision) { (plot.draw()) } }
        (ranks(page, ours))
        (comparisons(page, ours))
        (on_images(page))
    }
}

fn at(method: method::Name, backbone: backbone::Name, share: Share) -> Scored {
    Axes::trained(method, backbone, share).converged()
}

/// Returns the metric's name as spelt within a sentence.
fn lower(metric: Metric) -> String {
    if metric == Metric::AveragePrecision { metric.label().to_lowercase() } else { metric.label().to_owned() }
}

/// A heat map of the probability of ranking first on a backbone, by share; `None` if no share has two methods.
fn chances(page: &Page, ours: &Evidence, backbone: backbone::Name, metric: Metric) -> Option<Markup> {
    let trained = |share: Share| -> Vec<method::Name> {
        let there = page.trained_on(backbone, share).into_iter().filter(|method| !method.is_supervised());
        there.filter(|&method| ours.mean(metric, &at(method, backbone, share)).is_some()).collect()
    };
    let shares: Vec<Share> = page.shares().into_iter().filter(|&share| trained(share).len() > 1).collect();
    let first = |&share: &Share| -> Vec<(method::Name, f64)> {
        let methods = trained(share);
        let arm = |&method: &method::Name| {
            let at = at(method, backbone, share);
            Some((at, ours.mean(metric, &at)?, ours.scores(metric, &at).len()))
        };
        let arms: Vec<_> = methods.iter().filter_map(arm).collect();
        let mut stream = Seed::root(0).child("first").child(&share.id()).stream();
        let chances = chances_of_first(ours.noise(), &Measure::from(metric), &arms, 2_000, &mut stream);
        methods.into_iter().zip(chances.unwrap_or_default()).collect()
    };
    let columns: Vec<Vec<(method::Name, f64)>> = shares.iter().map(first).collect();
    let chance = |column: &[(method::Name, f64)], method| {
        column.iter().find(|(known, _)| *known == method).map(|(_, chance)| *chance)
    };
    let mut methods = page.self_supervised();
    methods.retain(|method| columns.iter().any(|column| chance(column, *method).is_some()));
    let row = |method: &method::Name| columns.iter().map(|column| chance(column, *method)).collect();
    let figure = || Heatmap {
        caption: format!("Chance of the highest {} on {}", lower(metric), backbone.label()),
        row_axis: "method".into(),
        column_axis: "defects in training".into(),
        rows: methods.iter().map(|method| (Some(*method), method.label().to_owned())).collect(),
        columns: shares.into_iter().map(percent).collect(),
        cells: methods.iter().map(row).collect(),
        range: (0.0, 1.0),
        percent_decimals: 0,
    };
    (!methods.is_empty()).then(|| figure().draw())
}

/// The mean rank of every arm and of random weights over the training shares; nothing if fewer than two shares have
/// the same arms, or the spread over seeds is unknown.
fn ranks(page: &Page, ours: &Evidence) -> Markup {
    let shares = page.shares();
    let arms = backbone::Name::STUDY.into_iter().flat_map(|backbone| {
        let random = std::iter::once((None, backbone));
        random.chain(page.methods().into_iter().map(move |method| (Some(method), backbone)))
    });
    let scored = |&(method, backbone): &(Option<method::Name>, backbone::Name), share: Share| {
        let cell = match method {
            Some(method) => at(method, backbone, share),
            None => Axes::random_weights(backbone, share).converged(),
        };
        Some((cell, ours.mean(Metric::Auroc, &cell)?, ours.scores(Metric::Auroc, &cell).len()))
    };
    let everywhere = |arm: &(Option<method::Name>, backbone::Name)| {
        shares.iter().all(|&share| scored(arm, share).is_some())
    };
    let arms: Vec<_> = arms.filter(everywhere).collect();
    let contest = |&share: &Share| arms.iter().filter_map(|arm| scored(arm, share)).collect::<Vec<_>>();
    let contests: Vec<_> = shares.iter().map(contest).collect();
    let mut stream = Seed::root(0).child("ranks").stream();
    let ranks = mean_ranks(ours.noise(), &Metric::Auroc.into(), &contests, 2_000, &mut stream);
    let Some(ranks) = ranks.filter(|_| shares.len() > 1 && arms.len() > 2) else { return html! {} };
    let name = |(method, backbone): &(Option<method::Name>, backbone::Name)| {
        format!("{}, {}", method.map_or("random weights", method::Name::label), backbone.label())
    };
    let row = |(arm, value): (&(Option<method::Name>, backbone::Name), Interval)| NamedInterval {
        method: arm.0,
        name: name(arm),
        value,
    };
    let mut rows: Vec<NamedInterval> = arms.iter().zip(ranks).map(row).collect();
    rows.sort_by(|a, b| a.value.estimate.total_cmp(&b.value.estimate));
    let axis = PlotAxis::spanning(&format!("rank among {}", rows.len()), [1.0, rows.len() as f64], 0);
    let caption = format!(
        "Rank by AUROC of the converged probe, averaged over {} training shares; 1 is the highest (95 %, if every cell were \
         trained with new seeds)",
        shares.len()
    );
    intervals(&caption, &axis, None, &rows)
}

/// Differences between single models on the same test images, if logits are stored beside the records.
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
    let Some(first) = page.on_images.first() else { return html! {} };
    let ends = rows.iter().flat_map(|row| [row.value.low, row.value.high]).chain([0.0]).collect::<Vec<_>>();
    html! {
        p { "Other test images would also change the scores, without any new seed. Here two models at a time (trained at " (share_in_words(first.share)) ", seed 0) are scored on 400 resamples of the same validation images." }
        (intervals("AUROC minus that of supervised training on the same test images (converged probe, 95 %)", &PlotAxis::spanning("difference of AUROC", ends, 2), Some(0.0), &rows))
    }
}

/// A comparison of a method with supervised training at one share.
type Compared = (method::Name, Share, Comparison);

/// Compares every self-supervised method with supervised training: the difference, in standard deviations of a
/// seed, and how often a single run is above. One correction for all comparisons on a backbone.
fn comparisons(page: &Page, ours: &Evidence) -> Markup {
    let tables = backbone::Name::STUDY.map(|backbone| (backbone, compared(page, ours, backbone)));
    let tables: Vec<_> = tables.into_iter().filter(|(_, rows)| !rows.is_empty()).collect();
    if tables.is_empty() {
        return html! {};
    }
    let values = tables.iter().flat_map(|(_, rows)| rows).flat_map(|row| ends(row.2.difference));
    let axis = PlotAxis::spanning("AUROC minus that of supervised training", values.chain([0.0]), 2);
    html! {
        div.figures.two { @for (backbone, rows) in &tables { (compared_figure(*backbone, &axis, rows)) } }
        details {
            summary { "These differences as numbers" }
            @for (backbone, rows) in &tables { (compared_table(*backbone, rows)) }
        }
    }
}

/// Returns the values that the axis must include; infinite ends are not drawn.
fn ends(Interval { estimate, low, high }: Interval) -> impl Iterator<Item = f64> {
    [estimate, low, high].into_iter().filter(|end| end.is_finite())
}

fn compared_figure(backbone: backbone::Name, axis: &PlotAxis, rows: &[Compared]) -> Markup {
    let row = |(method, share, compared): &Compared| NamedInterval {
        method: Some(*method),
        name: format!("{}, {}", method.label(), percent(*share)),
        value: compared.difference,
    };
    let caption = format!(
        "AUROC of the converged probe minus that of supervised training on {}, by share of defects in training (95 %)",
        backbone.label()
    );
    intervals(&caption, axis, Some(0.0), &rows.iter().map(row).collect::<Vec<_>>())
}

fn compared(page: &Page, ours: &Evidence, backbone: backbone::Name) -> Vec<Compared> {
    let (methods, shares) = (page.self_supervised().into_iter(), page.shares());
    let pairs = methods.flat_map(|method| shares.iter().map(move |&share| (method, share)));
    let compared = pairs.filter_map(|(method, share)| {
        let cells = [method, method::Name::Supervised].map(|method| at(method, backbone, share));
        let scores = cells.map(|cell| ours.scores(Metric::Auroc, &cell));
        if scores.iter().any(Vec::is_empty) {
            return None;
        }
        let [own, supervised] = cells.map(|cell| ours.spread(Metric::Auroc, &cell));
        let weigh =
            |weight, place: usize| Weighed { weight, scored: cells[place], seeds: scores[place].len() };
        let error = ours.noise().standard_error(&Metric::Auroc.into(), &[weigh(1.0, 0), weigh(-1.0, 1)])?;
        let spreads = [own?, supervised?];
        Some((method, share, Comparison::between([&scores[0], &scores[1]], spreads, error)))
    });
    compared.collect()
}

fn compared_table(backbone: backbone::Name, rows: &[Compared]) -> Markup {
    let corrected = holm(&rows.iter().map(|row| row.2.p_value).collect::<Vec<_>>());
    html! { div.wide { table {
        caption { "AUROC of the converged probe minus that of supervised training, " (backbone.label()) "; each cell has its own standard error; p values are corrected for the whole table (Holm)" }
        thead { tr { th scope="col" { "Method" } th.number scope="col" { "Defects in training" } th.number scope="col" { "Difference" }
            th.number scope="col" { "In seed standard deviations" } th.number scope="col" { "Chance that one run is above" } th.number scope="col" { "p" } } }
        tbody { @for ((method, share, compared), p) in rows.iter().zip(corrected) { tr {
            th scope="row" { span.dot style={ "background:" (method.colour()) } {} (method.label()) }
            td.number { (percent(*share)) }
            td.number { (difference(Some(compared.difference))) }
            td.number { (format!("{:+.1}", compared.effect)) } td.number { (format!("{:.0} %", 100.0 * compared.improvement)) }
            td.number { (if p < 0.001 { "< 0.001".to_owned() } else { format!("{p:.3}") }) }
        } } }
    } } }
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
        // Standard deviations of 0.007 with means 0.1 apart: the order is certain.
        let order = [Name::Byol, Name::BarlowTwins, Name::Dino, Name::Mae, Name::SimClr];
        for best in 0..order.len() {
            let mut frame = FrameBuilder::default();
            for share in Share::STUDY {
                for (place, method) in order.into_iter().enumerate() {
                    for seed in 0..2 {
                        frame.begin("test", at(method, backbone::Name::ViTTiny, share), Some(seed));
                        let middle = if place == best { 0.9 } else { 0.1 * place as f64 };
                        frame.number(Metric::Auroc, Some(middle + 0.01 * seed as f64));
                    }
                }
            }
            let reading = Reading { frame: frame.frame(), records: Vec::new(), problems: Vec::new() };
            let page = Page::new(reading, None);
            let drawn = chances(&page, page.ours().unwrap(), backbone::Name::ViTTiny, Metric::Auroc)
                .unwrap()
                .into_string();
            let text = |begin: &str| drawn.split('>').any(|part| part.split('<').next() == Some(begin));
            for method in order {
                assert!(text(method.label()), "{} has no row: {drawn}", method.label());
            }
            // One row with certain wins, four with none.
            assert_eq!(
                drawn.matches(">100<").count(),
                Share::STUDY.len(),
                "{} is best: {drawn}",
                order[best].label()
            );
            assert_eq!(drawn.matches(">0<").count(), 4 * Share::STUDY.len());
        }
    }
}
