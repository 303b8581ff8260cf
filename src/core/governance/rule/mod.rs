//! The kinds of rules, in the one form in which files, the API and the store hold them:
//!
//! ```yaml
//! apiVersion: zonefold.dev/v1
//! kind: Grant
//! metadata: { name: pay-from-dev }
//! spec: { zone: example.com, names: ["*.pay.example.com"], clusters: { labels: { region: east } } }
//! ```
//!
//! A kind checks what it can see of itself ([`RuleSpec::validate`]); what needs the other rules is checked where all are put together
//! ([`super::ruleset`]).

pub mod freeze;
pub mod grant;
pub mod guard;
pub mod ownership;
pub mod scope;
pub mod sharing;
pub mod subscription;
pub mod team;

use std::fmt;
use std::sync::Arc;

use arcstr::ArcStr;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::freeze::Freeze;
pub use self::grant::Grant;
pub use self::guard::Guard;
pub use self::ownership::NameOwnership;
pub use self::sharing::Sharing;
pub use self::subscription::Subscription;
pub use self::team::Team;
use super::pattern::NamePattern;
use super::problem::{RulePath, RuleProblems};
use crate::core::dns::name::DnsName;
use crate::core::ids::RuleName;

/// The version of the form.
pub const API_VERSION: &str = "zonefold.dev/v1";

/// The kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RuleKind {
    /// People, and what publishes for them.
    Team,
    /// Who a name belongs to.
    Ownership,
    /// Who may publish a name.
    Grant,
    /// What happens when several clusters may.
    Sharing,
    /// How much may go at once before it is held.
    Guard,
    /// When nothing is changed.
    Freeze,
    /// Who is notified of what.
    Subscription,
}

impl RuleKind {
    /// All of them, in the order in which they are applied: what is referred to comes first.
    pub const ALL: [Self; 7] = [
        Self::Team,
        Self::Ownership,
        Self::Grant,
        Self::Sharing,
        Self::Guard,
        Self::Freeze,
        Self::Subscription,
    ];

    /// As it is written in a rule.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Team => "Team",
            Self::Ownership => "Ownership",
            Self::Grant => "Grant",
            Self::Sharing => "Sharing",
            Self::Guard => "Guard",
            Self::Freeze => "Freeze",
            Self::Subscription => "Subscription",
        }
    }

    /// The plural in paths of the API.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Team => "teams",
            Self::Ownership => "ownerships",
            Self::Grant => "grants",
            Self::Sharing => "sharings",
            Self::Guard => "guards",
            Self::Freeze => "freezes",
            Self::Subscription => "subscriptions",
        }
    }

    /// Reads the kind as a person may write it: in any case, in the singular or the plural.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| {
            text.eq_ignore_ascii_case(kind.as_str()) || text.eq_ignore_ascii_case(kind.plural())
        })
    }
}

impl fmt::Display for RuleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A rule's kind and name: what it is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RuleId {
    /// The kind.
    pub kind: RuleKind,
    /// The name, unique within its kind.
    pub name: RuleName,
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Where a rule lives, and so where it can be changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleHome {
    /// A file that the broker's configuration names.
    File(ArcStr),
    /// The store.
    Store,
}

impl fmt::Display for RuleHome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {path}"),
            Self::Store => f.write_str("the store"),
        }
    }
}

/// What a rule says.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleSpec {
    /// See [`Team`].
    Team(Team),
    /// See [`NameOwnership`].
    Ownership(NameOwnership),
    /// See [`Grant`].
    Grant(Grant),
    /// See [`Sharing`].
    Sharing(Sharing),
    /// See [`Guard`].
    Guard(Guard),
    /// See [`Freeze`].
    Freeze(Freeze),
    /// See [`Subscription`].
    Subscription(Subscription),
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name.
    pub name: RuleName,
    /// What it says.
    pub spec: RuleSpec,
    /// Where it lives.
    pub home: RuleHome,
}

/// A rule as it is written, whose spec is of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleDocument<S> {
    /// [`API_VERSION`].
    pub api_version: ApiVersion,
    /// The kind of `spec`.
    pub kind: RuleKind,
    /// The name.
    pub metadata: RuleMetadata,
    /// What the rule says.
    pub spec: S,
}

/// What a rule says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleMetadata {
    /// The name, unique within its kind.
    pub name: RuleName,
}

/// The one version that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiVersion {
    /// [`API_VERSION`].
    #[serde(rename = "zonefold.dev/v1")]
    V1,
}

/// Reads a document whose spec is of the kind that the type says: YAML and JSON have each a reader of their own.
pub trait ReadDocument {
    /// Why it cannot be read, with the place.
    type Error;

    /// Reads the document.
    ///
    /// # Errors
    /// A key is unknown or missing, or a value is of another form.
    fn read<S: DeserializeOwned>(&self) -> Result<RuleDocument<S>, Self::Error>;
}

impl RuleSpec {
    /// The kind.
    pub fn kind(&self) -> RuleKind {
        match self {
            Self::Team(_) => RuleKind::Team,
            Self::Ownership(_) => RuleKind::Ownership,
            Self::Grant(_) => RuleKind::Grant,
            Self::Sharing(_) => RuleKind::Sharing,
            Self::Guard(_) => RuleKind::Guard,
            Self::Freeze(_) => RuleKind::Freeze,
            Self::Subscription(_) => RuleKind::Subscription,
        }
    }

    /// Says what is wrong with it, as far as that is to be seen without the other rules.
    pub fn validate(&self, problems: &mut RuleProblems) {
        let at = RulePath::spec();
        match self {
            Self::Team(team) => team.validate(&at, problems),
            Self::Ownership(ownership) => ownership.validate(&at, problems),
            Self::Grant(grant) => grant.validate(&at, problems),
            Self::Sharing(sharing) => sharing.validate(&at, problems),
            Self::Guard(guard) => guard.validate(&at, problems),
            Self::Freeze(freeze) => freeze.validate(&at, problems),
            Self::Subscription(subscription) => subscription.validate(&at, problems),
        }
    }
}

impl Rule {
    /// What it is known by.
    pub fn id(&self) -> RuleId {
        RuleId { kind: self.spec.kind(), name: self.name.clone() }
    }

    /// Reads a rule whose kind is known.
    ///
    /// # Errors
    /// Those of the document.
    pub fn read<D: ReadDocument>(
        kind: RuleKind,
        document: &D,
        home: RuleHome,
    ) -> Result<Self, D::Error> {
        fn of<S: DeserializeOwned, D: ReadDocument>(
            document: &D,
            home: RuleHome,
            spec: fn(S) -> RuleSpec,
        ) -> Result<Rule, D::Error> {
            let read = document.read::<S>()?;
            Ok(Rule { name: read.metadata.name, spec: spec(read.spec), home })
        }
        match kind {
            RuleKind::Team => of(document, home, RuleSpec::Team),
            RuleKind::Ownership => of(document, home, RuleSpec::Ownership),
            RuleKind::Grant => of(document, home, RuleSpec::Grant),
            RuleKind::Sharing => of(document, home, RuleSpec::Sharing),
            RuleKind::Guard => of(document, home, RuleSpec::Guard),
            RuleKind::Freeze => of(document, home, RuleSpec::Freeze),
            RuleKind::Subscription => of(document, home, RuleSpec::Subscription),
        }
    }

    /// The document that says the same, as a value: two rules that say the same are equal in this form.
    ///
    /// # Errors
    /// A value has no form in JSON; there is none such.
    pub fn document(&self) -> Result<serde_json::Value, serde_json::Error> {
        fn of<S: Serialize>(rule: &Rule, spec: &S) -> Result<serde_json::Value, serde_json::Error> {
            serde_json::to_value(RuleDocument {
                api_version: ApiVersion::V1,
                kind: rule.spec.kind(),
                metadata: RuleMetadata { name: rule.name.clone() },
                spec,
            })
        }
        match &self.spec {
            RuleSpec::Team(spec) => of(self, spec),
            RuleSpec::Ownership(spec) => of(self, spec),
            RuleSpec::Grant(spec) => of(self, spec),
            RuleSpec::Sharing(spec) => of(self, spec),
            RuleSpec::Guard(spec) => of(self, spec),
            RuleSpec::Freeze(spec) => of(self, spec),
            RuleSpec::Subscription(spec) => of(self, spec),
        }
    }
}

/// The rules of a set, each shared by whoever asks.
pub type SharedRule = Arc<Rule>;

/// The patterns of a rule that names a zone and, to be narrower, names of it.
pub fn patterns_of(zone: &DnsName, names: &[NamePattern]) -> Vec<NamePattern> {
    if names.is_empty() { vec![NamePattern::Within(zone.clone())] } else { names.to_vec() }
}

/// Checks that patterns lie in the zone that the rule names.
fn validate_names(
    at: &RulePath,
    zone: &DnsName,
    names: &[NamePattern],
    problems: &mut RuleProblems,
) {
    for (index, pattern) in names.iter().enumerate() {
        let at = at.key("names").index(index);
        problems.require(
            pattern.is_in(zone),
            at.clone(),
            format!("{pattern} is not in the zone {zone}"),
            format!("name what lies in {zone}, or write a rule for the zone that it lies in"),
        );
        problems.require(
            !names[..index].contains(pattern),
            at,
            format!("{pattern} stands here twice"),
            "keep one of the two",
        );
    }
}
