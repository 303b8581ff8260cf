//! Who a name belongs to.

use serde::{Deserialize, Serialize};

use super::validate_names;
use crate::core::dns::name::DnsName;
use crate::core::governance::pattern::NamePattern;
use crate::core::governance::problem::{RulePath, RuleProblems};
use crate::core::ids::RuleName;

/// How a name is claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClaimsMode {
    /// The first cluster to come has the name.
    #[default]
    Open,
    /// As `open`; what `granted` would refuse is shown.
    Report,
    /// Only who has a grant may have the name.
    Granted,
}

impl ClaimsMode {
    /// As it is written in a rule.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Report => "report",
            Self::Granted => "granted",
        }
    }
}

/// Who sees what another team's objects are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClaimVisibility {
    /// Whoever may read.
    #[default]
    Company,
    /// The team that the object publishes for, and the owner of the name.
    Team,
}

/// Names of a zone belong to a team. Of several that fit a name the longest pattern wins; what it leaves out is as the next longer
/// one says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NameOwnership {
    /// The zone's apex; all hosted zones of that name.
    pub zone: DnsName,
    /// The names; all of the zone if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NamePattern>,
    /// The team, by the name of its rule.
    pub team: RuleName,
    /// How the names are claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<ClaimsMode>,
    /// Whether the one who asks may not be the one who approves; they may not unless it says `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub four_eyes: Option<bool>,
    /// Who sees what another team's objects are called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility_of_claims: Option<ClaimVisibility>,
}

impl NameOwnership {
    pub(super) fn validate(&self, at: &RulePath, problems: &mut RuleProblems) {
        validate_names(at, &self.zone, &self.names, problems);
    }
}
