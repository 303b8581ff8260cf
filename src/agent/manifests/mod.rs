//! The source over a folder of Kubernetes YAML: read as a whole whenever something in it changed, and from time to time in case a
//! notice got lost (network file systems send none).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arcstr::ArcStr;
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use super::sources::{ExtractOptions, Extraction, ObjectRef, SourceKind, extract};

pub mod documents;
pub mod folder;

use folder::{Folder, FolderError, Pass};

/// How long the folder has to be quiet before it is read, so that an editor's three steps of saving are one.
const DEBOUNCE: Duration = Duration::from_millis(150);

/// Where the manifests are and how they are read.
#[derive(Clone, Debug)]
pub struct ManifestOptions {
    /// The folder.
    pub path: PathBuf,
    /// The longest time between two passes.
    pub rescan: Duration,
    /// The operator's settings for all objects.
    pub extract: ExtractOptions,
}

/// Reads the folder until `shutdown`.
pub async fn run(options: ManifestOptions, shared: Arc<Shared>, shutdown: CancellationToken) {
    let moved = Arc::new(Notify::new());
    let mut watcher = None;
    let mut folder = Folder::default();
    let mut said = Said::default();
    loop {
        if watcher.is_none() {
            watcher = watch(&options, moved.clone());
        }
        let (root, extract) = (options.path.clone(), options.extract);
        // Reading blocks; a pass that dies takes what it knew with it, so the loop ends and the agent notices.
        let read = tokio::task::spawn_blocking(move || {
            let pass = folder.pass(&root).map(|pass| FolderReading::read(pass, extract));
            (folder, pass)
        });
        let Ok((back, pass)) = read.await else {
            tracing::error!("reading the manifest folder was interrupted");
            return;
        };
        folder = back;
        if pass.is_err() {
            // A watch ends with the folder that it was put on.
            watcher = None;
        }
        take(pass, &shared, &mut said);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = moved.notified() => settle(&moved).await,
            () = tokio::time::sleep(options.rescan) => {}
        }
    }
}

/// Waits until nothing moved for a while, but not for ever.
async fn settle(moved: &Notify) {
    for _ in 0..20 {
        if tokio::time::timeout(DEBOUNCE, moved.notified()).await.is_err() {
            return;
        }
    }
}

fn watch(options: &ManifestOptions, moved: Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    let on_event = move |event: notify::Result<notify::Event>| {
        // Reading a file is an event too; it must not wake the reader again.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            moved.notify_one();
        }
    };
    let watcher = notify::recommended_watcher(on_event).and_then(|mut watcher| {
        watcher.watch(&options.path, RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    match watcher {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::debug!(%error, path = %options.path.display(), "the manifest folder cannot be watched; it is read at intervals");
            None
        }
    }
}

/// A pass over a folder, and what its objects want.
struct FolderReading {
    pass: Pass,
    objects: BTreeMap<SourceKind, Vec<(ObjectRef, ArcStr, Extraction)>>,
}

impl FolderReading {
    fn read(mut pass: Pass, options: ExtractOptions) -> Self {
        let mut objects: BTreeMap<SourceKind, Vec<_>> =
            SourceKind::IN_FOLDERS.map(|kind| (kind, vec![])).into();
        for (reference, (file, placed)) in std::mem::take(&mut pass.objects) {
            let origin = arcstr::format!("{file}:{}", placed.line);
            // Routes need their Gateways' status, which is not kept in folders.
            if let Some(objects) = objects.get_mut(&reference.source) {
                objects.push((reference, origin, extract(&placed.object, options)));
            }
        }
        Self { pass, objects }
    }
}

fn take(wanted: Result<FolderReading, FolderError>, shared: &Shared, said: &mut Said) {
    let FolderReading { pass, objects } = match wanted {
        Ok(wanted) => wanted,
        Err(error) => {
            let message = error.to_string();
            shared.change(|index| {
                SourceKind::IN_FOLDERS
                    .into_iter()
                    .for_each(|source| index.fail(source, message.clone()));
                Vec::new()
            });
            said.replace([message]);
            return;
        }
    };
    let warnings = shared.change(|index| {
        let mut changes = Vec::new();
        for (source, objects) in objects {
            changes.extend(index.reset(source, objects));
            if let Some(error) = pass.error_of(source) {
                index.fail(source, error.to_owned());
            }
        }
        changes
    });
    said.replace(
        pass.errors.into_iter().map(|(_, message)| message).chain(pass.duplicates).chain(warnings),
    );
}

/// Messages already logged: each is logged when it begins, not at every pass.
#[derive(Default)]
struct Said(std::collections::BTreeSet<String>);

impl Said {
    fn replace(&mut self, messages: impl IntoIterator<Item = String>) {
        let now: std::collections::BTreeSet<String> = messages.into_iter().collect();
        for message in now.difference(&self.0) {
            tracing::warn!("{message}");
        }
        self.0 = now;
    }
}
