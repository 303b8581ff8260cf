//! From YAML to the configuration, and from the path of a value back to its line.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, MessageFormatter, Spanned, UserMessageFormatter};

use super::Config;
use super::error::{Finding, KeyPath, Problem, SourceLocation, Step};

/// Reads the structs, without looking at what the values mean.
pub(super) fn read(text: &str) -> Result<Config, Problem> {
    // An empty file is an empty configuration: the sections report what is missing.
    let empty =
        text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    if empty {
        return Ok(Config::default());
    }
    read_as(text)
}

/// Reads a document of any form.
pub(super) fn read_as<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let error = error.without_snippet();
        let (line, column) =
            error.location().map_or((1, 1), |at| (at.line().max(1), at.column().max(1)));
        let reason = UserMessageFormatter
            .format_message(error)
            .escape_debug()
            .to_string()
            .replace("\\\"", "\"");
        Problem {
            place: SourceLocation::Text { line, column },
            path: String::new(),
            remedy: remedy(&reason).to_owned(),
            reason,
        }
    })
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { with_snippet: false }
}

fn remedy(reason: &str) -> &'static str {
    if reason.contains("unknown field") {
        "remove the key, or correct its spelling"
    } else if reason.contains("missing field") {
        "add the key"
    } else if reason.contains("duplicate") {
        "keep one of the two"
    } else {
        "correct the value or the indentation there"
    }
}

/// Gives each finding its place: the line of its key, or of the nearest thing around it that is written down.
pub(super) fn place(
    findings: Vec<Finding>,
    text: &str,
    replaced: &[(&'static str, &'static str)],
) -> Vec<Problem> {
    let tree = tree(text);
    let mut problems: Vec<Problem> = findings
        .into_iter()
        .map(|finding| {
            let path = finding.path.to_string();
            let place = match replaced.iter().find(|(key, _)| path.starts_with(key)) {
                Some((_, variable)) => SourceLocation::Override { variable },
                None => text_place(tree.as_ref(), &finding.path),
            };
            Problem { place, path, reason: finding.reason, remedy: finding.remedy }
        })
        .collect();
    problems.sort_by_key(|problem| match problem.place {
        SourceLocation::Override { .. } => (0, 0),
        SourceLocation::Text { line, column } => (line, column),
    });
    problems
}

/// The places of all values of a text; `None` if it is no YAML.
pub(super) fn tree(text: &str) -> Option<Spanned<Node>> {
    let mut options = options();
    // A number that is none is among the things that are to be located.
    options.non_finite_float_policy = serde_saphyr::NonFiniteFloatPolicy::PassThrough;
    serde_saphyr::from_str_with_options(text, options).ok()
}

/// The line of a value, or of the nearest thing around it that is written down.
pub(super) fn text_place(tree: Option<&Spanned<Node>>, path: &KeyPath) -> SourceLocation {
    let mut place = SourceLocation::Text { line: 1, column: 1 };
    let mut next = tree;
    let mut steps = path.steps().iter();
    while let Some(node) = next {
        if node.referenced != Location::UNKNOWN {
            place = SourceLocation::Text {
                line: node.referenced.line().max(1),
                column: node.referenced.column().max(1),
            };
        }
        next = match (steps.next(), &node.value) {
            (Some(Step::Key(key)), Node::Map(entries)) => entries.get(key),
            (Some(Step::Index(index)), Node::List(items)) => items.get(*index),
            _ => None,
        };
    }
    place
}

/// Any YAML, of which only the places are of interest.
#[derive(Debug)]
pub(super) enum Node {
    Map(BTreeMap<String, Spanned<Node>>),
    List(Vec<Spanned<Node>>),
    Scalar,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((key, value)) = map.next_entry()? {
            entries.insert(key, value);
        }
        Ok(Node::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }
}
