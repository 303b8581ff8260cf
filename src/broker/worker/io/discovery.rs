//! Which account the credentials really belong to, and which zones it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::FutureExt;
use tracing::{info, warn};

use super::calls::{Done, WakeAt, ZoneListing};
use crate::broker::directory::AccountListing;
use crate::broker::worker::view::Health;
use crate::broker::worker::zone::work::ZoneWork;
use crate::broker::worker::{UNSELECTED, Worker, row_of, rules_of_zone};
use crate::core::ids::ZoneId;
use crate::core::limits::budget::{ApiAction, Lane, Permit};
use crate::core::planning::policy::{ZoneSettings, needs_tags};
use crate::core::planning::routing::ZoneFacts;
use crate::core::time::{Millis, Timestamp};
use crate::core::visibility::Visibility;
use crate::ports::{BatchOutcome, CallError, CallerIdentity, DnsProvider as _, HostedZone};

/// ListTagsForResources accepts ten zones per call.
const ZONES_PER_TAG_CALL: usize = 10;

/// The state of looking for zones.
#[derive(Default)]
pub struct Discovery {
    /// Whether STS is asked which account this is.
    asking_identity: bool,
    /// Whether a listing runs.
    in_flight: bool,
    /// When the next one begins.
    next_at: Timestamp,
    /// Whether all zones were listed once.
    completed: bool,
    /// Where the listing goes on; `None` at its beginning.
    marker: Option<String>,
    /// The zones that were listed so far.
    found: Vec<HostedZone>,
    /// The tags that were read so far.
    tags: BTreeMap<ZoneId, BTreeMap<String, String>>,
    /// Zones whose tags are still to be asked for; `None` while zones are still listed.
    untagged: Option<Vec<ZoneId>>,
    /// Whether tags are asked for.
    with_tags: bool,
}

impl Discovery {
    /// Notes whether GetCallerIdentity is on its way.
    pub fn asking_identity(&mut self, asking: bool) {
        self.asking_identity = asking;
    }

    /// Whether GetCallerIdentity is on its way.
    pub fn is_asking_identity(&self) -> bool {
        self.asking_identity
    }

    /// Whether a step of the discovery could be paid for now.
    pub fn is_due(&self, now: Timestamp) -> bool {
        !self.in_flight && self.next_at <= now
    }

    /// Look for zones as soon as there are tokens.
    pub fn look_again(&mut self, now: Timestamp) {
        self.next_at = self.next_at.min(now);
    }

    /// Whether a discovery ever ended well.
    pub fn is_complete(&self) -> bool {
        self.completed
    }

    fn begin_anew(&mut self, at: Timestamp) {
        (self.marker, self.untagged, self.with_tags) = (None, None, false);
        self.found.clear();
        self.tags.clear();
        self.next_at = at;
    }
}

impl Worker {
    pub(in crate::broker::worker) fn finish_identity(
        &mut self,
        result: Result<CallerIdentity, CallError>,
        now: Timestamp,
    ) {
        self.discovery.asking_identity(false);
        match result {
            Ok(identity) if identity.account == self.settings.account => {
                if !self.is_working() {
                    info!(account = %self.settings.account, name = %self.settings.name, arn = %identity.arn, "account working");
                }
                self.failures = 0;
                self.health = Health::Working;
                self.note_waiting();
            }
            Ok(identity) => self.park(
                format!(
                    "the credentials belong to the account {} ({}), and {} is configured: correct role_arn or id",
                    identity.account, identity.arn, self.settings.account
                ),
                now,
            ),
            Err(error) => self.park(error.to_string(), now),
        }
    }

    /// The next step of the discovery: a page of zones, or tags of ten.
    pub(in crate::broker::worker) fn start_discovery(&mut self, now: Timestamp, wake: &mut WakeAt) {
        if !self.discovery.is_due(now) {
            if !self.discovery.in_flight {
                wake.at(self.discovery.next_at);
            }
            return;
        }
        // The first discovery is waited for; later ones use spare tokens.
        let lane = if self.discovery.completed { Lane::Reads } else { Lane::Changes };
        let next_tags: Option<Vec<ZoneId>> = self
            .discovery
            .untagged
            .as_ref()
            .map(|zones| zones.iter().take(ZONES_PER_TAG_CALL).cloned().collect());
        let action = if next_tags.is_some() {
            ApiAction::ListTagsForResources
        } else {
            ApiAction::ListHostedZones
        };
        let Some(permit) = self.permit(now, lane, action, 0, wake) else { return };
        self.discovery.in_flight = true;
        match next_tags {
            Some(zones) => self.start_tags(permit, zones),
            None => self.start_zones(permit),
        }
    }

    fn start_zones(&mut self, permit: Permit) {
        let (provider, marker, paid) =
            (Arc::clone(&self.provider), self.discovery.marker.clone(), permit.paid());
        self.spawn(
            async move {
                Done::Zones {
                    paid,
                    result: provider.list_zones(permit, marker).await.map(ZoneListing::Zones),
                }
            }
            .boxed(),
        );
    }

    fn start_tags(&mut self, permit: Permit, zones: Vec<ZoneId>) {
        let (provider, paid) = (Arc::clone(&self.provider), permit.paid());
        self.spawn(
            async move {
                Done::Zones {
                    paid,
                    result: provider.zone_tags(permit, &zones).await.map(ZoneListing::Tags),
                }
            }
            .boxed(),
        );
    }

    pub(in crate::broker::worker) async fn finish_discovery(
        &mut self,
        result: Result<ZoneListing, CallError>,
        now: Timestamp,
    ) {
        self.discovery.in_flight = false;
        let listing = match result {
            Ok(listing) => listing,
            Err(error) => {
                self.discovery_failed(&error, now);
                return;
            }
        };
        self.budget.succeeded(now);
        match listing {
            ZoneListing::Zones(page) => {
                self.discovery.found.extend(page.zones);
                self.discovery.marker = page.next_marker;
                if self.discovery.marker.is_some() {
                    return;
                }
                self.discovery.with_tags = needs_tags(&self.settings.rules);
                let zones = if self.discovery.with_tags {
                    self.discovery.found.iter().map(|zone| zone.id.clone()).collect()
                } else {
                    vec![]
                };
                self.discovery.untagged = Some(zones);
            }
            ZoneListing::Tags(tags) => {
                self.discovery.tags.extend(tags);
                if let Some(untagged) = &mut self.discovery.untagged {
                    untagged.drain(..untagged.len().min(ZONES_PER_TAG_CALL));
                }
            }
        }
        if self.discovery.untagged.as_ref().is_some_and(Vec::is_empty) {
            self.take_discovered(now).await;
        }
    }

    fn discovery_failed(&mut self, error: &CallError, now: Timestamp) {
        let wait = if self.discovery.completed { Millis(30_000) } else { Millis(2_000) };
        // A listing with a hole is no listing: it begins anew.
        self.discovery.begin_anew(now + wait);
        match error {
            CallError::Throttled => {
                self.metrics.throttled();
                self.budget.throttled(now);
            }
            CallError::Denied { message } => {
                self.metrics.denied();
                self.park(format!("AWS denies the listing of zones: {message}"), now);
            }
            CallError::Expired => self.park("the credentials have expired".to_owned(), now),
            other => {
                warn!(account = %self.settings.account, "zones could not be listed, trying again: {other}")
            }
        }
    }

    /// All zones are known: new ones are added, the others updated, and the directory gets the list.
    async fn take_discovered(&mut self, now: Timestamp) {
        let jitter = Millis(self.rng.i64(0..=self.settings.discovery_interval.0 / 10));
        let found = std::mem::take(&mut self.discovery.found);
        let mut tags = std::mem::take(&mut self.discovery.tags);
        let with_tags = self.discovery.with_tags;
        self.discovery.begin_anew(now + self.settings.discovery_interval + jitter);
        let listed: BTreeSet<ZoneId> = found.iter().map(|zone| zone.id.clone()).collect();
        let mut facts = vec![];
        for zone in found {
            let zone_tags = with_tags.then(|| tags.remove(&zone.id).unwrap_or_default());
            let zone_facts = ZoneFacts {
                account: self.settings.account.clone(),
                environment: self.settings.environment.clone(),
                zone: zone.id.clone(),
                name: zone.name.clone(),
                visibility: Visibility::of(zone.private),
                visible: true,
            };
            let resolved = rules_of_zone(&self.settings.rules, &zone_facts, zone_tags.as_ref());
            let Some(settings) = resolved.settings else { continue };
            let waits_for_tags = resolved.waits_for_tags;
            facts.push(Found { facts: zone_facts, settings, tags: zone_tags, waits_for_tags });
        }
        let visible: BTreeSet<&ZoneId> = facts.iter().map(|found| &found.facts.zone).collect();
        let gone: Vec<ZoneId> = self
            .zones
            .all()
            .filter(|(id, zone)| zone.facts.visible && !visible.contains(id))
            .map(|(id, _)| id.clone())
            .collect();
        let gone_rows = gone.iter().filter_map(|zone_id| {
            let zone = self.zones.get(zone_id)?;
            let facts = ZoneFacts { visible: false, ..zone.facts.clone() };
            Some(row_of(&facts, zone.listed_at, zone.tags.clone()))
        });
        let changed = facts.iter().filter(|found| {
            let held = self.zones.get(&found.facts.zone);
            held.is_none_or(|zone| zone.facts != found.facts || zone.tags != found.tags)
        });
        let changed_rows = changed.map(|found| {
            let listed_at = self.zones.get(&found.facts.zone).and_then(|zone| zone.listed_at);
            row_of(&found.facts, listed_at, found.tags.clone())
        });
        let rows: Vec<_> = changed_rows.chain(gone_rows).collect();
        self.gate.leave();
        if !rows.is_empty()
            && let Err(error) = self.store.save_zones(&rows).await
        {
            self.lease.heed(&error);
            // Without the row nothing of the zone can be stored, so it is not managed: the discovery is repeated soon.
            warn!(account = %self.settings.account, %error, "zones could not be stored, trying again");
            self.discovery.begin_anew(now + Millis(2_000));
            return;
        }
        if !self.discovery.completed
            && let Err(error) = self.store.note_listed(&self.settings.account, now).await
        {
            self.lease.heed(&error);
            warn!(account = %self.settings.account, %error, "that the zones were listed could not be stored, trying again");
            self.discovery.begin_anew(now + Millis(2_000));
            return;
        }
        let first = !std::mem::replace(&mut self.discovery.completed, true);
        if first || !rows.is_empty() {
            info!(account = %self.settings.account, zones = facts.len(), changed = rows.len(), "zones discovered");
        }
        for found in &facts {
            self.take_zone(found, now);
        }
        for zone_id in gone {
            let Some(zone) = self.zones.get_mut(&zone_id) else { continue };
            warn!(account = %self.settings.account, zone = %zone_id, name = %zone.facts.name, "the zone is no longer visible: nothing is written there, nothing is removed");
            zone.facts.visible = false;
            zone.take_settings(UNSELECTED);
        }
        let zones = facts.into_iter().map(|found| found.facts).collect();
        self.tell_directory(Some(zones), AccountListing::Complete);
        self.end_in_deleted(&listed);
        self.dirty_view = true;
    }

    /// Ends the batches in doubt of zones that the account no longer has: they cannot be read back any more, and an open batch
    /// would hold up the journal's retention for ever. Route 53 gives no id twice, and a call that comes late finds no zone.
    fn end_in_deleted(&mut self, listed: &BTreeSet<ZoneId>) {
        let is_deleted = |(id, zone): &(&ZoneId, &ZoneWork)| !listed.contains(*id) && !zone.busy;
        let deleted = self.zones.all().filter(is_deleted);
        let batches: Vec<_> =
            deleted.flat_map(|(_, zone)| &zone.in_doubt).map(|row| row.batch.clone()).collect();
        for batch in batches {
            warn!(account = %self.settings.account, zone = %batch.zone, batch = %batch.id, "the zone was deleted before this batch could be read back");
            self.record(batch, BatchOutcome::ZoneDeleted, vec![], vec![]);
        }
    }

    fn take_zone(&mut self, found: &Found, now: Timestamp) {
        let Found { facts, settings, tags, waits_for_tags } = found;
        let zone_id = facts.zone.clone();
        let known = self
            .zones
            .get(&zone_id)
            .map(|zone| zone.facts != *facts || zone.state.settings != *settings);
        if known.is_none() {
            let mut zone = ZoneWork::new(facts.clone(), *settings, None, now);
            zone.govern(&self.governance);
            zone.state.guarded = self.guarded();
            self.zones.insert(zone_id.clone(), zone);
        }
        if let Some(zone) = self.zones.get_mut(&zone_id) {
            zone.tags.clone_from(tags);
            zone.waits_for_tags = *waits_for_tags;
            if known == Some(true) {
                zone.facts = facts.clone();
                zone.take_settings(*settings);
            }
        }
        if let Some(early) = self.early.remove(&zone_id) {
            self.absorb_effects(early);
        }
        if known == Some(true) {
            self.note_all(&zone_id);
        }
    }
}

/// A zone that was found, and the result of the rules for it.
struct Found {
    facts: ZoneFacts,
    settings: ZoneSettings,
    tags: Option<BTreeMap<String, String>>,
    waits_for_tags: bool,
}
