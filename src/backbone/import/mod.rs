//! Imports encoder weights from files written by other programs: formats, naming schemes, and a report of what was
//! done.
//!
//! [`Weights::read`] opens a file; [`Weights::fill`] finds an encoder in it, whatever prefixes, heads and copies
//! surround it, and reports what it did. Independent of cells, and trains nothing.

/// Returns an error of one line: Candle's `bail` would append a stack trace.
macro_rules! refuse {
    ($($words:tt)*) => { return Err(candle_core::Error::Msg(format!($($words)*))) };
}

mod file;
mod legacy;
pub mod mobilenet;
mod names;
mod network;
mod resample;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle_core::{DType, Error, Result, Tensor};

use super::{Name, Parameters};

/// The tensors of a file under their original names.
#[derive(Clone, Debug)]
pub struct Weights {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
    notes: BTreeMap<String, String>,
}

impl Weights {
    /// Reads the tensors in `bytes`, the content of the file at `path`.
    ///
    /// Accepts safetensors, zip files written by `torch.save` whose dictionaries hold plain tensors, and a single such
    /// dictionary in the format that PyTorch used before 1.6. No code from the file is run.
    ///
    /// # Errors
    /// If the file is anything else. The message says what it is (empty, truncated, a Git LFS pointer, a web page,
    /// another checkpoint), and what to do about it.
    pub fn read(path: &Path, bytes: &[u8]) -> Result<Self> {
        let tensors =
            file::tensors(path, bytes).map_err(|error| Error::Msg(format!("{}: {error}", path.display())))?;
        Ok(Self { path: path.to_owned(), tensors, notes: notes(bytes) })
    }

    /// Returns the note of this name in the file's header (safetensors only).
    pub fn note(&self, name: &str) -> Option<&str> {
        self.notes.get(name).map(String::as_str)
    }

    /// Recognises the encoder by the names of the tensors; sizes are ignored.
    ///
    /// # Errors
    /// If it is none of the available encoders.
    pub fn network(&self) -> Result<Name> {
        let shapes = self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.dims()));
        if let Some(network) = network::recognise(&shapes.collect()) {
            return Ok(network.name());
        }
        let foreign = network::unsupported_library(self.tensors.keys().map(String::as_str));
        let what =
            foreign.unwrap_or("neither a ResNet or MobileNetV2 by torchvision's names, nor a ViT by timm's");
        refuse!("{}: {what}", self.path.display())
    }

    /// Wraps the variables of a trained encoder as if they had been read from a file; `path` is used in error
    /// messages.
    pub fn from_parameters(path: &Path, encoder: &Parameters) -> Self {
        let named = |entry: &super::Parameter| (entry.name.clone(), entry.variable.as_detached_tensor());
        let tensors = encoder.all().iter().map(named).collect();
        Self { path: path.to_owned(), tensors, notes: BTreeMap::new() }
    }

    /// Overwrites every variable of `encoder` with the file's tensor of the same name. Returns a report: one line each
    /// on the prefix that was stripped, on the encoder chosen among several, and on what was resampled, converted or
    /// ignored.
    ///
    /// # Errors
    /// If the file holds no such encoder, or two different ones, or weights that are not finite, or tensors of
    /// another size. The message names the tensor and, if there is one, the flag that helps. Nothing is overwritten
    /// in that case.
    pub fn fill(&self, encoder: &Parameters) -> Result<Vec<String>> {
        self.try_fill(encoder).map_err(|error| Error::Msg(format!("{}: {error}", self.path.display())))
    }

    fn try_fill(&self, encoder: &Parameters) -> Result<Vec<String>> {
        let wanted: Vec<&str> = encoder.all().iter().map(|parameter| parameter.name.as_str()).collect();
        let place = names::find(&self.tensors, &wanted).map_err(|missing| self.explain(&missing, encoder))?;
        let mut told = vec![place.report_found(wanted.len())];
        told.extend(place.report_copies());
        let (mut filled, mut converted) = (BTreeMap::new(), BTreeMap::new());
        for parameter in encoder.all() {
            let named = place.name(&parameter.name);
            let found = self.tensors.get(&named).ok_or_else(|| Error::Msg(format!("no tensor '{named}'")))?;
            if found.dtype() != DType::F32 {
                *converted.entry(found.dtype().as_str()).or_insert(0) += 1;
            }
            let mut tensor = finite(&named, found)?;
            let expected = parameter.variable.dims();
            if parameter.name == "pos_embed"
                && tensor.dims() != expected
                && let Some(moved) = resample::positions(&tensor, expected)?
            {
                told.push(moved.report);
                tensor = moved.tensor;
            }
            if tensor.dims() != expected {
                return Err(self.other_size(&named, (tensor.dims(), expected), encoder));
            }
            filled.insert(parameter.name.as_str(), tensor);
        }
        told.extend(converted.iter().map(|(dtype, count)| format!("{count} tensors of {dtype} read as f32")));
        told.extend(place.report_ignored());
        encoder.set(|name| filled.get(name))?;
        Ok(told)
    }

    /// Recognises the network in the file and that of `encoder`, in this order.
    fn networks(&self, encoder: &Parameters) -> (Option<network::Network>, Option<network::Network>) {
        let found = self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.dims()));
        let expected = encoder.all().iter().map(|entry| (entry.name.as_str(), entry.variable.dims()));
        (network::recognise(&found.collect()), network::recognise(&expected.collect()))
    }

    fn other_size(&self, name: &str, (found, expected): (&[usize], &[usize]), encoder: &Parameters) -> Error {
        let (found, expected) = (network::size(found), network::size(expected));
        let hint = network::hint(self.networks(encoder));
        Error::Msg(format!("tensor '{name}' is {found} in the file, expected {expected}{hint}"))
    }

    fn explain(&self, missing: &names::Missing, encoder: &Parameters) -> Error {
        if let names::Missing::Other(reason) = missing {
            return Error::Msg(reason.clone());
        }
        let (found, expected) = self.networks(encoder);
        let foreign = network::unsupported_library(self.tensors.keys().map(String::as_str));
        let hint = foreign.map_or_else(|| network::hint((found, expected)), |names| format!(": {names}"));
        Error::Msg(format!("{missing}{hint}"))
    }
}

/// Notes in the header of a safetensors file; empty if there are none.
fn notes(bytes: &[u8]) -> BTreeMap<String, String> {
    let head = safetensors::SafeTensors::read_metadata(bytes);
    let notes = head.ok().and_then(|(_, head)| head.metadata().clone());
    notes.into_iter().flatten().collect()
}

/// Converts a tensor to f32.
///
/// # Errors
/// If it holds integers, NaN or infinite values, or negative variances.
fn finite(name: &str, tensor: &Tensor) -> Result<Tensor> {
    if !tensor.dtype().is_float() {
        refuse!("tensor '{name}' is of {}, expected floating-point numbers", tensor.dtype().as_str())
    }
    let tensor = tensor.to_dtype(DType::F32)?;
    let values = tensor.flatten_all()?.to_vec1::<f32>()?;
    let bad = values.iter().filter(|value| !value.is_finite()).count();
    if bad > 0 {
        refuse!(
            "{bad} of {} numbers of tensor '{name}' are NaN or infinite: training diverged, or the file is damaged; \
             take an earlier checkpoint",
            values.len()
        )
    }
    if name.ends_with("running_var") && values.iter().any(|value| *value < 0.0) {
        refuse!("tensor '{name}' has negative variances: the file is damaged")
    }
    Ok(tensor)
}
