//! Notifications: whom an entry of the audit is for, what they are told, and when a delivery is tried again.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::core::audit::{AuditEntry, AuditKind, AuditResult, AuditScope};
use crate::core::dns::name::DnsName;
use crate::core::governance::pattern::NamePattern;
use crate::core::governance::rule::scope::RuleScope;
use crate::core::governance::rule::subscription::{Subscription, Topic};
use crate::core::governance::rule::{RuleKind, RuleSpec};
use crate::core::governance::snapshot::Governance;
use crate::core::ids::RuleName;
use crate::core::people::public_url::PublicUrl;
use crate::core::planning::routing::ZoneFacts;
use crate::core::time::{Millis, Timestamp};

/// The wait after the first failure; each further one waits three times as long.
const FIRST_WAIT: Millis = Millis::from_secs(10);
/// The longest wait.
const LONGEST_WAIT: Millis = Millis::from_secs(3_600);
/// How long a notification is tried.
pub const TRIED_FOR: Millis = Millis::from_secs(24 * 3_600);
/// How many may wait for one subscription: what comes beyond is dead at once, and can be sent again.
pub const MOST_WAITING: u64 = 10_000;
/// Names that a text lists.
const TOLD_NAMES: usize = 5;

/// How long to wait after so many failures in a row.
pub fn back_off(failures: u32) -> Millis {
    let factor = 3_i64.saturating_pow(failures.saturating_sub(1).min(12));
    Millis(FIRST_WAIT.0.saturating_mul(factor).min(LONGEST_WAIT.0))
}

/// When a delivery that failed is tried again, or `None` if it has been tried for long enough. `asked` is how long the sink asks to be
/// left alone.
pub fn next_try(
    made_at: Timestamp,
    failures: u32,
    asked: Option<Millis>,
    now: Timestamp,
) -> Option<Timestamp> {
    let asked = asked.map_or(0, |asked| asked.0.clamp(0, LONGEST_WAIT.0));
    let next = now + Millis(back_off(failures).0.max(asked));
    (next - made_at <= TRIED_FOR).then_some(next)
}

/// A notification, as a webhook gets it in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The same for each try: whoever gets one twice knows by it.
    pub id: String,
    /// What it is about.
    pub topic: Topic,
    /// What was decided, as in the audit.
    pub kind: AuditKind,
    /// When, in RFC 3339.
    pub at: String,
    /// The subscription by which it is sent.
    pub subscription: RuleName,
    /// In one line.
    pub title: String,
    /// In a few sentences.
    pub text: String,
    /// The page of the broker about it; `None` if where people reach the broker is not configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Who decided.
    pub actor: String,
    /// About what.
    pub scope: AuditScope,
    /// The request that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<uuid::Uuid>,
    /// How it is since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<serde_json::Value>,
}

impl Notice {
    /// The notification of an entry for a subscription; `None` if it is of no topic.
    pub fn new(
        seq: i64,
        entry: &AuditEntry,
        subscription: &RuleName,
        public_url: Option<&PublicUrl>,
    ) -> Option<Self> {
        Some(Self {
            id: format!("{seq}-{subscription}"),
            topic: entry.kind.topic()?,
            kind: entry.kind,
            at: entry.at.to_string(),
            subscription: subscription.clone(),
            title: title(entry),
            text: text(entry),
            link: public_url.map(|url| url.join(&path(entry))),
            actor: entry.actor.to_string(),
            scope: entry.scope.clone(),
            request: entry.request,
            after: entry.after.clone(),
        })
    }

    /// As a Slack-compatible webhook takes it. What others wrote cannot become a mention or a link.
    pub fn to_slack(&self) -> serde_json::Value {
        let escape =
            |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let mut said = format!("*{}*\n{}", escape(&self.title), escape(&self.text));
        if let Some(link) = &self.link {
            said += &format!("\n<{}|Show>", link.replace(['<', '>', '|'], ""));
        }
        serde_json::json!({ "text": said })
    }
}

/// A text of an entry's `after`.
fn said<'a>(entry: &'a AuditEntry, key: &str) -> Option<&'a str> {
    entry.after.as_ref()?.get(key)?.as_str()
}

fn number(entry: &AuditEntry, key: &str) -> Option<u64> {
    entry.after.as_ref()?.get(key)?.as_u64()
}

fn title(entry: &AuditEntry) -> String {
    let scope = &entry.scope;
    let zone = scope.zone.as_ref().map_or_else(|| "a zone".to_owned(), ToString::to_string);
    let cluster = scope.cluster.as_ref().map_or("a cluster", |cluster| cluster.as_str());
    let account = scope.account.as_ref().map_or("an account", |account| account.as_str());
    let subject = entry.subject.as_deref().unwrap_or("a freeze");
    let count = |key: &str| number(entry, key).unwrap_or_default();
    match entry.kind {
        AuditKind::HoldBegan => format!("{} units of change are held in {zone}", count("units")),
        AuditKind::HoldEnded => format!("nothing is held any more in {zone} by this guard"),
        AuditKind::RequestMade => format!("{} asks for a decision", entry.actor),
        AuditKind::RequestApproved => format!("{} approved a request", entry.actor),
        AuditKind::RequestDenied => format!("{} denied a request", entry.actor),
        AuditKind::RequestExpired => "a request was not decided in its time".to_owned(),
        AuditKind::RequestCancelled => format!("{} cancelled a request", entry.actor),
        AuditKind::RequestStale => "a request is for something else by now".to_owned(),
        AuditKind::FreezeBegan => format!("{subject} has begun"),
        AuditKind::FreezeEnded => format!("{subject} has ended"),
        AuditKind::AccountParked => format!("nothing is written in the account {account}"),
        AuditKind::AccountResumed => format!("the account {account} is managed again"),
        AuditKind::ClusterAway => format!("the cluster {cluster} is silent"),
        AuditKind::ClusterBack => format!("the cluster {cluster} speaks again"),
        AuditKind::DriftFound => {
            format!("{} record sets of ours were changed in {zone}", count("record_sets"))
        }
        AuditKind::DriftEnded => format!("no record set of ours differs any more in {zone}"),
        AuditKind::DriftRepaired => format!("changed record sets are put back in {zone}"),
        AuditKind::ConflictFound => {
            format!("{cluster} waits for {} names of others in {zone}", count("names"))
        }
        AuditKind::ConflictEnded => format!("{cluster} waits for no name any more in {zone}"),
        other => other.as_str().replace('_', " "),
    }
}

fn text(entry: &AuditEntry) -> String {
    let mut sentences: Vec<String> = vec![];
    sentences.extend(said(entry, "message").map(str::to_owned));
    sentences.extend(said(entry, "until").map(|until| format!("Until {until}.")));
    sentences.extend(said(entry, "state").map(|state| format!("It is {state}.")));
    if let Some(reason) = &entry.reason {
        sentences.push(format!("Reason: {reason}"));
    }
    let names = &entry.scope.names;
    if !names.is_empty() {
        let first = names.iter().take(TOLD_NAMES).cloned().collect::<Vec<_>>().join(", ");
        let all = entry.scope.names_in_all.unwrap_or(names.len() as u64);
        let more = all.saturating_sub(TOLD_NAMES as u64);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        sentences.push(format!("Names: {first}{more}"));
    }
    if entry.kind == AuditKind::HoldBegan
        && let Some(digest) = said(entry, "digest")
    {
        let short = digest.get(..12).unwrap_or(digest);
        sentences.push(format!("Look with: zonefold describe hold {short}"));
    }
    sentences.join("\n")
}

/// The page of the broker about an entry.
fn path(entry: &AuditEntry) -> String {
    let scope = &entry.scope;
    match entry.kind.topic() {
        Some(Topic::Holds) => match said(entry, "digest") {
            Some(digest) => format!("/holds/{digest}"),
            None => "/holds".to_owned(),
        },
        Some(Topic::Requests | Topic::Decisions) => match entry.request {
            Some(request) => format!("/requests/{request}"),
            None => "/requests".to_owned(),
        },
        Some(Topic::Conflicts | Topic::ClusterAway) => match &scope.cluster {
            Some(cluster) => format!("/clusters/{cluster}"),
            None => "/clusters".to_owned(),
        },
        Some(Topic::Drift) => match &scope.zone_id {
            Some(zone) => format!("/zones/{zone}"),
            None => "/zones".to_owned(),
        },
        Some(Topic::AccountParked) => match &scope.account {
            Some(account) => format!("/accounts/{account}"),
            None => "/accounts".to_owned(),
        },
        Some(Topic::Freezes) | None => "/audit".to_owned(),
    }
}

/// The subscriptions that an entry is for. `zones` are those of all accounts: they say in which environment a zone is, where the entry
/// does not.
pub fn subscribers<'a>(
    governance: &'a Governance,
    zones: &[ZoneFacts],
    entry: &AuditEntry,
) -> Vec<&'a RuleName> {
    let Some(topic) = entry.kind.topic().filter(|_| entry.result == AuditResult::Done) else {
        return vec![];
    };
    let places = completed(governance, zones, &entry.scope);
    let subscriptions = governance.rules().iter().filter_map(|rule| match &rule.spec {
        RuleSpec::Subscription(subscription) => Some((&rule.name, subscription)),
        _ => None,
    });
    let is_for = |subscription: &Subscription| {
        subscription.wants(topic)
            && match freeze_of(governance, topic, entry) {
                Some(frozen) => freeze_concerns(governance, frozen, subscription),
                None => {
                    places.iter().any(|place| fits(governance, &subscription.scope, place))
                        && of_teams(governance, &subscription.teams, &places)
                }
            }
    };
    subscriptions.filter(|(_, subscription)| is_for(subscription)).map(|(name, _)| name).collect()
}

/// What an entry is about, with what is known of its zone and cluster: once for each zone of its apex.
fn completed(governance: &Governance, zones: &[ZoneFacts], scope: &AuditScope) -> Vec<AuditScope> {
    let of_cluster = scope.cluster.as_ref().and_then(|cluster| governance.cluster(cluster));
    let environment =
        scope.environment.clone().or_else(|| of_cluster.map(|cluster| cluster.environment.clone()));
    let scope = AuditScope { environment, ..scope.clone() };
    let of_zone = zones.iter().filter(|facts| match (&scope.zone_id, &scope.zone) {
        (Some(id), _) => facts.zone == *id,
        (None, Some(apex)) => facts.name == *apex,
        (None, None) => false,
    });
    let of_zone: Vec<AuditScope> = of_zone
        .map(|facts| AuditScope {
            environment: Some(facts.environment.clone()),
            account: Some(facts.account.clone()),
            zone: Some(facts.name.clone()),
            zone_id: Some(facts.zone.clone()),
            ..scope.clone()
        })
        .collect();
    if of_zone.is_empty() { vec![scope] } else { of_zone }
}

/// Whether all that the rule asks for is said of the place, and fits.
fn fits(governance: &Governance, scope: &RuleScope, place: &AuditScope) -> bool {
    let among = |wanted: &BTreeSet<_>, of: &Option<_>| {
        wanted.is_empty() || of.as_ref().is_some_and(|of| wanted.contains(of))
    };
    let cluster = || {
        let cluster = governance.cluster(place.cluster.as_ref()?)?;
        Some(scope.clusters.matches(cluster))
    };
    among(&scope.environments, &place.environment)
        && (scope.accounts.is_empty()
            || place.account.as_ref().is_some_and(|of| scope.accounts.contains(of)))
        && (scope.zones.is_empty()
            || place.zone.as_ref().is_some_and(|of| scope.zones.contains(of)))
        && (scope.names.is_empty()
            || named(place).any(|name| scope.names.iter().any(|names| names.matches(&name))))
        && (scope.clusters.is_empty() || cluster() == Some(true))
}

fn named(place: &AuditScope) -> impl Iterator<Item = DnsName> {
    place.names.iter().filter_map(|name| DnsName::parse(name).ok())
}

/// Whether one of the teams is named, or owns one of the names, or the zone if no name is said.
fn of_teams(governance: &Governance, teams: &BTreeSet<RuleName>, places: &[AuditScope]) -> bool {
    let owns = |zone: &DnsName, name: &DnsName| {
        let owner = governance.rules().owner(zone, name).team;
        owner.is_some_and(|(team, _)| teams.contains(team))
    };
    let is_of = |place: &AuditScope| {
        let is_named = place.team.as_ref().is_some_and(|team| teams.contains(team));
        let owned = place.zone.as_ref().is_some_and(|zone| match place.names.is_empty() {
            true => owns(zone, zone),
            false => named(place).any(|name| owns(zone, &name)),
        });
        is_named || owned
    };
    teams.is_empty() || places.iter().any(is_of)
}

/// The scope of the freeze that an entry is about.
fn freeze_of<'a>(
    governance: &'a Governance,
    topic: Topic,
    entry: &AuditEntry,
) -> Option<&'a RuleScope> {
    let (kind, name) = entry.subject.as_deref()?.split_once(' ')?;
    let is_freeze = topic == Topic::Freezes && RuleKind::parse(kind) == Some(RuleKind::Freeze);
    let name = RuleName::parse(name).ok().filter(|_| is_freeze)?;
    let freezes = governance.rules().freezes().iter();
    freezes.filter(|freeze| freeze.id().name == name).find_map(|freeze| Some(&freeze.spec()?.scope))
}

/// Whether a freeze closes something that the subscription is about.
fn freeze_concerns(
    governance: &Governance,
    frozen: &RuleScope,
    subscription: &Subscription,
) -> bool {
    let scope = &subscription.scope;
    let overlap =
        |a: &BTreeSet<_>, b: &BTreeSet<_>| a.is_empty() || b.is_empty() || !a.is_disjoint(b);
    let zones = scope.zones.is_empty()
        || frozen.zones.is_empty()
        || frozen.zones.iter().any(|zone| scope.zones.contains(zone));
    let accounts = scope.accounts.is_empty()
        || frozen.accounts.is_empty()
        || !scope.accounts.is_disjoint(&frozen.accounts);
    let touches =
        |a: &NamePattern, b: &NamePattern| a.matches(b.base()) || b.matches(a.base()) || a == b;
    let names = scope.names.is_empty()
        || frozen.names.is_empty()
        || scope.names.iter().any(|ours| frozen.names.iter().any(|theirs| touches(ours, theirs)));
    let is_of_team = || {
        let of_zone = |zone: &DnsName| {
            let owner = governance.rules().owner(zone, zone).team;
            owner.is_some_and(|(team, _)| subscription.teams.contains(team))
        };
        frozen.zones.is_empty() || frozen.zones.iter().any(of_zone)
    };
    overlap(&scope.environments, &frozen.environments)
        && accounts
        && zones
        && names
        && (subscription.teams.is_empty() || is_of_team())
}

#[cfg(test)]
#[path = "notice_tests.rs"]
mod tests;
