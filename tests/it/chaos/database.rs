//! PostgreSQL is restarted, crashes, and is away for longer than the leases last.

use super::agents::Load;
use super::oracle::{assert_unbroken, one_call_a_zone_at_a_time, one_replica_at_a_time};
use super::site::{ACCOUNTS, REPLICAS, Site};
use crate::support::postgres::{self, Stop};
use crate::support::wait::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_restarted_and_crashes_under_load_loses_nothing() {
    let server = postgres::own(&std::env::temp_dir(), &[]).await;
    let mut site = Site::on(server.database().await, REPLICAS).await;
    let mut load = Load::start(&site, 404_021).await;
    for how in [Stop::Fast, Stop::Immediate] {
        load.goes_on_during(site.called_by_another(ACCOUNTS[0], &[])).await;
        load.goes_on_during(blocking(|| server.stop(how))).await;
        load.edit();
        load.goes_on_during(blocking(|| server.start_again())).await;
        load.comes_true(&site).await;
    }
    // Away until every lease is over by the clock of its holder: nobody calls, agents get no ack, and nothing is lost.
    server.stop(Stop::Immediate);
    load.goes_on_during(async {
        for number in 0..REPLICAS {
            eventually("no replica is ready", async || {
                match crate::support::network::try_get(site.replicas[number].http, "/readyz").await {
                    Ok((200, body)) => Err(body),
                    _ => Ok(()),
                }
            })
            .await;
        }
    })
    .await;
    assert!(load.waits_for_acks(), "something was acked that no database has");
    server.start_again();
    let balanced = (0..REPLICAS).collect::<Vec<_>>();
    site.restart_ended().await;
    site.balance_over(&balanced);
    load.comes_true(&site).await;
    one_replica_at_a_time(&site, 0).await;
    one_call_a_zone_at_a_time(&site);
    load.survives_everybody(&mut site).await;
    assert_unbroken(&site).await;
}

/// Work that blocks its thread, while others go on.
async fn blocking(work: impl FnOnce()) {
    tokio::task::block_in_place(work);
}
