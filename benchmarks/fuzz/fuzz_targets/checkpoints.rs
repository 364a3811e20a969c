#![no_main]

// Each target is one of its readers.
#[allow(dead_code)]
#[path = "../readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    readers::checkpoints(bytes);
});
