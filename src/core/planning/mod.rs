//! From endpoints to an owner, and from the owner to changes.
//!
//! [`routing`] finds the zone of an endpoint, [`claims`] decides who owns a name and what the owner asks for, [`plan`] compares that
//! with what Route 53 holds and makes units of [`change`], each known by its [`unit_digest`] and counted by guards ([`counting`]) as a [`tally`].
//! Of [`claims`], `zone_rules` says what a zone takes at a name, `entitled` who may have it, `sharing` what several clusters publish there together, `handover` when it passes to another one, `loops` which names lead to each other, `sides` which of the owner's
//! endpoints count in a private or public zone, and `merge` what they add up to.

pub mod block;
pub mod change;
pub mod claims;
pub mod counting;
pub mod decision;
mod display;
mod entitled;
mod handover;
mod loops;
mod merge;
pub mod observed;
pub mod placement;
pub mod plan;
pub mod policy;
pub mod record_types;
pub mod routing;
mod sharing;
mod sides;
pub mod tally;
pub mod unit_digest;
mod units;
mod zone_rules;
