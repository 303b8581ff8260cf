//! Sessions and tokens that the broker keeps: `zonefold get tokens`, `zonefold token create`, `zonefold token revoke`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use super::client::encode;
use super::credentials::write_secret;
use super::output::{OutputFormat, ReadArgs, table, write_text};

use crate::api::role::Role;
use crate::api::tokens::{MadeToken, NewTokenRequest, TokenInfo};
use crate::core::dns::name::DnsName;
use crate::core::ids::{EnvironmentId, RuleName};
use crate::core::people::credential::CredentialKind;
use crate::core::people::teams::TeamStanding;

/// `zonefold token create` and `zonefold token revoke`.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token that the broker keeps, for yourself or for a machine
    #[command(
        after_help = "Examples:\n  zonefold token create \"my laptop\" --days 30\n  zonefold token create deploy --for-machine --team pay --team-role owner --out ./token"
    )]
    Create(CreateTokenArgs),
    /// Take a token or a session back
    #[command(
        after_help = "Example:\n  zonefold token revoke 0193b2c4-7a51-7000-8000-3f0a2b1c4d5e"
    )]
    Revoke(RevokeTokenArgs),
}

/// What the holder of a token of the REST API may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TokenRole {
    /// Read.
    Viewer,
    /// Change what the broker does.
    Operator,
    /// Everything.
    Admin,
}

/// What a token is in its teams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TokenTeamRole {
    /// Belongs to them.
    Member,
    /// Decides for them.
    Owner,
}

/// Arguments of `zonefold token create`.
#[derive(Clone, Debug, Args)]
pub struct CreateTokenArgs {
    /// What people call it
    #[arg(env = "ZONEFOLD_TOKEN_NAME", value_name = "NAME")]
    pub name: String,
    /// For a machine, which acts by itself; without it the token acts as you do
    #[arg(long, env = "ZONEFOLD_FOR_MACHINE")]
    pub for_machine: bool,
    /// The role for the whole at most
    #[arg(long, env = "ZONEFOLD_TOKEN_ROLE", value_enum, default_value = "viewer")]
    pub role: TokenRole,
    /// A team that it acts for
    #[arg(long, env = "ZONEFOLD_TEAM", value_name = "TEAM", value_delimiter = ',')]
    pub team: Vec<RuleName>,
    /// What it is in those teams at most
    #[arg(long, env = "ZONEFOLD_TEAM_ROLE", value_enum, default_value = "member")]
    pub team_role: TokenTeamRole,
    /// A zone, by its apex, in which it may change something; without it in all
    #[arg(long, env = "ZONEFOLD_ZONE", value_name = "ZONE", value_delimiter = ',')]
    pub zone: Vec<DnsName>,
    /// An environment whose things it sees; without it those that you see
    #[arg(long, env = "ZONEFOLD_ENVIRONMENT", value_name = "ENVIRONMENT", value_delimiter = ',')]
    pub environment: Vec<EnvironmentId>,
    /// For how many days it holds
    #[arg(long, env = "ZONEFOLD_DAYS", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=365))]
    pub days: u32,
    /// Write the token to this new file, which only its owner may read, instead of showing it
    #[arg(long, env = "ZONEFOLD_TOKEN_OUT", value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Where the broker is, and how the answer is written.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// Arguments of `zonefold token revoke`.
#[derive(Clone, Debug, Args)]
pub struct RevokeTokenArgs {
    /// The id that `zonefold get tokens` shows
    #[arg(env = "ZONEFOLD_TOKEN_ID", value_name = "ID")]
    pub id: String,
    /// Where the broker is, and how the answer is written.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// Runs `zonefold token create` or `zonefold token revoke`.
///
/// # Errors
/// The broker cannot be reached, or refuses; or the token's file cannot be written.
pub async fn run(command: &TokenCommand) -> anyhow::Result<ExitCode> {
    match command {
        TokenCommand::Create(args) => create(args).await,
        TokenCommand::Revoke(args) => revoke(args).await,
    }
}

async fn create(args: &CreateTokenArgs) -> anyhow::Result<ExitCode> {
    if let Some(path) = &args.out {
        // Before a token is made that nobody would have.
        anyhow::ensure!(!path.exists(), "{} is there already: name a new file", path.display());
    }
    let wanted = NewTokenRequest {
        name: args.name.clone(),
        kind: Some(if args.for_machine { CredentialKind::Machine } else { CredentialKind::Person }),
        role: match args.role {
            TokenRole::Viewer => Role::Viewer,
            TokenRole::Operator => Role::Operator,
            TokenRole::Admin => Role::Admin,
        },
        teams: args.team.iter().cloned().collect(),
        team_role: match args.team_role {
            TokenTeamRole::Member => TeamStanding::Member,
            TokenTeamRole::Owner => TeamStanding::Owner,
        },
        zones: args.zone.iter().cloned().collect(),
        environments: args.environment.iter().cloned().collect(),
        days: Some(args.days),
    };
    let made: MadeToken = args.read.client()?.post_json("/api/v1/tokens", &wanted).await?;
    match (&args.out, args.read.output) {
        (None, OutputFormat::Json) => args.read.write(&made, |_, _| String::new())?,
        (None, OutputFormat::Table) => {
            write_text(&format!("# The token, which is shown only now:\n{}\n", made.secret))?;
        }
        (Some(path), _) => {
            write_secret(path, &made.secret)?;
            args.read.write(&made.token, |token, _| {
                format!(
                    "the token {} is in {}, until {}\n",
                    token.id,
                    path.display(),
                    token.ends_at
                )
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn revoke(args: &RevokeTokenArgs) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/tokens/{}", encode(&args.id));
    let token: TokenInfo = args.read.client()?.delete(&path).await?;
    args.read.write(&token, |token, _| match token.state.as_str() {
        "revoked" => format!("{} {} opens nothing any more\n", token.kind, token.id),
        _ => format!("{} {} had ended before\n", token.kind, token.id),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `zonefold get tokens`; the exit code is 0 if there is one, else 1.
///
/// # Errors
/// The broker cannot be reached, refuses, or is none; or the answer cannot be written.
pub async fn list(read: &ReadArgs) -> anyhow::Result<ExitCode> {
    let listed =
        read.client()?.list::<TokenInfo>("/api/v1/tokens", &[("state", "live")], 10_000).await?;
    read.write(&listed.items, |tokens, width| match tokens.is_empty() {
        true => "there are no sessions and no tokens that you may see\n".to_owned(),
        false => {
            let mut rows = table(width, &["id", "kind", "name", "holder", "may", "ends", "used"]);
            for token in tokens {
                rows.add_row([
                    token.id.clone(),
                    token.kind.clone(),
                    token.name.clone(),
                    token.holder.clone().unwrap_or_default(),
                    carries(token),
                    token.ends_at.to_string(),
                    token.used_at.map_or_else(|| "never".to_owned(), |at| at.to_string()),
                ]);
            }
            rows.to_string() + "\n"
        }
    })?;
    Ok(if listed.items.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn carries(token: &TokenInfo) -> String {
    let Some(role) = &token.role else { return "all of its holder's".to_owned() };
    let teams = token.teams.as_deref().unwrap_or_default();
    let mut parts = vec![role.clone()];
    if !teams.is_empty() {
        let team_role = token.team_role.as_deref().unwrap_or("member");
        parts.push(format!("{team_role} of {}", teams.join(", ")));
    }
    if !token.zones.is_empty() {
        parts.push(format!("changes in {}", token.zones.join(", ")));
    }
    if !token.environments.is_empty() {
        parts.push(format!("sees {}", token.environments.join(", ")));
    }
    parts.join("; ")
}
