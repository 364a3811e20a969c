//! Packs groups of a matrix's columns, one group after another; a group has a slot of sixteen numbers for each row.
//!
//! Work is parallelised over rows, so that each row is read contiguously. Independent of what numbers or groups
//! are.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    storage::{Plain, unwritten},
    strips::STRIP,
    vector::vectorised,
};

/// Number of elements from which on work is parallelised (ours).
const MANY: usize = 1 << 16;
/// Rows per task (ours).
const ROWS: usize = 64;

/// Calls `fill` with every row, group and its slot; `fill` writes all of the slot that will be used. It must carry
/// `#[inline(always)]`, as for [`vectorised`].
pub fn fill_groups<T: Plain>(
    rows: usize,
    groups: &[Range<usize>],
    fill: impl Fn(usize, &Range<usize>, &mut [T; STRIP]) + Sync,
) -> Vec<T> {
    let size = rows * STRIP;
    // SAFETY: by the contract of `fill`.
    let mut filled: Vec<T> = unsafe { unwritten(groups.len() * size) };
    let room = Room(filled.as_mut_ptr());
    let some = |rows: Range<usize>| {
        let room = &room;
        vectorised(
            #[inline(always)]
            || {
                for row in rows.clone() {
                    for (index, columns) in groups.iter().enumerate() {
                        // SAFETY: the group has sixteen numbers for this row, which no other task touches.
                        let room =
                            unsafe { &mut *room.0.add(index * size + row * STRIP).cast::<[T; STRIP]>() };
                        fill(row, columns, room);
                    }
                }
            },
        );
    };
    match groups.len() * size >= MANY {
        true => (0..rows.div_ceil(ROWS))
            .into_par_iter()
            .for_each(|task| some(task * ROWS..rows.min((task + 1) * ROWS))),
        false => some(0..rows),
    }
    filled
}

/// The start of memory of which tasks fill disjoint rows.
struct Room<T>(*mut T);

// SAFETY: tasks write disjoint rows.
unsafe impl<T: Send> Sync for Room<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    /// One more row than whole tasks have; then too few numbers for several tasks.
    #[test]
    fn every_row_of_every_group_is_filled() {
        for (rows, count) in [(16 * ROWS + 1, 5), (ROWS + 3, 2)] {
            let groups: Vec<Range<usize>> = (0..count).map(|group| 100 * group..100 * group + 16).collect();
            assert_eq!(rows * count * STRIP >= MANY, count == 5);
            let number = |row: usize, column: usize| (1_000 * row + column) as f64;
            let filled = fill_groups(
                rows,
                &groups,
                #[inline(always)]
                |row, columns: &Range<usize>, slot: &mut [f64; STRIP]| {
                    slot.iter_mut()
                        .zip(columns.clone())
                        .for_each(|(slot, column)| *slot = number(row, column));
                },
            );
            let expected = groups.iter().flat_map(|columns| {
                (0..rows).flat_map(move |row| columns.clone().map(move |column| number(row, column)))
            });
            assert!(filled.iter().copied().eq(expected), "{rows} rows of {count} groups");
        }
    }
}
