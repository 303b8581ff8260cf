//! One legal call and its culprits: units are folded into a batch, the batch is checked, and a refusal is read.

pub mod check;
pub mod fold;
pub mod refusal;
