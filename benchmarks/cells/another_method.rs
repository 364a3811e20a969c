//! A method that is not the paper's, written as a newcomer would: the example of `benchmarks/README.md`.
//!
//! It is trained here, so the text cannot rot. Between the two marks stands what the README shows, word for
//! word (`tidy.rs` compares).

use skewbench::{
    augment::{self, Normalisation},
    backbone::{self, Architecture},
    candle_core::DType,
    data::{self, OnBadImage},
    experiment::{Plan, Scale},
    loader::Loader,
    seed::Seed,
    train::{self, Decayed, Optimisation, optimiser::Rule},
};

// README: begin
/// SimSiam (Chen and He, "Exploring simple Siamese representation learning", CVPR 2021): each view predicts the
/// other, which is held fixed; neither teacher nor negatives. The paper's loss is this one, halved, less 1.
mod simsiam {
    use skewbench::{
        backbone::{
            Backbone, Mode, Parameters,
            heads::{Layers, Perceptron},
        },
        candle_core::{Result, Tensor},
        loader::Batch,
        loss::regression::cosine_distance,
        method::{Foundation, Method, Objective, Position, Step},
    };

    /// Its constants; SimSiam has none. Their `Debug` text goes into every record.
    #[derive(Clone, Copy, Debug)]
    pub struct StopGradient;

    impl Objective for StopGradient {
        fn settings(&self) -> Vec<(&'static str, serde_json::Value)> {
            vec![("name", serde_json::json!("simsiam"))]
        }

        fn build(&self, on: &Foundation) -> Result<Box<dyn Method>> {
            let mut parameters = Parameters::default();
            let encoder = on.architecture.build(&mut parameters.builder("", on.seed, on.dtype, on.device))?;
            let mut head = |name: &str, sizes: &[usize]| {
                let mut builder = parameters.builder(name, on.seed, on.dtype, on.device);
                Perceptron::new(&mut builder, Layers::normalised(sizes))
            };
            let (hidden, output) = (on.heads.hidden, on.heads.output);
            let projector = head("head.projector", &[encoder.width(), hidden, output])?;
            let predictor = head("head.predictor", &[output, hidden, output])?;
            Ok(Box::new(SimSiam { encoder, projector, predictor, parameters }))
        }
    }

    struct SimSiam {
        encoder: Box<dyn Backbone>,
        projector: Perceptron,
        predictor: Perceptron,
        parameters: Parameters,
    }

    impl Method for SimSiam {
        fn step(&self, batch: &Batch, _at: Position) -> Result<Step> {
            let features = self.encoder.embed(&batch.images, Mode::Train)?;
            let embeddings = self.projector.forward(&features, Mode::Train)?;
            let predictions = self.predictor.forward(&embeddings, Mode::Train)?.chunk(2, 0)?;
            let targets = embeddings.detach().chunk(2, 0)?;
            let loss = (cosine_distance(&predictions[0], &targets[1])?
                + cosine_distance(&predictions[1], &targets[0])?)?;
            Ok(Step { loss, features, embeddings: Some(embeddings), parts: Vec::new() })
        }

        fn encoder(&self) -> &dyn Backbone {
            &*self.encoder
        }

        fn parameters(&self) -> &Parameters {
            &self.parameters
        }

        fn embed(&self, features: &Tensor) -> Option<Result<Tensor>> {
            Some(self.projector.forward(features, Mode::Evaluate))
        }
    }
}
// README: end

#[test]
fn it_trains_without_touching_the_library() {
    let scale = Scale::fixture();
    let source = data::synthetic::source(Seed::root(0), 128, 2, scale.side);
    let plan = Plan::new(scale.clone());
    let architecture = Architecture {
        name: backbone::Name::ResNet18,
        resnet_width: scale.resnet_width,
        resnet_stem: scale.resnet_stem,
        vit: scale.vit,
        side: scale.side,
    };
    let foundation = skewbench::method::Foundation {
        architecture,
        heads: scale.heads,
        defect_weight: 1.0,
        seed: Seed::root(0),
        dtype: DType::F32,
        device: &plan.device,
    };
    let method = skewbench::method::Objective::build(&simsiam::StopGradient, &foundation).unwrap();
    let indices: Vec<usize> = (0..128).collect();
    let views = augment::ViewSet::paper(scale.side).views;
    let loader = Loader {
        dataset: &*source.train,
        indices: &indices,
        views: &views,
        normalisation: &Normalisation::SEWER_ML,
        batch_size: 32,
        on_bad_image: OnBadImage::Fail,
        device: &plan.device,
        numbers: DType::F32,
        seed: Seed::root(0),
    };
    let optimisation = Optimisation {
        rule: Rule::ADAMW,
        learning_rate: 1e-3,
        weight_decay: 1e-4,
        decayed: Decayed::Weights,
        clip: None,
        warm_up_epochs: 0.0,
        warm_up_start: 1e-3,
        end: 1e-6,
        epochs: 4,
    };
    let trained = train::pretrain(&*method, None, &loader, &loader, &optimisation, None, |_| Ok(())).unwrap();
    let (first, last) = (trained.curve[0].loss, trained.curve[3].loss);
    assert!(last < first, "loss went from {first} to {last}");
    let spread = trained.curve[3].monitors["features_unit_deviation"];
    assert!(spread > 0.01, "features collapsed: their deviation is {spread}");
}
