//! The trait for operations of this layer, and its adapter to Candle's traits.
//!
//! Candle has a trait for each number of arguments, with a method for each device. Here one trait serves one to
//! three arguments, and an operation implements only the devices that it supports. Independent of what is computed.

use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail,
};

/// Gradients with respect to an operation's arguments, in their order; `None` if not needed, or if handed over.
pub type Gradients = Vec<Option<Tensor>>;

/// An argument's numbers on the CPU, and their layout.
pub type OnCpu<'a> = (&'a CpuStorage, &'a Layout);

/// An argument's numbers on a GPU, and their layout.
pub type OnGpu<'a> = (&'a CudaStorage, &'a Layout);

/// A differentiable operation of one to three arguments.
///
/// An instance is applied only once, so it may store what its backward pass needs.
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

    /// Returns whether the backward pass reads the numbers of the argument with this index. A chain frees arguments
    /// that are not read, and replaces them by empty tensors.
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

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    /// The sum of its arguments' numbers. Returns as many gradients as `gradients` says; fails unless `on_cpu`.
    struct Sum {
        on_cpu: bool,
        gradients: usize,
    }

    impl Operation for Sum {
        const NAME: &'static str = "sum";

        fn on_cpu(&self, arguments: &[OnCpu]) -> Result<(CpuStorage, Shape)> {
            if !self.on_cpu {
                return Nowhere.on_cpu(arguments);
            }
            let numbers = arguments.iter().map(|(storage, _)| match storage {
                CpuStorage::F64(numbers) => numbers.iter().sum::<f64>(),
                _ => f64::NAN,
            });
            Ok((CpuStorage::F64(vec![numbers.sum()]), Shape::from(1)))
        }

        fn backward(&self, arguments: &[&Tensor], _: &Tensor, _: &Tensor) -> Result<Gradients> {
            // Each argument's gradient is its position, counted from 1.
            let by = |place: usize| (arguments[place].ones_like()? * (place + 1) as f64).map(Some);
            (0..self.gradients).map(by).collect()
        }
    }

    /// Implements nothing.
    struct Nowhere;

    impl Operation for Nowhere {
        const NAME: &'static str = "nowhere";

        fn backward(&self, _: &[&Tensor], _: &Tensor, _: &Tensor) -> Result<Gradients> {
            bail!("never")
        }
    }

    fn variables() -> [Var; 3] {
        [[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]].map(|numbers| Var::new(&numbers, &Device::Cpu).unwrap())
    }

    #[test]
    fn one_to_three_arguments_get_their_own_gradients() -> Result<()> {
        let variables = variables();
        let arguments = variables.each_ref().map(|variable| variable.as_tensor());
        for (count, sum) in [(1, 3.0), (2, 33.0), (3, 333.0)] {
            let result = node(&arguments[..count], Sum { on_cpu: true, gradients: count })?;
            assert_eq!(result.to_vec1::<f64>()?, [sum]);
            let found = result.sum_all()?.backward()?;
            for (place, variable) in variables.iter().enumerate() {
                let expected = (place < count).then(|| vec![(place + 1) as f64; 2]);
                let gradient = found.get(variable).map(|gradient| gradient.to_vec1::<f64>()).transpose()?;
                assert_eq!(gradient, expected, "argument {place} of {count}");
            }
        }
        Ok(())
    }

    #[test]
    fn what_an_operation_cannot_do_is_named() -> Result<()> {
        let variables = variables();
        let arguments = variables.each_ref().map(|variable| variable.as_tensor());
        let error = |found: Result<Tensor>| {
            found.unwrap_err().to_string().lines().next().unwrap_or_default().to_owned()
        };
        let wrong = node(&arguments[..2], Sum { on_cpu: true, gradients: 1 })?;
        let found = wrong.sum_all()?.backward().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(found.contains("sum: 1 gradients by 2 arguments"), "{found}");
        let four = [arguments[0], arguments[1], arguments[2], arguments[0]];
        let many = node(&four, Sum { on_cpu: true, gradients: 4 });
        assert_eq!(error(many), "sum: expected one to three arguments, found 4");
        let none = node(&[], Sum { on_cpu: true, gradients: 0 });
        assert_eq!(error(none), "sum: expected one to three arguments, found 0");
        let elsewhere = node(&arguments[..1], Sum { on_cpu: false, gradients: 1 });
        assert_eq!(error(elsewhere), "nowhere: expected tensors on a GPU");
        assert!(Nowhere.reads(0) && Nowhere.reads(2) && !Nowhere.reads_result());
        Ok(())
    }
}
