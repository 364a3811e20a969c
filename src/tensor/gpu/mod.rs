//! The GPU, set up for training: one stream, no tracking between streams, memory kept in the pool.
//!
//! Without the feature `cuda` there is no GPU. `launch.rs` runs our own kernels; `warp.cuh` is their shared header;
//! `compile.rs` is part of the build script. Independent of what is computed.

#[cfg(feature = "cuda")]
pub(crate) mod launch;

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use candle_core::{Device, Result};

/// Opens the first GPU that CUDA finds.
///
/// # Errors
/// If there is none, or this build has no CUDA.
#[cfg(feature = "cuda")]
pub fn open() -> Result<Device> {
    use candle_core::cuda_backend::WrapErr;
    use cudarc::driver::{result, sys};

    // One stream for all threads: the loader's thread creates tensors, too.
    let device = Device::new_cuda_with_stream(0)?;
    let cuda = device.as_cuda_device()?;
    // SAFETY: all work goes to that one stream, so no tracking is needed. The only exception is uploads by
    // `augment::gpu::Upload`: it has its own stream, waits for it before training's stream may read, and waits for
    // training's stream before it writes or frees.
    unsafe { cuda.disable_event_tracking() };
    // A training step frees and allocates the same gigabytes repeatedly; by default they are returned to the driver
    // whenever the stream is waited for.
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

/// Opens the first GPU that CUDA finds.
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

/// Notes for the user on how things were computed, each once.
static NOTES: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

#[cfg(feature = "cuda")]
pub(in crate::tensor) fn note(text: String) {
    NOTES.lock().unwrap_or_else(PoisonError::into_inner).insert(text);
}

/// Returns notes for the user on how this process computed on a GPU, such as operations that took a slow path.
pub fn notes() -> Vec<String> {
    NOTES.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}

/// A guard: while it exists, this thread does not upload the same shapes and strides twice.
///
/// Candle uploads them for almost every operation on numbers that are not contiguous. Uploads of at most 4 KiB are
/// kept on the GPU, so only the training thread should use it.
pub struct KeptUploads {
    #[cfg(feature = "cuda")]
    _kept: Option<Box<dyn std::any::Any>>,
}

impl KeptUploads {
    /// Keeps uploads to `device`; on the CPU there are none.
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
