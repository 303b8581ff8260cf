//! Histories made by hand, told a step at a time.

use std::sync::Arc;

use arcstr::ArcStr;
use uuid::Uuid;
use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::RawRecordSet;
use zonefold::core::endpoint::verdict::{Reason, VerdictState};
use zonefold::core::endpoint::{Endpoint, EndpointKey};
use zonefold::core::ids::{AccountId, BatchId, ClusterId, EnvironmentId, ZoneId};
use zonefold::core::invariants::Invariant;
use zonefold::core::limits::budget::BudgetConfig;
use zonefold::core::planning::change::{
    Action, Batch, BatchStamp, Cause, Change, Motive, Unit, WireChange,
};
use zonefold::core::planning::policy::{AdoptPolicy, DriftPolicy, ZonePolicy};
use zonefold::core::time::Timestamp;
use zonefold::emulator::{AppliedChange, ChangeAction, JournalEntry, Origin};
use zonefold::ports::BatchOutcome;

use super::history::*;
use super::oracle;

pub const ACCOUNT: &str = "111111111111";
pub const BROKER: Replica = Replica { slot: 0, life: 0 };
pub const SECOND: Replica = Replica { slot: 1, life: 0 };

pub fn account() -> AccountId {
    AccountId::parse(ACCOUNT).unwrap()
}

pub fn zone() -> ZoneId {
    ZoneId::parse("Z1").unwrap()
}

pub fn cluster(name: &str) -> ClusterId {
    ClusterId::parse(name).unwrap()
}

pub fn agent(name: &str) -> Agent {
    Agent { cluster: cluster(name), number: 0 }
}

pub fn dns(name: &str) -> DnsName {
    DnsName::parse(name).unwrap()
}

/// The endpoint of the object `<object>` that wants addresses at `<name>.example.com`.
pub fn wish(object: &str, name: &str, targets: &[&str]) -> Endpoint {
    Endpoint {
        key: EndpointKey {
            source: "dnsendpoint".into(),
            namespace: "default".into(),
            object: object.into(),
            dns_name: format!("{name}.example.com").into(),
            record_type: "A".into(),
            set_identifier: "".into(),
        },
        targets: targets.iter().map(|target| ArcStr::from(*target)).collect(),
        ..Endpoint::default()
    }
}

/// The record set of addresses at `<name>.example.com`, with the zone's TTL.
pub fn set(name: &str, targets: &[&str]) -> RawRecordSet {
    RawRecordSet {
        name: format!("{name}.example.com.").into(),
        rtype: "A".into(),
        ttl_secs: Some(300),
        values: targets.iter().map(|target| ArcStr::from(*target)).collect(),
        ..RawRecordSet::default()
    }
}

/// The change of one record set by a batch.
pub type Step = (Option<RawRecordSet>, Option<RawRecordSet>);

/// A history that grows. Everything happens a second after the one before, unless time is let pass.
#[derive(Clone)]
pub struct Story {
    pub history: History,
    now: i64,
    calls: u64,
    /// The lease epoch under which the brokers write.
    pub lease_epoch: u64,
}

impl Story {
    /// One account with one zone, `example.com`, and the clusters east and west of its environment; the first broker has the
    /// lease for an hour.
    pub fn new() -> Self {
        let environment = EnvironmentId::parse("prod").unwrap();
        let budget = BudgetConfig::profile_2026();
        let world = World {
            accounts: vec![Account { id: account(), environment: environment.clone(), budget }],
            zones: vec![Zone {
                private: false,
                id: zone(),
                account: account(),
                apex: dns("example.com"),
                policy: ZonePolicy::Sync,
                drift: DriftPolicy::Repair,
                adopt: AdoptPolicy::Never,
                default_ttl_secs: 300,
            }],
            clusters: ["east", "west"].map(|name| (cluster(name), environment.clone())).into(),
            sweep_ms: 60_000,
            poison_backoff_ms: 30_000,
            ..World::default()
        };
        let mut story = Self {
            history: History { world, ..History::default() },
            now: 0,
            calls: 0,
            lease_epoch: 1,
        };
        story.lease(BROKER, 1, LeaseChange::Taken { until: Timestamp(3_600_000) });
        story
    }

    pub fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }

    pub fn pass_ms(&mut self, ms: i64) {
        self.now += ms;
    }

    pub fn tell(&mut self, what: What) {
        self.pass_ms(1_000);
        self.tell_at_once(what);
    }

    pub fn tell_at_once(&mut self, what: What) {
        self.history.log.push(Event { at: Timestamp(self.now), what });
    }

    pub fn lease(&mut self, replica: Replica, epoch: u64, change: LeaseChange) {
        self.tell(What::Lease { account: account(), replica, epoch, change });
    }

    pub fn starts(&mut self, name: &str) {
        self.tell(What::Started(Part::Agent(agent(name))));
    }

    pub fn syncs(&mut self, name: &str, synced: bool) {
        self.tell(What::Saw {
            agent: agent(name),
            sight: Sight::Source { kind: "dnsendpoint".to_owned(), synced },
        });
    }

    pub fn sees(&mut self, name: &str, endpoint: &Endpoint) {
        self.tell(What::Saw { agent: agent(name), sight: Sight::Put(endpoint.clone()) });
    }

    /// The object goes, or names the host no more, and the agent sees it.
    pub fn sees_gone(&mut self, name: &str, endpoint: &Endpoint) {
        self.loses(name, endpoint);
        self.says_gone(name, endpoint);
    }

    /// The object goes, or names the host no more.
    pub fn loses(&mut self, name: &str, endpoint: &Endpoint) {
        self.tell(What::Unwanted { cluster: cluster(name), key: endpoint.key.clone() });
    }

    /// The agent says that it is gone.
    pub fn says_gone(&mut self, name: &str, endpoint: &Endpoint) {
        self.tell(What::Saw { agent: agent(name), sight: Sight::Del(endpoint.key.clone()) });
    }

    pub fn opens(&mut self, name: &str, epoch: u64) {
        let commit = Commit::Session {
            cluster: cluster(name),
            epoch,
            kube_system_uid: format!("uid-{name}"),
        };
        self.tell(What::Committed { replica: Some(BROKER), lease_epoch: None, commit });
    }

    /// The session commits an endpoint.
    pub fn stores(&mut self, name: &str, epoch: u64, endpoint: &Endpoint) {
        self.commits(name, epoch, RowChange::Stored(endpoint.clone()));
    }

    /// The session commits a deletion.
    pub fn removes(&mut self, name: &str, epoch: u64, endpoint: &Endpoint) {
        self.commits(name, epoch, RowChange::Removed(endpoint.key.clone()));
    }

    fn commits(&mut self, name: &str, epoch: u64, row: RowChange) {
        let commit = Commit::Ingest {
            cluster: cluster(name),
            epoch,
            newest_epoch: epoch,
            seq: 1,
            rows: vec![row],
        };
        self.tell(What::Committed { replica: Some(BROKER), lease_epoch: None, commit });
    }

    pub fn sends(&mut self, name: &str, epoch: u64, seq: u64, op: Op) {
        self.tell(What::Sent { agent: agent(name), epoch, seq, ops: vec![op] });
    }

    pub fn acks(&mut self, name: &str, epoch: u64, seq: u64) {
        self.tell(What::Acked { agent: agent(name), epoch, seq });
    }

    /// A batch for an endpoint of a cluster, not journalled yet.
    pub fn batch(&self, number: u128, by: &str, endpoint: &Endpoint, steps: &[Step]) -> Batch {
        let cause = Cause::new(Motive::Wanted, cluster(by), vec![endpoint.key.clone()]);
        let change = |(before, after): &Step| Change {
            key: before.as_ref().or(after.as_ref()).unwrap().key().unwrap(),
            before: before.clone(),
            after: after.clone(),
            cause: cause.clone(),
        };
        let deletes = steps
            .iter()
            .filter_map(|(before, _)| before.clone())
            .map(|set| WireChange { action: Action::Delete, set });
        let creates = steps
            .iter()
            .filter_map(|(_, after)| after.clone())
            .map(|set| WireChange { action: Action::Create, set });
        Batch {
            id: BatchId(Uuid::from_u128(number)),
            account: account(),
            zone: zone(),
            planned_at: self.now(),
            stamp: BatchStamp::default(),
            units: vec![Unit { changes: steps.iter().map(change).collect() }],
            wire: deletes.chain(creates).collect(),
        }
    }

    pub fn begins(&mut self, batch: &Batch) {
        let commit = Commit::BatchBegun(Box::new(batch.clone()));
        self.tell(What::Committed {
            replica: Some(BROKER),
            lease_epoch: Some(self.lease_epoch),
            commit,
        });
    }

    pub fn finishes(&mut self, batch: &Batch, outcome: BatchOutcome) {
        let commit = Commit::BatchFinished { batch: batch.id, outcome: outcome.clone() };
        self.tell(What::Committed {
            replica: Some(BROKER),
            lease_epoch: Some(self.lease_epoch),
            commit,
        });
        self.history.end.batches.push(StoredBatch { batch: batch.clone(), outcome: Some(outcome) });
    }

    /// A broker starts the call of a batch; answers its number.
    pub fn calls(&mut self, replica: Replica, batch: &Batch) -> u64 {
        self.calls += 1;
        let mut names: Vec<DnsName> =
            batch.changes().map(|change| change.key.name.clone()).collect();
        names.sort();
        names.dedup();
        self.tell(What::CallStarted(Call {
            number: self.calls,
            replica,
            lease_epoch: Some(self.lease_epoch),
            account: account(),
            action: "ChangeResourceRecordSets",
            zone: Some(zone()),
            batch: Some(batch.id),
            changes: u32::try_from(batch.wire.len()).unwrap(),
            names,
        }));
        self.calls
    }

    /// A call that reads; it arrives and ends at once.
    pub fn reads(&mut self, replica: Replica) {
        self.calls += 1;
        let number = self.calls;
        self.tell_at_once(What::CallStarted(Call {
            number,
            replica,
            lease_epoch: Some(self.lease_epoch),
            account: account(),
            action: "ListResourceRecordSets",
            zone: Some(zone()),
            batch: None,
            changes: 0,
            names: vec![],
        }));
        self.tell_at_once(What::CallArrived { call: number, granted: true });
        self.tell_at_once(What::CallEnded { call: number, outcome: "status 200".to_owned() });
    }

    pub fn arrives(&mut self, call: u64) {
        self.tell(What::CallArrived { call, granted: true });
    }

    pub fn ends(&mut self, call: u64, outcome: &str) {
        self.tell(What::CallEnded { call, outcome: outcome.to_owned() });
    }

    /// AWS applies what a batch says.
    pub fn applies(&mut self, call: Option<u64>, batch: &Batch) {
        let comment = Some(format!("zonefold {}", batch.id));
        let changes = batch.wire.iter().map(|change| match change.action {
            Action::Delete => applied(ChangeAction::Delete, Some(&change.set), None),
            Action::Create => applied(ChangeAction::Create, None, Some(&change.set)),
        });
        self.journals(call, Origin::Request, comment, changes.collect());
    }

    /// Another writer writes.
    pub fn others_write(&mut self, before: Option<&RawRecordSet>, after: Option<&RawRecordSet>) {
        let action = if after.is_some() { ChangeAction::Upsert } else { ChangeAction::Delete };
        self.journals(None, Origin::Foreign, None, vec![applied(action, before, after)]);
    }

    pub fn journals(
        &mut self,
        call: Option<u64>,
        origin: Origin,
        comment: Option<String>,
        changes: Vec<AppliedChange>,
    ) {
        self.pass_ms(1_000);
        let records = self.history.end.zones.entry(zone()).or_default();
        for change in &changes {
            records.retain(|set| Some(set) != change.before.as_deref());
            records.extend(change.after.as_deref().cloned());
        }
        let entry = JournalEntry {
            number: 1,
            at: self.now(),
            origin,
            account: account(),
            principal: "somebody".to_owned(),
            request_id: "request".to_owned(),
            zone: zone(),
            zone_name: dns("example.com"),
            change_id: format!("C{}", self.history.log.len()),
            comment,
            body_sha256: String::new(),
            changes,
        };
        self.tell_at_once(What::Applied { call, entry: Box::new(entry) });
    }

    /// The whole way of a batch by the first broker, with everything in order.
    pub fn publishes(&mut self, number: u128, by: &str, endpoint: &Endpoint, steps: &[Step]) {
        let batch = self.batch(number, by, endpoint, steps);
        self.begins(&batch);
        let call = self.calls(BROKER, &batch);
        self.arrives(call);
        self.applies(Some(call), &batch);
        self.ends(call, "ok");
        let applied = self.history.log.iter().rev().find_map(|event| match &event.what {
            What::Applied { entry, .. } => Some(entry.change_id.clone()),
            _ => None,
        });
        self.finishes(
            &batch,
            BatchOutcome::Applied { change_id: applied.unwrap(), request_id: None },
        );
    }

    /// An agent comes to see and hold an endpoint, and it is stored.
    pub fn wants(&mut self, name: &str, epoch: u64, endpoint: &Endpoint) {
        self.tell(What::Wanted { cluster: cluster(name), endpoint: endpoint.clone() });
        self.sees(name, endpoint);
        self.stores(name, epoch, endpoint);
    }

    /// The endpoint is stored at the end, with its verdict.
    pub fn keeps(
        &mut self,
        name: &str,
        arrival: i64,
        endpoint: &Endpoint,
        verdict: (VerdictState, Reason),
    ) {
        self.history.end.endpoints.push(StoredEndpoint {
            cluster: cluster(name),
            arrival,
            key: endpoint.key.hash(),
            version: endpoint.version(),
            endpoint: endpoint.clone(),
            octets: 50,
            withheld: None,
            verdict: Some(verdict),
        });
    }

    /// The agent runs at the end, holds the endpoint and was sent this status of it.
    pub fn knows(
        &mut self,
        name: &str,
        endpoint: &Endpoint,
        verdict: VerdictState,
        reason: Reason,
        progress: Progress,
    ) {
        let held = self.history.end.agents.entry(agent(name)).or_default();
        held.live = true;
        held.endpoints.push(endpoint.clone());
        held.statuses.push(Status {
            key: endpoint.key.clone(),
            version: Some(endpoint.version()),
            verdict: Some(verdict),
            reason: reason.as_str().to_owned(),
            message: String::new(),
            progress,
        });
    }

    /// Everything is quiet for `ms`, and then the run ends.
    pub fn is_quiet_for_ms(&mut self, ms: i64) {
        self.tell(What::Healed);
        self.tell(What::Quiet);
        self.pass_ms(ms);
        self.history.end.at = self.now();
    }

    /// The record set is in the book at the end.
    pub fn notes(&mut self, set: &RawRecordSet) {
        self.history.end.book.entry(zone()).or_default().push(set.clone());
    }

    /// The oracle's findings about an invariant.
    pub fn judged(&self, invariant: Invariant) -> Vec<String> {
        oracle::judge_one(&self.history, invariant)
            .into_iter()
            .map(|violation| violation.what)
            .collect()
    }

    /// Nothing is broken.
    #[track_caller]
    pub fn is_sound(&self) {
        let violations = oracle::judge(&self.history);
        assert!(violations.is_empty(), "{violations:#?}");
    }

    /// This one is broken, and the evidence has the words.
    #[track_caller]
    pub fn breaks(&self, invariant: Invariant, words: &str) {
        let violations = self.judged(invariant);
        assert!(
            violations.iter().any(|what| what.contains(words)),
            "{words:?} is not in {violations:#?}"
        );
    }

    /// This one is not broken, whatever else is.
    #[track_caller]
    pub fn keeps_to(&self, invariant: Invariant) {
        let violations = self.judged(invariant);
        assert!(violations.is_empty(), "{violations:#?}");
    }
}

pub fn applied(
    action: ChangeAction,
    before: Option<&RawRecordSet>,
    after: Option<&RawRecordSet>,
) -> AppliedChange {
    let shared = |set: Option<&RawRecordSet>| set.cloned().map(Arc::new);
    AppliedChange { action, before: shared(before), after: shared(after) }
}
