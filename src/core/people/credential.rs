//! Sessions of people, and tokens of people and of machines. Of the secret itself only a hash is known.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::role::Role;
use super::teams::TeamStanding;
use crate::core::dns::name::DnsName;
use crate::core::governance::actor::Actor;
use crate::core::ids::{EnvironmentId, RuleName};
use crate::core::time::{Millis, Timestamp};

/// What a credential is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialKind {
    /// A person signed in.
    Session,
    /// A person's token: it acts as they do, with less.
    Person,
    /// A machine's token: it acts as itself.
    Machine,
}

impl CredentialKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Session, Self::Person, Self::Machine];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Person => "person",
            Self::Machine => "machine",
        }
    }

    /// The kind of this text; `None` if there is none.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A person, as the identity provider said when they signed in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedInPerson {
    /// The name by which rules know them.
    pub user: String,
    /// Who says so: the provider's issuer.
    pub issuer: String,
    /// The provider's own id of them, which is never given to somebody else.
    pub subject: String,
    /// The name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Their groups.
    pub groups: BTreeSet<String>,
}

/// What a token carries of what its holder may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenScope {
    /// The role for the whole at most.
    pub role: Role,
    /// The teams that it acts for.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub teams: BTreeSet<RuleName>,
    /// With which standing there at most.
    #[serde(default)]
    pub team_role: TeamStanding,
    /// The zones, by their apex, in which it may change something; all if empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub zones: BTreeSet<DnsName>,
    /// What belongs to these environments is seen; everything that its holder sees if empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub environments: BTreeSet<EnvironmentId>,
}

/// A session or a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// What it is known by; it proves nothing.
    pub id: Uuid,
    /// What it is for.
    pub kind: CredentialKind,
    /// What people call it: of a session, the program that signed in.
    pub name: String,
    /// Whose it is; `None` for a machine's.
    pub person: Option<SignedInPerson>,
    /// What it carries; `None` for all that its holder may do.
    pub scope: Option<TokenScope>,
    /// Who made it.
    pub made_by: Actor,
    /// Since when.
    pub made_at: Timestamp,
    /// Until when.
    pub ends_at: Timestamp,
    /// Since when somebody has taken it back; `None` if nobody has.
    pub revoked_at: Option<Timestamp>,
    /// When it was used last, within some minutes; `None` for never.
    pub used_at: Option<Timestamp>,
}

/// Why a credential proves nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialEnd {
    /// Its time is over.
    Expired(Timestamp),
    /// Somebody took it back.
    Revoked(Timestamp),
}

impl Credential {
    /// Why it proves nothing any more; `None` while it does.
    pub fn ended(&self, now: Timestamp) -> Option<CredentialEnd> {
        match self.revoked_at {
            Some(at) => Some(CredentialEnd::Revoked(at)),
            None if now >= self.ends_at => Some(CredentialEnd::Expired(self.ends_at)),
            None => None,
        }
    }

    /// Who acts with it.
    pub fn actor(&self) -> Actor {
        match &self.person {
            Some(person) => Actor::User(person.user.clone()),
            None => Actor::Machine(self.name.clone()),
        }
    }

    /// Whether a use at this time is worth writing down.
    pub fn use_is_news(&self, now: Timestamp) -> bool {
        const WITHIN: Millis = Millis::from_secs(600);
        self.used_at.is_none_or(|used| now - used >= WITHIN)
    }

    /// Whether it ends so soon that who works with it should be warned.
    pub fn ends_soon(&self, now: Timestamp) -> bool {
        const WARNED: Millis = Millis::from_secs(1_800);
        self.ends_at - now <= WARNED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_proves_something_until_its_end_or_until_it_is_taken_back() {
        let session = Credential {
            id: Uuid::nil(),
            kind: CredentialKind::Session,
            name: "a browser".to_owned(),
            person: Some(SignedInPerson { user: "ann".to_owned(), ..SignedInPerson::default() }),
            scope: None,
            made_by: Actor::User("ann".to_owned()),
            made_at: Timestamp(0),
            ends_at: Timestamp(72_000_000),
            revoked_at: None,
            used_at: Some(Timestamp(1_000)),
        };
        let end = |at| session.ended(Timestamp(at));
        assert_eq!(end(71_999_999), None);
        assert_eq!(end(72_000_000), Some(CredentialEnd::Expired(session.ends_at)));
        let revoked = Credential { revoked_at: Some(Timestamp(5)), ..session.clone() };
        assert_eq!(revoked.ended(Timestamp(1)), Some(CredentialEnd::Revoked(Timestamp(5))));
        assert!(!session.ends_soon(Timestamp(70_199_999)));
        assert!(session.ends_soon(Timestamp(70_200_000)), "half an hour before");
        assert!(!session.use_is_news(Timestamp(600_999)));
        assert!(session.use_is_news(Timestamp(601_000)));
        assert_eq!(session.actor(), Actor::User("ann".to_owned()));
        let machine = Credential { person: None, name: "ci".to_owned(), ..session };
        assert_eq!(machine.actor(), Actor::Machine("ci".to_owned()));
    }
}
