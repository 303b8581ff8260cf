//! Objects with a meaningless word. Endpoints published under an earlier, meaningful word stay as they are; a name without
//! published endpoints is read as if the word were not there, and stays up to date.

use std::collections::BTreeSet;

use arcstr::ArcStr;

use super::keeping::host_of;
use super::{EntryState, Index, IndexChange, IndexEntry, Kept, Proof};
use crate::agent::sources::{Extraction, ObjectRef, SourceKind, Unknown};
use crate::core::endpoint::{Endpoint, KeyHash};

/// The names of one object that stay as they are.
#[derive(Default)]
pub(super) struct SettledNames {
    names: BTreeSet<ArcStr>,
    reason: String,
}

impl SettledNames {
    /// Whether an endpoint is not to be read now.
    pub(super) fn has(&self, endpoint: &Endpoint) -> bool {
        self.names.contains(host_of(endpoint))
    }

    /// How an endpoint of such a name is kept; `None` for other names. A reverse record whose host is known at the broker alone may
    /// be one of them.
    pub(super) fn standing_of(&self, held: &IndexEntry) -> Option<EntryState> {
        let may_be = held.endpoint.key.record_type == "PTR" && !held.has_body();
        let is_settled = self.has(&held.endpoint) || may_be && !self.names.is_empty();
        is_settled.then(|| EntryState::Waiting(self.reason.clone()))
    }
}

impl Index {
    /// The names of an object that stay as they are. Names that were read without its word are noted: they do not stay.
    pub(super) fn settle(&mut self, object: &ObjectRef, extraction: &Extraction) -> SettledNames {
        let Some(reason) = extraction.assumes.clone() else {
            self.assumed.remove(object);
            return SettledNames::default();
        };
        let asked_for = names_of(extraction);
        let read_before = self.assumed.remove(object).unwrap_or_default();
        let published = self.of_object(object).map(|held| host_of(&held.endpoint).clone());
        let names: BTreeSet<ArcStr> = published
            .filter(|name| asked_for.contains(name) && !read_before.contains(name))
            .collect();
        self.assumed.insert(object.clone(), asked_for.difference(&names).cloned().collect());
        SettledNames { names, reason }
    }

    /// Holds an object with such a word back until the broker's endpoints are known: it may be published already. Returns the
    /// extraction to apply in its place.
    pub(super) fn hold_back(
        &mut self,
        object: &ObjectRef,
        origin: &ArcStr,
        extraction: Extraction,
    ) -> Extraction {
        let is_open = self.sources.get(&object.source).is_some_and(|s| s.proof == Proof::Missing);
        let reason = extraction.assumes.clone().filter(|_| is_open);
        let Some(reason) = reason else {
            self.held_back.remove(object);
            return extraction;
        };
        let warnings = extraction.warnings.clone();
        self.held_back.insert(object.clone(), (origin.clone(), extraction));
        Extraction { unknown: Unknown::WholeObject(reason), warnings, ..Extraction::default() }
    }

    /// Applies the objects that were held back, once the broker's endpoints are known. A name that the broker holds exactly as it
    /// is read now was read so before.
    pub(super) fn take_held_back(&mut self, source: SourceKind, kept: &[Kept]) -> Vec<IndexChange> {
        let is_of_source = |object: &ObjectRef| object.source == source;
        let objects: Vec<ObjectRef> =
            self.held_back.keys().filter(|object| is_of_source(object)).cloned().collect();
        let mut changes = Vec::new();
        for object in objects {
            let Some((origin, extraction)) = self.held_back.remove(&object) else { continue };
            let read: BTreeSet<(KeyHash, [u8; 32])> = extraction
                .endpoints
                .iter()
                .map(|endpoint| (endpoint.key.hash(), endpoint.version().0))
                .collect();
            let of_object = || kept.iter().filter(|kept| kept.object == object);
            let other: BTreeSet<&ArcStr> = of_object()
                .filter(|kept| !read.contains(&(kept.key.hash(), kept.version.0)))
                .map(|kept| &kept.key.dns_name)
                .collect();
            let same = of_object()
                .map(|kept| &kept.key.dns_name)
                .filter(|name| !other.contains(name))
                .cloned();
            self.assumed.entry(object.clone()).or_default().extend(same);
            changes.extend(self.apply(&object, &origin, extraction));
        }
        changes
    }
}

fn names_of(extraction: &Extraction) -> BTreeSet<ArcStr> {
    let endpoints = extraction.endpoints.iter().map(host_of);
    let waiting = match &extraction.unknown {
        Unknown::Hosts(hosts) => Some(hosts.keys()),
        Unknown::Nothing | Unknown::WholeObject(_) => None,
    };
    endpoints.chain(waiting.into_iter().flatten()).cloned().collect()
}
