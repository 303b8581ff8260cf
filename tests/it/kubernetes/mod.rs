//! The agent of a live cluster, at a real API server: what it reads, what it writes on objects, who it is, and what silence keeps.

mod deploy;
mod figures;
mod gateways;
mod leadership;
mod quickstart;
mod silence;
mod site;
mod sources;
mod tokens;
