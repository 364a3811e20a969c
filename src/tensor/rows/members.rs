//! Lists the positions at which each row was picked: its gradient is the sum over them.

/// Returns `count + 1` offsets into a list of members, and that list.
///
/// The members of row r, from offset r to offset r + 1, are the positions in `picks` where it was picked,
/// ascending.
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
