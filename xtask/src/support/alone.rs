//! Parses the arguments of a verb, or a part of them, without the rest of the command line.

/// Arguments without the program's name and without the verb.
#[derive(clap::Parser)]
#[command(no_binary_name = true)]
pub struct Standalone<A: clap::Args> {
    #[command(flatten)]
    pub arguments: A,
}
