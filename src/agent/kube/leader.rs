//! Which of several agents of a cluster speaks to the broker: the holder of a Lease (coordination.k8s.io/v1).
//!
//! No clock is compared with another's. A standby agent watches by its own clock how long the Lease has stood unchanged, from
//! when it saw the change; the leader counts from before its request. So a leader that cannot renew steps down before another
//! takes over. Should two lead for a moment all the same, because a process was stopped in between, the broker's epoch decides:
//! the newer session ends the older.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::core::Status;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::ask::{Fault, answer};
use super::resources::LEASES;
use crate::core::time::Timestamp;
use crate::ports::Clock;

/// How long a Lease that is not renewed stays with its holder; this and the next two are what Kubernetes' own controllers use.
pub const LEASE_LASTS: Duration = Duration::from_secs(15);
/// A leader that has not renewed the Lease for this long does not lead any more.
pub const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// How often the Lease is looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Which Lease, and this agent's name in it.
#[derive(Clone)]
pub struct LeaseOptions {
    pub namespace: String,
    pub name: String,
    /// This agent's name in the Lease. A restart changes it: a process does not know what it did in its last life.
    pub identity: String,
    /// For what is written into the Lease, for people.
    pub clock: Arc<dyn Clock>,
}

/// A Lease as far as it is read and written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lease {
    api_version: String,
    kind: String,
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    namespace: String,
    /// The version that was read: a write to any other is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource_version: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    holder_identity: Option<String>,
    #[serde(default)]
    lease_duration_seconds: Option<i32>,
    #[serde(default)]
    acquire_time: Option<String>,
    #[serde(default)]
    renew_time: Option<String>,
    #[serde(default)]
    lease_transitions: Option<i32>,
}

/// Follows a Lease and takes it when it is free.
pub struct Elector {
    client: Client,
    options: LeaseOptions,
    random: fastrand::Rng,
    /// The Lease as it was seen last, and since when it is so.
    seen: Option<(Lease, Instant)>,
    /// Until when this one leads, if it does.
    leads_until: Option<Instant>,
    /// The last reported reason why the Lease cannot be read.
    said: Option<String>,
}

impl Elector {
    /// No leader is known.
    pub fn new(client: Client, options: LeaseOptions, random: fastrand::Rng) -> Self {
        Self { client, options, random, seen: None, leads_until: None, said: None }
    }

    /// Runs until `stop`, and reports whether this one leads; then gives the Lease back, so that no other waits for its end.
    pub async fn run(mut self, leads: watch::Sender<bool>, stop: CancellationToken) {
        loop {
            let began = Instant::now();
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.look() => {}
            }
            self.tell(&leads);
            let wait =
                LOOK_EVERY.mul_f64(0.9 + 0.2 * self.random.f64()).saturating_sub(began.elapsed());
            // It ends at its time, whatever the next look brings.
            let wait = self
                .leads_until
                .map_or(wait, |until| wait.min(until.saturating_duration_since(Instant::now())));
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(wait) => self.tell(&leads),
            }
        }
        if self.is_leading() {
            self.give_back().await;
        }
        leads.send_replace(false);
    }

    fn is_leading(&self) -> bool {
        self.leads_until.is_some_and(|until| Instant::now() < until)
    }

    fn tell(&mut self, leads: &watch::Sender<bool>) {
        let is_leading = self.is_leading();
        if !is_leading {
            self.leads_until = None;
        }
        if leads.send_if_modified(|before| std::mem::replace(before, is_leading) != is_leading) {
            let LeaseOptions { namespace, name, identity, .. } = &self.options;
            match is_leading {
                true => tracing::info!(
                    namespace,
                    name,
                    identity,
                    "this agent leads: it speaks to the broker"
                ),
                false => tracing::warn!(
                    namespace,
                    name,
                    identity,
                    "this agent does not lead any more: another one may speak to the broker"
                ),
            }
        }
    }

    /// Renews the Lease, takes it, or sees that another holds it.
    async fn look(&mut self) {
        let patience = Instant::now() + RENEW_WITHIN;
        // The leader knows the Lease, and reads it again only when another agent wrote it.
        let outcome = match timeout_at(self.leads_until.unwrap_or(patience), self.attempt()).await {
            Ok(outcome) => outcome,
            Err(_) => Err("the API server does not answer".to_owned()),
        };
        match outcome {
            Ok(()) => self.said = None,
            Err(reason) if self.said.as_ref() == Some(&reason) => {}
            Err(reason) => {
                tracing::warn!(
                    lease = self.options.name,
                    reason,
                    "the Lease cannot be looked at; trying again"
                );
                self.said = Some(reason);
            }
        }
    }

    async fn attempt(&mut self) -> Result<(), String> {
        if self.is_leading()
            && let Some((lease, _)) = self.seen.clone()
            && self.write(self.held(Some(&lease))).await?
        {
            return Ok(());
        }
        let Some(lease) = self.read().await? else {
            return self.write(self.held(None)).await.map(drop);
        };
        let since = self.note(&lease);
        let holder = lease.spec.holder_identity.as_deref().unwrap_or_default();
        let lasts = lease
            .spec
            .lease_duration_seconds
            .and_then(|secs| u64::try_from(secs).ok())
            .map_or(LEASE_LASTS, Duration::from_secs);
        let is_free =
            holder.is_empty() || holder == self.options.identity || since + lasts < Instant::now();
        if is_free {
            return self.write(self.held(Some(&lease))).await.map(drop);
        }
        self.leads_until = None;
        Ok(())
    }

    /// Since when the Lease is unchanged.
    fn note(&mut self, lease: &Lease) -> Instant {
        match &self.seen {
            Some((before, since)) if before == lease => *since,
            _ => {
                let now = Instant::now();
                self.seen = Some((lease.clone(), now));
                now
            }
        }
    }

    /// The Lease as this agent holds it, after what was there before.
    fn held(&self, before: Option<&Lease>) -> Lease {
        let now = micro_time(self.options.clock.now());
        let spec = before.map(|lease| &lease.spec);
        let own = spec.filter(|spec| spec.holder_identity.as_ref() == Some(&self.options.identity));
        let transitions = spec.and_then(|spec| spec.lease_transitions).unwrap_or_default();
        Lease {
            api_version: LEASES.api_version(LEASES.preferred_version()),
            kind: LEASES.kind.to_owned(),
            metadata: Metadata {
                name: self.options.name.clone(),
                namespace: self.options.namespace.clone(),
                resource_version: before.and_then(|lease| lease.metadata.resource_version.clone()),
            },
            spec: Spec {
                holder_identity: Some(self.options.identity.clone()),
                lease_duration_seconds: i32::try_from(LEASE_LASTS.as_secs()).ok(),
                acquire_time: own
                    .and_then(|spec| spec.acquire_time.clone())
                    .or_else(|| Some(now.clone())),
                renew_time: Some(now),
                lease_transitions: Some(if own.is_some() || spec.is_none() {
                    transitions
                } else {
                    transitions.saturating_add(1)
                }),
            },
        }
    }

    async fn read(&self) -> Result<Option<Lease>, String> {
        let request =
            http::Request::get(self.path()).body(Vec::new()).map_err(|error| error.to_string())?;
        match answer(self.client.request(request)).await {
            Ok(lease) => Ok(Some(lease)),
            Err(Fault::NotFound { object, .. }) if object == self.options.name => Ok(None),
            Err(fault) => Err(fault.in_words()),
        }
    }

    /// Writes the Lease, if it is still as it was read; returns whether it was. The writer leads from before it asked.
    async fn write(&mut self, lease: Lease) -> Result<bool, String> {
        let asked_at = Instant::now();
        let collection = LEASES.path(LEASES.preferred_version(), Some(&self.options.namespace));
        let is_new = lease.metadata.resource_version.is_none();
        let request =
            if is_new { http::Request::post(collection) } else { http::Request::put(self.path()) };
        let body = serde_json::to_vec(&lease).map_err(|error| error.to_string())?;
        let request = request
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| error.to_string())?;
        match self.client.request::<Lease>(request).await {
            Ok(written) => {
                self.seen = Some((written, Instant::now()));
                self.leads_until = Some(asked_at + RENEW_WITHIN);
                Ok(true)
            }
            // Another agent wrote it meanwhile, made it, or took it away.
            Err(kube::Error::Api(status)) if is_overtaken(&status) => Ok(false),
            Err(error) => Err(super::ask::fault(&error).in_words()),
        }
    }

    async fn give_back(&mut self) {
        let Some((lease, _)) = self.seen.clone() else { return };
        let mut lease = self.held(Some(&lease));
        (lease.spec.holder_identity, lease.spec.lease_duration_seconds) =
            (Some(String::new()), Some(1));
        // Not retried: the Lease expires anyway.
        match tokio::time::timeout(LOOK_EVERY, self.write(lease)).await {
            Ok(Ok(true)) => tracing::info!(lease = self.options.name, "the Lease is given back"),
            _ => tracing::info!(
                lease = self.options.name,
                "the Lease could not be given back: another agent leads when it has run out"
            ),
        }
        self.leads_until = None;
    }

    fn path(&self) -> String {
        format!(
            "{}/{}",
            LEASES.path(LEASES.preferred_version(), Some(&self.options.namespace)),
            self.options.name
        )
    }
}

fn is_overtaken(status: &Status) -> bool {
    matches!(status.code, 404 | 409)
}

/// Kubernetes' MicroTime has six digits behind the second, and a time has three.
fn micro_time(now: Timestamp) -> String {
    format!("{}000Z", now.to_string().trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::body::Body;
    use http::{Method, Request, Response, StatusCode};
    use http_body_util::BodyExt as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::agent::kube::fake::Midnight;

    #[derive(Default)]
    struct State {
        lease: Option<Value>,
        version: u64,
        writes: u64,
        hangs: bool,
    }

    /// One Lease, as an API server keeps it.
    #[derive(Clone, Default)]
    struct Server(Arc<Mutex<State>>);

    impl Server {
        fn state(&self) -> std::sync::MutexGuard<'_, State> {
            self.0.lock().unwrap()
        }

        fn client(&self) -> Client {
            let server = self.clone();
            let service = tower::service_fn(move |request: Request<kube::client::Body>| {
                let server = server.clone();
                async move {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    if server.state().hangs {
                        std::future::pending::<()>().await;
                    }
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let (code, answer) = server.answer(&head.method, &body);
                    Ok::<_, std::convert::Infallible>(
                        Response::builder()
                            .status(code)
                            .body(Body::from(answer.to_string()))
                            .unwrap(),
                    )
                }
            });
            Client::new(service, "dns")
        }

        fn answer(&self, method: &Method, body: &[u8]) -> (StatusCode, Value) {
            let refusal = |code: StatusCode, reason: &str| {
                let details = json!({"name": "zonefold-agent"});
                (
                    code,
                    json!({"kind": "Status", "status": "Failure", "message": reason, "reason": reason, "code": code.as_u16(), "details": details}),
                )
            };
            let mut state = self.state();
            let there = state.lease.clone();
            match (method.as_str(), there) {
                ("GET", None) | ("PUT", None) => refusal(StatusCode::NOT_FOUND, "NotFound"),
                ("GET", Some(lease)) => (StatusCode::OK, lease),
                ("POST", Some(_)) => refusal(StatusCode::CONFLICT, "AlreadyExists"),
                (_, there) => {
                    let mut lease: Value = serde_json::from_slice(body).unwrap();
                    if there.is_some_and(|there| {
                        there["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"]
                    }) {
                        return refusal(StatusCode::CONFLICT, "Conflict");
                    }
                    state.version += 1;
                    state.writes += 1;
                    lease["metadata"]["resourceVersion"] = json!(state.version.to_string());
                    state.lease = Some(lease.clone());
                    (StatusCode::OK, lease)
                }
            }
        }
    }

    struct Agent {
        leads: watch::Receiver<bool>,
        stop: CancellationToken,
        running: tokio::task::JoinHandle<()>,
    }

    impl Agent {
        fn start(client: Client, identity: &str) -> Self {
            let options = LeaseOptions {
                namespace: "dns".to_owned(),
                name: "zonefold-agent".to_owned(),
                identity: identity.to_owned(),
                clock: Arc::new(Midnight),
            };
            let (sender, leads) = watch::channel(false);
            let stop = CancellationToken::new();
            let elector = Elector::new(client, options, fastrand::Rng::with_seed(7));
            let running = tokio::spawn(elector.run(sender, stop.clone()));
            Self { leads, stop, running }
        }

        fn leads(&self) -> bool {
            *self.leads.borrow()
        }
    }

    /// Lets time go by, and counts for how long each leads; never do two.
    async fn pass(agents: &[&Agent], secs: u64) -> Vec<u64> {
        let mut led = vec![0; agents.len()];
        for _ in 0..secs * 10 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now: Vec<bool> = agents.iter().map(|agent| agent.leads()).collect();
            assert!(now.iter().filter(|leads| **leads).count() <= 1, "{now:?}");
            led.iter_mut().zip(now).for_each(|(led, leads)| *led += u64::from(leads));
        }
        led
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_two_leads_and_goes_on_to() {
        let server = Server::default();
        let (first, second) =
            (Agent::start(server.client(), "first"), Agent::start(server.client(), "second"));
        pass(&[&first, &second], 5).await;
        let led = pass(&[&first, &second], 60).await;
        assert!(led == [600, 0] || led == [0, 600], "{led:?}");
        let lease = server.state().lease.clone().unwrap();
        assert_eq!(
            (
                lease["spec"]["leaseDurationSeconds"].as_u64(),
                lease["spec"]["leaseTransitions"].as_u64()
            ),
            (Some(15), Some(0))
        );
        assert_eq!(lease["spec"]["renewTime"], "2027-01-15T08:00:00.000000Z");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_is_taken_at_once_and_what_is_not_when_it_has_run_out() {
        let server = Server::default();
        let first = Agent::start(server.client(), "first");
        pass(&[&first], 5).await;
        let second = Agent::start(server.client(), "second");
        pass(&[&first, &second], 30).await;
        assert!(first.leads() && !second.leads());
        first.stop.cancel();
        first.running.await.unwrap();
        let third = Agent { leads: first.leads, stop: first.stop, running: tokio::spawn(async {}) };
        assert!(!third.leads());
        pass(&[&second], 3).await;
        assert!(second.leads());

        // Killed.
        second.running.abort();
        let next = Agent::start(server.client(), "next");
        assert_eq!(pass(&[&next], 14).await, [0]);
        pass(&[&next], 5).await;
        assert!(next.leads());
        assert_eq!(server.state().lease.clone().unwrap()["spec"]["leaseTransitions"], 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_renew_steps_down_before_another_takes_over() {
        let (near, far) = (Server::default(), Server::default());
        let first = Agent::start(near.client(), "first");
        pass(&[&first], 5).await;
        assert!(first.leads());
        // The first is cut off from what the second sees.
        let second = {
            let state = near.state();
            *far.state() = State {
                lease: state.lease.clone(),
                version: state.version,
                writes: 0,
                hangs: false,
            };
            Agent::start(far.client(), "second")
        };
        near.state().hangs = true;
        let led = pass(&[&first, &second], 40).await;
        assert!((60..=100).contains(&led[0]) && second.leads(), "{led:?}");
        // It comes back, and what it knew of the Lease is old.
        let current = far.state().lease.clone();
        near.state().lease = current;
        near.state().hangs = false;
        pass(&[&first, &second], 10).await;
        assert!(!first.leads() && second.leads());
    }
}
