//! An identity provider that others wrote, as a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::folder::TestFolder;
use crate::support::network::{free_address, try_get};
use crate::support::process::{Process, clean};
use crate::support::wait::eventually;

pub const CLIENT: &str = "zonefold";
/// It has to be written as a form before it goes into a header.
pub const CLIENT_SECRET: &str = "a secret: of/the+client&its?";

/// See the module's page.
pub struct Provider {
    pub issuer: String,
    address: SocketAddr,
    settings: PathBuf,
    process: Option<Process>,
}

fn packages() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/oidc");
    assert!(path.join("installed.json").exists(), "{} is not there: make setup", path.display());
    path
}

/// The people whom the provider knows from now on, by the names with which they log in.
pub fn write_people(folder: &TestFolder, people: &Value) {
    folder.write("people.json", &people.to_string());
}

impl Provider {
    /// One for a broker at this address; `more` is laid over its settings.
    pub async fn start(folder: &TestFolder, broker: &str, more: &Value) -> Self {
        let address = free_address();
        let issuer = format!("http://{address}");
        let mut settings = json!({
            "port": address.port(), "issuer": issuer, "client_id": CLIENT,
            "client_secret": CLIENT_SECRET,
            "redirect_uris": [format!("{broker}/auth/callback")],
            "people": folder.path("people.json"),
        });
        for (key, value) in more.as_object().unwrap() {
            settings[key] = value.clone();
        }
        let settings = folder.write("provider.json", &settings.to_string());
        let mut provider = Self { issuer, address, settings, process: None };
        provider.come_back().await;
        provider
    }

    /// Starts it, with keys of its own; who was signed in is forgotten.
    pub async fn come_back(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oidc/provider.mjs");
        let mut command = clean("node", self.settings.parent().unwrap());
        command.arg(script).arg(&self.settings).env("OIDC_PROVIDER_PACKAGES", packages());
        let mut process = Process::start("the provider", command);
        let address = self.address;
        eventually("the provider answers", async || {
            let answer = try_get(address, "/.well-known/openid-configuration").await;
            match answer {
                Ok((200, _)) => Ok(()),
                _ if process.has_ended() => panic!("{}", process.output()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        self.process = Some(process);
    }

    /// It is away.
    pub async fn go_away(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
    }
}
