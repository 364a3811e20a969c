//! The arithmetic of one update of one variable: in one pass over memory on the CPU, in plain tensor operations
//! elsewhere. The two compute the same and are tested against each other.
//!
//! On the CPU a tensor is split at fixed positions, whatever the number of threads, and every number is computed by
//! a single thread: results do not depend on the number of threads.

use std::cell::RefCell;

use candle_core::{CpuStorage, DType, Error, InplaceOp1, Layout, Result, Storage, Tensor, Var, WithDType};
use rayon::prelude::*;

use crate::tensor::cpu::vector::vectorised;

/// Numbers that one thread processes at a time: three such pieces of f32 fit into a core's second-level cache.
const PIECE: usize = 32_768;

/// d = gradient_scale g + weight_scale p;  v = momentum v + d;  p = p - learning_rate v.
#[derive(Clone, Copy, Debug)]
pub struct MomentumUpdate {
    /// Factor of the gradient, from clipping and from LARS' ratio.
    pub gradient_scale: f64,
    /// Factor of the weight, from decay and from LARS' ratio.
    pub weight_scale: f64,
    /// Fraction of the velocity that is kept, 0..1.
    pub momentum: f64,
    /// Length of the step.
    pub learning_rate: f64,
}

/// p = p (1 - learning_rate decay);  m, v = averages of g and g^2;
/// p = p - learning_rate / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon).
#[derive(Clone, Copy, Debug)]
pub struct AdamWUpdate {
    /// Factor of the gradient, from clipping.
    pub gradient_scale: f64,
    /// Fraction of the average of g that is kept, 0..1.
    pub beta1: f64,
    /// Fraction of the average of g^2 that is kept, 0..1.
    pub beta2: f64,
    /// Added to the root; above 0.
    pub epsilon: f64,
    /// Fraction of the weight that a step with a learning rate of 1 subtracts.
    pub weight_decay: f64,
    /// Length of the step.
    pub learning_rate: f64,
    /// Number of this update, from 1.
    pub t: u32,
}

/// An update of either kind.
#[derive(Clone, Copy, Debug)]
pub enum Update {
    Momentum(MomentumUpdate),
    AdamW(AdamWUpdate),
}

impl Update {
    /// Updates `p` and its `moments` (one, or two for AdamW) along the gradient `g`.
    pub fn apply(&self, p: &Var, moments: &mut [Tensor], g: &Tensor) -> Result<()> {
        match (self, moments) {
            (Self::Momentum(update), [velocity]) => update.apply(p, velocity, g),
            (Self::AdamW(update), [first, second]) => update.apply(p, first, second, g),
            (_, moments) => Err(Error::Msg(format!("{self:?} with {} moments", moments.len()))),
        }
    }

    /// Returns the kernel of this update, and its constants in order.
    #[cfg(feature = "cuda")]
    pub fn of_kernel(&self) -> (&'static str, Vec<f64>) {
        match self {
            Self::Momentum(MomentumUpdate { gradient_scale, weight_scale, momentum, learning_rate }) => {
                ("update_momentum", vec![*gradient_scale, *weight_scale, *momentum, *learning_rate])
            }
            Self::AdamW(update) => {
                let (keep, size, root) = update.scalars();
                let AdamWUpdate { gradient_scale: scale, beta1, beta2, epsilon, .. } = *update;
                let rests = [1.0 - beta1, 1.0 - beta2];
                ("update_adamw", vec![scale, beta1, rests[0], beta2, rests[1], keep, size, root, epsilon])
            }
        }
    }
}

impl MomentumUpdate {
    /// Updates `p` and its `velocity` once along the gradient `g`.
    pub fn apply(&self, p: &Var, velocity: &mut Tensor, g: &Tensor) -> Result<()> {
        match (p.device().is_cpu(), p.dtype()) {
            (true, DType::F32) => self.fused::<f32>(p, velocity, g),
            (true, DType::F64) => self.fused::<f64>(p, velocity, g),
            _ => self.plain(p, velocity, g),
        }
    }

    fn plain(&self, p: &Var, velocity: &mut Tensor, g: &Tensor) -> Result<()> {
        let weight = p.as_detached_tensor();
        let step = ((g * self.gradient_scale)? + (&weight * self.weight_scale)?)?;
        *velocity = ((&*velocity * self.momentum)? + step)?;
        p.set(&(weight - (&*velocity * self.learning_rate)?)?)
    }

    fn fused<T: CpuFloat>(&self, p: &Var, velocity: &Tensor, g: &Tensor) -> Result<()> {
        let [a, b, momentum, rate] =
            [self.gradient_scale, self.weight_scale, self.momentum, self.learning_rate].map(T::from_f64);
        read(g, |g: &[T]| {
            write(velocity, &mut |v: &mut [T]| {
                write(p, &mut |p: &mut [T]| {
                    p.par_chunks_mut(PIECE).zip(v.par_chunks_mut(PIECE)).zip(g.par_chunks(PIECE)).for_each(
                        |((p, v), g)| {
                            vectorised(
                                #[inline(always)]
                                || {
                                    for ((p, v), &g) in p.iter_mut().zip(v.iter_mut()).zip(g) {
                                        *v = momentum * *v + (a * g + b * *p);
                                        *p -= rate * *v;
                                    }
                                },
                            );
                        },
                    );
                    Ok(())
                })
            })
        })?
    }
}

impl AdamWUpdate {
    /// Updates `p` and the averages `first` of g and `second` of g^2 once.
    pub fn apply(&self, p: &Var, first: &mut Tensor, second: &mut Tensor, g: &Tensor) -> Result<()> {
        match (p.device().is_cpu(), p.dtype()) {
            (true, DType::F32) => self.fused::<f32>(p, first, second, g),
            (true, DType::F64) => self.fused::<f64>(p, first, second, g),
            _ => self.plain(p, first, second, g),
        }
    }

    fn plain(&self, p: &Var, first: &mut Tensor, second: &mut Tensor, g: &Tensor) -> Result<()> {
        let (keep, size, root) = self.scalars();
        let g = (g * self.gradient_scale)?;
        *first = ((&*first * self.beta1)? + (&g * (1.0 - self.beta1))?)?;
        *second = ((&*second * self.beta2)? + (g.sqr()? * (1.0 - self.beta2))?)?;
        let step = (&*first / ((second.sqrt()? / root)? + self.epsilon)?)?;
        p.set(&((p.as_detached_tensor() * keep)? - (step * size)?)?)
    }

    fn fused<T: CpuFloat>(&self, p: &Var, first: &Tensor, second: &Tensor, g: &Tensor) -> Result<()> {
        let (keep, size, root) = self.scalars();
        let [keep, size, root, epsilon] = [keep, size, root, self.epsilon].map(T::from_f64);
        let [scale, beta1, beta2] = [self.gradient_scale, self.beta1, self.beta2].map(T::from_f64);
        let [rest1, rest2] = [1.0 - self.beta1, 1.0 - self.beta2].map(T::from_f64);
        read(g, |g: &[T]| {
            write(first, &mut |m: &mut [T]| {
                write(second, &mut |v: &mut [T]| {
                    write(p, &mut |p: &mut [T]| {
                        p.par_chunks_mut(PIECE)
                            .zip(m.par_chunks_mut(PIECE))
                            .zip(v.par_chunks_mut(PIECE))
                            .zip(g.par_chunks(PIECE))
                            .for_each(|(((p, m), v), g)| {
                                vectorised(
                                    #[inline(always)]
                                    || {
                                        let moments = m.iter_mut().zip(v.iter_mut());
                                        for ((p, (m, v)), &g) in p.iter_mut().zip(moments).zip(g) {
                                            let g = scale * g;
                                            *m = beta1 * *m + rest1 * g;
                                            *v = beta2 * *v + rest2 * (g * g);
                                            *p = keep * *p - size * (*m / (v.root() / root + epsilon));
                                        }
                                    },
                                );
                            });
                        Ok(())
                    })
                })
            })
        })?
    }

    /// Returns the factor that decay leaves of a weight, the learning rate over the first bias correction, and the root
    /// of the second bias correction.
    fn scalars(&self) -> (f64, f64, f64) {
        let t = f64::from(self.t);
        (
            1.0 - self.learning_rate * self.weight_decay,
            self.learning_rate / (1.0 - libm::pow(self.beta1, t)),
            (1.0 - libm::pow(self.beta2, t)).sqrt(),
        )
    }
}

/// Inner product, accumulated in f64; for a tensor with itself, its squared Euclidean norm.
pub fn inner_product(a: &Tensor, b: &Tensor) -> Result<f64> {
    match (a.device().is_cpu(), a.dtype()) {
        (true, DType::F32) => inner_on_cpu::<f32>(a, b),
        (true, DType::F64) => inner_on_cpu::<f64>(a, b),
        _ => {
            let [a, b] = [a, b].map(|tensor| tensor.detach().to_dtype(DType::F32));
            (a? * b?)?.sum_all()?.to_dtype(DType::F64)?.to_scalar()
        }
    }
}

fn inner_on_cpu<T: CpuFloat>(a: &Tensor, b: &Tensor) -> Result<f64> {
    read(a, |a: &[T]| {
        read(b, |b: &[T]| {
            let pieces = a.par_chunks(PIECE).zip(b.par_chunks(PIECE));
            let sums: Vec<f64> = pieces.map(|(a, b)| inner_of_piece(a, b)).collect();
            sums.iter().sum()
        })
    })?
}

fn inner_of_piece<T: CpuFloat>(a: &[T], b: &[T]) -> f64 {
    // Eight parallel sums, which the compiler can keep in vector registers.
    const LANES: usize = 8;
    let mut lanes = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    vectorised(
        #[inline(always)]
        || {
            for (a, b) in a.iter().zip(b) {
                for ((lane, x), y) in lanes.iter_mut().zip(a).zip(b) {
                    *lane += x.to_f64() * y.to_f64();
                }
            }
        },
    );
    for ((lane, x), y) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += x.to_f64() * y.to_f64();
    }
    lanes.iter().sum()
}

/// Element types that the fused passes support.
trait CpuFloat: WithDType {
    fn root(self) -> Self;
    fn numbers_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

impl CpuFloat for f32 {
    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }

    fn numbers_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        if let CpuStorage::F32(numbers) = storage { Some(numbers) } else { None }
    }
}

impl CpuFloat for f64 {
    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }

    fn numbers_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        if let CpuStorage::F64(numbers) = storage { Some(numbers) } else { None }
    }
}

/// Passes the numbers of a CPU tensor to `work` for reading.
fn read<T: CpuFloat, R>(tensor: &Tensor, work: impl FnOnce(&[T]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return Err(Error::Msg("fused update of a tensor that is not on the cpu".to_owned()));
    };
    Ok(work(&storage.as_slice::<T>()?[layout.start_offset()..][..layout.shape().elem_count()]))
}

/// Passes the numbers of a contiguous CPU tensor to `work` for writing.
fn write<T: CpuFloat>(tensor: &Tensor, work: &mut Work<'_, T>) -> Result<()> {
    tensor.inplace_op1(&Lend(RefCell::new(work)))
}

type Work<'a, T> = dyn FnMut(&mut [T]) -> Result<()> + 'a;

struct Lend<'a, T>(RefCell<&'a mut Work<'a, T>>);

impl<T: CpuFloat> InplaceOp1 for Lend<'_, T> {
    fn name(&self) -> &'static str {
        "optimiser-update"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (start, end) = layout
            .contiguous_offsets()
            .ok_or_else(|| Error::Msg("fused update of a tensor that is not contiguous".to_owned()))?;
        let numbers = T::numbers_mut(storage)
            .ok_or_else(|| Error::Msg(format!("fused update of a tensor that is not {:?}", T::DTYPE)))?;
        (self.0.borrow_mut())(&mut numbers[start..end])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::seed::Seed;

    const SIZE: usize = 2 * PIECE + 37;

    fn draw(name: &str, dtype: DType) -> Tensor {
        let mut stream = Seed::root(5).child(name).stream();
        let values: Vec<f64> = (0..SIZE).map(|_| stream.normal()).collect();
        Tensor::from_vec(values, SIZE, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
    }

    fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
        let difference = (a - b).unwrap().abs().unwrap().max_all().unwrap();
        difference.to_dtype(DType::F64).unwrap().to_scalar().unwrap()
    }

    #[test]
    fn momentum_in_one_pass_is_the_plain_formula() {
        let rule =
            MomentumUpdate { gradient_scale: 0.7, weight_scale: 1e-3, momentum: 0.9, learning_rate: 0.1 };
        for (dtype, tolerance) in [(DType::F32, 2e-6), (DType::F64, 1e-14)] {
            let fused = Var::from_tensor(&draw("p", dtype)).unwrap();
            let plain = Var::from_tensor(&draw("p", dtype)).unwrap();
            let (mut v, mut w) = (draw("v", dtype), draw("v", dtype));
            for round in ["first", "second"] {
                let g = draw(round, dtype);
                rule.apply(&fused, &mut v, &g).unwrap();
                rule.plain(&plain, &mut w, &g).unwrap();
            }
            assert!(largest_difference(&fused, &plain) < tolerance);
            assert!(largest_difference(&v, &w) < tolerance);
            assert!(largest_difference(&fused, &draw("p", dtype)) > 0.1);
        }
    }

    #[test]
    fn adamw_in_one_pass_is_the_plain_formula() {
        for (dtype, tolerance) in [(DType::F32, 2e-6), (DType::F64, 1e-14)] {
            let fused = Var::from_tensor(&draw("p", dtype)).unwrap();
            let plain = Var::from_tensor(&draw("p", dtype)).unwrap();
            let zeros = || Tensor::zeros(SIZE, dtype, &Device::Cpu).unwrap();
            let (mut fused_state, mut plain_state) = ((zeros(), zeros()), (zeros(), zeros()));
            for (t, round) in [(1, "first"), (2, "second")] {
                let g = draw(round, dtype);
                let rule = AdamWUpdate {
                    gradient_scale: 0.5,
                    beta1: 0.9,
                    beta2: 0.95,
                    epsilon: 1e-8,
                    weight_decay: 0.05,
                    learning_rate: 0.1,
                    t,
                };
                rule.apply(&fused, &mut fused_state.0, &mut fused_state.1, &g).unwrap();
                rule.plain(&plain, &mut plain_state.0, &mut plain_state.1, &g).unwrap();
            }
            assert!(largest_difference(&fused, &plain) < tolerance);
            assert!(largest_difference(&fused_state.0, &plain_state.0) < tolerance);
            assert!(largest_difference(&fused_state.1, &plain_state.1) < tolerance);
            assert!(largest_difference(&fused, &draw("p", dtype)) > 0.1);
        }
    }

    #[test]
    fn a_transposed_gradient_is_read_in_order() {
        let rule =
            MomentumUpdate { gradient_scale: 1.0, weight_scale: 0.0, momentum: 0.0, learning_rate: 1.0 };
        let p = Var::zeros((3, 2), DType::F32, &Device::Cpu).unwrap();
        let mut velocity = p.zeros_like().unwrap();
        let g = Tensor::new(&[[1_f32, 2.0, 3.0], [4.0, 5.0, 6.0]], &Device::Cpu).unwrap().t().unwrap();
        rule.apply(&p, &mut velocity, &g).unwrap();
        assert_eq!(p.to_vec2::<f32>().unwrap(), [[-1.0, -4.0], [-2.0, -5.0], [-3.0, -6.0]]);
    }

    #[test]
    fn inner_products_are_summed_in_f64() {
        // 16,777,217 ones: an f32 sum stops at 2^24 = 16,777,216.
        let ones = Tensor::ones((1 << 24) + 1, DType::F32, &Device::Cpu).unwrap();
        assert_eq!(inner_product(&ones, &ones).unwrap(), 16_777_217.0);
        let numbers = Tensor::arange(0_f64, 21.0, &Device::Cpu).unwrap();
        let (low, high) = (numbers.narrow(0, 0, 20).unwrap(), numbers.narrow(0, 1, 20).unwrap());
        // 1^2 + ... + 20^2 = 2870, and 0 1 + 1 2 + ... + 19 20 = 2870 - 210.
        assert_eq!(inner_product(&high, &high).unwrap(), 2870.0);
        assert_eq!(inner_product(&low, &high).unwrap(), 2660.0);
    }
}
