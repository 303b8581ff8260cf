//! The facts of further events that the oracle has to know: the truth, whether a broker knows it or not.

use zonefold::core::dns::name::DnsName;
use zonefold::core::governance::pattern::NamePattern;
use zonefold::core::ids::{AccountId, ClusterId, ZoneId};
use zonefold::core::planning::policy::ZonePolicy;
use zonefold::core::planning::unit_digest::UnitDigest;
use zonefold::core::time::Timestamp;

use super::Agent;

/// Something that is so from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The first rule that a zone's name fits asks for the tag, and says this where it is there; `None` if no rule asks for tags.
    TagRule { zone: ZoneId, policy: Option<ZonePolicy> },
    /// Whether the zone has the tag.
    Tagged { zone: ZoneId, tagged: bool },
    /// Whether the tags of an account's zones can be read.
    TagsReadable { account: AccountId, readable: bool },
    /// A zone is there.
    ZoneMade { zone: ZoneId, account: AccountId, apex: DnsName },
    /// It was deleted by others.
    ZoneDeleted { zone: ZoneId },
    /// The rules select it no longer, or again.
    ZoneHidden { zone: ZoneId, hidden: bool },
    /// An operator had the names below an apex placed anew.
    Rerouted { below: DnsName },
    /// The database's clock is this far ahead, in milliseconds.
    StoreClock { ahead_ms: i64 },
    /// Changes of a zone fail with a status that says nothing of the batch, all of them; or no longer.
    Failing { zone: ZoneId, on: bool },
    /// A freeze of a zone, which every broker knows: what it lets through besides nothing is `urgent`.
    Frozen { apex: DnsName, from: Timestamp, until: Timestamp, urgent: bool },
    /// A guard of a zone, which every broker knows: so many record sets may be deleted there within the window.
    Guarded { apex: DnsName, allowed: u64, window_ms: u64 },
    /// People let these units go.
    LetGo { units: Vec<UnitDigest> },
    /// People hand names over.
    HandedOver { from: ClusterId, to: ClusterId, names: NamePattern },
    /// The connections that an agent has fall silent, and stay so for longer than any patience.
    Silent { agent: Agent },
}
