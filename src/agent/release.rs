//! The operator's requests: show the endpoints kept although no visible object asks for them, and release them.
//!
//! Both are answered to this machine alone ([`super::operator`]).

use std::sync::Arc;

use axum::extract::{Query, State as Extract};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::index::{EntryState, IndexEntry};
use super::shared::{AgentRole, Shared};
use super::sources::SourceKind;
use crate::core::endpoint::EndpointKey;

/// The header without which nothing is released: a browser does not send it unasked.
const HEADER: &str = "x-zonefold-operator";

/// The routes `/kept` and `/release`.
pub fn router() -> Router<Arc<Shared>> {
    Router::new().route("/kept", get(kept)).route("/release", post(release))
}

/// Selects kept endpoints. All fields that are given have to match; if none is given, nothing matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Selection {
    source: Option<SourceKind>,
    namespace: Option<String>,
    object: Option<String>,
    name: Option<String>,
    all: bool,
}

/// An endpoint that is kept, and why.
#[derive(Clone, Debug, Serialize)]
struct KeptView {
    #[serde(flatten)]
    key: EndpointKey,
    #[serde(flatten)]
    standing: EntryState,
}

impl Selection {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn fits(&self, held: &IndexEntry) -> bool {
        let (object, key) = (&held.object, &held.endpoint.key);
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        self.source.is_none_or(|source| source == object.source)
            && is(&self.namespace, &object.namespace)
            && is(&self.object, &object.name)
            && is(&self.name, &key.dns_name)
    }
}

impl KeptView {
    fn of(held: &IndexEntry) -> Option<Self> {
        held.standing.kept_because()?;
        Some(Self { key: held.endpoint.key.clone(), standing: held.standing.clone() })
    }
}

/// The refusal by a standby agent: only the leader knows what is kept, and only the leader withdraws anything.
fn refusal_of_standby(shared: &Shared) -> Option<Response> {
    let stands_by = shared.read(|state| state.role == AgentRole::StandsBy);
    let text = "this agent stands by, and only the one that leads knows what is kept and releases it: ask the holder of the Lease, \
                whose metric zonefold_agent_leads is 1\n";
    stands_by.then(|| (StatusCode::CONFLICT, text).into_response())
}

async fn kept(Extract(shared): Extract<Arc<Shared>>) -> Response {
    if let Some(refusal) = refusal_of_standby(&shared) {
        return refusal;
    }
    let views: Vec<KeptView> = shared
        .read(|state| state.index.iter().filter_map(|(_, held)| KeptView::of(held)).collect());
    Json(views).into_response()
}

async fn release(
    Extract(shared): Extract<Arc<Shared>>,
    headers: HeaderMap,
    Query(selection): Query<Selection>,
) -> Response {
    if !headers.contains_key(HEADER) {
        return (StatusCode::FORBIDDEN, "this is done for `zonefold agent release` alone\n")
            .into_response();
    }
    if selection.is_empty() {
        return (StatusCode::BAD_REQUEST, "name the endpoints to release, or say all\n")
            .into_response();
    }
    if let Some(refusal) = refusal_of_standby(&shared) {
        return refusal;
    }
    let mut views = Vec::new();
    shared.update(|state| {
        let fits = |held: &IndexEntry| selection.fits(held);
        views = state
            .index
            .iter()
            .filter(|(_, held)| fits(held))
            .filter_map(|(_, held)| KeptView::of(held))
            .collect();
        state.index.release(fits)
    });
    for view in &views {
        let reason = view.standing.kept_because().unwrap_or_default();
        tracing::warn!(endpoint = %view.key, reason, "an operator released an endpoint that was kept: it is withdrawn");
    }
    Json(views).into_response()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::body::Body;
    use axum::extract::ConnectInfo;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::agent::index::tests::{object, wants};
    use crate::agent::index::{EntryState, Index};
    use crate::agent::session::publisher::{Identity, Publisher};

    fn shared() -> Arc<Shared> {
        let identity = Identity {
            cluster: "east".into(),
            kube_system_uid: "uid".into(),
            instance_id: "one".into(),
        };
        let shared = Shared::new(Index::new([SourceKind::Service]), Publisher::new(identity));
        for name in ["a", "b", "wanted"] {
            let object = object(name);
            shared.change(|index| {
                index.apply(
                    &object,
                    &"file".into(),
                    wants(&object, &[(&format!("{name}.example.com"), "1")]),
                )
            });
        }
        for name in ["a", "b"] {
            shared.write(|state| {
                state.index.lose_sight(&object(name), EntryState::Unseen("the filter".to_owned()))
            });
        }
        shared
    }

    async fn ask(
        shared: &Arc<Shared>,
        method: &str,
        path: &str,
        peer: &str,
        header: Option<&str>,
    ) -> (u16, String) {
        let mut headers = vec![("host", "127.0.0.1:7081")];
        headers.extend(header.map(|header| (header, "yes")));
        ask_with(shared, method, path, peer, &headers).await
    }

    async fn ask_with(
        shared: &Arc<Shared>,
        method: &str,
        path: &str,
        peer: &str,
        headers: &[(&str, &str)],
    ) -> (u16, String) {
        let peer: SocketAddr = peer.parse().unwrap();
        let mut request = Request::builder().method(method).uri(path).extension(ConnectInfo(peer));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let routes = crate::agent::http::router(shared.clone());
        let response = routes.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        (
            status,
            String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec())
                .unwrap(),
        )
    }

    const HERE: &str = "127.0.0.1:5000";

    #[tokio::test]
    async fn what_is_kept_is_released_by_name_and_nothing_that_is_wanted() {
        let shared = shared();
        let (status, kept) = ask(&shared, "GET", "/kept", HERE, None).await;
        assert!(
            status == 200 && kept.contains("a.example.com") && !kept.contains("wanted"),
            "{kept}"
        );
        let release = "/release?object=a&source=service";
        assert_eq!(ask(&shared, "POST", release, HERE, Some(HEADER)).await.0, 200);
        assert_eq!(shared.read(|state| state.index.iter().count()), 2);
        assert_eq!(ask(&shared, "POST", "/release?all=true", HERE, Some(HEADER)).await.0, 200);
        assert_eq!(shared.read(|state| state.index.iter().count()), 1, "what is wanted stays");
        assert_eq!(
            shared.read(|state| state.publisher.outbox_len()),
            3,
            "one is new, two are withdrawn"
        );
    }

    #[tokio::test]
    async fn an_agent_that_stands_by_releases_nothing_and_says_so() {
        let shared = shared();
        shared.write(|state| state.role = AgentRole::StandsBy);
        let (status, text) = ask(&shared, "POST", "/release?all=true", HERE, Some(HEADER)).await;
        assert!(status == 409 && text.contains("stands by"), "{status} {text}");
        assert_eq!(ask(&shared, "GET", "/kept", HERE, None).await.0, 409);
        assert_eq!(shared.read(|state| state.index.iter().count()), 3);
        shared.write(|state| state.role = AgentRole::Leads);
        assert_eq!(ask(&shared, "POST", "/release?all=true", HERE, Some(HEADER)).await.0, 200);
        assert_eq!(shared.read(|state| state.index.iter().count()), 1);
    }

    #[tokio::test]
    async fn nobody_else_releases_anything() {
        let shared = shared();
        for (path, peer, header, expected) in [
            ("/release?all=true", "192.0.2.1:5000", Some(HEADER), 403),
            ("/release?all=true", HERE, None, 403),
            ("/release", HERE, Some(HEADER), 400),
            ("/release?everything=true", HERE, Some(HEADER), 400),
        ] {
            assert_eq!(ask(&shared, "POST", path, peer, header).await.0, expected, "{path} {peer}");
        }
        assert_eq!(ask(&shared, "GET", "/kept", "192.0.2.1:5000", None).await.0, 403);
        assert_eq!(shared.read(|state| state.index.iter().count()), 3);
    }

    #[tokio::test]
    async fn another_pod_and_a_page_of_another_host_see_nothing_of_the_cluster() {
        let shared = shared();
        let (here, there) = ("127.0.0.1:7081", "10.0.0.9:7081");
        for (peer, host, origin, expected) in [
            (HERE, here, None, 200),
            (HERE, "localhost:7081", Some("http://localhost:7081"), 200),
            ("[::ffff:127.0.0.1]:5000", "[::1]:7081", None, 200),
            ("10.0.0.7:5000", there, None, 403),
            ("10.0.0.7:5000", here, None, 403),
            (HERE, "rebound.test:7081", None, 403),
            (HERE, there, None, 403),
            (HERE, here, Some("https://elsewhere.test"), 403),
            (HERE, here, Some("null"), 403),
        ] {
            let mut headers = vec![("host", host), (HEADER, "yes")];
            headers.extend(origin.map(|origin| ("origin", origin)));
            for (method, path) in [
                ("GET", "/endpoints"),
                ("GET", "/statuses"),
                ("GET", "/kept"),
                ("POST", "/release?name=not-there.example.com"),
            ] {
                let (status, _) = ask_with(&shared, method, path, peer, &headers).await;
                assert_eq!(status, expected, "{method} {path} from {peer} to {host} by {origin:?}");
            }
            for path in ["/healthz", "/metrics"] {
                assert_eq!(ask_with(&shared, "GET", path, peer, &headers).await.0, 200, "{path}");
            }
        }
        assert_eq!(ask_with(&shared, "GET", "/endpoints", HERE, &[]).await.0, 403, "no host");
        assert_eq!(shared.read(|state| state.index.iter().count()), 3);
    }
}
