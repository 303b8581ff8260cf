//! The real binary as a process, with everything that it says.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::network::{free_address, try_get};
use super::wait::{DEADLINE, eventually};

/// A running process; killed when it is dropped.
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

/// The command `zonefold`, with nothing of this process's environment but what it needs to run.
pub fn zonefold<S: AsRef<OsStr>>(home: &Path, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = clean(env!("CARGO_BIN_EXE_zonefold"), home);
    command
        .args(arguments)
        .env("ZONEFOLD_LOG_FORMAT", "json")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// A command whose outcome does not depend on who runs the tests.
pub fn clean(program: impl AsRef<OsStr>, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// Starts a server on a port of its own and waits until it answers. Another process can take the port between the question and
/// its use; then the server ends, and another port is tried.
pub async fn listening(
    name: &str,
    health: &str,
    command: impl Fn(SocketAddr) -> Command,
) -> (Process, SocketAddr) {
    for _ in 0..5 {
        let address = free_address();
        let mut process = Process::start(name, command(address));
        let what = format!("{name} answers");
        let answers = eventually(&what, async || match try_get(address, health).await {
            Ok((200, _)) => Ok(true),
            _ if process.has_ended() => Ok(false),
            other => Err(format!("{other:?}\n{}", process.output())),
        });
        if answers.await {
            return (process, address);
        }
        eprintln!("{name} ended:\n{}", process.output());
    }
    panic!("{name} does not start; its words stand above");
}

impl Process {
    pub fn start(name: impl Into<String>, mut command: Command) -> Self {
        let name = name.into();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let output = Arc::<Mutex<String>>::default();
        let readers = vec![
            tokio::spawn(gather(child.stdout.take().unwrap(), Arc::clone(&output))),
            tokio::spawn(gather(child.stderr.take().unwrap(), Arc::clone(&output))),
        ];
        Self { name, child, output, readers }
    }

    /// Everything that it said, on both streams.
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// The lines of its log.
    pub fn log(&self) -> Vec<Value> {
        self.output().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The first line of its log that fits, waited for.
    pub async fn line(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let name = self.name.clone();
        eventually(&format!("{name}: {what}"), async || {
            if let Some(line) = self.log().into_iter().find(|line| fits(line)) {
                return Ok(line);
            }
            match self.child.try_wait().unwrap() {
                Some(status) => panic!("{name} ended ({status}) before {what}:\n{}", self.output()),
                None => Err(self.output()),
            }
        })
        .await
    }

    /// The first line with this message, waited for.
    pub async fn says(&mut self, message: &str) -> Value {
        self.line(message, |line| {
            line["message"].as_str().is_some_and(|text| text.contains(message))
        })
        .await
    }

    /// Asks it to stop, as an orchestrator does.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it a signal by its name, such as STOP.
    pub fn signal(&self, signal: &str) {
        let id = self
            .child
            .id()
            .unwrap_or_else(|| panic!("{} has ended already:\n{}", self.name, self.output()));
        let sent = std::process::Command::new("sh")
            .args(["-c", &format!("kill -{signal} {id}")])
            .status()
            .unwrap();
        assert!(sent.success(), "{} cannot be signalled", self.name);
    }

    /// Ends it at once and waits until it is gone.
    pub async fn kill(mut self) -> String {
        self.child.kill().await.unwrap();
        self.ended().await.1
    }

    /// Waits for its end; answers how it ended and everything that it said.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let status = tokio::time::timeout(DEADLINE, self.child.wait()).await;
        let status = status
            .unwrap_or_else(|_| panic!("{} does not end:\n{}", self.name, self.output()))
            .unwrap();
        for reader in std::mem::take(&mut self.readers) {
            reader.await.unwrap();
        }
        (status, self.output())
    }

    /// Asks it to stop and expects that it does so cleanly.
    pub async fn stop(self) -> String {
        let name = self.name.clone();
        self.terminate();
        let (status, output) = self.ended().await;
        assert_eq!(status.code(), Some(0), "{name} did not stop cleanly:\n{output}");
        output
    }
}

async fn gather(stream: impl AsyncRead + Unpin, into: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut output = into.lock().unwrap();
        output.push_str(&line);
        output.push('\n');
    }
}
