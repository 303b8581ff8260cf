//! Agents, a broker and the emulator together: in processes of their own, or in the process of the test.

mod bad_input;
pub mod bench;
mod burst;
mod cases;
mod dev_walk;
mod forget;
mod governance;
mod handover;
mod invariants;
mod kill;
mod main_job;
mod zone_rules;
