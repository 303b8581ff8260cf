//! The figures of the listeners.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ListenerLabel {
    listener: &'static str,
}

/// Handshakes that failed, and certificates that could not be used.
#[derive(Clone, Default)]
pub struct TlsMetrics {
    failed_handshakes: Family<ListenerLabel, Counter>,
    stale: Gauge,
}

impl TlsMetrics {
    /// Makes the figures and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "zonefold_tls_handshakes_failed",
            "Connections that ended before TLS stood",
            metrics.failed_handshakes.clone(),
        );
        registry.register(
            "zonefold_tls_certificate_stale",
            "1 while the files of the certificate cannot be used and an older one is served",
            metrics.stale.clone(),
        );
        metrics
    }

    pub(super) fn handshake_failed(&self, listener: &'static str) {
        self.failed_handshakes.get_or_create(&ListenerLabel { listener }).inc();
    }

    /// Whether an older certificate is served than the files hold.
    pub(super) fn stale(&self, stale: bool) {
        self.stale.set(i64::from(stale));
    }
}
