//! A PostgreSQL server of the test run's own, or of one test's: made at the first use, gone with the process however it ends.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// Stops the server and removes its directory when its standard input ends: that happens with the test process, also when
/// it panics or is killed.
const WATCHDOG: &str = r#"
cat >/dev/null
$AS "$BIN/pg_ctl" --pgdata="$HOME_DIR/data" --mode=immediate --silent stop >/dev/null 2>&1
rm -rf "$HOME_DIR"
"#;

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Connections are ended, and what is in memory is written.
    Fast,
    /// At once, as by a crash: the next start recovers.
    Immediate,
}

/// A server that listens on one port of this machine for its whole life, also when it is started again.
pub struct Server {
    bin: PathBuf,
    home: PathBuf,
    wrapper: Vec<&'static str>,
    port: u16,
    /// Held open for the life of the server; the watchdog waits for its end.
    watchdog: Option<(Child, ChildStdin)>,
}

/// The URL of a new, empty database on the server of this test run.
pub async fn database() -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server =
        tokio::task::spawn_blocking(|| SERVER.get_or_init(|| start(&std::env::temp_dir(), &[])))
            .await
            .unwrap();
    server.database().await
}

/// A server of one test's own, whose folder is made in another one, with further settings.
pub async fn own(parent: &Path, settings: &'static [&'static str]) -> Server {
    let parent = parent.to_owned();
    tokio::task::spawn_blocking(move || start(&parent, settings)).await.unwrap()
}

impl Server {
    /// The URL of a new, empty database.
    pub async fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut admin = PgConnection::connect(&self.url("postgres")).await.unwrap();
        admin.execute(AssertSqlSafe(format!("create database {name}"))).await.unwrap();
        admin.close().await.unwrap();
        self.url(&name)
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.address())
    }

    pub fn stop(&self, how: Stop) {
        let mode = if how == Stop::Fast { "--mode=fast" } else { "--mode=immediate" };
        run(self.pg_ctl().args(["stop", "--wait", "--silent", mode]));
    }

    /// Starts it again where it was.
    pub fn start_again(&self) {
        run(self
            .pg_ctl()
            .args(["start", "--wait", "--silent", "--timeout=60", "--log"])
            .arg(self.log()));
    }

    /// Whether it runs.
    pub fn runs(&self) -> bool {
        self.pg_ctl().arg("status").stdout(Stdio::null()).status().unwrap().success()
    }

    fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    fn pg_ctl(&self) -> Command {
        let mut pg_ctl = command(&self.wrapper, &self.bin.join("pg_ctl"));
        pg_ctl
            .arg("--pgdata")
            .arg(self.home.join("data"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        pg_ctl
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some((mut watchdog, pipe)) = self.watchdog.take() else { return };
        drop(pipe);
        // It stops the server and removes the folder; the test is over either way.
        let _ended = watchdog.wait();
    }
}

fn start(parent: &Path, further: &[&str]) -> Server {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let bin = programs();
    // A short path: a unix socket's takes about a hundred characters.
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let home = parent.join(format!("zonefold-postgres-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&home).unwrap();
    let wrapper = unprivileged(&home);
    let watchdog = watch(&bin, &home, &wrapper);
    let data = home.join("data");
    let mut initdb = command(&wrapper, &bin.join("initdb"));
    initdb.args([
        "--no-sync",
        "--auth=trust",
        "--username=postgres",
        "--encoding=UTF8",
        "--locale=C",
        "--wal-segsize=1",
    ]);
    run(initdb.arg("--pgdata").arg(&data));
    let mut server = Server { bin, home, wrapper, port: 0, watchdog: Some(watchdog) };
    // Another process can take the port between the question and its use; then another port is tried.
    for attempt in 1.. {
        server.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut settings = vec![
            "listen_addresses='127.0.0.1'".to_owned(),
            format!("port={}", server.port),
            format!("unix_socket_directories='{}'", server.home.display()),
            "fsync=off".to_owned(),
            "max_connections=300".to_owned(),
        ];
        settings.extend(further.iter().map(|setting| (*setting).to_owned()));
        std::fs::write(data.join("postgresql.auto.conf"), settings.join("\n") + "\n").unwrap();
        let mut pg_ctl = server.pg_ctl();
        pg_ctl.args(["start", "--wait", "--silent", "--timeout=60", "--log"]).arg(server.log());
        if pg_ctl.status().unwrap().success() {
            return server;
        }
        let log = std::fs::read_to_string(server.log()).unwrap_or_default();
        assert!(attempt < 5, "PostgreSQL does not start: {log}");
    }
    unreachable!("the loop ends by its return or its assertion")
}

/// The newest installation's folder of programs.
fn programs() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"));
    let mut found: Vec<PathBuf> = installed.filter(|bin| bin.join("initdb").exists()).collect();
    found.sort_by_key(|bin| {
        let version = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        version.and_then(|version| version.parse::<u32>().ok())
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).find(|folder| folder.join("initdb").exists());
    found
        .pop()
        .or(on_path)
        .expect("these tests need a PostgreSQL server: apt-get install postgresql")
}

/// PostgreSQL refuses to run as root: then its programs run as the user that its package made, who gets the folder.
fn unprivileged(home: &Path) -> Vec<&'static str> {
    let id = Command::new("id").arg("-u").output().unwrap();
    if String::from_utf8_lossy(&id.stdout).trim() != "0" {
        return vec![];
    }
    run(Command::new("chown").arg("postgres").arg(home));
    vec!["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
}

fn watch(bin: &Path, home: &Path, wrapper: &[&str]) -> (Child, ChildStdin) {
    let mut watchdog = Command::new("sh");
    watchdog
        .args(["-c", WATCHDOG])
        .env("BIN", bin)
        .env("HOME_DIR", home)
        .env("AS", wrapper.join(" "));
    // A group of its own: Ctrl-C at the terminal ends the tests, and must not end what cleans up after them.
    std::os::unix::process::CommandExt::process_group(&mut watchdog, 0);
    let mut child = watchdog
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.flush().unwrap();
    (child, pipe)
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

fn run(command: &mut Command) {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
