//! Services, by their type.

use std::collections::{BTreeMap, BTreeSet};

use arcstr::ArcStr;

use super::annotations::Annotations;
use super::object::{Address, LoadBalanced, Manifest, ServiceSpec};
use super::surroundings::{Backend, Known, Need, Node, Surroundings};
use super::{ClusterIps, Collector, ExtractOptions, Extraction, Pending, Unknown};

/// How a service's names get their addresses.
enum Way {
    /// From the service itself.
    Own,
    /// From the nodes (type NodePort).
    Nodes,
    /// From its pods (headless).
    Pods,
}

type Service = Manifest<ServiceSpec, LoadBalanced>;

impl Way {
    fn of(service: &Service, annotations: &Annotations) -> Self {
        let is_asked = !annotations.hostnames.is_empty()
            && annotations.targets.is_empty()
            && !annotations.foreign_controller;
        match service.spec.r#type.as_str() {
            "NodePort" if is_asked => Self::Nodes,
            "" | "ClusterIP" if is_asked && service.spec.cluster_ip == "None" => Self::Pods,
            _ => Self::Own,
        }
    }
}

pub(super) fn needs(service: &Service) -> BTreeSet<Need> {
    let annotations = Annotations::read(&service.annotations);
    match Way::of(service, &annotations) {
        Way::Own => BTreeSet::new(),
        Way::Nodes if is_local(&service.spec) => BTreeSet::from([Need::Nodes, Need::LocalBackends]),
        Way::Nodes => BTreeSet::from([Need::Nodes]),
        Way::Pods if annotations.endpoints_type.is_some() => {
            BTreeSet::from([Need::Nodes, Need::HeadlessBackends])
        }
        Way::Pods => BTreeSet::from([Need::HeadlessBackends]),
    }
}

pub(super) fn extract(
    service: &Service,
    options: ExtractOptions,
    around: &Surroundings<'_>,
) -> Extraction {
    let annotations = Annotations::read(&service.annotations);
    let mut collector = Collector::new(&service.reference, &annotations);
    if annotations.foreign_controller {
        return collector.finish();
    }
    internal_hosts(service, &annotations, &mut collector);
    let unknown = match (Way::of(service, &annotations), &around.nodes, &around.backends) {
        (Way::Nodes, Known::Now(nodes), backends) => {
            node_port(service, &annotations, nodes, backends, &mut collector)
        }
        (Way::Nodes, Known::NotYet(reason), _) | (Way::Pods, _, Known::NotYet(reason)) => {
            Some(reason.clone())
        }
        (Way::Pods, nodes, Known::Now(backends)) => {
            headless(service, &annotations, nodes, backends, &mut collector)
        }
        (Way::Own, ..) | (Way::Nodes, Known::Never, _) | (Way::Pods, _, Known::Never) => {
            own_addresses(service, options, &annotations, &mut collector);
            None
        }
    };
    match unknown {
        None => collector.finish(),
        Some(reason) => {
            let reason =
                format!("{}: {reason}: what was published before stays", service.reference);
            Extraction { unknown: Unknown::WholeObject(reason), ..collector.finish() }
        }
    }
}

fn own_addresses(
    service: &Service,
    options: ExtractOptions,
    annotations: &Annotations,
    collector: &mut Collector<'_>,
) {
    let (targets, no_targets) = targets_of(service, options);
    let hosts = &annotations.hostnames;
    if !annotations.targets.is_empty() {
        collector.hosts(hosts, &annotations.targets, &no_targets);
    } else if is_published(service, options) {
        if !hosts.is_empty()
            && let Pending::Unsupported(reason) = &no_targets
            && targets.is_empty()
        {
            collector.warn(reason.clone());
        }
        collector.hosts(hosts, &targets, &no_targets);
    }
}

fn is_local(spec: &ServiceSpec) -> bool {
    spec.external_traffic_policy == "Local"
}

/// The nodes' addresses, and SRV records that say the port. Answers why that cannot be told now.
fn node_port(
    service: &Service,
    annotations: &Annotations,
    nodes: &BTreeMap<ArcStr, Node>,
    backends: &Known<Vec<&Backend>>,
    collector: &mut Collector<'_>,
) -> Option<String> {
    let schedulable = nodes.iter().filter(|(_, node)| node.is_schedulable);
    let answering: Vec<&Node> = if is_local(&service.spec) {
        let backends = match backends {
            Known::Now(backends) => backends,
            Known::NotYet(reason) => return Some(reason.clone()),
            Known::Never => return Some("its pods are not known here".to_owned()),
        };
        // Where none is ready, those that may become so are the best there is.
        let any_ready = backends.iter().any(|backend| backend.is_ready);
        let carrying: BTreeSet<&ArcStr> = backends
            .iter()
            .filter(|backend| backend.is_ready || !any_ready)
            .map(|backend| &backend.node)
            .collect();
        schedulable.filter(|(name, _)| carrying.contains(name)).map(|(_, node)| node).collect()
    } else {
        schedulable.map(|(_, node)| node).collect()
    };
    let external: BTreeSet<ArcStr> =
        answering.iter().flat_map(|node| node.external.iter().cloned()).collect();
    let internal: BTreeSet<ArcStr> =
        answering.iter().flat_map(|node| node.internal.iter().cloned()).collect();
    let addresses = match annotations.access.as_deref() {
        Some("public") => external,
        Some("private") => internal,
        None => {
            if external.is_empty() {
                internal
            } else {
                external
            }
        }
        Some(other) => {
            collector.warn(format!("the annotation access is {other:?}: write public or private"));
            return Some("which addresses of the nodes are meant cannot be told".to_owned());
        }
    };
    let addresses: Vec<ArcStr> = addresses.into_iter().collect();
    let reason = format!(
        "{} has no node with a fitting address now: what was published before stays",
        service.reference
    );
    collector.hosts(&annotations.hostnames, &addresses, &Pending::Status(reason));
    let mut properties = annotations.properties.clone();
    properties.remove("alias");
    for port in service.spec.ports.iter().filter(|port| port.node_port != 0) {
        let protocol =
            if port.protocol.is_empty() { "tcp".to_owned() } else { port.protocol.to_lowercase() };
        for host in &annotations.hostnames {
            let name = format!("_{}._{protocol}.{host}", service.reference.name);
            let target = format!("0 50 {} {host}.", port.node_port);
            collector.add(&name, "SRV", &target, annotations.ttl_secs, &properties);
        }
    }
    None
}

/// The pods' addresses under the service's names, and under names of their own. Answers why that cannot be told now.
fn headless(
    service: &Service,
    annotations: &Annotations,
    nodes: &Known<&BTreeMap<ArcStr, Node>>,
    backends: &[&Backend],
    collector: &mut Collector<'_>,
) -> Option<String> {
    let counted = backends
        .iter()
        .filter(|backend| backend.is_ready || service.spec.publish_not_ready_addresses);
    let of_node = |backend: &Backend, pick: fn(&Node) -> &Vec<ArcStr>| match nodes {
        Known::Now(nodes) => Ok(nodes.get(&backend.node).map(pick).cloned().unwrap_or_default()),
        Known::NotYet(reason) => Err(reason.clone()),
        Known::Never => Err("the nodes are not known here".to_owned()),
    };
    let mut found: BTreeMap<ArcStr, BTreeSet<ArcStr>> = BTreeMap::new();
    for backend in counted {
        let addresses = match annotations.endpoints_type.as_deref() {
            None => Ok(vec![backend.address.clone()]),
            Some("NodeExternalIP") => of_node(backend, |node| &node.external),
            Some("HostIP") => of_node(backend, |node| &node.internal),
            Some(other) => {
                collector.warn(format!(
                    "the annotation endpoints-type is {other:?}: write NodeExternalIP or HostIP"
                ));
                Err("which addresses are meant cannot be told".to_owned())
            }
        };
        match addresses {
            Ok(addresses) => found.entry(backend.hostname.clone()).or_default().extend(addresses),
            Err(reason) => return Some(reason),
        }
    }
    if found.values().all(BTreeSet::is_empty) {
        return Some("none of its pods is ready".to_owned());
    }
    // Nothing is pending: a pod that is not listed any more is one that is gone.
    let never = Pending::Status(String::new());
    for host in &annotations.hostnames {
        let all: BTreeSet<ArcStr> = found.values().flatten().cloned().collect();
        collector.hosts(std::slice::from_ref(host), &all.into_iter().collect::<Vec<_>>(), &never);
        for (hostname, addresses) in found
            .iter()
            .filter(|(hostname, addresses)| !hostname.is_empty() && !addresses.is_empty())
        {
            let addresses: Vec<ArcStr> = addresses.iter().cloned().collect();
            collector.hosts(&[arcstr::format!("{hostname}.{host}")], &addresses, &never);
        }
    }
    None
}

/// Whether the `hostname` annotation means anything for this service: a cluster IP is published only when that was chosen.
fn is_published(service: &Service, options: ExtractOptions) -> bool {
    let cluster_ip_only = matches!(service.spec.r#type.as_str(), "" | "ClusterIP")
        && service.spec.cluster_ip != "None";
    !cluster_ip_only || options.cluster_ips == ClusterIps::Publish
}

fn internal_hosts(service: &Service, annotations: &Annotations, collector: &mut Collector<'_>) {
    let hosts = &annotations.internal_hostnames;
    if hosts.is_empty() {
        return;
    }
    let reason = format!(
        "{} has the annotation internal-hostname and no cluster IP: remove the annotation or wait for the address",
        service.reference
    );
    let targets = if annotations.targets.is_empty() {
        cluster_ips(&service.spec)
    } else {
        annotations.targets.clone()
    };
    let headless = service.spec.cluster_ip == "None" || service.spec.r#type == "ExternalName";
    let no_targets = if headless { Pending::Unsupported(reason) } else { Pending::Status(reason) };
    collector.hosts(hosts, &targets, &no_targets);
}

fn targets_of(service: &Service, options: ExtractOptions) -> (Vec<ArcStr>, Pending) {
    let spec = &service.spec;
    let name = &service.reference;
    match spec.r#type.as_str() {
        "LoadBalancer" if spec.external_ips.is_empty() => (
            addresses(&service.status.load_balancer.ingress),
            Pending::Status(format!(
                "{name} has no address in status.loadBalancer yet: what was published before stays"
            )),
        ),
        "ExternalName" if spec.external_ips.is_empty() => {
            let target = spec.external_name.trim_end_matches('.');
            let reason = format!("{name} has an empty spec.externalName: set it");
            (
                Some(ArcStr::from(target))
                    .filter(|target| !target.is_empty())
                    .into_iter()
                    .collect(),
                Pending::Status(reason),
            )
        }
        "LoadBalancer" | "ExternalName" => {
            (spec.external_ips.clone(), Pending::Status(format!("{name} has no external IP")))
        }
        "NodePort" => (
            vec![],
            Pending::Unsupported(format!(
                "{name} is of type NodePort: the addresses of nodes are not known here, so its hostname is not published; \
                 set the annotation target"
            )),
        ),
        _ if spec.cluster_ip == "None" => (
            vec![],
            Pending::Unsupported(format!(
                "{name} is headless: the addresses of its pods are not known here, so its hostname is not published; \
                 set the annotation target"
            )),
        ),
        "" | "ClusterIP" => {
            let targets =
                if options.cluster_ips == ClusterIps::Publish { cluster_ips(spec) } else { vec![] };
            (
                targets,
                Pending::Status(format!(
                    "{name} has no cluster IP yet: what was published before stays"
                )),
            )
        }
        other => (
            vec![],
            Pending::Unsupported(format!(
                "{name} has the type {other:?}, which Kubernetes does not have: its hostname is not published"
            )),
        ),
    }
}

fn cluster_ips(spec: &ServiceSpec) -> Vec<ArcStr> {
    // ExternalDNS publishes `clusterIP` alone, which is the first of `clusterIPs`.
    [&spec.cluster_ip]
        .into_iter()
        .chain(spec.cluster_ips.first())
        .find(|ip| !ip.is_empty() && *ip != "None")
        .cloned()
        .into_iter()
        .collect()
}

/// Every address and every name, without final dots.
pub(super) fn addresses(ingress: &[Address]) -> Vec<ArcStr> {
    let both = ingress.iter().flat_map(|address| [&address.ip, &address.hostname]);
    both.map(|text| ArcStr::from(text.trim_end_matches('.')))
        .filter(|text| !text.is_empty())
        .collect()
}
