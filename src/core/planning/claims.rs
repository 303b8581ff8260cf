//! Who owns a name in a zone, and what the owner's endpoints add up to.
//!
//! The policy here is `exclusive`: the first cluster with an accepted contribution holds the name, the others wait and see
//! who. Inside the holder, endpoints of several objects may add up (as in ExternalDNS), and the oldest wins where they cannot.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::core::dns::name::DnsName;
use crate::core::dns::record::{RecordData, RecordKey, RecordSet, RecordType, RoutingPolicy};
use crate::core::endpoint::Endpoint;
use crate::core::endpoint::parsed::{MAX_VALUES, ParsedEndpoint};
use crate::core::endpoint::verdict::{Placement, Reason, Verdict};
use crate::core::ids::{ClusterId, ZoneId};

/// Route 53 accepts at most so many record sets of one name and type and any routing policy but geoproximity.
const MAX_SETS_OF_POLICY: usize = 100;
/// Route 53 accepts at most so many geoproximity record sets of one name and type.
const MAX_GEOPROXIMITY_SETS: usize = 30;

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
}

/// A record set that the holder wants, with what it adds up from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// The set.
    pub set: RecordSet,
    /// Indices into the contributions.
    pub from: Vec<usize>,
}

/// What was decided about a name.
#[derive(Clone, Debug, Default)]
pub struct NameDecision {
    /// Who holds the name; none when nobody with a valid wish is there.
    pub holder: Option<ClusterId>,
    /// What the holder wants, by key.
    pub desired: BTreeMap<RecordKey, Desired>,
    /// Record types that a rejected endpoint of the holder may have made under a set identifier: they stay as they are.
    pub retained: Vec<(RecordType, Option<arcstr::ArcStr>)>,
    /// The verdict for each contribution with a wish, by index.
    pub verdicts: Vec<(usize, Verdict)>,
}

/// What settling has to know of the zone.
#[derive(Clone, Debug)]
pub struct ZoneContext {
    /// Account and zone.
    pub placement: Placement,
    /// The apex.
    pub apex: DnsName,
    /// For endpoints without a time to live, in seconds.
    pub default_ttl_secs: u32,
}

/// Decides a name: who holds it and what that adds up to. The order of the contributions does not matter.
pub fn decide_name(
    zone: &ZoneContext,
    name: &DnsName,
    claimed_by: Option<&ClusterId>,
    contributions: &[Contribution],
) -> NameDecision {
    let mut order: Vec<usize> = (0..contributions.len()).collect();
    order.sort_by_key(|index| contributions[*index].arrival);
    let mut decision = NameDecision::default();
    let mut oldest: Option<usize> = None;
    let mut valid = Vec::new();
    for index in order {
        match &contributions[index].wish {
            Some(wish) => match reject_at_zone(zone, wish) {
                Some(verdict) => decision.verdicts.push((index, verdict)),
                None => valid.push(index),
            },
            None => {
                let contribution = &contributions[index];
                if claimed_by == Some(&contribution.cluster) {
                    let set = Some(contribution.endpoint.key.set_identifier.clone())
                        .filter(|text| !text.is_empty());
                    decision.retained.extend(
                        crate::core::endpoint::parsed::reachable_types(&contribution.endpoint)
                            .into_iter()
                            .map(|t| (t, set.clone())),
                    );
                }
            }
        }
    }
    let still_there =
        claimed_by.filter(|cluster| contributions.iter().any(|c| c.cluster == **cluster));
    decision.holder = match still_there {
        Some(cluster) => Some(cluster.clone()),
        None => valid.first().map(|index| contributions[*index].cluster.clone()),
    };
    let Some(holder) = decision.holder.clone() else { return decision };
    let mut accepted = Vec::new();
    for index in valid {
        if contributions[index].cluster == holder {
            oldest.get_or_insert(index);
            accepted.push(index);
        } else {
            let verdict = held_by(zone, name, &holder, contributions, oldest);
            decision.verdicts.push((index, verdict));
        }
    }
    Merge { zone, contributions, decision: &mut decision }.run(&accepted);
    decision
}

/// What no zone takes at this name, whoever asks.
fn reject_at_zone(zone: &ZoneContext, wish: &ParsedEndpoint) -> Option<Verdict> {
    if wish.name != zone.apex {
        return None;
    }
    if wish.is_cname() {
        return Some(Verdict::rejected(
            Reason::InvalidType,
            format!(
                "a CNAME cannot stand at the apex of the zone {} (RFC 1034 §3.6.2): use an alias (annotation alias: \"true\") or addresses",
                zone.apex
            ),
        ));
    }
    wish.types.contains(&RecordType::Ns).then(|| {
        Verdict::rejected(
            Reason::InvalidType,
            format!(
                "the NS record set at the apex of {} belongs to Route 53: remove the endpoint",
                zone.apex
            ),
        )
    })
}

fn held_by(
    zone: &ZoneContext,
    name: &DnsName,
    holder: &ClusterId,
    contributions: &[Contribution],
    oldest: Option<usize>,
) -> Verdict {
    let object = oldest.or_else(|| contributions.iter().position(|c| c.cluster == *holder));
    let object = object.map_or_else(String::new, |index| {
        format!(" for {}", contributions[index].endpoint.key.resource())
    });
    Verdict::waiting(
        Reason::NameHeld,
        format!(
            "{name} in the zone {} is held by the cluster {holder}{object}; it passes on when that cluster gives it up",
            zone.apex
        ),
        Some(zone.placement.clone()),
    )
}

struct Merge<'a> {
    zone: &'a ZoneContext,
    contributions: &'a [Contribution],
    decision: &'a mut NameDecision,
}

impl Merge<'_> {
    fn run(&mut self, accepted: &[usize]) {
        for index in accepted {
            let Some(wish) = self.contributions[*index].wish.clone() else { continue };
            let sets = wish.record_sets(&self.zone.placement.zone, self.zone.default_ttl_secs);
            let verdict = match sets.iter().find_map(|set| self.conflict(set)) {
                Some(verdict) => verdict,
                None => {
                    sets.into_iter().for_each(|set| self.add(set, *index));
                    Verdict::accepted(self.zone.placement.clone())
                }
            };
            self.decision.verdicts.push((*index, verdict));
        }
        self.align_weighted_ttls();
    }

    /// Why a set does not go together with what older endpoints already want.
    fn conflict(&self, set: &RecordSet) -> Option<Verdict> {
        let desired = &self.decision.desired;
        let cname = |key: &RecordKey| key.rtype == RecordType::Cname;
        if let Some(other) = desired.values().find(|other| cname(&other.set.key) != cname(&set.key))
        {
            return Some(
                self.lost(
                    other,
                    "a CNAME suffers no other record set at its name (RFC 1034 §3.6.2)",
                ),
            );
        }
        if let Some(other) = desired.values().find(|other| {
            other.set.key.rtype == set.key.rtype && other.set.policy.kind() != set.policy.kind()
        }) {
            return Some(
                self.lost(other, "all record sets of one name and type share one routing policy"),
            );
        }
        if let Some(other) =
            desired.values().find(|other| other.set.key != set.key && same_slot(&other.set, set))
        {
            return Some(
                self.lost(
                    other,
                    "that place of the routing policy is taken (one record set a region, location or failover role)",
                ),
            );
        }
        if let Some(other) = desired.values().find(|other| other_collection(&other.set, set)) {
            return Some(
                self.lost(other, "all CIDR record sets of one name and type have one collection"),
            );
        }
        if let Some(verdict) = self.beyond_limit(set) {
            return Some(verdict);
        }
        let other = desired.get(&set.key)?;
        match (&other.set.data, &set.data) {
            (RecordData::Values { values: old, .. }, RecordData::Values { values: new, .. })
                if set.policy == RoutingPolicy::Simple && set.key.rtype != RecordType::Cname =>
            {
                let added = new.iter().filter(|value| old.binary_search(value).is_err()).count();
                (old.len() + added > MAX_VALUES).then(|| {
                    Verdict::rejected(
                        Reason::TooLarge,
                        format!(
                            "together with {} the record set would have {} values and it takes {MAX_VALUES}",
                            self.name_of(other),
                            old.len() + added
                        ),
                    )
                })
            }
            _ if other.set == *set => None,
            _ if set.key.set_identifier.is_some() => {
                Some(self.lost(other, "the set identifier is used twice"))
            }
            _ => Some(self.lost(other, "both want another answer for one name and type")),
        }
    }

    /// Route 53 accepts so many record sets of a routing policy at one name and type.
    fn beyond_limit(&self, set: &RecordSet) -> Option<Verdict> {
        let most = match set.policy {
            RoutingPolicy::Simple => return None,
            RoutingPolicy::Geoproximity(_) => MAX_GEOPROXIMITY_SETS,
            _ => MAX_SETS_OF_POLICY,
        };
        let others = self.decision.desired.keys();
        let others = others.filter(|key| key.rtype == set.key.rtype && **key != set.key);
        (others.count() >= most).then(|| {
            Verdict::rejected(
                Reason::TooLarge,
                format!(
                    "{} {} has {most} record sets of this routing policy already, and Route 53 accepts no more: remove one",
                    set.key.name, set.key.rtype
                ),
            )
        })
    }

    fn name_of(&self, other: &Desired) -> String {
        other
            .from
            .first()
            .map_or_else(String::new, |index| self.contributions[*index].endpoint.key.resource())
    }

    fn lost(&self, other: &Desired, rule: &str) -> Verdict {
        Verdict::waiting(
            Reason::ConflictInCluster,
            format!(
                "{} came first with {}: {rule}. Change or remove one of the two",
                self.name_of(other),
                other.set.key
            ),
            Some(self.zone.placement.clone()),
        )
    }

    fn add(&mut self, set: RecordSet, index: usize) {
        match self.decision.desired.get_mut(&set.key) {
            None => {
                self.decision.desired.insert(set.key.clone(), Desired { set, from: vec![index] });
            }
            Some(desired) => {
                desired.from.push(index);
                if let (
                    RecordData::Values { values, .. },
                    RecordData::Values { values: more, .. },
                ) = (&mut desired.set.data, set.data)
                {
                    values.extend(more);
                    values.sort();
                    values.dedup();
                }
            }
        }
    }

    /// Route 53 takes one time to live in a weighted group ("weighted sets must contain the same TTL"): that of the oldest.
    fn align_weighted_ttls(&mut self) {
        let mut group: BTreeMap<RecordType, (usize, u32)> = BTreeMap::new();
        let weighted = self
            .decision
            .desired
            .values()
            .filter(|d| matches!(d.set.policy, RoutingPolicy::Weighted(_)));
        let order: Vec<(usize, RecordKey)> =
            weighted.filter_map(|d| Some((*d.from.first()?, d.set.key.clone()))).collect();
        let mut order: Vec<_> = order
            .into_iter()
            .map(|(index, key)| (self.contributions[index].arrival, index, key))
            .collect();
        order.sort();
        for (_, index, key) in order {
            let Some(desired) = self.decision.desired.get_mut(&key) else { continue };
            if let RecordData::Values { ttl_secs, .. } = &mut desired.set.data {
                *ttl_secs = group.entry(key.rtype).or_insert((index, *ttl_secs)).1;
            }
        }
    }
}

/// Whether two sets of one name and type are of different CIDR collections.
fn other_collection(a: &RecordSet, b: &RecordSet) -> bool {
    match (&a.policy, &b.policy) {
        (
            RoutingPolicy::Cidr { collection_id: x, .. },
            RoutingPolicy::Cidr { collection_id: y, .. },
        ) => a.key.rtype == b.key.rtype && x != y,
        _ => false,
    }
}

/// Whether two sets of one name and type claim one place of their policy.
fn same_slot(a: &RecordSet, b: &RecordSet) -> bool {
    a.key.rtype == b.key.rtype
        && match (&a.policy, &b.policy) {
            (RoutingPolicy::Latency(x), RoutingPolicy::Latency(y)) => x == y,
            (RoutingPolicy::Failover(x), RoutingPolicy::Failover(y)) => x == y,
            (RoutingPolicy::Geolocation(x), RoutingPolicy::Geolocation(y)) => x == y,
            (
                RoutingPolicy::Cidr { collection_id: x, location_name: p },
                RoutingPolicy::Cidr { collection_id: y, location_name: q },
            ) => x == y && p == q,
            _ => false,
        }
}

/// The zone of a context, for callers that only have that.
impl ZoneContext {
    /// The zone's id.
    pub fn zone(&self) -> &ZoneId {
        &self.placement.zone
    }
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
