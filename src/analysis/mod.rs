//! What many records say together: one long table, and statistics with their uncertainty.
//!
//! Records of any number of folders and the paper's printed numbers come in one shape ([`frame`]); what
//! could not be read or must not be mixed is said beside it ([`reading`]). The statistics take plain
//! slices, so they know nothing of tables.

pub mod comparison;
pub mod correlation;
pub mod frame;
pub mod intervals;
pub mod prevalence;
pub mod published;
pub mod reading;
pub mod variance;

pub use frame::{Frame, Point};
pub use intervals::Interval;
pub use reading::{Problem, Reading};
