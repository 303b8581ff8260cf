//! The names of a zone that have something to send, by the cluster that it is for.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::core::fair::Queued;
use crate::core::ids::ClusterId;
use crate::core::name::DnsName;

/// A queue a cluster.
pub type Queues = BTreeMap<ClusterId, VecDeque<Queued<DnsName>>>;

/// Which cluster a name waits for, and its cost. An entry of a queue that says otherwise is stale and passed over.
pub type Members = HashMap<DnsName, (ClusterId, u32)>;

/// A queue a cluster, each name once.
#[derive(Default)]
pub struct Backlog {
    queues: Queues,
    members: Members,
    cost: u64,
}

impl Backlog {
    /// Sets what a name has to send; none takes it out.
    pub fn set(&mut self, name: &DnsName, work: Option<(ClusterId, u32)>) {
        let old = match &work {
            Some(work) => self.members.insert(name.clone(), work.clone()),
            None => self.members.remove(name),
        };
        if let Some((_, cost)) = &old {
            self.cost -= u64::from(*cost);
        }
        let Some((cluster, cost)) = work else { return };
        self.cost += u64::from(cost);
        // A name that waits for the same cluster already keeps its place.
        if old.is_none_or(|(queued_for, _)| queued_for != cluster) {
            self.queues.entry(cluster).or_default().push_back(Queued { item: name.clone(), cost });
        }
    }

    /// Whether a queue's entry is still meant.
    pub fn is_member(members: &Members, cluster: &ClusterId, name: &DnsName) -> bool {
        members.get(name).is_some_and(|(queued_for, _)| queued_for == cluster)
    }

    /// The queues and the members apart, for a round that looks at both. What is taken out of a queue has to be told with
    /// [`Backlog::taken`].
    pub fn split(&mut self) -> (&mut Queues, &Members) {
        (&mut self.queues, &self.members)
    }

    /// A name was taken out of its queue.
    pub fn taken(&mut self, name: &DnsName) {
        if let Some((_, cost)) = self.members.remove(name) {
            self.cost -= u64::from(cost);
        }
        if self.members.is_empty() {
            self.queues.clear();
        }
    }

    /// The clusters that wait.
    pub fn clusters(&self) -> impl Iterator<Item = &ClusterId> {
        self.queues.keys()
    }

    /// How many names wait.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The change tokens that all of it costs.
    pub fn cost(&self) -> u32 {
        u32::try_from(self.cost).unwrap_or(u32::MAX)
    }

    /// Whether a name waits.
    pub fn contains(&self, name: &DnsName) -> bool {
        self.members.contains_key(name)
    }

    /// All names that wait.
    pub fn names(&self) -> Vec<DnsName> {
        self.members.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testkit::{cluster, name};

    #[test]
    fn a_name_waits_once_and_keeps_its_place() {
        let mut backlog = Backlog::default();
        let work = |name: &str, cost| Some((cluster(name), cost));
        backlog.set(&name("a.example.com"), work("east", 1));
        backlog.set(&name("b.example.com"), work("east", 1));
        backlog.set(&name("a.example.com"), work("east", 2));
        assert_eq!((backlog.len(), backlog.cost()), (2, 3));
        assert_eq!(backlog.split().0[&cluster("east")].len(), 2);
        backlog.set(&name("a.example.com"), work("west", 2));
        let (queues, members) = backlog.split();
        assert!(!Backlog::is_member(members, &cluster("east"), &queues[&cluster("east")][0].item), "stale");
        backlog.taken(&name("a.example.com"));
        backlog.set(&name("b.example.com"), None);
        assert!(backlog.is_empty() && backlog.cost() == 0);
    }
}
