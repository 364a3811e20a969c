//! Whether a detector looks at the defect.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::{backbone_label, method_label};
use crate::{
    analysis::{
        Axes, Interval,
        intervals::{Uncertainty, mean, of_seeds},
    },
    report::{
        Page,
        figure::plot::{NamedInterval, PlotAxis, intervals},
        main_share, share_in_words,
    },
    results::record::Pointing,
    study::Study,
};

/// How often the highest place of the probe's map shows the defect, beside chance: a figure for each backbone, as places
/// of each are of another size.
pub fn pointing(page: &Page) -> Markup {
    let Some(share) = main_share(&page.reading) else { return html! { p { "No records." } } };
    let mut found: BTreeMap<Axes, Vec<&Pointing>> = BTreeMap::new();
    for filed in page.records().filter(|filed| filed.cell.share == share) {
        if filed.cell.is_a_candidate() || filed.cell.is_floor() {
            found.entry(filed.cell).or_default().extend(&filed.record.pointing);
        }
    }
    found.retain(|_, seeds| !seeds.is_empty());
    let backbones: BTreeSet<_> = found.keys().map(|at| at.backbone).collect();
    if found.is_empty() {
        return html! { p { "Not measured here: nobody knows where in these images defects are." } };
    }
    html! {
        p {
            "The converged probe adds up what each place of an image says. The figures tell which part of the place that says most for a defect \
             does show it, where training had " (share_in_words(share)) ": the pointing game, for places that are coarse. The line is chance, a \
             pixel anywhere; the best place there is would reach the number in the caption. 95 % over seeds."
        }
        div.figures.two { @for backbone in backbones {
            @let of: Vec<_> = found.iter().filter(|(at, _)| at.backbone == backbone).collect();
            (figure(backbone_label(backbone), &of))
        } }
    }
}

fn figure(backbone: &str, found: &[(&Axes, &Vec<&Pointing>)]) -> Markup {
    let all = |of: fn(&Pointing) -> f64| {
        mean(&found.iter().flat_map(|(_, seeds)| seeds.iter().map(|seed| of(seed))).collect::<Vec<_>>())
    };
    let (chance, ceiling) = (all(|seed| seed.chance), all(|seed| seed.ceiling));
    let mut rows: Vec<NamedInterval> = found
        .iter()
        .map(|(at, seeds)| NamedInterval { method: at.method, name: label(at), value: over(seeds) })
        .collect();
    rows.sort_by(|a, b| b.value.estimate.total_cmp(&a.value.estimate));
    let ends = rows.iter().flat_map(|row| [row.value.low, row.value.estimate, row.value.high]);
    let finite = ends.filter(|end| end.is_finite()).chain([chance]);
    let axis = PlotAxis::about("part of the place that shows the defect", finite, 2);
    intervals(
        &format!("Where it looks, {backbone} (chance {chance:.2}, best place {ceiling:.2})"),
        &axis,
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
    of_seeds(&hits, Uncertainty::pooled([&hits[..]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::reading, results::example};

    #[test]
    fn hits_stand_beside_chance() {
        let shown = |records| pointing(&Page::new(reading::of(records), None)).into_string();
        assert!(shown(Vec::new()).contains("No records"));
        let record = |seed: u64, hit: Option<f64>| {
            let mut record = example::record();
            record.cell.seed = seed;
            record.cell.id = format!("{}{seed}", record.cell.id.trim_end_matches('0'));
            record.scores.push(example::score("converged", None));
            record.pointing = hit.map(|hit| Pointing { images: 9, hit, chance: 0.125, ceiling: 0.75 });
            (record.cell.id.clone(), record)
        };
        assert!(shown(vec![record(0, None)]).contains("Not measured here"));
        let text = shown(vec![record(0, Some(0.4)), record(1, Some(0.5))]);
        assert!(text.contains("chance 0.12, best place 0.75"), "{text}");
    }
}
