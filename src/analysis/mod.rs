//! Analysis of many records: one long table, and statistics with their uncertainty.
//!
//! Records of any number of folders and the paper's printed numbers have the same shape ([`frame`]), with typed axes
//! ([`cell`]) and measures ([`measure`]); [`reading`] reports what could not be read or must not be mixed. The spread
//! over seeds comes from [`noise`] only. The other statistics take plain slices and do not depend on tables;
//! [`difference`] and [`tables`] combine both.

pub mod best;
pub mod cell;
pub mod comparison;
pub mod correlation;
pub mod difference;
pub mod elimination;
pub mod frame;
pub mod intervals;
pub mod looks;
pub mod measure;
mod moderated;
pub mod noise;
pub mod prevalence;
pub mod published;
pub mod ratio;
pub mod reading;
pub mod setting;
pub mod tables;
pub mod test_images;
pub mod variance;

pub use cell::{Axes, Scored};
pub use frame::{Frame, Point};
pub use intervals::Interval;
pub use measure::Measure;
pub use noise::Noise;
pub use reading::{FiledRecord, Reading, ReadingProblem};
