//! The network between a replica and the database, or between a replica and AWS, fails.

use super::agents::Load;
use super::oracle::{assert_unbroken, one_call_a_zone_at_a_time, one_replica_at_a_time};
use super::site::{ACCOUNTS, ChaosSite, REPLICAS};
use crate::support::wait::eventually;

/// How a way fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// Connections break, and new ones are refused.
    Cut,
    /// Packets are lost: connections stay open and nothing comes.
    Silence,
}

/// A replica that cannot reach the database may not manage any account when its lease is over, whatever AWS would accept.
async fn away_from_the_database(failure: Failure, seed: u64) {
    let mut site = ChaosSite::start().await;
    let mut load = Load::start(&site, seed).await;
    let account = ACCOUNTS[load.random.usize(0..ACCOUNTS.len())];
    let holder = load.goes_on_during(site.called_by_another(account, &[])).await;
    let others: Vec<usize> = (0..REPLICAS).filter(|number| *number != holder).collect();
    match failure {
        Failure::Cut => site.replicas[holder].to_store.cut(),
        Failure::Silence => site.replicas[holder].to_store.hold(),
    }
    site.balance_over(&others);
    load.goes_on_during(site.called_by_another(account, &[holder])).await;
    load.comes_true(&site).await;
    // All of the account's calls before the fail-over are of one replica and all after it of another.
    one_replica_at_a_time(&site, 0).await;
    site.replicas[holder].to_store.heal();
    site.balance_over(&[0, 1, 2]);
    load.goes_on_during(async {
        let site = &mut site;
        eventually("the replica is ready again", async || {
            // Away for too long it ends itself, to be started again.
            site.restart_ended().await;
            let answer =
                crate::support::network::try_get(site.replicas[holder].http, "/readyz").await;
            if matches!(answer, Ok((200, _))) { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
    })
    .await;
    load.comes_true(&site).await;
    one_replica_at_a_time(&site, 0).await;
    one_call_a_zone_at_a_time(&site);
    load.survives_everybody(&mut site).await;
    assert_unbroken(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_is_cut_off_from_the_database_stops_calling_before_another_starts() {
    away_from_the_database(Failure::Cut, 404_011).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_hears_nothing_of_the_database_stops_calling_before_another_starts() {
    away_from_the_database(Failure::Silence, 404_012).await;
}

/// A replica that cannot reach AWS keeps its lease, since it lives: its accounts wait for the network, and only they.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_were_lost_between_a_holder_and_aws_are_read_back_and_come_late_without_harm() {
    let mut site = ChaosSite::start().await;
    let mut load = Load::start(&site, 404_013).await;
    for failure in [Failure::Silence, Failure::Cut] {
        let account = ACCOUNTS[load.random.usize(0..ACCOUNTS.len())];
        let holder = load.goes_on_during(site.called_by_another(account, &[])).await;
        match failure {
            Failure::Cut => site.replicas[holder].to_aws.cut(),
            Failure::Silence => site.replicas[holder].to_aws.hold(),
        }
        // It has noticed: a call has had no answer.
        let unanswered =
            |line: &serde_json::Value| line["level"] == "WARN" || line["level"] == "INFO";
        load.goes_on_during(site.process(holder).line("a call has no answer", |line| {
            unanswered(line)
                && line["message"]
                    .as_str()
                    .is_some_and(|text| text.contains("answer") || text.contains("call"))
        }))
        .await;
        // The calls that were held reach AWS now, after their caller gave them up.
        site.replicas[holder].to_aws.heal();
        load.comes_true(&site).await;
    }
    one_replica_at_a_time(&site, 0).await;
    load.survives_everybody(&mut site).await;
    assert_unbroken(&site).await;
}
