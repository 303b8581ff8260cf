//! Every endpoint of every cluster, and where each one goes.
//!
//! The directory follows the store: it is told what was committed, in the order of the commits, and answers with what that
//! means for the account workers and for the endpoints' statuses. It holds the digests by which an agent resumes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::core::claims::Contribution;
use crate::core::digest::SetDigest;
use crate::core::endpoint::{Endpoint, EndpointKey, KeyHash, Version};
use crate::core::ids::{AccountId, ClusterId, EnvironmentId, ZoneId};
use crate::core::name::DnsName;
use crate::core::policy::Visibility;
use crate::core::routing::{RouteRequest, ZoneFacts, ZoneTable};
use crate::core::verdict::{Placement, Reason, Verdict};
use crate::core::wish::{Wish, interpret};
use crate::ports::{EndpointRow, IngestOp, OpOutcome};

/// What the configuration says of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// The environment that joins it with accounts.
    pub environment: EnvironmentId,
    /// Which kind of zone its endpoints go to when they do not say so themselves.
    pub visibility: Visibility,
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
        /// The contribution.
        contribution: Contribution,
    },
    /// An endpoint no longer contributes.
    Withdraw {
        /// The account and zone.
        placement: Placement,
        /// The owner name.
        name: DnsName,
        /// Whose.
        cluster: ClusterId,
        /// Hash of its key.
        key: KeyHash,
        /// Its key, for the cause of the deletion.
        endpoint: EndpointKey,
    },
    /// A verdict that does not depend on the zone's other names.
    Judge {
        /// Whose.
        cluster: ClusterId,
        /// The endpoint.
        endpoint: Arc<Endpoint>,
        /// Hash of its key.
        key: KeyHash,
        /// Its content.
        version: Version,
        /// Its arrival number.
        arrival: i64,
        /// The verdict.
        verdict: Verdict,
    },
    /// The endpoint is gone: its status with it.
    Forget {
        /// Whose.
        cluster: ClusterId,
        /// Hash of its key.
        key: KeyHash,
    },
}

struct Entry {
    endpoint: Arc<Endpoint>,
    version: Version,
    arrival: i64,
    /// Where the endpoint contributes; the name goes with it so that a withdrawal finds it.
    placed: Option<(Placement, DnsName)>,
}

#[derive(Default)]
struct ClusterEntries {
    /// In the order of the key hashes, so that a page starts where the last one ended.
    entries: BTreeMap<KeyHash, Entry>,
    digest: SetDigest,
}

/// See the module's page.
#[derive(Default)]
pub struct Directory {
    settings: HashMap<ClusterId, ClusterSettings>,
    zones: ZoneTable,
    clusters: BTreeMap<ClusterId, ClusterEntries>,
}

impl Directory {
    /// An empty directory for the configured clusters.
    pub fn new(settings: HashMap<ClusterId, ClusterSettings>) -> Self {
        Self { settings, ..Self::default() }
    }

    /// The registered clusters.
    pub fn settings(&self) -> &HashMap<ClusterId, ClusterSettings> {
        &self.settings
    }

    /// All zones.
    pub fn zones(&self) -> &ZoneTable {
        &self.zones
    }

    /// The digest of what is durable for a cluster.
    pub fn digest(&self, cluster: &ClusterId) -> SetDigest {
        self.clusters.get(cluster).map(|entries| entries.digest.clone()).unwrap_or_default()
    }

    /// The keys and versions of a cluster in some buckets, with the source that each belongs to.
    pub fn keys_in(&self, cluster: &ClusterId, buckets: &BTreeSet<u8>) -> Vec<(KeyHash, Version, EndpointKey)> {
        let Some(entries) = self.clusters.get(cluster) else { return vec![] };
        let in_buckets = entries.entries.iter().filter(|(key, _)| buckets.contains(&SetDigest::bucket_of(key)));
        in_buckets.map(|(key, entry)| (*key, entry.version, entry.endpoint.key.clone())).collect()
    }

    /// How many endpoints are stored for a cluster.
    pub fn endpoint_count(&self, cluster: &ClusterId) -> usize {
        self.clusters.get(cluster).map_or(0, |entries| entries.entries.len())
    }

    /// The clusters that ever had an endpoint here.
    pub fn clusters(&self) -> impl Iterator<Item = &ClusterId> {
        self.clusters.keys()
    }

    /// A page of a cluster's endpoints by key hash; costs the page, not the cluster.
    pub fn page(&self, cluster: &ClusterId, after: Option<&KeyHash>, limit: usize) -> Vec<(KeyHash, Arc<Endpoint>, Version)> {
        let Some(entries) = self.clusters.get(cluster) else { return vec![] };
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = entries.entries.range::<KeyHash, _>((lower, Bound::Unbounded)).take(limit);
        page.map(|(key, entry)| (*key, Arc::clone(&entry.endpoint), entry.version)).collect()
    }

    /// Takes a stored endpoint at start.
    pub fn load(&mut self, row: EndpointRow, effects: &mut Vec<Effect>) {
        let placement = row.verdict.as_ref().and_then(|verdict| verdict.placement.clone());
        let entry = Entry { version: row.version, arrival: row.arrival, endpoint: Arc::new(row.endpoint.unpack()), placed: None };
        let mut place = Place { settings: &self.settings, zones: &self.zones, cluster: &row.cluster, key: row.key, effects };
        let entries = self.clusters.entry(row.cluster.clone()).or_default();
        entries.digest.insert(&row.key, &row.version);
        let entry = place.settle(entry, placement, Occasion::Review);
        entries.entries.insert(row.key, entry);
    }

    /// Takes what was committed for a cluster.
    pub fn commit(&mut self, cluster: &ClusterId, ops: Vec<IngestOp>, outcomes: &[OpOutcome], effects: &mut Vec<Effect>) {
        let mut place = Place { settings: &self.settings, zones: &self.zones, cluster, key: KeyHash([0; 32]), effects };
        let entries = self.clusters.entry(cluster.clone()).or_default();
        for (op, outcome) in ops.into_iter().zip(outcomes) {
            match (op, outcome) {
                (IngestOp::Put { key, version, endpoint }, OpOutcome::Stored { arrival }) => {
                    place.key = key;
                    entries.put(&mut place, version, *arrival, endpoint.unpack());
                }
                (IngestOp::Del { key, .. }, OpOutcome::Removed) => {
                    place.key = key;
                    entries.delete(&mut place);
                }
                _ => {}
            }
        }
    }

    /// Takes what discovery found of an account: its zones, all of them. A zone that is no longer found stays known and
    /// invisible.
    pub fn discover(&mut self, account: &AccountId, found: Vec<ZoneFacts>, effects: &mut Vec<Effect>) {
        let visible: BTreeSet<ZoneId> = found.iter().map(|facts| facts.zone.clone()).collect();
        let gone: Vec<ZoneFacts> =
            self.zones.iter().filter(|facts| facts.account == *account && !visible.contains(&facts.zone)).cloned().collect();
        let mut changed = false;
        for facts in found.into_iter().chain(gone.into_iter().map(|facts| ZoneFacts { visible: false, ..facts })) {
            if self.zones.get(&facts.zone) != Some(&facts) {
                changed = true;
                self.zones.insert(facts);
            }
        }
        if changed {
            self.review(effects);
        }
    }

    /// Takes other settings of clusters and looks at every endpoint again.
    pub fn reconfigure(&mut self, settings: HashMap<ClusterId, ClusterSettings>, effects: &mut Vec<Effect>) {
        if self.settings != settings {
            self.settings = settings;
            self.review(effects);
        }
    }

    /// Looks at every endpoint again, because zones or settings have changed. What is placed stays placed.
    fn review(&mut self, effects: &mut Vec<Effect>) {
        for (cluster, entries) in &mut self.clusters {
            let mut place = Place { settings: &self.settings, zones: &self.zones, cluster, key: KeyHash([0; 32]), effects };
            let keys: Vec<KeyHash> = entries.entries.keys().copied().collect();
            for key in keys {
                let Some(entry) = entries.entries.remove(&key) else { continue };
                place.key = key;
                let current = entry.placed.as_ref().map(|(placement, _)| placement.clone());
                let entry = place.settle(entry, current, Occasion::Review);
                entries.entries.insert(key, entry);
            }
        }
    }
}

impl ClusterEntries {
    fn put(&mut self, place: &mut Place<'_>, version: Version, arrival: i64, endpoint: Endpoint) {
        let key = place.key;
        let mut entry = Entry { endpoint: Arc::new(endpoint), version, arrival, placed: None };
        let mut current = None;
        if let Some(old) = self.entries.remove(&key) {
            self.digest.remove(&key, &old.version);
            current = old.placed.as_ref().map(|(placement, _)| placement.clone());
            entry.placed = old.placed;
        }
        self.digest.insert(&key, &version);
        let entry = place.settle(entry, current, Occasion::Written);
        self.entries.insert(key, entry);
    }

    fn delete(&mut self, place: &mut Place<'_>) {
        let key = place.key;
        let Some(old) = self.entries.remove(&key) else { return };
        self.digest.remove(&key, &old.version);
        place.withdraw(&old);
        place.effects.push(Effect::Forget { cluster: place.cluster.clone(), key });
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

struct Place<'a> {
    settings: &'a HashMap<ClusterId, ClusterSettings>,
    zones: &'a ZoneTable,
    cluster: &'a ClusterId,
    key: KeyHash,
    effects: &'a mut Vec<Effect>,
}

impl Place<'_> {
    /// Decides where an endpoint goes and says what that changes.
    fn settle(&mut self, mut entry: Entry, current: Option<Placement>, occasion: Occasion) -> Entry {
        let routed = interpret(&entry.endpoint).and_then(|wish| {
            let placement = self.route(&wish, current.as_ref())?;
            Ok((wish, placement))
        });
        match routed {
            Ok((wish, placement)) if occasion == Occasion::Written || current.as_ref().is_none_or(|c| *c == placement) => {
                if entry.placed.as_ref().is_some_and(|(old, _)| *old != placement) {
                    self.withdraw(&entry);
                }
                let name = wish.name.clone();
                self.contribute(&entry, &placement, &name, Some(Arc::new(wish)));
                entry.placed = Some((placement, name));
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
                self.freeze(&mut entry, current, verdict);
            }
            Err(verdict) => self.freeze(&mut entry, current, verdict),
        }
        entry
    }

    fn route(&self, wish: &Wish, current: Option<&Placement>) -> Result<Placement, Verdict> {
        let Some(settings) = self.settings.get(self.cluster) else {
            return Err(Verdict::waiting(
                Reason::NoZone,
                format!(
                    "the cluster {} is no longer registered at the broker: register it again, or remove its endpoints",
                    self.cluster
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
    fn freeze(&mut self, entry: &mut Entry, current: Option<Placement>, mut verdict: Verdict) {
        if let Some(placement) = current
            && let Ok(name) = DnsName::parse(&entry.endpoint.key.dns_name)
        {
            self.contribute(entry, &placement, &name, None);
            verdict.placement = Some(placement.clone());
            entry.placed = Some((placement, name));
        }
        self.effects.push(Effect::Judge {
            cluster: self.cluster.clone(),
            endpoint: Arc::clone(&entry.endpoint),
            key: self.key,
            version: entry.version,
            arrival: entry.arrival,
            verdict,
        });
    }

    fn contribute(&mut self, entry: &Entry, placement: &Placement, name: &DnsName, wish: Option<Arc<Wish>>) {
        self.effects.push(Effect::Contribute {
            placement: placement.clone(),
            name: name.clone(),
            contribution: Contribution {
                cluster: self.cluster.clone(),
                key: self.key,
                version: entry.version,
                arrival: entry.arrival,
                endpoint: Arc::clone(&entry.endpoint),
                wish,
            },
        });
    }

    fn withdraw(&mut self, entry: &Entry) {
        if let Some((placement, name)) = &entry.placed {
            self.effects.push(Effect::Withdraw {
                placement: placement.clone(),
                name: name.clone(),
                cluster: self.cluster.clone(),
                key: self.key,
                endpoint: entry.endpoint.key.clone(),
            });
        }
    }
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
