//! A run as seen from outside: the one thing that the harness writes and the oracle reads.
//!
//! Nothing in it is the broker's opinion of itself. It comes from what the harness did (steps, faults), from what passed the
//! wires (operations, acks, statuses, calls), from the store's own log of commits and leases, and from the emulator's journal.
//! All times are the world's one virtual time, never a part's own clock; the log's order is the order in which things happened,
//! also within a millisecond.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::RawRecordSet;
use zonefold::core::endpoint::quota::Quota;
use zonefold::core::endpoint::verdict::{Reason, VerdictState};
use zonefold::core::endpoint::{Endpoint, EndpointKey, KeyHash, Version};
use zonefold::core::ids::{AccountId, BatchId, ClusterId, EnvironmentId, ZoneId};
use zonefold::core::limits::budget::BudgetConfig;
use zonefold::core::planning::change::Batch;
use zonefold::core::planning::policy::{AdoptPolicy, DriftPolicy, ZonePolicy};
use zonefold::core::time::Timestamp;
use zonefold::emulator::JournalEntry;
use zonefold::ports::BatchOutcome;

#[path = "told.rs"]
mod told;

pub use told::{Told, region_of};

/// One run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The world of the run.
    pub world: World,
    /// Everything that happened, in order.
    pub log: Vec<Event>,
    /// How things stood when the run ended.
    pub end: End,
}

/// The parts of a world that do not change during a run.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The seed.
    pub seed: u64,
    /// The virtual time at which the run started.
    pub started_at: Timestamp,
    /// The AWS accounts.
    pub accounts: Vec<Account>,
    /// The hosted zones that exist from the start.
    pub zones: Vec<Zone>,
    /// The registered clusters and the environment of each.
    pub clusters: BTreeMap<ClusterId, EnvironmentId>,
    /// The apexes of zones that appear or vanish during the run: names below them are judged by where they were placed.
    pub shifting: Vec<DnsName>,
    /// The quotas of those that have a small one.
    pub quotas: BTreeMap<ClusterId, Quota>,
    /// How often a worker lists each zone and its account's zones in the steady state, in milliseconds.
    pub sweep_ms: i64,
    /// How long a refused change is left alone at least before it is sent again unchanged, in milliseconds.
    pub poison_backoff_ms: i64,
}

/// An AWS account.
#[derive(Clone, Debug)]
pub struct Account {
    /// Which.
    pub id: AccountId,
    /// Whose clusters it serves.
    pub environment: EnvironmentId,
    /// The published buckets and the share of them that is left to others, as the broker is configured.
    pub budget: BudgetConfig,
}

/// A hosted zone.
#[derive(Clone, Debug)]
pub struct Zone {
    /// Which.
    pub id: ZoneId,
    /// Its account.
    pub account: AccountId,
    /// Its apex.
    pub apex: DnsName,
    /// Whether it is a private zone.
    pub private: bool,
    /// Our permissions there.
    pub policy: ZonePolicy,
    /// Our reaction to others' changes of our records.
    pub drift: DriftPolicy,
    /// Which record sets of others we take over.
    pub adopt: AdoptPolicy,
    /// Seconds, for endpoints without a TTL; as configured last.
    pub default_ttl_secs: u32,
}

/// An agent's process slot: which cluster it speaks for, and which of that cluster's agents it is (0, or 1 for a second one with
/// the same identity). Restarting it keeps the slot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Agent {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its number among the cluster's agents.
    pub number: u32,
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            0 => write!(f, "agent {}", self.cluster),
            number => write!(f, "agent {}'{number}", self.cluster),
        }
    }
}

/// One life of a broker's process: the slot and how often the slot was started before. Every life has a lease identity of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica {
    /// The replica's place.
    pub slot: u32,
    /// The number of the life, from 0.
    pub life: u32,
}

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broker {}.{}", self.slot, self.life)
    }
}

/// A part of the world that can crash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// An agent.
    Agent(Agent),
    /// A broker.
    Replica(Replica),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(agent) => agent.fmt(f),
            Self::Replica(replica) => replica.fmt(f),
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The event itself.
    pub what: What,
}

/// The kinds of events.
#[derive(Clone, Debug)]
pub enum What {
    /// The harness carries out a step of the schedule.
    Step {
        /// Its place in the schedule.
        number: usize,
        /// In words.
        text: String,
    },
    /// A fault struck: a message lost, a commit slowed, a call answered with 503, a crash, a clock that jumped.
    Fault {
        /// The kind, for counting: `net.loss`, `store.commit_answer_lost`, `aws.throttle`, `crash.broker`, ….
        kind: &'static str,
        /// Where and what, in words.
        text: String,
    },
    /// A part starts.
    Started(Part),
    /// A part stops in good order.
    Stopped(Part),
    /// A part is gone from one moment to the next.
    Crashed(Part),
    /// A part panicked: a defect, whatever it was doing.
    Panicked {
        /// Where: the file.
        part: String,
        /// The panic's message.
        message: String,
    },
    /// The configuration names a cluster from now on, or no longer.
    Registered {
        /// Which.
        cluster: ClusterId,
        /// Whether it does.
        registered: bool,
    },
    /// From here on nothing is broken and nothing is wanted anew; all parts run.
    Healed,
    /// From here to the end nothing is done: everything has settled, and only time passes.
    Quiet,

    /// The objects of a cluster now want this: the truth, whether an agent sees it or not.
    Wanted {
        /// Whose.
        cluster: ClusterId,
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// The objects of a cluster no longer want this.
    Unwanted {
        /// Whose.
        cluster: ClusterId,
        /// Which.
        key: EndpointKey,
    },
    /// An agent's index took something in. An agent that starts sees nothing at first.
    Saw {
        /// The agent.
        agent: Agent,
        /// The observation.
        sight: Sight,
    },

    /// A message with operations went from an agent into an open session.
    Sent {
        /// The agent.
        agent: Agent,
        /// The epoch that the session was welcomed with.
        epoch: u64,
        /// The sequence number that covers the operations; those of a snapshot are covered by the snapshot's.
        seq: u64,
        /// The operations, in order.
        ops: Vec<Op>,
    },
    /// An agent received an ack.
    Acked {
        /// The agent.
        agent: Agent,
        /// The session's epoch.
        epoch: u64,
        /// Everything up to this is durable, the ack says.
        seq: u64,
    },
    /// An agent received the status of an endpoint.
    Status {
        /// The agent.
        agent: Agent,
        /// The status.
        status: Status,
    },

    /// The store committed something.
    Committed {
        /// The replica; `None` if the harness did it.
        replica: Option<Replica>,
        /// The lease epoch under which the write was asserted; `None` if it asserts none.
        lease_epoch: Option<u64>,
        /// The commit.
        commit: Commit,
    },
    /// The store gave, lengthened or took back a lease. A lease that runs out says nothing.
    Lease {
        /// The account.
        account: AccountId,
        /// The holder, or the last one.
        replica: Replica,
        /// The lease epoch.
        epoch: u64,
        /// The change.
        change: LeaseChange,
    },

    /// A broker starts a call.
    CallStarted(Call),
    /// A call arrives at AWS, which takes its tokens now.
    CallArrived {
        /// The call's number.
        call: u64,
        /// Whether AWS's buckets, which all callers share, held the tokens.
        granted: bool,
    },
    /// A call is over for the broker: answered, given up, or dropped with the broker.
    CallEnded {
        /// The call's number.
        call: u64,
        /// `ok`, or what went wrong.
        outcome: String,
    },
    /// AWS applied a batch, ours or another writer's.
    Applied {
        /// The call that it came with; `None` if it is another writer's.
        call: Option<u64>,
        /// The emulator's journal entry.
        entry: Box<JournalEntry>,
    },
    /// Route 53 refuses every batch with this name from now on.
    Poisoned {
        /// The name.
        name: DnsName,
    },
    /// It takes the name again.
    Cured {
        /// The name.
        name: DnsName,
    },
    /// The effects of a further event, as far as the oracle has to know them.
    Told(Told),
}

/// An observation by an agent's index.
#[derive(Clone, Debug)]
pub enum Sight {
    /// An endpoint is there, with this content.
    Put(Endpoint),
    /// An endpoint was observed to be gone: a deletion, or a complete listing without it.
    Del(EndpointKey),
    /// A source is synced, so that what it does not hold is not there, or no longer.
    Source {
        /// The kind of source.
        kind: String,
        /// Whether it is synced.
        synced: bool,
    },
}

/// An operation on the wire.
#[derive(Clone, Debug)]
pub enum Op {
    /// Store this.
    Put {
        /// The content.
        endpoint: Endpoint,
        /// The version that the agent gave it.
        version: Version,
    },
    /// Remove this.
    Del {
        /// Which.
        key: EndpointKey,
        /// The version that the agent saw last.
        version_seen: Option<Version>,
    },
}

/// The status of an endpoint, as sent to an agent.
#[derive(Clone, Debug)]
pub struct Status {
    /// The endpoint.
    pub key: EndpointKey,
    /// The version of the content; `None` if the status has none.
    pub version: Option<Version>,
    /// The verdict; `None` if the status has none.
    pub verdict: Option<VerdictState>,
    /// The reason's code.
    pub reason: String,
    /// The message for people.
    pub message: String,
    /// How far it is.
    pub progress: Progress,
}

/// How far an endpoint is, as a status says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// Nothing is said.
    Unspecified,
    /// It waits for its turn.
    Pending,
    /// Route 53 took it.
    Applied,
    /// Its name servers answer with it.
    InSync,
    /// It waits for approval.
    Held,
    /// Route 53 refused it.
    Refused,
    /// Another writer changed the record.
    Drifted,
}

/// A commit of the store.
#[derive(Clone, Debug)]
pub enum Commit {
    /// A session was opened.
    Session {
        /// Whose.
        cluster: ClusterId,
        /// Its epoch, the newest of the cluster.
        epoch: u64,
        /// The namespace's UID that it came with.
        kube_system_uid: String,
    },
    /// Operations of a cluster became durable.
    Ingest {
        /// Whose.
        cluster: ClusterId,
        /// The epoch of the session that they came with.
        epoch: u64,
        /// The newest epoch of the cluster in the store at that moment.
        newest_epoch: u64,
        /// The sequence number covered.
        seq: u64,
        /// The changed rows; operations that changed nothing are left out.
        rows: Vec<RowChange>,
    },
    /// A batch was journalled before it is sent.
    BatchBegun(Box<Batch>),
    /// A batch's outcome.
    BatchFinished {
        /// Which.
        batch: BatchId,
        /// How it ended.
        outcome: BatchOutcome,
    },
    /// The account's tokens may be spent up to here, by the broker's reckoning.
    SpendHorizon {
        /// The account.
        account: AccountId,
        /// Until when.
        until: Timestamp,
    },
}

/// A change of a stored endpoint.
#[derive(Clone, Debug)]
pub enum RowChange {
    /// It is stored with this content.
    Stored(Endpoint),
    /// Only its key is stored, and the version that its content has.
    Withheld(EndpointKey, Version),
    /// It is gone.
    Removed(EndpointKey),
}

impl RowChange {
    /// The key of the endpoint.
    pub fn key(&self) -> &EndpointKey {
        match self {
            Self::Stored(endpoint) => &endpoint.key,
            Self::Withheld(key, _) | Self::Removed(key) => key,
        }
    }

    /// The readable content of the endpoint: only the key if nothing else can be read, as for a rejected one; `None` if it is gone.
    pub fn content(&self) -> Option<Cow<'_, Endpoint>> {
        match self {
            Self::Stored(endpoint) => Some(Cow::Borrowed(endpoint)),
            Self::Withheld(key, _) => {
                Some(Cow::Owned(Endpoint { key: key.clone(), ..Endpoint::default() }))
            }
            Self::Removed(_) => None,
        }
    }
}

/// A change of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    /// Taken, until then by the store's time.
    Taken {
        /// Until when.
        until: Timestamp,
    },
    /// Lengthened.
    Renewed {
        /// Until when.
        until: Timestamp,
    },
    /// Given back.
    GivenBack,
}

/// A call of Route 53.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its number; rises with every call of the run.
    pub number: u64,
    /// The calling replica.
    pub replica: Replica,
    /// The lease epoch, where the harness can tell.
    pub lease_epoch: Option<u64>,
    /// The account.
    pub account: AccountId,
    /// AWS's name of the operation, as in `zonefold::emulator::Action`.
    pub action: &'static str,
    /// The zone, when the call is about one.
    pub zone: Option<ZoneId>,
    /// The batch in the comment, for ChangeResourceRecordSets.
    pub batch: Option<BatchId>,
    /// How many changes it carries (each CREATE and DELETE one).
    pub changes: u32,
    /// The owner names that it changes, each once, in order.
    pub names: Vec<DnsName>,
}

/// How things stood when the run ended.
#[derive(Clone, Debug, Default)]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// The stored endpoints.
    pub endpoints: Vec<StoredEndpoint>,
    /// The owner of each name, by the store.
    pub claims: BTreeMap<(ZoneId, DnsName), ClusterId>,
    /// The record sets that the store believes to be there and to be ours, by zone.
    pub book: BTreeMap<ZoneId, Vec<RawRecordSet>>,
    /// Every batch in the store's journal, oldest first.
    pub batches: Vec<StoredBatch>,
    /// The record sets that Route 53 holds, by zone, SOA and NS of the apex included.
    pub zones: BTreeMap<ZoneId, Vec<RawRecordSet>>,
    /// The agents that run, and what each holds.
    pub agents: BTreeMap<Agent, AgentEnd>,
    /// Names that Route 53 still refuses.
    pub poisoned: BTreeSet<DnsName>,
    /// Clusters that the configuration names no longer: what they made stays as it is.
    pub unregistered: BTreeSet<ClusterId>,
}

/// A stored endpoint.
#[derive(Clone, Debug)]
pub struct StoredEndpoint {
    /// Whose.
    pub cluster: ClusterId,
    /// The order of arrival.
    pub arrival: i64,
    /// The hash under which it is stored.
    pub key: KeyHash,
    /// The version under which it is stored.
    pub version: Version,
    /// The content; only the key if it is withheld.
    pub endpoint: Endpoint,
    /// How large it is as it is stored.
    pub octets: u64,
    /// How large it would be if it was stored; `None` if it is.
    pub withheld: Option<u64>,
    /// The stored verdict, its state and reason.
    pub verdict: Option<(VerdictState, Reason)>,
}

/// A batch in the store's journal.
#[derive(Clone, Debug)]
pub struct StoredBatch {
    /// The batch.
    pub batch: Batch,
    /// The outcome; `None` while it is unknown.
    pub outcome: Option<BatchOutcome>,
}

/// The state of an agent at the end.
#[derive(Clone, Debug, Default)]
pub struct AgentEnd {
    /// The endpoints of its index.
    pub endpoints: Vec<Endpoint>,
    /// The statuses that it holds, the latest of each endpoint.
    pub statuses: Vec<Status>,
    /// Whether its stream is live: welcomed, and everything sent is acked.
    pub live: bool,
    /// Whether the broker refuses it for good (another kube-system UID, a cluster that is not registered).
    pub refused: bool,
}
