//! The operator's word to stop: the first drains, the second does not wait.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// A token that is cancelled by the first SIGINT or SIGTERM; a second one ends the process at once.
///
/// # Errors
/// The system gives no signal handlers.
pub fn shutdown() -> std::io::Result<CancellationToken> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        info!("stopping: work under way is finished and recorded; a second signal does not wait");
        cancelled.cancel();
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        warn!("stopped without draining; calls under way are read back at the next start");
        #[expect(
            clippy::disallowed_methods,
            reason = "the operator has asked a second time not to wait"
        )]
        std::process::exit(130);
    });
    Ok(token)
}
