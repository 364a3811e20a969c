//! Selection of a matrix's rows by index. Independent of what rows are.

mod first;
#[cfg(feature = "cuda")]
mod gpu;
#[cfg(any(feature = "cuda", test))]
mod members;

use candle_core::{Result, Tensor, bail};

pub use self::first::first_tokens;

/// Returns the rows `picks` of `rows` (count, width), in this order: (picks, width). A row may be picked
/// repeatedly, or never.
///
/// # Errors
/// If a pick is beyond the last row.
pub fn pick_rows(rows: &Tensor, picks: &[u32]) -> Result<Tensor> {
    let (count, _) = rows.dims2()?;
    if let Some(pick) = picks.iter().find(|&&pick| pick as usize >= count) {
        bail!("pick rows: row {pick} of {count}")
    }
    #[cfg(feature = "cuda")]
    if gpu::supports(rows) {
        return gpu::pick_rows(rows, picks);
    }
    rows.index_select(&Tensor::new(picks, rows.device())?, 0)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn rows_are_picked_and_gradients_added_up() -> Result<()> {
        let rows = Var::new(&[[1_f32, 2.0], [3.0, 4.0], [5.0, 6.0]], &Device::Cpu)?;
        let picked = pick_rows(&rows, &[2, 0, 2])?;
        assert_eq!(picked.to_vec2::<f32>()?, [[5.0, 6.0], [1.0, 2.0], [5.0, 6.0]]);
        let slope = Tensor::new(&[[1_f32, 0.5], [2.0, 0.25], [4.0, 8.0]], &Device::Cpu)?;
        let gradient = (picked * slope)?.sum_all()?.backward()?.remove(&rows).expect("a gradient");
        assert_eq!(gradient.to_vec2::<f32>()?, [[2.0, 0.25], [0.0, 0.0], [5.0, 8.5]]);
        let error = pick_rows(&rows, &[0, 3]).unwrap_err();
        assert!(error.to_string().contains("row 3 of 3"), "{error}");
        Ok(())
    }
}
