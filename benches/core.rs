//! What the pure core costs, one decision at a time. `cargo bench --bench core` prints the time of one call of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use divan::{Bencher, black_box};
use zonefold::core::batch::fold::{FoldLimits, Folder};
use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::rdata::canonical_values;
use zonefold::core::dns::record::{RecordKey, RecordType};
use zonefold::core::endpoint::digest::SetDigest;
use zonefold::core::endpoint::packed::PackedEndpoint;
use zonefold::core::endpoint::parsed::parse_endpoint;
use zonefold::core::endpoint::verdict::Placement;
use zonefold::core::endpoint::{Endpoint, EndpointKey, KeyHash, Version};
use zonefold::core::ids::{AccountId, BatchId, ClusterId, ZoneId};
use zonefold::core::planning::change::Unit;
use zonefold::core::planning::claims::{
    Contribution, NameInput, NoOtherNames, ZoneContext, decide_name,
};
use zonefold::core::planning::plan::{Observed, Ownership, PlanInput, plan};
use zonefold::core::planning::policy::{AdoptPolicy, DriftPolicy, ZonePolicy, ZoneSettings};
use zonefold::core::visibility::Visibility;

fn main() {
    divan::main();
}

fn endpoint(serial: usize, target: &str) -> Endpoint {
    Endpoint {
        key: EndpointKey {
            source: "ingress".into(),
            namespace: "shop".into(),
            object: "web".into(),
            dns_name: format!("web-{serial}.shop.example.com").into(),
            record_type: "A".into(),
            set_identifier: "".into(),
        },
        targets: vec![target.into(), "192.0.2.2".into()],
        ttl_secs: Some(60),
        ..Endpoint::default()
    }
}

fn zone() -> ZoneContext {
    let placement = Placement {
        account: AccountId::parse("111111111111").expect("twelve digits"),
        zone: ZoneId::parse("Z1").expect("a zone id"),
    };
    let apex = DnsName::parse("example.com").expect("a name");
    ZoneContext::new(placement, apex, Visibility::Public, &ZoneSettings::default())
}

fn cluster() -> ClusterId {
    ClusterId::parse("dev-east").expect("a label")
}

fn contribution(endpoint: Endpoint) -> Contribution {
    Contribution {
        cluster: cluster(),
        arrival: 1,
        parsed: parse_endpoint(&endpoint).ok().map(Arc::new),
        endpoint: Arc::new(endpoint),
        leaves: false,
    }
}

/// What Route 53 holds of an endpoint that we made.
fn observed(zone: &ZoneContext, endpoint: &Endpoint) -> BTreeMap<RecordKey, Observed> {
    let parsed = parse_endpoint(endpoint).expect("a valid endpoint");
    let sets = parsed.record_sets(zone.zone(), zone.default_ttl_secs);
    let owner = Ownership { cluster: cluster(), batch: BatchId(uuid::Uuid::nil()) };
    let held = sets.iter().map(|set| {
        (set.key.clone(), Observed { raw: set.to_raw(), owner: Some(owner.clone()), drift: None })
    });
    held.collect()
}

/// Claims and plans one name whose targets have changed: a DELETE and a CREATE.
fn plan_name(
    zone: &ZoneContext,
    name: &DnsName,
    wanted: &[Contribution],
    observed: &BTreeMap<RecordKey, Observed>,
) -> Vec<Unit> {
    let decision = decide_name(&NameInput {
        zone,
        name,
        claimed_by: Some(&cluster()),
        claimed_since: None,
        contributions: wanted,
        observed,
        around: &NoOtherNames,
    });
    let planned = plan(&PlanInput {
        zone,
        policy: ZonePolicy::Sync,
        drift: DriftPolicy::Repair,
        adopt: AdoptPolicy::Never,
        name,
        decision: &decision,
        contributions: wanted,
        observed,
        departed: &[],
        target_exists: &|_, _| true,
    });
    planned.units
}

fn update_of(serial: usize) -> Vec<Unit> {
    let (zone, wanted) = (zone(), [contribution(endpoint(serial, "192.0.2.9"))]);
    let name = DnsName::parse(&wanted[0].endpoint.key.dns_name).expect("a name");
    plan_name(&zone, &name, &wanted, &observed(&zone, &endpoint(serial, "192.0.2.1")))
}

#[divan::bench(args = ["www.example.com", "_acme-challenge.very.long-label-in.the.middle.example.com", "bücher.example.com"])]
fn parse_name(text: &str) -> DnsName {
    DnsName::parse(black_box(text)).expect("a name")
}

#[divan::bench]
fn hash_endpoint(bencher: Bencher<'_, '_>) {
    let endpoint = endpoint(1, "192.0.2.1");
    bencher.bench(|| (black_box(&endpoint).key.hash(), black_box(&endpoint).version()));
}

#[divan::bench]
fn digest_insert_and_remove(bencher: Bencher<'_, '_>) {
    let mut digest = SetDigest::default();
    let (key, version) = (KeyHash([7; 32]), Version([9; 32]));
    bencher.bench_local(|| {
        digest.insert(black_box(&key), &version);
        digest.remove(&key, black_box(&version));
    });
}

#[divan::bench]
fn digest_root(bencher: Bencher<'_, '_>) {
    let mut digest = SetDigest::default();
    (0..=255).for_each(|first| digest.insert(&KeyHash([first; 32]), &Version([first; 32])));
    bencher.bench(|| black_box(&digest).root());
}

#[divan::bench]
fn interpret_endpoint(bencher: Bencher<'_, '_>) {
    let endpoint = endpoint(1, "192.0.2.1");
    bencher.bench(|| parse_endpoint(black_box(&endpoint)));
}

#[divan::bench]
fn pack_endpoint(bencher: Bencher<'_, '_>) {
    let endpoint = endpoint(1, "192.0.2.1");
    bencher.bench(|| PackedEndpoint::pack(black_box(&endpoint)));
}

#[divan::bench]
fn unpack_endpoint(bencher: Bencher<'_, '_>) {
    let packed = PackedEndpoint::pack(&endpoint(1, "192.0.2.1"));
    bencher.bench(|| black_box(&packed).unpack());
}

#[divan::bench]
fn hash_packed_endpoint(bencher: Bencher<'_, '_>) {
    let packed = PackedEndpoint::pack(&endpoint(1, "192.0.2.1"));
    bencher.bench(|| {
        let view = black_box(&packed).view();
        (view.key_hash(), view.version())
    });
}

/// Names of one zone, as the books of a zone keep them in order.
#[divan::bench]
fn compare_names(bencher: Bencher<'_, '_>) {
    let [one, other] = ["web-17.shop.env-1.example.com", "web-18.shop.env-1.example.com"]
        .map(|name| DnsName::parse(name).expect("a name"));
    bencher.bench(|| black_box(&one).cmp(black_box(&other)));
}

#[divan::bench]
fn plan_an_update(bencher: Bencher<'_, '_>) {
    let (zone, wanted) = (zone(), [contribution(endpoint(1, "192.0.2.9"))]);
    let name = DnsName::parse("web-1.shop.example.com").expect("a name");
    let held = observed(&zone, &endpoint(1, "192.0.2.1"));
    bencher.bench(|| plan_name(&zone, &name, black_box(&wanted), &held));
}

#[divan::bench]
fn plan_nothing_to_do(bencher: Bencher<'_, '_>) {
    let (zone, wanted) = (zone(), [contribution(endpoint(1, "192.0.2.1"))]);
    let name = DnsName::parse("web-1.shop.example.com").expect("a name");
    let held = observed(&zone, &endpoint(1, "192.0.2.1"));
    bencher.bench(|| plan_name(&zone, &name, black_box(&wanted), &held));
}

/// Updates of two values each: the limit of 1,000 records ends the call at 250 of them, the rest is offered in vain.
#[divan::bench]
fn fold_1000_units(bencher: Bencher<'_, '_>) {
    let units: Vec<Unit> = (0..1_000).flat_map(update_of).collect();
    bencher.bench(|| {
        let mut folder = Folder::new(FoldLimits::default(), u32::MAX);
        let added = black_box(&units).iter().filter(|unit| folder.try_add(unit).is_ok()).count();
        (added, folder.finish())
    });
}

#[divan::bench(args = ["A", "AAAA", "TXT", "MX", "CAA"])]
fn canonical_value_of(bencher: Bencher<'_, '_>, rtype: &str) {
    let text = match rtype {
        "A" => "192.0.2.1",
        "AAAA" => "2001:0DB8:0000:0000:0000:0000:0000:0001",
        "TXT" => "\"v=spf1 include:_spf.example.com ~all\"",
        "MX" => "10 mail.example.com.",
        _ => "0 issue \"letsencrypt.org\"",
    };
    let (rtype, values) = (RecordType::parse(rtype).expect("a type"), [text.into()]);
    bencher.bench(|| canonical_values(rtype, black_box(&values)).expect("a valid value"));
}
