//! Statuses on their way back: all of a cluster's first, then each change.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::broker::decider::SharedDirectory;
use crate::broker::feedback::{ClusterBoard, EndpointStatus, Progress};
use crate::core::routing::ZoneTable;
use crate::core::time::Timestamp;
use crate::core::verdict::VerdictState;
use crate::wire::convert::version_to_wire;
use crate::wire::v1;

const STATUSES_PER_BATCH: usize = 500;

/// Follows a board until the stream or the broker ends.
pub async fn follow(
    board: Arc<ClusterBoard>,
    directory: SharedDirectory,
    outbound: mpsc::Sender<Result<v1::StatusBatch, Status>>,
    drain: CancellationToken,
    now: impl Fn() -> Timestamp + Send,
) {
    let (mut generation, mut replayed) = (0, false);
    loop {
        let (statuses, reached) = board.newer_than(generation, STATUSES_PER_BATCH);
        let is_last = statuses.len() < STATUSES_PER_BATCH;
        let replay_done = is_last && !replayed;
        if !statuses.is_empty() || replay_done {
            replayed |= replay_done;
            let at = now();
            let names: Vec<String> =
                directory.read(|directory| statuses.iter().map(|s| zone_name(s, directory.zones())).collect());
            let statuses = statuses.iter().zip(names).map(|(status, zone_name)| to_wire(status, zone_name, at)).collect();
            if outbound.send(Ok(v1::StatusBatch { statuses, replay_done })).await.is_err() {
                return;
            }
        }
        generation = generation.max(reached);
        if is_last {
            tokio::select! {
                () = board.wait_newer_than(generation) => {}
                () = drain.cancelled() => return,
                () = outbound.closed() => return,
            }
        }
    }
}

fn to_wire(status: &EndpointStatus, zone_name: String, now: Timestamp) -> v1::EndpointStatus {
    let (progress, detail, change_id, expected_at) = match &status.progress {
        None => (v1::Progress::Unspecified, "", None, None),
        Some(Progress::Pending { detail, expected_at }) => (v1::Progress::Pending, detail.as_str(), None, *expected_at),
        Some(Progress::Applied { change_id }) => (v1::Progress::Applied, "", change_id.clone(), None),
        Some(Progress::InSync { change_id }) => (v1::Progress::InSync, "", change_id.clone(), None),
        Some(Progress::Refused { message, .. }) => (v1::Progress::Refused, message.as_str(), None, None),
        Some(Progress::Drifted { message }) => (v1::Progress::Drifted, message.as_str(), None, None),
    };
    let placement = status.verdict.placement.as_ref();
    v1::EndpointStatus {
        key: Some((&status.endpoint.key).into()),
        version: version_to_wire(&status.version),
        verdict: match status.verdict.state {
            VerdictState::Accepted => v1::VerdictState::Accepted,
            VerdictState::Waiting => v1::VerdictState::Waiting,
            VerdictState::Rejected => v1::VerdictState::Rejected,
        } as i32,
        reason: status.verdict.reason.as_str().to_owned(),
        message: if detail.is_empty() { status.verdict.message.clone() } else { detail.to_owned() },
        progress: progress as i32,
        account: placement.map(|p| p.account.to_string()).unwrap_or_default(),
        zone_id: placement.map(|p| p.zone.to_string()).unwrap_or_default(),
        zone_name,
        change_id: change_id.unwrap_or_default(),
        at_ms: status.at.0,
        expected_ms: expected_at.map_or(0, |at| at.since(now).0.unsigned_abs()),
    }
}

/// The apex of the zone where an endpoint was placed; the directory knows it before anything can be placed there.
fn zone_name(status: &EndpointStatus, zones: &ZoneTable) -> String {
    let zone = status.verdict.placement.as_ref().and_then(|placement| zones.get(&placement.zone));
    zone.map(|facts| facts.name.to_string()).unwrap_or_default()
}
