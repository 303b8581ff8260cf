//! This program once more, in another role and as a process of its own: started, watched, stopped.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::{Child, Command};

/// How long a process may take to end: its own deadline for draining, and some.
const END_WITHIN: Duration = Duration::from_secs(60);

/// A running process; killed when it is dropped.
pub struct Process {
    /// By which the system knows it.
    pub pid: u32,
    child: Child,
    /// Its name in messages.
    role: &'static str,
    log: PathBuf,
}

impl Process {
    /// Starts this program again, as `zonefold` with these arguments. Its log goes to the file, after what is there.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(
        role: &'static str,
        arguments: impl IntoIterator<Item = OsString>,
        environment: &[(&'static str, String)],
        log: &Path,
    ) -> anyhow::Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let child = Command::new(std::env::current_exe()?)
            .arg("zonefold")
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file.with_context(|| format!("the log of the {role} cannot be written"))?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("the {role} cannot be started"))?;
        let pid = child.id().with_context(|| format!("the {role} has ended at once"))?;
        Ok(Self { pid, child, role, log: log.to_owned() })
    }

    /// Says so when it runs no more.
    ///
    /// # Errors
    /// It has ended.
    pub fn still_runs(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the {} ended ({status}):\n{}", self.role, self.last_words());
        }
        Ok(())
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(10).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Ends it without a word, as a crash does.
    ///
    /// # Errors
    /// It has ended already.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Asks it to stop, as an orchestrator does, and waits for its end.
    ///
    /// # Errors
    /// It does not end, or not well.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        terminate(self.pid)
            .await
            .with_context(|| format!("the {} cannot be signalled", self.role))?;
        let ended = tokio::time::timeout(END_WITHIN, self.child.wait()).await;
        let status = ended
            .with_context(|| format!("the {} does not end:\n{}", self.role, self.last_words()))??;
        anyhow::ensure!(
            status.success(),
            "the {} ended with {status}:\n{}",
            self.role,
            self.last_words()
        );
        Ok(())
    }
}

async fn terminate(pid: u32) -> anyhow::Result<()> {
    let sent = Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status().await?;
    anyhow::ensure!(sent.success(), "kill ended with {sent}");
    Ok(())
}
