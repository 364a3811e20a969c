//! The cost of a detector on this machine: parameters, bytes, milliseconds per image.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use skewbench::{bundle::Bundle, data::Image, results::provenance};

use crate::asked::thousands;

/// Batches that are timed, and the largest number of passes of each: images, passes. Ours.
const TIMED: [(usize, usize); 2] = [(1, 15), (64, 5)];
/// No pass starts later than this after the first, since a pass takes seconds at full scale. Ours.
const PATIENCE: Duration = Duration::from_secs(5);

/// Cost figures of a detector.
pub struct Cost {
    parameters: usize,
    bytes: usize,
    /// Milliseconds per image for each of [`TIMED`], the median of its passes.
    milliseconds: [f64; 2],
    processor: String,
}

impl Cost {
    /// Times only the network, on one thread, on the bundle's own images: nothing is read or decoded.
    ///
    /// # Errors
    /// If no thread can be started, or the network fails.
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

/// Returns milliseconds per image, the median over passes after an untimed one.
fn median(bundle: &Bundle, pictures: &[Image], passes: usize) -> Result<f64> {
    bundle.score(pictures, false)?;
    let (first, mut seconds) = (Instant::now(), Vec::new());
    while seconds.len() < passes && (seconds.is_empty() || first.elapsed() < PATIENCE) {
        let begun = Instant::now();
        bundle.score(pictures, false)?;
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
            "{parameters} parameters, {bytes} bytes; {alone:.2} ms for a single image, {together:.2} ms per image in \
             batches of {batch} (network alone, one thread, {processor})"
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
        let expected = "1 234 567 parameters, 4 321 bytes; 1.50 ms for a single image, 0.25 ms per image in batches of 64 (network alone, one \
                        thread, a processor)";
        assert_eq!(cost.to_string(), expected);
    }
}
