//! The command line. Every option is also an environment variable `ZONEFOLD_…`.

pub mod audit;
pub mod batch;
pub mod client;
pub mod cluster;
pub mod credentials;
pub mod get;
pub mod handover;
pub mod holds;
pub mod login;
pub mod notifications;
pub mod output;
pub mod release;
pub mod reroute;
pub mod rules;
pub mod sharing;
pub mod status;
pub mod store;
pub mod token;
pub mod tokens;
pub mod why;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args, Parser, Subcommand};

use crate::config::{ConfigOverrides, Log, LogFormat, Secret};

/// The coordinator between many Kubernetes clusters and many Route 53 accounts.
#[derive(Debug, Parser)]
#[command(name = "zonefold", version, about, max_term_width = 110)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// One subcommand a role.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything on this machine: emulated AWS accounts, a broker, an agent for each example cluster
    #[command(
        after_help = "Example:\n  zonefold dev\n  zonefold dev --data ./zonefold-data    # keeps its state over restarts"
    )]
    Dev(DevArgs),
    /// Run the broker
    #[command(after_help = "Example:\n  zonefold broker --config broker.yaml")]
    Broker(BrokerArgs),
    /// Run the agent of one cluster
    #[command(
        after_help = "Examples:\n  zonefold agent --cluster dev-east --manifests ./manifests --broker http://127.0.0.1:7443 --token-file ./token\n  zonefold agent --cluster dev-east --kubernetes --source service,ingress,dnsendpoint --broker https://broker:7443 --ca-file ca.pem --token-file ./token",
        args_conflicts_with_subcommands = true,
        subcommand_negates_reqs = true
    )]
    Agent(Box<AgentArgs>),
    /// Show accounts, zones, clusters, and the endpoints that are not fine
    #[command(after_help = "Example:\n  zonefold status --cluster dev-east --watch")]
    Status(status::StatusArgs),
    /// Say why a name is what it is
    #[command(after_help = "Example:\n  zonefold why app.dev.example.com")]
    Why(why::WhyArgs),
    /// Place names anew whose zone was made again under another id
    #[command(after_help = "Example:\n  zonefold reroute dev.example.com --below")]
    Reroute(reroute::RerouteArgs),
    /// Show the rules, what guards hold, or what was asked for
    #[command(
        after_help = "Examples:\n  zonefold get grants\n  zonefold get --documents yaml > rules.yaml\n  zonefold get holds"
    )]
    Get(get::GetArgs),
    /// Show one thing whole
    #[command(subcommand)]
    Describe(holds::DescribeCommand),
    /// Let a hold go: what a guard keeps back until people have seen it
    #[command(
        after_help = "Example:\n  zonefold approve 5d31fd7c8fc0 --comment \"the shop is closed for good\""
    )]
    Approve(holds::ApproveArgs),
    /// Say no to a hold: it stays held
    #[command(after_help = "Example:\n  zonefold deny 5d31fd7c8fc0 --comment \"a mistake\"")]
    Deny(holds::DenyArgs),
    /// Write rules to the store: all in the files, or none
    #[command(after_help = "Example:\n  zonefold apply -f rules/ --preview")]
    Apply(rules::ApplyArgs),
    /// Remove a rule from the store
    #[command(
        after_help = "Example:\n  zonefold delete grant shop-in-dev-east --reason \"the shop has moved\""
    )]
    Delete(rules::DeleteArgs),
    /// Who decided what, when, from where and why
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Send a notification again that could not be delivered
    #[command(
        after_help = "Example:\n  zonefold get notifications --state dead\n  zonefold resend 17-oncall"
    )]
    Resend(notifications::ResendArgs),
    /// What is done about the broker's store
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Change the weights by which clusters share a name
    #[command(
        after_help = "Example:\n  zonefold weight app.dev.example.com dev-east=90 dev-west=10 --reason \"a canary\""
    )]
    Weight(sharing::WeightArgs),
    /// Have another cluster answer for a name that people fail over
    #[command(
        after_help = "Example:\n  zonefold failover app.dev.example.com --to dev-west --reason \"dev-east is down\""
    )]
    Failover(sharing::ManualFailoverArgs),
    /// Pass names from one cluster to another
    #[command(subcommand)]
    Handover(handover::HandoverCommand),
    /// What is done about a cluster without its agent
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Sign in at a broker, by a browser or with a token, for the commands that ask it
    #[command(
        after_help = "Examples:\n  zonefold login --broker https://zonefold.example.com\n  zonefold login --with-token < ./token"
    )]
    Login(login::LoginArgs),
    /// End the session at a broker, and forget it here
    #[command(after_help = "Example:\n  zonefold logout --broker https://zonefold.example.com")]
    Logout(login::LogoutArgs),
    /// Make a token for the REST API or for a cluster's agent, and the entry of the broker's configuration that knows it; or make one
    /// that the broker keeps, or take it back
    #[command(
        after_help = "Examples:\n  zonefold token --role viewer --name dashboard --out ./api-token\n  zonefold token create \"my laptop\"",
        args_conflicts_with_subcommands = true,
        subcommand_negates_reqs = true
    )]
    Token(token::TokenArgs),
    /// Run the emulator of Route 53 and STS
    #[command(
        after_help = "Example:\n  zonefold emulator --config emulator.yaml --state ./emulator.json"
    )]
    Emulator(EmulatorArgs),
    /// Say where the benchmarks are
    #[command(hide = true, disable_help_flag = true)]
    Bench {
        /// Not read
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// Says where the benchmarks are. The exit code is that of a command line that cannot be used.
pub fn refer_to_bench() -> ExitCode {
    eprintln!(
        "zonefold: benchmarks are in the binary zonefold-bench: build it in the source tree with \
         `cargo build --release --bin zonefold-bench`, and run `./target/release/zonefold-bench --help`"
    );
    ExitCode::from(2)
}

/// The level and the form of the log.
#[derive(Clone, Debug, Args)]
pub struct LogArgs {
    /// Form of the log: text or json
    #[arg(long, env = "ZONEFOLD_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Directives such as info or info,zonefold::broker=debug
    #[arg(long, env = "ZONEFOLD_LOG_FILTER", default_value = "info")]
    pub log_filter: String,
}

impl LogArgs {
    /// As the configuration would say it.
    pub fn to_config(&self) -> Log {
        Log { format: self.log_format, filter: self.log_filter.clone() }
    }
}

/// Arguments of `zonefold dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// Keep the state in this folder over restarts; without it a temporary folder is used and removed
    #[arg(long, env = "ZONEFOLD_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// A folder with one folder of manifests for each cluster, named ENVIRONMENT-NAME (dev-, stage-, prod-)
    #[arg(
        long,
        env = "ZONEFOLD_CLUSTERS",
        value_name = "DIR",
        default_value = "examples/clusters"
    )]
    pub clusters: PathBuf,
    /// Listen on free ports instead of the usual ones
    #[arg(long, env = "ZONEFOLD_FREE_PORTS")]
    pub free_ports: bool,
    /// Where the broker keeps what it knows; by default SQLite in the data folder
    #[arg(long, env = "ZONEFOLD_STORE", value_name = "URL")]
    pub store: Option<String>,
    /// Log lines instead of the live view, also on a terminal
    #[arg(long, env = "ZONEFOLD_PLAIN")]
    pub plain: bool,
    /// Write the addresses as JSON to this file once everything runs
    #[arg(long, env = "ZONEFOLD_ADDRESSES_FILE", value_name = "FILE")]
    pub addresses_file: Option<PathBuf>,
    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Arguments of `zonefold broker`.
#[derive(Debug, Args)]
pub struct BrokerArgs {
    /// The configuration file (YAML); it is read again when it changes
    #[arg(long, env = "ZONEFOLD_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
    /// Overrides `store`
    #[arg(long, env = "ZONEFOLD_STORE", value_name = "URL")]
    pub store: Option<String>,
    /// Overrides `listen.grpc`
    #[arg(long, env = "ZONEFOLD_LISTEN_GRPC", value_name = "ADDRESS")]
    pub listen_grpc: Option<SocketAddr>,
    /// Overrides `listen.http`
    #[arg(long, env = "ZONEFOLD_LISTEN_HTTP", value_name = "ADDRESS")]
    pub listen_http: Option<SocketAddr>,
    /// Overrides `listen.advertise`
    #[arg(long, env = "ZONEFOLD_LISTEN_ADVERTISE", value_name = "HOST:PORT")]
    pub listen_advertise: Option<String>,
    /// Overrides `agents.token_file`
    #[arg(long, env = "ZONEFOLD_AGENTS_TOKEN_FILE", value_name = "FILE")]
    pub agents_token_file: Option<PathBuf>,
    /// The secret of the client at the identity provider, in place of `oidc.client_secret_file`; better in a file
    #[arg(
        long,
        env = "ZONEFOLD_OIDC_CLIENT_SECRET",
        value_name = "SECRET",
        hide_env_values = true
    )]
    pub oidc_client_secret: Option<Secret>,
    /// Overrides `log.format`
    #[arg(long, env = "ZONEFOLD_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Overrides `log.filter`
    #[arg(long, env = "ZONEFOLD_LOG_FILTER", value_name = "FILTER")]
    pub log_filter: Option<String>,
}

impl BrokerArgs {
    /// The values that override the file.
    pub fn overrides(&self) -> ConfigOverrides {
        ConfigOverrides {
            store: self.store.clone(),
            listen_grpc: self.listen_grpc,
            listen_http: self.listen_http,
            listen_advertise: self.listen_advertise.clone(),
            agents_token_file: self.agents_token_file.clone(),
            oidc_client_secret: self.oidc_client_secret.clone(),
            log_format: self.log_format,
            log_filter: self.log_filter.clone(),
        }
    }
}

/// Tasks around an agent.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Print the RBAC that the agent needs for its sources, to apply with kubectl
    #[command(
        after_help = "Example:\n  zonefold agent rbac --source service,ingress,dnsendpoint | kubectl apply -f -"
    )]
    Rbac(RbacArgs),
    /// Show what an agent keeps although no object that it sees asks for it, or release it
    #[command(
        after_help = "Examples:\n  zonefold agent release                        # lists the kept endpoints, and releases nothing\n  zonefold agent release --source dnsendpoint --namespace shop"
    )]
    Release(release::ReleaseArgs),
}

/// Which objects of a live cluster are read.
#[derive(Clone, Debug, Args)]
pub struct SourceArgs {
    /// The kinds of objects that are read from a live cluster: service, ingress, dnsendpoint, f5-virtualserver,
    /// f5-transportserver, nginx-virtualserver, gateway-httproute, gateway-grpcroute, gateway-tlsroute, gateway-tcproute,
    /// gateway-udproute
    #[arg(
        long,
        env = "ZONEFOLD_SOURCE",
        value_name = "SOURCE",
        value_delimiter = ',',
        default_value = "service,ingress"
    )]
    pub source: Vec<String>,
    /// Only objects in these namespaces; without it in all
    #[arg(long, env = "ZONEFOLD_NAMESPACE", value_name = "NAMESPACE", value_delimiter = ',')]
    pub namespace: Vec<String>,
    /// Several agents of this cluster run, and the holder of this Lease, in the agent's namespace, is the one that speaks to the broker
    #[arg(long, env = "ZONEFOLD_LEASE", value_name = "NAME")]
    pub lease: Option<String>,
    /// Write neither Events nor conditions on the objects of a live cluster
    #[arg(long, env = "ZONEFOLD_NO_OBJECT_STATUS")]
    pub no_object_status: bool,
}

/// Arguments of `zonefold agent rbac`.
#[derive(Clone, Debug, Args)]
pub struct RbacArgs {
    /// What the agent reads.
    #[command(flatten)]
    pub sources: SourceArgs,
    /// The name of the roles and their bindings; agents of one cluster that read different things need different names
    #[arg(long, env = "ZONEFOLD_RBAC_NAME", value_name = "NAME", default_value = "zonefold-agent")]
    pub name: String,
    /// The service account of the agent
    #[arg(
        long,
        env = "ZONEFOLD_SERVICE_ACCOUNT",
        value_name = "NAME",
        default_value = "zonefold-agent"
    )]
    pub service_account: String,
    /// The namespace of that service account
    #[arg(
        long,
        env = "ZONEFOLD_AGENT_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = "zonefold"
    )]
    pub agent_namespace: String,
}

/// The arguments that have no meaning for a folder.
const LIVE_ONLY: [&str; 10] = [
    "kubernetes",
    "kubeconfig",
    "kube_context",
    "source",
    "namespace",
    "lease",
    "no_object_status",
    "label_filter",
    "annotation_filter",
    "ingress_class",
];

/// Arguments of `zonefold agent`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("objects").args(["manifests", "kubernetes"]).required(true)))]
pub struct AgentArgs {
    /// A task around an agent; `None` to run one.
    #[command(subcommand)]
    pub command: Option<AgentCommand>,
    /// The name under which the cluster is registered at the broker
    #[arg(long, env = "ZONEFOLD_CLUSTER", required = true)]
    pub cluster: Option<String>,
    /// Read the objects from a folder of Kubernetes manifests
    #[arg(long, env = "ZONEFOLD_MANIFESTS", value_name = "DIR", conflicts_with_all = LIVE_ONLY)]
    pub manifests: Option<PathBuf>,
    /// Read the objects from a live cluster: that of --kubeconfig, else that of the pod
    #[arg(long, env = "ZONEFOLD_KUBERNETES")]
    pub kubernetes: bool,
    /// The kubeconfig of the live cluster; without it the usual one, else the service account of the pod
    #[arg(long, env = "ZONEFOLD_KUBECONFIG", requires = "kubernetes", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig; without it the current one
    #[arg(long, env = "ZONEFOLD_KUBE_CONTEXT", requires = "kubernetes", value_name = "CONTEXT")]
    pub kube_context: Option<String>,
    /// Which objects.
    #[command(flatten)]
    pub sources: SourceArgs,
    /// Only objects with these labels, as a selector: team=shop,tier in (web,api)
    #[arg(long, env = "ZONEFOLD_LABEL_FILTER", requires = "kubernetes", value_name = "SELECTOR")]
    pub label_filter: Option<String>,
    /// Only objects with these annotations, as a selector
    #[arg(
        long,
        env = "ZONEFOLD_ANNOTATION_FILTER",
        requires = "kubernetes",
        value_name = "SELECTOR"
    )]
    pub annotation_filter: Option<String>,
    /// Only ingresses of these classes
    #[arg(
        long,
        env = "ZONEFOLD_INGRESS_CLASS",
        requires = "kubernetes",
        value_name = "CLASS",
        value_delimiter = ','
    )]
    pub ingress_class: Vec<String>,
    /// The broker's gRPC address
    #[arg(
        long,
        env = "ZONEFOLD_BROKER_GRPC",
        value_name = "URL",
        default_value = "http://127.0.0.1:7443"
    )]
    pub broker: String,
    /// The token that proves the agent; better in a file
    #[arg(long, env = "ZONEFOLD_TOKEN", hide_env_values = true, conflicts_with = "token_file")]
    pub token: Option<String>,
    /// A file that holds the token, such as a projected service-account token; it is read again for each session
    #[arg(long, env = "ZONEFOLD_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// A client certificate (PEM) that proves the agent; read again when it changes
    #[arg(long, env = "ZONEFOLD_CERTIFICATE_FILE", value_name = "FILE", requires = "key_file")]
    pub certificate_file: Option<PathBuf>,
    /// The key of the client certificate (PEM)
    #[arg(long, env = "ZONEFOLD_KEY_FILE", value_name = "FILE", requires = "certificate_file")]
    pub key_file: Option<PathBuf>,
    /// The certificate authority of the broker (PEM), for https
    #[arg(long, env = "ZONEFOLD_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The UID of the namespace kube-system; without it a live cluster is asked, and for a folder one is made once and kept in
    /// --uid-file
    #[arg(long, env = "ZONEFOLD_KUBE_SYSTEM_UID", value_name = "UID")]
    pub kube_system_uid: Option<String>,
    /// Where the UID of a folder's cluster is kept when none is given
    #[arg(
        long,
        env = "ZONEFOLD_UID_FILE",
        value_name = "FILE",
        default_value = "zonefold-cluster-uid"
    )]
    pub uid_file: PathBuf,
    /// Publish ClusterIP services that have the hostname annotation (as ExternalDNS's --publish-internal-services)
    #[arg(long, env = "ZONEFOLD_PUBLISH_INTERNAL_SERVICES")]
    pub publish_internal_services: bool,
    /// Read the whole folder again at least this often, in seconds
    #[arg(long, env = "ZONEFOLD_RESCAN_SECS", value_name = "SECS", default_value_t = 60)]
    pub rescan_secs: u64,
    /// Health, metrics and endpoints
    #[arg(
        long,
        env = "ZONEFOLD_AGENT_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:7081"
    )]
    pub listen: SocketAddr,
    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Arguments of `zonefold emulator`.
#[derive(Debug, Args)]
pub struct EmulatorArgs {
    /// The configuration file (YAML)
    #[arg(long, env = "ZONEFOLD_EMULATOR_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
    /// Keep zones and records in this file over restarts
    #[arg(long, env = "ZONEFOLD_EMULATOR_STATE", value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn whatever_is_asked_of_the_benchmarks_is_answered_with_where_they_are() {
        for line in ["", "drain", "drain --profile 2026 --output json", "--help", "--seed=1 -- x"] {
            let line = format!("zonefold bench {line}");
            let cli = super::Cli::try_parse_from(line.split_whitespace()).unwrap();
            assert!(matches!(cli.command, super::Command::Bench { .. }), "{line}");
        }
    }

    #[test]
    fn an_agent_needs_a_cluster_and_objects_and_what_is_done_around_one_does_not() {
        let parses = |line: &str| super::Cli::try_parse_from(line.split_whitespace()).is_ok();
        assert!(parses("zonefold agent --cluster east --manifests m"));
        assert!(parses(
            "zonefold agent --cluster east --kubernetes --namespace shop,web --label-filter team"
        ));
        assert!(parses("zonefold agent release") && parses("zonefold agent rbac --source service"));
        for line in [
            "--cluster east",
            "--manifests m",
            "--cluster east --manifests m --kubernetes",
            "--cluster east --manifests m --label-filter team",
            "--cluster east --manifests m --namespace shop",
            "--cluster east --kubernetes --manifests m --kubeconfig c",
            "--cluster east --kubeconfig c",
            "--cluster east --namespace shop",
        ] {
            assert!(!parses(&format!("zonefold agent {line}")), "{line}");
        }
    }
}
