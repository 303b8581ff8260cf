//! One zone as it is managed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::ZoneState;
use super::apart::Apart;
use super::backlog::Backlog;
use super::reader::Reader;
use super::reviews::ZoneReviews;
use super::search::Search;
use crate::core::dns::name::DnsName;
use crate::core::endpoint::verdict::Placement;
use crate::core::governance::snapshot::Governance;
use crate::core::ids::ClusterId;
use crate::core::planning::change::Unit;
use crate::core::planning::claims::ZoneContext;
use crate::core::planning::policy::ZoneSettings;
use crate::core::planning::routing::ZoneFacts;
use crate::core::time::{Millis, Timestamp};
use crate::ports::{BatchRow, RecordWrite};

/// The pause after a call on a zone before the next: Route 53 refuses a second change while it still works on the first
/// (`PriorRequestNotComplete`). It doubles with each such refusal and comes back slowly.
pub const SHORTEST_GAP: Millis = Millis(250);
/// The longest such pause.
pub const LONGEST_GAP: Millis = Millis(4_000);
/// The wait before a change is asked after for the first time.
const FIRST_ASK: Millis = Millis(2_000);
/// How long Route 53 takes to bring a change to all of its servers: "Changes generally propagate to all Route 53 name servers
/// within 60 seconds" (API reference, ChangeResourceRecordSets). Waited for where a change cannot be asked after.
pub const PROPAGATION: Millis = Millis::from_secs(60);

/// The state of a zone. The work due there follows from it alone; see [`crate::broker::worker::agenda`].
pub struct ZoneWork {
    /// Desired and observed record sets.
    pub state: ZoneState,
    /// As discovery showed it last.
    pub facts: ZoneFacts,
    /// Its tags, as discovery found them last; `None` if they were not asked for.
    pub tags: Option<BTreeMap<String, String>>,
    /// A rule asks for tags, and they are not known: it is observed until they are.
    pub waits_for_tags: bool,
    /// Its configuration has changed since the last batch was planned: that batch is not sent.
    pub has_old_plan: bool,
    /// Names with something to send.
    pub backlog: Backlog,
    /// Something runs in the zone.
    pub busy: bool,
    /// No change is sent before.
    pub free_at: Timestamp,
    /// The pause after a call.
    pub gap: Millis,
    /// When the last call was begun.
    pub last_call_at: Timestamp,
    /// The walk through its pages that is under way.
    pub reader: Option<Reader>,
    /// When all of its records were last listed; `None` before the first time.
    pub listed_at: Option<Timestamp>,
    /// When they are to be listed again.
    pub sweep_at: Timestamp,
    /// Batches in doubt: the zone is read back before anything else is sent.
    pub in_doubt: Vec<BatchRow>,
    /// Names to look at.
    pub reviews: ZoneReviews,
    /// Searches for poison; the first is the one that had its turn last.
    pub searches: VecDeque<Search>,
    /// Whether the last batch was one of the search's.
    pub search_turn: bool,
    /// How many batches of the backlog went out since the last one of a search.
    pub turns_without_search: u32,
    /// The clusters of the searches when the agenda looked last.
    searching: BTreeSet<ClusterId>,
    /// Clusters whose changes travel alone.
    pub apart: Apart,
    /// Units that were refused for the zone's records; if a read finds these as believed, the refusal stands.
    pub doubted: Vec<(Unit, String)>,
    /// Observed records that are to be made durable.
    pub pending_writes: Vec<RecordWrite>,
    /// Why nothing is called there for a while.
    pub trouble: Option<Trouble>,
    /// Why no change is sent for a while, whatever becomes of reads.
    pub change_trouble: Option<Trouble>,
    /// How often changes were answered with each error code that is not known.
    pub unlisted: BTreeMap<String, u32>,
    /// How many changes in a row were refused with such a code.
    pub unlisted_in_row: u32,
    /// The code of that kind which the batch in doubt was answered with.
    pub doubt_code: Option<String>,
    /// Rises with each change.
    pub sequence: u64,
    /// The change that is asked after.
    pub sync: Option<SyncWatch>,
    /// The latest change.
    pub latest_change: Option<AwaitedChange>,
    /// Names by the change that has to be INSYNC for them, in the order of the changes.
    pub awaiting_sync: VecDeque<(u64, DnsName)>,
}

/// A zone that cannot be managed now.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// The problem, for people.
    pub message: String,
    /// How often in a row.
    pub failures: u32,
    /// Nothing is called before.
    pub retry_at: Timestamp,
}

/// A change that names wait for until it is INSYNC.
#[derive(Clone, Debug)]
pub struct AwaitedChange {
    /// By our own count.
    pub sequence: u64,
    /// Route 53's id; `None` if its answer was lost, so that it was found by reading and cannot be asked after.
    pub change_id: Option<String>,
    /// When it was applied or found.
    pub since: Timestamp,
}

/// A change that is asked after with GetChange, or whose time of propagation is waited for.
#[derive(Clone, Debug)]
pub struct SyncWatch {
    /// The change.
    pub change: AwaitedChange,
    /// When it is asked after next.
    pub ask_at: Timestamp,
    /// How often it was.
    pub asked: u32,
}

impl SyncWatch {
    /// The first question comes a moment after the change: sooner, the answer is PENDING as a rule.
    fn of(change: AwaitedChange, now: Timestamp) -> Self {
        let first_ask = match change.change_id {
            Some(_) => change.since + FIRST_ASK,
            None => change.since + PROPAGATION,
        };
        Self { change, ask_at: first_ask.max(now), asked: 0 }
    }
}

impl ZoneWork {
    /// A zone of which nothing is known yet.
    pub fn new(
        facts: ZoneFacts,
        settings: ZoneSettings,
        listed_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        let placement = Placement { account: facts.account.clone(), zone: facts.zone.clone() };
        let context = ZoneContext::new(placement, facts.name.clone(), facts.visibility, &settings);
        Self {
            state: ZoneState::new(context, settings),
            facts,
            tags: None,
            waits_for_tags: false,
            has_old_plan: false,
            backlog: Backlog::default(),
            busy: false,
            free_at: now,
            gap: SHORTEST_GAP,
            last_call_at: Timestamp(0),
            reader: None,
            listed_at,
            sweep_at: now,
            in_doubt: vec![],
            reviews: ZoneReviews::default(),
            searches: VecDeque::new(),
            search_turn: false,
            turns_without_search: 0,
            searching: BTreeSet::new(),
            apart: Apart::default(),
            doubted: vec![],
            pending_writes: vec![],
            trouble: None,
            change_trouble: None,
            unlisted: BTreeMap::new(),
            unlisted_in_row: 0,
            doubt_code: None,
            sequence: 0,
            sync: None,
            latest_change: None,
            awaiting_sync: VecDeque::new(),
        }
    }

    /// Takes the zone's new settings. A batch planned under the old ones is not sent.
    pub fn take_settings(&mut self, settings: ZoneSettings) {
        self.state.settings = settings;
        self.state.context.set(&settings);
        self.has_old_plan = true;
    }

    /// Takes what the rules of governance say now. What was planned by what they said before is not sent. Searches go on: each try is
    /// planned anew, and to begin again would refuse the same names again.
    pub fn govern(&mut self, governance: &Arc<Governance>) {
        self.state.context.governance = Arc::clone(governance);
        self.has_old_plan = true;
    }

    /// Ends all searches: the zone is not as believed, so going on teaches nothing. Their names are looked at again.
    pub fn end_searches(&mut self) {
        self.reviews.hold(self.searches.drain(..).flat_map(Search::into_names));
    }

    /// Whether the zone may be called for.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.facts.visible && self.trouble.as_ref().is_none_or(|trouble| trouble.retry_at <= now)
    }

    /// The clusters that wait for a change, in the backlog or in a search.
    pub fn waiting_clusters(&self) -> BTreeSet<ClusterId> {
        let searched = self.searches.iter().flat_map(Search::clusters);
        self.backlog.clusters().chain(searched).cloned().collect()
    }

    /// Whether a cluster waits for a change.
    pub fn has_cluster(&self, cluster: &ClusterId) -> bool {
        self.backlog.has_cluster(cluster)
            || self.searches.iter().any(|search| search.clusters().contains(cluster))
    }

    /// The clusters that may have begun or ceased to wait since this was last asked.
    pub fn take_turned(&mut self) -> BTreeSet<ClusterId> {
        let mut turned = self.backlog.take_turned();
        if !(self.searches.is_empty() && self.searching.is_empty()) {
            let now: BTreeSet<ClusterId> =
                self.searches.iter().flat_map(Search::clusters).cloned().collect();
            turned.extend(now.symmetric_difference(&self.searching).cloned());
            self.searching = now;
        }
        turned
    }

    /// When a change may be sent again after those that failed.
    pub fn changes_open_from(&self) -> Option<Timestamp> {
        self.change_trouble.as_ref().map(|trouble| trouble.retry_at)
    }

    /// Why Zonefold cannot manage the zone as it should now, for people, and until when if that is known.
    pub fn told_trouble(&self, now: Timestamp) -> Option<(String, Option<Timestamp>)> {
        let troubles = [&self.trouble, &self.change_trouble].into_iter().flatten();
        let mut open = troubles.filter(|trouble| trouble.retry_at + Millis(1) > now);
        if let Some(trouble) = open.next() {
            return Some((trouble.message.clone(), Some(trouble.retry_at)));
        }
        if let Some((message, retry_at)) = self.state.quota.holds(now) {
            let text = format!(
                "the zone is full, so nothing is created there: delete record sets, or have its quota raised at AWS; Route 53 says: {message}"
            );
            return Some((text, Some(retry_at)));
        }
        let text = "a rule of the configuration asks for the zone's tags, which are not known yet: it is observed until they are listed";
        self.waits_for_tags.then(|| (text.to_owned(), None))
    }

    /// A change was applied, or found to be: the names wait until it is INSYNC.
    pub fn await_sync(&mut self, change: AwaitedChange, names: impl IntoIterator<Item = DnsName>) {
        let sequence = change.sequence;
        self.awaiting_sync.extend(names.into_iter().map(|name| (sequence, name)));
        if self.sync.is_none() {
            self.sync = Some(SyncWatch::of(change.clone(), change.since));
        }
        self.latest_change = Some(change);
    }

    /// Watches the latest change, if it came after this one. Once a later change is INSYNC, the earlier ones are too.
    pub fn watch_later_than(&mut self, sequence: u64, now: Timestamp) {
        self.sync = self
            .latest_change
            .clone()
            .filter(|latest| latest.sequence > sequence)
            .map(|latest| SyncWatch::of(latest, now));
    }

    /// The names that wait for changes up to this one, which is INSYNC.
    pub fn take_reached(&mut self, up_to: u64) -> BTreeSet<DnsName> {
        let mut reached = BTreeSet::new();
        while let Some((_, name)) =
            self.awaiting_sync.pop_front_if(|(sequence, _)| *sequence <= up_to)
        {
            reached.insert(name);
        }
        if self.awaiting_sync.is_empty() {
            // Frees the memory that a flood needed.
            self.awaiting_sync = VecDeque::new();
        }
        reached
    }
}
