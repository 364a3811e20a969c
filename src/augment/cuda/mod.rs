//! Views made on a GPU by `views.cu`, from images that lie there as bytes; equal to [`super::Drawn::apply`] and
//! [`super::to_normalised`].

use candle_core::{CudaDevice, DType, Error, Result, Tensor, cuda_backend::WrapErr};
use cudarc::driver::{CudaSlice, DeviceRepr};
use half::bf16;

use super::{Drawn, Normalisation, packed};
use crate::{
    data::Image,
    tensor::cuda::{Element, Module, config, constant, launch},
};

// As in views.cu.
const THREADS: usize = 1024;
const LINES: usize = THREADS / 32;

// SAFETY: plain numbers, laid out as the kernel's structures of the same names.
unsafe impl DeviceRepr for packed::View {}

#[derive(Clone, Copy)]
#[repr(C)]
struct Constants([f32; 6]);

// SAFETY: as above.
unsafe impl DeviceRepr for Constants {}

/// Images in a GPU's memory, uploaded once.
pub struct Images {
    bytes: CudaSlice<u8>,
    /// Of each image: where its bytes begin, width, height.
    places: Vec<(usize, usize, usize)>,
    device: CudaDevice,
}

impl Images {
    /// # Errors
    /// If the device's memory does not hold them.
    pub fn upload(images: &[Image], device: &CudaDevice) -> Result<Self> {
        let mut places = Vec::with_capacity(images.len());
        let mut bytes = Vec::with_capacity(images.iter().map(|image| image.pixels.len()).sum());
        for image in images {
            places.push((bytes.len(), image.width, image.height));
            bytes.extend_from_slice(&image.pixels);
        }
        let bytes = device.cuda_stream().clone_htod(&bytes).w()?;
        Ok(Self { bytes, places, device: device.clone() })
    }

    /// Makes views, each with the position of its image: (views, side, side, 3) in `dtype`, f32 or bf16.
    ///
    /// # Errors
    /// If a view was drawn for an image of another size, views' sides differ, or a side is more than shared memory holds
    /// (272 pixels on an H100).
    pub fn views(
        &self,
        drawn: &[(usize, Drawn)],
        normalisation: &Normalisation,
        dtype: DType,
    ) -> Result<Tensor> {
        match dtype {
            DType::F32 => self.make::<f32>(drawn, normalisation),
            DType::BF16 => self.make::<bf16>(drawn, normalisation),
            other => Err(Error::Msg(format!("views: numbers are {other:?}, expected f32 or bf16"))),
        }
    }

    fn make<T: Element>(&self, drawn: &[(usize, Drawn)], normalisation: &Normalisation) -> Result<Tensor> {
        let mut placed = Vec::with_capacity(drawn.len());
        for (image, view) in drawn {
            let (source, width, height) = self.places[*image];
            let crop = view.crop;
            if crop.left + crop.width > width || crop.top + crop.height > height {
                return Err(Error::Msg(format!("views: {crop:?} in a {width} x {height} image ({image})")));
            }
            if view.side != drawn[0].1.side {
                return Err(Error::Msg(format!("views: sides {} and {}", drawn[0].1.side, view.side)));
            }
            placed.push((view.clone(), source, width));
        }
        if placed.is_empty() {
            return Err(Error::Msg("views: expected at least one".to_owned()));
        }
        let packed::Batch { views, side, taps, scratch } = packed::Batch::new(&placed);
        let ptx = include_str!(concat!(env!("OUT_DIR"), "/views.ptx"));
        let module = Module { name: "skewbench_views", ptx, device: &self.device };
        let count = views.len();
        let views = self.device.cuda_stream().clone_htod(&views).w()?;
        let mut between = module.room::<u8>(count * scratch)?;
        let mut windows = module.room::<i32>(count * 2 * side * (taps + 2))?;
        let mut out = module.room::<T>(count * side * side * 3)?;
        let (side_, taps, scratch) = (side as i32, taps as i32, scratch as i64);
        let [a, b, c] = normalisation.mean;
        let [d, e, f] = normalisation.std;
        let constants = Constants([a, b, c, d, e, f]);
        let shared = (3 * side * side + LINES * 3 * side).next_multiple_of(4);
        launch!(
            module,
            format!("views_{}", T::NAME),
            config([count, 1, 1], THREADS, shared),
            &self.bytes,
            &views,
            &side_,
            &taps,
            &scratch,
            &mut between,
            &mut windows,
            &constants,
            &mut out,
        );
        Ok(constant(out, &self.device, (count, side, side, 3)))
    }
}
