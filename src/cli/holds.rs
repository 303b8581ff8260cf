//! What guards hold, and the words of people on it: `zonefold describe hold`, `zonefold approve`, `zonefold deny`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::batch::BatchArgs;
use super::client::{Client, encode};
use super::output::{ReadArgs, Rows, section, table};
use crate::api::changes::Difference;
use crate::api::holds::{HeldUnitInfo, HoldDecision, HoldDetails, HoldInfo};
use crate::api::requests::RequestInfo;
use crate::api::values::RecordSet;

/// How many digits of a digest a table shows, and how many are asked for at least.
const SHORT: usize = 12;
const SHORTEST: usize = 6;
/// Units that are shown at most.
const SHOWN_UNITS: usize = 200;

/// `zonefold describe`.
#[derive(Debug, Subcommand)]
pub enum DescribeCommand {
    /// Show what a hold would change
    #[command(after_help = "Example:\n  zonefold describe hold 5d31fd7c8fc0")]
    Hold(HoldArgs),
    /// Show what one call to Route 53 changed, why, by which rules and by whose word
    #[command(
        after_help = "Example:\n  zonefold describe batch 0198f7a2-5a3c-7000-8000-5d31fd7c8fc0"
    )]
    Batch(BatchArgs),
}

/// Arguments for one hold.
#[derive(Clone, Debug, Args)]
pub struct HoldArgs {
    /// The digest of the hold, or its first digits
    #[arg(env = "ZONEFOLD_HOLD", value_name = "DIGEST")]
    pub digest: String,
    /// Where the broker is, and how the answer is written.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// Arguments of `zonefold approve`.
#[derive(Clone, Debug, Args)]
pub struct ApproveArgs {
    #[command(flatten)]
    pub hold: HoldArgs,
    /// What you say to it, for who reads it later
    #[arg(long, env = "ZONEFOLD_COMMENT", value_name = "TEXT", default_value = "")]
    pub comment: String,
    /// How long the word holds; freezes do not count
    #[arg(long = "for", env = "ZONEFOLD_FOR", value_name = "DURATION", default_value = "24h")]
    pub holds_for: jiff::SignedDuration,
}

/// Arguments of `zonefold deny`.
#[derive(Clone, Debug, Args)]
pub struct DenyArgs {
    #[command(flatten)]
    pub hold: HoldArgs,
    /// Why not
    #[arg(long, env = "ZONEFOLD_COMMENT", value_name = "TEXT", default_value = "")]
    pub comment: String,
}

fn short(digest: &str) -> &str {
    digest.get(..SHORT).unwrap_or(digest)
}

/// Runs `zonefold get holds`; the exit code is 0 if there is one, else 1.
///
/// # Errors
/// The broker cannot be reached, refuses, or is none; or the answer cannot be written.
pub async fn list(read: &ReadArgs) -> anyhow::Result<ExitCode> {
    let listed = read.client()?.list::<HoldInfo>("/api/v1/holds", &[], usize::MAX).await?;
    for part in &listed.missing {
        eprintln!("zonefold: holds may be missing: {}", part.detail);
    }
    read.write(&listed.items, |holds, width| match holds.is_empty() {
        true => "nothing is held\n".to_owned(),
        false => rows(holds, width).to_string() + "\n",
    })?;
    Ok(if listed.items.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn rows(holds: &[HoldInfo], width: u16) -> Rows {
    let mut rows = table(width, &["hold", "zone", "units", "since", "why", "who decides", "words"]);
    for hold in holds {
        let given = hold.request.as_ref().map_or(0, |request| request.approvals.len());
        rows.add_row([
            short(&hold.digest).to_owned(),
            hold.zone_name.to_string(),
            hold.units.to_string(),
            hold.since.to_string(),
            hold.reason.clone(),
            hold.deciders.clone(),
            format!("{given} of {}", hold.needed),
        ]);
    }
    rows
}

/// Runs `zonefold get requests`; the exit code is 0 if there is one, else 1.
///
/// # Errors
/// The broker cannot be reached, refuses, or is none; or the answer cannot be written.
pub async fn requests(read: &ReadArgs) -> anyhow::Result<ExitCode> {
    let listed = read.client()?.list::<RequestInfo>("/api/v1/requests", &[], 1_000).await?;
    read.write(&listed.items, |requests, width| match requests.is_empty() {
        true => "nothing was asked for\n".to_owned(),
        false => {
            let mut rows = table(width, &["at", "state", "wants", "by", "decided by", "why"]);
            for request in requests {
                let words = request.approvals.iter().chain(&request.ended);
                let words: Vec<&str> = words.map(|word| word.by.as_str()).collect();
                rows.add_row([
                    request.at.to_string(),
                    request.state.clone(),
                    request.wants.clone(),
                    request.by.clone(),
                    words.join(", "),
                    request.reason.clone(),
                ]);
            }
            rows.to_string() + "\n"
        }
    })?;
    Ok(if listed.items.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The hold whose digest begins like this.
async fn find(client: &Client, digest: &str) -> anyhow::Result<HoldInfo> {
    let digest = digest.to_ascii_lowercase();
    anyhow::ensure!(
        digest.len() >= SHORTEST && digest.bytes().all(|digit| digit.is_ascii_hexdigit()),
        "{digest:?} is no digest: give at least {SHORTEST} of the digits that zonefold get holds shows"
    );
    let listed = client.list::<HoldInfo>("/api/v1/holds", &[], usize::MAX).await?;
    let mut fitting = listed.items.into_iter().filter(|hold| hold.digest.starts_with(&digest));
    match (fitting.next(), fitting.next()) {
        (Some(hold), None) => Ok(hold),
        (Some(_), Some(_)) => anyhow::bail!("several holds begin with {digest}: give more digits"),
        (None, _) => {
            let missing: Vec<String> = listed.missing.into_iter().map(|part| part.detail).collect();
            anyhow::ensure!(missing.is_empty(), "not all replicas answer: {}", missing.join("; "));
            anyhow::bail!(
                "there is no hold {digest} now: what is held has changed, or has gone; zonefold get holds shows what is held"
            )
        }
    }
}

/// Runs `zonefold describe hold`.
///
/// # Errors
/// There is no such hold; the broker cannot be reached, refuses, or is none; or the answer cannot be written.
pub async fn describe(args: HoldArgs) -> anyhow::Result<ExitCode> {
    let client = args.read.client()?;
    let hold = find(&client, &args.digest).await?;
    let path = format!("/api/v1/holds/{}/units", encode(&hold.digest));
    let listed = client.list::<HeldUnitInfo>(&path, &[], SHOWN_UNITS).await?;
    let details: HoldDetails = client.get(&format!("/api/v1/holds/{}", hold.digest)).await?;
    args.read.write(&(&details, &listed.items), |(details, units), width| {
        let mut rows = table(width, &["name", "type", "now", "then", "cluster"]);
        for change in units.iter().flat_map(|unit| &unit.changes) {
            rows.add_row(cells(change));
        }
        let hold = &details.hold;
        let more = match listed.more {
            true => {
                format!("\nand more: these are the first {} of {} units", units.len(), hold.units)
            }
            false => String::new(),
        };
        let head = format!(
            "{}\nheld since {}; {} decide; {} of {} words given",
            hold.reason,
            hold.since,
            hold.deciders,
            hold.request.as_ref().map_or(0, |request| request.approvals.len()),
            hold.needed
        );
        section(&format!("hold {}", hold.digest), head)
            + &section("it would change", format!("{rows}{more}"))
            + &format!("let it go with: zonefold approve {}\n", short(&hold.digest))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn cells(change: &Difference) -> [String; 5] {
    let says = |set: &Option<RecordSet>| set.as_ref().map_or_else(|| "nothing".to_owned(), said);
    [
        change.name.to_string(),
        change.record_type.to_string(),
        says(&change.before),
        says(&change.after),
        change.cause.cluster.to_string(),
    ]
}

fn said(set: &RecordSet) -> String {
    match &set.alias {
        Some(alias) => format!("alias {}", alias.name),
        None => set.values.join(", "),
    }
}

/// Runs `zonefold approve`.
///
/// # Errors
/// There is no such hold, or somebody else decides it; the broker cannot be reached, or refuses.
pub async fn approve(args: ApproveArgs) -> anyhow::Result<ExitCode> {
    let decision = HoldDecision { comment: args.comment, holds_for: Some(args.holds_for) };
    decide(&args.hold, "approve", &decision).await
}

/// Runs `zonefold deny`.
///
/// # Errors
/// As [`approve`].
pub async fn deny(args: DenyArgs) -> anyhow::Result<ExitCode> {
    let decision = HoldDecision { comment: args.comment, holds_for: None };
    decide(&args.hold, "deny", &decision).await
}

async fn decide(args: &HoldArgs, verb: &str, decision: &HoldDecision) -> anyhow::Result<ExitCode> {
    let client = args.read.client()?;
    let hold = find(&client, &args.digest).await?;
    let path = format!("/api/v1/holds/{}/{verb}", encode(&hold.digest));
    let request: RequestInfo = client.post_json(&path, decision).await?;
    args.read.write(&request, |request, _| {
        let given = request.approvals.len();
        match request.state.as_str() {
            "approved" => format!("{} units of {} may go\n", hold.units, hold.zone_name),
            "denied" => format!("denied: {} units of {} stay held\n", hold.units, hold.zone_name),
            _ => {
                format!("{given} of {} words given: it stays held until all are\n", request.needed)
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
