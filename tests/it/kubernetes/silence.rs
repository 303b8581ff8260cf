//! A silent object is kept: nothing is withdrawn but what was seen to be deleted, or what an operator released.

use super::site::{BALANCED, KubeSite, SHOP, balanced, dns_endpoint, host, service};
use crate::support::api_server::FIRST_KEY;
use crate::support::network::free_address;

/// A service whose load balancer has an address.
async fn balanced_service(site: &KubeSite, label: &str, address: &str) -> String {
    let name = host(label);
    site.api.apply(&service(label, &name, BALANCED)).await;
    site.api.set_status(SHOP, &format!("service/{label}"), &balanced(&[address])).await;
    name
}

#[tokio::test]
async fn a_load_balancer_without_address_an_api_server_that_is_gone_and_a_revoked_right_take_nothing_away()
 {
    let options = ["--source", "service"];
    let mut site = KubeSite::with_agent(&options).await;
    let web = balanced_service(&site, "web", "192.0.2.10").await;
    let shop = balanced_service(&site, "shop", "192.0.2.20").await;
    site.holds(&web, "A", &["192.0.2.10"]).await;
    site.holds(&shop, "A", &["192.0.2.20"]).await;

    // The load balancer is replaced.
    site.api
        .set_status(
            SHOP,
            "service/web",
            &serde_json::json!({ "loadBalancer": { "ingress": null } }),
        )
        .await;
    site.is_kept("agent", &[format!("{web} waiting")]).await;
    assert_eq!(site.values(&web, "A").await, Some(vec!["192.0.2.10".to_owned()]));
    site.api.set_status(SHOP, "service/web", &balanced(&["192.0.2.11"])).await;
    site.holds(&web, "A", &["192.0.2.11"]).await;
    site.is_kept("agent", &[]).await;

    // The API server dies, and comes back without the agent's rights.
    site.api.kubectl(&["delete", "clusterrolebinding", "zonefold-agent"]).await;
    site.api.kill().await;
    site.source_is("agent", "service", false).await;
    site.api.launch(&[FIRST_KEY]).await;
    let agent = site.deployment.agent_of("agent");
    agent.process.line("that it may not", |line| line.to_string().contains("403")).await;
    site.api.kubectl(&["--namespace", SHOP, "delete", "service/shop"]).await;
    site.source_is("agent", "service", false).await;
    assert_eq!(site.values(&shop, "A").await, Some(vec!["192.0.2.20".to_owned()]));
    assert_eq!(site.values(&web, "A").await, Some(vec!["192.0.2.11".to_owned()]));

    // It may again: what was deleted meanwhile is not on the list, and goes.
    site.grant(&options).await;
    site.holds(&shop, "A", &[]).await;
    site.source_is("agent", "service", true).await;
    assert_eq!(site.values(&web, "A").await, Some(vec!["192.0.2.11".to_owned()]));
    site.finish().await;
}

#[tokio::test]
async fn objects_that_go_with_their_kind_are_kept_until_they_are_released() {
    let mut site = KubeSite::start().await;
    site.api.install_crds("external-dns").await;
    let options = ["--source", "dnsendpoint"];
    site.grant(&options).await;
    site.agent("agent", &options).await;
    let (mail, chat) = (host("mail"), host("chat"));
    site.api.apply(&dns_endpoint("mail", &mail, "192.0.2.30")).await;
    site.api.apply(&dns_endpoint("chat", &chat, "192.0.2.31")).await;
    site.holds(&mail, "A", &["192.0.2.30"]).await;
    site.holds(&chat, "A", &["192.0.2.31"]).await;
    // This CRD has no place for conditions; the object's readers see Events.
    site.tells("mail", "InSync", &[&mail]).await;

    site.api.kubectl(&["delete", "crd", "dnsendpoints.externaldns.k8s.io"]).await;
    site.is_kept("agent", &[format!("{chat} orphaned"), format!("{mail} orphaned")]).await;
    assert_eq!(site.values(&mail, "A").await, Some(vec!["192.0.2.30".to_owned()]));

    // The kind comes back empty, and one of the objects after it.
    site.api.install_crds("external-dns").await;
    site.api.apply(&dns_endpoint("mail", &mail, "192.0.2.32")).await;
    site.holds(&mail, "A", &["192.0.2.32"]).await;
    site.is_kept("agent", &[format!("{chat} orphaned")]).await;
    assert_eq!(site.values(&chat, "A").await, Some(vec!["192.0.2.31".to_owned()]));

    site.release("agent", &["--source", "dnsendpoint"]).await;
    site.holds(&chat, "A", &[]).await;
    assert_eq!(site.values(&mail, "A").await, Some(vec!["192.0.2.32".to_owned()]));
    site.api.kubectl(&["--namespace", SHOP, "delete", "dnsendpoint/mail"]).await;
    site.holds(&mail, "A", &[]).await;
    site.finish().await;
}

#[tokio::test]
async fn what_happened_while_history_was_forgotten_is_listed_again() {
    let mut site = KubeSite::with_agent(&["--source", "service"]).await;
    let [deleted, changed, same] = ["deleted", "changed", "same"];
    for label in [deleted, changed, same] {
        let name = balanced_service(&site, label, "192.0.2.10").await;
        site.holds(&name, "A", &["192.0.2.10"]).await;
    }

    // All this happens at another API server over the same database, and then the agent asks for what is no longer remembered.
    let address = std::mem::replace(&mut site.api.address, free_address());
    site.api.kill().await;
    site.api.launch(&[FIRST_KEY]).await;
    site.api.kubectl(&["--namespace", SHOP, "delete", "service/deleted"]).await;
    site.api.set_status(SHOP, "service/changed", &balanced(&["192.0.2.11"])).await;
    balanced_service(&site, "new", "192.0.2.12").await;
    site.api.forget(site.api.revision().await).await;
    site.api.kill().await;
    site.api.address = address;
    site.api.launch(&[FIRST_KEY]).await;

    site.holds(&host(deleted), "A", &[]).await;
    site.holds(&host(changed), "A", &["192.0.2.11"]).await;
    site.holds(&host("new"), "A", &["192.0.2.12"]).await;
    assert_eq!(site.values(&host(same), "A").await, Some(vec!["192.0.2.10".to_owned()]));
    site.finish().await;
}

#[tokio::test]
async fn an_agent_that_comes_back_with_a_filter_keeps_what_it_leaves_out() {
    let mut site = KubeSite::with_agent(&["--source", "service"]).await;
    let (web, shop) = (
        balanced_service(&site, "web", "192.0.2.10").await,
        balanced_service(&site, "shop", "192.0.2.20").await,
    );
    site.api.kubectl(&["--namespace", SHOP, "label", "service/web", "team=web"]).await;
    site.holds(&web, "A", &["192.0.2.10"]).await;
    site.holds(&shop, "A", &["192.0.2.20"]).await;

    site.deployment.take_agent("agent").process.stop().await;
    let filtered = ["--source", "service", "--label-filter", "team=web"];
    site.agent("agent", &filtered).await;
    site.is_kept("agent", &[format!("{shop} unseen")]).await;
    site.source_is("agent", "service", true).await;
    assert_eq!(site.values(&shop, "A").await, Some(vec!["192.0.2.20".to_owned()]));

    // A deletion while no agent watched is found when the object is looked up.
    site.deployment.take_agent("agent").process.stop().await;
    site.api.kubectl(&["--namespace", SHOP, "delete", "service/shop"]).await;
    site.agent("agent", &filtered).await;
    site.holds(&shop, "A", &[]).await;
    site.is_kept("agent", &[]).await;
    assert_eq!(site.values(&web, "A").await, Some(vec!["192.0.2.10".to_owned()]));
    site.finish().await;
}
