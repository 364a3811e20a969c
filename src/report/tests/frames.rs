//! Where figures with two axes draw: everything lies within the frame, and the outermost of all figures that share an
//! axis lie as far from its ends as the axis has air.

use super::{everything::whole, *};
use crate::results::record::Budget;

/// What a figure with two axes has drawn, in pixels: places along each axis, and labels of ticks.
struct Drawn {
    caption: String,
    across: Vec<f64>,
    up: Vec<f64>,
    /// Labels below the frame and beside it.
    ticks: [Vec<String>; 2],
}

/// Returns the number of an attribute.
fn number(tag: &str, name: &str) -> Option<f64> {
    tag.split_once(&format!(" {name}=\"")).map(|(_, rest)| rest.split('"').next().unwrap().parse().unwrap())
}

/// Reads all figures of a piece of HTML, of either kind.
fn figures(html: &str) -> Vec<Drawn> {
    let one = |svg: &str| {
        let svg = svg.split("</svg>").next().unwrap();
        let caption = svg.split("<title>").nth(1).unwrap().split('<').next().unwrap().to_owned();
        let (mut across, mut up, mut ticks) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
        for part in svg.split('<').skip(1) {
            let (tag, text) = part.split_once('>').unwrap();
            if let Some((_, at)) = tag.split_once("translate(") {
                let (x, y) = at.split(')').next().unwrap().split_once(' ').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                // Marks of the legend stand below the frame.
                if y < 300.0 {
                    across.push(x);
                    up.push(y);
                }
            } else if tag.starts_with("line ") && tag.contains("stroke=") {
                across.extend([number(tag, "x1").unwrap(), number(tag, "x2").unwrap()]);
                up.extend([number(tag, "y1").unwrap(), number(tag, "y2").unwrap()]);
            } else if tag.starts_with("polyline ") {
                let points = tag.split(" points=\"").nth(1).unwrap().split('"').next().unwrap();
                for (x, y) in points.split(' ').map(|point| point.split_once(',').unwrap()) {
                    across.push(x.parse().unwrap());
                    up.push(y.parse().unwrap());
                }
            } else if tag.starts_with("text ") && tag.contains("class=\"tick\"") {
                let place = if tag.contains("text-anchor=\"middle\"") { 0 } else { 1 };
                if !tag.contains("text-anchor=\"start\"") {
                    ticks[place].push(text.to_owned());
                }
            }
        }
        Drawn { caption, across, up, ticks }
    };
    html.split("<svg ").skip(1).map(one).collect()
}

/// Returns the smallest and the largest of these places.
fn ends<'a>(places: impl IntoIterator<Item = &'a f64>) -> [f64; 2] {
    places
        .into_iter()
        .fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], &place| [low.min(place), high.max(place)])
}

/// 6 parts in 112 of the frame on each side: 56 to 530 across, 12 to 256 up.
const ACROSS: [f64; 2] = [56.0 + 474.0 * 6.0 / 112.0, 530.0 - 474.0 * 6.0 / 112.0];
const UP: [f64; 2] = [12.0 + 244.0 * 6.0 / 112.0, 256.0 - 244.0 * 6.0 / 112.0];

fn assert_close(found: [f64; 2], expected: [f64; 2], what: &str) {
    let close = |place: usize| (found[place] - expected[place]).abs() < 0.11;
    assert!(close(0) && close(1), "{what}: {found:?} is not {expected:?}");
}

/// Figures side by side share their vertical axis, which fits all that both draw, bars included.
#[test]
fn axes_fit_what_is_drawn_in_all_figures_that_share_them() {
    let page = whole();
    let html: String = page.sections().into_iter().map(|(.., body)| body.into_string()).collect();
    let all = figures(&html);
    let of = |begin: &str| -> Vec<&Drawn> {
        // Cards and tables have figures whose captions begin alike.
        let found = all.iter().filter(|drawn| drawn.caption.starts_with(begin));
        found.collect()
    };
    for (begin, count) in [
        ("AUROC of the converged probe by training share, ", 2),
        ("Average precision of the converged probe by training share, ", 2),
        ("Figure 6: RankMe as released by epoch, ", 2),
        ("Figure 6: Spread of feature directions by epoch, ", 2),
        ("Figure 7: RankMe as released (mini-batches", 1),
        ("RankMe of features divided by its maximum, against F1", 1),
        ("All weights trained, ", 2),
    ] {
        let group = of(begin);
        assert_eq!(group.len(), count, "{begin}");
        assert_close(ends(group.iter().flat_map(|drawn| &drawn.up)), UP, begin);
        assert!(group.iter().all(|drawn| !drawn.across.is_empty()), "{begin}");
    }
    // Along the other axis, epochs are shared, metrics and numbers of labels are each figure's own.
    for begin in ["Figure 6: RankMe", "Figure 6: Spread"] {
        assert_close(ends(of(begin).into_iter().flat_map(|drawn| &drawn.across)), ACROSS, begin);
    }
    for begin in ["Figure 7", "RankMe of features", "Probes on", "All weights"] {
        for drawn in of(begin) {
            assert_close(ends(&drawn.across), ACROSS, &drawn.caption);
        }
    }
    for drawn in all.iter().filter(|drawn| drawn.caption.starts_with("Probes on frozen features")) {
        let [low, high] = ends(&drawn.up);
        assert!(low >= 12.0 && high <= 256.0, "{}: {low} to {high}", drawn.caption);
    }
}

/// The best detector without labels is above one backbone's curves and below the other's: the shared axis includes both
/// lines, with probes and where all weights are trained.
#[test]
fn the_line_without_labels_lies_within_the_frame() {
    let of = |study: &str, method: &str, backbone: &str, defects: usize, [auroc, detector]: [f64; 2]| {
        let scores = [
            ("converged", scored(0.5, auroc)),
            ("in_training", scored(0.5, auroc)),
            ("normals_padim", scored(0.5, detector)),
        ];
        let mut record = record(study, None, method, 0, &scores);
        record.cell.backbone = backbone.to_owned();
        record.cell.variant = (study == "label_budget").then(|| format!("defects{defects:04}"));
        record.cell.id = format!("{study}/{method}-{backbone}-{defects}");
        record.data.train.defects = defects;
        if study == "table1" {
            record.label_budgets = vec![Budget {
                defects: 5,
                normals: 9,
                auroc: vec![auroc - 0.02],
                average_precision: vec![0.1],
                neighbours_auroc: Vec::new(),
            }];
        }
        record
    };
    let (resnet, vit) = ("resnet18", "vit_tiny");
    let page = page(vec![
        of("table1", "byol", resnet, 80, [0.52, 0.95]),
        of("table1", "byol", vit, 80, [0.62, 0.20]),
        of("fine_tuned", "byol", resnet, 80, [0.55, 0.99]),
        of("fine_tuned", "byol", vit, 80, [0.65, 0.01]),
        of("label_budget", "byol", resnet, 5, [0.51, 0.99]),
        of("label_budget", "byol", vit, 5, [0.61, 0.99]),
    ]);
    let all = figures(&scores::budgets(&page).into_string());
    let captions: Vec<&str> = all.iter().map(|drawn| drawn.caption.split(" (").next().unwrap()).collect();
    let expected = [
        "Probes on frozen features, ResNet-18",
        "Probes on frozen features, ViT-Tiny",
        "All weights trained, ResNet-18",
        "All weights trained, ViT-Tiny",
    ];
    assert_eq!(captions, expected);
    for pair in all.chunks(2) {
        // 0.95 is at the top of the first figure, 0.2 at the bottom of the second.
        assert!((ends(&pair[0].up)[0] - UP[0]).abs() < 0.11, "{}: {:?}", pair[0].caption, pair[0].up);
        assert!((ends(&pair[1].up)[1] - UP[1]).abs() < 0.11, "{}: {:?}", pair[1].caption, pair[1].up);
    }
}

/// Ticks have as many decimals as their axis asks for, or as tell them apart.
#[test]
fn ticks_have_the_decimals_of_their_axis() {
    let html: String = whole().sections().into_iter().map(|(.., body)| body.into_string()).collect();
    let all = figures(&html);
    // Axis 0 is the horizontal one.
    for (begin, axis, decimals) in [
        ("AUROC of the converged probe by training share, ", 1, 2),
        ("Average precision of the converged probe by training share, ", 1, 2),
        ("AUROC of the converged probe (95", 0, 2),
        ("Recall of ", 0, 1),
        ("Rank by AUROC", 0, 1),
        ("AUROC of the converged probe minus", 0, 2),
        ("Rank correlation of each", 0, 1),
        ("Figure 7: RankMe as released", 0, 0),
        ("Figure 7: RankMe as released", 1, 2),
        ("RankMe of features divided by its maximum", 0, 2),
        ("Figure 6: RankMe as released", 1, 0),
        ("Figure 6: Spread", 1, 2),
        ("Figure 6: Spread", 0, 1),
        ("Probes on frozen features", 1, 2),
        ("Probes on frozen features", 0, 0),
        ("Where a detector looks", 0, 2),
        ("Difference in F1", 0, 2),
    ] {
        let group: Vec<&Drawn> = all.iter().filter(|drawn| drawn.caption.starts_with(begin)).collect();
        assert!(!group.is_empty(), "{begin}");
        for tick in group.iter().flat_map(|drawn| &drawn.ticks[axis]) {
            let found = tick.split_once('.').map_or(0, |(_, digits)| digits.len());
            assert_eq!(found, decimals, "{begin}: {tick}");
        }
        assert!(group.iter().all(|drawn| drawn.ticks[axis].len() > 1), "{begin}");
    }
}
