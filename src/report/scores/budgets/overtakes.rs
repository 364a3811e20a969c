//! The number of labels at which one curve overtakes another.

use std::collections::BTreeSet;

use super::Curve;
use crate::analysis::{
    Interval,
    intervals::{Uncertainty, interval_over_seeds},
};

/// The number of labelled defects at which one curve overtakes another, seed by seed.
#[derive(Debug, PartialEq)]
pub struct Overtakes {
    /// Fewest and most labelled defects at which both curves are known.
    between: [usize; 2],
    /// The crossing for each seed: 0 if the curve is ahead from the fewest, infinite if it never is.
    seeds: Vec<f64>,
}

/// Finds the number of labels from which `one` stays above `other`, interpolated on a logarithmic scale; `None` if no
/// seed has both curves at two counts.
pub fn overtakes(one: &Curve, other: &Curve) -> Option<Overtakes> {
    let counts: Vec<usize> = one.keys().copied().filter(|count| other.contains_key(count)).collect();
    let (&first, &last) = (counts.first()?, counts.last()?);
    let known: BTreeSet<u64> = one[&first].keys().copied().collect();
    let of_seed = |seed: &u64| -> Option<f64> {
        let above = |count: &usize| Some(one[count].get(seed)? - other[count].get(seed)?);
        let differences: Vec<f64> = counts.iter().map(above).collect::<Option<_>>()?;
        let behind = differences.iter().rposition(|difference| *difference < 0.0);
        Some(match behind {
            None => 0.0,
            Some(place) if place + 1 == counts.len() => f64::INFINITY,
            Some(place) => {
                let part = differences[place] / (differences[place] - differences[place + 1]);
                let [low, high] = [place, place + 1].map(|place| (counts[place] as f64).ln());
                (low + part * (high - low)).exp()
            }
        })
    };
    let seeds: Vec<f64> = known.iter().filter_map(of_seed).collect();
    (first < last && !seeds.is_empty()).then_some(Overtakes { between: [first, last], seeds })
}

impl Overtakes {
    /// States the result in a sentence; `name` is the curve that is overtaken.
    pub fn sentence(&self, name: &str) -> String {
        let ([first, last], count) = (self.between, self.seeds.len());
        let never = self.seeds.iter().filter(|place| place.is_infinite()).count();
        let always = self.seeds.iter().filter(|place| **place == 0.0).count();
        let what = "Supervised training from scratch";
        match (never, always) {
            (0, 0) => {
                let logs: Vec<f64> = self.seeds.iter().map(|place| place.ln()).collect();
                let Interval { estimate, low, high, .. } =
                    interval_over_seeds(&logs, Uncertainty::pooled([&logs[..]]));
                let interval = match low.is_finite() {
                    true => format!("95 %: {:.0} to {:.0}", low.exp(), high.exp()),
                    false => "one seed: no interval".to_owned(),
                };
                format!(
                    "{what} overtakes {name} at about {:.0} labelled defects ({interval}).",
                    estimate.exp()
                )
            }
            (never, _) if never == count => {
                format!(
                    "{what} does not overtake {name} with all {last} labelled defects ({}).",
                    seeds(count)
                )
            }
            (_, always) if always == count => {
                format!("{what} is ahead of {name} from {first} labelled defects on ({}).", seeds(count))
            }
            _ => {
                let fewest = if always > 0 { format!("fewer than {first}") } else { first.to_string() };
                let most = if never > 0 { format!("more than {last}") } else { last.to_string() };
                let facts = [
                    (always, "it is ahead even with the fewest labels"),
                    (never, "it is not ahead even with all of them"),
                ];
                let facts = facts.iter().filter(|(seeds, _)| *seeds > 0);
                let facts: Vec<String> =
                    facts.map(|(seeds, fact)| format!("in {seeds} of {count} seeds {fact}")).collect();
                format!(
                    "{what} overtakes {name} somewhere between {fewest} and {most} labelled defects: {}.",
                    facts.join(", ")
                )
            }
        }
    }
}

fn seeds(count: usize) -> String {
    if count == 1 { "one seed".to_owned() } else { format!("in each of {count} seeds") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: &[(usize, [f64; 2])]) -> Curve {
        points
            .iter()
            .map(|(count, seeds)| (*count, [0, 1].map(|seed| (seed, seeds[seed as usize])).into()))
            .collect()
    }

    #[test]
    fn curves_overtake_where_they_cross() {
        let flat = curve(&[(10, [0.7, 0.7]), (1_000, [0.7, 0.7])]);
        let rising = curve(&[(10, [0.6, 0.6]), (100, [0.9, 0.9]), (1_000, [0.8, 0.8])]);
        // A line from -0.1 to 0.1 over two powers of ten crosses zero after one.
        let found = overtakes(&rising, &flat).unwrap();
        assert!(found.seeds.iter().all(|place| (place - 100.0).abs() < 1e-9), "{found:?}");
        assert_eq!(found.between, [10, 1_000]);
        let sentence = found.sentence("SimCLR");
        assert!(
            sentence.contains("overtakes SimCLR at about 100 labelled defects (95 %: 100 to 100)"),
            "{sentence}"
        );
        let below = curve(&[(10, [0.6, 0.6]), (1_000, [0.6, 0.6])]);
        let never = overtakes(&below, &flat).unwrap().sentence("X");
        assert!(
            never.contains("does not overtake X with all 1000 labelled defects (in each of 2 seeds)"),
            "{never}"
        );
        let ahead = overtakes(&flat, &below).unwrap().sentence("X");
        assert!(ahead.contains("is ahead of X from 10 labelled defects on"), "{ahead}");
        let mixed = curve(&[(10, [0.6, 0.8]), (1_000, [0.6, 0.8])]);
        let mixed = overtakes(&mixed, &flat).unwrap().sentence("X");
        assert!(
            mixed.contains(
                "between fewer than 10 and more than 1000 labelled defects: in 1 of 2 seeds it is ahead even with the \
                 fewest labels, in 1 of 2 seeds it is not ahead even with all of them."
            ),
            "{mixed}"
        );
        // The second seed crosses in between; a case that no seed shows is not mentioned.
        let some = curve(&[(10, [0.8, 0.6]), (1_000, [0.8, 0.8])]);
        let some = overtakes(&some, &flat).unwrap().sentence("X");
        assert!(
            some.ends_with(
                "between fewer than 10 and 1000 labelled defects: in 1 of 2 seeds it is ahead even with the fewest labels."
            ),
            "{some}"
        );
        assert_eq!(overtakes(&curve(&[(10, [0.1, 0.1])]), &flat), None, "one count is no line");
    }

    /// One seed has no interval; that of two is computed from logarithms.
    #[test]
    fn an_interval_is_over_seeds() {
        let known = |seeds: &[f64]| Overtakes { between: [10, 1_000], seeds: seeds.to_vec() };
        assert_eq!(
            known(&[40.0]).sentence("X"),
            "Supervised training from scratch overtakes X at about 40 labelled defects (one seed: no interval)."
        );
        // By hand: logarithms 0.02 apart have a standard error of 0.01; Student's quantile for one degree is 12.706.
        let two = known(&[100.0, 100.0 * 0.02_f64.exp()]).sentence("X");
        assert!(two.contains("at about 101 labelled defects (95 %: 89 to 115)."), "{two}");
        let one = known(&[f64::INFINITY]).sentence("X");
        assert!(one.ends_with("does not overtake X with all 1000 labelled defects (one seed)."), "{one}");
    }

    /// Behind, ahead, behind and ahead again: from the last crossing on it stays ahead. Counts that one curve lacks are
    /// left out, and so are seeds.
    #[test]
    fn the_last_crossing_counts() {
        let flat = curve(&[(10, [0.7, 0.7]), (100, [0.7, 0.7]), (1_000, [0.7, 0.7]), (10_000, [0.7, 0.7])]);
        let waves = curve(&[(10, [0.6, 0.6]), (100, [0.8, 0.8]), (1_000, [0.6, 0.6]), (10_000, [0.8, 0.8])]);
        let found = overtakes(&waves, &flat).unwrap();
        // The logarithm's middle of 1,000 and 10,000.
        assert!(found.seeds.iter().all(|place| (place / 10_f64.powf(3.5) - 1.0).abs() < 1e-9), "{found:?}");
        let mut fewer = flat.clone();
        fewer.remove(&10_000);
        fewer.remove(&10);
        let found = overtakes(&waves, &fewer).unwrap();
        assert_eq!((found.between, found.seeds), ([100, 1_000], vec![f64::INFINITY; 2]));
        let mut seedless = flat;
        seedless.get_mut(&100).unwrap().remove(&1);
        assert_eq!(overtakes(&waves, &seedless).unwrap().seeds.len(), 1);
    }

    /// No seed is ahead from the start, so the fewest labels are the lower end.
    #[test]
    fn seeds_that_cross_or_never_do_are_told_from_the_fewest_labels_on() {
        let flat = curve(&[(10, [0.7, 0.7]), (1_000, [0.7, 0.7])]);
        let some = curve(&[(10, [0.6, 0.6]), (1_000, [0.8, 0.65])]);
        assert_eq!(
            overtakes(&some, &flat).unwrap().sentence("X"),
            "Supervised training from scratch overtakes X somewhere between 10 and more than 1000 labelled defects: in 1 of 2 \
             seeds it is not ahead even with all of them."
        );
        assert_eq!(overtakes(&some, &curve(&[(20, [0.7, 0.7])])), None, "no count in common");
        assert_eq!(overtakes(&some, &curve(&[])), None);
    }
}
