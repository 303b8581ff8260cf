//! The input and the result of deciding a name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arcstr::ArcStr;

use super::observed::Observed;
use super::policy::{MergePolicy, ZoneSettings};
use super::record_types::RecordTypes;
use crate::core::dns::name::DnsName;
use crate::core::dns::record::{
    RawRecordSet, RecordData, RecordKey, RecordSet, RecordType, RoutingPolicy,
};
use crate::core::endpoint::Endpoint;
use crate::core::endpoint::parsed::{ParsedEndpoint, reachable_types};
use crate::core::endpoint::verdict::{Placement, Verdict};
use crate::core::governance::snapshot::Governance;
use crate::core::ids::{ClusterId, ZoneId};
use crate::core::time::Timestamp;
use crate::core::visibility::Visibility;

/// One endpoint at one name of one zone.
#[derive(Clone, Debug)]
pub struct Contribution {
    /// The endpoint's cluster.
    pub cluster: ClusterId,
    /// The arrival number: the lowest came first. It identifies the endpoint, since no two share a number.
    pub arrival: i64,
    /// The endpoint as written.
    pub endpoint: Arc<Endpoint>,
    /// The parsed content; `None` if the present content is rejected. Such an endpoint wins no name, but the record sets of an
    /// earlier version are left alone: a typing error must not take a name off the air.
    pub parsed: Option<Arc<ParsedEndpoint>>,
    /// Whether it moved to another zone: what it made here stays until it is in sync there.
    pub leaves: bool,
}

/// The facts about a zone that a decision needs.
#[derive(Clone, Debug)]
pub struct ZoneContext {
    /// Account and zone.
    pub placement: Placement,
    pub apex: DnsName,
    /// Public or private.
    pub visibility: Visibility,
    /// For endpoints without a TTL, in seconds.
    pub default_ttl_secs: u32,
    /// Which record types clusters may publish.
    pub record_types: RecordTypes,
    /// Which objects add their addresses up.
    pub merge: MergePolicy,
    /// Who may publish which name.
    pub governance: Arc<Governance>,
}

impl ZoneContext {
    /// A zone that is managed under these settings.
    pub fn new(
        placement: Placement,
        apex: DnsName,
        visibility: Visibility,
        settings: &ZoneSettings,
    ) -> Self {
        Self {
            placement,
            apex,
            visibility,
            default_ttl_secs: settings.default_ttl_secs,
            record_types: settings.record_types,
            merge: settings.merge,
            governance: Arc::default(),
        }
    }

    /// The same zone under rules of governance; without any, every cluster may publish every name.
    #[must_use]
    pub fn governed(self, governance: Arc<Governance>) -> Self {
        Self { governance, ..self }
    }

    /// Replaces the settings.
    pub fn set(&mut self, settings: &ZoneSettings) {
        let Self { placement, apex, governance, .. } = self.clone();
        *self = Self::new(placement, apex, self.visibility, settings).governed(governance);
    }

    /// The zone's id.
    pub fn zone(&self) -> &ZoneId {
        &self.placement.zone
    }
}

/// The facts about the other names of a zone that the decision about one name needs.
pub trait OtherNames {
    /// The closest name above this one, and below the apex, with an NS record set, and the servers that it names.
    fn delegation_above(&self, name: &DnsName) -> Option<Delegation>;

    /// The name whose record sets answer for this one: itself, or the wildcard that covers it because nothing is there
    /// (RFC 4592 §3.3.1).
    fn answered_by(&self, name: &DnsName) -> DnsName;

    /// The links from a name: its CNAMEs, and its aliases to names of the zone.
    fn links(&self, name: &DnsName) -> Vec<Link>;
}

/// A zone of which only one name is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoOtherNames;

impl OtherNames for NoOtherNames {
    fn delegation_above(&self, _: &DnsName) -> Option<Delegation> {
        None
    }

    fn answered_by(&self, name: &DnsName) -> DnsName {
        name.clone()
    }

    fn links(&self, _: &DnsName) -> Vec<Link> {
        vec![]
    }
}

/// An NS record set that gives the names below it to other servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// The name with the NS record set.
    pub at: DnsName,
    /// The servers, as far as they can be read.
    pub servers: Vec<DnsName>,
}

/// A CNAME, or an alias within the zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where it leads.
    pub target: DnsName,
    /// Its place in the order of a loop.
    pub rank: LinkRank,
}

/// Decides which link of a loop gives way: the greatest. An existing link gives way only if none is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkRank {
    /// Whether Route 53 does not hold the link yet.
    pub is_new: bool,
    /// The endpoint's arrival; `None` for a link that no endpoint wants, which never gives way.
    pub arrival: Option<i64>,
}

impl ZoneContext {
    /// Where a record set leads within the zone: the target of a CNAME, or of an alias.
    pub(super) fn link_target(&self, set: &RecordSet) -> Option<DnsName> {
        let target = match &set.data {
            RecordData::Values { values, .. } if set.key.rtype == RecordType::Cname => {
                DnsName::parse(values.first()?).ok()?
            }
            RecordData::Alias(target) if target.zone_id == *self.zone() => target.name.clone(),
            _ => return None,
        };
        target.is_in(&self.apex).then_some(target)
    }
}

/// The input of a decision about a name.
pub struct NameInput<'a> {
    pub zone: &'a ZoneContext,
    pub name: &'a DnsName,
    /// The owner so far, if any.
    pub claimed_by: Option<&'a ClusterId>,
    /// Since when it has the name.
    pub claimed_since: Option<Timestamp>,
    /// The endpoints at the name, in any order.
    pub contributions: &'a [Contribution],
    /// The observed sets of the name.
    pub observed: &'a BTreeMap<RecordKey, Observed>,
    /// The other names of the zone.
    pub around: &'a dyn OtherNames,
}

impl NameInput<'_> {
    /// The record sets of an endpoint in this zone.
    pub(super) fn record_sets(&self, parsed: &ParsedEndpoint) -> Vec<RecordSet> {
        parsed.record_sets(self.zone.zone(), self.zone.default_ttl_secs)
    }

    /// Whether Zonefold has published a record set that the endpoint is for.
    pub(super) fn is_published(&self, parsed: &ParsedEndpoint) -> bool {
        parsed.types.iter().any(|rtype| {
            let key = RecordKey {
                name: parsed.name.clone(),
                rtype: *rtype,
                set_identifier: parsed.set_identifier.clone(),
            };
            self.observed.get(&key).is_some_and(|observed| observed.owner.is_some())
        })
    }

    /// Where a wanted set leads within the zone, and its place in the order of a loop.
    pub(super) fn link(&self, set: &RecordSet, arrival: i64) -> Option<Link> {
        let target = self.zone.link_target(set)?;
        let standing = self.observed.get(&set.key).filter(|observed| observed.is_there());
        let stands_at = standing
            .and_then(|observed| observed.raw.canonical().ok())
            .and_then(|set| self.zone.link_target(&set));
        let rank = LinkRank { is_new: stands_at.as_ref() != Some(&target), arrival: Some(arrival) };
        Some(Link { target, rank })
    }

    /// The links of observed record sets that no endpoint wants.
    pub(super) fn observed_links(&self) -> Vec<Link> {
        let rank = LinkRank { is_new: false, arrival: None };
        let there = self.observed.values().filter(|observed| observed.is_there());
        let sets = there.filter_map(|observed| observed.raw.canonical().ok());
        sets.filter_map(|set| self.zone.link_target(&set))
            .map(|target| Link { target, rank })
            .collect()
    }

    /// The place of a routing policy that a set has and that Zonefold has already given to it in Route 53.
    pub(super) fn standing_place<'b>(&self, set: &'b RecordSet) -> Option<&'b RoutingPolicy> {
        let place = set.policy.place()?;
        let standing = self.observed.get(&set.key)?.ours()?;
        (standing.policy.place() == Some(place)).then_some(place)
    }
}

/// A record set that the owner wants, with the contributions that it adds up from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    pub set: RecordSet,
    /// Indices into the contributions.
    pub from: Vec<usize>,
}

/// How firmly an observed set is kept that no accepted endpoint wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Retention {
    /// Its endpoint waits for another one: the set stays unless it is in the way of a write.
    Loose,
    /// Its endpoint is rejected: the set stays, and writes that it is in the way of wait.
    Firm,
}

/// Record sets that endpoints which are not accepted now may have made under a type and set identifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Of a set with values.
    pub values: Option<Retention>,
    /// Of an alias.
    pub alias: Option<Retention>,
}

impl Retained {
    /// How firmly this set is kept.
    pub fn of(&self, raw: &RawRecordSet) -> Option<Retention> {
        if raw.alias.is_some() { self.alias } else { self.values }
    }
}

/// The decision about a name.
#[derive(Clone, Debug, Default)]
pub struct NameDecision {
    /// The owning cluster; `None` if no valid endpoint asks for the name.
    pub holder: Option<ClusterId>,
    /// The record sets that the owner wants, by key.
    pub desired: BTreeMap<RecordKey, Desired>,
    /// Record sets that stay, by type and set identifier: rejected or waiting endpoints of the owner may have made them.
    pub retained: BTreeMap<(RecordType, Option<ArcStr>), Retained>,
    /// The verdict for each contribution that can be parsed, by index.
    pub verdicts: Vec<(usize, Verdict)>,
    /// Names that this one is in a loop with and waits for: decide it anew when one of them changes.
    pub looped_with: BTreeSet<DnsName>,
    /// Names that are in a loop with this one and give way to it.
    pub loop_ends: BTreeSet<DnsName>,
}

impl NameDecision {
    /// Keeps the record sets that an endpoint may have made under any content: its key does not change, only its content.
    pub(super) fn retain(&mut self, endpoint: &Endpoint, retention: Retention) {
        let set = Some(endpoint.key.set_identifier.clone()).filter(|text| !text.is_empty());
        let own = RecordType::parse(&endpoint.key.record_type);
        for rtype in reachable_types(endpoint) {
            let kept = self.retained.entry((rtype, set.clone())).or_default();
            kept.alias = kept.alias.max(Some(retention));
            // Of another type than its own it makes aliases alone.
            if own == Some(rtype) {
                kept.values = kept.values.max(Some(retention));
            }
        }
    }
}
