//! `bench failover`: how long an account waits when the replica that manages it is killed, and what all replicas spend together.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, MissedTickBehavior};
use zonefold::core::dns::name::DnsName;
use zonefold::core::endpoint::Endpoint;
use zonefold::core::ids::AccountId;
use zonefold::core::time::{Millis, Timestamp};
use zonefold::emulator::{AccountCounters, Control, Origin, View};

use super::child::{ChildBroker, Launch};
use super::cluster::{Cluster, HeldEndpoints};
use super::figures::quantile;
use super::postgres::{Databases, url_of};
use super::say;
use super::stage::{Extent, Pace, World};
use crate::cli::{BenchProfile, BenchSignature, FailoverArgs};

/// The longest that a start, or a fail-over, may take before the benchmark gives up.
const AT_MOST: Duration = Duration::from_secs(120);
/// Names of a cluster in each zone: few, so that each is changed again soon.
const NAMES: u32 = 20;
/// The time between two rounds, in which nothing is broken; a random part of it is added.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(2);

/// The printed figures; each is explained in [`crate::cli::FAILOVER_FIGURES`].
#[derive(Debug, Default, Serialize)]
pub struct FailoverFigures {
    bench: &'static str,
    p50_ms: Option<i64>,
    p99_ms: Option<i64>,
    max_ms: Option<i64>,
    rounds: u32,
    peak_requests_per_second: u64,
    peak_requests_in_10_seconds: u64,
    allowed_requests_in_10_seconds: u64,
    peak_changes_per_second: u64,
    peak_changes_in_10_seconds: u64,
    allowed_changes_in_10_seconds: Option<u64>,
    overdrawn: u64,
    throttled: u64,
    most_calls_at_once_in_a_zone: u64,
    interleaved: u64,
    calls: u64,
    changes: u64,
    lost: usize,
    replicas: u32,
    accounts: u32,
    zones: u32,
    changes_per_second: u32,
    profile: Option<BenchProfile>,
    reserve_percent: u8,
    signature: Option<BenchSignature>,
    seed: u64,
}

/// Runs the benchmark.
///
/// # Errors
/// A part failed, or no replica took an account over.
pub async fn measure(args: &FailoverArgs) -> anyhow::Result<FailoverFigures> {
    let world = World::new(
        &args.common,
        Extent { accounts: args.accounts, zones: args.zones, clusters: args.replicas },
    )?;
    let mut databases =
        Databases::open(args.postgres_url.as_deref(), args.common.folder.as_deref()).await?;
    let database = databases.make("failover").await?;
    let pace = Pace::of(args.profile, args.reserve_percent);
    let emulator = world.emulator(pace).await?;
    let mut site = FailoverSite {
        world: &world,
        control: emulator.control(),
        posts: vec![],
        published: HashMap::new(),
        turn: 0,
    };
    for number in 0..args.replicas {
        let launch =
            world.launch(pace, &format!("replica-{number}"), &url_of(&database), &emulator)?;
        site.posts.push(Post { broker: Some(ChildBroker::start(&launch)?), launch, session: None });
    }
    for number in 0..site.posts.len() {
        site.open(number, HeldEndpoints::default()).await?;
    }
    let mut rng = fastrand::Rng::with_seed(args.common.seed);
    let mut took = vec![];
    for round in 1..=args.rounds {
        let quiet = BETWEEN_ROUNDS + BETWEEN_ROUNDS.mul_f64(rng.f64());
        site.publish_for(args.changes_per_second, quiet).await?;
        let account = &world.accounts[rng.usize(0..world.accounts.len())];
        let waited = site.round(args.changes_per_second, account).await?;
        say(&format!("round {round} of {}: {account} waited {} ms", args.rounds, waited.0));
        took.push(waited.0);
    }
    took.sort_unstable();
    let lost = site.lost().await?;
    let interleaved = site.interleaved(&database).await?;
    let figures = figures(args, &site.control, &took, (lost, interleaved));
    for post in site.posts {
        drop(post.session);
        if let Some(broker) = post.broker {
            broker.stop().await?;
        }
    }
    emulator.stop().await;
    databases.close().await?;
    Ok(figures)
}

/// The requests and changes that AWS's buckets give in ten seconds.
fn allowed(profile: BenchProfile) -> (u64, Option<u64>) {
    match profile {
        BenchProfile::Since2026 => (50 + 10 * 10, Some(1_500 + 10 * 100)),
        BenchProfile::Legacy => (5 + 10 * 5, None),
    }
}

fn figures(
    args: &FailoverArgs,
    control: &Control,
    took: &[i64],
    (lost, interleaved): (usize, u64),
) -> FailoverFigures {
    let counters = control.counters();
    let of_accounts = |of: fn(&AccountCounters) -> u64| counters.accounts.values().map(of);
    let most = |of| of_accounts(of).max().unwrap_or(0);
    let (allowed_requests_in_10_seconds, allowed_changes_in_10_seconds) = allowed(args.profile);
    FailoverFigures {
        bench: "failover",
        p50_ms: quantile(took, 0.5),
        p99_ms: quantile(took, 0.99),
        max_ms: took.last().copied(),
        rounds: args.rounds,
        peak_requests_per_second: most(|account| account.request_rate.in_1_sec),
        peak_requests_in_10_seconds: most(|account| account.request_rate.in_10_secs),
        allowed_requests_in_10_seconds,
        peak_changes_per_second: most(|account| account.change_rate.in_1_sec),
        peak_changes_in_10_seconds: most(|account| account.change_rate.in_10_secs),
        allowed_changes_in_10_seconds,
        overdrawn: of_accounts(|account| account.overdrawn).sum(),
        throttled: of_accounts(|account| account.throttled).sum(),
        most_calls_at_once_in_a_zone: counters.max_in_flight.values().max().copied().unwrap_or(0),
        interleaved,
        calls: of_accounts(|account| account.requests).sum(),
        changes: of_accounts(|account| account.changes_applied).sum(),
        lost,
        replicas: args.replicas,
        accounts: args.accounts,
        zones: args.zones,
        changes_per_second: args.changes_per_second,
        profile: Some(args.profile),
        reserve_percent: args.reserve_percent,
        signature: Some(args.common.signature),
        seed: args.common.seed,
    }
}

/// A replica, and the cluster whose session is there.
struct Post {
    launch: Launch,
    broker: Option<ChildBroker>,
    session: Option<Cluster>,
}

struct FailoverSite<'w> {
    world: &'w World,
    control: Control,
    posts: Vec<Post>,
    /// The address that each name is to have.
    published: HashMap<String, String>,
    turn: u32,
}

impl FailoverSite<'_> {
    /// Waits until a replica serves, and opens the session of its cluster.
    async fn open(&mut self, number: usize, held: HeldEndpoints) -> anyhow::Result<()> {
        let post = &mut self.posts[number];
        let broker = post.broker.as_mut().context("the replica does not run")?;
        broker.ready(AT_MOST).await?;
        let cluster = &self.world.clusters[number];
        post.session = Some(self.world.connect_to(broker.addresses.grpc, cluster, held).await?);
        Ok(())
    }

    /// One change of each account, by a cluster whose replica lives.
    async fn publish(&mut self) -> anyhow::Result<()> {
        self.turn += 1;
        let turn = self.turn;
        let live: Vec<&Cluster> =
            self.posts.iter().filter_map(|post| post.session.as_ref()).collect();
        let cluster =
            live.get(turn as usize % live.len().max(1)).context("no cluster has a session")?;
        let mut endpoints: Vec<Endpoint> = vec![];
        for account in 0..self.world.accounts.len() {
            let zones = self.world.zones_of(account);
            let zone = &zones[turn as usize % zones.len()];
            let address = [(turn >> 8) as u8, turn as u8];
            let serial = turn / zones.len() as u32 % NAMES;
            endpoints.push(self.world.endpoint_in(zone, cluster.id(), "failover", serial, address));
        }
        cluster.publish(&endpoints).await?;
        let wanted = |endpoint: Endpoint| {
            Some((endpoint.key.dns_name.to_string(), endpoint.targets.first()?.to_string()))
        };
        self.published.extend(endpoints.into_iter().filter_map(wanted));
        Ok(())
    }

    /// Publishes at a pace until something is found.
    async fn publish_until<T>(
        &mut self,
        per_second: u32,
        mut found: impl FnMut(&Self) -> Option<T>,
    ) -> anyhow::Result<T> {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / per_second);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let give_up = Instant::now() + AT_MOST;
        loop {
            pace.tick().await;
            self.publish().await?;
            if let Some(found) = found(self) {
                return Ok(found);
            }
            anyhow::ensure!(
                Instant::now() < give_up,
                "nothing came of it within {} s",
                AT_MOST.as_secs()
            );
        }
    }

    async fn publish_for(&mut self, per_second: u32, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        self.publish_until(per_second, |_| (Instant::now() >= until).then_some(())).await
    }

    /// Kills the replica that manages an account; answers how long it was until another had applied a change there. Then the killed
    /// one is started again.
    async fn round(&mut self, per_second: u32, account: &AccountId) -> anyhow::Result<Millis> {
        let holder = self.holder(account).await?;
        let post = &mut self.posts[holder];
        let broker = post.broker.take().context("the holder does not run")?;
        // Its own cluster has its acks and is quiet: the session is lost, and nothing that was said over it.
        let session = post.session.take().context("the holder has no session")?;
        session.durable(session.published().await).await?;
        let last = self.control.journal(0).last().map_or(0, |entry| entry.number);
        let principal = self.last_caller(account).context("the account was never called")?;
        let killed_at = self.control.now();
        broker.kill().await?;
        let held = session.leave().await;
        let applied_at = self
            .publish_until(per_second, |site| site.applied_by_another(account, &principal, last))
            .await?;
        let post = &mut self.posts[holder];
        post.broker = Some(ChildBroker::start(&post.launch)?);
        self.open(holder, held).await?;
        Ok(applied_at - killed_at)
    }

    /// The replica that manages an account, as the replicas say.
    async fn holder(&self, account: &AccountId) -> anyhow::Result<usize> {
        let give_up = Instant::now() + AT_MOST;
        let gauge = format!("zonefold_lease_held{{account=\"{account}\"}}");
        while Instant::now() < give_up {
            for (number, post) in self.posts.iter().enumerate() {
                if let Some(broker) = &post.broker
                    && broker.counter(&gauge).await.is_ok_and(|held| held == 1)
                {
                    return Ok(number);
                }
            }
        }
        bail!("nobody worked {account} within {} s", AT_MOST.as_secs())
    }

    fn last_caller(&self, account: &AccountId) -> Option<String> {
        Some(self.control.counters().accounts.get(account)?.callers.last()?.principal.clone())
    }

    fn applied_by_another(
        &self,
        account: &AccountId,
        principal: &str,
        after: u64,
    ) -> Option<Timestamp> {
        let entries = self.control.journal(after);
        let of_another = entries.iter().find(|entry| {
            entry.origin == Origin::Request
                && entry.account == *account
                && entry.principal != principal
        });
        of_another.map(|entry| entry.at)
    }

    /// The names that do not come to hold what was published for them last.
    async fn lost(&self) -> anyhow::Result<usize> {
        for session in self.posts.iter().filter_map(|post| post.session.as_ref()) {
            session.durable(session.published().await).await?;
        }
        say("waiting until everything is applied");
        let give_up = Instant::now() + AT_MOST;
        loop {
            let held = self.held()?;
            let lost = self
                .published
                .iter()
                .filter(|(name, address)| held.get(*name) != Some(address))
                .count();
            if lost == 0 || Instant::now() > give_up {
                return Ok(lost);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn held(&self) -> anyhow::Result<HashMap<String, String>> {
        let mut held = HashMap::new();
        for zone in self.control.zones() {
            for set in self
                .control
                .records(&zone.id, View::Accepted)?
                .into_iter()
                .filter(|set| set.rtype == "A")
            {
                let value = set.values.first().map(ToString::to_string).unwrap_or_default();
                held.insert(DnsName::parse(&set.name)?.to_string(), value);
            }
        }
        Ok(held)
    }

    /// Runs of calls that no taking of a lease stands for: each taking is good for one.
    async fn interleaved(&self, database: &PgConnectOptions) -> anyhow::Result<u64> {
        let mut connection = PgConnection::connect_with(database).await?;
        let epochs: Vec<(String, i64)> =
            sqlx::query_as("select account, epoch from leases").fetch_all(&mut connection).await?;
        connection.close().await?;
        let counters = self.control.counters();
        let mut interleaved = 0;
        for (account, counted) in &counters.accounts {
            let taken = epochs
                .iter()
                .find(|(of, _)| of == account.as_str())
                .map_or(0, |(_, epoch)| epoch.unsigned_abs());
            interleaved += (counted.callers.len() as u64).saturating_sub(taken);
        }
        Ok(interleaved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::FAILOVER_FIGURES;
    use crate::figures::tests::assert_explained;

    #[test]
    fn every_figure_is_explained() {
        assert_explained(&FailoverFigures::default(), FAILOVER_FIGURES);
    }
}
