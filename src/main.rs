//! Parses the arguments and hands over.

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A second provider compiled in by a dependency would make rustls panic at its first use; this names ours.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("zonefold: a TLS provider was installed before ours");
        return ExitCode::FAILURE;
    }
    zonefold::app::run(zonefold::cli::Cli::parse())
}
