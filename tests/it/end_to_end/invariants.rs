//! The invariants of the design, each against the real parts. The numbers are those of `core::invariants`.

use std::time::Duration;

use zonefold::broker::directory::entry::Progress;
use zonefold::core::dns::record::RecordType;
use zonefold::core::endpoint::verdict::{Reason, VerdictState};
use zonefold::core::planning::change::Motive;
use zonefold::core::planning::policy::DriftPolicy;
use zonefold::emulator::*;
use zonefold::ports::{BatchOutcome, ChangeFilter};

use crate::support::seed::seeded;
use crate::support::world::{Plan, Wish, World, is_applied, name};

/// Names `n0.example.com`, … with one address each.
struct Many {
    names: Vec<String>,
    targets: Vec<String>,
}

impl Many {
    fn new(prefix: &str, count: usize) -> Self {
        Self::across(&["example.com"], prefix, count)
    }

    /// In several zones by turns.
    fn across(zones: &[&str], prefix: &str, count: usize) -> Self {
        Self {
            names: (0..count).map(|i| format!("{prefix}{i}.{}", zones[i % zones.len()])).collect(),
            targets: (0..count)
                .map(|i| format!("10.{}.{}.{}", i >> 16, (i >> 8) & 255, i & 255))
                .collect(),
        }
    }

    fn publish(&self, cluster: &crate::support::world::Cluster, object: &str) {
        let targets: Vec<[&str; 1]> = self.targets.iter().map(|target| [target.as_str()]).collect();
        let wishes: Vec<Wish<'_>> = self
            .names
            .iter()
            .zip(&targets)
            .map(|(name, target)| (name.as_str(), "A", &target[..]))
            .collect();
        cluster.wants(object, &wishes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i01_what_was_acked_survives_the_broker() {
    World::run(Plan::default(), async |world| {
        // Route 53 is away, so everything that survives survives in the store.
        let away = world.fault(
            Action::ChangeResourceRecordSets,
            None,
            FaultEffect::HttpError { status: 503 },
        );
        let east = world.cluster("east").await;
        Many::new("n", 100).publish(&east, "many");
        east.acked(100).await;
        east.stop().await;
        world.stop_broker().await;
        world.control().remove_fault(away).unwrap();
        world.start_broker().await;
        world
            .until("all records are there without the agent", |w| {
                w.record("n99.example.com", "A").is_some()
            })
            .await;
        world.wait_idle().await;
        assert_eq!(
            (0..100).filter(|i| world.record(&format!("n{i}.example.com"), "A").is_some()).count(),
            100
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i02_silence_deletes_nothing_and_an_observed_deletion_does() {
    World::run(Plan::default(), async |world| {
        let east = world.cluster("east").await;
        east.wants("web", &[("www.example.com", "A", &["192.0.2.1"])]);
        east.wants("api", &[("api.example.com", "A", &["192.0.2.2"])]);
        world
            .until("both are there", |w| {
                w.record("www.example.com", "A").is_some()
                    && w.record("api.example.com", "A").is_some()
            })
            .await;
        let batches = world.our_batches().len();

        // A file that is no longer YAML, a disconnect, a restart of the broker, an agent that starts on a broken folder.
        east.write("web.yaml", "kind: [DNSEndpoint");
        east.agent
            .wait_until(|state| state.index.sources().iter().any(|source| !source.synced))
            .await;
        east.stop().await;
        world.stop_broker().await;
        world.start_broker().await;
        let east = world.cluster("east").await;
        east.agent.wait_until(|state| state.publisher.is_live()).await;
        world.wait_idle().await;
        assert_eq!(world.our_batches().len(), batches, "nothing was written");
        assert!(world.record("www.example.com", "A").is_some());

        // The file is whole again and says less: that is an observed deletion.
        east.write("web.yaml", &crate::support::world::dns_endpoint("web", &[]));
        world.until("the name is gone", |w| w.record("www.example.com", "A").is_none()).await;
        assert!(world.record("api.example.com", "A").is_some());
        east.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i02_a_listing_of_zones_that_is_denied_deletes_nothing() {
    World::run(Plan::default(), async |world| {
        let east = world.cluster("east").await;
        east.wants("web", &[("www.example.com", "A", &["192.0.2.1"])]);
        world.until("it is there", |w| w.record("www.example.com", "A").is_some()).await;
        let batches = world.our_batches().len();
        // The list of zones is denied at the next start, so discovery finds nothing.
        let denied = world.fault(Action::ListHostedZones, None, FaultEffect::AccessDenied {});
        world.stop_broker().await;
        world.start_broker().await;
        world
            .until("the account is parked", |w| {
                w.broker().accounts().iter().any(|a| format!("{:?}", a.health).contains("Parked"))
            })
            .await;
        world.control().remove_fault(denied).unwrap();
        world.wait_idle().await;
        assert_eq!(world.our_batches().len(), batches);
        assert!(world.record("www.example.com", "A").is_some());
        east.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i02_a_zone_that_vanishes_and_comes_back_loses_nothing() {
    World::run(Plan { discovery_interval_secs: 1, ..Plan::default() }, async |world| {
        let east = world.cluster("east").await;
        east.wants("web", &[("www.example.com", "A", &["192.0.2.1"])]);
        let is_there = |w: &World| w.statuses("east", "www.example.com").iter().any(is_applied);
        world.until("it is there", is_there).await;
        world.wait_idle().await;
        let batches = world.our_batches().len();
        // The account answers, and its list is empty: the wish was not deleted, so nothing of it may be taken away, neither now
        // nor in the moment when the zone is found again.
        let whole = world.control().snapshot();
        let mut empty = serde_json::to_value(&whole).unwrap();
        empty["zones"] = serde_json::json!([]);
        world.control().restore(serde_json::from_value(empty).unwrap()).unwrap();
        world
            .until("the endpoint is told", |w| {
                w.statuses("east", "www.example.com")
                    .iter()
                    .any(|s| s.verdict.reason == Reason::ZoneGone)
            })
            .await;
        world.control().restore(whole).unwrap();
        world.until("the zone is found again", is_there).await;
        world.wait_idle().await;
        assert_eq!(world.our_batches().len(), batches, "nothing was written");
        assert_eq!(world.values("www.example.com", "A"), ["192.0.2.1"]);
        east.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i03_foreign_records_are_never_touched() {
    World::run(Plan::default(), async |world| {
        world.foreign_write(ChangeAction::Create, "www.example.com", "A", &["203.0.113.1"]);
        world.foreign_write(ChangeAction::Create, "mail.example.com", "TXT", &["\"theirs\""]);
        let east = world.cluster("east").await;
        east.wants(
            "all",
            &[
                ("www.example.com", "A", &["192.0.2.1"]),
                ("mail.example.com", "CNAME", &["other.example.net"]),
                ("fine.example.com", "A", &["192.0.2.3"]),
            ],
        );
        world.until("the good one is there", |w| w.record("fine.example.com", "A").is_some()).await;
        world
            .until("the others are told why", |w| {
                w.statuses("east", "www.example.com")
                    .iter()
                    .any(|s| s.verdict.state == VerdictState::Waiting)
            })
            .await;
        world.wait_idle().await;
        assert_eq!(world.values("www.example.com", "A"), ["203.0.113.1"]);
        assert_eq!(world.values("mail.example.com", "TXT"), ["\"theirs\""]);
        for owner in ["www.example.com", "mail.example.com"] {
            let status = &world.statuses("east", owner)[0];
            assert_eq!(status.verdict.reason.as_str(), "FOREIGN_RECORD", "{owner}: {status:?}");
        }
        // Withdrawing the wish leaves the foreign set alone as well.
        east.delete("all");
        world.until("ours is gone", |w| w.record("fine.example.com", "A").is_none()).await;
        assert_eq!(world.values("www.example.com", "A"), ["203.0.113.1"]);
        let touched: Vec<_> = world
            .our_batches()
            .into_iter()
            .flat_map(|entry| entry.changes)
            .filter_map(|change| change.before)
            .collect();
        assert!(touched.iter().all(|set| &*set.name == "fine.example.com."), "{touched:?}");
        east.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i03_adoption_is_explicit_and_takes_over_without_a_gap() {
    World::run(Plan { adopt: "any", ..Plan::default() }, async |world| {
        world.foreign_write(ChangeAction::Create, "same.example.com", "A", &["192.0.2.1"]);
        world.foreign_write(ChangeAction::Create, "other.example.com", "A", &["203.0.113.1"]);
        let east = world.cluster("east").await;
        // The foreign set has the TTL 60: the wish says 300, so both differ unless the wish says 60 too.
        east.wants("web", &[("other.example.com", "A", &["192.0.2.2"])]);
        world.until("it is swapped", |w| w.values("other.example.com", "A") == ["192.0.2.2"]).await;
        assert_eq!(
            world.values("same.example.com", "A"),
            ["192.0.2.1"],
            "what nobody wants is left alone"
        );
        let entry = world.our_batches().remove(0);
        assert_eq!(entry.changes.len(), 2, "DELETE and CREATE in one batch");
        let changes = world
            .broker()
            .changes(&ChangeFilter { limit: 10, ..ChangeFilter::default() })
            .await
            .unwrap();
        assert_eq!(changes[0].change.cause.motive, Motive::Adopt);
        east.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i04_an_update_that_somebody_overtook_is_refused_read_back_and_repaired() {
    World::run(Plan::default(), async |world| {
        let east = world.cluster("east").await;
        east.wants("web", &[("www.example.com", "A", &["192.0.2.1"])]);
        world.until("it is there", |w| w.values("www.example.com", "A") == ["192.0.2.1"]).await;
        // Behind our back, where we believe that we know the record.
        world.foreign_write(ChangeAction::Upsert, "www.example.com", "A", &["203.0.113.9"]);
        east.wants(
            "web",
            &[
                ("www.example.com", "A", &["192.0.2.2"]),
                ("beside.example.com", "A", &["192.0.2.3"]),
            ],
        );
        world
            .until("ours is put back", |w| w.values("www.example.com", "A") == ["192.0.2.2"])
            .await;
        world
            .until("the one beside it went out", |w| w.record("beside.example.com", "A").is_some())
            .await;
        let repair = world
            .our_batches()
            .into_iter()
            .flat_map(|entry| entry.changes)
            .find(|c| c.before.as_ref().is_some_and(|b| b.values[0] == "203.0.113.9"));
        assert!(repair.is_some(), "what they wrote was deleted exactly, not overwritten");
        east.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i04_drift_is_left_alone_where_the_policy_says_alert() {
    World::run(
        Plan { drift: DriftPolicy::Alert.as_str(), drift_interval_secs: 10, ..Plan::default() },
        async |world| {
            let east = world.cluster("east").await;
            east.wants("web", &[("www.example.com", "A", &["192.0.2.1"])]);
            world.until("it is there", |w| w.record("www.example.com", "A").is_some()).await;
            world.foreign_write(ChangeAction::Upsert, "www.example.com", "A", &["203.0.113.9"]);
            world
                .until("it is reported", |w| {
                    matches!(
                        w.statuses("east", "www.example.com")[0].progress,
                        Some(Progress::Drifted { .. })
                    )
                })
                .await;
            assert_eq!(world.values("www.example.com", "A"), ["203.0.113.9"]);
            world.foreign_write(ChangeAction::Upsert, "www.example.com", "A", &["192.0.2.1"]);
            east.stop().await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i05_no_bucket_is_overdrawn_under_a_backlog() {
    const ZONES: [&str; 3] = ["example.com", "example.org", "example.net"];
    // Each with far more to send than the burst of the bucket that is the narrow one: requests (so calls are kept small), and
    // record changes. One zone alone would be held back by the pause between its calls.
    let small_calls = serde_json::json!({ "capacity": 20, "refill_per_second": 1_000 });
    for (profile, budget, wanted, burst) in [
        (
            LimitsProfile::Legacy,
            serde_json::json!({ "profile": "legacy", "reserve_percent": 0, "changes": small_calls }),
            600,
            200,
        ),
        (
            LimitsProfile::Published2026,
            serde_json::json!({ "profile": "2026", "reserve_percent": 0 }),
            3_000,
            1_500,
        ),
    ] {
        let plan = Plan {
            limits: LimitsConfig::of(profile),
            budget: budget.clone(),
            zones: ZONES.to_vec(),
            process_ms: 50,
            ..Plan::default()
        };
        World::run(plan, async |world| {
            let east = world.cluster("east").await;
            let many = Many::across(&ZONES, "n", wanted);
            many.publish(&east, "many");
            east.acked(wanted as u64).await;
            // Without the agent the broker stops at once, so that little flows in meanwhile.
            east.stop().await;
            world
                .until("the burst is spent", |w| {
                    w.our_batches().iter().map(|entry| entry.changes.len()).sum::<usize>() >= burst
                })
                .await;
            // A restart while the buckets are empty gives no fresh tokens.
            world.stop_broker().await;
            world.start_broker().await;
            let last = many.names.last().unwrap();
            world.until("all is there", |w| w.record(last, "A").is_some()).await;
            world.wait_idle().await;
            let counters = world.control().counters();
            let account =
                counters.accounts.values().max_by_key(|account| account.requests).unwrap();
            assert_eq!((account.overdrawn, account.throttled), (0, 0), "{budget}: {account:?}");
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i05_throttling_by_others_slows_us_down_and_loses_nothing() {
    World::run(Plan::default(), async |world| {
        world.fault(Action::ChangeResourceRecordSets, Some(3), FaultEffect::Throttle {});
        let east = world.cluster("east").await;
        Many::new("n", 50).publish(&east, "many");
        world.until("all is there", |w| w.record("n49.example.com", "A").is_some()).await;
        world.wait_idle().await;
        let budget = &world.broker().accounts()[0].budget;
        assert!(budget.throttles >= 3 && budget.ceiling < 1.0, "{budget:?}");
        east.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i06_a_poison_record_delays_only_itself() {
    for (what, message) in [
        (
            "named",
            "RRSet with DNS name n7.example.com., type A is protected and cannot be changed: no",
        ),
        ("unnamed", "The request contains something that we do not like"),
    ] {
        World::run(Plan::default(), async |world| {
            let poison = FaultEffect::PoisonRecord {
                name: name("n7.example.com"),
                rtype: None,
                message: message.to_owned(),
            };
            let poison = world.fault(Action::ChangeResourceRecordSets, None, poison);
            let east = world.cluster("east").await;
            Many::new("n", 64).publish(&east, "many");
            world
                .until("all others are there", |w| {
                    (0..64)
                        .filter(|i| w.record(&format!("n{i}.example.com"), "A").is_some())
                        .count()
                        == 63
                })
                .await;
            world
                .until("it is told", |w| {
                    matches!(
                        w.statuses("east", "n7.example.com")[0].progress,
                        Some(Progress::Refused { .. })
                    )
                })
                .await;
            world.wait_idle().await;
            let refused = world.control().faults()[0].worked;
            assert!(refused <= 9, "{what}: {refused} refusals to find one of 64");
            // Its content changes and Route 53 takes it: tried at once, not after the back-off.
            world.control().remove_fault(poison).unwrap();
            let mut again = Many::new("n", 64);
            again.targets[7] = "192.0.2.77".to_owned();
            again.publish(&east, "many");
            world
                .until("the mended one is there", |w| {
                    w.values("n7.example.com", "A") == ["192.0.2.77"]
                })
                .await;
            east.stop().await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i07_a_name_passes_from_one_cluster_to_another_in_one_batch() {
    World::run(Plan::default(), async |world| {
        let (east, west) = (world.cluster("east").await, world.cluster("west").await);
        east.wants("web", &[("www.example.com", "A", &["192.0.2.1"])]);
        world.until("east has it", |w| w.values("www.example.com", "A") == ["192.0.2.1"]).await;
        west.wants("web", &[("www.example.com", "CNAME", &["west.example.net"])]);
        world
            .until("west waits and sees who", |w| {
                w.statuses("west", "www.example.com")
                    .iter()
                    .any(|s| s.verdict.message.contains("cluster east"))
            })
            .await;
        east.delete("web");
        world
            .until("west has it", |w| w.values("www.example.com", "CNAME") == ["west.example.net."])
            .await;
        let last = world.our_batches().pop().unwrap();
        assert_eq!(last.changes.len(), 2, "the A goes and the CNAME comes together: {last:?}");
        let changes = world
            .broker()
            .changes(&ChangeFilter { limit: 1, ..ChangeFilter::default() })
            .await
            .unwrap();
        assert!(
            changes[0].change.cause.cluster.as_str() == "west" || changes[0].change.after.is_none()
        );
        east.stop().await;
        west.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i07_a_hand_over_that_is_refused_leaves_what_is_there() {
    World::run(Plan::default(), async |world| {
        let (east, west) = (world.cluster("east").await, world.cluster("west").await);
        east.wants("web", &[("www.example.com", "A", &["192.0.2.1"])]);
        world.until("east has it", |w| w.values("www.example.com", "A") == ["192.0.2.1"]).await;
        west.wants("web", &[("www.example.com", "CNAME", &["west.example.net"])]);
        world.until("west waits", |w| w.statuses("west", "www.example.com").len() == 1).await;
        // The refusal names the CNAME alone. Were the A a change of its own, it would now go without a successor.
        let message =
            "RRSet with DNS name www.example.com., type CNAME is protected and cannot be changed: no"
                .to_owned();
        let effect = FaultEffect::PoisonRecord {
            name: name("www.example.com"),
            rtype: Some(RecordType::Cname),
            message,
        };
        let poison = world.fault(Action::ChangeResourceRecordSets, None, effect);
        east.delete("web");
        world
            .until("west is refused", |w| {
                w.statuses("west", "www.example.com")
                    .iter()
                    .any(|s| matches!(s.progress, Some(Progress::Refused { .. })))
            })
            .await;
        world.wait_idle().await;
        assert_eq!(world.values("www.example.com", "A"), ["192.0.2.1"], "the name still resolves");
        world.control().remove_fault(poison).unwrap();
        west.wants("web", &[("www.example.com", "CNAME", &["mended.example.net"])]);
        world
            .until("west has it", |w| w.values("www.example.com", "CNAME") == ["mended.example.net."])
            .await;
        let last = world.our_batches().pop().unwrap();
        assert_eq!(last.changes.len(), 2, "the A goes and the CNAME comes together: {last:?}");
        east.stop().await;
        west.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i08_a_quiet_cluster_s_change_overtakes_a_noisy_one() {
    World::run(Plan { process_ms: 50, ..Plan::default() }, async |world| {
        let (noisy, quiet) = (world.cluster("east").await, world.cluster("west").await);
        quiet.acked(0).await;
        Many::new("n", 4_000).publish(&noisy, "many");
        noisy.acked(4_000).await;
        world
            .until("the burst is spent", |w| {
                w.our_batches().iter().map(|entry| entry.changes.len()).sum::<usize>() >= 1_150
            })
            .await;
        quiet.wants("web", &[("quiet.example.com", "A", &["192.0.2.1"])]);
        quiet.acked(1).await;
        let before = world.our_batches().len();
        world
            .until("the quiet one is there", |w| w.record("quiet.example.com", "A").is_some())
            .await;
        let calls = world.our_batches().len() - before;
        assert!(calls <= 4, "{calls} calls went out before it");
        assert!(world.record("n3999.example.com", "A").is_none(), "the flood goes on");
        noisy.stop().await;
        quiet.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i09_the_steady_state_writes_nothing_and_reads_only_to_sweep() {
    World::run(Plan { drift_interval_secs: 10, ..Plan::default() }, async |world| {
        let (east, west) = (world.cluster("east").await, world.cluster("west").await);
        Many::new("n", 50).publish(&east, "many");
        Many::new("m", 50).publish(&west, "many");
        world
            .until("all is in sync", |w| {
                ["east", "west"].iter().all(|c| {
                    w.broker()
                        .endpoints(&zonefold::core::ids::ClusterId::parse(c).unwrap())
                        .counts()
                        .in_sync
                        == 50
                })
            })
            .await;
        let count = |w: &World| {
            let counters = w.control().counters();
            counters.accounts.values().map(|account| account.requests).sum::<u64>()
        };
        let (batches, requests) = (world.our_batches().len(), count(world));
        // Two whole sweeps of the zone, one page each, with the interval between them. It is measured from when the first one was
        // seen, so half of it is asked for.
        world.until("a sweep went by", |w| count(w) > requests).await;
        let swept_at = tokio::time::Instant::now();
        world.until("another sweep went by", |w| count(w) >= requests + 2).await;
        assert!(
            swept_at.elapsed() >= Duration::from_secs(5),
            "the next sweep came after {:?}",
            swept_at.elapsed()
        );
        assert_eq!(world.our_batches().len(), batches);
        let counters = world.control().counters();
        let others: Vec<_> = counters
            .requests
            .iter()
            .filter(|r| format!("{:?}", r.action).contains("Change"))
            .collect();
        assert!(count(world) <= requests + 4, "{others:?}");
        east.stop().await;
        west.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_every_change_names_its_object_its_batch_and_aws_s_change() {
    World::run(Plan::default(), async |world| {
        let east = world.cluster("east").await;
        east.wants("web", &[("www.example.com", "A", &["192.0.2.1"])]);
        world.until("it is there", |w| w.record("www.example.com", "A").is_some()).await;
        east.delete("web");
        world.until("it is gone", |w| w.record("www.example.com", "A").is_none()).await;
        world.wait_idle().await;
        let changes = world
            .broker()
            .changes(&ChangeFilter {
                name: Some(name("www.example.com")),
                limit: 10,
                ..ChangeFilter::default()
            })
            .await
            .unwrap();
        assert_eq!(changes.len(), 2);
        for (row, entry) in changes.iter().rev().zip(world.our_batches()) {
            assert_eq!(entry.comment.as_deref(), Some(format!("zonefold {}", row.batch).as_str()));
            assert_eq!(row.change.cause.endpoints[0].resource(), "dnsendpoint/default/web");
            assert_eq!(row.change.cause.cluster.as_str(), "east");
            let Some(BatchOutcome::Applied { change_id, request_id: Some(request_id) }) =
                &row.outcome
            else {
                panic!("{row:?}")
            };
            assert_eq!((change_id, request_id), (&entry.change_id, &entry.request_id));
        }
        assert!(
            world
                .broker()
                .store
                .verify_journal(&zonefold::core::ids::AccountId::parse("111111111111").unwrap())
                .await
                .unwrap()
                .entries()
                .is_some()
        );
        east.stop().await;
    })
    .await;
}

/// Random wishes of two clusters under random faults: when both stop, what is observed is what is wanted.
#[tokio::test(flavor = "multi_thread")]
async fn i11_it_converges_under_faults() {
    let mut random = seeded(20_261_122);
    World::run(
        Plan { attempt_timeout: Duration::from_millis(400), ..Plan::default() },
        async |world| {
            let chance = |probability, effect| {
                let matching = FaultMatch {
                    action: Some(Action::ChangeResourceRecordSets),
                    probability: Some(probability),
                    ..FaultMatch::default()
                };
                world.control().add_fault(FaultRule { matching, times: Some(4), effect })
            };
            chance(0.2, FaultEffect::ApplyThenReset { after_bytes: 0 });
            chance(0.2, FaultEffect::ApplyThenHang {});
            chance(0.2, FaultEffect::HangBeforeApply {});
            chance(0.2, FaultEffect::ResetBeforeApply {});
            chance(0.2, FaultEffect::GarbageXml {});
            chance(0.2, FaultEffect::HttpError { status: 500 });
            chance(0.2, FaultEffect::Prior {});
            chance(0.1, FaultEffect::ExpiredToken {});
            let (east, west) = (world.cluster("east").await, world.cluster("west").await);
            let mut wanted = [std::collections::BTreeMap::new(), std::collections::BTreeMap::new()];
            for round in 0..25 {
                let which = random.usize(0..2);
                let (cluster, names) =
                    if which == 0 { (&east, &mut wanted[0]) } else { (&west, &mut wanted[1]) };
                // Each cluster has names of its own, so that what is wanted is known without deciding who was first.
                for _ in 0..random.usize(1..6) {
                    let owner = format!("c{which}-{}.example.com", random.usize(0..12));
                    if random.bool() {
                        names.insert(owner, format!("10.{which}.{round}.{}", random.u8(1..250)));
                    } else {
                        names.remove(&owner);
                    }
                }
                let targets: Vec<[&str; 1]> =
                    names.values().map(|target| [target.as_str()]).collect();
                let wishes: Vec<Wish<'_>> = names
                    .keys()
                    .zip(&targets)
                    .map(|(owner, target)| (owner.as_str(), "A", &target[..]))
                    .collect();
                cluster.wants("many", &wishes);
                cluster.acked(names.len() as u64).await;
            }
            world.control().clear_faults();
            let is_as_wanted = |w: &World| {
                (0..2).all(|which| {
                    (0..12).all(|i| {
                        let owner = format!("c{which}-{i}.example.com");
                        w.values(&owner, "A")
                            == wanted[which].get(&owner).into_iter().cloned().collect::<Vec<_>>()
                    })
                })
            };
            world.until("what is observed is what is wanted", is_as_wanted).await;
            world.wait_idle().await;
            world
                .until("and everybody knows", |w| {
                    (0..2).all(|which| {
                        wanted[which].keys().all(|owner| {
                            w.statuses(["east", "west"][which], owner).iter().all(is_applied)
                        })
                    })
                })
                .await;
            let believed =
                world.broker().records(&world.zone("example.com"), None, 1_000).await.unwrap();
            let held = world.control().records(&world.zone("example.com"), View::Accepted).unwrap();
            assert_eq!(
                believed.iter().map(|(_, observed)| observed.raw.clone()).collect::<Vec<_>>(),
                held,
                "the book is exact"
            );
            east.stop().await;
            west.stop().await;
        },
    )
    .await;
}
