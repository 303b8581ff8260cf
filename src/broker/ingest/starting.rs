//! The service for agents while the broker loads its store: it accepts their calls and lets them wait.
//!
//! A call that waits is answered the moment that the broker is ready, with no attempt in between; its connection is made
//! already. A refused call would have to be retried again and again, and would come late. A call that waits costs what its
//! session will cost anyway.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use super::admission::Admission;
use super::service::{FederationService, Outgoing};
use crate::broker::startup::progress::StartProgress;
use crate::wire::v1;
use crate::wire::v1::federation_server::Federation;

/// How long a call waits before the agent gets the progress of the start. Agents wait for a minute.
const WAIT: Duration = Duration::from_secs(40);

/// See the module's page.
#[derive(Clone)]
pub struct StartingService {
    admission: Admission,
    started: watch::Receiver<Option<FederationService>>,
    progress: Arc<StartProgress>,
}

impl StartingService {
    /// Waits for the service that `started` will hold.
    pub fn new(
        admission: Admission,
        started: watch::Receiver<Option<FederationService>>,
        progress: Arc<StartProgress>,
    ) -> Self {
        Self { admission, started, progress }
    }

    /// The broker's service, if it is ready before the agent has waited long enough.
    async fn service(mut self) -> Result<FederationService, Status> {
        let waited = tokio::time::timeout(WAIT, self.started.wait_for(Option::is_some)).await;
        let service = match waited {
            Ok(Ok(service)) => (*service).clone(),
            Ok(Err(_)) => return Err(Status::unavailable("the broker shuts down: connect again")),
            Err(_) => None,
        };
        service.ok_or_else(|| {
            Status::unavailable(format!(
                "the broker starts ({}): connect again",
                self.progress.describe()
            ))
        })
    }

    fn now(&self) -> Option<FederationService> {
        self.started.borrow().clone()
    }
}

/// The answer of a call that has yet to be made.
fn later<T: Send + 'static>(
    call: impl Future<Output = Result<Response<Outgoing<T>>, Status>> + Send + 'static,
) -> Response<Outgoing<T>> {
    Response::new(stream::once(call).map_ok(Response::into_inner).try_flatten().boxed())
}

#[tonic::async_trait]
impl Federation for StartingService {
    type PublishStream = Outgoing<v1::BrokerMessage>;
    type WatchStatusStream = Outgoing<v1::StatusBatch>;

    async fn publish(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        if let Some(service) = self.now() {
            return service.publish(request).await;
        }
        self.admission.prove(&request).await?;
        let starting = self.clone();
        Ok(later(async move { starting.service().await?.publish(request).await }))
    }

    async fn watch_status(
        &self,
        request: Request<v1::WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        if let Some(service) = self.now() {
            return service.watch_status(request).await;
        }
        self.admission.prove(&request).await?;
        let starting = self.clone();
        Ok(later(async move { starting.service().await?.watch_status(request).await }))
    }
}
