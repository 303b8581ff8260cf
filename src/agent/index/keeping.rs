//! What is held although nothing that is seen asks for it: how it comes, and how it goes.

use std::sync::Arc;

use super::{DelCause, Held, Index, IndexChange, Kept, Proof, Reading, Standing};
use crate::agent::sources::{ObjectRef, SourceKind};
use crate::core::endpoint::{Endpoint, EndpointKey, KeyHash};

impl Index {
    /// Asks for [`Self::prove`]: until then absence from this source says nothing, since what an earlier life of this agent
    /// published may be out of its sight now.
    pub fn require_proof(&mut self, source: SourceKind) {
        self.sources.entry(source).or_default().proof = Proof::Missing;
    }

    /// Takes what the broker holds and no object here asks for: everything of this source that is not in it may be withdrawn.
    pub fn prove(&mut self, source: SourceKind, kept: Vec<Kept>) {
        kept.into_iter().for_each(|kept| self.keep(kept));
        self.sources.entry(source).or_default().proof = Proof::Given;
    }

    /// Whether the source was read completely and waits to be proven.
    pub fn awaits_proof(&self, source: SourceKind) -> bool {
        self.sources
            .get(&source)
            .is_some_and(|entry| entry.proof == Proof::Missing && entry.reading != Reading::NotYet)
    }

    /// Takes an endpoint that the broker holds and no object here asks for.
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
            Held { endpoint, version, object, origin: arcstr::literal!("broker"), standing },
        );
        self.digest.insert(&hash, &version);
    }

    /// Forgets what only the broker had the content of, where the broker turns out not to hold it as was thought. Absence says
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

    /// The keys of which only the broker has the content.
    pub fn bodiless(&self) -> Vec<KeyHash> {
        self.endpoints.iter().filter(|(_, held)| !held.has_body()).map(|(hash, _)| *hash).collect()
    }

    /// Flags what an object wanted, because it can no longer be seen and was not deleted.
    pub fn lose_sight(&mut self, object: &ObjectRef, standing: Standing) {
        self.waiting.remove(object);
        let Some(entry) = self.objects.get(object) else { return };
        for hash in entry.keys.iter() {
            if let Some(held) = self.endpoints.get_mut(hash) {
                held.standing = standing.clone();
            }
        }
    }

    /// Flags everything that a source wanted, in one namespace or in all.
    pub fn lose_sight_of_all(
        &mut self,
        source: SourceKind,
        namespace: Option<&str>,
        standing: &Standing,
    ) {
        let objects: Vec<ObjectRef> = self.objects_in(source, namespace).cloned().collect();
        objects.iter().for_each(|object| self.lose_sight(object, standing.clone()));
    }

    /// Withdraws what of an object was out of sight and was found to be gone. What was seen of it since stays.
    pub fn withdraw_unseen(
        &mut self,
        object: &ObjectRef,
        cause: DelCause,
        is_gone: impl Fn(&EndpointKey) -> bool,
    ) -> Vec<IndexChange> {
        let Some(entry) = self.objects.get_mut(object) else { return Vec::new() };
        let is_open = |held: &Held| {
            matches!(held.standing, Standing::Unseen(_)) && is_gone(&held.endpoint.key)
        };
        let gone: Vec<KeyHash> = entry
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

    /// Withdraws what is kept although nothing that is seen asks for it, on an operator's word.
    pub fn release(&mut self, is_released: impl Fn(&Held) -> bool) -> Vec<IndexChange> {
        let released: Vec<(KeyHash, ObjectRef)> = self
            .endpoints
            .iter()
            .filter(|(_, held)| held.standing.kept_because().is_some() && is_released(held))
            .map(|(hash, held)| (*hash, held.object.clone()))
            .collect();
        let mut changes = Vec::new();
        for (hash, object) in released {
            if let Some(entry) = self.objects.get_mut(&object) {
                entry.keys.remove(&hash);
            }
            changes.extend(self.remove(hash, DelCause::Released));
        }
        changes
    }
}
