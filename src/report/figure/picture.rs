//! Figures as files of their own, for documents: side by side under titles, in a light and a dark theme.

use maud::{Markup, PreEscaped, html};

use super::{Drawing, round, text};
use crate::{method::Name, named::named};

named! {
    /// The background that a figure is drawn for.
    pub enum Theme: "theme" {
        /// Dark text on white.
        Light = "light",
        /// Light text on a dark page.
        Dark = "dark",
    }
}

impl Theme {
    /// Colours of page, text, secondary text, lines and supervised training: those of the page's style sheet.
    fn colours(self) -> [&'static str; 5] {
        match self {
            Self::Light => ["#ffffff", "#1c2024", "#5a626b", "#d9dde2", Name::Supervised.colour()],
            Self::Dark => ["#14171a", "#e8eaed", "#a5adb6", "#343a41", "#d3d7dd"],
        }
    }
}

/// Returns an SVG file: drawings side by side, each under its title. `about` describes the content for screen
/// readers.
pub fn picture(about: &str, drawings: &[(String, Drawing)], theme: Theme) -> String {
    const TITLE: f64 = 26.0;
    const GAP: f64 = 16.0;
    let [page, ink, soft, line, lighter] = theme.colours();
    // A dark grey, which would be invisible on a dark page.
    let supervised = Name::Supervised.colour();
    let places = drawings.iter().scan(0.0, |x, (_, drawing)| {
        let here = *x;
        *x += drawing.width + GAP;
        Some(here)
    });
    let width = drawings.iter().map(|(_, drawing)| drawing.width + GAP).sum::<f64>() - GAP;
    let height = TITLE + drawings.iter().map(|(_, drawing)| drawing.height).fold(0.0, f64::max);
    let style = format!(
        "text{{fill:{ink};font:12px system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}}.axis{{fill:{soft}}}\
         .name{{font-weight:600;font-size:14px}}.grid{{stroke:{line}}}.zero{{stroke:{soft};stroke-width:1.5}}\
         [fill=\"{supervised}\"]{{fill:{lighter}}}[stroke=\"{supervised}\"]{{stroke:{lighter}}}"
    );
    let content: Markup = html! {
        title { (about) }
        style { (PreEscaped(style)) }
        rect width="100%" height="100%" fill=(page) {}
        @for ((title, drawing), x) in drawings.iter().zip(places) {
            g transform={ "translate(" (round(x)) " 0)" } {
                (text(drawing.width / 2.0, 18.0, "middle", "name", title))
                g transform={ "translate(0 " (TITLE) ")" } { (drawing.content) }
            }
        }
    };
    let (width, height) = (round(width), round(height));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} \
         {height}\">{}</svg>\n",
        content.into_string()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawings_stand_beside_each_other_and_are_well_formed() {
        let drawing = |mark: &str| Drawing {
            caption: String::new(),
            width: 100.0,
            height: 50.0,
            content: html! { path d=(mark) {} },
        };
        let two = [("a & b".to_owned(), drawing("M0 0")), ("c".to_owned(), drawing("M1 1"))];
        for theme in Theme::ALL {
            let picture = picture("what < it shows", &two, theme);
            assert!(picture.contains("viewBox=\"0 0 216 76\""), "{picture}");
            assert!(picture.contains("translate(116 0)"), "{picture}");
            assert!(picture.contains(theme.colours()[0]) && picture.contains("a &amp; b"), "{picture}");
            assert_eq!(picture.matches("<g ").count(), picture.matches("</g>").count());
        }
    }

    /// The picture is as high as its highest drawing, and each drawing has its own place and middle.
    #[test]
    fn drawings_of_several_sizes_have_room() {
        let drawing = |width: f64, height: f64| Drawing {
            caption: String::new(),
            width,
            height,
            content: html! { path d="M0 0" {} },
        };
        let three = [(100.0, 50.0), (60.0, 90.0), (30.0, 70.0)]
            .map(|(width, height)| ("t".to_owned(), drawing(width, height)));
        let found = picture("about", &three, Theme::Light);
        // A title of 26, and gaps of 16 between drawings.
        assert!(found.contains("width=\"222\" height=\"116\" viewBox=\"0 0 222 116\""), "{found}");
        for (place, middle) in [(0, 50), (116, 30), (192, 15)] {
            let part = found.split(&format!("<g transform=\"translate({place} 0)\">")).nth(1).unwrap();
            assert!(part.starts_with(&format!("<text x=\"{middle}\" y=\"18\"")), "{part}");
        }
    }

    /// Each theme has the colours of the page's own style sheet: paper, text, axes, and lines of the grid.
    #[test]
    fn pictures_have_the_colours_of_the_page() {
        let style = include_str!("../style.css");
        let two = [(
            "t".to_owned(),
            Drawing { caption: String::new(), width: 9.0, height: 9.0, content: html! {} },
        )];
        for (theme, begin) in [(Theme::Light, ":root {"), (Theme::Dark, ":root[data-theme=\"dark\"] {")] {
            let rules = style.split(begin).nth(1).unwrap().split('}').next().unwrap();
            let of =
                |name: &str| rules.split(&format!("--{name}: ")).nth(1).unwrap().split(';').next().unwrap();
            let found = picture("about", &two, theme);
            for rule in [
                format!("height=\"100%\" fill=\"{}\"", of("page")),
                format!("text{{fill:{};", of("ink")),
                format!(".axis{{fill:{}}}", of("soft")),
                format!(".grid{{stroke:{}}}", of("line")),
                format!(".zero{{stroke:{};stroke-width:1.5}}", of("soft")),
                format!("{{fill:{}}}[stroke=", of("supervised")),
                format!("{{stroke:{}}}</style>", of("supervised")),
            ] {
                assert!(found.contains(&rule), "{theme}: no {rule} in {found}");
            }
        }
    }
}
