//! Sends verdicts and progress back to the subscribers of a cluster, and verdicts to the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::warn;

use super::relay::{RelayHandle, StatusUpdate};
use crate::broker::directory::SharedDirectory;
use crate::broker::directory::entry::{EndpointEntry, NOT_KNOWN, Status, fingerprint};
use crate::core::endpoint::verdict::Placement;
use crate::core::ids::AccountId;
use crate::core::time::Timestamp;
use crate::ports::{Store, StoreError, VerdictRow};

/// Announces the statuses of endpoints.
#[derive(Clone)]
pub struct Feedback {
    directory: SharedDirectory,
    /// Endpoints whose current verdict is not in the store.
    unkept: mpsc::UnboundedSender<EndpointEntry>,
    /// The way to the other replicas.
    relay: Option<RelayHandle>,
}

/// Which replica keeps a verdict in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// This replica: the cause of the verdict happened here.
    Here,
    /// The replica where it happened.
    Elsewhere,
}

impl Feedback {
    /// Notifies subscribers through the directory, and the keeper.
    pub fn new(directory: SharedDirectory, unkept: mpsc::UnboundedSender<EndpointEntry>) -> Self {
        Self { directory, unkept, relay: None }
    }

    /// The same, which notifies the other replicas too.
    pub fn relayed(self, relay: RelayHandle) -> Self {
        Self { relay: Some(relay), ..self }
    }

    /// Announces an endpoint's status in one of its zones and keeps the verdict; a status without news is not passed on.
    pub fn tell(
        &self,
        held: &EndpointEntry,
        placement: &Placement,
        status: Arc<Status>,
        at: Timestamp,
    ) {
        let is_news = self.directory.tell(held, placement, status, at);
        self.keep_and_relay(Keeper::Here, held, is_news);
    }

    /// Announces an endpoint's status as a whole; a status without news is not passed on.
    pub fn judge(&self, keeper: Keeper, held: &EndpointEntry, status: Arc<Status>, at: Timestamp) {
        let is_news = self.directory.cluster(held.cluster()).tell(held, status, at);
        self.keep_and_relay(keeper, held, is_news);
    }

    fn keep_and_relay(&self, keeper: Keeper, held: &EndpointEntry, is_news: bool) {
        let keep = held.status().is_some_and(|status| fingerprint(&status.verdict) != held.kept());
        // A status known here already may come from a replica that could not keep it any more.
        if keep && keeper == Keeper::Here {
            // The keeper lives as long as the broker; at its end verdicts are made anew from the store.
            let _gone = self.unkept.send(held.clone());
        }
        if is_news {
            self.tell_others_of(held);
        }
    }

    /// Sends the other replicas an endpoint's status again, if it is decided here.
    pub fn tell_others_of(&self, held: &EndpointEntry) {
        self.relay.iter().for_each(|relay| relay.note(held));
    }

    /// Sends the other replicas the statuses of an account that is managed here again.
    pub fn tell_others_again(&self, account: &AccountId) {
        self.relay.iter().for_each(|relay| relay.tell_again(account));
    }

    /// Announces a status that another replica sent and keeps.
    pub fn told(&self, held: &EndpointEntry, told: &StatusUpdate) {
        let kept = held.kept();
        let status = Arc::clone(&told.status);
        match &told.zone {
            Some(zone) => self.directory.tell(held, zone, status, told.since),
            None => self.directory.cluster(&told.cluster).tell(held, status, told.since),
        };
        if kept == fingerprint(&told.status.verdict) {
            return;
        }
        // The sender keeps it, if nothing goes wrong there: should it ever be decided here, it is kept once more.
        held.set_kept(NOT_KNOWN);
        if kept != 0 && kept != NOT_KNOWN {
            // The verdict kept from here may have reached the store after theirs, and would stay there.
            let _gone = self.unkept.send(held.clone());
        }
    }
}

/// Keeps verdicts in the store, in bulk: one that has not changed since it was kept is not written again.
pub struct VerdictKeeper {
    store: Arc<dyn Store>,
    unkept: mpsc::UnboundedReceiver<EndpointEntry>,
}

/// Verdicts are gathered for this long before they are written.
const KEEP_EVERY: Duration = Duration::from_millis(200);
/// Verdicts that could not be written are retried after this time.
const KEEP_AGAIN: Duration = Duration::from_secs(2);
/// Verdicts written at once: the store's writer is soon free again for urgent work.
const KEEP_AT_ONCE: usize = 2_000;

impl VerdictKeeper {
    /// A keeper, and the sender for [`Feedback`].
    pub fn new(store: Arc<dyn Store>) -> (Self, mpsc::UnboundedSender<EndpointEntry>) {
        let (sender, unkept) = mpsc::unbounded_channel();
        (Self { store, unkept }, sender)
    }

    /// Keeps until all senders are gone.
    pub async fn run(mut self) {
        let mut unkept: BTreeMap<i64, EndpointEntry> = BTreeMap::new();
        loop {
            if unkept.is_empty() {
                let Some(first) = self.unkept.recv().await else { return };
                unkept.insert(first.arrival(), first);
                // Others follow as a rule, and the latest of each is enough.
                tokio::time::sleep(KEEP_EVERY).await;
            } else {
                tokio::time::sleep(KEEP_AGAIN).await;
            }
            let is_over = loop {
                match self.unkept.try_recv() {
                    Ok(next) => drop(unkept.insert(next.arrival(), next)),
                    Err(mpsc::error::TryRecvError::Empty) => break false,
                    Err(mpsc::error::TryRecvError::Disconnected) => break true,
                }
            };
            unkept = self.keep_all(unkept.into_values().collect()).await;
            if is_over {
                return;
            }
        }
    }

    /// Keeps the verdicts that it can; returns the endpoints to retry.
    async fn keep_all(&self, endpoints: Vec<EndpointEntry>) -> BTreeMap<i64, EndpointEntry> {
        let mut again = BTreeMap::new();
        for (done, chunk) in endpoints.chunks(KEEP_AT_ONCE).enumerate() {
            match self.keep(chunk).await {
                Ok(overtaken) => {
                    again.extend(overtaken.into_iter().map(|held| (held.arrival(), held)))
                }
                Err(error @ (StoreError::Unavailable(_) | StoreError::Fenced(_))) => {
                    warn!(%error, "verdicts could not be stored; they are stored later");
                    let rest = endpoints.iter().skip(done * KEEP_AT_ONCE);
                    again.extend(rest.map(|held| (held.arrival(), held.clone())));
                    return again;
                }
                // It would be refused again.
                Err(error) => warn!(
                    %error, "verdicts could not be stored; they are made anew at the next start"
                ),
            }
            tokio::task::yield_now().await;
        }
        again
    }

    /// Returns the endpoints that got another status meanwhile: its sender may have kept it before this reached the store.
    async fn keep(&self, endpoints: &[EndpointEntry]) -> Result<Vec<EndpointEntry>, StoreError> {
        let (mut rows, mut fingerprints) = (vec![], vec![]);
        for held in endpoints {
            let Some(status) = held.status() else { continue };
            let fingerprint = fingerprint(&status.verdict);
            if held.is_gone() || fingerprint == held.kept() {
                continue;
            }
            let (cluster, verdict) = (held.cluster().clone(), status.verdict.clone());
            rows.push(VerdictRow {
                cluster,
                arrival: held.arrival(),
                version: held.version(),
                verdict,
            });
            fingerprints.push((held, fingerprint));
        }
        if rows.is_empty() {
            return Ok(vec![]);
        }
        let saved = self.store.save_verdicts(&rows).await;
        for (held, kept) in &fingerprints {
            // A write that failed may have been carried out.
            held.set_kept(if saved.is_ok() { *kept } else { NOT_KNOWN });
        }
        saved?;
        let is_overtaken = |held: &EndpointEntry, kept: u32| {
            held.status().is_some_and(|status| fingerprint(&status.verdict) != kept)
        };
        Ok(fingerprints
            .into_iter()
            .filter(|(held, kept)| is_overtaken(held, *kept))
            .map(|(held, _)| held.clone())
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::directory::Directory;
    use crate::broker::directory::tests::row;
    use crate::core::endpoint::verdict::{Reason, Verdict};
    use crate::core::testkit::{cluster, endpoint};
    use crate::ports::EndpointNews;

    #[test]
    fn what_was_kept_here_is_kept_anew_when_another_replica_says_something_else() {
        let (unkept, mut to_keep) = mpsc::unbounded_channel();
        let directory = SharedDirectory::from(Directory::default());
        let feedback = Feedback::new(directory.clone(), unkept);
        let web = endpoint("web", "www.example.com", "A", &["192.0.2.1"]);
        directory.follow(EndpointNews::Stored(row(&web, 1, None)), &mut vec![]);
        let held = directory.cluster(&cluster("east")).get(&web.key.hash()).unwrap();
        let verdict = |message: &str| Verdict::waiting(Reason::NoZone, message.to_owned(), None);
        let told = |message: &str| StatusUpdate {
            cluster: cluster("east"),
            key: web.key.hash(),
            version: web.version(),
            zone: None,
            status: Arc::new(Status::of(verdict(message))),
            since: Timestamp(1),
        };
        feedback.told(&held, &told("nothing was kept here"));
        assert!(to_keep.try_recv().is_err(), "whoever says it keeps it");
        held.set_kept(fingerprint(&verdict("this was")));
        feedback.told(&held, &told("the same"));
        assert_eq!(to_keep.try_recv().map(|held| held.arrival()), Ok(1));
        held.set_kept(fingerprint(&verdict("the same")));
        feedback.told(&held, &told("the same"));
        assert!(to_keep.try_recv().is_err());
    }
}
