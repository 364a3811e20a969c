//! Variance decomposition: how much of a score's variance is due to method, backbone, share and seed.
//!
//! A linear model with one level per value of each factor. Sums of squares are of type II, since designs are
//! incomplete (MAE is not defined on ResNet-18): for each factor, the increase in residual when it is removed from
//! the additive model; then what all pairwise interactions add together; then the residual, which is due to seeds if
//! there are several. In an incomplete design the parts need not add up to the total; [`SumsOfSquares::total`] is the
//! variance itself. Independent of tables.

use faer::Mat;

/// Sums of squares.
#[derive(Clone, Debug, PartialEq)]
pub struct SumsOfSquares {
    /// Total, around the mean.
    pub total: f64,
    /// For each factor, in the given order.
    pub factors: Vec<f64>,
    /// For all pairwise interactions together, beyond the additive model.
    pub interactions: f64,
    /// For the residual: not explained by factors or pairs.
    pub residual: f64,
}

impl SumsOfSquares {
    /// Returns fractions of the total: factors, interactions, residual. `None` if all values are equal.
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

/// Design of a study: for each factor, the subspace of values that it can explain.
pub struct Design {
    /// Constant only.
    constant: Space,
    /// All factors.
    additive: Space,
    /// All factors but one, for each factor.
    without: Vec<Space>,
    /// All factors and all pairs of them.
    full: Space,
}

impl Design {
    /// `levels[factor][row]` names the level of each factor in each row.
    pub fn new(rows: usize, levels: &[Vec<String>]) -> Self {
        let columns = |wanted: &dyn Fn(usize) -> bool| -> Vec<Vec<f64>> {
            let kept = levels.iter().enumerate().filter(|(factor, _)| wanted(*factor));
            kept.flat_map(|(_, levels)| indicators(levels)).collect()
        };
        let pairs = (0..levels.len()).flat_map(|second| (0..second).map(move |first| (first, second)));
        let pairs = pairs.flat_map(|(first, second)| {
            let both = levels[first].iter().zip(&levels[second]);
            indicators(&both.map(|(a, b)| format!("{a}\u{1f}{b}")).collect::<Vec<_>>())
        });
        let main = columns(&|_| true);
        Self {
            constant: Space::new(rows, &[]),
            without: (0..levels.len())
                .map(|left_out| Space::new(rows, &columns(&|factor| factor != left_out)))
                .collect(),
            full: Space::new(rows, &main.iter().cloned().chain(pairs).collect::<Vec<_>>()),
            additive: Space::new(rows, &main),
        }
    }

    /// Decomposes the variance of `values`, which has one value per row.
    pub fn decompose(&self, values: &[f64]) -> SumsOfSquares {
        let [additive, full] = [&self.additive, &self.full].map(|space| space.left_of(values));
        let without = self.without.iter().map(|space| (space.left_of(values) - additive).max(0.0));
        SumsOfSquares {
            total: varying(self.constant.left_of(values), values),
            factors: without.collect(),
            interactions: (additive - full).max(0.0),
            residual: full,
        }
    }
}

/// Subspace spanned by a constant and some columns.
struct Space {
    /// Orthonormal basis vectors, one entry per row.
    directions: Vec<Vec<f64>>,
}

impl Space {
    /// Uses QR with pivoting: linearly dependent columns come last, with a remainder of 0.
    fn new(rows: usize, columns: &[Vec<f64>]) -> Self {
        let entry =
            |row: usize, column: usize| column.checked_sub(1).map_or(1.0, |place| columns[place][row]);
        let qr = Mat::from_fn(rows, columns.len() + 1, entry).col_piv_qr();
        let (q, r) = (qr.compute_thin_Q(), qr.thin_R());
        let sizes: Vec<f64> = (0..r.nrows().min(r.ncols())).map(|place| r[(place, place)].abs()).collect();
        let independent = sizes.iter().take_while(|&&size| size > 1e-9 * sizes[0]).count();
        let direction = |place: usize| (0..rows).map(|row| q[(row, place)]).collect();
        Self { directions: (0..independent).map(direction).collect() }
    }

    /// Sum of squares of the component of `values` outside the subspace.
    fn left_of(&self, values: &[f64]) -> f64 {
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut left = values.to_vec();
        for direction in &self.directions {
            let along = product(&left, direction);
            left.iter_mut().zip(direction).for_each(|(left, direction)| *left -= along * direction);
        }
        product(&left, &left)
    }
}

/// Sets squares to 0 if they are only rounding error.
fn varying(squares: f64, values: &[f64]) -> f64 {
    let whole: f64 = values.iter().map(|value| value * value).sum();
    if squares > 1e-24 * whole { squares } else { 0.0 }
}

/// Indicator columns: one column of zeros and ones per level.
fn indicators(levels: &[String]) -> Vec<Vec<f64>> {
    let mut names: Vec<&String> = levels.iter().collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|name| levels.iter().map(|level| f64::from(u8::from(level == name))).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn a_balanced_design_by_hand() {
        // 1 for the first factor, 10 for the second, no interaction: 4 cells around the mean 5.5.
        let values = [0.0, 10.0, 1.0, 11.0];
        let levels = [vec!["a", "a", "b", "b"], vec!["x", "y", "x", "y"]];
        let levels = levels.map(|levels| levels.into_iter().map(str::to_owned).collect::<Vec<_>>());
        let found = Design::new(values.len(), &levels).decompose(&values);
        close(found.total, 101.0);
        close(found.factors[0], 1.0);
        close(found.factors[1], 100.0);
        close(found.interactions + found.residual, 0.0);
        assert_eq!(Design::new(2, &[vec!["a".into(), "b".into()]]).decompose(&[1.0, 1.0]).shares(), None);
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
        let found = Design::new(values.len(), &levels).decompose(&values);
        close(found.total, 0.18548781326662545);
        for (found, expected) in
            found.factors.iter().zip([0.11253585190169034, 0.01607017201646943, 0.004618920078036522])
        {
            close(*found, expected);
        }
        // All three pairs of factors on the same rows: by Gram-Schmidt, outside this program.
        close(found.interactions, 0.0009460634783743133);
        close(found.residual, 6.836802118163375e-05);
        let (shares, interactions, rest) = found.shares().unwrap();
        assert!(shares[0] > 0.6 && interactions < 0.02 && rest < 0.02, "{shares:?} {interactions} {rest}");
    }

    /// Equal values have no variance, though their mean is rounded.
    #[test]
    fn rounding_is_no_variance() {
        for rows in 2..12 {
            for value in [0.1, 0.7, 1e6 / 3.0] {
                let values = vec![value; rows];
                let levels = vec![(0..rows).map(|row| (row % 2).to_string()).collect::<Vec<_>>()];
                let found = Design::new(rows, &levels).decompose(&values);
                assert_eq!((found.total, found.shares()), (0.0, None), "{rows} of {value}");
            }
        }
    }

    /// Of many rows, a level of a single one explains that row: its deviation from the mean of its own second level.
    #[test]
    fn a_level_of_one_row_in_many_is_a_level() {
        let rows = 400;
        let values: Vec<f64> = (0..rows).map(|row| f64::from(u8::from(row == 7))).collect();
        let first = (0..rows).map(|row| if row == 7 { "rare" } else { "usual" }.to_owned()).collect();
        let second = (0..rows).map(|row| (row % 2).to_string()).collect();
        let found = Design::new(rows, &[first, second]).decompose(&values);
        close(found.total, 1.0 - 1.0 / 400.0);
        close(found.factors[0], 1.0 - 1.0 / 200.0);
        close(found.factors[1], 0.0);
        close(found.interactions + found.residual, 0.0);
    }

    /// Parts of an incomplete design overlap: they are still parts of the variance itself.
    #[test]
    fn parts_are_of_the_total_even_if_they_do_not_add_up_to_it() {
        let sums = SumsOfSquares { total: 8.0, factors: vec![1.0, 4.0], interactions: 2.0, residual: 3.0 };
        assert_eq!(sums.shares(), Some((vec![0.125, 0.5], 0.25, 0.375)));
        assert_eq!(SumsOfSquares { total: 0.0, ..sums }.shares(), None);
    }

    /// By hand: eight rows, in which factors contribute 1, 2 and 3 to either side, their pairs 4, 5 and 6, and all
    /// three together 7. Each part has eight times its square; what belongs to all three is left.
    #[test]
    fn every_pair_of_three_factors_is_an_interaction() {
        let (mut values, mut levels) = (Vec::new(), vec![Vec::new(); 3]);
        for row in 0..8 {
            let [a, b, c] = [0, 1, 2].map(|factor| if row >> factor & 1 == 1 { 1.0 } else { -1.0 });
            let pairs = 4.0 * a * b + 5.0 * a * c + 6.0 * b * c;
            values.push(10.0 + a + 2.0 * b + 3.0 * c + pairs + 7.0 * a * b * c);
            for (levels, side) in levels.iter_mut().zip([a, b, c]) {
                levels.push(side.to_string());
            }
        }
        let found = Design::new(8, &levels).decompose(&values);
        let parts = [&[found.total], &found.factors[..], &[found.interactions, found.residual]].concat();
        for (found, sides) in parts.iter().zip([140.0, 1.0, 4.0, 9.0, 77.0, 49.0]) {
            assert!((found - 8.0 * sides).abs() < 1e-9, "{parts:?}");
        }
    }

    /// Scores that differ by a millionth of their size, or less, differ.
    #[test]
    fn small_differences_are_variance() {
        let levels = vec![["a", "a", "b", "b"].map(str::to_owned).to_vec()];
        for step in [0.25, 1e-3, 1e-6, 1e-8] {
            let values = [1.0, 1.0, 1.0 + 2.0 * step, 1.0 + 2.0 * step];
            let found = Design::new(4, &levels).decompose(&values);
            assert!((found.total / (4.0 * step * step) - 1.0).abs() < 1e-6, "{step}: {found:?}");
            let (shares, ..) = found.shares().unwrap();
            assert!((shares[0] - 1.0).abs() < 1e-6, "{step}: {found:?}");
        }
    }
}
