//! Verdicts: the broker's stored answer for an endpoint, with a reason that a program can read and a person can act on.

use serde::{Deserialize, Serialize};

use crate::core::ids::{AccountId, ZoneId};

/// The three answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictState {
    /// The endpoint contributes to a record set.
    Accepted,
    /// It will, when something else changes: a zone appears, a name becomes free.
    Waiting,
    /// It cannot, until it is written differently.
    Rejected,
}

/// Why. The names are part of the protocol and of the REST API: they are added to, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// Nothing to say.
    Accepted,
    /// No visible zone of the environment holds the name.
    NoZone,
    /// The zone that held the name is no longer visible.
    ZoneGone,
    /// Two zones of that name fit and nothing says which one.
    AmbiguousZone,
    /// Another cluster holds the name.
    NameHeld,
    /// Another object of the same cluster wants something that does not go together with this.
    ConflictInCluster,
    /// Route 53 holds a record set there that Zonefold did not make.
    ForeignRecord,
    /// The zone's policy does not allow this change.
    ZonePolicy,
    /// The name is not a DNS name.
    InvalidName,
    /// A target is not a value of the type.
    InvalidTarget,
    /// The type is not one that can be published.
    InvalidType,
    /// The TTL is out of range.
    InvalidTtl,
    /// Routing properties are wrong or do not go together.
    InvalidRouting,
    /// More values, characters or sets than Route 53 accepts.
    TooLarge,
    /// The content does not hash to the version it was sent with, or a message was not understood.
    Malformed,
    /// Accounts that could hold a closer zone were never listed.
    ZonesUnknown,
    /// An NS record set of the zone gives the name to other servers.
    BelowDelegation,
    /// The cluster has as many endpoints stored as it may; the content of this one is not.
    Quota,
    /// The name is given by grants, and none lets the cluster and the namespace have it.
    NotGranted,
}

impl Reason {
    /// The name in the protocol, such as `NAME_HELD`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "ACCEPTED",
            Self::NoZone => "NO_ZONE",
            Self::ZoneGone => "ZONE_GONE",
            Self::AmbiguousZone => "AMBIGUOUS_ZONE",
            Self::NameHeld => "NAME_HELD",
            Self::ConflictInCluster => "CONFLICT_IN_CLUSTER",
            Self::ForeignRecord => "FOREIGN_RECORD",
            Self::ZonePolicy => "ZONE_POLICY",
            Self::InvalidName => "INVALID_NAME",
            Self::InvalidTarget => "INVALID_TARGET",
            Self::InvalidType => "INVALID_TYPE",
            Self::InvalidTtl => "INVALID_TTL",
            Self::InvalidRouting => "INVALID_ROUTING",
            Self::TooLarge => "TOO_LARGE",
            Self::Malformed => "MALFORMED",
            Self::ZonesUnknown => "ZONES_UNKNOWN",
            Self::BelowDelegation => "BELOW_DELEGATION",
            Self::Quota => "QUOTA",
            Self::NotGranted => "NOT_GRANTED",
        }
    }
}

/// The stored answer for one version of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Accepted, waiting or rejected.
    pub state: VerdictState,
    /// Why, for programs.
    pub reason: Reason,
    /// Why, for people: what happened, where, what to do. Empty when accepted, unless there is
    /// something to know.
    #[serde(default)]
    pub message: String,
    /// Where the endpoint was placed, once it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
}

/// The account and zone that an endpoint was routed to. It is kept when a closer zone appears: a zone that has no
/// delegation yet would make the name unresolvable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Placement {
    /// The AWS account.
    pub account: AccountId,
    /// The hosted zone.
    pub zone: ZoneId,
}

impl Verdict {
    /// Accepted at a placement.
    pub fn accepted(placement: Placement) -> Self {
        Self {
            state: VerdictState::Accepted,
            reason: Reason::Accepted,
            message: String::new(),
            placement: Some(placement),
        }
    }

    /// Rejected: it has to be written differently.
    pub fn rejected(reason: Reason, message: impl Into<String>) -> Self {
        Self { state: VerdictState::Rejected, reason, message: message.into(), placement: None }
    }

    /// Waiting for something else to change.
    pub fn waiting(
        reason: Reason,
        message: impl Into<String>,
        placement: Option<Placement>,
    ) -> Self {
        Self { state: VerdictState::Waiting, reason, message: message.into(), placement }
    }
}
