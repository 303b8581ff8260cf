//! Opening a store.

use std::sync::{Arc, OnceLock};

use super::precedence::Precedence;
use super::restored::Restored;
use super::url::{Location, StoreUrl};
use super::{Database, NOBODY, Shared, SqlStore, StoreOptions, names, postgres, sqlite};
use crate::ports::{Store, StoreError};

/// Opens the store and brings its schema up to date; processes that do so at once take turns.
///
/// # Errors
/// [`StoreError::Unavailable`] when the database cannot be reached or made, [`StoreError::Refused`] when a newer version
/// wrote it or when it does not keep what it commits. The text names the place, never a password.
pub async fn open(url: &StoreUrl, options: &StoreOptions) -> Result<Arc<dyn Store>, StoreError> {
    open_as(url, options, Restored::IfItLooksSo).await
}

/// Opens a store that was restored from a copy: its epochs and the number of its rules are raised, also if it does not look so.
///
/// # Errors
/// Those of [`open`].
pub async fn open_restored(
    url: &StoreUrl,
    options: &StoreOptions,
) -> Result<Arc<dyn Store>, StoreError> {
    open_as(url, options, Restored::Yes).await
}

async fn open_as(
    url: &StoreUrl,
    options: &StoreOptions,
    restored: Restored,
) -> Result<Arc<dyn Store>, StoreError> {
    let opened = match &url.0 {
        Location::File(path) => sqlite::open_file(path, options).await.map(Database::Sqlite),
        Location::Memory => sqlite::open_memory(options).await.map(Database::Sqlite),
        Location::Postgres(connect) => {
            postgres::open(connect, options).await.map(Database::Postgres)
        }
    };
    let place = |reason: String| format!("{url}: {reason}");
    match opened {
        Ok(database) => {
            let shared = Shared {
                database,
                clusters: names::cluster_names(),
                placements: names::placements(),
                precedence: Precedence::default(),
            };
            let store = SqlStore {
                shared: Arc::new(shared),
                replica: NOBODY,
                tenure: None,
                listener: OnceLock::new(),
            };
            let file = match &url.0 {
                Location::File(path) => Some(path.as_path()),
                Location::Memory | Location::Postgres(_) => None,
            };
            store.raise_if_restored(file, restored).await?;
            Ok(Arc::new(store))
        }
        Err(StoreError::Unavailable(reason)) => Err(StoreError::Unavailable(place(reason))),
        Err(StoreError::Corrupt { what, reason }) => {
            Err(StoreError::Corrupt { what, reason: place(reason) })
        }
        Err(StoreError::Refused(reason)) => Err(StoreError::Refused(place(reason))),
        Err(other) => Err(other),
    }
}

/// Whether another process has a store open that two processes must not change at once.
///
/// # Errors
/// The database is not there, or cannot be read.
pub async fn is_in_use(url: &StoreUrl) -> Result<bool, StoreError> {
    match &url.0 {
        Location::File(path) => sqlite::is_in_use(path).await.map_err(|error| match error {
            StoreError::Unavailable(reason) => StoreError::Unavailable(format!("{url}: {reason}")),
            other => other,
        }),
        Location::Memory | Location::Postgres(_) => Ok(false),
    }
}
