//! The state of one zone: the desired and observed record sets of each name, and what follows from the two.
//!
//! Plain state and synchronous functions: nothing here calls, waits or reads a clock.

pub(in crate::broker::worker) mod apart;
pub(in crate::broker::worker) mod around;
pub(in crate::broker::worker) mod backlog;
pub(in crate::broker::worker) mod claims;
pub(in crate::broker::worker) mod compare;
pub(in crate::broker::worker) mod crowd;
pub(in crate::broker::worker) mod dirty_claims;
pub(in crate::broker::worker) mod guarded;
pub(in crate::broker::worker) mod handed;
mod held_back;
pub(in crate::broker::worker) mod holds;
pub(in crate::broker::worker) mod name_state;
pub(in crate::broker::worker) mod owned;
pub(in crate::broker::worker) mod quota;
pub(in crate::broker::worker) mod reader;
pub(in crate::broker::worker) mod refusals;
pub(in crate::broker::worker) mod reviews;
pub(in crate::broker::worker) mod search;
pub(in crate::broker::worker) mod statuses;
mod why;
pub(in crate::broker::worker) mod work;

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::ops::Bound;
use std::sync::Arc;

use crate::broker::directory::PlacementRole;
use crate::broker::directory::entry::{EndpointEntry, Status, StatusCache};
use crate::broker::directory::interner::Interner;
use crate::core::batch::check::{Violation, check};
use crate::core::batch::fold;
use crate::core::dns::name::DnsName;
use crate::core::dns::record::{RawRecordSet, RecordKey, RecordType};
use crate::core::endpoint::packed::PackedRecord;
use crate::core::ids::{BatchId, ClusterId};
use crate::core::planning::change::{Batch, Unit};
use crate::core::planning::claims::{NameDecision, NameInput, ZoneContext, decide_name};
use crate::core::planning::plan::{NamePlan, Observed, Ownership, PlanInput, plan};
use crate::core::planning::policy::ZoneSettings;
use crate::core::planning::tally::CountedName;
use crate::core::release::guarded::Guarded;
use crate::core::time::Timestamp;
use crate::ports::{ClaimRow, ClaimWrite, RecordRow, RecordWrite};
use around::WaitingFor;
use crowd::Crowds;
use dirty_claims::DirtyClaims;
use holds::HeldNames;
use name_state::{Claim, Mark, NameState, Sighting};
use owned::OwnedNames;
use quota::ZoneQuota;
use refusals::{Refusal, Refusals};
use statuses::LookedAt;
pub use why::NameReport;

/// A record set that a lost call of ours may still create or delete.
#[derive(Clone, Debug)]
pub(super) struct Late {
    /// As the call makes it, or is to find it: Route 53 deletes nothing else.
    pub(super) raw: RawRecordSet,
    pub(super) owner: Ownership,
    pub(super) until: Timestamp,
    /// Another set of the call was seen: the call was carried out, and this set was there too.
    pub(super) has_come: bool,
}

/// The result of a look at a name.
#[derive(Debug, Default)]
pub struct Review {
    /// The statuses of its endpoints.
    pub statuses: Vec<(EndpointEntry, Arc<Status>)>,
    /// The work that could be sent now: the cluster that it is for, and its cost in change tokens.
    pub work: Option<(ClusterId, u32)>,
    /// Sets that change hands without a call.
    pub adopted: Vec<RecordWrite>,
    /// Other names to look at, since they wait for this one.
    pub others: BTreeSet<DnsName>,
    /// What guards count of all that is planned.
    pub counted: Option<CountedName>,
}

/// Counts of a zone's record sets and refusals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneCounts {
    /// Record sets observed.
    pub records: usize,
    /// Of those, made by Zonefold.
    pub owned: usize,
    /// Changes that Route 53 refused and that wait for their content to change.
    pub refused: usize,
    /// Our sets that another writer changed or removed.
    pub drifted: usize,
}

/// See the module's page.
pub struct ZoneState {
    /// Account, zone and apex.
    pub context: ZoneContext,
    /// The settings of the zone.
    pub settings: ZoneSettings,
    /// The state of each name.
    pub(super) names: BTreeMap<DnsName, NameState>,
    /// Claims whose stored form is older than this one.
    pub(super) dirty_claims: DirtyClaims,
    /// Names that wait for records or decisions of other names.
    waiting_for: WaitingFor,
    /// The names below the apex with an NS record set.
    delegations: BTreeSet<DnsName>,
    /// Endpoints beyond the bound of a name.
    crowds: Crowds,
    /// Changes that Route 53 refused, and when each is retried.
    refusals: Refusals,
    /// What guards hold in the account.
    pub(in crate::broker::worker) guarded: Arc<Guarded>,
    /// How many names hold sets of ours.
    owned: OwnedNames,
    /// Names of which guards hold something.
    pub(in crate::broker::worker) held: HeldNames,
    /// Whether the zone is full.
    pub(in crate::broker::worker) quota: ZoneQuota,
    /// Record sets that lost calls of ours may still create.
    pub(super) late: HashMap<RecordKey, Vec<Late>>,
    /// Record sets that lost calls of ours may still delete.
    pub(super) late_deletions: HashMap<RecordKey, Vec<Late>>,
    /// How many names and sets are in which state.
    counts: ZoneCounts,
    /// Equal statuses, kept once.
    statuses: StatusCache,
    /// Record sets that several names hold alike.
    records: Interner,
}

/// One owner for all sets that one batch made for one cluster.
#[derive(Default)]
struct Owners(HashMap<(BatchId, ClusterId), Arc<Ownership>>);

impl Owners {
    fn share(&mut self, owner: Ownership) -> Arc<Ownership> {
        let id = (owner.batch, owner.cluster.clone());
        Arc::clone(self.0.entry(id).or_insert_with(|| Arc::new(owner)))
    }
}

/// The first record key of a unit: what a unit is known by while its content changes.
pub fn unit_key(unit: &Unit) -> Option<&RecordKey> {
    unit.changes.first().map(|change| &change.key)
}

fn fingerprint(unit: &Unit) -> u64 {
    let mut hasher = DefaultHasher::new();
    for change in &unit.changes {
        change.before.hash(&mut hasher);
        change.after.hash(&mut hasher);
    }
    hasher.finish()
}

impl ZoneState {
    /// An empty zone state.
    pub fn new(context: ZoneContext, settings: ZoneSettings) -> Self {
        Self {
            context,
            settings,
            names: BTreeMap::new(),
            dirty_claims: DirtyClaims::default(),
            waiting_for: WaitingFor::default(),
            delegations: BTreeSet::new(),
            crowds: Crowds::default(),
            refusals: Refusals::default(),
            guarded: Arc::default(),
            owned: OwnedNames::default(),
            held: HeldNames::default(),
            quota: ZoneQuota::default(),
            late: HashMap::new(),
            late_deletions: HashMap::new(),
            counts: ZoneCounts::default(),
            statuses: StatusCache::default(),
            records: Interner::default(),
        }
    }

    /// Takes a stored claim at start, once the records are there.
    pub fn load_claim(&mut self, row: ClaimRow) {
        self.names.entry(row.name).or_default().claim =
            Some(Claim { cluster: row.cluster, since: row.since });
    }

    /// Takes the stored records at start, all of them, in list order. The tree is built at once, so that its nodes are full.
    pub fn load_records(&mut self, rows: impl Iterator<Item = RecordRow>) {
        let mut names: Vec<(DnsName, NameState)> = vec![];
        let mut owners = Owners::default();
        for row in rows {
            let RecordRow { key, raw, owner, drift, .. } = row;
            let owner = owner.map(|owner| owners.share(owner));
            let record = self.share(raw);
            let sighting = Sighting::new(&key, record, owner, drift);
            count(&mut self.counts, &sighting, |n| *n += 1);
            self.note_delegation(&key, Some(&sighting));
            match names.last_mut().filter(|(name, _)| *name == key.name) {
                Some((_, state)) => drop(self.owned.observe(state, &key, Some(sighting))),
                None => {
                    let mut state = NameState::default();
                    self.owned.observe(&mut state, &key, Some(sighting));
                    names.push((key.name, state));
                }
            }
        }
        let mut loaded: BTreeMap<DnsName, NameState> = names.into_iter().collect();
        self.names.append(&mut loaded);
    }

    /// The names after one of them, for a look at everything.
    pub fn names_after(&self, after: Option<&DnsName>, limit: usize) -> Vec<DnsName> {
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.names
            .range((lower, Bound::Unbounded))
            .take(limit)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// How many names hold sets of ours.
    pub fn owned(&self) -> &OwnedNames {
        &self.owned
    }

    /// The zone's counts.
    pub fn counts(&self) -> ZoneCounts {
        ZoneCounts { refused: self.refusals.len(), ..self.counts }
    }

    /// Takes a contribution, newly or with new content.
    pub fn contribute(&mut self, name: &DnsName, held: EndpointEntry, role: PlacementRole) {
        let arrival = held.arrival();
        let state = self.names.entry(name.clone()).or_default();
        self.crowds.put(name, &mut state.contributions, held);
        state.set_role(arrival, role);
    }

    /// Ends a contribution.
    pub fn withdraw(&mut self, name: &DnsName, held: &EndpointEntry) {
        let Some(state) = self.names.get_mut(name) else { return };
        state.set_role(held.arrival(), PlacementRole::Publishes);
        if self.crowds.remove(name, &mut state.contributions, held) {
            state.depart(held.cluster().clone(), held.key());
        }
    }

    /// Looks at a name: its owner, its plan, and the statuses of its endpoints.
    pub fn review(
        &mut self,
        name: &DnsName,
        now: Timestamp,
        pending_detail: &str,
        expected_at: Option<Timestamp>,
    ) -> Review {
        let Some((decision, plan, claim_stands)) = self.decide(name) else {
            self.held.looked_at(&self.context.placement.zone, name, &[], now);
            return Review::default();
        };
        if !claim_stands {
            self.settle_claim(name, &decision, now);
        }
        let others = self.follow(name, &decision, &plan);
        self.rest_refusals(name, &plan, now);
        self.hold_creations(name, &plan, now);
        let (ready, held_back) = self.sift(&plan.units, now);
        self.held.looked_at(&self.context.placement.zone, name, &held_back, now);
        let adopted = self.adopt(&decision, &plan.adopted, now);
        let counted = self.counted(&plan.units, now);
        let mut review = Review { adopted, others, counted, ..Review::default() };
        if ready.is_empty() {
            self.dirty_claims.leave_alone(name);
        }
        let cost: u32 = ready.iter().map(|unit| fold::cost(unit).change_tokens).sum();
        if let Some(cluster) = ready.first().and_then(|unit| unit.cluster()) {
            review.work = Some((cluster.clone(), cost.max(1)));
        }
        let told =
            LookedAt { decision: &decision, plan: &plan, ready: &ready, held_back: &held_back };
        review.statuses = self.statuses(name, &told, pending_detail, expected_at);
        // A name whose endpoints were told something has endpoints.
        if review.statuses.is_empty() && self.names.get(name).is_some_and(NameState::is_empty) {
            self.names.remove(name);
        }
        review
    }

    /// The units that could be sent for a name now. They and the claim follow from what is wanted now, even if the name was not
    /// looked at since that changed.
    pub fn units(&mut self, name: &DnsName, now: Timestamp) -> Vec<Unit> {
        let Some((decision, plan, claim_stands)) = self.decide(name) else { return vec![] };
        if !claim_stands {
            self.settle_claim(name, &decision, now);
        }
        self.hold_creations(name, &plan, now);
        let (ready, _) = self.sift(&plan.units, now);
        ready.into_iter().cloned().collect()
    }

    /// Decides a name, and says whether its claim is right as it stands: as a rule it is, and the name need not be found again.
    fn decide(&self, name: &DnsName) -> Option<(NameDecision, NamePlan, bool)> {
        let state = self.names.get(name)?;
        let claimed_by = state.claim.as_ref().map(|claim| &claim.cluster);
        let contributions = state.to_contributions();
        let observed = state.to_observed(name);
        let decision = decide_name(&NameInput {
            zone: &self.context,
            name,
            claimed_by,
            claimed_since: state.claim.as_ref().map(|claim| claim.since),
            contributions: &contributions,
            observed: &observed,
            around: &self.around(),
        });
        let plan = plan(&PlanInput {
            zone: &self.context,
            policy: self.settings.policy,
            drift: self.settings.drift,
            adopt: self.settings.adopt,
            name,
            decision: &decision,
            contributions: &contributions,
            observed: &observed,
            departed: state.departed(),
            target_exists: &|target, rtype| self.holds(target, rtype),
        });
        let claim_stands = match &decision.holder {
            Some(holder) => claimed_by == Some(holder),
            None => !(contributions.is_empty() && state.owns_nothing()),
        };
        Some((decision, plan, claim_stands))
    }

    fn holds(&self, name: &DnsName, rtype: RecordType) -> bool {
        let sightings =
            self.names.get(name).map(|state| state.observed.as_slice()).unwrap_or_default();
        sightings.iter().any(|sighting| sighting.is_of(rtype) && sighting.is_there())
    }

    /// Notes which refused changes of a name are still planned.
    fn rest_refusals(&mut self, name: &DnsName, plan: &NamePlan, now: Timestamp) {
        let is_planned =
            |key: &RecordKey| plan.units.iter().any(|unit| unit_key(unit) == Some(key));
        self.refusals.wanted_are(name, is_planned, now);
    }

    /// Notes a name with something that a full zone does not accept now.
    fn hold_creations(&mut self, name: &DnsName, plan: &NamePlan, now: Timestamp) {
        if plan.units.iter().any(|unit| self.quota.holds_unit(unit, now).is_some()) {
            self.quota.hold(name);
        }
    }

    /// The message for a unit that a full zone does not accept now.
    pub(super) fn is_held(&self, unit: &Unit, now: Timestamp) -> Option<Refusal> {
        let (message, retry_at) = self.quota.holds_unit(unit, now)?;
        Some(Refusal {
            fingerprint: fingerprint(unit),
            failures: 0,
            retry_at,
            message: format!(
                "the zone {} is full, so additions wait: delete record sets there, or have its quota raised at AWS; Route 53 says: {message}",
                self.context.apex
            ),
        })
    }

    fn adopt(
        &mut self,
        decision: &NameDecision,
        keys: &[RecordKey],
        now: Timestamp,
    ) -> Vec<RecordWrite> {
        let Some(holder) = decision.holder.clone() else { return vec![] };
        // No batch wrote it: the nil id says that it was taken over as it was.
        let owner = Arc::new(Ownership { cluster: holder, batch: BatchId(uuid::Uuid::nil()) });
        let mut writes = vec![];
        for key in keys {
            let Some(record) = self.sighting(key).map(|sighting| sighting.record.clone()) else {
                continue;
            };
            let sighting = Sighting::new(key, record, Some(Arc::clone(&owner)), None);
            writes.push(RecordWrite::Put(sighting.row(key.clone(), now)));
            self.observe(key, Some(sighting));
        }
        writes
    }

    /// Takes a batch that Route 53 applied; returns the observed record sets and the claims that end with it.
    pub fn applied(
        &mut self,
        batch: &Batch,
        change_id: Option<&str>,
        sequence: u64,
        now: Timestamp,
    ) -> (Vec<RecordWrite>, Vec<ClaimWrite>) {
        let mut writes = vec![];
        let mut owners = Owners::default();
        for change in batch.changes() {
            self.refusals.remove(&change.key);
            match &change.after {
                Some(raw) => {
                    let owner = owners.share(Ownership {
                        cluster: change.cause.cluster.clone(),
                        batch: batch.id,
                    });
                    let sighting = Sighting::new(
                        &change.key,
                        self.share(PackedRecord::pack(&change.key, raw)),
                        Some(owner),
                        None,
                    );
                    writes.push(RecordWrite::Put(sighting.row(change.key.clone(), now)));
                    self.observe(&change.key, Some(sighting));
                }
                None => {
                    writes.push(RecordWrite::Remove(change.key.clone()));
                    self.observe(&change.key, None);
                }
            }
        }
        let names: BTreeSet<DnsName> =
            batch.changes().map(|change| change.key.name.clone()).collect();
        let added = batch.changes().filter(|change| change.before.is_none()).count();
        let gone = batch.changes().filter(|change| change.after.is_none()).count();
        self.quota.applied(added, gone, now);
        let mut releases = vec![];
        for name in names {
            let Some(state) = self.names.get_mut(&name) else { continue };
            state.applied(Mark { change_id: change_id.map(str::to_owned), sequence });
            let free = state.contributions.is_empty() && state.owns_nothing();
            if free && state.claim.take().is_some() {
                self.dirty_claims.forget(&name);
                releases.push(ClaimWrite::Release { zone: self.context.zone().clone(), name });
            }
        }
        (writes, releases)
    }

    /// Names that an earlier life changed wait for that to be in sync.
    pub fn await_sync(
        &mut self,
        names: &BTreeSet<DnsName>,
        change_id: Option<&str>,
        sequence: u64,
    ) {
        for name in names {
            if let Some(state) = self.names.get_mut(name) {
                state.applied(Mark { change_id: change_id.map(str::to_owned), sequence });
            }
        }
    }

    /// Everything up to a change is INSYNC; returns whether the name was waiting for that.
    pub fn in_sync(&mut self, name: &DnsName, up_to: u64) -> bool {
        self.names.get_mut(name).is_some_and(|state| state.in_sync(up_to))
    }

    /// Notes that Route 53 refused a unit for its content.
    pub fn refuse(&mut self, unit: &Unit, message: String, now: Timestamp) {
        if let Some(key) = unit_key(unit) {
            self.refusals.refuse(key, fingerprint(unit), message, now);
        }
    }

    /// When the next refused unit is to be tried again; it may lie in the past.
    pub fn next_retry(&self) -> Option<Timestamp> {
        self.refusals.next_retry().into_iter().chain(self.quota.next_retry()).min()
    }

    /// The names with refused units whose time has come, each once: the caller looks at them.
    pub fn take_due_retries(&mut self, now: Timestamp) -> BTreeSet<DnsName> {
        let mut due = self.refusals.take_due(now);
        due.append(&mut self.quota.take_due(now));
        due
    }

    /// Reads a batch that is about to be sent once more, by what is known now.
    ///
    /// # Errors
    /// All that must not be sent in it.
    pub fn check(&self, batch: &Batch) -> Result<(), Vec<Violation>> {
        let ZoneSettings { policy, adopt, .. } = self.settings;
        check(batch, &self.context, policy, adopt, &self.guarded, |key| self.observed(key))
    }

    /// The observed record set under a key.
    pub fn observed(&self, key: &RecordKey) -> Option<Observed> {
        self.sighting(key).map(|sighting| sighting.observed(key))
    }

    /// Many names point to one load balancer: their record sets are held once.
    fn share(&mut self, record: PackedRecord) -> PackedRecord {
        let shared = self.records.share(record.as_bytes());
        record.sharing(shared)
    }

    pub(super) fn sighting(&self, key: &RecordKey) -> Option<&Sighting> {
        self.names.get(&key.name)?.sighting(key)
    }

    /// The observed records after a key, in list order.
    pub fn records(&self, after: Option<&RecordKey>, limit: usize) -> Vec<(RecordKey, Observed)> {
        let lower = after.map_or(Bound::Unbounded, |key| Bound::Included(key.name.clone()));
        let all = self
            .names
            .range((lower, Bound::Unbounded))
            .flat_map(|(name, state)| state.to_observed(name));
        all.filter(|(key, _)| after.is_none_or(|after| key > after)).take(limit).collect()
    }

    pub(super) fn observe(&mut self, key: &RecordKey, sighting: Option<Sighting>) {
        if let Some(new) = &sighting {
            count(&mut self.counts, new, |n| *n += 1);
        }
        self.note_delegation(key, sighting.as_ref());
        let state = self.names.entry(key.name.clone()).or_default();
        let old = self.owned.observe(state, key, sighting);
        if let Some(old) = old {
            count(&mut self.counts, &old, |n| *n -= 1);
        }
    }
}

fn count(counts: &mut ZoneCounts, sighting: &Sighting, step: impl Fn(&mut usize)) {
    if sighting.is_there() {
        step(&mut counts.records);
    }
    if sighting.owner.is_some() {
        step(&mut counts.owned);
    }
    if sighting.drift().is_some() {
        step(&mut counts.drifted);
    }
}

#[cfg(test)]
mod tests;
