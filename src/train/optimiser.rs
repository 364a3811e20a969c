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
mod tests;
