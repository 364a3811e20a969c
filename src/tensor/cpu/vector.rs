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

/// Calls the closure as `FnMut`: as `FnOnce` it goes through a shim that is not always inlined.
struct Inlined<F>(F);

impl<R, F: FnMut() -> R> NullaryFnOnce for Inlined<F> {
    type Output = R;

    #[inline(always)]
    fn call(mut self) -> R {
        (self.0)()
    }
}
