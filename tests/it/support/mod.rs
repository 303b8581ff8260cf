//! What several tests share.

pub mod postgres;
