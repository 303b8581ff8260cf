//! PostgreSQL for a benchmark: databases of its own, on a server that is named or on one that is started for it alone.

mod server;

use std::path::Path;
use std::str::FromStr as _;

use anyhow::Context;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection};

use self::server::PostgresServer;
use super::say;

/// As Debian would run it, but for the socket: every commit is on the disk.
const SETTINGS: [&str; 2] = ["shared_buffers=512MB", "max_wal_size=4GB"];

/// A server, and the databases that were made on it.
pub struct Databases {
    server: PgConnectOptions,
    made: Vec<String>,
    own: Option<PostgresServer>,
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

/// A server of this benchmark's own, with the address of its first database.
async fn start(folder: Option<&Path>) -> anyhow::Result<(PgConnectOptions, PostgresServer)> {
    let parent = folder.map_or_else(std::env::temp_dir, Path::to_owned);
    // A short path: a unix socket's takes about a hundred characters.
    let home = parent.join(format!("zonefold-pg-{}", std::process::id()));
    let shown = home.display().to_string();
    let starting = move || PostgresServer::start(home, &[], &SETTINGS);
    let own = tokio::task::spawn_blocking(starting)
        .await?
        .context("no PostgreSQL of the benchmark's own starts: name one with --postgres-url")?;
    say(&format!("PostgreSQL runs in {shown}"));
    let server = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(own.address().port())
        .username("postgres")
        .database("postgres");
    Ok((server, own))
}
