//! Properties of normal pipes: which materials, colours, lamps, cameras and water levels occur, and how often.
//!
//! All numbers are ours. Nothing here depends on a defect, so nothing reveals the label.

use super::{
    camera::Camera,
    draws::Draws,
    finish::Finish,
    floor::Water,
    light::Lamp,
    material::{Material, MaterialKind},
    scene::{Joints, Tide},
};

impl Draws {
    /// Draws a colour of sewer dirt: from silt grey over rust to slime black.
    pub fn dirt(&mut self) -> [f32; 3] {
        const DIRT: [[f32; 3]; 5] = [
            [0.42, 0.34, 0.24],
            [0.48, 0.28, 0.13],
            [0.20, 0.17, 0.13],
            [0.58, 0.54, 0.46],
            [0.33, 0.33, 0.24],
        ];
        let (colour, gain) = (DIRT[self.below(DIRT.len())], self.between(0.8, 1.2));
        colour.map(|c| c * gain)
    }

    /// Draws the material of the pipe, with the shares given here.
    pub fn kind(&mut self) -> MaterialKind {
        let u = self.unit();
        match () {
            () if u < 0.42 => MaterialKind::Concrete,
            () if u < 0.57 => MaterialKind::Clay,
            () if u < 0.74 => MaterialKind::Plastic,
            () if u < 0.80 => MaterialKind::Brick,
            () => MaterialKind::Liner,
        }
    }

    /// Draws a pipe of `kind` in one of its usual colours.
    pub fn material(&mut self, kind: MaterialKind) -> Material {
        let (colours, contrast, gloss): (&[[f32; 3]], [f32; 2], [f32; 2]) = match kind {
            MaterialKind::Concrete => {
                (&[[0.66, 0.62, 0.54], [0.58, 0.57, 0.54], [0.68, 0.60, 0.44]], [0.6, 1.5], [0.0, 0.25])
            }
            MaterialKind::Clay => {
                (&[[0.58, 0.34, 0.22], [0.48, 0.27, 0.17], [0.63, 0.44, 0.29]], [0.6, 1.4], [0.15, 0.6])
            }
            MaterialKind::Plastic => {
                (&[[0.80, 0.46, 0.22], [0.66, 0.66, 0.66], [0.74, 0.55, 0.36]], [0.5, 1.5], [0.2, 0.6])
            }
            MaterialKind::Brick => {
                (&[[0.50, 0.30, 0.22], [0.58, 0.42, 0.30], [0.45, 0.40, 0.36]], [0.6, 1.3], [0.0, 0.2])
            }
            MaterialKind::Liner => (
                &[[0.74, 0.70, 0.56], [0.62, 0.68, 0.60], [0.72, 0.60, 0.38], [0.66, 0.68, 0.72]],
                [0.5, 1.5],
                [0.2, 0.6],
            ),
        };
        let colour = colours[self.below(colours.len())];
        let (gain, warmth) = (1.0 + self.normal(0.13), self.normal(0.05));
        Material {
            kind,
            colour: [colour[0] * gain * (1.0 + warmth), colour[1] * gain, colour[2] * gain * (1.0 - warmth)],
            contrast: self.between(contrast[0], contrast[1]),
            gloss: self.between(gloss[0], gloss[1]),
            seed: self.bits(),
        }
    }

    /// Draws a camera near the axis, occasionally panned towards a wall.
    pub fn camera(&mut self) -> Camera {
        let position = [self.normal(0.08), -0.12 + self.normal(0.09), 0.0];
        let (mut yaw, pitch, roll) = (self.normal(0.07), self.normal(0.07) - 0.02, self.normal(0.05));
        if self.coin(0.15) {
            // The operator panned the head towards a wall.
            yaw += if self.coin(0.5) { self.between(0.15, 0.45) } else { self.between(-0.45, -0.15) };
        }
        let wide = self.between(0.75, 1.05);
        let aspect = self.between(0.8, 1.1);
        Camera::new(position, f64::from(yaw), f64::from(pitch), f64::from(roll), [wide, wide * aspect])
    }

    /// Draws a slightly uneven ring of lamps.
    pub fn lamp(&mut self) -> Lamp {
        Lamp {
            exposure: (1.75 * (1.0 + self.normal(0.2))).clamp(0.9, 2.8),
            reach: self.between(1.8, 4.5),
            ambient: self.between(0.25, 0.5),
            lean: [self.normal(0.08), self.normal(0.08)],
        }
    }

    /// Draws joints at regular distances; faint if the lengths are bonded or laid in mortar.
    pub fn joints(&mut self, kind: MaterialKind) -> Joints {
        let faint = if matches!(kind, MaterialKind::Liner | MaterialKind::Brick) { 0.35 } else { 1.0 };
        Joints {
            first: self.between(1.25, 2.6),
            spacing: self.between(2.5, 9.0),
            width: self.between(0.015, 0.05),
            darkness: faint * self.between(0.35, 0.95),
        }
    }

    /// Draws a band of film below the usual flow; none in three of ten pipes.
    pub fn tide(&mut self) -> Tide {
        let colour = self.dirt();
        Tide {
            level: if self.coin(0.7) { self.between(-0.95, -0.2) } else { -1.2 },
            colour,
            strength: self.between(0.2, 0.85),
        }
    }

    /// Draws the water on the invert: from none to nearly half full.
    pub fn water(&mut self) -> Water {
        const WATERS: [[f32; 3]; 4] =
            [[0.30, 0.28, 0.22], [0.38, 0.30, 0.18], [0.20, 0.20, 0.17], [0.42, 0.42, 0.38]];
        let colour = WATERS[self.below(WATERS.len())];
        // Depth as a share of the diameter: usually at most 12 %, rarely above 30 %.
        let filling = match self.unit() {
            u if u < 0.35 => 0.0,
            u if u < 0.75 => self.between(0.02, 0.12),
            u if u < 0.96 => self.between(0.1, 0.3),
            _ => self.between(0.3, 0.45),
        };
        Water {
            level: -1.0 + 2.0 * filling,
            colour,
            murk: self.between(0.3, 0.95),
            ripple: self.between(0.0, 0.05),
            seed: self.bits(),
        }
    }

    /// Draws the settings of a recorder, usually with compression.
    pub fn finish(&mut self) -> Finish {
        let warm = self.normal(0.07) + 0.05;
        Finish {
            vignette: self.between(0.0, 0.35),
            balance: [1.0 + warm, 1.0 + self.normal(0.02), 1.0 - 1.3 * warm],
            haze: self.between(0.0, 0.05),
            tone: self.between(-0.2, 0.35),
            blur: self.between(0.0, 0.9),
            noise: self.between(0.003, 0.022),
            quantiser: if self.coin(0.85) { self.between(0.02, 0.18) } else { 0.0 },
            seed: self.bits(),
        }
    }
}
