//! The texts with which Route 53 refuses a batch.

use arcstr::ArcStr;
use zonefold::core::batch::refusal::{culprits, culprits_of};
use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::{RawRecordSet, RecordType};
use zonefold::core::planning::change::{Action, WireChange};
use zonefold::emulator::offline::{Subject, sentences_about};

/// The first byte chooses the type; the bytes after it are a text, and as lines a name, a zone and a set identifier.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = super::split_choice(data) else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    check_text(text);
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (name, zone, set_identifier) = (DnsName::parse(line()), DnsName::parse(line()), line());
    if let (Ok(name), Ok(zone)) = (name, zone) {
        let rtype = RecordType::ALL[choice % RecordType::ALL.len()];
        let set_identifier =
            Some(set_identifier).filter(|text| !text.is_empty() && *text != "null");
        check_blame(&name, &zone, rtype, set_identifier);
        check_sentences(&name, &zone, rtype, set_identifier.filter(|text| is_plain(text)));
    }
}

/// Whatever the set identifier says, nobody else is blamed for its set.
fn check_blame(name: &DnsName, zone: &DnsName, rtype: RecordType, set_identifier: Option<&str>) {
    let of = Subject { name: name.as_str(), rtype: rtype.as_str(), set_identifier };
    let set = RawRecordSet {
        set_identifier: set_identifier.map(ArcStr::from),
        ..RawRecordSet::default()
    };
    let changes = [WireChange { action: Action::Create, set }];
    let sentences = sentences_about(&of, zone);
    for message in sentences.iter().cloned().chain([format!("[{}]", sentences.join(", "))]) {
        let found = culprits_of(&message, &changes);
        assert!(!found.is_empty());
        assert!(
            found.iter().all(|culprit| culprit.name.as_ref().is_none_or(|blamed| blamed == name)),
            "{message}: {found:?}"
        );
    }
}

/// Nothing of a text is lost or made up.
fn check_text(text: &str) {
    let found = culprits(text);
    assert!(found.len() <= 1 + text.len());
    let mut rest = text;
    for culprit in &found {
        let at = rest.find(&culprit.text).expect("each sentence stands behind the one before it");
        rest = &rest[at + culprit.text.len()..];
    }
    let is_empty =
        |text: &str| text.trim().trim_start_matches('[').trim_end_matches(']').trim().is_empty();
    assert!(!found.is_empty() || is_empty(text), "{text:?} blames nobody");
}

/// A set identifier that does not itself look like a part of Route 53's sentences, which do not quote it.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text != "null"
        && !text.contains(['\'', '"', ',', '[', ']'])
        && ![" cannot be created", " cannot be a primary", " contains an alias target"]
            .iter()
            .any(|verb| text.contains(verb))
}

/// Each sentence about a set, alone and among the others, blames that set.
fn check_sentences(
    name: &DnsName,
    zone: &DnsName,
    rtype: RecordType,
    set_identifier: Option<&str>,
) {
    let of = Subject { name: name.as_str(), rtype: rtype.as_str(), set_identifier };
    let sentences = sentences_about(&of, zone);
    for sentence in &sentences {
        let found = culprits(sentence);
        assert_eq!(found.len(), 1, "{sentence}: {found:?}");
        assert_eq!(found[0].name.as_ref(), Some(name), "{sentence}");
        assert!(found[0].rtype.is_none_or(|found| found == rtype), "{sentence}");
        assert!(
            found[0].set_identifier.as_deref().is_none_or(|found| Some(found) == set_identifier),
            "{sentence}"
        );
    }
    let together = culprits(&format!("[{}]", sentences.join(", ")));
    assert_eq!(together.len(), sentences.len(), "{together:?}");
    assert!(
        together.iter().zip(&sentences).all(|(culprit, sentence)| culprit.text == *sentence),
        "{together:?}"
    );
}
