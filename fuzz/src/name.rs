//! DNS names in any spelling.

use std::cmp::Ordering;

use zonefold::core::dns::name::{DnsName, MAX_ESCAPED_CHARS, MAX_LABEL_OCTETS, MAX_NAME_OCTETS};
use zonefold::emulator::offline::read_name;

/// A line is a name; a second one is a name to compare it with.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (first, second) = text.split_once('\n').unwrap_or((text, ""));
    let read = DnsName::parse(first);
    match (&read, read_name(first)) {
        (Ok(name), Ok(theirs)) => assert_eq!(*name, theirs),
        (Ok(_), Err(_)) => {
            assert!(!first.is_ascii(), "the emulator takes no Unicode and all else: {first:?}")
        }
        (Err(error), theirs) => {
            assert!(theirs.is_err());
            assert!(!error.to_string().is_empty());
        }
    }
    let Ok(name) = read else { return };
    check_form(&name);
    check_family(&name);
    if let Ok(other) = DnsName::parse(second) {
        check_order(&name, &other);
    }
}

/// One name has one form, and each way to write it leads back to it.
fn check_form(name: &DnsName) {
    let canonical = name.as_str();
    assert!(
        canonical.is_ascii() && canonical.ends_with('.') && canonical.len() <= MAX_ESCAPED_CHARS
    );
    assert_eq!(DnsName::parse(canonical).unwrap(), *name);
    assert_eq!(DnsName::parse(&canonical.to_ascii_uppercase()).unwrap(), *name);
    assert_eq!(DnsName::parse(&name.to_string()).unwrap(), *name, "{name}");
    assert_eq!(read_name(canonical).unwrap(), *name);
    let json = serde_json::to_string(name).unwrap();
    assert_eq!(serde_json::from_str::<DnsName>(&json).unwrap(), *name);
    let octets = |label: &str| label.len() - 3 * label.matches('\\').count();
    assert!(name.labels().all(|label| (1..=MAX_LABEL_OCTETS).contains(&octets(label))));
    assert!(name.labels().map(|label| octets(label) + 1).sum::<usize>() < MAX_NAME_OCTETS);
}

/// The parents are the name without one label after the other, and hold it.
fn check_family(name: &DnsName) {
    assert_eq!(name.labels().count(), name.label_count());
    assert!(name.is_in(name) && name.shared_labels(name) == name.label_count());
    let (mut below, mut count) = (name.clone(), name.label_count());
    while let Some(parent) = below.parent() {
        count -= 1;
        assert_eq!(parent.label_count(), count);
        assert!(name.is_in(&parent) && !parent.is_in(name) && parent < *name);
        below = parent;
    }
    assert_eq!(count, 1);
    check_form(&below);
}

/// Route 53's order: label by label from the root, each with its dot; shorter first.
fn check_order(a: &DnsName, b: &DnsName) {
    let from_root =
        |name: &DnsName| name.labels().rev().map(|label| format!("{label}.")).collect::<Vec<_>>();
    let (labels_of_a, labels_of_b) = (from_root(a), from_root(b));
    assert_eq!(a.cmp(b), labels_of_a.cmp(&labels_of_b), "{a:?} and {b:?}");
    assert_eq!(a.cmp(b), b.cmp(a).reverse());
    assert_eq!(a == b, a.cmp(b) == Ordering::Equal);
    assert_eq!(a.is_in(b), labels_of_a.starts_with(&labels_of_b));
    let shared = labels_of_a.iter().zip(&labels_of_b).take_while(|(a, b)| a == b).count();
    assert_eq!(a.shared_labels(b), shared);
}
