//! How much of a score's variance each factor makes: method, backbone, share, seed.
//!
//! A linear model with one level a value of each factor. Sums of squares are of type II, since designs have holes (MAE
//! has no ResNet-18): what leaving a factor out of all factors costs, then what their pairwise interactions add
//! together, then the rest, which is the seed where there are several. Parts need not add up to the whole in a design
//! with holes; [`Parts::total`] is the variance itself. Knows nothing of tables.

/// Sums of squares.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    /// About the mean.
    pub total: f64,
    /// Of each factor, in the order given.
    pub factors: Vec<f64>,
    /// Of all pairs of factors together, beyond the factors.
    pub interactions: f64,
    /// What no factor and no pair explains.
    pub residual: f64,
}

impl Parts {
    /// Parts of the total: factors, interactions, residual. None if nothing varies.
    pub fn shares(&self) -> Option<(Vec<f64>, f64, f64)> {
        (self.total > 0.0).then(|| {
            let share = |part: f64| part / self.total;
            (
                self.factors.iter().map(|&part| share(part)).collect(),
                share(self.interactions),
                share(self.residual),
            )
        })
    }
}

/// Decomposes the variance of `values`; `levels[factor][row]` names the level of each factor in each row.
pub fn parts(values: &[f64], levels: &[Vec<String>]) -> Parts {
    let main: Vec<Vec<f64>> = levels.iter().flat_map(|levels| indicators(levels)).collect();
    let without = |left_out: usize| -> Vec<Vec<f64>> {
        let kept = levels.iter().enumerate().filter(|(factor, _)| *factor != left_out);
        kept.flat_map(|(_, levels)| indicators(levels)).collect()
    };
    let pairs: Vec<Vec<f64>> = (0..levels.len())
        .flat_map(|second| (0..second).map(move |first| (first, second)))
        .flat_map(|(first, second)| {
            let both: Vec<String> =
                levels[first].iter().zip(&levels[second]).map(|(a, b)| format!("{a}\u{1f}{b}")).collect();
            indicators(&both)
        })
        .collect();
    let additive = residual(values, main.clone());
    let full = residual(values, [main, pairs].concat());
    Parts {
        total: varying(residual(values, Vec::new()), values),
        factors: (0..levels.len())
            .map(|factor| (residual(values, without(factor)) - additive).max(0.0))
            .collect(),
        interactions: (additive - full).max(0.0),
        residual: full,
    }
}

/// 0 where only rounding is left of the squares.
fn varying(squares: f64, values: &[f64]) -> f64 {
    let whole: f64 = values.iter().map(|value| value * value).sum();
    if squares > 1e-24 * whole { squares } else { 0.0 }
}

/// One column of zeros and ones a level.
fn indicators(levels: &[String]) -> Vec<Vec<f64>> {
    let mut names: Vec<&String> = levels.iter().collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|name| levels.iter().map(|level| f64::from(u8::from(level == name))).collect())
        .collect()
}

/// Squares left of `values` after a constant and these columns. Columns that others span are found by orthogonalising
/// (Gram and Schmidt, modified, twice: once is not enough for columns that nearly coincide).
fn residual(values: &[f64], mut columns: Vec<Vec<f64>>) -> f64 {
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let remove = |from: &mut [f64], direction: &[f64]| {
        let along = product(from, direction);
        from.iter_mut().zip(direction).for_each(|(from, direction)| *from -= along * direction);
    };
    columns.insert(0, vec![1.0; values.len()]);
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for mut column in columns {
        let before = product(&column, &column).sqrt();
        for _ in 0..2 {
            basis.iter().for_each(|direction| remove(&mut column, direction));
        }
        let length = product(&column, &column).sqrt();
        if length > 1e-9 * before {
            column.iter_mut().for_each(|entry| *entry /= length);
            basis.push(column);
        }
    }
    let mut left = values.to_vec();
    basis.iter().for_each(|direction| remove(&mut left, direction));
    product(&left, &left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn a_balanced_design_by_hand() {
        // 1 for the first factor, 10 for the second, nothing else: 4 cells about the mean 5.5.
        let values = [0.0, 10.0, 1.0, 11.0];
        let levels = [vec!["a", "a", "b", "b"], vec!["x", "y", "x", "y"]];
        let levels = levels.map(|levels| levels.into_iter().map(str::to_owned).collect::<Vec<_>>());
        let found = parts(&values, &levels);
        close(found.total, 101.0);
        close(found.factors[0], 1.0);
        close(found.factors[1], 100.0);
        close(found.interactions + found.residual, 0.0);
        assert_eq!(parts(&[1.0, 1.0], &[vec!["a".into(), "b".into()]]).shares(), None);
    }

    #[test]
    fn a_design_with_a_hole_agrees_with_least_squares() {
        // numpy 2.4.6, `linalg.lstsq` on the same columns: three methods, two backbones, three seeds, without
        // (2, 0); the pair of methods and backbones is the only interaction there, so only main factors compare.
        let (mut values, mut levels) = (Vec::new(), vec![Vec::new(); 3]);
        for (m, b, s) in (0..3).flat_map(|m| (0..2).flat_map(move |b| (0..3).map(move |s| (m, b, s)))) {
            if (m, b) == (2, 0) {
                continue;
            }
            let (x, y, z) = (f64::from(m), f64::from(b), f64::from(s));
            let wave = 0.01 * libm::sin(7.0 * x + 3.0 * y + 5.0 * z);
            values.push(0.1 * x + 0.05 * y + 0.02 * z + 0.03 * x * y + wave);
            for (levels, level) in levels.iter_mut().zip([m, b, s]) {
                levels.push(level.to_string());
            }
        }
        let found = parts(&values, &levels);
        close(found.total, 0.18548781326662545);
        for (found, expected) in
            found.factors.iter().zip([0.11253585190169034, 0.01607017201646943, 0.004618920078036522])
        {
            close(*found, expected);
        }
        let (shares, interactions, rest) = found.shares().unwrap();
        assert!(shares[0] > 0.6 && interactions < 0.02 && rest < 0.02, "{shares:?} {interactions} {rest}");
    }
}
