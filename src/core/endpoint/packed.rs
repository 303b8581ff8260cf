//! Endpoints and record sets as bytes: the form in which a million of them are held in memory and stored.
//!
//! A packed value is one allocation without spare room, is written to the store as it is and read back without being parsed,
//! and two of them are equal exactly when their contents are. The first byte is the form's version, which tells a later form
//! from this one.

use std::fmt;
use std::sync::Arc;

use arcstr::ArcStr;
use serde::{Deserialize, Serialize};

use super::quota::{QuotaBound, Share, Withheld};
use super::{Endpoint, EndpointKey, KeyHash, Version, hash_content, hash_key};
use crate::core::dns::record::{RawAlias, RawRecordSet, RecordKey};

/// The version of the forms below.
const FORM: u8 = 1;
/// The version of the form of an endpoint whose content is withheld: its key, and the data kept of the content.
const WITHHELD_FORM: u8 = 2;

/// Why bytes are no packed value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these {octets} octets are no packed {what}: {reason}")]
pub struct PackError {
    /// What was expected: an endpoint or a record set.
    pub what: &'static str,
    /// How many there are.
    pub octets: usize,
    /// The problem.
    pub reason: String,
}

fn read<'a, T: Deserialize<'a>>(what: &'static str, bytes: &'a [u8]) -> Result<T, PackError> {
    match read_part(what, bytes)? {
        (value, []) => Ok(value),
        (_, rest) => Err(left_over(what, bytes, rest)),
    }
}

fn left_over(what: &'static str, bytes: &[u8], rest: &[u8]) -> PackError {
    PackError { what, octets: bytes.len(), reason: format!("{} octets are left over", rest.len()) }
}

/// Reads a value and returns it with the bytes after it.
fn read_part<'a, T: Deserialize<'a>>(
    what: &'static str,
    bytes: &'a [u8],
) -> Result<(T, &'a [u8]), PackError> {
    let refuse = |reason: String| PackError { what, octets: bytes.len(), reason };
    match bytes.split_first() {
        Some((&FORM, body)) => {
            postcard::take_from_bytes(body).map_err(|error| refuse(error.to_string()))
        }
        Some((form, _)) => {
            Err(refuse(format!("form {form} is not known here: a newer version wrote it")))
        }
        None => Err(refuse("there is nothing".to_owned())),
    }
}

fn write(value: &impl Serialize) -> Box<[u8]> {
    // Postcard refuses only values of unknown length, and only a writer can run out of room: neither applies here.
    let bytes = postcard::to_extend(value, vec![FORM]).unwrap_or_default();
    bytes.into_boxed_slice()
}

/// An endpoint's bytes, known to be readable.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PackedEndpoint(Box<[u8]>);

/// The data kept instead of the content of an endpoint, in its bytes or the first part of them.
pub fn withheld_in(bytes: &[u8]) -> Option<Withheld> {
    if !PackedEndpoint::is_withheld_form(bytes) {
        return None;
    }
    EndpointView::read(bytes).ok()?.withheld
}

/// An endpoint's bytes come in two parts, one after the other: first its key, which no other endpoint has, ...
#[derive(Serialize, Deserialize)]
struct KeyPart<'a>(&'a str, &'a str, &'a str, &'a str, &'a str, &'a str);

/// ... then its content, which may be the same for many.
#[derive(Deserialize)]
struct ContentPart<'a>(
    #[serde(borrow)] Vec<&'a str>,
    Option<i64>,
    #[serde(borrow)] Vec<(&'a str, &'a str)>,
);

/// An endpoint as read from its bytes, without a copy of any text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EndpointView<'a> {
    /// The kind of source.
    pub source: &'a str,
    /// The object's namespace.
    pub namespace: &'a str,
    /// The object's name.
    pub object: &'a str,
    /// The wanted owner name, as written.
    pub dns_name: &'a str,
    /// The wanted record type, as written.
    pub record_type: &'a str,
    /// The wanted set identifier; empty for none.
    pub set_identifier: &'a str,
    /// The wanted values, as written.
    pub targets: Vec<&'a str>,
    /// Seconds; `None` for the zone's default.
    pub ttl_secs: Option<i64>,
    /// Provider-specific properties, in the order of their names.
    pub properties: Vec<(&'a str, &'a str)>,
    /// The data kept instead of the content, which is empty then; `None` if all is there.
    #[serde(skip)]
    pub withheld: Option<Withheld>,
}

impl<'a> EndpointView<'a> {
    /// Reads bytes.
    ///
    /// # Errors
    /// They are no packed endpoint.
    pub fn read(bytes: &'a [u8]) -> Result<Self, PackError> {
        if let [WITHHELD_FORM, body @ ..] = bytes {
            return Self::of_withheld(bytes, body);
        }
        let (key, rest) = read_part("endpoint", bytes)?;
        Self::of_parts(bytes, key, rest)
    }

    fn of_withheld(bytes: &[u8], body: &'a [u8]) -> Result<Self, PackError> {
        let refuse = |reason: String| PackError { what: "endpoint", octets: bytes.len(), reason };
        let ((key, withheld), rest): ((KeyPart<'_>, Withheld), _) =
            postcard::take_from_bytes(body).map_err(|error| refuse(error.to_string()))?;
        if !rest.is_empty() {
            return Err(left_over("endpoint", bytes, rest));
        }
        Ok(Self { withheld: Some(withheld), ..Self::of_key(key) })
    }

    fn of_key(
        KeyPart(source, namespace, object, dns_name, record_type, set_identifier): KeyPart<'a>,
    ) -> Self {
        Self { source, namespace, object, dns_name, record_type, set_identifier, ..Self::default() }
    }

    /// Reads bytes whose content part is elsewhere, as [`PackedEndpoint::parts`] gives them.
    ///
    /// # Errors
    /// They are no packed endpoint.
    pub fn read_parts(key: &'a [u8], content: &'a [u8]) -> Result<Self, PackError> {
        match read_part("endpoint", key)? {
            (part, []) => Self::of_parts(key, part, content),
            (_, rest) => Err(left_over("endpoint", key, rest)),
        }
    }

    fn of_parts(bytes: &[u8], key: KeyPart<'a>, content: &'a [u8]) -> Result<Self, PackError> {
        let refuse = |error: postcard::Error| PackError {
            what: "endpoint",
            octets: bytes.len(),
            reason: error.to_string(),
        };
        let (ContentPart(targets, ttl_secs, properties), rest) =
            postcard::take_from_bytes(content).map_err(refuse)?;
        if !rest.is_empty() {
            return Err(left_over("endpoint", bytes, rest));
        }
        Ok(Self { targets, ttl_secs, properties, ..Self::of_key(key) })
    }

    fn of(endpoint: &'a Endpoint) -> Self {
        let key = &endpoint.key;
        Self {
            source: &key.source,
            namespace: &key.namespace,
            object: &key.object,
            dns_name: &key.dns_name,
            record_type: &key.record_type,
            set_identifier: &key.set_identifier,
            targets: endpoint.targets.iter().map(ArcStr::as_str).collect(),
            ttl_secs: endpoint.ttl_secs,
            properties: endpoint
                .properties
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
            withheld: None,
        }
    }

    /// The key alone.
    pub fn key(&self) -> EndpointKey {
        EndpointKey {
            source: self.source.into(),
            namespace: self.namespace.into(),
            object: self.object.into(),
            dns_name: self.dns_name.into(),
            record_type: self.record_type.into(),
            set_identifier: self.set_identifier.into(),
        }
    }

    /// The hash of the key.
    pub fn key_hash(&self) -> KeyHash {
        hash_key([
            self.source,
            self.namespace,
            self.object,
            self.dns_name,
            self.record_type,
            self.set_identifier,
        ])
    }

    /// The hash of the content.
    pub fn version(&self) -> Version {
        if let Some(withheld) = &self.withheld {
            return withheld.version();
        }
        hash_content(
            &self.key_hash(),
            self.targets.clone(),
            self.ttl_secs,
            self.properties.iter().copied(),
        )
    }

    /// The whole endpoint; of one whose content is withheld, its key.
    pub fn to_endpoint(&self) -> Endpoint {
        Endpoint {
            key: self.key(),
            targets: self.targets.iter().map(|target| ArcStr::from(*target)).collect(),
            ttl_secs: self.ttl_secs,
            properties: self
                .properties
                .iter()
                .map(|(name, value)| (ArcStr::from(*name), ArcStr::from(*value)))
                .collect(),
        }
    }
}

impl PackedEndpoint {
    /// Packs an endpoint.
    pub fn pack(endpoint: &Endpoint) -> Self {
        Self(write(&EndpointView::of(endpoint)))
    }

    /// Takes stored bytes.
    ///
    /// # Errors
    /// They are no packed endpoint.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PackError> {
        EndpointView::read(bytes).map(|_| Self(bytes.into()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same endpoint without its content, which is beyond this bound of its cluster's quota.
    pub fn withhold(&self, bound: QuotaBound) -> Self {
        let view = self.view();
        let withheld = Withheld::new(&view.version(), self.0.len() as u64, bound);
        let key = KeyPart(
            view.source,
            view.namespace,
            view.object,
            view.dns_name,
            view.record_type,
            view.set_identifier,
        );
        let bytes = postcard::to_extend(&(key, withheld), vec![WITHHELD_FORM]).unwrap_or_default();
        Self(bytes.into_boxed_slice())
    }

    /// The data kept instead of the content; `None` if all is there.
    pub fn withheld(&self) -> Option<Withheld> {
        withheld_in(&self.0)
    }

    /// Whether these are the first bytes of one whose content is withheld.
    pub fn is_withheld_form(bytes: &[u8]) -> bool {
        bytes.first() == Some(&WITHHELD_FORM)
    }

    /// Its share of the cluster's quota.
    pub fn share(&self) -> Share {
        Share { octets: self.0.len() as u64, withheld: self.withheld() }
    }

    /// The key part and the content part: the bytes are the two together.
    pub fn parts(&self) -> (&[u8], &[u8]) {
        let content =
            read_part::<KeyPart<'_>>("endpoint", &self.0).map_or(0, |(_, content)| content.len());
        self.0.split_at(self.0.len() - content)
    }

    /// The endpoint as read from the bytes.
    pub fn view(&self) -> EndpointView<'_> {
        // Both ways to make one have shown that it can be read.
        EndpointView::read(&self.0).unwrap_or_default()
    }

    /// The endpoint.
    pub fn unpack(&self) -> Endpoint {
        self.view().to_endpoint()
    }
}

impl fmt::Debug for PackedEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

/// A record set's bytes under its key, known to be readable: the key is not part of them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PackedRecord(Arc<[u8]>);

#[derive(Serialize, Deserialize)]
enum RecordForm<'a> {
    /// Values or an alias, simple or weighted, with the name and type of the key: nearly all there are.
    Common {
        ttl_secs: Option<i64>,
        #[serde(borrow)]
        values: Vec<&'a str>,
        weight: Option<i64>,
        health_check_id: Option<&'a str>,
        alias: Option<(&'a str, &'a str, bool)>,
    },
    /// Everything else, as JSON.
    Other(&'a str),
}

impl PackedRecord {
    /// Packs the record set of a key.
    pub fn pack(key: &RecordKey, raw: &RawRecordSet) -> Self {
        let alias = raw.alias.as_ref().map(|alias| {
            (alias.zone_id.as_str(), alias.name.as_str(), alias.evaluate_target_health)
        });
        let common = RecordForm::Common {
            ttl_secs: raw.ttl_secs,
            values: raw.values.iter().map(ArcStr::as_str).collect(),
            weight: raw.weight,
            health_check_id: raw.health_check_id.as_deref(),
            alias,
        };
        let packed = Self(write(&common).into());
        // Content that the common form cannot hold shows here, whatever a record set may hold one day.
        if packed.read_common(key).as_ref() == Some(raw) {
            return packed;
        }
        // A record set is text, numbers and options: nothing that JSON cannot say.
        let json = serde_json::to_string(raw).unwrap_or_default();
        Self(write(&RecordForm::Other(&json)).into())
    }

    /// Takes stored bytes.
    ///
    /// # Errors
    /// They are no packed record set.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PackError> {
        if let RecordForm::Other(json) = read("record set", bytes)? {
            let refuse = |error: serde_json::Error| PackError {
                what: "record set",
                octets: bytes.len(),
                reason: error.to_string(),
            };
            serde_json::from_str::<RawRecordSet>(json).map_err(refuse)?;
        }
        Ok(Self(bytes.into()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same in bytes that others hold too; these are compared, and nothing is changed when they are others.
    pub fn sharing(self, shared: Option<Arc<[u8]>>) -> Self {
        shared.filter(|shared| *shared == self.0).map_or(self, Self)
    }

    /// The record set.
    pub fn unpack(&self, key: &RecordKey) -> RawRecordSet {
        match self.read_common(key) {
            Some(raw) => raw,
            // Both ways to make one have shown that it can be read.
            None => match read("record set", &self.0) {
                Ok(RecordForm::Other(json)) => serde_json::from_str(json).unwrap_or_default(),
                _ => RawRecordSet::default(),
            },
        }
    }

    /// Whether it is an alias.
    pub fn is_alias(&self) -> bool {
        match read("record set", &self.0) {
            Ok(RecordForm::Common { alias, .. }) => alias.is_some(),
            Ok(RecordForm::Other(json)) => {
                serde_json::from_str::<RawRecordSet>(json).is_ok_and(|raw| raw.alias.is_some())
            }
            Err(_) => false,
        }
    }

    fn read_common(&self, key: &RecordKey) -> Option<RawRecordSet> {
        match read("record set", &self.0) {
            Ok(RecordForm::Common { ttl_secs, values, weight, health_check_id, alias }) => {
                Some(RawRecordSet {
                    name: key.name.text(),
                    rtype: key.rtype.text(),
                    set_identifier: key.set_identifier.clone(),
                    weight,
                    ttl_secs,
                    values: values.into_iter().map(ArcStr::from).collect(),
                    alias: alias.map(|(zone_id, name, evaluate_target_health)| RawAlias {
                        zone_id: zone_id.into(),
                        name: name.into(),
                        evaluate_target_health,
                    }),
                    health_check_id: health_check_id.map(ArcStr::from),
                    ..RawRecordSet::default()
                })
            }
            _ => None,
        }
    }
}

impl fmt::Debug for PackedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match read("record set", &self.0) {
            Ok(RecordForm::Common { ttl_secs, values, weight, alias, .. }) => {
                write!(
                    f,
                    "PackedRecord(ttl {ttl_secs:?}, {values:?}, weight {weight:?}, alias {alias:?})"
                )
            }
            Ok(RecordForm::Other(json)) => write!(f, "PackedRecord({json})"),
            Err(error) => write!(f, "PackedRecord({error})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::core::dns::record::{GeoLocation, RecordType};
    use crate::core::testkit::name;

    fn text() -> impl Strategy<Value = ArcStr> {
        "\\PC{0,9}".prop_map(ArcStr::from)
    }

    prop_compose! {
        fn endpoints()(
            texts in vec(text(), 6),
            targets in vec(text(), 0..4),
            ttl_secs in any::<Option<i64>>(),
            properties in btree_map(text(), text(), 0..3),
        ) -> Endpoint {
            let mut texts = texts.into_iter();
            let mut next = || texts.next().unwrap();
            let key = EndpointKey {
                source: next(), namespace: next(), object: next(), dns_name: next(), record_type: next(), set_identifier: next(),
            };
            Endpoint { key, targets, ttl_secs, properties }
        }
    }

    prop_compose! {
        fn record_sets()(
            set_identifier in option::of(text()),
            weight in option::of(0..256_i64),
            region in option::of(text()),
            continent_code in option::of(text()),
            ttl_secs in option::of(0..1_000_i64),
            values in vec(text(), 0..3),
            alias in option::of((text(), text(), any::<bool>())),
            health_check_id in option::of(text()),
            other_name in option::weighted(0.1, text()),
        ) -> (RecordKey, RawRecordSet) {
            let key = RecordKey { name: name("www.example.com"), rtype: RecordType::A, set_identifier: set_identifier.clone() };
            let raw = RawRecordSet {
                name: other_name.unwrap_or_else(|| "www.example.com.".into()),
                rtype: "A".into(),
                set_identifier,
                weight,
                region,
                geolocation: continent_code.map(|code| GeoLocation { continent_code: Some(code), ..GeoLocation::default() }),
                ttl_secs,
                values,
                alias: alias.map(|(zone_id, name, evaluate_target_health)| RawAlias { zone_id, name, evaluate_target_health }),
                health_check_id,
                ..RawRecordSet::default()
            };
            (key, raw)
        }
    }

    proptest! {
        #[test]
        fn an_endpoint_comes_back_as_it_went_in(endpoint in endpoints()) {
            let packed = PackedEndpoint::pack(&endpoint);
            prop_assert_eq!(packed.view().key_hash(), endpoint.key.hash());
            prop_assert_eq!(packed.view().version(), endpoint.version());
            prop_assert_eq!(packed.unpack(), endpoint);
            let (key, content) = packed.parts();
            prop_assert_eq!(EndpointView::read_parts(key, content).unwrap(), packed.view());
            prop_assert_eq!([key, content].concat(), packed.as_bytes());
            prop_assert_eq!(PackedEndpoint::from_bytes(packed.as_bytes()).unwrap(), packed);
        }

        #[test]
        fn of_what_is_withheld_key_and_version_come_back(endpoint in endpoints()) {
            let packed = PackedEndpoint::pack(&endpoint);
            let kept = packed.withhold(QuotaBound::Bytes);
            prop_assert_eq!((kept.view().key(), kept.view().version()), (endpoint.key.clone(), endpoint.version()));
            prop_assert_eq!(kept.withheld().map(|withheld| withheld.octets), Some(packed.as_bytes().len() as u64));
            prop_assert_eq!(PackedEndpoint::from_bytes(kept.as_bytes()).unwrap(), kept.clone());
            prop_assert!(kept.parts() == (kept.as_bytes(), &[][..]));
        }

        #[test]
        fn a_record_set_comes_back_as_it_went_in((key, raw) in record_sets()) {
            let packed = PackedRecord::pack(&key, &raw);
            prop_assert_eq!(packed.unpack(&key), raw);
            prop_assert_eq!(PackedRecord::from_bytes(packed.as_bytes()).unwrap(), packed);
        }

        #[test]
        fn packed_values_are_equal_when_what_they_hold_is((key, one) in record_sets(), (_, two) in record_sets()) {
            prop_assert_eq!(PackedRecord::pack(&key, &one) == PackedRecord::pack(&key, &two), one == two);
        }

        #[test]
        fn bytes_that_are_none_are_refused(bytes in vec(any::<u8>(), 0..40)) {
            // Nothing panics, and accepted bytes can be read.
            if let Ok(packed) = PackedEndpoint::from_bytes(&bytes) && packed.withheld().is_none() {
                let again = PackedEndpoint::pack(&packed.unpack());
                prop_assert_eq!(again.unpack(), packed.unpack());
            }
            let _ = PackedRecord::from_bytes(&bytes);
        }
    }

    #[test]
    fn the_form_never_changes() {
        // Databases hold these octets: another form needs another first byte.
        let endpoint =
            crate::core::testkit::endpoint("web", "www.example.com", "A", &["192.0.2.1"]);
        let bytes = PackedEndpoint::pack(&endpoint);
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(
            hex(bytes.as_bytes()),
            "0107696e67726573730764656661756c74037765620f7777772e6578616d706c652e636f6d01410001093139322e302e322e310000"
        );
        let withheld = bytes.withhold(QuotaBound::Endpoints);
        assert!(hex(withheld.as_bytes()).starts_with("0207696e67726573730764656661756c7403776562"));
        let key =
            RecordKey { name: name("www.example.com"), rtype: RecordType::A, set_identifier: None };
        let raw = RawRecordSet {
            name: "www.example.com.".into(),
            rtype: "A".into(),
            ttl_secs: Some(60),
            values: vec!["192.0.2.1".into()],
            ..RawRecordSet::default()
        };
        assert_eq!(
            hex(PackedRecord::pack(&key, &raw).as_bytes()),
            "0100017801093139322e302e322e31000000"
        );
        for foreign in [&b""[..], b"\x02", b"\x01", b"{\"name\":\"www\"}"] {
            assert!(
                PackedEndpoint::from_bytes(foreign).is_err()
                    && PackedRecord::from_bytes(foreign).is_err(),
                "{foreign:?}"
            );
        }
    }
}
