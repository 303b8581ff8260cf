//! Who calls, and what they may do.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::problem::ApiError;
use crate::core::dns::name::DnsName;
use crate::core::governance::actor::{ActedBy, ActingPerson, Actor, ProvedBy};
use crate::core::governance::pattern::NamePattern;
use crate::core::governance::ruleset::Rules;
use crate::core::ids::EnvironmentId;
use crate::core::people::credential::{Credential, CredentialKind, TokenScope};
pub use crate::core::people::role::Role;
use crate::core::people::role::{RoleTable, SeenEnvironments, seen_by_both};
use crate::core::people::teams::{Authorization, Standings, TeamStanding, standings};
use crate::core::release::request::Deciders;

/// The established identity of a caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// The name, for logs; empty for a caller without a token or a session.
    pub name: String,
    /// The role for the whole.
    pub role: Role,
    /// Who acts, by what they proved it, and from where.
    pub acted: ActedBy,
    /// The groups that the identity provider says.
    pub groups: BTreeSet<String>,
    /// What is seen.
    pub environments: SeenEnvironments,
    /// What a token of the store carries; `None` for all that its holder may do.
    pub scope: Option<TokenScope>,
}

/// Why a credential that is good opens nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRole {
    /// The person is named nowhere, and others may do nothing.
    Unnamed,
    /// No team that the token is for is there any more.
    TeamGone(String),
}

impl Granted {
    /// The holder of a token of the configuration.
    pub fn configured(name: &str, role: Role, from: Option<IpAddr>) -> Self {
        let actor = Actor::Token(name.to_owned());
        Self {
            name: name.to_owned(),
            role,
            acted: ActedBy { actor, proved_by: ProvedBy::Configuration, from },
            groups: BTreeSet::new(),
            environments: None,
            scope: None,
        }
    }

    /// A caller who shows nothing.
    pub fn anonymous(role: Role, from: Option<IpAddr>) -> Self {
        let actor = Actor::Token("anonymous".to_owned());
        Self {
            name: String::new(),
            acted: ActedBy { actor, proved_by: ProvedBy::Nothing, from },
            ..Self::configured("", role, from)
        }
    }

    /// The holder of a session or of a token of the store.
    pub(super) fn stored(
        credential: &Credential,
        rules: &Rules,
        table: &RoleTable,
        from: Option<IpAddr>,
    ) -> Result<Self, NoRole> {
        let scope = credential.scope.clone();
        if let Some(TokenScope { teams, .. }) = &scope
            && !teams.is_empty()
            && teams.iter().all(|team| rules.team(team).is_none())
        {
            let teams: Vec<&str> = teams.iter().map(|team| team.as_str()).collect();
            return Err(NoRole::TeamGone(teams.join(", ")));
        }
        let proved_by = match credential.kind {
            CredentialKind::Session => ProvedBy::Session(credential.id),
            CredentialKind::Person | CredentialKind::Machine => ProvedBy::Token(credential.id),
        };
        let acted = ActedBy { actor: credential.actor(), proved_by, from };
        let (groups, held, environments) = match &credential.person {
            None => (BTreeSet::new(), Role::Admin, None),
            Some(of) => {
                let who = ActingPerson {
                    actor: credential.actor(),
                    groups: of.groups.clone(),
                    is_admin: false,
                    is_operator: false,
                };
                let person = who.person();
                let is_in_a_team = !standings(rules, &person).is_empty();
                let whole = table.role_of(&person, is_in_a_team).ok_or(NoRole::Unnamed)?;
                (of.groups.clone(), whole.role, whole.environments)
            }
        };
        let (role, environments) = match &scope {
            None => (held, environments),
            Some(scope) => {
                let only = Some(&scope.environments).filter(|only| !only.is_empty()).cloned();
                (held.min(scope.role), seen_by_both(&environments, &only))
            }
        };
        let name = acted.actor.to_string();
        Ok(Self { name, role, acted, groups, environments, scope })
    }

    /// The caller as rules and requests know people.
    pub fn person(&self) -> ActingPerson {
        ActingPerson {
            actor: self.acted.actor.clone(),
            groups: self.groups.clone(),
            is_admin: self.role >= Role::Admin,
            is_operator: self.role >= Role::Operator,
        }
    }

    /// Whether a machine calls that people made a token for.
    pub fn is_machine(&self) -> bool {
        matches!(self.acted.actor, Actor::Machine(_))
    }

    /// The teams that the caller acts for.
    pub fn standings(&self, rules: &Rules) -> Standings {
        let Some(scope) = &self.scope else { return standings(rules, &self.person().person()) };
        if self.is_machine() {
            let there = scope.teams.iter().filter(|team| rules.team(team).is_some());
            return there.map(|team| (team.clone(), scope.team_role)).collect();
        }
        let held = standings(rules, &self.person().person()).into_iter();
        let carried = held.filter(|(team, _)| scope.teams.contains(team));
        carried.map(|(team, standing)| (team, standing.min(scope.team_role))).collect()
    }

    /// What the caller may change.
    pub fn authorization(&self, rules: &Rules) -> Authorization {
        let zones = self.scope.as_ref().map(|scope| scope.zones.clone()).unwrap_or_default();
        Authorization { role: self.role, standings: self.standings(rules), zones }
    }

    /// Whether what belongs to an environment is seen.
    pub fn sees(&self, environment: &EnvironmentId) -> bool {
        self.environments.as_ref().is_none_or(|seen| seen.contains(environment))
    }

    /// Whether the caller may change something at a name at all.
    ///
    /// # Errors
    /// The token is for other zones.
    pub fn may_change_at(&self, name: &DnsName) -> Result<(), ApiError> {
        let zones = self.scope.as_ref().map(|scope| &scope.zones).filter(|zones| !zones.is_empty());
        match zones {
            Some(zones) if !zones.iter().any(|zone| name.is_in(zone)) => {
                Err(ApiError::NotYours(format!("the token is for other zones than that of {name}")))
            }
            _ => Ok(()),
        }
    }

    /// Whether the caller may change something at all of these names; none stands for all.
    ///
    /// # Errors
    /// The token is for other zones, or for some and these are more.
    pub fn may_change_all_of(&self, names: &[NamePattern]) -> Result<(), ApiError> {
        let is_limited = self.scope.as_ref().is_some_and(|scope| !scope.zones.is_empty());
        if is_limited && names.is_empty() {
            return Err(ApiError::NotYours(
                "the token is for some zones alone: name names that lie in them".to_owned(),
            ));
        }
        names.iter().try_for_each(|names| self.may_change_at(names.base()))
    }

    /// Who decides, as far as the caller may: a token may carry less than its holder has.
    ///
    /// # Errors
    /// The caller is a machine, or the token is for other zones.
    pub fn may_decide(
        &self,
        rules: &Rules,
        zone: &DnsName,
        deciders: Deciders,
    ) -> Result<Deciders, ApiError> {
        if self.is_machine() {
            return Err(ApiError::NotYours(
                "machines ask and people decide: sign in, or use a token of your own".to_owned(),
            ));
        }
        self.may_change_at(zone)?;
        Ok(match deciders {
            Deciders::Team { name, includes } => {
                let is_owner = self.standings(rules).get(&name) == Some(&TeamStanding::Owner);
                Deciders::Team { name, includes: includes && is_owner }
            }
            platform => platform,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::core::governance::rule::team::People;
    use crate::core::governance::rule::{Rule, RuleHome};
    use crate::core::ids::RuleName;
    use crate::core::people::credential::SignedInPerson;
    use crate::core::time::Timestamp;

    fn rules() -> Rules {
        let team = |name: &str| {
            let document = json!({
                "apiVersion": "zonefold.dev/v1", "kind": "Team", "metadata": { "name": name },
                "spec": { "owners": { "groups": [name], "users": ["ci"] } },
            });
            Rule::from_json(&document, RuleHome::Store).unwrap()
        };
        Rules::new(vec![team("pay"), team("shop")]).unwrap()
    }

    fn table() -> RoleTable {
        let operators = People { users: ["ann".to_owned()].into(), ..People::default() };
        RoleTable { operators, ..RoleTable::default() }
    }

    fn token(kind: CredentialKind, holder: &str, scope: Option<TokenScope>) -> Credential {
        Credential {
            id: Uuid::nil(),
            kind,
            name: "ci".to_owned(),
            person: (kind != CredentialKind::Machine).then(|| SignedInPerson {
                user: holder.to_owned(),
                groups: ["pay".to_owned()].into(),
                ..SignedInPerson::default()
            }),
            scope,
            made_by: Actor::Broker,
            made_at: Timestamp(0),
            ends_at: Timestamp(1),
            revoked_at: None,
            used_at: None,
        }
    }

    fn stored(credential: &Credential) -> Result<Granted, NoRole> {
        Granted::stored(credential, &rules(), &table(), None)
    }

    fn teams(names: &[&str]) -> BTreeSet<RuleName> {
        names.iter().map(|name| RuleName::parse(name).unwrap()).collect()
    }

    #[test]
    fn a_token_carries_no_more_than_its_holder_has() {
        let ann = stored(&token(CredentialKind::Session, "ann", None)).unwrap();
        assert_eq!((ann.role, ann.name.as_str()), (Role::Operator, "ann"));
        let pay = RuleName::parse("pay").unwrap();
        assert_eq!(ann.standings(&rules()), [(pay.clone(), TeamStanding::Owner)].into());
        let scope = TokenScope { role: Role::Admin, ..TokenScope::default() };
        let all = stored(&token(CredentialKind::Person, "ann", Some(scope))).unwrap();
        assert_eq!((all.role, all.standings(&rules())), (Role::Operator, Standings::new()));
        let scope = TokenScope {
            teams: teams(&["pay", "shop"]),
            zones: [DnsName::parse("example.com").unwrap()].into(),
            ..TokenScope::default()
        };
        let less = stored(&token(CredentialKind::Person, "ann", Some(scope))).unwrap();
        assert_eq!(less.role, Role::Viewer);
        assert_eq!(less.standings(&rules()), [(pay.clone(), TeamStanding::Member)].into());
        let zone = |text: &str| DnsName::parse(text).unwrap();
        assert!(less.may_change_at(&zone("a.example.com")).is_ok());
        assert!(less.may_change_at(&zone("example.net")).is_err());
        let decides = |who: &Granted| {
            let deciders = Deciders::Team { name: pay.clone(), includes: true };
            match who.may_decide(&rules(), &zone("example.com"), deciders) {
                Ok(Deciders::Team { includes, .. }) => Some(includes),
                _ => None,
            }
        };
        assert_eq!((decides(&ann), decides(&less)), (Some(true), Some(false)));
    }

    #[test]
    fn a_machine_is_known_by_its_teams_and_not_by_the_name_that_people_gave_it() {
        let scope = TokenScope {
            teams: teams(&["shop"]),
            team_role: TeamStanding::Owner,
            ..TokenScope::default()
        };
        let machine = stored(&token(CredentialKind::Machine, "", Some(scope))).unwrap();
        assert_eq!(machine.name, "machine ci");
        let shop = RuleName::parse("shop").unwrap();
        assert_eq!(machine.standings(&rules()), [(shop, TeamStanding::Owner)].into());
        assert!(
            rules()
                .team(&RuleName::parse("pay").unwrap())
                .is_some_and(|team| { !team.owners.include(&machine.person().person()) })
        );
        let zone = DnsName::parse("example.com").unwrap();
        assert!(machine.may_decide(&rules(), &zone, Deciders::Platform).is_err());
    }

    #[test]
    fn a_token_of_teams_that_are_gone_opens_nothing() {
        let gone = TokenScope { teams: teams(&["risk", "tax"]), ..TokenScope::default() };
        for kind in [CredentialKind::Person, CredentialKind::Machine] {
            let refused = stored(&token(kind, "ann", Some(gone.clone())));
            assert_eq!(refused, Err(NoRole::TeamGone("risk, tax".to_owned())));
        }
        let some = TokenScope { teams: teams(&["risk", "shop"]), ..TokenScope::default() };
        assert!(stored(&token(CredentialKind::Machine, "", Some(some))).is_ok());
    }

    #[test]
    fn who_is_named_nowhere_may_do_nothing_unless_others_read() {
        let mut eve = token(CredentialKind::Session, "eve", None);
        assert_eq!(stored(&eve).map(|granted| granted.role), Ok(Role::Viewer), "of a team");
        if let Some(person) = &mut eve.person {
            person.groups.clear();
        }
        assert_eq!(stored(&eve), Err(NoRole::Unnamed));
        let open = RoleTable { others_read: true, ..table() };
        assert!(Granted::stored(&eve, &rules(), &open, None).is_ok());
    }
}
