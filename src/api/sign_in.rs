//! Signing in and out.
//!
//! A browser that goes to `/auth/sign-in` is led to the identity provider and comes back to `/auth/callback` with a code, and has a
//! session from then on. What the sign-in has to come back with is kept by the browser alone, in a cookie of some minutes, so any replica
//! ends what another one began. A program has a browser sign in for it: it gets a code of ours on its own loopback address
//! (RFC 8252 §7.3), which it exchanges for a session by the verifier that nobody else knows (RFC 7636).

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::ApiState;
use super::authority::{SignInWay, bearer};
use super::cookie::{BrokerCookie, is_of_own_page};
use super::problem::{ApiError, Problem};
use super::request::{JsonBody, NoParams, Params};
use super::secret::{new_secret, secret_hash};
use super::sign_in_page::sign_in_page;
use super::values::Time;
use crate::core::governance::actor::Actor;
use crate::core::people::credential::{Credential, CredentialKind, SignedInPerson};
use crate::core::people::public_url::{PublicUrl, is_own_path};
use crate::core::time::{Millis, Timestamp};
use crate::core::transport::is_loopback_host;
use crate::ports::{PendingSignIn, SignInError};

/// Where the provider sends browsers back to.
const CALLBACK: &str = "/auth/callback";
/// How long a person may take at the provider.
const SIGN_IN_WITHIN_SECS: i64 = 600;
/// How long a program may take to fetch its session.
const FETCH_WITHIN: Millis = Millis::from_secs(60);
/// The most that a browser is made to keep.
const LONGEST_COOKIE: usize = 3_500;

/// Where a sign-in leads.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SignInParams {
    /// The path of the broker to which the browser comes at last.
    #[param(value_type = Option<String>, example = "/zones/Z0EXAMPLE")]
    pub return_to: Option<String>,
    /// Of a program that has a browser sign in for it: its loopback address, to which the browser comes with a code.
    #[param(value_type = Option<String>, example = "http://127.0.0.1:49152/")]
    pub redirect_uri: Option<String>,
    /// Of a program: the S256 challenge of the verifier by which it fetches its session (RFC 7636).
    #[param(value_type = Option<String>)]
    pub code_challenge: Option<String>,
    /// Of a program: what comes back to it with the code.
    #[param(value_type = Option<String>)]
    pub state: Option<String>,
    /// Of a program: what people call its session.
    #[param(value_type = Option<String>, example = "zonefold on laptop")]
    pub program: Option<String>,
}

/// With what the provider sends a browser back.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CallbackParams {
    /// What is given for the tokens.
    #[param(value_type = Option<String>)]
    pub code: Option<String>,
    /// What the broker gave along.
    #[param(value_type = Option<String>)]
    pub state: Option<String>,
    /// Why nobody signed in (RFC 6749 §4.1.2.1).
    #[param(value_type = Option<String>)]
    pub error: Option<String>,
    /// Whose answer it is (RFC 9207).
    #[param(value_type = Option<String>)]
    pub iss: Option<String>,
}

/// A program for which a person signs in.
#[derive(Clone, Serialize, Deserialize)]
struct AskingProgram {
    redirect_uri: String,
    challenge: String,
    state: Option<String>,
    name: String,
}

/// What a browser keeps while its person is at the provider.
#[derive(Clone, Serialize, Deserialize)]
struct SignInCookie {
    pending: PendingSignIn,
    return_to: String,
    program: Option<AskingProgram>,
}

/// What is kept for a program until it fetches its session.
#[derive(Serialize, Deserialize)]
struct CodeBody {
    person: SignedInPerson,
    challenge: String,
    name: String,
}

/// What a program shows for its session.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CodeExchange {
    /// The code with which the browser came.
    pub code: String,
    /// The verifier whose challenge began the sign-in.
    pub code_verifier: String,
}

/// The session of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProgramSession {
    /// What the program shows from now on, as a token.
    pub secret: String,
    /// Who signed in.
    #[schema(example = "ann@example.com")]
    pub name: String,
    /// Until when the session lasts.
    pub ends_at: Time,
}

/// What became of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignedOut {
    /// Whether there was one that still lasted.
    pub ended: bool,
}

/// Why nobody is signed in, as a page for people.
struct SignInFailed {
    status: StatusCode,
    text: String,
    return_to: String,
}

impl SignInFailed {
    fn bad(text: impl Into<String>) -> Self {
        let (status, text) = (StatusCode::BAD_REQUEST, text.into());
        Self { status, text, return_to: "/".to_owned() }
    }
}

impl From<SignInError> for SignInFailed {
    fn from(error: SignInError) -> Self {
        let status = match &error {
            SignInError::Away => StatusCode::SERVICE_UNAVAILABLE,
            SignInError::Refused(_) => StatusCode::BAD_REQUEST,
            SignInError::UnknownClient | SignInError::NoRandomness => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self { status, ..Self::bad(error.to_string()) }
    }
}

impl From<ApiError> for SignInFailed {
    fn from(error: ApiError) -> Self {
        let text = error.to_string();
        Self { status: error.into_response().status(), ..Self::bad(text) }
    }
}

impl IntoResponse for SignInFailed {
    fn into_response(self) -> Response {
        sign_in_page(self.status, &self.text, &self.return_to)
    }
}

/// How people sign in here.
fn way(state: &ApiState) -> Result<(std::sync::Arc<SignInWay>, PublicUrl), SignInFailed> {
    state.authority.sign_in().zip(state.authority.public_url()).ok_or_else(|| SignInFailed {
        status: StatusCode::NOT_FOUND,
        ..SignInFailed::bad(
            "nobody can sign in at this broker: an admin sets oidc and public_url in its configuration",
        )
    })
}

/// The cookie of one sign-in; several may be under way in one browser.
fn sign_in_cookie(public_url: &PublicUrl, state: &str) -> BrokerCookie {
    let short: String = state.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
    BrokerCookie::new(public_url, &format!("sign-in-{short}"))
}

fn redirect(to: &str, cookies: impl IntoIterator<Item = Option<HeaderValue>>) -> Response {
    let Ok(location) = HeaderValue::from_str(to) else {
        return SignInFailed::bad("that is no address to which a browser can be sent")
            .into_response();
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    cookies.into_iter().flatten().for_each(|cookie| {
        headers.append(header::SET_COOKIE, cookie);
    });
    response
}

/// The program of a sign-in; `None` for a browser's own.
fn program_of(params: &SignInParams) -> Result<Option<AskingProgram>, SignInFailed> {
    let Some(redirect_uri) = params.redirect_uri.clone() else { return Ok(None) };
    let uri: Option<http::Uri> = redirect_uri.parse().ok();
    let is_loopback = uri.as_ref().is_some_and(|uri| {
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        uri.scheme_str() == Some("http")
            && uri.host().is_some_and(is_loopback_host)
            && uri.port_u16().is_some()
            && uri.query().is_none()
            && !has_user
    });
    if !is_loopback {
        return Err(SignInFailed::bad(
            "redirect_uri: a program is reached on its own machine: give http://127.0.0.1:PORT/",
        ));
    }
    let challenge = params.code_challenge.clone().unwrap_or_default();
    let is_challenge = URL_SAFE_NO_PAD.decode(&challenge).is_ok_and(|octets| octets.len() == 32);
    if !is_challenge {
        return Err(SignInFailed::bad(
            "code_challenge: give the SHA-256 of the verifier in base64url (RFC 7636, S256)",
        ));
    }
    let is_long = |text: &Option<String>| text.as_ref().is_some_and(|text| text.len() > 200);
    if is_long(&params.state) || is_long(&params.program) || redirect_uri.len() > 200 {
        return Err(SignInFailed::bad("redirect_uri, state and program have 200 octets at most"));
    }
    let name = printable(params.program.as_deref().unwrap_or("a program"));
    Ok(Some(AskingProgram { redirect_uri, challenge, state: params.state.clone(), name }))
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

/// Sign in: a link for browsers.
///
/// It leads to the identity provider, and from there back to the broker.
#[utoipa::path(get, path = "/auth/sign-in", operation_id = "sign_in", tag = "people", security(()), params(SignInParams), responses(
    (status = 303, description = "To the identity provider.", body = String, content_type = "text/plain"),
    (status = 400, description = "A parameter is wrong.", body = String, content_type = "text/html"),
    (status = 404, description = "Nobody can sign in at this broker.", body = String, content_type = "text/html"),
    (status = 503, description = "The identity provider cannot be used.", body = String, content_type = "text/html")))]
pub async fn begin(
    State(state): State<ApiState>,
    Params(params): Params<SignInParams>,
) -> Response {
    began(&state, &params).await.unwrap_or_else(IntoResponse::into_response)
}

async fn began(state: &ApiState, params: &SignInParams) -> Result<Response, SignInFailed> {
    let (way, public_url) = way(state)?;
    let program = program_of(params)?;
    let return_to = params.return_to.clone().unwrap_or_else(|| "/".to_owned());
    if !is_own_path(&return_to) {
        return Err(SignInFailed::bad("return_to: give a path of the broker, such as /zones"));
    }
    let begun = way.provider.begin(&public_url.join(CALLBACK)).await?;
    let cookie = sign_in_cookie(&public_url, &begun.pending.state);
    let kept = SignInCookie { pending: begun.pending, return_to, program };
    let kept = serde_json::to_vec(&kept).map(|kept| URL_SAFE_NO_PAD.encode(kept));
    let kept = kept.ok().filter(|kept| kept.len() <= LONGEST_COOKIE);
    let kept =
        kept.ok_or_else(|| SignInFailed::bad("return_to is too long: give a shorter path"))?;
    Ok(redirect(&begun.url, [cookie.set(&kept, SIGN_IN_WITHIN_SECS)]))
}

/// The way back from the identity provider.
#[utoipa::path(get, path = "/auth/callback", operation_id = "sign_in_callback", tag = "people", security(()), params(CallbackParams), responses(
    (status = 303, description = "To where the sign-in leads.", body = String, content_type = "text/plain"),
    (status = 400, description = "Nobody is signed in, and why.", body = String, content_type = "text/html"),
    (status = 403, description = "The provider lets nobody in.", body = String, content_type = "text/html"),
    (status = 404, description = "Nobody can sign in at this broker.", body = String, content_type = "text/html"),
    (status = 503, description = "The provider or the store does not answer.", body = String, content_type = "text/html")))]
pub async fn callback(
    State(state): State<ApiState>,
    headers: HeaderMap,
    Params(params): Params<CallbackParams>,
) -> Response {
    came_back(&state, &headers, &params).await.unwrap_or_else(IntoResponse::into_response)
}

async fn came_back(
    state: &ApiState,
    headers: &HeaderMap,
    params: &CallbackParams,
) -> Result<Response, SignInFailed> {
    let (way, public_url) = way(state)?;
    let said = params.state.as_deref().unwrap_or_default();
    let cookie = sign_in_cookie(&public_url, said);
    let kept = cookie.read(headers).and_then(|kept| URL_SAFE_NO_PAD.decode(kept).ok());
    let kept: Option<SignInCookie> = kept.and_then(|kept| serde_json::from_slice(&kept).ok());
    // Else somebody could have a browser end a sign-in that they began (RFC 6749 §10.12).
    let kept = kept.filter(|kept| kept.pending.state == said && is_own_path(&kept.return_to));
    let kept = kept.ok_or_else(|| {
        SignInFailed::bad(
            "this sign-in was not begun in this browser, or more than ten minutes ago, or it has ended already: sign in again",
        )
    })?;
    let signed_in = signed_in(&way, &public_url, params, &kept.pending).await;
    let person =
        signed_in.map_err(|failed| SignInFailed { return_to: kept.return_to.clone(), ..failed })?;
    let store = &state.broker.store;
    store.refresh_person(&person).await.map_err(ApiError::from)?;
    state.authority.known().inspect(|known| known.forget_all_of(&person.user));
    tracing::info!(user = person.user, subject = person.subject, "a person signed in");
    match kept.program {
        Some(program) => to_program(state, person, program, &cookie).await,
        None => {
            end_session_of(state, &public_url, headers).await?;
            let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
            let name = printable(agent.unwrap_or("a browser"));
            let (secret, session) = new_session(state, &way, person, name).await?;
            let lasts_secs = (session.ends_at - session.made_at).0 / 1_000;
            let set = BrokerCookie::session(&public_url).set(&secret, lasts_secs);
            Ok(redirect(&kept.return_to, [set, cookie.clear()]))
        }
    }
}

/// Who signed in at the provider.
async fn signed_in(
    way: &SignInWay,
    public_url: &PublicUrl,
    params: &CallbackParams,
    pending: &PendingSignIn,
) -> Result<SignedInPerson, SignInFailed> {
    // RFC 9207 §2.4.
    if params.iss.as_ref().is_some_and(|issuer| issuer != way.provider.issuer()) {
        return Err(SignInFailed::bad("another identity provider answered: sign in again"));
    }
    if let Some(error) = &params.error {
        let said = printable(error);
        return Err(SignInFailed {
            status: StatusCode::FORBIDDEN,
            ..SignInFailed::bad(format!(
                "the identity provider lets nobody in ({said}): ask who runs it"
            ))
        });
    }
    let code = params.code.as_deref().filter(|code| !code.is_empty());
    let code =
        code.ok_or_else(|| SignInFailed::bad("the identity provider sent no code: sign in again"))?;
    Ok(way.provider.finish(&public_url.join(CALLBACK), code, pending).await?)
}

/// Sends the browser to the program that asked, with a code that is good once.
async fn to_program(
    state: &ApiState,
    person: SignedInPerson,
    program: AskingProgram,
    cookie: &BrokerCookie,
) -> Result<Response, SignInFailed> {
    let code = new_secret().ok_or(ApiError::NoRandomness)?;
    let AskingProgram { redirect_uri, challenge, state: given, name } = program;
    let body = serde_json::to_string(&CodeBody { person, challenge, name })
        .map_err(|error| SignInFailed::bad(error.to_string()))?;
    let until = state.broker.clock.now() + FETCH_WITHIN;
    let store = &state.broker.store;
    store.add_sign_in_code(&secret_hash(&code), until, &body).await.map_err(ApiError::from)?;
    let mut to = format!("{redirect_uri}?code={code}");
    if let Some(given) = given {
        let encoded: String = given
            .bytes()
            .map(|octet| match octet {
                plain if plain.is_ascii_alphanumeric() || b"-._~".contains(&plain) => {
                    char::from(plain).to_string()
                }
                other => format!("%{other:02X}"),
            })
            .collect();
        to.push_str(&format!("&state={encoded}"));
    }
    Ok(redirect(&to, [cookie.clear()]))
}

/// Begins a session; answers its secret too.
async fn new_session(
    state: &ApiState,
    way: &SignInWay,
    person: SignedInPerson,
    name: String,
) -> Result<(String, Credential), ApiError> {
    let secret = new_secret().ok_or(ApiError::NoRandomness)?;
    let now = state.broker.clock.now();
    let session = Credential {
        id: Uuid::new_v4(),
        kind: CredentialKind::Session,
        name,
        made_by: Actor::User(person.user.clone()),
        person: Some(person),
        scope: None,
        made_at: now,
        ends_at: now + way.session_lasts,
        revoked_at: None,
        used_at: None,
    };
    state.broker.store.add_credential(&secret_hash(&secret), &session).await?;
    Ok((secret, session))
}

/// Fetch a session for a program.
///
/// With the code that the browser brought, and the verifier whose challenge began the sign-in.
#[utoipa::path(post, path = "/auth/exchange", operation_id = "exchange_code", tag = "people", security(()), request_body = CodeExchange, responses(
    (status = 200, description = "The session.", body = ProgramSession),
    (status = 400, description = "The code is none, or of another sign-in, or too old.", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "Nobody can sign in at this broker.", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn exchange(
    State(state): State<ApiState>,
    Params(NoParams {}): Params<NoParams>,
    JsonBody(body): JsonBody<CodeExchange>,
) -> Result<Json<ProgramSession>, ApiError> {
    let way = state.authority.sign_in().ok_or_else(|| ApiError::NotFound {
        kind: "way to sign in",
        id: "oidc".to_owned(),
        remedy: "use a token, or have an admin set oidc and public_url in the broker's configuration",
    })?;
    let taken = match super::secret::may_be_ours(&body.code) {
        true => state.broker.store.take_sign_in_code(&secret_hash(&body.code)).await?,
        false => None,
    };
    let now: Timestamp = state.broker.clock.now();
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(body.code_verifier.as_bytes()));
    let kept = taken.filter(|(until, _)| now < *until);
    let kept = kept.and_then(|(_, kept)| serde_json::from_str::<CodeBody>(&kept).ok());
    let kept = kept.filter(|kept| kept.challenge == challenge).ok_or_else(|| {
        ApiError::BadBody(
            "the code is good once, for a minute, and for the program that began the sign-in: sign in again"
                .to_owned(),
        )
    })?;
    let name = kept.person.user.clone();
    let (secret, session) = new_session(&state, &way, kept.person, kept.name).await?;
    Ok(Json(ProgramSession { secret, name, ends_at: Time(session.ends_at) }))
}

/// Sign out.
///
/// The session that the request shows ends for good, wherever its secret is kept. The provider's own session goes on.
#[utoipa::path(post, path = "/auth/sign-out", operation_id = "sign_out", tag = "people", responses(
    (status = 200, description = "Whether there was a session that still lasted.", body = SignedOut),
    (status = 403, description = "No page of the broker asks this.", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer.", body = Problem, content_type = "application/problem+json")))]
pub async fn end(
    State(state): State<ApiState>,
    headers: HeaderMap,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Response, ApiError> {
    if let Some(secret) = bearer(&headers) {
        let ended = end_session(&state, secret).await?;
        return Ok(Json(SignedOut { ended }).into_response());
    }
    let Some(public_url) = state.authority.public_url() else {
        return Ok(Json(SignedOut { ended: false }).into_response());
    };
    if !is_of_own_page(&public_url, &headers) {
        return Err(ApiError::NotYours(
            "a browser signs out by a page of the broker, with the header x-zonefold-request"
                .to_owned(),
        ));
    }
    let ended = end_session_of(&state, &public_url, &headers).await?;
    let mut response = Json(SignedOut { ended }).into_response();
    if let Some(cleared) = BrokerCookie::session(&public_url).clear() {
        response.headers_mut().append(header::SET_COOKIE, cleared);
    }
    Ok(response)
}

/// Ends the session of a browser's cookie.
async fn end_session_of(
    state: &ApiState,
    public_url: &PublicUrl,
    headers: &HeaderMap,
) -> Result<bool, ApiError> {
    match BrokerCookie::session(public_url).read(headers) {
        Some(secret) => end_session(state, secret).await,
        None => Ok(false),
    }
}

async fn end_session(state: &ApiState, secret: &str) -> Result<bool, ApiError> {
    if !super::secret::may_be_ours(secret) {
        return Ok(false);
    }
    let store = &state.broker.store;
    let found = store.credential_by_hash(&secret_hash(secret)).await?;
    let now = state.broker.clock.now();
    let session =
        found.filter(|found| found.kind == CredentialKind::Session && found.ended(now).is_none());
    let Some(session) = session else { return Ok(false) };
    let ended = store.revoke_credential(session.id, now).await?;
    state.authority.known().inspect(|known| known.forget(session.id));
    tracing::info!(user = %session.actor(), id = %session.id, "a session was ended");
    Ok(ended)
}
