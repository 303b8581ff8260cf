//! HTTP/1.1 and HTTP/2 as every process serves it, with an end for connections that say nothing.
//!
//! A connection on which no request is under way is closed when it has been so for [`HttpLimits::idle`], whether it never sent one,
//! sends half a head, or is kept alive. A request is under way until its answer has gone out as a whole, so an answer that
//! streams for hours is never cut.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::serve::Listener;
use http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// How long connections may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Without a request under way.
    pub idle: Duration,
}

impl Default for HttpLimits {
    /// Half a minute: longer than a head takes on any network, and than most collectors of metrics stay away.
    fn default() -> Self {
        Self { idle: Duration::from_secs(30) }
    }
}

/// Serves until `stop`; then accepts no more connections, and waits for the requests that are under way. Each request has the
/// address of its connection as [`ConnectInfo`].
pub async fn serve<L>(
    mut listener: L,
    routes: axum::Router,
    limits: HttpLimits,
    stop: CancellationToken,
) where
    L: Listener,
    L::Addr: Clone + Sync + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (stream, address) = listener.accept() => {
                let serving = serve_one(stream, address, routes.clone(), limits, stop.clone());
                connections.spawn(serving);
            }
            Some(_ended) = connections.join_next() => {}
            () = stop.cancelled() => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve_one<A: Clone + Send + Sync + 'static>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: A,
    routes: axum::Router,
    limits: HttpLimits,
    stop: CancellationToken,
) {
    let work = Arc::new(watch::Sender::new(RequestsOpen { requests: 0, since: Instant::now() }));
    let mut seen = work.subscribe();
    let service = service_fn(|request: Request<Incoming>| {
        let under_way = UnderWay::begin(&work);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(address.clone()));
        let routes = routes.clone();
        async move {
            let response: Response<Body> = routes.oneshot(request).await?;
            Ok::<_, Infallible>(response.map(|body| AnswerBody { body, _under_way: under_way }))
        }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // How it ended says nothing about the broker.
        _ended = serving.as_mut() => return,
        () = idle_for(&mut seen, limits.idle) => {}
        () = stop.cancelled() => {}
    }
    serving.as_mut().graceful_shutdown();
    tokio::select! {
        _ended = serving.as_mut() => {}
        // A request may have come in between; after it, nothing is waited for.
        () = idle_for(&mut seen, limits.idle) => {}
    }
}

/// The requests under way on a connection.
#[derive(Clone, Copy)]
struct RequestsOpen {
    requests: usize,
    /// When their number changed last.
    since: Instant,
}

/// Returns when no request has been under way for `idle`.
async fn idle_for(work: &mut watch::Receiver<RequestsOpen>, idle: Duration) {
    loop {
        let RequestsOpen { requests, since } = *work.borrow_and_update();
        let over = async {
            match requests {
                0 => tokio::time::sleep_until(since + idle).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => return,
            // The sender lives as long as the connection.
            _changed = work.changed() => {}
        }
    }
}

/// One request, until this is dropped.
struct UnderWay(Arc<watch::Sender<RequestsOpen>>);

impl UnderWay {
    fn begin(work: &Arc<watch::Sender<RequestsOpen>>) -> Self {
        work.send_modify(|work| {
            *work = RequestsOpen { requests: work.requests + 1, since: Instant::now() }
        });
        Self(Arc::clone(work))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|work| {
            *work =
                RequestsOpen { requests: work.requests.saturating_sub(1), since: Instant::now() };
        });
    }
}

/// The body of an answer, which keeps its request under way.
struct AnswerBody {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
