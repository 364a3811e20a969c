//! Rows of a matrix, picked by their numbers. Knows nothing of what rows are.

use candle_core::{Result, Tensor, bail};

/// Rows `picks` of `rows` (count, width), in this order: (picks, width). A row may be picked often, or never.
///
/// # Errors
/// If a pick is beyond the last row.
pub fn pick_rows(rows: &Tensor, picks: &[u32]) -> Result<Tensor> {
    let (count, _) = rows.dims2()?;
    if let Some(pick) = picks.iter().find(|&&pick| pick as usize >= count) {
        bail!("pick rows: row {pick} of {count}")
    }
    #[cfg(feature = "cuda")]
    if super::cuda::rows::is_taken(rows) {
        return super::cuda::rows::pick_rows(rows, picks);
    }
    rows.index_select(&Tensor::new(picks, rows.device())?, 0)
}

/// For each row of `count`, where its picks begin in the list of members; and that list: places among `picks`, ascending.
#[cfg_attr(not(feature = "cuda"), cfg(test))]
pub(super) fn members(picks: &[u32], count: usize) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0_u32; count + 1];
    picks.iter().for_each(|&pick| starts[pick as usize + 1] += 1);
    for row in 0..count {
        starts[row + 1] += starts[row];
    }
    let mut next = starts.clone();
    let mut members = vec![0; picks.len()];
    for (place, &pick) in picks.iter().enumerate() {
        members[next[pick as usize] as usize] = place as u32;
        next[pick as usize] += 1;
    }
    (starts, members)
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

    #[test]
    fn members_of_a_row_are_the_places_where_it_was_picked() {
        assert_eq!(members(&[2, 0, 2, 2], 4), (vec![0, 1, 1, 4, 4], vec![1, 0, 2, 3]));
        assert_eq!(members(&[], 2), (vec![0, 0, 0], vec![]));
    }
}
