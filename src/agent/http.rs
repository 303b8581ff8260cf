//! The agent's own HTTP server: liveness, readiness, metrics, and its state as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State as Extract;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::Serialize;

use super::shared::{AgentRole, Shared, State};
use super::status::{progress_name, verdict_name};
use super::{operator, release};
use crate::core::endpoint::Endpoint;
use crate::wire::v1;

/// The routes of the agent.
pub fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .merge(operator::only(
            Router::new()
                .route("/endpoints", get(endpoints))
                .route("/statuses", get(statuses))
                .merge(release::router()),
        ))
        .with_state(shared)
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    reasons: Vec<String>,
}

async fn ready(Extract(shared): Extract<Arc<Shared>>) -> Response {
    let reasons = shared.read(|state| {
        let unlisted =
            (!state.index.listed()).then(|| "the sources were not read completely yet".to_owned());
        let is_away = state.role != AgentRole::StandsBy && !state.publisher.is_live();
        let away = is_away.then(|| "there is no session with the broker".to_owned());
        unlisted.into_iter().chain(away).collect::<Vec<_>>()
    });
    let code = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Readiness { ready: reasons.is_empty(), reasons })).into_response()
}

async fn metrics(Extract(shared): Extract<Arc<Shared>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &shared.read(registry)) {
        Ok(()) => (
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            text,
        )
            .into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The figures are taken when they are asked for, so nothing has to be kept in step.
fn registry(state: &State) -> Registry {
    let mut registry = Registry::with_prefix("zonefold_agent");
    let mut gauge = |name: &str, help: &str, value: usize| {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    };
    gauge("endpoints", "Endpoints that the cluster wants", state.index.iter().count());
    gauge(
        "unacknowledged_endpoints",
        "Endpoints with a change that the broker has not made durable",
        state.publisher.outbox_len(),
    );
    let kept =
        state.index.iter().filter(|(_, held)| held.standing.kept_because().is_some()).count();
    gauge(
        "kept_endpoints",
        "Endpoints that are kept although nothing that is seen asks for them",
        kept,
    );
    gauge(
        "connected",
        "1 while a session with the broker stands",
        usize::from(state.publisher.is_live()),
    );
    gauge(
        "leads",
        "1 while this agent is the one that speaks to the broker",
        usize::from(state.role != AgentRole::StandsBy),
    );
    // A standby agent sends nothing to the broker, which is no reason for an alert.
    if state.role != AgentRole::StandsBy {
        gauge(
            "converged",
            "1 while broker and agent hold the same endpoints; only the agent that leads reports it",
            usize::from(state.publisher.is_converged()),
        );
    }
    gauge(
        "warnings",
        "Things in objects that a person should look at",
        state.index.warnings().count(),
    );
    gauge(
        "session_epoch",
        "The number of the session",
        usize::try_from(state.publisher.epoch()).unwrap_or(usize::MAX),
    );

    let synced = Family::<[(&'static str, String); 1], Gauge>::default();
    for source in state.index.sources() {
        let is_well = match state.role {
            AgentRole::StandsBy => source.is_read,
            AgentRole::Alone | AgentRole::Leads => source.synced,
        };
        synced.get_or_create(&[("source", source.kind.to_string())]).set(i64::from(is_well));
    }
    registry.register(
        "source_synced",
        "1 while absence from the source means that something is not wanted; of an agent that stands by, while it reads the source",
        synced,
    );
    let verdicts = Family::<[(&'static str, &'static str); 2], Gauge>::default();
    for status in state.statuses.iter() {
        let labels = [
            ("verdict", verdict_name(status.verdict())),
            ("progress", progress_name(status.progress())),
        ];
        verdicts.get_or_create(&labels).inc();
    }
    registry.register("statuses", "Endpoints by verdict and progress", verdicts);
    registry
}

#[derive(Serialize)]
struct EndpointView {
    #[serde(flatten)]
    endpoint: Endpoint,
    version: String,
    origin: String,
    #[serde(flatten)]
    standing: super::index::EntryState,
    acked: bool,
    status: Option<StatusView>,
}

#[derive(Serialize)]
struct StatusView {
    endpoint: BTreeMap<&'static str, String>,
    verdict: &'static str,
    progress: &'static str,
    reason: String,
    message: String,
    account: String,
    zone_id: String,
    zone_name: String,
    change_id: String,
    at_ms: i64,
    expected_ms: u64,
    version: String,
}

async fn endpoints(Extract(shared): Extract<Arc<Shared>>) -> Response {
    let views: Vec<EndpointView> = shared.read(|state| {
        let view = |(hash, held): (&crate::core::endpoint::KeyHash, &super::index::IndexEntry)| {
            EndpointView {
                endpoint: held.endpoint.as_ref().clone(),
                version: held.version.to_string(),
                origin: held.origin.to_string(),
                standing: held.standing.clone(),
                acked: state.publisher.is_acked(hash),
                status: state.statuses.get(hash).as_ref().map(StatusView::of),
            }
        };
        state.index.iter().map(view).collect()
    });
    Json(views).into_response()
}

async fn statuses(Extract(shared): Extract<Arc<Shared>>) -> Response {
    let views: Vec<StatusView> =
        shared.read(|state| state.statuses.iter().map(|status| StatusView::of(&status)).collect());
    Json(views).into_response()
}

impl StatusView {
    fn of(status: &v1::EndpointStatus) -> Self {
        let key = status.key.clone().unwrap_or_default();
        let fields = [
            ("source", key.source),
            ("namespace", key.namespace),
            ("object", key.object),
            ("dns_name", key.dns_name),
            ("record_type", key.record_type),
            ("set_identifier", key.set_identifier),
        ];
        Self {
            endpoint: fields.into(),
            verdict: verdict_name(status.verdict()),
            progress: progress_name(status.progress()),
            reason: status.reason.clone(),
            message: status.message.clone(),
            account: status.account.clone(),
            zone_id: status.zone_id.clone(),
            zone_name: status.zone_name.clone(),
            change_id: status.change_id.clone(),
            at_ms: status.at_ms,
            expected_ms: status.expected_ms,
            version: hex(&status.version),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::index::Index;
    use crate::agent::session::publisher::{Identity, Publisher};
    use crate::agent::sources::SourceKind;

    fn metrics(role: AgentRole) -> String {
        let identity = Identity {
            cluster: "east".into(),
            kube_system_uid: "uid".into(),
            instance_id: "one".into(),
        };
        let shared = Shared::new(Index::new([SourceKind::Service]), Publisher::new(identity));
        shared.write(|state| {
            state.role = role;
            state.index.require_proof(SourceKind::Service);
            state.index.complete(SourceKind::Service);
        });
        let mut text = String::new();
        encode(&mut text, &shared.read(registry)).unwrap();
        text
    }

    #[test]
    fn an_agent_that_stands_by_gives_no_reason_for_an_alert() {
        let (leads, stands_by) = (metrics(AgentRole::Leads), metrics(AgentRole::StandsBy));
        assert!(leads.contains("zonefold_agent_converged 0"), "{leads}");
        assert!(leads.contains(r#"zonefold_agent_source_synced{source="service"} 0"#), "{leads}");
        assert!(!stands_by.contains("zonefold_agent_converged 0"), "{stands_by}");
        let is_synced = r#"zonefold_agent_source_synced{source="service"} 1"#;
        assert!(stands_by.contains(is_synced), "{stands_by}");
    }
}
