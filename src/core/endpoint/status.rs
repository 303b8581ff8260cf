//! The content of a status as one hash: with it, two sides find out which statuses differ without sending them.

use sha2::{Digest as _, Sha256};

use super::Version;

/// The part of a status that is compared. It is the same before and after a restart of the broker: times, change ids and
/// expectations are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusContent<'a> {
    /// The content hash of the endpoint that the status is about.
    pub version: &'a [u8],
    /// The number of the verdict in the protocol.
    pub verdict: i32,
    /// The reason's code.
    pub reason: &'a str,
    /// The text for people.
    pub message: &'a str,
    /// The number of the progress in the protocol.
    pub progress: i32,
    /// The account where the endpoint was placed; empty for none.
    pub account: &'a str,
    /// The id of the zone there; empty for none.
    pub zone: &'a str,
}

impl StatusContent<'_> {
    /// `SHA-256("zonefold.v1.status" || verdict || progress || each text with its length)`, numbers as big-endian octets:
    /// both ends compute it, so it is part of the protocol.
    pub fn hash(&self) -> Version {
        let mut hasher = Sha256::new();
        hasher.update(b"zonefold.v1.status");
        hasher.update(self.verdict.to_be_bytes());
        hasher.update(self.progress.to_be_bytes());
        let texts = [self.reason, self.message, self.account, self.zone].map(str::as_bytes);
        for text in [self.version].into_iter().chain(texts) {
            hasher.update((text.len() as u64).to_be_bytes());
            hasher.update(text);
        }
        Version(hasher.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: StatusContent<'_> = StatusContent {
        version: &[7; 32],
        verdict: 1,
        reason: "ACCEPTED",
        message: "",
        progress: 3,
        account: "111111111111",
        zone: "Z1",
    };

    #[test]
    fn the_hash_of_a_known_status_never_changes() {
        // Agents of another version compute the same.
        assert_eq!(
            BASE.hash().to_string(),
            "dc088a889f263499724ef9bde96888118fbafbe0b8860afabb95cb813df1530d"
        );
    }

    #[test]
    fn every_part_counts_and_none_runs_into_the_next() {
        let others = [
            BASE,
            StatusContent { version: &[8; 32], ..BASE },
            StatusContent { verdict: 2, ..BASE },
            StatusContent { progress: 2, ..BASE },
            StatusContent { reason: "NAME_HELD", ..BASE },
            StatusContent { message: "x", ..BASE },
            StatusContent { account: "11111111111", zone: "1Z1", ..BASE },
            StatusContent { account: "", ..BASE },
            StatusContent { zone: "", ..BASE },
        ];
        let hashes: std::collections::BTreeSet<Version> =
            others.iter().map(StatusContent::hash).collect();
        assert_eq!(hashes.len(), others.len());
    }
}
