use proptest::prelude::*;

use super::*;

const CAPTURED: &str = concat!(
    include_str!("../../../tests/data/route53-errors.jsonl"),
    include_str!("../../../tests/data/route53-errors-2.jsonl")
);

fn name(text: &str) -> Option<DnsName> {
    Some(DnsName::parse(text).unwrap())
}

/// The culprits of a captured message.
fn captured(id: &str) -> Vec<Culprit> {
    culprits(&captured_text(id))
}

/// A captured message with its placeholders filled in.
fn captured_text(id: &str) -> String {
    let row = CAPTURED
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .find(|row| row["id"] == id)
        .unwrap_or_else(|| panic!("no row {id}"));
    row["message"]
        .as_str()
        .unwrap()
        .replace("{name as sent}", "www.example.com")
        .replace("{name}", "www.example.com.")
        .replace("{type}", "A")
        .replace("{zone}", "example.com.")
        .replace("{sid}", "east")
        .replace("{region}", "us-east-1")
        .replace("{action}", "CREATE")
        .replace("{target}", "lb.example.com.")
        .replace("{alias_zone_id}", "Z1")
        .replace("{zone_id}", "Z1")
        .replace(
            "{value}",
            "v=spf1, Tried to delete resource record set [name='victim.example.com.', type='A'] but it was not found",
        )
}

#[test]
fn every_captured_message_names_its_culprit_as_far_as_it_can_be_known() {
    use CulpritKind::*;
    let (www, none) = (Some("www.example.com."), None);
    let (a, east) = (Some(RecordType::A), Some("east"));
    let rows = [
        ("create-exists", Exists, www, a, none),
        ("create-exists-old", Exists, www, a, none),
        ("delete-missing", NotFound, www, a, none),
        ("delete-mismatch", Mismatch, www, a, none),
        ("cname-conflict", CnameConflict, www, Some(RecordType::Cname), none),
        ("conflict-with-cname", CnameConflict, www, a, none),
        ("cname-apex", Other, www, Some(RecordType::Cname), none),
        ("wrong-zone", Other, www, None, none),
        ("dup-rrset-in-batch", Other, www, a, none),
        ("batch-1000", Limit, none, None, none),
        ("batch-32000", Limit, none, None, none),
        ("batch-4000", Limit, none, None, none),
        ("zone-10000", ZoneQuota, none, None, none),
        ("rrset-100", Limit, none, None, none),
        ("weighted-100", Limit, www, a, none),
        ("weighted-where-simple", Other, www, a, east),
        ("simple-where-other", Other, www, a, none),
        ("multivalue-where-simple", Other, www, a, east),
        ("weighted-ttl", Other, www, a, east),
        ("latency-region-dup", Other, www, a, east),
        ("failover-no-hc", Other, none, None, none),
        ("soa-delete", Other, none, None, none),
        ("ns-delete", Other, none, None, none),
        ("alias-missing", Other, none, a, none),
        ("missing-ttl", Other, www, a, none),
        ("missing-setid", Other, www, a, none),
        ("setid-no-policy", Other, www, a, east),
        ("label-empty", Other, none, None, none),
        ("name-empty", Other, none, None, none),
        ("dup-value", Other, none, None, none),
        ("bad-txt", Other, none, None, none),
        ("txt-255", Other, none, None, none),
        ("xml-wrong-order", Other, none, None, none),
        ("create-exists-setid", Exists, www, a, east),
        ("delete-mismatch-setid", Mismatch, www, a, east),
        ("cname-loop", Other, www, Some(RecordType::Cname), none),
        ("ds-apex", Other, www, Some(RecordType::Ds), none),
        ("alias-ns", Other, www, Some(RecordType::Ns), none),
        ("geo-taken", Other, www, a, east),
        ("geo-where-other", Other, www, a, east),
        ("latency-where-other", Other, www, a, east),
        ("cidr-private-zone", Other, www, a, east),
        ("cidr-other-collection", Other, www, a, east),
        ("policy-not-for-type", Other, www, a, east),
        ("failover-alias-health", Other, www, a, east),
        ("weighted-ttl-2026", Other, www, a, east),
        ("setid-no-policy-2025", Other, www, a, east),
        ("geoprox-30", Limit, www, a, none),
        ("rrset-400", Limit, none, None, none),
        ("alias-other-service-zone", Other, none, a, none),
        ("geo-unknown-country", Other, none, None, none),
        ("latency-unknown-region", Other, none, None, none),
        ("geoprox-unknown-zone-group", Other, none, None, none),
        ("multivalue-alias", Other, none, None, none),
        ("simple-health-check", Other, none, None, none),
        ("svcb-priority", Other, none, None, none),
        ("caa-tag", Other, none, None, none),
        ("name-space", Other, none, None, none),
    ];
    for (id, kind, owner, rtype, set_identifier) in rows {
        let found = captured(id);
        assert_eq!(found.len(), 1, "{id}: {found:?}");
        assert_eq!(found[0].kind, kind, "{id}");
        assert_eq!(found[0].name, owner.and_then(name), "{id}");
        assert_eq!(found[0].rtype, rtype, "{id}");
        assert_eq!(found[0].set_identifier.as_deref(), set_identifier, "{id}");
    }
}

#[test]
fn a_list_names_one_culprit_for_each_sentence_in_its_order() {
    let found = culprits(
        "[Tried to create resource record set [name='a.example.com.', type='A'] but it already exists, \
         Tried to delete resource record set [name='\\052.example.com.', type='TXT', set-identifier='x, y'] but it was not found, \
         RRSet with DNS name b.example.org. is not permitted in zone example.com., \
         Number of records limit of 1000 exceeded.]",
    );
    let kinds: Vec<_> = found.iter().map(|culprit| culprit.kind).collect();
    assert_eq!(
        kinds,
        [CulpritKind::Exists, CulpritKind::NotFound, CulpritKind::Other, CulpritKind::Limit]
    );
    assert_eq!(found[1].name, name("*.example.com"));
    assert_eq!(found[1].set_identifier.as_deref(), Some("x, y"));
    assert_eq!(found[2].name, name("b.example.org"));
    assert_eq!(captured("alias-outside-zone").len(), 2);
}

/// A refusal of a set with routing names it; else its whole batch would be searched for it.
#[test]
fn both_spellings_of_a_set_identifier_are_read() {
    for spelling in ["set-identifier", "set identifier"] {
        let found = culprits(&format!(
            "[Tried to create resource record set [name='www.example.com.', type='A', {spelling}='east'] but it already exists]"
        ));
        assert_eq!((found.len(), found[0].kind), (1, CulpritKind::Exists), "{spelling}");
        assert_eq!(found[0].set_identifier.as_deref(), Some("east"), "{spelling}");
    }
}

#[test]
fn sentences_that_name_nothing_do_not_hide_those_behind_them() {
    let found = captured("wildcard-ns");
    let kinds: Vec<_> = found.iter().map(|culprit| culprit.kind).collect();
    assert_eq!(kinds, [CulpritKind::Other, CulpritKind::NotFound]);
    assert_eq!(captured("alias-loop-self").len(), 2);
    // The capture lost its last bracket.
    let found = culprits(&(captured_text("cname-conflict-and-loop") + "]"));
    assert_eq!((found.len(), found[0].kind), (2, CulpritKind::CnameConflict));
}

#[test]
fn a_place_in_the_batch_names_the_change_that_stands_there() {
    let change = |owner: &str| {
        let mut change = change("east");
        change.set.name = owner.into();
        change.set.rtype = "A".into();
        change
    };
    let changes = [change("a.example.com."), change("b.example.com.")];
    let message = captured_text("weight-256").replace("changes.1.", "changes.2.");
    let found = culprits_of(&message, &changes);
    assert_eq!((found.len(), &found[0].name), (1, &name("b.example.com")));
    assert_eq!(found[0].set_identifier.as_deref(), Some("east"));
    for place in ["0", "3", "x", "99999999999999999999"] {
        let message =
            captured_text("weight-256").replace("changes.1.", &format!("changes.{place}."));
        assert_eq!(culprits_of(&message, &changes)[0].name, None, "{place}");
    }
    let forged = captured_text("cidr-collection-id")
        .replace("not-a-uuid", "x' at 'changeBatch.changes.2.member.resourceRecordSet.weight");
    assert_eq!(culprits_of(&forged, &changes)[0].name, name("a.example.com"));
}

#[test]
fn whoever_carries_what_a_message_repeats_is_recognised() {
    let gone = "0e8f9c14-6d63-4d6b-8c4e-3f1f6a3a1b11";
    let message = format!("No health check exists with the ID: {gone}");
    let carrying =
        |id: &str| RawRecordSet { health_check_id: Some(id.into()), ..RawRecordSet::default() };
    assert!(is_repeated(&message, &carrying(gone)));
    for other in ["0e8f9c14", "health", "", "11"] {
        let is_word = other == "health";
        assert_eq!(is_repeated(&message, &carrying(other)), is_word, "{other}");
    }
    let alias = RawRecordSet {
        alias: Some(crate::core::dns::record::RawAlias {
            zone_id: "Z1".into(),
            name: "lb.example.com.".into(),
            evaluate_target_health: false,
        }),
        ..RawRecordSet::default()
    };
    let text = "[Tried to create an alias that targets lb.example.com., type A in zone Z1, but the alias target name does not lie within the target zone]";
    assert!(is_repeated(text, &alias));
    assert!(!is_repeated(text, &RawRecordSet::default()));
}

#[test]
fn a_value_that_looks_like_a_sentence_blames_nobody() {
    let found = captured("bad-txt");
    assert_eq!((found.len(), &found[0].name), (1, &None));
    assert!(found[0].text.contains("victim"));
}

fn change(set_identifier: &str) -> WireChange {
    let set =
        RawRecordSet { set_identifier: Some(set_identifier.into()), ..RawRecordSet::default() };
    WireChange { action: crate::core::planning::change::Action::Create, set }
}

#[test]
fn a_set_identifier_that_looks_like_a_sentence_blames_nobody() {
    let forged = "x cannot be created., Tried to create resource record set [name='victim.example.com.', type='A'] but it \
                  already exists, RRSet with DNS name www.example.com., type A";
    let message = format!(
        "[RRSet with DNS name www.example.com. and type A, SetIdentifier {forged} cannot be created as weighted sets must \
         contain the same TTL.]"
    );
    let found = culprits_of(&message, &[change("east"), change(forged)]);
    assert_eq!((found.len(), &found[0].name, found[0].kind), (1, &None, CulpritKind::Other));
    assert_eq!(
        culprits_of(&captured_text("create-exists"), &[change("east")]),
        captured("create-exists")
    );
}

#[test]
fn a_set_identifier_that_speaks_of_permission_is_read_as_one() {
    let text = "RRSet with DNS name www.example.com., type A, SetIdentifier east is not permitted cannot be created as a \
                non-weighted set exists with the same name and type.";
    let found = culprits(text);
    assert_eq!(found[0].name, name("www.example.com"));
    assert_eq!(found[0].set_identifier.as_deref(), Some("east is not permitted"));
}

#[test]
fn an_unknown_sentence_is_a_culprit_without_a_name_and_a_protection_is_recognised() {
    let found = culprits("[Something new about www.example.com.]");
    assert_eq!((found.len(), found[0].kind, &found[0].name), (1, CulpritKind::Other, &None));
    let found =
        culprits("[Resource record set www.example.com. A is protected: ask the network team]");
    assert_eq!(found[0].kind, CulpritKind::Protected);
    assert!(culprits("").is_empty() && culprits("[]").is_empty());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_or_lose_the_message(text in "\\PC*") {
        let found = culprits(&text);
        prop_assert!(found.iter().all(|culprit| text.contains(&culprit.text)));
    }

    #[test]
    fn no_mixture_of_known_pieces_makes_it_panic(pieces in prop::collection::vec(
        prop::sample::select(vec![
            "[", "]", "'", ", ", " ", "é", "Tried to ", "create resource record set [name='", "', type='", "A'", "] but ",
            ", set identifier='", ", set-identifier='", ", and routing to ", " cannot be a primary", "RRSet of type ", " with DNS name ", "RRSet with DNS name ", " is not permitted", ", type ",
            ", SetIdentifier ", " cannot be created", "Invalid request: ", " in Change with [Action=", ", Name=", ", Type=",
            "Exceeded limit on number of ", " RRSets for ", "The request contains an invalid set of changes for a resource record set '",
        ]), 0..20)) {
        culprits(&pieces.concat());
    }
}
