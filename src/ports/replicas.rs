//! The state that replicas of a broker share through the store: which one manages which account, and their news for each other.
//!
//! Time is the store's: no replica's clock decides when a lease passes on. A store that cannot be shared (SQLite) has one
//! replica: the process that takes a lease there has it, and the one before is fenced, also in its sessions.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use super::{EndpointRow, StoreError};
use crate::core::endpoint::KeyHash;
use crate::core::ids::{AccountId, ClusterId};
use crate::core::time::Millis;

/// One life of a broker's process: a restart is another replica, so a lease never comes back to one that forgot what it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub Uuid);

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A replica as the others know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaRow {
    pub replica: ReplicaId,
    /// Where the others reach its HTTP, as host:port; empty for one that is not to be reached.
    pub address: String,
}

/// How often an account's lease has changed hands. Every write of a worker asserts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseEpoch(pub u64);

/// The right of a replica to manage an account, from one acquisition of its lease to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenure {
    pub account: AccountId,
    pub holder: ReplicaId,
    /// Which acquisition.
    pub epoch: LeaseEpoch,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The replicas that are alive, the asking one included, in the order of their ids.
    pub replicas: Vec<ReplicaRow>,
    /// The leases that are held and have not run out, in the order of their accounts.
    pub leases: Vec<Tenure>,
}

/// Which replica manages which account.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Whether several replicas may share the store. If they may not, leases do not run out.
    fn is_shared(&self) -> bool;

    /// The replica lives for another `ttl`, and so do all leases that it still holds. Returns the live replicas and held leases.
    async fn heartbeat(&self, replica: &ReplicaRow, ttl: Millis) -> Result<Membership, StoreError>;

    /// Takes the leases that are free or expired, each under its next epoch; returns those taken.
    async fn take_leases(
        &self,
        replica: ReplicaId,
        accounts: &[AccountId],
        ttl: Millis,
    ) -> Result<Vec<Tenure>, StoreError>;

    /// The key with which replicas sign requests to each other: `proposed` in a store that has none, else the stored one.
    /// `None` if the store cannot be shared.
    async fn replica_key(&self, _proposed: &[u8; 32]) -> Result<Option<[u8; 32]>, StoreError> {
        Ok(None)
    }

    /// Gives leases back at once; one that has passed on already is left alone.
    async fn give_back(&self, tenures: &[Tenure]) -> Result<(), StoreError>;

    /// The replica is no longer alive; all its leases are given back.
    async fn leave(&self, replica: ReplicaId) -> Result<(), StoreError>;
}

/// A durable change of an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub enum EndpointNews {
    /// It is stored, perhaps in a later version than this news is about: then news of that version follows.
    Stored(EndpointRow),
    /// Where it goes was decided, for this content or a later one. The content is no news.
    Placed(EndpointRow),
    /// It is gone.
    Removed { cluster: ClusterId, key: KeyHash },
}

/// News of a replica for the others.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// Endpoints became durable, or ceased to be, in one transaction.
    Endpoints(Vec<EndpointNews>),
    /// The zones of an account were stored.
    Zones(AccountId),
    /// Statuses of endpoints; the store does not look inside.
    Statuses(Bytes),
    /// A set of rules was accepted under this number, or under a higher one.
    Rules(u64),
    /// People let units of change go.
    Approvals,
    /// A hand-over was stored.
    Handovers,
    /// The sender holds no statuses: the holders of accounts send all of theirs again.
    Ask,
}

/// One entry of the feed.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedEntry {
    /// Rises with every entry, in the order of the commits: a reader of entries up to one has missed no smaller one.
    pub seq: u64,
    /// The sender.
    pub origin: ReplicaId,
    pub news: News,
}

/// The news of replicas for each other. Ingested endpoints and saved zones go into the feed in the same transaction, as news
/// of the replica that [`Store::of_replica`](super::Store::of_replica) names; the rest is announced. A store that is not shared
/// keeps no feed.
#[async_trait]
pub trait Feed: Send + Sync {
    /// The newest entry; 0 before the first.
    async fn feed_end(&self) -> Result<u64, StoreError>;

    /// The entries after `after`, in their order, up to about `limit` endpoints, and at least one if there is one.
    /// News by the replica that [`Store::of_replica`](super::Store::of_replica) names comes without endpoints and
    /// statuses: that replica knows them.
    ///
    /// # Errors
    /// [`StoreError::FeedCut`] when entries after it are pruned already, or when the feed ends before it because the store was
    /// restored to an older state: what was missed has to be loaded from the tables.
    async fn feed(&self, after: u64, limit: u32) -> Result<Vec<FeedEntry>, StoreError>;

    /// Appends [`News::Statuses`] and [`News::Ask`]; other news is refused, since it is written with its subject.
    async fn announce(&self, origin: ReplicaId, news: Vec<News>) -> Result<(), StoreError>;

    /// Returns when an entry may have come that the caller has not seen; never in a store that is not shared. A hint: it may
    /// come late or, when a connection broke, not at all, so the caller looks by itself from time to time. News by the replica
    /// of this store is no reason.
    async fn feed_changed(&self);

    /// Cuts entries that are older than `age` by the store's clock; returns how many.
    async fn prune_feed(&self, age: Millis) -> Result<u64, StoreError>;
}
