//! What becomes of notifications, in figures.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabel {
    end: &'static str,
}

/// The figures of notifications.
#[derive(Clone, Debug, Default)]
pub struct NoticeMetrics {
    tries: Family<EndLabel, Counter>,
}

impl NoticeMetrics {
    /// Registers the figures.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "zonefold_notification_tries",
            "Tries to deliver notifications, by their end",
            metrics.tries.clone(),
        );
        metrics
    }

    /// A try ended: `delivered`, `failed`, or `dead` if it was the last one.
    pub(super) fn ended(&self, end: &'static str) {
        self.tries.get_or_create(&EndLabel { end }).inc();
    }

    /// So many were given up without a further try.
    pub(super) fn given_up(&self, count: u64) {
        if count > 0 {
            self.tries.get_or_create(&EndLabel { end: "dead" }).inc_by(count);
        }
    }
}
