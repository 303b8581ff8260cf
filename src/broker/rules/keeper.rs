//! Keeps the rules of all replicas the same.
//!
//! A set of rules is those of files and those of the store together. Each accepted set has a number, and the one with the highest
//! number counts everywhere. A replica whose files say something that never counted makes a new set of it; one whose files are
//! older works by the newer set, and says so. Files that change under a running replica are news also if they say again what
//! they said once: who takes a change back means it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use super::{ApplyError, ChangedBy, RuleChange, RulesInForce, changed};
use crate::core::governance::handover::Handovers;
use crate::core::governance::rule::{Rule, RuleHome};
use crate::core::governance::ruleset::Rules;
use crate::core::governance::snapshot::{Governance, GovernedClusters};
use crate::core::release::hold::{Approval, Approvals};
use crate::ports::{ApprovalRow, Clock, RuleSetRow, Store, StoreError};

/// How long a store that does not answer is left alone.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Messages to the keeper.
pub enum RulesMessage {
    /// The configuration has changed: the rules of its files, and the clusters.
    Configure(Arc<Rules>, GovernedClusters),
    /// Another replica has accepted a set.
    Accepted,
    /// People let units go.
    Approved,
    /// A hand-over was begun, or is in another phase.
    HandedOver,
    /// Changes rules of the store.
    Apply {
        /// The changes, all or none.
        changes: Vec<RuleChange>,
        /// The number of the set that the caller looked at; `None` for whichever counts.
        expected: Option<u64>,
        /// Who asks.
        by: ChangedBy,
        /// The number of the set that counts then.
        reply: oneshot::Sender<Result<u64, ApplyError>>,
    },
}

/// See the module's page.
pub struct RulesKeeper {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// The rules of this replica's files.
    files: Arc<Rules>,
    /// Whether they changed while this replica ran, and are not known to count since.
    files_are_news: bool,
    clusters: GovernedClusters,
    in_force: watch::Sender<Arc<RulesInForce>>,
}

impl RulesKeeper {
    /// Reads which rules count; with rules in files that never did, makes them count first.
    ///
    /// # Errors
    /// The store does not answer, or a newer release wrote rules that this one cannot read.
    pub async fn begin(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        files: Arc<Rules>,
        clusters: GovernedClusters,
    ) -> Result<(Self, watch::Receiver<Arc<RulesInForce>>), StoreError> {
        let (in_force, seen) = watch::channel(Arc::default());
        let mut keeper = Self { store, clock, files, files_are_news: false, clusters, in_force };
        keeper.take_approvals().await?;
        keeper.take_handovers().await?;
        keeper.converge().await?;
        Ok((keeper, seen))
    }

    /// Keeps until all senders are gone.
    pub async fn run(mut self, mut messages: mpsc::UnboundedReceiver<RulesMessage>) {
        while let Some(message) = messages.recv().await {
            match message {
                RulesMessage::Configure(files, clusters) => {
                    self.files_are_news |= files.digest() != self.files.digest();
                    (self.files, self.clusters) = (files, clusters);
                    self.converge_at_last().await;
                }
                RulesMessage::Accepted => self.converge_at_last().await,
                RulesMessage::Approved => self.take_approvals_at_last().await,
                RulesMessage::HandedOver => self.take_handovers_at_last().await,
                RulesMessage::Apply { changes, expected, by, reply } => {
                    // Who asked may have gone.
                    let _gone = reply.send(self.apply(&changes, expected, &by).await);
                }
            }
        }
    }

    async fn take_approvals_at_last(&mut self) {
        while let Err(error) = self.take_approvals().await {
            warn!(%error, "what people let go cannot be read: what they let go before still may");
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    async fn take_handovers_at_last(&mut self) {
        while let Err(error) = self.take_handovers().await {
            warn!(%error, "the hand-overs cannot be read: names go the ways that are known");
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    async fn take_handovers(&mut self) -> Result<(), StoreError> {
        let handovers = Handovers::new(self.store.handovers(0).await?);
        let before = Arc::clone(&self.in_force.borrow());
        if **before.governance.handovers() == handovers {
            return Ok(());
        }
        let governance = Governance::clone(&before.governance);
        let governance = Arc::new(governance.with_handovers(Arc::new(handovers)));
        let before = RulesInForce::clone(&before);
        self.in_force.send_replace(Arc::new(RulesInForce { governance, ..before }));
        Ok(())
    }

    async fn take_approvals(&mut self) -> Result<(), StoreError> {
        let mut approvals = Approvals::default();
        for ApprovalRow { unit, request, at, until } in self.store.approvals().await? {
            approvals.add(unit, Approval { request, at, until });
        }
        let before = RulesInForce::clone(&self.in_force.borrow());
        self.in_force
            .send_replace(Arc::new(RulesInForce { approvals: Arc::new(approvals), ..before }));
        Ok(())
    }

    async fn converge_at_last(&mut self) {
        while let Err(error) = self.converge().await {
            warn!(%error, "the rules that count cannot be read: those known last stay in use");
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Takes the set that counts, after making one of this replica's files if they are news.
    async fn converge(&mut self) -> Result<(), StoreError> {
        loop {
            let latest = self.store.latest_rules().await?;
            let known = latest.as_ref().map_or(Ok(Rules::default()), rules_of)?;
            let files = self.files.digest_of_files();
            if known.digest_of_files() == files {
                self.files_are_news = false;
                return self.take(latest.as_ref(), known, None);
            }
            if !self.files_are_news && self.store.files_were_accepted(files).await? {
                let number = latest.as_ref().map_or(0, |latest| latest.number);
                let behind = format!(
                    "the rules in this replica's files are older than set {number}, which counts"
                );
                return self.take(latest.as_ref(), known, Some(behind));
            }
            let of_store = known.iter().filter(|rule| rule.home == RuleHome::Store);
            let both = self.files.iter().chain(of_store).map(|rule| Rule::clone(rule)).collect();
            match Rules::new(both) {
                Err(problems) => {
                    let problems = ApplyError::Problems(problems);
                    let behind = format!(
                        "the rules in this replica's files do not go together with those of the store: {problems}"
                    );
                    return self.take(latest.as_ref(), known, Some(behind));
                }
                Ok(rules) => {
                    let by = ChangedBy { who: "files".to_owned(), reason: None };
                    if self.accept(latest.as_ref(), &rules, &by).await? {
                        continue;
                    }
                }
            }
        }
    }

    /// Makes a set the next one; answers whether it is.
    async fn accept(
        &self,
        latest: Option<&RuleSetRow>,
        rules: &Rules,
        by: &ChangedBy,
    ) -> Result<bool, StoreError> {
        let stored = rules.to_stored().map_err(|error| {
            StoreError::Refused(format!("rules have no form in which they are stored: {error}"))
        })?;
        let set = RuleSetRow {
            number: latest.map_or(0, |latest| latest.number) + 1,
            digest: rules.digest(),
            files: rules.digest_of_files(),
            rules: stored,
            at: self.clock.now(),
            by: by.who.clone(),
            reason: by.reason.clone(),
        };
        let is_next = self.store.accept_rules(&set).await?;
        if is_next {
            info!(number = set.number, digest = %set.digest, by = %set.by, rules = set.rules.len(), "a set of rules is accepted");
        }
        Ok(is_next)
    }

    fn take(
        &mut self,
        set: Option<&RuleSetRow>,
        rules: Rules,
        behind: Option<String>,
    ) -> Result<(), StoreError> {
        let number = set.map_or(0, |set| set.number);
        let before = Arc::clone(&self.in_force.borrow());
        if behind.is_some() && behind != before.behind {
            warn!(number, "{}", behind.as_deref().unwrap_or_default());
        }
        let governance = Governance::new(Arc::new(rules), self.clusters.clone())
            .numbered(number)
            .with_handovers(Arc::clone(before.governance.handovers()));
        if before.behind == behind && *before.governance == governance {
            return Ok(());
        }
        info!(number, rules = governance.rules().len(), "rules are in force");
        let approvals = Arc::clone(&before.approvals);
        let governance = Arc::new(governance);
        self.in_force.send_replace(Arc::new(RulesInForce { governance, approvals, behind }));
        Ok(())
    }

    /// Changes rules of the store, whatever this replica's files say.
    async fn apply(
        &mut self,
        changes: &[RuleChange],
        expected: Option<u64>,
        by: &ChangedBy,
    ) -> Result<u64, ApplyError> {
        loop {
            let latest = self.store.latest_rules().await?;
            let number = latest.as_ref().map_or(0, |latest| latest.number);
            if let Some(expected) = expected.filter(|expected| *expected != number) {
                return Err(ApplyError::Outdated { expected, number });
            }
            let known = latest.as_ref().map_or(Ok(Rules::default()), rules_of)?;
            let rules = changed(&known, changes)?;
            if rules.digest() == known.digest() {
                return Ok(number);
            }
            if self.accept(latest.as_ref(), &rules, by).await? {
                self.converge_at_last().await;
                return Ok(number + 1);
            }
        }
    }
}

/// The rules of a stored set.
pub fn rules_of(set: &RuleSetRow) -> Result<Rules, StoreError> {
    let unreadable = |reason: String| StoreError::Corrupt {
        what: format!("set of rules number {}", set.number),
        reason: format!("{reason}; a newer release wrote it: update this replica"),
    };
    let rules: Result<Vec<Rule>, _> = set.rules.iter().map(|stored| stored.rule()).collect();
    let rules = rules.map_err(|error| unreadable(error.to_string()))?;
    Rules::new(rules).map_err(|problems| unreadable(ApplyError::Problems(problems).to_string()))
}
