//! Sends statuses to the other replicas: the one that manages an account knows them, and a cluster's agent may be
//! connected to another.
//!
//! Only the latest status of an endpoint is sent, so the queue is bounded by the number of endpoints, however long the store is
//! away; while no other replica lives, nothing waits. A replica that has just loaded the store holds no statuses and asks for
//! them: then all statuses of the accounts that are managed here are sent again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::warn;

use crate::broker::directory::SharedDirectory;
use crate::broker::directory::entry::{EndpointEntry, Progress, Status, StatusCache};
use crate::core::endpoint::verdict::{Placement, Reason, Verdict, VerdictState};
use crate::core::endpoint::{KeyHash, Version};
use crate::core::ids::{AccountId, ClusterId, ZoneId};
use crate::core::time::Timestamp;
use crate::ports::{News, ReplicaId, Store};

/// Statuses are gathered for this long before they are sent: others follow as a rule, and the latest of each is enough.
const GATHER: Duration = Duration::from_millis(100);
/// How many are sent in one entry of the feed.
const MOST_AT_ONCE: usize = 1_000;
/// How many endpoints are read between two entries when everything is sent again.
const LOOK_PAGE: usize = 1_000;
/// How long a replica that asked gets statuses before a heartbeat shows it.
const ASKER_IS_THERE_FOR: Duration = Duration::from_secs(30);
/// The form of the bytes. Another form is of another release, and is skipped: its statuses come again when that replica
/// is asked or changes something.
const FORM: u8 = 1;
/// The form of statuses that each concern one zone of an endpoint with several.
const FORM_OF_ZONES: u8 = 2;

/// How statuses reach the other replicas.
#[derive(Clone, Default)]
pub struct RelayHandle(Arc<Shared>);

#[derive(Default)]
struct Shared {
    others: AtomicBool,
    asked_until: Mutex<Option<Instant>>,
    /// The endpoints whose status is to be sent, by arrival.
    untold: Mutex<HashMap<i64, EndpointEntry>>,
    /// The accounts whose statuses are all to be sent, whether or not they are news.
    again: Mutex<Accounts>,
    news: Notify,
}

/// Some accounts.
#[derive(Debug, Default, PartialEq)]
enum Accounts {
    #[default]
    None,
    These(BTreeSet<AccountId>),
    All,
}

impl Accounts {
    fn add(&mut self, account: &AccountId) {
        match self {
            Self::None => *self = Self::These([account.clone()].into()),
            Self::These(accounts) => drop(accounts.insert(account.clone())),
            Self::All => {}
        }
    }

    fn has(&self, account: &AccountId) -> bool {
        match self {
            Self::None => false,
            Self::These(accounts) => accounts.contains(account),
            Self::All => true,
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RelayHandle {
    /// Sets whether another replica lives.
    pub fn set_others(&self, others: bool) {
        self.0.others.store(others, Ordering::Relaxed);
    }

    fn is_heard(&self) -> bool {
        self.0.others.load(Ordering::Relaxed)
            || locked(&self.0.asked_until).is_some_and(|until| Instant::now() < until)
    }

    /// The status of an endpoint is news, or may not be known to another replica.
    pub fn note(&self, held: &EndpointEntry) {
        if self.is_heard() {
            locked(&self.0.untold).insert(held.arrival(), held.clone());
            self.0.news.notify_one();
        }
    }

    /// The endpoints whose status is to be sent, in the order of their arrival.
    pub(in crate::broker) fn take_untold(&self) -> Vec<EndpointEntry> {
        let mut untold: Vec<EndpointEntry> =
            std::mem::take(&mut *locked(&self.0.untold)).into_values().collect();
        untold.sort_by_key(EndpointEntry::arrival);
        untold
    }

    /// This account is managed here now. A replica that asked while it had no worker got no answer, and earlier statuses of its
    /// endpoints are no news here.
    pub fn tell_again(&self, account: &AccountId) {
        if self.is_heard() {
            locked(&self.0.again).add(account);
            self.0.news.notify_one();
        }
    }

    /// Another replica asks for everything.
    pub fn tell_everything(&self) {
        *locked(&self.0.asked_until) = Some(Instant::now() + ASKER_IS_THERE_FOR);
        *locked(&self.0.again) = Accounts::All;
        self.0.news.notify_one();
    }
}

/// See the module's page.
pub struct Relay {
    /// The statuses to be sent.
    pub handle: RelayHandle,
    /// This replica.
    pub origin: ReplicaId,
    /// Its feed carries the statuses.
    pub store: Arc<dyn Store>,
    /// All endpoints.
    pub directory: SharedDirectory,
    /// Whether an account is managed here.
    pub is_worked_here: Box<dyn Fn(&AccountId) -> bool + Send + Sync>,
}

impl Relay {
    /// Reports until it is dropped.
    pub async fn run(self) {
        loop {
            self.handle.0.news.notified().await;
            tokio::time::sleep(GATHER).await;
            let again = std::mem::take(&mut *locked(&self.handle.0.again));
            if again != Accounts::None {
                self.tell_again(again).await;
            }
            for chunk in self.handle.take_untold().chunks(MOST_AT_ONCE) {
                self.tell(chunk, &Accounts::All).await;
            }
        }
    }

    async fn tell_again(&self, of: Accounts) {
        for cluster in self.directory.clusters() {
            let endpoints = self.directory.cluster(&cluster);
            let mut after = None;
            loop {
                let page = endpoints.page(after.as_ref(), LOOK_PAGE);
                let Some(last) = page.last() else { break };
                after = Some(last.key_hash());
                self.tell(&page, &of).await;
            }
        }
        self.announce(THAT_WAS_ALL).await;
    }

    /// Sends the statuses of some endpoints, as far as they are of these accounts, which may have passed on meanwhile. Statuses
    /// that concern no account every replica finds out by itself.
    async fn tell(&self, endpoints: &[EndpointEntry], of: &Accounts) {
        let is_ours = |placement: &Placement| {
            of.has(&placement.account) && (self.is_worked_here)(&placement.account)
        };
        let (mut whole, mut by_zone) = (vec![], vec![]);
        for held in endpoints.iter().filter(|held| !held.is_gone()) {
            let Some(set) = self.directory.placements(held) else { continue };
            if set.at().len() == 1 || held.is_retained() {
                let status = held.status().filter(|_| set.at().iter().any(is_ours));
                whole.extend(status.map(|status| (held.clone(), status)));
            } else {
                let parts = self.directory.cluster(held.cluster()).parts(&held.key_hash());
                let ours = parts.into_iter().filter(|(placement, _)| is_ours(placement));
                by_zone.extend(
                    ours.map(|(placement, status)| (held.clone(), of_zone(placement, &status))),
                );
            }
        }
        for bytes in [encode(FORM, &whole), encode(FORM_OF_ZONES, &by_zone)] {
            if !bytes.is_empty() {
                self.announce(bytes).await;
            }
        }
    }

    async fn announce(&self, bytes: Bytes) {
        let mut wait = Duration::from_millis(200);
        while self.handle.is_heard() {
            match self.store.announce(self.origin, vec![News::Statuses(bytes.clone())]).await {
                Ok(()) => return,
                Err(error) => {
                    warn!(%error, "statuses could not be sent to the other replicas, trying again")
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }
}

/// A status that names its zone.
fn of_zone(placement: Placement, status: &Status) -> Arc<Status> {
    let mut status = Status::clone(status);
    status.verdict.placement = Some(placement);
    Arc::new(status)
}

/// A status from another replica.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusUpdate {
    /// The cluster of the endpoint.
    pub cluster: ClusterId,
    /// The endpoint's key.
    pub key: KeyHash,
    /// The version that it is about.
    pub version: Version,
    /// The zone that this is about, of an endpoint with several; `None` if it is about the endpoint as a whole.
    pub zone: Option<Placement>,
    /// The endpoint's status.
    pub status: Arc<Status>,
    /// Since when.
    pub since: Timestamp,
}

/// A status as bytes: only types that read back from a form that does not describe itself.
#[derive(Serialize, Deserialize)]
struct StatusBytes {
    key: [u8; 32],
    version: [u8; 32],
    since: i64,
    state: VerdictState,
    reason: Reason,
    message: String,
    placement: Option<(AccountId, ZoneId)>,
    progress: Option<ProgressBytes>,
}

#[derive(Serialize, Deserialize)]
enum ProgressBytes {
    Pending { detail: String, expected_at: Option<i64> },
    Applied { change_id: Option<String> },
    InSync { change_id: Option<String> },
    Refused { message: String, retry_at: i64 },
    Drifted { message: String },
}

impl From<&Progress> for ProgressBytes {
    fn from(progress: &Progress) -> Self {
        match progress.clone() {
            Progress::Pending { detail, expected_at } => {
                Self::Pending { detail, expected_at: expected_at.map(|at| at.0) }
            }
            Progress::Applied { change_id } => Self::Applied { change_id },
            Progress::InSync { change_id } => Self::InSync { change_id },
            Progress::Refused { message, retry_at } => {
                Self::Refused { message, retry_at: retry_at.0 }
            }
            Progress::Drifted { message } => Self::Drifted { message },
        }
    }
}

impl From<ProgressBytes> for Progress {
    fn from(bytes: ProgressBytes) -> Self {
        match bytes {
            ProgressBytes::Pending { detail, expected_at } => {
                Self::Pending { detail, expected_at: expected_at.map(Timestamp) }
            }
            ProgressBytes::Applied { change_id } => Self::Applied { change_id },
            ProgressBytes::InSync { change_id } => Self::InSync { change_id },
            ProgressBytes::Refused { message, retry_at } => {
                Self::Refused { message, retry_at: Timestamp(retry_at) }
            }
            ProgressBytes::Drifted { message } => Self::Drifted { message },
        }
    }
}

/// Sent after the last status: no asker has to wait any longer.
pub const THAT_WAS_ALL: Bytes = Bytes::from_static(&[FORM]);

/// The statuses as bytes; empty if there are none.
fn encode(form: u8, statuses: &[(EndpointEntry, Arc<Status>)]) -> Bytes {
    let mut by_cluster: BTreeMap<&ClusterId, Vec<StatusBytes>> = BTreeMap::new();
    for (held, status) in statuses {
        let verdict = &status.verdict;
        by_cluster.entry(held.cluster()).or_default().push(StatusBytes {
            key: held.key_hash().0,
            version: held.version().0,
            since: held.since().0,
            state: verdict.state,
            reason: verdict.reason,
            message: verdict.message.clone(),
            placement: verdict
                .placement
                .as_ref()
                .map(|placement| (placement.account.clone(), placement.zone.clone())),
            progress: status.progress.as_ref().map(ProgressBytes::from),
        });
    }
    if by_cluster.is_empty() {
        return Bytes::new();
    }
    let clusters: Vec<(&ClusterId, Vec<StatusBytes>)> = by_cluster.into_iter().collect();
    // These types have no form that cannot be written.
    postcard::to_extend(&clusters, vec![form]).map(Bytes::from).unwrap_or_default()
}

/// Reads statuses of another replica.
///
/// # Errors
/// They are of another release; the text says how it shows.
pub fn decode(bytes: &[u8]) -> Result<Vec<StatusUpdate>, String> {
    let Some((&form @ (FORM | FORM_OF_ZONES), body)) = bytes.split_first() else {
        return Err(format!(
            "the form {:?} where {FORM} or {FORM_OF_ZONES} is read",
            bytes.first()
        ));
    };
    let clusters: Vec<(ClusterId, Vec<StatusBytes>)> =
        postcard::from_bytes(body).map_err(|error| error.to_string())?;
    let mut cache = StatusCache::default();
    let mut told = vec![];
    for (cluster, statuses) in clusters {
        for status in statuses {
            let placement = status.placement.map(|(account, zone)| Placement { account, zone });
            let verdict = Verdict {
                state: status.state,
                reason: status.reason,
                message: status.message,
                placement,
            };
            told.push(StatusUpdate {
                cluster: cluster.clone(),
                key: KeyHash(status.key),
                version: Version(status.version),
                zone: verdict.placement.clone().filter(|_| form == FORM_OF_ZONES),
                status: cache
                    .share(Status { verdict, progress: status.progress.map(Progress::from) }),
                since: Timestamp(status.since),
            });
        }
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::endpoint::packed::PackedEndpoint;
    use crate::core::testkit::{cluster, endpoint, zone_context};

    fn held(cluster_name: &str, object: &str, status: Status) -> EndpointEntry {
        let endpoint = endpoint(object, "www.example.com", "A", &["192.0.2.1"]);
        let held = EndpointEntry::new(cluster(cluster_name), 7, &PackedEndpoint::pack(&endpoint));
        held.set_status(Arc::new(status), Timestamp(5));
        held
    }

    #[test]
    fn what_is_told_is_what_was_said() {
        let accepted = |progress| Status {
            verdict: Verdict::accepted(zone_context().placement),
            progress: Some(progress),
        };
        let statuses = [
            Status::of(Verdict::rejected(Reason::InvalidName, "that is none")),
            accepted(Progress::Pending {
                detail: "its turn".to_owned(),
                expected_at: Some(Timestamp(9)),
            }),
            accepted(Progress::Pending { detail: String::new(), expected_at: None }),
            accepted(Progress::Applied { change_id: None }),
            accepted(Progress::InSync { change_id: Some("C1".to_owned()) }),
            accepted(Progress::Refused { message: "no".to_owned(), retry_at: Timestamp(-3) }),
            accepted(Progress::Drifted { message: "somebody".to_owned() }),
        ];
        let all: Vec<EndpointEntry> = (0..)
            .zip(statuses)
            .map(|(n, status)| held(["east", "west"][n % 2], &n.to_string(), status))
            .collect();
        let said = |held: &EndpointEntry| (held.clone(), held.status().unwrap());
        let told = decode(&encode(FORM, &all.iter().map(said).collect::<Vec<_>>())).unwrap();
        assert_eq!(told.len(), all.len());
        for held in &all {
            let found = told
                .iter()
                .find(|told| told.cluster == *held.cluster() && told.key == held.key_hash())
                .unwrap();
            assert_eq!(
                (found.version, found.since, &found.status),
                (held.version(), Timestamp(5), &held.status().unwrap())
            );
        }
    }

    #[test]
    fn a_form_of_zones_says_of_which_and_another_form_is_not_read() {
        let one = held("east", "web", Status::of(Verdict::rejected(Reason::InvalidName, "x")));
        let status = of_zone(zone_context().placement, &one.status().unwrap());
        let bytes = encode(FORM_OF_ZONES, &[(one, status)]);
        assert_eq!(decode(&bytes).unwrap()[0].zone, Some(zone_context().placement));
        assert!(encode(FORM, &[]).is_empty());
        let mut newer = bytes.to_vec();
        newer[0] += 1;
        assert!(decode(&newer).is_err() && decode(&[]).is_err() && decode(&bytes[..9]).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_waits_while_nobody_listens() {
        let relay = RelayHandle::default();
        let held = held("east", "web", Status::of(Verdict::rejected(Reason::InvalidName, "x")));
        relay.note(&held);
        relay.tell_again(&zone_context().placement.account);
        assert!(locked(&relay.0.untold).is_empty() && *locked(&relay.0.again) == Accounts::None);
        relay.tell_everything();
        relay.note(&held);
        relay.note(&held);
        assert_eq!(
            locked(&relay.0.untold).len(),
            1,
            "who asks listens, and the latest of each is enough"
        );
        tokio::time::advance(ASKER_IS_THERE_FOR).await;
        assert!(!relay.is_heard());
        relay.set_others(true);
        assert!(relay.is_heard());
    }

    #[test]
    fn who_takes_an_account_over_tells_all_of_this_one_and_who_is_asked_of_each() {
        let (relay, [a, b, c]) = (
            RelayHandle::default(),
            ["1", "2", "3"].map(|digit| AccountId::parse(digit.repeat(12)).unwrap()),
        );
        relay.set_others(true);
        relay.tell_again(&a);
        relay.tell_again(&b);
        let is_told = |account| locked(&relay.0.again).has(account);
        assert!(is_told(&a) && is_told(&b) && !is_told(&c));
        relay.tell_everything();
        relay.tell_again(&a);
        assert!(is_told(&c));
    }
}
