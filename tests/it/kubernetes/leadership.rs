//! Two agents of one cluster and the Lease between them.

use super::site::{BALANCED, KubeSite, SHOP, balanced, host, service};
use crate::support::wait::eventually;

const OPTIONS: [&str; 4] = ["--source", "service", "--lease", "zonefold-agent"];

/// Waits until exactly one of these agents leads; answers which.
async fn leader<'a>(site: &KubeSite, agents: &[&'a str]) -> &'a str {
    eventually("one agent leads", async || {
        let mut leading = vec![];
        for agent in agents {
            if site.deployment.metrics(agent).await.contains("\nzonefold_agent_leads 1\n") {
                leading.push(*agent);
            }
        }
        match leading[..] {
            [leader] => Ok(leader),
            _ => Err(format!("{leading:?} lead")),
        }
    })
    .await
}

#[tokio::test]
async fn another_agent_takes_over_from_one_that_is_killed_and_from_one_that_stops() {
    let mut site = KubeSite::start().await;
    site.grant(&OPTIONS).await;
    let (web, shop) = (host("web"), host("shop"));
    for (name, host) in [("web", &web), ("shop", &shop)] {
        site.api.apply(&service(name, host, BALANCED)).await;
        site.api.set_status(SHOP, &format!("service/{name}"), &balanced(&["192.0.2.1"])).await;
    }
    for name in ["first", "second"] {
        site.agent(name, &OPTIONS).await;
    }
    site.holds(&web, "A", &["192.0.2.1"]).await;
    site.holds(&shop, "A", &["192.0.2.1"]).await;

    // Killed, so that the Lease is not given back; deletions meanwhile are noticed by the next leader, and nothing else goes.
    let killed = leader(&site, &["first", "second"]).await;
    site.deployment.take_agent(killed).process.kill().await;
    site.api.kubectl(&["--namespace", SHOP, "delete", "service/shop"]).await;
    let survivor = if killed == "first" { "second" } else { "first" };
    assert_eq!(leader(&site, &[survivor]).await, survivor);
    site.holds(&shop, "A", &[]).await;
    assert_eq!(site.values(&web, "A").await, Some(vec!["192.0.2.1".to_owned()]));
    site.api.set_status(SHOP, "service/web", &balanced(&["192.0.2.2"])).await;
    site.holds(&web, "A", &["192.0.2.2"]).await;

    // Stopped, so that the next one need not wait for the end of the Lease.
    site.agent("third", &OPTIONS).await;
    site.is_ready("third").await;
    site.deployment.take_agent(survivor).process.stop().await;
    assert_eq!(leader(&site, &["third"]).await, "third");
    site.api.set_status(SHOP, "service/web", &balanced(&["192.0.2.3"])).await;
    site.holds(&web, "A", &["192.0.2.3"]).await;
    site.finish().await;
}
