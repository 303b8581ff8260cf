use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::agent::kube::ask::look_up;
use crate::agent::kube::fake::{Fake, dns_endpoint, service};
use crate::agent::kube::resources::resource_of;
use crate::agent::sources::SourceKind;

const CORE: &str = "/api/v1";
const CRD: &str = "/apis/externaldns.k8s.io/v1alpha1";

struct Stage {
    fake: Fake,
    news: mpsc::Receiver<(u8, News)>,
    _tasks: JoinSet<()>,
}

impl Stage {
    fn new(fake: Fake, source: SourceKind, namespace: Option<&str>) -> Self {
        let (to, news) = mpsc::channel(4);
        let feed = Feed {
            id: 1_u8,
            client: fake.client(),
            resource: resource_of(source),
            namespace: namespace.map(ArcStr::from),
            labels: None,
            random: fastrand::Rng::with_seed(1),
            to,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(feed.run());
        Self { fake, news, _tasks: tasks }
    }

    /// The next thing that was observed, in a word.
    async fn next(&mut self) -> String {
        let (_, news) = timeout(Duration::from_secs(600), self.news.recv())
            .await
            .expect("nothing is observed")
            .unwrap();
        let names = |documents: &[Document]| {
            documents.iter().map(|d| d.metadata.name.to_string()).collect::<Vec<_>>().join(",")
        };
        match news {
            News::ListBegins => "list".to_owned(),
            News::Page(documents) if documents.len() > 5 => format!("page of {}", documents.len()),
            News::Page(documents) => format!("page {}", names(&documents)),
            News::ListEnds => "end".to_owned(),
            News::Resumed => "resumed".to_owned(),
            News::Applied(document) => format!("applied {}", document.metadata.name),
            News::Deleted(document) => format!("deleted {}", document.metadata.name),
            News::Swept(document, _) => format!("swept {}", document.metadata.name),
            News::NoSuchKind(reason) => format!("no such kind: {reason}"),
            News::Trouble(reason) => format!("trouble: {reason}"),
            News::Proven => "proven".to_owned(),
        }
    }

    async fn expect(&mut self, expected: &[&str]) {
        for (number, expected) in expected.iter().enumerate() {
            assert_eq!(self.next().await, *expected, "number {number}");
        }
    }

    /// Lets the feed come to rest.
    async fn settled(&mut self) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(self.news.is_empty(), "{:?}", self.news.try_recv());
    }
}

fn with_services(names: &[&str]) -> Fake {
    let fake = Fake::new();
    for name in names {
        fake.put(
            CORE,
            "services",
            service("shop", name, &format!("{name}.example.com"), Some("192.0.2.1")),
        );
    }
    fake
}

fn with_endpoints(names: &[&str]) -> Fake {
    let fake = Fake::new();
    fake.serve(CRD, "dnsendpoints");
    for name in names {
        fake.put(CRD, "dnsendpoints", dns_endpoint("shop", name, &format!("{name}.example.com")));
    }
    fake
}

#[tokio::test(start_paused = true)]
async fn all_pages_are_listed_and_then_every_change_is_told() {
    let fake = Fake::new();
    for number in 0..125 {
        fake.put(
            CORE,
            "services",
            service("shop", &format!("s{number:03}"), "a.example.com", None),
        );
    }
    let mut stage = Stage::new(fake, SourceKind::Service, None);
    stage.expect(&["list", "page of 50", "page of 50", "page of 25", "end"]).await;
    stage.settled().await;
    stage.fake.put(CORE, "services", service("shop", "new", "b.example.com", None));
    stage.fake.delete(CORE, "services", "shop", "s000");
    stage.expect(&["applied new", "deleted s000"]).await;
}

#[tokio::test(start_paused = true)]
async fn one_namespace_is_asked_for_by_its_path() {
    let mut stage = Stage::new(with_services(&["a"]), SourceKind::Service, Some("web"));
    stage.expect(&["list", "page ", "end"]).await;
    stage.settled().await;
    assert_eq!(
        stage.fake.take_log(),
        ["GET /api/v1/namespaces/web/services", "WATCH /api/v1/namespaces/web/services"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_goes_on_where_it_was_without_a_list() {
    let mut stage = Stage::new(with_services(&["a"]), SourceKind::Service, None);
    stage.expect(&["list", "page a", "end"]).await;
    stage.settled().await;
    stage.fake.end_watches();
    stage.fake.put(CORE, "services", service("shop", "b", "b.example.com", None));
    stage.expect(&["applied b"]).await;
    assert!(stage.fake.take_log().iter().filter(|line| line.starts_with("GET")).count() == 1);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_gone_is_trouble_and_nothing_more() {
    let mut stage = Stage::new(with_services(&["a"]), SourceKind::Service, None);
    stage.expect(&["list", "page a", "end"]).await;
    stage.settled().await;
    stage.fake.go_away(true);
    for _ in 0..5 {
        assert!(stage.next().await.starts_with("trouble: services: the API server cannot be read"));
    }
    stage.fake.delete(CORE, "services", "shop", "a");
    stage.fake.go_away(false);
    loop {
        match stage.next().await.as_str() {
            "resumed" => break,
            other => assert!(other.starts_with("trouble"), "{other}"),
        }
    }
    stage.expect(&["deleted a"]).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_forgotten_is_listed_again() {
    let mut stage = Stage::new(with_services(&["a", "b"]), SourceKind::Service, None);
    stage.expect(&["list", "page a,b", "end"]).await;
    stage.settled().await;
    stage.fake.end_watches();
    stage.fake.delete(CORE, "services", "shop", "a");
    stage.fake.forget_history();
    stage.expect(&["list", "page b", "end"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_spares_the_list() {
    let mut stage = Stage::new(with_services(&["a"]), SourceKind::Service, None);
    stage.expect(&["list", "page a", "end"]).await;
    stage.settled().await;
    stage.fake.bookmark();
    stage.settled().await;
    stage.fake.forget_history();
    stage.fake.end_watches();
    stage.fake.put(CORE, "services", service("shop", "b", "b.example.com", None));
    stage.expect(&["applied b"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_right_is_trouble_that_says_what_to_do_and_passes() {
    let mut stage = Stage::new(with_services(&["a"]), SourceKind::Service, None);
    stage.expect(&["list", "page a", "end"]).await;
    stage.settled().await;
    stage.fake.refuse("/api/v1/services", 403);
    stage.fake.end_watches();
    let said = stage.next().await;
    assert!(said.contains("403") && said.contains("zonefold agent rbac"), "{said}");
    stage.fake.refuse("/api/v1/services", 0);
    stage.expect(&["resumed"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_refused_never_ends() {
    let fake = with_services(&["a"]);
    fake.refuse("/api/v1/services", 403);
    let mut stage = Stage::new(fake, SourceKind::Service, None);
    for _ in 0..4 {
        assert_eq!(stage.next().await, "list");
        assert!(stage.next().await.starts_with("trouble"));
    }
    stage.fake.refuse("/api/v1/services", 0);
    stage.expect(&["list", "page a", "end"]).await;
}

#[tokio::test(start_paused = true)]
async fn pages_of_two_moments_are_no_list() {
    let fake = Fake::new();
    for number in 0..75 {
        fake.put(
            CORE,
            "services",
            service("shop", &format!("s{number:03}"), "a.example.com", None),
        );
    }
    fake.let_pages_drift(true);
    let mut stage = Stage::new(fake, SourceKind::Service, None);
    stage
        .expect(&[
            "list",
            "page of 50",
            "trouble: services: the list expired while it was read; the published records stay",
        ])
        .await;
    stage.fake.let_pages_drift(false);
    stage.expect(&["list", "page of 50", "page of 25", "end"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_not_there_is_waited_for() {
    let mut stage = Stage::new(Fake::new(), SourceKind::DnsEndpoint, None);
    let said = stage.next().await;
    assert!(
        said.starts_with("no such kind: the cluster has no dnsendpoints.externaldns.k8s.io"),
        "{said}"
    );
    stage.fake.serve(CRD, "dnsendpoints");
    stage.expect(&["list", "page ", "end"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_custom_object_that_is_deleted_is_told_when_its_kind_is_still_there() {
    let mut stage = Stage::new(with_endpoints(&["a", "b"]), SourceKind::DnsEndpoint, None);
    stage.expect(&["list", "page a,b", "end"]).await;
    stage.settled().await;
    let began = Instant::now();
    stage.fake.delete(CRD, "dnsendpoints", "shop", "a");
    stage.expect(&["deleted a"]).await;
    assert!(began.elapsed() >= DELETION_GRACE && began.elapsed() < DELETION_GRACE * 2);
}

#[tokio::test(start_paused = true)]
async fn objects_that_go_with_their_kind_were_not_deleted() {
    let mut stage = Stage::new(with_endpoints(&["a", "b"]), SourceKind::DnsEndpoint, None);
    stage.expect(&["list", "page a,b", "end"]).await;
    stage.settled().await;
    stage.fake.begin_to_remove(CRD, "dnsendpoints");
    stage.settled().await;
    stage.fake.finish_to_remove(CRD, "dnsendpoints");
    loop {
        match stage.next().await.as_str() {
            "swept a" => break,
            other => assert!(other.starts_with("trouble"), "{other}"),
        }
    }
    stage.expect(&["swept b"]).await;
    loop {
        let said = stage.next().await;
        if said.starts_with("no such kind") {
            break;
        }
        assert!(said.starts_with("trouble"), "{said}");
    }
    stage.fake.serve(CRD, "dnsendpoints");
    loop {
        if stage.next().await == "end" {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_nobody_can_judge_now_waits_and_no_list_overtakes_it() {
    let mut stage = Stage::new(with_endpoints(&["a"]), SourceKind::DnsEndpoint, None);
    stage.expect(&["list", "page a", "end"]).await;
    stage.settled().await;
    stage.fake.delete(CRD, "dnsendpoints", "shop", "a");
    stage.settled().await;
    stage.fake.forget_history();
    stage.fake.go_away(true);
    for _ in 0..6 {
        assert!(stage.next().await.starts_with("trouble"));
    }
    stage.fake.go_away(false);
    loop {
        match stage.next().await.as_str() {
            "deleted a" => break,
            other => assert!(other.starts_with("trouble"), "{other}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_comes_back_at_once_was_not_deleted() {
    let mut stage = Stage::new(with_endpoints(&["a"]), SourceKind::DnsEndpoint, None);
    stage.expect(&["list", "page a", "end"]).await;
    stage.settled().await;
    stage.fake.delete(CRD, "dnsendpoints", "shop", "a");
    stage.fake.put(CRD, "dnsendpoints", dns_endpoint("shop", "a", "a.example.com"));
    stage.expect(&["applied a"]).await;
    tokio::time::sleep(DELETION_GRACE * 2).await;
    stage.settled().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_of_a_kind_that_is_being_removed_deletes_nothing() {
    let mut stage = Stage::new(with_endpoints(&["a", "b"]), SourceKind::DnsEndpoint, None);
    stage.expect(&["list", "page a,b", "end"]).await;
    stage.settled().await;
    // The objects go already, and discovery does not say yet that their kind does.
    stage.fake.end_watches();
    stage.fake.delete(CRD, "dnsendpoints", "shop", "a");
    stage.fake.forget_history();
    stage.expect(&["list", "page b"]).await;
    stage.fake.begin_to_remove(CRD, "dnsendpoints");
    let said = stage.next().await;
    assert!(said.starts_with("no such kind: the cluster is removing"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_custom_kind_that_is_listed_again_is_looked_for_before_the_list_counts() {
    let mut stage = Stage::new(with_endpoints(&["a", "b"]), SourceKind::DnsEndpoint, None);
    stage.expect(&["list", "page a,b", "end"]).await;
    stage.settled().await;
    stage.fake.end_watches();
    stage.fake.delete(CRD, "dnsendpoints", "shop", "a");
    stage.fake.forget_history();
    stage.expect(&["list", "page b", "end"]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_overtaken_again_and_again_is_begun_again_ever_more_slowly() {
    let mut stage = Stage::new(with_services(&["a"]), SourceKind::Service, None);
    stage.expect(&["list", "page a", "end"]).await;
    stage.settled().await;
    stage.fake.end_watches();
    stage.fake.expire_at_once(true);
    let began = Instant::now();
    let mut lists = 0;
    while began.elapsed() < Duration::from_secs(120) {
        lists += usize::from(stage.next().await == "end");
    }
    assert!((4..=40).contains(&lists), "{lists}");
}

#[tokio::test]
async fn only_an_api_server_that_names_the_object_says_that_it_is_gone() {
    let fake = with_services(&["a"]);
    let client = fake.client();
    let resource = resource_of(SourceKind::Service);
    let look = async |name: &str| {
        look_up(&client, &resource, "v1", "shop", name).await.map(|found| found.is_some())
    };
    assert_eq!((look("a").await, look("b").await), (Ok(true), Ok(false)));
    // A proxy that knows nothing of the path.
    fake.refuse("/api/v1/namespaces/shop/services", 404);
    assert!(look("b").await.unwrap_err().contains("404"));
    for odd in ["", "..", "a/b", "a?watch=true", "ä", "a b"] {
        assert!(look(odd).await.is_err(), "{odd:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_falls_silent_is_begun_anew_where_it_was() {
    let mut stage = Stage::new(with_services(&["a"]), SourceKind::Service, None);
    stage.expect(&["list", "page a", "end"]).await;
    stage.settled().await;
    stage.fake.take_log();
    // Nothing reaches the agent, not even that the connection is gone.
    stage.fake.lose_watches();
    stage.fake.put(CORE, "services", service("shop", "b", "b.example.com", None));
    let began = Instant::now();
    stage.expect(&["applied b"]).await;
    assert!(began.elapsed() <= WATCH_SILENCE + Duration::from_secs(1));
    assert_eq!(stage.fake.take_log(), ["WATCH /api/v1/services"]);
}
