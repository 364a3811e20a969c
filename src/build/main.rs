//! The build script: says which code the program is made of and, with the feature `cuda`, compiles kernels.

mod code;
#[path = "../tensor/gpu/compile.rs"]
mod kernels;

fn main() {
    code::tell();
    kernels::compile();
}
