//! Statuses of endpoints: sent to agents, kept in the store, relayed to the other replicas.

pub mod feedback;
pub mod relay;
