//! Faults: rules that match calls and make them go wrong, drawn from the seed.

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::identity::glob;
use super::ids::IdSource;
use super::request::RecordChange;
use crate::core::dns::record::RecordType;
use crate::core::ids::{AccountId, ZoneId};
use crate::core::time::Timestamp;

/// Which calls a rule is about; a field that is missing matches all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultMatch {
    /// The caller's account.
    pub account: Option<AccountId>,
    pub action: Option<Action>,
    /// The bare id of the zone.
    pub zone: Option<ZoneId>,
    /// A pattern with `*` and `?` for an owner name of the batch, without the final dot.
    pub name: Option<String>,
    /// Only the n-th call that matches the rest, counted from 1.
    pub nth: Option<u64>,
    /// Only with this chance, 0 to 1.
    pub probability: Option<f64>,
    /// From this time on.
    pub from: Option<Timestamp>,
    /// Until before this time.
    pub until: Option<Timestamp>,
}

/// The effect of a fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultEffect {
    /// `Throttling`, whatever the buckets hold.
    Throttle {},
    /// `PriorRequestNotComplete`, before anything is applied.
    Prior {},
    /// 500 or 503, before anything is applied.
    HttpError {
        /// 500 or 503.
        status: u16,
    },
    /// 400 with a code that no description of the API lists, before anything is applied.
    UnlistedError {},
    /// The call waits before it is looked at.
    Latency {
        /// The shortest delay.
        min_ms: u64,
        /// The longest delay.
        max_ms: u64,
    },
    /// Nothing is applied and nothing answered; the connection stays open.
    HangBeforeApply {},
    /// Applied, and nothing answered; the connection stays open.
    ApplyThenHang {},
    /// Applied, and the connection is closed.
    ApplyThenReset {
        /// The number of bytes of the answer's body that are sent first; 0: not even its head.
        #[serde(default)]
        after_bytes: usize,
    },
    /// Nothing is applied and the connection is closed.
    ResetBeforeApply {},
    /// Applied, and the answer's body ends early though its length fits.
    TruncateBody {
        /// How many bytes are left.
        bytes: usize,
    },
    /// Applied, and the answer's body is no XML.
    GarbageXml {},
    ExpiredToken {},
    AccessDenied {},
    /// `InvalidClientTokenId`.
    InvalidClientToken {},
    /// The signature is checked against a clock that is ahead (or behind).
    ClockSkew {
        /// Milliseconds, may be negative.
        skew_ms: i64,
    },
    /// A batch that has this record set is refused with this message.
    PoisonRecord {
        /// The owner name.
        name: crate::core::dns::name::DnsName,
        /// The type; `None` matches all.
        #[serde(default, rename = "type")]
        rtype: Option<RecordType>,
        /// The message, without brackets.
        message: String,
    },
    /// The record set is protected.
    Protected {
        /// The owner name.
        name: crate::core::dns::name::DnsName,
        /// The type; `None` matches all.
        #[serde(default, rename = "type")]
        rtype: Option<RecordType>,
        /// The protection's comment.
        #[serde(default)]
        comment: String,
    },
    /// The zone accepts at most this many record sets.
    ZoneQuota {
        quota: u64,
    },
    /// Another writer writes to the zone of the call.
    ForeignWrite {
        /// Before or after the call, whether it succeeds or not; not when it is throttled or denied.
        when: Moment,
        /// The changes that are written.
        changes: Vec<RecordChange>,
    },
    /// Another writer writes after each page of a list, so that the pages do not fit together.
    ListTear {
        /// The changes that are written.
        changes: Vec<RecordChange>,
    },
    /// STS answers 503.
    StsDown {},
    /// The role's permissions are gone: its sessions are denied, and it cannot be assumed.
    RoleRevoked {
        role_arn: String,
    },
    /// The zone never finishes its prior request.
    FreezeZone {},
}

/// Before or after the call is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    Before,
    After,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    #[serde(default, rename = "match")]
    pub matching: FaultMatch,
    /// How many times it works; `None` if for ever.
    #[serde(default)]
    pub times: Option<u64>,
    /// The effect of the fault.
    pub effect: FaultEffect,
}

impl FaultRule {
    /// A rule for every call, for ever.
    pub fn always(effect: FaultEffect) -> Self {
        Self { matching: FaultMatch::default(), times: None, effect }
    }
}

/// A rule at work.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FaultState {
    pub id: u64,
    pub rule: FaultRule,
    /// How many calls matched, before `nth`, `probability` and `times` were asked.
    pub matched: u64,
    /// How many times it worked.
    pub worked: u64,
}

/// The facts of a call that a rule matches on.
pub(super) struct CallFacts<'a> {
    pub account: Option<&'a AccountId>,
    pub action: Action,
    pub zone: Option<&'a str>,
    pub names: &'a [String],
    pub now: Timestamp,
}

/// All rules.
#[derive(Debug, Default)]
pub(super) struct Faults {
    rules: Vec<FaultState>,
    last_id: u64,
}

impl Faults {
    /// Adds a rule after those that are there, and answers its id.
    pub fn add(&mut self, rule: FaultRule) -> u64 {
        self.last_id += 1;
        self.rules.push(FaultState { id: self.last_id, rule, matched: 0, worked: 0 });
        self.last_id
    }

    /// Removes one rule; false when there is none of that id.
    pub fn remove(&mut self, id: u64) -> bool {
        let before = self.rules.len();
        self.rules.retain(|state| state.id != id);
        self.rules.len() < before
    }

    /// Removes all rules.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// All rules in the order in which they came, with how often each has matched and worked.
    pub fn list(&self) -> Vec<FaultState> {
        self.rules.clone()
    }

    /// The effects that work on a call, in the order of the rules.
    pub fn strike(&mut self, call: &CallFacts<'_>, ids: &mut IdSource) -> Vec<FaultEffect> {
        let mut effects = Vec::new();
        for state in &mut self.rules {
            if !fits(&state.rule, call) {
                continue;
            }
            state.matched += 1;
            let matching = &state.rule.matching;
            let is_turn = matching.nth.is_none_or(|nth| nth == state.matched);
            let is_left = state.rule.times.is_none_or(|times| state.worked < times);
            if is_turn
                && is_left
                && matching.probability.is_none_or(|probability| ids.chance(probability))
            {
                state.worked += 1;
                effects.push(state.rule.effect.clone());
            }
        }
        effects
    }
}

fn fits(rule: &FaultRule, call: &CallFacts<'_>) -> bool {
    let matching = &rule.matching;
    let is_of_service = match rule.effect {
        FaultEffect::StsDown {} => call.action.service() == super::action::Service::Sts,
        FaultEffect::ListTear { .. } => call.action == Action::ListResourceRecordSets,
        FaultEffect::FreezeZone {} => call.action.changes_zone(),
        _ => true,
    };
    is_of_service
        && matching.account.as_ref().is_none_or(|account| Some(account) == call.account)
        && matching.action.is_none_or(|action| action == call.action)
        && matching.zone.as_ref().is_none_or(|zone| Some(zone.as_str()) == call.zone)
        && matching
            .name
            .as_ref()
            .is_none_or(|pattern| call.names.iter().any(|name| glob(pattern, name)))
        && matching.from.is_none_or(|from| from <= call.now)
        && matching.until.is_none_or(|until| call.now < until)
}
