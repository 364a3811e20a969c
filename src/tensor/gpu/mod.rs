//! The GPU as training wants it: one stream, nothing tracked between streams, memory kept.
//!
//! Without the feature `cuda` there is none. Running kernels of our own is `launch.rs`; what their text
//! shares is `warp.cuh`; `compile.rs` is part of the build script. Knows nothing about what is computed.

#[cfg(feature = "cuda")]
pub(crate) mod launch;

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use candle_core::{Device, Result};

/// The first GPU that CUDA finds.
///
/// # Errors
/// If there is none, or this build has no CUDA.
#[cfg(feature = "cuda")]
pub fn open() -> Result<Device> {
    use candle_core::cuda_backend::WrapErr;
    use cudarc::driver::{result, sys};

    // One stream for all threads: the loader's thread makes tensors, too.
    let device = Device::new_cuda_with_stream(0)?;
    let cuda = device.as_cuda_device()?;
    // SAFETY: everything goes to that one stream, so nothing is to be tracked, but for the uploads of
    // `augment::gpu::Upload`: it has a stream of its own, waits for it before training's may read, and for
    // training's before it writes or frees.
    unsafe { cuda.disable_event_tracking() };
    // A training step frees and asks for the same gigabytes over and over; by default they go back to the
    // driver whenever the stream is waited for.
    let keep_all = u64::MAX;
    // SAFETY: the pool is this device's own, and the attribute is a number of 64 bits.
    unsafe {
        let pool = result::device::get_default_mem_pool(cuda.cuda_stream().context().cu_device()).w()?;
        let attribute = sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        sys::cuMemPoolSetAttribute(pool, attribute, std::ptr::from_ref(&keep_all).cast_mut().cast())
            .result()
            .w()?;
    }
    Ok(device)
}

/// The first GPU that CUDA finds.
///
/// # Errors
/// If there is none, or this build has no CUDA.
#[cfg(not(feature = "cuda"))]
pub fn open() -> Result<Device> {
    candle_core::bail!(
        "this program was built without the feature cuda, so it cannot use a GPU: `cargo run --package xtask --features cuda \
         -- reproduce --gpu` builds it with"
    )
}

/// What a user should know of how things were computed, each once.
static NOTES: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

#[cfg(feature = "cuda")]
pub(in crate::tensor) fn note(text: String) {
    NOTES.lock().unwrap_or_else(PoisonError::into_inner).insert(text);
}

/// What a user should know of how this process computed on a GPU, such as what went a slow way.
pub fn notes() -> Vec<String> {
    NOTES.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}

/// While it lives, this thread uploads no shapes and strides twice: Candle does so at almost every operation
/// on numbers that do not lie in order. What is at most 4 KiB long is kept on the GPU, so only training's own
/// thread should.
pub struct KeptUploads {
    #[cfg(feature = "cuda")]
    _kept: Option<Box<dyn std::any::Any>>,
}

impl KeptUploads {
    /// Of uploads to `device`; on the CPU there are none.
    pub fn new(device: &Device) -> Self {
        #[cfg(not(feature = "cuda"))]
        let _ = device;
        Self {
            #[cfg(feature = "cuda")]
            _kept: match device.as_cuda_device() {
                Ok(device) => Some(Box::new(device.enable_cuda_graph_htod_cache())),
                Err(_) => None,
            },
        }
    }
}
