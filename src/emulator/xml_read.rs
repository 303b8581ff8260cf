//! Reading request bodies, with the checks of Route 53's schema: the order of elements, what must be there, enumerations and
//! ranges. The texts are those of Xerces, which Route 53 passes on.

use roxmltree::{Document, Node};

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
    Document::parse(body).map_err(|error| invalid(&format!("{error}")))
}

/// The root, when it is the wanted element.
pub(super) fn root<'a>(document: &'a Document<'a>, wanted: &str) -> Result<Node<'a, 'a>, AwsError> {
    let root = document.root_element();
    if root.tag_name().name() == wanted && root.tag_name().namespace() == Some(NAMESPACE) {
        Ok(root)
    } else {
        Err(invalid(&format!(
            "cvc-elt.1: Cannot find the declaration of element '{}'.",
            root.tag_name().name()
        )))
    }
}

fn invalid(reason: &str) -> AwsError {
    AwsError::invalid_input(format!("Invalid XML ; {reason}"))
}

fn expected(slots: &[Slot]) -> String {
    // What may come next: every slot that can be left out, up to the first that cannot.
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
                return Err(invalid(&if rest.is_empty() {
                    format!(
                        "cvc-complex-type.2.4.d: Invalid content was found starting with element '{name}'. No child element \
                         is expected at this point."
                    )
                } else {
                    format!(
                        "cvc-complex-type.2.4.a: Invalid content was found starting with element '{name}'. {rest}"
                    )
                }));
            }
        }
    }
    let missing = (at..slots.len())
        .find(|slot| slots[*slot].1 != Occurs::Optional && found[*slot].is_empty());
    if missing.is_some() {
        return Err(invalid(&format!(
            "cvc-complex-type.2.4.b: The content of element '{}' is not complete. {}",
            node.tag_name().name(),
            expected(&slots[at..])
        )));
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
                return Err(invalid(&format!(
                    "cvc-complex-type.2.4.d: Invalid content was found starting with element '{name}'. {rest}"
                )));
            }
        }
    }
    match slots
        .iter()
        .zip(&found)
        .position(|((_, occurs), nodes)| *occurs == Occurs::Once && nodes.is_empty())
    {
        None => Ok(found),
        Some(missing) => Err(invalid(&format!(
            "cvc-complex-type.2.4.b: The content of element '{}' is not complete. {}",
            node.tag_name().name(),
            expected(&slots[missing..=missing])
        ))),
    }
}

/// The text of an element, as sent.
pub(super) fn text<'a>(node: Node<'a, '_>) -> &'a str {
    node.text().unwrap_or("")
}

/// The text of an element of at most so many characters.
pub(super) fn bounded<'a>(node: Node<'a, '_>, min: usize, max: usize) -> Result<&'a str, AwsError> {
    let text = text(node);
    let length = text.chars().count();
    let (facet, limit) = if length > max {
        ("maxLength", max)
    } else if length < min {
        ("minLength", min)
    } else {
        return Ok(text);
    };
    Err(invalid(&format!(
        "cvc-{facet}-valid: Value '{text}' with length = '{length}' is not facet-valid with respect to {facet} '{limit}' for \
         type '{}'.",
        node.tag_name().name()
    )))
}

/// One of a few words.
pub(super) fn enumeration<'a>(node: Node<'a, '_>, words: &[&str]) -> Result<&'a str, AwsError> {
    let text = text(node);
    if words.contains(&text) {
        return Ok(text);
    }
    Err(invalid(&format!(
        "cvc-enumeration-valid: Value '{text}' is not facet-valid with respect to enumeration '[{}]'. It must be a value from \
         the enumeration.",
        words.join(", ")
    )))
}

/// A whole number in a range.
pub(super) fn integer(node: Node<'_, '_>, min: i64, max: i64) -> Result<i64, AwsError> {
    let text = text(node).trim();
    let number: i64 = text.parse().map_err(|_| {
        invalid(&format!("cvc-datatype-valid.1.2.1: '{text}' is not a valid value for 'integer'."))
    })?;
    let (facet, limit) = if number > max {
        ("maxInclusive", max)
    } else if number < min {
        ("minInclusive", min)
    } else {
        return Ok(number);
    };
    Err(invalid(&format!(
        "cvc-{facet}-valid: Value '{number}' is not facet-valid with respect to {facet} '{limit}' for type '{}'.",
        node.tag_name().name()
    )))
}

/// `true`, `false`, `1` or `0` (XML Schema part 2, 3.2.2).
pub(super) fn boolean(node: Node<'_, '_>) -> Result<bool, AwsError> {
    match text(node).trim() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(invalid(&format!(
            "cvc-datatype-valid.1.2.1: '{other}' is not a valid value for 'boolean'."
        ))),
    }
}
