//! Secrets that people and programs show: made here, and kept by their hashes alone.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use sha2::{Digest as _, Sha256};

use crate::ports::SecretHash;

/// Bytes of randomness in a secret.
const SECRET_BYTES: usize = 32;
/// What each begins with: scanners find one that got somewhere by mistake.
const PREFIX: &str = "zonefold_";
/// Longer texts are no secrets of ours.
const LONGEST: usize = 200;

/// A new secret; `None` if the system gives no randomness.
pub fn new_secret() -> Option<String> {
    let mut random = [0; SECRET_BYTES];
    SystemRandom::new().fill(&mut random).ok()?;
    Some(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random)))
}

/// What is kept of a secret.
pub fn secret_hash(secret: &str) -> SecretHash {
    Sha256::digest(secret.as_bytes()).into()
}

/// Whether a text may be a secret that was made here: others are not looked for in the store.
pub(super) fn may_be_ours(text: &str) -> bool {
    text.len() <= LONGEST && text.starts_with(PREFIX)
}
