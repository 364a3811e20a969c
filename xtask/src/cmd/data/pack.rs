//! `cargo xtask data pack`: stores the images of a source in a few large files.

use std::{path::PathBuf, time::Instant};

use anyhow::{Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use skewbench::{
    augment::resize::shrink_shorter_side,
    data::{
        Image, OnBadImage, OnLeak, SampleBits, Source,
        groups::GroupBy,
        store::{Form, Packing},
    },
    experiment::Scale,
};

use crate::{
    asked::thousands,
    support::{
        program,
        source::{Choice, Purpose, Reading},
    },
};

/// Decode images once into a few large files, which training then reads at the speed of memory.
///
/// `--data packed=DIR` trains on them. Images are reduced to a shorter side (bicubic, as in Pillow), never
/// enlarged; or their files are stored unchanged, which saves a million small reads but no decoding. Splits,
/// groups, classes and unreadable images are determined here. Stop it at any moment and run the same command:
/// complete shards are kept. Records of a packed store and of the original files belong to different data, because
/// the packed images have fewer pixels.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask data pack --data sewer-ml=/data/sewer-ml --side 256 /fast/sewer-ml-256
  cargo xtask reproduce --full --data packed=/fast/sewer-ml-256
  cargo xtask data pack --data folder=my-pipes --as-files my-pipes.store")]
pub struct Arguments {
    /// Folder to write to
    #[arg(value_name = "DIR")]
    out: PathBuf,

    #[arg(long, value_name = "SOURCE", long_help = Choice::HELP)]
    data: Choice,

    /// Pixels of the shorter side; at least the side that will be trained at. Views show only a part of an image,
    /// so a slightly larger side keeps them sharp
    #[arg(long, value_name = "PIXELS", required_unless_present = "as_files", conflicts_with = "as_files",
        value_parser = clap::value_parser!(u16).range(8..=4096))]
    side: Option<u16>,

    /// Keep the bytes of image files unchanged
    #[arg(long)]
    as_files: bool,

    /// What to do about an image that is missing or damaged: stop and name it, or leave it out and count it
    #[arg(long, value_name = "fail|skip", default_value_t)]
    on_bad_image: OnBadImage,

    /// Which images belong together, as in `reproduce`
    #[arg(long, value_name = "parent|name|PATTERN")]
    group_by: Option<GroupBy>,

    /// What to do about images or groups on both sides of the split, as in `reproduce`
    #[arg(long, value_name = "stop|accept", default_value_t)]
    on_leak: OnLeak,

    /// How many bits of 16-bit samples are in use, as in `reproduce`
    #[arg(long, value_name = "10|12|14|16")]
    sample_bits: Option<SampleBits>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { out, on_bad_image, .. } = arguments;
    if let Choice::Synthetic | Choice::Packed(_) = arguments.data {
        bail!("'{}' needs no packing: it is read at the speed of memory already", arguments.data.name())
    }
    let source = open(arguments)?;
    let side = arguments.side.map(usize::from);
    let form = side.map_or(Form::Files, Form::Pixels);
    let shrink = |image: Image| side.map_or_else(|| image.clone(), |side| shrink_shorter_side(&image, side));
    let packing =
        Packing { source: &source, folder: out, form, shrink: &shrink, on_bad_image: *on_bad_image };
    let images = source.train.labels().len() + source.validation.labels().len();
    let bar = ProgressBar::new(images as u64).with_style(ProgressStyle::with_template(
        "packing   {wide_bar} {pos}/{len} images  {per_sec}  {eta_precise} left",
    )?);
    let begun = Instant::now();
    let packed = packing.pack(&|| bar.inc(1))?;
    bar.finish_and_clear();
    println!(
        "{}: {} images, {} of them packed earlier, {} left out; {:.1} MB in {:.0} s\nuse it: {} reproduce --data packed={}",
        out.display(),
        thousands(packed.images),
        thousands(packed.earlier),
        thousands(packed.left_out),
        packed.bytes as f64 / 1e6,
        begun.elapsed().as_secs_f64(),
        program::name(),
        out.display()
    );
    Ok(())
}

/// Opens the source and examines every image.
fn open(arguments: &Arguments) -> Result<Source> {
    let reading = Reading {
        sample_bits: arguments.sample_bits,
        group_by: arguments.group_by.clone(),
        on_leak: arguments.on_leak,
        known: None,
        examine: true,
    };
    let side = arguments.side.map_or(0, usize::from);
    let source = arguments.data.open(&Scale { side, ..Scale::small() }, Purpose::Study, &reading)?;
    ensure!(
        source.leaks.is_empty(),
        "{}\n--on-leak accept continues, and notes it in the records and on the page",
        source.leaks.join("\n")
    );
    Ok(source)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;
    use image::{ImageBuffer, Luma};

    use super::*;
    use crate::support::alone::Standalone;

    /// Writes ten pipes of three images for each label: 16-bit, all different, with no sample above 4,000.
    fn pipes(folder: &Path) {
        for (label, first) in [("normal", 0_u16), ("defect", 10)] {
            std::fs::create_dir_all(folder.join(label)).unwrap();
            for (pipe, frame) in (0..10).flat_map(|pipe| (0..3).map(move |frame| (pipe, frame))) {
                let (pipe, number) = (first + pipe, 3 * (first + pipe) + frame);
                let grey = |x: u32, y: u32| {
                    Luma([((x * 37 + y * 91 + 13) * (u32::from(number) + 7) % 4_000) as u16])
                };
                let path = folder.join(label).join(format!("pipe{pipe:02}-{frame}.png"));
                ImageBuffer::from_fn(24, 24, grey).save(path).unwrap();
            }
        }
    }

    /// Opens the source that these flags request.
    fn opened(folder: &Path, flags: &[&str]) -> Result<Source> {
        let data = format!("folder={}", folder.display());
        let own = ["--data", data.as_str(), "/nowhere", "--as-files"];
        open(&Standalone::<Arguments>::parse_from([&own[..], flags].concat()).arguments)
    }

    #[test]
    fn what_packing_settles_is_what_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        pipes(folder.path());
        let plain = opened(folder.path(), &["--on-leak", "accept"]).unwrap();
        assert_eq!((plain.train.group(0), plain.sample_bits().map(|bits| bits.bits())), (None, Some(12)));
        let grouped = opened(folder.path(), &["--on-leak", "accept", "--group-by", "(pipe[0-9]+)-"]).unwrap();
        let groups = |source: &Source| {
            [&source.train, &source.validation].map(|dataset| {
                let all = (0..dataset.labels().len()).map(|index| dataset.group(index).unwrap().to_owned());
                all.collect::<std::collections::BTreeSet<String>>()
            })
        };
        let [train, validation] = groups(&grouped);
        assert!(train.is_disjoint(&validation) && train.len() + validation.len() == 20, "{train:?}");
        let bits = opened(folder.path(), &["--on-leak", "accept", "--sample-bits", "14"]).unwrap();
        assert_eq!(bits.sample_bits().map(|bits| bits.bits()), Some(14));
    }

    /// The same image is under both labels.
    #[test]
    fn leaks_stop_packing_unless_they_are_accepted() {
        let folder = tempfile::tempdir().unwrap();
        pipes(folder.path());
        let [from, to] = ["normal/pipe00-0.png", "defect/copy.png"].map(|name| folder.path().join(name));
        std::fs::copy(from, to).unwrap();
        let error = opened(folder.path(), &[]).map(drop).unwrap_err().to_string();
        assert!(error.contains("--on-leak accept continues"), "{error}");
        let accepted = opened(folder.path(), &["--on-leak", "accept"]).unwrap();
        assert!(accepted.leaks.is_empty(), "{:?}", accepted.leaks);
        assert!(accepted.limits.iter().any(|limit| limit.starts_with("accepted: ")), "{:?}", accepted.limits);
    }

    #[test]
    fn what_is_in_memory_already_is_not_packed() {
        for name in ["synthetic", "packed"] {
            let data = if name == "packed" { "packed=/nowhere" } else { name };
            let flags = ["--data", data, "/nowhere/out", "--side", "32"];
            let error = run(&Standalone::<Arguments>::parse_from(flags).arguments).unwrap_err().to_string();
            let expected = format!("'{name}' needs no packing: it is read at the speed of memory already");
            assert_eq!(error, expected);
        }
    }
}
