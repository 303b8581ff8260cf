//! AWS's own facts: partitions and regions, and the zones of its services.

pub mod access;
pub mod alias_zones;
