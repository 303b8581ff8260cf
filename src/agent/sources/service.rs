//! Services, by their type.

use std::collections::{BTreeMap, BTreeSet};

use arcstr::ArcStr;

use super::annotations::Annotations;
use super::object::{Address, LoadBalanced, Manifest, ServiceSpec};
use super::surroundings::{Backend, Known, Need, Node, Surroundings};
use super::target::without_final_dot;
use super::{ClusterIps, Collector, ExtractOptions, Extraction, Pending, Side, Unknown};

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
        let is_open = annotations.targets.is_empty() && !annotations.foreign_controller;
        let is_asked = is_open && !annotations.hostnames.is_empty();
        // There is no cluster IP for the names inside.
        let asks_pods = is_asked || is_open && !annotations.internal_hostnames.is_empty();
        match service.spec.r#type.as_str() {
            "NodePort" if is_asked => Self::Nodes,
            "" | "ClusterIP" if asks_pods && service.spec.cluster_ip == "None" => Self::Pods,
            _ => Self::Own,
        }
    }
}

/// Which address of their nodes pods are published with.
#[derive(Clone, Copy)]
enum NodeAddress {
    /// All external ones.
    External,
    /// The first internal one, which is the `hostIP` of the pods.
    Host,
}

impl NodeAddress {
    /// `None` if `endpoints-type` asks for neither.
    fn of(annotations: &Annotations) -> Option<Self> {
        match annotations.endpoints_type.as_deref() {
            Some("NodeExternalIP") => Some(Self::External),
            Some("HostIP") => Some(Self::Host),
            _ => None,
        }
    }

    fn pick(self, node: &Node) -> Vec<ArcStr> {
        match self {
            Self::External => node.external.clone(),
            Self::Host => node.internal.first().cloned().into_iter().collect(),
        }
    }
}

pub(super) fn needs(service: &Service) -> BTreeSet<Need> {
    let annotations = Annotations::read(&service.annotations);
    match Way::of(service, &annotations) {
        Way::Own => BTreeSet::new(),
        Way::Nodes if is_local(&service.spec) => BTreeSet::from([Need::Nodes, Need::LocalBackends]),
        Way::Nodes => BTreeSet::from([Need::Nodes]),
        Way::Pods if NodeAddress::of(&annotations).is_some() => {
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
    let way = Way::of(service, &annotations);
    if !matches!((&way, &around.backends), (Way::Pods, Known::Now(_) | Known::NotYet(_))) {
        internal_hosts(service, &annotations, &mut collector);
    }
    let unknown = match (way, &around.nodes, &around.backends) {
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
                format!("{}: {reason}: the records published so far stay", service.reference);
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

/// The nodes' addresses, and SRV records that say the port. Returns why they are unknown now.
fn node_port(
    service: &Service,
    annotations: &Annotations,
    nodes: &BTreeMap<ArcStr, Node>,
    backends: &Known<Vec<&Backend>>,
    collector: &mut Collector<'_>,
) -> Option<String> {
    let answering = match answering(service, nodes, backends) {
        Ok(answering) => answering,
        Err(reason) => return Some(reason),
    };
    let external: BTreeSet<ArcStr> =
        answering.iter().flat_map(|node| node.external.iter().cloned()).collect();
    let internal: BTreeSet<ArcStr> =
        answering.iter().flat_map(|node| node.internal.iter().cloned()).collect();
    let addresses = match annotations.access.as_deref() {
        Some("public") => external,
        Some("private") => internal,
        word => {
            if let Some(word) = word {
                collector
                    .assume(format!("the annotation access is {word:?}: write public or private"));
            }
            if external.is_empty() { internal } else { external }
        }
    };
    let addresses: Vec<ArcStr> = addresses.into_iter().collect();
    let reason = format!(
        "{} has no node with a fitting address now: the records published so far stay",
        service.reference
    );
    collector.hosts(&annotations.hostnames, &addresses, &Pending::Status(reason));
    for port in service.spec.ports.iter().filter(|port| port.node_port != 0) {
        let protocol =
            if port.protocol.is_empty() { "tcp".to_owned() } else { port.protocol.to_lowercase() };
        for host in &annotations.hostnames {
            if collector.is_over() {
                return None;
            }
            let name = format!("_{}._{protocol}.{host}", service.reference.name);
            let target = arcstr::format!("0 50 {} {host}.", port.node_port);
            let mut endpoint = collector.endpoint(Side::Outside, &name, "SRV", vec![target]);
            endpoint.properties.remove("alias");
            collector.put(endpoint);
        }
    }
    None
}

/// The nodes that answer for the service.
///
/// # Errors
/// Why they are not known now.
fn answering<'n>(
    service: &Service,
    nodes: &'n BTreeMap<ArcStr, Node>,
    backends: &Known<Vec<&Backend>>,
) -> Result<Vec<&'n Node>, String> {
    let schedulable = nodes.iter().filter(|(_, node)| node.is_schedulable);
    if !is_local(&service.spec) {
        return Ok(schedulable.map(|(_, node)| node).collect());
    }
    let backends = match backends {
        Known::Now(backends) => backends,
        Known::NotYet(reason) => return Err(reason.clone()),
        Known::Never => return Err("its pods are not known here".to_owned()),
    };
    // As ExternalDNS: pods that go on serving, else those that serve until they end, else all.
    let best = backends.iter().map(|backend| backend.readiness()).max();
    let carrying: BTreeSet<&ArcStr> = backends
        .iter()
        .filter(|backend| Some(backend.readiness()) == best)
        .map(|backend| &backend.node)
        .collect();
    Ok(schedulable.filter(|(name, _)| carrying.contains(name)).map(|(_, node)| node).collect())
}

/// The pods' addresses under the service's names, and under names of their own. Returns why they are unknown now.
fn headless(
    service: &Service,
    annotations: &Annotations,
    nodes: &Known<&BTreeMap<ArcStr, Node>>,
    backends: &[&Backend],
    collector: &mut Collector<'_>,
) -> Option<String> {
    let of_node = NodeAddress::of(annotations);
    if let (None, Some(word)) = (of_node, &annotations.endpoints_type) {
        collector.assume(format!(
            "the annotation endpoints-type is {word:?}: write NodeExternalIP or HostIP"
        ));
    }
    let addresses_of = |backend: &Backend| match (of_node, nodes) {
        (None, _) => Ok(vec![backend.address.clone()]),
        (Some(which), Known::Now(nodes)) => {
            Ok(nodes.get(&backend.node).map(|node| which.pick(node)).unwrap_or_default())
        }
        (Some(_), Known::NotYet(reason)) => Err(reason.clone()),
        (Some(_), Known::Never) => Err("the nodes are not known here".to_owned()),
    };
    let mut found: BTreeMap<ArcStr, BTreeSet<ArcStr>> = BTreeMap::new();
    let counted = backends
        .iter()
        .filter(|backend| backend.is_ready || service.spec.publish_not_ready_addresses);
    for backend in counted {
        match addresses_of(backend) {
            Ok(addresses) => found.entry(backend.hostname.clone()).or_default().extend(addresses),
            Err(reason) => return Some(reason),
        }
    }
    if found.values().all(BTreeSet::is_empty) {
        return Some("none of its pods is ready".to_owned());
    }
    for (side, hosts) in
        [(Side::Inside, &annotations.internal_hostnames), (Side::Outside, &annotations.hostnames)]
    {
        pods_under(side, hosts, &found, collector);
    }
    None
}

/// The addresses of all pods under each host, and each pod's under a name of its own.
fn pods_under(
    side: Side,
    hosts: &[ArcStr],
    found: &BTreeMap<ArcStr, BTreeSet<ArcStr>>,
    collector: &mut Collector<'_>,
) {
    // Nothing is pending: a pod that is not listed any more is one that is gone.
    let never = Pending::Status(String::new());
    let all: BTreeSet<ArcStr> = found.values().flatten().cloned().collect();
    let all: Vec<ArcStr> = all.into_iter().collect();
    collector.hosts_on(side, hosts, &all, &never);
    let with_names =
        || found.iter().filter(|(name, addresses)| !name.is_empty() && !addresses.is_empty());
    for host in hosts.iter() {
        for (name, addresses) in with_names() {
            if collector.is_over() {
                return;
            }
            let addresses: Vec<ArcStr> = addresses.iter().cloned().collect();
            collector.hosts_on(side, &[arcstr::format!("{name}.{host}")], &addresses, &never);
        }
    }
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
    let spec = &service.spec;
    let (targets, no_targets) = match spec.r#type.as_str() {
        _ if !annotations.targets.is_empty() => {
            (annotations.targets.clone(), Pending::Status(reason))
        }
        // As ExternalDNS: there is nothing else that could be meant.
        "ExternalName" => external_name(service),
        _ if spec.cluster_ip == "None" => (vec![], Pending::Unsupported(reason)),
        _ => (cluster_ips(spec), Pending::Status(reason)),
    };
    collector.hosts_on(Side::Inside, hosts, &targets, &no_targets);
}

fn external_name(service: &Service) -> (Vec<ArcStr>, Pending) {
    let spec = &service.spec;
    let reason = format!("{} has an empty spec.externalName: set it", service.reference);
    let targets = if spec.external_ips.is_empty() {
        let target = without_final_dot(&spec.external_name);
        Some(ArcStr::from(target)).filter(|target| !target.is_empty()).into_iter().collect()
    } else {
        spec.external_ips.clone()
    };
    (targets, Pending::Status(reason))
}

fn targets_of(service: &Service, options: ExtractOptions) -> (Vec<ArcStr>, Pending) {
    let spec = &service.spec;
    let name = &service.reference;
    match spec.r#type.as_str() {
        "LoadBalancer" if spec.external_ips.is_empty() => (
            addresses(&service.status.load_balancer.ingress),
            Pending::Status(format!(
                "{name} has no address in status.loadBalancer yet: the records published so far stay"
            )),
        ),
        "ExternalName" => external_name(service),
        "LoadBalancer" => {
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
                    "{name} has no cluster IP yet: the records published so far stay"
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

/// Every address and every name, without their final dot.
pub(super) fn addresses(ingress: &[Address]) -> Vec<ArcStr> {
    let both = ingress.iter().flat_map(|address| [&address.ip, &address.hostname]);
    both.map(|text| ArcStr::from(without_final_dot(text))).filter(|text| !text.is_empty()).collect()
}
