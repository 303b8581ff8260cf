//! A PostgreSQL server of the test run's own: made at the first use, gone with the process however it ends.

use std::io::Write as _;
use std::net::TcpListener;
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

struct Server {
    port: u16,
    /// Held open for the life of the process; the watchdog waits for its end.
    _watchdog: (Child, ChildStdin),
}

/// The URL of a new, empty database on the server of this test run.
pub async fn database() -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let port = tokio::task::spawn_blocking(|| SERVER.get_or_init(start).port).await.unwrap();
    let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut admin = PgConnection::connect(&format!("postgres://postgres@127.0.0.1:{port}/postgres")).await.unwrap();
    admin.execute(AssertSqlSafe(format!("create database {name}"))).await.unwrap();
    admin.close().await.unwrap();
    format!("postgres://postgres@127.0.0.1:{port}/{name}")
}

fn start() -> Server {
    let bin = programs();
    // A short path: a unix socket's takes about a hundred characters.
    let home = std::env::temp_dir().join(format!("zonefold-postgres-{}", std::process::id()));
    std::fs::create_dir_all(&home).unwrap();
    let wrapper = unprivileged(&home);
    let watchdog = watch(&bin, &home, &wrapper);
    let data = home.join("data");
    let mut initdb = command(&wrapper, &bin.join("initdb"));
    initdb.args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--pgdata"]).arg(&data);
    run(&mut initdb);
    // Another process can take the port between the question and its use; then another port is tried.
    for attempt in 1.. {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = format!(
            "-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={} -c fsync=off -c max_connections=300",
            home.display()
        );
        let mut pg_ctl = command(&wrapper, &bin.join("pg_ctl"));
        pg_ctl.args(["start", "--wait", "--silent", "--timeout=60", "--options", &settings, "--pgdata"]).arg(&data);
        pg_ctl.arg("--log").arg(home.join("log"));
        if pg_ctl.stdout(Stdio::null()).status().unwrap().success() {
            return Server { port, _watchdog: watchdog };
        }
        let log = std::fs::read_to_string(home.join("log")).unwrap_or_default();
        assert!(attempt < 5, "PostgreSQL does not start: {log}");
    }
    unreachable!("the loop ends by its return or its assertion")
}

/// The newest installation's folder of programs.
fn programs() -> PathBuf {
    let installed =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let mut found: Vec<PathBuf> = installed.filter(|bin| bin.join("initdb").exists()).collect();
    found.sort_by_key(|bin| {
        let version = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        version.and_then(|version| version.parse::<u32>().ok())
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).find(|folder| folder.join("initdb").exists());
    found.pop().or(on_path).expect("these tests need a PostgreSQL server: apt-get install postgresql")
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
    watchdog.args(["-c", WATCHDOG]).env("BIN", bin).env("HOME_DIR", home).env("AS", wrapper.join(" "));
    // A group of its own: Ctrl-C at the terminal ends the tests, and must not end what cleans up after them.
    std::os::unix::process::CommandExt::process_group(&mut watchdog, 0);
    let mut child = watchdog.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
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
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    assert!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
}
