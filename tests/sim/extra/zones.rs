//! Zones that appear, closer to some names than the one that these are in, that vanish, and that come again: under another id when
//! they were deleted, under the same one when only the rules had not selected them.

use std::sync::Arc;

use serde_json::json;
use zonefold::broker::directory::NameReach;
use zonefold::config::{Config, ZoneEntry};
use zonefold::core::dns::name::DnsName;

use super::{Extra, Steps, Told, account_id, apex, cluster_of, some_zone, want};
use crate::recorder::lock;
use crate::schedule::Step;
use crate::shape::Shape;
use crate::world::World;

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZoneStep {
    /// The account's rules select the closer zone from the start; and it is there, or it is not yet.
    Begin { account: usize, apex: String, is_there: bool },
    /// It is made.
    Make { account: usize, apex: String },
    /// It is deleted, with all that it holds.
    Delete { apex: String },
    /// The rules select it no longer.
    Hide { account: usize, apex: String, for_ms: u64 },
    /// `zonefold reroute APEX --below`.
    Reroute { broker: u32, apex: String },
}

/// How a step ends.
pub struct ZoneUndo {
    account: usize,
    apex: String,
    entry: ZoneEntry,
    place: usize,
}

/// Draws a life of a closer zone.
pub fn draw(shape: &Shape, random: &mut fastrand::Rng) -> Steps {
    let (parent, own) = some_zone(shape, random);
    let environment = shape.accounts[own].environment;
    let Some(cluster) = cluster_of(shape, environment, random) else { return vec![] };
    // Also in another account of the environment.
    let accounts: Vec<usize> = (0..shape.accounts.len())
        .filter(|account| shape.accounts[*account].environment == environment)
        .collect();
    let account = accounts[random.usize(0..accounts.len())];
    let apex = format!("near.{}", apex(shape, parent));
    let step = |step| Step::Extra(Extra::Zones(step));
    let hosts =
        |letter: char| (0..3).map(|host| format!("{letter}{host}.{apex}")).collect::<Vec<_>>();
    let is_there = random.u8(0..3) > 0;
    let begin = ZoneStep::Begin { account, apex: apex.clone(), is_there };
    let listed_ms = u64::from(shape.discovery_secs) * 1_100 + 5_000;
    let first_ms = random.u64(6_000..=12_000);
    let mut steps = vec![
        (0, step(begin)),
        (first_ms, want(cluster, 0, hosts('a'), random)),
        (first_ms + 1_000, want(cluster, 1, hosts('b'), random)),
    ];
    let turn_ms = first_ms + random.u64(8_000..=20_000);
    let known_ms = turn_ms + listed_ms;
    let edit = |steps: &mut Steps, at_ms: u64, random: &mut fastrand::Rng| {
        steps.push((at_ms, want(cluster, 0, hosts('a'), random)));
    };
    if !is_there {
        steps.push((turn_ms, step(ZoneStep::Make { account, apex: apex.clone() })));
        edit(&mut steps, known_ms, random);
        steps.push((known_ms + 1_000, want(cluster, 2, hosts('c'), random)));
        return steps;
    }
    if random.u8(0..3) == 0 {
        let for_ms = random.u64(20_000..=80_000);
        steps.push((turn_ms, step(ZoneStep::Hide { account, apex: apex.clone(), for_ms })));
        edit(&mut steps, turn_ms + random.u64(5_000..=30_000), random);
        return steps;
    }
    steps.push((turn_ms, step(ZoneStep::Delete { apex: apex.clone() })));
    if random.bool() {
        edit(&mut steps, turn_ms + random.u64(5_000..=30_000), random);
    }
    if random.u8(0..4) > 0 {
        let again_ms = turn_ms + random.u64(3_000..=40_000);
        let at = accounts[random.usize(0..accounts.len())];
        // Only where the rules select it.
        let account = if random.u8(0..4) == 0 { at } else { account };
        steps.push((again_ms, step(ZoneStep::Make { account, apex: apex.clone() })));
        edit(&mut steps, again_ms + listed_ms, random);
        if random.bool() {
            let broker = random.u32(0..shape.brokers);
            let reroute = ZoneStep::Reroute { broker, apex: apex.clone() };
            steps.push((again_ms + listed_ms + 2_000, step(reroute)));
        }
    }
    steps
}

impl ZoneStep {
    /// How long it lasts.
    pub fn lasts_ms(&self) -> Option<u64> {
        match self {
            Self::Hide { for_ms, .. } => Some(*for_ms),
            Self::Begin { .. } | Self::Make { .. } | Self::Delete { .. } | Self::Reroute { .. } => {
                None
            }
        }
    }

    /// The rules that select it, in all accounts of the environment, and the zone.
    pub fn prepare(&self, shape: &mut Shape) {
        let Self::Begin { account, apex, is_there } = self else { return };
        let environment = shape.accounts[*account].environment;
        let accounts = shape.accounts.iter().filter(|other| other.environment == environment);
        let prepared = &mut shape.prepared;
        for of in accounts {
            let rule = json!({ "name": apex, "policy": "sync", "record_types": "all" });
            prepared.rules_after.entry(of.id).or_default().push(rule);
        }
        prepared.shifting.push(apex.clone());
        if *is_there {
            let zones = prepared.zones.entry(shape.accounts[*account].id).or_default();
            zones.push(apex.clone());
        }
    }
}

impl World {
    pub(super) fn take_zone_step(&mut self, step: &ZoneStep) -> Option<ZoneUndo> {
        match step {
            ZoneStep::Begin { .. } => None,
            ZoneStep::Make { account, apex } => {
                let id = self.schedule.shape.accounts.get(*account)?.id;
                let name = DnsName::parse(apex).ok()?;
                // One of that name is enough.
                if self.control.zone_named(&name).is_none() {
                    self.recorder.fault("aws.zone_made", apex.clone());
                    let zone = self.control.make_zone(account_id(id)?, name.clone());
                    let account = account_id(id)?;
                    self.tell(Told::ZoneMade { zone, account, apex: name });
                }
                None
            }
            ZoneStep::Delete { apex } => {
                let zone = self.control.zone_named(&DnsName::parse(apex).ok()?)?;
                self.recorder.fault("aws.zone_deleted", apex.clone());
                self.control.delete_zone(&zone).ok()?;
                self.tell(Told::ZoneDeleted { zone });
                None
            }
            ZoneStep::Hide { account, apex, .. } => {
                let of = account_id(self.schedule.shape.accounts.get(*account)?.id)?;
                let zone = self.control.zone_named(&DnsName::parse(apex).ok()?)?;
                let mut removed = None;
                self.change_config(|config| {
                    let account = config.accounts.iter_mut().find(|other| other.id == of);
                    removed = account.and_then(|account| {
                        let place = account.zones.iter().position(|entry| {
                            entry.name.as_ref().is_some_and(|name| name.to_string() == *apex)
                        })?;
                        Some((place, account.zones.remove(place)))
                    });
                });
                let (place, entry) = removed?;
                self.recorder.fault("config.zone_hidden", apex.clone());
                self.tell(Told::ZoneHidden { zone, hidden: true });
                Some(ZoneUndo { account: *account, apex: apex.clone(), entry, place })
            }
            ZoneStep::Reroute { broker, apex } => {
                let below = DnsName::parse(apex).ok()?;
                let handle = lock(self.brokers.get(*broker as usize)?).handle()?;
                self.tell(Told::Rerouted { below: below.clone() });
                tokio::task::spawn_local(async move {
                    let _placed_anew = handle.reroute(below, NameReach::Below).await;
                });
                None
            }
        }
    }

    pub(super) fn end_zone_step(&mut self, undo: ZoneUndo) {
        let ZoneUndo { account, apex, entry, place } = undo;
        let Some(of) =
            self.schedule.shape.accounts.get(account).and_then(|account| account_id(account.id))
        else {
            return;
        };
        self.change_config(|config| {
            if let Some(account) = config.accounts.iter_mut().find(|other| other.id == of) {
                account.zones.insert(place.min(account.zones.len()), entry);
            }
        });
        let zone = DnsName::parse(&apex).ok().and_then(|apex| self.control.zone_named(&apex));
        if let Some(zone) = zone {
            self.tell(Told::ZoneHidden { zone, hidden: false });
        }
    }

    /// Writes the configuration anew.
    pub(super) fn change_config(&self, change: impl FnOnce(&mut Config)) {
        let mut config = (**self.config.borrow()).clone();
        change(&mut config);
        self.config.send_replace(Arc::new(config));
    }
}
