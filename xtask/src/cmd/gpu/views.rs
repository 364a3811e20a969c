//! `gpu views`: views of drawn pipes made on a GPU: equal to the CPU's, and how many a second.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;
use skewbench::{
    analysis::ratio::median,
    augment::{Drawn, Normalisation, ViewSet, gpu::Images, to_normalised},
    candle_core::{DType, Device, Tensor},
    data::{Image, synthetic},
    seed::Seed,
};

use super::{Sizes, cases::Cases};

/// Source images, each seen in two views; pixels of a side of an image, and of a view.
const IMAGES: usize = 256;
const IMAGE_SIDE: usize = 576;
const SIDE: usize = 224;
const BLOCKS: usize = 5;
const CALLS: usize = 20;

pub fn run(arguments: &Sizes) -> Result<()> {
    let gpu = arguments.device()?;
    let device = gpu.as_cuda_device()?;
    let (count, side) = if arguments.small { (3, 37) } else { (IMAGES, SIDE) };
    let drawn_pipes = synthetic::source(Seed::root(0), 1, count, IMAGE_SIDE).validation;
    let images = (0..count).map(|place| drawn_pipes.open(place)).collect::<Result<Vec<Image>>>()?;
    let recipe = ViewSet::byol(side);
    let draws: Vec<(usize, Drawn)> = images
        .iter()
        .enumerate()
        .flat_map(|(place, image)| {
            let views = recipe.draw(image.width, image.height, &mut Seed::root(1).index(place).stream());
            views.into_iter().map(move |view| (place, view))
        })
        .collect();
    let normalisation = Normalisation::SEWER_ML;
    let uploaded = Images::upload(&images, device)?;

    let found = uploaded.views(&draws, &normalisation, DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let (mut different, mut furthest) = (0_usize, 0_f32);
    for ((place, view), found) in draws.iter().zip(found.chunks_exact(3 * side * side)) {
        let mut expected = vec![0.0; found.len()];
        to_normalised(&view.apply(&images[*place]), &normalisation, &mut expected);
        for (channel, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let levels = (found - expected).abs() * normalisation.std[channel % 3] * 255.0;
            different += usize::from(levels > 0.01);
            furthest = furthest.max(levels);
        }
    }
    // In sixteen bits the same, rounded.
    let rounded = |tensor: Tensor| -> Result<Vec<f32>> {
        Ok(tensor.to_dtype(DType::BF16)?.to_dtype(DType::F32)?.to_vec1()?)
    };
    let halves = uploaded.views(&draws, &normalisation, DType::BF16)?.flatten_all()?;
    let rounded_alike = rounded(halves)? == rounded(Tensor::new(found.as_slice(), &Device::Cpu)?)?;
    let mut rates = Vec::new();
    if !arguments.small {
        for _ in 0..BLOCKS {
            gpu.synchronize()?;
            let start = Instant::now();
            for _ in 0..CALLS {
                uploaded.views(&draws, &normalisation, DType::BF16)?;
            }
            gpu.synchronize()?;
            rates.push((CALLS * count) as f64 / start.elapsed().as_secs_f64());
        }
    }
    let mut cases = Cases::new(arguments);
    let name = format!("{count} images of {IMAGE_SIDE} px, two views of {side} px each");
    let found = json!({
        "different": different,
        "furthest_levels": furthest,
        "rounded_alike": rounded_alike,
        "equal": rounded_alike && furthest <= 1.01,
        "source_images_per_second": rates,
        "median": if rates.is_empty() { None } else { Some(median(&rates)) },
    });
    cases.take(&name, Ok(found))?;
    cases.end("views that differ from the CPU's by more than a level, or in bf16 from those in f32, rounded")
}
