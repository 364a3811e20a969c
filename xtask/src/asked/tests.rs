//! Tests of what was asked for.

use clap::Parser;

use super::*;
use crate::support::alone::Standalone;

fn run(flags: &str) -> Result<Run> {
    let folder = tempfile::tempdir()?;
    Standalone::<Request>::parse_from(flags.split_whitespace()).arguments.run(Lists::Read(folder.path()))
}

/// Returns the number of seeds and the shares of a run, and whether the shares are the default.
fn told(flags: &str) -> (usize, Vec<String>, bool) {
    let Run { cells, skip_unreachable: within_reach, .. } = run(flags).unwrap();
    let seeds: BTreeSet<u64> = cells.iter().map(|cell| cell.seed).collect();
    let shares: BTreeSet<Share> = cells.iter().map(|cell| cell.share).collect();
    (seeds.len(), shares.iter().map(Share::to_string).collect(), within_reach)
}

#[test]
fn seeds_and_shares_are_those_that_were_asked_for_or_of_the_scale() {
    let floors = "--study floors --only random_weights";
    let shares = |shares: &[&str]| shares.iter().map(|&share| share.to_owned()).collect::<Vec<_>>();
    assert_eq!(told(floors), (1, shares(&["1%", "2%", "5%", "15%", "45%"]), true));
    assert_eq!(told(&format!("{floors} --quick")), (2, shares(&["5%", "45%"]), true));
    let asked = format!("{floors} --quick --seeds 3 --shares 2%");
    assert_eq!(told(&asked), (3, shares(&["2%"]), false));
}

#[test]
fn ablations_are_added_and_parts_are_taken() {
    let plain = run("--study floors --shares 45%").unwrap();
    let more = run("--study floors --shares 45% --ablations").unwrap();
    assert_eq!((plain.cells.len(), more.cells.len()), (3, 3 + 9));
    let parts =
        ["1/2", "2/2"].map(|part| run(&format!("--study floors --shares 45% --part {part}")).unwrap());
    assert_eq!(parts.map(|run| run.cells.len()), [2, 1]);
    let error = run("--study floors --shares 45% --part 4/4").map(drop).unwrap_err();
    assert!(error.is::<Idle>(), "nothing to do is no failure: {error}");
    // MAE on ResNet-18 is undefined, and is listed as such.
    let run = run("--study table1 --only mae --shares 45%").unwrap();
    let names = |cells: &[Cell]| cells.iter().map(Cell::id).collect::<Vec<_>>();
    assert_eq!(names(&run.cells), ["table1/mae-vit_tiny-share45-seed0"]);
    assert_eq!(names(&run.undefined), ["table1/mae-resnet18-share45-seed0"]);
}

#[test]
fn numbers_are_grouped_and_lists_are_short() {
    let numbers = [0, 999, 1_000, 52_800, 1_234_567];
    assert_eq!(numbers.map(thousands), ["0", "999", "1 000", "52 800", "1 234 567"]);
    let of = |cells: &[&str]| abbreviate(&cells.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>());
    assert_eq!([of(&[]), of(&["a"]), of(&["a", "b", "c"])], ["no cell", "a", "a and 2 more"]);
}

/// One epoch in batches of 64 has too few steps, five epochs in batches of 32 have enough; floors take none.
#[test]
fn short_trainings_are_told_with_what_is_enough() {
    let told = |flags: &str| {
        let run = run(flags).unwrap();
        let resolved = run.resolve().unwrap();
        let images = resolved[0].subset.indices.len();
        (run.too_few_steps(&resolved), images)
    };
    let cell = "--study table1,floors --only supervised-resnet18,random_weights --shares 45%";
    let (line, images) = told(&format!("{cell} --epochs 1 --batch-size 64"));
    let (steps, line) = (images / 64, line.expect("too few steps"));
    assert!(
        line.starts_with(&format!("1 of 3 cells train for fewer than 100 steps, the shortest for {steps}. "))
    );
    let enough = 300_usize.div_ceil(steps);
    assert!(line.contains(&format!("--epochs {enough} gives every cell 300 steps")), "{line}");
    assert_eq!(told(&format!("{cell} --epochs 5 --batch-size 32")).0, None);
    assert_eq!(told("--study floors --shares 45%").0, None);
}

#[test]
fn the_papers_protocol_has_three_seeds_and_the_cpu_can_be_asked_for() {
    assert_eq!(told("--full --study floors --only random_weights --shares 45%").0, 3);
    let asked = Standalone::<Request>::parse_from("--gpu --full --seeds 7 --only x".split(' ')).arguments;
    let plain = asked.without_gpu();
    assert!(asked.setup.gpu && !plain.setup.gpu);
    assert!(plain.setup.full && plain.seeds == Some(7) && plain.only == ["x"], "nothing else changes");
}

/// Returns a run on 27 training images, of which 9 are defects, and 9 validation images.
fn own(folder: &std::path::Path, flags: &str) -> Run {
    let data = crate::support::committed::pictures(&folder.join("data"), [24, 12]);
    run(&format!("--side 32 --data {data} {flags}")).unwrap()
}

#[test]
fn shares_out_of_reach_stop_a_run_only_if_they_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let told = |flags: &str| {
        let run = own(folder.path(), flags);
        let Outcome { resolved, stopped, left_out } = run.resolve_each().unwrap();
        let begin = |lines: Vec<String>| -> Vec<String> {
            lines.iter().map(|line| line.split_once(": ").unwrap().0.to_owned()).collect()
        };
        let found: Vec<String> = resolved.iter().map(|resolved| resolved.cell.id()).collect();
        (found, begin(stopped), begin(left_out))
    };
    // At 15 %, 18 normal images go with 3 defects, at 1 % with none; at 45 %, 9 defects go with 11 normal
    // images.
    let (found, stopped, left_out) = told("--study floors --only pixels");
    assert_eq!(found, ["pixels/none-pixels-share45-seed0", "pixels/none-pixels-share15-seed0"]);
    assert!(stopped.is_empty());
    assert!(left_out.contains(&"pixels/none-pixels-share01-seed0".to_owned()), "{left_out:?}");
    assert_eq!(left_out.len(), 3, "{left_out:?}");
    // The reason is given once for all cells that have it.
    let (found, stopped, left_out) = told("--study floors --shares 1%,natural");
    assert_eq!(found.len(), 3);
    assert_eq!(stopped, ["pixels/none-pixels-share01-seed0 and 2 more"]);
    assert!(left_out.is_empty());
    // If nothing is left to train, the run stops in any case.
    let (found, stopped, left_out) = told("--study floors --only pixels-share01");
    assert!(found.is_empty() && left_out.is_empty());
    assert_eq!(stopped, ["pixels/none-pixels-share01-seed0"]);
}

#[test]
fn what_is_left_out_is_printed_and_what_stops_is_an_error() {
    use crate::support::print::captured;
    let folder = tempfile::tempdir().unwrap();
    let run = own(folder.path(), "--study floors --only pixels");
    let told = captured::output(|| assert_eq!(run.resolve().unwrap().len(), 2));
    assert_eq!(told.lines().count(), 3, "{told}");
    assert!(told.lines().all(|line| line.starts_with("left out: pixels/none-pixels-share")), "{told}");
    let run = own(folder.path(), "--study floors --only pixels --shares 1%,natural");
    let error = run.resolve().map(drop).unwrap_err().to_string();
    assert!(error.starts_with("pixels/none-pixels-share01-seed0: "), "{error}");
}

/// By hand: 27 images in three batches of nine, for three epochs.
#[test]
fn a_run_says_what_it_trains_on_and_with() {
    use crate::support::print::captured;
    let folder = tempfile::tempdir().unwrap();
    let flags =
        "--study table1 --only supervised-resnet18 --shares natural --epochs 3 --batch-size 9 --width 5";
    let run = own(folder.path(), flags);
    let resolved = run.resolve().unwrap();
    let told = captured::output(|| run.describe(&resolved));
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines[0],
        "data    folder: train 27 images, 33.3 % defects; validation 9 images, 33.3 % defects"
    );
    let vit = run.plan.scale.vit;
    let scale = format!(
        "scale   small: 32 px, 3 epochs, batch 9, ResNet-18 width 5, ViT patch {} width {} depth {}, recipe short",
        vit.patch, vit.width, vit.depth
    );
    let [.., shown, cells, images, note] = lines[..] else { panic!("{told}") };
    assert_eq!((shown, cells), (scale.as_str(), "cells   1, 81 image passes"));
    // Hanley and McNeil's standard error for 3 defects and 6 normal images is 0.178.
    let begin = "note    validation has 3 defects and 6 normal images: an AUROC of 0.8 is known to within 0.35 at best";
    assert!(images.starts_with(begin), "{images}");
    let few = "note    1 of 1 cells train for fewer than 100 steps, the shortest for 9. ";
    assert!(note.starts_with(few) && note.contains("--epochs 100 gives every cell 300 steps"), "{note}");
}

#[test]
fn an_undefined_pair_is_told_once_with_its_reason() {
    use crate::support::print::captured;
    let run = run("--study table1 --only mae --shares 45%,5%").unwrap();
    assert_eq!(run.undefined.len(), 2);
    let told = captured::output(|| run.print_undefined());
    let reason = run.undefined[0].undefined_reason().unwrap();
    assert_eq!(told, format!("mae on resnet18: {reason}\n"));
}

#[test]
fn the_normalisation_of_weights_is_told_with_where_it_comes_from() {
    use skewbench::{backbone::Parameters, backbone::import::Weights};
    let init = |normalisation, says_so| Init {
        path: "x.pth".into(),
        digest: String::new(),
        weights: Weights::from_parameters("x.pth".as_ref(), &Parameters::default()),
        normalisation,
        normalisation_from_header: says_so,
    };
    let told = |normalisation, says_so| normalised_by(&init(normalisation, says_so));
    let imagenet = "pixels normalised by mean [0.485, 0.456, 0.406] and deviation [0.229, 0.224, 0.225], as ";
    assert_eq!(told(Normalisation::IMAGENET, true), format!("{imagenet}the file says"));
    assert_eq!(told(Normalisation::IMAGENET, false), format!("{imagenet}--normalisation says"));
    assert!(told(Normalisation::SEWER_ML, true).ends_with(", as the file says"));
    assert!(
        told(Normalisation::SEWER_ML, false).ends_with(
            ", as in all training here, since the file does not state it; --normalisation sets it"
        )
    );
}

/// By hand: 27 images fit in one batch of 64, so three epochs have three steps each; two cells see 81 images each.
#[test]
fn a_run_of_several_cells_is_summed_up() {
    use crate::support::print::captured;
    let folder = tempfile::tempdir().unwrap();
    let flags =
        "--study table1,floors --only supervised-resnet18,simclr-vit_tiny,pixels --shares natural --epochs 3";
    let run = own(folder.path(), &format!("{flags} --batch-size 64"));
    let resolved = run.resolve().unwrap();
    let told = captured::output(|| run.describe(&resolved));
    let line = |begin: &str| told.lines().find(|line| line.starts_with(begin)).unwrap_or_default();
    assert_eq!(line("cells "), "cells   3, 162 image passes");
    let few = "note    2 of 3 cells train for fewer than 100 steps, the shortest for 3. That teaches a network next to nothing: \
               do not choose a method by these scores. Take more images, or train longer: --epochs 300 gives every \
               cell 300 steps";
    assert_eq!(told.lines().last(), Some(few));
}

/// By hand: at 45 %, 9 defects go with 11 normal images, in five batches of four; all 27 images fill six.
#[test]
fn the_shortest_training_says_how_long_all_must_be() {
    let folder = tempfile::tempdir().unwrap();
    let flags = "--study table1 --only supervised-resnet18 --shares natural,45% --epochs 1 --batch-size 4";
    let run = own(folder.path(), flags);
    let told = run.too_few_steps(&run.resolve().unwrap()).unwrap();
    let begin = "2 of 2 cells train for fewer than 100 steps, the shortest for 5. ";
    assert!(told.starts_with(begin) && told.contains("--epochs 60 gives every cell 300 steps"), "{told}");
}

/// Nobody chose the numbers of labels and the classes, so those that the data do not have are left out, even at a
/// share that was asked for. Of 9 defects, budgets of 20 and 100 cannot be labelled; the pictures have no classes.
#[test]
fn budgets_and_classes_that_the_data_lack_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let run =
        own(folder.path(), "--study table1,label_budgets,unseen --only supervised-resnet18 --shares natural");
    let Outcome { resolved, stopped, left_out } = run.resolve_each().unwrap();
    let found: Vec<&str> = resolved.iter().map(|resolved| resolved.cell.study.id()).collect();
    assert_eq!((found, stopped.len()), (vec!["extension", "label_budget"], 0), "{stopped:?}");
    let told = left_out.join("\n");
    for cell in ["label_budget/", "unseen/"] {
        assert!(left_out.iter().any(|line| line.starts_with(cell)), "{cell}: {told}");
    }
}

/// One file for two purposes, another that nothing starts from.
#[test]
fn files_of_weights_are_told_with_what_becomes_of_them() {
    use skewbench::{backbone::Name::ResNet18, experiment, method::Name::SimClr, seed::Seed};

    use crate::support::print::captured;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let cell =
        Cell { study: Study::Extension, method: SimClr, backbone: ResNet18, share: Share::NATURAL, seed: 0 };
    let plan = Plan::new(Scale { resnet_width: 5, ..Scale::small() });
    let model = experiment::build(&cell, &plan, 1.0, Seed::root(3)).unwrap();
    let header = Normalisation::IMAGENET.notes();
    std::fs::write(&path, model.parameters().to_safetensors(&header).unwrap()).unwrap();
    let (path, cells) = (path.display(), "--width 5 --shares natural --study table1,floors --only");
    let told = |flags: &str| {
        let run = own(folder.path(), flags);
        let resolved = run.resolve().unwrap();
        let lines = run.first_weights(&resolved);
        let printed = captured::output(|| run.describe(&resolved));
        let printed: Vec<String> = printed.lines().map(str::to_owned).collect();
        let begin = printed.iter().position(|line| line.starts_with("weights ")).unwrap_or(0);
        for (place, line) in lines.iter().enumerate() {
            let expected = format!("{}{line}", if place == 0 { "weights " } else { "        " });
            assert_eq!(printed[begin + place], expected);
        }
        assert_eq!(printed.iter().filter(|line| line.starts_with("weights ")).count(), lines.len().min(1));
        lines
    };
    let pixels = "pixels normalised by mean [0.485, 0.456, 0.406] and deviation [0.229, 0.224, 0.225], as the file says";
    let init = told(&format!("{cells} simclr-resnet18,random_weights --init {path}"));
    assert_eq!(init[..2], [format!("{path} into ResNet-18"), pixels.to_owned()]);
    assert!(
        init.len() > 2 && init[2..].iter().any(|line| line.contains("head")),
        "heads are ignored: {init:?}"
    );
    let both =
        told(&format!("{cells} simclr-resnet18,byol-resnet18,given_weights --init {path} --frozen {path}"));
    let frozen = [&[format!("{path} into ResNet-18, scored as they are")][..], &init[1..]].concat();
    assert_eq!(both, [init.clone(), frozen.clone()].concat(), "once for all methods");
    let unused = told(&format!("{cells} random_weights --init {path}"));
    let expected =
        format!("{path}: no cell of this run starts from these weights; --frozen scores them unchanged");
    assert_eq!(unused, [expected]);
    let scored = told(&format!("{cells} given_weights --init {path} --frozen {path}"));
    assert_eq!(scored, [&frozen[..], &unused].concat(), "a floor does not start from it");
    assert!(told(&format!("{cells} random_weights")).is_empty());
    let data = crate::support::committed::pictures(&folder.path().join("data"), [24, 12]);
    let expected = "--epochs 0 with --init would show the file's weights under the names of methods; --frozen scores them \
                    under their own";
    for only in ["simclr-resnet18", "simclr-resnet18,random_weights"] {
        let flags = format!("--side 32 --data {data} {cells} {only} --init {path} --epochs 0");
        assert_eq!(run(&flags).map(drop).unwrap_err().to_string(), expected, "{only}");
    }
    assert_eq!(
        told(&format!("{cells} random_weights --init {path} --epochs 0")).len(),
        1,
        "floors train nothing"
    );
}

/// What is asked about files reaches the data.
#[test]
fn flags_about_files_are_handed_on() {
    let folder = tempfile::tempdir().unwrap();
    let flags = "--study floors --only pixels --shares natural";
    let grouped = own(folder.path(), &format!("{flags} --group-by [0-9][0-9]([0-9])"));
    let group = |run: &Run, index| run.sources.all().next().unwrap().train.group(index).map(str::to_owned);
    assert!(group(&grouped, 0).is_some());
    assert_eq!(group(&own(folder.path(), flags), 0), None);

    // No sample is above 4,000, so twelve bits would do.
    let deep = folder.path().join("deep");
    for (kind, number) in (0..12_u32).map(|number| (if number < 8 { "normal" } else { "defect" }, number)) {
        std::fs::create_dir_all(deep.join(kind)).unwrap();
        let grey = |x: u32, y: u32| image::Luma([((x * 37 + y * 91 + 13) * (number + 7) % 4_000) as u16]);
        let path = deep.join(kind).join(format!("{number:02}.png"));
        image::ImageBuffer::from_fn(32, 32, grey).save(path).unwrap();
    }
    let bits = |more: &str| {
        let run = run(&format!("--side 32 --data folder={} {flags} {more}", deep.display())).unwrap();
        let source = run.sources.all().next().unwrap();
        (source.sample_bits().map(|bits| bits.bits()), run.plan.sample_bits.map(|bits| bits.bits()))
    };
    assert_eq!([bits(""), bits("--sample-bits 14")], [(Some(12), None), (Some(14), Some(14))]);

    // One picture of validation is a copy of one of training.
    let [data, out] = ["given", "out"].map(|name| folder.path().join(name));
    for (split, counts) in [("train", [12, 6]), ("validation", [8, 5])] {
        crate::support::committed::pictures(&data.join(split), counts);
        for kind in ["normal", "defect"] {
            for entry in std::fs::read_dir(data.join(split).join(kind)).unwrap().map(Result::unwrap) {
                // Others than those of the other split.
                let number = entry.file_name().to_string_lossy()[..3].parse::<u8>().unwrap();
                if split == "validation" && number != 0 {
                    let shade = image::Rgb([20 * number, 255 - 9 * number, 7]);
                    let draw = |x: u32, y: u32| {
                        if (x * 7 + y * u32::from(number)) % 11 < 5 { shade } else { image::Rgb([3; 3]) }
                    };
                    image::RgbImage::from_fn(32, 32, draw).save(entry.path()).unwrap();
                }
            }
        }
    }
    let open = |flags: &str, lists: Lists| {
        let flags =
            format!("--study floors --only pixels --shares natural --data folder={} {flags}", data.display());
        Standalone::<Request>::parse_from(flags.split_whitespace()).arguments.run(lists).unwrap()
    };
    let leak = |line: &String| {
        line.contains("--on-leak accept continues, and notes it in the records and on the page")
    };
    let examined = open("", Lists::Kept(&out));
    let Outcome { stopped, resolved, .. } = examined.resolve_each().unwrap();
    assert!(stopped.iter().any(leak) && resolved.len() == 1, "{stopped:?}");
    assert!(examined.resolve().is_err());
    let accepted = open("--on-leak accept", Lists::Kept(&out));
    assert!(accepted.resolve_each().unwrap().stopped.is_empty());
    let limits = &accepted.sources.all().next().unwrap().limits;
    assert!(limits.iter().any(|line| line.starts_with("accepted: ")), "{limits:?}");
    assert!(open("", Lists::Read(&out)).resolve_each().unwrap().stopped.is_empty(), "nobody has looked");
}
