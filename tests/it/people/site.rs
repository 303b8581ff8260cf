//! A broker in this process at which people sign in.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zonefold::app::broker::{BrokerOptions, Reloader, build};
use zonefold::broker::BrokerHandle;
use zonefold::cli::token::sha256_hex;
use zonefold::config::Config;

use super::browser::{Answer, Browser};
use crate::identity::site::options;
use crate::support::folder::TestFolder;
use crate::support::network::free_address;

/// A token of the configuration that may do everything.
pub const ROOT: &str = "a-token-of-the-configuration-for-all";
/// The cookie of a session over plain http.
pub const COOKIE: &str = "zonefold-session";

/// Two teams, which own half of a zone each.
pub const RULES: &str = "\
apiVersion: zonefold.dev/v1
kind: Team
metadata: { name: pay }
spec: { displayName: Payments, owners: { groups: [pay-leads] }, members: { groups: [pay] } }
---
apiVersion: zonefold.dev/v1
kind: Team
metadata: { name: shop }
spec: { owners: { groups: [shop-leads] } }
---
apiVersion: zonefold.dev/v1
kind: Ownership
metadata: { name: pay }
spec: { zone: example.com, names: [\"*.pay.example.com\"], team: pay }
---
apiVersion: zonefold.dev/v1
kind: Ownership
metadata: { name: shop }
spec: { zone: example.com, names: [\"*.shop.example.com\"], team: shop }
";

/// See the module's page.
pub struct PeopleSite {
    pub folder: TestFolder,
    pub grpc: SocketAddr,
    /// Where browsers reach it.
    pub url: String,
    pub handle: BrokerHandle,
    config: Value,
    reloader: Reloader,
    stop: CancellationToken,
    _running: JoinHandle<anyhow::Result<()>>,
}

impl Drop for PeopleSite {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl PeopleSite {
    /// A broker whose provider is at `issuer`.
    pub async fn start(folder: TestFolder, http: SocketAddr, issuer: &str, more: &Value) -> Self {
        Self::start_with(folder, http, issuer, more, options()).await
    }

    /// The same, with something else that the configuration does not say.
    pub async fn start_with(
        folder: TestFolder,
        http: SocketAddr,
        issuer: &str,
        more: &Value,
        options: BrokerOptions,
    ) -> Self {
        let url = format!("http://{http}");
        folder.folder("rules");
        folder.write("rules/teams.yaml", RULES);
        let secret = folder.write("client-secret", super::provider::CLIENT_SECRET);
        let mut config = json!({
            "store": format!("sqlite:{}", folder.path("broker.db").display()),
            "listen": { "grpc": "127.0.0.1:0", "http": http.to_string() },
            "agents": { "token": "a-token-of-the-agents-of-this-test" },
            "public_url": url,
            "oidc": {
                "issuer": issuer, "client_id": super::provider::CLIENT, "client_secret_file": secret,
                "scopes": ["profile", "email", "groups"],
            },
            "api": {
                "tokens": [{ "name": "root", "role": "admin", "token_sha256": sha256_hex(ROOT) }],
                "people": {
                    "admins": { "users": ["root@example.com"] },
                    "operators": { "groups": ["platform"] },
                    "viewers": [{ "groups": ["guests"], "environments": ["dev"] }],
                },
            },
            "environments": [{ "name": "dev" }, { "name": "prod" }],
            "clusters": [
                { "name": "dev-east", "environment": "dev" },
                { "name": "prod-east", "environment": "prod" },
            ],
            "rules": [folder.path("rules")],
        });
        lay_over(&mut config, more);
        let parsed = Arc::new(Config::parse(&config.to_string(), "broker.yaml").unwrap());
        let bound = build(&parsed, options).await.unwrap();
        let (handle, grpc) = (bound.handle(), bound.grpc);
        let reloader = bound.reloader(Arc::clone(&parsed));
        let stop = CancellationToken::new();
        let running = tokio::spawn(bound.run(stop.clone()));
        Self { folder, grpc, url, handle, config, reloader, stop, _running: running }
    }

    /// A broker at which nobody signs in, but whose tokens count.
    pub async fn without_provider(more: &Value) -> Self {
        Self::start(TestFolder::new(), free_address(), "http://127.0.0.1:9", more).await
    }

    /// The broker reads another configuration.
    pub async fn reconfigure(&self, more: &Value) {
        let mut config = self.config.clone();
        lay_over(&mut config, more);
        self.reloader.apply(&Config::parse(&config.to_string(), "broker.yaml").unwrap()).await;
    }

    /// A request with a token.
    pub async fn with_token(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: &Value,
    ) -> Answer {
        let authorization = format!("Bearer {token}");
        let headers =
            [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        Browser::default().ask(method, &format!("{}{path}", self.url), &headers, &body).await
    }

    /// A request of a page of the broker.
    pub async fn by_page(
        &self,
        browser: &mut Browser,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Answer {
        let headers = [
            ("origin", self.url.as_str()),
            ("sec-fetch-site", "same-origin"),
            ("x-zonefold-request", "1"),
            ("content-type", "application/json"),
        ];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        browser.ask(method, &format!("{}{path}", self.url), &headers, &body).await
    }

    /// A browser in which somebody has signed in at the real provider.
    pub async fn signed_in(&self, login: &str) -> Browser {
        let mut browser = Browser::default();
        self.sign_in(&mut browser, login).await;
        browser
    }

    /// Signs somebody in; answers the last answer of the broker before the page to which it leads.
    pub async fn sign_in(&self, browser: &mut Browser, login: &str) -> Answer {
        let link = format!("{}/auth/sign-in?return_to=/api/v1/me", self.url);
        let end = format!("{}/api/v1/me", self.url);
        let last = browser.sign_in(&link, login, |next| next == end).await;
        assert_eq!((last.status, last.location()), (303, Some(end)), "{}", last.body);
        last
    }

    /// Who somebody is to the broker.
    pub async fn me(&self, browser: &mut Browser) -> Answer {
        browser.ask(Method::GET, &format!("{}/api/v1/me", self.url), &[], "").await
    }
}

fn lay_over(config: &mut Value, more: &Value) {
    for (key, value) in more.as_object().unwrap() {
        match (&mut config[key], value) {
            (Value::Object(_), Value::Object(_)) => lay_over(&mut config[key], value),
            (place, value) => *place = value.clone(),
        }
    }
}

/// The kind of a problem.
pub fn kind(answer: &Answer) -> String {
    let kind = answer.json()["type"].as_str().unwrap_or_default().to_owned();
    kind.trim_start_matches("urn:zonefold:problem:").to_owned()
}
