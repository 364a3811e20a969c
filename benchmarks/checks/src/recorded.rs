//! PyTorch's recorded training steps, and the comparison of ours with them.

use std::{collections::BTreeMap, sync::LazyLock};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use skewbench::candle_core::DType;

use crate::trajectory::{Case, STEPS, Trajectory, drift};

static RECORDED: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../fixtures/torch/trajectories.json"))
        .expect("the recorded trajectories are JSON")
});

/// PyTorch's run of a case.
#[derive(Clone, Debug)]
pub struct Run {
    /// Losses in double precision, before each of [`STEPS`] updates.
    pub losses: Vec<f64>,
    /// Losses in float32, and under autocast to bf16.
    pub losses_single: Vec<f64>,
    pub losses_mixed: Vec<f64>,
    /// Variables by name; a teacher's have the student's names below `teacher.`.
    pub variables: BTreeMap<String, Variable>,
}

/// A variable after ten steps in double precision.
#[derive(Clone, Debug)]
pub struct Variable {
    pub length: f64,
    pub first: f64,
    pub second: Option<f64>,
    /// Norm of the first step's gradient; a teacher has none.
    pub gradient: Option<f64>,
}

/// A number of the generator: a name, its hash in hexadecimal, a position in its stream, and the number there.
pub struct Generated {
    pub name: String,
    pub hash: String,
    pub n: usize,
    pub unit: f64,
}

/// Returns PyTorch's recorded run of a case.
///
/// # Errors
/// If nothing is recorded, or something that is compared is missing.
pub fn find(case: Case) -> Result<Run> {
    let all = RECORDED["trajectories"].as_array().context("no trajectories are recorded")?;
    let is_it = |run: &&Value| run["method"] == case.id() && run["backbone"] == case.backbone.id();
    let run = all.iter().find(is_it).with_context(|| format!("{}: nothing is recorded", case.name()))?;
    let variables = run["parameters"].as_object().context("parameters: expected an object")?;
    let variables = variables.iter().map(|(name, numbers)| {
        let number = |place: usize| numbers[place].as_f64();
        let needed = |place: usize| number(place).with_context(|| format!("{name}: not enough numbers"));
        let (length, first) = (needed(0)?, needed(1)?);
        Ok((name.clone(), Variable { length, first, second: number(2), gradient: number(3) }))
    });
    Ok(Run {
        losses: losses(run, "losses")?,
        losses_single: losses(run, "losses_float32")?,
        losses_mixed: losses(run, "losses_autocast_bfloat16")?,
        variables: variables.collect::<Result<_>>()?,
    })
}

fn losses(run: &Value, name: &str) -> Result<Vec<f64>> {
    let all: Vec<f64> = run[name].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    ensure!(all.len() == STEPS, "{name}: expected {STEPS} losses, found {}", all.len());
    Ok(all)
}

/// Returns numbers of the generator, which [`crate::formula`] must reproduce.
///
/// # Errors
/// If none are recorded.
pub fn generated() -> Result<Vec<Generated>> {
    let all = RECORDED["generator"].as_array().context("no generator is recorded")?;
    let number = |value: &Value| {
        let text = |name: &str| Some(value[name].as_str()?.to_owned());
        let n = value["n"].as_u64()? as usize;
        Some(Generated { name: text("name")?, hash: text("hash")?, n, unit: value["unit"].as_f64()? })
    };
    all.iter().map(|value| number(value).context("a generated number is not complete")).collect()
}

/// How far a trajectory in some precision may be from PyTorch's double precision; ours.
pub struct Bounds {
    pub name: &'static str,
    pub images: DType,
    /// Bounds of the first loss, of the norm of all first gradients, and of the norm of any variable's gradient.
    first: f64,
    length: f64,
    variable: f64,
    /// PyTorch's own trajectory in this precision, and how far losses may drift even if that one hardly does.
    own: fn(&Run) -> &[f64],
    always: f64,
}

/// Relative to the norm of all gradients: shorter gradients are compared as if they had this norm. Some are zero by
/// symmetry.
const SHORTEST: f64 = 1e-3;
/// How many times further than PyTorch's own all losses may drift. For few losses the ratio is random, so it is
/// only checked on complete trajectories. Observed on the CPU in mixed precision: 0.35 times (DINO on ViT-Tiny) to
/// 1.7 times (SimCLR on ResNet-18).
const DRIFT: f64 = 3.0;

pub const SINGLE: Bounds = Bounds {
    name: "f32",
    images: DType::F32,
    first: 1e-4,
    length: 2e-3,
    // On the CPU 1.8 % (BYOL on ResNet-18, where a ReLU switches; PyTorch's own float32 on another machine differed
    // as much), 0.1 % elsewhere.
    variable: 5e-2,
    own: |run| &run.losses_single,
    always: 1e-3,
};

pub const MIXED: Bounds = Bounds {
    name: "mixed",
    images: DType::BF16,
    first: 2e-2,
    length: 0.1,
    // On the CPU at most 14 %.
    variable: 0.3,
    own: |run| &run.losses_mixed,
    always: 0.0,
};

/// A trajectory compared with PyTorch's.
#[derive(Clone, Debug)]
pub struct TrajectoryComparison {
    pub is_equal: bool,
    /// Relative differences: of the first loss, and of the norm of all first gradients together.
    pub first_apart: f64,
    pub lengths_apart: f64,
    /// Root mean square deviation of losses from double precision, of ours and of PyTorch's own in this precision.
    pub drift: f64,
    pub drift_of_pytorch: f64,
    /// The variable whose first gradient's norm differs most from PyTorch's, both norms, and the difference.
    pub variable: String,
    pub lengths: [f64; 2],
    pub variable_apart: f64,
}

impl Run {
    /// Compares a trajectory with this run.
    ///
    /// # Errors
    /// If PyTorch has no gradient for a variable.
    pub fn judge(
        &self,
        losses: &[f64],
        gradients: &BTreeMap<String, f64>,
        bounds: &Bounds,
    ) -> Result<TrajectoryComparison> {
        // Squared norms of all first gradients, ours and PyTorch's.
        let (mut squares, mut lengths) = ([0.0; 2], Vec::new());
        for (name, &ours) in gradients {
            let theirs = self.variables.get(name).and_then(|variable| variable.gradient);
            let theirs = theirs.with_context(|| format!("{name}: PyTorch has no such gradient"))?;
            lengths.push((name, ours, theirs));
            squares[0] += ours * ours;
            squares[1] += theirs * theirs;
        }
        let shortest = SHORTEST * f64::sqrt(squares[1]);
        let apart = |(name, ours, theirs): (&String, f64, f64)| {
            ((ours - theirs).abs() / theirs.max(shortest), name.clone(), [ours, theirs])
        };
        let furthest = lengths.into_iter().map(apart).max_by(|a, b| a.0.total_cmp(&b.0));
        let (variable_apart, variable, lengths) = furthest.context("no gradients")?;
        let own = &(bounds.own)(self)[..losses.len().min(STEPS)];
        let mut judged = TrajectoryComparison {
            is_equal: false,
            first_apart: (losses[0] / self.losses[0] - 1.0).abs(),
            lengths_apart: ((squares[0] / squares[1]).sqrt() - 1.0).abs(),
            drift: drift(losses, &self.losses),
            drift_of_pytorch: drift(own, &self.losses),
            variable,
            lengths,
            variable_apart,
        };
        // Written so that NaN fails.
        judged.is_equal = judged.first_apart <= bounds.first
            && judged.lengths_apart <= bounds.length
            && judged.variable_apart <= bounds.variable
            && (losses.len() < STEPS || judged.drift <= (DRIFT * judged.drift_of_pytorch).max(bounds.always));
        Ok(judged)
    }

    /// Like [`Self::judge`], for a trajectory.
    ///
    /// # Errors
    /// As for [`Self::judge`].
    pub fn judge_trajectory(&self, trajectory: &Trajectory, bounds: &Bounds) -> Result<TrajectoryComparison> {
        self.judge(&trajectory.losses, &trajectory.gradients, bounds)
    }
}

impl TrajectoryComparison {
    /// Converts it for the results of a check.
    pub fn to_json(&self, losses: &[f64]) -> Value {
        json!({
            "losses": losses,
            "first_apart": self.first_apart,
            "drift": self.drift,
            "drift_of_pytorch": self.drift_of_pytorch,
            "apart_in_length_of_gradients": self.lengths_apart,
            "furthest_variable": self.variable,
            "lengths_of_its_gradient": { "found": self.lengths[0], "expected": self.lengths[1] },
            "apart_in_its_length": self.variable_apart,
        })
    }
}

#[cfg(test)]
mod tests {
    use skewbench::{backbone, method};

    use super::*;

    const SIMCLR: Case =
        Case { method: method::Name::SimClr, backbone: backbone::Name::ViTTiny, head_norm: false };

    fn gradients(run: &Run) -> BTreeMap<String, f64> {
        let named = |(name, variable): (&String, &Variable)| Some((name.clone(), variable.gradient?));
        run.variables.iter().filter_map(named).collect()
    }

    #[test]
    fn pytorch_is_equal_to_itself_and_each_bound_is_held() -> Result<()> {
        let run = find(SIMCLR)?;
        let equal = |losses: &[f64], gradients: &BTreeMap<String, f64>, run: &Run| {
            run.judge(losses, gradients, &MIXED).map(|judged| judged.is_equal)
        };
        let own = gradients(&run);
        assert!(equal(&run.losses_mixed, &own, &run)?);
        // A first loss that is too far off; a last one that is NaN; and one step that is close.
        let mut losses = run.losses.clone();
        losses[0] *= 1.03;
        assert!(!equal(&losses, &own, &run)?);
        losses = run.losses.clone();
        losses[9] = f64::NAN;
        assert!(!equal(&losses, &own, &run)?);
        assert!(equal(&run.losses[..1], &own, &run)?);
        // If PyTorch does not round, no drift is allowed.
        let exact = Run { losses_mixed: run.losses.clone(), ..run.clone() };
        assert!(!equal(&run.losses_mixed, &own, &exact)?);
        // All gradients a fifth longer; and one that is half as long as it should be.
        let longer = own.iter().map(|(name, length)| (name.clone(), 1.2 * length)).collect();
        assert!(!equal(&run.losses, &longer, &run)?);
        let mut one = own.clone();
        one.entry("head.projector.2.weight".to_owned()).and_modify(|length| *length *= 0.5);
        assert_ne!(one, own);
        let judged = run.judge(&run.losses, &one, &MIXED)?;
        assert_eq!((judged.is_equal, judged.variable.as_str()), (false, "head.projector.2.weight"));
        Ok(())
    }

    #[test]
    fn every_case_is_recorded() -> Result<()> {
        let cases = crate::trajectory::cases();
        assert_eq!(cases.len(), 12);
        cases.into_iter().try_for_each(|case| find(case).map(drop))
    }
}
