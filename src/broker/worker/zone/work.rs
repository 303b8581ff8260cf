//! One zone as it is worked.

use std::collections::{BTreeSet, VecDeque};

use super::ZoneState;
use super::backlog::Backlog;
use super::reader::Reader;
use super::reviews::ZoneReviews;
use super::search::Search;
use crate::core::dns::name::DnsName;
use crate::core::endpoint::verdict::Placement;
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

/// The state of a zone. What is to be done there follows from it alone; see [`crate::broker::worker::agenda`].
pub struct ZoneWork {
    /// What is wanted and what is there.
    pub state: ZoneState,
    /// As discovery showed it last.
    pub facts: ZoneFacts,
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
    /// When all of its records were listed last; none before the first time.
    pub listed_at: Option<Timestamp>,
    /// When they are to be listed again.
    pub sweep_at: Timestamp,
    /// Batches whose outcome nobody knows: the zone is read back before anything else is sent.
    pub in_doubt: Vec<BatchRow>,
    /// Names to look at.
    pub reviews: ZoneReviews,
    /// Searches for poison; the first is worked.
    pub searches: VecDeque<Search>,
    /// Whether the last batch was one of the search's.
    pub search_turn: bool,
    /// Observed records that are to be made durable.
    pub pending_writes: Vec<RecordWrite>,
    /// Why nothing is called there for a while.
    pub trouble: Option<Trouble>,
    /// Rises with each change.
    pub sequence: u64,
    /// The change that is asked after.
    pub sync: Option<SyncWatch>,
    /// The latest change, by Route 53's id and by ours.
    pub latest_change: Option<(String, u64)>,
    /// Names by the change that has to be INSYNC for them, in the order of the changes.
    pub awaiting_sync: VecDeque<(u64, DnsName)>,
}

/// A zone that cannot be worked now.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// What it is, for people.
    pub message: String,
    /// How often in a row.
    pub failures: u32,
    /// Nothing is called before.
    pub retry_at: Timestamp,
}

/// A change that is asked after with GetChange.
#[derive(Clone, Debug)]
pub struct SyncWatch {
    /// Route 53's id.
    pub change_id: String,
    /// By our own count.
    pub sequence: u64,
    /// When it is asked after next.
    pub ask_at: Timestamp,
    /// How often it was.
    pub asked: u32,
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
            pending_writes: vec![],
            trouble: None,
            sequence: 0,
            sync: None,
            latest_change: None,
            awaiting_sync: VecDeque::new(),
        }
    }

    /// What is there is not what was believed, so nothing is learned from going on: the names are looked at anew.
    pub fn end_searches(&mut self) {
        self.reviews.hold(self.searches.drain(..).flat_map(Search::into_names));
    }

    /// Whether the zone may be called for.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.facts.visible && self.trouble.as_ref().is_none_or(|trouble| trouble.retry_at <= now)
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
            // A flood's room is given back.
            self.awaiting_sync = VecDeque::new();
        }
        reached
    }
}
