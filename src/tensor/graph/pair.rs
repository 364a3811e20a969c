//! Adds two tensors of equal shape, or joins two rows. Independent of what they are.

use candle_core::{
    CpuStorage, CudaStorage, DType, Layout, Result, Shape, Tensor,
    backend::{BackendDevice, BackendStorage},
    bail,
    op::Add,
};
use half::bf16;
use rayon::prelude::*;

use super::{
    chain::apply,
    gradients,
    operation::{Gradients, OnCpu, OnGpu, Operation},
};
use crate::tensor::cpu::{
    storage::{Number, constant, unwritten, values, with_values},
    vector::vectorised,
};

/// Number of elements that one thread adds at a time (ours).
const PIECE: usize = 1 << 16;

/// Returns `first + second`, of equal shape.
///
/// # Errors
/// If shapes differ.
pub fn add(first: &Tensor, second: &Tensor) -> Result<Tensor> {
    if first.shape() != second.shape() {
        bail!("add: expected equal shapes, found {:?} and {:?}", first.shape(), second.shape())
    }
    apply(&[first, second], Pair::Sum)
}

/// Returns the sum of two gradients, a constant. Candle would add bf16 numbers on a single thread.
///
/// # Errors
/// If shapes differ.
pub(in crate::tensor) fn sum_gradients(first: &Tensor, second: &Tensor) -> Result<Tensor> {
    if !first.device().is_cpu() || first.dtype() != DType::BF16 || first.shape() != second.shape() {
        return first + second;
    }
    with_values::<bf16, _, _>([first, second], |[x, y]| Ok(constant(sums(x, y), first.shape())))
}

/// Adds numbers in f32 and rounds the sums.
fn sums(x: &[bf16], y: &[bf16]) -> Vec<bf16> {
    // SAFETY: every number is written.
    let mut sums: Vec<bf16> = unsafe { unwritten(x.len()) };
    let pieces = sums.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).zip(y.par_chunks(PIECE));
    pieces.for_each(|((sums, x), y)| {
        vectorised(
            #[inline(always)]
            || {
                let numbers = sums.iter_mut().zip(x).zip(y);
                numbers.for_each(|((sum, x), y)| *sum = bf16::narrow(x.widen() + y.widen()));
            },
        );
    });
    sums
}

/// Stacks two rows (count) into a matrix (2, count).
///
/// # Errors
/// If they are not rows of equal length.
pub fn join(first: &Tensor, second: &Tensor) -> Result<Tensor> {
    if first.dims1()? != second.dims1()? {
        bail!("join: expected rows of one length, found {:?} and {:?}", first.shape(), second.shape())
    }
    apply(&[first, second], Pair::Join)
}

/// How two tensors of equal shape are combined.
enum Pair {
    Sum,
    Join,
}

impl Pair {
    fn forward<S>(&self, arguments: &[(&S, &Layout)]) -> Result<(S, Shape)>
    where
        S: BackendStorage<Device: BackendDevice<Storage = S>>,
    {
        let &[(s1, l1), (s2, l2)] = arguments else { bail!("a pair of {}", arguments.len()) };
        match self {
            Self::Sum => Ok((s1.binary_impl::<Add>(s2, l1, l2)?, l1.shape().clone())),
            Self::Join => {
                let count = l1.shape().elem_count();
                let shape = Shape::from((2, count));
                // SAFETY: both rows are written next.
                let mut joined = unsafe { s1.device().alloc_uninit(&shape, s1.dtype())? };
                s1.copy_strided_src(&mut joined, 0, l1)?;
                s2.copy_strided_src(&mut joined, count, l2)?;
                Ok((joined, shape))
            }
        }
    }
}

impl Operation for Pair {
    const NAME: &'static str = "pair";

    fn on_cpu(&self, arguments: &[OnCpu]) -> Result<(CpuStorage, Shape)> {
        if let (Self::Sum, &[(CpuStorage::BF16(_), first), (CpuStorage::BF16(_), second)]) = (self, arguments)
            && first.is_contiguous()
            && second.is_contiguous()
        {
            let [x, y] = [0, 1].map(|place| values::<bf16>(arguments[place].0, arguments[place].1));
            return Ok((CpuStorage::BF16(sums(x?, y?)), first.shape().clone()));
        }
        self.forward(arguments)
    }

    fn on_gpu(&self, arguments: &[OnGpu]) -> Result<(CudaStorage, Shape)> {
        self.forward(arguments)
    }

    fn reads(&self, _: usize) -> bool {
        false
    }

    fn backward(&self, arguments: &[&Tensor], _: &Tensor, gradient: &Tensor) -> Result<Gradients> {
        let by = match self {
            Self::Sum => [gradient.clone(), gradient.clone()],
            Self::Join => [gradient.get(0)?, gradient.get(1)?],
        };
        arguments.iter().zip(by).map(|(of, by)| gradients::hand_over(of, Some(by))).collect()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use checks::{distance, normal};

    use super::*;
    use crate::tensor::widen;

    /// More numbers than one thread adds at a time; sums and gradients of all are those in f32, rounded.
    #[test]
    fn sixteen_bit_numbers_are_added_as_in_single_precision() -> Result<()> {
        let shape = [3, PIECE / 2 + 5];
        let of = |name: &str| normal(name, &shape, DType::F32)?.to_dtype(DType::BF16);
        let (first, second) = (Var::from_tensor(&of("first")?)?, Var::from_tensor(&of("second")?)?);
        let expected = (widen(&first)? + widen(&second)?)?.to_dtype(DType::BF16)?;
        for found in [add(&first, &second)?, sum_gradients(&first, &second)?] {
            assert_eq!((found.dtype(), found.dims()), (DType::BF16, &shape[..]));
            assert_eq!(distance(&widen(&found)?, &widen(&expected)?)?, 0.0);
        }
        let gradients = add(&first, &second)?.sum_all()?.backward()?;
        for of in [&first, &second] {
            let gradient = widen(gradients.get(of).expect("a gradient"))?;
            assert_eq!(distance(&gradient, &gradient.ones_like()?)?, 0.0);
        }
        // Not contiguous.
        let turned = add(&first.t()?, &second.t()?)?.t()?.contiguous()?;
        assert_eq!(distance(&widen(&turned)?, &widen(&expected)?)?, 0.0);
        assert!(sum_gradients(&first, &Tensor::zeros(3, DType::BF16, &Device::Cpu)?).is_err());
        Ok(())
    }
}
