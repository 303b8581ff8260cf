//! 15: The last answer of a name that clusters share is taken away by nobody but people: a batch of ours that leaves it without any is
//! a fault. And when inputs stop, the name has the shares that its rule makes of the stored endpoints.
//!
//! The shares are read by rules of the oracle's own, smaller than the broker's: each cluster has one endpoint at most at such a name.

use std::collections::{BTreeMap, BTreeSet};

use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::{RawRecordSet, RecordKey, RecordType};
use zonefold::core::endpoint::verdict::VerdictState;
use zonefold::core::governance::rule::Sharing;
use zonefold::core::governance::rule::sharing::{FailoverMode, SharingPolicy};
use zonefold::core::ids::{BatchId, ClusterId, ZoneId};
use zonefold::core::invariants::Invariant;
use zonefold::core::time::Timestamp;
use zonefold::emulator::JournalEntry;

use super::attributable::batch_of;
use super::history::{Commit, History, StoredEndpoint, Told, What, Zone, region_of};
use super::owners::{Owner, Owners, is_ours, net_changes};
use super::{Violation, model, placing};

/// Whether a rule of the run says at some time that clusters share a name of a zone.
pub fn is_ever_shared(history: &History, zone: &ZoneId, name: &DnsName) -> bool {
    let Some(zone) = history.world.zones.iter().find(|it| it.id == *zone) else { return false };
    history.log.iter().any(|event| match &event.what {
        What::Told(Told::Shared { apex, sharing, .. }) => {
            *apex == zone.apex && sharing.names.iter().any(|pattern| pattern.matches(name))
        }
        _ => false,
    })
}

/// The policies under which a name of a zone may have been between two places in the log; `None` among them before there was a rule.
pub fn policies(
    history: &History,
    zone: &ZoneId,
    name: &DnsName,
    from: usize,
    to: usize,
) -> Vec<Option<SharingPolicy>> {
    if !is_ever_shared(history, zone, name) {
        return vec![None];
    }
    let (mut before, mut within) = (vec![None], vec![]);
    for (place, event) in history.log.iter().enumerate().take(to + 1) {
        let What::Told(Told::Shared { sharing, is_accepted, .. }) = &event.what else { continue };
        let policy = Some(sharing.policy);
        if place > from {
            within.push(policy);
        } else if *is_accepted {
            before = vec![policy];
        } else {
            before.push(policy);
        }
    }
    before.into_iter().chain(within).collect()
}

/// Looks at each batch, and at the end.
pub fn judge(history: &History) -> Vec<Violation> {
    let is_told = |what: &What| matches!(what, What::Told(Told::Shared { .. }));
    if !history.log.iter().any(|event| is_told(&event.what)) {
        return vec![];
    }
    let mut reading = Reading {
        history,
        owners: Owners::default(),
        present: BTreeMap::new(),
        rule: None,
        stays: false,
        begun: BTreeMap::new(),
        violations: vec![],
    };
    for event in &history.log {
        reading.read(&event.what, event.at);
    }
    let Reading { rule, mut violations, .. } = reading;
    let is_quiet = history.log.iter().any(|event| matches!(event.what, What::Quiet));
    if let Some(rule) = rule.filter(|_| is_quiet) {
        violations.extend(at_the_end(history, rule));
    }
    violations
}

struct Reading<'a> {
    history: &'a History,
    owners: Owners,
    /// The record sets with answers that are there, by zone and name.
    present: BTreeMap<(ZoneId, DnsName), BTreeSet<RecordKey>>,
    /// The rule as it was accepted last.
    rule: Option<&'a Sharing>,
    /// Whether a shared policy holds at every replica, and no other one was asked for since.
    stays: bool,
    /// The batches that were begun under such a rule and have no end in the journal.
    begun: BTreeMap<BatchId, bool>,
    violations: Vec<Violation>,
}

impl<'a> Reading<'a> {
    fn read(&mut self, what: &'a What, at: Timestamp) {
        match what {
            What::Told(Told::Shared { sharing, is_accepted, .. }) => {
                let is_shared = sharing.policy != SharingPolicy::Exclusive;
                // What was asked for may count before anybody is told so.
                self.stays = is_shared && (*is_accepted || self.stays);
                if *is_accepted {
                    self.rule = Some(sharing);
                }
            }
            What::Committed { commit: Commit::BatchBegun(batch), .. } => {
                self.begun.insert(batch.id, self.stays);
            }
            What::Committed { commit: Commit::BatchFinished { batch, .. }, .. } => {
                // One that AWS carries out after that is late: others were decided on meanwhile.
                self.begun.remove(batch);
            }
            What::Applied { entry, .. } => self.applied(entry, at),
            _ => {}
        }
    }

    fn applied(&mut self, entry: &JournalEntry, at: Timestamp) {
        let mut emptied = BTreeSet::new();
        for change in net_changes(entry) {
            if !answers(change.key.rtype) {
                continue;
            }
            let place = (entry.zone.clone(), change.key.name.clone());
            let present = self.present.entry(place).or_default();
            let had = !present.is_empty();
            match change.after {
                Some(_) => drop(present.insert(change.key.clone())),
                None => drop(present.remove(&change.key)),
            }
            if had {
                emptied.insert(change.key.name);
            }
        }
        emptied.retain(|name| {
            self.present.get(&(entry.zone.clone(), name.clone())).is_none_or(BTreeSet::is_empty)
        });
        // What others took away before, or changed, is no part of what the broker believed to be there.
        let is_disturbed = |name: &DnsName| {
            let mut sets = self.owners.at(&entry.zone, name);
            sets.any(|(_, owner)| owner != Owner::Us)
        };
        let stays = batch_of(entry).and_then(|batch| self.begun.get(&batch).copied());
        if is_ours(entry) && stays == Some(true) && self.stays {
            let shared = emptied.iter().filter(|name| {
                is_ever_shared(self.history, &entry.zone, name) && !is_disturbed(name)
            });
            for name in shared {
                let what = format!(
                    "{name} is shared, and its last answer went with batch {:?}",
                    entry.comment.as_deref().unwrap_or_default()
                );
                let violation = Violation::new(Invariant::SharedNamesAnswer, at, what);
                self.violations.push(violation.about(name));
            }
        }
        self.owners.apply(entry);
    }
}

fn answers(rtype: RecordType) -> bool {
    !matches!(rtype, RecordType::Txt | RecordType::Caa | RecordType::Soa | RecordType::Ns)
}

/// A share: what tells its policy, the TTL, and the values.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Share {
    policy: String,
    ttl_secs: Option<i64>,
    values: BTreeSet<String>,
}

fn share_of(set: &RawRecordSet) -> Share {
    let policy = match (set.weight, &set.region, &set.failover, set.multivalue_answer) {
        (Some(weight), ..) => format!("weight {weight}"),
        (_, Some(region), ..) => format!("region {region}"),
        (_, _, Some(role), _) => format!("failover {role}"),
        (.., Some(_)) => "multivalue".to_owned(),
        _ => String::new(),
    };
    Share { policy, ttl_secs: set.ttl_secs, values: model::values_of(set) }
}

/// The shares of each name that is shared, against what Route 53 holds.
fn at_the_end(history: &History, rule: &Sharing) -> Vec<Violation> {
    let owners = Owners::at_the_end(history);
    let placed = placing::at_the_end(history);
    let mut violations = vec![];
    let of_rule = history.world.zones.iter().filter(|zone| zone.apex == rule.zone);
    for zone in of_rule.filter(|_| rule.policy != SharingPolicy::Exclusive) {
        for pattern in &rule.names {
            let name = pattern.base();
            let rows = history.end.endpoints.iter().filter(|row| {
                DnsName::parse(&row.endpoint.key.dns_name).is_ok_and(|wanted| wanted == *name)
            });
            let mut rows: Vec<&StoredEndpoint> = rows.collect();
            rows.sort_by_key(|row| row.arrival);
            let clusters: BTreeSet<&ClusterId> = rows.iter().map(|row| &row.cluster).collect();
            let is_plain = |row: &&StoredEndpoint| {
                let at = placed.get(&(row.cluster.clone(), row.endpoint.key.clone()));
                let is_here = at.is_some_and(|at| {
                    at.is_decided && at.known().is_some_and(|zones| zones.contains(&zone.id))
                });
                is_here
                    && row.withheld.is_none()
                    && !history.end.unregistered.contains(&row.cluster)
                    && model::wish(&row.endpoint).is_some()
            };
            if clusters.len() != rows.len()
                || !rows.iter().all(is_plain)
                || history.end.poisoned.contains(name)
                || model::is_below_any(name, &history.world.shifting)
                || !model::is_undisturbed(history, &owners, &zone.id, name)
            {
                continue;
            }
            let one = Name { history, zone, name, rule };
            violations.extend(one.judge(&rows));
        }
    }
    violations
}

struct Name<'a> {
    history: &'a History,
    zone: &'a Zone,
    name: &'a DnsName,
    rule: &'a Sharing,
}

impl Name<'_> {
    fn judge(&self, rows: &[&StoredEndpoint]) -> Vec<Violation> {
        let found = |what: String| {
            Violation::new(Invariant::SharedNamesAnswer, self.history.end.at, what).about(self.name)
        };
        let (wanted, accepted) = self.expect(rows);
        let mut violations = vec![];
        for row in rows {
            let is = row.verdict.map(|(state, _)| state);
            let should_be = match accepted.contains(&row.cluster) {
                true => VerdictState::Accepted,
                false => VerdictState::Waiting,
            };
            if is != Some(should_be) {
                let (key, cluster) = (&row.endpoint.key, &row.cluster);
                violations.push(found(format!(
                    "{key} of {cluster} is {is:?} and should be {should_be:?}"
                )));
            }
        }
        let held = self.history.end.zones.get(&self.zone.id).into_iter().flatten();
        let held: BTreeMap<model::SetKey, Share> = held
            .filter_map(|set| Some((set.key().ok()?, set)))
            .filter(|(key, _)| key.name == *self.name)
            .map(|(key, set)| (model::set_key(&key), share_of(set)))
            .collect();
        for (key, share) in &wanted {
            if held.get(key) != Some(share) {
                let is = held.get(key);
                violations.push(found(format!(
                    "{} {key:?} is {is:?}, and its share is {share:?}",
                    self.name
                )));
            }
        }
        // Without any share what was there last stays; and what a waiting endpoint made, where nothing else needs its place.
        let is_kept = |(_, identifier): &model::SetKey| {
            let takes_turns =
                self.rule.failover.as_ref().is_some_and(|it| it.mode == FailoverMode::Manual);
            let waiting = rows.iter().filter(|row| !accepted.contains(&row.cluster));
            !takes_turns
                && waiting
                    .map(|row| (row.cluster.as_str(), row.endpoint.key.set_identifier.as_str()))
                    .any(|(cluster, own)| {
                        identifier.as_deref().is_none_or(|it| it == cluster || it == own)
                    })
        };
        for (key, share) in held.iter().filter(|(key, _)| !wanted.contains_key(*key)) {
            if !wanted.is_empty() && !is_kept(key) {
                violations.push(found(format!(
                    "{} {key:?} is {share:?}, and is nobody's share",
                    self.name
                )));
            }
        }
        violations
    }

    /// The shares, and the clusters that have one.
    fn expect(
        &self,
        rows: &[&StoredEndpoint],
    ) -> (BTreeMap<model::SetKey, Share>, BTreeSet<ClusterId>) {
        let claims = &self.history.end.claims;
        let holder = claims.get(&(self.zone.id.clone(), self.name.clone()));
        let mut order: Vec<&&StoredEndpoint> = rows.iter().collect();
        order.sort_by_key(|row| (Some(&row.cluster) != holder, row.arrival));
        let mut wanted: BTreeMap<model::SetKey, Share> = BTreeMap::new();
        let mut accepted = BTreeSet::new();
        for row in order {
            let Some((key, share)) = self.share(row) else { continue };
            let is_cname = |key: &model::SetKey| key.0 == RecordType::Cname;
            let is_hindered = wanted.iter().any(|(other, there)| {
                let is_place =
                    share.policy.starts_with("region") || share.policy.starts_with("failover");
                is_cname(other) != is_cname(&key)
                    || (is_place && other.0 == key.0 && there.policy == share.policy)
            });
            let adds_up = share.policy.is_empty();
            match wanted.get_mut(&key) {
                _ if is_hindered => continue,
                None => drop(wanted.insert(key, share)),
                Some(there) if adds_up && !is_cname(&key) => there.values.extend(share.values),
                Some(there) if adds_up && there.values == share.values => {}
                Some(_) => continue,
            }
            accepted.insert(row.cluster.clone());
        }
        // One TTL for all, the lowest.
        let ttl = |row: &&StoredEndpoint| {
            let (key, share) = self.share(row)?;
            accepted.contains(&row.cluster).then_some((key.0, share.ttl_secs?))
        };
        let mut lowest: BTreeMap<RecordType, i64> = BTreeMap::new();
        for (rtype, ttl_secs) in rows.iter().filter_map(ttl) {
            let there = lowest.entry(rtype).or_insert(ttl_secs);
            *there = ttl_secs.min(*there);
        }
        for ((rtype, _), share) in &mut wanted {
            share.ttl_secs = lowest.get(rtype).copied();
        }
        (wanted, accepted)
    }

    /// The share of an endpoint if it had the name alone; `None` if it has none by the rule.
    fn share(&self, row: &StoredEndpoint) -> Option<(model::SetKey, Share)> {
        let wish = model::wish(&row.endpoint)?;
        let cluster = &row.cluster;
        let own = wish.policy.kind;
        let (kind, policy) = match self.rule.policy {
            SharingPolicy::Merge | SharingPolicy::Exclusive => ("", String::new()),
            SharingPolicy::Multivalue => ("multivalue", "multivalue".to_owned()),
            SharingPolicy::Weighted => {
                let given = self.rule.weights.get(cluster).map(ToString::to_string);
                let own = (own == "weight").then(|| wish.policy.value.clone());
                ("weight", format!("weight {}", given.or(own).unwrap_or_else(|| "1".to_owned())))
            }
            SharingPolicy::Latency => {
                ("region", format!("region {}", region_of(cluster.as_str())?))
            }
            SharingPolicy::Failover => {
                let pair = self.rule.failover.as_ref()?;
                let is_primary = *cluster == pair.primary;
                if !is_primary && *cluster != pair.secondary {
                    return None;
                }
                match pair.mode {
                    FailoverMode::Manual if cluster == pair.active() => ("", String::new()),
                    FailoverMode::Manual => return None,
                    FailoverMode::Route53 if is_primary => {
                        ("failover", "failover PRIMARY".to_owned())
                    }
                    FailoverMode::Route53 => ("failover", "failover SECONDARY".to_owned()),
                }
            }
        };
        if !own.is_empty() && own != kind {
            return None;
        }
        let rtype = *wish.rtypes.first()?;
        if kind == "multivalue" && rtype == RecordType::Cname {
            return None;
        }
        let identifier = wish.set_identifier.clone().or_else(|| Some(cluster.to_string()));
        let key = (rtype, identifier.filter(|_| !kind.is_empty()));
        let ttl_secs = Some(wish.ttl_secs.unwrap_or(i64::from(self.zone.default_ttl_secs)));
        Some((key, Share { policy, ttl_secs, values: wish.values_in(&self.zone.id) }))
    }
}
