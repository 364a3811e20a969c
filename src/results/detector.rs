//! The detector file: scorers, and images with the logits that they must give. Together with the cell's encoder
//! weights, it makes a detector.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, View};

use super::{
    Record,
    beside::{self, Part},
};
use crate::{backbone::safe::serialise, data::Image, evaluate::scorer::Scorer};

/// Number of images that a detector is checked with. Ours.
pub const EXAMPLES: usize = 8;

/// Scorers, and examples that check that they still give the same logits.
pub struct Detector {
    /// Each scorer with its logits of the images.
    pub scorers: Vec<(Scorer, Vec<f64>)>,
    /// Images as the network sees them, before normalisation, all of one size.
    pub pictures: Vec<Image>,
    /// Most frequent width and height of the original training images; `None` if images are synthetic.
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
        Ok(serialise(self.tensors()?, &notes)?)
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
                Part::Detector.path_beside(at).display()
            )
        })
    }

    /// Builds a detector from named tensors; ignores tensors with other names.
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
    pub(crate) fn tensors(&self) -> Result<Vec<(String, RawTensor)>> {
        let [height, width] = self.pictures.first().map_or([0; 2], |first| [first.height, first.width]);
        let pictures = RawTensor {
            kind: Dtype::U8,
            shape: vec![self.pictures.len(), height, width, 3],
            bytes: self.pictures.iter().flat_map(|picture| picture.pixels.iter().copied()).collect(),
        };
        let mut tensors = vec![("examples.pictures".to_owned(), pictures)];
        for (scorer, logits) in &self.scorers {
            let mut parts = scorer.tensors()?;
            parts.insert("examples".to_owned(), Tensor::from_slice(logits, logits.len(), &Device::Cpu)?);
            for (part, tensor) in parts {
                tensors.push((format!("{}.{part}", scorer.name()), RawTensor::from_tensor(&tensor)?));
            }
        }
        Ok(tensors)
    }
}

/// A tensor in the form that safetensors writes.
pub(crate) struct RawTensor {
    pub kind: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl RawTensor {
    /// Copies a tensor in single or double precision.
    pub fn from_tensor(tensor: &Tensor) -> Result<Self> {
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

impl View for RawTensor {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        evaluate::patches::{PatchCore, Patches},
        results::{Folder, example},
        seed::Seed,
    };

    /// Two pictures that are wider than high, and two scorers with different logits.
    fn detector() -> Detector {
        let picture = |first: u8| Image::new(3, 2, (first..first + 18).collect());
        let patches = Patches { values: vec![0.5, 1.5, 2.5, 3.5, 4.5, 5.5], width: 3 };
        let core = PatchCore::fit(&[patches], &Seed::root(0)).unwrap();
        let probe = Scorer::Probe { weights: vec![0.1, -0.2], bias: 0.7 };
        Detector {
            scorers: vec![
                (probe, vec![1.25, -2.5]),
                (Scorer::PatchCore { core, usual: 4.0 }, vec![0.1, 0.3]),
            ],
            pictures: vec![picture(0), picture(100)],
            usual_size: Some([640, 480]),
        }
    }

    #[test]
    fn a_detector_is_read_back_from_beside_its_record() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let mut record = example::record();
        let stated = folder.write_detector(&record.cell.id, &detector()).unwrap();
        assert_eq!(stated.rows, None);
        record.beside.insert("detector".to_owned(), stated);
        let at = folder.write(&record).unwrap();
        assert_eq!(folder.detector_path(&record.cell.id), Part::Detector.path_beside(&at));
        let found = Detector::read(&at, &record).unwrap();
        assert_eq!((found.usual_size, found.pictures), (Some([640, 480]), detector().pictures));
        let [(Scorer::Probe { weights, bias }, first), (Scorer::PatchCore { core, usual }, second)] =
            &found.scorers[..]
        else {
            panic!("two scorers")
        };
        assert_eq!((&weights[..], *bias, &first[..]), (&[0.1, -0.2][..], 0.7, &[1.25, -2.5][..]));
        let Scorer::PatchCore { core: written, .. } = &detector().scorers[1].0 else { panic!("a bank") };
        assert_eq!((core.rows(), core.width(), *usual), (written.rows(), 3, 4.0));
        assert_eq!(second, &[0.1, 0.3]);
    }

    #[test]
    fn tensors_have_these_names_and_shapes() {
        let told: Vec<_> = detector()
            .tensors()
            .unwrap()
            .into_iter()
            .map(|(name, numbers)| (name, numbers.kind, numbers.shape, numbers.bytes.len()))
            .collect();
        let expected = [
            ("examples.pictures", Dtype::U8, vec![2, 2, 3, 3], 36),
            ("converged.bias", Dtype::F64, vec![1], 8),
            ("converged.examples", Dtype::F64, vec![2], 16),
            ("converged.weight", Dtype::F64, vec![2], 16),
            ("normals_patchcore.bank", Dtype::F32, vec![2, 3], 24),
            ("normals_patchcore.examples", Dtype::F64, vec![2], 16),
            ("normals_patchcore.usual", Dtype::F64, vec![1], 8),
        ];
        assert_eq!(told, expected.map(|(name, kind, shape, bytes)| (name.to_owned(), kind, shape, bytes)));
    }

    #[test]
    fn what_is_no_detector_is_refused() {
        let bytes = detector().serialised().unwrap();
        let whole: BTreeMap<String, Tensor> =
            candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap().into_iter().collect();
        let error = |change: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
            let mut tensors = whole.clone();
            change(&mut tensors);
            Detector::from_tensors(&tensors).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(error(&|_| ()), "");
        assert_eq!(
            error(&|tensors| drop(tensors.remove("examples.pictures"))),
            "no tensor 'examples.pictures'"
        );
        let one = Tensor::from_slice(&[1.0_f64], 1, &Device::Cpu).unwrap();
        assert_eq!(
            error(&|tensors| drop(tensors.insert("converged.examples".to_owned(), one.clone()))),
            "2 examples have 1 logits of 'converged'"
        );
        assert_eq!(
            error(&|tensors| tensors.retain(|name, _| !name.ends_with(".examples"))),
            "expected one of the scorers converged, normals_mahalanobis, normals_patchcore, found none"
        );
        let grey = Tensor::zeros((2, 2, 3, 1), DType::U8, &Device::Cpu).unwrap();
        assert_eq!(
            error(&|tensors| drop(tensors.insert("examples.pictures".to_owned(), grey.clone()))),
            "examples have unexpected shapes"
        );
        // A file that is not a detector is refused.
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let at = folder.write(&example::record()).unwrap();
        std::fs::write(Part::Detector.path_beside(&at), b"x").unwrap();
        let error = format!("{:#}", Detector::read(&at, &example::record()).err().unwrap());
        assert!(error.contains(": not the detector of a cell that this program trained"), "{error}");
    }

    /// Every number of every kind of scorer is read back bit for bit, and no size is read where none was noted.
    #[test]
    fn every_number_of_a_detector_is_read_back() {
        use crate::evaluate::normals::Cloud;
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        // The lower half of the covariance of two features, row by row.
        let cloud = || Cloud::from_parts(vec![0.25, -1.5], &[2.0, 0.5, 1.25]).unwrap();
        let Detector { scorers, pictures, .. } = detector();
        let [probe, core] = <[_; 2]>::try_from(scorers).ok().expect("two scorers");
        let mahalanobis = (Scorer::Mahalanobis { cloud: cloud(), usual: 1.0 / 3.0 }, vec![0.2, -0.4]);
        let written = Detector { scorers: vec![probe, mahalanobis, core], pictures, usual_size: None };
        let mut record = example::record();
        let stated = folder.write_detector(&record.cell.id, &written).unwrap();
        record.beside.insert("detector".to_owned(), stated);
        let at = folder.write(&record).unwrap();
        let found = Detector::read(&at, &record).unwrap();
        assert_eq!((found.usual_size, found.scorers.len()), (None, 3));
        let numbers = |detector: &Detector| -> Vec<(String, Vec<usize>, Vec<u64>)> {
            let of = |(scorer, logits): &(Scorer, Vec<f64>)| {
                let tensors = scorer.tensors().unwrap().into_iter().map(|(part, tensor)| {
                    let values =
                        tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
                    (format!("{} {part}", scorer.name()), tensor.dims().to_vec(), values)
                });
                tensors
                    .chain([(scorer.name().to_owned(), vec![logits.len()], logits.clone())])
                    .collect::<Vec<_>>()
            };
            let all = detector.scorers.iter().flat_map(of);
            all.map(|(name, shape, values)| (name, shape, values.into_iter().map(f64::to_bits).collect()))
                .collect()
        };
        assert_eq!(numbers(&found), numbers(&written));
        let Scorer::PatchCore { core, .. } = &found.scorers[2].0 else { panic!("a bank") };
        assert_eq!(core.rows(), [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]);
        // Single precision stays single, double stays double.
        for (tensor, kind, bytes) in [
            (
                Tensor::new(&[0.1_f32, -2.0], &Device::Cpu),
                Dtype::F32,
                [0.1_f32, -2.0].map(f32::to_le_bytes).concat(),
            ),
            (
                Tensor::new(&[0.1_f64, -2.0], &Device::Cpu),
                Dtype::F64,
                [0.1_f64, -2.0].map(f64::to_le_bytes).concat(),
            ),
        ] {
            let raw = RawTensor::from_tensor(&tensor.unwrap()).unwrap();
            assert_eq!((raw.kind, &raw.shape[..], &raw.bytes), (kind, &[2][..], &bytes));
            assert_eq!((raw.dtype(), raw.data_len(), &*raw.data()), (kind, bytes.len(), &bytes[..]));
        }
    }
}
