//! Clusters whose changes Route 53 refuses again and again: these travel in batches of their own for a while, so that no other
//! changes are refused with them.

use std::collections::BTreeMap;

use crate::core::ids::ClusterId;
use crate::core::time::{Millis, Timestamp};

/// After this many refusals a cluster's changes travel alone ...
const REFUSALS: u32 = 3;
/// ... and this long after the last refusal they travel with the others again.
const APART_FOR: Millis = Millis::from_secs(600);

/// The refusals of each cluster.
#[derive(Debug, Default)]
pub struct Apart(BTreeMap<ClusterId, (u32, Timestamp)>);

impl Apart {
    /// Something of a cluster was refused.
    pub fn refused(&mut self, cluster: &ClusterId, now: Timestamp) {
        self.0.retain(|_, (_, last)| *last + APART_FOR > now);
        let (times, last) = self.0.entry(cluster.clone()).or_default();
        (*times, *last) = (*times + 1, now);
    }

    /// Whether a cluster's changes travel alone.
    pub fn is_apart(&self, cluster: &ClusterId, now: Timestamp) -> bool {
        self.0
            .get(cluster)
            .is_some_and(|(times, last)| *times >= REFUSALS && *last + APART_FOR > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testkit::cluster;

    #[test]
    fn a_cluster_that_is_refused_again_and_again_travels_alone_until_that_is_long_ago() {
        let (mut apart, east) = (Apart::default(), cluster("east"));
        for second in 0..3 {
            assert!(!apart.is_apart(&east, Timestamp(second)));
            apart.refused(&east, Timestamp(second));
        }
        assert!(
            apart.is_apart(&east, Timestamp(3)) && !apart.is_apart(&cluster("west"), Timestamp(3))
        );
        assert!(!apart.is_apart(&east, Timestamp(2) + APART_FOR));
    }
}
