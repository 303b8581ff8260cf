//! The rules at one moment, with what is known of the clusters that they speak of.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::entitlement::{Entitlement, NameAsked};
use super::freeze::{Closed, ClosedNow, closed_within};
use super::handover::Handovers;
use super::rule::freeze::Lane;
use super::rule::guard::GuardId;
use super::rule::{Guard, SharedRule};
use super::ruleset::Rules;
use super::selector::{ClusterFacts, Place};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::RecordType;
use crate::core::endpoint::parsed::ParsedEndpoint;
use crate::core::endpoint::verdict::Placement;
use crate::core::ids::{ClusterId, EnvironmentId};
use crate::core::time::{Millis, Timestamp};

/// What the configuration says of a cluster, as far as rules ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GovernedCluster {
    /// Its environment.
    pub environment: EnvironmentId,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// The clusters of the configuration.
pub type GovernedClusters = BTreeMap<ClusterId, GovernedCluster>;

/// The rules at one moment; see the module's page. Two that say the same of everything are equal.
#[derive(Clone, Debug, Default)]
pub struct Governance {
    rules: Arc<Rules>,
    clusters: Arc<GovernedClusters>,
    /// The number of the set; 0 if none was ever accepted.
    number: u64,
    at: Timestamp,
    /// The freezes that are closed then.
    closed: Arc<ClosedNow>,
    /// The hand-overs that are not over.
    handovers: Arc<Handovers>,
}

impl PartialEq for Governance {
    fn eq(&self, other: &Self) -> bool {
        self.rules.digest() == other.rules.digest()
            && self.clusters == other.clusters
            && self.number == other.number
            && self.at == other.at
            && self.handovers == other.handovers
    }
}

impl Governance {
    /// The rules as they are at the beginning of time: what has an end has not come to it.
    pub fn new(rules: Arc<Rules>, clusters: GovernedClusters) -> Self {
        let (at, closed) = (Timestamp::default(), Arc::default());
        Self {
            rules,
            clusters: Arc::new(clusters),
            number: 0,
            at,
            closed,
            handovers: Arc::default(),
        }
    }

    /// The same with other hand-overs.
    #[must_use]
    pub fn with_handovers(self, handovers: Arc<Handovers>) -> Self {
        Self { handovers, ..self }
    }

    /// The hand-overs that are not over.
    pub fn handovers(&self) -> &Arc<Handovers> {
        &self.handovers
    }

    /// The same under the number with which it was accepted.
    #[must_use]
    pub fn numbered(self, number: u64) -> Self {
        Self { number, ..self }
    }

    /// The number of the set; 0 if none was ever accepted.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The same at a time.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Self {
        let closed = Arc::new(ClosedNow::at(self.rules.freezes(), now));
        Self { at: now, closed, ..self.clone() }
    }

    /// All rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What is known of a cluster; `None` if it is not registered.
    pub fn cluster<'a>(&'a self, name: &'a ClusterId) -> Option<ClusterFacts<'a>> {
        let known = self.clusters.get(name)?;
        Some(ClusterFacts { name, environment: &known.environment, labels: &known.labels })
    }

    /// When time alone changes what the rules say next; `None` for never.
    pub fn next_change(&self) -> Option<Timestamp> {
        [self.rules.next_grant_end(self.at), self.closed.changes_at].into_iter().flatten().min()
    }

    /// What closes a name of a zone for a change that is for a cluster. A freeze of some clusters closes for one that is not
    /// registered any more too: nobody can say that it is not among them.
    pub fn closes(
        &self,
        placement: &Placement,
        zone: &DnsName,
        name: &DnsName,
        cluster: &ClusterId,
        lane: Option<Lane>,
    ) -> Option<Closed> {
        if self.closed.is_empty() {
            return None;
        }
        let Some(cluster) = self.cluster(cluster) else { return self.closed.last() };
        let (environment, account) = (cluster.environment, &placement.account);
        self.closed.closes(Place { environment, account, zone, name, cluster }, lane, None)
    }

    /// The guards that count what is for a cluster at a name of a zone: each whose scope it is in, or else the one that is there by
    /// default. For a cluster that is not registered any more each holds that says nothing against it.
    pub fn guards_at(
        &self,
        placement: &Placement,
        zone: &DnsName,
        name: &DnsName,
        cluster: &ClusterId,
    ) -> Vec<GuardId> {
        let (account, cluster) = (&placement.account, self.cluster(cluster));
        let fits = |guard: &Guard| match cluster {
            Some(cluster) => {
                let environment = cluster.environment;
                guard.scope.contains(Place { environment, account, zone, name, cluster })
            }
            None => guard.scope.may_contain(account, zone, name),
        };
        let mut fitting = self.rules.guards().filter(|(_, guard)| fits(guard)).peekable();
        if fitting.peek().is_none() {
            return vec![GuardId::Default];
        }
        let counts = fitting.filter(|(_, guard)| guard.enabled);
        counts.map(|(rule, _)| GuardId::Rule(rule.name.clone())).collect()
    }

    /// For how long freezes kept a change for a cluster at a name of a zone back within a time.
    pub fn frozen_within(
        &self,
        placement: &Placement,
        zone: &DnsName,
        name: &DnsName,
        cluster: &ClusterId,
        lane: Option<Lane>,
        time: &Range<Timestamp>,
    ) -> Millis {
        let account = &placement.account;
        let place = self.cluster(cluster).map(|cluster| {
            let environment = cluster.environment;
            Place { environment, account, zone, name, cluster }
        });
        closed_within(self.rules.freezes(), place, lane, time)
    }

    /// Whether a guard asks for a person's word whatever the number.
    pub fn has_reviews(&self) -> bool {
        self.rules.guards().any(|(_, guard)| guard.enabled && !guard.review.is_empty())
    }

    /// Which of these guards asks for a person's word where a record set is created or changed.
    pub fn review(&self, guards: &[GuardId], name: &DnsName, rtype: RecordType) -> Option<GuardId> {
        let of = |rule: &SharedRule| GuardId::Rule(rule.name.clone());
        let asking = self
            .rules
            .guards()
            .find(|(rule, guard)| guard.review.asks_for(name, rtype) && guards.contains(&of(rule)));
        asking.map(|(rule, _)| of(rule))
    }

    /// All guards that may count something.
    pub fn guards(&self) -> BTreeMap<GuardId, Guard> {
        let rules = self.rules.guards().filter(|(_, guard)| guard.enabled);
        let rules = rules.map(|(rule, guard)| (GuardId::Rule(rule.name.clone()), guard.clone()));
        rules.chain([(GuardId::Default, Guard::default())]).collect()
    }

    /// Whether an endpoint of an object in a namespace may have what it asks for in a zone: all of its types, or it may not. What a
    /// cluster made that is not registered any more is not for grants to judge.
    pub fn entitlement(
        &self,
        zone: &DnsName,
        parsed: &ParsedEndpoint,
        cluster: &ClusterId,
        namespace: &str,
    ) -> Entitlement {
        let Some(cluster) = self.cluster(cluster).filter(|_| !self.rules.is_empty()) else {
            return Entitlement::Open;
        };
        let mut found = Entitlement::Open;
        for rtype in &parsed.types {
            let asked = NameAsked { zone, name: &parsed.name, rtype: *rtype, cluster, namespace };
            let next = self.rules.entitlement(asked, self.at);
            match next {
                Entitlement::Refused(_) => return next,
                Entitlement::Reported(_) => found = next,
                Entitlement::Granted(_) if found == Entitlement::Open => found = next,
                Entitlement::Granted(_) | Entitlement::Open => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::endpoint::parsed::parse_endpoint;
    use crate::core::governance::rule::RuleKind;
    use crate::core::governance::testkit::{claimed, rule, rules};
    use crate::core::ids::RuleName;
    use crate::core::testkit::{cluster, endpoint, name};

    fn governance(mode: &str, until: Option<&str>) -> Governance {
        let mut spec = serde_json::json!({
            "zone": "example.com", "names": ["*.example.com"], "clusters": { "names": ["east"] },
            "namespaces": ["pay"],
        });
        if let Some(until) = until {
            spec["until"] = until.into();
        }
        let rules = rules([claimed(mode), vec![rule(RuleKind::Grant, "east", spec)]].concat());
        let of = |environment: &str| GovernedCluster {
            environment: EnvironmentId::parse(environment).unwrap(),
            labels: BTreeMap::new(),
        };
        let clusters = ["east", "west"].map(|name| (cluster(name), of("prod")));
        Governance::new(Arc::new(rules), clusters.into())
    }

    fn asked(governance: &Governance, by: &str, namespace: &str) -> Entitlement {
        let parsed =
            parse_endpoint(&endpoint("web", "www.example.com", "A", &["192.0.2.1"])).unwrap();
        governance.entitlement(&name("example.com"), &parsed, &cluster(by), namespace)
    }

    #[test]
    fn only_who_has_a_grant_may_have_a_name_that_is_granted() {
        let granted = governance("granted", None);
        assert!(matches!(asked(&granted, "east", "pay"), Entitlement::Granted(_)));
        assert!(matches!(asked(&granted, "east", "shop"), Entitlement::Refused(_)));
        assert!(matches!(asked(&granted, "west", "pay"), Entitlement::Refused(_)));
        let reported = governance("report", None);
        assert!(matches!(asked(&reported, "west", "pay"), Entitlement::Reported(_)));
        assert_eq!(asked(&governance("open", None), "west", "pay"), Entitlement::Open);
    }

    #[test]
    fn a_cluster_that_is_not_registered_loses_nothing_by_a_rule() {
        let granted = governance("granted", None);
        assert_eq!(asked(&granted, "gone", "pay"), Entitlement::Open);
    }

    #[test]
    fn the_default_guard_counts_where_no_other_one_holds() {
        let of = |scope: serde_json::Value, enabled: bool| {
            let spec = serde_json::json!({ "scope": scope, "enabled": enabled });
            let clusters = ["east"].map(|name| {
                let environment = EnvironmentId::parse("prod").unwrap();
                (cluster(name), GovernedCluster { environment, labels: BTreeMap::new() })
            });
            let rules = rules(vec![rule(RuleKind::Guard, "mine", spec)]);
            Governance::new(Arc::new(rules), clusters.into())
        };
        let placement = crate::core::testkit::zone_context().placement;
        let at = |governance: &Governance, host: &str, by: &str| {
            let (zone, host, by) = (name("example.com"), name(host), cluster(by));
            governance.guards_at(&placement, &zone, &host, &by)
        };
        let (mine, pay) = (GuardId::Rule(RuleName::parse("mine").unwrap()), "a.pay.example.com");
        let of_pay = of(serde_json::json!({ "names": ["*.pay.example.com"] }), true);
        assert_eq!(at(&of_pay, pay, "east"), std::slice::from_ref(&mine));
        assert_eq!(at(&of_pay, "www.example.com", "east"), [GuardId::Default]);
        assert_eq!(at(&of_pay, pay, "gone"), std::slice::from_ref(&mine));
        let of_east = of(serde_json::json!({ "clusters": { "names": ["east"] } }), true);
        assert_eq!(at(&of_east, pay, "gone"), [mine], "nobody can say that it was another one");
        let off = of(serde_json::json!({ "environments": ["prod"] }), false);
        assert_eq!(at(&off, pay, "east"), []);
        assert_eq!(off.guards().len(), 1, "the default one");
    }

    #[test]
    fn a_grant_ends_at_its_time_and_the_time_is_known_before() {
        let granted = governance("granted", Some("1970-01-01T00:00:05Z"));
        assert_eq!(granted.next_change(), Some(Timestamp(5_000)));
        assert!(asked(&granted.at(Timestamp(4_999)), "east", "pay").is_allowed());
        assert!(!asked(&granted.at(Timestamp(5_000)), "east", "pay").is_allowed());
        assert_eq!(granted.at(Timestamp(5_000)).next_change(), None);
    }
}
