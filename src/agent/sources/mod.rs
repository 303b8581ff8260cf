//! Sources: functions from a Kubernetes object to the endpoints that it wants.
//!
//! An extractor keeps text as it was written, because the broker judges it and stores a verdict. It tells three things apart
//! for a host: the object wants it and the targets are known (an endpoint), the object wants it and the targets are not known
//! now ([`Unknown`]: what was published before stays), and the object does not want it (neither).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::LazyLock;

use arcstr::ArcStr;
use serde::{Deserialize, Serialize};

use crate::core::endpoint::{Endpoint, EndpointKey};

pub mod annotations;
mod custom;
pub mod gateways;
mod ingress;
pub mod object;
pub mod routes;
mod service;
mod slim;
pub mod surroundings;

pub use object::{Object, ObjectError};
use surroundings::{Need, Surroundings};

/// The kinds of objects that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// `v1` Service.
    Service,
    /// `networking.k8s.io/v1` Ingress.
    Ingress,
    /// `externaldns.k8s.io/v1alpha1` DNSEndpoint.
    #[serde(rename = "dnsendpoint")]
    DnsEndpoint,
    /// `cis.f5.com/v1` VirtualServer.
    #[serde(rename = "f5-virtualserver")]
    F5VirtualServer,
    /// `cis.f5.com/v1` TransportServer.
    #[serde(rename = "f5-transportserver")]
    F5TransportServer,
    /// `k8s.nginx.org/v1` VirtualServer.
    #[serde(rename = "nginx-virtualserver")]
    NginxVirtualServer,
    /// `gateway.networking.k8s.io` HTTPRoute.
    #[serde(rename = "gateway-httproute")]
    GatewayHttpRoute,
    /// `gateway.networking.k8s.io` GRPCRoute.
    #[serde(rename = "gateway-grpcroute")]
    GatewayGrpcRoute,
    /// `gateway.networking.k8s.io` TLSRoute.
    #[serde(rename = "gateway-tlsroute")]
    GatewayTlsRoute,
    /// `gateway.networking.k8s.io` TCPRoute.
    #[serde(rename = "gateway-tcproute")]
    GatewayTcpRoute,
    /// `gateway.networking.k8s.io` UDPRoute.
    #[serde(rename = "gateway-udproute")]
    GatewayUdpRoute,
}

impl SourceKind {
    /// All of them.
    pub const ALL: [SourceKind; 11] = [
        Self::Service,
        Self::Ingress,
        Self::DnsEndpoint,
        Self::F5VirtualServer,
        Self::F5TransportServer,
        Self::NginxVirtualServer,
        Self::GatewayHttpRoute,
        Self::GatewayGrpcRoute,
        Self::GatewayTlsRoute,
        Self::GatewayTcpRoute,
        Self::GatewayUdpRoute,
    ];

    /// Those that say everything themselves, so that a folder of manifests is enough.
    pub const IN_FOLDERS: [SourceKind; 6] = [
        Self::Service,
        Self::Ingress,
        Self::DnsEndpoint,
        Self::F5VirtualServer,
        Self::F5TransportServer,
        Self::NginxVirtualServer,
    ];

    /// The name in keys, metrics and the protocol.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Ingress => "ingress",
            Self::DnsEndpoint => "dnsendpoint",
            Self::F5VirtualServer => "f5-virtualserver",
            Self::F5TransportServer => "f5-transportserver",
            Self::NginxVirtualServer => "nginx-virtualserver",
            Self::GatewayHttpRoute => "gateway-httproute",
            Self::GatewayGrpcRoute => "gateway-grpcroute",
            Self::GatewayTlsRoute => "gateway-tlsroute",
            Self::GatewayTcpRoute => "gateway-tcproute",
            Self::GatewayUdpRoute => "gateway-udproute",
        }
    }

    /// The name, held once however many endpoints have it.
    pub fn name(self) -> ArcStr {
        static NAMES: LazyLock<BTreeMap<SourceKind, ArcStr>> = LazyLock::new(|| {
            SourceKind::ALL.into_iter().map(|kind| (kind, kind.as_str().into())).collect()
        });
        NAMES.get(&self).cloned().unwrap_or_else(|| self.as_str().into())
    }

    /// The source of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The source that reads an object of this `apiVersion` and `kind`; none for one that nobody reads. The version after the
    /// group does not matter: the fields that are read are the same in all of them.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        match (group, kind) {
            ("", "Service") => Some(Self::Service),
            ("networking.k8s.io" | "extensions", "Ingress") => Some(Self::Ingress),
            ("externaldns.k8s.io", "DNSEndpoint") => Some(Self::DnsEndpoint),
            ("cis.f5.com", "VirtualServer") => Some(Self::F5VirtualServer),
            ("cis.f5.com", "TransportServer") => Some(Self::F5TransportServer),
            ("k8s.nginx.org", "VirtualServer") => Some(Self::NginxVirtualServer),
            ("gateway.networking.k8s.io", "HTTPRoute") => Some(Self::GatewayHttpRoute),
            ("gateway.networking.k8s.io", "GRPCRoute") => Some(Self::GatewayGrpcRoute),
            ("gateway.networking.k8s.io", "TLSRoute") => Some(Self::GatewayTlsRoute),
            ("gateway.networking.k8s.io", "TCPRoute") => Some(Self::GatewayTcpRoute),
            ("gateway.networking.k8s.io", "UDPRoute") => Some(Self::GatewayUdpRoute),
            _ => None,
        }
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What names one object inside its cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectRef {
    /// The source that reads it.
    pub source: SourceKind,
    /// Its namespace.
    pub namespace: ArcStr,
    /// Its name.
    pub name: ArcStr,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.source, self.namespace, self.name)
    }
}

/// Something in an object that a person should look at. The rest of the object counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Warning {
    /// What happened and what to do.
    pub message: String,
}

/// What an object wants without saying now where it points. Endpoints that it had before stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// Everything that it names has targets.
    #[default]
    Nothing,
    /// These hosts have no targets, each with the reason.
    Hosts(BTreeMap<ArcStr, Pending>),
    /// Which hosts it names cannot be told, with the reason.
    WholeObject(String),
}

impl Unknown {
    /// Why it cannot be told now whether an endpoint is wanted that the object had before; none when the object says that it is
    /// not. Its targets are empty where they are not known.
    pub fn reason_for(&self, key: &EndpointKey, targets: &[ArcStr]) -> Option<&str> {
        match self {
            Self::Nothing => None,
            Self::WholeObject(reason) => Some(reason),
            Self::Hosts(hosts) => {
                // A reverse record is made of the addresses of the host that it points to, and waits with it.
                let points_to = || targets.iter().find_map(|host| hosts.get(host));
                let pending = match (hosts.get(&key.dns_name), key.record_type.as_str()) {
                    (None, "PTR") if targets.is_empty() => hosts.values().next(),
                    (None, "PTR") => points_to(),
                    (pending, _) => pending,
                };
                pending.map(Pending::reason)
            }
        }
    }
}

/// Why a host has no targets now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pending {
    /// They will be in the object's status: until then its source cannot say what the cluster wants.
    Status(String),
    /// This agent cannot know them: the object never had endpoints from here.
    Unsupported(String),
}

impl Pending {
    /// The reason, for people.
    pub fn reason(&self) -> &str {
        match self {
            Self::Status(reason) | Self::Unsupported(reason) => reason,
        }
    }
}

/// What an extractor found in one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extraction {
    /// What the object wants and has targets for; at most one an endpoint key.
    pub endpoints: Vec<Endpoint>,
    /// What it wants without known targets.
    pub unknown: Unknown,
    /// Of hosts among the endpoints: who may have more targets for them and says none now. Such a host is published as it is
    /// known, but never in place of what was known better.
    pub partial: BTreeMap<ArcStr, BTreeSet<ArcStr>>,
    /// What a person should look at.
    pub warnings: Vec<Warning>,
}

/// What the operator chose for all objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtractOptions {
    /// Whether ClusterIP services publish their `hostname` with the cluster IP.
    pub cluster_ips: ClusterIps,
}

/// What becomes of the `hostname` annotation of a ClusterIP service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterIps {
    /// Only `internal-hostname` is published.
    #[default]
    InternalHostnames,
    /// `hostname` is, too (ExternalDNS's `--publish-internal-services`).
    Publish,
}

/// The endpoints that an object wants, where nothing is known but the object.
pub fn extract(object: &Object, options: ExtractOptions) -> Extraction {
    extract_among(object, options, &Surroundings::default())
}

/// What the endpoints of an object depend on beside the object.
pub fn needs(object: &Object) -> BTreeSet<Need> {
    match object {
        Object::Service(service) => service::needs(service),
        Object::Route(route) => routes::needs(route),
        Object::Ingress(_)
        | Object::DnsEndpoint(_)
        | Object::F5VirtualServer(_)
        | Object::F5TransportServer(_)
        | Object::NginxVirtualServer(_) => BTreeSet::new(),
    }
}

/// The endpoints that an object wants, with what is around it.
pub fn extract_among(
    object: &Object,
    options: ExtractOptions,
    around: &Surroundings<'_>,
) -> Extraction {
    match object {
        Object::Service(service) => service::extract(service, options, around),
        Object::Route(route) => routes::extract(route, &around.gateways),
        Object::Ingress(ingress) => ingress::extract(ingress),
        Object::DnsEndpoint(object) => custom::extract_dns_endpoint(object),
        Object::F5VirtualServer(server) | Object::F5TransportServer(server) => {
            custom::extract_f5(server)
        }
        Object::NginxVirtualServer(server) => custom::extract_nginx(server),
    }
}

/// Collects the endpoints of one object, typed as ExternalDNS types them.
struct Collector<'a> {
    object: &'a ObjectRef,
    annotations: &'a annotations::Annotations,
    found: BTreeMap<EndpointKey, Endpoint>,
    pending: BTreeMap<ArcStr, Pending>,
    warnings: Vec<Warning>,
}

impl<'a> Collector<'a> {
    fn new(object: &'a ObjectRef, annotations: &'a annotations::Annotations) -> Self {
        let warnings = annotations
            .warnings
            .iter()
            .map(|message| Warning { message: message.clone() })
            .collect();
        Self { object, annotations, found: BTreeMap::new(), pending: BTreeMap::new(), warnings }
    }

    fn warn(&mut self, message: impl Into<String>) {
        self.warnings.push(Warning { message: message.into() });
    }

    /// Every host points to every target: at most one A, one AAAA and one CNAME a host. No target leaves the hosts pending.
    fn hosts(&mut self, hosts: &[ArcStr], targets: &[ArcStr], no_targets: &Pending) {
        for host in hosts {
            if targets.is_empty() {
                self.pending.insert(host.clone(), no_targets.clone());
            }
            for target in targets {
                let annotations = self.annotations;
                self.add(
                    host,
                    record_type_of(target),
                    target,
                    annotations.ttl_secs,
                    &annotations.properties,
                );
                if annotations.wants_ptr
                    && let Ok(address) = target.parse()
                {
                    self.add(
                        &reverse_name(address),
                        "PTR",
                        host,
                        annotations.ttl_secs,
                        &BTreeMap::new(),
                    );
                }
            }
        }
    }

    fn add(
        &mut self,
        host: &str,
        record_type: &str,
        target: &str,
        ttl_secs: Option<i64>,
        properties: &BTreeMap<ArcStr, ArcStr>,
    ) {
        self.put(Endpoint {
            key: self.key(host, record_type, &self.annotations.set_identifier),
            targets: vec![target.into()],
            ttl_secs,
            properties: properties.clone(),
        });
    }

    fn key(&self, host: &str, record_type: &str, set_identifier: &str) -> EndpointKey {
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

    /// Takes an endpoint; the same key twice in one object is merged as ExternalDNS merges it.
    fn put(&mut self, endpoint: Endpoint) {
        let Some(held) = self.found.get_mut(&endpoint.key) else {
            self.found.insert(endpoint.key.clone(), endpoint);
            return;
        };
        if held.ttl_secs != endpoint.ttl_secs || held.properties != endpoint.properties {
            let message = format!(
                "{} is written twice with different ttl or properties: those of the first are used",
                held.key
            );
            self.warnings.push(Warning { message });
        }
        for target in endpoint.targets {
            if held.targets.contains(&target) {
                continue;
            }
            if matches!(held.key.record_type.as_str(), "CNAME" | "DNAME") {
                let message = format!(
                    "{} points to {} and to {target}: a name has one {}, the first is used",
                    held.key,
                    held.targets.first().map_or("", ArcStr::as_str),
                    held.key.record_type
                );
                self.warnings.push(Warning { message });
            } else {
                held.targets.push(target);
            }
        }
    }

    fn finish(self) -> Extraction {
        let unknown =
            if self.pending.is_empty() { Unknown::Nothing } else { Unknown::Hosts(self.pending) };
        Extraction {
            endpoints: self.found.into_values().collect(),
            unknown,
            partial: BTreeMap::new(),
            warnings: self.warnings,
        }
    }
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

/// ExternalDNS's `SuitableType`: what an address is, else a CNAME.
fn record_type_of(target: &str) -> &'static str {
    match target.parse() {
        Ok(IpAddr::V4(_)) => "A",
        Ok(IpAddr::V6(_)) => "AAAA",
        Err(_) => "CNAME",
    }
}

/// RFC 1035 §3.5 and RFC 3596 §2.5.
fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let nibbles = address
                .octets()
                .into_iter()
                .rev()
                .map(|octet| format!("{:x}.{:x}.", octet & 15, octet >> 4));
            nibbles.collect::<String>() + "ip6.arpa"
        }
    }
}

/// Hosts in their first order, each once.
fn unique(hosts: impl IntoIterator<Item = ArcStr>) -> Vec<ArcStr> {
    let mut seen = BTreeSet::new();
    hosts.into_iter().filter(|host| !host.is_empty() && seen.insert(host.clone())).collect()
}

#[cfg(test)]
mod tests;
