//! The credits of a session, as the broker counts them: operations accepted and not acked.

use super::{End, Limits, protocol};
use crate::wire::v1;

/// The operations accepted and not acked.
#[derive(Default)]
pub(super) struct Taken {
    items: u64,
    bytes: u64,
}

impl Taken {
    /// Takes the credits of a message, and returns those that its ack gives back. An agent gets them after they are given back
    /// here, so one that keeps to its credits is never refused.
    pub(super) fn take(&mut self, cost: v1::Credits, limits: &Limits) -> Result<v1::Credits, End> {
        // A single operation that is larger than all credits goes alone, or it would never go.
        let is_alone = self.items == 0 && cost.items <= 1;
        let bytes = if is_alone { cost.bytes.min(limits.credit_bytes) } else { cost.bytes };
        let (items, all_bytes) = (self.items + u64::from(cost.items), self.bytes + bytes);
        if items > u64::from(limits.credit_items) || all_bytes > limits.credit_bytes {
            return Err(protocol(format!(
                "{items} operations of {all_bytes} bytes are on their way without an ack, and Welcome grants {} of {} bytes: wait for acks before sending on",
                limits.credit_items, limits.credit_bytes
            )));
        }
        (self.items, self.bytes) = (items, all_bytes);
        Ok(v1::Credits { bytes, ..cost })
    }

    /// The ack goes out.
    pub(super) fn give_back(&mut self, credits: &v1::Credits) {
        self.items = self.items.saturating_sub(u64::from(credits.items));
        self.bytes = self.bytes.saturating_sub(credits.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(items: u32, bytes: u64) -> v1::Credits {
        v1::Credits { items, bytes }
    }

    fn limits() -> Limits {
        Limits { credit_items: 10, credit_bytes: 100, ..Limits::default() }
    }

    #[test]
    fn what_is_acked_may_be_sent_again() {
        let (mut taken, limits) = (Taken::default(), limits());
        for _ in 0..5 {
            let credits = taken.take(cost(10, 100), &limits).unwrap();
            assert!(taken.take(cost(1, 1), &limits).is_err());
            taken.give_back(&credits);
        }
    }

    #[test]
    fn an_operation_larger_than_all_credits_goes_alone() {
        let (mut taken, limits) = (Taken::default(), limits());
        assert!(taken.take(cost(2, 101), &limits).is_err(), "two of them can go apart");
        let credits = taken.take(cost(1, 1_000), &limits).unwrap();
        assert_eq!(credits, cost(1, 100));
        assert!(taken.take(cost(1, 1), &limits).is_err());
        taken.give_back(&credits);
        taken.take(cost(9, 100), &limits).unwrap();
    }
}
