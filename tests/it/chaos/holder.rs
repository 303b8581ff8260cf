//! The replica that manages an account dies, or is stopped for longer than its lease.

use super::agents::Load;
use super::oracle::{assert_unbroken, one_call_a_zone_at_a_time, one_replica_at_a_time};
use super::site::{ACCOUNTS, ChaosSite, REPLICAS, ZONES_PER_ACCOUNT};
use crate::support::wait::eventually;

const KILLS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_is_killed_under_load_is_followed_and_nothing_acked_is_lost() {
    let mut site = ChaosSite::start().await;
    let mut load = Load::start(&site, 404_001).await;
    for _ in 0..KILLS {
        let account = ACCOUNTS[load.random.usize(0..ACCOUNTS.len())];
        let holder = load.goes_on_during(site.called_by_another(account, &[])).await;
        site.kill(holder).await;
        load.goes_on_during(site.called_by_another(account, &[holder])).await;
        load.goes_on_during(site.revive(holder)).await;
    }
    load.comes_true(&site).await;
    one_replica_at_a_time(&site, 0).await;
    one_call_a_zone_at_a_time(&site);
    load.survives_everybody(&mut site).await;
    one_replica_at_a_time(&site, 0).await;
    assert_unbroken(&site).await;
}

/// The surroundings of a replica that goes on after its lease is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waking {
    /// The database, which says who holds what now.
    Connected,
    /// Nothing: what it may do is left to its own clock.
    CutOff,
}

async fn stopped_past_its_lease(waking: Waking, seed: u64) {
    let mut site = ChaosSite::start().await;
    let mut load = Load::start(&site, seed).await;
    let account = ACCOUNTS[load.random.usize(0..ACCOUNTS.len())];
    let holder = load.goes_on_during(site.called_by_another(account, &[])).await;
    let others: Vec<usize> = (0..REPLICAS).filter(|number| *number != holder).collect();
    site.process(holder).signal("STOP");
    // Messages from agents that it has not read reach it when it wakes, over sessions that are older than those of then.
    load.edit();
    site.balance_over(&others);
    load.goes_on_during(site.called_by_another(account, &[holder])).await;
    load.comes_true(&site).await;
    let calls_before: u64 = calls_of(&site, holder);

    if waking == Waking::CutOff {
        site.replicas[holder].to_store.cut();
    }
    site.process(holder).signal("CONT");
    if waking == Waking::CutOff {
        site.process(holder).line("it notices that the store is away", is_about_the_store).await;
        load.comes_true(&site).await;
        let late = calls_of(&site, holder) - calls_before;
        assert!(
            late <= (ACCOUNTS.len() * ZONES_PER_ACCOUNT) as u64,
            "12: {late} calls of a replica without a lease"
        );
        site.replicas[holder].to_store.heal();
    }
    // It is one of three again: it takes its share, or ends itself and is started again.
    site.balance_over(&[0, 1, 2]);
    load.goes_on_during(rejoins(&mut site, holder)).await;
    load.comes_true(&site).await;
    one_replica_at_a_time(&site, ZONES_PER_ACCOUNT).await;
    assert_unbroken(&site).await;
}

fn is_about_the_store(line: &serde_json::Value) -> bool {
    line["level"] != "DEBUG" && line["message"].as_str().is_some_and(|text| text.contains("store"))
}

/// The calls of a replica to all accounts by now.
fn calls_of(site: &ChaosSite, number: usize) -> u64 {
    let runs = ACCOUNTS.into_iter().flat_map(|account| site.runs(account));
    runs.filter(|(replica, _)| *replica == number).map(|(_, run)| run.calls).sum()
}

/// Waits until a replica manages an account under a lease of its own again.
async fn rejoins(site: &mut ChaosSite, number: usize) {
    if site.has_ended(number) {
        site.revive(number).await;
    }
    let site = &*site;
    eventually(&format!("replica {number} works an account again"), async || {
        let last: Vec<_> = ACCOUNTS.map(|account| site.last_caller(account)).to_vec();
        if last.contains(&Some(number)) {
            Ok(())
        } else {
            Err(format!("{last:?}\n{}", site.words()))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_wakes_up_after_its_lease_is_fenced() {
    stopped_past_its_lease(Waking::Connected, 404_002).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_wakes_up_alone_knows_by_its_own_clock_that_its_lease_is_over() {
    stopped_past_its_lease(Waking::CutOff, 404_003).await;
}
