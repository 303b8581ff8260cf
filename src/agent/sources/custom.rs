//! Custom resources: DNSEndpoint, F5's VirtualServer and NGINX's VirtualServer.

use std::collections::BTreeMap;

use arcstr::ArcStr;

use super::annotations::{Annotations, VISIBILITY_PROPERTY, normal_host, visibility};
use super::object::{
    DnsEndpointSpec, F5Spec, F5Status, Ignored, Manifest, NginxSpec, NginxStatus, Property,
};
use super::service::addresses;
use super::target::{record_type_of, without_route_domain};
use super::{Collector, Extraction, Pending, Side, unique};
use crate::core::endpoint::Endpoint;

/// A DNSEndpoint says everything itself; ExternalDNS reads no annotation of it. Ours, which says who may resolve its names, counts
/// for the entries that do not say so.
pub(super) fn extract_dns_endpoint(object: &Manifest<DnsEndpointSpec, Ignored>) -> Extraction {
    let mut annotations = Annotations::default();
    let visibility = visibility(&object.annotations, &mut annotations.warnings);
    let mut collector = Collector::new(&object.reference, &annotations);
    for (number, entry) in object.spec.endpoints.iter().enumerate() {
        let host = normal_host(&entry.dns_name);
        let place = format!("{} spec.endpoints[{number}]", object.reference);
        if host.is_empty() {
            collector.warn(format!("{place} has no dnsName: it is ignored"));
            continue;
        }
        if entry.targets.is_empty() {
            let reason = format!(
                "{place} ({host}) has no targets: the records published so far stay; write targets or remove the entry"
            );
            collector.warn(reason.clone());
            collector.wait(host, Pending::Status(reason));
            continue;
        }
        let mut properties = properties(&entry.provider_specific);
        if let Some(word) = &visibility {
            properties.entry(VISIBILITY_PROPERTY.clone()).or_insert_with(|| word.clone());
        }
        let mut by_type: BTreeMap<&str, Vec<ArcStr>> = BTreeMap::new();
        for target in &entry.targets {
            let written = Some(entry.record_type.as_str()).filter(|text| !text.is_empty());
            let record_type = written.unwrap_or_else(|| record_type_of(target));
            by_type.entry(record_type).or_default().push(target.clone());
        }
        for (record_type, targets) in by_type {
            collector.put(Endpoint {
                key: collector.key(&host, record_type, &entry.set_identifier),
                targets,
                ttl_secs: Some(entry.record_ttl).filter(|ttl_secs| *ttl_secs != 0),
                properties: properties.clone(),
            });
        }
        if collector.is_over() {
            break;
        }
    }
    collector.finish()
}

pub(super) fn extract_f5(server: &Manifest<F5Spec, F5Status>) -> Extraction {
    let read = Annotations::read(&server.annotations);
    // ExternalDNS reads neither routing nor properties from this kind.
    let mut annotations = Annotations { set_identifier: ArcStr::new(), ..read };
    annotations.properties.retain(|name, _| *name == VISIBILITY_PROPERTY);
    let mut collector = Collector::new(&server.reference, &annotations);
    if annotations.foreign_controller {
        return collector.finish();
    }
    let hosts = unique(
        [&server.spec.host]
            .into_iter()
            .chain(&server.spec.host_aliases)
            .map(|host| normal_host(host)),
    );
    let address = &server.status.vs_address;
    let in_use = !address.is_empty() && !address.eq_ignore_ascii_case("none");
    let targets =
        match (in_use, annotations.targets.as_slice(), server.spec.virtual_server_address.as_str())
        {
            (false, ..) => vec![],
            (true, [], "") => vec![without_route_domain(address).into()],
            (true, [], wanted) => vec![without_route_domain(wanted).into()],
            (true, annotated, _) => annotated.to_vec(),
        };
    let reason = format!(
        "{} has no address in status.vsAddress yet: the records published so far stay",
        server.reference
    );
    collector.hosts(&hosts, &targets, &Pending::Status(reason));
    collector.finish()
}

pub(super) fn extract_nginx(server: &Manifest<NginxSpec, NginxStatus>) -> Extraction {
    let wanted = &server.spec.external_dns;
    let mut annotations = Annotations::read(&server.annotations);
    if wanted.record_ttl != 0 {
        annotations.ttl_secs = Some(wanted.record_ttl);
    }
    annotations.properties.extend(properties(&wanted.provider_specific));
    let mut collector = Collector::new(&server.reference, &annotations);
    let host = normal_host(&server.spec.host);
    if annotations.foreign_controller || !wanted.enable || host.is_empty() {
        return collector.finish();
    }
    let targets = match annotations.targets.as_slice() {
        [] => addresses(&server.status.external_endpoints),
        targets => targets.to_vec(),
    };
    if targets.is_empty() || wanted.record_type.is_empty() {
        let reason = format!(
            "{} has no address in status.externalEndpoints yet: the records published so far stay",
            server.reference
        );
        collector.hosts(&[host], &targets, &Pending::Status(reason));
    } else {
        for target in &targets {
            collector.add(Side::Outside, &host, &wanted.record_type, target);
        }
    }
    collector.finish()
}

fn properties(list: &[Property]) -> BTreeMap<ArcStr, ArcStr> {
    list.iter().map(|property| (property.name.clone(), property.value.clone())).collect()
}
