//! The way from a broker to AWS: an HTTP client of the SDK that hands each request to the emulator in the process, after the
//! time that it takes to get there, and the answer back.
//!
//! A request that has left is carried out whatever becomes of its sender: given up, stopped or dead. So a call can arrive late,
//! after its broker's lease, and it can be applied without the broker ever hearing of it.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::oneshot;
use zonefold::core::dns::name::DnsName;
use zonefold::core::ids::{BatchId, ZoneId};
use zonefold::emulator::{Cut, InProcess, Origin};

use crate::gate::Gate;
use crate::history::{Call, Replica, What};
use crate::recorder::{Recorder, lock};

/// The present faults on the way to AWS.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// How long a request or an answer takes, in milliseconds.
    pub latency_ms: (u64, u64),
    /// The chance that no connection is made.
    pub refuse: f64,
    /// The chance that a request is lost, and with it every answer.
    pub lose_request: f64,
    /// The chance that an answer is lost.
    pub lose_answer: f64,
    /// The chance that a request is held up for seconds and arrives all the same.
    pub delay: f64,
    /// How many cuts there are: nothing gets through while there is one.
    pub cuts: u32,
}

impl Route {
    /// A good way of that length.
    pub fn good(latency_ms: (u64, u64)) -> Self {
        Self { latency_ms, refuse: 0.0, lose_request: 0.0, lose_answer: 0.0, delay: 0.0, cuts: 0 }
    }
}

/// AWS and the ways to it.
#[derive(Clone)]
pub struct Aws(Arc<Inner>);

struct Inner {
    emulator: InProcess,
    recorder: Recorder,
    random: Mutex<fastrand::Rng>,
    routes: Mutex<Vec<Route>>,
    calls: Mutex<u64>,
}

impl Aws {
    /// An AWS with a way from each broker.
    pub fn new(
        emulator: InProcess,
        recorder: Recorder,
        random: fastrand::Rng,
        routes: Vec<Route>,
    ) -> Self {
        Self(Arc::new(Inner {
            emulator,
            recorder,
            random: Mutex::new(random),
            routes: Mutex::new(routes),
            calls: Mutex::new(0),
        }))
    }

    /// Changes the way from a broker.
    pub fn reroute(&self, broker: u32, change: impl FnOnce(&mut Route)) {
        if let Some(route) = lock(&self.0.routes).get_mut(broker as usize) {
            change(route);
        }
    }

    /// The client of one life of a broker.
    pub fn client(&self, replica: Replica, gate: Gate) -> SharedHttpClient {
        SharedHttpClient::new(Client { aws: self.clone(), replica, gate })
    }

    fn draw(&self, replica: Replica) -> Fate {
        let Some(route) = lock(&self.0.routes).get(replica.slot as usize).cloned() else {
            return Fate::default();
        };
        let mut random = lock(&self.0.random);
        let (least, most) = route.latency_ms;
        let (there, back) = (random.u64(least..=most), random.u64(least..=most));
        let mut is = |chance: f64| chance > 0.0 && random.f64() < chance;
        let lost = is(route.lose_request) || route.cuts > 0;
        let (refused, answer_lost, late) =
            (is(route.refuse), is(route.lose_answer), is(route.delay));
        let late_ms = if late { random.u64(1_000..=9_000) } else { 0 };
        Fate {
            there: Duration::from_millis(there + late_ms),
            back: Duration::from_millis(back),
            refused,
            lost,
            answer_lost,
            late,
        }
    }

    fn is_cut(&self, replica: Replica) -> bool {
        lock(&self.0.routes).get(replica.slot as usize).is_some_and(|route| route.cuts > 0)
    }

    fn next_call(&self) -> u64 {
        let mut calls = lock(&self.0.calls);
        *calls += 1;
        *calls
    }
}

#[derive(Clone, Default)]
struct Fate {
    there: Duration,
    back: Duration,
    refused: bool,
    lost: bool,
    answer_lost: bool,
    late: bool,
}

/// The client of one life of a broker.
#[derive(Clone)]
struct Client {
    aws: Aws,
    replica: Replica,
    gate: Gate,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the way of {} to AWS", self.replica)
    }
}

impl HttpClient for Client {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Client {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.clone();
        HttpConnectorFuture::new(async move { client.send(request).await })
    }
}

/// Notes the end of a call for its broker, also when the broker drops it.
struct Ending {
    recorder: Recorder,
    call: Option<u64>,
}

impl Ending {
    fn is(mut self, outcome: String) {
        self.say(outcome);
    }

    fn say(&mut self, outcome: String) {
        if let Some(call) = self.call.take() {
            self.recorder.note(What::CallEnded { call, outcome });
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.say("given up".to_owned());
    }
}

impl Client {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let failed = |error: &str| ConnectorError::io(error.to_owned().into());
        let request =
            request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
        let (mut parts, body) = request.into_parts();
        // The Host header, which every HTTP client adds and which is signed.
        let host = parts
            .uri
            .authority()
            .and_then(|authority| http::HeaderValue::from_str(authority.as_str()).ok());
        if let Some(host) = host {
            parts.headers.entry(http::header::HOST).or_insert(host);
        }
        let body = body.collect().await.map_err(ConnectorError::user)?.to_bytes();
        let request = http::Request::from_parts(parts, body);
        let call = self.announced(&request);
        let number = call.as_ref().map(|call| call.number);
        self.gate.pass().await;
        if let Some(call) = call {
            self.aws.0.recorder.note(What::CallStarted(call));
        }
        let ending = Ending { recorder: self.aws.0.recorder.clone(), call: number };
        let fate = self.aws.draw(self.replica);
        let recorder = &self.aws.0.recorder;
        if fate.refused {
            recorder.fault("aws.no_connection", format!("{}: no connection to AWS", self.replica));
            ending.is("no connection".to_owned());
            return Err(refused_connection().await);
        }
        if fate.late {
            recorder.fault(
                "aws.late_request",
                format!("{}: a request takes {} ms", self.replica, fate.there.as_millis()),
            );
        }
        let (answer_to, answer) = oneshot::channel();
        tokio::spawn(self.clone().carry(request, number, fate, answer_to));
        let answer = answer.await;
        self.gate.pass().await;
        match answer {
            Ok(Ok(response)) => {
                ending.is(format!("status {}", response.status().as_u16()));
                Ok(response)
            }
            Ok(Err(Cut)) => {
                ending.is("connection cut".to_owned());
                Err(failed("connection reset by peer"))
            }
            // The simulation ends.
            Err(_) => std::future::pending().await,
        }
    }

    /// The request's way there and the answer's back.
    async fn carry(
        self,
        request: http::Request<Bytes>,
        number: Option<u64>,
        fate: Fate,
        answer_to: oneshot::Sender<Result<HttpResponse, Cut>>,
    ) {
        let recorder = self.aws.0.recorder.clone();
        tokio::time::sleep(fate.there).await;
        if fate.lost || self.aws.is_cut(self.replica) {
            recorder.fault("aws.request_lost", format!("{}: a request was lost", self.replica));
            return self.silent(answer_to).await;
        }
        let arrived = |arrival: zonefold::emulator::Arrival| {
            if let Some(call) = number {
                recorder.note(What::CallArrived { call, granted: !arrival.overdrew });
            }
            for entry in arrival.applied {
                let call = number.filter(|_| entry.origin == Origin::Request);
                recorder.note(What::Applied { call, entry: Box::new(entry) });
            }
        };
        let answer = match self.aws.0.emulator.call(request, arrived).await {
            Ok(response) => Ok(whole(response).await),
            Err(cut) => Err(cut),
        };
        tokio::time::sleep(fate.back).await;
        if fate.answer_lost || self.aws.is_cut(self.replica) {
            recorder.fault("aws.answer_lost", format!("{}: an answer was lost", self.replica));
            return self.silent(answer_to).await;
        }
        // The caller may have given up.
        let _given_up = answer_to.send(answer);
    }

    /// Nothing comes, until the caller gives up.
    async fn silent(self, mut answer_to: oneshot::Sender<Result<HttpResponse, Cut>>) {
        answer_to.closed().await;
    }

    /// The log entry of a call of Route 53; `None` if it is one of STS.
    fn announced(&self, request: &http::Request<Bytes>) -> Option<Call> {
        let path = request.uri().path().strip_prefix("/2013-04-01/")?;
        let segments: Vec<&str> = path.trim_end_matches('/').split('/').collect();
        let action = match (request.method().as_str(), segments.as_slice()) {
            ("GET", ["hostedzone"]) => "ListHostedZones",
            ("GET", ["hostedzone", _, "rrset"]) => "ListResourceRecordSets",
            ("POST", ["hostedzone", _, "rrset"]) => "ChangeResourceRecordSets",
            ("GET", ["change", _]) => "GetChange",
            _ => "ListTagsForResources",
        };
        let account = self.aws.0.emulator.caller(request.headers())?;
        let zone = segments
            .get(1)
            .filter(|_| segments.first() == Some(&"hostedzone"))
            .and_then(|id| ZoneId::parse(*id).ok());
        let body = String::from_utf8_lossy(request.body());
        let mut names: Vec<DnsName> = between(&body, "<Name>", "</Name>")
            .filter_map(|name| DnsName::parse(name).ok())
            .collect();
        names.sort();
        names.dedup();
        Some(Call {
            number: self.aws.next_call(),
            replica: self.replica,
            lease_epoch: None,
            account,
            action,
            zone,
            batch: between(&body, "<Comment>", "</Comment>").find_map(batch_of),
            changes: u32::try_from(body.matches("<Action>").count()).unwrap_or(u32::MAX),
            names: if action == "ChangeResourceRecordSets" { names } else { vec![] },
        })
    }
}

/// The batch that a comment names.
fn batch_of(comment: &str) -> Option<BatchId> {
    comment
        .split_ascii_whitespace()
        .find_map(|word| Some(BatchId(uuid::Uuid::parse_str(word).ok()?)))
}

fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(open)
        .skip(1)
        .filter_map(move |rest| rest.split_once(close).map(|(inside, _)| inside))
}

/// The answer as the SDK takes it: what came of the body, and that it broke off when it did.
async fn whole(response: http::Response<axum::body::Body>) -> HttpResponse {
    let (parts, body) = response.into_parts();
    let mut pieces = body.into_data_stream();
    let mut frames: Vec<Result<Frame<Bytes>, std::io::Error>> = vec![];
    while let Some(piece) = pieces.next().await {
        frames.push(piece.map(Frame::data).map_err(|_| std::io::ErrorKind::ConnectionReset.into()));
    }
    let body = SdkBody::from_body_1_x(StreamBody::new(stream::iter(frames)));
    match http::Response::from_parts(parts, body).try_into() {
        Ok(response) => response,
        Err(error) => unreachable!("the emulator answers with valid headers: {error}"),
    }
}

/// The error of a connection that was not made, as the SDK's own client makes it.
async fn refused_connection() -> ConnectorError {
    let connector = tower::service_fn(|_: http::Uri| {
        std::future::ready(Err::<TokioIo<tokio::net::TcpStream>, _>(std::io::Error::from(
            std::io::ErrorKind::ConnectionRefused,
        )))
    });
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
    let client = client.build::<_, http_body_util::Empty<Bytes>>(connector);
    match client.get(http::Uri::from_static("http://aws")).await {
        Ok(_) => unreachable!("nobody answers there"),
        Err(error) => ConnectorError::io(error.into()),
    }
}
