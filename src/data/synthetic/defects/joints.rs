//! Defects and changes where two lengths meet: FS, IS, RO, OP, OK.

use super::{above_invert, grade};
use crate::data::synthetic::{
    camera::Vec3,
    draws::Draws,
    material::MaterialKind,
    noise::band,
    scene::Scene,
    stroke::{Shape, Stroke},
};

/// FS: the next length is displaced, so that its end is visible as a crescent, and there is a gap behind the near
/// edge.
pub fn displaced_joint(scene: &mut Scene, severity: f32, draws: &mut Draws) {
    let index = scene.cut_at(scene.joints.first);
    let offset = grade(severity, 0.03, 0.20) * draws.between(0.8, 1.2);
    let angle = f64::from(draws.unit()) * core::f64::consts::TAU;
    let shift = [offset * libm::cos(angle) as f32, offset * libm::sin(angle) as f32];
    for length in &mut scene.lengths[index..] {
        length.centre = [length.centre[0] + shift[0], length.centre[1] + shift[1]];
    }
}

/// OK: from a joint, or a little behind it, the pipe has another material and another diameter.
pub fn construction_change(scene: &mut Scene, severity: f32, draws: &mut Draws) {
    let z = scene.joints.first + if draws.coin(0.3) { 0.8 } else { 0.0 };
    let index = scene.cut_at(z);
    let old = scene.materials[scene.lengths[index].material].kind;
    let kinds = [
        MaterialKind::Concrete,
        MaterialKind::Clay,
        MaterialKind::Plastic,
        MaterialKind::Liner,
        MaterialKind::Brick,
    ]
    .map(|kind| (kind != old).then_some(kind));
    let kinds: Vec<_> = kinds.into_iter().flatten().collect();
    let kind = kinds[draws.below(kinds.len())];
    let mut material = draws.material(kind);
    // At low severity, dirt hides most of the difference in colour.
    let now = scene.materials[scene.lengths[index].material].colour;
    let difference = grade(severity, 0.35, 1.0);
    material.colour = [0, 1, 2].map(|k| now[k] + (material.colour[k] - now[k]) * difference);
    let bore = 1.0 + grade(severity, 0.02, 0.14) * if draws.coin(0.6) { -1.0 } else { 1.0 };
    let made_of = scene.materials.len();
    scene.materials.push(material);
    for length in &mut scene.lengths[index..] {
        length.material = made_of;
        length.radius *= bore;
    }
}

/// OP: a tapered ring leads to a narrower or wider diameter.
pub fn transition_profile(scene: &mut Scene, severity: f32, draws: &mut Draws) {
    let begin = scene.joints.first + 0.1;
    let run = draws.between(0.35, 0.8);
    let change = grade(severity, 0.10, 0.36) * if draws.coin(0.75) { -1.0 } else { 1.0 };
    let first = scene.cut_at(begin);
    let after = scene.cut_at(begin + run);
    let kind = if draws.coin(0.5) { MaterialKind::Plastic } else { MaterialKind::Concrete };
    let material = draws.material(kind);
    let here = scene.lengths[first].material;
    let ring = scene.materials.len();
    let now = scene.materials[here].colour;
    let colour = [0, 1, 2].map(|k| 0.5 * (now[k] + material.colour[k]));
    scene.materials.push(crate::data::synthetic::material::Material { colour, ..material });
    let radius = scene.lengths[first].radius;
    for length in &mut scene.lengths[first..after] {
        length.taper = radius * change / run;
        length.radius = radius * (1.0 + change * (length.start - begin) / run);
        length.material = ring;
    }
    for length in &mut scene.lengths[after..] {
        length.radius *= 1.0 + change;
    }
}

/// IS: the rubber ring has left its groove and hangs into the pipe.
pub fn intruding_seal(scene: &mut Scene, severity: f32, draws: &mut Draws) {
    let z = scene.joints.first;
    let middle = if draws.coin(0.7) { draws.normal(0.08) } else { above_invert(draws) };
    let span = grade(severity, 0.15, 0.5) * draws.between(0.8, 1.2);
    let sag = grade(severity, 0.14, 0.65) * draws.between(0.8, 1.2);
    let skew = draws.normal(0.25);
    let forward = draws.between(0.0, 0.25);
    let steps = 36;
    let points = (0..=steps)
        .map(|i| {
            let s = 2.0 * i as f32 / steps as f32 - 1.0;
            let hang = band(1.0, s) * (1.0 + skew * s);
            let mut point = scene.wall(middle + 0.5 * span * s, z, 0.02 + 0.55 * sag * hang);
            // Gravity pulls the loose part down, and the flow pulls it along.
            point[1] -= 0.45 * sag * hang;
            point[2] -= forward * sag * hang;
            point
        })
        .collect();
    let grey = draws.between(0.04, 0.14);
    scene.strokes.push(Stroke {
        points,
        width: [draws.between(0.07, 0.12); 2],
        colour: [grey, grey, 1.05 * grey],
        opacity: 1.0,
        shape: Shape::Round,
    });
}

/// RO: tufts of fine branching roots that grow through a joint and hang into the pipe.
pub fn roots(scene: &mut Scene, severity: f32, draws: &mut Draws) {
    const BARK: [[f32; 3]; 3] = [[0.34, 0.22, 0.12], [0.50, 0.38, 0.24], [0.22, 0.14, 0.08]];
    let bark = BARK[draws.below(BARK.len())];
    for _ in 0..1 + draws.below(2) {
        let crown = draws.coin(0.6);
        let turn = if crown { draws.normal(0.1) } else { above_invert(draws) };
        let z = scene.joints.first + draws.normal(0.02);
        let spread = grade(severity, 0.03, 0.14) * draws.between(0.7, 1.4);
        let reach = grade(severity, 0.25, 1.0) * draws.between(0.7, 1.2);
        let hairs = 6 + (grade(severity, 6.0, 34.0) * draws.between(0.7, 1.2)) as usize;
        for hair in 0..hairs {
            let thick = hair < 1 + hairs / 10;
            let foot = turn + draws.normal(0.6 * spread);
            let start = scene.wall(foot, z, 0.0);
            let gain = draws.between(0.5, 1.9);
            let colour = bark.map(|c| c * gain);
            let length = reach * draws.between(0.35, 1.0);
            let width = if thick { draws.between(0.025, 0.05) } else { draws.between(0.010, 0.022) };
            strand(scene, start, length, width, colour, if thick { 2 } else { 1 }, draws);
        }
    }
}

/// Adds one root from `start`: first away from the wall, then bending down, wandering and forking.
fn strand(
    scene: &mut Scene,
    start: Vec3,
    length: f32,
    width: f32,
    colour: [f32; 3],
    forks: usize,
    draws: &mut Draws,
) {
    let steps = 9;
    let step = length / steps as f32;
    let mut heading = [
        -0.6 * start[0] + draws.normal(0.45),
        -0.6 * start[1] + draws.normal(0.35) - 0.3,
        draws.normal(0.35) - 0.4,
    ];
    let mut point = start;
    let mut points = vec![point];
    let mut fork = None;
    for i in 0..steps {
        point = [0, 1, 2].map(|k| point[k] + step * heading[k]);
        points.push(point);
        heading = [
            heading[0] + draws.normal(0.3),
            heading[1] + draws.normal(0.3) - 0.2,
            heading[2] + draws.normal(0.3),
        ];
        if i == 3 && forks > 0 {
            fork = Some(point);
        }
    }
    scene.strokes.push(Stroke {
        points,
        width: [width, 0.3 * width],
        colour,
        opacity: 0.95,
        shape: Shape::Round,
    });
    if let Some(at) = fork {
        strand(scene, at, 0.55 * length, 0.7 * width, colour, forks - 1, draws);
    }
}
