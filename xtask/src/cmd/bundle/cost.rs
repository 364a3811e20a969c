//! What a detector costs on this machine: numbers, bytes, milliseconds an image.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use skewbench::{bundle::Bundle, data::Image, results::provenance};

use crate::asked::thousands;

/// Batches that are timed, and how often each at most: images, passes. Ours.
const TIMED: [(usize, usize); 2] = [(1, 15), (64, 5)];
/// No pass begins later than this after the first: at full scale a pass takes seconds. Ours.
const PATIENCE: Duration = Duration::from_secs(5);

/// Figures of a detector.
pub struct Cost {
    parameters: usize,
    bytes: usize,
    /// Milliseconds an image for each of [`TIMED`], the median of its passes.
    milliseconds: [f64; 2],
    processor: String,
}

impl Cost {
    /// Times the network alone, on one thread, on its own pictures: nothing is read or decoded.
    ///
    /// # Errors
    /// If there is no thread, or the network fails.
    pub fn measure(bundle: &Bundle, bytes: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
        let mut milliseconds = [0.0; 2];
        for (place, (images, passes)) in milliseconds.iter_mut().zip(TIMED) {
            let pictures: Vec<Image> = bundle.pictures().iter().cycle().take(images).cloned().collect();
            *place = pool.install(|| median(bundle, &pictures, passes))?;
        }
        let processor = provenance::cpu_model();
        Ok(Self { parameters: bundle.parameters(), bytes, milliseconds, processor })
    }
}

/// Milliseconds an image, the median over passes; one before them is not counted.
fn median(bundle: &Bundle, pictures: &[Image], passes: usize) -> Result<f64> {
    bundle.see(pictures, false)?;
    let (first, mut seconds) = (Instant::now(), Vec::new());
    while seconds.len() < passes && (seconds.is_empty() || first.elapsed() < PATIENCE) {
        let begun = Instant::now();
        bundle.see(pictures, false)?;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let middle = seconds.get(seconds.len() / 2).context("nothing was timed")?;
    Ok(1e3 * middle / pictures.len() as f64)
}

impl fmt::Display for Cost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { milliseconds: [alone, together], processor, .. } = self;
        let [parameters, bytes] = [self.parameters, self.bytes].map(thousands);
        let [_, (batch, _)] = TIMED;
        write!(
            formatter,
            "{parameters} parameters, {bytes} bytes; {alone:.2} ms an image alone, {together:.2} in batches \
             of {batch} (network alone, one thread, {processor})"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_costs_is_said_in_its_units() {
        let processor = "a processor".to_owned();
        let cost = Cost { parameters: 1_234_567, bytes: 4_321, milliseconds: [1.5, 0.25], processor };
        let expected = "1 234 567 parameters, 4 321 bytes; 1.50 ms an image alone, 0.25 in batches of 64 (network alone, one \
                        thread, a processor)";
        assert_eq!(cost.to_string(), expected);
    }
}
