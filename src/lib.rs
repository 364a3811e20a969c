//! skewbench: when defects are rare, which self-supervised method should I pretrain with,
//! and can I trust the number that tells me?

pub mod augment;
pub mod backbone;
pub mod data;
pub mod evaluate;
pub mod experiment;
pub mod loader;
pub mod loss;
pub mod method;
pub mod results;
pub mod seed;
pub mod tensor;
pub mod train;
