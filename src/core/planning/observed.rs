//! Observed record sets and their ownership.

use serde::{Deserialize, Serialize};

use crate::core::dns::record::{RawRecordSet, RecordData, RecordSet};
use crate::core::ids::{BatchId, ClusterId};

/// The cluster and the batch that made a record set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ownership {
    /// The cluster that held the name when the set was written; of a name that clusters share, the first of those that have a part in
    /// the set.
    pub cluster: ClusterId,
    /// The batch that wrote it.
    pub batch: BatchId,
}

/// A change by another writer to a record set of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drift {
    /// It says something else than we wrote.
    Changed,
    /// It is gone; the raw form kept is the last that was there.
    Missing,
}

/// A record set as observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Exactly what Route 53 answered.
    pub raw: RawRecordSet,
    /// `None` if the set is foreign.
    pub owner: Option<Ownership>,
    /// How another writer changed it since we wrote it.
    pub drift: Option<Drift>,
}

impl Observed {
    /// Whether Route 53 holds the set.
    pub fn is_there(&self) -> bool {
        self.drift != Some(Drift::Missing)
    }

    /// The set in canonical form if it is there and Zonefold made it; `None` for a foreign one, and for one that cannot be read.
    pub fn ours(&self) -> Option<RecordSet> {
        let is_ours = self.owner.is_some() && self.is_there();
        is_ours.then(|| self.raw.canonical().ok()).flatten()
    }

    /// The values of a set of ours; empty for an alias.
    pub fn own_values(&self) -> Vec<arcstr::ArcStr> {
        match self.ours().map(|set| set.data) {
            Some(RecordData::Values { values, .. }) => values,
            Some(RecordData::Alias(_)) | None => vec![],
        }
    }
}
