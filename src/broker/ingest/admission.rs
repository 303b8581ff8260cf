//! Who may speak for a cluster, and who was turned away: an operator has to see that somebody claimed to be a cluster that it is not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status};
use tracing::warn;

use crate::broker::metrics::BrokerMetrics;
use crate::core::ids::ClusterId;
use crate::core::time::Timestamp;
use crate::ports::{Callers, Clock, Means, Peer, Proven, Refused, RefusedFor, Shown};

/// The metadata of a refusal: why, for programs.
pub const REASON: &str = "zonefold-reason";
/// The reason when another kube-system UID has the name.
const OTHER_UID: &str = "OTHER_KUBE_SYSTEM_UID";

/// A claim to be a cluster that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedClaim {
    /// When the last one came.
    pub at: Timestamp,
    /// How many came to this replica since it started.
    pub count: u64,
    /// Why, for programs.
    pub reason: &'static str,
    /// What was wrong, for people.
    pub message: String,
}

/// Judges callers and remembers whom it refused.
#[derive(Clone)]
pub struct Admission(Arc<Inner>);

struct Inner {
    callers: Arc<dyn Callers>,
    clock: Arc<dyn Clock>,
    metrics: BrokerMetrics,
    /// Of registered clusters only, so that nobody outside makes it grow.
    refused: Mutex<HashMap<ClusterId, RefusedClaim>>,
}

impl Admission {
    /// Asks `callers`.
    pub fn new(callers: Arc<dyn Callers>, clock: Arc<dyn Clock>, metrics: BrokerMetrics) -> Self {
        Self(Arc::new(Inner { callers, clock, metrics, refused: Mutex::default() }))
    }

    /// What the caller of a request has proved.
    pub(super) async fn prove<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        // From before the proof, so that no change falls between the two.
        let (shown, changes) = (shown(request), self.0.callers.changes());
        match self.0.callers.prove(&shown).await {
            Ok(proven) => Ok(Caller { shown, proven, changes }),
            Err(refused) => {
                self.0.metrics.caller_refused(refused.why.as_str());
                let address = request
                    .extensions()
                    .get::<Peer>()
                    .map(|peer| peer.address.to_string())
                    .unwrap_or_default();
                warn!(reason = refused.why.as_str(), address, "a caller was refused: {refused}");
                Err(status(&refused))
            }
        }
    }

    /// Whether a caller may speak for a registered cluster. Who may not is raised.
    pub(super) fn claim(&self, caller: &Caller, cluster: &ClusterId) -> Result<(), Status> {
        self.0.callers.claim(&caller.proven, cluster).map_err(|refused| {
            self.raise(cluster, refused.why.as_str(), &refused.message);
            status(&refused)
        })
    }

    /// Returns when the configuration does not let the caller speak for the cluster any more, and why.
    pub(super) async fn withdrawn(&self, mut caller: Caller, cluster: &ClusterId) -> Status {
        while caller.changes.changed().await.is_ok() {
            let proven = self.0.callers.prove(&caller.shown).await;
            match proven.and_then(|proven| self.0.callers.claim(&proven, cluster)) {
                Ok(()) => {}
                // A token's time is over before its stream is, and an issuer may be away: the configuration says neither.
                Err(refused)
                    if matches!(refused.why, RefusedFor::Expired | RefusedFor::KeysUnavailable) => {
                }
                Err(refused) => return status(&refused),
            }
        }
        // Whoever knows callers is gone: the broker ends.
        std::future::pending().await
    }

    /// Another cluster connects under a name that is taken.
    pub(super) fn raise_other_uid(&self, cluster: &ClusterId, message: &str) {
        self.raise(cluster, OTHER_UID, message);
    }

    fn raise(&self, cluster: &ClusterId, reason: &'static str, message: &str) {
        self.0.metrics.caller_refused(reason);
        warn!(%cluster, reason, "a claim to be this cluster was refused: {message}");
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

/// Somebody who proved who it is.
pub(super) struct Caller {
    shown: Shown,
    proven: Proven,
    changes: watch::Receiver<()>,
}

impl Caller {
    /// What it proved it by.
    pub(super) fn means(&self) -> Means {
        self.proven.means()
    }
}

/// What the caller of a request shows.
fn shown<T>(request: &Request<T>) -> Shown {
    let certificate = request.extensions().get::<Peer>().and_then(|peer| peer.certificate.clone());
    let bearer = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
    let bearer =
        bearer.and_then(|value| value.strip_prefix("Bearer ")).map(|token| token.trim().to_owned());
    Shown { certificate, bearer }
}

/// The refusal as the agent hears it.
pub(super) fn status(refused: &Refused) -> Status {
    let mut status = match refused.why {
        RefusedFor::OtherCluster | RefusedFor::IdentityRequired => {
            Status::permission_denied(refused.message.as_str())
        }
        // The agent is not to blame, and comes again soon.
        RefusedFor::KeysUnavailable => Status::unavailable(refused.message.as_str()),
        _ => Status::unauthenticated(refused.message.as_str()),
    };
    status.metadata_mut().insert(REASON, MetadataValue::from_static(refused.why.as_str()));
    status
}
