//! Applying a batch: the checks that need only the request, in the order in which Route 53 makes them, and then the
//! changes one after the other. Either all of them are applied or none.
//!
//! Route 53 tells all that is wrong with a batch in one list: first the rules that end in "No changes made.", then what does not
//! fit the zone's records, then the values, then the zone's own sets. A DELETE is checked like a CREATE.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arcstr::ArcStr;
use serde::{Deserialize, Serialize};

use super::config::{DeleteComparison, SetIdentifierInMessages, Switches, UpsertOrder};
use super::conflicts::{self, Placing};
use super::error::AwsError;
use super::messages::{self, Subject};
use super::names::read_name;
use super::places;
use super::request::{ChangeAction, RecordChange, known_type};
use super::values;
use super::zone::{Effect, SetKey, Zone};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::{RawRecordSet, RecordType};
use crate::core::ids::ZoneId;

const MAX_CHANGES: usize = 4_000;
const MAX_RECORDS: usize = 1_000;
const MAX_VALUE_CHARS: usize = 32_000;

/// A record set that is refused or protected, from a fault rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Barrier {
    pub name: DnsName,
    pub rtype: Option<RecordType>,
    pub message: String,
}

/// The rules for a batch, besides the zone itself.
pub(super) struct Rules<'a> {
    pub switches: &'a Switches,
    pub record_quota: u64,
    pub health_checks: Option<&'a [String]>,
    pub barriers: Vec<Barrier>,
}

/// One applied change, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppliedChange {
    /// The requested action. An UPSERT is a blind overwrite if there is a `before`.
    pub action: ChangeAction,
    /// The set before; `None` if there was none.
    pub before: Option<Arc<RawRecordSet>>,
    /// The set after; `None` if there is none.
    pub after: Option<Arc<RawRecordSet>>,
}

/// A change whose name and type were read.
struct Placed<'a> {
    change: &'a RecordChange,
    name: DnsName,
    rtype: RecordType,
    key: SetKey,
}

impl Placed<'_> {
    fn subject(&self) -> Subject<'_> {
        Subject {
            name: self.name.as_str(),
            rtype: self.rtype.as_str(),
            set_identifier: self.change.set.set_identifier.as_deref(),
        }
    }
}

/// Judges a batch and applies it to the zone's records, or leaves the zone as it was. The answer has the sets that changed,
/// in the order of the batch.
pub(super) fn apply(
    zone: &mut Zone,
    changes: &[RecordChange],
    rules: &Rules<'_>,
) -> Result<(Vec<AppliedChange>, Effect), AwsError> {
    for change in changes {
        check_shape(change)?;
    }
    let placed = changes.iter().map(place).collect::<Result<Vec<_>, _>>()?;
    let mut told = limits(&placed);
    if !told.is_empty() {
        return Err(AwsError::invalid_batch(&told));
    }
    told = placed.iter().flat_map(rules_of_policies).collect();
    let values: Vec<Vec<String>> =
        placed.iter().map(|placed| value_faults(placed, rules)).collect();
    let misplaced = misplaced(zone, &placed, rules);
    if !misplaced.is_empty() {
        told.extend(misplaced);
        told.extend(values.into_iter().flatten());
        return Err(AwsError::invalid_batch(&told));
    }
    if told.is_empty() && values.iter().all(Vec::is_empty) {
        check_health_checks(&placed, rules)?;
    }
    let mut run = Run { zone, undo: Vec::new(), messages: told };
    let applied = run.all(&placed, &values, rules);
    if run.messages.is_empty() {
        let touched: BTreeSet<SetKey> = run.undo.into_iter().map(|(key, _)| key).collect();
        let effect =
            touched.into_iter().map(|key| (key.clone(), zone.records.get(&key).cloned())).collect();
        return Ok((applied, effect));
    }
    let error = AwsError::invalid_batch(&run.messages);
    run.roll_back();
    Err(error)
}

/// Checks that a change has one of the alternatives (`InvalidInput`); the first fault ends it.
fn check_shape(change: &RecordChange) -> Result<(), AwsError> {
    let set = &change.set;
    let tail = || {
        messages::in_change(
            change.action.as_str(),
            &set.name,
            &set.rtype,
            set.set_identifier.as_deref(),
        )
    };
    let has_ttl = set.ttl_secs.is_some();
    let has_values = !set.values.is_empty();
    let others =
        usize::from(set.alias.is_some()) + usize::from(set.traffic_policy_instance_id.is_some());
    let found = match others {
        0 if has_ttl && has_values => None,
        0 => Some("none"),
        1 if !has_ttl && !has_values => None,
        _ => Some("more than one"),
    };
    if let Some(found) = found {
        return Err(AwsError::invalid_input(messages::wrong_content(found, &tail())));
    }
    let policies = [
        set.weight.is_some(),
        set.region.is_some(),
        set.failover.is_some(),
        set.geolocation.is_some(),
        // `false` counts as well: the element is there.
        set.multivalue_answer.is_some(),
        set.cidr.is_some(),
        set.geoproximity.is_some(),
    ];
    let policies = policies.into_iter().filter(|there| *there).count();
    match (set.set_identifier.is_some(), policies) {
        (false, 0) | (true, 1) => Ok(()),
        (false, _) => Err(AwsError::invalid_input(messages::missing_set_identifier(&tail()))),
        (true, 0) => Err(AwsError::invalid_input(messages::wrong_policy("none", &tail()))),
        (true, _) => Err(AwsError::invalid_input(messages::wrong_policy("more than one", &tail()))),
    }?;
    let Some(place) = &set.geoproximity else { return Ok(()) };
    let places = usize::from(place.aws_region.is_some())
        + usize::from(place.local_zone_group.is_some())
        + usize::from(place.coordinates.is_some());
    let found = match places {
        1 => return Ok(()),
        0 => "none",
        _ => "more than one",
    };
    Err(AwsError::invalid_input(messages::wrong_geoproximity(found, &tail())))
}

/// Reads the owner name; the first fault ends it, without brackets.
fn place(change: &RecordChange) -> Result<Placed<'_>, AwsError> {
    let name = read_name(&change.set.name)
        .map_err(|message| AwsError::sender(400, "InvalidChangeBatch", message))?;
    let rtype = known_type(&change.set)?;
    let key = SetKey::new(&name, rtype, change.set.set_identifier.clone());
    Ok(Placed { change, name, rtype, key })
}

/// Reports changes that are duplicate, outside of the zone or protected; the records are not checked then.
fn misplaced(zone: &Zone, placed: &[Placed<'_>], rules: &Rules<'_>) -> Vec<String> {
    let mut messages = Vec::new();
    let mut seen: BTreeMap<(&SetKey, bool), usize> = BTreeMap::new();
    for placed in placed {
        let of = placed.subject();
        let count =
            seen.entry((&placed.key, placed.change.action == ChangeAction::Delete)).or_default();
        *count += 1;
        if *count == 2 {
            messages.push(messages::duplicate_in_batch(of.rtype, of.name));
        }
        if !placed.name.is_in(&zone.name) {
            messages.push(messages::outside_zone(of.name, zone.name.as_str()));
        }
        let barriers = rules.barriers.iter();
        let stopped = barriers.filter(|barrier| {
            barrier.name == placed.name && barrier.rtype.is_none_or(|rtype| rtype == placed.rtype)
        });
        messages.extend(stopped.map(|barrier| barrier.message.clone()));
    }
    messages
}

fn limits(placed: &[Placed<'_>]) -> Vec<String> {
    let mut messages = Vec::new();
    let weighed = |count: fn(&RawRecordSet) -> usize| -> usize {
        let twice =
            |placed: &Placed<'_>| if placed.change.action == ChangeAction::Upsert { 2 } else { 1 };
        placed.iter().map(|placed| twice(placed) * count(&placed.change.set)).sum()
    };
    if placed.len() > MAX_CHANGES {
        messages.push(messages::too_many_changes(MAX_CHANGES));
    }
    if weighed(|set| set.values.len()) > MAX_RECORDS {
        messages.push(messages::too_many_records(MAX_RECORDS));
    }
    if weighed(RawRecordSet::value_chars) > MAX_VALUE_CHARS {
        messages.push(messages::too_many_characters(MAX_VALUE_CHARS));
    }
    messages
}

/// The rules whose sentences end in "No changes made.".
fn rules_of_policies(placed: &Placed<'_>) -> Vec<String> {
    let set = &placed.change.set;
    let mut messages = Vec::new();
    if placed.rtype == RecordType::Ns && placed.name.is_wildcard() {
        messages.push(messages::WILDCARD_NS.to_owned());
    }
    if let Some(place) = set.geolocation.as_ref().filter(|place| !places::is_location(place)) {
        messages.push(messages::unknown_location(&places::words(place)));
    }
    if let Some(region) = set.region.as_ref().filter(|region| !places::is_region(region)) {
        messages.push(messages::unknown_region(region));
    }
    if let Some(place) = &set.geoproximity {
        if let Some(region) = place.aws_region.as_ref().filter(|text| !places::is_region(text)) {
            messages.push(messages::unknown_geoproximity("AWSRegion", region));
        }
        let group = place.local_zone_group.as_ref();
        if let Some(group) = group.filter(|group| !places::is_zone_group(group)) {
            messages.push(messages::unknown_geoproximity("LocalZoneGroup", group));
        }
    }
    if set.multivalue_answer.is_some() && set.alias.is_some() {
        messages.push(messages::MULTIVALUE_ALIAS.to_owned());
    }
    let has_health_check = set.health_check_id.is_some();
    if has_health_check && conflicts::policy_word(set).is_none() {
        messages.push(messages::HEALTH_CHECK_WITHOUT_POLICY.to_owned());
    }
    if set.failover.as_deref() == Some("PRIMARY") && set.alias.is_none() && !has_health_check {
        messages.push(messages::PRIMARY_WITHOUT_HEALTH_CHECK.to_owned());
    }
    messages
}

/// Reports faults of the values and the alias target's name.
fn value_faults(placed: &Placed<'_>, rules: &Rules<'_>) -> Vec<String> {
    let set = &placed.change.set;
    let mut messages = Vec::new();
    if set.values.len() > rules.switches.max_records_per_set {
        messages.push(messages::too_many_records_in_set(rules.switches.max_records_per_set));
    }
    let mut values = BTreeSet::new();
    for value in &set.values {
        if let Err(message) = values::check(placed.rtype, value) {
            messages.push(message);
        }
        if !values.insert(value) {
            messages.push(messages::duplicate_value(value));
        }
    }
    if let Some(Err(message)) = set.alias.as_ref().map(|alias| read_name(&alias.name)) {
        messages.push(message);
    }
    messages
}

fn check_health_checks(placed: &[Placed<'_>], rules: &Rules<'_>) -> Result<(), AwsError> {
    let Some(known) = rules.health_checks else { return Ok(()) };
    let puts = placed.iter().filter(|placed| placed.change.action != ChangeAction::Delete);
    for id in puts.filter_map(|placed| placed.change.set.health_check_id.as_ref()) {
        if !known.iter().any(|known| known == id.as_str()) {
            return Err(AwsError::sender(
                404,
                "NoSuchHealthCheck",
                messages::no_such_health_check(id),
            ));
        }
    }
    Ok(())
}

/// A batch being applied, with what it takes to undo it.
struct Run<'z> {
    zone: &'z mut Zone,
    undo: Effect,
    messages: Vec<String>,
}

impl Run<'_> {
    /// `values` holds the faults of each change's values; they are reported after conflicts with the zone's records.
    fn all(
        &mut self,
        placed: &[Placed<'_>],
        values: &[Vec<String>],
        rules: &Rules<'_>,
    ) -> Vec<AppliedChange> {
        let mut replaced: BTreeMap<&SetKey, Arc<RawRecordSet>> = BTreeMap::new();
        if rules.switches.upsert_order == UpsertOrder::DeletedFirst {
            for placed in
                placed.iter().filter(|placed| placed.change.action == ChangeAction::Upsert)
            {
                if let Some(old) = self.set(&placed.key, None) {
                    replaced.insert(&placed.key, old);
                }
            }
        }
        let applied = placed
            .iter()
            .zip(values)
            .filter_map(|(placed, faults)| {
                self.one(placed, faults.is_empty(), rules, replaced.remove(&placed.key))
            })
            .collect();
        self.messages.extend(values.iter().flatten().cloned());
        self.check_apex();
        applied
    }

    fn one(
        &mut self,
        placed: &Placed<'_>,
        is_readable: bool,
        rules: &Rules<'_>,
        replaced: Option<Arc<RawRecordSet>>,
    ) -> Option<AppliedChange> {
        let action = placed.change.action;
        if action == ChangeAction::Delete {
            let before = self.delete(placed, rules)?;
            return Some(AppliedChange { action, before: Some(before), after: None });
        }
        let mut before = replaced;
        if action == ChangeAction::Upsert {
            before = before.or_else(|| self.set(&placed.key, None));
        } else if self.zone.records.contains_key(&placed.key) {
            self.messages.push(messages::already_exists(&naming(placed.subject(), rules)));
            return None;
        }
        if !is_readable {
            return None;
        }
        let stored = stored_form(placed);
        let mut found = conflicts::find(&Placing {
            zone: self.zone,
            name: &placed.name,
            rtype: placed.rtype,
            of: placed.subject(),
            set: &stored,
        });
        if self.zone.records.len() as u64 >= rules.record_quota {
            found.push(messages::zone_full(&self.zone.id));
        }
        if !found.is_empty() {
            self.messages.append(&mut found);
            return None;
        }
        let after = Arc::new(stored);
        self.set(&placed.key, Some(after.clone()));
        Some(AppliedChange { action, before, after: Some(after) })
    }

    fn delete(&mut self, placed: &Placed<'_>, rules: &Rules<'_>) -> Option<Arc<RawRecordSet>> {
        let Some(current) = self.zone.records.get(&placed.key) else {
            self.messages.push(messages::not_found(&naming(placed.subject(), rules)));
            self.messages.extend(conflicts::find_without_others(&Placing {
                zone: self.zone,
                name: &placed.name,
                rtype: placed.rtype,
                of: placed.subject(),
                set: &stored_form(placed),
            }));
            return None;
        };
        if !same_content(
            current,
            &stored_form(placed),
            placed.rtype,
            rules.switches.delete_comparison,
        ) {
            self.messages.push(messages::values_differ(&naming(placed.subject(), rules)));
            return None;
        }
        self.set(&placed.key, None)
    }

    /// Puts or removes a set and answers the old one.
    fn set(&mut self, key: &SetKey, set: Option<Arc<RawRecordSet>>) -> Option<Arc<RawRecordSet>> {
        let old = match set {
            Some(set) => self.zone.records.insert(key.clone(), set),
            None => self.zone.records.remove(key),
        };
        self.undo.push((key.clone(), old.clone()));
        old
    }

    /// The apex keeps its SOA and NS, seen at the end of the batch, so that they can be replaced.
    fn check_apex(&mut self) {
        for (rtype, message) in
            [(RecordType::Soa, messages::ONE_SOA), (RecordType::Ns, messages::APEX_NS)]
        {
            if !self.zone.records.contains_key(&SetKey::new(&self.zone.name, rtype, None)) {
                self.messages.push(message.to_owned());
            }
        }
    }

    fn roll_back(self) {
        for (key, old) in self.undo.into_iter().rev() {
            match old {
                Some(set) => self.zone.records.insert(key, set),
                None => self.zone.records.remove(&key),
            };
        }
    }
}

fn naming<'a>(of: Subject<'a>, rules: &Rules<'_>) -> Subject<'a> {
    match rules.switches.set_identifier_in_messages {
        SetIdentifierInMessages::Named => of,
        SetIdentifierInMessages::Omitted => Subject { set_identifier: None, ..of },
    }
}

/// The set as Route 53 keeps it: names canonical, the alias's zone id bare, values as sent.
fn stored_form(placed: &Placed<'_>) -> RawRecordSet {
    let mut set = placed.change.set.clone();
    set.name = placed.name.as_str().into();
    if let Some(alias) = &mut set.alias {
        if let Ok(name) = DnsName::parse(&alias.name) {
            alias.name = name.as_str().into();
        }
        if let Ok(id) = ZoneId::from_wire(&alias.zone_id) {
            alias.zone_id = id.as_str().into();
        }
    }
    set
}

fn same_content(
    current: &RawRecordSet,
    given: &RawRecordSet,
    rtype: RecordType,
    comparison: DeleteComparison,
) -> bool {
    let spelling = |value: &ArcStr| match (comparison, rtype) {
        (DeleteComparison::Lenient, RecordType::Txt | RecordType::Spf)
        | (DeleteComparison::Exact, _) => value.to_string(),
        (DeleteComparison::Lenient, _) => value.trim_end_matches('.').to_ascii_lowercase(),
    };
    let sorted = |set: &RawRecordSet| {
        let mut values: Vec<String> = set.values.iter().map(spelling).collect();
        values.sort();
        values
    };
    if sorted(current) != sorted(given) {
        return false;
    }
    let bare = |set: &RawRecordSet| RawRecordSet { values: Vec::new(), ..set.clone() };
    bare(current) == bare(given)
}
