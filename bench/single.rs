//! The processor time of one change: one after the other, each alone in its transaction and its call.

use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;
use zonefold::core::endpoint::Endpoint;
use zonefold::wire::v1::Progress;

use super::child::ChildBroker;
use super::cluster::Cluster;
use super::say;

/// The number of rounds of changes; the median counts: what else happened to the machine spoils a few only.
const ROUNDS: usize = 5;
/// The longest that one change may take.
const ONE_WITHIN: Duration = Duration::from_secs(60);

/// A cluster whose address moves to and fro.
pub struct Changer<'a> {
    /// Its session.
    pub session: &'a Cluster,
    /// Where the address is, and where it moves to.
    pub places: [Endpoint; 2],
}

/// Makes `changes` changes and answers what one costs the broker, in microseconds. What the broker does in the same time without
/// changes is subtracted.
///
/// # Errors
/// A change was not applied, or there is no cluster to make one.
pub async fn change_cpu_us(
    broker: &ChildBroker,
    changers: Vec<Changer<'_>>,
    changes: u32,
) -> anyhow::Result<f64> {
    anyhow::ensure!(
        !changers.is_empty(),
        "no cluster has an address to change: give more endpoints"
    );
    let rounds = ROUNDS.min(changes as usize);
    let a_round = (changes as usize).div_ceil(rounds);
    say(&format!("{} single changes of {} clusters", a_round * rounds, changers.len()));
    let mut costs = vec![];
    let mut moves = Moves { changers, made: 0 };
    // The first changes fill caches and pools.
    moves.make(a_round.min(50)).await?;
    for _ in 0..rounds {
        let (began, before) = (Instant::now(), broker.cpu_ns()?);
        moves.make(a_round).await?;
        let (took, used) = (began.elapsed(), broker.cpu_ns()? - before);
        let before = broker.cpu_ns()?;
        tokio::time::sleep(took).await;
        let background = broker.cpu_ns()? - before;
        costs.push(used.saturating_sub(background) as f64 / a_round as f64 / 1e3);
    }
    costs.sort_by(f64::total_cmp);
    costs.get(rounds / 2).copied().context("no round was made")
}

/// The changes, each by the next cluster in turn.
struct Moves<'a> {
    changers: Vec<Changer<'a>>,
    made: usize,
}

impl Moves<'_> {
    /// Makes `count` changes, each when the one before is applied, and returns when all of them are in sync.
    async fn make(&mut self, count: usize) -> anyhow::Result<()> {
        let mut last = vec![];
        for _ in 0..count {
            let changer = &self.changers[self.made % self.changers.len()];
            // Every cluster's first move is away from where the fleet has it.
            let place = &changer.places[(self.made / self.changers.len() + 1) % 2];
            self.made += 1;
            changer.session.publish(std::slice::from_ref(place)).await?;
            within(changer, place, Progress::Applied).await?;
            last.push((changer, place));
        }
        for (changer, place) in last.into_iter().rev().take(self.changers.len()) {
            within(changer, place, Progress::InSync).await?;
        }
        Ok(())
    }
}

async fn within(changer: &Changer<'_>, place: &Endpoint, progress: Progress) -> anyhow::Result<()> {
    let reached = changer.session.progressed(place.version(), progress);
    tokio::time::timeout(ONE_WITHIN, reached).await.with_context(|| {
        format!("the change of {} was not {} in time", place.key, progress.as_str_name())
    })?
}
