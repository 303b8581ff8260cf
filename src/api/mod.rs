//! The broker over HTTP: health, metrics, and the resources under `/api/v1` that show what the broker knows.
//!
//! Everything here reads: from the workers' published views, from the directory, from the status hub and from the journal. Where
//! several replicas share the store, each answers for all: what only an account's worker knows is asked of its replica ([`peers`]).
//! One file holds one resource: its parameters, its representation, its handlers. What they share:
//!
//! * lists are `{ "items": [...], "next": cursor or null }` ([`page`]);
//! * errors are RFC 9457 problem details ([`problem`]);
//! * a parameter that is unknown or wrong is an error that says which and why ([`request`]);
//! * times are RFC 3339 texts in UTC, ids are texts, names have no final dot ([`values`]).
//!
//! Access is decided before a route sees the request ([`authority`]).
//!
//! The description of all of it is made from the handlers and served at `/api/v1/openapi.json`.

pub mod accounts;
pub mod audit;
pub mod authority;
pub mod batches;
pub mod caller;
pub mod changes;
pub mod clusters;
mod cookie;
pub mod endpoints;
pub mod front;
pub mod handovers;
pub mod health;
pub mod holds;
mod known;
mod layers;
pub mod me;
pub mod names;
pub mod notifications;

pub mod page;
pub mod peers;
pub mod problem;
pub mod records;
mod refusal;
pub mod request;
pub mod requests;
pub mod role;
pub mod rules;
pub mod secret;
pub mod sight;
pub mod sign_in;
mod sign_in_page;
pub mod tokens;
pub mod values;
pub mod voucher;
pub mod zones;

use std::sync::Arc;

use axum::{Json, Router, routing};
use prometheus_client::registry::Registry;
use utoipa::OpenApi as _;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::broker::BrokerHandle;
use authority::Authority;

/// The state that every handler reaches.
#[derive(Clone)]
pub struct ApiState {
    /// The broker.
    pub broker: BrokerHandle,
    /// The other replicas.
    pub peers: peers::Peers,
    /// Who may ask, and how people sign in.
    pub authority: Authority,
    /// The figures of the whole process.
    pub registry: Arc<Registry>,
}

#[derive(utoipa::OpenApi)]
#[openapi(
    modifiers(&Tokens),
    info(
        title = "Zonefold",
        version = "v1",
        description = "What the broker knows: which cluster wants which DNS name, who holds it, what Route 53 holds, and why.\n\n\
            Lists page by cursor: pass `next` of one page as `cursor` of the next until it is null. Errors are problem details \
            (RFC 9457). Times are RFC 3339 in UTC.\n\n\
            Where the broker asks for a token, a request without one is answered 401, and one whose holder may too little 403.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "names", description = "Why a name has its record sets"),
        (name = "endpoints", description = "The endpoints that clusters publish, with their statuses"),
        (name = "clusters", description = "The registered Kubernetes clusters"),
        (name = "accounts", description = "The AWS accounts with their budgets"),
        (name = "zones", description = "The hosted zones and their record sets"),
        (name = "rules", description = "Who owns which name, and who may publish it"),
        (name = "holds", description = "What waits for the word of people, and the words that were given"),
        (name = "handovers", description = "Names that pass from one cluster to another"),
        (name = "changes", description = "The journal: each change with its time, its cause and the answer of AWS"),
        (name = "audit", description = "Who decided what, when, from where and why"),
        (name = "people", description = "Who asks, and how people and programs prove who they are"),
        (name = "operation", description = "Health and metrics")
    )
)]
struct Description;

/// Describes the tokens, and the answers without one. Health needs none.
struct Tokens;

impl utoipa::Modify for Tokens {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme =
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        let cookie = ApiKey::Cookie(ApiKeyValue::with_description(
            "__Host-zonefold-session",
            "The session of a browser. What changes something has the header x-zonefold-request too.",
        ));
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("bearer", scheme);
        components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
        let needs = |name: &str| SecurityRequirement::new(name, Vec::<String>::new());
        openapi.security = Some(vec![needs("bearer"), needs("session")]);
    }
}

fn described() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(clusters::list))
        .routes(routes!(clusters::get))
        .routes(routes!(accounts::list))
        .routes(routes!(accounts::get))
        .routes(routes!(zones::list))
        .routes(routes!(zones::get))
        .routes(routes!(records::list))
        .routes(routes!(endpoints::list))
        .routes(routes!(changes::list))
        .routes(routes!(batches::get))
        .routes(routes!(audit::list))
        .routes(routes!(audit::chain))
        .routes(routes!(notifications::list))
        .routes(routes!(notifications::resend))
        .routes(routes!(rules::list, rules::post))
        .routes(routes!(rules::set))
        .routes(routes!(rules::get))
        .routes(routes!(holds::list))
        .routes(routes!(holds::get))
        .routes(routes!(holds::units))
        .routes(routes!(holds::approve))
        .routes(routes!(holds::deny))
        .routes(routes!(requests::list))
        .routes(routes!(requests::get))
        .routes(routes!(me::get))
        .routes(routes!(me::version))
        .routes(routes!(tokens::list, tokens::post))
        .routes(routes!(tokens::delete))
        .routes(routes!(sign_in::begin))
        .routes(routes!(sign_in::callback))
        .routes(routes!(sign_in::exchange))
        .routes(routes!(sign_in::end))
        .routes(routes!(handovers::list, handovers::stage))
        .routes(routes!(handovers::get))
        .routes(routes!(handovers::names))
        .routes(routes!(handovers::switch))
        .routes(routes!(handovers::abort))
        .routes(routes!(names::get))
        .routes(routes!(names::reroute::post))
}

/// The description of the API, as it is served.
pub fn openapi() -> utoipa::openapi::OpenApi {
    described().split_for_parts().1
}

/// All routes, with the layers that every request passes; `authority` says who may ask, `tls` how replicas know each other, and
/// `vouching` whom they believe.
pub fn router(
    broker: BrokerHandle,
    registry: Arc<Registry>,
    authority: Authority,
    tls: Option<Arc<dyn peers::PeerTls>>,
    vouching: Option<voucher::Vouching>,
) -> Router {
    let (routes, description) = described().split_for_parts();
    let description = Arc::new(description);
    let serve_description = move || std::future::ready(Json(Arc::clone(&description)));
    let routes = routes.route("/api/v1/openapi.json", routing::get(serve_description));
    if let Some(vouching) = &vouching {
        authority.trust(vouching.clone());
    }
    authority.know(broker.clone());
    let peers = peers::Peers::new(broker.clone(), tls, vouching);
    let state = ApiState { peers, broker, authority: authority.clone(), registry };
    layers::around(routes.with_state(state), authority)
}
