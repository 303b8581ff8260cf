//! How many streams of statuses each cluster has open at this replica.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tonic::Status;

use crate::core::ids::ClusterId;

/// An agent has one, and two for as long as a connection that broke is not noticed; several agents of a cluster take turns. Each
/// stream costs a reference for every endpoint that changed and was not read.
const MOST_OF_A_CLUSTER: usize = 16;

/// The open streams.
#[derive(Clone, Default)]
pub(super) struct Watchers(Arc<Mutex<HashMap<ClusterId, usize>>>);

/// A stream that is open until this is dropped.
pub(super) struct Watching {
    watchers: Watchers,
    cluster: ClusterId,
}

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, HashMap<ClusterId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts another stream of a cluster, or says that there are too many.
    pub(super) fn open(&self, cluster: &ClusterId) -> Result<Watching, Status> {
        let mut open = self.lock();
        let count = open.entry(cluster.clone()).or_default();
        if *count >= MOST_OF_A_CLUSTER {
            return Err(Status::resource_exhausted(format!(
                "{count} status streams of the cluster {cluster} are open at this replica, and no more may be: close those that nobody reads, and run one agent a cluster, or several with --lease"
            )));
        }
        *count += 1;
        Ok(Watching { watchers: self.clone(), cluster: cluster.clone() })
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut open = self.watchers.lock();
        if let Some(count) = open.get_mut(&self.cluster) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.cluster);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testkit::cluster;

    #[test]
    fn a_cluster_has_a_bounded_number_of_status_streams_and_takes_no_other_s() {
        let watchers = Watchers::default();
        let (east, west) = (cluster("east"), cluster("west"));
        let mut open: Vec<Watching> =
            (0..MOST_OF_A_CLUSTER).map(|_| watchers.open(&east).unwrap()).collect();
        let refused = watchers.open(&east).err().unwrap();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(refused.message().contains("run one agent"), "{}", refused.message());
        assert!(watchers.open(&west).is_ok());
        open.pop();
        assert!(watchers.open(&east).is_ok());
        drop(open);
        assert!(watchers.lock().is_empty());
    }
}
