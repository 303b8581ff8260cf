//! The authority over requests: who calls, by a token of the configuration, a token of the store or a session, and what they may do.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Uri, header};

use super::cookie::{BrokerCookie, is_of_own_page};
use super::known::KnownCredentials;
use super::refusal::AccessRefusal;
use super::role::{Granted, NoRole, Role};
use super::secret::secret_hash;
use super::voucher::{VOUCHER, Vouching};
use crate::broker::BrokerHandle;
use crate::core::people::credential::{Credential, CredentialEnd, CredentialKind};
use crate::core::people::public_url::PublicUrl;
use crate::core::people::role::RoleTable;
use crate::core::time::Millis;
use crate::core::transport::{bearer_token, is_asked_as_loopback};
use crate::ports::{IdentityProvider, Peer};

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
    /// The roles of people.
    pub people: RoleTable,
    /// Where browsers reach the broker; `None` if no browser has a session.
    pub public_url: Option<PublicUrl>,
}

/// How people sign in.
#[derive(Clone)]
pub struct SignInWay {
    /// Who says who they are.
    pub provider: Arc<dyn IdentityProvider>,
    /// How long a session lasts.
    pub session_lasts: Millis,
}

/// The rules, which may change.
#[derive(Clone)]
pub struct Authority(Arc<Judge>);

struct Judge {
    rules: ArcSwap<Rules>,
    /// How people sign in; `None` if they cannot.
    sign_in: ArcSwapOption<SignInWay>,
    /// Checks what other replicas vouch for; unset before the broker is there, and where it has no others.
    vouching: OnceLock<Vouching>,
    /// The sessions and tokens of the store; unset before the broker is there.
    known: OnceLock<KnownCredentials>,
}

/// The need of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    Metrics,
    Role(Role),
}

/// Whether a route that changes something judges itself whose things it changes: callers need no role for the whole there.
fn judges_itself(path: &str) -> bool {
    let is_decision = path.starts_with("/api/v1/holds/")
        && (path.ends_with("/approve") || path.ends_with("/deny"));
    is_decision
        || path == "/api/v1/rules"
        || path == "/api/v1/tokens"
        || path.starts_with("/api/v1/tokens/")
}

/// Returns the need of a route. Probes have no token, and who signs in has none yet; reading needs a viewer; all else an operator, but
/// for what judges itself.
fn need(method: &Method, path: &str) -> Need {
    match path {
        "/healthz" | "/readyz" => Need::Nothing,
        "/auth/sign-in" | "/auth/callback" | "/auth/exchange" | "/auth/sign-out" => Need::Nothing,
        "/metrics" => Need::Metrics,
        _ if method == Method::GET || method == Method::HEAD => Need::Role(Role::Viewer),
        _ if judges_itself(path) => Need::Role(Role::Viewer),
        _ => Need::Role(Role::Operator),
    }
}

impl Authority {
    /// By these rules.
    pub fn new(rules: Rules) -> Self {
        Self(Arc::new(Judge {
            rules: ArcSwap::from_pointee(rules),
            sign_in: ArcSwapOption::empty(),
            vouching: OnceLock::new(),
            known: OnceLock::new(),
        }))
    }

    /// Any caller may do anything: for tests of what lies behind.
    pub fn everybody() -> Self {
        Self::new(Rules { anonymous: Some(Role::Admin), open_metrics: true, ..Rules::default() })
    }

    /// By other rules from now on.
    pub fn set(&self, rules: Rules) {
        self.0.rules.store(Arc::new(rules));
    }

    /// People sign in this way from now on; `None` for not at all.
    pub fn set_sign_in(&self, way: Option<SignInWay>) {
        self.0.sign_in.store(way.map(Arc::new));
    }

    /// How people sign in; `None` if they cannot.
    pub(super) fn sign_in(&self) -> Option<Arc<SignInWay>> {
        self.0.sign_in.load_full()
    }

    /// Where browsers reach the broker.
    pub(super) fn public_url(&self) -> Option<PublicUrl> {
        self.0.rules.load().public_url.clone()
    }

    /// Takes what other replicas vouch for from now on. The first one stays.
    pub fn trust(&self, vouching: Vouching) {
        let _first = self.0.vouching.set(vouching);
    }

    /// Knows the sessions and tokens of a broker's store from now on. The first one stays.
    pub(super) fn know(&self, broker: BrokerHandle) {
        let _first = self.0.known.set(KnownCredentials::new(broker));
    }

    /// The sessions and tokens of the store; `None` before the broker is there.
    pub(super) fn known(&self) -> Option<&KnownCredentials> {
        self.0.known.get()
    }

    /// Whether a request may pass, and its caller; `None` if no proof is required.
    async fn check(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        from: Option<IpAddr>,
    ) -> Result<Option<Asks>, AccessRefusal> {
        let rules = self.0.rules.load_full();
        let needed = match need(method, uri.path()) {
            Need::Nothing => return Ok(None),
            Need::Metrics if rules.open_metrics => return Ok(None),
            Need::Metrics => Role::Viewer,
            Need::Role(role) => role,
        };
        let granted = match (headers.get(VOUCHER), bearer(headers), rules.session_of(headers)) {
            (Some(voucher), _, _) => {
                let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
                let vouching = self.0.vouching.get();
                let granted = vouching.and_then(|by| by.check(method, path, voucher));
                granted.ok_or(AccessRefusal::BadVoucher)?
            }
            (None, Some(token), _) => self.by_token(&rules, token, from).await?,
            (None, None, Some((public_url, session))) => {
                let is_read = method == Method::GET || method == Method::HEAD;
                if !is_read && !is_of_own_page(public_url, headers) {
                    return Err(AccessRefusal::CrossSite);
                }
                let found = self.find(session).await?;
                let is_session = |found: &Arc<Credential>| found.kind == CredentialKind::Session;
                let session = found.filter(is_session).ok_or(AccessRefusal::UnknownSession)?;
                self.granted(&rules, &session, from)?
            }
            (None, None, None) => {
                let role = rules.anonymous.ok_or(AccessRefusal::NoToken)?;
                if rules.anonymous_on_loopback && !names_this_machine(uri, headers) {
                    return Err(AccessRefusal::OtherHost);
                }
                if role < needed {
                    return Err(AccessRefusal::NoToken);
                }
                let granted = Granted::anonymous(role, from);
                return Ok(Some(Asks { granted, is_proven: false }));
            }
        };
        if granted.environments.is_some() && uri.path() == "/metrics" {
            return Err(AccessRefusal::Limited(granted.acted.actor.to_string()));
        }
        if granted.role >= needed {
            return Ok(Some(Asks { granted, is_proven: true }));
        }
        let name = granted.acted.actor.to_string();
        Err(AccessRefusal::TooLittle { name, role: granted.role, needed })
    }

    async fn by_token(
        &self,
        rules: &Rules,
        token: &str,
        from: Option<IpAddr>,
    ) -> Result<Granted, AccessRefusal> {
        if let Some(Holder { name, role }) = rules.holders.get(&secret_hash(token)) {
            return Ok(Granted::configured(name, *role, from));
        }
        // A wrong token is an error even where none is needed: the caller believes to have one.
        let found = self.find(token).await?.ok_or(AccessRefusal::UnknownToken)?;
        self.granted(rules, &found, from)
    }

    async fn find(&self, secret: &str) -> Result<Option<Arc<Credential>>, AccessRefusal> {
        if !super::secret::may_be_ours(secret) {
            return Ok(None);
        }
        let known = self.known().ok_or(AccessRefusal::Starting)?;
        known.find(secret).await.map_err(|error| {
            tracing::warn!(%error, "a token could not be looked for");
            AccessRefusal::StoreAway
        })
    }

    fn granted(
        &self,
        rules: &Rules,
        credential: &Credential,
        from: Option<IpAddr>,
    ) -> Result<Granted, AccessRefusal> {
        let broker = self.known().ok_or(AccessRefusal::Starting)?.broker();
        let (what, remedy) = match credential.kind {
            CredentialKind::Session => ("session", "sign in again"),
            CredentialKind::Person | CredentialKind::Machine => {
                ("token", "make another with zonefold token create")
            }
        };
        match credential.ended(broker.clock.now()) {
            Some(CredentialEnd::Expired(at)) => {
                return Err(AccessRefusal::Expired { what, at, remedy });
            }
            Some(CredentialEnd::Revoked(at)) => {
                return Err(AccessRefusal::Revoked { what, at, remedy });
            }
            None => {}
        }
        let governance = Arc::clone(&broker.rules.borrow().governance);
        let granted = Granted::stored(credential, governance.rules(), &rules.people, from);
        granted.map_err(|why| match why {
            NoRole::Unnamed => AccessRefusal::NoRole(credential.actor().to_string()),
            NoRole::TeamGone(teams) => AccessRefusal::TeamGone(teams),
        })
    }
}

impl Rules {
    /// The session that a browser's cookie names.
    fn session_of<'a>(&'a self, headers: &'a HeaderMap) -> Option<(&'a PublicUrl, &'a str)> {
        let public_url = self.public_url.as_ref()?;
        Some((public_url, BrokerCookie::session(public_url).read(headers)?))
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
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().unwrap_or_default();
    // Something else than a bearer token is a wrong one.
    Some(bearer_token(value).unwrap_or_default())
}

/// The address of the other end of a request's connection.
pub(super) fn address_of(extensions: &http::Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<Peer>>().map(|ConnectInfo(peer)| peer.address.ip())
}

/// The layer: every request passes here before a route sees it.
pub(super) async fn admit(
    State(authority): State<Authority>,
    mut request: Request,
    next: Next,
) -> Response {
    let from = address_of(request.extensions());
    // The body is no part of it: a future that holds the request could not be sent between threads.
    let (method, uri, headers) =
        (request.method().clone(), request.uri().clone(), request.headers().clone());
    match authority.check(&method, &uri, &headers, from).await {
        Ok(asks) => {
            if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<Peer>>()
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
            let address = from.map(|from| from.to_string());
            tracing::debug!(path = uri.path(), address, %refusal, "a request was refused");
            refusal.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

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

    async fn check(rules: &Rules, method: Method, path: &str, authorization: Option<&str>) -> u16 {
        let mut headers = HeaderMap::new();
        authorization.map(|value| headers.insert(header::AUTHORIZATION, value.parse().unwrap()));
        let checked = Authority::new(rules.clone())
            .check(&method, &path.parse().unwrap(), &headers, None)
            .await;
        checked.map_or_else(|refusal| refusal.into_response().status().as_u16(), |_| 200)
    }

    #[tokio::test]
    async fn each_role_may_do_what_those_before_it_may() {
        let zones = "/api/v1/zones";
        for (token, read, write) in
            [("reader", 200, 403), ("worker", 200, 200), ("owner", 200, 200), ("nobody", 401, 401)]
        {
            let header = format!("Bearer {token}");
            for method in [Method::GET, Method::HEAD] {
                assert_eq!(check(&rules(), method, zones, Some(&header)).await, read, "{token}");
            }
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                assert_eq!(check(&rules(), method, zones, Some(&header)).await, write, "{token}");
            }
        }
    }

    #[tokio::test]
    async fn without_a_token_there_is_only_health() {
        for path in
            ["/api/v1/zones", "/api/v1/openapi.json", "/metrics", "/", "/healthz/", "/nothing"]
        {
            assert_eq!(check(&rules(), Method::GET, path, None).await, 401, "{path}");
        }
        for path in ["/healthz", "/readyz"] {
            assert_eq!(check(&rules(), Method::GET, path, None).await, 200, "{path}");
            assert_eq!(
                check(&rules(), Method::GET, path, Some("Bearer wrong")).await,
                200,
                "a probe is never sent away: {path}"
            );
        }
        let open = Rules { open_metrics: true, anonymous: Some(Role::Viewer), ..rules() };
        assert_eq!(check(&open, Method::GET, "/metrics", None).await, 200);
        assert_eq!(check(&open, Method::GET, "/api/v1/zones", None).await, 200);
        assert_eq!(
            check(&open, Method::POST, "/api/v1/zones", None).await,
            401,
            "with a token it may be allowed"
        );
        assert_eq!(check(&open, Method::GET, "/api/v1/zones", Some("Bearer wrong")).await, 401);
    }

    #[tokio::test]
    async fn a_page_of_another_host_reads_nothing_from_this_machine() {
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
            let (authority, path) =
                (Authority::new(rules.clone()), "/api/v1/zones".parse().unwrap());
            let checked = authority.check(&Method::GET, &path, &headers, None).await;
            let got =
                checked.map_or_else(|refusal| refusal.into_response().status().as_u16(), |_| 200);
            assert_eq!(got, status, "{host} {origin:?}");
        }
    }

    #[tokio::test]
    async fn a_voucher_of_nobody_opens_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert(VOUCHER, "1.0.admin.00.00".parse().unwrap());
        headers.insert(header::AUTHORIZATION, "Bearer owner".parse().unwrap());
        let authority = Authority::new(Rules { anonymous: Some(Role::Admin), ..rules() });
        let path = "/api/v1/zones".parse().unwrap();
        let checked = authority.check(&Method::GET, &path, &headers, None).await;
        assert_eq!(checked, Err(AccessRefusal::BadVoucher));
    }

    #[tokio::test]
    async fn what_is_no_bearer_token_is_no_token() {
        for header in [
            "Basic cmVhZGVy",
            "reader",
            "Bearer",
            "Bearer ",
            "Bearer reader,worker",
            "Bearerreader",
        ] {
            assert_eq!(
                check(&rules(), Method::GET, "/api/v1/zones", Some(header)).await,
                401,
                "{header}"
            );
        }
        assert_eq!(
            check(&rules(), Method::GET, "/api/v1/zones", Some("bearer  reader ")).await,
            200
        );
        // The hash itself is no token.
        let hash: String =
            Sha256::digest(b"owner").iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(
            check(&rules(), Method::GET, "/api/v1/zones", Some(&format!("Bearer {hash}"))).await,
            401
        );
    }
}
