//! Statuses on their way back: all of a cluster's first, then each change.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::broker::decider::SharedDirectory;
use crate::broker::endpoints::Follower;
use crate::broker::held::{Held, Progress};
use crate::core::routing::ZoneTable;
use crate::core::time::Timestamp;
use crate::core::verdict::{Verdict, VerdictState};
use crate::wire::convert::version_to_wire;
use crate::wire::v1;

const STATUSES_PER_BATCH: usize = 500;

/// Follows a cluster's endpoints until the stream or the broker ends.
pub fn follow(
    mut follower: Follower,
    directory: SharedDirectory,
    outbound: mpsc::Sender<Result<v1::StatusBatch, Status>>,
    drain: CancellationToken,
    now: impl Fn() -> Timestamp + Send,
) -> impl Future<Output = ()> + Send {
    async move {
        loop {
            let news = follower.news(STATUSES_PER_BATCH);
            if news.endpoints.is_empty() && !news.replay_done {
                tokio::select! {
                    () = follower.wait() => continue,
                    () = drain.cancelled() => return,
                    () = outbound.closed() => return,
                }
            }
            let (zones, at) = (directory.read(|directory| directory.zones()), now());
            let statuses = news.endpoints.iter().filter_map(|held| to_wire(held, &zones, at)).collect();
            if outbound.send(Ok(v1::StatusBatch { statuses, replay_done: news.replay_done })).await.is_err() {
                return;
            }
        }
    }
}

fn to_wire(held: &Held, zones: &ZoneTable, now: Timestamp) -> Option<v1::EndpointStatus> {
    let status = held.status()?;
    let (progress, detail, change_id, expected_at) = match &status.progress {
        None => (v1::Progress::Unspecified, "", None, None),
        Some(Progress::Pending { detail, expected_at }) => (v1::Progress::Pending, detail.as_str(), None, *expected_at),
        Some(Progress::Applied { change_id }) => (v1::Progress::Applied, "", change_id.clone(), None),
        Some(Progress::InSync { change_id }) => (v1::Progress::InSync, "", change_id.clone(), None),
        Some(Progress::Refused { message, .. }) => (v1::Progress::Refused, message.as_str(), None, None),
        Some(Progress::Drifted { message }) => (v1::Progress::Drifted, message.as_str(), None, None),
    };
    let placement = status.verdict.placement.as_ref();
    Some(v1::EndpointStatus {
        key: Some((&held.key()).into()),
        version: version_to_wire(&held.version()),
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
        zone_name: zone_name(&status.verdict, zones),
        change_id: change_id.unwrap_or_default(),
        at_ms: held.since().0,
        expected_ms: expected_at.map_or(0, |at| at.since(now).0.unsigned_abs()),
    })
}

/// The apex of the zone where an endpoint was placed; the directory knows it before anything can be placed there.
fn zone_name(verdict: &Verdict, zones: &ZoneTable) -> String {
    let zone = verdict.placement.as_ref().and_then(|placement| zones.get(&placement.zone));
    zone.map(|facts| facts.name.to_string()).unwrap_or_default()
}
