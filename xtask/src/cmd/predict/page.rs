//! `triage.html`: the worst images first, with the places that raised their scores. No network access, no other
//! files.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use skewbench::{backbone, bundle::Manifest, evaluate::scorer::Scorer, named::counted};

use super::{rows::Summary, worst::PageImage, worth};
use crate::support::notes;

/// The whole page.
pub fn render(manifest: &Manifest, rate: f64, found: &Summary, shown: &[PageImage]) -> Markup {
    let percent = |part: f64| format!("{:.1}\u{a0}%", 100.0 * part);
    let [false_alarms, hits] =
        [manifest.threshold.false_positive_rate, manifest.threshold.true_positive_rate]
            .map(|[part, low, high]| format!("{} ({} to {})", percent(part), percent(low), percent(high)));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Triage: " (found.flagged) " of " (found.scored) " images flagged" }
                style { (PreEscaped(STYLE)) }
            }
            body { main {
                h1 { (found.flagged) " of " (found.scored) " images flagged" }
                p {
                    (manifest.title()) " (" code { (manifest.cell) } ") scores images by "
                    (Scorer::label(&manifest.scorer).unwrap_or(&manifest.scorer)) ", and flags those above logit "
                    (format!("{:.3}", manifest.threshold.logit)) " (" (manifest.threshold.chosen) "). On the validation images of "
                    (manifest.source) " (" (manifest.validation.normals) " normal images, " (manifest.validation.defects)
                    " defects) it flagged " (false_alarms) " of the normal images and " (hits)
                    " of the defects (95\u{a0}% intervals). Probabilities are for a site where " (percent(rate))
                    " of images have a defect; their expected calibration error was "
                    (format!("{:.3}", manifest.calibration.error)) "."
                    @if found.skipped > 0 {
                        " " (counted(found.skipped, "image", "images")) " could not be read; " code { "predictions.csv" } " gives the reasons."
                    }
                }
                @if let Some(doubt) = manifest.threshold.doubt(found.flagged, found.scored) { p.doubt role="note" { (doubt) "." } }
                @if !manifest.limits.is_empty() {
                    details.limits {
                        summary { "Notes on its training data" }
                        ul { @for limit in notes::merge(&manifest.limits) { li { (limit) } } }
                    }
                }
                form {
                    label { "Probability at least " input #least type="number" min="0" max="100" step="any" value="0"; " %" }
                    label { "Path contains " input #text type="search"; }
                    label { input #map type="checkbox" checked; " heat map (m)" }
                    button #save type="button" { "Save verdicts" }
                    span #count {}
                }
                p.keys {
                    "Keys: j and k move, d marks a defect, n marks a normal image, u removes the mark, m shows the heat map. "
                    @if shown.iter().any(|shown| !shown.places.is_empty()) {
                        "Orange: " (map_of(manifest)) "."
                    } @else { "This detector has no heat map." }
                }
                ol #images { @for (place, image) in shown.iter().enumerate() { (item(place, image)) } }
                script { (PreEscaped(SCRIPT)) }
            } }
        }
    }
}

/// Describes the places that a map shows.
fn map_of(manifest: &Manifest) -> &'static str {
    match (manifest.scorer.as_str(), manifest.backbone.parse()) {
        ("normals_patchcore", _) => {
            "the places whose middle features lie farthest from those of normal images (PatchCore, Roth et al. 2022); \
             the farthest decides"
        }
        (_, Ok(backbone::Name::ViTTiny)) => {
            "the places that add most to an image's logit (what attention passes from each patch to the class token, \
             Gandelsman et al. 2024; their mean is the logit)"
        }
        _ => {
            "the places that add most to an image's logit (class activation map, Zhou et al. 2016; their mean is the \
             logit)"
        }
    }
}

fn item(place: usize, shown: &PageImage) -> Markup {
    html! {
        li tabindex="0" data-path=(shown.worth.path) data-probability=(shown.worth.probability) {
            div.picture {
                img src=(shown.uri) loading="lazy" alt=(shown.worth.path);
                (heat(&shown.places))
            }
            b { (place + 1) "." }
            @if shown.worth.flagged { " \u{2691} flagged" }
            br;
            span.path { (shown.worth.path) }
            br;
            (worth(&shown.worth))
            div.verdict {}
        }
    }
}

/// Highlights where the image looks most like a defect: a place is the more orange, the more it adds to the score
/// relative to the others, or the farther it lies from normal ones.
fn heat(places: &[Vec<f64>]) -> Markup {
    let Some(columns) = places.first().map(Vec::len) else { return html! {} };
    let (least, most) =
        places.iter().flatten().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), &value| {
            (value.min(least), value.max(most))
        });
    let range = (most - least).max(f64::MIN_POSITIVE);
    html! {
        svg.heat viewBox={ "0 0 " (columns) " " (places.len()) } preserveAspectRatio="none" aria-hidden="true" {
            @for (row, values) in places.iter().enumerate() { @for (column, value) in values.iter().enumerate() {
                rect x=(column) y=(row) width="1" height="1"
                    fill="#d55e00" fill-opacity=(format!("{:.2}", 0.55 * (value - least) / range)) {}
            } }
        }
    }
}

const STYLE: &str = "\
:root { color-scheme: light dark; font-family: system-ui, sans-serif; }
body { max-width: 80rem; margin: 1rem auto; padding: 0 1rem; }
form { position: sticky; top: 0; background: Canvas; padding: .5rem 0; display: flex; gap: 1rem; flex-wrap: wrap; align-items: center; }
input[type=number] { width: 5rem; }
.doubt { border-left: .3rem solid #d55e00; padding-left: .6rem; font-weight: bold; }
.limits, .keys { font-size: .85rem; opacity: .8; margin: .2rem 0; }
ol { list-style: none; padding: 0; display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1rem; }
li { border: 2px solid transparent; border-radius: .4rem; padding: .4rem; font-size: .85rem; overflow-wrap: anywhere; }
li:focus { border-color: Highlight; outline: none; }
li[data-verdict] .verdict::after { content: attr(data-said); font-weight: bold; }
.picture { position: relative; } .picture img { width: 100%; display: block; }
.heat { position: absolute; inset: 0; width: 100%; height: 100%; }
.plain .heat { display: none; }
";

const SCRIPT: &str = r#"
const list = [...document.querySelectorAll('#images li')];
const [least, text, map, count] = ['least', 'text', 'map', 'count'].map(id => document.getElementById(id));
const seen = () => list.filter(li => !li.hidden);
function show() {
  for (const li of list) li.hidden = 100 * li.dataset.probability < +least.value || !li.dataset.path.includes(text.value);
  count.textContent = seen().length + ' shown';
  document.getElementById('images').classList.toggle('plain', !map.checked);
}
function mark(li, verdict) {
  if (verdict) li.dataset.verdict = verdict; else delete li.dataset.verdict;
  li.querySelector('.verdict').dataset.said = verdict || '';
}
for (const input of [least, text, map]) input.addEventListener('input', show);
document.querySelector('form').addEventListener('submit', event => event.preventDefault());
document.addEventListener('keydown', event => {
  if (event.target.matches('input[type=search], input[type=number]')) return;
  const shown = seen(), at = shown.indexOf(document.activeElement);
  const go = to => { const li = shown[Math.max(0, Math.min(shown.length - 1, to))]; if (li) li.focus(); };
  if (event.key === 'j') go(at + 1);
  else if (event.key === 'k') go(at - 1);
  else if (event.key === 'm') { map.checked = !map.checked; show(); }
  else if (at >= 0 && 'dnu'.includes(event.key)) {
    mark(shown[at], { d: 'defect', n: 'normal', u: '' }[event.key]);
    if (event.key !== 'u') go(at + 1);
  } else return;
  event.preventDefault();
});
document.getElementById('save').addEventListener('click', () => {
  // An apostrophe in front of what a spreadsheet would take for a formula; tables are read without it.
  const quote = value => '"' + value.replace(/^'*[=+\-@\t\r]/, "'$&").replaceAll('"', '""') + '"';
  const rows = list.filter(li => li.dataset.verdict).map(li => quote(li.dataset.path) + ',' + li.dataset.verdict);
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob(['path,label\n' + rows.join('\n') + '\n'], { type: 'text/csv' }));
  link.download = 'verdicts.csv';
  link.click();
});
show();
"#;

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows of three places: the last place of the first row is at the right, not below.
    #[test]
    fn places_are_drawn_where_they_lie_in_the_picture() {
        let drawn = heat(&[vec![0.0, 1.0, 2.0], vec![3.0, 4.0, 5.0]]).into_string();
        assert!(drawn.contains("viewBox=\"0 0 3 2\""), "{drawn}");
        for (x, y, opacity) in [(0, 0, "0.00"), (2, 0, "0.22"), (0, 1, "0.33"), (2, 1, "0.55")] {
            let place = format!("x=\"{x}\" y=\"{y}\" width=\"1\" height=\"1\"");
            let rest = drawn.split(&place).nth(1).unwrap_or_else(|| panic!("nothing at {x}, {y}: {drawn}"));
            let found = rest.split("fill-opacity=\"").nth(1).unwrap();
            assert!(found.starts_with(opacity), "at {x}, {y}: {drawn}");
        }
        assert_eq!(heat(&[]).into_string(), "");
    }

    /// The page of a detector whose rates are easy to distinguish, with 3 of 40 images flagged.
    fn page(limits: &[&str], places: Vec<Vec<f64>>, skipped: usize) -> String {
        page_of([3, skipped], limits, places)
    }

    fn page_of([flagged, skipped]: [usize; 2], limits: &[&str], places: Vec<Vec<f64>>) -> String {
        use skewbench::bundle::{Calibration, Threshold};
        let record = crate::support::committed::record("table1", "simclr", 0);
        let calibration = Calibration { slope: 1.0, intercept: 0.0, error: 0.0634 };
        let threshold = Threshold {
            logit: 0.1234,
            chosen: "misses=5%".to_owned(),
            false_positive_rate: [0.1, 0.05, 0.2],
            true_positive_rate: [0.7, 0.6, 0.8],
        };
        let manifest =
            Manifest::from_record((&record, "converged"), None, 0.5, calibration, threshold).unwrap();
        let mut manifest =
            Manifest { limits: limits.iter().map(|&limit| limit.to_owned()).collect(), ..manifest };
        (manifest.validation.normals, manifest.validation.defects) = (300, 20);
        let worth = |path: &str, flagged| super::super::ScoredImage {
            path: path.to_owned(),
            logit: 1.25,
            probability: 0.125,
            flagged,
        };
        let shown =
            |path, flagged, places| PageImage { worth: worth(path, flagged), uri: "data:,".into(), places };
        let shown = [shown("a<b.png", true, places), shown("c.png", false, Vec::new())];
        let found = Summary { scored: 40, flagged, skipped };
        render(&manifest, 0.025, &found, &shown).into_string().replace('\u{a0}', " ")
    }

    #[test]
    fn the_page_doubts_images_that_are_unlike_validations() {
        let html = page_of([40, 0], &[], Vec::new());
        let doubt = "<p class=\"doubt\" role=\"note\">100.0 % of these images are flagged, more than if every one had a \
                     defect: of validation's defects it was 70.0 %.";
        assert!(html.contains(doubt), "{html}");
        assert!(!page(&[], Vec::new(), 0).contains("doubt\""));
    }

    #[test]
    fn the_page_says_what_the_detector_does_and_for_which_site() {
        let html = page(&[], Vec::new(), 0);
        for part in [
            "<h1>3 of 40 images flagged</h1>",
            "SimCLR on ResNet-18 (<code>table1/simclr-resnet18-share45-seed0</code>)",
            "flags those above logit 0.123 (misses=5%)",
            "On the validation images of synthetic (300 normal images, 20 defects) it flagged 10.0 % (5.0 % to 20.0 %) of the \
             normal images and 70.0 % (60.0 % to 80.0 %) of the defects",
            "for a site where 2.5 % of images have a defect; their expected calibration error was 0.063",
            "This detector has no heat map.",
        ] {
            assert!(html.contains(part), "no '{part}': {html}");
        }
        assert!(
            !html.contains("could not be read") && !html.contains("Notes on its training data"),
            "{html}"
        );
        let html = page(&["drawn", "small"], vec![vec![1.0]], 4);
        assert!(
            html.contains("4 images could not be read") && html.contains("Notes on its training data"),
            "{html}"
        );
        assert!(
            html.contains("<li>drawn</li><li>small</li>") && html.contains("class activation map"),
            "{html}"
        );
    }

    #[test]
    fn images_are_numbered_and_what_is_flagged_is_marked() {
        let html = page(&[], vec![vec![1.0, 2.0]], 0);
        let items: Vec<&str> = html.split("<li ").skip(1).collect();
        let [first, second] = items[..] else { panic!("{html}") };
        assert!(first.contains("<b>1.</b> \u{2691} flagged") && first.contains("class=\"heat\""), "{first}");
        assert!(second.contains("<b>2.</b>") && !second.contains("flagged"), "{second}");
        for item in [first, second] {
            assert!(item.contains("data-probability=\"0.125\""), "{item}");
            assert!(item.contains("logit 1.25, probability 12.5 %"), "{item}");
        }
        assert!(first.contains("data-path=\"a&lt;b.png\""), "{first}");
    }

    /// The page's filter reads the probability of each image.
    #[test]
    fn each_image_carries_its_path_and_probability() {
        let html = page(&[], Vec::new(), 0);
        assert!(html.contains("data-path=\"a&lt;b.png\" data-probability=\"0.125\""), "{html}");
        assert!(html.contains("data-path=\"c.png\" data-probability=\"0.125\""), "{html}");
    }

    /// Only the differences between places count: these all lower the logit, the others all raise it.
    #[test]
    fn a_map_of_low_places_is_as_strong_as_one_of_high_places() {
        let [low, high] = [-9.0, 7.0]
            .map(|first| heat(&[vec![first, first + 1.0], vec![first + 2.0, first + 4.0]]).into_string());
        assert_eq!(low, high);
        let opacity = |part: &str| part.split('"').next().unwrap().to_owned();
        let found: Vec<String> = low.split("fill-opacity=\"").skip(1).map(opacity).collect();
        assert!(found.len() == 4 && found[0] == "0.00" && found[3] == "0.55", "{found:?}");
        // Where no place stands out, none is shown.
        assert_eq!(heat(&[vec![-2.5, -2.5]]).into_string().matches("fill-opacity=\"0.00\"").count(), 2);
    }
}
