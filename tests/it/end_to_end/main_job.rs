//! The main job, end to end with real parts: manifests in, records out, on each store, against our emulator and against one
//! that is not ours.

use zonefold::emulator::{ChangeAction, EmulatorHandle, Origin};

use crate::support::aws::{self, Aws, DEV_ZONE};
use crate::support::deployment::{Deployment, configuration, sqlite};
use crate::support::folder::TestFolder;
use crate::support::manifests::service;
use crate::support::network::dig;
use crate::support::wait::eventually_equal;
use crate::support::{ministack, postgres};

const APP: &str = "app.dev.example.com";
const SHARED: &str = "shared.dev.example.com";

#[derive(Clone, Copy)]
enum Database {
    Sqlite,
    Postgres,
}

async fn start(aws: &Aws, database: Database) -> Deployment {
    let folder = TestFolder::new();
    let store = match database {
        Database::Sqlite => sqlite(&folder),
        Database::Postgres => postgres::database().await,
    };
    let configuration = configuration(&folder, &store, aws.configured());
    Deployment::start(folder, aws, &configuration).await
}

fn answer(address: &str) -> aws::Answer {
    Some((60, vec![address.to_owned()]))
}

/// A written manifest is published, an edited one updated, a deleted one removed, each in the account of its environment.
async fn records_follow_manifests(aws: &Aws, site: &mut Deployment) {
    let shop = "shop.prod.example.com";
    site.agent("dev-east", &[("app.yaml", service("app", APP, "192.0.2.10"))]).await;
    site.agent("prod-east", &[("shop.yaml", service("shop", shop, "203.0.113.10"))]).await;
    assert_eq!(site.applied("dev-east", "app", "A").await["zone_name"], DEV_ZONE);
    site.applied("prod-east", "shop", "A").await;
    assert_eq!(aws.answer("dev", APP, "A").await, answer("192.0.2.10"));
    assert_eq!(aws.answer("prod", shop, "A").await, answer("203.0.113.10"));

    site.write("dev-east", "app.yaml", &service("app", APP, "192.0.2.99"));
    eventually_equal("the edit arrives", answer("192.0.2.99"), async || {
        aws.answer("dev", APP, "A").await
    })
    .await;

    site.remove("dev-east", "app.yaml");
    eventually_equal("the deletion arrives", None, async || aws.answer("dev", APP, "A").await)
        .await;
    assert_eq!(aws.answer("prod", shop, "A").await, answer("203.0.113.10"));
}

/// Two clusters want one name: the second's status names the owner, and it takes over when the first gives the name up.
async fn a_contested_name_passes_on(aws: &Aws, site: &mut Deployment) {
    site.write("dev-east", "shared.yaml", &service("shared", SHARED, "192.0.2.10"));
    site.applied("dev-east", "shared", "A").await;
    site.agent("dev-west", &[("shared.yaml", service("shared", SHARED, "198.51.100.10"))]).await;
    let waiting =
        site.status("dev-west", "shared", "A", |status| status["verdict"] == "waiting").await;
    assert_eq!(waiting["reason"], "NAME_HELD", "{waiting}");
    assert!(
        waiting["message"].as_str().unwrap().contains("held by the cluster dev-east"),
        "{waiting}"
    );
    assert_eq!(aws.answer("dev", SHARED, "A").await, answer("192.0.2.10"));

    site.remove("dev-east", "shared.yaml");
    site.applied("dev-west", "shared", "A").await;
    assert_eq!(aws.answer("dev", SHARED, "A").await, answer("198.51.100.10"));
}

/// The emulator's journal: the name was there from its first record on, and changed hands in one batch.
fn the_name_never_left_a_gap(emulator: &EmulatorHandle) {
    let shared = format!("{SHARED}.");
    let mut hand_overs = 0;
    let mut present = false;
    for entry in emulator.control().journal(0) {
        let changes: Vec<_> = entry
            .changes
            .iter()
            .filter(|change| {
                change.before.iter().chain(&change.after).any(|set| set.name.as_str() == shared)
            })
            .collect();
        let Some(last) = changes.last() else { continue };
        assert!(last.after.is_some() || !present, "{SHARED} was gone after batch {}", entry.number);
        present = true;
        let actions: Vec<_> = changes.iter().map(|change| change.action).collect();
        hand_overs += usize::from(actions == [ChangeAction::Delete, ChangeAction::Create]);
    }
    assert_eq!(hand_overs, 1);
}

/// Every write was ours, made with the role of the account, and overwrote nothing blindly.
fn every_batch_came_from_the_role(emulator: &EmulatorHandle) {
    let control = emulator.control();
    assert_eq!(control.blind_overwrites(), []);
    let journal = control.journal(0);
    assert!(!journal.is_empty());
    for entry in journal {
        let role = format!("arn:aws:sts::{}:assumed-role/zonefold/", entry.account);
        assert_eq!(entry.origin, Origin::Request);
        assert!(entry.principal.starts_with(&role), "{}", entry.principal);
    }
    for (account, counters) in control.counters().accounts {
        assert_eq!(counters.throttled, 0, "{account}: {counters:?}");
    }
}

async fn against_our_emulator(database: Database) {
    let (emulator, aws) = aws::emulated().await;
    let mut site = start(&aws, database).await;
    records_follow_manifests(&aws, &mut site).await;
    a_contested_name_passes_on(&aws, &mut site).await;
    let dns = emulator.bound().dns_addr.unwrap();
    eventually_equal("DNS answers with it", vec!["198.51.100.10".to_owned()], async || {
        dig(dns, SHARED, "A").await
    })
    .await;
    assert_eq!(dig(dns, APP, "A").await, Vec::<String>::new());
    the_name_never_left_a_gap(&emulator);
    every_batch_came_from_the_role(&emulator);
    assert!(
        !aws.tap.secrets().is_empty(),
        "no session was handed out, so its secrets were not looked for"
    );
    site.finish(&aws).await;
    emulator.stop().await;
}

#[tokio::test]
async fn the_main_job_on_sqlite_against_our_emulator() {
    against_our_emulator(Database::Sqlite).await;
}

#[tokio::test]
async fn the_main_job_on_postgresql_against_our_emulator() {
    against_our_emulator(Database::Postgres).await;
}

async fn against_ministack(database: Database) {
    let (_ministack, aws) = ministack::start().await;
    let mut site = start(&aws, database).await;
    records_follow_manifests(&aws, &mut site).await;
    a_contested_name_passes_on(&aws, &mut site).await;
    assert!(
        !aws.tap.secrets().is_empty(),
        "no session was handed out, so its secrets were not looked for"
    );
    site.finish(&aws).await;
}

#[tokio::test]
async fn the_main_job_on_sqlite_against_ministack() {
    against_ministack(Database::Sqlite).await;
}

#[tokio::test]
async fn the_main_job_on_postgresql_against_ministack() {
    against_ministack(Database::Postgres).await;
}

/// Starts a broker whose dev account is reached wrongly: it is parked with `reason`, prod goes on, and nothing is written.
async fn a_wrong_way_parks_the_account(aws: &Aws, wrong: (&str, &str), reason: &str) {
    let folder = TestFolder::new();
    let mut accounts = aws.configured();
    accounts[0][wrong.0] = wrong.1.into();
    let configuration = configuration(&folder, &sqlite(&folder), accounts);
    let mut site = Deployment::start(folder, aws, &configuration).await;
    site.agent("dev-east", &[("app.yaml", service("app", APP, "192.0.2.10"))]).await;
    site.agent(
        "prod-east",
        &[("shop.yaml", service("shop", "shop.prod.example.com", "203.0.113.10"))],
    )
    .await;
    let parked = site.broker.says("account parked, nothing is written").await;
    let message = parked["message"].as_str().unwrap();
    assert!(message.contains(reason) && message.contains("external_id"), "{message}");
    assert_eq!(parked["account"], aws::DEV);
    site.applied("prod-east", "shop", "A").await;
    assert_eq!(aws::names_beside_the_apex(aws, "dev").await, Vec::<String>::new(), "{DEV_ZONE}");
    site.remove("prod-east", "shop.yaml");
    eventually_equal("prod is empty again", None, async || {
        aws.answer("prod", "shop.prod.example.com", "A").await
    })
    .await;
    site.finish(aws).await;
}

const WRONG_EXTERNAL_ID: (&str, &str) = ("external_id", "external-id-of-somebody-else");
const WRONG_ROLE: (&str, &str) = ("role_arn", "arn:aws:iam::111111111111:role/nobody");

#[tokio::test]
async fn a_wrong_way_into_an_account_parks_it_at_our_emulator() {
    let (emulator, aws) = aws::emulated().await;
    a_wrong_way_parks_the_account(&aws, WRONG_EXTERNAL_ID, &aws::role(aws::DEV)).await;
    a_wrong_way_parks_the_account(&aws, WRONG_ROLE, WRONG_ROLE.1).await;
    emulator.stop().await;
}

#[tokio::test]
async fn a_wrong_way_into_an_account_parks_it_at_ministack() {
    let (_ministack, aws) = ministack::start().await;
    a_wrong_way_parks_the_account(&aws, WRONG_EXTERNAL_ID, &aws::role(aws::DEV)).await;
    a_wrong_way_parks_the_account(&aws, WRONG_ROLE, WRONG_ROLE.1).await;
}
