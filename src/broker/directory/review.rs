//! Reviews endpoints because zones, accounts or settings have changed: a page at a time, and only those that this can
//! concern.

use std::collections::{BTreeSet, VecDeque};

use super::entry::EndpointEntry;
use super::places::{WaitingScope, Written};
use super::{Directory, Effect, LOOK_PAGE, locked};
use crate::broker::directory::due::Turn;
use crate::core::dns::name::DnsName;
use crate::core::endpoint::KeyHash;
use crate::core::ids::{ClusterId, ZoneId};

/// A review under way.
#[derive(Debug)]
pub struct DirectoryReview {
    turn: Turn,
    /// Waiting endpoints, and how far the first scope has come.
    waiting: VecDeque<WaitingScope>,
    after: Option<Written>,
    /// Endpoints of clusters, and how far the first has come.
    clusters: VecDeque<ClusterId>,
    after_key: Option<KeyHash>,
    which: Which,
}

/// Which endpoints of the clusters are meant.
#[derive(Debug)]
enum Which {
    All,
    /// Those in a set with one of these numbers.
    Placed(BTreeSet<u32>),
}

impl DirectoryReview {
    fn new(turn: Turn) -> Self {
        Self {
            turn,
            waiting: VecDeque::new(),
            after: None,
            clusters: VecDeque::new(),
            after_key: None,
            which: Which::All,
        }
    }

    /// Of the endpoints that wait under some names.
    pub(super) fn below(turn: Turn, apexes: impl IntoIterator<Item = DnsName>) -> Self {
        let mut review = Self::new(turn);
        let apexes: BTreeSet<DnsName> = apexes.into_iter().collect();
        let is_covered = |apex: &DnsName| {
            std::iter::successors(apex.parent(), DnsName::parent).any(|up| apexes.contains(&up))
        };
        review.waiting = apexes
            .iter()
            .filter(|apex| !is_covered(apex))
            .cloned()
            .map(WaitingScope::Below)
            .collect();
        review
    }

    /// Of everything that waits.
    pub fn of_all_waiting(turn: Turn) -> Self {
        Self { waiting: [WaitingScope::All].into(), ..Self::new(turn) }
    }

    /// Of all endpoints of some clusters.
    pub(super) fn of_clusters(clusters: impl IntoIterator<Item = ClusterId>) -> Self {
        Self { clusters: clusters.into_iter().collect(), ..Self::new(Turn::Ours) }
    }

    /// Whether nothing is left to look at.
    pub fn is_over(&self) -> bool {
        self.waiting.is_empty() && self.clusters.is_empty()
    }
}

impl Directory {
    /// The same review, and of the endpoints placed in some zones too.
    pub(super) fn and_placed(
        &self,
        review: DirectoryReview,
        zones: &BTreeSet<ZoneId>,
    ) -> DirectoryReview {
        let numbers = self.places.with(|zone| zones.contains(zone));
        if numbers.is_empty() {
            return review;
        }
        DirectoryReview {
            clusters: self.clusters().into(),
            which: Which::Placed(numbers.into_iter().collect()),
            ..review
        }
    }

    /// Looks at the next page.
    pub fn review_some(&self, review: &mut DirectoryReview, effects: &mut Vec<Effect>) {
        let page = self.next_page(review);
        let mut placer = self.placer(review.turn, effects);
        page.iter().filter(|held| !held.is_gone()).for_each(|held| placer.look_again(held));
    }

    fn next_page(&self, review: &mut DirectoryReview) -> Vec<EndpointEntry> {
        if let Some(scope) = review.waiting.front() {
            let (page, last) = locked(&self.waiting).page(scope, review.after.as_ref(), LOOK_PAGE);
            if last.is_none() {
                review.waiting.pop_front();
            }
            review.after = last;
            return page;
        }
        let Some(cluster) = review.clusters.front() else { return vec![] };
        let page = self.cluster(cluster).page(review.after_key.as_ref(), LOOK_PAGE);
        review.after_key = page.last().map(EndpointEntry::key_hash);
        if review.after_key.is_none() {
            review.clusters.pop_front();
        }
        let is_meant = |held: &EndpointEntry| match &review.which {
            Which::All => true,
            // Endpoints that publish nothing are among the waiting ones.
            Which::Placed(numbers) => numbers.contains(&held.place()) && !held.is_retained(),
        };
        page.into_iter().filter(is_meant).collect()
    }
}
