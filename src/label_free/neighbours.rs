//! Cluster learnability and intrinsic dimension, the two halves of CLID.
//!
//! Source of the idea: Lu et al., "Using representation expressiveness and learnability to evaluate self-supervised
//! learning methods", 2022: features are good if they are expressive (high intrinsic dimension) and if the clusters
//! that k-means finds in them are easy to learn for nearest neighbours. The paper adds both after standardising
//! over the models compared, which is left to the caller. Sizes are ours.
//!
//! Both use at most 2,000 rows drawn by the seed, neither centred nor scaled.

use rayon::prelude::*;

use super::rows::{Number, Rows, squared_distance};
use crate::seed::{Seed, Stream};

/// Largest number of rows compared pair by pair; ours.
const SAMPLE: usize = 2000;
/// Number of clusters, but at most a tenth of the rows; ours.
const CLUSTERS: usize = 50;
/// Steps of k-means after its seeding; ours.
const STEPS: usize = 25;
/// Neighbours that vote; ours.
const NEIGHBOURS: usize = 5;
/// Fraction of the rows, those with the largest distance ratios, that TwoNN discards, as its authors do.
const DISCARDED: f64 = 0.1;

/// Returns the share of held-out rows whose cluster their neighbours predict, 0 to 1.
///
/// k-means (k-means++ seeding, 25 of Lloyd's steps) assigns all drawn rows to 50 clusters. The first half of the
/// draw then predicts the cluster of each row of the second half by the vote of its 5 nearest, the nearer class
/// winning a tie. `None` below 20 rows or if all rows are equal.
pub fn cluster_learnability<T: Number>(rows: Rows<T>, seed: &Seed) -> Option<f64> {
    let sample = rows.sample(SAMPLE, &seed.child("sample"));
    let sample = sample.rows();
    let clusters = CLUSTERS.min(sample.len() / 10);
    if clusters < 2 {
        return None;
    }
    let labels = k_means(&sample, clusters, &mut seed.child("k_means").stream())?;
    let known = sample.len().div_ceil(2);
    let right = (known..sample.len())
        .into_par_iter()
        .filter(|&index| {
            vote(&nearest(&sample[..known], sample[index], NEIGHBOURS), &labels) == labels[index]
        })
        .count();
    Some(right as f64 / (sample.len() - known) as f64)
}

/// Returns the cluster of each row; `None` if there are fewer than two distinct rows.
fn k_means(rows: &[&[f64]], clusters: usize, stream: &mut Stream) -> Option<Vec<usize>> {
    let mut centres = seeds(rows, clusters, stream);
    if centres.len() < 2 {
        return None;
    }
    let mut labels = assign(rows, &centres);
    for _ in 0..STEPS {
        for (cluster, centre) in centres.iter_mut().enumerate() {
            let members: Vec<&[f64]> = rows
                .iter()
                .zip(&labels)
                .filter(|&(_, &label)| label == cluster)
                .map(|(row, _)| *row)
                .collect();
            // An empty cluster keeps its centre.
            if !members.is_empty() {
                centre.fill(0.0);
                for row in &members {
                    centre.iter_mut().zip(*row).for_each(|(sum, x)| *sum += x);
                }
                centre.iter_mut().for_each(|sum| *sum /= members.len() as f64);
            }
        }
        let next = assign(rows, &centres);
        if next == labels {
            break;
        }
        labels = next;
    }
    Some(labels)
}

/// k-means++ (Arthur and Vassilvitskii 2007): each next centre is a row drawn in proportion to its squared distance
/// from the nearest centre so far. Returns fewer than `clusters` centres if rows repeat.
fn seeds(rows: &[&[f64]], clusters: usize, stream: &mut Stream) -> Vec<Vec<f64>> {
    let mut centres = vec![rows[stream.below(rows.len())].to_vec()];
    let mut distances = vec![f64::INFINITY; rows.len()];
    while centres.len() < clusters {
        let last = &centres[centres.len() - 1];
        distances
            .par_iter_mut()
            .zip(rows)
            .for_each(|(distance, row)| *distance = distance.min(squared_distance(row, last)));
        let total: f64 = distances.iter().sum();
        if total <= 0.0 {
            break;
        }
        let mut left = stream.unit() * total;
        let drawn = distances.iter().position(|distance| {
            left -= distance;
            left < 0.0
        });
        // Rounding may leave a remainder: then take the farthest row.
        let farthest = || (0..rows.len()).max_by(|&a, &b| distances[a].total_cmp(&distances[b])).unwrap_or(0);
        centres.push(rows[drawn.unwrap_or_else(farthest)].to_vec());
    }
    centres
}

fn assign(rows: &[&[f64]], centres: &[Vec<f64>]) -> Vec<usize> {
    let centres: Vec<&[f64]> = centres.iter().map(Vec::as_slice).collect();
    rows.par_iter().map(|row| nearest(&centres, row, 1)[0].1).collect()
}

/// Returns the `k` rows nearest to `query` as (squared distance, position), nearest first; of equal distances, the
/// earlier row first.
fn nearest(rows: &[&[f64]], query: &[f64], k: usize) -> Vec<(f64, usize)> {
    let mut best: Vec<(f64, usize)> = Vec::with_capacity(k + 1);
    for (place, row) in rows.iter().enumerate() {
        let distance = squared_distance(row, query);
        if best.len() < k || distance < best[k - 1].0 {
            let at = best.partition_point(|&(other, _)| other <= distance);
            best.insert(at, (distance, place));
            best.truncate(k);
        }
    }
    best
}

/// Returns the class with most neighbours; of a tie, the class of the nearest.
fn vote(neighbours: &[(f64, usize)], labels: &[usize]) -> usize {
    let votes = |label| neighbours.iter().filter(|&&(_, place)| labels[place] == label).count();
    let mut winner = labels[neighbours[0].1];
    for &(_, place) in neighbours {
        if votes(labels[place]) > votes(winner) {
            winner = labels[place];
        }
    }
    winner
}

/// TwoNN: the dimension d of a manifold on which mu = r_2 / r_1, the ratio of a row's distances to its
/// second and first neighbour, has the distribution F(mu) = 1 - mu^-d.
///
/// d is the slope of -ln(1 - F) over ln mu through the origin, F = i / N for the i-th smallest mu; the 10 % of rows
/// with the largest mu are discarded. Rows with a duplicate are left out. `None` if all mu are 1 or fewer than three
/// rows remain. Source: Facco, d'Errico, Rodriguez and Laio, "Estimating the intrinsic dimension of datasets by a
/// minimal neighborhood information", 2017.
pub fn intrinsic_dimension<T: Number>(rows: Rows<T>, seed: &Seed) -> Option<f64> {
    let sample = rows.sample(SAMPLE, &seed.child("sample"));
    let sample = sample.rows();
    if sample.len() < 3 {
        return None;
    }
    let mut ratios: Vec<f64> = (0..sample.len())
        .into_par_iter()
        .filter_map(|index| {
            // The row itself is nearest or, beside a duplicate, one of the nearest.
            let neighbours = nearest(&sample, sample[index], 3);
            (neighbours[1].0 > 0.0).then(|| (neighbours[2].0 / neighbours[1].0).sqrt())
        })
        .collect();
    if ratios.len() < 3 {
        return None;
    }
    ratios.sort_by(f64::total_cmp);
    let kept = ((1.0 - DISCARDED) * ratios.len() as f64) as usize;
    let (mut products, mut squares) = (0.0, 0.0);
    for (index, ratio) in ratios[..kept].iter().enumerate() {
        let x = ratio.ln();
        let y = -(1.0 - (index + 1) as f64 / ratios.len() as f64).ln();
        products += x * y;
        squares += x * x;
    }
    (squares > 0.0).then(|| products / squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nearest_neighbours_by_hand() {
        // Points 0, 1, 3, 7 of a line: mu = 3, 2, 3/2, 3/2. The largest is left out, F = 1/4, 1/2, 3/4:
        // d = (ln 1.5 (ln 4/3 + ln 2) + ln 2 ln 4) / (2 ln^2 1.5 + ln^2 2) = 1.67882168.
        let points = [0.0, 1.0, 1.0, 1.0, 3.0, 1.0, 7.0, 1.0];
        let found = intrinsic_dimension(Rows::new(&points, 2).unwrap(), &Seed::root(0)).unwrap();
        assert!((found - 1.678_821_682_591_045).abs() < 1e-12, "{found}");
        // A repeated point has no ratio, and the others' change: 0, 0, 1, 3, 7 leaves 1, 3, 7 with mu = 1 (both
        // zeros at distance 1), 3/2, 3/2; two of three are kept: d = ln 3 / ln 1.5.
        let repeated = [0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 3.0, 1.0, 7.0, 1.0];
        let found = intrinsic_dimension(Rows::new(&repeated, 2).unwrap(), &Seed::root(0)).unwrap();
        assert!((found - 3.0_f64.ln() / 1.5_f64.ln()).abs() < 1e-12, "{found}");
        assert_eq!(intrinsic_dimension(Rows::new(&[1.0; 10], 2).unwrap(), &Seed::root(0)), None);
    }

    #[test]
    fn a_curved_surface_has_two_dimensions() {
        // A paraboloid in eight dimensions; 2,000 points give the slope to a few per cent.
        let mut stream = Seed::root(4).stream();
        let values: Vec<f32> = (0..2500)
            .flat_map(|_| {
                let (x, y) = (stream.unit(), stream.unit());
                [x, y, x * x + y * y, x - y, 0.5, 2.0 * x, x + y, 0.0].map(|v| v as f32)
            })
            .collect();
        let found = intrinsic_dimension(Rows::new(&values, 8).unwrap(), &Seed::root(0)).unwrap();
        assert!((found - 2.0).abs() < 0.15, "{found}");
    }

    #[test]
    fn separate_heaps_are_learnt() {
        // Fifty separate clusters of forty rows: k-means may join or split some, but a split within a cluster is
        // learnt nearly as well.
        let mut stream = Seed::root(8).stream();
        let heaps: Vec<f64> = (0..50 * 2).map(|_| 100.0 * stream.normal()).collect();
        let values: Vec<f64> = (0..2000 * 2)
            .map(|place| heaps[place / 2 % 50 * 2 + place % 2] + 0.01 * stream.normal())
            .collect();
        let rows = Rows::new(&values, 2).unwrap();
        let found = cluster_learnability(rows, &Seed::root(0)).unwrap();
        assert!(found > 0.95, "{found}");
        assert_eq!(cluster_learnability(rows, &Seed::root(0)), Some(found));
        // Directions without structure are harder in many dimensions.
        let noise: Vec<f64> = (0..2000 * 64).map(|_| stream.normal()).collect();
        let harder = cluster_learnability(Rows::new(&noise, 64).unwrap(), &Seed::root(0)).unwrap();
        assert!(harder < 0.5, "{harder}");
        assert_eq!(cluster_learnability(Rows::new(&[1.0; 80], 2).unwrap(), &Seed::root(0)), None);
        assert_eq!(cluster_learnability(Rows::new(&values[..38], 2).unwrap(), &Seed::root(0)), None);
    }

    #[test]
    fn k_means_by_hand() {
        // Two pairs: whatever the first centre, k-means++ and one step end at the pairs.
        let rows: [&[f64]; 4] = [&[0.0, 0.0], &[10.0, 0.0], &[0.0, 1.0], &[10.0, 1.0]];
        for seed in 0..10 {
            let labels = k_means(&rows, 2, &mut Seed::root(seed).stream()).unwrap();
            assert!(labels[0] == labels[2] && labels[1] == labels[3] && labels[0] != labels[1], "{labels:?}");
        }
    }

    /// When k-means has converged, each row is nearest to the mean of its own cluster.
    #[test]
    fn clusters_are_about_their_means() {
        let mut stream = Seed::root(2).stream();
        let values: Vec<[f64; 2]> = (0..60).map(|_| [stream.normal(), stream.normal()]).collect();
        let rows: Vec<&[f64]> = values.iter().map(<[f64; 2]>::as_slice).collect();
        for seed in 0..10 {
            let labels = k_means(&rows, 4, &mut Seed::root(seed).stream()).unwrap();
            let mean = |cluster: usize| {
                let members: Vec<&[f64; 2]> = values
                    .iter()
                    .zip(&labels)
                    .filter(|(_, label)| **label == cluster)
                    .map(|(row, _)| row)
                    .collect();
                [0, 1].map(|axis| members.iter().map(|row| row[axis]).sum::<f64>() / members.len() as f64)
            };
            let means: Vec<[f64; 2]> = (0..4).map(mean).collect();
            for (row, &label) in rows.iter().zip(&labels) {
                let apart = |cluster: usize| squared_distance(row, &means[cluster]);
                assert!((0..4).all(|other| apart(label) <= apart(other) + 1e-12), "{labels:?}");
            }
        }
    }

    #[test]
    fn ties_go_to_the_nearer_class() {
        let labels = [0, 1, 1, 0, 2];
        let neighbours = |places: &[usize]| -> Vec<(f64, usize)> {
            places.iter().enumerate().map(|(rank, &place)| (rank as f64, place)).collect()
        };
        assert_eq!(vote(&neighbours(&[4, 1, 2, 0, 3]), &labels), 1);
        assert_eq!(vote(&neighbours(&[0, 1, 2, 3, 4]), &labels), 0);
        assert_eq!(nearest(&[&[3.0], &[1.0], &[2.0], &[1.0]], &[0.0], 3), [(1.0, 1), (1.0, 3), (4.0, 2)]);
    }
    /// k-means++ and Lloyd's steps as in their papers, number by number; then the vote of the five nearest.
    fn learnability_by_definition(values: &[[f64; 2]], clusters: usize, seed: &Seed) -> f64 {
        let mut rows = values.to_vec();
        seed.child("sample").stream().shuffle(&mut rows);
        let apart = |a: &[f64; 2], b: &[f64; 2]| (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
        let mut stream = seed.child("k_means").stream();
        let mut centres = vec![rows[stream.below(rows.len())]];
        while centres.len() < clusters {
            let squares: Vec<f64> = rows
                .iter()
                .map(|row| centres.iter().map(|centre| apart(row, centre)).fold(f64::INFINITY, f64::min))
                .collect();
            let mut left = stream.unit() * squares.iter().sum::<f64>();
            let drawn = squares.iter().position(|square| {
                left -= square;
                left < 0.0
            });
            centres.push(rows[drawn.unwrap()]);
        }
        let nearest_centre = |row: &[f64; 2], centres: &[[f64; 2]]| {
            (0..clusters)
                .min_by(|&a, &b| apart(row, &centres[a]).total_cmp(&apart(row, &centres[b])))
                .unwrap()
        };
        let mut labels: Vec<usize> = rows.iter().map(|row| nearest_centre(row, &centres)).collect();
        for _ in 0..25 {
            for (cluster, centre) in centres.iter_mut().enumerate() {
                let members: Vec<&[f64; 2]> = rows
                    .iter()
                    .zip(&labels)
                    .filter(|(_, label)| **label == cluster)
                    .map(|(row, _)| row)
                    .collect();
                if !members.is_empty() {
                    *centre = [0, 1]
                        .map(|axis| members.iter().map(|row| row[axis]).sum::<f64>() / members.len() as f64);
                }
            }
            labels = rows.iter().map(|row| nearest_centre(row, &centres)).collect();
        }
        let half = rows.len() / 2;
        let is_right = |index: &usize| {
            let mut known: Vec<usize> = (0..half).collect();
            known.sort_by(|&a, &b| apart(&rows[a], &rows[*index]).total_cmp(&apart(&rows[b], &rows[*index])));
            let voters: Vec<usize> = known[..5].iter().map(|&place| labels[place]).collect();
            let votes = |label: &usize| voters.iter().filter(|voter| *voter == label).count();
            let most = voters.iter().map(votes).max().unwrap();
            *voters.iter().find(|label| votes(label) == most).unwrap() == labels[*index]
        };
        (half..rows.len()).filter(is_right).count() as f64 / (rows.len() - half) as f64
    }

    /// There are a tenth as many clusters as rows, but at most fifty.
    #[test]
    fn learnability_is_that_of_the_definition() {
        let mut stream = Seed::root(12).stream();
        for (count, clusters) in [(60, 6), (640, 50)] {
            let values: Vec<[f64; 2]> = (0..count).map(|_| [stream.normal(), stream.normal()]).collect();
            let seed = Seed::root(count as u64);
            let expected = learnability_by_definition(&values, clusters, &seed);
            assert!(0.3 < expected && expected < 1.0, "{expected}");
            let rows = Rows::new(values.as_flattened(), 2).unwrap();
            assert_eq!(cluster_learnability(rows, &seed), Some(expected), "{count} rows");
        }
    }

    /// Beside its copy a row has no ratio: five rows with two pairs leave one ratio, too few for a slope.
    #[test]
    fn two_ratios_are_too_few_for_a_dimension() {
        let of = |points: &[f64]| intrinsic_dimension(Rows::new(points, 2).unwrap(), &Seed::root(0));
        assert_eq!(of(&[0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 5.0, 1.0]), None);
        assert_eq!(of(&[0.0, 1.0, 0.0, 1.0, 2.0, 1.0, 5.0, 1.0]), None);
        assert_eq!(of(&[0.0, 1.0, 3.0, 1.0]), None);
        assert!(of(&[0.0, 1.0, 0.0, 1.0, 2.0, 1.0, 5.0, 1.0, 9.0, 1.0]).is_some());
    }
}
