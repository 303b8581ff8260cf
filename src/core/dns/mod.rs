//! Canonical names and records: two spellings of one name, or of one value, are equal here.

pub mod name;
pub mod rdata;
pub mod record;
pub mod record_type;
