//! The model that a cell trains: a method and its online probe.

use anyhow::Result;

use super::Resolved;
use crate::{method::Method, train::online_probe::OnlineProbe};

/// The trained model.
pub(super) struct Model {
    pub method: Box<dyn Method>,
    /// `None` if the method has a classifier of its own.
    pub online_probe: Option<OnlineProbe>,
}

impl Model {
    pub fn new(resolved: &Resolved) -> Result<Self> {
        let seed = resolved.seed();
        let method = resolved.build(seed.child("model"))?;
        resolved.begin_with_pretrained(&*method)?;
        let online_probe = online_probe(resolved, &*method)?;
        Ok(Self { method, online_probe })
    }
}

/// Returns the linear probe that is trained alongside the method; `None` if the method itself learns from labels.
pub(super) fn online_probe(resolved: &Resolved, method: &dyn Method) -> Result<Option<OnlineProbe>> {
    if resolved.cell.trained_by().is_supervised() {
        return Ok(None);
    }
    let probe = OnlineProbe::new(
        method.encoder().width(),
        resolved.recipe.probe_rule,
        resolved.recipe.probe_rate(&resolved.scale),
        resolved.defect_weight,
        resolved.seed().child("probe"),
        &resolved.device,
    )?;
    Ok(Some(probe))
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::{
        backbone::{Name::ResNet18, Parameters},
        data::{Share, synthetic},
        experiment::{Cell, Plan, Scale, Study},
        method::Name::{SimClr, Supervised},
        seed::Seed,
        train::optimiser::Rule,
    };

    fn numbers(parameters: &Parameters) -> Vec<Vec<f32>> {
        let of = |parameter: &crate::backbone::Parameter| {
            parameter.variable.flatten_all().unwrap().to_vec1().unwrap()
        };
        parameters.all().iter().map(of).collect()
    }

    /// Method and probe are drawn by streams of their own from the cell's seed; the probe has the rate for the batch
    /// size, an eighth of 256, and weighs defects by how rare they are.
    #[test]
    fn a_model_is_drawn_by_the_seed_of_its_cell() {
        let plan = Plan::new(Scale::fixture());
        let source = synthetic::source(Seed::root(1), 60, 30, plan.scale.side);
        let cell = |method| {
            let (study, share) = (Study::Extension, Share::NATURAL);
            Cell { study, method, backbone: ResNet18, share, seed: 7 }
        };
        let resolved = plan.resolve(&cell(SimClr), &source).unwrap();
        let mut model = Model::new(&resolved).unwrap();
        let expected = resolved.build(Seed::root(7).child("model")).unwrap();
        assert_eq!(numbers(model.method.parameters()), numbers(expected.parameters()));

        let defects = source.train.labels().iter().filter(|labels| labels.defect).count();
        let weight = (60 - defects) as f64 / defects as f64;
        assert!((weight - 1.0).abs() > 0.05, "{defects} of 60");
        let seed = Seed::root(7).child("probe");
        let mut by_hand = OnlineProbe::new(64, Rule::ADAMW, 2e-2 / 8.0, weight, seed, &Device::Cpu).unwrap();
        let probe = model.online_probe.as_mut().unwrap();
        assert_eq!(numbers(probe.parameters()), numbers(by_hand.parameters()));
        let rows: Vec<f32> = (0..3 * 64).map(|place| (place * place % 17) as f32 / 17.0).collect();
        let rows = Tensor::from_vec(rows, (3, 64), &Device::Cpu).unwrap();
        let labels = Tensor::new(&[1_f32, 0.0, 0.0], &Device::Cpu).unwrap();
        let losses = [probe, &mut by_hand].map(|probe| probe.step(&rows, &labels, |base| base).unwrap());
        assert_eq!(losses[0], losses[1]);
        assert_eq!(numbers(model.online_probe.unwrap().parameters()), numbers(by_hand.parameters()));

        let resolved = plan.resolve(&cell(Supervised), &source).unwrap();
        assert!(Model::new(&resolved).unwrap().online_probe.is_none(), "it has a classifier of its own");
    }
}
