//! Real processes under real faults: three brokers on one PostgreSQL, AWS accounts at the emulator, agents, and a network between
//! all of them that can be cut.
//!
//! Each test breaks one thing while the clusters go on changing what they want, and ends with the same questions, asked of the
//! emulator, the database and the agents, never of what a broker says of itself: does Route 53 hold what is wanted, does every
//! agent know, and was no invariant broken on the way. Random choices come from a seed that is printed; `ZONEFOLD_TEST_SEED`
//! repeats them.

mod agents;
mod bounds;
mod database;
mod disk;
mod holder;
mod network;
mod oracle;
mod site;
