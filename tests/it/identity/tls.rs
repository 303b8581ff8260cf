//! Certificates: which cluster one speaks for, and how they are renewed.

use serde_json::json;
use tonic::Code;
use zonefold::agent::manifests::ManifestOptions;
use zonefold::agent::sources::ExtractOptions;
use zonefold::agent::{Access, Agent, AgentConfig, AgentError, ClusterUid, Objects};
use zonefold::app::broker::build;
use zonefold::config::Config;

use super::site::{BROKER_NAME, IdentitySite, hello, options, reason, watch};
use crate::support::authority::Authority;
use crate::support::network::get_json;
use crate::support::wait::{eventually, eventually_equal};

const EAST: &str = "east.agents.zonefold.test";
const WEST: &str = "spiffe://zonefold.test/clusters/west";

async fn site() -> IdentitySite {
    let clusters = json!([
        { "name": "east", "environment": "dev", "identity": { "certificate": EAST } },
        { "name": "west", "environment": "dev", "identity": { "certificate": WEST } },
    ]);
    IdentitySite::start(&clusters, &json!({})).await
}

#[tokio::test]
async fn the_name_in_the_certificate_decides_the_cluster() {
    let site = site().await;
    let east = site.by_certificate(&site.authority.write_signed(
        &site.folder,
        "east",
        &["East.Agents.Zonefold.Test"],
    ));
    let west = site.by_certificate(&site.authority.write_signed(&site.folder, "west", &[WEST]));
    assert!(hello(&east, "east").await.unwrap().is_open().await);
    assert!(hello(&west, "west").await.unwrap().is_open().await);
    watch(&west, "west").await.unwrap();

    for result in [hello(&east, "west").await.map(drop), watch(&east, "west").await] {
        assert_eq!(reason(result), (Code::PermissionDenied, "OTHER_CLUSTER".to_owned()));
    }
    let cluster = get_json(site.http, "/api/v1/clusters/west").await.unwrap();
    assert_eq!(cluster["refused_claims"]["count"], 2, "{cluster}");
    assert_eq!(cluster["refused_claims"]["reason"], "OTHER_CLUSTER");
    let detail = cluster["refused_claims"]["detail"].as_str().unwrap();
    assert!(detail.contains("to be the cluster east and claims to be west"), "{detail}");
    assert!(
        get_json(site.http, "/api/v1/clusters/east").await.unwrap()["refused_claims"].is_null()
    );
    assert!(site.metric("zonefold_callers_refused_total{reason=\"OTHER_CLUSTER\"} 2").await);
}

#[tokio::test]
async fn a_certificate_that_proves_nothing_opens_nothing() {
    let site = site().await;
    let nobody = site.by_certificate(&site.authority.write_signed(
        &site.folder,
        "nobody",
        &["nobody.zonefold.test"],
    ));
    assert_eq!(
        reason(hello(&nobody, "east").await),
        (Code::Unauthenticated, "UNKNOWN_CERTIFICATE".to_owned())
    );
    let pattern = site.by_certificate(&site.authority.write_signed(
        &site.folder,
        "pattern",
        &["*.agents.zonefold.test"],
    ));
    assert_eq!(
        reason(hello(&pattern, "east").await),
        (Code::Unauthenticated, "UNKNOWN_CERTIFICATE".to_owned())
    );
    let both =
        site.by_certificate(&site.authority.write_signed(&site.folder, "both", &[EAST, WEST]));
    assert_eq!(reason(hello(&both, "east").await), (Code::Unauthenticated, "AMBIGUOUS".to_owned()));
    assert_eq!(
        reason(hello(&site.by_nothing(), "east").await),
        (Code::Unauthenticated, "NO_CREDENTIALS".to_owned())
    );
    assert_eq!(
        reason(watch(&site.by_nothing(), "east").await),
        (Code::Unauthenticated, "NO_CREDENTIALS".to_owned())
    );
    assert_eq!(
        reason(hello(&site.by_token("any"), "east").await),
        (Code::Unauthenticated, "UNKNOWN_TOKEN".to_owned())
    );

    // Signed by another authority, with the right name: the handshake fails, and no call is made.
    let forged = Authority::new("forger").write_signed(&site.folder, "forged", &[EAST]);
    assert!(hello(&site.by_certificate(&forged), "east").await.is_err());
    let plain = tonic::transport::Endpoint::from_shared(format!("http://{}", site.grpc)).unwrap();
    let mut client =
        zonefold::wire::v1::federation_client::FederationClient::new(plain.connect_lazy());
    assert!(
        client.watch_status(zonefold::wire::v1::WatchStatusRequest::default()).await.is_err(),
        "no plain text beside TLS"
    );
    eventually_equal("failed handshakes are counted", true, async || {
        site.metric("zonefold_tls_handshakes_failed_total{listener=\"grpc\"}").await
    })
    .await;
}

#[tokio::test]
async fn an_agent_publishes_over_tls_with_its_certificate() {
    let site = site().await;
    let files = site.authority.write_signed(&site.folder, "east", &[EAST]);
    let agent = |address| AgentConfig {
        cluster: "east".to_owned(),
        kube_system_uid: ClusterUid::StateFile(site.folder.path("uid")),
        broker: address,
        objects: Objects::Manifests(ManifestOptions {
            path: site.folder.folder("manifests"),
            rescan: std::time::Duration::from_secs(60),
            extract: ExtractOptions::default(),
        }),
        listen: None,
    };
    let bound = Agent::build(agent(site.address(None, Some(&files)))).await.unwrap();
    let (handle, stop) = (bound.handle(), tokio_util::sync::CancellationToken::new());
    let running = tokio::spawn(bound.run(stop.clone()));
    let converged = handle.wait_until(|state| state.publisher.is_converged());
    tokio::time::timeout(crate::support::wait::DEADLINE, converged).await.unwrap();
    stop.cancel();
    running.await.unwrap().unwrap();

    // An unusable key is reported at the start, not tried for ever.
    site.folder.write("east.key", "no key");
    let refused = Agent::build(agent(site.address(None, Some(&files)))).await.err();
    assert!(matches!(refused, Some(AgentError::Access(_))), "{refused:?}");
}

/// The certificate that the broker shows to a client that connects now.
async fn served(site: &IdentitySite) -> Vec<u8> {
    let tls =
        zonefold::adapters::tls::client_config(Some(&site.folder.path("authority.crt"))).unwrap();
    let stream = tokio::net::TcpStream::connect(site.grpc).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from(BROKER_NAME).unwrap();
    let stream = tokio_rustls::TlsConnector::from(std::sync::Arc::new(tls))
        .connect(name, stream)
        .await
        .unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn a_certificate_is_renewed_while_agents_stay_connected() {
    let site = site().await;
    let east = site.by_certificate(&site.authority.write_signed(&site.folder, "east", &[EAST]));
    let mut session = hello(&east, "east").await.unwrap();
    let first = served(&site).await;

    let _renewed = site.authority.write_signed(&site.folder, "broker", &[BROKER_NAME, "127.0.0.1"]);
    let second = eventually("the new certificate is served", async || match served(&site).await {
        same if same == first => Err("the first one is served".to_owned()),
        other => Ok(other),
    })
    .await;
    assert!(session.is_open().await, "nobody was sent away for it");

    // A file that is broken, and a key that belongs to another certificate: the one in use stays.
    for (file, text) in
        [("broker.crt", "broken".to_owned()), ("broker.key", site.authority.sign(&[BROKER_NAME]).1)]
    {
        let good = std::fs::read_to_string(site.folder.path(file)).unwrap();
        site.folder.write(file, &text);
        eventually_equal("it is raised", true, async || {
            site.metric("zonefold_tls_certificate_stale 1").await
        })
        .await;
        assert_eq!(served(&site).await, second);
        site.folder.write(file, &good);
        eventually_equal("it is over", true, async || {
            site.metric("zonefold_tls_certificate_stale 0").await
        })
        .await;
    }
    assert!(session.is_open().await);
    assert_eq!(session.epoch, 1);
}

#[tokio::test]
async fn an_agent_shows_its_new_certificate_when_the_authority_changes() {
    let site = site().await;
    let files = site.authority.write_signed(&site.folder, "east", &[EAST]);
    let access = site.by_certificate(&files);
    watch_ok(&access).await;
    let next = Authority::new("next");
    site.folder.write("authority.crt", &next.pem());
    eventually("the old authority is not trusted any more", async || {
        let fresh = Access::new(zonefold::agent::BrokerAddress {
            ca: Some(zonefold::agent::Material::text(site.authority.pem())),
            ..site.address(None, Some(&files))
        });
        match watch(&fresh.unwrap(), "east").await {
            Ok(()) => Err("it is".to_owned()),
            Err(_) => Ok(()),
        }
    })
    .await;
    next.write_signed(&site.folder, "east", &[EAST]);
    watch_ok(&access).await;
    // Broken files leave the connection as it is.
    site.folder.write("east.crt", "broken");
    watch_ok(&access).await;
}

async fn watch_ok(access: &Access) {
    watch(access, "east").await.unwrap();
}

#[tokio::test]
async fn a_broker_whose_certificate_cannot_be_used_does_not_start() {
    let site = site().await;
    let config = |certificate: &std::path::Path| {
        let tls = json!({ "certificate_file": certificate, "key_file": site.own.key });
        let config = json!({
            "listen": { "grpc": "0.0.0.0:0", "http": "0.0.0.0:0", "tls": tls },
            "agents": { "token": "a-token-of-many-characters" },
        });
        Config::parse(&config.to_string(), "broker.yaml").unwrap()
    };
    let absent = site.folder.path("absent.crt");
    let error = format!("{:#}", build(&config(&absent), options()).await.err().unwrap());
    assert!(error.contains("listen.tls") && error.contains("absent.crt"), "{error}");
    let (other, _) = site.authority.sign(&[BROKER_NAME]);
    let error =
        build(&config(&site.folder.write("other.crt", &other)), options()).await.err().unwrap();
    assert!(format!("{error:#}").contains("cannot be used with the key"), "{error:#}");
}
