//! Puts the endpoints of one object together: typed as ExternalDNS types them, each key once, under limits that no object needs.
//!
//! The result does not depend on the order in which an object lists its addresses, nor on what it wanted before: addresses
//! win over host names, and of several host names the first in order counts.

use std::collections::{BTreeMap, BTreeSet};

use arcstr::ArcStr;

use super::annotations::{Annotations, VISIBILITY_PROPERTY};
use super::target::{comparable_name, is_address, record_type_of, reverse_name};
use super::{Extraction, ObjectRef, Pending, Unknown, Warning, listed};
use crate::core::endpoint::{ANNOTATION, Endpoint, EndpointKey, INTERNAL_PART, TARGET_SOURCE};

/// One object has at most this many endpoints. The names of one are built, hashed and compared without a pause.
pub const MAX_ENDPOINTS: usize = 10_000;
/// One endpoint has at most this many targets. Route 53 accepts 400 values; up to here the broker's verdict says so.
pub const MAX_TARGETS: usize = 1_000;
/// The endpoints of one object have at most this many targets together.
pub const MAX_TARGETS_IN_ALL: usize = 100_000;
/// At most this many warnings are kept of one object.
const MAX_WARNINGS: usize = 20;

/// The clients for which a host is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Those that the object's visibility names.
    Outside,
    /// Those inside (`internal-hostname`).
    Inside,
}

/// The author of a host's targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TargetsFrom {
    /// A person, in an annotation of the object or of the Gateway that serves it.
    Annotation,
    /// A controller, in a status.
    Status,
}

/// The values collected for one key.
struct Draft {
    targets: BTreeSet<ArcStr>,
    ttl_secs: Option<i64>,
    properties: BTreeMap<ArcStr, ArcStr>,
}

/// Collects the endpoints of one object; see the module's page.
pub(super) struct Collector<'a> {
    object: &'a ObjectRef,
    annotations: &'a Annotations,
    /// The name of the object in the keys of what it publishes for those inside.
    inside: ArcStr,
    /// The hosts that both annotations name, `hostname` and `internal-hostname`.
    on_both_sides: BTreeSet<ArcStr>,
    found: BTreeMap<EndpointKey, Draft>,
    targets: usize,
    is_over: bool,
    pending: BTreeMap<ArcStr, Pending>,
    assumes: Option<String>,
    warnings: Vec<Warning>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(object: &'a ObjectRef, annotations: &'a Annotations) -> Self {
        let warnings = annotations.warnings.iter();
        let outside: BTreeSet<&ArcStr> = annotations.hostnames.iter().collect();
        let inside = annotations.internal_hostnames.iter();
        Self {
            object,
            annotations,
            inside: arcstr::format!("{}{INTERNAL_PART}", object.name),
            on_both_sides: inside.filter(|host| outside.contains(host)).cloned().collect(),
            found: BTreeMap::new(),
            targets: 0,
            is_over: false,
            pending: BTreeMap::new(),
            assumes: None,
            warnings: warnings.map(|message| Warning { message: message.clone() }).collect(),
        }
    }

    pub(super) fn warn(&mut self, message: impl Into<String>) {
        self.warnings.push(Warning { message: message.into() });
    }

    /// Notes that a word of the object means nothing and is read as if it were not there.
    pub(super) fn assume(&mut self, message: String) {
        let message = format!(
            "{message}; until then a name that is published stays as it is, and others are read without it"
        );
        self.warn(message.clone());
        self.assumes.get_or_insert(message);
    }

    /// Notes that a host has no targets now.
    pub(super) fn wait(&mut self, host: ArcStr, pending: Pending) {
        if self.has_room(1, 0) {
            self.pending.insert(host, pending);
        }
    }

    /// Whether the object asked for more than it may have: nothing more is accepted.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Every host points to every target. No target leaves the hosts pending.
    pub(super) fn hosts(&mut self, hosts: &[ArcStr], targets: &[ArcStr], no_targets: &Pending) {
        self.hosts_on(Side::Outside, hosts, targets, no_targets);
    }

    /// The same, on one side.
    pub(super) fn hosts_on(
        &mut self,
        side: Side,
        hosts: &[ArcStr],
        targets: &[ArcStr],
        no_targets: &Pending,
    ) {
        let annotated: BTreeSet<&ArcStr> = self.annotations.targets.iter().collect();
        let from = match targets.iter().collect::<BTreeSet<_>>() == annotated {
            true => TargetsFrom::Annotation,
            false => TargetsFrom::Status,
        };
        self.hosts_from(from, side, hosts, targets, no_targets);
    }

    /// The same, with the author of the targets.
    pub(super) fn hosts_from(
        &mut self,
        from: TargetsFrom,
        side: Side,
        hosts: &[ArcStr],
        targets: &[ArcStr],
        no_targets: &Pending,
    ) {
        let targets: BTreeSet<&ArcStr> = targets.iter().collect();
        // Before anything is built: some 100 KiB of annotations are tens of millions of pairs.
        if !self.has_room(hosts.len(), hosts.len().saturating_mul(targets.len())) {
            return;
        }
        if targets.len() > MAX_TARGETS {
            return self.too_many_targets(hosts, targets.len());
        }
        if targets.is_empty() {
            self.pending.extend(hosts.iter().map(|host| (host.clone(), no_targets.clone())));
            return;
        }
        let mut by_type: BTreeMap<&str, Vec<ArcStr>> = BTreeMap::new();
        for target in targets {
            by_type.entry(record_type_of(target)).or_default().push(target.clone());
        }
        for host in hosts {
            for (record_type, targets) in &by_type {
                let mut endpoint = self.endpoint(side, host, record_type, targets.clone());
                if from == TargetsFrom::Annotation {
                    endpoint.properties.insert(TARGET_SOURCE.into(), ANNOTATION.into());
                }
                self.put(endpoint);
                if self.annotations.wants_ptr {
                    self.reverse(side, host, targets);
                }
            }
        }
    }

    fn too_many_targets(&mut self, hosts: &[ArcStr], count: usize) {
        let reason = format!(
            "{} gives its names {count} targets, and {MAX_TARGETS} are the most that are read: give fewer; until then what was \
             published before stays",
            self.object
        );
        self.warn(reason.clone());
        self.targets += count;
        let pending = Pending::Status(reason);
        self.pending.extend(hosts.iter().map(|host| (host.clone(), pending.clone())));
    }

    fn reverse(&mut self, side: Side, host: &ArcStr, targets: &[ArcStr]) {
        for address in targets.iter().filter_map(|target| target.parse().ok()) {
            let mut endpoint =
                self.endpoint(side, &reverse_name(address), "PTR", vec![host.clone()]);
            // Of the host's properties, its reverse record has only the visibility.
            endpoint.properties = self.properties(side, host);
            endpoint.properties.retain(|name, _| *name == VISIBILITY_PROPERTY);
            self.put(endpoint);
        }
    }

    /// One more target for a host and type.
    pub(super) fn add(&mut self, side: Side, host: &str, record_type: &str, target: &str) {
        self.put(self.endpoint(side, host, record_type, vec![target.into()]));
    }

    /// An endpoint with the settings from the annotations.
    pub(super) fn endpoint(
        &self,
        side: Side,
        host: &str,
        record_type: &str,
        targets: Vec<ArcStr>,
    ) -> Endpoint {
        let mut key = self.key(host, record_type, &self.annotations.set_identifier);
        if side == Side::Inside {
            key.object = self.inside.clone();
        }
        Endpoint {
            key,
            targets,
            ttl_secs: self.annotations.ttl_secs,
            properties: self.properties(side, host),
        }
    }

    /// The key of an endpoint.
    pub(super) fn key(&self, host: &str, record_type: &str, set_identifier: &str) -> EndpointKey {
        EndpointKey {
            source: self.object.source.name(),
            namespace: self.object.namespace.clone(),
            object: self.object.name.clone(),
            dns_name: host.into(),
            record_type: common_type(record_type)
                .unwrap_or_else(|| record_type.to_uppercase().into()),
            set_identifier: set_identifier.into(),
        }
    }

    /// The properties of a host. Names for clients inside go into private zones wherever there is one, unless the object says
    /// where; if the same host is published outside as well, its word is meant for that.
    fn properties(&self, side: Side, host: &str) -> BTreeMap<ArcStr, ArcStr> {
        let mut properties = self.annotations.properties.clone();
        if side == Side::Inside {
            let is_said = properties
                .get(VISIBILITY_PROPERTY.as_str())
                .is_some_and(|word| word == "private" || !self.on_both_sides.contains(host));
            if !is_said {
                properties.insert(VISIBILITY_PROPERTY.clone(), arcstr::literal!("internal"));
            }
        }
        properties
    }

    /// Adds an endpoint. Endpoints of one object with the same key are merged, as ExternalDNS does; a record set has one TTL
    /// (RFC 2181 §5.2), which is then the smaller one.
    pub(super) fn put(&mut self, endpoint: Endpoint) {
        if !self.has_room(1, endpoint.targets.len()) {
            return;
        }
        self.targets += endpoint.targets.len();
        let Endpoint { key, targets, ttl_secs, properties } = endpoint;
        let Some(held) = self.found.get_mut(&key) else {
            let targets = targets.into_iter().collect();
            self.found.insert(key, Draft { targets, ttl_secs, properties });
            return;
        };
        held.targets.extend(targets);
        if held.ttl_secs == ttl_secs && held.properties == properties {
            return;
        }
        held.ttl_secs = match (held.ttl_secs, ttl_secs) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        held.properties = std::mem::take(&mut held.properties).min(properties);
        self.warn(format!(
            "{key} is written twice with different ttl or properties: the values are added up, and the smaller ttl and the \
             properties that come first in order are used; write them once"
        ));
    }

    fn has_room(&mut self, endpoints: usize, targets: usize) -> bool {
        let all = self.found.len() + self.pending.len();
        let has_room = all.saturating_add(endpoints) <= MAX_ENDPOINTS
            && self.targets.saturating_add(targets) <= MAX_TARGETS_IN_ALL;
        self.is_over |= !has_room;
        !self.is_over
    }

    pub(super) fn finish(mut self) -> Extraction {
        if self.is_over {
            let reason = format!(
                "{} asks for more than {MAX_ENDPOINTS} endpoints, or more than {MAX_TARGETS_IN_ALL} targets in all: it is not read; \
                 spread it over several objects; until then the records published so far stay",
                self.object
            );
            self.warn(reason.clone());
            let (unknown, warnings) = (Unknown::WholeObject(reason), limited(self.warnings));
            return Extraction { unknown, warnings, ..Extraction::default() };
        }
        let left_out = self.leave_out_names();
        self.warnings.extend(left_out);
        for (key, draft) in &self.found {
            if draft.targets.len() > MAX_TARGETS {
                let count = draft.targets.len();
                let reason = format!(
                    "{key} has {count} targets, and {MAX_TARGETS} are the most that are read: give fewer; until then what was \
                     published before stays"
                );
                self.warnings.push(Warning { message: reason.clone() });
                self.pending.insert(key.dns_name.clone(), Pending::Status(reason));
            }
        }
        self.found.retain(|_, draft| draft.targets.len() <= MAX_TARGETS);
        let unknown =
            if self.pending.is_empty() { Unknown::Nothing } else { Unknown::Hosts(self.pending) };
        let endpoints = self.found.into_iter().map(|(key, draft)| Endpoint {
            key,
            targets: draft.targets.into_iter().collect(),
            ttl_secs: draft.ttl_secs,
            properties: draft.properties,
        });
        Extraction {
            endpoints: endpoints.collect(),
            unknown,
            partial: BTreeMap::new(),
            assumes: self.assumes,
            warnings: limited(self.warnings),
        }
    }

    /// Leaves out what cannot coexist with the rest (RFC 1034 §3.6.2): host names where there are addresses, and all host names
    /// but the first. A set with a broken address displaces nothing, because it will be rejected.
    fn leave_out_names(&mut self) -> Vec<Warning> {
        let place = |key: &EndpointKey| {
            (key.object.clone(), key.dns_name.clone(), key.set_identifier.clone())
        };
        let is_sound =
            |draft: &Draft| draft.is_alias() || draft.targets.iter().all(|t| is_address(t));
        let addressed: BTreeSet<_> = self
            .found
            .iter()
            .filter(|(key, draft)| is_address_type(&key.record_type) && is_sound(draft))
            .map(|(key, _)| place(key))
            .collect();
        let mut left_out = LeftOut::default();
        self.found.retain(|key, draft| {
            if !matches!(key.record_type.as_str(), "CNAME" | "DNAME") {
                return true;
            }
            if key.record_type == "CNAME" && addressed.contains(&place(key)) {
                left_out.for_addresses(key, draft);
                return false;
            }
            let first = draft.targets.iter().min_by_key(|target| comparable_name(target)).cloned();
            if let Some(first) = first.filter(|_| draft.targets.len() > 1) {
                left_out.for_first(key, draft, &first);
                draft.targets = BTreeSet::from([first]);
            }
            true
        });
        left_out.warnings()
    }
}

impl Draft {
    fn is_alias(&self) -> bool {
        self.properties
            .get("alias")
            .is_some_and(|word| ["true", "a", "aaaa"].iter().any(|w| word.eq_ignore_ascii_case(w)))
            && self.targets.iter().all(|target| record_type_of(target) == "CNAME")
    }
}

/// The names that lost targets, by the text of the warning: one warning for all names to which the same applies.
#[derive(Default)]
struct LeftOut(BTreeMap<String, Vec<ArcStr>>);

impl LeftOut {
    fn for_addresses(&mut self, key: &EndpointKey, draft: &Draft) {
        let message = format!(
            "points to addresses and to {}: a CNAME cannot coexist with other record sets at its name (RFC 1034 §3.6.2), so only the \
             addresses are published; leave one of the two",
            listed(draft.targets.iter())
        );
        self.0.entry(message).or_default().push(key.dns_name.clone());
    }

    fn for_first(&mut self, key: &EndpointKey, draft: &Draft, first: &ArcStr) {
        let kept = comparable_name(first);
        let others: Vec<&ArcStr> =
            draft.targets.iter().filter(|target| comparable_name(target) != kept).collect();
        if others.is_empty() {
            return;
        }
        let message = format!(
            "points to {first} and to {}: a name has one {} (RFC 1034 §3.6.2), so the first in order, {first}, is published; leave \
             one",
            listed(others.into_iter()),
            key.record_type
        );
        self.0.entry(message).or_default().push(key.dns_name.clone());
    }

    fn warnings(self) -> Vec<Warning> {
        let warning = |(message, hosts): (String, Vec<ArcStr>)| Warning {
            message: format!("{} {message}", listed(hosts.iter())),
        };
        self.0.into_iter().map(warning).collect()
    }
}

fn limited(mut warnings: Vec<Warning>) -> Vec<Warning> {
    let more = warnings.len().saturating_sub(MAX_WARNINGS);
    if more > 0 {
        warnings.truncate(MAX_WARNINGS);
        warnings.push(Warning { message: format!("{more} more such things are wrong with it") });
    }
    warnings
}

fn is_address_type(record_type: &str) -> bool {
    matches!(record_type, "A" | "AAAA")
}

/// The types that most endpoints have, without a copy for each.
fn common_type(record_type: &str) -> Option<ArcStr> {
    match record_type {
        "A" => Some(arcstr::literal!("A")),
        "AAAA" => Some(arcstr::literal!("AAAA")),
        "CNAME" => Some(arcstr::literal!("CNAME")),
        _ => None,
    }
}
