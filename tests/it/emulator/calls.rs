//! The emulator as the AWS clients see it.

use aws_sdk_route53::config::Credentials;
use aws_sdk_route53::types::ChangeAction::{Create, Delete, Upsert};
use zonefold::core::dns::record::RawRecordSet;
use zonefold::emulator::*;

use crate::emulator::support::*;

async fn assume(
    emulator: &EmulatorHandle,
    external_id: &str,
) -> Result<Credentials, (String, String)> {
    let call = sts(emulator, user())
        .assume_role()
        .role_arn(ROLE)
        .role_session_name("test")
        .external_id(external_id);
    let output = call.send().await.map_err(refusal)?;
    let issued = output.credentials.unwrap();
    Ok(Credentials::new(
        issued.access_key_id,
        issued.secret_access_key,
        Some(issued.session_token),
        None,
        "test",
    ))
}

#[tokio::test]
async fn an_assumed_role_works_in_its_own_account_until_it_expires() {
    let emulator = start(config()).await;
    let credentials = assume(&emulator, "right").await.unwrap();
    let identity = sts(&emulator, credentials.clone()).get_caller_identity().send().await.unwrap();
    assert_eq!(identity.account(), Some(OTHER_ACCOUNT));
    assert_eq!(identity.arn(), Some("arn:aws:sts::222222222222:assumed-role/zonefold/test"));
    let client = route53(&emulator, credentials);
    let zones = client.list_hosted_zones().send().await.unwrap();
    assert_eq!(
        zones.hosted_zones().iter().map(|zone| zone.name()).collect::<Vec<_>>(),
        ["example.net."]
    );
    let (code, message) = refusal(client.get_hosted_zone().id(ZONE).send().await.unwrap_err());
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("NoSuchHostedZone", "No hosted zone found with ID: Z0EXAMPLE")
    );
    emulator.stop().await;
}

#[tokio::test]
async fn an_expired_token_is_refused_before_anything_is_applied() {
    let mut config = config();
    config.signature = SignatureMode::Trust;
    let emulator = start(config).await;
    let client = route53(&emulator, assume(&emulator, "right").await.unwrap());
    emulator.control().step(3_599_999);
    client.list_hosted_zones().send().await.unwrap();
    emulator.control().step(1);
    let (code, message) = refusal(client.list_hosted_zones().send().await.unwrap_err());
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("ExpiredToken", "The security token included in the request is expired")
    );
    emulator.stop().await;
}

#[tokio::test]
async fn a_wrong_external_id_and_a_missing_role_read_the_same() {
    let emulator = start(config()).await;
    let (code, message) = assume(&emulator, "wrong").await.unwrap_err();
    assert_eq!(code, "AccessDenied");
    assert_eq!(
        message,
        "User: arn:aws:iam::111111111111:user/admin is not authorized to perform: sts:AssumeRole on resource: \
         arn:aws:iam::222222222222:role/zonefold"
    );
    emulator.stop().await;
}

#[tokio::test]
async fn a_wrong_secret_does_not_pass() {
    let emulator = start(config()).await;
    let client = route53(&emulator, Credentials::new(KEY, "not-the-secret", None, None, "test"));
    let (code, _) = refusal(client.list_hosted_zones().send().await.unwrap_err());
    assert_eq!(code, "SignatureDoesNotMatch");
    let client = route53(&emulator, Credentials::new("AKIAUNKNOWN", SECRET, None, None, "test"));
    let (code, _) = refusal(client.list_hosted_zones().send().await.unwrap_err());
    assert_eq!(code, "InvalidClientTokenId");
    emulator.stop().await;
}

#[tokio::test]
async fn a_signature_holds_for_five_minutes() {
    let emulator = start(config()).await;
    let client = route53(&emulator, user());
    emulator.control().add_fault(FaultRule {
        times: Some(1),
        ..FaultRule::always(FaultEffect::ClockSkew { skew_ms: 310_000 })
    });
    let (code, message) = refusal(client.list_hosted_zones().send().await.unwrap_err());
    assert_eq!(code, "SignatureDoesNotMatch");
    assert!(
        message.starts_with("Signature expired: ") && message.ends_with(" - 5 min.)"),
        "{message}"
    );
    // This client has learned from the answer what time it was at the emulator; another one goes by its own clock.
    route53(&emulator, user()).list_hosted_zones().send().await.unwrap();
    emulator.stop().await;
}

#[tokio::test]
async fn paging_with_odd_names_answers_every_set_once_and_in_order() {
    let emulator = start(config()).await;
    let client = route53(&emulator, user());
    let names = ["*", "a b", "a-b", "a", "x.a", "_tcp", "1", "@", "é", "b+c", "100%"];
    let owners: Vec<String> = names
        .iter()
        .map(|label| format!("{}.example.com", label.replace(' ', "\\040").replace('é', "\\351")))
        .collect();
    let sets = owners.iter().map(|owner| (Create, a_set(owner, 60, &["192.0.2.1"]))).collect();
    change(&client, sets).await.unwrap();

    let mut listed = Vec::new();
    let mut from: Option<(String, aws_sdk_route53::types::RrType)> = None;
    loop {
        let mut call = client.list_resource_record_sets().hosted_zone_id(ZONE).max_items(2);
        if let Some((name, rtype)) = from {
            call = call.start_record_name(name).start_record_type(rtype);
        }
        let page = call.send().await.unwrap();
        listed.extend(
            page.resource_record_sets()
                .iter()
                .map(|set| format!("{} {}", set.name(), set.r#type())),
        );
        if !page.is_truncated() {
            break;
        }
        from = Some((page.next_record_name.unwrap(), page.next_record_type.unwrap()));
    }
    let dumped = emulator.control().records(&ZONE.parse().unwrap(), View::Accepted).unwrap();
    let dumped: Vec<String> =
        dumped.iter().map(|set| format!("{} {}", set.name, set.rtype)).collect();
    assert_eq!(listed, dumped);
    assert_eq!(listed.len(), names.len() + 2);
    let mut sorted: Vec<_> =
        listed.iter().map(|line| name(line.split(' ').next().unwrap())).collect();
    sorted.sort();
    let in_order: Vec<_> =
        listed.iter().map(|line| name(line.split(' ').next().unwrap())).collect();
    assert_eq!(in_order, sorted);
    emulator.stop().await;
}

#[tokio::test]
async fn a_delete_is_a_compare_and_delete_and_a_batch_is_all_or_nothing() {
    let emulator = start(config()).await;
    let client = route53(&emulator, user());
    let owner = "www.example.com";
    change(&client, vec![(Create, a_set(owner, 60, &["192.0.2.1", "192.0.2.2"]))]).await.unwrap();
    let before = emulator.control().records(&ZONE.parse().unwrap(), View::Accepted).unwrap();
    let stale = vec![
        (Create, a_set("new.example.com", 60, &["192.0.2.9"])),
        (Delete, a_set(owner, 61, &["192.0.2.1", "192.0.2.2"])),
    ];
    let (code, message) = change(&client, stale).await.unwrap_err();
    assert_eq!(code, "InvalidChangeBatch");
    assert_eq!(
        message,
        "[Tried to delete resource record set [name='www.example.com.', type='A'] but the values provided do not match the \
         current values]"
    );
    assert_eq!(emulator.control().records(&ZONE.parse().unwrap(), View::Accepted).unwrap(), before);
    let swap = vec![
        (Delete, a_set(owner, 60, &["192.0.2.2", "192.0.2.1"])),
        (Create, a_set(owner, 30, &["192.0.2.3"])),
    ];
    change(&client, swap).await.unwrap();
    let journal = emulator.control().journal(1);
    let changes: Vec<_> = journal[0]
        .changes
        .iter()
        .map(|change| (change.before.is_some(), change.after.is_some()))
        .collect();
    assert_eq!(changes, [(true, false), (false, true)]);
    assert!(emulator.control().blind_overwrites().is_empty());
    change(&client, vec![(Upsert, a_set(owner, 30, &["192.0.2.4"]))]).await.unwrap();
    assert_eq!(emulator.control().blind_overwrites().len(), 1);
    emulator.stop().await;
}

#[tokio::test]
async fn zones_are_created_tagged_found_and_deleted() {
    let emulator = start(config()).await;
    let client = route53(&emulator, user());
    let created = client
        .create_hosted_zone()
        .name("New.Example.org")
        .caller_reference("one")
        .send()
        .await
        .unwrap();
    let zone = created.hosted_zone().unwrap();
    assert_eq!((zone.name(), zone.resource_record_set_count()), ("new.example.org.", Some(2)));
    assert!(created.location().contains("/2013-04-01/hostedzone/Z"));
    assert_eq!(created.delegation_set().unwrap().name_servers().len(), 4);
    let (code, _) = refusal(
        client
            .create_hosted_zone()
            .name("x.example.org")
            .caller_reference("one")
            .send()
            .await
            .unwrap_err(),
    );
    assert_eq!(code, "HostedZoneAlreadyExists");

    let bare = zone.id().trim_start_matches("/hostedzone/");
    let tag = aws_sdk_route53::types::Tag::builder().key("team").value("a&b").build();
    let kind = aws_sdk_route53::types::TagResourceType::Hostedzone;
    client
        .change_tags_for_resource()
        .resource_type(kind.clone())
        .resource_id(bare)
        .add_tags(tag.clone())
        .send()
        .await
        .unwrap();
    let tags = client
        .list_tags_for_resources()
        .resource_type(kind)
        .resource_ids(bare)
        .send()
        .await
        .unwrap();
    assert_eq!(tags.resource_tag_sets()[0].tags(), [tag]);

    let by_name =
        client.list_hosted_zones_by_name().dns_name("new.example.org").send().await.unwrap();
    assert_eq!(by_name.hosted_zones()[0].name(), "new.example.org.");
    client.delete_hosted_zone().id(zone.id()).send().await.unwrap();
    let count = client.get_hosted_zone_count().send().await.unwrap();
    assert_eq!(count.hosted_zone_count(), 1);
    // The caller reference stays used.
    let again = client.create_hosted_zone().name("new.example.org").caller_reference("one");
    assert_eq!(refusal(again.send().await.unwrap_err()).0, "HostedZoneAlreadyExists");
    emulator.stop().await;
}

#[tokio::test]
async fn the_limits_of_2026_hold_and_a_throttled_call_costs_nothing() {
    let mut config = config();
    config.accounts[0].limits = LimitsConfig::of(LimitsProfile::Published2026);
    config.signature = SignatureMode::Trust;
    let emulator = start(config).await;
    let client = route53(&emulator, user());
    for _ in 0..50 {
        client.get_hosted_zone_count().send().await.unwrap();
    }
    let (code, message) = refusal(client.get_hosted_zone_count().send().await.unwrap_err());
    assert_eq!((code.as_str(), message.as_str()), ("Throttling", "Rate exceeded"));
    emulator.control().step(100);
    client.get_hosted_zone_count().send().await.unwrap();
    let counters = emulator.control().counters();
    let account = &counters.accounts[&ACCOUNT.parse().unwrap()];
    assert_eq!((account.overdrawn, account.requests, account.request_rate.in_1_sec), (1, 52, 52));
    assert_eq!(counters.count(Action::GetHostedZoneCount, "Throttling"), 1);
    assert!(
        counters
            .to_prometheus()
            .contains("zonefold_emulator_overdrawn_total{account=\"111111111111\"} 1\n")
    );
    emulator.stop().await;
}

#[tokio::test]
async fn an_upsert_pays_two_changes() {
    let mut config = config();
    config.accounts[0].limits = LimitsConfig {
        changes: Some(BucketConfig { capacity: 3, per_sec: 1.0 }),
        ..LimitsConfig::of(LimitsProfile::Unlimited)
    };
    let emulator = start(config).await;
    let client = route53(&emulator, user());
    change(&client, vec![(Upsert, a_set("a.example.com", 60, &["192.0.2.1"]))]).await.unwrap();
    let upsert = || vec![(Upsert, a_set("a.example.com", 60, &["192.0.2.2"]))];
    assert_eq!(change(&client, upsert()).await.unwrap_err().0, "Throttling");
    emulator.control().step(1_000);
    change(&client, upsert()).await.unwrap();
    emulator.stop().await;
}

#[tokio::test]
async fn a_zone_is_busy_after_a_change_and_a_change_is_pending_until_it_propagates() {
    let mut config = config();
    config.process_ms = 200;
    config.propagation_ms = 30_000;
    let emulator = start(config).await;
    let client = route53(&emulator, user());
    let id =
        change(&client, vec![(Create, a_set("a.example.com", 60, &["192.0.2.1"]))]).await.unwrap();
    let next = || vec![(Create, a_set("b.example.com", 60, &["192.0.2.1"]))];
    let (code, message) = change(&client, next()).await.unwrap_err();
    assert_eq!(code, "PriorRequestNotComplete");
    assert_eq!(
        message,
        "The request was rejected because Route 53 was still processing a prior request."
    );
    client.list_resource_record_sets().hosted_zone_id(ZONE).send().await.unwrap();
    emulator.control().step(200);
    change(&client, next()).await.unwrap();

    let status =
        async || client.get_change().id(&id).send().await.unwrap().change_info.unwrap().status;
    let zone = ZONE.parse().unwrap();
    let seen = || emulator.control().records(&zone, View::Propagated).unwrap().len();
    assert_eq!((status().await.as_str(), seen()), ("PENDING", 2));
    emulator.control().step(29_800);
    assert_eq!((status().await.as_str(), seen()), ("INSYNC", 3));
    emulator.stop().await;
}

#[tokio::test]
async fn apply_then_reset_applies_and_tells_nobody() {
    for after_bytes in [0, 40] {
        let emulator = start(config()).await;
        let client = route53(&emulator, user());
        emulator.control().add_fault(FaultRule {
            times: Some(1),
            ..FaultRule::always(FaultEffect::ApplyThenReset { after_bytes })
        });
        let create = || vec![(Create, a_set("a.example.com", 60, &["192.0.2.1"]))];
        let (code, _) = change(&client, create()).await.unwrap_err();
        assert_eq!(code, "", "no answer, no code");
        assert_eq!(emulator.control().journal(0).len(), 1);
        let (code, message) = change(&client, create()).await.unwrap_err();
        assert_eq!(code, "InvalidChangeBatch");
        assert!(message.contains("but it already exists"), "{message}");
        assert_eq!(emulator.control().faults()[0].worked, 1);
        emulator.stop().await;
    }
}

#[tokio::test]
async fn a_hanging_call_is_cut_when_the_emulator_stops() {
    let emulator = start(config()).await;
    let client = route53(&emulator, user());
    emulator.control().add_fault(FaultRule::always(FaultEffect::ApplyThenHang {}));
    let control = emulator.control();
    let hanging = tokio::spawn(async move {
        change(&client, vec![(Create, a_set("a.example.com", 60, &["192.0.2.1"]))]).await
    });
    while control.journal(0).is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(!hanging.is_finished());
    emulator.stop().await;
    assert!(hanging.await.unwrap().is_err());
}

#[tokio::test]
async fn nth_and_probability_choose_the_calls_that_fail() {
    let emulator = start(config()).await;
    let client = route53(&emulator, user());
    let matching = FaultMatch {
        nth: Some(2),
        action: Some(Action::GetHostedZoneCount),
        ..FaultMatch::default()
    };
    emulator.control().add_fault(FaultRule {
        matching,
        times: None,
        effect: FaultEffect::HttpError { status: 503 },
    });
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        outcomes.push(client.get_hosted_zone_count().send().await.is_ok());
    }
    assert_eq!(outcomes, [true, false, true]);
    emulator.control().clear_faults();
    let matching = FaultMatch { probability: Some(0.5), ..FaultMatch::default() };
    emulator.control().add_fault(FaultRule {
        matching,
        times: None,
        effect: FaultEffect::Throttle {},
    });
    let mut failed = 0;
    for _ in 0..40 {
        failed += usize::from(client.get_hosted_zone_count().send().await.is_err());
    }
    assert!((8..=32).contains(&failed), "{failed} of 40 with seed 1");
    emulator.stop().await;
}

#[tokio::test]
async fn a_poison_record_refuses_the_batch_that_has_it() {
    let emulator = start(config()).await;
    let client = route53(&emulator, user());
    emulator.control().add_fault(FaultRule::always(FaultEffect::PoisonRecord {
        name: name("bad.example.com"),
        rtype: None,
        message: "no".to_owned(),
    }));
    let good = (Create, a_set("good.example.com", 60, &["192.0.2.1"]));
    let bad = (Create, a_set("bad.example.com", 60, &["192.0.2.1"]));
    assert_eq!(change(&client, vec![good.clone(), bad]).await.unwrap_err().1, "[no]");
    change(&client, vec![good]).await.unwrap();
    emulator.stop().await;
}

#[tokio::test]
async fn a_foreign_write_makes_the_delete_mismatch_and_stands_in_the_journal() {
    let emulator = start(config()).await;
    let client = route53(&emulator, user());
    change(&client, vec![(Create, a_set("a.example.com", 60, &["192.0.2.1"]))]).await.unwrap();
    let theirs = RecordChange {
        action: ChangeAction::Upsert,
        set: RawRecordSet {
            name: "a.example.com".into(),
            rtype: "A".into(),
            ttl_secs: Some(60),
            values: vec!["192.0.2.66".into()],
            ..RawRecordSet::default()
        },
    };
    let effect = FaultEffect::ForeignWrite { when: Moment::Before, changes: vec![theirs] };
    emulator.control().add_fault(FaultRule { times: Some(1), ..FaultRule::always(effect) });
    let (_, message) = change(&client, vec![(Delete, a_set("a.example.com", 60, &["192.0.2.1"]))])
        .await
        .unwrap_err();
    assert!(message.contains("do not match the current values"), "{message}");
    assert_eq!(emulator.control().journal(1)[0].origin, Origin::Foreign);
    emulator.stop().await;
}

#[tokio::test]
async fn a_snapshot_carries_the_zones_over_a_restart() {
    let first = start(config()).await;
    change(&route53(&first, user()), vec![(Create, a_set("a.example.com", 60, &["192.0.2.1"]))])
        .await
        .unwrap();
    let saved = serde_json::to_string(&first.control().snapshot()).unwrap();
    let zone = ZONE.parse().unwrap();
    let records = first.control().records(&zone, View::Accepted).unwrap();
    first.stop().await;
    let second = start(config()).await;
    second.control().restore(serde_json::from_str(&saved).unwrap()).unwrap();
    assert_eq!(second.control().records(&zone, View::Accepted).unwrap(), records);
    assert_eq!(second.control().records(&zone, View::Propagated).unwrap(), records);
    second.stop().await;
}

fn weighted(set: &str, ttl_secs: i64) -> RawRecordSet {
    RawRecordSet {
        name: "w.example.com".into(),
        rtype: "A".into(),
        ttl_secs: Some(ttl_secs),
        values: vec!["192.0.2.1".into()],
        set_identifier: Some(set.into()),
        weight: Some(1),
        ..RawRecordSet::default()
    }
}

#[tokio::test]
async fn a_refused_upsert_puts_back_what_it_would_have_replaced() {
    let emulator = start(config()).await;
    let (control, zone) = (emulator.control(), ZONE.parse().unwrap());
    let change = |action, set| RecordChange { action, set };
    let both = |action, ttl_secs| ["one", "two"].map(|set| change(action, weighted(set, ttl_secs)));
    control.foreign_write(&zone, &both(ChangeAction::Create, 60)).unwrap();
    let before = control.records(&zone, View::Accepted).unwrap();

    let alone = change(ChangeAction::Upsert, weighted("one", 30));
    let error = control.foreign_write(&zone, std::slice::from_ref(&alone)).unwrap_err().to_string();
    assert!(error.contains("weighted sets must contain the same TTL"), "{error}");
    let twice = control.foreign_write(&zone, &[alone.clone(), alone]).unwrap_err().to_string();
    assert!(
        twice.contains("an invalid set of changes for a resource record set 'A w.example.com.'"),
        "{twice}"
    );
    assert_eq!(control.records(&zone, View::Accepted).unwrap(), before);

    control.foreign_write(&zone, &both(ChangeAction::Upsert, 30)).unwrap();
    assert!(
        control
            .records(&zone, View::Accepted)
            .unwrap()
            .iter()
            .all(|set| set.weight.is_none() || set.ttl_secs == Some(30))
    );
    emulator.stop().await;
}
