//! Hand-overs: names pass from one cluster to another, and back if people say so.
//!
//! A state machine without a runtime: a hand-over takes the verbs of people and the reports of accounts, and says which way names
//! go now. What a name does then is decided where all names are, in `core/planning`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::actor::Actor;
use super::pattern::NamePattern;
use crate::core::dns::name::DnsName;
use crate::core::ids::{AccountId, ClusterId};
use crate::core::time::{Millis, Timestamp};

/// How names pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandoverMode {
    /// In one change: the new cluster's answer in the place of the old one's.
    #[default]
    Cutover,
    /// Both clusters answer until no resolver knows the old answer alone. A and AAAA only; all else cuts over.
    Overlap,
}

/// How far a hand-over is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandoverPhase {
    /// Nothing passes yet: people look at which names are ready.
    Staged,
    /// Names get the answers of both clusters.
    Overlapping,
    /// All that can have both answers have them; resolvers forget the old ones.
    Overlapped,
    /// Names pass.
    Switching,
    /// All that are ready have passed; resolvers forget the old answers.
    Watching,
    /// It is over.
    Done,
    /// Names go back.
    Aborting,
    /// What was, is again.
    Aborted,
}

impl HandoverPhase {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Overlapping => "overlapping",
            Self::Overlapped => "overlapped",
            Self::Switching => "switching",
            Self::Watching => "watching",
            Self::Done => "done",
            Self::Aborting => "aborting",
            Self::Aborted => "aborted",
        }
    }

    /// Whether nothing comes after it.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Aborted)
    }
}

impl fmt::Display for HandoverPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which way a name goes that a hand-over is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage<'a> {
    /// Both clusters answer.
    Both {
        /// Who has the name.
        gives: &'a ClusterId,
        /// Who will have it.
        takes: &'a ClusterId,
    },
    /// It passes.
    Passes {
        /// Who has the name.
        gives: &'a ClusterId,
        /// Who is to have it.
        takes: &'a ClusterId,
        /// Only names that a cluster has since then.
        held_since: Option<Timestamp>,
    },
}

/// A hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// Its id.
    pub id: Uuid,
    /// Rises with each write, from 1.
    pub version: u64,
    /// Who has the names.
    pub from: ClusterId,
    /// Who is to have them.
    pub to: ClusterId,
    /// Which names; none for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NamePattern>,
    /// Only names of objects in these namespaces; none for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// How.
    pub mode: HandoverMode,
    /// Whether names pass, too, for which the new cluster wants other record types than the old one.
    #[serde(default)]
    pub with_different: bool,
    /// How far it is.
    pub phase: HandoverPhase,
    /// Who began it.
    pub by: Actor,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When it was staged.
    pub at: Timestamp,
    /// When the first name could pass; `None` while it is staged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_at: Option<Timestamp>,
    /// Since when it is in its phase.
    pub since: Timestamp,
    /// When the last resolver has forgotten the old answers, in the phases that wait for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who ended it, and why; `None` if it went its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<(Actor, String)>,
}

/// What an account says of a hand-over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HandoverReport {
    /// The hand-over's version that it speaks of.
    pub version: u64,
    /// Names that pass without a doubt.
    pub ready: u64,
    /// Names of which the new cluster wants other record types.
    pub different: u64,
    /// Names that the new cluster does not want.
    pub missing: u64,
    /// Names that the new cluster has.
    pub passed: u64,
    /// Names that are on their way in this phase.
    pub remaining: u64,
    /// The longest time to live that resolvers may have seen, in seconds.
    pub ttl_secs: u32,
}

impl HandoverReport {
    /// Adds that of another account.
    pub fn add(&mut self, other: &Self) {
        self.ready += other.ready;
        self.different += other.different;
        self.missing += other.missing;
        self.passed += other.passed;
        self.remaining += other.remaining;
        self.ttl_secs = self.ttl_secs.max(other.ttl_secs);
    }
}

/// Why a verb is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandoverRefused {
    /// It has begun.
    #[error("the hand-over is {0}, and only a staged one can be switched")]
    NotStaged(HandoverPhase),
    /// It is over.
    #[error("the hand-over is {0}: begin another one, the other way round, to put names back")]
    IsOver(HandoverPhase),
    /// It does.
    #[error("the hand-over is being aborted already")]
    IsAborting,
}

impl Handover {
    /// Whether a name is among those that are meant, as far as names go.
    pub fn is_about(&self, name: &DnsName) -> bool {
        self.names.is_empty() || self.names.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether objects of a namespace are meant.
    pub fn is_in(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|only| only == namespace)
    }

    /// Whether two of them could want the same name of the same cluster.
    pub fn clashes(&self, other: &Self) -> bool {
        let share_a_cluster = [&self.from, &self.to]
            .into_iter()
            .any(|cluster| [&other.from, &other.to].contains(&cluster));
        let meet = |a: &NamePattern, b: &NamePattern| {
            a.base().is_in(b.base()) && !matches!(b, NamePattern::Exactly(_))
                || b.base().is_in(a.base()) && !matches!(a, NamePattern::Exactly(_))
                || a.base() == b.base()
        };
        let names_meet = self.names.is_empty()
            || other.names.is_empty()
            || self.names.iter().any(|a| other.names.iter().any(|b| meet(a, b)));
        share_a_cluster && names_meet
    }

    /// Which way its names go now; `None` if they stay.
    pub fn passage(&self) -> Option<Passage<'_>> {
        let (from, to) = (&self.from, &self.to);
        match self.phase {
            HandoverPhase::Staged | HandoverPhase::Done | HandoverPhase::Aborted => None,
            HandoverPhase::Overlapping | HandoverPhase::Overlapped => {
                Some(Passage::Both { gives: from, takes: to })
            }
            HandoverPhase::Switching | HandoverPhase::Watching => {
                Some(Passage::Passes { gives: from, takes: to, held_since: None })
            }
            // What the new cluster had before is not given to the old one.
            HandoverPhase::Aborting => {
                Some(Passage::Passes { gives: to, takes: from, held_since: self.began_at })
            }
        }
    }

    fn into_phase(self, phase: HandoverPhase, now: Timestamp) -> Self {
        Self { version: self.version + 1, phase, since: now, until: None, ..self }
    }

    /// A person lets names pass.
    ///
    /// # Errors
    /// It has begun.
    pub fn switched(self, now: Timestamp) -> Result<Self, HandoverRefused> {
        if self.phase != HandoverPhase::Staged {
            return Err(HandoverRefused::NotStaged(self.phase));
        }
        let phase = match self.mode {
            HandoverMode::Cutover => HandoverPhase::Switching,
            HandoverMode::Overlap => HandoverPhase::Overlapping,
        };
        Ok(Self { began_at: Some(now), ..self.into_phase(phase, now) })
    }

    /// A person, or the broker for a reason, puts back what was.
    ///
    /// # Errors
    /// It is over, or is aborted already.
    pub fn aborted(
        self,
        by: Actor,
        reason: String,
        now: Timestamp,
    ) -> Result<Self, HandoverRefused> {
        let phase = match self.phase {
            HandoverPhase::Done | HandoverPhase::Aborted => {
                return Err(HandoverRefused::IsOver(self.phase));
            }
            HandoverPhase::Aborting => return Err(HandoverRefused::IsAborting),
            HandoverPhase::Staged => HandoverPhase::Aborted,
            _ => HandoverPhase::Aborting,
        };
        Ok(Self { ended: Some((by, reason)), ..self.into_phase(phase, now) })
    }

    /// The hand-over in its next phase, if it is time for that: by the reports of these accounts, of which each has to have looked at
    /// it as it is now.
    pub fn next(
        &self,
        accounts: &BTreeSet<AccountId>,
        reports: &BTreeMap<AccountId, HandoverReport>,
        now: Timestamp,
    ) -> Option<Self> {
        let current: Option<Vec<&HandoverReport>> = accounts
            .iter()
            .map(|account| reports.get(account).filter(|report| report.version == self.version))
            .collect();
        let is_through =
            current.is_some_and(|reports| reports.iter().all(|report| report.remaining == 0));
        let is_time = self.until.is_some_and(|until| until <= now);
        let phase = match self.phase {
            HandoverPhase::Overlapping if is_through => HandoverPhase::Overlapped,
            HandoverPhase::Overlapped if is_time => HandoverPhase::Switching,
            HandoverPhase::Switching if is_through => HandoverPhase::Watching,
            HandoverPhase::Watching if is_time => HandoverPhase::Done,
            HandoverPhase::Aborting if is_through => HandoverPhase::Aborted,
            _ => return None,
        };
        let next = self.clone().into_phase(phase, now);
        let waits = matches!(phase, HandoverPhase::Overlapped | HandoverPhase::Watching);
        let ttl_secs = reports.values().map(|report| report.ttl_secs).max().unwrap_or_default();
        let until = waits.then(|| now + Millis::from_secs(i64::from(ttl_secs)));
        Some(Self { until, ..next })
    }
}

/// The hand-overs that are not over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handovers(Vec<Arc<Handover>>);

impl Handovers {
    /// Of those that the store knows, the ones that are not over.
    pub fn new(known: impl IntoIterator<Item = Handover>) -> Self {
        Self(known.into_iter().filter(|one| !one.phase.is_over()).map(Arc::new).collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Handover>> {
        self.0.iter()
    }

    /// The one that a name that a cluster has is passed by.
    pub fn passing<'a>(&'a self, name: &DnsName, held_by: &ClusterId) -> Option<&'a Handover> {
        let gives = |handover: &&Arc<Handover>| match handover.passage() {
            Some(Passage::Both { gives, .. } | Passage::Passes { gives, .. }) => gives == held_by,
            None => false,
        };
        self.0.iter().filter(gives).find(|handover| handover.is_about(name)).map(|found| &**found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testkit::{cluster, name};

    const NOW: Timestamp = Timestamp(1_000);

    fn staged(mode: HandoverMode) -> Handover {
        Handover {
            id: Uuid::from_u128(1),
            version: 1,
            from: cluster("east"),
            to: cluster("west"),
            names: vec![],
            namespaces: vec![],
            mode,
            with_different: false,
            phase: HandoverPhase::Staged,
            by: Actor::User("ann".to_owned()),
            reason: String::new(),
            at: NOW,
            began_at: None,
            since: NOW,
            until: None,
            ended: None,
        }
    }

    fn accounts() -> BTreeSet<AccountId> {
        ["111111111111", "222222222222"].map(|id| AccountId::parse(id).unwrap()).into()
    }

    fn reports(of: &Handover, remaining: [u64; 2]) -> BTreeMap<AccountId, HandoverReport> {
        let report = |remaining| HandoverReport {
            version: of.version,
            remaining,
            ttl_secs: 300,
            ..HandoverReport::default()
        };
        accounts().into_iter().zip(remaining.map(report)).collect()
    }

    fn next(of: &Handover, remaining: [u64; 2], now: Timestamp) -> Option<Handover> {
        of.next(&accounts(), &reports(of, remaining), now)
    }

    #[test]
    fn a_cut_over_switches_and_watches_until_resolvers_have_forgotten() {
        let switching = staged(HandoverMode::Cutover).switched(NOW).unwrap();
        assert_eq!((switching.phase, switching.version), (HandoverPhase::Switching, 2));
        assert_eq!(next(&switching, [0, 1], NOW), None, "a name is on its way");
        let watching = next(&switching, [0, 0], NOW).unwrap();
        let until = NOW + Millis::from_secs(300);
        assert_eq!((watching.phase, watching.until), (HandoverPhase::Watching, Some(until)));
        assert_eq!(next(&watching, [0, 0], Timestamp(until.0 - 1)), None);
        assert_eq!(next(&watching, [5, 5], until).unwrap().phase, HandoverPhase::Done);
    }

    #[test]
    fn an_overlap_has_both_answers_for_as_long_as_resolvers_remember() {
        let overlapping = staged(HandoverMode::Overlap).switched(NOW).unwrap();
        assert_eq!(overlapping.phase, HandoverPhase::Overlapping);
        let overlapped = next(&overlapping, [0, 0], NOW).unwrap();
        assert_eq!(overlapped.phase, HandoverPhase::Overlapped);
        assert_eq!(next(&overlapped, [0, 0], NOW), None);
        let switching = next(&overlapped, [0, 0], overlapped.until.unwrap()).unwrap();
        assert_eq!((switching.phase, switching.until), (HandoverPhase::Switching, None));
    }

    #[test]
    fn a_report_of_an_earlier_phase_or_of_not_every_account_moves_nothing() {
        let switching = staged(HandoverMode::Cutover).switched(NOW).unwrap();
        let old = reports(&staged(HandoverMode::Cutover), [0, 0]);
        assert_eq!(switching.next(&accounts(), &old, NOW), None);
        let mut of_one = reports(&switching, [0, 0]);
        of_one.pop_first();
        assert_eq!(switching.next(&accounts(), &of_one, NOW), None);
    }

    #[test]
    fn it_can_be_aborted_until_it_is_over() {
        let ann = || Actor::User("ann".to_owned());
        let abort = |handover: Handover| handover.aborted(ann(), "no".to_owned(), NOW);
        let never_begun = abort(staged(HandoverMode::Cutover)).unwrap();
        assert_eq!(never_begun.phase, HandoverPhase::Aborted);
        assert_eq!(abort(never_begun), Err(HandoverRefused::IsOver(HandoverPhase::Aborted)));
        let switching = staged(HandoverMode::Cutover).switched(NOW).unwrap();
        assert_eq!(
            switching.clone().switched(NOW),
            Err(HandoverRefused::NotStaged(HandoverPhase::Switching))
        );
        let aborting = abort(next(&switching, [0, 0], NOW).unwrap()).unwrap();
        assert_eq!(abort(aborting.clone()), Err(HandoverRefused::IsAborting));
        let (gives, takes) = (&cluster("west"), &cluster("east"));
        let back = Passage::Passes { gives, takes, held_since: Some(NOW) };
        assert_eq!(aborting.passage(), Some(back));
        assert_eq!(next(&aborting, [0, 1], NOW), None);
        assert_eq!(next(&aborting, [0, 0], NOW).unwrap().phase, HandoverPhase::Aborted);
    }

    #[test]
    fn two_that_could_want_one_name_clash() {
        let of = |patterns: &[&str]| Handover {
            names: patterns.iter().map(|text| NamePattern::parse(text).unwrap()).collect(),
            ..staged(HandoverMode::Cutover)
        };
        let all = of(&[]);
        for (one, other, clash) in [
            (&all, &of(&["a.example.com"]), true),
            (&of(&["*.example.com"]), &of(&["a.example.com"]), true),
            (&of(&["a.example.com"]), &of(&["a.example.com"]), true),
            (&of(&["a.example.com"]), &of(&["b.a.example.com"]), false),
            (&of(&["*.a.example.com"]), &of(&["*.b.a.example.com"]), true),
            (&of(&["*.a.example.com"]), &of(&["*.b.example.com"]), false),
        ] {
            assert_eq!(
                (one.clashes(other), other.clashes(one)),
                (clash, clash),
                "{one:?} {other:?}"
            );
        }
        let others = Handover { from: cluster("north"), to: cluster("south"), ..all.clone() };
        assert!(!all.clashes(&others));
    }

    #[test]
    fn a_name_is_passed_by_the_one_that_its_holder_gives_it_with() {
        let switching = staged(HandoverMode::Cutover).switched(NOW).unwrap();
        let handovers = Handovers::new([switching.clone(), staged(HandoverMode::Cutover)]);
        let www = name("www.example.com");
        assert_eq!(handovers.passing(&www, &cluster("east")), Some(&switching));
        assert_eq!(handovers.passing(&www, &cluster("west")), None);
    }
}
