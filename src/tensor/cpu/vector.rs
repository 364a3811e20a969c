//! Plain loops on the widest vectors of the machine.
//!
//! A build for every x86-64 may use 128-bit vectors only. Kernels here are compiled thrice and chosen at
//! run time; all of them are exact, so results do not depend on the machine.

use pulp::{Arch, NullaryFnOnce};

/// Runs `kernel`, compiled for AVX-512, AVX2 or the baseline. The closure must carry
/// `#[inline(always)]`: code that stays a call of its own is compiled for the baseline.
#[inline(always)]
pub fn vectorised<R>(kernel: impl FnMut() -> R) -> R {
    Arch::new().dispatch(Inlined(kernel))
}

/// Calls as `FnMut`: a closure called as `FnOnce` goes through a shim that is not always inlined.
struct Inlined<F>(F);

impl<R, F: FnMut() -> R> NullaryFnOnce for Inlined<F> {
    type Output = R;

    #[inline(always)]
    fn call(mut self) -> R {
        (self.0)()
    }
}
