//! A first snapshot in transfer. Absence from it is judged only when all of it has come and adds up to its digest.
//!
//! Additions alone delete nothing, so they need not wait for that: a snapshot in the order of its names is made durable in
//! parts, ordinary units that take turns with those of other clusters. A name is never split over two of them, so that no
//! name is published with half of its endpoints. A snapshot in another order waits in memory for its end, up to [`MOST_WAITING`].

use super::put::read_put;
use crate::core::endpoint::digest::SetDigest;
use crate::ports::IngestOp;
use crate::wire::v1;

/// A part is complete with this many endpoints, at the next name.
const PART: usize = 500;
/// No more octets of endpoints wait in memory for the end of a name or of a snapshot. Route 53 accepts fewer at a name, so
/// a name that has more is not published as a whole anyway.
const MOST_WAITING: u64 = 16 << 20;

/// Why a snapshot is refused.
#[derive(Debug)]
pub enum SnapshotError {
    /// It breaks the protocol.
    Protocol(String),
    /// More of it waits than is kept in memory.
    TooLarge(String),
}

/// See the module's page.
pub struct Snapshot {
    begin: v1::SnapshotBegin,
    digest: SetDigest,
    /// Operations that came and are in no complete part.
    rest: Vec<IngestOp>,
    /// Their octets.
    waiting: u64,
    last_name: arcstr::ArcStr,
}

impl Snapshot {
    /// An empty one.
    pub fn new(begin: v1::SnapshotBegin) -> Self {
        Self {
            begin,
            digest: SetDigest::default(),
            rest: vec![],
            waiting: 0,
            last_name: arcstr::ArcStr::new(),
        }
    }

    /// Its sequence number.
    pub fn seq(&self) -> u64 {
        self.begin.seq
    }

    /// How many endpoints it has.
    pub fn count(&self) -> u64 {
        self.begin.count
    }

    /// Takes a piece; returns the parts that are complete with it.
    ///
    /// # Errors
    /// The piece breaks the protocol, or more waits than is kept in memory.
    pub fn take(&mut self, chunk: v1::SnapshotChunk) -> Result<Vec<Vec<IngestOp>>, SnapshotError> {
        let mut parts = vec![];
        for put in chunk.puts {
            let (key, version, endpoint) = read_put(put).map_err(|status| {
                SnapshotError::Protocol(format!(
                    "the snapshot holds an endpoint that cannot be read: {}",
                    status.message
                ))
            })?;
            self.waiting += endpoint.as_bytes().len() as u64;
            let is_too_much = self.waiting > MOST_WAITING;
            if self.begin.by_name {
                let is_next = self.goes_to_the_next_name(endpoint.view().dns_name)?;
                if is_too_much || (is_next && self.rest.len() >= PART) {
                    self.waiting = endpoint.as_bytes().len() as u64;
                    parts.push(std::mem::take(&mut self.rest));
                }
            } else if is_too_much {
                return Err(SnapshotError::TooLarge(format!(
                    "more than {MOST_WAITING} bytes of a snapshot in no order wait for its end: send it in the order of its names (by_name)"
                )));
            }
            self.digest.insert(&key, &version);
            if self.digest.count() > self.begin.count {
                return Err(SnapshotError::Protocol(format!(
                    "the snapshot announced {} endpoints and holds more",
                    self.begin.count
                )));
            }
            self.rest.push(IngestOp::Put { key, version, endpoint });
        }
        Ok(parts)
    }

    /// Takes the name of an endpoint; returns whether it differs from the one before.
    fn goes_to_the_next_name(&mut self, name: &str) -> Result<bool, SnapshotError> {
        if *name < *self.last_name {
            return Err(SnapshotError::Protocol(format!(
                "the snapshot is in the order of names, and {name} came after {}",
                self.last_name
            )));
        }
        let is_next = *name != *self.last_name;
        if is_next {
            self.last_name = name.into();
        }
        Ok(is_next)
    }

    /// The operations that are in no complete part, and the root of all, if everything announced has come.
    ///
    /// # Errors
    /// Count or digest differ from the announced ones.
    pub fn finish(self) -> Result<(Vec<IngestOp>, [u8; 32]), String> {
        if self.digest.count() != self.begin.count {
            return Err(format!(
                "the snapshot announced {} endpoints and holds {}",
                self.begin.count,
                self.digest.count()
            ));
        }
        let root = self.digest.root();
        if root[..] != self.begin.root_digest[..] {
            return Err("the snapshot's endpoints do not add up to its digest".to_owned());
        }
        Ok((self.rest, root))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::endpoint::Endpoint;
    use crate::core::testkit::endpoint;
    use crate::wire::convert::version_to_wire;

    /// Three objects want each name, so that a name that is split shows.
    fn wanted(names: usize) -> Vec<Endpoint> {
        let mut wanted: Vec<Endpoint> = (0..names * 3)
            .map(|n| {
                endpoint(
                    &format!("web{n}"),
                    &format!("n{}.example.com", n % names),
                    "A",
                    &["192.0.2.1"],
                )
            })
            .collect();
        wanted.sort_by(|a, b| a.key.dns_name.cmp(&b.key.dns_name));
        wanted
    }

    fn begin(wanted: &[Endpoint], by_name: bool) -> v1::SnapshotBegin {
        let mut digest = SetDigest::default();
        wanted.iter().for_each(|one| digest.insert(&one.key.hash(), &one.version()));
        v1::SnapshotBegin {
            seq: 1,
            count: digest.count(),
            root_digest: digest.root().to_vec().into(),
            by_name,
        }
    }

    fn chunk(wanted: &[Endpoint]) -> v1::SnapshotChunk {
        let put = |one: &Endpoint| v1::Put {
            endpoint: Some(one.into()),
            version: version_to_wire(&one.version()),
        };
        v1::SnapshotChunk { puts: wanted.iter().map(put).collect() }
    }

    fn text(error: SnapshotError) -> String {
        match error {
            SnapshotError::Protocol(text) | SnapshotError::TooLarge(text) => text,
        }
    }

    fn names(part: &[IngestOp]) -> Vec<String> {
        let name = |op: &IngestOp| match op {
            IngestOp::Put { endpoint, .. } => endpoint.view().dns_name.to_owned(),
            IngestOp::Del { .. } => panic!("a snapshot deletes nothing itself"),
        };
        part.iter().map(name).collect()
    }

    #[test]
    fn a_name_is_never_split_over_two_parts_and_nothing_is_lost() {
        let wanted = wanted(1_000);
        let mut snapshot = Snapshot::new(begin(&wanted, true));
        let mut parts = vec![];
        // Pieces end wherever they do, in the middle of a name too.
        for piece in wanted.chunks(100) {
            parts.extend(snapshot.take(chunk(piece)).unwrap());
        }
        assert!(parts.len() >= 4);
        let (rest, root) = snapshot.finish().unwrap();
        assert_eq!(root[..], begin(&wanted, true).root_digest[..]);
        parts.push(rest);
        let parts: Vec<Vec<String>> = parts.iter().map(|part| names(part)).collect();
        for (before, after) in parts.iter().zip(&parts[1..]) {
            assert_ne!(before.last(), after.first());
            assert!(before.len() >= PART && before.len() < PART + 3);
        }
        assert_eq!(
            parts.concat(),
            wanted.iter().map(|one| one.key.dns_name.to_string()).collect::<Vec<_>>()
        );
    }

    #[test]
    fn one_in_no_order_is_whole_at_its_end() {
        let mut wanted = wanted(1_000);
        wanted.reverse();
        let mut snapshot = Snapshot::new(begin(&wanted, false));
        assert!(snapshot.take(chunk(&wanted)).unwrap().is_empty());
        assert_eq!(snapshot.finish().unwrap().0.len(), wanted.len());
        let mut lies = Snapshot::new(begin(&wanted, true));
        assert!(text(lies.take(chunk(&wanted)).unwrap_err()).contains("came after"));
    }

    #[test]
    fn one_that_does_not_add_up_is_refused_at_its_end() {
        let wanted = wanted(2);
        let refused = |begin: v1::SnapshotBegin, wanted: &[Endpoint]| {
            let mut snapshot = Snapshot::new(begin);
            snapshot.take(chunk(wanted)).map_err(text).and_then(|_| snapshot.finish()).unwrap_err()
        };
        assert!(
            refused(begin(&wanted, true), &wanted[1..])
                .contains("announced 6 endpoints and holds 5")
        );
        assert!(refused(begin(&wanted[1..], true), &wanted).contains("holds more"));
        assert!(refused(begin(&wanted[1..], true), &wanted[..5]).contains("do not add up"));
    }

    /// Endpoints at one name, each of 1 MiB.
    fn large(count: usize) -> Vec<Endpoint> {
        let target = "x".repeat(1 << 20);
        (0..count)
            .map(|n| endpoint(&format!("web{n}"), "one.example.com", "TXT", &[&target]))
            .collect()
    }

    #[test]
    fn one_in_no_order_does_not_wait_in_memory_without_bound() {
        let wanted = large(20);
        let mut snapshot = Snapshot::new(begin(&wanted, false));
        let error = snapshot.take(chunk(&wanted)).unwrap_err();
        assert!(matches!(error, SnapshotError::TooLarge(ref text) if text.contains("by_name")));
    }

    #[test]
    fn a_name_that_is_larger_than_any_name_can_be_is_split() {
        let wanted = large(40);
        let mut snapshot = Snapshot::new(begin(&wanted, true));
        let parts = snapshot.take(chunk(&wanted)).unwrap();
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [15, 15]);
        assert_eq!(snapshot.finish().unwrap().0.len(), 10);
    }
}
