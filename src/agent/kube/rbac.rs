//! The agent's permissions in its cluster: exactly those that its sources need, as manifests to apply.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use arcstr::ArcStr;

use super::Telling;
use super::resources::{
    ENDPOINT_SLICES, GATEWAYS, LEASES, LISTENER_SETS, NAMESPACES, NODES, Resource, resource_of,
};
use crate::agent::sources::SourceKind;

/// The name in the manifests, unless another one is given.
pub const NAME: &str = "zonefold-agent";

/// The service account, and what it needs.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The name of the roles and of their bindings; `-lease` is added for those that are only about the Lease.
    pub name: String,
    /// The kinds of objects.
    pub sources: Vec<SourceKind>,
    /// The namespaces in which they are read; empty for all.
    pub namespaces: Vec<ArcStr>,
    /// Whether the outcome of each name is written on the objects.
    pub telling: Telling,
    /// The Lease that decides which of several agents leads; `None` if the agent runs alone.
    pub lease: Option<String>,
    /// The agent's service account.
    pub service_account: String,
    /// Its namespace.
    pub agent_namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PolicyRule {
    group: &'static str,
    resources: BTreeSet<String>,
    names: Vec<String>,
    verbs: Vec<&'static str>,
    /// For the reader; empty for none.
    note: &'static str,
}

/// The manifests, in YAML.
pub fn manifests(wanted: &Wanted) -> String {
    let mut text = String::new();
    let of_cluster = cluster_rules(&wanted.sources);
    let mut of_objects = object_rules(&wanted.sources);
    if wanted.telling == Telling::OnObjects {
        of_objects.extend(telling_rules(&wanted.sources));
    }
    if wanted.namespaces.is_empty() {
        let rules: Vec<PolicyRule> = of_cluster.into_iter().chain(of_objects).collect();
        role(&mut text, wanted, (&wanted.name, None), &rules);
    } else {
        role(&mut text, wanted, (&wanted.name, None), &of_cluster);
        for namespace in &wanted.namespaces {
            role(&mut text, wanted, (&wanted.name, Some(namespace.as_str())), &of_objects);
        }
    }
    if let Some(lease) = &wanted.lease {
        let name = format!("{}-lease", wanted.name);
        role(&mut text, wanted, (&name, Some(&wanted.agent_namespace)), &lease_rules(lease));
    }
    text
}

/// Permissions outside of the namespaces of the objects: the UID that tells clusters apart, nodes, Gateways.
fn cluster_rules(sources: &[SourceKind]) -> Vec<PolicyRule> {
    let resources = BTreeSet::from([NAMESPACES.plural.to_owned()]);
    let uid = PolicyRule {
        group: NAMESPACES.group,
        resources,
        names: vec!["kube-system".to_owned()],
        verbs: vec!["get"],
        note: "",
    };
    let note = "only for services of type NodePort, and those with the annotation endpoints-type";
    let nodes = sources.contains(&SourceKind::Service).then(|| around_rule(&NODES, note));
    let has_routes = sources.iter().any(|source| resource_of(*source).group == GATEWAYS.group);
    let gateways = has_routes.then(|| {
        let resources =
            BTreeSet::from([GATEWAYS.plural.to_owned(), LISTENER_SETS.plural.to_owned()]);
        PolicyRule { resources, ..around_rule(&GATEWAYS, "") }
    });
    let labels = has_routes.then(|| {
        around_rule(&NAMESPACES, "only for listeners that take routes from namespaces with labels")
    });
    [uid].into_iter().chain(nodes).chain(gateways).chain(labels).collect()
}

fn object_rules(sources: &[SourceKind]) -> Vec<PolicyRule> {
    let mut by_group: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
    for resource in sources.iter().map(|source| resource_of(*source)) {
        by_group.entry(resource.group).or_default().insert(resource.plural.to_owned());
    }
    let rule = |(group, resources)| PolicyRule {
        group,
        resources,
        names: vec![],
        verbs: vec!["get", "list", "watch"],
        note: "",
    };
    let note =
        "only for headless services, and those of type NodePort with externalTrafficPolicy Local";
    let pods = sources.contains(&SourceKind::Service).then(|| around_rule(&ENDPOINT_SLICES, note));
    by_group.into_iter().map(rule).chain(pods).collect()
}

fn around_rule(resource: &Resource, note: &'static str) -> PolicyRule {
    let resources = BTreeSet::from([resource.plural.to_owned()]);
    PolicyRule {
        group: resource.group,
        resources,
        names: vec![],
        verbs: vec!["list", "watch"],
        note,
    }
}

/// Events on all objects, conditions on DNSEndpoints.
fn telling_rules(sources: &[SourceKind]) -> Vec<PolicyRule> {
    let rule = |group, resource: &str, verb| PolicyRule {
        group,
        resources: BTreeSet::from([resource.to_owned()]),
        names: vec![],
        verbs: vec![verb],
        note: "",
    };
    let conditions = sources.contains(&SourceKind::DnsEndpoint).then(|| {
        let resource = resource_of(SourceKind::DnsEndpoint);
        rule(resource.group, &format!("{}/status", resource.plural), "patch")
    });
    [rule("", "events", "create")].into_iter().chain(conditions).collect()
}

/// The permission to create cannot be restricted to a name.
fn lease_rules(lease: &str) -> [PolicyRule; 2] {
    let resources = BTreeSet::from([LEASES.plural.to_owned()]);
    let rule = |names, verbs| PolicyRule {
        group: LEASES.group,
        resources: resources.clone(),
        names,
        verbs,
        note: "",
    };
    [rule(vec![lease.to_owned()], vec!["get", "update"]), rule(vec![], vec!["create"])]
}

fn role(
    text: &mut String,
    wanted: &Wanted,
    (name, namespace): (&str, Option<&str>),
    rules: &[PolicyRule],
) {
    let kind = if namespace.is_some() { "Role" } else { "ClusterRole" };
    let place = namespace
        .map_or_else(String::new, |namespace| format!("\n  namespace: {}", quoted(namespace)));
    let rules: String = rules.iter().map(rule_text).collect();
    let (name, service_account, agent_namespace) =
        (quoted(name), quoted(&wanted.service_account), quoted(&wanted.agent_namespace));
    // Writing to a String does not fail.
    let _ = write!(
        text,
        "---
apiVersion: rbac.authorization.k8s.io/v1
kind: {kind}
metadata:
  name: {name}{place}
rules:
{rules}---
apiVersion: rbac.authorization.k8s.io/v1
kind: {kind}Binding
metadata:
  name: {name}{place}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {kind}
  name: {name}
subjects:
  - kind: ServiceAccount
    name: {service_account}
    namespace: {agent_namespace}
"
    );
}

/// A name as YAML reads it as text: `123` and `on` are names too. JSON's texts are YAML's.
fn quoted(name: &str) -> String {
    serde_json::Value::from(name).to_string()
}

fn rule_text(rule: &PolicyRule) -> String {
    let list = |items: &mut dyn Iterator<Item = &str>| items.collect::<Vec<_>>().join(", ");
    let names = match rule.names.as_slice() {
        [] => String::new(),
        names => format!(
            "    resourceNames: [{}]\n",
            list(
                &mut names
                    .iter()
                    .map(|name| quoted(name))
                    .collect::<Vec<_>>()
                    .iter()
                    .map(String::as_str)
            )
        ),
    };
    let note = if rule.note.is_empty() { String::new() } else { format!("  # {}\n", rule.note) };
    format!(
        "{note}  - apiGroups: [\"{}\"]\n    resources: [{}]\n{names}    verbs: [{}]\n",
        rule.group,
        list(&mut rule.resources.iter().map(String::as_str)),
        list(&mut rule.verbs.iter().copied()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(sources: &[SourceKind], namespaces: &[&str], telling: Telling) -> String {
        manifests(&Wanted {
            name: NAME.to_owned(),
            sources: sources.to_vec(),
            namespaces: namespaces.iter().map(|namespace| ArcStr::from(*namespace)).collect(),
            telling,
            lease: None,
            service_account: "agent".to_owned(),
            agent_namespace: "dns".to_owned(),
        })
    }

    fn documents(text: &str) -> Vec<serde_json::Value> {
        text.split("---\n")
            .filter(|part| !part.is_empty())
            .map(|part| serde_saphyr::from_str(part).unwrap())
            .collect()
    }

    #[test]
    fn nothing_is_asked_for_beside_what_the_sources_read() {
        let printed =
            documents(&printed(&[SourceKind::Service, SourceKind::Ingress], &[], Telling::Nowhere));
        assert_eq!(
            printed[0]["rules"],
            serde_json::json!([
                {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"]},
                {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]},
                {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ])
        );
        assert_eq!(printed[1]["subjects"][0]["namespace"], "dns");
        assert_eq!(printed.len(), 2);
    }

    #[test]
    fn a_namespace_is_a_text_whatever_it_looks_like() {
        let printed = documents(&printed(&[SourceKind::Service], &["123", "on"], Telling::Nowhere));
        assert_eq!(
            (&printed[2]["metadata"]["namespace"], &printed[4]["metadata"]["namespace"]),
            (&"123".into(), &"on".into())
        );
    }

    #[test]
    fn the_lease_is_written_in_the_agents_own_namespace_and_no_other_is() {
        let text = manifests(&Wanted {
            name: NAME.to_owned(),
            sources: vec![SourceKind::Service],
            namespaces: vec![],
            telling: Telling::Nowhere,
            lease: Some("zonefold-agent".to_owned()),
            service_account: "zonefold-agent".to_owned(),
            agent_namespace: "dns".to_owned(),
        });
        let printed = documents(&text);
        assert_eq!(
            (&printed[2]["kind"], &printed[2]["metadata"]["namespace"]),
            (&"Role".into(), &"dns".into())
        );
        assert_eq!(
            printed[2]["rules"],
            serde_json::json!([
                {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["zonefold-agent"], "verbs": ["get", "update"]},
                {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
            ])
        );
        assert_eq!(printed[3]["roleRef"]["name"], printed[2]["metadata"]["name"]);
        assert_ne!(printed[2]["metadata"]["name"], printed[0]["metadata"]["name"]);
    }

    #[test]
    fn two_agents_of_one_cluster_have_roles_of_their_own() {
        let names = |name: &str| -> Vec<String> {
            let wanted = Wanted {
                name: name.to_owned(),
                sources: vec![SourceKind::Service],
                namespaces: vec!["shop".into()],
                telling: Telling::Nowhere,
                lease: Some("lease".to_owned()),
                service_account: "agent".to_owned(),
                agent_namespace: "dns".to_owned(),
            };
            let printed = documents(&manifests(&wanted));
            let is_bound = |one: &&serde_json::Value| one["roleRef"].is_object();
            for binding in printed.iter().filter(is_bound) {
                assert_eq!(binding["roleRef"]["name"], binding["metadata"]["name"]);
            }
            printed.iter().map(|one| one["metadata"]["name"].as_str().unwrap().to_owned()).collect()
        };
        let (shop, web) = (names("shop-agent"), names("web-agent"));
        assert!(shop.iter().all(|name| name.starts_with("shop-agent")), "{shop:?}");
        assert!(shop.iter().all(|name| !web.contains(name)), "{shop:?} {web:?}");
    }

    #[test]
    fn gateways_are_readable_wherever_they_stand() {
        let printed =
            documents(&printed(&[SourceKind::GatewayHttpRoute], &["shop"], Telling::Nowhere));
        let of_cluster: Vec<&serde_json::Value> =
            printed[0]["rules"].as_array().unwrap().iter().map(|rule| &rule["resources"]).collect();
        assert_eq!(
            serde_json::json!(of_cluster),
            serde_json::json!([["namespaces"], ["gateways", "listenersets"], ["namespaces"]])
        );
        assert_eq!(printed[2]["rules"][0]["resources"], serde_json::json!(["httproutes"]));
    }

    #[test]
    fn named_namespaces_have_a_role_each_and_nothing_else_is_readable() {
        let printed =
            documents(&printed(&[SourceKind::DnsEndpoint], &["shop", "web"], Telling::OnObjects));
        let kinds: Vec<&str> =
            printed.iter().filter_map(|document| document["kind"].as_str()).collect();
        assert_eq!(
            kinds,
            ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Role", "RoleBinding"]
        );
        assert_eq!(printed[0]["rules"].as_array().unwrap().len(), 1);
        assert_eq!(printed[4]["metadata"]["namespace"], "web");
        let written: Vec<String> = printed[4]["rules"].as_array().unwrap()[1..]
            .iter()
            .map(|rule| rule["resources"][0].to_string())
            .collect();
        assert_eq!(written, ["\"events\"", "\"dnsendpoints/status\""]);
    }
}
