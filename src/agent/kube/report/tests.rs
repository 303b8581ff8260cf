use bytes::Bytes;
use tokio::task::JoinSet;

use super::*;
use crate::agent::index::Index;
use crate::agent::kube::fake::{Fake, Midnight, dns_endpoint, service};
use crate::agent::kube::feed::News;
use crate::agent::kube::world::{Followed, KubeWorld};
use crate::agent::session::publisher::{Identity, Publisher};
use crate::wire::v1::{self, Progress, StatusBatch, VerdictState};

const CORE: &str = "/api/v1";
const CRD: &str = "/apis/externaldns.k8s.io/v1alpha1";
const SOURCES: [SourceKind; 2] = [SourceKind::Service, SourceKind::DnsEndpoint];

struct Stage {
    fake: Fake,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Stage {
    /// The broker's first replay names these.
    async fn new(fake: Fake, replay: Vec<EndpointStatus>) -> Self {
        let identity = Identity {
            cluster: "east".into(),
            kube_system_uid: "uid".into(),
            instance_id: "one".into(),
        };
        let shared = Shared::new(Index::new(SOURCES), Publisher::new(identity));
        let reporter = Reporter {
            client: fake.client(),
            sources: SOURCES.to_vec(),
            reading: Reading::default(),
            clock: Arc::new(Midnight),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(run(reporter, shared.clone()));
        let stage = Self { fake, shared, _tasks: tasks };
        stage.pass(1).await;
        stage.fake.all(CORE, "services").into_iter().for_each(|service| stage.know(service));
        stage.shared.write(|state| {
            state.statuses.begin_replay();
            state.statuses.take(StatusBatch {
                statuses: replay,
                replay_done: true,
                replay_scope: None,
            });
        });
        stage
    }

    /// Has the agent read a service.
    fn know(&self, service: Value) {
        let document: Document = serde_json::from_value(service).unwrap();
        let object = document.reference(SourceKind::Service);
        let extraction = Reading::default().read(SourceKind::Service, document);
        self.shared.update(|state| state.index.apply(&object, &"test".into(), extraction));
    }

    /// Has the agent read a DNSEndpoint as it stands in the API server.
    fn read_dns_endpoint(&self, name: &str) {
        let source = SourceKind::DnsEndpoint;
        let document: Document =
            serde_json::from_value(self.fake.get(CRD, "dnsendpoints", "shop", name)).unwrap();
        let mut world = KubeWorld::new(&SOURCES, Reading::default());
        let news = News::Applied(Box::new(document));
        let feed = (Followed::Objects(source), 0);
        let observed = world.observe(feed, news);
        self.shared.update(|state| observed.apply(&mut state.index).0);
    }

    fn say(&self, status: EndpointStatus) {
        self.shared.write(|state| state.statuses.take_one(status));
    }

    async fn pass(&self, secs: u64) {
        sleep(Duration::from_secs(secs)).await;
    }

    fn events(&self) -> Vec<String> {
        let text = |event: &Value| {
            format!("{} {}", event["reason"].as_str().unwrap(), event["message"].as_str().unwrap())
        };
        self.fake.events().iter().map(text).collect()
    }

    fn conditions(&self, name: &str) -> Vec<String> {
        let object = self.fake.get(CRD, "dnsendpoints", "shop", name);
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let text = |condition: &Value| {
            format!(
                "{}={}",
                condition["type"].as_str().unwrap(),
                condition["status"].as_str().unwrap()
            )
        };
        conditions.iter().map(text).collect()
    }
}

/// The status of the only endpoint of an object that stands in the API server.
fn status(fake: &Fake, source: SourceKind, name: &str, progress: Progress) -> EndpointStatus {
    status_of(fake, source, ("shop", name), progress)
}

fn status_of(
    fake: &Fake,
    source: SourceKind,
    (namespace, name): (&str, &str),
    progress: Progress,
) -> EndpointStatus {
    let (group, plural) =
        if source == SourceKind::Service { (CORE, "services") } else { (CRD, "dnsendpoints") };
    let document: Document =
        serde_json::from_value(fake.get(group, plural, namespace, name)).unwrap();
    let endpoint = Reading::default().read(source, document).endpoints.remove(0);
    EndpointStatus {
        key: Some((&endpoint.key).into()),
        version: Bytes::copy_from_slice(&endpoint.version().0),
        verdict: VerdictState::Accepted.into(),
        progress: progress.into(),
        at_ms: 1_700_000_000_000,
        ..v1::EndpointStatus::default()
    }
}

fn cluster(services: usize) -> Fake {
    let fake = Fake::new();
    fake.serve(CRD, "dnsendpoints");
    fake.put(CRD, "dnsendpoints", dns_endpoint("shop", "mail", "mail.example.com"));
    for number in 0..services {
        let (name, host) = (format!("s{number}"), format!("s{number}.example.com"));
        fake.put(CORE, "services", service("shop", &name, &host, Some("192.0.2.1")));
    }
    fake
}

#[tokio::test(start_paused = true)]
async fn each_step_is_told_once_on_the_object() {
    let stage = Stage::new(cluster(1), vec![]).await;
    for progress in [
        Progress::Pending,
        Progress::Applied,
        Progress::InSync,
        Progress::Applied,
        Progress::InSync,
    ] {
        stage.say(status(&stage.fake, SourceKind::Service, "s0", progress));
        stage.pass(1).await;
    }
    assert_eq!(
        stage.events(),
        [
            "Accepted s0.example.com A: accepted",
            "Applied s0.example.com A: applied at Route 53",
            "InSync s0.example.com A: served by all of Route 53's servers"
        ]
    );
    let about = &stage.fake.events()[0]["involvedObject"];
    assert_eq!(
        (about["kind"].as_str(), about["apiVersion"].as_str(), about["uid"].as_str()),
        (Some("Service"), Some("v1"), Some("uid-s0"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_restart_tells_nothing_again_but_puts_conditions_right() {
    let fake = cluster(1);
    let replay = vec![
        status(&fake, SourceKind::Service, "s0", Progress::InSync),
        status(&fake, SourceKind::DnsEndpoint, "mail", Progress::InSync),
    ];
    let stage = Stage::new(fake, replay).await;
    stage.pass(5).await;
    assert!(stage.events().is_empty(), "{:?}", stage.events());
    assert_eq!(stage.conditions("mail"), ["Accepted=True", "Programmed=True", "InSync=True"]);
    assert_eq!(
        stage.fake.get(CRD, "dnsendpoints", "shop", "mail")["status"]["conditions"][0]["observedGeneration"],
        1
    );
}

#[tokio::test(start_paused = true)]
async fn conditions_are_written_when_they_change_and_of_what_was_judged() {
    let stage = Stage::new(cluster(0), vec![]).await;
    stage.say(status(&stage.fake, SourceKind::DnsEndpoint, "mail", Progress::Applied));
    stage.pass(1).await;
    assert_eq!(stage.conditions("mail"), ["Accepted=True", "Programmed=True", "InSync=False"]);
    let old = status(&stage.fake, SourceKind::DnsEndpoint, "mail", Progress::InSync);
    let mut changed = dns_endpoint("shop", "mail", "mail.example.com");
    changed["metadata"]["generation"] = 2.into();
    changed["spec"]["endpoints"][0]["targets"] = serde_json::json!(["192.0.2.2"]);
    stage.fake.put(CRD, "dnsendpoints", changed);
    stage.say(old);
    stage.pass(1).await;
    assert!(stage.conditions("mail").is_empty(), "the broker spoke of an older content");
    stage.say(status(&stage.fake, SourceKind::DnsEndpoint, "mail", Progress::Pending));
    stage.pass(1).await;
    assert_eq!(stage.conditions("mail"), ["Accepted=True", "Programmed=False", "InSync=False"]);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_whole_fleet_does_not_flood_the_api_server() {
    let stage = Stage::new(cluster(300), vec![]).await;
    stage.fake.take_log();
    for number in 0..300 {
        stage.say(status(
            &stage.fake,
            SourceKind::Service,
            &format!("s{number}"),
            Progress::Pending,
        ));
    }
    let mut refused = status(&stage.fake, SourceKind::Service, "s299", Progress::Refused);
    refused.message = "bad".to_owned();
    stage.say(refused);
    stage.pass(10).await;
    assert!(stage.events()[0].starts_with("Refused s299.example.com"), "what is wrong comes first");
    let most = (BURST + 10.0 * OBJECTS_PER_SEC) as usize + 1;
    assert!((50..=most).contains(&stage.events().len()), "{}", stage.events().len());
    assert!(stage.fake.take_log().len() <= most * 2, "a look and an Event each");
    // Their later states are reported, and not the earlier ones.
    for number in 0..300 {
        stage.say(status(
            &stage.fake,
            SourceKind::Service,
            &format!("s{number}"),
            Progress::InSync,
        ));
    }
    stage.pass(120).await;
    let accepted = stage.events().iter().filter(|event| event.starts_with("Accepted")).count();
    assert!(
        accepted <= most
            && stage.events().iter().filter(|event| event.starts_with("InSync")).count() == 300
    );
}

#[tokio::test(start_paused = true)]
async fn a_crd_without_conditions_is_noticed_and_left_alone() {
    let fake = cluster(0);
    fake.drop_conditions();
    let stage = Stage::new(fake, vec![]).await;
    for progress in [Progress::Pending, Progress::Applied, Progress::InSync] {
        stage.say(status(&stage.fake, SourceKind::DnsEndpoint, "mail", progress));
        stage.pass(1).await;
    }
    let patches = stage.fake.take_log().iter().filter(|line| line.starts_with("PATCH")).count();
    assert_eq!((patches, stage.events().len()), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_told_later() {
    let stage = Stage::new(cluster(1), vec![]).await;
    stage.fake.refuse("/api/v1/namespaces/shop/events", 403);
    stage.say(status(&stage.fake, SourceKind::Service, "s0", Progress::Applied));
    stage.pass(30).await;
    assert!(stage.events().is_empty());
    stage.fake.refuse("/api/v1/namespaces/shop/events", 0);
    stage.pass(60).await;
    assert_eq!(stage.events(), ["Applied s0.example.com A: applied at Route 53"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_of_one_object_holds_up_no_other() {
    let stage = Stage::new(cluster(2), vec![]).await;
    let mut elsewhere = service("leaving", "away", "away.example.com", Some("192.0.2.1"));
    elsewhere["metadata"]["uid"] = "uid-away".into();
    stage.fake.put(CORE, "services", elsewhere.clone());
    stage.know(elsewhere);
    // As in a namespace that is being removed, for as long as something holds it.
    stage.fake.refuse("/api/v1/namespaces/leaving/events", 403);
    stage.say(status_of(&stage.fake, SourceKind::Service, ("leaving", "away"), Progress::Refused));
    stage.pass(1).await;
    stage.say(status(&stage.fake, SourceKind::Service, "s0", Progress::Applied));
    stage.pass(1).await;
    assert_eq!(stage.events(), ["Applied s0.example.com A: applied at Route 53"]);
    stage.fake.take_log();
    stage.pass(600).await;
    assert!(stage.fake.take_log().len() <= 22, "it is tried once a minute");
}

#[tokio::test(start_paused = true)]
async fn what_will_never_be_taken_is_not_tried_again() {
    let stage = Stage::new(cluster(1), vec![]).await;
    stage.fake.refuse("/api/v1/namespaces/shop/events", 422);
    stage.say(status(&stage.fake, SourceKind::Service, "s0", Progress::Applied));
    stage.pass(600).await;
    assert_eq!(stage.fake.take_log().iter().filter(|line| line.starts_with("POST")).count(), 1);
}

fn misspelt(hostname: &str) -> Value {
    let mut object = service("shop", "s0", "s0.example.com", Some("192.0.2.1"));
    object["metadata"]["annotations"][format!("external-dns.kubernetes.io/{hostname}")] =
        "x".into();
    object
}

#[tokio::test(start_paused = true)]
async fn what_was_not_read_as_it_is_written_is_said_on_the_object_once() {
    let stage = Stage::new(cluster(1), vec![]).await;
    stage.know(misspelt("hostnam"));
    stage.pass(1).await;
    let said = stage.events();
    assert!(said.len() == 1 && said[0].starts_with("Ignored the annotation"), "{said:?}");
    let event = &stage.fake.events()[0];
    assert_eq!(
        (event["type"].as_str(), event["involvedObject"]["name"].as_str()),
        (Some("Warning"), Some("s0"))
    );
    for _ in 0..3 {
        stage.know(misspelt("hostnam"));
        stage.pass(1_000).await;
    }
    assert_eq!(stage.events().len(), 1, "the same content is said once");
    stage.know(misspelt("tttl"));
    stage.pass(1).await;
    assert_eq!(stage.events().len(), 2, "{:?}", stage.events());
}

#[tokio::test(start_paused = true)]
async fn a_warning_that_an_earlier_life_of_the_agent_said_is_not_said_again() {
    let first = Stage::new(cluster(1), vec![]).await;
    first.know(misspelt("hostnam"));
    first.pass(1).await;
    let second = Stage::new(first.fake.clone(), vec![]).await;
    second.know(misspelt("hostnam"));
    second.pass(1_000).await;
    assert_eq!(second.events().len(), 1);
    assert!(second.fake.take_log().len() < 20, "and not tried again and again");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_stands_by_says_nothing_on_objects_until_it_leads() {
    let stage = Stage::new(cluster(1), vec![]).await;
    stage.shared.write(|state| state.role = AgentRole::StandsBy);
    stage.know(misspelt("hostnam"));
    stage.pass(100).await;
    assert!(stage.events().is_empty());
    stage.shared.write(|state| state.role = AgentRole::Leads);
    stage.pass(1).await;
    assert_eq!(stage.events().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_generation_that_was_observed_is_written_with_every_status() {
    let fake = cluster(0);
    let observed = |fake: &Fake| {
        fake.get(CRD, "dnsendpoints", "shop", "mail")["status"]["observedGeneration"].clone()
    };
    fake.drop_conditions();
    let stage = Stage::new(fake, vec![]).await;
    stage.say(status(&stage.fake, SourceKind::DnsEndpoint, "mail", Progress::Pending));
    stage.pass(1).await;
    assert_eq!(observed(&stage.fake), 1, "also where the CRD has no conditions");
    // Another generation of the same content: no status will come.
    let mut same = dns_endpoint("shop", "mail", "mail.example.com");
    same["metadata"]["generation"] = 2.into();
    same["status"]["observedGeneration"] = 1.into();
    stage.fake.put(CRD, "dnsendpoints", same);
    stage.read_dns_endpoint("mail");
    stage.pass(1).await;
    assert_eq!(observed(&stage.fake), 2);
    let mut empty = dns_endpoint("shop", "mail", "mail.example.com");
    empty["metadata"]["generation"] = 3.into();
    empty["spec"]["endpoints"] = serde_json::json!([]);
    stage.fake.put(CRD, "dnsendpoints", empty);
    stage.read_dns_endpoint("mail");
    stage.pass(1).await;
    assert_eq!(observed(&stage.fake), 3, "one that asks for nothing was read too");
    stage.fake.take_log();
    stage.read_dns_endpoint("mail");
    stage.pass(100).await;
    assert!(stage.fake.take_log().iter().all(|line| !line.starts_with("PATCH")));
}
