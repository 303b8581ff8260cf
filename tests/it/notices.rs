//! Notifications reach sinks: signed, once, and whatever another sink does. The sink is a process of its own that checks signatures by
//! itself; the time of retries is a clock that the test sets.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use zonefold::adapters::notify::{KeptSecret, SinkSettings, WebhookSender};
use zonefold::adapters::store::{StoreOptions, open};
use zonefold::broker::directory::Directory;
use zonefold::broker::notices::dispatcher::{Dispatcher, DispatcherParts};
use zonefold::broker::notices::metrics::NoticeMetrics;
use zonefold::broker::rules::RulesInForce;
use zonefold::core::audit::{AuditEntry, AuditKind};
use zonefold::core::governance::actor::Actor;
use zonefold::core::governance::rule::{Rule, RuleHome};
use zonefold::core::governance::ruleset::Rules;
use zonefold::core::governance::snapshot::{Governance, GovernedClusters};
use zonefold::core::people::public_url::PublicUrl;
use zonefold::core::time::Timestamp;
use zonefold::ports::{Clock, NoticeFilter, NoticeRow, NoticeState, Store};

use crate::support::folder::TestFolder;
use crate::support::process::{Process, clean, listening};
use crate::support::wait::{eventually, eventually_equal};

const KEY: &str = "a-key-that-nobody-can-guess";
const START: i64 = 1_800_000_000_000;

/// A clock that the test sets.
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// A receiver, a store, and replicas that deliver.
struct Site {
    receiver: Option<Process>,
    at: SocketAddr,
    store: Arc<dyn Store>,
    clock: Arc<SetClock>,
    rules: watch::Sender<Arc<RulesInForce>>,
    replicas: Vec<JoinHandle<()>>,
    _folder: TestFolder,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.replicas.iter().for_each(JoinHandle::abort);
    }
}

fn webhook(name: &str, url: &str) -> Rule {
    subscription(name, json!({ "webhook": { "url": url, "secret": "key" } }))
}

fn subscription(name: &str, sink: Value) -> Rule {
    let document = json!({
        "apiVersion": "zonefold.dev/v1", "kind": "Subscription", "metadata": { "name": name },
        "spec": { "sink": sink, "what": ["account-parked"] },
    });
    Rule::from_json(&document, RuleHome::Store).unwrap()
}

fn in_force(rules: Vec<Rule>) -> Arc<RulesInForce> {
    let rules = Arc::new(Rules::new(rules).unwrap());
    let governance = Arc::new(Governance::new(rules, GovernedClusters::new()));
    Arc::new(RulesInForce { governance, ..RulesInForce::default() })
}

impl Site {
    /// `rules` are made of the receiver's address.
    async fn start(url: &str, replicas: usize, rules: impl Fn(&str) -> Vec<Rule>) -> Self {
        Self::start_with(url, replicas, rules, true).await
    }

    async fn start_with(
        url: &str,
        replicas: usize,
        rules: impl Fn(&str) -> Vec<Rule>,
        allows_private: bool,
    ) -> Self {
        let folder = TestFolder::new();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/receiver.py");
        let home = folder.path("home");
        let command = |at: SocketAddr| {
            let mut command = clean("python3", &home);
            command.args([script, &at.port().to_string(), KEY]);
            command
        };
        let (receiver, at) = listening("the receiver", "/", command).await;
        let clock = Arc::new(SetClock(AtomicI64::new(START)));
        let (rules, seen) = watch::channel(in_force(rules(&format!("http://{at}"))));
        let (stores, secrets) = (
            {
                let mut stores = vec![];
                for _ in 0..replicas {
                    stores
                        .push(open(&url.parse().unwrap(), &StoreOptions::default()).await.unwrap());
                }
                stores
            },
            [
                ("key".to_owned(), KeptSecret::Here(KEY.to_owned())),
                (
                    "chat".to_owned(),
                    KeptSecret::File(
                        folder.write("chat", &format!("http://{at}/ok?token=T0KEN\n")),
                    ),
                ),
            ],
        );
        let settings = SinkSettings { secrets: secrets.into(), allows_private, ca_file: None };
        let (public, public_url) =
            watch::channel(PublicUrl::parse("https://zonefold.example.com").ok());
        let dispatcher = |store: &Arc<dyn Store>| {
            let time = Arc::clone(&clock) as Arc<dyn Clock>;
            Dispatcher::new(DispatcherParts {
                store: Arc::clone(store),
                clock: Arc::clone(&time),
                sender: Arc::new(WebhookSender::new(settings.clone(), time)),
                rules: seen.clone(),
                directory: Arc::new(Directory::default()),
                metrics: NoticeMetrics::default(),
                public_url: public_url.clone(),
            })
        };
        let replicas = stores.iter().map(|store| tokio::spawn(dispatcher(store).run())).collect();
        drop(public);
        let store = Arc::clone(&stores[0]);
        Self { receiver: Some(receiver), at, store, clock, rules, replicas, _folder: folder }
    }

    /// Something happens so many times.
    async fn happens(&self, times: usize) {
        let entry = AuditEntry {
            after: Some(json!({ "message": "no role" })),
            ..AuditEntry::new(self.clock.now(), Actor::Broker, AuditKind::AccountParked)
        };
        self.store.append_audit(&vec![entry; times]).await.unwrap();
    }

    fn advance(&self, secs: i64) {
        self.clock.0.fetch_add(secs * 1_000, Ordering::Relaxed);
    }

    /// What the receiver got at a path.
    fn got(&self, path: &str) -> Vec<Value> {
        let lines = self.receiver.as_ref().unwrap().output();
        let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["path"] == path).collect()
    }

    async fn listed(&self, state: NoticeState) -> Vec<NoticeRow> {
        let filter = NoticeFilter { state: Some(state), limit: 1_000, ..NoticeFilter::default() };
        self.store.notices(&filter).await.unwrap()
    }

    async fn count(&self, state: NoticeState, wanted: usize) {
        let what = format!("{wanted} notifications are {}", state.as_str());
        eventually_equal(&what, wanted, async || self.listed(state).await.len()).await;
    }

    /// The one notification that there is, once it has failed so often.
    async fn failed(&self, times: u32) -> NoticeRow {
        eventually(&format!("it has failed {times} times"), async || {
            let rows =
                self.store.notices(&NoticeFilter { limit: 9, ..NoticeFilter::default() }).await;
            let rows = rows.unwrap();
            let found = rows.iter().find(|row| row.attempts == times && row.claimed_until.0 == 0);
            found.cloned().ok_or_else(|| format!("{rows:?}"))
        })
        .await
    }
}

const SQLITE: &str = "sqlite::memory:";

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_each_notification_signed_and_from_one_replica() {
    let url = crate::support::postgres::database().await;
    let rules = |at: &str| vec![webhook("oncall", &format!("{at}/ok"))];
    let site = Site::start(&url, 3, rules).await;
    site.happens(40).await;
    site.count(NoticeState::Delivered, 40).await;
    let got = site.got("/ok");
    let ids: BTreeSet<&str> = got.iter().filter_map(|line| line["id"].as_str()).collect();
    assert_eq!((got.len(), ids.len()), (40, 40), "none twice");
    assert!(got.iter().all(|line| line["signed"] == true), "{got:?}");
    let body = &got[0]["body"];
    assert_eq!(body["id"], got[0]["id"]);
    assert_eq!(
        (&body["topic"], &body["kind"]),
        (&json!("account-parked"), &json!("account_parked"))
    );
    assert_eq!(body["link"], "https://zonefold.example.com/accounts");
    assert_eq!(got[0]["timestamp"], (START / 1_000).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_fails_is_tried_again_at_growing_distances() {
    let rules = |at: &str| vec![webhook("oncall", &format!("{at}/fail/2"))];
    let site = Site::start(SQLITE, 1, rules).await;
    site.happens(1).await;
    let row = site.failed(1).await;
    assert_eq!(
        (row.next_at.0 - START, row.failure.as_deref()),
        (10_000, Some("it answers 503 Service Unavailable"))
    );
    site.advance(9);
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(site.got("/fail/2").len(), 1, "not before its time");
    site.advance(1);
    let row = site.failed(2).await;
    assert_eq!(row.next_at.0 - site.clock.now().0, 30_000);
    site.advance(30);
    site.count(NoticeState::Delivered, 1).await;
    let got = site.got("/fail/2");
    assert!(got.iter().all(|line| line["signed"] == true && line["id"] == got[0]["id"]), "{got:?}");
    let stamps: BTreeSet<&str> = got.iter().filter_map(|line| line["timestamp"].as_str()).collect();
    assert_eq!(stamps.len(), 3, "each try has its own time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_never_answers_delays_no_other() {
    let rules = |at: &str| {
        vec![webhook("dead", &format!("{at}/hang")), webhook("well", &format!("{at}/ok"))]
    };
    let site = Site::start(SQLITE, 1, rules).await;
    site.happens(5).await;
    eventually_equal("the other one gets all", 5, async || site.got("/ok").len()).await;
    assert_eq!(site.got("/hang").len(), 1, "one at a time");
    let row = site.failed(1).await;
    assert_eq!(row.failure.as_deref(), Some("no answer within 10 seconds"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_cannot_lead_elsewhere_or_answer_for_ever_or_keep_the_broker_waiting() {
    let rules = |at: &str| {
        let of = |path: &str| webhook(path, &format!("{at}/{path}"));
        vec![of("redirect"), of("huge"), of("gone"), of("later")]
    };
    let site = Site::start(SQLITE, 1, rules).await;
    site.happens(1).await;
    site.count(NoticeState::Dead, 1).await;
    site.count(NoticeState::Delivered, 1).await;
    let failed = eventually("two wait", async || {
        let waiting = site.listed(NoticeState::Waiting).await;
        let failed: Vec<_> = waiting.into_iter().filter(|row| row.attempts == 1).collect();
        if failed.len() == 2 { Ok(failed) } else { Err(format!("{failed:?}")) }
    })
    .await;
    assert_eq!(site.got("/led"), [json!(null); 0], "a redirect is not followed");
    let of = |name: &str| failed.iter().find(|row| row.subscription.as_str() == name).unwrap();
    assert!(of("redirect").failure.as_deref().unwrap().contains("redirects are not followed"));
    assert_eq!(of("later").next_at.0 - START, 120_000, "it asked for two minutes");
    let dead = site.listed(NoticeState::Dead).await;
    assert_eq!(dead[0].failure.as_deref(), Some("it answers 410 Gone"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_this_machine_is_refused_by_default() {
    let rules = |at: &str| {
        let port = at.rsplit_once(':').unwrap().1.to_owned();
        vec![
            webhook("literal", &format!("{at}/ok")),
            webhook("named", &format!("http://localhost:{port}/ok")),
        ]
    };
    let site = Site::start_with(SQLITE, 1, rules, false).await;
    site.happens(1).await;
    eventually("both are refused", async || {
        let rows = site.listed(NoticeState::Waiting).await;
        let is_refused = |row: &NoticeRow| {
            row.failure
                .as_deref()
                .is_some_and(|why| why.contains("private network or of this machine"))
        };
        if rows.len() == 2 && rows.iter().all(is_refused) {
            Ok(())
        } else {
            Err(format!("{rows:?}"))
        }
    })
    .await;
    assert_eq!(site.got("/ok"), [json!(null); 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_gets_text_and_its_address_is_told_to_nobody() {
    let rules = |_: &str| {
        vec![
            subscription("chat", json!({ "slack": { "secret": "chat" } })),
            subscription("lost", json!({ "slack": { "secret": "nowhere" } })),
        ]
    };
    let mut site = Site::start(SQLITE, 1, rules).await;
    site.happens(1).await;
    site.count(NoticeState::Delivered, 1).await;
    let got = site.got("/ok?token=T0KEN");
    let text = got[0]["body"]["text"].as_str().unwrap();
    assert!(
        text.starts_with("*nothing is written in the account") && text.contains("no role"),
        "{text}"
    );
    let lost = site.failed(1).await;
    assert!(lost.failure.unwrap().contains("has no secret nowhere"));
    // The receiver goes, and what the failure says has no secret in it.
    site.receiver.take().unwrap().kill().await;
    site.advance(100);
    site.happens(1).await;
    let all = eventually("the chat cannot be reached", async || {
        let rows = site.listed(NoticeState::Waiting).await;
        let of_chat =
            rows.iter().find(|row| row.subscription.as_str() == "chat" && row.attempts > 0);
        of_chat.map(|row| format!("{row:?}")).ok_or_else(|| format!("{rows:?}"))
    })
    .await;
    assert!(!all.contains("T0KEN") && all.contains("cannot be reached"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_dead_for_a_day_gets_what_is_sent_again_and_one_that_is_gone_gets_nothing() {
    let rules = |at: &str| {
        vec![webhook("oncall", &format!("{at}/fail/1")), webhook("gone", &format!("{at}/fail/9"))]
    };
    let site = Site::start(SQLITE, 1, rules).await;
    site.happens(3).await;
    eventually_equal("each was tried", 2, async || {
        site.got("/fail/1").len().min(1) + site.got("/fail/9").len().min(1)
    })
    .await;
    let at = format!("http://{}", site.at);
    site.rules.send_replace(in_force(vec![webhook("oncall", &format!("{at}/fail/1"))]));
    site.advance(24 * 3_600 + 1);
    site.count(NoticeState::Dead, 6).await;
    let name = "oncall".parse().unwrap();
    let first =
        site.listed(NoticeState::Dead).await.into_iter().rfind(|row| row.subscription == name);
    let seq = first.unwrap().seq;
    assert!(site.store.resend(seq, &name, site.clock.now(), &[]).await.unwrap());
    site.count(NoticeState::Delivered, 1).await;
    assert_eq!(site.listed(NoticeState::Delivered).await[0].seq, seq);
    site.count(NoticeState::Dead, 5).await;
}
