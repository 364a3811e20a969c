//! One colour and one marker for a method, everywhere: its own ([`Name`]), or grey and a circle for no method.

use crate::method::Name;

/// Colour of a method, as CSS.
pub fn of(method: Option<Name>) -> &'static str {
    method.map_or("#8a8f98", Name::colour)
}

/// Path of a method's marker about (0, 0), about 8 wide.
pub fn marker(method: Option<Name>) -> &'static str {
    method.map_or("M-4.5 0A4.5 4.5 0 1 0 4.5 0A4.5 4.5 0 1 0 -4.5 0Z", Name::marker)
}

/// Fill of a heat map: 0 is the page, 1 full. The page's text has a contrast of 4.5 or more on every shade, in both
/// themes.
pub fn heat(part: f64) -> String {
    format!("color-mix(in oklab, var(--heat) {:.0}%, var(--page))", (100.0 * part.clamp(0.0, 1.0)).round())
}
