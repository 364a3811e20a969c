//! `gpu views`: compares views made on a GPU, by every recipe and of drawn pipes, with the CPU's, and measures the
//! rate.

use std::time::Instant;

use anyhow::{Result, ensure};
use checks::views::{NORMALISATION, SIDES, Views};
use serde_json::{Value, json};
use skewbench::{
    analysis::ratio::median,
    augment::{Drawn, ViewSet, gpu::Images},
    candle_core::{CudaDevice, DType, Device, Tensor},
    data::{Image, synthetic},
    seed::Seed,
};

use super::{Sizes, cases::Cases};

/// Number of source images, each with two views; the next constants are pixels per side of an image, and of a view.
const IMAGES: usize = 256;
const IMAGE_SIDE: usize = 576;
const SIDE: usize = 224;
const BLOCKS: usize = 5;
const CALLS: usize = 20;
/// Largest allowed difference from the CPU's views, in levels of 255.
const LEVELS: f32 = 1.01;

pub fn run(arguments: &Sizes) -> Result<()> {
    let gpu = arguments.device()?;
    let device = gpu.as_cuda_device()?;
    let mut cases = Cases::new(arguments);
    for side in SIDES {
        let views = Views::draw(side);
        let name = format!("{} views of {side} px by every recipe", views.drawn.len());
        cases.take(&name, compared(&views, device))?;
    }
    let (count, side) = if arguments.small { (3, 37) } else { (IMAGES, SIDE) };
    let views = of_pipes(count, side)?;
    let found = compared(&views, device).and_then(|mut found| {
        if !arguments.small {
            let rates = rates(&views, device)?;
            found["median"] = json!(median(&rates));
            found["source_images_per_second"] = json!(rates);
        }
        Ok(found)
    });
    let name = format!("{count} images of {IMAGE_SIDE} px, two views of {side} px each");
    cases.take(&name, found)?;
    cases.end("views that differ from the CPU's by more than a level, or in bf16 from those in f32, rounded")
}

/// Draws two views of each of `count` drawn pipes.
fn of_pipes(count: usize, side: usize) -> Result<Views> {
    let pipes = synthetic::source(Seed::root(0), 1, count, IMAGE_SIDE).validation;
    let images = (0..count).map(|place| pipes.open(place)).collect::<Result<Vec<Image>>>()?;
    let recipe = ViewSet::byol(side);
    let drawn: Vec<(usize, Drawn)> = images
        .iter()
        .enumerate()
        .flat_map(|(place, image)| {
            let views = recipe.draw(image.width, image.height, &mut Seed::root(1).index(place).stream());
            views.into_iter().map(move |view| (place, view))
        })
        .collect();
    Ok(Views { side, images, drawn })
}

fn compared(views: &Views, device: &CudaDevice) -> Result<Value> {
    let uploaded = Images::upload(&views.images, device)?;
    let found = uploaded.views(&views.drawn, &NORMALISATION, DType::F32)?;
    let shape = found.dims().to_vec();
    let found = found.flatten_all()?.to_vec1::<f32>()?;
    let expected = views.expected();
    ensure!(found.len() == expected.len(), "{} numbers, expected {}", found.len(), expected.len());
    let (mut different, mut furthest, mut first) = (0_usize, 0_f32, None);
    for (place, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
        let levels = (found - expected).abs() * NORMALISATION.std[place % 3] * 255.0;
        different += usize::from(levels > 0.01);
        furthest = furthest.max(levels);
        // Written so that NaN counts as different.
        let near = levels <= LEVELS;
        if !near && first.is_none() {
            let values = (found.to_string(), expected.to_string());
            let (view, pixel) =
                (place / (3 * views.side * views.side), place / 3 % (views.side * views.side));
            let at = [view, pixel / views.side, pixel % views.side, place % 3];
            first = Some(json!({ "shape": shape, "at": at, "found": values.0, "expected": values.1 }));
        }
    }
    // In 16 bits the values must be the same, rounded.
    let rounded = |tensor: Tensor| -> Result<Vec<f32>> {
        Ok(tensor.to_dtype(DType::BF16)?.to_dtype(DType::F32)?.to_vec1()?)
    };
    let halves = uploaded.views(&views.drawn, &NORMALISATION, DType::BF16)?.flatten_all()?;
    let rounded_alike = rounded(halves)? == rounded(Tensor::new(found.as_slice(), &Device::Cpu)?)?;
    let equal = rounded_alike && first.is_none();
    Ok(json!({
        "different": different, "furthest_levels": furthest, "first_difference": first,
        "rounded_alike": rounded_alike, "equal": equal, "median": null,
    }))
}

/// Measures source images per second, block by block.
fn rates(views: &Views, device: &CudaDevice) -> Result<Vec<f64>> {
    let uploaded = Images::upload(&views.images, device)?;
    let gpu = Device::Cuda(device.clone());
    let mut rates = Vec::new();
    for _ in 0..BLOCKS {
        gpu.synchronize()?;
        let start = Instant::now();
        for _ in 0..CALLS {
            uploaded.views(&views.drawn, &NORMALISATION, DType::BF16)?;
        }
        gpu.synchronize()?;
        rates.push((CALLS * views.images.len()) as f64 / start.elapsed().as_secs_f64());
    }
    Ok(rates)
}
