//! What the cluster wants now: every endpoint by its key, with the digest that the broker compares.
//!
//! A plain value with synchronous methods. Each answers with the changes that it made, which the caller puts into the outbox.
//! Nothing is withdrawn but by an observed deletion or by an object that no longer names the host: an object whose targets
//! are not known now keeps what it had.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arcstr::ArcStr;
use serde::Serialize;

use super::sources::{Extraction, ObjectRef, Pending, SourceKind, Unknown};
use crate::core::digest::SetDigest;
use crate::core::endpoint::{Endpoint, EndpointKey, KeyHash, Version};

/// An endpoint larger than this many bytes of text is not sent: no record set that Route 53 takes comes near it.
pub const MAX_ENDPOINT_BYTES: usize = 128 * 1024;

/// Why an endpoint is withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum DelCause {
    /// The object is gone.
    ObjectDeleted,
    /// The object is there and no longer names the host.
    HostRemoved,
}

/// What became different in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexChange {
    /// An endpoint is new or has new content.
    Put {
        /// The hash of its key.
        hash: KeyHash,
        /// The endpoint.
        endpoint: Arc<Endpoint>,
        /// Its content hash.
        version: Version,
    },
    /// An endpoint is not wanted any more.
    Del {
        /// The hash of its key.
        hash: KeyHash,
        /// What named it.
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
pub struct Held {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its content hash.
    pub version: Version,
    /// The object that wants it.
    pub object: ObjectRef,
    /// Where the object was read, for people.
    pub origin: ArcStr,
}

/// Whether a source can say what the cluster wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceHealth {
    /// Which source.
    pub kind: SourceKind,
    /// Whether absence means "not wanted": it was read completely and no object waits for its first targets.
    pub synced: bool,
    /// Why not, for people.
    pub last_error: Option<String>,
}

#[derive(Default)]
struct SourceEntry {
    listed: bool,
    error: Option<String>,
}

#[derive(Default)]
struct ObjectEntry {
    keys: BTreeSet<KeyHash>,
    warnings: Vec<String>,
}

/// The cluster's wishes; see the module's page.
pub struct Index {
    endpoints: BTreeMap<KeyHash, Held>,
    objects: BTreeMap<ObjectRef, ObjectEntry>,
    /// Objects with a host that waits for its first targets, and why: their sources cannot be complete.
    waiting: BTreeMap<ObjectRef, String>,
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
            digest: SetDigest::default(),
            sources: sources.into_iter().map(|kind| (kind, SourceEntry::default())).collect(),
        }
    }

    /// Takes an object as it is now.
    pub fn apply(&mut self, object: &ObjectRef, origin: &ArcStr, extraction: Extraction) -> Vec<IndexChange> {
        let mut changes = Vec::new();
        let mut entry = ObjectEntry {
            warnings: extraction.warnings.into_iter().map(|warning| warning.message).collect(),
            ..ObjectEntry::default()
        };
        let mut unknown = extraction.unknown;
        for endpoint in extraction.endpoints {
            if text_bytes(&endpoint) > MAX_ENDPOINT_BYTES {
                let reason = format!("{} is larger than {MAX_ENDPOINT_BYTES} bytes: it is not published", endpoint.key);
                entry.warnings.push(reason.clone());
                unknown = with_host(unknown, endpoint.key.dns_name, Pending::Unsupported(reason));
                continue;
            }
            let hash = endpoint.key.hash();
            entry.keys.insert(hash);
            changes.extend(self.put(hash, endpoint, object, origin));
        }
        let before = self.objects.get(object).map(|entry| entry.keys.clone()).unwrap_or_default();
        for hash in before {
            if entry.keys.contains(&hash) {
                continue;
            }
            if self.endpoints.get(&hash).is_some_and(|held| keeps(&unknown, &held.endpoint.key.dns_name)) {
                entry.keys.insert(hash);
            } else {
                changes.extend(self.remove(hash, DelCause::HostRemoved));
            }
        }
        match self.first_unanchored(&unknown, &entry.keys) {
            Some(reason) => drop(self.waiting.insert(object.clone(), reason)),
            None => drop(self.waiting.remove(object)),
        }
        self.objects.insert(object.clone(), entry);
        changes
    }

    /// Takes note that an object was observed to be deleted.
    pub fn delete(&mut self, object: &ObjectRef) -> Vec<IndexChange> {
        self.waiting.remove(object);
        let Some(entry) = self.objects.remove(object) else { return Vec::new() };
        entry.keys.into_iter().filter_map(|hash| self.remove(hash, DelCause::ObjectDeleted)).collect()
    }

    /// Takes the complete list of a source's objects. Those that are not in it were deleted.
    pub fn reset(&mut self, source: SourceKind, objects: Vec<(ObjectRef, ArcStr, Extraction)>) -> Vec<IndexChange> {
        let named: BTreeSet<&ObjectRef> = objects.iter().map(|(object, ..)| object).collect();
        let gone: Vec<ObjectRef> =
            self.objects.keys().filter(|object| object.source == source && !named.contains(object)).cloned().collect();
        let mut changes: Vec<IndexChange> = gone.iter().flat_map(|object| self.delete(object)).collect();
        for (object, origin, extraction) in objects {
            changes.extend(self.apply(&object, &origin, extraction));
        }
        let entry = self.sources.entry(source).or_default();
        entry.listed = true;
        entry.error = None;
        changes
    }

    /// Notes that a source cannot be read completely now. What it wanted stays.
    pub fn fail(&mut self, source: SourceKind, error: String) {
        self.sources.entry(source).or_default().error = Some(error);
    }

    /// Whether every source was read completely once.
    pub fn listed(&self) -> bool {
        self.sources.values().all(|source| source.listed)
    }

    /// How each source does.
    pub fn sources(&self) -> Vec<SourceHealth> {
        self.sources.iter().map(|(kind, entry)| self.health(*kind, entry)).collect()
    }

    fn health(&self, kind: SourceKind, entry: &SourceEntry) -> SourceHealth {
        let waits = || self.waiting.iter().find(|(object, _)| object.source == kind).map(|(_, reason)| reason.clone());
        let not_listed = || (!entry.listed).then(|| "it was not read completely yet".to_owned());
        let last_error = entry.error.clone().or_else(not_listed).or_else(waits);
        SourceHealth { kind, synced: last_error.is_none(), last_error }
    }

    /// What was noticed in each object, for people.
    pub fn warnings(&self) -> impl Iterator<Item = (&ObjectRef, &str)> {
        self.objects.iter().flat_map(|(object, entry)| entry.warnings.iter().map(move |warning| (object, warning.as_str())))
    }

    /// The digest of all keys and versions.
    pub fn digest(&self) -> &SetDigest {
        &self.digest
    }

    /// One endpoint.
    pub fn get(&self, hash: &KeyHash) -> Option<&Held> {
        self.endpoints.get(hash)
    }

    /// All endpoints in the order of their key hashes.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyHash, &Held)> {
        self.endpoints.iter()
    }

    /// The endpoints of one bucket of the digest.
    pub fn bucket(&self, bucket: u8) -> impl Iterator<Item = (&KeyHash, &Held)> {
        let (mut first, mut last) = ([0; 32], [u8::MAX; 32]);
        (first[0], last[0]) = (bucket, bucket);
        self.endpoints.range(KeyHash(first)..=KeyHash(last))
    }

    fn put(&mut self, hash: KeyHash, endpoint: Endpoint, object: &ObjectRef, origin: &ArcStr) -> Option<IndexChange> {
        let version = endpoint.version();
        let endpoint = Arc::new(endpoint);
        let held = Held { endpoint: endpoint.clone(), version, object: object.clone(), origin: origin.clone() };
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
        Some(IndexChange::Del { hash, key: held.endpoint.key.clone(), version_seen: held.version, cause })
    }

    /// A host that waits for its status and for which nothing is held: after a restart of the agent the broker may still hold
    /// what it had, so absence from here must not count.
    fn first_unanchored(&self, unknown: &Unknown, keys: &BTreeSet<KeyHash>) -> Option<String> {
        match unknown {
            Unknown::Nothing => None,
            Unknown::WholeObject(reason) => keys.is_empty().then(|| reason.clone()),
            Unknown::Hosts(hosts) => {
                let anchored: BTreeSet<&ArcStr> =
                    keys.iter().filter_map(|hash| self.endpoints.get(hash)).map(|held| &held.endpoint.key.dns_name).collect();
                hosts.iter().find_map(|(host, pending)| match pending {
                    Pending::Status(reason) if !anchored.contains(host) => Some(reason.clone()),
                    Pending::Status(_) | Pending::Unsupported(_) => None,
                })
            }
        }
    }
}

fn keeps(unknown: &Unknown, host: &ArcStr) -> bool {
    match unknown {
        Unknown::Nothing => false,
        Unknown::Hosts(hosts) => hosts.contains_key(host),
        Unknown::WholeObject(_) => true,
    }
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
    let key_bytes: usize = [&key.source, &key.namespace, &key.object, &key.dns_name, &key.record_type, &key.set_identifier]
        .map(|text| text.len())
        .iter()
        .sum();
    let target_bytes: usize = endpoint.targets.iter().map(ArcStr::len).sum();
    let property_bytes: usize = endpoint.properties.iter().map(|(name, value)| name.len() + value.len()).sum();
    key_bytes + target_bytes + property_bytes
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn object(name: &str) -> ObjectRef {
        ObjectRef { source: SourceKind::Service, namespace: "default".into(), name: name.into() }
    }

    pub(crate) fn wants(object: &ObjectRef, hosts: &[(&str, &str)]) -> Extraction {
        let endpoint = |(host, target): &(&str, &str)| Endpoint {
            key: EndpointKey {
                source: object.source.as_str().into(),
                namespace: object.namespace.clone(),
                object: object.name.clone(),
                dns_name: (*host).into(),
                record_type: "A".into(),
                set_identifier: "".into(),
            },
            targets: vec![(*target).into()],
            ..Endpoint::default()
        };
        Extraction { endpoints: hosts.iter().map(endpoint).collect(), ..Extraction::default() }
    }

    fn waits_for(host: &str) -> Extraction {
        Extraction {
            unknown: Unknown::Hosts(BTreeMap::from([(host.into(), Pending::Status("no address".to_owned()))])),
            ..Extraction::default()
        }
    }

    fn index() -> Index {
        Index::new([SourceKind::Service])
    }

    fn said(changes: &[IndexChange]) -> Vec<String> {
        let say = |change: &IndexChange| match change {
            IndexChange::Put { endpoint, .. } => format!("put {} {}", endpoint.key.dns_name, endpoint.targets.join(",")),
            IndexChange::Del { key, cause, .. } => format!("del {} {cause:?}", key.dns_name),
        };
        changes.iter().map(say).collect()
    }

    fn apply(index: &mut Index, name: &str, extraction: Extraction) -> Vec<String> {
        said(&index.apply(&object(name), &"file".into(), extraction))
    }

    #[test]
    fn the_same_content_again_changes_nothing() {
        let mut index = index();
        let web = object("web");
        assert_eq!(apply(&mut index, "web", wants(&web, &[("a", "1"), ("b", "1")])), ["put a 1", "put b 1"]);
        assert!(apply(&mut index, "web", wants(&web, &[("a", "1"), ("b", "1")])).is_empty());
        assert_eq!(apply(&mut index, "web", wants(&web, &[("a", "2"), ("b", "1")])), ["put a 2"]);
        assert_eq!(index.digest().count(), 2);
    }

    #[test]
    fn silence_never_deletes_a_host_that_waits_for_its_status() {
        let mut index = index();
        let web = object("web");
        apply(&mut index, "web", wants(&web, &[("a", "1"), ("b", "1")]));
        assert_eq!(apply(&mut index, "web", waits_for("a")), ["del b HostRemoved"]);
        assert_eq!(index.digest().count(), 1);
        assert_eq!(said(&index.delete(&web)), ["del a ObjectDeleted"]);
        assert_eq!(*index.digest(), SetDigest::default());
    }

    #[test]
    fn a_host_that_never_had_targets_keeps_its_source_from_being_complete() {
        let mut index = index();
        let web = object("web");
        index.reset(SourceKind::Service, vec![(web.clone(), "file".into(), waits_for("a"))]);
        assert_eq!(index.sources()[0].last_error.as_deref(), Some("no address"));
        apply(&mut index, "web", wants(&web, &[("a", "1")]));
        assert!(index.sources()[0].synced);
        apply(&mut index, "web", waits_for("a"));
        assert!(index.sources()[0].synced, "what is held here is not absent");
    }

    #[test]
    fn a_complete_list_withdraws_what_is_not_in_it() {
        let mut index = index();
        assert!(!index.listed() && !index.sources()[0].synced);
        let (one, two) = (object("one"), object("two"));
        let list = |objects: &[&ObjectRef]| objects.iter().map(|o| ((*o).clone(), "f".into(), wants(o, &[("a", "1")]))).collect();
        index.reset(SourceKind::Service, list(&[&one, &two]));
        assert!(index.listed());
        assert_eq!(said(&index.reset(SourceKind::Service, list(&[&two]))), ["del a ObjectDeleted"]);
    }

    #[test]
    fn a_failing_source_keeps_everything_and_says_why() {
        let mut index = index();
        index.reset(SourceKind::Service, vec![(object("web"), "f".into(), wants(&object("web"), &[("a", "1")]))]);
        index.fail(SourceKind::Service, "the folder is gone".to_owned());
        assert_eq!(index.digest().count(), 1);
        assert_eq!(index.sources()[0].last_error.as_deref(), Some("the folder is gone"));
    }

    #[test]
    fn an_endpoint_too_large_to_send_is_said_and_keeps_what_was_there() {
        let mut index = index();
        let web = object("web");
        apply(&mut index, "web", wants(&web, &[("a", "1")]));
        assert!(apply(&mut index, "web", wants(&web, &[("a", &"x".repeat(MAX_ENDPOINT_BYTES))])).is_empty());
        assert_eq!(index.warnings().count(), 1);
        assert_eq!(index.digest().count(), 1);
    }

    #[test]
    fn a_bucket_holds_the_keys_with_its_first_byte() {
        let mut index = index();
        let web = object("web");
        let hosts: Vec<String> = (0..600).map(|n| format!("h{n}")).collect();
        let hosts: Vec<(&str, &str)> = hosts.iter().map(|host| (host.as_str(), "1")).collect();
        apply(&mut index, "web", wants(&web, &hosts));
        let total: usize = (0..=u8::MAX).map(|bucket| index.bucket(bucket).filter(|(hash, _)| hash.0[0] == bucket).count()).sum();
        assert_eq!(total, 600);
    }
}
