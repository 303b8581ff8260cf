//! The broker as a process of its own, so that what it uses is its own: started, asked over HTTP, stopped.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use zonefold::api::accounts::Account;
use zonefold::api::clusters::Cluster;
use zonefold::api::page::Page;

use super::process::Process;
use super::usage;

/// How often it is asked whether something has come to pass.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Where a broker listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// For clusters.
    pub grpc: SocketAddr,
    /// For REST.
    pub http: SocketAddr,
}

impl Addresses {
    /// Ports that are free now: a broker that is started again comes back to them.
    ///
    /// # Errors
    /// There are none.
    pub fn free() -> std::io::Result<Self> {
        let (grpc, http) = (
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
        );
        Ok(Self { grpc: grpc.local_addr()?, http: http.local_addr()? })
    }
}

/// How a broker is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Its configuration file.
    pub config: PathBuf,
    /// Where its log goes.
    pub log: PathBuf,
    /// Where that configuration says that it listens.
    pub addresses: Addresses,
    /// Variables of its environment: where AWS is, and the credentials.
    pub environment: Vec<(&'static str, String)>,
}

/// A running broker; killed when it is dropped.
pub struct ChildBroker {
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub addresses: Addresses,
    process: Process,
    http: Client<HttpConnector, Empty<Bytes>>,
}

impl ChildBroker {
    /// Starts this program again as a broker.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(launch: &Launch) -> anyhow::Result<Self> {
        let arguments =
            ["broker".into(), "--config".into(), launch.config.clone().into_os_string()];
        let process = Process::start("broker", arguments, &launch.environment, &launch.log)?;
        let http = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { pid: process.pid, addresses: launch.addresses, process, http })
    }

    /// Asks over HTTP; answers the status and the body.
    ///
    /// # Errors
    /// No server answers.
    pub async fn ask(&self, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
        let request = http::Request::get(format!("http://{}{path}", self.addresses.http))
            .body(Empty::new())?;
        let answer = async {
            let (head, body) = self.http.request(request).await?.into_parts();
            anyhow::Ok((head.status, body.collect().await?.to_bytes()))
        };
        tokio::time::timeout(ANSWER_WITHIN, answer)
            .await
            .with_context(|| format!("the broker did not answer {path}"))?
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let (status, body) = self.ask(path).await?;
        anyhow::ensure!(
            status.is_success(),
            "the broker answered {path} with {status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(serde_json::from_slice(&body)?)
    }

    /// Returns when the broker says that it is ready, and how long that took.
    ///
    /// # Errors
    /// It ends, or is not ready in time.
    pub async fn ready(&mut self, within: Duration) -> anyhow::Result<Duration> {
        let began = Instant::now();
        self.until(within, "the broker is ready", async |broker| {
            Ok(broker.ask("/readyz").await.is_ok_and(|(status, _)| status.is_success()))
        })
        .await?;
        Ok(began.elapsed())
    }

    /// All accounts.
    ///
    /// # Errors
    /// No server answers as expected.
    pub async fn accounts(&self) -> anyhow::Result<Vec<Account>> {
        Ok(self.get::<Page<Account>>("/api/v1/accounts?limit=1000").await?.items)
    }

    /// All clusters, a thousand at most.
    ///
    /// # Errors
    /// No server answers as expected.
    pub async fn clusters(&self) -> anyhow::Result<Vec<Cluster>> {
        Ok(self.get::<Page<Cluster>>("/api/v1/clusters?limit=1000").await?.items)
    }

    /// A counter of the broker's, by its name in /metrics.
    ///
    /// # Errors
    /// No server answers, or there is no such counter.
    pub async fn counter(&self, name: &str) -> anyhow::Result<u64> {
        let (_, body) = self.ask("/metrics").await?;
        let text = std::str::from_utf8(&body)?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.split(' ').next());
        value
            .and_then(|value| value.parse().ok())
            .with_context(|| format!("the broker has no counter {name}"))
    }

    /// Ends it without a word, as a crash does.
    ///
    /// # Errors
    /// It has ended already.
    pub async fn kill(self) -> anyhow::Result<()> {
        self.process.kill().await
    }

    /// Returns when something is so.
    ///
    /// # Errors
    /// The broker ends, or it is not so in time.
    pub async fn until(
        &mut self,
        within: Duration,
        what: &str,
        mut is_so: impl AsyncFnMut(&Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let give_up = Instant::now() + within;
        while !is_so(self).await? {
            self.process.still_runs()?;
            if Instant::now() > give_up {
                bail!(
                    "within {} s it did not come to this: {what}\n{}",
                    within.as_secs(),
                    self.process.last_words()
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// The time that it has run on a processor, in nanoseconds.
    ///
    /// # Errors
    /// It has ended.
    pub fn cpu_ns(&self) -> anyhow::Result<u64> {
        usage::cpu_ns(self.pid)
    }

    /// Asks it to stop, as an orchestrator does, and waits for its end.
    ///
    /// # Errors
    /// It does not end, or not well.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.process.stop().await
    }
}

/// Writes a file whole or not at all: a watcher never reads half of it.
///
/// # Errors
/// It cannot be written.
pub fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(&new, path)
}
