//! What each policy of a shared name makes of the record sets of one member.

use arcstr::ArcStr;

use super::decision::NameInput;
use crate::core::aws::alias_zones::CLOUDFRONT;
use crate::core::dns::record::{FailoverRole, RecordData, RecordSet, RecordType, RoutingPolicy};
use crate::core::endpoint::verdict::{Reason, Verdict};
use crate::core::governance::rule::SharedRule;
use crate::core::governance::rule::sharing::{FailoverMode, FailoverPair, Sharing, SharingPolicy};
use crate::core::ids::ClusterId;

/// The label of a cluster that names its AWS region.
const REGION: &str = "region";
/// The weight of a share that neither a rule nor its endpoint gives one.
const DEFAULT_WEIGHT: u8 = 1;

/// A name and the rule by which clusters share it.
pub(super) struct Shares<'a> {
    pub input: &'a NameInput<'a>,
    pub rule: &'a SharedRule,
    pub sharing: &'a Sharing,
}

impl Shares<'_> {
    /// Makes a member's set its share of the name.
    ///
    /// # Errors
    /// The verdict of its endpoints: they wait.
    pub(super) fn of(&self, member: &ClusterId, mut set: RecordSet) -> Result<RecordSet, Verdict> {
        let shared = match self.sharing.policy {
            SharingPolicy::Exclusive | SharingPolicy::Merge => RoutingPolicy::Simple,
            SharingPolicy::Multivalue => RoutingPolicy::Multivalue,
            SharingPolicy::Weighted => RoutingPolicy::Weighted(self.weight(member, &set.policy)),
            SharingPolicy::Latency => RoutingPolicy::Latency(self.region(member, &set.policy)?),
            SharingPolicy::Failover => match &self.sharing.failover {
                Some(pair) => self.failover(pair, member, &mut set)?,
                None => RoutingPolicy::Simple,
            },
        };
        let is_own = set.policy != RoutingPolicy::Simple;
        if is_own && set.policy.kind() != shared.kind() {
            return Err(self.waits(&format!(
                "its policy is {}, and the endpoint asks for another one",
                self.sharing.policy.as_str()
            )));
        }
        // A multivalue answer is no alias and no CNAME (Route 53 developer guide, "Values specific for multivalue answer records").
        if shared == RoutingPolicy::Multivalue
            && (set.is_alias() || set.key.rtype == RecordType::Cname)
        {
            return Err(self.waits("an alias or a CNAME cannot be shared by the policy multivalue"));
        }
        // Route 53 accepts no routing policy on NS (API reference, ResourceRecordSet).
        if shared != RoutingPolicy::Simple && set.key.rtype == RecordType::Ns {
            return Err(self.waits("an NS record set can be shared by the policy merge alone"));
        }
        set.policy = shared;
        set.key.set_identifier = self.identifier(member, set.key.set_identifier.take());
        Ok(set)
    }

    /// Whether one member answers at a time, and the others have no part in the name meanwhile.
    pub(super) fn take_turns(&self) -> bool {
        let is_manual = |pair: &FailoverPair| pair.mode == FailoverMode::Manual;
        self.sharing.policy == SharingPolicy::Failover
            && self.sharing.failover.as_ref().is_some_and(is_manual)
    }

    /// The set identifier of a member's set: its own if it has one, else the name of the cluster.
    fn identifier(&self, member: &ClusterId, own: Option<ArcStr>) -> Option<ArcStr> {
        let is_one_set =
            matches!(self.sharing.policy, SharingPolicy::Merge | SharingPolicy::Exclusive)
                || self.take_turns();
        if is_one_set { own } else { own.or_else(|| Some(member.as_str().into())) }
    }

    /// The weight that the rule gives, or else the endpoint.
    fn weight(&self, member: &ClusterId, own: &RoutingPolicy) -> u8 {
        let own = match own {
            RoutingPolicy::Weighted(weight) => Some(*weight),
            _ => None,
        };
        self.sharing.given_weight(member).or(own).unwrap_or(DEFAULT_WEIGHT)
    }

    /// The region that the endpoint says, or else the label of its cluster.
    fn region(&self, member: &ClusterId, own: &RoutingPolicy) -> Result<ArcStr, Verdict> {
        if let RoutingPolicy::Latency(region) = own {
            return Ok(region.clone());
        }
        let cluster = self.input.zone.governance.cluster(member);
        let region = cluster.and_then(|facts| facts.labels.get(REGION));
        region.map(|region| region.as_str().into()).ok_or_else(|| {
            self.waits(&format!(
                "its policy is latency, and the cluster {member} has no label {REGION}: add it to the broker's configuration"
            ))
        })
    }

    fn failover(
        &self,
        pair: &FailoverPair,
        member: &ClusterId,
        set: &mut RecordSet,
    ) -> Result<RoutingPolicy, Verdict> {
        let role = match member {
            member if *member == pair.primary => FailoverRole::Primary,
            member if *member == pair.secondary => FailoverRole::Secondary,
            _ => {
                return Err(self.waits(&format!(
                    "it fails over from {} to {}, and {member} is neither",
                    pair.primary, pair.secondary
                )));
            }
        };
        if pair.mode == FailoverMode::Manual {
            return match member == pair.active() {
                true => Ok(RoutingPolicy::Simple),
                false => Err(self.waits(&format!(
                    "{} answers for it until somebody switches to {member}",
                    pair.active()
                ))),
            };
        }
        if role == FailoverRole::Primary {
            self.watch_health(pair, member, set)?;
        }
        Ok(RoutingPolicy::Failover(role))
    }

    /// A primary has a health check, or is an alias that evaluates the health of its target ("A non-alias primary
    /// ResourceRecordSet must have an associated health check").
    fn watch_health(
        &self,
        pair: &FailoverPair,
        member: &ClusterId,
        set: &mut RecordSet,
    ) -> Result<(), Verdict> {
        if let Some(check) = &pair.health_check {
            set.health_check_id = Some(check.as_str().into());
        }
        match &mut set.data {
            _ if set.health_check_id.is_some() => Ok(()),
            RecordData::Alias(target) if target.zone_id.as_str() == CLOUDFRONT => {
                Err(self.waits(&format!(
                    "it fails over from {member}, and CloudFront does not tell Route 53 its health: give failover.healthCheck"
                )))
            }
            RecordData::Alias(target) => {
                target.evaluate_target_health = true;
                Ok(())
            }
            RecordData::Values { .. } => Err(self.waits(&format!(
                "it fails over from {member}, whose record set has neither a health check nor is an alias: give failover.healthCheck"
            ))),
        }
    }

    /// The rule, for people.
    pub(super) fn by(&self) -> String {
        format!("(by the {} in {})", self.rule.id(), self.rule.home)
    }

    pub(super) fn waits(&self, why: &str) -> Verdict {
        let name = self.input.name;
        Verdict::waiting(
            Reason::NameHeld,
            format!("{name} is shared: {why} {}", self.by()),
            Some(self.input.zone.placement.clone()),
        )
    }
}
