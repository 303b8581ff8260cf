//! Answers of the name servers: the propagated record sets of the public zones, with routing policies, aliases, wildcards and
//! referrals to where a zone is delegated.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, CNAME, NULL};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType as WireType};
use sha2::{Digest as _, Sha256};

use super::ids::IdSource;
use super::state::EmulatorState;
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
    /// Whether it is this zone's own word: it is not below a delegation.
    pub authoritative: bool,
    pub answers: Vec<Record>,
    /// The zone's SOA if it holds no answer, or the NS set of a delegation.
    pub authority: Vec<Record>,
    /// The addresses of the name servers of a delegation.
    pub additional: Vec<Record>,
}

impl DnsAnswer {
    /// An answer without records.
    pub fn failure(code: ResponseCode) -> Self {
        Self {
            code,
            authoritative: code != ResponseCode::Refused,
            answers: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
        }
    }
}

/// Answers one question.
pub(super) fn answer(
    world: &mut EmulatorState,
    question: &LowerName,
    wanted: WireType,
) -> DnsAnswer {
    let now = world.now();
    let refused = || DnsAnswer::failure(ResponseCode::Refused);
    let Some(mut name) = read_wire(&Name::from(question)) else { return refused() };
    let mut answer = DnsAnswer::failure(ResponseCode::NoError);
    let mut passed = BTreeSet::new();
    while passed.len() < MAX_STEPS && passed.insert(name.clone()) {
        let Some(id) = zone_of(world, &name, wanted) else {
            // Outside our zones: a chain that leaves them is complete as far as we know.
            return if answer.answers.is_empty() { refused() } else { answer };
        };
        match look_up(world, &id, &name, wanted, now) {
            Found::Answers(mut records) => {
                answer.answers.append(&mut records);
                return answer;
            }
            Found::Cname(record, target) => {
                answer.answers.push(*record);
                name = target;
            }
            Found::Referral { servers, glue } => {
                // RFC 1035 §4.1.1: the bit speaks of the first owner name of the answer.
                answer.authoritative = !answer.answers.is_empty();
                answer.authority = servers;
                answer.additional = glue;
                return answer;
            }
            Found::Nothing(code) => {
                answer.code = code;
                answer.authority = soa(world, &id).into_iter().collect();
                return answer;
            }
        }
    }
    // A loop, or a chain without an end: what it consists of is the answer, and resolvers see that it leads nowhere.
    answer
}

/// The result of a lookup in one zone.
enum Found {
    Answers(Vec<Record>),
    Cname(Box<Record>, DnsName),
    /// The name lies at or below a delegation.
    Referral {
        servers: Vec<Record>,
        glue: Vec<Record>,
    },
    Nothing(ResponseCode),
}

/// The zone that answers: the closest one, and for DS at an apex the parent (RFC 4035 §3.1.4.1).
fn zone_of(world: &EmulatorState, name: &DnsName, wanted: WireType) -> Option<ZoneId> {
    let parent = name.parent().filter(|_| wanted == WireType::DS);
    parent
        .and_then(|parent| closest_zone(world, &parent))
        .filter(|_| world.zones.values().any(|zone| !zone.private && zone.name == *name))
        .or_else(|| closest_zone(world, name))
}

fn closest_zone(world: &EmulatorState, name: &DnsName) -> Option<ZoneId> {
    let holding = world.zones.values().filter(|zone| !zone.private && name.is_in(&zone.name));
    holding.max_by_key(|zone| zone.name.label_count()).map(|zone| zone.id.clone())
}

fn look_up(
    world: &mut EmulatorState,
    id: &ZoneId,
    name: &DnsName,
    wanted: WireType,
    now: Timestamp,
) -> Found {
    let EmulatorState { zones, ids, .. } = world;
    let Some(zone) = zones.get_mut(id) else { return Found::Nothing(ResponseCode::ServFail) };
    zone.settle(now);
    // DS belongs to the parent's side of the cut (RFC 4035 §2.4).
    if let Some(cut) = cut(zone, name).filter(|cut| cut != name || wanted != WireType::DS) {
        return refer(zone, ids, &cut);
    }
    let Some(owner) = owner(zone, name) else { return Found::Nothing(ResponseCode::NXDomain) };
    let sets = sets_at(zone, &owner);
    let Some(wire) = write_wire(name) else { return Found::Nothing(ResponseCode::ServFail) };
    let mut resolver = Resolver { zone, wire, ids };
    if let Some(cname) =
        sets.get(&RecordType::Cname).filter(|_| ![WireType::CNAME, WireType::ANY].contains(&wanted))
    {
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

/// The topmost name at or above this one, below the apex, with an NS set: where the zone ends (RFC 1034 §4.2.1).
fn cut(zone: &Zone, name: &DnsName) -> Option<DnsName> {
    let (mut at, mut cut) = (name.clone(), None);
    while at != zone.name {
        if sets_at(zone, &at).contains_key(&RecordType::Ns) {
            cut = Some(at.clone());
        }
        at = at.parent()?;
    }
    cut
}

/// The NS set of a cut, and what the zone holds of its servers' addresses.
fn refer(zone: &Zone, ids: &mut IdSource, cut: &DnsName) -> Found {
    let failed = || Found::Nothing(ResponseCode::ServFail);
    let Some(wire) = write_wire(cut) else { return failed() };
    let sets = sets_at(zone, cut);
    let Some(set) = sets.get(&RecordType::Ns) else { return failed() };
    let servers = Resolver { zone, wire, ids: &mut *ids }.resolve(RecordType::Ns, set, 0);
    let mut glue = Vec::new();
    for server in set.iter().flat_map(|set| &set.values) {
        let Some(server) = DnsName::parse(server).ok().filter(|name| name.is_in(&zone.name)) else {
            continue;
        };
        let Some(wire) = write_wire(&server) else { continue };
        let mut resolver = Resolver { zone, wire, ids: &mut *ids };
        let sets = sets_at(zone, &server);
        for rtype in [RecordType::A, RecordType::Aaaa] {
            glue.extend(sets.get(&rtype).into_iter().flat_map(|s| resolver.resolve(rtype, s, 0)));
        }
    }
    Found::Referral { servers, glue }
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
    let wildcard = encloser.wildcard()?;
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
        let read = |value: &arcstr::ArcStr| match rtype {
            RecordType::Ds => read_ds(value),
            _ => RData::try_from_str(wire_type(rtype), &absolute(rtype, value)).ok(),
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

fn soa(world: &EmulatorState, id: &ZoneId) -> Option<Record> {
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

/// RFC 4034 §5.1; the library reads DS only together with its signing.
fn read_ds(value: &str) -> Option<RData> {
    let fields: Vec<&str> = value.split_whitespace().collect();
    let [key_tag, algorithm, digest_type, digest] = fields.as_slice() else { return None };
    let mut octets = key_tag.parse::<u16>().ok()?.to_be_bytes().to_vec();
    octets.extend([algorithm.parse::<u8>().ok()?, digest_type.parse::<u8>().ok()?]);
    for pair in digest.as_bytes().chunks(2) {
        octets.push(u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?);
    }
    Some(RData::Unknown { code: WireType::DS, rdata: NULL::with(octets) })
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
