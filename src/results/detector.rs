//! The file that, together with a cell's encoder weights, makes a detector: scorers, and images with the logits
//! that they must give.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, View};

use super::{
    Record,
    beside::{self, Part},
};
use crate::{backbone::safe::serialised, data::Image, evaluate::scorer::Scorer};

/// Number of images that a detector is checked with. Ours.
pub const EXAMPLES: usize = 8;

/// Scorers, and examples that check that they still give the same logits.
pub struct Detector {
    /// Each scorer with its logits of the images.
    pub scorers: Vec<(Scorer, Vec<f64>)>,
    /// Images as the network sees them, before normalisation, all of one size.
    pub pictures: Vec<Image>,
    /// Most frequent width and height of the original training images; `None` if images are drawn.
    pub usual_size: Option<[usize; 2]>,
}

impl Detector {
    /// Serialises the detector as safetensors.
    ///
    /// # Errors
    /// If a tensor cannot be copied to main memory.
    pub(super) fn serialised(&self) -> Result<Vec<u8>> {
        let size = self.usual_size.map(|[width, height]| format!("{width} x {height}"));
        let notes = size.map(|size| ("usual_size".to_owned(), size)).into_iter().collect();
        Ok(serialised(self.tensors()?, &notes)?)
    }

    /// Reads the detector of the cell whose record is in the file `at`.
    ///
    /// # Errors
    /// If it is missing, does not belong to this record, or is not a detector.
    pub fn read(at: &Path, record: &Record) -> Result<Self> {
        let bytes = beside::read(at, record, Part::Detector)?;
        let read = || -> Result<Self> {
            let (_, head) = safetensors::SafeTensors::read_metadata(&bytes)?;
            let size = head.metadata().as_ref().and_then(|notes| notes.get("usual_size")).and_then(|size| {
                let (width, height) = size.split_once(" x ")?;
                Some([width.parse().ok()?, height.parse().ok()?])
            });
            let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?;
            Ok(Self { usual_size: size, ..Self::from_tensors(&tensors.into_iter().collect())? })
        };
        read().with_context(|| {
            format!(
                "{}: not the detector of a cell that this program trained",
                Part::Detector.of(at).display()
            )
        })
    }

    /// Builds a detector from tensors by their names; ignores other tensors.
    ///
    /// # Errors
    /// If one is missing, or shapes do not fit.
    pub(crate) fn from_tensors(tensors: &BTreeMap<String, Tensor>) -> Result<Self> {
        let pictures = tensors.get("examples.pictures").context("no tensor 'examples.pictures'")?;
        let (count, height, width, channels) = pictures.dims4()?;
        ensure!(channels == 3 && count * height * width > 0, "examples have unexpected shapes");
        let mut scorers = Vec::new();
        for name in Scorer::NAMES {
            let start = format!("{name}.");
            let mut parts: BTreeMap<String, Tensor> = tensors
                .iter()
                .filter_map(|(full, tensor)| Some((full.strip_prefix(&start)?.to_owned(), tensor.clone())))
                .collect();
            let Some(logits) = parts.remove("examples") else { continue };
            let logits = logits.to_dtype(DType::F64)?.to_vec1::<f64>()?;
            ensure!(logits.len() == count, "{count} examples have {} logits of '{name}'", logits.len());
            scorers.push((Scorer::from_tensors(name, &parts)?, logits));
        }
        ensure!(!scorers.is_empty(), "expected one of the scorers {}, found none", Scorer::NAMES.join(", "));
        let bytes = pictures.flatten_all()?.to_vec1::<u8>()?;
        let pictures = bytes.chunks_exact(height * width * 3);
        let pictures = pictures.map(|pixels| Image::new(width, height, pixels.to_vec())).collect();
        Ok(Self { scorers, pictures, usual_size: None })
    }

    /// Returns its tensors by name: the parts of each scorer, and the logits of the images under the scorer's name.
    pub(crate) fn tensors(&self) -> Result<Vec<(String, Numbers)>> {
        let [height, width] = self.pictures.first().map_or([0; 2], |first| [first.height, first.width]);
        let pictures = Numbers {
            kind: Dtype::U8,
            shape: vec![self.pictures.len(), height, width, 3],
            bytes: self.pictures.iter().flat_map(|picture| picture.pixels.iter().copied()).collect(),
        };
        let mut tensors = vec![("examples.pictures".to_owned(), pictures)];
        for (scorer, logits) in &self.scorers {
            let mut parts = scorer.tensors()?;
            parts.insert("examples".to_owned(), Tensor::from_slice(logits, logits.len(), &Device::Cpu)?);
            for (part, tensor) in parts {
                tensors.push((format!("{}.{part}", scorer.name()), Numbers::of(&tensor)?));
            }
        }
        Ok(tensors)
    }
}

/// A tensor in the form that safetensors writes.
pub(crate) struct Numbers {
    pub kind: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Numbers {
    /// Copies a tensor in single or double precision.
    pub fn of(tensor: &Tensor) -> Result<Self> {
        let (shape, flat) = (tensor.dims().to_vec(), tensor.flatten_all()?);
        let (kind, bytes) = match tensor.dtype() {
            DType::F64 => {
                let values = flat.to_vec1::<f64>()?;
                (Dtype::F64, values.iter().flat_map(|value| value.to_le_bytes()).collect())
            }
            _ => {
                let values = flat.to_dtype(DType::F32)?.to_vec1::<f32>()?;
                (Dtype::F32, values.iter().flat_map(|value| value.to_le_bytes()).collect())
            }
        };
        Ok(Self { kind, shape, bytes })
    }
}

impl View for Numbers {
    fn dtype(&self) -> Dtype {
        self.kind
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
