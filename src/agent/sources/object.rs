//! The fields of Kubernetes objects that are read. Fields not named here may be anything.

use std::collections::BTreeMap;

use arcstr::ArcStr;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::gateways::{RouteSpec, RouteStatus};
use super::slim::{null_is_default, slim};
use super::{ObjectRef, SourceKind};

/// Reasons are cut after this many characters.
const MAX_REASON_CHARS: usize = 300;

/// Why a document is not an object that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// It has no `metadata.name`.
    #[error("the {source_kind} has no metadata.name: give it one")]
    NoName {
        /// The kind of the document.
        source_kind: SourceKind,
    },
    /// A field has another shape than Kubernetes gives it.
    #[error("the {source_kind} cannot be read: {reason}")]
    Shape {
        /// The kind of the document.
        source_kind: SourceKind,
        /// The error, and its place in the object.
        reason: String,
    },
}

impl ObjectError {
    /// The source whose object could not be read.
    pub fn source_kind(&self) -> SourceKind {
        match self {
            Self::NoName { source_kind } | Self::Shape { source_kind, .. } => *source_kind,
        }
    }
}

/// An object of one of the kinds that are read.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    Service(Manifest<ServiceSpec, LoadBalanced>),
    Ingress(Manifest<IngressSpec, LoadBalanced>),
    DnsEndpoint(Manifest<DnsEndpointSpec, Ignored>),
    F5VirtualServer(Manifest<F5Spec, F5Status>),
    F5TransportServer(Manifest<F5Spec, F5Status>),
    NginxVirtualServer(Manifest<NginxSpec, NginxStatus>),
    Route(Manifest<RouteSpec, RouteStatus>),
}

impl Object {
    /// Reads a document; `None` if its kind is not one that is read.
    pub fn read(document: Value) -> Option<Result<Self, ObjectError>> {
        let text = |field: &str| document.get(field).and_then(Value::as_str).unwrap_or("");
        let source = SourceKind::of(text("apiVersion"), text("kind"))?;
        Some(match source {
            SourceKind::Service => Manifest::read(source, document).map(Self::Service),
            SourceKind::Ingress => Manifest::read(source, document).map(Self::Ingress),
            SourceKind::DnsEndpoint => Manifest::read(source, document).map(Self::DnsEndpoint),
            SourceKind::F5VirtualServer => {
                Manifest::read(source, document).map(Self::F5VirtualServer)
            }
            SourceKind::F5TransportServer => {
                Manifest::read(source, document).map(Self::F5TransportServer)
            }
            SourceKind::NginxVirtualServer => {
                Manifest::read(source, document).map(Self::NginxVirtualServer)
            }
            SourceKind::GatewayHttpRoute
            | SourceKind::GatewayGrpcRoute
            | SourceKind::GatewayTlsRoute
            | SourceKind::GatewayTcpRoute
            | SourceKind::GatewayUdpRoute => Manifest::read(source, document).map(Self::Route),
        })
    }

    /// The object's identity.
    pub fn reference(&self) -> &ObjectRef {
        match self {
            Self::Service(manifest) => &manifest.reference,
            Self::Ingress(manifest) => &manifest.reference,
            Self::DnsEndpoint(manifest) => &manifest.reference,
            Self::F5VirtualServer(manifest) | Self::F5TransportServer(manifest) => {
                &manifest.reference
            }
            Self::NginxVirtualServer(manifest) => &manifest.reference,
            Self::Route(manifest) => &manifest.reference,
        }
    }
}

/// One object: its identity, its annotations, and the parts of it that are read.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest<Spec, Status> {
    /// Its identity.
    pub reference: ObjectRef,
    /// All its annotations.
    pub annotations: BTreeMap<String, String>,
    /// The wanted state.
    pub spec: Spec,
    /// The state that Kubernetes reports.
    pub status: Status,
}

#[derive(Deserialize)]
struct Raw<Spec: Default, Status: Default> {
    #[serde(default, deserialize_with = "null_is_default")]
    metadata: Metadata,
    #[serde(
        default = "Spec::default",
        deserialize_with = "null_is_default",
        bound = "Spec: Deserialize<'de> + Default"
    )]
    spec: Spec,
    #[serde(
        default = "Status::default",
        deserialize_with = "null_is_default",
        bound = "Status: Deserialize<'de> + Default"
    )]
    status: Status,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default, deserialize_with = "null_is_default")]
    name: ArcStr,
    #[serde(default, deserialize_with = "null_is_default")]
    namespace: ArcStr,
    #[serde(default, deserialize_with = "null_is_default")]
    annotations: BTreeMap<String, Value>,
}

impl<Spec: DeserializeOwned + Default, Status: DeserializeOwned + Default> Manifest<Spec, Status> {
    fn read(source_kind: SourceKind, document: Value) -> Result<Self, ObjectError> {
        let refuse = |error: serde_json::Error| {
            // It repeats the value that does not fit, however long that is.
            let reason = error.to_string().chars().take(MAX_REASON_CHARS).collect();
            ObjectError::Shape { source_kind, reason }
        };
        let raw: Raw<Spec, Status> = serde_json::from_value(document).map_err(refuse)?;
        let metadata = raw.metadata;
        if metadata.name.is_empty() {
            return Err(ObjectError::NoName { source_kind });
        }
        // Kubernetes has none either, and keys of endpoints count on that.
        if metadata.name.contains('/') || metadata.namespace.contains('/') {
            let reason = "its name or namespace has a slash: remove it".to_owned();
            return Err(ObjectError::Shape { source_kind, reason });
        }
        let namespace = if metadata.namespace.is_empty() {
            arcstr::literal!("default")
        } else {
            metadata.namespace
        };
        Ok(Self {
            reference: ObjectRef { source: source_kind, namespace, name: metadata.name },
            annotations: metadata
                .annotations
                .into_iter()
                .filter_map(|(key, value)| Some((key, scalar_text(value)?)))
                .collect(),
            spec: raw.spec,
            status: raw.status,
        })
    }
}

/// People forget the quotes of `"60"` and `"true"`; Kubernetes would refuse them, a folder does not.
fn scalar_text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A status that is not read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ignored;

impl<'de> Deserialize<'de> for Ignored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

slim! {
    /// `spec` of a Service.
    ServiceSpec {
        /// The type; empty means ClusterIP.
        r#type: ArcStr,
        /// `None` for a headless service.
        #[serde(rename = "clusterIP")]
        cluster_ip: ArcStr,
        /// All families of the cluster IP.
        #[serde(rename = "clusterIPs")]
        cluster_ips: Vec<ArcStr>,
        /// Addresses that nodes accept traffic on.
        #[serde(rename = "externalIPs")]
        external_ips: Vec<ArcStr>,
        /// The name that an ExternalName service stands for.
        external_name: ArcStr,
        /// `Local`: only nodes with a pod of the service answer.
        external_traffic_policy: ArcStr,
        /// Whether pods count that are not ready.
        publish_not_ready_addresses: bool,
        ports: Vec<ServicePort>,
    }
}
slim! {
    /// One of `spec.ports`.
    ServicePort {
        /// The port on every node; 0 for none.
        node_port: i64,
        /// TCP, UDP or SCTP; empty means TCP.
        protocol: ArcStr,
    }
}
slim! {
    /// `status` of an object with a load balancer.
    LoadBalanced {
        load_balancer: LoadBalancer,
    }
}
slim! {
    /// `status.loadBalancer`.
    LoadBalancer {
        /// Where it can be reached.
        ingress: Vec<Address>,
    }
}
slim! {
    /// An address or a name; both count if both are there.
    Address {
        /// An address.
        ip: ArcStr,
        /// A name.
        hostname: ArcStr,
    }
}
slim! {
    /// `spec` of an Ingress.
    IngressSpec {
        /// One rule a host.
        rules: Vec<IngressRule>,
        /// Certificates and the hosts that they are for.
        tls: Vec<IngressTls>,
    }
}
slim! {
    /// One of `spec.rules`.
    IngressRule {
        /// The host; empty for every host.
        host: ArcStr,
    }
}
slim! {
    /// One of `spec.tls`.
    IngressTls {
        hosts: Vec<ArcStr>,
    }
}
slim! {
    /// `spec` of a DNSEndpoint.
    DnsEndpointSpec {
        /// The wanted record sets.
        endpoints: Vec<DnsEndpointEntry>,
    }
}
slim! {
    /// One of a DNSEndpoint's `spec.endpoints`.
    DnsEndpointEntry {
        /// The owner name.
        dns_name: ArcStr,
        /// The values.
        targets: Vec<ArcStr>,
        record_type: ArcStr,
        set_identifier: ArcStr,
        /// Seconds; 0 for none.
        #[serde(rename = "recordTTL")]
        record_ttl: i64,
        /// Routing and the like.
        provider_specific: Vec<Property>,
    }
}
slim! {
    /// A property for the DNS provider.
    Property {
        name: ArcStr,
        value: ArcStr,
    }
}
slim! {
    /// `spec` of F5's VirtualServer and TransportServer.
    F5Spec {
        host: ArcStr,
        /// Further hosts; of a VirtualServer only.
        host_aliases: Vec<ArcStr>,
        /// The wanted address.
        virtual_server_address: ArcStr,
    }
}
slim! {
    /// `status` of F5's VirtualServer and TransportServer.
    F5Status {
        /// The address in use; `None` while there is none.
        vs_address: ArcStr,
    }
}
slim! {
    /// `spec` of NGINX's VirtualServer.
    NginxSpec {
        host: ArcStr,
        /// The DNS settings.
        #[serde(rename = "externalDNS")]
        external_dns: NginxExternalDns,
    }
}
slim! {
    /// `spec.externalDNS` of NGINX's VirtualServer. Its labels are for ExternalDNS alone.
    NginxExternalDns {
        /// Whether any record is wanted.
        enable: bool,
        /// Seconds; 0 for none.
        #[serde(rename = "recordTTL")]
        record_ttl: i64,
        /// The type; if empty, the targets decide.
        record_type: ArcStr,
        /// Routing and the like.
        provider_specific: Vec<Property>,
    }
}
slim! {
    /// `status` of NGINX's VirtualServer.
    NginxStatus {
        /// Where the controller can be reached.
        external_endpoints: Vec<Address>,
    }
}
