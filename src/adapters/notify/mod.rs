//! Sends notifications to webhooks.
//!
//! A webhook gets JSON by POST with the headers of Standard Webhooks: `webhook-id`, the same for each try; `webhook-timestamp`, seconds
//! since the epoch of this try; `webhook-signature`, `v1,` and the HMAC-SHA-256 of `id.timestamp.body` in Base64. A chat's webhook gets
//! its own form, and its address is the secret.
//!
//! A sink is whatever answers at an address that somebody wrote in a rule. So redirects are not followed, the answer is read up to a
//! bound and shown to nobody, a try has its time, and what is connected to is looked at when it is connected to ([`address`]).

mod address;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ring::hmac;

use self::address::{Addresses, GuardedResolver};
use crate::adapters::tls::client_config;
use crate::core::governance::rule::subscription::{NoticeSink, check_sink_url};
use crate::core::notice::Notice;
use crate::core::time::Millis;
use crate::core::transport::innermost;
use crate::ports::{Clock, DeliveryFailure, NoticeSender};

/// How long one try may take, from the name to the end of the answer.
const TRY: Duration = Duration::from_secs(10);
/// How much of an answer is read, so that its connection ends well. Nothing of it is kept.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// How a key of Standard Webhooks begins; the rest is Base64.
const KEY_PREFIX: &str = "whsec_";
/// A shorter key can be guessed.
const MIN_KEY_BYTES: usize = 16;

/// Where a secret is.
#[derive(Clone, PartialEq, Eq)]
pub enum KeptSecret {
    /// In a file, which is read for each delivery.
    File(PathBuf),
    /// Here.
    Here(String),
}

/// What the configuration says of sinks.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SinkSettings {
    /// The secrets by the names that subscriptions use.
    pub secrets: BTreeMap<String, KeptSecret>,
    /// Whether sinks may have addresses of private networks and of this machine.
    pub allows_private: bool,
    /// The CAs for their certificates; `None` for those that the system trusts.
    pub ca_file: Option<PathBuf>,
}

/// See the module's page.
pub struct WebhookSender {
    settings: ArcSwap<SinkSettings>,
    /// The time of day, which receivers compare with theirs.
    time_of_day: Arc<dyn Clock>,
}

impl WebhookSender {
    /// A sender by these settings.
    pub fn new(settings: SinkSettings, time_of_day: Arc<dyn Clock>) -> Self {
        Self { settings: ArcSwap::from_pointee(settings), time_of_day }
    }

    /// By other settings from now on.
    pub fn set(&self, settings: SinkSettings) {
        self.settings.store(Arc::new(settings));
    }
}

/// A failure that another try may mend.
fn again(message: impl Into<String>) -> DeliveryFailure {
    DeliveryFailure { message: message.into(), is_final: false, retry_after: None }
}

async fn secret(settings: &SinkSettings, name: &str) -> Result<String, DeliveryFailure> {
    let text = match settings.secrets.get(name) {
        None => {
            return Err(again(format!(
                "the configuration of this replica has no secret {name}: add it to notifications.secrets"
            )));
        }
        Some(KeptSecret::Here(text)) => text.clone(),
        Some(KeptSecret::File(path)) => tokio::fs::read_to_string(path).await.map_err(|error| {
            again(format!("the file of the secret {name} cannot be read: {error}"))
        })?,
    };
    match text.trim() {
        "" => Err(again(format!("the secret {name} is empty"))),
        text => Ok(text.to_owned()),
    }
}

/// The octets of a key.
fn key_bytes(name: &str, text: &str) -> Result<Vec<u8>, DeliveryFailure> {
    let bytes = match text.strip_prefix(KEY_PREFIX) {
        Some(rest) => STANDARD
            .decode(rest)
            .map_err(|_| again(format!("the secret {name} is not Base64 behind {KEY_PREFIX}")))?,
        None => text.as_bytes().to_vec(),
    };
    if bytes.len() < MIN_KEY_BYTES {
        return Err(again(format!("the secret {name} has fewer than {MIN_KEY_BYTES} octets")));
    }
    Ok(bytes)
}

/// The value of `webhook-signature`.
pub fn sign(key: &[u8], id: &str, timestamp_secs: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut signed = format!("{id}.{timestamp_secs}.").into_bytes();
    signed.extend_from_slice(body);
    format!("v1,{}", STANDARD.encode(hmac::sign(&key, &signed)))
}

#[async_trait]
impl NoticeSender for WebhookSender {
    async fn send(&self, sink: &NoticeSink, notice: &Notice) -> Result<(), DeliveryFailure> {
        let settings = self.settings.load_full();
        let given = secret(&settings, sink.secret()).await?;
        let encoded = |value: serde_json::Result<Vec<u8>>| {
            value.map_err(|error| again(format!("the notification has no form: {error}")))
        };
        let (url, body, signature) = match sink {
            NoticeSink::Webhook { url, secret } => {
                let (key, body) =
                    (key_bytes(secret, &given)?, encoded(serde_json::to_vec(notice))?);
                let at = self.time_of_day.now().0.div_euclid(1_000);
                let signature = sign(&key, &notice.id, at, &body);
                (url.clone(), body, Some((at, signature)))
            }
            NoticeSink::Slack { .. } => {
                (given, encoded(serde_json::to_vec(&notice.to_slack()))?, None)
            }
        };
        if let Err(problem) = check_sink_url(&url) {
            return Err(again(format!("the address cannot be used: {problem}")));
        }
        let request = Request::post(&url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("zonefold/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", notice.id.as_str());
        let request = match signature {
            Some((at, signature)) => {
                request.header("webhook-timestamp", at).header("webhook-signature", signature)
            }
            None => request,
        };
        // What is wrong with the address is not told: of a chat it is a secret.
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| again("the address cannot be used: it is no address"))?;
        match tokio::time::timeout(TRY, post(&settings, request)).await {
            Ok(answered) => answered,
            Err(_) => Err(again(format!("no answer within {} seconds", TRY.as_secs()))),
        }
    }
}

/// A client for one try: nothing of an earlier one is used again, least of all where a name led then.
async fn post(
    settings: &SinkSettings,
    request: Request<Full<Bytes>>,
) -> Result<(), DeliveryFailure> {
    let addresses = Addresses { allows_private: settings.allows_private };
    check_literal(addresses, request.uri())?;
    let mut connector = HttpConnector::new_with_resolver(GuardedResolver(addresses));
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(TRY));
    let tls = client_config(settings.ca_file.as_deref())
        .map_err(|error| again(format!("the authorities of sinks cannot be read: {error}")))?;
    let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
    let client: Client<_, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build(https.wrap_connector(connector));
    let response = client
        .request(request)
        .await
        .map_err(|error| again(format!("it cannot be reached: {}", innermost(&error))))?;
    let (head, body) = response.into_parts();
    // Read, so that the connection ends well; a body that is too long or breaks off changes nothing.
    let _read = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
    judge(head.status, &head.headers)
}

/// An address that is written as one is not looked up, so it is checked here.
fn check_literal(addresses: Addresses, uri: &Uri) -> Result<(), DeliveryFailure> {
    let host = uri.host().unwrap_or_default();
    match host.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(ip) => addresses.check(ip).map_err(again),
        Err(_) => Ok(()),
    }
}

/// What an answer means.
fn judge(status: StatusCode, headers: &HeaderMap) -> Result<(), DeliveryFailure> {
    if status.is_success() {
        return Ok(());
    }
    if status.is_redirection() {
        return Err(again(format!(
            "it answers {status}, and redirects are not followed: give the address where it leads"
        )));
    }
    let secs = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Err(DeliveryFailure {
        message: format!("it answers {status}"),
        is_final: status == StatusCode::GONE,
        retry_after: secs.filter(|secs| (0..=86_400).contains(secs)).map(Millis::from_secs),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_standard_webhooks() {
        // The example of the specification's libraries.
        let key = key_bytes("key", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed =
            sign(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_key_that_can_be_guessed_or_cannot_be_read_is_refused() {
        assert!(key_bytes("key", "short").is_err());
        assert!(key_bytes("key", "whsec_!!!").is_err());
        assert_eq!(key_bytes("key", "a-long-key-of-text").unwrap(), b"a-long-key-of-text");
    }

    #[test]
    fn only_success_is_success_and_only_gone_is_final() {
        let judged = |status: u16, retry: Option<&str>| {
            let mut headers = HeaderMap::new();
            retry.map(|retry| headers.insert(header::RETRY_AFTER, retry.parse().unwrap()));
            judge(StatusCode::from_u16(status).unwrap(), &headers)
        };
        assert_eq!(judged(204, None), Ok(()));
        for status in [301, 302, 307, 400, 404, 500] {
            assert!(!judged(status, None).unwrap_err().is_final, "{status}");
        }
        assert!(judged(410, None).unwrap_err().is_final);
        let asked = |retry| judged(429, Some(retry)).unwrap_err().retry_after;
        assert_eq!(asked("120"), Some(Millis::from_secs(120)));
        for hostile in ["-1", "99999999999999999999", "tomorrow"] {
            assert_eq!(asked(hostile), None, "{hostile}");
        }
    }
}
