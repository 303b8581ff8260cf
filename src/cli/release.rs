//! `zonefold agent release`: shows what an agent keeps although nothing that it sees asks for it, and releases it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use http::Request;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};

use super::client::{BrokerUrl, encode};
use super::output::{OutputFormat, table, write};

/// How long the agent may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Arguments of `zonefold agent release`.
#[derive(Clone, Debug, Args)]
pub struct ReleaseArgs {
    /// Release endpoints that are kept from this source, such as dnsendpoint
    #[arg(long, env = "ZONEFOLD_RELEASE_SOURCE", value_name = "SOURCE")]
    pub source: Option<String>,
    /// Release endpoints that are kept for objects in this namespace
    #[arg(long, env = "ZONEFOLD_RELEASE_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Release endpoints that are kept for objects of this name
    #[arg(long, env = "ZONEFOLD_RELEASE_OBJECT", value_name = "NAME")]
    pub object: Option<String>,
    /// Release endpoints that are kept under this DNS name
    #[arg(long, env = "ZONEFOLD_RELEASE_NAME", value_name = "FQDN")]
    pub name: Option<String>,
    /// Release everything that is kept
    #[arg(long, env = "ZONEFOLD_RELEASE_ALL", conflicts_with_all = ["source", "namespace", "object", "name"])]
    pub all: bool,
    /// The agent's HTTP, on this machine
    #[arg(
        long,
        env = "ZONEFOLD_AGENT",
        value_name = "URL",
        default_value = "http://127.0.0.1:7081"
    )]
    pub agent: BrokerUrl,
    /// How the answer is written
    #[arg(short, long, env = "ZONEFOLD_OUTPUT", value_enum, default_value_t)]
    pub output: OutputFormat,
    /// How many columns a table takes at most
    #[arg(long, env = "ZONEFOLD_WIDTH", value_name = "COLUMNS", default_value_t = 140, value_parser = clap::value_parser!(u16).range(40..))]
    pub width: u16,
}

/// An endpoint that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The source of its object.
    pub source: String,
    /// The namespace of its object.
    pub namespace: String,
    /// The name of its object.
    pub object: String,
    /// Its owner name.
    pub dns_name: String,
    /// Its type.
    pub record_type: String,
    /// Its set identifier.
    pub set_identifier: String,
    /// How it is kept: waiting, unseen or orphaned.
    pub standing: String,
    /// Why.
    pub reason: String,
}

/// Runs the command. Without a selection it releases nothing and lists the kept endpoints.
///
/// # Errors
/// The agent cannot be reached or refuses.
pub async fn run(args: ReleaseArgs) -> anyhow::Result<ExitCode> {
    let query = query(&args);
    let (method, path) = if query.is_empty() {
        ("GET", "/kept".to_owned())
    } else {
        ("POST", format!("/release?{query}"))
    };
    let kept = ask(&args.agent, method, &path).await?;
    write(args.output, args.width, &kept, |kept, width| listing(kept, width))?;
    Ok(ExitCode::SUCCESS)
}

fn query(args: &ReleaseArgs) -> String {
    let given = [
        ("source", &args.source),
        ("namespace", &args.namespace),
        ("object", &args.object),
        ("name", &args.name),
    ];
    let given = given
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", encode(value.as_deref()?))));
    given.chain(args.all.then(|| "all=true".to_owned())).collect::<Vec<_>>().join("&")
}

fn listing(kept: &[Kept], width: u16) -> String {
    if kept.is_empty() {
        return "nothing is kept\n".to_owned();
    }
    let mut rows = table(width, &["name", "type", "object", "standing", "reason"]);
    for Kept { source, namespace, object, dns_name, record_type, standing, reason, .. } in kept {
        rows.add_row([
            dns_name,
            record_type,
            &format!("{source}/{namespace}/{object}"),
            standing,
            reason,
        ]);
    }
    format!("{rows}\n")
}

async fn ask(agent: &BrokerUrl, method: &str, path: &str) -> anyhow::Result<Vec<Kept>> {
    let http: Client<HttpConnector, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let request = Request::builder()
        .method(method)
        .uri(format!("{agent}{path}"))
        .header("x-zonefold-operator", "release");
    let answer = async {
        let response = http.request(request.body(Empty::new())?).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES)
            .collect()
            .await
            .map_err(anyhow::Error::from_boxed)?;
        anyhow::Ok((head.status, body.to_bytes()))
    };
    let (status, body) = tokio::time::timeout(ANSWER_TIMEOUT, answer)
        .await
        .with_context(|| format!("the agent at {agent} did not answer within {} seconds", ANSWER_TIMEOUT.as_secs()))?
        .with_context(|| {
            format!("the agent at {agent} cannot be reached: run this where it runs, or name it with --agent URL")
        })?;
    if !status.is_success() {
        bail!(
            "the agent at {agent} refused it ({status}): {}",
            String::from_utf8_lossy(&body).trim()
        );
    }
    serde_json::from_slice(&body)
        .with_context(|| format!("the server at {agent} is not an agent of this version"))
}
