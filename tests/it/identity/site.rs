//! A broker with TLS and identities, in this process, and callers by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};
use zonefold::adapters::route53::AwsOptions;
use zonefold::agent::access::Broker;
use zonefold::agent::{Access, BrokerAddress, ClientCertificate, KeepAlive, Material};
use zonefold::app::broker::{BoundBroker, BrokerOptions, Reloader, build};
use zonefold::broker::ingest::REASON;
use zonefold::config::Config;
use zonefold::wire::v1::federation_client::FederationClient;
use zonefold::wire::v1::{self, agent_message::Message as Up, broker_message::Message as Down};

use crate::support::authority::{Authority, Files};
use crate::support::folder::TestFolder;

/// The name in the broker's certificate besides the address.
pub const BROKER_NAME: &str = "broker.zonefold.test";

pub struct IdentitySite {
    pub folder: TestFolder,
    pub authority: Authority,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    /// The broker's own certificate.
    pub own: Files,
    config: Value,
    reloader: Reloader,
    stop: CancellationToken,
    _running: JoinHandle<anyhow::Result<()>>,
}

impl Drop for IdentitySite {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl IdentitySite {
    /// A broker with gRPC over TLS that knows these clusters; `more` is laid over its configuration.
    pub async fn start(clusters: &Value, more: &Value) -> Self {
        Self::start_with(clusters, more, options()).await
    }

    /// The same, with something else that the configuration does not say.
    pub async fn start_with(clusters: &Value, more: &Value, options: BrokerOptions) -> Self {
        let (folder, authority) = (TestFolder::new(), Authority::new("authority"));
        let ca = authority.write(&folder);
        let own = authority.write_signed(&folder, "broker", &[BROKER_NAME, "127.0.0.1"]);
        let mut config = json!({
            "store": format!("sqlite:{}", folder.path("broker.db").display()),
            "listen": {
                "grpc": "127.0.0.1:0", "http": "127.0.0.1:0",
                "tls": {
                    "certificate_file": own.certificate, "key_file": own.key, "client_ca_file": ca, "listeners": ["grpc"],
                },
            },
            "environments": [{ "name": "dev" }],
            "clusters": clusters,
        });
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        let parsed = Arc::new(Config::parse(&config.to_string(), "broker.yaml").unwrap());
        let bound = build(&parsed, options).await.unwrap();
        let (BoundBroker { grpc, http, .. }, reloader) =
            (&bound, bound.reloader(Arc::clone(&parsed)));
        let (grpc, http) = (*grpc, *http);
        let stop = CancellationToken::new();
        let running = tokio::spawn(bound.run(stop.clone()));
        Self { folder, authority, grpc, http, own, config, reloader, stop, _running: running }
    }

    /// The broker reads a configuration that has other clusters.
    pub async fn reconfigure(&self, clusters: &Value) {
        let mut config = self.config.clone();
        config["clusters"] = clusters.clone();
        self.reloader.apply(&Config::parse(&config.to_string(), "broker.yaml").unwrap()).await;
    }

    /// The way to this broker for a client that shows these.
    pub fn address(&self, token: Option<Material>, certificate: Option<&Files>) -> BrokerAddress {
        BrokerAddress {
            url: format!("https://{}", self.grpc),
            token,
            ca: Some(Material::text(self.authority.pem())),
            certificate: certificate.map(|files| ClientCertificate {
                certificate_file: files.certificate.clone(),
                key_file: files.key.clone(),
            }),
            keep_alive: KeepAlive::default(),
        }
    }

    pub fn by_token(&self, token: &str) -> Access {
        Access::new(self.address(Some(Material::text(token)), None)).unwrap()
    }

    pub fn by_certificate(&self, files: &Files) -> Access {
        Access::new(self.address(None, Some(files))).unwrap()
    }

    pub fn by_nothing(&self) -> Access {
        Access::new(self.address(None, None)).unwrap()
    }

    pub async fn metric(&self, line: &str) -> bool {
        let (_, text) = crate::support::network::try_get(self.http, "/metrics").await.unwrap();
        text.lines().any(|found| found.starts_with(line))
    }
}

pub fn options() -> BrokerOptions {
    BrokerOptions {
        aws: AwsOptions::emulator("http://127.0.0.1:9", "AKIA0000000000000000", "nobody is called"),
        certificates_every: Duration::from_millis(20),
        ..BrokerOptions::default()
    }
}

/// An open session.
pub struct Session {
    pub epoch: u64,
    up: mpsc::Sender<v1::AgentMessage>,
    down: tonic::Streaming<v1::BrokerMessage>,
}

impl Session {
    /// Whether the broker still says something that is not the end.
    pub async fn is_open(&mut self) -> bool {
        self.up.send(up(Up::Ping(v1::Ping::default()))).await.unwrap();
        matches!(
            self.down.message().await,
            Ok(Some(v1::BrokerMessage { message: Some(Down::Pong(_) | Down::Ping(_)) }))
        )
    }

    /// Why the broker sends the agent away; it says nothing else before.
    pub async fn go_away(mut self) -> v1::go_away::Reason {
        match self.down.message().await {
            Ok(Some(v1::BrokerMessage { message: Some(Down::GoAway(word)) })) => word.reason(),
            other => panic!("no GoAway but {other:?}"),
        }
    }

    /// How the broker ends it; it says nothing else before.
    pub async fn end(mut self) -> Status {
        match self.down.message().await {
            Err(status) => status,
            Ok(other) => panic!("the session goes on with {other:?}"),
        }
    }
}

fn up(message: Up) -> v1::AgentMessage {
    v1::AgentMessage { message: Some(message) }
}

/// Says Hello as a cluster.
pub async fn hello(access: &Access, cluster: &str) -> Result<Session, Status> {
    let Broker { channel, authorization } = access.now().unwrap();
    let (sender, outgoing) = mpsc::channel(8);
    let hello = v1::Hello {
        cluster: cluster.to_owned(),
        kube_system_uid: format!("uid-of-{cluster}"),
        instance_id: "test".to_owned(),
        ..v1::Hello::default()
    };
    sender.send(up(Up::Hello(hello))).await.unwrap();
    let mut request = Request::new(ReceiverStream::new(outgoing));
    authorization.map(|value| request.metadata_mut().insert("authorization", value));
    let mut down = FederationClient::new(channel).publish(request).await?.into_inner();
    match down.message().await? {
        Some(v1::BrokerMessage { message: Some(Down::Welcome(welcome)) }) => {
            Ok(Session { epoch: welcome.epoch, up: sender, down })
        }
        other => panic!("no Welcome but {other:?}"),
    }
}

/// Asks for the statuses of a cluster, and reads the first.
pub async fn watch(access: &Access, cluster: &str) -> Result<(), Status> {
    statuses(access, cluster).await?.message().await.map(drop)
}

/// Asks for the statuses of a cluster.
pub async fn statuses(
    access: &Access,
    cluster: &str,
) -> Result<tonic::Streaming<v1::StatusBatch>, Status> {
    let Broker { channel, authorization } = access.now().unwrap();
    let mut request = Request::new(v1::WatchStatusRequest {
        cluster: cluster.to_owned(),
        ..v1::WatchStatusRequest::default()
    });
    authorization.map(|value| request.metadata_mut().insert("authorization", value));
    Ok(FederationClient::new(channel).watch_status(request).await?.into_inner())
}

/// The stable reason of a refusal, with its code.
pub fn reason<T>(result: Result<T, Status>) -> (tonic::Code, String) {
    match result {
        Ok(_) => (tonic::Code::Ok, String::new()),
        Err(status) => {
            let reason =
                status.metadata().get(REASON).map(|reason| reason.to_str().unwrap().to_owned());
            (status.code(), reason.unwrap_or_else(|| status.message().to_owned()))
        }
    }
}
