//! Keeps the journal and the audit at their length: once an hour, what is older than the configuration says leaves them. Of several replicas
//! each looks after the journals of the accounts that it manages. Sessions and tokens that ended long ago are forgotten with it.

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

/// How long is kept; `None` for ever.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Of the journals.
    pub journal: Option<Duration>,
    /// Of the audit.
    pub audit: Option<Duration>,
}

/// Prunes the journals of the accounts that are managed here, the audit, and ended sessions and tokens, for ever; without a retention
/// journals and the audit stay.
pub async fn run(store: Arc<dyn Store>, clock: Arc<dyn Clock>, workers: Arc<Workers>, kept: Kept) {
    let millis = |keep: Duration| i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    loop {
        if let Some(keep) = kept.journal.map(millis) {
            for account in workers.all().keys() {
                prune(&*store, &*clock, account, keep).await;
            }
        }
        if let Some(keep) = kept.audit.map(millis) {
            prune_audit(&*store, &*clock, keep).await;
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

/// Every replica may: the end of the chain is locked meanwhile, and what one has cut the next one does not find.
async fn prune_audit(store: &dyn Store, clock: &dyn Clock, keep_ms: i64) {
    let mut pruned = 0;
    loop {
        let now = clock.now();
        let before = Timestamp(now.0.saturating_sub(keep_ms));
        match store.prune_audit(before, STEP_ENTRIES, now).await {
            Ok(0) => break,
            Ok(step) => pruned += step,
            Err(error) => {
                warn!(%error, "the audit could not be cut; it is tried again in an hour");
                break;
            }
        }
        tokio::time::sleep(BETWEEN_STEPS).await;
    }
    if pruned > 0 {
        info!(entries = pruned, "entries of the audit beyond their retention were cut");
    }
}
