//! Which names a rule is about.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::core::dns::name::{DnsName, NameError};

/// `pay.example.com`, that name; or `*.pay.example.com`, everything below it at any depth and not the name itself.
///
/// There are no other wildcards and no regular expressions, so which of two patterns is the longer one is plain to see. The record
/// `*.pay.example.com` itself (RFC 4592) lies below `pay.example.com`, so the pattern of the same text takes it with the rest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamePattern {
    /// That name.
    Exactly(DnsName),
    /// Everything below that name, without itself.
    Below(DnsName),
    /// A name and everything below it: the whole of a zone.
    Within(DnsName),
}

impl NamePattern {
    /// Reads the text of a pattern.
    ///
    /// # Errors
    /// The text is no name, or nothing but a star.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let name = DnsName::parse(text).map_err(PatternError::Name)?;
        match (name.is_wildcard(), name.parent()) {
            (false, _) => Ok(Self::Exactly(name)),
            (true, Some(parent)) => Ok(Self::Below(parent)),
            (true, None) => Err(PatternError::Everything),
        }
    }

    /// Whether the name fits.
    pub fn matches(&self, name: &DnsName) -> bool {
        match self {
            Self::Exactly(wanted) => name == wanted,
            Self::Below(parent) => name != parent && name.is_in(parent),
            Self::Within(apex) => name.is_in(apex),
        }
    }

    /// Whether every name that the other pattern takes fits this one.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Exactly(name)) => self.matches(name),
            (Self::Exactly(_), _) => false,
            (Self::Below(parent), Self::Below(base)) => base.is_in(parent),
            (Self::Below(parent), Self::Within(base)) => base != parent && base.is_in(parent),
            (Self::Within(apex), Self::Below(base) | Self::Within(base)) => base.is_in(apex),
        }
    }

    /// The name that the pattern is written by, without its star.
    pub fn base(&self) -> &DnsName {
        match self {
            Self::Exactly(name) | Self::Below(name) | Self::Within(name) => name,
        }
    }

    /// Of two patterns that fit one name the one with the greater length is the longer: more labels, and then the one that takes fewer
    /// names.
    pub fn length(&self) -> PatternLength {
        let narrow = match self {
            Self::Exactly(_) => 2,
            Self::Below(_) => 1,
            Self::Within(_) => 0,
        };
        PatternLength { labels: self.base().label_count(), narrow }
    }

    /// Whether every name that the pattern takes lies in the zone.
    pub fn is_in(&self, apex: &DnsName) -> bool {
        self.base().is_in(apex)
    }
}

/// How long a pattern is; of those that fit a name the longest decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PatternLength {
    labels: usize,
    narrow: u8,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is no name.
    #[error(transparent)]
    Name(NameError),
    /// A star alone.
    #[error("a pattern names what it is below: write *.example.com")]
    Everything,
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(name) => write!(f, "{name}"),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Within(name) => write!(f, "all of {name}"),
        }
    }
}

impl Serialize for NamePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NamePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testkit::name;

    #[test]
    fn a_star_takes_what_lies_below_and_not_the_name_itself() {
        let below = NamePattern::parse("*.pay.example.com").unwrap();
        for (text, fits) in [
            ("api.pay.example.com", true),
            ("a.b.pay.example.com", true),
            ("*.pay.example.com", true),
            ("pay.example.com", false),
            ("xpay.example.com", false),
            ("example.com", false),
        ] {
            assert_eq!(below.matches(&name(text)), fits, "{text}");
        }
        assert!(NamePattern::Within(name("example.com")).matches(&name("example.com")));
    }

    #[test]
    fn the_longer_pattern_has_more_labels_and_then_fewer_names() {
        let lengths = [
            NamePattern::Within(name("example.com")),
            NamePattern::parse("*.example.com").unwrap(),
            NamePattern::Within(name("pay.example.com")),
            NamePattern::parse("*.pay.example.com").unwrap(),
            NamePattern::parse("pay.example.com").unwrap(),
            NamePattern::parse("*.api.pay.example.com").unwrap(),
        ];
        assert!(lengths.is_sorted_by_key(NamePattern::length));
    }

    #[test]
    fn a_pattern_covers_another_if_each_name_of_that_fits() {
        let of = |text: &str| match text.strip_prefix("all of ") {
            Some(apex) => NamePattern::Within(name(apex)),
            None => NamePattern::parse(text).unwrap(),
        };
        for (one, other, covers) in [
            ("*.pay.example.com", "a.pay.example.com", true),
            ("*.pay.example.com", "pay.example.com", false),
            ("*.pay.example.com", "*.pay.example.com", true),
            ("*.pay.example.com", "*.a.pay.example.com", true),
            ("*.pay.example.com", "*.example.com", false),
            ("*.pay.example.com", "all of a.pay.example.com", true),
            ("*.pay.example.com", "all of pay.example.com", false),
            ("all of pay.example.com", "*.pay.example.com", true),
            ("all of pay.example.com", "pay.example.com", true),
            ("pay.example.com", "pay.example.com", true),
            ("pay.example.com", "*.pay.example.com", false),
        ] {
            assert_eq!(of(one).covers(&of(other)), covers, "{one} {other}");
        }
    }

    #[test]
    fn a_pattern_of_everything_is_refused_with_the_way_to_write_it() {
        let error = NamePattern::parse("*").unwrap_err().to_string();
        assert_eq!(error, "a pattern names what it is below: write *.example.com");
        assert!(NamePattern::parse("a..b").is_err());
    }
}
