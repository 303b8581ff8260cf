//! The inputs of real users in `tests/data/cases` come to what is right: each folder's `expect.md` says what and why.
//!
//! The one that needs Gateways, which a folder of manifests does not give, is tested where the agent follows an API server.

mod setting;

use zonefold::core::dns::record::RawRecordSet;
use zonefold::core::ids::ZoneId;
use zonefold::emulator::{ChangeAction, RecordChange};

use setting::{CHILD, PRIVATE, PUBLIC, Setting};

#[tokio::test]
async fn a_name_that_points_to_itself_or_in_a_ring_is_kept_out_and_the_others_point_to_it() {
    let mut setting = Setting::of("01-cname-to-itself").await;
    let of_portal = [
        "c01/portal a.c01.dev.example.com CNAME in_sync",
        "c01/portal b.c01.dev.example.com CNAME in_sync",
        "c01/portal entry.c01.dev.example.com CNAME rejected INVALID_TARGET",
    ];
    let told = setting
        .comes_to_any(|told| {
            let (portal, ring): (Vec<&String>, Vec<&String>) =
                told.iter().partition(|line| line.starts_with("c01/portal "));
            let count = |end| ring.iter().filter(|line| line.ends_with(end)).count();
            portal == of_portal
                && ring.len() == 2
                && count(" CNAME in_sync") == 1
                && count(" CNAME rejected INVALID_TARGET") == 1
        })
        .await;
    let message = setting.message("portal", "entry.c01.dev.example.com").await;
    assert!(message.contains("entry.c01.dev.example.com points to itself"), "{message}");
    assert_eq!(setting.changes_of("entry.c01.dev.example.com"), 0);

    let (x, y) = ("x.c01.dev.example.com", "y.c01.dev.example.com");
    let x_is_out = told.contains(&format!("c01/ring {x} CNAME rejected INVALID_TARGET"));
    let (inside, out) = if x_is_out { (y, x) } else { (x, y) };
    let message = setting.message("ring", out).await;
    assert!(message.contains(x) && message.contains(y), "it names the loop: {message}");
    assert_eq!(setting.changes_of(out), 0);
    setting.both_hold(&[
        "a.c01.dev.example.com CNAME 60 entry.c01.dev.example.com",
        "b.c01.dev.example.com CNAME 60 entry.c01.dev.example.com",
        &format!("{inside} CNAME 60 {out}"),
    ]);
    setting.finish().await;
}

#[tokio::test]
async fn who_wants_no_alias_gets_a_cname() {
    let mut setting = Setting::of("03-no-alias-please").await;
    setting
        .comes_to(&[
            "c03/nlb svc.c03.dev.example.com CNAME in_sync",
            "c03/plain crd.c03.dev.example.com CNAME in_sync",
        ])
        .await;
    setting.both_hold(&[
        "crd.c03.dev.example.com CNAME 60 nlb-c03.elb.eu-west-1.amazonaws.com",
        "svc.c03.dev.example.com CNAME 60 nlb-c03.elb.eu-west-1.amazonaws.com",
    ]);
    setting.finish().await;
}

#[tokio::test]
async fn an_alias_to_a_wildcard_with_addresses_of_one_family_is_written_once() {
    let mut setting = Setting::of("04-alias-to-wildcard").await;
    setting
        .comes_to(&[
            "c04/star *.back.c04.dev.example.com A in_sync",
            "c04/star *.front.c04.dev.example.com CNAME in_sync",
        ])
        .await;
    for zone in [PUBLIC, PRIVATE] {
        let front =
            format!(r"\052.front.c04.dev.example.com A alias {zone} \052.back.c04.dev.example.com");
        setting.holds(zone, &[r"\052.back.c04.dev.example.com A 60 192.0.2.40", &front]);
    }
    let message = setting.message("star", "*.front.c04.dev.example.com").await;
    assert!(message.contains("AAAA"), "it says what is left out: {message}");
    setting.settle().await;
    assert_eq!(setting.changes_of(r"\052.front.c04.dev.example.com"), 2, "once in each zone");
    setting.finish().await;
}

#[tokio::test]
async fn a_name_below_a_delegation_of_somebody_else_is_not_told_as_in_sync() {
    let mut setting = Setting::prepared("06-below-a-delegation", |control| {
        let set = RawRecordSet {
            name: "ext.dev.example.com".into(),
            rtype: "NS".into(),
            ttl_secs: Some(300),
            values: vec!["ns1.example.net.".into()],
            ..RawRecordSet::default()
        };
        let change = RecordChange { action: ChangeAction::Create, set };
        control.foreign_write(&ZoneId::parse(PUBLIC).unwrap(), &[change]).unwrap();
    })
    .await;
    setting.comes_to(&["c06/app app.ext.dev.example.com A waiting BELOW_DELEGATION"]).await;
    let message = setting.message("app", "app.ext.dev.example.com").await;
    assert!(message.contains("NS record set of ext.dev.example.com"), "{message}");
    setting.holds(PUBLIC, &["ext.dev.example.com NS 300 ns1.example.net"]);
    // Nothing is delegated for those inside.
    setting.holds(PRIVATE, &["app.ext.dev.example.com A 60 192.0.2.60"]);
    setting.finish().await;
}

#[tokio::test]
async fn the_delegation_of_a_child_zone_is_written_into_its_parent() {
    let mut setting = Setting::of("07-delegate-own-child").await;
    setting
        .comes_to(&[
            "c07/cut k8s.dev.example.com DS in_sync",
            "c07/cut k8s.dev.example.com NS in_sync",
        ])
        .await;
    setting.holds(
        PUBLIC,
        &[
            "k8s.dev.example.com DS 60 12345 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF",
            "k8s.dev.example.com NS 3600 ns-1.example.net,ns-2.example.net",
        ],
    );
    setting.holds(CHILD, &[]);
    setting.finish().await;
}

#[tokio::test]
async fn a_place_is_written_as_route_53_takes_it_or_told_before_a_call() {
    let mut setting = Setting::of("09-geoproximity").await;
    setting
        .comes_to(&[
            "c09/prox fine.c09.dev.example.com A in_sync",
            "c09/prox north.c09.dev.example.com A rejected INVALID_ROUTING",
            "c09/prox precise.c09.dev.example.com A in_sync",
        ])
        .await;
    let message = setting.message("prox", "north.c09.dev.example.com").await;
    assert!(message.contains("-90 to 90"), "{message}");
    assert_eq!(setting.changes_of("north.c09.dev.example.com"), 0);
    setting.both_hold(&[
        "fine.c09.dev.example.com A 60 192.0.2.90 at 40.71,-74.01",
        "precise.c09.dev.example.com A 60 192.0.2.91 at 40.71,-74.01",
    ]);
    setting.finish().await;
}

#[tokio::test]
async fn of_two_objects_that_want_one_host_the_first_keeps_it_and_both_are_told() {
    let mut setting = Setting::of("11-two-objects-one-host").await;
    let first = [
        "c11-red/web teams.c11.dev.example.com A in_sync",
        "c11/alb chain.c11.dev.example.com CNAME in_sync",
        "c11/application solver.c11.dev.example.com A in_sync",
    ];
    setting.comes_to(&first).await;
    let alias = "alias Z1GM3OXH4ZPM65 k8s-c11.ap-southeast-2.elb.amazonaws.com";
    let chain = ["A", "AAAA"].map(|rtype| format!("chain.c11.dev.example.com {rtype} {alias}"));
    let right = [
        &chain[0],
        &chain[1],
        "solver.c11.dev.example.com A 60 203.0.113.110",
        "teams.c11.dev.example.com A 60 192.0.2.111",
    ];
    setting.both_hold(&right);

    setting.add("second.yaml");
    let second = [
        "c11-blue/web teams.c11.dev.example.com A waiting CONFLICT_IN_CLUSTER",
        "c11/cm-acme-http-solver-x7k2p solver.c11.dev.example.com A waiting CONFLICT_IN_CLUSTER",
        "c11/nginx chain.c11.dev.example.com A waiting CONFLICT_IN_CLUSTER",
    ];
    setting.comes_to(&[first, second].concat()).await;
    setting.both_hold(&right);
    for (object, name, other) in [
        ("nginx", "chain.c11.dev.example.com", "ingress/c11/alb"),
        ("alb", "chain.c11.dev.example.com", "ingress/c11/nginx"),
        ("cm-acme-http-solver-x7k2p", "solver.c11.dev.example.com", "ingress/c11/application"),
        ("application", "solver.c11.dev.example.com", "ingress/c11/cm-acme-http-solver-x7k2p"),
    ] {
        let message = setting.message(object, name).await;
        assert!(message.contains(other), "{object} is told of {other}: {message}");
    }
    for (namespace, other) in
        [("c11-blue", "service/c11-red/web"), ("c11-red", "service/c11-blue/web")]
    {
        let message =
            setting.message(&format!("{namespace}/web"), "teams.c11.dev.example.com").await;
        assert!(message.contains(other), "{namespace} is told of {other}: {message}");
    }
    for name in ["solver.c11.dev.example.com", "teams.c11.dev.example.com"] {
        assert_eq!(setting.changes_of(name), 2, "{name}: once in each zone");
    }
    setting.finish().await;
}

#[tokio::test]
async fn those_inside_get_the_address_inside_and_no_others() {
    let mut setting = Setting::of("12-split-horizon").await;
    setting
        .comes_to(&[
            "c12/both both.c12.dev.example.com A in_sync",
            "c12/both/internal both.c12.dev.example.com A in_sync",
            "c12/inside www.c12.dev.example.com A in_sync",
            "c12/only/internal inside.c12.dev.example.com A in_sync",
            "c12/outside www.c12.dev.example.com A in_sync",
        ])
        .await;
    setting.holds(
        PUBLIC,
        &["both.c12.dev.example.com A 60 192.0.2.122", "www.c12.dev.example.com A 60 192.0.2.120"],
    );
    setting.holds(
        PRIVATE,
        &[
            "both.c12.dev.example.com A 60 10.96.0.12",
            "inside.c12.dev.example.com A 60 10.96.0.13",
            "www.c12.dev.example.com A 60 10.0.0.120",
        ],
    );
    setting.finish().await;
}

#[tokio::test]
async fn a_target_that_is_no_name_never_becomes_a_cname() {
    let mut setting = Setting::of("19-targets-that-are-no-names").await;
    setting
        .comes_to(&[
            "c19/alias alias.c19.dev.example.com A in_sync",
            "c19/empty empty.c19.dev.example.com A in_sync",
            "c19/ext ext.c19.dev.example.com A in_sync",
            "c19/net net.c19.dev.example.com A rejected INVALID_TARGET",
            "c19/port port.c19.dev.example.com A rejected INVALID_TARGET",
            "c19/typo typo.c19.dev.example.com A rejected INVALID_TARGET",
        ])
        .await;
    setting.both_hold(&[
        "alias.c19.dev.example.com A 60 192.0.2.193",
        "empty.c19.dev.example.com A 60 192.0.2.194",
        "ext.c19.dev.example.com A 60 192.0.2.190",
    ]);
    for (object, says) in
        [("typo", "192.0.2.300"), ("port", "192.0.2.191:443"), ("net", "192.0.2.192/32")]
    {
        let name = format!("{object}.c19.dev.example.com");
        let message = setting.message(object, &name).await;
        assert!(message.contains(says), "{object}: {message}");
        assert_eq!(setting.changes_of(&name), 0, "{object}");
    }
    setting.finish().await;
}
