//! Whether an endpoint may have a name, by the rules.

use super::pattern::NamePattern;
use super::rule::ownership::{ClaimVisibility, ClaimsMode};
use super::rule::team::{Person, Team};
use super::rule::{RuleHome, RuleId, RuleSpec, SharedRule};
use super::ruleset::Rules;
use super::selector::ClusterFacts;
use crate::core::dns::name::DnsName;
use crate::core::dns::record_type::RecordType;
use crate::core::ids::RuleName;
use crate::core::time::Timestamp;

/// Who a name belongs to, and how it is claimed.
#[derive(Clone, Debug)]
pub struct NameOwner<'a> {
    /// The team; `None` if the name belongs to none that is there, and so to the platform.
    pub team: Option<(&'a RuleName, &'a Team)>,
    /// The rule that says so.
    pub rule: Option<&'a SharedRule>,
    /// The pattern of the rule.
    pub pattern: Option<&'a NamePattern>,
    /// How the name is claimed.
    pub claims: ClaimsMode,
    /// Whether the one who asks may not be the one who approves.
    pub four_eyes: bool,
    /// Who sees what another team's objects are called.
    pub visibility_of_claims: ClaimVisibility,
}

impl NameOwner<'_> {
    /// Whether the person decides for the name.
    pub fn is_decided_by(&self, person: &Person) -> bool {
        self.team.is_some_and(|(_, team)| team.owners.include(person))
    }
}

/// What an endpoint asks for.
#[derive(Clone, Copy, Debug)]
pub struct NameAsked<'a> {
    /// The apex of the zone.
    pub zone: &'a DnsName,
    /// The owner name.
    pub name: &'a DnsName,
    /// The type.
    pub rtype: RecordType,
    /// The cluster.
    pub cluster: ClusterFacts<'a>,
    /// The namespace of the object.
    pub namespace: &'a str,
}

/// Why an endpoint may not have a name: no grant lets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotGranted {
    /// Who can change that; `None` for the platform.
    pub team: Option<RuleName>,
    /// The rule by which grants are asked for, and where it lives.
    pub rule: Option<(RuleId, RuleHome)>,
    /// A grant that would do if it were not over, or not for other types.
    pub nearly: Option<Nearly>,
}

/// A grant that does not help, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nearly {
    /// It is over.
    Over(RuleId, Timestamp),
    /// It is for other types.
    OtherTypes(RuleId),
    /// It is for other namespaces of the cluster.
    OtherNamespaces(RuleId),
}

/// Whether an endpoint may have a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entitlement {
    /// Whoever comes first may.
    Open,
    /// A grant lets it.
    Granted(RuleId),
    /// It may, and under `granted` it might not.
    Reported(NotGranted),
    /// It may not.
    Refused(NotGranted),
}

impl Entitlement {
    /// Whether it may.
    pub fn is_allowed(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

impl Rules {
    /// Who a name belongs to. A team that is gone owns nothing: its names are the wider pattern's, and at last the platform's. What a
    /// rule leaves out is as the next wider one says.
    pub fn owner<'a>(&'a self, zone: &'a DnsName, name: &'a DnsName) -> NameOwner<'a> {
        let ownerships = self.ownerships(zone, name);
        let owner = ownerships
            .iter()
            .find_map(|found| Some((found, self.team(&found.2.team)?)))
            .map(|((rule, pattern, ownership), team)| (*rule, *pattern, (&ownership.team, team)));
        let said = || ownerships.iter().map(|(_, _, ownership)| ownership);
        NameOwner {
            team: owner.map(|(_, _, team)| team),
            rule: owner.map(|(rule, ..)| rule),
            pattern: owner.map(|(_, pattern, _)| pattern),
            claims: said().find_map(|ownership| ownership.claims).unwrap_or_default(),
            four_eyes: said().find_map(|ownership| ownership.four_eyes).unwrap_or(true),
            visibility_of_claims: said()
                .find_map(|ownership| ownership.visibility_of_claims)
                .unwrap_or_default(),
        }
    }

    /// Whether an endpoint may have the name that it asks for.
    pub fn entitlement(&self, asked: NameAsked<'_>, now: Timestamp) -> Entitlement {
        let owner = self.owner(asked.zone, asked.name);
        if owner.claims == ClaimsMode::Open {
            return Entitlement::Open;
        }
        let mut nearly = None;
        for rule in self.grants(asked.zone, asked.name) {
            let RuleSpec::Grant(grant) = &rule.spec else { continue };
            if !grant.clusters.matches(asked.cluster) {
                continue;
            }
            let at_fault = if !grant.is_for(asked.cluster, asked.namespace) {
                Nearly::OtherNamespaces(rule.id())
            } else if !grant.allows(asked.rtype) {
                Nearly::OtherTypes(rule.id())
            } else if let Some(until) = grant.until.filter(|_| grant.is_over(now)) {
                Nearly::Over(rule.id(), Timestamp(until.as_millisecond()))
            } else {
                return Entitlement::Granted(rule.id());
            };
            nearly.get_or_insert(at_fault);
        }
        let refused = NotGranted {
            team: owner.team.map(|(name, _)| name.clone()),
            rule: owner.rule.map(|rule| (rule.id(), rule.home.clone())),
            nearly,
        };
        match owner.claims {
            ClaimsMode::Granted => Entitlement::Refused(refused),
            ClaimsMode::Open | ClaimsMode::Report => Entitlement::Reported(refused),
        }
    }

    /// The teams that an object of a namespace in a cluster publishes for.
    pub fn publishing_teams<'a>(
        &'a self,
        cluster: ClusterFacts<'a>,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a RuleName> {
        self.iter().filter_map(move |rule| match &rule.spec {
            RuleSpec::Team(team) if team.publishes(cluster, namespace) => Some(&rule.name),
            _ => None,
        })
    }

    /// When time alone changes what a grant lets next; `None` for never.
    pub fn next_grant_end(&self, now: Timestamp) -> Option<Timestamp> {
        let ends = self.iter().filter_map(|rule| match &rule.spec {
            RuleSpec::Grant(grant) => grant.until,
            _ => None,
        });
        ends.map(|until| Timestamp(until.as_millisecond())).filter(|until| *until > now).min()
    }
}
