//! The emulator of Route 53 and STS, as AWS's own client and a resolver see it.

mod calls;
mod control;
mod dns;
mod rows;
mod rows_2;
pub mod support;
