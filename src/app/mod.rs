//! The composition root: from arguments and configuration to running parts with bound addresses, and back down again.
//!
//! Each role is built (`build → Bound`, everything that can fail fails there), then run until a shutdown that drains.

pub mod agent;
mod audit;
pub mod broker;
pub mod dev;
mod dev_view;
pub mod emulator;
pub mod forget;
mod identities;
mod notices;
mod restored;
mod retention;
mod servers;
pub mod signal;

use std::process::ExitCode;

pub use servers::ConnectionLimits;

use crate::cli::audit::AuditCommand;
use crate::cli::cluster::ClusterCommand;
use crate::cli::holds::DescribeCommand;
use crate::cli::store::StoreCommand;
use crate::cli::{Cli, Command};
use crate::core::printable::printable_lines;

/// The threads of an agent's runtime. It waits nearly always; by default each processor of its node would have one, and each keeps
/// memory of its own that it once used.
const AGENT_THREADS: usize = 1;

/// Runs a command to its end. The exit code is 0 when it did what was asked, 1 when it could not, 2 when it was asked for what
/// this program does not do.
pub fn run(cli: Cli) -> ExitCode {
    let threads = matches!(cli.command, Command::Agent(_)).then_some(AGENT_THREADS);
    run_to_end("zonefold", threads, async {
        match cli.command {
            Command::Dev(args) => dev::run(args).await,
            Command::Broker(args) => broker::run(args).await,
            Command::Agent(args) => agent::run(*args).await,
            Command::Emulator(args) => emulator::run(args).await,
            Command::Status(args) => crate::cli::status::run(args).await,
            Command::Why(args) => crate::cli::why::run(args).await,
            Command::Reroute(args) => crate::cli::reroute::run(args).await,
            Command::Get(args) => crate::cli::get::run(args).await,
            Command::Describe(DescribeCommand::Hold(args)) => {
                crate::cli::holds::describe(args).await
            }
            Command::Describe(DescribeCommand::Batch(args)) => {
                crate::cli::batch::describe(args).await
            }
            Command::Audit(AuditCommand::List(args)) => crate::cli::audit::list(*args).await,
            Command::Audit(AuditCommand::Export(args)) => crate::cli::audit::export(args).await,
            Command::Audit(AuditCommand::Verify(args)) => audit::verify(args).await,
            Command::Store(StoreCommand::Restored(args)) => restored::run(args).await,
            Command::Resend(args) => crate::cli::notifications::resend(args).await,
            Command::Approve(args) => crate::cli::holds::approve(args).await,
            Command::Deny(args) => crate::cli::holds::deny(args).await,
            Command::Apply(args) => crate::cli::rules::apply(args).await,
            Command::Delete(args) => crate::cli::rules::delete(args).await,
            Command::Weight(args) => crate::cli::sharing::weight(args).await,
            Command::Failover(args) => crate::cli::sharing::failover(args).await,
            Command::Handover(command) => crate::cli::handover::run(command).await,
            Command::Cluster(ClusterCommand::Forget(args)) => forget::run(args).await,
            Command::Login(args) => crate::cli::login::login(args).await,
            Command::Logout(args) => crate::cli::login::logout(args).await,
            Command::Token(args) => match &args.command {
                Some(command) => crate::cli::tokens::run(command).await,
                None => crate::cli::token::run(&args),
            },
            Command::Bench { .. } => Ok(crate::cli::refer_to_bench()),
        }
    })
}

/// Runs the work of a program on a runtime of its own, with our TLS provider. What it fails with goes to standard error, after
/// the program's name. `threads` is the number of the runtime's threads; `None` for one for each processor.
pub fn run_to_end(
    program: &str,
    threads: Option<usize>,
    work: impl Future<Output = anyhow::Result<ExitCode>>,
) -> ExitCode {
    // A second provider compiled in by a dependency would make rustls panic at its first use; this names ours.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("{program}: a TLS provider was installed before ours");
        return ExitCode::FAILURE;
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{program}: the runtime cannot be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(work).unwrap_or_else(|error| {
        // The error may quote AWS or a broker.
        eprintln!("{program}: {}", printable_lines(&format!("{error:#}")));
        ExitCode::FAILURE
    });
    // A blocking read of a terminal or a file must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    code
}
