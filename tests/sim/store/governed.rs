//! Rules, requests, approvals and hand-overs in the store of a run.

use std::collections::BTreeMap;

use async_trait::async_trait;
use uuid::Uuid;
use zonefold::core::governance::handover::{Handover, HandoverReport};
use zonefold::core::governance::ruleset::RulesDigest;
use zonefold::core::ids::AccountId;
use zonefold::core::release::request::ReleaseRequest;
use zonefold::core::time::Timestamp;
use zonefold::ports::*;

use super::tables::Reference;
use super::{MemoryStore, Tables};

impl Tables {
    /// The number of the set of rules that counts; 0 before the first.
    pub(super) fn rules_number(&self) -> u64 {
        self.rule_sets.last().map_or(0, |last| last.number)
    }

    /// Makes a set of rules the next one, if its number is that.
    pub fn accept_rules(
        &mut self,
        origin: Option<ReplicaId>,
        set: &RuleSetRow,
        now: Timestamp,
    ) -> bool {
        let is_next = set.number == self.rules_number() + 1;
        if is_next {
            self.rule_sets.push(set.clone());
            if let Some(origin) = origin {
                self.tell(origin, Reference::News(News::Rules(set.number)), now);
            }
        }
        is_next
    }

    /// Writes a request over its version before, with what it lets go; answers whether that was its version.
    pub fn save_request(
        &mut self,
        origin: Option<ReplicaId>,
        request: &ReleaseRequest,
        released: &[ApprovalRow],
        now: Timestamp,
    ) -> bool {
        let before = self.requests.get(&request.id).map_or(0, |before| before.version);
        if request.version != before + 1 {
            return false;
        }
        self.requests.insert(request.id, request.clone());
        self.approvals.extend(released.iter().cloned());
        if let Some(origin) = origin.filter(|_| !released.is_empty()) {
            self.tell(origin, Reference::News(News::Approvals), now);
        }
        true
    }

    /// Writes a hand-over over its version before; answers whether that was its version.
    pub fn save_handover(
        &mut self,
        origin: Option<ReplicaId>,
        handover: &Handover,
        now: Timestamp,
    ) -> bool {
        let before = self.handovers.get(&handover.id).map_or(0, |before| before.version);
        if handover.version != before + 1 {
            return false;
        }
        self.handovers.insert(handover.id, handover.clone());
        if let Some(origin) = origin {
            self.tell(origin, Reference::News(News::Handovers), now);
        }
        true
    }

    fn requests(&self, filter: &RequestFilter) -> Vec<ReleaseRequest> {
        let fits = |request: &&ReleaseRequest| {
            filter.state.is_none_or(|state| state == request.state)
                && filter.digest.is_none_or(|digest| digest == request.digest)
                && filter.before.is_none_or(|before| (request.at, request.id) < before)
        };
        let mut found: Vec<_> = self.requests.values().filter(fits).cloned().collect();
        found.sort_by_key(|request| std::cmp::Reverse((request.at, request.id)));
        found.truncate(filter.limit as usize);
        found
    }
}

#[async_trait]
impl RuleSets for MemoryStore {
    async fn latest_rules(&self) -> Result<Option<RuleSetRow>, StoreError> {
        self.read("latest_rules", |tables, _| Ok(tables.rule_sets.last().cloned())).await
    }

    async fn rules_numbered(&self, number: u64) -> Result<Option<RuleSetRow>, StoreError> {
        let is_it = move |set: &&RuleSetRow| set.number == number;
        self.read("rules_numbered", move |tables, _| {
            Ok(tables.rule_sets.iter().find(is_it).cloned())
        })
        .await
    }

    async fn files_were_accepted(&self, files: RulesDigest) -> Result<bool, StoreError> {
        self.read("files_were_accepted", move |tables, _| {
            Ok(tables.rule_sets.iter().any(|set| set.files == files))
        })
        .await
    }

    async fn accept_rules(&self, set: &RuleSetRow) -> Result<bool, StoreError> {
        let (set, origin) = (set.clone(), self.origin.filter(|_| self.database.0.shared));
        self.write("accept_rules", move |tables, now, _| Ok(tables.accept_rules(origin, &set, now)))
            .await
    }
}

#[async_trait]
impl Requests for MemoryStore {
    async fn requests(&self, filter: &RequestFilter) -> Result<Vec<ReleaseRequest>, StoreError> {
        self.read("requests", move |tables, _| Ok(tables.requests(filter))).await
    }

    async fn request(&self, id: uuid::Uuid) -> Result<Option<ReleaseRequest>, StoreError> {
        self.read("request", move |tables, _| Ok(tables.requests.get(&id).cloned())).await
    }

    async fn save_request(
        &self,
        request: &ReleaseRequest,
        released: &[ApprovalRow],
    ) -> Result<bool, StoreError> {
        let (request, released) = (request.clone(), released.to_vec());
        let origin = self.origin.filter(|_| self.database.0.shared);
        self.write("save_request", move |tables, now, _| {
            Ok(tables.save_request(origin, &request, &released, now))
        })
        .await
    }

    async fn approvals(&self) -> Result<Vec<ApprovalRow>, StoreError> {
        self.read("approvals", |tables, _| Ok(tables.approvals.clone())).await
    }
}

#[async_trait]
impl HandoverStore for MemoryStore {
    async fn handovers(&self, over: u32) -> Result<Vec<Handover>, StoreError> {
        self.read("handovers", move |tables, _| {
            let (mut over_now, mut found): (Vec<_>, Vec<_>) =
                tables.handovers.values().cloned().partition(|one| one.phase.is_over());
            over_now.sort_by_key(|one| std::cmp::Reverse((one.at, one.id)));
            over_now.truncate(over as usize);
            found.extend(over_now);
            found.sort_by_key(|one| std::cmp::Reverse((one.at, one.id)));
            Ok(found)
        })
        .await
    }

    async fn handover(&self, id: Uuid) -> Result<Option<Handover>, StoreError> {
        self.read("handover", move |tables, _| Ok(tables.handovers.get(&id).cloned())).await
    }

    async fn save_handover(&self, handover: &Handover) -> Result<bool, StoreError> {
        let (handover, origin) = (handover.clone(), self.origin.filter(|_| self.database.0.shared));
        self.write("save_handover", move |tables, now, _| {
            Ok(tables.save_handover(origin, &handover, now))
        })
        .await
    }

    async fn handover_reports(
        &self,
        id: Uuid,
    ) -> Result<BTreeMap<AccountId, HandoverReport>, StoreError> {
        self.read("handover_reports", move |tables, _| {
            let of_it = tables.handover_reports.iter().filter(|((of, _), _)| *of == id);
            Ok(of_it.map(|((_, account), report)| (account.clone(), *report)).collect())
        })
        .await
    }

    async fn save_handover_report(
        &self,
        id: Uuid,
        account: &AccountId,
        report: &HandoverReport,
    ) -> Result<(), StoreError> {
        let (key, report) = ((id, account.clone()), *report);
        self.write("save_handover_report", move |tables, _, _| {
            let known = tables.handover_reports.entry(key).or_default();
            if known.version <= report.version {
                *known = report;
            }
            Ok(())
        })
        .await
    }
}
