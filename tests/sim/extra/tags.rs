//! Rules that ask for tags: tags that cannot be read while a rule begins to ask for them, tags that change, rules that change.

use serde_json::{Value, json};
use zonefold::config::ZoneEntry;
use zonefold::core::dns::name::DnsName;
use zonefold::core::ids::{AccountId, ZoneId};
use zonefold::core::planning::policy::ZonePolicy;
use zonefold::emulator::{Action, FaultEffect, FaultMatch, FaultRule};

use super::{Extra, Steps, Told, account_id, apex, cluster_of, some_zone, want};
use crate::net::Death;
use crate::schedule::{Going, Step};
use crate::shape::Shape;
use crate::world::World;

/// The tag that the rule asks for.
const TAG: (&str, &str) = ("stage", "frozen");

/// The drawn part of the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    policy: ZonePolicy,
    drift: &'static str,
    adopt: &'static str,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagStep {
    /// The rule is there from the start, and so is the tag for a while.
    Begin { account: usize, zone: usize, rule: Rule, tagged: bool, for_ms: u64 },
    /// The rule comes with a reload, or is another one for a while.
    Rule { account: usize, zone: usize, rule: Option<Rule>, for_ms: u64 },
    /// The zone has the tag.
    Tag { zone: usize, for_ms: u64 },
    /// The tags of the account's zones cannot be read.
    Unreadable { account: usize, how: Unreadable, for_ms: u64 },
}

/// How tags cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    Fails,
    Hangs,
    Throttled,
    Garbage,
}

/// How a step ends.
pub enum TagUndo {
    Rule { account: usize, zone: usize, before: Option<ZoneEntry> },
    Untag { zone: usize },
    Readable(AccountId, u64),
}

/// Draws one of three: a rule that comes while tags cannot be read, a tag that comes and goes, and one that is there from the start.
pub fn draw(shape: &Shape, random: &mut fastrand::Rng) -> Steps {
    let (zone, account) = some_zone(shape, random);
    let environment = shape.accounts[account].environment;
    let Some(cluster) = cluster_of(shape, environment, random) else { return vec![] };
    let rule = Rule {
        policy: ZonePolicy::Observe,
        drift: ["alert", "repair"][random.usize(0..2)],
        adopt: ["never", "any"][random.usize(0..2)],
    };
    let tag = |step| Step::Extra(Extra::Tags(step));
    let at_ms = random.u64(10_000..=20_000);
    let for_ms = random.u64(60_000..=120_000);
    let wants = |number: u8, at_ms: u64, random: &mut fastrand::Rng| {
        let hosts = (0..2).map(|host| format!("t{number}-{host}.{}", apex(shape, zone)));
        (at_ms, want(cluster, number, hosts.collect::<Vec<_>>(), random))
    };
    let mut steps: Steps = (0..4)
        .map(|number| wants(number, at_ms + 12_000 + 14_000 * u64::from(number), random))
        .collect();
    match random.u8(0..3) {
        0 => {
            let how =
                [Unreadable::Fails, Unreadable::Hangs, Unreadable::Throttled, Unreadable::Garbage]
                    [random.usize(0..4)];
            steps.push((at_ms, tag(TagStep::Unreadable { account, how, for_ms })));
            let rule = TagStep::Rule { account, zone, rule: Some(rule), for_ms: u64::MAX / 2 };
            steps.push((at_ms + random.u64(1..=2_000), tag(rule)));
            if random.bool() {
                let broker = random.u32(0..shape.brokers);
                let going = Going::Crash(Death::Reset);
                let restart = Step::RestartBroker { broker, going, for_ms: 500 };
                steps.push((at_ms + random.u64(3_000..=30_000), restart));
            }
        }
        1 => {
            let begin = TagStep::Begin { account, zone, rule, tagged: false, for_ms: 1 };
            steps.push((0, tag(begin)));
            steps.push((at_ms, tag(TagStep::Tag { zone, for_ms })));
        }
        _ => {
            let begin = TagStep::Begin { account, zone, rule, tagged: true, for_ms };
            steps.push((0, tag(begin)));
        }
    }
    if random.bool() {
        // Sync for a while where it says observe: what it says of others' sets is then the zone's own.
        let shape_zone = shape.zones().nth(zone).map(|(_, zone)| zone);
        let is_plain = shape_zone.is_some_and(|zone| zone.policy == ZonePolicy::Sync);
        let sync = TagStep::Rule { account, zone, rule: None, for_ms: random.u64(8_000..=25_000) };
        if is_plain {
            steps.push((at_ms + random.u64(30_000..=50_000), tag(sync)));
        }
    }
    steps
}

fn entry(rule: Rule, apex: &str) -> Value {
    json!({
        "name": apex, "tags": { TAG.0: TAG.1 }, "policy": rule.policy, "drift": rule.drift, "adopt": rule.adopt,
        "record_types": "all",
    })
}

impl TagStep {
    /// How long it lasts.
    pub fn lasts_ms(&self) -> Option<u64> {
        match self {
            Self::Begin { for_ms, .. }
            | Self::Rule { for_ms, .. }
            | Self::Tag { for_ms, .. }
            | Self::Unreadable { for_ms, .. } => Some(*for_ms),
        }
    }

    /// The rule and the tag that are there from the start.
    pub fn prepare(&self, shape: &mut Shape) {
        let Self::Begin { account, zone, rule, tagged, .. } = self else { return };
        let (id, apex) = (shape.accounts[*account].id, apex(shape, *zone));
        let prepared = &mut shape.prepared;
        prepared.rules_before.entry(id).or_default().push(entry(*rule, apex));
        if *tagged {
            let tags = [(TAG.0.to_owned(), TAG.1.to_owned())];
            prepared.tags.insert(apex.to_owned(), tags.into());
        }
    }
}

impl World {
    pub(super) fn take_tag_step(&mut self, step: &TagStep) -> Option<TagUndo> {
        match step {
            TagStep::Begin { zone, rule, tagged, .. } => {
                let id = self.zone_at(*zone)?;
                self.tell(Told::TagRule { zone: id.clone(), policy: Some(rule.policy) });
                self.tell(Told::Tagged { zone: id, tagged: *tagged });
                tagged.then_some(TagUndo::Untag { zone: *zone })
            }
            TagStep::Rule { account, zone, rule, .. } => {
                let apex = apex(&self.schedule.shape, *zone);
                let rule = rule
                    .and_then(|rule| serde_json::from_value::<ZoneEntry>(entry(rule, apex)).ok());
                let before = self.set_tag_rule(*account, *zone, rule);
                Some(TagUndo::Rule { account: *account, zone: *zone, before })
            }
            TagStep::Tag { zone, .. } => {
                self.set_tag(*zone, true);
                Some(TagUndo::Untag { zone: *zone })
            }
            TagStep::Unreadable { account, how, .. } => {
                self.recorder.fault("aws.tags_unreadable", format!("{how:?}"));
                let effect = match how {
                    Unreadable::Fails => FaultEffect::HttpError { status: 500 },
                    Unreadable::Hangs => FaultEffect::HangBeforeApply {},
                    Unreadable::Throttled => FaultEffect::Throttle {},
                    Unreadable::Garbage => FaultEffect::GarbageXml {},
                };
                let account = account_id(self.schedule.shape.accounts.get(*account)?.id)?;
                self.tell(Told::TagsReadable { account: account.clone(), readable: false });
                let matching = FaultMatch {
                    account: Some(account.clone()),
                    action: Some(Action::ListTagsForResources),
                    ..FaultMatch::default()
                };
                let rule = FaultRule { matching, times: None, effect };
                Some(TagUndo::Readable(account, self.control.add_fault(rule)))
            }
        }
    }

    pub(super) fn end_tag_step(&mut self, undo: TagUndo) {
        match undo {
            TagUndo::Rule { account, zone, before } => {
                self.set_tag_rule(account, zone, before);
            }
            TagUndo::Untag { zone } => self.set_tag(zone, false),
            TagUndo::Readable(account, rule) => {
                drop(self.control.remove_fault(rule));
                self.tell(Told::TagsReadable { account, readable: true });
            }
        }
    }

    fn zone_at(&self, zone: usize) -> Option<ZoneId> {
        let apex = DnsName::parse(apex(&self.schedule.shape, zone)).ok()?;
        self.control.zone_named(&apex)
    }

    fn set_tag(&self, zone: usize, tagged: bool) {
        let Some(id) = self.zone_at(zone) else { return };
        let tags = tagged.then(|| (TAG.0.to_owned(), TAG.1.to_owned()));
        self.recorder.fault("aws.tag_changed", format!("{id}: {tagged}"));
        drop(self.control.set_tags(&id, tags.into_iter().collect()));
        self.tell(Told::Tagged { zone: id, tagged });
    }

    /// Puts another rule in the place of the one that asks for the zone's tag; answers that one.
    fn set_tag_rule(
        &mut self,
        account: usize,
        zone: usize,
        rule: Option<ZoneEntry>,
    ) -> Option<ZoneEntry> {
        let id = self.zone_at(zone)?;
        let of = account_id(self.schedule.shape.accounts.get(account)?.id)?;
        let policy = rule.as_ref().map(|rule| rule.policy);
        let mut before = None;
        let apex = apex(&self.schedule.shape, zone);
        self.change_config(|config| {
            let Some(account) = config.accounts.iter_mut().find(|other| other.id == of) else {
                return;
            };
            let is_it = |entry: &ZoneEntry| {
                let name = entry.name.as_ref().map(ToString::to_string);
                !entry.tags.is_empty() && name.as_deref() == Some(apex)
            };
            let place = account.zones.iter().position(is_it);
            before = place.map(|place| account.zones.remove(place));
            if let Some(mut rule) = rule {
                let default_ttl_secs = account.zones.first().map(|entry| entry.default_ttl_secs);
                rule.default_ttl_secs = default_ttl_secs.unwrap_or(rule.default_ttl_secs);
                account.zones.insert(0, rule);
            }
        });
        self.tell(Told::TagRule { zone: id, policy });
        before
    }
}
