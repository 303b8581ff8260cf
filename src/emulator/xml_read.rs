//! Reading request bodies, with the checks of Route 53's schema: the order of elements, what must be there, enumerations and
//! ranges. The texts are those of Xerces, which Route 53 passes on.

use roxmltree::{Document, Node, TextPos};

use super::error::AwsError;

const NAMESPACE: &str = super::action::Service::Route53.namespace();

/// Whether an element may be missing, and how often it may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Occurs {
    /// Exactly once.
    Once,
    /// At most once.
    Optional,
    /// At least once.
    Many,
}

/// One place of a sequence of elements.
pub(super) type Slot = (&'static str, Occurs);

/// A body's document, whole. A document type declaration is refused by the parser.
pub(super) fn document(body: &str) -> Result<Document<'_>, AwsError> {
    Document::parse(body).map_err(|error| {
        let at = error.pos();
        invalid_at(at, &format!("{error}"))
    })
}

/// The root, when it is the wanted element.
pub(super) fn root<'a>(document: &'a Document<'a>, wanted: &str) -> Result<Node<'a, 'a>, AwsError> {
    let root = document.root_element();
    let name = root.tag_name().name();
    if name != wanted {
        let message = format!("{name} is not valid, expected {wanted}");
        return Err(AwsError::sender(400, "MalformedInput", message));
    }
    if root.tag_name().namespace() != Some(NAMESPACE) {
        return Err(invalid(
            root,
            &format!("cvc-elt.1: Cannot find the declaration of element '{name}'."),
        ));
    }
    Ok(root)
}

/// A refusal by the schema. Xerces counts columns to the end of what it has read.
fn invalid(node: Node<'_, '_>, reason: &str) -> AwsError {
    invalid_at(node.document().text_pos_at(node.range().end), reason)
}

fn invalid_at(at: TextPos, reason: &str) -> AwsError {
    AwsError::invalid_input(format!(
        "Invalid XML ; javax.xml.stream.XMLStreamException: org.xml.sax.SAXParseException; lineNumber: {}; columnNumber: {}; \
         {reason}",
        at.row, at.col
    ))
}

/// A refusal by the model of the service, which comes after the schema. `path` says where, each first letter lowered.
pub(super) fn violation(value: &str, path: &str, constraint: &str) -> AwsError {
    AwsError::invalid_input(format!(
        "1 validation error detected: Value '{value}' at '{path}' failed to satisfy constraint: {constraint}"
    ))
}

/// One of the words that the model of the service has.
pub(super) fn member<'a>(text: &'a str, path: &str, words: &[&str]) -> Result<&'a str, AwsError> {
    if words.contains(&text) {
        return Ok(text);
    }
    let set = format!("Member must satisfy enum value set: [{}]", words.join(", "));
    Err(violation(text, path, &set))
}

fn expected(slots: &[Slot]) -> String {
    // The elements that may come next: every optional slot up to the first required one.
    let mut names = Vec::new();
    for (name, occurs) in slots {
        names.push(format!("\"{NAMESPACE}\":{name}"));
        if *occurs != Occurs::Optional {
            break;
        }
    }
    format!("One of '{{{}}}' is expected.", names.join(", "))
}

/// The children of an element, one entry for each slot, checked against the sequence.
pub(super) fn children<'a>(
    node: Node<'a, 'a>,
    slots: &[Slot],
) -> Result<Vec<Vec<Node<'a, 'a>>>, AwsError> {
    let mut found: Vec<Vec<Node<'a, 'a>>> = vec![Vec::new(); slots.len()];
    let mut at = 0;
    for child in node.children().filter(Node::is_element) {
        let name = child.tag_name().name();
        let place = slots[at..].iter().position(|(slot, _)| *slot == name).map(|ahead| at + ahead);
        let skipped_required = |place: usize| {
            (at..place).any(|slot| slots[slot].1 != Occurs::Optional && found[slot].is_empty())
        };
        match place {
            Some(place)
                if !skipped_required(place) && child.tag_name().namespace() == Some(NAMESPACE) =>
            {
                found[place].push(child);
                at = if slots[place].1 == Occurs::Many { place } else { place + 1 };
            }
            _ => {
                let rest = if slots.get(at).is_some_and(|_| true) {
                    expected(&slots[at..])
                } else {
                    String::new()
                };
                return Err(invalid(
                    child,
                    &if rest.is_empty() {
                        format!(
                            "cvc-complex-type.2.4.d: Invalid content was found starting with element '{name}'. No child element \
                         is expected at this point."
                        )
                    } else {
                        format!(
                            "cvc-complex-type.2.4.a: Invalid content was found starting with element '{name}'. {rest}"
                        )
                    },
                ));
            }
        }
    }
    let missing = (at..slots.len())
        .find(|slot| slots[*slot].1 != Occurs::Optional && found[*slot].is_empty());
    if missing.is_some() {
        return Err(invalid(
            node,
            &format!(
                "cvc-complex-type.2.4.b: The content of element '{}' is not complete. {}",
                node.tag_name().name(),
                expected(&slots[at..])
            ),
        ));
    }
    Ok(found)
}

/// The children of an element whose schema does not ask for an order. The SDK for Rust writes CreateHostedZone out of the
/// model's order and AWS takes it.
pub(super) fn children_in_any_order<'a>(
    node: Node<'a, 'a>,
    slots: &[Slot],
) -> Result<Vec<Vec<Node<'a, 'a>>>, AwsError> {
    let mut found: Vec<Vec<Node<'a, 'a>>> = vec![Vec::new(); slots.len()];
    for child in node.children().filter(Node::is_element) {
        let name = child.tag_name().name();
        let place = slots.iter().position(|(slot, _)| *slot == name);
        match place.and_then(|place| found.get_mut(place)).filter(|nodes| nodes.is_empty()) {
            Some(nodes) => nodes.push(child),
            None => {
                let rest = "No child element is expected at this point.";
                return Err(invalid(
                    child,
                    &format!(
                        "cvc-complex-type.2.4.d: Invalid content was found starting with element '{name}'. {rest}"
                    ),
                ));
            }
        }
    }
    let is_missing =
        |(slot, nodes): &(&Slot, &Vec<Node<'a, 'a>>)| slot.1 == Occurs::Once && nodes.is_empty();
    if !slots.iter().zip(&found).any(|pair| is_missing(&pair)) {
        return Ok(found);
    }
    // Where no order is asked for, all that is not there may come, also what may be left out.
    let absent: Vec<String> = slots
        .iter()
        .zip(&found)
        .filter(|(_, nodes)| nodes.is_empty())
        .map(|((name, _), _)| format!("\"{NAMESPACE}\":{name}"))
        .collect();
    Err(invalid(
        node,
        &format!(
            "cvc-complex-type.2.4.b: The content of element '{}' is not complete. One of '{{{}}}' is expected.",
            node.tag_name().name(),
            absent.join(", ")
        ),
    ))
}

/// The text of an element, as sent.
pub(super) fn text<'a>(node: Node<'a, '_>) -> &'a str {
    node.text().unwrap_or("")
}

/// The text of an element, of `min` to `max` characters. `kind` is the schema's name for its type.
pub(super) fn bounded<'a>(
    node: Node<'a, '_>,
    kind: &str,
    min: usize,
    max: usize,
) -> Result<&'a str, AwsError> {
    let text = text(node);
    let length = text.chars().count();
    let (facet, limit) = if length > max {
        ("maxLength", max)
    } else if length < min {
        ("minLength", min)
    } else {
        return Ok(text);
    };
    Err(invalid(
        node,
        &format!(
            "cvc-{facet}-valid: Value '{text}' with length = '{length}' is not facet-valid with respect to {facet} '{limit}' for \
             type '{kind}'."
        ),
    ))
}

/// A pattern of the schema: its text, and what it takes.
pub(super) struct Pattern {
    pub kind: &'static str,
    pub text: &'static str,
    pub takes: fn(&str) -> bool,
}

/// A text that fits a pattern.
pub(super) fn patterned<'a>(node: Node<'a, '_>, pattern: &Pattern) -> Result<&'a str, AwsError> {
    let text = text(node);
    if (pattern.takes)(text) {
        return Ok(text);
    }
    Err(invalid(
        node,
        &format!(
            "cvc-pattern-valid: Value '{text}' is not facet-valid with respect to pattern '{}' for type '{}'.",
            pattern.text, pattern.kind
        ),
    ))
}

/// One of a few words.
pub(super) fn enumeration<'a>(node: Node<'a, '_>, words: &[&str]) -> Result<&'a str, AwsError> {
    let text = text(node);
    if words.contains(&text) {
        return Ok(text);
    }
    Err(invalid(
        node,
        &format!(
            "cvc-enumeration-valid: Value '{text}' is not facet-valid with respect to enumeration '[{}]'. It must be a value from \
             the enumeration.",
            words.join(", ")
        ),
    ))
}

/// A whole number.
pub(super) fn integer(node: Node<'_, '_>) -> Result<i64, AwsError> {
    let text = text(node).trim();
    text.parse().map_err(|_| {
        let reason =
            format!("cvc-datatype-valid.1.2.1: '{text}' is not a valid value for 'integer'.");
        invalid(node, &reason)
    })
}

/// A whole number in a range of the schema. `kind` is the schema's name for its type.
pub(super) fn integer_in(
    node: Node<'_, '_>,
    kind: &str,
    min: i64,
    max: i64,
) -> Result<i64, AwsError> {
    let number = integer(node)?;
    let (facet, limit) = if number > max {
        ("maxInclusive", max)
    } else if number < min {
        ("minInclusive", min)
    } else {
        return Ok(number);
    };
    Err(invalid(
        node,
        &format!(
            "cvc-{facet}-valid: Value '{number}' is not facet-valid with respect to {facet} '{limit}' for type '{kind}'."
        ),
    ))
}

/// A whole number in a range of the service's model.
pub(super) fn number_in(
    node: Node<'_, '_>,
    path: &str,
    min: i64,
    max: i64,
) -> Result<i64, AwsError> {
    let number = integer(node)?;
    let broken = if number > max {
        format!("less than or equal to {max}")
    } else if number < min {
        format!("greater than or equal to {min}")
    } else {
        return Ok(number);
    };
    Err(violation(&number.to_string(), path, &format!("Member must have value {broken}")))
}

/// `true`, `false`, `1` or `0` (XML Schema part 2, 3.2.2).
pub(super) fn boolean(node: Node<'_, '_>) -> Result<bool, AwsError> {
    match text(node).trim() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => {
            let reason =
                format!("cvc-datatype-valid.1.2.1: '{other}' is not a valid value for 'boolean'.");
            Err(invalid(node, &reason))
        }
    }
}
