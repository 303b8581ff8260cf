//! The parts of the simulation's driver that run nothing.

#[path = "../../sim/driver/regressions.rs"]
pub mod regressions;
#[path = "../../sim/driver/shrink.rs"]
pub mod shrink;
#[path = "../../sim/driver/summary.rs"]
pub mod summary;
#[path = "../../sim/driver/timeline.rs"]
pub mod timeline;
