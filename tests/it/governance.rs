//! Which set of rules counts: of files that are new, old, or taken back, and of people who change the store's.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use zonefold::adapters::clock::SystemClock;
use zonefold::adapters::store::{StoreOptions, StoreUrl, open};
use zonefold::broker::handovers::{self, HandoverKeeper, WantedHandover};
use zonefold::broker::rules::keeper::{RulesKeeper, RulesMessage};
use zonefold::broker::rules::{ApplyError, ChangedBy, RuleChange, RulesInForce};
use zonefold::core::audit::AuditOrigin;
use zonefold::core::governance::actor::Actor;
use zonefold::core::governance::handover::HandoverMode;
use zonefold::core::governance::rule::{Rule, RuleHome};
use zonefold::core::governance::ruleset::Rules;
use zonefold::core::governance::snapshot::GovernedClusters;
use zonefold::core::ids::ClusterId;
use zonefold::core::time::Timestamp;
use zonefold::ports::Store;

fn team_of(home: RuleHome, team: &str) -> Rule {
    let document = json!({
        "apiVersion": "zonefold.dev/v1", "kind": "Team", "metadata": { "name": team },
        "spec": { "owners": { "groups": [team] } },
    });
    Rule::from_json(&document, home).unwrap()
}

/// A team of the store.
fn team(team: &str) -> Rule {
    team_of(RuleHome::Store, team)
}

async fn store() -> Arc<dyn Store> {
    let url: StoreUrl = "sqlite::memory:".parse().unwrap();
    open(&url, &StoreOptions::default()).await.unwrap()
}

fn files(teams: &[&str]) -> Arc<Rules> {
    let of_file = |name: &&str| team_of(RuleHome::File("rules/teams.yaml".into()), name);
    Arc::new(Rules::new(teams.iter().map(of_file).collect()).unwrap())
}

/// A keeper that runs.
struct Replica {
    messages: mpsc::UnboundedSender<RulesMessage>,
    in_force: watch::Receiver<Arc<RulesInForce>>,
}

impl Replica {
    async fn start(store: &Arc<dyn Store>, teams: &[&str]) -> Self {
        let clusters = GovernedClusters::new();
        let clock = Arc::new(SystemClock);
        let (keeper, in_force) = RulesKeeper::begin(
            Arc::clone(store),
            clock,
            files(teams),
            clusters,
            AuditOrigin::default(),
        )
        .await
        .unwrap();
        let (messages, received) = mpsc::unbounded_channel();
        tokio::spawn(keeper.run(received));
        Self { messages, in_force }
    }

    async fn apply(
        &self,
        changes: Vec<RuleChange>,
        expected: Option<u64>,
    ) -> Result<u64, ApplyError> {
        let (reply, answer) = oneshot::channel();
        let by = ChangedBy {
            actor: Actor::User("ann".to_owned()),
            origin: AuditOrigin::default(),
            reason: Some("a test".to_owned()),
        };
        let message = RulesMessage::Apply { changes, expected, by, reply };
        self.messages.send(message).unwrap_or_else(|_| panic!("the keeper has ended"));
        answer.await.unwrap()
    }

    /// The number of the set, its rules, and whether this replica is behind, when everything sent before is done.
    async fn state(&self) -> (u64, Vec<String>, bool) {
        // What changes nothing is answered when all before it is done.
        self.apply(vec![], None).await.unwrap();
        let now = Arc::clone(&self.in_force.borrow());
        let ids = now.governance.rules().iter().map(|rule| rule.id().to_string()).collect();
        (now.governance.number(), ids, now.behind.is_some())
    }

    async fn edit(&self, teams: &[&str]) {
        let message = RulesMessage::Configure(files(teams), GovernedClusters::new());
        self.messages.send(message).unwrap_or_else(|_| panic!("the keeper has ended"));
    }
}

fn ids(teams: &[&str]) -> Vec<String> {
    teams.iter().map(|team| format!("Team {team}")).collect()
}

#[tokio::test]
async fn files_that_never_counted_make_a_new_set_and_older_ones_do_not() {
    let store = store().await;
    let old = Replica::start(&store, &["pay"]).await;
    assert_eq!(old.state().await, (1, ids(&["pay"]), false));
    let new = Replica::start(&store, &["pay", "shop"]).await;
    assert_eq!(new.state().await, (2, ids(&["pay", "shop"]), false));
    old.messages.send(RulesMessage::Accepted).unwrap_or_else(|_| panic!("the keeper has ended"));
    assert_eq!(old.state().await, (2, ids(&["pay", "shop"]), true), "it works by the newer set");
    let again = Replica::start(&store, &["pay"]).await;
    assert_eq!(again.state().await, (2, ids(&["pay", "shop"]), true));
}

#[tokio::test]
async fn files_that_are_taken_back_under_a_running_replica_count_again() {
    let store = store().await;
    let replica = Replica::start(&store, &["pay"]).await;
    replica.edit(&["pay", "shop"]).await;
    assert_eq!(replica.state().await, (2, ids(&["pay", "shop"]), false));
    replica.edit(&["pay"]).await;
    assert_eq!(replica.state().await, (3, ids(&["pay"]), false));
}

#[tokio::test]
async fn people_change_rules_of_the_store_and_those_of_files_are_refused() {
    let store = store().await;
    let replica = Replica::start(&store, &["pay"]).await;
    let put = || vec![RuleChange::Put(Box::new(team("shop")))];
    assert_eq!(replica.apply(put(), Some(1)).await.unwrap(), 2);
    assert_eq!(replica.apply(put(), None).await.unwrap(), 2, "it says that already");
    let outdated =
        replica.apply(vec![RuleChange::Put(Box::new(team("late")))], Some(1)).await.unwrap_err();
    assert!(matches!(outdated, ApplyError::Outdated { expected: 1, number: 2 }));
    let of_file =
        replica.apply(vec![RuleChange::Put(Box::new(team("pay")))], None).await.unwrap_err();
    assert_eq!(of_file.to_string(), "Team pay lives in the file rules/teams.yaml: change it there");
    let unknown = RuleChange::Delete(team("nobody").id());
    let unknown = replica.apply(vec![unknown], None).await.unwrap_err();
    assert_eq!(unknown.to_string(), "there is no Team nobody");
    replica.edit(&["pay", "risk"]).await;
    let both = (3, ids(&["pay", "risk", "shop"]), false);
    assert_eq!(replica.state().await, both, "an edit of files keeps the store's");
    let deleted = vec![RuleChange::Delete(team("shop").id())];
    assert_eq!(replica.apply(deleted, None).await.unwrap(), 4);
    let kept = store.rules_numbered(2).await.unwrap().unwrap();
    assert_eq!((kept.by.as_str(), kept.reason.as_deref()), ("ann", Some("a test")));
}

#[tokio::test]
async fn a_set_that_was_accepted_unseen_counts_for_who_asks_for_it_again() {
    let store = store().await;
    let (one, other) = (Replica::start(&store, &[]).await, Replica::start(&store, &[]).await);
    let put = || vec![RuleChange::Put(Box::new(team("shop")))];
    let number = one.apply(put(), None).await.unwrap();
    // Nobody tells the other one, as if the answer to its own call had been lost.
    assert_eq!(other.apply(put(), None).await.unwrap(), number);
    assert_eq!(other.in_force.borrow().governance.number(), number);
}

#[tokio::test]
async fn files_that_do_not_go_with_the_store_are_behind_until_they_do() {
    let store = store().await;
    let replica = Replica::start(&store, &["pay"]).await;
    replica.apply(vec![RuleChange::Put(Box::new(team("shop")))], None).await.unwrap();
    replica.edit(&["pay", "shop"]).await;
    assert_eq!(replica.state().await, (2, ids(&["pay", "shop"]), true));
    let said = replica.in_force.borrow().behind.clone().unwrap();
    assert!(said.contains("there is a Team shop in the file rules/teams.yaml already"), "{said}");
    replica.edit(&["pay", "risk"]).await;
    assert_eq!(replica.state().await, (3, ids(&["pay", "risk", "shop"]), false));
}

#[tokio::test]
async fn a_hand_over_that_moved_on_unseen_is_noticed_by_who_passes_its_names() {
    let store = store().await;
    let replica = Replica::start(&store, &[]).await;
    let wanted = WantedHandover {
        from: ClusterId::parse("east").unwrap(),
        to: ClusterId::parse("west").unwrap(),
        names: vec![],
        namespaces: vec![],
        mode: HandoverMode::Cutover,
        with_different: false,
        by: Actor::User("ann".to_owned()),
        reason: String::new(),
    };
    let staged = handovers::stage(&*store, wanted, Timestamp(1)).await.unwrap();
    replica.messages.send(RulesMessage::HandedOver).unwrap_or_else(|_| panic!("it has ended"));
    let mut in_force = replica.in_force.clone();
    in_force.wait_for(|now| !now.governance.handovers().is_empty()).await.unwrap();
    let keeper = HandoverKeeper {
        store: Arc::clone(&store),
        clock: Arc::new(SystemClock),
        workers: Arc::default(),
        rules: replica.in_force.clone(),
        to_rules: replica.messages.clone(),
    };
    tokio::spawn(keeper.run());
    // Nobody tells the replica, as if the answer to its own call had been lost.
    let by = Actor::User("ann".to_owned());
    handovers::abort(&*store, staged.id, by, String::new(), Timestamp(2)).await.unwrap();
    in_force.wait_for(|now| now.governance.handovers().is_empty()).await.unwrap();
}
