//! Objects with a word that means nothing.

use super::*;

/// The same, read without a word that means nothing.
fn assumed(extraction: Extraction) -> Extraction {
    Extraction { assumes: Some("the word is wrong".to_owned()), ..extraction }
}

fn standing(index: &Index, host: &str) -> EntryState {
    let held = index.iter().find(|(_, held)| held.endpoint.key.dns_name == host);
    held.unwrap().1.standing.clone()
}

#[test]
fn under_a_word_that_means_nothing_a_published_name_stays_as_it_is_and_another_is_read() {
    let (mut index, web) = (index(), object("web"));
    apply(&mut index, "web", wants(&web, &[("a", "1"), ("gone", "1")]));
    let read = assumed(wants(&web, &[("a", "2"), ("b", "2")]));
    assert_eq!(
        apply(&mut index, "web", read),
        ["put b 2", "del gone HostRemoved"],
        "no reading of the word names the third one"
    );
    assert_eq!(standing(&index, "a"), EntryState::Waiting("the word is wrong".to_owned()));
    assert_eq!(standing(&index, "b"), EntryState::Wanted);
    let read = assumed(wants(&web, &[("a", "3"), ("b", "3")]));
    assert_eq!(
        apply(&mut index, "web", read),
        ["put b 3"],
        "what was read without the word stays up to date"
    );
    let corrected = wants(&web, &[("a", "3"), ("b", "3")]);
    assert_eq!(apply(&mut index, "web", corrected), ["put a 3"]);
    assert_eq!(standing(&index, "a"), EntryState::Wanted);
    assert_eq!(
        apply(&mut index, "web", assumed(wants(&web, &[("a", "4"), ("b", "4")]))),
        Vec::<String>::new(),
        "both were published under a word that meant something"
    );
}

#[test]
fn a_name_without_targets_under_such_a_word_stays_too() {
    let (mut index, web) = (index(), object("web"));
    apply(&mut index, "web", wants(&web, &[("a", "1")]));
    assert!(apply(&mut index, "web", assumed(waits_for("a"))).is_empty());
    assert_eq!(said(&index.delete(&web)), ["del a ObjectDeleted"]);
}

fn kept(object: &ObjectRef, host: &str, target: &str) -> Kept {
    let endpoint = wants(object, &[(host, target)]).endpoints.remove(0);
    Kept {
        version: endpoint.version(),
        key: endpoint.key,
        object: object.clone(),
        standing: EntryState::Waiting("as judged".to_owned()),
    }
}

#[test]
fn after_a_restart_such_an_object_is_read_once_it_is_known_what_the_broker_holds() {
    let (mut index, web) = (index(), object("web"));
    index.require_proof(SourceKind::Service);
    let read = || assumed(wants(&web, &[("a", "2"), ("b", "2"), ("c", "2")]));
    assert!(apply(&mut index, "web", read()).is_empty(), "it may be published already");
    index.complete(SourceKind::Service);
    // Of these, the broker holds one under another word, and one as it is read now.
    let held = vec![kept(&web, "a", "1"), kept(&web, "b", "2")];
    assert_eq!(said(&index.prove(SourceKind::Service, held)), ["put c 2"]);
    assert!(matches!(standing(&index, "a"), EntryState::Waiting(_)));
    let read = assumed(wants(&web, &[("a", "3"), ("b", "3"), ("c", "3")]));
    assert_eq!(apply(&mut index, "web", read), ["put b 3", "put c 3"]);
}

#[test]
fn an_object_that_is_corrected_or_deleted_is_not_held_back_any_more() {
    let (mut index, web, api) = (index(), object("web"), object("api"));
    index.require_proof(SourceKind::Service);
    for object in [&web, &api] {
        index.apply(object, &"file".into(), assumed(wants(object, &[("a", "1")])));
    }
    assert_eq!(apply(&mut index, "web", wants(&web, &[("a", "2")])), ["put a 2"]);
    index.delete(&api);
    assert!(index.prove(SourceKind::Service, vec![]).is_empty());
}

#[test]
fn the_reverse_records_of_a_name_that_stays_stay_too() {
    let (mut index, web) = (index(), object("web"));
    let with_reverse = |reverse: &str, target: &str| {
        let mut extraction = wants(&web, &[("a", target), (reverse, "a")]);
        extraction.endpoints[1].key.record_type = "PTR".into();
        extraction
    };
    apply(&mut index, "web", with_reverse("1.arpa", "1"));
    assert!(apply(&mut index, "web", assumed(with_reverse("2.arpa", "2"))).is_empty());
    assert!(matches!(standing(&index, "1.arpa"), EntryState::Waiting(_)));
}
