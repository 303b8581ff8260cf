//! Questions over the network, as a person would ask them.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use tokio::process::Command;

use super::wait::DEADLINE;

/// GET over HTTP; an error says that no answer came.
pub async fn try_get(address: SocketAddr, path: &str) -> Result<(u16, String), String> {
    let request = http::Request::get(format!("http://{address}{path}")).body(String::new());
    ask(request.unwrap(), Duration::from_secs(10)).await
}

/// POST of JSON over HTTP that has to answer JSON. The server may have much to read first, on a machine with other work.
pub async fn post_json(
    address: SocketAddr,
    path: &str,
    body: &serde_json::Value,
) -> serde_json::Value {
    let request = http::Request::post(format!("http://{address}{path}"))
        .header("content-type", "application/json");
    let (status, answer) = ask(request.body(body.to_string()).unwrap(), DEADLINE).await.unwrap();
    assert_eq!(status, 200, "{path}: {answer}");
    serde_json::from_str(&answer).unwrap()
}

async fn ask(request: http::Request<String>, within: Duration) -> Result<(u16, String), String> {
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<String>();
    let ask = async {
        let (parts, body) =
            client.request(request).await.map_err(|error| format!("{error:?}"))?.into_parts();
        let body = http_body_util::BodyExt::collect(body)
            .await
            .map_err(|error| format!("{error:?}"))?
            .to_bytes();
        Ok((parts.status.as_u16(), String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::time::timeout(within, ask)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", within.as_secs())))
}

/// GET over HTTP that has to answer JSON.
pub async fn get_json(address: SocketAddr, path: &str) -> Result<serde_json::Value, String> {
    match try_get(address, path).await? {
        (200, body) => {
            serde_json::from_str(&body).map_err(|error| format!("{path}: {error}: {body}"))
        }
        (status, body) => Err(format!("{path}: {status}: {body}")),
    }
}

/// The answers of `dig` to one question, sorted; empty if there are none or no server answers yet.
pub async fn dig(server: SocketAddr, name: &str, rtype: &str) -> Vec<String> {
    let mut dig = Command::new("dig");
    dig.arg(format!("@{}", server.ip())).args([
        "-p",
        &server.port().to_string(),
        "+short",
        "+time=2",
        "+tries=1",
        name,
        rtype,
    ]);
    let output = dig
        .kill_on_drop(true)
        .output()
        .await
        .unwrap_or_else(|error| panic!("dig cannot be run ({error}): make setup"));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut answers: Vec<String> =
        text.lines().filter(|line| !line.starts_with(';')).map(str::to_owned).collect();
    answers.sort();
    answers
}

/// A free port below those that the system gives to connections, so that none of the other tests takes it meanwhile.
pub fn free_address() -> SocketAddr {
    let is_free = |address: &SocketAddr| TcpListener::bind(address).is_ok();
    let random = || SocketAddr::from(([127, 0, 0, 1], fastrand::u16(10_000..32_000)));
    std::iter::repeat_with(random).find(is_free).unwrap()
}
