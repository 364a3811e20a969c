//! The label-free metrics of a trained model, as stored in a record: names and numbers.

use std::collections::BTreeMap;

use anyhow::Result;
use candle_core::Tensor;

use super::Resolved;
use crate::{
    evaluate::features::{self, Features},
    label_free::{LabelFreeMetrics, Normalised, Rows, Spread, ViewMetrics, Views},
    loader::Loader,
    method::Method,
    seed::Seed,
};

type Named = BTreeMap<String, f64>;

/// Computes the metrics of `features` of training images, of the method's embeddings of these, and of several views
/// of some of the images, drawn by the first view recipe.
///
/// # Errors
/// If features are not finite, or an image cannot be read.
pub fn compute(
    method: &dyn Method,
    features: &Features,
    resolved: &Resolved,
) -> Result<BTreeMap<String, Named>> {
    let (seed, device) = (resolved.seed().child("label_free"), &resolved.device);
    let (images, views) = resolved.scale.view_sample;
    let viewed = resolved.evenly(images);
    let images = Loader { indices: &viewed, views: &resolved.views[..1], seed, ..resolved.loader() };
    let mut all = BTreeMap::new();
    // The tensor copies all features, so it is dropped at once.
    let embeddings = method.embed(&features.tensor(device)?).transpose()?;
    all.insert("features".to_owned(), of_rows(&features.rows, features.width, &seed)?);
    if let Some(embeddings) = embeddings {
        let (values, width) = numbers(&embeddings)?;
        all.insert("embeddings".to_owned(), of_rows(&values, width, &seed)?);
    }

    // View by view, then put in the order (image, view).
    let drawn = (0..views)
        .map(|number| {
            let seed = seed.child("views").index(number);
            let loader = Loader { seed, ..images };
            let rows = features::extract(method.encoder(), &loader)?.tensor(device)?;
            let rows = method.embed(&rows).transpose()?.unwrap_or(rows);
            Ok(rows.unsqueeze(1)?)
        })
        .collect::<Result<Vec<Tensor>>>()?;
    let rows = Tensor::cat(&drawn, 1)?.flatten(0, 1)?;
    let (values, width) = numbers(&rows)?;
    if values.iter().all(|&value| value == 0.0) {
        return Ok(all);
    }
    let ViewMetrics { images, views, alignment, lidar, lidar_normalised } =
        Views::new(Rows::new(&values, width)?, views)?.metrics()?;
    all.insert(
        "views".to_owned(),
        named([
            ("images", Some(images as f64)),
            ("views", Some(views as f64)),
            ("alignment", Some(alignment)),
            ("lidar", Some(lidar)),
            ("lidar_normalised", Some(lidar_normalised)),
        ]),
    );
    Ok(all)
}

fn of_rows(values: &[f32], width: usize, seed: &Seed) -> Result<Named> {
    // A network whose features are all zero has none of these metrics; its record has an empty list.
    if values.iter().all(|&value| value == 0.0) {
        return Ok(Named::new());
    }
    let found = LabelFreeMetrics::compute(Rows::new(values, width)?, seed)?;
    let Normalised {
        rankme,
        effective_rank,
        stable_rank,
        nesum,
        participation_ratio,
        uniformity,
        intrinsic_dimension,
    } = found.normalised();
    let Spread { mean, deviation, unit_mean, unit_deviation } = found.spread;
    Ok(named([
        ("rows", Some(found.rows as f64)),
        ("width", Some(found.width as f64)),
        ("rankme", Some(found.rankme)),
        ("rankme_normalised", Some(rankme)),
        ("effective_rank", Some(found.effective_rank)),
        ("effective_rank_normalised", Some(effective_rank)),
        ("stable_rank", Some(found.stable_rank)),
        ("stable_rank_normalised", Some(stable_rank)),
        ("nesum", found.nesum),
        ("nesum_normalised", nesum),
        ("participation_ratio", found.participation_ratio),
        ("participation_ratio_normalised", participation_ratio),
        ("pseudo_condition_number", Some(found.pseudo_condition_number)),
        ("alpha_req", found.alpha_req),
        ("alpha_req_all", found.alpha_req_all),
        ("coherence", Some(found.coherence)),
        ("self_cluster", Some(found.self_cluster)),
        ("uniformity", Some(found.uniformity)),
        ("uniformity_normalised", Some(uniformity)),
        ("cluster_learnability", found.cluster_learnability),
        ("intrinsic_dimension", found.intrinsic_dimension),
        ("intrinsic_dimension_normalised", intrinsic_dimension),
        ("mean", Some(mean)),
        ("deviation", Some(deviation)),
        ("unit_mean", Some(unit_mean)),
        ("unit_deviation", Some(unit_deviation)),
    ]))
}

/// Returns the defined metrics; a record cannot hold a number that is not finite.
fn named<const N: usize>(values: [(&str, Option<f64>); N]) -> Named {
    let defined = |(name, value): (&str, Option<f64>)| {
        Some((name.to_owned(), value.filter(|value| value.is_finite())?))
    };
    values.into_iter().filter_map(defined).collect()
}

fn numbers(rows: &Tensor) -> candle_core::Result<(Vec<f32>, usize)> {
    Ok((rows.flatten_all()?.to_vec1()?, rows.dim(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of four directions twice: four equal singular values; after centring three; all rows have length 1.
    #[test]
    fn metrics_go_by_their_own_names() {
        let rows: Vec<f32> =
            (0..8).flat_map(|row| (0..4).map(move |place| f32::from(u8::from(row % 4 == place)))).collect();
        let found = of_rows(&rows, 4, &Seed::root(0)).unwrap();
        for (name, expected) in [
            ("rows", 8.0),
            ("width", 4.0),
            ("rankme", 4.0),
            ("rankme_normalised", 1.0),
            ("effective_rank", 4.0),
            ("stable_rank", 4.0),
            ("nesum", 3.0),
            ("participation_ratio", 3.0),
            ("mean", 0.25),
            // In each column two of eight values are 1; sample deviation. Rows of length 1, times the root of the
            // width.
            ("deviation", (8.0_f64 * 0.25 * 0.75 / 7.0).sqrt()),
            ("unit_mean", 0.5),
            ("unit_deviation", 2.0 * (8.0_f64 * 0.25 * 0.75 / 7.0).sqrt()),
        ] {
            assert!((found[name] - expected).abs() < 1e-4, "{name}: {}, expected {expected}", found[name]);
        }
        assert!(of_rows(&[0.0; 8], 4, &Seed::root(0)).unwrap().is_empty(), "nothing but zeros has none");
        // Rows of twice the length have twice the mean; metrics of unit rows are unchanged.
        let twice: Vec<f32> = rows.iter().map(|value| 2.0 * value).collect();
        let twice = of_rows(&twice, 4, &Seed::root(0)).unwrap();
        assert!((twice["mean"] - 0.5).abs() < 1e-6 && (twice["unit_mean"] - 0.5).abs() < 1e-6, "{twice:?}");
        let ratio = twice["deviation"] / found["deviation"];
        assert!((ratio - 2.0).abs() < 1e-6, "{twice:?}");
        assert!((twice["unit_deviation"] - found["unit_deviation"]).abs() < 1e-6, "{twice:?}");
    }

    /// By hand from the cell's seed: features and embeddings of training images, then four views of some of these.
    #[test]
    fn metrics_are_of_the_cells_own_images_and_streams() {
        use crate::experiment::{Cell, Plan, Scale, Study};
        let plan = Plan::new(Scale { view_sample: (20, 3), ..Scale::fixture() });
        let source = crate::data::synthetic::source(Seed::root(1), 60, 30, plan.scale.side);
        let cell = Cell {
            study: Study::Extension,
            method: crate::method::Name::SimClr,
            backbone: crate::backbone::Name::ResNet18,
            share: crate::data::Share::NATURAL,
            seed: 7,
        };
        let resolved = plan.resolve(&cell, &source).unwrap();
        let method = resolved.build(Seed::root(2)).unwrap();
        let whole = [crate::augment::ViewRecipe::full_frame(plan.scale.side)];
        let loader = Loader { views: &whole, ..resolved.loader() };
        let features = features::extract(method.encoder(), &loader).unwrap();
        let found = compute(&*method, &features, &resolved).unwrap();

        let seed = Seed::root(7).child("label_free");
        let embedded = |rows: &Features| {
            let rows = rows.tensor(&resolved.device).unwrap();
            method.embed(&rows).unwrap().unwrap().to_vec2::<f32>().unwrap()
        };
        let of_features = of_rows(&features.rows, 64, &seed).unwrap();
        let of_embeddings = of_rows(&embedded(&features).concat(), 32, &seed).unwrap();
        let indices: Vec<usize> = (0..20).map(|place| resolved.subset.indices[3 * place]).collect();
        let views: Vec<Vec<Vec<f32>>> = (0..3)
            .map(|view| {
                let (views, seed) = (&resolved.views[..1], seed.child("views").index(view));
                let loader = Loader { indices: &indices, views, seed, ..resolved.loader() };
                embedded(&features::extract(method.encoder(), &loader).unwrap())
            })
            .collect();
        let rows: Vec<f32> =
            (0..20).flat_map(|image| views.iter().flat_map(move |rows| rows[image].clone())).collect();
        let of_views = Views::new(Rows::new(&rows, 32).unwrap(), 3).unwrap().metrics().unwrap();
        let expected =
            [("alignment", of_views.alignment), ("lidar", of_views.lidar), ("images", 20.0), ("views", 3.0)];
        for (name, expected) in expected {
            assert_eq!(found["views"][name], expected, "{name}");
        }
        assert_eq!(found["features"], of_features);
        assert_eq!(found["embeddings"], of_embeddings);
        let other = of_rows(&features.rows, 64, &Seed::root(7)).unwrap();
        assert_ne!(of_features, other, "some of them are of drawn images");
    }

    #[test]
    fn what_is_not_defined_has_no_name() {
        let found = named([("a", Some(1.0)), ("b", None), ("c", Some(f64::NAN)), ("d", Some(f64::INFINITY))]);
        assert_eq!(found, Named::from([("a".to_owned(), 1.0)]));
    }

    /// Each metric of a matrix has the name of the field that it is read from, and those for widths their own.
    #[test]
    fn every_label_free_metric_has_its_own_name() {
        let mut stream = Seed::root(11).stream();
        let rows: Vec<f32> =
            (0..150 * 20).map(|place| (stream.normal() + f64::from(place % 20) / 10.0) as f32).collect();
        let seed = Seed::root(12);
        let computed = LabelFreeMetrics::compute(Rows::new(&rows, 20).unwrap(), &seed).unwrap();
        let normalised = computed.normalised();
        let found = of_rows(&rows, 20, &seed).unwrap();
        let expected = [
            ("rows", 150.0),
            ("width", 20.0),
            ("rankme", computed.rankme),
            ("rankme_normalised", normalised.rankme),
            ("effective_rank", computed.effective_rank),
            ("effective_rank_normalised", normalised.effective_rank),
            ("stable_rank", computed.stable_rank),
            ("stable_rank_normalised", normalised.stable_rank),
            ("nesum", computed.nesum.unwrap()),
            ("nesum_normalised", normalised.nesum.unwrap()),
            ("participation_ratio", computed.participation_ratio.unwrap()),
            ("participation_ratio_normalised", normalised.participation_ratio.unwrap()),
            ("pseudo_condition_number", computed.pseudo_condition_number),
            ("alpha_req", computed.alpha_req.unwrap()),
            ("alpha_req_all", computed.alpha_req_all.unwrap()),
            ("coherence", computed.coherence),
            ("self_cluster", computed.self_cluster),
            ("uniformity", computed.uniformity),
            ("uniformity_normalised", normalised.uniformity),
            ("cluster_learnability", computed.cluster_learnability.unwrap()),
            ("intrinsic_dimension", computed.intrinsic_dimension.unwrap()),
            ("intrinsic_dimension_normalised", normalised.intrinsic_dimension.unwrap()),
            ("mean", computed.spread.mean),
            ("deviation", computed.spread.deviation),
            ("unit_mean", computed.spread.unit_mean),
            ("unit_deviation", computed.spread.unit_deviation),
        ];
        assert_eq!(found.len(), expected.len());
        for (name, value) in expected {
            assert_eq!(found.get(name), Some(&value), "{name}");
        }
        let different: std::collections::BTreeSet<u64> =
            expected.iter().map(|(_, value)| value.to_bits()).collect();
        assert_eq!(different.len(), expected.len(), "no two are the same number");
    }
}
