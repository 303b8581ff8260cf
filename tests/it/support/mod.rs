//! What several tests share.

pub mod postgres;
pub mod world;
