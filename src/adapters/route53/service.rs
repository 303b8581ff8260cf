//! The path of one request: a stack of tower services, each with one duty.
//!
//! [`BudgetGate`] refuses what was not paid for, [`Traced`] puts a span around the rest, [`Credentialed`] fetches
//! credentials, [`TimeLimited`] limits the attempt, and [`SdkCall`] makes it. There is no retry among them: every attempt has
//! be paid, so retries are up to the caller.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_route53::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_route53::operation::RequestId;
use aws_sdk_route53::types::{RrType, TagResourceType};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use futures::future::BoxFuture;
use tower::{Service, ServiceBuilder, layer::layer_fn};
use tracing::{Instrument as _, Span};

use super::classify;
use super::credentials::CredentialCache;
use super::wire;
use crate::core::ids::{AccountId, ZoneId};
use crate::core::limits::budget::{ApiAction, Permit};
use crate::core::planning::change::WireChange;
use crate::ports::{CallError, ChangeReceipt, RecordCursor, RecordPage, ZonePage};

/// Route 53's maximum for a page of record sets; without asking for it the page has 100.
const RECORDS_PER_PAGE: i32 = 300;
/// Route 53's maximum for a page of zones.
const ZONES_PER_PAGE: i32 = 100;

/// A request to Route 53.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    ListZones { marker: Option<String> },
    ZoneTags { zones: Vec<ZoneId> },
    ListRecords { zone: ZoneId, from: Option<RecordCursor> },
    ChangeRecords { zone: ZoneId, comment: String, changes: Vec<WireChange> },
    GetChange { change_id: String },
}

impl Operation {
    fn action(&self) -> ApiAction {
        match self {
            Self::ListZones { .. } => ApiAction::ListHostedZones,
            Self::ZoneTags { .. } => ApiAction::ListTagsForResources,
            Self::ListRecords { .. } => ApiAction::ListResourceRecordSets,
            Self::ChangeRecords { .. } => ApiAction::ChangeResourceRecordSets,
            Self::GetChange { .. } => ApiAction::GetChange,
        }
    }

    /// The operation's cost in the bucket of record changes: a CREATE 1, a DELETE 1.
    fn change_cost(&self) -> usize {
        match self {
            Self::ChangeRecords { changes, .. } => changes.len(),
            _ => 0,
        }
    }

    fn zone(&self) -> Option<&ZoneId> {
        match self {
            Self::ListRecords { zone, .. } | Self::ChangeRecords { zone, .. } => Some(zone),
            _ => None,
        }
    }

    fn comment(&self) -> Option<&str> {
        match self {
            Self::ChangeRecords { comment, .. } => Some(comment),
            _ => None,
        }
    }
}

/// One request and the proof that it was paid for.
#[derive(Debug)]
pub(super) struct Route53Request {
    pub(super) permit: Permit,
    pub(super) operation: Operation,
}

/// An answer of Route 53.
#[derive(Debug)]
pub enum Route53Answer {
    /// A page of the account's zones.
    Zones(ZonePage),
    /// The tags of zones.
    Tags(BTreeMap<ZoneId, BTreeMap<String, String>>),
    /// A page of a zone's record sets.
    Records(RecordPage),
    /// A batch was accepted.
    Accepted(ChangeReceipt),
    /// Whether a change has reached all name servers.
    InSync(bool),
}

/// A request with the credentials to sign it.
pub(super) struct SignedRequest {
    credentials: Credentials,
    operation: Operation,
}

type Answering = BoxFuture<'static, Result<Route53Answer, CallError>>;

/// The whole stack of one account.
pub(super) type Stack = BudgetGate<Traced<Credentialed<TimeLimited<SdkCall>>>>;

/// Builds the stack of one account.
pub(super) fn stack(
    account: AccountId,
    client: aws_sdk_route53::Client,
    credentials: Arc<CredentialCache>,
    attempt_timeout: Duration,
) -> Stack {
    ServiceBuilder::new()
        .layer(layer_fn(|inner| BudgetGate { inner }))
        .layer(layer_fn(move |inner| Traced { inner, account: account.clone() }))
        .layer(layer_fn(move |inner| Credentialed { inner, credentials: Arc::clone(&credentials) }))
        .layer(layer_fn(move |inner| TimeLimited { inner, attempt_timeout }))
        .service(SdkCall { client })
}

/// Refuses a request whose permit does not cover it, before anything else happens.
#[derive(Clone)]
pub(super) struct BudgetGate<S> {
    inner: S,
}

impl<S> Service<Route53Request> for BudgetGate<S>
where
    S: Service<Operation, Response = Route53Answer, Error = CallError, Future = Answering>,
{
    type Response = Route53Answer;
    type Error = CallError;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Route53Request) -> Answering {
        let Route53Request { permit, operation } = request;
        let paid_changes = usize::try_from(permit.changes()).unwrap_or(usize::MAX);
        if permit.action() == operation.action() && paid_changes >= operation.change_cost() {
            return self.inner.call(operation);
        }
        let message = format!(
            "the permit is for {:?} with {paid_changes} changes, and the request is {:?} with {}",
            permit.action(),
            operation.action(),
            operation.change_cost()
        );
        Box::pin(async move { Err(CallError::NotSent { message }) })
    }
}

/// Puts a span around the request that says everything about it but secrets.
#[derive(Clone)]
pub(super) struct Traced<S> {
    inner: S,
    account: AccountId,
}

impl<S> Service<Operation> for Traced<S>
where
    S: Service<Operation, Response = Route53Answer, Error = CallError, Future = Answering>,
{
    type Response = Route53Answer;
    type Error = CallError;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, operation: Operation) -> Answering {
        let span = tracing::info_span!(
            "route53",
            account = %self.account,
            action = ?operation.action(),
            zone = operation.zone().map(tracing::field::display),
            batch = operation.comment(),
            changes = operation.change_cost(),
            request_id = tracing::field::Empty,
            outcome = tracing::field::Empty,
        );
        let answering = {
            let _entered = span.enter();
            self.inner.call(operation)
        };
        let traced = async move {
            let started = tokio::time::Instant::now();
            let answer = answering.await;
            let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            Span::current().record("outcome", outcome(&answer));
            match &answer {
                Ok(_) => tracing::debug!(took_ms, "answered"),
                Err(error) => tracing::warn!(took_ms, %error, "not answered as wanted"),
            }
            answer
        };
        Box::pin(traced.instrument(span))
    }
}

fn outcome(answer: &Result<Route53Answer, CallError>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(CallError::Refused { .. }) => "refused",
        Err(CallError::Throttled) => "throttled",
        Err(CallError::Busy) => "busy",
        Err(CallError::Expired) => "expired",
        Err(CallError::Denied { .. }) => "denied",
        Err(CallError::NotFound { .. }) => "not_found",
        Err(CallError::NotSent { .. }) => "not_sent",
        Err(CallError::Unlisted { .. } | CallError::Unknown { .. }) => "unknown",
    }
}

/// Fetches the account's credentials. That is no part of the attempt: when it fails, nothing was sent.
#[derive(Clone)]
pub(super) struct Credentialed<S> {
    inner: S,
    credentials: Arc<CredentialCache>,
}

impl<S> Service<Operation> for Credentialed<S>
where
    S: Service<SignedRequest, Response = Route53Answer, Error = CallError, Future = Answering>
        + Clone
        + Send
        + 'static,
{
    type Response = Route53Answer;
    type Error = CallError;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, operation: Operation) -> Answering {
        // The service that was polled ready is the one that is called.
        let fresh = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, fresh);
        let credentials = Arc::clone(&self.credentials);
        Box::pin(async move {
            ready.call(SignedRequest { credentials: credentials.get().await?, operation }).await
        })
    }
}

/// Limits one attempt. A call that timed out may have been applied.
#[derive(Clone)]
pub(super) struct TimeLimited<S> {
    inner: S,
    attempt_timeout: Duration,
}

impl<S> Service<SignedRequest> for TimeLimited<S>
where
    S: Service<SignedRequest, Response = Route53Answer, Error = CallError, Future = Answering>,
{
    type Response = Route53Answer;
    type Error = CallError;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: SignedRequest) -> Answering {
        let attempt_timeout = self.attempt_timeout;
        let answering = self.inner.call(request);
        Box::pin(async move {
            match tokio::time::timeout(attempt_timeout, answering).await {
                Ok(answer) => answer,
                Err(_) => Err(CallError::Unknown {
                    message: format!("no answer within {} ms", attempt_timeout.as_millis()),
                }),
            }
        })
    }
}

/// Makes the call with the SDK: one attempt.
#[derive(Clone)]
pub(super) struct SdkCall {
    client: aws_sdk_route53::Client,
}

impl Service<SignedRequest> for SdkCall {
    type Response = Route53Answer;
    type Error = CallError;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: SignedRequest) -> Answering {
        let client = self.client.clone();
        Box::pin(async move { send(&client, request).await })
    }
}

async fn send(
    client: &aws_sdk_route53::Client,
    request: SignedRequest,
) -> Result<Route53Answer, CallError> {
    let with = aws_sdk_route53::config::Builder::new().credentials_provider(request.credentials);
    match request.operation {
        Operation::ListZones { marker } => {
            let call = client.list_hosted_zones().max_items(ZONES_PER_PAGE).set_marker(marker);
            let output = seen(call.customize().config_override(with).send().await)?;
            wire::zone_page(&output).map(Route53Answer::Zones)
        }
        Operation::ZoneTags { zones } => {
            let ids = zones.iter().map(|zone| zone.as_str().to_owned()).collect();
            let call = client
                .list_tags_for_resources()
                .resource_type(TagResourceType::Hostedzone)
                .set_resource_ids(Some(ids));
            let output = seen(call.customize().config_override(with).send().await)?;
            wire::tags_by_zone(&output).map(Route53Answer::Tags)
        }
        Operation::ListRecords { zone, from } => {
            let mut call = client
                .list_resource_record_sets()
                .hosted_zone_id(zone.as_str())
                .max_items(RECORDS_PER_PAGE);
            if let Some(from) = from {
                call = call
                    .start_record_name(from.name)
                    .start_record_type(RrType::from(from.rtype.as_str()))
                    .set_start_record_identifier(from.set_identifier);
            }
            let output = seen(call.customize().config_override(with).send().await)?;
            wire::record_page(&output).map(Route53Answer::Records)
        }
        Operation::ChangeRecords { zone, comment, changes } => {
            let batch = wire::sdk_batch(&comment, &changes).map_err(|error| {
                CallError::NotSent { message: format!("the batch cannot be written: {error}") }
            })?;
            let call = client
                .change_resource_record_sets()
                .hosted_zone_id(zone.as_str())
                .change_batch(batch);
            let output = seen(call.customize().config_override(with).send().await)?;
            wire::receipt(&output).map(Route53Answer::Accepted)
        }
        Operation::GetChange { change_id } => {
            let call = client.get_change().id(change_id);
            let output = seen(call.customize().config_override(with).send().await)?;
            wire::in_sync(&output).map(Route53Answer::InSync)
        }
    }
}

/// Notes the request id in the span, and classifies an error.
fn seen<T, E>(answer: Result<T, SdkError<E, HttpResponse>>) -> Result<T, CallError>
where
    T: RequestId,
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let request_id = match &answer {
        Ok(output) => output.request_id(),
        Err(error) => error.raw_response().and_then(classify::request_id),
    };
    if let Some(id) = request_id {
        Span::current().record("request_id", id);
    }
    answer.map_err(|error| classify::sdk_error(&error, classify::route53_refusal))
}
