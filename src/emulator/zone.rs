//! A hosted zone's record sets, in list order, and those that the name servers have seen already.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use arcstr::ArcStr;
use serde::{Deserialize, Serialize};

use super::request::Vpc;
use crate::core::dns::name::DnsName;
use crate::core::dns::record::{RawRecordSet, RecordType};
use crate::core::ids::{AccountId, ZoneId};
use crate::core::time::Timestamp;

/// The key of a record set, in Route 53's list order: the labels reversed with their dots, on the escaped text, then type, then
/// set identifier. The reversed text is kept so that a comparison is one of bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SetKey {
    reversed: ArcStr,
    pub rtype: RecordType,
    pub set_identifier: Option<ArcStr>,
}

/// The sort text of a name.
pub(super) fn reversed(name: &DnsName) -> ArcStr {
    let mut text = String::with_capacity(name.as_str().len());
    for label in name.labels().rev() {
        text.push_str(label);
        text.push('.');
    }
    text.into()
}

impl SetKey {
    /// Of the set with this name, type and set identifier.
    pub fn new(name: &DnsName, rtype: RecordType, set_identifier: Option<ArcStr>) -> Self {
        Self { reversed: reversed(name), rtype, set_identifier }
    }

    fn first_of(reversed: ArcStr) -> Self {
        Self { reversed, rtype: RecordType::A, set_identifier: None }
    }
}

/// The record sets of a zone.
pub(super) type Records = BTreeMap<SetKey, Arc<RawRecordSet>>;

/// All sets of one owner name.
pub(super) fn at_name(
    records: &Records,
    name: ArcStr,
) -> impl Iterator<Item = (&SetKey, &Arc<RawRecordSet>)> {
    records.range(SetKey::first_of(name.clone())..).take_while(move |(key, _)| key.reversed == name)
}

/// Whether a name or one below it holds a set (RFC 4592 §2.2.2: such a name exists, though it may hold nothing itself).
pub(super) fn exists(records: &Records, name: &DnsName) -> bool {
    let reversed = reversed(name);
    records
        .range(SetKey::first_of(reversed.clone())..)
        .next()
        .is_some_and(|(key, _)| key.reversed.starts_with(reversed.as_str()))
}

/// A hosted zone.
#[derive(Clone, Debug)]
pub(super) struct Zone {
    pub id: ZoneId,
    pub account: AccountId,
    pub name: DnsName,
    pub caller_reference: String,
    pub comment: Option<String>,
    pub private: bool,
    pub vpc: Option<Vpc>,
    pub name_servers: Vec<String>,
    pub tags: BTreeMap<String, String>,
    pub records: Records,
    /// Until when another change is answered with PriorRequestNotComplete.
    pub busy_until: Timestamp,
    /// Rises with every batch.
    pub version: u64,
    /// The sets that the name servers answer with.
    propagated: Records,
    /// Changes that they have not seen yet, in order.
    propagating: VecDeque<Propagation>,
}

/// Sets by their key; `None` if absent.
pub(super) type Effect = Vec<(SetKey, Option<Arc<RawRecordSet>>)>;

/// The effect of one batch on its way to the name servers.
#[derive(Clone, Debug)]
struct Propagation {
    due: Timestamp,
    sets: Effect,
}

/// Everything of a zone that a snapshot keeps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ZoneSnapshot {
    pub id: ZoneId,
    pub account: AccountId,
    pub name: DnsName,
    pub caller_reference: String,
    pub comment: Option<String>,
    pub private: bool,
    pub vpc: Option<Vpc>,
    pub name_servers: Vec<String>,
    pub tags: BTreeMap<String, String>,
    pub version: u64,
    pub records: Vec<RawRecordSet>,
}

impl Zone {
    /// A zone with its SOA and NS sets, seen by its name servers at once.
    pub fn new(id: ZoneId, account: AccountId, name: DnsName, name_servers: Vec<String>) -> Self {
        let mut zone = Self {
            id,
            account,
            name,
            caller_reference: String::new(),
            comment: None,
            private: false,
            vpc: None,
            name_servers,
            tags: BTreeMap::new(),
            records: Records::new(),
            busy_until: Timestamp::default(),
            version: 0,
            propagated: Records::new(),
            propagating: VecDeque::new(),
        };
        let servers: Vec<ArcStr> =
            zone.name_servers.iter().map(|server| ArcStr::from(format!("{server}."))).collect();
        let start = servers.first().cloned().unwrap_or_default();
        let soa = format!("{start} awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400");
        zone.put_apex(RecordType::Ns, 172_800, servers);
        zone.put_apex(RecordType::Soa, 900, vec![soa.into()]);
        zone.propagated = zone.records.clone();
        zone
    }

    fn put_apex(&mut self, rtype: RecordType, ttl_secs: i64, values: Vec<ArcStr>) {
        let set = RawRecordSet {
            name: self.name.as_str().into(),
            rtype: rtype.as_str().into(),
            ttl_secs: Some(ttl_secs),
            values,
            ..RawRecordSet::default()
        };
        self.records.insert(SetKey::new(&self.name, rtype, None), Arc::new(set));
    }

    /// Whether the zone holds more than its own SOA and NS.
    pub fn holds_records(&self) -> bool {
        self.records.len() > 2
    }

    /// Up to `limit` sets from a key on, and the first one after them.
    pub fn page(
        &self,
        from: Option<&SetKey>,
        limit: usize,
    ) -> (Vec<Arc<RawRecordSet>>, Option<Arc<RawRecordSet>>) {
        let start = from.map_or(Bound::Unbounded, Bound::Included);
        let mut sets = self.records.range((start, Bound::Unbounded)).map(|(_, set)| set.clone());
        let page = sets.by_ref().take(limit).collect();
        (page, sets.next())
    }

    /// Sends the effect of a batch to the name servers.
    pub fn propagate(&mut self, sets: Effect, due: Timestamp) {
        self.propagating.push_back(Propagation { due, sets });
    }

    /// Lets the name servers see what they should have seen by now.
    pub fn settle(&mut self, now: Timestamp) {
        while self.propagating.front().is_some_and(|batch| batch.due <= now) {
            for (key, set) in
                self.propagating.pop_front().map(|batch| batch.sets).unwrap_or_default()
            {
                match set {
                    Some(set) => self.propagated.insert(key, set),
                    None => self.propagated.remove(&key),
                };
            }
        }
    }

    /// The sets that the name servers answer with, as of the last [`Zone::settle`].
    pub fn propagated(&self) -> &Records {
        &self.propagated
    }

    /// For a snapshot.
    pub fn save(&self) -> ZoneSnapshot {
        ZoneSnapshot {
            id: self.id.clone(),
            account: self.account.clone(),
            name: self.name.clone(),
            caller_reference: self.caller_reference.clone(),
            comment: self.comment.clone(),
            private: self.private,
            vpc: self.vpc.clone(),
            name_servers: self.name_servers.clone(),
            tags: self.tags.clone(),
            version: self.version,
            records: self.records.values().map(|set| RawRecordSet::clone(set)).collect(),
        }
    }

    /// From a snapshot; whatever was propagating is propagated. A set that cannot be read is an error with its name.
    pub fn load(saved: ZoneSnapshot) -> Result<Self, String> {
        let mut zone = Self::new(saved.id, saved.account, saved.name, saved.name_servers);
        zone.caller_reference = saved.caller_reference;
        zone.comment = saved.comment;
        zone.private = saved.private;
        zone.vpc = saved.vpc;
        zone.tags = saved.tags;
        zone.version = saved.version;
        zone.records.clear();
        for set in saved.records {
            let name = DnsName::parse(&set.name).map_err(|error| error.to_string())?;
            let rtype = RecordType::parse(&set.rtype)
                .ok_or_else(|| format!("unknown type {}", set.rtype))?;
            zone.records
                .insert(SetKey::new(&name, rtype, set.set_identifier.clone()), Arc::new(set));
        }
        zone.propagated = zone.records.clone();
        Ok(zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zone_with(labels: &[String]) -> Zone {
        let mut zone = Zone::new(
            ZoneId::parse("Z1").unwrap(),
            AccountId::parse("111111111111").unwrap(),
            DnsName::parse("example.com").unwrap(),
            vec!["ns-1.example.net".to_owned()],
        );
        for (number, label) in labels.iter().enumerate() {
            let Ok(name) = DnsName::parse(&format!("{label}.example.com")) else { continue };
            let rtype = if number % 2 == 0 { RecordType::A } else { RecordType::Txt };
            let set_identifier =
                (number % 3 == 0).then(|| ArcStr::from(format!("set-{}", number % 5)));
            let set = RawRecordSet {
                name: name.as_str().into(),
                rtype: rtype.as_str().into(),
                set_identifier: set_identifier.clone(),
                ..RawRecordSet::default()
            };
            zone.records.insert(SetKey::new(&name, rtype, set_identifier), Arc::new(set));
        }
        zone
    }

    fn key_of(set: &RawRecordSet) -> SetKey {
        let rtype = RecordType::parse(&set.rtype).unwrap();
        SetKey::new(&DnsName::parse(&set.name).unwrap(), rtype, set.set_identifier.clone())
    }

    proptest! {
        #[test]
        fn pages_put_together_are_the_whole_zone_in_the_order_of_names(
            labels in proptest::collection::vec("[a-c0*_.@-]{1,5}", 0..60),
            size in 1usize..9,
        ) {
            let zone = zone_with(&labels);
            let mut listed = Vec::new();
            let mut from = None;
            loop {
                let (page, next) = zone.page(from.as_ref(), size);
                prop_assert!(page.len() <= size);
                listed.extend(page);
                match next {
                    Some(set) => from = Some(key_of(&set)),
                    None => break,
                }
            }
            let dumped: Vec<_> = zone.records.values().cloned().collect();
            prop_assert_eq!(&listed, &dumped);
            let in_order = listed.is_sorted_by_key(|set| {
                (DnsName::parse(&set.name).unwrap(), set.rtype.clone(), set.set_identifier.clone())
            });
            prop_assert!(in_order);
        }

        #[test]
        fn keys_sort_like_names(a in "[a-c0*_.-]{1,8}", b in "[a-c0*_.-]{1,8}") {
            if let (Ok(a), Ok(b)) = (DnsName::parse(&a), DnsName::parse(&b)) {
                let key = |name| SetKey::new(name, RecordType::A, None);
                prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
            }
        }
    }
}
