//! A score of the converged probe by share of defects in training, for every method and floor.

use crate::{
    analysis::{Axes, Scored, cell::percent},
    backbone,
    claims::Evidence,
    data::Share,
    method,
    report::{
        Page,
        figure::plot::{Plot, PlotAxis, Series, what_bars_are},
    },
    results::Metric,
};

/// Plots a score of every method and floor against the training share, one plot for each backbone that was trained.
pub fn by_share(page: &Page, ours: &Evidence, metric: Metric) -> Vec<(backbone::Name, Plot)> {
    let shares: Vec<(Share, f64)> = page
        .shares()
        .into_iter()
        .filter_map(|share| Some((share, page.fraction(share)?.log10())))
        .filter(|(_, place)| place.is_finite())
        .collect();
    let drawn =
        backbone::Name::STUDY.map(|backbone| (backbone, series(page, ours, (metric, backbone), &shares)));
    let drawn: Vec<_> = drawn.into_iter().filter(|(_, series)| !series.is_empty()).collect();
    let all = drawn.iter().flat_map(|(_, series)| series);
    let ends = |series: &Series| -> Vec<f64> {
        let bars = series.bars.iter().flat_map(|(_, ends)| *ends).filter(|end| end.is_finite());
        series.points.iter().map(|point| point.1).chain(bars).collect()
    };
    let values: Vec<f64> = all.flat_map(ends).map(|value| value.clamp(0.0, 1.0)).collect();
    let places = shares.iter().map(|(_, place)| *place);
    let (low, high) =
        places.fold((f64::MAX, f64::MIN), |(low, high), place| (low.min(place), high.max(place)));
    let plot = |series: Vec<Series>, backbone: backbone::Name| Plot {
        caption: format!(
            "{} of the converged probe by training share, {} ({})",
            metric.label(),
            backbone.label(),
            what_bars_are(&series)
        ),
        x: PlotAxis {
            label: "share of defects in training (logarithmic scale)".into(),
            low: low - 0.1,
            high: high + 0.1,
            decimals: 1,
            marks: shares.iter().map(|&(share, place)| (place, percent(share))).collect(),
        },
        y: PlotAxis::spanning(metric.label(), values.iter().copied(), 2),
        series,
        legend: true,
    };
    drawn.into_iter().map(|(backbone, series)| (backbone, plot(series, backbone))).collect()
}

/// Returns floors, then methods, shifted slightly sideways so that their bars do not overlap.
fn series(
    page: &Page,
    ours: &Evidence,
    (metric, backbone): (Metric, backbone::Name),
    shares: &[(Share, f64)],
) -> Vec<Series> {
    const STEP: f64 = 0.02;
    let methods = page.methods();
    if !methods.iter().any(|&method| {
        shares.iter().any(|&(share, _)| {
            ours.mean(metric, &Axes::trained(method, backbone, share).converged()).is_some()
        })
    }) {
        return Vec::new();
    }
    let middle = (methods.len() + 1) as f64 / 2.0;
    let one = |place: usize, method: Option<method::Name>, name: &str, cell: &dyn Fn(Share) -> Scored| {
        let aside = STEP * (place as f64 - middle);
        let found = |&(share, x): &(Share, f64)| Some((x + aside, ours.interval(metric, &cell(share))?));
        let found: Vec<_> = shares.iter().filter_map(found).collect();
        Series {
            method,
            name: name.to_owned(),
            points: found.iter().map(|(x, interval)| (*x, interval.estimate)).collect(),
            bars: found.iter().map(|(x, interval)| (*x, [interval.low, interval.high])).collect(),
            joined: true,
            dashed: method.is_none() && place == 0,
        }
    };
    let pixels = one(0, None, "raw pixels", &|share| Axes::pixels(share).converged());
    let random = one(1, None, "random weights", &|share| Axes::random_weights(backbone, share).converged());
    let trained = (2..).zip(methods).map(|(place, method)| {
        one(place, Some(method), method.label(), &|share| Axes::trained(method, backbone, share).converged())
    });
    [pixels, random].into_iter().chain(trained).filter(|series| !series.points.is_empty()).collect()
}
