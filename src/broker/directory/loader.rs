//! Takes the stored endpoints at start, a page at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use super::cluster::LoadingEndpoints;
use super::due::Turn;
use super::entry::{EndpointEntry, fingerprint};
use super::{Directory, Effect, locked};
use crate::core::ids::ClusterId;
use crate::ports::EndpointRow;

/// Takes the stored endpoints at start.
#[derive(Default)]
pub struct Loader {
    clusters: BTreeMap<ClusterId, LoadingEndpoints>,
}

impl Loader {
    /// Takes endpoints and decides where they go. The zones are known before.
    pub fn take(
        &mut self,
        directory: &Directory,
        rows: impl IntoIterator<Item = EndpointRow>,
        effects: &mut Vec<Effect>,
    ) {
        let mut placer = directory.placer(Turn::Ours, effects);
        let mut contents = locked(&directory.contents);
        for row in rows {
            // All endpoints of a cluster share one text.
            let cluster = self
                .clusters
                .get_key_value(&row.cluster)
                .map_or(row.cluster, |(cluster, _)| cluster.clone());
            let held =
                EndpointEntry::sharing(cluster.clone(), row.arrival, &row.endpoint, &mut contents);
            held.set_kept(row.verdict.as_ref().map_or(0, fingerprint));
            self.clusters.entry(cluster).or_default().push(&row.key, &row.version, held.clone());
            placer.load(&held, &row.version, row.placed);
        }
    }

    /// All are there.
    pub fn finish(self, directory: &Directory) {
        let loaded = self
            .clusters
            .into_iter()
            .map(|(cluster, endpoints)| (cluster, Arc::new(endpoints.finish())));
        *directory.clusters.write().unwrap_or_else(PoisonError::into_inner) = loaded.collect();
    }
}
