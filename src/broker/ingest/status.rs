//! Sends statuses to an agent: first those that it does not hold as they are, then each change.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::broker::directory::SharedDirectory;
use crate::broker::directory::cluster::StatusSubscriber;
use crate::broker::directory::entry::{EndpointEntry, Progress};
use crate::core::endpoint::verdict::Verdict;
use crate::core::planning::routing::ZoneTable;
use crate::core::time::Timestamp;
use crate::wire::convert::version_to_wire;
use crate::wire::v1;

/// A stream keeps the room of its largest batch for as long as it lives, and there is one for each cluster.
const STATUSES_PER_BATCH: usize = 100;

/// Follows a cluster's endpoints until the stream or the broker ends.
pub async fn follow(
    mut follower: StatusSubscriber,
    directory: SharedDirectory,
    outbound: mpsc::Sender<Result<v1::StatusBatch, Status>>,
    drain: CancellationToken,
    now: impl Fn() -> Timestamp + Send,
) {
    loop {
        let news = follower.news(STATUSES_PER_BATCH);
        if news.endpoints.is_empty() && !news.replay_done {
            tokio::select! {
                () = follower.wait() => continue,
                () = drain.cancelled() => return,
                () = outbound.closed() => return,
            }
        }
        let (zones, at) = (directory.zones(), now());
        let statuses = news.endpoints.iter().map(|held| to_wire(held, &zones, at)).collect();
        let replay_scope = news.scope.map(|buckets| v1::ReplayScope { buckets: buckets.into() });
        let batch = v1::StatusBatch { statuses, replay_done: news.replay_done, replay_scope };
        // A reader that does not read does not hold up a stop.
        let is_gone = tokio::select! {
            sent = outbound.send(Ok(batch)) => sent.is_err(),
            () = drain.cancelled() => true,
        };
        if is_gone {
            return;
        }
    }
}

fn to_wire(held: &EndpointEntry, zones: &ZoneTable, now: Timestamp) -> v1::EndpointStatus {
    let endpoint = held.view();
    let version = endpoint.version();
    let (key, at_ms) = (Some((&endpoint).into()), held.since().0);
    let Some(status) = held.status() else {
        return v1::EndpointStatus {
            key,
            version: version_to_wire(&version),
            at_ms,
            ..v1::EndpointStatus::default()
        };
    };
    let content = status.content(&version);
    let (change_id, expected_at) = match &status.progress {
        Some(Progress::Pending { expected_at, .. }) => (None, *expected_at),
        Some(Progress::Applied { change_id } | Progress::InSync { change_id }) => {
            (change_id.clone(), None)
        }
        None | Some(Progress::Refused { .. } | Progress::Drifted { .. }) => (None, None),
    };
    v1::EndpointStatus {
        key,
        version: version_to_wire(&version),
        verdict: content.verdict,
        reason: content.reason.to_owned(),
        message: content.message.to_owned(),
        progress: content.progress,
        account: content.account.to_owned(),
        zone_id: content.zone.to_owned(),
        zone_name: zone_name(&status.verdict, zones),
        change_id: change_id.unwrap_or_default(),
        at_ms,
        expected_ms: expected_at.map_or(0, |at| at.since(now).0.unsigned_abs()),
    }
}

/// The apex of the zone where an endpoint was placed; the directory knows it before anything can be placed there.
fn zone_name(verdict: &Verdict, zones: &ZoneTable) -> String {
    let zone = verdict.placement.as_ref().and_then(|placement| zones.get(&placement.zone));
    zone.map(|facts| facts.name.to_string()).unwrap_or_default()
}
