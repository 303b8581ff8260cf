//! The kinds of decisions.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::core::governance::rule::subscription::Topic;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_as_it_is_written() {
        for kind in AuditKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(AuditKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(serde_json::from_str::<AuditKind>("\"tomorrow\"").unwrap(), AuditKind::Unknown);
        assert_eq!(AuditKind::parse("unknown"), None);
    }
}
