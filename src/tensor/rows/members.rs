//! Lists the picks that took each row, over which its gradient is summed.

/// Returns for each row of `count` where its picks begin in the list of members, and that list: positions in
/// `picks`, ascending.
pub fn members(picks: &[u32], count: usize) -> (Vec<u32>, Vec<u32>) {
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
    use super::*;

    #[test]
    fn members_of_a_row_are_the_places_where_it_was_picked() {
        assert_eq!(members(&[2, 0, 2, 2], 4), (vec![0, 1, 1, 4, 4], vec![1, 0, 2, 3]));
        assert_eq!(members(&[], 2), (vec![0, 0, 0], vec![]));
    }
}
