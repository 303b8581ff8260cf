//! What happens by itself goes to the audit, once; and the audit, batches and earlier moments over REST.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use zonefold::broker::BrokerHandle;
use zonefold::broker::notices::observer::{AWAY_AFTER, Observer};
use zonefold::broker::rules::{ChangedBy, RuleChange};
use zonefold::core::audit::AuditOrigin;
use zonefold::core::governance::actor::Actor;
use zonefold::core::governance::rule::{Rule, RuleHome};
use zonefold::core::ids::ClusterId;
use zonefold::core::planning::unit_digest::UnitDigest;
use zonefold::core::release::request::{ReleaseRequest, RequestState, WantedRelease};
use zonefold::core::time::{Millis, Timestamp};
use zonefold::ports::Clock;

use super::Rig;
use crate::emulator::support as aws;
use crate::support::wait::eventually;

/// A clock that the test sets.
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// Observers of one store, by a clock of their own. Those of more replicas would see the same.
struct Observed {
    rig: Rig,
    clock: Arc<SetClock>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Observed {
    fn start(rig: Rig, observers: usize) -> Self {
        let clock = Arc::new(SetClock(AtomicI64::new(rig.handle.clock.now().0)));
        let seen_by = || {
            let mut handle: BrokerHandle = rig.handle.clone();
            handle.clock = Arc::clone(&clock) as Arc<dyn Clock>;
            tokio::spawn(Observer::new(handle).run())
        };
        let tasks = (0..observers).map(|_| seen_by()).collect();
        Self { rig, clock, tasks }
    }

    fn advance(&self, span: Millis) {
        self.clock.0.fetch_add(span.0, Ordering::Relaxed);
    }

    async fn entries(&self, filter: &str) -> Vec<Value> {
        self.rig.all(&format!("/api/v1/audit?{filter}"), 100).await
    }

    /// The only entry of a kind, waited for.
    async fn one(&self, kind: &str) -> Value {
        eventually(&format!("{kind} stands in the audit"), async || {
            let found = self.entries(&format!("kind={kind}")).await;
            assert!(found.len() <= 1, "twice: {found:?}");
            found.into_iter().next().ok_or_else(|| "it does not".to_owned())
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_told_of_with_its_names_and_its_end_once_by_all() {
    let observed = Observed::start(Rig::with_story().await, 3);
    let found = observed.one("conflict_found").await;
    assert_eq!((&found["cluster"], &found["zone"]), (&json!("dev-west"), &json!("example.com")));
    assert_eq!(
        (&found["names"], &found["after"]["names"]),
        (&json!(["www.example.com"]), &json!(1))
    );
    assert_eq!((&found["actor"], &found["environment"]), (&json!("broker"), &json!("dev")));
    assert!(found["after"]["message"].as_str().unwrap().contains("dev-east"), "{found}");
    assert_eq!(observed.entries("name=www.example.com&cluster=dev-west").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_silent_for_a_quarter_of_an_hour_is_away_until_it_is_heard_of() {
    let observed = Observed::start(Rig::start().await, 2);
    let east = [ClusterId::parse("dev-east").unwrap()];
    let present = async || {
        let now = observed.clock.now();
        observed.rig.handle.store.note_present(&east, now).await.unwrap();
    };
    present().await;
    observed.advance(Millis(AWAY_AFTER.0 - 1_000));
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(observed.entries("kind=cluster_away").await, [json!(null); 0]);
    observed.advance(Millis(1_000));
    let away = observed.one("cluster_away").await;
    assert_eq!((&away["cluster"], &away["environment"]), (&json!("dev-east"), &json!("dev")));
    present().await;
    let back = observed.one("cluster_back").await;
    assert_eq!((&back["before"], &back["after"]), (&away["after"], &json!(null)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_begins_and_ends_and_a_request_that_nobody_decides_expires() {
    let observed = Observed::start(Rig::start().await, 2);
    let (handle, now) = (&observed.rig.handle, observed.clock.now());
    let at = |hours: i64| (now + Millis::from_secs(hours * 3_600)).to_string();
    let document = json!({
        "apiVersion": "zonefold.dev/v1", "kind": "Freeze", "metadata": { "name": "x-mas" },
        "spec": { "from": at(1), "until": at(2), "reason": "nobody is here" },
    });
    let rule = Rule::from_json(&document, RuleHome::Store).unwrap();
    let by = ChangedBy {
        actor: Actor::User("ann".to_owned()),
        origin: AuditOrigin::default(),
        reason: None,
    };
    handle.apply_rules(vec![RuleChange::Put(Box::new(rule))], None, by).await.unwrap();
    let request = ReleaseRequest {
        id: uuid::Uuid::from_u128(7),
        version: 1,
        wanted: WantedRelease::Release { zone: "example.com".parse().unwrap(), units: vec![] },
        digest: UnitDigest([7; 32]),
        by: Actor::Broker,
        why: "too many".to_owned(),
        at: now,
        expires_at: now + Millis::from_secs(600),
        needed: 1,
        four_eyes: true,
        votes: vec![],
        state: RequestState::Pending,
        ended: None,
    };
    assert!(handle.store.save_request(&request, &[], &[]).await.unwrap());
    observed.advance(Millis::from_secs(3_601));
    let began = observed.one("freeze_began").await;
    assert_eq!((&began["subject"], &began["rules"]), (&json!("Freeze x-mas"), &json!(1)));
    assert_eq!(began["after"]["message"], "nobody is here");
    let expired = observed.one("request_expired").await;
    assert_eq!(
        (&expired["request"], &expired["actor"]),
        (&json!(request.id.to_string()), &json!("broker"))
    );
    assert_eq!(
        observed.rig.get(&format!("/api/v1/requests/{}", request.id)).await["state"],
        "expired"
    );
    observed.advance(Millis::from_secs(3_600));
    observed.one("freeze_ended").await;
    let written = &observed.entries("actor=ann").await[0];
    assert_eq!(
        (&written["kind"], &written["after"]["kind"]),
        (&json!("rule_written"), &json!("Freeze"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_parked_is_told_of() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let rig = Rig::build(aws::start(aws::config()).await, &format!("http://{gone}")).await;
    let observed = Observed::start(rig, 1);
    let parked = eventually("an account is parked", async || {
        let found = observed.entries("kind=account_parked&account=111111111111").await;
        found.into_iter().next().ok_or_else(|| "it is not".to_owned())
    })
    .await;
    assert!(parked["after"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{parked}");
    assert_eq!(parked["subject"], "account 111111111111");
}

#[tokio::test]
async fn a_batch_and_an_earlier_moment_are_shown_and_what_is_none_is_told() {
    let rig = Rig::with_story().await;
    let made = rig.get("/api/v1/names/www.example.com").await;
    let change = &made["changes"][0];
    let batch = rig.get(&format!("/api/v1/batches/{}", change["batch"].as_str().unwrap())).await;
    assert_eq!((&batch["outcome"], &batch["rules"]), (&change["outcome"], &json!(null)));
    assert_eq!((&batch["zone_name"], &batch["released_by"]), (&json!("example.com"), &json!([])));
    let causes: Vec<&Value> = batch["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| &change["cause"]["cluster"])
        .collect();
    assert!(causes.iter().all(|cluster| **cluster == "dev-east"), "{batch}");
    let units = batch["units"].as_array().unwrap();
    assert!(units.iter().all(|unit| unit["released"] == false), "{batch}");

    let now = rig.handle.clock.now().to_string();
    let past = rig.get(&format!("/api/v1/names/www.example.com?at={now}")).await;
    assert_eq!(past["zones"][0]["holder"], made["zones"][0]["holder"]);
    assert_eq!(past["zones"][0]["observed"][0]["batch"], made["zones"][0]["observed"][0]["batch"]);
    let records = rig.all(&format!("/api/v1/zones/Z0EXAMPLE/records?at={now}"), 1).await;
    let names: Vec<&Value> = records.iter().map(|record| &record["name"]).collect();
    assert_eq!(names, ["api.example.com", "www.example.com"], "ours alone");
    let before = rig.all("/api/v1/zones/Z0EXAMPLE/records?at=2020-01-01T00:00:00Z", 10).await;
    assert_eq!(before, [json!(null); 0]);

    for (path, status, part) in [
        ("/api/v1/batches/none", 400, "UUID"),
        ("/api/v1/batches/00000000-0000-7000-8000-000000000000", 404, "/api/v1/changes"),
        ("/api/v1/names/www.example.com?at=yesterday", 400, "at"),
        ("/api/v1/zones/Z0NONE/records?at=2020-01-01T00:00:00Z", 404, "/api/v1/zones"),
        ("/api/v1/audit?kind=everything", 400, "rule_written"),
        ("/api/v1/audit?colour=red", 400, "colour"),
        ("/api/v1/audit?since=now", 400, "since"),
        ("/api/v1/audit?actor=a%00b", 400, "actor"),
        ("/api/v1/audit/chain?after=x", 400, "after"),
        ("/api/v1/notifications?state=lost", 400, "waiting, delivered, dead"),
    ] {
        let (got, detail) = rig.problem(path).await;
        assert!(got == status && detail.contains(part), "{path}: {got} {detail}");
    }
    assert_eq!(rig.get("/api/v1/audit/chain").await["end"]["seq"], 0);
}
