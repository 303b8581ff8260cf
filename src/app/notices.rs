//! Notifications as the configuration has them.

use std::sync::Arc;

use tokio::sync::watch;

use crate::adapters::notify::{KeptSecret, SinkSettings, WebhookSender};
use crate::broker::BrokerHandle;
use crate::broker::notices::dispatcher::{Dispatcher, DispatcherParts};
use crate::broker::notices::metrics::NoticeMetrics;
use crate::config::{Config, PrivateAddresses, SecretPlace};
use crate::core::people::public_url::PublicUrl;
use crate::ports::{Clock, NoticeSender};

/// What notifications take of the configuration.
pub struct NoticeSettings {
    sender: Arc<WebhookSender>,
    metrics: NoticeMetrics,
    public_url: watch::Sender<Option<PublicUrl>>,
}

impl NoticeSettings {
    /// By a configuration.
    pub fn new(config: &Config, time_of_day: Arc<dyn Clock>, metrics: NoticeMetrics) -> Self {
        Self {
            metrics,
            sender: Arc::new(WebhookSender::new(sinks(config), time_of_day)),
            public_url: watch::channel(config.public_url.clone()).0,
        }
    }

    /// By a later configuration.
    pub fn set(&self, config: &Config) {
        self.sender.set(sinks(config));
        self.public_url.send_replace(config.public_url.clone());
    }

    /// What delivers notifications.
    pub fn dispatcher(&self, broker: &BrokerHandle) -> Dispatcher {
        Dispatcher::new(DispatcherParts {
            store: Arc::clone(&broker.store),
            clock: Arc::clone(&broker.clock),
            sender: Arc::clone(&self.sender) as Arc<dyn NoticeSender>,
            rules: broker.rules.clone(),
            directory: Arc::clone(&broker.directory),
            metrics: self.metrics.clone(),
            public_url: self.public_url.subscribe(),
        })
    }
}

fn sinks(config: &Config) -> SinkSettings {
    let notifications = &config.notifications;
    let secrets = notifications.secrets.iter().filter_map(|secret| {
        let kept = match secret.place()? {
            SecretPlace::File(path) => KeptSecret::File(path),
            SecretPlace::Here(text) => KeptSecret::Here(text.expose().to_owned()),
        };
        Some((secret.name.to_string(), kept))
    });
    SinkSettings {
        secrets: secrets.collect(),
        allows_private: notifications.private_addresses == PrivateAddresses::Allow,
        ca_file: notifications.ca_file.clone(),
    }
}
