//! PostgreSQL is restarted, crashes, and is away for longer than the leases last.

use super::agents::Load;
use super::oracle::{assert_unbroken, one_call_a_zone_at_a_time, one_replica_at_a_time};
use super::site::{ACCOUNTS, ChaosSite, REPLICAS};
use crate::support::postgres::{self, Stop};
use crate::support::wait::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_restarted_and_crashes_under_load_loses_nothing() {
    let server = postgres::own(&std::env::temp_dir(), &[]).await;
    let mut site = ChaosSite::on(server.database().await, REPLICAS).await;
    let mut load = Load::start(&site, 404_021).await;
    for how in [Stop::Fast, Stop::Immediate] {
        load.goes_on_during(site.called_by_another(ACCOUNTS[0], &[])).await;
        load.goes_on_during(blocking(|| server.stop(how))).await;
        load.edit();
        load.goes_on_during(blocking(|| server.start_again())).await;
        load.comes_true(&site).await;
    }
    // Away until every lease is over by the clock of its holder: no replica calls, agents get no ack, and nothing is lost.
    let lost_before = leases_lost(&mut site);
    server.stop(Stop::Immediate);
    load.goes_on_during(async {
        eventually("every lease is over", async || match leases_lost(&mut site) - lost_before {
            lost if lost >= ACCOUNTS.len() => Ok(()),
            lost => Err(format!("{lost} of them\n{}", site.words())),
        })
        .await;
    })
    .await;
    let made = calls(&site);
    load.edit();
    eventually("an agent waits for its ack", async || {
        load.waits_for_acks().then_some(()).ok_or_else(String::new)
    })
    .await;
    assert_eq!(calls(&site), made, "12: somebody calls without a lease");
    server.start_again();
    site.restart_ended().await;
    load.comes_true(&site).await;
    one_replica_at_a_time(&site, 0).await;
    one_call_a_zone_at_a_time(&site);
    load.survives_everybody(&mut site).await;
    assert_unbroken(&site).await;
}

/// How many leases replicas say that they have lost.
fn leases_lost(site: &mut ChaosSite) -> usize {
    let is_loss = |line: &serde_json::Value| {
        line["message"].as_str().is_some_and(|text| text.contains("lease of the account was lost"))
    };
    (0..REPLICAS)
        .map(|number| site.process(number).log().iter().filter(|line| is_loss(line)).count())
        .sum()
}

/// All calls of Route 53 by now.
fn calls(site: &ChaosSite) -> u64 {
    site.emulator.control().counters().accounts.values().map(|account| account.requests).sum()
}

/// Work that blocks its thread, while others go on.
async fn blocking(work: impl FnOnce()) {
    tokio::task::block_in_place(work);
}

/// PostgreSQL has moved to another machine behind the same address: what is sent over the old connections is lost, without any
/// sign. A replica that waited for TCP to notice would be away for a quarter of an hour.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_whose_connections_fall_silent_for_ever_is_found_over_new_ones() {
    let mut site = ChaosSite::start().await;
    let mut load = Load::start(&site, 404_022).await;
    load.goes_on_during(site.called_by_another(ACCOUNTS[0], &[])).await;
    site.replicas.iter().for_each(|replica| replica.to_store.strand());
    load.edit();
    load.comes_true(&site).await;
    one_replica_at_a_time(&site, 0).await;
    load.survives_everybody(&mut site).await;
    assert_unbroken(&site).await;
}
