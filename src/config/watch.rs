//! Reads the configuration again when its file changes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::error::ConfigError;
use super::{Config, ConfigOverrides};

/// Notifications can be lost (network file systems, a link that points elsewhere), so the file is looked at now and then.
const RESCAN_INTERVAL: Duration = Duration::from_secs(30);
/// An editor writes in several steps; the file is read after this time without a change.
const SETTLE_TIME: Duration = Duration::from_millis(100);

/// Follows one file and publishes each configuration in it that can be used.
///
/// The folder is watched and not the file, so that a file that is replaced by renaming is seen, and a mounted ConfigMap,
/// where a link next to the file is turned to a new folder.
pub struct ConfigWatch {
    path: PathBuf,
    overrides: ConfigOverrides,
    last_text: Option<String>,
    /// Why what was read last was refused, as it was said.
    refused: Option<String>,
    /// The folders that are watched.
    watched: BTreeSet<PathBuf>,
    current: watch::Sender<Arc<Config>>,
    changed: mpsc::Receiver<()>,
    rescan_interval: Duration,
    // Watching ends when this is dropped.
    watcher: RecommendedWatcher,
}

impl ConfigWatch {
    /// Reads the file for the first time and starts to watch it. Nothing is published before [`ConfigWatch::run`] runs.
    pub fn start(path: &Path, overrides: ConfigOverrides) -> Result<Self, ConfigError> {
        let (wake, changed) = mpsc::channel(1);
        let unwatchable = |error: notify::Error| ConfigError::Unwatchable {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let mut watcher = notify::recommended_watcher(move |event| wake_for(&event, &wake))
            .map_err(unwatchable)?;
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // Watched first and read second: a change in between is seen twice, and none is missed.
        watcher.watch(folder, RecursiveMode::NonRecursive).map_err(unwatchable)?;
        let text = std::fs::read_to_string(path)
            .map_err(|reason| ConfigError::Unreadable { path: path.to_owned(), reason })?;
        let config = Config::parse_with(&text, &path.display().to_string(), &overrides)?;
        let mut watch = Self {
            path: path.to_owned(),
            overrides,
            last_text: Some(text),
            refused: None,
            watched: BTreeSet::new(),
            current: watch::Sender::new(Arc::new(config)),
            changed,
            rescan_interval: RESCAN_INTERVAL,
            watcher,
        };
        watch.follow_rules();
        Ok(watch)
    }

    /// The configuration now, and each later one.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Config>> {
        self.current.subscribe()
    }

    /// Follows the file until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = self.changed.recv() => tokio::time::sleep(SETTLE_TIME).await,
                () = tokio::time::sleep(self.rescan_interval) => {}
            }
            while self.changed.try_recv().is_ok() {}
            self.reload();
        }
    }

    /// Reads the file, and publishes it when its text is new and can be used.
    fn reload(&mut self) {
        let name = self.path.display().to_string();
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            // A file that is just being replaced is away for a moment: said once, since the text is then unknown.
            Err(error) => {
                if self.last_text.take().is_some() {
                    tracing::warn!(file = %name, %error, "the configuration cannot be read; the one in use stays");
                }
                return;
            }
        };
        let is_same = self.last_text.as_deref() == Some(text.as_str());
        if is_same && self.refused.is_none() && self.current.borrow().rules.is_empty() {
            return;
        }
        self.last_text = Some(text.clone());
        match Config::parse_with(&text, &name, &self.overrides) {
            Ok(config) => {
                self.refused = None;
                self.publish(config, &name);
                self.follow_rules();
            }
            Err(error) => {
                // Files are read again and again; what is wrong is said once.
                let said = error.to_string();
                if self.refused.as_ref() != Some(&said) {
                    tracing::error!(file = %name, %error, "the new configuration is refused; the one in use stays");
                }
                self.refused = Some(said);
            }
        }
    }

    /// Watches the folders of rules too. One that cannot be watched is looked at now and then.
    fn follow_rules(&mut self) {
        let folders: BTreeSet<PathBuf> = self.current.borrow().rules.iter().cloned().collect();
        for folder in self.watched.difference(&folders) {
            drop(self.watcher.unwatch(folder));
        }
        for folder in folders.difference(&self.watched) {
            if let Err(error) = self.watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::warn!(folder = %folder.display(), %error, "the folder of rules cannot be watched and is looked at now and then");
            }
        }
        self.watched = folders;
    }

    fn publish(&self, config: Config, name: &str) {
        let replaced = self.current.send_if_modified(|current| {
            let differs = **current != config;
            if differs {
                *current = Arc::new(config);
            }
            differs
        });
        if replaced {
            tracing::info!(file = %name, "a new configuration is in use");
        }
    }
}

/// Wakes the loop, unless the file was only read: our own reading would wake us again for ever.
fn wake_for(event: &notify::Result<notify::Event>, wake: &mpsc::Sender<()>) {
    use notify::event::{AccessKind, AccessMode, EventKind};

    let only_looked = match event {
        Ok(event) => {
            matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write))
        }
        Err(_) => false,
    };
    if !only_looked {
        // A full channel means that a wake-up is waiting already.
        let _ = wake.try_send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str =
        "agents: { token: \"0123456789abcdef0123\" }\nenvironments: [ {name: dev} ]\n";

    /// A folder that goes away with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let path =
                std::env::temp_dir().join(format!("zonefold-config-{}", uuid::Uuid::new_v4()));
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    fn with_environment(name: &str) -> String {
        VALID.replace("dev", name)
    }

    fn environment(config: &Config) -> &str {
        config.environments[0].name.as_str()
    }

    #[test]
    fn a_refused_file_leaves_the_old_configuration_in_use_until_it_is_mended() {
        let folder = Folder::new();
        let path = folder.write("config.yaml", VALID);
        let mut watch = ConfigWatch::start(&path, ConfigOverrides::default()).unwrap();
        let mut seen = watch.subscribe();

        folder.write("config.yaml", "environments: [ {nam: dev} ]");
        watch.reload();
        assert!(!seen.has_changed().unwrap());

        std::fs::remove_file(&path).unwrap();
        watch.reload();
        assert!(!seen.has_changed().unwrap());

        folder.write("config.yaml", &with_environment("stage"));
        watch.reload();
        assert_eq!(environment(&seen.borrow_and_update()), "stage");

        // Another text that means the same wakes no one.
        folder.write("config.yaml", &format!("# a comment\n{}", with_environment("stage")));
        watch.reload();
        assert!(!seen.has_changed().unwrap());
    }

    #[test]
    fn reading_the_file_does_not_wake_the_loop_and_writing_does() {
        use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};

        let (wake, mut woken) = mpsc::channel(1);
        for (kind, wakes) in [
            (EventKind::Access(AccessKind::Open(AccessMode::Any)), false),
            (EventKind::Access(AccessKind::Close(AccessMode::Read)), false),
            (EventKind::Access(AccessKind::Close(AccessMode::Write)), true),
            (EventKind::Modify(ModifyKind::Any), true),
        ] {
            wake_for(&Ok(notify::Event::new(kind)), &wake);
            assert_eq!(woken.try_recv().is_ok(), wakes, "{kind:?}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_replaced_by_renaming_is_seen() {
        let folder = Folder::new();
        let path = folder.write("config.yaml", VALID);
        let watch = ConfigWatch::start(&path, ConfigOverrides::default()).unwrap();
        let mut seen = watch.subscribe();
        let stop = CancellationToken::new();
        let running = tokio::spawn(watch.run(stop.clone()));

        let next = folder.write("config.yaml.new", &with_environment("stage"));
        std::fs::rename(next, &path).unwrap();
        seen.changed().await.unwrap();
        assert_eq!(environment(&seen.borrow()), "stage");
        stop.cancel();
        running.await.unwrap();
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_config_map_whose_link_is_turned_is_seen() {
        use std::os::unix::fs::symlink;

        let folder = Folder::new();
        for (version, text) in
            [("..v1", with_environment("one")), ("..v2", with_environment("two"))]
        {
            std::fs::create_dir(folder.0.join(version)).unwrap();
            folder.write(&format!("{version}/config.yaml"), &text);
        }
        symlink("..v1", folder.0.join("..data")).unwrap();
        symlink("..data/config.yaml", folder.0.join("config.yaml")).unwrap();
        let watch =
            ConfigWatch::start(&folder.0.join("config.yaml"), ConfigOverrides::default()).unwrap();
        let mut seen = watch.subscribe();
        let running = tokio::spawn(watch.run(CancellationToken::new()));

        symlink("..v2", folder.0.join("..data_tmp")).unwrap();
        std::fs::rename(folder.0.join("..data_tmp"), folder.0.join("..data")).unwrap();
        seen.changed().await.unwrap();
        assert_eq!(environment(&seen.borrow()), "two");
        running.abort();
    }
}
