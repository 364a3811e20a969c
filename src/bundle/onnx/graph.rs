//! Builds an ONNX graph: operations in execution order, and the constants that they read.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Tensor};

use super::messages::{Attribute, Constant, FLOAT, INT64, Node};
use crate::backbone::Parameters;

/// A graph under construction; its methods return the name of what they add.
pub struct Graph<'a> {
    encoder: &'a Parameters,
    /// Names of the encoder's parameters that were read.
    read: BTreeSet<String>,
    pub nodes: Vec<Node>,
    pub constants: Vec<Constant>,
}

impl<'a> Graph<'a> {
    pub fn new(encoder: &'a Parameters) -> Self {
        Self { encoder, read: BTreeSet::new(), nodes: Vec::new(), constants: Vec::new() }
    }

    /// Adds an operation with one output; both are named `name`.
    pub fn add(&mut self, operator: &str, name: &str, inputs: &[&str], attributes: Vec<Attribute>) -> String {
        self.nodes.push(Node {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: operator.to_owned(),
            attribute: attributes,
        });
        name.to_owned()
    }

    /// Splits `input` into three equal parts along its last axis.
    pub fn thirds(&mut self, name: &str, input: &str, width: usize) -> [String; 3] {
        let sizes = self.integers(&format!("{name}.sizes"), &[width as i64; 3]);
        let outputs = [0, 1, 2].map(|part| format!("{name}.{part}"));
        self.add("Split", name, &[input, &sizes], vec![int("axis", -1)]);
        if let Some(node) = self.nodes.last_mut() {
            node.output = outputs.to_vec();
        }
        outputs
    }

    /// Adds a constant of these numbers; empty `dims` make a scalar.
    pub fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let dims = dims.iter().map(|&dim| dim as i64).collect();
        self.constant(name, FLOAT, dims, bytes)
    }

    /// Adds a list of integers, such as a shape.
    pub fn integers(&mut self, name: &str, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, INT64, vec![values.len() as i64], bytes)
    }

    fn constant(&mut self, name: &str, data_type: i32, dims: Vec<i64>, raw_data: Vec<u8>) -> String {
        self.constants.push(Constant { dims, data_type, name: name.to_owned(), raw_data });
        name.to_owned()
    }

    /// Adds a parameter of the encoder unchanged, under its own name.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn parameter(&mut self, name: &str) -> Result<String> {
        let values = self.values(name)?;
        self.tensor(name, &values)
    }

    /// Adds a matrix (out, in) of the encoder transposed to (in, out), as `MatMul` requires, with `.T` appended to
    /// its name.
    ///
    /// # Errors
    /// If it does not exist or is not a matrix.
    pub fn transposed(&mut self, name: &str) -> Result<String> {
        let values = self.values(name)?.t()?;
        self.tensor(&format!("{name}.T"), &values)
    }

    /// Adds a constant with the values of a tensor.
    ///
    /// # Errors
    /// If the values cannot be read.
    pub fn tensor(&mut self, name: &str, values: &Tensor) -> Result<String> {
        let numbers = values.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        Ok(self.floats(name, values.dims(), &numbers))
    }

    /// Returns the values of a parameter of the encoder.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn values(&mut self, name: &str) -> Result<Tensor> {
        let parameter =
            self.encoder.get(name).with_context(|| format!("the encoder has no parameter '{name}'"))?;
        self.read.insert(name.to_owned());
        Ok(parameter.variable.as_detached_tensor())
    }

    /// Checks that every parameter of the encoder was read.
    ///
    /// # Errors
    /// If one was not: the graph would then compute something else.
    pub fn ensure_all_were_read(&self) -> Result<()> {
        let mut all = self.encoder.all().iter();
        let forgotten = all.find(|parameter| !self.read.contains(&parameter.name));
        ensure!(
            forgotten.is_none(),
            "the graph leaves out parameter '{}' of the encoder",
            forgotten.map_or("", |parameter| &parameter.name)
        );
        Ok(())
    }
}

/// Integer attribute.
pub fn int(name: &str, value: i64) -> Attribute {
    Attribute { name: name.to_owned(), int: Some(value), kind: 2, ..Attribute::default() }
}

/// Attribute with several integers.
pub fn ints(name: &str, values: &[i64]) -> Attribute {
    Attribute { name: name.to_owned(), ints: values.to_vec(), kind: 7, ..Attribute::default() }
}

/// Floating-point attribute.
pub fn float(name: &str, value: f64) -> Attribute {
    Attribute { name: name.to_owned(), float: Some(value as f32), kind: 1, ..Attribute::default() }
}
