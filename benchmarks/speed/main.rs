//! The speed of operations and training steps: `cargo bench --bench speed [-- filter]`.
//!
//! Every operation is timed next to its twin of plain Candle operations.

// A test or timing may fail by unwrapping; clippy.toml's exception for tests does not cover their helpers.
#![allow(clippy::unwrap_used)]

mod drawing;
mod label_free;
mod loader;
mod losses;
mod operations;
mod step;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion::criterion_group!(
    speed,
    drawing::pipes,
    label_free::metrics,
    loader::files,
    losses::losses,
    operations::convolutions,
    operations::batch_norms,
    operations::pools,
    operations::tokens,
    operations::linear_maps,
    step::resnet,
    step::vit
);
criterion::criterion_main!(speed);
