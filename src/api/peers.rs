//! Asking the other replicas: what only the worker of an account knows, each replica answers for all of them.
//!
//! A request goes on to the replica that knows, one step at most: a header says that a replica asks, and then the answer is of what
//! is known there. A replica that does not answer is not passed over in silence: lists say whose part is missing, and a request for
//! what it alone knows fails.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use bytes::Bytes;
use futures::future::join_all;
use http::request::Parts;
use http::{HeaderName, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::page::{Cursor, Limit, MissingPart, Page};
use super::problem::ApiError;
use super::role::Granted;
use super::voucher::{VOUCHER, Vouching};
use crate::broker::BrokerHandle;
use crate::core::ids::AccountId;
use crate::ports::ReplicaRow;

/// Says that a replica asks for what another knows itself.
const ASKS_FOR_ITSELF: HeaderName = HeaderName::from_static("x-zonefold-replica");
/// A replica that lives answers in milliseconds; one that does not has lost its leases soon.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// The largest answer that is taken.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// The kind of caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A caller that asks for what all replicas know.
    Anybody,
    /// Another replica, which wants to know what this one knows.
    Replica,
}

/// A question as it goes on to another replica: the same, with what this replica found out of who asks ([`super::voucher`]).
#[derive(Clone, Debug)]
pub struct Onward {
    uri: Uri,
    /// `None` if no proof was required.
    granted: Option<Granted>,
}

impl Onward {
    /// The same caller's question for something else.
    pub fn to(&self, path: &str) -> Self {
        Self { uri: path.parse().unwrap_or_else(|_| self.uri.clone()), ..self.clone() }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Onward {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self { uri: parts.uri.clone(), granted: parts.extensions.get().cloned() })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(if parts.headers.contains_key(ASKS_FOR_ITSELF) { Self::Replica } else { Self::Anybody })
    }
}

/// The replica that manages an account.
pub enum Worked {
    /// By this replica.
    Here,
    /// By another.
    At(ReplicaRow),
    /// By none at this moment.
    Nowhere,
}

/// How replicas know each other where their HTTP has TLS.
pub trait PeerTls: Send + Sync {
    /// The roots to trust now, and the name that every replica's certificate has; without one it is the address that is checked.
    ///
    /// # Errors
    /// It cannot be said, and why.
    fn now(&self) -> Result<(rustls::ClientConfig, Option<ServerName<'static>>), String>;
}

/// How the other replicas are reached.
#[derive(Clone)]
pub struct Peers {
    plain: Client<HttpConnector, Empty<Bytes>>,
    tls: Option<Arc<dyn PeerTls>>,
    vouching: Option<Vouching>,
    broker: BrokerHandle,
}

impl Peers {
    /// The peers of a broker; all of them serve HTTP as this one does, in plain text without `tls`. They believe what `vouching` signs;
    /// without it there are none.
    pub fn new(
        broker: BrokerHandle,
        tls: Option<Arc<dyn PeerTls>>,
        vouching: Option<Vouching>,
    ) -> Self {
        Self { plain: Client::builder(TokioExecutor::new()).build_http(), tls, vouching, broker }
    }

    /// The other replicas that live.
    pub fn all(&self) -> Vec<ReplicaRow> {
        let standing = self.broker.standing.borrow().clone();
        standing
            .replicas
            .iter()
            .filter(|row| row.replica != self.broker.replica.replica)
            .cloned()
            .collect()
    }

    /// The other living replicas that manage an account.
    pub fn working(&self) -> Vec<ReplicaRow> {
        let standing = self.broker.standing.borrow().clone();
        let mut all = self.all();
        all.retain(|row| standing.leases.iter().any(|tenure| tenure.holder == row.replica));
        all
    }

    /// The replica that manages an account.
    pub fn worked(&self, account: &AccountId) -> Worked {
        if self.broker.workers.has(account) {
            return Worked::Here;
        }
        let standing = self.broker.standing.borrow().clone();
        let holder = standing
            .leases
            .iter()
            .find(|tenure| tenure.account == *account)
            .map(|tenure| tenure.holder);
        if holder == Some(self.broker.replica.replica) {
            return Worked::Here;
        }
        let row =
            holder.and_then(|holder| standing.replicas.iter().find(|row| row.replica == holder));
        row.map_or(Worked::Nowhere, |row| Worked::At(row.clone()))
    }

    /// Whether this replica's configuration names an account.
    pub fn is_configured(&self, account: &AccountId) -> bool {
        self.broker.workers.is_configured(account)
    }

    /// Another replica's answer; `None` if it is 404.
    ///
    /// # Errors
    /// It cannot be reached, or answers something else.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        peer: &ReplicaRow,
        onward: &Onward,
    ) -> Result<Option<T>, ApiError> {
        let failed = |why: String| ApiError::ReplicaUnreachable {
            replica: peer.replica.to_string(),
            address: peer.address.clone(),
            accounts: listed(&self.accounts_of(peer)),
            why,
        };
        if peer.address.is_empty() {
            return Err(failed(
                "it does not say where it is reached: set listen.advertise there".to_owned(),
            ));
        }
        let path = onward.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let request =
            Request::get(format!("{scheme}://{}{path}", peer.address)).header(ASKS_FOR_ITSELF, "1");
        let voucher = self
            .vouching
            .as_ref()
            .zip(onward.granted.as_ref())
            .and_then(|(by, granted)| by.sign(peer.replica, &Method::GET, path, granted));
        let request = match voucher {
            Some(voucher) => request.header(VOUCHER, voucher),
            None => request,
        };
        let request = request
            .header(header::ACCEPT, "application/json")
            .body(Empty::new())
            .map_err(|e| failed(e.to_string()))?;
        let asking = async {
            let answer = match &self.tls {
                None => self.plain.request(request).await,
                Some(tls) => over_tls(&**tls).map_err(&failed)?.request(request).await,
            };
            let (head, body) = answer.map_err(|error| failed(described(&error)))?.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES)
                .collect()
                .await
                .map_err(|error| failed(error.to_string()))?
                .to_bytes();
            match head.status {
                StatusCode::OK => serde_json::from_slice(&body)
                    .map(Some)
                    .map_err(|error| failed(format!("of another release: {error}"))),
                StatusCode::NOT_FOUND => Ok(None),
                status => Err(failed(format!("it answers {status}"))),
            }
        };
        let answered = tokio::time::timeout(ANSWERS_WITHIN, asking).await;
        answered.unwrap_or_else(|_| {
            Err(failed(format!("it is silent for {} seconds", ANSWERS_WITHIN.as_secs())))
        })
    }

    /// The answers of some replicas, all asked at once, and the parts that are missing since one cannot be reached or answers
    /// something else.
    pub async fn ask_each<T: DeserializeOwned>(
        &self,
        peers: &[ReplicaRow],
        onward: &Onward,
    ) -> (Vec<T>, Vec<MissingPart>) {
        let answers = join_all(peers.iter().map(|peer| self.ask(peer, onward))).await;
        let (mut known, mut missing) = (vec![], vec![]);
        for (peer, answer) in peers.iter().zip(answers) {
            match answer {
                Ok(answer) => known.extend(answer),
                Err(error) => missing.push(MissingPart {
                    replica: Some(peer.replica.to_string()),
                    accounts: self.accounts_of(peer),
                    detail: error.to_string(),
                }),
            }
        }
        (known, missing)
    }

    /// One page of a list of which each replica has a part.
    pub async fn merge<T, P>(
        &self,
        own: Page<T>,
        peers: &[ReplicaRow],
        onward: &Onward,
        limit: Limit,
        position: impl Fn(&T) -> P,
    ) -> Page<T>
    where
        T: DeserializeOwned,
        P: Serialize + Ord,
    {
        let (pages, missing): (Vec<Page<T>>, _) = self.ask_each(peers, onward).await;
        let mut items = vec![];
        let mut more = false;
        for page in std::iter::once(own).chain(pages) {
            more |= page.next.is_some();
            items.extend(page.items);
        }
        items.sort_by_key(&position);
        // An account that just changed hands may be shown by both; either is right.
        items.dedup_by(|a, b| position(a) == position(b));
        let mut page = Page { missing, ..Page::of_overfull(items, limit, &position) };
        if page.next.is_none() && more {
            page.next = page.items.last().map(|last| Cursor(position(last)).to_string());
        }
        page
    }

    fn accounts_of(&self, peer: &ReplicaRow) -> Vec<AccountId> {
        let standing = self.broker.standing.borrow().clone();
        let accounts = standing.leases.iter().filter(|tenure| tenure.holder == peer.replica);
        accounts.map(|tenure| tenure.account.clone()).collect()
    }
}

fn listed(accounts: &[AccountId]) -> String {
    let accounts: Vec<&str> = accounts.iter().map(AccountId::as_str).collect();
    if accounts.is_empty() { "none".to_owned() } else { accounts.join(", ") }
}

/// A client for one request: sessions of TLS are taken up again, connections are not kept.
fn over_tls(
    tls: &dyn PeerTls,
) -> Result<Client<HttpsConnector<HttpConnector>, Empty<Bytes>>, String> {
    let (config, name) = tls.now()?;
    let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_only();
    let connector = match name {
        Some(name) => connector.with_server_name_resolver(FixedServerNameResolver::new(name)),
        None => connector,
    };
    Ok(Client::builder(TokioExecutor::new()).build(connector.enable_http1().build()))
}

/// An error with its causes, the last of which says what happened.
fn described(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
