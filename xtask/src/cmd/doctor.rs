//! `cargo xtask doctor`: finds problems before training.

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use skewbench::{
    data::{
        Dataset, OnBadImage, foreign,
        inspect::{Depth, Inspection, inspect},
    },
    experiment::Resolved,
    named::counted,
    results::{Folder, provenance},
};

use crate::{
    asked::{Lists, Outcome, Request, Run, sampled, too_few_validation_images},
    support::{notes, shared},
};

/// Check machine, data and results folder before hours of training.
///
/// Takes the flags of `reproduce` and judges what that run would do: trouble is what would stop it; everything else
/// is a note. Every image is decoded once (`--headers` reads only headers if the images have a split). Ends with
/// exit code 1 if there is trouble.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    asked: Request,

    /// Read only the headers of images: finds missing files and files that are not images, but not damaged ones.
    /// Images without a split are still decoded, because images that are alike must stay on one side
    #[arg(long)]
    headers: bool,

    /// Results folder that a run would write to; what doctor finds out about images is stored there [default: that
    /// of `reproduce`]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Troubles and notes.
#[derive(Default)]
struct Findings {
    troubles: Vec<String>,
    notes: BTreeSet<String>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let out = arguments.asked.setup.out(arguments.out.as_deref());
    let mut findings = Findings::default();
    let can_be_written = writable(&out);
    let kept = can_be_written.is_ok() && !arguments.headers;
    let run = arguments.asked.run(if kept { Lists::Kept(&out) } else { Lists::Read(&out) })?;
    machine(provenance::device_name(&run.plan.device));
    match can_be_written {
        Ok(()) => {
            println!("results  {}: can be written", out.display());
            findings.notes.extend(shared::warning(&out));
        }
        Err(error) => findings.troubles.push(format!("{error:#}")),
    }
    let Outcome { resolved, stopped, left_out } = run.resolve_each()?;
    findings.troubles.extend(stopped);
    findings.notes.extend(left_out.into_iter().map(|line| format!("left out: {line}")));
    cells(&resolved, &run, &mut findings);
    let depth = if arguments.headers { Depth::Header } else { Depth::Pixels };
    images(&run, &resolved, depth, &mut findings)?;
    if kept {
        run.sources.write_lists(&Folder::open(&out)?)?;
    }
    let notes = notes::merge(&findings.notes);
    for note in &notes {
        println!("note     {}", foreign::escape_message(note));
    }
    if findings.troubles.is_empty() {
        let notes = match notes.len() {
            0 => String::new(),
            count => format!("; {} above", counted(count, "note", "notes")),
        };
        println!("nothing stops a run{notes}");
        return Ok(());
    }
    for trouble in &findings.troubles {
        println!("PROBLEM  {}", foreign::escape_message(trouble));
    }
    bail!(
        "{} found: change what the lines above name; then run doctor again",
        counted(findings.troubles.len(), "problem", "problems")
    )
}

/// Prints the images that the cells would be trained and scored on.
fn cells(resolved: &[Resolved], run: &Run, findings: &mut Findings) {
    for source in run.sources.all() {
        for (split, dataset) in [("train", &source.train), ("validation", &source.validation)] {
            let labels = dataset.labels();
            let defects = labels.iter().filter(|labels| labels.defect).count();
            println!(
                "data     {} {split}: {} normal images, {defects} defects",
                source.name,
                labels.len() - defects
            );
        }
        sampled(source, &run.plan)
            .iter()
            .chain(&source.interpretation)
            .for_each(|line| println!("         {}", foreign::escape_message(line)));
        findings.notes.extend(source.limits.iter().cloned().chain(too_few_validation_images(source)));
    }
    findings.notes.extend(run.too_few_steps(resolved));
    let mut seen = BTreeSet::new();
    for cell in resolved {
        let (images, defects) = (cell.subset.indices.len(), cell.subset.defects);
        let line = format!(
            "{} {}: {images} images, {defects} of them defects",
            cell.cell.study.id(),
            cell.cell.share
        );
        if seen.insert(line.clone()) {
            println!("         {line}");
        }
        findings.notes.extend(cell.shares_without_scores());
    }
    for (place, line) in run.first_weights(resolved).iter().enumerate() {
        println!("{}{}", if place == 0 { "weights  " } else { "         " }, foreign::escape_message(line));
    }
    println!("cells    {}", resolved.len());
}

/// Examines every image; a bad one is trouble if the run uses it and would stop at it.
fn images(run: &Run, resolved: &[Resolved], depth: Depth, findings: &mut Findings) -> Result<()> {
    for source in run.sources.all() {
        let cells = || resolved.iter().filter(|cell| std::ptr::eq(cell.source, source));
        let train: BTreeSet<usize> = cells().flat_map(|cell| cell.subset.indices.iter().copied()).collect();
        let validation: BTreeSet<usize> = cells().flat_map(|cell| cell.validation.iter().copied()).collect();
        for (split, dataset, used) in
            [("train", &source.train, train), ("validation", &source.validation, validation)]
        {
            let found = match (dataset.files(), depth) {
                (Some(files), Depth::Pixels) => Inspection::from_examined(files),
                _ => inspect_images(split, &**dataset, depth)?,
            };
            // With full decoding, resolving has already examined the images and stopped affected cells, with its
            // own reason.
            let stops = run.plan.on_bad_image == OnBadImage::Fail && depth == Depth::Header;
            report(split, &found, &|index| stops && used.contains(&index), findings);
        }
    }
    Ok(())
}

fn machine(device: &str) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let kernels = if cfg!(target_arch = "x86_64") {
        let features: [(&str, bool); 3] = [
            ("AVX-512", std::arch::is_x86_feature_detected!("avx512f")),
            ("AVX2", std::arch::is_x86_feature_detected!("avx2")),
            ("FMA", std::arch::is_x86_feature_detected!("fma")),
        ];
        let names: Vec<_> = features.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
        if names.is_empty() { "no vector extensions: slow".to_owned() } else { names.join(", ") }
    } else {
        std::env::consts::ARCH.to_owned()
    };
    println!("machine  {threads} threads, {kernels}; device {device}");
}

fn writable(folder: &PathBuf) -> Result<()> {
    std::fs::create_dir_all(folder)
        .and_then(|()| tempfile::tempfile_in(folder).map(drop))
        .with_context(|| format!("{}: results cannot be written there", folder.display()))
}

fn inspect_images(split: &str, dataset: &dyn Dataset, depth: Depth) -> Result<Inspection> {
    let bar = ProgressBar::new(dataset.labels().len() as u64).with_style(ProgressStyle::with_template(
        "{prefix:<8} {wide_bar} {pos}/{len} images  {per_sec}  {eta_precise} left",
    )?);
    bar.set_prefix(split.to_owned());
    let found = inspect(dataset, depth, &|done| bar.set_position(done as u64));
    bar.finish_and_clear();
    Ok(found)
}

/// Prints properties of the images; `stops` says whether a bad image at a position would stop the run.
fn report(split: &str, found: &Inspection, stops: &dyn Fn(usize) -> bool, findings: &mut Findings) {
    /// Largest number of bad images that are named individually.
    const NAMED: usize = 20;
    let mut sizes: Vec<_> = found.sizes.iter().collect();
    sizes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let common: Vec<String> = sizes
        .iter()
        .take(4)
        .map(|((width, height), count)| format!("{count} of {width} x {height}"))
        .collect();
    println!("images   {split}: {} looked at, {} bad; {}", found.checked, found.bad.len(), common.join(", "));
    for (count, what) in [
        (found.turned, "turned as their EXIF orientation says"),
        (found.sixteen, "with 16-bit samples, scaled as stated above"),
    ] {
        if count > 0 {
            println!("         {count} {what}");
        }
    }
    let (stopping, others): (Vec<_>, Vec<_>) = found.bad.iter().partition(|bad| stops(bad.index));
    for bad in stopping.iter().take(NAMED) {
        findings.troubles.push(format!(
            "{}: {}",
            foreign::escape_name(&bad.location),
            foreign::escape_name(&bad.error)
        ));
    }
    if stopping.len() > NAMED {
        findings.troubles.push(format!("and {} more bad images in {split}", stopping.len() - NAMED));
    }
    for bad in others.iter().take(NAMED) {
        let [place, error] = [&bad.location, &bad.error].map(|text| foreign::escape_name(text));
        findings.notes.insert(format!("bad image in {split}: {place}: {error}"));
    }
    if others.len() > NAMED {
        findings.notes.insert(format!("and {} more bad images in {split}", others.len() - NAMED));
    }
}

#[cfg(test)]
mod tests {
    use skewbench::data::inspect::BadImage;

    use super::*;
    use crate::support::alone::Standalone;

    /// Returns the findings for `bad` bad images, at indices from 0; those below `stops` would stop the run.
    fn findings(bad: usize, stops: usize) -> Findings {
        let image = |index| BadImage { index, location: format!("{index}.png"), error: "torn".to_owned() };
        let sizes = [((64, 48), 2), ((32, 32), 5)].into();
        let bad = (0..bad).map(image).collect();
        let found = Inspection { checked: 50, bad, sizes, turned: 1, sixteen: 0 };
        let mut findings = Findings::default();
        report("train", &found, &|index| index < stops, &mut findings);
        findings
    }

    #[test]
    fn what_would_stop_the_run_is_trouble_and_the_rest_is_noted() {
        let Findings { troubles, notes } = findings(3, 1);
        assert_eq!(troubles, ["0.png: torn"]);
        let expected = ["1", "2"].map(|image| format!("bad image in train: {image}.png: torn"));
        assert_eq!(notes.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn twenty_are_named_and_the_others_are_counted() {
        let all = findings(25, 25);
        assert_eq!((all.troubles.len(), all.notes.len()), (21, 0));
        assert_eq!(all.troubles[20], "and 5 more bad images in train");
        let none = findings(23, 0);
        assert_eq!((none.troubles.len(), none.notes.len()), (0, 21));
        assert!(none.notes.contains("and 3 more bad images in train"), "{:?}", none.notes);
        let twenty = findings(20, 20);
        assert_eq!((twenty.troubles.len(), twenty.notes.len()), (20, 0), "all of them are named");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_trouble() {
        let folder = tempfile::tempdir().unwrap();
        assert!(writable(&folder.path().join("new/results")).is_ok());
        std::fs::write(folder.path().join("file"), "").unwrap();
        let error = writable(&folder.path().join("file/results")).unwrap_err().to_string();
        assert!(error.ends_with("results cannot be written there"), "{error}");
    }

    use crate::support::print::captured;

    #[test]
    fn images_are_summarised_with_their_commonest_sizes_first() {
        let sizes = [((64, 48), 2), ((32, 32), 5), ((9, 8), 4), ((7, 6), 3), ((5, 4), 1)].into();
        let image = |index| BadImage { index, location: format!("{index}.png"), error: "torn".to_owned() };
        let found = Inspection { checked: 50, bad: vec![image(3), image(4)], sizes, turned: 6, sixteen: 7 };
        let told = captured::output(|| report("train", &found, &|_| false, &mut Findings::default()));
        let expected = "images   train: 50 looked at, 2 bad; 5 of 32 x 32, 4 of 9 x 8, 3 of 7 x 6, 2 of 64 x 48\n         \
                        6 turned as their EXIF orientation says\n         \
                        7 with 16-bit samples, scaled as stated above\n";
        assert_eq!(told, expected);
        let plain = Inspection { turned: 0, sixteen: 0, ..found };
        let told = captured::output(|| report("validation", &plain, &|_| false, &mut Findings::default()));
        assert!(told.starts_with("images   validation: 50 ") && told.lines().count() == 1, "{told}");
    }

    /// Runs doctor on 24 normal images and 12 defects, a quarter of each for validation; returns its result and
    /// output.
    fn told(folder: &std::path::Path, flags: &str) -> (Result<()>, String) {
        use clap::Parser;
        let data = crate::support::committed::pictures(&folder.join("data"), [24, 12]);
        let out = folder.join("out");
        let line = format!("--data {data} --out {} --side 32 {flags}", out.display());
        let arguments = Standalone::<Arguments>::parse_from(line.split_whitespace()).arguments;
        let mut ended = Ok(());
        let told = captured::output(|| ended = run(&arguments));
        (ended, told)
    }

    #[test]
    fn what_a_run_would_train_on_is_listed_once() {
        let folder = tempfile::tempdir().unwrap();
        let flags = "--study floors,table1 --only pixels,none-resnet,supervised-resnet --shares 15%,natural";
        let (ended, told) = told(folder.path(), flags);
        assert!(ended.is_ok(), "{told}");
        for line in [
            "data     folder train: 18 normal images, 9 defects",
            "data     folder validation: 6 normal images, 3 defects",
            "         pixels 15%: 21 images, 3 of them defects",
            "         pixels natural: 27 images, 9 of them defects",
            "         random_weights natural: 27 images, 9 of them defects",
            "         table1 15%: 21 images, 3 of them defects",
            "images   train: 27 looked at, 0 bad; 27 of 32 x 32",
            "images   validation: 9 looked at, 0 bad; 9 of 32 x 32",
            "cells    6",
            "nothing stops a run; 5 notes above",
        ] {
            assert_eq!(told.lines().filter(|found| *found == line).count(), 1, "{line}: {told}");
        }
        assert!(told.starts_with("machine  ") && told.contains("; device "), "{told}");
        assert!(
            told.contains(&format!("results  {}: can be written\n", folder.path().join("out").display()))
        );
        let lists = std::fs::read_dir(folder.path().join("out")).unwrap().count();
        assert!(lists > 0, "the lists of images are kept");
    }

    /// The data are looked at all the same.
    #[test]
    fn a_results_folder_that_cannot_be_written_is_one_problem() {
        use clap::Parser;
        let folder = tempfile::tempdir().unwrap();
        let data = crate::support::committed::pictures(&folder.path().join("data"), [24, 12]);
        let out = folder.path().join("file/out").display().to_string();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let line =
            format!("--data {data} --out {out} --side 32 --study floors --only pixels --shares natural");
        let arguments = Standalone::<Arguments>::parse_from(line.split_whitespace()).arguments;
        let mut error = String::new();
        let told = captured::output(|| error = run(&arguments).unwrap_err().to_string());
        assert_eq!(error, "1 problem found: change what the lines above name; then run doctor again");
        let problem = format!("\nPROBLEM  {out}: results cannot be written there: ");
        assert!(told.contains(&problem) && !told.contains("can be written\n"), "{told}");
        assert!(
            told.contains("images   train: 27 looked at, 0 bad") && !told.contains("nothing stops"),
            "{told}"
        );
    }

    /// Of a given split whose validation is the larger part: a bad image is a problem where a cell uses it.
    #[test]
    fn a_bad_image_is_a_problem_only_if_a_cell_uses_it() {
        use clap::Parser;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        for (split, counts) in [("train", [12, 3]), ("validation", [14, 8])] {
            crate::support::committed::pictures(&data.join(split), counts);
        }
        let out = folder.path().join("out");
        let line = format!(
            "--data folder={} --out {} --side 32 --study floors --only pixels --shares 45% --headers",
            data.display(),
            out.display()
        );
        let arguments = Standalone::<Arguments>::parse_from(line.split_whitespace()).arguments;
        let looked = arguments.asked.run(Lists::Read(&out)).unwrap();
        let resolved = looked.resolve().unwrap();
        let source = looked.sources.all().next().unwrap();
        // At 45 % three defects go with three normal images, and nine are not used.
        let used = &resolved[0].subset.indices;
        let unused = (0..15).find(|index| !used.contains(index)).unwrap();
        let last = source.validation.labels().len() - 1;
        assert!(used.len() < 8 && last > 15 && resolved[0].validation.contains(&last));
        let torn = |dataset: &dyn Dataset, index: usize| {
            let name = dataset.files().unwrap().name(index).to_owned();
            let known = ["", "train", "validation"].map(|split| data.join(split).join(&name));
            let path = known.into_iter().find(|path| path.exists()).unwrap();
            let before = std::fs::read(&path).unwrap();
            std::fs::write(&path, "no image").unwrap();
            let mut ended = Ok(());
            let told = captured::output(|| ended = run(&arguments));
            std::fs::write(&path, before).unwrap();
            (ended.is_ok(), told)
        };
        let (sound, told) = torn(&*source.train, unused);
        assert!(sound && told.contains("note     bad image in train: "), "{told}");
        for (dataset, index) in [(&source.train, used[0]), (&source.validation, last)] {
            let (sound, told) = torn(&**dataset, index);
            let problems = told.lines().filter(|line| line.starts_with("PROBLEM  ")).count();
            assert!(!sound && problems == 1, "{told}");
        }
    }

    #[test]
    fn headers_alone_find_what_is_missing_and_keep_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (ended, told) = told(folder.path(), "--study floors --shares natural --headers");
        assert!(ended.is_ok() && told.contains("images   train: 27 looked at, 0 bad"), "{told}");
        assert_eq!(std::fs::read_dir(folder.path().join("out")).unwrap().count(), 0);
        let (ended, told) = self::told(folder.path(), "--study floors --shares 1%");
        let error = ended.unwrap_err().to_string();
        assert_eq!(error, "1 problem found: change what the lines above name; then run doctor again");
        assert_eq!(
            told.lines()
                .filter(|line| line.starts_with("PROBLEM  pixels/none-pixels-share01-seed0 and 2 more: "))
                .count(),
            1,
            "{told}"
        );
    }

    /// Every vector extension that this processor has is named, not only the widest.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_machine_is_told_with_all_its_extensions() {
        let has = [
            ("AVX-512", std::arch::is_x86_feature_detected!("avx512f")),
            ("AVX2", std::arch::is_x86_feature_detected!("avx2")),
            ("FMA", std::arch::is_x86_feature_detected!("fma")),
        ];
        let mut names: Vec<&str> = has.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect();
        if names.is_empty() {
            names.push("no vector extensions: slow");
        }
        let threads = std::thread::available_parallelism().unwrap();
        let expected = format!("machine  {threads} threads, {}; device a device\n", names.join(", "));
        assert_eq!(captured::output(|| machine("a device")), expected);
    }

    /// The folder exists, but nobody can make a file in it.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_is_tried_by_writing_to_it() {
        let error = writable(&"/proc/self".into()).unwrap_err().to_string();
        assert_eq!(error, "/proc/self: results cannot be written there");
    }

    /// Of 45 bad images 23 stop the run and 22 do not: twenty of each kind are named.
    #[test]
    fn further_problems_and_further_notes_are_counted_apart() {
        let Findings { troubles, notes } = findings(45, 23);
        assert_eq!((troubles.len(), notes.len()), (21, 21));
        assert_eq!(troubles[20], "and 3 more bad images in train");
        assert!(notes.contains("and 2 more bad images in train"), "{notes:?}");
    }

    /// The second half of a picture is lost: its header is as before.
    #[test]
    fn pixels_show_what_headers_do_not() {
        let folder = tempfile::tempdir().unwrap();
        for (split, counts) in [("train", [9, 3]), ("validation", [2, 2])] {
            crate::support::committed::pictures(&folder.path().join(split), counts);
        }
        let path = folder.path().join("train/normal/005.png");
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let source = skewbench::data::folder::source(folder.path()).unwrap();
        let bad = |depth| {
            let of = |dataset: &dyn Dataset| inspect_images("x", dataset, depth).unwrap().bad;
            [of(&*source.train), of(&*source.validation)].concat()
        };
        assert!(bad(Depth::Header).is_empty());
        let found = bad(Depth::Pixels);
        assert!(found.len() == 1 && found[0].location.contains("005.png"), "{found:?}");
    }

    /// At 45 % most normal images are not used, at 15 % all of them are: what stops any cell is a problem.
    #[test]
    fn an_image_that_a_later_cell_uses_is_looked_at() {
        use clap::Parser;
        let folder = tempfile::tempdir().unwrap();
        let (data, out) = (folder.path().join("data"), folder.path().join("out"));
        for (split, counts) in [("train", [12, 3]), ("validation", [14, 8])] {
            crate::support::committed::pictures(&data.join(split), counts);
        }
        let line = format!(
            "--data folder={} --out {} --side 32 --study floors --only pixels --shares 45%,15% --headers",
            data.display(),
            out.display()
        );
        let arguments = Standalone::<Arguments>::parse_from(line.split_whitespace()).arguments;
        let looked = arguments.asked.run(Lists::Read(&out)).unwrap();
        let resolved = looked.resolve().unwrap();
        let [first, later] = &resolved[..] else { panic!("{} cells", resolved.len()) };
        let is_later = |index: &&usize| !first.subset.indices.contains(index);
        let index = *later.subset.indices.iter().find(is_later).unwrap();
        let name = first.source.train.files().unwrap().name(index).to_owned();
        let known = ["", "train"].map(|split| data.join(split).join(&name));
        std::fs::write(known.iter().find(|path| path.exists()).unwrap(), "no image").unwrap();
        let mut ended = Ok(());
        let told = captured::output(|| ended = run(&arguments));
        let is_problem = |line: &&str| line.starts_with("PROBLEM  ") && line.contains(&name);
        assert_eq!((ended.is_err(), told.lines().filter(is_problem).count()), (true, 1), "{told}");
    }
}
