//! Damage to the wall itself: RB cracks, OB surface damage, PF production errors, DE deformation.

use super::{above_invert, depth, grade};
use crate::data::synthetic::{
    draws::Draws,
    patch::{Patch, PatchKind},
    scene::Scene,
    stroke::{Shape, Stroke},
};

/// RB: dark jagged lines along or around the pipe, with branches; severe ones include a missing piece of wall.
pub fn crack(scene: &mut Scene, severity: f32, draws: &mut Draws) {
    let (turn, z) = (above_invert(draws), depth(severity, draws));
    let width = grade(severity, 0.016, 0.055) * draws.between(0.8, 1.2);
    let trunks = 1 + draws.below(1 + (3.0 * severity) as usize);
    for trunk in 0..trunks {
        let around = draws.coin(0.45);
        let extent = grade(severity, 0.7, 3.0) * draws.between(0.7, 1.3);
        let start = if trunk == 0 { (turn, z) } else { (turn + draws.normal(0.06), z + draws.normal(0.3)) };
        let heading = if around { [1.0, draws.normal(0.2)] } else { [draws.normal(0.2), 1.0] };
        let begin = (
            start.0 - 0.5 * extent * heading[0] / core::f32::consts::TAU,
            start.1 - 0.35 * extent * heading[1],
        );
        fissure(scene, begin, heading, extent, width, 2, draws);
    }
    if severity > 0.55 && draws.coin(0.6) {
        scene.patches.push(Patch {
            kind: PatchKind::Hole,
            turn: turn.fract(),
            z,
            half_turn: grade(severity, 0.02, 0.075) * draws.between(0.8, 1.3),
            half_z: grade(severity, 0.15, 0.5) * draws.between(0.7, 1.2),
            strength: 1.0,
            colour: [0.16, 0.11, 0.07],
            seed: draws.bits(),
        });
    }
}

/// Adds a random walk on the wall from (`turn`, `z`), `extent` radii long, with `forks` levels of forks.
fn fissure(
    scene: &mut Scene,
    (mut turn, mut z): (f32, f32),
    heading: [f32; 2],
    extent: f32,
    width: f32,
    forks: usize,
    draws: &mut Draws,
) {
    let steps = 8 + (extent * 7.0) as usize;
    let step = extent / steps as f32;
    let mut points = Vec::with_capacity(steps + 1);
    let mut branches = Vec::new();
    for _ in 0..=steps {
        points.push(scene.wall(turn, z, 0.0));
        if forks > 0 && draws.coin(1.6 / steps as f64) {
            branches.push((turn, z));
        }
        turn += step * (heading[0] + draws.normal(0.75)) / core::f32::consts::TAU;
        z = (z + step * (heading[1] + draws.normal(0.75))).max(0.4);
    }
    // The broken edge reflects light beside the dark gap.
    let taper = [width, 0.45 * width];
    let spalled = Stroke {
        points: points.clone(),
        width: taper.map(|w| 2.4 * w),
        colour: [0.80, 0.75, 0.66],
        opacity: 0.22,
        shape: Shape::Flat,
    };
    let gap = Stroke { points, width: taper, colour: [0.03, 0.025, 0.02], opacity: 0.92, shape: Shape::Flat };
    scene.strokes.extend([spalled, gap]);
    for begin in branches {
        let side = if draws.coin(0.5) { 0.8 } else { -0.8 };
        let turned = [heading[0] - side * heading[1], heading[1] + side * heading[0]];
        let length = extent * draws.between(0.25, 0.5);
        fissure(scene, begin, turned, length, 0.7 * width, forks - 1, draws);
    }
}

/// OB: a surface eroded in patches, with exposed aggregate and pits.
pub fn surface_damage(scene: &mut Scene, severity: f32, draws: &mut Draws) {
    const EATEN: [[f32; 3]; 4] =
        [[0.40, 0.37, 0.30], [0.46, 0.34, 0.20], [0.34, 0.31, 0.27], [0.52, 0.46, 0.36]];
    let colour = EATEN[draws.below(EATEN.len())];
    for _ in 0..1 + draws.below(3) {
        scene.patches.push(Patch {
            kind: PatchKind::Corrosion,
            turn: above_invert(draws),
            z: depth(severity, draws) - 0.2,
            half_turn: grade(severity, 0.05, 0.22) * draws.between(0.7, 1.3),
            half_z: grade(severity, 0.35, 1.4) * draws.between(0.7, 1.3),
            strength: grade(severity, 0.45, 1.0),
            colour,
            seed: draws.bits(),
        });
    }
}

/// PF: bubbles under the skin, or a fold where a liner is not smooth.
pub fn production_error(scene: &mut Scene, severity: f32, draws: &mut Draws) {
    let folded = draws.coin(0.55);
    let count = if folded { 1 + draws.below(3) } else { 1 + draws.below(2) };
    for _ in 0..count {
        let lengthwise = draws.coin(0.5);
        let (half_turn, half_z) = match (folded, lengthwise) {
            (true, true) => (0.03, grade(severity, 0.7, 2.2)),
            (true, false) => (grade(severity, 0.12, 0.32), 0.2),
            (false, _) => (grade(severity, 0.09, 0.2), grade(severity, 0.5, 1.2)),
        };
        let stretch = draws.between(0.8, 1.25);
        scene.patches.push(Patch {
            kind: if folded { PatchKind::Fold } else { PatchKind::Blisters },
            turn: above_invert(draws),
            z: depth(severity, draws) + if lengthwise { 0.4 } else { 0.0 },
            half_turn: half_turn * stretch,
            half_z: half_z * stretch,
            strength: grade(severity, 0.3, 1.0),
            colour: [0.0; 3],
            seed: draws.bits(),
        });
    }
}

/// DE: a cross-section squeezed to an oval, or dented from one side.
pub fn deformation(scene: &mut Scene, severity: f32, draws: &mut Draws) {
    let strength = grade(severity, 0.12, 0.5);
    let turn = if draws.coin(0.6) { draws.normal(0.04) + 0.25 } else { draws.normal(0.05) };
    let z = depth(severity, draws) + 0.6;
    let half_z = draws.between(1.6, 3.5);
    let oval = draws.coin(0.6);
    let bulge = |turn: f32, half_turn: f32, seed: u32| Patch {
        kind: PatchKind::Dent,
        turn: turn
            - if turn >= 1.0 {
                1.0
            } else if turn < 0.0 {
                -1.0
            } else {
                0.0
            },
        z,
        half_turn,
        half_z,
        strength,
        colour: [0.0; 3],
        seed,
    };
    let half_turn = if oval { 0.24 } else { draws.between(0.12, 0.2) };
    scene.patches.push(bulge(turn, half_turn, draws.bits()));
    if oval {
        scene.patches.push(bulge(turn + 0.5, half_turn, draws.bits()));
    }
}
