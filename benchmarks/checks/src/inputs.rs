//! Inputs of cases: normal numbers from named streams, rounded to a precision.

use skewbench::{
    candle_core::{DType, Device, Result, Tensor, Var},
    seed::Seed,
};

/// Number types of a computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Everything in double precision: tests the formulas themselves, on the CPU only.
    Double,
    /// Everything in single precision.
    Single,
    /// Activations in bf16; weights, statistics and sums in single precision.
    Mixed,
}

impl Precision {
    pub const ALL: [Self; 3] = [Self::Double, Self::Single, Self::Mixed];
    /// The precisions that kernels support.
    pub const ON_A_GPU: [Self; 2] = [Self::Single, Self::Mixed];

    /// Returns the spelling in names of cases and in PyTorch's scripts.
    pub fn id(self) -> &'static str {
        match self {
            Self::Double => "f64",
            Self::Single => "f32",
            Self::Mixed => "bf16",
        }
    }

    /// Returns the type of activations.
    pub fn numbers(self) -> DType {
        match self {
            Self::Double => DType::F64,
            Self::Single => DType::F32,
            Self::Mixed => DType::BF16,
        }
    }

    /// Returns the type of everything else.
    pub fn weights(self) -> DType {
        if self == Self::Double { DType::F64 } else { DType::F32 }
    }
}

/// The distribution of an argument's numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Numbers {
    Normal,
    /// Normal numbers times this factor.
    Scaled(f64),
    /// Normal numbers around this mean; around zero in bf16, which could not represent their variance.
    About(f64),
    /// Rounded to whole numbers, so that maxima tie.
    Whole,
    /// Squares of normal numbers plus one half.
    Positive,
}

/// An argument of an operation.
#[derive(Clone, Debug)]
pub struct Argument {
    pub name: &'static str,
    pub shape: Vec<usize>,
    pub numbers: Numbers,
    /// Whether it has the type of activations.
    pub is_activation: bool,
    /// Whether a gradient is computed with respect to it.
    pub needs_gradient: bool,
}

impl Argument {
    /// Describes activations.
    pub fn activation(name: &'static str, shape: &[usize]) -> Self {
        Self {
            name,
            shape: shape.to_vec(),
            numbers: Numbers::Normal,
            is_activation: true,
            needs_gradient: true,
        }
    }

    /// Describes a weight.
    pub fn weight(name: &'static str, shape: &[usize]) -> Self {
        Self { is_activation: false, ..Self::activation(name, shape) }
    }

    /// Describes a weight that gets no gradient.
    pub fn constant(name: &'static str, shape: &[usize], numbers: Numbers) -> Self {
        Self { needs_gradient: false, numbers, ..Self::weight(name, shape) }
    }

    pub fn with_numbers(self, numbers: Numbers) -> Self {
        Self { numbers, ..self }
    }

    /// Returns its values in a case, on the CPU, rounded to `precision`.
    ///
    /// # Errors
    /// If Candle cannot create them.
    pub fn values(&self, case: &str, precision: Precision) -> Result<Tensor> {
        let normal = stream(case, self.name, &self.shape)?;
        let values = match self.numbers {
            Numbers::Normal => normal,
            Numbers::Scaled(by) => (normal * by)?,
            Numbers::About(_) if precision == Precision::Mixed => normal,
            Numbers::About(mean) => (normal + mean)?,
            Numbers::Whole => normal.round()?,
            Numbers::Positive => (normal.sqr()? + 0.5)?,
        };
        // bf16 is rounded from single precision, as before a kernel.
        let values = if precision == Precision::Double { values } else { values.to_dtype(DType::F32)? };
        values.to_dtype(if self.is_activation { precision.numbers() } else { precision.weights() })
    }
}

/// Returns normal numbers in double precision, from the stream of a case and a name in it.
///
/// # Errors
/// If Candle cannot create them.
pub fn stream(case: &str, name: &str, shape: &[usize]) -> Result<Tensor> {
    let mut stream = Seed::root(0).child("checks").child(case).child(name).stream();
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| stream.normal()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// Returns normal numbers as a variable, from the stream of a name.
///
/// # Errors
/// If Candle cannot create them.
pub fn normal(name: &str, shape: &[usize], dtype: DType) -> Result<Var> {
    let mut stream = Seed::root(0).child(name).stream();
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| stream.normal()).collect();
    Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?)
}
