//! Statuses as the broker tells them, put to the agent's book.

use std::collections::BTreeSet;

use zonefold::agent::status::{StatusBook, progress_name, verdict_name};
use zonefold::core::endpoint::digest::SetDigest;
use zonefold::core::endpoint::{EndpointKey, KeyHash, Version};
use zonefold::wire::convert::{
    key_hashes_from_wire, key_hashes_to_wire, key_versions_from_wire, key_versions_to_wire,
    status_hash,
};
use zonefold::wire::v1::{EndpointStatus, StatusBatch};

const MOST_BATCHES: usize = 16;

/// The bytes are batches, each behind its length; the first byte says before which of them a replay begins. They are lists of
/// hashes as well.
pub fn run(data: &[u8]) {
    check_hash_lists(data);
    let Some((choice, rest)) = super::split_choice(data) else { return };
    let mut book = StatusBook::default();
    for (number, batch) in
        super::delimited::<StatusBatch>(rest, MOST_BATCHES).into_iter().enumerate()
    {
        let replays = choice >> (number % 8) & 1 == 1;
        if replays {
            book.begin_replay();
        }
        let named: BTreeSet<KeyHash> = batch.statuses.iter().filter_map(hash_of).collect();
        let (said, is_done, is_scoped) =
            (batch.statuses.len(), batch.replay_done, batch.replay_scope.is_some());
        for transition in book.take(batch) {
            assert!(named.contains(&transition.key.hash()));
            assert!(
                !verdict_name(transition.status.verdict()).is_empty()
                    && !progress_name(transition.status.progress()).is_empty()
            );
        }
        assert!(named.iter().all(|hash| book.get(hash).is_some()), "what was said is held");
        if replays && is_done && !is_scoped {
            assert!(
                book.iter().count() == named.len() && named.len() <= said,
                "a replay in one batch is all there is"
            );
        }
        check_digest(&book);
    }
    let all: Vec<KeyHash> = book.iter().filter_map(|status| hash_of(&status)).collect();
    book.forget(&all);
    assert!(book.held_digests().is_empty() && book.iter().next().is_none());
}

fn hash_of(status: &EndpointStatus) -> Option<KeyHash> {
    Some(EndpointKey::from(status.key.clone()?).hash())
}

/// The digest that is kept is that of what is held.
fn check_digest(book: &StatusBook) {
    let mut anew = SetDigest::default();
    for status in book.iter() {
        anew.insert(&hash_of(&status).expect("what is held has a key"), &status_hash(&status));
    }
    let held = book.held_digests();
    assert!(
        held.is_empty() == anew.is_empty() && (held.is_empty() || held[..] == anew.to_bytes()[..])
    );
}

fn check_hash_lists(data: &[u8]) {
    if let Ok(hashes) = key_hashes_from_wire(data) {
        assert_eq!(key_hashes_to_wire(&hashes)[..], *data);
    }
    if let Ok(pairs) = key_versions_from_wire(data) {
        assert_eq!(
            key_versions_to_wire(pairs.iter().map(|(key, version)| (key, version)))[..],
            *data
        );
        let mut digest = SetDigest::default();
        pairs.iter().for_each(|(key, version)| digest.insert(key, version));
        assert_eq!(digest.differing(&digest.to_bytes()), Some(vec![]));
        pairs.iter().rev().for_each(|(key, version)| digest.remove(key, version));
        assert!(digest.is_empty() && digest == SetDigest::default());
    }
    if let Some(differing) = SetDigest::default().differing(data) {
        assert!(differing.is_sorted_by(|a, b| a < b));
    }
    assert_eq!(Version::from_slice(data).is_some(), data.len() == 32);
}
