//! The statuses of a name's endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ZoneState;
use super::held_back::HeldBack;
use super::name_state::Mark;
use crate::broker::directory::entry::{EndpointEntry, Progress, Status};
use crate::core::dns::name::DnsName;
use crate::core::endpoint::verdict::{Verdict, VerdictState};
use crate::core::planning::change::Unit;
use crate::core::planning::claims::NameDecision;
use crate::core::planning::plan::{BlockReason, Blocked, NamePlan};
use crate::core::time::Timestamp;

/// The result of a look at a name, for its statuses.
pub(super) struct LookedAt<'a> {
    pub(super) decision: &'a NameDecision,
    pub(super) plan: &'a NamePlan,
    pub(super) ready: &'a [&'a Unit],
    pub(super) held_back: &'a [(&'a Unit, HeldBack)],
}

/// The same by contribution, so that many at one name cost no more than each once.
struct ByContribution<'a> {
    blocked: BTreeMap<usize, &'a Blocked>,
    left_out: BTreeMap<usize, &'a Blocked>,
    held_back: BTreeMap<usize, &'a HeldBack>,
    ready: BTreeSet<usize>,
}

impl<'a> ByContribution<'a> {
    fn of(told: &LookedAt<'a>) -> Self {
        let concerned = |unit: &'a Unit| {
            let desired = |change| told.decision.desired.get(&change);
            unit.changes
                .iter()
                .filter_map(move |change| desired(change.key.clone()))
                .flat_map(|desired| desired.from.iter().copied())
        };
        let first_of = |blocked: &'a [Blocked]| {
            let mut found = BTreeMap::new();
            for blocked in blocked {
                for index in &blocked.from {
                    found.entry(*index).or_insert(blocked);
                }
            }
            found
        };
        let mut held_back = BTreeMap::new();
        for (unit, why) in told.held_back {
            for index in concerned(unit) {
                held_back.entry(index).or_insert(why);
            }
        }
        Self {
            blocked: first_of(&told.plan.blocked),
            left_out: first_of(&told.plan.left_out),
            held_back,
            ready: told.ready.iter().flat_map(|unit| concerned(unit)).collect(),
        }
    }

    fn judge(
        &self,
        index: usize,
        verdict: &Verdict,
        mark: Option<&Mark>,
        pending: &Progress,
    ) -> (Verdict, Option<Progress>) {
        if verdict.state != VerdictState::Accepted {
            return (verdict.clone(), None);
        }
        if let Some(blocked) = self.blocked.get(&index) {
            return told_of_block(verdict, blocked);
        }
        if let Some(why) = self.held_back.get(&index) {
            return (verdict.clone(), Some(why.progress()));
        }
        let mut verdict = verdict.clone();
        if let Some(left_out) = self.left_out.get(&index) {
            verdict.message = left_out.to_string();
        }
        if self.ready.contains(&index) {
            return (verdict, Some(pending.clone()));
        }
        (verdict, Some(arrived(mark)))
    }
}

impl ZoneState {
    pub(super) fn statuses(
        &mut self,
        name: &DnsName,
        told: &LookedAt<'_>,
        pending_detail: &str,
        expected_at: Option<Timestamp>,
    ) -> Vec<(EndpointEntry, Arc<Status>)> {
        let Some(state) = self.names.get(name) else { return vec![] };
        let pending = Progress::Pending { detail: pending_detail.to_owned(), expected_at };
        let by_contribution = ByContribution::of(told);
        let cache = &mut self.statuses;
        let mut statuses = vec![];
        for (index, verdict) in &told.decision.verdicts {
            let Some(held) = state.contributions.as_slice().get(*index) else { continue };
            let (verdict, progress) =
                by_contribution.judge(*index, verdict, state.mark(), &pending);
            statuses.push((held.clone(), cache.share(Status { verdict, progress })));
        }
        for held in self.crowds.take_untold(name) {
            let verdict = super::crowd::verdict_beyond(&self.context, name, held.cluster());
            statuses.push((held, cache.share(Status::of(verdict))));
        }
        statuses
    }
}

fn told_of_block(verdict: &Verdict, blocked: &Blocked) -> (Verdict, Option<Progress>) {
    match (&blocked.why, blocked.why.verdict_reason()) {
        (_, Some(reason)) => {
            (Verdict::waiting(reason, blocked.to_string(), verdict.placement.clone()), None)
        }
        (BlockReason::Drifted(_), None) => {
            (verdict.clone(), Some(Progress::Drifted { message: blocked.to_string() }))
        }
        (_, None) => (
            verdict.clone(),
            Some(Progress::Pending { detail: blocked.to_string(), expected_at: None }),
        ),
    }
}

fn arrived(mark: Option<&Mark>) -> Progress {
    match mark {
        Some(mark) => Progress::Applied { change_id: mark.change_id.clone() },
        None => Progress::InSync { change_id: None },
    }
}
