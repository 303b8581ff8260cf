//! Sources: functions from a Kubernetes object to the endpoints that it wants.
//!
//! An extractor keeps text as it was written, because the broker judges it and stores a verdict. It tells three things apart
//! for a host: the object wants it and the targets are known (an endpoint), the object wants it and the targets are not known
//! now ([`Unknown`]: the records published so far stay), and the object does not want it (neither).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::LazyLock;

use arcstr::ArcStr;
use serde::{Deserialize, Serialize};

use crate::core::endpoint::{Endpoint, EndpointKey, INTERNAL_PART};

pub mod annotations;
mod collector;
mod custom;
pub mod gateways;
mod ingress;
pub mod object;
pub mod routes;
mod service;
mod slim;
pub mod surroundings;
mod target;

use collector::{Collector, Side};
pub use collector::{MAX_ENDPOINTS, MAX_TARGETS, MAX_TARGETS_IN_ALL};
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

    /// The source that reads an object of this `apiVersion` and `kind`; `None` for one that is not read. The version after the
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

/// Identifies one object inside its cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectRef {
    /// The source that reads it.
    pub source: SourceKind,
    pub namespace: ArcStr,
    pub name: ArcStr,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.source, self.namespace, self.name)
    }
}

impl ObjectRef {
    /// The object that an endpoint was published for; `None` if its source is not one of ours.
    pub fn of(key: &EndpointKey) -> Option<Self> {
        Some(Self {
            source: SourceKind::parse(&key.source)?,
            namespace: key.namespace.clone(),
            name: object_name(&key.object),
        })
    }
}

/// The name of the object that a key names.
pub fn object_name(in_key: &ArcStr) -> ArcStr {
    in_key.strip_suffix(INTERNAL_PART).map_or_else(|| in_key.clone(), ArcStr::from)
}

/// Something in an object that a person should look at. The rest of the object counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Warning {
    /// The problem and its remedy.
    pub message: String,
}

/// Endpoints that an object wants without saying now where they point. Its earlier endpoints stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// Everything that it names has targets.
    #[default]
    Nothing,
    /// These hosts have no targets, each with the reason.
    Hosts(BTreeMap<ArcStr, Pending>),
    /// Which hosts it names is unknown, with the reason.
    WholeObject(String),
}

impl Unknown {
    /// Why it is unknown now whether an earlier endpoint of the object is wanted; `None` if the object says that it is not.
    /// `targets` is empty if they are not known.
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

/// The result of an extractor for one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extraction {
    /// The endpoints that the object wants and has targets for; at most one per endpoint key.
    pub endpoints: Vec<Endpoint>,
    /// The endpoints that it wants without known targets.
    pub unknown: Unknown,
    /// Hosts of endpoints, each with the parents that may have more targets for it and name none now. Such a host is published
    /// as it is known, but never in place of what was known better.
    pub partial: BTreeMap<ArcStr, BTreeSet<ArcStr>>,
    /// Why a name of `endpoints` that is published already stays as it is: a word of the object means nothing, and was read as if it
    /// were not there. `None` if all words mean something.
    pub assumes: Option<String>,
    /// Problems that a person should look at.
    pub warnings: Vec<Warning>,
}

/// The operator's settings for all objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtractOptions {
    /// Whether ClusterIP services publish their `hostname` with the cluster IP.
    pub cluster_ips: ClusterIps,
}

/// How the `hostname` annotation of a ClusterIP service is treated.
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

/// The dependencies of an object's endpoints besides the object.
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

/// Hosts in their first order, each once.
fn unique(hosts: impl IntoIterator<Item = ArcStr>) -> Vec<ArcStr> {
    let mut seen = BTreeSet::new();
    hosts.into_iter().filter(|host| !host.is_empty() && seen.insert(host.clone())).collect()
}

/// The first three of a list, and how many more there are.
fn listed<'t>(texts: impl ExactSizeIterator<Item = &'t ArcStr>) -> String {
    let more = texts.len().saturating_sub(3);
    let shown: Vec<&str> = texts.take(3).map(ArcStr::as_str).collect();
    let shown = shown.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

#[cfg(test)]
mod tests;
