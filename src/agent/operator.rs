//! Answers for the agent's own machine alone. In a pod that means all who may `kubectl exec` or `kubectl port-forward` there;
//! every other pod reaches the port as well.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use crate::core::transport::is_asked_as_loopback;

/// Puts the check before each of the routes.
pub(super) fn only<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    routes.route_layer(middleware::from_fn(admit))
}

async fn admit(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let comes_from_here =
        peer.is_some_and(|ConnectInfo(peer)| peer.ip().to_canonical().is_loopback());
    // A page in a browser on this machine comes from here as well.
    if comes_from_here && names_this_machine(request.uri(), request.headers()) {
        return next.run(request).await;
    }
    let why = "this is answered to the agent's own machine alone, to requests for 127.0.0.1, ::1 or localhost: use kubectl exec or kubectl port-forward\n";
    (StatusCode::FORBIDDEN, why).into_response()
}

fn names_this_machine(uri: &Uri, headers: &HeaderMap) -> bool {
    // A header that cannot be read does not name this machine.
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(header::HOST).or_else(|| uri.authority().map(|authority| authority.as_str()));
    is_asked_as_loopback(host, text(header::ORIGIN))
}
