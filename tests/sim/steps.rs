//! How each step of a schedule is carried out, and how what lasts ends.

use std::sync::{Arc, Mutex};

use zonefold::agent::sources::{Extraction, SourceKind};
use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::RawRecordSet;
use zonefold::core::endpoint::{Endpoint, EndpointKey};
use zonefold::core::ids::ZoneId;
use zonefold::emulator::{
    ChangeAction, FaultEffect, FaultMatch, FaultRule, Moment, RecordChange, View,
};

use crate::agent::{AgentHost, SOURCES};
use crate::aws::Route;
use crate::broker::BrokerHost;
use crate::extra::ExtraUndo;
use crate::history::What;
use crate::net::{Death, Direction, Weather};
use crate::recorder::lock;
use crate::schedule::{
    AwsTrouble, ForeignWrite, Going, Reconfiguration, RouteTrouble, Step, StoreTrouble,
};
use crate::store::Troubles;
use crate::wish::{Object, extraction, without_status};
use crate::world::{World, cluster_id};

/// How something that lasts ends.
pub enum Undo {
    /// The object's load balancer shows its addresses again.
    Status { cluster: usize, object: Object, known: Extraction },
    /// A source can be read again.
    Source { cluster: usize, kind: SourceKind },
    /// A host's process is started again.
    StartAgent(usize),
    /// A host's process goes on.
    ResumeAgent(Arc<Mutex<AgentHost>>),
    /// A second agent goes.
    Leave { cluster: usize, number: u32 },
    /// A partition heals.
    Mend { cluster: usize, brokers: Vec<u32>, directions: Vec<Direction> },
    /// Connections wake up.
    Wake(Vec<u64>),
    /// The storm is over.
    Calm,
    /// A broker's process is started again.
    StartBroker(Arc<Mutex<BrokerHost>>),
    /// A broker's process goes on.
    ResumeBroker(Arc<Mutex<BrokerHost>>),
    /// Processes that were thought dead go on.
    WakeGhosts(Arc<Mutex<BrokerHost>>),
    /// The store does well again.
    Store(StoreTrouble),
    /// A way to AWS is good again.
    Route { broker: u32, trouble: RouteTrouble },
    /// A fault of the emulator is taken away.
    Fault(u64),
    /// Route 53 takes a name again.
    Cure { rule: u64, name: DnsName },
    /// The end of one of the further events.
    Extra(ExtraUndo),
}

impl World {
    /// Carries out one step.
    pub(crate) fn take_step(&mut self, number: usize, step: &Step) {
        let undo = match step {
            Step::Want { .. }
            | Step::Delete { .. }
            | Step::LoseStatus { .. }
            | Step::SourceFails { .. } => self.change_cluster(step),
            Step::RestartAgent { .. }
            | Step::Reconnect { .. }
            | Step::PauseAgent { .. }
            | Step::Twin { .. }
            | Step::Impostor { .. } => self.trouble_agent(step),
            Step::Cut { .. } | Step::Reset { .. } | Step::Sleep { .. } | Step::Storm { .. } => {
                self.trouble_network(step)
            }
            Step::RestartBroker { .. }
            | Step::PauseBroker { .. }
            | Step::Supersede { .. }
            | Step::Reconfigure { .. } => self.trouble_broker(step),
            Step::CutFeed => {
                self.database.cut_feed();
                self.recorder.fault("store.feed_cut", "all entries of the feed are gone");
                None
            }
            Step::Store { trouble, percent, .. } => Some(self.trouble_store(*trouble, *percent)),
            Step::AwsRoute { broker, trouble, percent, .. } => {
                Some(self.trouble_route(*broker, *trouble, *percent))
            }
            Step::Aws { account, action, trouble, percent, .. } => {
                let matching = FaultMatch {
                    account: Step::account(&self.schedule.shape, *account),
                    action: *action,
                    probability: Some(f64::from(*percent) / 100.0),
                    ..FaultMatch::default()
                };
                let effect = self.effect_of(*account, *trouble);
                self.recorder
                    .fault(name_of(*trouble), format!("{effect:?} at {percent} % of {matching:?}"));
                Some(Undo::Fault(self.control.add_fault(FaultRule {
                    matching,
                    times: None,
                    effect,
                })))
            }
            Step::Poison { host, .. } => self.poison(host),
            Step::Foreign { zone, write } => {
                self.write_foreign(*zone, write);
                None
            }
            Step::Extra(extra) => self.take_extra(extra).map(Undo::Extra),
        };
        if let (Some(undo), Some(for_ms)) = (undo, step.lasts_ms()) {
            self.undo.insert((self.recorder.elapsed_ms() + for_ms, number), undo);
        }
    }

    /// Ends something.
    pub(crate) fn end(&mut self, undo: Undo) {
        match undo {
            Undo::Status { cluster, object, known } => {
                self.give_status_back(cluster, object, known)
            }
            Undo::Source { cluster, kind } => {
                lock(&self.clusters[cluster]).failing.remove(&kind);
                self.agents_of(cluster).iter().for_each(|host| lock(host).list(kind));
            }
            Undo::StartAgent(cluster) => AgentHost::start(&self.agents[cluster]),
            Undo::ResumeAgent(host) => lock(&host).resume(),
            Undo::Leave { cluster, number } => {
                if let Some(host) = self.others.get(&(cluster, number)) {
                    lock(host).crash(Death::Reset);
                }
            }
            Undo::Mend { cluster, brokers, directions } => {
                let agent = lock(&self.agents[cluster]).agent().clone();
                brokers
                    .into_iter()
                    .for_each(|broker| self.network.mend(&agent, broker, &directions));
            }
            Undo::Wake(connections) => self.network.release(&connections),
            Undo::Calm => self.network.set_weather(self.schedule.shape.weather()),
            Undo::StartBroker(host) => lock(&host).start(),
            Undo::ResumeBroker(host) => lock(&host).resume(),
            Undo::WakeGhosts(host) => {
                let woken = lock(&host).wake_ghosts();
                self.recorder
                    .fault("stop.broker_superseded", format!("{woken} stopped brokers go on"));
            }
            Undo::Store(trouble) => self.database.trouble(|troubles| set(troubles, trouble, None)),
            Undo::Route { broker, trouble } => {
                self.aws.reroute(broker, |route| reroute(route, trouble, None))
            }
            // The end clears all of them.
            Undo::Fault(rule) => drop(self.control.remove_fault(rule)),
            Undo::Extra(undo) => self.end_extra(undo),
            Undo::Cure { rule, name } => {
                drop(self.control.remove_fault(rule));
                self.recorder.note(What::Cured { name });
            }
        }
    }

    /// Every agent that reads this cluster's API.
    fn agents_of(&self, cluster: usize) -> Vec<Arc<Mutex<AgentHost>>> {
        let twin = self.others.get(&(cluster, 1));
        std::iter::once(&self.agents[cluster]).chain(twin).map(Arc::clone).collect()
    }

    fn change_cluster(&mut self, step: &Step) -> Option<Undo> {
        match step {
            Step::Want { cluster, object, wishes } => {
                self.set_object(*cluster, *object, Some(extraction(*object, wishes)));
                None
            }
            Step::Delete { cluster, object } => {
                self.set_object(*cluster, *object, None);
                None
            }
            Step::LoseStatus { cluster, object, .. } => {
                let known =
                    lock(&self.clusters[*cluster]).objects.get(&object.reference()).cloned()?;
                if known.endpoints.is_empty() {
                    return None;
                }
                // The object's wish is as before; only the agent cannot see where it points.
                lock(&self.clusters[*cluster])
                    .objects
                    .insert(object.reference(), without_status(&known));
                self.show(*cluster, *object);
                Some(Undo::Status { cluster: *cluster, object: *object, known })
            }
            Step::SourceFails { cluster, source, .. } => {
                let kind = SOURCES[*source % SOURCES.len()];
                if !lock(&self.clusters[*cluster]).failing.insert(kind) {
                    return None;
                }
                self.agents_of(*cluster).iter().for_each(|host| lock(host).fail(kind));
                Some(Undo::Source { cluster: *cluster, kind })
            }
            _ => None,
        }
    }

    /// The object's status comes back, unless the object was changed meanwhile.
    fn give_status_back(&mut self, cluster: usize, object: Object, known: Extraction) {
        let is_without = lock(&self.clusters[cluster]).objects.get(&object.reference())
            == Some(&without_status(&known));
        if is_without {
            lock(&self.clusters[cluster]).objects.insert(object.reference(), known);
            self.show(cluster, object);
        }
    }

    /// Writes an object, and the truth of what is wanted.
    fn set_object(&mut self, cluster: usize, object: Object, now: Option<Extraction>) {
        let id = cluster_id(cluster);
        let before = {
            let mut held = lock(&self.clusters[cluster]);
            let before = held.objects.remove(&object.reference());
            if let Some(now) = &now {
                held.objects.insert(object.reference(), now.clone());
            }
            before
        };
        let wanted: Vec<Endpoint> =
            now.into_iter().flat_map(|extraction| extraction.endpoints).collect();
        for key in self.wanted_keys(cluster, object, before) {
            if wanted.iter().all(|endpoint| endpoint.key != key) {
                self.recorder.note(What::Unwanted { cluster: id.clone(), key });
            }
        }
        for endpoint in wanted {
            self.recorder.note(What::Wanted { cluster: id.clone(), endpoint });
        }
        self.show(cluster, object);
    }

    /// The keys that an object wanted, also while its status shows nothing.
    fn wanted_keys(
        &self,
        cluster: usize,
        object: Object,
        before: Option<Extraction>,
    ) -> Vec<EndpointKey> {
        let hidden = self.undo.values().find_map(|undo| match undo {
            Undo::Status { cluster: of, object: named, known }
                if (*of, *named) == (cluster, object) =>
            {
                Some(known.clone())
            }
            _ => None,
        });
        let Some(before) = before else { return vec![] };
        let known = if before.endpoints.is_empty() { hidden.unwrap_or(before) } else { before };
        known.endpoints.into_iter().map(|endpoint| endpoint.key).collect()
    }

    fn show(&self, cluster: usize, object: Object) {
        self.agents_of(cluster).iter().for_each(|host| lock(host).watch(&object.reference()));
    }

    fn trouble_agent(&mut self, step: &Step) -> Option<Undo> {
        match step {
            Step::RestartAgent { cluster, going, .. } => {
                match going {
                    Going::Crash(death) => lock(&self.agents[*cluster]).crash(*death),
                    Going::Drain => AgentHost::drain(&self.agents[*cluster]),
                }
                Some(Undo::StartAgent(*cluster))
            }
            Step::Reconnect { cluster, death } => {
                lock(&self.agents[*cluster]).reconnect(*death);
                None
            }
            Step::PauseAgent { cluster, .. } => {
                let host = Arc::clone(&self.agents[*cluster]);
                lock(&host).pause();
                Some(Undo::ResumeAgent(host))
            }
            Step::Twin { cluster, .. } => self.join(*cluster, 1),
            Step::Impostor { cluster, .. } => {
                // The first to come under a name is the cluster of that name.
                let is_known = self
                    .database
                    .look(|tables| tables.clusters.contains_key(&cluster_id(*cluster)));
                if is_known { self.join(*cluster, 2) } else { None }
            }
            _ => None,
        }
    }

    fn join(&mut self, cluster: usize, number: u32) -> Option<Undo> {
        let host = match self.others.get(&(cluster, number)) {
            Some(host) => Arc::clone(host),
            None => self.new_agent(cluster, number),
        };
        if lock(&host).is_up() {
            return None;
        }
        AgentHost::start(&host);
        self.others.insert((cluster, number), host);
        Some(Undo::Leave { cluster, number })
    }

    fn trouble_network(&mut self, step: &Step) -> Option<Undo> {
        match step {
            Step::Cut { cluster, broker, directions, .. } => {
                let agent = lock(&self.agents[*cluster]).agent().clone();
                let brokers: Vec<u32> = broker
                    .map_or((0..self.schedule.shape.brokers).collect(), |broker| vec![broker]);
                self.recorder.fault(
                    "net.partition",
                    format!("{agent} and brokers {brokers:?}, {directions:?}"),
                );
                brokers.iter().for_each(|broker| self.network.cut(&agent, *broker, directions));
                Some(Undo::Mend { cluster: *cluster, brokers, directions: directions.clone() })
            }
            Step::Reset { cluster } => {
                let agent = lock(&self.agents[*cluster]).agent().clone();
                self.recorder.fault("net.reset", agent.to_string());
                self.network.reset(&agent);
                None
            }
            Step::Sleep { cluster, directions, .. } => {
                let agent = lock(&self.agents[*cluster]).agent().clone();
                self.recorder.fault("net.half_open", format!("{agent}, {directions:?}"));
                Some(Undo::Wake(self.network.hold(&agent, directions)))
            }
            Step::Storm { latency_ms, loss_percent, .. } => {
                self.recorder
                    .fault("net.storm", format!("{latency_ms:?} ms, {loss_percent} % lost"));
                self.network.set_weather(Weather {
                    latency_ms: *latency_ms,
                    loss: f64::from(*loss_percent) / 100.0,
                    ..self.schedule.shape.weather()
                });
                Some(Undo::Calm)
            }
            _ => None,
        }
    }

    fn trouble_broker(&mut self, step: &Step) -> Option<Undo> {
        match step {
            Step::RestartBroker { broker, going, .. } => {
                let host = Arc::clone(self.brokers.get(*broker as usize)?);
                match going {
                    Going::Crash(death) => lock(&host).crash(*death),
                    Going::Drain => lock(&host).drain(),
                }
                Some(Undo::StartBroker(host))
            }
            Step::PauseBroker { broker, .. } => {
                let host = Arc::clone(self.brokers.get(*broker as usize)?);
                self.recorder.fault("stop.broker", format!("broker {broker} stands still"));
                lock(&host).pause();
                Some(Undo::ResumeBroker(host))
            }
            Step::Supersede { broker, .. } => {
                let host = Arc::clone(self.brokers.get(*broker as usize)?);
                self.recorder.fault(
                    "stop.broker",
                    format!("broker {broker} stands still, and is started a second time"),
                );
                lock(&host).supersede();
                Some(Undo::WakeGhosts(host))
            }
            Step::Reconfigure { change } => {
                self.reconfigure(change);
                None
            }
            _ => None,
        }
    }

    fn reconfigure(&mut self, change: &Reconfiguration) {
        let mut config = (**self.config.borrow()).clone();
        match change {
            Reconfiguration::DefaultTtl(ttl_secs) => {
                let zones = config.accounts.iter_mut().flat_map(|account| &mut account.zones);
                zones.for_each(|zone| zone.default_ttl_secs = *ttl_secs);
            }
            Reconfiguration::DriftInterval(secs) => {
                config.accounts.iter_mut().for_each(|account| account.drift_interval_secs = *secs);
            }
            Reconfiguration::Cluster { cluster, registered } => {
                let id = cluster_id(*cluster);
                config.clusters.retain(|other| other.name != id);
                if *registered {
                    let first = self
                        .schedule
                        .shape
                        .config()
                        .clusters
                        .into_iter()
                        .find(|other| other.name == id);
                    config.clusters.extend(first);
                }
                self.recorder.note(What::Registered { cluster: id, registered: *registered });
            }
        }
        self.config.send_replace(Arc::new(config));
    }

    fn trouble_store(&mut self, trouble: StoreTrouble, percent: u8) -> Undo {
        self.database.trouble(|troubles| set(troubles, trouble, Some(f64::from(percent) / 100.0)));
        Undo::Store(trouble)
    }

    fn trouble_route(&mut self, broker: u32, trouble: RouteTrouble, percent: u8) -> Undo {
        self.aws.reroute(broker, |route| reroute(route, trouble, Some(f64::from(percent) / 100.0)));
        Undo::Route { broker, trouble }
    }

    fn effect_of(&self, account: usize, trouble: AwsTrouble) -> FaultEffect {
        let apex = self
            .schedule
            .shape
            .accounts
            .get(account)
            .and_then(|account| account.zones.first())
            .map_or("", |zone| zone.apex);
        let somebodys = |host: u8, value: u8| {
            let set = foreign_set(&format!("n{host}.{apex}"), &format!("203.0.113.{value}"));
            vec![RecordChange { action: ChangeAction::Create, set }]
        };
        let role_arn = self
            .schedule
            .shape
            .accounts
            .get(account)
            .map(|account| format!("arn:aws:iam::{}:role/zonefold", account.id));
        match trouble {
            AwsTrouble::Throttle => FaultEffect::Throttle {},
            AwsTrouble::Prior => FaultEffect::Prior {},
            AwsTrouble::ServerError(status) => FaultEffect::HttpError { status },
            AwsTrouble::Latency(most) => FaultEffect::Latency { min_ms: 100, max_ms: most },
            AwsTrouble::HangBeforeApply => FaultEffect::HangBeforeApply {},
            AwsTrouble::ApplyThenHang => FaultEffect::ApplyThenHang {},
            AwsTrouble::ApplyThenReset(after_bytes) => FaultEffect::ApplyThenReset { after_bytes },
            AwsTrouble::ResetBeforeApply => FaultEffect::ResetBeforeApply {},
            AwsTrouble::Truncate(bytes) => FaultEffect::TruncateBody { bytes },
            AwsTrouble::Garbage => FaultEffect::GarbageXml {},
            AwsTrouble::ExpiredToken => FaultEffect::ExpiredToken {},
            AwsTrouble::AccessDenied => FaultEffect::AccessDenied {},
            AwsTrouble::InvalidClientToken => FaultEffect::InvalidClientToken {},
            AwsTrouble::ClockSkew(skew_ms) => FaultEffect::ClockSkew { skew_ms },
            AwsTrouble::StsDown => FaultEffect::StsDown {},
            AwsTrouble::RoleRevoked => {
                FaultEffect::RoleRevoked { role_arn: role_arn.unwrap_or_default() }
            }
            AwsTrouble::FreezeZone => FaultEffect::FreezeZone {},
            AwsTrouble::Race { host, value } => {
                FaultEffect::ForeignWrite { when: Moment::Before, changes: somebodys(host, value) }
            }
            AwsTrouble::ListTear { host, value } => {
                FaultEffect::ListTear { changes: somebodys(host, value) }
            }
            AwsTrouble::ZoneQuota(quota) => FaultEffect::ZoneQuota { quota },
        }
    }

    fn poison(&mut self, host: &str) -> Option<Undo> {
        let name = DnsName::parse(host).ok()?;
        let message = format!(
            "Invalid Resource Record: FATAL problem: SimulatedPoison encountered with '{name}.'"
        );
        let effect = FaultEffect::PoisonRecord { name: name.clone(), rtype: None, message };
        let rule = self.control.add_fault(FaultRule::always(effect));
        self.recorder.note(What::Poisoned { name: name.clone() });
        Some(Undo::Cure { rule, name })
    }

    /// Writes the foreign record sets that are there before the first broker starts.
    pub(crate) fn write_foreign_beginnings(&mut self) {
        for (zone, host, value) in self.schedule.foreign.clone() {
            self.write_foreign(zone, &ForeignWrite::Create { host, value });
        }
    }

    fn write_foreign(&mut self, zone: usize, write: &ForeignWrite) {
        let Some((_, shape)) = self.schedule.shape.zones().nth(zone) else { return };
        let Some(id) = DnsName::parse(shape.apex).ok().and_then(|apex| self.public_zone(&apex))
        else {
            return;
        };
        let changes = match write {
            ForeignWrite::Create { host, value } => {
                vec![RecordChange { action: ChangeAction::Create, set: foreign_set(host, value) }]
            }
            ForeignWrite::Delete { place } => {
                let Some(set) = self.some_record(&id, *place) else { return };
                vec![RecordChange { action: ChangeAction::Delete, set }]
            }
            ForeignWrite::Change { place, value } => {
                let Some(set) = self.some_record(&id, *place) else { return };
                let mut after = set.clone();
                after.ttl_secs = Some(77);
                if matches!(&*after.rtype, "A") {
                    after.values = vec![value.as_str().into()];
                }
                let delete = RecordChange { action: ChangeAction::Delete, set };
                vec![delete, RecordChange { action: ChangeAction::Create, set: after }]
            }
        };
        // A write that does not fit is one that was never made.
        let from = self.last_journal_number();
        if self.control.foreign_write(&id, &changes).is_ok() {
            for entry in self.control.journal(from) {
                self.recorder.note(What::Applied { call: None, entry: Box::new(entry) });
            }
        }
    }

    fn public_zone(&self, apex: &DnsName) -> Option<ZoneId> {
        let zones = self.control.zones().into_iter();
        zones.filter(|zone| !zone.private).find(|zone| zone.name == *apex).map(|zone| zone.id)
    }

    fn last_journal_number(&self) -> u64 {
        self.control.journal(0).last().map_or(0, |entry| entry.number)
    }

    /// One of the records that are neither SOA nor NS.
    fn some_record(&self, zone: &ZoneId, place: usize) -> Option<RawRecordSet> {
        let records = self.control.records(zone, View::Accepted).ok()?;
        let mut records: Vec<RawRecordSet> =
            records.into_iter().filter(|set| !matches!(&*set.rtype, "SOA" | "NS")).collect();
        if records.is_empty() { None } else { Some(records.swap_remove(place % records.len())) }
    }
}

fn foreign_set(host: &str, value: &str) -> RawRecordSet {
    RawRecordSet {
        name: host.into(),
        rtype: "A".into(),
        ttl_secs: Some(60),
        values: vec![value.into()],
        ..RawRecordSet::default()
    }
}

fn set(troubles: &mut Troubles, trouble: StoreTrouble, chance: Option<f64>) {
    let value = chance.unwrap_or(0.0);
    match trouble {
        StoreTrouble::Outage if chance.is_some() => troubles.outages += 1,
        StoreTrouble::Outage => troubles.outages = troubles.outages.saturating_sub(1),
        StoreTrouble::Slow => troubles.slow = value,
        StoreTrouble::Refuse => troubles.refuse = value,
        StoreTrouble::LoseAnswers => troubles.lose_answer = value,
        StoreTrouble::LoseNotices => troubles.lose_notice = value,
    }
}

fn reroute(route: &mut Route, trouble: RouteTrouble, chance: Option<f64>) {
    let value = chance.unwrap_or(0.0);
    match trouble {
        RouteTrouble::Cut if chance.is_some() => route.cuts += 1,
        RouteTrouble::Cut => route.cuts = route.cuts.saturating_sub(1),
        RouteTrouble::Refuse => route.refuse = value,
        RouteTrouble::LoseRequests => route.lose_request = value,
        RouteTrouble::LoseAnswers => route.lose_answer = value,
        RouteTrouble::Delay => route.delay = value,
    }
}

fn name_of(trouble: AwsTrouble) -> &'static str {
    match trouble {
        AwsTrouble::Throttle => "aws.throttle",
        AwsTrouble::Prior => "aws.prior",
        AwsTrouble::ServerError(_) => "aws.http_error",
        AwsTrouble::Latency(_) => "aws.latency",
        AwsTrouble::HangBeforeApply => "aws.hang_before_apply",
        AwsTrouble::ApplyThenHang => "aws.apply_then_hang",
        AwsTrouble::ApplyThenReset(_) => "aws.apply_then_reset",
        AwsTrouble::ResetBeforeApply => "aws.reset_before_apply",
        AwsTrouble::Truncate(_) => "aws.truncate",
        AwsTrouble::Garbage => "aws.garbage",
        AwsTrouble::ExpiredToken => "aws.expired",
        AwsTrouble::AccessDenied => "aws.denied",
        AwsTrouble::InvalidClientToken => "aws.invalid_token",
        AwsTrouble::ClockSkew(_) => "aws.skew",
        AwsTrouble::StsDown => "aws.sts_down",
        AwsTrouble::RoleRevoked => "aws.role_revoked",
        AwsTrouble::FreezeZone => "aws.freeze",
        AwsTrouble::Race { .. } => "aws.foreign_race",
        AwsTrouble::ListTear { .. } => "aws.list_tear",
        AwsTrouble::ZoneQuota(_) => "aws.zone_quota",
    }
}
