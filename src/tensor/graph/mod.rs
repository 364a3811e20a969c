//! How operations stand in Candle's graph: several as one node, where gradients go, what is rounded. Knows nothing of
//! what is computed.

pub mod chain;
pub mod gradients;
pub mod precision;
