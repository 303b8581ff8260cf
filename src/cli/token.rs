//! `zonefold token`: makes a token, and the entry of the broker's configuration that knows it by its hash.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use sha2::{Digest as _, Sha256};

pub use super::credentials::write_secret;
use super::output::OutputFormat;
use super::tokens::TokenCommand;
pub use super::tokens::TokenRole;
use crate::api::secret::new_secret;
use crate::core::ids::ClusterId;

/// Arguments of `zonefold token`.
#[derive(Clone, Debug, Args)]
pub struct TokenArgs {
    /// What is done with tokens that the broker keeps; `None` to make one for its configuration.
    #[command(subcommand)]
    pub command: Option<TokenCommand>,
    /// For the REST API: what its holder may do
    #[arg(
        long,
        env = "ZONEFOLD_TOKEN_ROLE",
        value_enum,
        requires = "name",
        required_unless_present = "cluster"
    )]
    pub role: Option<TokenRole>,
    /// For the REST API: who holds it
    #[arg(long, env = "ZONEFOLD_TOKEN_NAME", value_name = "NAME", requires = "role")]
    pub name: Option<String>,
    /// For the agent of this cluster
    #[arg(long, env = "ZONEFOLD_TOKEN_CLUSTER", value_name = "NAME", conflicts_with_all = ["role", "name"])]
    pub cluster: Option<ClusterId>,
    /// Write the token to this new file, which only its owner may read, instead of showing it
    #[arg(long, env = "ZONEFOLD_TOKEN_OUT", value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// How the answer is written
    #[arg(short, long, env = "ZONEFOLD_OUTPUT", value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// A new token, and the hash that is stored of it.
pub struct NewToken {
    /// The token itself.
    pub token: String,
    /// SHA-256 of it, in hexadecimal.
    pub sha256: String,
}

impl NewToken {
    /// Makes one.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn make() -> anyhow::Result<Self> {
        let token =
            new_secret().ok_or_else(|| anyhow::anyhow!("the system gives no randomness"))?;
        let sha256 = sha256_hex(&token);
        Ok(Self { token, sha256 })
    }
}

/// SHA-256 of a token, in hexadecimal: what the broker's configuration holds of it.
pub fn sha256_hex(token: &str) -> String {
    Sha256::digest(token.trim().as_bytes()).iter().fold(String::new(), |mut text, octet| {
        let _infallible = write!(text, "{octet:02x}");
        text
    })
}

/// Runs `zonefold token`.
///
/// # Errors
/// The file is there already or cannot be written, or the system gives no randomness.
pub fn run(args: &TokenArgs) -> anyhow::Result<ExitCode> {
    let made = NewToken::make()?;
    if let Some(path) = &args.out {
        write_secret(path, &made.token)?;
    }
    let text = match args.output {
        OutputFormat::Table => for_people(args, &made),
        OutputFormat::Json => for_programs(args, &made),
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())?;
    Ok(ExitCode::SUCCESS)
}

fn role_name(role: TokenRole) -> &'static str {
    match role {
        TokenRole::Viewer => "viewer",
        TokenRole::Operator => "operator",
        TokenRole::Admin => "admin",
    }
}

fn for_people(args: &TokenArgs, made: &NewToken) -> String {
    let mut text = String::new();
    let _infallible = match &args.out {
        Some(path) => writeln!(text, "# The token is in {}.", path.display()),
        None => writeln!(text, "# The token, which is shown only now:\n# {}", made.token),
    };
    let _infallible = match (args.role, &args.name, &args.cluster) {
        (Some(role), Some(name), _) => write!(
            text,
            "# For the broker's configuration:\napi:\n  tokens:\n    - name: {}\n      role: {}\n      token_sha256: {}\n",
            json!(name),
            role_name(role),
            made.sha256
        ),
        (_, _, Some(cluster)) => write!(
            text,
            "# For the broker's configuration, with the environment that the cluster has there:\nclusters:\n  - name: {cluster}\n    identity:\n      token_sha256: {}\n",
            made.sha256
        ),
        // The parser asks for one of the two.
        _ => Ok(()),
    };
    text
}

fn for_programs(args: &TokenArgs, made: &NewToken) -> String {
    let mut answer = json!({ "token_sha256": made.sha256 });
    if args.out.is_none() {
        answer["token"] = json!(made.token);
    }
    if let (Some(name), Some(role)) = (&args.name, args.role) {
        answer["name"] = json!(name);
        answer["role"] = json!(role_name(role));
    }
    if let Some(cluster) = &args.cluster {
        answer["cluster"] = json!(cluster);
    }
    format!("{answer}\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::config::Config;

    fn args(line: &str) -> Result<TokenArgs, clap::Error> {
        match Cli::try_parse_from(line.split(' '))?.command {
            Command::Token(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_printed_is_taken_by_the_broker_and_holds_no_token() {
        let made = NewToken::make().unwrap();
        assert!(made.token.len() > 50 && made.sha256.len() == 64);
        assert_ne!(NewToken::make().unwrap().token, made.token);
        let text =
            for_people(&args("zonefold token --role operator --name on-call").unwrap(), &made);
        assert_eq!(text.matches(&made.token).count(), 1, "shown once, as a comment");
        let config = Config::parse(
            &format!("agents: {{ token: 0123456789abcdef0123 }}\n{text}"),
            "broker.yaml",
        )
        .unwrap();
        assert_eq!(
            config.api.tokens[0].token_hash().unwrap()[..],
            Sha256::digest(made.token.as_bytes())[..]
        );

        let text = for_people(&args("zonefold token --cluster dev-east --out f").unwrap(), &made);
        assert!(!text.contains(&made.token) && text.contains(&made.sha256), "{text}");
        let text = for_programs(
            &args("zonefold token --role viewer --name x --out f --output json").unwrap(),
            &made,
        );
        assert!(!text.contains(&made.token) && text.contains(&made.sha256), "{text}");
    }

    #[test]
    fn a_token_is_for_the_api_or_for_a_cluster() {
        for wrong in [
            "token",
            "token create",
            "token --role viewer --name x create y",
            "token --role viewer",
            "token --name x",
            "token --cluster a --role viewer --name x",
            "token --role root --name x",
        ] {
            assert!(args(&format!("zonefold {wrong}")).is_err(), "{wrong}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_token_s_file_is_new_and_its_owner_s() {
        use std::os::unix::fs::PermissionsExt as _;
        let path = std::env::temp_dir().join(format!("zonefold-secret-{}", uuid::Uuid::new_v4()));
        write_secret(&path, "secret").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(
            write_secret(&path, "another").is_err(),
            "what somebody relies on is not overwritten"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "secret\n");
        std::fs::remove_file(path).unwrap();
    }
}
