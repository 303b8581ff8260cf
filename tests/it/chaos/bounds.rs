//! A stuck part costs a bounded amount, and only itself.

use zonefold::core::ids::AccountId;
use zonefold::emulator::*;

use super::agents::Load;
use super::oracle::{assert_unbroken, one_call_a_zone_at_a_time};
use super::site::{ACCOUNTS, ChaosSite, ZONES_PER_ACCOUNT, is_of};
use crate::support::network::try_get;
use crate::support::wait::eventually;
use crate::support::world::temporary;

/// Rounds of changes that the stuck account cannot take.
const ROUNDS: usize = 15;

/// The value of a metric without labels.
async fn metric(site: &ChaosSite, name: &str) -> i64 {
    let (_, text) = try_get(site.replicas[0].http, "/metrics").await.unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_aws_leaves_hanging_takes_a_call_a_zone_and_delays_no_other_account() {
    let folder = temporary("bounds");
    let site = ChaosSite::on(format!("sqlite:{}", folder.join("broker.db").display()), 1).await;
    let mut load = Load::start(&site, 404_041).await;
    let tasks = metric(&site, "zonefold_tasks").await;
    let stuck = ACCOUNTS[load.random.usize(0..ACCOUNTS.len())];
    let hanging = FaultRule {
        matching: FaultMatch {
            account: Some(AccountId::parse(stuck).unwrap()),
            ..FaultMatch::default()
        },
        times: None,
        effect: FaultEffect::HangBeforeApply {},
    };
    let hanging = site.emulator.control().add_fault(hanging);
    for _ in 0..ROUNDS {
        load.edit();
        load.acked().await;
        load.is_held_where(&site, |owner| !is_of(stuck, owner)).await;
    }
    // The account's task, its calls and their connections; nothing for what is wanted of it.
    let more = metric(&site, "zonefold_tasks").await - tasks;
    assert!(
        more <= 4 * ZONES_PER_ACCOUNT as i64 + 8,
        "{more} tasks wait for the account that hangs"
    );
    site.emulator.control().remove_fault(hanging).unwrap();
    load.comes_true(&site).await;
    one_call_a_zone_at_a_time(&site);
    eventually("no task is left over", async || {
        match metric(&site, "zonefold_tasks").await - tasks {
            ..=8 => Ok(()),
            more => Err(format!("{more} more than before")),
        }
    })
    .await;
    assert_unbroken(&site).await;
    let _ = std::fs::remove_dir_all(folder);
}
