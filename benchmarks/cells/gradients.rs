//! Every trainable variable has a gradient, for every method on every backbone.
//!
//! Candle silently drops gradients in some layers (fused layer norm and softmax among them), and training would
//! then continue with frozen parts. This check comes before any training.

use rstest::rstest;
use skewbench::{
    augment::{Normalisation, ViewRecipe},
    backbone,
    candle_core::DType,
    data::Share,
    experiment::{Cell, Study},
    loader::{Loader, Sampling},
    method::{self, Position},
    seed::Seed,
    tensor::backward,
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
    // With f32 numbers, then in mixed precision: loss, and all gradients concatenated.
    let mut found: Vec<(f64, Vec<f32>)> = Vec::new();
    for numbers in [DType::F32, DType::BF16] {
        match gradients(method, backbone, numbers) {
            Some(of) => found.push(of),
            None => return,
        }
    }
    let [(exact, expected), (rounded, gradient)] = &found[..] else { unreachable!("two types") };
    assert!(
        (rounded - exact).abs() < 0.02 * exact.abs(),
        "loss {rounded} in mixed precision, {exact} in f32"
    );
    let inner =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let cosine = inner(gradient, expected) / (inner(gradient, gradient) * inner(expected, expected)).sqrt();
    // ResNet-18 normalises maps of one pixel over 16 images, which magnifies rounding layer by layer; the bounds of
    // single operations are tighter (src/tensor/graph/precision.rs).
    let bound = if backbone == backbone::Name::ResNet18 { 0.85 } else { 0.98 };
    assert!(cosine > bound, "gradients in mixed precision and in f32: cosine {cosine}");
    assert_ne!(rounded, exact, "nothing was rounded");
}

/// Returns loss and gradients of one step, with numbers of the given type; `None` if the method is not defined on
/// the backbone.
fn gradients(method: method::Name, backbone: backbone::Name, numbers: DType) -> Option<(f64, Vec<f32>)> {
    let (plan, source) = fixture();
    let cell = Cell { study: Study::Table1, method, backbone, share: Share::percent(45), seed: 0 };
    if cell.undefined_reason().is_some() {
        assert!(plan.resolve(&cell, source).is_err(), "an undefined cell was resolved");
        return None;
    }
    let views: Vec<ViewRecipe> = plan.recipe(&cell).views(method, plan.scale.side);
    let mut resolved = plan.resolve(&cell, source).unwrap();
    resolved.defect_weight = 1.0;
    let model = resolved.build(Seed::root(0)).unwrap();
    let indices: Vec<usize> = (0..16).collect();
    let loader = Loader {
        dataset: &*source.train,
        indices: &indices,
        views: &views,
        normalisation: &Normalisation::SEWER_ML,
        sampling: Sampling::Each,
        repeats: 1,
        batch_size: 16,
        on_bad_image: plan.on_bad_image,
        device: &plan.device,
        dtype: numbers,
        seed: Seed::root(0),
    };
    let (mut loss, mut all) = (0.0, Vec::new());
    loader
        .epoch(0, |batch| {
            assert_eq!(batch.images.dtype(), numbers);
            let step = model.step(&batch, Position { step: 0, steps: 1, epoch: 0, epochs: 1 })?;
            loss = f64::from(step.loss.to_scalar::<f32>()?);
            let gradients = backward(&step.loss)?;
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
                all.extend(values);
            }
            Ok(())
        })
        .unwrap();
    Some((loss, all))
}
