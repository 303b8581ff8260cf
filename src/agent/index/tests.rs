use super::*;

mod assumed;

pub(crate) fn object(name: &str) -> ObjectRef {
    ObjectRef { source: SourceKind::Service, namespace: "default".into(), name: name.into() }
}

pub(crate) fn wants(object: &ObjectRef, hosts: &[(&str, &str)]) -> Extraction {
    let endpoint = |(host, target): &(&str, &str)| Endpoint {
        key: EndpointKey {
            source: object.source.as_str().into(),
            namespace: object.namespace.clone(),
            object: object.name.clone(),
            dns_name: (*host).into(),
            record_type: "A".into(),
            set_identifier: "".into(),
        },
        targets: vec![(*target).into()],
        ..Endpoint::default()
    };
    Extraction { endpoints: hosts.iter().map(endpoint).collect(), ..Extraction::default() }
}

fn waits_for(host: &str) -> Extraction {
    Extraction {
        unknown: Unknown::Hosts(BTreeMap::from([(
            host.into(),
            Pending::Status("no address".to_owned()),
        )])),
        ..Extraction::default()
    }
}

fn index() -> Index {
    Index::new([SourceKind::Service])
}

fn said(changes: &[IndexChange]) -> Vec<String> {
    let say = |change: &IndexChange| match change {
        IndexChange::Put { endpoint, .. } => {
            format!("put {} {}", endpoint.key.dns_name, endpoint.targets.join(","))
        }
        IndexChange::Del { key, cause, .. } => format!("del {} {cause:?}", key.dns_name),
    };
    changes.iter().map(say).collect()
}

fn apply(index: &mut Index, name: &str, extraction: Extraction) -> Vec<String> {
    said(&index.apply(&object(name), &"file".into(), extraction))
}

#[test]
fn the_same_content_again_changes_nothing() {
    let mut index = index();
    let web = object("web");
    assert_eq!(
        apply(&mut index, "web", wants(&web, &[("a", "1"), ("b", "1")])),
        ["put a 1", "put b 1"]
    );
    assert!(apply(&mut index, "web", wants(&web, &[("a", "1"), ("b", "1")])).is_empty());
    assert_eq!(apply(&mut index, "web", wants(&web, &[("a", "2"), ("b", "1")])), ["put a 2"]);
    assert_eq!(index.digest().count(), 2);
}

#[test]
fn silence_never_deletes_a_host_that_waits_for_its_status() {
    let mut index = index();
    let web = object("web");
    apply(&mut index, "web", wants(&web, &[("a", "1"), ("b", "1")]));
    assert_eq!(apply(&mut index, "web", waits_for("a")), ["del b HostRemoved"]);
    assert_eq!(index.digest().count(), 1);
    assert_eq!(said(&index.delete(&web)), ["del a ObjectDeleted"]);
    assert_eq!(*index.digest(), SetDigest::default());
}

#[test]
fn a_host_that_never_had_targets_keeps_its_source_from_being_complete() {
    let mut index = index();
    let web = object("web");
    index.reset(SourceKind::Service, vec![(web.clone(), "file".into(), waits_for("a"))]);
    assert_eq!(index.sources()[0].last_error.as_deref(), Some("no address"));
    apply(&mut index, "web", wants(&web, &[("a", "1")]));
    assert!(index.sources()[0].synced);
    apply(&mut index, "web", waits_for("a"));
    assert!(index.sources()[0].synced, "what is held here is not absent");
}

#[test]
fn a_complete_list_withdraws_what_is_not_in_it() {
    let mut index = index();
    assert!(!index.listed() && !index.sources()[0].synced);
    let (one, two) = (object("one"), object("two"));
    let list = |objects: &[&ObjectRef]| {
        objects.iter().map(|o| ((*o).clone(), "f".into(), wants(o, &[("a", "1")]))).collect()
    };
    index.reset(SourceKind::Service, list(&[&one, &two]));
    assert!(index.listed());
    assert_eq!(said(&index.reset(SourceKind::Service, list(&[&two]))), ["del a ObjectDeleted"]);
}

#[test]
fn a_failing_source_keeps_everything_and_says_why() {
    let mut index = index();
    index.reset(
        SourceKind::Service,
        vec![(object("web"), "f".into(), wants(&object("web"), &[("a", "1")]))],
    );
    index.fail(SourceKind::Service, "the folder is gone".to_owned());
    assert_eq!(index.digest().count(), 1);
    assert_eq!(index.sources()[0].last_error.as_deref(), Some("the folder is gone"));
}

#[test]
fn an_endpoint_too_large_to_send_is_said_and_keeps_what_was_there() {
    let mut index = index();
    let web = object("web");
    apply(&mut index, "web", wants(&web, &[("a", "1")]));
    assert!(
        apply(&mut index, "web", wants(&web, &[("a", &"x".repeat(MAX_ENDPOINT_BYTES))])).is_empty()
    );
    assert_eq!(index.warnings().count(), 1);
    assert_eq!(index.digest().count(), 1);
}

#[test]
fn a_bucket_holds_the_keys_with_its_first_byte() {
    let mut index = index();
    let web = object("web");
    let hosts: Vec<String> = (0..600).map(|n| format!("h{n}")).collect();
    let hosts: Vec<(&str, &str)> = hosts.iter().map(|host| (host.as_str(), "1")).collect();
    apply(&mut index, "web", wants(&web, &hosts));
    let total: usize = (0..=u8::MAX)
        .map(|bucket| index.bucket(bucket).filter(|(hash, _)| hash.0[0] == bucket).count())
        .sum();
    assert_eq!(total, 600);
}

#[test]
fn a_reverse_record_waits_with_the_host_that_it_points_to() {
    let web = object("web");
    let with_reverse = |host: &str| {
        let mut wanted = wants(&web, &[(host, "192.0.2.1")]);
        let mut reverse = wanted.endpoints[0].clone();
        (reverse.key.dns_name, reverse.key.record_type) =
            ("1.2.0.192.in-addr.arpa".into(), "PTR".into());
        reverse.targets = vec![host.into()];
        wanted.endpoints.push(reverse);
        wanted
    };
    let mut index = index();
    apply(&mut index, "web", with_reverse("a"));
    assert!(apply(&mut index, "web", waits_for("a")).is_empty());
    assert!(index.iter().all(|(_, held)| matches!(held.standing, EntryState::Waiting(_))));
    let mut withdrawn = apply(&mut index, "web", waits_for("b"));
    withdrawn.sort();
    assert_eq!(withdrawn, ["del 1.2.0.192.in-addr.arpa HostRemoved", "del a HostRemoved"]);
}

#[test]
fn an_unknown_region_is_published_and_told() {
    let mut index = index();
    let web = object("web");
    let mut wanted = wants(&web, &[("a", "1")]);
    wanted.endpoints[0].key.set_identifier = "one".into();
    wanted.endpoints[0].properties = BTreeMap::from([("aws/region".into(), "eu-west-9".into())]);
    assert_eq!(apply(&mut index, "web", wanted), ["put a 1"]);
    let warnings = index.warnings_of(&web);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("aws/region is \"eu-west-9\""), "{warnings:?}");
}

fn partly(mut extraction: Extraction, host: &str, silent: &[&str]) -> Extraction {
    let silent = silent.iter().map(|name| ArcStr::from(*name)).collect();
    extraction.partial = [(ArcStr::from(host), silent)].into();
    let pending = Pending::Status("one is silent".to_owned());
    extraction.unknown = Unknown::Hosts([(ArcStr::from(host), pending)].into());
    extraction
}

#[test]
fn what_is_known_partly_never_takes_the_place_of_what_was_known_better() {
    let mut index = index();
    let web = object("web");
    apply(&mut index, "web", wants(&web, &[("a", "both")]));
    assert!(
        apply(&mut index, "web", partly(wants(&web, &[("a", "one")]), "a", &["two"])).is_empty()
    );
    let standing = |index: &Index| index.iter().next().unwrap().1.standing.clone();
    assert_eq!(standing(&index), EntryState::Waiting("one is silent".to_owned()));
    assert_eq!(apply(&mut index, "web", wants(&web, &[("a", "one")])), ["put a one"]);
    assert_eq!(standing(&index), EntryState::Wanted);
    assert_eq!(said(&index.delete(&web)), ["del a ObjectDeleted"], "it was seen to be deleted");
}

#[test]
fn a_name_that_is_new_is_published_as_it_is_known_and_follows_who_is_not_silent() {
    let mut index = index();
    let web = object("web");
    let known = |target: &str, silent: &[&str]| partly(wants(&web, &[("a", target)]), "a", silent);
    assert_eq!(apply(&mut index, "web", known("one", &["two"])), ["put a one"]);
    assert_eq!(apply(&mut index, "web", known("moved", &["two"])), ["put a moved"]);
    assert!(
        apply(&mut index, "web", known("less", &["two", "three"])).is_empty(),
        "three is silent now"
    );
    assert_eq!(apply(&mut index, "web", known("one", &["two"])), ["put a one"]);
    assert_eq!(apply(&mut index, "web", wants(&web, &[("a", "both")])), ["put a both"]);
    assert!(apply(&mut index, "web", known("one", &["two"])).is_empty(), "two had a part in it");
}

#[test]
fn what_the_broker_holds_is_compared_before_something_known_partly_is_published() {
    let mut index = index();
    let web = object("web");
    index.require_proof(SourceKind::Service);
    index.complete(SourceKind::Service);
    let known = || partly(wants(&web, &[("a", "one"), ("b", "one")]), "a", &["two"]);
    assert_eq!(apply(&mut index, "web", known()), ["put b one"]);
    let kept = |target: &str| {
        let endpoint = wants(&web, &[("a", target)]).endpoints.remove(0);
        let standing = EntryState::Waiting("it is silent".to_owned());
        Kept { version: endpoint.version(), key: endpoint.key, object: web.clone(), standing }
    };
    index.prove(SourceKind::Service, vec![kept("both")]);
    assert!(apply(&mut index, "web", known()).is_empty(), "the broker knows it better");
    let mut same = self::index();
    same.prove(SourceKind::Service, vec![kept("one")]);
    apply(&mut same, "web", known());
    assert_eq!(same.iter().filter(|(_, held)| held.standing == EntryState::Wanted).count(), 2);
    let moved = partly(wants(&web, &[("a", "moved"), ("b", "one")]), "a", &["two"]);
    assert_eq!(apply(&mut same, "web", moved), ["put a moved"]);
    let mut unheld = self::index();
    unheld.prove(SourceKind::Service, vec![]);
    assert_eq!(apply(&mut unheld, "web", known()).len(), 2, "nothing to lose");
}

#[test]
fn what_is_released_while_it_is_known_partly_is_published_as_it_is_known() {
    let mut index = index();
    let web = object("web");
    apply(&mut index, "web", wants(&web, &[("a", "both")]));
    let known = |target: &str| partly(wants(&web, &[("a", target)]), "a", &["two"]);
    apply(&mut index, "web", known("one"));
    let changes = said(&index.release(|held| held.endpoint.key.dns_name == "a"));
    assert_eq!(changes, ["del a Released", "put a one"]);
    assert_eq!(apply(&mut index, "web", known("moved")), ["put a moved"]);
}
