//! TLS on the broker's listeners.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::error::{KeyPath, Problems};

/// One of the broker's listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenerName {
    /// `listen.grpc`.
    Grpc,
    /// `listen.http`.
    Http,
}

/// The certificate of the listeners. The files are PEM, and read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate, and those that signed it.
    pub certificate_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// The CAs for the client certificates of agents.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
    /// The CAs for the certificates of the other replicas; without it those that the system trusts.
    #[serde(default)]
    pub replica_ca_file: Option<PathBuf>,
    /// Which listeners have TLS.
    #[serde(default = "both")]
    pub listeners: Vec<ListenerName>,
}

fn both() -> Vec<ListenerName> {
    vec![ListenerName::Grpc, ListenerName::Http]
}

impl Tls {
    /// Whether a listener has TLS.
    pub fn covers(&self, listener: ListenerName) -> bool {
        self.listeners.contains(&listener)
    }

    pub(super) fn validate(&self, at: &KeyPath, problems: &mut Problems) {
        for (key, path) in
            [("certificate_file", &self.certificate_file), ("key_file", &self.key_file)]
        {
            if path.as_os_str().is_empty() {
                problems.add(at.key(key), "the path is empty", "write the path of a PEM file");
            }
        }
        if self.listeners.is_empty() {
            problems.add(
                at.key("listeners"),
                "no listener would have TLS",
                "name grpc, http or both, or remove listen.tls",
            );
        }
        if self.client_ca_file.is_some() && !self.covers(ListenerName::Grpc) {
            problems.add(
                at.key("client_ca_file"),
                "agents show their certificates at grpc, which has no TLS",
                "add grpc to listeners, or remove client_ca_file",
            );
        }
    }
}
