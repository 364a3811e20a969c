//! The answer at a glance: one row for each training share, and how to get the model.

use maud::{Markup, html};

use super::{anchor, named, unbroken};
use crate::{
    analysis::{Axes, Interval, cell::percent},
    claims::Card,
    data::Share,
    report::{Page, share_in_words},
};

/// Table with one row per training share: the arm to take, its AUROC beside that of random weights and of the best
/// detector that no labelled defect was used for, and how certain the choice is. Each row links to its card.
pub fn table(page: &Page) -> Markup {
    let picks: Vec<_> = page.cards.iter().filter_map(Card::pick).collect();
    let has_interval = |value: Interval| value.low.is_finite() && value.low < value.high;
    let known = picks.is_empty() || picks.iter().any(|pick| has_interval(pick.auroc));
    let how = if known { "with 95 % intervals over seeds" } else { "one seed: no intervals" };
    html! { div.wide { table.glance {
        caption { "The answer at a glance: AUROC of the converged probe, " (how) }
        thead { tr {
            th scope="col" { "Defects in training" } th scope="col" { "Best so far" } th.number scope="col" { "AUROC" }
            th.number scope="col" { "Random weights" } th.number scope="col" { "No defect labelled" }
            th scope="col" { "How sure" }
        } }
        tbody { @for card in &page.cards { (row(page, card)) } }
    } } }
}

fn row(page: &Page, card: &Card) -> Markup {
    let pick = card.pick();
    let random = pick.and_then(|pick| {
        let random = Axes::random_weights(pick.cell.backbone?, card.share);
        card.floors.iter().find(|floor| floor.cell == random)
    });
    html! { tr {
        th scope="row" { a href={ "#" (page.id(&anchor(card.share))) } { (short(card.share)) } }
        td { @if let Some(pick) = pick { strong { (named(pick)) } } @else { "\u{2013}" } }
        td.number { (number(pick.map(|pick| pick.auroc))) }
        td.number { (number(random.map(|random| random.auroc))) }
        td.number { (number(card.unlabelled.as_ref().map(|unlabelled| unlabelled.auroc))) }
        td { (unbroken(&card.how_sure())) }
    } }
}

/// `5 %`, or a phrase for the natural share.
fn short(share: Share) -> String {
    if share == Share::NATURAL { share_in_words(share) } else { unbroken(&percent(share)) }
}

fn number(value: Option<Interval>) -> Markup {
    html! { @match value {
        None => "\u{2013}",
        Some(Interval { estimate, low, high }) => {
            (format!("{estimate:.3}"))
            @if low.is_finite() && low < high {
                " " span.interval { (format!("{:.3}\u{2013}{:.3}", low.max(0.0), high.min(1.0))) }
            }
        }
    } }
}

/// Shows the commands that turn a row into a detector, and what to do first if no weights were kept.
pub fn detector(page: &Page) -> Markup {
    let Some(card) = page.cards.iter().rev().find(|card| card.pick().is_some()) else { return html! {} };
    let Some(folder) = page.contents().and_then(|contents| contents.folders.first()) else { return html! {} };
    let (folder, share) = (folder.display().to_string(), card.share.to_string());
    let kept_none = |made: &crate::claims::decision::RecordedCommand| made.command.contains("--no-weights");
    html! {
        p { "To make a detector of one of these models, here the one trained at " (share_in_words(card.share)) ", and score new images with it:" }
        pre { code {
            "cargo xtask bundle " (folder) " --best detector.skewbench --share " (share) "\n"
            "cargo xtask predict detector.skewbench NEW-IMAGES --out predictions"
        } }
        @if !page.made.is_empty() && page.made.iter().all(kept_none) {
            p.small {
                "These runs kept no weights (" code { "--no-weights" } "). Train the model again first, without that flag and in another folder \
                 (" code { "--out" } "), and name that folder in the first line."
            }
        }
    }
}
