//! What of a finished cell makes it a detector, beside its encoder's weights: the converged probe, and pictures with
//! the logits that they must give.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, View};

use super::{
    Record,
    beside::{self, Part},
};
use crate::{backbone::safe::serialised, data::Image};

/// Pictures that a detector is checked by. Ours.
pub const EXAMPLES: usize = 8;

/// A linear probe, and what shows that it computes what it did.
#[derive(Clone, Debug, PartialEq)]
pub struct Detector {
    /// One weight a feature.
    pub weights: Vec<f64>,
    /// Added to the weighted sum.
    pub bias: f64,
    /// Pictures as the network sees them, before normalisation, all of one size.
    pub pictures: Vec<Image>,
    /// Their logits.
    pub logits: Vec<f64>,
    /// Width and height of most training pictures as they came; none where they are drawn.
    pub usual_size: Option<[usize; 2]>,
}

impl Detector {
    /// As safetensors.
    ///
    /// # Errors
    /// None that is known: tensors are as long as their shapes say.
    pub(super) fn serialised(&self) -> Result<Vec<u8>> {
        let size = self.usual_size.map(|[width, height]| format!("{width} x {height}"));
        let notes = size.map(|size| ("usual_size".to_owned(), size)).into_iter().collect();
        Ok(serialised(self.tensors(), &notes)?)
    }

    /// Reads the detector of the cell whose record is in the file `at`.
    ///
    /// # Errors
    /// If it is not there, is not this record's, or is of something else.
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
        read().with_context(|| format!("{}: not the detector of a cell", Part::Detector.of(at).display()))
    }

    /// Out of tensors by their names.
    ///
    /// # Errors
    /// If one is missing, or shapes do not fit.
    pub(crate) fn from_tensors(tensors: &BTreeMap<String, Tensor>) -> Result<Self> {
        let tensor = |name: &str| tensors.get(name).with_context(|| format!("no tensor '{name}'"));
        let numbers = |name: &str| -> Result<Vec<f64>> {
            Ok(tensor(name)?.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?)
        };
        let (weights, bias, logits) =
            (numbers("probe.weight")?, numbers("probe.bias")?, numbers("examples.logits")?);
        let pictures = tensor("examples.pictures")?;
        let (count, height, width, channels) = pictures.dims4()?;
        ensure!(
            bias.len() == 1 && channels == 3 && count == logits.len() && count > 0,
            "probe or examples have unexpected shapes"
        );
        let bytes = pictures.flatten_all()?.to_vec1::<u8>()?;
        let pictures = bytes.chunks_exact(height * width * 3);
        let pictures = pictures.map(|pixels| Image::new(width, height, pixels.to_vec())).collect();
        Ok(Self { weights, bias: bias[0], pictures, logits, usual_size: None })
    }

    /// Its tensors by name.
    pub(crate) fn tensors(&self) -> Vec<(String, Numbers)> {
        let doubles = |shape: Vec<usize>, values: &[f64]| Numbers {
            kind: Dtype::F64,
            shape,
            bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        };
        let [height, width] = self.pictures.first().map_or([0; 2], |first| [first.height, first.width]);
        let pictures = Numbers {
            kind: Dtype::U8,
            shape: vec![self.pictures.len(), height, width, 3],
            bytes: self.pictures.iter().flat_map(|picture| picture.pixels.iter().copied()).collect(),
        };
        vec![
            ("probe.weight".to_owned(), doubles(vec![self.weights.len()], &self.weights)),
            ("probe.bias".to_owned(), doubles(vec![1], &[self.bias])),
            ("examples.pictures".to_owned(), pictures),
            ("examples.logits".to_owned(), doubles(vec![self.logits.len()], &self.logits)),
        ]
    }
}

/// A tensor as safetensors writes it.
pub(crate) struct Numbers {
    pub kind: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
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
