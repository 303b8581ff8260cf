//! `zonefold login`, with a browser and with a token, and what the other commands do with it.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::browser::Browser;
use super::provider::{Provider, write_people};
use super::site::{PeopleSite, ROOT};
use crate::support::folder::TestFolder;
use crate::support::network::free_address;
use crate::support::process::{Process, zonefold};
use crate::support::wait::eventually;

/// Whether a command succeeded, and what it said.
async fn command(site: &PeopleSite, arguments: &[&str], input: &str) -> (bool, String) {
    let mut command = zonefold(&site.folder.path("home"), arguments);
    command.args(["--broker", &site.url]).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let said = [output.stdout, output.stderr]
        .map(|text| String::from_utf8_lossy(&text).into_owned())
        .concat();
    (output.status.success(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_signs_in_by_a_browser_and_the_next_ones_need_no_token() {
    let (folder, http) = (TestFolder::new(), free_address());
    let ann = json!({ "email": "ann@example.com", "groups": ["pay-leads", "platform"] });
    write_people(&folder, &json!({ "ann": ann }));
    let provider = Provider::start(&folder, &format!("http://{http}"), &json!({})).await;
    let site = PeopleSite::start(folder, http, &provider.issuer, &json!({})).await;
    let (ok, said) = command(&site, &["get", "tokens"], "").await;
    assert!(!ok && said.contains("zonefold login"), "{said}");

    let mut login = zonefold(&site.folder.path("home"), ["login"]);
    login.args(["--broker", &site.url]);
    let login = Process::start("zonefold login", login);
    let link = eventually("the link is shown", async || {
        let output = login.output();
        let link = output.lines().find(|line| line.trim().starts_with("http"));
        link.map(|link| link.trim().to_owned()).ok_or(output.clone())
    })
    .await;
    let last = Browser::default().sign_in(&link, "ann", |_| false).await;
    assert!(last.body.contains("go back to the terminal"), "{}", last.body);
    let (status, said) = login.ended().await;
    assert!(status.success() && said.contains("as ann@example.com (operator), until 2"), "{said}");
    let kept = site.folder.path("home/.config/zonefold/credentials.json");
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(kept).unwrap()).unwrap();
    let secret = kept["brokers"][&site.url]["secret"].as_str().unwrap().to_owned();

    // The code that the browser brought is good once.
    let code = last.url.split("code=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let body = json!({ "code": code, "code_verifier": "zonefold_guessed" });
    let again = site.with_token(http::Method::POST, "/auth/exchange", ROOT, &body).await;
    assert_eq!(again.status, 400, "{}", again.body);

    let (ok, said) = command(&site, &["get", "tokens"], "").await;
    assert!(ok && said.contains("session") && said.contains("zonefold login"), "{said}");
    let out = site.folder.path("ci-token").display().to_string();
    let create =
        ["token", "create", "ci", "--for-machine", "--team", "pay", "--team-role", "owner"];
    let (ok, said) =
        command(&site, &[&create[..], &["--days", "7", "--out", &out]].concat(), "").await;
    assert!(ok && said.contains("is in"), "{said}");
    let token = std::fs::read_to_string(&out).unwrap();
    let me =
        site.with_token(http::Method::GET, "/api/v1/me", token.trim(), &Value::Null).await.json();
    assert_eq!((&me["name"], &me["kind"]), (&json!("ci"), &json!("machine")));
    let id = me["token"]["id"].as_str().unwrap().to_owned();
    let (ok, said) = command(&site, &["token", "revoke", &id], "").await;
    assert!(ok && said.contains("opens nothing any more"), "{said}");
    let me = site.with_token(http::Method::GET, "/api/v1/me", token.trim(), &Value::Null).await;
    assert_eq!(me.status, 401);

    let (ok, said) = command(&site, &["logout"], "").await;
    assert!(ok && said.contains("signed out"), "{said}");
    let (ok, said) = command(&site, &["get", "tokens"], "").await;
    assert!(!ok && said.contains("401"), "{said}");
    let ended = site.with_token(http::Method::GET, "/api/v1/me", &secret, &Value::Null).await;
    assert_eq!(ended.status, 401, "on the server, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_pasted_where_there_is_no_browser() {
    let site = PeopleSite::without_provider(&json!({})).await;
    let (ok, said) = command(&site, &["login", "--with-token"], "no-token-of-anybody").await;
    assert!(!ok && said.contains("none that the broker knows"), "{said}");
    let (ok, said) = command(&site, &["login", "--with-token"], &format!("  {ROOT}\n")).await;
    assert!(ok && said.contains("as root (admin)"), "{said}");
    let (ok, said) = command(&site, &["status"], "").await;
    assert!(ok, "{said}");
    site.reconfigure(&json!({ "oidc": null })).await;
    let (ok, said) = command(&site, &["login"], "").await;
    assert!(!ok && said.contains("have an admin set oidc"), "{said}");
}
