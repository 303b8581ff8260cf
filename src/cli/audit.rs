//! `zonefold audit`: who decided what; and whether the record of it is whole.

use std::io::{self, BufRead, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::client::encode;
use super::output::{ReadArgs, Rows, table};
use crate::api::audit::{AuditInfo, ChainEnd, ChainInfo};
use crate::config::ConfigOverrides;
use crate::core::audit::{AuditEntry, AuditHash, AuditKind, from_hex, genesis, hex, link};

/// Entries of the audit that are asked for at once.
const PAGE: usize = 1_000;

/// `zonefold audit`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List decisions, the newest first
    #[command(
        after_help = "Example:\n  zonefold audit list --name www.pay.example.com --since 2026-07-01T00:00:00Z"
    )]
    List(Box<AuditListArgs>),
    /// Write the audit as it was hashed, one JSON object a line, the oldest first
    #[command(after_help = "Example:\n  zonefold audit export > audit.ndjson")]
    Export(AuditExportArgs),
    /// Prove that no entry was changed, moved or taken out
    ///
    /// Reads the store itself, or a file that `zonefold audit export` wrote, and computes each hash anew. It asks no broker: one that
    /// hides something would say that all is well. A chain that fits shows that nothing inside it was changed; that it was not written
    /// anew as a whole shows a hash that you noted earlier, elsewhere: give it with --expect.
    #[command(
        after_help = "Examples:\n  zonefold audit verify --config broker.yaml\n  zonefold audit verify --file audit.ndjson --expect 4711:5d31fd7c8fc046a3a3fdd1cabf475663992fe06b21776fe67b2699a0d44b1db1"
    )]
    Verify(AuditVerifyArgs),
}

/// Arguments of `zonefold audit list`.
#[derive(Clone, Debug, Args)]
pub struct AuditListArgs {
    /// Only by this actor, as the list writes it
    #[arg(long, env = "ZONEFOLD_ACTOR", value_name = "ACTOR")]
    pub actor: Option<String>,
    /// Only of this kind, such as `rule_written`
    #[arg(long, env = "ZONEFOLD_KIND", value_name = "KIND")]
    pub kind: Option<String>,
    /// Only about this thing, such as "Grant pay"
    #[arg(long, env = "ZONEFOLD_SUBJECT", value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// Only of this environment
    #[arg(long, env = "ZONEFOLD_ENVIRONMENT", value_name = "NAME")]
    pub environment: Option<String>,
    /// Only of this account
    #[arg(long, env = "ZONEFOLD_ACCOUNT", value_name = "ID")]
    pub account: Option<String>,
    /// Only of this zone, by its apex or its id
    #[arg(long, env = "ZONEFOLD_ZONE", value_name = "ZONE")]
    pub zone: Option<String>,
    /// Only of this cluster
    #[arg(long, env = "ZONEFOLD_CLUSTER", value_name = "NAME")]
    pub cluster: Option<String>,
    /// Only of this team
    #[arg(long, env = "ZONEFOLD_TEAM", value_name = "NAME")]
    pub team: Option<String>,
    /// Only about this name, or a pattern that it is among
    #[arg(long, env = "ZONEFOLD_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// Only of this request
    #[arg(long, env = "ZONEFOLD_REQUEST", value_name = "ID")]
    pub request: Option<String>,
    /// Only from this time on
    #[arg(long, env = "ZONEFOLD_SINCE", value_name = "TIME")]
    pub since: Option<String>,
    /// Only before this time
    #[arg(long, env = "ZONEFOLD_UNTIL", value_name = "TIME")]
    pub until: Option<String>,
    /// How many at most
    #[arg(long, env = "ZONEFOLD_LIMIT", value_name = "NUMBER", default_value_t = 100)]
    pub limit: usize,
    /// Where the broker is, and how the answer is written.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// Arguments of `zonefold audit export`.
#[derive(Clone, Debug, Args)]
pub struct AuditExportArgs {
    /// Only entries behind this number
    #[arg(long, env = "ZONEFOLD_AFTER", value_name = "NUMBER", default_value_t = 0)]
    pub after: i64,
    /// Where the broker is.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// A place of the chain that was noted earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotedLink {
    /// The number of the entry.
    pub seq: i64,
    /// Its hash.
    pub hash: AuditHash,
}

impl FromStr for NotedLink {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.split_once(':').and_then(|(seq, hash)| Some((seq.parse().ok()?, from_hex(hash)?)));
        parts
            .map(|(seq, hash)| Self { seq, hash })
            .ok_or_else(|| format!("{text:?} is no NUMBER:HASH as zonefold audit verify prints it"))
    }
}

/// Arguments of `zonefold audit verify`.
#[derive(Clone, Debug, Args)]
#[command(group(clap::ArgGroup::new("audit_of").args(["config", "file"]).required(true)))]
pub struct AuditVerifyArgs {
    /// The broker's configuration file (YAML): its store is read
    #[arg(long, env = "ZONEFOLD_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Overrides `store`
    #[arg(long, env = "ZONEFOLD_STORE", value_name = "URL", requires = "config")]
    pub store: Option<String>,
    /// A file that `zonefold audit export` wrote
    #[arg(long, env = "ZONEFOLD_FILE", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A number and a hash that an earlier verification printed: they still have to be there
    #[arg(long, env = "ZONEFOLD_EXPECT", value_name = "NUMBER:HASH")]
    pub expect: Vec<NotedLink>,
}

impl AuditVerifyArgs {
    /// The values that override the configuration.
    pub fn overrides(&self) -> ConfigOverrides {
        ConfigOverrides { store: self.store.clone(), ..ConfigOverrides::default() }
    }
}

/// Runs `zonefold audit list`; the exit code is 0 if there is anything, else 1.
///
/// # Errors
/// The broker cannot be reached, refuses, or is none; or the answer cannot be written.
pub async fn list(args: AuditListArgs) -> anyhow::Result<ExitCode> {
    let given = [
        ("actor", &args.actor),
        ("kind", &args.kind),
        ("subject", &args.subject),
        ("environment", &args.environment),
        ("account", &args.account),
        ("zone", &args.zone),
        ("cluster", &args.cluster),
        ("team", &args.team),
        ("name", &args.name),
        ("request", &args.request),
        ("since", &args.since),
        ("until", &args.until),
    ];
    let given: Vec<(&str, &str)> = given
        .iter()
        .filter_map(|(key, value)| value.as_deref().map(|value| (*key, value)))
        .collect();
    show(&args.read, &given, args.limit).await
}

/// Shows decisions; the exit code is 0 if there is one, else 1.
///
/// # Errors
/// As [`list`].
pub async fn show(
    read: &ReadArgs,
    filters: &[(&str, &str)],
    limit: usize,
) -> anyhow::Result<ExitCode> {
    let listed = read.client()?.list::<AuditInfo>("/api/v1/audit", filters, limit).await?;
    read.write(&listed.items, |entries, width| match entries.is_empty() {
        true => "nothing was decided\n".to_owned(),
        false => rows(entries, width).to_string() + "\n",
    })?;
    Ok(if listed.items.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn rows(entries: &[AuditInfo], width: u16) -> Rows {
    let mut rows = table(width, &["no", "at", "actor", "decision", "about", "reason"]);
    for entry in entries {
        let zone = entry.zone.as_ref().map(ToString::to_string);
        let names = (!entry.names.is_empty()).then(|| match entry.names.as_slice() {
            [name] => name.clone(),
            [name, rest @ ..] => format!("{name} and {} more", rest.len()),
            [] => String::new(),
        });
        let about: Vec<String> = [
            entry.subject.clone(),
            names,
            zone,
            entry.cluster.as_ref().map(ToString::to_string),
            entry.account.as_ref().map(ToString::to_string),
        ]
        .into_iter()
        .flatten()
        .collect();
        let kind = match &entry.refused {
            Some(_) => format!("{} (refused)", entry.kind),
            None => entry.kind.clone(),
        };
        rows.add_row([
            entry.seq.to_string(),
            entry.at.to_string(),
            entry.actor.clone(),
            kind,
            about.join(", "),
            entry.refused.clone().or_else(|| entry.reason.clone()).unwrap_or_default(),
        ]);
    }
    rows
}

/// The first line of an export: from where its chain is verified.
#[derive(Debug, Serialize, Deserialize)]
struct Beginning {
    beginning: ChainEnd,
}

/// How a line of an export goes on before the entry, which stands there exactly as it was hashed.
const ENTRY: &str = ",\"entry\":";

/// Runs `zonefold audit export`.
///
/// # Errors
/// The broker cannot be reached, refuses, or is none; or the lines cannot be written.
pub async fn export(args: AuditExportArgs) -> anyhow::Result<ExitCode> {
    let client = args.read.client()?;
    let mut out = io::BufWriter::new(io::stdout());
    let (mut after, mut begun) = (args.after, false);
    loop {
        let path = format!("/api/v1/audit/chain?after={}&limit={PAGE}", encode(&after.to_string()));
        let page: ChainInfo = client.get(&path).await?;
        if !begun {
            // The hash before the first line: of what was cut off, or of the entry that is left out.
            let beginning = match args.after > page.beginning.seq {
                true => ChainEnd { seq: after, hash: hash_of(&client, after).await? },
                false => page.beginning,
            };
            writeln!(out, "{}", serde_json::to_string(&Beginning { beginning })?)?;
            begun = true;
        }
        for entry in &page.entries {
            writeln!(
                out,
                "{{\"seq\":{},\"hash\":\"{}\"{ENTRY}{}}}",
                entry.seq, entry.hash, entry.text
            )?;
        }
        match page.entries.last().filter(|_| page.entries.len() == PAGE) {
            Some(last) => after = last.seq,
            None => break,
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// The hash of one entry.
async fn hash_of(client: &super::client::Client, seq: i64) -> anyhow::Result<String> {
    let path = format!("/api/v1/audit/chain?after={}&limit=1", seq - 1);
    let page: ChainInfo = client.get(&path).await?;
    let entry = page.entries.into_iter().find(|entry| entry.seq == seq);
    entry.map(|entry| entry.hash).with_context(|| format!("there is no entry {seq}"))
}

/// A chain that is verified entry by entry.
#[derive(Debug)]
pub struct ChainVerifier<'a> {
    seq: i64,
    hash: AuditHash,
    entries: u64,
    /// What was noted earlier, and whether it was met.
    expected: Vec<(&'a NotedLink, bool)>,
}

impl<'a> ChainVerifier<'a> {
    /// Behind an entry.
    pub fn new(seq: i64, hash: AuditHash, expected: &'a [NotedLink]) -> Self {
        let expected = expected.iter().map(|link| (link, false)).collect();
        let mut verifier = Self { seq, hash, entries: 0, expected };
        verifier.meet();
        verifier
    }

    fn meet(&mut self) {
        let (seq, hash) = (self.seq, self.hash);
        for (link, met) in &mut self.expected {
            *met |= link.seq == seq && link.hash == hash;
        }
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// It is not the next one, or does not fit its hash.
    pub fn take(&mut self, seq: i64, hash: &AuditHash, text: &str) -> anyhow::Result<()> {
        if seq != self.seq + 1 {
            bail!("the chain is broken: entry {} is missing", self.seq + 1);
        }
        if link(&self.hash, seq, text) != *hash {
            bail!("the chain is broken: entry {seq} was changed, or one before it was");
        }
        (self.seq, self.hash) = (seq, *hash);
        self.entries += 1;
        self.meet();
        Ok(())
    }

    /// All were taken: what was noted earlier has to be among them.
    ///
    /// # Errors
    /// It is not.
    pub fn end(self) -> anyhow::Result<String> {
        if let Some((missing, _)) = self.expected.iter().find(|(_, met)| !met) {
            bail!(
                "entry {} had the hash {} when it was noted, and has not any more: the chain was written anew, or cut",
                missing.seq,
                hex(&missing.hash)
            );
        }
        let (seq, hash) = (self.seq, hex(&self.hash));
        Ok(format!("{} entries, and each fits; the newest is {seq}:{hash}\n", self.entries))
    }
}

/// Verifies a file that [`export`] wrote; answers what to say.
///
/// # Errors
/// The file cannot be read, or the chain is broken.
pub fn verify_file(path: &Path, expected: &[NotedLink]) -> anyhow::Result<String> {
    let place = path.display();
    let file = std::fs::File::open(path).with_context(|| format!("{place} cannot be read"))?;
    let mut lines = io::BufReader::new(file).lines();
    let first = lines.next().with_context(|| format!("{place} is empty"))??;
    let Beginning { beginning } = serde_json::from_str(&first)
        .with_context(|| format!("the first line of {place} is not that of an export"))?;
    let hash = from_hex(&beginning.hash).context("the first line of the export has no hash")?;
    if beginning.seq == 0 && hash != genesis() {
        bail!("the chain is broken: it does not begin where every audit begins");
    }
    let mut verifier = ChainVerifier::new(beginning.seq, hash, expected);
    for (line, number) in lines.zip(2_u64..) {
        let line = line?;
        let (seq, hash, text) = parts(&line)
            .with_context(|| format!("line {number} of {place} is not that of an export"))?;
        verifier.take(seq, &hash, text)?;
    }
    verifier.end()
}

/// The number, the hash and the text of a line.
fn parts(line: &str) -> Option<(i64, AuditHash, &str)> {
    let (head, rest) = line.split_once(ENTRY)?;
    let (seq, hash) = head.strip_prefix("{\"seq\":")?.split_once(",\"hash\":\"")?;
    Some((seq.parse().ok()?, from_hex(hash.strip_suffix('"')?)?, rest.strip_suffix('}')?))
}

/// The newest cut that the entries tell of has to be the one that the chain begins after. Answers the cut that an entry tells of.
pub fn cut_of(text: &str) -> Option<serde_json::Value> {
    let entry: AuditEntry = serde_json::from_str(text).ok()?;
    entry.after.filter(|_| entry.kind == AuditKind::AuditCut)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of an export of these texts.
    fn export_of(texts: &[&str]) -> Vec<String> {
        let first = Beginning { beginning: ChainEnd { seq: 0, hash: hex(&genesis()) } };
        let mut lines = vec![serde_json::to_string(&first).unwrap()];
        let mut hash = genesis();
        for (seq, text) in (1..).zip(texts) {
            hash = link(&hash, seq, text);
            lines.push(format!("{{\"seq\":{seq},\"hash\":\"{}\"{ENTRY}{text}}}", hex(&hash)));
        }
        lines
    }

    fn verified(lines: &[String], expected: &[NotedLink]) -> Result<String, String> {
        let name = format!("zonefold-audit-{}.ndjson", uuid::Uuid::new_v4());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, lines.join("\n")).unwrap();
        let verified = verify_file(&path, expected).map_err(|error| format!("{error:#}"));
        std::fs::remove_file(&path).unwrap();
        verified
    }

    const TEXTS: [&str; 3] = [r#"{"a":1}"#, r#"{"b":",\"entry\":"}"#, r#"{"c":"ö"}"#];

    #[test]
    fn an_export_proves_itself_and_each_change_of_it_shows() {
        let lines = export_of(&TEXTS);
        let said = verified(&lines, &[]).unwrap();
        assert!(said.starts_with("3 entries, and each fits; the newest is 3:"), "{said}");
        let noted: NotedLink = said.trim().rsplit_once(' ').unwrap().1.parse().unwrap();
        assert!(verified(&lines, &[noted]).is_ok());
        assert!(serde_json::from_str::<serde_json::Value>(&lines[2]).is_ok(), "each line is JSON");

        let mut changed = lines.clone();
        changed[1] = changed[1].replace("\"a\":1", "\"a\":2");
        assert!(verified(&changed, &[]).unwrap_err().contains("entry 1 was changed"));
        let mut missing = lines.clone();
        missing.remove(2);
        assert!(verified(&missing, &[]).unwrap_err().contains("entry 2 is missing"));
        let anew = export_of(&[TEXTS[0], r#"{"b":"another"}"#, TEXTS[2]]);
        assert!(verified(&anew, &[]).is_ok(), "one that was written anew as a whole fits");
        assert!(verified(&anew, &[noted]).unwrap_err().contains("written anew"));
        assert!(verified(&lines[..3], &[noted]).unwrap_err().contains("written anew, or cut"));
        for broken in ["", "{}", "no json"] {
            assert!(verified(&[broken.to_owned()], &[]).is_err(), "{broken}");
        }
        let mut damaged = lines;
        damaged[3].truncate(20);
        assert!(verified(&damaged, &[]).unwrap_err().contains("line 4"));
    }
}
