//! HTTP from the first moment: while the broker loads its store it says that it lives and how far it is, and everything else is
//! answered 503 with the problem `starting`.

use std::sync::{Arc, OnceLock};

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing};
use http::{StatusCode, header};
use prometheus_client::registry::Registry;
use tower::ServiceExt as _;

use super::authority::Authority;
use super::health::{Readiness, alive, encode};
use super::layers;
use super::peers::PeerTls;
use super::problem::{ApiError, Problem};
use super::voucher::Vouching;
use crate::broker::BrokerHandle;
use crate::broker::startup::progress::StartProgress;

/// Seconds after which callers are asked to come again.
const RETRY_AFTER_SECS: u32 = 2;

/// The routes of a broker that may not be there yet.
#[derive(Clone)]
pub struct Front {
    progress: Arc<StartProgress>,
    registry: Arc<Registry>,
    authority: Authority,
    started: Arc<OnceLock<Router>>,
}

impl Front {
    /// The front of a broker that starts; `authority` says who may ask.
    pub fn new(
        progress: Arc<StartProgress>,
        registry: Arc<Registry>,
        authority: Authority,
    ) -> Self {
        Self { progress, registry, authority, started: Arc::default() }
    }

    /// The broker is there: its routes answer from now on; `tls` is how replicas know each other, and `vouching` whom they believe.
    pub fn open(
        &self,
        broker: BrokerHandle,
        tls: Option<Arc<dyn PeerTls>>,
        vouching: Option<Vouching>,
    ) {
        // A front is opened once; the first broker would go on to answer.
        let _first = self.started.set(super::router(
            broker,
            Arc::clone(&self.registry),
            self.authority.clone(),
            tls,
            vouching,
        ));
    }

    /// The routes, to be served.
    pub fn router(&self) -> Router {
        let starting = Router::new()
            .route("/healthz", routing::get(alive))
            .route("/readyz", routing::get(not_ready))
            .route("/metrics", routing::get(metrics))
            .fallback(starting)
            .with_state(self.clone());
        let front = (self.clone(), layers::around(starting, self.authority.clone()));
        Router::new().fallback(route).with_state(front)
    }
}

/// Passes a request to the broker's routes, or to those of the start.
async fn route(State((front, starting)): State<(Front, Router)>, request: Request) -> Response {
    let routes = front.started.get().cloned().unwrap_or(starting);
    match routes.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

async fn not_ready(State(front): State<Front>) -> (StatusCode, Json<Readiness>) {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        Json(Readiness { ready: false, reasons: vec![front.progress.describe()] }),
    )
}

async fn metrics(State(front): State<Front>) -> Result<Response, ApiError> {
    encode(&front.registry)
}

async fn starting(State(front): State<Front>) -> Response {
    let detail =
        format!("the broker starts ({}): ask again in a few seconds", front.progress.describe());
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "starting", detail);
    ([(header::RETRY_AFTER, RETRY_AFTER_SECS.to_string())], problem).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::broker::startup::progress::StartPhase;

    async fn get(front: &Front, path: &str) -> (StatusCode, http::HeaderMap, String) {
        let request = http::Request::get(path).body(Body::empty()).unwrap();
        let (head, body) = front.router().oneshot(request).await.unwrap().into_parts();
        (
            head.status,
            head.headers,
            String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap(),
        )
    }

    #[tokio::test]
    async fn a_broker_that_loads_is_alive_and_says_how_far_it_is() {
        let progress = Arc::new(StartProgress::default());
        let front = Front::new(Arc::clone(&progress), Arc::default(), Authority::everybody());
        progress.enter(StartPhase::Endpoints, 1_000_000);
        progress.advance(340_000);
        assert_eq!(get(&front, "/healthz").await.0, 200);
        let (status, _, text) = get(&front, "/readyz").await;
        assert_eq!(status, 503);
        let readiness: Readiness = serde_json::from_str(&text).unwrap();
        assert_eq!(
            readiness,
            Readiness {
                ready: false,
                reasons: vec!["loading endpoints: 340000 of 1000000".to_owned()]
            }
        );
        assert_eq!(get(&front, "/metrics").await.0, 200);
        for path in ["/api/v1/zones", "/api/v1/openapi.json", "/nothing"] {
            let (status, headers, text) = get(&front, path).await;
            let problem: Problem = serde_json::from_str(&text).unwrap();
            assert_eq!(
                (status.as_u16(), problem.kind.as_str()),
                (503, "urn:zonefold:problem:starting"),
                "{path}"
            );
            assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
            assert!(
                headers.contains_key(header::RETRY_AFTER)
                    && problem.detail.contains("340000 of 1000000"),
                "{problem:?}"
            );
        }
    }
}
