//! Several replicas on one PostgreSQL: which accounts each manages, what each tells the others, and what happens when one goes.
//!
//! Each replica has a runtime of its own, so one can be stopped in the middle of whatever it does, like a process.

mod site;

use std::time::Duration;

use tokio::time::Instant;
use zonefold::wire::v1::welcome::Mode;

use crate::stream::{Raw, UID, endpoint};
use crate::support::wait::eventually;
use crate::support::world::{Cluster, TOKEN};
pub use site::quick as quick_leases;
use site::{DEV, PROD, ReplicaSite, quick};

/// A wish of one address.
fn wish<'a>(owner: &'a str, targets: &'a [&'a str]) -> [(&'a str, &'a str, &'a [&'a str]); 1] {
    [(owner, "A", targets)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_share_the_accounts_and_each_serves_every_cluster() {
    let mut site = ReplicaSite::new(quick()).await;
    let first = site.start().await;
    site.until("the first replica works both accounts", |site| {
        site.holders() == [Some(first), Some(first)]
    })
    .await;
    let second = site.start().await;
    site.until("each works one", |site| {
        site.holders().iter().flatten().count() == 2 && site.holders()[0] != site.holders()[1]
    })
    .await;
    // Each cluster's agent is at the replica that does not manage its account.
    for (cluster, account, owner) in
        [("east", DEV, "www.example.com"), ("west", PROD, "www.example.net")]
    {
        let holder = site.holder(account).unwrap();
        let other = if holder == first { second } else { first };
        let agent = Cluster::start(cluster, site.replica(other).grpc, &site.home(cluster)).await;
        agent.wants("web", &wish(owner, &["192.0.2.1"]));
        site.until("the record is there", |site| site.values(owner) == ["192.0.2.1"]).await;
        site.until("the agent is told", |_| {
            agent.agent.read(|state| state.statuses.iter().any(|status| site::is_applied(&status)))
        })
        .await;
        agent.wants("web", &wish(owner, &["192.0.2.2"]));
        site.until("the edit arrives", |site| site.values(owner) == ["192.0.2.2"]).await;
        agent.delete("web");
        site.until("the deletion arrives", |site| site.values(owner).is_empty()).await;
        let worker = site.replica(holder).principal();
        let batches = site.batches(account);
        assert!(
            batches.len() == 3 && batches.iter().all(|batch| batch.principal.ends_with(&worker)),
            "{worker}: {batches:#?}"
        );
        agent.stop().await;
    }
    site.assert_clean();
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i12_a_replica_that_stops_hands_its_accounts_over_at_once() {
    // A lease that is not given back would be waited for until the test's deadline has passed.
    let mut site = ReplicaSite::new(zonefold::broker::lease::LeaseTiming {
        ttl: Duration::from_secs(300),
        ..quick()
    })
    .await;
    let first = site.start().await;
    let second = site.start().await;
    site.until("both accounts are worked", |site| site.holders() == [Some(first), Some(first)])
        .await;
    let agent = Cluster::start("east", site.replica(second).grpc, &site.home("east")).await;
    agent.wants("web", &wish("www.example.com", &["192.0.2.1"]));
    site.until("the record is there", |site| site.values("www.example.com") == ["192.0.2.1"]).await;
    site.stop_replica(first).await;
    site.until("the other works both", |site| site.holders() == [Some(second), Some(second)]).await;
    agent.wants("web", &wish("www.example.com", &["192.0.2.2"]));
    site.until("the edit arrives", |site| site.values("www.example.com") == ["192.0.2.2"]).await;
    agent.stop().await;
    site.assert_clean();
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i12_a_replica_that_dies_is_replaced_when_its_leases_run_out_and_not_before() {
    let mut site = ReplicaSite::new(quick()).await;
    let first = site.start().await;
    let second = site.start().await;
    site.until("each works one", |site| {
        site.holders().iter().flatten().count() == 2 && site.holders()[0] != site.holders()[1]
    })
    .await;
    let agents = [
        Cluster::start("east", site.replica(second).grpc, &site.home("east")).await,
        Cluster::start("west", site.replica(second).grpc, &site.home("west")).await,
    ];
    let mut versions = 0..;
    let mut publish = |agents: &[Cluster; 2]| {
        let target = format!("192.0.2.{}", versions.next().unwrap());
        agents[0].wants("web", &wish("www.example.com", &[target.as_str()]));
        agents[1].wants("web", &wish("www.example.net", &[target.as_str()]));
        target
    };
    let target = publish(&agents);
    site.until("both are there", |site| {
        ["www.example.com", "www.example.net"].iter().all(|n| site.values(n) == [target.clone()])
    })
    .await;
    let (killed_at, dead) = (Instant::now(), site.replica(first).principal());
    site.kill(first);
    let target = publish(&agents);
    site.until("both arrive", |site| {
        ["www.example.com", "www.example.net"].iter().all(|n| site.values(n) == [target.clone()])
    })
    .await;
    let took = killed_at.elapsed();
    assert!(took < quick().ttl + Duration::from_secs(8), "{took:?}");
    for account in [DEV, PROD] {
        // Once another has written, the dead one writes no more.
        let writers: Vec<bool> =
            site.batches(account).iter().map(|batch| batch.principal.ends_with(&dead)).collect();
        assert!(writers.is_sorted_by(|a, b| a >= b), "{account}: {writers:?}");
    }
    site.assert_clean();
    for agent in agents {
        agent.stop().await;
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_moves_to_another_replica_resumes_there() {
    let mut site = ReplicaSite::new(quick()).await;
    let (first, second) = (site.start().await, site.start().await);
    let mut held = vec![endpoint("one", "192.0.2.1"), endpoint("two", "192.0.2.2")];
    let mut at_first = Raw::open_at(site.replica(first).grpc, TOKEN).await.unwrap();
    assert_eq!(at_first.hello("east", UID, &held, true).await.unwrap().0, Mode::Snapshot);
    at_first.snapshot(&held).await;
    // Nothing is waited for between the ack here and the Hello there.
    let mut at_second = Raw::open_at(site.replica(second).grpc, TOKEN).await.unwrap();
    assert_eq!(at_second.hello("east", UID, &held, true).await.unwrap().0, Mode::Resume);
    held.push(endpoint("three", "192.0.2.3"));
    at_second.put(1, &held[2]).await;
    let mut again = Raw::open_at(site.replica(first).grpc, TOKEN).await.unwrap();
    assert_eq!(again.hello("east", UID, &held, true).await.unwrap().0, Mode::Resume);
    // The stream that was first is fenced, wherever it was.
    at_second.change(2, vec![crate::stream::del(&held[0])]).await;
    assert_eq!(at_second.goes_away().await.0, zonefold::wire::v1::go_away::Reason::Superseded);
    site.until("every replica holds the three", |site| {
        [first, second].iter().all(|replica| {
            site.replica(*replica).handle.endpoints(&site::cluster("east")).len() == 3
        })
    })
    .await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_starts_later_knows_what_became_of_everything() {
    let mut site = ReplicaSite::new(quick()).await;
    let first = site.start().await;
    let agent = Cluster::start("east", site.replica(first).grpc, &site.home("east")).await;
    let owners: Vec<String> = (0..50).map(|n| format!("n{n}.example.com")).collect();
    let wishes: Vec<_> =
        owners.iter().map(|owner| (owner.as_str(), "A", ["192.0.2.1"].as_slice())).collect();
    agent.wants("web", &wishes);
    site.until("all are in sync", |site| site.replica(first).counts("east").in_sync == 50).await;
    let second = site.start().await;
    site.until("the other knows", |site| {
        site.replica(second).counts("east") == site.replica(first).counts("east")
    })
    .await;
    agent.stop().await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_answers_for_all_and_says_so_when_it_cannot() {
    let mut site = ReplicaSite::new(quick()).await;
    let (first, second) = (site.start().await, site.start().await);
    site.until("each works one", |site| {
        site.holders().iter().flatten().count() == 2 && site.holders()[0] != site.holders()[1]
    })
    .await;
    let agents = [
        Cluster::start("east", site.replica(first).grpc, &site.home("east")).await,
        Cluster::start("west", site.replica(second).grpc, &site.home("west")).await,
    ];
    agents[0].wants("web", &wish("www.example.com", &["192.0.2.1"]));
    agents[1].wants("web", &wish("www.example.net", &["192.0.2.1"]));
    for replica in [first, second] {
        site.until("it knows of both", |site| {
            ["east", "west"].map(|name| site.replica(replica).counts(name).in_sync) == [1, 1]
        })
        .await;
    }
    let zones: Vec<String> =
        site.emulator.control().zones().iter().map(|zone| zone.id.to_string()).collect();
    let mut paths: Vec<String> = [
        "accounts",
        "zones",
        "clusters",
        "names/www.example.com",
        "names/www.example.net",
        "clusters/west",
    ]
    .iter()
    .map(|path| format!("/api/v1/{path}"))
    .collect();
    paths.extend([DEV, PROD].iter().map(|account| format!("/api/v1/accounts/{account}")));
    paths.extend(zones.iter().flat_map(|zone| {
        [format!("/api/v1/zones/{zone}"), format!("/api/v1/zones/{zone}/records")]
    }));
    for path in &paths {
        // Between the two questions a worker may look at a name once more.
        eventually(&format!("both say the same of {path}"), async || {
            let answers = [site.get(first, path).await, site.get(second, path).await];
            let is_same = site::lasting(&answers[0].1) == site::lasting(&answers[1].1);
            let is_answered = answers.iter().all(|(status, _)| *status == 200);
            if is_same && is_answered { Ok(()) } else { Err(format!("{answers:#?}")) }
        })
        .await;
    }
    // On a machine that is slow for a moment a lease passes on.
    eventually("each account is said to be worked by who works it", async || {
        let (_, accounts) = site.get(first, "/api/v1/accounts").await;
        let said = accounts["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["replica"].as_str().map(str::to_owned));
        let works =
            |account| Some(site.replica(site.holder(account)?).handle.replica.replica.to_string());
        let (said, so) = (said.collect::<Vec<_>>(), [DEV, PROD].map(works));
        if said == so && so.iter().all(Option::is_some) {
            Ok(())
        } else {
            Err(format!("{said:?} and not {so:?}"))
        }
    })
    .await;
    // One item a page: the parts of both are one list.
    let (_, page) = site.get(second, "/api/v1/zones?limit=1").await;
    let next = page["next"].as_str().unwrap();
    let (_, last) = site.get(second, &format!("/api/v1/zones?limit=1&cursor={next}")).await;
    assert!(
        page["items"][0]["id"] != last["items"][0]["id"] && last["next"].is_null(),
        "{page:#} {last:#}"
    );
    assert_eq!(site.get(first, "/api/v1/zones/Z0NOTHERE").await.0, 404);

    let lost = if site.holder(DEV) == Some(first) { DEV } else { PROD };
    site.kill(first);
    let (status, problem) = site.get(second, &format!("/api/v1/accounts/{lost}")).await;
    let kind = problem["type"].as_str().unwrap();
    assert!(
        status == 503
            && (kind.ends_with(":replica-unreachable") || kind.ends_with(":account-not-worked")),
        "{problem:#}"
    );
    assert!(problem["detail"].as_str().unwrap().contains(lost), "{problem:#}");
    site.until("the other works both", |site| site.holders() == [Some(second), Some(second)]).await;
    assert_eq!(site.get(second, &format!("/api/v1/accounts/{lost}")).await.0, 200);
    for agent in agents {
        agent.stop().await;
    }
    site.stop().await;
}
