//! Statuses on their way back: first those that the agent does not hold as they are, then each change.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::broker::decider::SharedDirectory;
use crate::broker::feedback::{ClusterBoard, EndpointStatus, Progress};
use crate::core::digest::{BUCKETS, SetDigest};
use crate::core::endpoint::KeyHash;
use crate::core::routing::ZoneTable;
use crate::core::time::Timestamp;
use crate::wire::convert::version_to_wire;
use crate::wire::v1;

const STATUSES_PER_BATCH: usize = 500;

/// What a follower is told first.
pub struct Replay {
    /// The buckets that differ, when the follower said what it holds; none for everything.
    differing: Option<Vec<u8>>,
    /// The generation for which that was found: what is newer is told whatever its bucket.
    compared_at: u64,
}

impl Replay {
    /// Compares a board with the digests that the agent sent; no octets for nothing held.
    ///
    /// # Errors
    /// They are no digests.
    pub fn of(board: &ClusterBoard, held: &[u8]) -> Result<Self, Status> {
        if held.is_empty() {
            return Ok(Self { differing: None, compared_at: 0 });
        }
        let Some((differing, compared_at)) = board.compare(held) else {
            return Err(Status::invalid_argument(format!("{} bytes of held_digests came and 8192 are 256 digests", held.len())));
        };
        Ok(Self { differing: Some(differing), compared_at })
    }

    /// The generation after which to begin.
    fn start(&self) -> u64 {
        if self.differing.as_ref().is_some_and(Vec::is_empty) { self.compared_at } else { 0 }
    }

    fn wants(&self, wanted: &[bool; BUCKETS], generation: u64, key: &KeyHash) -> bool {
        generation > self.compared_at || wanted[usize::from(SetDigest::bucket_of(key))]
    }

    fn buckets(&self) -> [bool; BUCKETS] {
        let Some(differing) = &self.differing else { return [true; BUCKETS] };
        let mut wanted = [false; BUCKETS];
        differing.iter().for_each(|bucket| wanted[usize::from(*bucket)] = true);
        wanted
    }

    fn scope(&self) -> Option<v1::ReplayScope> {
        self.differing.as_ref().map(|buckets| v1::ReplayScope { buckets: Bytes::copy_from_slice(buckets) })
    }
}

/// Follows a board until the stream or the broker ends.
pub async fn follow(
    board: Arc<ClusterBoard>,
    replay: Replay,
    directory: SharedDirectory,
    outbound: mpsc::Sender<Result<v1::StatusBatch, Status>>,
    drain: CancellationToken,
    now: impl Fn() -> Timestamp + Send,
) {
    let (mut generation, mut replayed) = (replay.start(), false);
    loop {
        let page = {
            let buckets = replay.buckets();
            board.page(generation, STATUSES_PER_BATCH, |at, key| replay.wants(&buckets, at, key))
        };
        let replay_done = page.is_last && !replayed;
        if !page.statuses.is_empty() || replay_done {
            replayed |= replay_done;
            let at = now();
            let names: Vec<String> =
                directory.read(|directory| page.statuses.iter().map(|s| zone_name(s, directory.zones())).collect());
            let statuses = page.statuses.iter().zip(names).map(|(status, zone_name)| to_wire(status, zone_name, at)).collect();
            let replay_scope = if replay_done { replay.scope() } else { None };
            if outbound.send(Ok(v1::StatusBatch { statuses, replay_done, replay_scope })).await.is_err() {
                return;
            }
        }
        generation = generation.max(page.reached);
        if page.is_last {
            tokio::select! {
                () = board.wait_newer_than(generation) => {}
                () = drain.cancelled() => return,
                () = outbound.closed() => return,
            }
        } else {
            // A page may hold nothing of what is wanted.
            tokio::task::yield_now().await;
        }
    }
}

fn to_wire(status: &EndpointStatus, zone_name: String, now: Timestamp) -> v1::EndpointStatus {
    let content = status.content();
    let (change_id, expected_at) = match &status.progress {
        Some(Progress::Pending { expected_at, .. }) => (None, *expected_at),
        Some(Progress::Applied { change_id } | Progress::InSync { change_id }) => (change_id.clone(), None),
        None | Some(Progress::Refused { .. } | Progress::Drifted { .. }) => (None, None),
    };
    v1::EndpointStatus {
        key: Some((&status.endpoint.key).into()),
        version: version_to_wire(&status.version),
        verdict: content.verdict,
        reason: content.reason.to_owned(),
        message: content.message.to_owned(),
        progress: content.progress,
        account: content.account.to_owned(),
        zone_id: content.zone.to_owned(),
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
