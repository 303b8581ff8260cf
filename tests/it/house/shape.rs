//! The shape of what a large fleet costs, at a small size: counts, bytes and allocations, never seconds.

mod agent;

use std::collections::HashMap;

use allocation_counter::AllocationInfo;
use zonefold::broker::directory::due::Turn;
use zonefold::broker::directory::{AccountListing, ClusterSettings, Directory, Effect};
use zonefold::core::dns::name::DnsName;
use zonefold::core::endpoint::packed::PackedEndpoint;
use zonefold::core::endpoint::{Endpoint, EndpointKey};
use zonefold::core::ids::{AccountId, ClusterId, EnvironmentId, ZoneId};
use zonefold::core::planning::routing::ZoneFacts;
use zonefold::core::visibility::{Exposure, Visibility};
use zonefold::ports::{IngestOp, OpOutcome};

use crate::end_to_end::bench::figures;

/// The most bytes for one cluster to come back when nothing has changed, however many endpoints it has.
const RECONNECT_BYTES: u64 = 32_768;
/// Heap bytes of the directory for an endpoint. The packed endpoint itself is some 120.
const HEAP_BYTES: i64 = 700;
/// Bytes of the database for an endpoint that was stored, applied and journalled.
const STORED_BYTES: f64 = 3_500.0;

/// Real parts: a broker's process over SQLite, real sockets, agents' sessions and status streams, an emulator.
#[test]
fn an_unchanged_cluster_comes_back_for_a_few_kilobytes() {
    let args = [
        "scale",
        "--clusters",
        "2",
        "--endpoints",
        "4000",
        "--zones",
        "4",
        "--accounts",
        "2",
        "--small-endpoints",
        "400",
        "--changes",
        "1",
        "--idle-seconds",
        "1",
    ];
    let figures = figures(&args);
    let most = figures["reconnect_bytes_max"].as_u64().unwrap();
    assert!((1..=RECONNECT_BYTES).contains(&most), "{figures}");
    assert!(
        figures["record_sets"].as_u64().unwrap() > 4_000,
        "aliases become two sets each: {figures}"
    );
}

/// The units of all streams share transactions: there are never more of these than of messages, and each carries hundreds.
#[test]
fn what_many_clusters_publish_at_once_shares_its_transactions() {
    let figures = figures(&["ingest", "--endpoints", "6000", "--clusters", "6"]);
    // Messages of 500; the skewed clusters end with a smaller one each.
    let commits = figures["commits"].as_u64().unwrap();
    assert!((1..=6_000 / 500 + 6).contains(&commits), "{figures}");
}

#[test]
fn the_database_of_an_endpoint_does_not_grow_beyond_its_bound() {
    let figures = figures(&[
        "store",
        "--endpoints",
        "4000",
        "--clusters",
        "8",
        "--zones",
        "8",
        "--accounts",
        "2",
    ]);
    let bytes = figures["bytes_per_endpoint"].as_f64().unwrap();
    assert!(bytes > 500.0 && bytes <= STORED_BYTES, "{figures}");
    let megabytes = |key: &str| figures[key].as_f64().unwrap();
    assert!(
        megabytes("pruned_mb") < megabytes("vacuumed_mb"),
        "retention gives space back: {figures}"
    );
    assert!(figures["pruned_entries"].as_u64().unwrap() > 0, "{figures}");
}

fn cluster() -> ClusterId {
    ClusterId::parse("east").unwrap()
}

fn directory() -> Directory {
    let environment = EnvironmentId::parse("dev").unwrap();
    let settings = ClusterSettings {
        environment: environment.clone(),
        exposure: Exposure::Both,
        labels: std::collections::BTreeMap::new(),
        quota: zonefold::core::endpoint::quota::Quota::default(),
    };
    let directory = Directory::new(HashMap::from([(cluster(), settings)]));
    let account = AccountId::parse("111111111111").unwrap();
    let facts = ZoneFacts {
        account: account.clone(),
        environment,
        zone: ZoneId::parse("Z1").unwrap(),
        name: DnsName::parse("example.com").unwrap(),
        visibility: Visibility::Public,
        visible: true,
    };
    directory.discover(&account, Some(vec![facts]), AccountListing::Complete, Turn::Ours);
    directory
}

fn put(serial: i64, target: &str) -> IngestOp {
    let endpoint = Endpoint {
        key: EndpointKey {
            source: "ingress".into(),
            namespace: "shop".into(),
            object: format!("web-{serial}").into(),
            dns_name: format!("web-{serial}.shop.example.com").into(),
            record_type: "A".into(),
            set_identifier: "".into(),
        },
        targets: vec![target.into()],
        ttl_secs: Some(60),
        ..Endpoint::default()
    };
    IngestOp::Put {
        key: endpoint.key.hash(),
        version: endpoint.version(),
        endpoint: PackedEndpoint::pack(&endpoint),
    }
}

fn commit(directory: &Directory, serial: i64, target: &str) -> Vec<Effect> {
    let mut effects = vec![];
    let ops = vec![put(serial, target)];
    let placings = directory.propose(&cluster(), &ops);
    let outcome = OpOutcome::Placed { arrival: serial };
    directory.commit(&cluster(), ops, &placings, &[outcome], &mut effects);
    effects
}

fn filled(endpoints: i64) -> Directory {
    let directory = directory();
    (1..=endpoints).for_each(|serial| drop(commit(&directory, serial, "192.0.2.1")));
    directory
}

/// The memory that the filled directory holds in the end, and the allocations of one more change of it.
fn measured(endpoints: i64) -> (i64, AllocationInfo) {
    let mut held = None;
    let filling = allocation_counter::measure(|| held = Some(filled(endpoints)));
    let directory = held.unwrap();
    // Readers hold snapshots; the second change meets the same as every later one.
    drop(commit(&directory, endpoints / 2, "192.0.2.2"));
    let change =
        allocation_counter::measure(|| drop(commit(&directory, endpoints / 2, "192.0.2.3")));
    (filling.bytes_current, change)
}

#[test]
fn a_change_allocates_the_same_in_a_fleet_eight_times_as_large_and_an_endpoint_takes_its_bound() {
    let ((small_held, small), (large_held, large)) = (measured(2_000), measured(16_000));
    assert!(large.count_total <= small.count_total + 8, "{small:?} and {large:?}");
    assert!(large.bytes_total <= small.bytes_total + 4_096, "{small:?} and {large:?}");
    let each = (large_held - small_held) / 14_000;
    assert!((50..=HEAP_BYTES).contains(&each), "{each} heap bytes for an endpoint");
}
