//! What a card says of the arm that it picks, which need not be the one with the highest AUROC.

use super::*;

/// AUROC of each cell with a number of seeds, whose deviation is known to be 0.01: numbers of defects and normal images
/// and seconds of one training are the cell's own.
fn known(cells: &[(Axes, f64, usize, [f64; 3])]) -> Card {
    let mut rows = FrameBuilder::default();
    for &(cell, auroc, seeds, [defects, normals, seconds]) in cells {
        for seed in 0..seeds {
            rows.begin("known", cell.converged(), Some(seed as u64));
            rows.number(Metric::Auroc, Some(auroc));
            for (measure, value) in [
                (Measure::DEFECTS, defects),
                (Measure::NORMALS, normals),
                (Measure::TRAIN_SECONDS, seconds),
                (Measure::EVALUATE_SECONDS, 0.0),
            ] {
                rows.number(measure, Some(value));
            }
        }
    }
    cards(&Evidence::assumed("known", &rows.frame(), 0.01)).remove(0)
}

/// BYOL is 0.001 above SimCLR, but SimCLR costs less.
fn cheaper() -> Card {
    known(&[
        (at(Byol), 0.801, 9, [51.0, 58.0, 90.0]),
        (at(SimClr), 0.800, 16, [40.0, 30.0, 30.0]),
        (at(Dino), 0.600, 4, [20.0, 25.0, 10.0]),
        (at(Supervised), 0.550, 2, [21.0, 26.0, 11.0]),
        (Axes::random_weights(ResNet18, FIVE), 0.5, 1, [1.0, 2.0, 3.0]),
        (Axes::random_weights(ViTTiny, FIVE), 0.52, 3, [1.0, 2.0, 3.0]),
        (Axes::given_weights(MobileNetV2, FIVE), 0.85, 4, [1.0, 2.0, 3.0]),
        (Axes::pixels(FIVE), 0.4, 1, [1.0, 2.0, 3.0]),
    ])
}

/// Leads are those of the arm that is taken, over each reference with its own seeds. By hand, with the quantile of one
/// of four arms, 2.497706 (scipy, `norm.isf(0.025 / 4)`).
#[test]
fn leads_are_of_the_arm_that_is_taken() {
    let card = cheaper();
    assert_eq!((card.arms[0].cell, card.pick().unwrap().cell), (at(Byol), at(SimClr)));
    let expected = [
        (Axes::random_weights(ResNet18, FIVE), 0.3, 1.0),
        (Axes::given_weights(MobileNetV2, FIVE), -0.05, 4.0),
        (Axes::pixels(FIVE), 0.4, 1.0),
        (at(Supervised), 0.25, 2.0),
    ];
    assert_eq!(card.leads.len(), 4, "{:?}", card.leads);
    for (lead, (over, by, seeds)) in card.leads.iter().zip(expected) {
        let half = 2.497_706 * 0.01 * f64::sqrt(1.0 / 16.0 + 1.0 / seeds);
        assert_eq!(lead.over, over);
        let Interval { estimate, low, high } = lead.difference;
        for (found, expected) in [estimate, low, high].into_iter().zip([by, by - half, by + half]) {
            assert!((found - expected).abs() < 1e-5, "{lead:?}, expected {expected}");
        }
    }
}

/// The numbers in all sentences are those of the arm that is taken, not of the one that leads.
#[test]
fn sentences_are_about_the_arm_that_is_taken() {
    let card = cheaper();
    let contest = card.contest.as_ref().unwrap();
    let lost = |method| contest.0.iter().find(|arm| arm.scored.cell == at(method)).unwrap().may_lose;
    assert!(lost(SimClr) > lost(Byol) + 0.001, "{contest:?}");
    // 1.96 x 0.01 / 4.
    assert!(
        card.sentence().starts_with(
            "At 5 % defects: take the cheapest, SimCLR on ResNet-18 (AUROC 0.800 [0.795, 0.805], 16 seeds). \
             BYOL on ResNet-18 is the same within 0.02; all others are worse."
        ),
        "{}",
        card.sentence()
    );
    assert!(card.how_sure().starts_with("settled, no other is better by more than 0.02"));
    let said = card.evidence();
    let may =
        format!("Another method may really be better by up to {:.3} AUROC (95 %), no more", lost(SimClr));
    assert!(said[0].starts_with(&may), "{said:?}, expected {may}");
    let images = card.images.unwrap();
    assert_eq!((images.defects, images.normals), (40.0, 30.0));
    let expected = auroc_error(0.8, 40.0, 30.0).unwrap();
    assert!((images.error - expected).abs() < 1e-9, "{images:?}");
    assert!(said.last().unwrap().contains("40 defects and 30 normal images"), "{said:?}");
}

/// If the arm that is taken beats all floors, as the leader does, nobody says that it does not.
#[test]
fn what_is_taken_is_asked_first_whether_it_beats_the_floors() {
    let equal = |floor: f64| {
        known(&[
            (at(Byol), 0.801, 9, [5.0, 5.0, 90.0]),
            (at(SimClr), 0.800, 9, [5.0, 5.0, 30.0]),
            (Axes::pixels(FIVE), floor, 900, [5.0; 3]),
        ])
    };
    let shown = equal(0.5);
    assert_eq!((shown.pick().unwrap().cell, shown.worth), (at(SimClr), BeatsFloors::Shown(at(SimClr))));
    assert!(shown.evidence().iter().all(|line| !line.contains("not shown")), "{:?}", shown.evidence());
    // 2.2414 errors of 0.00335 are 0.0075: only BYOL is that far above 0.793.
    let one = equal(0.793);
    assert_eq!((one.pick().unwrap().cell, one.worth), (at(SimClr), BeatsFloors::Shown(at(Byol))));
    let expected = "It is not shown to be above all features that need no training; BYOL on ResNet-18 is.";
    assert!(one.evidence().iter().any(|line| line == expected), "{:?}", one.evidence());
}

/// At any share, references are those of the share and of the backbone that is taken.
#[test]
fn references_are_of_the_share_and_backbone_that_is_taken() {
    for share in [FIVE, Share::percent(30), Share::NATURAL] {
        let own = |method| Axes::trained(method, ViTTiny, share);
        let floors = [Axes::random_weights(ResNet18, share), Axes::random_weights(ViTTiny, share)];
        let cells = [
            own(Dino),
            own(Supervised),
            Axes::trained(Byol, ResNet18, share),
            Axes::trained(Supervised, ResNet18, share),
            floors[0],
            floors[1],
            Axes::pixels(share),
        ];
        let scores = [0.9, 0.7, 0.6, 0.65, 0.5, 0.45, 0.4];
        let rows = |left_out: &[Axes]| {
            let all = cells.into_iter().zip(scores).filter(|(cell, _)| !left_out.contains(cell));
            known(&all.map(|(cell, auroc)| (cell, auroc, 2, [5.0; 3])).collect::<Vec<_>>())
        };
        let over = |card: &Card| card.leads.iter().map(|lead| lead.over).collect::<Vec<_>>();
        let card = rows(&[]);
        assert_eq!((card.share, card.pick().unwrap().cell), (share, own(Dino)));
        assert_eq!(over(&card), [floors[1], Axes::pixels(share), own(Supervised)], "{share}");
        assert!(card.missing.is_empty(), "{:?}", card.missing);
        let fewer = rows(&[own(Supervised), floors[1]]);
        assert_eq!(over(&fewer), [Axes::pixels(share)]);
        assert_eq!(
            fewer.missing,
            [
                format!("random weights on ViT-Tiny not scored (--study floors --shares {share})"),
                "supervised training on ViT-Tiny not run".to_owned()
            ]
        );
        // Supervised training is no reference of itself.
        let labelled = rows(&[own(Dino)]);
        assert_eq!(labelled.pick().unwrap().cell, own(Supervised));
        assert_eq!(over(&labelled), [floors[1], Axes::pixels(share)]);
    }
}

/// Cells of other studies are neither arms nor floors, however high they score.
#[test]
fn only_candidates_and_floors_are_on_a_card() {
    let own = [
        (at(Byol), 0.8, 3, [5.0; 3]),
        (at(SimClr).in_study(Study::FineTuned), 0.82, 3, [5.0; 3]),
        (at(Supervised), 0.7, 3, [5.0; 3]),
        (Axes::pixels(FIVE), 0.5, 3, [5.0; 3]),
    ];
    let others = [
        (at(Dino).in_study(Study::SizeMatched), 0.99, 3, [5.0; 3]),
        (at(SimClr).in_study(Study::Unseen { rank: 2 }), 0.98, 3, [5.0; 3]),
    ];
    let card = known(&own);
    assert_eq!(card.arms.iter().map(|arm| arm.cell).collect::<Vec<_>>(), [own[1].0, own[0].0, own[2].0]);
    assert_eq!(known(&[&others[..], &own].concat()), card);
}
