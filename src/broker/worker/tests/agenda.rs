//! The agenda against a look at every zone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::world::{account, www, zone_id};
use crate::broker::worker::agenda::{Kind, Zones};
use crate::broker::worker::zone::reader::Reader;
use crate::broker::worker::zone::work::{AwaitedChange, SyncWatch, Trouble, ZoneWork};
use crate::core::ids::{ClusterId, EnvironmentId, ZoneId};
use crate::core::limits::fair::{FairShare, Queued};
use crate::core::planning::policy::ZoneSettings;
use crate::core::planning::record_types::RecordTypes;
use crate::core::planning::routing::ZoneFacts;
use crate::core::testkit::{cluster, name};
use crate::core::time::{Millis, Timestamp};
use crate::core::visibility::Visibility;

const ZONES: usize = 4;

fn zone(zone: usize) -> ZoneWork {
    let facts = ZoneFacts {
        account: account(),
        environment: EnvironmentId::parse("dev").unwrap(),
        zone: zone_id(zone),
        name: name(&www(zone)[4..]),
        visibility: Visibility::Public,
        visible: true,
    };
    let settings = ZoneSettings { record_types: RecordTypes::All, ..ZoneSettings::default() };
    ZoneWork::new(facts, settings, Some(Timestamp(0)), Timestamp(0))
}

/// Something that happens to a zone.
fn change(zone: &mut ZoneWork, what: u8, number: u8, now: Timestamp) {
    let at = now + Millis(i64::from(number) - 3);
    let who = cluster(&format!("c{}", number % 3));
    let owner = name(&format!("n{}.example.com", number % 5));
    match what {
        0 | 1 => zone.backlog.set(&owner, Some((who, u32::from(number)))),
        2 => zone.backlog.set(&owner, None),
        3 => zone.busy = !zone.busy,
        4 => zone.free_at = at,
        5 => zone.trouble = Some(Trouble { message: String::new(), failures: 1, retry_at: at }),
        6 => zone.trouble = None,
        7 => {
            zone.reader = [None, Some(Reader::whole()), Some(Reader::of([owner].into()))]
                [usize::from(number % 3)]
            .clone()
        }
        8 => zone.listed_at = (number > 2).then_some(now),
        9 => zone.sweep_at = at,
        10 => {
            zone.sync = (number > 2).then_some(SyncWatch {
                change: AwaitedChange { sequence: 0, change_id: None, since: at },
                ask_at: at,
                asked: 0,
            })
        }
        11 => zone.facts.visible = number > 2,
        12 => zone.last_call_at = at,
        _ => zone.backlog.taken(&who, &owner),
    }
}

/// The zone whose turn it is, by a look at every zone.
fn next_of_all(
    zones: &Zones,
    share: &FairShare<ClusterId>,
    passed: &BTreeSet<ZoneId>,
    now: Timestamp,
) -> Option<ZoneId> {
    let is_ready = |zone: &ZoneWork| {
        zone.is_open(now)
            && zone.free_at <= now
            && zone.listed_at.is_some()
            && zone.reader.is_none()
            && !zone.busy
    };
    let ready = zones
        .all()
        .filter(|(id, zone)| !zone.backlog.is_empty() && is_ready(zone) && !passed.contains(id));
    let ranked = ready.map(|(id, zone)| {
        (share.least(zone.backlog.clusters()).unwrap_or(0), zone.last_call_at, id.clone())
    });
    ranked.min().map(|(_, _, id)| id)
}

fn zones() -> Zones {
    let mut zones = Zones::default();
    (0..ZONES).for_each(|id| zones.insert(zone_id(id), zone(id)));
    zones
}

proptest! {
    #[test]
    fn the_agenda_says_what_a_look_at_every_zone_says(
        happenings in prop::collection::vec((0..ZONES, 0u8..14, 0u8..8, 0i64..3), 1..120),
        given in prop::collection::vec(0u32..50, 3),
        passed in 0..ZONES,
    ) {
        let (mut zones, mut share) = (zones(), FairShare::default());
        let mut queues: BTreeMap<ClusterId, VecDeque<Queued<()>>> = BTreeMap::new();
        for (index, cost) in given.into_iter().enumerate() {
            let more = [Queued { item: (), cost }, Queued { item: (), cost: 1_000 }];
            queues.insert(cluster(&format!("c{index}")), more.into());
        }
        share.take_up_to(&mut queues, 120);
        let passed = [zone_id(passed)].into();
        let mut now = Timestamp(1_000);
        for (id, what, number, later) in happenings {
            now = now + Millis(later);
            change(zones.get_mut(&zone_id(id)).unwrap(), what, number, now);
            prop_assert!(zones.agenda_is_whole(now));
            for passed in [&BTreeSet::new(), &passed] {
                prop_assert_eq!(zones.agenda(now).next_change(&share, passed), next_of_all(&zones, &share, passed, now));
            }
            let cost: u32 = zones.all().map(|(_, zone)| zone.backlog.cost()).sum();
            prop_assert_eq!(zones.agenda(now).cost(), cost);
            let next_at = zones.agenda(now).next_at();
            prop_assert!(next_at.is_none_or(|at| at > now));
        }
    }
}

#[test]
fn what_is_due_comes_in_the_order_of_waiting_and_each_zone_once() {
    let mut zones = zones();
    let now = Timestamp(1_000);
    for (id, sweep_at) in [(0, 900), (1, 800), (2, 1_001), (3, 900)] {
        zones.get_mut(&zone_id(id)).unwrap().sweep_at = Timestamp(sweep_at);
    }
    let (mut order, mut last) = (vec![], None);
    while let Some(due) = zones.agenda(now).next_due(Kind::Sweep, last.as_ref()) {
        order.push(due.1.clone());
        last = Some(due);
    }
    assert_eq!(order, [zone_id(1), zone_id(0), zone_id(3)]);
    assert_eq!(zones.agenda(now).next_at(), Some(Timestamp(1_001)));
}
