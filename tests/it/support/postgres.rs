//! A PostgreSQL server of the test run's own, or of one test's: made at the first use, gone with the process however it ends.

#[path = "../../../bench/postgres/server.rs"]
mod server;

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

pub use server::PostgresServer;

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Connections are ended, and what is in memory is written.
    Fast,
    /// At once, as by a crash: the next start recovers.
    Immediate,
}

/// The URL of a new, empty database on the server of this test run.
pub async fn database() -> String {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    let server =
        tokio::task::spawn_blocking(|| SERVER.get_or_init(|| start(&std::env::temp_dir(), &[])))
            .await
            .unwrap();
    server.database().await
}

/// A server of one test's own, whose folder is made in another one, with further settings.
pub async fn own(parent: &Path, settings: &'static [&'static str]) -> PostgresServer {
    let parent = parent.to_owned();
    tokio::task::spawn_blocking(move || start(&parent, settings)).await.unwrap()
}

fn start(parent: &Path, further: &[&str]) -> PostgresServer {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // A short path: a unix socket's takes about a hundred characters.
    let home = parent.join(format!("zonefold-postgres-{}-{number}", std::process::id()));
    let settings: Vec<&str> =
        ["fsync=off", "max_connections=300"].iter().chain(further).copied().collect();
    PostgresServer::start(home, &["--wal-segsize=1"], &settings)
        .unwrap_or_else(|error| panic!("{error:?}"))
}

impl PostgresServer {
    /// The URL of a new, empty database.
    pub async fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut admin = PgConnection::connect(&self.url("postgres")).await.unwrap();
        admin.execute(AssertSqlSafe(format!("create database {name}"))).await.unwrap();
        admin.close().await.unwrap();
        self.url(&name)
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.address())
    }

    pub fn stop(&self, how: Stop) {
        let mode = if how == Stop::Fast { "--mode=fast" } else { "--mode=immediate" };
        server::run(self.pg_ctl().args(["stop", "--wait", "--silent", mode])).unwrap();
    }

    /// Starts it again where it was.
    pub fn start_again(&self) {
        self.start_as_it_is().unwrap();
    }

    /// Whether it runs.
    pub fn runs(&self) -> bool {
        self.pg_ctl().arg("status").status().unwrap().success()
    }
}
