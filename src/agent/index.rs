//! Every endpoint that the cluster wants now, by its key, with the digest that the broker compares.
//!
//! A plain value with synchronous methods. Each returns the changes that it made, which the caller puts into the outbox.
//! An endpoint is withdrawn only if its object was seen deleted, if its object no longer names the host, or if an operator
//! releases it. An object whose targets are not known now keeps its endpoints, and so does one that can no longer be seen.
//! Endpoints kept so are flagged ([`EntryState`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arcstr::ArcStr;
use serde::Serialize;

use super::sources::{Extraction, ObjectRef, Pending, SourceKind, Unknown};
use crate::core::endpoint::digest::SetDigest;
use crate::core::endpoint::routing::doubts;
use crate::core::endpoint::{Endpoint, EndpointKey, KeyHash, Version};

mod assumed;
mod keeping;
mod keys;

use keeping::Partial;
use keys::Keys;

/// An endpoint larger than this many bytes of text is not sent: no record set that Route 53 accepts comes near it.
pub const MAX_ENDPOINT_BYTES: usize = 128 * 1024;

/// Why an endpoint is withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum DelCause {
    /// The object is gone.
    ObjectDeleted,
    /// The object is there and no longer names the host.
    HostRemoved,
    /// An operator released it.
    Released,
}

/// A change of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexChange {
    /// An endpoint is new or has new content.
    Put {
        /// The hash of its key.
        hash: KeyHash,
        endpoint: Arc<Endpoint>,
        /// Its content hash.
        version: Version,
    },
    /// An endpoint is not wanted any more.
    Del {
        /// The hash of its key.
        hash: KeyHash,
        /// The endpoint's key.
        key: EndpointKey,
        /// The content that was there last.
        version_seen: Version,
        /// Why.
        cause: DelCause,
    },
}

impl IndexChange {
    /// The hash of the key that changed.
    pub fn hash(&self) -> KeyHash {
        match self {
            Self::Put { hash, .. } | Self::Del { hash, .. } => *hash,
        }
    }
}

/// An endpoint that is wanted now.
#[derive(Clone, Debug)]
pub struct IndexEntry {
    pub endpoint: Arc<Endpoint>,
    /// Its content hash.
    pub version: Version,
    /// The object that wants it.
    pub object: ObjectRef,
    /// Where the object was read, for people.
    pub origin: ArcStr,
    /// Why it is held.
    pub standing: EntryState,
}

/// Why an endpoint is held.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "standing", content = "reason")]
pub enum EntryState {
    /// Its object asks for it.
    #[default]
    Wanted,
    /// Its object is there and its targets are not known now, for this reason.
    Waiting(String),
    /// Its object may be there and this agent cannot see it ask for this, for this reason.
    Unseen(String),
    /// Its object went together with its whole kind, for this reason.
    Orphaned(String),
}

impl EntryState {
    /// Why it is kept although no visible object asks for it; `None` if it is wanted.
    pub fn kept_because(&self) -> Option<&str> {
        match self {
            Self::Wanted => None,
            Self::Waiting(reason) | Self::Unseen(reason) | Self::Orphaned(reason) => Some(reason),
        }
    }
}

/// An endpoint that the broker holds and no object here asks for. Its content is known at the broker alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The endpoint's key.
    pub key: EndpointKey,
    /// The content that the broker holds.
    pub version: Version,
    /// The object that asked for it.
    pub object: ObjectRef,
    /// Why it is kept.
    pub standing: EntryState,
}

/// Whether a source can say what the cluster wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceHealth {
    /// Which source.
    pub kind: SourceKind,
    /// Whether absence means "not wanted": it was read completely and no object waits for its first targets.
    pub synced: bool,
    /// Whether it was read completely and is followed, whatever the broker holds.
    pub is_read: bool,
    /// Why it is not synced, for people.
    pub last_error: Option<String>,
}

/// How far a source was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reading {
    #[default]
    NotYet,
    /// The cluster has no such kind of object: there is nothing to wait for.
    NoSuchKind,
    Complete,
}

#[derive(Default)]
struct SourceEntry {
    reading: Reading,
    error: Option<String>,
    proof: Proof,
}

/// Whether the broker's endpoints from an earlier life of this agent were compared with the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Proof {
    /// The source itself shows everything that counts.
    #[default]
    NotNeeded,
    Missing,
    Given,
}

#[derive(Default)]
struct ObjectEntry {
    keys: Keys,
    warnings: Vec<String>,
}

/// The wanted endpoints; see the module's page.
pub struct Index {
    endpoints: BTreeMap<KeyHash, IndexEntry>,
    objects: BTreeMap<ObjectRef, ObjectEntry>,
    /// Objects with a host that waits for its first targets, and why: their sources cannot be complete.
    waiting: BTreeMap<ObjectRef, String>,
    /// The partly known hosts of objects, with the parents that may have had more targets for them.
    partial: BTreeMap<ObjectRef, Partial>,
    /// Objects with something to report on them; `None` if it is not reported.
    news: Option<BTreeSet<ObjectRef>>,
    /// Objects with a meaningless word, each with the names that were read without it.
    assumed: BTreeMap<ObjectRef, BTreeSet<ArcStr>>,
    /// Such objects, until it is known what the broker holds of them.
    held_back: BTreeMap<ObjectRef, (ArcStr, Extraction)>,
    digest: SetDigest,
    sources: BTreeMap<SourceKind, SourceEntry>,
}

impl Index {
    /// An empty index that waits for the first complete pass of these sources.
    pub fn new(sources: impl IntoIterator<Item = SourceKind>) -> Self {
        Self {
            endpoints: BTreeMap::new(),
            objects: BTreeMap::new(),
            waiting: BTreeMap::new(),
            partial: BTreeMap::new(),
            news: None,
            assumed: BTreeMap::new(),
            held_back: BTreeMap::new(),
            digest: SetDigest::default(),
            sources: sources.into_iter().map(|kind| (kind, SourceEntry::default())).collect(),
        }
    }

    /// Takes an object as it is now.
    pub fn apply(
        &mut self,
        object: &ObjectRef,
        origin: &ArcStr,
        extraction: Extraction,
    ) -> Vec<IndexChange> {
        let object = &ObjectRef { namespace: self.shared_namespace(object), ..object.clone() };
        let extraction = self.hold_back(object, origin, extraction);
        let settled = self.settle(object, &extraction);
        let mut changes = Vec::new();
        let mut warnings: Vec<String> =
            extraction.warnings.into_iter().map(|warning| warning.message).collect();
        let mut keys = BTreeSet::new();
        let mut unknown = extraction.unknown;
        let staying = self.take_partial(object, extraction.partial, &extraction.endpoints);
        for endpoint in extraction.endpoints {
            if staying.contains(keeping::host_of(&endpoint)) || settled.has(&endpoint) {
                continue;
            }
            if text_bytes(&endpoint) > MAX_ENDPOINT_BYTES {
                let reason = format!(
                    "{} is larger than {MAX_ENDPOINT_BYTES} bytes: it is not published",
                    endpoint.key
                );
                warnings.push(reason.clone());
                unknown = with_host(unknown, endpoint.key.dns_name, Pending::Unsupported(reason));
                continue;
            }
            let doubts = doubts(&endpoint);
            warnings.extend(doubts.into_iter().map(|doubt| format!("{}: {doubt}", endpoint.key)));
            let hash = endpoint.key.hash();
            keys.insert(hash);
            changes.extend(self.put(hash, endpoint, object, origin));
        }
        let before = self.objects.remove(object).unwrap_or_default();
        if !warnings.is_empty() && warnings != before.warnings {
            self.note_news(object);
        }
        for hash in before.keys.0 {
            if keys.contains(&hash) {
                continue;
            }
            if let Some(held) = self.endpoints.get_mut(&hash)
                && let Some(standing) =
                    settled.standing_of(held).or_else(|| standing_under(&unknown, held))
            {
                held.standing = standing;
                keys.insert(hash);
            } else {
                changes.extend(self.remove(hash, DelCause::HostRemoved));
            }
        }
        match self.first_unanchored(&unknown, &keys) {
            Some(reason) => drop(self.waiting.insert(object.clone(), reason)),
            None => drop(self.waiting.remove(object)),
        }
        self.objects.insert(object.clone(), ObjectEntry { keys: keys.into(), warnings });
        changes
    }

    /// Notes that an object was observed to be deleted.
    pub fn delete(&mut self, object: &ObjectRef) -> Vec<IndexChange> {
        self.waiting.remove(object);
        self.partial.remove(object);
        self.assumed.remove(object);
        self.held_back.remove(object);
        let Some(entry) = self.objects.remove(object) else { return Vec::new() };
        entry
            .keys
            .0
            .into_iter()
            .filter_map(|hash| self.remove(hash, DelCause::ObjectDeleted))
            .collect()
    }

    /// Takes the complete list of a source's objects. Those that are not in it were deleted.
    pub fn reset(
        &mut self,
        source: SourceKind,
        objects: Vec<(ObjectRef, ArcStr, Extraction)>,
    ) -> Vec<IndexChange> {
        let named: BTreeSet<ObjectRef> =
            objects.iter().map(|(object, ..)| object.clone()).collect();
        let mut changes = self.retain(source, None, &named);
        for (object, origin, extraction) in objects {
            changes.extend(self.apply(&object, &origin, extraction));
        }
        self.complete(source);
        changes
    }

    /// Applies a complete list of a source's objects, in one namespace or in all: entries that were seen before and are not in it
    /// were deleted. Entries that were out of sight before stay: their absence from the list says nothing new.
    pub fn retain(
        &mut self,
        source: SourceKind,
        namespace: Option<&str>,
        named: &BTreeSet<ObjectRef>,
    ) -> Vec<IndexChange> {
        let gone: Vec<ObjectRef> = self
            .objects_in(source, namespace)
            .filter(|object| !named.contains(object))
            .cloned()
            .collect();
        let mut changes = Vec::new();
        for object in gone {
            let Some(entry) = self.objects.get_mut(&object) else { continue };
            let (unseen, seen): (BTreeSet<KeyHash>, BTreeSet<KeyHash>) =
                entry.keys.iter().copied().partition(|hash| {
                    self.endpoints.get(hash).is_some_and(IndexEntry::is_out_of_sight)
                });
            if unseen.is_empty() {
                changes.extend(self.delete(&object));
                continue;
            }
            entry.keys = unseen.into();
            entry.warnings.clear();
            self.waiting.remove(&object);
            self.partial.remove(&object);
            changes.extend(
                seen.into_iter().filter_map(|hash| self.remove(hash, DelCause::ObjectDeleted)),
            );
        }
        changes
    }

    /// Notes that a source was read completely.
    pub fn complete(&mut self, source: SourceKind) {
        let entry = self.sources.entry(source).or_default();
        entry.reading = Reading::Complete;
        entry.error = None;
    }

    /// Notes that a source cannot be read completely now. Its endpoints stay.
    pub fn fail(&mut self, source: SourceKind, error: String) {
        self.sources.entry(source).or_default().error = Some(error);
    }

    /// Notes that the cluster has no objects of this kind, because it does not know the kind. Its endpoints stay.
    pub fn no_such_kind(&mut self, source: SourceKind, error: String) {
        let entry = self.sources.entry(source).or_default();
        if entry.reading == Reading::NotYet {
            entry.reading = Reading::NoSuchKind;
        }
        entry.error = Some(error);
    }

    /// Whether the cluster does not know the kind.
    pub fn is_no_such_kind(&self, source: SourceKind) -> bool {
        self.sources.get(&source).is_some_and(|entry| entry.reading == Reading::NoSuchKind)
    }

    /// Whether every source was read completely once, or is one that the cluster does not know.
    pub fn listed(&self) -> bool {
        self.sources.values().all(|source| source.reading != Reading::NotYet)
    }

    /// The health of each source.
    pub fn sources(&self) -> Vec<SourceHealth> {
        self.sources.iter().map(|(kind, entry)| self.health(*kind, entry)).collect()
    }

    fn health(&self, kind: SourceKind, entry: &SourceEntry) -> SourceHealth {
        // If the source was proven, whatever the broker may still hold of it is held here as well.
        let may_be_held_unseen = entry.proof == Proof::NotNeeded;
        let waiting =
            || self.waiting.iter().find(|(object, _)| may_be_held_unseen && object.source == kind);
        let waits = || waiting().map(|(_, reason)| reason.clone());
        let not_listed = || {
            (entry.reading == Reading::NotYet).then(|| "it was not read completely yet".to_owned())
        };
        let unproven = || {
            (entry.proof == Proof::Missing)
                .then(|| "the broker's endpoints are not compared with the cluster yet".to_owned())
        };
        let is_read = entry.error.is_none() && entry.reading != Reading::NotYet;
        let last_error = entry.error.clone().or_else(not_listed).or_else(unproven).or_else(waits);
        SourceHealth { kind, synced: last_error.is_none(), is_read, last_error }
    }

    fn objects_in(
        &self,
        source: SourceKind,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = &ObjectRef> {
        let is_in = move |object: &&ObjectRef| {
            namespace.is_none_or(|namespace| object.namespace == namespace)
        };
        self.objects.keys().filter(move |object| object.source == source).filter(is_in)
    }

    /// Warnings about one object, for people.
    pub fn warnings_of(&self, object: &ObjectRef) -> &[String] {
        self.objects.get(object).map_or(&[], |entry| &entry.warnings)
    }

    /// Warnings about each object, for people.
    pub fn warnings(&self) -> impl Iterator<Item = (&ObjectRef, &str)> {
        self.objects.iter().flat_map(|(object, entry)| {
            entry.warnings.iter().map(move |warning| (object, warning.as_str()))
        })
    }

    /// The digest of all keys and versions.
    pub fn digest(&self) -> &SetDigest {
        &self.digest
    }

    /// One endpoint.
    pub fn get(&self, hash: &KeyHash) -> Option<&IndexEntry> {
        self.endpoints.get(hash)
    }

    /// The endpoints that an object asks for, or asked for and that are kept.
    pub fn of_object(&self, object: &ObjectRef) -> impl Iterator<Item = &IndexEntry> {
        self.objects
            .get(object)
            .into_iter()
            .flat_map(|entry| entry.keys.iter())
            .filter_map(|hash| self.endpoints.get(hash))
    }

    /// All endpoints in the order of their key hashes.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyHash, &IndexEntry)> {
        self.endpoints.iter()
    }

    /// The endpoints of one bucket of the digest.
    pub fn bucket(&self, bucket: u8) -> impl Iterator<Item = (&KeyHash, &IndexEntry)> {
        let (mut first, mut last) = ([0; 32], [u8::MAX; 32]);
        (first[0], last[0]) = (bucket, bucket);
        self.endpoints.range(KeyHash(first)..=KeyHash(last))
    }

    /// The namespace of an object; held once for all objects that a source has there.
    fn shared_namespace(&self, object: &ObjectRef) -> ArcStr {
        let first = ObjectRef { name: ArcStr::new(), ..object.clone() };
        let neighbour = self.objects.range(first..).next().map(|(neighbour, _)| neighbour);
        neighbour
            .filter(|neighbour| neighbour.namespace == object.namespace)
            .unwrap_or(object)
            .namespace
            .clone()
    }

    fn put(
        &mut self,
        hash: KeyHash,
        mut endpoint: Endpoint,
        object: &ObjectRef,
        origin: &ArcStr,
    ) -> Option<IndexChange> {
        let version = endpoint.version();
        let key = &mut endpoint.key;
        // Equal texts share one allocation.
        for (text, same) in
            [(&mut key.namespace, &object.namespace), (&mut key.object, &object.name)]
        {
            if text == same {
                *text = same.clone();
            }
        }
        let endpoint = Arc::new(endpoint);
        let (object, origin) = (object.clone(), origin.clone());
        let held = IndexEntry {
            endpoint: endpoint.clone(),
            version,
            object,
            origin,
            standing: EntryState::Wanted,
        };
        if let Some(before) = self.endpoints.insert(hash, held) {
            if before.version == version {
                return None;
            }
            self.digest.remove(&hash, &before.version);
        }
        self.digest.insert(&hash, &version);
        Some(IndexChange::Put { hash, endpoint, version })
    }

    fn remove(&mut self, hash: KeyHash, cause: DelCause) -> Option<IndexChange> {
        let held = self.endpoints.remove(&hash)?;
        self.digest.remove(&hash, &held.version);
        Some(IndexChange::Del {
            hash,
            key: held.endpoint.key.clone(),
            version_seen: held.version,
            cause,
        })
    }

    /// A host that waits for its status and for which nothing is held: after a restart of the agent the broker may still hold
    /// what it had, so absence from here must not count.
    fn first_unanchored(&self, unknown: &Unknown, keys: &BTreeSet<KeyHash>) -> Option<String> {
        match unknown {
            Unknown::Nothing => None,
            Unknown::WholeObject(reason) => keys.is_empty().then(|| reason.clone()),
            Unknown::Hosts(hosts) => {
                let anchored: BTreeSet<&ArcStr> = keys
                    .iter()
                    .filter_map(|hash| self.endpoints.get(hash))
                    .map(|held| &held.endpoint.key.dns_name)
                    .collect();
                hosts.iter().find_map(|(host, pending)| match pending {
                    Pending::Status(reason) if !anchored.contains(host) => Some(reason.clone()),
                    Pending::Status(_) | Pending::Unsupported(_) => None,
                })
            }
        }
    }
}

impl IndexEntry {
    /// Whether its content is known here, and not at the broker alone.
    pub fn has_body(&self) -> bool {
        // Nothing is published without targets.
        !self.endpoint.targets.is_empty()
    }

    fn is_out_of_sight(&self) -> bool {
        matches!(self.standing, EntryState::Unseen(_) | EntryState::Orphaned(_))
    }
}

/// How an endpoint is kept that its object does not produce now; `None` if it is withdrawn.
fn standing_under(unknown: &Unknown, held: &IndexEntry) -> Option<EntryState> {
    let waiting = unknown.reason_for(&held.endpoint.key, &held.endpoint.targets).map(str::to_owned);
    waiting
        .map(EntryState::Waiting)
        .or_else(|| held.is_out_of_sight().then(|| held.standing.clone()))
}

fn with_host(unknown: Unknown, host: ArcStr, pending: Pending) -> Unknown {
    match unknown {
        Unknown::Nothing => Unknown::Hosts(BTreeMap::from([(host, pending)])),
        Unknown::Hosts(mut hosts) => {
            hosts.entry(host).or_insert(pending);
            Unknown::Hosts(hosts)
        }
        Unknown::WholeObject(reason) => Unknown::WholeObject(reason),
    }
}

fn text_bytes(endpoint: &Endpoint) -> usize {
    let key = &endpoint.key;
    let key_bytes: usize = [
        &key.source,
        &key.namespace,
        &key.object,
        &key.dns_name,
        &key.record_type,
        &key.set_identifier,
    ]
    .map(|text| text.len())
    .iter()
    .sum();
    let target_bytes: usize = endpoint.targets.iter().map(ArcStr::len).sum();
    let property_bytes: usize =
        endpoint.properties.iter().map(|(name, value)| name.len() + value.len()).sum();
    key_bytes + target_bytes + property_bytes
}

#[cfg(test)]
pub(crate) mod tests;
