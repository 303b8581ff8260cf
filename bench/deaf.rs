//! An agent that reads nothing, while its connection lives.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;
use zonefold::core::ids::ClusterId;
use zonefold::wire::v1;
use zonefold::wire::v1::agent_message::Message as ToBroker;
use zonefold::wire::v1::federation_client::FederationClient;

use super::cluster::{HeldEndpoints, hello, signed};

/// The room for unread messages: small, so that they are at the broker.
const WINDOW_BYTES: u32 = 64 << 10;
/// A broker that has taken no message for this time does not listen either.
const SILENCE: Duration = Duration::from_millis(500);

/// See the module's page.
pub struct Deaf {
    messages: mpsc::Sender<v1::AgentMessage>,
    // They are held and never read.
    _answers: Streaming<v1::BrokerMessage>,
    _statuses: Streaming<v1::StatusBatch>,
}

impl Deaf {
    /// Opens a session and a status stream.
    ///
    /// # Errors
    /// The broker cannot be reached, or refuses.
    pub async fn connect(
        broker: SocketAddr,
        token: &str,
        id: &ClusterId,
        held: &HeldEndpoints,
    ) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{broker}"))?;
        let endpoint = endpoint
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(2 * WINDOW_BYTES);
        let mut client = FederationClient::new(endpoint.connect().await?);
        let (messages, receiver) = mpsc::channel(4);
        let first = v1::AgentMessage { message: Some(ToBroker::Hello(hello(id, held))) };
        messages.send(first).await.context("the session has ended")?;
        let answers =
            client.publish(signed(ReceiverStream::new(receiver), token)?).await?.into_inner();
        let watching =
            v1::WatchStatusRequest { cluster: id.to_string(), ..v1::WatchStatusRequest::default() };
        let statuses = client.watch_status(signed(watching, token)?).await?.into_inner();
        Ok(Self { messages, _answers: answers, _statuses: statuses })
    }

    /// Asks, and does not hear the answer, until the broker takes nothing more.
    pub async fn talk(&self) {
        let ping = || v1::AgentMessage { message: Some(ToBroker::Ping(v1::Ping { nonce: 1 })) };
        while let Ok(Ok(())) = tokio::time::timeout(SILENCE, self.messages.send(ping())).await {}
    }
}
