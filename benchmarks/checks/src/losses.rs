//! Losses at the sizes at which they are timed, here and in PyTorch.

use skewbench::{
    candle_core::{Result, Tensor},
    loss::{contrastive::nt_xent, cross_correlation::barlow_twins},
};

use crate::operations::{self, Case};

/// SimCLR's temperature, and Barlow Twins' weight of off-diagonal terms, as published.
pub const TEMPERATURE: f64 = 0.2;
pub const WEIGHT: f64 = 0.0051;

/// Largest number of rows of a view for which the twin runs on the CPU: its matrices are rows x rows in double
/// precision.
const LARGEST_TWIN: usize = 2_048;

/// A loss of two views at a size.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// Name in PyTorch's script.
    pub name: &'static str,
    /// Rows of one view.
    pub rows: usize,
    pub width: usize,
}

/// Rows and widths of NT-Xent, then of Barlow Twins.
const NT_XENT: [[usize; 2]; 6] =
    [[512, 128], [512, 256], [2_048, 128], [2_048, 256], [8_192, 128], [8_192, 256]];
const BARLOW_TWINS: [[usize; 2]; 4] = [[256, 2_048], [256, 8_192], [2_048, 2_048], [2_048, 8_192]];
/// Sizes of both losses for compute-sanitizer.
const SMALL: [[usize; 2]; 2] = [[33, 64], [96, 200]];

/// Returns the timed losses; or, if `small`, those that are only checked.
pub fn losses(small: bool) -> Vec<Loss> {
    let named = |name: &'static str, sizes: &[[usize; 2]]| {
        let sizes = if small { &SMALL } else { sizes };
        sizes.iter().map(|&[rows, width]| Loss { name, rows, width }).collect::<Vec<_>>()
    };
    [named("nt_xent", &NT_XENT), named("barlow_twins", &BARLOW_TWINS)].concat()
}

impl Loss {
    /// Returns the loss as an operation of both views.
    pub fn case(&self) -> Case {
        let size = [self.rows, self.width];
        match self.name {
            "nt_xent" => operations::nt_xent(size, TEMPERATURE),
            _ => operations::barlow_twins(size, WEIGHT),
        }
    }

    /// Computes the loss of two views (rows, width).
    ///
    /// # Errors
    /// If the loss fails.
    pub fn compute(&self, first: &Tensor, second: &Tensor) -> Result<Tensor> {
        match self.name {
            "nt_xent" => nt_xent(first, second, TEMPERATURE),
            _ => Ok(barlow_twins(first, second, WEIGHT)?.total),
        }
    }

    /// Returns whether the CPU can compute it.
    pub fn has_twin(&self) -> bool {
        self.rows <= LARGEST_TWIN
    }

    /// Returns lower bounds: multiplications and additions of the products forward and backward, and bytes of all
    /// views read in both passes and of gradients written.
    pub fn floor(&self, bytes_of_a_number: usize) -> (f64, f64) {
        let (n, d) = (self.rows as f64, self.width as f64);
        let products = match self.name {
            // Similarities of 2 N rows, computed twice, and their weights times the rows.
            "nt_xent" => 3.0 * (2.0 * n) * (2.0 * n) * d,
            // The correlation matrix, and its products with either view.
            _ => 3.0 * n * d * d,
        };
        (2.0 * products, 3.0 * 2.0 * n * d * bytes_of_a_number as f64)
    }
}
