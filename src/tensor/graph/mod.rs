//! How operations fit into Candle's graph: several as one node, the collection of gradients, mixed precision.
//! Independent of what is computed.

pub mod chain;
pub mod gradients;
pub mod operation;
pub mod pair;
pub mod precision;
