//! Every endpoint of every cluster, and where each one goes.
//!
//! The directory follows the store: it is told what was committed, in the order of the commits, and answers with what that
//! means for the account workers and for the endpoints' statuses. The decider alone tells it; everybody may look: at settings
//! and zones as unchanging snapshots, at a cluster's endpoints a page at a time.

pub mod cluster;
pub mod entry;
pub mod interner;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use arc_swap::ArcSwap;

use crate::core::dns::name::DnsName;
use crate::core::endpoint::digest::SetDigest;
use crate::core::endpoint::parsed::{ParsedEndpoint, parse_endpoint};
use crate::core::endpoint::verdict::{Placement, Reason, Verdict};
use crate::core::endpoint::{EndpointKey, KeyHash, Version};
use crate::core::ids::{AccountId, ClusterId, EnvironmentId, ZoneId};
use crate::core::planning::routing::{RouteRequest, ZoneFacts, ZoneTable};
use crate::core::visibility::Visibility;
use crate::ports::{EndpointNews, EndpointRow, IngestOp, OpOutcome};
use cluster::{ClusterEndpoints, LoadingEndpoints};
use entry::{EndpointEntry, fingerprint};
use interner::Interner;

/// How many endpoints a look at all of them copies at once.
const LOOK_PAGE: usize = 1_000;

/// What the configuration says of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// The environment that joins it with accounts.
    pub environment: EnvironmentId,
    /// Which kind of zone its endpoints go to when they do not say so themselves.
    pub visibility: Visibility,
    /// For people and for rules: region, team, ….
    pub labels: BTreeMap<String, String>,
}

/// What a change of the directory means for others.
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
        /// The verdict.
        verdict: Verdict,
    },
}

/// See the module's page.
#[derive(Default)]
pub struct Directory {
    settings: ArcSwap<HashMap<ClusterId, ClusterSettings>>,
    zones: ArcSwap<ZoneTable>,
    clusters: RwLock<BTreeMap<ClusterId, Arc<ClusterEndpoints>>>,
    places: Mutex<PlacementTable>,
    /// What several endpoints want alike.
    contents: Mutex<Interner>,
    unplaced: Mutex<Unplaced>,
}

/// The directory, shared; only the decider tells it anything.
pub type SharedDirectory = Arc<Directory>;

/// The places where endpoints contribute, numbered from 1 in the order of their first use in this process.
#[derive(Default)]
struct PlacementTable {
    placements: Vec<Placement>,
    numbers: HashMap<Placement, u32>,
}

impl PlacementTable {
    fn number(&mut self, placement: &Placement) -> u32 {
        if let Some(number) = self.numbers.get(placement) {
            return *number;
        }
        self.placements.push(placement.clone());
        // No more places than zones, and those number thousands.
        let number = u32::try_from(self.placements.len()).unwrap_or(u32::MAX);
        self.numbers.insert(placement.clone(), number);
        number
    }

    fn of(&self, held: &EndpointEntry) -> Option<Placement> {
        let index = (held.place() as usize).checked_sub(1)?;
        self.placements.get(index).cloned()
    }
}

/// The endpoints that contribute nowhere, by the name that they want: as it is shown, or as it was written when it is none.
#[derive(Default)]
struct Unplaced(BTreeMap<String, Vec<EndpointEntry>>);

impl Unplaced {
    fn key(written: &str) -> String {
        DnsName::parse(written)
            .map_or_else(|_| written.to_ascii_lowercase(), |name| name.to_string())
    }

    fn insert(&mut self, held: &EndpointEntry) {
        self.0.entry(Self::key(held.view().dns_name)).or_default().push(held.clone());
    }

    fn remove(&mut self, held: &EndpointEntry) {
        let key = Self::key(held.view().dns_name);
        if let Some(there) = self.0.get_mut(&key) {
            there.retain(|other| other.arrival() != held.arrival());
            if there.is_empty() {
                self.0.remove(&key);
            }
        }
    }
}

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

    /// How many endpoints are stored for a cluster.
    pub fn endpoint_count(&self, cluster: &ClusterId) -> usize {
        self.cluster(cluster).len()
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
        locked(&self.unplaced).0.get(&Unplaced::key(name)).cloned().unwrap_or_default()
    }

    /// Where an endpoint contributes; none for nowhere.
    pub fn placement(&self, held: &EndpointEntry) -> Option<Placement> {
        locked(&self.places).of(held)
    }

    /// Takes what was committed for a cluster.
    pub fn commit(
        &self,
        cluster: &ClusterId,
        ops: Vec<IngestOp>,
        outcomes: &[OpOutcome],
        effects: &mut Vec<Effect>,
    ) {
        let endpoints = self.cluster(cluster);
        let mut place = self.place(effects);
        for (op, outcome) in ops.into_iter().zip(outcomes) {
            match (op, outcome) {
                (IngestOp::Put { key, version, endpoint }, OpOutcome::Stored { arrival }) => {
                    // The same again is no news to the replica that works its account: what that one said of it goes on to be so.
                    let before = endpoints
                        .get(&key)
                        .filter(|held| held.arrival() == *arrival && held.version() == version);
                    if before.is_some_and(|held| !held.is_retained()) {
                        continue;
                    }
                    let held = EndpointEntry::sharing(
                        cluster.clone(),
                        *arrival,
                        &endpoint,
                        &mut locked(&self.contents),
                    );
                    let old = endpoints.put(&key, &version, held.clone());
                    let current = old.and_then(|old| {
                        held.follows(&old);
                        place.leave(&old)
                    });
                    place.settle(&held, current, Occasion::Written);
                }
                (IngestOp::Del { key, .. }, OpOutcome::Removed) => place.remove(&endpoints, &key),
                // An earlier attempt removed it, and its answer was lost: the store does not hold what was seen.
                (IngestOp::Del { key, version_seen }, OpOutcome::Unchanged) => {
                    let held = endpoints.get(&key);
                    if held
                        .is_some_and(|held| version_seen.is_none_or(|seen| seen == held.version()))
                    {
                        place.remove(&endpoints, &key);
                    }
                }
                _ => {}
            }
        }
    }

    /// Takes what another replica has made durable, as the store holds it now. What is held like that already is left alone and
    /// answered, so it may be told twice, and late.
    pub fn follow(&self, news: EndpointNews, effects: &mut Vec<Effect>) -> Option<EndpointEntry> {
        let mut place = self.place(effects);
        let row = match news {
            EndpointNews::Stored(row) => row,
            EndpointNews::Removed { cluster, key } => {
                place.remove(&self.cluster(&cluster), &key);
                return None;
            }
        };
        let endpoints = self.cluster(&row.cluster);
        let before = endpoints.get(&row.key);
        let same =
            before.filter(|held| held.arrival() == row.arrival && held.version() == row.version);
        if same.is_some() {
            return same;
        }
        let held = EndpointEntry::sharing(
            row.cluster,
            row.arrival,
            &row.endpoint,
            &mut locked(&self.contents),
        );
        held.set_kept(row.verdict.as_ref().map_or(0, fingerprint));
        let old = endpoints.put(&row.key, &row.version, held.clone());
        let mut current = None;
        if let Some(old) = old
            && let Some(placement) = place.leave(&old)
        {
            // Under another arrival number it was another endpoint, whose end was not told yet.
            if old.arrival() == held.arrival() {
                held.follows(&old);
                current = Some(placement);
            } else {
                place.withdraw(&old, placement);
            }
        }
        let Some(decided) = row.verdict.and_then(|verdict| verdict.placement) else {
            place.settle(&held, current, Occasion::Written);
            return None;
        };
        // Where it went was decided where it was written.
        place.go(&held, current, decided);
        None
    }

    /// Begins a walk past everything that contributes to some accounts.
    pub fn walk(&self, accounts: BTreeSet<AccountId>) -> Walk {
        Walk { accounts, clusters: self.clusters().into(), after: None }
    }

    /// The next page of a walk, as contributions; may be empty. None at the end. What is committed meanwhile is told beside it.
    pub fn contributions(&self, walk: &mut Walk) -> Option<Vec<Effect>> {
        let cluster = walk.clusters.front()?;
        let page = self.cluster(cluster).page(walk.after.as_ref(), LOOK_PAGE);
        walk.after = page.last().map(EndpointEntry::key_hash);
        if walk.after.is_none() {
            walk.clusters.pop_front();
        }
        let places = locked(&self.places);
        let contribution = |held: EndpointEntry| {
            let placement =
                places.of(&held).filter(|placement| walk.accounts.contains(&placement.account))?;
            let name = DnsName::parse(held.view().dns_name).ok()?;
            Some(Effect::Contribute { placement, name, held })
        };
        Some(page.into_iter().filter_map(contribution).collect())
    }

    /// Takes what discovery found of an account: its zones, all of them. A zone that is no longer found stays known and
    /// invisible.
    pub fn discover(&self, account: &AccountId, found: Vec<ZoneFacts>, effects: &mut Vec<Effect>) {
        let known = self.zones();
        let visible: BTreeSet<ZoneId> = found.iter().map(|facts| facts.zone.clone()).collect();
        let gone = known
            .iter()
            .filter(|facts| facts.account == *account && !visible.contains(&facts.zone))
            .cloned();
        let gone = gone.map(|facts| ZoneFacts { visible: false, ..facts });
        let changed: Vec<ZoneFacts> = found
            .into_iter()
            .chain(gone)
            .filter(|facts| known.get(&facts.zone) != Some(facts))
            .collect();
        if changed.is_empty() {
            return;
        }
        let zones: HashSet<ZoneId> = changed.iter().map(|facts| facts.zone.clone()).collect();
        let mut table = ZoneTable::clone(&known);
        changed.into_iter().for_each(|facts| table.insert(facts));
        self.zones.store(Arc::new(table));
        // What is placed in another zone stays where it is, once somebody has said so; only these can fare otherwise now.
        let concerned: HashSet<u32> = {
            let places = locked(&self.places);
            places
                .numbers
                .iter()
                .filter(|(placement, _)| zones.contains(&placement.zone))
                .map(|(_, number)| *number)
                .collect()
        };
        let fares_otherwise = |held: &EndpointEntry| {
            held.place() == 0 || held.is_retained() || concerned.contains(&held.place())
        };
        self.review(|_, held| !held.is_judged() || fares_otherwise(held), effects);
    }

    /// Compares where an endpoint contributes with where another replica says that it does, and goes there if that one's word
    /// counts. Two replicas that place an endpoint before they know of the same zones may place it differently; whoever works an
    /// account decides by what it believes, so this must not last. What nobody goes by yet gives way to what is said. Else the
    /// closer zone counts, where a new endpoint would go, and of two that are equally close the one with the smaller id: so both
    /// come to the same.
    pub fn agree(
        &self,
        held: &EndpointEntry,
        theirs: &Placement,
        ours_is: Belief,
        effects: &mut Vec<Effect>,
    ) -> Agreement {
        let ours = self.placement(held);
        if ours.as_ref() == Some(theirs) {
            return Agreement::Agreed;
        }
        let mut place = self.place(effects);
        let closeness = |placement: &Placement| {
            let facts =
                place.zones.get(&placement.zone).filter(|facts| facts.account == placement.account);
            facts.map(|facts| (facts.name.label_count(), Reverse(facts.zone.clone())))
        };
        // The zones of an account are told before what is placed in them.
        let is_closer =
            |ours: &Placement| ours_is == Belief::GoneBy && closeness(ours) > closeness(theirs);
        if closeness(theirs).is_none() || ours.as_ref().is_some_and(is_closer) {
            return Agreement::OursCounts;
        }
        place.leave(held);
        place.go(held, ours, theirs.clone());
        Agreement::Agreed
    }

    /// Takes other settings of clusters and looks again at the endpoints of those that changed.
    pub fn reconfigure(
        &self,
        settings: HashMap<ClusterId, ClusterSettings>,
        effects: &mut Vec<Effect>,
    ) {
        let before = self.settings();
        if *before == settings {
            return;
        }
        let changed: HashSet<ClusterId> = self
            .clusters()
            .into_iter()
            .filter(|cluster| before.get(cluster) != settings.get(cluster))
            .collect();
        self.settings.store(Arc::new(settings));
        self.review(|cluster, _| changed.contains(cluster), effects);
    }

    /// Looks again at endpoints, because zones or settings have changed. What is placed stays placed, if anybody was told.
    fn review(
        &self,
        is_concerned: impl Fn(&ClusterId, &EndpointEntry) -> bool,
        effects: &mut Vec<Effect>,
    ) {
        let mut place = self.place(effects);
        for cluster in self.clusters() {
            let endpoints = self.cluster(&cluster);
            let mut after = None;
            loop {
                let page = endpoints.page(after.as_ref(), LOOK_PAGE);
                let Some(last) = page.last() else { break };
                after = Some(last.key_hash());
                for held in page.iter().filter(|held| is_concerned(&cluster, held)) {
                    let current = place.leave(held);
                    match current.as_ref().and_then(|current| place.better(held, current)) {
                        Some(better) => place.go(held, current, better),
                        None => place.settle(held, current, Occasion::Review),
                    }
                }
            }
        }
    }

    fn place<'a>(&'a self, effects: &'a mut Vec<Effect>) -> Placer<'a> {
        Placer {
            settings: self.settings(),
            zones: self.zones(),
            places: locked(&self.places),
            unplaced: locked(&self.unplaced),
            effects,
        }
    }
}

/// How much rests on where this replica has placed an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belief {
    /// Its worker was told of it, or somebody said that it is there: its record may have been made.
    GoneBy,
    /// Nothing.
    Idle,
}

/// Whose word on an endpoint's place counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// It contributes there.
    Agreed,
    /// It stays where it is, and the other replica has to hear of that.
    OursCounts,
}

/// A walk past all endpoints, a page at a time.
pub struct Walk {
    /// The accounts that are asked for.
    pub accounts: BTreeSet<AccountId>,
    clusters: VecDeque<ClusterId>,
    after: Option<KeyHash>,
}

/// Takes the stored endpoints at start.
#[derive(Default)]
pub struct Loader {
    clusters: BTreeMap<ClusterId, LoadingEndpoints>,
}

impl Loader {
    /// Takes one and decides where it goes. The zones are known before.
    pub fn take(
        &mut self,
        directory: &Directory,
        row: EndpointRow,
        effects: &mut Vec<Effect>,
    ) -> EndpointEntry {
        // All endpoints of a cluster share one text.
        let cluster = self
            .clusters
            .get_key_value(&row.cluster)
            .map_or(row.cluster, |(cluster, _)| cluster.clone());
        let held = EndpointEntry::sharing(
            cluster.clone(),
            row.arrival,
            &row.endpoint,
            &mut locked(&directory.contents),
        );
        self.clusters.entry(cluster).or_default().push(&row.key, &row.version, held.clone());
        let current = row.verdict.and_then(|verdict| verdict.placement);
        directory.place(effects).settle(&held, current, Occasion::Review);
        held
    }

    /// All are there.
    pub fn finish(self, directory: &Directory) {
        let loaded = self
            .clusters
            .into_iter()
            .map(|(cluster, endpoints)| (cluster, Arc::new(endpoints.finish())));
        *directory.clusters.write().unwrap_or_else(PoisonError::into_inner) = loaded.collect();
    }
}

/// Why an endpoint is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// Its cluster wrote it: it may move, since somebody asked for it.
    Written,
    /// Something around it changed: it stays where it is.
    Review,
}

struct Placer<'a> {
    settings: Arc<HashMap<ClusterId, ClusterSettings>>,
    zones: Arc<ZoneTable>,
    places: MutexGuard<'a, PlacementTable>,
    unplaced: MutexGuard<'a, Unplaced>,
    effects: &'a mut Vec<Effect>,
}

impl Placer<'_> {
    /// An endpoint is gone, and with it what it contributed.
    fn remove(&mut self, endpoints: &ClusterEndpoints, key: &KeyHash) {
        if let Some(old) = endpoints.remove(key)
            && let Some(placement) = self.leave(&old)
        {
            self.withdraw(&old, placement);
        }
    }

    /// An endpoint, or this version of it, leaves the place that is answered; it stays there unless it is put elsewhere.
    fn leave(&mut self, held: &EndpointEntry) -> Option<Placement> {
        let current = self.places.of(held);
        if current.is_none() {
            self.unplaced.remove(held);
        }
        current
    }

    /// Decides where an endpoint goes and says what that changes.
    fn settle(&mut self, held: &EndpointEntry, current: Option<Placement>, occasion: Occasion) {
        let routed = parse_endpoint(&held.endpoint()).and_then(|wish| {
            let placement = self.route(held.cluster(), &wish, current.as_ref())?;
            Ok((wish.name, placement))
        });
        match routed {
            Ok((name, placement))
                if occasion == Occasion::Written
                    || current.as_ref().is_none_or(|c| *c == placement) =>
            {
                if let Some(old) = current.filter(|old| *old != placement) {
                    self.withdraw(held, old);
                }
                held.set_retained(false);
                self.contribute(held, placement, name);
            }
            Ok((_, elsewhere)) => {
                let verdict = Verdict::waiting(
                    Reason::ZoneGone,
                    format!(
                        "the endpoint now routes to the zone {}, and its records stay where they are: write the endpoint again to move it",
                        elsewhere.zone
                    ),
                    current.clone(),
                );
                self.retain(held, current, verdict);
            }
            Err(verdict) => self.retain(held, current, verdict),
        }
    }

    /// Where an endpoint of which nothing was said yet would go by what is known now, if that is elsewhere. It is not bound to a
    /// place that was found before all zones were known; what another replica makes of it, which knew them, is then the same.
    fn better(&self, held: &EndpointEntry, current: &Placement) -> Option<Placement> {
        let wish =
            if held.is_judged() { return None } else { parse_endpoint(&held.endpoint()).ok()? };
        self.route(held.cluster(), &wish, None).ok().filter(|better| better != current)
    }

    /// Goes from one place to another that was decided on.
    fn go(&mut self, held: &EndpointEntry, from: Option<Placement>, to: Placement) {
        if let Some(left) = from.filter(|from| *from != to) {
            self.withdraw(held, left);
        }
        self.settle(held, Some(to), Occasion::Review);
    }

    fn route(
        &self,
        cluster: &ClusterId,
        wish: &ParsedEndpoint,
        current: Option<&Placement>,
    ) -> Result<Placement, Verdict> {
        let Some(settings) = self.settings.get(cluster) else {
            return Err(Verdict::waiting(
                Reason::NoZone,
                format!(
                    "the cluster {cluster} is no longer registered at the broker: register it again, or remove its endpoints"
                ),
                current.cloned(),
            ));
        };
        self.zones.route(&RouteRequest {
            environment: &settings.environment,
            name: &wish.name,
            visibility: wish.visibility.unwrap_or(settings.visibility),
            pinned: wish.zone.as_ref(),
            current,
        })
    }

    /// An endpoint that cannot be placed now: what an earlier version of it made stays.
    fn retain(&mut self, held: &EndpointEntry, current: Option<Placement>, mut verdict: Verdict) {
        held.set_retained(true);
        match current.zip(DnsName::parse(held.view().dns_name).ok()) {
            Some((placement, name)) => {
                verdict.placement = Some(placement.clone());
                self.contribute(held, placement, name);
            }
            None => {
                held.set_place(0);
                self.unplaced.insert(held);
            }
        }
        self.effects.push(Effect::Judge { held: held.clone(), verdict });
    }

    fn contribute(&mut self, held: &EndpointEntry, placement: Placement, name: DnsName) {
        held.set_place(self.places.number(&placement));
        self.effects.push(Effect::Contribute { placement, name, held: held.clone() });
    }

    fn withdraw(&mut self, held: &EndpointEntry, placement: Placement) {
        // What was placed has a name that is one.
        if let Ok(name) = DnsName::parse(held.view().dns_name) {
            self.effects.push(Effect::Withdraw { placement, name, held: held.clone() });
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
