//! The time as PostgreSQL has it, for statements about leases and the feed.

/// PostgreSQL's clock in milliseconds since the epoch, as the statement runs: `now()` would be when the transaction began.
macro_rules! clock {
    () => {
        "(extract(epoch from clock_timestamp()) * 1000)::bigint"
    };
}
pub(super) use clock;
