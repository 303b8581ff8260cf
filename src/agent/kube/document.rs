//! Objects as they come from the API server, pruned while they are read: of the metadata only what is looked at, and never
//! `managedFields`, which are most of an object's bytes.

use std::collections::{BTreeMap, BTreeSet};

use arcstr::ArcStr;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::resources::Resource;
use crate::agent::sources::{Object, ObjectError, ObjectRef, SourceKind};

mod nesting;

use nesting::{MAX_DEPTH, nested, too_deep};

/// One object.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Document {
    /// Its identity, labels and annotations.
    #[serde(default)]
    pub metadata: Metadata,
    /// The wanted state.
    #[serde(default, deserialize_with = "nested")]
    pub spec: Value,
    /// The state that Kubernetes reports.
    #[serde(default, deserialize_with = "nested")]
    pub status: Value,
    /// Of an EndpointSlice.
    #[serde(default, deserialize_with = "nested")]
    pub endpoints: Value,
}

/// The part of `metadata` that is looked at.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Its name.
    #[serde(default)]
    pub name: ArcStr,
    /// Its namespace.
    #[serde(default)]
    pub namespace: ArcStr,
    /// Its UID.
    #[serde(default)]
    pub uid: ArcStr,
    /// The number of its spec.
    #[serde(default)]
    pub generation: i64,
    /// The version of the whole object, as the API server counts.
    #[serde(default)]
    pub resource_version: ArcStr,
    /// Its labels.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    #[serde(default, deserialize_with = "annotations")]
    pub annotations: BTreeMap<String, String>,
}

/// A page of a list.
#[derive(Clone, Debug, Deserialize)]
pub struct Page {
    /// Where the list stands.
    #[serde(default)]
    pub metadata: PageMetadata,
    /// The objects; null for none.
    #[serde(default)]
    pub items: Option<Vec<Document>>,
}

/// Where a list stands.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PageMetadata {
    /// The moment that the list shows.
    #[serde(default)]
    pub resource_version: String,
    /// How the next page is asked for; empty at the last one.
    #[serde(default, rename = "continue")]
    pub next: String,
}

/// `kubectl apply` writes the whole object here once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn annotations<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let mut annotations = null_is_empty(deserializer)?;
    annotations.remove(LAST_APPLIED);
    Ok(annotations)
}

fn null_is_empty<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Document {
    /// Its identity in the index.
    pub fn reference(&self, source: SourceKind) -> ObjectRef {
        ObjectRef {
            source,
            namespace: self.metadata.namespace.clone(),
            name: self.metadata.name.clone(),
        }
    }

    /// The object as the extractors read it.
    pub fn into_object(
        self,
        source: SourceKind,
        resource: &Resource,
    ) -> Result<Object, ObjectError> {
        let is_too_deep = self.is_too_deep();
        let annotations: Map<String, Value> = self
            .metadata
            .annotations
            .into_iter()
            .map(|(key, value)| (key, Value::String(value)))
            .collect();
        let metadata = serde_json::json!({
            "name": self.metadata.name.as_str(),
            "namespace": self.metadata.namespace.as_str(),
            "annotations": annotations,
        });
        let mut fields = Map::new();
        fields.insert(
            "apiVersion".to_owned(),
            resource.api_version(resource.preferred_version()).into(),
        );
        fields.insert("kind".to_owned(), resource.kind.into());
        fields.insert("metadata".to_owned(), metadata);
        fields.insert("spec".to_owned(), self.spec);
        fields.insert("status".to_owned(), self.status);
        let shape = |reason: String| ObjectError::Shape { source_kind: source, reason };
        if is_too_deep {
            return Err(shape(format!("it is nested deeper than {MAX_DEPTH}: make it flatter")));
        }
        let unread = || shape("its kind is not one that is read".to_owned());
        Object::read(Value::Object(fields)).unwrap_or_else(|| Err(unread()))
    }

    /// Whether a part of it was nested so deep that it was not read.
    pub fn is_too_deep(&self) -> bool {
        [&self.spec, &self.status, &self.endpoints].into_iter().any(|part| *part == too_deep())
    }

    /// All words that people wrote on the object, under whatever annotation or field: in lower case, without a final dot.
    pub fn words(&self) -> BTreeSet<String> {
        let mut words = BTreeSet::new();
        let mut take = |text: &str| {
            let parts = text.split(|c: char| c == ',' || c.is_whitespace());
            words.extend(parts.map(|word| word.strip_suffix('.').unwrap_or(word).to_lowercase()));
        };
        self.metadata.annotations.values().for_each(|text| take(text));
        each_text(&self.spec, &mut take);
        words
    }
}

fn each_text(value: &Value, take: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => take(text),
        Value::Array(items) => items.iter().for_each(|item| each_text(item, take)),
        Value::Object(fields) => fields.values().for_each(|field| each_text(field, take)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(value: Value) -> Document {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_nobody_reads_is_dropped_while_it_is_read() {
        let read = document(serde_json::json!({
            "metadata": {
                "name": "web", "namespace": "shop", "managedFields": [{"manager": "x"}], "labels": {"a": "b"},
                "annotations": {LAST_APPLIED: "{}", "a": "b"},
            },
            "spec": {"type": "LoadBalancer"},
        }));
        assert_eq!(read.metadata.annotations.keys().collect::<Vec<_>>(), ["a"]);
        assert!(!format!("{read:?}").contains("manager"));
    }

    #[test]
    fn an_object_that_is_nested_too_deep_does_not_hide_the_others() {
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        let page = format!(
            r#"{{"items": [
                {{"metadata": {{"name": "deep"}}, "spec": {{"type": "LoadBalancer", "x": {deep}}}}},
                {{"metadata": {{"name": "flat"}}, "spec": {{"type": "LoadBalancer", "x": [[[1.5, -1, true, null]]]}}}}
            ]}}"#
        );
        let page: Page = serde_json::from_str(&page).unwrap();
        let [deep, flat] = &page.items.unwrap()[..] else { panic!("two objects") };
        assert!(deep.is_too_deep());
        let resource = super::super::resources::resource_of(SourceKind::Service);
        let error = deep.clone().into_object(SourceKind::Service, &resource).unwrap_err();
        assert!(error.to_string().contains("nested deeper than 64"), "{error}");
        assert_eq!(flat.spec["x"], serde_json::json!([[[1.5, -1, true, null]]]));
        assert!(flat.clone().into_object(SourceKind::Service, &resource).is_ok());
    }

    #[test]
    fn the_words_of_an_object_are_those_of_all_its_texts() {
        let read = document(serde_json::json!({
            "metadata": {"annotations": {"corp.example/names": "a.example.com, B.example.com."}},
            "spec": {"rules": [{"host": "c.example.com"}]},
        }));
        let words: Vec<String> = read.words().into_iter().filter(|word| !word.is_empty()).collect();
        assert_eq!(words, ["a.example.com", "b.example.com", "c.example.com"]);
    }
}
