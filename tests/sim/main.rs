//! The whole federation in one process under a virtual clock and one seed: agents, brokers, store, Route 53 and STS, with the
//! real broker and agent code, and with everything going wrong that can.
//!
//! ```text
//! schedule (drawn from the seed) ─▶ world (runs it) ─▶ history (what was seen) ─▶ oracle (what must hold)
//! ```
//!
//! One tokio runtime with one thread and a paused clock runs all hosts: when all of them are idle, its time jumps to the
//! next moment in which one has work, so that an idle hour costs nothing. turmoil was looked at first: it gives each host a
//! runtime of its own and wakes all of them at every tick of the clock, which for runs of minutes in steps of milliseconds is
//! most of the time that a run takes; its links know delay, hold and loss between hosts, and not one direction, one connection
//! that sleeps while the next one works, or a peer that died without a word. What a host does to the outside goes through its
//! gate instead ([`gate`]), and what goes between hosts through [`net`].
//!
//! A seed decides everything: what is drawn, and with `mad-turmoil` in the place of the system's random numbers also the order
//! in hash tables and uuids. tokio's `select!` takes its turns from a counter of the process, so each run has a process of its
//! own. In this process `std`'s clocks stand still, so no part of it can take real time for its own.

mod agent;
mod aws;
mod broker;
mod driver;
mod extra;
mod gate;
mod history;
mod net;
mod oracle;
mod quotas;
mod recorder;
mod schedule;
mod shape;
mod steps;
mod store;
mod tap;
mod trials;
mod wants;
mod wish;
mod world;

/// Runs the driver.
fn main() -> std::process::ExitCode {
    driver::main()
}
