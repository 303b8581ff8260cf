//! `zonefold status`: how accounts, zones and clusters are, and every endpoint that is not fine.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::client::{Client, ClientError, Listed, encode};
use super::output::{OutputFormat, ReadArgs, Rows, clear_screen, section, table};
use crate::api::accounts::{Account, Health};
use crate::api::clusters::Cluster;
use crate::api::endpoints::{Endpoint, Progress};
use crate::api::page::MissingPart;
use crate::api::zones::Zone;
use crate::core::ids::ClusterId;
use crate::core::printable::printable;

/// How many endpoints that are not fine are shown.
const MOST_ENDPOINTS: usize = 100;
/// How often `--watch` looks again.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// Arguments of `zonefold status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Only this cluster, and the accounts and zones of its environment
    #[arg(long, env = "ZONEFOLD_CLUSTER", value_name = "NAME")]
    pub cluster: Option<ClusterId>,
    /// Look again every two seconds, until interrupted
    #[arg(long, env = "ZONEFOLD_WATCH")]
    pub watch: bool,
    /// Where the broker is, and how the answer is written.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// How everything is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// The accounts.
    pub accounts: Vec<Account>,
    /// Their zones.
    pub zones: Vec<Zone>,
    /// The clusters.
    pub clusters: Vec<Cluster>,
    /// The endpoints that wait, are rejected or refused, or drifted.
    pub endpoints_not_fine: Vec<Endpoint>,
    /// Whether there are more of them than are listed.
    pub more_not_fine: bool,
    /// The accounts that are missing, since their replicas do not answer.
    pub missing: Vec<MissingPart>,
}

/// Runs `zonefold status`; the exit code is 0 whenever the broker answered.
///
/// # Errors
/// The broker cannot be reached, refuses, or is none; or the answer cannot be written.
pub async fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let client = args.read.client()?;
    if !args.watch {
        let status = gather(&client, args.cluster.as_ref()).await?;
        args.read.write(&status, render)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut ticks = tokio::time::interval(WATCH_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                return Ok(ExitCode::SUCCESS);
            }
        }
        let status = gather(&client, args.cluster.as_ref()).await?;
        if args.read.output == OutputFormat::Table {
            clear_screen();
        }
        args.read.write(&status, render)?;
    }
}

/// Asks the broker for all of it.
///
/// # Errors
/// The broker cannot be reached, refuses, or is none; or there is no such cluster.
pub async fn gather(client: &Client, cluster: Option<&ClusterId>) -> Result<Status, ClientError> {
    let clusters: Listed<Cluster> = match cluster {
        Some(name) => {
            let one: Cluster =
                client.get(&format!("/api/v1/clusters/{}", encode(name.as_str()))).await?;
            let missing = one.missing.clone();
            Listed { items: vec![one], more: false, missing }
        }
        None => client.list("/api/v1/clusters", &[], usize::MAX).await?,
    };
    let (clusters, mut missing) = (clusters.items, clusters.missing);
    let only = cluster.and_then(|_| clusters.first()?.environment.as_ref());
    let of_environment: Vec<(&str, &str)> =
        only.iter().map(|environment| ("environment", environment.as_str())).collect();
    let accounts = client.list("/api/v1/accounts", &of_environment, usize::MAX).await?;
    let zones = client.list("/api/v1/zones", &of_environment, usize::MAX).await?;
    let (endpoints_not_fine, more_not_fine) = not_fine(client, &clusters).await?;
    missing.extend(accounts.missing.into_iter().chain(zones.missing));
    // Each list says it of each silent replica.
    let mut named = BTreeSet::new();
    missing.retain(|part| named.insert(part.replica.clone()));
    Ok(Status {
        accounts: accounts.items,
        zones: zones.items,
        clusters,
        endpoints_not_fine,
        more_not_fine,
        missing,
    })
}

/// Asks only for what the counts say is there, since looking through all endpoints of a large cluster takes a while.
async fn not_fine(
    client: &Client,
    clusters: &[Cluster],
) -> Result<(Vec<Endpoint>, bool), ClientError> {
    let (mut found, mut more) = (vec![], false);
    for cluster in clusters {
        let counts = &cluster.endpoints;
        let filters = [
            (counts.rejected, "state", "rejected"),
            (counts.waiting, "state", "waiting"),
            (counts.troubled, "progress", "refused"),
            (counts.troubled, "progress", "drifted"),
        ];
        for (count, filter, value) in filters {
            let room = MOST_ENDPOINTS.saturating_sub(found.len());
            if count == 0 {
                continue;
            }
            if room == 0 {
                return Ok((found, true));
            }
            let params = [("cluster", cluster.name.as_str()), (filter, value)];
            let listed = client.list("/api/v1/endpoints", &params, room).await?;
            found.extend(listed.items);
            more |= listed.more;
        }
    }
    Ok((found, more))
}

/// Writes a status for people.
pub fn render(status: &Status, width: u16) -> String {
    let mut text = missing(&status.missing, width);
    text += &section("ACCOUNTS", accounts(&status.accounts, width));
    text += &section("ZONES", zones(&status.zones, width));
    text += &section("CLUSTERS", clusters(&status.clusters, width));
    if status.endpoints_not_fine.is_empty() {
        text += "Every endpoint is fine.\n";
    } else {
        text +=
            &section("ENDPOINTS THAT ARE NOT FINE", endpoints(&status.endpoints_not_fine, width));
        if status.more_not_fine {
            text += "There are more: zonefold status --cluster NAME shows those of one cluster.\n";
        }
    }
    text
}

/// The missing parts of an answer, shown first; empty if there are none.
pub(super) fn missing(missing: &[MissingPart], width: u16) -> String {
    if missing.is_empty() {
        return String::new();
    }
    let mut rows = table(width, &["replica", "accounts", "why"]);
    for part in missing {
        let accounts: Vec<&str> = part.accounts.iter().map(|account| account.as_str()).collect();
        rows.add_row([
            part.replica.as_deref().unwrap_or("none"),
            &accounts.join(", "),
            &part.detail,
        ]);
    }
    section("MISSING: THIS IS NOT ALL", rows)
}

fn accounts(accounts: &[Account], width: u16) -> Rows {
    let mut rows = table(
        width,
        &["account", "name", "environment", "state", "tokens left", "pending", "zones", "records"],
    );
    for account in accounts {
        let state = match &account.health {
            Health::Starting => "starting".to_owned(),
            Health::Working => "working".to_owned(),
            Health::Unworked => "between two replicas".to_owned(),
            Health::Parked { message, retry_at, .. } => {
                format!("parked until {retry_at}: {}", printable(message))
            }
        };
        // The buckets of single actions are as full as the account's or fuller, as a rule: they would only make noise.
        let shown = account
            .budget
            .buckets
            .iter()
            .filter(|bucket| bucket.bucket == "requests" || bucket.bucket == "changes");
        let tokens = shown
            .map(|bucket| format!("{} {:.0}/{:.0}", bucket.bucket, bucket.tokens, bucket.capacity));
        let pending = match &account.drained_at {
            Some(drained_at) => format!("{} until {drained_at}", account.pending),
            None => account.pending.to_string(),
        };
        rows.add_laid_out_row([
            account.id.to_string(),
            account.name.clone(),
            account.environment.to_string(),
            state,
            tokens.collect::<Vec<_>>().join("\n"),
            pending,
            account.zones.zones.to_string(),
            format!("{}, {} ours", account.zones.records, account.zones.owned),
        ]);
    }
    rows
}

fn zones(zones: &[Zone], width: u16) -> Rows {
    let headers = [
        "zone",
        "id",
        "account",
        "visibility",
        "policy",
        "records",
        "pending",
        "refused",
        "drifted",
        "state",
    ];
    let mut rows = table(width, &headers);
    for zone in zones {
        let state = match (&zone.trouble, zone.visible, &zone.listed_at) {
            (Some(trouble), ..) => trouble.clone(),
            (None, false, _) => "no longer found; left alone".to_owned(),
            (None, true, None) => "being listed".to_owned(),
            (None, true, Some(_)) => "fine".to_owned(),
        };
        rows.add_row([
            zone.name.to_string(),
            zone.id.to_string(),
            zone.account.to_string(),
            zone.visibility.clone(),
            zone.policy.to_string(),
            format!("{}, {} ours", zone.records, zone.owned),
            zone.pending.to_string(),
            zone.refused.to_string(),
            zone.drifted.to_string(),
            state,
        ]);
    }
    rows
}

fn clusters(clusters: &[Cluster], width: u16) -> Rows {
    let headers = [
        "cluster",
        "environment",
        "labels",
        "agent",
        "endpoints",
        "pending",
        "applied",
        "in sync",
        "waiting",
        "rejected",
        "troubled",
    ];
    let mut rows = table(width, &headers);
    for cluster in clusters {
        let agent = match (cluster.registered, cluster.connected, &cluster.session) {
            (false, ..) => "not registered".to_owned(),
            (true, true, _) => "connected".to_owned(),
            (true, false, Some(session)) => format!("away, last session {}", session.opened_at),
            (true, false, None) => "never came".to_owned(),
        };
        let counts = &cluster.endpoints;
        let waiting = match counts.over_quota {
            0 => counts.waiting.to_string(),
            over => format!("{} ({over} over quota)", counts.waiting),
        };
        let numbers = [
            counts.stored.to_string(),
            counts.pending.to_string(),
            counts.applied.to_string(),
            counts.in_sync.to_string(),
            waiting,
            counts.rejected.to_string(),
            counts.troubled.to_string(),
        ];
        let environment =
            cluster.environment.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let labels: Vec<String> =
            cluster.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let named = [cluster.name.to_string(), environment, labels.join(", "), agent];
        rows.add_row(named.into_iter().chain(numbers).collect::<Vec<_>>());
    }
    rows
}

fn endpoints(endpoints: &[Endpoint], width: u16) -> Rows {
    let mut rows = table(width, &["cluster", "object", "name", "type", "state", "why"]);
    for endpoint in endpoints {
        let (state, why) = state_of(endpoint);
        rows.add_row([
            endpoint.cluster.to_string(),
            endpoint.key.to_string(),
            endpoint.key.name.clone(),
            endpoint.key.record_type.clone(),
            state,
            why,
        ]);
    }
    rows
}

/// An endpoint's state and what there is to say about it.
pub(super) fn state_of(endpoint: &Endpoint) -> (String, String) {
    let waits_until =
        |time: &Option<_>| time.map_or_else(String::new, |time| format!("expected at {time}"));
    match (&endpoint.progress, &endpoint.verdict) {
        (Some(Progress::Pending { detail, expected_at }), _) if detail.is_empty() => {
            ("pending".to_owned(), waits_until(expected_at))
        }
        (Some(Progress::Pending { detail, .. }), _) => ("pending".to_owned(), detail.clone()),
        (Some(Progress::Applied { .. }), _) => ("applied".to_owned(), String::new()),
        (Some(Progress::InSync { .. }), _) => ("in sync".to_owned(), String::new()),
        (Some(Progress::Refused { message, retry_at }), _) => {
            ("refused by Route 53".to_owned(), format!("{message} (tried again at {retry_at})"))
        }
        (Some(Progress::Drifted { message }), _) => ("drifted".to_owned(), message.clone()),
        (None, Some(verdict)) => {
            let state = serde_json::to_value(verdict.state)
                .ok()
                .and_then(|state| state.as_str().map(str::to_owned));
            (
                format!("{} {}", state.unwrap_or_default(), verdict.reason.as_str()),
                verdict.message.clone(),
            )
        }
        (None, None) => ("being decided".to_owned(), String::new()),
    }
}
