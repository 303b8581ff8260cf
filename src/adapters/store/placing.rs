//! Storing where endpoints go, and of which accounts all zones are known.

use std::collections::{BTreeMap, BTreeSet};

use super::feed::{self, Piece, References};
use super::names::Numbered;
use super::placements::{encode, numbers_of};
use super::sessions::lock_clusters;
use super::transaction::Transaction;
use super::value::{Input, Kind};
use crate::core::endpoint::verdict::Placement;
use crate::core::ids::AccountId;
use crate::core::time::Timestamp;
use crate::ports::{PlacementWrite, ReplicaId, StoreError};

pub(super) const DECISIONS: &[(&str, Kind)] = &[
    ("arrival", Kind::Int),
    ("version", Kind::Bytes),
    ("found", Kind::Text),
    ("placed", Kind::Text),
];

/// As for verdicts, the versions are not compared by equality.
pub(super) const PLACE: &str = "
    update endpoints set placed = input.placed, placed_version = input.version from input
     where endpoints.arrival = input.arrival and not (endpoints.version <> input.version)
       and (coalesce(endpoints.placed, '0:' || endpoints.verdict_zone) is not distinct from input.found
            or endpoints.placed = input.placed)
    returning endpoints.arrival";

/// Stores decisions by compare-and-swap, and returns for each whether it holds.
pub(super) async fn place(
    transaction: &mut Transaction,
    placements: &Numbered<Placement>,
    origin: ReplicaId,
    decisions: &[PlacementWrite],
) -> Result<Vec<bool>, StoreError> {
    // The lock keeps two writers of the same endpoints from waiting for each other in a circle.
    lock_clusters(transaction, decisions.iter().map(|decision| &decision.cluster)).await?;
    let sets = decisions.iter().flat_map(|decision| decision.placing.sets());
    let numbers = numbers_of(transaction, placements, sets).await?;
    let mut last = BTreeMap::new();
    for decision in decisions {
        let placing = &decision.placing;
        let found = placing.found.as_ref();
        let found = found.map(|found| encode(found.sequence, &found.set, &numbers));
        let placed = encode(placing.sequence(), &placing.to, &numbers);
        // A decision that rests on a zone that is not stored rests on nothing that could be compared.
        let (Some(placed), None | Some(Some(_))) = (placed, &found) else {
            continue;
        };
        last.insert(decision.arrival, (decision.version, found.flatten(), placed));
    }
    let mut input = Input::new(DECISIONS);
    for (arrival, (version, found, placed)) in &last {
        input.push([
            (*arrival).into(),
            version.0.into(),
            found.clone().into(),
            placed.as_str().into(),
        ]);
    }
    let mut held = BTreeSet::new();
    for row in transaction.fetch_bulk(PLACE, input).await? {
        held.insert(row.int("arrival")?);
    }
    if !held.is_empty() {
        let references = References::new(held.iter().copied(), BTreeSet::new());
        feed::append(transaction, origin, vec![Piece::placements(&references)?]).await?;
    }
    let holds = |decision: &PlacementWrite| {
        held.contains(&decision.arrival)
            && last.get(&decision.arrival).is_some_and(|(version, ..)| *version == decision.version)
    };
    Ok(decisions.iter().map(holds).collect())
}

/// The accounts of which all zones were listed at least once.
pub(super) async fn listed_accounts(
    transaction: &mut Transaction,
) -> Result<BTreeSet<AccountId>, StoreError> {
    let rows = transaction.fetch("select account from listed_accounts", []).await?;
    rows.iter().map(|row| super::codec::parse("account id", row.text("account")?)).collect()
}

/// Notes that all zones of an account were listed.
pub(super) async fn note_listed(
    transaction: &mut Transaction,
    origin: ReplicaId,
    account: &AccountId,
    at: Timestamp,
) -> Result<(), StoreError> {
    let note = "
        insert into listed_accounts (account, listed_at) values ($1, $2)
        on conflict (account) do nothing returning account";
    let noted = transaction.fetch(note, [account.as_str().into(), at.0.into()]).await?;
    if noted.is_empty() {
        return Ok(());
    }
    feed::append(transaction, origin, vec![Piece::zones(account.as_str())]).await
}
