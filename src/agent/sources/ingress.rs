//! Ingresses: the hosts of their rules and certificates, and those of the annotation.

use arcstr::ArcStr;

use super::annotations::{Annotations, normal_host};
use super::object::{IngressSpec, LoadBalanced, Manifest};
use super::service::addresses;
use super::{Collector, Extraction, Pending, unique};

pub(super) fn extract(ingress: &Manifest<IngressSpec, LoadBalanced>) -> Extraction {
    let annotations = Annotations::read(&ingress.annotations);
    let mut collector = Collector::new(&ingress.reference, &annotations);
    if annotations.foreign_controller {
        return collector.finish();
    }
    let defined = defined_hosts(&ingress.spec);
    let annotated = annotations.hostnames.iter().cloned();
    let word = annotations.ingress_hostname_source.as_deref();
    let hosts = match word.map(str::to_ascii_lowercase).as_deref() {
        Some("defined-hosts-only") => unique(defined),
        Some("annotation-only") => unique(annotated),
        _ => {
            // Whatever was meant, no name is missing then, and none has other targets.
            if let Some(word) = word {
                collector.warn(format!(
                    "the annotation ingress-hostname-source is {word:?}: write defined-hosts-only or annotation-only; it is ignored"
                ));
            }
            unique(defined.chain(annotated))
        }
    };
    let targets = match annotations.targets.as_slice() {
        [] => addresses(&ingress.status.load_balancer.ingress),
        targets => targets.to_vec(),
    };
    let reason = format!(
        "{} has no address in status.loadBalancer yet: the records published so far stay",
        ingress.reference
    );
    collector.hosts(&hosts, &targets, &Pending::Status(reason));
    collector.finish()
}

fn defined_hosts(spec: &IngressSpec) -> impl Iterator<Item = ArcStr> {
    spec.rules
        .iter()
        .map(|rule| &rule.host)
        .chain(spec.tls.iter().flat_map(|tls| &tls.hosts))
        .map(|host| normal_host(host))
}
