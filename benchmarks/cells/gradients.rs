//! No trainable variable is left without a gradient: every method on every backbone.
//!
//! Candle drops gradients silently in some layers (fused layer norm and softmax among them), and
//! training then goes on with frozen parts. This comes before any training.

use rstest::rstest;
use skewbench::{
    augment::{Normalisation, ViewRecipe},
    backbone,
    data::Share,
    experiment::{self, Cell, Study},
    loader::Loader,
    method::{self, Position},
    seed::Seed,
};

use crate::check::fixture;

#[rstest]
fn every_variable_has_a_gradient(
    #[values(
        method::Name::Supervised,
        method::Name::Byol,
        method::Name::BarlowTwins,
        method::Name::Dino,
        method::Name::Mae,
        method::Name::SimClr
    )]
    method: method::Name,
    #[values(backbone::Name::ResNet18, backbone::Name::ViTTiny)] backbone: backbone::Name,
) {
    let (plan, source) = fixture();
    let cell = Cell { study: Study::Table1, method, backbone, share: Share::percent(45), seed: 0 };
    if cell.undefined().is_some() {
        assert!(experiment::build(&cell, &plan, 1.0, Seed::root(0)).is_err(), "an undefined cell was built");
        return;
    }
    let views: Vec<ViewRecipe> = plan.recipe(&cell).views(method, plan.scale.side);
    let model = experiment::build(&cell, &plan, 1.0, Seed::root(0)).unwrap();
    let indices: Vec<usize> = (0..16).collect();
    let loader = Loader {
        dataset: &*source.train,
        indices: &indices,
        views: &views,
        normalisation: &Normalisation::SEWER_ML,
        batch_size: 16,
        on_bad_image: plan.on_bad_image,
        device: &plan.device,
        seed: Seed::root(0),
    };
    loader
        .epoch(0, |batch| {
            let gradients =
                model.step(&batch, Position { step: 0, steps: 1, epoch: 0, epochs: 1 })?.loss.backward()?;
            for parameter in model.parameters().trainable() {
                let name = &parameter.name;
                let gradient = gradients
                    .get(parameter.variable.as_tensor())
                    .unwrap_or_else(|| panic!("{name}: no gradient"));
                assert_eq!(gradient.dims(), parameter.variable.dims(), "{name}");
                let values = gradient.flatten_all()?.to_vec1::<f32>()?;
                assert!(
                    values.iter().all(|value| value.is_finite()),
                    "{name}: a gradient that is not finite"
                );
                assert!(values.iter().any(|&value| value != 0.0), "{name}: a gradient of zeros");
            }
            Ok(())
        })
        .unwrap();
}
