//! What became of endpoints: told to agents, kept in the store, relayed to the other replicas.

pub mod feedback;
pub mod relay;
