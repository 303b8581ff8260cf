//! AWS's own facts: partitions and regions, the zones of its services, and the places of routing policies.

pub mod access;
pub mod alias_zones;
pub mod places;
