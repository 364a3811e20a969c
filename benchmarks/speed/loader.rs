//! From files to batches: decoding images of 720 x 720 px and two of the paper's views, on all threads.

use candle_core::{DType, Device};
use criterion::{Criterion, Throughput};
use image::{ImageFormat, RgbImage};
use skewbench::{
    augment::{Normalisation, ViewSet},
    data::{self, OnBadImage},
    loader::{Loader, Sampling},
    seed::Seed,
};

const IMAGES: usize = 16;

pub fn files(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load");
    group.sample_size(10);
    let drawn = data::synthetic::source(Seed::root(0), IMAGES, 1, 720).train;
    for (kind, format) in [("png", ImageFormat::Png), ("jpeg", ImageFormat::Jpeg)] {
        let folder = tempfile::tempdir().expect("a folder");
        for place in 0..IMAGES {
            let picture = drawn.open(place).expect("drawn images cannot be torn");
            let (width, height) = (picture.width as u32, picture.height as u32);
            let picture = RgbImage::from_raw(width, height, picture.pixels).expect("pixels fill the picture");
            // The labels are irrelevant here, but both splits need both.
            let split = if place < 2 { "validation" } else { "train" };
            let label = if place % 2 == 0 { "normal" } else { "defect" };
            let place = folder.path().join(split).join(label).join(format!("{place}.{kind}"));
            std::fs::create_dir_all(place.parent().expect("a folder")).expect("room");
            picture.save_with_format(place, format).expect("room");
        }
        let source = data::folder::source(folder.path()).expect("two folders of images");
        let indices: Vec<usize> = (0..source.train.labels().len()).collect();
        group.throughput(Throughput::Elements(indices.len() as u64));
        for side in [64, 224] {
            let view = ViewSet::paper(side).views[0];
            let loader = Loader {
                dataset: &*source.train,
                indices: &indices,
                views: &[view, view],
                normalisation: &Normalisation::SEWER_ML,
                sampling: Sampling::Each,
                repeats: 1,
                batch_size: indices.len(),
                on_bad_image: OnBadImage::Fail,
                device: &Device::Cpu,
                dtype: DType::F32,
                seed: Seed::root(0),
            };
            group.bench_function(
                format!("{} {kind} files, two views of {side} px", indices.len()),
                |bencher| {
                    bencher.iter(|| loader.once(|_| Ok(())).expect("whole images"));
                },
            );
        }
    }
    group.finish();
}
