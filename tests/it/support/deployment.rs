//! A broker and the agents of clusters, as processes of the real binary. At its end nothing secret may stand in anything that
//! they said.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::process::Command;

use super::NO_GUARDS;
use super::aws::Aws;
use super::folder::{TestFolder, write_whole};
use super::network::{get_json, try_get};
use super::process::{Process, zonefold};
use super::wait::eventually;

/// The token of every agent.
pub const TOKEN: &str = "a-token-that-all-agents-of-the-tests-share";
const LOG_FILTER: &str = "info,zonefold=trace,aws_config=debug,aws_smithy_runtime=debug";
/// Pages that show what the broker knows. A page that is not there shows nothing.
const PAGES: [&str; 8] = [
    "/readyz",
    "/metrics",
    "/api/v1/openapi.json",
    "/api/v1/accounts",
    "/api/v1/clusters",
    "/api/v1/zones",
    "/api/v1/endpoints",
    "/api/v1/changes",
];

/// A running agent.
pub struct Agent {
    pub process: Process,
    pub http: SocketAddr,
    /// The folder of its objects; `None` if it is an agent of a live cluster.
    manifests: Option<PathBuf>,
}

/// Everything that runs.
pub struct Deployment {
    pub folder: TestFolder,
    pub broker: Process,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    /// The authority that signed the broker's certificate; `None` if it speaks plain text.
    pub ca: Option<PathBuf>,
    agents: BTreeMap<String, Agent>,
}

/// The broker's configuration: an account for each environment of the AWS, and the clusters dev-east, dev-west and prod-east.
/// Without guards: most tests are about something else.
pub fn configuration(folder: &TestFolder, store: &str, accounts: Value) -> Value {
    let token_file = folder.write("token", TOKEN);
    let clusters = ["dev-east", "dev-west", "prod-east"]
        .map(|name| json!({ "name": name, "environment": name.split('-').next().unwrap() }));
    json!({
        "store": store,
        "listen": { "grpc": "127.0.0.1:0", "http": "127.0.0.1:0" },
        "agents": { "token_file": token_file },
        "environments": [{ "name": "dev" }, { "name": "prod" }],
        "accounts": accounts,
        "clusters": clusters,
        "rules": [NO_GUARDS],
        "log": { "filter": LOG_FILTER },
    })
}

/// SQLite in a folder.
pub fn sqlite(folder: &TestFolder) -> String {
    format!("sqlite:{}", folder.path("broker.db").display())
}

/// The broker as a process that finds AWS by its environment, as it would in production.
pub fn start_broker(folder: &TestFolder, aws: &Aws, configuration: &Path) -> Process {
    let mut command = zonefold(
        &folder.path(""),
        ["broker".as_ref(), "--config".as_ref(), configuration.as_os_str()],
    );
    command
        .env("AWS_ENDPOINT_URL", format!("http://{}", aws.tap.address))
        .env("AWS_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", &aws.key_id).env("AWS_SECRET_ACCESS_KEY", &aws.secret);
    Process::start("broker", command)
}

impl Deployment {
    /// A broker on SQLite.
    pub async fn on_sqlite(aws: &Aws) -> Self {
        let folder = TestFolder::new();
        let configuration = configuration(&folder, &sqlite(&folder), aws.configured());
        Self::start(folder, aws, &configuration).await
    }

    /// A broker of a configuration.
    pub async fn start(folder: TestFolder, aws: &Aws, configuration: &Value) -> Self {
        let path =
            folder.write("broker.yaml", &serde_json::to_string_pretty(configuration).unwrap());
        let mut broker = start_broker(&folder, aws, &path);
        let started = broker.says("broker started").await;
        let address = |name: &str| started[name].as_str().unwrap().parse().unwrap();
        Self {
            folder,
            broker,
            grpc: address("grpc"),
            http: address("http"),
            ca: None,
            agents: BTreeMap::new(),
        }
    }

    /// Starts the agent of a cluster over a folder of its own.
    pub async fn agent(&mut self, cluster: &str, manifests: &[(&str, String)]) {
        let folder = self.folder.folder(cluster);
        manifests.iter().for_each(|(name, text)| write_whole(&folder.join(name), text));
        let mut command = self.command(cluster);
        // Where the system has no watch left to give, the folder is still read soon.
        command.args(["--rescan-secs", "5"]);
        command.arg("--token-file").arg(self.folder.path("token"));
        command.arg("--uid-file").arg(self.folder.path(&format!("{cluster}-uid")));
        command.arg("--manifests").arg(&folder);
        self.launch(cluster, command, Some(folder)).await;
    }

    /// The command of an agent, but for what it reads and how it proves itself.
    pub fn command(&self, cluster: &str) -> Command {
        let mut command = zonefold(
            &self.folder.path(""),
            ["agent", "--cluster", cluster, "--listen", "127.0.0.1:0"],
        );
        command.args(["--log-filter", LOG_FILTER]);
        match &self.ca {
            Some(ca) => {
                command.args(["--broker", &format!("https://{}", self.grpc), "--ca-file"]).arg(ca)
            }
            None => command.args(["--broker", &format!("http://{}", self.grpc)]),
        };
        command
    }

    /// Runs an agent of a live cluster under a name of its own.
    pub async fn live_agent(&mut self, name: &str, command: Command) {
        self.launch(name, command, None).await;
    }

    async fn launch(&mut self, name: &str, command: Command, manifests: Option<PathBuf>) {
        let mut process = Process::start(name, command);
        let started = process.says("agent started").await;
        let http = started["http"].as_str().unwrap().parse().unwrap();
        self.agents.insert(name.to_owned(), Agent { process, http, manifests });
    }

    pub fn agent_of(&mut self, cluster: &str) -> &mut Agent {
        self.agents.get_mut(cluster).unwrap()
    }

    /// Writes a manifest of a cluster.
    pub fn write(&self, cluster: &str, name: &str, text: &str) {
        write_whole(&self.manifests(cluster).join(name), text);
    }

    /// Removes a manifest of a cluster.
    pub fn remove(&self, cluster: &str, name: &str) {
        std::fs::remove_file(self.manifests(cluster).join(name)).unwrap();
    }

    fn manifests(&self, cluster: &str) -> &Path {
        self.agents[cluster].manifests.as_deref().unwrap()
    }

    /// The agents.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }

    /// Where an agent answers.
    pub fn agent_http(&self, name: &str) -> SocketAddr {
        self.agents[name].http
    }

    /// The metrics of an agent.
    pub async fn metrics(&self, name: &str) -> String {
        try_get(self.agent_http(name), "/metrics").await.map(|(_, text)| text).unwrap_or_default()
    }

    /// An agent that is to be ended otherwise than in the end.
    pub fn take_agent(&mut self, name: &str) -> Agent {
        self.agents.remove(name).unwrap()
    }

    /// The status of an endpoint as its own cluster sees it, once it is as wanted.
    pub async fn status(
        &self,
        cluster: &str,
        object: &str,
        rtype: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let http = self.agents[cluster].http;
        eventually(&format!("the status of {object} {rtype} in {cluster}"), async || {
            let all = get_json(http, "/endpoints").await?;
            let key = |endpoint: &&Value| {
                endpoint["key"]["object"] == object && endpoint["key"]["record_type"] == rtype
            };
            match all.as_array().unwrap().iter().find(key) {
                Some(endpoint) if wanted(&endpoint["status"]) => Ok(endpoint["status"].clone()),
                Some(endpoint) => Err(format!(
                    "{}\nthe broker said\n{}",
                    endpoint["status"],
                    self.broker.output()
                )),
                None => Err(format!("no such endpoint among {all}")),
            }
        })
        .await
    }

    /// Waits until Route 53 has accepted what an endpoint wants.
    pub async fn applied(&self, cluster: &str, object: &str, rtype: &str) -> Value {
        let applied =
            |status: &Value| matches!(status["progress"].as_str(), Some("applied" | "in_sync"));
        self.status(cluster, object, rtype, applied).await
    }

    /// Waits until Route 53 has accepted everything that a cluster wants, as its manifests say it now.
    pub async fn all_applied(&self, cluster: &str) {
        let http = self.agents[cluster].http;
        eventually(&format!("everything of {cluster} is applied"), async || {
            let all = get_json(http, "/endpoints").await?;
            let is_applied = |endpoint: &&Value| {
                let status = &endpoint["status"];
                status["version"] == endpoint["version"]
                    && matches!(status["progress"].as_str(), Some("applied" | "in_sync"))
            };
            match all.as_array().unwrap().iter().find(|endpoint| !is_applied(endpoint)) {
                None => Ok(()),
                Some(endpoint) => {
                    Err(format!("{endpoint}\nthe broker said\n{}", self.broker.output()))
                }
            }
        })
        .await;
    }

    /// A cluster's endpoints and statuses, as the broker reports them.
    pub async fn endpoints(&self, cluster: &str) -> Result<Vec<Value>, String> {
        let page =
            get_json(self.http, &format!("/api/v1/endpoints?cluster={cluster}&limit=1000")).await?;
        assert_eq!(page["next"], Value::Null, "the list is longer than a page");
        Ok(page["items"].as_array().unwrap().clone())
    }

    /// The broker's journal, newest first.
    pub async fn changes(&self) -> Vec<Value> {
        let page = get_json(self.http, "/api/v1/changes?limit=1000").await.unwrap();
        assert_eq!(page["next"], Value::Null, "the journal is longer than a page");
        page["items"].as_array().unwrap().clone()
    }

    /// Stops everything, agents first, each cleanly; then looks for secrets in all that was said and shown.
    pub async fn finish(self, aws: &Aws) {
        let mut shown: Vec<(String, String)> = vec![];
        for page in PAGES {
            shown.push((format!("broker {page}"), try_get(self.http, page).await.unwrap().1));
        }
        for (cluster, agent) in self.agents {
            for page in ["/endpoints", "/statuses", "/metrics", "/readyz"] {
                shown.push((
                    format!("{cluster} {page}"),
                    try_get(agent.http, page).await.unwrap().1,
                ));
            }
            shown.push((cluster, agent.process.stop().await));
        }
        shown.push(("the broker's log".to_owned(), self.broker.stop().await));
        nothing_secret_in(&shown, aws);
    }
}

/// Fails when the agents' token, the broker's secret key, or a secret that STS handed out stands in a text.
pub fn nothing_secret_in(shown: &[(String, String)], aws: &Aws) {
    let mut secrets = vec![TOKEN.to_owned(), aws.secret.clone()];
    secrets.extend(aws.tap.secrets());
    for secret in &secrets {
        assert!(secret.len() >= 16, "the secret {secret:?} is too short to be looked for");
        for (place, text) in shown {
            assert!(!text.contains(secret.as_str()), "{place} shows the secret {secret}:\n{text}");
        }
    }
}
