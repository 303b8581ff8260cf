//! The names of a zone that have something to send, by the cluster that it is for.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use crate::core::dns::name::DnsName;
use crate::core::ids::ClusterId;
use crate::core::limits::fair::Queued;

/// One queue per cluster.
pub type Queues = BTreeMap<ClusterId, VecDeque<Queued<DnsName>>>;

/// Which cluster a name waits for, and its cost. An entry of a queue that says otherwise is stale and passed over.
pub type Members = HashMap<DnsName, (ClusterId, u32)>;

/// How far the stale entries of the queues may outnumber the live ones before they are swept out.
const STALE_ENTRIES: usize = 64;

/// One queue per cluster, each name once.
#[derive(Default)]
pub struct Backlog {
    queues: Queues,
    members: Members,
    cost: u64,
    /// The entries of all queues, stale ones too.
    entries: usize,
    /// How many names wait for each cluster.
    waiting: BTreeMap<ClusterId, usize>,
    /// The clusters that began or ceased to wait since the last look.
    turned: BTreeSet<ClusterId>,
}

impl Backlog {
    /// Sets the work of a name; `None` removes the name.
    pub fn set(&mut self, name: &DnsName, work: Option<(ClusterId, u32)>) {
        let old = match &work {
            Some(work) => self.members.insert(name.clone(), work.clone()),
            None => self.members.remove(name),
        };
        if let Some((queued_for, cost)) = &old {
            self.cost -= u64::from(*cost);
            self.leaves(queued_for);
        }
        let Some((cluster, cost)) = work else { return };
        self.cost += u64::from(cost);
        self.joins(&cluster);
        // A name that waits for the same cluster already keeps its place.
        if old.is_none_or(|(queued_for, _)| queued_for != cluster) {
            self.queues.entry(cluster).or_default().push_back(Queued { item: name.clone(), cost });
            self.entries += 1;
            self.sweep_out_stale();
        }
    }

    fn joins(&mut self, cluster: &ClusterId) {
        match self.waiting.get_mut(cluster) {
            Some(names) => *names += 1,
            None => {
                self.waiting.insert(cluster.clone(), 1);
                self.turned.insert(cluster.clone());
            }
        }
    }

    fn leaves(&mut self, cluster: &ClusterId) {
        let Some(names) = self.waiting.get_mut(cluster) else { return };
        *names -= 1;
        if *names == 0 {
            self.waiting.remove(cluster);
            self.turned.insert(cluster.clone());
        }
    }

    /// Names that come and go while nothing is sent leave entries behind; they never outnumber the others by much.
    fn sweep_out_stale(&mut self) {
        if self.entries <= 2 * self.members.len() + STALE_ENTRIES {
            return;
        }
        let members = &self.members;
        self.queues.retain(|cluster, queue| {
            let mut seen = HashSet::new();
            queue.retain(|queued| {
                Self::is_member(members, cluster, &queued.item) && seen.insert(queued.item.clone())
            });
            !queue.is_empty()
        });
        self.entries = self.queues.values().map(VecDeque::len).sum();
    }

    /// Whether a queue's entry is still meant.
    pub fn is_member(members: &Members, cluster: &ClusterId, name: &DnsName) -> bool {
        members.get(name).is_some_and(|(queued_for, _)| queued_for == cluster)
    }

    /// The queues and the members apart, for a round that looks at both. Each entry taken out of a queue has to be reported with
    /// [`Backlog::taken`].
    pub fn split(&mut self) -> (&mut Queues, &Members) {
        (&mut self.queues, &self.members)
    }

    /// An entry was taken out of the queue of a cluster.
    pub fn taken(&mut self, cluster: &ClusterId, name: &DnsName) {
        self.entries = self.entries.saturating_sub(1);
        if Self::is_member(&self.members, cluster, name)
            && let Some((_, cost)) = self.members.remove(name)
        {
            self.cost -= u64::from(cost);
            self.leaves(cluster);
        }
        if self.members.is_empty() {
            self.queues.clear();
            self.entries = 0;
            // Frees the memory that a flood needed.
            self.members = Members::default();
        }
    }

    /// The clusters that wait.
    pub fn clusters(&self) -> impl Iterator<Item = &ClusterId> {
        self.waiting.keys()
    }

    /// Whether a cluster waits.
    pub fn has_cluster(&self, cluster: &ClusterId) -> bool {
        self.waiting.contains_key(cluster)
    }

    /// The clusters that may have begun or ceased to wait since this was last asked.
    pub fn take_turned(&mut self) -> BTreeSet<ClusterId> {
        std::mem::take(&mut self.turned)
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

    fn work(name: &str, cost: u32) -> Option<(ClusterId, u32)> {
        Some((cluster(name), cost))
    }

    #[test]
    fn a_name_waits_once_and_keeps_its_place() {
        let mut backlog = Backlog::default();
        backlog.set(&name("a.example.com"), work("east", 1));
        backlog.set(&name("b.example.com"), work("east", 1));
        backlog.set(&name("a.example.com"), work("east", 2));
        assert_eq!((backlog.len(), backlog.cost()), (2, 3));
        assert_eq!(backlog.split().0[&cluster("east")].len(), 2);
        backlog.set(&name("a.example.com"), work("west", 2));
        let (queues, members) = backlog.split();
        assert!(
            !Backlog::is_member(members, &cluster("east"), &queues[&cluster("east")][0].item),
            "stale"
        );
        backlog.taken(&cluster("east"), &name("a.example.com"));
        assert_eq!(
            backlog.len(),
            2,
            "a stale entry was taken, the name still waits for the other cluster"
        );
        backlog.taken(&cluster("west"), &name("a.example.com"));
        backlog.set(&name("b.example.com"), None);
        assert!(backlog.is_empty() && backlog.cost() == 0);
    }

    #[test]
    fn a_cluster_waits_as_long_as_a_name_does() {
        let mut backlog = Backlog::default();
        backlog.set(&name("a.example.com"), work("east", 1));
        backlog.set(&name("b.example.com"), work("east", 1));
        assert_eq!(backlog.take_turned(), [cluster("east")].into());
        backlog.set(&name("a.example.com"), None);
        assert!(backlog.take_turned().is_empty() && backlog.has_cluster(&cluster("east")));
        backlog.set(&name("b.example.com"), work("west", 1));
        assert_eq!(backlog.take_turned(), [cluster("east"), cluster("west")].into());
        assert_eq!(
            backlog.clusters().collect::<Vec<_>>(),
            [&cluster("west")],
            "what is stale waits for nobody"
        );
    }

    #[test]
    fn names_that_come_and_go_leave_no_heap_behind() {
        let mut backlog = Backlog::default();
        backlog.set(&name("first.example.com"), work("east", 1));
        for _ in 0..10_000 {
            backlog.set(&name("a.example.com"), work("east", 1));
            backlog.set(&name("a.example.com"), None);
        }
        let queue = &backlog.split().0[&cluster("east")];
        assert!(queue.len() <= STALE_ENTRIES + 4, "{}", queue.len());
        assert_eq!(queue[0].item, name("first.example.com"), "order is kept");
    }
}
