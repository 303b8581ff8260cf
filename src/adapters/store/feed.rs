//! The feed: news among replicas, in the order of the commits.
//!
//! An entry's number comes from one locked row, so numbers become visible in their order and without a gap. The entry is the last
//! that its transaction writes: the row is locked for as long as a commit takes, and its holder waits for no other lock.
//! News of endpoints is references, some octets each; the contents are joined when an entry is read, as they are then. A reference
//! whose endpoint is gone is passed over: its removal is an entry to come.
//!
//! SQLite has one process at a time and no feed.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::clock::clock;
use super::codec::{parse, to_signed, to_unsigned};
use super::endpoints;
use super::error::corrupt;
use super::leases::{replica_bytes, replica_id};
use super::names::{Numbered, numbered};
use super::transaction::Transaction;
use super::value::{Input, Kind, Row};
use crate::core::endpoint::KeyHash;
use crate::core::endpoint::verdict::Placement;
use crate::core::ids::ClusterId;
use crate::core::time::Millis;
use crate::ports::{EndpointNews, EndpointRow, FeedEntry, News, ReplicaId, StoreError};

/// The channel on which PostgreSQL announces a new entry; the payload is its writer.
pub(super) const CHANNEL: &str = "zonefold_feed";

/// The kind of an entry, as a number in the table. A form is never changed, it gets another number.
const ENDPOINTS: i64 = 1;
const ZONES: i64 = 2;
const STATUSES: i64 = 3;
const ASK: i64 = 4;
const PLACEMENTS: i64 = 5;
const RULES: i64 = 6;
/// People let units of change go.
const APPROVALS: i64 = 7;
/// A hand-over.
const HANDOVERS: i64 = 8;

/// Octets of statuses that weigh as much as one endpoint.
const STATUS_OCTETS: usize = 100;

/// The endpoints that one transaction stored and removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct References {
    /// By their arrival, rising.
    stored: Vec<i64>,
    /// By the number of their cluster and their key.
    removed: Vec<(i64, KeyHash)>,
}

/// The same as it is stored: arrivals as distances, of which most take one octet.
#[derive(Serialize, Deserialize)]
struct PackedReferences {
    distances: Vec<i64>,
    removed: Vec<(i64, [u8; 32])>,
}

impl References {
    pub(super) fn new(
        stored: impl Iterator<Item = i64>,
        removed: BTreeSet<(i64, KeyHash)>,
    ) -> Self {
        let stored: BTreeSet<i64> = stored.collect();
        Self { stored: stored.into_iter().collect(), removed: removed.into_iter().collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stored.is_empty() && self.removed.is_empty()
    }

    fn pack(&self) -> Result<Vec<u8>, StoreError> {
        let mut before = 0;
        let distances = self
            .stored
            .iter()
            .map(|arrival| arrival - std::mem::replace(&mut before, *arrival))
            .collect();
        let removed = self.removed.iter().map(|(cluster, key)| (*cluster, key.0)).collect();
        postcard::to_allocvec(&PackedReferences { distances, removed }).map_err(|error| {
            StoreError::Refused(format!("news of endpoints cannot be packed: {error}"))
        })
    }

    fn unpack(bytes: &[u8]) -> Result<Self, StoreError> {
        let packed: PackedReferences =
            postcard::from_bytes(bytes).map_err(|error| corrupt("entry of the feed", error))?;
        let mut arrival: i64 = 0;
        let stored = packed.distances.into_iter().map(|distance| {
            arrival = arrival.wrapping_add(distance);
            arrival
        });
        let removed = packed.removed.into_iter().map(|(cluster, key)| (cluster, KeyHash(key)));
        Ok(Self { stored: stored.collect(), removed: removed.collect() })
    }
}

/// News as it is written.
pub(super) struct Piece {
    kind: i64,
    /// About how many endpoints it is worth when the feed is read.
    weight: usize,
    payload: Vec<u8>,
}

impl Piece {
    /// Endpoints became durable, or ceased to be.
    pub(super) fn endpoints(references: &References) -> Result<Self, StoreError> {
        let weight = references.stored.len() + references.removed.len();
        Ok(Self { kind: ENDPOINTS, weight, payload: references.pack()? })
    }

    /// Placements of endpoints were stored.
    pub(super) fn placements(references: &References) -> Result<Self, StoreError> {
        Ok(Self { kind: PLACEMENTS, ..Self::endpoints(references)? })
    }

    /// Zones of an account were stored.
    pub(super) fn zones(account: &str) -> Self {
        Self { kind: ZONES, weight: 1, payload: account.as_bytes().to_vec() }
    }

    /// A set of rules was accepted.
    pub(super) fn rules(number: u64) -> Self {
        Self { kind: RULES, weight: 1, payload: number.to_be_bytes().to_vec() }
    }

    /// Approvals were stored.
    pub(super) fn approvals() -> Self {
        Self { kind: APPROVALS, weight: 1, payload: Vec::new() }
    }

    /// A hand-over was stored.
    pub(super) fn handovers() -> Self {
        Self { kind: HANDOVERS, weight: 1, payload: Vec::new() }
    }

    /// An announcement of a replica; other news is published by storing its subject.
    pub(super) fn announcement(news: News) -> Result<Self, StoreError> {
        match news {
            News::Statuses(bytes) => Ok(Self {
                kind: STATUSES,
                weight: 1 + bytes.len() / STATUS_OCTETS,
                payload: bytes.to_vec(),
            }),
            News::Ask => Ok(Self { kind: ASK, weight: 1, payload: Vec::new() }),
            News::Endpoints(_)
            | News::Zones(_)
            | News::Rules(_)
            | News::Approvals
            | News::Handovers => Err(StoreError::Refused(
                "news of what is stored is published by storing it and cannot be announced"
                    .to_owned(),
            )),
        }
    }
}

const PIECES: &[(&str, Kind)] = &[
    ("place", Kind::Int),
    ("kind", Kind::Int),
    ("weight", Kind::Int),
    ("origin", Kind::Bytes),
    ("payload", Kind::Bytes),
];

/// Numbers, rows and the wake-up of listeners in one statement, so that the counter is locked for one round trip and the
/// commit. News told twice in one transaction is delivered once.
const APPEND: &str = concat!(
    ", taken as (
        update counters set value = value + (select count(*) from input) where name = 'feed' returning value),
    told as (
        insert into feed (seq, at, weight, kind, origin, payload)
        select taken.value - (select count(*) from input) + row_number() over (order by place), ",
    clock!(),
    ", weight, kind, origin, payload from input cross join taken
        returning origin)
    select count(pg_notify('zonefold_feed', encode(origin, 'hex'))) as appended from told"
);

/// Appends entries of one replica; the last statement of its transaction.
pub(super) async fn append(
    transaction: &mut Transaction,
    origin: ReplicaId,
    pieces: Vec<Piece>,
) -> Result<(), StoreError> {
    if !transaction.is_shared() || pieces.is_empty() {
        return Ok(());
    }
    let (count, mut written) = (pieces.len(), 0);
    let mut input = Input::new(PIECES);
    for (place, piece) in (0_i64..).zip(pieces) {
        let weight = i64::try_from(piece.weight).unwrap_or(i64::MAX);
        input.push([
            place.into(),
            piece.kind.into(),
            weight.into(),
            replica_bytes(origin).into(),
            piece.payload.into(),
        ]);
    }
    for row in transaction.fetch_bulk(APPEND, input).await? {
        written += to_unsigned("number of entries", row.int("appended")?)?;
    }
    if written == count as u64 {
        Ok(())
    } else {
        Err(StoreError::Refused("the counter of the feed is missing".to_owned()))
    }
}

/// The newest entry.
pub(super) async fn end(transaction: &mut Transaction) -> Result<u64, StoreError> {
    let row =
        transaction.fetch_optional("select value from counters where name = 'feed'", []).await?;
    row.map_or(Ok(0), |row| to_unsigned("entry of the feed", row.int("value")?))
}

/// How far the feed was cut and how far it goes, with the entries of one page: one statement, so that nothing is cut between the
/// two. The reader's own news of endpoints and statuses comes without its contents.
const PAGE: &str = "
    select bounds.cut, bounds.newest, page.seq, page.origin, page.kind, page.payload
      from (select (select value from counters where name = 'feed_cut') as cut,
                   (select value from counters where name = 'feed') as newest) as bounds
      left join (
        select seq, origin, kind, case when origin = $3 and kind in (1, 3, 5) then null else payload end as payload
          from (select seq, origin, kind, payload, sum(weight) over (order by seq) - weight as before
                  from (select seq, origin, kind, payload, weight from feed where seq > $1 order by seq limit $2) as next) as weighed
         where before < $2) as page on true
     order by page.seq";

/// One entry before its references are joined.
enum Told {
    Endpoints(References),
    Placements(References),
    Other(News),
}

impl Told {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let payload = row.bytes_or_null("payload")?;
        Ok(match (row.int("kind")?, payload) {
            (ENDPOINTS, None) => Self::Endpoints(References::default()),
            (ENDPOINTS, Some(bytes)) => Self::Endpoints(References::unpack(bytes)?),
            (PLACEMENTS, None) => Self::Placements(References::default()),
            (PLACEMENTS, Some(bytes)) => Self::Placements(References::unpack(bytes)?),
            (STATUSES, bytes) => {
                Self::Other(News::Statuses(Bytes::copy_from_slice(bytes.unwrap_or_default())))
            }
            (ZONES, Some(bytes)) => {
                Self::Other(News::Zones(parse("account id", &String::from_utf8_lossy(bytes))?))
            }
            (ASK, _) => Self::Other(News::Ask),
            (RULES, Some(bytes)) => {
                let number =
                    bytes.try_into().map_err(|error| corrupt("entry of the feed", error))?;
                Self::Other(News::Rules(u64::from_be_bytes(number)))
            }
            (APPROVALS, _) => Self::Other(News::Approvals),
            (HANDOVERS, _) => Self::Other(News::Handovers),
            // News of a newer release that this one does not know.
            (kind, _) => {
                tracing::debug!(
                    kind,
                    "an entry of the feed is passed over: its kind is unknown here"
                );
                Self::Endpoints(References::default())
            }
        })
    }

    fn references(&self) -> Option<&References> {
        match self {
            Self::Endpoints(references) | Self::Placements(references) => Some(references),
            Self::Other(_) => None,
        }
    }
}

/// Reads a page behind `after`, of about `limit` endpoints, for one replica.
pub(super) async fn read(
    transaction: &mut Transaction,
    clusters: &Numbered<ClusterId>,
    placements: &Numbered<Placement>,
    reader: ReplicaId,
    after: u64,
    limit: u32,
) -> Result<Vec<FeedEntry>, StoreError> {
    let from = to_signed("the feed's entry", after)?;
    let arguments = [from.into(), i64::from(limit.max(1)).into(), replica_bytes(reader).into()];
    let mut page = Vec::new();
    for row in transaction.fetch(PAGE, arguments).await? {
        // An entry that is not there yet was read from a database that has since been restored to an older state.
        if from < row.int("cut")? || from > row.int("newest")? {
            return Err(StoreError::FeedCut { after });
        }
        if let Some(seq) = row.int_or_null("seq")? {
            page.push((
                to_unsigned("entry of the feed", seq)?,
                replica_id(row.bytes("origin")?)?,
                Told::read(&row)?,
            ));
        }
    }
    if page.iter().any(|(_, _, told)| matches!(told, Told::Other(News::Zones(_)))) {
        placements.forget();
    }
    let references = || page.iter().filter_map(|(_, _, told)| told.references());
    let arrivals: BTreeSet<i64> =
        references().flat_map(|references| references.stored.iter().copied()).collect();
    let stored = endpoints::by_arrival(transaction, clusters, placements, arrivals).await?;
    let removed = || references().flat_map(|references| &references.removed);
    let clusters = clusters
        .covering(transaction, |held| removed().all(|(number, _)| held.contains_key(number)))
        .await?;
    let entry = |(seq, origin, told)| {
        let news = match told {
            Told::Endpoints(references) => News::Endpoints(join(references, &stored, &clusters)?),
            Told::Placements(references) => News::Endpoints(placed(&references, &stored)),
            Told::Other(news) => news,
        };
        Ok(FeedEntry { seq, origin, news })
    };
    page.into_iter().map(entry).collect()
}

/// Removals come first: a key that was removed and came back elsewhere in the transaction is no removal.
fn join(
    references: References,
    stored: &HashMap<i64, EndpointRow>,
    clusters: &HashMap<i64, ClusterId>,
) -> Result<Vec<EndpointNews>, StoreError> {
    let removed = references.removed.into_iter();
    let removed = removed.map(|(number, key)| {
        Ok(EndpointNews::Removed { cluster: numbered("cluster", clusters, number)?, key })
    });
    let rows = references.stored.iter().filter_map(|arrival| stored.get(arrival).cloned());
    removed.chain(rows.map(|row| Ok(EndpointNews::Stored(row)))).collect()
}

/// The endpoints as they are now, which is no news of their contents.
fn placed(references: &References, stored: &HashMap<i64, EndpointRow>) -> Vec<EndpointNews> {
    let rows = references.stored.iter().filter_map(|arrival| stored.get(arrival).cloned());
    rows.map(EndpointNews::Placed).collect()
}

/// The last entry before the first that is young enough; the newest if none is.
const OLD_THROUGH: &str = concat!(
    "select coalesce((select seq from feed where at >= ",
    clock!(),
    " - $1 order by seq limit 1) - 1, (select max(seq) from feed)) as through"
);

/// Cuts the entries that are older than `age`. The place of the cut is locked first, so that concurrent cuts take turns.
pub(super) async fn prune(transaction: &mut Transaction, age: Millis) -> Result<u64, StoreError> {
    transaction.fetch("select value from counters where name = 'feed_cut' for update", []).await?;
    let through = transaction.fetch_optional(OLD_THROUGH, [age.0.into()]).await?;
    let Some(through) = through.map(|row| row.int_or_null("through")).transpose()?.flatten() else {
        return Ok(0);
    };
    let cut = transaction.execute("delete from feed where seq <= $1", [through.into()]).await?;
    if cut > 0 {
        transaction
            .execute("update counters set value = $1 where name = 'feed_cut'", [through.into()])
            .await?;
    }
    Ok(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_take_few_octets_and_come_back() {
        let key = |octet| KeyHash([octet; 32]);
        let references =
            References::new((1_000_000..1_008_000).rev(), [(7, key(2)), (3, key(9))].into());
        let packed = references.pack().unwrap();
        assert!(packed.len() < 8_000 + 100, "{} octets", packed.len());
        assert_eq!(References::unpack(&packed).unwrap(), references);
        assert_eq!(references.removed, [(3, key(9)), (7, key(2))]);
        assert!(References::unpack(&packed[..100]).is_err());
    }
}
