//! Operations and their cases, and the computation of value and gradients, by the operation or by its twin.

mod define;
mod list;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};
use skewbench::{
    candle_core::{DType, Device, Result as Outcome, Tensor, Var},
    tensor::widen,
};

pub use self::{
    define::{barlow_twins, nt_xent},
    list::cases,
};
use crate::{
    compare::{Named, to_cpu_f64},
    differences::assert_differences,
    inputs::{Argument, Numbers, Precision, stream},
};

/// Computes from the arguments the value that is differentiated, then the other outputs.
pub type Function = Box<dyn Fn(&[Tensor]) -> Outcome<Vec<Tensor>> + Send + Sync>;

/// An operation at certain shapes.
pub struct Case {
    /// Name in PyTorch's scripts and in the kernels' harness.
    pub operation: &'static str,
    /// Numbers and switches in addition to the arguments.
    pub constants: Map<String, Value>,
    pub arguments: Vec<Argument>,
    /// Names of the outputs.
    pub outputs: &'static [&'static str],
    /// Largest difference from the twin in double precision, relative to the largest number.
    pub rounding: f64,
    pub run: Function,
    /// The same operation composed of Candle's own.
    pub twin: Function,
}

/// Value and gradients of a case, and the inputs that they were computed from.
pub struct Computed {
    pub arguments: Vec<Tensor>,
    /// Factors by which the value is multiplied before it is summed and differentiated.
    pub slope: Tensor,
    pub results: Vec<Named>,
}

impl Case {
    /// Returns operation, constants and shapes as text.
    pub fn name(&self) -> String {
        let constants = self.constants.iter().filter_map(|(name, value)| match value {
            Value::Bool(is_on) => is_on.then(|| name.clone()),
            Value::Array(values) => Some(format!("{} {name}", values.len())),
            value => Some(format!("{name} {value}")),
        });
        let text = |shape: &[usize]| shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
        let mut name = format!("{} of {}", self.operation, text(&self.arguments[0].shape));
        if self.operation == "convolution" {
            name += &format!(" by {}", text(&self.arguments[1].shape));
        }
        constants.fold(name, |name, constant| format!("{name}, {constant}"))
    }

    /// Returns a constant that is a whole number; zero if no constant has this name.
    pub fn constant(&self, name: &str) -> usize {
        self.constants.get(name).and_then(Value::as_u64).unwrap_or_default() as usize
    }

    /// Returns a constant that is a switch.
    pub fn switch(&self, name: &str) -> bool {
        self.constants.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// Returns the count of numbers of all arguments.
    pub fn size(&self) -> usize {
        self.arguments.iter().map(|argument| argument.shape.iter().product::<usize>()).sum()
    }

    /// Returns the largest allowed relative difference from the twin on the CPU, and from the CPU on a GPU. For f32
    /// it allows sums in another order, for bf16 one rounding; ours.
    pub fn bound(&self, precision: Precision) -> f64 {
        match precision {
            Precision::Double => self.rounding,
            Precision::Single => 2e-5,
            Precision::Mixed => 1.5e-2,
        }
    }

    /// Returns value and gradients on a device.
    ///
    /// # Errors
    /// If the operation fails, returns another type than it was given, or lacks a gradient.
    pub fn compute(&self, precision: Precision, device: &Device) -> Result<Computed> {
        let numbers = precision.numbers();
        self.differentiate(&self.run, &self.inputs(precision)?, [numbers; 2], device)
    }

    /// Returns value and gradients by the twin, in double precision, from inputs rounded to `precision`.
    ///
    /// # Errors
    /// If the twin fails.
    pub fn expected(&self, precision: Precision) -> Result<Computed> {
        let inputs = self.inputs(precision)?.iter().map(to_cpu_f64).collect::<Result<Vec<_>>>()?;
        self.differentiate(&self.twin, &inputs, [precision.numbers(), DType::F64], &Device::Cpu)
    }

    fn inputs(&self, precision: Precision) -> Result<Vec<Tensor>> {
        let name = self.name();
        Ok(self.arguments.iter().map(|argument| argument.values(&name, precision)).collect::<Outcome<_>>()?)
    }

    /// Takes two types: that of the slope and of `inputs`, and that of the computation.
    fn differentiate(
        &self,
        function: &Function,
        inputs: &[Tensor],
        [rounded, numbers]: [DType; 2],
        device: &Device,
    ) -> Result<Computed> {
        let mut variables = Vec::new();
        for input in inputs {
            variables.push(Var::from_tensor(&input.to_device(device)?)?);
        }
        let arguments: Vec<Tensor> = variables
            .iter()
            .zip(&self.arguments)
            .map(|(variable, argument)| {
                if argument.needs_gradient {
                    variable.as_tensor().clone()
                } else {
                    variable.as_detached_tensor()
                }
            })
            .collect();
        let outputs = function(&arguments)?;
        ensure!(
            outputs.len() == self.outputs.len(),
            "{} outputs, expected {:?}",
            outputs.len(),
            self.outputs
        );
        let value = &outputs[0];
        ensure!(value.dtype() == numbers, "numbers are {:?}, expected {numbers:?}", value.dtype());
        let slope = stream(&self.name(), "slope", value.dims())?.to_dtype(DType::F32)?.to_dtype(rounded)?;
        let slope = slope.to_dtype(numbers)?.to_device(device)?;
        // Not `sum_all`: on a GPU, Candle cannot sum a tensor without dimensions.
        let gradients = (widen(value)? * widen(&slope)?)?.flatten_all()?.sum(0)?.backward()?;
        let mut results = Vec::new();
        for (name, output) in self.outputs.iter().zip(&outputs) {
            results.push(((*name).to_owned(), to_cpu_f64(output)?));
        }
        for (argument, variable) in
            self.arguments.iter().zip(&variables).filter(|(one, _)| one.needs_gradient)
        {
            let gradient = gradients.get(variable);
            let gradient = gradient.with_context(|| format!("no gradient by {}", argument.name))?;
            results.push((format!("by {}", argument.name), to_cpu_f64(gradient)?));
        }
        Ok(Computed { arguments: arguments.iter().map(Tensor::detach).collect(), slope, results })
    }

    /// Returns whether the operation is smooth at its arguments, and small enough to be computed often.
    pub fn has_differences(&self) -> bool {
        const MOST: usize = 400_000;
        self.size() <= MOST && self.arguments.iter().all(|argument| argument.numbers != Numbers::Whole)
    }

    /// Compares gradients in double precision with central finite differences.
    ///
    /// # Errors
    /// If the operation fails.
    ///
    /// # Panics
    /// If they differ.
    pub fn assert_differences(&self) -> Result<()> {
        let inputs = self.inputs(Precision::Double)?;
        let varying = || self.arguments.iter().zip(&inputs).filter(|(argument, _)| argument.needs_gradient);
        let variables = varying().map(|(_, input)| Var::from_tensor(input)).collect::<Outcome<Vec<_>>>()?;
        let function = |x: &[Tensor]| {
            let mut varied = x.iter();
            let arguments = self.arguments.iter().zip(&inputs).map(|(argument, input)| {
                let given = argument.needs_gradient.then(|| varied.next()).flatten();
                given.unwrap_or(input).clone()
            });
            Ok((self.run)(&arguments.collect::<Vec<_>>())?.swap_remove(0))
        };
        Ok(assert_differences(&function, &variables)?)
    }
}

/// Returns the number of cases of each operation.
pub fn counts() -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    cases().iter().for_each(|case| *counts.entry(case.operation).or_default() += 1);
    counts
}
