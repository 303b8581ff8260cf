//! The output of `zonefold dev`: where everything is, what to try, and what goes on.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use comfy_table::{Table, presets};
use serde::Serialize;
use tracing::info;
use tracing_subscriber::fmt::MakeWriter;

use crate::broker::directory::entry::{EndpointEntry, Progress, Status};
use crate::broker::worker::{AccountView, Health};
use crate::broker::{BrokerHandle, ClusterView};
use crate::core::endpoint::verdict::VerdictState;
use crate::core::printable::printable;

/// Where everything listens.
#[derive(Clone, Debug, Serialize)]
pub struct Addresses {
    /// Route 53 and STS.
    pub aws: SocketAddr,
    /// The emulator's control API.
    pub control: SocketAddr,
    /// DNS, UDP and TCP.
    pub dns: SocketAddr,
    /// Where agents connect.
    pub grpc: SocketAddr,
    /// REST, metrics, health.
    pub http: SocketAddr,
    /// The agents' own HTTP, by cluster.
    pub agents: Vec<(String, SocketAddr)>,
}

/// The parts, for the view.
pub struct Parts {
    /// Where everything listens.
    pub addresses: Addresses,
    pub broker: BrokerHandle,
    /// The folder with the clusters' manifests.
    pub clusters: PathBuf,
    /// Where the state is.
    pub data: PathBuf,
}

/// How often the live view is drawn.
const REDRAW: Duration = Duration::from_millis(500);
/// Lines of the log that the live view shows.
const LOG_LINES: usize = 6;
/// Endpoints with trouble that the live view shows.
const TROUBLED: usize = 8;
/// Endpoints of a cluster that are looked through for trouble.
const LOOK_AT: usize = 5_000;

/// The last lines of the log, for the live view.
#[derive(Clone, Default)]
pub struct RecentLines(Arc<Mutex<VecDeque<String>>>);

impl RecentLines {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Write for RecentLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for line in String::from_utf8_lossy(bytes).lines() {
            lines.push_back(line.to_owned());
            if lines.len() > LOG_LINES {
                lines.pop_front();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for RecentLines {
    type Writer = RecentLines;
    fn make_writer(&self) -> RecentLines {
        self.clone()
    }
}

/// Where everything is and what to try.
pub fn banner(parts: &Parts) -> String {
    let at = &parts.addresses;
    let mut text = String::new();
    let _ = writeln!(text, "broker     http://{}   (gRPC {})", at.http, at.grpc);
    let _ = writeln!(text, "AWS        http://{}   control http://{}", at.aws, at.control);
    let _ = writeln!(text, "DNS        {}   (UDP and TCP)", at.dns);
    for (cluster, address) in &at.agents {
        let _ = writeln!(text, "agent      http://{address}   {cluster}");
    }
    let _ = writeln!(text, "state      {}", parts.data.display());
    let _ = writeln!(text, "API token  {}", parts.data.join("api-token").display());
    let _ = writeln!(
        text,
        "try        dig @{} -p {} +short cafe.dev.example.com",
        at.dns.ip(),
        at.dns.port()
    );
    let _ = writeln!(
        text,
        "           edit {}/dev-west/nginx.yaml, then dig again",
        parts.clusters.display()
    );
    let _ = writeln!(
        text,
        "           zonefold why app.dev.example.com --broker http://{}   (two clusters want it)",
        at.http
    );
    text
}

/// Draws the live view until it is dropped.
pub async fn live(parts: &Parts, recent: &RecentLines) {
    let banner = banner(parts);
    loop {
        let frame = frame(parts, &banner, &recent.lines()).await;
        let mut out = io::stdout().lock();
        // A terminal that is gone ends the program by its own signal.
        let _ = write!(out, "\x1b[H\x1b[J{frame}").and_then(|()| out.flush());
        drop(out);
        tokio::time::sleep(REDRAW).await;
    }
}

/// Leaves the live view: what follows is written below it.
pub fn leave() {
    println!("\nstopping …");
}

/// Logs a line whenever the figures change, for when there is no terminal.
pub async fn lines(parts: &Parts) {
    let mut said = String::new();
    loop {
        let mut now = String::new();
        for account in parts.broker.accounts() {
            let _ = write!(
                now,
                "{} {} pending {}; ",
                account.name,
                health(&account.health),
                account.pending
            );
        }
        if let Ok(clusters) = parts.broker.clusters().await {
            for cluster in &clusters {
                let _ = write!(now, "{} {}; ", cluster.cluster, counts(cluster));
            }
        }
        if now != said {
            info!("{}", now.trim_end_matches("; "));
            said = now;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn health(health: &Health) -> &'static str {
    match health {
        Health::Starting => "starting",
        Health::Working => "working",
        Health::Parked { .. } => "parked",
    }
}

fn counts(cluster: &ClusterView) -> String {
    let c = &cluster.counts;
    format!(
        "{} endpoints {}: applied {}, in sync {}, pending {}, waiting {}, rejected {}, troubled {}",
        if cluster.connected { "connected," } else { "away," },
        c.endpoints,
        c.applied,
        c.in_sync,
        c.pending,
        c.waiting,
        c.rejected,
        c.troubled
    )
}

async fn frame(parts: &Parts, banner: &str, log: &[String]) -> String {
    let mut text = format!(
        "zonefold dev   (Ctrl-C stops)\n\n{banner}\n{}\n",
        accounts_table(&parts.broker.accounts())
    );
    let clusters = parts.broker.clusters().await.unwrap_or_default();
    let _ = writeln!(text, "\n{}", clusters_table(&clusters));
    let held = clusters
        .iter()
        .flat_map(|cluster| parts.broker.endpoints(&cluster.cluster).page(None, LOOK_AT));
    let troubled: Vec<(EndpointEntry, Arc<Status>)> = held
        .filter_map(|held| held.status().map(|status| (held, status)))
        .filter(|(_, status)| is_troubled(status))
        .collect();
    for (held, status) in troubled.iter().take(TROUBLED) {
        let _ = writeln!(
            text,
            "\n{}  {}\n    {}",
            status.verdict.reason.as_str(),
            printable(&held.key().to_string()),
            printable(message(status))
        );
    }
    if troubled.len() > TROUBLED {
        let _ = writeln!(text, "… and {} more: zonefold status", troubled.len() - TROUBLED);
    }
    text.push('\n');
    log.iter().for_each(|line| {
        let _ = writeln!(text, "{line}");
    });
    text
}

fn is_troubled(status: &Status) -> bool {
    status.verdict.state != VerdictState::Accepted
        || matches!(status.progress, Some(Progress::Refused { .. } | Progress::Drifted { .. }))
}

fn message(status: &Status) -> &str {
    match &status.progress {
        Some(Progress::Refused { message, .. } | Progress::Drifted { message }) => message,
        _ => &status.verdict.message,
    }
}

fn accounts_table(accounts: &[Arc<AccountView>]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "ACCOUNT",
        "STATE",
        "REQUESTS LEFT",
        "CHANGES LEFT",
        "ZONES",
        "RECORDS",
        "PENDING",
    ]);
    for account in accounts {
        let tokens = |bucket: &str| {
            let found = account.budget.buckets.iter().find(|b| b.bucket == bucket);
            found
                .map_or_else(|| "-".to_owned(), |b| format!("{:.0} of {:.0}", b.tokens, b.capacity))
        };
        table.add_row([
            format!("{} {}", account.name, account.account),
            health(&account.health).to_owned(),
            tokens("requests"),
            tokens("changes"),
            account.zones.len().to_string(),
            account.zones.iter().map(|zone| zone.records).sum::<usize>().to_string(),
            account.pending.to_string(),
        ]);
    }
    table
}

fn clusters_table(clusters: &[ClusterView]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "CLUSTER",
        "STREAM",
        "ENDPOINTS",
        "PENDING",
        "APPLIED",
        "IN SYNC",
        "WAITING",
        "REJECTED",
        "TROUBLED",
    ]);
    for cluster in clusters {
        let c = &cluster.counts;
        let stream = if cluster.connected { "open" } else { "away" };
        let figures =
            [c.endpoints, c.pending, c.applied, c.in_sync, c.waiting, c.rejected, c.troubled];
        table.add_row(
            [cluster.cluster.to_string(), stream.to_owned()]
                .into_iter()
                .chain(figures.map(|n| n.to_string())),
        );
    }
    table
}
