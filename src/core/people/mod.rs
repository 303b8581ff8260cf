//! People: where they reach the broker.

pub mod public_url;
