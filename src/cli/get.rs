//! `zonefold get`: what there is of a kind.

use std::process::ExitCode;
use std::str::FromStr;

use clap::Args;

use super::output::ReadArgs;
use super::rules::DocumentFormat;
use super::{audit, holds, notifications, rules, tokens};
use crate::api::rules::KindParam;
use crate::core::ids::RuleName;

/// How many decisions are shown; zonefold audit list shows more.
const SHOWN_DECISIONS: usize = 100;

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readable {
    /// Rules of a kind.
    Rules(KindParam),
    /// What guards hold.
    Holds,
    /// What needed the word of people.
    Requests,
    /// Decisions, the newest.
    Audit,
    /// What subscribers are told.
    Notifications,
    /// Sessions and tokens.
    Tokens,
}

impl FromStr for Readable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "hold" | "holds" => Ok(Self::Holds),
            "request" | "requests" => Ok(Self::Requests),
            "audit" => Ok(Self::Audit),
            "notification" | "notifications" => Ok(Self::Notifications),
            "token" | "tokens" => Ok(Self::Tokens),
            _ => text.parse().map(Self::Rules).map_err(|error: String| {
                format!("{error}; or holds, requests, audit, notifications, or tokens")
            }),
        }
    }
}

/// Arguments of `zonefold get`.
#[derive(Clone, Debug, Args)]
pub struct GetArgs {
    /// What to show: a kind of rules, such as grants, or holds, requests, audit, notifications, or tokens; all rules if it is left out
    #[arg(env = "ZONEFOLD_KIND", value_name = "KIND")]
    pub kind: Option<Readable>,
    /// The name of one rule
    #[arg(env = "ZONEFOLD_RULE", value_name = "NAME", requires = "kind")]
    pub name: Option<RuleName>,
    /// Write the rules as documents that can be applied again
    #[arg(long, env = "ZONEFOLD_DOCUMENTS", value_enum)]
    pub documents: Option<DocumentFormat>,
    /// Only notifications in this state: waiting, delivered or dead
    #[arg(long, env = "ZONEFOLD_STATE", value_name = "STATE")]
    pub state: Option<String>,
    /// Where the broker is, and how the answer is written.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// Runs `zonefold get`; the exit code is 0 if there is anything, else 1.
///
/// # Errors
/// The broker cannot be reached, refuses, or is none; or the answer cannot be written; or an argument is for rules only.
pub async fn run(args: GetArgs) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        args.state.is_none() || args.kind == Some(Readable::Notifications),
        "--state is for notifications"
    );
    let kind = match args.kind {
        None => None,
        Some(Readable::Rules(kind)) => Some(kind),
        Some(other) => {
            anyhow::ensure!(
                args.name.is_none() && args.documents.is_none(),
                "a name and --documents are for rules: zonefold describe hold shows one hold"
            );
            return match other {
                Readable::Requests => holds::requests(&args.read).await,
                Readable::Audit => audit::show(&args.read, &[], SHOWN_DECISIONS).await,
                Readable::Notifications => {
                    notifications::list(&args.read, args.state.as_deref()).await
                }
                Readable::Tokens => tokens::list(&args.read).await,
                _ => holds::list(&args.read).await,
            };
        }
    };
    rules::get(&args.read, kind, args.name.as_ref(), args.documents).await
}
