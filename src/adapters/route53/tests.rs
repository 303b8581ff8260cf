//! The real SDK against canned answers, with no network where none is needed.

use std::sync::atomic::{AtomicUsize, Ordering};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::adapters::clock::AnchoredClock;
use crate::core::aws::access::ExternalId;
use crate::core::dns::record::RawRecordSet;
use crate::core::limits::budget::{ApiAction, Budget, BudgetConfig, Lane, StartLevel};
use crate::core::planning::change::Action;
use crate::core::time::Timestamp;

const ACCOUNT: &str = "111111111111";
const ROLE: &str = "arn:aws:iam::111111111111:role/zonefold";
const START: Timestamp = Timestamp(1_790_000_000_000);

/// Hands the SDK's requests to a router, in this process.
#[derive(Clone, Debug)]
struct InProcess(Router);

impl HttpConnector for InProcess {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let router = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().unwrap().map(Body::new);
            let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
            let body = to_bytes(body, usize::MAX)
                .await
                .map_err(|error| ConnectorError::io(error.into()))?;
            Ok(HttpResponse::try_from(http::Response::from_parts(parts, SdkBody::from(body)))
                .unwrap())
        })
    }
}

impl HttpClient for InProcess {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

/// The next replies of the fake AWS, and the requests that it has seen.
#[derive(Default)]
struct Script {
    route53_calls: AtomicUsize,
    sts_calls: AtomicUsize,
    requests: Mutex<Vec<String>>,
    route53: Mutex<Reply>,
    sts: Mutex<Reply>,
}

#[derive(Clone, Default)]
enum Reply {
    #[default]
    Hang,
    Answer(u16, String),
}

impl Script {
    fn new(route53: (u16, &str)) -> Arc<Self> {
        let script = Self::default();
        script.answer(route53);
        script.answer_sts((200, &session(3_600)));
        Arc::new(script)
    }

    fn answer(&self, (status, body): (u16, &str)) {
        *self.route53.lock().unwrap() = Reply::Answer(status, body.to_owned());
    }

    fn answer_sts(&self, (status, body): (u16, &str)) {
        *self.sts.lock().unwrap() = Reply::Answer(status, body.to_owned());
    }

    fn calls(&self) -> (usize, usize) {
        (self.sts_calls.load(Ordering::SeqCst), self.route53_calls.load(Ordering::SeqCst))
    }

    fn last_request(&self) -> String {
        self.requests.lock().unwrap().last().unwrap().clone()
    }
}

async fn play(State(script): State<Arc<Script>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let to_sts = parts.uri.path() == "/";
    let body = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
    let authorization =
        parts.headers.get("authorization").map_or("", |value| value.to_str().unwrap()).to_owned();
    script
        .requests
        .lock()
        .unwrap()
        .push(format!("{} {} {authorization} {body}", parts.method, parts.uri));
    let (calls, reply) = if to_sts {
        (&script.sts_calls, &script.sts)
    } else {
        (&script.route53_calls, &script.route53)
    };
    calls.fetch_add(1, Ordering::SeqCst);
    // STS takes a moment, so that callers meet.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let reply = reply.lock().unwrap().clone();
    match reply {
        Reply::Hang => std::future::pending().await,
        Reply::Answer(status, body) => {
            let status = http::StatusCode::from_u16(status).unwrap();
            (status, [("content-type", "text/xml"), ("x-amzn-requestid", "req-1")], body)
                .into_response()
        }
    }
}

fn access(role: Option<&str>) -> AccountAccess {
    AccountAccess {
        account: AccountId::parse(ACCOUNT).unwrap(),
        partition: Partition::Aws,
        via_role_arn: None,
        role_arn: role.map(|role| RoleArn::parse(role).unwrap()),
        external_id: role.map(|_| ExternalId::parse("hush-external").unwrap()),
    }
}

fn options() -> AwsOptions {
    AwsOptions {
        attempt_timeout: Duration::from_secs(30),
        ..AwsOptions::emulator("http://unused.invalid", "AKIDBASE", "hush")
    }
}

async fn provider_with(options: AwsOptions, access: AccountAccess) -> Arc<dyn DnsProvider> {
    let account = access.account.clone();
    let providers =
        AwsProviders::new(vec![access], options, Arc::new(AnchoredClock::at(START))).await;
    providers.provider(&account).await.unwrap()
}

async fn scripted(script: &Arc<Script>, access: AccountAccess) -> Arc<dyn DnsProvider> {
    let router = Router::new().fallback(play).with_state(Arc::clone(script));
    let options = AwsOptions {
        route53_endpoint: None,
        sts_endpoint: None,
        http_client: Some(SharedHttpClient::new(InProcess(router))),
        ..options()
    };
    provider_with(options, access).await
}

fn permit(action: ApiAction, changes: u32) -> Permit {
    let mut budget = Budget::new(&BudgetConfig::profile_2026(), StartLevel::Full, START);
    budget.try_take(START, Lane::Urgent, action, changes).unwrap()
}

fn zone() -> ZoneId {
    ZoneId::parse("Z1").unwrap()
}

fn replace_a() -> Vec<WireChange> {
    let set = |value: &str| RawRecordSet {
        name: "www.example.com.".into(),
        rtype: "A".into(),
        ttl_secs: Some(60),
        values: vec![value.into()],
        ..RawRecordSet::default()
    };
    vec![
        WireChange { action: Action::Delete, set: set("192.0.2.1") },
        WireChange { action: Action::Create, set: set("192.0.2.2") },
    ]
}

async fn change(provider: &Arc<dyn DnsProvider>) -> Result<ChangeReceipt, CallError> {
    let permit = permit(ApiAction::ChangeResourceRecordSets, 2);
    provider.change_records(permit, &zone(), "batch-1", &replace_a()).await
}

fn refusal(code: &str, message: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n<ErrorResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{message}</Message></Error><RequestId>req-1</RequestId></ErrorResponse>"
    )
}

fn sts_refusal(code: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>not authorized to perform: sts:AssumeRole</Message></Error><RequestId>req-2</RequestId></ErrorResponse>"
    )
}

fn session(lives_secs: i64) -> String {
    let expires = Timestamp(START.0 + lives_secs * 1_000);
    format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><AssumedRoleUser>\
         <AssumedRoleId>AROA:s</AssumedRoleId><Arn>arn:aws:sts::{ACCOUNT}:assumed-role/zonefold/s</Arn></AssumedRoleUser>\
         <Credentials><AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>hush</SecretAccessKey>\
         <SessionToken>hush-token</SessionToken><Expiration>{expires}</Expiration></Credentials></AssumeRoleResult>\
         <ResponseMetadata><RequestId>req-2</RequestId></ResponseMetadata></AssumeRoleResponse>"
    )
}

const ACCEPTED: &str = "<?xml version=\"1.0\"?>\n<ChangeResourceRecordSetsResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">\
    <ChangeInfo><Id>/change/C123</Id><Status>PENDING</Status><SubmittedAt>2017-03-27T17:48:16.751Z</SubmittedAt></ChangeInfo>\
    </ChangeResourceRecordSetsResponse>";
const RECORDS: &str = "<ListResourceRecordSetsResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ResourceRecordSets>\
    <ResourceRecordSet><Name>\\052.example.com.</Name><Type>CNAME</Type><TTL>300</TTL><ResourceRecords><ResourceRecord>\
    <Value>lb.example.net</Value></ResourceRecord></ResourceRecords></ResourceRecordSet></ResourceRecordSets>\
    <IsTruncated>true</IsTruncated><NextRecordName>a.example.com.</NextRecordName><NextRecordType>A</NextRecordType>\
    <NextRecordIdentifier>east</NextRecordIdentifier><MaxItems>300</MaxItems></ListResourceRecordSetsResponse>";
const ZONES: &str = "<ListHostedZonesResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><HostedZones><HostedZone>\
    <Id>/hostedzone/Z1</Id><Name>example.com.</Name><CallerReference>r</CallerReference><Config><PrivateZone>true</PrivateZone></Config>\
    <ResourceRecordSetCount>2</ResourceRecordSetCount></HostedZone></HostedZones><IsTruncated>false</IsTruncated>\
    <MaxItems>100</MaxItems></ListHostedZonesResponse>";

#[tokio::test(start_paused = true)]
async fn a_batch_is_sent_once_in_its_order_with_the_credentials_of_the_role() {
    let script = Script::new((200, ACCEPTED));
    let provider = scripted(&script, access(Some(ROLE))).await;
    let receipt = change(&provider).await.unwrap();
    assert_eq!(
        (receipt.change_id.as_str(), receipt.in_sync, receipt.request_id.as_deref()),
        ("C123", false, Some("req-1"))
    );
    let sent = script.last_request();
    assert!(
        sent.starts_with("POST https://route53.amazonaws.com/2013-04-01/hostedzone/Z1/rrset"),
        "{sent}"
    );
    assert!(
        sent.contains("Credential=ASIAROLE/") && sent.contains("<Comment>batch-1</Comment>"),
        "{sent}"
    );
    assert!(
        sent.find("<Action>DELETE</Action>").unwrap()
            < sent.find("<Action>CREATE</Action>").unwrap(),
        "{sent}"
    );
    let assumed = script.requests.lock().unwrap()[0].clone();
    assert!(
        assumed.contains("ExternalId=hush-external") && assumed.contains("DurationSeconds=3600"),
        "{assumed}"
    );
    assert!(
        assumed.contains("RoleSessionName=zonefold-broker")
            && assumed.contains("Credential=AKIDBASE/"),
        "{assumed}"
    );
    assert_eq!(script.calls(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn whatever_route_53_answers_there_is_exactly_one_attempt() {
    let cases = [
        (400, refusal("Throttling", "Rate exceeded"), "throttled by Route 53"),
        (400, refusal("PriorRequestNotComplete", "busy"), "the zone is still busy"),
        (400, refusal("InvalidChangeBatch", "[whole, message]"), "refused: [whole, message]"),
        (403, refusal("ExpiredToken", "expired"), "the credentials have expired"),
        (403, refusal("AccessDenied", "no"), "denied: AccessDenied: no"),
        (404, refusal("NoSuchHostedZone", "No hosted zone found with ID: Z1"), "not found"),
        (503, refusal("ServiceUnavailable", "later"), "the outcome is unknown"),
        (500, String::new(), "the outcome is unknown"),
        (200, "<garb".to_owned(), "the outcome is unknown"),
        (200, "<html><body>proxy</body></html>".to_owned(), "the outcome is unknown"),
        (400, "<html>".to_owned(), "the outcome is unknown"),
    ];
    for (status, body, said) in cases {
        let script = Script::new((status, &body));
        let provider = scripted(&script, access(None)).await;
        let error = change(&provider).await.unwrap_err();
        assert!(error.to_string().starts_with(said), "{status} {body}: {error}");
        assert_eq!(script.calls(), (0, 1), "{status} {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_has_an_unknown_outcome() {
    let script = Script::new((200, ACCEPTED));
    *script.route53.lock().unwrap() = Reply::Hang;
    let provider = scripted(&script, access(None)).await;
    let started = tokio::time::Instant::now();
    let error = change(&provider).await.unwrap_err();
    assert!(matches!(error, CallError::Unknown { .. }), "{error}");
    assert_eq!(started.elapsed().as_secs(), 30);
    assert_eq!(script.calls(), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_not_paid_for_is_not_sent() {
    let script = Script::new((200, ACCEPTED));
    let provider = scripted(&script, access(Some(ROLE))).await;
    for unfit in
        [permit(ApiAction::ChangeResourceRecordSets, 1), permit(ApiAction::ListHostedZones, 2)]
    {
        let error =
            provider.change_records(unfit, &zone(), "batch-1", &replace_a()).await.unwrap_err();
        assert!(matches!(error, CallError::NotSent { .. }), "{error}");
    }
    assert_eq!(script.calls(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn pages_are_as_large_as_route_53_allows_and_keep_the_text_as_answered() {
    let script = Script::new((200, RECORDS));
    let provider = scripted(&script, access(None)).await;
    let from = RecordCursor {
        name: "\\052.example.com.".to_owned(),
        rtype: "TXT".to_owned(),
        set_identifier: None,
    };
    let page = provider
        .list_records(permit(ApiAction::ListResourceRecordSets, 0), &zone(), Some(from))
        .await
        .unwrap();
    assert_eq!(
        (page.sets[0].name.as_str(), page.sets[0].values[0].as_str()),
        ("\\052.example.com.", "lb.example.net")
    );
    let next = page.next.unwrap();
    assert_eq!(
        (next.name.as_str(), next.set_identifier.as_deref()),
        ("a.example.com.", Some("east"))
    );
    assert!(script.last_request().contains("maxitems=300"), "{}", script.last_request());
    assert!(
        script.last_request().contains("name=%5C052.example.com."),
        "{}",
        script.last_request()
    );

    script.answer((200, ZONES));
    let page = provider.list_zones(permit(ApiAction::ListHostedZones, 0), None).await.unwrap();
    assert!(page.zones[0].private && page.zones[0].id == zone() && page.next_marker.is_none());
    script.answer((200, &ZONES.replace("example.com.", "a..b")));
    let error = provider.list_zones(permit(ApiAction::ListHostedZones, 0), None).await.unwrap_err();
    assert!(matches!(error, CallError::Unknown { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_is_no_shorter_answer() {
    let script = Script::new((200, RECORDS));
    let provider = scripted(&script, access(None)).await;
    for length in [
        RECORDS.find("<ResourceRecordSet>").unwrap(),
        RECORDS.find("<IsTruncated>").unwrap(),
        RECORDS.len() - 2,
    ] {
        script.answer((200, &RECORDS[..length]));
        let answer = provider
            .list_records(permit(ApiAction::ListResourceRecordSets, 0), &zone(), None)
            .await;
        assert!(matches!(answer, Err(CallError::Unknown { .. })), "{length} bytes: {answer:?}");
    }
    script.answer((200, &ZONES[..ZONES.find("<HostedZone>").unwrap()]));
    let answer = provider.list_zones(permit(ApiAction::ListHostedZones, 0), None).await;
    assert!(matches!(answer, Err(CallError::Unknown { .. })), "{answer:?}");
    script.answer((200, &ACCEPTED[..ACCEPTED.find("<Status>").unwrap()]));
    assert!(matches!(change(&provider).await, Err(CallError::Unknown { .. })));
}

#[tokio::test(start_paused = true)]
async fn all_callers_share_one_fetch_of_credentials_and_its_failure() {
    let script = Script::new((200, ACCEPTED));
    let provider = scripted(&script, access(Some(ROLE))).await;
    let answers = futures::future::join_all((0..10).map(|_| change(&provider))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(script.calls(), (1, 10));

    provider.refresh_credentials().await;
    script.answer_sts((403, &sts_refusal("AccessDenied")));
    for answer in futures::future::join_all((0..10).map(|_| change(&provider))).await {
        let error = answer.unwrap_err();
        assert!(matches!(error, CallError::Denied { .. }), "{error}");
        let said = error.to_string();
        assert!(
            said.contains(ROLE) && said.contains("external_id") && !said.contains("hush"),
            "{said}"
        );
    }
    assert_eq!(script.calls(), (2, 10));
}

#[tokio::test(start_paused = true)]
async fn a_session_is_renewed_well_before_it_runs_out() {
    let script = Script::new((200, ACCEPTED));
    let provider = scripted(&script, access(Some(ROLE))).await;
    change(&provider).await.unwrap();
    tokio::time::advance(Duration::from_secs(2_900)).await;
    change(&provider).await.unwrap();
    assert_eq!(script.calls().0, 1, "not earlier than ten minutes before");
    tokio::time::advance(Duration::from_secs(410)).await;
    script.answer_sts((200, &session(7_200)));
    change(&provider).await.unwrap();
    assert_eq!(script.calls().0, 2, "not later than five minutes before");
}

#[tokio::test(start_paused = true)]
async fn an_sts_that_does_not_answer_means_that_nothing_was_sent() {
    let script = Script::new((200, ACCEPTED));
    *script.sts.lock().unwrap() = Reply::Hang;
    let provider = scripted(&script, access(Some(ROLE))).await;
    let error = change(&provider).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent { .. }), "{error}");
    assert_eq!(script.calls().1, 0);
}

#[tokio::test(start_paused = true)]
async fn a_hop_is_assumed_first_and_the_role_from_there() {
    let script = Script::new((200, ACCEPTED));
    let hop = RoleArn::parse("arn:aws:iam::222222222222:role/hub").unwrap();
    let provider =
        scripted(&script, AccountAccess { via_role_arn: Some(hop), ..access(Some(ROLE)) }).await;
    change(&provider).await.unwrap();
    let requests = script.requests.lock().unwrap().clone();
    assert!(
        requests[0].contains("222222222222") && requests[0].contains("Credential=AKIDBASE/"),
        "{}",
        requests[0]
    );
    assert!(!requests[0].contains("ExternalId"), "{}", requests[0]);
    assert!(
        requests[1].contains(ACCOUNT) && requests[1].contains("Credential=ASIAROLE/"),
        "{}",
        requests[1]
    );
    assert_eq!(script.calls(), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn the_identity_is_that_of_the_account_s_credentials() {
    let script = Script::new((200, ACCEPTED));
    let provider = scripted(&script, access(None)).await;
    script.answer_sts((
        200,
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Arn>arn:aws:iam::111111111111:user/u</Arn><UserId>U</UserId><Account>111111111111</Account></GetCallerIdentityResult>\
         <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></GetCallerIdentityResponse>",
    ));
    assert_eq!(provider.identity().await.unwrap().account.as_str(), ACCOUNT);
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_means_that_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let provider =
        provider_with(AwsOptions { route53_endpoint: Some(endpoint), ..options() }, access(None))
            .await;
    let error = change(&provider).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent { .. }), "{error}");
}

#[tokio::test]
async fn a_connection_that_is_lost_after_sending_has_an_unknown_outcome() {
    // Nothing is answered; then half an answer is.
    for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n<Change"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut received = vec![0; 64 * 1024];
            assert!(stream.read(&mut received).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let provider = provider_with(
            AwsOptions { route53_endpoint: Some(endpoint), ..options() },
            access(None),
        )
        .await;
        let error = change(&provider).await.unwrap_err();
        assert!(matches!(error, CallError::Unknown { .. }), "{error}");
        server.await.unwrap();
    }
}

#[tokio::test]
async fn an_account_keeps_its_provider_until_it_is_reached_differently() {
    let providers =
        AwsProviders::new(vec![access(None)], options(), Arc::new(AnchoredClock::at(START))).await;
    let account = AccountId::parse(ACCOUNT).unwrap();
    let first = providers.provider(&account).await.unwrap();
    providers.set_accounts(vec![access(None)]);
    assert!(Arc::ptr_eq(&first, &providers.provider(&account).await.unwrap()));
    providers.set_accounts(vec![access(Some(ROLE))]);
    assert!(!Arc::ptr_eq(&first, &providers.provider(&account).await.unwrap()));
    providers.set_accounts(vec![]);
    assert!(matches!(providers.provider(&account).await, Err(CallError::NotSent { .. })));
}

/// Serves the script on a port of its own and returns its URL.
async fn served(script: &Arc<Script>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(play).with_state(Arc::clone(script));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn endpoints_and_credentials_of_the_environment_are_honoured() {
    let (route53, sts) = (Script::new((200, ZONES)), Script::new((200, ZONES)));
    let (route53_url, sts_url) = (served(&route53).await, served(&sts).await);
    // Variables are set for a child, since a process of threads must not change its own.
    let status = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "adapters::route53::tests::a_child_with_only_an_environment",
            "--ignored",
        ])
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .env("AWS_ENDPOINT_URL_ROUTE_53", route53_url)
        .env("AWS_ENDPOINT_URL_STS", sts_url)
        .env("AWS_ACCESS_KEY_ID", "AKIDENV")
        .env("AWS_SECRET_ACCESS_KEY", "hush")
        .env("AWS_REGION", "eu-west-1")
        .stdout(std::process::Stdio::null())
        .status()
        .await
        .unwrap();
    assert!(status.success());
    assert_eq!((sts.calls(), route53.calls()), ((1, 0), (0, 1)));
    assert!(sts.last_request().contains("Credential=AKIDENV/"), "{}", sts.last_request());
    assert!(sts.last_request().contains("/eu-west-1/sts/"), "{}", sts.last_request());
}

#[tokio::test]
#[ignore = "a part of endpoints_and_credentials_of_the_environment_are_honoured"]
async fn a_child_with_only_an_environment() {
    let provider = provider_with(AwsOptions::default(), access(Some(ROLE))).await;
    let page = provider.list_zones(permit(ApiAction::ListHostedZones, 0), None).await.unwrap();
    assert_eq!(page.zones.len(), 1);
}
