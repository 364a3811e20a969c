//! The robot's lamp, and the light of a picture.

use super::noise::saturate;

/// Linear light of a square picture: red, green and blue planes, rows from the top.
pub type Light = [Vec<f32>; 3];

/// The ring of lamps around the lens.
#[derive(Clone, Copy, Debug)]
pub struct Lamp {
    /// Light on a white surface at the lens; 1 is full scale.
    pub exposure: f32,
    /// Distance at which light has fallen to half, in radii.
    pub reach: f32,
    /// Share of ambient light, which comes from all directions.
    pub ambient: f32,
    /// Extra brightness to the right and to the top, since lamps are never even.
    pub lean: [f32; 2],
}

impl Lamp {
    /// Returns the light that reaches a surface at `distance`: E / (1 + (t / reach)^2).
    #[inline]
    pub fn reaching(&self, distance: f32) -> f32 {
        let reach = self.reach * self.reach;
        self.exposure * reach / (reach + distance * distance)
    }

    /// Returns the share of light reflected by a white surface whose normal makes an angle of cosine `facing` with
    /// the ray.
    #[inline]
    pub fn returned(&self, facing: f32) -> f32 {
        let f = saturate(facing);
        self.ambient + (1.0 - self.ambient) * f * (2.0 - f)
    }

    /// Returns the brightness of a white surface at `distance`.
    #[inline]
    pub fn light(&self, distance: f32, facing: f32) -> f32 {
        self.reaching(distance) * self.returned(facing)
    }
}
