//! Groups: images that belong together, such as all of one pipe, module, video or patient. A split keeps a group on
//! one side, and the uncertainty of scores is computed over groups rather than images.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::LazyLock};

use anyhow::{Context as _, Error, Result, ensure};
use regex::Regex;

use super::words;

/// In a name such as `pipe07_frame0012.png`, everything before the last number, up to and including its last digit.
static BEFORE_THE_LAST_NUMBER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"([^/]*[0-9])[^/0-9]+[0-9]+(?:\.[^./]+)?$").expect("a sound pattern"));

/// How an image's group is derived from its name.
#[derive(Clone, Debug)]
pub enum GroupBy {
    /// The folder that contains it.
    Parent,
    /// The part of the file's name before its last number: `pipe07` for `pipe07_frame0012.png`.
    Name,
    /// The match of a regular expression in the path below the data's folder: its first capture group, or the whole
    /// match.
    Pattern(Regex),
}

impl GroupBy {
    /// Help text for the command line.
    pub const HELP: &'static str = "\
Which images belong together (a pipe, a module, a video, a patient):
  parent    images of one folder: pipe07/frame0012.png
  name      the part before the last number in a file's name: pipe07 of
            pipe07_frame0012.png
  PATTERN   a regular expression on the path below the data's folder: its first
            group, or all of its match
A random split keeps each group on one side, a given split with a group on both
sides is refused, and intervals over images become intervals over groups. A
table may have a column `group` instead";

    /// Returns the group of an image.
    ///
    /// # Errors
    /// If this rule finds no group in its name.
    pub fn group_of(&self, name: &str) -> Result<String> {
        let pattern = match self {
            Self::Parent => {
                let parent = parent(name).with_context(|| {
                    format!(
                        "--group-by parent: {name} lies in no folder of its own, but in that of its label"
                    )
                })?;
                return Ok(parent.to_owned());
            }
            Self::Name => &*BEFORE_THE_LAST_NUMBER,
            Self::Pattern(pattern) => pattern,
        };
        let group = found(pattern, name).filter(|group| !group.is_empty());
        let group = group.with_context(|| format!("--group-by {self}: no group found in '{name}'"))?;
        Ok(group.to_owned())
    }
}

fn found<'n>(pattern: &Regex, name: &'n str) -> Option<&'n str> {
    let found = pattern.captures(name)?;
    found.get(1).or(found.get(0)).map(|text| text.as_str())
}

/// The folder that contains an image, unless it is that of its label or split.
fn parent(name: &str) -> Option<&str> {
    let parent = name.rsplit('/').nth(1)?;
    (words::is_defect(parent).is_none() && words::is_train(parent).is_none()).then_some(parent)
}

impl FromStr for GroupBy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        ensure!(!text.is_empty(), "expected parent, name or a regular expression");
        Ok(match text {
            "parent" => Self::Parent,
            "name" => Self::Name,
            pattern => {
                Self::Pattern(Regex::new(pattern).context("expected parent, name or a regular expression")?)
            }
        })
    }
}

impl fmt::Display for GroupBy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parent => formatter.write_str("parent"),
            Self::Name => formatter.write_str("name"),
            Self::Pattern(pattern) => write!(formatter, "'{pattern}'"),
        }
    }
}

/// Returns a hint if names seem to state groups: at least half of them do, with two or more images per group on
/// average. Folders count if their names contain a number.
pub fn suggestion<'n>(names: impl Iterator<Item = &'n str>) -> Option<String> {
    let names: Vec<&str> = names.collect();
    let numbered = |name: &&str| name.bytes().any(|byte| byte.is_ascii_digit());
    let parents = names.iter().filter_map(|name| parent(name)).filter(numbered);
    let starts = names.iter().filter_map(|name| found(&BEFORE_THE_LAST_NUMBER, name));
    suggested("parent", parents, names.len()).or_else(|| suggested("name", starts, names.len()))
}

/// The hint for a rule that finds `groups` in this number of `names`.
fn suggested<'n>(rule: &str, groups: impl Iterator<Item = &'n str>, names: usize) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    groups.for_each(|group| *counts.entry(group).or_default() += 1);
    let images: usize = counts.values().sum();
    let (first, count) = counts.first_key_value()?;
    (counts.len() >= 2 && 2 * counts.len() <= images && 2 * images >= names).then(|| {
        format!(
            "names suggest {} groups, such as {first} with {count} images; if each is one pipe, module or video, give \
             --group-by {rule}: images of one on both sides of a split make scores too good",
            counts.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("name", "normal/pipe07_frame0012.png", "pipe07")]
    #[case("name", "p00_f01.png", "p00")]
    #[case("name", "2024-05-01_cam2_0001.jpeg", "2024-05-01_cam2")]
    #[case("parent", "defect/pipe03/x1.png", "pipe03")]
    #[case("p[0-9]+", "normal/p12_f3.png", "p12")]
    #[case("^[^/]+/([a-z]+)", "normal/north_1.png", "north")]
    #[case("([a-z]+)_([0-9]+)", "normal/north_17.png", "north")]
    #[case("x(y)?", "ax.png", "x")]
    #[case("([A-Z]+)[0-9]", "north/aB7CD8.png", "B")]
    #[case(r"Cam\D(\d+)", "x/cam_1/Cam_72.png", "72")]
    #[case("Parent|NAME", "a/NAME/b.png", "NAME")]
    fn groups_are_found(#[case] rule: &str, #[case] name: &str, #[case] expected: &str) {
        assert_eq!(rule.parse::<GroupBy>().unwrap().group_of(name).unwrap(), expected);
    }

    #[rstest]
    #[case("name", "normal/0001.png", "--group-by name: no group found in 'normal/0001.png'")]
    #[case(
        "parent",
        "train/OK/a.png",
        "--group-by parent: train/OK/a.png lies in no folder of its own, but in that of its label"
    )]
    #[case("x(y)?", "a.png", "--group-by 'x(y)?': no group found in 'a.png'")]
    #[case("x(y*)", "ax.png", "--group-by 'x(y*)': no group found in 'ax.png'")]
    #[case("z*", "ax.png", "--group-by 'z*': no group found in 'ax.png'")]
    fn images_without_a_group_are_named(#[case] rule: &str, #[case] name: &str, #[case] expected: &str) {
        assert_eq!(rule.parse::<GroupBy>().unwrap().group_of(name).unwrap_err().to_string(), expected);
        assert!("(".parse::<GroupBy>().is_err());
    }

    #[test]
    fn groups_are_suggested_where_names_have_them() {
        let frames: Vec<String> = (0..24).map(|i| format!("p{:02}_f{:02}.png", i / 4, i % 4)).collect();
        let said = suggestion(frames.iter().map(String::as_str)).unwrap();
        assert!(said.starts_with("names suggest 6 groups, such as p00 with 4 images"), "{said}");
        let folders: Vec<String> = (0..24).map(|i| format!("normal/pipe{}/{i}.png", i / 4)).collect();
        assert!(suggestion(folders.iter().map(String::as_str)).unwrap().contains("--group-by parent"));
        for plain in ["normal/{:04}.png", "normal/cell{:04}.png", "normal/crack ({}).png"] {
            let names: Vec<String> = (0..24)
                .map(|i: i32| plain.replace("{:04}", &format!("{i:04}")).replace("{}", &i.to_string()))
                .collect();
            assert_eq!(suggestion(names.iter().map(String::as_str)), None, "{plain}");
        }
    }

    /// A hint requires at least half of the names, two or more images per group on average, and two groups.
    #[test]
    fn few_names_and_small_groups_suggest_nothing() {
        let said = |names: &[&str]| suggestion(names.iter().copied());
        // Two groups of two among eight images: exactly half.
        let half = ["p1_1", "p1_2", "p2_1", "p2_2", "a", "b", "c", "d"];
        assert!(said(&half).unwrap().starts_with("names suggest 2 groups, such as p1 with 2 images"));
        assert_eq!(said(&[&half[..], &["e"]].concat()), None, "four of nine");
        assert_eq!(said(&["p1_1", "p1_2", "p2_1"]), None, "three images of two groups");
        assert_eq!(said(&["p1_1", "p1_2", "p1_3", "p1_4"]), None, "one group tells nothing apart");
    }

    #[test]
    fn hints_and_rules_are_spelt_out() {
        let names: Vec<String> = (0..12).map(|i| format!("normal/pipe{}/{i}.png", i / 3)).collect();
        assert_eq!(
            suggestion(names.iter().map(String::as_str)).unwrap(),
            "names suggest 4 groups, such as pipe0 with 3 images; if each is one pipe, module or video, give --group-by \
             parent: images of one on both sides of a split make scores too good"
        );
        let frames = ["v1_1", "v1_2", "v1_3", "v2_1", "v2_2"];
        let said = suggestion(frames.into_iter()).unwrap();
        assert!(
            said.starts_with("names suggest 2 groups, such as v1 with 3 images; ")
                && said.contains("give --group-by name:")
        );
        for (text, shown) in [("parent", "parent"), ("name", "name"), ("p[0-9]", "'p[0-9]'")] {
            assert_eq!(text.parse::<GroupBy>().unwrap().to_string(), shown);
        }
        assert_eq!(
            "".parse::<GroupBy>().unwrap_err().to_string(),
            "expected parent, name or a regular expression"
        );
        assert_eq!(
            "(".parse::<GroupBy>().unwrap_err().to_string(),
            "expected parent, name or a regular expression"
        );
    }

    #[test]
    fn a_folder_of_a_label_or_split_is_no_group() {
        for (name, expected) in [
            ("normal/pipe1/a.png", Some("pipe1")),
            ("pipe1/normal/a.png", None),
            ("pipe1/train/a.png", None),
            ("val/NG/a.png", None),
            ("crack/a.png", Some("crack")),
            ("a.png", None),
        ] {
            assert_eq!(parent(name), expected, "{name}");
        }
    }
}
