//! Further kinds of events, one a file. They are drawn apart, so that the rest of a seed is what it would be without them, and each
//! is in a share of the seeds.

mod clocks;
mod crowd;
mod freezes;
mod guards;
mod half_open;
mod handovers;
mod refusals;
mod sharing;
mod tags;
mod zones;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use zonefold::config::RulesOfFiles;
use zonefold::core::dns::name::DnsName;
use zonefold::core::governance::rule::{Rule, RuleHome};
use zonefold::core::governance::ruleset::Rules;
use zonefold::core::ids::AccountId;
use zonefold::emulator::ZoneSummary;

use crate::agent::SOURCES;
use crate::history::{Told, What};
use crate::schedule::{Step, TimedStep};
use crate::shape::{Account, Shape};
use crate::wish::{Object, Wish};
use crate::world::World;

/// Keeps the draws apart from those of the schedule and of the trials.
const APART: u64 = 0x7E57_0000_0E17_2A00;
/// The same for freezes.
const APART_FREEZES: u64 = 0x7E57_0000_F4EE_2E00;
/// One in this number of seeds has a freeze.
const FREEZE_OF: u8 = 8;
/// The same for guards.
const APART_GUARDS: u64 = 0x7E57_0000_60A2_D000;
/// One in this number of seeds has a guard.
const GUARD_OF: u8 = 8;
/// The same for names that clusters share.
const APART_SHARING: u64 = 0x7E57_0000_5AA2_E000;
/// One in this number of seeds has shared names.
const SHARING_OF: u8 = 8;
/// The same for hand-overs.
const APART_HANDOVERS: u64 = 0x7E57_0000_4A4D_0E00;
/// One in this number of seeds has a hand-over.
const HANDOVER_OF: u8 = 8;
/// One in this number of seeds has a further event.
const ONE_OF: u8 = 3;
/// One in this number of those has a second one.
const SECOND_OF: u8 = 2;
/// The objects of further events have numbers from here on.
const FIRST_OBJECT: u8 = 200;

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// Rules that ask for tags, and tags that change or cannot be read.
    Tags,
    /// Zones that appear, vanish and come again.
    Zones,
    /// Clocks that are set.
    Clocks,
    /// Changes that fail for minutes.
    Refusals,
    /// Many names of one cluster that Route 53 refuses at once.
    Crowd,
    /// Connections that fall silent for minutes.
    HalfOpen,
    /// Freezes of zones.
    Freezes,
    /// Guards of zones.
    Guards,
    /// Names that clusters share by a rule.
    Sharing,
    /// Hand-overs between clusters.
    Handovers,
}

/// One step of such an event.
#[derive(Clone, Debug)]
pub enum Extra {
    Tags(tags::TagStep),
    Zones(zones::ZoneStep),
    Clocks(clocks::ClockStep),
    Refusals(refusals::RefusalStep),
    Crowd(crowd::CrowdStep),
    HalfOpen(half_open::HalfOpenStep),
    Freezes(freezes::FreezeStep),
    Guards(guards::GuardStep),
    Sharing(sharing::SharingStep),
    Handovers(handovers::HandoverStep),
}

/// How one that lasts ends.
pub enum ExtraUndo {
    Tags(tags::TagUndo),
    Zones(zones::ZoneUndo),
    Clocks(clocks::ClockUndo),
    Refusals(refusals::RefusalUndo),
    Crowd(crowd::CrowdUndo),
    HalfOpen(half_open::HalfOpenUndo),
}

/// The preparations before the first broker starts.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// The rules of an account before those of its zones.
    rules_before: BTreeMap<&'static str, Vec<Value>>,
    /// And after them.
    rules_after: BTreeMap<&'static str, Vec<Value>>,
    /// Zones by their accounts, besides those of the shape.
    zones: BTreeMap<&'static str, Vec<String>>,
    tags: BTreeMap<String, BTreeMap<String, String>>,
    shifting: Vec<String>,
    /// Documents of rules.
    governance: Vec<Value>,
}

impl Prepared {
    /// The apexes of an account's zones besides those of the shape.
    pub fn more<'a>(&'a self, account: &Account) -> impl Iterator<Item = &'a str> {
        self.zones.get(account.id).into_iter().flatten().map(String::as_str)
    }

    /// The tags of a zone.
    pub fn tags(&self, apex: &str) -> BTreeMap<String, String> {
        self.tags.get(apex).cloned().unwrap_or_default()
    }

    /// An account's rules, with those of its zones among them.
    pub fn rules(&self, account: &Account, of_zones: Vec<Value>) -> Vec<Value> {
        let of = |rules: &BTreeMap<&'static str, Vec<Value>>| {
            rules.get(account.id).cloned().unwrap_or_default()
        };
        of(&self.rules_before).into_iter().chain(of_zones).chain(of(&self.rules_after)).collect()
    }

    /// The apexes of zones that appear or vanish.
    pub fn shifting(&self) -> Vec<DnsName> {
        self.shifting.iter().filter_map(|apex| DnsName::parse(apex).ok()).collect()
    }

    /// The rules of governance.
    pub fn governance(&self) -> RulesOfFiles {
        let home = || RuleHome::File("rules/sim.yaml".into());
        let read = |document: &Value| Rule::from_json(document, home()).ok();
        // Where none is drawn, none counts.
        let off = json!({
            "apiVersion": "zonefold.dev/v1", "kind": "Guard", "metadata": { "name": "off" },
            "spec": { "enabled": false },
        });
        let rules = self.governance.iter().chain([&off]).filter_map(read).collect();
        Rules::new(rules).map_or_else(|_| RulesOfFiles::default(), RulesOfFiles::of)
    }

    fn is_any(&self) -> bool {
        !self.rules_before.is_empty() || !self.rules_after.is_empty()
    }
}

impl Shape {
    /// How long it takes at most until what was listed last is listed again, in seconds; 0 where nothing depends on it.
    pub fn awaits_listing(&self) -> u32 {
        // One that failed is tried again after half a minute.
        if self.prepared.is_any() { self.discovery_secs + 40 } else { 0 }
    }
}

/// Steps by the time since the event began, in milliseconds.
type Steps = Vec<(u64, Step)>;

/// The further events of a seed, if it has any.
pub fn draw(seed: u64, shape: &Shape) -> Vec<TimedStep> {
    let mut random = fastrand::Rng::with_seed(seed ^ APART);
    let mut steps = vec![];
    if random.u8(0..ONE_OF) == 0 {
        steps.extend(one(shape, &mut random));
        if random.u8(0..SECOND_OF) == 0 {
            steps.extend(one(shape, &mut random));
        }
    }
    // What came later is drawn apart from these, so that old seeds are what they were.
    let mut random = fastrand::Rng::with_seed(seed ^ APART_FREEZES);
    if random.u8(0..FREEZE_OF) == 0 {
        steps.extend(freezes::draw(shape, &mut random));
    }
    let mut random = fastrand::Rng::with_seed(seed ^ APART_GUARDS);
    if random.u8(0..GUARD_OF) == 0 {
        steps.extend(guards::draw(shape, &mut random));
    }
    let mut random = fastrand::Rng::with_seed(seed ^ APART_SHARING);
    if random.u8(0..SHARING_OF) == 0 {
        steps.extend(sharing::draw(shape, &mut random));
    }
    let mut random = fastrand::Rng::with_seed(seed ^ APART_HANDOVERS);
    if random.u8(0..HANDOVER_OF) == 0 {
        steps.extend(handovers::draw(shape, &mut random));
    }
    steps.into_iter().map(|(at_ms, step)| TimedStep { at_ms, step }).collect()
}

fn one(shape: &Shape, random: &mut fastrand::Rng) -> Steps {
    // Where endpoints name their zones, zones that come and go would leave nothing to judge.
    let names_zones = shape.accounts.iter().any(|account| !account.private.is_empty());
    match random.u8(0..6) {
        0 | 1 if names_zones => vec![],
        0 => tags::draw(shape, random),
        1 => zones::draw(shape, random),
        2 => clocks::draw(shape, random),
        3 => refusals::draw(shape, random),
        4 => crowd::draw(shape, random),
        _ => half_open::draw(shape, random),
    }
}

/// The kinds that a seed has.
pub fn kinds(steps: &[TimedStep]) -> Vec<Kind> {
    let of = |timed: &TimedStep| match &timed.step {
        Step::Extra(extra) => Some(extra.kind()),
        _ => None,
    };
    steps.iter().filter_map(of).collect()
}

impl Extra {
    fn kind(&self) -> Kind {
        match self {
            Self::Tags(_) => Kind::Tags,
            Self::Zones(_) => Kind::Zones,
            Self::Clocks(_) => Kind::Clocks,
            Self::Refusals(_) => Kind::Refusals,
            Self::Crowd(_) => Kind::Crowd,
            Self::HalfOpen(_) => Kind::HalfOpen,
            Self::Freezes(_) => Kind::Freezes,
            Self::Guards(_) => Kind::Guards,
            Self::Sharing(_) => Kind::Sharing,
            Self::Handovers(_) => Kind::Handovers,
        }
    }

    /// In words.
    pub fn text(&self) -> String {
        format!("{self:?}")
    }

    /// How long it goes on also when everything is healed; `None` if it does not.
    pub fn goes_on_for_ms(&self) -> Option<u64> {
        match self {
            Self::Freezes(step) => step.lasts_ms(),
            Self::Handovers(step) => step.lasts_ms(),
            _ => None,
        }
    }

    /// How long it lasts; `None` if it is done at once.
    pub fn lasts_ms(&self) -> Option<u64> {
        match self {
            Self::Tags(step) => step.lasts_ms(),
            Self::Zones(step) => step.lasts_ms(),
            Self::Clocks(step) => step.lasts_ms(),
            Self::Refusals(step) => Some(step.for_ms()),
            Self::Crowd(step) => Some(step.for_ms),
            Self::HalfOpen(step) => Some(step.for_ms()),
            Self::Freezes(step) => step.lasts_ms(),
            Self::Guards(step) => step.lasts_ms(),
            Self::Sharing(step) => step.lasts_ms(),
            Self::Handovers(step) => step.lasts_ms(),
        }
    }

    /// Changes the world before it is built.
    pub fn prepare(&self, shape: &mut Shape) {
        match self {
            Self::Tags(step) => step.prepare(shape),
            Self::Zones(step) => step.prepare(shape),
            Self::Clocks(step) => step.prepare(shape),
            Self::Freezes(step) => step.prepare(shape),
            Self::Guards(step) => step.prepare(shape),
            Self::Refusals(_)
            | Self::Crowd(_)
            | Self::HalfOpen(_)
            | Self::Sharing(_)
            | Self::Handovers(_) => {}
        }
    }
}

impl World {
    /// Carries out a step.
    pub(crate) fn take_extra(&mut self, extra: &Extra) -> Option<ExtraUndo> {
        match extra {
            Extra::Tags(step) => self.take_tag_step(step).map(ExtraUndo::Tags),
            Extra::Zones(step) => self.take_zone_step(step).map(ExtraUndo::Zones),
            Extra::Clocks(step) => self.take_clock_step(step).map(ExtraUndo::Clocks),
            Extra::Refusals(step) => self.take_refusal_step(step).map(ExtraUndo::Refusals),
            Extra::Crowd(step) => Some(ExtraUndo::Crowd(self.take_crowd_step(step))),
            Extra::HalfOpen(step) => self.take_half_open_step(step).map(ExtraUndo::HalfOpen),
            Extra::Freezes(step) => {
                self.take_freeze_step(step);
                None
            }
            Extra::Guards(step) => {
                self.take_guard_step(step);
                None
            }
            Extra::Sharing(step) => {
                self.take_sharing_step(step);
                None
            }
            Extra::Handovers(step) => {
                self.take_handover_step(step);
                None
            }
        }
    }

    /// Ends what lasted.
    pub(crate) fn end_extra(&mut self, undo: ExtraUndo) {
        match undo {
            ExtraUndo::Tags(undo) => self.end_tag_step(undo),
            ExtraUndo::Zones(undo) => self.end_zone_step(undo),
            ExtraUndo::Clocks(undo) => self.end_clock_step(undo),
            ExtraUndo::Refusals(undo) => self.end_refusal_step(undo),
            ExtraUndo::Crowd(undo) => self.end_crowd_step(undo),
            ExtraUndo::HalfOpen(undo) => self.end_half_open_step(undo),
        }
    }

    /// Logs the preparations.
    pub(crate) fn tell_beginnings(&self) {
        let prepared = &self.schedule.shape.prepared;
        // Several accounts may have one of a name, and one account two.
        for ZoneSummary { id: zone, account, name: apex, .. } in self.control.zones() {
            let names = prepared.zones.get(account.as_str());
            if names.is_some_and(|names| names.contains(&apex.to_string())) {
                self.tell(Told::ZoneMade { zone, account, apex });
            }
        }
    }

    fn tell(&self, told: Told) {
        self.recorder.note(What::Told(told));
    }
}

fn account_id(account: &str) -> Option<AccountId> {
    AccountId::parse(account).ok()
}

/// An object that no other step has.
fn object(number: u8) -> Object {
    let kind = SOURCES[usize::from(number) % SOURCES.len()];
    Object { kind, number: FIRST_OBJECT + number }
}

/// A cluster that the zones of an environment serve.
fn cluster_of(shape: &Shape, environment: &str, random: &mut fastrand::Rng) -> Option<usize> {
    let fit = shape.clusters.iter().enumerate().filter(|(_, of)| **of == environment);
    let fit: Vec<usize> = fit.map(|(cluster, _)| cluster).collect();
    if fit.is_empty() { None } else { Some(fit[random.usize(0..fit.len())]) }
}

/// A zone of the shape by its place, with its account's place.
fn some_zone(shape: &Shape, random: &mut fastrand::Rng) -> (usize, usize) {
    let zone = random.usize(0..shape.zones().count());
    let account = shape.zones().nth(zone).map(|(account, _)| account.id);
    (zone, shape.accounts.iter().position(|other| Some(other.id) == account).unwrap_or(0))
}

/// The apex of a zone by its place.
fn apex(shape: &Shape, zone: usize) -> &'static str {
    shape.zones().nth(zone).map_or("example.com", |(_, zone)| zone.apex)
}

/// An object wants one address at each of some hosts.
fn want(
    cluster: usize,
    number: u8,
    hosts: impl IntoIterator<Item = String>,
    random: &mut fastrand::Rng,
) -> Step {
    let wishes =
        hosts.into_iter().map(|host| Wish { ttl_secs: Some(60), ..Wish::plain(host, random) });
    Step::Want { cluster, object: object(number), wishes: wishes.collect() }
}
