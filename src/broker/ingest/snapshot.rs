//! A first snapshot on its way: collected, counted, compared with its digest, and committed whole or not at all.

use super::session::read_put;
use crate::core::digest::SetDigest;
use crate::core::endpoint::{KeyHash, Version};
use crate::core::packed::PackedEndpoint;
use crate::wire::v1;

/// See the module's page.
pub struct Snapshot {
    begin: v1::SnapshotBegin,
    puts: Vec<(KeyHash, Version, PackedEndpoint)>,
    digest: SetDigest,
}

impl Snapshot {
    /// An empty one.
    pub fn new(begin: v1::SnapshotBegin) -> Self {
        Self { begin, puts: vec![], digest: SetDigest::default() }
    }

    /// Its sequence number.
    pub fn seq(&self) -> u64 {
        self.begin.seq
    }

    /// Takes a part.
    ///
    /// # Errors
    /// How the part breaks the protocol.
    pub fn take(&mut self, chunk: v1::SnapshotChunk) -> Result<(), String> {
        for put in chunk.puts {
            let (key, version, endpoint) = read_put(put)
                .map_err(|status| format!("the snapshot holds an endpoint that cannot be read: {}", status.message))?;
            self.digest.insert(&key, &version);
            self.puts.push((key, version, endpoint));
        }
        if self.puts.len() as u64 > self.begin.count {
            return Err(format!("the snapshot announced {} endpoints and holds more", self.begin.count));
        }
        Ok(())
    }

    /// The endpoints, when all that was announced is there.
    ///
    /// # Errors
    /// What is missing.
    pub fn finish(self) -> Result<Vec<(KeyHash, Version, PackedEndpoint)>, String> {
        if self.puts.len() as u64 != self.begin.count {
            return Err(format!("the snapshot announced {} endpoints and holds {}", self.begin.count, self.puts.len()));
        }
        if self.digest.root()[..] != self.begin.root_digest[..] {
            return Err("the snapshot's endpoints do not add up to its digest".to_owned());
        }
        Ok(self.puts)
    }
}
