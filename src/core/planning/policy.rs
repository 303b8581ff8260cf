//! Which zones Zonefold manages, and what it may do in them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::record_types::RecordTypes;
use crate::core::dns::name::{DnsName, NameError};
use crate::core::ids::ZoneId;
use crate::core::visibility::Visibility;

/// The changes that Zonefold may make in a zone.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum ZonePolicy {
    /// Create, change and delete record sets of its own.
    #[default]
    Sync,
    /// Create and change; record sets that no cluster wants any more stay.
    UpsertOnly,
    /// Create; existing record sets stay as they are.
    CreateOnly,
    /// Plan and report, and write nothing: the zone is still managed by others.
    Observe,
}

impl ZonePolicy {
    /// Whether record sets may be created.
    pub const fn allows_create(self) -> bool {
        !matches!(self, Self::Observe)
    }

    /// Whether record sets of ours may be changed.
    pub const fn allows_update(self) -> bool {
        matches!(self, Self::Sync | Self::UpsertOnly)
    }

    /// Whether record sets of ours may be deleted.
    pub const fn allows_delete(self) -> bool {
        matches!(self, Self::Sync)
    }

    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::UpsertOnly => "upsert-only",
            Self::CreateOnly => "create-only",
            Self::Observe => "observe",
        }
    }
}

impl fmt::Display for ZonePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a record set of ours is handled that another writer has changed.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum DriftPolicy {
    /// It is put back.
    #[default]
    Repair,
    /// It is reported and left as it is.
    Alert,
}

impl DriftPolicy {
    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Repair => "repair",
            Self::Alert => "alert",
        }
    }
}

impl fmt::Display for DriftPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which record sets that Zonefold did not make are taken over when a cluster wants their name and type.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum AdoptPolicy {
    /// None.
    #[default]
    Never,
    /// Those that already match: they change hands without a call.
    Identical,
    /// Those, and those that differ, which are changed.
    Any,
}

/// Which objects of a cluster add their addresses up in one record set.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum MergePolicy {
    /// Objects of one kind in one namespace.
    #[default]
    Namespace,
    /// Objects of one kind in any namespace, as ExternalDNS does.
    Cluster,
}

/// Which zone names a selector matches: `example.com` itself, `*.example.com` all below it at any depth, `*` all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ZonePattern {
    /// The zone of that name.
    Exactly(DnsName),
    /// The zones below that name, at any depth, without itself.
    Below(DnsName),
    /// All zones.
    Any,
}

impl ZonePattern {
    /// Reads the text of a pattern. No zone has a wildcard for its name, however the star is written.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = DnsName::parse(text)?;
        Ok(match (name.is_wildcard(), name.parent()) {
            (false, _) => Self::Exactly(name),
            (true, Some(parent)) => Self::Below(parent),
            (true, None) => Self::Any,
        })
    }

    /// Whether the zone's name fits.
    pub fn matches(&self, name: &DnsName) -> bool {
        match self {
            Self::Exactly(wanted) => name == wanted,
            Self::Below(parent) => name != parent && name.is_in(parent),
            Self::Any => true,
        }
    }
}

impl fmt::Display for ZonePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(name) => write!(f, "{name}"),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Any => f.write_str("*"),
        }
    }
}

impl Serialize for ZonePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ZonePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The conditions on a zone. All that are given have to hold; one that is not given holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneSelector {
    /// On its name.
    pub name: Option<ZonePattern>,
    /// On its id.
    pub id: Option<ZoneId>,
    /// On its tags: each of these, with this value.
    pub tags: BTreeMap<String, String>,
    /// On who can resolve it.
    pub visibility: Option<Visibility>,
}

impl ZoneSelector {
    /// Whether a zone fits.
    pub fn matches(
        &self,
        name: &DnsName,
        id: &ZoneId,
        private: bool,
        tags: &BTreeMap<String, String>,
    ) -> bool {
        self.name.as_ref().is_none_or(|pattern| pattern.matches(name))
            && self.id.as_ref().is_none_or(|wanted| wanted == id)
            && self.visibility.is_none_or(|visibility| visibility == Visibility::of(private))
            && self.tags.iter().all(|(key, value)| tags.get(key) == Some(value))
    }

    /// Whether there is no condition at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How a zone is managed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneSettings {
    /// The changes that are allowed.
    pub policy: ZonePolicy,
    /// How changes by others are handled.
    pub drift: DriftPolicy,
    /// Which record sets of others are taken over.
    pub adopt: AdoptPolicy,
    /// Which record types clusters may publish.
    pub record_types: RecordTypes,
    /// Which objects add their addresses up.
    pub merge: MergePolicy,
    /// The TTL of a record set whose endpoint names none, in seconds.
    pub default_ttl_secs: u32,
}

/// Whether endpoints without a placement wait for an account that cannot be listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlacementWait {
    /// They wait: a closer zone may be there.
    #[default]
    Wait,
    /// While the account is parked, they are placed by the zones of the other accounts.
    DoNotWait,
}

impl Default for ZoneSettings {
    fn default() -> Self {
        Self {
            policy: ZonePolicy::default(),
            drift: DriftPolicy::default(),
            adopt: AdoptPolicy::default(),
            record_types: RecordTypes::default(),
            merge: MergePolicy::default(),
            default_ttl_secs: DEFAULT_TTL_SECS,
        }
    }
}

/// The TTL of a zone whose configuration names none, in seconds.
pub const DEFAULT_TTL_SECS: u32 = 300;

/// A selector, and how the zones that fit are managed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneRule {
    /// Which zones.
    pub selector: ZoneSelector,
    /// How.
    pub settings: ZoneSettings,
}

/// How a zone is managed: the settings of the first rule that fits; `None` if no rule selects the zone.
pub fn settings_of<'a>(
    rules: &'a [ZoneRule],
    name: &DnsName,
    id: &ZoneId,
    private: bool,
    tags: &BTreeMap<String, String>,
) -> Option<&'a ZoneSettings> {
    rules
        .iter()
        .find(|rule| rule.selector.matches(name, id, private, tags))
        .map(|rule| &rule.settings)
}

/// How a zone is managed whose tags may be unknown (`None`). A rule that asks for tags may then fit: as long as it may, later
/// rules do not apply, and the zone is observed.
pub fn settings_by_known(
    rules: &[ZoneRule],
    name: &DnsName,
    id: &ZoneId,
    private: bool,
    tags: Option<&BTreeMap<String, String>>,
) -> Option<ZoneSettings> {
    if let Some(tags) = tags {
        return settings_of(rules, name, id, private, tags).copied();
    }
    let may_fit = |rule: &&ZoneRule| rule.selector.matches(name, id, private, &rule.selector.tags);
    let rule = rules.iter().find(may_fit)?;
    let watched = ZonePolicy::Observe;
    Some(match rule.selector.tags.is_empty() {
        true => rule.settings,
        false => ZoneSettings {
            policy: watched,
            drift: DriftPolicy::Alert,
            adopt: AdoptPolicy::Never,
            ..rule.settings
        },
    })
}

/// Whether any rule asks for tags, which cost calls to list.
pub fn needs_tags(rules: &[ZoneRule]) -> bool {
    rules.iter().any(|rule| !rule.selector.tags.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DnsName {
        DnsName::parse(text).unwrap()
    }

    fn zone_id() -> ZoneId {
        ZoneId::parse("Z1").unwrap()
    }

    fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_pattern_with_a_star_takes_what_lies_below_and_not_the_name_itself() {
        let below = ZonePattern::parse("*.dev.example.com").unwrap();
        for (zone, fits) in [
            ("a.dev.example.com", true),
            ("a.b.dev.example.com", true),
            ("dev.example.com", false),
            ("xdev.example.com", false),
            ("example.com", false),
        ] {
            assert_eq!(below.matches(&name(zone)), fits, "{zone}");
        }
        assert!(ZonePattern::parse("*").unwrap().matches(&name("anything.example")));
        let exactly = ZonePattern::parse("Example.com.").unwrap();
        assert!(exactly.matches(&name("example.com")) && !exactly.matches(&name("a.example.com")));
        for star in ["*.", "\\052", "*\u{34f}", "\u{ff0a}"] {
            assert_eq!(ZonePattern::parse(star).unwrap(), ZonePattern::Any, "{star:?}");
        }
        assert!(ZonePattern::parse("").is_err() && ZonePattern::parse("*..com").is_err());
    }

    #[test]
    fn all_conditions_of_a_selector_have_to_hold() {
        let selector = ZoneSelector {
            name: Some(ZonePattern::parse("example.com").unwrap()),
            id: Some(zone_id()),
            tags: tags(&[("team", "dns")]),
            visibility: Some(Visibility::Public),
        };
        let right = tags(&[("team", "dns"), ("other", "x")]);
        assert!(selector.matches(&name("example.com"), &zone_id(), false, &right));
        assert!(!selector.matches(&name("example.org"), &zone_id(), false, &right));
        assert!(!selector.matches(
            &name("example.com"),
            &ZoneId::parse("Z2").unwrap(),
            false,
            &right
        ));
        assert!(!selector.matches(&name("example.com"), &zone_id(), true, &right));
        assert!(!selector.matches(
            &name("example.com"),
            &zone_id(),
            false,
            &tags(&[("team", "web")])
        ));
        assert!(!selector.matches(&name("example.com"), &zone_id(), false, &tags(&[])));
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rule = |pattern: &str, policy| ZoneRule {
            selector: ZoneSelector {
                name: Some(ZonePattern::parse(pattern).unwrap()),
                ..ZoneSelector::default()
            },
            settings: ZoneSettings { policy, ..ZoneSettings::default() },
        };
        let rules =
            [rule("a.example.com", ZonePolicy::Sync), rule("*.example.com", ZonePolicy::Observe)];
        let policy = |zone: &str| {
            settings_of(&rules, &name(zone), &zone_id(), false, &tags(&[]))
                .map(|found| found.policy)
        };
        assert_eq!(policy("a.example.com"), Some(ZonePolicy::Sync));
        assert_eq!(policy("b.example.com"), Some(ZonePolicy::Observe));
        assert_eq!(policy("example.org"), None);
        assert!(!needs_tags(&rules));
    }

    #[test]
    fn while_a_tag_that_an_earlier_rule_asks_for_is_unknown_the_zone_is_observed() {
        let rule = |name: Option<&str>, tag: &[(&str, &str)], policy: ZonePolicy| ZoneRule {
            selector: ZoneSelector {
                name: name.map(|name| ZonePattern::parse(name).unwrap()),
                tags: tags(tag),
                ..ZoneSelector::default()
            },
            settings: ZoneSettings {
                policy,
                drift: DriftPolicy::Repair,
                adopt: AdoptPolicy::Any,
                ..ZoneSettings::default()
            },
        };
        let rules = [
            rule(Some("first.example"), &[], ZonePolicy::Sync),
            rule(Some("*.example.com"), &[("owner", "terraform")], ZonePolicy::Observe),
            rule(Some("*.example"), &[], ZonePolicy::Sync),
            rule(Some("*.example.com"), &[], ZonePolicy::Sync),
        ];
        let by = |zone: &str, known: Option<&[(&str, &str)]>| {
            let known = known.map(tags);
            settings_by_known(&rules, &name(zone), &zone_id(), false, known.as_ref())
                .map(|settings| (settings.policy, settings.drift, settings.adopt))
        };
        let observed = Some((ZonePolicy::Observe, DriftPolicy::Alert, AdoptPolicy::Never));
        let written = Some((ZonePolicy::Sync, DriftPolicy::Repair, AdoptPolicy::Any));
        assert_eq!(by("a.example.com", None), observed);
        assert_eq!(by("a.example.com", Some(&[])), written);
        assert_eq!(
            by("a.example.com", Some(&[("owner", "terraform")])),
            Some((ZonePolicy::Observe, DriftPolicy::Repair, AdoptPolicy::Any))
        );
        assert_eq!(by("first.example", None), written, "no earlier rule asks for a tag");
        assert_eq!(by("b.example", None), written, "the rule with the tag does not fit anyway");
        assert_eq!(by("example.org", None), None);
    }

    #[test]
    fn each_policy_allows_less_than_the_one_before() {
        let allowed = |policy: ZonePolicy| {
            (policy.allows_create(), policy.allows_update(), policy.allows_delete())
        };
        assert_eq!(allowed(ZonePolicy::Sync), (true, true, true));
        assert_eq!(allowed(ZonePolicy::UpsertOnly), (true, true, false));
        assert_eq!(allowed(ZonePolicy::CreateOnly), (true, false, false));
        assert_eq!(allowed(ZonePolicy::Observe), (false, false, false));
    }
}
