//! The agent's identity: the UID of its cluster.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Where the UID of the cluster comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterUid {
    /// The UID of the namespace kube-system.
    Given(String),
    /// For a folder without a cluster: a UUID that is made once and kept in this file.
    StateFile(PathBuf),
}

/// Why the agent's identity is not known.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The state file cannot be read or written.
    #[error("the file of the cluster's UID {} cannot be used: {reason}", path.display())]
    StateFile {
        /// The file.
        path: PathBuf,
        /// The system's error.
        reason: io::Error,
    },
    /// The UID is not a UUID.
    #[error("the cluster's UID {value:?} is not a UUID: give the UID of the namespace kube-system")]
    NotAUuid {
        /// The value as given.
        value: String,
    },
}

impl ClusterUid {
    /// The UID; makes and keeps one when the state file does not exist.
    pub fn read_or_make(&self) -> Result<String, IdentityError> {
        match self {
            Self::Given(value) => checked(value),
            Self::StateFile(path) => {
                let failed = |reason| IdentityError::StateFile { path: path.clone(), reason };
                match std::fs::read_to_string(path) {
                    Ok(text) => checked(text.trim()),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        make(path).map_err(failed)
                    }
                    Err(error) => Err(failed(error)),
                }
            }
        }
    }
}

fn checked(value: &str) -> Result<String, IdentityError> {
    let not_a_uuid = |_| IdentityError::NotAUuid { value: value.chars().take(80).collect() };
    uuid::Uuid::parse_str(value).map(|uid| uid.to_string()).map_err(not_a_uuid)
}

fn make(path: &Path) -> io::Result<String> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let uid = uuid::Uuid::new_v4().to_string();
    // Two agents that start at once must not both win.
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    writeln!(file, "{uid}")?;
    file.sync_all()?;
    Ok(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uid_is_made_once_and_kept() {
        let folder = std::env::temp_dir().join(format!("zonefold-uid-{}", uuid::Uuid::new_v4()));
        let uid = ClusterUid::StateFile(folder.join("cluster-uid"));
        let first = uid.read_or_make().unwrap();
        assert_eq!(uid.read_or_make().unwrap(), first);
        std::fs::write(folder.join("cluster-uid"), "not a uuid").unwrap();
        assert!(
            matches!(uid.read_or_make(), Err(IdentityError::NotAUuid { .. })),
            "a damaged file is not replaced"
        );
        std::fs::remove_dir_all(folder).unwrap();
    }
}
