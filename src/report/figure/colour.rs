//! One colour and one marker per method, everywhere: those of [`Name`], or grey and a circle for no method.

use crate::method::Name;

/// Colour of a method, as CSS.
pub fn of_method(method: Option<Name>) -> &'static str {
    method.map_or("#8a8f98", Name::colour)
}

/// Path of a method's marker around (0, 0), about 8 wide.
pub fn marker(method: Option<Name>) -> &'static str {
    method.map_or("M-4.5 0A4.5 4.5 0 1 0 4.5 0A4.5 4.5 0 1 0 -4.5 0Z", Name::marker)
}

/// Fill of a heat map's cell: 0 is the page's colour, 1 the strongest. The page's text has a contrast of 4.5 or
/// more on every shade, in both themes.
pub fn heat(part: f64) -> String {
    format!("color-mix(in oklab, var(--heat) {:.0}%, var(--page))", (100.0 * part.clamp(0.0, 1.0)).round())
}

#[cfg(test)]
mod tests {
    /// Relative luminance of `#rrggbb` (WCAG 2.2).
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| -> f64 {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    fn contrast(first: &str, second: &str) -> f64 {
        let (first, second) = (luminance(first), luminance(second));
        (first.max(second) + 0.05) / (first.min(second) + 0.05)
    }

    /// WCAG requires 4.5 for text. The shades of a heat map lie between the page's colour and the strongest.
    #[test]
    fn text_can_be_read_on_every_ground_in_every_theme() {
        assert!((contrast("#000000", "#ffffff") - 21.0).abs() < 1e-9);
        let style = include_str!("../style.css");
        let themes: Vec<&str> = style.split("--page: ").skip(1).collect();
        assert_eq!(themes.len(), 3, "light, dark by choice, dark by the system");
        for theme in themes {
            let of = |name: &str| -> &str {
                let begin = if name == "page" {
                    0
                } else {
                    theme.find(&format!("--{name}: ")).unwrap() + name.len() + 4
                };
                &theme[begin..begin + 7]
            };
            for (text, ground) in [
                ("ink", "page"),
                ("ink", "panel"),
                ("ink", "heat"),
                ("soft", "page"),
                ("soft", "panel"),
                ("link", "page"),
            ] {
                let found = contrast(of(text), of(ground));
                assert!(found >= 4.5, "{text} on {ground}: {found:.2} in {}", &theme[..60]);
            }
        }
    }
}
