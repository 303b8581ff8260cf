//! `zonefold cluster`: what is done about a cluster without its agent.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::config::ConfigOverrides;
use crate::core::ids::ClusterId;

/// What is done about a cluster.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Drop what the store holds of a cluster that is gone for good; its records are deleted
    ///
    /// Works on the store, without the broker. The cluster must not be registered any more: take it out of `clusters` first, so
    /// that no agent publishes it again. Its endpoints are removed as if its agent had seen their objects deleted, so the broker
    /// deletes its records and frees its names: at its next start with SQLite, where the broker has to be stopped meanwhile; at once
    /// with PostgreSQL, where replicas may run.
    #[command(
        after_help = "Examples:\n  zonefold cluster forget dev-old --config broker.yaml          # shows what would be dropped\n  zonefold cluster forget dev-old --config broker.yaml --yes"
    )]
    Forget(ForgetArgs),
}

/// Arguments of `zonefold cluster forget`.
#[derive(Clone, Debug, Args)]
pub struct ForgetArgs {
    /// The name under which the cluster was registered
    #[arg(env = "ZONEFOLD_CLUSTER", value_name = "NAME")]
    pub name: ClusterId,
    /// The broker's configuration file (YAML)
    #[arg(long, env = "ZONEFOLD_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
    /// Overrides `store`
    #[arg(long, env = "ZONEFOLD_STORE", value_name = "URL")]
    pub store: Option<String>,
    /// Drop it; without it only what would be dropped is shown
    #[arg(long, env = "ZONEFOLD_YES")]
    pub yes: bool,
}

impl ForgetArgs {
    /// The values that override the file.
    pub fn overrides(&self) -> ConfigOverrides {
        ConfigOverrides { store: self.store.clone(), ..ConfigOverrides::default() }
    }
}
