//! The oracle of the simulation, against histories made by hand: for each invariant one that is sound and some that break it.
//! The simulation itself is `tests/sim`.

#[path = "../sim/history.rs"]
#[expect(dead_code, reason = "a history has more for the eye than for the oracle")]
mod history;
#[path = "../sim/oracle/mod.rs"]
mod oracle;

mod calls;
mod deletions;
mod driver;
mod ends;
mod events;
mod runs;
mod story;
