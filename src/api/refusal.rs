//! Why a request does not reach its route.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use super::problem::Problem;
use super::role::Role;
use crate::core::time::Timestamp;

/// See the module's page.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AccessRefusal {
    /// Nothing is shown.
    #[error(
        "this needs a token or a session: send Authorization: Bearer TOKEN, give --token-file to the command, or sign in (zonefold login; a browser goes to /auth/sign-in)"
    )]
    NoToken,
    /// The token is known neither to the configuration nor to the store.
    #[error(
        "the token is none that the broker knows: compare its SHA-256 with api.tokens of the broker's configuration, or make another with zonefold token create"
    )]
    UnknownToken,
    /// The browser's session is not there any more.
    #[error("the session is over: sign in again")]
    UnknownSession,
    /// Its time is over.
    #[error("the {what} expired at {at}: {remedy}")]
    Expired {
        /// The session or the token.
        what: &'static str,
        /// When.
        at: Timestamp,
        /// What to do.
        remedy: &'static str,
    },
    /// Somebody took it back.
    #[error("the {what} was taken back at {at}: {remedy}")]
    Revoked {
        /// The session or the token.
        what: &'static str,
        /// When.
        at: Timestamp,
        /// What to do.
        remedy: &'static str,
    },
    /// The token acts for teams that are not there any more.
    #[error("the token is for the team {0}, which is there no more: make one for another team")]
    TeamGone(String),
    /// Who signed in may do nothing.
    #[error(
        "{0} is signed in and may do nothing here: ask an admin for a role (api.people of the broker's configuration), or a team's owner to be named there"
    )]
    NoRole(String),
    /// A request with a cookie that no page of the broker made.
    #[error(
        "a request that changes something with a session's cookie comes from a page of the broker itself, with the header x-zonefold-request: a program uses a token"
    )]
    CrossSite,
    /// Another replica vouches for nobody.
    #[error(
        "the voucher of a replica cannot be verified: replicas have to share one store, and their clocks may differ by seconds"
    )]
    BadVoucher,
    /// Without a token only this machine may ask.
    #[error(
        "without a token this is answered to requests for 127.0.0.1, ::1 or localhost alone, and to no page of another origin: name the broker so, or send a token"
    )]
    OtherHost,
    /// The role is not enough.
    #[error("{name} has the role {role} and this needs {needed}")]
    TooLittle {
        /// Who, in words.
        name: String,
        /// The role.
        role: Role,
        /// The role that is needed.
        needed: Role,
    },
    /// The figures are of everything.
    #[error("{0} sees some environments alone, and the metrics are of all")]
    Limited(String),
    /// Tokens cannot be looked up while the broker starts.
    #[error("the broker starts, and cannot look for the token yet: ask again in a few seconds")]
    Starting,
    /// Tokens cannot be looked up.
    #[error("the broker's store does not answer, and the token stands there: try again")]
    StoreAway,
}

impl AccessRefusal {
    fn status_and_kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoToken => (StatusCode::UNAUTHORIZED, "unauthenticated"),
            Self::UnknownToken => (StatusCode::UNAUTHORIZED, "unknown-token"),
            Self::UnknownSession => (StatusCode::UNAUTHORIZED, "session-over"),
            Self::Expired { .. } => (StatusCode::UNAUTHORIZED, "expired"),
            Self::Revoked { .. } => (StatusCode::UNAUTHORIZED, "revoked"),
            Self::TeamGone(_) => (StatusCode::UNAUTHORIZED, "team-gone"),
            Self::BadVoucher => (StatusCode::UNAUTHORIZED, "unknown-voucher"),
            Self::OtherHost => (StatusCode::UNAUTHORIZED, "other-host"),
            Self::NoRole(_) => (StatusCode::FORBIDDEN, "no-role"),
            Self::CrossSite => (StatusCode::FORBIDDEN, "cross-site"),
            Self::TooLittle { .. } | Self::Limited(_) => (StatusCode::FORBIDDEN, "forbidden"),
            Self::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
            Self::StoreAway => (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable"),
        }
    }
}

impl IntoResponse for AccessRefusal {
    fn into_response(self) -> Response {
        let (status, kind) = self.status_and_kind();
        let mut response = Problem::new(status, kind, self.to_string()).into_response();
        // RFC 9110 §15.5.2, RFC 6750 §3.
        let challenge = match (status, &self) {
            (StatusCode::UNAUTHORIZED, Self::NoToken | Self::OtherHost) => {
                "Bearer realm=\"zonefold\""
            }
            (StatusCode::UNAUTHORIZED, _) => "Bearer realm=\"zonefold\", error=\"invalid_token\"",
            (StatusCode::FORBIDDEN, _) => "Bearer realm=\"zonefold\", error=\"insufficient_scope\"",
            _ => return response,
        };
        let challenge = HeaderValue::from_static(challenge);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        response
    }
}
