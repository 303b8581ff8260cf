//! The claims of a zone's names, and which of them the store does not have as they stand.
//!
//! The owner of a name is decided when the name is looked at, and becomes durable with the batch that depends on it. If there is
//! nothing to send, the claim is written alone: the account's next worker decides from the store. If the store lacked the claim,
//! the name would pass on without a reason, and the record sets that its owner's endpoint made before it was rejected would look
//! unowned and be deleted.

use std::collections::BTreeSet;

use super::ZoneState;
use super::name_state::Claim;
use crate::core::dns::name::DnsName;
use crate::core::planning::change::Batch;
use crate::core::planning::claims::NameDecision;
use crate::core::time::Timestamp;
use crate::ports::{ClaimRow, ClaimWrite};

impl ZoneState {
    /// Sets the claim to what was decided.
    pub(in crate::broker::worker) fn settle_claim(
        &mut self,
        name: &DnsName,
        decision: &NameDecision,
        now: Timestamp,
    ) {
        let Some(state) = self.names.get_mut(name) else { return };
        let held = state.claim.as_ref().map(|claim| &claim.cluster);
        let has_changed = match &decision.holder {
            Some(holder) if held != Some(holder) => {
                state.claim = Some(Claim { cluster: holder.clone(), since: now });
                true
            }
            None if state.contributions.is_empty() && state.owns_nothing() => {
                state.claim.take().is_some()
            }
            _ => false,
        };
        if has_changed {
            self.dirty_claims.note(name);
        }
    }

    /// The claims that a batch rests on and that are not durable yet.
    pub fn claims_for(&self, batch: &Batch) -> Vec<ClaimWrite> {
        let names: BTreeSet<&DnsName> = batch.changes().map(|change| &change.key.name).collect();
        names
            .into_iter()
            .filter(|name| self.dirty_claims.contains(name))
            .map(|name| self.claim_write(name))
            .collect()
    }

    /// Whether claims are to be written that no batch takes along.
    pub fn has_lone_claims(&self) -> bool {
        self.dirty_claims.has_alone()
    }

    /// Takes some of the claims that are to be written alone.
    pub fn take_lone_claims(&mut self) -> Vec<ClaimWrite> {
        self.dirty_claims.take_alone().iter().map(|name| self.claim_write(name)).collect()
    }

    fn claim_write(&self, name: &DnsName) -> ClaimWrite {
        let zone = self.context.zone().clone();
        match self.names.get(name).and_then(|state| state.claim.as_ref()) {
            Some(Claim { cluster, since }) => ClaimWrite::Hold(ClaimRow {
                zone,
                name: name.clone(),
                cluster: cluster.clone(),
                since: *since,
            }),
            None => ClaimWrite::Release { zone, name: name.clone() },
        }
    }

    /// The claims were made durable; those that have changed meanwhile are not.
    pub fn claims_kept(&mut self, claims: &[ClaimWrite]) {
        for claim in claims {
            let (name, kept) = match claim {
                ClaimWrite::Hold(row) => (&row.name, Some(&row.cluster)),
                ClaimWrite::Release { name, .. } => (name, None),
            };
            let held = self
                .names
                .get(name)
                .and_then(|state| state.claim.as_ref())
                .map(|claim| &claim.cluster);
            if held == kept {
                self.dirty_claims.forget(name);
            }
        }
    }
}
