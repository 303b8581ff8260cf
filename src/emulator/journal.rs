//! The journal: every batch that changed a zone, in order, with what was there before and after. It is what tests ask whether
//! a change was lost, a foreign record touched, or something overwritten blindly.

use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::batch::AppliedChange;
use crate::core::dns::name::DnsName;
use crate::core::ids::{AccountId, ZoneId};
use crate::core::time::Timestamp;

/// Where a batch came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A signed request to the AWS port.
    Request,
    /// The control API or a fault rule, in the place of another writer.
    Foreign,
}

/// One applied batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Rises by one; starts at 1.
    pub number: u64,
    /// When it was applied.
    pub at: Timestamp,
    pub origin: Origin,
    /// The account of the zone.
    pub account: AccountId,
    /// The caller.
    pub principal: String,
    pub request_id: String,
    pub zone: ZoneId,
    /// The zone's apex.
    pub zone_name: DnsName,
    /// The bare change id.
    pub change_id: String,
    /// The batch's comment.
    pub comment: Option<String>,
    /// SHA-256 of the request body, in hexadecimal digits; empty for a foreign write.
    pub body_sha256: String,
    /// The changes, in order.
    pub changes: Vec<AppliedChange>,
}

/// The entries, and the file that they are appended to.
#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: Vec<JournalEntry>,
    file: Option<std::fs::File>,
}

impl Journal {
    /// A journal that is appended to a file, when there is a path.
    pub fn open(path: Option<&Path>) -> std::io::Result<Self> {
        let open = |path: &Path| std::fs::OpenOptions::new().create(true).append(true).open(path);
        Ok(Self { entries: Vec::new(), file: path.map(open).transpose()? })
    }

    /// The number of the next entry.
    pub fn next_number(&self) -> u64 {
        self.entries.last().map_or(1, |entry| entry.number + 1)
    }

    /// Appends an entry. A file that cannot be written is given up with a warning: the entries in memory stay complete.
    pub fn append(&mut self, entry: JournalEntry) {
        if let Some(file) = &mut self.file {
            let written = serde_json::to_string(&entry)
                .map_err(std::io::Error::from)
                .and_then(|line| writeln!(file, "{line}"));
            if let Err(error) = written {
                tracing::warn!(%error, "the journal file cannot be written; it ends here");
                self.file = None;
            }
        }
        self.entries.push(entry);
    }

    /// The entries after a number.
    pub fn after(&self, number: u64) -> Vec<JournalEntry> {
        let start = self.entries.partition_point(|entry| entry.number <= number);
        self.entries.get(start..).unwrap_or_default().to_vec()
    }
}
