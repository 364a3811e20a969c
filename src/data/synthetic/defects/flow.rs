//! Effects of water: IN infiltration, AF settled and BE attached deposits, FO obstacles.

use super::{above_invert, depth, grade};
use crate::data::synthetic::{
    camera::{cross, unit},
    draws::Draws,
    floor::Mound,
    patch::{Patch, PatchKind},
    scene::Scene,
    solid::Solid,
    stroke::{Shape, Stroke},
};

/// IN: groundwater enters at a joint or a crack, runs down the wall, drips, and leaves lime or rust.
pub fn infiltration(scene: &mut Scene, severity: f32, draws: &mut Draws) {
    const LEFT_BEHIND: [[f32; 3]; 4] =
        [[0.88, 0.86, 0.80], [0.62, 0.34, 0.12], [0.20, 0.18, 0.15], [0.74, 0.60, 0.36]];
    let at_joint = draws.coin(0.65);
    let z = if at_joint { scene.joints.first } else { depth(severity, draws) };
    let colour = LEFT_BEHIND[draws.below(LEFT_BEHIND.len())];
    for _ in 0..1 + draws.below(3) {
        // From the source at clock angle `high`, down the nearer side towards the invert.
        let side = if draws.coin(0.5) { 1.0 } else { -1.0 };
        let high = draws.between(0.02, 0.22);
        let low = high + grade(severity, 0.12, 0.40) * draws.between(0.8, 1.2);
        let turn = side * 0.5 * (high + low);
        let patch = Patch {
            kind: PatchKind::Streaks,
            turn: if turn < 0.0 { turn + 1.0 } else { turn },
            z: z + draws.normal(0.05),
            half_turn: 0.5 * (low - high),
            half_z: grade(severity, 0.18, 0.7) * draws.between(0.7, 1.3),
            strength: grade(severity, 0.5, 1.0),
            colour,
            seed: draws.bits(),
        };
        scene.patches.push(patch);
    }
    for _ in 0..draws.below(1 + (10.0 * severity) as usize) {
        // Falling drops, elongated by the exposure time.
        let turn = draws.between(-0.16, 0.16);
        let top = scene.wall(turn, z + draws.normal(0.06), 0.0);
        let (fall, length) = (draws.between(0.0, 1.0), draws.between(0.08, 0.35));
        let begin = [top[0], top[1] - fall, top[2]];
        scene.strokes.push(Stroke {
            points: vec![begin, [begin[0], begin[1] - length, begin[2]]],
            width: [0.018, 0.026],
            colour: [1.3, 1.35, 1.4],
            opacity: 0.75,
            shape: Shape::Flat,
        });
    }
}

/// AF: sand, gravel or sludge heaped on the invert.
pub fn settled_deposits(scene: &mut Scene, severity: f32, draws: &mut Draws) {
    const SEDIMENTS: [[f32; 3]; 4] =
        [[0.56, 0.46, 0.32], [0.40, 0.34, 0.26], [0.62, 0.57, 0.48], [0.30, 0.25, 0.18]];
    let colour = SEDIMENTS[draws.below(SEDIMENTS.len())];
    let z = depth(severity, draws) + 0.3;
    // Material under water is not visible, so the heap reaches above the surface.
    let flooded = (scene.water.level + 1.0).max(0.0);
    let height = grade(severity, 0.10, 0.45) * draws.between(0.85, 1.15) + 0.8 * flooded;
    scene.mounds.push(Mound {
        z,
        half_length: grade(severity, 1.2, 4.0) * draws.between(0.8, 1.3),
        x: draws.normal(0.2),
        height: height.min(1.0),
        colour,
        coarseness: draws.unit(),
        seed: draws.bits(),
    });
}

/// BE: lumps of grease, lime or scale on the wall, usually along the water line.
pub fn attached_deposits(scene: &mut Scene, severity: f32, draws: &mut Draws) {
    const LUMPS: [[f32; 3]; 5] =
        [[0.80, 0.76, 0.64], [0.60, 0.48, 0.30], [0.30, 0.25, 0.19], [0.70, 0.58, 0.36], [0.52, 0.50, 0.45]];
    let colour = LUMPS[draws.below(LUMPS.len())];
    let line = draws.between(0.22, 0.36);
    for _ in 0..2 + draws.below(2 + (4.0 * severity) as usize) {
        let turn = match draws.below(5) {
            0 => above_invert(draws),
            1 | 2 => line + draws.normal(0.025),
            _ => 1.0 - line + draws.normal(0.025),
        };
        scene.patches.push(Patch {
            kind: PatchKind::Crust,
            turn,
            z: depth(severity, draws),
            half_turn: grade(severity, 0.035, 0.10) * draws.between(0.7, 1.3),
            half_z: grade(severity, 0.25, 0.9) * draws.between(0.7, 1.3),
            strength: grade(severity, 0.5, 1.1),
            colour,
            seed: draws.bits(),
        });
    }
}

/// FO: a brick, a stone or a plank on the invert, or a pipe across the bore.
pub fn obstacle(scene: &mut Scene, severity: f32, draws: &mut Draws) {
    let z = depth(severity, draws) + 0.3;
    if draws.coin(0.25) {
        let (left, right) = (draws.between(0.62, 0.9), draws.between(0.12, 0.4));
        let (from, to) = (scene.wall(left, z, 0.0), scene.wall(right, z + draws.normal(0.2), 0.0));
        let points = (0..=24)
            .map(|i| {
                let s = i as f32 / 24.0;
                [0, 1, 2].map(|k| from[k] + (to[k] - from[k]) * s)
            })
            .collect();
        let grey = draws.between(0.15, 0.6);
        scene.strokes.push(Stroke {
            points,
            width: [grade(severity, 0.08, 0.3); 2],
            colour: [grey * 1.1, grey, grey * 0.85],
            opacity: 1.0,
            shape: Shape::Round,
        });
        return;
    }
    const COLOURS: [[f32; 3]; 3] = [[0.56, 0.28, 0.18], [0.50, 0.48, 0.44], [0.55, 0.42, 0.26]];
    let what = draws.below(3);
    let size = grade(severity, 0.55, 1.25);
    let half = match what {
        0 => [0.32, 0.16, 0.17],
        1 => [draws.between(0.2, 0.38), draws.between(0.17, 0.28), draws.between(0.2, 0.32)],
        _ => [draws.between(0.5, 0.75), 0.04, 0.11],
    }
    .map(|extent| extent * if what == 2 { 0.4 + 0.6 * size } else { size });
    let heading = [
        draws.normal(1.0),
        if what == 2 { draws.normal(0.45) } else { draws.normal(0.12) },
        draws.normal(0.5),
    ];
    let first = unit(heading);
    let third = unit(cross(first, [draws.normal(0.15), 1.0, 0.0]));
    let x = draws.normal(0.18).clamp(-0.45, 0.45);
    let rest = scene.water.level.max(-(1.0 - x * x).sqrt());
    let gain = draws.between(0.75, 1.25);
    scene.blocks.push(Solid {
        centre: [x, rest + 0.8 * half[1] + if what == 2 { 0.12 } else { 0.0 }, z],
        axes: [first, cross(third, first), third],
        half,
        colour: COLOURS[what].map(|c| c * gain),
        roundness: if what == 1 { 1.0 } else { 0.12 },
        seed: draws.bits(),
    });
}
