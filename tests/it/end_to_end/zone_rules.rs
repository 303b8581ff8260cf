//! A record that a zone does not accept is reported to whom it concerns, and costs no call.

use std::fmt::Write as _;

use zonefold::emulator::{Action, ChangeAction, FaultEffect, View};

use crate::support::world::{Plan, World, dns_endpoint, name};

fn reasons(world: &World, owner: &str) -> Vec<&'static str> {
    let statuses = world.statuses("east", owner);
    statuses.iter().map(|status| status.verdict.reason.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_never_be_answered_is_kept_out_and_told() {
    let others = vec![("ext.example.com", "NS", "ns.example.net")];
    World::run(Plan { others, ..Plan::default() }, async |world| {
        let east = world.cluster("east").await;
        east.wants(
            "all",
            &[
                ("x.example.com", "CNAME", &["y.example.com"]),
                ("y.example.com", "CNAME", &["x.example.com"]),
                ("self.example.com", "CNAME", &["self.example.com"]),
                ("app.ext.example.com", "A", &["192.0.2.1"]),
                ("fine.example.com", "A", &["192.0.2.1"]),
            ],
        );
        let ring = ["x.example.com", "y.example.com"];
        world
            .until("one of the ring is there and the other is told", |w| {
                let is_there = |owner: &&str| w.record(owner, "CNAME").is_some();
                let is_told = |owner: &&str| reasons(w, owner) == ["INVALID_TARGET"];
                ring.iter().filter(|owner| is_there(owner)).count() == 1
                    && ring.iter().filter(|owner| is_told(owner)).count() == 1
            })
            .await;
        world.until("the good one is there", |w| w.record("fine.example.com", "A").is_some()).await;
        world.wait_idle().await;
        assert_eq!(reasons(world, "self.example.com"), ["INVALID_TARGET"]);
        assert_eq!(reasons(world, "app.ext.example.com"), ["BELOW_DELEGATION"]);
        let status = &world.statuses("east", "app.ext.example.com")[0];
        assert!(status.verdict.message.contains("NS record set of ext.example.com"), "{status:?}");
        assert!(world.record("app.ext.example.com", "A").is_none());
        world.foreign_write(ChangeAction::Delete, "ext.example.com", "NS", &["ns.example.net"]);
        // The endpoint that waits is the one to give way: when the other goes, it follows.
        let told = ring.iter().find(|owner| reasons(world, owner) == ["INVALID_TARGET"]).unwrap();
        let other = ring.iter().find(|owner| *owner != told).unwrap();
        east.wants("all", &[(told, "CNAME", &[other])]);
        world.until("the other follows", |w| w.record(told, "CNAME").is_some()).await;
        world.until("the first is gone", |w| w.record(other, "CNAME").is_none()).await;
        east.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_the_zone_does_not_take_is_rejected_and_nothing_is_written() {
    let usual = serde_json::json!(["A", "AAAA", "CNAME"]);
    World::run(Plan { record_types: usual, ..Plan::default() }, async |world| {
        let east = world.cluster("east").await;
        east.wants(
            "all",
            &[
                ("www.example.com", "A", &["192.0.2.1"]),
                ("sub.example.com", "NS", &["ns.example.net"]),
                ("www.example.com", "MX", &["10 mail.example.com"]),
            ],
        );
        world.until("the address is there", |w| w.record("www.example.com", "A").is_some()).await;
        world.wait_idle().await;
        assert_eq!(reasons(world, "sub.example.com"), ["ZONE_POLICY"]);
        assert!(reasons(world, "www.example.com").contains(&"ZONE_POLICY"));
        assert!(world.record("sub.example.com", "NS").is_none());
        east.stop().await;
    })
    .await;
}

/// A DNSEndpoint with these sets of geo.example.com, by region, and names with one address each.
fn regional(sets: &[(&str, &str)], names: &[&str]) -> String {
    let wishes: Vec<(&str, &str, &[&str])> =
        names.iter().map(|name| (*name, "A", &["192.0.2.9"][..])).collect();
    let mut text = dns_endpoint("all", &wishes);
    for (set, region) in sets {
        let _ = writeln!(
            text,
            "  - {{dnsName: geo.example.com, recordType: A, targets: [192.0.2.1], setIdentifier: {set}, providerSpecific: [{{name: aws/region, value: {region}}}]}}"
        );
    }
    text
}

fn regions(world: &World) -> Vec<(String, String)> {
    let zone = world.zone("example.com");
    let records = world.control().records(&zone, View::Accepted).unwrap();
    let region = |set: &zonefold::core::dns::record::RawRecordSet| {
        Some((set.set_identifier.as_ref()?.to_string(), set.region.as_ref()?.to_string()))
    };
    records.iter().filter_map(region).collect()
}

fn owned(sets: &[(&str, &str)]) -> Vec<(String, String)> {
    sets.iter().map(|(set, region)| ((*set).to_owned(), (*region).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn regions_that_swap_get_through_a_batch_that_is_split_and_none_is_gone_before() {
    World::run(Plan::default(), async |world| {
        let east = world.cluster("east").await;
        let before = [("a", "us-east-1"), ("b", "eu-west-1")];
        let names = ["n1.example.com", "n2.example.com", "n3.example.com"];
        east.write("all.yaml", &regional(&before, &names));
        world.until("both are there", |w| regions(w) == owned(&before)).await;
        // One set is edited before the other: it waits, and nothing is deleted meanwhile.
        east.write("all.yaml", &regional(&[("a", "eu-west-1"), ("b", "eu-west-1")], &names));
        world
            .until("the one that was edited waits", |w| {
                reasons(w, "geo.example.com").contains(&"CONFLICT_IN_CLUSTER")
            })
            .await;
        world.wait_idle().await;
        assert_eq!(regions(world), owned(&before));
        // The batch that swaps them is refused for another record set, and split to find which.
        let poison = FaultEffect::PoisonRecord {
            name: name("poison.example.com"),
            rtype: None,
            message: "The request contains something that we do not like".to_owned(),
        };
        world.fault(Action::ChangeResourceRecordSets, None, poison);
        let more = ["n1.example.com", "n2.example.com", "n4.example.com", "poison.example.com"];
        let after = [("a", "eu-west-1"), ("b", "us-east-1")];
        east.write("all.yaml", &regional(&after, &more));
        world.until("they have swapped", |w| regions(w) == owned(&after)).await;
        world.until("the rest is there", |w| w.record("n4.example.com", "A").is_some()).await;
        // A region that changes its set identifier.
        east.write("all.yaml", &regional(&[("z", "eu-west-1"), ("b", "us-east-1")], &more[..3]));
        let renamed = [("b", "us-east-1"), ("z", "eu-west-1")];
        world.until("it has its new name", |w| regions(w) == owned(&renamed)).await;
        east.stop().await;
    })
    .await;
}
