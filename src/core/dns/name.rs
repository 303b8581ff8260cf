//! DNS names in one canonical form.
//!
//! A [`DnsName`] holds the text in which Route 53 itself answers: lower case, fully qualified with the final dot, A-labels
//! (RFC 5890) for what was Unicode, and every octet outside `a-z 0-9 - _` as a three-digit octal escape. Two spellings of one
//! name are therefore equal as text, and the order of the text is the order in which Route 53 lists.

use std::cmp::Ordering;
use std::fmt;

use arcstr::ArcStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// RFC 1034 §3.1: a label has at most 63 octets.
pub const MAX_LABEL_OCTETS: usize = 63;
/// RFC 1034 §3.1: a name has at most 255 octets, length octets and root included.
pub const MAX_NAME_OCTETS: usize = 255;
/// Route 53 accepts at most 1,024 characters of escaped text as a name.
pub const MAX_ESCAPED_CHARS: usize = 1_024;

/// Why a text is not a DNS name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is no label at all.
    #[error("the name is empty")]
    Empty,
    /// Two dots follow each other, or the name starts with one.
    #[error("the name {name:?} has an empty label: remove the extra dot")]
    LabelEmpty {
        /// The name as given.
        name: String,
    },
    /// A label is longer than 63 octets (RFC 1034 §3.1).
    #[error("the label {label:?} has {octets} octets and the limit is 63: shorten it")]
    LabelTooLong {
        /// The label as given.
        label: String,
        /// Its length.
        octets: usize,
    },
    /// The name is longer than 255 octets (RFC 1034 §3.1) or 1,024 escaped characters (Route 53).
    #[error("the name has {octets} octets and the limit is 255: shorten it")]
    NameTooLong {
        /// Its length on the wire.
        octets: usize,
    },
    /// A character that has to be written as an escape, or that Route 53 does not accept.
    #[error(
        "the name {name:?} contains {character:?}, which a DNS name cannot hold as it is; write it as \\ooo with three octal digits"
    )]
    UnsupportedCharacter {
        /// The name as given.
        name: String,
        /// The first character at fault.
        character: char,
    },
    /// A backslash that is not followed by three octal digits.
    #[error(
        "the name {name:?} has a backslash that is not followed by three octal digits (000 to 377)"
    )]
    BadEscape {
        /// The name as given.
        name: String,
    },
    /// A Unicode label that IDNA does not accept (UTS 46).
    #[error("the label {label:?} is not a valid internationalised label: {reason}")]
    Idna {
        /// The label as given.
        label: String,
        /// The error of UTS 46 processing.
        reason: String,
    },
}

/// A fully qualified domain name in canonical form; see the module's page.
///
/// `Display` writes the form for people (`*.example.com`, no final dot); [`DnsName::as_str`] is the canonical text
/// (`\052.example.com.`). The order is Route 53's list order.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DnsName(ArcStr);

impl DnsName {
    /// Reads a name in any spelling: with or without the final dot, any case, Unicode, octal escapes.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let body = text.strip_suffix('.').unwrap_or(text);
        if body.is_empty() {
            return if text.is_empty() || text == "." {
                Err(NameError::Empty)
            } else {
                Err(empty_label(text))
            };
        }
        let with_dot = |canonical: &mut [u8]| {
            canonical[..body.len()].copy_from_slice(body.as_bytes());
            canonical[body.len()] = b'.';
        };
        if is_plain(body)
            && let Ok(canonical) = ArcStr::init_with(body.len() + 1, with_dot)
        {
            return Ok(Self(canonical));
        }
        let mut canonical = String::with_capacity(body.len() + 1);
        let mut wire_octets = 1;
        for label in body.split('.') {
            wire_octets += 1 + push_label(&mut canonical, label, text)?;
            canonical.push('.');
        }
        if wire_octets > MAX_NAME_OCTETS || canonical.len() > MAX_ESCAPED_CHARS {
            return Err(NameError::NameTooLong { octets: wire_octets });
        }
        Ok(Self(ArcStr::from(canonical)))
    }

    /// The canonical text, as Route 53 answers it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The canonical text, shared.
    pub fn text(&self) -> ArcStr {
        self.0.clone()
    }

    /// The labels from left to right, escaped, without the root.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0[..self.0.len() - 1].split('.')
    }

    /// Whether the leftmost label is `*` (RFC 4592 §2.1.1).
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("\\052.")
    }

    /// Whether the name is `zone` or lies below it.
    pub fn is_in(&self, zone: &DnsName) -> bool {
        self.0.ends_with(zone.0.as_str())
            && (self.0.len() == zone.0.len()
                || self.0.as_bytes()[self.0.len() - zone.0.len() - 1] == b'.')
    }

    /// The name without its leftmost label; `None` for a single label.
    pub fn parent(&self) -> Option<DnsName> {
        let (_, rest) = self.0.split_once('.')?;
        (!rest.is_empty()).then(|| Self(ArcStr::from(rest)))
    }

    /// The canonical texts of the name and of all above it, without the root: its own first.
    pub fn suffixes(&self) -> impl Iterator<Item = &str> {
        let mut rest = self.as_str();
        std::iter::from_fn(move || {
            let text = rest;
            rest = text.split_once('.')?.1;
            Some(text)
        })
    }

    /// The wildcard directly below the name (RFC 4592 §2.1.1); `None` if that is too long for a name.
    pub fn wildcard(&self) -> Option<DnsName> {
        Self::parse(&format!("*.{}", self.0)).ok()
    }

    /// How many labels the two names share, counted from the root.
    pub fn shared_labels(&self, other: &DnsName) -> usize {
        self.labels().rev().zip(other.labels().rev()).take_while(|(a, b)| a == b).count()
    }

    /// The number of labels.
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }
}

/// Compares two different canonical texts label by label from the root, each label with its dot.
///
/// Names of one zone end alike, so what they share is passed over from the right; only the first label that differs is looked
/// at as a label.
fn cmp_from_root(a: &[u8], b: &[u8]) -> Ordering {
    let shared = shared_from_right(a, b);
    // The label that the first difference lies in, from its start to its dot. The dot is in the shared part: both end with one.
    let label = |name: &[u8]| -> (usize, usize) {
        let differs_before = name.len() - shared;
        let start = name[..differs_before]
            .iter()
            .rposition(|octet| *octet == b'.')
            .map_or(0, |dot| dot + 1);
        let end = name[differs_before..]
            .iter()
            .position(|octet| *octet == b'.')
            .map_or(name.len(), |dot| differs_before + dot + 1);
        (start, end)
    };
    let ((a_start, a_end), (b_start, b_end)) = (label(a), label(b));
    // Equal labels: one of the names ends here, and the shorter comes first.
    a[a_start..a_end].cmp(&b[b_start..b_end]).then(a_start.cmp(&b_start))
}

/// How many octets the two texts share, counted from the right; eight at a time, since each step down a tree of names asks.
fn shared_from_right(a: &[u8], b: &[u8]) -> usize {
    let ((a_rest, a_words), (b_rest, b_words)) = (a.as_rchunks::<8>(), b.as_rchunks::<8>());
    let words = a_words.iter().rev().zip(b_words.iter().rev()).take_while(|(a, b)| a == b).count();
    let end_of = |rest: &[u8], all: &[[u8; 8]]| rest.len() + (all.len() - words) * 8;
    let (a, b) = (&a[..end_of(a_rest, a_words)], &b[..end_of(b_rest, b_words)]);
    words * 8 + a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count()
}

/// Whether a name without its final dot is canonical as it stands, as most are.
fn is_plain(body: &str) -> bool {
    let is_plain = |octet: &u8| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    // The root and the length octet of the first label come to what is written.
    body.len() + 2 <= MAX_NAME_OCTETS
        && body.as_bytes().split(|octet| *octet == b'.').all(|label| {
            (1..=MAX_LABEL_OCTETS).contains(&label.len()) && label.iter().all(is_plain)
        })
}

fn empty_label(name: &str) -> NameError {
    NameError::LabelEmpty { name: name.to_owned() }
}

/// Appends one label in canonical form and returns its length in octets.
fn push_label(canonical: &mut String, label: &str, name: &str) -> Result<usize, NameError> {
    if label.is_empty() {
        return Err(empty_label(name));
    }
    let ascii;
    let label = if label.is_ascii() {
        label
    } else {
        ascii = to_a_label(label)?;
        &ascii
    };
    let bytes = label.as_bytes();
    let (mut at, mut octets) = (0, 0);
    while at < bytes.len() {
        let octet = if bytes[at] == b'\\' {
            let octet = octal(bytes.get(at + 1..at + 4))
                .ok_or_else(|| NameError::BadEscape { name: name.to_owned() })?;
            at += 4;
            octet
        } else if bytes[at].is_ascii_graphic() {
            at += 1;
            bytes[at - 1]
        } else {
            return Err(NameError::UnsupportedCharacter {
                name: name.to_owned(),
                character: char::from(bytes[at]),
            });
        };
        push_octet(canonical, octet.to_ascii_lowercase());
        octets += 1;
    }
    if octets > MAX_LABEL_OCTETS {
        return Err(NameError::LabelTooLong { label: label.to_owned(), octets });
    }
    Ok(octets)
}

fn push_octet(canonical: &mut String, octet: u8) {
    if octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-' || octet == b'_' {
        canonical.push(char::from(octet));
    } else {
        canonical.push('\\');
        for shift in [6, 3, 0] {
            canonical.push(char::from(b'0' + ((octet >> shift) & 7)));
        }
    }
}

fn octal(digits: Option<&[u8]>) -> Option<u8> {
    let digits = digits?;
    let value = digits.iter().try_fold(0u16, |value, digit| {
        (b'0'..=b'7').contains(digit).then(|| value * 8 + u16::from(digit - b'0'))
    })?;
    u8::try_from(value).ok()
}

/// UTS 46 processing of one label. Underscores and other printable ASCII are left to the caller's rules.
fn to_a_label(label: &str) -> Result<String, NameError> {
    let uts46 = idna::uts46::Uts46::new();
    match uts46.to_ascii(
        label.as_bytes(),
        idna::AsciiDenyList::EMPTY,
        idna::uts46::Hyphens::Allow,
        idna::uts46::DnsLength::Ignore,
    ) {
        // UTS 46 maps some characters to a dot: that would be two labels where one was written.
        Ok(ascii) if ascii.contains('.') => Err(NameError::Idna {
            label: label.to_owned(),
            reason: "it maps to more than one label".to_owned(),
        }),
        // Others it leaves out, and a label without octets is the root's.
        Ok(ascii) if ascii.is_empty() => Err(NameError::Idna {
            label: label.to_owned(),
            reason: "it maps to nothing".to_owned(),
        }),
        Ok(ascii) => Ok(ascii.into_owned()),
        Err(_) => Err(NameError::Idna {
            label: label.to_owned(),
            reason: "UTS 46 does not allow these characters".to_owned(),
        }),
    }
}

impl Ord for DnsName {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.0 == other.0 {
            Ordering::Equal
        } else {
            cmp_from_root(self.0.as_bytes(), other.0.as_bytes())
        }
    }
}

impl PartialOrd for DnsName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.0[..self.0.len() - 1];
        let mut rest = text;
        while let Some(at) = rest.find('\\') {
            f.write_str(&rest[..at])?;
            let escape = &rest[at..at + 4];
            match octal(Some(&escape.as_bytes()[1..])) {
                Some(octet) if octet.is_ascii_graphic() && octet != b'.' && octet != b'\\' => {
                    write!(f, "{}", char::from(octet))?;
                }
                _ => f.write_str(escape)?,
            }
            rest = &rest[at + 4..];
        }
        f.write_str(rest)
    }
}

impl fmt::Debug for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for DnsName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl Serialize for DnsName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DnsName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> DnsName {
        DnsName::parse(text).unwrap()
    }

    #[test]
    fn one_name_has_one_form() {
        for (given, canonical) in [
            ("www.example.com", "www.example.com."),
            ("WWW.Example.COM.", "www.example.com."),
            ("*.example.com", "\\052.example.com."),
            ("\\052.example.com.", "\\052.example.com."),
            ("_sip._tcp.example.com", "_sip._tcp.example.com."),
            ("a@b.example.com", "a\\100b.example.com."),
            ("a\\100b.example.com", "a\\100b.example.com."),
            ("\\101.example.com", "a.example.com."),
            ("bücher.example.com", "xn--bcher-kva.example.com."),
            ("BÜCHER.example.com", "xn--bcher-kva.example.com."),
            ("a\\056b.example.com", "a\\056b.example.com."),
        ] {
            assert_eq!(name(given).as_str(), canonical, "{given:?}");
        }
    }

    #[test]
    fn rfc1034_3_1_label_and_name_lengths() {
        let label = "a".repeat(63);
        assert!(DnsName::parse(&format!("{label}.example.com")).is_ok());
        assert!(matches!(
            DnsName::parse(&format!("{label}a.example.com")),
            Err(NameError::LabelTooLong { octets: 64, .. })
        ));
        let long = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert!(DnsName::parse(&long).is_ok(), "255 octets");
        assert!(matches!(
            DnsName::parse(&format!("{long}a")),
            Err(NameError::NameTooLong { octets: 256 })
        ));
    }

    #[test]
    fn bad_names_say_what_is_wrong() {
        assert_eq!(DnsName::parse(""), Err(NameError::Empty));
        assert_eq!(DnsName::parse("."), Err(NameError::Empty));
        for bad in ["a..b", ".a", "a..", ".."] {
            assert!(matches!(DnsName::parse(bad), Err(NameError::LabelEmpty { .. })), "{bad:?}");
        }
        // A soft hyphen and a grapheme joiner are left out by UTS 46; an ideographic full stop is a dot.
        for bad in ["\u{ad}", "a.\u{34f}.b", "*.\u{ad}", "a\u{3002}b.c"] {
            assert!(matches!(DnsName::parse(bad), Err(NameError::Idna { .. })), "{bad:?}");
        }
        for bad in ["a b.com", "a\tb", "a\nb"] {
            assert!(
                matches!(DnsName::parse(bad), Err(NameError::UnsupportedCharacter { .. })),
                "{bad:?}"
            );
        }
        for bad in ["\\", "\\9", "\\400.com", "\\05", "\\08a.com"] {
            assert!(matches!(DnsName::parse(bad), Err(NameError::BadEscape { .. })), "{bad:?}");
        }
    }

    #[test]
    fn rfc4592_2_1_1_only_the_leftmost_star_alone_is_a_wildcard() {
        assert!(name("*.example.com").is_wildcard());
        assert!(!name("a.*.example.com").is_wildcard());
        assert!(!name("*a.example.com").is_wildcard());
    }

    #[test]
    fn the_list_order_compares_reversed_labels_with_their_dots() {
        let mut names: Vec<_> = [
            "b.example.com",
            "a.example.com",
            "a-b.example.com",
            "example.com",
            "x.a.example.com",
            "*.example.com",
            "1.example.com",
            "_a.example.com",
        ]
        .map(name)
        .to_vec();
        names.sort();
        let shown: Vec<_> = names.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "example.com",
                "1.example.com",
                "*.example.com",
                "_a.example.com",
                "a-b.example.com",
                "a.example.com",
                "x.a.example.com",
                "b.example.com"
            ]
        );
    }

    #[test]
    fn a_zone_holds_itself_and_what_is_below_it() {
        let zone = name("example.com");
        assert!(name("example.com").is_in(&zone));
        assert!(name("a.b.example.com").is_in(&zone));
        assert!(!name("badexample.com").is_in(&zone));
        assert!(!name("com").is_in(&zone));
        assert!(!name("a\\056example.com").is_in(&zone), "an escaped dot separates nothing");
    }

    proptest! {
        #[test]
        fn parsing_is_idempotent_and_display_reads_back(text in "\\PC{0,80}") {
            if let Ok(parsed) = DnsName::parse(&text) {
                prop_assert_eq!(&DnsName::parse(parsed.as_str()).unwrap(), &parsed);
                prop_assert_eq!(&DnsName::parse(&parsed.to_string()).unwrap(), &parsed);
            }
        }

        #[test]
        fn what_is_canonical_as_it_stands_is_read_as_any_other_spelling(
            text in "[a-z0-9_-]{0,64}(\\.[a-z0-9_-]{0,64}){0,4}", dot in "\\.?",
        ) {
            let first = text.chars().next().filter(|first| *first != '.');
            let escaped = first.map_or(text.clone(), |first| format!("\\{:03o}{}", first as u32, &text[1..]));
            prop_assert_eq!(DnsName::parse(&format!("{text}{dot}")).ok(), DnsName::parse(&format!("{escaped}{dot}")).ok());
        }

        #[test]
        fn every_octet_survives_its_escape(octets in proptest::collection::vec(any::<u8>(), 1..40)) {
            let escaped: String = octets.iter().map(|o| format!("\\{o:03o}")).collect();
            let parsed = DnsName::parse(&escaped).unwrap();
            let again: String = octets.iter().map(|o| format!("\\{:03o}", o.to_ascii_lowercase())).collect();
            prop_assert_eq!(&DnsName::parse(&again).unwrap(), &parsed);
        }

        #[test]
        fn the_order_is_that_of_the_reversed_labels_with_their_dots(
            a in "[a-c*-]{0,3}(\\.[a-c*-]{1,3}){1,3}", b in "[a-c*-]{0,3}(\\.[a-c*-]{1,3}){1,3}", zone in "(\\.a|\\.com)?",
        ) {
            let reversed = |name: &DnsName| name.labels().rev().flat_map(|label| [label, "."]).collect::<String>();
            if let (Ok(a), Ok(b)) = (DnsName::parse(&format!("{a}{zone}")), DnsName::parse(&format!("{b}{zone}"))) {
                prop_assert_eq!(a.cmp(&b), reversed(&a).cmp(&reversed(&b)));
            }
        }

        #[test]
        fn the_order_agrees_with_equality(a in "[a-c*.-]{1,6}", b in "[a-c*.-]{1,6}") {
            if let (Ok(a), Ok(b)) = (DnsName::parse(&a), DnsName::parse(&b)) {
                prop_assert_eq!(a == b, a.cmp(&b) == Ordering::Equal);
                prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            }
        }
    }
}
