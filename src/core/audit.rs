//! The audit: what people, files and the broker by itself decided, one entry for each decision, in one hash chain.
//!
//! An entry's hash is SHA-256 over the hash before it, its number and its text, as in the journal of an account. So an entry that is
//! changed, moved or taken out breaks the chain from there on, and whoever noted a hash of it once can tell later whether all before
//! it is still the same.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::core::dns::name::DnsName;
use crate::core::governance::actor::Actor;
use crate::core::governance::pattern::NamePattern;
use crate::core::governance::rule::subscription::Topic;
use crate::core::governance::rule::{Rule, RuleId, RuleSpec, SharedRule};
use crate::core::governance::ruleset::Rules;
use crate::core::ids::{AccountId, BatchId, ClusterId, EnvironmentId, RuleName, ZoneId};
use crate::core::release::request::{ReleaseRequest, RequestState, WantedRelease};
use crate::core::time::Timestamp;

/// How many names an entry lists; of more it has the number.
pub const MAX_NAMES: usize = 1_000;

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditKind {
    /// A rule was written: `before` and `after` are its documents.
    RuleWritten,
    /// A rule was removed.
    RuleDeleted,
    /// A request was made.
    RequestMade,
    /// A person said yes to a request; `after` tells whether that was enough.
    RequestApproved,
    /// A person said no.
    RequestDenied,
    /// A request was not decided in its time.
    RequestExpired,
    /// Who asked took it back.
    RequestCancelled,
    /// What a request asks for is no longer what would be done.
    RequestStale,
    /// A guard began to hold units of a zone.
    HoldBegan,
    /// A guard holds nothing of them any more.
    HoldEnded,
    /// A freeze began.
    FreezeBegan,
    /// A freeze ended.
    FreezeEnded,
    /// The broker writes nothing in an account, since it cannot or may not.
    AccountParked,
    /// The broker manages the account again.
    AccountResumed,
    /// A cluster has been silent for so long that people should know.
    ClusterAway,
    /// It speaks again.
    ClusterBack,
    /// The endpoints of a cluster that is gone for good were removed.
    ClusterForgotten,
    /// Endpoints of names were placed anew.
    NameRerouted,
    /// Another writer changed record sets of ours in a zone.
    DriftFound,
    /// No record set of ours differs any more there.
    DriftEnded,
    /// Record sets that another writer changed are being put back.
    DriftRepaired,
    /// Record sets that Zonefold did not make are being taken over.
    RecordAdopted,
    /// Clusters wait in a zone for names that others have.
    ConflictFound,
    /// They wait no longer.
    ConflictEnded,
    /// The configuration says something else of an account and its zones.
    AccountConfigured,
    /// The configuration says something else of a cluster.
    ClusterConfigured,
    /// A notification that could not be delivered is sent again on a person's word.
    NoticeResent,
    /// The store was restored from a copy: its epochs and numbers were raised.
    StoreRestored,
    /// The oldest entries were cut off.
    AuditCut,
    /// A kind that a newer release wrote.
    #[serde(other)]
    Unknown,
}

impl AuditKind {
    /// All that this release writes.
    pub const ALL: [Self; 29] = [
        Self::RuleWritten,
        Self::RuleDeleted,
        Self::RequestMade,
        Self::RequestApproved,
        Self::RequestDenied,
        Self::RequestExpired,
        Self::RequestCancelled,
        Self::RequestStale,
        Self::HoldBegan,
        Self::HoldEnded,
        Self::FreezeBegan,
        Self::FreezeEnded,
        Self::AccountParked,
        Self::AccountResumed,
        Self::ClusterAway,
        Self::ClusterBack,
        Self::ClusterForgotten,
        Self::NameRerouted,
        Self::DriftFound,
        Self::DriftEnded,
        Self::DriftRepaired,
        Self::RecordAdopted,
        Self::ConflictFound,
        Self::ConflictEnded,
        Self::AccountConfigured,
        Self::ClusterConfigured,
        Self::NoticeResent,
        Self::StoreRestored,
        Self::AuditCut,
    ];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RuleWritten => "rule_written",
            Self::RuleDeleted => "rule_deleted",
            Self::RequestMade => "request_made",
            Self::RequestApproved => "request_approved",
            Self::RequestDenied => "request_denied",
            Self::RequestExpired => "request_expired",
            Self::RequestCancelled => "request_cancelled",
            Self::RequestStale => "request_stale",
            Self::HoldBegan => "hold_began",
            Self::HoldEnded => "hold_ended",
            Self::FreezeBegan => "freeze_began",
            Self::FreezeEnded => "freeze_ended",
            Self::AccountParked => "account_parked",
            Self::AccountResumed => "account_resumed",
            Self::ClusterAway => "cluster_away",
            Self::ClusterBack => "cluster_back",
            Self::ClusterForgotten => "cluster_forgotten",
            Self::NameRerouted => "name_rerouted",
            Self::DriftFound => "drift_found",
            Self::DriftEnded => "drift_ended",
            Self::DriftRepaired => "drift_repaired",
            Self::RecordAdopted => "record_adopted",
            Self::ConflictFound => "conflict_found",
            Self::ConflictEnded => "conflict_ended",
            Self::AccountConfigured => "account_configured",
            Self::ClusterConfigured => "cluster_configured",
            Self::NoticeResent => "notice_resent",
            Self::StoreRestored => "store_restored",
            Self::AuditCut => "audit_cut",
            Self::Unknown => "unknown",
        }
    }

    /// Reads the word of a kind; `None` if it is none that this release writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// What subscribers are notified of by an entry of the kind; `None` if they are not.
    pub const fn topic(self) -> Option<Topic> {
        match self {
            Self::HoldBegan | Self::HoldEnded => Some(Topic::Holds),
            Self::RequestMade => Some(Topic::Requests),
            Self::RequestApproved
            | Self::RequestDenied
            | Self::RequestExpired
            | Self::RequestCancelled
            | Self::RequestStale => Some(Topic::Decisions),
            Self::FreezeBegan | Self::FreezeEnded => Some(Topic::Freezes),
            Self::AccountParked | Self::AccountResumed => Some(Topic::AccountParked),
            Self::ClusterAway | Self::ClusterBack => Some(Topic::ClusterAway),
            Self::DriftFound | Self::DriftEnded | Self::DriftRepaired => Some(Topic::Drift),
            Self::ConflictFound | Self::ConflictEnded => Some(Topic::Conflicts),
            Self::RuleWritten
            | Self::RuleDeleted
            | Self::ClusterForgotten
            | Self::NameRerouted
            | Self::RecordAdopted
            | Self::AccountConfigured
            | Self::ClusterConfigured
            | Self::NoticeResent
            | Self::StoreRestored
            | Self::AuditCut
            | Self::Unknown => None,
        }
    }
}

impl fmt::Display for AuditKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// From where somebody decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditOrigin {
    /// By which way, such as `rest` or `command line`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// The address of the caller, as the replica that was asked saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The id of the HTTP request, as in the replica's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica: Option<Uuid>,
}

impl AuditOrigin {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A replica of the broker by itself.
    pub fn replica(replica: Uuid) -> Self {
        Self { replica: Some(replica), ..Self::default() }
    }
}

/// What a decision is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditScope {
    /// The environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentId>,
    /// The account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The apex of the zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<DnsName>,
    /// The id of the zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_id: Option<ZoneId>,
    /// The cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterId>,
    /// The team.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<RuleName>,
    /// Names and patterns, [`MAX_NAMES`] at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// How many names there are, where they are not all listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names_in_all: Option<u64>,
}

impl AuditScope {
    /// Lists names, as many as an entry holds.
    #[must_use]
    pub fn named(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.names = names.into_iter().collect();
        if self.names.len() > MAX_NAMES {
            self.names_in_all = Some(self.names.len() as u64);
            self.names.truncate(MAX_NAMES);
        }
        self
    }
}

/// What came of a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditResult {
    /// It counts.
    #[default]
    Done,
    /// It was refused, and why.
    Refused(String),
}

impl AuditResult {
    fn is_done(&self) -> bool {
        *self == Self::Done
    }
}

/// One decision. Its text in the chain is the JSON of this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When, by the clock of who wrote it.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// From where.
    #[serde(default, skip_serializing_if = "AuditOrigin::is_empty")]
    pub origin: AuditOrigin,
    /// What.
    pub kind: AuditKind,
    /// The one thing whose states follow each other, such as `Grant pay-in-dev`; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// About what.
    #[serde(default)]
    pub scope: AuditScope,
    /// How it was before; `None` if there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<serde_json::Value>,
    /// How it is since; `None` if there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<serde_json::Value>,
    /// Why, in the words of who decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The request that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Uuid>,
    /// The batch that carries it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchId>,
    /// The number of the set of rules that it makes, or that it rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<u64>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "AuditResult::is_done")]
    pub result: AuditResult,
}

impl AuditEntry {
    /// A decision of which nothing more is said.
    pub fn new(at: Timestamp, actor: Actor, kind: AuditKind) -> Self {
        Self {
            at,
            actor,
            origin: AuditOrigin::default(),
            kind,
            subject: None,
            scope: AuditScope::default(),
            before: None,
            after: None,
            reason: None,
            request: None,
            batch: None,
            rules: None,
            result: AuditResult::Done,
        }
    }
}

/// A hash of the chain.
pub type AuditHash = [u8; 32];

/// The hash before the first entry.
pub fn genesis() -> AuditHash {
    Sha256::digest(b"zonefold.v1.audit").into()
}

/// The hash of an entry.
pub fn link(before: &AuditHash, seq: i64, text: &str) -> AuditHash {
    Sha256::new_with_prefix(before)
        .chain_update(seq.to_be_bytes())
        .chain_update(text)
        .finalize()
        .into()
}

/// A hash in hexadecimal digits.
pub fn hex(hash: &AuditHash) -> String {
    hash.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Reads 64 hexadecimal digits; `None` if they are none.
pub fn from_hex(text: &str) -> Option<AuditHash> {
    crate::core::planning::unit_digest::UnitDigest::parse(text).map(|digest| digest.0)
}

/// The entries for a set of rules that takes the place of another one: one for each rule that differs, by kind and name.
pub fn rule_changes(before: &Rules, after: &Rules, set: &RuleSetChange) -> Vec<AuditEntry> {
    let mut ids: Vec<RuleId> = before.iter().chain(after.iter()).map(|rule| rule.id()).collect();
    ids.sort();
    ids.dedup();
    let document = |rule: Option<&SharedRule>| rule.and_then(|rule| rule.document().ok());
    let entry = |id: RuleId| {
        let (old, new) = (before.get(&id), after.get(&id));
        let (was, is) = (document(old), document(new));
        if was == is {
            return None;
        }
        let kind = if new.is_some() { AuditKind::RuleWritten } else { AuditKind::RuleDeleted };
        let rule = new.or(old)?;
        let actor = match &rule.home {
            crate::core::governance::rule::RuleHome::File(path) => Actor::File(path.to_string()),
            crate::core::governance::rule::RuleHome::Store => set.actor.clone(),
        };
        Some(AuditEntry {
            origin: set.origin.clone(),
            subject: Some(id.to_string()),
            scope: scope_of(rule),
            before: was,
            after: is,
            reason: set.reason.clone(),
            rules: Some(set.number),
            ..AuditEntry::new(set.at, actor, kind)
        })
    };
    ids.into_iter().filter_map(entry).collect()
}

/// Who changes a set of rules, and into which.
#[derive(Clone, Debug)]
pub struct RuleSetChange {
    /// Who writes rules of the store.
    pub actor: Actor,
    /// From where.
    pub origin: AuditOrigin,
    /// Why.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
    /// The number of the new set.
    pub number: u64,
}

/// What a rule is about, as far as it says so by name.
fn scope_of(rule: &Rule) -> AuditScope {
    let written = |names: &[NamePattern]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let one = |clusters: &std::collections::BTreeSet<ClusterId>| match clusters.len() {
        1 => clusters.first().cloned(),
        _ => None,
    };
    let of_scope = |scope: &crate::core::governance::rule::scope::RuleScope| {
        AuditScope {
            environment: single(scope.environments.iter()),
            account: single(scope.accounts.iter()),
            zone: single(scope.zones.iter()),
            cluster: one(&scope.clusters.names),
            ..AuditScope::default()
        }
        .named(written(&scope.names))
    };
    match &rule.spec {
        RuleSpec::Team(_) => AuditScope { team: Some(rule.name.clone()), ..AuditScope::default() },
        RuleSpec::Ownership(ownership) => AuditScope {
            zone: Some(ownership.zone.clone()),
            team: Some(ownership.team.clone()),
            ..AuditScope::default()
        }
        .named(match ownership.names.is_empty() {
            true => vec![ownership.zone.to_string(), format!("*.{}", ownership.zone)],
            false => written(&ownership.names),
        }),
        RuleSpec::Grant(grant) => AuditScope {
            zone: Some(grant.zone.clone()),
            cluster: one(&grant.clusters.names),
            ..AuditScope::default()
        }
        .named(written(&grant.names)),
        RuleSpec::Sharing(sharing) => {
            AuditScope { zone: Some(sharing.zone.clone()), ..AuditScope::default() }
                .named(written(&sharing.names))
        }
        RuleSpec::Guard(guard) => of_scope(&guard.scope),
        RuleSpec::Freeze(freeze) => of_scope(&freeze.scope),
        RuleSpec::Subscription(subscription) => of_scope(&subscription.scope),
    }
}

/// The only one of them; `None` if there is none, or several.
fn single<'a, T: Clone + 'a>(mut all: impl Iterator<Item = &'a T>) -> Option<T> {
    let first = all.next()?;
    all.next().is_none().then(|| first.clone())
}

/// The entries for a request that is written: that it was made, and the word or the end that it got. `names` are those that it is
/// about, as far as they are known.
pub fn request_changes(
    before: Option<&ReleaseRequest>,
    after: &ReleaseRequest,
    origin: &AuditOrigin,
    names: &[String],
) -> Vec<AuditEntry> {
    let entry = |at: Timestamp, actor: &Actor, kind: AuditKind, comment: &str| AuditEntry {
        origin: origin.clone(),
        subject: Some(format!("request {}", after.id)),
        scope: scope_of_request(after).named(names.iter().cloned()),
        before: before.map(|before| request_state(before)),
        after: Some(request_state(after)),
        reason: Some(comment.to_owned()).filter(|comment| !comment.is_empty()),
        request: Some(after.id),
        ..AuditEntry::new(at, actor.clone(), kind)
    };
    let mut entries = vec![];
    if before.is_none() {
        entries.push(entry(after.at, &after.by, AuditKind::RequestMade, &after.why));
    }
    let known = before.map_or(0, |before| before.votes.len());
    for vote in after.votes.iter().skip(known) {
        entries.push(entry(vote.at, &vote.by, AuditKind::RequestApproved, &vote.comment));
    }
    if let Some(end) = after.ended.as_ref().filter(|_| before.is_none_or(|b| b.ended.is_none())) {
        let kind = match after.state {
            RequestState::Denied => AuditKind::RequestDenied,
            RequestState::Expired => AuditKind::RequestExpired,
            RequestState::Cancelled => AuditKind::RequestCancelled,
            RequestState::Stale => AuditKind::RequestStale,
            RequestState::Pending | RequestState::Approved => AuditKind::RequestApproved,
        };
        entries.push(entry(end.at, &end.by, kind, &end.comment));
    }
    entries
}

fn scope_of_request(request: &ReleaseRequest) -> AuditScope {
    match &request.wanted {
        WantedRelease::Release { zone, .. } => {
            AuditScope { zone: Some(zone.clone()), ..AuditScope::default() }
        }
        WantedRelease::Transfer { zone, to, .. } => {
            AuditScope { zone: Some(zone.clone()), team: Some(to.clone()), ..AuditScope::default() }
        }
        WantedRelease::Handover { to, .. } => {
            AuditScope { cluster: Some(to.clone()), ..AuditScope::default() }
        }
        WantedRelease::Grant(_) | WantedRelease::BreakFreeze(_) => AuditScope::default(),
    }
}

/// How a request stands, in a few words.
fn request_state(request: &ReleaseRequest) -> serde_json::Value {
    serde_json::json!({
        "state": request.state, "digest": request.digest.to_string(), "votes": request.votes.len(),
        "needed": request.needed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::governance::rule::RuleKind;
    use crate::core::governance::testkit::{claimed, rule, rules};

    #[test]
    fn every_kind_is_read_as_it_is_written() {
        for kind in AuditKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(AuditKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(serde_json::from_str::<AuditKind>("\"tomorrow\"").unwrap(), AuditKind::Unknown);
        assert_eq!(AuditKind::parse("unknown"), None);
    }

    #[test]
    fn a_hash_depends_on_the_one_before_the_number_and_the_text() {
        let first = link(&genesis(), 1, "{}");
        assert_ne!(first, link(&genesis(), 2, "{}"));
        assert_ne!(first, link(&genesis(), 1, "{ }"));
        assert_ne!(first, link(&first, 1, "{}"));
        assert_eq!(from_hex(&hex(&first)), Some(first));
        assert_eq!(from_hex("12"), None);
    }

    #[test]
    fn a_set_of_rules_has_an_entry_for_each_rule_that_differs() {
        let before = rules(claimed("granted"));
        let spec = serde_json::json!({
            "zone": "example.com", "names": ["*.example.com"], "clusters": { "names": ["east"] },
        });
        let mut all = claimed("open");
        all.push(rule(RuleKind::Grant, "east", spec));
        let after = rules(all);
        let set = RuleSetChange {
            actor: Actor::Token("ops".to_owned()),
            origin: AuditOrigin::default(),
            reason: Some("the shop joins".to_owned()),
            at: Timestamp(7),
            number: 2,
        };
        let entries = rule_changes(&before, &after, &set);
        let kinds: Vec<_> =
            entries.iter().map(|entry| (entry.kind, entry.subject.as_deref().unwrap())).collect();
        assert_eq!(kinds.len(), 2, "{kinds:?}");
        assert!(kinds.contains(&(AuditKind::RuleWritten, "Grant east")), "{kinds:?}");
        let grant = entries.iter().find(|entry| entry.before.is_none()).unwrap();
        assert_eq!(grant.scope.cluster.as_ref().unwrap().as_str(), "east");
        assert_eq!(grant.scope.names, ["*.example.com"]);
        assert_eq!((grant.rules, grant.reason.as_deref()), (Some(2), Some("the shop joins")));
        let gone = rule_changes(&after, &before, &set);
        assert!(gone.iter().any(|entry| entry.kind == AuditKind::RuleDeleted
            && entry.after.is_none()
            && entry.before == grant.after));
        assert_eq!(rule_changes(&after, &after, &set), []);
    }

    #[test]
    fn an_entry_lists_as_many_names_as_it_may_and_counts_the_rest() {
        let scope = AuditScope::default().named((0..MAX_NAMES + 5).map(|n| format!("n{n}.test")));
        assert_eq!((scope.names.len(), scope.names_in_all), (MAX_NAMES, Some(1_005)));
    }
}
