//! What `zonefold login` keeps for the commands that ask a broker: a session or a token for each broker, in a file that only its owner
//! may read.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::cli::client::BrokerUrl;
use crate::config::Secret;

/// How one broker is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCredential {
    /// The session or the token.
    pub secret: String,
    /// Who signed in.
    pub name: String,
}

/// The credentials by the addresses of brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCredentials {
    brokers: BTreeMap<String, KeptCredential>,
}

/// The file that is used if no other one is named; `None` if the system does not say where a user's files are.
pub fn usual_file() -> Option<PathBuf> {
    std::env::home_dir()
        .filter(|home| !home.as_os_str().is_empty())
        .map(|home| home.join(".config/zonefold/credentials.json"))
}

impl KeptCredentials {
    /// Reads a file; one that is not there holds nothing.
    ///
    /// # Errors
    /// It cannot be read, or holds something else.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            read => read.with_context(|| format!("{} cannot be read", path.display()))?,
        };
        serde_json::from_slice(&text).with_context(|| {
            format!("{} holds no credentials: remove it, and sign in again", path.display())
        })
    }

    /// The secret for a broker.
    pub fn secret(&self, broker: &BrokerUrl) -> Option<Secret> {
        self.brokers.get(&broker.to_string()).map(|kept| Secret::new(&kept.secret))
    }

    /// Keeps one for a broker, in the place of the one before.
    pub fn keep(&mut self, broker: &BrokerUrl, credential: KeptCredential) {
        self.brokers.insert(broker.to_string(), credential);
    }

    /// Forgets the one for a broker; answers whether there was one.
    pub fn forget(&mut self, broker: &BrokerUrl) -> Option<KeptCredential> {
        self.brokers.remove(&broker.to_string())
    }

    /// Writes the file, for its owner alone.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        // Written whole before it takes the place of the one before, and never readable by others.
        let whole = path.with_extension(format!("{}.new", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let text = serde_json::to_string_pretty(self)?;
        options
            .open(&whole)
            .and_then(|mut file| writeln!(file, "{text}"))
            .and_then(|()| std::fs::rename(&whole, path))
            .with_context(|| format!("{} cannot be written", path.display()))
    }
}

/// Writes a secret to a new file that only its owner may read.
///
/// # Errors
/// The file is there already, or cannot be written.
pub fn write_secret(path: &Path, secret: &str) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| writeln!(file, "{secret}"));
    written.with_context(|| format!("{} cannot be written as a new file", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_broker_has_a_credential_of_its_own_in_a_file_of_its_owner() {
        let folder = std::env::temp_dir().join(format!("zonefold-login-{}", uuid::Uuid::new_v4()));
        let path = folder.join("deep/credentials.json");
        let (one, other): (BrokerUrl, BrokerUrl) = (
            "https://one.example.com".parse().unwrap(),
            "https://other.example.com".parse().unwrap(),
        );
        let mut kept = KeptCredentials::read(&path).unwrap();
        assert_eq!(kept.secret(&one), None);
        let credential =
            |secret: &str| KeptCredential { secret: secret.to_owned(), name: "ann".to_owned() };
        kept.keep(&one, credential("first"));
        kept.keep(&one, credential("second"));
        kept.keep(&other, credential("third"));
        kept.write(&path).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let mut read = KeptCredentials::read(&path).unwrap();
        assert_eq!(read.secret(&one), Some(Secret::new("second")));
        assert!(read.forget(&one).is_some() && read.forget(&one).is_none());
        read.write(&path).unwrap();
        let read = KeptCredentials::read(&path).unwrap();
        assert_eq!((read.secret(&one), read.secret(&other)), (None, Some(Secret::new("third"))));
        std::fs::write(&path, "[]").unwrap();
        assert!(KeptCredentials::read(&path).unwrap_err().to_string().contains("sign in again"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
