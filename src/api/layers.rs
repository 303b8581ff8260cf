//! The layers that every request passes on its way in and out.

use std::any::Any;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use tracing::{Instrument as _, error, info_span};

use super::authority::{Authority, admit};
use super::problem::{MEDIA_TYPE, Problem};

/// The longest time for one request.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest body of a request. Nothing here takes one.
const MAX_BODY_BYTES: usize = 64 << 10;
/// Names a request in the answer and in the log; a caller's own is kept.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Puts the layers around the routes; the last one here is the first that a request meets.
pub fn around(routes: Router, authority: Authority) -> Router {
    // Answers are of this moment.
    let no_store = HeaderValue::from_static("no-store");
    routes
        .layer(RequestBodyLimitLayer::new(MAX_BODY_BYTES))
        .layer(middleware::from_fn(within_timeout))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(authority, admit))
        .layer(middleware::from_fn(errors_as_problems))
        .layer(SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, no_store))
        .layer(middleware::from_fn(in_a_span))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
}

/// Whatever is logged while a request is answered has its id.
async fn in_a_span(request: Request, next: Next) -> Response {
    let id = request.headers().get(&REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or("");
    let span = info_span!("request", request_id = id, method = %request.method(), path = request.uri().path());
    next.run(request).instrument(span).await
}

async fn within_timeout(request: Request, next: Next) -> Response {
    match tokio::time::timeout(TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            format!(
                "the answer took longer than {} seconds: ask for less, or again",
                TIMEOUT.as_secs()
            ),
        )
        .into_response(),
    }
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    error!("a handler panicked: {}", said.unwrap_or("it did not say why"));
    let detail = "the request met a defect of the broker, which goes on; the broker's log has it under the request id";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
}

/// Turns errors that the router and the layers below answer in their own way (no such path, wrong method, body too large) into
/// problems like every other error.
async fn errors_as_problems(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status();
    let is_problem =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == MEDIA_TYPE);
    let speaks_for_itself = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| {
        kind == "application/json" || kind.as_bytes().starts_with(b"text/html")
    });
    if is_problem || speaks_for_itself || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (kind, detail) = match status {
        StatusCode::NOT_FOUND => (
            "not-found",
            format!("there is nothing at {path}: /api/v1/openapi.json describes the paths"),
        ),
        StatusCode::METHOD_NOT_ALLOWED => {
            ("method-not-allowed", format!("{path} can only be read: use GET"))
        }
        StatusCode::PAYLOAD_TOO_LARGE => (
            "body-too-large",
            format!("a request may carry {MAX_BODY_BYTES} bytes at most, and none here needs any"),
        ),
        _ => (
            "bad-request",
            format!("the request for {path} cannot be read: check how it is encoded"),
        ),
    };
    let mut problem = Problem::new(status, kind, detail).into_response();
    if let Some(allow) = response.headers().get(header::ALLOW) {
        problem.headers_mut().insert(header::ALLOW, allow.clone());
    }
    problem
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::body::Body;
    use axum::routing::{get, post};
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::api::authority::Rules;

    fn routes() -> Router {
        async fn panics() {
            panic!("a defect with a secret");
        }
        async fn never() {
            std::future::pending().await
        }
        async fn takes(body: axum::body::Bytes) -> String {
            body.len().to_string()
        }
        let routes = Router::new()
            .route("/panics", get(panics))
            .route("/never", get(never))
            .route("/takes", post(takes));
        around(routes, Authority::everybody())
    }

    async fn problem_of(request: http::Request<Body>) -> (Problem, http::HeaderMap) {
        let response = routes().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        assert_eq!(headers[header::CONTENT_TYPE], MEDIA_TYPE);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem.status, status.as_u16());
        (problem, headers)
    }

    fn get_request(path: &str) -> http::Request<Body> {
        http::Request::get(path).body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_and_does_not_tell_what_it_said() {
        let (problem, headers) = problem_of(get_request("/panics")).await;
        assert_eq!(problem.status, 500);
        assert!(!problem.detail.contains("secret"), "{problem:?}");
        assert!(headers.contains_key(&REQUEST_ID));
    }

    /// The logged bytes, to be read afterwards.
    #[derive(Clone, Default)]
    struct Logged(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Logged {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_panic_is_logged_with_the_request_id_that_its_caller_got() {
        let logged = Logged::default();
        let writer = logged.clone();
        let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone());
        let _guard = tracing::subscriber::set_default(subscriber.finish());
        // Another test may have met the callsites first, in a thread without a subscriber.
        let _known = problem_of(get_request("/panics")).await;
        tracing::callsite::rebuild_interest_cache();
        let (_, headers) = problem_of(get_request("/panics")).await;
        let id = headers[&REQUEST_ID].to_str().unwrap();
        let text = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
        let line = text.lines().rfind(|line| line.contains("a handler panicked")).unwrap();
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["level"], &line["span"]["request_id"]), (&"ERROR".into(), &id.into()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_too_long_is_ended() {
        assert_eq!(problem_of(get_request("/never")).await.0.status, 504);
    }

    #[tokio::test]
    async fn what_the_router_refuses_is_a_problem_too() {
        assert_eq!(problem_of(get_request("/nothing")).await.0.status, 404);
        let (problem, headers) = problem_of(get_request("/takes")).await;
        assert_eq!((problem.status, headers[header::ALLOW].to_str().unwrap()), (405, "POST"));
    }

    #[tokio::test]
    async fn who_may_not_ask_hears_a_problem_and_no_route() {
        async fn panics() {
            panic!("nobody comes here");
        }
        let routes =
            around(Router::new().route("/takes", post(panics)), Authority::new(Rules::default()));
        for (method, path) in [("POST", "/takes"), ("GET", "/nothing"), ("GET", "/metrics")] {
            let request =
                http::Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            let response = routes.clone().oneshot(request).await.unwrap();
            assert_eq!(
                (response.status().as_u16(), &response.headers()[header::CONTENT_TYPE]),
                (401, &HeaderValue::from_static(MEDIA_TYPE))
            );
            assert!(
                response.headers().contains_key(header::WWW_AUTHENTICATE)
                    && response.headers().contains_key(&REQUEST_ID)
            );
        }
    }

    #[tokio::test]
    async fn a_large_body_is_refused() {
        let large =
            http::Request::post("/takes").body(Body::from(vec![0; MAX_BODY_BYTES + 1])).unwrap();
        assert_eq!(problem_of(large).await.0.status, 413);
    }

    #[tokio::test]
    async fn a_caller_s_request_id_comes_back() {
        let request =
            http::Request::get("/nothing").header(REQUEST_ID, "mine").body(Body::empty()).unwrap();
        assert_eq!(problem_of(request).await.1[REQUEST_ID], "mine");
    }
}
