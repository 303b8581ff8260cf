//! The agent as a process.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use arcstr::ArcStr;
use tracing::info;

use super::signal;
use crate::adapters::clock::AnchoredClock;
use crate::agent::kube::filter::{Filter, Selector};
use crate::agent::kube::leader::LeaseOptions;
use crate::agent::kube::rbac::{self, Wanted};
use crate::agent::kube::world::Reading;
use crate::agent::kube::{self, Access, KubeOptions, Telling};
use crate::agent::manifests::ManifestOptions;
use crate::agent::sources::{ClusterIps, ExtractOptions, SourceKind};
use crate::agent::{
    Agent, AgentConfig, BrokerAddress, ClientCertificate, ClusterUid, KeepAlive, Material, Objects,
};
use crate::cli::{AgentArgs, AgentCommand, SourceArgs, release};
use crate::ports::Clock;
use crate::telemetry;

/// Runs `zonefold agent` and what is done around one.
///
/// # Errors
/// The arguments cannot be used, a port is taken, or a part died.
pub async fn run(args: AgentArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        None => serve(args).await,
        Some(AgentCommand::Release(args)) => release::run(args).await,
        Some(AgentCommand::Rbac(args)) => {
            let wanted = Wanted {
                name: args.name,
                sources: kinds(&args.sources)?,
                namespaces: namespaces(&args.sources),
                telling: telling(&args.sources),
                lease: args.sources.lease.clone(),
                service_account: args.service_account,
                agent_namespace: args.agent_namespace,
            };
            print!("{}", rbac::manifests(&wanted));
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn serve(args: AgentArgs) -> anyhow::Result<ExitCode> {
    telemetry::init(&args.log.to_config())?;
    let objects = objects(&args).await?;
    let token = match (args.token, args.token_file) {
        (Some(token), _) => Some(Material::text(token)),
        (None, Some(path)) => Some(Material::File(path)),
        (None, None) => None,
    };
    let certificate = match (args.certificate_file, args.key_file) {
        (Some(certificate_file), Some(key_file)) => {
            Some(ClientCertificate { certificate_file, key_file })
        }
        _ => None,
    };
    let broker = BrokerAddress {
        url: args.broker,
        token,
        ca: args.ca_file.map(Material::File),
        certificate,
        keep_alive: KeepAlive::default(),
    };
    let kube_system_uid = match (args.kube_system_uid, &objects) {
        (Some(uid), _) => ClusterUid::Given(uid),
        (None, Objects::Cluster(client, _)) => ClusterUid::Given(kube::cluster_uid(client).await?),
        (None, Objects::Manifests(_)) => ClusterUid::StateFile(args.uid_file),
    };
    let bound = Agent::build(AgentConfig {
        cluster: args.cluster.unwrap_or_default(),
        kube_system_uid,
        broker,
        objects,
        listen: Some(args.listen),
    })
    .await?;
    if let Some(http) = bound.handle().http_address() {
        info!(%http, "agent started");
    }
    bound.run(signal::shutdown()?).await?;
    Ok(ExitCode::SUCCESS)
}

/// Where the objects are, as the arguments say.
async fn objects(args: &AgentArgs) -> anyhow::Result<Objects> {
    let cluster_ips = if args.publish_internal_services {
        ClusterIps::Publish
    } else {
        ClusterIps::InternalHostnames
    };
    let extract = ExtractOptions { cluster_ips };
    if let Some(path) = args.manifests.clone() {
        let rescan = std::time::Duration::from_secs(args.rescan_secs);
        return Ok(Objects::Manifests(ManifestOptions { path, rescan, extract }));
    }
    let filter = Filter {
        namespaces: namespaces(&args.sources),
        labels: selector(args.label_filter.as_deref()).context("--label-filter cannot be used")?,
        annotations: selector(args.annotation_filter.as_deref())
            .context("--annotation-filter cannot be used")?,
        ingress_classes: args.ingress_class.iter().map(ArcStr::from).collect(),
    };
    let access = Access { kubeconfig: args.kubeconfig.clone(), context: args.kube_context.clone() };
    let client = access.connect().await?;
    let clock: Arc<dyn Clock> = Arc::new(AnchoredClock::system());
    let options = KubeOptions {
        sources: kinds(&args.sources)?,
        reading: Reading { filter, extract },
        telling: telling(&args.sources),
        lease: args.sources.lease.clone().map(|name| LeaseOptions {
            namespace: client.default_namespace().to_owned(),
            name,
            identity: identity(),
            clock: Arc::clone(&clock),
        }),
        clock,
    };
    Ok(Objects::Cluster(client, Box::new(options)))
}

/// This process's identity in a Lease: the host name (in a pod the pod's name) and a random part, new at each start.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}_{}", host.trim(), uuid::Uuid::new_v4())
}

fn selector(text: Option<&str>) -> anyhow::Result<Option<Selector>> {
    Ok(text.map(str::parse).transpose()?)
}

fn telling(args: &SourceArgs) -> Telling {
    if args.no_object_status { Telling::Nowhere } else { Telling::OnObjects }
}

/// The namespaces, each once.
fn namespaces(args: &SourceArgs) -> Vec<ArcStr> {
    let named: BTreeSet<&str> =
        args.namespace.iter().map(|name| name.trim()).filter(|name| !name.is_empty()).collect();
    named.into_iter().map(ArcStr::from).collect()
}

/// The kinds of objects, each once.
fn kinds(args: &SourceArgs) -> anyhow::Result<Vec<SourceKind>> {
    let parse = |name: &String| {
        SourceKind::parse(name.trim()).with_context(|| {
            let known = SourceKind::ALL.map(SourceKind::as_str).join(", ");
            format!("--source {name:?} is not a kind of object that is read: name some of {known}")
        })
    };
    let kinds = args.source.iter().map(parse).collect::<anyhow::Result<BTreeSet<_>>>()?;
    Ok(kinds.into_iter().collect())
}
