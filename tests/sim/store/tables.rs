//! The tables. Each method is a transaction: all of it, or nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::RecordKey;
use zonefold::core::endpoint::packed::PackedEndpoint;
use zonefold::core::endpoint::{KeyHash, Version};
use zonefold::core::governance::handover::{Handover, HandoverReport};
use zonefold::core::ids::{AccountId, BatchId, ClusterId, Epoch, ZoneId};
use zonefold::core::planning::change::{Batch, Cause, Change};
use zonefold::core::planning::placement::PlacementDecision;
use zonefold::core::release::request::ReleaseRequest;
use zonefold::core::time::{Millis, Timestamp};
use zonefold::ports::*;

use super::leases::LeaseTable;
use crate::history::{Commit, RowChange};

/// A batch of the journal, with its changes' numbers.
#[derive(Clone, Debug)]
pub struct JournalRow {
    /// The batch, and how it ended.
    pub row: BatchRow,
    /// The id of its first change.
    first_change: i64,
}

/// The reference of an entry of the feed.
#[derive(Clone, Debug)]
pub enum Reference {
    Endpoints(Vec<(ClusterId, KeyHash, Option<i64>)>),
    Placements(Vec<i64>),
    News(News),
}

/// The result of an ingest.
pub struct Ingested {
    /// The answers.
    pub outcomes: Vec<IngestOutcome>,
    /// The commits, for the log.
    pub commits: Vec<Commit>,
}

/// See the module's page.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Clusters and their sessions.
    pub clusters: BTreeMap<ClusterId, ClusterRow>,
    /// By arrival.
    pub endpoints: BTreeMap<i64, EndpointRow>,
    by_key: BTreeMap<(ClusterId, KeyHash), i64>,
    last_arrival: i64,
    /// The accounts whose zones were listed.
    pub listed: BTreeSet<AccountId>,
    /// Zones of all accounts.
    pub zones: BTreeMap<ZoneId, ZoneRow>,
    /// Observed records.
    pub records: BTreeMap<ZoneId, BTreeMap<RecordKey, RecordRow>>,
    /// The owner of each name.
    pub claims: BTreeMap<(ZoneId, DnsName), ClaimRow>,
    /// In the order in which they were begun.
    pub batches: Vec<JournalRow>,
    next_change: i64,
    /// Until when tokens may be spent.
    pub horizons: BTreeMap<AccountId, Timestamp>,
    /// The managing replica of each account.
    pub leases: LeaseTable,
    /// The accepted sets of rules, the newest last.
    pub rule_sets: Vec<RuleSetRow>,
    /// What needs the word of people.
    pub requests: BTreeMap<uuid::Uuid, ReleaseRequest>,
    /// The units that people let go.
    pub approvals: Vec<ApprovalRow>,
    /// The hand-overs.
    pub handovers: BTreeMap<uuid::Uuid, Handover>,
    /// What accounts said of them last.
    pub handover_reports: BTreeMap<(uuid::Uuid, AccountId), HandoverReport>,
    feed: VecDeque<(u64, Timestamp, ReplicaId, Reference)>,
    feed_seq: u64,
    feed_cut: u64,
}

/// Whether a decision rests on what is stored.
fn rests_on(row: &EndpointRow, placing: &PlacementDecision) -> bool {
    row.placed.as_ref().map(|placed| &placed.placement) == placing.found.as_ref()
}

fn placed(version: Version, placing: &PlacementDecision) -> Option<PlacementRow> {
    Some(PlacementRow { version: Some(version), placement: placing.result() })
}

fn change_of(endpoint: &PackedEndpoint, version: &Version) -> RowChange {
    match endpoint.withheld() {
        Some(_) => RowChange::Withheld(endpoint.view().key(), *version),
        None => RowChange::Stored(endpoint.unpack()),
    }
}

impl Tables {
    /// Raises the epoch, or refuses another UID.
    pub fn open_session(&mut self, opening: &SessionOpening) -> SessionOpened {
        let row = self.clusters.entry(opening.cluster.clone()).or_insert_with(|| ClusterRow {
            cluster: opening.cluster.clone(),
            kube_system_uid: opening.kube_system_uid.clone(),
            epoch: Epoch(0),
            instance_id: String::new(),
            last_seq: 0,
            known: false,
            session_at: opening.at,
        });
        if row.kube_system_uid != opening.kube_system_uid {
            return SessionOpened::IdentityConflict { registered_uid: row.kube_system_uid.clone() };
        }
        row.epoch = Epoch(row.epoch.0 + 1);
        row.instance_id.clone_from(&opening.instance_id);
        row.last_seq = 0;
        row.session_at = opening.at;
        SessionOpened::Welcome { epoch: row.epoch, known: row.known }
    }

    /// Fences every session that is open.
    pub fn end_sessions(&mut self) {
        self.clusters.values_mut().for_each(|row| row.epoch = Epoch(row.epoch.0 + 1));
    }

    /// Makes units durable; a fenced one leaves the others alone. Several replicas hear of it in one entry of the feed.
    pub fn ingest(
        &mut self,
        units: &[IngestUnit],
        at: Timestamp,
        origin: Option<ReplicaId>,
        now: Timestamp,
    ) -> Ingested {
        let (mut outcomes, mut commits, mut news) = (vec![], vec![], vec![]);
        for unit in units {
            let newest = self.clusters.get(&unit.cluster).map_or(Epoch(0), |row| row.epoch);
            if newest != unit.epoch {
                outcomes.push(IngestOutcome::Fenced { current: newest });
                continue;
            }
            let mut rows = vec![];
            let applied = unit
                .ops
                .iter()
                .enumerate()
                .map(|(index, op)| {
                    let placing = unit.placings.get(&index);
                    self.apply_op(&unit.cluster, op, placing, at, &mut rows, &mut news)
                })
                .collect();
            if let Some(row) = self.clusters.get_mut(&unit.cluster) {
                row.last_seq = row.last_seq.max(unit.seq);
                row.known |= unit.completes_snapshot;
            }
            let (cluster, seq) = (unit.cluster.clone(), unit.seq);
            commits.push(Commit::Ingest {
                cluster,
                epoch: unit.epoch.0,
                newest_epoch: newest.0,
                seq,
                rows,
            });
            outcomes.push(IngestOutcome::Committed { applied });
        }
        if let (Some(origin), false) = (origin, news.is_empty()) {
            self.tell(origin, Reference::Endpoints(news), now);
        }
        Ingested { outcomes, commits }
    }

    fn apply_op(
        &mut self,
        cluster: &ClusterId,
        op: &IngestOp,
        placing: Option<&PlacementDecision>,
        at: Timestamp,
        rows: &mut Vec<RowChange>,
        news: &mut Vec<(ClusterId, KeyHash, Option<i64>)>,
    ) -> OpOutcome {
        match op {
            IngestOp::Put { key, version, endpoint } => {
                let slot = (cluster.clone(), *key);
                let known = self.by_key.get(&slot).copied();
                if let Some(row) = known.and_then(|arrival| self.endpoints.get_mut(&arrival)) {
                    let arrival = row.arrival;
                    let mut is_placed = false;
                    let is_news =
                        row.endpoint.withheld().is_some() && endpoint.withheld().is_none();
                    if row.version == *version && !is_news {
                        let placed = placing.map(|placing| PlacementRow {
                            version: Some(*version),
                            placement: placing.result(),
                        });
                        is_placed = placed.is_some() && row.placed == placed;
                    } else {
                        // The verdict is of the version before, and stays until there is a new one.
                        (row.version, row.endpoint, row.updated_at) =
                            (*version, endpoint.clone(), at);
                        if let Some(placing) = placing
                            && rests_on(row, placing)
                        {
                            (row.placed, is_placed) = (placed(*version, placing), true);
                        }
                        rows.push(change_of(endpoint, version));
                        news.push((cluster.clone(), *key, Some(arrival)));
                    }
                    return if is_placed {
                        OpOutcome::Placed { arrival }
                    } else {
                        OpOutcome::Stored { arrival }
                    };
                }
                self.last_arrival += 1;
                let arrival = self.last_arrival;
                self.by_key.insert(slot, arrival);
                let new = placing.filter(|placing| placing.found.is_none());
                let row = EndpointRow {
                    cluster: cluster.clone(),
                    key: *key,
                    version: *version,
                    arrival,
                    endpoint: endpoint.clone(),
                    verdict: None,
                    placed: new.and_then(|placing| placed(*version, placing)),
                    updated_at: at,
                };
                self.endpoints.insert(arrival, row);
                rows.push(change_of(endpoint, version));
                news.push((cluster.clone(), *key, Some(arrival)));
                match new {
                    Some(_) => OpOutcome::Placed { arrival },
                    None => OpOutcome::Stored { arrival },
                }
            }
            IngestOp::Del { key, version_seen } => {
                let slot = (cluster.clone(), *key);
                let Some(arrival) = self.by_key.get(&slot).copied() else {
                    return OpOutcome::Unchanged;
                };
                let is_seen = |held: &Version| version_seen.is_none_or(|seen| seen == *held);
                if !self.endpoints.get(&arrival).is_some_and(|row| is_seen(&row.version)) {
                    return OpOutcome::Unchanged;
                }
                self.by_key.remove(&slot);
                if let Some(row) = self.endpoints.remove(&arrival) {
                    rows.push(RowChange::Removed(row.endpoint.unpack().key));
                }
                news.push((cluster.clone(), *key, None));
                OpOutcome::Removed
            }
        }
    }

    /// A page of endpoints.
    pub fn endpoints_after(&self, arrival: i64, limit: u32) -> Vec<EndpointRow> {
        self.endpoints
            .range(arrival.saturating_add(1)..)
            .take(limit as usize)
            .map(|(_, row)| row.clone())
            .collect()
    }

    /// Stores placements by compare-and-swap, and answers for each whether it holds.
    pub fn place(
        &mut self,
        decisions: &[PlacementWrite],
        origin: Option<ReplicaId>,
        now: Timestamp,
    ) -> Vec<bool> {
        let mut stored = vec![];
        let place = |decision: &PlacementWrite| {
            let row = self.endpoints.get_mut(&decision.arrival);
            let Some(row) = row.filter(|row| row.version == decision.version) else { return false };
            let result = placed(decision.version, &decision.placing);
            let holds = row.placed == result || rests_on(row, &decision.placing);
            if holds {
                row.placed = result;
                stored.push(decision.arrival);
            }
            holds
        };
        let holds = decisions.iter().map(place).collect();
        if let (Some(origin), false) = (origin, stored.is_empty()) {
            self.tell(origin, Reference::Placements(stored), now);
        }
        holds
    }

    /// Notes that an account's zones were listed.
    pub fn note_listed(&mut self, account: AccountId, origin: Option<ReplicaId>, now: Timestamp) {
        if self.listed.insert(account.clone())
            && let Some(origin) = origin
        {
            self.tell(origin, Reference::News(News::Zones(account)), now);
        }
    }

    /// Keeps verdicts of versions that are still stored.
    pub fn save_verdicts(&mut self, verdicts: Vec<VerdictRow>) {
        for verdict in verdicts {
            if let Some(row) = self.endpoints.get_mut(&verdict.arrival)
                && row.version == verdict.version
            {
                row.verdict = Some(verdict.verdict);
            }
        }
    }

    /// Inserts or replaces zones; when one was listed is not forgotten.
    pub fn save_zones(&mut self, zones: Vec<ZoneRow>, origin: Option<ReplicaId>, now: Timestamp) {
        let mut accounts: Vec<AccountId> = zones.iter().map(|row| row.account.clone()).collect();
        for row in zones {
            let listed_at = row
                .listed_at
                .or_else(|| self.zones.get(&row.zone).and_then(|before| before.listed_at));
            self.zones.insert(row.zone.clone(), ZoneRow { listed_at, ..row });
        }
        accounts.sort();
        accounts.dedup();
        if let Some(origin) = origin {
            accounts
                .into_iter()
                .for_each(|account| self.tell(origin, Reference::News(News::Zones(account)), now));
        }
    }

    /// A page of records.
    pub fn records_after(
        &self,
        zone: &ZoneId,
        after: Option<&RecordKey>,
        limit: u32,
    ) -> Vec<RecordRow> {
        let Some(records) = self.records.get(zone) else { return vec![] };
        records
            .values()
            .filter(|row| after.is_none_or(|after| row.key > *after))
            .take(limit as usize)
            .cloned()
            .collect()
    }

    /// Applies differences to a zone's records.
    pub fn save_records(
        &mut self,
        zone: &ZoneId,
        writes: Vec<RecordWrite>,
        listed_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let row = self
            .zones
            .get_mut(zone)
            .ok_or_else(|| StoreError::Refused(format!("the zone {zone} is not stored")))?;
        row.listed_at = listed_at.or(row.listed_at);
        self.write_records(zone, writes);
        Ok(())
    }

    fn write_records(&mut self, zone: &ZoneId, writes: Vec<RecordWrite>) {
        let records = self.records.entry(zone.clone()).or_default();
        for write in writes {
            match write {
                RecordWrite::Put(row) => drop(records.insert(row.key.clone(), row)),
                RecordWrite::Remove(key) => drop(records.remove(&key)),
            }
        }
    }

    /// Applies differences to the claims.
    pub fn write_claims(&mut self, writes: Vec<ClaimWrite>) {
        for write in writes {
            match write {
                ClaimWrite::Hold(row) => {
                    drop(self.claims.insert((row.zone.clone(), row.name.clone()), row))
                }
                ClaimWrite::Release { zone, name } => drop(self.claims.remove(&(zone, name))),
            }
        }
    }

    /// The claims of zones.
    pub fn claims_of(&self, zones: &[ZoneId]) -> Vec<ClaimRow> {
        self.claims.values().filter(|row| zones.contains(&row.zone)).cloned().collect()
    }

    /// Journals a batch. An id that was begun before is refused.
    pub fn begin_batch(
        &mut self,
        batch: &Batch,
        claims: Vec<ClaimWrite>,
    ) -> Result<(), StoreError> {
        if self.batches.iter().any(|entry| entry.row.batch.id == batch.id) {
            return Err(StoreError::Refused(format!(
                "batch {} was begun before; read back its outcome",
                batch.id
            )));
        }
        let (planned, number) = (batch.stamp.rules, self.rules_number());
        if planned < number {
            return Err(StoreError::OlderRules { planned, number });
        }
        let first_change = self.next_change + 1;
        self.next_change += i64::try_from(batch.changes().count()).unwrap_or(i64::MAX);
        self.batches.push(JournalRow {
            row: BatchRow { batch: batch.clone(), outcome: None, finished_at: None },
            first_change,
        });
        self.write_claims(claims);
        Ok(())
    }

    /// Completes a batch; answers whether this was the first time. Another outcome than before is refused.
    pub fn finish_batch(
        &mut self,
        batch: &Batch,
        outcome: &BatchOutcome,
        writes: Vec<RecordWrite>,
        claims: Vec<ClaimWrite>,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let entry = self.batches.iter_mut().find(|entry| entry.row.batch.id == batch.id);
        let entry = entry
            .ok_or_else(|| StoreError::Refused(format!("batch {} was never begun", batch.id)))?;
        if let Some(before) = &entry.row.outcome {
            return if before == outcome {
                Ok(false)
            } else {
                Err(StoreError::Refused(format!(
                    "batch {} ended before, with another outcome",
                    batch.id
                )))
            };
        }
        entry.row.outcome = Some(outcome.clone());
        entry.row.finished_at = Some(at);
        if outcome.is_done() {
            self.approvals.retain(|approval| !batch.stamp.released.contains(&approval.unit));
        }
        self.write_records(&batch.zone, writes);
        self.write_claims(claims);
        Ok(true)
    }

    /// The batches without an outcome, oldest first.
    pub fn open_batches(&self, account: &AccountId) -> Vec<BatchRow> {
        let open = self
            .batches
            .iter()
            .filter(|entry| entry.row.batch.account == *account && entry.row.outcome.is_none());
        open.map(|entry| entry.row.clone()).collect()
    }

    /// The batches of an account that may come late, of those planned since a time.
    pub fn lost_batches(&self, account: &AccountId, since: Timestamp) -> Vec<BatchRow> {
        let of_account =
            self.batches.iter().map(|entry| &entry.row).filter(|row| row.batch.account == *account);
        let recent = of_account.filter(|row| row.batch.planned_at >= since);
        recent
            .filter(|row| row.outcome.as_ref().is_some_and(BatchOutcome::may_come_late))
            .cloned()
            .collect()
    }

    /// What guards count of an account's batches that were applied since a time.
    pub fn counted(&self, account: &AccountId, since: Timestamp) -> Vec<CountedRow> {
        let rows = self.batches.iter().map(|entry| &entry.row);
        let applied = rows.filter(|row| {
            row.batch.account == *account
                && row.outcome.as_ref().is_some_and(BatchOutcome::is_done)
                && !row.batch.stamp.counted.is_empty()
        });
        let counted = applied.filter_map(|row| {
            let at = row.finished_at.filter(|at| *at >= since)?;
            let counted = row.batch.stamp.counted.clone();
            Some(CountedRow { at, zone: row.batch.zone.clone(), counted })
        });
        let mut counted: Vec<_> = counted.collect();
        counted.sort_by_key(|row| row.at);
        counted
    }

    fn all_changes(&self) -> impl Iterator<Item = (i64, &JournalRow, &Change)> {
        let newest_first = self.batches.iter().rev();
        newest_first.flat_map(|entry| {
            let mut changes: Vec<_> =
                (entry.first_change..).zip(entry.row.batch.changes()).collect();
            changes.reverse();
            changes.into_iter().map(move |(id, change)| (id, entry, change))
        })
    }

    /// The journal, newest first.
    pub fn changes(&self, filter: &ChangeFilter) -> Vec<ChangeRow> {
        let fits = |(id, entry, change): &(i64, &JournalRow, &Change)| {
            filter.name.as_ref().is_none_or(|name| *name == change.key.name)
                && filter.zone.as_ref().is_none_or(|zone| *zone == entry.row.batch.zone)
                && filter.cluster.as_ref().is_none_or(|cluster| *cluster == change.cause.cluster)
                && filter.before_id.is_none_or(|before| *id < before)
        };
        let row = |(id, entry, change): (i64, &JournalRow, &Change)| ChangeRow {
            id,
            batch: entry.row.batch.id,
            account: entry.row.batch.account.clone(),
            zone: entry.row.batch.zone.clone(),
            change: change.clone(),
            planned_at: entry.row.batch.planned_at,
            outcome: entry.row.outcome.clone(),
        };
        self.all_changes().filter(fits).take(filter.limit as usize).map(row).collect()
    }

    /// The newest applied change of a record set.
    pub fn last_cause(&self, zone: &ZoneId, key: &RecordKey) -> Option<(BatchId, Cause)> {
        let is_applied =
            |entry: &JournalRow| entry.row.outcome.as_ref().is_some_and(BatchOutcome::is_done);
        let mut fitting = self.all_changes().filter(|(_, entry, change)| {
            entry.row.batch.zone == *zone && change.key == *key && is_applied(entry)
        });
        fitting.next().map(|(_, entry, change)| (entry.row.batch.id, change.cause.clone()))
    }

    /// How many entries an account's journal has: an intent for each batch, and an outcome for each that ended.
    pub fn journal_entries(&self, account: &AccountId) -> u64 {
        let own = self.batches.iter().filter(|entry| entry.row.batch.account == *account);
        own.map(|entry| 1 + u64::from(entry.row.outcome.is_some())).sum()
    }

    /// Cuts ended batches from the front of an account's journal.
    pub fn prune_journal(&mut self, account: &AccountId, before: Timestamp, most: u32) -> u64 {
        let mut cut = 0;
        while cut < u64::from(most) {
            let front = self.batches.iter().position(|entry| entry.row.batch.account == *account);
            let ended =
                |place: &usize| self.batches[*place].row.finished_at.is_some_and(|at| at < before);
            let Some(place) = front.filter(ended) else { break };
            self.batches.remove(place);
            cut += 2;
        }
        cut
    }

    /// The newest entry of the feed.
    pub fn feed_end(&self) -> u64 {
        self.feed_seq
    }

    pub(super) fn tell(&mut self, origin: ReplicaId, what: Reference, now: Timestamp) {
        self.feed_seq += 1;
        self.feed.push_back((self.feed_seq, now, origin, what));
    }

    /// Appends what comes without a change of the tables.
    pub fn announce(
        &mut self,
        origin: ReplicaId,
        news: Vec<News>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if news.iter().any(|news| !matches!(news, News::Statuses(_) | News::Ask)) {
            return Err(StoreError::Refused(
                "news of endpoints and zones come with what they are about".to_owned(),
            ));
        }
        news.into_iter().for_each(|news| self.tell(origin, Reference::News(news), now));
        Ok(())
    }

    /// Whether anyone but this replica wrote to the feed after one entry and up to another.
    pub fn others_told(&self, replica: Option<ReplicaId>, after: u64, through: u64) -> bool {
        let between = |seq: u64| after < seq && seq <= through;
        self.feed.iter().any(|(seq, _, origin, _)| between(*seq) && Some(*origin) != replica)
    }

    /// The entries after one, as many as come to about `limit` endpoints; what the reader told itself comes empty.
    pub fn feed_after(
        &self,
        reader: Option<ReplicaId>,
        after: u64,
        limit: u32,
    ) -> Result<Vec<FeedEntry>, StoreError> {
        if after < self.feed_cut || after > self.feed_seq {
            return Err(StoreError::FeedCut { after });
        }
        let (mut entries, mut size) = (vec![], 0);
        for (seq, _, origin, what) in self.feed.iter().filter(|(seq, ..)| *seq > after) {
            if size >= limit as usize {
                break;
            }
            let is_own = Some(*origin) == reader;
            let news = match what {
                Reference::News(News::Statuses(_)) if is_own => News::Statuses(Bytes::new()),
                Reference::Endpoints(_) | Reference::Placements(_) if is_own => {
                    News::Endpoints(vec![])
                }
                Reference::Placements(arrivals) => {
                    let rows = arrivals.iter().filter_map(|arrival| self.endpoints.get(arrival));
                    News::Endpoints(rows.cloned().map(EndpointNews::Placed).collect())
                }
                Reference::News(news) => news.clone(),
                Reference::Endpoints(keys) => {
                    News::Endpoints(keys.iter().filter_map(|key| self.endpoint_news(key)).collect())
                }
            };
            size += if let News::Endpoints(endpoints) = &news { endpoints.len() } else { 1 };
            entries.push(FeedEntry { seq: *seq, origin: *origin, news });
        }
        Ok(entries)
    }

    /// The endpoint stored now under an arrival, perhaps in a later version; `None` if it is gone by now, of which news will come.
    fn endpoint_news(
        &self,
        (cluster, key, arrival): &(ClusterId, KeyHash, Option<i64>),
    ) -> Option<EndpointNews> {
        match arrival {
            None => Some(EndpointNews::Removed { cluster: cluster.clone(), key: *key }),
            Some(arrival) => {
                self.endpoints.get(arrival).map(|row| EndpointNews::Stored(row.clone()))
            }
        }
    }

    /// Cuts old entries.
    pub fn prune_feed(&mut self, now: Timestamp, age: Millis) -> u64 {
        let mut cut = 0;
        while let Some((seq, at, ..)) = self.feed.front()
            && (now - *at).0 > age.0
        {
            self.feed_cut = *seq;
            self.feed.pop_front();
            cut += 1;
        }
        cut
    }
}
