//! A PostgreSQL server that ends with its process: for a benchmark, and for the integration tests, which include this file.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// Where Debian's packages put the programs.
const INSTALLED: &str = "/usr/lib/postgresql";
/// Ports that are tried: another process can take one between the question and its use.
const ATTEMPTS: u32 = 5;
/// Stops the server and removes its folder when its standard input ends: that happens with the process, also when it panics or
/// is killed.
const WATCHDOG: &str = r#"
cat >/dev/null
$AS "$BIN/pg_ctl" --pgdata="$HOME_DIR/data" --mode=immediate --silent stop >/dev/null 2>&1
rm -rf "$HOME_DIR"
"#;

/// A server that listens on one port of this machine for its whole life, also when it is started again.
pub struct PostgresServer {
    bin: PathBuf,
    home: PathBuf,
    wrapper: Vec<&'static str>,
    port: u16,
    /// Its standard input is held open for the life of the server.
    watchdog: Child,
}

impl PostgresServer {
    /// Starts a server in a new folder, and waits until it answers.
    ///
    /// # Errors
    /// There is no PostgreSQL on this machine, or it does not start.
    pub fn start(home: PathBuf, initdb: &[&str], settings: &[&str]) -> anyhow::Result<Self> {
        let bin = programs()?;
        std::fs::create_dir_all(&home)
            .with_context(|| format!("the folder {} cannot be made", home.display()))?;
        let wrapper = unprivileged(&home)?;
        let watchdog = watch(&bin, &home, &wrapper)?;
        let mut server = Self { bin, home, wrapper, port: 0, watchdog };
        let mut make = command(&server.wrapper, &server.bin.join("initdb"));
        make.args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8"]);
        make.arg("--locale=C").args(initdb).arg("--pgdata").arg(server.data());
        run(&mut make)?;
        for _ in 1..ATTEMPTS {
            if server.start_on_a_free_port(settings).is_ok() {
                return Ok(server);
            }
        }
        server.start_on_a_free_port(settings)?;
        Ok(server)
    }

    fn start_on_a_free_port(&mut self, settings: &[&str]) -> anyhow::Result<()> {
        self.port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut lines = format!(
            "listen_addresses='127.0.0.1'\nport={}\nunix_socket_directories='{}'\n",
            self.port,
            self.home.display()
        );
        for setting in settings {
            lines += &format!("{setting}\n");
        }
        std::fs::write(self.data().join("postgresql.auto.conf"), lines)?;
        self.start_as_it_is()
            .with_context(|| std::fs::read_to_string(self.log()).unwrap_or_default())
    }

    /// Starts a stopped server where it was.
    ///
    /// # Errors
    /// It does not start; its log says why.
    pub fn start_as_it_is(&self) -> anyhow::Result<()> {
        let mut start = self.pg_ctl();
        run(start.args(["start", "--wait", "--silent", "--timeout=60", "--log"]).arg(self.log()))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// `pg_ctl` for this server, without a command yet.
    pub fn pg_ctl(&self) -> Command {
        let mut pg_ctl = command(&self.wrapper, &self.bin.join("pg_ctl"));
        pg_ctl.arg("--pgdata").arg(self.data());
        // The server inherits them, so a pipe would not end with pg_ctl.
        pg_ctl.stdout(Stdio::null()).stderr(Stdio::null());
        pg_ctl
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn log(&self) -> PathBuf {
        self.home.join("log")
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        // It stops the server and removes the folder; nothing can be done if it does not.
        let _ended = self.watchdog.wait();
    }
}

/// The newest installation's folder of programs, or the one on the path.
#[expect(clippy::disallowed_methods, reason = "programs are looked for on the path")]
fn programs() -> anyhow::Result<PathBuf> {
    let installed = std::fs::read_dir(INSTALLED).into_iter().flatten().flatten();
    let installed = installed.map(|entry| entry.path().join("bin"));
    let version = |bin: &PathBuf| bin.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = installed.filter(|bin| bin.join("initdb").exists()).max_by_key(version);
    let on_path = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).find(|folder| folder.join("initdb").exists())
    };
    newest.or_else(on_path).with_context(|| {
        format!(
            "there is no PostgreSQL under {INSTALLED} or on the path: install it (apt-get install postgresql)"
        )
    })
}

/// PostgreSQL refuses to run as root: then its programs run as the user that its package made, who gets the folder.
fn unprivileged(home: &Path) -> anyhow::Result<Vec<&'static str>> {
    let id = Command::new("id").arg("-u").output()?;
    if String::from_utf8_lossy(&id.stdout).trim() != "0" {
        return Ok(vec![]);
    }
    run(Command::new("chown").arg("postgres").arg(home))?;
    Ok(vec!["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"])
}

fn watch(bin: &Path, home: &Path, wrapper: &[&str]) -> anyhow::Result<Child> {
    let mut watchdog = Command::new("sh");
    watchdog.args(["-c", WATCHDOG]).current_dir("/");
    watchdog.env("BIN", bin).env("HOME_DIR", home).env("AS", wrapper.join(" "));
    // A group of its own: Ctrl-C at the terminal ends this process, and must not end what cleans up after it.
    std::os::unix::process::CommandExt::process_group(&mut watchdog, 0);
    watchdog.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
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

/// Runs a program to its end.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?} cannot be run"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{command:?} failed: {said}");
    Ok(())
}
