//! A name as it was: its record sets and its holder by the journal, its owner by the rules of that moment.

use std::sync::Arc;

use super::{Holder, Name, NameInZone, owner, shared_by};
use crate::api::ApiState;
use crate::api::changes::Change;
use crate::api::problem::ApiError;
use crate::api::records::Record;
use crate::api::sight::Sight;
use crate::api::values::{Time, ZoneReference};
use crate::broker::rules::keeper::rules_of;
use crate::core::dns::name::DnsName;
use crate::core::governance::snapshot::Governance;
use crate::core::time::Timestamp;
use crate::core::visibility::Visibility;
use crate::ports::{ChangeFilter, PastName};

/// How many changes are looked through for those that were made by then.
const LOOKED_THROUGH: u32 = 1_000;
/// How many of them are shown.
const LAST_CHANGES: usize = 20;

fn in_zone(past: PastName, name: &DnsName, rules: &Governance, at: Timestamp) -> NameInZone {
    let trouble = past.whole_since.filter(|since| at < *since).map(|since| {
        format!(
            "the journal of this account was cut: what was sent before {since} is known in part"
        )
    });
    NameInZone {
        owner: owner(rules, &past.apex, name),
        sharing: shared_by(rules, &past.apex, name),
        zone: ZoneReference {
            id: past.zone,
            name: past.apex,
            account: past.account,
            environment: past.environment,
            visibility: Visibility::of(past.private).to_string(),
        },
        trouble,
        holder: past.holder.map(|(cluster, since)| Holder { cluster, since: Some(Time(since)) }),
        contributions: vec![],
        desired: vec![],
        observed: past.records.iter().map(Record::past).collect(),
        pending: vec![],
        blocked: vec![],
        refused: vec![],
    }
}

fn told(name: &DnsName, at: Timestamp, zones: &[NameInZone], set: Option<u64>) -> String {
    let mut sentences = vec![];
    for zone in zones {
        let held = match &zone.holder {
            Some(holder) => {
                format!("{name} was held by {} in the zone {}", holder.cluster, zone.zone)
            }
            None => format!("No cluster held {name} in the zone {}", zone.zone),
        };
        let sets: Vec<String> = zone.observed.iter().map(|record| record.set.to_string()).collect();
        let there = match sets.is_empty() {
            true => "Zonefold had no record there".to_owned(),
            false => format!("Route 53 held {} by its last write", sets.join(", ")),
        };
        sentences.push(format!("At {at}, {held}. {there}."));
        sentences
            .extend(zone.trouble.as_ref().map(|trouble| format!("This is incomplete: {trouble}.")));
    }
    if zones.is_empty() {
        sentences.push(format!("At {at}, Zonefold knew of no record and no holder of {name}."));
    }
    sentences.extend(set.map(|number| format!("Set {number} of the rules counted then.")));
    sentences.join(" ")
}

/// A name at a moment. What clusters asked for then is not kept, and neither are record sets that Zonefold did not make.
pub(super) async fn get(
    state: &ApiState,
    sight: &Sight,
    name: DnsName,
    Time(at): Time,
) -> Result<Name, ApiError> {
    let store = &state.broker.store;
    let set = store.rules_at(at).await?;
    let number = set.as_ref().map(|set| set.number);
    let rules = set.as_ref().map(rules_of).transpose()?.unwrap_or_default();
    let now = Arc::clone(&state.broker.rules.borrow().governance);
    let clusters = now.clusters().clone();
    let rules =
        Governance::new(Arc::new(rules), clusters).numbered(number.unwrap_or_default()).at(at);
    let mut past = store.name_at(&name, at).await?;
    past.retain(|past| sight.of(&past.environment));
    let zones: Vec<NameInZone> =
        past.into_iter().map(|past| in_zone(past, &name, &rules, at)).collect();
    let filter =
        ChangeFilter { name: Some(name.clone()), limit: LOOKED_THROUGH, ..ChangeFilter::default() };
    let changes = store.changes(&filter).await?.into_iter().filter(|row| row.planned_at <= at);
    let changes = changes.map(Change::from);
    let seen = changes.filter(|change| sight.of_account(state, &change.account));
    let changes = seen.take(LAST_CHANGES).collect();
    let summary = told(&name, at, &zones, number);
    Ok(Name {
        name,
        at: Some(Time(at)),
        rules: number,
        summary,
        zones,
        unplaced: vec![],
        routes: vec![],
        changes,
        missing: vec![],
    })
}
