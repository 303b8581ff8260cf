//! Parses the arguments and hands over.

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    zonefold::app::run(zonefold::cli::Cli::parse())
}
