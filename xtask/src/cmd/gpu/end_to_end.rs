//! `gpu end-to-end`: source images per second of training as in `reproduce --gpu --mixed-precision`, including
//! views made from bytes in main memory and monitors, compared with the rate of the model's step alone.

use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};
use skewbench::{
    analysis::ratio::median,
    augment::{Normalisation, ViewRecipe},
    backbone,
    candle_core::{DType, Device},
    data::{Dataset, OnBadImage, Share, cached::Cached, synthetic},
    experiment::{self, Cell, Plan, Scale, Study, recipe},
    loader::{Loader, Sampling},
    method,
    seed::Seed,
    train::{Optimisation, Part, Progress, pretrain},
};

use super::{Sizes, cases::Cases, steps::worker};

/// Number of images in the data set; the next constant is their side in pixels, the height of Sewer-ML's frames.
const IMAGES: usize = 1_024;
const IMAGE_SIDE: usize = 576;
const BATCH: usize = 256;
const SIDE: usize = 224;
/// Passes over the images per epoch, and epochs. The first epoch is not counted, nor is each later one's time up
/// to the end of its first step: waiting for the first batch is negligible in an epoch of a thousand steps.
const ROUNDS: usize = 4;
const EPOCHS: usize = 3;
/// Timed steps of the model alone; the next constant is the untimed ones before.
const STEPS: usize = 8;
const WARM_UP: usize = 2;

pub fn run(arguments: &Sizes) -> Result<()> {
    let gpu = arguments.device()?;
    let (images, batch, side) =
        if arguments.rehearse || arguments.small { (8, 4, 64) } else { (IMAGES, BATCH, SIDE) };
    let drawn = synthetic::source(Seed::root(0), images, 1, IMAGE_SIDE).train;
    let data = Cached::new(drawn, usize::MAX);
    // Drawn once, so that epochs only read bytes.
    let begun = Instant::now();
    open_all(&data, images)?;
    println!("{images} images drawn in {:.1} s", begun.elapsed().as_secs_f64());
    let mut cases = Cases::new(arguments);
    for (method, backbone) in [
        (method::Name::BarlowTwins, backbone::Name::ResNet18),
        (method::Name::SimClr, backbone::Name::ResNet18),
        (method::Name::SimClr, backbone::Name::ViTTiny),
    ] {
        let cell = Cell { study: Study::Table1, method, backbone, share: Share::NATURAL, seed: 0 };
        cases.take(&format!("{method} {backbone}"), case(&cell, &gpu, &data, (images, batch, side)))?;
    }
    cases.end("failed")
}

/// Opens every image once, in parallel.
fn open_all(data: &dyn Dataset, images: usize) -> Result<()> {
    let indices: Vec<usize> = (0..images).collect();
    let all = Loader {
        dataset: data,
        indices: &indices,
        views: &[ViewRecipe::full_frame(8)],
        normalisation: &Normalisation::SEWER_ML,
        sampling: Sampling::Each,
        repeats: 1,
        batch_size: images,
        on_bad_image: OnBadImage::Fail,
        device: &Device::Cpu,
        dtype: DType::F32,
        seed: Seed::root(0),
    };
    all.once(|_| Ok(()))
}

fn case(
    cell: &Cell,
    gpu: &Device,
    data: &dyn Dataset,
    (images, batch, side): (usize, usize, usize),
) -> Result<Value> {
    let mut plan = Plan { recipe: recipe::Name::Short, ..Plan::new(Scale { side, ..Scale::full() }) };
    plan.device = gpu.clone();
    let model = experiment::build(cell, &plan, 3.0, Seed::root(0))?;
    let views = plan.recipe(cell).views(cell.method, side);
    let indices: Vec<usize> = (0..ROUNDS * images).map(|place| place % images).collect();
    let few: Vec<usize> = (0..batch).collect();
    let loader = Loader {
        dataset: data,
        indices: &indices,
        views: &views,
        normalisation: &Normalisation::SEWER_ML,
        sampling: Sampling::Each,
        repeats: 1,
        batch_size: batch,
        on_bad_image: OnBadImage::Fail,
        device: gpu,
        dtype: DType::BF16,
        seed: Seed::root(0),
    };
    let sample = Loader { indices: &few, dtype: DType::F32, ..loader };
    let optimisation = Optimisation { epochs: EPOCHS, ..plan.recipe(cell).optimisation(&plan.scale) };
    // Seconds of each epoch's steps except its first; what follows the last step is evaluation.
    let (mut epochs, mut begun, mut waited, mut last) = (Vec::new(), Instant::now(), 0.0, Instant::now());
    pretrain(&*model, None, &loader, &sample, &optimisation, None, |progress| {
        match progress {
            Progress::Part(Part::Data) => waited += last.elapsed().as_secs_f64(),
            Progress::Step { step: 1, .. } => begun = Instant::now(),
            Progress::Step { step, steps, .. } if step == steps => {
                epochs.push((step - 1) as f64 * batch as f64 / begun.elapsed().as_secs_f64());
            }
            _ => {}
        }
        last = Instant::now();
        Ok(())
    })?;
    let rates = &epochs[1..];
    let timing = worker(cell, gpu, DType::BF16, (batch, side))?.timed(WARM_UP, STEPS)?;
    let (whole, model) = (median(rates), batch as f64 / median(&timing.seconds));
    Ok(json!({
        "source_images_per_second": whole,
        "model_alone_images_per_second": model,
        "share": whole / model,
        "rates": rates,
        "seconds_waited_for_data": waited,
    }))
}
