//! Finds the culprits when Route 53 refuses a batch: reads its `InvalidChangeBatch` and `InvalidInput` messages.
//!
//! The message holds no index into the batch. Since about 2018 it is a list in brackets, one sentence for each offending
//! change; before, and for errors of syntax, it is one sentence. The texts are those of answers that were captured.
//!
//! Sentences can repeat what a user wrote (a value, a set identifier), which may itself look like a sentence. So reading stops
//! at the first sentence that repeats a value or does not fit a known form: from there on the rest is one culprit without a
//! name. What is found is a hint; a caller looks for the name in its batch, and bisects when it is not there. A batch with a text
//! that holds the beginning of a sentence is not read at all: it could blame any change.

use crate::core::dns::name::DnsName;
use crate::core::dns::record::{RawRecordSet, RecordType};
use crate::core::planning::change::WireChange;

/// The fault of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CulpritKind {
    /// A set that was to be created is there already.
    Exists,
    /// A set that was to be deleted is not there.
    NotFound,
    /// A set that was to be deleted is there with other values.
    Mismatch,
    /// A CNAME and another type at one name.
    CnameConflict,
    /// A protected record set: refused until a person lifts the protection.
    Protected,
    /// A limit of the batch or the set.
    Limit,
    /// The zone holds as many record sets as its quota allows: nothing can be created there.
    ZoneQuota,
    /// Anything else.
    Other,
}

/// One change at fault, as far as the message tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Culprit {
    /// The owner name.
    pub name: Option<DnsName>,
    /// The type.
    pub rtype: Option<RecordType>,
    pub set_identifier: Option<String>,
    /// The fault.
    pub kind: CulpritKind,
    /// Route 53's text about it.
    pub text: String,
}

/// How the sentences begin that are about changes.
const OPENINGS: [&str; 18] = [
    "Tried to ",
    "RRSet ",
    "The request contains ",
    "Invalid Resource Record: ",
    "Duplicate Resource Record: ",
    "FATAL problem: ",
    "Invalid request: ",
    "Number of records ",
    "RDATA character ",
    "Cannot have more ",
    "Exceeded limit ",
    "A HostedZone ",
    "A non-alias ",
    "Cannot find ",
    "Multivalue answer ",
    "DNS name must have ",
    "Changing wildcard ",
    "Unsupported SvcPriority ",
];

/// The culprits that the refusal of these changes names, in its order. A message of the service's model holds the place of the
/// change in the batch, which is named by what stands there.
///
/// Sentences repeat set identifiers and the like without escaping them. Where such a text holds the beginning of a sentence,
/// the message is one culprit without a name: else its author could have the changes of others refused in its place, or
/// read back for ever.
pub fn culprits_of(message: &str, changes: &[WireChange]) -> Vec<Culprit> {
    if changes.iter().flat_map(|change| chosen_texts(&change.set)).any(could_forge) {
        return vec![nameless(message)];
    }
    match read_place(message).and_then(|place| changes.get(place)) {
        Some(change) => vec![at_fault(&change.set, message)],
        None => culprits(message),
    }
}

/// `1 validation error detected: Value '…' at 'changeBatch.changes.1.member.resourceRecordSet.weight' failed …`: the place of
/// the change, counted from 0. What follows the last `at` holds no text of a user.
fn read_place(message: &str) -> Option<usize> {
    let rest = message.strip_prefix("1 validation error detected: ")?;
    let (_, path) = rest.rsplit_once("' at 'changeBatch.changes.")?;
    let (place, _) = path.split_once(".member.")?;
    place.parse::<usize>().ok()?.checked_sub(1)
}

fn at_fault(set: &RawRecordSet, text: &str) -> Culprit {
    culprit(text, &set.name, Some(&set.rtype), set.set_identifier.as_deref(), CulpritKind::Other)
}

/// The texts of a record set that its author chooses freely. Names and types are canonical, and reading stops where a value is
/// repeated.
fn chosen_texts(set: &RawRecordSet) -> impl Iterator<Item = &str> {
    let geolocation = set
        .geolocation
        .iter()
        .flat_map(|place| [&place.continent_code, &place.country_code, &place.subdivision_code]);
    let geoproximity =
        set.geoproximity.iter().flat_map(|place| [&place.aws_region, &place.local_zone_group]);
    let coordinates = set
        .geoproximity
        .iter()
        .flat_map(|place| &place.coordinates)
        .flat_map(|(latitude, longitude)| [latitude, longitude]);
    let cidr = set.cidr.iter().flat_map(|cidr| [&cidr.collection_id, &cidr.location_name]);
    let single = [&set.set_identifier, &set.region, &set.health_check_id].into_iter();
    single
        .chain(geolocation)
        .chain(geoproximity)
        .flatten()
        .chain(coordinates)
        .chain(cidr)
        .map(|text| text.as_str())
}

/// Whether a message that names no record set repeats a text of this one: an identifier that it refers to, or an alias's target.
/// Its change is then tried last, since the others are likely to be good; it proves nothing.
pub fn is_repeated(message: &str, set: &RawRecordSet) -> bool {
    let cidr = set.cidr.iter().map(|cidr| cidr.collection_id.as_str());
    let target = set.alias.iter().map(|alias| alias.name.as_str().trim_end_matches('.'));
    let identifiers = set.health_check_id.iter().map(|id| id.as_str());
    let places =
        set.geoproximity.iter().flat_map(|place| [&place.aws_region, &place.local_zone_group]);
    let places = places.flatten().chain(set.region.iter()).map(|place| place.as_str());
    identifiers.chain(cidr).chain(target).chain(places).any(|text| has_word(message, text))
}

/// Whether a text stands in a message as a word of its own.
fn has_word(message: &str, word: &str) -> bool {
    let goes_on =
        |next: Option<char>| next.is_some_and(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
    !word.is_empty()
        && message.match_indices(word).any(|(at, _)| {
            let before = message.get(..at).and_then(|before| before.chars().next_back());
            let after = message.get(at + word.len()..).and_then(|after| after.chars().next());
            !goes_on(before) && !goes_on(after)
        })
}

fn could_forge(text: &str) -> bool {
    OPENINGS.iter().any(|opening| text.contains(opening.trim_end()))
}

/// The culprits that a message names, in its order. An empty message has none.
pub fn culprits(message: &str) -> Vec<Culprit> {
    let listed =
        message.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(message);
    let mut found = Vec::new();
    let mut rest = listed.trim();
    while !rest.is_empty() {
        let end = next_sentence(rest).unwrap_or(rest.len());
        let sentence = rest.get(..end).unwrap_or(rest);
        let Some(culprit) = read_sentence(sentence) else {
            found.push(nameless(rest));
            break;
        };
        found.push(culprit);
        rest = rest.get(end..).unwrap_or_default().trim_start_matches([',', ' ']);
    }
    found
}

/// Where the next sentence begins, the comma before it included.
fn next_sentence(text: &str) -> Option<usize> {
    text.match_indices(", ").map(|(at, _)| at).find(|at| {
        text.get(at + 2..)
            .is_some_and(|rest| OPENINGS.iter().any(|opening| rest.starts_with(opening)))
    })
}

fn nameless(text: &str) -> Culprit {
    Culprit {
        name: None,
        rtype: None,
        set_identifier: None,
        kind: kind_by_word(text),
        text: text.to_owned(),
    }
}

/// The wording of a protection is not known; that it is one, it will say.
fn kind_by_word(text: &str) -> CulpritKind {
    if text.to_ascii_lowercase().contains("protect") {
        CulpritKind::Protected
    } else {
        CulpritKind::Other
    }
}

fn read_sentence(text: &str) -> Option<Culprit> {
    read_tried(text)
        .or_else(|| read_alias(text))
        .or_else(|| read_set_of_type(text))
        .or_else(|| read_set(text))
        .or_else(|| read_invalid_set_of_changes(text))
        .or_else(|| read_limit(text))
        .or_else(|| read_invalid_request(text))
        .or_else(|| read_rule(text))
}

fn culprit(
    text: &str,
    name: &str,
    rtype: Option<&str>,
    set_identifier: Option<&str>,
    kind: CulpritKind,
) -> Culprit {
    Culprit {
        name: DnsName::parse(name).ok(),
        rtype: rtype.and_then(RecordType::parse),
        set_identifier: set_identifier.map(str::to_owned),
        kind,
        text: text.to_owned(),
    }
}

/// `Tried to create resource record set [name='…', type='…'] but it already exists`
fn read_tried(text: &str) -> Option<Culprit> {
    let rest = text.strip_prefix("Tried to ")?;
    let (_, rest) = rest.split_once(" resource record set [name='")?;
    let (name, rest) = rest.split_once("', type='")?;
    let (rtype, rest) = rest.split_once('\'')?;
    // With a hyphen in every capture; the other form is that of stored answers.
    let identifier = [", set-identifier='", ", set identifier='"];
    let (set_identifier, why) = match identifier.iter().find_map(|form| rest.strip_prefix(form)) {
        Some(rest) => {
            let (set_identifier, why) = rest.rsplit_once("'] but ")?;
            (Some(set_identifier), why)
        }
        None => (None, rest.strip_prefix("] but ")?),
    };
    let kind = match why.trim_end_matches('.') {
        "it already exists" => CulpritKind::Exists,
        "it was not found" => CulpritKind::NotFound,
        "the values provided do not match the current values" => CulpritKind::Mismatch,
        other => kind_by_word(other),
    };
    Some(culprit(text, name, Some(rtype), set_identifier, kind))
}

/// `Tried to create an alias that targets …, type … in zone …, but …`: the name is that of the target, not of the culprit.
fn read_alias(text: &str) -> Option<Culprit> {
    let rest = text.strip_prefix("Tried to create an alias that targets ")?;
    let (_, rest) = rest.split_once(", type ")?;
    let (rtype, _) = rest.split_once(" in zone ")?;
    let rtype = RecordType::parse(rtype);
    Some(Culprit {
        name: None,
        rtype,
        set_identifier: None,
        kind: CulpritKind::Other,
        text: text.to_owned(),
    })
}

/// `RRSet of type … with DNS name … is not permitted …`
fn read_set_of_type(text: &str) -> Option<Culprit> {
    let rest = text.strip_prefix("RRSet of type ")?;
    let (rtype, rest) = rest.split_once(" with DNS name ")?;
    let (name, why) = rest.split_once(" is not permitted")?;
    let conflict =
        why.contains("conflicts with other records") || why.contains("because a conflicting RRSet");
    let kind = if conflict { CulpritKind::CnameConflict } else { kind_by_word(why) };
    Some(culprit(text, name, Some(rtype), None, kind))
}

/// `RRSet with DNS name … is not permitted in zone …`, `RRSet with DNS name …, type …, SetIdentifier … cannot be …`, and
/// `RRSet with DNS name …, type … contains an alias target, …`
fn read_set(text: &str) -> Option<Culprit> {
    let rest = text.strip_prefix("RRSet with DNS name ")?;
    // A name holds no space, so this is no part of a set identifier.
    if let Some((name, why)) =
        rest.split_once(" is not permitted").filter(|(name, _)| !name.contains(' '))
    {
        return Some(culprit(text, name, None, None, kind_by_word(why)));
    }
    let (subject, why) =
        [" cannot be created", " cannot be a primary", " contains an alias target"]
            .iter()
            .find_map(|verb| rest.rsplit_once(verb))?;
    let (name, subject) =
        subject.split_once(", type ").or_else(|| subject.split_once(" and type "))?;
    let (rtype, set_identifier) = match subject.split_once(", SetIdentifier ") {
        Some((rtype, set_identifier)) => (rtype, Some(set_identifier)),
        None => (subject, None),
    };
    let set_identifier = set_identifier.map(|identifier| {
        let place = [", and Region Name=", ", and routing to "];
        let identifier = place
            .iter()
            .find_map(|place| identifier.rsplit_once(place))
            .map_or(identifier, |(identifier, _)| identifier);
        identifier.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(identifier)
    });
    Some(culprit(text, name, Some(rtype), set_identifier, kind_by_word(why)))
}

/// `The request contains an invalid set of changes for a resource record set 'A www.example.com.'`
fn read_invalid_set_of_changes(text: &str) -> Option<Culprit> {
    let rest = text.strip_prefix(
        "The request contains an invalid set of changes for a resource record set '",
    )?;
    let (rtype, name) =
        rest.trim_end_matches('.').strip_suffix('\'').unwrap_or(rest).split_once(' ')?;
    Some(culprit(text, name, Some(rtype), None, CulpritKind::Other))
}

/// Limits of the batch, the set, the group or the zone.
fn read_limit(text: &str) -> Option<Culprit> {
    // `Exceeded limit MAX_RRSETS_BY_ZONE for zone: …`
    if text.starts_with("Exceeded limit MAX_RRSETS_BY_ZONE") {
        return Some(Culprit { kind: CulpritKind::ZoneQuota, ..nameless(text) });
    }
    if let Some(rest) = text.strip_prefix("Exceeded limit on number of ")
        && let Some((_, rest)) = rest.split_once(" RRSets for ")
        && let Some((name, rest)) = rest.split_once(", type ")
        && let Some((rtype, _)) = rest.split_once(" in this zone")
    {
        return Some(culprit(text, name, Some(rtype), None, CulpritKind::Limit));
    }
    let limit = [
        "Exceeded limit ",
        "Number of records limit ",
        "RDATA character limit ",
        "Cannot have more than ",
    ];
    limit
        .iter()
        .any(|opening| text.starts_with(opening))
        .then(|| Culprit { kind: CulpritKind::Limit, ..nameless(text) })
}

/// `Invalid request: … in Change with [Action=…, Name=…, Type=…, SetIdentifier=…]`
fn read_invalid_request(text: &str) -> Option<Culprit> {
    let rest = text.strip_prefix("Invalid request: ")?;
    let (_, change) = rest.split_once(" in Change with [Action=")?;
    let (_, change) = change.split_once(", Name=")?;
    let (name, change) = change.split_once(", Type=")?;
    let (rtype, set_identifier) = change.strip_suffix(']')?.split_once(", SetIdentifier=")?;
    Some(culprit(
        text,
        name,
        Some(rtype),
        (set_identifier != "null").then_some(set_identifier),
        CulpritKind::Other,
    ))
}

/// Sentences that name no record set, and repeat at most a place of the routing policy.
fn read_rule(text: &str) -> Option<Culprit> {
    let rule = [
        "A HostedZone must ",
        "A non-alias primary ResourceRecordSet must ",
        "Cannot find location: ",
        "Cannot find region ",
        "Cannot find GeoProximityLocation with ",
        "Multivalue answer rrset should not be an alias rrset",
        "DNS name must have alternate ResourceRecordSet responses ",
        "Changing wildcard NS record sets ",
        "Unsupported SvcPriority value",
    ];
    rule.iter().any(|opening| text.starts_with(opening)).then(|| nameless(text))
}

#[cfg(test)]
#[path = "refusal_tests.rs"]
mod tests;
