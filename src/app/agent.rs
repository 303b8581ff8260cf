//! The agent as a process.

use std::process::ExitCode;

use anyhow::Context;
use tracing::info;

use super::signal;
use crate::agent::sources::{ClusterIps, ExtractOptions};
use crate::agent::{Agent, AgentConfig, ClusterUid};
use crate::cli::AgentArgs;
use crate::telemetry;

/// Runs `zonefold agent`.
///
/// # Errors
/// The arguments cannot be used, a port is taken, or a part died.
pub async fn run(args: AgentArgs) -> anyhow::Result<ExitCode> {
    telemetry::init(&args.log.to_config())?;
    let token = match (&args.token, &args.token_file) {
        (Some(token), _) => Some(token.clone()),
        (None, Some(path)) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("the token file {} cannot be read", path.display()))?;
            Some(text.trim().to_owned())
        }
        (None, None) => None,
    };
    let ca_pem = match &args.ca_file {
        Some(path) => Some(std::fs::read(path).with_context(|| format!("the CA file {} cannot be read", path.display()))?),
        None => None,
    };
    let kube_system_uid = match args.kube_system_uid {
        Some(uid) => ClusterUid::Given(uid),
        None => ClusterUid::StateFile(args.uid_file),
    };
    let cluster_ips = if args.publish_internal_services { ClusterIps::Publish } else { ClusterIps::InternalHostnames };
    let bound = Agent::build(AgentConfig {
        cluster: args.cluster,
        kube_system_uid,
        broker_url: args.broker,
        token,
        ca_pem,
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
