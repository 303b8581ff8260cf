//! Changes as data: the change of one record set, its cause, and the batch that sends it to Route 53.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::tally::CountedName;
use super::unit_digest::UnitDigest;
use crate::core::dns::record::{RawRecordSet, RecordKey};
use crate::core::endpoint::EndpointKey;
use crate::core::ids::{AccountId, BatchId, ClusterId, ZoneId};
use crate::core::time::Timestamp;

/// Why a change is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Motive {
    /// A cluster wants the record set, or wants it differently.
    Wanted,
    /// No cluster wants the record set any more.
    Withdrawn,
    /// The name passes from one cluster to another.
    Passed,
    /// Another writer changed a record set of ours and the zone's drift policy puts it back.
    Repair,
    /// The zone's drift policy takes over a record set that Zonefold did not make.
    Adopt,
    /// A reason that a newer release wrote to the journal and this one does not know.
    #[serde(other)]
    Unknown,
}

/// The cause of a change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cause {
    /// Why.
    pub motive: Motive,
    /// The cluster that holds the name, or held it last.
    pub cluster: ClusterId,
    /// The endpoints that the record set adds up from; for a deletion, those that are gone.
    pub endpoints: Vec<EndpointKey>,
}

/// Before → after of one record set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Change {
    /// Which one.
    pub key: RecordKey,
    /// The record set exactly as observed; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<RawRecordSet>,
    /// The desired record set; `None` to delete it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<RawRecordSet>,
    /// Why.
    pub cause: Cause,
}

/// Changes that Route 53 accepts only together, or that must not be seen apart: a switch of type or policy, the TTL of a
/// weighted group, a CNAME against the other types of its name. A batch takes a unit whole or leaves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Unit {
    /// At least one change; all of one owner name.
    pub changes: Vec<Change>,
}

impl Unit {
    /// The cluster that pays for the unit in the fair order: the one that something is written for. Leftovers of another
    /// cluster that have to go first are not what that cluster wants, and would wait behind all that it has to send.
    pub fn cluster(&self) -> Option<&ClusterId> {
        let written = self.changes.iter().find(|change| change.after.is_some());
        written.or(self.changes.first()).map(|change| &change.cause.cluster)
    }

    /// What the unit is known by in a zone while people decide about it: two zones may have the same names, and the word for one
    /// of them is none for the other. The order of its changes does not matter.
    pub fn digest(&self, zone: &ZoneId) -> UnitDigest {
        let mut changes: Vec<String> = self
            .changes
            .iter()
            .map(|change| {
                serde_json::json!({ "key": change.key, "before": change.before, "after": change.after })
                    .to_string()
            })
            .collect();
        changes.sort();
        let mut hasher = Sha256::new();
        hasher.update(b"zonefold.v1.unit");
        hasher.update((zone.as_str().len() as u64).to_be_bytes());
        hasher.update(zone.as_str());
        for change in changes {
            hasher.update((change.len() as u64).to_be_bytes());
            hasher.update(change);
        }
        UnitDigest(hasher.finalize().into())
    }
}

/// CREATE or DELETE. UPSERT has no precondition, so it is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// Create if absent.
    Create,
    /// Delete if exactly this is there.
    Delete,
}

/// One element of a ChangeResourceRecordSets call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WireChange {
    /// CREATE or DELETE.
    pub action: Action,
    /// With which record set, exactly.
    pub set: RawRecordSet,
}

/// Everything about one call, decided beforehand: the executor has no choices left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The key of the journal entry; stands in the call's comment.
    pub id: BatchId,
    /// The account that is called.
    pub account: AccountId,
    /// The zone that is changed.
    pub zone: ZoneId,
    /// When it was planned.
    pub planned_at: Timestamp,
    /// The units that it carries.
    pub units: Vec<Unit>,
    /// The elements of the call, in the order of the call.
    pub wire: Vec<WireChange>,
    /// What rules and people said of it.
    #[serde(default, skip_serializing_if = "BatchStamp::is_empty")]
    pub stamp: BatchStamp,
}

/// By which rules a batch was planned, and by whose word it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchStamp {
    /// The number of the set of rules; 0 if none was ever accepted.
    #[serde(skip_serializing_if = "is_zero")]
    pub rules: u64,
    /// What guards count of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counted: Vec<CountedName>,
    /// The units that people let go: their word is used up once the batch is applied.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub released: BTreeSet<UnitDigest>,
}

impl BatchStamp {
    /// Whether rules and people said nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Batch {
    /// All changes of all units.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.units.iter().flat_map(|unit| &unit.changes)
    }
}
