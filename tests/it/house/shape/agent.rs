//! The memory that an agent holds for an object and its status.

use prost::Message as _;
use serde_json::json;
use zonefold::agent::index::Index;
use zonefold::agent::kube::document::Document;
use zonefold::agent::kube::feed::News;
use zonefold::agent::kube::world::{Followed, KubeWorld, Reading};
use zonefold::agent::sources::SourceKind;
use zonefold::agent::status::StatusBook;
use zonefold::wire::v1;

/// Heap bytes of a service with one name, and of what is known of that name at the broker.
const OBJECT_BYTES: i64 = 750;
const STATUS_BYTES: i64 = 360;

fn service(number: usize) -> Document {
    let host = format!("checkout-{number}.shop.example.com");
    let address = format!("k8s-checkout-{number:08x}.elb.eu-central-1.amazonaws.com");
    let document = json!({
        "metadata": {
            "name": format!("checkout-{number}"), "namespace": "shop", "labels": {"team": "storefront"},
            "annotations": {"external-dns.kubernetes.io/hostname": host},
        },
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
        "status": {"loadBalancer": {"ingress": [{"hostname": address}]}},
    });
    serde_json::from_value(document).unwrap()
}

/// Read page by page, as from an API server.
fn read(objects: usize) -> Index {
    let mut index = Index::new([SourceKind::Service]);
    let mut world = KubeWorld::new(&[SourceKind::Service], Reading::default());
    let id = (Followed::Objects(SourceKind::Service), 0);
    world.observe(id, News::ListBegins).apply(&mut index);
    for number in 0..objects {
        world.observe(id, News::Page(vec![service(number)])).apply(&mut index);
    }
    world.observe(id, News::ListEnds).apply(&mut index);
    assert_eq!(index.iter().count(), objects);
    index
}

/// Batches, each read from a buffer of its own as from a socket.
fn told(index: &Index) -> StatusBook {
    let mut book = StatusBook::default();
    let all: Vec<_> = index.iter().collect();
    for some in all.chunks(500) {
        let status = |(_, held): &(_, &zonefold::agent::index::IndexEntry)| v1::EndpointStatus {
            key: Some((&held.endpoint.key).into()),
            version: held.version.0.to_vec().into(),
            verdict: v1::VerdictState::Accepted.into(),
            reason: "ACCEPTED".to_owned(),
            progress: v1::Progress::InSync.into(),
            account: "111111111111".to_owned(),
            zone_id: "Z04210572KAPLX3RVQ8B1".to_owned(),
            zone_name: "shop.example.com".to_owned(),
            change_id: "C04210572KAPLX3RVQ8B1".to_owned(),
            at_ms: 1_700_000_000_000,
            ..v1::EndpointStatus::default()
        };
        let batch = v1::StatusBatch {
            statuses: some.iter().map(status).collect(),
            ..v1::StatusBatch::default()
        };
        let received = bytes::Bytes::from(batch.encode_to_vec());
        book.take(v1::StatusBatch::decode(received).unwrap());
    }
    assert_eq!(book.len(), index.iter().count());
    book
}

/// Heap bytes that an agent of `objects` objects holds: of the objects, and of the statuses.
fn held(objects: usize) -> (i64, i64) {
    let (mut index, mut book) = (None, None);
    let reading = allocation_counter::measure(|| index = Some(read(objects)));
    let telling = allocation_counter::measure(|| book = index.as_ref().map(told));
    assert!(book.is_some());
    (reading.bytes_current, telling.bytes_current)
}

#[test]
fn an_object_of_an_agent_takes_its_bound() {
    let ((small_objects, small_statuses), (large_objects, large_statuses)) =
        (held(1_000), held(5_000));
    let (object, status) =
        ((large_objects - small_objects) / 4_000, (large_statuses - small_statuses) / 4_000);
    let is_bounded =
        (200..=OBJECT_BYTES).contains(&object) && (100..=STATUS_BYTES).contains(&status);
    assert!(is_bounded, "{object} heap bytes for an object, {status} for a status");
}
