//! Hand-overs: takes the verbs of people, gathers what accounts say, and moves each on when all of them are through.
//!
//! Every replica reports for the accounts that it manages, and whichever sees first that a phase is over begins the next one; the
//! hand-over's version keeps two of them apart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{info, warn};
use uuid::Uuid;

use super::handle::BrokerHandle;
use super::rules::RulesInForce;
use super::rules::keeper::RulesMessage;
use super::worker::registry::Workers;
use super::worker::{HandedNames, Query};
use crate::core::dns::name::DnsName;
use crate::core::governance::actor::Actor;
use crate::core::governance::handover::{
    Handover, HandoverMode, HandoverPhase, HandoverRefused, HandoverReport,
};
use crate::core::governance::pattern::NamePattern;
use crate::core::ids::{AccountId, ClusterId, ZoneId, id_at};
use crate::core::time::Timestamp;
use crate::ports::{Clock, Store, StoreError};

/// How often accounts are asked while names are on their way.
const EVERY: Duration = Duration::from_secs(2);

/// What a person wants handed over.
#[derive(Clone, Debug)]
pub struct WantedHandover {
    /// Who has the names.
    pub from: ClusterId,
    /// Who is to have them.
    pub to: ClusterId,
    /// Which names; none for all.
    pub names: Vec<NamePattern>,
    /// Only of objects in these namespaces; none for all.
    pub namespaces: Vec<String>,
    /// How.
    pub mode: HandoverMode,
    /// Whether names pass, too, for which the new cluster wants other record types.
    pub with_different: bool,
    /// Who asks.
    pub by: Actor,
    /// Why.
    pub reason: String,
}

/// Why a hand-over is not begun, switched or aborted.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// From a cluster to itself.
    #[error("the names of {0} cannot be handed over to {0} itself: name another cluster")]
    SameCluster(ClusterId),
    /// Another one wants the same.
    #[error(
        "the hand-over {id} from {from} to {to} is {phase} and may want the same names: wait for its end, or abort it"
    )]
    Clashes {
        /// Its id.
        id: Uuid,
        /// Who has its names.
        from: ClusterId,
        /// Who is to have them.
        to: ClusterId,
        /// How far it is.
        phase: HandoverPhase,
    },
    /// There is none.
    #[error("there is no hand-over {0}")]
    NotFound(Uuid),
    /// Nobody knows yet what would pass.
    #[error("the accounts {} have not said yet which names are ready: look again in a moment, or see whether they are parked", list(.0))]
    NotReported(Vec<AccountId>),
    /// It is too late, or too early.
    #[error(transparent)]
    Refused(#[from] HandoverRefused),
    /// It moved on.
    #[error("the hand-over has moved on at this moment: look again")]
    MovedOn,
    /// The store does not answer, or holds what cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn list(accounts: &[AccountId]) -> String {
    accounts.iter().map(AccountId::as_str).collect::<Vec<_>>().join(", ")
}

/// Stages a hand-over: nothing passes before it is switched.
///
/// # Errors
/// See [`HandoverError`].
pub async fn stage(
    store: &dyn Store,
    wanted: WantedHandover,
    now: Timestamp,
) -> Result<Handover, HandoverError> {
    if wanted.from == wanted.to {
        return Err(HandoverError::SameCluster(wanted.from));
    }
    let handover = Handover {
        id: id_at(now, fastrand::fill),
        version: 1,
        from: wanted.from,
        to: wanted.to,
        names: wanted.names,
        namespaces: wanted.namespaces,
        mode: wanted.mode,
        with_different: wanted.with_different,
        phase: HandoverPhase::Staged,
        by: wanted.by,
        reason: wanted.reason,
        at: now,
        began_at: None,
        since: now,
        until: None,
        ended: None,
    };
    let others = store.handovers(0).await?;
    if let Some(other) = others.into_iter().find(|other| other.clashes(&handover)) {
        let Handover { id, from, to, phase, .. } = other;
        return Err(HandoverError::Clashes { id, from, to, phase });
    }
    saved(store, handover).await
}

/// Lets the names of a staged hand-over pass.
///
/// # Errors
/// See [`HandoverError`].
pub async fn switch(
    store: &dyn Store,
    id: Uuid,
    accounts: &BTreeSet<AccountId>,
    now: Timestamp,
) -> Result<Handover, HandoverError> {
    let handover = store.handover(id).await?.ok_or(HandoverError::NotFound(id))?;
    let version = handover.version;
    let next = handover.switched(now)?;
    // Their reports say, too, how long resolvers remember the answers that there are.
    let reports = store.handover_reports(id).await?;
    let is_silent =
        |account: &&AccountId| reports.get(account).is_none_or(|report| report.version != version);
    let silent: Vec<AccountId> = accounts.iter().filter(is_silent).cloned().collect();
    if !silent.is_empty() {
        return Err(HandoverError::NotReported(silent));
    }
    saved(store, next).await
}

/// Puts back what was.
///
/// # Errors
/// See [`HandoverError`].
pub async fn abort(
    store: &dyn Store,
    id: Uuid,
    by: Actor,
    reason: String,
    now: Timestamp,
) -> Result<Handover, HandoverError> {
    let handover = store.handover(id).await?.ok_or(HandoverError::NotFound(id))?;
    saved(store, handover.aborted(by, reason, now)?).await
}

async fn saved(store: &dyn Store, handover: Handover) -> Result<Handover, HandoverError> {
    match store.save_handover(&handover).await? {
        true => Ok(handover),
        false => Err(HandoverError::MovedOn),
    }
}

/// See the module's page.
pub struct HandoverKeeper {
    /// Where hand-overs and reports are.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The accounts of this replica, and those of the configuration.
    pub workers: Arc<Workers>,
    /// The hand-overs as this replica's accounts decide by them.
    pub rules: watch::Receiver<Arc<RulesInForce>>,
    /// The keeper of the rules, which is told of a hand-over that moved on.
    pub to_rules: mpsc::UnboundedSender<RulesMessage>,
}

impl HandoverKeeper {
    /// Keeps until the broker ends.
    pub async fn run(mut self) {
        loop {
            let is_idle = self.rules.borrow_and_update().governance.handovers().is_empty();
            let changed = self.rules.changed();
            let is_over = match is_idle {
                true => changed.await.is_err(),
                false => matches!(tokio::time::timeout(EVERY, changed).await, Ok(Err(_))),
            };
            if is_over {
                return;
            }
            let known = Arc::clone(self.rules.borrow().governance.handovers());
            for handover in known.iter() {
                if let Err(error) = self.look_at(handover).await {
                    warn!(handover = %handover.id, %error, "a hand-over stays as it is: the store cannot be asked");
                }
            }
        }
    }

    async fn look_at(&self, handover: &Arc<Handover>) -> Result<(), StoreError> {
        let stored = self.store.handover(handover.id).await?;
        if stored.is_some_and(|stored| stored.version != handover.version) {
            // The news was lost, as with the answer to a write of this replica.
            let _stopping = self.to_rules.send(RulesMessage::HandedOver);
            return Ok(());
        }
        let mut reports = self.store.handover_reports(handover.id).await?;
        for (account, report) in self.ask(handover).await {
            let known = reports.get(&account).copied().unwrap_or_default();
            // The longest that was ever seen counts: a resolver may have asked then.
            let report = HandoverReport { ttl_secs: report.ttl_secs.max(known.ttl_secs), ..report };
            if report != known {
                self.store.save_handover_report(handover.id, &account, &report).await?;
                reports.insert(account, report);
            }
        }
        let accounts = self.workers.configured().keys().cloned().collect();
        if let Some(next) = handover.next(&accounts, &reports, self.clock.now())
            && self.store.save_handover(&next).await?
        {
            info!(handover = %next.id, from = %next.from, to = %next.to, phase = %next.phase, "a hand-over moves on");
            // The keeper of the rules ends with the broker.
            let _stopping = self.to_rules.send(RulesMessage::HandedOver);
        }
        Ok(())
    }

    /// What the accounts of this replica say.
    async fn ask(&self, handover: &Arc<Handover>) -> BTreeMap<AccountId, HandoverReport> {
        let mut reports = BTreeMap::new();
        for (account, worker) in self.workers.all().iter() {
            let query = |reply| Query::Handover { handover: Arc::clone(handover), reply };
            if let Some(report) = worker.ask(query).await.flatten() {
                reports.insert(account.clone(), report);
            }
        }
        reports
    }
}

impl BrokerHandle {
    /// Stages a hand-over; see [`stage`].
    ///
    /// # Errors
    /// See [`HandoverError`].
    pub async fn stage_handover(&self, wanted: WantedHandover) -> Result<Handover, HandoverError> {
        self.told(stage(&*self.store, wanted, self.clock.now()).await)
    }

    /// Lets the names of a staged hand-over pass.
    ///
    /// # Errors
    /// See [`HandoverError`].
    pub async fn switch_handover(&self, id: Uuid) -> Result<Handover, HandoverError> {
        let accounts = self.workers.configured().keys().cloned().collect();
        self.told(switch(&*self.store, id, &accounts, self.clock.now()).await)
    }

    /// Puts back what was before a hand-over.
    ///
    /// # Errors
    /// See [`HandoverError`].
    pub async fn abort_handover(
        &self,
        id: Uuid,
        by: Actor,
        reason: String,
    ) -> Result<Handover, HandoverError> {
        self.told(abort(&*self.store, id, by, reason, self.clock.now()).await)
    }

    fn told(&self, done: Result<Handover, HandoverError>) -> Result<Handover, HandoverError> {
        // The store may have taken it although its answer was lost.
        if matches!(done, Ok(_) | Err(HandoverError::Store(_))) {
            // A broker that stops hands nothing over any more; the next one reads what is stored.
            let _stopping = self.to_rules.send(RulesMessage::HandedOver);
        }
        done
    }

    /// Names of a hand-over after one of an account's zone, so many at most, in the accounts that this replica manages.
    pub async fn handed_names(
        &self,
        handover: Handover,
        after: Option<(AccountId, ZoneId, DnsName)>,
        limit: usize,
    ) -> Vec<(AccountId, HandedNames)> {
        let handover = Arc::new(handover);
        let (mut left, mut found) = (limit, vec![]);
        for (account, worker) in self.workers.all().iter() {
            let of_account = match &after {
                Some((before, ..)) if account < before => continue,
                Some((before, zone, name)) if account == before => {
                    Some((zone.clone(), name.clone()))
                }
                _ => None,
            };
            if left == 0 {
                break;
            }
            let handover = Arc::clone(&handover);
            let query =
                |reply| Query::HandedNames { handover, after: of_account, limit: left, reply };
            let zones = worker.ask(query).await.unwrap_or_default();
            left -= zones.iter().map(|zone| zone.names.len()).sum::<usize>().min(left);
            found.extend(zones.into_iter().map(|zone| (account.clone(), zone)));
        }
        found
    }
}
