//! Faults of AWS that a proxy makes which is not ours, before our emulator and before one that is not ours: whatever strikes the
//! calls that change records, it ends with what is wanted; nothing is lost, and nothing is written twice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use http::StatusCode;
use serde_json::Value;
use zonefold::emulator::{EmulatorHandle, Origin};

use crate::support::aws::{self, Aws, Record};
use crate::support::deployment::Deployment;
use crate::support::manifests::service;
use crate::support::microburst::Microburst;
use crate::support::ministack;
use crate::support::tap::Tap;
use crate::support::wait::{eventually, eventually_equal};
use crate::support::witness::{ChangeCall, Witness};

/// A fault that strikes the calls, as in a rule of microburst.
struct Fault {
    /// A label for names.
    label: &'static str,
    effect: &'static str,
    /// How many calls in a row it strikes.
    times: usize,
    /// The `state` of a batch that it struck, in the broker's journal.
    ends_as: &'static str,
}

const FAULTS: [Fault; 4] = [
    Fault {
        label: "applied-and-lost",
        effect: r#"{ "response": { "abort_frac": 0 } }"#,
        // The call that it strikes is applied, so for a second strike nothing may be left.
        times: 1,
        ends_as: "found_done",
    },
    Fault { label: "reset", effect: r#"{ "reset": true }"#, times: 2, ends_as: "not_applied" },
    Fault {
        label: "throttling",
        effect: r#"{ "error": { "code": "Throttling", "status": 400, "message": "Rate exceeded" } }"#,
        times: 2,
        ends_as: "not_applied",
    },
    Fault {
        label: "prior-request",
        effect: r#"{ "error": { "code": "PriorRequestNotComplete", "status": 400 } }"#,
        // Each doubles the pause in the zone, which comes back slowly: one is enough, and after the others.
        times: 1,
        ends_as: "not_applied",
    },
];

const CLUSTERS: [&str; 2] = ["dev-east", "dev-west"];
/// The objects of a cluster while each fault strikes. The first is edited and goes, the second stays as it is, the third is edited.
const OBJECTS: [&str; 3] = ["goes", "stays", "moves"];
const FOREIGN: &str = "foreign.dev.example.com";

/// The records wanted in the dev zone, and the earlier and present ones of each name in turn.
#[derive(Default)]
struct Wanted {
    now: BTreeMap<String, Record>,
    history: BTreeMap<String, Vec<(String, Record)>>,
}

impl Wanted {
    fn set(&mut self, name: &str, address: Option<&str>) {
        let name = format!("{name}.");
        let history = self.history.entry(name.clone()).or_default();
        history.extend(self.now.remove(&name).map(|old| ("DELETE".to_owned(), old)));
        if let Some(address) = address {
            let new = (name.clone(), "A".to_owned(), 60, vec![address.to_owned()]);
            history.push(("CREATE".to_owned(), new.clone()));
            self.now.insert(name, new);
        }
    }
}

/// Everything between manifests and AWS.
struct Scene {
    aws: Aws,
    site: Deployment,
    microburst: Microburst,
    witness: Witness,
    wanted: Wanted,
    foreign: Record,
}

impl Scene {
    /// The broker's calls go through the tap and microburst, and the witness sees those that come to AWS.
    async fn start(mut aws: Aws, upstream: SocketAddr) -> Self {
        let witness = Witness::before(upstream).await;
        let microburst = Microburst::before(witness.address).await;
        aws.tap = Tap::before(microburst.address).await;
        witness.signed_for(aws.tap.address);
        aws.write_foreign("dev", FOREIGN, "203.0.113.77").await;
        let foreign = aws::records_beside_the_apex(&aws, "dev").await.swap_remove(0);
        let mut site = Deployment::on_sqlite(&aws).await;
        for cluster in CLUSTERS {
            site.agent(cluster, &[]).await;
        }
        Self { aws, site, microburst, witness, wanted: Wanted::default(), foreign }
    }

    /// Writes, edits and deletes names, and each time the first calls are struck.
    async fn endure(&mut self, fault: &Fault) {
        let step = async |scene: &mut Self, verb: &str, change: &dyn Fn(&mut Self, &str)| {
            let what = format!("{verb} under {}", fault.label);
            let effect = serde_json::from_str(fault.effect).unwrap();
            let rule = scene.microburst.strike_changes(&effect, fault.times).await;
            CLUSTERS.into_iter().for_each(|cluster| change(scene, cluster));
            scene.converges(&what).await;
            assert_eq!(scene.microburst.strikes(&rule).await, fault.times, "{what}");
        };
        let set = |scene: &mut Self, cluster: &str, object: &str, address: Option<&str>| {
            scene.set(cluster, &format!("{}-{object}", fault.label), address);
        };
        step(self, "create", &|scene, cluster| {
            OBJECTS.into_iter().for_each(|object| set(scene, cluster, object, Some("192.0.2.1")));
        })
        .await;
        step(self, "edit", &|scene, cluster| {
            ["goes", "moves"]
                .into_iter()
                .for_each(|object| set(scene, cluster, object, Some("192.0.2.2")));
        })
        .await;
        step(self, "delete", &|scene, cluster| set(scene, cluster, "goes", None)).await;
    }

    fn set(&mut self, cluster: &str, object: &str, address: Option<&str>) {
        let (name, file) =
            (format!("{object}.{cluster}.dev.example.com"), format!("{object}.yaml"));
        match address {
            Some(address) => self.site.write(cluster, &file, &service(object, &name, address)),
            None => self.site.remove(cluster, &file),
        }
        self.wanted.set(&name, address);
    }

    /// Waits until all have come to what is wanted: Route 53, the broker's journal, and the agents.
    async fn converges(&self, what: &str) {
        let mut wanted: Vec<&Record> = self.wanted.now.values().chain([&self.foreign]).collect();
        wanted.sort();
        eventually(what, async || {
            let mut held = aws::records_beside_the_apex(&self.aws, "dev").await;
            held.sort();
            match held.iter().eq(wanted.iter().copied()) {
                true => Ok(()),
                false => Err(format!(
                    "{held:?} is not {wanted:?}\nthe broker said\n{}",
                    self.site.broker.output()
                )),
            }
        })
        .await;
        let is_open = |change: &Value| change["outcome"]["state"] == "open";
        eventually_equal("batches without an end", 0, async || {
            self.site.changes().await.into_iter().filter(is_open).count()
        })
        .await;
        for cluster in CLUSTERS {
            self.site.all_applied(cluster).await;
        }
    }

    /// Route 53 received what was wanted, each step of each name once, and the broker's journal tells it as it was.
    async fn nothing_was_lost_or_written_twice(&self) {
        let calls = self.witness.calls();
        let refused: Vec<&ChangeCall> =
            calls.iter().filter(|call| call.status != StatusCode::OK).collect();
        assert!(refused.is_empty(), "{refused:#?}");
        let mut written: BTreeMap<String, Vec<(String, Record)>> = BTreeMap::new();
        for change in calls.iter().flat_map(|call| &call.changes) {
            written.entry(change.1.0.clone()).or_default().push(change.clone());
        }
        assert_eq!(written, self.wanted.history);

        let mut journal: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for change in self.site.changes().await {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            journal
                .entry(text(&change["outcome"]["state"]))
                .or_default()
                .insert(text(&change["batch"]));
        }
        let batches: Vec<&str> =
            calls.iter().map(|call| call.comment.strip_prefix("zonefold ").unwrap()).collect();
        let done =
            [&journal["applied"], &journal["found_done"]].into_iter().flatten().map(String::as_str);
        assert_eq!(BTreeSet::from_iter(batches.iter().copied()), done.collect());
        assert_eq!(
            batches.len(),
            journal["applied"].len() + journal["found_done"].len(),
            "a batch was sent twice"
        );
        for state in ["found_done", "not_applied"] {
            let struck: usize = FAULTS
                .iter()
                .filter(|fault| fault.ends_as == state)
                .map(|fault| 3 * fault.times)
                .sum();
            assert_eq!(journal[state].len(), struck, "{state}: {journal:#?}");
        }
    }

    async fn run(&mut self) {
        for fault in &FAULTS {
            self.endure(fault).await;
        }
        self.nothing_was_lost_or_written_twice().await;
    }
}

/// Our emulator's own journal says the same: every batch was applied once, and what it took away was what was there.
fn the_emulator_saw_every_batch_once(emulator: &EmulatorHandle, calls: usize) {
    let control = emulator.control();
    assert_eq!(control.blind_overwrites(), []);
    let ours: Vec<_> =
        control.journal(0).into_iter().filter(|entry| entry.origin == Origin::Request).collect();
    assert_eq!(ours.len(), calls);
    let comments: BTreeSet<_> = ours.iter().map(|entry| entry.comment.clone()).collect();
    assert_eq!(comments.len(), calls);
    let changes: BTreeSet<String> =
        ours.iter().flat_map(|entry| &entry.changes).map(|change| format!("{change:?}")).collect();
    assert_eq!(
        changes.len(),
        ours.iter().map(|entry| entry.changes.len()).sum::<usize>(),
        "a change was made twice"
    );
}

#[tokio::test]
async fn calls_that_are_struck_before_our_emulator_lose_nothing_and_write_nothing_twice() {
    let (emulator, aws) = aws::emulated().await;
    let mut scene = Scene::start(aws, emulator.bound().aws_addr).await;
    scene.run().await;
    the_emulator_saw_every_batch_once(&emulator, scene.witness.calls().len());
    scene.site.finish(&scene.aws).await;
    emulator.stop().await;
}

#[tokio::test]
async fn calls_that_are_struck_before_ministack_lose_nothing_and_write_nothing_twice() {
    let (ministack, aws) = ministack::start().await;
    let mut scene = Scene::start(aws, ministack.address).await;
    scene.run().await;
    scene.site.finish(&scene.aws).await;
}
