//! Manifests as people write them.

/// A Service of type LoadBalancer whose controller has given it an address.
pub fn service(object: &str, host: &str, address: &str) -> String {
    annotated_service(object, host, address, &[])
}

/// The same with more annotations of ExternalDNS.
pub fn annotated_service(
    object: &str,
    host: &str,
    address: &str,
    annotations: &[(&str, &str)],
) -> String {
    let more: String = annotations
        .iter()
        .map(|(name, value)| format!("    external-dns.kubernetes.io/{name}: {value:?}\n"))
        .collect();
    format!(
        "apiVersion: v1
kind: Service
metadata:
  name: {object}
  namespace: shop
  annotations:
    external-dns.kubernetes.io/hostname: {host:?}
    external-dns.kubernetes.io/ttl: \"60\"
{more}spec:
  type: LoadBalancer
  ports: [{{port: 443}}]
status:
  loadBalancer:
    ingress:
      - ip: {address}
"
    )
}

/// A DNSEndpoint with one entry.
pub fn dns_endpoint(object: &str, name: &str, rtype: &str, targets: &[String]) -> String {
    let targets = serde_json::to_string(targets).unwrap();
    format!(
        "apiVersion: externaldns.k8s.io/v1alpha1
kind: DNSEndpoint
metadata:
  name: {object}
  namespace: shop
spec:
  endpoints:
    - dnsName: {name:?}
      recordType: {rtype}
      recordTTL: 60
      targets: {targets}
"
    )
}
