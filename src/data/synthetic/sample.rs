//! Draws a scene from a seed: the pipe with everything normal in it, then its defects.
//!
//! Material, colour, light, camera, water, stains and recording are drawn before any defect and from their own
//! stream, so that they do not reveal the label. Defects only add parts (`super::defects`).

use super::{
    defects,
    draws::Draws,
    material::MaterialKind,
    patch::{Patch, PatchKind},
    pipe::Length,
    scene::Scene,
    stroke::{Shape, Stroke},
};
use crate::{
    data::{ClassSet, DefectClass},
    seed::Seed,
};

impl Scene {
    /// Draws the pipe of `seed` with every defect of `classes`.
    pub fn sample(seed: Seed, classes: ClassSet) -> Self {
        let mut scene = Self::without_defects(seed, classes);
        for class in classes.iter() {
            let severity = Self::severity(seed, class);
            let mut draws = Draws::new(seed.child(class.code()).child("shape"));
            defects::add(&mut scene, class, severity, &mut draws);
        }
        scene
    }

    /// Draws the same pipe without its defects. `classes` matters only for defects that require a certain material:
    /// reinstatement cuts and liner folds need a liner.
    pub fn without_defects(seed: Seed, classes: ClassSet) -> Self {
        let mut draws = Draws::new(seed.child("pipe"));
        let mut kind = draws.kind();
        let folds_need_liner = classes.contains(DefectClass::PF) && kind != MaterialKind::Plastic;
        if classes.contains(DefectClass::OS) || folds_need_liner {
            kind = MaterialKind::Liner;
        }
        let material = draws.material(kind);
        let mut scene = Self {
            camera: draws.camera(),
            lamp: draws.lamp(),
            lengths: vec![Length { start: -4.0, centre: [0.0; 2], radius: 1.0, taper: 0.0, material: 0 }],
            materials: vec![material],
            joints: draws.joints(kind),
            tide: draws.tide(),
            water: draws.water(),
            patches: Vec::new(),
            openings: Vec::new(),
            mounds: Vec::new(),
            blocks: Vec::new(),
            strokes: Vec::new(),
            finish: draws.finish(),
        };
        scene.add_distractors(&mut draws);
        scene
    }

    /// Returns how visible a defect of `class` is in the picture of `seed`: 0 barely visible, 1 obvious.
    pub fn severity(seed: Seed, class: DefectClass) -> f32 {
        Draws::new(seed.child(class.code()).child("severity")).unit()
    }

    /// Adds stains, dirt and faint lines that are not defects.
    fn add_distractors(&mut self, draws: &mut Draws) {
        for _ in 0..draws.below(4) {
            let colour = draws.dirt();
            self.patches.push(Patch {
                kind: PatchKind::Stain,
                turn: draws.unit(),
                z: draws.between(1.0, 5.0),
                half_turn: draws.between(0.03, 0.2),
                half_z: draws.between(0.2, 1.5),
                strength: draws.between(0.15, 0.7),
                colour,
                seed: draws.bits(),
            });
        }
        for _ in 0..draws.below(3) {
            // Scratches by earlier robots, casting lines: straight, faint, without branches.
            let (turn, start) = (draws.unit(), draws.between(0.5, 3.0));
            let (length, drift) = (draws.between(0.5, 4.0), draws.between(-0.02, 0.02));
            let points = (0..12)
                .map(|i| {
                    let s = i as f32 / 11.0;
                    self.wall(turn + drift * s, start + length * s, 0.0)
                })
                .collect();
            let light = draws.coin(0.5);
            self.strokes.push(Stroke {
                points,
                width: [draws.between(0.01, 0.03); 2],
                colour: if light { [0.9, 0.88, 0.82] } else { [0.15, 0.13, 0.11] },
                opacity: draws.between(0.1, 0.4),
                shape: Shape::Flat,
            });
        }
    }
}
