//! The gRPC client: one session after the other for as long as the agent runs, each on a connection of its own. [`publisher`]
//! decides what is sent in a session; here are the connection, the waiting and the ends.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

pub use super::access::Broker;
use super::access::{Access, AccessError};
use super::shared::Shared;
use crate::wire::v1::federation_client::FederationClient;
use crate::wire::v1::{self, go_away::Reason};

pub mod backoff;
pub mod publisher;

use backoff::{Backoff, Pace};
use publisher::Event;

/// How long the first session waits for the sources.
const FIRST_SYNC: Duration = Duration::from_secs(30);
/// How long the broker may take to answer the call.
const ANSWER: Duration = Duration::from_secs(20);
/// The time between heartbeats when the broker names none.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// How long the last acknowledgements are waited for at the end.
const DRAIN: Duration = Duration::from_secs(5);
/// The largest message that is accepted from the broker.
const MAX_INBOUND_BYTES: usize = 16 * 1024 * 1024;

impl Broker {
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }

    fn client(&self) -> FederationClient<Channel> {
        FederationClient::new(self.channel.clone()).max_decoding_message_size(MAX_INBOUND_BYTES)
    }
}

/// Why a session ended.
#[derive(Debug)]
enum End {
    /// The agent was asked to stop, and did.
    Stopped,
    /// The broker asked for it.
    GoAway(v1::GoAway),
    /// The call failed.
    Failed(Status),
    /// This agent's credentials cannot be read at this moment.
    Unprovable(AccessError),
    /// The broker closed the stream without a word, was silent, or broke the protocol.
    Lost(String),
}

/// Publishes until `shutdown`, then drains.
pub async fn run(
    access: impl Into<Access>,
    shared: Arc<Shared>,
    random: fastrand::Rng,
    shutdown: CancellationToken,
) {
    let access = access.into();
    let mut backoff = Backoff::new(random);
    let mut away_since = Instant::now();
    tokio::select! {
        () = shutdown.cancelled() => return,
        listed = tokio::time::timeout(FIRST_SYNC, shared.wait_until(|state| state.index.listed())) => if listed.is_err() {
            tracing::warn!("the sources were not read completely in {} s: nothing is withdrawn until they are", FIRST_SYNC.as_secs());
        },
    }
    loop {
        let started = Instant::now();
        let end = match access.renew() {
            Ok(broker) => session(&broker, &shared, &shutdown).await,
            Err(error) => End::Unprovable(error),
        };
        if shared.write(|state| state.publisher.disconnected()) {
            backoff.session_lasted(started.elapsed());
            away_since = Instant::now();
        }
        let Some((pace, at_least)) = explain(end) else { return };
        let wait = at_least + backoff.next(pace, away_since.elapsed());
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Logs why a session ended and returns how to go on; `None` to stop.
fn explain(end: End) -> Option<(Pace, Duration)> {
    let soon = Some((Pace::Normal, Duration::ZERO));
    match end {
        End::Stopped => None,
        End::GoAway(go_away) => {
            let after = Duration::from_millis(go_away.reconnect_after_ms.min(300_000));
            let detail = go_away.detail.as_str();
            match go_away.reason() {
                Reason::Superseded => {
                    tracing::warn!(
                        detail,
                        "another agent of this cluster took over: run one agent a cluster, or several with --lease"
                    );
                    Some((Pace::Slow, after))
                }
                Reason::Protocol => {
                    tracing::error!(
                        detail,
                        "the broker says that this agent broke the protocol: update the older of the two"
                    );
                    Some((Pace::Slow, after))
                }
                Reason::Drain | Reason::SessionAge | Reason::Unspecified => {
                    tracing::info!(detail, "the broker asked to connect again");
                    Some((Pace::Normal, after))
                }
            }
        }
        End::Failed(status) => {
            let (reason, remedy) = (status.message(), remedy(status.code()));
            match remedy {
                Some(remedy) => {
                    tracing::error!(code = ?status.code(), reason, "the broker refused the session: {remedy}");
                    Some((Pace::Slow, Duration::ZERO))
                }
                None => {
                    tracing::info!(code = ?status.code(), reason, "the broker is away; trying again");
                    if is_absent(&status) { Some((Pace::Absent, Duration::ZERO)) } else { soon }
                }
            }
        }
        End::Unprovable(error) => {
            tracing::error!(%error, "no session can be opened; trying again");
            soon
        }
        End::Lost(reason) => {
            tracing::info!(reason, "the session was lost; trying again");
            soon
        }
    }
}

/// Whether the connection could not be made.
fn is_absent(status: &Status) -> bool {
    std::iter::successors(status.source(), |error| (*error).source())
        .any(|error| error.is::<tonic::ConnectError>())
}

/// The remedy after a refusal, for people; `None` if a retry is enough.
fn remedy(code: Code) -> Option<&'static str> {
    match code {
        Code::Unauthenticated => Some(
            "give the agent the certificate or the token by which the broker's configuration knows this cluster",
        ),
        Code::PermissionDenied => Some(
            "register the cluster at the broker, or give the agent credentials of this cluster",
        ),
        Code::FailedPrecondition => Some(
            "another cluster uses this name, or the cluster was rebuilt: see the broker's page of the cluster",
        ),
        Code::ResourceExhausted => Some(
            "the broker takes no more of this cluster: delete endpoints, or have the platform team raise what it may have",
        ),
        Code::Unimplemented => Some("the address is not that of a Zonefold broker's gRPC port"),
        _ => None,
    }
}

async fn session(broker: &Broker, shared: &Arc<Shared>, shutdown: &CancellationToken) -> End {
    // Hello is in the stream before the call is awaited: the call does not return until the broker answered headers.
    let (to_broker, outbound) = mpsc::channel(4);
    let hello = shared.write(|state| state.publisher.hello(&state.index));
    if to_broker.try_send(hello).is_err() {
        return End::Lost("the stream ended before it began".to_owned());
    }
    let mut client = broker.client();
    let call = client.publish(broker.request(ReceiverStream::new(outbound)));
    let inbound = tokio::select! {
        () = shutdown.cancelled() => return End::Stopped,
        answer = tokio::time::timeout(ANSWER, call) => match answer {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return End::Failed(status),
            Err(_) => return End::Lost(format!("the broker did not answer in {} s", ANSWER.as_secs())),
        },
    };
    // Receiving has its own task and waits for nothing but the stream, so the two sides cannot block each other.
    let mut receiving = JoinSet::new();
    receiving.spawn(receive(inbound, shared.clone()));
    send(to_broker, shared, &mut receiving, shutdown).await
}

async fn send(
    to_broker: mpsc::Sender<v1::AgentMessage>,
    shared: &Shared,
    receiving: &mut JoinSet<End>,
    shutdown: &CancellationToken,
) -> End {
    let mut heartbeat_at = Instant::now() + HEARTBEAT;
    let mut sources = shared.read(|state| state.index.sources());
    let mut drain_until = None;
    loop {
        // The lock is taken and the signal is not raised: this is the task that it would wake.
        while let Some(message) = shared.next_message() {
            tokio::select! {
                sent = to_broker.send(message) => if sent.is_err() {
                    return ended(receiving.join_next().await);
                },
                end = receiving.join_next() => return ended(end),
            }
        }
        if drain_until.is_some()
            && shared.read(|state| state.publisher.outbox_len() == 0 || !state.publisher.is_live())
        {
            return End::Stopped;
        }
        let (live, now_sources) =
            shared.read(|state| (state.publisher.is_live(), state.index.sources()));
        if live && now_sources != sources {
            // The broker has to know at once whether absence counts.
            sources = now_sources;
            shared.heartbeat();
            continue;
        }
        tokio::select! {
            end = receiving.join_next() => return ended(end),
            () = shared.to_send.notified() => {}
            () = tokio::time::sleep_until(heartbeat_at) => {
                shared.forget_what_is_gone();
                shared.heartbeat();
                heartbeat_at = Instant::now() + heartbeat_interval(shared);
            }
            () = shutdown.cancelled(), if drain_until.is_none() => drain_until = Some(Instant::now() + DRAIN),
            () = until(drain_until) => {
                tracing::warn!("not everything was acknowledged in {} s: the next session says the rest", DRAIN.as_secs());
                return End::Stopped;
            }
        }
        heartbeat_at = heartbeat_at.min(Instant::now() + heartbeat_interval(shared));
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn ended(end: Option<Result<End, tokio::task::JoinError>>) -> End {
    match end {
        Some(Ok(end)) => end,
        Some(Err(error)) => End::Lost(format!("the receiving task died: {error}")),
        None => End::Lost("the receiving task is gone".to_owned()),
    }
}

fn heartbeat_interval(shared: &Shared) -> Duration {
    match shared.read(|state| state.publisher.heartbeat_ms()) {
        0 => HEARTBEAT,
        interval_ms => Duration::from_millis(interval_ms.clamp(100, 600_000)),
    }
}

async fn receive(mut inbound: Streaming<v1::BrokerMessage>, shared: Arc<Shared>) -> End {
    loop {
        // Every heartbeat is answered by something, or the connection is dead.
        let silence = (heartbeat_interval(&shared) * 3).max(Duration::from_secs(5));
        let message = match tokio::time::timeout(silence, inbound.message()).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return End::Lost("the broker closed the stream".to_owned()),
            Ok(Err(status)) => return End::Failed(status),
            Err(_) => {
                return End::Lost(format!("the broker was silent for {} s", silence.as_secs()));
            }
        };
        let received = shared.write(|state| {
            let missing = publisher::wanted_and_missing(&state.index, &message);
            state.index.forget_bodiless(missing);
            state.publisher.receive(&state.index, message)
        });
        match received {
            Ok(Event::None) => {}
            Ok(Event::Welcomed(mode)) => {
                let epoch = shared.read(|state| state.publisher.epoch());
                tracing::info!(epoch, mode = mode.as_str_name(), "the broker welcomed this agent");
            }
            Ok(Event::Verdicts(statuses)) => {
                take_statuses(&shared, v1::StatusBatch { statuses, ..v1::StatusBatch::default() })
            }
            Ok(Event::Deleted(keys)) => shared.write(|state| state.statuses.forget(&keys)),
            Ok(Event::GoAway(go_away)) => return End::GoAway(go_away),
            Err(error) => return End::Lost(error.to_string()),
        }
    }
}

/// Follows `WatchStatus` until `shutdown`, whenever there is a session: without one there is no broker to ask.
pub async fn watch_status(
    access: impl Into<Access>,
    cluster: String,
    shared: Arc<Shared>,
    random: fastrand::Rng,
    shutdown: CancellationToken,
) {
    let access = access.into();
    let mut backoff = Backoff::new(random);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = shared.wait_until(|state| state.publisher.is_live()) => {}
        }
        let started = Instant::now();
        let replaced = access.replaced();
        tokio::select! {
            () = shutdown.cancelled() => return,
            // The statuses come over the session's connection: the one that it left may be dead, or about to go.
            () = replaced => tracing::debug!("the status stream moves to the connection of the next session"),
            status = follow(&access, &cluster, &shared) => tracing::debug!(reason = status.message(), "the status stream ended"),
        }
        backoff.session_lasted(started.elapsed());
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(backoff.next(Pace::Normal, Duration::ZERO)) => {}
        }
    }
}

async fn follow(access: &Access, cluster: &str, shared: &Shared) -> Status {
    let broker = match access.now() {
        Ok(broker) => broker,
        Err(error) => return Status::unavailable(error.to_string()),
    };
    let held_digests = shared.read(|state| state.statuses.held_digests());
    let request =
        broker.request(v1::WatchStatusRequest { cluster: cluster.to_owned(), held_digests });
    let mut stream = match broker.client().watch_status(request).await {
        Ok(response) => response.into_inner(),
        Err(status) => return status,
    };
    shared.write(|state| state.statuses.begin_replay());
    loop {
        match stream.message().await {
            Ok(Some(batch)) => take_statuses(shared, batch),
            Ok(None) => return Status::unavailable("the broker closed it"),
            Err(status) => return status,
        }
    }
}

fn take_statuses(shared: &Shared, batch: v1::StatusBatch) {
    let transitions = shared.write(|state| state.statuses.take(batch));
    transitions.iter().for_each(super::status::Transition::log);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_has_to_change_is_retried_slowly() {
        let slow = |end| explain(end).unwrap().0;
        assert_eq!(slow(End::Failed(Status::unauthenticated(""))), Pace::Slow);
        assert_eq!(slow(End::Failed(Status::permission_denied(""))), Pace::Slow);
        assert_eq!(slow(End::Failed(Status::resource_exhausted(""))), Pace::Slow);
        assert_eq!(slow(End::Failed(Status::failed_precondition(""))), Pace::Slow);
        assert_eq!(slow(End::Failed(Status::unavailable(""))), Pace::Normal);
        let go_away = |reason: Reason| {
            End::GoAway(v1::GoAway { reason: reason.into(), ..v1::GoAway::default() })
        };
        assert_eq!(slow(go_away(Reason::Superseded)), Pace::Slow);
        assert_eq!(slow(go_away(Reason::Drain)), Pace::Normal);
    }
}
