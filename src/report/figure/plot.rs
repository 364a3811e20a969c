//! Points, lines and intervals in a frame with two axes.

use maud::{Markup, html};

use super::{Drawing, colour, round, text};
use crate::{analysis::Interval, method::Name};

/// Values on an axis, its label (with the unit) and how ticks are written.
#[derive(Clone)]
pub struct PlotAxis {
    /// Label with the unit.
    pub label: String,
    /// Where the axis begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
    /// Decimals of tick labels.
    pub decimals: usize,
    /// Ticks to use instead of round numbers: position and label.
    pub marks: Vec<(f64, String)>,
}

/// The points of one method, optionally joined by a line.
pub struct Series {
    /// The method whose colour and marker are used.
    pub method: Option<Name>,
    /// Name in the legend or beside the number.
    pub name: String,
    /// Points in data units.
    pub points: Vec<(f64, f64)>,
    /// Intervals in data units: position, and both ends; infinite ends are not drawn.
    pub bars: Vec<(f64, [f64; 2])>,
    /// Whether a line runs through the points.
    pub joined: bool,
    /// Whether the line is dashed, as for the second backbone.
    pub dashed: bool,
}

/// Says in a caption what the bars of these series are.
pub fn what_bars_are(series: &[Series]) -> &'static str {
    let known = |&(_, [low, high]): &(f64, [f64; 2])| low.is_finite() && low < high;
    if series.iter().flat_map(|series| &series.bars).any(known) {
        "bars: 95 % over seeds"
    } else {
        "one seed: no intervals"
    }
}

/// Several series in a frame.
pub struct Plot {
    /// Caption below the figure.
    pub caption: String,
    /// The horizontal axis.
    pub x: PlotAxis,
    /// The vertical axis.
    pub y: PlotAxis,
    /// Series, in drawing order.
    pub series: Vec<Series>,
    /// Whether a legend below names every series.
    pub legend: bool,
}

/// A number with its interval and name.
pub struct NamedInterval {
    /// The method whose colour and marker are used.
    pub method: Option<Name>,
    /// Name in the legend or beside the number.
    pub name: String,
    /// The interval; if its ends are infinite, only the point is drawn.
    pub value: Interval,
}

/// Pixels; two plots fill the page's width.
const SIZE: (f64, f64) = (540.0, 300.0);
const LEFT: f64 = 56.0;
const BOTTOM: f64 = 44.0;

impl PlotAxis {
    /// Returns an axis that includes all values with a small margin; from 0 to 1 if there are none.
    pub fn spanning(label: &str, values: impl IntoIterator<Item = f64>, decimals: usize) -> Self {
        let (low, high) = values
            .into_iter()
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let air = (0.06 * (high - low)).max(1e-3 * high.abs()).max(1e-6);
        Self { label: label.to_owned(), low: low - air, high: high + air, decimals, marks: Vec::new() }
    }

    fn at(&self, value: f64, from: f64, to: f64) -> f64 {
        from + (value - self.low) / (self.high - self.low) * (to - from)
    }

    /// Returns the round numbers on the axis, or its marks, each with its label.
    fn labels(&self) -> Vec<(f64, String)> {
        if self.marks.is_empty() {
            let ticks = self.ticks();
            let step = if let [first, second, ..] = ticks[..] { second - first } else { 1.0 };
            let decimals = self.decimals.max((-step.log10()).ceil().max(0.0) as usize);
            ticks.into_iter().map(|tick| (tick, format!("{tick:.decimals$}"))).collect()
        } else {
            self.marks.clone()
        }
    }

    fn ticks(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / 7.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|tick| tick as f64 * step).collect()
    }
}

impl Plot {
    /// Draws the figure.
    pub fn draw(&self) -> Markup {
        self.drawing().framed()
    }

    /// Draws the content of the figure.
    pub fn drawing(&self) -> Drawing {
        // Long names need room.
        let columns = if self.series.iter().any(|series| series.name.len() > 14) { 2 } else { 3 };
        let names = if self.legend { self.series.len().div_ceil(columns) } else { 0 };
        let (width, height) = (SIZE.0, SIZE.1 + 18.0 * names as f64);
        let (right, floor) = (SIZE.0 - 10.0, SIZE.1 - BOTTOM);
        let x = |value: f64| self.x.at(value, LEFT, right);
        let y = |value: f64| self.y.at(value, floor, 12.0);
        let content = html! {
            @for (tick, name) in self.y.labels() {
                line.grid x1=(LEFT) x2=(right) y1=(round(y(tick))) y2=(round(y(tick))) {}
                (text(LEFT - 6.0, y(tick) + 4.0, "end", "tick", &name))
            }
            @for (tick, name) in self.x.labels() {
                line.grid x1=(round(x(tick))) x2=(round(x(tick))) y1="12" y2=(floor) {}
                (text(x(tick), floor + 16.0, "middle", "tick", &name))
            }
            (text((LEFT + right) / 2.0, floor + 36.0, "middle", "axis", &self.x.label))
            text x="14" y=(round(floor / 2.0)) text-anchor="middle" class="axis"
                transform={ "rotate(-90 14 " (round(floor / 2.0)) ")" } { (self.y.label) }
            @for series in &self.series {
                @let colour = colour::of_method(series.method);
                @if series.joined && series.points.len() > 1 {
                    polyline fill="none" stroke=(colour) stroke-width="2"
                        stroke-dasharray=[series.dashed.then_some("6 4")]
                        points=(series.points.iter().map(|p| format!("{},{}", round(x(p.0)), round(y(p.1)))).collect::<Vec<_>>().join(" ")) {}
                }
                @for (place, [low, high]) in series.bars.iter().filter(|(_, ends)| ends.iter().all(|end| end.is_finite())) {
                    @let (low, high) = (low.max(self.y.low), high.min(self.y.high));
                    line x1=(round(x(*place))) x2=(round(x(*place))) y1=(round(y(low))) y2=(round(y(high))) stroke=(colour) stroke-width="1.2" {}
                }
                @for point in &series.points {
                    path d=(colour::marker(series.method)) transform={ "translate(" (round(x(point.0))) " " (round(y(point.1))) ") scale(.8)" }
                        fill=(if series.dashed { "none" } else { colour }) stroke=(colour) stroke-width="1.6" {}
                }
            }
            @if self.legend {
                @for (place, series) in self.series.iter().enumerate() {
                    @let (column, row) = (place % columns, place / columns);
                    @let (x, y) = (LEFT + ((right - LEFT) / columns as f64) * column as f64, SIZE.1 + 12.0 + 18.0 * row as f64);
                    path d=(colour::marker(series.method)) transform={ "translate(" (round(x)) " " (round(y - 4.0)) ") scale(.8)" }
                        fill=(if series.dashed { "none" } else { colour::of_method(series.method) }) stroke=(colour::of_method(series.method)) stroke-width="1.6" {}
                    (text(x + 9.0, y, "start", "tick", &series.name))
                }
            }
        };
        Drawing { caption: self.caption.clone(), width, height, content }
    }
}

/// Draws numbers with intervals below each other, with a line at `zero`.
pub fn intervals(caption: &str, axis: &PlotAxis, zero: Option<f64>, rows: &[NamedInterval]) -> Markup {
    /// Average width of a letter, pixels.
    const LETTER: f64 = 6.8;
    const FRAME: f64 = 300.0;
    let longest = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    let names = LETTER * longest as f64 + 18.0;
    let (width, step) = (names + FRAME, 22.0);
    let floor = 10.0 + step * rows.len() as f64;
    let x = |value: f64| axis.at(value.clamp(axis.low, axis.high), names, width - 12.0);
    let content = html! {
        @for (tick, name) in axis.labels() {
            line.grid x1=(round(x(tick))) x2=(round(x(tick))) y1="6" y2=(floor) {}
            (text(x(tick), floor + 16.0, "middle", "tick", &name))
        }
        @if let Some(zero) = zero {
            line.zero x1=(round(x(zero))) x2=(round(x(zero))) y1="6" y2=(floor) {}
        }
        (text((names + width) / 2.0, floor + 36.0, "middle", "axis", &axis.label))
        @for (place, row) in rows.iter().enumerate() {
            @let y = 10.0 + step * (place as f64 + 0.5);
            @let colour = colour::of_method(row.method);
            (text(names - 10.0, y + 4.0, "end", "tick", &row.name))
            @if row.value.low.is_finite() && row.value.high.is_finite() {
                line x1=(round(x(row.value.low))) x2=(round(x(row.value.high))) y1=(round(y)) y2=(round(y)) stroke=(colour) stroke-width="2.5" {}
            }
            path d=(colour::marker(row.method)) transform={ "translate(" (round(x(row.value.estimate))) " " (round(y)) ")" }
                fill=(colour) stroke=(colour) stroke-width="1.6" {}
        }
    };
    Drawing { caption: caption.to_owned(), width, height: floor + 46.0, content }.framed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_lie_where_the_axes_say() {
        let axis = |high| PlotAxis { label: String::new(), low: 0.0, high, decimals: 1, marks: Vec::new() };
        let series = Series {
            method: None,
            name: "a".into(),
            points: vec![(0.0, 0.0), (10.0, 1.0), (5.0, 0.25)],
            bars: Vec::new(),
            joined: true,
            dashed: false,
        };
        let plot =
            Plot { caption: "c".into(), x: axis(10.0), y: axis(1.0), series: vec![series], legend: false };
        let drawn = plot.draw().into_string();
        // From the left end, 56, to the right, 530; from the floor, 256, up to 12.
        assert!(drawn.contains("points=\"56,256 530,12 293,195\""), "{drawn}");
        for place in ["56 256", "530 12", "293 195"] {
            assert!(drawn.contains(&format!("translate({place})")), "{place}: {drawn}");
        }
        // Labels of the vertical axis stand beside the same heights.
        assert!(drawn.contains("y=\"260\" text-anchor=\"end\" class=\"tick\">0.0<"), "{drawn}");
        assert!(drawn.contains("y=\"16\" text-anchor=\"end\" class=\"tick\">1.0<"), "{drawn}");
    }

    /// Two points are joined even if the line is horizontal.
    #[test]
    fn two_points_are_joined_and_one_is_not() {
        let axis = || PlotAxis { label: String::new(), low: 0.0, high: 1.0, decimals: 1, marks: Vec::new() };
        let lines = |points: &[(f64, f64)]| {
            let series = Series {
                method: None,
                name: "a".into(),
                points: points.to_vec(),
                bars: Vec::new(),
                joined: true,
                dashed: true,
            };
            let plot =
                Plot { caption: "c".into(), x: axis(), y: axis(), series: vec![series], legend: false };
            plot.draw().into_string().matches("<polyline").count()
        };
        assert_eq!((lines(&[(0.0, 0.5), (1.0, 0.5)]), lines(&[(0.0, 0.5)])), (1, 0));
    }

    #[test]
    fn intervals_reach_from_their_low_to_their_high_end() {
        let axis = PlotAxis { label: String::new(), low: 0.0, high: 1.0, decimals: 1, marks: Vec::new() };
        let value = Interval { estimate: 0.5, low: 0.25, high: 0.75 };
        let rows = [NamedInterval { method: None, name: "a".into(), value }];
        let drawn = intervals("c", &axis, Some(0.125), &rows).into_string();
        // One letter and its margin take 24.8; the frame is 288 wide.
        let at = |part: f64| round(24.8 + 288.0 * part);
        let line = format!("x1=\"{}\" x2=\"{}\" y1=\"21\"", at(0.25), at(0.75));
        for part in
            [line, format!("translate({} 21)", at(0.5)), format!("class=\"zero\" x1=\"{}\"", at(0.125))]
        {
            assert!(drawn.contains(&part), "no {part}: {drawn}");
        }
    }

    fn axis(high: f64) -> PlotAxis {
        PlotAxis { label: String::new(), low: 0.0, high, decimals: 1, marks: Vec::new() }
    }

    /// An unjoined series of one point with three bars: one inside, one beyond the axis, one with infinite ends.
    fn with_bars(name: &str, dashed: bool) -> Series {
        let bars = vec![(5.0, [0.25, 0.5]), (10.0, [-1.0, 2.0]), (0.0, [f64::NEG_INFINITY, f64::INFINITY])];
        let points = vec![(5.0, 0.25)];
        Series { method: Some(Name::Byol), name: name.to_owned(), points, bars, joined: false, dashed }
    }

    #[test]
    fn bars_reach_over_their_place_and_are_cut_by_the_frame() {
        let series = vec![with_bars("a", false)];
        let plot = Plot { caption: "c".into(), x: axis(10.0), y: axis(1.0), series, legend: false };
        let drawn = plot.draw().into_string();
        // The frame's middle is at 293; a quarter and a half of its height at 195 and 134.
        let bars: Vec<&str> =
            drawn.split("<line x1=").skip(1).map(|line| line.split(" stroke=").next().unwrap()).collect();
        let expected =
            ["\"293\" x2=\"293\" y1=\"195\" y2=\"134\"", "\"530\" x2=\"530\" y1=\"256\" y2=\"12\""];
        assert_eq!(bars, expected);
        // Labels of the horizontal axis stand below its places; a fifth of the way is a mark.
        assert!(
            drawn.contains("x=\"150.8\" y=\"272\" text-anchor=\"middle\" class=\"tick\">2.0<"),
            "{drawn}"
        );
    }

    #[test]
    fn legends_name_each_series_beside_its_own_mark() {
        let legend = |names: [&str; 3]| {
            let series = names.iter().map(|name| with_bars(name, *name == "hollow")).collect();
            let plot = Plot { caption: "c".into(), x: axis(10.0), y: axis(1.0), series, legend: true };
            let (height, drawn) = (plot.drawing().height, plot.draw().into_string());
            let (begin, end) = ("text-anchor=\"start\" class=\"tick\">", '<');
            let place = |name: &str| {
                let (before, _) = drawn.split_once(&format!("{begin}{name}{end}")).unwrap();
                let (path, text) = before.rsplit_once("<text ").unwrap();
                let mark = path.rsplit("<path ").next().unwrap();
                (text.trim().to_owned(), mark.contains("fill=\"none\""))
            };
            (height, names.map(place))
        };
        // Three names fill a row of three columns, 158 wide; long ones stand two in a row.
        let short = ["x=\"65\" y=\"312\"", "x=\"223\" y=\"312\"", "x=\"381\" y=\"312\""].map(str::to_owned);
        let [a, b, c] = short.clone();
        assert_eq!(legend(["a", "hollow", "b"]), (318.0, [(a, false), (b, true), (c, false)]));
        let [a, ..] = short;
        let (b, c) = ("x=\"302\" y=\"312\"".to_owned(), "x=\"65\" y=\"330\"".to_owned());
        let names = ["a name that is long", "b", "hollow"];
        assert_eq!(legend(names), (336.0, [(a, false), (b, false), (c, true)]));
    }

    #[test]
    fn every_method_has_its_own_colour_and_dashes() {
        let drawn = |dashed| {
            let series =
                Series { points: vec![(0.0, 0.0), (10.0, 1.0)], joined: true, ..with_bars("a", dashed) };
            let series = vec![series];
            let plot = Plot { caption: "c".into(), x: axis(10.0), y: axis(1.0), series, legend: false };
            plot.draw().into_string()
        };
        let (full, dashed) = (drawn(false), drawn(true));
        assert!(!full.contains("stroke-dasharray") && dashed.contains("stroke-dasharray"), "{full}");
        // Marks of both points, hollow where the line is dashed.
        let fill = format!("fill=\"{}\"", Name::Byol.colour());
        assert_eq!((full.matches(&fill).count(), dashed.matches(&fill).count()), (2, 0));
        assert_eq!(full.matches(Name::Byol.marker()).count(), 2);
        let colours: std::collections::BTreeSet<_> =
            Name::ALL.map(|name| colour::of_method(Some(name))).into();
        let markers: std::collections::BTreeSet<_> = Name::ALL.map(|name| colour::marker(Some(name))).into();
        assert_eq!((colours.len(), markers.len()), (Name::ALL.len(), Name::ALL.len()), "told apart");
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = PlotAxis { label: String::new(), low: 0.0, high: 1.0, decimals: 1, marks: Vec::new() };
        let found = axis.ticks();
        assert_eq!(found.len(), 6);
        assert!((found[1] - 0.2).abs() < 1e-12);
        let odd = PlotAxis::spanning("", [137.0, 912.0], 0);
        assert!(odd.ticks().iter().all(|tick| (odd.low..=odd.high).contains(tick) && tick % 100.0 == 0.0));
        // One value, or none, is still an axis.
        assert!(PlotAxis::spanning("", [3.0], 0).high > 3.0);
        let none: Vec<String> =
            PlotAxis::spanning("", [], 0).labels().into_iter().map(|(_, name)| name).collect();
        assert_eq!(none, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"], "as many decimals as tell ticks apart");
    }

    /// An interval that reaches beyond the axis is cut at the frame, and so is a mark; one without an end has no line.
    #[test]
    fn intervals_are_cut_by_the_frame() {
        let row = |name: &str, estimate: f64, low: f64, high: f64| NamedInterval {
            method: None,
            name: name.to_owned(),
            value: Interval { estimate, low, high },
        };
        let rows = [
            row("a", 0.5, -2.0, 3.0),
            row("longest", 4.0, 0.5, f64::INFINITY),
            row("b", -1.0, f64::NEG_INFINITY, 0.5),
        ];
        let drawn = intervals("c", &axis(1.0), None, &rows).into_string();
        // Seven letters and their margin take 65.6; the frame is 288 wide.
        let lines: Vec<&str> =
            drawn.split("<line x1=").skip(1).map(|line| line.split(" stroke=").next().unwrap()).collect();
        assert_eq!(lines, ["\"65.6\" x2=\"353.6\" y1=\"21\" y2=\"21\""]);
        for place in ["translate(209.6 21)", "translate(353.6 43)", "translate(65.6 65)"] {
            assert!(drawn.contains(place), "{place}: {drawn}");
        }
        let names = ["a", "longest", "b"].map(|name| {
            drawn.find(&format!(
                "x=\"55.6\" y=\"{}\" text-anchor=\"end\" class=\"tick\">{name}<",
                match name {
                    "a" => 25,
                    "b" => 69,
                    _ => 47,
                }
            ))
        });
        assert!(names.iter().all(Option::is_some), "{names:?}: {drawn}");
        // One infinite end of a bar leaves it out, too.
        let mut series = with_bars("a", false);
        series.bars = vec![(5.0, [0.25, f64::INFINITY]), (2.5, [f64::NEG_INFINITY, 0.5])];
        let plot =
            Plot { caption: "c".into(), x: axis(10.0), y: axis(1.0), series: vec![series], legend: false };
        assert!(!plot.draw().into_string().contains("<line x1="), "no bar");
    }
}
