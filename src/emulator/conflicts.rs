//! What a new record set must not meet in its zone: other types under a CNAME, other policies, a taken place, a missing alias
//! target.

use std::sync::LazyLock;

use std::collections::BTreeMap;

use super::messages::{self, Subject};
use super::zone::{Zone, at_name, reversed};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::{RawAlias, RawRecordSet, RecordType};

const MAX_SETS_OF_POLICY: usize = 100;

/// A set about to be put into a zone that does not hold one of its key.
pub(super) struct Placing<'a> {
    pub zone: &'a Zone,
    pub name: &'a DnsName,
    pub rtype: RecordType,
    pub of: Subject<'a>,
    pub set: &'a RawRecordSet,
}

/// The routing policy in the word that Route 53's messages use; none for the simple policy.
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
    if placing.set.failover.as_deref() == Some("PRIMARY")
        && placing.set.alias.is_none()
        && placing.set.health_check_id.is_none()
    {
        messages.push(messages::PRIMARY_WITHOUT_HEALTH_CHECK.to_owned());
    }
    if let Some(alias) = &placing.set.alias {
        against_target(placing, alias, &mut messages);
    }
    messages
}

/// RFC 1034 §3.6.2: nothing else stands beside a CNAME.
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
        messages.push(match policy {
            "multivalue answer" => messages::multivalue_beside_others(of),
            policy => messages::other_policy_exists(of, policy),
        });
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
    if set.geolocation.is_some() && others.iter().any(|other| other.geolocation == set.geolocation)
    {
        messages.push(messages::place_taken(of));
    }
    let other_ttl = |other: &&RawRecordSet| {
        set.ttl_secs.is_some() && other.ttl_secs.is_some() && set.ttl_secs != other.ttl_secs
    };
    if set.weight.is_some() && others.iter().any(other_ttl) {
        messages.push(messages::weighted_ttl_differs(of));
    }
    if others.len() >= MAX_SETS_OF_POLICY {
        messages.push(messages::too_many_sets_of_policy(of, policy));
    }
}

/// A target in the own zone has to be there already; one in a zone of AWS has to bear a name of it.
fn against_target(placing: &Placing<'_>, alias: &RawAlias, messages: &mut Vec<String>) {
    let Ok(target) = DnsName::parse(&alias.name) else { return };
    let (name, rtype, target_zone) = (target.as_str(), placing.of.rtype, alias.zone_id.as_str());
    if target_zone == placing.zone.id.as_str() {
        if !target.is_in(&placing.zone.name) {
            messages.push(messages::alias_outside_zone(name, rtype, target_zone));
        } else if at_name(&placing.zone.records, reversed(&target))
            .any(|(key, _)| key.rtype == placing.rtype)
        {
            return;
        }
        messages.push(messages::alias_target_missing(name, rtype, target_zone));
    } else if !is_service_name(&target, target_zone) {
        messages.push(messages::alias_outside_zone(name, rtype, target_zone));
        messages.push(messages::alias_target_missing(name, rtype, target_zone));
    }
}

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
