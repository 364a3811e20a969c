//! One word of a row in all lanes of a register: what kernels of products read of their left side.
//!
//! Addresses are two starts and multiples of the rows' distance that an instruction adds by itself, so that they fit the
//! machine's registers. Assembly, not intrinsics: builds with assertions check every pointer that is read. Knows nothing
//! about what a word is.

use std::arch::{
    asm,
    x86_64::{__m256, __m512},
};

/// Where rows of words lie, fourteen at most.
#[derive(Clone, Copy)]
pub struct Rows {
    /// The words of row 0 and of row 7.
    starts: [*const u8; 2],
    /// One, three and five times the distance of rows, in bytes.
    once: usize,
    thrice: usize,
    five: usize,
}

impl Rows {
    /// Rows that begin at `start`, `distance` bytes apart.
    #[inline(always)]
    pub fn new(start: *const u8, distance: usize) -> Self {
        let once = distance;
        Self { starts: [start, start.wrapping_add(7 * once)], once, thrice: 3 * once, five: 5 * once }
    }

    /// The words that lie `step` bytes further on.
    #[inline(always)]
    pub fn advance(&mut self, step: usize) {
        self.starts = self.starts.map(|start| start.wrapping_add(step));
    }
}

/// The word of a row, below 14, in all lanes.
macro_rules! broadcast {
    ($name:ident, $register:ident, $class:ident, $feature:literal) => {
        /// # Safety
        /// A word lies at the row, and the machine has the register.
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

/// Runs a body for each of `count` rows, at most fourteen, with a row's number known to the compiler: a loop over so
/// much is not unrolled, and would choose addresses as it runs.
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

/// Calls a kernel that is made for a number of rows, one to the last of the list.
macro_rules! for_rows {
    ($rows:expr, $kernel:ident $arguments:tt, $($number:literal)*) => {
        match $rows {
            $($number => $kernel::<$number> $arguments,)*
            rows => unreachable!("a kernel for {rows} rows"),
        }
    };
}
pub(super) use for_rows;
