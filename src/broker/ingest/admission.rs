//! Decides which callers may speak for a cluster, and remembers refused ones: an operator has to see false claims to be a cluster.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status};
use tracing::warn;

use super::quiet::Quiet;
use crate::broker::metrics::BrokerMetrics;
use crate::core::ids::ClusterId;
use crate::core::time::Timestamp;
use crate::core::transport::bearer_token;
use crate::ports::{Callers, Clock, Means, Peer, Proven, Refused, RefusedFor, Shown};

/// The metadata of a refusal: why, for programs.
pub const REASON: &str = "zonefold-reason";
/// The reason when another kube-system UID has the name.
const OTHER_UID: &str = "OTHER_KUBE_SYSTEM_UID";

/// How often the clock is read while something is about to expire.
const LOOK_AT_THE_CLOCK: Duration = Duration::from_secs(60);

/// A claim to be a cluster that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedClaim {
    /// When the last one came.
    pub at: Timestamp,
    /// How many came to this replica since it started.
    pub count: u64,
    /// Why, for programs.
    pub reason: &'static str,
    /// The error, for people.
    pub message: String,
}

/// Authenticates callers and remembers refused claims.
#[derive(Clone)]
pub struct Admission(Arc<Inner>);

struct Inner {
    callers: Arc<dyn Callers>,
    clock: Arc<dyn Clock>,
    metrics: BrokerMetrics,
    /// Of registered clusters only, so that outsiders cannot make it grow.
    refused: Mutex<HashMap<ClusterId, RefusedClaim>>,
    refusals_said: Quiet<&'static str>,
    claims_said: Quiet<(ClusterId, &'static str)>,
}

impl Admission {
    /// Asks `callers`; `clock` is the time of day.
    pub fn new(callers: Arc<dyn Callers>, clock: Arc<dyn Clock>, metrics: BrokerMetrics) -> Self {
        let (refusals_said, claims_said) = Default::default();
        let refused = Mutex::default();
        Self(Arc::new(Inner { callers, clock, metrics, refused, refusals_said, claims_said }))
    }

    /// Authenticates the caller of a request.
    pub(super) async fn prove<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        // From before the proof, so that no change falls between the two.
        let (shown, changes) = (shown(request), self.0.callers.changes());
        match self.0.callers.prove(&shown).await {
            Ok(proven) => {
                if let Some(peer) = request.extensions().get::<Peer>() {
                    peer.door.pass();
                }
                let good_until = self.0.callers.good_until(&shown, &proven);
                Ok(Caller { shown, proven, good_until, changes })
            }
            Err(refused) => {
                self.0.metrics.caller_refused(refused.why.as_str());
                if let Some(count) = self.0.refusals_said.count(refused.why.as_str()) {
                    let address = request
                        .extensions()
                        .get::<Peer>()
                        .map(|peer| peer.address.to_string())
                        .unwrap_or_default();
                    warn!(
                        reason = refused.why.as_str(),
                        address, count, %refused, "a caller was refused"
                    );
                }
                Err(status(&refused))
            }
        }
    }

    /// Whether a caller may speak for a registered cluster. A refusal is raised.
    pub(super) fn claim(&self, caller: &Caller, cluster: &ClusterId) -> Result<(), Status> {
        self.0.callers.claim(&caller.proven, cluster).map_err(|refused| {
            self.raise(cluster, refused.why.as_str(), &refused.message);
            status(&refused)
        })
    }

    /// Returns when the configuration no longer lets the caller speak for the cluster, with the reason.
    pub(super) async fn withdrawn(&self, mut caller: Caller, cluster: &ClusterId) -> Status {
        while caller.changes.changed().await.is_ok() {
            let proven = self.0.callers.prove(&caller.shown).await;
            match proven.and_then(|proven| self.0.callers.claim(&proven, cluster)) {
                Ok(()) => {}
                // A token may expire before its stream ends, and an issuer may be away: neither is the configuration's doing.
                Err(refused)
                    if matches!(refused.why, RefusedFor::Expired | RefusedFor::KeysUnavailable) => {
                }
                Err(refused) => return status(&refused),
            }
        }
        // The source of callers is gone: the broker ends.
        std::future::pending().await
    }

    /// How long the caller's credentials are valid; `None` if they do not expire.
    pub(super) fn time_left(&self, caller: &Caller) -> Option<Duration> {
        Some((caller.good_until? - self.0.clock.now()).to_duration())
    }

    /// Returns when a caller's credentials have expired. The clock is read every minute, since it may be set.
    pub(super) async fn expired(&self, good_until: Option<Timestamp>) -> Status {
        let Some(good_until) = good_until else { return std::future::pending().await };
        loop {
            let left = (good_until - self.0.clock.now()).to_duration();
            if left.is_zero() {
                let message = "the token or the certificate that opened the stream has expired: open it again with a new one";
                return status(&Refused::new(RefusedFor::Expired, message));
            }
            tokio::time::sleep(left.min(LOOK_AT_THE_CLOCK)).await;
        }
    }

    /// Another cluster connects under a name that is taken.
    pub(super) fn raise_other_uid(&self, cluster: &ClusterId, message: &str) {
        self.raise(cluster, OTHER_UID, message);
    }

    fn raise(&self, cluster: &ClusterId, reason: &'static str, message: &str) {
        self.0.metrics.caller_refused(reason);
        if let Some(count) = self.0.claims_said.count((cluster.clone(), reason)) {
            warn!(%cluster, reason, count, "a claim to be this cluster was refused: {message}");
        }
        let mut refused = self.0.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let count = refused.get(cluster).map_or(1, |before| before.count + 1);
        let claim =
            RefusedClaim { at: self.0.clock.now(), count, reason, message: message.to_owned() };
        refused.insert(cluster.clone(), claim);
    }

    /// The last claim to be this cluster that was refused here.
    pub fn last_refused(&self, cluster: &ClusterId) -> Option<RefusedClaim> {
        self.0.refused.lock().unwrap_or_else(PoisonError::into_inner).get(cluster).cloned()
    }
}

/// An authenticated caller.
pub(super) struct Caller {
    shown: Shown,
    proven: Proven,
    good_until: Option<Timestamp>,
    changes: watch::Receiver<()>,
}

impl Caller {
    /// When its credentials expire; `None` if they do not.
    pub(super) fn good_until(&self) -> Option<Timestamp> {
        self.good_until
    }

    /// The kind of its credentials.
    pub(super) fn means(&self) -> Means {
        self.proven.means()
    }
}

/// The credentials in a request.
fn shown<T>(request: &Request<T>) -> Shown {
    let certificate = request.extensions().get::<Peer>().and_then(|peer| peer.certificate.clone());
    let authorization =
        request.metadata().get("authorization").and_then(|value| value.to_str().ok());
    let bearer = authorization.and_then(bearer_token).map(str::to_owned);
    Shown { certificate, bearer }
}

/// The refusal as the agent gets it.
pub(super) fn status(refused: &Refused) -> Status {
    let mut status = match refused.why {
        RefusedFor::OtherCluster | RefusedFor::IdentityRequired => {
            Status::permission_denied(refused.message.as_str())
        }
        // The agent is not at fault, and retries soon.
        RefusedFor::KeysUnavailable => Status::unavailable(refused.message.as_str()),
        _ => Status::unauthenticated(refused.message.as_str()),
    };
    status.metadata_mut().insert(REASON, MetadataValue::from_static(refused.why.as_str()));
    status
}

#[cfg(test)]
mod tests {
    use std::io;

    use async_trait::async_trait;
    use prometheus_client::registry::Registry;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    /// Refuses every caller.
    struct Nobody(watch::Sender<()>);

    #[async_trait]
    impl Callers for Nobody {
        async fn prove(&self, _: &Shown) -> Result<Proven, Refused> {
            Err(Refused::new(RefusedFor::NoCredentials, "nothing was shown"))
        }

        fn changes(&self) -> watch::Receiver<()> {
            self.0.subscribe()
        }

        fn has_identity(&self, _: &ClusterId) -> bool {
            true
        }
    }

    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            Timestamp(43_200_000)
        }
    }

    fn admission() -> Admission {
        let metrics = BrokerMetrics::register(&mut Registry::default());
        Admission::new(Arc::new(Nobody(watch::Sender::default())), Arc::new(Noon), metrics)
    }

    /// The logged text.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_unauthenticated_calls_is_a_line_a_minute_with_their_number() {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(lines.clone());
        let _guard = tracing::subscriber::set_default(subscriber.finish());
        let admission = admission();
        let flood = async || {
            for _ in 0..1_000 {
                assert!(admission.prove(&Request::new(())).await.is_err());
            }
        };
        flood().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        flood().await;
        let caller = Caller {
            shown: Shown::default(),
            proven: Proven::Shared,
            good_until: None,
            changes: admission.0.callers.changes(),
        };
        let east = ClusterId::parse("east").unwrap();
        for _ in 0..1_000 {
            assert!(admission.claim(&caller, &east).is_err());
        }
        assert_eq!(admission.last_refused(&east).unwrap().count, 1_000, "each is counted");
        let said = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let count = |line: &'_ str| -> Option<String> {
            Some(line.split("count=").nth(1)?.split(' ').next()?.to_owned())
        };
        let counts: Vec<String> = said.lines().filter_map(count).collect();
        assert_eq!(counts, ["1", "1000", "1"], "{said}");
    }

    #[test]
    fn rfc9110_11_1_the_scheme_of_an_agent_s_token_has_no_case() {
        for scheme in ["Bearer", "bearer", "BEARER"] {
            let mut request = Request::new(());
            let value = format!("{scheme} a-token").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
            assert_eq!(shown(&request).bearer.as_deref(), Some("a-token"), "{scheme}");
        }
    }
}
