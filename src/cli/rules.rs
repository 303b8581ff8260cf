//! Rules of governance: `zonefold apply`, `zonefold delete`, and the rules of `zonefold get`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::client::encode;
use super::output::{ReadArgs, Rows, table, write_text};
use crate::api::rules::{KindParam, RuleChanges, RuleEntry, RuleReference, RulesInfo};
use crate::config::RuleFiles;
use crate::core::ids::RuleName;

/// The form of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DocumentFormat {
    /// YAML documents, parted by `---`.
    Yaml,
    /// One JSON document a line.
    Json,
}

/// Shows rules; the exit code is 0 if there is one, else 1.
///
/// # Errors
/// The broker cannot be reached, refuses, or is none; or the answer cannot be written.
pub async fn get(
    read: &ReadArgs,
    kind: Option<KindParam>,
    name: Option<&RuleName>,
    documents_as: Option<DocumentFormat>,
) -> anyhow::Result<ExitCode> {
    let client = read.client()?;
    let rules: Vec<RuleEntry> = match (kind, name) {
        (Some(kind), Some(name)) => {
            let path = format!("/api/v1/rules/{}/{}", kind.plural(), encode(name.as_str()));
            vec![client.get(&path).await?]
        }
        (Some(kind), None) => {
            client.list("/api/v1/rules", &[("kind", kind.plural())], usize::MAX).await?.items
        }
        (None, _) => client.list("/api/v1/rules", &[], usize::MAX).await?.items,
    };
    let is_empty = rules.is_empty();
    match documents_as {
        Some(format) => write_text(&documents(&rules, format)?)?,
        None => read.write(&rules, |rules, width| rows(rules, width).to_string() + "\n")?,
    }
    Ok(if is_empty { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn rows(rules: &[RuleEntry], width: u16) -> Rows {
    let mut rows = table(width, &["kind", "name", "lives in", "says"]);
    for rule in rules {
        let says = rule.document.get("spec").map(ToString::to_string).unwrap_or_default();
        let home = rule.file.clone().unwrap_or_else(|| "the store".to_owned());
        rows.add_row([rule.kind.clone(), rule.name.clone(), home, says]);
    }
    rows
}

fn documents(rules: &[RuleEntry], format: DocumentFormat) -> anyhow::Result<String> {
    let mut text = String::new();
    for rule in rules {
        match format {
            DocumentFormat::Yaml => {
                text += "---\n";
                text += &serde_saphyr::to_string(&rule.document)?;
            }
            DocumentFormat::Json => {
                text += &serde_json::to_string(&rule.document)?;
                text.push('\n');
            }
        }
    }
    Ok(text)
}

/// What writing commands share.
#[derive(Clone, Debug, Args)]
pub struct WriteArgs {
    /// Only say what would happen
    #[arg(long, env = "ZONEFOLD_PREVIEW")]
    pub preview: bool,
    /// Why, for who reads it later
    #[arg(long, env = "ZONEFOLD_REASON", value_name = "TEXT")]
    pub reason: Option<String>,
    /// Where the broker is, and how the answer is written.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// Arguments of `zonefold apply`.
#[derive(Clone, Debug, Args)]
pub struct ApplyArgs {
    /// A file of YAML documents, or a folder of such files
    #[arg(short, long, env = "ZONEFOLD_FILE", value_name = "PATH", required = true)]
    pub file: Vec<PathBuf>,
    #[command(flatten)]
    pub write: WriteArgs,
}

/// Runs `zonefold apply`.
///
/// # Errors
/// A file is refused, with its line; the broker cannot be reached, or refuses.
pub async fn apply(args: ApplyArgs) -> anyhow::Result<ExitCode> {
    let files = RuleFiles::read_all(&args.file).map_err(anyhow::Error::from)?;
    anyhow::ensure!(
        !files.rules.is_empty(),
        "no rule is in these files: see docs/governance.md for examples"
    );
    let put = files.rules.iter().map(|rule| rule.document()).collect::<Result<_, _>>()?;
    send(&args.write, &RuleChanges { put, delete: vec![] }).await
}

/// Arguments of `zonefold delete`.
#[derive(Clone, Debug, Args)]
pub struct DeleteArgs {
    /// The kind of the rule, such as grant
    #[arg(env = "ZONEFOLD_KIND", value_name = "KIND")]
    pub kind: KindParam,
    /// Its name
    #[arg(env = "ZONEFOLD_RULE", value_name = "NAME")]
    pub name: RuleName,
    #[command(flatten)]
    pub write: WriteArgs,
}

/// Runs `zonefold delete`.
///
/// # Errors
/// There is no such rule, or it lives in a file; the broker cannot be reached, or refuses.
pub async fn delete(args: DeleteArgs) -> anyhow::Result<ExitCode> {
    let reference = RuleReference { kind: args.kind.to_string(), name: args.name.to_string() };
    send(&args.write, &RuleChanges { put: vec![], delete: vec![reference] }).await
}

async fn send(args: &WriteArgs, changes: &RuleChanges) -> anyhow::Result<ExitCode> {
    let client = args.read.client()?;
    let mut query = format!("?preview={}", args.preview);
    if let Some(reason) = &args.reason {
        query += &format!("&reason={}", encode(reason));
    }
    let set: RulesInfo = client
        .post_json(&format!("/api/v1/rules{query}"), changes)
        .await
        .context("nothing is changed")?;
    let preview = args.preview;
    args.read.write(&set, |set, _| match preview {
        true => {
            format!("set {} would count, of {} rules; nothing is changed\n", set.number, set.rules)
        }
        false => format!("set {} counts, of {} rules\n", set.number, set.rules),
    })?;
    Ok(ExitCode::SUCCESS)
}
