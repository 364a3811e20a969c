use super::{
    power_law::alpha_req,
    spectrum::{RELEASED_EPSILON, effective_rank, participation_ratio, pseudo_condition_number, stable_rank},
    *,
};

/// The matrix of `fixtures/torch/label_free.py`: sin(0.37 r (k + 1) + 0.2 k + phase) 2^(2 - k).
fn formula(rows: usize, columns: usize, phase: f64) -> Vec<f64> {
    (0..rows * columns)
        .map(|place| ((place / columns) as f64, (place % columns) as f64))
        .map(|(r, k)| (0.37 * r * (k + 1.0) + 0.2 * k + phase).sin() * (2.0 - k).exp2())
        .collect()
}

/// Random rows whose singular values fall over `decades`.
fn decaying(rows: usize, columns: usize, decades: f64) -> Vec<f32> {
    let mut stream = Seed::root(9).stream();
    let mixing: Vec<f64> = (0..columns * columns).map(|_| stream.normal()).collect();
    (0..rows)
        .flat_map(|_| {
            let parts: Vec<f64> = (0..columns)
                .map(|j| stream.normal() * 10_f64.powf(-decades * j as f64 / columns as f64) + 0.1)
                .collect();
            let mixed: Vec<f32> = (0..columns)
                .map(|k| (0..columns).map(|j| parts[j] * mixing[j * columns + k]).sum::<f64>() as f32)
                .collect();
            mixed
        })
        .collect()
}

fn close(found: f64, expected: f64, relative: f64, what: &str) {
    assert!((found - expected).abs() <= relative * expected.abs(), "{what}: {found}, expected {expected}");
}

#[test]
fn other_libraries_agree() {
    // NumPy, SciPy, scikit-learn and lightly; see fixtures/torch/README.md.
    let reference: serde_json::Value =
        serde_json::from_str(include_str!("../../fixtures/torch/label_free.json")).unwrap();
    for (name, count, width) in [("tall", 16, 6), ("wide", 5, 8)] {
        let expected = |key: &str| reference[name][key].as_f64().unwrap();
        let (values, other) = (formula(count, width, 0.0), formula(count, width, 0.3));
        let rows = Rows::new(&values, width).unwrap();
        let check = |key: &str, found: f64| close(found, expected(key), 1e-12, &format!("{name} {key}"));
        for column in 0..3 {
            let value = reference[name]["row_1"][column].as_f64().unwrap();
            close(values[width + column], value, 1e-15, "the formula itself");
        }

        let all = LabelFreeMetrics::compute(rows, &Seed::root(0)).unwrap();
        check("rankme", all.rankme);
        check("effective_rank", all.effective_rank);
        check("stable_rank", all.stable_rank);
        check("nesum", all.nesum.unwrap());
        check("participation_ratio", all.participation_ratio.unwrap());
        check("pseudo_condition_number", all.pseudo_condition_number);
        check("coherence", all.coherence);
        check("self_cluster", all.self_cluster);
        check("uniformity", all.uniformity);
        let root = (width as f64).sqrt();
        check("std_of_l2_normalized", all.spread.unit_deviation / root);
        check("mean_of_l2_normalized", all.spread.unit_mean / root);

        let spectrum = Spectrum::from_rows(rows).unwrap();
        let squares: Vec<f64> = spectrum.uncentred.iter().map(|value| value * value).collect();
        check("participation_ratio_uncentred", participation_ratio(&squares).unwrap());
        check("pseudo_condition_number_uncentred", pseudo_condition_number(&spectrum.uncentred));
        if name == "tall" {
            check("alpha_req_weighted", all.alpha_req_all.unwrap());
            check("alpha_req", alpha_req(&spectrum.eigenvalues(), 1..=6, Weight::Equal).unwrap());
        }

        let interleaved: Vec<f64> =
            values.chunks(width).zip(other.chunks(width)).flat_map(|(a, b)| [a, b].concat()).collect();
        let views = Views::new(Rows::new(&interleaved, width).unwrap(), 2).unwrap();
        check("alignment", views.alignment());
    }
}

#[test]
fn singular_values_and_lidar_as_computed_elsewhere() {
    let values = formula(16, 6, 0.0);
    let rows = Rows::new(&values, 6).unwrap();
    let spectrum = Spectrum::from_rows(rows).unwrap();
    // NumPy's SVD.
    let expected = [11.570_191, 5.740_698, 2.841_605, 1.403_276, 0.690_938, 0.337_577];
    for (found, expected) in spectrum.uncentred.iter().zip(expected) {
        assert!((found - expected).abs() < 6e-7, "{found}, expected {expected}");
    }
    close(
        spectrum::rankme(&spectrum.uncentred, 1e-5),
        3.646_794_936,
        2e-10,
        "RankMe with stable-pretraining's 1e-5",
    );
    close(spectrum::rankme(&spectrum.centred, RANKME_EPSILON), 3.643_392_182, 2e-10, "centred RankMe");

    // stable-pretraining's formula in NumPy, with its symmetric inverse root of S_w.
    for (views, expected) in [(4, 1.619_456_164_666_729), (2, 2.422_353_071_639_229)] {
        let metrics = Views::new(rows, views).unwrap().metrics().unwrap();
        close(metrics.lidar, expected, 1e-11, "LiDAR");
        close(
            metrics.lidar_normalised,
            expected / [3.0, 6.0][usize::from(views == 2)],
            1e-11,
            "LiDAR's bound",
        );
        assert_eq!((metrics.images, metrics.views), (16 / views, views));
    }
}

/// Features of two columns are read eighteen rows at a time, and nine such pieces in two rounds. Thirty images of five
/// views each are more, so that pieces end within an image; here everything is added up image by image.
#[test]
fn lidar_and_alignment_of_many_views_are_the_formulas() {
    let (images, views) = (30_u32, 5);
    let mut stream = Seed::root(21).stream();
    let mut rows: Vec<[f64; 2]> = Vec::new();
    for image in 0..images {
        let centre = [stream.normal() + 0.2 * f64::from(image), 2.0 * stream.normal()];
        for _ in 0..views {
            let noise = stream.normal();
            rows.push([centre[0] + 0.7 * noise, centre[1] - 0.3 * noise + 0.5 * stream.normal()]);
        }
    }
    let mean = |of: &[[f64; 2]]| [0, 1].map(|c| of.iter().map(|row| row[c]).sum::<f64>() / of.len() as f64);
    // The sums of products of deviations: of the two columns, and of both.
    let scatter = |of: &[[f64; 2]]| {
        let mean = mean(of);
        let sum =
            |a: usize, b: usize| of.iter().map(|row| (row[a] - mean[a]) * (row[b] - mean[b])).sum::<f64>();
        [sum(0, 0), sum(1, 1), sum(0, 1)]
    };
    let means: Vec<[f64; 2]> = rows.chunks(views).map(mean).collect();
    let between = scatter(&means).map(|sum: f64| sum / 29.0);
    let mut within = [0.0; 3];
    for image in rows.chunks(views) {
        within.iter_mut().zip(scatter(image)).for_each(|(sum, part): (_, f64)| *sum += part / (30.0 * 4.0));
    }
    within[0] += 1e-4;
    within[1] += 1e-4;
    // Eigenvalues of S_w^-1 S_b have this sum and this product.
    let determinant = |[first, second, both]: [f64; 3]| first * second - both * both;
    let sum = (within[1] * between[0] + within[0] * between[1] - 2.0 * within[2] * between[2])
        / determinant(within);
    let product = determinant(between) / determinant(within);
    let root = (sum * sum / 4.0 - product).sqrt();
    let shares = [sum / 2.0 + root, sum / 2.0 - root].map(|value| (value + 1e-8) / (sum + 2e-8));
    let expected = (-shares.iter().map(|share| share * share.ln()).sum::<f64>()).exp();

    let mut apart = 0.0;
    for image in rows.chunks(views) {
        let unit: Vec<[f64; 2]> = image.iter().map(|[x, y]| [x / x.hypot(*y), y / x.hypot(*y)]).collect();
        for (place, one) in unit.iter().enumerate() {
            for other in &unit[..place] {
                apart += (one[0] - other[0]).powi(2) + (one[1] - other[1]).powi(2);
            }
        }
    }
    let values = rows.concat();
    let found = Views::new(Rows::new(&values, 2).unwrap(), views).unwrap().metrics().unwrap();
    assert_eq!((found.images, found.views), (30, 5));
    close(found.lidar, expected, 1e-9, "LiDAR");
    close(found.lidar_normalised, expected / 2.0, 1e-9, "its share of two");
    close(found.alignment, apart / 300.0, 1e-12, "alignment");
    assert!(expected > 1.1 && expected < 1.9, "{expected}");
}

#[test]
fn ranks_by_hand() {
    // Rows 3 e1, 0, 4 e2: singular values 4 and 3. Centred, Z^T Z is (6, -4; -4, 32 / 3).
    let rows = Rows::new(&[3.0_f32, 0.0, 0.0, 0.0, 0.0, 4.0], 2).unwrap();
    let all = LabelFreeMetrics::compute(rows, &Seed::root(0)).unwrap();
    close(all.stable_rank, 25.0 / 16.0, 1e-14, "stable rank");
    let entropy = -(4.0_f64 / 7.0) * (4.0_f64 / 7.0).ln() - 3.0 / 7.0 * (3.0_f64 / 7.0).ln();
    close(all.effective_rank, entropy.exp(), 1e-14, "effective rank");
    close(all.normalised().effective_rank, entropy.exp() / 2.0, 1e-14, "its share of 2");
    // Trace 50 / 3, squares 36 + 1024 / 9 + 32; largest eigenvalue (50 / 3 + sqrt(2500 / 9 - 192)) / 2.
    let (trace, squares) = (50.0 / 3.0, 36.0 + 1024.0 / 9.0 + 32.0);
    close(all.participation_ratio.unwrap(), trace * trace / squares, 1e-14, "participation ratio");
    let largest = (trace + (2500.0_f64 / 9.0 - 192.0).sqrt()) / 2.0;
    close(all.nesum.unwrap(), trace / largest, 1e-14, "NESum");
    close(all.normalised().nesum.unwrap(), trace / largest / 2.0, 1e-14, "its share of 2");
    let smallest = trace - largest;
    close(all.pseudo_condition_number, (largest / smallest).sqrt(), 1e-14, "pseudo-condition number");
    // The first row alone spans its singular vector, so its leverage is 1: times 3 rows, divided by rank 2.
    close(all.coherence, 1.5, 1e-14, "coherence");
    assert_eq!((all.alpha_req, all.cluster_learnability), (None, None));
}

#[test]
fn bounds_are_reached() {
    // Orthogonal rows of equal length: everything is at its maximum. Uncentred ranks are 8 of 8.
    let identity: Vec<f32> = (0..64).map(|place| f32::from(u8::from(place % 9 == 0))).collect();
    let all = LabelFreeMetrics::compute(Rows::new(&identity, 8).unwrap(), &Seed::root(0)).unwrap();
    let full = all.normalised();
    for value in [full.rankme, full.effective_rank, full.stable_rank] {
        assert!((value - 1.0).abs() < 1e-5, "{value}");
    }
    // Centred, seven equal eigenvalues are left.
    for value in [full.nesum, full.participation_ratio] {
        assert!((value.unwrap() - 1.0).abs() < 1e-12, "{value:?}");
    }
    assert!((all.coherence - 1.0).abs() < 1e-12);

    // Equal rows: rank 1, and nothing is left when centred.
    let constant: Vec<f32> = [0.3, -1.7, 2.9].repeat(20);
    let all = LabelFreeMetrics::compute(Rows::new(&constant, 3).unwrap(), &Seed::root(0)).unwrap();
    assert!((all.effective_rank - 1.0).abs() < 1e-12 && (all.stable_rank - 1.0).abs() < 1e-12);
    assert_eq!((all.nesum, all.participation_ratio, all.pseudo_condition_number), (None, None, 0.0));
    assert_eq!((all.alpha_req_all, all.cluster_learnability, all.intrinsic_dimension), (None, None, None));
    assert!(all.uniformity.abs() < 1e-12 && (all.self_cluster - 1.0).abs() < 1e-12);
    assert!(all.spread.deviation < 1e-7);

    let message =
        LabelFreeMetrics::compute(Rows::new(&[0.0; 6], 3).unwrap(), &Seed::root(0)).unwrap_err().to_string();
    assert!(message.contains("all features are zero"), "{message}");
}

#[test]
fn pieces_are_put_together_without_losing_digits() {
    // 700 rows make five pieces; values fall over twelve decades, below the rounding of f32.
    let values = decaying(700, 24, 12.0);
    let rows = Rows::new(&values, 24).unwrap();
    assert_eq!(rows.pieces().len(), 5);
    let spectrum = Spectrum::from_rows(rows).unwrap();
    let whole = rows.matrix(0, 700, |_| 1.0);
    let expected = whole.singular_values().unwrap();
    let means: Vec<f64> = (0..24).map(|column| whole.col(column).iter().sum::<f64>() / 700.0).collect();
    let centred = faer::Mat::from_fn(700, 24, |row, column| whole[(row, column)] - means[column])
        .singular_values()
        .unwrap();
    // The largest value is some 1e2, the smallest some 1e-5.
    for (found, expected) in
        spectrum.uncentred.iter().zip(&expected).chain(spectrum.centred.iter().zip(&centred))
    {
        assert!((found - expected).abs() < 1e-14 * spectrum.uncentred[0], "{found}, expected {expected}");
    }
}

#[test]
fn columns_without_content_do_not_count() {
    // Two of six columns are zero, like those of dead units: the coherence is that of the other four.
    let values = formula(16, 6, 0.0);
    let kept: Vec<f64> = values.chunks(6).flat_map(|row| row[..4].to_vec()).collect();
    let padded: Vec<f64> =
        values.chunks(6).flat_map(|row| [row[0], 0.0, row[1], row[2], 0.0, row[3]]).collect();
    let (kept, padded) = (Rows::new(&kept, 4).unwrap(), Rows::new(&padded, 6).unwrap());
    let (short, long) = (Spectrum::from_rows(kept).unwrap(), Spectrum::from_rows(padded).unwrap());
    close(long.coherence(padded), short.coherence(kept), 1e-12, "coherence");
    close(effective_rank(&long.uncentred), effective_rank(&short.uncentred), 1e-12, "effective rank");
    assert_eq!(long.uncentred[4..], [0.0, 0.0]);
    assert!(stable_rank(&long.uncentred) > 1.0);
}

#[test]
fn the_cheap_rankme_agrees_with_the_exact() {
    // Values that fall gently, values that fall too far for their squares to be represented, and a single direction.
    let collapsed: Vec<f32> = (0..64 * 96).map(|place| ((place / 96) as f32 + 1.0) * 0.37).collect();
    for (values, width, bound) in [
        (decaying(64, 24, 3.0), 24, 1e-9),
        (decaying(20, 24, 3.0), 24, 1e-9),
        (decaying(64, 24, 12.0), 24, 1e-6),
        (collapsed, 96, 1e-4),
    ] {
        let rows = Rows::new(&values, width).unwrap();
        let exact = spectrum::rankme(&Spectrum::from_rows(rows).unwrap().uncentred, RELEASED_EPSILON);
        close(rankme_released(rows), exact, bound, "RankMe of a batch");
    }
}

#[test]
fn threads_and_repeats_change_nothing() {
    let values = decaying(1200, 20, 4.0);
    let of = |threads| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let rows = Rows::new(&values, 20).unwrap();
            let views = Views::new(rows, 4).unwrap().metrics().unwrap();
            (LabelFreeMetrics::compute(rows, &Seed::root(2)).unwrap(), views, rankme_released(rows).to_bits())
        })
    };
    let one = of(1);
    assert_eq!(one, of(2));
    assert_eq!(one, of(1));
}

#[test]
fn views_are_checked() {
    let values = [1.0_f32; 12];
    let message = |views| Views::new(Rows::new(&values, 2).unwrap(), views).unwrap_err().to_string();
    for views in [0, 1, 4, 6] {
        assert!(message(views).contains(&format!("6 rows in {views} views")), "{}", message(views));
    }
}

#[test]
fn three_views_align_by_hand() {
    // First image: e1, e2, -e1, so squared distances 2, 2, 4; second: one direction, so 0.
    let values = [5.0_f32, 0.0, 0.0, 0.1, -2.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0];
    let views = Views::new(Rows::new(&values, 2).unwrap(), 3).unwrap();
    assert!((views.alignment() - 8.0 / 6.0).abs() < 1e-15);
}

/// With more pieces than are decomposed at once, triangles are combined on the way, and products are added.
#[test]
fn many_pieces_are_one_matrix() {
    // 18 rows a piece.
    let values = formula(40 * 18 + 5, 2, 0.3);
    let rows = Rows::new(&values, 2).unwrap();
    assert_eq!(rows.pieces().len(), 41);
    let whole = rows.matrix(0, rows.count(), |_| 1.0);
    let spectrum = Spectrum::from_rows(rows).unwrap();
    for (found, expected) in spectrum.uncentred.iter().zip(whole.singular_values().unwrap()) {
        close(*found, expected, 1e-12, "singular value");
    }
    let gram = rows.gram(|first, count| rows.matrix(first, count, |_| 1.0));
    let expected = whole.transpose() * &whole;
    for (row, column) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        close(gram[(row, column)], expected[(row, column)], 1e-12, "product");
    }
}

/// alpha by least squares with weights 1 / j, from the sums of the normal equations.
fn alpha_by_hand(eigenvalues: &[f64], first: usize, last: usize) -> f64 {
    let [mut w, mut wx, mut wy, mut wxx, mut wxy] = [0.0; 5];
    for j in first..=last {
        let (weight, x, y) = (1.0 / j as f64, (j as f64).ln(), eigenvalues[j - 1].ln());
        w += weight;
        wx += weight * x;
        wy += weight * y;
        wxx += weight * x * x;
        wxy += weight * x * y;
    }
    -(w * wxy - wx * wy) / (w * wxx - wx * wx)
}

#[test]
fn every_metric_is_of_its_own_spectrum_and_draw() {
    let values = decaying(150, 30, 3.0);
    let (rows, seed) = (Rows::new(&values, 30).unwrap(), Seed::root(7));
    let all = LabelFreeMetrics::compute(rows, &seed).unwrap();
    assert_eq!((all.rows, all.width), (150, 30));
    let eigenvalues = Spectrum::from_rows(rows).unwrap().eigenvalues();
    let [of_most, of_all] = [12, 1].map(|first| alpha_by_hand(&eigenvalues, first, 30));
    close(all.alpha_req.unwrap(), of_most, 1e-9, "alpha of eigenvalues 12 and more");
    close(all.alpha_req_all.unwrap(), of_all, 1e-9, "alpha of all");
    assert!((of_most - of_all).abs() > 1e-2, "{of_most} and {of_all}");
    let learnt = neighbours::cluster_learnability(rows, &seed.child("learnability"));
    let dimension = neighbours::intrinsic_dimension(rows, &seed.child("dimension"));
    assert_eq!((all.cluster_learnability, all.intrinsic_dimension), (learnt, dimension));
    assert!(learnt.unwrap() <= 1.0 && dimension.unwrap() > 1.0, "{learnt:?}, {dimension:?}");
    assert_eq!(all.spread, spread(rows));
}

/// Ranks are divided by the smaller of rows and columns, centred ones by one row less, the dimension by columns alone.
#[test]
fn each_metric_has_its_own_bound() {
    let of = |rows, width| {
        let spread = Spread { mean: 1.0, deviation: 2.0, unit_mean: 3.0, unit_deviation: 4.0 };
        let all = LabelFreeMetrics {
            rows,
            width,
            rankme: 11.0,
            effective_rank: 12.0,
            stable_rank: 13.0,
            nesum: Some(14.0),
            participation_ratio: Some(15.0),
            pseudo_condition_number: 16.0,
            alpha_req: Some(17.0),
            alpha_req_all: Some(18.0),
            coherence: 19.0,
            self_cluster: 20.0,
            uniformity: -2.0,
            cluster_learnability: Some(22.0),
            intrinsic_dimension: Some(23.0),
            spread,
        };
        all.normalised()
    };
    for (rows, width, bound, centred) in [(7, 9, 7.0, 6.0), (20, 9, 9.0, 9.0), (9, 9, 9.0, 8.0)] {
        let expected = Normalised {
            rankme: 11.0 / bound,
            effective_rank: 12.0 / bound,
            stable_rank: 13.0 / bound,
            nesum: Some(14.0 / centred),
            participation_ratio: Some(15.0 / centred),
            uniformity: -2.0 / sphere::uniformity_of_the_sphere(9),
            intrinsic_dimension: Some(23.0 / 9.0),
        };
        assert_eq!(of(rows, width), expected, "{rows} x {width}");
    }
}

/// Without any content each share is epsilon.
#[test]
fn rankme_of_zeros_is_that_of_epsilon() {
    let epsilon: f64 = 1e-3;
    close(spectrum::rankme(&[0.0; 4], epsilon), (-4.0 * epsilon * epsilon.ln()).exp(), 1e-14, "RankMe");
    assert_eq!(effective_rank(&[0.0; 4]), 1.0);
    // A share is renormalised before epsilon is added, and not after: 3/4 and 1/4.
    let shares: [f64; 2] = [0.751, 0.251];
    let expected = shares.iter().map(|share| -share * share.ln()).sum::<f64>().exp();
    close(spectrum::rankme(&[6.0, 2.0], epsilon), expected, 1e-14, "RankMe");
}
