//! `zonefold reroute NAME`: places names anew whose zone was made again under another id.

use std::process::ExitCode;

use clap::Args;

use super::client::encode;
use super::output::ReadArgs;
use crate::api::names::reroute::Rerouted;
use crate::core::dns::name::DnsName;

/// Arguments of `zonefold reroute`.
#[derive(Clone, Debug, Args)]
pub struct RerouteArgs {
    /// The DNS name, in any spelling
    #[arg(env = "ZONEFOLD_NAME", value_name = "NAME")]
    pub name: DnsName,
    /// All names below it too
    #[arg(long, env = "ZONEFOLD_BELOW")]
    pub below: bool,
    /// Where the broker is, and how the answer is written.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// Runs `zonefold reroute`; the exit code is 0 if at least one endpoint goes to another zone, else 1.
///
/// # Errors
/// The broker cannot be reached, refuses, or is none; or the answer cannot be written.
pub async fn run(args: RerouteArgs) -> anyhow::Result<ExitCode> {
    let client = args.read.client()?;
    let below = if args.below { "?below=true" } else { "" };
    let path = format!("/api/v1/names/{}/reroute{below}", encode(&args.name.to_string()));
    let done: Rerouted = client.post(&path).await?;
    args.read.write(&done, |done, _| match done.endpoints {
        0 => "no endpoint there lost its zone and can go to another of the same name\n".to_owned(),
        1 => "1 endpoint goes to another zone\n".to_owned(),
        more => format!("{more} endpoints go to another zone\n"),
    })?;
    Ok(if done.endpoints > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
