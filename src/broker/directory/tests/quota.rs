//! Endpoints beyond their cluster's quota: nothing that is published is withdrawn for them.

use super::*;

fn withheld_op(endpoint: &Endpoint) -> IngestOp {
    IngestOp::Put {
        key: endpoint.key.hash(),
        version: endpoint.version(),
        endpoint: PackedEndpoint::pack(endpoint).withhold(QuotaBound::Endpoints),
    }
}

fn withhold(directory: &Directory, endpoint: &Endpoint) -> Vec<String> {
    apply(directory, withheld_op(endpoint), OpOutcome::Stored { arrival: 1 })
}

#[test]
fn a_new_endpoint_beyond_the_quota_waits_and_is_published_when_its_content_comes() {
    let directory = directory(&[("Z1", "example.com")]);
    assert_eq!(withhold(&directory, &web("192.0.2.1")), ["QUOTA"]);
    assert_eq!(held(&directory).version(), web("192.0.2.1").version());
    assert_eq!(put(&directory, web("192.0.2.1")), ["+Z1"]);
    let usage = directory.usage(&cluster("east"));
    assert_eq!((usage.stored, usage.withheld), (1, 0));
}

#[test]
fn an_edit_beyond_the_quota_keeps_what_the_version_before_made() {
    let directory = directory(&[("Z1", "example.com")]);
    put(&directory, web("192.0.2.1"));
    assert_eq!(withhold(&directory, &web("192.0.2.2")), ["retained Z1", "QUOTA"]);
    assert_eq!(put(&directory, web("192.0.2.2")), ["+Z1"]);
    withhold(&directory, &web("192.0.2.3"));
    assert_eq!(delete(&directory, &web("192.0.2.3")), ["-Z1"], "an observed deletion is one");
}

#[test]
fn the_digest_has_what_is_beyond_the_quota() {
    let directory = directory(&[("Z1", "example.com")]);
    withhold(&directory, &web("192.0.2.1"));
    let mut expected = SetDigest::default();
    expected.insert(&web("192.0.2.1").key.hash(), &web("192.0.2.1").version());
    assert_eq!(directory.digest(&cluster("east")), expected);
    withhold(&directory, &web("192.0.2.2"));
    assert_ne!(directory.digest(&cluster("east")), expected);
    delete(&directory, &web("192.0.2.2"));
    assert!(directory.digest(&cluster("east")).is_empty());
    assert_eq!(directory.usage(&cluster("east")), Usage::default());
}

#[test]
fn a_start_and_another_replica_hold_the_same_of_it() {
    let packed = |endpoint: &Endpoint| PackedEndpoint::pack(endpoint).withhold(QuotaBound::Bytes);
    let wanted = web("192.0.2.1");
    let row = EndpointRow { endpoint: packed(&wanted), ..row(&wanted, 1, None) };
    let other = directory(&[("Z1", "example.com")]);
    assert_eq!(follow(&other, EndpointNews::Stored(row.clone())), ["QUOTA"]);
    let stored = placed_row(&wanted, 1);
    assert_eq!(follow(&other, EndpointNews::Stored(stored)), ["+Z1"], "its content is news");
    assert_eq!(follow(&other, EndpointNews::Stored(row.clone())), ["retained Z1", "QUOTA"]);

    let started = directory(&[("Z1", "example.com")]);
    let (mut loader, mut effects) = (Loader::default(), vec![]);
    loader.take(&started, [row], &mut effects);
    loader.finish(&started);
    assert_eq!(effects.iter().map(show).collect::<Vec<_>>(), ["QUOTA"]);
    assert_eq!(started.usage(&cluster("east")), other.usage(&cluster("east")));
    assert_eq!(started.digest(&cluster("east")), other.digest(&cluster("east")));
}

#[test]
fn the_verdict_says_the_limit_and_the_remedy_and_follows_the_configuration() {
    let directory = directory(&[("Z1", "example.com")]);
    let mut effects = vec![];
    let op = withheld_op(&web("192.0.2.1"));
    let stored = [OpOutcome::Stored { arrival: 1 }];
    directory.commit(&cluster("east"), vec![op], &BTreeMap::new(), &stored, &mut effects);
    let [Effect::Judge { verdict, .. }] = &effects[..] else { panic!("{effects:?}") };
    for word in ["50000 endpoints", "cluster east", "delete endpoints", "clusters[].max_endpoints"]
    {
        assert!(verdict.message.contains(word), "{word}: {}", verdict.message);
    }
    let mut raised = settings("dev");
    raised.values_mut().for_each(|settings| settings.quota.max_endpoints = 60_000);
    assert_eq!(reviewed(&directory, directory.reconfigure(raised)), ["QUOTA"]);
}
