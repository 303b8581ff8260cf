//! An API server in memory, for tests: lists in pages, watches with history and bookmarks, refusals, kinds that come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::core::time::Timestamp;
use crate::ports::Clock;

/// A clock that stands still.
pub struct Midnight;

impl Clock for Midnight {
    fn now(&self) -> Timestamp {
        Timestamp(1_800_000_000_000)
    }
}

/// A handle on the API server.
#[derive(Clone, Default)]
pub struct Fake {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    version: u64,
    /// Events up to this version are forgotten.
    forgotten: u64,
    /// Group path and plural → whether things can be made of it.
    kinds: BTreeMap<(String, String), bool>,
    /// Plural with its group path, namespace, name.
    objects: BTreeMap<(String, String, String), Value>,
    history: Vec<(u64, String, String)>,
    watches: Vec<(String, mpsc::UnboundedSender<Result<Bytes, std::io::Error>>)>,
    lost: Vec<mpsc::UnboundedSender<Result<Bytes, std::io::Error>>>,
    refused: BTreeMap<String, u16>,
    /// The connection breaks.
    is_away: bool,
    /// The second page of a list is of another moment.
    pages_drift: bool,
    /// A watch finds the version it starts from expired.
    expires_at_once: bool,
    /// No object has the labels that are asked for.
    selects_nothing: bool,
    log: Vec<String>,
    events: Vec<Value>,
    drops_conditions: bool,
}

/// The subject of a request.
struct Asked {
    /// Group path and plural.
    kind: (String, String),
    namespace: Option<String>,
    name: Option<String>,
}

impl Fake {
    /// An API server that serves these built-in kinds and nothing else.
    pub fn new() -> Self {
        let fake = Self::default();
        for (group, plural) in [
            ("/api/v1", "services"),
            ("/api/v1", "nodes"),
            ("/apis/discovery.k8s.io/v1", "endpointslices"),
        ] {
            fake.serve(group, plural);
        }
        fake
    }

    pub fn client(&self) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let fake = fake.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                fake.answer(head.method.as_str(), &head.uri, &body)
            }
        });
        Client::new(service, "default")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn serve(&self, group: &str, plural: &str) {
        self.lock().kinds.insert((group.to_owned(), plural.to_owned()), true);
    }

    /// Removes a custom kind as Kubernetes does: nothing can be made of it, its objects go one by one, then it is gone.
    pub fn begin_to_remove(&self, group: &str, plural: &str) {
        let kind = (group.to_owned(), plural.to_owned());
        self.lock().kinds.insert(kind.clone(), false);
        let gone: Vec<_> = self
            .lock()
            .objects
            .keys()
            .filter(|(path, ..)| *path == collection(&kind))
            .cloned()
            .collect();
        gone.iter().for_each(|(path, namespace, name)| self.delete_at(path, namespace, name));
    }

    pub fn finish_to_remove(&self, group: &str, plural: &str) {
        self.lock().kinds.remove(&(group.to_owned(), plural.to_owned()));
        self.break_watches();
    }

    pub fn put(&self, group: &str, plural: &str, mut object: Value) {
        let mut state = self.lock();
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let place = (format!("{group}/{plural}"), text("namespace"), text("name"));
        let path = place.0.clone();
        let what = if state.objects.insert(place, object.clone()).is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        state.happened(version, path, json!({"type": what, "object": object}));
    }

    pub fn delete(&self, group: &str, plural: &str, namespace: &str, name: &str) {
        self.delete_at(&format!("{group}/{plural}"), namespace, name);
    }

    fn delete_at(&self, path: &str, namespace: &str, name: &str) {
        let mut state = self.lock();
        let place = (path.to_owned(), namespace.to_owned(), name.to_owned());
        let mut object = state.objects.remove(&place).unwrap();
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        state.happened(version, place.0, json!({"type": "DELETED", "object": object}));
    }

    /// Tells all watches where they stand.
    pub fn bookmark(&self) {
        let mut state = self.lock();
        state.version += 1;
        let version = state.version;
        let paths: BTreeSet<String> = state.watches.iter().map(|(path, _)| path.clone()).collect();
        for path in paths {
            let object = json!({"kind": "X", "apiVersion": "v1", "metadata": {"resourceVersion": version.to_string()}});
            state.happened(version, path, json!({"type": "BOOKMARK", "object": object}));
        }
    }

    /// Forgets what happened so far: who asks from before has to list again.
    pub fn forget_history(&self) {
        let mut state = self.lock();
        state.forgotten = state.version;
    }

    pub fn break_watches(&self) {
        for (_, watch) in self.lock().watches.drain(..) {
            let _ = watch.send(Err(std::io::Error::other("connection reset")));
        }
    }

    /// The watches stay open and are told nothing more.
    pub fn lose_watches(&self) {
        let mut state = self.lock();
        let lost = std::mem::take(&mut state.watches);
        state.lost.extend(lost.into_iter().map(|(_, watch)| watch));
    }

    pub fn end_watches(&self) {
        self.lock().watches.clear();
    }

    /// Refuses what begins with this path; 0 no longer.
    pub fn refuse(&self, path: &str, code: u16) {
        let mut state = self.lock();
        match code {
            0 => drop(state.refused.remove(path)),
            code => drop(state.refused.insert(path.to_owned(), code)),
        }
    }

    pub fn go_away(&self, is_away: bool) {
        self.lock().is_away = is_away;
        if is_away {
            self.break_watches();
        }
    }

    pub fn let_pages_drift(&self, pages_drift: bool) {
        self.lock().pages_drift = pages_drift;
    }

    pub fn select_nothing(&self, selects_nothing: bool) {
        self.lock().selects_nothing = selects_nothing;
    }

    pub fn expire_at_once(&self, expires_at_once: bool) {
        self.lock().expires_at_once = expires_at_once;
    }

    /// The requests so far: method, path and the parameters that matter.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().log)
    }

    /// The Events that were written.
    pub fn events(&self) -> Vec<Value> {
        self.lock().events.clone()
    }

    /// Prunes `status.conditions`, as a CRD does that does not have them.
    pub fn drop_conditions(&self) {
        self.lock().drops_conditions = true;
    }

    pub fn all(&self, group: &str, plural: &str) -> Vec<Value> {
        let path = format!("{group}/{plural}");
        self.lock()
            .objects
            .iter()
            .filter(|((of, ..), _)| *of == path)
            .map(|(_, object)| object.clone())
            .collect()
    }

    pub fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Value {
        self.lock().objects[&(format!("{group}/{plural}"), namespace.to_owned(), name.to_owned())]
            .clone()
    }

    fn answer(
        &self,
        method: &str,
        uri: &http::Uri,
        body: &[u8],
    ) -> Result<Response<Body>, std::io::Error> {
        let mut state = self.lock();
        let parameters: BTreeMap<String, String> = form(uri.query().unwrap_or_default());
        let is_watch = parameters.contains_key("watch");
        let asked_for =
            parameters.get("labelSelector").map_or_else(String::new, |labels| format!(" {labels}"));
        state.log.push(format!(
            "{} {}{asked_for}",
            if is_watch { "WATCH" } else { method },
            uri.path()
        ));
        if state.is_away {
            return Err(std::io::Error::other("connection refused"));
        }
        let refused = state.refused.iter().find(|(path, _)| uri.path().starts_with(path.as_str()));
        if let Some((_, code)) = refused {
            return Ok(failure(*code, "refused by the test"));
        }
        if method == "POST" {
            assert!(uri.path().ends_with("/events"), "{uri}");
            let event: Value = serde_json::from_slice(body).unwrap();
            let name = &event["metadata"]["name"];
            if name.is_string() && state.events.iter().any(|one| one["metadata"]["name"] == *name) {
                return Ok(failure(409, "it exists"));
            }
            state.events.push(event.clone());
            return Ok(success(&event));
        }
        let served: Vec<Value> = state
            .kinds
            .iter()
            .filter(|((group, _), _)| group == uri.path())
            .map(|((_, plural), can_create)| json!({"name": plural, "verbs": if *can_create { ["create", "list"] } else { ["delete", "list"] }}))
            .collect();
        if !served.is_empty() {
            return Ok(success(&json!({"kind": "APIResourceList", "resources": served})));
        }
        let Some(asked) = state.understand(uri.path()) else {
            return Ok(failure(404, "404 page not found"));
        };
        match asked.name {
            Some(name) if method == "PATCH" => {
                let patch: Value = serde_json::from_slice(body).unwrap();
                let place = (collection(&asked.kind), asked.namespace.unwrap_or_default(), name);
                let Some(mut object) = state.objects.get(&place).cloned() else {
                    return Ok(no_such_object(&place.2));
                };
                for (field, value) in patch["status"].as_object().into_iter().flatten() {
                    if field != "conditions" || !state.drops_conditions {
                        object["status"][field] = value.clone();
                    }
                }
                drop(state);
                let (group, plural) = asked.kind;
                self.put(&group, &plural, object.clone());
                Ok(success(&object))
            }
            Some(name) => {
                let place = (collection(&asked.kind), asked.namespace.unwrap_or_default(), name);
                Ok(state.objects.get(&place).map_or_else(|| no_such_object(&place.2), success))
            }
            None if is_watch => Ok(state.watch(&asked, &parameters)),
            None => Ok(state.list(&asked, &parameters)),
        }
    }
}

impl State {
    fn happened(&mut self, version: u64, path: String, event: Value) {
        let line = format!("{event}\n");
        self.watches.retain(|(watched, watch)| {
            *watched != path || watch.send(Ok(Bytes::from(line.clone()))).is_ok()
        });
        self.history.push((version, path, line));
    }

    fn understand(&self, path: &str) -> Option<Asked> {
        let (kind, rest) =
            self.kinds.keys().find_map(|kind| Some((kind, path.strip_prefix(&kind.0)?)))?;
        let group = kind.0.clone();
        let mut parts: Vec<&str> = rest.trim_start_matches('/').split('/').collect();
        let namespace = (parts.len() > 2 && parts[0] == "namespaces")
            .then(|| parts.drain(..2).nth(1).unwrap().to_owned());
        let kind = (group, parts[0].to_owned());
        self.kinds.contains_key(&kind).then(|| Asked {
            kind,
            namespace,
            name: parts.get(1).map(|name| (*name).to_owned()),
        })
    }

    fn list(&mut self, asked: &Asked, parameters: &BTreeMap<String, String>) -> Response<Body> {
        let number = |name: &str| parameters.get(name).and_then(|text| text.parse::<usize>().ok());
        let (limit, skip) =
            (number("limit").unwrap_or(usize::MAX), number("continue").unwrap_or(0));
        let path = collection(&asked.kind);
        let is_in =
            |namespace: &str| asked.namespace.as_deref().is_none_or(|wanted| wanted == namespace);
        let hides_all = self.selects_nothing && parameters.contains_key("labelSelector");
        let all: Vec<&Value> = self
            .objects
            .iter()
            .filter(|((of, namespace, _), _)| *of == path && is_in(namespace) && !hides_all)
            .map(|(_, object)| object)
            .collect();
        let page: Vec<&Value> = all.iter().skip(skip).take(limit).copied().collect();
        let end = skip + page.len();
        let next = if end < all.len() { end.to_string() } else { String::new() };
        let version = self.version + u64::from(self.pages_drift && skip > 0);
        success(
            &json!({"metadata": {"resourceVersion": version.to_string(), "continue": next}, "items": page}),
        )
    }

    fn watch(&mut self, asked: &Asked, parameters: &BTreeMap<String, String>) -> Response<Body> {
        let from: u64 =
            parameters.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(0);
        let (to, events) = mpsc::unbounded_channel();
        let path = collection(&asked.kind);
        if from < self.forgotten || self.expires_at_once {
            let status = json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"});
            let _ = to
                .send(Ok(Bytes::from(format!("{}\n", json!({"type": "ERROR", "object": status})))));
        } else {
            for (_, _, line) in
                self.history.iter().filter(|(version, of, _)| *version > from && *of == path)
            {
                let _ = to.send(Ok(Bytes::from(line.clone())));
            }
            self.watches.push((path, to));
        }
        Response::new(Body::from_stream(UnboundedReceiverStream::new(events)))
    }
}

fn collection(kind: &(String, String)) -> String {
    format!("{}/{}", kind.0, kind.1)
}

fn form(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.replace("%3D", "=").replace("%2C", ",")))
        .collect()
}

fn success(value: &Value) -> Response<Body> {
    Response::new(Body::from(value.to_string()))
}

fn no_such_object(name: &str) -> Response<Body> {
    let message = format!("{name:?} not found");
    let mut status =
        json!({"kind": "Status", "status": "Failure", "code": 404, "message": message});
    (status["reason"], status["details"]) = (json!("NotFound"), json!({ "name": name }));
    refusal(404, &status)
}

fn failure(code: u16, message: &str) -> Response<Body> {
    refusal(code, &json!({"kind": "Status", "status": "Failure", "code": code, "message": message}))
}

fn refusal(code: u16, status: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(status.to_string()));
    *response.status_mut() = code.try_into().unwrap();
    response
}

/// A Service with a load balancer.
pub fn service(namespace: &str, name: &str, host: &str, address: Option<&str>) -> Value {
    let ingress = address.map_or_else(|| json!([]), |ip| json!([{ "ip": ip }]));
    json!({
        "metadata": {
            "namespace": namespace, "name": name, "uid": format!("uid-{name}"), "managedFields": [{"manager": "kubectl"}],
            "annotations": {"external-dns.kubernetes.io/hostname": host},
        },
        "spec": {"type": "LoadBalancer"},
        "status": {"loadBalancer": {"ingress": ingress}},
    })
}

/// A DNSEndpoint.
pub fn dns_endpoint(namespace: &str, name: &str, host: &str) -> Value {
    json!({
        "metadata": {"namespace": namespace, "name": name, "generation": 1},
        "spec": {"endpoints": [{"dnsName": host, "recordType": "A", "targets": ["192.0.2.1"]}]},
    })
}
