//! Plain loops on the widest vectors of the machine.
//!
//! A build for any x86-64 may use only 128-bit vectors. Kernels here are compiled three times, and one version is
//! chosen at run time. All versions do the same arithmetic, so results do not depend on the machine.

use pulp::{Arch, NullaryFnOnce};

/// Runs `kernel`, compiled for AVX-512, AVX2 or the baseline. The closure must carry `#[inline(always)]`: a
/// function that is not inlined is compiled for the baseline.
#[inline(always)]
pub fn vectorised<R>(kernel: impl FnMut() -> R) -> R {
    Arch::new().dispatch(Inlined(kernel))
}

/// Asks for numbers that will be read soon: the machine itself foresees only runs, not tiles of an image. Does nothing
/// on machines without such an instruction, and never reads: `start` may point anywhere.
#[inline(always)]
pub fn prefetch<T>(start: *const T, count: usize) {
    const LINE: usize = 64;
    let bytes = count * size_of::<T>();
    #[cfg(target_arch = "x86_64")]
    // The last number may lie in a line of its own.
    for offset in (0..bytes).step_by(LINE).chain([bytes.saturating_sub(1)]) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction has no effect but on caches, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.cast::<i8>().wrapping_add(offset)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, bytes, LINE);
}

/// Calls the closure as `FnMut`: as `FnOnce` it goes through a shim that is not always inlined.
struct Inlined<F>(F);

impl<R, F: FnMut() -> R> NullaryFnOnce for Inlined<F> {
    type Output = R;

    #[inline(always)]
    fn call(mut self) -> R {
        (self.0)()
    }
}
