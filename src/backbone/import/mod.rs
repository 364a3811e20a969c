//! Encoder weights out of files as others write them: what is read, under which names, and what is said of it.
//!
//! [`Weights::read`] opens a file; [`Weights::fill`] finds an encoder in it, whatever prefixes, heads and copies stand
//! around it, and says what it did. Knows nothing about cells, and trains nothing.

/// Ends a function with an error of one line: Candle's `bail` adds a trace of the stack to it.
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

/// The tensors of a file, as they are named there.
#[derive(Clone, Debug)]
pub struct Weights {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
    notes: BTreeMap<String, String>,
}

impl Weights {
    /// The tensors in `bytes`, which are those of the file at `path`: safetensors, or a zip file by `torch.save` whose
    /// dictionaries hold plain tensors, or one dictionary of them in the form of before PyTorch 1.6. No code
    /// of the file is run.
    ///
    /// # Errors
    /// Says what the file is instead (empty, torn, a pointer of Git LFS, a web page, another checkpoint), and what to
    /// do about it.
    pub fn read(path: &Path, bytes: &[u8]) -> Result<Self> {
        let tensors =
            file::tensors(path, bytes).map_err(|error| Error::Msg(format!("{}: {error}", path.display())))?;
        Ok(Self { path: path.to_owned(), tensors, notes: notes(bytes) })
    }

    /// What the header of the file says of itself under this name; safetensors have such notes.
    pub fn note(&self, name: &str) -> Option<&str> {
        self.notes.get(name).map(String::as_str)
    }

    /// The encoder that these are weights of, by their names; sizes are not looked at.
    ///
    /// # Errors
    /// If it is none that is built here.
    pub fn network(&self) -> Result<Name> {
        let shapes = self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.dims()));
        if let Some(network) = network::of(&shapes.collect()) {
            return Ok(network.name());
        }
        let foreign = network::foreign(self.tensors.keys().map(String::as_str));
        let what =
            foreign.unwrap_or("neither a ResNet or MobileNetV2 by torchvision's names, nor a ViT by timm's");
        refuse!("{}: {what}", self.path.display())
    }

    /// The variables of a trained encoder, as a file of them would have them; `path` is what errors call them.
    pub fn of(path: &Path, encoder: &Parameters) -> Self {
        let named = |entry: &super::Parameter| (entry.name.clone(), entry.variable.as_detached_tensor());
        let tensors = encoder.all().iter().map(named).collect();
        Self { path: path.to_owned(), tensors, notes: BTreeMap::new() }
    }

    /// Overwrites every variable of `encoder` by the file's tensor of its name, and says, a line each, which prefix was
    /// stripped, what was resampled and what was ignored.
    ///
    /// # Errors
    /// If the file holds no such encoder, or two that differ, or weights that are not finite, or tensors of another
    /// size; names the tensor, and the flag that would help where there is one. Then nothing is overwritten.
    pub fn fill(&self, encoder: &Parameters) -> Result<Vec<String>> {
        self.try_fill(encoder).map_err(|error| Error::Msg(format!("{}: {error}", self.path.display())))
    }

    fn try_fill(&self, encoder: &Parameters) -> Result<Vec<String>> {
        let wanted: Vec<&str> = encoder.all().iter().map(|parameter| parameter.name.as_str()).collect();
        let place = names::find(&self.tensors, &wanted).map_err(|missing| self.explain(&missing, encoder))?;
        let mut told = vec![place.told(wanted.len())];
        told.extend(place.copies_told());
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
                told.push(moved.told);
                tensor = moved.tensor;
            }
            if tensor.dims() != expected {
                return Err(self.other_size(&named, (tensor.dims(), expected), encoder));
            }
            filled.insert(parameter.name.as_str(), tensor);
        }
        told.extend(converted.iter().map(|(dtype, count)| format!("{count} tensors of {dtype} read as f32")));
        told.extend(place.ignored_told());
        encoder.set(|name| filled.get(name))?;
        Ok(told)
    }

    /// The shapes that the file and the encoder have, to tell which networks they are.
    fn networks(&self, encoder: &Parameters) -> (Option<network::Network>, Option<network::Network>) {
        let found = self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.dims()));
        let expected = encoder.all().iter().map(|entry| (entry.name.as_str(), entry.variable.dims()));
        (network::of(&found.collect()), network::of(&expected.collect()))
    }

    fn other_size(&self, name: &str, (found, expected): (&[usize], &[usize]), encoder: &Parameters) -> Error {
        let (found, expected) = (network::size(found), network::size(expected));
        let hint = network::hint(self.networks(encoder));
        Error::Msg(format!("tensor '{name}' is {found} in the file, expected {expected}{hint}"))
    }

    fn explain(&self, missing: &names::Missing, encoder: &Parameters) -> Error {
        if let names::Missing::Told(reason) = missing {
            return Error::Msg(reason.clone());
        }
        let (found, expected) = self.networks(encoder);
        let foreign = network::foreign(self.tensors.keys().map(String::as_str));
        let hint = foreign.map_or_else(|| network::hint((found, expected)), |names| format!(": {names}"));
        Error::Msg(format!("{missing}{hint}"))
    }
}

/// Notes in the header of safetensors; empty where there are none.
fn notes(bytes: &[u8]) -> BTreeMap<String, String> {
    let head = safetensors::SafeTensors::read_metadata(bytes);
    let notes = head.ok().and_then(|(_, head)| head.metadata().clone());
    notes.into_iter().flatten().collect()
}

/// A tensor in f32.
///
/// # Errors
/// If its numbers are integers, or some are NaN or infinite, or variances are negative.
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
