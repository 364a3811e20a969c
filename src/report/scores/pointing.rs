//! Whether a detector looks at the defect.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::{backbone_label, method_label};
use crate::{
    analysis::{
        Axes, Interval,
        intervals::{Uncertainty, interval_over_seeds, mean},
    },
    data::Share,
    report::{
        Page,
        figure::plot::{NamedInterval, PlotAxis, intervals},
        main_share, share_in_words,
    },
    results::record::{Pointing, Record},
    study::Study,
};

/// Shows how often the highest place of a map shows the defect, beside chance: a figure for each backbone and kind
/// of map, since their places differ in size.
pub fn pointing(page: &Page) -> Markup {
    let Some(share) = main_share(&page.reading) else { return html! { p { "No records." } } };
    let (probe, patches) = (
        found(page, share, |record| &record.pointing),
        found(page, share, |record| &record.pointing_patches),
    );
    if probe.is_empty() && patches.is_empty() {
        return html! { p { "Not measured in these records: they do not say where in the images the defects are." } };
    }
    html! {
        p {
            "The converged probe's logit is a sum over the places of an image. The figures show how much of the place with the largest \
             contribution is covered by the defect (trained at " (share_in_words(share)) "): the pointing game, for coarse places. The vertical line is \
             chance, a random pixel; the caption has the highest possible value. Bars are 95 % intervals over seeds."
        }
        (figures("probe", &probe))
        @if !patches.is_empty() {
            p {
                "The same for the place whose features of the middle stages lie farthest from those of normal images (PatchCore). It was fitted \
                 without defects, and its places are finer."
            }
            (figures("patches", &patches))
        }
    }
}

/// Results of pointing, by arm.
type Found<'a> = BTreeMap<Axes, Vec<&'a Pointing>>;

fn found(page: &Page, share: Share, of: fn(&Record) -> &Option<Pointing>) -> Found<'_> {
    let mut found = Found::new();
    for filed in page.records().filter(|filed| filed.cell.share == share) {
        if filed.cell.is_a_candidate() || filed.cell.is_floor() {
            found.entry(filed.cell).or_default().extend(of(&filed.record));
        }
    }
    found.retain(|_, seeds| !seeds.is_empty());
    found
}

fn figures(map: &str, found: &Found) -> Markup {
    let backbones: BTreeSet<_> = found.keys().map(|at| at.backbone).collect();
    let chances = found.values().flatten().map(|seed| seed.chance);
    let values = found.values().map(|seeds| over(seeds));
    let ends = values.flat_map(|value| [value.low, value.estimate, value.high]).chain(chances);
    let axis = PlotAxis::spanning("part of the place that the defect covers", ends, 2);
    html! {
        div.figures.two { @for backbone in backbones {
            @let of: Vec<_> = found.iter().filter(|(at, _)| at.backbone == backbone).collect();
            (figure(&format!("{map}, {}", backbone_label(backbone)), &axis, &of))
        } }
    }
}

fn figure(map: &str, axis: &PlotAxis, found: &[(&Axes, &Vec<&Pointing>)]) -> Markup {
    let all = |of: fn(&Pointing) -> f64| {
        mean(&found.iter().flat_map(|(_, seeds)| seeds.iter().map(|seed| of(seed))).collect::<Vec<_>>())
    };
    let (chance, ceiling) = (all(|seed| seed.chance), all(|seed| seed.ceiling));
    let mut rows: Vec<NamedInterval> = found
        .iter()
        .map(|(at, seeds)| NamedInterval { method: at.method, name: label(at), value: over(seeds) })
        .collect();
    rows.sort_by(|a, b| b.value.estimate.total_cmp(&a.value.estimate));
    intervals(
        &format!("Where a detector looks: {map} (chance {chance:.2}, best place {ceiling:.2})"),
        axis,
        Some(chance),
        &rows,
    )
}

fn label(at: &Axes) -> String {
    match at.study {
        Study::RandomWeights => "random weights".to_owned(),
        Study::GivenWeights => "given weights, frozen".to_owned(),
        Study::FineTuned => format!("{}, fine-tuned", method_label(at.method)),
        _ => method_label(at.method).to_owned(),
    }
}

fn over(seeds: &[&Pointing]) -> Interval {
    let hits: Vec<f64> = seeds.iter().map(|seed| seed.hit).collect();
    interval_over_seeds(&hits, Uncertainty::pooled([&hits[..]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::reading, results::example};

    #[test]
    fn hits_stand_beside_chance() {
        let shown = |records| pointing(&Page::new(reading::from_memory(records), None)).into_string();
        assert!(shown(Vec::new()).contains("No records"));
        let record = |seed: u64, hit: Option<f64>| {
            let mut record = example::record();
            record.cell.seed = seed;
            record.cell.id = format!("{}{seed}", record.cell.id.trim_end_matches('0'));
            record.scores.push(example::score("converged", None));
            record.pointing = hit.map(|hit| Pointing { images: 9, hit, chance: 0.125, ceiling: 0.75 });
            (record.cell.id.clone(), record)
        };
        assert!(shown(vec![record(0, None)]).contains("Not measured in these records"));
        let text = shown(vec![record(0, Some(0.4)), record(1, Some(0.5))]);
        assert!(text.contains("chance 0.12, best place 0.75"), "{text}");
        assert!(!text.contains("PatchCore"), "{text}");
        let patches = Pointing { images: 9, hit: 0.3, chance: 0.125, ceiling: 0.875 };
        let (name, mut with_patches) = record(0, Some(0.4));
        with_patches.pointing_patches = Some(patches);
        let text = shown(vec![(name, with_patches)]);
        assert!(text.contains("patches, ResNet-18 (chance 0.12, best place 0.88)"), "{text}");
    }
}
