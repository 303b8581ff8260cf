//! Who may ask for what: bearer tokens, of which only hashes are known, each with a role.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use sha2::{Digest as _, Sha256};

use super::problem::Problem;
use crate::ports::Peer;

/// What a caller may do; each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Read.
    Viewer,
    /// Change what the broker does: approve, hold, hand over.
    Operator,
    /// Everything.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

/// The holder of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Who, for the log.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// Who may ask for what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The holders by the SHA-256 of their tokens. A token is found by its hash, so how long the search takes says nothing of it.
    pub holders: HashMap<[u8; 32], Holder>,
    /// What callers without a token may do; none: nothing.
    pub anonymous: Option<Role>,
    /// Whether `/metrics` needs no token.
    pub open_metrics: bool,
}

/// The rules, which may change.
#[derive(Clone)]
pub struct Authority(Arc<ArcSwap<Rules>>);

/// What a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    Metrics,
    Role(Role),
}

/// What a route needs. Whoever watches over the process has no token; what reads needs a viewer; everything else an operator.
fn need(method: &Method, path: &str) -> Need {
    match path {
        "/healthz" | "/readyz" => Need::Nothing,
        "/metrics" => Need::Metrics,
        _ if method == Method::GET || method == Method::HEAD => Need::Role(Role::Viewer),
        _ => Need::Role(Role::Operator),
    }
}

impl Authority {
    /// By these rules.
    pub fn new(rules: Rules) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(rules)))
    }

    /// Anybody may do anything: for tests of what lies behind.
    pub fn everybody() -> Self {
        Self::new(Rules { anonymous: Some(Role::Admin), open_metrics: true, ..Rules::default() })
    }

    /// By other rules from now on.
    pub fn set(&self, rules: Rules) {
        self.0.store(Arc::new(rules));
    }

    /// Whether a request may pass.
    fn check(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
        let rules = self.0.load();
        let needed = match need(method, path) {
            Need::Nothing => return Ok(()),
            Need::Metrics if rules.open_metrics => return Ok(()),
            Need::Metrics => Role::Viewer,
            Need::Role(role) => role,
        };
        let (name, role) = match bearer(headers) {
            Some(token) => {
                let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
                // A wrong token is an error even where none is needed: somebody believes to have one.
                let holder = rules.holders.get(&hash).ok_or(Refusal::UnknownToken)?;
                (holder.name.as_str(), holder.role)
            }
            None => ("", rules.anonymous.ok_or(Refusal::NoToken)?),
        };
        if role >= needed {
            return Ok(());
        }
        if name.is_empty() {
            Err(Refusal::NoToken)
        } else {
            Err(Refusal::TooLittle { name: name.to_owned(), role, needed })
        }
    }
}

/// The token of a request. The scheme has no case (RFC 9110 §11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().unwrap_or_default();
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    // Something else than a bearer token is a wrong one.
    Some(if scheme.eq_ignore_ascii_case("bearer") { token.trim() } else { "" })
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error(
        "this needs a token: send Authorization: Bearer TOKEN, or give --token-file to the command; zonefold token makes one for the broker's configuration (api.tokens)"
    )]
    NoToken,
    #[error(
        "the token is none that the broker knows: compare its SHA-256 with api.tokens of the broker's configuration"
    )]
    UnknownToken,
    #[error("the token of {name} has the role {role} and this needs {needed}")]
    TooLittle { name: String, role: Role, needed: Role },
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, kind) = match &self {
            Self::NoToken => (StatusCode::UNAUTHORIZED, "unauthenticated"),
            Self::UnknownToken => (StatusCode::UNAUTHORIZED, "unknown-token"),
            Self::TooLittle { .. } => (StatusCode::FORBIDDEN, "forbidden"),
        };
        let mut response = Problem::new(status, kind, self.to_string()).into_response();
        // RFC 9110 §15.5.2, RFC 6750 §3.
        let challenge = match &self {
            Self::NoToken => "Bearer realm=\"zonefold\"",
            Self::UnknownToken => "Bearer realm=\"zonefold\", error=\"invalid_token\"",
            Self::TooLittle { .. } => "Bearer realm=\"zonefold\", error=\"insufficient_scope\"",
        };
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        response
    }
}

/// The layer: every request passes here before a route sees it.
pub(super) async fn admit(
    State(authority): State<Authority>,
    request: Request,
    next: Next,
) -> Response {
    match authority.check(request.method(), request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            // Anybody who reaches the port can make lines of this.
            let address = request
                .extensions()
                .get::<ConnectInfo<Peer>>()
                .map(|ConnectInfo(peer)| peer.address.to_string());
            tracing::debug!(
                path = request.uri().path(),
                address,
                "a request was refused: {refusal}"
            );
            refusal.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let holder = |name: &str, role| {
            (Sha256::digest(name.as_bytes()).into(), Holder { name: name.to_owned(), role })
        };
        let holders = [
            holder("reader", Role::Viewer),
            holder("worker", Role::Operator),
            holder("owner", Role::Admin),
        ];
        Rules { holders: holders.into(), ..Rules::default() }
    }

    fn check(rules: &Rules, method: Method, path: &str, authorization: Option<&str>) -> u16 {
        let mut headers = HeaderMap::new();
        authorization.map(|value| headers.insert(header::AUTHORIZATION, value.parse().unwrap()));
        let refusal = Authority::new(rules.clone()).check(&method, path, &headers);
        refusal.map_or_else(|refusal| refusal.into_response().status().as_u16(), |()| 200)
    }

    #[test]
    fn each_role_may_do_what_those_before_it_may() {
        let zones = "/api/v1/zones";
        for (token, read, write) in
            [("reader", 200, 403), ("worker", 200, 200), ("owner", 200, 200), ("nobody", 401, 401)]
        {
            let header = format!("Bearer {token}");
            for method in [Method::GET, Method::HEAD] {
                assert_eq!(check(&rules(), method, zones, Some(&header)), read, "{token}");
            }
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                assert_eq!(check(&rules(), method, zones, Some(&header)), write, "{token}");
            }
        }
    }

    #[test]
    fn without_a_token_there_is_only_health() {
        for path in
            ["/api/v1/zones", "/api/v1/openapi.json", "/metrics", "/", "/healthz/", "/nothing"]
        {
            assert_eq!(check(&rules(), Method::GET, path, None), 401, "{path}");
        }
        for path in ["/healthz", "/readyz"] {
            assert_eq!(check(&rules(), Method::GET, path, None), 200, "{path}");
            assert_eq!(
                check(&rules(), Method::GET, path, Some("Bearer wrong")),
                200,
                "a probe is never sent away: {path}"
            );
        }
        let open = Rules { open_metrics: true, anonymous: Some(Role::Viewer), ..rules() };
        assert_eq!(check(&open, Method::GET, "/metrics", None), 200);
        assert_eq!(check(&open, Method::GET, "/api/v1/zones", None), 200);
        assert_eq!(
            check(&open, Method::POST, "/api/v1/zones", None),
            401,
            "with a token it may be allowed"
        );
        assert_eq!(check(&open, Method::GET, "/api/v1/zones", Some("Bearer wrong")), 401);
    }

    #[test]
    fn what_is_no_bearer_token_is_no_token() {
        for header in [
            "Basic cmVhZGVy",
            "reader",
            "Bearer",
            "Bearer ",
            "Bearer reader,worker",
            "Bearerreader",
        ] {
            assert_eq!(
                check(&rules(), Method::GET, "/api/v1/zones", Some(header)),
                401,
                "{header}"
            );
        }
        assert_eq!(check(&rules(), Method::GET, "/api/v1/zones", Some("bearer  reader ")), 200);
        // The hash itself is no token.
        let hash: String =
            Sha256::digest(b"owner").iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(
            check(&rules(), Method::GET, "/api/v1/zones", Some(&format!("Bearer {hash}"))),
            401
        );
    }
}
