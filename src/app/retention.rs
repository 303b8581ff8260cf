//! Keeps the journal at its length: once an hour, what is older than the configuration says leaves it. Of several replicas each
//! looks after the accounts that it manages. Sessions and tokens that ended long ago are forgotten with it.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::broker::worker::registry::Workers;
use crate::core::ids::AccountId;
use crate::core::time::{Millis, Timestamp};
use crate::ports::{Clock, Store};

/// For how long sessions and tokens are listed after their end, as a step back in time.
const CREDENTIALS_KEPT: Millis = Millis::from_secs(-30 * 24 * 3_600);
/// How often it is looked.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// Entries that leave in one transaction: some milliseconds for waiting writers.
const STEP_ENTRIES: u32 = 100;
/// Between two steps others write.
const BETWEEN_STEPS: Duration = Duration::from_millis(100);

/// Prunes the journals of the accounts that are managed here, and ended sessions and tokens, for ever; without a retention journals stay.
pub async fn run(
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    workers: Arc<Workers>,
    keep: Option<Duration>,
) {
    let keep_ms = keep.map(|keep| i64::try_from(keep.as_millis()).unwrap_or(i64::MAX));
    loop {
        for account in workers.all().keys() {
            if let Some(keep_ms) = keep_ms {
                prune(&*store, &*clock, account, keep_ms).await;
            }
        }
        if let Err(error) = store.prune_credentials(clock.now() + CREDENTIALS_KEPT).await {
            warn!(%error, "sessions and tokens that ended long ago stay; it is tried again in an hour");
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn prune(store: &dyn Store, clock: &dyn Clock, account: &AccountId, keep_ms: i64) {
    let mut pruned = 0;
    loop {
        let now = clock.now();
        match store
            .prune_journal(account, Timestamp(now.0.saturating_sub(keep_ms)), STEP_ENTRIES, now)
            .await
        {
            Ok(0) => break,
            Ok(step) => pruned += step,
            Err(error) => {
                warn!(account = %account, %error, "the journal could not be cut; it is tried again in an hour");
                break;
            }
        }
        tokio::time::sleep(BETWEEN_STEPS).await;
    }
    if pruned > 0 {
        info!(account = %account, entries = pruned, "journal entries beyond their retention were cut");
    }
}
