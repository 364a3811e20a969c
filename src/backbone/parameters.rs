//! Named variables in a fixed order: initialisation, roles, reading and writing as safetensors.
//!
//! Candle's `VarMap` iterates in random order and does not distinguish weights from running statistics. Both matter
//! here: equal seeds must give equal bytes, and optimisers treat the two differently.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Error, Result, Shape, Tensor, Var};

use super::safe::serialise;
use crate::seed::{Seed, Stream};

/// Role of a variable in optimisation and weight decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Matrices, convolution kernels, tokens and position embeddings.
    Weight,
    /// Additive vectors of linear and convolution layers.
    Bias,
    /// Scale and shift of normalisation layers.
    Norm,
    /// Running statistics: saved and copied, but never optimised.
    Buffer,
}

/// One named variable.
#[derive(Clone)]
pub struct Parameter {
    /// Dotted path, spelled as in torchvision or timm.
    pub name: String,
    /// Its values, shared with the layer that uses them.
    pub variable: Var,
    /// Its role.
    pub kind: Role,
}

/// Initialisation of a variable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initialise {
    /// Constant.
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
    /// Normal, redrawn outside [-`limit`, `limit`] (absolute, like timm's `trunc_normal_` with a = -limit).
    TruncatedNormal {
        /// Standard deviation before truncation.
        std: f64,
        /// Largest absolute value.
        limit: f64,
    },
}

/// All variables of a model, in order of creation.
#[derive(Clone, Default)]
pub struct Parameters {
    entries: Vec<Parameter>,
}

impl Parameters {
    /// Returns all variables, including buffers.
    pub fn all(&self) -> &[Parameter] {
        &self.entries
    }

    /// Returns the variables that an optimiser may change.
    pub fn trainable(&self) -> impl Iterator<Item = &Parameter> {
        self.entries.iter().filter(|parameter| parameter.kind != Role::Buffer)
    }

    /// Returns the variable named `name` (its dotted path), if it exists.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.entries.iter().find(|parameter| parameter.name == name)
    }

    /// Returns the encoder's variables: all except those of heads, whose names begin with `head.`.
    pub fn encoder(&self) -> Self {
        let entries = self.entries.iter().filter(|parameter| !parameter.name.starts_with("head."));
        Self { entries: entries.cloned().collect() }
    }

    /// Returns the total number of trainable parameters.
    pub fn trainable_count(&self) -> usize {
        self.trainable().map(|parameter| parameter.variable.elem_count()).sum()
    }

    /// Starts building variables with names below `prefix` (empty for the root). Without a seed, values that would be
    /// drawn are 0.
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

    /// Serialises all variables under their names as safetensors, with `notes` in the header.
    pub fn to_safetensors(&self, notes: &BTreeMap<String, String>) -> Result<Vec<u8>> {
        let tensors: Vec<(&str, Tensor)> =
            self.entries.iter().map(|p| (p.name.as_str(), p.variable.as_detached_tensor())).collect();
        let tensors = tensors.iter().map(|(name, tensor)| (*name, tensor));
        // Some loaders of PyTorch weights require this note.
        let notes = notes.clone().into_iter().chain([("format".to_owned(), "pt".to_owned())]).collect();
        serialise(tensors, &notes).map_err(|error| Error::Msg(error.to_string()))
    }

    /// Parses all tensors of a safetensors file, in the order of their names. A variable's role is derived from its
    /// name and rank; biases of normalisation layers, too, get [`Role::Bias`].
    ///
    /// # Errors
    /// If the bytes are truncated or not safetensors.
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

    /// Overwrites every variable with the tensor that `find` returns for its name.
    ///
    /// # Errors
    /// If `find` returns no tensor for a name, or one of another shape; in that case nothing is overwritten.
    pub fn set<'a>(&self, find: impl Fn(&str) -> Option<&'a Tensor>) -> Result<()> {
        // All tensors are checked before the first variable is overwritten.
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

/// Parses all tensors of a file.
fn tensors(bytes: &[u8]) -> Result<HashMap<String, Tensor>> {
    candle_core::safetensors::load_buffer(bytes, &Device::Cpu)
        .map_err(|error| Error::Msg(format!("truncated or not safetensors: {error}")))
}

impl Initialise {
    /// Draws `count` values.
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

/// Creates variables below a prefix. A variable's initial values depend only on the seed and its full name.
pub struct Builder<'a> {
    parameters: &'a mut Parameters,
    prefix: String,
    seed: Option<Seed>,
    dtype: DType,
    device: Device,
}

impl Builder<'_> {
    /// Returns a builder for names below `name`.
    pub fn scope(&mut self, name: &str) -> Builder<'_> {
        Builder {
            prefix: self.path(name),
            parameters: self.parameters,
            seed: self.seed,
            dtype: self.dtype,
            device: self.device.clone(),
        }
    }

    /// Creates a variable and registers it.
    ///
    /// # Errors
    /// If the name exists already.
    pub fn variable(
        &mut self,
        name: &str,
        shape: impl Into<Shape>,
        initialise: Initialise,
        kind: Role,
    ) -> Result<Var> {
        let (name, shape) = (self.path(name), shape.into());
        if self.parameters.get(&name).is_some() {
            return Err(Error::Msg(format!("variable '{name}' exists already")));
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

    /// A bias of ones, and a matrix named `fc.weight`.
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
        let whole = parameters.to_safetensors(&BTreeMap::new()).unwrap();

        // The bias fits, but there is no matrix.
        let mut other = Parameters::default();
        let mut builder = other.builder("fc", Seed::root(7), DType::F32, &Device::Cpu);
        builder.variable("bias", 3, Initialise::Constant(0.0), Role::Bias).unwrap();
        for (expected, bytes) in [
            ("truncated or not safetensors", whole[..whole.len() - 1].to_vec()),
            ("truncated or not safetensors", b"weights".to_vec()),
            ("'fc.bias' has shape [4], expected [3]", matrix(4).to_safetensors(&BTreeMap::new()).unwrap()),
            ("no tensor named 'fc.weight'", other.to_safetensors(&BTreeMap::new()).unwrap()),
            ("truncated or not safetensors", Vec::new()),
        ] {
            let error = load(&bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(values(&parameters), before, "{expected}");
        }

        // Variables with other values are overwritten with the saved ones.
        for Parameter { variable, .. } in parameters.all() {
            variable.set(&variable.zeros_like().unwrap()).unwrap();
        }
        load(&whole).unwrap();
        assert_eq!(values(&parameters), before);
        assert_eq!(values(&Parameters::parse(&whole).unwrap()), before);
    }
    #[test]
    fn names_are_paths_and_exist_once() {
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("head", Seed::root(7), DType::F32, &Device::Cpu);
        let draw = Initialise::Uniform { bound: 0.5 };
        builder.scope("mlp").scope("0").variable("weight", (3, 2), draw, Role::Weight).unwrap();
        builder.variable("bias", 3, draw, Role::Bias).unwrap();
        let error = builder.scope("mlp").scope("0").variable("weight", 1, draw, Role::Weight).unwrap_err();
        assert_eq!(error.to_string(), "variable 'head.mlp.0.weight' exists already");
        parameters
            .builder("", Seed::root(7), DType::F32, &Device::Cpu)
            .variable("a", 1, draw, Role::Norm)
            .unwrap();
        let names: Vec<&str> = parameters.all().iter().map(|parameter| parameter.name.as_str()).collect();
        assert_eq!(names, ["head.mlp.0.weight", "head.bias", "a"]);
        // Values depend on the seed and the full name, not on which other variables exist.
        let mut other = Parameters::default();
        let mut builder = other.builder("head.mlp.0", Seed::root(7), DType::F32, &Device::Cpu);
        builder.variable("weight", (3, 2), draw, Role::Weight).unwrap();
        builder.variable("other", (3, 2), draw, Role::Weight).unwrap();
        assert_eq!(values(&other)[0], values(&parameters)[0]);
        assert_ne!(values(&other)[1], values(&parameters)[0]);
        // Blocks of equal shape differ by their number alone, and yet begin with other numbers.
        let mut blocks = Parameters::default();
        let names = ["blocks.0", "blocks.1", "blocks.10", "block.s0"];
        for name in names {
            let mut builder = blocks.builder(name, Seed::root(7), DType::F32, &Device::Cpu);
            builder.variable("weight", (3, 2), draw, Role::Weight).unwrap();
        }
        let drawn = values(&blocks);
        for (place, numbers) in drawn.iter().enumerate() {
            assert!(!drawn[..place].contains(numbers), "{}", names[place]);
        }
        let mut third = Parameters::default();
        let mut builder = third.builder("head.mlp.0", Seed::root(8), DType::F32, &Device::Cpu);
        builder.variable("weight", (3, 2), draw, Role::Weight).unwrap();
        assert_ne!(values(&third)[0], values(&parameters)[0], "another seed");
    }

    /// An encoder, a head and running statistics.
    fn roles() -> Parameters {
        let mut parameters = Parameters::default();
        let mut builder = parameters.builder("", Seed::root(7), DType::F32, &Device::Cpu);
        let one = Initialise::Constant(1.0);
        for (name, shape, kind) in [
            ("conv1.weight", vec![2, 3], Role::Weight),
            ("bn1.weight", vec![2], Role::Norm),
            ("bn1.bias", vec![2], Role::Norm),
            ("bn1.running_mean", vec![2], Role::Buffer),
            ("bn1.running_var", vec![2], Role::Buffer),
            ("cls_token", vec![1, 1, 4], Role::Weight),
            ("head.bias", vec![5], Role::Bias),
            ("header.weight", vec![7], Role::Norm),
        ] {
            builder.variable(name, shape, one, kind).unwrap();
        }
        parameters
    }

    #[test]
    fn heads_are_no_part_of_the_encoder_and_buffers_are_not_trained() {
        let parameters = roles();
        let names = |parameters: &Parameters| -> Vec<String> {
            parameters.all().iter().map(|parameter| parameter.name.clone()).collect()
        };
        let encoder = names(&parameters.encoder());
        assert_eq!(
            encoder,
            names(&parameters).into_iter().filter(|name| name != "head.bias").collect::<Vec<_>>()
        );
        assert_eq!(parameters.trainable_count(), 6 + 2 + 2 + 4 + 5 + 7);
        assert_eq!(parameters.trainable().count(), 6);
        assert!(parameters.trainable().all(|parameter| !parameter.name.contains("running")));
        assert!(parameters.get("bn1.running_var").is_some() && parameters.get("running_var").is_none());
    }

    #[test]
    fn a_file_s_variables_have_the_roles_of_their_names() {
        let notes = BTreeMap::from([("about".to_owned(), "x".to_owned())]);
        let bytes = roles().to_safetensors(&notes).unwrap();
        let found = Parameters::parse(&bytes).unwrap();
        let found: Vec<(&str, Role)> =
            found.all().iter().map(|parameter| (parameter.name.as_str(), parameter.kind)).collect();
        let expected = [
            ("bn1.bias", Role::Bias),
            ("bn1.running_mean", Role::Buffer),
            ("bn1.running_var", Role::Buffer),
            ("bn1.weight", Role::Norm),
            ("cls_token", Role::Weight),
            ("conv1.weight", Role::Weight),
            ("head.bias", Role::Bias),
            ("header.weight", Role::Norm),
        ];
        assert_eq!(found, expected);
        // Loaders of PyTorch weights read the format in the header.
        let (_, head) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let found: BTreeMap<String, String> = head.metadata().clone().unwrap().into_iter().collect();
        let expected =
            [("about", "x"), ("format", "pt")].map(|(name, note)| (name.to_owned(), note.to_owned()));
        assert_eq!(found, BTreeMap::from(expected));
    }

    /// A normal variable truncated at half its standard deviation is nearly uniform: the standard deviation falls to
    /// 0.2839 of the original one (0.2887 if it were uniform).
    #[test]
    fn values_are_drawn_within_their_limits() {
        let draw = |initialise: Initialise| initialise.draw(20_000, &mut Seed::root(3).stream());
        let moments = |values: &[f64]| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let deviation =
                (values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64).sqrt();
            let largest = values.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
            (mean, deviation, largest)
        };
        for (initialise, deviation, bound) in [
            (Initialise::TruncatedNormal { std: 2.0, limit: 1.0 }, 2.0 * 0.2839, 1.0),
            (Initialise::Uniform { bound: 0.5 }, 0.5 / 3.0_f64.sqrt(), 0.5),
        ] {
            let (mean, found, largest) = moments(&draw(initialise));
            assert!(
                mean.abs() < 0.02 * bound && (found / deviation - 1.0).abs() < 0.02,
                "{initialise:?}: {found}"
            );
            assert!(largest <= bound && largest > 0.99 * bound, "{initialise:?}: {largest}");
        }
        let (mean, found, largest) = moments(&draw(Initialise::Normal { std: 3.0 }));
        assert!(
            mean.abs() < 0.15 && (found - 3.0).abs() < 0.1 && largest > 9.0,
            "{mean}, {found}, {largest}"
        );
        assert_eq!(draw(Initialise::Constant(0.75)), [0.75; 20_000]);
    }
}
