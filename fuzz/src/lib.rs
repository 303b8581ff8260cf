//! What each fuzz target does with its bytes: one module a kind of foreign bytes, with a function `run` that panics when a
//! property does not hold. Beyond "no panic", each states what has to be true of what was read: it survives the way out and
//! in again, a canonical form stays as it is, a plan that was carried out leaves nothing to do.
//!
//! `fuzz_targets/` puts libFuzzer's bytes in; `tests/it/house/fuzz.rs` does the same with the committed corpus, so that `cargo test`
//! keeps the targets and replays whatever was found. Both compile these files.

pub mod agent;
pub mod callers;
pub mod config;
pub mod dns;
pub mod emulator_request;
pub mod endpoint;
pub mod identifiers;
pub mod ingest;
pub mod manifests;
pub mod name;
pub mod packed;
pub mod record_set;
pub mod refusal;
pub mod rest;
pub mod route53_answer;
pub mod seeds;
pub mod statuses;
pub mod store_rows;
pub mod values;

/// A target's name, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, by name.
pub const TARGETS: [Target; 18] = [
    ("agent", agent::run),
    ("callers", callers::run),
    ("config", config::run),
    ("dns", dns::run),
    ("emulator_request", emulator_request::run),
    ("endpoint", endpoint::run),
    ("identifiers", identifiers::run),
    ("ingest", ingest::run),
    ("manifests", manifests::run),
    ("name", name::run),
    ("packed", packed::run),
    ("record_set", record_set::run),
    ("refusal", refusal::run),
    ("rest", rest::run),
    ("route53_answer", route53_answer::run),
    ("statuses", statuses::run),
    ("store_rows", store_rows::run),
    ("values", values::run),
];

/// Takes the first byte off, for what is not part of the bytes under test.
fn split_choice(data: &[u8]) -> Option<(usize, &[u8])> {
    data.split_first().map(|(choice, rest)| (usize::from(*choice), rest))
}

/// The messages that stand one after the other, each behind its length, as many as can be read; at most `most`.
fn delimited<M: prost::Message + Default>(mut bytes: &[u8], most: usize) -> Vec<M> {
    let mut messages = Vec::new();
    while !bytes.is_empty()
        && messages.len() < most
        && let Ok(message) = M::decode_length_delimited(&mut bytes)
    {
        messages.push(message);
    }
    messages
}
