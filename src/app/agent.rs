//! The agent as a process.

use std::process::ExitCode;

use tracing::info;

use super::signal;
use crate::agent::sources::{ClusterIps, ExtractOptions};
use crate::agent::{Agent, AgentConfig, BrokerAddress, ClientCertificate, ClusterUid, Material};
use crate::cli::AgentArgs;
use crate::telemetry;

/// Runs `zonefold agent`.
///
/// # Errors
/// The arguments cannot be used, a port is taken, or a part died.
pub async fn run(args: AgentArgs) -> anyhow::Result<ExitCode> {
    telemetry::init(&args.log.to_config())?;
    let token = match (args.token, args.token_file) {
        (Some(token), _) => Some(Material::text(token)),
        (None, Some(path)) => Some(Material::File(path)),
        (None, None) => None,
    };
    let certificate = match (args.certificate_file, args.key_file) {
        (Some(certificate_file), Some(key_file)) => Some(ClientCertificate { certificate_file, key_file }),
        _ => None,
    };
    let broker = BrokerAddress { url: args.broker, token, ca: args.ca_file.map(Material::File), certificate };
    let kube_system_uid = match args.kube_system_uid {
        Some(uid) => ClusterUid::Given(uid),
        None => ClusterUid::StateFile(args.uid_file),
    };
    let cluster_ips = if args.publish_internal_services { ClusterIps::Publish } else { ClusterIps::InternalHostnames };
    let bound = Agent::build(AgentConfig {
        cluster: args.cluster,
        kube_system_uid,
        broker,
        manifests: args.manifests,
        rescan: std::time::Duration::from_secs(args.rescan_secs),
        extract: ExtractOptions { cluster_ips },
        listen: Some(args.listen),
    })
    .await?;
    if let Some(http) = bound.handle().http_address() {
        info!(%http, "agent started");
    }
    bound.run(signal::shutdown()?).await?;
    Ok(ExitCode::SUCCESS)
}
