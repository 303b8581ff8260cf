//! microburst: a proxy before AWS that makes faults, and is not ours.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::folder::TestFolder;
use super::network::{get_json, post_json};
use super::process::{Process, clean, listening};
use super::python::program;
use super::wait::eventually;

pub struct Microburst {
    pub address: SocketAddr,
    _process: Process,
    _folder: TestFolder,
}

/// A rule that was set.
pub struct Rule(u64);

impl Microburst {
    /// Starts one that forwards to an address, without a rule.
    pub async fn before(upstream: SocketAddr) -> Self {
        let folder = TestFolder::new();
        let (process, address) = listening("microburst", "/_microburst/health", |address| {
            let mut command = clean(program("microburst"), &folder.path(""));
            command.args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
            command.args(["--upstream", &format!("http://{upstream}")]);
            command
        })
        .await;
        Self { address, _process: process, _folder: folder }
    }

    /// Lets an effect strike the next `times` changes of record sets, and nothing else.
    ///
    /// The rule looks at the body: microburst finds an operation by its path, and that of a change ends with a slash in the
    /// model that it reads, while the Rust SDK sends none.
    pub async fn strike_changes(&self, effect: &Value, times: usize) -> Rule {
        let mut rule = json!({ "service": "route53", "body": "ChangeResourceRecordSetsRequest.ChangeBatch", "times": times });
        rule.as_object_mut().unwrap().extend(effect.as_object().unwrap().clone());
        let set = post_json(self.address, "/_microburst/rules", &json!([rule])).await;
        Rule(set[0]["id"].as_u64().unwrap())
    }

    /// How often a rule has struck.
    pub async fn strikes(&self, rule: &Rule) -> usize {
        let path = format!("/_microburst/fired?rule_id={}", rule.0);
        let fired = eventually("what fired is told", async || get_json(self.address, &path).await);
        let fired = fired.await;
        let fired = fired.as_array().unwrap();
        for event in fired {
            let path = event["path"].as_str().unwrap();
            assert!(
                path.starts_with("/2013-04-01/hostedzone/") && path.ends_with("/rrset"),
                "{event}"
            );
        }
        fired.len()
    }
}
