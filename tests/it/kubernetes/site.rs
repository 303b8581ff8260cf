//! A cluster with a real API server, our emulator, and a broker that knows the cluster by its service account.

use std::path::PathBuf;

use serde_json::{Value, json};
use zonefold::emulator::EmulatorHandle;

use crate::support::api_server::ApiServer;
use crate::support::authority::Authority;
use crate::support::aws::{self, Aws};
use crate::support::deployment::{Deployment, configuration, sqlite};
use crate::support::folder::TestFolder;
use crate::support::network::try_get;
use crate::support::process::zonefold;
use crate::support::wait::{eventually, eventually_equal};

/// The cluster, as the broker knows it.
const CLUSTER: &str = "dev-east";
/// The namespace of the objects.
pub const SHOP: &str = "shop";
/// The namespace of the agent.
const HOME: &str = "zonefold";
const ACCOUNT: &str = "zonefold-agent";

pub struct KubeSite {
    pub api: ApiServer,
    pub aws: Aws,
    pub deployment: Deployment,
    emulator: EmulatorHandle,
}

/// The environment's zone is dev.example.com.
pub fn host(label: &str) -> String {
    format!("{label}.dev.example.com")
}

impl KubeSite {
    /// No agent runs yet.
    pub async fn start() -> Self {
        let (api, (emulator, aws)) = tokio::join!(ApiServer::start(), aws::emulated());
        for arguments in [
            &["create", "namespace", HOME][..],
            &["create", "namespace", SHOP],
            &["--namespace", HOME, "create", "serviceaccount", ACCOUNT],
        ] {
            api.kubectl(arguments).await;
        }
        let (folder, authority) = (TestFolder::new(), Authority::new("broker-ca"));
        let ca = authority.write(&folder);
        let own = authority.write_signed(&folder, "broker", &["127.0.0.1"]);
        let mut configuration = configuration(&folder, &sqlite(&folder), aws.configured());
        let keys =
            folder.write("keys.json", &api.kubectl(&["get", "--raw", "/openid/v1/jwks"]).await);
        configuration["clusters"][0]["identity"]["service_account"] = json!({ "issuer": api.issuer(), "namespace": HOME, "name": ACCOUNT, "keys_file": keys });
        configuration["listen"]["tls"] = json!({ "certificate_file": own.certificate, "key_file": own.key, "listeners": ["grpc"] });
        let mut deployment = Deployment::start(folder, &aws, &configuration).await;
        deployment.ca = Some(ca);
        Self { api, aws, deployment, emulator }
    }

    /// The same with an agent of the name `agent` that has the rights for these options.
    pub async fn with_agent(options: &[&str]) -> Self {
        let mut site = Self::start().await;
        site.grant(options).await;
        site.agent("agent", options).await;
        site
    }

    /// Gives the agent the rights that it says it needs with these options.
    pub async fn grant(&self, options: &[&str]) {
        self.api.apply(&self.said_by(&["agent", "rbac"], options).await).await;
    }

    /// Runs the agent of the cluster, with a token for the broker and one for the API server.
    pub async fn agent(&mut self, name: &str, options: &[&str]) {
        self.agent_as(name, CLUSTER, Some("zonefold"), options).await;
    }

    /// The same as a cluster, with a token for an audience.
    pub async fn agent_as(
        &mut self,
        name: &str,
        cluster: &str,
        audience: Option<&str>,
        options: &[&str],
    ) {
        let folder = &self.deployment.folder;
        let token =
            folder.write(&format!("{name}-token"), &self.api.token(HOME, ACCOUNT, audience).await);
        let mut command = self.deployment.command(cluster);
        command.args(["--kubernetes", "--kubeconfig"]).arg(self.way_in(name).await);
        command.arg("--token-file").arg(token).args(options);
        self.deployment.live_agent(name, command).await;
    }

    /// A kubeconfig of the agent.
    async fn way_in(&self, name: &str) -> PathBuf {
        let token = self.api.token(HOME, ACCOUNT, None).await;
        self.deployment
            .folder
            .write(&format!("{name}.kubeconfig"), &self.api.kubeconfig_text(&token, HOME))
    }

    /// Waits until Route 53 holds exactly these values of a name and type.
    pub async fn holds(&self, name: &str, rtype: &str, values: &[&str]) {
        let wanted = (!values.is_empty())
            .then(|| values.iter().map(ToString::to_string).collect::<Vec<_>>());
        eventually(&format!("Route 53 holds {name} {rtype} {values:?}"), async || {
            let held = self.values(name, rtype).await;
            if held == wanted { Ok(()) } else { Err(format!("{held:?}\n{}", self.said())) }
        })
        .await;
    }

    /// The values that Route 53 holds of a name and type.
    pub async fn values(&self, name: &str, rtype: &str) -> Option<Vec<String>> {
        self.aws.answer("dev", name, rtype).await.map(|(_, values)| values)
    }

    fn said(&self) -> String {
        self.deployment.agents().map(|agent| agent.process.output()).collect()
    }

    /// Waits for an Event of an object with this reason whose message has all of these words.
    pub async fn tells(&self, object: &str, reason: &str, words: &[&str]) {
        eventually(&format!("an Event {reason} of {object} with {words:?}"), async || {
            let events = self.events(object).await;
            let fits = |(_, found, message): &&(String, String, String)| {
                found == reason && words.iter().all(|word| message.contains(word))
            };
            events.iter().find(fits).map(|_| ()).ok_or_else(|| format!("{events:?}"))
        })
        .await;
    }

    /// The Events of an object: type, reason and message.
    pub async fn events(&self, object: &str) -> Vec<(String, String, String)> {
        let all = self.api.get(SHOP, "events").await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let of_object = all["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| event["involvedObject"]["name"] == object);
        of_object
            .map(|event| (text(&event["type"]), text(&event["reason"]), text(&event["message"])))
            .collect()
    }

    /// Waits until a source of an agent is synced, or is not.
    pub async fn source_is(&self, agent: &str, source: &str, synced: bool) {
        let line =
            format!("zonefold_agent_source_synced{{source=\"{source}\"}} {}", u8::from(synced));
        eventually_equal(&line, true, async || {
            self.deployment.metrics(agent).await.lines().any(|found| found == line)
        })
        .await;
    }

    /// Waits until an agent says that it is ready.
    pub async fn is_ready(&self, agent: &str) {
        let http = self.deployment.agent_http(agent);
        eventually(&format!("{agent} is ready"), async || match try_get(http, "/readyz").await {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }

    /// The endpoints that an agent keeps although nothing that it sees asks for them, as `name because`.
    pub async fn kept(&self, agent: &str) -> Vec<String> {
        let output = self.release(agent, &["--output", "json"]).await;
        let kept: Value = serde_json::from_str(&output).unwrap();
        let mut kept: Vec<String> = kept
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                format!(
                    "{} {}",
                    one["dns_name"].as_str().unwrap(),
                    one["standing"].as_str().unwrap()
                )
            })
            .collect();
        kept.sort();
        kept
    }

    /// Waits until an agent keeps exactly this.
    pub async fn is_kept(&self, agent: &str, wanted: &[String]) {
        eventually_equal("what is kept", wanted.to_vec(), async || self.kept(agent).await).await;
    }

    /// `zonefold agent release` with these arguments.
    pub async fn release(&self, agent: &str, arguments: &[&str]) -> String {
        let url = format!("http://{}", self.deployment.agent_http(agent));
        self.said_by(&["agent", "release", "--agent", &url], arguments).await
    }

    /// The output of a command, which has to succeed.
    async fn said_by(&self, command: &[&str], arguments: &[&str]) -> String {
        let mut command = zonefold(&self.deployment.folder.path(""), command);
        let output = command.args(arguments).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Ends all of it, cleanly; nothing secret was said.
    pub async fn finish(self) {
        assert_eq!(self.emulator.control().blind_overwrites(), []);
        self.deployment.finish(&self.aws).await;
        self.emulator.stop().await;
    }
}

/// A Service with a host name; what its controller would do is left to the test.
pub fn service(name: &str, host: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: {SHOP}
  annotations: {{external-dns.kubernetes.io/hostname: {host}, external-dns.kubernetes.io/ttl: \"60\"}}
spec: {spec}
"
    )
}

/// Of type LoadBalancer.
pub const BALANCED: &str = "{type: LoadBalancer, ports: [{port: 443}]}";

/// The status of what has load balancers at these addresses.
pub fn balanced(addresses: &[&str]) -> Value {
    json!({ "loadBalancer": { "ingress": addresses.iter().map(|ip| json!({ "ip": ip })).collect::<Vec<_>>() } })
}

/// A DNSEndpoint with one A record.
pub fn dns_endpoint(name: &str, host: &str, target: &str) -> String {
    format!(
        "apiVersion: externaldns.k8s.io/v1alpha1
kind: DNSEndpoint
metadata: {{name: {name}, namespace: {SHOP}}}
spec:
  endpoints: [{{dnsName: {host}, recordType: A, recordTTL: 60, targets: [{target}]}}]
"
    )
}
