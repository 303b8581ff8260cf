//! What deciding a name takes, and what comes of it.

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
use crate::core::visibility::Visibility;

/// One endpoint at one name of one zone.
#[derive(Clone, Debug)]
pub struct Contribution {
    /// Whose.
    pub cluster: ClusterId,
    /// Who was first; also which endpoint, since no two have one number.
    pub arrival: i64,
    /// The endpoint as written.
    pub endpoint: Arc<Endpoint>,
    /// What it wants; none when the present content is rejected. Such an endpoint wins no name, but what an earlier version
    /// of it made is left alone: a typing error must not take a name off the air.
    pub wish: Option<Arc<ParsedEndpoint>>,
    /// Whether it moved to another zone: what it made here stays until it is in sync there.
    pub leaves: bool,
}

/// What deciding has to know of the zone.
#[derive(Clone, Debug)]
pub struct ZoneContext {
    /// Account and zone.
    pub placement: Placement,
    pub apex: DnsName,
    /// Public or private.
    pub visibility: Visibility,
    /// For endpoints without a time to live, in seconds.
    pub default_ttl_secs: u32,
    /// Which record types clusters may publish.
    pub record_types: RecordTypes,
    /// Which objects add their addresses up.
    pub merge: MergePolicy,
    /// Who may publish which name.
    pub governance: Arc<Governance>,
}

impl ZoneContext {
    /// A zone that is worked under these settings.
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

    /// Takes other settings.
    pub fn set(&mut self, settings: &ZoneSettings) {
        let Self { placement, apex, governance, .. } = self.clone();
        *self = Self::new(placement, apex, self.visibility, settings).governed(governance);
    }

    /// The zone's id.
    pub fn zone(&self) -> &ZoneId {
        &self.placement.zone
    }
}

/// What a decision about one name asks of the other names of its zone.
pub trait OtherNames {
    /// The closest name above this one, and below the apex, with an NS record set, and the servers that it names.
    fn delegation_above(&self, name: &DnsName) -> Option<Delegation>;

    /// Whose record sets answer for a name: its own, or those of the wildcard that covers it because nothing is there
    /// (RFC 4592 §3.3.1).
    fn answered_by(&self, name: &DnsName) -> DnsName;

    /// Where a name sends those who ask for it: its CNAMEs, and its aliases to names of the zone.
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

/// Which member of a loop gives way: the greatest. What stands is never the one if something is new.
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

/// What deciding a name needs.
pub struct NameInput<'a> {
    pub zone: &'a ZoneContext,
    pub name: &'a DnsName,
    /// Who held it so far.
    pub claimed_by: Option<&'a ClusterId>,
    /// The endpoints at the name, in any order.
    pub contributions: &'a [Contribution],
    /// The observed sets of the name.
    pub observed: &'a BTreeMap<RecordKey, Observed>,
    /// The other names of the zone.
    pub around: &'a dyn OtherNames,
}

impl NameInput<'_> {
    /// What a wish comes to in the zone.
    pub(super) fn record_sets(&self, wish: &ParsedEndpoint) -> Vec<RecordSet> {
        wish.record_sets(self.zone.zone(), self.zone.default_ttl_secs)
    }

    /// Whether Zonefold has published a record set that the wish is for.
    pub(super) fn is_published(&self, wish: &ParsedEndpoint) -> bool {
        wish.types.iter().any(|rtype| {
            let key = RecordKey {
                name: wish.name.clone(),
                rtype: *rtype,
                set_identifier: wish.set_identifier.clone(),
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

    /// Where what is observed leads that no endpoint wants.
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

/// A record set that the holder wants, with what it adds up from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    pub set: RecordSet,
    /// Indices into the contributions.
    pub from: Vec<usize>,
}

/// How firmly an observed set is kept that no accepted endpoint wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// Its endpoint waits for another one: it stays unless it is in the way of what is written.
    Loose,
    /// Its endpoint is rejected: it stays, and what it is in the way of waits.
    Firm,
}

/// What an endpoint that is not accepted now may have made under a type and set identifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Of a set with values.
    pub values: Option<Hold>,
    /// Of an alias.
    pub alias: Option<Hold>,
}

impl Retained {
    /// How firmly this set is kept.
    pub fn of(&self, raw: &RawRecordSet) -> Option<Hold> {
        if raw.alias.is_some() { self.alias } else { self.values }
    }
}

/// What was decided about a name.
#[derive(Clone, Debug, Default)]
pub struct NameDecision {
    /// Who holds the name; none when nobody with a valid wish is there.
    pub holder: Option<ClusterId>,
    /// What the holder wants, by key.
    pub desired: BTreeMap<RecordKey, Desired>,
    /// What endpoints of the holder may have made that are rejected or wait now, by type and set identifier: it stays.
    pub retained: BTreeMap<(RecordType, Option<ArcStr>), Retained>,
    /// The verdict for each contribution with a wish, by index.
    pub verdicts: Vec<(usize, Verdict)>,
    /// Names that this one is in a loop with and waits for: it is to be decided anew when one of them changes.
    pub looped_with: BTreeSet<DnsName>,
    /// Names that are in a loop with this one and give way to it.
    pub loop_ends: BTreeSet<DnsName>,
}

impl NameDecision {
    /// Keeps what an endpoint may have made under any content: its key does not change, only what it says.
    pub(super) fn retain(&mut self, endpoint: &Endpoint, hold: Hold) {
        let set = Some(endpoint.key.set_identifier.clone()).filter(|text| !text.is_empty());
        let own = RecordType::parse(&endpoint.key.record_type);
        for rtype in reachable_types(endpoint) {
            let kept = self.retained.entry((rtype, set.clone())).or_default();
            kept.alias = kept.alias.max(Some(hold));
            // Of another type than its own it makes aliases alone.
            if own == Some(rtype) {
                kept.values = kept.values.max(Some(hold));
            }
        }
    }
}
