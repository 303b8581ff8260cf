//! The entries for what people decide about rules and requests.

use crate::core::audit::{AuditEntry, AuditKind, AuditOrigin, AuditScope};
use crate::core::governance::actor::Actor;
use crate::core::governance::pattern::NamePattern;
use crate::core::governance::rule::scope::RuleScope;
use crate::core::governance::rule::{Rule, RuleHome, RuleId, RuleSpec, SharedRule};
use crate::core::governance::ruleset::Rules;
use crate::core::ids::ClusterId;
use crate::core::release::request::{ReleaseRequest, RequestState, WantedRelease};
use crate::core::time::Timestamp;

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
            RuleHome::File(path) => Actor::File(path.to_string()),
            RuleHome::Store => set.actor.clone(),
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
    let of_scope = |scope: &RuleScope| {
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
        before: before.map(request_state),
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
}
