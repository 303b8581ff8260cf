//! The stored endpoints, followed through the store's log.

use std::collections::BTreeMap;

use zonefold::core::endpoint::{Endpoint, EndpointKey};
use zonefold::core::ids::ClusterId;
use zonefold::core::time::Timestamp;

use super::history::{Commit, Event, RowChange, What};

/// A stored endpoint, and since when its present content is stored.
#[derive(Clone, Debug)]
pub struct Row {
    /// The content.
    pub endpoint: Endpoint,
    /// Since when.
    pub since: Timestamp,
}

/// All stored endpoints.
#[derive(Clone, Debug, Default)]
pub struct Stored(pub BTreeMap<(ClusterId, EndpointKey), Row>);

impl Stored {
    /// Takes in an event of the log; answers the endpoints whose content changed or which are gone.
    pub fn apply(&mut self, event: &Event) -> Vec<(ClusterId, EndpointKey)> {
        let What::Committed { commit: Commit::Ingest { cluster, rows, .. }, .. } = &event.what else { return vec![] };
        let mut changed = vec![];
        for row in rows {
            match row {
                RowChange::Stored(endpoint) => {
                    let at = (cluster.clone(), endpoint.key.clone());
                    if self.0.get(&at).is_none_or(|row| row.endpoint.version() != endpoint.version()) {
                        self.0.insert(at.clone(), Row { endpoint: endpoint.clone(), since: event.at });
                        changed.push(at);
                    }
                }
                RowChange::Removed(key) => {
                    let at = (cluster.clone(), key.clone());
                    self.0.remove(&at);
                    changed.push(at);
                }
            }
        }
        changed
    }
}
