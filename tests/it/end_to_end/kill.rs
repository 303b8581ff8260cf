//! kill -9 of the broker at random moments under load, again and again: each time it comes back to the right state.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use zonefold::core::dns::name::DnsName;
use zonefold::emulator::*;

use crate::support::foreign::{foreign_records, write_foreign};
use crate::support::network::free_address;
use crate::support::seed::seeded;
use crate::support::world::{
    Cluster, KEY, Plan, SECRET, broker_config, emulator_config, temporary,
};

const KILLS: usize = 50;
const NAMES: usize = 40;
const CLUSTERS: [&str; 3] = ["east", "north", "west"];
const DEADLINE: Duration = Duration::from_secs(60);

fn start_broker(config: &Path, emulator: &EmulatorHandle, log: &Path) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    Command::new(env!("CARGO_BIN_EXE_zonefold"))
        .args(["broker", "--config"])
        .arg(config)
        .env("AWS_ENDPOINT_URL", emulator.endpoint_url())
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_REGION", "us-east-1")
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// The wishes of each cluster: its own names, so that what is right is known without deciding who was first.
type Wanted = BTreeMap<&'static str, BTreeMap<String, String>>;

/// Our records in Route 53, by owner name.
fn held(emulator: &EmulatorHandle) -> BTreeMap<String, String> {
    let control = emulator.control();
    let zones = control.zones();
    let sets = zones.iter().flat_map(|zone| control.records(&zone.id, View::Accepted).unwrap());
    let ours = sets.filter(|set| set.rtype == "A" && !set.name.starts_with("foreign"));
    ours.map(|set| (DnsName::parse(&set.name).unwrap().to_string(), set.values[0].to_string()))
        .collect()
}

async fn converges(emulator: &EmulatorHandle, wanted: &Wanted, round: usize, log: &Path) {
    let expected: BTreeMap<String, String> =
        wanted.values().flatten().map(|(owner, target)| (owner.clone(), target.clone())).collect();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let held = held(emulator);
        if held == expected {
            return;
        }
        if tokio::time::Instant::now() > deadline {
            let log = std::fs::read_to_string(log).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            let differs: Vec<_> = expected
                .iter()
                .filter(|(owner, target)| held.get(*owner) != Some(target))
                .take(5)
                .collect();
            panic!(
                "round {round}: it never came to what is wanted; {} held, {} wanted, differs {differs:?}\n{}",
                held.len(),
                expected.len(),
                tail.into_iter().rev().collect::<Vec<_>>().join("\n")
            );
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn edit(wanted: &mut Wanted, random: &mut fastrand::Rng, round: usize) {
    for (index, names) in wanted.values_mut().enumerate() {
        for _ in 0..random.usize(5..25) {
            let at = random.usize(0..NAMES);
            // Half of the names lie in each zone.
            let apex = if at.is_multiple_of(2) { "example.com" } else { "example.org" };
            let owner = format!("c{index}-{at}.{apex}");
            if random.u8(0..4) == 0 {
                names.remove(&owner);
            } else {
                names.insert(owner, format!("10.{index}.{}.{}", round % 250, random.u8(1..250)));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_fifty_times_under_load_it_comes_back_to_the_right_state() {
    let mut random = seeded(909_101);
    let plan = Plan {
        zones: vec!["example.com", "example.org"],
        clusters: CLUSTERS.to_vec(),
        process_ms: 30,
        ..Plan::default()
    };
    let data = temporary("kill");
    let emulator = Emulator::start(emulator_config(&plan)).await.unwrap();
    // Calls take a while, so that many a kill falls between a call and its answer.
    let slow = FaultRule {
        matching: FaultMatch {
            action: Some(Action::ChangeResourceRecordSets),
            ..FaultMatch::default()
        },
        times: None,
        effect: FaultEffect::Latency { min_ms: 0, max_ms: 120 },
    };
    emulator.control().add_fault(slow);
    let foreign = write_foreign(&emulator.control(), 10);

    let (grpc, http) = (free_address(), free_address());
    let mut config = broker_config(&plan, &data);
    config["listen"] = serde_json::json!({ "grpc": grpc, "http": http });
    let (config_path, log) = (data.join("broker.yaml"), data.join("broker.log"));
    std::fs::write(&config_path, config.to_string()).unwrap();

    let mut wanted: Wanted =
        CLUSTERS.into_iter().map(|cluster| (cluster, BTreeMap::new())).collect();
    for round in 0..=KILLS {
        let mut broker = start_broker(&config_path, &emulator, &log);
        let mut clusters = vec![];
        for cluster in CLUSTERS {
            clusters.push(Cluster::start(cluster, grpc, &data.join(cluster)).await);
        }
        if round > 0 {
            converges(&emulator, &wanted, round, &log).await;
        }
        edit(&mut wanted, &mut random, round);
        for cluster in &clusters {
            cluster.wants_addresses("many", &wanted[cluster_name(cluster)]);
        }
        if round == KILLS {
            converges(&emulator, &wanted, round, &log).await;
            break;
        }
        // The moment of the kill is drawn, not waited for: from before the edits are seen to after they are all applied.
        tokio::time::sleep(Duration::from_millis(random.u64(100..900))).await;
        broker.start_kill().unwrap();
        broker.wait().await.unwrap();
    }
    assert_oracle(&emulator, &foreign);
    let text = std::fs::read_to_string(&log).unwrap();
    println!(
        "{} batches read back after a kill",
        text.matches("the outcome of a batch was read back").count()
    );
    assert!(!text.contains(SECRET), "the secret key is in the log");
    let _ = std::fs::remove_dir_all(&data);
}

fn cluster_name(cluster: &Cluster) -> &str {
    cluster.folder.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap()
}

/// Checks what the emulator saw, whatever the broker believes of itself.
fn assert_oracle(emulator: &EmulatorHandle, foreign: &[(String, String)]) {
    let control = emulator.control();
    assert_eq!(foreign_records(&control), foreign, "a foreign record was touched");
    let mut made: HashSet<String> = HashSet::new();
    let ours = control.journal(0).into_iter().filter(|entry| entry.origin == Origin::Request);
    let mut batches = 0;
    for change in ours.inspect(|_| batches += 1).flat_map(|entry| entry.changes) {
        assert_ne!(
            change.action,
            ChangeAction::Upsert,
            "a write without a precondition: {change:?}"
        );
        if let Some(before) = &change.before {
            assert!(
                made.contains(&format!("{before:?}")),
                "what was deleted was not what we had made: {change:?}"
            );
        }
        if let Some(after) = &change.after {
            made.insert(format!("{after:?}"));
        }
    }
    for (account, counters) in control.counters().accounts {
        assert_eq!(counters.overdrawn, 0, "a bucket of {account} was overdrawn: {counters:?}");
    }
    println!("{batches} batches, {} states of records", made.len());
}
