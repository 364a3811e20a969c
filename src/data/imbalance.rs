//! Nested subsets with a given share of defects, cut from one seeded order of each class.
//!
//! The study's rule: keep all N normal images and the first floor(N p / (1 - p)) defects; if there are fewer, keep
//! all D defects and the first floor(D (1 - p) / p) normal images. Source: the study's published code; the rule
//! reproduces the sizes behind its Figure 2. Unlike in that code, subsets are nested (the 1 % set is part of the 2 %
//! set) and no rare class combination is dropped. Shares are exact fractions, so no size depends on rounding of
//! floats.
//!
//! Independent of images and files: the input is labels, the output is positions.

use std::{fmt, str::FromStr};

use anyhow::{Context as _, Error, Result, bail, ensure};

use crate::{
    data::{Labels, stratify},
    named::counted,
    seed::Seed,
};

/// A share of defects among all images in steps of 0.01 %, or the natural share.
///
/// Written as `1%`, `0.5%`, `natural`; fractions (`0.01`) are accepted, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(
    /// Hundredths of a percent, 1..=9,999; `None` for the natural share.
    Option<u16>,
);

impl Share {
    /// The natural share: no subsampling.
    pub const NATURAL: Self = Self(None);

    /// The five shares of the study.
    pub const STUDY: [Self; 5] =
        [Self::percent(1), Self::percent(2), Self::percent(5), Self::percent(15), Self::percent(45)];

    /// Creates a share from a whole percentage.
    ///
    /// # Panics
    /// If `percent` is outside 1..=99.
    pub const fn percent(percent: u16) -> Self {
        assert!(0 < percent && percent < 100, "a share lies strictly between 0 and 100 %");
        Self(Some(percent * 100))
    }

    /// Parses the share of a record: in (0, 1), or `None` for [`Self::NATURAL`].
    ///
    /// # Errors
    /// If it is outside 0.0001..=0.9999, or not a multiple of 0.0001.
    pub fn from_fraction(fraction: Option<f64>) -> Result<Self> {
        let Some(fraction) = fraction else { return Ok(Self::NATURAL) };
        let hundredths = (fraction * 10_000.0).round();
        ensure!(
            (1.0..=9_999.0).contains(&hundredths) && (fraction * 10_000.0 - hundredths).abs() < 1e-6,
            "a share of defects lies between 0.0001 and 0.9999 in steps of 0.0001, found {fraction}"
        );
        Ok(Self(Some(hundredths as u16)))
    }

    /// Returns the share in percent, `None` for [`Self::NATURAL`].
    pub fn in_percent(self) -> Option<f64> {
        self.0.map(|hundredths| f64::from(hundredths) / 100.0)
    }

    /// Returns the share in (0, 1), `None` for [`Self::NATURAL`].
    pub fn fraction(self) -> Option<f64> {
        self.0.map(|hundredths| f64::from(hundredths) / 10_000.0)
    }

    /// Returns a name for files and tests: `share01`, `share45`, `share00_5`, `natural`.
    pub fn id(self) -> String {
        match self.0 {
            None => "natural".to_owned(),
            Some(hundredths) => {
                let (whole, rest) = (hundredths / 100, hundredths % 100);
                match (rest, rest % 10) {
                    (0, _) => format!("share{whole:02}"),
                    (_, 0) => format!("share{whole:02}_{}", rest / 10),
                    _ => format!("share{whole:02}_{rest:02}"),
                }
            }
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("natural"),
            Some(hundredths) => write!(f, "{}%", f64::from(hundredths) / 100.0),
        }
    }
}

impl FromStr for Share {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "natural" {
            return Ok(Self::NATURAL);
        }
        let (number, scale) = match text.strip_suffix('%') {
            Some(percent) => (percent, 100.0),
            None => (text, 10_000.0),
        };
        let expected = "expected a percentage like '1%', a fraction like '0.01', or 'natural'";
        let number: f64 = number
            .trim()
            .parse()
            .with_context(|| format!("'{text}' is not a share of defects: {expected}"))?;
        let hundredths = (number * scale).round();
        ensure!(
            text.ends_with('%') || !(1.0..100.0).contains(&number),
            "'{text}' is not a share of defects: {number} per cent is written '{text}%'"
        );
        ensure!(
            (1.0..=9_999.0).contains(&hundredths),
            "a share of defects lies between 0.01 % and 99.99 %, found '{text}': {expected}"
        );
        ensure!(
            (number * scale - hundredths).abs() < 1e-6,
            "a share of defects is given in steps of 0.01 %, found '{text}'"
        );
        Ok(Self(Some(hundredths as u16)))
    }
}

/// Why a share, a label budget or a held-out class is impossible with these images, while another value may be
/// possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfReach(String);

impl OutOfReach {
    /// A budget of `defects` labelled defects when there are only `found`.
    pub fn budget(defects: usize, found: usize) -> Self {
        Self(format!("{defects} labelled defects were requested, but the training set has only {found}"))
    }

    /// A held-out class of this rank when the data have `known` classes.
    pub fn classes(rank: usize, known: usize) -> Self {
        Self(format!(
            "class {rank} (counted from 0, by number of images) cannot be held out: the data have {known} classes of \
             defects, and at least two are needed"
        ))
    }

    /// Too few validation images that show only the held-out class.
    pub fn unseen(class: &str, found: usize, fewest: usize) -> Self {
        Self(format!(
            "class '{class}' cannot be held out: only {found} validation images show this class alone, and at least \
             {fewest} are needed to score"
        ))
    }
}

impl fmt::Display for OutOfReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OutOfReach {}

/// Positions chosen from a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subset {
    /// Ascending positions in the data set.
    pub indices: Vec<usize>,
    /// How many of them are defects.
    pub defects: usize,
    /// How many of them are normal.
    pub normals: usize,
}

/// All images of a data set, in the two orders from which its subsets are cut.
///
/// Two subsets of one pool are nested class by class: the defects of one contain those of the other, and so do the
/// normal images.
pub struct Pool {
    defects: Vec<usize>,
    normals: Vec<usize>,
}

impl Pool {
    /// Minimum number of defects in a subset: with fewer than two, the spread is undefined.
    pub const FEWEST_DEFECTS: usize = 2;

    /// Orders the images: stratified by [`Labels::stratum`], shuffled by `seed`.
    pub fn new(labels: &[Labels], seed: &Seed) -> Self {
        let order = |defect, name| {
            stratify::order(
                labels,
                &stratify::positions(labels, defect),
                &seed.child("imbalance").child(name),
            )
        };
        Self { defects: order(true, "defect"), normals: order(false, "normal") }
    }

    /// Returns the largest subset with this share of defects by the study's rule (see the module).
    ///
    /// # Errors
    /// If it would have fewer than [`Self::FEWEST_DEFECTS`] defects, or no normal image.
    pub fn subset(&self, share: Share) -> Result<Subset> {
        let (defects, normals) = self.largest(share)?;
        Ok(self.cut(defects, normals))
    }

    /// Returns subsets of equal size that differ only in their share of defects.
    ///
    /// The size T is that of the smallest subset that [`Self::subset`] returns for `shares`; floor(T p) images are
    /// defects. This separates the effect of imbalance from that of more images and more steps.
    ///
    /// # Errors
    /// Those of [`Self::subset`], or if the common size leaves a share with too few defects.
    pub fn size_matched(&self, shares: &[Share]) -> Result<Vec<Subset>> {
        let mut total = self.defects.len() + self.normals.len();
        for &share in shares {
            let (defects, normals) = self.largest(share)?;
            total = total.min(defects + normals);
        }
        shares
            .iter()
            .map(|&share| {
                let (part, rest) = self.odds(share);
                let defects = total * part / (part + rest);
                ensure!(
                    defects >= Self::FEWEST_DEFECTS,
                    "{share} of {total} images (the size of the smallest subset asked for) is {defects} \
                     defects, at least {} are needed: leave out the share that forces so small a size, \
                     or take more images",
                    Self::FEWEST_DEFECTS
                );
                Ok(self.cut(defects, total - defects))
            })
            .collect()
    }

    /// Numbers of defects and normal images in the largest subset.
    fn largest(&self, share: Share) -> Result<(usize, usize)> {
        let (all_defects, all_normals) = (self.defects.len(), self.normals.len());
        ensure!(
            all_normals > 0,
            "no normal images: a share of defects needs both kinds (of {all_defects} images)"
        );
        if all_defects < Self::FEWEST_DEFECTS {
            bail!(
                "found {} among {} images, at least {} are needed: add images that show one, or look with doctor whether \
                 labels are read as you mean them",
                counted(all_defects, "defect", "defects"),
                all_defects + all_normals,
                Self::FEWEST_DEFECTS
            );
        }
        let (part, rest) = self.odds(share);
        let (defects, normals) = match all_normals * part / rest {
            wanted if wanted <= all_defects => (wanted, all_normals),
            _ => (all_defects, all_defects * rest / part),
        };
        if defects < Self::FEWEST_DEFECTS {
            // floor(N h / (10,000 - h)) >= fewest, solved for h.
            let lowest = (Self::FEWEST_DEFECTS * 10_000).div_ceil(all_normals + Self::FEWEST_DEFECTS);
            bail!(OutOfReach(format!(
                "{share} beside {all_normals} normal images selects {defects} of {all_defects} defects, \
                 at least {} are needed: the lowest share possible here is {}",
                Self::FEWEST_DEFECTS,
                Share(Some(lowest as u16))
            )));
        }
        ensure!(
            normals > 0,
            OutOfReach(format!(
                "{share} with {all_defects} defects leaves no normal image (of {all_normals}): choose a lower share"
            ))
        );
        Ok((defects, normals))
    }

    /// Odds of defects to normal images, p : 1 - p, as whole numbers.
    fn odds(&self, share: Share) -> (usize, usize) {
        match share.0 {
            Some(hundredths) => (usize::from(hundredths), 10_000 - usize::from(hundredths)),
            None => (self.defects.len(), self.normals.len()),
        }
    }

    fn cut(&self, defects: usize, normals: usize) -> Subset {
        let mut indices = [&self.defects[..defects], &self.normals[..normals]].concat();
        indices.sort_unstable();
        Subset { indices, defects, normals }
    }
}

/// Returns one validation set at several shares of defects. All normal images are kept as long as there are enough
/// defects; the defects are nested subsets, so one feature matrix serves all shares.
///
/// # Errors
/// Those of [`Pool::subset`].
pub fn validation_views(labels: &[Labels], shares: &[Share], seed: &Seed) -> Result<Vec<Subset>> {
    let pool = Pool::new(labels, seed);
    shares.iter().map(|&share| pool.subset(share)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ClassSet;

    /// Normal images first, then defects that cycle through `strata` strata.
    fn labels_of(normals: usize, defects: usize, strata: u32) -> Vec<Labels> {
        let normal = Labels { defect: false, classes: ClassSet::EMPTY, stratum: 0 };
        let mut labels = vec![normal; normals];
        labels.extend((0..defects as u32).map(|i| Labels {
            defect: true,
            stratum: 1 + i % strata,
            ..normal
        }));
        labels
    }

    fn sizes(subsets: &[Subset]) -> Vec<(usize, usize)> {
        subsets.iter().map(|subset| (subset.defects, subset.normals)).collect()
    }

    #[test]
    fn sizes_of_the_study_are_reproduced() {
        // Sewer-ML's validation split has 68,681 normal images and 61,365 defects (Haurum and Moeslund 2021, Table
        // 2). The expected numbers of defects are those in the test code that the study published; the totals of
        // 69,374 to 124,874 images agree with its Figure 2 to 0.6 points of F1.
        let views = validation_views(&labels_of(68_681, 61_365, 40), &Share::STUDY, &Seed::root(0)).unwrap();
        assert_eq!(
            sizes(&views),
            [(693, 68_681), (1_401, 68_681), (3_614, 68_681), (12_120, 68_681), (56_193, 68_681)]
        );
    }

    #[test]
    fn normals_shrink_where_defects_run_out() {
        // elpv as a whole: 821 defects and 1,803 normal images; 45 % needs 821 * 55 / 45 = 1,003.4 normal images.
        let pool = Pool::new(&labels_of(1_803, 821, 4), &Seed::root(0));
        let subset = pool.subset(Share::percent(45)).unwrap();
        assert_eq!((subset.defects, subset.normals, subset.indices.len()), (821, 1_003, 1_824));
    }

    #[test]
    fn subsets_are_nested_and_say_what_they_hold() {
        let labels = labels_of(500, 300, 7);
        let pool = Pool::new(&labels, &Seed::root(3));
        let subsets: Vec<Subset> = Share::STUDY.iter().map(|&share| pool.subset(share).unwrap()).collect();
        let defects_of = |subset: &Subset| -> Vec<usize> {
            subset.indices.iter().copied().filter(|&index| labels[index].defect).collect()
        };
        for pair in subsets.windows(2) {
            let larger = defects_of(&pair[1]);
            assert!(defects_of(&pair[0]).iter().all(|index| larger.binary_search(index).is_ok()));
        }
        for subset in &subsets {
            assert!(subset.indices.windows(2).all(|pair| pair[0] < pair[1]));
            assert_eq!(defects_of(subset).len(), subset.defects);
            assert_eq!(subset.indices.len(), subset.defects + subset.normals);
        }
        assert_eq!(subsets[3], Pool::new(&labels, &Seed::root(3)).subset(Share::percent(15)).unwrap());
        assert_ne!(subsets[3], Pool::new(&labels, &Seed::root(4)).subset(Share::percent(15)).unwrap());
    }

    #[test]
    fn the_natural_share_changes_nothing() {
        let pool = Pool::new(&labels_of(20, 7, 2), &Seed::root(0));
        let subset = pool.subset(Share::NATURAL).unwrap();
        assert_eq!(subset.indices, (0..27).collect::<Vec<_>>());
        assert_eq!((subset.defects, subset.normals), (7, 20));
    }

    #[test]
    fn matched_subsets_have_one_size() {
        let pool = Pool::new(&labels_of(1_803, 821, 4), &Seed::root(0));
        let shares = [&Share::STUDY[..], &[Share::NATURAL]].concat();
        let matched = pool.size_matched(&shares).unwrap();
        // The smallest subset is 1 %, with 18 + 1,803 = 1,821 images. Defects are floor(1,821 p).
        assert_eq!(
            sizes(&matched),
            [(18, 1_803), (36, 1_785), (91, 1_730), (273, 1_548), (819, 1_002), (569, 1_252)]
        );
    }

    #[test]
    fn matched_sizes_are_feasible_for_all_compositions() {
        for normals in [5, 40, 99, 1_000] {
            for defects in [2, 3, 17, 100, 1_000] {
                let pool = Pool::new(&labels_of(normals, defects, 1), &Seed::root(0));
                for lowest in 1..99 {
                    let shares = [Share::percent(lowest), Share::percent(99 - lowest / 2), Share::NATURAL];
                    // Cutting more images than exist would panic.
                    if let Ok(matched) = pool.size_matched(&shares) {
                        assert!(matched.windows(2).all(|p| p[0].indices.len() == p[1].indices.len()));
                    }
                }
            }
        }
    }

    #[test]
    fn too_few_defects_is_an_error_that_says_what_is_possible() {
        let pool = Pool::new(&labels_of(150, 37, 1), &Seed::root(0));
        assert_eq!(
            pool.subset(Share::percent(1)).unwrap_err().to_string(),
            "1% beside 150 normal images selects 1 of 37 defects, at least 2 are needed: the lowest \
             share possible here is 1.32%"
        );
        // The share named in the message is possible, and a hundredth of a percent less is not.
        assert_eq!(pool.subset(Share(Some(132))).unwrap().defects, 2);
        assert!(pool.subset(Share(Some(131))).is_err());

        let one = Pool::new(&labels_of(150, 1, 1), &Seed::root(0));
        assert_eq!(
            one.subset(Share::NATURAL).unwrap_err().to_string(),
            "found 1 defect among 151 images, at least 2 are needed: add images that show one, or look with doctor \
             whether labels are read as you mean them"
        );
        assert!(Pool::new(&labels_of(0, 9, 1), &Seed::root(0)).subset(Share::NATURAL).is_err());
    }

    #[test]
    fn shares_are_read_and_named() {
        for (text, shown, id) in [
            ("1%", "1%", "share01"),
            ("0.01", "1%", "share01"),
            ("45%", "45%", "share45"),
            ("0.29", "29%", "share29"),
            ("0.5 %", "0.5%", "share00_5"),
            ("12.25%", "12.25%", "share12_25"),
            ("0.05%", "0.05%", "share00_05"),
            ("natural", "natural", "natural"),
        ] {
            let share: Share = text.parse().unwrap();
            assert_eq!((share.to_string().as_str(), share.id().as_str()), (shown, id));
            assert_eq!(shown.parse::<Share>().unwrap(), share);
        }
        for wrong in ["0", "1", "100%", "-0.1", "0.001%", "0.000151", "one", "", "nan"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
        assert_eq!(Share::percent(15).fraction(), Some(0.15));
    }

    /// Computed in Python from the definition of the order, with `blake3` and ChaCha8 written out.
    #[test]
    fn subsets_are_pinned() {
        let normal = Labels { defect: false, classes: ClassSet::EMPTY, stratum: 0 };
        let strata = [0, 0, 0, 0, 0, 0, 5, 5, 5, 1, 2, 1, 1, 2, 1, 7];
        let labels: Vec<Labels> = (0..16)
            .zip(strata)
            .map(|(index, stratum)| Labels { defect: index >= 9, stratum, ..normal })
            .collect();
        let pool = Pool::new(&labels, &Seed::root(3));
        assert_eq!(pool.defects, [14, 13, 11, 12, 10, 9, 15]);
        assert_eq!(pool.normals, [7, 4, 2, 8, 1, 3, 6, 0, 5]);
        // 9 * 25 / 75 = 3 defects; 7 * 20 / 80 = 1.75 normal images.
        let quarter = Subset { indices: vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 13, 14], defects: 3, normals: 9 };
        assert_eq!(pool.subset(Share::percent(25)).unwrap(), quarter);
        let most = Subset { indices: vec![7, 9, 10, 11, 12, 13, 14, 15], defects: 7, normals: 1 };
        assert_eq!(pool.subset(Share::percent(80)).unwrap(), most);
        let views =
            validation_views(&labels, &[Share::percent(80), Share::percent(25)], &Seed::root(3)).unwrap();
        assert_eq!(views, [most, quarter]);
        // Eight images each, as many as the smaller has.
        let matched = pool.size_matched(&[Share::percent(25), Share::percent(80)]).unwrap();
        assert_eq!(matched[0].indices, [1, 2, 3, 4, 7, 8, 13, 14]);
        assert_eq!(matched[1].indices, [4, 7, 9, 10, 11, 12, 13, 14]);
        assert_eq!(sizes(&matched), [(2, 6), (6, 2)]);
    }

    #[test]
    fn shares_that_leave_nothing_are_told_with_all_numbers() {
        let pool = Pool::new(&labels_of(40, 9, 1), &Seed::root(0));
        let error = pool.subset(Share::percent(95)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "95% with 9 defects leaves no normal image (of 40): choose a lower share"
        );
        assert!(error.downcast_ref::<OutOfReach>().is_some(), "another share may be possible");
        let low = pool.subset(Share::percent(1)).unwrap_err();
        assert!(low.downcast_ref::<OutOfReach>().is_some());
        let none = Pool::new(&labels_of(0, 9, 1), &Seed::root(0)).subset(Share::percent(5)).unwrap_err();
        assert_eq!(none.to_string(), "no normal images: a share of defects needs both kinds (of 9 images)");
        assert!(none.downcast_ref::<OutOfReach>().is_none(), "no share is possible");
        // 90 % of 9 defects have one normal image: ten images, of which 15 % are one.
        let error = pool.size_matched(&[Share::percent(90), Share::percent(15)]).unwrap_err().to_string();
        assert!(
            error.starts_with("15% of 10 images (the size of the smallest subset asked for) is 1 defects, at least 2 are needed"),
            "{error}"
        );
    }

    #[test]
    fn what_is_out_of_reach_is_said_in_numbers() {
        assert_eq!(
            OutOfReach::budget(30, 7).to_string(),
            "30 labelled defects were requested, but the training set has only 7"
        );
        assert_eq!(
            OutOfReach::classes(4, 3).to_string(),
            "class 4 (counted from 0, by number of images) cannot be held out: the data have 3 classes of defects, and at \
             least two are needed"
        );
        assert_eq!(
            OutOfReach::unseen("crack", 6, 20).to_string(),
            "class 'crack' cannot be held out: only 6 validation images show this class alone, and at least 20 are needed \
             to score"
        );
    }

    #[test]
    fn shares_of_records_are_fractions_in_steps() {
        let share = Share::from_fraction(Some(0.0725)).unwrap();
        assert_eq!((share.fraction(), share.in_percent()), (Some(0.0725), Some(7.25)));
        assert_eq!((share.to_string(), share.id()), ("7.25%".to_owned(), "share07_25".to_owned()));
        assert_eq!(Share::from_fraction(None).unwrap(), Share::NATURAL);
        assert_eq!((Share::NATURAL.fraction(), Share::NATURAL.in_percent()), (None, None));
        for bound in [0.0001, 0.9999] {
            assert_eq!(Share::from_fraction(Some(bound)).unwrap().fraction(), Some(bound));
        }
        for wrong in [0.0, 0.00004, 1.0, -0.2, 0.12345, f64::NAN] {
            let error = Share::from_fraction(Some(wrong)).unwrap_err().to_string();
            assert!(error.ends_with(&format!("in steps of 0.0001, found {wrong}")), "{error}");
        }
        assert_eq!(Share::STUDY.map(Share::in_percent), [1.0, 2.0, 5.0, 15.0, 45.0].map(Some));
    }

    #[test]
    fn wrong_shares_are_told_apart() {
        let expected = "expected a percentage like '1%', a fraction like '0.01', or 'natural'";
        for (text, message) in [
            ("one", format!("'one' is not a share of defects: {expected}")),
            ("15", "'15' is not a share of defects: 15 per cent is written '15%'".to_owned()),
            ("1", "'1' is not a share of defects: 1 per cent is written '1%'".to_owned()),
            ("100", format!("a share of defects lies between 0.01 % and 99.99 %, found '100': {expected}")),
            ("0%", format!("a share of defects lies between 0.01 % and 99.99 %, found '0%': {expected}")),
            ("1.234%", "a share of defects is given in steps of 0.01 %, found '1.234%'".to_owned()),
        ] {
            assert_eq!(text.parse::<Share>().unwrap_err().to_string(), message);
        }
        for (text, hundredths) in [("99.99%", 9_999), ("0.01%", 1), ("0.9999", 9_999), ("0.0001", 1)] {
            assert_eq!(text.parse::<Share>().unwrap(), Share(Some(hundredths)));
        }
    }

    /// Many of these lie just below or above a whole number of hundredths when they are multiplied.
    #[test]
    fn every_share_is_read_as_it_is_written() {
        for hundredths in 1..=9_999_u16 {
            let share = Share(Some(hundredths));
            let percent = format!("{}.{:02}%", hundredths / 100, hundredths % 100);
            for text in [percent, format!("0.{hundredths:04}"), share.to_string()] {
                assert_eq!(text.parse::<Share>().unwrap(), share, "{text}");
            }
            assert_eq!(Share::from_fraction(share.fraction()).unwrap(), share);
        }
    }

    /// 5 % beside 100 normal images are floor(100 / 19) = 5 defects; five defects alone would allow
    /// floor(5 x 19) = 95 normal images.
    #[test]
    fn no_normal_image_is_left_out_where_the_defects_just_suffice() {
        for (found, expected) in [(6, (5, 100)), (5, (5, 100)), (4, (4, 76))] {
            let subset =
                Pool::new(&labels_of(100, found, 2), &Seed::root(1)).subset(Share::percent(5)).unwrap();
            assert_eq!((subset.defects, subset.normals), expected, "{found} defects");
            assert_eq!(subset.indices.len(), expected.0 + expected.1);
        }
    }
}
