//! The driver: runs many seeds, each in a process of its own, and tells what broke.
//!
//! A fresh process for each seed, since some of what a run draws from counts for the life of a process (the turns of tokio's
//! `select!`, the keys of hash maps): only so is a run the same whenever it is run. The parent makes no runtime and no randomness;
//! it starts children of this same program (`one`), reads a line of JSON from each, and adds up.

mod child;
mod command;
mod pool;
mod regressions;
mod shrink;
mod summary;
mod timeline;

use std::process::ExitCode;

use clap::Parser as _;

use self::command::{Command, Options};

/// Runs the command line.
pub fn main() -> ExitCode {
    let done = match Options::parse().command {
        Command::Run(options) => command::run(&options),
        Command::Replay(options) => command::replay(&options),
        Command::Regressions(options) => command::regressions(&options),
        Command::One(options) => child::main(&options),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}
