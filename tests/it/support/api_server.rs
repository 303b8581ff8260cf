//! A real API server of Kubernetes over an etcd of its own. It is asked through kubectl, as people ask it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::authority::{Authority, Files};
use super::folder::TestFolder;
use super::network::{free_address, post_json};
use super::process::{Process, clean, listening};
use super::wait::eventually;

/// The token of a person who may do everything.
const ADMIN: &str = "the-token-of-the-administrator-of-the-test-cluster";

/// The key that signs at first.
pub const FIRST_KEY: &str = "signing-1";

pub struct ApiServer {
    pub folder: TestFolder,
    pub address: SocketAddr,
    /// The way in of a person who may do everything.
    pub kubeconfig: PathBuf,
    /// The authority that signed the API server's certificate.
    pub ca: PathBuf,
    own: Files,
    etcd_address: SocketAddr,
    _etcd: Process,
    server: Option<Process>,
}

impl ApiServer {
    /// An empty cluster: an API server and its database. Nothing else runs in it, so no controller gives addresses, and no namespace
    /// ever ends.
    pub async fn start() -> Self {
        let (folder, authority) = (TestFolder::new(), Authority::new("kubernetes"));
        let ca = authority.write(&folder);
        let own =
            authority.write_signed(&folder, "api-server", &["127.0.0.1", "kubernetes.default.svc"]);
        folder.write("tokens.csv", &format!("{ADMIN},admin,1,system:masters\n"));
        new_signing_key(&folder, FIRST_KEY);
        let (etcd, etcd_address) = etcd(&folder).await;
        let mut server = Self {
            address: free_address(),
            kubeconfig: folder.path("admin.kubeconfig"),
            folder,
            ca,
            own,
            etcd_address,
            _etcd: etcd,
            server: None,
        };
        for _ in 0..5 {
            if server.launches(&[FIRST_KEY]).await {
                return server;
            }
            // Another process took the port in between.
            server.address = free_address();
        }
        panic!("the API server does not start; its words stand above");
    }

    /// Its own issuer of tokens, whose keys it serves itself.
    pub fn issuer(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Ends it at once.
    pub async fn kill(&mut self) {
        self.server.take().unwrap().kill().await;
    }

    /// Starts it again, at the same address; it knows all these keys and signs with the last one.
    pub async fn launch(&mut self, signing_keys: &[&str]) {
        assert!(
            self.launches(signing_keys).await,
            "the API server does not start; its words stand above"
        );
    }

    async fn launches(&mut self, signing_keys: &[&str]) -> bool {
        std::fs::write(&self.kubeconfig, self.kubeconfig_text(ADMIN, "default")).unwrap();
        let mut process = Process::start("kube-apiserver", self.command(signing_keys));
        let ready = eventually("the API server is ready", async || {
            match self.try_kubectl(&["get", "--raw", "/readyz"]).await {
                Ok(_) => Ok(true),
                Err(_) if process.has_ended() => Ok(false),
                Err(reason) => Err(format!("{reason}\n{}", process.output())),
            }
        });
        let ready = ready.await;
        if ready {
            self.server = Some(process);
        } else {
            eprintln!("the API server ended:\n{}", process.output());
        }
        ready
    }

    fn command(&self, signing_keys: &[&str]) -> Command {
        let file = |name: &str| self.folder.path(name).display().to_string();
        let mut command = clean(program("kube-apiserver"), &self.folder.path(""));
        command.arg(format!("--etcd-servers=http://{}", self.etcd_address));
        command.args([
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
        ]);
        command.arg(format!("--secure-port={}", self.address.port()));
        command.arg(format!("--tls-cert-file={}", self.own.certificate.display()));
        command.arg(format!("--tls-private-key-file={}", self.own.key.display()));
        command.arg(format!("--token-auth-file={}", file("tokens.csv")));
        command.args(["--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16"]);
        // No controller makes the service accounts that this plugin would give to pods.
        command.arg("--disable-admission-plugins=ServiceAccount");
        command.arg(format!("--service-account-issuer={}", self.issuer()));
        command.arg(format!("--service-account-jwks-uri={}/openid/v1/jwks", self.issuer()));
        command.args(
            signing_keys
                .iter()
                .map(|key| format!("--service-account-key-file={}", file(&format!("{key}.pub")))),
        );
        let signs = signing_keys.last().copied().unwrap_or_default();
        command
            .arg(format!("--service-account-signing-key-file={}", file(&format!("{signs}.key"))));
        command
    }

    /// The kubeconfig of a user with the token, for a namespace.
    pub fn kubeconfig_text(&self, token: &str, namespace: &str) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": { "server": self.issuer(), "certificate-authority": self.ca } }],
            "users": [{ "name": "test", "user": { "token": token } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test", "namespace": namespace } }],
        })
        .to_string()
    }

    /// The output of kubectl, or its error output if it fails.
    pub async fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.run_kubectl(arguments, "").await
    }

    async fn run_kubectl(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut command = clean(program("kubectl"), &self.folder.path(""));
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // It may end without reading.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// The output of kubectl, which has to succeed.
    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments)
            .await
            .unwrap_or_else(|reason| panic!("kubectl {arguments:?}: {reason}"))
    }

    /// Applies the CRDs of a project in the version that the setup fetched, and waits until they are served.
    pub async fn install_crds(&self, project: &str) {
        self.install_crd(&programs().join("crds").join(project)).await;
    }

    /// Applies a CRD, or a folder of them, and waits until they are served.
    pub async fn install_crd(&self, path: &Path) {
        let path = path.to_str().unwrap();
        self.kubectl(&["apply", "--server-side", "--filename", path]).await;
        self.kubectl(&[
            "wait",
            "--for",
            "condition=Established",
            "crd",
            "--all",
            "--timeout",
            "60s",
        ])
        .await;
    }

    /// Applies manifests.
    pub async fn apply(&self, manifests: &str) {
        let applied = self.run_kubectl(&["apply", "--filename", "-"], manifests).await;
        applied.unwrap_or_else(|reason| panic!("{reason}\n{manifests}"));
    }

    /// Sets the status of an object, as its controller would.
    pub async fn set_status(&self, namespace: &str, object: &str, status: &Value) {
        let patch = json!({ "status": status }).to_string();
        self.kubectl(&[
            "--namespace",
            namespace,
            "patch",
            object,
            "--subresource",
            "status",
            "--type",
            "merge",
            "--patch",
            &patch,
        ])
        .await;
    }

    /// An object, or a list of them, as JSON.
    pub async fn get(&self, namespace: &str, what: &str) -> Value {
        serde_json::from_str(
            &self.kubectl(&["--namespace", namespace, "get", what, "--output", "json"]).await,
        )
        .unwrap()
    }

    /// The token of a service account for an audience; `None` if that is the API server itself.
    pub async fn token(&self, namespace: &str, account: &str, audience: Option<&str>) -> String {
        let mut arguments = vec!["--namespace", namespace, "create", "token", account];
        arguments.extend(audience.map(|audience| ["--audience", audience]).into_iter().flatten());
        self.kubectl(&arguments).await.trim().to_owned()
    }

    /// The API server's revision of its database's present.
    pub async fn revision(&self) -> u64 {
        let list: Value =
            serde_json::from_str(&self.kubectl(&["get", "--raw", "/api/v1/namespaces"]).await)
                .unwrap();
        list["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
    }

    /// Lets the database forget its history up to a revision.
    pub async fn forget(&self, revision: u64) {
        post_json(
            self.etcd_address,
            "/v3/kv/compaction",
            &json!({ "revision": revision, "physical": true }),
        )
        .await;
    }
}

/// Makes a key that signs tokens: ECDSA on P-256, as `NAME.key` and `NAME.pub`.
pub fn new_signing_key(folder: &TestFolder, name: &str) {
    let pair = rcgen::KeyPair::generate().unwrap();
    folder.write(&format!("{name}.key"), &pair.serialize_pem());
    folder.write(&format!("{name}.pub"), &pair.public_key_pem());
}

/// Starts etcd on ports of its own.
async fn etcd(folder: &TestFolder) -> (Process, SocketAddr) {
    listening("etcd", "/health", |address| {
        let mut command = clean("etcd", &folder.path(""));
        command.arg("--data-dir").arg(folder.path(&format!("etcd-{}", address.port())));
        command
            .arg(format!("--listen-client-urls=http://{address}"))
            .arg(format!("--advertise-client-urls=http://{address}"));
        // A database alone has no peers, but it wants to have a port for them.
        command.args([
            "--listen-peer-urls=http://127.0.0.1:0",
            "--initial-advertise-peer-urls=http://127.0.0.1:0",
        ]);
        command.arg("--initial-cluster=default=http://127.0.0.1:0");
        command
    })
    .await
}

/// The folder of the programs that the setup builds.
pub fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/kubernetes")
}

fn program(name: &str) -> PathBuf {
    let path = programs().join(name);
    assert!(path.exists(), "{} is not there: run make setup", path.display());
    path
}
