//! The stored endpoints, followed through the store's log.

use std::collections::{BTreeMap, BTreeSet};

use zonefold::core::dns::name::DnsName;
use zonefold::core::endpoint::{Endpoint, EndpointKey};
use zonefold::core::ids::ClusterId;
use zonefold::core::time::Timestamp;

use super::history::{Commit, Event, What};

/// A stored endpoint, and since when its present content is stored.
#[derive(Clone, Debug)]
pub struct Row {
    /// The content.
    pub endpoint: Endpoint,
    /// Since when.
    pub since: Timestamp,
}

/// The cluster and key of an endpoint.
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
            let at = (cluster.clone(), row.key().clone());
            let Some(content) = row.content() else {
                self.rows.remove(&at);
                changed.push(at);
                continue;
            };
            if let Ok(name) = DnsName::parse(&at.1.dns_name) {
                self.names.entry(name).or_default().insert(at.clone());
            }
            let is_new = |row: &Row| row.endpoint.version() != content.version();
            if self.rows.get(&at).is_none_or(is_new) {
                let row = Row { endpoint: content.into_owned(), since: event.at };
                self.rows.insert(at.clone(), row);
                changed.push(at);
            }
        }
        changed
    }
}
