//! Conflicts of a new record set with its zone: other types under a CNAME, other policies, a taken place, a missing alias
//! target, a loop.

use std::sync::LazyLock;

use std::collections::BTreeMap;

use super::messages::{self, Subject};
use super::places;
use super::zone::{Zone, at_name, reversed};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::{RawAlias, RawRecordSet, RecordType};

const MAX_SETS_OF_POLICY: usize = 100;
const MAX_GEOPROXIMITY_SETS: usize = 30;

/// A set about to be put into a zone that does not hold one of its key.
pub(super) struct Placing<'a> {
    pub zone: &'a Zone,
    pub name: &'a DnsName,
    pub rtype: RecordType,
    pub of: Subject<'a>,
    pub set: &'a RawRecordSet,
}

/// The routing policy in the word that Route 53's messages use; `None` if it is simple.
pub(super) fn policy_word(set: &RawRecordSet) -> Option<&'static str> {
    let words = [
        (set.weight.is_some(), "weighted"),
        (set.region.is_some(), "latency"),
        (set.failover.is_some(), "failover"),
        (set.geolocation.is_some(), "geolocation"),
        (set.multivalue_answer.is_some(), "multivalue answer"),
        (set.cidr.is_some(), "CIDR"),
        (set.geoproximity.is_some(), "geoproximity"),
    ];
    words.into_iter().find(|(there, _)| *there).map(|(_, word)| word)
}

/// Every objection to the set.
pub(super) fn find(placing: &Placing<'_>) -> Vec<String> {
    let mut messages = Vec::new();
    against_cname(placing, &mut messages);
    against_policy(placing, &mut messages);
    messages.extend(find_without_others(placing));
    if loops::leads_back(placing) {
        messages.push(messages::loops(&placing.of));
    }
    messages
}

/// The objections that have nothing to do with what else stands at the name.
pub(super) fn find_without_others(placing: &Placing<'_>) -> Vec<String> {
    let mut messages = Vec::new();
    let (set, of, rtype) = (placing.set, &placing.of, placing.rtype);
    let has_policy = policy_word(set).is_some();
    let is_unroutable = matches!(rtype, RecordType::Ns | RecordType::Soa)
        || (rtype == RecordType::Cname && set.multivalue_answer.is_some());
    if has_policy && is_unroutable {
        messages.push(messages::policy_not_for_type(of));
    }
    if set.cidr.is_some() && placing.zone.private {
        messages.push(messages::cidr_in_private_zone(of));
    }
    if rtype == RecordType::Ds && *placing.name == placing.zone.name {
        messages.push(messages::ds_at_apex(of.name, placing.zone.name.as_str()));
    }
    let Some(alias) = &set.alias else { return messages };
    if set.failover.as_deref() == Some("PRIMARY")
        && !alias.evaluate_target_health
        && set.health_check_id.is_none()
    {
        messages.push(messages::primary_alias_without_health(of));
    }
    if matches!(rtype, RecordType::Ns | RecordType::Soa) {
        messages.push(messages::alias_not_for_type(of));
    }
    against_target(placing, alias, &mut messages);
    messages
}

/// RFC 1034 §3.6.2: a CNAME cannot coexist with other record sets at its name.
fn against_cname(placing: &Placing<'_>, messages: &mut Vec<String>) {
    let zone = placing.zone.name.as_str();
    let is_cname = placing.rtype == RecordType::Cname;
    if is_cname && *placing.name == placing.zone.name {
        messages.push(messages::cname_at_apex(placing.of.name, zone));
        return;
    }
    let mut others = at_name(&placing.zone.records, reversed(placing.name));
    if !others.any(|(key, _)| (key.rtype == RecordType::Cname) != is_cname) {
        return;
    }
    messages.push(if is_cname {
        messages::cname_over_others(placing.of.name, zone)
    } else {
        messages::over_cname(&placing.of, zone)
    });
}

/// All sets of a name and type share one policy, and each has a place of its own in it.
fn against_policy(placing: &Placing<'_>, messages: &mut Vec<String>) {
    let same = at_name(&placing.zone.records, reversed(placing.name));
    let others: Vec<&RawRecordSet> =
        same.filter(|(key, _)| key.rtype == placing.rtype).map(|(_, set)| set.as_ref()).collect();
    if others.is_empty() {
        return;
    }
    let (of, set) = (&placing.of, placing.set);
    let Some(policy) = policy_word(set) else {
        messages.push(messages::simple_beside_others(of));
        return;
    };
    if others.iter().any(|other| policy_word(other) != Some(policy)) {
        messages.push(among_other_policies(of, set, policy));
        return;
    }
    if let Some(region) =
        set.region.as_ref().filter(|_| others.iter().any(|other| other.region == set.region))
    {
        messages.push(messages::latency_region_taken(of, region));
    }
    if let Some(role) =
        set.failover.as_ref().filter(|_| others.iter().any(|other| other.failover == set.failover))
    {
        messages.push(messages::failover_role_taken(of, role));
    }
    if let Some(place) = &set.geolocation
        && others.iter().any(|other| other.geolocation == set.geolocation)
    {
        messages.push(messages::geo_place_taken(of, &places::named(place)));
    }
    if let Some(cidr) = &set.cidr {
        let mut others = others.iter().filter_map(|other| other.cidr.as_ref());
        if let Some(other) = others.clone().find(|other| other.collection_id != cidr.collection_id)
        {
            let collection = &other.collection_id;
            messages.push(messages::cidr_of_other_collection(of, cidr, collection));
        } else if others.any(|other| other == cidr) {
            messages.push(messages::cidr_location_taken(of, cidr));
        }
    }
    let other_ttl = |other: &&RawRecordSet| {
        set.ttl_secs.is_some() && other.ttl_secs.is_some() && set.ttl_secs != other.ttl_secs
    };
    if set.weight.is_some() && others.iter().any(other_ttl) {
        messages.push(messages::weighted_ttl_differs(of));
    }
    let (most, word) = match policy {
        "geoproximity" => (MAX_GEOPROXIMITY_SETS, "geo-proximity"),
        policy => (MAX_SETS_OF_POLICY, policy),
    };
    if others.len() >= most {
        messages.push(messages::too_many_sets_of_policy(of, word));
    }
}

fn among_other_policies(of: &Subject<'_>, set: &RawRecordSet, policy: &str) -> String {
    if let Some(region) = &set.region {
        return messages::latency_beside_others(of, region);
    }
    if let Some(place) = &set.geolocation {
        return messages::geo_beside_others(of, &places::named(place));
    }
    match policy {
        "multivalue answer" => messages::multivalue_beside_others(of),
        policy => messages::other_policy_exists(of, policy),
    }
}

/// A target in the own zone has to be there already, with the alias's type; one in a zone of AWS has to bear a name of it.
fn against_target(placing: &Placing<'_>, alias: &RawAlias, messages: &mut Vec<String>) {
    let Ok(target) = DnsName::parse(&alias.name) else { return };
    let (name, rtype, target_zone) = (target.as_str(), placing.of.rtype, alias.zone_id.as_str());
    if target_zone == placing.zone.id.as_str() {
        if !target.is_in(&placing.zone.name) {
            messages.push(messages::alias_outside_zone(name, rtype, target_zone));
            // One sentence for a distribution and two for a load balancer: what decides is not known.
            if is_service_name(&target, CLOUDFRONT_ZONE) {
                return;
            }
        } else if at_name(&placing.zone.records, reversed(&target))
            .any(|(key, _)| key.rtype == placing.rtype)
        {
            return;
        }
        messages.push(messages::alias_target_missing(name, rtype, target_zone));
    } else if !is_service_name(&target, target_zone) {
        messages.push(messages::alias_outside_zone(name, rtype, target_zone));
        if !SERVICE_ZONES.contains_key(target_zone) {
            messages.push(messages::alias_target_missing(name, rtype, target_zone));
        }
    }
}

const CLOUDFRONT_ZONE: &str = "Z2FDTNDATAQYW2";

/// The hosted zones of AWS services: from an id to the suffixes of the names that lie in it.
static SERVICE_ZONES: LazyLock<BTreeMap<String, Vec<DnsName>>> = LazyLock::new(|| {
    #[derive(serde::Deserialize)]
    struct Table {
        suffix_to_zone_id: BTreeMap<String, String>,
    }
    let mut zones: BTreeMap<String, Vec<DnsName>> = BTreeMap::new();
    let table = serde_json::from_str::<Table>(include_str!("alias_zones.json"));
    for (suffix, id) in table.map(|table| table.suffix_to_zone_id).unwrap_or_default() {
        if let Ok(suffix) = DnsName::parse(&suffix) {
            zones.entry(id).or_default().push(suffix);
        }
    }
    zones
});

/// Whether a name lies in one of AWS's own hosted zones.
pub(super) fn is_service_name(name: &DnsName, zone_id: &str) -> bool {
    SERVICE_ZONES
        .get(zone_id)
        .is_some_and(|suffixes| suffixes.iter().any(|suffix| name.is_in(suffix)))
}

/// CNAMEs and aliases that lead back to where they started, inside of one zone.
mod loops {
    use std::collections::BTreeSet;

    use super::Placing;
    use crate::core::dns::name::DnsName;
    use crate::core::dns::record::RawRecordSet;
    use crate::core::dns::record_type::RecordType;
    use crate::emulator::zone::{Zone, at_name, reversed};

    /// A set of one name and type, as far as loops go.
    type Node = (DnsName, RecordType);

    /// Whether the set to be placed would answer with itself in the end.
    pub(super) fn leads_back(placing: &Placing<'_>) -> bool {
        let start: Node = (placing.name.clone(), placing.rtype);
        let mut ahead = next(placing.zone, placing.rtype, placing.set);
        let mut seen: BTreeSet<Node> = BTreeSet::new();
        while let Some(node) = ahead.pop() {
            if node == start {
                return true;
            }
            for (key, set) in at_name(&placing.zone.records, reversed(&node.0)) {
                if key.rtype == node.1 {
                    ahead.extend(
                        next(placing.zone, key.rtype, set)
                            .into_iter()
                            .filter(|n| !seen.contains(n)),
                    );
                }
            }
            seen.insert(node);
        }
        false
    }

    /// Where a set sends its resolver: a CNAME's target may be a CNAME, an alias's is a set of its own type.
    fn next(zone: &Zone, rtype: RecordType, set: &RawRecordSet) -> Vec<Node> {
        let target = match &set.alias {
            Some(alias) if alias.zone_id == zone.id.as_str() => Some(&alias.name),
            Some(_) => None,
            None if rtype == RecordType::Cname => set.values.first(),
            None => None,
        };
        let target = target.and_then(|target| DnsName::parse(target).ok());
        target.into_iter().map(|target| (target, rtype)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_service_zones_is_read_whole() {
        let suffixes: usize = SERVICE_ZONES.values().map(Vec::len).sum();
        assert!(suffixes > 100, "{suffixes}");
        let balancer = DnsName::parse("lb-1.us-east-1.elb.amazonaws.com").unwrap();
        assert!(is_service_name(&balancer, "Z35SXDOTRQ7X7K"));
        assert!(!is_service_name(&balancer, "Z3AADJGX6KTTL2"));
    }
}
