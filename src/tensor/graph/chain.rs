//! A sequence of operations as one node of Candle's graph.
//!
//! Candle's backward pass adds every gradient to newly created zeros, for each argument of each operation: three
//! passes over memory where none is needed. In a [`chain`] this layer's operations are recorded instead, and
//! gradients flow back through the recorded notes; two gradients are added only where a result was used twice.
//! Candle's own operations in between work too, at Candle's cost. Values are the same. Independent of what is
//! computed.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use candle_core::{
    CpuStorage, CudaStorage, CustomOp2, Layout, Result, Shape, Storage, Tensor, TensorId,
    backend::{BackendDevice, BackendStorage},
    bail,
    op::BackpropOp,
};

use super::{
    gradients,
    operation::{Gradients, Operation, node},
    pair::sum_gradients,
};

/// Maps (arguments, result, gradient with respect to the result) to gradients with respect to the arguments.
type Backward = dyn Fn(&[&Tensor], &Tensor, &Tensor) -> Result<Gradients> + Send + Sync;

/// A recorded operation, with what its backward pass needs.
struct Note {
    arguments: Vec<Kept>,
    result: Kept,
    backward: Box<Backward>,
}

/// A tensor, or a stand-in for it if no backward pass reads its numbers.
struct Kept {
    /// Id of the original tensor.
    id: TensorId,
    tensor: Tensor,
}

impl Kept {
    fn new(tensor: &Tensor, is_read: bool) -> Result<Self> {
        let id = tensor.id();
        Ok(Self { id, tensor: if is_read { tensor.clone() } else { stand_in()? } })
    }
}

/// Returns an empty tensor that is tracked, so that operations compute its gradient.
fn stand_in() -> Result<Tensor> {
    let storage = Storage::Cpu(CpuStorage::F32(Vec::new()));
    Ok(Tensor::from_storage(storage, 0, BackpropOp::none(), true))
}

thread_local! {
    /// The chain that this thread is in, if any.
    static NOTES: RefCell<Option<Vec<Note>>> = const { RefCell::new(None) };
    /// Whether this thread computes without gradients, so that all results are constants.
    static WITHOUT_GRADIENTS: Cell<bool> = const { Cell::new(false) };
}

/// Returns the result of `body` as a constant: intermediate results are freed as soon as they are no longer needed.
///
/// # Errors
/// Those of `body`.
pub fn without_gradients(body: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
    /// Restores the earlier setting, however `body` ends.
    struct SettingGuard(bool);
    impl Drop for SettingGuard {
        fn drop(&mut self) {
            WITHOUT_GRADIENTS.set(self.0);
        }
    }

    let _before = SettingGuard(WITHOUT_GRADIENTS.replace(true));
    Ok(body()?.detach())
}

/// Returns `body(input)` as one node: its gradients can only be computed by [`gradients::backward`], and only once,
/// since the backward pass frees what it has used.
///
/// # Errors
/// Those of `body`.
pub fn chain(input: &Tensor, body: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    /// Ends the chain, even after an error.
    struct ChainGuard;
    impl Drop for ChainGuard {
        fn drop(&mut self) {
            NOTES.take();
        }
    }

    if NOTES.with_borrow(Option::is_some) || WITHOUT_GRADIENTS.get() {
        return body(input);
    }
    NOTES.set(Some(Vec::new()));
    let within = ChainGuard;
    let output = body(input)?;
    let notes = NOTES.take().unwrap_or_default();
    drop(within);
    // A tracked argument is needed so that Candle calls our backward pass; which one does not matter. If nothing
    // was recorded, the output is a constant or in Candle's own graph.
    let mut arguments = notes.iter().flat_map(|note| &note.arguments).map(|kept| &kept.tensor);
    let Some(variable) = arguments.find(|argument| argument.track_op()).cloned() else {
        return Ok(output);
    };
    let results = notes.iter().map(|note| note.result.id).collect();
    input.apply_op2(&variable, Chain { notes: Mutex::new(notes), results, output })
}

/// Applies `operation(arguments)`, as a node of Candle's graph, or as a note within a chain.
///
/// # Errors
/// Those of the operation, or if arguments are on different devices.
pub fn apply<O: Operation>(arguments: &[&Tensor], operation: O) -> Result<Tensor> {
    if WITHOUT_GRADIENTS.get() {
        let (storage, shape) = forward(arguments, &operation)?;
        return Ok(Tensor::from_storage(storage, shape, BackpropOp::none(), false));
    }
    if !must_record(arguments) {
        return node(arguments, operation);
    }
    let (storage, shape) = forward(arguments, &operation)?;
    // The result is a variable, so that later operations compute its gradient and hand it over.
    let result = Tensor::from_storage(storage, shape, BackpropOp::none(), true);
    NOTES.with_borrow_mut(|notes| {
        let notes = notes.as_mut().expect("a chain, as asked before");
        let kept = arguments.iter().enumerate().map(|(place, argument)| {
            // Tensors that this chain did not compute keep their numbers and their own graph.
            let is_result = notes.iter().any(|note| note.result.id == argument.id());
            Kept::new(argument, !is_result || operation.reads(place))
        });
        let arguments = kept.collect::<Result<_>>()?;
        let kept = Kept::new(&result, operation.reads_result())?;
        let backward = Box::new(move |arguments: &[&Tensor], result: &Tensor, gradient: &Tensor| {
            operation.backward(arguments, result, gradient)
        });
        notes.push(Note { arguments, result: kept, backward });
        Ok(result)
    })
}

/// Returns whether this thread is in a chain and an argument needs a gradient.
fn must_record(arguments: &[&Tensor]) -> bool {
    NOTES.with_borrow(Option::is_some) && arguments.iter().any(|argument| argument.track_op())
}

fn forward<O: Operation>(arguments: &[&Tensor], operation: &O) -> Result<(Storage, Shape)> {
    let held: Vec<_> = arguments.iter().map(|argument| argument.storage_and_layout()).collect();
    let on_cpu = held.iter().map(|(storage, layout)| match &**storage {
        Storage::Cpu(storage) => Some((storage, *layout)),
        _ => None,
    });
    if let Some(arguments) = on_cpu.collect::<Option<Vec<_>>>() {
        let (storage, shape) = operation.on_cpu(&arguments)?;
        return Ok((Storage::Cpu(storage), shape));
    }
    let on_gpu = held.iter().map(|(storage, layout)| match &**storage {
        Storage::Cuda(storage) => Some((storage, *layout)),
        _ => None,
    });
    let Some(arguments) = on_gpu.collect::<Option<Vec<_>>>() else { return unsupported(O::NAME) };
    let (storage, shape) = operation.on_gpu(&arguments)?;
    Ok((Storage::Cuda(storage), shape))
}

fn unsupported<T>(name: &str) -> Result<T> {
    bail!("{name}: expected arguments on one device, the CPU or an NVIDIA GPU")
}

struct Chain {
    /// Removed one by one by the backward pass: what an operation kept is freed before the next one needs memory.
    notes: Mutex<Vec<Note>>,
    /// Ids of the notes' results.
    results: HashSet<TensorId>,
    output: Tensor,
}

impl Chain {
    /// Returns a copy of the output's numbers, which Candle needs to own.
    fn forward<S>(&self, storage: &S, layout: &Layout) -> Result<(S, Shape)>
    where
        S: BackendStorage<Device: BackendDevice<Storage = S>>,
    {
        let shape = layout.shape().clone();
        // SAFETY: the next line writes every number.
        let mut copy = unsafe { storage.device().alloc_uninit(&shape, storage.dtype())? };
        storage.copy_strided_src(&mut copy, 0, layout)?;
        Ok((copy, shape))
    }
}

/// The state of a backward pass through a chain.
struct BackwardPass<'a> {
    chain: &'a Chain,
    input: TensorId,
    /// Gradients that have arrived so far, with respect to results and to the input.
    gradients: HashMap<TensorId, Tensor>,
}

impl BackwardPass<'_> {
    /// Returns whether a gradient with respect to this tensor is propagated further within the chain.
    fn is_inside(&self, id: TensorId) -> bool {
        id == self.input || self.chain.results.contains(&id)
    }

    fn add(&mut self, id: TensorId, gradient: Tensor) -> Result<()> {
        let sum = match self.gradients.remove(&id) {
            Some(other) => sum_gradients(&other, &gradient)?,
            None => gradient,
        };
        self.gradients.insert(id, sum);
        Ok(())
    }

    /// Routes a gradient to the tensor it belongs to.
    fn deliver(&mut self, of: &Kept, gradient: Tensor) -> Result<()> {
        if self.is_inside(of.id) {
            return self.add(of.id, gradient);
        }
        let of = &of.tensor;
        if of.is_variable() {
            gradients::hand_over(of, Some(gradient))?;
            return Ok(());
        }
        if !of.track_op() {
            return Ok(());
        }
        // Candle's own operations computed this tensor. Candle differentiates through them from a sum whose
        // gradient with respect to the tensor is exactly `gradient`.
        let found = (of * &gradient)?.flatten_all()?.sum(0)?.backward()?;
        for &id in found.get_ids().filter(|&&id| id != gradient.id()) {
            let Some(gradient) = found.get_id(id).cloned() else { continue };
            match self.is_inside(id) {
                true => self.add(id, gradient)?,
                false => gradients::put_aside(id, gradient)?,
            }
        }
        Ok(())
    }
}

impl CustomOp2 for Chain {
    fn name(&self) -> &'static str {
        "chain"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let (storage, layout) = self.output.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => self.forward(storage, layout),
            _ => unsupported("chain"),
        }
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (storage, layout) = self.output.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => self.forward(storage, layout),
            _ => unsupported("chain"),
        }
    }

    fn bwd(
        &self,
        input: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        if !gradients::is_running() {
            bail!("chain: its gradients are taken by tensor::backward, not by Candle's own")
        }
        let mut notes = std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner));
        if notes.is_empty() {
            bail!("chain: its gradients have been taken already; compute its result again")
        }
        let mut open = BackwardPass { chain: self, input: input.id(), gradients: HashMap::new() };
        open.deliver(&Kept::new(&self.output, true)?, gradient.clone())?;
        while let Some(note) = notes.pop() {
            let Some(gradient) = open.gradients.remove(&note.result.id) else { continue };
            let arguments: Vec<&Tensor> = note.arguments.iter().map(|kept| &kept.tensor).collect();
            let found = (note.backward)(&arguments, &note.result.tensor, &gradient)?;
            for (argument, gradient) in note.arguments.iter().zip(found) {
                if let Some(gradient) = gradient {
                    open.deliver(argument, gradient)?;
                }
                // The gradient that the operation handed over instead of returning it.
                if open.is_inside(argument.id)
                    && let Some(gradient) = gradients::take_back(argument.tensor.id())
                {
                    open.add(argument.id, gradient)?;
                }
            }
        }
        Ok((open.gradients.remove(&input.id()), None))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Weak};

    use candle_core::{DType, Device, Var};
    use checks::normal;

    use super::*;
    use crate::tensor::graph::operation::OnCpu;
    use crate::tensor::{Geometry, add, backward, batch_norm, convolution, gelu, linear};

    /// Weights of [`network`], then its images.
    fn variables() -> Result<Vec<Var>> {
        let shapes: [&[usize]; 8] =
            [&[8, 3, 3, 3], &[8], &[8], &[8, 8, 3, 3], &[8], &[8], &[8, 8], &[2, 5, 5, 3]];
        let named = shapes.iter().enumerate();
        named.map(|(place, shape)| normal(&format!("{place}"), shape, DType::F32)).collect()
    }

    /// Has results used once and twice, a weight used twice, and one of Candle's own operations in between.
    fn network(images: &Tensor, weights: &[Var]) -> Result<Tensor> {
        let geometry = Geometry { stride: 1, padding: 1 };
        let normalise = |x: &Tensor, weight: usize, residual: Option<&Tensor>| {
            let then = batch_norm::Epilogue { residual, relu: true };
            batch_norm(x, &weights[weight], &weights[weight + 1], None, then).map(|(x, _)| x)
        };
        let first = normalise(&convolution(images, &weights[0], geometry)?, 1, None)?;
        let second = normalise(&convolution(&first, &weights[3], geometry)?, 4, Some(&first))?;
        let third = gelu(&linear(&second, &weights[6], None)?)?;
        let fourth = linear(&(&third * 2.0)?, &weights[6], None)?;
        add(&fourth, &second)
    }

    fn bits(tensor: &Tensor) -> Result<Vec<u32>> {
        // Candle adds zeros, and so turns -0 into 0.
        Ok((tensor.flatten_all()? + 0.0)?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
    }

    #[test]
    fn a_chain_changes_no_bit() -> Result<()> {
        let variables = variables()?;
        let images = variables.last().expect("images");
        let run = |in_chain: bool| -> Result<Vec<Vec<u32>>> {
            // The images are the result of one of Candle's operations.
            let images = (images.as_tensor() * 1.5)?;
            let output = match in_chain {
                true => chain(&images, |images| network(images, &variables))?,
                false => network(&images, &variables)?,
            };
            let gradients = backward(&(output.sqr()?.sum_all()? * 0.01)?)?;
            let by = |variable: &Var| bits(gradients.get(variable).expect("a gradient"));
            std::iter::once(bits(&output)).chain(variables.iter().map(by)).collect()
        };
        assert_eq!(run(true)?, run(false)?);
        Ok(())
    }

    #[test]
    fn what_no_backward_pass_reads_is_let_go() -> Result<()> {
        let rows = normal("rows", &[4, 6], DType::F32)?;
        let weight = normal("weight", &[6, 6], DType::F32)?;
        let mut sums = Vec::new();
        let output = chain(&rows, |rows| {
            let mapped = linear(rows, &weight, None)?;
            let sum = add(&mapped, rows)?;
            sums = NOTES.with_borrow(|notes| {
                let kept = notes.iter().flatten().flat_map(|note| &note.arguments);
                kept.map(|kept| (kept.id == mapped.id(), kept.tensor.elem_count())).collect()
            });
            linear(&sum, &weight, None)
        })?;
        // The arguments of the product (rows, weight), then those of the sum: only the product's result has been
        // freed.
        assert_eq!(sums, [(false, 24), (false, 36), (true, 0), (false, 24)]);
        let plain = |rows: &Tensor| linear(&add(&linear(rows, &weight, None)?, rows)?, &weight, None);
        let (found, expected) = (backward(&output.sum_all()?)?, plain(&rows)?.sum_all()?.backward()?);
        for of in [&rows, &weight] {
            let [found, expected] = [&found, &expected].map(|found| bits(found.get(of).expect("a gradient")));
            assert_eq!(found?, expected?);
        }
        Ok(())
    }

    /// Passes numbers on. Its backward pass fails if a later operation still exists.
    struct Freed {
        _alive: Arc<()>,
        later: Weak<()>,
    }

    impl Operation for Freed {
        const NAME: &'static str = "freed";

        fn on_cpu(&self, arguments: &[OnCpu]) -> Result<(CpuStorage, Shape)> {
            Ok((arguments[0].0.clone(), arguments[0].1.shape().clone()))
        }

        fn backward(&self, _: &[&Tensor], _: &Tensor, gradient: &Tensor) -> Result<Gradients> {
            assert!(self.later.upgrade().is_none(), "what was used is kept");
            Ok(vec![Some(gradient.clone())])
        }
    }

    #[test]
    fn what_the_backward_pass_has_used_is_freed_at_once() -> Result<()> {
        let rows = normal("rows", &[4, 6], DType::F32)?;
        let output = chain(&rows, |rows| {
            let (first, second) = (Arc::new(()), Arc::new(()));
            let later = Arc::downgrade(&second);
            let rows = apply(&[rows], Freed { _alive: first, later })?;
            apply(&[&rows], Freed { _alive: second, later: Weak::new() })
        })?;
        let loss = output.sum_all()?;
        assert_eq!(bits(backward(&loss)?.get(&rows).expect("a gradient"))?, [1.0_f32.to_bits(); 24]);
        let error = backward(&loss).expect_err("a second pass");
        assert!(error.to_string().contains("have been taken already"), "{error}");
        Ok(())
    }

    #[test]
    fn constants_get_no_gradient_and_are_no_node() -> Result<()> {
        let variables = variables()?;
        let images = variables.last().expect("images").as_detached_tensor();
        let output = chain(&images, |images| network(images, &variables))?;
        let gradients = backward(&output.sum_all()?)?;
        assert!(gradients.get(&images).is_none());
        assert!(variables[..7].iter().all(|variable| gradients.get(variable).is_some()));

        let same = chain(&images, gelu)?;
        assert_eq!(bits(&same)?, bits(&gelu(&images)?)?);
        assert!(!same.track_op());

        // Every operation is Candle's.
        let gradients = backward(&chain(&variables[6], |rows| rows * 2.0)?.sum_all()?)?;
        assert_eq!(bits(gradients.get(&variables[6]).expect("a gradient"))?, [2.0_f32.to_bits(); 64]);
        Ok(())
    }

    #[test]
    fn without_gradients_all_is_constant_and_equal() -> Result<()> {
        let variables = variables()?;
        let images = variables.last().expect("images").as_tensor();
        let network = || chain(images, |images| network(images, &variables));
        let constant = without_gradients(|| {
            assert!(!gelu(images)?.track_op(), "already on the way");
            network()
        })?;
        assert!(!constant.track_op());
        assert_eq!(bits(&constant)?, bits(&network()?)?);
        assert!(without_gradients(|| linear(images, &variables[6], None)).is_err());
        assert!(network()?.track_op(), "afterwards there are gradients again, after an error too");
        Ok(())
    }

    #[test]
    fn an_error_ends_a_chain() -> Result<()> {
        let images = Tensor::zeros((1, 4, 4, 3), DType::F32, &Device::Cpu)?;
        let variables = variables()?;
        assert!(chain(&images, |images| linear(images, &variables[6], None)).is_err());
        // Later operations are not in a chain: Candle's own gradients are available.
        let gradients = gelu(&variables[6])?.sum_all()?.backward()?;
        assert!(gradients.get(&variables[6]).is_some());
        let output =
            chain(&images, |images| convolution(images, &variables[0], Geometry { stride: 1, padding: 1 }))?;
        let error = output.sum_all()?.backward().unwrap_err();
        assert!(error.to_string().contains("tensor::backward"), "{error}");
        Ok(())
    }
    #[test]
    fn chains_and_constants_may_be_nested() -> Result<()> {
        let variables = variables()?;
        let images = variables.last().expect("images").as_tensor();
        let inner = |images: &Tensor| chain(images, |images| network(images, &variables));
        let nested = chain(images, |images| gelu(&inner(images)?))?;
        let plain = chain(images, |images| gelu(&network(images, &variables)?))?;
        assert_eq!(bits(&nested)?, bits(&plain)?);
        let [nested, plain] = [nested, plain].map(|output| backward(&output.sum_all()?));
        let (nested, plain) = (nested?, plain?);
        for variable in &variables {
            let [nested, plain] =
                [&nested, &plain].map(|found| bits(found.get(variable).expect("a gradient")));
            assert_eq!(nested?, plain?);
        }
        let after_inner = without_gradients(|| {
            without_gradients(|| gelu(images))?;
            let after = gelu(images)?;
            assert!(!after.track_op(), "the outer one goes on");
            Ok(after)
        })?;
        assert!(!after_inner.track_op() && gelu(images)?.track_op());
        Ok(())
    }

    /// A weight that Candle computes from a variable outside the chain, a constant one, and a result that nothing uses.
    #[test]
    fn a_chain_reaches_variables_through_candles_operations() -> Result<()> {
        let (rows, variable) =
            (normal("rows", &[4, 6], DType::F32)?, normal("variable", &[6, 6], DType::F32)?);
        let constant = normal("constant", &[6, 6], DType::F32)?.as_detached_tensor();
        // A power of two, so that it makes no difference whether gradients are added before or after.
        let weight = (variable.as_tensor() * 2.0)?;
        let network = |rows: &Tensor| -> Result<Tensor> {
            let mapped = linear(rows, &weight, None)?;
            drop(gelu(&linear(&mapped, &weight, None)?)?);
            linear(&linear(&mapped, &constant, None)?, &weight, None)
        };
        let run = |output: Tensor| -> Result<[Vec<u32>; 3]> {
            let gradients = backward(&(&output * 0.5)?.sum_all()?)?;
            assert!(gradients.get(&constant).is_none());
            let by = |of: &Var| bits(gradients.get(of).expect("a gradient"));
            Ok([bits(&output)?, by(&rows)?, by(&variable)?])
        };
        let (found, expected) = (run(chain(&rows, network)?)?, run(network(&rows)?)?);
        assert_eq!(found, expected);
        Ok(())
    }
}
