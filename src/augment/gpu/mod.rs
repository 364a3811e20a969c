//! Views made on a GPU by `views.cu` from images in GPU memory; equal to [`super::Drawn::apply`] and
//! [`super::to_normalised`].

use std::sync::Arc;

use candle_core::{CudaDevice, DType, Error, Result, Tensor, cuda_backend::WrapErr};
use cudarc::driver::{CudaEvent, CudaSlice, CudaStream, DeviceRepr, PinnedHostSlice};
use half::bf16;

use super::{Drawn, Normalisation, packed};
use crate::{
    data::Image,
    tensor::gpu::launch::{Element, Module, config, constant, launch},
};

// Same value as in views.cu.
const THREADS: usize = 1024;
const LINES: usize = THREADS / 32;

// SAFETY: plain numbers in the layout of the kernel's structures of the same names.
unsafe impl DeviceRepr for packed::View {}

#[derive(Clone, Copy)]
#[repr(C)]
struct Constants([f32; 6]);

// SAFETY: as above.
unsafe impl DeviceRepr for Constants {}

/// Largest side of a view, which must fit a multiprocessor's shared memory (227 KiB on an H100).
const LARGEST_SIDE: usize = 272;

/// Location of an image in GPU memory.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Offset of its first byte.
    start: usize,
    width: usize,
    height: usize,
}

/// Returns the locations of consecutive images and their total number of bytes.
fn places(images: &[Image]) -> (Vec<Place>, usize) {
    let mut end = 0;
    let places = images.iter().map(|&Image { width, height, ref pixels }| {
        let start = end;
        end += pixels.len();
        Place { start, width, height }
    });
    (places.collect(), end)
}

/// Images in a GPU's memory, uploaded once.
pub struct Images {
    bytes: CudaSlice<u8>,
    places: Vec<Place>,
    device: CudaDevice,
}

impl Images {
    /// Uploads the images to a GPU.
    ///
    /// # Errors
    /// If the device's memory is too small for the images.
    pub fn upload(images: &[Image], device: &CudaDevice) -> Result<Self> {
        let (places, count) = places(images);
        let mut bytes = Vec::with_capacity(count);
        images.iter().for_each(|image| bytes.extend_from_slice(&image.pixels));
        let bytes = device.cuda_stream().clone_htod(&bytes).w()?;
        Ok(Self { bytes, places, device: device.clone() })
    }

    /// Makes views, each given with the index of its image: (views, side, side, 3) in `dtype`, f32 or bf16.
    ///
    /// # Errors
    /// If a view was drawn for an image of another size, the sides of views differ, or a side exceeds shared memory
    /// (272 pixels on an H100).
    pub fn views(
        &self,
        drawn: &[(usize, Drawn)],
        normalisation: &Normalisation,
        dtype: DType,
    ) -> Result<Tensor> {
        views(&self.device, &self.bytes, &self.places, drawn, normalisation, dtype)
    }
}

/// Uploads batches of images on its own stream, so that training kernels continue, and makes their views on
/// training's stream. Two buffers alternate: a kernel reads one while the other is filled.
pub struct Upload {
    device: CudaDevice,
    /// Created with the first batch, when its size is known.
    stream: Option<Arc<CudaStream>>,
    buffers: [Option<Buffer>; 2],
    turn: usize,
}

/// Pinned bytes in main memory, and their copy on the GPU.
struct Buffer {
    here: PinnedHostSlice<u8>,
    there: CudaSlice<u8>,
    /// Recorded when kernels have read the copy.
    read: Option<CudaEvent>,
}

impl Upload {
    /// Whether views of this side can be made on a GPU.
    pub fn fits(side: usize) -> bool {
        side <= LARGEST_SIDE
    }

    /// Creates an upload without buffers.
    pub fn new(device: &CudaDevice) -> Self {
        Self { device: device.clone(), stream: None, buffers: [None, None], turn: 0 }
    }

    /// Uploads `images` and makes views of them, like [`Images::views`]. Waits for the upload, not for the views.
    ///
    /// # Errors
    /// Those of [`Images::views`], or if memory is too small for the images.
    pub fn views(
        &mut self,
        images: &[Image],
        drawn: &[(usize, Drawn)],
        normalisation: &Normalisation,
        dtype: DType,
    ) -> Result<Tensor> {
        let training = self.device.cuda_stream();
        let stream = match &self.stream {
            Some(stream) => stream.clone(),
            None => self.stream.insert(training.context().new_stream().w()?).clone(),
        };
        let (places, count) = places(images);
        self.turn = 1 - self.turn;
        let buffer = &mut self.buffers[self.turn];
        if let Some(read) = buffer.as_ref().and_then(|buffer| buffer.read.as_ref()) {
            read.synchronize().w()?;
        }
        if buffer.as_ref().is_none_or(|buffer| buffer.here.len() < count) {
            // Some reserve: if images have several sizes, so have batches.
            let count = count + count / 8;
            // SAFETY: both are written below before they are read, and views use only what was written.
            let (here, there) =
                unsafe { (training.context().alloc_pinned(count).w()?, stream.alloc(count).w()?) };
            *buffer = Some(Buffer { here, there, read: None });
        }
        let Some(Buffer { here, there, read }) = buffer else { unreachable!("filled above") };
        let bytes = here.as_mut_slice().w()?;
        for (place, image) in places.iter().zip(images) {
            bytes[place.start..][..image.pixels.len()].copy_from_slice(&image.pixels);
        }
        stream.memcpy_htod(here, there).w()?;
        // Events are not tracked (`tensor::gpu::open`), so only this wait keeps training's kernels from reading
        // before the bytes have arrived, just as only `read` keeps the bytes from being overwritten before kernels
        // have read them. Waiting on the training stream instead would also wait for its kernels.
        stream.synchronize().w()?;
        let views = views(&self.device, there, &places, drawn, normalisation, dtype)?;
        *read = Some(training.record_event(None).w()?);
        Ok(views)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Buffers are freed on their own stream, which does not wait for the kernels that read them.
        for read in self.buffers.iter().flatten().filter_map(|buffer| buffer.read.as_ref()) {
            let _ = read.synchronize();
        }
    }
}

fn views(
    device: &CudaDevice,
    bytes: &CudaSlice<u8>,
    places: &[Place],
    drawn: &[(usize, Drawn)],
    normalisation: &Normalisation,
    dtype: DType,
) -> Result<Tensor> {
    let mut placed = Vec::with_capacity(drawn.len());
    for (image, view) in drawn {
        let Place { start, width, height } = places[*image];
        let crop = view.crop;
        if crop.left + crop.width > width || crop.top + crop.height > height {
            return Err(Error::Msg(format!("views: {crop:?} in a {width} x {height} image ({image})")));
        }
        if view.side != drawn[0].1.side {
            return Err(Error::Msg(format!("views: sides {} and {}", drawn[0].1.side, view.side)));
        }
        placed.push((view.clone(), start, width));
    }
    if placed.is_empty() {
        return Err(Error::Msg("views: expected at least one".to_owned()));
    }
    let batch = packed::Batch::new(&placed);
    match dtype {
        DType::F32 => make::<f32>(device, bytes, &batch, normalisation),
        DType::BF16 => make::<bf16>(device, bytes, &batch, normalisation),
        other => Err(Error::Msg(format!("views: numbers are {other:?}, expected f32 or bf16"))),
    }
}

fn make<T: Element>(
    device: &CudaDevice,
    bytes: &CudaSlice<u8>,
    batch: &packed::Batch,
    normalisation: &Normalisation,
) -> Result<Tensor> {
    let &packed::Batch { ref views, side, taps, scratch } = batch;
    let ptx = include_str!(concat!(env!("OUT_DIR"), "/views.ptx"));
    let module = Module { name: "skewbench_views", ptx, device };
    let count = views.len();
    let views = device.cuda_stream().clone_htod(views).w()?;
    let (side_, taps_, scratch_) = (side as i32, taps as i32, scratch as i64);
    let [a, b, c] = normalisation.mean;
    let [d, e, f] = normalisation.std;
    let constants = Constants([a, b, c, d, e, f]);
    let shared = (3 * side * side + LINES * 3 * side).next_multiple_of(4);
    let blocks = config([count, 1, 1], THREADS, shared);
    let name = format!("views_{}", T::NAME);
    // SAFETY: the kernel `views` writes `count` views, and reads only scratch memory that it wrote; every view's
    // image lies within `bytes`, and `packed::Batch` makes scratch and taps large enough for each view.
    let out = unsafe {
        let mut between = module.alloc::<u8>(count * scratch)?;
        let mut windows = module.alloc::<i32>(count * 2 * side * (taps + 2))?;
        let mut out = module.alloc::<T>(count * side * side * 3)?;
        launch!(
            module,
            name,
            blocks,
            bytes,
            &views,
            &side_,
            &taps_,
            &scratch_,
            &mut between,
            &mut windows,
            &constants,
            &mut out,
        );
        out
    };
    Ok(constant(out, device, (count, side, side, 3)))
}
