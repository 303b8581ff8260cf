//! Watches what happens by itself, and writes it to the audit when it begins, changes and ends.
//!
//! What only the worker of an account knows, its replica tells: holds, drift, an account that is parked. What all replicas see, the
//! first of them tells: freezes, conflicts, silent clusters, requests whose time is over. An entry that says what the audit says
//! already is not appended, so a replica that takes over tells nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::watch::WatchedStates;
use crate::broker::BrokerHandle;
use crate::broker::rules::releases;
use crate::broker::worker::{AccountView, Health, HoldReport, ZoneView};
use crate::core::audit::{AuditEntry, AuditKind, AuditOrigin, AuditScope};
use crate::core::endpoint::verdict::Reason;
use crate::core::governance::actor::Actor;
use crate::core::governance::freeze::CompiledFreeze;
use crate::core::ids::{AccountId, ClusterId, ZoneId};
use crate::core::release::guard::Crossed;
use crate::core::time::{Millis, Timestamp};
use crate::ports::StoreError;

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often a replica says which clusters are connected to it.
const SAY_PRESENT_EVERY: Millis = Millis::from_secs(60);
/// How long a cluster is silent before people are told.
pub const AWAY_AFTER: Millis = Millis::from_secs(15 * 60);
/// How often requests are looked at whose time may be over.
const EXPIRE_EVERY: Millis = Millis::from_secs(30);
/// How often the waiting endpoints of a cluster are looked at again, though their number is the same.
const CONFLICTS_AGAIN_AFTER: Millis = Millis::from_secs(300);
/// How often holds are looked at again, though as many names are held.
const HOLDS_AGAIN_AFTER: Millis = Millis::from_secs(60);
/// Endpoints that are looked at at once.
const PAGE: usize = 1_000;

/// The names that a cluster waits for in a zone, and what the first of them is told.
type WaitingNames = BTreeMap<ZoneId, (BTreeSet<String>, String)>;

/// What was found of a cluster's conflicts.
#[derive(Default)]
struct Conflicts {
    /// How many of its endpoints waited then, for whatever reason.
    waiting: usize,
    looked_at: Timestamp,
    names: WaitingNames,
}

/// See the module's page.
pub struct Observer {
    broker: BrokerHandle,
    /// The accounts that this replica managed when it looked last.
    accounts: BTreeSet<AccountId>,
    /// The zones with names that are held, and how many, when holds were asked for last: to ask for them costs their names.
    held: Vec<(ZoneId, usize)>,
    held_at: Timestamp,
    /// Whether it was the first replica then.
    was_first: bool,
    holds: WatchedStates,
    parked: WatchedStates,
    drift: WatchedStates,
    freezes: WatchedStates,
    conflicts: WatchedStates,
    away: WatchedStates,
    of_cluster: BTreeMap<ClusterId, Conflicts>,
    said_present_at: Timestamp,
    expired_at: Timestamp,
    is_failing: bool,
}

impl Observer {
    /// One that has seen nothing.
    pub fn new(broker: BrokerHandle) -> Self {
        Self {
            broker,
            accounts: BTreeSet::new(),
            held: vec![],
            held_at: Timestamp::default(),
            was_first: false,
            holds: WatchedStates::new(AuditKind::HoldBegan, AuditKind::HoldEnded),
            parked: WatchedStates::new(AuditKind::AccountParked, AuditKind::AccountResumed),
            drift: WatchedStates::new(AuditKind::DriftFound, AuditKind::DriftEnded),
            freezes: WatchedStates::new(AuditKind::FreezeBegan, AuditKind::FreezeEnded),
            conflicts: WatchedStates::new(AuditKind::ConflictFound, AuditKind::ConflictEnded),
            away: WatchedStates::new(AuditKind::ClusterAway, AuditKind::ClusterBack),
            of_cluster: BTreeMap::new(),
            said_present_at: Timestamp::default(),
            expired_at: Timestamp::default(),
            is_failing: false,
        }
    }

    /// Watches for ever.
    pub async fn run(mut self) {
        loop {
            match self.look(self.broker.clock.now()).await {
                Ok(()) => self.is_failing = false,
                Err(error) if !self.is_failing => {
                    warn!(%error, "what happens by itself waits to be written to the audit");
                    self.is_failing = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn origin(&self) -> AuditOrigin {
        AuditOrigin::replica(self.broker.replica.replica.0)
    }

    fn entry(&self, kind: AuditKind, subject: String, now: Timestamp) -> AuditEntry {
        AuditEntry {
            origin: self.origin(),
            subject: Some(subject),
            ..AuditEntry::new(now, Actor::Broker, kind)
        }
    }

    /// Whether this is the replica that tells what all see.
    fn is_first(&self) -> bool {
        let standing = self.broker.standing.borrow();
        let first = standing.replicas.iter().map(|row| row.replica).min();
        first.is_none_or(|first| first == self.broker.replica.replica)
    }

    async fn look(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let views = self.broker.accounts();
        let accounts: BTreeSet<AccountId> = views.iter().map(|view| view.account.clone()).collect();
        let is_first = self.is_first();
        if accounts != self.accounts || (is_first && !self.was_first) {
            self.take_over().await?;
            (self.accounts, self.was_first) = (accounts, is_first);
        }
        self.was_first = is_first;
        self.say_present(now).await?;
        self.look_at_accounts(&views, now).await?;
        if is_first {
            self.look_at_freezes(now).await?;
            self.look_at_conflicts(now).await?;
            self.look_at_silence(now).await?;
            self.expire(now).await?;
        }
        Ok(())
    }

    /// Takes what the audit says now: others may have told of what this one tells from here on.
    async fn take_over(&mut self) -> Result<(), StoreError> {
        self.held_at = Timestamp::default();
        for watched in [
            &mut self.holds,
            &mut self.parked,
            &mut self.drift,
            &mut self.freezes,
            &mut self.conflicts,
            &mut self.away,
        ] {
            let kinds = watched.kinds;
            *watched = WatchedStates::new(kinds[0], kinds[1]);
            for row in self.broker.store.newest_audit(&kinds).await? {
                watched.knows(row.entry);
            }
        }
        Ok(())
    }

    async fn look_at_accounts(
        &mut self,
        views: &[Arc<AccountView>],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let parked: Vec<AuditEntry> =
            views.iter().filter_map(|view| self.parked_account(view, now)).collect();
        // One that starts may be parked a moment later, and one that loads knows nothing yet.
        let is_known = |view: &&Arc<AccountView>| view.health != Health::Starting;
        let known: BTreeSet<&AccountId> =
            views.iter().filter(is_known).map(|view| &view.account).collect();
        let loaded: BTreeSet<&AccountId> = views
            .iter()
            .filter(|view| !view.loading && view.discovered)
            .map(|view| &view.account)
            .collect();
        let of = |accounts: &BTreeSet<&AccountId>, entry: &AuditEntry| {
            entry.scope.account.as_ref().is_some_and(|account| accounts.contains(account))
        };
        tell(&self.broker, &mut self.parked, parked, |entry| of(&known, entry), now).await?;
        let zones = || {
            let views = views.iter().filter(|view| loaded.contains(&view.account));
            views.flat_map(|view| view.zones.iter())
        };
        let drifted: Vec<AuditEntry> = zones()
            .filter(|zone| zone.drifted > 0)
            .map(|zone| self.drifted_zone(zone, now))
            .collect();
        tell(&self.broker, &mut self.drift, drifted, |entry| of(&loaded, entry), now).await?;
        let counted: Vec<(ZoneId, usize)> = zones()
            .filter(|zone| zone.held > 0)
            .map(|zone| (zone.zone.clone(), zone.held))
            .collect();
        let is_due = now - self.held_at >= HOLDS_AGAIN_AFTER;
        if counted == self.held && !is_due {
            return Ok(());
        }
        let reports = match !counted.is_empty() {
            true => self.broker.holds().await,
            false => vec![],
        };
        let held: Vec<AuditEntry> = reports
            .iter()
            .filter(|report| loaded.contains(&report.account))
            .map(|report| self.held_units(report, now))
            .collect();
        tell(&self.broker, &mut self.holds, held, |entry| of(&loaded, entry), now).await?;
        (self.held, self.held_at) = (counted, now);
        Ok(())
    }

    fn parked_account(&self, view: &AccountView, now: Timestamp) -> Option<AuditEntry> {
        let Health::Parked { message, .. } = &view.health else { return None };
        let scope = AuditScope {
            environment: Some(view.environment.clone()),
            account: Some(view.account.clone()),
            ..AuditScope::default()
        };
        let subject = format!("account {}", view.account);
        let after = Some(serde_json::json!({ "message": message }));
        Some(AuditEntry { scope, after, ..self.entry(AuditKind::AccountParked, subject, now) })
    }

    fn drifted_zone(&self, zone: &ZoneView, now: Timestamp) -> AuditEntry {
        let after = Some(serde_json::json!({ "record_sets": zone.drifted }));
        let subject = format!("drift {}", zone.zone);
        AuditEntry {
            scope: scope_of(zone),
            after,
            ..self.entry(AuditKind::DriftFound, subject, now)
        }
    }

    fn held_units(&self, report: &HoldReport, now: Timestamp) -> AuditEntry {
        let HoldReport { account, zone, apex, hold, crossed } = report;
        let place =
            hold.reason.scope.as_ref().map_or_else(String::new, |scope| format!(" {scope}"));
        let subject = format!("hold {zone} {}{place}", hold.reason.guard);
        let scope = AuditScope {
            account: Some(account.clone()),
            zone: Some(apex.clone()),
            zone_id: Some(zone.clone()),
            ..AuditScope::default()
        };
        let message = match crossed.as_slice() {
            [] => format!("{} asks for a person's word.", hold.reason.guard),
            crossed => crossed.iter().map(line).collect::<Vec<_>>().join(" "),
        };
        AuditEntry {
            scope: scope.named(hold.names.iter().map(ToString::to_string)),
            after: Some(serde_json::json!({
                "digest": hold.digest.to_string(), "units": hold.units.len(), "names": hold.names.len(),
                "guard": hold.reason.guard.to_string(), "message": message,
            })),
            ..self.entry(AuditKind::HoldBegan, subject, now)
        }
    }

    async fn look_at_freezes(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let governance = Arc::clone(&self.broker.rules.borrow().governance);
        let closed = |freeze: &CompiledFreeze| {
            let until = freeze.closed_until(now)?;
            let reason = freeze.spec().and_then(|freeze| freeze.reason.clone());
            let after = serde_json::json!({ "until": until.to_string(), "message": reason });
            let subject = freeze.id().to_string();
            Some(AuditEntry {
                after: Some(after),
                rules: Some(governance.number()),
                ..self.entry(AuditKind::FreezeBegan, subject, now)
            })
        };
        let current = governance.rules().freezes().iter().filter_map(closed).collect();
        tell(&self.broker, &mut self.freezes, current, |_| true, now).await
    }

    async fn look_at_conflicts(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let clusters: Vec<ClusterId> = self.broker.directory.settings().keys().cloned().collect();
        self.of_cluster.retain(|cluster, _| clusters.contains(cluster));
        for cluster in &clusters {
            let waiting = self.broker.endpoints(cluster).counts().waiting;
            let known = self.of_cluster.entry(cluster.clone()).or_default();
            let is_due = waiting > 0 && now - known.looked_at >= CONFLICTS_AGAIN_AFTER;
            if waiting == known.waiting && !is_due {
                continue;
            }
            let names = match waiting {
                0 => WaitingNames::new(),
                _ => waiting_for(&self.broker, cluster).await,
            };
            self.of_cluster.insert(cluster.clone(), Conflicts { waiting, looked_at: now, names });
        }
        let zones = self.broker.directory.zones();
        let mut current = vec![];
        for (cluster, conflicts) in &self.of_cluster {
            for (zone, (names, message)) in &conflicts.names {
                let facts = zones.get(zone);
                let scope = AuditScope {
                    environment: facts.map(|facts| facts.environment.clone()),
                    account: facts.map(|facts| facts.account.clone()),
                    zone: facts.map(|facts| facts.name.clone()),
                    zone_id: Some(zone.clone()),
                    cluster: Some(cluster.clone()),
                    ..AuditScope::default()
                };
                let after = serde_json::json!({ "names": names.len(), "message": message });
                let subject = format!("conflict {cluster} {zone}");
                current.push(AuditEntry {
                    scope: scope.named(names.iter().cloned()),
                    after: Some(after),
                    ..self.entry(AuditKind::ConflictFound, subject, now)
                });
            }
        }
        tell(&self.broker, &mut self.conflicts, current, |_| true, now).await
    }

    async fn say_present(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if now - self.said_present_at < SAY_PRESENT_EVERY {
            return Ok(());
        }
        let connected: Vec<ClusterId> = self.broker.service.open_sessions().into_keys().collect();
        self.broker.store.note_present(&connected, now).await?;
        self.said_present_at = now;
        Ok(())
    }

    /// A cluster that never came is not silent. For as long as this replica has not run for that time, it cannot know: no replica may
    /// have been there to listen.
    async fn look_at_silence(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let settings = self.broker.directory.settings();
        let here = self.broker.service.open_sessions();
        let mut current = vec![];
        for (cluster, present_at) in self.broker.store.last_present().await? {
            let Some(known) = settings.get(&cluster) else { continue };
            let heard = present_at.max(self.broker.started_at);
            if here.contains_key(&cluster) || now - heard < AWAY_AFTER {
                continue;
            }
            let message = format!(
                "Nothing was heard of it since {present_at}; all that it published stays as it is."
            );
            let scope = AuditScope {
                environment: Some(known.environment.clone()),
                cluster: Some(cluster.clone()),
                ..AuditScope::default()
            };
            current.push(AuditEntry {
                scope,
                after: Some(serde_json::json!({ "message": message })),
                ..self.entry(AuditKind::ClusterAway, format!("cluster {cluster}"), now)
            });
        }
        let can_know = now - self.broker.started_at >= AWAY_AFTER;
        let is_back = |entry: &AuditEntry| {
            can_know || entry.scope.cluster.as_ref().is_some_and(|one| here.contains_key(one))
        };
        tell(&self.broker, &mut self.away, current, is_back, now).await
    }

    async fn expire(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if now - self.expired_at < EXPIRE_EVERY {
            return Ok(());
        }
        releases::expire(&*self.broker.store, &self.origin(), now).await?;
        self.expired_at = now;
        Ok(())
    }
}

/// Appends what is news.
async fn tell(
    broker: &BrokerHandle,
    watched: &mut WatchedStates,
    current: Vec<AuditEntry>,
    is_mine: impl Fn(&AuditEntry) -> bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let news = watched.news(&current, is_mine, now);
    if !news.is_empty() {
        broker.store.append_news(&watched.kinds, &news).await?;
        watched.told(&news, now);
    }
    Ok(())
}

fn scope_of(zone: &ZoneView) -> AuditScope {
    AuditScope {
        environment: Some(zone.environment.clone()),
        account: Some(zone.account.clone()),
        zone: Some(zone.name.clone()),
        zone_id: Some(zone.zone.clone()),
        ..AuditScope::default()
    }
}

fn line(crossed: &Crossed) -> String {
    let Crossed { what, sent, pending, allowed, names } = crossed;
    format!(
        "{}: {pending} wait and {sent} went, and {allowed} may go within the window, of {names} names.",
        what.as_str()
    )
}

/// The names that a cluster waits for since another one has them.
async fn waiting_for(broker: &BrokerHandle, cluster: &ClusterId) -> WaitingNames {
    let endpoints = broker.endpoints(cluster);
    let (mut names, mut after) = (WaitingNames::new(), None);
    loop {
        let page = endpoints.page(after.as_ref(), PAGE);
        let Some(last) = page.last() else { return names };
        after = Some(last.key_hash());
        for endpoint in &page {
            let Some(status) = endpoint.status() else { continue };
            let verdict = &status.verdict;
            if verdict.reason != Reason::NameHeld {
                continue;
            }
            if let Some(placement) = &verdict.placement {
                let of_zone = names.entry(placement.zone.clone()).or_default();
                if of_zone.0.is_empty() {
                    of_zone.1 =
                        format!("The first of them: {}.", verdict.message.trim_end_matches('.'));
                }
                of_zone.0.insert(endpoint.key().dns_name.to_string());
            }
        }
        tokio::task::yield_now().await;
    }
}
