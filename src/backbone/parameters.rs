//! Named variables in a fixed order: initialisation, groups, safetensors in and out.
//!
//! Candle's `VarMap` iterates in random order and cannot tell a weight from a running statistic;
//! both matter here, for equal bytes from equal seeds and for optimisers that treat them differently.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Error, Result, Shape, Tensor, Var};

use super::safe::serialised;
use crate::seed::{Seed, Stream};

/// What a variable is, as optimisers and weight decay see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Matrices, convolution kernels, tokens and position embeddings.
    Weight,
    /// Additive vectors of linear and convolution layers.
    Bias,
    /// Scale and shift of normalisation layers.
    Norm,
    /// Running statistics: saved and copied, never optimised.
    Buffer,
}

/// One named variable.
#[derive(Clone)]
pub struct Parameter {
    /// Dotted path, as torchvision or timm names it.
    pub name: String,
    /// Its numbers, shared with the layer that uses them.
    pub variable: Var,
    /// How optimisers treat it.
    pub kind: Role,
}

/// First values of a variable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initialise {
    /// Every number the same.
    Constant(f64),
    /// Uniform in [-bound, bound].
    Uniform {
        /// Largest absolute value.
        bound: f64,
    },
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// Normal, redrawn outside mean +- `limit` (absolute, as timm's `trunc_normal_` with a = -limit).
    TruncatedNormal {
        /// Standard deviation before truncation.
        std: f64,
        /// Largest absolute value that is kept.
        limit: f64,
    },
}

/// All variables of a model, in the order in which they were made.
#[derive(Clone, Default)]
pub struct Parameters {
    entries: Vec<Parameter>,
}

impl Parameters {
    /// Everything, buffers included.
    pub fn all(&self) -> &[Parameter] {
        &self.entries
    }

    /// What an optimiser may move.
    pub fn trainable(&self) -> impl Iterator<Item = &Parameter> {
        self.entries.iter().filter(|parameter| parameter.kind != Role::Buffer)
    }

    /// The variable called `name` (its dotted path), if there is one.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.entries.iter().find(|parameter| parameter.name == name)
    }

    /// The encoder's: all but those of heads, whose names begin with `head.`.
    pub fn encoder(&self) -> Self {
        let entries = self.entries.iter().filter(|parameter| !parameter.name.starts_with("head."));
        Self { entries: entries.cloned().collect() }
    }

    /// Numbers in all trainable variables together.
    pub fn trainable_count(&self) -> usize {
        self.trainable().map(|parameter| parameter.variable.elem_count()).sum()
    }

    /// Starts building: names are given below `prefix` (empty for the root). Without a seed nothing is drawn: what would
    /// be is 0.
    pub fn builder(
        &mut self,
        prefix: &str,
        seed: impl Into<Option<Seed>>,
        dtype: DType,
        device: &Device,
    ) -> Builder<'_> {
        let (prefix, seed, device) = (prefix.to_owned(), seed.into(), device.clone());
        Builder { parameters: self, prefix, seed, dtype, device }
    }

    /// All variables under their names, as safetensors, with `notes` in its header.
    pub fn serialised(&self, notes: &BTreeMap<String, String>) -> Result<Vec<u8>> {
        let tensors: Vec<(&str, Tensor)> =
            self.entries.iter().map(|p| (p.name.as_str(), p.variable.as_detached_tensor())).collect();
        let tensors = tensors.iter().map(|(name, tensor)| (*name, tensor));
        // torch's loaders ask for the format.
        let notes = notes.clone().into_iter().chain([("format".to_owned(), "pt".to_owned())]).collect();
        serialised(tensors, &notes).map_err(|error| Error::Msg(error.to_string()))
    }

    /// All tensors of a file's bytes, in the order of their names; a variable's role follows from its name.
    ///
    /// # Errors
    /// If they are torn or not safetensors.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let tensors: BTreeMap<String, Tensor> = tensors(bytes)?.into_iter().collect();
        let entry = |(name, tensor): (String, Tensor)| {
            let kind = match name.rsplit('.').next() {
                Some("running_mean" | "running_var") => Role::Buffer,
                Some("bias") => Role::Bias,
                Some("weight") if tensor.rank() == 1 => Role::Norm,
                _ => Role::Weight,
            };
            Ok(Parameter { name, variable: Var::from_tensor(&tensor)?, kind })
        };
        Ok(Self { entries: tensors.into_iter().map(entry).collect::<Result<_>>()? })
    }

    /// Overwrites every variable by the tensor that `find` has for its name.
    ///
    /// # Errors
    /// If there is none, or it has another shape; then nothing is overwritten.
    pub fn set<'a>(&self, find: impl Fn(&str) -> Option<&'a Tensor>) -> Result<()> {
        // All are looked at before one is overwritten.
        let mut pairs = Vec::with_capacity(self.entries.len());
        for Parameter { name, variable, .. } in &self.entries {
            let found = find(name).ok_or_else(|| Error::Msg(format!("no tensor named '{name}'")))?;
            if found.shape() != variable.shape() {
                return Err(Error::Msg(format!(
                    "'{name}' has shape {:?}, expected {:?}",
                    found.shape(),
                    variable.shape()
                )));
            }
            pairs.push((variable, found));
        }
        for (variable, found) in pairs {
            variable.set(&found.to_dtype(variable.dtype())?.to_device(variable.device())?)?;
        }
        Ok(())
    }
}

/// All tensors of a file's bytes.
fn tensors(bytes: &[u8]) -> Result<HashMap<String, Tensor>> {
    candle_core::safetensors::load_buffer(bytes, &Device::Cpu)
        .map_err(|error| Error::Msg(format!("torn or not safetensors: {error}")))
}

impl Initialise {
    /// This many numbers.
    fn draw(self, count: usize, stream: &mut Stream) -> Vec<f64> {
        let numbers = (0..count).map(|_| match self {
            Self::Constant(value) => value,
            Self::Uniform { bound } => stream.uniform(-bound, bound),
            Self::Normal { std } => std * stream.normal(),
            Self::TruncatedNormal { std, limit } => loop {
                let value = std * stream.normal();
                if value.abs() <= limit {
                    break value;
                }
            },
        });
        numbers.collect()
    }
}

/// Adds variables below a prefix. A variable's first values depend on the seed and its full name only.
pub struct Builder<'a> {
    parameters: &'a mut Parameters,
    prefix: String,
    seed: Option<Seed>,
    dtype: DType,
    device: Device,
}

impl Builder<'_> {
    /// A builder for names below `name`.
    pub fn scope(&mut self, name: &str) -> Builder<'_> {
        Builder {
            prefix: self.path(name),
            parameters: self.parameters,
            seed: self.seed,
            dtype: self.dtype,
            device: self.device.clone(),
        }
    }

    /// Makes a variable and registers it.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn variable(
        &mut self,
        name: &str,
        shape: impl Into<Shape>,
        initialise: Initialise,
        kind: Role,
    ) -> Result<Var> {
        let (name, shape) = (self.path(name), shape.into());
        if self.parameters.get(&name).is_some() {
            return Err(Error::Msg(format!("variable '{name}' is made twice")));
        }
        let tensor = match (initialise, self.seed) {
            (Initialise::Constant(value), _) => Tensor::full(value, shape, &self.device)?,
            (_, None) => Tensor::zeros(shape, self.dtype, &self.device)?,
            (_, Some(seed)) => {
                let values = initialise.draw(shape.elem_count(), &mut seed.child(&name).stream());
                Tensor::from_vec(values, shape, &self.device)?
            }
        };
        let tensor = tensor.to_dtype(self.dtype)?.contiguous()?;
        let variable = Var::from_tensor(&tensor)?;
        self.parameters.entries.push(Parameter { name, variable: variable.clone(), kind });
        Ok(variable)
    }

    fn path(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bias of ones and a matrix called `fc.weight`.
    fn matrix(rows: usize) -> Parameters {
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("fc", Seed::root(7), DType::F32, &Device::Cpu);
        builder.variable("bias", rows, Initialise::Constant(1.0), Role::Bias).unwrap();
        builder.variable("weight", (rows, 2), Initialise::Normal { std: 1.0 }, Role::Weight).unwrap();
        parameters
    }

    fn values(parameters: &Parameters) -> Vec<Vec<f32>> {
        let rows = |parameter: &Parameter| parameter.variable.flatten_all().unwrap().to_vec1().unwrap();
        parameters.all().iter().map(rows).collect()
    }

    #[test]
    fn without_a_seed_nothing_is_drawn() {
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("fc", None, DType::F32, &Device::Cpu);
        builder.variable("bias", 2, Initialise::Constant(1.0), Role::Bias).unwrap();
        builder.variable("weight", (2, 2), Initialise::Normal { std: 1.0 }, Role::Weight).unwrap();
        assert_eq!(values(&parameters), [vec![1.0; 2], vec![0.0; 4]]);
        assert!(values(&matrix(2))[1].iter().all(|&value| value != 0.0), "with a seed they are");
    }

    #[test]
    fn a_file_that_does_not_fit_changes_nothing() {
        let parameters = matrix(3);
        let before = values(&parameters);
        let load = |bytes: &[u8]| tensors(bytes).and_then(|tensors| parameters.set(|name| tensors.get(name)));
        let whole = parameters.serialised(&BTreeMap::new()).unwrap();

        // The bias fits, the matrix is not there.
        let mut other = Parameters::default();
        let mut builder = other.builder("fc", Seed::root(7), DType::F32, &Device::Cpu);
        builder.variable("bias", 3, Initialise::Constant(0.0), Role::Bias).unwrap();
        for (expected, bytes) in [
            ("torn or not safetensors", whole[..whole.len() - 1].to_vec()),
            ("torn or not safetensors", b"weights".to_vec()),
            ("'fc.bias' has shape [4], expected [3]", matrix(4).serialised(&BTreeMap::new()).unwrap()),
            ("no tensor named 'fc.weight'", other.serialised(&BTreeMap::new()).unwrap()),
            ("torn or not safetensors", Vec::new()),
        ] {
            let error = load(&bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(values(&parameters), before, "{expected}");
        }

        // Another start, then what was saved.
        for Parameter { variable, .. } in parameters.all() {
            variable.set(&variable.zeros_like().unwrap()).unwrap();
        }
        load(&whole).unwrap();
        assert_eq!(values(&parameters), before);
        assert_eq!(values(&Parameters::parse(&whole).unwrap()), before);
    }
}
