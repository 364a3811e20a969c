//! Optimisers over groups of named variables: SGD with momentum, AdamW and LARS. Independent of losses, networks
//! and schedules: the caller passes the gradients and the learning rate to each step.
//!
//! Candle has AdamW without groups and SGD without momentum, and neither can save its state.
//!
//! Sources: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019 (PyTorch's form); You et al.,
//! "Large Batch Training of Convolutional Networks", 2017, in the forms used by the libraries.

mod update;

use std::collections::{HashMap, HashSet};

use candle_core::{DType, Device, Error, Result, Tensor, backprop::GradStore};

use self::update::{Update, inner_product};
use crate::backbone::{Parameter, Role};
#[cfg(feature = "cuda")]
use crate::tensor::updates::gpu as updates;

/// Variables that are updated with the same settings.
#[derive(Clone)]
pub struct Group {
    /// The variables to update; no variable is in two groups.
    pub parameters: Vec<Parameter>,
    /// Base learning rate, which a schedule scales.
    pub learning_rate: f64,
    /// Coefficient of weight decay, as the rule uses it; 0 for none.
    pub weight_decay: f64,
    /// Whether LARS scales the learning rate by the trust ratio; other rules ignore it.
    pub adapt: bool,
    /// Largest Euclidean norm of a variable's gradient; longer gradients are scaled down to it.
    pub clip: Option<f64>,
}

/// How gradients become updates. `p` is a weight, `g` its gradient, `v` its velocity (zero at first).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// v = momentum v + g + decay p;  p = p - rate v.
    Sgd {
        /// Fraction of the velocity that is kept, 0..1.
        momentum: f64,
    },
    /// PyTorch's AdamW: decay acts on the weight, not through the gradient; epsilon is added to the
    /// root of the corrected second moment.
    AdamW {
        /// Fraction of the average of g that is kept, 0..1.
        beta1: f64,
        /// Fraction of the average of g^2 that is kept, 0..1.
        beta2: f64,
        /// Added to the root; above 0.
        epsilon: f64,
    },
    /// SGD with momentum whose d = g + decay p is scaled, per variable, by the [`Trust`] ratio.
    Lars {
        /// Fraction of the velocity that is kept, 0..1.
        momentum: f64,
        /// How the rate is scaled.
        trust: Trust,
    },
}

/// The trust ratio of LARS. Libraries use four variants; these are the ones that methods here were tuned with.
/// Variables of groups that do not adapt take plain steps, d = g + decay p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trust {
    /// coefficient |p| / (|g| + decay |p| + 1e-8); if |p| or |g| is 0, d = g.
    ///
    /// lightly: coefficient 1e-3, no clip, adapts exactly the groups with decay. solo-learn and the
    /// paper's authors: adapt all but biases and norms; 1e-3 without clip or 0.02 with. `clip` makes the
    /// rate of a variable min(ratio, learning rate) instead of ratio x learning rate.
    SumOfNorms {
        /// Factor of the ratio of norms; above 0.
        coefficient: f64,
        /// Whether the ratio bounds the rate instead of scaling it.
        clip: bool,
    },
    /// coefficient |p| / |g + decay p|; 1 if a norm is 0. Barlow Twins, DINO, MAE, BYOL: 1e-3.
    NormOfSum {
        /// Factor of the ratio of norms; above 0.
        coefficient: f64,
    },
}

/// Updates variables; holds one state per variable.
pub struct Optimiser {
    rule: Rule,
    groups: Vec<Group>,
    /// One slot for each variable of `groups`, in the same order.
    slots: Vec<Vec<Slot>>,
}

/// State of one variable: velocity, or first and second moment.
struct Slot {
    moments: Vec<Tensor>,
    updates: u32,
}

impl Group {
    /// Returns one group in which everything decays and adapts: how the paper's authors use AdamW.
    pub fn uniform<'a>(
        parameters: impl IntoIterator<Item = &'a Parameter>,
        learning_rate: f64,
        weight_decay: f64,
    ) -> Self {
        let parameters = parameters.into_iter().filter(|p| p.kind != Role::Buffer).cloned().collect();
        Self { parameters, learning_rate, weight_decay, adapt: true, clip: None }
    }

    /// Returns two groups: weights decay and adapt; biases and normalisation layers do neither.
    pub fn by_kind<'a>(
        parameters: impl IntoIterator<Item = &'a Parameter>,
        learning_rate: f64,
        weight_decay: f64,
    ) -> [Self; 2] {
        let mut weights = Self::uniform(parameters, learning_rate, weight_decay);
        let mut others = Self { weight_decay: 0.0, adapt: false, parameters: Vec::new(), ..weights.clone() };
        (weights.parameters, others.parameters) =
            weights.parameters.into_iter().partition(|parameter| parameter.kind == Role::Weight);
        [weights, others]
    }
}

impl Rule {
    /// PyTorch's defaults: betas 0.9 and 0.999, epsilon 1e-8.
    pub const ADAMW: Self = Self::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

    /// Returns the names of the tensors that an optimiser keeps for each variable.
    fn moments(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd { .. } | Self::Lars { .. } => &["velocity"],
            Self::AdamW { .. } => &["first_moment", "second_moment"],
        }
    }
}

impl Optimiser {
    /// Builds an optimiser with zero state.
    ///
    /// # Errors
    /// If a name occurs twice (states are saved by name) or a group holds a buffer.
    pub fn new(rule: Rule, groups: Vec<Group>) -> Result<Self> {
        let mut names = HashSet::new();
        for parameter in groups.iter().flat_map(|group| &group.parameters) {
            let name = &parameter.name;
            if parameter.kind == Role::Buffer {
                return Err(Error::Msg(format!("optimiser: '{name}' is a buffer, expected what is trained")));
            }
            if !names.insert(name.as_str()) {
                return Err(Error::Msg(format!(
                    "optimiser: two variables are called '{name}'; build them below prefixes of their own"
                )));
            }
        }
        let slot = |parameter: &Parameter| {
            let zeros = rule.moments().iter().map(|_| parameter.variable.zeros_like());
            Ok(Slot { moments: zeros.collect::<Result<_>>()?, updates: 0 })
        };
        let slots =
            groups.iter().map(|group| group.parameters.iter().map(slot).collect()).collect::<Result<_>>()?;
        Ok(Self { rule, groups, slots })
    }

    /// Updates all variables once; `learning_rate` maps a group's base rate to the current rate. Returns the
    /// Euclidean norm of all gradients together, before clipping.
    ///
    /// # Errors
    /// If a variable has no gradient (an operation without one lies between it and the loss), a gradient of another
    /// shape or dtype, or one that is not finite. No variable has been updated then.
    pub fn step(&mut self, gradients: &GradStore, learning_rate: impl Fn(f64) -> f64) -> Result<f64> {
        self.step_all_but(|_| false, gradients, learning_rate)
    }

    /// Like [`Self::step`], but leaves unchanged the variables and states whose names `frozen` selects, with or
    /// without a gradient.
    ///
    /// # Errors
    /// As for [`Self::step`].
    pub fn step_all_but(
        &mut self,
        frozen: impl Fn(&str) -> bool,
        gradients: &GradStore,
        learning_rate: impl Fn(f64) -> f64,
    ) -> Result<f64> {
        let products = self.check(&frozen, gradients)?;
        let mut due = Vec::new();
        for ((group, slots), products) in self.groups.iter().zip(&mut self.slots).zip(&products) {
            let rate = learning_rate(group.learning_rate);
            for ((parameter, slot), products) in group.parameters.iter().zip(slots).zip(products) {
                if let Some(products) = products {
                    slot.updates += 1;
                    let update = products.update(self.rule, group, rate, slot.updates);
                    due.push(PendingUpdate {
                        update,
                        parameter,
                        slot,
                        gradient: gradient_of(parameter, gradients)?,
                    });
                }
            }
        }
        apply(due)?;
        Ok(products.iter().flatten().flatten().map(|products| products.of_gradient).sum::<f64>().sqrt())
    }

    /// Returns copies of all state, under names derived from those of the variables.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut state = Vec::new();
        for (parameter, slot) in self.named() {
            for (moment, tensor) in self.rule.moments().iter().zip(&slot.moments) {
                state.push((format!("{}.{moment}", parameter.name), tensor.copy()?));
            }
            state.push((format!("{}.updates", parameter.name), Tensor::new(slot.updates, &Device::Cpu)?));
        }
        Ok(state)
    }

    /// Restores the result of [`Self::state`]; names of other variables are ignored.
    ///
    /// # Errors
    /// If a name is missing or a tensor has another shape.
    pub fn restore(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        let find = |name: String| {
            state.get(&name).ok_or_else(|| {
                Error::Msg(format!("optimiser: no state named '{name}'; was it saved by this rule?"))
            })
        };
        for (group, slots) in self.groups.iter().zip(&mut self.slots) {
            for (parameter, slot) in group.parameters.iter().zip(slots) {
                for (moment, tensor) in self.rule.moments().iter().zip(&mut slot.moments) {
                    let name = format!("{}.{moment}", parameter.name);
                    let found = find(name.clone())?;
                    if found.dims() != tensor.dims() {
                        return Err(Error::Msg(format!(
                            "optimiser: state '{name}' has shape {:?}, expected {:?}",
                            found.dims(),
                            tensor.dims()
                        )));
                    }
                    *tensor = found.to_dtype(tensor.dtype())?.to_device(tensor.device())?.copy()?;
                }
                slot.updates =
                    find(format!("{}.updates", parameter.name))?.to_dtype(DType::U32)?.to_scalar()?;
            }
        }
        Ok(())
    }

    fn named(&self) -> impl Iterator<Item = (&Parameter, &Slot)> {
        self.groups.iter().flat_map(|group| &group.parameters).zip(self.slots.iter().flatten())
    }

    /// Returns inner products of every variable and its gradient, `None` for frozen ones; checks all before any is
    /// updated.
    fn check(
        &self,
        frozen: &impl Fn(&str) -> bool,
        gradients: &GradStore,
    ) -> Result<Vec<Vec<Option<InnerProducts>>>> {
        let moving = |parameter: &&Parameter| !frozen(&parameter.name);
        let all: Vec<(&Group, &Parameter)> = self
            .groups
            .iter()
            .flat_map(|group| group.parameters.iter().filter(moving).map(move |parameter| (group, parameter)))
            .collect();
        let mut products = products(self.rule, &all, gradients)?.into_iter();
        for ((_, parameter), products) in all.iter().zip(products.as_slice()) {
            if !products.of_gradient.is_finite() {
                return Err(Error::Msg(format!(
                    "gradient of '{}' is not finite; lower the learning rate or warm up longer",
                    parameter.name
                )));
            }
        }
        let mut of = |parameter: &Parameter| if moving(&parameter) { products.next() } else { None };
        Ok(self.groups.iter().map(|group| group.parameters.iter().map(&mut of).collect()).collect())
    }
}

/// Inner products of a weight p and its gradient g that an update needs.
#[derive(Clone, Copy, Debug)]
struct InnerProducts {
    /// g g.
    of_gradient: f64,
    /// p p and g p; 0 if the rule does not need them.
    of_weight: f64,
    of_both: f64,
}

/// Computes the inner products of all variables. On a GPU this is one launch, whose result is waited for, because
/// clipping and trust ratios are computed on the CPU.
fn products(rule: Rule, all: &[(&Group, &Parameter)], gradients: &GradStore) -> Result<Vec<InnerProducts>> {
    #[cfg(feature = "cuda")]
    if all.first().is_some_and(|(_, parameter)| parameter.variable.device().is_cuda()) {
        let pairs = all
            .iter()
            .map(|(_, parameter)| {
                let gradient = gradient_of(parameter, gradients)?.detach().contiguous()?;
                Ok((parameter.variable.as_tensor(), gradient))
            })
            .collect::<Result<Vec<_>>>()?;
        let found = updates::inner_products(&pairs)?.into_iter();
        let products =
            |[of_gradient, of_weight, of_both]: [f64; 3]| InnerProducts { of_gradient, of_weight, of_both };
        return Ok(found.map(products).collect());
    }
    let of = |(group, parameter): &(&Group, &Parameter)| {
        let (weight, gradient) = (parameter.variable.as_tensor(), gradient_of(parameter, gradients)?);
        let of_gradient = inner_product(gradient, gradient)?;
        let (mut of_weight, mut of_both) = (0.0, 0.0);
        if let (Rule::Lars { trust, .. }, true) = (rule, group.adapt) {
            of_weight = inner_product(weight, weight)?;
            if matches!(trust, Trust::NormOfSum { .. }) {
                of_both = inner_product(gradient, weight)?;
            }
        }
        Ok(InnerProducts { of_gradient, of_weight, of_both })
    };
    all.iter().map(of).collect()
}

impl InnerProducts {
    /// Returns the `t`-th update of a variable, from 1.
    fn update(&self, rule: Rule, group: &Group, learning_rate: f64, t: u32) -> Update {
        // 1e-6 as in DINO's clipping and PyTorch's.
        let length = self.of_gradient.sqrt();
        let clip = group.clip.map_or(1.0, |longest| (longest / (length + 1e-6)).min(1.0));
        let decay = group.weight_decay;
        match rule {
            Rule::AdamW { beta1, beta2, epsilon } => Update::AdamW(update::AdamWUpdate {
                gradient_scale: clip,
                beta1,
                beta2,
                epsilon,
                weight_decay: decay,
                learning_rate,
                t,
            }),
            Rule::Sgd { momentum } | Rule::Lars { momentum, .. } => {
                let (ratio, decay) = match rule {
                    Rule::Lars { trust, .. } if group.adapt => trust.ratio(self, clip, decay, learning_rate),
                    _ => (1.0, decay),
                };
                Update::Momentum(update::MomentumUpdate {
                    gradient_scale: clip * ratio,
                    weight_scale: decay * ratio,
                    momentum,
                    learning_rate,
                })
            }
        }
    }
}

impl Trust {
    /// Returns the trust ratio, and the matching decay, for `scale` times the gradient.
    fn ratio(self, products: &InnerProducts, scale: f64, decay: f64, learning_rate: f64) -> (f64, f64) {
        let (norm, length) = (products.of_weight.sqrt(), products.of_gradient.sqrt() * scale);
        match self {
            Self::SumOfNorms { .. } if norm == 0.0 || length == 0.0 => (1.0, 0.0),
            Self::SumOfNorms { coefficient, clip } => {
                let ratio = coefficient * norm / (length + decay * norm + 1e-8);
                (if clip { (ratio / learning_rate).min(1.0) } else { ratio }, decay)
            }
            Self::NormOfSum { coefficient } => {
                // |g + decay p|, from the squares of both and the inner product.
                let cross = scale * decay * products.of_both;
                let length = (length * length + 2.0 * cross + (decay * norm).powi(2)).max(0.0).sqrt();
                (if norm > 0.0 && length > 0.0 { coefficient * norm / length } else { 1.0 }, decay)
            }
        }
    }
}

/// A prepared update.
struct PendingUpdate<'a> {
    update: Update,
    parameter: &'a Parameter,
    slot: &'a mut Slot,
    gradient: &'a Tensor,
}

/// Applies updates of one rule: one after the other, or on a GPU all in one launch.
fn apply(due: Vec<PendingUpdate>) -> Result<()> {
    #[cfg(feature = "cuda")]
    if let Some(first) = due.first()
        && first.parameter.variable.device().is_cuda()
    {
        let (kernel, _) = first.update.of_kernel();
        let updates = due
            .iter()
            .map(|due| {
                Ok(updates::Update {
                    p: &due.parameter.variable,
                    moments: &due.slot.moments,
                    g: due.gradient.detach().contiguous()?,
                    constants: due.update.of_kernel().1,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        return updates::update(kernel, &updates);
    }
    due.into_iter().try_for_each(|PendingUpdate { update, parameter, slot, gradient }| {
        update.apply(&parameter.variable, &mut slot.moments, gradient)
    })
}

fn gradient_of<'a>(parameter: &Parameter, gradients: &'a GradStore) -> Result<&'a Tensor> {
    let (name, variable) = (&parameter.name, &parameter.variable);
    let gradient = gradients.get(variable).ok_or_else(|| {
        Error::Msg(format!(
            "'{name}' has no gradient: an operation between it and the loss has none, or it is not used"
        ))
    })?;
    if gradient.dims() != variable.dims() || gradient.dtype() != variable.dtype() {
        return Err(Error::Msg(format!(
            "gradient of '{name}' is {:?} {:?}, expected {:?} {:?}",
            gradient.dtype(),
            gradient.dims(),
            variable.dtype(),
            variable.dims()
        )));
    }
    Ok(gradient)
}

#[cfg(test)]
mod tests {
    use candle_core::Var;
    use rstest::rstest;

    use super::*;

    /// W_n = sin(0.3 n), 3 x 4; the gradients of the two steps are 0.1 cos(0.2 n) and twice that.
    fn weights(name: &str, kind: Role) -> Parameter {
        let values: Vec<f64> = (0..12).map(|n| libm::sin(0.3 * f64::from(n))).collect();
        let variable = Var::from_vec(values, (3, 4), &Device::Cpu).unwrap();
        Parameter { name: name.to_owned(), variable, kind }
    }

    /// Returns a store whose gradient for each variable is `scale` 0.1 cos(0.2 n), from a linear loss.
    fn gradients(parameters: &[Parameter], scale: f64) -> GradStore {
        let slope: Vec<f64> = (0..12).map(|n| scale * 0.1 * libm::cos(0.2 * f64::from(n))).collect();
        let slope = Tensor::from_vec(slope, (3, 4), &Device::Cpu).unwrap();
        let mut loss = Tensor::new(0.0, &Device::Cpu).unwrap();
        for parameter in parameters {
            let slope = slope.to_dtype(parameter.variable.dtype()).unwrap();
            let part = (parameter.variable.as_tensor() * slope).unwrap().sum_all().unwrap();
            loss = (loss + part.to_dtype(DType::F64).unwrap()).unwrap();
        }
        loss.backward().unwrap()
    }

    fn first_four(parameter: &Parameter) -> Vec<f64> {
        let values = parameter.variable.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
        values.to_vec1().unwrap()[..4].to_vec()
    }

    fn group(parameters: &[Parameter], learning_rate: f64, weight_decay: f64) -> Group {
        Group::uniform(parameters, learning_rate, weight_decay)
    }

    fn lars(trust: Trust) -> Rule {
        Rule::Lars { momentum: 0.9, trust }
    }

    const LIGHTLY: Trust = Trust::SumOfNorms { coefficient: 1e-3, clip: false };
    const SOLO: Trust = Trust::SumOfNorms { coefficient: 0.02, clip: true };
    const BARLOW: Trust = Trust::NormOfSum { coefficient: 1e-3 };

    // LARS: each library's own class, run in float64: lightly 1.6.0 (and solo-learn 9187ea39 without
    // clip, which agrees), Barlow Twins 8e8d284c (and MAE), solo-learn with clip. Plain SGD is lightly's
    // LARS without decay. AdamW: NumPy 2, from the formula in the documentation of PyTorch.
    #[rstest]
    #[case::lightly(lars(LIGHTLY), 0.3, 1e-4, [-0.000891615907, 0.294646145660, 0.563820824137, 0.782590449283])]
    #[case::barlow_twins(lars(BARLOW), 0.3, 1e-4, [-0.000891920609, 0.294645846950, 0.563820543333, 0.782590197587])]
    #[case::solo(lars(SOLO), 0.3, 1e-4, [-0.059202340203, 0.237483470255, 0.510085799566, 0.734426671215])]
    #[case::sgd(Rule::Sgd { momentum: 0.9 }, 0.3, 0.0, [-0.117000000000, 0.180852417054, 0.456878337097, 0.686762642683])]
    #[case::adamw(Rule::AdamW { beta1: 0.9, beta2: 0.95, epsilon: 1e-8 }, 0.1, 0.05, [-0.195298570981266, 0.097273821943290, 0.363711595109732, 0.580214656100854])]
    #[case::adamw_defaults(Rule::ADAMW, 0.3, 0.01, [-0.588654559526241, -0.294904813442265, -0.027394855056623, 0.189979448790441])]
    fn two_steps_agree_with_the_libraries(
        #[case] rule: Rule,
        #[case] learning_rate: f64,
        #[case] weight_decay: f64,
        #[case] expected: [f64; 4],
    ) {
        let parameters = [weights("w", Role::Weight)];
        let group = group(&parameters, learning_rate, weight_decay);
        let mut optimiser = Optimiser::new(rule, vec![group]).unwrap();
        for scale in [1.0, 2.0] {
            optimiser.step(&gradients(&parameters, scale), |base| base).unwrap();
        }
        for (found, expected) in first_four(&parameters[0]).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-10, "{found} is not {expected}");
        }
    }

    #[test]
    fn biases_and_norms_neither_decay_nor_adapt() {
        // Bias and norm must be updated as under plain SGD without decay (value above), the weight as under LARS.
        let parameters = [
            weights("w", Role::Weight),
            weights("b", Role::Bias),
            weights("n", Role::Norm),
            weights("r", Role::Buffer),
        ];
        let groups = Group::by_kind(&parameters, 0.3, 1e-4).to_vec();
        let mut optimiser = Optimiser::new(lars(LIGHTLY), groups).unwrap();
        for scale in [1.0, 2.0] {
            optimiser.step(&gradients(&parameters, scale), |base| base).unwrap();
        }
        assert!((first_four(&parameters[0])[0] - -0.000891615907).abs() < 1e-10);
        for plain in &parameters[1..3] {
            assert!((first_four(plain)[0] - -0.117).abs() < 1e-10, "{}", plain.name);
        }
        assert_eq!(first_four(&parameters[3]), first_four(&weights("r", Role::Buffer)));
    }

    #[test]
    fn clipping_shortens_each_gradient_to_the_bound() {
        // One plain step at rate 1 changes W by the clipped gradient itself.
        let parameters = [weights("w", Role::Weight)];
        let group = Group { clip: Some(0.01), ..group(&parameters, 1.0, 0.0) };
        let mut optimiser = Optimiser::new(Rule::Sgd { momentum: 0.9 }, vec![group]).unwrap();
        let before = first_four(&parameters[0]);
        let length = optimiser.step(&gradients(&parameters, 1.0), |base| base).unwrap();
        let expected = (0..12).map(|n| (0.1 * (0.2 * f64::from(n)).cos()).powi(2)).sum::<f64>().sqrt();
        assert!((length - expected).abs() < 1e-14, "{length} is not {expected}");
        let moved = before[0] - first_four(&parameters[0])[0];
        assert!((moved - 0.1 * 0.01 / (expected + 1e-6)).abs() < 1e-15);
    }

    #[test]
    fn a_restored_optimiser_goes_on_as_if_never_stopped() {
        for rule in [Rule::ADAMW, lars(SOLO)] {
            let (straight, stopped) = ([weights("w", Role::Weight)], [weights("w", Role::Weight)]);
            let new =
                |parameters: &[Parameter]| Optimiser::new(rule, vec![group(parameters, 0.1, 0.05)]).unwrap();
            let (mut first, mut second) = (new(&straight), new(&stopped));
            for scale in [1.0, 2.0] {
                first.step(&gradients(&straight, scale), |base| base).unwrap();
                second.step(&gradients(&stopped, scale), |base| base).unwrap();
            }
            let state: HashMap<_, _> = second.state().unwrap().into_iter().collect();
            // The saved state is a copy: later steps must not change it.
            second.step(&gradients(&stopped, 5.0), |base| base).unwrap();
            stopped[0].variable.set(&straight[0].variable.copy().unwrap()).unwrap();
            let mut third = new(&stopped);
            third.restore(&state).unwrap();
            first.step(&gradients(&straight, 3.0), |base| base / 2.0).unwrap();
            third.step(&gradients(&stopped, 3.0), |base| base / 2.0).unwrap();
            assert_eq!(first_four(&straight[0]), first_four(&stopped[0]), "{rule:?}");
        }
    }

    #[test]
    fn a_bad_gradient_is_named_and_nothing_moves() {
        let parameters = [weights("good", Role::Weight), weights("bad", Role::Weight)];
        let mut optimiser = Optimiser::new(Rule::ADAMW, vec![group(&parameters, 0.1, 0.0)]).unwrap();
        let before = first_four(&parameters[0]);
        let mut step = |store: &GradStore| optimiser.step(store, |base| base).unwrap_err().to_string();

        let mut store = gradients(&parameters, 1.0);
        store.remove(&parameters[1].variable);
        assert!(step(&store).contains("'bad' has no gradient"));
        for value in [f64::NAN, f64::INFINITY] {
            let gradient = Tensor::full(value, (3, 4), &Device::Cpu).unwrap();
            store.insert(&parameters[1].variable, gradient);
            assert!(step(&store).contains("gradient of 'bad' is not finite"));
        }
        store.insert(&parameters[1].variable, Tensor::zeros((3, 3), DType::F64, &Device::Cpu).unwrap());
        assert!(step(&store).contains("[3, 3], expected F64 [3, 4]"));
        assert_eq!(first_four(&parameters[0]), before);
    }

    #[test]
    fn a_frozen_variable_needs_no_gradient_and_keeps_its_state() {
        let parameters = [weights("head", Role::Weight)];
        let mut optimiser = Optimiser::new(Rule::ADAMW, vec![group(&parameters, 0.1, 0.05)]).unwrap();
        let before = first_four(&parameters[0]);
        optimiser.step_all_but(|name| name == "head", &gradients(&[], 1.0), |base| base).unwrap();
        assert_eq!(first_four(&parameters[0]), before);
        optimiser.step(&gradients(&parameters, 1.0), |base| base).unwrap();
        // The first AdamW update has the length of one learning rate, whenever it comes.
        assert!((first_four(&parameters[0])[0] - (before[0] * 0.995 - 0.1)).abs() < 1e-7);
    }

    #[test]
    fn names_must_tell_variables_apart() {
        let twice = [weights("w", Role::Weight), weights("w", Role::Weight)];
        let error = Optimiser::new(Rule::ADAMW, vec![group(&twice, 0.1, 0.0)]).err().unwrap();
        assert!(error.to_string().contains("two variables are called 'w'"));
        let mut optimiser = Optimiser::new(Rule::ADAMW, vec![group(&twice[..1], 0.1, 0.0)]).unwrap();
        let error = optimiser.restore(&HashMap::new()).unwrap_err();
        assert!(error.to_string().contains("no state named 'w.first_moment'"));
    }

    /// Under every rule, a clipped gradient has the effect of a gradient that has the clipped length.
    #[test]
    fn every_rule_takes_the_clipped_gradient() {
        let length = (0..12).map(|n| (0.1 * (0.2 * f64::from(n)).cos()).powi(2)).sum::<f64>().sqrt();
        let rules = [Rule::Sgd { momentum: 0.9 }, Rule::ADAMW, lars(LIGHTLY), lars(SOLO), lars(BARLOW)];
        for rule in rules {
            // The second gradient is five times as long as the bound; the first is shorter, so it is unchanged.
            let (bound, scales) = (3.0 * length, [2.0, 15.0]);
            let moved = |clip: Option<f64>| {
                let parameters = [weights("w", Role::Weight)];
                let group = Group { clip, ..group(&parameters, 0.3, 0.05) };
                let mut optimiser = Optimiser::new(rule, vec![group]).unwrap();
                for scale in scales {
                    // The factor of clipping, with the 1e-6 of PyTorch's.
                    let left = (bound / (scale * length + 1e-6)).min(1.0);
                    let scale = if clip.is_some() { scale } else { scale * left };
                    optimiser.step(&gradients(&parameters, scale), |base| base).unwrap();
                }
                first_four(&parameters[0])
            };
            for (clipped, shorter) in moved(Some(bound)).into_iter().zip(moved(None)) {
                assert!((clipped - shorter).abs() < 1e-12, "{rule:?}: {clipped}, {shorter}");
            }
        }
    }
    /// If the weights are zero, there is no ratio, and steps are plain. `SumOfNorms` has no ratio for a zero gradient,
    /// either, and then leaves out decay; `NormOfSum` has one, since decay remains.
    #[test]
    fn the_trust_ratio_of_zeros_is_one() {
        let moved = |trust: Trust, weight: f64, slope: f64| {
            let variable = Var::new(&[[weight; 4]; 3], &Device::Cpu).unwrap();
            let parameters = [Parameter { name: "w".to_owned(), variable, kind: Role::Weight }];
            let group = group(&parameters, 0.5, 0.25);
            let mut optimiser = Optimiser::new(lars(trust), vec![group]).unwrap();
            let mut store = gradients(&parameters, 1.0);
            store.insert(&parameters[0].variable, Tensor::full(slope, (3, 4), &Device::Cpu).unwrap());
            optimiser.step(&store, |base| base).unwrap();
            weight - first_four(&parameters[0])[0]
        };
        for trust in [LIGHTLY, SOLO, BARLOW] {
            // Half of the gradient; decay takes nothing from a weight of zero.
            assert!((moved(trust, 0.0, 0.8) - 0.4).abs() < 1e-15, "{trust:?}");
        }
        for trust in [LIGHTLY, SOLO] {
            assert_eq!(moved(trust, 2.0, 0.0), 0.0, "{trust:?}: nothing without a gradient");
        }
        // |p| / |decay p| is 4: a thousandth of that, times the rate, times the decay, times the weight 2.
        assert!((moved(BARLOW, 2.0, 0.0) - 0.5 * 4e-3 * 0.25 * 2.0).abs() < 1e-15);
    }

    #[test]
    fn the_length_is_that_of_all_gradients_that_are_not_frozen() {
        let parameters = [weights("w", Role::Weight), weights("v", Role::Weight), weights("b", Role::Bias)];
        let groups = Group::by_kind(&parameters, 0.1, 0.0).to_vec();
        let mut optimiser = Optimiser::new(Rule::ADAMW, groups).unwrap();
        let one = (0..12).map(|n| (0.1 * (0.2 * f64::from(n)).cos()).powi(2)).sum::<f64>();
        let store = gradients(&parameters, 1.0);
        let all = optimiser.step(&store, |base| base).unwrap();
        assert!((all - (3.0 * one).sqrt()).abs() < 1e-14, "{all}");
        let before = first_four(&parameters[1]);
        let two = optimiser.step_all_but(|name| name == "v", &store, |base| base).unwrap();
        assert!((two - (2.0 * one).sqrt()).abs() < 1e-14, "{two}");
        assert_eq!(first_four(&parameters[1]), before);
    }

    #[test]
    fn groups_have_their_own_rates_and_are_told_the_time() {
        let parameters = [weights("fast", Role::Weight), weights("slow", Role::Weight)];
        let groups = vec![group(&parameters[..1], 1.0, 0.0), group(&parameters[1..], 0.5, 0.0)];
        let mut optimiser = Optimiser::new(Rule::Sgd { momentum: 0.0 }, groups).unwrap();
        let before = parameters.each_ref().map(first_four);
        optimiser.step(&gradients(&parameters, 1.0), |base| 0.1 * base).unwrap();
        // The first slope is 0.1.
        for ((parameter, before), moved) in parameters.iter().zip(before).zip([0.01, 0.005]) {
            assert!((before[0] - first_four(parameter)[0] - moved).abs() < 1e-15, "{}", parameter.name);
        }
    }

    #[test]
    fn what_cannot_be_optimised_is_refused() {
        let buffer = [weights("running", Role::Buffer)];
        let held = Group { parameters: buffer.to_vec(), ..group(&[], 0.1, 0.0) };
        let error = Optimiser::new(Rule::ADAMW, vec![held]).err().unwrap().to_string();
        assert_eq!(error, "optimiser: 'running' is a buffer, expected what is trained");
        // A state of another shape.
        let parameters = [weights("w", Role::Weight)];
        let mut optimiser = Optimiser::new(Rule::ADAMW, vec![group(&parameters, 0.1, 0.0)]).unwrap();
        let mut state: HashMap<_, _> = optimiser.state().unwrap().into_iter().collect();
        state.insert("w.second_moment".to_owned(), Tensor::zeros((4, 3), DType::F64, &Device::Cpu).unwrap());
        let error = optimiser.restore(&state).unwrap_err().to_string();
        assert!(error.contains("state 'w.second_moment' has shape [4, 3], expected [3, 4]"), "{error}");
        // A gradient of another type.
        let mut store = gradients(&parameters, 1.0);
        store.insert(&parameters[0].variable, Tensor::zeros((3, 4), DType::F32, &Device::Cpu).unwrap());
        let error = optimiser.step(&store, |base| base).unwrap_err().to_string();
        assert!(error.contains("gradient of 'w' is F32 [3, 4], expected F64 [3, 4]"), "{error}");
    }

    /// Variables of two groups that have been updated three times, twice and once.
    #[test]
    fn every_variable_gets_its_own_state_back() {
        let parameters = [weights("w", Role::Weight), weights("b", Role::Bias), weights("v", Role::Weight)];
        let new = || Optimiser::new(Rule::ADAMW, Group::by_kind(&parameters, 0.1, 0.05).to_vec()).unwrap();
        let mut optimiser = new();
        let frozen: [&[&str]; 3] = [&["v", "b"], &["b"], &[]];
        for (frozen, scale) in frozen.into_iter().zip([1.0, 2.0, 4.0]) {
            let store = gradients(&parameters, scale);
            optimiser.step_all_but(|name| frozen.contains(&name), &store, |base| base).unwrap();
        }
        let state: HashMap<String, Tensor> = optimiser.state().unwrap().into_iter().collect();
        // The first moment takes a tenth of each gradient and keeps nine tenths; slopes begin with 0.1.
        let moments = [("w", 3, 0.81 + 2.0 * 0.9 + 4.0), ("v", 2, 2.0 * 0.9 + 4.0), ("b", 1, 4.0)];
        let read = |state: &HashMap<String, Tensor>, name: &str| {
            let moment =
                state[&format!("{name}.first_moment")].flatten_all().unwrap().to_vec1::<f64>().unwrap();
            (state[&format!("{name}.updates")].to_scalar::<u32>().unwrap(), moment)
        };
        let mut restored = new();
        restored.restore(&state).unwrap();
        let again: HashMap<String, Tensor> = restored.state().unwrap().into_iter().collect();
        assert_eq!((state.len(), again.len()), (9, 9));
        for (name, updates, moment) in moments {
            let found = read(&state, name);
            assert_eq!(found.0, updates, "{name}");
            assert!((found.1[0] - 0.01 * moment).abs() < 1e-12, "{name}: {found:?}");
            assert_eq!(read(&again, name), found, "{name}");
        }
    }
}
