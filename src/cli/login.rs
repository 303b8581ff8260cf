//! `zonefold login` and `zonefold logout`: a session for the commands that ask a broker.

use std::io::Read as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::{Query, State};
use axum::response::Html;
use axum::routing;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::client::{Client, ClientError, encode};
use super::credentials::KeptCredential;
use super::output::{ReadArgs, write_text};
use crate::api::me::MeInfo;
use crate::api::secret::new_secret;
use crate::api::sign_in::{CodeExchange, ProgramSession, SignedOut};

/// How long a person may take in their browser.
const SIGN_IN_WITHIN: Duration = Duration::from_secs(600);
/// How long the browser may take to fetch the last page.
const LAST_PAGE_WITHIN: Duration = Duration::from_millis(300);

/// Arguments of `zonefold login`.
#[derive(Clone, Debug, Args)]
pub struct LoginArgs {
    /// Read a token from standard input instead of opening a browser
    #[arg(long, env = "ZONEFOLD_WITH_TOKEN")]
    pub with_token: bool,
    /// Where the broker is, and how the answer is written.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// Arguments of `zonefold logout`.
#[derive(Clone, Debug, Args)]
pub struct LogoutArgs {
    /// Where the broker is, and how the answer is written.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// Runs `zonefold login`.
///
/// # Errors
/// The broker cannot be reached, or lets nobody in; or the credentials cannot be kept.
pub async fn login(args: LoginArgs) -> anyhow::Result<ExitCode> {
    let read = &args.read;
    anyhow::ensure!(
        read.token_file.is_none(),
        "with --token-file the command has a token already: leave one of the two out"
    );
    let (secret, until) = if args.with_token {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).context("no token can be read")?;
        let token = text.trim().to_owned();
        anyhow::ensure!(!token.is_empty(), "give the token on standard input");
        (token, None)
    } else {
        let session = by_browser(read).await?;
        (session.secret, Some(session.ends_at))
    };
    let me: MeInfo = read.client_with(Some(&secret))?.get("/api/v1/me").await?;
    let path = read.credentials_path()?;
    let mut kept = super::credentials::KeptCredentials::read(&path)?;
    kept.keep(&read.broker, KeptCredential { secret, name: me.name.clone() });
    kept.write(&path)?;
    read.write(&me, |me, _| {
        let until = until.map(|until| format!(", until {until}")).unwrap_or_default();
        format!("signed in to {} as {} ({}){until}\n", read.broker, me.name, me.role)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `zonefold logout`; the exit code is 0 also if nobody was signed in.
///
/// # Errors
/// The broker cannot be reached; what is kept for it stays then.
pub async fn logout(args: LogoutArgs) -> anyhow::Result<ExitCode> {
    let read = &args.read;
    let path = read.credentials_path()?;
    let mut kept = super::credentials::KeptCredentials::read(&path)?;
    let Some(credential) = kept.forget(&read.broker) else {
        write_text(&format!("nobody is signed in to {}\n", read.broker))?;
        return Ok(ExitCode::SUCCESS);
    };
    let client = read.client_with(Some(&credential.secret))?;
    let SignedOut { ended } = client.post("/auth/sign-out").await?;
    kept.write(&path)?;
    let rest =
        if ended { "" } else { "; a token stays good until its end, or until it is revoked" };
    write_text(&format!("signed out of {}{rest}\n", read.broker))?;
    Ok(ExitCode::SUCCESS)
}

/// With what the browser comes.
#[derive(Deserialize)]
struct Came {
    code: String,
    state: String,
}

/// Has a browser sign in, and come back to a port of this machine (RFC 8252 §7.3).
async fn by_browser(read: &ReadArgs) -> anyhow::Result<ProgramSession> {
    let client = read.client_with(None)?;
    // A session is as good as a token: it goes over no network in plain text.
    drop(read.client_with(Some("a session"))?);
    // Before anybody opens a link that leads nowhere.
    let nothing = CodeExchange::default();
    match client.post_json::<ProgramSession>("/auth/exchange", &nothing).await {
        Err(ClientError::Refused { status: 400, .. }) | Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    let no_randomness = || anyhow::anyhow!("the system gives no randomness");
    let verifier = new_secret().ok_or_else(no_randomness)?;
    let state = new_secret().ok_or_else(no_randomness)?;
    let listener = TcpListener::bind("127.0.0.1:0").await.context("no port can be opened")?;
    let back = format!("http://{}/", listener.local_addr()?);
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
    let link = format!(
        "{}/auth/sign-in?redirect_uri={}&code_challenge={challenge}&state={state}&program={}",
        read.broker,
        encode(&back),
        encode("zonefold login")
    );
    eprintln!("Open this link in a browser on this machine:\n\n  {link}\n");
    let code = tokio::time::timeout(SIGN_IN_WITHIN, wait_for(listener, &state)).await;
    let code =
        code.map_err(|_| anyhow::anyhow!("nobody signed in within ten minutes: try again"))??;
    Ok(client.post_json("/auth/exchange", &CodeExchange { code, code_verifier: verifier }).await?)
}

/// Waits for the browser; answers the code of the sign-in with this state.
async fn wait_for(listener: TcpListener, state: &str) -> anyhow::Result<String> {
    async fn page(
        State(sender): State<mpsc::Sender<Came>>,
        Query(came): Query<Came>,
    ) -> Html<&'static str> {
        // One that came before is enough.
        let _full = sender.try_send(came);
        Html(
            "<!doctype html><title>Zonefold</title><p>You can close this page and go back to the terminal.</p>",
        )
    }
    let (sender, mut arrived) = mpsc::channel(8);
    let routes = axum::Router::new().route("/", routing::get(page)).with_state(sender);
    let serving = async { axum::serve(listener, routes).await };
    tokio::pin!(serving);
    loop {
        let came = tokio::select! {
            ended = &mut serving => anyhow::bail!("the port was closed: {ended:?}"),
            came = arrived.recv() => came,
        };
        // Anything else on this machine may ask the port.
        if let Some(came) = came.filter(|came| came.state == state) {
            // The page still has to reach the browser.
            let _served = tokio::time::timeout(LAST_PAGE_WITHIN, serving).await;
            return Ok(came.code);
        }
    }
}

impl ReadArgs {
    /// The broker's API for a caller with this secret.
    ///
    /// # Errors
    /// As [`ReadArgs::client`].
    pub fn client_with(&self, secret: Option<&str>) -> anyhow::Result<Client> {
        Ok(Client::new(self.broker.clone(), secret, self.read_ca()?.as_deref())?)
    }
}
