//! Every endpoint of every cluster, and where each one goes.
//!
//! The directory follows the store: it gets the commits in their order, and answers with the effects on the account workers and
//! on the endpoints' statuses. The decider alone writes to it; all may read: settings and zones as unchanging snapshots, a
//! cluster's endpoints a page at a time.

pub mod cluster;
pub mod due;
pub mod entry;
pub mod interner;
mod loader;
mod places;
mod placing;
pub mod review;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use arc_swap::ArcSwap;

use crate::core::dns::name::DnsName;
use crate::core::endpoint::digest::SetDigest;
use crate::core::endpoint::quota::{Quota, Usage};
use crate::core::endpoint::verdict::{Placement, Verdict};
use crate::core::endpoint::{EndpointKey, KeyHash, Version};
use crate::core::ids::{AccountId, ClusterId, EnvironmentId, ZoneId};
use crate::core::planning::placement::{
    PlacementDecision, PlacementSet, StoredPlacement, ZonesAsked,
};
use crate::core::planning::routing::{AccountScope, ZoneFacts, ZoneTable};
use crate::core::time::Timestamp;
use crate::core::visibility::Exposure;
use crate::ports::{EndpointNews, IngestOp, OpOutcome, PlacementWrite};
use cluster::ClusterEndpoints;
use due::{DuePlacements, Turn};
use entry::{EndpointEntry, Status, fingerprint};
use interner::Interner;
pub use loader::Loader;
use places::{PlacementTable, WaitingEndpoints};
use placing::{Grounds, Placer};
use review::DirectoryReview;

/// How many endpoints a walk past all of them copies at once.
const LOOK_PAGE: usize = 1_000;

/// The configuration of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// The environment that joins it with accounts.
    pub environment: EnvironmentId,
    /// For people and for rules: region, team, ….
    pub labels: BTreeMap<String, String>,
    /// The kinds of zones in which its endpoints are published, unless they say so themselves.
    pub exposure: Exposure,
    /// How much of it is stored.
    pub quota: Quota,
}

/// The role of an endpoint in one of its zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlacementRole {
    /// It is published there, or was and stays until it can be again.
    Publishes,
    /// It moved elsewhere: its records there stay until it is in sync at its new place.
    Leaves,
}

/// The effect of a change in the directory.
#[derive(Clone, Debug)]
pub enum Effect {
    /// An endpoint contributes to a name, newly or with new content.
    Contribute {
        /// The account and zone.
        placement: Placement,
        /// The owner name.
        name: DnsName,
        /// The endpoint.
        held: EndpointEntry,
        /// Its role there.
        role: PlacementRole,
    },
    /// An endpoint no longer contributes.
    Withdraw {
        /// The account and zone.
        placement: Placement,
        /// The owner name.
        name: DnsName,
        /// The endpoint; its key is the cause of what is deleted.
        held: EndpointEntry,
    },
    /// A verdict that does not depend on the zone's other names.
    Judge {
        /// The endpoint.
        held: EndpointEntry,
        verdict: Verdict,
    },
}

/// See the module's page.
#[derive(Default)]
pub struct Directory {
    /// The registered clusters.
    settings: ArcSwap<HashMap<ClusterId, ClusterSettings>>,
    /// The zones of all accounts, to route to.
    zones: ArcSwap<ZoneTable>,
    /// The endpoints of each cluster.
    clusters: RwLock<BTreeMap<ClusterId, Arc<ClusterEndpoints>>>,
    /// The sets of zones at which endpoints are placed, each once.
    places: PlacementTable,
    /// Contents that several endpoints share.
    contents: Mutex<Interner>,
    /// Endpoints that publish nothing by their present content.
    waiting: Mutex<WaitingEndpoints>,
    /// Endpoints whose placement can be decided and is not stored yet.
    due: DuePlacements,
    /// Rises after each change of the settings or the zones: decisions by one number rest on the same.
    basis: AtomicU64,
}

/// The directory, shared; only the decider writes to it.
pub type SharedDirectory = Arc<Directory>;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Directory {
    /// An empty directory for the configured clusters.
    pub fn new(settings: HashMap<ClusterId, ClusterSettings>) -> Self {
        Self { settings: ArcSwap::from_pointee(settings), ..Self::default() }
    }

    /// The registered clusters.
    pub fn settings(&self) -> Arc<HashMap<ClusterId, ClusterSettings>> {
        self.settings.load_full()
    }

    /// All zones.
    pub fn zones(&self) -> Arc<ZoneTable> {
        self.zones.load_full()
    }

    /// Takes the configured accounts: the state of their listing is kept.
    pub fn set_accounts(&self, accounts: BTreeMap<AccountId, AccountScope>) {
        let mut table = ZoneTable::clone(&self.zones());
        let known = table.accounts().clone();
        let kept = accounts.into_iter().map(|(account, scope)| {
            let before = known.get(&account);
            let listed = scope.listed || before.is_some_and(|before| before.listed);
            let exempt = scope.exempt || before.is_some_and(|before| before.exempt);
            (account, AccountScope { listed, exempt, ..scope })
        });
        table.set_accounts(kept.collect());
        self.set_zones(table);
    }

    /// The endpoints of a cluster, none at first.
    pub fn cluster(&self, cluster: &ClusterId) -> Arc<ClusterEndpoints> {
        if let Some(endpoints) =
            self.clusters.read().unwrap_or_else(PoisonError::into_inner).get(cluster)
        {
            return Arc::clone(endpoints);
        }
        Arc::clone(
            self.clusters
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(cluster.clone())
                .or_default(),
        )
    }

    /// The clusters that ever had an endpoint here, or were asked for.
    pub fn clusters(&self) -> Vec<ClusterId> {
        self.clusters.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// How many endpoints are stored for a cluster, with those beyond its quota.
    pub fn endpoint_count(&self, cluster: &ClusterId) -> usize {
        self.cluster(cluster).len()
    }

    /// How much of its quota a cluster uses.
    pub fn usage(&self, cluster: &ClusterId) -> Usage {
        self.cluster(cluster).usage()
    }

    /// The quota of a cluster; `None` if it is not registered.
    pub fn quota(&self, cluster: &ClusterId) -> Option<Quota> {
        self.settings().get(cluster).map(|settings| settings.quota)
    }

    /// The digest of what is durable for a cluster.
    pub fn digest(&self, cluster: &ClusterId) -> SetDigest {
        self.cluster(cluster).digest()
    }

    /// The keys and versions of a cluster in some buckets, with the source that each belongs to.
    pub fn keys_in(
        &self,
        cluster: &ClusterId,
        buckets: &BTreeSet<u8>,
    ) -> Vec<(KeyHash, Version, EndpointKey)> {
        let endpoints = self.cluster(cluster);
        let held = buckets.iter().flat_map(|bucket| endpoints.bucket(*bucket));
        held.map(|held| (held.key_hash(), held.version(), held.key())).collect()
    }

    /// The endpoints that want a name and contribute to no zone.
    pub fn unplaced(&self, name: &str) -> Vec<EndpointEntry> {
        let waiting = locked(&self.waiting);
        waiting.at(name).iter().filter(|held| held.place() == 0).cloned().collect()
    }

    /// Where an endpoint may have record sets; `None` for nowhere.
    pub fn placements(&self, held: &EndpointEntry) -> Option<Arc<PlacementSet>> {
        self.places.of(held)
    }

    /// The endpoints whose placement can be decided and is not stored yet.
    pub fn due(&self) -> &DuePlacements {
        &self.due
    }

    /// Decides where the endpoints go whose contents are about to be stored, by the places of their operations; one that goes
    /// nowhere by what is known now has no decision. The store keeps each with the content if it still rests on what is stored.
    pub fn propose(
        &self,
        cluster: &ClusterId,
        ops: &[IngestOp],
    ) -> BTreeMap<usize, PlacementDecision> {
        let (endpoints, grounds) = (self.cluster(cluster), self.grounds());
        let decide = |(index, op): (usize, &IngestOp)| {
            let IngestOp::Put { key, version, endpoint } = op else { return None };
            if endpoint.withheld().is_some() {
                return None;
            }
            let before = endpoints.get(key);
            let found = before.as_ref().and_then(|held| self.stored_placement(held));
            let is_known = |held: &EndpointEntry| held.is_placed() && held.version() == *version;
            let decision = match found {
                // An agent that starts anew says what it said before: that is no reason to go elsewhere.
                Some(found) if before.as_ref().is_some_and(is_known) => {
                    let to = found.set.clone();
                    PlacementDecision::unasked(found, to)
                }
                found => grounds.decide(cluster, &endpoint.view().to_endpoint(), found)?,
            };
            Some((index, decision))
        };
        ops.iter().enumerate().filter_map(decide).collect()
    }

    fn grounds(&self) -> Grounds {
        let basis = self.basis();
        Grounds { basis, settings: self.settings(), zones: self.zones() }
    }

    /// Decides where an endpoint goes that is stored and has no placement for its content, or that arrived where it moved to;
    /// `None` if there is nothing to decide.
    pub fn decision(&self, held: &EndpointEntry) -> Option<PlacementWrite> {
        if held.is_gone() || held.withheld().is_some() {
            return None;
        }
        let found = self.stored_placement(held);
        let placing = match found {
            Some(found) if held.is_placed() && !held.is_placed_before_versions() => {
                let has_left = !found.set.leaving().is_empty() && held.is_in_sync();
                let to = has_left.then(|| found.set.arrived())?;
                PlacementDecision::unasked(found, to)
            }
            // An earlier release decided it; now the version is known.
            Some(found) if held.is_placed() => {
                let to = found.set.clone();
                PlacementDecision::unasked(found, to)
            }
            found => self.grounds().decide(held.cluster(), &held.endpoint(), found)?,
        };
        Some(PlacementWrite {
            cluster: held.cluster().clone(),
            arrival: held.arrival(),
            version: held.version(),
            placing,
        })
    }

    fn stored_placement(&self, held: &EndpointEntry) -> Option<StoredPlacement> {
        let set = self.placements(held)?;
        Some(StoredPlacement { sequence: held.sequence(), set: PlacementSet::clone(&set) })
    }

    /// Takes decisions that are stored.
    pub fn placed(
        &self,
        decisions: Vec<(EndpointEntry, StoredPlacement)>,
        effects: &mut Vec<Effect>,
    ) {
        let mut placer = self.placer(Turn::Ours, effects);
        for (held, stored) in decisions {
            placer.place(&held, &stored);
        }
    }

    /// Has endpoints that lost their zone placed anew, at a name or below it too, as if written again; returns how many can
    /// go elsewhere now.
    pub fn reroute(&self, name: &DnsName, reach: NameReach, effects: &mut Vec<Effect>) -> usize {
        let waiting = {
            let waiting = locked(&self.waiting);
            match reach {
                NameReach::Name => waiting.at(&name.to_string()).to_vec(),
                NameReach::Below => waiting.below(name),
            }
        };
        let mut placer = self.placer(Turn::Ours, effects);
        waiting.iter().filter(|held| placer.place_anew(held)).count()
    }

    /// Applies a commit of a cluster.
    pub fn commit(
        &self,
        cluster: &ClusterId,
        ops: Vec<IngestOp>,
        placings: &BTreeMap<usize, PlacementDecision>,
        outcomes: &[OpOutcome],
        effects: &mut Vec<Effect>,
    ) {
        let endpoints = self.cluster(cluster);
        // Only the decider changes it, which is who calls this.
        let basis = self.basis();
        let mut placer = self.placer(Turn::Ours, effects);
        for (index, (op, outcome)) in ops.into_iter().zip(outcomes).enumerate() {
            match (op, outcome) {
                (
                    IngestOp::Put { key, version, endpoint },
                    OpOutcome::Stored { arrival } | OpOutcome::Placed { arrival },
                ) => {
                    // The same again is no news to the replica that manages its account: the status from there stays valid.
                    let before = endpoints
                        .get(&key)
                        .filter(|held| held.arrival() == *arrival && held.version() == version);
                    if before.is_some_and(|held| held.is_placed() && !held.is_retained()) {
                        continue;
                    }
                    let held = EndpointEntry::sharing(
                        cluster.clone(),
                        *arrival,
                        &endpoint,
                        &mut locked(&self.contents),
                    );
                    let placed = match outcome {
                        OpOutcome::Placed { .. } => placings.get(&index),
                        _ => None,
                    };
                    let asked = placed.and_then(|placed| placed.asked.as_ref());
                    match (placed, asked.filter(|asked| asked.basis == basis)) {
                        (Some(placed), Some(ZonesAsked { name, .. })) => {
                            placer.put_placed(&endpoints, &key, &version, &held, placed, name);
                        }
                        (placed, _) => placer.put(&endpoints, &key, &version, &held, placed),
                    }
                }
                (IngestOp::Del { key, .. }, OpOutcome::Removed) => placer.remove(&endpoints, &key),
                // An earlier attempt removed it, and its answer was lost: the store does not hold what was seen.
                (IngestOp::Del { key, version_seen }, OpOutcome::Unchanged) => {
                    let held = endpoints.get(&key);
                    if held
                        .is_some_and(|held| version_seen.is_none_or(|seen| seen == held.version()))
                    {
                        placer.remove(&endpoints, &key);
                    }
                }
                _ => {}
            }
        }
    }

    /// Takes a change that another replica made durable, as the store holds it now. An endpoint that is held like that already is
    /// left alone and returned, so news may come twice, and late.
    pub fn follow(&self, news: EndpointNews, effects: &mut Vec<Effect>) -> Option<EndpointEntry> {
        let mut placer = self.placer(Turn::Theirs, effects);
        let (row, content_is_news) = match news {
            EndpointNews::Stored(row) => (row, true),
            EndpointNews::Placed(row) => (row, false),
            EndpointNews::Removed { cluster, key } => {
                placer.remove(&self.cluster(&cluster), &key);
                return None;
            }
        };
        let endpoints = self.cluster(&row.cluster);
        let before = endpoints.get(&row.key);
        let is_same = |held: &EndpointEntry| {
            (held.arrival(), held.version(), held.withheld())
                == (row.arrival, row.version, row.endpoint.withheld())
        };
        let same = before.filter(is_same);
        if let Some(held) = same {
            if let Some(placed) = &row.placed
                && placed.version == Some(row.version)
            {
                placer.place(&held, &placed.placement);
            }
            return content_is_news.then_some(held);
        }
        if !content_is_news {
            // A content that is not here yet comes as news of its own, with its placement.
            return None;
        }
        let held = EndpointEntry::sharing(
            row.cluster,
            row.arrival,
            &row.endpoint,
            &mut locked(&self.contents),
        );
        held.set_kept(row.verdict.as_ref().map_or(0, fingerprint));
        placer.follow(&endpoints, &row.key, &row.version, &held, row.placed);
        None
    }

    /// Sets the status of an endpoint in one of its zones; returns whether it is new.
    pub fn tell(
        &self,
        held: &EndpointEntry,
        placement: &Placement,
        status: Arc<Status>,
        at: Timestamp,
    ) -> bool {
        let endpoints = self.cluster(held.cluster());
        self.places.look(held, |set| {
            let is_news = match set.map(PlacementSet::at) {
                None => endpoints.tell(held, status, at),
                Some(zones) if !zones.contains(placement) => return false,
                Some([_]) => endpoints.tell(held, status, at),
                Some(several) => endpoints.tell_part(held, placement, status, several, at),
            };
            if set.is_some_and(|set| !set.leaving().is_empty()) && held.is_in_sync() {
                self.due.note(held, Turn::Ours);
            }
            is_news
        })
    }

    /// Begins a walk past everything that contributes to some accounts.
    pub fn walk(&self, accounts: BTreeSet<AccountId>) -> Walk {
        Walk { accounts, clusters: self.clusters().into(), after: None }
    }

    /// The next page of a walk, as contributions; may be empty. `None` at the end. Commits meanwhile come in their turn.
    pub fn contributions(&self, walk: &mut Walk) -> Option<Vec<Effect>> {
        let cluster = walk.clusters.front()?;
        let page = self.cluster(cluster).page(walk.after.as_ref(), LOOK_PAGE);
        walk.after = page.last().map(EndpointEntry::key_hash);
        if walk.after.is_none() {
            walk.clusters.pop_front();
        }
        let mut effects = vec![];
        for held in page {
            let set = self.placements(&held);
            let Some((set, name)) = set.zip(DnsName::parse(held.view().dns_name).ok()) else {
                continue;
            };
            let meant = |effect: &Effect| match effect {
                Effect::Contribute { placement, .. } => walk.accounts.contains(&placement.account),
                Effect::Withdraw { .. } | Effect::Judge { .. } => false,
            };
            effects.extend(placing::contributions(&held, &name, &set).filter(meant));
        }
        Some(effects)
    }

    /// Takes the discovered zones of an account, all of them. A zone that is no longer found stays known and
    /// invisible. Returns the review that follows; `None` if none does.
    pub fn discover(
        &self,
        account: &AccountId,
        found: Option<Vec<ZoneFacts>>,
        listing: AccountListing,
        turn: Turn,
    ) -> Option<DirectoryReview> {
        let known = self.zones();
        let was_listed = found.is_some();
        let found = found.unwrap_or_default();
        let visible: BTreeSet<ZoneId> = found.iter().map(|facts| facts.zone.clone()).collect();
        let is_gone = |facts: &&ZoneFacts| {
            was_listed && facts.account == *account && !visible.contains(&facts.zone)
        };
        let gone = known.iter().filter(is_gone).cloned();
        let gone = gone.map(|facts| ZoneFacts { visible: false, ..facts });
        let changed: Vec<ZoneFacts> = found
            .into_iter()
            .chain(gone)
            .filter(|facts| known.get(&facts.zone) != Some(facts))
            .collect();
        let mut table = ZoneTable::clone(&known);
        let is_first = table.update_account(account, |scope| match listing {
            AccountListing::Complete => scope.listed = true,
            AccountListing::Impossible => scope.exempt = true,
            AccountListing::Unknown => {}
        });
        if changed.is_empty() && !is_first {
            return None;
        }
        let zones: BTreeSet<ZoneId> = changed.iter().map(|facts| facts.zone.clone()).collect();
        let before = zones.iter().filter_map(|zone| known.get(zone));
        let apexes = before.chain(&changed).map(|facts| facts.name.clone()).collect::<Vec<_>>();
        changed.into_iter().for_each(|facts| table.insert(facts));
        self.set_zones(table);
        let review = if is_first {
            DirectoryReview::of_all_waiting(turn)
        } else {
            DirectoryReview::below(turn, apexes)
        };
        Some(self.and_placed(review, &zones))
    }

    /// Takes other settings of clusters, and returns a review of the endpoints of those that changed; `None` if none did.
    pub fn reconfigure(
        &self,
        settings: HashMap<ClusterId, ClusterSettings>,
    ) -> Option<DirectoryReview> {
        let before = self.settings();
        if *before == settings {
            return None;
        }
        let changed: Vec<ClusterId> = self
            .clusters()
            .into_iter()
            .filter(|cluster| before.get(cluster) != settings.get(cluster))
            .collect();
        self.settings.store(Arc::new(settings));
        self.basis.fetch_add(1, Ordering::Release);
        Some(DirectoryReview::of_clusters(changed))
    }

    fn set_zones(&self, zones: ZoneTable) {
        self.zones.store(Arc::new(zones));
        self.basis.fetch_add(1, Ordering::Release);
    }

    /// The state of settings and zones that a decision rests on which loads them after this.
    fn basis(&self) -> u64 {
        self.basis.load(Ordering::Acquire)
    }

    fn placer<'a>(&'a self, turn: Turn, effects: &'a mut Vec<Effect>) -> Placer<'a> {
        Placer {
            settings: self.settings(),
            zones: self.zones(),
            places: &self.places,
            waiting: locked(&self.waiting),
            due: &self.due,
            turn,
            effects,
        }
    }
}

/// Which names an operator means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameReach {
    /// The name.
    Name,
    /// The name and all below it.
    Below,
}

/// Whether the zones of an account were listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountListing {
    /// They were listed, all of them, now or once.
    Complete,
    /// They cannot be listed, and the configuration says that nothing waits for that.
    Impossible,
    /// Nothing is known of a complete listing.
    Unknown,
}

/// A walk past all endpoints, a page at a time.
pub struct Walk {
    /// The accounts that are asked for.
    pub accounts: BTreeSet<AccountId>,
    clusters: VecDeque<ClusterId>,
    after: Option<KeyHash>,
}

#[cfg(test)]
pub(super) mod tests;
