//! Tokens that a real API server signed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::Value;
use zonefold::adapters::auth::{Identities, Identity, KeySource, KnownCallers, ServiceAccount};
use zonefold::core::ids::ClusterId;
use zonefold::core::time::Timestamp;
use zonefold::ports::{Callers as _, Clock, Proven, RefusedFor, Shown};

use super::site::{BALANCED, KubeSite, SHOP, balanced, host, service};
use crate::support::api_server::{ApiServer, FIRST_KEY, new_signing_key};
use crate::support::wait::eventually;

/// The time of this machine, moved forward.
#[derive(Default)]
struct MovedClock(AtomicI64);

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_millisecond() + self.0.load(Ordering::Relaxed))
    }
}

struct Broker {
    clock: Arc<MovedClock>,
    callers: KnownCallers,
}

impl Broker {
    /// Knows one cluster, by a service account of an issuer.
    fn new(issuer: &str, keys: KeySource) -> Self {
        let account = ServiceAccount {
            issuer: issuer.to_owned(),
            audience: "zonefold".to_owned(),
            namespace: "zonefold".to_owned(),
            name: "agent".to_owned(),
            keys,
        };
        let identity = Identity { service_account: Some(account), ..Identity::default() };
        let identities =
            Identities { shared_token_sha256: None, clusters: vec![(cluster("east"), identity)] };
        let clock = Arc::<MovedClock>::default();
        Self { callers: KnownCallers::new(identities, Arc::clone(&clock) as Arc<dyn Clock>), clock }
    }

    async fn proves(&self, token: &str) -> Result<String, RefusedFor> {
        let shown =
            Shown { bearer: (!token.is_empty()).then(|| token.to_owned()), certificate: None };
        match self.callers.prove(&shown).await {
            Ok(Proven::Cluster { cluster, .. }) => Ok(cluster.to_string()),
            Ok(Proven::Shared) => Ok("shared".to_owned()),
            Err(refused) => Err(refused.why),
        }
    }
}

fn cluster(name: &str) -> ClusterId {
    ClusterId::parse(name).unwrap()
}

/// An API server whose namespace zonefold has the service accounts `agent` and `other`.
async fn api_server() -> ApiServer {
    let api = ApiServer::start().await;
    for arguments in [
        &["create", "namespace", "zonefold"][..],
        &["--namespace", "zonefold", "create", "serviceaccount", "agent"],
        &["--namespace", "zonefold", "create", "serviceaccount", "other"],
        // As docs/security.md tells whose broker is to fetch the keys itself.
        &[
            "create",
            "clusterrolebinding",
            "issuer-discovery",
            "--clusterrole=system:service-account-issuer-discovery",
            "--group=system:unauthenticated",
        ],
    ] {
        api.kubectl(arguments).await;
    }
    api
}

#[tokio::test]
async fn what_the_api_server_signs_is_taken_and_every_other_token_is_refused() {
    let mut api = api_server().await;
    let keys_file =
        api.folder.write("keys.json", &api.kubectl(&["get", "--raw", "/openid/v1/jwks"]).await);
    let ca_file = Some(api.ca.clone());
    let url = format!("{}/openid/v1/jwks", api.issuer());
    let good = api.token("zonefold", "agent", Some("zonefold")).await;
    let sources = [
        KeySource::File(keys_file.clone()),
        KeySource::Url { url: url.clone(), ca_file: ca_file.clone() },
        KeySource::Discovery { ca_file: ca_file.clone(), hosts: vec![] },
    ];
    for keys in sources.clone() {
        let broker = Broker::new(&api.issuer(), keys.clone());
        assert_eq!(broker.proves(&good).await, Ok("east".to_owned()), "{keys:?}");
        for (token, why) in [
            (api.token("zonefold", "agent", None).await, RefusedFor::WrongAudience),
            (
                api.token("zonefold", "agent", Some("somebody-else")).await,
                RefusedFor::WrongAudience,
            ),
            (
                api.token("zonefold", "other", Some("zonefold")).await,
                RefusedFor::WrongServiceAccount,
            ),
            (String::new(), RefusedFor::NoCredentials),
        ] {
            assert_eq!(broker.proves(&token).await, Err(why), "{keys:?}");
        }
        // A token lasts an hour unless one asks for something else.
        broker.clock.0.store(3_700_000, Ordering::Relaxed);
        assert_eq!(broker.proves(&good).await, Err(RefusedFor::Expired), "{keys:?}");
    }
    // The signer of the API server's certificate is not known here, and nothing is believed.
    for keys in [
        KeySource::Url { url, ca_file: None },
        KeySource::Discovery { ca_file: None, hosts: vec![] },
    ] {
        let broker = Broker::new(&api.issuer(), keys);
        assert_eq!(broker.proves(&good).await, Err(RefusedFor::KeysUnavailable));
    }
    let elsewhere = Broker::new("https://elsewhere.test", KeySource::File(keys_file.clone()));
    assert_eq!(elsewhere.proves(&good).await, Err(RefusedFor::UnknownIssuer));
    // Another cluster's API server, whose issuer calls itself the same.
    let other = api_server().await;
    let keys =
        other.folder.write("keys.json", &other.kubectl(&["get", "--raw", "/openid/v1/jwks"]).await);
    let impostor = Broker::new(&api.issuer(), KeySource::File(keys));
    assert_eq!(impostor.proves(&good).await, Err(RefusedFor::UnknownKey));

    // The key is replaced, step by step, as Kubernetes tells it: first the new one signs, and both are known.
    let brokers = sources.map(|keys| Broker::new(&api.issuer(), keys));
    for broker in &brokers {
        assert_eq!(broker.proves(&good).await, Ok("east".to_owned()));
    }
    new_signing_key(&api.folder, "signing-2");
    api.kill().await;
    api.launch(&[FIRST_KEY, "signing-2"]).await;
    let next = api.token("zonefold", "agent", Some("zonefold")).await;
    api.folder.write("keys.json", &api.kubectl(&["get", "--raw", "/openid/v1/jwks"]).await);
    for broker in &brokers {
        // Keys are fetched anew for an unknown one, but not more often than every ten seconds.
        eventually("the next key is known", async || match broker.proves(&next).await {
            Ok(cluster) if cluster == "east" => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        assert_eq!(broker.proves(&good).await, Ok("east".to_owned()));
    }
}

/// The whole way: agents as processes, over TLS.
#[tokio::test]
async fn an_agent_with_another_s_token_is_refused_and_says_why() {
    let mut site = KubeSite::with_agent(&["--source", "service"]).await;
    for (name, cluster, audience, why, in_words) in [
        (
            "for-the-api-server",
            "dev-east",
            None,
            "WRONG_AUDIENCE",
            "the token is meant for another audience",
        ),
        ("for-another-cluster", "dev-west", Some("zonefold"), "OTHER_CLUSTER", "dev-east"),
    ] {
        site.agent_as(name, cluster, audience, &["--source", "service"]).await;
        let refused = |line: &Value| {
            line["level"] == "ERROR" && line["reason"].to_string().contains(in_words)
        };
        site.deployment.agent_of(name).process.line(in_words, refused).await;
        site.deployment.broker.line(why, |line| line.to_string().contains(why)).await;
    }
    // It does the others no harm.
    let web = host("web");
    site.api.apply(&service("web", &web, BALANCED)).await;
    site.api.set_status(SHOP, "service/web", &balanced(&["192.0.2.10"])).await;
    site.holds(&web, "A", &["192.0.2.10"]).await;
    site.finish().await;
}
