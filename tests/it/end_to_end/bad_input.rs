//! Wrong input gets an answer with its reason and what to do, and everything else goes on.

use std::time::Duration;

use serde_json::Value;
use tonic::Request;
use zonefold::emulator::{Action, FaultEffect, FaultMatch, FaultRule};
use zonefold::wire::v1;
use zonefold::wire::v1::agent_message::Message as FromAgent;
use zonefold::wire::v1::broker_message::Message as ToAgent;
use zonefold::wire::v1::federation_client::FederationClient;

use crate::support::aws::{self, Aws, DEV_ZONE};
use crate::support::deployment::{self, Deployment};
use crate::support::folder::TestFolder;
use crate::support::manifests::{annotated_service, dns_endpoint, service};
use crate::support::wait::eventually_equal;

/// A manifest that is wrong, and the status that its cluster gets.
struct Wrong {
    object: &'static str,
    rtype: &'static str,
    manifest: String,
    verdict: &'static str,
    reason: &'static str,
    /// Parts of the message: what is wrong, and what to do.
    says: [&'static str; 2],
}

const GOOD: &str = "good.dev.example.com";
const TWICE: &str = "twice.dev.example.com";

fn one(text: &str) -> Vec<String> {
    vec![text.to_owned()]
}

fn wrong_manifests() -> Vec<Wrong> {
    let long_label = format!("{}.dev.example.com", "a".repeat(64));
    let many: Vec<String> = (0..401).map(|n| format!("10.0.{}.{}", n / 256, n % 256)).collect();
    let weighted = |weight| vec![("set-identifier", "one"), ("aws-weight", weight)];
    let row = |object, rtype, manifest, verdict, reason, says| Wrong {
        object,
        rtype,
        manifest,
        verdict,
        reason,
        says,
    };
    let rejected = |object, rtype, manifest, reason, says| {
        row(object, rtype, manifest, "rejected", reason, says)
    };
    let waiting = |object, rtype, manifest, reason, says| {
        row(object, rtype, manifest, "waiting", reason, says)
    };
    vec![
        rejected(
            "long-label",
            "A",
            service("long-label", &long_label, "192.0.2.1"),
            "INVALID_NAME",
            ["has 64 octets and the limit is 63", "shorten it"],
        ),
        rejected(
            "empty-label",
            "A",
            service("empty-label", "a..dev.example.com", "192.0.2.1"),
            "INVALID_NAME",
            ["\"a..dev.example.com\" has an empty label", "remove the extra dot"],
        ),
        rejected(
            "no-address",
            "A",
            dns_endpoint("no-address", "b.dev.example.com", "A", &one("not-an-address")),
            "INVALID_TARGET",
            ["\"not-an-address\": it is no IPv4 address", "write four numbers"],
        ),
        rejected(
            "many-values",
            "A",
            dns_endpoint("many-values", "c.dev.example.com", "A", &many),
            "TOO_LARGE",
            ["401 values are given and the limit is 400", "use fewer"],
        ),
        rejected(
            "long-text",
            "TXT",
            dns_endpoint("long-text", "d.dev.example.com", "TXT", &one(&"x".repeat(5_000))),
            "INVALID_TARGET",
            ["Route 53 accepts 4000 at most", "shorten it or spread it"],
        ),
        rejected(
            "apex-name",
            "CNAME",
            dns_endpoint("apex-name", DEV_ZONE, "CNAME", &one("www.example.net")),
            "INVALID_TYPE",
            ["a CNAME cannot stand at the apex of the zone dev.example.com", "use an alias"],
        ),
        rejected(
            "heavy",
            "A",
            annotated_service("heavy", "e.dev.example.com", "192.0.2.1", &weighted("300")),
            "INVALID_ROUTING",
            ["aws/weight is \"300\"", "write a whole number from 0 to 255"],
        ),
        rejected(
            "no-host",
            "CNAME",
            dns_endpoint("no-host", "h.dev.example.com", "CNAME", &one("192.0.2.300")),
            "INVALID_TARGET",
            ["\"192.0.2.300\": no host name ends in a number", "correct the name"],
        ),
        rejected(
            "with-port",
            "CNAME",
            dns_endpoint("with-port", "p.dev.example.com", "CNAME", &one("192.0.2.191:443")),
            "INVALID_TARGET",
            ["\"192.0.2.191:443\": no host name holds \":\"", "leave the port away"],
        ),
        rejected(
            "itself",
            "CNAME",
            dns_endpoint("itself", "i.dev.example.com", "CNAME", &one("i.dev.example.com")),
            "INVALID_TARGET",
            ["i.dev.example.com points to itself", "give another target"],
        ),
        rejected(
            "north",
            "A",
            annotated_service(
                "north",
                "n.dev.example.com",
                "192.0.2.92",
                &[("set-identifier", "pole"), ("aws-geoproximity-coordinates", "91,0")],
            ),
            "INVALID_ROUTING",
            ["aws/geoproximity-coordinates is \"91,0\"", "a number from -90 to 90"],
        ),
        waiting(
            "elsewhere",
            "A",
            service("elsewhere", "www.stage.example.com", "192.0.2.1"),
            "NO_ZONE",
            [
                "no zone of the environment dev holds www.stage.example.com",
                "the nearest are dev.example.com. Create the zone",
            ],
        ),
        // Of two that do not go together the first stays: `good` and `set-once` were there before.
        waiting(
            "cname-beside",
            "CNAME",
            dns_endpoint("cname-beside", GOOD, "CNAME", &one("www.example.net")),
            "CONFLICT_IN_CLUSTER",
            [
                "service/shop/good came first with good.dev.example.com A: a CNAME cannot coexist with other",
                "Change or remove one",
            ],
        ),
        waiting(
            "set-twice",
            "A",
            annotated_service("set-twice", TWICE, "192.0.2.2", &weighted("20")),
            "CONFLICT_IN_CLUSTER",
            [
                "service/shop/set-once came first",
                "the set identifier is used twice. Change or remove one",
            ],
        ),
    ]
}

async fn good_is_applied(aws: &Aws, site: &Deployment, address: &str) {
    site.write("dev-east", "good.yaml", &service("good", GOOD, address));
    let wanted = Some((60, vec![address.to_owned()]));
    eventually_equal("the good one arrives", wanted, async || aws.answer("dev", GOOD, "A").await)
        .await;
}

#[tokio::test]
async fn a_wrong_manifest_gets_a_verdict_and_the_good_ones_beside_it_are_applied() {
    let (emulator, aws) = aws::emulated().await;
    let mut site = Deployment::on_sqlite(&aws).await;
    let first = annotated_service(
        "set-once",
        TWICE,
        "192.0.2.3",
        &[("set-identifier", "one"), ("aws-weight", "10")],
    );
    site.agent("dev-east", &[("set-once.yaml", first)]).await;
    good_is_applied(&aws, &site, "192.0.2.10").await;
    site.applied("dev-east", "set-once", "A").await;

    let rows = wrong_manifests();
    for row in &rows {
        site.write("dev-east", &format!("{}.yaml", row.object), &row.manifest);
    }
    for row in &rows {
        let told = site
            .status("dev-east", row.object, row.rtype, |status| status["verdict"].is_string())
            .await;
        assert_eq!(
            (told["verdict"].as_str(), told["reason"].as_str()),
            (Some(row.verdict), Some(row.reason)),
            "{}: {told}",
            row.object
        );
        let message = told["message"].as_str().unwrap();
        assert!(row.says.iter().all(|part| message.contains(part)), "{}: {message}", row.object);
    }
    good_is_applied(&aws, &site, "192.0.2.11").await;
    let names = aws::names_beside_the_apex(&aws, "dev").await;
    assert_eq!(names, [format!("{GOOD}."), format!("{TWICE}.")]);
    site.finish(&aws).await;
    emulator.stop().await;
}

#[tokio::test]
async fn a_file_that_is_no_yaml_is_named_and_the_others_are_read() {
    let (emulator, aws) = aws::emulated().await;
    let mut site = Deployment::on_sqlite(&aws).await;
    site.agent(
        "dev-east",
        &[("broken.yaml", "apiVersion: v1\nkind: [Service\n  {{ .Values".to_owned())],
    )
    .await;
    let named = |line: &Value| line["level"] == "WARN" && line.to_string().contains("broken.yaml");
    site.agent_of("dev-east").process.line("names the file", named).await;
    good_is_applied(&aws, &site, "192.0.2.10").await;
    site.finish(&aws).await;
    emulator.stop().await;
}

#[tokio::test]
async fn a_configuration_with_an_unknown_key_is_refused_with_file_line_and_reason() {
    let (emulator, aws) = aws::emulated().await;
    for (from, to, line, says) in [
        ("\"external_id\"", "\"extrenal_id\"", "extrenal_id", "extrenal_id"),
        (":role/zonefold\"", ":user/zonefold\"", "role_arn", "role"),
    ] {
        let folder = TestFolder::new();
        let right =
            deployment::configuration(&folder, &deployment::sqlite(&folder), aws.configured());
        let text = serde_json::to_string_pretty(&right).unwrap().replacen(from, to, 1);
        let wrong_line = text.lines().position(|text| text.contains(line)).unwrap() + 1;
        let path = folder.write("wrong.yaml", &text);
        let broker = deployment::start_broker(&folder, &aws, &path);
        let (status, said) = broker.ended().await;
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(
            said.contains(&format!("wrong.yaml:{wrong_line}:")) && said.contains(says),
            "line {wrong_line}: {said}"
        );
        deployment::nothing_secret_in(&[("the refusal".to_owned(), said)], &aws);
    }
    emulator.stop().await;
}

#[tokio::test]
async fn an_expired_token_is_replaced_and_the_change_goes_out() {
    let (emulator, aws) = aws::emulated().await;
    let mut site = Deployment::on_sqlite(&aws).await;
    site.agent("dev-east", &[]).await;
    good_is_applied(&aws, &site, "192.0.2.10").await;
    let sessions_before = aws.tap.secrets().len();
    emulator.control().add_fault(FaultRule {
        matching: FaultMatch {
            action: Some(Action::ChangeResourceRecordSets),
            ..FaultMatch::default()
        },
        times: Some(1),
        effect: FaultEffect::ExpiredToken {},
    });
    good_is_applied(&aws, &site, "192.0.2.11").await;
    assert_eq!(emulator.control().faults()[0].worked, 1);
    assert!(aws.tap.secrets().len() > sessions_before, "another session was asked for");
    site.finish(&aws).await;
    emulator.stop().await;
}

#[tokio::test]
async fn a_message_of_a_hundred_megabytes_ends_its_stream_and_no_other() {
    const MEGABYTES: usize = 100;
    let (emulator, aws) = aws::emulated().await;
    let mut site = Deployment::on_sqlite(&aws).await;
    site.agent("dev-east", &[]).await;
    good_is_applied(&aws, &site, "192.0.2.10").await;

    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", site.grpc))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = FederationClient::new(channel);
    let hello = v1::Hello {
        cluster: "dev-west".to_owned(),
        kube_system_uid: uuid::Uuid::new_v4().to_string(),
        instance_id: uuid::Uuid::new_v4().to_string(),
        ..v1::Hello::default()
    };
    let (say, said) = tokio::sync::mpsc::channel(1);
    let message = |message| v1::AgentMessage { message: Some(message) };
    say.send(message(FromAgent::Hello(hello))).await.unwrap();
    let mut request = Request::new(tokio_stream::wrappers::ReceiverStream::new(said));
    request
        .metadata_mut()
        .insert("authorization", format!("Bearer {}", deployment::TOKEN).parse().unwrap());
    let mut answers = client.publish(request).await.unwrap().into_inner();
    let welcome = answers.message().await.unwrap().unwrap();
    assert!(matches!(welcome.message, Some(ToAgent::Welcome(_))), "{welcome:?}");

    let chunk = v1::BucketDigests { digests: vec![0; MEGABYTES << 20].into() };
    say.send(message(FromAgent::BucketDigests(chunk))).await.unwrap();
    let refused = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            if let Err(status) = answers.message().await {
                return status;
            }
        }
    });
    let status = refused.await.expect("the stream is ended");
    assert_eq!(status.code(), tonic::Code::OutOfRange, "{status:?}");
    assert!(
        status.message().contains("message length too large")
            && status.message().contains("Welcome"),
        "{status:?}"
    );

    good_is_applied(&aws, &site, "192.0.2.11").await;
    let opened =
        |line: &&Value| line["message"] == "session opened" && line["cluster"] == "dev-east";
    assert_eq!(
        site.broker.log().iter().filter(opened).count(),
        1,
        "the other stream was never interrupted"
    );
    site.finish(&aws).await;
    emulator.stop().await;
}
