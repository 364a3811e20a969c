//! Loads one word of a row into all lanes of a register: how kernels of products read their left side.
//!
//! Addresses are two base pointers plus multiples of the row distance that fit an instruction's addressing modes,
//! so that they fit into the machine's registers. Assembly, not intrinsics: builds with assertions check every
//! pointer that is read. Independent of what a word is.

use std::arch::{
    asm,
    x86_64::{__m256, __m512},
};

/// The positions of rows of words, at most fourteen.
#[derive(Clone, Copy)]
pub struct Rows {
    /// First words of row 0 and of row 7.
    starts: [*const u8; 2],
    /// One, three and five times the row distance, in bytes.
    once: usize,
    thrice: usize,
    five: usize,
}

impl Rows {
    /// Describes rows that begin at `start`, `distance` bytes apart.
    #[inline(always)]
    pub fn new(start: *const u8, distance: usize) -> Self {
        let once = distance;
        Self { starts: [start, start.wrapping_add(7 * once)], once, thrice: 3 * once, five: 5 * once }
    }

    /// Advances to the words `step` bytes further on.
    #[inline(always)]
    pub fn advance(&mut self, step: usize) {
        self.starts = self.starts.map(|start| start.wrapping_add(step));
    }
}

/// Defines a function that returns the word of a row, below 14, in all lanes.
macro_rules! broadcast {
    ($name:ident, $register:ident, $class:ident, $feature:literal) => {
        /// # Safety
        /// A word must exist at the row, and the machine must have the register.
        #[target_feature(enable = $feature)]
        #[inline]
        pub unsafe fn $name(rows: &Rows, row: usize) -> $register {
            let start = rows.starts[row / 7];
            let word;
            macro_rules! load {
                ($place:literal $distance:expr) => {
                    // SAFETY: by the caller.
                    unsafe {
                        asm!(
                            concat!("vbroadcastss {}, dword ptr [{} + ", $place, "]"),
                            lateout($class) word,
                            in(reg) start,
                            in(reg) $distance,
                            options(pure, readonly, nostack, preserves_flags),
                        )
                    }
                };
            }
            match row % 7 {
                // SAFETY: by the caller.
                0 => unsafe {
                    asm!(
                        "vbroadcastss {}, dword ptr [{}]",
                        lateout($class) word,
                        in(reg) start,
                        options(pure, readonly, nostack, preserves_flags),
                    )
                },
                1 => load!("{}" rows.once),
                2 => load!("2 * {}" rows.once),
                3 => load!("{}" rows.thrice),
                4 => load!("4 * {}" rows.once),
                5 => load!("{}" rows.five),
                _ => load!("2 * {}" rows.thrice),
            }
            word
        }
    };
}

broadcast!(broadcast_512, __m512, zmm_reg, "avx512f");
broadcast!(broadcast_256, __m256, ymm_reg, "avx2");

/// Runs a body for each of `count` rows, at most fourteen, with the row's number known to the compiler: a loop with
/// so large a body is not unrolled, and would choose addresses at run time.
macro_rules! each_row {
    ($count:expr, |$row:ident| $body:block) => {
        each_row!(@ $count, $row, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
    (@ $count:expr, $row:ident, $body:block, $($number:literal)*) => {
        $(if $number < $count {
            let $row = $number;
            $body
        })*
    };
}
pub(super) use each_row;

/// Calls the kernel that is compiled for this number of rows, which must be in the list.
macro_rules! for_rows {
    ($rows:expr, $kernel:ident $arguments:tt, $($number:literal)*) => {
        match $rows {
            $($number => $kernel::<$number> $arguments,)*
            rows => unreachable!("a kernel for {rows} rows"),
        }
    };
}
pub(super) use for_rows;
