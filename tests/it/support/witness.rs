//! The last stop before AWS: it notes every change of record sets that arrives there, and what it was answered.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderValue, Method, StatusCode, header};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::aws::Record;

/// One call that changes record sets.
#[derive(Clone, Debug)]
pub struct ChangeCall {
    pub status: StatusCode,
    pub comment: String,
    /// The requested changes, such as `CREATE`, in order.
    pub changes: Vec<(String, Record)>,
}

/// An HTTP relay before AWS.
pub struct Witness {
    pub address: SocketAddr,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

struct Inner {
    upstream: SocketAddr,
    client: Client<HttpConnector, Body>,
    signed_host: OnceLock<HeaderValue>,
    calls: Mutex<Vec<ChangeCall>>,
}

impl Witness {
    pub async fn before(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // A connection a call: none is found closed by the other side when it is used again.
        let client = Client::builder(hyper_util::rt::TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build_http();
        let inner = Arc::new(Inner {
            upstream,
            client,
            signed_host: OnceLock::new(),
            calls: Mutex::default(),
        });
        let routes = axum::Router::new().fallback(pass).with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { address, inner, task }
    }

    /// The address that callers call. A proxy in between puts its own upstream into `Host`, which is signed.
    pub fn signed_for(&self, address: SocketAddr) {
        self.inner.signed_host.set(HeaderValue::from_str(&address.to_string()).unwrap()).unwrap();
    }

    /// Every call that changes record sets, in the order in which they were answered.
    pub fn calls(&self) -> Vec<ChangeCall> {
        self.inner.calls.lock().unwrap().clone()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let body = whole(body).await;
    let is_change = parts.method == Method::POST && parts.uri.path().ends_with("/rrset");
    let path = parts.uri.path_and_query().unwrap().clone();
    parts.uri = format!("http://{}{path}", inner.upstream).parse().unwrap();
    parts.headers.insert(header::HOST, inner.signed_host.get().unwrap().clone());
    let answer =
        inner.client.request(Request::from_parts(parts, Body::from(body.clone()))).await.unwrap();
    let (mut parts, answer) = answer.into_parts();
    // The answer is whole here, and no longer in chunks.
    parts.headers.remove(header::TRANSFER_ENCODING);
    let answer = whole(Body::new(answer)).await;
    if is_change {
        inner.calls.lock().unwrap().push(read(parts.status, std::str::from_utf8(&body).unwrap()));
    }
    Response::from_parts(parts, Body::from(answer))
}

async fn whole(body: Body) -> Bytes {
    axum::body::to_bytes(body, usize::MAX).await.unwrap()
}

/// Reads a `ChangeResourceRecordSetsRequest`.
fn read(status: StatusCode, body: &str) -> ChangeCall {
    let document = roxmltree::Document::parse(body).unwrap();
    let texts = |node: roxmltree::Node<'_, '_>, name: &str| -> Vec<String> {
        let named = node
            .descendants()
            .filter(|element| element.has_tag_name((node.tag_name().namespace().unwrap(), name)));
        named.map(|element| element.text().unwrap_or_default().to_owned()).collect()
    };
    let text = |node, name: &str| texts(node, name).swap_remove(0);
    let root = document.root_element();
    let namespace = root.tag_name().namespace().unwrap();
    let change = |change| {
        let mut values = texts(change, "Value");
        values.sort();
        let name = format!("{}.", text(change, "Name").trim_end_matches('.'));
        let record = (name, text(change, "Type"), text(change, "TTL").parse().unwrap(), values);
        (text(change, "Action"), record)
    };
    let changes = root.descendants().filter(|element| element.has_tag_name((namespace, "Change")));
    ChangeCall { status, comment: text(root, "Comment"), changes: changes.map(change).collect() }
}
