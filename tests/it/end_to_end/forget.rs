//! `zonefold cluster forget`: the records of a cluster that is gone for good go, and no others.

use zonefold::adapters::store::is_in_use;
use zonefold::app::forget;
use zonefold::cli::cluster::ForgetArgs;
use zonefold::core::ids::ClusterId;

use crate::support::world::{Plan, World, broker_config};

/// Waits until the store is closed: the pool of a broker that stopped closes its connections behind that.
async fn is_free(world: &World) {
    let url = format!("sqlite:{}", world.data.join("broker.db").display()).parse().unwrap();
    let free = async {
        while is_in_use(&url).await.unwrap() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), free).await.unwrap();
}

/// The output of the command for a cluster of a world; `registered` are those of its configuration.
async fn forget(
    world: &World,
    registered: &[&'static str],
    cluster: &str,
    yes: bool,
) -> anyhow::Result<()> {
    let plan = Plan { clusters: registered.to_vec(), ..Plan::default() };
    let config = world.data.join("broker.yaml");
    std::fs::write(&config, broker_config(&plan, &world.data).to_string()).unwrap();
    let name = ClusterId::parse(cluster).unwrap();
    forget::run(ForgetArgs { name, config, store: None, yes }).await.map(drop)
}

fn refusal(result: anyhow::Result<()>) -> String {
    format!("{:#}", result.unwrap_err())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_records_of_a_cluster_that_an_operator_forgets_are_deleted_at_the_next_start() {
    let mut world = World::start(Plan::default()).await;
    let (east, west) = (world.cluster("east").await, world.cluster("west").await);
    east.wants(
        "a",
        &[("a.example.com", "A", &["192.0.2.1"]), ("b.example.com", "A", &["192.0.2.1"])],
    );
    west.wants("w", &[("w.example.com", "A", &["192.0.2.2"])]);
    let there = |world: &World, name: &str| world.record(name, "A").is_some();
    world
        .until("all is published", |world| {
            ["a.example.com", "b.example.com", "w.example.com"].iter().all(|n| there(world, n))
        })
        .await;
    world.wait_idle().await;
    east.stop().await;
    let refused = refusal(forget(&world, &["west"], "east", true).await);
    assert!(refused.contains("stop it first"), "a broker uses the file: {refused}");
    world.stop_broker().await;
    is_free(&world).await;

    let refused = refusal(forget(&world, &["east", "west"], "east", true).await);
    assert!(refused.contains("take it out of `clusters` first"), "{refused}");
    let refused = refusal(forget(&world, &["west"], "esat", true).await);
    assert!(refused.contains("the store knows east, west"), "{refused}");
    forget(&world, &["west"], "east", false).await.unwrap();
    world.register(&["west"]);
    world.start_broker().await;
    world.wait_idle().await;
    assert!(there(&world, "a.example.com"), "it was only looked at");
    world.stop_broker().await;
    is_free(&world).await;

    forget(&world, &["west"], "east", true).await.unwrap();
    world.start_broker().await;
    world
        .until("its records are deleted", |world| {
            !there(world, "a.example.com") && !there(world, "b.example.com")
        })
        .await;
    assert!(there(&world, "w.example.com"));
    west.stop().await;
    world.stop().await;
}
