//! The content of a page as lines of plain text that a person can check: rows of tables, sentences, and figures with
//! their marks in the units of their own axes.

use crate::{method::Name, report::figure::colour};

/// Elements that begin a line of their own.
const LINES: [&str; 20] = [
    "p",
    "li",
    "h1",
    "h2",
    "h3",
    "h4",
    "summary",
    "caption",
    "pre",
    "option",
    "label",
    "figcaption",
    "dt",
    "dd",
    "select",
    "details",
    "section",
    "nav",
    "output",
    "article",
];

/// Returns the lines of a piece of HTML.
pub fn plain_text(html: &str) -> String {
    let (mut lines, mut line, mut figure) = (Vec::new(), String::new(), None::<Figure>);
    let shown = html.split("<script").map(|part| part.split_once("</script>").map_or(part, |(_, rest)| rest));
    for part in shown.flat_map(|part| part.split('<').skip(1)) {
        let (tag, text) = part.split_once('>').expect("the end of a tag");
        let name = tag.split(' ').next().unwrap();
        match (&mut figure, name) {
            (Some(drawn), "/svg") => {
                lines.extend(drawn.lines());
                figure = None;
            }
            (Some(drawn), _) => drawn.add(name, tag, text),
            (None, "svg") => figure = Some(Figure::default()),
            (None, "tr" | "/tr") => lines.push(std::mem::take(&mut line)),
            (None, "th" | "td") => line += " | ",
            (None, _) if LINES.contains(&name.trim_start_matches('/')) => {
                lines.push(std::mem::take(&mut line))
            }
            _ => {}
        }
        if figure.is_none() {
            line += &noted(name, tag);
            line += if name == "/svg" { "" } else { text };
        }
    }
    lines.push(line);
    let bare =
        lines.iter().map(|line| line.trim().trim_start_matches('|').trim()).filter(|line| !line.is_empty());
    bare.collect::<Vec<_>>().join("\n")
}

/// Returns the value of an attribute.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    tag.split_once(&format!(" {name}=\"")).map(|(_, rest)| rest.split('"').next().unwrap())
}

/// Returns the attributes that a reader sees or follows.
fn noted(name: &str, tag: &str) -> String {
    let mut text = String::new();
    for known in ["id", "href", "value", "colspan", "rowspan"] {
        if let Some(value) = attribute(tag, known) {
            text += &format!("[{known} {value}]");
        }
    }
    for known in ["open", "selected", "disabled"] {
        if tag.split(' ').any(|part| part == known) {
            text += &format!("[{known}]");
        }
    }
    if name == "span" && tag.contains("background:") {
        text += &format!("[{}]", whose(tag.split("background:").nth(1).unwrap().trim_end_matches('"')));
    }
    text
}

/// Returns the label of the method that has this colour.
fn whose(shade: &str) -> &'static str {
    let known = |name: &Name| name.colour() == shade;
    match Name::ALL.into_iter().find(known) {
        Some(name) => name.label(),
        None if shade == colour::of_method(None) => "grey",
        None => panic!("nobody's colour: {shade}"),
    }
}

/// A figure as it is drawn.
#[derive(Default)]
struct Figure {
    caption: String,
    /// Anchor, class, place and text.
    texts: Vec<(String, String, [f64; 2], String)>,
    /// Lines, marks and cells in the order in which they are drawn.
    drawn: Vec<Drawn>,
    zero: Option<f64>,
}

enum Drawn {
    Line {
        colour: &'static str,
        dashed: bool,
        points: Vec<[f64; 2]>,
    },
    Bar {
        colour: &'static str,
        ends: [[f64; 2]; 2],
    },
    Mark {
        colour: &'static str,
        hollow: bool,
        at: [f64; 2],
    },
    /// A name in a legend; it belongs to the mark before it.
    Name(String),
}

impl Figure {
    fn add(&mut self, name: &str, tag: &str, text: &str) {
        let of = |name: &str| attribute(tag, name);
        let number = |name: &str| of(name).map_or(f64::NAN, |text| text.parse().unwrap());
        let colour = || whose(of("stroke").expect("a stroke"));
        match name {
            "title" => text.clone_into(&mut self.caption),
            "text" => {
                let (anchor, class) = (of("text-anchor").unwrap(), of("class").unwrap());
                if anchor == "start" && class == "tick" {
                    self.drawn.push(Drawn::Name(text.to_owned()));
                }
                let heat = if class == "cell" { self.heat() } else { String::new() };
                let text = format!("{text}{heat}");
                self.texts.push((anchor.into(), class.into(), [number("x"), number("y")], text));
            }
            "rect" if of("style").is_some() => {
                let shade = of("style").unwrap().split("--heat) ").nth(1).unwrap();
                self.caption += &format!("\0{}", shade.split(',').next().unwrap());
            }
            "line" if of("class") == Some("zero") => self.zero = Some(number("x1")),
            "line" if of("stroke").is_some() => {
                let ends = [[number("x1"), number("y1")], [number("x2"), number("y2")]];
                self.drawn.push(Drawn::Bar { colour: colour(), ends });
            }
            "polyline" => {
                let point = |text: &str| {
                    let (x, y) = text.split_once(',').unwrap();
                    [x, y].map(|number| number.parse().unwrap())
                };
                let points = of("points").unwrap().split(' ').map(point).collect();
                let dashed = of("stroke-dasharray").is_some();
                self.drawn.push(Drawn::Line { colour: colour(), dashed, points });
            }
            "path" => {
                let at = of("transform").unwrap().trim_start_matches("translate(").split(')').next().unwrap();
                let (x, y) = at.split_once(' ').unwrap();
                let at = [x, y].map(|number| number.parse().unwrap());
                self.drawn.push(Drawn::Mark { colour: colour(), hollow: of("fill") == Some("none"), at });
            }
            _ => {}
        }
    }

    /// Removes and returns the shade of the cell that was drawn last.
    fn heat(&mut self) -> String {
        let Some((caption, heat)) = self.caption.split_once('\0') else { return String::new() };
        let (caption, heat) = (caption.to_owned(), format!(" ({heat})"));
        self.caption = caption;
        heat
    }

    /// Returns the ticks with this text anchor: position along an axis, and label.
    fn ticks(&self, anchor: &str, along: usize) -> Vec<(f64, &str)> {
        let own = self.texts.iter().filter(|(known, class, ..)| known == anchor && class == "tick");
        own.map(|(_, _, at, text)| (at[along], text.as_str())).collect()
    }

    fn axes(&self) -> Vec<&str> {
        self.texts.iter().filter(|(_, class, ..)| class == "axis").map(|(.., text)| text.as_str()).collect()
    }

    fn lines(&self) -> Vec<String> {
        let mut lines =
            vec![format!("figure: {}", self.caption), format!("  axes: {}", self.axes().join("; "))];
        if self.texts.iter().any(|(_, class, ..)| class == "cell") {
            lines.extend(self.map());
        } else if self.drawn.iter().any(|drawn| matches!(drawn, Drawn::Name(_))) {
            lines.extend(self.plot());
        } else {
            lines.extend(self.intervals());
        }
        lines
    }

    /// Rows of a heat map, from the top.
    fn map(&self) -> Vec<String> {
        let mut rows = std::collections::BTreeMap::<i64, Vec<(i64, &str)>>::new();
        for (_, _, [x, y], text) in self.texts.iter().filter(|(_, class, ..)| class != "axis") {
            rows.entry(*y as i64).or_default().push((*x as i64, text));
        }
        let row = |mut row: Vec<(i64, &str)>| {
            row.sort_unstable();
            format!("  {}", row.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" | "))
        };
        rows.into_values().map(row).collect()
    }

    /// Rows of numbers with their intervals, from the top.
    fn intervals(&self) -> Vec<String> {
        let x = scale(&self.ticks("middle", 0));
        let mut lines = vec![match self.zero {
            None => "  no line".to_owned(),
            Some(zero) => format!("  line at {:.2}", x(zero)),
        }];
        for (y, name) in self.ticks("end", 1) {
            let (mut told, mut bar) = (String::new(), String::new());
            for drawn in &self.drawn {
                match drawn {
                    Drawn::Bar { ends: [low, high], .. } if (low[1] + 4.0 - y).abs() < 1.0 => {
                        bar = format!(" [{:.2}, {:.2}]", x(low[0]), x(high[0]));
                    }
                    Drawn::Mark { at, colour, .. } if (at[1] + 4.0 - y).abs() < 1.0 => {
                        told += &format!("{:.2} ({colour})", x(at[0]));
                    }
                    _ => {}
                }
            }
            lines.push(format!("  {name}: {told}{bar}"));
        }
        lines
    }

    /// Series in the order in which they are drawn, then the legend.
    fn plot(&self) -> Vec<String> {
        let (mut across, up) = (self.ticks("middle", 0), scale(&self.ticks("end", 1)));
        let counts: Vec<String> = across.iter().map(|(_, label)| format!("{label} %")).collect();
        if self.axes().contains(&"labelled defects") {
            // Counts are on a logarithmic scale, too.
            across = across.iter().zip(&counts).map(|((at, _), label)| (*at, label.as_str())).collect();
        }
        let (x, y) = (scale(&across), up);
        let place = |[across, up]: [f64; 2]| format!("{:.2} {:.2}", x(across), y(up));
        let mut lines: Vec<String> = Vec::new();
        let mut add = |head: String, rest: String| match lines.last_mut() {
            Some(line) if line.starts_with(&head) => *line += &format!("; {rest}"),
            _ => lines.push(format!("{head}{rest}")),
        };
        for (number, drawn) in self.drawn.iter().enumerate() {
            match drawn {
                Drawn::Line { colour, dashed, points } => {
                    let points: Vec<String> = points.iter().map(|point| place(*point)).collect();
                    let kind = if *dashed { "dashed" } else { "line" };
                    add(format!("  {colour} {kind}: "), points.join("; "));
                }
                Drawn::Bar { colour, ends: [low, high] } => {
                    add(format!("  {colour} bars: "), format!("{} to {:.2}", place(*low), y(high[1])));
                }
                Drawn::Mark { colour, hollow, at } => {
                    let kind = if *hollow { "hollow" } else { "filled" };
                    match self.drawn.get(number + 1) {
                        Some(Drawn::Name(name)) => {
                            add("  legend: ".into(), format!("{name} ({colour}, {kind})"))
                        }
                        _ => add(format!("  {colour} {kind}: "), place(*at)),
                    }
                }
                Drawn::Name(_) => {}
            }
        }
        lines
    }
}

/// Returns a function from pixels to values, given the labels of an axis; shares are on a logarithmic scale.
fn scale(ticks: &[(f64, &str)]) -> impl Fn(f64) -> f64 + use<> {
    let number = |(at, label): (f64, &str)| match label.strip_suffix(" %") {
        Some(share) => (at, share.parse::<f64>().unwrap().log10()),
        None => (at, label.parse().unwrap()),
    };
    let (first, last) = (number(ticks[0]), number(ticks[ticks.len() - 1]));
    move |at| first.1 + (at - first.0) / (last.0 - first.0) * (last.1 - first.1)
}
