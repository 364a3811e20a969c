//! Which method to take: a table of all training shares, then one card for each, at the top of the page.

mod glance;

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{
    Page,
    figure::plot::{NamedInterval, PlotAxis, intervals},
    scores::{backbone_label, by_share, method_label},
    share_in_words,
};
use crate::{
    analysis::{Interval, intervals::proportion_interval},
    claims::{Card, decision::Standing},
    data::Share,
    results::{Classifier, Metric, record::Score},
    study::Study,
};

/// All cards; if nothing was measured, the command that would make one.
pub fn section(page: &Page) -> Markup {
    if page.cards.is_empty() {
        return html! { p { "Nothing was measured, so there is nothing to choose from: " code { "cargo xtask reproduce" } " trains the models to choose from." } };
    }
    html! {
        (glance::table(page))
        (glance::detector(page))
        @if page.shares().len() > 1 && let Some(ours) = page.ours() {
            div.figures.two { @for (_, plot) in by_share(page, ours, Metric::Auroc) { (plot.draw()) } }
        }
        div.cards { @for card in &page.cards { (one(page, card)) } }
        p.small {
            "Methods are compared by AUROC of the converged probe on all validation images. Which methods may be the best is found by \
             multiple comparison with the best (Hsu 1984); each method on a backbone has its own spread over seeds. The effect of other \
             validation images is Hanley and McNeil's standard error (1982), or Obuchowski's (1997) where images come in groups."
        }
    }
}

fn one(page: &Page, card: &Card) -> Markup {
    let commands = card.commands(&page.made);
    html! {
        article.card id=(page.id(&anchor(card.share))) {
            h3 { "Trained at " (share_in_words(card.share)) }
            p.act { (unbroken(&card.sentence())) }
            (forest(page, card))
            (by_class(page, card))
            ul {
                @for line in card.evidence() { li { (unbroken(&line)) } }
                @if let Some(line) = card.what_next() { li {
                    (unbroken(&line))
                    @if !commands.is_empty() { pre { code { (commands.join("\n")) } } }
                } }
                @if let Some(line) = card.what_is_missing() { li { (unbroken(&line)) } }
            }
        }
    }
}

/// Keeps a number together with its sign.
fn unbroken(text: &str) -> String {
    text.replace(" %", "\u{a0}%")
}

/// Returns the anchor of a card on the page: `card-share05`.
fn anchor(share: Share) -> String {
    format!("card-{}", share.id())
}

/// Returns the AUROC axis of every card's arms and floors: cards are compared, so they share one scale.
fn axis(page: &Page) -> PlotAxis {
    let standings = page.cards.iter().flat_map(|card| card.arms.iter().chain(&card.floors));
    PlotAxis::spanning(Metric::Auroc.label(), standings.flat_map(|standing| ends(standing.auroc)), 2)
}

/// Shows every arm and floor with its interval, the highest first; a star marks those that may be the best.
fn forest(page: &Page, card: &Card) -> Markup {
    let candidate = |standing: &Standing| {
        card.contest.iter().any(|contest| contest.candidates().any(|arm| arm.scored.cell == standing.cell))
    };
    let row = |standing: &Standing| NamedInterval {
        method: standing.cell.method,
        name: format!("{}{}", named(standing), if candidate(standing) { " \u{2605}" } else { "" }),
        value: standing.auroc,
    };
    let mut standings: Vec<&Standing> = card.arms.iter().chain(&card.floors).collect();
    if standings.is_empty() {
        return html! {};
    }
    standings.sort_by(|a, b| b.auroc.estimate.total_cmp(&a.auroc.estimate));
    let rows: Vec<NamedInterval> = standings.into_iter().map(row).collect();
    let starred = if card.contest.is_some() { "; \u{2605}: may be the best" } else { "" };
    // A value that no seed changes has an interval of one point.
    let known = rows.iter().any(|row| row.value.low.is_finite() && row.value.low < row.value.high);
    let how = if known { "95 % over seeds" } else { "one seed: no intervals" };
    intervals(&format!("AUROC of the converged probe ({how}){starred}"), &axis(page), None, &rows)
}

/// Shows which kinds of defects the chosen arm finds; nothing if the data name none.
fn by_class(page: &Page, card: &Card) -> Markup {
    let Some(pick) = card.pick() else { return html! {} };
    let mut counts: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for filed in page.records().filter(|filed| filed.cell == pick.cell) {
        let of_all = |score: &&Score| {
            score.classifier == Classifier::Converged.id() && score.validation_share.is_none()
        };
        for (name, [found, all]) in
            filed.record.scores.iter().filter(of_all).flat_map(|score| &score.recall_by_class)
        {
            let [seeds, sum, images] = counts.entry(name).or_default();
            (*seeds, *sum, *images) = (*seeds + 1, *sum + found, *all);
        }
    }
    let mut rows: Vec<NamedInterval> = counts
        .into_iter()
        .map(|(name, [seeds, found, all])| NamedInterval {
            method: pick.cell.method,
            name: format!("{name} ({all})"),
            value: proportion_interval(found as f64 / seeds as f64, all as f64),
        })
        .collect();
    if rows.is_empty() {
        return html! {};
    }
    rows.sort_by(|a, b| b.value.estimate.total_cmp(&a.value.estimate));
    let (label, marks) = ("recall".to_owned(), Vec::new());
    let axis = PlotAxis { label, low: 0.0, high: 1.0, decimals: 1, marks };
    let caption = format!(
        "Recall of {} by class of defect: converged probe, logit above 0 (95 % over images; in brackets: how many images)",
        named(pick)
    );
    intervals(&caption, &axis, None, &rows)
}

/// Returns the values that the axis must include for an interval: a wide one is cut, so that others stay
/// distinguishable.
fn ends(value: Interval) -> [f64; 3] {
    const CUT: f64 = 0.2;
    let Interval { estimate, low, high } = value;
    [estimate, low.max(estimate - CUT).max(0.0), high.min(estimate + CUT).min(1.0)]
}

fn named(standing: &Standing) -> String {
    let cell = standing.cell;
    match cell.study {
        Study::Pixels => "raw pixels".to_owned(),
        Study::RandomWeights => format!("random weights, {}", backbone_label(cell.backbone)),
        Study::GivenWeights => format!("given weights, frozen, {}", backbone_label(cell.backbone)),
        Study::FineTuned => {
            format!("{}, fine-tuned, {}", method_label(cell.method), backbone_label(cell.backbone))
        }
        _ => format!("{}, {}", method_label(cell.method), backbone_label(cell.backbone)),
    }
}
