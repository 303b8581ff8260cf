//! The stored endpoints, followed through the store's log.

use std::collections::{BTreeMap, BTreeSet};

use zonefold::core::dns::name::DnsName;
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

/// Whose endpoint, and which.
pub type Place = (ClusterId, EndpointKey);

/// All stored endpoints.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    rows: BTreeMap<Place, Row>,
    /// Those that were ever at a name; endpoints whose names cannot be read are at none.
    names: BTreeMap<DnsName, BTreeSet<Place>>,
}

impl Stored {
    /// The endpoint that is stored there now.
    pub fn get(&self, place: &Place) -> Option<&Row> {
        self.rows.get(place)
    }

    /// The endpoints of a name.
    pub fn at<'a>(&'a self, name: &DnsName) -> impl Iterator<Item = (&'a Place, &'a Row)> {
        let places = self.names.get(name).into_iter().flatten();
        places.filter_map(|place| Some((place, self.rows.get(place)?)))
    }

    /// Takes in an event of the log; answers the endpoints whose content changed or which are gone.
    pub fn apply(&mut self, event: &Event) -> Vec<Place> {
        let What::Committed { commit: Commit::Ingest { cluster, rows, .. }, .. } = &event.what
        else {
            return vec![];
        };
        let mut changed = vec![];
        for row in rows {
            let key_alone;
            let row = match row {
                RowChange::Withheld(key, _) => {
                    // Nothing can be read of it, as of one that is rejected.
                    key_alone =
                        RowChange::Stored(Endpoint { key: key.clone(), ..Endpoint::default() });
                    &key_alone
                }
                other => other,
            };
            match row {
                RowChange::Withheld(..) => {}
                RowChange::Stored(endpoint) => {
                    let at = (cluster.clone(), endpoint.key.clone());
                    if let Ok(name) = DnsName::parse(&endpoint.key.dns_name) {
                        self.names.entry(name).or_default().insert(at.clone());
                    }
                    if self
                        .rows
                        .get(&at)
                        .is_none_or(|row| row.endpoint.version() != endpoint.version())
                    {
                        self.rows.insert(
                            at.clone(),
                            Row { endpoint: endpoint.clone(), since: event.at },
                        );
                        changed.push(at);
                    }
                }
                RowChange::Removed(key) => {
                    let at = (cluster.clone(), key.clone());
                    self.rows.remove(&at);
                    changed.push(at);
                }
            }
        }
        changed
    }
}
