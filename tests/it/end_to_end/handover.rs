//! Names that pass from one cluster to another, end to end.

use serde_json::Value;
use zonefold::cli::token::sha256_hex;

use crate::support::aws::{self, Aws};
use crate::support::deployment::{Deployment, configuration, sqlite};
use crate::support::folder::TestFolder;
use crate::support::manifests::service;
use crate::support::process::zonefold;
use crate::support::wait::{eventually, eventually_equal};

const OPERATOR: &str = "zf_operator_of_handovers_0123456789abcdef";
const EAST: &str = "192.0.2.1";
const WEST: &str = "192.0.2.2";

fn host(number: usize) -> String {
    format!("h{number}.dev.example.com")
}

/// A Service whose name resolvers forget after a second.
fn short_lived(number: usize, address: &str) -> String {
    service(&format!("h{number}"), &host(number), address).replace("\"60\"", "\"1\"")
}

fn services(numbers: std::ops::Range<usize>, address: &str) -> String {
    numbers.map(|number| short_lived(number, address)).collect::<Vec<_>>().join("\n---\n")
}

struct Site {
    deployment: Deployment,
    aws: Aws,
}

impl Site {
    /// East has three names; west wants two of them.
    async fn start(aws: Aws) -> Self {
        let folder = TestFolder::new();
        let mut configured = configuration(&folder, &sqlite(&folder), aws.configured());
        configured["api"] = serde_json::json!({ "tokens": [
            { "name": "ann", "role": "operator", "token_sha256": sha256_hex(OPERATOR) },
        ] });
        let mut deployment = Deployment::start(folder, &aws, &configured).await;
        deployment.agent("dev-east", &[("all.yaml", services(0..3, EAST))]).await;
        deployment.all_applied("dev-east").await;
        deployment.agent("dev-west", &[("all.yaml", services(0..2, WEST))]).await;
        let site = Self { deployment, aws };
        for number in 0..2 {
            let waits = |status: &Value| status["reason"] == "NAME_HELD";
            site.deployment.status("dev-west", &format!("h{number}"), "A", waits).await;
        }
        site
    }

    async fn zonefold(&self, arguments: &[&str]) -> (bool, String) {
        let broker = format!("http://{}", self.deployment.http);
        let token = self.deployment.folder.write("operator", OPERATOR);
        let token = token.to_str().unwrap();
        let arguments =
            arguments.iter().copied().chain(["--broker", broker.as_str(), "--token-file", token]);
        let home = self.deployment.folder.path("home");
        let output = zonefold(&home, arguments).output().await.unwrap();
        let texts = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        (output.status.success(), texts.concat())
    }

    /// What a command says that does what it is asked for.
    async fn said(&self, arguments: &[&str]) -> String {
        let (is_done, said) = self.zonefold(arguments).await;
        assert!(is_done, "{arguments:?}: {said}");
        said
    }

    async fn listed(&self) -> Value {
        let said = self.said(&["handover", "list", "--output", "json"]).await;
        serde_json::from_str(&said).unwrap()
    }

    /// Stages a hand-over of all names and answers its id, once the account has looked at them.
    async fn staged(&self, mode: &str) -> String {
        let start = ["handover", "start", "--from", "dev-east", "--to", "dev-west", "--mode", mode];
        let said = self.said(&start).await;
        assert!(said.contains("is staged: 2 ready, 0 different, 1 missing, 0 passed"), "{said}");
        self.listed().await[0]["id"].as_str().unwrap().to_owned()
    }

    async fn answers(&self, number: usize) -> Vec<String> {
        let (_, mut values) = self.aws.answer("dev", &host(number), "A").await.unwrap();
        values.sort();
        values
    }

    async fn answer_eventually(&self, number: usize, wanted: &[&str]) {
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        eventually_equal("the answer", wanted, async || self.answers(number).await).await;
    }

    async fn phase_eventually(&self, wanted: &str) {
        eventually(&format!("the hand-over is {wanted}"), async || {
            let listed = self.listed().await;
            if listed[0]["phase"] == wanted { Ok(()) } else { Err(listed.to_string()) }
        })
        .await;
    }

    async fn finish(self) {
        self.deployment.finish(&self.aws).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ready_cuts_over_and_goes_back_when_people_say_so() {
    let (emulator, aws) = aws::emulated().await;
    let site = Site::start(aws).await;
    let id = site.staged("cutover").await;
    assert_eq!(site.answers(0).await, [EAST], "nothing passes yet");
    let again = ["handover", "start", "--from", "dev-west", "--to", "dev-east"];
    let (is_done, refused) = site.zonefold(&again).await;
    assert!(!is_done && refused.contains("may want the same names"), "{refused}");
    let shown = site.said(&["handover", "show", &id[..13]]).await;
    for part in [host(0), host(2), "ready".to_owned(), "missing".to_owned()] {
        assert!(shown.contains(&part), "{part}: {shown}");
    }

    let switched = site.said(&["handover", "switch", &id[..13], "--wait"]).await;
    assert!(switched.contains("is done: 0 ready, 0 different, 1 missing, 2 passed"), "{switched}");
    for (number, address) in [(0, WEST), (1, WEST), (2, EAST)] {
        assert_eq!(site.answers(number).await, [address], "{}", host(number));
    }
    let waits = |status: &Value| status["reason"] == "NAME_HELD";
    site.deployment.status("dev-east", "h0", "A", waits).await;
    let (is_done, refused) = site.zonefold(&["handover", "abort", &id]).await;
    assert!(!is_done && refused.contains("the other way round"), "{refused}");

    // And back, with another one that is aborted on its way.
    let back = ["handover", "start", "--from", "dev-west", "--to", "dev-east"];
    site.said(&back).await;
    let id = site.listed().await[0]["id"].as_str().unwrap().to_owned();
    site.said(&["handover", "switch", &id]).await;
    site.answer_eventually(0, &[EAST]).await;
    let aborted = site.said(&["handover", "abort", &id, "--reason", "too slow"]).await;
    assert!(aborted.contains("is aborting"), "{aborted}");
    site.phase_eventually("aborted").await;
    for number in [0, 1] {
        assert_eq!(site.answers(number).await, [WEST], "{}", host(number));
    }
    assert_eq!(site.answers(2).await, [EAST], "it was never west's");
    site.finish().await;
    emulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overlap_answers_with_both_before_the_old_answer_goes() {
    let (emulator, aws) = aws::emulated().await;
    let site = Site::start(aws).await;
    let id = site.staged("overlap").await;
    site.said(&["handover", "switch", &id]).await;
    site.answer_eventually(0, &[EAST, WEST]).await;
    site.phase_eventually("done").await;
    for (number, address) in [(0, WEST), (1, WEST), (2, EAST)] {
        assert_eq!(site.answers(number).await, [address], "{}", host(number));
    }
    let changes = site.said(&["why", &host(0), "--output", "json"]).await;
    assert!(changes.contains("passed"), "{changes}");
    site.finish().await;
    emulator.stop().await;
}
