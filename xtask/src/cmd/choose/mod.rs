//! `cargo xtask choose`: finds the best method and backbone for a data set without training the whole grid.

mod clock;
mod end;
mod rounds;

use anyhow::{Context, Result, ensure};
use skewbench::{
    analysis::{
        Axes, Scored,
        elimination::{Elimination, FIRST, Rule},
    },
    backbone,
    claims::evidence::MARGIN,
    data::Share,
    experiment::{Cell, Resolved, cell},
    results::Folder,
};

use self::{clock::Clock, rounds::Rounds};
use super::reproduce::{self, Current, Output};
use crate::{
    asked::{Lists, Run, Setup},
    support::source::Choice,
    training::estimate,
};

/// Find the best method and backbone for a data set without training the whole grid.
///
/// An arm is a method on a backbone. Every arm is first trained with two seeds, then with one more seed per round
/// as long as it may be the best: after each round the arms are compared by AUROC of the converged probe, and those
/// that are beaten, or that cannot be above the leader by more than --margin, are dropped. It ends when one arm is
/// left, when no other can be above the leader by more than the margin, or when --seeds or --hours are used up, and
/// reports which. The true best is dropped as beaten in at most 5 % of choices, over all rounds together;
/// `snapshots/choose.snap` has simulated choices. Floors (pixels, random weights) are scored first, and the choice
/// is compared with them.
///
/// Records are the same as those of `reproduce`. Stop it at any moment and run the same command: finished cells are
/// read, the same arms are dropped, and the interrupted training resumes.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask choose                                  the drawn sewer at 45 % defects, about an hour
  cargo xtask choose --data folder=my-pipes --side 128 --hours 8
  cargo xtask choose --data elpv --only simclr,barlow_twins --seeds 5 --margin 0.01
  cargo xtask choose --data csv=labels.csv --dry-run  what there is to train at most, and its hours here")]
pub struct Arguments {
    #[command(flatten)]
    setup: Setup,

    /// Defect share to train at [default: the data's own, `natural`; 45% for the drawn sewer]
    #[arg(long, alias = "shares", value_name = "SHARE")]
    share: Option<Share>,

    /// Only arms whose name contains one of these texts, such as `simclr` or `vit_tiny`
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    only: Vec<String>,

    /// The most seeds that an arm is trained with, at least 2
    #[arg(long, value_name = "MOST", default_value_t = 8)]
    seeds: usize,

    /// Start no training that would end later than H hours from now [default: no limit]
    #[arg(long, value_name = "H")]
    hours: Option<f64>,

    /// Smallest AUROC difference that matters: arms that differ by less count as the same
    #[arg(long, value_name = "AUROC", default_value_t = MARGIN)]
    margin: f64,

    #[command(flatten)]
    output: Output,

    /// Show what would be trained at most and how long that takes on this machine, then stop
    #[arg(long)]
    pub dry_run: bool,
}

/// All cells that may be trained.
struct Grid {
    share: Share,
    /// The arms, as cells of seed 0.
    arms: Vec<Cell>,
    floors: Vec<Cell>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let plan = arguments.setup.plan()?;
    let grid = Grid::new(arguments, Setup::frozen(&plan)?)?;
    let rule = Rule::new(grid.arms.len(), arguments.seeds, arguments.margin)?;
    if let Some(hours) = arguments.hours {
        ensure!(hours.is_finite() && hours > 0.0, "--hours must be above 0, found {hours}");
    }
    let out = arguments.setup.out(arguments.output.out.as_deref());
    let lists = if arguments.dry_run { Lists::Read(&out) } else { Lists::Kept(&out) };
    let run = arguments.setup.run(plan, grid.cells(arguments.seeds), lists)?;
    // Every problem that could stop a training is found here, before the first starts.
    let resolved = run.resolve().with_context(|| format!("--share {}", grid.share))?;
    grid.describe(&run, &resolved, arguments);
    if arguments.dry_run {
        return estimate::print(&resolved, &run);
    }
    let folder = Folder::open(&out)?;
    let clock = Clock::new(arguments.hours, &folder, &run, arguments.seeds);
    let current = Current::new(&out);
    let rounds = Rounds {
        resolved: &resolved,
        folder: &folder,
        keep: arguments.output.keep(),
        clock: &clock,
        run: &run,
        trained: &|| current.renew(),
    };
    rounds.ensure_readable()?;
    run.sources.write_lists(&folder)?;
    let mut records = rounds.floors(&grid.floors)?;
    let arms: Vec<Scored> = grid.arms.iter().map(scored).collect();
    let elimination = rounds.race(Elimination::new(&arms, rule), &mut records)?;
    reproduce::write_up(&folder, &out, &records)?;
    end::print(&elimination, &records, &clock, arguments)
}

impl Grid {
    /// Seeds of the random-weights floors, which cost almost nothing.
    const FLOOR_SEEDS: u64 = 3;

    /// Builds the grid. `frozen`: an encoder with weights of a file, which is another floor.
    fn new(arguments: &Arguments, frozen: Option<backbone::Name>) -> Result<Self> {
        let drawn = arguments.setup.data == Choice::Synthetic;
        let share = arguments.share.unwrap_or(if drawn { Share::percent(45) } else { Share::NATURAL });
        let mut arms = cell::paper_methods(&[share], 0);
        arms.retain(|cell| cell.undefined_reason().is_none());
        let known = names(&arms);
        if !arguments.only.is_empty() {
            arms.retain(|cell| arguments.only.iter().any(|text| name(cell).contains(text.as_str())));
        }
        ensure!(
            arms.len() >= 2,
            "nothing to choose from: --only {} leaves {}; arms are {known}",
            arguments.only.join(","),
            if arms.is_empty() { "no arm".to_owned() } else { format!("{} only", names(&arms)) }
        );
        let mut floors: Vec<Cell> =
            (0..Self::FLOOR_SEEDS).flat_map(|seed| cell::floors(&[share], seed)).collect();
        floors.extend(frozen.into_iter().flat_map(|backbone| cell::frozen(backbone, &[share], 0)));
        Ok(Self { share, arms, floors })
    }

    /// Returns floors, then arms seed by seed.
    fn cells(&self, seeds: usize) -> Vec<Cell> {
        let of_seed = |seed| self.arms.iter().map(move |arm| Cell { seed, ..*arm });
        self.floors.iter().copied().chain((0..seeds as u64).flat_map(of_seed)).collect()
    }

    fn describe(&self, run: &Run, resolved: &[Resolved], arguments: &Arguments) {
        run.describe(resolved);
        let (arms, seeds) = (self.arms.len(), arguments.seeds);
        println!(
            "choice  {arms} arms at {} defects, {} to {seeds} seeds each: {} trainings at least, {} at most; AUROC of \
             the converged probe, margin {}",
            match self.share {
                Share::NATURAL => "the data's own share of".to_owned(),
                share => share.to_string(),
            },
            FIRST,
            arms * FIRST,
            arms * seeds,
            arguments.margin
        );
    }
}

/// Returns the name that `--only` is compared with: `simclr-resnet18`.
fn name(cell: &Cell) -> String {
    format!("{}-{}", cell.method(), cell.encoder())
}

fn names(cells: &[Cell]) -> String {
    cells.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Returns the axes by which an arm is judged.
fn scored(arm: &Cell) -> Scored {
    Axes { study: arm.study, method: Some(arm.method), backbone: Some(arm.backbone), share: arm.share }
        .converged()
}

/// Returns `simclr on resnet18`.
fn in_words(at: &Scored) -> String {
    format!("{} on {}", at.cell.method_id(), at.cell.backbone_id())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser;

    use super::*;
    use crate::support::alone::Standalone;

    fn grid(flags: &str) -> Result<Grid> {
        Grid::new(&Standalone::<Arguments>::parse_from(flags.split_whitespace()).arguments, None)
    }

    #[test]
    fn arms_are_all_pairs_at_one_share_and_floors_have_three_seeds() {
        let grid = grid("").unwrap();
        // Six methods on two backbones, except MAE on ResNet-18.
        assert_eq!((grid.share, grid.arms.len()), (Share::percent(45), 11));
        let floors: Vec<String> = grid.floors.iter().map(Cell::id).collect();
        let mut expected = vec!["pixels/none-pixels-share45-seed0".to_owned()];
        for seed in 0..3 {
            let of = |backbone| format!("random_weights/none-{backbone}-share45-seed{seed}");
            expected.extend(["resnet18", "vit_tiny"].map(of));
        }
        assert_eq!(floors, expected);
        let cells = grid.cells(4);
        assert_eq!(cells.len(), 7 + 4 * 11);
        let seeds = |cells: &[Cell]| cells.iter().map(|cell| cell.seed).collect::<BTreeSet<_>>();
        assert_eq!(seeds(&cells[7..18]), BTreeSet::from([0]), "seed by seed");
        assert_eq!(seeds(&cells), (0..4).collect());
        assert!(cells.iter().all(|cell| cell.share == Share::percent(45)));
    }

    #[test]
    fn data_of_ones_own_are_taken_at_their_own_share() {
        let share = |flags| grid(flags).unwrap().share;
        assert_eq!(share("--data folder=x"), Share::NATURAL);
        assert_eq!(share("--data folder=x --share 5%"), Share::percent(5));
        assert_eq!(share("--share 2%"), Share::percent(2));
    }

    #[test]
    fn weights_from_a_file_are_one_more_floor() {
        let arguments = Standalone::<Arguments>::parse_from([""; 0]).arguments;
        let given = Grid::new(&arguments, Some(backbone::Name::MobileNetV2)).unwrap();
        let last = given.floors.last().unwrap().id();
        assert_eq!((given.floors.len(), last.as_str()), (8, "given_weights/none-mobilenet_v2-share45-seed0"));
    }

    #[test]
    fn texts_choose_arms_and_at_least_two_are_needed() {
        let names = |flags| names(&grid(flags).unwrap().arms);
        assert_eq!(names("--only simclr,byol-vit"), "simclr-resnet18, byol-vit_tiny, simclr-vit_tiny");
        for (only, left) in [("mae", "mae-vit_tiny only"), ("moco", "no arm")] {
            let error = grid(&format!("--only {only}")).map(drop).unwrap_err().to_string();
            assert!(
                error.contains(&format!("--only {only} leaves {left}; arms are supervised-resnet18")),
                "{error}"
            );
        }
    }

    #[test]
    fn an_arm_is_judged_by_its_probe_at_its_own_share() {
        let arm = grid("--share 5%").unwrap().arms[0];
        let at = scored(&arm);
        assert_eq!(at, Axes::table_1(arm.method, arm.backbone, Share::percent(5)).converged());
        assert_eq!(
            (in_words(&at), name(&arm)),
            ("supervised on resnet18".into(), "supervised-resnet18".into())
        );
    }

    #[test]
    fn a_choice_says_how_many_trainings_it_may_take() {
        use crate::support::print::captured;
        let folder = tempfile::tempdir().unwrap();
        let told = |flags: &str| {
            let flags = format!("{flags} --quick --only simclr,byol-vit --seeds 5 --margin 0.125");
            let arguments = Standalone::<Arguments>::parse_from(flags.split_whitespace()).arguments;
            let grid = Grid::new(&arguments, None).unwrap();
            let plan = arguments.setup.plan().unwrap();
            let run = arguments.setup.run(plan, Vec::new(), Lists::Read(folder.path())).unwrap();
            captured::output(|| grid.describe(&run, &[], &arguments))
        };
        let end = "2 to 5 seeds each: 6 trainings at least, 15 at most; AUROC of the converged probe, margin 0.125\n";
        let drawn = told("");
        assert!(drawn.ends_with(&format!("choice  3 arms at 45% defects, {end}")), "{drawn}");
        let natural = told("--share natural");
        assert!(
            natural.ends_with(&format!("choice  3 arms at the data's own share of defects, {end}")),
            "{natural}"
        );
    }
}
