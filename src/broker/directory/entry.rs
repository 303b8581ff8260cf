//! One endpoint as the broker holds it, a million times: its packed content, where it contributes, and its status.
//!
//! An [`EndpointEntry`] is one allocation that the directory's index, the state of the zone and the status streams share. The
//! content never changes: another version of the endpoint is another `EndpointEntry`. The fields that may change are small and
//! atomic, each with one writer: the decider writes where it contributes, the account's worker (or, if it concerns no account,
//! the decider) its status.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

use arc_swap::ArcSwapOption;
use serde::Serialize;
use triomphe::ThinArc;

use super::interner::Interner;

use crate::core::endpoint::packed::{EndpointView, PackedEndpoint, withheld_in};
use crate::core::endpoint::quota::{Share, Withheld};
use crate::core::endpoint::status::StatusContent;
use crate::core::endpoint::verdict::{Verdict, VerdictState};
use crate::core::endpoint::{Endpoint, EndpointKey, KeyHash, Version};
use crate::core::ids::ClusterId;
use crate::core::time::Timestamp;
use crate::wire::v1;

/// How far an accepted endpoint has come on its way to Route 53.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "progress", rename_all = "snake_case")]
pub enum Progress {
    /// Not there yet; the text names the reason for waiting, if it is more than its turn.
    Pending {
        /// The reason for waiting; empty if only its turn has to come.
        detail: String,
        /// When it is expected to go out.
        #[serde(skip_serializing_if = "Option::is_none")]
        expected_at: Option<Timestamp>,
    },
    /// Route 53 accepted it.
    Applied {
        /// The change that did it, if it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        change_id: Option<String>,
    },
    /// Route 53 reports the change INSYNC on its name servers.
    InSync {
        /// The change that did it, if it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        change_id: Option<String>,
    },
    /// Route 53 refused it; it is tried again when its content changes, or later.
    Refused {
        /// Route 53's words.
        message: String,
        /// Not before this time.
        retry_at: Timestamp,
    },
    /// Another writer changed the record set, and the zone's drift policy leaves it so.
    Drifted {
        /// The remedy.
        message: String,
    },
}

impl Progress {
    /// The name in the API and the protocol.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Applied { .. } => "applied",
            Self::InSync { .. } => "in_sync",
            Self::Refused { .. } => "refused",
            Self::Drifted { .. } => "drifted",
        }
    }

    /// The text for people; empty if there is none.
    pub fn detail(&self) -> &str {
        match self {
            Self::Pending { detail, .. } => detail,
            Self::Refused { message, .. } | Self::Drifted { message } => message,
            Self::Applied { .. } | Self::InSync { .. } => "",
        }
    }

    /// The kind in the protocol.
    pub const fn to_wire(&self) -> v1::Progress {
        match self {
            Self::Pending { .. } => v1::Progress::Pending,
            Self::Applied { .. } => v1::Progress::Applied,
            Self::InSync { .. } => v1::Progress::InSync,
            Self::Refused { .. } => v1::Progress::Refused,
            Self::Drifted { .. } => v1::Progress::Drifted,
        }
    }
}

/// The status of an endpoint. Endpoints with equal statuses share one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The broker's answer.
    pub verdict: Verdict,
    /// How far it came; `None` unless accepted.
    pub progress: Option<Progress>,
}

impl Status {
    /// A verdict that comes with no progress.
    pub fn of(verdict: Verdict) -> Self {
        Self { verdict, progress: None }
    }

    /// The part of a version's status that the agent compares; made of the fields on the wire.
    pub fn content<'a>(&'a self, version: &'a Version) -> StatusContent<'a> {
        let placement = self.verdict.placement.as_ref();
        let detail = self.progress.as_ref().map_or("", Progress::detail);
        StatusContent {
            version: &version.0,
            verdict: match self.verdict.state {
                VerdictState::Accepted => v1::VerdictState::Accepted,
                VerdictState::Waiting => v1::VerdictState::Waiting,
                VerdictState::Rejected => v1::VerdictState::Rejected,
            } as i32,
            reason: self.verdict.reason.as_str(),
            message: if detail.is_empty() { &self.verdict.message } else { detail },
            progress: self.progress.as_ref().map_or(v1::Progress::Unspecified, Progress::to_wire)
                as i32,
            account: placement.map_or("", |placement| placement.account.as_str()),
            zone: placement.map_or("", |placement| placement.zone.as_str()),
        }
    }
}

/// Gives out one [`Status`] for equal ones in a row.
#[derive(Default)]
pub struct StatusCache {
    last: [Option<Arc<Status>>; 2],
}

impl StatusCache {
    /// The status, shared if it is one of the last two.
    pub fn share(&mut self, status: Status) -> Arc<Status> {
        if let Some(same) = self.last.iter().flatten().find(|held| ***held == status) {
            return Arc::clone(same);
        }
        let new = Arc::new(status);
        self.last.swap(0, 1);
        self.last[0] = Some(Arc::clone(&new));
        new
    }
}

struct Header {
    /// Its content, if it is shared with others; else that follows the key.
    content: Option<Arc<[u8]>>,
    /// The cluster that publishes it.
    cluster: ClusterId,
    /// Its place in the order of arrival.
    arrival: i64,
    /// The latest status; `None` before the first.
    status: ArcSwapOption<Status>,
    /// Since when the status is so, in milliseconds since the epoch.
    since: AtomicI64,
    /// The number of the set of zones where it contributes; 0 for none.
    place: AtomicU32,
    /// The sequence number of that placement.
    sequence: AtomicU32,
    /// The fingerprint of the stored verdict, see [`EndpointEntry::kept`].
    kept: AtomicU32,
    /// Whether it wins no name and its records stay.
    retained: AtomicBool,
    /// Whether its placement was decided for this content, and is stored.
    placed: AtomicBool,
    /// Whether its placement is of a release that did not store the version that it was decided for.
    placed_before_versions: AtomicBool,
    /// Whether it was replaced by another version, or removed.
    gone: AtomicBool,
}

/// See the module's page.
#[derive(Clone)]
pub struct EndpointEntry(ThinArc<Header, u8>);

impl EndpointEntry {
    /// Holds an endpoint under its arrival number.
    pub fn new(cluster: ClusterId, arrival: i64, endpoint: &PackedEndpoint) -> Self {
        Self::of(cluster, arrival, endpoint.as_bytes(), None)
    }

    /// Holds an endpoint whose content is shared with others of the same content.
    pub fn sharing(
        cluster: ClusterId,
        arrival: i64,
        endpoint: &PackedEndpoint,
        contents: &mut Interner,
    ) -> Self {
        let (key, content) = endpoint.parts();
        match contents.share(content) {
            Some(shared) => Self::of(cluster, arrival, key, Some(shared)),
            None => Self::new(cluster, arrival, endpoint),
        }
    }

    fn of(cluster: ClusterId, arrival: i64, bytes: &[u8], content: Option<Arc<[u8]>>) -> Self {
        let header = Header {
            content,
            cluster,
            arrival,
            status: ArcSwapOption::empty(),
            since: AtomicI64::new(0),
            place: AtomicU32::new(0),
            sequence: AtomicU32::new(0),
            kept: AtomicU32::new(0),
            retained: AtomicBool::new(false),
            placed: AtomicBool::new(false),
            placed_before_versions: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        };
        Self(ThinArc::from_header_and_slice(header, bytes))
    }

    fn header(&self) -> &Header {
        &self.0.header.header
    }

    /// Its cluster.
    pub fn cluster(&self) -> &ClusterId {
        &self.header().cluster
    }

    /// Its place in the order of arrival; the same for every version of an endpoint, and for no other endpoint.
    pub fn arrival(&self) -> i64 {
        self.header().arrival
    }

    /// The content, without a copy.
    pub fn view(&self) -> EndpointView<'_> {
        // A packed endpoint was shown to be readable when it was made.
        let read = match &self.header().content {
            Some(content) => EndpointView::read_parts(&self.0.slice, content),
            None => EndpointView::read(&self.0.slice),
        };
        read.unwrap_or_default()
    }

    /// The content.
    pub fn endpoint(&self) -> Endpoint {
        self.view().to_endpoint()
    }

    /// The substitute for content beyond its cluster's quota; `None` if the content is stored.
    pub fn withheld(&self) -> Option<Withheld> {
        withheld_in(&self.0.slice)
    }

    /// Its share of its cluster's quota.
    pub fn share(&self) -> Share {
        let content = self.header().content.as_ref().map_or(0, |content| content.len());
        Share { octets: (self.0.slice.len() + content) as u64, withheld: self.withheld() }
    }

    /// The key that identifies it inside its cluster.
    pub fn key(&self) -> EndpointKey {
        self.view().key()
    }

    /// The hash of the key, computed anew.
    pub fn key_hash(&self) -> KeyHash {
        self.view().key_hash()
    }

    /// The hash of the content, computed anew.
    pub fn version(&self) -> Version {
        self.view().version()
    }

    /// Its status; `None` before anything was decided.
    pub fn status(&self) -> Option<Arc<Status>> {
        self.header().status.load_full()
    }

    /// Since when the status is so.
    pub fn since(&self) -> Timestamp {
        Timestamp(self.header().since.load(Ordering::Relaxed))
    }

    /// No later status has an earlier time than this.
    pub(in crate::broker) fn set_since(&self, at: Timestamp) {
        self.header().since.store(at.0, Ordering::Relaxed);
    }

    pub(in crate::broker) fn set_status(&self, status: Arc<Status>, at: Timestamp) {
        self.set_since(at);
        self.header().status.store(Some(status));
    }

    /// The number of the set of zones where it contributes; 0 for none.
    pub(in crate::broker) fn place(&self) -> u32 {
        // Whoever sees the number finds its set in the table.
        self.header().place.load(Ordering::Acquire)
    }

    /// The sequence number of the placement that led there.
    pub(in crate::broker) fn sequence(&self) -> u32 {
        self.header().sequence.load(Ordering::Relaxed)
    }

    pub(in crate::broker) fn set_place(&self, place: u32, sequence: u32) {
        self.header().place.store(place, Ordering::Release);
        self.header().sequence.store(sequence, Ordering::Relaxed);
    }

    /// Whether its placement was decided for this content, and is stored.
    pub(in crate::broker) fn is_placed(&self) -> bool {
        self.header().placed.load(Ordering::Relaxed)
    }

    pub(in crate::broker) fn set_placed(&self, placed: bool) {
        self.header().placed.store(placed, Ordering::Relaxed);
    }

    /// Whether its placement is of a release that did not store the version that it was decided for.
    pub(in crate::broker) fn is_placed_before_versions(&self) -> bool {
        self.header().placed_before_versions.load(Ordering::Relaxed)
    }

    pub(in crate::broker) fn set_placed_before_versions(&self, before: bool) {
        self.header().placed_before_versions.store(before, Ordering::Relaxed);
    }

    /// Whether Route 53 reports it INSYNC in all its zones.
    pub(in crate::broker) fn is_in_sync(&self) -> bool {
        self.status().is_some_and(|status| matches!(status.progress, Some(Progress::InSync { .. })))
    }

    /// Whether it wins no name, while the records of an earlier version of it stay: its content is rejected, or it
    /// belongs elsewhere now. A typing error must not withdraw a name.
    pub fn is_retained(&self) -> bool {
        self.header().retained.load(Ordering::Relaxed)
    }

    pub(in crate::broker) fn set_retained(&self, retained: bool) {
        self.header().retained.store(retained, Ordering::Relaxed);
    }

    /// Whether it was replaced by another version, or removed.
    pub(in crate::broker) fn is_gone(&self) -> bool {
        self.header().gone.load(Ordering::Acquire)
    }

    pub(in crate::broker) fn set_gone(&self) {
        self.header().gone.store(true, Ordering::Release);
    }

    /// A fingerprint of the verdict that the store has; 0 for none, [`NOT_KNOWN`] if it is unknown.
    pub(in crate::broker) fn kept(&self) -> u32 {
        self.header().kept.load(Ordering::Relaxed)
    }

    /// It is a later version of `before`, and keeps its place until it is placed itself.
    pub(in crate::broker) fn follows(&self, before: &Self) {
        self.set_place(before.place(), before.sequence());
        // The store may have the verdict on that content.
        if (before.kept() != 0 || before.status().is_some()) && self.kept() == 0 {
            self.set_kept(NOT_KNOWN);
        }
    }

    pub(in crate::broker) fn set_kept(&self, fingerprint: u32) {
        self.header().kept.store(fingerprint, Ordering::Relaxed);
    }
}

/// It is unknown which verdict the store has.
pub(in crate::broker) const NOT_KNOWN: u32 = u32::MAX;

/// Tells verdicts apart; never 0 nor [`NOT_KNOWN`]. If two of one endpoint share it by chance, the stored verdict is one
/// behind until the next start makes verdicts anew.
pub(in crate::broker) fn fingerprint(verdict: &Verdict) -> u32 {
    let mut hasher = DefaultHasher::new();
    (verdict.state, verdict.reason, &verdict.message, &verdict.placement).hash(&mut hasher);
    // The low half is as good as the whole.
    (hasher.finish() as u32).clamp(1, NOT_KNOWN - 1)
}

impl fmt::Debug for EndpointEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} (arrival {})", self.key(), self.cluster(), self.arrival())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::endpoint::verdict::Reason;
    use crate::core::testkit::{cluster, endpoint};

    #[test]
    fn what_is_held_is_what_was_published() {
        let endpoint = endpoint("web", "www.example.com", "A", &["192.0.2.1"]);
        let held = EndpointEntry::new(cluster("east"), 7, &PackedEndpoint::pack(&endpoint));
        assert_eq!((held.endpoint(), held.arrival()), (endpoint.clone(), 7));
        assert_eq!((held.key_hash(), held.version()), (endpoint.key.hash(), endpoint.version()));
    }

    #[test]
    fn endpoints_that_want_the_same_hold_it_once() {
        let target = "internal-shop-1234567890.eu-central-1.elb.amazonaws.com";
        let mut contents = Interner::default();
        let endpoints: Vec<Endpoint> = (0..3)
            .map(|n| endpoint(&format!("web-{n}"), &format!("www-{n}.example.com"), "A", &[target]))
            .collect();
        let hold = |endpoint: &Endpoint| {
            EndpointEntry::sharing(
                cluster("east"),
                1,
                &PackedEndpoint::pack(endpoint),
                &mut contents,
            )
        };
        let held: Vec<EndpointEntry> = endpoints.iter().map(hold).collect();
        assert!(held.iter().zip(&endpoints).all(|(held, endpoint)| held.endpoint() == *endpoint));
        let content = |held: &EndpointEntry| held.header().content.clone();
        assert!(
            content(&held[0]).is_none()
                && Arc::ptr_eq(&content(&held[1]).unwrap(), &content(&held[2]).unwrap())
        );
    }

    #[test]
    fn the_same_status_is_held_once() {
        let mut cache = StatusCache::default();
        let rejected =
            |message: &str| Status::of(Verdict::rejected(Reason::InvalidTarget, message));
        let (one, two) = (cache.share(rejected("a")), cache.share(rejected("b")));
        assert!(
            Arc::ptr_eq(&one, &cache.share(rejected("a")))
                && Arc::ptr_eq(&two, &cache.share(rejected("b")))
        );
    }
}
