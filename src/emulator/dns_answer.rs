//! What the name servers answer: the propagated record sets of the public zones, with routing policies, aliases and wildcards.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType as WireType};
use sha2::{Digest as _, Sha256};

use super::ids::IdSource;
use super::world::World;
use super::zone::{SetKey, Zone, at_name, exists, reversed};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::{RawAlias, RawRecordSet, RecordType};
use crate::core::ids::ZoneId;
use crate::core::time::Timestamp;

/// How long an alias's answer lives (Route 53 answers with 60 seconds for its own services).
const ALIAS_TTL_SECS: u32 = 60;
/// A multivalue answer has at most eight sets.
const MULTIVALUE_SETS: usize = 8;
/// How many CNAMEs and aliases are followed.
const MAX_STEPS: usize = 16;

/// An answer, before it is put on the wire.
#[derive(Debug)]
pub(super) struct DnsAnswer {
    pub code: ResponseCode,
    pub answers: Vec<Record>,
    /// The zone's SOA, when there is no answer in it.
    pub authority: Vec<Record>,
}

impl DnsAnswer {
    fn refused() -> Self {
        Self { code: ResponseCode::Refused, answers: Vec::new(), authority: Vec::new() }
    }
}

/// Answers one question.
pub(super) fn answer(world: &mut World, question: &LowerName, wanted: WireType) -> DnsAnswer {
    let now = world.now();
    let Some(mut name) = read_wire(&Name::from(question)) else { return DnsAnswer::refused() };
    let mut answers = Vec::new();
    for _ in 0..MAX_STEPS {
        let Some(id) = closest_zone(world, &name) else {
            // Outside our zones: a chain that leaves them is complete as far as we know.
            let is_ours = !answers.is_empty();
            let code = if is_ours { ResponseCode::NoError } else { ResponseCode::Refused };
            return DnsAnswer { code, answers, authority: Vec::new() };
        };
        match look_up(world, &id, &name, wanted, now) {
            Found::Answers(mut records) => {
                answers.append(&mut records);
                return DnsAnswer { code: ResponseCode::NoError, answers, authority: Vec::new() };
            }
            Found::Cname(record, target) => {
                answers.push(*record);
                name = target;
            }
            Found::Nothing(code) => {
                let authority = soa(world, &id).into_iter().collect();
                return DnsAnswer { code, answers, authority };
            }
        }
    }
    DnsAnswer { code: ResponseCode::ServFail, answers: Vec::new(), authority: Vec::new() }
}

/// What one zone says about a name.
enum Found {
    Answers(Vec<Record>),
    Cname(Box<Record>, DnsName),
    Nothing(ResponseCode),
}

fn closest_zone(world: &World, name: &DnsName) -> Option<ZoneId> {
    let holding = world.zones.values().filter(|zone| !zone.private && name.is_in(&zone.name));
    holding.max_by_key(|zone| zone.name.label_count()).map(|zone| zone.id.clone())
}

fn look_up(
    world: &mut World,
    id: &ZoneId,
    name: &DnsName,
    wanted: WireType,
    now: Timestamp,
) -> Found {
    let World { zones, ids, .. } = world;
    let Some(zone) = zones.get_mut(id) else { return Found::Nothing(ResponseCode::ServFail) };
    zone.settle(now);
    let Some(owner) = owner(zone, name) else { return Found::Nothing(ResponseCode::NXDomain) };
    let sets = sets_at(zone, &owner);
    let Some(wire) = write_wire(name) else { return Found::Nothing(ResponseCode::ServFail) };
    let mut resolver = Resolver { zone, wire, ids };
    if let Some(cname) = sets.get(&RecordType::Cname).filter(|_| wanted != WireType::CNAME) {
        let record = resolver.resolve(RecordType::Cname, cname, 0).into_iter().next();
        return match record.as_ref().map(|record| &record.data) {
            Some(RData::CNAME(CNAME(target))) => match (read_wire(target), record) {
                (Some(target), Some(record)) => Found::Cname(Box::new(record), target),
                _ => Found::Nothing(ResponseCode::ServFail),
            },
            _ => Found::Nothing(ResponseCode::NoError),
        };
    }
    let mut answers = Vec::new();
    for (rtype, sets) in &sets {
        if wanted == WireType::ANY || wire_type(*rtype) == wanted {
            answers.extend(resolver.resolve(*rtype, sets, 0));
        }
    }
    if answers.is_empty() { Found::Nothing(ResponseCode::NoError) } else { Found::Answers(answers) }
}

/// The name whose sets answer: the name itself when it exists, else the wildcard below its closest encloser (RFC 4592 §3.3.1).
fn owner(zone: &Zone, name: &DnsName) -> Option<DnsName> {
    if exists(zone.propagated(), name) {
        return Some(name.clone());
    }
    let mut encloser = name.parent()?;
    while !exists(zone.propagated(), &encloser) {
        encloser = encloser.parent()?;
    }
    let wildcard = DnsName::parse(&format!("*.{}", encloser.as_str())).ok()?;
    (encloser.is_in(&zone.name) && exists(zone.propagated(), &wildcard)).then_some(wildcard)
}

type SetsByType<'z> = BTreeMap<RecordType, Vec<&'z RawRecordSet>>;

fn sets_at<'z>(zone: &'z Zone, owner: &DnsName) -> SetsByType<'z> {
    let mut sets = SetsByType::new();
    for (key, set) in at_name(zone.propagated(), reversed(owner)) {
        sets.entry(key.rtype).or_default().push(set);
    }
    sets
}

/// Makes records of the sets of one name.
struct Resolver<'z> {
    zone: &'z Zone,
    /// The name that was asked for: a wildcard's records bear it as well.
    wire: Name,
    ids: &'z mut IdSource,
}

impl Resolver<'_> {
    /// The records of the sets of one type, after the routing policy has chosen.
    fn resolve(&mut self, rtype: RecordType, sets: &[&RawRecordSet], steps: usize) -> Vec<Record> {
        let mut records = Vec::new();
        for set in choose(sets, self.ids) {
            match &set.alias {
                Some(alias) => records.extend(self.alias(rtype, alias, steps)),
                None => records.extend(self.values(rtype, set)),
            }
        }
        records
    }

    fn values(&self, rtype: RecordType, set: &RawRecordSet) -> Vec<Record> {
        let ttl = set.ttl_secs.and_then(|ttl| u32::try_from(ttl).ok()).unwrap_or(0);
        let read = |value: &arcstr::ArcStr| {
            RData::try_from_str(wire_type(rtype), &absolute(rtype, value)).ok()
        };
        set.values
            .iter()
            .filter_map(read)
            .map(|data| Record::from_rdata(self.wire.clone(), ttl, data))
            .collect()
    }

    /// An alias inside the zone answers with its target's records; one to a name of AWS with an address of its own that is
    /// always the same (RFC 5737, 198.51.100.0/24).
    fn alias(&mut self, rtype: RecordType, alias: &RawAlias, steps: usize) -> Vec<Record> {
        let Ok(target) = DnsName::parse(&alias.name) else { return Vec::new() };
        if alias.zone_id == self.zone.id.as_str() {
            if steps >= MAX_STEPS {
                return Vec::new();
            }
            let sets = sets_at(self.zone, &target);
            return sets
                .get(&rtype)
                .map(|sets| self.resolve(rtype, sets, steps + 1))
                .unwrap_or_default();
        }
        if rtype != RecordType::A {
            return Vec::new();
        }
        let digest = Sha256::digest(target.as_str().as_bytes());
        let host = digest.first().map_or(1, |byte| byte % 254 + 1);
        let address = RData::A(A(Ipv4Addr::new(198, 51, 100, host)));
        vec![Record::from_rdata(self.wire.clone(), ALIAS_TTL_SECS, address)]
    }
}

/// Which sets answer: one by weight, up to eight of multivalue, the primary of a fail-over, else the first. All count as
/// healthy.
fn choose<'z>(sets: &[&'z RawRecordSet], ids: &mut IdSource) -> Vec<&'z RawRecordSet> {
    let Some(first) = sets.first() else { return Vec::new() };
    if first.multivalue_answer.is_some() {
        return sets.iter().take(MULTIVALUE_SETS).copied().collect();
    }
    if first.failover.is_some() {
        let primary = sets.iter().find(|set| set.failover.as_deref() == Some("PRIMARY"));
        return vec![primary.unwrap_or(first)];
    }
    if first.weight.is_none() {
        return vec![first];
    }
    let weight =
        |set: &RawRecordSet| set.weight.and_then(|weight| u64::try_from(weight).ok()).unwrap_or(0);
    let total: u64 = sets.iter().map(|set| weight(set)).sum();
    // All weights zero: all are equally likely.
    let share = |set: &RawRecordSet| if total == 0 { 1 } else { weight(set) };
    let mut drawn = ids.below(if total == 0 { sets.len() as u64 } else { total });
    for set in sets {
        match drawn.checked_sub(share(set)) {
            Some(rest) => drawn = rest,
            None => return vec![set],
        }
    }
    vec![first]
}

fn soa(world: &World, id: &ZoneId) -> Option<Record> {
    let zone = world.zones.get(id)?;
    let set = zone.propagated().get(&SetKey::new(&zone.name, RecordType::Soa, None))?;
    let ttl = set.ttl_secs.and_then(|ttl| u32::try_from(ttl).ok())?;
    let data =
        RData::try_from_str(WireType::SOA, &absolute(RecordType::Soa, set.values.first()?)).ok()?;
    Some(Record::from_rdata(write_wire(&zone.name)?, ttl, data))
}

/// Names in values are absolute in Route 53, with or without their final dot; the reader of zone files needs it.
fn absolute(rtype: RecordType, value: &str) -> String {
    let names: &[usize] = match rtype {
        RecordType::Cname | RecordType::Ns | RecordType::Ptr => &[0],
        RecordType::Mx => &[1],
        RecordType::Srv => &[3],
        RecordType::Soa => &[0, 1],
        _ => return value.to_owned(),
    };
    let mut fields: Vec<String> = value.split_whitespace().map(str::to_owned).collect();
    for at in names {
        if let Some(field) = fields.get_mut(*at).filter(|field| !field.ends_with('.')) {
            field.push('.');
        }
    }
    fields.join(" ")
}

fn wire_type(rtype: RecordType) -> WireType {
    // SPF (99) is obsolete and has no name in the library.
    rtype.as_str().parse().unwrap_or(WireType::Unknown(99))
}

fn octal_escaped(label: &[u8]) -> String {
    label.iter().map(|octet| format!("\\{octet:03o}")).collect()
}

/// A name from the wire.
fn read_wire(name: &Name) -> Option<DnsName> {
    let labels: Vec<String> = name.iter().map(octal_escaped).collect();
    DnsName::parse(&labels.join(".")).ok()
}

/// A name for the wire.
fn write_wire(name: &DnsName) -> Option<Name> {
    let octets = |label: &str| {
        let mut octets = Vec::with_capacity(label.len());
        let mut rest = label.as_bytes();
        while let Some((first, tail)) = rest.split_first() {
            let digits = tail.get(..3).filter(|_| *first == b'\\');
            let octet = digits
                .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
            rest = if octet.is_some() { tail.get(3..).unwrap_or_default() } else { tail };
            octets.push(octet.unwrap_or(*first));
        }
        octets
    };
    let labels: Vec<Vec<u8>> = name.labels().map(octets).collect();
    let mut wire = Name::from_labels(labels.iter().map(Vec::as_slice)).ok()?;
    wire.set_fqdn(true);
    Some(wire)
}
