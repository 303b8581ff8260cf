//! Services, by their type.

use arcstr::ArcStr;

use super::annotations::Annotations;
use super::object::{Address, LoadBalanced, Manifest, ServiceSpec};
use super::{ClusterIps, Collector, ExtractOptions, Extraction, Pending};

pub(super) fn extract(service: &Manifest<ServiceSpec, LoadBalanced>, options: ExtractOptions) -> Extraction {
    let annotations = Annotations::read(&service.annotations);
    let mut collector = Collector::new(&service.reference, &annotations);
    if annotations.foreign_controller {
        return collector.finish();
    }
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
    internal_hosts(service, &annotations, &mut collector);
    collector.finish()
}

/// Whether the `hostname` annotation means anything for this service: a cluster IP is published only when that was chosen.
fn is_published(service: &Manifest<ServiceSpec, LoadBalanced>, options: ExtractOptions) -> bool {
    let cluster_ip_only = matches!(service.spec.r#type.as_str(), "" | "ClusterIP") && service.spec.cluster_ip != "None";
    !cluster_ip_only || options.cluster_ips == ClusterIps::Publish
}

fn internal_hosts(service: &Manifest<ServiceSpec, LoadBalanced>, annotations: &Annotations, collector: &mut Collector<'_>) {
    let hosts = &annotations.internal_hostnames;
    if hosts.is_empty() {
        return;
    }
    let reason = format!(
        "{} has the annotation internal-hostname and no cluster IP: remove the annotation or wait for the address",
        service.reference
    );
    let targets = if annotations.targets.is_empty() { cluster_ips(&service.spec) } else { annotations.targets.clone() };
    let headless = service.spec.cluster_ip == "None" || service.spec.r#type == "ExternalName";
    let no_targets = if headless { Pending::Unsupported(reason) } else { Pending::Status(reason) };
    collector.hosts(hosts, &targets, &no_targets);
}

fn targets_of(service: &Manifest<ServiceSpec, LoadBalanced>, options: ExtractOptions) -> (Vec<ArcStr>, Pending) {
    let spec = &service.spec;
    let name = &service.reference;
    match spec.r#type.as_str() {
        "LoadBalancer" if spec.external_ips.is_empty() => (
            addresses(&service.status.load_balancer.ingress),
            Pending::Status(format!("{name} has no address in status.loadBalancer yet: what was published before stays")),
        ),
        "ExternalName" if spec.external_ips.is_empty() => {
            let target = spec.external_name.trim_end_matches('.');
            let reason = format!("{name} has an empty spec.externalName: set it");
            (Some(ArcStr::from(target)).filter(|target| !target.is_empty()).into_iter().collect(), Pending::Status(reason))
        }
        "LoadBalancer" | "ExternalName" => (spec.external_ips.clone(), Pending::Status(format!("{name} has no external IP"))),
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
            let targets = if options.cluster_ips == ClusterIps::Publish { cluster_ips(spec) } else { vec![] };
            (targets, Pending::Status(format!("{name} has no cluster IP yet: what was published before stays")))
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
    both.map(|text| ArcStr::from(text.trim_end_matches('.'))).filter(|text| !text.is_empty()).collect()
}
