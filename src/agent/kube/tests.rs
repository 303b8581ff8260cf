//! The whole source over an API server in memory: what would be sent to the broker.

use std::time::Duration;

use bytes::Bytes;

use super::fake::{Fake, Midnight, dns_endpoint, service};
use super::filter::Filter;
use super::*;
use crate::agent::index::{EntryState, Index};
use crate::agent::session::publisher::{Identity, Publisher};
use crate::agent::shared::State;
use crate::core::endpoint::{EndpointKey, Version};
use crate::wire::v1;

const CORE: &str = "/api/v1";
const CRD: &str = "/apis/externaldns.k8s.io/v1alpha1";
const SOURCES: [SourceKind; 2] = [SourceKind::Service, SourceKind::DnsEndpoint];

/// An endpoint at the broker: host, source, object.
type Held<'a> = (&'a str, &'a str, &'a str);

struct Agent {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Agent {
    fn start(fake: &Fake, filter: Filter, held_by_the_broker: &[Held]) -> Self {
        let identity = Identity {
            cluster: "east".into(),
            kube_system_uid: "uid".into(),
            instance_id: "one".into(),
        };
        let shared = Shared::new(Index::new(SOURCES), Publisher::new(identity));
        let statuses = held_by_the_broker.iter().map(status).collect();
        let batch = v1::StatusBatch { statuses, replay_done: true, replay_scope: None };
        shared.write(|state| {
            state.statuses.begin_replay();
            state.statuses.take(batch);
        });
        let options = KubeOptions {
            sources: SOURCES.to_vec(),
            reading: Reading { filter, ..Reading::default() },
            telling: Telling::Nowhere,
            lease: None,
            clock: Arc::new(Midnight),
        };
        let (client, random) = (fake.client(), fastrand::Rng::with_seed(1));
        let mut tasks = JoinSet::new();
        tasks.spawn(run(client, options, shared.clone(), random, CancellationToken::new()));
        Self { shared, _tasks: tasks }
    }

    async fn until(&self, what: &str, wanted: impl FnMut(&State) -> bool) {
        let waited =
            tokio::time::timeout(Duration::from_secs(900), self.shared.wait_until(wanted)).await;
        assert!(
            waited.is_ok(),
            "{what}: {:?}",
            self.shared.read(|state| (held(state), state.index.sources()))
        );
    }

    async fn until_synced(&self, source: SourceKind) {
        self.until("synced", |state| is_synced(state, source)).await;
    }

    fn held(&self) -> Vec<String> {
        self.shared.read(held)
    }
}

fn key(held: &Held) -> EndpointKey {
    let (host, source, object) = held;
    EndpointKey {
        source: (*source).into(),
        namespace: "shop".into(),
        object: (*object).into(),
        dns_name: (*host).into(),
        record_type: "A".into(),
        set_identifier: "".into(),
    }
}

fn status(held: &Held) -> v1::EndpointStatus {
    let version = Bytes::copy_from_slice(&Version([7; 32]).0);
    v1::EndpointStatus { key: Some((&key(held)).into()), version, ..v1::EndpointStatus::default() }
}

fn is_synced(state: &State, source: SourceKind) -> bool {
    state.index.sources().iter().any(|health| health.kind == source && health.synced)
}

/// The hosts that are held, those that are only kept in parentheses.
fn held(state: &State) -> Vec<String> {
    let mut held: Vec<String> = state
        .index
        .iter()
        .map(|(_, held)| match held.standing {
            EntryState::Wanted => held.endpoint.key.dns_name.to_string(),
            EntryState::Waiting(_) => format!("(waiting {})", held.endpoint.key.dns_name),
            EntryState::Unseen(_) => format!("(unseen {})", held.endpoint.key.dns_name),
            EntryState::Orphaned(_) => format!("(orphaned {})", held.endpoint.key.dns_name),
        })
        .collect();
    held.sort();
    held
}

fn cluster() -> Fake {
    let fake = Fake::new();
    fake.serve(CRD, "dnsendpoints");
    fake.put(CORE, "services", service("shop", "web", "web.example.com", Some("192.0.2.1")));
    fake.put(CRD, "dnsendpoints", dns_endpoint("shop", "mail", "mail.example.com"));
    fake
}

#[tokio::test(start_paused = true)]
async fn a_restart_while_a_load_balancer_has_no_address_keeps_its_name_and_withdraws_what_is_gone()
{
    let fake = cluster();
    fake.put(CORE, "services", service("shop", "slow", "slow.example.com", None));
    let held = [("slow.example.com", "service", "slow"), ("gone.example.com", "service", "gone")];
    let agent = Agent::start(&fake, Filter::default(), &held);
    agent.until_synced(SourceKind::Service).await;
    assert_eq!(agent.held(), ["(waiting slow.example.com)", "mail.example.com", "web.example.com"]);
    assert_eq!(
        agent.shared.read(|state| state.index.get(&key(&held[0]).hash()).map(|held| held.version)),
        Some(Version([7; 32]))
    );
    fake.put(CORE, "services", service("shop", "slow", "slow.example.com", Some("192.0.2.9")));
    agent.until("has its address", |state| !held_is_kept(state)).await;
}

fn held_is_kept(state: &State) -> bool {
    state.index.iter().any(|(_, held)| held.standing.kept_because().is_some())
}

#[tokio::test(start_paused = true)]
async fn a_restart_with_another_filter_keeps_what_it_leaves_out_until_that_is_deleted() {
    let fake = cluster();
    let filter = Filter { annotations: "team=shop".parse().ok(), ..Filter::default() };
    let agent = Agent::start(
        &fake,
        filter,
        &[("web.example.com", "service", "web"), ("mail.example.com", "dnsendpoint", "mail")],
    );
    agent.until_synced(SourceKind::Service).await;
    agent.until_synced(SourceKind::DnsEndpoint).await;
    assert_eq!(agent.held(), ["(unseen mail.example.com)", "(unseen web.example.com)"]);
    // No event shows a deletion out of sight; it is looked up.
    fake.delete(CRD, "dnsendpoints", "shop", "mail");
    agent.until("is withdrawn", |state| held(state) == ["(unseen web.example.com)"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_without_the_right_to_look_keeps_everything() {
    let fake = cluster();
    fake.refuse("/api/v1/namespaces/shop/services", 403);
    let held_by_the_broker =
        [("gone.example.com", "service", "gone"), ("old.example.com", "service", "web")];
    let agent = Agent::start(&fake, Filter::default(), &held_by_the_broker);
    agent.until_synced(SourceKind::Service).await;
    let all = [
        "(unseen gone.example.com)",
        "(unseen old.example.com)",
        "mail.example.com",
        "web.example.com",
    ];
    assert_eq!(agent.held(), all);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(agent.held(), all);
    fake.refuse("/api/v1/namespaces/shop/services", 0);
    agent
        .until("is looked up", |state| held(state) == ["mail.example.com", "web.example.com"])
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_not_chosen_any_more_is_kept_and_can_be_released() {
    let fake = cluster();
    let agent = Agent::start(&fake, Filter::default(), &[("in.example.com", "ingress", "in")]);
    agent
        .until("is kept", |state| held(state).contains(&"(unseen in.example.com)".to_owned()))
        .await;
    agent
        .shared
        .update(|state| state.index.release(|held| held.object.source == SourceKind::Ingress));
    agent.until_synced(SourceKind::Service).await;
    agent.until_synced(SourceKind::DnsEndpoint).await;
    assert_eq!(agent.held(), ["mail.example.com", "web.example.com"]);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_missing_at_the_start_orphans_what_the_broker_holds() {
    let fake = Fake::new();
    let agent =
        Agent::start(&fake, Filter::default(), &[("mail.example.com", "dnsendpoint", "mail")]);
    agent.until("is kept", |state| held(state) == ["(orphaned mail.example.com)"]).await;
    agent.until("lets the session begin", |state| state.index.listed()).await;
    fake.serve(CRD, "dnsendpoints");
    agent.until_synced(SourceKind::DnsEndpoint).await;
    assert_eq!(agent.held(), ["(orphaned mail.example.com)"], "it is back, and empty");
    fake.put(CRD, "dnsendpoints", dns_endpoint("shop", "mail", "mail.example.com"));
    agent.until("is wanted again", |state| held(state) == ["mail.example.com"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_proof_that_another_agent_overtakes_proves_nothing() {
    let fake = cluster();
    let gone = [
        ("a.example.com", "service", "a"),
        ("b.example.com", "service", "b"),
        ("c.example.com", "service", "c"),
    ];
    let agent = Agent::start(&fake, Filter::default(), &gone);
    agent.until("is looking", |state| state.index.awaits_proof(SourceKind::Service)).await;
    // Between two of its look-ups.
    tokio::time::sleep(Duration::from_millis(30)).await;
    agent.shared.write(|state| {
        state.statuses.start_over();
        SOURCES.into_iter().for_each(|source| state.index.require_proof(source));
    });
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert!(
        !agent.shared.read(|state| is_synced(state, SourceKind::Service)),
        "what it found out was of before"
    );
    agent.shared.write(|state| {
        state.statuses.begin_replay();
        state.statuses.take(v1::StatusBatch { replay_done: true, ..v1::StatusBatch::default() });
    });
    agent.until_synced(SourceKind::Service).await;
}

#[tokio::test(start_paused = true)]
async fn without_the_brokers_word_absence_says_nothing() {
    let fake = cluster();
    let identity = Identity {
        cluster: "east".into(),
        kube_system_uid: "uid".into(),
        instance_id: "one".into(),
    };
    let shared = Shared::new(Index::new(SOURCES), Publisher::new(identity));
    let options = KubeOptions {
        sources: SOURCES.to_vec(),
        reading: Reading::default(),
        telling: Telling::Nowhere,
        lease: None,
        clock: Arc::new(Midnight),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(run(
        fake.client(),
        options,
        shared.clone(),
        fastrand::Rng::with_seed(1),
        CancellationToken::new(),
    ));
    shared.wait_until(|state| state.index.listed()).await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert!(shared.read(|state| state.index.sources().iter().all(|health| !health.synced)));
    assert_eq!(shared.read(held).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_restart_while_a_kind_is_being_removed_withdraws_nothing() {
    let fake = cluster();
    let agent =
        Agent::start(&fake, Filter::default(), &[("gone.example.com", "dnsendpoint", "gone")]);
    agent
        .until("is listed", |state| {
            state.index.get(&key(&("mail.example.com", "dnsendpoint", "mail")).hash()).is_some()
        })
        .await;
    // It was looked up by now, and not found; that its kind goes is known a little later.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!agent.shared.read(|state| is_synced(state, SourceKind::DnsEndpoint)));
    fake.begin_to_remove(CRD, "dnsendpoints");
    agent
        .until("is kept", |state| {
            held(state)
                == ["(orphaned gone.example.com)", "(orphaned mail.example.com)", "web.example.com"]
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_with_another_label_filter_keeps_what_it_leaves_out() {
    let fake = cluster();
    // As the API server would, it shows none of them.
    fake.select_nothing(true);
    let filter = Filter { labels: "team=shop".parse().ok(), ..Filter::default() };
    let agent = Agent::start(&fake, filter, &[("web.example.com", "service", "web")]);
    agent.until_synced(SourceKind::Service).await;
    assert_eq!(agent.held(), ["(unseen web.example.com)"]);
}
