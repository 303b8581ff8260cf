//! Why a desired change is not planned: as data, and rendered for people in one place.

use std::fmt;

use super::policy::{AdoptPolicy, ZonePolicy};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::RecordKey;
use crate::core::endpoint::verdict::Reason;

/// A record set that is wanted, or unwanted, and not planned. Its `Display` is the message for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Which set.
    pub key: RecordKey,
    /// Why.
    pub why: BlockReason,
    /// Indices of the contributions that wait for it.
    pub from: Vec<usize>,
}

/// Why a record set is not planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockReason {
    /// A set that Zonefold did not make is in the way.
    Foreign {
        /// The set itself, or one that it cannot stand with.
        other: RecordKey,
        /// Which foreign sets the zone takes over.
        adopt: AdoptPolicy,
    },
    /// The zone's policy does not allow it.
    Policy(PolicyBlock),
    /// Another writer changed a set, and the drift policy leaves it so.
    Drifted(DriftBlock),
    /// The alias's target, a name in the same zone, is not there yet.
    AliasTarget {
        target: DnsName,
        /// The apex of the zone.
        zone: DnsName,
        /// How much of the alias waits.
        waits: AliasPart,
    },
    /// It stays, or waits for a set that stays, because the replacement is blocked.
    KeptForSibling(SiblingBlock),
}

/// A change that a zone's policy rules out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyBlock {
    /// A step that the zone does not allow.
    Step {
        step: PolicyStep,
        /// The apex of the zone.
        zone: DnsName,
        /// The zone's policy.
        policy: ZonePolicy,
    },
    /// Taking away a set that no endpoint asks for.
    Deletion(ZonePolicy),
    /// This set of a rejected endpoint is in the way and kept until the endpoint is corrected.
    Retained(RecordKey),
}

/// A step that a policy allows or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyStep {
    /// A set is created.
    Create,
    /// A set is changed.
    Update,
    /// A foreign set that says the same already is taken over.
    Adopt,
}

/// Where another writer's change is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriftBlock {
    /// In the set itself.
    Itself,
    /// In a set that is in the way.
    InTheWay(RecordKey),
    /// In a set that no endpoint asks for any more.
    Unwanted,
}

/// How much of an alias waits for its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AliasPart {
    /// All of it.
    All,
    /// One type: the other has its target and is written.
    Half,
}

/// A set that cannot go or come before others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SiblingBlock {
    /// It waits for this one, which stays until all that replaces it can be written.
    WaitsFor(RecordKey),
    /// It stays until its replacement can be written.
    StaysForReplacement,
    /// This one has its place of the routing policy and cannot be changed now.
    PlaceOf(RecordKey),
    /// This weighted one stays with another TTL.
    TtlOf(RecordKey),
    /// This one stays with another routing policy.
    PolicyOf(RecordKey),
    /// Those beside it get its TTL first.
    AfterTtls,
}

impl BlockReason {
    /// The verdict's reason; `None` if the endpoint's verdict does not change with it.
    pub fn verdict_reason(&self) -> Option<Reason> {
        match self {
            Self::Foreign { .. } => Some(Reason::ForeignRecord),
            Self::Policy(_) => Some(Reason::ZonePolicy),
            Self::Drifted(_) | Self::AliasTarget { .. } | Self::KeptForSibling(_) => None,
        }
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.why {
            BlockReason::Foreign { other, adopt } => {
                let remedy = remedy(key == other, *adopt);
                write!(f, "Route 53 holds {other}, which Zonefold did not make: {remedy}")
            }
            BlockReason::Policy(why) => policy_message(f, key, why),
            BlockReason::Drifted(why) => drift_message(f, key, why),
            BlockReason::AliasTarget { target, zone, waits: AliasPart::All } => write!(
                f,
                "the alias target {target} has no {} record set in the zone {zone} yet; the alias follows when it has",
                key.rtype
            ),
            BlockReason::AliasTarget { target, zone, waits: AliasPart::Half } => write!(
                f,
                "{target} has no {} record set in the zone {zone}, so the alias is written without; it is added when there is one",
                key.rtype
            ),
            BlockReason::KeptForSibling(why) => match why {
                SiblingBlock::WaitsFor(other) => {
                    write!(f, "{other} stays until all that replaces it can be written")
                }
                SiblingBlock::StaysForReplacement => {
                    write!(f, "{key} stays until its replacement can be written")
                }
                SiblingBlock::PlaceOf(holder) => write!(
                    f,
                    "{holder} has that place of the routing policy and cannot be changed now"
                ),
                SiblingBlock::AfterTtls => {
                    write!(f, "{key} follows once the record sets beside it have its time to live")
                }
                SiblingBlock::PolicyOf(holder) => write!(
                    f,
                    "{holder} stays with another routing policy, and Route 53 accepts one for all record sets of a name and type"
                ),
                SiblingBlock::TtlOf(holder) => write!(
                    f,
                    "{holder} stays with another time to live, and Route 53 accepts one for all weighted record sets of a name and type: give that one here, or remove {holder}"
                ),
            },
        }
    }
}

/// How a person clears the way of a foreign set: the wanted one itself, or another.
fn remedy(is_itself: bool, adopt: AdoptPolicy) -> &'static str {
    match adopt {
        _ if !is_itself => "remove it there, or change the endpoint so that the two go together",
        AdoptPolicy::Never => {
            "remove it there, or set adopt for the zone to take it over: to identical if it says the same, to any if not"
        }
        AdoptPolicy::Identical => {
            "it says something else than is wanted: remove it there, make it say the same, or set adopt to any for the zone"
        }
        AdoptPolicy::Any => "remove it there",
    }
}

fn policy_message(f: &mut fmt::Formatter<'_>, key: &RecordKey, why: &PolicyBlock) -> fmt::Result {
    match why {
        PolicyBlock::Step { step, zone, policy } => {
            let done = match step {
                PolicyStep::Create => "created",
                PolicyStep::Update => "changed",
                PolicyStep::Adopt => "taken over as it is",
            };
            write!(f, "{key} would be {done}, and the policy of the zone {zone} is {policy}")
        }
        PolicyBlock::Deletion(policy) => {
            write!(
                f,
                "no endpoint asks for {key} any more, and the zone's policy {policy} keeps it"
            )
        }
        PolicyBlock::Retained(other) => write!(
            f,
            "{other} is kept because the endpoint that made it is now rejected: correct or delete that endpoint"
        ),
    }
}

fn drift_message(f: &mut fmt::Formatter<'_>, key: &RecordKey, why: &DriftBlock) -> fmt::Result {
    match why {
        DriftBlock::Itself => write!(
            f,
            "another writer changed or removed {key}, and the zone's drift policy is alert: put it back by hand, or set the policy to repair"
        ),
        DriftBlock::InTheWay(other) => write!(
            f,
            "another writer changed {other}, which is in the way, and the zone's drift policy is alert: remove it by hand, or set the policy to repair"
        ),
        DriftBlock::Unwanted => write!(
            f,
            "another writer changed {key} and the drift policy is alert: it is not deleted"
        ),
    }
}
