//! Routes of the Gateway API: the hosts that a route and the listeners of its parents agree on, at the addresses of the Gateways.
//!
//! A parent that serves a host and has no targets for it now is silent about it: the published records stay as they were.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use arcstr::ArcStr;

use super::annotations::{Annotations, normal_host};
use super::collector::{Side, TargetsFrom};
use super::gateways::{
    AllowedNamespaces, Gateway, Listener, ParentKind, ParentRef, Place, RouteSpec, RouteStatus,
    is_accepted, is_of_gateway_api,
};
use super::object::Manifest;
use super::surroundings::{Gateways, Known, Need};
use super::{Collector, Extraction, Pending, SourceKind, Unknown};

type Route = Manifest<RouteSpec, RouteStatus>;

pub(super) fn needs(route: &Route) -> BTreeSet<Need> {
    let mut parents = route.spec.parent_refs.iter();
    let has_set = parents.any(|parent| parent.parent_kind() == Some(ParentKind::ListenerSet));
    [Need::Gateways].into_iter().chain(has_set.then_some(Need::ListenerSets)).collect()
}

pub(super) fn extract(route: &Route, around: &Gateways<'_>) -> Extraction {
    let annotations = Annotations::read(&route.annotations);
    let mut collector = Collector::new(&route.reference, &annotations);
    if annotations.foreign_controller {
        return collector.finish();
    }
    let Hosts { named, unsure } = hosts(route, &annotations, &mut collector);
    let stays = |reason: &str| {
        Unknown::WholeObject(format!(
            "{}: {reason}: the records published so far stay",
            route.reference
        ))
    };
    let mut answers = ParentAnswers::default();
    for parent in &route.spec.parent_refs {
        let Some(kind) = parent.parent_kind() else { continue };
        let asked = ParentAsked { kind, parent, place: parent.place(&route.reference.namespace) };
        match ask(route, &asked, &named, around, &mut answers) {
            Ok(()) => {}
            Err(Silence::Away(reason)) => drop(answers.away.insert(asked.id(), reason)),
            // The other parents alone may serve less than there is.
            Err(Silence::Unread(reason)) => {
                return Extraction { unknown: stays(&reason), ..collector.finish() };
            }
        }
    }
    let unsure = unsure.or_else(|| answers.away.values().next().cloned());
    let partial = answers.put_into(&mut collector, &route.reference.to_string());
    let found = Extraction { partial, ..collector.finish() };
    match unsure {
        Some(reason) => Extraction { unknown: stays(&reason), ..found },
        None => found,
    }
}

/// The hosts that a route names.
struct Hosts {
    /// An empty one stands for those of the listeners.
    named: BTreeSet<ArcStr>,
    /// Why it may name others as well; `None` if these are all.
    unsure: Option<String>,
}

fn hosts(route: &Route, annotations: &Annotations, collector: &mut Collector<'_>) -> Hosts {
    let written = route.spec.hostnames.iter().map(|host| normal_host(host));
    let written = written.filter(|host| !host.is_empty());
    let annotated = annotations.hostnames.iter().cloned();
    let mut unsure = None;
    let mut named: BTreeSet<ArcStr> = match annotations.gateway_hostname_source.as_deref() {
        Some("defined-hosts-only") => written.collect(),
        Some("annotation-only") => annotated.collect(),
        word => {
            if let Some(word) = word {
                let reason = format!(
                    "the annotation gateway-hostname-source is {word:?}: write defined-hosts-only or annotation-only; it is ignored"
                );
                collector.warn(reason.clone());
                unsure = Some(reason);
            }
            let named: BTreeSet<ArcStr> = written.chain(annotated).collect();
            // The listeners name a route only if nothing else does.
            if named.is_empty() { [ArcStr::new()].into() } else { named }
        }
    };
    for host in named.extract_if(.., |host| !host.is_empty() && !is_dns_1123(host)) {
        let reason = format!(
            "{host:?} is no host name (RFC 1123: letters, digits and hyphens, no address): correct it in spec.hostnames or in the \
             annotation hostname; it is ignored"
        );
        collector.warn(reason.clone());
        collector.wait(host, Pending::Unsupported(reason));
    }
    Hosts { named, unsure }
}

/// A reference to a parent.
struct ParentAsked<'a> {
    kind: ParentKind,
    parent: &'a ParentRef,
    place: Place,
}

impl ParentAsked<'_> {
    /// The parent, however many of its listeners are referred to: its targets are the same for all of them.
    fn id(&self) -> ArcStr {
        arcstr::format!("{} {}/{}", self.kind, self.place.0, self.place.1)
    }
}

/// Why a parent gives no answer.
enum Silence {
    /// It is not there, for this reason: it may serve any host.
    Away(String),
    /// It was not read yet, for this reason.
    Unread(String),
}

/// The targets of a parent.
#[derive(Clone, Copy)]
struct ParentTargets<'a> {
    targets: &'a [ArcStr],
    from: TargetsFrom,
}

/// The parents' answers, by host and parent.
#[derive(Default)]
struct ParentAnswers<'a> {
    /// Not copied: hosts times targets may be far more than a route may ask for.
    targets: BTreeMap<ArcStr, BTreeMap<ArcStr, ParentTargets<'a>>>,
    /// Why parents that serve a host have no targets for it now.
    silent: BTreeMap<ArcStr, BTreeMap<ArcStr, String>>,
    /// The parents that are not there, and why.
    away: BTreeMap<ArcStr, String>,
    warnings: BTreeSet<String>,
}

impl ParentAnswers<'_> {
    /// Returns the parents that may have more targets, for hosts that have some.
    fn put_into(
        mut self,
        collector: &mut Collector<'_>,
        route: &str,
    ) -> BTreeMap<ArcStr, BTreeSet<ArcStr>> {
        self.warnings.into_iter().for_each(|warning| collector.warn(warning));
        // A host without targets does not come here.
        let never = Pending::Status(String::new());
        let mut partial = BTreeMap::new();
        for (host, by_parent) in &self.targets {
            if collector.is_over() {
                break;
            }
            let targets: BTreeSet<ArcStr> =
                by_parent.values().flat_map(|of| of.targets).cloned().collect();
            let targets: Vec<ArcStr> = targets.into_iter().collect();
            let is_annotated = by_parent.values().all(|of| of.from == TargetsFrom::Annotation);
            let from = if is_annotated { TargetsFrom::Annotation } else { TargetsFrom::Status };
            let hosts = std::slice::from_ref(host);
            collector.hosts_from(from, Side::Outside, hosts, &targets, &never);
            if let Some(silent) = self.silent.get_mut(host) {
                silent.retain(|parent, _| !by_parent.contains_key(parent));
            }
            let silent = self.silent.get(host).into_iter().flat_map(BTreeMap::keys);
            let more: BTreeSet<ArcStr> = silent.chain(self.away.keys()).cloned().collect();
            if !more.is_empty() {
                partial.insert(host.clone(), more);
            }
        }
        for (host, reasons) in self.silent {
            if let Some(reason) = reasons.into_values().next() {
                let reason = format!("{route}: {reason}: the records published so far stay");
                collector.wait(host, Pending::Status(reason));
            }
        }
        partial
    }
}

/// Asks one parent which of the hosts it serves for the route, and where.
fn ask<'a>(
    route: &Route,
    asked: &ParentAsked<'_>,
    hosts: &BTreeSet<ArcStr>,
    around: &Gateways<'a>,
    answers: &mut ParentAnswers<'a>,
) -> Result<(), Silence> {
    let own = &route.reference.namespace;
    let statuses = route.status.parents.iter().filter(|status| is_accepted(&status.conditions));
    let accepting: Vec<&ParentRef> = statuses
        .map(|status| &status.parent_ref)
        .filter(|status| asked.parent.is_told_of_by(status, own))
        .collect();
    match ask_listeners(route, asked, &accepting, hosts, around, answers) {
        // As one that is not there: it serves nothing before it accepts the route.
        Err(Silence::Unread(_)) if accepting.is_empty() => {
            Err(Silence::Away(format!("{} has not accepted it", asked.id())))
        }
        answer => answer,
    }
}

fn ask_listeners<'a>(
    route: &Route,
    asked: &ParentAsked<'_>,
    accepting: &[&ParentRef],
    hosts: &BTreeSet<ArcStr>,
    around: &Gateways<'a>,
    answers: &mut ParentAnswers<'a>,
) -> Result<(), Silence> {
    let Some((itself, gateway)) = look_up(asked, around, answers)? else { return Ok(()) };
    let all = [
        (&itself.targets, TargetsFrom::Annotation),
        (&gateway.targets, TargetsFrom::Annotation),
        (&gateway.addresses, TargetsFrom::Status),
    ];
    let targets = all
        .into_iter()
        .find(|(targets, _)| !targets.is_empty())
        .map(|(targets, from)| ParentTargets { targets, from });
    for listener in itself.spec.listeners.iter().filter(|one| asked.parent.names(one)) {
        let allowed = &listener.allowed_routes.namespaces;
        if !fits_kind(route.reference.source, listener)
            || !lets_in(allowed, "Same", &asked.place.0, &route.reference.namespace, around)?
        {
            continue;
        }
        let Some(listens_to) = listened_host(listener) else { continue };
        let mut agreed = hosts.iter().filter_map(|host| agreed_host(&listens_to, host)).peekable();
        if agreed.peek().is_none() {
            continue;
        }
        let is_taken = accepting.iter().any(|status| status.names(listener));
        let unaccepted = unaccepted(asked, itself, listener);
        answers.warnings.extend(unaccepted.clone());
        let silence = match (unaccepted, targets) {
            (Some(reason), _) => Err(reason),
            (None, _) if !is_taken => Err(format!("{} has not accepted it", asked.id())),
            (None, None) => Err(format!("{} has no address", asked.id())),
            (None, Some(targets)) => Ok(targets),
        };
        for host in agreed {
            match &silence {
                Ok(targets) => {
                    let by_parent = answers.targets.entry(host).or_default();
                    by_parent.insert(asked.id(), *targets);
                }
                Err(reason) => {
                    let by_parent = answers.silent.entry(host).or_default();
                    by_parent.insert(asked.id(), reason.clone());
                }
            }
        }
    }
    Ok(())
}

/// The parent and its Gateway, which are the same if it is a Gateway; `None` if it may not add listeners to any.
fn look_up<'a>(
    asked: &ParentAsked<'_>,
    around: &Gateways<'a>,
    answers: &mut ParentAnswers<'_>,
) -> Result<Option<(&'a Gateway, &'a Gateway)>, Silence> {
    let (id, place) = (asked.id(), &asked.place);
    if asked.kind == ParentKind::Gateway {
        let gateway = look(&around.gateways, place, ParentKind::Gateway)?;
        return Ok(Some((gateway, gateway)));
    }
    let set = look(&around.listener_sets, place, ParentKind::ListenerSet)?;
    let of_set = &set.spec.parent_ref;
    if of_set.parent_kind() != Some(ParentKind::Gateway) {
        let warning = format!("the {id} names no Gateway in spec.parentRef: it serves nothing");
        answers.warnings.insert(warning);
        return Ok(None);
    }
    let of_gateway = of_set.place(&place.0);
    let gateway = look(&around.gateways, &of_gateway, ParentKind::Gateway)?;
    let allowed = &gateway.spec.allowed_listeners.namespaces;
    if lets_in(allowed, "None", &of_gateway.0, &place.0, around)? {
        return Ok(Some((set, gateway)));
    }
    answers.warnings.insert(format!(
        "the Gateway {}/{} does not allow the {id}, which serves nothing: allow its namespace in the Gateway's spec.allowedListeners, \
         or name another parent",
        of_gateway.0, of_gateway.1
    ));
    Ok(None)
}

fn look<'a>(
    known: &Known<&'a BTreeMap<Place, Gateway>>,
    place: &Place,
    kind: ParentKind,
) -> Result<&'a Gateway, Silence> {
    let is_away = || Silence::Away(format!("the {kind} {}/{} is not there", place.0, place.1));
    match known {
        Known::Never => Err(Silence::Unread(format!("its {kind} is not known here"))),
        Known::NotYet(reason) => Err(Silence::Unread(reason.clone())),
        Known::Now(all) => all.get(place).ok_or_else(is_away),
    }
}

/// Why a listener of a ListenerSet does not count yet (GEP-1713); `None` if it does.
fn unaccepted(asked: &ParentAsked<'_>, set: &Gateway, listener: &Listener) -> Option<String> {
    if asked.kind == ParentKind::Gateway {
        return None;
    }
    let remedy = "nothing new is published through it: see its conditions";
    if !set.is_accepted {
        return Some(format!("the {} is not accepted by its Gateway; {remedy}", asked.id()));
    }
    let is_accepted = set.accepted_listeners.contains(&listener.name);
    (!is_accepted).then(|| {
        let (name, id) = (&listener.name, asked.id());
        format!("the listener {name} of the {id} is not accepted by its Gateway; {remedy}")
    })
}

fn fits_kind(source: SourceKind, listener: &Listener) -> bool {
    let (kind, protocols): (&str, &[&str]) = match source {
        SourceKind::GatewayHttpRoute => ("HTTPRoute", &["HTTP", "HTTPS"]),
        SourceKind::GatewayGrpcRoute => ("GRPCRoute", &["HTTP", "HTTPS"]),
        SourceKind::GatewayTlsRoute => ("TLSRoute", &["TLS"]),
        SourceKind::GatewayTcpRoute => ("TCPRoute", &["TCP", "TLS"]),
        SourceKind::GatewayUdpRoute => ("UDPRoute", &["UDP"]),
        _ => return false,
    };
    let kinds = &listener.allowed_routes.kinds;
    protocols.contains(&listener.protocol.as_str())
        && (kinds.is_empty()
            || kinds
                .iter()
                .any(|allowed| allowed.kind == kind && is_of_gateway_api(allowed.group.as_ref())))
}

/// Whether objects in one namespace admit objects in another one.
fn lets_in(
    allowed: &AllowedNamespaces,
    by_default: &str,
    own: &ArcStr,
    other: &ArcStr,
    around: &Gateways<'_>,
) -> Result<bool, Silence> {
    let from = if allowed.from.is_empty() { by_default } else { allowed.from.as_str() };
    match from {
        "Same" => Ok(own == other),
        "All" => Ok(true),
        "Selector" => match &around.namespaces {
            Known::Never => {
                Err(Silence::Unread("the labels of namespaces are not known here".to_owned()))
            }
            Known::NotYet(reason) => Err(Silence::Unread(reason.clone())),
            Known::Now(all) => match all.get(&(ArcStr::new(), other.clone())) {
                Some(labels) => Ok(allowed.selector.matches(labels)),
                // The namespace exists, since an object is in it.
                None => Err(Silence::Unread(format!(
                    "the labels of the namespace {other} were not read yet"
                ))),
            },
        },
        _ => Ok(false),
    }
}

/// The host of a listener, empty for every host; `None` if it is no host name, which no host fits.
fn listened_host(listener: &Listener) -> Option<ArcStr> {
    let host = normal_host(&listener.hostname);
    (host.is_empty() || is_dns_1123(&host)).then_some(host)
}

/// Whether it is a name of RFC 1123 §2.1, or one below a `*`.
fn is_dns_1123(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253
        && host.parse::<IpAddr>().is_err()
        && host.strip_prefix("*.").unwrap_or(host).split('.').all(is_label)
}

/// The most specific host that both mean; `None` if they have none in common, or every host is meant.
fn agreed_host(listener: &ArcStr, route: &ArcStr) -> Option<ArcStr> {
    let covers = |wildcard: &str, host: &str| {
        wildcard.strip_prefix('*').is_some_and(|suffix| host.ends_with(suffix))
    };
    let agreed = match (listener.as_str(), route.as_str()) {
        ("", _) => route,
        (_, "") => listener,
        (one, other) if one == other || covers(one, other) => route,
        (one, other) if covers(other, one) => listener,
        _ => return None,
    };
    Some(agreed.clone()).filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests;
