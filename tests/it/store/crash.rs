//! An acknowledged unit survives a process that is killed while it commits.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use super::*;

const ADDRESS: &str = "ZONEFOLD_TEST_CRASH_STORE";
const UNIT_OPS: usize = 25;

/// One cluster of the child's rounds; each has a name of its own.
fn round_cluster(round: usize) -> ClusterId {
    cluster(&format!("round-{round}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_a_kill_is_there_after_it() {
    let place = Place::sqlite();
    let mut acknowledged = BTreeMap::new();
    for (round, kill_after) in [1, 7, 30].into_iter().enumerate() {
        acknowledged.insert(
            round,
            tokio::task::block_in_place(|| run_and_kill(&place.url, round, kill_after)),
        );
    }
    let store = place.open().await;
    let rows = store.endpoints(0, 1_000_000).await.unwrap();
    for (round, units) in acknowledged {
        let own = rows.iter().filter(|row| row.cluster == round_cluster(round)).count();
        assert!(
            own >= units * UNIT_OPS,
            "round {round}: {units} units were acknowledged, {own} endpoints are there"
        );
        assert_eq!(own % UNIT_OPS, 0, "round {round}: a unit is there whole or not at all");
    }
}

/// Kills the child with SIGKILL after some acknowledgements; answers how many it gave until it was dead.
fn run_and_kill(url: &str, round: usize, kill_after: usize) -> usize {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "store::crash::child_that_commits_until_it_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(ADDRESS, format!("{round} {url}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut acknowledged = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if line.unwrap().ends_with("acknowledged") {
            acknowledged += 1;
            if acknowledged == kill_after {
                child.kill().unwrap();
            }
        }
    }
    assert!(!child.wait().unwrap().success(), "the child is killed and does not end by itself");
    acknowledged
}

#[tokio::test]
#[ignore = "the child process of the test above; alone it has nothing to do"]
async fn child_that_commits_until_it_is_killed() {
    let Ok(task) = std::env::var(ADDRESS) else { return };
    let (round, url) = task.split_once(' ').unwrap();
    let store = open(&url.parse().unwrap(), &StoreOptions::default()).await.unwrap();
    let own = round_cluster(round.parse().unwrap());
    let epoch = session(&*store, &own).await;
    for number in 0.. {
        let ops =
            (0..UNIT_OPS).map(|op| put(endpoint(number * UNIT_OPS + op, "192.0.2.1"))).collect();
        commit(&*store, &own, epoch, ops).await;
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(b"\nacknowledged\n").unwrap();
        stdout.flush().unwrap();
    }
}
