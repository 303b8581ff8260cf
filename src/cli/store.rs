//! `zonefold store`: what is done about the broker's store.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::config::ConfigOverrides;

/// What is done about the store.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Say that the store was restored from a copy: its epochs and the number of its rules are raised
    ///
    /// A broker sees it by itself when it starts on another file, database or timeline than the one before. A copy that took the place
    /// of the original in the same file or database, or a snapshot of a disk, looks the same: then run this, with every broker stopped,
    /// before one is started. Doing it without need ends sessions and leases, which are taken again, and does nothing else.
    #[command(after_help = "Example:\n  zonefold store restored --config broker.yaml")]
    Restored(RestoredArgs),
}

/// Arguments of `zonefold store restored`.
#[derive(Clone, Debug, Args)]
pub struct RestoredArgs {
    /// The broker's configuration file (YAML)
    #[arg(long, env = "ZONEFOLD_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
    /// Overrides `store`
    #[arg(long, env = "ZONEFOLD_STORE", value_name = "URL")]
    pub store: Option<String>,
}

impl RestoredArgs {
    /// The values that override the file.
    pub fn overrides(&self) -> ConfigOverrides {
        ConfigOverrides { store: self.store.clone(), ..ConfigOverrides::default() }
    }
}
