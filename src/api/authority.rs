//! The authority over requests: bearer tokens, of which only hashes are known, each with a role.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use sha2::{Digest as _, Sha256};

use super::problem::Problem;
use super::role::{Granted, Role};
use super::voucher::{VOUCHER, Vouching};
use crate::core::transport::{bearer_token, is_asked_as_loopback};
use crate::ports::Peer;

/// The holder of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The name, for the log.
    pub name: String,
    /// The role.
    pub role: Role,
}

/// The rules of access.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The holders by the SHA-256 of their tokens. A token is found by its hash, so how long the search takes says nothing of it.
    pub holders: HashMap<[u8; 32], Holder>,
    /// The role of callers without a token; `None` if they may do nothing.
    pub anonymous: Option<Role>,
    /// Whether they have to name this machine as the host: else a page in a user's browser could ask in their place, under a name
    /// of its own that it lets lead here.
    pub anonymous_on_loopback: bool,
    /// Whether `/metrics` needs no token.
    pub open_metrics: bool,
}

/// The rules, which may change.
#[derive(Clone)]
pub struct Authority(Arc<Judge>);

struct Judge {
    rules: ArcSwap<Rules>,
    /// Checks what other replicas vouch for; unset before the broker is there, and where it has no others.
    vouching: OnceLock<Vouching>,
}

/// The need of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    Metrics,
    Role(Role),
}

/// Returns the need of a route. Probes have no token; reading needs a viewer; all else an operator.
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
        let rules = ArcSwap::from_pointee(rules);
        Self(Arc::new(Judge { rules, vouching: OnceLock::new() }))
    }

    /// Any caller may do anything: for tests of what lies behind.
    pub fn everybody() -> Self {
        Self::new(Rules { anonymous: Some(Role::Admin), open_metrics: true, ..Rules::default() })
    }

    /// By other rules from now on.
    pub fn set(&self, rules: Rules) {
        self.0.rules.store(Arc::new(rules));
    }

    /// Takes what other replicas vouch for from now on. The first one stays.
    pub fn trust(&self, vouching: Vouching) {
        let _first = self.0.vouching.set(vouching);
    }

    /// Whether a request may pass, and its caller; `None` if no proof is required.
    fn check(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Option<Asks>, Refusal> {
        let rules = self.0.rules.load();
        let needed = match need(method, uri.path()) {
            Need::Nothing => return Ok(None),
            Need::Metrics if rules.open_metrics => return Ok(None),
            Need::Metrics => Role::Viewer,
            Need::Role(role) => role,
        };
        let asks = match (headers.get(VOUCHER), bearer(headers)) {
            (Some(voucher), _) => {
                let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
                let vouching = self.0.vouching.get();
                let granted = vouching.and_then(|by| by.check(method, path, voucher));
                Asks { granted: granted.ok_or(Refusal::BadVoucher)?, is_proven: true }
            }
            (None, Some(token)) => {
                let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
                // A wrong token is an error even where none is needed: the caller believes to have one.
                let Holder { name, role } =
                    rules.holders.get(&hash).cloned().ok_or(Refusal::UnknownToken)?;
                Asks { granted: Granted { name, role }, is_proven: true }
            }
            (None, None) => {
                let role = rules.anonymous.ok_or(Refusal::NoToken)?;
                if rules.anonymous_on_loopback && !names_this_machine(uri, headers) {
                    return Err(Refusal::OtherHost);
                }
                Asks { granted: Granted { name: String::new(), role }, is_proven: false }
            }
        };
        let Granted { name, role } = &asks.granted;
        if *role >= needed {
            return Ok(Some(asks));
        }
        if name.is_empty() {
            Err(Refusal::NoToken)
        } else {
            Err(Refusal::TooLittle { name: name.clone(), role: *role, needed })
        }
    }
}

/// The caller, and whether its identity is proven.
#[derive(Debug, PartialEq, Eq)]
struct Asks {
    granted: Granted,
    is_proven: bool,
}

/// Whether a request is addressed to this machine (RFC 9110 §7.2), and by no page of another host.
fn names_this_machine(uri: &Uri, headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .or_else(|| uri.authority().map(|authority| authority.as_str()));
    is_asked_as_loopback(
        host,
        headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default()),
    )
}

/// The token of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().unwrap_or_default();
    // Something else than a bearer token is a wrong one.
    Some(bearer_token(value).unwrap_or_default())
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
    #[error(
        "the voucher of a replica cannot be verified: replicas have to share one store, and their clocks may differ by seconds"
    )]
    BadVoucher,
    #[error(
        "without a token this is answered to requests for 127.0.0.1, ::1 or localhost alone, and to no page of another origin: name the broker so, or send a token"
    )]
    OtherHost,
    #[error("the token of {name} has the role {role} and this needs {needed}")]
    TooLittle { name: String, role: Role, needed: Role },
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, kind) = match &self {
            Self::NoToken => (StatusCode::UNAUTHORIZED, "unauthenticated"),
            Self::UnknownToken => (StatusCode::UNAUTHORIZED, "unknown-token"),
            Self::BadVoucher => (StatusCode::UNAUTHORIZED, "unknown-voucher"),
            Self::OtherHost => (StatusCode::UNAUTHORIZED, "other-host"),
            Self::TooLittle { .. } => (StatusCode::FORBIDDEN, "forbidden"),
        };
        let mut response = Problem::new(status, kind, self.to_string()).into_response();
        // RFC 9110 §15.5.2, RFC 6750 §3.
        let challenge = match &self {
            Self::NoToken | Self::OtherHost => "Bearer realm=\"zonefold\"",
            Self::UnknownToken | Self::BadVoucher => {
                "Bearer realm=\"zonefold\", error=\"invalid_token\""
            }
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
    mut request: Request,
    next: Next,
) -> Response {
    let checked = authority.check(request.method(), request.uri(), request.headers());
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    match checked {
        Ok(asks) => {
            if let Some(ConnectInfo(peer)) = peer
                && asks.as_ref().is_some_and(|asks| asks.is_proven)
            {
                peer.door.pass();
            }
            if let Some(Asks { granted, .. }) = asks {
                request.extensions_mut().insert(granted);
            }
            next.run(request).await
        }
        Err(refusal) => {
            // Any client that reaches the port can make lines of this.
            let address = peer.map(|ConnectInfo(peer)| peer.address.to_string());
            tracing::debug!(
                path = request.uri().path(),
                address,
                %refusal, "a request was refused"
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
        let checked =
            Authority::new(rules.clone()).check(&method, &path.parse().unwrap(), &headers);
        checked.map_or_else(|refusal| refusal.into_response().status().as_u16(), |_| 200)
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
    fn a_page_of_another_host_reads_nothing_from_this_machine() {
        let rules = Rules { anonymous: Some(Role::Viewer), anonymous_on_loopback: true, ..rules() };
        for (host, origin, token, status) in [
            ("127.0.0.1:7080", None, None, 200),
            ("localhost:7080", Some("http://localhost:7080"), None, 200),
            ("[::1]:7080", None, None, 200),
            ("rebound.test:7080", None, None, 401),
            ("127.0.0.1:7080", Some("https://elsewhere.test"), None, 401),
            ("127.0.0.1:7080", Some("null"), None, 401),
            ("rebound.test:7080", None, Some("Bearer reader"), 200),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            origin.map(|origin| headers.insert(header::ORIGIN, origin.parse().unwrap()));
            token.map(|token| headers.insert(header::AUTHORIZATION, token.parse().unwrap()));
            let checked = Authority::new(rules.clone()).check(
                &Method::GET,
                &"/api/v1/zones".parse().unwrap(),
                &headers,
            );
            let got =
                checked.map_or_else(|refusal| refusal.into_response().status().as_u16(), |_| 200);
            assert_eq!(got, status, "{host} {origin:?}");
        }
    }

    #[test]
    fn a_voucher_of_nobody_opens_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert(VOUCHER, "1.0.admin.00.00".parse().unwrap());
        headers.insert(header::AUTHORIZATION, "Bearer owner".parse().unwrap());
        let authority = Authority::new(Rules { anonymous: Some(Role::Admin), ..rules() });
        let checked = authority.check(&Method::GET, &"/api/v1/zones".parse().unwrap(), &headers);
        assert_eq!(checked, Err(Refusal::BadVoucher));
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
