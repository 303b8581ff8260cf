//! The sections about the broker itself: its store, its listeners, its agents' token, its calls to AWS, its log.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use super::error::{ConfigError, KeyPath, Problem, Problems, SourceLocation};
use super::secret::Secret;
use super::tls::{ListenerName, Tls};

/// Where the broker keeps its state: `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`.
///
/// A password in it is not printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct StoreUrl(String);

impl StoreUrl {
    /// Takes the text; `validate` says whether it can be used.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The whole URL, password included, for the driver.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it names a PostgreSQL server.
    pub fn is_postgres(&self) -> bool {
        self.0.starts_with("postgres://") || self.0.starts_with("postgresql://")
    }

    pub(super) fn validate(&self, at: &KeyPath, problems: &mut Problems) {
        let sqlite = self.0.strip_prefix("sqlite:").is_some_and(|path| !path.is_empty());
        if !sqlite && !self.is_postgres() {
            problems.add(
                at.clone(),
                "the store is neither SQLite nor PostgreSQL",
                "write sqlite:PATH or postgres://USER@HOST/DATABASE",
            );
        }
    }
}

impl Default for StoreUrl {
    fn default() -> Self {
        Self::new("sqlite:./zonefold-data/broker.db")
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The user information ends at the last @ before the path; a query may hold a password as well.
        let (body, hidden, query) = match self.0.split_once('?') {
            Some((body, hidden)) => (body, hidden, "?***"),
            None => (self.0.as_str(), "", ""),
        };
        if !self.is_postgres() {
            return write!(f, "{body}{query}");
        }
        let (scheme, rest) = body.split_once("://").unwrap_or(("postgres", body));
        match rest.rsplit_once('@') {
            // Something was not percent-encoded: the end of the password is unknown.
            _ if hidden.contains('@') => write!(f, "{scheme}://***"),
            Some((user_info, host)) => {
                let user = user_info.split(':').next().unwrap_or_default();
                let password = if user_info.contains(':') { ":***" } else { "" };
                write!(f, "{scheme}://{user}{password}@{host}{query}")
            }
            None => write!(f, "{scheme}://{rest}{query}"),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for StoreUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where listeners without TLS may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlainText {
    /// On loopback addresses only.
    #[default]
    LoopbackOnly,
    /// Anywhere, since something in front of the broker (a mesh, a load balancer) ends TLS.
    BehindTlsProxy,
}

/// Where the broker listens. Port 0 means any free one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// For agents.
    pub grpc: SocketAddr,
    /// For REST, health and metrics.
    pub http: SocketAddr,
    /// Where the other replicas of the broker reach `http`, as host:port; found out when it is not given.
    pub advertise: Option<String>,
    /// The certificate; without it both listeners serve plain text.
    pub tls: Option<Tls>,
    /// Where listeners without TLS may be.
    pub plain_text: PlainText,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            grpc: SocketAddr::from((Ipv4Addr::LOCALHOST, 7443)),
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 7080)),
            advertise: None,
            tls: None,
            plain_text: PlainText::default(),
        }
    }
}

impl Listen {
    pub(super) fn validate(&self, at: &KeyPath, problems: &mut Problems) {
        for (key, listener, address) in
            [("grpc", ListenerName::Grpc, self.grpc), ("http", ListenerName::Http, self.http)]
        {
            if self.plain_text == PlainText::LoopbackOnly
                && !self.has_tls(listener)
                && !address.ip().is_loopback()
            {
                problems.add(
                    at.key(key),
                    format!("{address} is not a loopback address, and the listener has no TLS"),
                    "give it a certificate with listen.tls, listen on 127.0.0.1, or set listen.plain_text to behind-tls-proxy when something in front ends TLS",
                );
            }
        }
        if let Some(tls) = &self.tls {
            tls.validate(&at.key("tls"), problems);
        }
        if let Some(address) = &self.advertise
            && !is_host_and_port(address)
        {
            problems.add(
                at.key("advertise"),
                format!("{address:?} is no address of the form host:port"),
                "write where the other replicas reach listen.http, such as 10.0.0.5:7080 or broker-0.broker:7080",
            );
        }
        if self.grpc == self.http && self.grpc.port() != 0 {
            problems.add(
                at.key("http"),
                format!("grpc and http both listen on {}", self.http),
                "give one another port",
            );
        }
    }
}

impl Listen {
    /// Whether a listener has TLS.
    pub fn has_tls(&self, listener: ListenerName) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.covers(listener))
    }

    /// Where the other replicas reach HTTP, which listens on `bound`: the configured address; else that one; else, when it stands
    /// for all addresses of the machine, the one from which the machine reaches others. Empty if there is none.
    pub fn advertised(&self, bound: SocketAddr) -> String {
        if let Some(address) = &self.advertise {
            return address.clone();
        }
        if !bound.ip().is_unspecified() {
            return bound.to_string();
        }
        outgoing_address(bound.is_ipv4())
            .map(|ip| SocketAddr::new(ip, bound.port()).to_string())
            .unwrap_or_default()
    }
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(ip) => ip.parse::<Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
        }
    };
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// The address of the interface that leads to others. A UDP socket that is connected sends nothing; it only has an address from
/// then on. The target is one of those for documentation (RFC 5737, RFC 3849), which no network has as its own.
fn outgoing_address(ipv4: bool) -> Option<IpAddr> {
    let (any, target): (IpAddr, IpAddr) = if ipv4 {
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into())
    } else {
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into())
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((target, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The token that the agents of clusters without an identity of their own share, here or in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Agents {
    /// The token itself.
    pub token: Option<Secret>,
    /// A file that holds the token; white space around it does not count. A relative path starts at the working directory.
    pub token_file: Option<PathBuf>,
}

/// A token shorter than this can be guessed.
const MIN_TOKEN_CHARS: usize = 16;

impl Agents {
    /// Whether there is a token that clusters without an identity of their own share.
    pub fn is_given(&self) -> bool {
        self.token.is_some() || self.token_file.is_some()
    }

    /// `needed`: some cluster has no other way to prove itself.
    pub(super) fn validate(&self, at: &KeyPath, needed: bool, problems: &mut Problems) {
        match (&self.token, &self.token_file) {
            (Some(_), Some(_)) => {
                problems.add(at.clone(), "both token and token_file are given", "keep one of them");
            }
            (None, None) if needed => problems.add(
                at.clone(),
                "there is no token, so no agent could prove itself",
                "add token_file with the path of a file that holds a long random text, or give every cluster an identity",
            ),
            (Some(token), None) if token.expose().trim().chars().count() < MIN_TOKEN_CHARS => problems.add(
                at.key("token"),
                format!("the token has fewer than {MIN_TOKEN_CHARS} characters"),
                "use a long random text, for example of openssl rand -hex 32",
            ),
            _ => {}
        }
    }

    /// The token, read from its file when it stands in one. It is read each time, so a rotated token is seen.
    pub fn read_token(&self) -> Result<Secret, ConfigError> {
        if let Some(token) = &self.token {
            return Ok(Secret::new(token.expose().trim()));
        }
        let path = self.token_file.clone().unwrap_or_default();
        let text = std::fs::read_to_string(&path)
            .map_err(|reason| ConfigError::Unreadable { path: path.clone(), reason })?;
        let token = text.trim();
        if token.chars().count() < MIN_TOKEN_CHARS {
            return Err(ConfigError::refused(
                &path.display().to_string(),
                vec![Problem {
                    place: SourceLocation::Text { line: 1, column: 1 },
                    path: String::new(),
                    reason: format!("the token has fewer than {MIN_TOKEN_CHARS} characters"),
                    remedy: "write a long random text into the file, for example of openssl rand -hex 32".to_owned(),
                }],
            ));
        }
        Ok(Secret::new(token))
    }
}

/// How AWS is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Aws {
    /// How long one attempt may take, in seconds; after that it is in doubt, and is read back.
    pub attempt_timeout_secs: u64,
}

impl Default for Aws {
    fn default() -> Self {
        Self { attempt_timeout_secs: 30 }
    }
}

impl Aws {
    /// How long one attempt may take.
    pub fn attempt_timeout(&self) -> Duration {
        Duration::from_secs(self.attempt_timeout_secs)
    }

    pub(super) fn validate(&self, at: &KeyPath, problems: &mut Problems) {
        if !(1..=300).contains(&self.attempt_timeout_secs) {
            problems.add(
                at.key("attempt_timeout_secs"),
                format!("{} s is no time for one attempt", self.attempt_timeout_secs),
                "give 1 to 300 seconds",
            );
        }
    }
}

/// How long the journal is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Journal {
    /// Days after which a batch that ended leaves the journal; 0 keeps everything.
    pub retention_days: u32,
}

/// A hundred years: more is meant to be 0.
const MOST_RETENTION_DAYS: u32 = 36_500;

impl Default for Journal {
    /// A year, and the weeks in which an audit of that year takes place.
    fn default() -> Self {
        Self { retention_days: 400 }
    }
}

impl Journal {
    /// How long a batch is kept after its end; `None` means for ever.
    pub fn retention(&self) -> Option<Duration> {
        (self.retention_days > 0)
            .then(|| Duration::from_secs(u64::from(self.retention_days) * 24 * 60 * 60))
    }

    pub(super) fn validate(&self, at: &KeyPath, problems: &mut Problems) {
        if self.retention_days > MOST_RETENTION_DAYS {
            problems.add(
                at.key("retention_days"),
                format!("{} days are more than a hundred years", self.retention_days),
                "give the days to keep the journal for, or 0 to keep all of it",
            );
        }
    }
}

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("{other:?} is not a log format; write text or json")),
        }
    }
}

/// The level and the form of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub format: LogFormat,
    /// Directives of tracing's `EnvFilter`: `info`, `info,zonefold::broker=debug`.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::default(), filter: "info".to_owned() }
    }
}

impl Log {
    pub(super) fn validate(&self, at: &KeyPath, problems: &mut Problems) {
        if let Err(error) = self.filter.parse::<tracing_subscriber::EnvFilter>() {
            problems.add(
                at.key("filter"),
                format!("{:?} is not a log filter ({error})", self.filter),
                "write a level, or directives like info,zonefold::broker=debug",
            );
        }
    }
}
