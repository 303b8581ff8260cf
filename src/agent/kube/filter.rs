//! Which objects count: by namespace, label, annotation and ingress class.
//!
//! Namespaces and labels are passed to the API server, so that objects that do not count are not even sent. It cannot select
//! by annotations and classes.

use std::collections::BTreeMap;

use arcstr::ArcStr;

use super::document::Document;
use crate::agent::sources::SourceKind;
use crate::agent::sources::annotations::PREFIXES;

/// The annotation that named the class before `spec.ingressClassName`.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// The objects that count. By default all do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The namespaces; empty for all.
    pub namespaces: Vec<ArcStr>,
    /// Labels, in the syntax of Kubernetes.
    pub labels: Option<Selector>,
    /// Annotations, in the same syntax.
    pub annotations: Option<Selector>,
    /// The classes of ingresses; empty for all.
    pub ingress_classes: Vec<ArcStr>,
}

/// Why a text is not a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a selector: write requirements such as key=value, key!=value, key in (a,b), key notin (a,b), key or !key, \
     separated by commas"
)]
pub struct SelectorError {
    text: String,
}

/// Requirements that all have to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    text: String,
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    is: Is,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Is {
    There,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl Filter {
    /// The scopes in which objects are listed and watched; `None` in the list stands for all namespaces.
    pub fn scopes(&self) -> Vec<Option<ArcStr>> {
        if self.namespaces.is_empty() {
            vec![None]
        } else {
            self.namespaces.iter().cloned().map(Some).collect()
        }
    }

    /// The selector for the API server.
    pub fn label_selector(&self) -> Option<String> {
        self.labels.as_ref().map(|selector| selector.text.clone())
    }

    /// Why an object that the API server showed does not count; `None` if it counts.
    pub fn refuses(&self, source: SourceKind, document: &Document) -> Option<String> {
        let namespace = &document.metadata.namespace;
        if !self.namespaces.is_empty() && !self.namespaces.contains(namespace) {
            return Some(format!("its namespace {namespace} is not among those of --namespace"));
        }
        if let Some(selector) = &self.annotations
            && !selector.matches(&document.metadata.annotations)
        {
            return Some(format!(
                "its annotations do not match --annotation-filter {}",
                selector.text
            ));
        }
        if source == SourceKind::Ingress && !self.ingress_classes.is_empty() {
            let class = class_of(document);
            if !self.ingress_classes.iter().any(|wanted| wanted.as_str() == class) {
                return Some(format!(
                    "its ingress class {class:?} is not among those of --ingress-class"
                ));
            }
        }
        None
    }

    /// Why the API server does not show an object, where it is left out by its labels.
    pub fn overlooks(&self, document: &Document) -> Option<String> {
        let selector = self
            .labels
            .as_ref()
            .filter(|selector| !selector.matches_labels(&document.metadata.labels))?;
        Some(format!("its labels do not match --label-filter {}", selector.text))
    }
}

fn class_of(document: &Document) -> &str {
    let named = document.spec.get("ingressClassName").and_then(serde_json::Value::as_str);
    // As ExternalDNS: an empty field says no more than a missing one.
    named
        .filter(|class| !class.is_empty())
        .or_else(|| document.metadata.annotations.get(CLASS_ANNOTATION).map(String::as_str))
        .unwrap_or("")
}

impl std::str::FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let refused = || SelectorError { text: text.chars().take(200).collect() };
        let requirements =
            split_requirements(text).into_iter().map(|part| requirement(part).ok_or_else(refused));
        let requirements = requirements.collect::<Result<Vec<_>, _>>()?;
        if requirements.is_empty() {
            return Err(refused());
        }
        Ok(Self { text: text.to_owned(), requirements })
    }
}

impl Selector {
    /// Whether all requirements hold for annotations. A key under one of ExternalDNS's prefixes is looked for under all of them,
    /// as everywhere.
    pub fn matches(&self, annotations: &BTreeMap<String, String>) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.holds(value_of(annotations, &requirement.key)))
    }

    /// Whether all requirements hold for labels, as the API server sees it.
    pub fn matches_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(labels.get(&requirement.key)))
    }
}

impl Requirement {
    fn holds(&self, value: Option<&String>) -> bool {
        match &self.is {
            Is::There => value.is_some(),
            Is::Absent => value.is_none(),
            Is::In(wanted) => value.is_some_and(|value| wanted.contains(value)),
            Is::NotIn(unwanted) => value.is_none_or(|value| !unwanted.contains(value)),
        }
    }
}

fn value_of<'a>(pairs: &'a BTreeMap<String, String>, key: &str) -> Option<&'a String> {
    let suffix = PREFIXES.iter().find_map(|prefix| key.strip_prefix(prefix));
    match suffix {
        Some(suffix) => PREFIXES.iter().find_map(|prefix| pairs.get(&format!("{prefix}{suffix}"))),
        None => pairs.get(key),
    }
}

/// Splits at the commas that stand outside of parentheses.
fn split_requirements(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn requirement(part: &str) -> Option<Requirement> {
    let part = part.trim();
    let with = |key: &str, is: Is| {
        is_key(key.trim()).then(|| Requirement { key: key.trim().to_owned(), is })
    };
    if let Some(key) = part.strip_prefix('!') {
        return with(key, Is::Absent);
    }
    if let Some(rest) = part.strip_suffix(')') {
        let (head, values) = rest.split_once('(')?;
        let values: Vec<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
        let (key, operator) = head.trim().rsplit_once(char::is_whitespace)?;
        return match operator {
            "in" => with(key, Is::In(values)),
            "notin" => with(key, Is::NotIn(values)),
            _ => None,
        };
    }
    if let Some((key, value)) = part.split_once("!=") {
        return with(key, Is::NotIn(vec![value.trim().to_owned()]));
    }
    match part.split_once("==").or_else(|| part.split_once('=')) {
        Some((key, value)) => with(key, Is::In(vec![value.trim().to_owned()])),
        None => with(part, Is::There),
    }
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read_as_kubernetes_reads_them() {
        let pairs = BTreeMap::from([
            ("team".to_owned(), "shop".to_owned()),
            ("tier".to_owned(), String::new()),
        ]);
        for (text, matches) in [
            ("team", true),
            ("!team", false),
            ("!other", true),
            ("team=shop", true),
            ("team == shop", true),
            ("team!=shop", false),
            ("other!=shop", true),
            ("team in (web, shop)", true),
            ("team notin (web,shop)", false),
            ("team in (web,shop),tier", true),
            ("team=shop,tier=x", false),
            ("tier=", true),
        ] {
            assert_eq!(text.parse::<Selector>().unwrap().matches(&pairs), matches, "{text}");
        }
        for text in ["", "a b", "=x", "a in b", "a within (b)", "a,", "(a)"] {
            assert!(text.parse::<Selector>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_annotation_is_found_under_both_prefixes() {
        let selector: Selector = "external-dns.alpha.kubernetes.io/access=public".parse().unwrap();
        let pairs =
            BTreeMap::from([("external-dns.kubernetes.io/access".to_owned(), "public".to_owned())]);
        assert!(selector.matches(&pairs));
    }

    #[test]
    fn the_class_of_an_ingress_is_its_field_and_else_its_annotation() {
        let filter = Filter { ingress_classes: vec!["public".into()], ..Filter::default() };
        let ingress = |spec: serde_json::Value, annotation: Option<&str>| {
            let mut document = Document { spec, ..Document::default() };
            let annotation =
                annotation.map(|class| (CLASS_ANNOTATION.to_owned(), class.to_owned()));
            document.metadata.annotations.extend(annotation);
            document
        };
        let class = |name: &str| serde_json::json!({ "ingressClassName": name });
        let counts = |document: &Document| filter.refuses(SourceKind::Ingress, document).is_none();
        assert!(counts(&ingress(class("public"), None)));
        assert!(counts(&ingress(serde_json::Value::Null, Some("public"))));
        assert!(!counts(&ingress(class("private"), Some("public"))));
        assert!(counts(&ingress(class(""), Some("public"))), "an empty field is none");
        assert!(!counts(&ingress(serde_json::Value::Null, None)));
        assert!(filter.refuses(SourceKind::Service, &Document::default()).is_none());
    }
}
