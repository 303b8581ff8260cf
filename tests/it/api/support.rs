//! A whole broker for tests: emulated accounts, SQLite in memory, the real gRPC service, real agents over folders, the routes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_route53::types::ChangeAction;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use zonefold::adapters::auth::{Identities, KnownCallers, token_hash};
use zonefold::adapters::clock::AnchoredClock;
use zonefold::adapters::route53::{AwsOptions, AwsProviders};
use zonefold::adapters::store;
use zonefold::agent::manifests::ManifestOptions;
use zonefold::agent::sources::ExtractOptions;
use zonefold::agent::{
    Agent, AgentConfig, BrokerAddress, ClusterUid, KeepAlive, Material, Objects,
};
use zonefold::api::authority::Authority;
use zonefold::broker::directory::ClusterSettings;
use zonefold::broker::directory::cluster::StatusCounts;
use zonefold::broker::ingest::{Admission, Limits};
use zonefold::broker::lease::LeaseTiming;
use zonefold::broker::metrics::BrokerMetrics;
use zonefold::broker::worker::{AccountSettings, AccountView};
use zonefold::broker::{Broker, BrokerHandle, BrokerParts};
use zonefold::core::aws::access::{AccountAccess, ExternalId, Partition, RoleArn};
use zonefold::core::ids::{AccountId, ClusterId, EnvironmentId};
use zonefold::core::limits::budget::BudgetConfig;
use zonefold::core::planning::policy::{ZoneRule, ZoneSelector, ZoneSettings};
use zonefold::core::planning::record_types::RecordTypes;
use zonefold::core::time::Millis;
use zonefold::core::visibility::Exposure;
use zonefold::emulator::{ClockMode, EmulatorHandle};
use zonefold::ports::{Clock, ReplicaId, ReplicaRow};
use zonefold::wire::v1::federation_server::FederationServer;

use crate::emulator::support as aws;

/// The agents' token, which no answer may show.
pub const TOKEN: &str = "a-token-that-nobody-may-see";
/// Nothing here takes as long, unless it never ends.
const DEADLINE: Duration = Duration::from_secs(60);

/// A broker with everything around it.
pub struct Rig {
    pub handle: BrokerHandle,
    pub routes: axum::Router,
    _broker: Broker,
    _emulator: EmulatorHandle,
    grpc: String,
    folder: PathBuf,
    stop: CancellationToken,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
        let _absent = std::fs::remove_dir_all(&self.folder);
    }
}

/// Fails a test that waits for what never comes.
pub async fn within_deadline<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work)
        .await
        .unwrap_or_else(|_| panic!("{what} within {} s", DEADLINE.as_secs()))
}

fn account(id: &str, name: &str) -> AccountSettings {
    let settings = ZoneSettings { record_types: RecordTypes::All, ..ZoneSettings::default() };
    AccountSettings {
        placement: zonefold::core::planning::policy::PlacementWait::Wait,
        account: AccountId::parse(id).unwrap(),
        name: name.to_owned(),
        environment: EnvironmentId::parse(name).unwrap(),
        budget: BudgetConfig::profile_2026(),
        rules: vec![ZoneRule { selector: ZoneSelector::default(), settings }],
        discovery_interval: Millis::from_secs(300),
        drift_interval: Millis::from_secs(3_600),
    }
}

fn access(id: &str, role: Option<&str>) -> AccountAccess {
    AccountAccess {
        account: AccountId::parse(id).unwrap(),
        partition: Partition::Aws,
        via_role_arn: None,
        role_arn: role.map(|role| RoleArn::parse(role).unwrap()),
        external_id: role.map(|_| ExternalId::parse("right").unwrap()),
    }
}

fn cluster(name: &str, environment: &str) -> (ClusterId, ClusterSettings) {
    let settings = ClusterSettings {
        environment: EnvironmentId::parse(environment).unwrap(),
        labels: std::collections::BTreeMap::from([("region".to_owned(), "eu-west-1".to_owned())]),
        exposure: Exposure::Both,
        quota: zonefold::core::endpoint::quota::Quota::default(),
    };
    (ClusterId::parse(name).unwrap(), settings)
}

/// A Service of a manifest file.
pub fn service(object: &str, host: &str, target: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {object}\n  annotations:\n    \
         external-dns.kubernetes.io/hostname: {host}\n    external-dns.kubernetes.io/target: {target}\n---\n"
    )
}

impl Rig {
    /// Two accounts: dev with example.com, in which another writer keeps old.example.com, and prod with example.net.
    pub async fn start() -> Self {
        let emulator = aws::start(zonefold::emulator::EmulatorConfig {
            clock: ClockMode::Real,
            ..aws::config()
        })
        .await;
        let foreign =
            vec![(ChangeAction::Create, aws::a_set("old.example.com", 60, &["192.0.2.77"]))];
        aws::change(&aws::route53(&emulator, aws::user()), foreign).await.unwrap();
        let endpoint = emulator.endpoint_url();
        let rig = Self::build(emulator, &endpoint).await;
        within_deadline("both accounts are listed", rig.handle.wait_idle()).await;
        rig
    }

    /// A broker that has only just started, with AWS at this address.
    pub async fn build(emulator: EmulatorHandle, endpoint: &str) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(AnchoredClock::system());
        let http_client = Some(aws_smithy_http_client::Builder::new().build_http());
        let options =
            AwsOptions { http_client, ..AwsOptions::emulator(endpoint, aws::KEY, aws::SECRET) };
        let accesses =
            vec![access(aws::ACCOUNT, None), access(aws::OTHER_ACCOUNT, Some(aws::ROLE))];
        let known = Identities { shared_token_sha256: Some(token_hash(TOKEN)), clusters: vec![] };
        let callers = Arc::new(KnownCallers::new(known, Arc::clone(&clock)));
        let mut registry = Registry::default();
        let metrics = BrokerMetrics::register(&mut registry);
        let parts = BrokerParts {
            replica: ReplicaRow {
                replica: ReplicaId(uuid::Uuid::new_v4()),
                address: String::new(),
            },
            leases: LeaseTiming::default(),
            clusters: HashMap::from([
                cluster("dev-east", "dev"),
                cluster("dev-west", "dev"),
                cluster("prod-east", "prod"),
            ]),
            accounts: vec![account(aws::ACCOUNT, "dev"), account(aws::OTHER_ACCOUNT, "prod")],
            rules: Arc::default(),
            admission: Admission::new(callers, Arc::clone(&clock), metrics.clone()),
            limits: Limits::default(),
            store: store::open(
                &"sqlite::memory:".parse().unwrap(),
                &store::StoreOptions::default(),
            )
            .await
            .unwrap(),
            providers: Arc::new(AwsProviders::new(accesses, options, Arc::clone(&clock)).await),
            clock,
            metrics,
            seed: 1,
            progress: Arc::default(),
        };
        let broker = Broker::start(parts).await.unwrap();
        let (handle, stop) = (broker.handle(), CancellationToken::new());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let grpc = format!("http://{}", listener.local_addr().unwrap());
        let serving = tonic::transport::Server::builder()
            .add_service(FederationServer::new(broker.service()))
            .serve_with_incoming_shutdown(
                tokio_stream::wrappers::TcpListenerStream::new(listener),
                stop.clone().cancelled_owned(),
            );
        tokio::spawn(serving);
        Self {
            routes: zonefold::api::router(
                handle.clone(),
                Arc::new(registry),
                Authority::everybody(),
                None,
                None,
            ),
            handle,
            _broker: broker,
            _emulator: emulator,
            grpc,
            folder: std::env::temp_dir().join(format!("zonefold-api-{}", uuid::Uuid::new_v4())),
            stop,
        }
    }

    /// Runs an agent over these manifests, until its endpoints are in the states that are wanted.
    pub async fn publish(
        &self,
        cluster: &str,
        manifests: &str,
        wanted: impl Fn(StatusCounts) -> bool,
    ) {
        let folder = self.folder.join(cluster);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("all.yaml"), manifests).unwrap();
        let config = AgentConfig {
            cluster: cluster.to_owned(),
            kube_system_uid: ClusterUid::Given(uuid::Uuid::new_v4().to_string()),
            broker: BrokerAddress {
                url: self.grpc.clone(),
                token: Some(Material::text(TOKEN)),
                ca: None,
                certificate: None,
                keep_alive: KeepAlive::default(),
            },
            objects: Objects::Manifests(ManifestOptions {
                path: folder,
                rescan: Duration::from_secs(60),
                extract: ExtractOptions::default(),
            }),
            listen: None,
        };
        let agent = Agent::build(config).await.unwrap();
        tokio::spawn(agent.run(self.stop.clone()));
        let endpoints = self.handle.endpoints(&ClusterId::parse(cluster).unwrap());
        let mut follower = endpoints.follow(&[]).unwrap();
        let settled = async {
            loop {
                follower.news(usize::MAX);
                if wanted(endpoints.counts()) {
                    return;
                }
                follower.wait().await;
            }
        };
        within_deadline("the endpoints are in the wanted states", settled).await;
    }

    /// Waits for what a worker publishes of its account.
    pub async fn published(&self, account: &str, wanted: impl FnMut(&Arc<AccountView>) -> bool) {
        let mut view = self.handle.workers.get(&AccountId::parse(account).unwrap()).unwrap().view;
        within_deadline("the view is published", view.wait_for(wanted)).await.unwrap();
    }

    /// The story that most tests read: dev-east holds www, wants a name that is none and one outside every zone; dev-west
    /// comes second for www.
    pub async fn with_story() -> Self {
        let rig = Self::start().await;
        let east = [
            service("web", "www.example.com", "192.0.2.1"),
            service("api", "api.example.com", "192.0.2.2"),
            service("mistake", &format!("{}.example.com", "a".repeat(64)), "192.0.2.3"),
            service("shop", "shop.example.org", "192.0.2.4"),
        ];
        rig.publish("dev-east", &east.concat(), |counts| {
            (counts.applied, counts.rejected, counts.waiting, counts.pending) == (2, 1, 1, 0)
        })
        .await;
        rig.publish("dev-west", &service("web", "www.example.com", "192.0.2.9"), |counts| {
            counts.waiting == 1
        })
        .await;
        rig.published(aws::ACCOUNT, |view| {
            view.zones.iter().all(|zone| zone.owned == 2) && view.is_settled()
        })
        .await;
        rig
    }

    /// The answer of a path, as text.
    pub async fn text(&self, path: &str) -> (StatusCode, HeaderMap, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        assert!(!text.contains(TOKEN) && !text.contains(aws::SECRET), "no secret in {path}");
        (head.status, head.headers, text)
    }

    /// The answer of a path that answers with 200, as JSON.
    pub async fn get(&self, path: &str) -> Value {
        let (status, _, text) = self.text(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The problem that a path answers.
    pub async fn problem(&self, path: &str) -> (u16, String) {
        let (status, headers, text) = self.text(path).await;
        assert_eq!(headers["content-type"], "application/problem+json", "{path}: {text}");
        let problem: zonefold::api::problem::Problem = serde_json::from_str(&text).unwrap();
        assert_eq!(problem.status, status.as_u16());
        (problem.status, problem.detail)
    }

    /// All items of a list, in pages of `limit`.
    pub async fn all(&self, path: &str, limit: usize) -> Vec<Value> {
        let (mut items, mut next) = (vec![], String::new());
        let separator = if path.contains('?') { '&' } else { '?' };
        loop {
            let page = self.get(&format!("{path}{separator}limit={limit}{next}")).await;
            let got = page["items"].as_array().unwrap();
            assert!(got.len() <= limit);
            items.extend(got.iter().cloned());
            match &page["next"] {
                Value::String(cursor) => next = format!("&cursor={cursor}"),
                end => {
                    assert!(end.is_null());
                    return items;
                }
            }
        }
    }
}
