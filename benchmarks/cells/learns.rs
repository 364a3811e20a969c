//! Training learns: on drawn pipes, trained features beat untrained ones and pixels.
//!
//! The cells at fixture scale show change only; this shows sense, at the smallest size that does. Scores
//! are AUROC of converged probes on all validation images, so that no threshold is in play.

use skewbench::{
    backbone,
    candle_core::Device,
    data::{self, OnBadImage, Share, Source},
    experiment::{self, Cell, Plan, Scale, Study},
    method,
    seed::Seed,
};

fn plan(epochs: usize) -> (Plan, Source) {
    let scale = Scale {
        side: 48,
        synthetic_images: (700, 500),
        resnet_width: 16,
        epochs,
        batch_size: 32,
        ..Scale::fixture()
    };
    let (train, validation) = scale.synthetic_images;
    let source = data::synthetic::source(Seed::root(1), train, validation, scale.side);
    (Plan { scale, on_bad_image: OnBadImage::Fail, device: Device::Cpu }, source)
}

/// AUROC of the converged probe, and the losses of the first and last epoch.
fn train(method: method::Name, epochs: usize) -> (f64, Option<(f64, f64)>) {
    let (plan, source) = plan(epochs);
    let cell = Cell {
        study: Study::Table1,
        method,
        backbone: backbone::Name::ResNet18,
        share: Share::percent(45),
        seed: 0,
    };
    let record = experiment::run(&cell, &plan, &source, &mut |_| {}).unwrap();
    let score = record
        .scores
        .iter()
        .find(|score| score.classifier == "converged" && score.validation_share.is_none())
        .unwrap();
    let losses = record.curve.first().zip(record.curve.last()).map(|(first, last)| (first.loss, last.loss));
    (score.auroc, losses)
}

#[test]
fn trained_features_beat_untrained_ones() {
    let (untrained, _) = train(method::Name::SimClr, 0);
    for (method, margin) in [(method::Name::Supervised, 0.05), (method::Name::SimClr, 0.02)] {
        let (trained, losses) = train(method, 8);
        let (first, last) = losses.unwrap();
        eprintln!("{method}: AUROC {trained:.3}, untrained {untrained:.3}, loss {first:.3} to {last:.3}");
        assert!(last < first, "{method}: loss went from {first} to {last}");
        assert!(trained > untrained + margin, "{method}: AUROC {trained}, untrained {untrained}");
    }
}
