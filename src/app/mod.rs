//! The composition root: from arguments and configuration to running parts with bound addresses, and back down again.
//!
//! Each role is built (`build → Bound`, everything that can fail fails there), then run until a shutdown that drains.

pub mod agent;
pub mod bench;
pub mod broker;
pub mod dev;
mod dev_view;
pub mod emulator;
mod identities;
mod retention;
mod servers;
mod signal;

use std::process::ExitCode;

use crate::cli::{Cli, Command};

/// The threads of an agent's runtime. It waits nearly always; by default each processor of its node would have one, and each keeps
/// memory of its own that it once used.
const AGENT_THREADS: usize = 1;

/// Runs a command to its end. The exit code is 0 when it did what was asked, 1 when it could not.
pub fn run(cli: Cli) -> ExitCode {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    if matches!(cli.command, Command::Agent(_)) {
        threads.worker_threads(AGENT_THREADS);
    }
    let runtime = match threads.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("zonefold: the runtime cannot be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        let result = match cli.command {
            Command::Dev(args) => dev::run(args).await,
            Command::Broker(args) => broker::run(args).await,
            Command::Agent(args) => agent::run(*args).await,
            Command::Emulator(args) => emulator::run(args).await,
            Command::Status(args) => crate::cli::status::run(args).await,
            Command::Why(args) => crate::cli::why::run(args).await,
            Command::Token(args) => crate::cli::token::run(&args),
            Command::Bench(args) => bench::run(args).await,
        };
        match result {
            Ok(code) => code,
            Err(error) => {
                eprintln!("zonefold: {error:#}");
                ExitCode::FAILURE
            }
        }
    });
    // A blocking read of a terminal or a file must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    code
}
