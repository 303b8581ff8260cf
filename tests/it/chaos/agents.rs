//! The wishes of the clusters, how they change while something is broken, and whether they came true.

use std::collections::BTreeMap;
use std::time::Duration;

use zonefold::agent::AgentHandle;
use zonefold::agent::index::{Index, IndexEntry};
use zonefold::core::dns::name::DnsName;
use zonefold::core::endpoint::EndpointKey;
use zonefold::emulator::*;
use zonefold::wire::v1::{EndpointStatus, Progress};

use super::site::{ACCOUNTS, ChaosSite, ZONES_PER_ACCOUNT, apex};
use crate::support::seed::seeded;
use crate::support::wait::eventually;
use crate::support::world::Cluster;

/// Names of each cluster, spread over all zones.
const NAMES: usize = 24;
/// The time between a cluster's edits: less than an account needs for single calls, so that its bucket is always wanted.
const EDIT_EVERY: Duration = Duration::from_millis(150);

/// The wishes of each cluster: its own names, so that what is right is known without deciding who was first.
type Wanted = BTreeMap<&'static str, BTreeMap<String, String>>;

/// The clusters with their agents.
pub struct Load {
    agents: BTreeMap<&'static str, Cluster>,
    wanted: Wanted,
    pub random: fastrand::Rng,
    round: usize,
}

impl Load {
    /// Starts the agents and waits until what they want at first is there.
    pub async fn start(site: &ChaosSite, seed: u64) -> Self {
        let agents = site.agents().await;
        let wanted = agents.keys().map(|cluster| (*cluster, BTreeMap::new())).collect();
        let mut load = Self { agents, wanted, random: seeded(seed), round: 0 };
        load.edit();
        load.comes_true(site).await;
        load
    }

    /// Every cluster changes some of what it wants.
    pub fn edit(&mut self) {
        self.round += 1;
        for (index, (cluster, names)) in self.wanted.iter_mut().enumerate() {
            for _ in 0..self.random.usize(1..6) {
                let at = self.random.usize(0..NAMES);
                let owner =
                    format!("c{index}-{at}.{}", apex(at % (ACCOUNTS.len() * ZONES_PER_ACCOUNT)));
                if self.random.u8(0..4) == 0 {
                    names.remove(&owner);
                } else {
                    names.insert(
                        owner,
                        format!("10.{index}.{}.{}", self.round % 250, self.random.u8(1..250)),
                    );
                }
            }
            self.agents[cluster].wants_addresses("many", names);
        }
    }

    /// The clusters go on changing what they want until the work is done.
    pub async fn goes_on_during<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        // Edits arrive at a pace, as people make them; nothing is waited for by it.
        let mut pace = tokio::time::interval(EDIT_EVERY);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = pace.tick() => self.edit(),
            }
        }
    }

    fn expected(&self) -> BTreeMap<String, String> {
        self.wanted
            .values()
            .flatten()
            .map(|(owner, target)| (owner.clone(), target.clone()))
            .collect()
    }

    /// Waits until Route 53 holds exactly what is wanted, and until every agent knows that it does.
    pub async fn comes_true(&self, site: &ChaosSite) {
        self.is_held(site).await;
        for (cluster, agent) in &self.agents {
            let wanted = self.wanted[cluster].len();
            eventually(
                &format!("the agent of {cluster} knows that all it wants is there"),
                async || match applied(&agent.agent) {
                    applied if applied == wanted => Ok(()),
                    applied => Err(format!(
                        "{applied} of {wanted} are applied as far as it knows\n{}",
                        site.words()
                    )),
                },
            )
            .await;
        }
    }

    /// Waits until Route 53 holds exactly what is wanted.
    pub async fn is_held(&self, site: &ChaosSite) {
        self.is_held_where(site, |_| true).await;
    }

    /// The same for some names.
    pub async fn is_held_where(&self, site: &ChaosSite, matters: impl Fn(&str) -> bool) {
        let mut expected = self.expected();
        expected.retain(|owner, _| matters(owner));
        eventually("Route 53 holds what is wanted", async || {
            let mut held = held(&site.emulator.control());
            held.retain(|owner, _| matters(owner));
            if held == expected {
                return Ok(());
            }
            let missing: Vec<_> = expected
                .iter()
                .filter(|(owner, target)| held.get(*owner) != Some(target))
                .take(5)
                .collect();
            let surplus: Vec<_> =
                held.keys().filter(|owner| !expected.contains_key(*owner)).take(5).collect();
            Err(format!("{missing:?} are missing and {surplus:?} too many\n{}", site.words()))
        })
        .await;
    }

    /// Waits until everything that is wanted is durable, as the agents were told.
    pub async fn acked(&self) {
        for (cluster, agent) in &self.agents {
            let wanted = &self.wanted[cluster];
            eventually(&format!("what {cluster} wants is acked"), async || {
                // An agent that has not read the change yet has everything acked, too.
                let (read, converged) =
                    agent.agent.read(|s| (read(&s.index), s.publisher.is_converged()));
                if read == *wanted && converged {
                    Ok(())
                } else {
                    Err(format!("{read:?}, converged: {converged}"))
                }
            })
            .await;
        }
    }

    /// Whether any agent still waits for an ack of what it has seen.
    pub fn waits_for_acks(&self) -> bool {
        self.agents.values().any(|agent| !agent.agent.is_converged())
    }

    /// The hardest form of "acked is durable": nothing can be written to Route 53, the clusters change what they want until all of
    /// it is acked, their agents go, every replica is killed. What comes true then can only have come from the database.
    pub async fn survives_everybody(mut self, site: &mut ChaosSite) {
        let rule = FaultRule {
            matching: FaultMatch {
                action: Some(Action::ChangeResourceRecordSets),
                ..FaultMatch::default()
            },
            times: None,
            effect: FaultEffect::HttpError { status: 503 },
        };
        let away = site.emulator.control().add_fault(rule);
        self.edit();
        self.acked().await;
        for (_, agent) in std::mem::take(&mut self.agents) {
            agent.stop().await;
        }
        for number in 0..site.replicas.len() {
            site.kill(number).await;
        }
        site.emulator.control().remove_fault(away).unwrap();
        for number in 0..site.replicas.len() {
            site.revive(number).await;
        }
        self.is_held(site).await;
    }
}

/// The records that an agent has read of its cluster.
fn read(index: &Index) -> BTreeMap<String, String> {
    let target = |held: &IndexEntry| {
        held.endpoint.targets.first().map(ToString::to_string).unwrap_or_default()
    };
    index.iter().map(|(_, held)| (held.endpoint.key.dns_name.to_string(), target(held))).collect()
}

/// How many of the endpoints that a cluster wants its agent knows to be applied as they are wanted now.
fn applied(agent: &AgentHandle) -> usize {
    agent.read(|state| {
        let is_applied = |status: &EndpointStatus| {
            let key = status.key.clone().map(|key| EndpointKey::from(key).hash());
            let held = key.and_then(|key| state.index.get(&key));
            held.is_some_and(|held| held.version.0[..] == status.version[..])
                && matches!(status.progress(), Progress::Applied | Progress::InSync)
        };
        state.statuses.iter().filter(|status| is_applied(status)).count()
    })
}

/// Our records in Route 53, by owner name.
fn held(control: &Control) -> BTreeMap<String, String> {
    let sets = control
        .zones()
        .into_iter()
        .flat_map(|zone| control.records(&zone.id, View::Accepted).unwrap());
    let ours = sets.filter(|set| set.rtype == "A" && !set.name.starts_with("foreign"));
    ours.map(|set| (DnsName::parse(&set.name).unwrap().to_string(), set.values[0].to_string()))
        .collect()
}
