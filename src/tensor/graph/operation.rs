//! The trait for operations of this layer, and its adapter to Candle's traits.
//!
//! Candle has a trait for each number of arguments, with a method for each device. Here an operation takes any
//! number of arguments and implements what it supports. Independent of what is computed.

use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail,
};

/// Gradients with respect to an operation's arguments, in their order; `None` if not needed, or if handed over.
pub type Gradients = Vec<Option<Tensor>>;

/// An argument's numbers on the CPU, and their layout.
pub type OnCpu<'a> = (&'a CpuStorage, &'a Layout);

/// An argument's numbers on a GPU, and their layout.
pub type OnGpu<'a> = (&'a CudaStorage, &'a Layout);

/// A differentiable operation of one to three arguments. A value is applied once, and may store what its backward
/// pass needs.
pub trait Operation: Send + Sync + 'static {
    /// Name in error messages.
    const NAME: &'static str;

    /// Returns the result's numbers and shape, on the CPU.
    ///
    /// # Errors
    /// If shapes do not fit each other, or the operation needs a GPU.
    fn on_cpu(&self, _arguments: &[OnCpu]) -> Result<(CpuStorage, Shape)> {
        bail!("{}: expected tensors on a GPU", Self::NAME)
    }

    /// Returns the result's numbers and shape, on a GPU.
    ///
    /// # Errors
    /// If shapes do not fit each other, or the operation needs the CPU.
    fn on_gpu(&self, _arguments: &[OnGpu]) -> Result<(CudaStorage, Shape)> {
        bail!("{}: expected tensors in main memory", Self::NAME)
    }

    /// Returns whether the backward pass reads that argument's numbers. A chain frees those that are not read, and
    /// replaces them by an empty tensor.
    fn reads(&self, _argument: usize) -> bool {
        true
    }

    /// Like [`Self::reads`], for the result.
    fn reads_result(&self) -> bool {
        false
    }

    /// Returns gradients with respect to the `arguments`, from the `result` and the `gradient` with respect to it.
    ///
    /// # Errors
    /// If there was no forward pass.
    fn backward(&self, arguments: &[&Tensor], result: &Tensor, gradient: &Tensor) -> Result<Gradients>;
}

/// Applies `operation(arguments)` as a node of Candle's graph.
///
/// # Errors
/// Those of the operation, or if there are more than three arguments, or none.
pub fn node<O: Operation>(arguments: &[&Tensor], operation: O) -> Result<Tensor> {
    match *arguments {
        [first] => first.apply_op1(Node(operation)),
        [first, second] => first.apply_op2(second, Node(operation)),
        [first, second, third] => first.apply_op3(second, third, Node(operation)),
        _ => bail!("{}: expected one to three arguments, found {}", O::NAME, arguments.len()),
    }
}

/// Adapts an operation to Candle's traits.
struct Node<O>(O);

impl<O: Operation> Node<O> {
    fn gradients<const N: usize>(
        &self,
        arguments: [&Tensor; N],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; N]> {
        let found = self.0.backward(&arguments, result, gradient)?;
        let count = found.len();
        let Ok(found) = found.try_into() else { bail!("{}: {count} gradients by {N} arguments", O::NAME) };
        Ok(found)
    }
}

impl<O: Operation> CustomOp1 for Node<O> {
    fn name(&self) -> &'static str {
        O::NAME
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        self.0.on_cpu(&[(s, l)])
    }

    fn cuda_fwd(&self, s: &CudaStorage, l: &Layout) -> Result<(CudaStorage, Shape)> {
        self.0.on_gpu(&[(s, l)])
    }

    fn bwd(&self, argument: &Tensor, result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let [by] = self.gradients([argument], result, gradient)?;
        Ok(by)
    }
}

impl<O: Operation> CustomOp2 for Node<O> {
    fn name(&self) -> &'static str {
        O::NAME
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.0.on_cpu(&[(s1, l1), (s2, l2)])
    }

    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.0.on_gpu(&[(s1, l1), (s2, l2)])
    }

    fn bwd(
        &self,
        first: &Tensor,
        second: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok(self.gradients([first, second], result, gradient)?.into())
    }
}

impl<O: Operation> CustomOp3 for Node<O> {
    fn name(&self) -> &'static str {
        O::NAME
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.0.on_cpu(&[(s1, l1), (s2, l2), (s3, l3)])
    }

    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
        s3: &CudaStorage,
        l3: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.0.on_gpu(&[(s1, l1), (s2, l2), (s3, l3)])
    }

    fn bwd(
        &self,
        first: &Tensor,
        second: &Tensor,
        third: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok(self.gradients([first, second, third], result, gradient)?.into())
    }
}
