//! Requests: what needs a person's word, who has given it, and what came of it.
//!
//! A transition is a verb with checks of its own; no caller writes a state.

use serde::{Deserialize, Serialize};

use crate::core::dns::name::DnsName;
use crate::core::governance::actor::{ActingPerson, Actor};
use crate::core::governance::ruleset::Rules;
use crate::core::ids::{ClusterId, RuleName};
use crate::core::planning::unit_digest::UnitDigest;
use crate::core::time::Timestamp;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WantedRelease {
    /// To let units go that are held.
    Release {
        /// The zone's apex.
        zone: DnsName,
        /// The units.
        units: Vec<UnitDigest>,
    },
    /// To pass names to another team.
    Transfer {
        /// The zone's apex.
        zone: DnsName,
        /// The names, by pattern.
        names: Vec<String>,
        /// The team.
        to: RuleName,
    },
    /// To be granted names: the document of the rule.
    Grant(serde_json::Value),
    /// To pass names from one cluster to another.
    Handover {
        /// From.
        from: ClusterId,
        /// To.
        to: ClusterId,
        /// The names, by pattern.
        names: Vec<String>,
    },
    /// To go through a freeze: the freeze's name.
    BreakFreeze(RuleName),
}

/// How a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestState {
    /// It waits for people.
    Pending,
    /// Enough have said yes.
    Approved,
    /// One has said no.
    Denied,
    /// Its time is over.
    Expired,
    /// Who asked has taken it back.
    Cancelled,
    /// What it asks for is no longer what would be done.
    Stale,
}

impl RequestState {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Stale => "stale",
        }
    }
}

/// One person's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Whose.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
    /// What they said to it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRequest {
    /// Its id.
    pub id: uuid::Uuid,
    /// Rises with each write, from 1.
    pub version: u64,
    /// What it asks for.
    pub wanted: WantedRelease,
    /// A hash of what would be done: whoever says yes says it to this.
    pub digest: UnitDigest,
    /// Who asks.
    pub by: Actor,
    /// Why.
    pub why: String,
    /// When it was made.
    pub at: Timestamp,
    /// Until when it waits.
    pub expires_at: Timestamp,
    /// How many have to say yes.
    pub needed: u8,
    /// Whether the one who asks may not say yes.
    pub four_eyes: bool,
    /// Who said yes.
    pub votes: Vec<Vote>,
    /// How it stands.
    pub state: RequestState,
    /// What was said at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Vote>,
}

/// Why a verb is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedVerb {
    /// It is no longer pending.
    #[error("the request is {}, and only a pending one can be decided", .0.as_str())]
    NotPending(RequestState),
    /// Its time is over.
    #[error("the request expired: ask anew")]
    Expired,
    /// Another content was looked at.
    #[error("the request is for something else by now: look at it again")]
    OtherDigest,
    /// One's own request.
    #[error("nobody approves what they asked for: another owner has to")]
    OwnRequest,
    /// Somebody who does not decide this.
    #[error("only {0} can decide this")]
    NotYours(String),
    /// A second word.
    #[error("{0} has approved the request already")]
    Twice(Actor),
}

/// Who decides a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deciders {
    /// The owners of a team.
    Team {
        /// Its name.
        name: RuleName,
        /// Whether the person who acts is one of them.
        includes: bool,
    },
    /// Those who operate the whole.
    Platform,
}

impl Deciders {
    /// Those of names of a zone: the team that owns all of them, or else the one that owns the zone, or else the platform.
    pub fn of<'a>(
        rules: &'a Rules,
        zone: &'a DnsName,
        names: impl IntoIterator<Item = &'a DnsName>,
        person: &ActingPerson,
    ) -> Self {
        let person = person.person();
        let decider = |name: &'a DnsName| {
            let owner = rules.owner(zone, name);
            let includes = owner.is_decided_by(&person);
            owner.team.map(|(team, _)| Self::Team { name: team.clone(), includes })
        };
        let mut deciders: Vec<Option<Self>> = vec![];
        for name in names {
            let of_name = decider(name);
            if !deciders.contains(&of_name) {
                deciders.push(of_name);
            }
        }
        let of_all = if deciders.len() == 1 { deciders.pop().flatten() } else { decider(zone) };
        of_all.unwrap_or(Self::Platform)
    }

    fn check(&self, person: &ActingPerson) -> Result<(), RefusedVerb> {
        match self {
            Self::Team { includes, .. } if *includes || person.is_admin => Ok(()),
            Self::Platform if person.is_admin || person.is_operator => Ok(()),
            Self::Team { name, .. } => {
                Err(RefusedVerb::NotYours(format!("an owner of the team {name}, or an admin,")))
            }
            Self::Platform => Err(RefusedVerb::NotYours("an operator or an admin".to_owned())),
        }
    }
}

impl ReleaseRequest {
    fn pending(&self, now: Timestamp) -> Result<(), RefusedVerb> {
        match self.state {
            RequestState::Pending if now >= self.expires_at => Err(RefusedVerb::Expired),
            RequestState::Pending => Ok(()),
            state => Err(RefusedVerb::NotPending(state)),
        }
    }

    /// Somebody says yes to what they looked at. Answers whether that is enough.
    ///
    /// # Errors
    /// They may not, or it is too late, or it is for something else by now.
    pub fn approve(
        &mut self,
        person: &ActingPerson,
        deciders: &Deciders,
        looked_at: UnitDigest,
        comment: &str,
        now: Timestamp,
    ) -> Result<bool, RefusedVerb> {
        self.pending(now)?;
        deciders.check(person)?;
        if looked_at != self.digest {
            return Err(RefusedVerb::OtherDigest);
        }
        if self.four_eyes && person.actor == self.by {
            return Err(RefusedVerb::OwnRequest);
        }
        if self.votes.iter().any(|vote| vote.by == person.actor) {
            return Err(RefusedVerb::Twice(person.actor.clone()));
        }
        self.votes.push(Vote { by: person.actor.clone(), at: now, comment: comment.to_owned() });
        if self.votes.len() < usize::from(self.needed.max(1)) {
            return Ok(false);
        }
        self.state = RequestState::Approved;
        Ok(true)
    }

    /// Somebody says no, which is enough.
    ///
    /// # Errors
    /// They may not, or it is too late.
    pub fn deny(
        &mut self,
        person: &ActingPerson,
        deciders: &Deciders,
        comment: &str,
        now: Timestamp,
    ) -> Result<(), RefusedVerb> {
        self.pending(now)?;
        deciders.check(person)?;
        self.end(RequestState::Denied, person.actor.clone(), comment, now);
        Ok(())
    }

    /// Who asked takes it back.
    ///
    /// # Errors
    /// It is another's, or it is too late.
    pub fn cancel(&mut self, person: &ActingPerson, now: Timestamp) -> Result<(), RefusedVerb> {
        self.pending(now)?;
        if person.actor != self.by && !person.is_admin {
            return Err(RefusedVerb::NotYours(format!("{}, who asked,", self.by)));
        }
        self.end(RequestState::Cancelled, person.actor.clone(), "", now);
        Ok(())
    }

    /// Its time is over. Answers whether that ended it.
    pub fn expire(&mut self, now: Timestamp) -> bool {
        let is_over = self.state == RequestState::Pending && now >= self.expires_at;
        if is_over {
            self.end(RequestState::Expired, Actor::Broker, "", now);
        }
        is_over
    }

    /// What it asks for is no longer what would be done. Answers whether that ended it.
    pub fn go_stale(&mut self, now: Timestamp) -> bool {
        let was_pending = self.state == RequestState::Pending;
        if was_pending {
            self.end(RequestState::Stale, Actor::Broker, "", now);
        }
        was_pending
    }

    /// Words of people who decide no longer lapse. `decides` says who still does.
    pub fn lapse_votes(&mut self, decides: impl Fn(&Actor) -> bool) {
        if self.state == RequestState::Pending {
            self.votes.retain(|vote| decides(&vote.by));
        }
    }

    fn end(&mut self, state: RequestState, by: Actor, comment: &str, at: Timestamp) {
        self.state = state;
        self.ended = Some(Vote { by, at, comment: comment.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::governance::rule::RuleKind;
    use crate::core::governance::testkit::{rule, rules, team};
    use crate::core::testkit::name;

    fn person(user: &str, is_admin: bool) -> ActingPerson {
        ActingPerson {
            actor: Actor::User(user.to_owned()),
            groups: [].into(),
            is_admin,
            is_operator: false,
        }
    }

    fn request(needed: u8) -> ReleaseRequest {
        ReleaseRequest {
            id: uuid::Uuid::nil(),
            version: 1,
            wanted: WantedRelease::BreakFreeze(RuleName::parse("weekend").unwrap()),
            digest: UnitDigest([1; 32]),
            by: Actor::User("ann".to_owned()),
            why: "an incident".to_owned(),
            at: Timestamp(0),
            expires_at: Timestamp(100),
            needed,
            four_eyes: true,
            votes: vec![],
            state: RequestState::Pending,
            ended: None,
        }
    }

    fn owners(includes: bool) -> Deciders {
        Deciders::Team { name: RuleName::parse("pay").unwrap(), includes }
    }

    const LOOKED_AT: UnitDigest = UnitDigest([1; 32]);

    #[test]
    fn as_many_have_to_say_yes_as_are_needed_each_once_and_never_who_asked() {
        let mut asked = request(2);
        let mut approve = |user: &str, now| {
            asked.approve(&person(user, false), &owners(true), LOOKED_AT, "", Timestamp(now))
        };
        assert_eq!(approve("ann", 1), Err(RefusedVerb::OwnRequest));
        assert_eq!(approve("ben", 2), Ok(false));
        assert!(matches!(approve("ben", 3), Err(RefusedVerb::Twice(_))));
        assert_eq!(approve("eve", 4), Ok(true));
        assert_eq!(approve("ida", 5), Err(RefusedVerb::NotPending(RequestState::Approved)));
        let mut alone = ReleaseRequest { four_eyes: false, ..request(1) };
        let own = alone.approve(&person("ann", false), &owners(true), LOOKED_AT, "", Timestamp(1));
        assert_eq!(own, Ok(true));
    }

    #[test]
    fn a_word_is_for_what_was_looked_at_by_whom_it_concerns_and_in_time() {
        let mut asked = request(1);
        let other = asked.approve(
            &person("ben", false),
            &owners(true),
            UnitDigest([2; 32]),
            "",
            Timestamp(1),
        );
        assert_eq!(other, Err(RefusedVerb::OtherDigest));
        let strange =
            asked.approve(&person("eve", false), &owners(false), LOOKED_AT, "", Timestamp(1));
        assert!(matches!(strange, Err(RefusedVerb::NotYours(_))));
        let admin = asked.clone().approve(
            &person("root", true),
            &owners(false),
            LOOKED_AT,
            "",
            Timestamp(1),
        );
        assert_eq!(admin, Ok(true));
        let late =
            asked.approve(&person("ben", false), &owners(true), LOOKED_AT, "", Timestamp(100));
        assert_eq!(late, Err(RefusedVerb::Expired));
        assert!(asked.expire(Timestamp(100)) && !asked.expire(Timestamp(101)));
        assert_eq!(asked.state, RequestState::Expired);
    }

    #[test]
    fn an_ended_request_stays_as_it_ended() {
        let mut asked = request(1);
        asked.deny(&person("ben", false), &owners(true), "not now", Timestamp(1)).unwrap();
        assert_eq!(asked.ended.as_ref().map(|vote| vote.comment.as_str()), Some("not now"));
        assert!(asked.cancel(&person("ann", false), Timestamp(2)).is_err());
        assert!(!asked.go_stale(Timestamp(2)) && asked.state == RequestState::Denied);
    }

    #[test]
    fn the_team_that_owns_all_the_names_decides_else_that_of_the_zone_else_the_platform() {
        let owned = |zone_too: bool| {
            let pay = serde_json::json!({
                "zone": "example.com", "names": ["*.pay.example.com"], "team": "pay",
            });
            let all = serde_json::json!({ "zone": "example.com", "team": "platform" });
            let mut of = vec![team("pay"), rule(RuleKind::Ownership, "pay", pay)];
            if zone_too {
                of.extend([team("platform"), rule(RuleKind::Ownership, "all", all)]);
            }
            rules(of)
        };
        let of = |zone_too: bool, names: &[&str]| {
            let (rules, zone) = (owned(zone_too), name("example.com"));
            let names: Vec<DnsName> = names.iter().map(|host| name(host)).collect();
            let ben = ActingPerson { groups: ["pay".to_owned()].into(), ..person("ben", false) };
            match Deciders::of(&rules, &zone, &names, &ben) {
                Deciders::Team { name, includes } => (name.to_string(), includes),
                Deciders::Platform => ("nobody".to_owned(), false),
            }
        };
        let (pay, www) = ("a.pay.example.com", "www.example.com");
        assert_eq!(of(true, &[pay, "b.pay.example.com"]), ("pay".to_owned(), true));
        assert_eq!(of(true, &[pay, www]), ("platform".to_owned(), false));
        assert_eq!(of(false, &[pay, www]), ("nobody".to_owned(), false));
        assert_eq!(of(false, &[www]), ("nobody".to_owned(), false));
    }

    #[test]
    fn the_words_of_who_left_lapse() {
        let mut asked = request(2);
        let yes = asked.approve(&person("ben", false), &owners(true), LOOKED_AT, "", Timestamp(1));
        assert_eq!(yes, Ok(false));
        asked.lapse_votes(|actor| *actor != Actor::User("ben".to_owned()));
        assert!(asked.votes.is_empty());
    }
}
