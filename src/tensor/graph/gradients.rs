//! Gradients of variables, collected outside Candle's gradient store.
//!
//! Candle's backward pass adds every gradient to newly created zeros: for millions of weights that is three passes
//! over memory, none of which is needed. Under [`backward`] the operations of this layer store a variable's
//! gradient separately instead. Values are the same; under Candle's own `backward` an operation returns its
//! gradients to Candle. Independent of what computed a gradient.

use std::{cell::RefCell, collections::HashMap};

use candle_core::{Result, Tensor, TensorId, backprop::GradStore};

use super::pair::sum_gradients;

thread_local! {
    /// Gradients handed over in the backward pass that runs on this thread; `None` if no pass is running.
    static BESIDE: RefCell<Option<HashMap<TensorId, Tensor>>> = const { RefCell::new(None) };
}

/// Returns gradients of a scalar with respect to all variables that it depends on: like `loss.backward()`, in less
/// time.
///
/// # Errors
/// If an operation's backward pass fails.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    /// Ends the pass, even after an error.
    struct PassGuard;
    impl Drop for PassGuard {
        fn drop(&mut self) {
            BESIDE.take();
        }
    }

    BESIDE.set(Some(HashMap::new()));
    let pass = PassGuard;
    let mut gradients = loss.backward()?;
    for (id, gradient) in BESIDE.take().unwrap_or_default() {
        // Candle's own operations may have used the same variable.
        let gradient = match gradients.get_id(id) {
            Some(other) => sum_gradients(other, &gradient)?,
            None => gradient,
        };
        gradients.insert_id(id, gradient);
    }
    drop(pass);
    Ok(gradients)
}

/// Puts the gradient with respect to a variable aside during [`backward`]; otherwise returns it for Candle.
///
/// The result is what an operation must return to Candle as the gradient with respect to its argument `of`: `None`
/// if `gradient` was put aside.
pub fn hand_over(of: &Tensor, gradient: Option<Tensor>) -> Result<Option<Tensor>> {
    let Some(gradient) = gradient else { return Ok(None) };
    if !of.is_variable() || !is_running() {
        return Ok(Some(gradient));
    }
    put_aside(of.id(), gradient)?;
    Ok(None)
}

/// Returns whether this thread is in [`backward`].
pub(in crate::tensor) fn is_running() -> bool {
    BESIDE.with_borrow(Option::is_some)
}

/// Puts the gradient with respect to a variable aside, as [`hand_over`] does.
pub(in crate::tensor) fn put_aside(of: TensorId, gradient: Tensor) -> Result<()> {
    BESIDE.with_borrow_mut(|beside| {
        let Some(beside) = beside else { return Ok(()) };
        let sum = match beside.remove(&of) {
            Some(other) => sum_gradients(&other, &gradient)?,
            None => gradient,
        };
        beside.insert(of, sum);
        Ok(())
    })
}

/// Removes and returns the gradient that was put aside.
pub(in crate::tensor) fn take_back(of: TensorId) -> Option<Tensor> {
    BESIDE.with_borrow_mut(|beside| beside.as_mut()?.remove(&of))
}

#[cfg(test)]
mod tests {
    use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Var};
    use checks::normal;

    use super::*;
    use crate::tensor::linear;

    struct NoGradient;

    impl CustomOp1 for NoGradient {
        fn name(&self) -> &'static str {
            "no gradient"
        }

        fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
            Ok((storage.clone(), layout.shape().clone()))
        }
    }

    #[test]
    fn gradients_are_candles_to_the_bit() -> Result<()> {
        // One weight that two of our operations use, one that ours and Candle's use, one that only Candle's use.
        let input = normal("input", &[5, 4], DType::F32)?.as_detached_tensor();
        let names = ["twice", "both", "candle"];
        let variables: Vec<Var> =
            names.iter().map(|name| normal(name, &[4, 4], DType::F32)).collect::<Result<_>>()?;
        let [twice, both, candle] = &variables[..] else { unreachable!("three names") };
        let hidden = linear(&linear(&linear(&input, twice, None)?, twice, None)?, both, None)?;
        let loss = (hidden.matmul(both)?.matmul(candle)?.sqr()?.sum_all()? * 0.1)?;
        let (expected, found) = (loss.backward()?, backward(&loss)?);
        for (name, variable) in names.iter().zip(&variables) {
            let numbers = |store: &GradStore| store.get(variable).expect(name).to_vec2::<f32>();
            assert_eq!(numbers(&found)?, numbers(&expected)?, "{name}");
        }
        assert_eq!(found.get_ids().count(), expected.get_ids().count());
        Ok(())
    }

    #[test]
    fn a_failed_pass_leaves_nothing_behind() -> Result<()> {
        let weight = normal("weight", &[2, 2], DType::F32)?;
        let input = normal("input", &[3, 2], DType::F32)?.as_detached_tensor();
        let output = linear(&input, &weight, None)?;
        assert!(backward(&output.apply_op1(NoGradient)?.sum_all()?).is_err());
        assert!(output.sum_all()?.backward()?.get(&weight).is_some());
        Ok(())
    }
}
