//! The AWS port: HTTP/1.1, and what only the transport can do wrong: hanging, cutting the connection, half an answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::action::{Action, Service};
use super::call::{Call, form, query, route};
use super::error::AwsError;
use super::faults::FaultEffect;
use super::operations::Answer;
use super::request::change_request;
use super::sigv4;
use super::state::{Begun, EmulatorState};
use super::sts;
use super::xml_write;
use crate::core::ids::AccountId;

/// The largest body: 1,000 records of 4,000 characters, escaped.
const MAX_BODY_BYTES: usize = 16 << 20;

type Body = axum::body::Body;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The state, shared by all ports.
pub(super) type Shared = Arc<Mutex<EmulatorState>>;

/// Locks the state. A panic under the lock would be a defect; the state is used on as it is.
pub(super) fn lock(world: &Shared) -> std::sync::MutexGuard<'_, EmulatorState> {
    world.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The connection is closed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fault rule cut the connection")]
pub struct Cut;

/// Serves until the token is cancelled, and then waits for the calls in flight.
pub(super) async fn serve(listener: TcpListener, world: Shared, shutdown: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, world.clone(), shutdown.clone()));
            }
            Err(error) => {
                // Out of file descriptors, mostly: taking a breath is all that helps.
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, world: Shared, shutdown: CancellationToken) {
    // Small answers must not wait for more.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer(request, world.clone(), shutdown.clone(), |_, _| ()));
    let serving =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Answers one request; `carried_out` sees the state in the moment after the call was carried out, with what was before it.
pub(super) async fn answer<B>(
    request: Request<B>,
    world: Shared,
    shutdown: CancellationToken,
    carried_out: impl FnOnce(&EmulatorState, &CarriedOut),
) -> Result<Response<Body>, Cut>
where
    B: hyper::body::Body,
    B::Error: Into<BoxError>,
{
    let call = match read_call(request).await {
        Ok(call) => call,
        Err(refused) => return Ok(refused),
    };
    // Reading the body needs no state, so it is done outside the lock.
    let batch =
        (call.action == Action::ChangeResourceRecordSets).then(|| change_request(&call.body));
    let begun = lock(&world).begin(&call, &batch);
    let guard = EndOfCall { world: world.clone(), begun: &begun };
    if begun.latency_ms > 0 {
        tokio::time::sleep(Duration::from_millis(begun.latency_ms)).await;
    }
    let strikes = |wanted: fn(&FaultEffect) -> bool| begun.effects.iter().any(wanted);
    let service = call.action.service();
    if strikes(|effect| {
        matches!(effect, FaultEffect::HangBeforeApply {} | FaultEffect::ResetBeforeApply {})
    }) {
        lock(&world).counters.answered(begun.account.as_ref(), call.action, "no_answer");
        if strikes(|effect| matches!(effect, FaultEffect::HangBeforeApply {})) {
            shutdown.cancelled().await;
        }
        return Err(Cut);
    }
    let result = {
        let mut world = lock(&world);
        let (first_entry, overdrawn_before) =
            (world.journal.next_number(), world.counters.overdrawn(begun.account.as_ref()));
        let result = world.carry_out(&call, batch, &begun);
        let account = begun.account.clone();
        carried_out(
            &world,
            &CarriedOut { account, action: call.action, first_entry, overdrawn_before },
        );
        result
    };
    if strikes(|effect| matches!(effect, FaultEffect::ApplyThenHang {})) {
        shutdown.cancelled().await;
        return Err(Cut);
    }
    drop(guard);
    let date = lock(&world).date(&begun);
    let mut response = finish(service, result, &begun)?;
    response.headers_mut().extend(date.map(|date| (http::header::DATE, date)));
    Ok(response)
}

/// A call that was carried out, and how things stood before.
pub(super) struct CarriedOut {
    pub account: Option<AccountId>,
    pub action: Action,
    /// The number of the first journal entry that it made, if it made one.
    pub first_entry: u64,
    pub overdrawn_before: u64,
}

/// Takes the call out of the in-flight count, also when the client went away.
struct EndOfCall<'b> {
    world: Shared,
    begun: &'b Begun,
}

impl Drop for EndOfCall<'_> {
    fn drop(&mut self) {
        lock(&self.world).end(self.begun);
    }
}

/// Writes the answer, and spoils it when a fault says so.
fn finish(
    service: Service,
    result: Result<Answer, AwsError>,
    begun: &Begun,
) -> Result<Response<Body>, Cut> {
    let (status, location, mut text) = match result {
        Ok(answer) => (answer.status, answer.location, (answer.body)(&begun.request_id)),
        Err(error) => (error.status, None, xml_write::error(service, &error, &begun.request_id)),
    };
    let mut cut_after = None;
    for effect in &begun.effects {
        match effect {
            FaultEffect::ApplyThenReset { after_bytes: 0 } => return Err(Cut),
            FaultEffect::ApplyThenReset { after_bytes } => cut_after = Some(*after_bytes),
            FaultEffect::TruncateBody { bytes } => text.truncate(text.floor_char_boundary(*bytes)),
            FaultEffect::GarbageXml {} => text = "<?xml version=\"1.0\"?>\n<Unclosed><&".to_owned(),
            _ => {}
        }
    }
    let mut response = xml_response(status, &begun.request_id, text, cut_after);
    if let Some(location) = location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        response.headers_mut().insert(http::header::LOCATION, location);
    }
    Ok(response)
}

fn xml_response(
    status: u16,
    request_id: &str,
    text: String,
    cut_after: Option<usize>,
) -> Response<Body> {
    let length = text.len();
    let body = match cut_after {
        Some(bytes) => {
            let sent = Bytes::from(text).slice(..bytes.min(length));
            Body::from_stream(stream::iter([Ok(sent), Err(Cut)]))
        }
        None => Body::from(text),
    };
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

/// Reads a request and finds its operation; the error is the whole answer.
async fn read_call<B>(request: Request<B>) -> Result<Call, Response<Body>>
where
    B: hyper::body::Body,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let request_id = uuid::Uuid::new_v4().to_string();
    let refuse = |error: &AwsError| {
        let text = xml_write::error(Service::Route53, error, &request_id);
        xml_response(error.status, &request_id, text, None)
    };
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
    let body = body.map_err(|_| {
        refuse(&AwsError::sender(413, "RequestEntityTooLarge", "Request entity too large"))
    })?;
    let body = String::from_utf8(body.to_bytes().to_vec()).map_err(|_| {
        refuse(&AwsError::invalid_input("Invalid XML ; Invalid byte of UTF-8 sequence."))
    })?;
    let scope = sigv4::claim(&parts.headers).map_err(|error| refuse(&error))?.service;
    let unknown = || {
        let text = "<UnknownOperationException/>\n".to_owned();
        xml_response(404, &request_id, text, None)
    };
    let path = parts.uri.path();
    let parameters = parts.uri.query().map(query).unwrap_or_default();
    let (action, zone, rest, parameters) = match scope.as_str() {
        "sts" => (sts::action_of(&body).ok_or_else(unknown)?, None, Vec::new(), form(&body)),
        "route53" => {
            let (action, zone, rest) = route(&parts.method, path).ok_or_else(unknown)?;
            (action, zone, rest, parameters)
        }
        _ => return Err(unknown()),
    };
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    Ok(Call {
        action,
        zone,
        parts: rest,
        query: parameters,
        method: parts.method,
        target,
        headers: parts.headers,
        body,
    })
}

/// Serves a router until the token is cancelled.
pub(super) async fn serve_router(
    listener: TcpListener,
    router: axum::Router,
    shutdown: CancellationToken,
) {
    let serving: Result<(), std::io::Error> =
        axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await;
    if let Err(error) = serving {
        tracing::warn!(%error, "the control port ended");
    }
}
