mod picks;

use super::*;
use crate::{
    analysis::frame::FrameBuilder,
    backbone::Name::{MobileNetV2, ResNet18, ViTTiny},
    method::Name::{self, Byol, Dino, Mae, SimClr},
    seed::Seed,
};

const FIVE: Share = Share::percent(5);

/// Simulated cells, from the AUROC of each seed and the seconds of one training.
struct Drawn(FrameBuilder);

impl Drawn {
    fn new() -> Self {
        Self(FrameBuilder::default())
    }

    fn cell(mut self, cell: Axes, seconds: f64, scores: &[f64]) -> Self {
        for (seed, &score) in (0..).zip(scores) {
            self.0.begin("drawn", cell.converged(), Some(seed));
            let finite = Some(score).filter(|score| score.is_finite());
            self.0.number(Metric::Auroc, finite);
            self.0.number(Metric::AveragePrecision, finite.map(|score| score / 2.0));
            for (measure, value) in [
                (Measure::DEFECTS, 51.0),
                (Measure::NORMALS, 58.0),
                (Measure::TRAIN_SECONDS, seconds),
                (Measure::EVALUATE_SECONDS, 0.0),
            ] {
                self.0.number(measure, Some(value));
            }
        }
        self
    }

    /// Adds a cell whose seeds vary around `middle` with the deviation `spread`.
    fn about(self, cell: Axes, middle: f64, spread: f64, seeds: usize) -> Self {
        let mut stream = Seed::root(1).child(&cell.stem()).stream();
        let scores: Vec<f64> = (0..seeds).map(|_| middle + spread * stream.normal()).collect();
        self.cell(cell, 60.0, &scores)
    }

    fn floors(self, share: Share, random: f64, pixels: f64, seeds: usize) -> Self {
        self.about(Axes::random_weights(ResNet18, share), random, 0.005, seeds).cell(
            Axes::pixels(share),
            1.0,
            &[pixels],
        )
    }

    /// Adds one seed of a detector that used no label.
    fn unlabelled(mut self, cell: Axes, classifier: Classifier, auroc: f64) -> Self {
        self.0.begin("drawn", Scored { cell, classifier, validation: Share::NATURAL }, Some(0));
        self.0.number(Metric::Auroc, Some(auroc));
        self
    }

    fn cards(self) -> Vec<Card> {
        cards(&Evidence::measured("drawn", &self.0.frame()))
    }

    fn card(self) -> Card {
        let [card] = &self.cards()[..] else { panic!("one share, one card") };
        card.clone()
    }
}

fn at(method: Name) -> Axes {
    Axes::trained(method, ResNet18, FIVE)
}

/// Four arms, among which BYOL is best by far.
fn planted(seeds: usize) -> Drawn {
    let others = [(Supervised, 0.7), (SimClr, 0.72), (Dino, 0.65)];
    let drawn = others
        .into_iter()
        .fold(Drawn::new(), |drawn, (method, middle)| drawn.about(at(method), middle, 0.005, seeds));
    drawn.about(at(Byol), 0.9, 0.005, seeds).floors(FIVE, 0.6, 0.55, seeds)
}

/// The full text of a card.
fn text(card: &Card) -> String {
    let lines = [vec![card.sentence()], card.evidence()].concat().into_iter();
    lines.chain(card.what_next()).chain(card.what_is_missing()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_planted_best_is_taken() {
    let card = planted(3).card();
    assert_eq!(card.pick().unwrap().cell, at(Byol));
    let sentence = card.sentence();
    assert!(sentence.starts_with("At 5 % defects: take BYOL on ResNet-18 (AUROC 0.9"), "{sentence}");
    assert!(sentence.ends_with("], 3 seeds); all 3 others are worse."), "{sentence}");
    let over: Vec<Axes> = card.leads.iter().map(|lead| lead.over).collect();
    assert_eq!(over, [Axes::random_weights(ResNet18, FIVE), Axes::pixels(FIVE), at(Supervised)]);
    assert!(
        card.leads.iter().all(|lead| lead.difference.low > 0.1 && lead.difference.high < 0.5),
        "{:?}",
        card.leads
    );
    assert_eq!((card.worth, &card.next), (BeatsFloors::Shown(at(Byol)), &NextAction::Settled));
    assert!(card.missing.is_empty() && card.commands(&[]).is_empty(), "{:?}", card.missing);
    let said = text(&card);
    assert!(said.contains("corrected for having chosen one of 4: Bonferroni"), "{said}");
    assert!(said.contains("51 defects and 58 normal images"), "{said}");
}

/// Bonferroni by hand: with known errors, the interval of one of four arms extends 2.4977 errors to each side (scipy,
/// `norm.isf(0.025 / 4)`), that of a single arm 1.96.
#[test]
fn leads_are_corrected_for_the_choice() {
    let mut rows = FrameBuilder::default();
    for (cell, score) in [(at(Byol), 0.8), (at(SimClr), 0.7), (at(Dino), 0.6), (at(Mae), 0.5)] {
        rows.begin("known", cell.converged(), Some(0));
        rows.number(Metric::Auroc, Some(score));
    }
    let evidence = Evidence::assumed("known", &rows.frame(), 0.01);
    let [first, second] = [Byol, SimClr].map(|method| Standing::of(&evidence, at(method)).unwrap());
    for (arms, errors) in [(4, 2.4977), (1, 1.95996)] {
        let by = lead(&evidence, &first, &second, arms).difference;
        let half = errors * 0.01 * 2_f64.sqrt();
        assert!((by.high - by.estimate - half).abs() < 1e-5 && (by.estimate - by.low - half).abs() < 1e-5);
    }
}

#[test]
fn what_cannot_be_told_apart_is_named_with_seeds_that_would_settle_it() {
    let drawn = Drawn::new()
        .cell(at(Byol), 60.0, &[0.80, 0.84, 0.82])
        .cell(at(SimClr), 120.0, &[0.79, 0.81, 0.84])
        .cell(at(Dino), 60.0, &[0.60, 0.58, 0.62]);
    let card = drawn.card();
    let sentence = card.sentence();
    assert!(sentence.contains("BYOL on ResNet-18 leads (AUROC 0.820 ["), "{sentence}");
    assert!(
        sentence.ends_with("SimCLR on ResNet-18 cannot be told apart from it; all others are worse."),
        "{sentence}"
    );
    let NextAction::Seeds(step) = &card.next else { panic!("{:?}", card.next) };
    assert_eq!(step.cells, [(at(Byol), 3), (at(SimClr), 3)]);
    assert!(step.seeds > 3 && step.chance.unwrap() >= 0.8, "{step:?}");
    assert_eq!(step.trainings(), 2 * (step.seeds - 3));
    // One minute for each seed of BYOL, two for SimCLR.
    assert_eq!(step.minutes, Some(3.0 * (step.seeds - 3) as f64));
    let asked =
        format!("--study table1 --only byol-resnet18,simclr-resnet18 --shares 5% --seeds {}", step.seeds);
    let [command] = &card.commands(&[])[..] else { panic!("one command") };
    assert!(command.starts_with(&format!("cargo xtask reproduce {asked} #")), "{command}");
    // Two commands made these arms, so two commands continue them.
    let made = |command: &str, cell: Axes| RecordedCommand {
        command: command.into(),
        cells: vec![format!("{}-seed0", cell.stem())],
    };
    let commands = card.commands(&[made("x --width 8", at(Byol)), made("x", at(SimClr))]);
    let asked = |only: &str| format!("--study table1 --only {only} --shares 5% --seeds {}", step.seeds);
    assert_eq!(
        commands,
        [format!("x {}", asked("simclr-resnet18")), format!("x --width 8 {}", asked("byol-resnet18"))]
    );
}

#[test]
fn of_what_is_the_same_the_cheapest_is_taken() {
    let drawn = Drawn::new()
        .cell(at(Byol), 90.0, &[0.801, 0.802, 0.800])
        .cell(at(SimClr), 30.0, &[0.800, 0.801, 0.799])
        .cell(at(Dino), 60.0, &[0.800, 0.799, 0.802]);
    let card = drawn.card();
    assert_eq!((card.pick().unwrap().cell, &card.next), (at(SimClr), &NextAction::Settled));
    let sentence = card.sentence();
    assert!(sentence.contains("take the cheapest, SimCLR on ResNet-18"), "{sentence}");
    assert!(
        sentence.ends_with("BYOL on ResNet-18 and DINO on ResNet-18 are the same within 0.02."),
        "{sentence}"
    );
}

/// The given weights belong to another network than any that was trained.
#[test]
fn weights_from_elsewhere_are_compared_with_what_is_taken() {
    let given = Axes::given_weights(MobileNetV2, FIVE);
    let card = planted(3).cell(given, 60.0, &[0.95]).card();
    let lead = card.leads.iter().find(|lead| lead.over == given).expect("a comparison");
    assert!(lead.difference.high < 0.0, "{:?}", lead.difference);
    assert_eq!((card.pick().unwrap().cell, card.worth), (at(Byol), BeatsFloors::NotShown));
    let said = text(&card);
    let expected = "beat features that need no training: given weights, frozen, on MobileNetV2";
    assert!(said.contains(expected), "{said}");
}

/// The arm is above every floor, but by less than the spread over seeds.
#[test]
fn a_lead_within_the_noise_is_not_shown() {
    let drawn = Drawn::new().cell(at(SimClr), 60.0, &[0.70, 0.74, 0.78]).about(at(Supervised), 0.6, 0.03, 3);
    let card = drawn.floors(FIVE, 0.5, 0.72, 3).card();
    let lead = card.leads.iter().find(|lead| lead.over == Axes::pixels(FIVE)).expect("a comparison");
    assert!(lead.difference.estimate > 0.0 && lead.difference.low < 0.0, "{:?}", lead.difference);
    assert_eq!(card.worth, BeatsFloors::NotShown);
}

#[test]
fn training_that_beats_nothing_is_called_so() {
    let card = planted(3).about(Axes::random_weights(ViTTiny, FIVE), 0.95, 0.005, 3).card();
    assert_eq!(card.worth, BeatsFloors::NotShown);
    let said = text(&card);
    assert!(
        said.contains(
            "No trained model is shown to beat features that need no training: random weights on ViT-Tiny"
        ),
        "{said}"
    );
    let card = Drawn::new().about(at(SimClr), 0.6, 0.005, 3).floors(FIVE, 0.5, 0.7, 3).card();
    assert_eq!(card.worth, BeatsFloors::NotShown);
    assert!(text(&card).contains("0.700, the same for every seed"), "{}", text(&card));
    let said = text(&card);
    let before = said.split("] below raw pixels").next().unwrap();
    let words = before.rsplit(' ').take(3).map(|word| word.trim_matches(['[', ',']).parse::<f64>().unwrap());
    let [high, low, lag] = words.collect::<Vec<_>>()[..] else { panic!("{said}") };
    assert!(
        0.0 < low && low < lag && lag < high && (lag - 0.1).abs() < 0.02,
        "a lag is no negative lead: {said}"
    );
}

#[test]
fn one_seed_says_nothing_of_another() {
    let card = planted(1).card();
    assert_eq!((&card.contest, card.worth), (&None, BeatsFloors::Unknown));
    let said = text(&card);
    assert!(card.sentence().starts_with("At 5 % defects: nothing can be chosen yet."), "{said}");
    assert!(said.contains("one seed: no interval)") && !said.contains('['), "{said}");
    assert!(
        said.contains("One seed does not show how much another would differ. Run it with --seeds 3: 8 more trainings, about 8 minutes."),
        "{said}"
    );
    assert_eq!(card.commands(&[]).len(), 1);
}

#[test]
fn one_method_leaves_no_choice() {
    let card = Drawn::new().about(at(SimClr), 0.8, 0.01, 3).floors(FIVE, 0.7, 0.6, 3).card();
    let said = text(&card);
    assert!(card.sentence().contains("only SimCLR on ResNet-18 was trained (AUROC 0."), "{said}");
    assert!(card.sentence().ends_with("there is nothing to choose between."), "{said}");
    assert_eq!((card.leads.len(), &card.next), (2, &NextAction::Nothing));
    assert!(said.contains("supervised training on ResNet-18 not run"), "{said}");
    let alone = Drawn::new().about(at(SimClr), 0.8, 0.01, 1).card();
    assert!(alone.sentence().contains("one seed: no interval"), "{}", alone.sentence());
    assert!(matches!(alone.next, NextAction::First(_)), "{:?}", alone.next);
}

#[test]
fn floors_that_are_not_there_are_missing() {
    let card = Drawn::new().about(at(SimClr), 0.8, 0.01, 3).about(at(Supervised), 0.6, 0.01, 3).card();
    assert_eq!(card.worth, BeatsFloors::Unknown);
    let missing = card.what_is_missing().unwrap();
    let expected =
        "Missing: random weights on ResNet-18 and raw pixels not scored (--study floors --shares 5%).";
    assert_eq!(missing, expected);
    let floors = Drawn::new().floors(FIVE, 0.5, 0.5, 3).card();
    assert!(floors.sentence().starts_with("At 5 % defects: no trained model"), "{}", floors.sentence());
    assert_eq!((floors.evidence(), floors.what_next(), floors.pick()), (vec![], None, None));
    assert!(Drawn::new().cards().is_empty());
}

#[test]
fn what_is_no_number_is_left_out_and_said() {
    let drawn = planted(3).cell(at(Name::BarlowTwins), 60.0, &[f64::NAN; 3]).cell(
        Axes::trained(Mae, ViTTiny, FIVE),
        60.0,
        &[0.6, f64::NAN, 0.61],
    );
    let card = drawn.card();
    assert_eq!((card.arms.len(), card.pick().unwrap().cell), (5, at(Byol)));
    assert_eq!(
        card.missing,
        [
            "Barlow Twins on ResNet-18 has no AUROC of a converged probe",
            "MAE on ViT-Tiny has an AUROC of 2 seeds in 3"
        ]
    );
    let nothing = Drawn::new().cell(at(Byol), 60.0, &[f64::NAN; 2]).card();
    assert!(nothing.sentence().contains("no trained model has an AUROC"), "{}", nothing.sentence());
}

#[test]
fn any_share_has_its_card() {
    let natural = |method| Axes::trained(method, ResNet18, Share::NATURAL);
    let drawn = planted(3)
        .about(natural(SimClr), 0.8, 0.005, 3)
        .about(natural(Supervised), 0.9, 0.005, 3)
        .about(Axes::trained(SimClr, ResNet18, Share::percent(30)), 0.8, 0.005, 3);
    let cards = drawn.cards();
    let shares: Vec<Share> = cards.iter().map(|card| card.share).collect();
    assert_eq!(shares, [Share::NATURAL, FIVE, Share::percent(30)]);
    let sentence = cards[0].sentence();
    assert!(
        sentence.starts_with(
            "At the data's own share of defects: take supervised training on ResNet-18 (AUROC 0.9"
        ),
        "{sentence}"
    );
    assert!(sentence.ends_with("; the other is worse."), "{sentence}");
    let missing = cards[0].what_is_missing().unwrap();
    assert!(missing.contains("BYOL on ResNet-18 was trained at other shares only"), "{missing}");
    assert!(missing.contains("(--study floors --shares natural)"), "{missing}");
}

#[test]
fn what_needs_no_label_is_said_beside_what_does() {
    let [simclr, dino] = [SimClr, Dino].map(|method| Axes::trained(method, ResNet18, FIVE));
    let drawn = Drawn::new().about(simclr, 0.8, 0.01, 3).about(dino, 0.7, 0.01, 3);
    let card = drawn
        .unlabelled(simclr, Classifier::NormalsNeighbours, 0.61)
        .unlabelled(dino, Classifier::NormalsMahalanobis, 0.66)
        .about(Axes::trained(Supervised, ResNet18, FIVE), 0.9, 0.01, 3)
        .unlabelled(Axes::trained(Supervised, ResNet18, FIVE), Classifier::NormalsMahalanobis, 0.95)
        // Weights fine-tuned on all labels do not count either, whatever they started from.
        .about(simclr.in_study(Study::FineTuned), 0.9, 0.01, 3)
        .unlabelled(simclr.in_study(Study::FineTuned), Classifier::NormalsMahalanobis, 0.97)
        .card();
    let found = card.unlabelled.clone().unwrap();
    assert_eq!(
        (found.scored.cell, found.scored.classifier, found.among),
        (dino, Classifier::NormalsMahalanobis, 2)
    );
    let said = card.evidence().join("\n");
    assert!(
        said.contains("Without any label of a defect, the Mahalanobis distance from normal images in the features of DINO on ResNet-18 reaches AUROC 0.660"),
        "{said}"
    );
    let none = Drawn::new().about(simclr, 0.8, 0.01, 3).card();
    assert!(none.unlabelled.is_none() && !none.evidence().join(" ").contains("Without a label"));
}

#[test]
fn every_detector_is_called_by_its_own_distance() {
    for (classifier, called) in [
        (Classifier::NormalsNeighbours, "the distance to the nearest neighbours from normal images"),
        (Classifier::NormalsMahalanobis, "the Mahalanobis distance from normal images"),
        (Classifier::NormalsPatchCore, "the PatchCore distance from normal images"),
        (Classifier::NormalsPadim, "the PaDiM distance from normal images"),
    ] {
        let card =
            Drawn::new().about(at(SimClr), 0.8, 0.01, 3).unlabelled(at(SimClr), classifier, 0.6).card();
        let said = card.evidence().join("\n");
        assert!(said.contains(called) && said.contains("(the best of 1 such detectors)"), "{said}");
    }
}

/// Hanley and McNeil's example: 51 defects, 58 normal images, area 0.893, by hand 0.0325; for groups, the recorded
/// errors.
#[test]
fn test_images_move_auroc_as_their_numbers_or_their_groups_say() {
    let of = |errors: Option<[f64; 2]>| {
        let mut drawn = Drawn::new().cell(at(SimClr), 60.0, &[0.893, 0.893]);
        for (seed, error) in (0..).zip(errors.into_iter().flatten()) {
            drawn.0.begin("drawn", at(SimClr).converged(), Some(10 + seed));
            drawn.0.number(Measure::AUROC_ERROR, Some(error));
        }
        drawn.card()
    };
    let alone = of(None);
    let images = alone.images.unwrap();
    assert_eq!((images.defects, images.normals, images.grouped), (51.0, 58.0, false));
    assert!((images.error - 0.0325).abs() < 5e-5, "{images:?}");
    let said = alone.evidence().join("\n");
    let expected = "Other validation images would also change its AUROC, by about 0.033 (standard error, 51 defects and 58 \
                    normal images)";
    assert!(said.contains(expected), "{said}");
    // Root mean square of 0.01 and 0.07.
    let grouped = of(Some([0.01, 0.07]));
    assert!((grouped.images.unwrap().error - 0.05).abs() < 1e-12, "{:?}", grouped.images);
    let said = grouped.evidence().join("\n");
    assert!(
        said.contains("Other groups of validation images")
            && said.contains("0.050 (standard error over groups")
    );
}

/// The cost of an arm is its training and everything after it.
#[test]
fn an_arm_costs_its_training_and_its_evaluation() {
    let mut rows = FrameBuilder::default();
    for (seed, train, evaluate) in [(0, 100.0, 20.0), (1, 200.0, 40.0)] {
        rows.begin("x", at(SimClr).converged(), Some(seed));
        rows.number(Measure::TRAIN_SECONDS, Some(train));
        rows.number(Measure::EVALUATE_SECONDS, Some(evaluate));
    }
    let evidence = Evidence::measured("x", &rows.frame());
    assert_eq!(evidence.seconds(&at(SimClr)), Some(180.0));
    assert_eq!(evidence.seconds(&at(Byol)), None);
}

/// The evidence states how far the best arm may be above the chosen one, and which other arm is above all floors.
#[test]
fn what_may_be_lost_and_what_else_is_worth_it_is_said() {
    let open = Drawn::new()
        .cell(at(Byol), 60.0, &[0.80, 0.84, 0.82])
        .cell(at(SimClr), 120.0, &[0.79, 0.81, 0.84])
        .cell(at(Dino), 60.0, &[0.60, 0.58, 0.62])
        .card();
    let said = open.evidence().join("\n");
    assert!(said.contains("AUROC (95 %), more than the 0.02 that count as the same."), "{said}");
    assert!(!said.contains("It is not shown"), "{said}");
    let other = Card { worth: BeatsFloors::Shown(at(SimClr)), ..open };
    let expected = "It is not shown to be above all features that need no training; SimCLR on ResNet-18 is.";
    assert!(other.evidence().iter().any(|line| line == expected), "{:?}", other.evidence());
    let same = Drawn::new()
        .cell(at(Byol), 90.0, &[0.801, 0.802, 0.800])
        .cell(at(SimClr), 30.0, &[0.800, 0.801, 0.799])
        .cell(at(Dino), 60.0, &[0.800, 0.799, 0.802])
        .card();
    let said = same.evidence().join("\n");
    assert!(said.contains("AUROC (95 %), no more than the 0.02 that count as the same."), "{said}");
}

#[test]
fn times_are_said_in_units_that_fit_them() {
    let said = |minutes: Option<f64>, own: usize| {
        words::trainings(&Step { seeds: 5, cells: vec![(at(SimClr), own)], chance: None, minutes })
    };
    for (minutes, own, expected) in [
        (None, 2, "3 more trainings"),
        (Some(0.4), 4, "one more training, about a minute"),
        (Some(1.0), 4, "one more training, about a minute"),
        (Some(1.2), 4, "one more training, about 2 minutes"),
        (Some(12.1), 3, "2 more trainings, about 13 minutes"),
        (Some(119.0), 3, "2 more trainings, about 119 minutes"),
        (Some(120.0), 0, "5 more trainings, about 2.0 hours"),
        (Some(150.0), 0, "5 more trainings, about 2.5 hours"),
    ] {
        assert_eq!(said(minutes, own), expected);
    }
}

#[test]
fn an_interval_ends_where_scores_do() {
    let card = Drawn::new().cell(at(SimClr), 60.0, &[0.999, 0.96, 0.985]).floors(FIVE, 0.5, 0.5, 3).card();
    let said = text(&card);
    assert!(said.contains("AUROC 0.981 [0.9") && said.contains(", 1.000]"), "{said}");
}

#[test]
fn nothing_is_shown_where_one_arm_is_not_known() {
    let mut drawn = planted(3);
    drawn = drawn.cell(Axes::table_1(Mae, ViTTiny, FIVE), 60.0, &[0.7]);
    assert_ne!(drawn.card().worth, BeatsFloors::Unknown, "its spread is taken from the others");
}

/// With known deviations, an interval extends 1.96 of them to each side for one seed, and sqrt 3 times less for three
/// seeds.
#[test]
fn a_standing_has_its_own_scores_seeds_and_seconds() {
    let mut rows = FrameBuilder::default();
    for (seed, auroc, precision) in [(0, 0.7, 0.4), (1, 0.8, 0.5), (2, 0.9, 0.6)] {
        rows.begin("known", at(Byol).converged(), Some(seed));
        rows.number(Metric::Auroc, Some(auroc));
        rows.number(Metric::AveragePrecision, Some(precision));
        rows.number(Measure::TRAIN_SECONDS, Some(40.0));
        rows.number(Measure::EVALUATE_SECONDS, Some(2.0));
        rows.begin("known", at(Byol).in_training(), Some(seed));
        rows.number(Metric::Auroc, Some(0.1));
    }
    let evidence = Evidence::assumed("known", &rows.frame(), 0.03).with_margin(0.05);
    let found = Standing::of(&evidence, at(Byol)).unwrap();
    let half = 1.959_964 * 0.03 / 3_f64.sqrt();
    let precision = found.average_precision.unwrap();
    for (found, expected) in [
        (found.auroc.estimate, 0.8),
        (found.auroc.low, 0.8 - half),
        (found.auroc.high, 0.8 + half),
        (precision.estimate, 0.5),
        (precision.low, 0.5 - half),
    ] {
        assert!((found - expected).abs() < 1e-5, "{found}, expected {expected}");
    }
    assert_eq!((found.cell, found.seeds, found.seconds), (at(Byol), 3, Some(42.0)));
    assert_eq!(Standing::of(&evidence, at(Dino)), None);
    let [card] = &cards(&evidence)[..] else { panic!("one share") };
    assert_eq!((card.share, card.margin, &card.arms[..]), (FIVE, 0.05, &[found][..]));
}

/// An arm whose seconds are unknown counts as the most expensive, so it is not taken if another is as good.
#[test]
fn what_is_not_known_to_be_cheap_is_not_taken_for_its_price() {
    let drawn = |simclr: Option<f64>| {
        let mut rows = FrameBuilder::default();
        for (method, scores, seconds) in
            [(Byol, [0.801, 0.802, 0.800], Some(90.0)), (SimClr, [0.800, 0.801, 0.799], simclr)]
        {
            for (seed, score) in (0..).zip(scores) {
                rows.begin("x", at(method).converged(), Some(seed));
                rows.number(Metric::Auroc, Some(score));
                rows.number(Measure::TRAIN_SECONDS, seconds);
                rows.number(Measure::EVALUATE_SECONDS, Some(1.0));
            }
        }
        cards(&Evidence::measured("x", &rows.frame())).remove(0)
    };
    assert_eq!(drawn(Some(10.0)).pick().unwrap().cell, at(SimClr));
    let card = drawn(None);
    assert_eq!(card.pick().unwrap().cell, at(Byol));
    assert_eq!(card.images, None);
    assert_eq!(
        card.missing,
        [
            "random weights on ResNet-18 and raw pixels not scored (--study floors --shares 5%)",
            "supervised training on ResNet-18 not run",
            "numbers of validation images not recorded"
        ]
    );
}

/// If two arms beat all floors, the better one is named; a single unbeaten floor is enough for the answer that none
/// does.
#[test]
fn every_floor_must_be_beaten() {
    let arms = || {
        Drawn::new().about(at(SimClr), 0.80, 0.003, 3).about(at(Byol), 0.70, 0.003, 3).about(
            at(Supervised),
            0.65,
            0.003,
            3,
        )
    };
    assert_eq!(arms().floors(FIVE, 0.5, 0.5, 3).card().worth, BeatsFloors::Shown(at(SimClr)));
    for (random, pixels) in [(0.9, 0.5), (0.5, 0.9)] {
        assert_eq!(
            arms().floors(FIVE, random, pixels, 3).card().worth,
            BeatsFloors::NotShown,
            "{random} {pixels}"
        );
    }
    assert_eq!(arms().card().worth, BeatsFloors::Unknown);
}

/// Both numbers of images are needed, and both must count some.
#[test]
fn images_that_are_not_counted_say_nothing() {
    let missing = "numbers of validation images not recorded";
    for (defects, normals, known) in [
        (Some(40.0), Some(60.0), true),
        (Some(40.0), None, false),
        (None, Some(60.0), false),
        (Some(0.0), Some(60.0), false),
    ] {
        let mut rows = FrameBuilder::default();
        for (seed, auroc) in [(0, 0.7), (1, 0.72)] {
            rows.begin("x", at(Supervised).converged(), Some(seed));
            rows.number(Metric::Auroc, Some(auroc));
            rows.number(Measure::DEFECTS, defects);
            rows.number(Measure::NORMALS, normals);
        }
        let card = cards(&Evidence::measured("x", &rows.frame())).remove(0);
        assert_eq!(card.images.is_some(), known, "{defects:?} {normals:?}");
        assert_eq!(card.missing.iter().any(|line| line == missing), !known, "{:?}", card.missing);
        assert_eq!(card.evidence().join(" ").contains("40 defects and 60 normal images"), known);
    }
}

/// A method that was trained here on one backbone and elsewhere on another is missing here on that one.
#[test]
fn what_was_trained_elsewhere_is_told_backbone_by_backbone() {
    let one = Share::percent(1);
    let cards = planted(3)
        .about(Axes::trained(Byol, ViTTiny, one), 0.8, 0.005, 3)
        .about(Axes::trained(Byol, ResNet18, one).in_study(Study::FineTuned), 0.8, 0.005, 3)
        .about(Axes::trained(SimClr, ResNet18, one), 0.8, 0.005, 3)
        .cards();
    let [_, five] = &cards[..] else { panic!("two shares") };
    assert_eq!(
        five.missing,
        [
            "BYOL on ViT-Tiny was trained at other shares only",
            "BYOL, fine-tuned, on ResNet-18 was trained at other shares only"
        ]
    );
}

/// A floor that was scored but has no number is missing like an arm, and is no standing.
#[test]
fn floors_without_a_number_are_missing_too() {
    let card = planted(3).cell(Axes::given_weights(ViTTiny, FIVE), 60.0, &[f64::NAN]).card();
    assert_eq!(card.missing, ["given weights, frozen, on ViT-Tiny has no AUROC of a converged probe"]);
    assert_eq!((card.floors.len(), card.worth), (2, BeatsFloors::Shown(at(Byol))));
    let half =
        planted(3).cell(Axes::random_weights(ViTTiny, FIVE), 60.0, &[0.5, f64::NAN, 0.52, 0.51]).card();
    assert_eq!(half.missing, ["random weights on ViT-Tiny has an AUROC of 3 seeds in 4"]);
}

/// An arm beats a floor if it does so after the correction for having chosen it among all; by hand, with known
/// deviations of 0.01, a lead of 0.03 is 2.12 errors: enough for one arm (1.96), not for one of four (2.50).
#[test]
fn floors_must_be_beaten_after_the_correction() {
    let worth = |arms: &[Name]| {
        let mut rows = FrameBuilder::default();
        let cells = arms.iter().zip([0.63, 0.5, 0.4, 0.3]).map(|(method, auroc)| (at(*method), auroc));
        for (cell, auroc) in cells.chain([(Axes::random_weights(ResNet18, FIVE), 0.6)]) {
            rows.begin("known", cell.converged(), Some(0));
            rows.number(Metric::Auroc, Some(auroc));
        }
        cards(&Evidence::assumed("known", &rows.frame(), 0.01)).remove(0).worth
    };
    assert_eq!(worth(&[Byol]), BeatsFloors::Shown(at(Byol)));
    assert_eq!(worth(&[Byol, SimClr, Dino, Mae]), BeatsFloors::NotShown);
}

/// Features that were not trained count among those that need no label; of any network.
#[test]
fn floors_can_be_the_best_without_labels() {
    let given = Axes::given_weights(MobileNetV2, FIVE);
    let card = planted(3)
        .cell(given, 60.0, &[0.5])
        .unlabelled(at(Byol), Classifier::NormalsPadim, 0.7)
        .unlabelled(given, Classifier::NormalsPatchCore, 0.8)
        .unlabelled(at(SimClr), Classifier::NormalsNeighbours, 0.75)
        .card();
    let found = card.unlabelled.unwrap();
    assert_eq!(
        (found.scored.cell, found.scored.classifier, found.auroc.estimate, found.among),
        (given, Classifier::NormalsPatchCore, 0.8, 3)
    );
}
