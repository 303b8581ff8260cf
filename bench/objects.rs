//! The objects of `bench agent` in a real cluster: services and ingresses as people have them, in a namespace of their own.
//!
//! No controller acts on them: none owns their load balancer and ingress classes, and no port of a node is taken. What a load
//! balancer would have answered is written into their status.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::{Method, Request, header};
use kube::Client;
use serde_json::{Value, json};
use zonefold::wire::v1;

use super::say;

/// The zone of all names, which is not served (RFC 6761 §6.4).
pub const ZONE: &str = "bench.zonefold.invalid";
/// A class of load balancers and ingresses without a controller.
const CLASS: &str = "zonefold.invalid/bench";
/// Requests that are under way at once.
const AT_ONCE: usize = 32;
/// How often something is asked for that the API server is too busy for, and how long that is left alone in between.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);
/// Progress is reported each time this number of objects is made.
const SAY_EVERY: u32 = 1_000;

const MERGE_PATCH: &str = "application/merge-patch+json";

/// A namespace with objects.
pub struct Objects {
    client: Client,
    namespace: String,
    count: u32,
}

/// A change of one object.
pub struct Change {
    path: String,
    patch: Value,
    /// The name that it concerns.
    pub name: String,
    expected: Expected,
}

enum Expected {
    Target(String),
    TtlSecs(i64),
}

impl Change {
    /// Whether this is what the object asks for afterwards.
    pub fn is_in(&self, endpoint: &v1::Endpoint) -> bool {
        match &self.expected {
            Expected::Target(target) => endpoint.targets == [target.as_str()],
            Expected::TtlSecs(ttl_secs) => endpoint.ttl_secs == Some(*ttl_secs),
        }
    }
}

impl Objects {
    /// Prepares `count` objects; none is made yet.
    pub fn new(client: Client, count: u32) -> Self {
        let random = uuid::Uuid::new_v4().simple().to_string();
        Self { client, namespace: format!("zonefold-bench-{}", &random[..8]), count }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// How many endpoints they ask for: one for each name.
    pub fn endpoints(&self) -> usize {
        (0..self.count).map(|number| names(number).len()).sum()
    }

    /// Makes them, and answers how many octets one has on average.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn make(&self) -> anyhow::Result<u64> {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        self.ask(Method::POST, "/api/v1/namespaces", Some(&namespace))
            .await
            .context("the namespace cannot be made")?;
        say(&format!("makes {} objects in the namespace {}", self.count, self.namespace));
        let made = AtomicU32::new(0);
        let making = stream::iter(0..self.count).map(async |number| {
            let octets = self
                .make_one(number)
                .await
                .with_context(|| format!("{} cannot be made", object_name(number)))?;
            let now = made.fetch_add(1, Ordering::Relaxed) + 1;
            if now.is_multiple_of(SAY_EVERY) {
                say(&format!("{now} objects are made"));
            }
            anyhow::Ok(octets as u64)
        });
        let sum: u64 = making
            .buffer_unordered(AT_ONCE)
            .try_fold(0, async |sum, octets| Ok(sum + octets))
            .await?;
        Ok(sum / u64::from(self.count))
    }

    async fn make_one(&self, number: u32) -> anyhow::Result<usize> {
        let object = if is_service(number) {
            service(number, &self.namespace)
        } else {
            ingress(number, &self.namespace)
        };
        self.ask(Method::POST, &self.collection(number, "helm"), Some(&object)).await?;
        let status =
            json!({"status": {"loadBalancer": {"ingress": [address(number, 0).to_json()]}}});
        Ok(self.ask(Method::PATCH, &self.status_path(number), Some(&status)).await?.len())
    }

    /// A change of an object to something that it never was before; `round` is of this change alone, and above 0.
    pub fn change(&self, number: u32, round: u32) -> Change {
        let name = names(number).swap_remove(0);
        if is_service(number) {
            let address = address(number, round);
            let patch = json!({"status": {"loadBalancer": {"ingress": [address.to_json()]}}});
            Change {
                path: self.status_path(number),
                patch,
                name,
                expected: Expected::Target(address.into_text()),
            }
        } else {
            let ttl_secs = 1_000 + i64::from(round);
            let annotations = json!({"external-dns.alpha.kubernetes.io/ttl": ttl_secs.to_string()});
            let patch = json!({"metadata": {"annotations": annotations}});
            Change {
                path: self.object_path(number, "kubectl-edit"),
                patch,
                name,
                expected: Expected::TtlSecs(ttl_secs),
            }
        }
    }

    /// Makes a change, once: a second attempt would be measured as one.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn patch(&self, change: &Change) -> anyhow::Result<()> {
        self.ask_once(&Method::PATCH, &change.path, Some(&change.patch)).await?;
        Ok(())
    }

    /// Deletes what was made, and what the agent wrote about it.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn delete(&self) -> anyhow::Result<()> {
        say(&format!("deletes the objects of the namespace {}", self.namespace));
        // Nothing can be made in it from now on: calls under way when the benchmark was stopped are refused.
        let namespace = format!("/api/v1/namespaces/{}", self.namespace);
        self.ask(Method::DELETE, &namespace, None).await?;
        let deleting = stream::iter((0..self.count).map(anyhow::Ok));
        deleting
            .try_for_each_concurrent(AT_ONCE, async |number| {
                self.ask(Method::DELETE, &self.object_path(number, "helm"), None).await.map(drop)
            })
            .await?;
        self.ask(Method::DELETE, &format!("{namespace}/events"), None).await?;
        Ok(())
    }

    /// Asks again where the API server is busy. What is there already was made by an attempt before, and what is gone was deleted.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<String> {
        let mut attempt = 1;
        loop {
            match self.ask_once(&method, path, body).await {
                Err(kube::Error::Api(status))
                    if method == Method::DELETE && status.code == 404
                        || attempt > 1 && status.code == 409 =>
                {
                    return Ok(String::new());
                }
                Err(kube::Error::Api(status)) if status.code != 429 && status.code < 500 => {
                    return Err(kube::Error::Api(status).into());
                }
                Err(error) if attempt == ATTEMPTS => return Err(error.into()),
                Err(_) => tokio::time::sleep(PAUSE * attempt).await,
                Ok(answer) => return Ok(answer),
            }
            attempt += 1;
        }
    }

    async fn ask_once(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> kube::Result<String> {
        let content_type = if method == Method::PATCH { MERGE_PATCH } else { "application/json" };
        let request =
            Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, content_type);
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        self.client.request_text(request.body(body).map_err(kube::Error::HttpError)?).await
    }

    fn path(&self, number: u32) -> String {
        let namespace = &self.namespace;
        match is_service(number) {
            true => format!("/api/v1/namespaces/{namespace}/services"),
            false => format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses"),
        }
    }

    fn collection(&self, number: u32, manager: &str) -> String {
        format!("{}?fieldManager={manager}", self.path(number))
    }

    fn object_path(&self, number: u32, manager: &str) -> String {
        format!("{}/{}?fieldManager={manager}", self.path(number), object_name(number))
    }

    fn status_path(&self, number: u32) -> String {
        format!(
            "{}/{}/status?fieldManager=load-balancer-controller",
            self.path(number),
            object_name(number)
        )
    }
}

fn is_service(number: u32) -> bool {
    number.is_multiple_of(2)
}

fn application(number: u32) -> &'static str {
    const APPLICATIONS: [&str; 7] =
        ["checkout", "catalogue", "payments", "search", "accounts", "recommendations", "shipping"];
    APPLICATIONS[number as usize % APPLICATIONS.len()]
}

fn object_name(number: u32) -> String {
    format!(
        "{}-{}-{number}",
        application(number),
        if is_service(number) { "gateway" } else { "web" }
    )
}

/// The names that an object asks for: every second ingress has two.
fn names(number: u32) -> Vec<String> {
    let first = format!("{}.{ZONE}", object_name(number));
    if number % 4 == 3 {
        vec![first, format!("admin.{}.{ZONE}", object_name(number))]
    } else {
        vec![first]
    }
}

/// A load balancer's address.
enum Address {
    Ip(String),
    Hostname(String),
}

impl Address {
    fn to_json(&self) -> Value {
        match self {
            Self::Ip(ip) => json!({"ip": ip}),
            Self::Hostname(hostname) => json!({"hostname": hostname}),
        }
    }

    fn into_text(self) -> String {
        match self {
            Self::Ip(text) | Self::Hostname(text) => text,
        }
    }
}

/// The address of an object in a round. A third of all objects has addresses, the others names as AWS gives them.
fn address(number: u32, round: u32) -> Address {
    if number.is_multiple_of(3) {
        let [_, _, high, low] = number.to_be_bytes();
        // RFC 6598 shared addresses, and RFC 2544 of benchmarks.
        let [_, _, above, below] = round.to_be_bytes();
        let ip = if round == 0 {
            format!("100.64.{high}.{low}")
        } else {
            format!("198.18.{above}.{below}")
        };
        return Address::Ip(ip);
    }
    let load_balancer = format!("k8s-{}-{number:08x}-{round:04x}", &application(number)[..6]);
    Address::Hostname(format!("{load_balancer}.elb.eu-central-1.amazonaws.com"))
}

fn metadata(number: u32, namespace: &str, mut annotations: Value, applied: &Value) -> Value {
    let (application, name) = (application(number), object_name(number));
    let labels = json!({
        "app.kubernetes.io/name": application, "app.kubernetes.io/instance": name, "app.kubernetes.io/version": "4.17.2",
        "app.kubernetes.io/component": "frontend", "app.kubernetes.io/part-of": "shop",
        "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": format!("{application}-1.24.0"), "team": "storefront",
    });
    annotations["meta.helm.sh/release-name"] = json!(name);
    annotations["meta.helm.sh/release-namespace"] = json!(namespace);
    // As `kubectl apply` writes it: the whole object once more.
    annotations["kubectl.kubernetes.io/last-applied-configuration"] = json!(applied.to_string());
    json!({"name": name, "namespace": namespace, "labels": labels, "annotations": annotations})
}

fn service(number: u32, namespace: &str) -> Value {
    let port = |name: &str, port: u16, target: &str| json!({"name": name, "port": port, "protocol": "TCP", "targetPort": target});
    let spec = json!({
        "type": "LoadBalancer", "loadBalancerClass": CLASS, "allocateLoadBalancerNodePorts": false,
        "externalTrafficPolicy": "Cluster", "ports": [port("http", 80, "http"), port("https", 443, "https")],
        "selector": {"app.kubernetes.io/name": application(number), "app.kubernetes.io/instance": object_name(number)},
    });
    let annotations = json!({
        "external-dns.alpha.kubernetes.io/hostname": names(number).join(","),
        "external-dns.alpha.kubernetes.io/ttl": "60",
        "service.beta.kubernetes.io/aws-load-balancer-scheme": "internal",
        "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type": "ip",
        "service.beta.kubernetes.io/aws-load-balancer-cross-zone-load-balancing-enabled": "true",
    });
    let metadata = metadata(
        number,
        namespace,
        annotations,
        &json!({"apiVersion": "v1", "kind": "Service", "spec": spec}),
    );
    json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
}

fn ingress(number: u32, namespace: &str) -> Value {
    let hosts = names(number);
    let backend = json!({"service": {"name": object_name(number), "port": {"name": "http"}}});
    let rule = |host: &String| {
        let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
        json!({"host": host, "http": {"paths": paths}})
    };
    let spec = json!({
        "ingressClassName": "zonefold-bench", "rules": hosts.iter().map(rule).collect::<Vec<_>>(),
        "tls": [{"hosts": hosts, "secretName": format!("{}-tls", object_name(number))}],
    });
    let annotations = json!({
        "cert-manager.io/cluster-issuer": "internal", "alb.ingress.kubernetes.io/scheme": "internal",
        "alb.ingress.kubernetes.io/target-type": "ip", "alb.ingress.kubernetes.io/listen-ports": "[{\"HTTPS\":443}]",
        "alb.ingress.kubernetes.io/healthcheck-path": "/healthz",
    });
    let applied = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": spec});
    let metadata = metadata(number, namespace, annotations, &applied);
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use zonefold::agent::sources::{ExtractOptions, Object, extract};

    const COUNT: u32 = 24;

    fn objects() -> Objects {
        let nowhere = tower::service_fn(async |_: Request<kube::client::Body>| {
            Err::<http::Response<axum::body::Body>, _>("nobody")
        });
        Objects::new(Client::new(nowhere, "default"), COUNT)
    }

    /// An object with its status, and a change made to it.
    fn wanted(number: u32, change: Option<&Change>) -> Vec<v1::Endpoint> {
        let mut object =
            if is_service(number) { service(number, "shop") } else { ingress(number, "shop") };
        object["status"] = json!({"loadBalancer": {"ingress": [address(number, 0).to_json()]}});
        if let Some(change) = change {
            merge(&mut object, &change.patch);
        }
        let extraction =
            extract(&Object::read(object).unwrap().unwrap(), ExtractOptions::default());
        assert!(extraction.warnings.is_empty(), "{extraction:?}");
        extraction.endpoints.iter().map(v1::Endpoint::from).collect()
    }

    fn merge(object: &mut Value, patch: &Value) {
        match patch {
            Value::Object(fields) => {
                fields.iter().for_each(|(name, value)| merge(&mut object[name], value))
            }
            value => *object = value.clone(),
        }
    }

    #[tokio::test]
    async fn an_object_asks_for_one_endpoint_under_each_of_its_names() {
        let mut all = BTreeSet::new();
        for number in 0..COUNT {
            let asked: Vec<String> = wanted(number, None)
                .into_iter()
                .filter_map(|endpoint| Some(endpoint.key?.dns_name))
                .collect();
            assert_eq!(asked.iter().collect::<BTreeSet<_>>(), names(number).iter().collect());
            all.extend(asked);
        }
        assert_eq!(all.len(), objects().endpoints());
    }

    #[tokio::test]
    async fn a_change_is_seen_in_the_endpoint_of_its_name_and_was_not_there_before() {
        let objects = objects();
        for number in 0..COUNT {
            for round in [1, 2] {
                let change = objects.change(number, round);
                let is_there = |wanted: Vec<v1::Endpoint>| {
                    let of_name = |endpoint: &v1::Endpoint| {
                        endpoint.key.as_ref().is_some_and(|key| key.dns_name == change.name)
                    };
                    wanted.iter().any(|endpoint| of_name(endpoint) && change.is_in(endpoint))
                };
                let other = objects.change(number, round % 2 + 1);
                assert!(
                    !is_there(wanted(number, None)) && !is_there(wanted(number, Some(&other))),
                    "{}",
                    change.name
                );
                assert!(is_there(wanted(number, Some(&change))), "{}", change.name);
            }
        }
    }
}
