//! The kinds of objects as the API server serves them.

use crate::agent::sources::SourceKind;

/// How the API server serves a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The API group; empty for the oldest one.
    pub group: &'static str,
    /// The versions that are understood, the preferred first.
    pub versions: &'static [&'static str],
    /// The name in URLs and in RBAC.
    pub plural: &'static str,
    /// `kind` of its objects.
    pub kind: &'static str,
    /// Where the kind comes from.
    pub origin: Origin,
}

/// Where a kind comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Every cluster has it.
    BuiltIn,
    /// A custom resource: it may come, and it may be removed together with all its objects.
    Custom,
}

/// The resource that a source reads.
pub const fn resource_of(source: SourceKind) -> Resource {
    match source {
        SourceKind::Service => built_in("", "services", "Service"),
        SourceKind::Ingress => built_in("networking.k8s.io", "ingresses", "Ingress"),
        SourceKind::DnsEndpoint => {
            custom("externaldns.k8s.io", &["v1alpha1"], "dnsendpoints", "DNSEndpoint")
        }
        SourceKind::F5VirtualServer => {
            custom("cis.f5.com", &["v1"], "virtualservers", "VirtualServer")
        }
        SourceKind::F5TransportServer => {
            custom("cis.f5.com", &["v1"], "transportservers", "TransportServer")
        }
        SourceKind::NginxVirtualServer => {
            custom("k8s.nginx.org", &["v1"], "virtualservers", "VirtualServer")
        }
        SourceKind::GatewayHttpRoute => {
            custom(GATEWAY_API, &["v1", "v1beta1"], "httproutes", "HTTPRoute")
        }
        SourceKind::GatewayGrpcRoute => {
            custom(GATEWAY_API, &["v1", "v1alpha2"], "grpcroutes", "GRPCRoute")
        }
        SourceKind::GatewayTlsRoute => {
            custom(GATEWAY_API, &["v1", "v1alpha3", "v1alpha2"], "tlsroutes", "TLSRoute")
        }
        SourceKind::GatewayTcpRoute => {
            custom(GATEWAY_API, &["v1", "v1alpha2"], "tcproutes", "TCPRoute")
        }
        SourceKind::GatewayUdpRoute => {
            custom(GATEWAY_API, &["v1", "v1alpha2"], "udproutes", "UDPRoute")
        }
    }
}

const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// The Gateways that routes are served by.
pub const GATEWAYS: Resource = custom(GATEWAY_API, &["v1", "v1beta1"], "gateways", "Gateway");
/// Further listeners of Gateways.
pub const LISTENER_SETS: Resource = custom(GATEWAY_API, &["v1"], "listenersets", "ListenerSet");
/// The nodes of the cluster.
pub const NODES: Resource = built_in("", "nodes", "Node");
/// The pods behind services.
pub const ENDPOINT_SLICES: Resource =
    built_in("discovery.k8s.io", "endpointslices", "EndpointSlice");
/// Leases, which decide which of several agents leads.
pub const LEASES: Resource = built_in("coordination.k8s.io", "leases", "Lease");
/// Namespaces: kube-system for its UID, and all for their labels where a Gateway selects by them.
pub const NAMESPACES: Resource = built_in("", "namespaces", "Namespace");

const fn built_in(group: &'static str, plural: &'static str, kind: &'static str) -> Resource {
    Resource { group, versions: &["v1"], plural, kind, origin: Origin::BuiltIn }
}

const fn custom(
    group: &'static str,
    versions: &'static [&'static str],
    plural: &'static str,
    kind: &'static str,
) -> Resource {
    Resource { group, versions, plural, kind, origin: Origin::Custom }
}

impl Resource {
    /// The version that is tried first.
    pub fn preferred_version(&self) -> &'static str {
        self.versions.first().copied().unwrap_or("v1")
    }

    /// `apiVersion` of its objects.
    pub fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// The path of its group and version, where the API server lists what it serves.
    pub fn group_path(&self, version: &str) -> String {
        if self.group.is_empty() {
            format!("/api/{version}")
        } else {
            format!("/apis/{}/{version}", self.group)
        }
    }

    /// The path of its objects, in one namespace or in all.
    pub fn path(&self, version: &str, namespace: Option<&str>) -> String {
        let group_path = self.group_path(version);
        match namespace {
            Some(namespace) => format!("{group_path}/namespaces/{namespace}/{}", self.plural),
            None => format!("{group_path}/{}", self.plural),
        }
    }

    /// For people: `dnsendpoints.externaldns.k8s.io`.
    pub fn full_name(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_that_is_watched_is_the_one_that_its_extractor_reads() {
        for source in SourceKind::ALL {
            let resource = resource_of(source);
            for version in resource.versions {
                assert_eq!(
                    SourceKind::of(&resource.api_version(version), resource.kind),
                    Some(source)
                );
            }
        }
    }

    #[test]
    fn paths_are_those_of_the_api_server() {
        let (service, endpoint) =
            (resource_of(SourceKind::Service), resource_of(SourceKind::DnsEndpoint));
        assert_eq!(service.path("v1", None), "/api/v1/services");
        assert_eq!(
            endpoint.path("v1alpha1", Some("shop")),
            "/apis/externaldns.k8s.io/v1alpha1/namespaces/shop/dnsendpoints"
        );
        assert_eq!(endpoint.full_name(), "dnsendpoints.externaldns.k8s.io");
    }
}
