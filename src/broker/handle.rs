//! How the API, the command line and the gRPC server reach a broker.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

use super::ACCOUNTS_ANSWER_WITHIN;
use super::decider::DeciderMessage;
use super::directory::cluster::{ClusterEndpoints, StatusCounts};
use super::directory::{ClusterSettings, NameReach, SharedDirectory};
use super::governed;
use super::ingest::{self, Admission, FederationService, RefusedClaim};
use super::replicas::manager::LeaseCommand;
use super::rules::keeper::RulesMessage;
use super::rules::releases::{self, DecideError, DecidedHold, Word};
use super::rules::{ApplyError, ChangedBy, RuleChange, RulesInForce};
use super::worker::registry::Workers;
use super::worker::{self, AccountSettings, AccountView, HeldUnits, HoldReport, Query, WhyReport};
use crate::core::dns::name::DnsName;
use crate::core::dns::record::RecordKey;
use crate::core::governance::ruleset::Rules;
use crate::core::ids::{AccountId, ClusterId, ZoneId};
use crate::core::planning::plan::Observed;
use crate::core::planning::unit_digest::UnitDigest;
use crate::core::release::request::{ReleaseRequest, RequestState};
use crate::core::time::Timestamp;
use crate::ports::{
    ChangeFilter, ChangeRow, Clock, ClusterRow, Membership, ReplicaRow, Store, StoreError,
};

/// How to reach a broker.
#[derive(Clone)]
pub struct BrokerHandle {
    /// The directory of endpoints and zones.
    pub directory: SharedDirectory,
    /// The workers of this replica.
    pub workers: Arc<Workers>,
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Which replica this is.
    pub replica: ReplicaRow,
    /// The live replicas and which account each manages, as this one heard last.
    pub standing: watch::Receiver<Arc<Membership>>,
    /// Commands to the lease manager.
    pub(super) tenancy: mpsc::UnboundedSender<LeaseCommand>,
    /// Messages to the decider.
    pub(super) decider: mpsc::Sender<DeciderMessage>,
    /// The rules of governance that count.
    pub rules: watch::Receiver<Arc<RulesInForce>>,
    /// Messages to the keeper of the rules.
    pub(super) to_rules: mpsc::UnboundedSender<RulesMessage>,
    /// The gRPC service.
    pub(super) service: FederationService,
    /// Authenticates callers and remembers refused claims.
    pub(super) admission: Admission,
    /// When the start was complete.
    pub(super) started_at: Timestamp,
}

/// A cluster, for people.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// Its name.
    pub cluster: ClusterId,
    /// Its configuration; `None` if it is no longer registered.
    pub settings: Option<ClusterSettings>,
    /// Its row in the store; `None` if it never connected.
    pub stored: Option<ClusterRow>,
    /// Whether its session is open at this replica.
    pub connected: bool,
    /// The last claim to be this cluster that this replica refused.
    pub refused: Option<RefusedClaim>,
    /// How many endpoints are in which state.
    pub counts: StatusCounts,
}

impl BrokerHandle {
    /// Takes another configuration of clusters and accounts, and the rules in its files. Accounts that are new are managed from now on, by whichever replica
    /// takes them; those that are gone are given back.
    pub async fn reconfigure(
        &self,
        clusters: HashMap<ClusterId, ClusterSettings>,
        accounts: Vec<AccountSettings>,
        rules: Arc<Rules>,
    ) {
        // A broker that stops takes no configuration any more.
        // An account that was listed before, perhaps by another replica, is not waited for again.
        let listed = self.store.listed_accounts().await.unwrap_or_else(|error| {
            warn!(%error, "which accounts were listed is not known: new names wait for those that are new here");
            BTreeSet::new()
        });
        let scopes = worker::scopes(&accounts, &listed);
        let _stopping = self.to_rules.send(RulesMessage::Configure(rules, governed(&clusters)));
        let _stopping = self.decider.send(DeciderMessage::Reconfigure(clusters, scopes)).await;
        let _stopping = self.tenancy.send(LeaseCommand::Configure(accounts));
    }

    /// Changes rules of the store, all or none; answers the number of the set that counts then.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn apply_rules(
        &self,
        changes: Vec<RuleChange>,
        expected: Option<u64>,
        by: ChangedBy,
    ) -> Result<u64, ApplyError> {
        let stops = || StoreError::Unavailable("the broker stops".to_owned());
        let (reply, answer) = oneshot::channel();
        self.to_rules
            .send(RulesMessage::Apply { changes, expected, by, reply })
            .map_err(|_| stops())?;
        answer.await.map_err(|_| stops())?
    }

    /// The accounts that this replica manages, as their workers published them last.
    pub fn accounts(&self) -> Vec<Arc<AccountView>> {
        let mut views: BTreeMap<AccountId, Arc<AccountView>> = BTreeMap::new();
        let (standing, configured) = (self.standing.borrow().clone(), self.workers.configured());
        // Nothing is known yet of accounts that it took just now.
        for tenure in standing.leases.iter().filter(|tenure| tenure.holder == self.replica.replica)
        {
            if let Some(settings) = configured.get(&tenure.account) {
                views.insert(
                    tenure.account.clone(),
                    Arc::new(AccountView::empty(settings, self.clock.now())),
                );
            }
        }
        let workers = self.workers.all();
        views.extend(
            workers
                .iter()
                .map(|(account, worker)| (account.clone(), Arc::clone(&worker.view.borrow()))),
        );
        views.into_values().collect()
    }

    /// The endpoints of a cluster.
    pub fn endpoints(&self, cluster: &ClusterId) -> Arc<ClusterEndpoints> {
        self.directory.cluster(cluster)
    }

    /// All clusters, registered or stored.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn clusters(&self) -> Result<Vec<ClusterView>, StoreError> {
        let mut stored: BTreeMap<ClusterId, ClusterRow> = self
            .store
            .clusters()
            .await?
            .into_iter()
            .map(|row| (row.cluster.clone(), row))
            .collect();
        let settings = self.directory.settings();
        let open = self.service.open_sessions();
        let mut names: Vec<ClusterId> = settings.keys().chain(stored.keys()).cloned().collect();
        names.sort();
        names.dedup();
        let view = |cluster: ClusterId| {
            let stored = stored.remove(&cluster);
            ClusterView {
                settings: settings.get(&cluster).cloned(),
                // An older session does not count: it may not know yet that the agent has opened another one elsewhere.
                connected: open
                    .get(&cluster)
                    .is_some_and(|open| stored.as_ref().is_none_or(|stored| stored.epoch <= *open)),
                stored,
                refused: self.admission.last_refused(&cluster),
                counts: self.endpoints(&cluster).counts(),
                cluster,
            }
        };
        Ok(names.into_iter().map(view).collect())
    }

    /// Observed records of a zone after a key; `None` if no worker of this replica has the zone.
    pub async fn records(
        &self,
        zone: &ZoneId,
        after: Option<RecordKey>,
        limit: usize,
    ) -> Option<Vec<(RecordKey, Observed)>> {
        let account = self.directory.zones().get(zone).map(|facts| facts.account.clone())?;
        let query = |reply| Query::Records { zone: zone.clone(), after, limit, reply };
        self.workers.get(&account)?.ask(query).await?
    }

    /// Everything that is known of a name, from every account that this replica manages.
    pub async fn why(&self, name: &DnsName) -> Vec<WhyReport> {
        let mut reports = vec![];
        for worker in self.workers.all().values() {
            let query = |reply| Query::Why { name: name.clone(), reply };
            reports.extend(worker.ask(query).await.unwrap_or_default());
        }
        reports
    }

    /// What guards hold, in every account that this replica manages.
    pub async fn holds(&self) -> Vec<HoldReport> {
        let mut reports = vec![];
        for worker in self.workers.all().values() {
            let query = |reply| Query::Holds { reply };
            reports.extend(worker.ask(query).await.unwrap_or_default());
        }
        reports
    }

    /// The units of a hold of some names after one, and the last of those if there are more; `None` if no account of this replica
    /// has the hold.
    pub async fn hold_units(
        &self,
        digest: UnitDigest,
        after: Option<DnsName>,
        limit: usize,
    ) -> Option<HeldUnits> {
        for worker in self.workers.all().values() {
            let query = |reply| Query::HoldUnits { digest, after: after.clone(), limit, reply };
            if let Some(units) = worker.ask(query).await.flatten() {
                return Some(units);
            }
        }
        None
    }

    /// Takes a person's word on a hold; answers the request that it is kept with.
    ///
    /// # Errors
    /// The person may not, or the store does not answer.
    pub async fn decide_hold(
        &self,
        hold: &DecidedHold,
        word: &Word,
    ) -> Result<ReleaseRequest, DecideError> {
        let decided = releases::decide(&*self.store, hold, word, self.clock.now()).await;
        // The store may have taken the word although its answer was lost.
        let may_let_go = match &decided {
            Ok(request) => request.state == RequestState::Approved,
            Err(error) => matches!(error, DecideError::Store(_)),
        };
        if may_let_go {
            // A broker that stops lets nothing go any more.
            let _stopping = self.to_rules.send(RulesMessage::Approved);
        }
        decided
    }

    /// Places anew endpoints that lost their zone and can go to another of the same name, at a name or all below it too, as if
    /// their objects were written again. Returns how many endpoints this concerns; `None` if the broker stops.
    pub async fn reroute(&self, name: DnsName, reach: NameReach) -> Option<usize> {
        let (reply, answer) = oneshot::channel();
        self.decider.send(DeciderMessage::Reroute { name, reach, reply }).await.ok()?;
        answer.await.ok()
    }

    /// The journal, newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn changes(&self, filter: &ChangeFilter) -> Result<Vec<ChangeRow>, StoreError> {
        self.store.changes(filter).await
    }

    /// Why the broker is not ready; empty if it is. Agents are served without AWS, so an account is waited for only until its
    /// first answer, and not for longer than [`ACCOUNTS_ANSWER_WITHIN`].
    pub async fn not_ready(&self) -> Vec<String> {
        let mut reasons = vec![];
        if let Err(error) = self.store.ping().await {
            reasons.push(error.to_string());
        }
        if self.clock.now().since(self.started_at) > ACCOUNTS_ANSWER_WITHIN {
            return reasons;
        }
        for account in self.accounts() {
            if let worker::Health::Starting = account.health {
                reasons.push(format!(
                    "the account {} ({}) is starting",
                    account.account, account.name
                ));
            }
        }
        reasons
    }

    /// Returns when all commits so far are decided and every account that is managed here has nothing left to do. For tests and
    /// measurements.
    pub async fn wait_idle(&self) {
        // A broker that stops is as settled as it will be.
        let _stopping = ingest::barrier(&self.decider).await;
        for worker in self.workers.all().values() {
            // The last view may be older than the worker's latest messages.
            let _stopping = worker.ask(|reply| Query::Publish { reply }).await;
            let mut view = worker.view.clone();
            // A worker that has ended is as settled as it will be.
            let _ended = view.wait_for(|view| view.is_settled()).await;
        }
    }
}
