//! The 17 defect classes as parts added to a scene.
//!
//! Every class is a function of (scene, severity, draws) that picks a position and adds patches, strokes, openings,
//! blocks or changed lengths of pipe. Severity, 0..1, determines size, nearness and contrast together.

mod connections;
mod flow;
mod joints;
mod wall;

use super::{draws::Draws, scene::Scene};
use crate::data::DefectClass;

/// Adds a defect of `class` to `scene`.
pub fn add(scene: &mut Scene, class: DefectClass, severity: f32, draws: &mut Draws) {
    let draw = match class {
        DefectClass::RB => wall::crack,
        DefectClass::OB => wall::surface_damage,
        DefectClass::PF => wall::production_error,
        DefectClass::DE => wall::deformation,
        DefectClass::FS => joints::displaced_joint,
        DefectClass::IS => joints::intruding_seal,
        DefectClass::RO => joints::roots,
        DefectClass::IN => flow::infiltration,
        DefectClass::AF => flow::settled_deposits,
        DefectClass::BE => flow::attached_deposits,
        DefectClass::FO => flow::obstacle,
        DefectClass::GR => connections::branch_pipe,
        DefectClass::PH => connections::chiseled,
        DefectClass::PB => connections::drilled,
        DefectClass::OS => connections::reinstatement_cut,
        DefectClass::OP => joints::transition_profile,
        DefectClass::OK => joints::construction_change,
    };
    draw(scene, severity, draws);
}

/// Interpolates from `hidden` at severity 0 to `plain` at severity 1.
fn grade(severity: f32, hidden: f32, plain: f32) -> f32 {
    hidden + (plain - hidden) * severity
}

/// Draws a visible depth; more severe defects are nearer, and therefore larger.
fn depth(severity: f32, draws: &mut Draws) -> f32 {
    let far = grade(severity, 2.7, 1.8);
    draws.between(1.15, far)
}

/// Draws a clock angle on the upper three quarters of the wall, away from the invert.
fn above_invert(draws: &mut Draws) -> f32 {
    let turn = draws.between(-0.36, 0.36);
    if turn < 0.0 { turn + 1.0 } else { turn }
}
