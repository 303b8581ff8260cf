//! Endpoints held although no visible object asks for them: how they come, and how they go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arcstr::ArcStr;

use super::{DelCause, EntryState, Index, IndexChange, IndexEntry, Kept, Proof, Reading};
use crate::agent::sources::{ObjectRef, SourceKind};
use crate::core::endpoint::{Endpoint, EndpointKey, KeyHash};

/// The hosts of an object that are or were known partly.
pub(super) type Partial = BTreeMap<ArcStr, PartialHost>;

/// A host that is or was known partly.
#[derive(Clone, Debug, Default)]
pub(super) struct PartialHost {
    /// The parents that were silent, and may have had more targets, when what is held was accepted.
    taken_without: BTreeSet<ArcStr>,
    /// The parents silent now and the endpoints known but not accepted; `None` if those were accepted.
    waits: Option<(BTreeSet<ArcStr>, Vec<Endpoint>)>,
}

/// The host for which an endpoint is published: of a reverse record the one that it points to.
pub(super) fn host_of(endpoint: &Endpoint) -> &ArcStr {
    match endpoint.key.record_type.as_str() {
        "PTR" => endpoint.targets.first().unwrap_or(&endpoint.key.dns_name),
        _ => &endpoint.key.dns_name,
    }
}

impl Index {
    /// Notes which hosts of an object are partly known, and returns those that stay as they are held: a parent that is silent
    /// now may have given them targets.
    pub(super) fn take_partial(
        &mut self,
        object: &ObjectRef,
        partial: BTreeMap<ArcStr, BTreeSet<ArcStr>>,
        known: &[Endpoint],
    ) -> BTreeSet<ArcStr> {
        let mut before = self.partial.remove(object).unwrap_or_default();
        let (mut now, mut staying) = (Partial::new(), BTreeSet::new());
        for (host, silent) in partial {
            let had = before.remove(&host).unwrap_or_default().taken_without;
            let is_taken = silent.is_subset(&had) || self.has_nothing_to_lose(object, &host, known);
            let entry = if is_taken {
                PartialHost { taken_without: silent, waits: None }
            } else {
                staying.insert(host.clone());
                let of_host = known.iter().filter(|endpoint| *host_of(endpoint) == host);
                PartialHost {
                    taken_without: had,
                    waits: Some((silent, of_host.cloned().collect())),
                }
            };
            now.insert(host, entry);
        }
        if !now.is_empty() {
            self.partial.insert(object.clone(), now);
        }
        staying
    }

    /// Accepts the endpoints known for hosts of an object of which nothing is held any more.
    fn take_what_waits(&mut self, object: &ObjectRef) -> Vec<IndexChange> {
        let Some(mut partial) = self.partial.remove(object) else { return Vec::new() };
        let held: BTreeSet<ArcStr> =
            self.of_object(object).map(|held| host_of(&held.endpoint).clone()).collect();
        let mut changes = Vec::new();
        for (_, entry) in partial.iter_mut().filter(|(host, _)| !held.contains(*host)) {
            let Some((silent, endpoints)) = entry.waits.take() else { continue };
            entry.taken_without = silent;
            for endpoint in endpoints {
                let hash = endpoint.key.hash();
                self.objects.entry(object.clone()).or_default().keys.insert(hash);
                changes.extend(self.put(hash, endpoint, object, &arcstr::literal!("kubernetes")));
            }
        }
        self.partial.insert(object.clone(), partial);
        changes
    }

    /// Whether a partly known host of an object can be published: nothing else is held for it, here or, until the broker's
    /// endpoints were compared, there.
    fn has_nothing_to_lose(&self, object: &ObjectRef, host: &ArcStr, known: &[Endpoint]) -> bool {
        let mut held = self.of_object(object).filter(|held| held.endpoint.key.dns_name == *host);
        let is_known = |held: &IndexEntry| {
            let same = known.iter().find(|endpoint| endpoint.key == held.endpoint.key);
            !held.has_body() && same.is_some_and(|endpoint| endpoint.version() == held.version)
        };
        match held.next() {
            Some(first) => is_known(first) && held.all(is_known),
            None => {
                let source = self.sources.get(&object.source);
                source.is_none_or(|source| source.proof != Proof::Missing)
            }
        }
    }

    /// Collects objects with something to report from now on, for [`Self::take_news`].
    pub fn note_all_news(&mut self) {
        self.news.get_or_insert_default();
    }

    /// Notes that there is something to report on an object: a warning that is new, or that its content was read.
    pub fn note_news(&mut self, object: &ObjectRef) {
        if let Some(news) = &mut self.news {
            news.insert(object.clone());
        }
    }

    /// The objects with something to report since the last call.
    pub fn take_news(&mut self) -> BTreeSet<ObjectRef> {
        self.news.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Whether there are any.
    pub fn has_news(&self) -> bool {
        self.news.as_ref().is_some_and(|news| !news.is_empty())
    }

    /// Asks for [`Self::prove`]: until then absence from this source says nothing, since what an earlier life of this agent
    /// published may be out of its sight now.
    pub fn require_proof(&mut self, source: SourceKind) {
        self.sources.entry(source).or_default().proof = Proof::Missing;
    }

    /// Keeps endpoints that the broker holds and no object here asks for: all others of this source may be withdrawn.
    pub fn prove(&mut self, source: SourceKind, kept: Vec<Kept>) -> Vec<IndexChange> {
        kept.iter().for_each(|kept| self.keep(kept.clone()));
        self.sources.entry(source).or_default().proof = Proof::Given;
        self.take_held_back(source, &kept)
    }

    /// Whether the source was read completely and waits to be proven.
    pub fn awaits_proof(&self, source: SourceKind) -> bool {
        self.sources
            .get(&source)
            .is_some_and(|entry| entry.proof == Proof::Missing && entry.reading != Reading::NotYet)
    }

    /// Keeps an endpoint that the broker holds and no object here asks for.
    pub fn keep(&mut self, kept: Kept) {
        let Kept { key, version, object, standing } = kept;
        let hash = key.hash();
        if self.endpoints.contains_key(&hash) {
            return;
        }
        self.objects.entry(object.clone()).or_default().keys.insert(hash);
        let endpoint = Arc::new(Endpoint { key, ..Endpoint::default() });
        self.endpoints.insert(
            hash,
            IndexEntry { endpoint, version, object, origin: arcstr::literal!("broker"), standing },
        );
        self.digest.insert(&hash, &version);
    }

    /// Forgets endpoints whose content only the broker had, if it turns out not to hold them as was thought. Absence says
    /// nothing from then on, until the source is proven again.
    pub fn forget_bodiless(&mut self, hashes: impl IntoIterator<Item = KeyHash>) {
        for hash in hashes {
            let Some(held) = self.endpoints.get(&hash).filter(|held| !held.has_body()) else {
                continue;
            };
            let object = held.object.clone();
            self.remove(hash, DelCause::HostRemoved);
            if let Some(entry) = self.objects.get_mut(&object) {
                entry.keys.remove(&hash);
            }
            self.require_proof(object.source);
        }
    }

    /// The keys whose content only the broker has.
    pub fn bodiless(&self) -> Vec<KeyHash> {
        self.endpoints.iter().filter(|(_, held)| !held.has_body()).map(|(hash, _)| *hash).collect()
    }

    /// Flags the endpoints of an object that can no longer be seen and was not deleted.
    pub fn lose_sight(&mut self, object: &ObjectRef, standing: EntryState) {
        self.waiting.remove(object);
        let Some(entry) = self.objects.get(object) else { return };
        for hash in entry.keys.iter() {
            if let Some(held) = self.endpoints.get_mut(hash) {
                held.standing = standing.clone();
            }
        }
    }

    /// Flags all endpoints of a source, in one namespace or in all.
    pub fn lose_sight_of_all(
        &mut self,
        source: SourceKind,
        namespace: Option<&str>,
        standing: &EntryState,
    ) {
        let objects: Vec<ObjectRef> = self.objects_in(source, namespace).cloned().collect();
        objects.iter().for_each(|object| self.lose_sight(object, standing.clone()));
    }

    /// Withdraws the unseen endpoints of an object that were found to be gone. Those seen since stay.
    pub fn withdraw_unseen(
        &mut self,
        object: &ObjectRef,
        cause: DelCause,
        is_gone: impl Fn(&EndpointKey) -> bool,
    ) -> Vec<IndexChange> {
        let Some(entry) = self.objects.get_mut(object) else { return Vec::new() };
        let is_open = |held: &IndexEntry| {
            matches!(held.standing, EntryState::Unseen(_)) && is_gone(&held.endpoint.key)
        };
        let gone: BTreeSet<KeyHash> = entry
            .keys
            .iter()
            .copied()
            .filter(|hash| self.endpoints.get(hash).is_some_and(is_open))
            .collect();
        entry.keys.retain(|hash| !gone.contains(hash));
        if entry.keys.is_empty() && cause == DelCause::ObjectDeleted {
            self.objects.remove(object);
            self.waiting.remove(object);
        }
        gone.into_iter().filter_map(|hash| self.remove(hash, cause)).collect()
    }

    /// Withdraws endpoints kept although no visible object asks for them, at an operator's request.
    pub fn release(&mut self, is_released: impl Fn(&IndexEntry) -> bool) -> Vec<IndexChange> {
        let released: Vec<(KeyHash, ObjectRef)> = self
            .endpoints
            .iter()
            .filter(|(_, held)| held.standing.kept_because().is_some() && is_released(held))
            .map(|(hash, held)| (*hash, held.object.clone()))
            .collect();
        let mut changes = Vec::new();
        for (hash, object) in &released {
            if let Some(entry) = self.objects.get_mut(object) {
                entry.keys.remove(hash);
            }
            changes.extend(self.remove(*hash, DelCause::Released));
        }
        let objects: BTreeSet<ObjectRef> = released.into_iter().map(|(_, object)| object).collect();
        changes.extend(objects.iter().flat_map(|object| self.take_what_waits(object)));
        changes
    }
}
