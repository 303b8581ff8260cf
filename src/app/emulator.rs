//! The emulator as a process.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use tracing::{info, warn};

use super::signal;
use crate::cli::EmulatorArgs;
use crate::emulator::{Control, Emulator, EmulatorConfig, Snapshot};
use crate::telemetry;

/// Runs `zonefold emulator`.
///
/// # Errors
/// The configuration is refused, or a port is taken.
pub async fn run(args: EmulatorArgs) -> anyhow::Result<ExitCode> {
    telemetry::init(&args.log.to_config())?;
    let text = std::fs::read_to_string(&args.config)
        .with_context(|| format!("{} cannot be read", args.config.display()))?;
    let config: EmulatorConfig = serde_saphyr::from_str(&text)
        .map_err(|error| anyhow::anyhow!("{}: {error}", args.config.display()))?;
    let bound = Emulator::build(config).await?;
    let control = bound.control();
    if let Some(path) = &args.state {
        restore(&control, path)?;
    }
    info!(aws = %bound.aws_addr, control = %bound.control_addr, dns = ?bound.dns_addr, "emulator started");
    let shutdown = signal::shutdown()?;
    let keeping = args.state.clone().map(|path| tokio::spawn(keep(control.clone(), path)));
    bound.run(shutdown).await;
    if let Some(keeping) = keeping {
        keeping.abort();
    }
    if let Some(path) = &args.state {
        save(&control, path);
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes up a saved state, if there is one.
///
/// # Errors
/// The file is there and cannot be read.
pub fn restore(control: &Control, path: &Path) -> anyhow::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let snapshot: Snapshot = serde_json::from_str(&text).with_context(|| {
        format!(
            "{} is not a state of the emulator; remove it to begin with empty zones",
            path.display()
        )
    })?;
    control.restore(snapshot).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}

/// Saves the state whenever something was applied, at most once a second.
pub async fn keep(control: Control, path: std::path::PathBuf) {
    let mut seen = 0;
    loop {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let applied = control.journal(seen).last().map(|entry| entry.number);
        if let Some(sequence) = applied {
            seen = sequence;
            save(&control, &path);
        }
    }
}

/// Saves the state: whole or not at all.
pub fn save(control: &Control, path: &Path) {
    let new = path.with_extension("new");
    let saved = serde_json::to_vec(&control.snapshot())
        .map_err(std::io::Error::other)
        .and_then(|text| std::fs::write(&new, text))
        .and_then(|()| std::fs::rename(&new, path));
    if let Err(error) = saved {
        warn!(%error, "the emulator's state cannot be saved to {}", path.display());
    }
}
