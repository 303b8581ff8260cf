//! PostgreSQL for a benchmark: databases of its own, on a server that is named or on one that is started for it alone.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr as _;

use anyhow::Context;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection};
use tokio::process::{Child, Command};

use super::say;

/// Where Debian's packages put the programs.
const INSTALLED: &str = "/usr/lib/postgresql";
/// Stops the server and removes its folder when standard input ends, which is when this process ends, however it does.
const WATCHDOG: &str = r#"
cat >/dev/null
$AS "$BIN/pg_ctl" --pgdata="$HOME_DIR/data" --mode=immediate --silent stop >/dev/null 2>&1
rm -rf "$HOME_DIR"
"#;

/// A server, and the databases that were made on it.
pub struct Databases {
    server: PgConnectOptions,
    made: Vec<String>,
    own: Option<OwnServer>,
}

/// A server that ends with this process.
struct OwnServer {
    // Its standard input is held open; the server goes when that ends.
    _watchdog: Child,
}

impl Databases {
    /// Uses the server of a URL, or starts one in the folder.
    ///
    /// # Errors
    /// The URL is none, or a server cannot be started.
    pub async fn open(url: Option<&str>, folder: Option<&Path>) -> anyhow::Result<Self> {
        match url {
            Some(url) => {
                let server = PgConnectOptions::from_str(url)
                    .ok()
                    .context("that is no URL of a PostgreSQL database")?;
                Ok(Self { server, made: vec![], own: None })
            }
            None => {
                let (server, own) = start(folder).await?;
                Ok(Self { server, made: vec![], own: Some(own) })
            }
        }
    }

    /// Makes an empty database; answers how to connect to it.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn make(&mut self, purpose: &str) -> anyhow::Result<PgConnectOptions> {
        let name = format!("zonefold_bench_{purpose}_{}", uuid::Uuid::new_v4().simple());
        let mut admin = self.admin().await?;
        admin.execute(AssertSqlSafe(format!("create database {name}"))).await?;
        admin.close().await?;
        let database = self.server.clone().database(&name);
        self.made.push(name);
        Ok(database)
    }

    /// Removes the databases that were made, and the server with its folder when it is this benchmark's own.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn close(mut self) -> anyhow::Result<()> {
        if self.own.is_some() {
            return Ok(());
        }
        let mut admin = self.admin().await?;
        for name in std::mem::take(&mut self.made) {
            admin.execute(AssertSqlSafe(format!("drop database {name} with (force)"))).await?;
        }
        Ok(admin.close().await?)
    }

    async fn admin(&self) -> anyhow::Result<PgConnection> {
        PgConnection::connect_with(&self.server).await.context("PostgreSQL cannot be reached")
    }
}

/// The address of a database, as the configuration takes it.
pub fn url_of(database: &PgConnectOptions) -> String {
    database.to_url_lossy().to_string()
}

async fn start(folder: Option<&Path>) -> anyhow::Result<(PgConnectOptions, OwnServer)> {
    let bin = programs()?;
    let parent = folder.map_or_else(std::env::temp_dir, Path::to_owned);
    // A short path: a unix socket's takes about a hundred characters.
    let home = parent.join(format!("zonefold-pg-{}", std::process::id()));
    std::fs::create_dir_all(&home)
        .with_context(|| format!("the folder {} cannot be made", home.display()))?;
    let wrapper = unprivileged(&home).await?;
    let watchdog = watch(&bin, &home, &wrapper)?;
    let data = home.join("data");
    let mut initdb = command(&wrapper, &bin.join("initdb"));
    initdb
        .args([
            "--no-sync",
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
            "--pgdata",
        ])
        .arg(&data);
    run(&mut initdb).await?;
    let port = super::child::Addresses::free()?.http.port();
    // As Debian would run it, but for the socket: every commit is on the disk.
    let settings = format!(
        "-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={} -c shared_buffers=512MB -c max_wal_size=4GB",
        home.display()
    );
    let mut pg_ctl = command(&wrapper, &bin.join("pg_ctl"));
    pg_ctl
        .args(["start", "--wait", "--silent", "--timeout=60", "--options", &settings, "--pgdata"])
        .arg(&data);
    pg_ctl.arg("--log").arg(home.join("log")).stdout(Stdio::null());
    run(&mut pg_ctl)
        .await
        .with_context(|| std::fs::read_to_string(home.join("log")).unwrap_or_default())?;
    say(&format!("PostgreSQL of {} runs in {}", bin.display(), home.display()));
    let server = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username("postgres")
        .database("postgres");
    Ok((server, OwnServer { _watchdog: watchdog }))
}

/// The newest installation's folder of programs.
fn programs() -> anyhow::Result<PathBuf> {
    let installed = std::fs::read_dir(INSTALLED)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"));
    let version = |bin: &PathBuf| bin.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    installed.filter(|bin| bin.join("initdb").exists()).max_by_key(version).with_context(|| {
        format!(
            "there is no PostgreSQL under {INSTALLED}: install it (apt-get install postgresql), or name one with --postgres-url"
        )
    })
}

/// PostgreSQL refuses to run as root: then its programs run as the user that its package made, who gets the folder.
async fn unprivileged(home: &Path) -> anyhow::Result<Vec<&'static str>> {
    let id = Command::new("id").arg("-u").output().await?;
    if String::from_utf8_lossy(&id.stdout).trim() != "0" {
        return Ok(vec![]);
    }
    run(Command::new("chown").arg("postgres").arg(home)).await?;
    Ok(vec!["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"])
}

fn watch(bin: &Path, home: &Path, wrapper: &[&str]) -> anyhow::Result<Child> {
    let mut watchdog = Command::new("sh");
    watchdog
        .args(["-c", WATCHDOG])
        .env("BIN", bin)
        .env("HOME_DIR", home)
        .env("AS", wrapper.join(" "));
    // A group of its own: Ctrl-C ends the benchmark, and must not end what cleans up after it.
    watchdog
        .process_group(0)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok(watchdog.spawn()?)
}

fn command(wrapper: &[&str], program: &Path) -> Command {
    let mut command = match wrapper {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    };
    command.current_dir("/").stdin(Stdio::null());
    command
}

async fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .output()
        .await
        .with_context(|| format!("{:?} cannot be run", command.as_std().get_program()))?;
    anyhow::ensure!(
        output.status.success(),
        "{:?} failed: {}",
        command.as_std().get_program(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
