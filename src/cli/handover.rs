//! `zonefold handover`: names pass from one cluster to another.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use super::client::{Client, encode};
use super::output::{ReadArgs, section, table};
use crate::api::handovers::{HandedNameInfo, HandoverInfo, HandoverWord, NewHandover};
use crate::core::governance::handover::HandoverMode;
use crate::core::governance::pattern::NamePattern;
use crate::core::ids::ClusterId;

/// How many digits of an id are asked for at least.
const SHORTEST: usize = 6;
/// Names that are shown at most.
const SHOWN_NAMES: usize = 1_000;
/// How often a hand-over is looked at that is waited for.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// `zonefold handover`.
#[derive(Debug, Subcommand)]
pub enum HandoverCommand {
    /// Stage a hand-over: shows which names are ready, and passes none
    #[command(
        after_help = "Example:\n  zonefold handover start --from dev-east --to dev-west --names '*.shop.dev.example.com'"
    )]
    Start(StartArgs),
    /// Show the hand-overs
    List(ReadArgs),
    /// Show one, name by name
    #[command(after_help = "Example:\n  zonefold handover show 01a3185e")]
    Show(OneArgs),
    /// Let the names pass that are ready
    #[command(after_help = "Example:\n  zonefold handover switch 01a3185e --wait")]
    Switch(SwitchArgs),
    /// Put back what was
    #[command(
        after_help = "Example:\n  zonefold handover abort 01a3185e --reason 'the new cluster answers slowly'"
    )]
    Abort(AbortArgs),
}

/// How names pass.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ModeArg {
    /// In one change
    Cutover,
    /// Both answers for as long as resolvers remember; A and AAAA only
    Overlap,
}

/// Arguments of `zonefold handover start`.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// The cluster that has the names
    #[arg(long, env = "ZONEFOLD_FROM", value_name = "CLUSTER")]
    pub from: ClusterId,
    /// The cluster that is to have them
    #[arg(long, env = "ZONEFOLD_TO", value_name = "CLUSTER")]
    pub to: ClusterId,
    /// Which names, such as www.example.com or *.shop.example.com; all if left out
    #[arg(long, env = "ZONEFOLD_NAMES", value_name = "PATTERN", value_delimiter = ',', value_parser = parse_pattern)]
    pub names: Vec<NamePattern>,
    /// Only names of objects in these namespaces
    #[arg(
        long = "namespace",
        env = "ZONEFOLD_NAMESPACE",
        value_name = "NAMESPACE",
        value_delimiter = ','
    )]
    pub namespaces: Vec<String>,
    /// How names pass
    #[arg(long, env = "ZONEFOLD_MODE", value_enum, default_value_t = ModeArg::Cutover)]
    pub mode: ModeArg,
    /// Pass names, too, for which the new cluster wants other record types
    #[arg(long, env = "ZONEFOLD_WITH_DIFFERENT")]
    pub with_different: bool,
    /// Why, for who reads it later
    #[arg(long, env = "ZONEFOLD_REASON", value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// Where the broker is, and how the answer is written.
    #[command(flatten)]
    pub read: ReadArgs,
}

fn parse_pattern(text: &str) -> Result<NamePattern, String> {
    NamePattern::parse(text).map_err(|error| error.to_string())
}

/// Arguments for one hand-over.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// The hand-over's id, or its first digits
    #[arg(env = "ZONEFOLD_HANDOVER", value_name = "ID")]
    pub id: String,
    /// Where the broker is, and how the answer is written.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// Arguments of `zonefold handover switch`.
#[derive(Debug, Args)]
pub struct SwitchArgs {
    #[command(flatten)]
    pub one: OneArgs,
    /// Wait until it is over, and say how far it is
    #[arg(long, env = "ZONEFOLD_WAIT")]
    pub wait: bool,
}

/// Arguments of `zonefold handover abort`.
#[derive(Debug, Args)]
pub struct AbortArgs {
    #[command(flatten)]
    pub one: OneArgs,
    /// Why
    #[arg(long, env = "ZONEFOLD_REASON", value_name = "TEXT", default_value = "")]
    pub reason: String,
}

/// Runs `zonefold handover`.
///
/// # Errors
/// The broker cannot be reached, refuses, or is none; or the answer cannot be written.
pub async fn run(command: HandoverCommand) -> anyhow::Result<ExitCode> {
    match command {
        HandoverCommand::Start(args) => start(args).await?,
        HandoverCommand::List(read) => list(&read).await?,
        HandoverCommand::Show(args) => show(&args).await?,
        HandoverCommand::Switch(args) => switch(&args).await?,
        HandoverCommand::Abort(args) => {
            let client = args.one.read.client()?;
            let id = find(&client, &args.one.id).await?.id;
            let word = HandoverWord { reason: args.reason };
            let path = format!("/api/v1/handovers/{}/abort", encode(&id));
            let told: HandoverInfo = client.post_json(&path, &word).await?;
            args.one.read.write(&told, |told, _| line(told))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn start(args: StartArgs) -> anyhow::Result<()> {
    let new = NewHandover {
        from: args.from,
        to: args.to,
        names: args.names,
        namespaces: args.namespaces,
        mode: match args.mode {
            ModeArg::Cutover => HandoverMode::Cutover,
            ModeArg::Overlap => HandoverMode::Overlap,
        },
        with_different: args.with_different,
        reason: args.reason,
    };
    let client = args.read.client()?;
    let mut staged: HandoverInfo = client.post_json("/api/v1/handovers", &new).await?;
    // The accounts look at their names within moments; one that is parked never does.
    for _ in 0..10 {
        if staged.silent.is_empty() {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        staged = client.get(&format!("/api/v1/handovers/{}", encode(&staged.id))).await?;
    }
    let id = staged.id.clone();
    args.read.write(&staged, |staged, _| {
        line(staged)
            + &format!(
                "zonefold handover show {id} shows them name by name; zonefold handover switch {id} lets them pass\n"
            )
    })
}

fn line(handover: &HandoverInfo) -> String {
    let HandoverInfo { id, from, to, phase, counts, .. } = handover;
    let until = handover.until.map(|until| format!(" until {until}")).unwrap_or_default();
    let silent = match handover.silent.as_slice() {
        [] => String::new(),
        silent => format!("; {} of the accounts have not said yet how far they are", silent.len()),
    };
    format!(
        "hand-over {id} from {from} to {to} is {phase}{until}: {} ready, {} different, {} missing, {} passed, {} on their way{silent}\n",
        counts.ready, counts.different, counts.missing, counts.passed, counts.remaining
    )
}

async fn list(read: &ReadArgs) -> anyhow::Result<()> {
    let listed = read.client()?.list::<HandoverInfo>("/api/v1/handovers", &[], usize::MAX).await?;
    read.write(&listed.items, |handovers, width| {
        if handovers.is_empty() {
            return "nothing is handed over\n".to_owned();
        }
        let header =
            ["hand-over", "from", "to", "phase", "ready", "different", "missing", "passed", "by"];
        let mut rows = table(width, &header);
        for handover in handovers {
            let counts = &handover.counts;
            rows.add_row([
                handover.id.clone(),
                handover.from.to_string(),
                handover.to.to_string(),
                handover.phase.clone(),
                counts.ready.to_string(),
                counts.different.to_string(),
                counts.missing.to_string(),
                counts.passed.to_string(),
                handover.by.clone(),
            ]);
        }
        rows.to_string() + "\n"
    })
}

async fn show(args: &OneArgs) -> anyhow::Result<()> {
    let client = args.read.client()?;
    let handover = find(&client, &args.id).await?;
    let path = format!("/api/v1/handovers/{}/names", encode(&handover.id));
    let listed = client.list::<HandedNameInfo>(&path, &[], SHOWN_NAMES).await?;
    for part in &listed.missing {
        eprintln!("zonefold: names may be missing: {}", part.detail);
    }
    args.read.write(&(&handover, &listed.items), |(handover, names), width| {
        let mut rows = table(width, &["name", "zone", "is", "on its way"]);
        for name in names.iter() {
            rows.add_row([
                name.name.to_string(),
                name.zone_name.to_string(),
                name.is.clone(),
                (if name.on_its_way { "yes" } else { "" }).to_owned(),
            ]);
        }
        line(handover) + &section("names", rows)
    })
}

async fn switch(args: &SwitchArgs) -> anyhow::Result<()> {
    let client = args.one.read.client()?;
    let id = find(&client, &args.one.id).await?.id;
    let path = format!("/api/v1/handovers/{}", encode(&id));
    let mut told: HandoverInfo = client.post(&format!("{path}/switch")).await?;
    let mut said = String::new();
    while args.wait && told.phase != "done" && told.phase != "aborted" {
        let now = line(&told);
        if now != said {
            eprint!("{now}");
            said = now;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        told = client.get(&path).await?;
    }
    args.one.read.write(&told, |told, _| line(told))
}

/// The hand-over whose id begins like this.
async fn find(client: &Client, id: &str) -> anyhow::Result<HandoverInfo> {
    anyhow::ensure!(
        id.len() >= SHORTEST,
        "{id:?} is too short: give at least {SHORTEST} of the digits that zonefold handover list shows"
    );
    let listed = client.list::<HandoverInfo>("/api/v1/handovers", &[], usize::MAX).await?;
    let mut fitting = listed.items.into_iter().filter(|known| known.id.starts_with(id));
    match (fitting.next(), fitting.next()) {
        (Some(found), None) => Ok(found),
        (Some(_), Some(_)) => anyhow::bail!("several hand-overs begin with {id}: give more digits"),
        (None, _) => anyhow::bail!("there is no hand-over {id}: zonefold handover list shows them"),
    }
}
