//! Thresholds: the logit above which an image is flagged, chosen on validation images.

use std::{fmt, str::FromStr};

use anyhow::{Context, Error, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::Calibration;
use crate::analysis::intervals::proportion_interval;

/// How a threshold is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FlagAt {
    /// At the probe's own threshold, logit 0.
    Own,
    /// The lowest threshold that flags at most this fraction of validation's normal images.
    FalseAlarms(f64),
    /// The highest threshold that misses at most this fraction of validation's defects.
    Misses(f64),
    /// The threshold with the lowest expected cost, given the cost of each error and the rate of defects.
    Costs {
        /// Cost of a missed defect.
        miss: f64,
        /// Cost of a false alarm, in the same unit.
        alarm: f64,
    },
}

/// A threshold, how it was chosen, and its rates on the validation images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// Images with a higher logit are flagged.
    pub logit: f64,
    /// How it was chosen, spelled as on the command line.
    pub chosen: String,
    /// Fraction of validation's normal images that it flags, with the ends of its 95 % interval over images; slightly
    /// too low if the threshold was chosen on these images.
    pub false_positive_rate: [f64; 3],
    /// Fraction of validation's defects that it flags, with its interval.
    pub true_positive_rate: [f64; 3],
}

impl Threshold {
    /// Chooses a threshold. `rate` is the rate of defects where it will be used.
    ///
    /// # Errors
    /// If a label is missing, or if costs are requested but the probe's logits do not increase with the odds of a
    /// defect.
    pub fn choose(
        how: FlagAt,
        logits: &[f64],
        defects: &[bool],
        calibration: &Calibration,
        rate: f64,
    ) -> Result<Self> {
        let of = |wanted: bool| -> Vec<f64> {
            let chosen = logits.iter().zip(defects).filter(|(_, defect)| **defect == wanted);
            let mut sorted: Vec<f64> = chosen.map(|(logit, _)| *logit).collect();
            sorted.sort_by(f64::total_cmp);
            sorted
        };
        let (normals, positives) = (of(false), of(true));
        ensure!(!normals.is_empty() && !positives.is_empty(), "a threshold needs normal images and defects");
        let logit = match how {
            FlagAt::Own => 0.0,
            FlagAt::FalseAlarms(part) => {
                let allowed = part_of(part, normals.len());
                normals[normals.len() - 1 - allowed.min(normals.len() - 1)]
            }
            FlagAt::Misses(part) => {
                let allowed = part_of(part, positives.len());
                positives[allowed.min(positives.len() - 1)].next_down()
            }
            FlagAt::Costs { miss, alarm } => calibration.logit_at(alarm / (alarm + miss), rate)?,
        };
        let flagged = |of: &[f64]| {
            let found = of.iter().filter(|other| **other > logit).count();
            let part = proportion_interval(found as f64, of.len() as f64);
            [part.estimate, part.low, part.high]
        };
        Ok(Self {
            logit,
            chosen: how.to_string(),
            false_positive_rate: flagged(&normals),
            true_positive_rate: flagged(&positives),
        })
    }

    /// Returns a warning if the images cannot be like the validation images: if more are flagged than if every one
    /// had a defect, or fewer than if none had. Whatever the rate of defects, the flagged share of images like
    /// validation's lies between the two rates. It must lie outside by more than the 95 % intervals of both.
    pub fn doubt(&self, flagged: usize, scored: usize) -> Option<String> {
        if scored == 0 {
            return None;
        }
        let share = proportion_interval(flagged as f64, scored as f64);
        let ([false_alarms, least, _], [hits, _, most]) = (self.false_positive_rate, self.true_positive_rate);
        let (comparison, of, rate) = match share {
            _ if share.low > most => ("more than if every one had a defect", "defects", hits),
            _ if share.high < least => ("fewer than if none had a defect", "normal images", false_alarms),
            _ => return None,
        };
        Some(format!(
            "{:.1} % of these images are flagged, {comparison}: of validation's {of} it was {:.1} %. The images differ \
             from those that the detector was made with, so its rates and probabilities do not hold here",
            100.0 * share.estimate,
            100.0 * rate
        ))
    }
}

/// Largest whole number of images that is at most `part` of `count`. 29 % of 100 gives 29, although the floating-point
/// number for 0.29 is slightly smaller.
fn part_of(part: f64, count: usize) -> usize {
    (part * count as f64 + 1e-9) as usize
}

impl FlagAt {
    /// Help text for the command line.
    pub const HELP: &'static str = "\
Score above which an image is flagged, chosen on the validation images:
  own               the probe's own threshold (logit 0)
  false-alarms=1%   the lowest threshold that flags at most 1 % of normal images
  misses=5%         the highest threshold that misses at most 5 % of defects
  costs=50:1        a missed defect costs 50 times a false alarm; --rate says how many images have a defect";
}

impl FromStr for FlagAt {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let part = |text: &str| -> Result<f64> {
            let share: crate::data::Share = text.parse()?;
            share.fraction().context("expected a percentage like '1%'")
        };
        match text.split_once('=') {
            None if text == "own" => Ok(Self::Own),
            Some(("false-alarms", text)) => Ok(Self::FalseAlarms(part(text)?)),
            Some(("misses", text)) => Ok(Self::Misses(part(text)?)),
            Some(("costs", costs)) => {
                let (miss, alarm) =
                    costs.split_once(':').context("expected two costs, such as costs=50:1")?;
                let cost = |text: &str| -> Result<f64> {
                    let cost: f64 = text.trim().parse().with_context(|| format!("'{text}' is not a cost"))?;
                    ensure!(cost > 0.0 && cost.is_finite(), "expected a cost above 0, found {cost}");
                    Ok(cost)
                };
                Ok(Self::Costs { miss: cost(miss)?, alarm: cost(alarm)? })
            }
            _ => bail!("expected own, false-alarms=1%, misses=5% or costs=50:1, found '{text}'"),
        }
    }
}

impl fmt::Display for FlagAt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => formatter.write_str("own"),
            Self::FalseAlarms(part) => write!(formatter, "false-alarms={}%", 100.0 * part),
            Self::Misses(part) => write!(formatter, "misses={}%", 100.0 * part),
            Self::Costs { miss, alarm } => write!(formatter, "costs={miss}:{alarm}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 100 images a fifth (0.13 to 0.29) or four fifths (0.71 to 0.87) may be flagged by chance where the rates are
    /// 0.3 and 0.7 with intervals 0.05 to either side. Outside: 0.10 (up to 0.174) and 0.90 (from 0.826).
    #[test]
    fn more_hits_than_defects_could_give_are_doubted() {
        let threshold = Threshold {
            logit: 0.0,
            chosen: "own".to_owned(),
            false_positive_rate: [0.3, 0.25, 0.35],
            true_positive_rate: [0.7, 0.65, 0.75],
        };
        for flagged in [20, 30, 50, 70, 80] {
            assert_eq!(threshold.doubt(flagged, 100), None, "{flagged}");
        }
        assert_eq!(threshold.doubt(0, 0), None);
        assert_eq!(threshold.doubt(1, 1), None, "a single image proves nothing");
        let more = threshold.doubt(90, 100).unwrap();
        let begin = "90.0 % of these images are flagged, more than if every one had a defect: of validation's defects \
                     it was 70.0 %. ";
        assert!(more.starts_with(begin), "{more}");
        let fewer = threshold.doubt(10, 100).unwrap();
        let begin = "10.0 % of these images are flagged, fewer than if none had a defect: of validation's normal images \
                     it was 30.0 %. ";
        assert!(fewer.starts_with(begin), "{fewer}");
    }

    /// Normal images at 0, 1, ... 99, defects at 50, 51, ... 149.
    fn images() -> (Vec<f64>, Vec<bool>) {
        (0..200).map(|place| (f64::from(if place < 100 { place } else { place - 50 }), place >= 100)).unzip()
    }

    #[test]
    fn thresholds_keep_what_was_asked() {
        let (logits, defects) = images();
        let calibration = Calibration { slope: 1.0, intercept: 0.0, error: 0.0 };
        let choose = |text: &str, rate| {
            Threshold::choose(text.parse().unwrap(), &logits, &defects, &calibration, rate).unwrap()
        };
        let own = choose("own", 0.5);
        assert_eq!((own.logit, own.false_positive_rate[0], own.true_positive_rate[0]), (0.0, 0.99, 1.0));
        let alarms = choose("false-alarms=5%", 0.5);
        assert_eq!((alarms.false_positive_rate[0], alarms.logit), (0.05, 94.0));
        // A fraction of an image is rounded down.
        let alarms = choose("false-alarms=2.5%", 0.5);
        assert_eq!((alarms.false_positive_rate[0], alarms.logit), (0.02, 97.0));
        assert_eq!(choose("misses=2.5%", 0.5).true_positive_rate[0], 0.98);
        let misses = choose("misses=10%", 0.5);
        assert!((misses.true_positive_rate[0] - 0.9).abs() < 1e-12, "{misses:?}");
        // Even odds in the images and equal costs: the threshold is where the calibrated odds are even.
        assert!(choose("costs=1:1", 0.5).logit.abs() < 1e-12);
        // A miss costs nine times as much: p = 0.1, log odds of -ln 9. At a site with one defect in ten the logit is
        // higher by the same amount.
        assert!((choose("costs=9:1", 0.5).logit + 9_f64.ln()).abs() < 1e-9);
        assert!(choose("costs=9:1", 0.1).logit.abs() < 1e-9);
        for bad in ["x", "costs=1", "costs=0:1", "misses=natural", "false-alarms=200%"] {
            assert!(bad.parse::<FlagAt>().is_err(), "{bad}");
        }
    }

    /// Of a hundred images, n % allows exactly n images; fractions of an image are rounded down.
    #[test]
    fn whole_numbers_of_images_are_allowed_whole() {
        for percent in 1..100 {
            let share: crate::data::Share = format!("{percent}%").parse().unwrap();
            assert_eq!(part_of(share.fraction().unwrap(), 100), percent, "{percent} %");
        }
        assert_eq!([part_of(0.025, 100), part_of(0.999, 100), part_of(0.05, 19)], [2, 99, 0]);
    }

    #[test]
    fn how_a_threshold_is_chosen_is_said_as_it_was_asked() {
        for text in ["own", "false-alarms=5%", "misses=2.5%", "costs=50:1", "costs=1:4"] {
            assert_eq!(text.parse::<FlagAt>().unwrap().to_string(), text);
        }
        // The cost of a miss comes first.
        assert_eq!("costs=50:1".parse::<FlagAt>().unwrap(), FlagAt::Costs { miss: 50.0, alarm: 1.0 });
    }
    /// Five of a hundred normal images and 55 of a hundred defects are above 94.
    #[test]
    fn a_threshold_states_its_rates_with_their_intervals() {
        let (logits, defects) = images();
        let calibration = Calibration { slope: 1.0, intercept: 0.0, error: 0.0 };
        let choose = |logits: &[f64], defects: &[bool]| {
            Threshold::choose(FlagAt::FalseAlarms(0.05), logits, defects, &calibration, 0.5)
        };
        let of = |found: f64| {
            let part = proportion_interval(found, 100.0);
            assert!(part.low < part.estimate && part.estimate < part.high);
            [found / 100.0, part.low, part.high]
        };
        let expected = Threshold {
            logit: 94.0,
            chosen: "false-alarms=5%".to_owned(),
            false_positive_rate: of(5.0),
            true_positive_rate: of(55.0),
        };
        assert_eq!(choose(&logits, &defects).unwrap(), expected);
        for (from, to) in [(0, 100), (100, 200)] {
            let error = choose(&logits[from..to], &defects[from..to]).unwrap_err().to_string();
            assert_eq!(error, "a threshold needs normal images and defects");
        }
    }

    #[test]
    fn examples_of_the_help_are_understood() {
        let examples = FlagAt::HELP.lines().skip(1).filter_map(|line| line.split_whitespace().next());
        let found: Vec<FlagAt> = examples.map(|text| text.parse().unwrap()).collect();
        let costs = FlagAt::Costs { miss: 50.0, alarm: 1.0 };
        assert_eq!(found, [FlagAt::Own, FlagAt::FalseAlarms(0.01), FlagAt::Misses(0.05), costs]);
    }

    #[test]
    fn what_is_no_way_to_choose_is_named() {
        for (text, expected) in [
            ("best", "expected own, false-alarms=1%, misses=5% or costs=50:1, found 'best'"),
            ("costs=5", "expected two costs, such as costs=50:1"),
            ("costs=5:x", "'x' is not a cost"),
            ("costs=5:0", "expected a cost above 0, found 0"),
            ("costs=inf:1", "expected a cost above 0, found inf"),
            ("costs=-2:1", "expected a cost above 0, found -2"),
        ] {
            assert_eq!(text.parse::<FlagAt>().unwrap_err().to_string(), expected);
        }
    }

    /// Odds that fall with the logits have no logit above which flagging is cheaper; other ways do not need odds.
    #[test]
    fn costs_choose_nothing_if_the_odds_do_not_rise() {
        let (logits, defects) = images();
        for (slope, said) in [(0.0, "0.000"), (-0.25, "-0.250")] {
            let calibration = Calibration { slope, intercept: 1.0, error: 0.0 };
            let choose = |how| Threshold::choose(how, &logits, &defects, &calibration, 0.1);
            let error = choose(FlagAt::Costs { miss: 9.0, alarm: 2.0 }).unwrap_err().to_string();
            let expected = format!(
                "on validation images, the odds of a defect do not rise with the logits of this detector (slope {said}): a \
                 threshold cannot be chosen by costs"
            );
            assert_eq!(error, expected);
            assert_eq!(choose(FlagAt::Misses(0.1)).unwrap().true_positive_rate[0], 0.9);
        }
    }
}
