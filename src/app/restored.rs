//! `zonefold store restored`: an operator says that the store was restored from a copy.

use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::adapters::store::{self, StoreOptions, StoreUrl};
use crate::cli::output::write_text;
use crate::cli::store::RestoredArgs;
use crate::config::Config;

/// Runs `zonefold store restored`.
///
/// # Errors
/// The store cannot be opened, or a broker uses it.
pub async fn run(args: RestoredArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load_with(&args.config, &args.overrides())?;
    let url: StoreUrl = config.store.expose().parse()?;
    if store::is_in_use(&url).await? {
        bail!("a broker uses the store {url}: stop it first");
    }
    let options = StoreOptions { connections: 1, ..StoreOptions::default() };
    let opened = store::open_restored(&url, &options).await;
    let store = opened.context("the store cannot be opened")?;
    let number = store.latest_rules().await?.map_or(0, |latest| latest.number);
    write_text(&format!(
        "the epochs of sessions and leases are raised, and set {number} of the rules counts\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}
