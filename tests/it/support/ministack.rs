//! ministack: an AWS that is not ours, with every check of its authorisation on.

use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::{Value, json};

use super::aws::{self, Aws, Look};
use super::folder::TestFolder;
use super::process::{self, Process, clean};
use super::python::program;

/// Makes the user, the roles and the zones with the AWS client that ministack brings along.
const ACCOUNTS: &str = include_str!("ministack_accounts.py");
/// The policies that the documentation tells an operator to put on the role of an account, and on the broker.
const ROLE_POLICY: &str = include_str!("../../../deploy/aws/account-role-policy.json");
const ROLE_TRUST: &str = include_str!("../../../deploy/aws/account-role-trust.json");
const BROKER_POLICY: &str = include_str!("../../../deploy/aws/broker-role-policy.json");
/// The secret of every account's root, whose key id is the account's number.
const ROOT_SECRET: &str = "ministack-root-secret";

pub struct Ministack {
    pub address: SocketAddr,
    _process: Process,
    _folder: TestFolder,
}

/// Starts one with the accounts of [`aws`].
pub async fn start() -> (Ministack, Aws) {
    let folder = TestFolder::new();
    let (process, address) = listening(&folder).await;
    let made = make_accounts(&folder, &format!("http://{address}")).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let look =
        Look::Api { endpoint: format!("http://{address}"), root_secret: ROOT_SECRET.to_owned() };
    let key = (text(&made["key_id"]), text(&made["secret"]));
    let aws = Aws::new(address, (&key.0, &key.1), look, |name| text(&made["zones"][name])).await;
    (Ministack { address, _process: process, _folder: folder }, aws)
}

async fn listening(folder: &TestFolder) -> (Process, SocketAddr) {
    process::listening("ministack", "/_ministack/health", |address| {
        let mut command = clean(program("ministack"), &folder.path(""));
        command
            .env("AUTH", "true")
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", address.port().to_string());
        command.env("AWS_ACCESS_KEY_ID", aws::OPERATIONS).env("AWS_SECRET_ACCESS_KEY", ROOT_SECRET);
        command.env("SERVICES", "iam,sts,route53").env("TMPDIR", folder.folder("tmp"));
        command
    })
    .await
}

async fn make_accounts(folder: &TestFolder, endpoint: &str) -> Value {
    let broker = format!("arn:aws:iam::{}:user/broker", aws::OPERATIONS);
    let accounts = aws::ACCOUNTS.map(|(id, environment, zone)| {
        let trust = filled_in(
            ROLE_TRUST,
            &[
                ("arn:aws:iam::111122223333:role/zonefold-broker", &broker),
                ("REPLACE-WITH-A-RANDOM-TEXT", &aws::external_id(environment)),
            ],
        );
        json!({ "id": id, "zone": zone, "trust": trust, "policy": ROLE_POLICY })
    });
    let broker_policy = filled_in(
        BROKER_POLICY,
        &[
            ("arn:aws:iam::222233334444:role/zonefold", &aws::role(aws::DEV)),
            ("arn:aws:iam::333344445555:role/zonefold", &aws::role(aws::PROD)),
        ],
    );
    let wanted = json!({
        "endpoint": endpoint,
        "root_secret": ROOT_SECRET,
        "operations": aws::OPERATIONS,
        "broker_policy": broker_policy,
        "accounts": accounts,
    });
    let mut python = clean(program("python"), &folder.path(""));
    python.args(["-c", ACCOUNTS, &wanted.to_string()]).stdin(Stdio::null());
    let output = python.output().await.unwrap();
    assert!(
        output.status.success(),
        "ministack took no accounts: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A document with its examples replaced, each of which has to be there.
fn filled_in(document: &str, replacements: &[(&str, &str)]) -> String {
    replacements.iter().fold(document.to_owned(), |text, (example, value)| {
        assert!(text.contains(example), "{example} is not in {text}");
        text.replace(example, value)
    })
}
